/* arch/olmo.c -- OLMo: the shape of LLaMA with layer norms that have no weights. (Groeneveld et al., 2024) */
static const struct key_row olmo_own_keys[] = {
  KEY_MAY_FLOAT("attention.clamp_kqv", clamp, 0, 1e6, 0),
  {0},
};
static const struct key_row *const olmo_keys[] = {keys_decoder, keys_layer_norm, keys_rope, olmo_own_keys, NULL};

static const struct tensor_row olmo_own_rows[] = {
  ROW_LOOKUP("token_embd.weight", MODEL(token_embd), DIM_VOCAB, NEED),
  ROW_MATRIX("output.weight", MODEL(output), DIM_EMBD, DIM_VOCAB, MAY),
  {0},
};
static const struct tensor_row *const olmo_tensors[] = {olmo_own_rows, rows_qkv, rows_gate, rows_ffn, NULL};

static bool olmo_check(struct model *m, struct bk_error *e) {
  if (m->hp.clamp > 0) return err_set(e, ERR_DATA, "not supported: clamped queries, keys and values");
  float *ones = ARENA_NEW(&m->tables, float, (size_t)m->hp.n_embd); // of every norm
  for (int64_t i = 0; ones && i < m->hp.n_embd; i++) ones[i] = 1;
  m->output_norm.weight = ones;
  return ones || err_set(e, ERR_OS, "no memory for a norm");
}

static void olmo_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    block_add(t, m, TAPE_ROWS(block_attention(t, l, block_normed(m, x, m->output_norm), &h)), &l->wo, x);
    block_add(t, m, block_gated(t, block_normed(m, x, m->output_norm), &l->w_gate, &l->w_up, ACT_SILU), &l->w_down, x);
  }
  block_head(t, m, x);
}

static const struct hf olmo_hf = {
  .classes = "OlmoForCausalLM OLMoForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "attention.layer_norm_epsilon f 0.00001\n"
          "attention.clamp_kqv f clip_qkv\n",
  .tensors = HF_ROTATED_PAIRS};

static const struct arch arch_olmo = {.name = "olmo", .keys = olmo_keys, .tensors = olmo_tensors, .centred = true, .check = olmo_check,
                                      .forward = olmo_forward, .hf = &olmo_hf};
