/* Q5_0: 32 weights; w = d * (q - 16), q 5 bits: nibbles as in Q4_0, bit i of high is the fifth bit of weight i.
 * 5.5 bits per weight. */
struct block_q5_0 {
  uint16_t d;      // half
  uint8_t high[4]; // 32 bits, little-endian
  uint8_t q[16];
};
ASSERT_SIZE(block_q5_0, 22);

static void q5_0_unpack(const void *block, struct codes *c) {
  const struct block_q5_0 *b = block;
  for (int i = 0; i < 16; i++) {
    c->q[i] = (uint8_t)((b->q[i] & 15) | (b->high[i / 8] >> (i % 8) & 1) << 4);
    c->q[i + 16] = (uint8_t)(b->q[i] >> 4 | (b->high[2 + i / 8] >> (i % 8) & 1) << 4);
  }
  c->d = b->d;
}

static void q5_0_decode(const void *block, float *y) {
  const struct block_q5_0 *b = block;
  struct codes c;
  q5_0_unpack(b, &c);
  for (int i = 0; i < 32; i++) y[i] = f16_to_f32(b->d) * (float)(c.q[i] - 16);
}

static const struct quant quant_q5_0 = {"Q5_0", 6, 32, sizeof(struct block_q5_0), FORM_Q5, q5_0_decode, q5_0_unpack};
