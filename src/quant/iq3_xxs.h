/* IQ3_XXS: 256 weights in 8 blocks of 32; w = d * (2 * scale[j] + 1) / 4 * +-level. Four weights share a row of
 * iq3_xxs_grid, a byte of q; eight share 7 bits of signs (1: minus; the eighth makes the count of minuses even), four
 * of these and the scale, 4 bits, in two words for a block, the lower first. 3.0625 bits per weight. */
struct block_iq3_xxs {
  uint16_t d; // half
  uint8_t q[64];
  uint16_t high[8][2];
};
ASSERT_SIZE(block_iq3_xxs, 98);

static const uint8_t iq3_xxs_levels[8] = {4, 12, 20, 28, 36, 44, 52, 62}; // 8 * q + 4, but the last

static void iq3_xxs_decode(const void *block, float *y) {
  const struct block_iq3_xxs *b = block;
  for (int i = 0; i < 256; i++) {
    uint32_t high = b->high[i / 32][0] | (uint32_t)b->high[i / 32][1] << 16;
    float level = (float)iq3_xxs_levels[iq3_xxs_grid[b->q[i / 4]] >> 4 * (i % 4) & 7];
    bool minus = iq_signs(high >> 7 * (i / 8 % 4) & 127) >> (i % 8) & 1;
    y[i] = f16_to_f32(b->d) * (0.5f + (float)(high >> 28)) * 0.5f * (minus ? -level : level);
  }
}

static const int8_t iq3_xxs_table[16] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62};

static void iq3_xxs_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq3_xxs *b = block;
  for (int j = 0; j < 8; j++) {
    uint32_t high = b->high[j][0] | (uint32_t)b->high[j][1] << 16;
    for (int g = 0; g < 4; g++) {
      uint64_t x = iq3_spread(iq3_xxs_grid[b->q[8 * j + 2 * g]], iq3_xxs_grid[b->q[8 * j + 2 * g + 1]]);
      x |= iq_bits(iq_signs(high >> 7 * g & 127)) << 3;
      memcpy(c->q + 32 * j + 8 * g, &x, 8);
    }
    c->scale[j] = (uint8_t)(2 * (high >> 28) + 1);
  }
  c->f = f16_to_f32(b->d) * 0.25f;
}

static const struct quant quant_iq3_xxs = {"IQ3_XXS", 18, 256, sizeof(struct block_iq3_xxs), FORM_KT4, iq3_xxs_decode,
                                           iq3_xxs_unpack, iq3_xxs_table, NULL};
