/* Q4_K: 256 weights in 8 blocks of 32; w = d * scale[j] * q - dmin * min[j], scale and min 6 bits, q 4 bits.
 * Bytes of q: 32 for each pair of blocks, low nibbles the even block, high nibbles the odd one. 4.5 bits per weight. */
struct block_q4_k {
  uint16_t d, dmin;     // half
  uint8_t scale_min[12]; // see q4_k_scales
  uint8_t q[128];
};
ASSERT_SIZE(block_q4_k, 144);

/* 12 bytes hold 8 scales and 8 mins of 6 bits: byte j and j+4 the first four of each; the upper four have their low
 * nibbles in bytes 8..11 and their upper two bits on top of the first eight bytes. Shared with Q5_K. */
static void q4_k_scales(const uint8_t packed[12], uint8_t scale[16], uint8_t min[8]) {
  for (int j = 0; j < 4; j++) {
    scale[j] = packed[j] & 63;
    min[j] = packed[j + 4] & 63;
    scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
    min[j + 4] = (uint8_t)(packed[j + 8] >> 4 | (packed[j + 4] >> 6) << 4);
  }
}

static void q4_k_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q4_k *b = block;
  for (int j = 0; j < 4; j++)
    for (int i = 0; i < 32; i++) {
      c->q[64 * j + i] = b->q[32 * j + i] & 15;
      c->q[64 * j + 32 + i] = b->q[32 * j + i] >> 4;
    }
  q4_k_scales(b->scale_min, c->scale, c->min);
  c->d = b->d;
  c->m = b->dmin;
}

static void q4_k_decode(const void *block, float *y) {
  const struct block_q4_k *b = block;
  struct codes c;
  q4_k_unpack(b, &c);
  for (int i = 0; i < 256; i++)
    y[i] = f16_to_f32(b->d) * (float)c.scale[i / 32] * (float)c.q[i] - f16_to_f32(b->dmin) * (float)c.min[i / 32];
}

/* The pair of 6-bit scale and min for block j under the halves of c, near s0 and m0, that errs least on the weights. */
SMALL void q4_k_choose(const struct fit *f, const float *x, const float *w, int j, int s0, int m0, struct codes *c, float *l) {
  float best = FIT_WORST, d = f16_to_f32(c->d), m = f16_to_f32(c->m);
  for (int s = s0 - 1; s <= s0 + 1; s++)
    for (int k = m0 - 1; k <= m0 + 1; k++)
      if (s >= 0 && s <= 63 && k >= 0 && k <= 63 && fit_better(f, x, w, 32, d * (float)s, -m * (float)k, &best, l)) {
        c->scale[j] = (uint8_t)s;
        c->min[j] = (uint8_t)k;
      }
}

/* The halves that suit the chosen levels, scales and mins: least squares over all 256. */
SMALL void q4_k_refit(const float *x, const float *w, const float *l, struct codes *c) {
  float d = f16_to_f32(c->d), m = f16_to_f32(c->m), dd = 0, dl = 0, ll = 0, ed = 0, el = 0; // normal equations
  for (int j = 0; j < 8; j++) {
    float s = c->scale[j], k = c->min[j];
    struct fit_sums t = fit_measure(x + 32 * j, w + 32 * j, l + 32 * j, 32, d * s, -m * k);
    dd += s * s * t.ll;
    dl -= s * k * t.l;
    ll += k * k * t.w;
    ed += s * t.el;
    el -= k * t.e;
  }
  float determinant = dd * ll - dl * dl;
  if (determinant > 1e-4f * dd * ll) {
    d += (ll * ed - dl * el) / determinant;
    m += (dd * el - dl * ed) / determinant;
  } else if (dd > 0) {
    d += ed / dd;
  }
  c->d = fit_half(d);
  c->m = fit_half(m > 0 ? m : 0);
}

/* 256 weights: a scale and a min for each 32 by themselves, then in 6 bits under common halves, where neighbours are
 * tried too; then the halves again for what was chosen, and once more. Shared with Q5_K. */
SMALL void q4_k_fit(const struct fit *f, const float *x, struct codes *c) {
  float w[256], l[256], scale[8], min[8], most = 0, least = 0;
  for (int j = 0; j < 8; j++) {
    fit_weigh(x + 32 * j, 32, w + 32 * j);
    fit_search(f, x + 32 * j, w + 32 * j, 32, &scale[j], &min[j]);
    most = scale[j] > most ? scale[j] : most;
    least = min[j] < least ? min[j] : least;
  }
  c->d = fit_half_of(most, 63);
  c->m = fit_half_of(-least, 63);
  for (int round = 0; round < 2; round++) {
    float d = f16_to_f32(c->d), m = f16_to_f32(c->m);
    if (round > 0) q4_k_refit(x, w, l, c);
    for (int j = 0; j < 8; j++) {
      int s0 = round > 0 ? c->scale[j] : d > 0 ? fit_nearest(scale[j] / d) : 0;
      int m0 = round > 0 ? c->min[j] : m > 0 ? fit_nearest(-min[j] / m) : 0;
      q4_k_choose(f, x + 32 * j, w + 32 * j, j, s0 < 63 ? s0 : 63, m0 < 63 ? m0 : 63, c, l + 32 * j);
    }
  }
  for (int i = 0; i < 256; i++) c->q[i] = (uint8_t)l[i];
}

/* The inverse of q4_k_scales. */
SMALL void q4_k_pack_scales(const struct codes *c, uint8_t packed[12]) {
  for (int j = 0; j < 4; j++) {
    packed[j] = (uint8_t)(c->scale[j] | c->scale[j + 4] >> 4 << 6);
    packed[j + 4] = (uint8_t)(c->min[j] | c->min[j + 4] >> 4 << 6);
    packed[j + 8] = (uint8_t)((c->scale[j + 4] & 15) | c->min[j + 4] << 4);
  }
}

SMALL void q4_k_encode(const float *restrict x, void *restrict block) {
  static const struct fit f = {.low = 0, .high = 15, .step = 0.125f, .tries = 8, .has_min = true, .down = true};
  struct block_q4_k *b = block;
  struct codes c;
  q4_k_fit(&f, x, &c);
  b->d = c.d;
  b->dmin = c.m;
  q4_k_pack_scales(&c, b->scale_min);
  for (int i = 0; i < 128; i++) b->q[i] = (uint8_t)(c.q[i / 32 * 64 + i % 32] | c.q[i / 32 * 64 + i % 32 + 32] << 4);
}

static const struct quant quant_q4_k = {"Q4_K", 12, 256, sizeof(struct block_q4_k), FORM_K4M, q4_k_decode, q4_k_unpack,
                                        NULL, q4_k_encode};
