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

/* 2-bit codes in that order. Shared with Q3_K and TQ2_0. */
static void q2_k_codes(const uint8_t *restrict q, uint8_t *restrict codes) {
  for (int h = 0; h < 2; h++)
    for (int j = 0; j < 4; j++)
      for (int i = 0; i < 32; i++) codes[128 * h + 32 * j + i] = q[32 * h + i] >> 2 * j & 3;
}

static void q2_k_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q2_k *b = block;
  q2_k_codes(b->q, c->q);
  for (int j = 0; j < 16; j++) {
    c->scale[j] = b->scale_min[j] & 15;
    c->min[j] = b->scale_min[j] >> 4;
  }
  c->d = b->d;
  c->m = b->dmin;
}

static const struct quant quant_q2_k = {"Q2_K", 10, 256, sizeof(struct block_q2_k), FORM_K2M, q2_k_decode, q2_k_unpack, NULL, NULL};
