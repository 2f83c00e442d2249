/* check_vectors.c -- vectors and weights of tokens against tests/families/bge-m3, which is converted first.
 * SPDX-License-Identifier: MIT */

static struct engine pt;
static const struct json *vt_case;

static double vt_number(const struct json *j) { return j->type == JSON_INT ? (double)j->integer : j->number; }

/* Opens the converted folder and runs the ids of golden.json's case `at` in one step. */
static struct request *vt_run(int at, struct pool *pool, enum pooling kind) {
  static struct arena a;
  static struct request r;
  char folder[64], path[128];
  struct convert_report report;
  struct bk_error e = {0};
  struct str text;
  struct json *golden;
  a = test_arena(64 << 20);
  snprintf(path, sizeof path, "%s/m.gguf", test_folder(folder));
  ck_assert_msg(hf_convert(TEST_ROOT "/families/bge-m3", path, NULL, 1, NULL, &report, &e), "%s", e.message);
  const struct engine_options o = {.n_threads = 2, .exact = true};
  ck_assert_msg(engine_open(&pt, path, &o, &e) && engine_load(&pt, &e), "%s", e.message);
  test_remove(folder);
  ck_assert(os_read_file(TEST_ROOT "/families/bge-m3/golden.json", 1 << 20, &a, &text, &e) && json_parse(text, &a, &golden, &e));
  vt_case = json_get(golden, "cases")->first;
  for (int i = 0; i < at; i++) vt_case = vt_case->next;
  const struct json *ids = json_get(vt_case, "ids");
  int32_t *to = ARENA_NEW(&a, int32_t, (size_t)ids->count);
  r = (struct request){.ids = to, .n_prompt = (int)ids->count, .n_ids = (int)ids->count, .n_max = (int)ids->count, .pool = pool};
  for (const struct json *id = ids->first; id; id = id->next) *to++ = (int32_t)id->integer;
  ck_assert(pool_new(pool, kind, pool->n, &a));
  pool->rows = ARENA_NEW(&a, float, (size_t)pool->n * (size_t)ids->count);
  ck_assert_msg(engine_submit(&pt, &r, &e), "%s", e.message);
  while (engine_step(&pt)) continue;
  return &r;
}

START_TEST(pool_sparse_weights) {
  struct pool p = {.n = 64};
  const struct request *r = vt_run(_i, &p, POOL_NONE); // of every row something is asked
  const struct json *want = json_get(vt_case, "sparse")->first;
  ck_assert_int_eq(pt.model.tape.values[pt.model.tape.sparse].width, 1);
  for (int i = 0; i < r->n_prompt; i++, want = want->next) {
    const float got = *cpu_row(&pt.cpu, pt.model.tape.sparse, i);
    ck_assert_float_eq_tol(got > 0 ? got : 0, (float)vt_number(want), 1e-4f);
  }
}
END_TEST

START_TEST(pool_colbert_vectors) {
  struct pool p = {.n = 64};
  vt_run(_i, &p, POOL_NONE);
  const struct json *rows = json_get(vt_case, "colbert_first4")->first;
  for (int i = 0; rows; i++, rows = rows->next) { // of the tokens behind the first
    const float *x = cpu_row(&pt.cpu, pt.model.tape.colbert, i + 1);
    double squares = 0;
    for (int k = 0; k < 64; k++) squares += (double)x[k] * (double)x[k];
    const struct json *want = rows->first;
    for (int k = 0; k < 64; k++, want = want->next) ck_assert_double_eq_tol((double)x[k] / sqrt(squares), vt_number(want), 1e-5);
  }
}
END_TEST

START_TEST(pool_takes_rows_beside) { // the last row of each kind
  struct pool p = {.n = 64};
  struct arena a = test_arena(1 << 20);
  vt_run(0, &p, POOL_LAST);
  (void)a;
  p.of = POOL_COLBERT;
  ck_assert_int_eq(pool_value(&p, &pt.model.tape), pt.model.tape.colbert);
  pool_clear(&p);
  pool_row(&p, cpu_row(&pt.cpu, pool_value(&p, &pt.model.tape), 0)); // the only one that is kept
  float out[64];
  ck_assert(pool_vector(&p, out));
  const float *x = cpu_row(&pt.cpu, pt.model.tape.colbert, 0);
  ck_assert(out[0] * x[0] > 0 && out[63] * x[63] > 0);
}
END_TEST

START_TEST(pool_words_of_a_text) {
  const int32_t ids[] = {0, 9, 7, 9, 5, 7, 2}, without[] = {0, 2};
  const float x[] = {3, 0.5f, 0.25f, 1.5f, -1, 0.125f, 4};
  struct pool_word out[7];
  ck_assert_int_eq(pool_words(ids, x, 7, without, 2, out), 2);
  ck_assert(out[0].id == 7 && out[0].weight == 0.25f && out[1].id == 9 && out[1].weight == 1.5f);
  ck_assert_int_eq(pool_words(ids, x, 7, NULL, 0, out), 4);
  ck_assert_int_eq(pool_words(ids, x, 0, NULL, 0, out), 0);
}
END_TEST

static Suite *vectors_suite(void) {
  Suite *s = suite_create("vectors");
  TCase *t = tcase_create("beside");
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, pool_sparse_weights, 0, 4);
  tcase_add_loop_test(t, pool_colbert_vectors, 0, 4);
  tcase_add_test(t, pool_takes_rows_beside);
  tcase_add_test(t, pool_words_of_a_text);
  suite_add_tcase(s, t);
  return s;
}
