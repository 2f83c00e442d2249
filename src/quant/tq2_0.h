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

static void tq2_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_tq2_0 *b = block;
  q2_k_codes(b->q, c->q);
  tq_scales(b->d, c);
}

static const struct quant quant_tq2_0 = {"TQ2_0", 35, 256, sizeof(struct block_tq2_0), FORM_K2M, tq2_0_decode,
                                         tq2_0_unpack, NULL, NULL};
