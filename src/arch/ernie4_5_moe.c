/* arch/ernie4_5_moe.c -- ERNIE 4.5 with experts: chosen with a bias, weighed without it; more experts serve all tokens.
 * (Baidu: ERNIE 4.5 report, 2025) */
static const struct key_row *const ernie4_5_moe_keys[] = {keys_decoder, keys_rms, keys_rope, keys_experts, NULL};

static const struct tensor_row *const ernie4_5_moe_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate,
                                                                rows_ffn, rows_experts, rows_shared_experts, NULL};

static bool ernie4_5_moe_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.expert_gate = GATE_SOFTMAX;
  m->hp.expert_normalised = true;
  return true;
}

static void ernie4_5_moe_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf ernie4_5_moe_hf = {
  .classes = "Ernie4_5_MoeForCausalLM", .prefixes = "model ernie", .layer = "layers", .more = hf_decoder, .left_out = "mtp_",
  .keys = "expert_count u moe_num_experts\n"
          "expert_used_count u moe_k\n"
          "interleave_moe_layer_step u moe_layer_interval\n"
          "leading_dense_block_count u moe_layer_start_index\n"
          "expert_feed_forward_length u moe_intermediate_size\n"
          "expert_shared_count u moe_num_shared_experts\n"
          "expert_shared_feed_forward_length u moe_intermediate_size*moe_num_shared_experts\n",
  .tensors = HF_EXPERTS HF_SHARED_EXPERTS
             ".mlp.moe_statics.e_score_correction_bias .exp_probs_b.bias\n"};

static const struct arch arch_ernie4_5_moe = {
  .name = "ernie4_5-moe", .keys = ernie4_5_moe_keys, .tensors = ernie4_5_moe_tensors, .check = ernie4_5_moe_check,
  .forward = ernie4_5_moe_forward, .hf = &ernie4_5_moe_hf};
