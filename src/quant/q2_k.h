/* Q2_K: 256 weights in 16 blocks of 16; w = d * scale[j] * q - dmin * min[j], scale the low and min the high nibble
 * of a byte, q 2 bits: two halves of 128 weights, 32 bytes each, and of these the lowest bits are the first 32
 * weights, the next the next 32, and so on. 2.625 bits per weight. */
struct block_q2_k {
  uint8_t scale_min[16];
  uint8_t q[64];
  uint16_t d, dmin; // half
};
ASSERT_SIZE(block_q2_k, 84);

static void q2_k_decode(const void *block, float *y) {
  const struct block_q2_k *b = block;
  for (int j = 0; j < 16; j++) {
    float scale = f16_to_f32(b->d) * (float)(b->scale_min[j] & 15);
    float min = f16_to_f32(b->dmin) * (float)(b->scale_min[j] >> 4);
    for (int i = 16 * j; i < 16 * j + 16; i++)
      y[i] = scale * (float)(b->q[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3) - min;
  }
}

/* 2-bit codes in that order, less an offset. Shared with Q3_K and TQ2_0. */
static void q2_k_codes(const uint8_t *restrict q, int offset, int8_t *restrict codes) {
  for (int h = 0; h < 2; h++)
    for (int j = 0; j < 4; j++)
      for (int i = 0; i < 32; i++) codes[128 * h + 32 * j + i] = (int8_t)((q[32 * h + i] >> 2 * j & 3) - offset);
}

static void q2_k_widen(const void *restrict block, struct wide *restrict w) {
  const struct block_q2_k *b = block;
  float d = f16_to_f32(b->d), dmin = -f16_to_f32(b->dmin);
  q2_k_codes(b->q, 0, w->q);
  for (int j = 0; j < 16; j++) {
    w->scale[j] = d * (float)(b->scale_min[j] & 15);
    w->min[j] = dmin * (float)(b->scale_min[j] >> 4);
  }
}

static const struct quant quant_q2_k = {"Q2_K", 10, 256, sizeof(struct block_q2_k), FORM_WIDE, q2_k_decode, NULL,
                                        q2_k_widen, NULL};
