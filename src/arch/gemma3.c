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
    const bool local = model_layer_is_local(m, i);
    struct tape_heads h = block_heads(m, i, angles[local]);
    if (local) h.rope = &m->rope_local;
    block_sandwich(t, m, i, &h, ACT_GELU_TANH, x);
  }
  block_head(t, m, x);
}

static const struct hf gemma3_hf = {
  "Gemma3ForCausalLM Gemma3ForConditionalGeneration", "model", "layers",
  "context_length u max_position_embeddings|131072\n"
  "attention.head_count u num_attention_heads|8\n"
  "attention.head_count_kv u num_key_value_heads|4\n"
  "attention.layer_norm_rms_epsilon f rms_norm_eps|0.000001\n"
  "attention.key_length u head_dim|256\n"
  "attention.value_length u head_dim|256\n"
  "rope.freq_base f rope.rope_theta|rope_theta|1000000\n"
  "rope.freq_base_swa f rope_parameters.sliding_attention.rope_theta|rope_local_base_freq|10000\n"
  "final_logit_softcapping f final_logit_softcapping\n"
  "attention.sliding_window u sliding_window|4096\n",
  "norm output_norm plus:1\n"
  ".input_layernorm .attn_norm plus:1\n"
  ".self_attn.q_norm .attn_q_norm plus:1\n"
  ".self_attn.k_norm .attn_k_norm plus:1\n"
  ".post_attention_layernorm .post_attention_norm plus:1\n"
  ".pre_feedforward_layernorm .ffn_norm plus:1\n"
  ".post_feedforward_layernorm .post_ffw_norm plus:1\n",
  hf_decoder, "lm_head.weight"};

static const struct arch arch_gemma3 = {.name = "gemma3", .keys = gemma3_keys, .tensors = gemma3_tensors, .rope_neox = true,
                                        .check = gemma3_check, .forward = gemma3_forward, .hf = &gemma3_hf};
