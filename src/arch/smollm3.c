/* arch/smollm3.c -- SmolLM 3: the shape of LLaMA; every fourth layer does not rotate its heads. (Hugging Face, 2025) */
static const struct key_row *const smollm3_keys[] = {keys_decoder, keys_rms, keys_rope, keys_window, NULL};

static const struct tensor_row *const smollm3_tensors[] = {rows_model, rows_rope, rows_attn_norm, rows_qkv, rows_ffn_norm, rows_gate,
                                                           rows_ffn, NULL};

static void smollm3_forward(struct tape *t, const struct model *m) {
  int x = tape_embed(t, &m->token_embd, 1), angles = tape_angles(t, &m->rope);
  for (int i = 0; i < (int)m->hp.n_layer; i++) {
    const struct layer *l = &m->layers[i];
    struct tape_heads h = block_heads(m, i, angles);
    if ((i + 1) % 4 == 0) h.rope = NULL;
    block_add(t, m, TAPE_ROWS(block_attention(t, l, block_normed(m, x, l->attn_norm), &h)), &l->wo, x);
    block_feed_forward(t, m, i, ACT_SILU, x);
  }
  block_head(t, m, x);
}

static const struct hf smollm3_hf = {
  .classes = "SmolLM3ForCausalLM", .prefixes = "model", .layer = "layers", .more = hf_decoder,
  .keys = HF_ROTATED_PAIRS_KEYS, .tensors = HF_ROTATED_PAIRS};

static const struct arch arch_smollm3 = {.name = "smollm3", .keys = smollm3_keys, .tensors = smollm3_tensors, .forward = smollm3_forward,
                                         .hf = &smollm3_hf};
