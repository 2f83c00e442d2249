/* Q6_K: 256 weights in 16 blocks of 16; w = d * scale[j] * (q - 32), scale a signed byte, q 6 bits: low nibbles and, in
 * high, upper pairs of bits; two halves of 128 weights, each four runs of 32. 6.5625 bits per weight. */
struct block_q6_k {
  uint8_t low[128];
  uint8_t high[64];
  int8_t scale[16];
  uint16_t d; // half
};
ASSERT_SIZE(block_q6_k, 210);

static void q6_k_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q6_k *b = block;
  for (int h = 0; h < 2; h++) {
    const uint8_t *low = b->low + 64 * h, *high = b->high + 32 * h;
    uint8_t *q = c->q + 128 * h;
    for (int i = 0; i < 32; i++) {
      q[i] = (uint8_t)((low[i] & 15) | (high[i] & 3) << 4);
      q[i + 32] = (uint8_t)((low[i + 32] & 15) | (high[i] >> 2 & 3) << 4);
      q[i + 64] = (uint8_t)(low[i] >> 4 | (high[i] >> 4 & 3) << 4);
      q[i + 96] = (uint8_t)(low[i + 32] >> 4 | (high[i] >> 6 & 3) << 4);
    }
  }
  memcpy(c->scale, b->scale, sizeof c->scale);
  memcpy(&c->d, &b->d, sizeof c->d);
}

static void q6_k_decode(const void *block, float *y) {
  const struct block_q6_k *b = block;
  struct codes c;
  q6_k_unpack(b, &c);
  for (int i = 0; i < 256; i++) y[i] = f16_to_f32(c.d) * (float)b->scale[i / 16] * (float)(c.q[i] - 32);
}

static const struct quant quant_q6_k = {"Q6_K", 14, 256, sizeof(struct block_q6_k), FORM_K6, q6_k_decode, q6_k_unpack, NULL};
