/* arch/llama.c -- LLaMA and the many models of its shape: RMS norm before attention and before a gated feed-forward,
 * rotated pairs, shared key/value heads, output tied to the embedding or not. (Touvron et al., 2023) */
static const struct key_row llama_keys[] = {
  DECODER_KEYS,
  KEY_MAY_FLOAT("rope.freq_base", rope_base, 1, 1e12, 10000),
  KEY_MAY_INT("expert_count", n_expert, 0, 0, 0), // mixtures of experts are not supported
  ROPE_SCALING_KEYS,
};

static const struct tensor_row llama_tensors[] = {
  {"token_embd.weight", TENSOR_LOOKUP, MODEL(token_embd), DIM_EMBD, DIM_VOCAB, false},
  {"output_norm.weight", TENSOR_VECTOR, MODEL(output_norm), DIM_EMBD, DIM_NONE, false},
  {"output.weight", TENSOR_MATRIX, MODEL(output), DIM_EMBD, DIM_VOCAB, true},
  {"rope_freqs.weight", TENSOR_VECTOR, MODEL(rope_factors), DIM_ROT_PAIRS, DIM_NONE, true},
  {"blk.%d.attn_norm.weight", TENSOR_VECTOR, LAYER(attn_norm), DIM_EMBD, DIM_NONE, false},
  {"blk.%d.attn_q.weight", TENSOR_MATRIX, LAYER(wq), DIM_EMBD, DIM_Q, false},
  {"blk.%d.attn_k.weight", TENSOR_MATRIX, LAYER(wk), DIM_EMBD, DIM_K, false},
  {"blk.%d.attn_v.weight", TENSOR_MATRIX, LAYER(wv), DIM_EMBD, DIM_V, false},
  {"blk.%d.attn_q.bias", TENSOR_VECTOR, LAYER(bq), DIM_Q, DIM_NONE, true},
  {"blk.%d.attn_k.bias", TENSOR_VECTOR, LAYER(bk), DIM_K, DIM_NONE, true},
  {"blk.%d.attn_v.bias", TENSOR_VECTOR, LAYER(bv), DIM_V, DIM_NONE, true},
  {"blk.%d.attn_output.weight", TENSOR_MATRIX, LAYER(wo), DIM_O, DIM_EMBD, false},
  {"blk.%d.attn_output.bias", TENSOR_VECTOR, LAYER(bo), DIM_EMBD, DIM_NONE, true},
  {"blk.%d.ffn_norm.weight", TENSOR_VECTOR, LAYER(ffn_norm), DIM_EMBD, DIM_NONE, false},
  {"blk.%d.ffn_gate.weight", TENSOR_MATRIX, LAYER(w_gate), DIM_EMBD, DIM_FF, false},
  {"blk.%d.ffn_up.weight", TENSOR_MATRIX, LAYER(w_up), DIM_EMBD, DIM_FF, false},
  {"blk.%d.ffn_down.weight", TENSOR_MATRIX, LAYER(w_down), DIM_FF, DIM_EMBD, false},
};

static void llama_forward(struct tape *t, const struct model *m) {
  const struct hparams *hp = &m->hp;
  const float eps = (float)hp->eps;
  int x = tape_embed(t, &m->token_embd, 1.0f), angles = tape_angles(t, &m->rope), out[3];
  for (int i = 0; i < (int)hp->n_layer; i++) {
    const struct layer *l = &m->layers[i];
    // q k v of the normed input
    const struct weight *qkv[] = {&l->wq, &l->wk, &l->wv};
    const float *bias[] = {l->bq, l->bk, l->bv};
    tape_matmul(t, TAPE_RMS_NORM(x, l->attn_norm, eps), 3, qkv, bias, out);
    // attention, back into x
    struct tape_heads h = {.layer = i, .n_head = (int)hp->n_head, .n_head_kv = (int)hp->n_head_kv, .head_dim = (int)hp->head_dim,
                           .value_dim = (int)hp->value_dim, .rope = &m->rope, .angles = angles,
                           .scale = 1.0f / kern_sqrt((float)hp->head_dim)};
    int o = tape_attention(t, &h, out[0], out[1], out[2]);
    tape_matmul_add(t, TAPE_ROWS(o), &l->wo, l->bo, x);
    // gated feed-forward, back into x
    const struct weight *gate_up[] = {&l->w_gate, &l->w_up};
    tape_matmul(t, TAPE_RMS_NORM(x, l->ffn_norm, eps), 2, gate_up, NULL, out);
    tape_matmul_add(t, TAPE_GLU(out[0], out[1], ACT_SILU), &l->w_down, NULL, x);
  }
  // logits of the rows that want them
  const struct weight *head = m->output.quant ? &m->output : &m->token_embd;
  x = tape_head(t, x);
  tape_matmul(t, TAPE_RMS_NORM(x, m->output_norm, eps), 1, &head, NULL, out);
  tape_result(t, out[0]);
}

static const struct hf llama_hf = {
  "LlamaForCausalLM LLaMAForCausalLM LlamaModel MistralForCausalLM MistralModel MixtralForCausalLM IQuestCoderForCausalLM", "model", "layers",
  "vocab_size u vocab_size\n"
  "rope.dimension_count u head_dim|hidden_size/num_attention_heads\n"
  "attention.head_count_kv u num_key_value_heads|num_attention_heads\n",
  ".self_attn.q_proj .attn_q rope:num_attention_heads\n"
  ".self_attn.k_proj .attn_k rope:num_key_value_heads|num_attention_heads\n"
  ".block_sparse_moe.gate .ffn_gate_inp\n"
  ".block_sparse_moe.experts.%.w1 .ffn_gate_exps\n"
  ".block_sparse_moe.experts.%.w2 .ffn_down_exps\n"
  ".block_sparse_moe.experts.%.w3 .ffn_up_exps\n",
  hf_decoder, NULL};

static const struct arch arch_llama = {"llama", llama_keys, ARRAY_LEN(llama_keys), llama_tensors, ARRAY_LEN(llama_tensors), false,
                                       NULL, llama_forward, &llama_hf};
