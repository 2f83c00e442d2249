/* block.c -- what architectures are made of: rows of their tables that many share, and pieces of a layer. A piece appends
 * operations to the tape from whatever the layer has bound: biases, scales, experts or none.
 * SPDX-License-Identifier: MIT */
#include "model.h"

/* ---- keys ---- */

static const struct key_row keys_decoder[] = {
  KEY_NEED_INT("context_length", n_ctx_train, 1, 1 << 26),
  KEY_NEED_INT("embedding_length", n_embd, 1, 1 << 17),
  KEY_NEED_INT("block_count", n_layer, 1, 1024),
  KEY_NEED_INT("feed_forward_length", n_ff, 1, 1 << 20),
  KEY_NEED_INT("attention.head_count", n_head, 1, 1024),
  KEY_MAY_INT("attention.head_count_kv", n_head_kv, 1, 1024, 0),
  KEY_MAY_INT("attention.key_length", head_dim, 1, 1024, 0),
  KEY_MAY_INT("attention.value_length", value_dim, 1, 1024, 0),
  KEY_MAY_INT("rope.dimension_count", n_rot, 2, 1024, 0),
  KEY_MAY_BOOL("attention.causal", causal, true),
  KEY_MAY_INT("pooling_type", pooling, POOL_NONE, POOL_RANK, POOL_NONE),
  {0},
};
static const struct key_row keys_rms[] = {KEY_NEED_FLOAT("attention.layer_norm_rms_epsilon", eps, 0, 1), {0}};
static const struct key_row keys_layer_norm[] = {KEY_NEED_FLOAT("attention.layer_norm_epsilon", eps, 0, 1), {0}};

static const struct key_row keys_rope[] = {
  KEY_MAY_FLOAT("rope.freq_base", rope_base, 1, 1e12, 10000),
  {"rope.scaling.type", KEY_STRING, HP(rope_scaling), 0, 0, false, 0},
  KEY_MAY_FLOAT("rope.scaling.factor", rope_factor, 1e-6, 1e6, 0),
  KEY_MAY_FLOAT("rope.scale_linear", rope_linear_scale, 1e-6, 1e6, 0),
  KEY_MAY_INT("rope.scaling.original_context_length", rope_original_context, 1, 1 << 26, 0),
  KEY_MAY_FLOAT("rope.scaling.attn_factor", yarn_attention, 0, 1e6, 1),
  KEY_MAY_FLOAT("rope.scaling.yarn_ext_factor", yarn_extrapolation, 0, 1e6, 1),
  KEY_MAY_FLOAT("rope.scaling.yarn_beta_fast", yarn_beta_fast, 1e-3, 1e6, 32),
  KEY_MAY_FLOAT("rope.scaling.yarn_beta_slow", yarn_beta_slow, 1e-3, 1e6, 1),
  {0},
};

/* Every layer sees `window` positions, if the file names any. */
static const struct key_row keys_window[] = {
  KEY_MAY_INT("attention.sliding_window", window, 0, 1 << 26, 0),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1 << 26, 1 << 26),
  {0},
};

static const struct key_row keys_experts[] = {
  KEY_MAY_INT("expert_count", n_expert, 0, 4096, 0),
  KEY_MAY_INT("expert_used_count", n_expert_used, 0, 256, 0),
  KEY_MAY_INT("expert_feed_forward_length", n_ff_expert, 1, 1 << 20, 0),
  KEY_MAY_INT("expert_shared_feed_forward_length", n_ff_shared, 1, 1 << 20, 0),
  KEY_MAY_INT("expert_shared_count", n_expert_shared, 0, 256, 0),
  KEY_MAY_FLOAT("expert_weights_scale", expert_scale, 0, 1e6, 1),
  {0},
};

static const struct key_row keys_scales[] = {
  KEY_MAY_FLOAT("attention.scale", attention_scale, 0, 1e6, 0),
  KEY_MAY_FLOAT("embedding_scale", embedding_scale, 0, 1e6, 1),
  KEY_MAY_FLOAT("residual_scale", residual_scale, 0, 1e6, 1),
  KEY_MAY_FLOAT("logit_scale", logit_scale, 0, 1e6, 1),
  {0},
};

/* ---- tensors ---- */

/* Layers behind the pooling; vectors and weights of tokens (of the last two there is no public layout: names and shapes are ours). */
#define ROWS_BEHIND                                                                                      \
  ROW_MATRIX("dense_2.weight", MODEL(dense_2), DIM_EMBD, DIM_BEHIND, MAY),                               \
  ROW_VECTOR("dense_2.bias", MODEL(dense_2.bias), DIM_BEHIND, MAY),                                      \
  ROW_MATRIX("dense_3.weight", MODEL(dense_3), DIM_BEHIND, DIM_EMBD, MAY),                               \
  ROW_VECTOR("dense_3.bias", MODEL(dense_3.bias), DIM_EMBD, MAY),                                        \
  ROW_MATRIX("colbert.weight", MODEL(colbert), DIM_EMBD, DIM_COLBERT, MAY),                              \
  ROW_VECTOR("colbert.bias", MODEL(colbert.bias), DIM_COLBERT, MAY),                                     \
  ROW_MATRIX("sparse.weight", MODEL(sparse), DIM_EMBD, DIM_ONE, MAY),                                    \
  ROW_VECTOR("sparse.bias", MODEL(sparse.bias), DIM_ONE, MAY)

static const struct tensor_row rows_model[] = {
  ROW_LOOKUP("token_embd.weight", MODEL(token_embd), DIM_VOCAB, NEED),
  ROW_VECTOR("output_norm.weight", MODEL(output_norm.weight), DIM_EMBD, NEED),
  ROW_MATRIX("output.weight", MODEL(output), DIM_EMBD, DIM_VOCAB, MAY),
  ROW_MATRIX("cls.output.weight", MODEL(cls_output), DIM_EMBD, DIM_LABELS, MAY),
  ROWS_BEHIND,
  {0},
};
static const struct tensor_row rows_rope[] = {
  ROW_VECTOR("rope_freqs.weight", MODEL(rope_factors), DIM_ROT_PAIRS, MAY),
  {0},
};
static const struct tensor_row rows_attn_norm[] = {
  ROW_VECTOR("blk.%d.attn_norm.weight", LAYER(attn_norm.weight), DIM_EMBD, NEED),
  {0},
};
static const struct tensor_row rows_norm_biases[] = {
  ROW_VECTOR("output_norm.bias", MODEL(output_norm.bias), DIM_EMBD, MAY),
  ROW_VECTOR("output.bias", MODEL(output.bias), DIM_VOCAB, MAY),
  ROW_VECTOR("blk.%d.attn_norm.bias", LAYER(attn_norm.bias), DIM_EMBD, MAY),
  ROW_VECTOR("blk.%d.ffn_norm.bias", LAYER(ffn_norm.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row rows_encoder[] = {
  ROW_LOOKUP("token_embd.weight", MODEL(token_embd), DIM_VOCAB, NEED),
  ROW_LOOKUP("token_types.weight", MODEL(type_embd), DIM_TYPES, MAY),
  ROW_VECTOR("token_embd_norm.weight", MODEL(embd_norm.weight), DIM_EMBD, NEED),
  ROW_VECTOR("token_embd_norm.bias", MODEL(embd_norm.bias), DIM_EMBD, MAY),
  ROW_MATRIX("cls.weight", MODEL(cls), DIM_EMBD, DIM_EMBD, MAY),
  ROW_VECTOR("cls.bias", MODEL(cls.bias), DIM_EMBD, MAY),
  ROW_MATRIX("cls.output.weight", MODEL(cls_output), DIM_EMBD, DIM_LABELS, MAY),
  ROW_VECTOR("cls.output.bias", MODEL(cls_output.bias), DIM_LABELS, MAY),
  ROWS_BEHIND,
  {0},
};
static const struct tensor_row rows_post_norm[] = {
  ROW_VECTOR("blk.%d.attn_output_norm.weight", LAYER(attn_post_norm.weight), DIM_EMBD, NEED),
  ROW_VECTOR("blk.%d.attn_output_norm.bias", LAYER(attn_post_norm.bias), DIM_EMBD, MAY),
  ROW_VECTOR("blk.%d.layer_output_norm.weight", LAYER(ffn_post_norm.weight), DIM_EMBD, NEED),
  ROW_VECTOR("blk.%d.layer_output_norm.bias", LAYER(ffn_post_norm.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row rows_ffn_norm[] = {
  ROW_VECTOR("blk.%d.ffn_norm.weight", LAYER(ffn_norm.weight), DIM_EMBD, NEED),
  {0},
};

/* q, k and v of their own, or in one matrix, one after the other. */
static const struct tensor_row rows_qkv[] = {
  ROW_PART("blk.%d.attn_qkv.weight", LAYER(wq), DIM_EMBD, DIM_Q, DIM_NONE, DIM_QKV, MAY),
  ROW_PART("blk.%d.attn_qkv.weight", LAYER(wk), DIM_EMBD, DIM_K, DIM_Q, DIM_QKV, MAY),
  ROW_PART("blk.%d.attn_qkv.weight", LAYER(wv), DIM_EMBD, DIM_V, DIM_QK, DIM_QKV, MAY),
  ROW_UNLESS("blk.%d.attn_q.weight", LAYER(wq), DIM_EMBD, DIM_Q, LAYER(wq)),
  ROW_UNLESS("blk.%d.attn_k.weight", LAYER(wk), DIM_EMBD, DIM_K, LAYER(wk)),
  ROW_UNLESS("blk.%d.attn_v.weight", LAYER(wv), DIM_EMBD, DIM_V, LAYER(wv)),
  ROW_PART_VECTOR("blk.%d.attn_qkv.bias", LAYER(wq.bias), DIM_Q, DIM_NONE, DIM_QKV),
  ROW_PART_VECTOR("blk.%d.attn_qkv.bias", LAYER(wk.bias), DIM_K, DIM_Q, DIM_QKV),
  ROW_PART_VECTOR("blk.%d.attn_qkv.bias", LAYER(wv.bias), DIM_V, DIM_QK, DIM_QKV),
  ROW_VECTOR("blk.%d.attn_q.bias", LAYER(wq.bias), DIM_Q, MAY),
  ROW_VECTOR("blk.%d.attn_k.bias", LAYER(wk.bias), DIM_K, MAY),
  ROW_VECTOR("blk.%d.attn_v.bias", LAYER(wv.bias), DIM_V, MAY),
  ROW_MATRIX("blk.%d.attn_output.weight", LAYER(wo), DIM_O, DIM_EMBD, NEED),
  ROW_VECTOR("blk.%d.attn_output.bias", LAYER(wo.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row rows_head_norms[] = {
  ROW_VECTOR("blk.%d.attn_q_norm.weight", LAYER(q_norm.weight), DIM_HEAD, NEED),
  ROW_VECTOR("blk.%d.attn_k_norm.weight", LAYER(k_norm.weight), DIM_HEAD, NEED),
  {0},
};
static const struct tensor_row rows_sandwich[] = {
  ROW_VECTOR("blk.%d.post_attention_norm.weight", LAYER(attn_post_norm.weight), DIM_EMBD, NEED),
  ROW_VECTOR("blk.%d.post_ffw_norm.weight", LAYER(ffn_post_norm.weight), DIM_EMBD, NEED),
  {0},
};

/* Feed-forward without a gate; gated, the gate of its own or in front of ffn_up. */
static const struct tensor_row rows_ffn[] = {
  ROW_UNLESS("blk.%d.ffn_up.weight", LAYER(w_up), DIM_EMBD, DIM_FF, LAYER(up_experts)),
  ROW_VECTOR("blk.%d.ffn_up.bias", LAYER(w_up.bias), DIM_FF, MAY),
  ROW_UNLESS("blk.%d.ffn_down.weight", LAYER(w_down), DIM_FF, DIM_EMBD, LAYER(up_experts)),
  ROW_VECTOR("blk.%d.ffn_down.bias", LAYER(w_down.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row rows_gate[] = {
  ROW_UNLESS("blk.%d.ffn_gate.weight", LAYER(w_gate), DIM_EMBD, DIM_FF, LAYER(up_experts)),
  ROW_VECTOR("blk.%d.ffn_gate.bias", LAYER(w_gate.bias), DIM_FF, MAY),
  {0},
};
static const struct tensor_row rows_fused_gate[] = {
  ROW_PART("blk.%d.ffn_up.weight", LAYER(w_gate), DIM_EMBD, DIM_FF, DIM_NONE, DIM_FF2, NEED),
  ROW_PART("blk.%d.ffn_up.weight", LAYER(w_up), DIM_EMBD, DIM_FF, DIM_FF, DIM_FF2, NEED),
  ROW_MATRIX("blk.%d.ffn_down.weight", LAYER(w_down), DIM_FF, DIM_EMBD, NEED),
  {0},
};
static const struct tensor_row rows_experts[] = {
  ROW_UNLESS("blk.%d.ffn_gate_inp.weight", LAYER(router), DIM_EMBD, DIM_EXPERTS, LAYER(w_up)),
  ROW_VECTOR("blk.%d.exp_probs_b.bias", LAYER(router_bias), DIM_EXPERTS, MAY),
  ROW_EXPERTS("blk.%d.ffn_gate_exps.weight", LAYER(gate_experts), DIM_EMBD, DIM_FF_EXPERT),
  ROW_EXPERTS("blk.%d.ffn_up_exps.weight", LAYER(up_experts), DIM_EMBD, DIM_FF_EXPERT),
  ROW_EXPERTS("blk.%d.ffn_down_exps.weight", LAYER(down_experts), DIM_FF_EXPERT, DIM_EMBD),
  {0},
};
static const struct tensor_row rows_shared_experts[] = {
  ROW_MATRIX("blk.%d.ffn_gate_shexp.weight", LAYER(gate_shared), DIM_EMBD, DIM_FF_SHARED, MAY),
  ROW_WITH("blk.%d.ffn_up_shexp.weight", LAYER(up_shared), DIM_EMBD, DIM_FF_SHARED, LAYER(gate_shared)),
  ROW_WITH("blk.%d.ffn_down_shexp.weight", LAYER(down_shared), DIM_FF_SHARED, DIM_EMBD, LAYER(gate_shared)),
  {0},
};

/* ---- pieces of a layer ---- */

static struct norm block_norm(const struct model *m, struct norm n) {
  n.eps = (float)m->hp.eps;
  n.centred = m->arch->centred;
  return n;
}

static struct tape_in block_normed(const struct model *m, int x, struct norm n) { return TAPE_NORM(x, block_norm(m, n)); }

/* Whether it sees only hp.window positions. */
static bool block_is_local(const struct model *m, int layer) {
  return m->hp.window > 0 && m->hp.window_pattern > 0 && (layer + 1) % m->hp.window_pattern != 0;
}

/* Attention of layer i as the hyperparameters have it; windowed if its turn comes. */
static struct tape_heads block_heads(const struct model *m, int i, int angles) {
  const struct hparams *hp = &m->hp;
  return (struct tape_heads){.layer = i, .n_head = (int)hp->n_head, .n_head_kv = (int)hp->n_head_kv, .head_dim = (int)hp->head_dim,
                             .value_dim = (int)hp->value_dim, .window = block_is_local(m, i) ? (int)hp->window : 0,
                             .q_norm = m->layers[i].q_norm.weight, .k_norm = m->layers[i].k_norm.weight, .eps = (float)hp->eps,
                             .rope = angles == VALUE_NONE ? NULL : &m->rope, .angles = angles, .scale = (float)hp->attention_scale,
                             .softcap = (float)hp->softcap_attention, .alibi = (float)hp->alibi, .bias = m->score_bias,
                             .reach = MODEL_REACH, .both_ways = !hp->causal};
}

static int block_attention(struct tape *t, const struct layer *l, struct tape_in in, const struct tape_heads *h) {
  const struct weight *qkv[] = {&l->wq, &l->wk, &l->wv};
  int out[3];
  tape_matmul(t, in, 3, qkv, out);
  return tape_attention(t, h, out[0], out[1], out[2]);
}

/* The same where norms of q and k have weights for their whole width: of one norm, or (of_heads) of one for every head. */
static int block_attention_wide(struct tape *t, const struct model *m, const struct layer *l, struct tape_in in, struct tape_heads h,
                                bool of_heads) {
  const struct weight *qkv[] = {&l->wq, &l->wk, &l->wv};
  int out[3];
  tape_matmul(t, in, 3, qkv, out);
  if (l->q_norm.weight) tape_norm(t, out[0], block_norm(m, l->q_norm), of_heads ? h.n_head : 1);
  if (l->k_norm.weight) tape_norm(t, out[1], block_norm(m, l->k_norm), of_heads ? h.n_head_kv : 1);
  h.q_norm = h.k_norm = NULL;
  return tape_attention(t, &h, out[0], out[1], out[2]);
}

/* x += in * w, scaled if the model scales what it adds. */
static void block_add(struct tape *t, const struct model *m, struct tape_in in, const struct weight *w, int x) {
  if (m->hp.residual_scale == 1) tape_matmul_add(t, in, w, x);
  else tape_add(t, tape_product(t, in, w), tape_unnormed, (float)m->hp.residual_scale, VALUE_NONE, x);
}

/* The first half of a feed-forward: what w_down, or its likes, is multiplied by. */
static struct tape_in block_gated(struct tape *t, struct tape_in in, const struct weight *gate, const struct weight *up,
                                  enum activation act) {
  const struct weight *both[] = {gate, up};
  int out[2];
  if (!gate->quant || gate->file == up->file) return TAPE_ACT(tape_product(t, in, up), act);
  tape_matmul(t, in, 2, both, out);
  return TAPE_GLU(out[0], out[1], act);
}

/* x += the chosen experts' feed-forward of n, and that of the shared ones. */
static void block_experts(struct tape *t, const struct model *m, int i, int n, enum activation act, int x) {
  const struct layer *l = &m->layers[i];
  const struct tape_route *route = &m->routes[i];
  const struct weight *both[] = {&l->gate_experts, &l->up_experts}, *down[] = {&l->down_experts};
  const bool gated = l->gate_experts.quant != NULL;
  int weights = tape_route(t, route, tape_product(t, TAPE_ROWS(n), &l->router)), out[2] = {VALUE_NONE, VALUE_NONE}, y;
  tape_experts(t, TAPE_ROWS(n), route, weights, gated + 1, both + !gated, out);
  tape_experts(t, TAPE_GLU(out[0], out[1], act), route, weights, 1, down, &y);
  tape_mix(t, route, y, weights, (float)m->hp.residual_scale, x);
  if (!l->gate_shared.quant) return;
  int gate = l->shared_gate.quant ? tape_product(t, TAPE_ROWS(n), &l->shared_gate) : VALUE_NONE;
  y = tape_product(t, block_gated(t, TAPE_ROWS(n), &l->gate_shared, &l->up_shared, act), &l->down_shared);
  tape_add(t, y, tape_unnormed, (float)m->hp.residual_scale, gate, x);
}

/* x += the feed-forward of its norm, with experts where the layer has them. */
static void block_feed_forward(struct tape *t, const struct model *m, int i, enum activation act, int x) {
  const struct layer *l = &m->layers[i];
  if (l->up_experts.quant) block_experts(t, m, i, tape_normed(t, x, block_norm(m, l->ffn_norm)), act, x);
  else block_add(t, m, block_gated(t, block_normed(m, x, l->ffn_norm), &l->w_gate, &l->w_up, act), &l->w_down, x);
}

/* Attention and feed-forward side by side: both read x as it came in. o: what attention found for it. */
static void block_parallel(struct tape *t, const struct model *m, const struct layer *l, struct tape_in in, int o, enum activation act,
                           int x) {
  struct tape_in y = block_gated(t, in, &l->w_gate, &l->w_up, act);
  block_add(t, m, TAPE_ROWS(o), &l->wo, x);
  block_add(t, m, y, &l->w_down, x);
}

/* A layer of an encoder whose halves are normed once they are added. */
static void block_post_norm(struct tape *t, const struct model *m, int i, const struct tape_heads *h, enum activation act, int x) {
  const struct layer *l = &m->layers[i];
  int o = block_attention_wide(t, m, l, TAPE_ROWS(x), *h, false);
  if (l->attn_norm_2.weight) { // norm(x + norm(x + what attention found))
    int y = tape_product(t, TAPE_ROWS(o), &l->wo);
    tape_add(t, x, tape_unnormed, 1, VALUE_NONE, y);
    tape_add(t, y, block_norm(m, l->attn_post_norm), 1, VALUE_NONE, x);
  } else {
    tape_matmul_add(t, TAPE_ROWS(o), &l->wo, x);
  }
  tape_norm(t, x, block_norm(m, l->attn_norm_2.weight ? l->attn_norm_2 : l->attn_post_norm), 1);
  if (l->up_experts.quant) block_experts(t, m, i, x, act, x);
  else tape_matmul_add(t, block_gated(t, TAPE_ROWS(x), &l->w_gate, &l->w_up, act), &l->w_down, x);
  tape_norm(t, x, block_norm(m, l->ffn_post_norm), 1);
}

/* What an encoder's rows begin as: tokens, positions and types, normed. */
static int block_encoder_input(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1);
  if (m->type_embd.quant) tape_embed_add(t, &m->type_embd, BY_TYPE, x);
  if (m->position_embd.quant) tape_embed_add(t, &m->position_embd, BY_POSITION, x);
  tape_norm(t, x, block_norm(m, m->embd_norm), 1);
  return x;
}

/* A layer whose halves are normed before (if there is such a norm) and after, then added to x. */
static void block_sandwich(struct tape *t, const struct model *m, int i, const struct tape_heads *h, enum activation act, int x) {
  const struct layer *l = &m->layers[i];
  int o = block_attention(t, l, l->attn_norm.weight ? block_normed(m, x, l->attn_norm) : TAPE_ROWS(x), h);
  tape_add(t, tape_product(t, TAPE_ROWS(o), &l->wo), block_norm(m, l->attn_post_norm), 1, VALUE_NONE, x);
  struct tape_in in = l->ffn_norm.weight ? block_normed(m, x, l->ffn_norm) : TAPE_ROWS(x);
  int y = tape_product(t, block_gated(t, in, &l->w_gate, &l->w_up, act), &l->w_down);
  tape_add(t, y, block_norm(m, l->ffn_post_norm), 1, VALUE_NONE, x);
}

/* What vectors are made of. Layers behind the pooling are linear: the mean of what they make of rows is what they make of the
 * mean, so they stand before it. */
static void block_hidden(struct tape *t, const struct model *m, int x, struct norm norm) {
  const struct tape_in in = norm.eps > 0 ? TAPE_NORM(x, norm) : TAPE_ROWS(x);
  if (m->sparse.quant) tape_keep(t, t->sparse = tape_product(t, in, &m->sparse));
  if (m->colbert.quant) tape_keep(t, t->colbert = tape_product(t, in, &m->colbert));
  if (!m->dense_2.quant) {
    tape_hidden(t, x, norm);
    return;
  }
  x = tape_product(t, in, &m->dense_2);
  if (m->dense_3.quant) x = tape_product(t, TAPE_ROWS(x), &m->dense_3);
  tape_hidden(t, x, tape_unnormed);
}

/* What becomes of the last layer's rows: vectors, a ranker's scores, or logits. */
static void block_head(struct tape *t, const struct model *m, int x) {
  const struct norm norm = block_norm(m, m->output_norm);
  const bool normed = m->output_norm.weight || m->arch->bare_norms;
  block_hidden(t, m, x, normed ? norm : tape_unnormed);
  if (m->hp.pooling != POOL_NONE && !m->cls_output.quant) return;
  x = tape_head(t, x);
  const struct tape_in in = normed ? TAPE_NORM(x, norm) : TAPE_ROWS(x);
  int out;
  if (m->cls.quant && m->cls_output.quant) out = tape_product(t, TAPE_ACT(tape_product(t, in, &m->cls), ACT_TANH), &m->cls_output);
  else out = tape_product(t, in, m->cls_output.quant ? &m->cls_output : m->output.quant ? &m->output : &m->token_embd);
  if (m->hp.logit_scale != 1 || m->hp.softcap_logits > 0) tape_logits(t, out, (float)m->hp.logit_scale, (float)m->hp.softcap_logits);
  tape_result(t, out);
}

/* The forward of those whose halves are normed once they are added; positions are rotated if there is a base. */
static void block_encoder(struct tape *t, const struct model *m, enum activation act) {
  int x = block_encoder_input(t, m), angles = m->hp.rope_base > 0 ? tape_angles(t, &m->rope) : VALUE_NONE;
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct tape_heads h = block_heads(m, i, angles);
    block_post_norm(t, m, i, &h, act, x);
  }
  block_head(t, m, x);
}

/* The forward of most: norm, attention, norm, feed-forward, each added to what came in; positions are rotated if there is a base. */
static void block_forward(struct tape *t, const struct model *m, enum activation act) {
  int x = tape_embed(t, &m->token_embd, (float)m->hp.embedding_scale);
  int angles = m->hp.rope_base > 0 ? tape_angles(t, &m->rope) : VALUE_NONE;
  if (m->position_embd.quant) tape_embed_add(t, &m->position_embd, BY_POSITION, x);
  if (m->embd_norm.weight) tape_norm(t, x, block_norm(m, m->embd_norm), 1);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    block_add(t, m, TAPE_ROWS(block_attention(t, l, block_normed(m, x, l->attn_norm), &h)), &l->wo, x);
    block_feed_forward(t, m, i, act, x);
  }
  block_head(t, m, x);
}

/* ---- what Hugging Face folders share: lines of struct hf ---- */

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

/* Where heads are rotated as pairs of neighbours; there they are rotated by halves. */
#define HF_ROTATED_PAIRS \
  ".self_attn.q_proj .attn_q rope:num_attention_heads\n" \
  ".self_attn.k_proj .attn_k rope:num_key_value_heads|num_attention_heads\n"
#define HF_ROTATED_PAIRS_KEYS \
  "vocab_size u vocab_size\n" \
  "rope.dimension_count u head_dim|hidden_size/num_attention_heads\n"

/* Experts one by one, or all in one tensor: (n_expert, 2 * n_ff, n_embd) and (n_expert, n_embd, n_ff). */
#define HF_EXPERTS \
  ".mlp.gate .ffn_gate_inp\n" \
  ".mlp.experts.%.gate_proj .ffn_gate_exps\n" \
  ".mlp.experts.%.up_proj .ffn_up_exps\n" \
  ".mlp.experts.%.down_proj .ffn_down_exps\n" \
  ".mlp.experts.gate_up_proj .ffn_gate_exps part:0,0,moe_intermediate_size\n" \
  ".mlp.experts.gate_up_proj .ffn_up_exps part:0,moe_intermediate_size\n" \
  ".mlp.experts.down_proj .ffn_down_exps\n"
#define HF_SHARED_EXPERTS \
  ".mlp.shared_experts.gate_proj .ffn_gate_shexp\n" \
  ".mlp.shared_experts.up_proj .ffn_up_shexp\n" \
  ".mlp.shared_experts.down_proj .ffn_down_shexp\n"

#define HF_GRANITE_KEYS \
  "attention.key_length u \n" \
  "attention.value_length u \n" \
  "attention.scale f attention_multiplier\n" \
  "embedding_scale f embedding_multiplier\n" \
  "residual_scale f residual_multiplier\n" \
  "logit_scale f logits_scaling\n"

/* Norms are kept without the 1 that is added to them. */
#define HF_GEMMA_NORMS \
  "norm output_norm plus:1\n" \
  ".input_layernorm .attn_norm plus:1\n" \
  ".self_attn.q_norm .attn_q_norm plus:1\n" \
  ".self_attn.k_norm .attn_k_norm plus:1\n" \
  ".post_attention_layernorm .post_attention_norm plus:1\n" \
  ".pre_feedforward_layernorm .ffn_norm plus:1\n" \
  ".post_feedforward_layernorm .post_ffw_norm plus:1\n"
#define HF_GEMMA3_KEYS \
  "context_length u max_position_embeddings|131072\n" \
  "attention.head_count u num_attention_heads|8\n" \
  "attention.head_count_kv u num_key_value_heads|4\n" \
  "attention.layer_norm_rms_epsilon f rms_norm_eps|0.000001\n" \
  "attention.key_length u head_dim|256\n" \
  "attention.value_length u head_dim|256\n" \
  "rope.freq_base f rope.rope_theta|rope_theta|1000000\n" \
  "rope.freq_base_swa f rope_parameters.sliding_attention.rope_theta|rope_local_base_freq|10000\n" \
  "attention.sliding_window u sliding_window|4096\n"

#define HF_ENCODER_KEYS \
  "attention.causal b 0\n" \
  "classifier.output_labels L id2label\n"
#define HF_ENCODER \
  "embeddings.word_embeddings token_embd\n" \
  "embeddings.token_type_embeddings token_types\n" \
  "embeddings.LayerNorm token_embd_norm\n"

#define HF_NOMIC_KEYS HF_ENCODER_KEYS \
  "context_length u n_positions=8192*2048|n_positions=2048*512|n_positions\n" /* what they were trained with */ \
  "rope.freq_base f rotary_emb_base|10000\n"
#define HF_NOMIC HF_ENCODER \
  "emb_ln token_embd_norm\n" \
  ".attn.Wqkv .attn_qkv\n" \
  ".attn.out_proj .attn_output\n" \
  ".norm1 .attn_output_norm\n" \
  ".mlp.fc2 .ffn_down\n" \
  ".norm2 .layer_output_norm\n"
