/* Q1_0: 128 weights; w = d where bit i is set, else -d. 1.125 bits per weight. */
struct block_q1_0 {
  uint16_t d; // half
  uint8_t q[16];
};
ASSERT_SIZE(block_q1_0, 18);

static void q1_0_decode(const void *block, float *y) {
  const struct block_q1_0 *b = block;
  for (int i = 0; i < 128; i++) y[i] = f16_to_f32(b->d) * (b->q[i / 8] >> (i % 8) & 1 ? 1.0f : -1.0f);
}

static void q1_0_widen(const void *restrict block, struct wide *restrict w) {
  const struct block_q1_0 *b = block;
  for (int g = 0; g < 16; g++) {
    uint64_t codes = iq_negate(iq_bytes(1), b->q[g] ^ 255u);
    memcpy(w->q + 8 * g, &codes, 8);
  }
  for (int j = 0; j < 8; j++) w->scale[j] = f16_to_f32(b->d);
}

static const struct quant quant_q1_0 = {"Q1_0", 41, 128, sizeof(struct block_q1_0), FORM_WIDE, q1_0_decode, NULL,
                                        q1_0_widen, NULL};
