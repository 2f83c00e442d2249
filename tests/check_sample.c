/* check_sample.c -- logits to a token: greedy choice, filters against a naive reading of their definitions, penalties,
 * seeds, and whether what is drawn has the distribution it should.
 * SPDX-License-Identifier: MIT */

enum { ST_VOCAB = 200 };
static struct sample_candidate st_space[ST_VOCAB];
static uint64_t st_state = 3;

static struct bk_sampler st_plain(float temperature, uint64_t seed) { // nothing filtered
  struct bk_sampler s = bk_sampler_default(seed);
  s.temperature = temperature;
  s.top_k = 0;
  s.top_p = 1;
  s.min_p = 0;
  return s;
}

static int32_t st_draw(struct bk_sampler *s, const float *logits, int n) {
  return sample_token(s, logits, n, NULL, 0, st_space);
}

static void st_random(float *logits, int n, double spread) { // with ties here and there
  for (int i = 0; i < n; i++) logits[i] = (float)((int)(sample_uniform(&st_state) * 64) / 8.0 * spread);
}

/* ---- temperature 0 ---- */

START_TEST(sample_greedy_choice) {
  const float inf = INFINITY_F, nan = f32_from_bits(0x7FC00000u);
  const struct { float logits[5]; int32_t want; } cases[] = {
    {{1, 3, 3, 2, 3}, 1},          {{-5, -5, -5, -5, -5}, 0},     {{nan, 1, nan, 2, nan}, 3}, {{inf, 1, 0, 0, 0}, 1},
    {{-inf, -inf, -7, -8, nan}, 2}, {{nan, inf, -inf, nan, nan}, -1}, {{0.0f, -0.0f, 0, 0, 0}, 0},
    {{-3e38f, 3e38f, 3.1e38f, 0, 0}, 2}, {{1e-45f, 0, 0, 0, 0}, 0}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    struct bk_sampler s = st_plain(0, 1);
    ck_assert_int_eq(sample_greedy(cases[i].logits, 5), cases[i].want);
    ck_assert_int_eq(st_draw(&s, cases[i].logits, 5), cases[i].want);
    s.temperature = 1;
    s.top_k = 1; // one candidate is no choice
    ck_assert_int_eq(st_draw(&s, cases[i].logits, 5), cases[i].want);
  }
}
END_TEST

START_TEST(sample_not_finite) { // never drawn, at any temperature; -1 if there is nothing else
  const float inf = INFINITY_F, nan = f32_from_bits(0x7FC00000u);
  const float some[4] = {nan, 2, -inf, 2}, none[4] = {nan, inf, -inf, nan};
  struct bk_sampler s = st_plain(1, 5);
  int seen[4] = {0};
  for (int i = 0; i < 200; i++) seen[st_draw(&s, some, 4)]++;
  ck_assert(seen[0] == 0 && seen[2] == 0 && seen[1] > 60 && seen[3] > 60);
  ck_assert_int_eq(st_draw(&s, none, 4), -1);
  float wide[3] = {3e38f, -3e38f, 3e38f}; // differences beyond the range of float
  for (int i = 0; i < 50; i++) ck_assert_int_ne(st_draw(&s, wide, 3), 1);
}
END_TEST

/* ---- order ---- */

START_TEST(sample_best_is_top) { // of the finite ones, whatever lies between them
  static float logits[3000];
  static struct sample_candidate all[3000], best[3000];
  static const int ks[] = {1, 2, 5, 40, 256, 2999};
  for (int round = 0; round < 60; round++) {
    int n = round % 2 ? 3000 : 7 + round * 11, k = ks[round % 6] < n ? ks[round % 6] : n - 1, finite = 0;
    st_random(logits, n, round % 3 + 1.0);
    for (int i = 0; i < n / 5; i++)
      logits[(int)(sample_uniform(&st_state) * n)] = f32_from_bits(i % 3 ? 0x7FC00000u : 0xFF800000u - (i % 2 ? 0x80000000u : 0));
    for (int i = 0; i < n; i++)
      if (logits[i] - logits[i] == 0) all[finite++] = (struct sample_candidate){logits[i], i};
    sample_top(all, finite, k < finite ? k : finite);
    int found = sample_best(logits, n, k, best);
    ck_assert_int_eq(found, k < finite ? k : finite);
    for (int i = 0; i < found; i++) ck_assert(best[i].id == all[i].id && best[i].logit == all[i].logit);
    ck_assert_int_eq(sample_greedy(logits, n), all[0].id);
  }
}
END_TEST

START_TEST(sample_top_orders) {
  float logits[ST_VOCAB];
  for (int round = 0; round < 300; round++) {
    int n = 1 + (int)(sample_uniform(&st_state) * ST_VOCAB), k = 1 + (int)(sample_uniform(&st_state) * n);
    st_random(logits, n, round % 2 ? 1 : 0.05);
    for (int i = 0; i < n; i++) st_space[i] = (struct sample_candidate){logits[i], i};
    sample_top(st_space, n, k);
    bool used[ST_VOCAB] = {false};
    for (int i = 0; i < k; i++) { // the naive way: the best of those that are left, the first of equals
      int best = -1;
      for (int j = 0; j < n; j++)
        if (!used[j] && (best < 0 || logits[j] > logits[best])) best = j;
      used[best] = true;
      ck_assert_int_eq(st_space[i].id, best);
      ck_assert(st_space[i].logit == logits[best]);
    }
  }
}
END_TEST

/* ---- filters: which tokens may come, and how often ---- */

/* Probabilities after penalties-free filters, straight from the definitions, in the order top-k, top-p, min-p,
 * temperature. */
static void st_expected(const struct bk_sampler *s, const float *logits, int n, double *p) {
  int order[ST_VOCAB], keep = s->top_k > 0 && s->top_k < n ? s->top_k : n;
  double total = 0, sum = 0;
  for (int i = 0; i < n; i++) {
    int at = i;
    for (; at > 0 && logits[order[at - 1]] < logits[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  double top = (double)logits[order[0]];
  for (int i = 0; i < keep; i++) total += exp((double)logits[order[i]] - top);
  for (int i = 0; i < keep && s->top_p < 1; i++) {
    sum += exp((double)logits[order[i]] - top) / total;
    if (sum >= (double)s->top_p) keep = i + 1;
  }
  while (keep > 1 && exp((double)logits[order[keep - 1]] - top) < (double)s->min_p) keep--;
  for (int i = 0; i < n; i++) p[i] = 0;
  total = 0;
  for (int i = 0; i < keep; i++) total += exp(((double)logits[order[i]] - top) / (double)s->temperature);
  for (int i = 0; i < keep; i++) p[order[i]] = exp(((double)logits[order[i]] - top) / (double)s->temperature) / total;
}

START_TEST(sample_distribution) {
  enum { N = 12, DRAWS = 20000 };
  for (int round = 0; round < 60; round++) {
    float logits[N];
    double p[N], chi = 0;
    int seen[N] = {0}, cells = 0;
    struct bk_sampler s = st_plain(0.3f + 0.1f * (float)(round % 15), 1000 + (uint64_t)round);
    st_random(logits, N, 0.5);
    s.top_k = round % 4 == 1 ? 1 + round % 13 : 0;
    s.top_p = round % 3 == 1 ? 0.1f + 0.05f * (float)(round % 18) : 1.0f;
    s.min_p = round % 5 == 2 ? 0.02f * (float)(round % 25) : 0.0f;
    st_expected(&s, logits, N, p);
    for (int i = 0; i < DRAWS; i++) seen[st_draw(&s, logits, N)]++;
    double rest = 0, rest_seen = 0;
    for (int i = 0; i < N; i++) {
      if (p[i] == 0) ck_assert_msg(seen[i] == 0, "round %d: %d was drawn %d times", round, i, seen[i]);
      if (p[i] * DRAWS < 8) {
        rest += p[i] * DRAWS, rest_seen += seen[i];
        continue;
      }
      chi += (seen[i] - p[i] * DRAWS) * (seen[i] - p[i] * DRAWS) / (p[i] * DRAWS);
      cells++;
    }
    if (rest >= 8) chi += (rest_seen - rest) * (rest_seen - rest) / rest, cells++;
    /* 12 cells at most: 11 degrees of freedom, of which 35 is exceeded once in 4000; the seeds are fixed. */
    ck_assert_msg(chi < 35, "round %d: chi square %.1f over %d cells", round, chi, cells);
  }
}
END_TEST

START_TEST(sample_keeps_one) { // however hard the filters are
  float logits[6] = {1, 5, 2, 5, 0, -1};
  struct bk_sampler s = st_plain(2, 9);
  s.top_p = 0;
  for (int i = 0; i < 20; i++) ck_assert_int_eq(st_draw(&s, logits, 6), 1);
  s.top_p = 1;
  s.min_p = 1; // as likely as the first: both
  int seen[6] = {0};
  for (int i = 0; i < 200; i++) seen[st_draw(&s, logits, 6)]++;
  ck_assert(seen[1] + seen[3] == 200 && seen[1] > 50 && seen[3] > 50);
  s.top_k = 1000; // more than there are
  ck_assert_int_ge(st_draw(&s, logits, 6), 0);
  s.temperature = 1e-6f; // no overflow, no division that is not one
  s.min_p = 0;
  for (int i = 0; i < 20; i++) ck_assert_int_eq(st_draw(&s, logits, 6) & 1, 1);
  s.temperature = 1e30f;
  for (int i = 0; i < 20; i++) ck_assert_int_ge(st_draw(&s, logits, 6), 0);
}
END_TEST

/* ---- penalties ---- */

START_TEST(sample_penalties) {
  const float logits[5] = {2.0f, 1.9f, -1.0f, 1.0f, -2.0f};
  const int32_t recent[] = {0, 0, 2, 0, -5, 99};
  struct bk_sampler s = st_plain(0, 1);
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 0); // off by default
  s.repetition_penalty = 1.1f; // 2.0 / 1.1 = 1.82
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 1);
  const int32_t first[] = {0, 1}, low[] = {2, 0, 1, 3};
  ck_assert_int_eq(sample_token(&s, logits, 5, first, 2, st_space), 0);  // both alike
  s.repetition_penalty = 3.0f; // -1 * 3 = -3 is below -2
  const float negative[5] = {-9, -9, -1.0f, -9, -2.0f};
  ck_assert_int_eq(sample_token(&s, negative, 5, low, 1, st_space), 4);
  s.repetition_penalty = 1;
  s.presence_penalty = 0.15f; // once, however often: 1.85
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 1);
  s.presence_penalty = 0.09f;
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 0);
  s.presence_penalty = 0;
  s.frequency_penalty = 0.04f; // three times: 1.88
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 1);
  s.penalty_window = 4; // sees two of them: 1.92
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 4, st_space), 1);
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 0);
  s.penalty_window = 0;
  s.presence_penalty = 2;
  ck_assert_int_eq(sample_token(&s, logits, 5, recent, 6, st_space), 0); // looks back on nothing
  s.penalty_window = 64;
  s.frequency_penalty = s.presence_penalty = -2; // an encouragement
  ck_assert_int_eq(sample_token(&s, logits, 5, low, 1, st_space), 2);
}
END_TEST

START_TEST(sample_penalties_naive) {
  float logits[40];
  int32_t recent[90];
  for (int round = 0; round < 400; round++) {
    st_random(logits, 40, 1);
    for (int i = 0; i < 40; i++) logits[i] -= 4;
    int n = (int)(sample_uniform(&st_state) * 90), count[40] = {0};
    for (int i = 0; i < n; i++) recent[i] = (int32_t)(sample_uniform(&st_state) * 40);
    struct bk_sampler s = st_plain(0, 1);
    s.repetition_penalty = 1.25f, s.presence_penalty = 0.5f, s.frequency_penalty = 0.125f,
    s.penalty_window = round % 80;
    for (int i = n > s.penalty_window ? n - s.penalty_window : 0; i < n; i++) count[recent[i]]++;
    int best = 0;
    float mine[40], before[40];
    for (int i = 0; i < 40; i++) {
      mine[i] = logits[i];
      if (!count[i]) continue;
      mine[i] = mine[i] > 0 ? mine[i] / 1.25f : mine[i] * 1.25f;
      mine[i] -= 0.5f + 0.125f * (float)count[i];
    }
    for (int i = 1; i < 40; i++)
      if (mine[i] > mine[best]) best = i;
    memcpy(before, logits, sizeof before);
    ck_assert_int_eq(sample_token(&s, logits, 40, recent, n, st_space), best);
    ck_assert(memcmp(before, logits, sizeof before) == 0); // what it is given stays as it is
  }
}
END_TEST

/* ---- seeds ---- */

START_TEST(sample_seeds) {
  float logits[ST_VOCAB];
  int32_t first[100];
  int differ = 0;
  st_random(logits, ST_VOCAB, 0.2);
  for (int run = 0; run < 3; run++) {
    struct bk_sampler s = bk_sampler_default(run == 2 ? 43 : 42);
    for (int i = 0; i < 100; i++) {
      int32_t id = st_draw(&s, logits, ST_VOCAB);
      if (run == 0) first[i] = id;
      if (run == 1) ck_assert_int_eq(id, first[i]);
      differ += run == 2 && id != first[i];
    }
  }
  ck_assert_int_gt(differ, 50);
  struct bk_sampler d = bk_sampler_default(7); // what the header promises
  ck_assert(d.temperature == 0.8f && d.top_k == 40 && d.top_p == 0.95f && d.min_p == 0.05f);
  ck_assert(d.repetition_penalty == 1 && d.presence_penalty == 0 && d.frequency_penalty == 0 && d.state == 7);
}
END_TEST

START_TEST(sample_uniform_numbers) { // published vectors of splitmix64 for the seed 1234567, and a look at the spread
  static const uint64_t want[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                  4593380528125082431u};
  uint64_t state = 1234567;
  for (int i = 0; i < ARRAY_LEN(want); i++) ck_assert(sample_uniform(&state) == (double)(want[i] >> 11) * 0x1p-53);
  int bins[16] = {0};
  for (int i = 0; i < 160000; i++) {
    double u = sample_uniform(&state);
    ck_assert(u >= 0 && u < 1);
    bins[(int)(u * 16)]++;
  }
  for (int i = 0; i < 16; i++) ck_assert(bins[i] > 9500 && bins[i] < 10500); // five standard deviations
}
END_TEST

static Suite *sample_suite(void) {
  Suite *s = suite_create("sample");
  TCase *t = tcase_create("sample");
  tcase_add_test(t, sample_greedy_choice);
  tcase_add_test(t, sample_not_finite);
  tcase_add_test(t, sample_best_is_top);
  tcase_add_test(t, sample_top_orders);
  tcase_add_test(t, sample_distribution);
  tcase_add_test(t, sample_keeps_one);
  tcase_add_test(t, sample_penalties);
  tcase_add_test(t, sample_penalties_naive);
  tcase_add_test(t, sample_seeds);
  tcase_add_test(t, sample_uniform_numbers);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
