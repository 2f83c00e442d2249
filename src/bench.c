/* bench.c -- `bodkin bench`: speed against the roof of this machine, which is measured in the same call.
 *
 * The work is what llama-bench does: an uncounted warm-up, then runs of prefill (n tokens of a prompt, logits of the
 * last), decode (n single-token steps), both after `depth` tokens, batch (n steps of `batch` sequences), embed (vectors of
 * `batch` sequences of n tokens), load. The figure is the median of the runs. Bytes are those of the packed weights and of
 * the keys and values a step must read; operations those of the matrix products. Random ids, no sampling.
 * SPDX-License-Identifier: MIT */

enum bench_test { BENCH_PREFILL, BENCH_DECODE, BENCH_BATCH, BENCH_LOAD, BENCH_EMBED, BENCH_TESTS };
static const char bench_names[BENCH_TESTS][8] = {"prefill", "decode", "batch", "load", "embed"};

struct bench_case {
  enum bench_test test;
  int n, depth, batch;
};

struct bench_roof {
  double gb_per_second, gops;
};

struct bench_result {
  double seconds, tokens, bytes, operations; // of one run
};

enum { BENCH_MAX_REPEAT = 99, BENCH_READ = 256 << 20 }; // bytes read to find the bandwidth: far beyond any cache

/* ---- roofs ---- */

struct bench_probe {
  const struct kern *kern;
  const uint64_t *memory; // (BENCH_READ / 8)
  int n_threads;
  bool floats;
  double operations[POOL_MAX_THREADS];
  uint64_t sink[POOL_MAX_THREADS];
};

static void bench_read(void *context, int phase, int chunk, int thread) {
  struct bench_probe *p = context;
  size_t n = BENCH_READ / 8 / (size_t)p->n_threads / 64 * 64, i = 0;
  const uint64_t *from = p->memory + n * (size_t)chunk;
  uint64_t sum[8] = {0};
  (void)phase;
  for (; i < n; i += 8)
    for (int k = 0; k < 8; k++) sum[k] |= from[i + (size_t)k];
  for (int k = 0; k < 8; k++) p->sink[thread] |= sum[k];
}

static void bench_compute(void *context, int phase, int chunk, int thread) {
  struct bench_probe *p = context;
  (void)phase, (void)thread;
  p->operations[chunk] = p->kern->peak(200000, p->floats);
}

/* The best of a few tries: a roof is what the machine can do when it is left alone. */
static bool bench_roof(struct engine *g, struct bench_roof *roof, struct bk_error *e) {
  struct arena memory = os_reserve(BENCH_READ, e);
  if (!memory.beg) return false;
  memset(memory.beg, 1, BENCH_READ);
  struct bench_probe p = {.kern = g->cpu.kern, .memory = (const uint64_t *)(const void *)memory.beg, .n_threads = g->cpu.pool.n_threads};
  size_t floats = 0, codes = 0;
  for (int i = 0; i < g->model.n_matrices; i++) {
    const struct weight *w = g->model.matrices[i];
    *(tape_is_float(w) ? &floats : &codes) += (size_t)w->n_rows * (size_t)w->n_cols;
  }
  p.floats = g->options.exact || floats > codes; // the roof of the kind of arithmetic that does most of the work
  *roof = (struct bench_roof){0, 0};
  for (int i = 0; i < 7; i++) {
    double start = os_seconds(), ops = 0;
    cpu_pool_run(&g->cpu.pool, 1, &p.n_threads, bench_read, &p);
    double middle = os_seconds(), gb = BENCH_READ / (middle - start) / 1e9;
    cpu_pool_run(&g->cpu.pool, 1, &p.n_threads, bench_compute, &p);
    double end = os_seconds();
    for (int t = 0; t < p.n_threads; t++) ops += p.operations[t];
    if (gb > roof->gb_per_second) roof->gb_per_second = gb;
    if (ops / (end - middle) / 1e9 > roof->gops) roof->gops = ops / (end - middle) / 1e9;
  }
  os_release(memory);
  return true;
}

/* ---- runs ---- */

static int32_t bench_logits(struct request *r, int position, const float *logits) {
  (void)position, (void)logits;
  return r->ids[r->n_ids / 2]; // some token of the vocabulary
}

static void bench_ids(int32_t *ids, int n, int n_vocab, uint64_t seed) {
  for (int i = 0; i < n; i++) ids[i] = (int32_t)(sample_uniform(&seed) * n_vocab);
}

enum bench_part { PART_BODY, PART_TAIL, PART_HEAD }; // of a tape: for all rows, for those that are kept, for slices of those

static enum bench_part bench_part(const struct tape *t, int op) {
  return t->ops[op].head ? PART_HEAD : op < t->tail ? PART_BODY : PART_TAIL;
}

/* Weights that a part reads once it runs, and operations of a row. */
struct bench_cost {
  double bytes, operations;
};

static struct bench_cost bench_cost(const struct engine *g, enum bench_part part) {
  const struct tape *t = &g->model.tape;
  struct bench_cost cost = {0, 0};
  for (int i = 0; i < t->n_ops; i++)
    for (int k = 0; k < t->ops[i].n_out && t->ops[i].kind == OP_MATMUL && bench_part(t, i) == part; k++) {
      const struct weight *w = t->ops[i].w[k];
      cost.bytes += w->packed ? (double)form_bytes(w->quant->form, w->n_rows, w->n_cols) : (double)model_file_bytes(w, w->n_rows);
      cost.operations += 2.0 * w->n_rows * w->n_cols;
    }
  return cost;
}

static double bench_kv_bytes(const struct engine *g, int position) { // read by the attention of one row
  double bytes = 0;
  for (int i = 0; i < g->kv.n_layers; i++) {
    int seen = block_is_local(&g->model, i) && position >= g->model.hp.window ? (int)g->model.hp.window : position + 1;
    const struct kv_layer *l = &g->kv.layers[i];
    bytes += (double)l->n_head_kv * (double)(l->key_bytes + l->value_bytes) / KV_PAGE * seen;
  }
  return bytes;
}

/* One run; requests and ids are memory for `batch` sequences of `each` ids. */
static bool bench_run(struct engine *g, const struct bench_case *c, struct request *r, int32_t *ids, int each,
                      struct bench_result *out, struct bk_error *e) {
  const bool prefill = c->test == BENCH_PREFILL;
  int before = prefill || c->depth > 0 ? c->depth : 1, prompt = prefill ? c->depth + c->n : before, steps = prefill ? 0 : c->n, done = 0;
  const struct bench_cost body = bench_cost(g, PART_BODY), tail = bench_cost(g, PART_TAIL), head = bench_cost(g, PART_HEAD);
  double start = os_seconds();
  *out = (struct bench_result){0, (double)(steps * c->batch), 0, 0};
  for (int i = 0; i < c->batch; i++) {
    bench_ids(ids + i * each, prompt, (int)g->model.hp.n_vocab, (uint64_t)i + 1);
    r[i] = (struct request){.ids = ids + i * each, .n_prompt = prompt, .n_max = prompt + steps + (steps > 0), .logits = bench_logits};
    if (!engine_submit(g, &r[i], e)) return false;
  }
  for (bool waiting = before > 0; waiting;) { // what was there before is not counted
    engine_step(g);
    waiting = false;
    for (int i = 0; i < c->batch; i++) waiting |= r[i].n_done < before;
    done = r[0].n_done; // where a step went on beyond it, what that did is not counted either
    start = os_seconds();
  }
  while (engine_step(g)) {}
  out->seconds = os_seconds() - start;
  if (steps) {
    for (int s = 0; s < steps; s++) out->bytes += body.bytes + tail.bytes + head.bytes * ((c->batch + HEAD_ROWS - 1) / HEAD_ROWS) +
                                                  bench_kv_bytes(g, prompt + s) * c->batch;
    out->operations = (body.operations + tail.operations + head.operations) * steps * c->batch;
  } else {
    out->tokens = prompt - done;
    out->bytes = body.bytes * ((prompt - done + ENGINE_ROWS - 1) / ENGINE_ROWS) + tail.bytes + head.bytes;
    out->operations = body.operations * (prompt - done) + tail.operations + head.operations;
  }
  return true;
}

/* One run of embed: the ids are made before, the vectors are there at the end. pools (batch), vector (n_embd) */
static bool bench_embed(struct engine *g, const struct bench_case *c, struct request *r, int32_t *ids, struct pool *pools, float *vector,
                        struct bench_result *out, struct bk_error *e) {
  const struct bench_cost body = bench_cost(g, PART_BODY), tail = bench_cost(g, PART_TAIL);
  const double kept = pools[0].kind == POOL_MEAN ? c->n : 1; // rows of a text
  for (int i = 0; i < c->batch; i++) {
    bench_ids(ids + i * c->n, c->n, (int)g->model.hp.n_vocab, (uint64_t)i + 1);
    pool_clear(&pools[i]);
    r[i] = (struct request){.ids = ids + i * c->n, .n_prompt = c->n, .n_max = c->n, .pool = &pools[i]};
  }
  double start = os_seconds();
  int steps = 0;
  for (int i = 0; i < c->batch; i++)
    if (!engine_submit(g, &r[i], e)) return false;
  while (engine_step(g)) steps++;
  for (int i = 0; i < c->batch; i++)
    if (!pool_vector(&pools[i], vector)) return err_set(e, ERR_DATA, "a vector holds a NaN or an infinity");
  *out = (struct bench_result){os_seconds() - start, (double)c->batch * c->n, (body.bytes + tail.bytes) * steps,
                               (body.operations * c->n + tail.operations * kept) * c->batch};
  return true;
}

static void bench_print(FILE *out, const struct engine *g, const struct bench_case *c, const struct bench_result *r,
                        const struct bench_roof *roof, bool json) {
  double tps = r->tokens / r->seconds, gb = r->bytes / r->seconds / 1e9, gops = r->operations / r->seconds / 1e9;
  double share = c->test == BENCH_PREFILL || c->test == BENCH_EMBED ? gops / roof->gops : gb / roof->gb_per_second;
  const char *isa = g->cpu.kern->name;
  int threads = g->cpu.pool.n_threads;
  if (json)
    fprintf(out, "{\"test\":\"%s\",\"n\":%d,\"depth\":%d,\"batch\":%d,\"threads\":%d,\"tokens_per_second\":%.3f,\"gb_per_second\":%.3f,"
                 "\"gops\":%.3f,\"roof\":{\"gb_per_second\":%.3f,\"gops\":%.3f},\"fraction_of_roof\":%.4f,\"seconds\":%.6f,"
                 "\"isa\":\"%s\"}\n",
            bench_names[c->test], c->n, c->depth, c->batch, threads, tps, gb, gops, roof->gb_per_second, roof->gops, share,
            r->seconds, isa);
  else if (c->test == BENCH_LOAD)
    fprintf(out, "%-8s %42.1f ms  %8.2f GB/s\n", bench_names[c->test], r->seconds * 1e3, gb);
  else
    fprintf(out, "%-8s n %4d  depth %5d  batch %3d  %10.1f tokens/s  %8.2f GB/s  %8.1f GOPS  %3.0f%% of roof\n", bench_names[c->test],
            c->n, c->depth, c->batch, tps, gb, gops, 100 * share);
  fflush(out);
}

static void bench_sort(struct bench_result *r, int n) { // by time
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && r[k].seconds < r[k - 1].seconds; k--) {
      struct bench_result t = r[k];
      r[k] = r[k - 1];
      r[k - 1] = t;
    }
}

/* "matmul ffn_down": what an operation is called in a profile, whatever its layer. */
static void bench_label(const struct op *op, int phase, char *label, size_t size) {
  struct str name = op->w[0] ? op->w[0]->name : STR_NONE;
  size_t layer = str_starts(name, STR("blk.")) ? str_find(name, STR("."), 4) : SIZE_MAX;
  if (layer != SIZE_MAX) name = str_slice(name, layer + 1, name.len);
  if (str_ends(name, STR(".weight"))) name.len -= sizeof ".weight" - 1;
  const char *part = op->kind != OP_MATMUL ? "" : phase ? " product" : " input";
  snprintf(label, size, "%s%s%s" STR_FMT, tape_op_names[op->kind], part, name.len ? " " : "", STR_ARG(name));
}

/* Where the time of the threads went, operations of all layers together, the longest first. Of the rows of a run `kept` go on to
 * its end. */
static void bench_print_profile(FILE *out, const struct engine *g, double seconds, double runs, double rows, double kept) {
  enum { LABELS = 64 };
  struct { char label[96]; double seconds, operations; } all[LABELS];
  const struct tape *t = &g->model.tape;
  int n = 0, n_threads = g->cpu.pool.n_threads;
  for (int i = 0; i < 2 * t->n_ops; i++) {
    const struct op *op = &t->ops[i / 2];
    char label[96];
    double spent = 0, operations = 0;
    for (int k = 0; k < n_threads; k++) spent += g->cpu.profile[2 * t->n_ops * k + i];
    for (int k = 0; k < op->n_out && i % 2; k++)
      operations += 2.0 * op->w[k]->n_rows * op->w[k]->n_cols * runs * (bench_part(t, i / 2) == PART_BODY ? rows : kept);
    bench_label(op, i % 2, label, sizeof label);
    int at = 0;
    while (at < n && strcmp(all[at].label, label)) at++;
    if (spent == 0 || at == LABELS) continue;
    if (at == n) memset(&all[n++], 0, sizeof all[0]), memcpy(all[at].label, label, sizeof label);
    all[at].seconds += spent;
    all[at].operations += operations;
  }
  for (int shown = 0; shown < n; shown++) {
    int top = 0;
    for (int i = 1; i < n; i++) top = all[i].seconds > all[top].seconds ? i : top;
    fprintf(out, "  %5.1f %%  %9.3f ms", 100 * all[top].seconds / (seconds * n_threads), all[top].seconds / runs * 1e3);
    if (all[top].operations > 0) fprintf(out, "  %7.1f GOPS a thread", all[top].operations / all[top].seconds / 1e9);
    else fprintf(out, "  %21s", "");
    fprintf(out, "  %s\n", all[top].label);
    all[top].seconds = -1;
  }
}

/* Runs one case `repeat` times after a warm-up and prints the median; with `profile`, where the time of all runs went. */
static bool bench_case(struct engine *g, const struct bench_case *c, int repeat, const struct bench_roof *roof, bool json, bool profile,
                       FILE *out, struct bk_error *e) {
  struct bench_result all[BENCH_MAX_REPEAT] = {{0, 0, 0, 0}}, warm;
  int each = c->n + (c->test == BENCH_PREFILL || c->depth > 0 ? c->depth : 1) + 2;
  if (c->test == BENCH_LOAD) {
    all[0] = (struct bench_result){g->load_seconds, 0, (double)g->model.packed_bytes, 0};
    bench_print(out, g, c, &all[0], roof, json);
    return true;
  }
  if ((c->test == BENCH_EMBED ? c->n > g->options.n_context : each > g->options.n_context + 2) || c->batch > g->options.n_sequences)
    return err_set(e, ERR_USAGE, "%d tokens in each of %d sequences do not fit a context of %d in %d", each - 2, c->batch,
                   g->options.n_context, g->options.n_sequences);
  size_t n_profile = profile ? 2 * (size_t)g->model.tape.n_ops * (size_t)g->cpu.pool.n_threads : 0;
  const size_t n_embd = (size_t)g->model.hp.n_embd;
  size_t bytes = (size_t)c->batch * ((size_t)each * 4 + sizeof(struct request) + sizeof(struct pool) + n_embd * 8 + 64) + n_embd * 4 +
                 n_profile * sizeof(double) + 4096;
  struct arena memory = os_reserve(bytes, e), a = memory;
  if (!memory.beg) return false;
  struct request *r = ARENA_NEW(&a, struct request, (size_t)c->batch);
  int32_t *ids = ARENA_NEW(&a, int32_t, (size_t)c->batch * (size_t)each);
  struct pool *pools = ARENA_NEW(&a, struct pool, (size_t)c->batch);
  float *vector = ARENA_NEW(&a, float, n_embd);
  for (int i = 0; i < c->batch; i++) pool_new(&pools[i], pool_kind(&g->model.hp), (int)n_embd, &a);
  const bool embed = c->test == BENCH_EMBED;
  bool ok = embed ? bench_embed(g, c, r, ids, pools, vector, &warm, e) : bench_run(g, c, r, ids, each, &warm, e);
  g->cpu.profile = profile ? ARENA_NEW(&a, double, n_profile) : NULL;
  for (int i = 0; i < g->n_lanes; i++) g->lanes[i].profile = profile ? g->cpu.profile + 2 * g->model.tape.n_ops * i : NULL;
  double seconds = 0;
  for (int i = 0; ok && i < repeat; i++) {
    double start = os_seconds();
    ok = embed ? bench_embed(g, c, r, ids, pools, vector, &all[i], e) : bench_run(g, c, r, ids, each, &all[i], e);
    seconds += os_seconds() - start;
  }
  bench_sort(all, repeat);
  if (ok) bench_print(out, g, c, &all[repeat / 2], roof, json);
  if (ok && g->cpu.profile) {
    bool prompt = c->test == BENCH_PREFILL || embed; // of the others the prompts are in it too, if there are any
    const int rows = embed ? c->n * c->batch : prompt ? c->n : c->batch;
    bench_print_profile(out, g, seconds, prompt ? repeat : (double)repeat * (c->n + 1), rows,
                        embed && pools[0].kind != POOL_MEAN ? c->batch : embed || !prompt ? rows : 1);
  }
  g->cpu.profile = NULL;
  for (int i = 0; i < g->n_lanes; i++) g->lanes[i].profile = NULL;
  os_release(memory);
  return ok;
}

/* What is measured when nothing in particular is asked for. */
static const struct bench_case bench_standard[] = {
  {BENCH_LOAD, 0, 0, 1}, {BENCH_PREFILL, 16, 0, 1}, {BENCH_PREFILL, 64, 0, 1}, {BENCH_PREFILL, 512, 0, 1}, {BENCH_DECODE, 128, 0, 1},
  {BENCH_DECODE, 32, 2048, 1}, {BENCH_BATCH, 32, 0, 2}, {BENCH_BATCH, 32, 0, 4}, {BENCH_BATCH, 32, 0, 8}, {BENCH_BATCH, 32, 0, 16},
};

/* ---- text to ids ---- */

/* One run over the whole text, or over each of its lines: the ids it gave, or -1. */
static int64_t bench_encode(const struct vocab *v, struct str text, bool lines, struct arena a, int32_t *ids, int bound, int64_t *texts,
                            struct bk_error *e) {
  int64_t total = 0;
  *texts = 0;
  for (size_t at = 0, end; at < text.len; at = end + 1, ++*texts) {
    const char *stop = lines ? memchr(text.ptr + at, '\n', text.len - at) : NULL;
    int n;
    end = stop ? (size_t)(stop - text.ptr) : text.len;
    if (!token_encode(v, str_slice(text, at, end), (struct token_options){true, false}, a, ids, bound, &n, e)) return -1;
    total += n;
  }
  return total;
}

/* The tokenizer of a vocabulary on a text, in one thread, in time of the processor; needs no weights. */
static bool bench_tokenize(const struct vocab *v, struct str text, bool lines, int repeat, bool json, FILE *out, struct arena a,
                           struct bk_error *e) {
  struct bench_result all[BENCH_MAX_REPEAT] = {{0, 0, 0, 0}};
  size_t bound = token_bound(v, text.len);
  int32_t *ids = arena_raw(&a, bound, sizeof *ids, sizeof *ids);
  int64_t n = 0, texts = 0;
  if (!ids) return err_set(e, ERR_DATA, "the text is too long");
  for (int i = -1; i < repeat && n >= 0; i++) { // the first is not counted
    clock_t start = clock();
    n = bench_encode(v, text, lines, a, ids, (int)bound, &texts, e);
    all[i < 0 ? 0 : i] = (struct bench_result){(double)(clock() - start) / CLOCKS_PER_SEC, (double)n, (double)text.len, 0};
  }
  if (n < 0) return false;
  bench_sort(all, repeat);
  const struct bench_result *r = &all[repeat / 2];
  fprintf(out, json ? "{\"test\":\"%s\",\"bytes\":%.0f,\"texts\":%.0f,\"tokens\":%.0f,\"tokens_per_second\":%.0f,\"mb_per_second\":%.3f,"
                      "\"seconds\":%.6f}\n"
                    : "%-8s %.0f bytes in %.0f texts, %.0f tokens: %.0f tokens/s, %.2f MB/s (%.6f s)\n",
          "tokenize", r->bytes, (double)texts, r->tokens, r->tokens / r->seconds, r->bytes / r->seconds / 1e6, r->seconds);
  return true;
}
