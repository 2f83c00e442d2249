/* Vectors and scores by the C interface: bk_model_embed, bk_model_rerank; numbers as they are written.
 * SPDX-License-Identifier: MIT */

START_TEST(embed_floats_read_back) {
  uint32_t state = 12345;
  char memory[64];
  for (int i = 0; i < 200000; i++) {
    state = state * 1664525u + 1013904223u;
    float x = i < 100000 ? f32_from_bits(state) : (float)(int32_t)state / 4e9f; // all of them, then those of vectors
    struct buf b = {memory, 0, sizeof memory - 1, false};
    embed_put_float(&b, x);
    memory[b.len] = 0;
    if (!isfinite(x)) {
      ck_assert_str_eq(memory, "null");
      continue;
    }
    float back = strtof(memory, NULL);
    ck_assert_msg(back == x, "%.9g became %s", (double)x, memory);
  }
  static const struct { float x; const char *text; } cases[] = {
    {0.0f, "0"}, {1.0f, "1"}, {-0.5f, "-0.5"}, {0.1f, "0.100000001"}, {100.0f, "100"}, {0.01f, "0.00999999978"}, {12345678.0f, "12345678"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    struct buf b = {memory, 0, sizeof memory - 1, false};
    embed_put_float(&b, cases[i].x);
    memory[b.len] = 0;
    ck_assert_str_eq(memory, cases[i].text);
  }
}
END_TEST

START_TEST(embed_sentences_end) {
  static const struct { const char *text; size_t end; } cases[] = {
    {"One. Two", 4}, {"3.14 is pi", 10}, {"\"Go!\" he", 5}, {"What?! no", 6}, {"no end", 6}, {"\xE3\x80\x82x", 3}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) ck_assert_uint_eq(embed_sentence(str_from(cases[i].text), 0), cases[i].end);
}
END_TEST

START_TEST(embed_prompts_by_name) {
  static const struct { const char *model, *name, *text; } cases[] = {
    {"E5 Base v2", "query", "query: "}, {"multilingual-e5-large", "passage", "passage: "},
    {"multilingual_e5_large_instruct", "passage", ""}, {"org/Bge M3", "query", ""}, {"bge-m3", "clustering", NULL},
    {"nomic-embed-text-v1.5", "clustering", "clustering: "},
    {"snowflake-arctic-embed-m-v2.0", "query", "query: "}, {"", "query", NULL}, {"e5", "query", NULL}, {"note5-x", "query", NULL},
    {"---", "query", NULL}, {"e5-base", "", NULL}, {"e5-base", "quer", NULL}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    const char *got = embed_known_prompt(str_from(cases[i].model), str_from(cases[i].name));
    ck_assert_msg(!got == !cases[i].text && (!got || strcmp(got, cases[i].text) == 0), "%s, %s: %s", cases[i].model, cases[i].name,
                  got ? got : "none");
  }
  ck_assert(!embed_known_prompt((struct str){NULL, 0}, STR("query")));
}
END_TEST

START_TEST(embed_by_the_interface) {
  struct bk_error e = {0};
  const struct bk_options options = {.threads = 2, .sessions = 4};
  struct bk_model *m = bk_model_open("tests/families/roberta/roberta-f16.gguf", &options, &e);
  ck_assert_msg(m != NULL, "%s", e.message);
  enum { N = 5 };
  const struct bk_text texts[N] = {{"hello world", 11}, {"a text", 6}, {"hello world", 11}, {"dog", 3}, {"", 0}};
  const int n = bk_model_dimensions(m);
  float all[N * 256], one[256], cut[256];
  ck_assert_int_le(n, 256);
  ck_assert_msg(bk_model_embed(m, texts, N, NULL, all, &e), "%s", e.message);
  for (int i = 0; i < N; i++) {
    ck_assert(bk_model_embed(m, &texts[i], 1, NULL, one, &e));
    ck_assert(memcmp(one, all + i * n, sizeof *one * (size_t)n) == 0);
    float squares = 0;
    for (int k = 0; k < n; k++) squares += one[k] * one[k];
    ck_assert(squares > 0.999f && squares < 1.001f);
  }
  ck_assert(memcmp(all, all + 2 * n, sizeof *all * (size_t)n) == 0);
  ck_assert(memcmp(all, all + n, sizeof *all * (size_t)n) != 0);
  const struct bk_embed how = {.dimensions = 8, .raw = 1};
  ck_assert(bk_model_embed(m, texts, 1, &how, cut, &e));
  for (int k = 1; k < 8; k++) ck_assert(cut[k] / cut[0] - all[k] / all[0] < 1e-3f * (all[k] / all[0] > 0 ? 1 + all[k] / all[0] : 1));
  const struct bk_embed wrong = {.dimensions = n + 1};
  ck_assert(!bk_model_embed(m, texts, 1, &wrong, cut, &e));
  ck_assert_int_eq(e.code, ERR_USAGE);
  e = (struct bk_error){0};
  ck_assert(!bk_model_rerank(m, texts[0], texts, N, BK_TRUNCATE_END, all, &e)); // it has no head
  ck_assert_int_eq(e.code, ERR_DATA);
  bk_model_close(m);
}
END_TEST

static Suite *embed_suite(void) {
  Suite *s = suite_create("embed");
  TCase *t = tcase_create("embed");
  tcase_add_test(t, embed_floats_read_back);
  tcase_add_test(t, embed_sentences_end);
  tcase_add_test(t, embed_prompts_by_name);
  tcase_add_test(t, embed_by_the_interface);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
