/* Q5_K: as Q4_K with a fifth bit: bit j of high[i] belongs to weight i of block j. 5.5 bits per weight. */
struct block_q5_k {
  uint16_t d, dmin;      // half
  uint8_t scale_min[12]; // see q4_k_scales
  uint8_t high[32];
  uint8_t q[128];
};
ASSERT_SIZE(block_q5_k, 176);

static void q5_k_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q5_k *b = block;
  for (int j = 0; j < 4; j++)
    for (int i = 0; i < 32; i++) {
      c->q[64 * j + i] = (uint8_t)((b->q[32 * j + i] & 15) | (b->high[i] >> (2 * j) & 1) << 4);
      c->q[64 * j + 32 + i] = (uint8_t)(b->q[32 * j + i] >> 4 | (b->high[i] >> (2 * j + 1) & 1) << 4);
    }
  q4_k_scales(b->scale_min, c->scale, c->min);
  c->d = b->d;
  c->m = b->dmin;
}

static void q5_k_decode(const void *block, float *y) {
  const struct block_q5_k *b = block;
  struct codes c;
  q5_k_unpack(b, &c);
  for (int i = 0; i < 256; i++)
    y[i] = f16_to_f32(b->d) * (float)c.scale[i / 32] * (float)c.q[i] - f16_to_f32(b->dmin) * (float)c.min[i / 32];
}

SMALL void q5_k_encode(const float *restrict x, void *restrict block) {
  static const struct fit f = {.low = 0, .high = 31, .step = 0.125f, .tries = 8, .has_min = true, .down = true};
  struct block_q5_k *b = block;
  struct codes c;
  q4_k_fit(&f, x, &c);
  b->d = c.d;
  b->dmin = c.m;
  q4_k_pack_scales(&c, b->scale_min);
  memset(b->high, 0, sizeof b->high);
  for (int i = 0; i < 256; i++) b->high[i % 32] |= (uint8_t)(c.q[i] >> 4 << i / 32);
  for (int i = 0; i < 128; i++)
    b->q[i] = (uint8_t)((c.q[i / 32 * 64 + i % 32] & 15) | (c.q[i / 32 * 64 + i % 32 + 32] & 15) << 4);
}

static const struct quant quant_q5_k = {"Q5_K", 13, 256, sizeof(struct block_q5_k), FORM_K5M, q5_k_decode, q5_k_unpack,
                                        NULL, q5_k_encode};
