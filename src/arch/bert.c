/* arch/bert.c -- BERT, RoBERTa and XLM-R: rows see both ways, positions are learned, norms stand behind both halves of a
 * layer; vectors, or scores from a head. (Devlin et al., 2018) */
static const struct key_row *const bert_keys[] = {keys_decoder, keys_layer_norm, NULL};

static const struct tensor_row bert_own_rows[] = {
  ROW_LOOKUP("position_embd.weight", MODEL(position_embd), DIM_CONTEXT, NEED),
  {0},
};
static const struct tensor_row *const bert_tensors[] = {rows_encoder, rows_qkv, rows_ffn, rows_post_norm, bert_own_rows, NULL};

static void bert_forward(struct tape *t, const struct model *m) {
  int x = block_encoder_input(t, m);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    struct tape_heads h = block_heads(m, i, VALUE_NONE);
    h.rope = NULL;
    block_post_norm(t, m, i, &h, ACT_GELU_ERF, x);
  }
  block_head(t, m, x);
}

static const struct arch arch_bert = {.name = "bert", .keys = bert_keys, .tensors = bert_tensors, .centred = true,
                                      .forward = bert_forward};
