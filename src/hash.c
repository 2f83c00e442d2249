/* hash.c -- SHA-256 (FIPS 180-4): bytes in, 32 bytes out, in one call or in pieces of any size.
 *
 * Pure functions: no memory but the caller's struct, no system calls. Used for model files against the catalogue, for
 * logits in tests and for the headers of saved caches. Invariant: `used` < 64, and `tail[0 .. used)` are the bytes that
 * have not filled a block yet.
 * SPDX-License-Identifier: MIT */
#include "base.h"

struct hash_sha256 {
  uint32_t h[8];     // the chaining value
  uint64_t total;    // bytes so far; FIPS 180-4 allows 2^61 - 1
  uint8_t tail[64];
  size_t used;
};

static const uint32_t hash_k[64] = { // FIPS 180-4, 4.2.2: fractions of the cube roots of the first 64 primes
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

ALWAYS_INLINE uint32_t hash_rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* One round of FIPS 180-4, 6.2.2, step 3. Instead of moving eight variables the caller passes them rotated. */
#define HASH_ROUND(a, b, c, d, e, f, g, h, i)                                                                          \
  do {                                                                                                                 \
    uint32_t t1 = (h) + (hash_rotate(e, 6) ^ hash_rotate(e, 11) ^ hash_rotate(e, 25)) + ((g) ^ ((e) & ((f) ^ (g)))) +  \
                  hash_k[i] + w[(i) & 15];                                                                             \
    (d) += t1;                                                                                                         \
    (h) = t1 + (hash_rotate(a, 2) ^ hash_rotate(a, 13) ^ hash_rotate(a, 22)) + (((a) & (b)) | ((c) & ((a) | (b))));    \
  } while (0)

static void hash_block(uint32_t state[8], const uint8_t *p) {
  uint32_t w[16]; // the message schedule, of which only the last 16 words are ever needed
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
  for (int i = 0; i < 64; i += 8) {
    if (i >= 16) {
      for (int j = i; j < i + 8; j++) {
        uint32_t x = w[(j + 1) & 15], y = w[(j + 14) & 15];
        w[j & 15] += (hash_rotate(x, 7) ^ hash_rotate(x, 18) ^ x >> 3) + w[(j + 9) & 15] +
                     (hash_rotate(y, 17) ^ hash_rotate(y, 19) ^ y >> 10);
      }
    }
    HASH_ROUND(a, b, c, d, e, f, g, h, i);
    HASH_ROUND(h, a, b, c, d, e, f, g, i + 1);
    HASH_ROUND(g, h, a, b, c, d, e, f, i + 2);
    HASH_ROUND(f, g, h, a, b, c, d, e, i + 3);
    HASH_ROUND(e, f, g, h, a, b, c, d, i + 4);
    HASH_ROUND(d, e, f, g, h, a, b, c, i + 5);
    HASH_ROUND(c, d, e, f, g, h, a, b, i + 6);
    HASH_ROUND(b, c, d, e, f, g, h, a, i + 7);
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
  state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}
#undef HASH_ROUND

static struct hash_sha256 hash_sha256_init(void) {
  return (struct hash_sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                                    0x5be0cd19}};
}

static void hash_sha256_update(struct hash_sha256 *s, struct str bytes) {
  const uint8_t *p = (const uint8_t *)bytes.ptr;
  size_t n = bytes.len;
  s->total += n;
  if (s->used > 0) {
    size_t take = 64 - s->used < n ? 64 - s->used : n;
    if (take) memcpy(s->tail + s->used, p, take);
    s->used += take;
    if (s->used < 64) return;
    hash_block(s->h, s->tail);
    s->used = 0;
    p += take;
    n -= take;
  }
  for (; n >= 64; p += 64, n -= 64) hash_block(s->h, p);
  if (n) memcpy(s->tail, p, n);
  s->used = n;
}

/* Ends the message: a 1 bit, zeros, the length in bits as 64 bits, big-endian (FIPS 180-4, 5.1.1). */
static void hash_sha256_final(struct hash_sha256 *s, uint8_t out[32]) {
  s->tail[s->used++] = 0x80;
  memset(s->tail + s->used, 0, 64 - s->used);
  if (s->used > 56) {
    hash_block(s->h, s->tail);
    memset(s->tail, 0, 64);
  }
  for (int i = 0; i < 8; i++) s->tail[56 + i] = (uint8_t)(s->total * 8 >> (56 - 8 * i));
  hash_block(s->h, s->tail);
  for (int i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

static void hash_sha256(struct str bytes, uint8_t out[32]) {
  struct hash_sha256 s = hash_sha256_init();
  hash_sha256_update(&s, bytes);
  hash_sha256_final(&s, out);
}

/* Lower-case hexadecimal of a digest, terminated. */
static void hash_hex(const uint8_t digest[32], char out[65]) {
  for (int i = 0; i < 64; i++) out[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
  out[64] = 0;
}

/* Is this the 64 lower-case hexadecimal digits of a digest? */
static bool hash_is_hex(struct str s) {
  for (size_t i = 0; i < s.len; i++)
    if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f'))) return false;
  return s.len == 64;
}
