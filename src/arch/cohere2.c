/* arch/cohere2.c -- Command R7B and A: Command R where three layers of four see a window and the fourth sees all, without
 * positions. (Cohere, 2024) */
static const struct key_row cohere2_own_keys[] = {
  KEY_NEED_INT("attention.sliding_window", window, 0, 1 << 26),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1024, 4),
  {0},
};
static const struct key_row *const cohere2_keys[] = {keys_decoder, keys_layer_norm, keys_rope, keys_scales, cohere2_own_keys, NULL};

static const struct tensor_row *const cohere2_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_gate, rows_ffn, NULL};

static void cohere2_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, (i + 1) % m->hp.window_pattern ? angles : VALUE_NONE);
    const struct tape_in in = block_normed(m, x, l->attn_norm);
    block_parallel(t, m, l, in, block_attention(t, l, in, &h), ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf cohere2_hf = {
  .classes = "Cohere2ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "vocab_size u vocab_size\n"
          "logit_scale f logit_scale\n"
          "attention.sliding_window u sliding_window\n"
          "rope.dimension_count u rotary_pct*hidden_size/num_attention_heads|hidden_size/num_attention_heads\n"
          "rope.scaling.type s 'none'\n",
  .tensors = ""};

static const struct arch arch_cohere2 = {.name = "cohere2", .keys = cohere2_keys, .tensors = cohere2_tensors, .centred = true,
                                         .forward = cohere2_forward, .hf = &cohere2_hf};
