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

static void tq1_0_widen(const void *restrict block, struct wide *restrict w) {
  const struct block_tq1_0 *b = block;
  for (int n = 0; n < 5; n++) {
    for (int i = 0; i < 32; i++) w->q[32 * n + i] = (int8_t)(tq1_0_digit(b->q[i], n) - 1);
    for (int i = 0; i < 16; i++) w->q[160 + 16 * n + i] = (int8_t)(tq1_0_digit(b->q[32 + i], n) - 1);
  }
  for (int i = 0; i < 16; i++) w->q[240 + i] = (int8_t)(tq1_0_digit(b->last[i % 4], i / 4) - 1);
  for (int j = 0; j < 16; j++) w->scale[j] = f16_to_f32(b->d);
}

static const struct quant quant_tq1_0 = {"TQ1_0", 34, 256, sizeof(struct block_tq1_0), FORM_WIDE, tq1_0_decode, NULL,
                                         tq1_0_widen, NULL};
