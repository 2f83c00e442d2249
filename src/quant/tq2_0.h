/* TQ2_0: 256 weights; w = d * (q - 1), q 2 bits in the order of Q2_K. 2.0625 bits per weight. */
struct block_tq2_0 {
  uint8_t q[64];
  uint16_t d; // half
};
ASSERT_SIZE(block_tq2_0, 66);

static void tq2_0_decode(const void *block, float *y) {
  const struct block_tq2_0 *b = block;
  for (int i = 0; i < 256; i++)
    y[i] = f16_to_f32(b->d) * (float)((b->q[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3) - 1);
}

static void tq2_0_widen(const void *restrict block, struct wide *restrict w) {
  const struct block_tq2_0 *b = block;
  q2_k_codes(b->q, 1, w->q);
  for (int j = 0; j < 16; j++) w->scale[j] = f16_to_f32(b->d);
}

static const struct quant quant_tq2_0 = {"TQ2_0", 35, 256, sizeof(struct block_tq2_0), FORM_WIDE, tq2_0_decode, NULL,
                                         tq2_0_widen, NULL};
