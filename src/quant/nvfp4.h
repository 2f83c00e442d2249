/* NVFP4: 64 weights in 4 blocks of 16; w = scale[j] * FP4, the scale an E4M3 without sign, FP4 as in MXFP4, low
 * nibbles the first eight weights of a block, high nibbles the last eight. As ggml has it: half the scale times twice
 * FP4, the scale's upper bit does not count, 0x7F is 0. 4.5 bits per weight. */
struct block_nvfp4 {
  uint8_t scale[4];
  uint8_t q[4][8];
};
ASSERT_SIZE(block_nvfp4, 36);

/* Half of (1 + m / 8) * 2^(e - 7), or of m * 2^-9 where e is 0. */
static float nvfp4_half_scale(unsigned scale) {
  unsigned e = scale >> 3 & 15, m = scale & 7, normal = e > 0;
  return scale == 0x7F ? 0.0f : (float)(m | normal << 3) * f32_from_bits((e - normal + 127 - 10) << 23);
}

static void nvfp4_decode(const void *block, float *y) {
  const struct block_nvfp4 *b = block;
  for (int i = 0; i < 64; i++)
    y[i] = nvfp4_half_scale(b->scale[i / 16]) * (float)fp4_table[b->q[i / 16][i % 8] >> 4 * (i / 8 % 2) & 15];
}

static void nvfp4_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_nvfp4 *b = block;
  for (int j = 0; j < 4; j++) {
    for (int i = 0; i < 8; i++) {
      c->q[16 * j + i] = b->q[j][i] & 15;
      c->q[16 * j + 8 + i] = b->q[j][i] >> 4;
    }
    c->part[j] = f32_to_f16(nvfp4_half_scale(b->scale[j])); // exact: 4 bits, 2^-10 to 224
  }
}

static const struct quant quant_nvfp4 = {"NVFP4", 40, 64, sizeof(struct block_nvfp4), FORM_T4S, nvfp4_decode,
                                         nvfp4_unpack, fp4_table, NULL};
