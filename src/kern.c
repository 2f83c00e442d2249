/* kern.c -- the registry of weight formats, packing, and one table of kernels per instruction set.
 *
 * In: blocks as they lie in the file. Out: packed groups of 16 rows and the functions that multiply by them. A target
 * region per instruction set includes its vocabulary and then kern.inc; no file is compiled with -m flags.
 * SPDX-License-Identifier: MIT */
#include "kern.h"

#if defined(__AVX__) || defined(__FMA__)
#error "compile without -m flags: kernels carry their own targets, and the scalar path must stay scalar"
#endif
#if defined(__x86_64__)
#include <immintrin.h> // before the first region
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define KERN_BEGIN(t) _Pragma(BASE_STRING(clang attribute push(__attribute__((target(t))), apply_to = function)))
#define KERN_END _Pragma("clang attribute pop")
#else
#define KERN_BEGIN(t) _Pragma("GCC push_options") _Pragma(BASE_STRING(GCC target(t)))
#define KERN_END _Pragma("GCC pop_options")
#endif

/* What the set needs beside AVX2; nothing where the compiler is too old to know it. AVX_VNNI_EVEX: see simd/avx_vnni.h. */
#if defined(AVX_VNNI_EVEX)
#define KERN_AVX_VNNI "avx512f,avx512vl,avx512vnni"
#elif defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define KERN_AVX_VNNI "avxvnni"
#endif

enum { panel_block = 14, panel_long = 64 + 1 + 8 + 4 }; // dwords of a column: of 32 k in PANEL_BLOCKS, of 256 in PANEL_LONG
#define INFINITY_F f32_from_bits(0x7F800000u)

/* ---- formats and forms ---- */

#include "../gen/quants.h"

static const struct quant *quant_find(uint32_t type) {
  for (int i = 0; i < ARRAY_LEN(quant_table); i++)
    if (quant_table[i]->type == type) return quant_table[i];
  return NULL;
}

static const struct quant *quant_named(struct str name) {
  for (int i = 0; i < ARRAY_LEN(quant_table); i++)
    if (str_eq_any_case(name, str_from(quant_table[i]->name))) return quant_table[i];
  return NULL;
}

/* name, bits, sub, scales, min, offset, bytes, block, table, brain. Bytes: code planes (64 per bit and block of 32), then or
 * before them the halves (32 each: 16 rows) or floats (64) and byte scales and mins (16 each). */
#define SHAPE_Q4 {"q4", 4, 1, 0, false, 8, 256 + 32, 32, 0, false}
#define SHAPE_Q4M {"q4m", 4, 1, 0, true, 0, 256 + 64, 32, 0, false}
#define SHAPE_Q5 {"q5", 5, 1, 0, false, 16, 320 + 32, 32, 0, false}
#define SHAPE_Q5M {"q5m", 5, 1, 0, true, 0, 320 + 64, 32, 0, false}
#define SHAPE_Q8 {"q8", 8, 1, 0, false, 128, 512 + 32, 32, 0, false}
#define SHAPE_K4M {"k4m", 4, 8, 8, true, 0, 64 + 8 * 16 + 8 * 16 + 8 * 256, 256, 0, false}
#define SHAPE_K5M {"k5m", 5, 8, 8, true, 0, 64 + 8 * 16 + 8 * 16 + 8 * 320, 256, 0, false}
#define SHAPE_K6 {"k6", 6, 8, 16, false, 32, 32 + 16 * 16 + 8 * 384, 256, 0, false}
#define SHAPE_T4 {"t4", 4, 1, 0, false, 128, 256 + 32, 32, 64, false}
#define SHAPE_T4B {"t4b", 4, 1, 0, false, 128, 256 + 32, 32, 64, true}
#define SHAPE_T4S {"t4s", 4, 1, 2, false, 128, 256 + 2 * 32, 32, 64, false}
#define SHAPE_T2 {"t2", 2, 1, 0, false, 128, 128 + 32, 32, 64, false}
#define SHAPE_KT4 {"kt4", 4, 8, 8, false, 128, 64 + 8 * 16 + 8 * 256, 256, 64, false}
#define SHAPE_KT3 {"kt3", 3, 8, 16, false, 128, 64 + 16 * 16 + 8 * 192, 256, 64, false}
#define SHAPE_K2M {"k2m", 2, 8, 16, true, 0, 64 + 16 * 16 + 8 * 128, 256, 0, false} /* a byte: scale, and min << 4 */

static const struct form_shape form_shapes[FORM_COUNT] = {
  {"f32", 0, 1, 0, false, 0, 64, 1, 0, false}, {"f16", 0, 1, 0, false, 0, 32, 1, 0, false}, {"bf16", 0, 1, 0, false, 0, 32, 1, 0, false},
  SHAPE_Q4, SHAPE_Q4M, SHAPE_Q5, SHAPE_Q5M, SHAPE_Q8, SHAPE_K4M, SHAPE_K5M, SHAPE_K6, SHAPE_T4, SHAPE_T4B, SHAPE_T4S, SHAPE_T2,
  SHAPE_KT4, SHAPE_KT3, SHAPE_K2M};

static size_t form_bytes(enum form form, int n_rows, int n_cols) {
  const struct form_shape *f = &form_shapes[form];
  return (size_t)((n_rows + GROUP - 1) / GROUP) * ((size_t)f->table + (size_t)(n_cols / f->block) * f->bytes);
}

/* Where in a packed block its halves lie, its byte scales, and its codes. */
ALWAYS_INLINE size_t form_halves_at(const struct form_shape *f) { return f->sub == 1 ? (size_t)f->bits * 64 : 0; }
ALWAYS_INLINE size_t form_scales_at(const struct form_shape *f) { return f->min || f->table ? 64 : 32; }
ALWAYS_INLINE size_t form_codes_at(const struct form_shape *f) {
  return f->sub == 1 ? 0 : form_scales_at(f) + GROUP * (size_t)(f->scales + (f->min && f->bits > 2 ? f->sub : 0));
}

/* FORM_K2M: where the byte of 16 weights lies. Four are a dword, the middle ones exchanged, so that mins of even and of odd
 * bytes are the pairs that sums of activations come in. */
ALWAYS_INLINE size_t form_nibbles_at(int j, int r) { return (size_t)(64 * (j / 4) + 4 * r + (j % 2 * 2 | j % 4 / 2)); }

/* ---- packing ---- */

ALWAYS_INLINE void form_pack_elements(const char *restrict file, const size_t each, int rows, size_t n_cols, uint8_t *restrict to) {
  for (size_t r = 0; r < GROUP; r++)
    for (size_t k = 0; k < n_cols; k++) {
      if (r < (size_t)rows) memcpy(to + each * (GROUP * k + r), file + each * (r * n_cols + k), each);
      else memset(to + each * (GROUP * k + r), 0, each);
    }
}

/* The four codes of step s as a dword; a nibble, and its bits above the fourth. */
static uint32_t form_dword(const uint8_t *q, int s) {
  uint32_t v;
  memcpy(&v, q + 4 * s, sizeof v);
  return v;
}

/* 32 codes of 2 or 3 bits of row r into the planes of one block: four to a byte, then eight of the third bits. */
static void form_pack_narrow(const uint8_t *restrict q, int bits, int r, uint8_t *restrict planes) {
  uint32_t two[2] = {0, 0}, third = 0;
  for (int s = 0; s < 8; s++) {
    two[s / 4] |= (form_dword(q, s) & 0x03030303u) << (2 * (s % 4));
    third |= (form_dword(q, s) >> 2 & 0x01010101u) << s;
  }
  for (int u = 0; u < 2; u++) memcpy(planes + 64 * u + 4 * r, &two[u], 4);
  if (bits == 3) memcpy(planes + 128 + 4 * r, &third, 4);
}

/* 32 codes of row r into the planes of one block; layout in kern.inc: kern_codes. */
ALWAYS_INLINE void form_pack_planes(const uint8_t *restrict q, const int bits, int r, uint8_t *restrict planes) {
  uint32_t fifth = 0;
  for (int s = 0; s < 8 && bits == 6; s++) {
    uint32_t code = form_dword(q, s), fourth = form_dword(q, s | 3) >> 2 * (s % 4) & 0x03030303u;
    code |= fourth << 6;
    if (s % 4 < 3) memcpy(planes + 192 * (s / 4) + 64 * (s % 4) + 4 * r, &code, 4);
  }
  for (int s = 0; s < 8 && bits == 8; s++) memcpy(planes + 64 * s + 4 * r, q + 4 * s, 4);
  for (int v = 0; v < 4 && bits < 6; v++) {
    uint32_t low = form_dword(q, 2 * v), high = form_dword(q, 2 * v + 1);
    uint32_t nibbles = (low & 0x0F0F0F0Fu) | (high & 0x0F0F0F0Fu) << 4;
    memcpy(planes + 64 * v + 4 * r, &nibbles, 4);
    fifth |= (low >> 4 & 0x01010101u) << (2 * v) | (high >> 4 & 0x01010101u) << (2 * v + 1);
  }
  if (bits == 5) memcpy(planes + 256 + 4 * r, &fifth, 4);
}

static void form_pack_codes(const uint8_t *q, int bits, int r, uint8_t *planes) {
  if (bits == 4) form_pack_planes(q, 4, r, planes); // each with its constant
  else if (bits == 5) form_pack_planes(q, 5, r, planes);
  else if (bits == 6) form_pack_planes(q, 6, r, planes);
  else if (bits < 4) form_pack_narrow(q, bits, r, planes);
  else form_pack_planes(q, 8, r, planes);
}

/* Row r of one packed block, the part-th of the format's block in c. */
ALWAYS_INLINE void form_pack_row(const struct form_shape *f, const struct codes *c, int part, int r, uint8_t *block) {
  uint8_t *halves = block + form_halves_at(f) + 2 * r, *bytes = block + form_scales_at(f), *codes = block + form_codes_at(f);
  const int n_parts = f->scales ? f->scales : 1;
  if (f->table && f->sub > 1) memcpy(block + 4 * r, &c->f, 4);
  else if (!f->table) memcpy(halves, &c->d, 2);
  for (int i = 0; i < n_parts && f->table && f->sub == 1; i++) memcpy(halves + 32 * i, &c->part[n_parts * part + i], 2);
  if (f->min) memcpy(halves + 32, &c->m, 2);
  for (int j = 0; j < f->scales && f->sub > 1; j++) {
    if (f->bits == 2) bytes[form_nibbles_at(j, r)] = (uint8_t)(c->scale[j] | c->min[j] << 4);
    else bytes[GROUP * j + r] = c->scale[j];
  }
  for (int j = 0; j < f->sub && f->min && f->sub > 1 && f->bits > 2; j++) bytes[GROUP * (f->scales + j) + r] = c->min[j];
  for (int j = 0; j < f->sub; j++) form_pack_codes(c->q + f->block * part + BLOCK * j, f->bits, r, codes + 64 * f->bits * j);
}

static void form_pack_group(const struct quant *q, const void *file, int n_rows, int n_cols, int first, void *packed) {
  const struct form_shape shape = form_shapes[q->form], *f = &shape; // a copy, which no byte written below can alias
  const int rows = n_rows - first < GROUP ? n_rows - first : GROUP, n_blocks = n_cols / q->block, n_parts = q->block / f->block;
  const size_t block_bytes = q->block_bytes;
  uint8_t *to = packed;
  if (f->bits == 0) {
    size_t each = q->block_bytes;
    const char *from = (const char *)file + each * (size_t)first * (size_t)n_cols;
    if (each == 2) form_pack_elements(from, 2, rows, (size_t)n_cols, to); // each with its constant
    else form_pack_elements(from, 4, rows, (size_t)n_cols, to);
    return;
  }
  for (int i = 0; i < f->table; i++) to[i] = (uint8_t)q->table[i % 16];
  to += f->table;
  struct codes c;
  for (int b = 0; b < n_blocks; b++)
    for (int r = 0; r < GROUP; r++) {
      size_t at = ((size_t)(first + r) * (size_t)n_blocks + (size_t)b) * block_bytes;
      if (r < rows) q->unpack((const char *)file + at, &c);
      else memset(&c, 0, sizeof c); // scale and min zero: the row gives zeros
      for (int part = 0; part < n_parts; part++) form_pack_row(f, &c, part, r, to + f->bytes * (size_t)(b * n_parts + part));
    }
}

static unsigned form_code(const uint8_t *planes, int bits, int r, int k) { // k in 0..31
  int s = k / 4, j = k % 4;
  if (bits == 8) return planes[64 * s + 4 * r + j];
  if (bits < 4) {
    unsigned two = planes[64 * (s / 4) + 4 * r + j] >> (s % 4 * 2) & 3u;
    return bits == 2 ? two : two | (planes[128 + 4 * r + j] >> s & 1u) << 2;
  }
  if (bits == 6) {
    const uint8_t *three = planes + 192 * (s / 4) + 4 * r + j;
    return s % 4 < 3 ? three[64 * (s % 4)] & 63u : three[0] >> 6 | (three[64] >> 6) << 2 | (unsigned)(three[128] >> 6) << 4;
  }
  unsigned q = planes[64 * (s / 2) + 4 * r + j] >> (s % 2 * 4) & 15u;
  if (bits == 5) q |= (planes[256 + 4 * r + j] >> s & 1u) << 4;
  return q;
}

static void form_row(enum form form, const void *packed, int n_cols, int row, float *y) {
  const struct form_shape *f = &form_shapes[form];
  const uint8_t *w = (const uint8_t *)packed + form_bytes(form, GROUP, n_cols) * (size_t)(row / GROUP);
  int r = row % GROUP;
  if (f->bits == 0) {
    for (int k = 0; k < n_cols; k++) {
      const uint8_t *at = w + f->bytes * (size_t)k + f->bytes / GROUP * (size_t)r;
      if (form == FORM_F32) f32_decode(at, y + k);
      else if (form == FORM_F16) f16_decode(at, y + k);
      else bf16_decode(at, y + k);
    }
    return;
  }
  const int8_t *table = (const int8_t *)w;
  w += f->table;
  for (int k = 0; k < n_cols; k++) {
    const uint8_t *block = w + f->bytes * (size_t)(k / f->block), *halves = block + form_halves_at(f) + 2 * r;
    const uint8_t *bytes = block + form_scales_at(f);
    const int in = k % f->block, j = in / BLOCK;
    const unsigned code = form_code(block + form_codes_at(f) + 64 * f->bits * j, f->bits, r, in % BLOCK);
    float q = f->table ? (float)table[code] : (float)code - (float)f->offset, d, m = 0;
    uint16_t half;
    memcpy(&half, halves + (f->scales == 2 ? 32 * (in / 16) : 0), 2);
    d = f->brain ? bf16_to_f32(half) : f16_to_f32(half);
    if (f->table && f->sub > 1) memcpy(&d, block + 4 * r, 4);
    if (f->min) memcpy(&half, halves + 32, 2), m = f16_to_f32(half);
    if (f->bits == 2 && f->sub > 1) {
      const uint8_t both = bytes[form_nibbles_at(in / 16, r)];
      d *= (float)(both & 15), m *= (float)(both >> 4);
    } else {
      if (f->scales == 8) d *= (float)(int8_t)bytes[GROUP * j + r];
      if (f->scales == 16) d *= (float)(int8_t)bytes[GROUP * (in / 16) + r];
      if (f->sub > 1 && f->min) m *= (float)bytes[GROUP * (8 + j) + r];
    }
    y[k] = !f->min ? d * q : f->sub == 1 ? d * q + m : d * q - m;
  }
}

static enum panel form_panel(enum form form) {
  return form_shapes[form].bits == 0 ? PANEL_FLOATS : form_shapes[form].sub == 1 ? PANEL_BLOCKS : PANEL_LONG;
}

static size_t panel_dwords(enum panel kind, int n_cols) {
  size_t n = (size_t)n_cols;
  return kind == PANEL_FLOATS ? n : kind == PANEL_BLOCKS ? n / BLOCK * panel_block : n / 256 * panel_long;
}

/* The widest padding any set does is below its widest tile, 12. */
static size_t panel_bytes(enum panel kind, int n_rows, int n_cols) { return ((size_t)n_rows + 12) * panel_dwords(kind, n_cols) * 4; }

static size_t attention_scratch(int head_dim, int value_dim) { // queries, scores and weights, two times what is mixed
  const size_t all = ((size_t)head_dim + ATTENTION_ALL) * GROUP; // queries and weights
  const size_t q = size_align((size_t)head_dim + 1, 16) * 12, mixed = 2 * 12 * size_align((size_t)value_dim, GROUP);
  const size_t pages = q + 12 * KV_LANES * 3 / 2 + mixed + 16;
  return all > pages ? all : pages;
}

static size_t kern_key_bytes(enum kv_type type, int head_dim) {
  size_t blocks = (size_t)((head_dim + BLOCK - 1) / BLOCK);
  return type == KV_F32 ? (size_t)head_dim * GROUP * 4 : blocks * GROUP * (4 + BLOCK * (type == KV_F16 ? 2 : 1));
}

static size_t kern_value_bytes(enum kv_type type, int value_dim) {
  size_t pad = size_align((size_t)value_dim, GROUP), scales = type == KV_Q8 ? (pad + BLOCK - 1) / BLOCK : 1;
  return type == KV_F32 ? KV_PAGE * pad * 4 : KV_LANES * scales * 4 + KV_PAGE * pad * (type == KV_F16 ? 2 : 1);
}

/* ---- elementary functions ---- */

/* x = 2^n * m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh((m - 1) / (m + 1)). */
static double kern_log(double x) {
  uint64_t u;
  memcpy(&u, &x, sizeof u);
  int n = (int)(u >> 52 & 2047) - 1023;
  u = (u & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52;
  double m, sum = 0;
  memcpy(&m, &u, sizeof m);
  if (m > 1.4142135623730951) m *= 0.5, n++;
  double s = (m - 1) / (m + 1), square = s * s; // |s| < 0.172: the term of degree 23 is below 1e-18
  for (int i = 21; i >= 1; i -= 2) sum = sum * square + 1.0 / i;
  return n * 0.69314718055994531 + 2 * s * sum;
}

/* e^x = 2^n * e^r, |r| < 0.35: the term r^16/16! is below 1e-20. */
static double kern_exp(double x) {
  if (x != x) return x;
  if (x > 709) x = 709;
  if (x < -708) return 0;
  int n = (int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
  double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10, sum = 0, power;
  for (int i = 15; i >= 1; i--) sum = (sum + 1) * r / i;
  uint64_t u = (uint64_t)(n + 1023) << 52;
  memcpy(&power, &u, sizeof power);
  return (sum + 1) * power;
}

/* x = n * pi/2 + r with pi/2 in three parts of 33 bits, so that n * part is exact below 2^20; |r| < 0.79. */
static void kern_sincos(double x, double *sine, double *cosine) {
  double scaled = x * 0.63661977236758134;
  int64_t n = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
  double k = (double)n, r = ((x - k * 1.57079632673412561417e+00) - k * 6.07710050630396597660e-11) - k * 2.02226624871116645580e-21;
  double square = r * r, s = 0, c = 0;
  for (int i = 19; i >= 3; i -= 2) s = (1 + s) * -square / (i * (i - 1));
  for (int i = 18; i >= 2; i -= 2) c = (1 + c) * -square / (i * (i - 1));
  s = r * (1 + s);
  c = 1 + c;
  switch (n & 3) {
  case 0: *sine = s, *cosine = c; break;
  case 1: *sine = c, *cosine = -s; break;
  case 2: *sine = -s, *cosine = -c; break;
  default: *sine = -c, *cosine = s; break;
  }
}

/* ---- instruction sets ---- */

/* Of erf, see kern.inc; printed by tools/fit_erf.py. */
#define ERF_P0 1.12837923f
#define ERF_P1 0.207104283f
#define ERF_P2 0.0515220716f
#define ERF_P3 0.00398970279f
#define ERF_P4 0.000147267881f
#define ERF_P5 -1.94229962e-06f
#define ERF_P6 1.91123988e-08f
#define ERF_Q1 0.51687262f
#define ERF_Q2 0.11796204f
#define ERF_Q3 0.0149562733f
#define ERF_Q4 0.00102090946f

#if defined(__x86_64__)
ALWAYS_INLINE float kern_sqrt(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); } // correctly rounded, as IEEE wants
#elif defined(__aarch64__)
ALWAYS_INLINE float kern_sqrt(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }
#else
ALWAYS_INLINE float kern_sqrt(float x) { return __builtin_sqrtf(x); }
#endif

#define UNROLL // the reference need not be fast, but small
#define ROLLED
#if !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("Os")
#endif
#include "simd/scalar.h"
#include "kern.inc"
#include "simd/end.h"
#undef UNROLL
#undef ROLLED
#if !defined(__clang__)
#pragma GCC pop_options
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 48")
#define ROLLED _Pragma("GCC unroll 1")
#endif

#if defined(__x86_64__)
KERN_BEGIN("avx2,fma,f16c")
#include "simd/avx2.h"
#include "kern.inc"
#include "simd/end.h"
KERN_END
#ifdef KERN_AVX_VNNI
KERN_BEGIN("avx2,fma,f16c," KERN_AVX_VNNI)
#include "simd/avx_vnni.h"
#include "kern.inc"
#include "simd/end.h"
KERN_END
#endif
KERN_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include "simd/avx512.h"
#include "kern.inc"
#include "simd/end.h"
KERN_END
#endif

#if defined(__aarch64__)
#if !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-schedule-insns") // loads moved up before registers are given out make the tiles spill
#endif
#include "simd/neon.h"
#include "kern.inc"
#include "simd/end.h"
#define NEON_DOT
#if defined(__clang__)
KERN_BEGIN("dotprod")
#else
KERN_BEGIN("arch=armv8.2-a+dotprod")
#endif
#include "simd/neon.h"
#include "kern.inc"
#include "simd/end.h"
KERN_END
#if defined(__clang__)
KERN_BEGIN("dotprod,i8mm")
#else
KERN_BEGIN("arch=armv8.2-a+dotprod+i8mm")
#endif
#include "simd/neon_i8mm.h"
#include "kern.inc"
#include "simd/end.h"
KERN_END
#undef NEON_DOT
#if !defined(__clang__)
#pragma GCC pop_options
#endif
#endif

static const char kern_names[ISA_COUNT][10] = {"scalar", "avx2", "avx_vnni", "avx512", "neon", "neon_dot", "neon_i8mm"};

static const struct kern *kern_get(enum os_isa isa) {
  if (!os_has_isa(isa)) return NULL;
  switch (isa) {
  case ISA_SCALAR: return &kern_scalar;
#if defined(__x86_64__)
  case ISA_AVX2: return &kern_avx2;
#ifdef KERN_AVX_VNNI
  case ISA_AVX_VNNI: return &kern_avx_vnni;
#endif
  case ISA_AVX512: return &kern_avx512;
#elif defined(__aarch64__)
  case ISA_NEON: return &kern_neon;
  case ISA_NEON_DOT: return &kern_neon_dot;
  case ISA_NEON_I8MM: return &kern_neon_i8mm;
#endif
  default: return NULL;
  }
}

static enum os_isa kern_best(void) {
  int best = ISA_SCALAR;
  for (int i = 0; i < ISA_COUNT; i++)
    if (kern_get((enum os_isa)i)) best = i; // each level beats those before it
  return (enum os_isa)best;
}

static bool kern_named(struct str name, enum os_isa *out) {
  for (int i = 0; i < ISA_COUNT; i++)
    if (str_is(name, kern_names[i])) {
      *out = (enum os_isa)i;
      return true;
    }
  return false;
}
