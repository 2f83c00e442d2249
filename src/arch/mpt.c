/* arch/mpt.c -- MPT: layer norms without biases, scores that fall with the distance (ALiBi). (MosaicML, 2023) */
static const struct key_row mpt_own_keys[] = {
  KEY_MAY_FLOAT("attention.max_alibi_bias", alibi, 0, 1e3, 0),
  KEY_MAY_FLOAT("attention.clamp_kqv", clamp, 0, 1e6, 0),
  {0},
};
static const struct key_row *const mpt_keys[] = {keys_decoder, keys_layer_norm, mpt_own_keys, NULL};

static const struct tensor_row mpt_own_rows[] = {
  ROW_LOOKUP("position_embd.weight", MODEL(position_embd), DIM_CONTEXT, MAY),
  {0},
};
static const struct tensor_row *const mpt_tensors[] = {rows_model, rows_norm_biases, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_ffn,
                                                       mpt_own_rows, NULL};

static bool mpt_check(struct model *m, struct bk_error *e) {
  if (m->hp.clamp > 0) return err_set(e, ERR_DATA, "not supported: clamped queries, keys and values");
  return m->hp.alibi <= 0 || (m->hp.n_head & (m->hp.n_head - 1)) == 0 || // its slopes of other numbers are none of the paper's
         err_set(e, ERR_DATA, "not supported: ALiBi of %lld heads, expected a power of two", (long long)m->hp.n_head);
}

static void mpt_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_GELU_ERF); }

static const struct hf mpt_hf = {
  .classes = "MPTForCausalLM MptForCausalLM", .prefixes = "transformer", .layer = "blocks",
  .keys = "context_length u max_seq_len\n"
          "embedding_length u d_model\n"
          "feed_forward_length u expansion_ratio*d_model|4*d_model\n"
          "attention.head_count_kv u attn_config.kv_n_heads\n"
          "attention.layer_norm_epsilon f 0.00001\n"
          "attention.clamp_kqv f attn_config.clip_qkv\n"
          "attention.max_alibi_bias f attn_config.alibi=true*attn_config.alibi_bias_max|attn_config.alibi=true*8|0\n",
  .tensors = "wte token_embd\n"
             "wpe position_embd\n"
             "norm_f output_norm\n"
             "lm_head output\n"
             ".norm_1 .attn_norm\n"
             ".norm_2 .ffn_norm\n"
             ".attn.Wqkv .attn_qkv\n"
             ".attn.out_proj .attn_output\n"
             ".ffn.up_proj .ffn_up\n"
             ".ffn.down_proj .ffn_down\n"};

static const struct arch arch_mpt = {.name = "mpt", .keys = mpt_keys, .tensors = mpt_tensors, .centred = true, .check = mpt_check,
                                     .forward = mpt_forward, .hf = &mpt_hf};
