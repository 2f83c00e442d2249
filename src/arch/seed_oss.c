/* arch/seed_oss.c -- Seed-OSS: the shape of LLaMA, with biases of q, k and v. (ByteDance, 2025) */
static const struct tensor_row seed_oss_own_rows[] = {
  ROW_VECTOR("blk.%d.post_attention_norm.weight", LAYER(ffn_norm.weight), DIM_EMBD, NEED), // it stands before the feed-forward
  {0},
};
static const struct tensor_row *const seed_oss_tensors[] = {rows_model, rows_attn_norm, rows_qkv, seed_oss_own_rows, rows_gate, rows_ffn,
                                                            NULL};

static void seed_oss_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf seed_oss_hf = {
  .classes = "SeedOssForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "", .tensors = ".post_attention_layernorm .post_attention_norm\n"};

static const struct arch arch_seed_oss = {.name = "seed_oss", .keys = qwen2_keys, .tensors = seed_oss_tensors, .rope_neox = true,
                                          .forward = seed_oss_forward, .hf = &seed_oss_hf};
