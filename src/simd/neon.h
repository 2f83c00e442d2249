/* simd/neon.h -- the vocabulary of kern.inc on NEON: 4 lanes. With NEON_DOT defined, the dot product instruction.
 *
 * What all lanes of a product share is picked from a vector by the instruction (x[i] of n, see simd/scalar.h): with a
 * broadcast for each, q4 took 1430 instructions for 16 rows x 8 columns x 32 k where it takes 565 (tools/count_arm.sh).
 * SPDX-License-Identifier: MIT */
#ifdef NEON_DOT
#define ISA neon_dot
#else
#define ISA neon
#endif
#define VL 4
#define WIDTHS(X) X(1) X(2) X(4) X(8)
#define WIDEST 8 /* 8 integer and 8 float accumulators fit 32 registers with room to spare */
#define W8_BIAS 0 /* both dots are signed x signed; codes of at most 6 bits are the same either way */
#define vf float32x4_t
#define vi int32x4_t
#define vt int8x16_t

#if defined(NEON_DOT) && !defined(NEON_DOT_WORDS)
#define NEON_DOT_WORDS
/* Four activations come with one load, and the instruction picks its lane. Written out, since gcc 12 orders intrinsics by
 * column, unpacks all weights before the first product and spills. */
#define NEON_SDOT(lane) __asm__("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(acc) : "w"(w), "w"(four))
ALWAYS_INLINE int32x4_t neon_dot_lane(int32x4_t acc, int32x4_t w, const int32_t *x, const int i, const int n) {
  const bool whole = (i | 3) < n;
  int32x4_t four = whole ? vld1q_s32(x + (i & ~3)) : vdupq_n_s32(x[i]);
  switch (whole ? i & 3 : 0) { // an immediate
  case 0: NEON_SDOT(0); break;
  case 1: NEON_SDOT(1); break;
  case 2: NEON_SDOT(2); break;
  default: NEON_SDOT(3); break;
  }
  return acc;
}
#elif !defined(NEON_DOT)
/* Products of bytes fit int16 (128*127), sums of two of them as well (2*128*127 = 32512). */
ALWAYS_INLINE int32x4_t neon_dot4(int32x4_t acc, int32x4_t w, int32_t x) {
  int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(vdupq_n_s32(x));
  int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return vpadalq_s16(acc, vpaddq_s16(low, high));
}
#endif
#ifdef NEON_DOT
#define vi_dot(acc, w, x, i, n) neon_dot_lane(acc, w, x, i, n)
#else
#define vi_dot(acc, w, x, i, n) neon_dot4(acc, w, (x)[i])
#endif

#define one_fma(a, b, c) __builtin_fmaf(a, b, c)
#define vf_zero() vdupq_n_f32(0)
#define vf_set1(a) vdupq_n_f32(a)
#define vf_load(p) vld1q_f32(p)
#define vf_store(p, v) vst1q_f32(p, v)
#define vf_add(a, b) vaddq_f32(a, b)
#define vf_sub(a, b) vsubq_f32(a, b)
#define vf_div(a, b) vdivq_f32(a, b)
#define vf_min(a, b) vminq_f32(a, b)
#define vf_bits(v) vreinterpretq_s32_f32(v)
#define vf_from_bits(v) vreinterpretq_f32_s32(v)
#define vf_mul(a, b) vmulq_f32(a, b)
#define vf_max(a, b) vmaxq_f32(a, b)
#define vf_fma(a, b, c) vfmaq_f32(c, a, b)
#define vf_fnma(a, b, c) vfmsq_f32(c, a, b)
#define vf_from_f16(p) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))
#define vf_from_bf16(p) vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))
#define vf_from_vi(v) vcvtq_f32_s32(v)
#define vi_zero() vdupq_n_s32(0)
#define vi_set1(i) vdupq_n_s32(i)
#define vi_load(p) vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)(p)))
#define vi_bytes(v, mask) vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(v), vdupq_n_u8(mask)))
#define vi_high(v) vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(v), 4))
/* operators, since clang takes no expression for the immediate of vshlq_n; kern.inc shifts by 1..7 only */
#define vi_shr(v, n) vreinterpretq_s32_u16(vreinterpretq_u16_s32(v) >> (n))
#define vi_shl(v, n) vreinterpretq_s32_u16(vreinterpretq_u16_s32(v) << (n))
#define vi_flip(v) veorq_s32(v, vdupq_n_s32((int32_t)0x80808080u))
#define vi_opaque(v) __asm__ volatile("" : "+w"(v))
#define vi_or(a, b) vorrq_s32(a, b)
#define vi_add(a, b) vaddq_s32(a, b)
#define vi_sub(a, b) vsubq_s32(a, b)
#define vi_max(a, b) vmaxq_s32(a, b)
#define vi_magnitude(v) vandq_s32(v, vdupq_n_s32(0x7FFFFFFF))
#define vf_rotate(x, a) neon_rotate(x, a)
#define vf_fold(v) neon_fold(v)
#define vf_most(v) vmaxvq_f32(v)
#define vi_most(v) vmaxvq_s32(v)
#define vi_sum(v) vaddvq_s32(v)
#define vi_store_bytes(p, v) neon_put_bytes(p, v)
#define vi_store_shorts(p, v) vst1_s16(p, vmovn_s32(v))
#define vi_low_s8(v) vshrq_n_s32(vshlq_n_s32(v, 24), 24)
#define vf_from_s8(p) vcvtq_f32_s32(neon_s8(p))
#define vi_pair_s8(p, q) vorrq_s32(vandq_s32(neon_s8(p), vdupq_n_s32(65535)), vshlq_n_s32(neon_s8(q), 16))
#define vi_pairs_s8(p) vreinterpretq_s32_s16(vmovl_s8(vld1_s8((const int8_t *)(p))))
#define vi_mul2(v, n) vreinterpretq_s32_u32(vreinterpretq_u32_s32(v) << (n))
#define vi_field(v, n, mask) vandq_s32(vshlq_s32(v, vdupq_n_s32(-(n))), vdupq_n_s32(mask))
#define vi_byte(v, j) vi_field(v, 8 * (j), 255)
#define vi_from_s8(p) neon_s8(p)
#define vi_mul_add(a, b, c) vmlaq_s32(c, a, b)
#define vi_mul16(a, b) vreinterpretq_s32_s16(vmulq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)))
#define vt_load(p) vld1q_s8((const int8_t *)(p))
#define vi_table(t, v) vreinterpretq_s32_s8(vqtbl1q_s8(t, vreinterpretq_u8_s32(v)))
#define vf_mul_at(a, x, i, n) neon_mul_at(a, x, i, n)
#define vf_fma_at(a, x, i, n, c) neon_fma_at(a, x, i, n, c)
#define vi_set1_at(x, i, n) neon_spread(x, i, n)
#define vi_dot8(acc, w, x, i, n) vi_dot(acc, w, x, i, n)
#define vi_dot16(acc, w, x, i, n) neon_dot16(acc, w, x, i, n)

#ifndef NEON_WORDS
#define NEON_WORDS
ALWAYS_INLINE int32x4_t neon_s8(const void *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(v)))));
}

/* Pairs (x, y) with (cos, sin): x cos - y sin, x sin + y cos, of which the first product is fused. */
ALWAYS_INLINE float32x4_t neon_rotate(float32x4_t x, float32x4_t a) {
  const uint32x4_t minus = {0x80000000u, 0, 0x80000000u, 0};
  float32x4_t t = vmulq_f32(vtrn2q_f32(x, x), vrev64q_f32(a));
  t = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(t), minus));
  return vfmaq_f32(t, vtrn1q_f32(x, x), a);
}

/* Lane i + lane i + 2, then 1. */
ALWAYS_INLINE float neon_fold(float32x4_t v) {
  float32x2_t b = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}

ALWAYS_INLINE void neon_put_bytes(int8_t *p, int32x4_t v) {
  uint32_t bytes = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(vmovn_s32(v), vmovn_s32(v)))), 0);
  memcpy(p, &bytes, sizeof bytes);
}

/* Products with x[i]: four of them come with one load where n allows, and the instruction picks its lane. */
ALWAYS_INLINE float32x4_t neon_mul_at(float32x4_t a, const float *x, const int i, const int n) {
  if ((i | 3) >= n) return vmulq_n_f32(a, x[i]);
  float32x4_t four = vld1q_f32(x + (i & ~3));
  switch (i & 3) { // an immediate
  case 0: return vmulq_laneq_f32(a, four, 0);
  case 1: return vmulq_laneq_f32(a, four, 1);
  case 2: return vmulq_laneq_f32(a, four, 2);
  default: return vmulq_laneq_f32(a, four, 3);
  }
}

ALWAYS_INLINE float32x4_t neon_fma_at(float32x4_t a, const float *x, const int i, const int n, float32x4_t c) {
  if ((i | 3) >= n) return vfmaq_f32(c, a, vdupq_n_f32(x[i]));
  float32x4_t four = vld1q_f32(x + (i & ~3));
  switch (i & 3) {
  case 0: return vfmaq_laneq_f32(c, a, four, 0);
  case 1: return vfmaq_laneq_f32(c, a, four, 1);
  case 2: return vfmaq_laneq_f32(c, a, four, 2);
  default: return vfmaq_laneq_f32(c, a, four, 3);
  }
}

ALWAYS_INLINE int32x4_t neon_spread(const int32_t *x, const int i, const int n) {
  if ((i | 3) >= n) return vdupq_n_s32(x[i]);
  int32x4_t four = vld1q_s32(x + (i & ~3));
  switch (i & 3) {
  case 0: return vdupq_laneq_s32(four, 0);
  case 1: return vdupq_laneq_s32(four, 1);
  case 2: return vdupq_laneq_s32(four, 2);
  default: return vdupq_laneq_s32(four, 3);
  }
}

/* Sum of 2 products of int16: first of each pair, then second. The parts of w are taken apart once for all columns. */
ALWAYS_INLINE int32x4_t neon_dot16(int32x4_t acc, int32x4_t w, const int32_t *x, const int i, const int n) {
  int16x4_t even = vmovn_s32(w), odd = vshrn_n_s32(w, 16);
  if ((i | 3) >= n) {
    int16x4_t pair = vreinterpret_s16_s32(vld1_dup_s32(x + i));
    return vmlal_lane_s16(vmlal_lane_s16(acc, even, pair, 0), odd, pair, 1);
  }
  int16x8_t four = vreinterpretq_s16_s32(vld1q_s32(x + (i & ~3)));
  switch (i & 3) { // an immediate
  case 0: return vmlal_laneq_s16(vmlal_laneq_s16(acc, even, four, 0), odd, four, 1);
  case 1: return vmlal_laneq_s16(vmlal_laneq_s16(acc, even, four, 2), odd, four, 3);
  case 2: return vmlal_laneq_s16(vmlal_laneq_s16(acc, even, four, 4), odd, four, 5);
  default: return vmlal_laneq_s16(vmlal_laneq_s16(acc, even, four, 6), odd, four, 7);
  }
}
#endif
