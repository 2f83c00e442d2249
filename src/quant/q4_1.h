/* Q4_1: 32 weights; w = d * q + m, q 4 bits: low nibbles are weights 0..15, high nibbles 16..31. 5 bits per weight. */
struct block_q4_1 {
  uint16_t d, m; // half
  uint8_t q[16];
};
ASSERT_SIZE(block_q4_1, 20);

static void q4_1_decode(const void *block, float *y) {
  const struct block_q4_1 *b = block;
  float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
  for (int i = 0; i < 16; i++) {
    y[i] = d * (float)(b->q[i] & 15) + m;
    y[i + 16] = d * (float)(b->q[i] >> 4) + m;
  }
}

static void q4_1_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q4_1 *b = block;
  for (int i = 0; i < 16; i++) {
    c->q[i] = b->q[i] & 15;
    c->q[i + 16] = b->q[i] >> 4;
  }
  c->d = b->d;
  c->m = b->m;
}

SMALL void q4_1_encode(const float *restrict x, void *restrict block) {
  static const struct fit f = {.low = 0, .high = 15, .step = 0.125f, .tries = 8, .half = true, .has_min = true};
  struct block_q4_1 *b = block;
  float l[32];
  fit_block(&f, x, &b->d, &b->m, l);
  for (int i = 0; i < 16; i++) b->q[i] = (uint8_t)((int)l[i] | (int)l[i + 16] << 4);
}

static const struct quant quant_q4_1 = {"Q4_1", 3, 32, sizeof(struct block_q4_1), FORM_Q4M, q4_1_decode, q4_1_unpack,
                                        NULL, q4_1_encode};
