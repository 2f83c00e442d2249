/* arch/phi2.c -- Phi 1 to 2: attention and feed-forward side by side behind one layer norm, biases everywhere, part of a
 * head rotated. (Microsoft: Phi-2, 2023) */
static const struct key_row *const phi2_keys[] = {keys_decoder, keys_layer_norm, keys_rope, NULL};

static const struct tensor_row *const phi2_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn, NULL};

static void phi2_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct tape_heads h = block_heads(m, i, angles);
    const struct tape_in in = block_normed(m, x, l->attn_norm);
    block_parallel(t, m, l, in, block_attention(t, l, in, &h), ACT_GELU_TANH, x);
  }
  block_head(t, m, x);
}

static const struct hf phi2_hf = {
  .classes = "PhiForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "feed_forward_length u intermediate_size|4*hidden_size\n"
          "attention.head_count_kv u num_key_value_heads|num_attention_heads\n"
          "rope.dimension_count u rope.partial_rotary_factor*hidden_size/num_attention_heads|"
            "partial_rotary_factor*hidden_size/num_attention_heads|hidden_size/num_attention_heads/2\n",
  .tensors = "final_layernorm output_norm\n"
             ".self_attn.dense .attn_output\n"
             ".mlp.fc1 .ffn_up\n"
             ".mlp.fc2 .ffn_down\n"};

static const struct arch arch_phi2 = {.name = "phi2", .keys = phi2_keys, .tensors = phi2_tensors, .rope_neox = true, .centred = true,
                                      .forward = phi2_forward, .hf = &phi2_hf};
