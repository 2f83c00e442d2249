/* IQ2_XS: 256 weights in 16 blocks of 16; w = d * (2 * scale[j] + 1) / 8 * +-level, scale 4 bits. Eight weights share
 * a word: a row of iq2_xs_grid, 9 bits, and the signs of seven, 7 bits (1: minus); the eighth's makes the count of
 * minuses even. 2.3125 bits per weight. */
struct block_iq2_xs {
  uint16_t d; // half
  uint16_t q[32];
  uint8_t scale[8];
};
ASSERT_SIZE(block_iq2_xs, 74);

/* Seven signs and the eighth, their parity. Shared with IQ2_XXS and IQ3_XXS. */
static unsigned iq_signs(unsigned seven) { return seven | (0x6996u >> ((seven ^ seven >> 4) & 15) & 1) << 7; }

static void iq2_xs_decode(const void *block, float *y) {
  const struct block_iq2_xs *b = block;
  for (int i = 0; i < 256; i++) {
    int row = b->q[i / 8] & 511, scale = b->scale[i / 32] >> 4 * (i / 16 % 2) & 15;
    float level = (float)iq2_levels[iq2_xs_grid[row] >> 2 * (i % 8) & 3];
    bool minus = iq_signs(b->q[i / 8] >> 9) >> (i % 8) & 1;
    y[i] = f16_to_f32(b->d) * (0.5f + (float)scale) * 0.25f * (minus ? -level : level);
  }
}

static void iq2_xs_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq2_xs *b = block;
  for (int g = 0; g < 32; g++) {
    uint64_t codes = iq2_codes(iq2_xs_grid[b->q[g] & 511], iq_signs(b->q[g] >> 9));
    memcpy(c->q + 8 * g, &codes, 8);
  }
  for (int j = 0; j < 16; j++) c->scale[j] = (uint8_t)(2 * (b->scale[j / 2] >> 4 * (j % 2) & 15) + 1);
  c->f = f16_to_f32(b->d) * 0.125f;
}

static const struct quant quant_iq2_xs = {"IQ2_XS", 17, 256, sizeof(struct block_iq2_xs), FORM_KT3, iq2_xs_decode,
                                          iq2_xs_unpack, iq2_table, NULL};
