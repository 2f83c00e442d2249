/* IQ1_S: 256 weights in 8 blocks of 32; w = d * (2 * scale[j] + 1) * (level +- 1/8). Eight weights share a row of
 * iq1_grid, 11 bits: a byte of q and three bits of the block's word in high, which on top of four of these holds the
 * scale, 3 bits, and the sign of the eighth, 1 bit (1: minus). 1.5625 bits per weight. */
struct block_iq1_s {
  uint16_t d; // half
  uint8_t q[32];
  uint16_t high[8];
};
ASSERT_SIZE(block_iq1_s, 50);

static void iq1_s_decode(const void *block, float *y) {
  const struct block_iq1_s *b = block;
  for (int i = 0; i < 256; i++) {
    int high = b->high[i / 32], row = b->q[i / 8] | (high >> 3 * (i / 8 % 4) & 7) << 8;
    float level = (float)((iq1_grid[row] >> 2 * (i % 8) & 3) - 1);
    y[i] = f16_to_f32(b->d) * (float)(2 * (high >> 12 & 7) + 1) * (level + (high & 0x8000 ? -0.125f : 0.125f));
  }
}

static void iq1_s_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq1_s *b = block;
  for (int j = 0; j < 8; j++) {
    unsigned high = b->high[j];
    for (int g = 0; g < 4; g++) {
      uint64_t codes = iq1_codes(b->q[4 * j + g] | (high >> 3 * g & 7) << 8, high >> 15);
      memcpy(c->q + 32 * j + 8 * g, &codes, 8);
    }
    c->scale[2 * j] = c->scale[2 * j + 1] = (uint8_t)(2 * (high >> 12 & 7) + 1);
  }
  c->f = f16_to_f32(b->d) * 0.125f;
}

static const struct quant quant_iq1_s = {"IQ1_S", 19, 256, sizeof(struct block_iq1_s), FORM_KT3, iq1_s_decode,
                                         iq1_s_unpack, iq1_table, NULL};
