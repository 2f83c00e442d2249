/* arch/olmoe.c -- OLMoE: norms of whole q and k, experts in every layer, whose weights are not normalised.
 * (Muennighoff et al., 2024) */
static const struct key_row *const olmoe_keys[] = {keys_decoder, keys_rms, keys_rope, keys_experts, NULL};

static const struct tensor_row olmoe_own_rows[] = {
  ROW_VECTOR("blk.%d.attn_q_norm.weight", LAYER(q_norm.weight), DIM_Q, NEED),
  ROW_VECTOR("blk.%d.attn_k_norm.weight", LAYER(k_norm.weight), DIM_K, NEED),
  {0},
};
static const struct tensor_row *const olmoe_tensors[] = {rows_model, rows_attn_norm, rows_qkv, olmoe_own_rows, rows_ffn_norm, rows_experts,
                                                         NULL};

static bool olmoe_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.expert_gate = GATE_SOFTMAX;
  return true;
}

static void olmoe_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    int o = block_attention_wide(t, m, l, block_normed(m, x, l->attn_norm), block_heads(m, i, angles), false);
    block_add(t, m, TAPE_ROWS(o), &l->wo, x);
    block_feed_forward(t, m, i, ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf olmoe_hf = {
  .classes = "OlmoeForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "attention.layer_norm_rms_epsilon f 0.00001\n", .tensors = HF_EXPERTS};

static const struct arch arch_olmoe = {.name = "olmoe", .keys = olmoe_keys, .tensors = olmoe_tensors, .rope_neox = true,
                                       .check = olmoe_check, .forward = olmoe_forward, .hf = &olmoe_hf};
