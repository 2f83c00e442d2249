/* simd/avx_vnni.h -- AVX2 with the dot products of bytes of AVX-VNNI: processors that have them without AVX-512.
 *
 * Everything but the integer products is AVX2's, attention too: measured, vpdpwssd gains nothing there over vpmaddwd and
 * vpaddd. No machine of ours has these instructions, so -DAVX_VNNI_EVEX builds the same source for the 256-bit forms of
 * AVX-512 VNNI: that proves the sums and their order, not the encoding, and its times are of another processor: products
 * with 512 columns take 0.48 to 0.63 of what AVX2 takes there (Zen 4), with one column both wait for memory.
 * SPDX-License-Identifier: MIT */
#include "avx2.h"
#undef ISA
#undef W8_BIAS
#undef vt_load
#undef vi_dot
#undef vi_dot8
#undef vi_dot16
#define ISA avx_vnni
#define TAKES avx2
#define W8_BIAS 128
#define vt_load(p) vi_flip(vi_load(p))
#ifdef AVX_VNNI_EVEX
#define vi_dot(acc, w, x, i, n) _mm256_dpbusd_epi32(acc, w, _mm256_set1_epi32((x)[i]))
#define vi_dot16(acc, w, x, i, n) _mm256_dpwssd_epi32(acc, w, _mm256_set1_epi32((x)[i]))
#else
#define vi_dot(acc, w, x, i, n) _mm256_dpbusd_avx_epi32(acc, w, _mm256_set1_epi32((x)[i]))
#define vi_dot16(acc, w, x, i, n) _mm256_dpwssd_avx_epi32(acc, w, _mm256_set1_epi32((x)[i]))
#endif
#define vi_dot8(acc, w, x, i, n) vi_dot(acc, w, x, i, n)
