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

static const struct arch arch_ernie4_5_moe = {
  .name = "ernie4_5-moe", .keys = ernie4_5_moe_keys, .tensors = ernie4_5_moe_tensors, .check = ernie4_5_moe_check,
  .forward = ernie4_5_moe_forward};
