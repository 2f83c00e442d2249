/* arch/nomic_bert_moe.c -- Nomic Embed 2: BERT with rotated positions, and a mixture of experts without gates in every other
 * layer. (Nussbaum, Duderstadt, 2025) */
static const struct key_row *const nomic_bert_moe_keys[] = {keys_decoder, keys_layer_norm, keys_rope, keys_experts, NULL};

static const struct tensor_row nomic_bert_moe_own_rows[] = {
  ROW_UNLESS("blk.%d.ffn_gate_inp.weight", LAYER(router), DIM_EMBD, DIM_EXPERTS, LAYER(w_up)),
  ROW_EXPERTS("blk.%d.ffn_up_exps.weight", LAYER(up_experts), DIM_EMBD, DIM_FF_EXPERT),
  ROW_EXPERTS("blk.%d.ffn_down_exps.weight", LAYER(down_experts), DIM_FF_EXPERT, DIM_EMBD),
  {0},
};
static const struct tensor_row *const nomic_bert_moe_tensors[] = {rows_encoder, rows_qkv, rows_ffn, rows_post_norm,
                                                                  nomic_bert_moe_own_rows, NULL};

static bool nomic_bert_moe_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.expert_gate = GATE_SOFTMAX;
  return true;
}

static void nomic_bert_moe_forward(struct tape *t, const struct model *m) { block_encoder(t, m, ACT_GELU_ERF); }

/* Stacked rows of both matrices are those of the experts' inner features: of the second they are columns. */
static const struct hf nomic_bert_moe_hf = {
  .classes = "NomicBertModel?moe_every_n_layers", .prefixes = "bert", .layer = "encoder.layers",
  .left_out = "pooler. cls. .experts.bias", // zeros
  .keys = HF_NOMIC_KEYS
    "moe_every_n_layers u moe_every_n_layers\n"
    "expert_used_count u moe_top_k\n",
  .tensors = HF_NOMIC
    ".mlp.fc1 .ffn_up\n"
    ".mlp.router.layer .ffn_gate_inp\n"
    ".mlp.experts.mlp.w1 .ffn_up_exps part:num_experts,0\n"
    ".mlp.experts.mlp.w2 .ffn_down_exps turn:num_experts,0\n"};

static const struct arch arch_nomic_bert_moe = {
  .name = "nomic-bert-moe", .keys = nomic_bert_moe_keys, .tensors = nomic_bert_moe_tensors, .rope_neox = true, .centred = true,
  .check = nomic_bert_moe_check, .forward = nomic_bert_moe_forward, .hf = &nomic_bert_moe_hf};
