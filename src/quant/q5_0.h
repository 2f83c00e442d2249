/* Q5_0: 32 weights; w = d * (q - 16), q 5 bits: nibbles as in Q4_0, bit i of high is the fifth bit of weight i.
 * 5.5 bits per weight. */
struct block_q5_0 {
  uint16_t d;      // half
  uint8_t high[4]; // 32 bits, little-endian
  uint8_t q[16];
};
ASSERT_SIZE(block_q5_0, 22);

/* Bit i of eight to 0x10 in byte i: spread by a multiplication, one bit kept in each byte, 1..128 to 16 by a carry into
 * bit 7. Shared with Q5_1. */
static uint64_t q5_0_fifth(uint8_t bits) {
  uint64_t one = (uint64_t)bits * 0x0101010101010101u & 0x8040201008040201u;
  return (one + 0x7F7F7F7F7F7F7F7Fu) >> 3 & 0x1010101010101010u;
}

/* q (32) from nibbles (16) and the 32 fifth bits. */
static void q5_0_codes(const uint8_t *restrict nibbles, const uint8_t *restrict high, uint8_t *restrict q) {
  for (int i = 0; i < 2; i++) {
    uint64_t eight, low, up;
    memcpy(&eight, nibbles + 8 * i, 8);
    low = (eight & 0x0F0F0F0F0F0F0F0Fu) | q5_0_fifth(high[i]);
    up = (eight >> 4 & 0x0F0F0F0F0F0F0F0Fu) | q5_0_fifth(high[2 + i]);
    memcpy(q + 8 * i, &low, 8);
    memcpy(q + 16 + 8 * i, &up, 8);
  }
}

static void q5_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q5_0 *b = block;
  q5_0_codes(b->q, b->high, c->q);
  c->d = b->d;
}

static void q5_0_decode(const void *block, float *y) {
  const struct block_q5_0 *b = block;
  for (int i = 0; i < 32; i++) {
    int q = (i < 16 ? b->q[i] & 15 : b->q[i - 16] >> 4) | (b->high[i / 8] >> (i % 8) & 1) << 4;
    y[i] = f16_to_f32(b->d) * (float)(q - 16);
  }
}

/* Levels 0..31 to nibbles (16) and fifth bits. Shared with Q5_1. */
SMALL void q5_0_pack(const uint8_t l[32], uint8_t *q, uint8_t high[4]) {
  memset(high, 0, 4);
  for (int i = 0; i < 16; i++) q[i] = (uint8_t)((l[i] & 15) | (l[i + 16] & 15) << 4);
  for (int i = 0; i < 32; i++) high[i / 8] |= (uint8_t)(l[i] >> 4 << i % 8);
}

SMALL void q5_0_encode(const float *restrict x, void *restrict block) {
  struct block_q5_0 *b = block;
  int l[32];
  uint8_t q[32];
  b->d = fit_widest(x, 16, l);
  for (int i = 0; i < 32; i++) q[i] = (uint8_t)(l[i] + 16);
  q5_0_pack(q, b->q, b->high);
}

static const struct quant quant_q5_0 = {"Q5_0", 6, 32, sizeof(struct block_q5_0), FORM_Q5, q5_0_decode, q5_0_unpack,
                                        NULL, q5_0_encode};
