/* fuzz_token.c -- any bytes as text, for every kind of vocabulary, with every option and cut into spans: no error with
 * the promised room, valid UTF-8 out of the stream, no control token from a user. The first byte chooses.
 * Seeds: tests/corpus/token. Run in the project's root. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vocab *fuzz_load(const char *path) {
  static struct gguf g[5];
  static int n;
  struct bk_error e = {0};
  struct arena a = os_reserve(16 << 20, &e);
  struct vocab *v = NULL;
  BK_ASSERT(gguf_open(&g[n], path, &a, &e) && token_load(&g[n], &a, &v, &e));
  n++;
  return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[5] = {"bytes", "chars", "spm", "unigram", "wordpiece"};
  static struct vocab *vocabs[5];
  static struct arena whole;
  struct bk_error e = {0};
  char path[64];
  for (int i = 0; !vocabs[4] && i < 5; i++) {
    snprintf(path, sizeof path, "tests/golden/vocab-%s.gguf", names[i]);
    vocabs[i] = fuzz_load(path);
  }
  if (!whole.beg) whole = os_reserve((size_t)1 << 30, &e);
  if (size < 2 || size > 1 << 16) return 0;
  const struct vocab *v = vocabs[data[0] % 5];
  struct str text = {(const char *)data + 2, size - 2};
  struct token_span spans[2] = {{0, (uint32_t)(data[1] % (size - 1)), data[0] & 32}, {0, (uint32_t)text.len, true}};
  spans[1].beg = spans[0].end;
  struct arena a = whole, scratch;
  int n, max = (int)token_bound(v, text.len);
  int32_t *ids = ARENA_NEW(&a, int32_t, (size_t)max + 1);
  struct buf out = buf_new(&a, 3 * v->max_piece * (size_t)max + 64);
  scratch = (struct arena){a.beg, a.beg + token_scratch(v, text.len)};
  struct token_options o = {data[0] & 64, data[0] & 128};
  BK_ASSERT(token_encode_spans(v, text, spans, data[0] & 16 ? 2 : 0, o, scratch, ids, max, &n, &e));
  struct token_stream s = token_stream_start(v, true, data[0] & 8);
  for (int i = 0; i < n; i++) token_stream_put(&s, ids[i], &out);
  token_stream_end(&s, &out);
  BK_ASSERT(!out.full && utf8_valid(buf_str(&out)));
  for (int i = 0; i < n; i++) // with no control token asked for, or all of the text from a user
    BK_ASSERT(o.add_special || o.parse_special || ids[i] == v->unk || token_is_plain(v, ids[i]) || v->attr[ids[i]] == TOKEN_USER);
  return 0;
}
