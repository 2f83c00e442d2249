/* arch/falcon.c -- Falcon: attention and feed-forward side by side, behind one layer norm or (attn_norm_2, the larger ones)
 * each behind its own. (Almazrouei et al., 2023) */
static const struct key_row *const falcon_keys[] = {keys_decoder, keys_layer_norm, keys_rope, NULL};

static const struct tensor_row falcon_own_rows[] = {
  ROW_VECTOR("output_norm.bias", MODEL(output_norm.bias), DIM_EMBD, MAY),
  ROW_VECTOR("blk.%d.attn_norm.weight", LAYER(ffn_norm.weight), DIM_EMBD, NEED), // of attention too, if that has none
  ROW_VECTOR("blk.%d.attn_norm.bias", LAYER(ffn_norm.bias), DIM_EMBD, MAY),
  ROW_VECTOR("blk.%d.attn_norm_2.weight", LAYER(attn_norm.weight), DIM_EMBD, MAY),
  ROW_VECTOR("blk.%d.attn_norm_2.bias", LAYER(attn_norm.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row *const falcon_tensors[] = {rows_model, rows_qkv, rows_ffn, falcon_own_rows, NULL};

static void falcon_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    const struct tape_in in = block_normed(m, x, l->ffn_norm);
    int o = block_attention(t, l, l->attn_norm.weight ? block_normed(m, x, l->attn_norm) : in, &h);
    block_parallel(t, m, l, in, o, ACT_GELU_ERF, x);
  }
  block_head(t, m, x);
}

/* Key/value heads: all share one, or each query has its own, or (the larger models) as many as are named. */
#define FALCON_GROUPS "n_head_kv|new_decoder_architecture=true*num_kv_heads|multi_query=true*1|num_attention_heads|n_head"
static const struct hf falcon_hf = {
  .classes = "FalconForCausalLM RWForCausalLM", .prefixes = "transformer", .layer = "h",
  .keys = "context_length u 2048\n"
          "tensor_data_layout s 'jploski'\n"
          "feed_forward_length u 4*hidden_size\n"
          "attention.head_count_kv u " FALCON_GROUPS "\n",
  .tensors = "word_embeddings token_embd\n"
             "ln_f output_norm\n"
             "lm_head output\n"
             ".input_layernorm .attn_norm\n"
             ".ln_mlp .attn_norm\n"
             ".ln_attn .attn_norm_2\n"
             ".self_attention.query_key_value .attn_qkv qkv:" FALCON_GROUPS ",hidden_size/num_attention_heads|hidden_size/n_head\n"
             ".self_attention.dense .attn_output\n"
             ".mlp.dense_h_to_4h .ffn_up\n"
             ".mlp.dense_4h_to_h .ffn_down\n"};

static const struct arch arch_falcon = {.name = "falcon", .keys = falcon_keys, .tensors = falcon_tensors, .rope_neox = true,
                                        .centred = true, .forward = falcon_forward, .hf = &falcon_hf};
