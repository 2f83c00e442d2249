/* arch/gpt2.c -- GPT-2: learned positions, layer norms, biases. (Radford et al., 2019) */
static const struct key_row *const gpt2_keys[] = {keys_decoder, keys_layer_norm, NULL};

static const struct tensor_row gpt2_own_rows[] = {
  ROW_LOOKUP("position_embd.weight", MODEL(position_embd), DIM_CONTEXT, NEED),
  {0},
};
static const struct tensor_row *const gpt2_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn_norm,
                                                        rows_ffn, gpt2_own_rows, NULL};

static void gpt2_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_GELU_TANH); }

static const struct hf gpt2_hf = {
  .classes = "GPT2LMHeadModel GPT2Model", .prefixes = "transformer", .layer = "h",
  .keys = "context_length u n_ctx|n_positions\n"
          "feed_forward_length u n_inner|4*n_embd\n",
  .tensors = "wte token_embd\n"
             "wpe position_embd\n"
             "ln_f output_norm\n"
             "lm_head output\n"
             ".ln_1 .attn_norm\n"
             ".ln_2 .ffn_norm\n"
             ".attn.c_attn .attn_qkv turn\n"
             ".attn.c_proj .attn_output turn\n"
             ".mlp.c_fc .ffn_up turn\n"
             ".mlp.c_proj .ffn_down turn\n"};

static const struct arch arch_gpt2 = {.name = "gpt2", .keys = gpt2_keys, .tensors = gpt2_tensors, .centred = true,
                                      .forward = gpt2_forward, .hf = &gpt2_hf};
