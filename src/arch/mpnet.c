/* arch/mpnet.c -- MPNet: BERT without token types, whose scores gain by the distance of a key: 32 buckets of distances, one
 * table for all layers (attn_rel_b.weight, (n_buckets, n_head)) beside learned positions. (Song et al., 2020)
 * No other program writes such files; keys and tensors are named as those of BERT and of T5's biases. */
static const struct key_row mpnet_own_keys[] = {
  KEY_MAY_INT("attention.relative_buckets_count", n_buckets, 4, 256, 32),
  {0},
};
static const struct key_row *const mpnet_keys[] = {keys_decoder, keys_layer_norm, mpnet_own_keys, NULL};

static const struct tensor_row mpnet_own_rows[] = {
  ROW_VECTORS("attn_rel_b.weight", MODEL(bucket_bias), DIM_HEADS, DIM_BUCKETS, NEED),
  {0},
};
static const struct tensor_row *const mpnet_tensors[] = {rows_encoder, rows_qkv, rows_ffn, rows_post_norm, bert_own_rows,
                                                         mpnet_own_rows, NULL};

static void mpnet_forward(struct tape *t, const struct model *m) { block_encoder(t, m, ACT_GELU_ERF); }

static const struct hf mpnet_hf = {
  .classes = "MPNetModel MPNetForMaskedLM MPNetForSequenceClassification", .prefixes = "mpnet", .layer = "encoder.layer",
  .left_out = "pooler. lm_head.",
  .keys = HF_ENCODER_KEYS
    "context_length u max_position_embeddings-pad_token_id-1|max_position_embeddings-2\n"
    "attention.layer_norm_epsilon f layer_norm_eps|0.000000000001\n"
    "attention.relative_buckets_count u relative_attention_num_buckets\n",
  .tensors = HF_ENCODER
    "embeddings.position_embeddings position_embd part:1,pad_token_id+1|2\n"
    "encoder.relative_attention_bias attn_rel_b\n"
    "classifier.dense cls\n"
    "classifier.out_proj cls.output\n"
    ".attention.attn.q .attn_q\n"
    ".attention.attn.k .attn_k\n"
    ".attention.attn.v .attn_v\n"
    ".attention.attn.o .attn_output\n"
    ".attention.LayerNorm .attn_output_norm\n"
    ".intermediate.dense .ffn_up\n"
    ".output.dense .ffn_down\n"
    ".output.LayerNorm .layer_output_norm\n"};

static const struct arch arch_mpnet = {.name = "mpnet", .keys = mpnet_keys, .tensors = mpnet_tensors, .centred = true,
                                       .forward = mpnet_forward, .hf = &mpnet_hf};
