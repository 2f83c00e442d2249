/* check_json.c -- JSON: what is accepted and how it is decoded, what is refused and with which sentence, what is
 * written.
 * SPDX-License-Identifier: MIT */

static struct json *json_good(const char *text, struct arena *a) {
  struct bk_error e = {0};
  struct json *j;
  ck_assert_msg(json_parse(str_from(text), a, &j, &e), "%s: %s", text, e.message);
  ck_assert_int_eq(e.code, 0);
  return j;
}

static void json_bad(struct str text, const char *sentence) {
  struct arena a = test_arena(1 << 20);
  struct bk_error e = {0};
  struct json *j;
  ck_assert_msg(!json_parse(text, &a, &j, &e), "accepted: " STR_FMT, STR_ARG(text));
  test_error(&e, ERR_DATA, sentence);
}

START_TEST(json_scalars) {
  struct arena a = test_arena(1 << 20);
  ck_assert_int_eq(json_good("null", &a)->type, JSON_NULL);
  ck_assert(json_good(" true\n", &a)->boolean);
  ck_assert(!json_good("false", &a)->boolean);
  ck_assert(json_good("9223372036854775807", &a)->integer == INT64_MAX);
  ck_assert(json_good("-9223372036854775808", &a)->integer == INT64_MIN);
  ck_assert_int_eq(json_good("9223372036854775808", &a)->type, JSON_FLOAT);
  ck_assert(str_is(json_good("9223372036854775808", &a)->text, "9223372036854775808"));
  ck_assert(json_good("-0", &a)->integer == 0);
  ck_assert_int_eq(json_good("1.0", &a)->type, JSON_FLOAT);
  ck_assert(json_good("1.5e3", &a)->number == 1500);
  ck_assert(json_good("12", &a)->number == 12);
  ck_assert(json_good("5e-324", &a)->number > 0);
  ck_assert(json_good("1e-400", &a)->number == 0);
}
END_TEST

START_TEST(json_strings) {
  struct arena a = test_arena(1 << 20);
  ck_assert(str_is(json_good("\"plain\"", &a)->string, "plain"));
  ck_assert(str_is(json_good("\"\"", &a)->string, ""));
  ck_assert(str_is(json_good("\"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"", &a)->string, "a\n\t\"\\/\b\f\r"));
  ck_assert(str_is(json_good("\"\\u00e9\\u4e2d\\ud83d\\ude00\"", &a)->string, "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80"));
  ck_assert(str_eq(json_good("\"\\u0000\"", &a)->string, STR("\0")));
  ck_assert(str_is(json_good("\"\xC3\xA9\x7f\"", &a)->string, "\xC3\xA9\x7f"));
}
END_TEST

START_TEST(json_containers) {
  struct arena a = test_arena(1 << 20);
  struct json *j = json_good("{\"a\":[1,[],{}],\"b\":{\"c\":null}, \"\":2}", &a);
  ck_assert_int_eq(j->count, 3);
  ck_assert_int_eq(json_get(j, "a")->count, 3);
  ck_assert_int_eq(json_get(j, "a")->first->next->type, JSON_ARRAY);
  ck_assert_int_eq(json_get(json_get(j, "b"), "c")->type, JSON_NULL);
  ck_assert_int_eq(json_get(j, "")->integer, 2);
  ck_assert_ptr_null(json_get(j, "d"));
  ck_assert_ptr_null(json_get(NULL, "a"));
  ck_assert_ptr_null(json_get(json_get(j, "a"), "a"));
  ck_assert_int_eq(json_good("[]", &a)->count, 0);
}
END_TEST

START_TEST(json_duplicate_keys) { // the last value, in the first place
  struct arena a = test_arena(1 << 20);
  struct json *j = json_good("{\"a\":1,\"b\":2,\"\\u0061\":[3],\"c\":4,\"a\":{\"x\":5}}", &a);
  ck_assert_int_eq(j->count, 3);
  ck_assert(str_is(j->first->key, "a"));
  ck_assert_int_eq(json_get(json_get(j, "a"), "x")->integer, 5);
  ck_assert(str_is(j->first->next->key, "b"));
  ck_assert(str_is(j->first->next->next->key, "c"));
  ck_assert_ptr_null(j->first->next->next->next);
}
END_TEST

START_TEST(json_refused) {
  static const struct { const char *text, *sentence; } cases[] = {
    {"", "ends at byte 0 where a value was expected"}, {"[1,]", "has ']' at byte 3"}, {"{\"a\":1,}", "a key in quotes"},
    {"[1 2]", "has '2' at byte 3 where ',' or ']'"}, {"{\"a\" 1}", "where ':' was expected"},
        {"01", "has '1' at byte 1 where the end"},
    {"1.", "a digit"}, {"-", "a digit"}, {".5", "a value"}, {"+1", "a value"}, {"1e", "a digit"}, {"0x10", "the end"},
    {"nul", "null, true or false"}, {"nulL", "null, true or false"}, {"NaN", "a value"}, {"Infinity", "a value"},
    {"'a'", "a value"}, {"\"a", "the end of a string"}, {"\"\\", "ends at byte 2"}, {"\"\\x41\"", "after a backslash"},
    {"\"\\u12g4\"", "a hexadecimal digit"}, {"\"\\ud800\"", "lone surrogate"}, {"\"\\udc00\"", "lone surrogate"},
    {"\"\\ud800\\u0041\"", "lone surrogate"}, {"\"a\nb\"", "byte 0x0a at byte 2"}, {"\"\xff\"", "valid UTF-8"},
    {"\"\xed\xa0\x80\"", "valid UTF-8"}, {"\"\xc0\x80\"", "valid UTF-8"}, {"1e400", "does not fit in a double"},
    {"-1e999", "does not fit"}, {"{} x", "the end"}, {"[}", "a value"}, {"{\"a\":1]", "',' or '}'"},
        {"{1:2}", "a key in quotes or '}'"},
    {"[1,,2]", "a value"}, {"/**/1", "a value"}, {"\xEF\xBB\xBF" "1", "byte 0xef at byte 0"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) json_bad(str_from(cases[i].text), cases[i].sentence);
  json_bad(STR("1\0"), "byte 0x00 at byte 1");
  json_bad(STR("\"a\0\""), "byte 0x00 at byte 2");
}
END_TEST

START_TEST(json_depth) {
  static char text[300000];
  memset(text, '[', JSON_DEPTH);
  memset(text + JSON_DEPTH, ']', JSON_DEPTH);
  struct arena a = test_arena(1 << 20);
  struct json *j = json_good(text, &a);
  int depth = 1;
  while (j->first) j = j->first, depth++;
  ck_assert_int_eq(depth, JSON_DEPTH);
  memset(text, '[', sizeof text - 1);
  json_bad(str_from(text), "deeper than 128 levels at byte 128");
}
END_TEST

START_TEST(json_long) { // a megabyte of distinct keys, all with one long prefix: linear, or this test does not end
  struct arena a = test_arena(512u << 20);
  struct buf b = buf_new(&a, 8 << 20);
  buf_byte(&b, '{');
  for (int i = 0; i < 200000; i++) buf_printf(&b, "%s\"unknown-unknown-key-%d\":%d", i ? "," : "", i % 199999, i);
  buf_byte(&b, '}');
  struct bk_error e = {0};
  struct json *j;
  ck_assert_msg(json_parse(buf_str(&b), &a, &j, &e), "%s", e.message);
  ck_assert_int_eq(j->count, 199999);
  ck_assert_int_eq(json_get(j, "unknown-unknown-key-0")->integer, 199999);
}
END_TEST

START_TEST(json_no_memory) { // whatever is left, an error and not a crash
  static const char text[] = "{\"k\\n\":[1,2,{\"a\":\"b\\u00e9\",\"c\":null}],\"d\":\"e\",\"d\":1}";
  struct arena whole = test_arena(1 << 16);
  bool fitted = false;
  for (size_t n = 0; n < 4096 && !fitted; n += 8) {
    struct arena a = {whole.beg, whole.beg + n};
    struct bk_error e = {0};
    struct json *j;
    fitted = json_parse(str_from(text), &a, &j, &e);
    if (!fitted) test_error(&e, ERR_DATA, "does not fit in the memory");
  }
  ck_assert(fitted);
}
END_TEST

static void json_writes(struct str s, const char *expected) {
  struct arena a = test_arena(1 << 16);
  struct buf b = buf_new(&a, 4096);
  json_put_string(&b, s);
  buf_byte(&b, 0);
  ck_assert_str_eq(b.ptr, expected);
}

START_TEST(json_written_strings) {
  json_writes(STR("plain \xC3\xA9 /"), "\"plain \xC3\xA9 /\"");
  json_writes(STR(""), "\"\"");
  json_writes(STR("\"\\\n\r\t\b\f"), "\"\\\"\\\\\\n\\r\\t\\b\\f\"");
  json_writes(STR("b f n r t"), "\"b f n r t\"");
  json_writes(STR("\0\x1f\x7f"), "\"\\u0000\\u001f\x7f\"");
  json_writes(STR("a\xff\xc3"), "\"a\xEF\xBF\xBD\xEF\xBF\xBD\"");
}
END_TEST

START_TEST(json_written_numbers) {
  struct arena a = test_arena(1 << 16);
  struct buf b = buf_new(&a, 4096);
  json_put_float(&b, 0.1f);
  buf_byte(&b, ' ');
  json_put_float(&b, INFINITY);
  buf_byte(&b, ' ');
  json_put_float(&b, NAN);
  buf_byte(&b, ' ');
  json_put_double(&b, 0.1);
  buf_byte(&b, ' ');
  json_put_double(&b, 1.0 / 3);
  buf_byte(&b, ' ');
  json_put_double(&b, -INFINITY);
  buf_byte(&b, 0);
  ck_assert_str_eq(b.ptr, "0.100000001 null null 0.1 0.3333333333333333 null");
}
END_TEST

START_TEST(json_round_trip) { // random bytes written as a string are read back, but for what was not UTF-8
  struct arena whole = test_arena(1 << 20);
  uint64_t seed = 1;
  for (int round = 0; round < 20000; round++) {
    struct arena a = whole;
    char raw[24];
    size_t n = (size_t)round % sizeof raw;
    for (size_t i = 0; i < n; i++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      raw[i] = (char)(seed >> 57 & 1 ? seed >> 33 : seed >> 33 & 0x7f);
    }
    struct str s = {raw, n};
    struct buf b = buf_new(&a, 256);
    json_put_string(&b, s);
    struct json *j;
    struct bk_error e = {0};
    ck_assert_msg(json_parse(buf_str(&b), &a, &j, &e), "%s", e.message);
    ck_assert(str_eq(j->string, s) == utf8_valid(s));
    ck_assert(utf8_valid(j->string));
  }
}
END_TEST

static void json_held_bad(const char *text, const char *sentence) { // read, or walked
  struct arena a = test_arena(1 << 16);
  struct bk_error e = {0};
  struct json *j;
  struct str s = str_from(text);
  if (json_parse_held(s, " big ", &a, &j, &e)) {
    const struct json *big = json_get(j, "big");
    ck_assert(big && big->text.len);
    struct json_reader r = {s, (size_t)(big->text.ptr - s.ptr) + 1, &a, &e};
    struct json_walk w = json_walk_start(&r, big->type);
    while (json_walk_next(&w)) continue;
  }
  test_error(&e, ERR_DATA, sentence);
}

START_TEST(json_held) { // what stays text, and a walk over it
  struct arena a = test_arena(1 << 16);
  struct bk_error e = {0};
  struct json *j;
  struct str text = STR("{\"big\":{\"a\\\"]}\":1,\"b\":[2, [3], \"x\\u00e9\"]} ,\"b\":{\"big\":[]},\"i\":[\"big\",{\"big\":7}],\"ig\":[1]}");
  ck_assert_msg(json_parse_held(text, " big ", &a, &j, &e), "%s", e.message);
  const struct json *big = json_get(j, "big");
  ck_assert(big->type == JSON_OBJECT && !big->first && big->text.ptr[0] == '{' && big->text.ptr[big->text.len - 1] == '}');
  ck_assert(str_is(json_get(json_get(j, "b"), "big")->text, "[]") && json_get(j, "ig")->count == 1);
  ck_assert(json_get(j, "i")->count == 2 && json_get(json_get(j, "i")->first->next, "big")->integer == 7);
  struct json_reader r = {text, (size_t)(big->text.ptr - text.ptr) + 1, &a, &e};
  struct json_walk w = json_walk_start(&r, JSON_OBJECT);
  ck_assert(json_walk_next(&w) && str_is(w.child.key, "a\"]}") && w.child.integer == 1);
  ck_assert(json_walk_next(&w) && str_is(w.child.key, "b") && w.child.type == JSON_ARRAY);
  struct json_walk inner = json_walk_start(&r, JSON_ARRAY);
  ck_assert(json_walk_next(&inner) && inner.child.integer == 2 && json_walk_next(&inner) && inner.child.type == JSON_ARRAY);
  struct json_walk innermost = json_walk_start(&r, JSON_ARRAY);
  ck_assert(json_walk_next(&innermost) && innermost.child.integer == 3 && !json_walk_next(&innermost));
  ck_assert(json_walk_next(&inner) && str_is(inner.child.string, "x\xC3\xA9") && !json_walk_next(&inner));
  ck_assert(!json_walk_next(&w) && e.code == 0 && str_starts(str_slice(text, r.pos, text.len), STR(" ,\"b\"")));
  json_held_bad("{\"big\":[1,2", "JSON ends at byte 11 where a closing bracket was expected");
  json_held_bad("{\"big\":[\"]\\", "JSON ends at byte 12 where a closing bracket was expected");
  json_held_bad("{\"big\":[1}}", "JSON has '}' at byte 9 where ',' or ']' was expected");
  json_held_bad("{\"big\":[1 2]}", "JSON has '2' at byte 10 where ',' or ']' was expected");
  json_held_bad("{\"big\":{\"a\" 1}}", "JSON has '1' at byte 12 where ':' was expected");
}
END_TEST

static Suite *json_suite(void) {
  Suite *s = suite_create("json");
  TCase *t = tcase_create("json");
  tcase_set_timeout(t, 30);
  tcase_add_test(t, json_scalars);
  tcase_add_test(t, json_strings);
  tcase_add_test(t, json_containers);
  tcase_add_test(t, json_duplicate_keys);
  tcase_add_test(t, json_refused);
  tcase_add_test(t, json_depth);
  tcase_add_test(t, json_long);
  tcase_add_test(t, json_no_memory);
  tcase_add_test(t, json_written_strings);
  tcase_add_test(t, json_written_numbers);
  tcase_add_test(t, json_round_trip);
  tcase_add_test(t, json_held);
  suite_add_tcase(s, t);
  return s;
}
