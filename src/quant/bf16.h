/* BF16: the upper half of an IEEE binary32. 16 bits per weight. */
struct block_bf16 {
  uint16_t w;
};
ASSERT_SIZE(block_bf16, 2);

static void bf16_decode(const void *block, float *y) {
  struct block_bf16 b;
  memcpy(&b, block, sizeof b);
  *y = bf16_to_f32(b.w);
}

SMALL void bf16_encode(const float *restrict x, void *restrict block) { // to nearest even, cut before infinity
  uint32_t u = f32_bits(*x), even = u + 0x7FFF + (u >> 16 & 1);
  struct block_bf16 b = {(uint16_t)((even & 0x7FFFFFFF) < 0x7F800000 ? even >> 16 : u >> 16)};
  memcpy(block, &b, sizeof b);
}

static const struct quant quant_bf16 = {"BF16", 30, 1, sizeof(struct block_bf16), FORM_BF16, bf16_decode, NULL, NULL,
                                        bf16_encode};
