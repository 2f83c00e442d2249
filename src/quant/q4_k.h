/* Q4_K: 256 weights in 8 blocks of 32; w = d * scale[j] * q - dmin * min[j], scale and min 6 bits, q 4 bits.
 * Bytes of q: 32 for each pair of blocks, low nibbles the even block, high nibbles the odd one. 4.5 bits per weight. */
struct block_q4_k {
  uint16_t d, dmin;     // half
  uint8_t scale_min[12]; // see q4_k_scales
  uint8_t q[128];
};
ASSERT_SIZE(block_q4_k, 144);

/* 12 bytes hold 8 scales and 8 mins of 6 bits: byte j and j+4 the first four of each; the upper four have their low
 * nibbles in bytes 8..11 and their upper two bits on top of the first eight bytes. Shared with Q5_K. */
static void q4_k_scales(const uint8_t packed[12], uint8_t scale[16], uint8_t min[8]) {
  for (int j = 0; j < 4; j++) {
    scale[j] = packed[j] & 63;
    min[j] = packed[j + 4] & 63;
    scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
    min[j + 4] = (uint8_t)(packed[j + 8] >> 4 | (packed[j + 4] >> 6) << 4);
  }
}

static void q4_k_unpack(const void *restrict block, struct codes *restrict c) {
  const struct block_q4_k *b = block;
  for (int j = 0; j < 4; j++)
    for (int i = 0; i < 32; i++) {
      c->q[64 * j + i] = b->q[32 * j + i] & 15;
      c->q[64 * j + 32 + i] = b->q[32 * j + i] >> 4;
    }
  q4_k_scales(b->scale_min, c->scale, c->min);
  c->d = b->d;
  c->m = b->dmin;
}

static void q4_k_decode(const void *block, float *y) {
  const struct block_q4_k *b = block;
  struct codes c;
  q4_k_unpack(b, &c);
  for (int i = 0; i < 256; i++)
    y[i] = f16_to_f32(b->d) * (float)c.scale[i / 32] * (float)c.q[i] - f16_to_f32(b->dmin) * (float)c.min[i / 32];
}

static const struct quant quant_q4_k = {"Q4_K", 12, 256, sizeof(struct block_q4_k), FORM_K4M, q4_k_decode, q4_k_unpack, NULL};
