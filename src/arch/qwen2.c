/* arch/qwen2.c -- Qwen 1.5 to 2.5: the shape of LLaMA with biases of q, k and v. (Qwen2 report, 2024) */
static const struct key_row *const qwen2_keys[] = {keys_decoder, keys_rms, keys_rope, keys_window, NULL};

static const struct tensor_row *const qwen2_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate, rows_ffn, NULL};

static void qwen2_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf qwen2_hf = {
  .classes = "Qwen2ForCausalLM Qwen2Model KORMoForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "", .tensors = ""};

static const struct arch arch_qwen2 = {.name = "qwen2", .keys = qwen2_keys, .tensors = qwen2_tensors, .rope_neox = true,
                                       .forward = qwen2_forward, .hf = &qwen2_hf};
