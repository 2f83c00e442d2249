/* tape.h -- the forward pass as a flat list of operations. An architecture writes it once, at load, in straight lines;
 * the processor runs it, tests run single operations, `bodkin info --tape` prints it. The number of rows is bound when
 * it runs. A value is a matrix of rows x width floats in scratch memory; its place is planned from its first and last use.
 * SPDX-License-Identifier: MIT */
#ifndef TAPE_H
#define TAPE_H

#include "kern.h"

/* A matrix of a model file, (n_rows, n_cols): n_cols runs fastest and is summed over. Of experts, n_experts of them. */
struct weight {
  struct str name;
  const struct quant *quant; // NULL: absent
  const void *file;          // blocks as they lie in the map
  void *packed;              // form quant->form; NULL if it is only looked up row by row, in the map
  int n_rows, n_cols;
  int n_experts;             // 1 where there is no choice
  bool lookup_only;          // rows are read by number, never multiplied: stays in the map
  const float *bias;         // (n_rows) added to the product, or NULL
  const struct adapter *adapters; // added to it, too; a list, or NULL
};

struct adapter {             // a low-rank change of a matrix: + scale * up * down (Hu et al.: LoRA, 2021)
  struct weight down, up;    // (rank, n_cols), (n_rows, rank)
  float scale;
  int number;                // of the file it is from
  const struct adapter *next;
};

struct norm {                // (x - mean) / sqrt(variance + eps) * weight + bias, or x / sqrt(mean square + eps) * weight
  const float *weight, *bias; // (width) or NULL: ones, zeros
  float eps;
  bool centred;              // layer norm, else RMS norm
};

struct rope {
  const float *frequency; // (n_rot/2) radians per position, scaling applied
  float magnitude;        // of the rotated vector: 1 but for YaRN
  int n_rot;              // leading dimensions of a head that turn
  bool neox;              // pairs are (i, i + n_rot/2), else (2i, 2i + 1)
};

enum op_kind {
  OP_EMBED, OP_ANGLES, OP_MATMUL, OP_NORM, OP_HEADS, OP_ATTENTION, OP_JOIN, OP_ROUTE, OP_MIX, OP_ADD, OP_MEAN, OP_LOGITS, OP_COUNT
};
enum source { FROM_ROWS, FROM_NORM, FROM_GLU }; // what is read: a value, its norm, act(first) * second or act(first)
enum lookup { BY_TOKEN, BY_POSITION, BY_TYPE };  // of a row what a row of a table is found by
enum { VALUE_NONE = -1, MATMUL_MAX = 3, HEAD_ROWS = 8 }; // HEAD_ROWS: rows of logits computed at once

struct tape_piece {          // of every head: columns of a value
  int column, step, width;   // the first, from head to head, how many
};

struct tape_route {          // how experts are chosen, and what they weigh
  int n_expert, n_used;
  enum { GATE_ALL, GATE_SOFTMAX, GATE_SIGMOID, GATE_SOFTMAX_USED } gate; // _ALL: nothing to choose; _USED: softmax over the chosen
  bool normalised;           // weights are divided by their sum
  float scale;               // and multiplied by this
  const float *bias;         // (n_expert) added for the choice, not to the weight; or NULL
  int n_group, n_group_used; // experts come from so many of the groups they are in; 0 or 1: no groups
};

struct op {
  enum op_kind kind;
  bool head;                 // runs on output rows only, HEAD_ROWS at a time
  int in[3], out[3];         // values
  int n_out;
  const struct weight *w[MATMUL_MAX];
  struct norm norm;          // of the source
  const float *head_norm[2]; // (head_dim) of q and of k in OP_HEADS, with norm.eps; or NULL
  enum source source;
  enum activation act;
  enum lookup lookup;
  bool add;                  // the result is added to out[0]
  float scale, softcap;
  const struct rope *rope;
  const struct tape_route *route; // of OP_ROUTE; of a product with the matrices of chosen experts
  int layer, n_head, n_head_kv, head_dim, value_dim;
  int window;                // positions a query sees, itself included; 0: all before it
  bool both_ways;            // it sees those behind it, too
  float alibi;               // largest bias, 0: none
  const float *bias;         // (n_head, 2 * reach + 1) added to a score by how far behind the query the key stands; or NULL
  int reach;
  struct tape_piece piece[2]; // of OP_JOIN; of a product of every head, [0]
};

struct value {
  int width;                 // floats of a row
  int n_used;                // rows for each row of the batch: 1, or one for each expert that was chosen for it
  bool pairs;                // the latter, even where it is one: in the order of pairs, see cpu.c
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
  int hidden;                // value of the hidden states, of which vectors are made, once hidden_norm is applied
  struct norm hidden_norm;   // eps 0: none
  int colbert, sparse;       // values of what every token has beside them; or VALUE_NONE
  bool in_head;
  int tail;                  // operation from which on only rows take part that something is asked of; set by tape_plan
  int max_rows;              // set by tape_plan
  size_t scratch_bytes;      // of all values
  size_t panel_bytes;        // of the largest panels any product needs
  int widest_row;            // floats: the longest row a product reads
  size_t attention_floats;   // scratch of one thread
  int most_experts, most_used; // of any op
};

static bool tape_new(struct tape *t, int max_ops, struct arena *a, struct bk_error *e);

/* Rows of the embedding matrix for the tokens of the batch, times scale. */
static int tape_embed(struct tape *t, const struct weight *w, float scale);
/* to += rows of a table of positions or of token types */
static void tape_embed_add(struct tape *t, const struct weight *w, enum lookup by, int to);
/* Cosines and sines of every row's position: (n_rot/2, 2). */
static int tape_angles(struct tape *t, const struct rope *r);

struct tape_in {             // what a product reads
  enum source source;
  int x, y;                  // y: the second factor of FROM_GLU, or VALUE_NONE
  struct norm norm;
  enum activation act;
};
#define TAPE_ROWS(value) ((struct tape_in){FROM_ROWS, (value), VALUE_NONE, {NULL, NULL, 0, false}, ACT_SILU})
#define TAPE_NORM(value, the_norm) ((struct tape_in){FROM_NORM, (value), VALUE_NONE, (the_norm), ACT_SILU})
#define TAPE_GLU(gate, up, activation) ((struct tape_in){FROM_GLU, (gate), (up), {NULL, NULL, 0, false}, (activation)})
#define TAPE_ACT(value, activation) TAPE_GLU(value, VALUE_NONE, activation)

/* out[i] = in * w[i]^T + bias, up to three products in one sweep over one quantised input. */
static void tape_matmul(struct tape *t, struct tape_in in, int n, const struct weight *const *w, int *out);
static int tape_product(struct tape *t, struct tape_in in, const struct weight *w); // one
/* to += in * w^T + bias */
static void tape_matmul_add(struct tape *t, struct tape_in in, const struct weight *w, int to);

struct tape_heads {          // what attention of one layer is made of
  int layer, n_head, n_head_kv, head_dim, value_dim, window;
  const float *q_norm, *k_norm; // (head_dim) of RMS norms, or NULL
  float eps;
  const struct rope *rope;   // NULL: positions are not rotated
  int angles;
  float scale, softcap, alibi;
  const float *bias;         // see struct op
  int reach;
  bool both_ways;
};
/* Norms and rotates q and k, writes k and v into the pages of their sequences; then reads the pages. Returns (n_head, value_dim). */
static int tape_attention(struct tape *t, const struct tape_heads *h, int q, int k, int v);
/* Every one of n_head equal parts of a row of x, in place; norm's weights are of the whole row. */
static void tape_norm(struct tape *t, int x, struct norm norm, int n_head);
static int tape_normed(struct tape *t, int x, struct norm norm); // as a value of its own
static int tape_act_normed(struct tape *t, int x, enum activation act, struct norm norm); // of act(x)
/* The mean of all rows of a sequence, which must be one step, in its first row; the others hold nothing. */
static int tape_mean(struct tape *t, int x);
/* to += scale * x, x perhaps normed (norm.eps > 0), perhaps times the sigmoid of gate (1 column, or VALUE_NONE) */
static void tape_add(struct tape *t, int x, struct norm norm, float scale, int gate, int to);
static int tape_slice(struct tape *t, int value, int column, int width);
/* (n_head, a.width + b.width): of every head columns of x, then of y (width 0: nothing). Returns the new value. */
static int tape_join(struct tape *t, int n_head, int x, struct tape_piece a, int y, struct tape_piece b);

/* Mixtures of experts. From the router's logits (n_expert) the weights of those chosen; then products of every row with
 * the matrices of its experts, whose results have a row for each of them; then to += scale * the weighted sum of x. */
static int tape_route(struct tape *t, const struct tape_route *route, int logits);
/* A matrix for every head: of each head the columns of x that `piece` says, times its own. The result has a row for each head,
 * which tape_join puts side by side again. route is GATE_ALL's, of heads. */
static int tape_each_head(struct tape *t, const struct tape_route *route, int x, struct tape_piece piece, const struct weight *w);
static void tape_experts(struct tape *t, struct tape_in in, const struct tape_route *route, int weights, int n,
                         const struct weight *const *w, int *out);
static void tape_mix(struct tape *t, const struct tape_route *route, int x, int weights, float scale, int to);

/* From here on only rows whose logits are wanted. Returns those rows of x. */
static int tape_head(struct tape *t, int x);
/* x *= scale; x = cap * tanh(x / cap) unless cap is 0 */
static void tape_logits(struct tape *t, int x, float scale, float cap);
static void tape_result(struct tape *t, int logits);
/* The rows that vectors are made of, and the norm they still lack (eps 0: none). */
static void tape_hidden(struct tape *t, int x, struct norm norm);
static void tape_keep(struct tape *t, int x); // until the end of the step

/* Gives every value its place for at most max_rows rows. */
static void tape_plan(struct tape *t, int max_rows);
static void tape_print(const struct tape *t, struct buf *b);

#endif
