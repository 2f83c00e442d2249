/* Q3_K: 256 weights in 16 blocks of 16; w = d * (scale[j] - 32) * (q - 4), scale 6 bits, q 3 bits: two as in Q2_K;
 * the third of weight i is bit i / 32 of byte i % 32 of high. 3.4375 bits per weight. */
struct block_q3_k {
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scale[12]; // nibbles: bytes 0..7, the low ones first; upper pairs of bits: bytes 8..11, the lowest first
  uint16_t d;        // half
};
ASSERT_SIZE(block_q3_k, 110);

static int q3_k_scale(const uint8_t packed[12], int j) {
  return (packed[j % 8] >> 4 * (j / 8) & 15) | (packed[8 + j % 4] >> 2 * (j / 4) & 3) << 4;
}

static void q3_k_decode(const void *block, float *y) {
  const struct block_q3_k *b = block;
  for (int i = 0; i < 256; i++) {
    int q = (b->q[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3) | (b->high[i % 32] >> (i / 32) & 1) << 2;
    y[i] = f16_to_f32(b->d) * (float)(q3_k_scale(b->scale, i / 16) - 32) * (float)(q - 4);
  }
}

static const int8_t q3_k_table[16] = {-4, -3, -2, -1, 0, 1, 2, 3};

static void q3_k_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q3_k *b = block;
  q2_k_codes(b->q, c->q);
  for (int j = 0; j < 8; j++)
    for (int i = 0; i < 32; i++) c->q[32 * j + i] |= (uint8_t)((b->high[i] >> j & 1) << 2);
  for (int j = 0; j < 16; j++) c->scale[j] = (uint8_t)(q3_k_scale(b->scale, j) - 32);
  c->f = f16_to_f32(b->d);
}

static const struct quant quant_q3_k = {"Q3_K", 11, 256, sizeof(struct block_q3_k), FORM_KT3, q3_k_decode, q3_k_unpack, q3_k_table, NULL};
