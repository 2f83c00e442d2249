/* arch/gemma3.c -- Gemma 3: embedding times sqrt(n_embd), norms of q and k, norms before and after both halves of a
 * layer, five layers with a short window and their own rope base to one that sees all. (Gemma 3 report, 2025) */
static const struct key_row gemma3_own_keys[] = {
  KEY_MAY_FLOAT("rope.freq_base", rope_base, 1, 1e12, 1e6),
  KEY_MAY_FLOAT("rope.freq_base_swa", rope_base_local, 1, 1e12, 10000),
  KEY_MAY_INT("attention.sliding_window", window, 0, 1 << 26, 0),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1024, 6), // every sixth layer sees all
  KEY_MAY_FLOAT("attention.scale", attention_scale, 0, 1e6, 0),
  KEY_MAY_FLOAT("final_logit_softcapping", softcap_logits, 0, 1e6, 0),
  KEY_MAY_FLOAT("attn_logit_softcapping", softcap_attention, 0, 1e6, 0),
  {0},
};
static const struct key_row *const gemma3_keys[] = {keys_decoder, keys_rms, keys_rope, gemma3_own_keys, NULL};

static const struct tensor_row *const gemma3_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_head_norms, rows_sandwich,
                                                          rows_ffn_norm, rows_gate, rows_ffn, NULL};

/* The largest one scales by the width of an even share of the embedding: 62 layers tell it. (gemma_pytorch, config.py) */
static bool gemma3_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.embedding_scale = (double)kern_sqrt((float)m->hp.n_embd);
  if (m->hp.n_layer == 62) m->hp.attention_scale = 1 / (double)kern_sqrt((float)(m->hp.n_embd / m->hp.n_head));
  return true;
}

static void gemma3_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, (float)m->hp.embedding_scale);
  int angles[2] = {tape_angles(t, &m->rope), tape_angles(t, &m->rope_local)};
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const bool local = block_is_local(m, i);
    struct tape_heads h = block_heads(m, i, angles[local]);
    if (local) h.rope = &m->rope_local;
    block_sandwich(t, m, i, &h, ACT_GELU_TANH, x);
  }
  block_head(t, m, x);
}

static const struct hf gemma3_hf = {
  .classes = "Gemma3ForCausalLM Gemma3ForConditionalGeneration", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .left_out = "lm_head.weight",
  .keys = HF_GEMMA3_KEYS "final_logit_softcapping f final_logit_softcapping\n",
  .tensors = HF_GEMMA_NORMS};

static const struct arch arch_gemma3 = {.name = "gemma3", .keys = gemma3_keys, .tensors = gemma3_tensors, .rope_neox = true,
                                        .check = gemma3_check, .forward = gemma3_forward, .hf = &gemma3_hf};
