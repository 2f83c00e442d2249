/* arch/starcoder2.c -- StarCoder 2: layer norms, biases, a feed-forward without a gate. (Lozhkov et al., 2024) */
static const struct key_row *const starcoder2_keys[] = {keys_decoder, keys_layer_norm, keys_rope, keys_window, NULL};

static const struct tensor_row *const starcoder2_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn_norm,
                                                              rows_ffn, NULL};

static void starcoder2_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_GELU_TANH); }

static const struct hf starcoder2_hf = {
  .classes = "Starcoder2ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "attention.sliding_window u sliding_window\n",
  .tensors = ".mlp.c_fc .ffn_up\n"
             ".mlp.c_proj .ffn_down\n"};

static const struct arch arch_starcoder2 = {.name = "starcoder2", .keys = starcoder2_keys, .tensors = starcoder2_tensors,
                                            .rope_neox = true, .centred = true, .forward = starcoder2_forward, .hf = &starcoder2_hf};
