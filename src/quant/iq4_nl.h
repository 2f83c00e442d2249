/* IQ4_NL: 32 weights; w = d * table[q], q 4 bits as in Q4_0, the table not linear: more levels near zero. 4.5 bits. */
struct block_iq4_nl {
  uint16_t d; // half
  uint8_t q[16];
};
ASSERT_SIZE(block_iq4_nl, 18);

/* ggml's kvalues_iq4nl. Shared with IQ4_XS. */
static const int8_t iq4_nl_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void iq4_nl_decode(const void *block, float *y) {
  const struct block_iq4_nl *b = block;
  for (int i = 0; i < 16; i++) {
    y[i] = f16_to_f32(b->d) * (float)iq4_nl_table[b->q[i] & 15];
    y[i + 16] = f16_to_f32(b->d) * (float)iq4_nl_table[b->q[i] >> 4];
  }
}

static void iq4_nl_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_iq4_nl *b = block;
  for (int i = 0; i < 16; i++) {
    c->q[i] = b->q[i] & 15;
    c->q[i + 16] = b->q[i] >> 4;
  }
  c->part[0] = b->d;
}

SMALL void iq4_nl_encode(const float *restrict x, void *restrict block) {
  static const struct fit f = {-127, 113, .table = iq4_nl_table, .step = 1, .tries = 7, .both = true, .half = true};
  struct block_iq4_nl *b = block;
  uint16_t zero;
  float l[32];
  fit_block(&f, x, &b->d, &zero, l);
  memset(b->q, 0, sizeof b->q);
  for (int i = 0; i < 32; i++)
    for (int q = 0; q < 16; q++)
      if (iq4_nl_table[q] == (int)l[i]) b->q[i % 16] |= (uint8_t)(q << i / 16 * 4);
}

static const struct quant quant_iq4_nl = {"IQ4_NL", 20, 32, sizeof(struct block_iq4_nl), FORM_T4, iq4_nl_decode,
                                          iq4_nl_unpack, iq4_nl_table, iq4_nl_encode};
