/* cpu.c -- runs a tape on a pool of threads.
 *
 * Every operation is cut into chunks that any thread may take; an operation is done when its chunks are, not when all
 * threads have arrived, so a thread that lost its core holds up at most the chunk it has. Waiting is a short spin, then
 * sleep. Which thread computes what never changes a bit: a chunk writes rows or columns that no other chunk writes.
 * SPDX-License-Identifier: MIT */

/* ---- the pool ---- */

enum {
  POOL_SPIN = 4000,       // pauses (about 40 us) before a thread sleeps inside a step
  POOL_IDLE_SPIN = 3000,  // between steps
  POOL_MAX_THREADS = 256,
  POOL_BITS = 18          // of a claim's number, which is one chunk, or several where there are more; the epoch has the other 28
};

struct cpu_pool {
  int n_threads;             // the caller is thread 0
  struct os_thread *threads; // (n_threads - 1)
  void (*run)(void *context, int phase, int chunk, int thread);
  void *context;
  const int *chunks;         // (n_phases) of the running step
  int n_phases, max_phases;
  uint64_t *claim;           // (max_phases) epoch | claims | next claim
  uint32_t *done;            // (max_phases) claims finished
  uint32_t epoch, idle, sleepers; // epoch: of the running step; idle: threads asleep between steps
  int n_started;
  bool quit;
};

struct cpu_pool_start {
  struct cpu_pool *pool;
  int thread;
};

static void cpu_pool_wait_phase(struct cpu_pool *p, int phase, uint32_t chunks, uint64_t epoch) {
  for (int spin = 0;; spin++) {
    uint32_t done = __atomic_load_n(&p->done[phase], __ATOMIC_ACQUIRE);
    if (done >= chunks || __atomic_load_n(&p->claim[phase], __ATOMIC_RELAXED) >> (2 * POOL_BITS) != epoch) return;
    if (spin < POOL_SPIN) {
      os_pause();
      continue;
    }
    __atomic_add_fetch(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    os_wait(&p->done[phase], done);
    __atomic_sub_fetch(&p->sleepers, 1, __ATOMIC_SEQ_CST);
  }
}

/* Takes part in the step `epoch` until it is over. A thread that comes late finds other epochs and leaves: a claim
 * succeeds only on the word that it read, and that word holds the epoch and the number of chunks. */
static void cpu_pool_work(struct cpu_pool *p, int thread, uint64_t epoch) {
  const uint64_t mask = (1u << POOL_BITS) - 1;
  for (int phase = 0; phase < __atomic_load_n(&p->n_phases, __ATOMIC_RELAXED); phase++) {
    uint32_t chunks = 0;
    for (;;) {
      uint64_t word = __atomic_load_n(&p->claim[phase], __ATOMIC_ACQUIRE);
      if (word >> (2 * POOL_BITS) != epoch) return;
      chunks = (uint32_t)(word >> POOL_BITS & mask);
      uint32_t chunk = (uint32_t)(word & mask);
      if (chunk >= chunks) break;
      if (!__atomic_compare_exchange_n(&p->claim[phase], &word, word + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
      for (int c = (int)chunk; c < p->chunks[phase]; c += (int)chunks) p->run(p->context, phase, c, thread);
      uint32_t done = __atomic_add_fetch(&p->done[phase], 1, __ATOMIC_SEQ_CST);
      if (done == chunks && __atomic_load_n(&p->sleepers, __ATOMIC_SEQ_CST)) os_wake(&p->done[phase]);
    }
    cpu_pool_wait_phase(p, phase, chunks, epoch);
  }
}

static void cpu_pool_thread(void *argument) {
  struct cpu_pool_start start = *(struct cpu_pool_start *)argument;
  struct cpu_pool *p = start.pool;
  __atomic_add_fetch(&p->n_started, 1, __ATOMIC_RELEASE);
  os_forbid_alloc(true);
  for (uint32_t seen = 0;;) {
    for (int spin = 0; __atomic_load_n(&p->epoch, __ATOMIC_ACQUIRE) == seen; spin++) {
      if (spin < POOL_IDLE_SPIN) {
        os_pause();
        continue;
      }
      __atomic_add_fetch(&p->idle, 1, __ATOMIC_SEQ_CST);
      os_wait(&p->epoch, seen);
      __atomic_sub_fetch(&p->idle, 1, __ATOMIC_SEQ_CST);
    }
    seen = __atomic_load_n(&p->epoch, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&p->quit, __ATOMIC_ACQUIRE)) return;
    cpu_pool_work(p, start.thread, seen & ((1u << 28) - 1));
  }
}

static bool cpu_pool_open(struct cpu_pool *p, int n_threads, int max_phases, struct arena *a, struct bk_error *e) {
  if (n_threads < 1) n_threads = 1;
  if (n_threads > POOL_MAX_THREADS) n_threads = POOL_MAX_THREADS;
  *p = (struct cpu_pool){.n_threads = 1, .max_phases = max_phases};
  p->threads = ARENA_NEW(a, struct os_thread, (size_t)n_threads);
  p->claim = ARENA_NEW(a, uint64_t, (size_t)max_phases);
  p->done = ARENA_NEW(a, uint32_t, (size_t)max_phases);
  if (!p->threads || !p->claim || !p->done) return err_set(e, ERR_OS, "no memory for a pool of %d threads", n_threads);
  for (int i = 1; i < n_threads; i++) {
    struct cpu_pool_start start = {p, i};
    struct bk_error ignored = {0};
    if (!os_thread_start(&p->threads[i - 1], cpu_pool_thread, &start, &ignored)) break; // fewer threads, the same bits
    while (__atomic_load_n(&p->n_started, __ATOMIC_ACQUIRE) < i) os_pause();        // `start` must outlive its reading
    p->n_threads = i + 1;
  }
  return true;
}

static void cpu_pool_close(struct cpu_pool *p) {
  if (!p->claim) return;
  __atomic_store_n(&p->quit, true, __ATOMIC_RELEASE);
  __atomic_add_fetch(&p->epoch, 1, __ATOMIC_SEQ_CST);
  os_wake(&p->epoch);
  for (int i = 1; i < p->n_threads; i++) os_thread_join(&p->threads[i - 1]);
  p->n_threads = 1;
}

/* Runs every chunk of phase 0, then of phase 1, ... ; chunks[i] of phase i. Returns when all are done. */
static void cpu_pool_run(struct cpu_pool *p, int n_phases, const int *chunks, void (*run)(void *, int, int, int), void *context) {
  BK_ASSERT(n_phases <= p->max_phases);
  if (p->n_threads == 1) {
    for (int phase = 0; phase < n_phases; phase++)
      for (int c = 0; c < chunks[phase]; c++) run(context, phase, c, 0);
    return;
  }
  uint32_t epoch = __atomic_load_n(&p->epoch, __ATOMIC_RELAXED) + 1;
  uint64_t short_epoch = epoch & ((1u << 28) - 1);
  p->run = run;
  p->context = context;
  p->chunks = chunks;
  __atomic_store_n(&p->n_phases, n_phases, __ATOMIC_RELAXED);
  for (int i = 0; i < n_phases; i++) {
    const int most = (1 << POOL_BITS) - 1, claims = chunks[i] < most ? chunks[i] : most;
    __atomic_store_n(&p->done[i], 0, __ATOMIC_RELAXED);
    __atomic_store_n(&p->claim[i], short_epoch << (2 * POOL_BITS) | (uint64_t)claims << POOL_BITS, __ATOMIC_RELEASE);
  }
  __atomic_store_n(&p->epoch, epoch, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&p->idle, __ATOMIC_SEQ_CST)) os_wake(&p->epoch);
  cpu_pool_work(p, 0, short_epoch);
}

/* ---- a batch: rows of (sequence, position, token) ---- */

struct batch_segment {     // consecutive rows of one sequence
  int row, n_rows;
  int position;            // of the first row
  int n_ids;               // of the sequence: what a row sees that looks both ways
  const int *pages;        // of the sequence, enough for its last row
  int kept, n_kept;        // of those that are kept: the first, how many
};

struct batch {
  int n_rows, n_segments, n_out;
  const int32_t *token;    // (n_rows)
  const int32_t *position; // (n_rows)
  const int32_t *type;     // (n_rows) token types
  const int *segment;      // (n_rows) index into segments
  const struct batch_segment *segments;
  const int *kept;         // (n_kept) rows of which anything is asked, ascending; NULL: all
  int n_kept;
  const int *out;          // (n_out) rows whose logits are wanted: which of those that are kept
};

/* How attention is cut. A tile is some columns, a column being (row, query head), that share a key/value head and a
 * sequence: several rows of all heads that share it, or, where single rows give too few tiles for the threads, some heads.
 * Few tiles with long contexts are cut once more, into segments of pages. Where each tile is all of a row's columns on a
 * key/value head it also writes the key and value it begins with, which saves a phase. Of a short sequence that sees itself
 * whole (cpu_sees_all) a tile is 16 rows of a head. */
struct cpu_cut {
  int heads, rows; // of any other tile
  int parts;       // tiles that share a key/value head and rows
  int tiles, segments;
  bool whole;
  bool kept;       // only rows that are kept attend
};

/* Rows and the experts chosen for them, n_used a row: a pair. Pairs lie expert after expert, rows ascending in each. */
struct cpu_pairs {
  int32_t *chosen;         // (n_rows, n_used) experts
  int32_t *at;             // (n_rows, n_used) the pair
  int32_t *row;            // (n_pairs) of a pair
  int32_t *first, *column; // (n_expert + 1) an expert's first pair, and the first column of its panels
  int32_t *active;         // (n_active) experts that any row chose
  int n_active;
};

struct cpu {
  const struct kern *kern;
  bool exact;              // float activations even for packed integer weights
  const struct tape *tape;
  const struct kv *kv;
  struct cpu_pool pool;
  char *values, *panels;   // scratch of the tape
  char **thread_scratch;   // (n_threads) see cpu_thread_bytes
  int max_pages;           // of one sequence
  float *parts;            // (cpu_slots, segments, ...) segments of long contexts that several threads attend to, see kern.h
  uint32_t *parts_done;    // (cpu_slots) chunks of a tile of attention that are finished
  int *chunks;             // (2 * n_ops) of the step being run
  struct cpu_cut *cuts;    // (n_ops) of the step being run; for heads and attention
  struct cpu_pairs pairs;  // of the layer being run
  const struct batch *batch;
  int out_first, out_n;    // output rows of the head's slice
  int first_op;            // of the section being run
  uint64_t n_sections;     // run so far
  double *profile;         // (n_threads, n_ops, 2) seconds spent in both phases of every operation; NULL: not asked for
};

enum {
  CPU_ROWS = 4,  // rows of a chunk of an operation that works row by row
  CPU_HEAD_ROWS = 64, // and of one head's keys and values, of which 16 lie in the same lines of the cache
  CPU_FEW = 2,   // up to so many rows every thread prepares the input of a product for itself: cheaper than waiting for it
  CPU_COLUMNS = 4, // of the widest panel that CPU_FEW rows need
  CPU_AHEAD = 4, // rows between asking for a token's weights and taking them
  CPU_AHEAD_BYTES = 1024, // of them
  CPU_MIX = 256  // floats of a row that are mixed at once
};

/* The scratch of a thread: what an attention tile needs, the rows of a panel, pointers to pages, a panel of its own and for which
 * operation that was made. */
enum cpu_part { CPU_ATTENTION, CPU_ROW, CPU_PAGES, CPU_PANEL, CPU_MADE, CPU_END };

static size_t cpu_part_offset(const struct tape *t, int max_pages, enum cpu_part part) {
  const size_t bytes[CPU_END] = {t->attention_floats * sizeof(float), (size_t)t->widest_row * KERN_WIDEST * sizeof(float),
                                 (size_t)max_pages * 2 * sizeof(char *),
                                 panel_dwords(PANEL_FLOATS, t->widest_row) * 4 * CPU_COLUMNS, sizeof(uint64_t)};
  size_t at = 0;
  for (int i = 0; i < (int)part; i++) at += size_align(bytes[i], 64);
  return at;
}

static int cpu_most_segments(int max_pages) { return (max_pages + KV_SEGMENT - 1) / KV_SEGMENT; }

static size_t cpu_thread_bytes(const struct tape *t, int max_pages) { return cpu_part_offset(t, max_pages, CPU_END); }

static void *cpu_scratch(const struct cpu *c, int thread, enum cpu_part part) {
  return c->thread_scratch[thread] + cpu_part_offset(c->tape, c->max_pages, part);
}

static float *cpu_row(const struct cpu *c, int value, int row) {
  const struct value *v = &c->tape->values[value];
  return (float *)(void *)(c->values + v->offset) + (size_t)v->stride * (size_t)row;
}

static int cpu_rows(const struct cpu *c, const struct op *op) {
  const struct batch *b = c->batch;
  return op->head ? c->out_n : b->kept && op - c->tape->ops >= c->tape->tail ? b->n_kept : b->n_rows;
}

/* ---- operations: each runs one chunk ---- */

static void cpu_embed_row(const struct weight *w, int32_t token, float scale, float *y) {
  if (w->packed) form_row(w->quant->form, w->packed, w->n_cols, token, y);
  else {
    const char *block = (const char *)w->file + model_file_bytes(w, token); // behind the rows before it
    if (w->quant->block_bytes == sizeof *y) memcpy(y, block, sizeof *y * (size_t)w->n_cols);
    else for (int k = 0; k < w->n_cols; k += w->quant->block, block += w->quant->block_bytes) w->quant->decode(block, y + k);
  }
  for (int k = 0; k < w->n_cols && scale != 1.0f; k++) y[k] *= scale;
}

static void cpu_angles_row(const struct rope *r, int position, float *y) {
  for (int i = 0; i < r->n_rot / 2; i++) {
    double s, c;
    kern_sincos((double)position * (double)r->frequency[i], &s, &c);
    y[2 * i] = (float)c * r->magnitude;
    y[2 * i + 1] = (float)s * r->magnitude;
  }
}

static void cpu_norm(const struct kern *k, const struct norm *norm, const float *x, int n, float *y) {
  if (norm->centred) k->layer_norm(x, norm->weight, norm->bias, norm->eps, n, y);
  else k->rms_norm(x, norm->weight, norm->eps, n, y);
}

static enum panel cpu_panel(const struct cpu *c, const struct op *op) {
  return c->exact ? PANEL_FLOATS : form_panel(op->w[0]->quant->form);
}

/* One row of the product's input, ready to become column i of a panel. */
static const float *cpu_source(struct cpu *c, const struct op *op, int row, int i, int thread) {
  float *temporary = (float *)cpu_scratch(c, thread, CPU_ROW) + c->tape->widest_row * i;
  const struct kern *k = c->kern;
  const float *x = cpu_row(c, op->in[0], row);
  if (op->source == FROM_ROWS) return x;
  if (op->source == FROM_NORM) cpu_norm(k, &op->norm, x, op->w[0]->n_cols, temporary);
  else k->glu[op->act](x, op->in[1] == VALUE_NONE ? NULL : cpu_row(c, op->in[1], row), op->w[0]->n_cols, temporary);
  return temporary;
}

/* One panel of the product's input: norm or activation, then int8 or float columns. */
static void cpu_prepare(struct cpu *c, const struct op *op, int chunk, int thread, char *panels) {
  const struct kern *k = c->kern;
  const int n_cols = op->w[0]->n_cols, rows = cpu_rows(c, op), first = chunk * k->widest, width = k->panel_width(rows - first);
  const enum panel kind = cpu_panel(c, op);
  const float *x[KERN_WIDEST];
  for (int i = 0; i < width; i++) x[i] = first + i < rows ? cpu_source(c, op, first + i, i, thread) : NULL;
  k->panel[kind](x, n_cols, width, panels + panel_dwords(kind, n_cols) * 4 * (size_t)first);
}

/* Are all pairs columns of one panel? Then it is made like that of any product. */
static bool cpu_one_column(const struct cpu *c, const struct op *op) {
  return cpu_rows(c, op) == 1 && c->tape->values[op->in[0]].n_used == 1 && !op->piece[0].width;
}

/* The same of pairs: this chunk's share of them. */
static void cpu_prepare_pairs(struct cpu *c, const struct op *op, int chunk, int n_chunks, int thread) {
  const struct kern *k = c->kern;
  const struct cpu_pairs *p = &c->pairs;
  const int n_cols = op->w[0]->n_cols;
  const bool paired = c->tape->values[op->in[0]].pairs;
  const enum panel kind = cpu_panel(c, op);
  for (int e = 0, n = 0; e < p->n_active; e++) {
    const int expert = p->active[e], n_pairs = p->first[expert + 1] - p->first[expert];
    for (int first = 0; first < n_pairs; first += k->widest, n++) {
      if (n % n_chunks != chunk) continue;
      const int width = k->panel_width(n_pairs - first);
      const float *x[KERN_WIDEST];
      for (int i = 0; i < width; i++) {
        const int pair = p->first[expert] + first + i;
        x[i] = first + i < n_pairs ? cpu_source(c, op, paired ? pair : p->row[pair], i, thread) : NULL;
        if (x[i] && op->piece[0].width) x[i] += op->piece[0].column + expert * op->piece[0].step;
      }
      k->panel[kind](x, n_cols, width, c->panels + panel_dwords(kind, n_cols) * 4 * (size_t)(p->column[expert] + first));
    }
  }
}

/* The input of a product as panels: prepared by the phase before, or, of few rows, here and now by each thread. */
static const char *cpu_panels(struct cpu *c, const struct op *op, int thread) {
  if (cpu_rows(c, op) > CPU_FEW) return c->panels;
  uint64_t *made = cpu_scratch(c, thread, CPU_MADE), now = c->n_sections * (uint64_t)c->tape->n_ops + (uint64_t)(op - c->tape->ops);
  char *panels = cpu_scratch(c, thread, CPU_PANEL);
  if (*made != now) cpu_prepare(c, op, 0, thread, panels);
  *made = now;
  return panels;
}

static int cpu_groups(const struct op *op) {
  int n = 0;
  for (int i = 0; i < op->n_out; i++) n += (op->w[i]->n_rows + GROUP - 1) / GROUP;
  return n;
}

/* Groups [from, to) of all matrices of the operation, those of one expert if there are several, times n rows of panels;
 * results go to rows from `row` on. */
static void cpu_product_groups(struct cpu *c, const struct op *op, int expert, int from, int to, const char *panels, int row, int n) {
  for (int i = 0; i < op->n_out; i++) {
    const struct weight *w = op->w[i];
    int groups = (w->n_rows + GROUP - 1) / GROUP, a = from < 0 ? 0 : from, b = to < groups ? to : groups;
    if (a < b) {
      const struct value *v = &c->tape->values[op->out[i]];
      const uint8_t *packed = (const uint8_t *)w->packed + form_bytes(w->quant->form, w->n_rows, w->n_cols) * (size_t)expert;
      struct matmul m = {w->quant->form, packed, panels, cpu_row(c, op->out[i], row), (size_t)v->stride, w->n_rows, w->n_cols, n,
                         op->add};
      (c->exact ? c->kern->exact : c->kern->matmul)[m.form](&m, a, b);
      int last = b * GROUP < w->n_rows ? b * GROUP : w->n_rows;
      for (int t = 0; t < n && w->bias; t++)
        c->kern->add(m.y + (size_t)t * m.ldy + (size_t)(a * GROUP), w->bias + a * GROUP, last - a * GROUP);
    }
    from -= groups;
    to -= groups;
  }
}

static void cpu_product(struct cpu *c, const struct op *op, int chunk, int n_chunks, int thread) {
  const int64_t total = cpu_groups(op);
  cpu_product_groups(c, op, 0, (int)(total * chunk / n_chunks), (int)(total * (chunk + 1) / n_chunks), cpu_panels(c, op, thread), 0,
                     cpu_rows(c, op));
}

/* This chunk's share of the groups of all experts that were chosen; the others are not read. */
static void cpu_product_pairs(struct cpu *c, const struct op *op, int chunk, int n_chunks, int thread) {
  const struct cpu_pairs *p = &c->pairs;
  const bool one = cpu_one_column(c, op);
  const size_t column = one ? 0 : panel_dwords(cpu_panel(c, op), op->w[0]->n_cols) * 4;
  const char *panels = one ? cpu_panels(c, op, thread) : c->panels;
  const int64_t each = cpu_groups(op), total = each * p->n_active, from = total * chunk / n_chunks, to = total * (chunk + 1) / n_chunks;
  for (int64_t e = from / each; e * each < to; e++) {
    const int expert = p->active[e], a = from > e * each ? (int)(from - e * each) : 0;
    const int b = to < (e + 1) * each ? (int)(to - e * each) : (int)each;
    cpu_product_groups(c, op, expert, a, b, panels + column * (size_t)p->column[expert], p->first[expert],
                       p->first[expert + 1] - p->first[expert]);
  }
}

/* ---- mixtures of experts ---- */

/* Groups keep their two best experts' sum as their score; experts of the others are not chosen. (DeepSeek-V3, 2024) */
static void cpu_route_groups(const struct tape_route *r, float *score) {
  const int each = r->n_expert / r->n_group;
  for (int left = r->n_group - r->n_group_used; left > 0; left--) {
    int worst = -1;
    float least = 0;
    for (int g = 0; g < r->n_group; g++) {
      float first = -INFINITY_F, second = -INFINITY_F;
      for (const float *s = score + g * each; s < score + (g + 1) * each; s++) {
        if (*s > first) second = first, first = *s;
        else if (*s > second) second = *s;
      }
      if (first == -INFINITY_F) continue; // already out
      float sum = r->bias && each > 1 ? first + second : first;
      if (worst < 0 || sum <= least) worst = g, least = sum; // of equal ones the first stays
    }
    for (int i = 0; i < each && worst >= 0; i++) score[worst * each + i] = -INFINITY_F;
  }
}

/* Chooses the experts of one row and weighs them; of equal ones the first wins. logits (n_expert) are overwritten. */
static void cpu_route(struct cpu *c, const struct op *op, int row, int thread) {
  const struct tape_route *r = op->route;
  if (r->gate == GATE_ALL) {
    for (int s = 0; s < r->n_used; s++) c->pairs.chosen[row * r->n_used + s] = s;
    return;
  }
  float *p = cpu_row(c, op->in[0], row), *weight = cpu_row(c, op->out[0], row), *score = cpu_scratch(c, thread, CPU_ROW), most = p[0];
  int32_t *chosen = c->pairs.chosen + (size_t)row * (size_t)r->n_used;
  double total = 0;
  for (int i = 0; i < r->n_expert; i++) most = p[i] > most ? p[i] : most;
  for (int i = 0; i < r->n_expert && r->gate == GATE_SIGMOID; i++) p[i] = (float)(1 / (1 + kern_exp(-(double)p[i])));
  if (r->gate == GATE_SOFTMAX) {
    for (int i = 0; i < r->n_expert; i++) total += p[i] = (float)kern_exp((double)(p[i] - most));
    for (int i = 0; i < r->n_expert; i++) p[i] = (float)(p[i] / total);
  }
  for (int i = 0; i < r->n_expert; i++) score[i] = r->bias ? p[i] + r->bias[i] : p[i];
  if (r->n_group > 1) cpu_route_groups(r, score);
  total = 0;
  for (int s = 0; s < r->n_used; s++) {
    int best = 0;
    for (int i = 1; i < r->n_expert; i++)
      if (score[i] > score[best] || !(score[best] == score[best])) best = i;
    score[best] = -INFINITY_F;
    chosen[s] = best;
    weight[s] = r->gate == GATE_SOFTMAX_USED ? (float)kern_exp((double)(p[best] - most)) : p[best];
    total += (double)weight[s];
  }
  const bool normalised = r->normalised || r->gate == GATE_SOFTMAX_USED;
  for (int s = 0; s < r->n_used; s++) weight[s] = (normalised && total > 0 ? (float)(weight[s] / total) : weight[s]) * r->scale;
}

/* Sorts the pairs of all rows by expert. */
static void cpu_sort_pairs(struct cpu *c, const struct op *op) {
  const struct tape_route *r = op->route;
  struct cpu_pairs *p = &c->pairs;
  const int n_pairs = cpu_rows(c, op) * r->n_used;
  int pair = 0, column = 0;
  memset(p->first, 0, sizeof *p->first * (size_t)(r->n_expert + 1));
  for (int i = 0; i < n_pairs; i++) p->first[p->chosen[i]]++;
  p->n_active = 0;
  for (int e = 0; e <= r->n_expert; e++) {
    const int n = e < r->n_expert ? p->first[e] : 0;
    p->first[e] = pair;
    p->column[e] = column;
    if (n) p->active[p->n_active++] = e;
    pair += n;
    column += n ? (n / c->kern->widest) * c->kern->widest + (n % c->kern->widest ? c->kern->panel_width(n % c->kern->widest) : 0) : 0;
  }
  for (int i = 0; i < n_pairs; i++) {
    p->at[i] = p->first[p->chosen[i]]++;
    p->row[p->at[i]] = i / r->n_used;
  }
  for (int e = r->n_expert; e > 0; e--) p->first[e] = p->first[e - 1];
  p->first[0] = 0;
}

static void cpu_mix(struct cpu *c, const struct op *op, int row) {
  const int n_used = op->route->n_used, n = c->tape->values[op->out[0]].width;
  const float *weight = cpu_row(c, op->in[2], row);
  float *to = cpu_row(c, op->out[0], row), sum[CPU_MIX];
  for (int first = 0; first < n; first += CPU_MIX) {
    const int end = n - first < CPU_MIX ? n - first : CPU_MIX;
    memset(sum, 0, sizeof sum);
    for (int s = 0; s < n_used; s++) {
      const float *x = cpu_row(c, op->in[0], c->pairs.at[row * n_used + s]) + first;
      for (int i = 0; i < end; i++) sum[i] += weight[s] * x[i];
    }
    for (int i = 0; i < end; i++) to[first + i] += op->scale * sum[i];
  }
}

/* ---- attention ---- */

static int cpu_first_seen(const struct op *op, int position) {
  const int back = op->both_ways ? op->window / 2 : op->window - 1; // a window both ways has its middle here
  return op->window > 0 && position > back ? position - back : 0;
}

static int cpu_last_seen(const struct op *op, const struct batch_segment *s, int position) {
  if (!op->both_ways) return position;
  return op->window > 0 && position + op->window / 2 < s->n_ids ? position + op->window / 2 : s->n_ids - 1;
}

/* Does every row of a short sequence see every row, and is nothing but their product asked? Then keys and values are read from
 * the rows, and stay out of pages. */
static bool cpu_sees_all(const struct op *op, const struct batch_segment *s) {
  const bool plain = op->alibi == 0 && !op->bias && op->softcap == 0 && op->value_dim % (2 * GROUP) == 0;
  return op->both_ways && plain && s->n_rows == s->n_ids && s->n_ids <= ATTENTION_ALL && cpu_first_seen(op, s->n_ids - 1) == 0;
}

/* Norms and rotates the heads of a row that share a key/value head, and writes its key and value to their page; also those of the
 * rows behind it, before `end`, that lie in the same group of keys. Returns how many rows. */
static int cpu_heads(struct cpu *c, const struct op *op, int row, int end, int kv_head) {
  const struct batch *b = c->batch;
  const struct batch_segment *s = &b->segments[b->segment[row]];
  const int shared = op->n_head / op->n_head_kv, page = s->pages[b->position[row] / KV_PAGE], slot = b->position[row] % KV_PAGE;
  const float *key[GROUP], *value[GROUP];
  int n = (slot / GROUP + 1) * GROUP - slot;
  if (n > KV_PAGE - slot) n = KV_PAGE - slot;
  if (n > s->row + s->n_rows - row) n = s->row + s->n_rows - row;
  if (n > end - row) n = end - row;
  for (int t = 0; t < n; t++, row++) {
    float *q = cpu_row(c, op->out[0], row) + kv_head * shared * op->head_dim, *k = cpu_row(c, op->in[0], row) + kv_head * op->head_dim;
    const float *angles = op->rope ? cpu_row(c, op->in[2], row) : NULL;
    for (int h = 0; h < shared; h++, q += op->head_dim) {
      if (op->head_norm[0]) c->kern->rms_norm(q, op->head_norm[0], op->norm.eps, op->head_dim, q);
      if (angles) c->kern->rope(q, angles, op->rope->n_rot, op->rope->neox);
    }
    if (op->head_norm[1]) c->kern->rms_norm(k, op->head_norm[1], op->norm.eps, op->head_dim, k);
    if (angles) c->kern->rope(k, angles, op->rope->n_rot, op->rope->neox);
    key[t] = k;
    value[t] = cpu_row(c, op->in[1], row) + kv_head * op->value_dim;
  }
  if (cpu_sees_all(op, s)) return n;
  kv_put_keys(c->kv, c->kern, kv_keys(c->kv, page, op->layer, kv_head), op->head_dim, slot, n, key);
  kv_put_values(c->kv, c->kern, kv_values(c->kv, page, op->layer, kv_head), op->value_dim, slot, n, value);
  return n;
}

static int cpu_slots(int n_threads) { return n_threads > 1 ? 2 * n_threads : 0; } // most tiles that are cut into segments

static int cpu_first_page(const struct op *op, int position) { return cpu_first_seen(op, position) / KV_PAGE; }

/* Slope of a head: 2^(-8 (h + 1) / n) for n a power of two; of others the odd steps of twice as many follow. (Press et al.:
 * Train Short, Test Long, 2022) 8 is the largest bias. */
static float cpu_alibi_slope(const struct op *op, int head) {
  int n = 1;
  while (2 * n <= op->n_head) n *= 2;
  double step = (double)op->alibi / n, times = head < n ? head + 1 : (2 * (head - n) + 1) * 0.5;
  return op->alibi > 0 ? (float)kern_exp(-0.69314718055994531 * step * times) : 0.0f;
}

/* Rows of a segment that attend, and which they are. */
static int cpu_attending(const struct cpu_cut *cut, const struct batch_segment *s) { return cut->kept ? s->n_kept : s->n_rows; }
static int cpu_attending_row(const struct cpu *c, const struct cpu_cut *cut, const struct batch_segment *s, int i) {
  return cut->kept ? c->batch->kept[s->kept + i] : s->row + i;
}

/* Tiles of one sequence. */
NOINLINE static int cpu_tiles(const struct op *op, const struct cpu_cut *cut, const struct batch_segment *s) {
  const int rows = cpu_attending(cut, s);
  return cpu_sees_all(op, s) ? (rows + GROUP - 1) / GROUP * op->n_head : (rows + cut->rows - 1) / cut->rows * op->n_head_kv * cut->parts;
}

static struct cpu_cut cpu_cut_attention(const struct cpu *c, const struct op *op) {
  const struct batch *b = c->batch;
  const int shared = op->n_head / op->n_head_kv, threads = c->pool.n_threads;
  const bool single = b->n_segments == b->n_rows && !op->both_ways; // one row of every sequence
  struct cpu_cut cut = {.heads = shared, .segments = 1};
  if (single && b->n_rows * op->n_head_kv < threads) cut.heads = (shared + threads - 1) / threads;
  if (cut.heads > c->kern->widest) cut.heads = c->kern->widest;
  cut.rows = c->kern->widest / cut.heads;
  cut.parts = (shared + cut.heads - 1) / cut.heads;
  cut.kept = b->kept && !single && op - c->tape->ops == c->tape->tail - 1;
  for (int i = 0; i < b->n_segments; i++) cut.tiles += cpu_tiles(op, &cut, &b->segments[i]);
  for (int i = 0; i < b->n_rows && single && cut.tiles <= cpu_slots(threads); i++) {
    int n = b->position[i] / KV_PAGE / KV_SEGMENT - cpu_first_page(op, b->position[i]) / KV_SEGMENT + 1;
    cut.segments = n > cut.segments ? n : cut.segments;
  }
  cut.whole = single && cut.parts == 1 && cut.segments == 1;
  return cut;
}

static size_t cpu_part_floats(const struct op *op, int widest) { // of one segment of a tile
  int shared = op->n_head / op->n_head_kv;
  return (size_t)(shared < widest ? shared : widest) * (size_align((size_t)op->value_dim, GROUP) + GROUP);
}

/* A tile of a sequence in which every row sees every row: 16 rows of a head. */
static void cpu_attention_all(struct cpu *c, const struct op *op, const struct cpu_cut *cut, const struct batch_segment *s, int tile,
                              int thread) {
  const int head = tile % op->n_head, kv_head = head / (op->n_head / op->n_head_kv), first = tile / op->n_head * GROUP;
  const struct value *k = &c->tape->values[op->in[1]], *v = &c->tape->values[op->in[2]];
  struct attention_all a = {.k = cpu_row(c, op->in[1], s->row) + kv_head * op->head_dim, .k_stride = (size_t)k->stride,
                            .v = cpu_row(c, op->in[2], s->row) + kv_head * op->value_dim, .v_stride = (size_t)v->stride,
                            .n_keys = s->n_rows, .head_dim = op->head_dim, .value_dim = op->value_dim, .scale = op->scale,
                            .scratch = cpu_scratch(c, thread, CPU_ATTENTION)};
  for (; a.n < GROUP && first + a.n < cpu_attending(cut, s); a.n++) {
    const int row = cpu_attending_row(c, cut, s, first + a.n);
    a.q[a.n] = cpu_row(c, op->in[0], row) + head * op->head_dim;
    a.out[a.n] = cpu_row(c, op->out[0], row) + head * op->value_dim;
  }
  c->kern->attention_all(&a);
}

/* The columns of a tile, and its pages; where it is whole, OP_HEADS, which stands before OP_ATTENTION, is done first. */
static void cpu_attention_tile(struct cpu *c, const struct op *op, const struct cpu_cut *cut, const struct batch_segment *s, int tile,
                               const char **k, const char **v, struct attention *a) {
  const struct batch *b = c->batch;
  int kv_head = tile / cut->parts % op->n_head_kv, shared = op->n_head / op->n_head_kv, head0 = tile % cut->parts * cut->heads;
  int n_heads = shared - head0 < cut->heads ? shared - head0 : cut->heads;
  const int row0 = tile / (op->n_head_kv * cut->parts) * cut->rows, left = cpu_attending(cut, s) - row0;
  const int n_rows = left < cut->rows ? left : cut->rows;
  a->n = n_rows * n_heads;
  for (int r = 0; r < n_rows; r++)
    for (int h = 0; h < n_heads; h++) {
      const int row = cpu_attending_row(c, cut, s, row0 + r), position = b->position[row];
      const int head = kv_head * shared + head0 + h, i = r * n_heads + h;
      a->q[i] = cpu_row(c, op->in[0], row) + head * op->head_dim;
      a->out[i] = cpu_row(c, op->out[0], row) + head * op->value_dim;
      a->first[i] = cpu_first_seen(op, position);
      a->last[i] = cpu_last_seen(op, s, position);
      a->position[i] = position;
      a->slope[i] = cpu_alibi_slope(op, head);
      a->bias[i] = op->bias ? op->bias + (2 * op->reach + 1) * head + op->reach : NULL;
    }
  if (cut->whole)
    for (int r = s->row + row0; r < s->row + row0 + n_rows; r++) cpu_heads(c, op - 1, r, r + 1, kv_head);
  a->page0 = a->first[0] / KV_PAGE;
  a->page1 = a->last[a->n - 1] / KV_PAGE + 1;
  for (int p = a->page0; p < a->page1; p++) {
    k[p] = kv_keys(c->kv, s->pages[p], op->layer, kv_head);
    v[p] = kv_values(c->kv, s->pages[p], op->layer, kv_head);
  }
}

static void cpu_attention(struct cpu *c, const struct op *op, int chunk, int thread) {
  const struct cpu_cut cut = c->cuts[op - c->tape->ops];
  const int tile = chunk / cut.segments, segment = chunk % cut.segments;
  const struct batch_segment *s = c->batch->segments;
  int left = tile; // of those of its sequence
  for (int n; left >= (n = cpu_tiles(op, &cut, s)); s++) left -= n;
  if (cpu_sees_all(op, s)) {
    cpu_attention_all(c, op, &cut, s, left, thread);
    return;
  }
  const char **k = cpu_scratch(c, thread, CPU_PAGES), **v = k + c->max_pages;
  struct attention a = {.k = k, .v = v, .head_dim = op->head_dim, .value_dim = op->value_dim,
                        .value_pad = (int)size_align((size_t)op->value_dim, GROUP), .scale = op->scale, .softcap = op->softcap,
                        .reach = op->reach, .scratch = cpu_scratch(c, thread, CPU_ATTENTION)};
  cpu_attention_tile(c, op, &cut, s, left, k, v, &a);
  if (cut.segments > 1) { // this chunk's part, and after the last one all parts in order
    const int first = a.page0 / KV_SEGMENT, n = (a.page1 - 1) / KV_SEGMENT - first + 1, end = (first + segment + 1) * KV_SEGMENT;
    a.part_stride = cpu_part_floats(op, c->kern->widest);
    float *parts = c->parts + a.part_stride * (size_t)cpu_most_segments(c->max_pages) * (size_t)tile;
    a.parts = parts + a.part_stride * (size_t)segment;
    if (segment > 0) a.page0 = (first + segment) * KV_SEGMENT;
    if (end < a.page1) a.page1 = end;
    if (segment < n) c->kern->attention[c->kv->type](&a);
    if (__atomic_add_fetch(&c->parts_done[tile], 1, __ATOMIC_ACQ_REL) < (uint32_t)cut.segments) return;
    __atomic_store_n(&c->parts_done[tile], 0, __ATOMIC_RELAXED); // for the next layer; phases order it
    for (int i = 0; i < a.n; i++)
      c->kern->attention_merge(parts + (size_t)i * (size_t)(a.value_pad + GROUP), a.part_stride, n, a.value_dim, a.value_pad, a.out[i]);
    return;
  }
  c->kern->attention[c->kv->type](&a);
}

/* ---- operations on rows ---- */

static void cpu_embed(struct cpu *c, const struct op *op, int row, int thread) {
  const struct batch *b = c->batch;
  const int32_t *index = op->lookup == BY_TOKEN ? b->token : op->lookup == BY_POSITION ? b->position : b->type;
  float *to = cpu_row(c, op->out[0], row), *y = op->add ? cpu_scratch(c, thread, CPU_ROW) : to;
  if (op->lookup == BY_TOKEN && row + CPU_AHEAD < b->n_rows) { // tables are large, tokens random: their memory is far away
    const char *ahead = (const char *)op->w[0]->file + model_file_bytes(op->w[0], index[row + CPU_AHEAD]);
    const size_t bytes = model_file_bytes(op->w[0], 1);
    for (size_t at = 0; at < bytes && at < CPU_AHEAD_BYTES && !op->w[0]->packed; at += 64) __builtin_prefetch(ahead + at);
  }
  cpu_embed_row(op->w[0], index[row], op->scale, y);
  if (op->add) c->kern->add(to, y, op->w[0]->n_cols);
}

static void cpu_add(struct cpu *c, const struct op *op, int row, int thread) {
  float *to = cpu_row(c, op->out[0], row), *normed = cpu_scratch(c, thread, CPU_ROW), scale = op->scale;
  const float *x = cpu_row(c, op->in[0], row);
  const int n = c->tape->values[op->out[0]].width;
  if (op->source == FROM_NORM) cpu_norm(c->kern, &op->norm, x, n, normed), x = normed;
  if (op->in[1] != VALUE_NONE) scale *= (float)(1 / (1 + kern_exp(-(double)*cpu_row(c, op->in[1], row))));
  if (scale == 1) c->kern->add(to, x, n);
  else for (int i = 0; i < n; i++) to[i] += scale * x[i];
}

static void cpu_norm_row(struct cpu *c, const struct op *op, int row) {
  const int n = c->tape->values[op->in[0]].width / op->n_head;
  const float *x = cpu_row(c, op->in[0], row);
  float *y = cpu_row(c, op->out[0], row);
  if (op->source == FROM_GLU) c->kern->glu[op->act](x, NULL, n, y), x = y;
  for (int h = 0; h < op->n_head; h++) {
    struct norm norm = op->norm;
    if (norm.weight) norm.weight += h * n;
    if (norm.bias) norm.bias += h * n;
    cpu_norm(c->kern, &norm, x + h * n, n, y + h * n);
  }
}

static void cpu_mean(struct cpu *c, const struct op *op, int row) {
  const struct batch_segment *s = &c->batch->segments[c->batch->segment[row]];
  float *y = cpu_row(c, op->out[0], row);
  for (int i = 0; i < c->tape->values[op->in[0]].width && row == s->row; i++) {
    double sum = 0;
    for (int r = 0; r < s->n_rows; r++) sum += (double)cpu_row(c, op->in[0], row + r)[i];
    y[i] = (float)(sum / s->n_rows);
  }
}

static void cpu_join(struct cpu *c, const struct op *op, int row) {
  float *to = cpu_row(c, op->out[0], row);
  for (int h = 0; h < op->n_head; h++)
    for (int k = 0; k < 2; k++) {
      const struct tape_piece *p = &op->piece[k];
      const bool paired = p->width && c->tape->values[op->in[k]].n_used > 1; // a row for each head
      const int from = paired ? c->pairs.at[row * op->n_head + h] : row;
      if (p->width) memcpy(to, cpu_row(c, op->in[k], from) + p->column + h * p->step, sizeof *to * (size_t)p->width);
      to += p->width;
    }
}

static void cpu_logits(struct cpu *c, const struct op *op, int row) {
  float *x = cpu_row(c, op->out[0], row);
  const int n = c->tape->values[op->out[0]].width;
  for (int i = 0; i < n && op->scale != 1; i++) x[i] *= op->scale;
  if (op->softcap > 0) c->kern->softcap(x, n, op->softcap);
}

static void cpu_rowwise(struct cpu *c, const struct op *op, int row, int thread) {
  switch (op->kind) {
  case OP_EMBED: cpu_embed(c, op, row, thread); break;
  case OP_ANGLES: cpu_angles_row(op->rope, c->batch->position[row], cpu_row(c, op->out[0], row)); break;
  case OP_NORM: cpu_norm_row(c, op, row); break;
  case OP_MEAN: cpu_mean(c, op, row); break;
  case OP_JOIN: cpu_join(c, op, row); break;
  case OP_ROUTE: cpu_route(c, op, row, thread); break;
  case OP_MIX: cpu_mix(c, op, row); break;
  case OP_ADD: cpu_add(c, op, row, thread); break;
  case OP_LOGITS: cpu_logits(c, op, row); break;
  default: BK_ASSERT(false); // products, heads and attention are not cut by rows
  }
}

/* ---- a step ---- */

static void cpu_chunk(void *context, int phase, int chunk, int thread) {
  struct cpu *c = context;
  const struct op *op = &c->tape->ops[c->first_op + phase / 2];
  double start = c->profile ? os_seconds() : 0;
  if (op->kind == OP_MATMUL && op->route) {
    if (phase % 2 == 0) cpu_prepare_pairs(c, op, chunk, c->chunks[phase], thread);
    else cpu_product_pairs(c, op, chunk, c->chunks[phase], thread);
  } else if (op->kind == OP_MATMUL && phase % 2 == 0) cpu_prepare(c, op, chunk, thread, c->panels);
  else if (op->kind == OP_MATMUL) cpu_product(c, op, chunk, c->chunks[phase], thread);
  else if (op->kind == OP_ROUTE && phase % 2 == 1) cpu_sort_pairs(c, op);
  else if (op->kind == OP_ATTENTION) cpu_attention(c, op, chunk, thread);
  else if (op->kind == OP_HEADS) {
    const int rows = cpu_rows(c, op), first = chunk / op->n_head_kv * CPU_HEAD_ROWS;
    const int end = first + CPU_HEAD_ROWS < rows ? first + CPU_HEAD_ROWS : rows;
    for (int row = first; row < end;) row += cpu_heads(c, op, row, end, chunk % op->n_head_kv);
  }
  else
    for (int row = chunk * CPU_ROWS; row < (chunk + 1) * CPU_ROWS && row < cpu_rows(c, op); row++) cpu_rowwise(c, op, row, thread);
  if (op->kind == OP_ROUTE && phase % 2 == 0 && c->chunks[phase + 1] == 0) cpu_sort_pairs(c, op);
  if (c->profile) c->profile[2 * (c->tape->n_ops * thread + c->first_op) + phase] += os_seconds() - start;
}

/* Chunks of both phases of an operation: few enough that taking them costs nothing, enough that nobody waits long. */
static void cpu_count_chunks(const struct cpu *c, const struct op *op, int *chunks) {
  int rows = cpu_rows(c, op), threads = c->pool.n_threads;
  chunks[0] = (rows + CPU_ROWS - 1) / CPU_ROWS;
  chunks[1] = 0;
  if (op->kind == OP_HEADS || op->kind == OP_ATTENTION) {
    const struct cpu_cut cut = c->cuts[op - c->tape->ops] = cpu_cut_attention(c, op);
    if (op->kind == OP_ATTENTION) chunks[0] = cut.tiles * cut.segments;
    else chunks[0] = cut.whole ? 0 : (rows + CPU_HEAD_ROWS - 1) / CPU_HEAD_ROWS * op->n_head_kv;
  }
  if (op->kind == OP_ROUTE) chunks[1] = chunks[0] > 1; // the only chunk of rows sorts, too
  if (op->kind == OP_MATMUL && op->route) {
    chunks[0] = cpu_one_column(c, op) ? 0 : threads == 1 ? 1 : threads * 4;
    chunks[1] = threads == 1 ? 1 : threads * 8;
  } else if (op->kind == OP_MATMUL) {
    int groups = cpu_groups(op), most = threads == 1 ? 1 : rows <= c->kern->widest ? threads * 2 : threads * 8;
    chunks[0] = rows <= CPU_FEW ? 0 : (rows + c->kern->widest - 1) / c->kern->widest;
    chunks[1] = groups < most ? groups : most;
  }
}

static void cpu_section(struct cpu *c, int first_op, int end_op) {
  c->first_op = first_op;
  c->n_sections++;
  for (int i = first_op; i < end_op; i++) cpu_count_chunks(c, &c->tape->ops[i], c->chunks + 2 * (i - first_op));
  const bool before = os_forbid_alloc(true);
  cpu_pool_run(&c->pool, 2 * (end_op - first_op), c->chunks, cpu_chunk, c);
  os_forbid_alloc(before);
}

static int cpu_head_op(const struct tape *t) {
  int i = t->n_ops;
  while (i > 0 && t->ops[i - 1].head) i--;
  return i;
}

/* Moves the rows that are kept together, in every value that the tape reads from `tail` on. */
static void cpu_keep(struct cpu *c) {
  const struct tape *t = c->tape;
  for (int k = 0; k < t->n_values; k++) {
    const struct value *v = &t->values[k];
    if (v->slice_of != VALUE_NONE || v->first >= t->tail || v->last < t->tail) continue;
    for (int i = 0; i < c->batch->n_kept; i++)
      if (c->batch->kept[i] != i) memcpy(cpu_row(c, k, i), cpu_row(c, k, c->batch->kept[i]), sizeof(float) * (size_t)v->width);
  }
}

/* The whole pass but the head: fills pages and leaves the hidden states of rows that are kept in scratch, one after the other. */
static void cpu_run(struct cpu *c, const struct batch *b) {
  const int tail = c->tape->tail, end = cpu_head_op(c->tape);
  const bool all = !b->kept || b->n_kept == b->n_rows;
  c->batch = b;
  cpu_section(c, 0, all ? end : tail);
  if (all) return;
  cpu_keep(c);
  if (b->n_kept && tail < end) cpu_section(c, tail, end);
}

/* Logits of output rows [first, first + n), n <= HEAD_ROWS, of the batch just run; row i of the answer at *logits + i * stride. */
static const float *cpu_run_head(struct cpu *c, int first, int n, size_t *stride) {
  const struct tape *t = c->tape;
  c->out_first = first;
  c->out_n = n;
  for (int i = 0; i < n; i++)
    memcpy(cpu_row(c, t->input, i), cpu_row(c, t->values[t->input].column, c->batch->out[first + i]),
           sizeof(float) * (size_t)t->values[t->input].width);
  cpu_section(c, cpu_head_op(t), t->n_ops);
  *stride = (size_t)t->values[t->result].stride;
  return cpu_row(c, t->result, 0);
}

/* Memory for the segments of the tiles that are cut, on so many threads. */
static size_t cpu_parts_bytes(const struct tape *t, int max_pages, int n_threads) {
  size_t most = 0;
  for (int i = 0; i < t->n_ops; i++)
    if (t->ops[i].kind == OP_ATTENTION && cpu_part_floats(&t->ops[i], GROUP) > most) most = cpu_part_floats(&t->ops[i], GROUP);
  return most * sizeof(float) * (size_t)cpu_most_segments(max_pages) * (size_t)cpu_slots(n_threads) + 64;
}

static bool cpu_open_pairs(struct cpu_pairs *p, const struct tape *t, struct arena *a) {
  const size_t pairs = (size_t)t->max_rows * (size_t)t->most_used, experts = (size_t)t->most_experts + 1;
  p->chosen = ARENA_NEW(a, int32_t, pairs);
  p->at = ARENA_NEW(a, int32_t, pairs);
  p->row = ARENA_NEW(a, int32_t, pairs);
  p->first = ARENA_NEW(a, int32_t, experts);
  p->column = ARENA_NEW(a, int32_t, experts);
  p->active = ARENA_NEW(a, int32_t, experts);
  return p->chosen && p->at && p->row && p->first && p->column && p->active;
}

static size_t cpu_pairs_bytes(const struct tape *t) {
  return (size_t)t->max_rows * (size_t)t->most_used * 12 + (size_t)t->most_experts * 12 + 512;
}

static bool cpu_open(struct cpu *c, const struct kern *kern, bool exact, int n_threads, int max_pages, const struct tape *t,
                     const struct kv *kv, struct arena *a, struct bk_error *e) {
  *c = (struct cpu){.kern = kern, .exact = exact, .tape = t, .kv = kv, .max_pages = max_pages};
  if (!cpu_pool_open(&c->pool, n_threads, 2 * t->n_ops > 16 ? 2 * t->n_ops : 16, a, e)) return false;
  c->values = arena_raw(a, t->scratch_bytes, 1, 64);
  c->panels = arena_raw(a, t->panel_bytes, 1, 64);
  c->chunks = ARENA_NEW(a, int, (size_t)(2 * t->n_ops));
  c->cuts = ARENA_NEW(a, struct cpu_cut, (size_t)t->n_ops);
  c->parts = arena_raw(a, cpu_parts_bytes(t, max_pages, n_threads), 1, 64);
  c->parts_done = ARENA_NEW(a, uint32_t, (size_t)cpu_slots(n_threads) + 1);
  c->thread_scratch = ARENA_NEW(a, char *, (size_t)c->pool.n_threads);
  bool ok = c->values && c->panels && c->parts && c->parts_done && c->chunks && c->cuts && c->thread_scratch &&
            (!t->most_experts || cpu_open_pairs(&c->pairs, t, a));
  for (int i = 0; ok && i < c->pool.n_threads; i++) {
    c->thread_scratch[i] = arena_raw(a, cpu_thread_bytes(t, max_pages), 1, 64);
    ok = c->thread_scratch[i] != NULL;
    if (ok) *(uint64_t *)cpu_scratch(c, i, CPU_MADE) = 0;
  }
  return ok || err_set(e, ERR_OS, "no memory for the scratch of %d threads", c->pool.n_threads);
}
