/* fit.c -- what encoders share: real weights -> a scale, perhaps a min, and levels that come near them.
 *
 * x is to be scale * level + min. For given levels the weighted squared error is a quadratic in scale and min, so the
 * best of both follow from six sums (linear least squares); the best levels are a search over a few scales to begin with.
 * Sums run in one fixed order in plain C: the same bytes from every compiler on every machine.
 * SPDX-License-Identifier: MIT */
#include "base.h"

struct fit {
  float low, high;     // levels are the integers between, both included,
  const int8_t *table; // or these 16, ascending from low to high
  float step;          // scales to begin with put the widest x on level low + k * step (with a min, the span on high + ...)
  int tries;           // |k| <= tries
  bool both;           // and then on high + k * step
  bool has_min, down;  // down: min <= 0, as the K formats have it
  bool half;           // the scale is kept as a half: what comes out of such a block goes back into it
};

enum { FIT_MAX = 32 };            // weights that share a scale, at most
#define FIT_TOP 8384512.0f        // 65504 * 128: what is larger than a half and 128 levels can say is cut
#define FIT_NOTHING 2.9802322e-8f // 2^-25: half of what the smallest half can say
#define FIT_WORST 3.0e38f

/* As a half, to nearest even, cut where halves end. */
static uint16_t fit_half(float x) { return f32_to_f16(x > 65504 ? 65504 : x < -65504 ? -65504 : x); }

/* The two loops: one copy each, as it stands. */
#if defined(__GNUC__) && !defined(__clang__)
#define FIT_LOOP static __attribute__((noinline, noclone))
#else
#define FIT_LOOP static __attribute__((noinline))
#endif

/* Nearest level of every x: v + 1.5 * 2^23 has no bit below one left, so it is rounded, to nearest even. l (n) */
FIT_LOOP void fit_levels(const struct fit *f, const float *restrict x, int n, float scale, float min, float *restrict l) {
  float inverse = scale * scale > 0 ? 1 / scale : 0, v[FIT_MAX];
  for (int i = 0; i < n; i++) {
    v[i] = (x[i] - min) * inverse;
    v[i] = v[i] < f->low ? f->low : v[i];
    v[i] = v[i] > f->high ? f->high : v[i];
    l[i] = f->table ? f->low : (v[i] + 12582912.0f) - 12582912.0f;
  }
  for (int q = 1; f->table && q < 16; q++) { // up a level where v lies past the middle
    float up = (float)(f->table[q] - f->table[q - 1]), middle = (float)f->table[q - 1] + 0.5f * up;
    for (int i = 0; i < n; i++) l[i] += v[i] > middle ? up : 0;
  }
}

struct fit_sums { // of weight * ..., e = x - scale * level - min
  float ee, el, e, ll, l, w;
};

/* Eight partial sums, then those: an order that vectors keep. n: a multiple of 8 */
FIT_LOOP struct fit_sums fit_measure(const float *restrict x, const float *restrict w, const float *restrict l, int n, float scale,
                                     float min) {
  float part[6][8] = {{0}};
  for (int i = 0; i < n; i += 8)
    for (int k = 0; k < 8; k++) {
      float e = x[i + k] - (scale * l[i + k] + min), we = w[i + k] * e, wl = w[i + k] * l[i + k];
      part[0][k] += we * e;
      part[1][k] += we * l[i + k];
      part[2][k] += we;
      part[3][k] += wl * l[i + k];
      part[4][k] += wl;
      part[5][k] += w[i + k];
    }
  for (int i = 0; i < 6; i++) {
    const float *p = part[i];
    part[i][0] = ((p[0] + p[4]) + (p[1] + p[5])) + ((p[2] + p[6]) + (p[3] + p[7]));
  }
  return (struct fit_sums){part[0][0], part[1][0], part[2][0], part[3][0], part[4][0], part[5][0]};
}

/* Moves scale and min to the minimum of the quadratic; returns the error there. */
SMALL float fit_solve(const struct fit *f, const struct fit_sums *s, float *scale, float *min) {
  float determinant = s->ll * s->w - s->l * s->l, ds = s->ll > 0 ? s->el / s->ll : 0, dm = 0;
  if (f->has_min && determinant > 1e-6f * s->ll * s->w) {
    ds = (s->w * s->el - s->l * s->e) / determinant;
    dm = (s->ll * s->e - s->l * s->el) / determinant;
    if (f->down && *min + dm > 0) {
      dm = -*min;
      ds = (s->el - dm * s->l) / s->ll;
    }
  }
  *scale += ds;
  *min += dm;
  return s->ee - 2 * (ds * s->el + dm * s->e) + (ds * ds * s->ll + 2 * ds * dm * s->l + dm * dm * s->w);
}

/* Levels for this scale and min, the better scale and min for those; kept if better than *best, the error so far. */
SMALL bool fit_try(const struct fit *f, const float *x, const float *w, int n, float s, float m, float *best, float *scale,
                    float *min) {
  float l[FIT_MAX];
  fit_levels(f, x, n, s, m, l);
  struct fit_sums sums = fit_measure(x, w, l, n, s, m);
  float error = fit_solve(f, &sums, &s, &m);
  if (sums.ee > 0 && error <= 0) error = 1e-37f; // by rounding: only no error at all ends the search
  if (!(error < *best)) return false;
  *best = error;
  *scale = s;
  *min = m;
  return true;
}

/* The best scale and min found for x (n <= FIT_MAX, a multiple of 8) under weights w. Next to nothing: scale 0. */
SMALL void fit_search(const struct fit *f, const float *x, const float *w, int n, float *scale, float *min) {
  float lo = x[0], hi = x[0], best = FIT_WORST;
  for (int i = 1; i < n; i++) {
    lo = x[i] < lo ? x[i] : lo;
    hi = x[i] > hi ? x[i] : hi;
  }
  if (f->down && lo > 0) lo = 0;
  *scale = 0;
  *min = f->has_min ? lo : 0;
  float span = f->has_min ? hi - lo : hi > -lo ? hi : lo, first = *min;
  if (span * span <= FIT_NOTHING * FIT_NOTHING) return;
  for (int side = 0; side <= (int)f->both; side++) {
    float edge = f->has_min || side ? f->high : f->low;
    for (int k = -f->tries; k <= f->tries && best > 0; k++) {
      float s = span / (edge + f->step * (float)k);
      fit_try(f, x, w, n, f->half ? f16_to_f32(fit_half(s)) : s, first, &best, scale, min);
    }
  }
  for (int again = 0; again < 3 && best > 0; again++)
    if (!fit_try(f, x, w, n, *scale, *min, &best, scale, min)) break;
}

/* The error of this scale and min with the levels that suit them. l (n) gets those if it is less than *best. */
SMALL bool fit_better(const struct fit *f, const float *x, const float *w, int n, float scale, float min, float *best, float *l) {
  float here[FIT_MAX];
  fit_levels(f, x, n, scale, min, here);
  float error = fit_measure(x, w, here, n, scale, min).ee;
  if (!(error < *best)) return false;
  *best = error;
  memcpy(l, here, sizeof *l * (size_t)n);
  return true;
}

/* The half of which `levels` reach x, or nearly: halves are coarse below 2^-14, and rounding down would cut x. */
SMALL uint16_t fit_half_of(float x, float levels) {
  uint16_t h = fit_half(x / levels);
  float reached = f16_to_f32(h) * (levels + (levels < 0 ? -0.5f : 0.5f));
  return reached * reached < x * x && (h & 0x7FFF) < 0x7BFF ? h + 1 : h;
}

static int fit_nearest(float x) { return (int)(x < 0 ? x - 0.5f : x + 0.5f); }

/* 32 weights to levels -levels .. levels - 1 under a half, which is returned: the widest weight on -levels, so that it is
 * exact and the scale may be negative (ggml's convention for Q4_0 and Q5_0); a tie goes up, as there. A searched scale had
 * a smaller error and still, on most of the models tried, the larger divergence. */
SMALL uint16_t fit_widest(const float *x, int levels, int l[32]) {
  float top = 0;
  for (int i = 0; i < 32; i++)
    if (x[i] * x[i] > top * top) top = x[i];
  uint16_t half = fit_half(top / (float)-levels);
  float d = f16_to_f32(half), inverse = d * d > 0 ? 1 / d : 0, most = (float)(2 * levels - 1);
  for (int i = 0; i < 32; i++) {
    float up = x[i] * inverse + ((float)levels + 0.5f); // its whole part is the level, from 0
    l[i] = (int)(up < 0 ? 0 : up > most ? most : up) - levels;
  }
  return half;
}

/* How much an error counts: |x| and the mean of those in its block. What is large matters more, but not by its square: so
 * both the plain and the x^2-weighted error of a whole model came out below llama-quantize's. w (n) */
SMALL void fit_weigh(const float *x, int n, float *w) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += x[i] < 0 ? -x[i] : x[i];
  for (int i = 0; i < n; i++) w[i] = sum / (float)n + (x[i] < 0 ? -x[i] : x[i]);
}

/* 32 weights to levels l under halves d and m (with f->has_min). */
SMALL void fit_block(const struct fit *f, const float *x, uint16_t *d, uint16_t *m, float l[32]) {
  float w[32], scale, min;
  fit_weigh(x, 32, w);
  fit_search(f, x, w, 32, &scale, &min);
  *d = fit_half(scale);
  *m = fit_half(min);
  fit_levels(f, x, 32, f16_to_f32(*d), f16_to_f32(*m), l);
}
