/* simd/neon_i8mm.h -- NEON with matrix products of bytes (smmla): two columns x 8 k by two rows x 8 k into 2 x 2 sums.
 *
 * Weights are packed as for every other set: zipping the dwords of two steps of 4 k gives rows two by two. Steps are paired as
 * s, s + 2, so that nibbles are zipped before they are split: half as many zips. A panel's int8 lie so that 16 bytes are two
 * columns by such a pair of steps. One column alone, attention and all else are neon_dot's; codes into tables, or of 2 bits
 * with mins, are multiplied by the tiles of kern.inc in neon_dot's words, which find the int8 of a panel by PANEL_STEP and
 * PANEL_COLUMN. The 2 x 2 sums become a vector
 * of 4 rows for each column before any float is made of them, or after the byte scales: same operations, same order.
 *
 * Executed instructions for 16 rows x 8 columns x 32 k (tools/count_arm.sh; time under qemu means nothing), neon, neon_dot,
 * neon_i8mm: q4 1789, 565, 509; q4m 1817, 589, 525; q8 1773, 565, 509; k4m 1855, 618, 519; k6 2139, 922, 860. Products among them:
 * 256 sdot against 128 smmla; what is left is loads, codes, scales and sums. With two columns k6 and q8 cost 5 to 9% more.
 * SPDX-License-Identifier: MIT */
#include "neon.h"
#undef ISA
#define ISA neon_i8mm
#define TAKES neon_dot
#define TILE(n) ((n) % 2 ? kern_tile_neon_dot : neon_i8mm_tile)
#define TILE_LONG(n) ((n) % 2 ? kern_tile_long_neon_dot : neon_i8mm_tile_long)
#define PANEL_STEP(step, n, stride) \
  ((n) % 2 ? (step) * (stride) : (step) / 4 * 4 * (stride) + (step) % 2 * 2 * (stride) + (step) % 4 / 2)
#define PANEL_COLUMN(column, n) ((n) % 2 ? (column) : (column) / 2 * 4 + (column) % 2 * 2)
#define RARE WIDEST /* a tile that begins inside a panel would find int8 and sums at different columns */

/* 16 k of 4 rows: pair[2 * p + h] holds rows 2h and 2h + 1, of each 4 k of step 4g + p and 4 k of step 4g + p + 2. */
struct neon_i8mm_codes {
  int32x4_t pair[4];
};

#define NEON_U8(v) vreinterpretq_u8_s32(v)
#define NEON_S32(v) vreinterpretq_s32_u8(v)

ALWAYS_INLINE struct neon_i8mm_codes neon_i8mm_codes(const uint8_t *w, const int g, const int bits) {
  struct neon_i8mm_codes c;
  if (bits == 8) {
    UNROLL for (int p = 0; p < 2; p++) {
      int32x4_t a = vi_flip(vi_load(w + 64 * (4 * g + p))), b = vi_flip(vi_load(w + 64 * (4 * g + p + 2)));
      c.pair[2 * p] = vzip1q_s32(a, b), c.pair[2 * p + 1] = vzip2q_s32(a, b);
    }
    return c;
  }
  if (bits == 6) { // three of four steps are whole; the last one is the upper two bits of each
    uint8x16_t q[4];
    UNROLL for (int s = 0; s < 3; s++) q[s] = NEON_U8(vi_load(w + 192 * g + 64 * s));
    q[3] = vshrq_n_u8(vsriq_n_u8(vsriq_n_u8(q[2], q[1], 2), q[0], 4), 2);
    UNROLL for (int s = 0; s < 3; s++) q[s] = vandq_u8(q[s], vdupq_n_u8(63));
    UNROLL for (int p = 0; p < 2; p++) {
      c.pair[2 * p] = vzip1q_s32(NEON_S32(q[p]), NEON_S32(q[p + 2]));
      c.pair[2 * p + 1] = vzip2q_s32(NEON_S32(q[p]), NEON_S32(q[p + 2]));
    }
    return c;
  }
  int32x4_t a = vi_load(w + 128 * g), b = vi_load(w + 128 * g + 64), plane = bits == 5 ? vi_load(w + 256) : vi_zero();
  UNROLL for (int h = 0; h < 2; h++) {
    uint8x16_t both = NEON_U8(h ? vzip2q_s32(a, b) : vzip1q_s32(a, b)), low = vandq_u8(both, vdupq_n_u8(15)), high = vshrq_n_u8(both, 4);
    if (bits == 5) { // bit s of a byte belongs to step s; the later step of a pair moves beside the earlier one
      uint8x16_t bit = NEON_U8(h ? vzip2q_s32(plane, plane) : vzip1q_s32(plane, plane));
      bit = vshlq_u8(bit, vreinterpretq_s8_s64(vdupq_n_s64((int64_t)0xFEFEFEFE00000000u)));
      low = vorrq_u8(low, vandq_u8(g ? bit : vshlq_n_u8(bit, 4), vdupq_n_u8(16)));
      high = vorrq_u8(high, vandq_u8(g ? vshrq_n_u8(bit, 1) : vshlq_n_u8(bit, 3), vdupq_n_u8(16)));
    }
    c.pair[h] = NEON_S32(low), c.pair[2 + h] = NEON_S32(high);
  }
  return c;
}

/* 16 k of 4 rows times n columns: acc[c] rows 0 and 1, acc[c + 1] rows 2 and 3 of columns c and c + 1. Written out, as in neon.h. */
ALWAYS_INLINE void neon_i8mm_dots(int32x4_t *acc, const struct neon_i8mm_codes *w, const int32_t *x, const int n) {
  UNROLL for (int p = 0; p < 2; p++) UNROLL for (int c = 0; c < n; c += 2) {
    int32x4_t two = vld1q_s32(x + 2 * n * p + 2 * c);
    __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(acc[c]) : "w"(two), "w"(w->pair[2 * p]));
    __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(acc[c + 1]) : "w"(two), "w"(w->pair[2 * p + 1]));
  }
}

/* To a vector of 4 rows for each column. */
ALWAYS_INLINE void neon_i8mm_apart(int32x4_t *acc, const int n) {
  UNROLL for (int c = 0; c < n; c += 2) {
    int64x2_t a = vreinterpretq_s64_s32(acc[c]), b = vreinterpretq_s64_s32(acc[c + 1]);
    acc[c] = vreinterpretq_s32_s64(vzip1q_s64(a, b)), acc[c + 1] = vreinterpretq_s32_s64(vzip2q_s64(a, b));
  }
}

ALWAYS_INLINE void neon_i8mm_put(const float32x4_t *sum, float *y, size_t ldy, bool add, const int n, const int R) {
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < n; c++) {
    float *to = y + (size_t)c * ldy + 4 * r;
    vst1q_f32(to, add ? vaddq_f32(sum[r * n + c], vld1q_f32(to)) : sum[r * n + c]);
  }
}

/* kern_tile of kern.inc. */
ALWAYS_INLINE void neon_i8mm_tile(const uint8_t *w, int n_blocks, const int32_t *x, float *y, size_t ldy, bool add,
                                  const struct form_shape f, int h, const int n, const int R) {
  float32x4_t sum[12];
  UNROLL for (int i = 0; i < R * n; i++) sum[i] = vdupq_n_f32(0);
  const size_t planes = (size_t)f.bits * 64;
  for (int b = 0; b < n_blocks; b++, w += f.bytes, x += panel_block * n) {
    const float *scale = (const float *)(const void *)(x + 8 * n), *weighted = (const float *)(const void *)(x + 13 * n);
    UNROLL for (int r = 0; r < R; r++) {
      const size_t lane = 4 * (size_t)(h + r);
      int32x4_t acc[12];
      UNROLL for (int c = 0; c < n; c += 2) {
        acc[c] = vdupq_n_s32(0);
        if (!f.min && f.bits < 8) { // minus offset times the sums of two columns
          const int32_t *at = x + (f.offset == 8 ? 9 : 10) * n + (n % 4 ? c : c & ~3);
          int32x4_t sums = n % 4 ? vcombine_s32(vld1_s32(at), vld1_s32(at)) : vld1q_s32(at);
          acc[c] = n % 4 == 0 && c % 4 ? vzip2q_s32(sums, sums) : vzip1q_s32(sums, sums);
        }
        acc[c + 1] = acc[c];
      }
      UNROLL for (int g = 0; g < 2; g++) {
        struct neon_i8mm_codes codes = neon_i8mm_codes(w + 4 * lane, g, f.bits);
        neon_i8mm_dots(acc, &codes, x + 4 * n * g, n);
      }
      neon_i8mm_apart(acc, n);
      float32x4_t d = vf_from_f16((const uint16_t *)(const void *)(w + planes + 2 * lane));
      UNROLL for (int c = 0; c < n; c++) sum[r * n + c] = vf_fma(vf_from_vi(acc[c]), vf_mul_at(d, scale, c, n), sum[r * n + c]);
      if (f.min) {
        float32x4_t m = vf_from_f16((const uint16_t *)(const void *)(w + planes + 32 + 2 * lane));
        UNROLL for (int c = 0; c < n; c++) sum[r * n + c] = vf_fma_at(m, weighted, c, n, sum[r * n + c]);
      }
    }
  }
  neon_i8mm_put(sum, y, ldy, add, n, R);
}

/* kern_tile_long of kern.inc; products with byte scales are summed as 2 x 2 and taken apart once in 256 k. */
ALWAYS_INLINE void neon_i8mm_tile_long(const uint8_t *w, int n_blocks, const int32_t *x, float *y, size_t ldy, bool add,
                                       const struct form_shape f, int h, const int n, const int R, const int stride) {
  (void)stride; // n
  float32x4_t total[12];
  UNROLL for (int i = 0; i < R * n; i++) total[i] = vdupq_n_f32(0);
  const size_t planes = (size_t)f.bits * 64;
  for (int b = 0; b < n_blocks; b++, w += f.bytes, x += panel_long * n) {
    const float *scale = (const float *)(const void *)(x + 64 * n);
    const int32_t *sums = x + (f.scales == 16 ? 65 : 73) * n;
    UNROLL for (int r = 0; r < R; r++) {
      const size_t lane = 4 * (size_t)(h + r);
      const uint8_t *bytes = w + (f.min ? 64 : 32) + lane, *codes = bytes + 3 * lane + GROUP * (size_t)(f.scales + (f.min ? f.sub : 0));
      float32x4_t d = vf_from_f16((const uint16_t *)(const void *)(w + 2 * lane)), sum[12];
      int32x4_t acc[12];
      UNROLL for (int c = 0; c < n; c++) sum[c] = vdupq_n_f32(0);
      ROLLED for (int j = 0; j < 8; j++, codes += planes) {
        UNROLL for (int c = 0; c < n; c++) acc[c] = vdupq_n_s32(0);
        UNROLL for (int g = 0; g < 2; g++) {
          struct neon_i8mm_codes q = neon_i8mm_codes(codes, g, f.bits);
          neon_i8mm_dots(acc, &q, x + 4 * n * (2 * j + g), n);
          if (g == 0 && f.scales == 8) continue;
          float64x2_t dw = vreinterpretq_f64_f32(vf_mul(d, vf_from_s8(bytes + GROUP * (f.scales == 16 ? 2 * j + g : j))));
          float32x4_t front = vreinterpretq_f32_f64(vdupq_laneq_f64(dw, 0)), back = vreinterpretq_f32_f64(vdupq_laneq_f64(dw, 1));
          UNROLL for (int c = 0; c < n; c++) {
            sum[c] = vf_fma(vf_from_vi(acc[c]), c % 2 ? back : front, sum[c]);
            acc[c] = vdupq_n_s32(0);
          }
        }
      }
      UNROLL for (int c = 0; c < n; c++) acc[c] = vf_bits(sum[c]);
      neon_i8mm_apart(acc, n);
      UNROLL for (int c = 0; c < n; c++) sum[c] = vf_from_bits(acc[c]);
      const uint8_t *less = f.min ? bytes + GROUP * (size_t)f.scales : bytes;
      float32x4_t dm = f.min ? vf_from_f16((const uint16_t *)(const void *)(w + 32 + 2 * lane)) : vf_mul(d, vf_set1((float)f.offset));
      const int n_less = f.min ? 4 : 8;
      UNROLL for (int c = 0; c < n; c++) acc[c] = vdupq_n_s32(0);
      ROLLED for (int i = 0; i < n_less; i++) {
        int32x4_t pair = vi_pair_s8(less + 2 * GROUP * i, less + 2 * GROUP * i + GROUP);
        UNROLL for (int c = 0; c < n; c++) acc[c] = vi_dot16(acc[c], pair, sums + i * n, c, n);
      }
      UNROLL for (int c = 0; c < n; c++)
        total[r * n + c] = vf_fma(vf_fnma(vf_from_vi(acc[c]), dm, sum[c]), vf_set1(scale[c]), total[r * n + c]);
    }
  }
  neon_i8mm_put(total, y, ldy, add, n, R);
}
#undef NEON_U8
#undef NEON_S32
