/* arch/llama.c -- LLaMA and the many models of its shape (Mistral, Mixtral, SmolLM, Yi, ...): RMS norm before attention and
 * before a gated feed-forward or a mixture of them, rotated pairs, shared key/value heads. (Touvron et al., 2023) */
static const struct key_row *const llama_keys[] = {keys_decoder, keys_rms, keys_rope, keys_window, keys_experts, NULL};

static const struct tensor_row *const llama_tensors[] = {rows_model, rows_rope, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate,
                                                         rows_ffn, rows_experts, NULL};

static bool llama_check(struct model *m, struct bk_error *e) {
  (void)e;
  m->hp.expert_gate = GATE_SOFTMAX;
  m->hp.expert_normalised = true;
  return true;
}

static void llama_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

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

static const struct arch arch_llama = {.name = "llama", .keys = llama_keys, .tensors = llama_tensors, .check = llama_check,
                                       .forward = llama_forward, .hf = &llama_hf};
