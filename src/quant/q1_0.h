/* Q1_0: 128 weights; w = d where bit i is set, else -d. 1.125 bits per weight. */
struct block_q1_0 {
  uint16_t d; // half
  uint8_t q[16];
};
ASSERT_SIZE(block_q1_0, 18);

static void q1_0_decode(const void *block, float *y) {
  const struct block_q1_0 *b = block;
  for (int i = 0; i < 128; i++) y[i] = f16_to_f32(b->d) * (b->q[i / 8] >> (i % 8) & 1 ? 1.0f : -1.0f);
}

static void q1_0_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q1_0 *b = block;
  for (int i = 0; i < 128; i++) c->q[i] = b->q[i / 8] >> (i % 8) & 1;
  for (int j = 0; j < 4; j++) c->part[j] = b->d;
}

static const int8_t q1_0_table[16] = {-1, 1};

static const struct quant quant_q1_0 = {"Q1_0", 41, 128, sizeof(struct block_q1_0), FORM_T2, q1_0_decode, q1_0_unpack,
                                        q1_0_table, NULL};
