/* IQ4_XS: 256 weights in 8 blocks of 32; w = d * (scale[j] - 32) * table[q], scale 6 bits: a nibble of scale_low, two
 * bits of scale_high; q and its table as in IQ4_NL. 4.25 bits per weight. */
struct block_iq4_xs {
  uint16_t d; // half
  uint16_t scale_high;
  uint8_t scale_low[4];
  uint8_t q[8][16];
};
ASSERT_SIZE(block_iq4_xs, 136);

static int iq4_xs_scale(const struct block_iq4_xs *b, int j) {
  return ((b->scale_low[j / 2] >> 4 * (j % 2) & 15) | (b->scale_high >> 2 * j & 3) << 4) - 32;
}

static void iq4_xs_decode(const void *block, float *y) {
  const struct block_iq4_xs *b = block;
  for (int i = 0; i < 256; i++) {
    float scale = f16_to_f32(b->d) * (float)iq4_xs_scale(b, i / 32);
    y[i] = scale * (float)iq4_nl_table[b->q[i / 32][i % 16] >> 4 * (i / 16 % 2) & 15];
  }
}

static void iq4_xs_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq4_xs *b = block;
  for (int j = 0; j < 8; j++) {
    for (int i = 0; i < 16; i++) {
      c->q[32 * j + i] = b->q[j][i] & 15;
      c->q[32 * j + 16 + i] = b->q[j][i] >> 4;
    }
    c->scale[j] = (uint8_t)iq4_xs_scale(b, j);
  }
  c->f = f16_to_f32(b->d);
}

static const struct quant quant_iq4_xs = {"IQ4_XS", 23, 256, sizeof(struct block_iq4_xs), FORM_KT4, iq4_xs_decode,
                                          iq4_xs_unpack, iq4_nl_table, NULL};
