/* model.h -- what a bound model is, and the tables by which an architecture describes itself. One file in arch/ holds
 * a key table (hyperparameters with ranges and defaults), a tensor table (names, shapes) and a straight-line forward.
 * SPDX-License-Identifier: MIT */
#ifndef MODEL_H
#define MODEL_H

#include "tape.h"

struct hparams {
  int64_t n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff, n_expert;
  int64_t head_dim, value_dim; // floats of a head's keys and of its values
  int64_t n_rot;               // leading dimensions of a head that are rotated
  int64_t n_vocab;
  int64_t window, window_pattern; // positions; every window_pattern-th layer sees all (0: no layer is limited)
  int64_t rope_original_context;
  double eps, rope_base, rope_base_local, rope_factor, rope_linear_scale;
  double yarn_beta_fast, yarn_beta_slow, yarn_attention, yarn_extrapolation;
  double softcap_logits, softcap_attention;
  struct str rope_scaling;     // "", "none", "linear", "yarn"
};

struct layer { // weights of one layer; absent ones have no quant, or are NULL
  struct weight wq, wk, wv, wo, w_gate, w_up, w_down;
  const float *bq, *bk, *bv, *bo; // biases (rows of the matrix)
  const float *attn_norm, *ffn_norm, *attn_post_norm, *ffn_post_norm; // (n_embd)
  const float *q_norm, *k_norm;   // (head_dim)
};

struct model {
  struct gguf gguf;
  const struct arch *arch;
  struct hparams hp;
  struct weight token_embd, output; // (n_vocab, n_embd); output without quant: the embedding is used again
  const float *output_norm;         // (n_embd)
  const float *rope_factors;        // (n_rot/2) divide the frequencies; or NULL
  struct layer *layers;             // (n_layer)
  struct rope rope, rope_local;
  struct tape tape;
  struct vocab *vocab;
  struct arena tables, packed;      // as reserved
  size_t tables_bytes, packed_bytes, mapped_bytes, kept_mapped_bytes; // kept: what stays in use in the map
  size_t n_parameters;
  struct weight **matrices;         // (n_matrices) to be packed, each once
  int n_matrices;
};

/* ---- tables ---- */

enum key_kind { KEY_INT, KEY_FLOAT, KEY_STRING };
struct key_row {
  const char *suffix;  // the key is ARCH.suffix
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

enum dim { DIM_NONE, DIM_EMBD, DIM_FF, DIM_VOCAB, DIM_Q, DIM_K, DIM_V, DIM_O, DIM_HEAD, DIM_ROT_PAIRS };
enum tensor_kind { TENSOR_MATRIX, TENSOR_LOOKUP, TENSOR_VECTOR };
struct tensor_row {
  const char *name;    // "%d" stands for the layer
  enum tensor_kind kind;
  size_t offset;       // into struct layer if the name has "%d", else into struct model
  enum dim cols, rows; // rows: DIM_NONE for a vector
  bool optional;
};
#define LAYER(member) offsetof(struct layer, member)
#define MODEL(member) offsetof(struct model, member)

struct arch {
  const char *name;                 // general.architecture
  const struct key_row *keys;
  int n_keys;
  const struct tensor_row *tensors;
  int n_tensors;
  bool rope_neox;
  /* What the tables cannot say: relations, derived values. Returns false with an error. */
  bool (*check)(struct model *m, struct bk_error *e);
  void (*forward)(struct tape *t, const struct model *m);
  const struct hf *hf;              // how a Hugging Face folder describes it; NULL: `bodkin convert` cannot read it
};

/* How a Hugging Face folder describes an architecture; convert_hf.c reads it and explains the lines. */
struct hf {
  const char *classes;   // what config.json may call it, a space between
  const char *prefixes;  // that tensors' names may have in front and lose, a space between
  const char *layer;     // what stands before the number of a layer: "layers"
  const char *keys;      // lines "SUFFIX TYPE VALUE" beside those that all have
  const char *tensors;   // lines "THEIRS OURS HOW"
  const char *more;      // likewise, shared with other architectures; or NULL
  const char *left_out;  // parts of the names of tensors that nobody needs, a space between; or NULL
};
/* Names that most decoders have: more of struct hf. */
static const char hf_decoder[] =
  "embed_tokens token_embd\n"
  "norm output_norm\n"
  "lm_head output\n"
  ".input_layernorm .attn_norm\n"
  ".self_attn.q_proj .attn_q\n"
  ".self_attn.k_proj .attn_k\n"
  ".self_attn.v_proj .attn_v\n"
  ".self_attn.o_proj .attn_output\n"
  ".self_attn.q_norm .attn_q_norm\n"
  ".self_attn.k_norm .attn_k_norm\n"
  ".post_attention_layernorm .ffn_norm\n"
  ".mlp.gate_proj .ffn_gate\n"
  ".mlp.up_proj .ffn_up\n"
  ".mlp.down_proj .ffn_down\n";

/* ---- opening ---- */

/* Opens, binds and checks a model file; nothing is packed yet. On failure nothing is left open. `max_rows`: most rows
 * of one step. Result: m, whose views live until model_close. */
static bool model_open(struct model *m, const char *path, int max_rows, struct bk_error *e);
static void model_close(struct model *m);
/* Packing, in pieces that any thread may take: piece i of model_pack_pieces(m). */
static int model_pack_pieces(const struct model *m);
static void model_pack(const struct model *m, int piece);
static bool model_layer_is_local(const struct model *m, int layer); // sees only hp.window positions

#endif
