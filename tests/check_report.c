/* check_report.c -- counting lines that are the same in bounded memory, order and ranks; the numbers of whole reports are
 * test_report.py's.
 * SPDX-License-Identifier: MIT */

START_TEST(report_counts) { // exact while there is room, then within five standard errors
  static const int numbers[] = {1, 1000, 700000, 900000, 3000000};
  struct arena a = test_arena(REPORT_SEEN * 16 + 4096);
  struct report r = {.seen = ARENA_NEW(&a, uint64_t, REPORT_SEEN), .order = ARENA_NEW(&a, uint64_t, REPORT_SEEN)};
  for (int k = 0; k < ARRAY_LEN(numbers); k++) {
    const int n = numbers[k];
    memset(r.seen, 0, sizeof *r.seen * REPORT_SEEN);
    r.n_seen = 0;
    r.mask = 0;
    for (int i = 0; i < n + n / 3; i++) {
      const int line = i < n ? i : i - n; // a third of them twice
      report_note(&r, str_hash((struct str){(const char *)&line, sizeof line}));
    }
    const double found = (double)r.n_seen * ((double)r.mask + 1);
    ck_assert((n > 786432) == (r.mask > 0));
    if (r.mask) ck_assert(found != n && fabs(found - n) < 5 * 1.2 * n / sqrt(r.n_seen));
    else ck_assert(found == n);
  }
}
END_TEST

START_TEST(report_ranks) {
  enum { N = 300 };
  static float x[N], kept[N];
  static uint64_t order[N], spare[N];
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < N; i++) x[i] = kept[i] = i % 3 ? tt_float() : (float)(i % 7 - 3) * (i % 2 ? -0.5f : 0.5f); // -0 and 0 among them
    report_order(x, N, order, spare);
    for (int i = 0; i < N; i++) ck_assert(report_value(order[i]) == (double)kept[(uint32_t)order[i]]);
    for (int i = 1; i < N; i++) {
      const float before = kept[(uint32_t)order[i - 1]], here = kept[(uint32_t)order[i]];
      ck_assert(before > here || (before == here && (uint32_t)order[i - 1] < (uint32_t)order[i]));
    }
    report_rank(x, N, order);
    for (int i = 0; i < N; i++) {
      int more = 0, same = 0;
      for (int j = 0; j < N; j++) more += kept[j] > kept[i], same += kept[j] == kept[i];
      ck_assert(x[i] == (float)more + (float)(same - 1) / 2);
    }
  }
}
END_TEST

START_TEST(report_correlations) {
  const float x[] = {1, 2, 3, 4}, up[] = {10, 20, 30, 40}, down[] = {4, 3, 2, 1}, flat[] = {5, 5, 5, 5}, some[] = {1, 3, 2, 4};
  ck_assert_double_eq_tol(report_correlation(x, up, 4), 1, 1e-12);
  ck_assert_double_eq_tol(report_correlation(x, down, 4), -1, 1e-12);
  ck_assert_double_eq_tol(report_correlation(x, some, 4), 0.8, 1e-12);
  ck_assert(isnan(report_correlation(x, flat, 4)) && isnan(report_correlation(x, x, 1)) && isnan(report_correlation(x, x, 0)));
}
END_TEST

static Suite *report_suite(void) {
  Suite *s = suite_create("report");
  TCase *t = tcase_create("report");
  tcase_add_test(t, report_counts);
  tcase_add_test(t, report_ranks);
  tcase_add_test(t, report_correlations);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
