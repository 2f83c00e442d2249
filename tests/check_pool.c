/* check_pool.c -- hidden states -> vectors: what each kind of pooling takes, in double beside it; through the engine the same
 * bits whatever the steps and whoever runs beside, and never what is generated behind the prompt.
 * SPDX-License-Identifier: MIT */

enum { PT_N = 37, PT_ROWS = 50 };

START_TEST(pool_kinds) {
  static const enum pooling kinds[] = {POOL_MEAN, POOL_CLS, POOL_LAST};
  static float rows[PT_ROWS][PT_N];
  struct arena a = test_arena(1 << 20);
  for (int r = 0; r < PT_ROWS; r++)
    for (int i = 0; i < PT_N; i++) rows[r][i] = tt_float() * 10;
  for (int k = 0; k < 3; k++)
    for (int n = 1; n <= PT_ROWS; n += 7) {
      struct pool p;
      double want[PT_N] = {0}, length = 0;
      float out[PT_N];
      ck_assert(pool_new(&p, kinds[k], PT_N, &a));
      for (int r = 0; r < PT_ROWS; r++) // those from n on are generated
        if (pool_wants(&p, r, n)) pool_row(&p, rows[r]);
      for (int r = 0; r < n; r++)
        for (int i = 0; i < PT_N; i++)
          if (kinds[k] == POOL_MEAN || r == (kinds[k] == POOL_CLS ? 0 : n - 1)) want[i] += (double)rows[r][i];
      for (int i = 0; i < PT_N; i++) length += want[i] * want[i];
      ck_assert(pool_vector(&p, out));
      for (int i = 0; i < PT_N; i++) ck_assert_double_eq_tol((double)out[i], want[i] / sqrt(length), 1e-7);
      pool_clear(&p);
      ck_assert(p.count == 0 && pool_vector(&p, out) && out[0] == 0 && out[PT_N - 1] == 0);
    }
}
END_TEST

START_TEST(pool_no_numbers) { // a vector with one is none; the largest that are numbers are no trouble
  static const uint32_t bad[] = {0x7FC00000u, 0x7F800000u, 0xFF800000u};
  struct arena a = test_arena(1 << 16);
  struct pool p;
  float x[4] = {3e38f, -3e38f, 0, 1}, out[4];
  ck_assert(pool_new(&p, POOL_MEAN, 4, &a));
  pool_row(&p, x);
  ck_assert(pool_vector(&p, out) && fabs((double)out[0] - sqrt(0.5)) < 1e-6 && out[2] == 0);
  for (int i = 0; i < 3; i++) {
    pool_clear(&p);
    x[i] = f32_from_bits(bad[i]);
    pool_row(&p, x);
    ck_assert(!pool_vector(&p, out));
    x[i] = 1;
  }
}
END_TEST

START_TEST(pool_defaults) {
  struct hparams hp = {.pooling = POOL_NONE, .causal = true, .n_labels = 2};
  const float labels[] = {3, 1};
  ck_assert(pool_kind(&hp) == POOL_MEAN && pool_score_position(&hp, 9) == 8 && pool_score(&hp, labels) == 2);
  hp = (struct hparams){.pooling = POOL_RANK, .n_labels = 2};
  ck_assert(pool_kind(&hp) == POOL_CLS && pool_score_position(&hp, 9) == 0 && pool_score(&hp, labels) == 3);
  hp.pooling = POOL_LAST;
  ck_assert(pool_kind(&hp) == POOL_LAST);
}
END_TEST

/* One of three requests makes a vector. Returns it. */
static void pt_vector(int model, struct engine_options o, enum pooling kind, int n_greedy, float *out) {
  struct arena whole = test_arena(64 << 20), a = whole;
  struct pool p;
  int32_t ids[3][60];
  struct et_job *job[3];
  et_state = 9;
  for (int i = 0; i < 3; i++) et_random(ids[i], 60);
  et_start(&et, model, o);
  ck_assert(pool_new(&p, kind, (int)et.model.hp.n_embd, &a));
  for (int i = 0; i < (o.n_sequences ? 3 : 1); i++) {
    job[i] = et_job(ids[i], i ? 60 - 7 * i : 60, i ? 5 : n_greedy, &a);
    if (i == 0) job[i]->r.pool = &p;
    et_submit(&et, job[i]);
  }
  while (engine_step(&et)) {}
  ck_assert(p.count == (kind == POOL_MEAN ? 60 : 1) && pool_vector(&p, out));
  engine_close(&et);
  os_release(whole);
}

START_TEST(pool_same_bits) {
  static const struct { int threads, chunk, sequences, greedy; } ways[] = {{1, 1, 0, 0}, {2, 7, 0, 6}, {2, 0, 2, 0}, {3, 13, 3, 6}};
  for (int model = 0; model < ET_MODELS; model++)
    for (int kind = POOL_MEAN; kind <= POOL_LAST; kind++) {
      float want[256], got[256];
      double length = 0;
      pt_vector(model, (struct engine_options){.n_threads = 1}, (enum pooling)kind, 0, want);
      const int n = model == 1 ? 64 : 32;
      for (int i = 0; i < n; i++) length += (double)want[i] * (double)want[i];
      ck_assert_double_eq_tol(length, 1, 1e-6);
      for (int w = 0; w < ARRAY_LEN(ways); w++) {
        const struct engine_options o = {.n_threads = ways[w].threads, .chunk = ways[w].chunk, .n_sequences = ways[w].sequences};
        pt_vector(model, o, (enum pooling)kind, ways[w].greedy, got);
        ck_assert_msg(memcmp(want, got, sizeof *got * (size_t)n) == 0, "model %d, pooling %d, way %d: other bits", model, kind, w);
      }
    }
}
END_TEST

static Suite *pool_suite(void) {
  Suite *s = suite_create("pool");
  TCase *t = tcase_create("pool");
  tcase_add_test(t, pool_kinds);
  tcase_add_test(t, pool_no_numbers);
  tcase_add_test(t, pool_defaults);
  tcase_add_test(t, pool_same_bits);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
