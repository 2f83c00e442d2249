/* arch/qwen3moe.c -- Qwen 3 with experts, whose weights are normalised. (Qwen3 report, 2025) */
static const struct key_row qwen3moe_own_keys[] = {
  KEY_MAY_BOOL("expert_weights_norm", expert_normalised, true),
  {0},
};
static const struct key_row *const qwen3moe_keys[] = {keys_decoder, keys_rms, keys_rope, keys_experts, qwen3moe_own_keys, NULL};

static const struct tensor_row *const qwen3moe_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_head_norms, rows_ffn_norm,
                                                            rows_gate, rows_ffn, rows_experts, NULL};

static bool qwen3moe_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.expert_gate = GATE_SOFTMAX;
  return true;
}

static void qwen3moe_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf qwen3moe_hf = {
  .classes = "Qwen3MoeForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "expert_feed_forward_length u moe_intermediate_size\n", .tensors = HF_EXPERTS};

static const struct arch arch_qwen3moe = {.name = "qwen3moe", .keys = qwen3moe_keys, .tensors = qwen3moe_tensors, .rope_neox = true,
                                          .check = qwen3moe_check, .forward = qwen3moe_forward, .hf = &qwen3moe_hf};
