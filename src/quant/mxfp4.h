/* MXFP4: 32 weights; w = 2^(scale - 127) * FP4, the scale a bare exponent (E8M0), FP4 a sign, two bits of exponent,
 * one of mantissa (E2M1), nibbles as in Q4_0. As ggml has it: half the scale times twice FP4, a scale of 255 not
 * special; what is beyond a float is infinite. 4.25 bits per weight. */
struct block_mxfp4 {
  uint8_t scale;
  uint8_t q[16];
};
ASSERT_SIZE(block_mxfp4, 17);

/* Twice the value of FP4. Shared with NVFP4. */
static const int8_t fp4_table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(scale - 128): of the exponents 0 and 1 a subnormal float. */
static float mxfp4_half_scale(unsigned scale) {
  return f32_from_bits(scale < 2 ? 0x00200000u << scale : (scale - 1) << 23);
}

static void mxfp4_decode(const void *block, float *y) {
  const struct block_mxfp4 *b = block;
  for (int i = 0; i < 32; i++) y[i] = mxfp4_half_scale(b->scale) * (float)fp4_table[b->q[i % 16] >> 4 * (i / 16) & 15];
}

/* A power of two is a bfloat16, even the two below the smallest normal float. */
static void mxfp4_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_mxfp4 *b = block;
  for (int i = 0; i < 16; i++) {
    c->q[i] = b->q[i] & 15;
    c->q[i + 16] = b->q[i] >> 4;
  }
  c->part[0] = (uint16_t)(f32_bits(mxfp4_half_scale(b->scale)) >> 16);
}

static const struct quant quant_mxfp4 = {"MXFP4", 39, 32, sizeof(struct block_mxfp4), FORM_T4B, mxfp4_decode,
                                         mxfp4_unpack, fp4_table, NULL};
