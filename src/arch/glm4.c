/* arch/glm4.c -- GLM 4 (0414): norms before and after both halves of a layer, half of each head rotated as pairs, biases of q, k
 * and v. (GLM team, 2025) */
static const struct key_row *const glm4_keys[] = {keys_decoder, keys_rms, keys_rope, NULL};

static const struct tensor_row *const glm4_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_sandwich, rows_ffn_norm,
                                                        rows_fused_gate, NULL};

static void glm4_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct tape_heads h = block_heads(m, i, angles);
    block_sandwich(t, m, i, &h, ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf glm4_hf = {
  .classes = "Glm4ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "rope.dimension_count u rope.partial_rotary_factor*head_dim|partial_rotary_factor*head_dim|0.5*head_dim|"
            "0.5*hidden_size/num_attention_heads\n",
  .tensors = ".post_self_attn_layernorm .post_attention_norm\n"
             ".post_mlp_layernorm .post_ffw_norm\n"
             ".mlp.gate_up_proj .ffn_up\n"};

static const struct arch arch_glm4 = {.name = "glm4", .keys = glm4_keys, .tensors = glm4_tensors, .forward = glm4_forward, .hf = &glm4_hf};
