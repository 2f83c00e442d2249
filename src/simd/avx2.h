/* simd/avx2.h -- the vocabulary of kern.inc on AVX2 + FMA + F16C: 8 lanes.
 * SPDX-License-Identifier: MIT */
#define ISA avx2
#define VL 8
#define WIDTHS(X) X(1) X(2) X(4)
#define WIDEST 4 /* 4 integer and 4 float accumulators, weights, masks and temporaries fit 16 registers */
#define W8_BIAS 0 /* vi_dot8 wants signed bytes */
#define vf __m256
#define vi __m256i
#define vt __m256i

#ifndef AVX2_WORDS
#define AVX2_WORDS
/* Unsigned w up to 127: 2*63*127 = 16002 < 32767 for every code of at most 6 bits, so maddubs cannot saturate. */
ALWAYS_INLINE __m256i avx2_dot(__m256i acc, __m256i w, int32_t x) {
  __m256i pairs = _mm256_maddubs_epi16(w, _mm256_set1_epi32(x));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Signed w: |w| * (x with the sign of w); 2*128*127 = 32512 < 32767: maddubs cannot saturate. x is never -128. */
ALWAYS_INLINE __m256i avx2_dot8(__m256i acc, __m256i w, int32_t x) {
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(_mm256_set1_epi32(x), w));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

ALWAYS_INLINE __m256i avx2_s8(const void *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)); }

/* Lane i + lane i + 4, then 2, 1. */
ALWAYS_INLINE float avx2_fold(__m256 v) {
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

ALWAYS_INLINE float avx2_top(__m256 v) {
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

ALWAYS_INLINE int32_t avx2_most(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
}

ALWAYS_INLINE int32_t avx2_sum(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

/* The low 16 or 8 bits of every dword, close together. */
ALWAYS_INLINE __m128i avx2_low_shorts(__m256i v) {
  const __m256i pick = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 4, 5, 8, 9, 12, 13, -1, -1,
                                        -1, -1, -1, -1, -1, -1);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, pick), 0x08));
}

ALWAYS_INLINE __m128i avx2_low_bytes(__m256i v) {
  return _mm_shuffle_epi8(avx2_low_shorts(v), _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, -1, -1, -1, -1, -1, -1, -1, -1));
}

/* Pairs (x, y) with (cos, sin): x cos - y sin, x sin + y cos, of which the first product is fused. */
ALWAYS_INLINE __m256 avx2_rotate(__m256 x, __m256 a) {
  __m256 t = _mm256_mul_ps(_mm256_movehdup_ps(x), _mm256_permute_ps(a, 0xB1));
  return _mm256_fmaddsub_ps(_mm256_moveldup_ps(x), a, t);
}
#endif // AVX2_WORDS

#define one_fma(a, b, c) __builtin_fmaf(a, b, c)
#define vf_zero() _mm256_setzero_ps()
#define vf_set1(a) _mm256_set1_ps(a)
#define vf_load(p) _mm256_loadu_ps(p)
#define vf_store(p, v) _mm256_storeu_ps(p, v)
#define vf_add(a, b) _mm256_add_ps(a, b)
#define vf_sub(a, b) _mm256_sub_ps(a, b)
#define vf_div(a, b) _mm256_div_ps(a, b)
#define vf_min(a, b) _mm256_min_ps(a, b)
#define vf_bits(v) _mm256_castps_si256(v)
#define vf_from_bits(v) _mm256_castsi256_ps(v)
#define vf_mul(a, b) _mm256_mul_ps(a, b)
#define vf_max(a, b) _mm256_max_ps(a, b)
#define vf_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vf_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define vf_from_f16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vf_from_bf16(p) \
  _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))), 16))
#define vf_from_vi(v) _mm256_cvtepi32_ps(v)
#define vi_zero() _mm256_setzero_si256()
#define vi_set1(i) _mm256_set1_epi32(i)
#define vi_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define vi_bytes(v, mask) _mm256_and_si256(v, _mm256_set1_epi8(mask))
#define vi_high(v) _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15))
#define vi_shr(v, n) _mm256_srli_epi16(v, n)
#define vi_shl(v, n) _mm256_slli_epi16(v, n)
#define vi_flip(v) _mm256_xor_si256(v, _mm256_set1_epi8(-128))
#define vi_opaque(v) __asm__ volatile("" : "+x"(v))
#define vi_or(a, b) _mm256_or_si256(a, b)
#define vi_add(a, b) _mm256_add_epi32(a, b)
#define vi_sub(a, b) _mm256_sub_epi32(a, b)
#define vi_max(a, b) _mm256_max_epi32(a, b)
#define vi_magnitude(v) _mm256_and_si256(v, _mm256_set1_epi32(0x7FFFFFFF))
#define vf_rotate(x, a) avx2_rotate(x, a)
#define vf_fold(v) avx2_fold(v)
#define vf_most(v) avx2_top(v)
#define vi_most(v) avx2_most(v)
#define vi_sum(v) avx2_sum(v)
#define vi_store_bytes(p, v) _mm_storel_epi64((__m128i *)(void *)(p), avx2_low_bytes(v))
#define vi_store_shorts(p, v) _mm_storeu_si128((__m128i *)(void *)(p), avx2_low_shorts(v))
#define vi_low_s8(v) _mm256_srai_epi32(_mm256_slli_epi32(v, 24), 24)
#define vf_from_s8(p) _mm256_cvtepi32_ps(avx2_s8(p))
#define vi_pair_s8(p, q) _mm256_blend_epi16(avx2_s8(p), _mm256_slli_epi32(avx2_s8(q), 16), 0xAA)
#define vi_pairs_s8(p) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vi_mul2(v, n) _mm256_slli_epi32(v, n)
#define vi_field(v, n, mask) _mm256_and_si256(_mm256_srli_epi32(v, n), _mm256_set1_epi32(mask))
#define vi_byte(v, j) vi_field(v, 8 * (j), 255)
#define vi_from_s8(p) avx2_s8(p)
#define vi_mul_add(a, b, c) _mm256_add_epi32(_mm256_mullo_epi32(a, b), c)
#define vi_mul16(a, b) _mm256_mullo_epi16(a, b)
#define vt_load(p) vi_load(p)
#define vi_table(t, v) _mm256_shuffle_epi8(t, v)
#define vi_dot(acc, w, x, i, n) avx2_dot(acc, w, (x)[i])
#define vi_dot8(acc, w, x, i, n) avx2_dot8(acc, w, (x)[i])
#define vi_dot16(acc, w, x, i, n) _mm256_add_epi32(acc, _mm256_madd_epi16(w, _mm256_set1_epi32((x)[i])))
