/* model.h -- what a bound model is, and the tables by which an architecture describes itself. One file in arch/ holds
 * a key table (hyperparameters with ranges and defaults), a tensor table (names, shapes) and a straight-line forward.
 * SPDX-License-Identifier: MIT */
#ifndef MODEL_H
#define MODEL_H

#include "tape.h"

struct hparams {
  int64_t n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff;
  int64_t head_dim, value_dim; // floats of a head's keys and of its values
  int64_t n_rot;               // leading dimensions of a head that are rotated
  int64_t n_vocab, n_types, n_labels, n_behind, n_colbert; // tokens, token types, scores of a ranker's head
  int64_t window, window_pattern; // positions; every window_pattern-th layer sees all (0: no layer is limited)
  int64_t rope_original_context;
  int64_t n_up, up_from, gate_from; // rows of ffn_up where it may hold the gate, too, and where each begins
  int64_t n_buckets;           // of distances, each of which has biases of its own
  int64_t n_expert, n_expert_used, n_ff_expert, n_ff_shared; // n_ff_...: of one expert, of those that all tokens share
  int64_t n_expert_shared;
  int64_t expert_gate, n_expert_group, n_expert_group_used;
  int64_t q_rank, kv_rank;     // latent attention: of compressed queries (0: they are not) and of keys and values
  int64_t head_dim_full, value_dim_full; // and what a head is once they are expanded
  int64_t pooling;             // enum pooling
  bool causal, parallel, expert_normalised, rope_short_context; // the last: factors of rope are others beyond the original context
  double eps, rope_base, rope_base_local, rope_factor, rope_linear_scale;
  double yarn_beta_fast, yarn_beta_slow, yarn_attention, yarn_extrapolation, yarn_log_multiplier;
  double softcap_logits, softcap_attention, alibi, clamp;
  double embedding_scale, residual_scale, attention_scale, logit_scale, expert_scale;
  int64_t head_pooling;        // of what a ranker's head reads
  struct str rope_scaling;     // "", "none", "linear", "yarn", ...
  struct str activation;       // "", or as transformers calls it
};

/* How the rows of a sequence become one vector; numbers as in GGUF files. */
enum pooling { POOL_NONE, POOL_MEAN, POOL_CLS, POOL_LAST, POOL_RANK };

struct layer { // weights of one layer; absent ones have no quant, or are NULL
  struct weight wq, wk, wv, wo, w_gate, w_up, w_down;
  struct weight router, gate_experts, up_experts, down_experts;   // mixtures of experts
  struct weight gate_shared, up_shared, down_shared, shared_gate; // of all tokens; shared_gate (1, n_embd): how much
  struct weight q_a, q_b, kv_a, k_rope, kv_b, k_b, v_b;           // latent attention
  struct norm attn_norm, ffn_norm, attn_post_norm, ffn_post_norm, attn_norm_2; // (n_embd)
  struct norm q_norm, k_norm;                                     // (head_dim), or as wide as q and k
  struct norm q_a_norm, kv_a_norm;                                // (q_rank), (kv_rank)
  const float *router_bias;                                       // (n_expert)
};

struct model {
  struct gguf gguf;
  const struct arch *arch;
  struct hparams hp;
  int n_context;                    // positions of a sequence, for which rope and the tape were made
  struct weight token_embd, output; // (n_vocab, n_embd); output without quant: the embedding is used again
  struct weight position_embd, type_embd; // (n_ctx_train, n_embd), (n_types, n_embd)
  struct weight cls, cls_output;    // a ranker's head: (n_embd, n_embd), (n_labels, n_embd)
  struct weight dense_2, dense_3;   // (inner, n_embd), (n_embd, inner): what a pooled vector goes through
  struct weight colbert, sparse;    // (n_colbert, n_embd), (1, n_embd): a vector and, where positive, a weight of every token
  struct norm embd_norm, output_norm, cls_norm; // (n_embd)
  const float *rope_factors, *rope_factors_long, *rope_factors_short; // (n_rot/2) divide the frequencies; or NULL
  const float *bucket_bias;         // (n_buckets, n_head) added to scores; or NULL
  const float *score_bias;          // (n_head, 2 * MODEL_REACH + 1) the same by distance
  struct layer *layers;             // (n_layer)
  struct rope rope, rope_local;
  struct tape_route *routes;        // (n_layer) how the experts of a layer are chosen
  struct tape_route heads;          // all of them, for matrices that each has of its own
  struct gguf *loras;               // (n_loras) adapters' files
  int n_loras, n_adapters;          // n_adapters: changed matrices of all files
  struct tape tape;
  struct vocab *vocab;
  struct arena tables, packed;      // as reserved
  size_t tables_bytes, packed_bytes, mapped_bytes, kept_mapped_bytes; // kept: what stays in use in the map
  size_t n_parameters;
  struct weight **matrices;         // (n_matrices) to be packed, each once
  int n_matrices;
};

/* ---- tables ---- */

enum key_kind { KEY_INT, KEY_FLOAT, KEY_STRING, KEY_BOOL };
struct key_row {
  const char *suffix;  // the key is ARCH.suffix; NULL: the list ends
  enum key_kind kind;
  size_t offset;       // into struct hparams
  double min, max;     // inclusive
  bool required;
  double otherwise;    // the value when the key is absent
};
#define HP(member) offsetof(struct hparams, member)
#define KEY_NEED_INT(suffix, member, min, max) {suffix, KEY_INT, HP(member), min, max, true, 0}
#define KEY_MAY_INT(suffix, member, min, max, otherwise) {suffix, KEY_INT, HP(member), min, max, false, otherwise}
#define KEY_NEED_FLOAT(suffix, member, min, max) {suffix, KEY_FLOAT, HP(member), min, max, true, 0}
#define KEY_MAY_FLOAT(suffix, member, min, max, otherwise) {suffix, KEY_FLOAT, HP(member), min, max, false, otherwise}
#define KEY_MAY_BOOL(suffix, member, otherwise) {suffix, KEY_BOOL, HP(member), 0, 1, false, otherwise}

enum dim {
  DIM_NONE, DIM_ONE, DIM_EMBD, DIM_FF, DIM_FF2, DIM_VOCAB, DIM_CONTEXT, DIM_TYPES, DIM_LABELS, DIM_Q, DIM_K, DIM_V, DIM_O, DIM_QK,
  DIM_QKV, DIM_HEAD, DIM_HEADS, DIM_HEADS_KV, DIM_ROT, DIM_ROT_PAIRS, DIM_EXPERTS, DIM_FF_EXPERT, DIM_FF_SHARED, DIM_Q_RANK, DIM_KV_RANK,
  DIM_KV_A, DIM_KV_B,
  DIM_Q_FULL, DIM_O_FULL, DIM_NOPE, DIM_V_FULL, DIM_BUCKETS, DIM_BEHIND, DIM_COLBERT, DIM_UP, DIM_UP_FROM,
  DIM_GATE_FROM
};
enum tensor_kind { TENSOR_MATRIX, TENSOR_LOOKUP, TENSOR_VECTOR, TENSOR_EXPERTS, TENSOR_HEADS };
enum tensor_need { NEED, MAY, UNLESS, WITH }; // needed unless, or only where, another weight of the layer is there
struct tensor_row {
  const char *name;    // "%d" stands for the layer; NULL: the list ends
  enum tensor_kind kind;
  size_t offset;       // into struct layer if the name has "%d", else into struct model
  enum dim cols, rows; // rows: DIM_NONE for a vector, else there are several
  enum tensor_need need;
  size_t other;        // offset of that struct weight; UNLESS: perhaps its own, from another row
  enum dim from, whole; // it is the rows (a vector: elements) from `from` on, of `whole`; DIM_NONE: all there are
};
#define LAYER(member) offsetof(struct layer, member)
#define MODEL(member) offsetof(struct model, member)
#define ROW_VECTOR(name, offset, length, need) {name, TENSOR_VECTOR, offset, length, DIM_NONE, need, 0, DIM_NONE, DIM_NONE}
#define ROW_VECTORS(name, offset, length, n, need) {name, TENSOR_VECTOR, offset, length, n, need, 0, DIM_NONE, DIM_NONE} // n of them
#define ROW_MATRIX(name, offset, cols, rows, need) {name, TENSOR_MATRIX, offset, cols, rows, need, 0, DIM_NONE, DIM_NONE}
#define ROW_UNLESS(name, offset, cols, rows, unless) {name, TENSOR_MATRIX, offset, cols, rows, UNLESS, unless, DIM_NONE, DIM_NONE}
#define ROW_WITH(name, offset, cols, rows, with) {name, TENSOR_MATRIX, offset, cols, rows, WITH, with, DIM_NONE, DIM_NONE}
#define ROW_LOOKUP(name, offset, rows, need) {name, TENSOR_LOOKUP, offset, DIM_EMBD, rows, need, 0, DIM_NONE, DIM_NONE}
#define ROW_PART(name, offset, cols, rows, from, whole, need) {name, TENSOR_MATRIX, offset, cols, rows, need, 0, from, whole}
#define ROW_PART_VECTOR(name, offset, length, from, whole) {name, TENSOR_VECTOR, offset, length, DIM_NONE, MAY, 0, from, whole}
#define ROW_HEADS(name, offset, cols, rows, unless) {name, TENSOR_HEADS, offset, cols, rows, UNLESS, unless, DIM_NONE, DIM_NONE}
#define ROW_EXPERTS(name, offset, cols, rows) {name, TENSOR_EXPERTS, offset, cols, rows, UNLESS, LAYER(w_up), DIM_NONE, DIM_NONE}

struct arch {
  const char *name;                 // general.architecture
  const struct key_row *const *keys;       // lists that end with an empty row; a later row for a key replaces an earlier one
  const struct tensor_row *const *tensors; // likewise; NULL behind the last list
  bool rope_neox;
  bool centred;                     // its norms are layer norms
  bool bare_norms;                  // which have no weights
  /* What the tables cannot say: relations, derived values. Returns false with an error. */
  bool (*check)(struct model *m, struct bk_error *e);
  void (*forward)(struct tape *t, const struct model *m);
  const struct hf *hf;              // how a Hugging Face folder describes it; NULL: `bodkin convert` cannot read it
};

/* How a Hugging Face folder describes an architecture; convert_hf.c reads it and explains the lines. */
struct hf {
  const char *classes;   // what config.json may call it, a space between; CLASS?VALUE: if there is such a value, it comes first
  const char *prefixes;  // that tensors' names may have in front and lose, a space between
  const char *layer;     // what stands before the number of a layer: "layers"
  const char *keys;      // lines "SUFFIX TYPE VALUE" beside those that all have
  const char *tensors;   // lines "THEIRS OURS HOW"
  const char *more;      // likewise, shared with other architectures; or NULL
  const char *left_out;  // parts of the names of tensors that nobody needs, a space between; or NULL
  const char *ranker;    // a decoder of this name, in small letters, ranks: "yes" against "no"; or NULL
};

/* ---- opening ---- */

enum { MODEL_CONTEXT = 4096, MODEL_LORAS = 16, MODEL_REACH = 128 }; // reach: positions beyond are as far as any
struct model_options {
  int n_context;            // positions of a sequence; 0: min(the model's, MODEL_CONTEXT), and what keeps the short factors
                            // where rope has long and short ones
  int max_rows;             // most rows of a step; a model that looks both ways takes a whole sequence
  const char *const *loras; // adapters, "FILE" or "FILE=SCALE", at most MODEL_LORAS, then NULL; or NULL
};

/* Opens, binds and checks a model file; nothing is packed yet. On failure nothing is left open. Result: m, whose views live until
 * model_close. */
static bool model_open(struct model *m, const char *path, const struct model_options *o, struct bk_error *e);
static void model_close(struct model *m);
/* Packing, in pieces that any thread may take: piece i of model_pack_pieces(m). */
static int model_pack_pieces(const struct model *m);
static void model_pack(const struct model *m, int piece);
static int64_t model_table_rows(const struct model *m, struct str name); // of a tensor; 0 if it is not there

#endif
