/* simd/neon.h -- the vocabulary of kern.inc on NEON: 4 lanes. With NEON_DOT defined, the dot product instruction.
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

#ifdef NEON_DOT
#define vi_dot(acc, w, x) vdotq_s32(acc, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(vdupq_n_s32(x)))
#else
/* Products of bytes fit int16 (128*127), sums of two of them as well (2*128*127 = 32512). */
ALWAYS_INLINE int32x4_t neon_dot4(int32x4_t acc, int32x4_t w, int32_t x) {
  int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(vdupq_n_s32(x));
  int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return vpadalq_s16(acc, vpaddq_s16(low, high));
}
#define vi_dot(acc, w, x) neon_dot4(acc, w, x)
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
/* gcc has no zero-shift immediate for vshrq; kern.inc shifts by 1..7 only */
#define vi_shr(v, n) vreinterpretq_s32_u16(vshrq_n_u16(vreinterpretq_u16_s32(v), n))
#define vi_shl(v, n) vreinterpretq_s32_u16(vshlq_n_u16(vreinterpretq_u16_s32(v), n))
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
#define vi_mul2(v, n) vshlq_n_s32(v, n)
#define vi_field(v, n, mask) vandq_s32(vshlq_s32(v, vdupq_n_s32(-(n))), vdupq_n_s32(mask))
#define vi_byte(v, j) vi_field(v, 8 * (j), 255)
#define vi_from_s8(p) neon_s8(p)
#define vi_mul_add(a, b, c) vmlaq_s32(c, a, b)
#define vi_mul16(a, b) vreinterpretq_s32_s16(vmulq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)))
#define vt_load(p) vld1q_s8((const int8_t *)(p))
#define vi_table(t, v) vreinterpretq_s32_s8(vqtbl1q_s8(t, vreinterpretq_u8_s32(v)))
#define vi_dot8(acc, w, x) vi_dot(acc, w, x)
#define vi_dot16(acc, w, x) neon_dot16(acc, w, x)

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

/* Sum of 2 products of int16. */
ALWAYS_INLINE int32x4_t neon_dot16(int32x4_t acc, int32x4_t w, int32_t x) {
  int16x8_t a = vreinterpretq_s16_s32(w), b = vreinterpretq_s16_s32(vdupq_n_s32(x));
  return vaddq_s32(acc, vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)));
}
#endif
