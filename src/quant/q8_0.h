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

SMALL void q8_0_encode(const float *restrict x, void *restrict block) { // the largest at 127
  static const struct fit f = {.low = -127, .high = 127};
  struct block_q8_0 *b = block;
  float l[32], top = 0;
  for (int i = 0; i < 32; i++) top = x[i] > top ? x[i] : -x[i] > top ? -x[i] : top;
  b->d = fit_half_of(top, 127);
  fit_levels(&f, x, 32, f16_to_f32(b->d), 0, l);
  for (int i = 0; i < 32; i++) b->q[i] = (int8_t)l[i];
}

static const struct quant quant_q8_0 = {"Q8_0", 8, 32, sizeof(struct block_q8_0), FORM_Q8, q8_0_decode, q8_0_unpack,
                                        NULL, q8_0_encode};
