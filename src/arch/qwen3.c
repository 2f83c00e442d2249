/* arch/qwen3.c -- Qwen 3: the shape of LLaMA with norms of every head's q and k. (Qwen3 report, 2025) */
static const struct key_row *const qwen3_keys[] = {keys_decoder, keys_rms, keys_rope, keys_window, NULL};

static const struct tensor_row *const qwen3_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_head_norms, rows_ffn_norm,
                                                         rows_gate, rows_ffn, NULL};

static void qwen3_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf qwen3_hf = {
  .classes = "Qwen3ForCausalLM Qwen3Model", .prefixes = "model", .layer = "layers", .more = hf_decoder, .ranker = "qwen3-reranker",
  .keys = "",
  .tensors = "embed_tokens token_embd\n"
             "embed_tokens cls.output ranker:tie_word_embeddings=true\n"
             "lm_head cls.output ranker:1\n"};

static const struct arch arch_qwen3 = {.name = "qwen3", .keys = qwen3_keys, .tensors = qwen3_tensors, .rope_neox = true,
                                       .forward = qwen3_forward, .hf = &qwen3_hf};
