/* arch/phi3.c -- Phi 3 and 4: the shape of LLaMA with fused matrices; rope factors for short and for long contexts.
 * (Phi-3 report, 2024) */
static const struct key_row *const phi3_keys[] = {keys_decoder, keys_rms, keys_rope, keys_window, NULL};

static const struct tensor_row phi3_own_rows[] = {
  ROW_VECTOR("rope_factors_long.weight", MODEL(rope_factors_long), DIM_ROT_PAIRS, MAY),
  ROW_VECTOR("rope_factors_short.weight", MODEL(rope_factors_short), DIM_ROT_PAIRS, MAY),
  {0},
};
static const struct tensor_row *const phi3_tensors[] = {rows_model, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_fused_gate,
                                                        phi3_own_rows, NULL};

static void phi3_forward(struct tape *t, const struct model *m) { block_forward(t, m, ACT_SILU); }

static const struct hf phi3_hf = {
  .classes = "Phi3ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = "rope.scaling.type s \n"
          "rope.scaling.original_context_length u rope.original_max_position_embeddings|original_max_position_embeddings|"
            "max_position_embeddings\n"
          "rope.dimension_count u rope.partial_rotary_factor*hidden_size/num_attention_heads|"
            "partial_rotary_factor*hidden_size/num_attention_heads|hidden_size/num_attention_heads\n"
          "attention.sliding_window u sliding_window|0\n",
  .tensors = ".self_attn.qkv_proj .attn_qkv\n"
             ".mlp.gate_up_proj .ffn_up\n"};

static const struct arch arch_phi3 = {.name = "phi3", .keys = phi3_keys, .tensors = phi3_tensors, .rope_neox = true,
                                      .forward = phi3_forward, .hf = &phi3_hf};
