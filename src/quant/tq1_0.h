/* TQ1_0: 256 weights; w = d * (t - 1), t a digit of base 3. Five digits to a byte (four in the last four bytes), the
 * byte the digits as a fraction of 256, rounded up: times 3^n without its whole part, times 3, the whole part is
 * digit n. Of 32 bytes the first digits, then their second, ...; so of the next 16, and of the last 4. 1.6875 bits
 * per weight. */
struct block_tq1_0 {
  uint8_t q[48];
  uint8_t last[4];
  uint16_t d; // half
};
ASSERT_SIZE(block_tq1_0, 54);

static const uint8_t tq1_0_power[5] = {1, 3, 9, 27, 81};

static int tq1_0_digit(uint8_t byte, int n) { return (uint8_t)(byte * tq1_0_power[n]) * 3 >> 8; }

static void tq1_0_decode(const void *block, float *y) {
  const struct block_tq1_0 *b = block;
  for (int i = 0; i < 256; i++) {
    int t = i < 160   ? tq1_0_digit(b->q[i % 32], i / 32)
            : i < 240 ? tq1_0_digit(b->q[32 + i % 16], (i - 160) / 16)
                      : tq1_0_digit(b->last[i % 4], (i - 240) / 4);
    y[i] = f16_to_f32(b->d) * (float)(t - 1);
  }
}

/* d * 1 * t - d * 1: as Q2_K with scales and mins of one. Shared with TQ2_0. */
static void tq_scales(uint16_t d, struct codes *restrict c) {
  memset(c->scale, 1, sizeof c->scale);
  memset(c->min, 1, sizeof c->min);
  c->d = c->m = d;
}

static void tq1_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_tq1_0 *b = block;
  for (int n = 0; n < 5; n++) {
    for (int i = 0; i < 32; i++) c->q[32 * n + i] = (uint8_t)tq1_0_digit(b->q[i], n);
    for (int i = 0; i < 16; i++) c->q[160 + 16 * n + i] = (uint8_t)tq1_0_digit(b->q[32 + i], n);
  }
  for (int i = 0; i < 16; i++) c->q[240 + i] = (uint8_t)tq1_0_digit(b->last[i % 4], i / 4);
  tq_scales(b->d, c);
}

static const struct quant quant_tq1_0 = {"TQ1_0", 34, 256, sizeof(struct block_tq1_0), FORM_K2M, tq1_0_decode,
                                         tq1_0_unpack, NULL, NULL};
