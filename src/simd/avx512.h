/* simd/avx512.h -- the vocabulary of kern.inc on AVX-512 (F BW VL DQ) with VNNI: 16 lanes, a whole group of rows.
 * SPDX-License-Identifier: MIT */
#define ISA avx512
#define VL 16
#define WIDTHS(X) X(1) X(2) X(3) X(4) X(6) X(8) X(12)
#define WIDEST 12 /* 12 integer and 12 float accumulators, weights, scale, min and mask fit 32 registers */
#define W8_BIAS 128
#define vf __m512
#define vi __m512i
#define vt __m512i

/* The broadcast is part of the instruction: gcc 12 makes it one of its own, which costs a register and a tile that spills. */
ALWAYS_INLINE __m512i avx512_dot(__m512i acc, __m512i w, const int32_t *x) {
  __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
  return acc;
}

ALWAYS_INLINE __m512i avx512_dot16(__m512i acc, __m512i w, const int32_t *x) {
  __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
  return acc;
}

ALWAYS_INLINE __m512i avx512_s8(const void *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)); }

/* Lane i + lane i + 8, then 4, 2, 1. */
ALWAYS_INLINE float avx512_fold(__m512 v) {
  __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

/* Pairs (x, y) with (cos, sin): x cos - y sin, x sin + y cos, of which the first product is fused. */
ALWAYS_INLINE __m512 avx512_rotate(__m512 x, __m512 a) {
  __m512 t = _mm512_mul_ps(_mm512_movehdup_ps(x), _mm512_permute_ps(a, 0xB1));
  return _mm512_fmaddsub_ps(_mm512_moveldup_ps(x), a, t);
}

#define one_fma(a, b, c) __builtin_fmaf(a, b, c)
#define vf_zero() _mm512_setzero_ps()
#define vf_set1(a) _mm512_set1_ps(a)
#define vf_load(p) _mm512_loadu_ps(p)
#define vf_store(p, v) _mm512_storeu_ps(p, v)
#define vf_add(a, b) _mm512_add_ps(a, b)
#define vf_sub(a, b) _mm512_sub_ps(a, b)
#define vf_div(a, b) _mm512_div_ps(a, b)
#define vf_min(a, b) _mm512_min_ps(a, b)
#define vf_bits(v) _mm512_castps_si512(v)
#define vf_from_bits(v) _mm512_castsi512_ps(v)
#define vf_mul(a, b) _mm512_mul_ps(a, b)
#define vf_max(a, b) _mm512_max_ps(a, b)
#define vf_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vf_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define vf_from_f16(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define vf_from_bf16(p) \
  _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))), 16))
#define vf_from_vi(v) _mm512_cvtepi32_ps(v)
#define vi_zero() _mm512_setzero_si512()
#define vi_set1(i) _mm512_set1_epi32(i)
#define vi_load(p) _mm512_loadu_si512(p)
#define vi_bytes(v, mask) _mm512_and_si512(v, _mm512_set1_epi8(mask))
#define vi_high(v) _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15))
#define vi_shr(v, n) _mm512_srli_epi16(v, n)
#define vi_shl(v, n) _mm512_slli_epi16(v, n)
#define vi_flip(v) _mm512_xor_si512(v, _mm512_set1_epi8(-128))
#define vi_opaque(v) __asm__ volatile("" : "+v"(v))
#define vi_or(a, b) _mm512_or_si512(a, b)
#define vi_add(a, b) _mm512_add_epi32(a, b)
#define vi_sub(a, b) _mm512_sub_epi32(a, b)
#define vi_max(a, b) _mm512_max_epi32(a, b)
#define vi_magnitude(v) _mm512_and_si512(v, _mm512_set1_epi32(0x7FFFFFFF))
#define vf_rotate(x, a) avx512_rotate(x, a)
#define vf_fold(v) avx512_fold(v)
#define vf_most(v) _mm512_reduce_max_ps(v)
#define vi_most(v) _mm512_reduce_max_epi32(v)
#define vi_sum(v) _mm512_reduce_add_epi32(v)
#define vi_store_bytes(p, v) _mm_storeu_si128((__m128i *)(void *)(p), _mm512_cvtepi32_epi8(v))
#define vi_store_shorts(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), _mm512_cvtepi32_epi16(v))
#define vi_low_s8(v) _mm512_srai_epi32(_mm512_slli_epi32(v, 24), 24)
#define vf_from_s8(p) _mm512_cvtepi32_ps(avx512_s8(p))
#define vi_pair_s8(p, q) _mm512_or_si512(_mm512_maskz_mov_epi16(0x55555555, avx512_s8(p)), _mm512_slli_epi32(avx512_s8(q), 16))
#define vi_pairs_s8(p) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define vi_mul2(v, n) _mm512_slli_epi32(v, n)
#define vi_field(v, n, mask) _mm512_and_si512(_mm512_srli_epi32(v, n), _mm512_set1_epi32(mask))
#define vi_byte(v, j) vi_field(v, 8 * (j), 255)
#define vi_from_s8(p) avx512_s8(p)
#define vi_mul_add(a, b, c) _mm512_add_epi32(_mm512_mullo_epi32(a, b), c)
#define vi_mul16(a, b) _mm512_mullo_epi16(a, b)
#define vt_load(p) vi_flip(vi_load(p))
#define vi_table(t, v) _mm512_shuffle_epi8(t, v)
#define vi_dot(acc, w, x, i, n) avx512_dot(acc, w, (x) + (i))
#define vi_dot8(acc, w, x, i, n) avx512_dot(acc, w, (x) + (i))
#define vi_dot16(acc, w, x, i, n) avx512_dot16(acc, w, (x) + (i))

/* A block of a panel of twelve columns: what kern_int8 does with each, side by side: a column is a lane from where the largest
 * of it is known. Columns from `width` on are computed and not stored. */
ALWAYS_INLINE void avx512_block(const float *const *from, const float *zeros, __mmask16 own, size_t width, int32_t *block) {
  __m512i v[KERN_WIDEST], step[8], first = _mm512_setzero_si512(), all;
  float inverse[GROUP];
  UNROLL for (int c = 0; c < KERN_WIDEST; c++)
    v[c] = _mm512_max_epi32(vi_magnitude(vi_load(from[c])), vi_magnitude(vi_load(from[c] + 16)));
  UNROLL for (int c = 0; c < KERN_WIDEST; c += 2) v[c] = _mm512_max_epi32(_mm512_unpacklo_epi32(v[c], v[c + 1]),
                                                                           _mm512_unpackhi_epi32(v[c], v[c + 1]));
  UNROLL for (int c = 0; c < KERN_WIDEST; c += 4) v[c] = _mm512_max_epi32(_mm512_unpacklo_epi64(v[c], v[c + 2]),
                                                                           _mm512_unpackhi_epi64(v[c], v[c + 2]));
  v[0] = _mm512_max_epi32(_mm512_shuffle_i32x4(v[0], v[4], 0x88), _mm512_shuffle_i32x4(v[0], v[4], 0xDD));
  v[8] = _mm512_max_epi32(_mm512_shuffle_i32x4(v[8], v[8], 0x88), _mm512_shuffle_i32x4(v[8], v[8], 0xDD));
  v[0] = _mm512_max_epi32(_mm512_shuffle_i32x4(v[0], v[8], 0x88), _mm512_shuffle_i32x4(v[0], v[8], 0xDD));
  const __m512 biggest = _mm512_castsi512_ps(v[0]);
  const __mmask16 sound = _mm512_cmp_ps_mask(biggest, _mm512_set1_ps(INFINITY_F), _CMP_LT_OQ);
  const __mmask16 large = _mm512_mask_cmp_ps_mask(sound, biggest, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
  const __m512 scale = _mm512_mask_div_ps(biggest, sound, biggest, _mm512_set1_ps(127.0f));
  _mm512_storeu_ps(inverse, _mm512_maskz_div_ps(large, _mm512_set1_ps(127.0f), biggest));
  UNROLL for (int c = 0; c < KERN_WIDEST; c++) {
    const float *x = sound >> c & 1 ? from[c] : zeros;
    const __m512 by = _mm512_set1_ps(inverse[c]);
    v[c] = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by)),
                              _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), by)));
  }
  __m512i low[4], high[4]; // of four columns: quarter i is step i, step 4 + i
  UNROLL for (int c = 0; c < KERN_WIDEST; c += 4) {
    __m512 a = _mm512_castsi512_ps(_mm512_packs_epi16(v[c], v[c + 1])), b = _mm512_castsi512_ps(_mm512_packs_epi16(v[c + 2], v[c + 3]));
    low[c / 4] = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
    high[c / 4] = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD));
  }
  UNROLL for (int h = 0; h < 2; h++) {
    const __m512i *t = h ? high : low;
    const __m512i a = _mm512_shuffle_i32x4(t[0], t[1], 0x44), b = _mm512_shuffle_i32x4(t[0], t[1], 0xEE);
    step[4 * h] = _mm512_shuffle_i32x4(a, t[2], 0x08);
    step[4 * h + 1] = _mm512_shuffle_i32x4(a, t[2], 0x5D);
    step[4 * h + 2] = _mm512_shuffle_i32x4(b, t[2], 0xA8);
    step[4 * h + 3] = _mm512_shuffle_i32x4(b, t[2], 0xFD);
  }
  UNROLL for (int s = 0; s < 8; s++, block += width) {
    if (s == 4) all = first;
    if (s < 4) first = _mm512_dpbusd_epi32(first, _mm512_set1_epi8(1), step[s]);
    else all = _mm512_dpbusd_epi32(all, _mm512_set1_epi8(1), step[s]);
    _mm512_mask_storeu_epi32(block, own, step[s]);
  }
  const __m512i zero = _mm512_setzero_si512(), less = _mm512_sub_epi32(zero, _mm512_slli_epi32(all, 3));
  _mm512_mask_storeu_ps(block, own, scale);
  _mm512_mask_storeu_epi32(block + width, own, less);
  _mm512_mask_storeu_epi32(block + 2 * width, own, _mm512_slli_epi32(less, 1));
  _mm512_mask_storeu_epi32(block + 3 * width, own, _mm512_slli_epi32(less, 4));
  _mm512_mask_storeu_epi32(block + 4 * width, own, _mm512_sub_epi32(zero, _mm512_slli_epi32(first, 7)));
  _mm512_mask_storeu_ps(block + 5 * width, own, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(all)));
}

/* False: too few columns for it to be worth while. */
ALWAYS_INLINE bool avx512_blocks(const float *const *x, int n_blocks, int width, void *panel) {
  static const float zeros[32];
  const float *from[KERN_WIDEST];
  int32_t *block = panel;
  if (width < 4) return false;
  for (int b = 0; b < n_blocks; b++, block += panel_block * width) {
    for (int c = 0; c < KERN_WIDEST; c++) from[c] = c < width && x[c] ? x[c] + 32 * b : zeros;
    avx512_block(from, zeros, (__mmask16)((1u << width) - 1), (size_t)width, block);
  }
  return true;
}

/* Of 16 columns, n of which are there: what makes codes of each up to +-most; scale (n): what makes floats of them again. */
NOINLINE static void avx512_scales(const float *const *x, int dims, int n, int most, float *inverse, float *scale) {
  __m512i v[GROUP];
  UNROLL for (int c = 0; c < GROUP; c++) v[c] = _mm512_setzero_si512();
  for (int d = 0; d < dims; d += 16)
    UNROLL for (int c = 0; c < GROUP; c++)
      if (c < n) v[c] = _mm512_max_epi32(v[c], vi_magnitude(vi_load(x[c] + d)));
  UNROLL for (int c = 0; c < GROUP; c += 2) v[c] = _mm512_max_epi32(_mm512_unpacklo_epi32(v[c], v[c + 1]),
                                                                     _mm512_unpackhi_epi32(v[c], v[c + 1]));
  UNROLL for (int c = 0; c < GROUP; c += 4) v[c] = _mm512_max_epi32(_mm512_unpacklo_epi64(v[c], v[c + 2]),
                                                                     _mm512_unpackhi_epi64(v[c], v[c + 2]));
  UNROLL for (int c = 0; c < GROUP; c += 8) v[c] = _mm512_max_epi32(_mm512_shuffle_i32x4(v[c], v[c + 4], 0x88),
                                                                     _mm512_shuffle_i32x4(v[c], v[c + 4], 0xDD));
  const __m512 biggest = _mm512_castsi512_ps(_mm512_max_epi32(_mm512_shuffle_i32x4(v[0], v[8], 0x88),
                                                              _mm512_shuffle_i32x4(v[0], v[8], 0xDD)));
  const __mmask16 large = _mm512_cmp_ps_mask(biggest, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
  _mm512_storeu_ps(inverse, _mm512_maskz_div_ps(large, _mm512_set1_ps((float)most), biggest));
  _mm512_mask_storeu_ps(scale, (__mmask16)((1u << n) - 1), _mm512_div_ps(biggest, _mm512_set1_ps((float)most)));
}

ALWAYS_INLINE __m512i avx512_codes(const float *x, __m512 by) { // in the low halves
  return _mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(x), by), _mm512_set1_ps(12582912.0f)));
}

/* Dword c of row d of `out` becomes dword d of v[c], which is used up; of those c that are `own`. */
ALWAYS_INLINE void avx512_transpose(__m512i *v, int32_t *out, int stride, __mmask16 own) {
  UNROLL for (int c = 0; c < GROUP; c += 4) { // 4 x 4 in every quarter, then quarters
    const __m512i a = _mm512_unpacklo_epi32(v[c], v[c + 1]), b = _mm512_unpackhi_epi32(v[c], v[c + 1]);
    const __m512i e = _mm512_unpacklo_epi32(v[c + 2], v[c + 3]), f = _mm512_unpackhi_epi32(v[c + 2], v[c + 3]);
    v[c] = _mm512_unpacklo_epi64(a, e), v[c + 1] = _mm512_unpackhi_epi64(a, e);
    v[c + 2] = _mm512_unpacklo_epi64(b, f), v[c + 3] = _mm512_unpackhi_epi64(b, f);
  }
  UNROLL for (int s = 0; s < 4; s++) {
    const __m512i a = _mm512_shuffle_i32x4(v[s], v[s + 4], 0x88), b = _mm512_shuffle_i32x4(v[s + 8], v[s + 12], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(v[s], v[s + 4], 0xDD), f = _mm512_shuffle_i32x4(v[s + 8], v[s + 12], 0xDD);
    _mm512_mask_storeu_epi32(out + s * stride, own, _mm512_shuffle_i32x4(a, b, 0x88));
    _mm512_mask_storeu_epi32(out + (4 + s) * stride, own, _mm512_shuffle_i32x4(e, f, 0x88));
    _mm512_mask_storeu_epi32(out + (8 + s) * stride, own, _mm512_shuffle_i32x4(a, b, 0xDD));
    _mm512_mask_storeu_epi32(out + (12 + s) * stride, own, _mm512_shuffle_i32x4(e, f, 0xDD));
  }
}

/* kern_transpose */
ALWAYS_INLINE bool avx512_transposed(const float *const *x, int dims, int n, float scale, float *to) {
  if (dims % 16) return false;
  for (int d = 0; d < dims; d += 16) {
    __m512i v[GROUP];
    UNROLL for (int c = 0; c < GROUP; c++)
      v[c] = _mm512_castps_si512(_mm512_mul_ps(_mm512_loadu_ps(x[c < n ? c : 0] + d), _mm512_set1_ps(scale)));
    avx512_transpose(v, (int32_t *)(void *)(to + GROUP * d), GROUP, 0xFFFF);
  }
  return true;
}

/* kern_pairs: a column is a lane. 32 floats of each at once. */
ALWAYS_INLINE bool avx512_pairs(const float *const *x, int dims, int n, int most, int32_t *out, int stride, float *scale) {
  const __mmask16 own = (__mmask16)((1u << n) - 1);
  float inverse[GROUP];
  if (n < 4 || dims % 32) return false;
  avx512_scales(x, dims, n, most, inverse, scale);
  for (int d = 0; d < dims; d += 32, out += 16 * stride) {
    __m512i v[GROUP];
    UNROLL for (int c = 0; c < GROUP; c++) {
      const float *from = x[c < n ? c : 0] + d;
      const __m512 by = _mm512_set1_ps(inverse[c]);
      v[c] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(avx512_codes(from, by))),
                                _mm512_cvtepi32_epi16(avx512_codes(from + 16, by)), 1);
    }
    avx512_transpose(v, out, stride, own);
  }
  return true;
}

/* kern_couples */
ALWAYS_INLINE bool avx512_couples(const float *const *x, int dims, int n, int most, int32_t *out, int stride, float *scale) {
  float inverse[GROUP];
  if (n < 4 || dims % 16) return false;
  avx512_scales(x, dims, n, most, inverse, scale);
  for (int c = 0; c < n; c += 2, out += stride) {
    const __m512 first = _mm512_set1_ps(inverse[c]), second = _mm512_set1_ps(inverse[c + 1]);
    for (int d = 0; d < dims; d += 16)
      _mm512_storeu_si512(out + d, _mm512_mask_blend_epi16(0xAAAAAAAA, avx512_codes(x[c] + d, first),
                                                           _mm512_slli_epi32(avx512_codes(x[c + 1] + d, second), 16)));
  }
  return true;
}

#define TRANSPOSED(x, dims, n, scale, to) avx512_transposed(x, dims, n, scale, to)
#define COUPLES(x, dims, n, most, out, stride, scale) avx512_couples(x, dims, n, most, out, stride, scale)
#define PAIRS(x, dims, n, most, out, stride, scale) avx512_pairs(x, dims, n, most, out, stride, scale)
#define BLOCKS(x, n_blocks, width, panel) avx512_blocks(x, n_blocks, width, panel)
