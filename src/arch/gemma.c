/* arch/gemma.c -- Gemma: the shape of LLaMA with a GELU gate and the embedding times sqrt(n_embd). (Gemma report, 2024) */
static const struct key_row *const gemma_keys[] = {keys_decoder, keys_rms, keys_rope, NULL};

static const struct tensor_row *const gemma_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate, rows_ffn, NULL};

static bool gemma_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.embedding_scale = (double)kern_sqrt((float)m->hp.n_embd);
  return true;
}

static void gemma_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_GELU_TANH); }

static const struct hf gemma_hf = {
  .classes = "GemmaForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder, .left_out = "lm_head.weight",
  .keys = "attention.head_count_kv u num_key_value_heads|num_attention_heads\n",
  .tensors = "norm output_norm plus:1\n"
             ".input_layernorm .attn_norm plus:1\n"
             ".post_attention_layernorm .ffn_norm plus:1\n"};

static const struct arch arch_gemma = {.name = "gemma", .keys = gemma_keys, .tensors = gemma_tensors, .rope_neox = true,
                                       .check = gemma_check, .forward = gemma_forward, .hf = &gemma_hf};
