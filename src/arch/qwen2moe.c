/* arch/qwen2moe.c -- Qwen 1.5 and 2 with experts: weights of the chosen ones are not normalised, and one more expert serves
 * all tokens, as much as a gate of its own says. (Qwen2 report, 2024) */
static const struct key_row qwen2moe_own_keys[] = {
  KEY_MAY_BOOL("expert_weights_norm", expert_normalised, false),
  {0},
};
static const struct key_row *const qwen2moe_keys[] = {keys_decoder, keys_rms, keys_rope, keys_experts, qwen2moe_own_keys, NULL};

static const struct tensor_row qwen2moe_own_rows[] = {
  ROW_MATRIX("blk.%d.ffn_gate_inp_shexp.weight", LAYER(shared_gate), DIM_EMBD, DIM_ONE, MAY),
  {0},
};
static const struct tensor_row *const qwen2moe_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate, rows_ffn,
                                                            rows_experts, rows_shared_experts, qwen2moe_own_rows, NULL};

static bool qwen2moe_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.expert_gate = GATE_SOFTMAX;
  return true;
}

static void qwen2moe_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf qwen2moe_hf = {
  .classes = "Qwen2MoeForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "expert_feed_forward_length u moe_intermediate_size\n"
          "expert_shared_feed_forward_length u shared_expert_intermediate_size\n",
  .tensors = HF_EXPERTS
             ".mlp.shared_expert.gate_proj .ffn_gate_shexp\n"
             ".mlp.shared_expert.up_proj .ffn_up_shexp\n"
             ".mlp.shared_expert.down_proj .ffn_down_shexp\n"
             ".mlp.shared_expert_gate .ffn_gate_inp_shexp\n"};

static const struct arch arch_qwen2moe = {.name = "qwen2moe", .keys = qwen2moe_keys, .tensors = qwen2moe_tensors, .rope_neox = true,
                                          .check = qwen2moe_check, .forward = qwen2moe_forward, .hf = &qwen2moe_hf};
