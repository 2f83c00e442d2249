/* IQ3_S: 256 weights in 8 blocks of 32; w = d * (2 * scale[j] + 1) * +-level, scale 4 bits, level odd. Four weights
 * share a row of iq3_s_grid (9 bits: a byte of q, a bit of high), eight a byte of signs (1: minus). 3.4375 bits per
 * weight. */
struct block_iq3_s {
  uint16_t d; // half
  uint8_t q[64];
  uint8_t high[8];
  uint8_t sign[32];
  uint8_t scale[4];
};
ASSERT_SIZE(block_iq3_s, 110);

/* Four and four 4-bit numbers, one in each byte. Shared with IQ3_XXS. */
static uint64_t iq3_spread(uint16_t first, uint16_t second) {
  uint64_t x = first | (uint64_t)second << 32;
  x = (x | x << 8) & 0x00FF00FF00FF00FFu;
  return (x | x << 4) & 0x0F0F0F0F0F0F0F0Fu;
}

static void iq3_s_decode(const void *block, float *y) {
  const struct block_iq3_s *b = block;
  for (int i = 0; i < 256; i++) {
    int row = b->q[i / 4] | (b->high[i / 32] >> (i / 4 % 8) & 1) << 8;
    int scale = b->scale[i / 64] >> 4 * (i / 32 % 2) & 15;
    float level = (float)(2 * (iq3_s_grid[row] >> 4 * (i % 4) & 15) + 1);
    y[i] = f16_to_f32(b->d) * (float)(2 * scale + 1) * (b->sign[i / 8] >> (i % 8) & 1 ? -level : level);
  }
}

static const int8_t iq3_s_table[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};

static void iq3_s_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq3_s *b = block;
  for (int g = 0; g < 32; g++) {
    unsigned high = b->high[g / 4] >> 2 * (g % 4);
    uint64_t x = iq3_spread(iq3_s_grid[b->q[2 * g] | (high & 1) << 8], iq3_s_grid[b->q[2 * g + 1] | (high & 2) << 7]);
    x |= iq_bits(b->sign[g]) << 3;
    memcpy(c->q + 8 * g, &x, 8);
  }
  for (int j = 0; j < 8; j++) c->scale[j] = (uint8_t)(2 * (b->scale[j / 2] >> 4 * (j % 2) & 15) + 1);
  c->f = f16_to_f32(b->d);
}

static const struct quant quant_iq3_s = {"IQ3_S", 21, 256, sizeof(struct block_iq3_s), FORM_KT4, iq3_s_decode,
                                         iq3_s_unpack, iq3_s_table, NULL};
