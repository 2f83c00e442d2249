/* arch/exaone.c -- EXAONE 3: LLaMA whose heads are rotated by halves. (LG AI Research, 2024) */
static void exaone_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct key_row *const exaone_keys[] = {keys_decoder, keys_rms, keys_rope, NULL};

static const struct tensor_row *const exaone_tensors[] = {rows_model, rows_rope, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate,
                                                          rows_ffn, NULL};

static const struct hf exaone_hf = {
  .classes = "ExaoneForCausalLM", .prefixes = "transformer", .layer = "h",
  .keys = "attention.layer_norm_rms_epsilon f layer_norm_epsilon\n"
          "rope.dimension_count u head_dim|hidden_size/num_attention_heads\n",
  .tensors = "wte token_embd\n"
             "ln_f output_norm\n"
             "lm_head output\n"
             ".ln_1 .attn_norm\n"
             ".ln_2 .ffn_norm\n"
             ".attn.attention.q_proj .attn_q\n"
             ".attn.attention.k_proj .attn_k\n"
             ".attn.attention.v_proj .attn_v\n"
             ".attn.attention.out_proj .attn_output\n"
             ".mlp.c_fc_0 .ffn_gate\n"
             ".mlp.c_fc_1 .ffn_up\n"
             ".mlp.c_proj .ffn_down\n"};

static const struct arch arch_exaone = {.name = "exaone", .keys = exaone_keys, .tensors = exaone_tensors, .rope_neox = true,
                                        .forward = exaone_forward, .hf = &exaone_hf};
