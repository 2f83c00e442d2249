/* check_engine.c -- many sequences on one machine: the golden logits of tests/golden, and that nothing but --isa, --kv
 * and --exact can change a bit: not what runs beside, not chunks, threads, kept pages, nor waiting for a place.
 * Threads: the pool under tiny phases and under more threads than processors.
 * SPDX-License-Identifier: MIT */

static struct engine et, et_other; // not on the stack: a model's view of files is large
static const char *const et_names[] = {"llama-tiny-f32", "llama-tiny-mixed", "gemma3-tiny-f16"};
enum { ET_MODELS = 3, ET_VOCAB = 268, ET_MAX = 320 };

static const char *et_path(int model, const char *suffix) {
  static char path[256];
  snprintf(path, sizeof path, TEST_ROOT "/golden/%s.%s", et_names[model], suffix);
  return path;
}

static void et_start(struct engine *g, int model, struct engine_options o) {
  struct bk_error e = {0};
  if (!o.n_threads) o.n_threads = 1;
  ck_assert_msg(engine_open(g, et_path(model, "gguf"), &o, &e) && engine_load(g, &e), "%s", e.message);
}

/* ---- one request ---- */

struct et_job {
  struct request r;
  int32_t ids[ET_MAX];
  bool wanted[ET_MAX];
  float (*rows)[ET_VOCAB]; // (ET_MAX) logits of the positions that were asked for
  int next_position, stop_at;
};

static int32_t et_logits(struct request *r, int position, const float *logits) {
  struct et_job *j = r->context;
  ck_assert_int_ge(position, j->next_position); // in order
  ck_assert(position >= r->n_prompt - 1 || r->wanted[position]);
  j->next_position = position + 1;
  memcpy(j->rows[position], logits, sizeof j->rows[position]);
  if (j->stop_at && position >= j->stop_at) return -1;
  return sample_greedy(logits, ET_VOCAB);
}

static struct et_job *et_job(const int32_t *ids, int n, int greedy, struct arena *a) {
  struct et_job *j = ARENA_NEW(a, struct et_job, 1);
  j->rows = arena_alloc(a, ET_MAX, sizeof *j->rows, 64);
  ck_assert(j->rows && n + greedy <= ET_MAX);
  memcpy(j->ids, ids, sizeof *ids * (size_t)n);
  memset(j->wanted, 1, sizeof j->wanted);
  j->r = (struct request){
      .ids = j->ids, .n_prompt = n, .n_max = n + greedy, .wanted = j->wanted, .logits = et_logits, .context = j};
  return j;
}

static void et_submit(struct engine *g, struct et_job *j) {
  struct bk_error e = {0};
  ck_assert_msg(engine_submit(g, &j->r, &e), "%s", e.message);
}

static void et_run(struct engine *g, struct et_job *j) {
  et_submit(g, j);
  while (engine_step(g)) {}
  ck_assert_int_eq(j->r.state, REQUEST_DONE);
}

static void et_same(const struct et_job *a, const struct et_job *b, const char *what) {
  ck_assert_msg(a->r.n_ids == b->r.n_ids && memcmp(a->ids, b->ids, sizeof *a->ids * (size_t)a->r.n_ids) == 0,
                "%s: other tokens", what);
  for (int i = 0; i < a->next_position; i++)
    ck_assert_msg(memcmp(a->rows[i], b->rows[i], sizeof a->rows[i]) == 0, "%s: other bits at position %d of %d", what,
                  i, a->r.n_ids);
}

static uint64_t et_state = 5;
static void et_random(int32_t *ids, int n) {
  for (int i = 0; i < n; i++) ids[i] = (int32_t)(sample_uniform(&et_state) * ET_VOCAB);
}

/* ---- golden logits ---- */

static const struct json *et_golden(int model, struct arena *a) {
  struct bk_error e = {0};
  struct str text;
  struct json *j;
  ck_assert_msg(os_read_file(et_path(model, "json"), 1 << 20, a, &text, &e) && json_parse(text, a, &j, &e), "%s",
                e.message);
  ck_assert_int_eq(json_get(j, "n_vocab")->integer, ET_VOCAB);
  return json_get(j, "cases");
}

/* Largest difference from the golden logits, and greedy tokens as far as the golden choice is clear. */
static double et_compare(struct engine *g, int model, double clear, int *n_greedy) {
  struct arena whole = test_arena(16 << 20), a = whole;
  double worst = 0;
  for (const struct json *c = et_golden(model, &a)->first; c; c = c->next) {
    const struct json *ids = json_get(c, "ids"), *p = json_get(c, "positions")->first,
                      *row = json_get(c, "logits")->first;
    const struct json *greedy = json_get(c, "greedy"), *gap = greedy ? json_get(c, "gap")->first : NULL;
    int32_t prompt[ET_MAX];
    int n = 0;
    for (const struct json *id = ids->first; id; id = id->next) prompt[n++] = (int32_t)id->integer;
    struct arena scratch = a;
    struct et_job *j = et_job(prompt, n, greedy ? greedy->count : 0, &scratch);
    et_run(g, j);
    for (; p; p = p->next, row = row->next) {
      int i = 0;
      for (const struct json *v = row->first; v; v = v->next, i++) {
        double error = fabs((double)j->rows[p->integer][i] - v->number);
        worst = error > worst ? error : worst;
        ck_assert(error == error);
      }
      ck_assert_int_eq(i, ET_VOCAB);
    }
    for (const struct json *id = greedy ? greedy->first : NULL; id && gap->number > clear;
         id = id->next, gap = gap->next, n++, ++*n_greedy)
      ck_assert_int_eq(j->ids[n], id->integer);
  }
  os_release(whole);
  return worst;
}

START_TEST(engine_golden_exact) { // float32 against float64
  for (int model = 0; model < ET_MODELS; model++)
    for (int isa = 0; isa < ISA_COUNT; isa++) {
      if (!kern_get((enum os_isa)isa)) continue;
      int greedy = 0;
      et_start(&et, model, (struct engine_options){.exact = true, .has_isa = true, .isa = (enum os_isa)isa});
      double worst = et_compare(&et, model, 1e-3, &greedy);
      ck_assert_msg(worst < 1e-4, "%s, %s: off by %g", et_names[model], kern_names[isa], worst);
      ck_assert_int_eq(greedy, 24);
      engine_close(&et);
    }
}
END_TEST

START_TEST(engine_golden_fast) { // int8 activations, keys and values of each type: near, and the same on every set
  static const double bound[ET_MODELS][KV_TYPE_COUNT] = {{0.04, 1e-4, 0.5}, {0.6, 0.5, 0.6}, {0.01, 1e-4, 0.25}};
  for (int model = 0; model < ET_MODELS; model++)
    for (int type = 0; type < KV_TYPE_COUNT; type++) {
      double first = -1;
      for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!kern_get((enum os_isa)isa)) continue;
        int greedy = 0;
        et_start(&et, model,
                 (struct engine_options){.kv = (enum kv_type)type, .has_isa = true, .isa = (enum os_isa)isa});
        double worst = et_compare(&et, model, 1.0, &greedy);
        ck_assert_msg(worst < bound[model][type], "%s, keys and values %d, %s: off by %g", et_names[model], type,
                      kern_names[isa], worst);
        ck_assert(first < 0 || worst == first);
        first = worst;
        engine_close(&et);
      }
    }
}
END_TEST

/* ---- what must not change a bit ---- */

START_TEST(engine_same_bits) {
  struct arena whole = test_arena(64 << 20);
  static const struct {
    int threads, chunk, sequences;
  } ways[] = {{1, 1, 1}, {1, 7, 1}, {2, 64, 1}, {2, 256, 3}, {3, 13, 2}};
  for (int model = 0; model < ET_MODELS; model++)
    for (int type = 0; type < KV_TYPE_COUNT; type++) {
      struct arena a = whole;
      int32_t ids[70];
      et_random(ids, 70);
      struct et_job *want = et_job(ids, 70, 6, &a);
      et_start(&et, model, (struct engine_options){.kv = (enum kv_type)type});
      et_run(&et, want);
      ck_assert(want->r.max_rows == 70 && want->r.steps == 6);
      engine_close(&et);
      for (int round = 0; round < 2 * ARRAY_LEN(ways); round++) {
        const int w = round / 2;
        struct arena scratch = a;
        struct et_job *got = et_job(ids, 70, 6, &scratch);
        for (int i = 0; i < 69 && round % 2; i++) { // of most rows of a prompt nothing is asked
          got->wanted[i] = i == 3 || i == 40;
          if (!got->wanted[i]) memcpy(got->rows[i], want->rows[i], sizeof *got->rows);
        }
        et_start(&et, model,
                 (struct engine_options){.kv = (enum kv_type)type,
                                         .n_threads = ways[w].threads,
                                         .chunk = ways[w].chunk,
                                         .n_sequences = ways[w].sequences});
        et_run(&et, got);
        et_same(want, got, "another way");
        int chunk = ways[w].chunk < 70 ? ways[w].chunk : 70;
        ck_assert_int_eq(got->r.max_rows, chunk);
        ck_assert_int_eq(got->r.steps, (70 + chunk - 1) / chunk + 5);
        engine_close(&et);
      }
    }
  os_release(whole);
}
END_TEST

START_TEST(engine_side_by_side) { // prompts of many lengths, ending at different times, more than there are places
  enum { N = 9 };
  static const int lengths[N] = {1, 40, 64, 65, 3, 130, 17, 2, 90}, greedy[N] = {20, 3, 0, 7, 30, 1, 12, 0, 5};
  struct arena whole = test_arena(64 << 20);
  for (int model = 0; model < ET_MODELS; model++) {
    struct arena a = whole;
    struct et_job *alone[N], *together[N];
    et_start(&et, model, (struct engine_options){.n_context = 192});
    for (int i = 0; i < N; i++) {
      int32_t ids[130];
      et_random(ids, lengths[i]);
      alone[i] = et_job(ids, lengths[i], greedy[i], &a);
      together[i] = et_job(ids, lengths[i], greedy[i], &a);
      et_run(&et, alone[i]);
    }
    engine_close(&et);
    for (int places = 2; places <= 9; places += 7) {
      et_start(&et, model,
               (struct engine_options){
                   .n_context = 192, .n_sequences = places, .n_threads = 2, .chunk = places == 2 ? 256 : 24});
      int most = 0;
      for (int i = 0; i < N; i++) {
        together[i]->next_position = 0;
        together[i]->r = (struct request){.ids = together[i]->ids,
                                          .n_prompt = lengths[i],
                                          .n_max = lengths[i] + greedy[i],
                                          .wanted = together[i]->wanted,
                                          .logits = et_logits,
                                          .context = together[i]};
        et_submit(&et, together[i]);
      }
      while (engine_step(&et)) {}
      for (int i = 0; i < N; i++) {
        et_same(alone[i], together[i], "side by side");
        most = together[i]->r.max_rows > most ? together[i]->r.max_rows : most;
      }
      ck_assert_int_gt(most, places == 2 ? 64 : 24); // they did share steps
      ck_assert_int_eq(et.kv.n_free, et.kv.n_pages);
      engine_close(&et);
    }
  }
  os_release(whole);
}
END_TEST

START_TEST(engine_waits_for_pages) { // with most pages taken away, requests queue, in order, and nothing fails
  enum { N = 4 };
  struct arena whole = test_arena(64 << 20), a = whole;
  struct et_job *jobs[N], *alone[N];
  int32_t ids[100];
  et_random(ids, 100);
  et_start(&et, 0, (struct engine_options){.n_context = 128, .n_sequences = N});
  for (int i = 0; i < N; i++) {
    alone[i] = et_job(ids, 100 - 5 * i, 4, &a);
    jobs[i] = et_job(ids, 100 - 5 * i, 4, &a);
    et_run(&et, alone[i]);
  }
  int kept = kv_pages_for(104), taken[4 * 128], n = et.kv.n_pages - kept;
  ck_assert(kv_take(&et.kv, n, taken));
  for (int i = 0; i < N; i++) et_submit(&et, jobs[i]);
  for (int i = 0; i < N; i++) { // room for one: the first runs to its end, then the next
    while (jobs[i]->r.state != REQUEST_DONE) {
      ck_assert(engine_step(&et));
      for (int k = i + 1; k < N; k++) ck_assert(jobs[k]->r.state == REQUEST_WAITING && jobs[k]->r.n_done == 0);
    }
    et_same(alone[i], jobs[i], "after waiting");
  }
  ck_assert(!engine_step(&et));
  kv_give(&et.kv, n, taken);
  ck_assert_int_eq(et.kv.n_free, et.kv.n_pages);
  engine_close(&et);
  os_release(whole);
}
END_TEST

static int32_t et_stop(struct request *r, int position, const float *logits) {
  (void)logits, (void)position;
  ++*(int *)r->context;
  return -1;
}

START_TEST(engine_ends) { // who ends a request: the callback, the room, or nobody who asks
  struct arena whole = test_arena(16 << 20), a = whole;
  struct bk_error e = {0};
  int32_t ids[ET_MAX];
  int calls = 0;
  et_random(ids, ET_MAX);
  et_start(&et, 0, (struct engine_options){.n_context = 64});
  struct request silent = {.ids = ids, .n_prompt = 50, .n_max = 50};
  ck_assert(engine_submit(&et, &silent, &e));
  while (engine_step(&et)) {}
  ck_assert(silent.state == REQUEST_DONE && silent.n_done == 50 && silent.steps == 1);
  struct request stops = {.ids = ids, .n_prompt = 50, .n_max = 64, .logits = et_stop, .context = &calls};
  ck_assert(engine_submit(&et, &stops, &e));
  while (engine_step(&et)) {}
  ck_assert(stops.state == REQUEST_DONE && stops.n_ids == 50 && calls == 1); // of the last position only
  struct et_job *full = et_job(ids, 60, 100, &a); // more than the context: cut to it
  et_run(&et, full);
  ck_assert(full->r.n_ids == 64 && full->r.n_max == 64);
  ck_assert_int_eq(et.kv.n_free, et.kv.n_pages);
  ck_assert(!engine_step(&et));
  engine_close(&et);
  os_release(whole);
}
END_TEST

START_TEST(engine_refuses_requests) {
  struct bk_error e = {0};
  int32_t ids[ET_MAX] = {0};
  et_start(&et, 0, (struct engine_options){.n_context = 32});
  struct request r = {.ids = ids, .n_prompt = 0};
  ck_assert(!engine_submit(&et, &r, &e));
  test_error(&e, ERR_DATA, "empty");
  static const int32_t wrong[] = {-1, ET_VOCAB, INT32_MAX, INT32_MIN};
  for (int i = 0; i < ARRAY_LEN(wrong); i++) {
    char said[64];
    memset(&e, 0, sizeof e);
    r = (struct request){.ids = ids, .n_prompt = 5};
    ids[3] = wrong[i];
    ck_assert(!engine_submit(&et, &r, &e));
    snprintf(said, sizeof said, "token 3 of the prompt is %d, expected 0 to 267", (int)wrong[i]);
    test_error(&e, ERR_DATA, said);
  }
  ids[3] = 0;
  memset(&e, 0, sizeof e);
  r = (struct request){.ids = ids, .n_prompt = 33};
  ck_assert(!engine_submit(&et, &r, &e));
  test_error(&e, ERR_DATA, "33 tokens, the context holds 32");
  ck_assert(!engine_step(&et)); // nothing was queued
  memset(&e, 0, sizeof e);
  r = (struct request){.ids = ids, .n_prompt = 32};
  ck_assert(engine_submit(&et, &r, &e));
  while (engine_step(&et)) {}
  ck_assert_int_eq(r.n_done, 32);
  engine_close(&et);
}
END_TEST

START_TEST(engine_refuses_options) {
  struct bk_error e = {0};
  struct engine_options o = {.n_context = 513, .n_threads = 1};
  ck_assert(!engine_open(&et, et_path(0, "gguf"), &o, &e));
  test_error(&e, ERR_USAGE, "513 positions, the model was made for 512");
  for (int isa = 0; isa < ISA_COUNT; isa++) {
    if (kern_get((enum os_isa)isa)) continue;
    memset(&e, 0, sizeof e);
    o = (struct engine_options){.has_isa = true, .isa = (enum os_isa)isa};
    ck_assert(!engine_open(&et, et_path(0, "gguf"), &o, &e));
    test_error(&e, ERR_UNAVAILABLE, kern_names[isa]);
  }
  memset(&e, 0, sizeof e);
  o = (struct engine_options){.n_threads = 1};
  ck_assert(engine_open(&et, et_path(0, "gguf"), &o, &e));
  struct engine_plan p = engine_plan(&et);
  ck_assert(p.total == p.mapped + p.packed + p.tables + p.keys_values + p.scratch && p.keys_values > 0);
  engine_close(&et);
  o.memory = p.total;
  ck_assert(engine_open(&et, et_path(0, "gguf"), &o, &e)); // exactly enough
  engine_close(&et);
  o.memory--;
  ck_assert(!engine_open(&et, et_path(0, "gguf"), &o, &e));
  char said[64];
  snprintf(said, sizeof said, "needs %zu bytes", p.total);
  test_error(&e, ERR_BUSY, said);
}
END_TEST

/* ---- sessions ---- */

START_TEST(session_keeps_what_fits) { // a sequence grown, cut back and changed has the logits it has at once
  struct bk_error e = {0};
  for (int model = 0; model < ET_MODELS; model++) {
    struct bk_options o = {.threads = 1, .context = 128, .sessions = 2};
    struct bk_model *m = bk_model_open(et_path(model, "gguf"), &o, &e);
    ck_assert_msg(m != NULL, "%s", e.message);
    struct bk_session *s = bk_session_open(m, &e), *fresh;
    ck_assert(s && !bk_session_logits(s) && bk_model_context(m) == 128 && bk_model_vocabulary(m) == ET_VOCAB);
    int32_t ids[128];
    et_random(ids, 128);
    static const int lengths[] = {1, 2, 40, 41, 30, 90, 90, 128, 5};
    for (int i = 0; i < ARRAY_LEN(lengths); i++) {
      if (i == 5) ids[20] = (ids[20] + 1) % ET_VOCAB;
      ck_assert_msg(bk_session_sync(s, ids, lengths[i], &e), "%s", e.message);
      ck_assert((fresh = bk_session_open(m, &e)) != NULL);
      ck_assert(bk_session_sync(fresh, ids, lengths[i], &e));
      ck_assert(memcmp(bk_session_logits(s), bk_session_logits(fresh), ET_VOCAB * sizeof(float)) == 0);
      bk_session_close(fresh);
    }
    struct bk_error bad = {0};
    ck_assert(!bk_session_sync(s, ids, 129, &bad));
    test_error(&bad, ERR_DATA, "129 tokens");
    memset(&bad, 0, sizeof bad);
    ck_assert(!bk_session_sync(s, ids, 0, &bad) && bad.code == ERR_DATA);
    memset(&bad, 0, sizeof bad);
    int32_t wrong[2] = {ids[0], ET_VOCAB};
    ck_assert(!bk_session_sync(s, wrong, 2, &bad) && bad.code == ERR_DATA && !bk_session_logits(s));
    ck_assert(bk_session_sync(s, ids, 7, &e)); // none of which has hurt it
    fresh = bk_session_open(m, &e);
    ck_assert(!bk_session_open(m, &bad)); // two are open
    bk_session_close(fresh);
    bk_session_close(s);
    bk_model_close(m);
  }
}
END_TEST

/* ---- the pool ---- */

enum { ET_PHASES = 24 };
struct et_pool {
  uint32_t ran[ET_PHASES][40]; // how often a chunk ran
  uint32_t finished[ET_PHASES];
  uint32_t early;              // chunks that ran before all of the phase before were done
  const int *chunks;
  int n_threads;
};

static void et_chunk(void *context, int phase, int chunk, int thread) {
  struct et_pool *p = context;
  if (thread < 0 || thread >= p->n_threads) __atomic_add_fetch(&p->early, 1000000, __ATOMIC_RELAXED);
  for (int before = phase - 1; before >= 0; before--)
    if (__atomic_load_n(&p->finished[before], __ATOMIC_ACQUIRE) != (uint32_t)p->chunks[before])
      __atomic_add_fetch(&p->early, 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&p->ran[phase][chunk], 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&p->finished[phase], 1, __ATOMIC_RELEASE);
}

static void et_pool_rounds(int n_threads, int rounds) {
  struct arena whole = test_arena(1 << 20), a = whole;
  struct bk_error e = {0};
  static struct cpu_pool pool;
  static struct et_pool seen;
  ck_assert(cpu_pool_open(&pool, n_threads, ET_PHASES, &a, &e));
  ck_assert_int_eq(pool.n_threads, n_threads);
  for (int round = 0; round < rounds; round++) {
    int n = 1 + (int)(sample_uniform(&et_state) * ET_PHASES), chunks[ET_PHASES];
    for (int i = 0; i < n; i++) chunks[i] = (int)(sample_uniform(&et_state) * (i % 3 ? 4 : 40)); // also none at all
    memset(&seen, 0, sizeof seen);
    seen.chunks = chunks;
    seen.n_threads = n_threads;
    cpu_pool_run(&pool, n, chunks, et_chunk, &seen);
    ck_assert_msg(seen.early == 0, "%u chunks before their turn", seen.early);
    for (int i = 0; i < n; i++) {
      ck_assert_uint_eq(seen.finished[i], (unsigned)chunks[i]);
      for (int c = 0; c < 40; c++) ck_assert_uint_eq(seen.ran[i][c], c < chunks[i]);
    }
    if (round % 97 == 0) usleep(300); // long enough to fall asleep
  }
  cpu_pool_close(&pool);
  os_release(whole);
}

START_TEST(pool_phases) { et_pool_rounds(_i + 1, 1500); }
END_TEST

START_TEST(pool_crowded) { et_pool_rounds(os_cpu_count() * 4 + 3, 150); }
END_TEST

static void et_count(void *context, int phase, int chunk, int thread) {
  (void)phase, (void)thread;
  __atomic_add_fetch(&((uint8_t *)context)[chunk], 1, __ATOMIC_RELAXED);
}

START_TEST(pool_many_chunks) { // more than a claim can number: a long text on many small heads
  enum { N = 600001 };
  static uint8_t ran[N];
  struct arena whole = test_arena(1 << 20), a = whole;
  struct bk_error e = {0};
  struct cpu_pool pool;
  static const int chunks[] = {N, 3, (1 << 18) - 1, 1 << 18};
  memset(ran, 0, sizeof ran);
  ck_assert(cpu_pool_open(&pool, 1 + _i, 4, &a, &e));
  cpu_pool_run(&pool, 4, chunks, et_count, ran);
  for (int i = 0; i < N; i++) ck_assert_int_eq(ran[i], 1 + (i < 3) + (i < (1 << 18) - 1) + (i < 1 << 18));
  cpu_pool_close(&pool);
  os_release(whole);
}
END_TEST

START_TEST(pool_opens_and_closes) {
  struct arena whole = test_arena(1 << 20);
  for (int i = 0; i < 60; i++) { // also without having run
    struct arena a = whole;
    struct bk_error e = {0};
    struct cpu_pool pool;
    ck_assert(cpu_pool_open(&pool, 1 + i % 5, 4, &a, &e));
    if (i % 3 == 0) usleep(200);
    cpu_pool_close(&pool);
  }
  struct cpu_pool never;
  memset(&never, 0, sizeof never);
  cpu_pool_close(&never);
  os_release(whole);
}
END_TEST

START_TEST(engine_crowded) { // more threads than processors, many tiny steps: the same bits
  struct arena whole = test_arena(16 << 20), a = whole;
  int32_t ids[20];
  et_random(ids, 20);
  struct et_job *want = et_job(ids, 20, 40, &a), *got = et_job(ids, 20, 40, &a);
  et_start(&et, 1, (struct engine_options){.n_threads = 1});
  et_start(&et_other, 1, (struct engine_options){.n_threads = os_cpu_count() * 2 + 1, .chunk = 3});
  et_run(&et, want);
  et_run(&et_other, got);
  et_same(want, got, "crowded");
  engine_close(&et);
  engine_close(&et_other);
  os_release(whole);
}
END_TEST

START_TEST(engine_lanes) { // each thread a batch of its own, or all together where something is generated: the same bits
  enum { N = 24 };
  struct arena whole = test_arena(64 << 20), a = whole;
  struct et_job *alone[N], *lanes[N];
  int32_t ids[200];
  et_random(ids, 200);
  et_start(&et, 1, (struct engine_options){.n_context = 256});
  et_start(&et_other, 1, (struct engine_options){.n_context = 256, .n_threads = 3, .n_sequences = 10, .rows = 16, .chunk = 40,
                                                 .lanes = LANES_ANY});
  for (int generating = 0; generating < 2; generating++) {
    int together = 0, batches = 0;
    for (int i = 0; i < N; i++) {
      const int n = i == 7 ? 200 : 1 + (i * 29 + 11 * generating) % 50, greedy = generating && i == 3 ? 5 : 0;
      alone[i] = et_job(ids, n, greedy, &a);
      lanes[i] = et_job(ids, n, greedy, &a);
      et_run(&et, alone[i]);
      et_submit(&et_other, lanes[i]);
    }
    while (engine_step(&et_other)) {
      batches = et_other.n_batches > batches ? et_other.n_batches : batches;
      together += et_other.n_batches == 1;
    }
    ck_assert_int_ge(batches, 3);
    if (generating) ck_assert_int_ge(together, 4); // its steps were not on lanes
    for (int i = 0; i < N; i++) {
      ck_assert_int_eq(lanes[i]->r.state, REQUEST_DONE);
      et_same(alone[i], lanes[i], "on lanes");
    }
  }
  ck_assert_int_eq(et_other.kv.n_free, et_other.kv.n_pages);
  engine_close(&et);
  engine_close(&et_other);
  os_release(whole);
}
END_TEST

static Suite *engine_suite(void) {
  Suite *s = suite_create("engine");
  TCase *t = tcase_create("engine");
  tcase_add_test(t, engine_golden_exact);
  tcase_add_test(t, engine_golden_fast);
  tcase_add_test(t, engine_same_bits);
  tcase_add_test(t, engine_side_by_side);
  tcase_add_test(t, engine_waits_for_pages);
  tcase_add_test(t, engine_ends);
  tcase_add_test(t, engine_refuses_requests);
  tcase_add_test(t, engine_refuses_options);
  tcase_add_test(t, session_keeps_what_fits);
  tcase_add_loop_test(t, pool_phases, 0, 4);
  tcase_add_test(t, pool_crowded);
  tcase_add_loop_test(t, pool_many_chunks, 0, 3);
  tcase_add_test(t, pool_opens_and_closes);
  tcase_add_test(t, engine_crowded);
  tcase_add_test(t, engine_lanes);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
