/* arch/starcoder.c -- StarCoder, SantaCoder: GPT-2 whose heads share one key and value. (Li et al., 2023) */
static const struct key_row *const starcoder_keys[] = {keys_decoder, keys_layer_norm, NULL};

static const struct tensor_row starcoder_own_rows[] = {
  ROW_LOOKUP("position_embd.weight", MODEL(position_embd), DIM_CONTEXT, NEED),
  {0},
};
static const struct tensor_row *const starcoder_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn_norm,
                                                             rows_ffn, starcoder_own_rows, NULL};

static void starcoder_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_GELU_TANH); }

static const struct hf starcoder_hf = {
  .classes = "GPTBigCodeForCausalLM", .prefixes = "transformer", .layer = "h",
  .keys = "context_length u n_positions\n"
          "feed_forward_length u n_inner|4*n_embd\n"
          "attention.head_count_kv u 1\n",
  .tensors = "wte token_embd\n"
             "wpe position_embd\n"
             "ln_f output_norm\n"
             "lm_head output\n"
             ".ln_1 .attn_norm\n"
             ".ln_2 .ffn_norm\n"
             ".attn.c_attn .attn_qkv if:multi_query=true\n" // else it is laid out otherwise, and missing
             ".attn.c_proj .attn_output\n"
             ".mlp.c_fc .ffn_up\n"
             ".mlp.c_proj .ffn_down\n"};

static const struct arch arch_starcoder = {.name = "starcoder", .keys = starcoder_keys, .tensors = starcoder_tensors, .centred = true,
                                           .forward = starcoder_forward, .hf = &starcoder_hf};
