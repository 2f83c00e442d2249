/* arch/nomic_bert.c -- Nomic BERT: BERT with rotated positions and a gated feed-forward. (Nussbaum et al., 2024) */
static const struct key_row *const nomic_bert_keys[] = {keys_decoder, keys_layer_norm, keys_rope, NULL};

static const struct tensor_row *const nomic_bert_tensors[] = {rows_encoder, rows_qkv, rows_gate, rows_ffn, rows_post_norm, NULL};

static void nomic_bert_forward(struct tape *t, const struct model *m) { block_encoder(t, m, ACT_SILU); }

static const struct hf nomic_bert_hf = {
  .classes = "NomicBertModel", .prefixes = "bert", .layer = "encoder.layers", .left_out = "pooler. cls.",
  .keys = HF_NOMIC_KEYS,
  .tensors = HF_NOMIC
    ".mlp.fc11 .ffn_up\n"
    ".mlp.fc12 .ffn_gate\n"};

static const struct arch arch_nomic_bert = {.name = "nomic-bert", .keys = nomic_bert_keys, .tensors = nomic_bert_tensors,
                                            .rope_neox = true, .centred = true, .forward = nomic_bert_forward, .hf = &nomic_bert_hf};
