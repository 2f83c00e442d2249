/* arch/deepseek2.c -- DeepSeek V2, V3 and R1: keys and values compressed to one latent vector of a token (MLA), experts
 * that all tokens share beside those chosen, by groups and with a bias in V3. Files hold the matrix that expands the
 * latent in one (kv_b), or for every head (k_b, v_b): then attention works on the latent itself. (DeepSeek-V2, 2024) */
static const struct key_row deepseek2_own_keys[] = {
  KEY_MAY_INT("attention.q_lora_rank", q_rank, 0, 1 << 16, 0),
  KEY_NEED_INT("attention.kv_lora_rank", kv_rank, 1, 1 << 16),
  KEY_MAY_INT("attention.key_length_mla", head_dim_full, 1, 1024, 0),
  KEY_MAY_INT("attention.value_length_mla", value_dim_full, 1, 1024, 0),
  KEY_MAY_INT("expert_gating_func", expert_gate, 0, 2, 0),
  KEY_MAY_BOOL("expert_weights_norm", expert_normalised, false),
  KEY_MAY_INT("expert_group_count", n_expert_group, 0, 256, 0),
  KEY_MAY_INT("expert_group_used_count", n_expert_group_used, 0, 256, 0),
  KEY_MAY_FLOAT("rope.scaling.yarn_log_multiplier", yarn_log_multiplier, 0, 10, 0),
  {0},
};
static const struct key_row *const deepseek2_keys[] = {keys_decoder, keys_rms, keys_rope, keys_experts, deepseek2_own_keys, NULL};

static const struct tensor_row deepseek2_own_rows[] = {
  ROW_MATRIX("blk.%d.attn_q_a.weight", LAYER(q_a), DIM_EMBD, DIM_Q_RANK, MAY),
  ROW_VECTOR("blk.%d.attn_q_a_norm.weight", LAYER(q_a_norm.weight), DIM_Q_RANK, MAY),
  ROW_UNLESS("blk.%d.attn_q.weight", LAYER(wq), DIM_EMBD, DIM_Q_FULL, LAYER(q_a)),
  ROW_UNLESS("blk.%d.attn_q_b.weight", LAYER(q_b), DIM_Q_RANK, DIM_Q_FULL, LAYER(wq)),
  ROW_PART("blk.%d.attn_kv_a_mqa.weight", LAYER(kv_a), DIM_EMBD, DIM_KV_RANK, DIM_NONE, DIM_KV_A, NEED),
  ROW_PART("blk.%d.attn_kv_a_mqa.weight", LAYER(k_rope), DIM_EMBD, DIM_ROT, DIM_KV_RANK, DIM_KV_A, NEED),
  ROW_VECTOR("blk.%d.attn_kv_a_norm.weight", LAYER(kv_a_norm.weight), DIM_KV_RANK, NEED),
  ROW_MATRIX("blk.%d.attn_kv_b.weight", LAYER(kv_b), DIM_KV_RANK, DIM_KV_B, MAY),
  ROW_HEADS("blk.%d.attn_k_b.weight", LAYER(k_b), DIM_NOPE, DIM_KV_RANK, LAYER(kv_b)),
  ROW_HEADS("blk.%d.attn_v_b.weight", LAYER(v_b), DIM_KV_RANK, DIM_V_FULL, LAYER(kv_b)),
  ROW_MATRIX("blk.%d.attn_output.weight", LAYER(wo), DIM_O_FULL, DIM_EMBD, NEED),
  {0},
};
static const struct tensor_row *const deepseek2_tensors[] = {rows_model, rows_attn_norm, deepseek2_own_rows, rows_ffn_norm, rows_gate,
                                                             rows_ffn, rows_experts, rows_shared_experts, NULL};

/* YaRN's magnitude goes into the scores, squared, instead of into the rotation. */
static bool deepseek2_check(struct model *m, struct bk_error *e) {
  struct hparams *hp = &m->hp;
  const double growth = 0.1 * kern_log(hp->rope_factor > 1 ? hp->rope_factor : 1), scores = 1 + growth * hp->yarn_log_multiplier / 0.1;
  if (hp->head_dim_full == 0) hp->head_dim_full = hp->head_dim;
  if (hp->value_dim_full == 0) hp->value_dim_full = hp->value_dim;
  if (hp->head_dim_full <= hp->n_rot)
    return err_set(e, ERR_DATA, "rope over %lld of a head's %lld dimensions, expected fewer", (long long)hp->n_rot,
                   (long long)hp->head_dim_full);
  if (hp->kv_rank + hp->n_rot > KV_MOST_DIM)
    return err_set(e, ERR_DATA, "a latent of %lld, expected at most %d", (long long)(hp->kv_rank + hp->n_rot), KV_MOST_DIM);
  if (hp->expert_gate == GATE_ALL) hp->expert_gate = GATE_SOFTMAX;
  if (hp->yarn_log_multiplier > 0) hp->yarn_attention /= 1 + growth;
  hp->attention_scale = scores * scores / (double)kern_sqrt((float)hp->head_dim_full);
  return true;
}

/* Attention over what the latent expands to: keys (n_head, n_rot + nope), rotated part first, and values (n_head, value). */
static int deepseek2_expanded(struct tape *t, const struct model *m, const struct layer *l, struct tape_heads h, int q, int latent,
                              int k_rope) {
  const int full = (int)m->hp.head_dim_full, n_rot = (int)m->hp.n_rot, nope = full - n_rot, value = (int)m->hp.value_dim_full;
  const int kv = tape_product(t, TAPE_ROWS(latent), &l->kv_b);
  q = tape_join(t, h.n_head, q, (struct tape_piece){nope, full, n_rot}, q, (struct tape_piece){0, full, nope});
  int k = tape_join(t, h.n_head, k_rope, (struct tape_piece){0, 0, n_rot}, kv, (struct tape_piece){0, nope + value, nope});
  int v = tape_join(t, h.n_head, kv, (struct tape_piece){nope, nope + value, value}, VALUE_NONE, (struct tape_piece){0});
  h.n_head_kv = h.n_head, h.head_dim = full, h.value_dim = value;
  return tape_attention(t, &h, q, k, v);
}

/* Attention on the latent, one key and value for all heads: q goes through k_b before, what is found through v_b behind. */
static int deepseek2_latent(struct tape *t, const struct model *m, const struct layer *l, struct tape_heads h, int q, int latent,
                            int k_rope) {
  const int full = (int)m->hp.head_dim_full, n_rot = (int)m->hp.n_rot, rank = (int)m->hp.kv_rank, value = (int)m->hp.value_dim_full;
  int absorbed = tape_each_head(t, &m->heads, q, (struct tape_piece){0, full, full - n_rot}, &l->k_b);
  q = tape_join(t, h.n_head, q, (struct tape_piece){full - n_rot, full, n_rot}, absorbed, (struct tape_piece){0, 0, rank});
  int k = tape_join(t, 1, k_rope, (struct tape_piece){0, 0, n_rot}, latent, (struct tape_piece){0, 0, rank});
  h.n_head_kv = 1, h.head_dim = n_rot + rank, h.value_dim = rank;
  int o = tape_each_head(t, &m->heads, tape_attention(t, &h, q, k, latent), (struct tape_piece){0, rank, rank}, &l->v_b);
  return tape_join(t, h.n_head, o, (struct tape_piece){0, 0, value}, VALUE_NONE, (struct tape_piece){0});
}

static void deepseek2_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope), out[3];
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const struct weight *down[] = {l->q_a.quant ? &l->q_a : &l->wq, &l->kv_a, &l->k_rope};
    const struct tape_heads h = block_heads(m, i, angles);
    tape_matmul(t, block_normed(m, x, l->attn_norm), 3, down, out);
    int q = l->q_a.quant ? tape_product(t, block_normed(m, out[0], l->q_a_norm), &l->q_b) : out[0];
    int latent = tape_normed(t, out[1], block_norm(m, l->kv_a_norm));
    int o = (l->kv_b.quant ? deepseek2_expanded : deepseek2_latent)(t, m, l, h, q, latent, out[2]);
    block_add(t, m, TAPE_ROWS(o), &l->wo, x);
    block_feed_forward(t, m, i, ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf deepseek2_hf = {
  .classes = "DeepseekV2ForCausalLM DeepseekV3ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "attention.head_count_kv u 1\n" // latent attention: all heads share what is kept of a token
          "attention.layer_norm_rms_epsilon f rms_norm_eps|0.000001\n"
          "leading_dense_block_count u first_k_dense_replace|0\n"
          "vocab_size u vocab_size\n"
          "attention.q_lora_rank u q_lora_rank\n"
          "attention.kv_lora_rank u kv_lora_rank|512\n"
          "attention.key_length u kv_lora_rank+qk_rope_head_dim\n"
          "attention.value_length u kv_lora_rank\n"
          "attention.key_length_mla u qk_nope_head_dim+qk_rope_head_dim\n"
          "attention.value_length_mla u v_head_dim\n"
          "expert_feed_forward_length u moe_intermediate_size|intermediate_size\n"
          "expert_shared_count u n_shared_experts|0\n"
          "expert_weights_scale f routed_scaling_factor\n"
          "expert_weights_norm b norm_topk_prob=true\n"
          "expert_gating_func u scoring_func=softmax*1|scoring_func=sigmoid*2|class=DeepseekV3ForCausalLM*2\n"
          "rope.dimension_count u qk_rope_head_dim\n"
          "rope.scaling.yarn_log_multiplier f 0.1*rope.mscale_all_dim\n",
  .tensors = HF_EXPERTS HF_SHARED_EXPERTS
             ".mlp.gate.e_score_correction_bias .exp_probs_b.bias\n"
             ".self_attn.q_a_proj .attn_q_a\n"
             ".self_attn.q_a_layernorm .attn_q_a_norm\n"
             ".self_attn.q_b_proj .attn_q_b\n"
             ".self_attn.kv_a_proj_with_mqa .attn_kv_a_mqa\n"
             ".self_attn.kv_a_layernorm .attn_kv_a_norm\n"
             ".self_attn.kv_b_proj .attn_k_b turn:num_attention_heads,0,qk_nope_head_dim\n"
             ".self_attn.kv_b_proj .attn_v_b part:num_attention_heads,qk_nope_head_dim,v_head_dim\n"};

static const struct arch arch_deepseek2 = {.name = "deepseek2", .keys = deepseek2_keys, .tensors = deepseek2_tensors,
                                           .check = deepseek2_check, .forward = deepseek2_forward, .hf = &deepseek2_hf};
