/* arch/jina_bert_v2.c -- Jina BERT 2: BERT with a gated feed-forward, whose scores fall with the distance instead of positions
 * being learned (ALiBi). (Guenther et al., 2023) */
static const struct key_row jina_bert_v2_own_keys[] = {
  KEY_MAY_FLOAT("attention.max_alibi_bias", alibi, 0, 1e3, 8),
  {0},
};
static const struct key_row *const jina_bert_v2_keys[] = {keys_decoder, keys_layer_norm, jina_bert_v2_own_keys, NULL};

static const struct tensor_row jina_bert_v2_own_rows[] = { // the larger ones
  ROW_VECTOR("blk.%d.attn_q_norm.weight", LAYER(q_norm.weight), DIM_Q, MAY),
  ROW_VECTOR("blk.%d.attn_q_norm.bias", LAYER(q_norm.bias), DIM_Q, MAY),
  ROW_VECTOR("blk.%d.attn_k_norm.weight", LAYER(k_norm.weight), DIM_K, MAY),
  ROW_VECTOR("blk.%d.attn_k_norm.bias", LAYER(k_norm.bias), DIM_K, MAY),
  ROW_VECTOR("blk.%d.attn_norm_2.weight", LAYER(attn_norm_2.weight), DIM_EMBD, MAY),
  ROW_VECTOR("blk.%d.attn_norm_2.bias", LAYER(attn_norm_2.bias), DIM_EMBD, MAY),
  {0},
};
/* Both halves in ffn_up, or the gate of its own, which then takes the place of what the first row found; without one that is ffn_up
 * itself, and block_gated knows that this is no gate. */
static const struct tensor_row jina_bert_v2_ffn_rows[] = {
  ROW_PART("blk.%d.ffn_up.weight", LAYER(w_gate), DIM_EMBD, DIM_FF, DIM_GATE_FROM, DIM_UP, MAY),
  ROW_PART("blk.%d.ffn_up.weight", LAYER(w_up), DIM_EMBD, DIM_FF, DIM_UP_FROM, DIM_UP, NEED),
  ROW_MATRIX("blk.%d.ffn_gate.weight", LAYER(w_gate), DIM_EMBD, DIM_FF, MAY),
  ROW_MATRIX("blk.%d.ffn_down.weight", LAYER(w_down), DIM_FF, DIM_EMBD, NEED),
  ROW_VECTOR("blk.%d.ffn_down.bias", LAYER(w_down.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row *const jina_bert_v2_tensors[] = {rows_encoder, rows_qkv, jina_bert_v2_ffn_rows, rows_post_norm,
                                                                jina_bert_v2_own_rows, NULL};

/* Of two halves the gate is the first; the second in models for code, the ones with norms of q and k. */
static bool jina_bert_v2_check(struct model *m, struct bk_error *e) {
  const int64_t n = m->hp.n_ff;
  const bool whole = model_table_rows(m, STR("blk.0.ffn_up.weight")) == 2 * n;
  const bool code = gguf_tensor(&m->gguf, STR("blk.0.attn_q_norm.weight")) != NULL;
  (void)e;
  m->hp.n_up = whole ? 2 * n : n;
  m->hp.gate_from = whole && code ? n : 0;
  m->hp.up_from = whole && !code ? n : 0;
  return true;
}

static void jina_bert_v2_forward(struct tape *t, const struct model *m) { block_encoder(t, m, ACT_GELU_ERF); }

static const struct hf jina_bert_v2_hf = {
  .classes = "JinaBertModel JinaBertForMaskedLM", .prefixes = "bert", .layer = "encoder.layer", .left_out = "pooler. cls.",
  .keys = HF_ENCODER_KEYS,
  .tensors = HF_ENCODER
    ".attention.self.query .attn_q\n"
    ".attention.self.key .attn_k\n"
    ".attention.self.value .attn_v\n"
    ".attention.self.layer_norm_q .attn_q_norm\n"
    ".attention.self.layer_norm_k .attn_k_norm\n"
    ".attention.output.dense .attn_output\n"
    ".attention.output.LayerNorm .attn_output_norm\n"
    ".layer_norm_1 .attn_norm_2\n"
    ".layer_norm_2 .layer_output_norm\n"
    ".mlp.gated_layers .ffn_gate part:1,0,intermediate_size\n"
    ".mlp.gated_layers .ffn_up part:1,intermediate_size\n"
    ".mlp.up_gated_layer .ffn_up part:1,0,intermediate_size\n"
    ".mlp.up_gated_layer .ffn_gate part:1,intermediate_size\n"
    ".mlp.wo .ffn_down\n"
    ".mlp.down_layer .ffn_down\n"
    ".mlp.layernorm .layer_output_norm\n"};

static const struct arch arch_jina_bert_v2 = {
  .name = "jina-bert-v2", .keys = jina_bert_v2_keys, .tensors = jina_bert_v2_tensors, .centred = true, .check = jina_bert_v2_check,
  .forward = jina_bert_v2_forward, .hf = &jina_bert_v2_hf};
