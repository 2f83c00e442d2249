/* Q4_0: 32 weights; w = d * (q - 8), q 4 bits: low nibbles are weights 0..15, high nibbles 16..31. 4.5 bits per weight. */
struct block_q4_0 {
  uint16_t d; // half
  uint8_t q[16];
};
ASSERT_SIZE(block_q4_0, 18);

static void q4_0_decode(const void *block, float *y) {
  const struct block_q4_0 *b = block;
  float d = f16_to_f32(b->d);
  for (int i = 0; i < 16; i++) {
    y[i] = d * (float)((b->q[i] & 15) - 8);
    y[i + 16] = d * (float)((b->q[i] >> 4) - 8);
  }
}

static void q4_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q4_0 *b = block;
  for (int i = 0; i < 16; i++) {
    c->q[i] = b->q[i] & 15;
    c->q[i + 16] = b->q[i] >> 4;
  }
  c->d = b->d;
}

SMALL void q4_0_encode(const float *restrict x, void *restrict block) {
  struct block_q4_0 *b = block;
  int l[32];
  b->d = fit_widest(x, 8, l);
  for (int i = 0; i < 16; i++) b->q[i] = (uint8_t)((l[i] + 8) | (l[i + 16] + 8) << 4);
}

static const struct quant quant_q4_0 = {"Q4_0", 2, 32, sizeof(struct block_q4_0), FORM_Q4, q4_0_decode, q4_0_unpack,
                                        NULL, q4_0_encode};
