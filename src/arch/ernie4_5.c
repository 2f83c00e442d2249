/* arch/ernie4_5.c -- ERNIE 4.5 without experts: the shape of LLaMA. (Baidu: ERNIE 4.5 report, 2025) */
static const struct key_row *const ernie4_5_keys[] = {keys_decoder, keys_rms, keys_rope, NULL};

static const struct tensor_row *const ernie4_5_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate, rows_ffn,
                                                            NULL};

static void ernie4_5_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf ernie4_5_hf = {
  .classes = "Ernie4_5_ForCausalLM Ernie4_5ForCausalLM", .prefixes = "model ernie", .layer = "layers", .more = hf_decoder,
  .keys = "", .tensors = ""};

static const struct arch arch_ernie4_5 = {.name = "ernie4_5", .keys = ernie4_5_keys, .tensors = ernie4_5_tensors,
                                          .forward = ernie4_5_forward, .hf = &ernie4_5_hf};
