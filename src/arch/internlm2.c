/* arch/internlm2.c -- InternLM 2 and 2.5: LLaMA; its files have q, k and v apart, as the public converter leaves them. (2024) */
static const struct key_row *const internlm2_keys[] = {keys_decoder, keys_rms, keys_rope, NULL};

static const struct tensor_row *const internlm2_tensors[] = {rows_model, rows_rope, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate,
                                                             rows_ffn, NULL};

static void internlm2_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct arch arch_internlm2 = {.name = "internlm2", .keys = internlm2_keys, .tensors = internlm2_tensors,
                                           .forward = internlm2_forward};
