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
  .classes = "LlamaForCausalLM LLaMAForCausalLM LlamaModel MistralForCausalLM MistralModel MixtralForCausalLM IQuestCoderForCausalLM",
  .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = HF_ROTATED_PAIRS_KEYS
    "attention.head_count_kv u num_key_value_heads|num_attention_heads\n"
    "attention.sliding_window u model_type=mistral*sliding_window|model_type=mixtral*sliding_window\n",
  .tensors = HF_ROTATED_PAIRS
    ".block_sparse_moe.gate .ffn_gate_inp\n"
    ".block_sparse_moe.experts.%.w1 .ffn_gate_exps\n"
    ".block_sparse_moe.experts.%.w2 .ffn_down_exps\n"
    ".block_sparse_moe.experts.%.w3 .ffn_up_exps\n"};

static const struct arch arch_llama = {.name = "llama", .keys = llama_keys, .tensors = llama_tensors, .check = llama_check,
                                       .forward = llama_forward, .hf = &llama_hf};
