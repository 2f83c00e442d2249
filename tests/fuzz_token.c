/* fuzz_token.c -- any bytes as text, for every kind of vocabulary, with every option, cut into two spans: no error with
 * the promised room, valid UTF-8 out of the stream, no control token from a user. The first byte chooses.
 * Seeds: tests/corpus/token. Run in the project's root. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const paths[5] = {"tests/golden/vocab-bytes.gguf", "tests/golden/vocab-chars.gguf",
    "tests/golden/vocab-spm.gguf", "tests/golden/vocab-unigram.gguf", "tests/golden/vocab-wordpiece.gguf"};
  static struct vocab *vocabs[5];
  static struct gguf g[5];
  static struct arena whole;
  struct bk_error e = {0};
  if (!whole.beg) whole = os_reserve((size_t)1 << 30, &e);
  for (int i = 0; i < 5 && !vocabs[4]; i++)
    BK_ASSERT(gguf_open(&g[i], paths[i], &whole, &e) && token_load(&g[i], &whole, &vocabs[i], &e));
  if (size < 2 || size > 1 << 16) return 0;
  const struct vocab *v = vocabs[data[0] % 5];
  struct str text = {(const char *)data + 2, size - 2};
  uint32_t cut = (uint32_t)(data[1] % (size - 1));
  struct token_span spans[2] = {{0, cut, data[0] & 32}, {cut, (uint32_t)text.len, true}};
  struct arena a = whole;
  int n, max = (int)token_bound(v, text.len);
  int32_t *ids = ARENA_NEW(&a, int32_t, (size_t)max + 1);
  struct buf out = buf_new(&a, 3 * v->max_piece * (size_t)max + 64);
  struct arena scratch = {a.beg, a.beg + token_scratch(v, text.len)};
  struct token_options o = {data[0] & 64, data[0] & 128};
  BK_ASSERT(token_encode_spans(v, text, spans, data[0] & 16 ? 2 : 0, o, scratch, ids, max, &n, &e));
  struct token_stream s = token_stream_start(v, true, data[0] & 8);
  for (int i = 0; i < n; i++) token_stream_put(&s, ids[i], &out);
  token_stream_end(&s, &out);
  BK_ASSERT(!out.full && utf8_valid(buf_str(&out)));
  for (int i = 0; i < n && !o.add_special && !o.parse_special; i++)
    BK_ASSERT(ids[i] == v->unk || !token_is_control(v, ids[i]));
  return 0;
}
