/* F32: the weight itself, IEEE binary32. 32 bits per weight. */
struct block_f32 {
  float w;
};
ASSERT_SIZE(block_f32, 4);

static void f32_decode(const void *block, float *y) { memcpy(y, block, sizeof *y); }

SMALL void f32_encode(const float *restrict x, void *restrict block) { memcpy(block, x, sizeof *x); }

static const struct quant quant_f32 = {"F32", 0, 1, sizeof(struct block_f32), FORM_F32, f32_decode, NULL, NULL,
                                       f32_encode};
