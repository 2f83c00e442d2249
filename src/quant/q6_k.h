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

/* A scale for each 16 by itself, then in 8 bits under a common half, where it and its neighbours are tried. */
SMALL void q6_k_encode(const float *restrict x, void *restrict block) {
  static const struct fit f = {.low = -32, .high = 31, .step = 0.25f, .tries = 4, .both = true};
  struct block_q6_k *b = block;
  float w[256], l[256], scale[16], min, top = 0;
  for (int j = 0; j < 16; j++) {
    fit_weigh(x + 16 * j, 16, w + 16 * j);
    fit_search(&f, x + 16 * j, w + 16 * j, 16, &scale[j], &min);
    if (scale[j] * scale[j] > top * top) top = scale[j];
  }
  b->d = fit_half_of(top, -128);
  float d = f16_to_f32(b->d);
  for (int j = 0; j < 16; j++) {
    float best = FIT_WORST;
    int near = d * d > 0 ? fit_nearest(scale[j] / d) : 0;
    near = near < -128 ? -128 : near > 127 ? 127 : near;
    for (int s = near - 1; s <= near + 1; s++)
      if (s >= -128 && s <= 127 && fit_better(&f, x + 16 * j, w + 16 * j, 16, d * (float)s, 0, &best, l + 16 * j))
        b->scale[j] = (int8_t)s;
  }
  memset(b->low, 0, sizeof b->low);
  memset(b->high, 0, sizeof b->high);
  for (int i = 0; i < 256; i++) {
    int q = (int)l[i] + 32, half = i / 128, run = i % 128 / 32;
    b->low[64 * half + i % 32 + run % 2 * 32] |= (uint8_t)((q & 15) << run / 2 * 4);
    b->high[32 * half + i % 32] |= (uint8_t)(q >> 4 << run * 2);
  }
}

static const struct quant quant_q6_k = {"Q6_K", 14, 256, sizeof(struct block_q6_k), FORM_K6, q6_k_decode, q6_k_unpack,
                                        NULL, q6_k_encode};
