/* arch/command_r.c -- Command R: attention and feed-forward side by side behind one layer norm, logits scaled; the largest has
 * layer norms of every head's q and k. (Cohere, 2024) */
static const struct key_row *const command_r_keys[] = {keys_decoder, keys_layer_norm, keys_rope, keys_scales, NULL};

static const struct tensor_row command_r_own_rows[] = {
  ROW_VECTORS("blk.%d.attn_q_norm.weight", LAYER(q_norm.weight), DIM_HEAD, DIM_HEADS, MAY),
  ROW_VECTORS("blk.%d.attn_k_norm.weight", LAYER(k_norm.weight), DIM_HEAD, DIM_HEADS_KV, MAY),
  {0},
};
static const struct tensor_row *const command_r_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_gate, rows_ffn,
                                                             command_r_own_rows, NULL};

static void command_r_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    const struct tape_in in = block_normed(m, x, l->attn_norm);
    block_parallel(t, m, l, in, block_attention_wide(t, m, l, in, h, true), ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf command_r_hf = {
  .classes = "CohereForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "context_length u model_max_length|max_position_embeddings\n"
          "logit_scale f logit_scale\n"
          "rope.scaling.type s 'none'\n",
  .tensors = ""};

static const struct arch arch_command_r = {.name = "command-r", .keys = command_r_keys, .tensors = command_r_tensors, .centred = true,
                                           .forward = command_r_forward, .hf = &command_r_hf};
