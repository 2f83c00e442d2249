/* IQ2_S: 256 weights in 16 blocks of 16; w = d * (2 * scale[j] + 1) / 8 * +-level, scale 4 bits. Eight weights share
 * a row of iq2_s_grid (10 bits: a byte of q, two bits of high) and a byte of signs (1: minus). 2.5625 bits per
 * weight. */
struct block_iq2_s {
  uint16_t d; // half
  uint8_t q[32];
  uint8_t sign[32];
  uint8_t high[8];
  uint8_t scale[8];
};
ASSERT_SIZE(block_iq2_s, 82);

static const uint8_t iq2_levels[4] = {8, 25, 43, 0}; // the grids have no 3. Shared with IQ2_XS and IQ2_XXS
static const int8_t iq2_table[16] = {8, 25, 43, 0, -8, -25, -43, 0}; // the same with signs, likewise

/* A bit in each of eight bytes. Shared with the rest of IQ2 and IQ3. */
static uint64_t iq_bits(unsigned byte) {
  return ((iq_bytes(byte & 255) & 0x8040201008040201u) + iq_bytes(127)) >> 7 & iq_bytes(1); // bit i to byte i
}

/* The codes of a row's eight weights, with signs. Shared with IQ2_XS and IQ2_XXS. */
static uint64_t iq2_codes(uint16_t packed, unsigned sign) { return iq_spread(packed) | iq_bits(sign) << 2; }

static void iq2_s_decode(const void *block, float *y) {
  const struct block_iq2_s *b = block;
  for (int i = 0; i < 256; i++) {
    int row = b->q[i / 8] | (b->high[i / 32] >> 2 * (i / 8 % 4) & 3) << 8;
    int scale = b->scale[i / 32] >> 4 * (i / 16 % 2) & 15;
    float level = (float)iq2_levels[iq2_s_grid[row] >> 2 * (i % 8) & 3];
    y[i] = f16_to_f32(b->d) * (0.5f + (float)scale) * 0.25f * (b->sign[i / 8] >> (i % 8) & 1 ? -level : level);
  }
}

static void iq2_s_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq2_s *b = block;
  for (int g = 0; g < 32; g++) {
    uint64_t codes = iq2_codes(iq2_s_grid[b->q[g] | (b->high[g / 4] >> 2 * (g % 4) & 3) << 8], b->sign[g]);
    memcpy(c->q + 8 * g, &codes, 8);
  }
  for (int j = 0; j < 16; j++) c->scale[j] = (uint8_t)(2 * (b->scale[j / 2] >> 4 * (j % 2) & 15) + 1);
  c->f = f16_to_f32(b->d) * 0.125f;
}

static const struct quant quant_iq2_s = {"IQ2_S", 22, 256, sizeof(struct block_iq2_s), FORM_KT3, iq2_s_decode,
                                         iq2_s_unpack, iq2_table, NULL};
