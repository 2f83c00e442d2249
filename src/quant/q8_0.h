/* Q8_0: 32 weights; w = d * q, q a signed byte. 8.5 bits per weight. */
struct block_q8_0 {
  uint16_t d; // half
  int8_t q[32];
};
ASSERT_SIZE(block_q8_0, 34);

static void q8_0_decode(const void *block, float *y) {
  const struct block_q8_0 *b = block;
  for (int i = 0; i < 32; i++) y[i] = f16_to_f32(b->d) * (float)b->q[i];
}

static void q8_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q8_0 *b = block;
  for (int i = 0; i < 32; i++) c->q[i] = (uint8_t)(b->q[i] ^ 0x80); // + 128
  c->d = b->d;
}

static const struct quant quant_q8_0 = {"Q8_0", 8, 32, sizeof(struct block_q8_0), FORM_Q8, q8_0_decode, q8_0_unpack, NULL};
