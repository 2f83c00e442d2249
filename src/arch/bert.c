/* arch/bert.c -- BERT, RoBERTa and XLM-R: rows see both ways, positions are learned, norms stand behind both halves of a
 * layer; vectors, or scores from a head. (Devlin et al., 2018) */
static const struct key_row *const bert_keys[] = {keys_decoder, keys_layer_norm, NULL};

static const struct tensor_row bert_own_rows[] = {
  ROW_LOOKUP("position_embd.weight", MODEL(position_embd), DIM_CONTEXT, NEED),
  {0},
};
static const struct tensor_row *const bert_tensors[] = {rows_encoder, rows_qkv, rows_ffn, rows_post_norm, bert_own_rows, NULL};

static void bert_forward(struct tape *t, const struct model *m) { block_encoder(t, m, ACT_GELU_ERF); }

/* RoBERTa counts positions from behind the padding token's id. */
#define BERT_OFFSET(first, rest) "model_type=roberta*" first rest "|model_type='xlm-roberta'*" first rest
static const struct hf bert_hf = {
  .classes = "BertModel BertForMaskedLM BertForSequenceClassification CamembertModel RobertaModel RobertaForSequenceClassification "
             "XLMRobertaModel XLMRobertaForSequenceClassification DistilBertModel DistilBertForMaskedLM "
             "DistilBertForSequenceClassification",
  .prefixes = "bert roberta distilbert", .layer = "encoder.layer",
  .left_out = "cls.predictions cls.seq_relationship vocab_transform vocab_layer_norm vocab_projector lm_head.",
  .keys = HF_ENCODER_KEYS
    "context_length u " BERT_OFFSET("max_position_embeddings", "-pad_token_id-1") "|max_position_embeddings\n"
    "attention.layer_norm_epsilon f layer_norm_eps|0.000000000001\n",
  .tensors = HF_ENCODER
    "embeddings.position_embeddings position_embd part:1," BERT_OFFSET("pad_token_id", "+1") "|0,0\n"
    "pooler.dense cls if:class=BertForSequenceClassification\n"
    "classifier cls.output\n"
    "classifier.dense cls\n"
    "classifier.out_proj cls.output\n"
    "pre_classifier cls\n"
    ".attention.self.query .attn_q\n"
    ".attention.self.key .attn_k\n"
    ".attention.self.value .attn_v\n"
    ".attention.output.dense .attn_output\n"
    ".attention.output.LayerNorm .attn_output_norm\n"
    ".intermediate.dense .ffn_up\n"
    ".output.dense .ffn_down\n"
    ".output.LayerNorm .layer_output_norm\n"
    "transformer.layer.%.attention.q_lin .attn_q\n"
    "transformer.layer.%.attention.k_lin .attn_k\n"
    "transformer.layer.%.attention.v_lin .attn_v\n"
    "transformer.layer.%.attention.out_lin .attn_output\n"
    "transformer.layer.%.sa_layer_norm .attn_output_norm\n"
    "transformer.layer.%.ffn.lin1 .ffn_up\n"
    "transformer.layer.%.ffn.lin2 .ffn_down\n"
    "transformer.layer.%.output_layer_norm .layer_output_norm\n"};

static const struct arch arch_bert = {.name = "bert", .keys = bert_keys, .tensors = bert_tensors, .centred = true,
                                      .forward = bert_forward, .hf = &bert_hf};
