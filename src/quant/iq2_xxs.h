/* IQ2_XXS: 256 weights in 8 blocks of 32; w = d * (2 * scale[j] + 1) / 8 * +-level. Of a block, four words: two hold
 * four rows of iq2_xxs_grid, 8 bits for eight weights each; two hold, the lower first, four times 7 bits of signs (1:
 * minus; the eighth makes the count of minuses even) and the scale, 4 bits. 2.0625 bits per weight. */
struct block_iq2_xxs {
  uint16_t d; // half
  uint16_t q[8][4];
};
ASSERT_SIZE(block_iq2_xxs, 66);

static void iq2_xxs_decode(const void *block, float *y) {
  const struct block_iq2_xxs *b = block;
  for (int i = 0; i < 256; i++) {
    const uint16_t *q = b->q[i / 32];
    int g = i / 8 % 4, row = q[g / 2] >> 8 * (g % 2) & 255;
    uint32_t high = q[2] | (uint32_t)q[3] << 16;
    float level = (float)iq2_levels[iq2_xxs_grid[row] >> 2 * (i % 8) & 3];
    bool minus = iq_signs(high >> 7 * g & 127) >> (i % 8) & 1;
    y[i] = f16_to_f32(b->d) * (0.5f + (float)(high >> 28)) * 0.25f * (minus ? -level : level);
  }
}

static void iq2_xxs_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq2_xxs *b = block;
  for (int j = 0; j < 8; j++) {
    const uint16_t *q = b->q[j];
    uint32_t high = q[2] | (uint32_t)q[3] << 16;
    for (int g = 0; g < 4; g++) {
      uint64_t codes = iq2_codes(iq2_xxs_grid[q[g / 2] >> 8 * (g % 2) & 255], iq_signs(high >> 7 * g & 127));
      memcpy(c->q + 32 * j + 8 * g, &codes, 8);
    }
    c->scale[2 * j] = c->scale[2 * j + 1] = (uint8_t)(2 * (high >> 28) + 1);
  }
  c->f = f16_to_f32(b->d) * 0.125f;
}

static const struct quant quant_iq2_xxs = {"IQ2_XXS", 16, 256, sizeof(struct block_iq2_xxs), FORM_KT3, iq2_xxs_decode,
                                           iq2_xxs_unpack, iq2_table, NULL};
