/* arch/gptneox.c -- GPT-NeoX and Pythia: layer norms, biases, part of a head rotated; attention and feed-forward side by side,
 * each behind a norm of its own, unless the file says otherwise. (Black et al., 2022) */
static const struct key_row gptneox_own_keys[] = {
  KEY_MAY_BOOL("use_parallel_residual", parallel, true),
  {0},
};
static const struct key_row *const gptneox_keys[] = {keys_decoder, keys_layer_norm, keys_rope, gptneox_own_keys, NULL};

static const struct tensor_row *const gptneox_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn_norm,
                                                           rows_ffn, NULL};

static void gptneox_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    int o = block_attention(t, l, block_normed(m, x, l->attn_norm), &h);
    if (m->hp.parallel) {
      block_parallel(t, m, l, block_normed(m, x, l->ffn_norm), o, ACT_GELU_ERF, x);
      continue;
    }
    block_add(t, m, TAPE_ROWS(o), &l->wo, x);
    block_feed_forward(t, m, i, ACT_GELU_ERF, x);
  }
  block_head(t, m, x);
}

static const struct hf gptneox_hf = {
  .classes = "GPTNeoXForCausalLM", .prefixes = "gpt_neox", .layer = "layers", .left_out = ".attention.bias",
  .keys = "rope.dimension_count u rotary_pct*hidden_size/num_attention_heads|rope.partial_rotary_factor*hidden_size/num_attention_heads|"
            "0.25*hidden_size/num_attention_heads\n"
          "use_parallel_residual b use_parallel_residual|1\n",
  .tensors = "embed_in token_embd\n"
             "final_layer_norm output_norm\n"
             "embed_out output\n"
             ".input_layernorm .attn_norm\n"
             ".post_attention_layernorm .ffn_norm\n"
             ".attention.query_key_value .attn_qkv qkv:num_attention_heads,hidden_size/num_attention_heads\n"
             ".attention.dense .attn_output\n"
             ".mlp.dense_h_to_4h .ffn_up\n"
             ".mlp.dense_4h_to_h .ffn_down\n"};

static const struct arch arch_gptneox = {.name = "gptneox", .keys = gptneox_keys, .tensors = gptneox_tensors, .rope_neox = true,
                                         .centred = true, .forward = gptneox_forward, .hf = &gptneox_hf};
