/* token_spm.c -- SentencePiece BPE: two neighbours merge if their text is a token, the highest score first.
 *
 * The whole text between special tokens is one word, spaces are U+2581, and what is no token in the end is written as
 * byte tokens. The merging itself is token_bpe.c's.
 * SPDX-License-Identifier: MIT */

/* Every fragment stands at the beginning or behind a special token, so every one gets the space in front. */
static bool spm_fragment(struct token_run *r, struct str text) {
  struct str escaped;
  return bpe_escape(r, text, r->v->add_space_prefix, &escaped) && bpe_escaped(r, escaped);
}
