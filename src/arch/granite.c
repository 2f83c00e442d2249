/* arch/granite.c -- Granite 3: the shape of LLaMA with scales on embedding, attention, residuals and logits.
 * (IBM: Granite 3.0, 2024) */
static const struct key_row *const granite_keys[] = {keys_decoder, keys_rms, keys_rope, keys_scales, NULL};

static const struct tensor_row *const granite_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate, rows_ffn,
                                                           NULL};

static bool granite_check(struct model *m, struct bk_error *e) { // the file has what logits are divided by
  (void)e;
  if (m->hp.logit_scale != 0) m->hp.logit_scale = 1 / m->hp.logit_scale;
  return true;
}

static void granite_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf granite_hf = {
  .classes = "GraniteForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = HF_ROTATED_PAIRS_KEYS HF_GRANITE_KEYS, .tensors = HF_ROTATED_PAIRS};

static const struct arch arch_granite = {.name = "granite", .keys = granite_keys, .tensors = granite_tensors, .check = granite_check,
                                         .forward = granite_forward, .hf = &granite_hf};
