/* arch/stablelm.c -- StableLM: the shape of LLaMA with layer norms and a quarter of a head rotated; the 12B norms the q and k
 * of every head and has attention and feed-forward side by side. (Stability AI, 2024) */
static const struct key_row *const stablelm_keys[] = {keys_decoder, keys_layer_norm, keys_rope, NULL};

static const struct tensor_row stablelm_own_rows[] = {
  ROW_VECTOR("blk.%d.ffn_norm.weight", LAYER(ffn_norm.weight), DIM_EMBD, MAY),
  ROW_VECTORS("blk.%d.attn_q_norm.weight", LAYER(q_norm.weight), DIM_HEAD, DIM_HEADS, MAY),
  ROW_VECTORS("blk.%d.attn_k_norm.weight", LAYER(k_norm.weight), DIM_HEAD, DIM_HEADS_KV, MAY),
  {0},
};
static const struct tensor_row *const stablelm_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_gate,
                                                            rows_ffn, stablelm_own_rows, NULL};

static void stablelm_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    const struct tape_in in = block_normed(m, x, l->attn_norm);
    int o = block_attention_wide(t, m, l, in, h, true);
    if (!l->ffn_norm.weight) {
      block_parallel(t, m, l, in, o, ACT_SILU, x);
      continue;
    }
    block_add(t, m, TAPE_ROWS(o), &l->wo, x);
    block_feed_forward(t, m, i, ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf stablelm_hf = {
  .classes = "StableLmForCausalLM StableLMEpochForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "rope.dimension_count u rope.partial_rotary_factor*hidden_size/num_attention_heads|"
            "partial_rotary_factor*hidden_size/num_attention_heads|rope_pct*hidden_size/num_attention_heads|"
            "0.25*hidden_size/num_attention_heads\n"
          "use_parallel_residual b use_parallel_residual|1\n"
          "attention.layer_norm_epsilon f layer_norm_eps|norm_eps\n"
          "attention.layer_norm_rms_epsilon f \n",
  .tensors = ".self_attn.q_layernorm.norms.% .attn_q_norm\n"
             ".self_attn.k_layernorm.norms.% .attn_k_norm\n"};

static const struct arch arch_stablelm = {.name = "stablelm", .keys = stablelm_keys, .tensors = stablelm_tensors, .rope_neox = true,
                                          .centred = true, .forward = stablelm_forward, .hf = &stablelm_hf};
