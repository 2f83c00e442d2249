/* arch/gemma2.c -- Gemma 2: Gemma with norms before and after both halves of a layer, soft caps on scores and logits, and
 * every other layer with a short window. (Gemma 2 report, 2024) */
static const struct key_row gemma2_own_keys[] = {
  KEY_MAY_INT("attention.sliding_window", window, 0, 1 << 26, 4096),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1024, 2), // every second layer sees all
  KEY_MAY_FLOAT("attention.scale", attention_scale, 0, 1e6, 0),
  KEY_MAY_FLOAT("final_logit_softcapping", softcap_logits, 0, 1e6, 30),
  KEY_MAY_FLOAT("attn_logit_softcapping", softcap_attention, 0, 1e6, 50),
  {0},
};
static const struct key_row *const gemma2_keys[] = {keys_decoder, keys_rms, keys_rope, gemma2_own_keys, NULL};

static const struct tensor_row *const gemma2_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_sandwich, rows_ffn_norm,
                                                          rows_gate, rows_ffn, NULL};

/* The largest one scales by the width of an even share of the embedding: 46 layers tell it. (gemma_pytorch, config.py) */
static bool gemma2_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.embedding_scale = (double)kern_sqrt((float)m->hp.n_embd);
  if (m->hp.n_layer == 46) m->hp.attention_scale = 1 / (double)kern_sqrt((float)(m->hp.n_embd / m->hp.n_head));
  return true;
}

static void gemma2_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, (float)m->hp.embedding_scale), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct tape_heads h = block_heads(m, i, angles);
    block_sandwich(t, m, i, &h, ACT_GELU_TANH, x);
  }
  block_head(t, m, x);
}

static const struct hf gemma2_hf = {
  .classes = "Gemma2ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder, .left_out = "lm_head.weight",
  .keys = "attention.sliding_window u sliding_window|4096\n"
          "attn_logit_softcapping f attn_logit_softcapping|50\n"
          "final_logit_softcapping f final_logit_softcapping|30\n",
  .tensors = HF_GEMMA_NORMS};

static const struct arch arch_gemma2 = {.name = "gemma2", .keys = gemma2_keys, .tensors = gemma2_tensors, .rope_neox = true,
                                        .check = gemma2_check, .forward = gemma2_forward, .hf = &gemma2_hf};
