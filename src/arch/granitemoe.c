/* arch/granitemoe.c -- Granite 3 with experts, weighed by a softmax over those chosen. (IBM: Granite 3.0, 2024) */
static const struct key_row *const granitemoe_keys[] = {keys_decoder, keys_rms, keys_rope, keys_scales, keys_experts, NULL};

static const struct tensor_row *const granitemoe_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_experts,
                                                              rows_shared_experts, NULL};

static bool granitemoe_check(struct model *m, struct bk_error *e) {
  m->hp.expert_gate = GATE_SOFTMAX_USED;
  return granite_check(m, e);
}

static void granitemoe_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf granitemoe_hf = {
  .classes = "GraniteMoeForCausalLM GraniteMoeSharedForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = HF_ROTATED_PAIRS_KEYS HF_GRANITE_KEYS "expert_shared_feed_forward_length u shared_intermediate_size\n",
  .tensors = HF_ROTATED_PAIRS
    ".block_sparse_moe.router.layer .ffn_gate_inp\n"
    ".block_sparse_moe.input_linear .ffn_gate_exps part:0,0,intermediate_size\n"
    ".block_sparse_moe.input_linear .ffn_up_exps part:0,intermediate_size\n"
    ".block_sparse_moe.output_linear .ffn_down_exps\n"
    ".shared_mlp.input_linear .ffn_gate_shexp part:1,0,shared_intermediate_size\n"
    ".shared_mlp.input_linear .ffn_up_shexp part:1,shared_intermediate_size\n"
    ".shared_mlp.output_linear .ffn_down_shexp\n"};

static const struct arch arch_granitemoe = {.name = "granitemoe", .keys = granitemoe_keys, .tensors = granitemoe_tensors,
                                            .check = granitemoe_check, .forward = granitemoe_forward, .hf = &granitemoe_hf};
