/* simd/scalar.h -- the vocabulary of kern.inc in plain C: one lane, the reference for every other set.
 * SPDX-License-Identifier: MIT */
#define ISA scalar
#define VL 1                 /* lanes of 32 bits in a vector */
#define WIDTHS(X) X(1) X(4)  /* columns of the tiles that are compiled */
#define WIDEST 4
#define W8_BIAS 128          /* what vi_dot8 wants added to a signed byte: 128, the code as packed, or 0 */
#define vf float
#define vi uint32_t
#define vt const uint8_t * /* a table of 16 bytes */

/* a*b+c with one rounding, as the hardware of the other sets does: the product is exact in double; the sum is rounded to
 * odd there, so that the rounding to float is the only one that counts (Boldo, Melquiond: Emulation of FMA, 2008). */
ALWAYS_INLINE float scalar_fma(float a, float b, float c) {
  double product = (double)a * (double)b, addend = (double)c, sum = product + addend;
  double back = sum - product, error = (product - (sum - back)) + (addend - back); // TwoSum (Knuth)
  uint64_t bits;
  memcpy(&bits, &sum, sizeof bits);
  if (error != 0 && (bits & 1) == 0 && sum - sum == 0) {
    bits = (error > 0) == (sum > 0) ? bits + 1 : bits - 1; // towards the error, away from the even neighbour
    memcpy(&sum, &bits, sizeof sum);
  }
  return (float)sum;
}

ALWAYS_INLINE uint32_t scalar_load(const void *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

/* Sum of 4 products of unsigned bytes of w with signed bytes of x. */
ALWAYS_INLINE uint32_t scalar_dot(uint32_t acc, uint32_t w, int32_t x) {
  for (int j = 0; j < 4; j++) acc += (uint32_t)((int32_t)(w >> 8 * j & 255) * (int8_t)((uint32_t)x >> 8 * j & 255));
  return acc;
}

/* Four bytes through a table, + 128. */
ALWAYS_INLINE uint32_t scalar_table(const uint8_t *table, uint32_t v) {
  uint32_t bytes = 0;
  for (int j = 0; j < 4; j++) bytes |= (uint32_t)(table[v >> 8 * j & 15] ^ 128u) << 8 * j;
  return bytes;
}

ALWAYS_INLINE uint32_t scalar_pair(int low, int high) { return ((uint32_t)low & 65535u) | (uint32_t)high << 16; }

/* Sum of 2 products of int16. */
ALWAYS_INLINE uint32_t scalar_dot16(uint32_t acc, uint32_t w, int32_t x) {
  return acc + (uint32_t)((int16_t)w * (int16_t)x) + (uint32_t)((int16_t)(w >> 16) * (int16_t)((uint32_t)x >> 16));
}

#define one_fma(a, b, c) scalar_fma(a, b, c) /* of single floats */
#define vf_zero() 0.0f
#define vf_set1(a) (a)
#define vf_load(p) (*(p))
#define vf_store(p, v) (*(p) = (v))
#define vf_add(a, b) ((a) + (b))
#define vf_sub(a, b) ((a) - (b))
#define vf_div(a, b) ((a) / (b))
#define vf_min(a, b) ((a) < (b) ? (a) : (b))
#define vf_bits(v) f32_bits(v)
#define vf_from_bits(v) f32_from_bits(v)
#define vf_mul(a, b) ((a) * (b))
#define vf_max(a, b) ((a) > (b) ? (a) : (b))
#define vf_fma(a, b, c) scalar_fma(a, b, c)
#define vf_fnma(a, b, c) scalar_fma(-(a), b, c)
#define vf_from_f16(p) f16_to_f32(*(p))
#define vf_from_bf16(p) bf16_to_f32(*(p))
#define vf_from_vi(v) ((float)(int32_t)(v))
#define vi_zero() 0u
#define vi_set1(i) ((uint32_t)(i))
#define vi_load(p) scalar_load(p)
#define vi_bytes(v, mask) ((v) & (uint32_t)(mask)*0x01010101u)
#define vi_high(v) ((v) >> 4 & 0x0F0F0F0Fu) /* the upper half of every byte */
#define vi_shr(v, n) ((v) >> (n))
#define vi_shl(v, n) ((v) << (n))
#define vi_flip(v) ((v) ^ 0x80808080u)
#define vi_opaque(v) __asm__ volatile("" : "+r"(v))
#define vi_or(a, b) ((a) | (b))
#define vi_add(a, b) ((a) + (b))
#define vi_sub(a, b) ((a) - (b))
#define vi_max(a, b) ((int32_t)(a) > (int32_t)(b) ? (a) : (b))
#define vi_magnitude(v) ((v) & 0x7FFFFFFFu)
#define vf_rotate(x, a) ((void)(a), (x)) /* of pairs of lanes: not with one lane */
#define vf_fold(v) (v) /* lane i + lane i + VL/2, and so on */
#define vf_most(v) (v)
#define vi_most(v) ((int32_t)(v))
#define vi_sum(v) ((int32_t)(v))
#define vi_store_bytes(p, v) (*(p) = (int8_t)(v))
#define vi_store_shorts(p, v) (*(p) = (int16_t)(v))
#define vi_low_s8(v) ((uint32_t)(int32_t)(int8_t)(v))
#define vf_from_s8(p) ((float)*(const int8_t *)(p))
#define vi_pair_s8(p, q) scalar_pair(*(const int8_t *)(p), *(const int8_t *)(q))
#define vi_pairs_s8(p) (((uint32_t)((const int8_t *)(p))[0] & 65535u) | (uint32_t)((const int8_t *)(p))[1] << 16)
#define vi_mul2(v, n) ((v) << (n))
#define vi_field(v, n, mask) ((v) >> (n) & (uint32_t)(mask))
#define vi_byte(v, j) vi_field(v, 8 * (j), 255)
#define vi_from_s8(p) ((uint32_t)(int32_t)*(const int8_t *)(p))
#define vi_mul_add(a, b, c) ((a) * (b) + (c))
#define vi_mul16(a, b) ((a) * ((b)&65535u)) /* 16-bit products without carries: of small bytes, b twice the same */
#define vt_load(p) (p)
#define vi_table(t, v) scalar_table(t, v) /* signed bytes as vi_dot8 wants them, by indices of 0 to 15 */
/* Dots with x[i]; i is a constant where n is not 1, and x[0 .. n) may be read. */
#define vi_dot(acc, w, x, i, n) scalar_dot(acc, w, (x)[i])
#define vi_dot8(acc, w, x, i, n) scalar_dot(acc, w, (x)[i])
#define vi_dot16(acc, w, x, i, n) scalar_dot16(acc, w, (x)[i])
