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

static void q2_0_widen(const void *restrict block, struct wide *restrict w) {
  const struct block_q2_0 *b = block;
  for (int g = 0; g < 8; g++) {
    uint64_t codes = (iq_spread(b->q[g]) + iq_bytes(127)) ^ iq_bytes(128); // less one in every byte
    memcpy(w->q + 8 * g, &codes, 8);
  }
  for (int j = 0; j < 4; j++) w->scale[j] = f16_to_f32(b->d);
}

static const struct quant quant_q2_0 = {"Q2_0", 42, 64, sizeof(struct block_q2_0), FORM_WIDE, q2_0_decode, NULL,
                                        q2_0_widen, NULL};
