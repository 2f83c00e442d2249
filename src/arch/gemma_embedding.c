/* arch/gemma_embedding.c -- EmbeddingGemma: Gemma 3 whose rows see both ways. (Vera et al., 2025) */
static const struct tensor_row *const gemma_embedding_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_head_norms,
                                                                   rows_sandwich, rows_ffn_norm, rows_gate, rows_ffn, NULL};

static bool gemma_embedding_check(struct model *m, struct bk_error *e) {
  m->hp.causal = false;
  return gemma3_check(m, e);
}

static const struct hf gemma_embedding_hf = {
  .classes = "Gemma3TextModel", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = HF_GEMMA3_KEYS, .tensors = HF_GEMMA_NORMS};

static const struct arch arch_gemma_embedding = {
  .name = "gemma-embedding", .keys = gemma3_keys, .tensors = gemma_embedding_tensors, .rope_neox = true, .check = gemma_embedding_check,
  .forward = gemma3_forward, .hf = &gemma_embedding_hf};
