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
  return m->hp.clamp <= 0 || err_set(e, ERR_DATA, "not supported: clamped queries, keys and values");
}

static void olmo_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf olmo_hf = {
  .classes = "OlmoForCausalLM OLMoForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "attention.layer_norm_epsilon f 0.00001\n"
          "attention.clamp_kqv f clip_qkv\n",
  .tensors = HF_ROTATED_PAIRS};

static const struct arch arch_olmo = {.name = "olmo", .keys = olmo_keys, .tensors = olmo_tensors, .centred = true, .bare_norms = true,
                                      .check = olmo_check, .forward = olmo_forward, .hf = &olmo_hf};
