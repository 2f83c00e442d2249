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

static const struct quant quant_iq4_nl = {"IQ4_NL", 20, 32, sizeof(struct block_iq4_nl), FORM_T4, iq4_nl_decode,
                                          iq4_nl_unpack, iq4_nl_table};
