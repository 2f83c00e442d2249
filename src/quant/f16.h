/* F16: the weight itself, IEEE binary16. 16 bits per weight. */
struct block_f16 {
  uint16_t w;
};
ASSERT_SIZE(block_f16, 2);

static void f16_decode(const void *block, float *y) {
  struct block_f16 b;
  memcpy(&b, block, sizeof b);
  *y = f16_to_f32(b.w);
}

SMALL void f16_encode(const float *restrict x, void *restrict block) { // to nearest even, cut at the largest half
  struct block_f16 b = {fit_half(*x)};
  memcpy(block, &b, sizeof b);
}

static const struct quant quant_f16 = {"F16", 1, 1, sizeof(struct block_f16), FORM_F16, f16_decode, NULL, NULL,
                                       f16_encode};
