/* arch/jina_bert_v2.c -- Jina BERT 2: BERT with a gated feed-forward, whose scores fall with the distance instead of positions
 * being learned (ALiBi). (Guenther et al., 2023) */
static const struct key_row jina_bert_v2_own_keys[] = {
  KEY_MAY_FLOAT("attention.max_alibi_bias", alibi, 0, 1e3, 8),
  {0},
};
static const struct key_row *const jina_bert_v2_keys[] = {keys_decoder, keys_layer_norm, jina_bert_v2_own_keys, NULL};

static const struct tensor_row *const jina_bert_v2_tensors[] = {rows_encoder, rows_qkv, rows_gate, rows_ffn, rows_post_norm, NULL};

static void jina_bert_v2_forward(struct tape *t, const struct model *m) {
  int x = block_encoder_input(t, m);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    struct tape_heads h = block_heads(m, i, VALUE_NONE);
    h.rope = NULL;
    block_post_norm(t, m, i, &h, ACT_GELU_ERF, x);
  }
  block_head(t, m, x);
}

static const struct arch arch_jina_bert_v2 = {
  .name = "jina-bert-v2", .keys = jina_bert_v2_keys, .tensors = jina_bert_v2_tensors, .centred = true, .forward = jina_bert_v2_forward};
