/* arch/gemma3.c -- Gemma 3: embedding times sqrt(n_embd), norms of q and k, norms before and after both halves of a
 * layer, five layers with a short window and their own rope base to one that sees all. (Gemma 3 report, 2025) */
static const struct key_row gemma3_keys[] = {
  DECODER_KEYS,
  KEY_MAY_FLOAT("rope.freq_base", rope_base, 1, 1e12, 1e6),
  KEY_MAY_FLOAT("rope.freq_base_swa", rope_base_local, 1, 1e12, 10000),
  KEY_MAY_INT("attention.sliding_window", window, 0, 1 << 26, 0),
  KEY_MAY_INT("attention.sliding_window_pattern", window_pattern, 1, 1024, 6), // every sixth layer sees all
  KEY_MAY_FLOAT("final_logit_softcapping", softcap_logits, 0, 1e6, 0),
  KEY_MAY_FLOAT("attn_logit_softcapping", softcap_attention, 0, 1e6, 0),
  ROPE_SCALING_KEYS,
};

static const struct tensor_row gemma3_tensors[] = {
  {"token_embd.weight", TENSOR_LOOKUP, MODEL(token_embd), DIM_EMBD, DIM_VOCAB, false},
  {"output_norm.weight", TENSOR_VECTOR, MODEL(output_norm), DIM_EMBD, DIM_NONE, false},
  {"output.weight", TENSOR_MATRIX, MODEL(output), DIM_EMBD, DIM_VOCAB, true},
  {"blk.%d.attn_norm.weight", TENSOR_VECTOR, LAYER(attn_norm), DIM_EMBD, DIM_NONE, false},
  {"blk.%d.attn_q.weight", TENSOR_MATRIX, LAYER(wq), DIM_EMBD, DIM_Q, false},
  {"blk.%d.attn_k.weight", TENSOR_MATRIX, LAYER(wk), DIM_EMBD, DIM_K, false},
  {"blk.%d.attn_v.weight", TENSOR_MATRIX, LAYER(wv), DIM_EMBD, DIM_V, false},
  {"blk.%d.attn_q_norm.weight", TENSOR_VECTOR, LAYER(q_norm), DIM_HEAD, DIM_NONE, false},
  {"blk.%d.attn_k_norm.weight", TENSOR_VECTOR, LAYER(k_norm), DIM_HEAD, DIM_NONE, false},
  {"blk.%d.attn_output.weight", TENSOR_MATRIX, LAYER(wo), DIM_O, DIM_EMBD, false},
  {"blk.%d.post_attention_norm.weight", TENSOR_VECTOR, LAYER(attn_post_norm), DIM_EMBD, DIM_NONE, false},
  {"blk.%d.ffn_norm.weight", TENSOR_VECTOR, LAYER(ffn_norm), DIM_EMBD, DIM_NONE, false},
  {"blk.%d.ffn_gate.weight", TENSOR_MATRIX, LAYER(w_gate), DIM_EMBD, DIM_FF, false},
  {"blk.%d.ffn_up.weight", TENSOR_MATRIX, LAYER(w_up), DIM_EMBD, DIM_FF, false},
  {"blk.%d.ffn_down.weight", TENSOR_MATRIX, LAYER(w_down), DIM_FF, DIM_EMBD, false},
  {"blk.%d.post_ffw_norm.weight", TENSOR_VECTOR, LAYER(ffn_post_norm), DIM_EMBD, DIM_NONE, false},
};

static void gemma3_forward(struct tape *t, const struct model *m) {
  const struct hparams *hp = &m->hp;
  const float eps = (float)hp->eps;
  int x = tape_embed(t, &m->token_embd, kern_sqrt((float)hp->n_embd)), out[3];
  int angles[2] = {tape_angles(t, &m->rope), tape_angles(t, &m->rope_local)};
  for (int i = 0; i < (int)hp->n_layer; i++) {
    const struct layer *l = &m->layers[i];
    const bool local = model_layer_is_local(m, i);
    // q k v of the normed input
    const struct weight *qkv[] = {&l->wq, &l->wk, &l->wv};
    tape_matmul(t, TAPE_RMS_NORM(x, l->attn_norm, eps), 3, qkv, NULL, out);
    // attention; its output is normed before it is added to x
    struct tape_heads h = {.layer = i, .n_head = (int)hp->n_head, .n_head_kv = (int)hp->n_head_kv, .head_dim = (int)hp->head_dim,
                           .value_dim = (int)hp->value_dim, .window = local ? (int)hp->window : 0, .q_norm = l->q_norm,
                           .k_norm = l->k_norm, .eps = eps, .rope = local ? &m->rope_local : &m->rope, .angles = angles[local],
                           .scale = 1.0f / kern_sqrt((float)hp->head_dim), .softcap = (float)hp->softcap_attention};
    int o = tape_attention(t, &h, out[0], out[1], out[2]);
    const struct weight *wo[] = {&l->wo}, *w_down[] = {&l->w_down};
    tape_matmul(t, TAPE_ROWS(o), 1, wo, NULL, out);
    tape_norm_add(t, out[0], l->attn_post_norm, eps, x);
    // gated feed-forward, normed, back into x
    const struct weight *gate_up[] = {&l->w_gate, &l->w_up};
    tape_matmul(t, TAPE_RMS_NORM(x, l->ffn_norm, eps), 2, gate_up, NULL, out);
    tape_matmul(t, TAPE_GLU(out[0], out[1], ACT_GELU_TANH), 1, w_down, NULL, out);
    tape_norm_add(t, out[0], l->ffn_post_norm, eps, x);
  }
  // logits of the rows that want them
  const struct weight *head = m->output.quant ? &m->output : &m->token_embd;
  x = tape_head(t, x);
  tape_matmul(t, TAPE_RMS_NORM(x, m->output_norm, eps), 1, &head, NULL, out);
  if (hp->softcap_logits > 0) tape_softcap(t, out[0], (float)hp->softcap_logits);
  tape_result(t, out[0]);
}

static const struct hf gemma3_hf = {
  "Gemma3ForCausalLM Gemma3ForConditionalGeneration", "model", "layers",
  "context_length u max_position_embeddings|131072\n"
  "attention.head_count u num_attention_heads|8\n"
  "attention.head_count_kv u num_key_value_heads|4\n"
  "attention.layer_norm_rms_epsilon f rms_norm_eps|0.000001\n"
  "attention.key_length u head_dim|256\n"
  "attention.value_length u head_dim|256\n"
  "rope.freq_base f rope.rope_theta|rope_theta|1000000\n"
  "rope.freq_base_swa f rope_parameters.sliding_attention.rope_theta|rope_local_base_freq|10000\n"
  "final_logit_softcapping f final_logit_softcapping\n"
  "attention.sliding_window u sliding_window|4096\n",
  "norm output_norm plus:1\n"
  ".input_layernorm .attn_norm plus:1\n"
  ".self_attn.q_norm .attn_q_norm plus:1\n"
  ".self_attn.k_norm .attn_k_norm plus:1\n"
  ".post_attention_layernorm .post_attention_norm plus:1\n"
  ".pre_feedforward_layernorm .ffn_norm plus:1\n"
  ".post_feedforward_layernorm .post_ffw_norm plus:1\n",
  hf_decoder, "lm_head.weight"};

static const struct arch arch_gemma3 = {"gemma3", gemma3_keys, ARRAY_LEN(gemma3_keys), gemma3_tensors, ARRAY_LEN(gemma3_tensors), true,
                                        NULL, gemma3_forward, &gemma3_hf};
