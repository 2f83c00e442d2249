/* F32: the weight itself, IEEE binary32. 32 bits per weight. */
struct block_f32 {
  float w;
};
ASSERT_SIZE(block_f32, 4);

static void f32_decode(const void *block, float *y) { memcpy(y, block, sizeof *y); }

static const struct quant quant_f32 = {"F32", 0, 1, sizeof(struct block_f32), FORM_F32, f32_decode, NULL, NULL};
