/* arch/bloom.c -- BLOOM: a norm behind the embedding, scores that fall with the distance (ALiBi), biases. (BigScience, 2022) */
static const struct key_row *const bloom_keys[] = {keys_decoder, keys_layer_norm, NULL};

static const struct tensor_row bloom_own_rows[] = {
  ROW_VECTOR("token_embd_norm.weight", MODEL(embd_norm.weight), DIM_EMBD, NEED),
  ROW_VECTOR("token_embd_norm.bias", MODEL(embd_norm.bias), DIM_EMBD, MAY),
  {0},
};
static const struct tensor_row *const bloom_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_ffn,
                                                         bloom_own_rows, NULL};

static bool bloom_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.alibi = 8;
  return true;
}

static void bloom_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_GELU_TANH); }

static const struct hf bloom_hf = {
  .classes = "BloomForCausalLM BloomModel", .prefixes = "transformer", .layer = "h",
  .keys = "context_length u seq_length|hidden_size|n_embed\n"
          "embedding_length u hidden_size|n_embed\n"
          "feed_forward_length u 4*hidden_size|4*n_embed\n"
          "attention.head_count_kv u n_head|num_attention_heads\n",
  .tensors = "word_embeddings token_embd\n"
             "word_embeddings_layernorm token_embd_norm\n"
             "ln_f output_norm\n"
             "lm_head output\n"
             ".input_layernorm .attn_norm\n"
             ".self_attention.query_key_value .attn_qkv qkv:n_head|num_attention_heads,"
               "hidden_size/n_head|n_embed/num_attention_heads|n_embed/n_head|hidden_size/num_attention_heads\n"
             ".self_attention.dense .attn_output\n"
             ".post_attention_layernorm .ffn_norm\n"
             ".mlp.dense_h_to_4h .ffn_up\n"
             ".mlp.dense_4h_to_h .ffn_down\n"};

static const struct arch arch_bloom = {.name = "bloom", .keys = bloom_keys, .tensors = bloom_tensors, .centred = true,
                                       .check = bloom_check, .forward = bloom_forward, .hf = &bloom_hf};
