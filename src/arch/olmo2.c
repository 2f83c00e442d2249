/* arch/olmo2.c -- OLMo 2 and 3: norms behind attention and feed-forward instead of before, and of q and k at their whole
 * width; OLMo 3 has windows, with plain rope, in three layers of four. (OLMo 2 report, 2025) */
static const struct key_row olmo2_own_keys[] = {
  KEY_MAY_FLOAT("rope.freq_base_swa", rope_base_local, 1, 1e12, 0),
  KEY_MAY_INT("attention.sliding_window", window, 0, 1 << 26, 0),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1024, 4),
  {0},
};
static const struct key_row *const olmo2_keys[] = {keys_decoder, keys_rms, keys_rope, olmo2_own_keys, NULL};

static const struct tensor_row olmo2_own_rows[] = {
  ROW_VECTOR("blk.%d.attn_q_norm.weight", LAYER(q_norm.weight), DIM_Q, NEED),
  ROW_VECTOR("blk.%d.attn_k_norm.weight", LAYER(k_norm.weight), DIM_K, NEED),
  {0},
};
static const struct tensor_row *const olmo2_tensors[] = {rows_model, rows_qkv, rows_sandwich, rows_gate, rows_ffn, olmo2_own_rows, NULL};

static bool olmo2_check(struct model *m, struct bk_error *e) {
  (void)e;
  if (m->hp.rope_base_local <= 0) m->hp.rope_base_local = m->hp.rope_base;
  return true;
}

static void olmo2_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles[2] = {tape_angles(t, &m->rope), tape_angles(t, &m->rope_local)};
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const bool local = block_is_local(m, i);
    struct tape_heads h = block_heads(m, i, angles[local]);
    if (local) h.rope = &m->rope_local;
    int o = block_attention_wide(t, m, l, TAPE_ROWS(x), h, false);
    tape_add(t, tape_product(t, TAPE_ROWS(o), &l->wo), block_norm(m, l->attn_post_norm), 1, VALUE_NONE, x);
    int y = tape_product(t, block_gated(t, TAPE_ROWS(x), &l->w_gate, &l->w_up, ACT_SILU), &l->w_down);
    tape_add(t, y, block_norm(m, l->ffn_post_norm), 1, VALUE_NONE, x);
  }
  block_head(t, m, x);
}

static const struct hf olmo2_hf = {
  .classes = "Olmo2ForCausalLM Olmo3ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "attention.sliding_window u sliding_window\n",
  .tensors = ".post_attention_layernorm .post_attention_norm\n"
             ".post_feedforward_layernorm .post_ffw_norm\n"};

static const struct arch arch_olmo2 = {.name = "olmo2", .keys = olmo2_keys, .tensors = olmo2_tensors, .rope_neox = true,
                                       .check = olmo2_check, .forward = olmo2_forward, .hf = &olmo2_hf};
