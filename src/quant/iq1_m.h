/* IQ1_M: 256 weights in 16 blocks of 16; w = d * (2 * scale[j] + 1) * (level +- 1/8). Eight weights share a row of
 * iq1_grid (11 bits: a byte of q, three bits of high) and the sign of the eighth (the fourth bit of that nibble; 1:
 * minus); scales 3 bits, four in a word whose upper nibble is a quarter of the half d. 1.75 bits per weight. */
#include "../../gen/grids.h"

struct block_iq1_m {
  uint8_t q[32];
  uint8_t high[16];
  uint16_t scale[4];
};
ASSERT_SIZE(block_iq1_m, 56);

/* Eight 2-bit numbers, one in each byte. Shared with all that has a grid of eights, and with Q2_0. */
static uint64_t iq_spread(uint16_t packed) {
  uint64_t x = packed;
  x = (x | x << 24) & 0x000000FF000000FFu;
  x = (x | x << 12) & 0x000F000F000F000Fu;
  return (x | x << 6) & 0x0303030303030303u;
}

static uint64_t iq_bytes(unsigned byte) { return byte * 0x0101010101010101u; } // eight times the same

/* 8 * level +- 1, by codes of level + 1 and, in bit 2, the sign (1: minus). Shared with IQ1_S. */
static const int8_t iq1_table[16] = {-7, 1, 9, 0, -9, -1, 7, 0};

/* The codes of a row's eight weights. Shared with IQ1_S. */
static uint64_t iq1_codes(unsigned row, unsigned minus) { return iq_spread(iq1_grid[row]) | iq_bytes(minus << 2); }

static float iq1_m_d(const struct block_iq1_m *b) {
  const uint16_t *s = b->scale;
  return f16_to_f32((uint16_t)(s[0] >> 12 | (s[1] >> 8 & 0xF0) | (s[2] >> 4 & 0xF00) | (s[3] & 0xF000)));
}

static void iq1_m_decode(const void *block, float *y) {
  const struct block_iq1_m *b = block;
  for (int i = 0; i < 256; i++) {
    int high = b->high[i / 16] >> 4 * (i / 8 % 2), row = b->q[i / 8] | (high & 7) << 8;
    float level = (float)((iq1_grid[row] >> 2 * (i % 8) & 3) - 1);
    float scale = iq1_m_d(b) * (float)(2 * (b->scale[i / 64] >> 3 * (i / 16 % 4) & 7) + 1);
    y[i] = scale * (level + (high & 8 ? -0.125f : 0.125f));
  }
}

static void iq1_m_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq1_m *b = block;
  for (int g = 0; g < 32; g++) {
    unsigned high = b->high[g / 2] >> 4 * (g % 2);
    uint64_t codes = iq1_codes(b->q[g] | (high & 7) << 8, high >> 3 & 1);
    memcpy(c->q + 8 * g, &codes, 8);
  }
  for (int j = 0; j < 16; j++) c->scale[j] = (uint8_t)(2 * (b->scale[j / 4] >> 3 * (j % 4) & 7) + 1);
  c->f = iq1_m_d(b) * 0.125f;
}

static const struct quant quant_iq1_m = {"IQ1_M", 29, 256, sizeof(struct block_iq1_m), FORM_KT3, iq1_m_decode,
                                         iq1_m_unpack, iq1_table, NULL};
