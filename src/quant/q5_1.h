/* Q5_1: 32 weights; w = d * q + m, q 5 bits: nibbles as in Q4_1, bit i of high is the fifth bit of weight i.
 * 6 bits per weight. */
struct block_q5_1 {
  uint16_t d, m;   // half
  uint8_t high[4]; // 32 bits, little-endian
  uint8_t q[16];
};
ASSERT_SIZE(block_q5_1, 24);

static void q5_1_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q5_1 *b = block;
  q5_0_codes(b->q, b->high, c->q);
  c->d = b->d;
  c->m = b->m;
}

static void q5_1_decode(const void *block, float *y) {
  const struct block_q5_1 *b = block;
  for (int i = 0; i < 32; i++) {
    int q = (i < 16 ? b->q[i] & 15 : b->q[i - 16] >> 4) | (b->high[i / 8] >> (i % 8) & 1) << 4;
    y[i] = f16_to_f32(b->d) * (float)q + f16_to_f32(b->m);
  }
}

SMALL void q5_1_encode(const float *restrict x, void *restrict block) {
  static const struct fit f = {.low = 0, .high = 31, .step = 0.125f, .tries = 8, .half = true, .has_min = true};
  struct block_q5_1 *b = block;
  float l[32];
  fit_block(&f, x, &b->d, &b->m, l);
  uint8_t q[32];
  for (int i = 0; i < 32; i++) q[i] = (uint8_t)l[i];
  q5_0_pack(q, b->q, b->high);
}

static const struct quant quant_q5_1 = {"Q5_1", 7, 32, sizeof(struct block_q5_1), FORM_Q5M, q5_1_decode, q5_1_unpack,
                                        NULL, q5_1_encode};
