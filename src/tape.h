/* tape.h -- the forward pass as a flat list of operations. An architecture writes it once, at load, in straight lines;
 * the processor runs it, tests run single operations, `bodkin info --tape` prints it. The number of rows is bound when
 * it runs. A value is a matrix of rows x width floats in scratch memory; its place is planned from its first and last use.
 * SPDX-License-Identifier: MIT */
#ifndef TAPE_H
#define TAPE_H

#include "kern.h"

/* A matrix of a model file, (n_rows, n_cols): n_cols runs fastest and is summed over. */
struct weight {
  struct str name;
  const struct quant *quant; // NULL: absent
  const void *file;          // blocks as they lie in the map
  void *packed;              // form quant->form; NULL if it is only looked up row by row, in the map
  int n_rows, n_cols;
  bool lookup_only;          // rows are read by number, never multiplied: stays in the map
};

struct rope {
  const float *frequency; // (n_rot/2) radians per position, scaling applied
  float magnitude;        // of the rotated vector: 1 but for YaRN
  int n_rot;              // leading dimensions of a head that turn
  bool neox;              // pairs are (i, i + n_rot/2), else (2i, 2i + 1)
};

enum op_kind { OP_EMBED, OP_ANGLES, OP_MATMUL, OP_HEADS, OP_ATTENTION, OP_NORM_ADD, OP_SOFTCAP, OP_COUNT };
enum source { FROM_ROWS, FROM_RMS_NORM, FROM_GLU }; // what a product reads: a value, its norm, act(first) * second
enum { VALUE_NONE = -1, MATMUL_MAX = 3, HEAD_ROWS = 8 }; // HEAD_ROWS: rows of logits computed at once

struct op {
  enum op_kind kind;
  bool head;                 // runs on output rows only, HEAD_ROWS at a time
  int in[3], out[3];         // values
  int n_out;
  const struct weight *w[MATMUL_MAX];
  const float *bias[MATMUL_MAX]; // (n_rows of w) or NULL
  const float *norm[2];      // (width) weights of the norm of the source; of q and of k in OP_HEADS
  enum source source;
  enum activation act;
  bool add;                  // the product is added to out[0]
  float eps, scale, softcap;
  const struct rope *rope;
  int layer, n_head, n_head_kv, head_dim, value_dim;
  int window;                // positions a query sees, itself included; 0: all before it
};

struct value {
  int width;                 // floats of a row
  int stride;                // floats from row to row
  int first, last;           // operations that use it
  bool head;
  size_t offset;             // bytes into scratch
  int slice_of, column;      // a view of some columns of another value, or VALUE_NONE
};

struct tape {
  struct op *ops;            // (n_ops)
  struct value *values;      // (n_values)
  int n_ops, n_values, max_ops, max_values;
  int input;                 // value of output rows that the head reads
  int result;                // value of the logits, or VALUE_NONE
  bool in_head;
  int max_rows;              // set by tape_plan
  size_t scratch_bytes;      // of all values
  size_t panel_bytes;        // of the largest panels any product needs
  int widest_row;            // floats: the longest row a product reads
  size_t attention_floats;   // scratch of one thread
};

static bool tape_new(struct tape *t, int max_ops, struct arena *a, struct bk_error *e);

/* Rows of the embedding matrix for the tokens of the batch, times scale. */
static int tape_embed(struct tape *t, const struct weight *w, float scale);
/* Cosines and sines of every row's position: (n_rot/2, 2). */
static int tape_angles(struct tape *t, const struct rope *r);

struct tape_in {             // what a product reads
  enum source source;
  int x, y;                  // y: the second factor of FROM_GLU
  const float *norm;
  float eps;
  enum activation act;
};
#define TAPE_ROWS(value) ((struct tape_in){FROM_ROWS, (value), VALUE_NONE, NULL, 0, ACT_SILU})
#define TAPE_RMS_NORM(value, weights, epsilon) ((struct tape_in){FROM_RMS_NORM, (value), VALUE_NONE, (weights), (epsilon), ACT_SILU})
#define TAPE_GLU(gate, up, activation) ((struct tape_in){FROM_GLU, (gate), (up), NULL, 0, (activation)})

/* out[i] = in * w[i]^T + bias[i], up to three products in one sweep over one quantised input. bias may be NULL. */
static void tape_matmul(struct tape *t, struct tape_in in, int n, const struct weight *const *w, const float *const *bias, int *out);
/* to += in * w^T + bias */
static void tape_matmul_add(struct tape *t, struct tape_in in, const struct weight *w, const float *bias, int to);

struct tape_heads {          // what attention of one layer is made of
  int layer, n_head, n_head_kv, head_dim, value_dim, window;
  const float *q_norm, *k_norm; // (head_dim) or NULL
  float eps;
  const struct rope *rope;   // NULL: positions are not rotated
  int angles;
  float scale, softcap;
};
/* Norms and rotates q and k, writes k and v into the pages of their sequences; then reads the pages. Returns (n_head, value_dim). */
static int tape_attention(struct tape *t, const struct tape_heads *h, int q, int k, int v);
/* to += rms_norm(x) * w */
static void tape_norm_add(struct tape *t, int x, const float *w, float eps, int to);
static int tape_slice(struct tape *t, int value, int column, int width);

/* From here on only rows whose logits are wanted. Returns those rows of x. */
static int tape_head(struct tape *t, int x);
static void tape_softcap(struct tape *t, int x, float cap);
static void tape_result(struct tape *t, int logits);

/* Gives every value its place for at most max_rows rows. */
static void tape_plan(struct tape *t, int max_rows);
static void tape_print(const struct tape *t, struct buf *b);

#endif
