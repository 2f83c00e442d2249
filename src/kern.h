/* kern.h -- weight formats, the packed forms they take at load, and one table of kernels per instruction set.
 *
 * Formats are many, packed forms few. A matrix is packed in groups of 16 rows: dword lane r of a 64-byte vector is row r
 * and its 4 bytes are 4 consecutive k, so a dot product never sums across lanes and k ascends for every row: a batch of
 * one and a batch of twelve give the same bits, and so do all instruction sets, which do the same integer sums and the
 * same fused multiply-adds in the same order.
 * SPDX-License-Identifier: MIT */
#ifndef KERN_H
#define KERN_H

#include "os.h"

/* ---- packed forms ----
 * All are kept in memory from load to end. Bits of a weight in the file, and packed: Q4_0, IQ4_NL 4.5, the same; Q8_0 8.5,
 * the same; Q4_K 4.5, 4.6; Q6_K 6.6, the same; Q2_K 2.6, the same; Q3_K 3.4, 3.6; IQ4_XS 4.25, 4.4; MXFP4 4.25, 4.5; NVFP4 4.5, 5.
 * What a codebook holds becomes codes of its levels with their signs, 3 bits for IQ1 and IQ2 and 4 for IQ3: IQ3_S 3.4, 4.4;
 * IQ3_XXS 3.1, 4.4; IQ2_S 2.6, IQ2_XS 2.3, IQ2_XXS 2.1, IQ1_M 1.75, IQ1_S 1.6, all 3.6. And TQ2_0 2.1, TQ1_0 1.7, both 2.6;
 * Q2_0 2.25, Q1_0 1.1, both 2.5. Three of these more than double (IQ1_S 2.3, IQ1_M 2.1, Q1_0 2.2 times): unpacked at every
 * product instead they would keep the size of the file, and decode 18 to 31 times slower, as IQ4_NL, IQ4_XS, IQ3_S and Q2_K did. */
enum form {
  FORM_F32, FORM_F16, FORM_BF16, // floats, [k][16 rows]
  FORM_Q4, FORM_Q4M,             // 4-bit codes, half scale per 32 (code - 8), with min: half min per 32
  FORM_Q5, FORM_Q5M,             // 4+1 bits, likewise (code - 16)
  FORM_Q8,                       // 8 bits (code - 128)
  FORM_K4M, FORM_K5M,            // 256 weights: half scale and min, 8 byte scales and 8 byte mins for 32 each
  FORM_K6,                       // 256 weights: half scale, 16 signed byte scales for 16 each (code - 32)
  FORM_T4, FORM_T4B, FORM_T4S,   // 4-bit codes into a table, half (T4B: bfloat16) scale per 32, or (T4S) per 16
  FORM_T2,                       // 2-bit codes into a table, half scale per 32
  FORM_KT4,                      // 256 weights: float scale, 8 signed byte scales for 32 each, 4-bit codes into a table
  FORM_KT3,                      // 256 weights: float scale, 16 signed byte scales for 16 each, 3-bit codes into a table
  FORM_K2M,                      // 256 weights: half scale and min, 16 scales and mins of 4 bits for 16 each, 2-bit codes
  FORM_COUNT
};
enum { GROUP = 16, BLOCK = 32 }; // rows of a group; weights of a row that share one activation scale

struct form_shape {
  const char *name;
  int bits;     // per code; 0: floats
  int sub;      // blocks of 32 in one packed block: 1 or 8
  int scales;   // per row and packed block: 0 (the half is the scale), 2 halves, 8 or 16 byte scales
  bool min;     // value = scale * code + min, else scale * (code - offset)
  int offset;
  size_t bytes; // of one packed block: GROUP rows of `block` weights
  int block;    // weights of a row in one packed block
  int table;    // bytes in front of a group's blocks, whose first 16 are what its codes stand for; 0: for themselves
  bool brain;   // 16-bit scales are bfloat16
};
static const struct form_shape form_shapes[FORM_COUNT];

/* One block of a row, exact, in the order of k: what every format unpacks to. */
struct codes {
  uint8_t q[256];     // (block) unsigned codes
  uint16_t d, m;      // half precision scale and min (K forms: of the scales and mins below)
  uint16_t part[8];   // T forms: scales of every 32, or of every 16, in half precision or as bfloat16
  float f;            // KT forms: scale of the byte scales, which with a format's constants is more than a half can hold
  uint8_t scale[16];  // byte scales; FORM_K6, KT forms: as int8
  uint8_t min[16];
};

/* A weight format. One file in quant/ defines one of these; gen/quants.h lists the folder. */
struct quant {
  const char *name;   // as ggml spells it
  uint32_t type;      // ggml's number in a GGUF file
  int block;          // weights of a block
  size_t block_bytes; // sizeof the block's struct
  enum form form;
  void (*decode)(const void *block, float *y);        // the specification: y (block)
  void (*unpack)(const void *restrict block, struct codes *restrict c); // NULL for floats
  const int8_t *table; // T forms: (16) what the codes stand for
  /* The block whose decode comes near x (block), which is finite. NULL: the format is read, not written. */
  void (*encode)(const float *restrict x, void *restrict block);
};
static const struct quant *quant_find(uint32_t type);          // NULL: not supported
static const struct quant *quant_named(struct str name);       // by ggml's name, any case

/* ---- packing ---- */
static size_t form_bytes(enum form form, int n_rows, int n_cols); // of a packed matrix; rows padded to GROUP
/* Packs rows [first, first + GROUP) of a matrix of n_rows rows; rows past the end become zeros. */
static void form_pack_group(const struct quant *q, const void *file, int n_rows, int n_cols, int first, void *packed);
/* One row of a packed matrix as floats: the same values as the format's decode. y (n_cols) */
static void form_row(enum form form, const void *packed, int n_cols, int row, float *y);

/* ---- activations: panels of columns (a column is a token) ---- */
/* What the columns of a panel of n columns are made of, in dwords. Panels lie one after the other.
 * PANEL_FLOATS [k][n]. PANEL_BLOCKS, for every 32 k: [8][n] int8 x 4, [n] f32 scale, [n] -8 * sum, [n] -16 * sum,
 * [n] -128 * sum, [n] -128 * sum of the first 16, [n] f32 scale * sum: what offsets of
 * codes take away, ready to begin with. PANEL_LONG, for every 256 k: [64][n] int8 x 4, [n] f32 scale, then sums as pairs
 * of int16: [8][n] of 16 k, [4][n] of 32 k.
 * Within the int8 a set may order the dwords as its products want them (panel_at); [8][n] and [64][n] is the usual way. */
enum { KERN_WIDEST = 12 }; // columns of the widest panel of any instruction set
enum panel { PANEL_FLOATS, PANEL_BLOCKS, PANEL_LONG, PANEL_COUNT };
static enum panel form_panel(enum form form);
static size_t panel_dwords(enum panel kind, int n_cols);            // of one column
static size_t panel_bytes(enum panel kind, int n_rows, int n_cols); // of all panels for any instruction set

struct matmul {
  enum form form;
  const uint8_t *w;    // packed (n_rows / GROUP, ...)
  const void *x;       // panels of n_tokens columns
  float *y;            // (n_tokens, ldy): row t gets its n_rows results
  size_t ldy;
  int n_rows, n_cols, n_tokens;
  bool add;            // y += instead of y =
};

/* ---- attention ---- */
enum kv_type {
  KV_F16, // 16 bits each: codes up to +-8191, a float scale for 32 of a key and for a whole value: half precision's error
  KV_F32,
  KV_Q8,  // 8 bits each: codes up to +-127, a float scale for every 32
  KV_TYPE_COUNT
};
#ifndef KV_PAGE
#define KV_PAGE 64 // tokens of a page
#endif
enum { KV_LANES = (KV_PAGE + GROUP - 1) / GROUP * GROUP }; // keys lie in lanes of 16: a small page is padded
enum { KV_MOST_DIM = 1024 }; // of a head's keys and of its values
enum { KV_SEGMENT = 8 };  // pages that are attended on their own; then segments are merged in order

struct attention {       // one tile: columns are (row, head) pairs that share one key/value head
  const char *const *k;  // (n_pages) keys of this layer and head: [KV_LANES/16] groups, see kv.c
  const char *const *v;  // (n_pages) values, see kv.c
  int head_dim;          // of q and k
  int value_dim, value_pad; // of v; value_pad: rounded up to a multiple of 16
  int page0, page1;      // pages [page0, page1) hold everything any column sees
  int n;                 // columns, at most the set's widest tile
  const float *q[12];    // per column (head_dim), not scaled
  float *out[12];        // per column (value_dim)
  int first[12], last[12]; // per column: visible positions [first, last]
  int position[12];        // per column: its own
  float slope[12];         // per column: what a score loses for every position between; 0: nothing (of all or of none)
  const float *bias[12];   // per column: what it gains, by how far behind the column a key stands, -reach to reach; or NULL
  int reach;               // what is farther gains what stands there (of all or of none)
  float scale, softcap;  // softcap 0: none
  float *scratch;        // attention_scratch() floats, 64-byte aligned
  float *parts;          // NULL, or segments are left here instead of merged: (segments, part_stride) floats, each
  size_t part_stride;    //   (n, 16 + value_pad): largest score, sum of weights, ..., what was mixed
};
/* A tile of a short sequence of which every row sees every row: all of it is in the batch, and no page is read. */
enum { ATTENTION_ALL = 64 }; // most rows of such a sequence: of more, products of int16 are faster
struct attention_all {
  const float *q[GROUP]; // (n) of rows of one head (head_dim), not scaled
  float *out[GROUP];     // (n) (value_dim)
  int n;
  const float *k, *v;    // (n_keys, stride) of the head
  size_t k_stride, v_stride;
  int n_keys;
  int head_dim, value_dim; // value_dim: a multiple of 32
  float scale;
  float *scratch;        // attention_scratch() floats, 64-byte aligned
};
static size_t attention_scratch(int head_dim, int value_dim);        // floats, for either
static size_t kern_key_bytes(enum kv_type type, int head_dim);       // of a group of 16 keys
static size_t kern_value_bytes(enum kv_type type, int value_dim);    // of a page of values

enum activation { ACT_SILU, ACT_GELU_TANH, ACT_GELU_ERF, ACT_TANH, ACT_COUNT };

/* Elementary functions in double, ours: the same bits whatever the C library. Relative error about 1e-16; x > 0 for the
 * logarithm, |x| < 1e8 for sine and cosine. Used for rope's angles, not in inner loops. */
static double kern_log(double x);
static double kern_exp(double x);
static void kern_sincos(double x, double *sine, double *cosine);

/* One table per instruction set, without holes. */
struct kern {
  const char *name;
  int widest;                                       // columns of the widest tile
  int (*panel_width)(int left); // of the panel that begins where `left` columns are left
  int (*panel_at)(int step, int column, int width); // dword of a block of a panel where 4 k, from 4 * step, of a column lie
  /* A panel of columns x[i] (n_cols); NULL: one that only pads. x (width) */
  void (*panel[PANEL_COUNT])(const float *const *x, int n_cols, int width, void *panel);
  void (*matmul[FORM_COUNT])(const struct matmul *m, int group0, int group1); // float forms: float panels
  void (*exact[FORM_COUNT])(const struct matmul *m, int group0, int group1);  // always float panels
  void (*attention[KV_TYPE_COUNT])(const struct attention *a);
  void (*attention_all)(const struct attention_all *a);
  /* n parts of one column, `stride` floats apart, into its result (value_dim); the first part is overwritten. */
  void (*attention_merge)(float *parts, size_t stride, int n, int value_dim, int value_pad, float *out);
  float (*codes)(const float *x, int n, int most, int16_t *q); // x = scale * q with |q| <= most; returns the scale
  /* The same of n <= 16 columns x[i] (dims) as pairs, pair s of column i at out[s * stride + i]; scale (n). */
  void (*pairs)(const float *const *x, int dims, int n, int most, int32_t *out, int stride, float *scale);
  /* The same of an even n, as pairs of what two columns have: out[i / 2 * stride + d] holds d of columns i and i + 1. */
  void (*couples)(const float *const *x, int dims, int n, int most, int32_t *out, int stride, float *scale);
  void (*rms_norm)(const float *x, const float *w, float eps, int n, float *y); // w NULL: all ones
  void (*layer_norm)(const float *x, const float *w, const float *b, float eps, int n, float *y);
  void (*glu[ACT_COUNT])(const float *gate, const float *up, int n, float *y); // y = act(gate) * up; up NULL: ones
  void (*rope)(float *x, const float *angles, int n_rot, bool neox);           // angles (n_rot/2, 2): cos, sin
  void (*add)(float *y, const float *x, int n);                                // y += x
  void (*softcap)(float *x, int n, float cap);                                 // x = cap * tanh(x / cap)
  double (*peak)(int rounds, bool floats); // products and sums done in registers, for the roof of a benchmark
};
static const struct kern *kern_get(enum os_isa isa); // NULL: not in this binary or not on this processor
static enum os_isa kern_best(void);
static bool kern_named(struct str name, enum os_isa *out);

#endif
