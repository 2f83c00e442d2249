/* fuzz_json.c -- any bytes as JSON: refused with a sentence, or a tree; a string written again is read back the same.
 * Seeds: tests/corpus/json. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct arena whole;
  struct bk_error e = {0};
  if (!whole.beg) whole = os_reserve(64 << 20, &e);
  struct arena a = whole;
  struct json *j, *again;
  if (!json_parse((struct str){(const char *)data, size}, &a, &j, &e)) {
    BK_ASSERT(e.code == ERR_DATA && e.message[0] && utf8_valid(str_from(e.message)));
    return 0;
  }
  int n = 0;
  for (const struct json *m = j->first; m; m = m->next, n++)
    if (j->type == JSON_OBJECT) BK_ASSERT(m->next == NULL || !str_eq(m->key, m->next->key));
  BK_ASSERT(n == j->count);
  if (j->type != JSON_STRING || size > 1 << 20) return 0;
  struct buf b = buf_new(&a, 6 * j->string.len + 2);
  json_put_string(&b, j->string);
  BK_ASSERT(!b.full && json_parse(buf_str(&b), &a, &again, &e) && str_eq(j->string, again->string));
  return 0;
}
