/* simd/avx2.h -- the vocabulary of kern.inc on AVX2 + FMA + F16C: 8 lanes.
 * SPDX-License-Identifier: MIT */
#define ISA avx2
#define VL 8
#define WIDTHS(X) X(1) X(2) X(4)
#define WIDEST 4 /* 4 integer and 4 float accumulators, weights, masks and temporaries fit 16 registers */
#define W8_BIAS 0 /* vi_dot8 wants signed bytes */
#define vf __m256
#define vi __m256i

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

#define one_fma(a, b, c) __builtin_fmaf(a, b, c)
#define vf_zero() _mm256_setzero_ps()
#define vf_set1(a) _mm256_set1_ps(a)
#define vf_load(p) _mm256_loadu_ps(p)
#define vf_store(p, v) _mm256_storeu_ps(p, v)
#define vf_add(a, b) _mm256_add_ps(a, b)
#define vf_mul(a, b) _mm256_mul_ps(a, b)
#define vf_max(a, b) _mm256_max_ps(a, b)
#define vf_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vf_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define vf_from_f16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define vf_from_bf16(p) \
  _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))), 16))
#define vf_from_u8(p) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p))))
#define vf_from_s8(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p))))
#define vf_from_vi(v) _mm256_cvtepi32_ps(v)
#define vi_zero() _mm256_setzero_si256()
#define vi_set1(i) _mm256_set1_epi32(i)
#define vi_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define vi_bytes(v, mask) _mm256_and_si256(v, _mm256_set1_epi8(mask))
#define vi_shr(v, n) _mm256_srli_epi16(v, n)
#define vi_shl(v, n) _mm256_slli_epi16(v, n)
#define vi_flip(v) _mm256_xor_si256(v, _mm256_set1_epi8(-128))
#define vi_opaque(v) __asm__ volatile("" : "+x"(v))
#define vi_or(a, b) _mm256_or_si256(a, b)
#define vi_mul2(v, n) _mm256_slli_epi32(v, n)
#define vi_byte(v, j) _mm256_and_si256(_mm256_srli_epi32(v, 8 * (j)), _mm256_set1_epi32(255))
#define vi_dot(acc, w, x) avx2_dot(acc, w, x)
#define vi_dot8(acc, w, x) avx2_dot8(acc, w, x)
