/* arch/gte.c -- GTE, NewModel (gte v1.5 and multilingual): BERT with rotated positions and a gated feed-forward, q, k and v in
 * one matrix. (Zhang et al.: mGTE, 2024) No other program writes such files: keys and tensors are named as those of BERT. */
static const struct key_row *const gte_keys[] = {keys_decoder, keys_layer_norm, keys_rope, NULL};

static const struct tensor_row *const gte_tensors[] = {rows_encoder, rows_qkv, rows_gate, rows_ffn, rows_post_norm, NULL};

static void gte_forward(struct tape *t, const struct model *m) { block_encoder(t, m, ACT_GELU_ERF); }

static const struct hf gte_hf = {
  .classes = "NewModel NewForMaskedLM NewForSequenceClassification GteModel GteForMaskedLM GteForSequenceClassification",
  .prefixes = "new gte", .layer = "encoder.layer", .left_out = "lm_head.",
  .keys = HF_ENCODER_KEYS,
  .tensors = HF_ENCODER
    "pooler.dense cls if:class=NewForSequenceClassification|class=GteForSequenceClassification\n"
    "classifier cls.output\n"
    ".attention.qkv_proj .attn_qkv\n"
    ".attention.q_proj .attn_q\n"
    ".attention.k_proj .attn_k\n"
    ".attention.v_proj .attn_v\n"
    ".attention.o_proj .attn_output\n"
    ".attn_ln .attn_output_norm\n"
    ".mlp.up_gate_proj .ffn_up part:1,0,intermediate_size\n"
    ".mlp.up_gate_proj .ffn_gate part:1,intermediate_size\n"
    ".mlp.down_proj .ffn_down\n"
    ".mlp_ln .layer_output_norm\n"};

static const struct arch arch_gte = {.name = "gte", .keys = gte_keys, .tensors = gte_tensors, .rope_neox = true, .centred = true,
                                     .forward = gte_forward, .hf = &gte_hf};
