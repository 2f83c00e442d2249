/* Q2_0: 64 weights; w = d * (q - 1), q 2 bits, four to a byte, the first lowest. 2.25 bits per weight. */
struct block_q2_0 {
  uint16_t d; // half
  uint16_t q[8];
};
ASSERT_SIZE(block_q2_0, 18);

static void q2_0_decode(const void *block, float *y) {
  const struct block_q2_0 *b = block;
  for (int i = 0; i < 64; i++) y[i] = f16_to_f32(b->d) * (float)((b->q[i / 8] >> 2 * (i % 8) & 3) - 1);
}

static void q2_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q2_0 *b = block;
  for (int g = 0; g < 8; g++) {
    uint64_t codes = iq_spread(b->q[g]);
    memcpy(c->q + 8 * g, &codes, 8);
  }
  c->part[0] = c->part[1] = b->d;
}

static const int8_t q2_0_table[16] = {-1, 0, 1, 2};

static const struct quant quant_q2_0 = {"Q2_0", 42, 64, sizeof(struct block_q2_0), FORM_T2, q2_0_decode, q2_0_unpack,
                                        q2_0_table, NULL};
