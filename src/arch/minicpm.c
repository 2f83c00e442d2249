/* arch/minicpm.c -- MiniCPM: the shape of LLaMA with scales on embedding, residuals and logits, as Granite has them; files made
 * before there were keys for them have those of the first models. (Hu et al., 2024) */
static const struct key_row minicpm_own_keys[] = {
  KEY_MAY_FLOAT("embedding_scale", embedding_scale, 0, 1e6, 12),
  KEY_MAY_FLOAT("residual_scale", residual_scale, 0, 1e6, 0),
  KEY_MAY_FLOAT("logit_scale", logit_scale, 0, 1e6, 0),
  {0},
};
static const struct key_row *const minicpm_keys[] = {keys_decoder, keys_rms, keys_rope, minicpm_own_keys, NULL};

static const struct tensor_row *const minicpm_tensors[] = {rows_model, rows_rope, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate,
                                                           rows_ffn, NULL};

/* scale_depth 1.4 and dim_model_base 256 of the first models. */
static bool minicpm_check(struct model *m, struct bk_error *e) {
  struct hparams *hp = &m->hp;
  const struct gguf_value *residual = gguf_find(&m->gguf, STR("minicpm.residual_scale")), *logits = gguf_find(&m->gguf,
                                                                                                              STR("minicpm.logit_scale"));
  if (!residual) hp->residual_scale = 1.4 / (double)kern_sqrt((float)hp->n_layer);
  if (!logits) hp->logit_scale = (double)hp->n_embd / 256;
  return granite_check(m, e);
}

static void minicpm_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct arch arch_minicpm = {.name = "minicpm", .keys = minicpm_keys, .tensors = minicpm_tensors, .check = minicpm_check,
                                         .forward = minicpm_forward};
