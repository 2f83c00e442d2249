/* fuzz_chat.c -- any bytes as a chat template and, behind the first NUL, its messages as JSON: refused with a
 * sentence, or a prompt whose spans cover it. Seeds: tests/corpus/chat. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct arena whole;
  struct bk_error e = {0};
  if (!whole.beg) whole = os_reserve(64 << 20, &e);
  struct arena a = whole;
  struct str all = {(const char *)data, size};
  size_t cut = str_find(all, STR("\0"), 0);
  struct json *messages;
  struct chat_prompt p;
  if (cut == SIZE_MAX) cut = size;
  if (!json_parse(str_slice(all, cut + 1, size), &a, &messages, &e)) messages = NULL;
  e = (struct bk_error){0};
  const struct chat_template *t = chat_compile(str_slice(all, 0, cut), &a, &e);
  struct chat_input in = {.messages = messages, .kwargs = messages, .bos_token = STR("<s>")};
  in.now = STR("2026-01-15T12:34:56");
  if (!t || !chat_render(t, &in, &a, 1 << 16, &p, &e)) {
    BK_ASSERT(e.code == ERR_DATA && e.message[0] && utf8_valid(str_from(e.message)));
    return 0;
  }
  uint32_t at = 0;
  for (int i = 0; i < p.n_spans; at = p.spans[i++].end)
    BK_ASSERT(p.spans[i].beg == at && p.spans[i].end > at && (!i || p.spans[i].from_user != p.spans[i - 1].from_user));
  BK_ASSERT(at == p.text.len && at <= 1 << 16);
  return 0;
}
