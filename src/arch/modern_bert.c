/* arch/modern_bert.c -- ModernBERT: norms before both halves of a layer, a gated feed-forward, rotated positions; every third
 * layer sees all, the others a window with a rope base of their own. (Warner et al., 2024) */
static const struct key_row modern_bert_own_keys[] = {
  KEY_MAY_FLOAT("rope.freq_base_swa", rope_base_local, 1, 1e12, 10000),
  KEY_MAY_INT("attention.sliding_window", window, 0, 1 << 26, 0),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1024, 3),
  KEY_MAY_INT("classifier.pooling_type", head_pooling, POOL_MEAN, POOL_CLS, POOL_MEAN),
  {"hidden_activation", KEY_STRING, HP(activation), 0, 0, false, 0},
  {0},
};
static const struct key_row *const modern_bert_keys[] = {keys_decoder, keys_layer_norm, keys_rope, modern_bert_own_keys, NULL};

static const struct tensor_row modern_bert_own_rows[] = {
  ROW_VECTOR("blk.%d.attn_norm.weight", LAYER(attn_norm.weight), DIM_EMBD, MAY), // the first layer has none
  ROW_VECTOR("output_norm.weight", MODEL(output_norm.weight), DIM_EMBD, NEED),
  ROW_VECTOR("cls.norm.weight", MODEL(cls_norm.weight), DIM_EMBD, MAY),
  ROW_VECTOR("cls.norm.bias", MODEL(cls_norm.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row *const modern_bert_tensors[] = {rows_encoder, rows_qkv, rows_ffn_norm, rows_fused_gate,
                                                               modern_bert_own_rows, NULL};

/* A ranker's: rows are normed, then perhaps averaged, then scored. */
static void modern_bert_head(struct tape *t, const struct model *m, int x) {
  tape_norm(t, x, block_norm(m, m->output_norm), 1);
  block_hidden(t, m, x, tape_unnormed);
  x = tape_head(t, m->hp.head_pooling == POOL_MEAN ? tape_mean(t, x) : x);
  x = tape_act_normed(t, tape_product(t, TAPE_ROWS(x), &m->cls), ACT_GELU_ERF, block_norm(m, m->cls_norm));
  tape_result(t, tape_product(t, TAPE_ROWS(x), &m->cls_output));
}

static bool modern_bert_check(struct model *m, struct bk_error *e) {
  const struct str act = m->hp.activation;
  return !act.len || str_is(act, "gelu") || str_is(act, "silu") ||
         err_set(e, ERR_DATA, "not supported: activation \"" STR_FMT "\"", STR_ARG(act));
}

static void modern_bert_forward(struct tape *t, const struct model *m) {
  int x = block_encoder_input(t, m), angles[2] = {tape_angles(t, &m->rope), tape_angles(t, &m->rope_local)};
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const bool local = i % m->hp.window_pattern != 0;
    struct tape_heads h = block_heads(m, i, angles[local]);
    h.window = local ? (int)m->hp.window : 0;
    if (local) h.rope = &m->rope_local;
    int o = block_attention(t, l, l->attn_norm.weight ? block_normed(m, x, l->attn_norm) : TAPE_ROWS(x), &h);
    block_add(t, m, TAPE_ROWS(o), &l->wo, x);
    block_feed_forward(t, m, i, str_is(m->hp.activation, "silu") ? ACT_SILU : ACT_GELU_ERF, x);
  }
  if (m->cls_norm.weight && m->cls.quant && m->cls_output.quant) modern_bert_head(t, m, x);
  else block_head(t, m, x);
}

static const struct hf modern_bert_hf = {
  .classes = "ModernBertModel ModernBertForMaskedLM ModernBertForSequenceClassification", .prefixes = "model", .layer = "layers",
  .left_out = "decoder.",
  .keys = HF_ENCODER_KEYS
    "vocab_size u vocab_size\n"
    "rope.scaling.type s 'none'\n"
    "rope.freq_base f rope.rope_theta|global_rope_theta|160000\n"
    "attention.layer_norm_epsilon f norm_eps|layer_norm_eps|0.00001\n"
    "attention.sliding_window u local_attention|128\n"
    "attention.sliding_window_pattern u global_attn_every_n_layers|3\n"
    "classifier.pooling_type u classifier_pooling=mean*1|2\n"
    "hidden_activation s hidden_activation\n",
  .tensors = "embeddings.tok_embeddings token_embd\n"
    "embeddings.norm token_embd_norm\n"
    "final_norm output_norm\n"
    "head.dense cls if:class=ModernBertForSequenceClassification\n"
    "head.norm cls.norm if:class=ModernBertForSequenceClassification\n"
    "classifier cls.output\n"
    ".attn_norm .attn_norm\n"
    ".attn.Wqkv .attn_qkv\n"
    ".attn.Wo .attn_output\n"
    ".mlp_norm .ffn_norm\n"
    ".mlp.Wi .ffn_up\n"
    ".mlp.Wo .ffn_down\n"};

static const struct arch arch_modern_bert = {
  .name = "modern-bert", .keys = modern_bert_keys, .tensors = modern_bert_tensors, .rope_neox = true, .centred = true,
  .check = modern_bert_check, .forward = modern_bert_forward, .hf = &modern_bert_hf};
