/* IQ4_XS: 256 weights in 8 blocks of 32; w = d * (scale[j] - 32) * table[q], scale 6 bits: a nibble of scale_low, two
 * bits of scale_high; q and its table as in IQ4_NL. 4.25 bits per weight. */
struct block_iq4_xs {
  uint16_t d; // half
  uint16_t scale_high;
  uint8_t scale_low[4];
  uint8_t q[8][16];
};
ASSERT_SIZE(block_iq4_xs, 136);

static float iq4_xs_scale(const struct block_iq4_xs *b, int j) {
  int scale = (b->scale_low[j / 2] >> 4 * (j % 2) & 15) | (b->scale_high >> 2 * j & 3) << 4;
  return f16_to_f32(b->d) * (float)(scale - 32);
}

static void iq4_xs_decode(const void *block, float *y) {
  const struct block_iq4_xs *b = block;
  for (int i = 0; i < 256; i++)
    y[i] = iq4_xs_scale(b, i / 32) * (float)iq4_nl_table[b->q[i / 32][i % 16] >> 4 * (i / 16 % 2) & 15];
}

static void iq4_xs_widen(const void *restrict block, struct wide *restrict w) {
  const struct block_iq4_xs *b = block;
  for (int j = 0; j < 8; j++) {
    for (int i = 0; i < 16; i++) {
      w->q[32 * j + i] = iq4_nl_table[b->q[j][i] & 15];
      w->q[32 * j + 16 + i] = iq4_nl_table[b->q[j][i] >> 4];
    }
    w->scale[2 * j] = w->scale[2 * j + 1] = iq4_xs_scale(b, j);
  }
}

static const struct quant quant_iq4_xs = {"IQ4_XS", 23, 256, sizeof(struct block_iq4_xs), FORM_WIDE, iq4_xs_decode,
                                          NULL, iq4_xs_widen, NULL};
