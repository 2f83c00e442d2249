/* report.c -- what the vectors of a text are like, and how far another model or precision is from them: numbers, no vectors.
 *
 * In: rounds of embed.c. All lines are counted; of a sample of fixed size, in which every line has the same chance to be,
 * the vectors are kept, of length 1, and at the end each is multiplied with each. Memory does not grow with the input; the
 * same lines and the same seed give the same numbers, whatever the number of threads.
 * SPDX-License-Identifier: MIT */

enum {
  REPORT_LINES = 4096,   // of the sample
  REPORT_PAIRED = 2048,  // of these, drawn by chance: all of their pairs are sorted and ranked
  REPORT_PAIRS = REPORT_PAIRED * (REPORT_PAIRED - 1) / 2,
  REPORT_SEEN = 1 << 20, // places for hashes of different lines
  REPORT_BINS = 40,      // of the histogram, from -1 to 1
  REPORT_NEAREST = 10,
  REPORT_EXAMPLES = 5,
  REPORT_COMPONENTS = 3,
  REPORT_ROUNDS = 100,   // of the power iteration at most
  REPORT_TEXT = 16 << 10 // bytes that are printed at most
};

struct report_line {
  int64_t index;
  uint64_t text;         // its hash
  float *x[2];           // (stride) of length 1; the second side's if `paired`
  bool paired;
  int nearest;           // another line of the sample with another text, -1: none
  float cosine;          // with it
  double mean, squares;  // products: with the mean of all; with all once that is taken away, squared and summed
  double spearman, shared[2]; // of the two sides' neighbours
};

struct report_side {
  struct embed_writer *w;
  int n, stride;         // floats of a vector; the same with zeros up to a whole block
  float *vectors;        // (REPORT_LINES, stride)
  uint8_t *packed;       // the same, as the kernels want them
  float *pairs;          // (REPORT_PAIRS) cosines of lines i > j at i * (i - 1) / 2 + j
};

struct report_thread {
  float *panel;          // (KERN_WIDEST, stride)
  float *products[2];    // (KERN_WIDEST, REPORT_LINES)
  uint64_t *order, *spare; // (REPORT_LINES)
};

struct report {
  struct report_side sides[2]; // what is reported on, and what it is compared with
  int n_sides, n, n_paired;    // n: lines of the sample; those with two vectors stand first at the end
  int64_t good, tokens;        // lines without errors
  double norms, least, most;   // lengths before normalisation: their sum
  uint64_t random, mask;       // hashes with a bit of the mask are not kept
  uint64_t *seen;              // (REPORT_SEEN) 0: free
  int n_seen;
  struct report_line *lines;   // (REPORT_LINES)
  uint64_t *order, *spare;     // (REPORT_PAIRS)
  struct report_thread *threads;
  double *mean, *axes;         // (stride), (REPORT_COMPONENTS + 1, stride)
  double length, mean_square;  // sum of all squared lengths, 1 each but for zeros; the mean's
  double shares[REPORT_COMPONENTS];
  struct arena memory;         // as reserved
  struct buf out;              // what is printed
  bool json;
  const char *group;           // that is open
};

/* other: NULL, a writer of another model's vectors, or of the same vectors in another form. Both write JSON Lines. */
static bool report_open(struct report *r, struct embed_writer *w, struct embed_writer *other, uint64_t seed, struct bk_error *e) {
  const size_t threads = (size_t)w->embed->engine->cpu.pool.n_threads;
  *r = (struct report){.n_sides = other ? 2 : 1, .random = seed, .least = HUGE_VAL, .sides = {{.w = w}, {.w = other}}};
  size_t bytes = REPORT_LINES * sizeof *r->lines + REPORT_SEEN * 8 + REPORT_PAIRS * 16 + REPORT_TEXT + 4096;
  for (int s = 0; s < r->n_sides; s++) {
    struct report_side *side = &r->sides[s];
    side->n = side->w->form.n;
    side->stride = (int)size_align((size_t)side->n, BLOCK);
    bytes += (size_t)side->stride * (REPORT_LINES * 8 + 8 * (REPORT_COMPONENTS + 2)) + REPORT_PAIRS * 4 + 4096;
    bytes += threads * (((size_t)side->stride + REPORT_LINES) * KERN_WIDEST * 4 + REPORT_LINES * 16 + 4096);
  }
  r->memory = os_reserve(bytes, e);
  struct arena a = r->memory;
  if (!a.beg) return false;
  r->lines = ARENA_NEW(&a, struct report_line, REPORT_LINES);
  r->seen = ARENA_NEW(&a, uint64_t, REPORT_SEEN);
  r->order = arena_raw(&a, REPORT_PAIRS, 8, 64);
  r->spare = arena_raw(&a, REPORT_PAIRS, 8, 64);
  r->out = buf_new(&a, REPORT_TEXT);
  r->mean = ARENA_NEW(&a, double, (size_t)r->sides[0].stride * (REPORT_COMPONENTS + 2));
  r->threads = ARENA_NEW(&a, struct report_thread, threads);
  for (int s = 0; s < r->n_sides; s++) {
    struct report_side *side = &r->sides[s];
    const size_t stride = (size_t)side->stride;
    side->vectors = arena_raw(&a, REPORT_LINES * stride, 4, 64);
    side->packed = arena_raw(&a, REPORT_LINES * stride, 4, 64);
    side->pairs = arena_raw(&a, REPORT_PAIRS, 4, 64);
    for (size_t i = 0; i < REPORT_LINES && side->vectors; i++) r->lines[i].x[s] = side->vectors + i * stride;
  }
  const int widest = r->sides[0].stride > r->sides[1].stride ? r->sides[0].stride : r->sides[1].stride;
  bool ok = r->sides[r->n_sides - 1].pairs != NULL;
  for (size_t i = 0; i < threads && ok; i++) {
    struct report_thread *t = &r->threads[i];
    t->panel = arena_raw(&a, (size_t)widest * KERN_WIDEST, 4, 64);
    for (int s = 0; s < r->n_sides; s++) t->products[s] = arena_raw(&a, REPORT_LINES * KERN_WIDEST, 4, 64);
    t->order = arena_raw(&a, REPORT_LINES, 8, 64);
    ok = (t->spare = arena_raw(&a, REPORT_LINES, 8, 64)) != NULL;
  }
  r->axes = r->mean + r->sides[0].stride;
  return ok || err_set(e, ERR_OS, "no memory for a report");
}

static void report_close(struct report *r) { os_release(r->memory); }

/* ---- line by line ---- */

/* How many lines are different is exact up to three quarters of REPORT_SEEN; beyond, hashes are kept whose last bits are zero,
 * and counted for all (adaptive sampling: Flajolet, 1990). */
static void report_note(struct report *r, uint64_t hash) {
  hash += !hash;
  uint64_t at = hash >> 44 & (REPORT_SEEN - 1);
  if (hash & r->mask) return;
  while (r->seen[at] && r->seen[at] != hash) at = (at + 1) & (REPORT_SEEN - 1);
  if (r->seen[at]) return;
  r->seen[at] = hash;
  if (++r->n_seen <= REPORT_SEEN / 4 * 3) return;
  int n = 0;
  r->mask = 2 * r->mask + 1;
  for (int i = 0; i < REPORT_SEEN; i++)
    if (r->seen[i] && !(r->seen[i] & r->mask)) r->order[n++] = r->seen[i];
  memset(r->seen, 0, sizeof *r->seen * REPORT_SEEN);
  r->n_seen = 0;
  while (n > 0) report_note(r, r->order[--n]);
}

/* The numbers of a vector as its form writes them; of bits 1 and -1. to (n) */
static void report_as_written(const struct embed_writer *w, const float *x, float *to) {
  const struct embed_form *f = &w->form;
  struct buf b = {w->bytes, 0, embed_form_bytes(f), false};
  embed_put_bytes(f, x, &b);
  for (int i = 0; i < f->n; i++) {
    uint16_t half;
    if (f->precision == EMBED_FLOAT32) memcpy(to + i, b.ptr + 4 * i, 4);
    else if (f->precision == EMBED_FLOAT16) memcpy(&half, b.ptr + 2 * i, 2), to[i] = f16_to_f32(half);
    else if (f->precision == EMBED_INT8) to[i] = (int8_t)b.ptr[i];
    else to[i] = (b.ptr[i / 8] >> (7 - i % 8) & 1) ^ (f->precision == EMBED_BINARY && i % 8 == 0) ? 1 : -1;
  }
}

static void report_take(const struct report_side *side, const struct embed_line *l, float *to) {
  report_as_written(side->w, embed_of_line(side->w, l, 0), to);
  for (int i = side->n; i < side->stride; i++) to[i] = 0;
  pool_normalise(to, side->n);
}

/* Counts a line. The place in the sample that becomes its own, -1: none (algorithm R: Vitter, 1985). */
static int report_count(struct report *r, const struct embed_line *l) {
  const struct embed_writer *w = r->sides[0].w;
  const float *x = embed_whole(w, l, 0);
  double squares = 0;
  for (int i = 0; i < w->embed->n_out; i++) squares += (double)x[i] * (double)x[i];
  const double norm = sqrt(squares);
  r->norms += norm;
  if (norm < r->least) r->least = norm;
  if (norm > r->most) r->most = norm;
  r->tokens += embed_tokens(w->embed, l);
  report_note(r, str_hash(l->text));
  if (r->good++ < REPORT_LINES) return r->n++;
  const double at = sample_uniform(&r->random) * (double)r->good;
  return at < REPORT_LINES ? (int)at : -1;
}

/* The lines of a round. Another model gets those that enter the sample. */
static bool report_round(struct report *r, struct bk_error *e) {
  struct embed_writer *w = r->sides[0].w;
  struct embed *b = w->embed, *other = r->n_sides == 2 && r->sides[1].w->embed != b ? r->sides[1].w->embed : NULL;
  int places[EMBED_LINES], n = 0;
  if (other) embed_turn(other);
  for (int i = 0; i < b->n_lines && embed_count(w, i, e); i++) {
    const struct embed_line *l = embed_answer(b, i);
    const int at = l->error.code ? -1 : report_count(r, l);
    if (at < 0) continue;
    struct report_line *line = &r->lines[at];
    line->index = b->lines[i].index;
    line->text = str_hash(l->text);
    line->paired = r->n_sides == 2 && !other;
    report_take(&r->sides[0], l, line->x[0]);
    if (line->paired) report_take(&r->sides[1], l, line->x[1]);
    if (!other) continue;
    embed_add(other, l->text, false);
    places[n++] = at;
  }
  if (n) embed_round(other);
  for (int i = 0; i < n; i++) { // two that share a place: the later one is there
    const struct embed_line *l = embed_answer(other, i);
    r->lines[places[i]].paired = !l->error.code;
    if (!l->error.code) report_take(&r->sides[1], l, r->lines[places[i]].x[1]);
  }
  w->lines += b->n_lines;
  return !e->code;
}

/* ---- order and ranks ---- */

static uint32_t report_key(float x) { // in the order of the numbers, the largest first
  const uint32_t u = f32_bits(x + 0.0f); // which makes of -0 a 0
  return u >> 31 ? u : ~u & 0x7FFFFFFF;
}

static double report_value(uint64_t order) {
  const uint32_t u = (uint32_t)(order >> 32);
  return (double)f32_from_bits(u >> 31 ? u : ~u & 0x7FFFFFFF);
}

/* order (n): keys and places, the largest first, equal ones in the order of places. spare (n) */
static void report_order(const float *x, size_t n, uint64_t *order, uint64_t *spare) {
  for (size_t i = 0; i < n; i++) order[i] = (uint64_t)report_key(x[i]) << 32 | i;
  for (int shift = 32; shift < 64; shift += 8) { // an even number of passes
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++) at[(order[i] >> shift & 255) + 1]++;
    for (int i = 0; i < 256; i++) at[i + 1] += at[i];
    for (size_t i = 0; i < n; i++) spare[at[order[i] >> shift & 255]++] = order[i];
    uint64_t *swap = order;
    order = spare;
    spare = swap;
  }
}

/* x (n) becomes its ranks, those of equal ones averaged; n < 2^23, so that a float holds them. */
static void report_rank(float *x, size_t n, const uint64_t *order) {
  for (size_t i = 0, end; i < n; i = end) {
    for (end = i + 1; end < n && order[end] >> 32 == order[i] >> 32;) end++;
    for (size_t k = i; k < end; k++) x[(uint32_t)order[k]] = (float)(i + end - 1) * 0.5f;
  }
}

/* Pearson's; of ranks Spearman's (1904). NaN: one of them does not vary. */
static double report_correlation(const float *x, const float *y, size_t n) {
  double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < n; i++) mx += (double)x[i], my += (double)y[i];
  for (size_t i = 0; i < n; i++) {
    const double dx = (double)x[i] - mx / (double)n, dy = (double)y[i] - my / (double)n;
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
  }
  return xx > 0 && yy > 0 ? xy / sqrt(xx) / sqrt(yy) : NAN;
}

/* ---- the sample ---- */

/* In an order of chance, those with two vectors first, and packed. */
static void report_arrange(struct report *r) {
  for (int i = r->n - 1; i > 0; i--) {
    const int k = (int)(sample_uniform(&r->random) * (i + 1));
    const struct report_line line = r->lines[i];
    r->lines[i] = r->lines[k];
    r->lines[k] = line;
  }
  for (int i = 0; i < r->n; i++) {
    const struct report_line line = r->lines[i];
    if (!line.paired) continue;
    r->lines[i] = r->lines[r->n_paired];
    r->lines[r->n_paired++] = line;
  }
  for (int s = 0; s < r->n_sides; s++) {
    const struct report_side *side = &r->sides[s];
    const size_t stride = (size_t)side->stride;
    float *rows = r->threads[0].products[0]; // (GROUP, stride): a group is gathered a slice of columns at a time
    for (int first = 0; first < (s ? r->n_paired : r->n); first += GROUP)
      for (size_t from = 0; from < stride; from += BLOCK) {
        for (int i = 0; i < GROUP; i++)
          if (first + i < r->n) memcpy(rows + i * BLOCK, r->lines[first + i].x[s] + from, 4 * BLOCK);
          else memset(rows + i * BLOCK, 0, 4 * BLOCK);
        form_pack_group(&quant_f32, rows, GROUP, BLOCK, 0, side->packed + 4 * (stride * (size_t)first + GROUP * from));
      }
  }
}

static double report_dot(const float *x, const double *y, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += (double)x[i] * y[i];
  return sum;
}

static void report_mean(struct report *r) {
  const int n = r->sides[0].n;
  for (int i = 0; i < r->n; i++)
    for (int k = 0; k < n; k++) {
      const double x = (double)r->lines[i].x[0][k];
      r->mean[k] += x;
      r->length += x * x;
    }
  for (int k = 0; k < n && r->n; k++) {
    r->mean[k] /= r->n;
    r->mean_square += r->mean[k] * r->mean[k];
  }
  for (int i = 0; i < r->n; i++) r->lines[i].mean = report_dot(r->lines[i].x[0], r->mean, n);
}

/* v (n) becomes of length 1 and orthogonal to the axes before the k-th. */
static void report_straighten(const struct report *r, double *v, int k) {
  const int n = r->sides[0].n;
  for (int a = 0; a <= k; a++) {
    const double *axis = a < k ? r->axes + (size_t)a * (size_t)r->sides[0].stride : v;
    double dot = 0;
    for (int i = 0; i < n; i++) dot += axis[i] * v[i];
    const double scale = dot > 0 ? 1 / sqrt(dot) : 0; // of the last, which is v
    for (int i = 0; i < n; i++) v[i] = a < k ? v[i] - dot * axis[i] : v[i] * scale;
  }
}

/* The axes along which the sample varies most, by power iteration, and their shares of all variance. */
static void report_components(struct report *r) {
  const int n = r->sides[0].n;
  const size_t stride = (size_t)r->sides[0].stride;
  const double variance = r->length - r->n * r->mean_square;
  double *next = r->axes + REPORT_COMPONENTS * stride;
  for (int k = 0; k < REPORT_COMPONENTS; k++) {
    double *v = r->axes + (size_t)k * stride, before = -1;
    for (int i = 0; i < n; i++) v[i] = sample_uniform(&r->random) - 0.5;
    for (int round = 0; round < REPORT_ROUNDS; round++) {
      double centre = 0, sum = 0, along = 0;
      report_straighten(r, v, k);
      for (int i = 0; i < n; i++) centre += r->mean[i] * v[i], next[i] = 0;
      for (int i = 0; i < r->n; i++) {
        const float *x = r->lines[i].x[0];
        const double d = report_dot(x, v, n) - centre;
        for (int c = 0; c < n; c++) next[c] += d * (double)x[c];
        sum += d;
        along += d * d;
      }
      for (int i = 0; i < n; i++) v[i] = next[i] - sum * r->mean[i];
      r->shares[k] = variance > 1e-9 ? along / variance : NAN;
      if (!(along - before > 1e-7 * along)) break;
      before = along;
    }
    report_straighten(r, v, k);
  }
}

/* The neighbours of line i on both sides, those with its own text left out. c, d (n_paired) are overwritten. */
static void report_compare(struct report *r, const struct report_thread *t, int i, float *c, float *d) {
  struct report_line *line = &r->lines[i];
  uint32_t best[2][REPORT_NEAREST];
  size_t n = 0;
  for (int j = 0; j < r->n_paired; j++)
    if (r->lines[j].text != line->text) c[n] = c[j], d[n++] = d[j];
  for (int s = 0; s < 2; s++) {
    float *x = s ? d : c;
    report_order(x, n, t->order, t->spare);
    report_rank(x, n, t->order);
    for (size_t k = 0; k < REPORT_NEAREST && k < n; k++) best[s][k] = (uint32_t)t->order[k];
  }
  line->spearman = report_correlation(c, d, n);
  for (int s = 0; s < 2; s++) {
    size_t most = s ? REPORT_NEAREST : 1, both = 0;
    if (most > n) most = n;
    for (size_t k = 0; k < most; k++)
      for (size_t l = 0; l < most; l++) both += best[0][k] == best[1][l];
    line->shared[s] = most ? (double)both / (double)most : NAN;
  }
}

static void report_rows(void *context, int phase, int chunk, int thread) {
  struct report *r = context;
  const struct report_thread *t = &r->threads[thread];
  const struct kern *k = r->sides[0].w->embed->engine->cpu.kern;
  const int first = chunk * k->widest;
  (void)phase;
  for (int s = 0; s < r->n_sides; s++) {
    const struct report_side *side = &r->sides[s];
    const int n = s ? r->n_paired : r->n, left = n - first < k->widest ? n - first : k->widest;
    const int width = left > 0 ? k->panel_width(left) : 0;
    const float *x[KERN_WIDEST];
    for (int i = 0; i < width; i++) x[i] = i < left ? r->lines[first + i].x[s] : NULL;
    if (left > 0) k->panel[PANEL_FLOATS](x, side->stride, width, t->panel);
    const struct matmul m = {FORM_F32, side->packed, t->panel, t->products[s], REPORT_LINES, n, side->stride, left, false};
    if (left > 0) k->matmul[FORM_F32](&m, 0, (n + GROUP - 1) / GROUP);
  }
  for (int i = first; i < first + k->widest && i < r->n; i++) {
    struct report_line *line = &r->lines[i];
    const size_t row = (size_t)(i - first) * REPORT_LINES;
    float *c = t->products[0] + row;
    line->nearest = -1;
    for (int j = 0; j < r->n; j++) {
      const double product = (double)c[j] - line->mean - r->lines[j].mean + r->mean_square;
      line->squares += product * product;
      if (r->lines[j].text != line->text && (line->nearest < 0 || c[j] > line->cosine)) line->nearest = j, line->cosine = c[j];
    }
    const size_t at = (size_t)i * (size_t)(i - 1) / 2, bytes = sizeof(float) * (size_t)i;
    if (i < REPORT_PAIRED) memcpy(r->sides[0].pairs + at, c, bytes);
    if (i >= r->n_paired) continue;
    if (i < REPORT_PAIRED) memcpy(r->sides[1].pairs + at, t->products[1] + row, bytes);
    report_compare(r, t, i, c, t->products[1] + row);
  }
}

/* ---- printing ---- */

static void report_name(struct buf *b, const char *name) {
  buf_byte(b, '"');
  for (; *name; name++) buf_byte(b, *name == ' ' ? '_' : *name);
  buf_put(b, STR("\":"));
}

/* A name and a number; NaN: there is none. A group of names is an object, or a heading. */
static void report_put(struct report *r, const char *group, const char *name, double x) {
  struct buf *b = &r->out;
  const bool whole = x < 1e15 && x > -1e15 && (double)(int64_t)x == x;
  const bool same = group == r->group || (group && r->group && strcmp(group, r->group) == 0);
  if (r->json) {
    if (!same && r->group) buf_byte(b, '}');
    buf_byte(b, b->len ? ',' : '{');
    if (!same && group) report_name(b, group), buf_byte(b, '{');
    report_name(b, name);
    json_put_double(b, x);
  } else {
    if (!same && group) buf_printf(b, "%s\n", group);
    if (x == x) buf_printf(b, whole ? "%s%-22s%12.0f\n" : "%s%-22s%12.6f\n", group ? "  " : "", name, x);
  }
  r->group = group;
}

/* The cosines of all pairs: how they are spread. */
static void report_similarity(struct report *r) {
  static const char *const names[] = {"quantile 1", "quantile 5", "quantile 25", "quantile 50", "quantile 75", "quantile 95",
                                      "quantile 99"};
  static const double shares[] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};
  const float *x = r->sides[0].pairs;
  const size_t lines = (size_t)(r->n < REPORT_PAIRED ? r->n : REPORT_PAIRED), n = lines ? lines * (lines - 1) / 2 : 0;
  double sum = 0, squares = 0;
  int bins[REPORT_BINS] = {0}, most = 1;
  for (size_t i = 0; i < n; i++) {
    const double at = ((double)x[i] + 1) * (REPORT_BINS / 2);
    const int bin = !(at > 0) ? 0 : at < REPORT_BINS ? (int)at : REPORT_BINS - 1;
    if (++bins[bin] > most) most = bins[bin];
    sum += (double)x[i];
  }
  for (size_t i = 0; i < n; i++) squares += ((double)x[i] - sum / (double)n) * ((double)x[i] - sum / (double)n);
  report_put(r, "similarity", "pairs", (double)n);
  report_put(r, "similarity", "mean", n ? sum / (double)n : NAN);
  report_put(r, "similarity", "standard deviation", n ? sqrt(squares / (double)n) : NAN);
  report_order(x, n, r->order, r->spare);
  for (int i = 0; i < ARRAY_LEN(names); i++) { // between two of them, as NumPy does by default
    const double at = (1 - shares[i]) * (double)(n - 1);
    const size_t low = n ? (size_t)at : 0, high = low + 1 < n ? low + 1 : low;
    const double a = report_value(r->order[low]), z = report_value(r->order[high]);
    report_put(r, "similarity", names[i], n ? a + (z - a) * (at - (double)low) : NAN);
  }
  if (r->json) buf_put(&r->out, STR(",\"histogram\":["));
  for (int i = 0; i < REPORT_BINS; i++)
    if (r->json) buf_printf(&r->out, i ? ",%d" : "%d", bins[i]);
    else if (bins[i])
      buf_printf(&r->out, "  %5.2f ..%5.2f  %9d  %.*s\n", i * 2.0 / REPORT_BINS - 1, (i + 1) * 2.0 / REPORT_BINS - 1, bins[i],
                 (int)(1 + 39.0 * bins[i] / most), "########################################");
  if (r->json) buf_byte(&r->out, ']');
}

/* How unevenly the vectors use their dimensions. Cosine of two lines of chance: Ethayarajh, How contextual are contextualized word
 * representations?, 2019; shares of the first components: Mu and Viswanath, All-but-the-top, 2018; effective dimension, the
 * participation ratio tr(C)^2 / tr(C^2) of the covariance C: Gao et al., A theory of multineuronal dimensionality, 2017. */
static void report_anisotropy(struct report *r) {
  const double n = r->n, variance = r->length - n * r->mean_square; // n tr(C); n^2 tr(C^2) is the sum of all squared products
  double squares = 0, shares = 0;
  for (int i = 0; i < r->n; i++) squares += r->lines[i].squares;
  report_put(r, "anisotropy", "mean cosine", n > 1 ? (n * n * r->mean_square - r->length) / (n * (n - 1)) : NAN);
  for (int k = 0; k < REPORT_COMPONENTS; k++) {
    char name[] = "variance of first 1";
    name[sizeof name - 2] = (char)('1' + k);
    report_put(r, "anisotropy", name, shares += r->shares[k]);
  }
  report_put(r, "anisotropy", "effective dimension", variance > 1e-9 ? variance * variance / squares : NAN);
}

/* Lines with another that says nearly the same; 0.95 as in Abbas et al., SemDeDup, 2023. */
static void report_duplicates(struct report *r) {
  float *x = r->sides[0].pairs; // no longer needed
  int above[2] = {0, 0}, shown = 0;
  int64_t last[2] = {-1, -1};
  for (int i = 0; i < r->n; i++) {
    x[i] = r->lines[i].nearest < 0 ? -2 : r->lines[i].cosine;
    above[0] += x[i] >= 0.95f;
    above[1] += x[i] >= 0.99f;
  }
  report_put(r, "near duplicates", "cosine 0.95", r->n ? (double)above[0] / r->n : NAN);
  report_put(r, "near duplicates", "cosine 0.99", r->n ? (double)above[1] / r->n : NAN);
  if (r->json) buf_put(&r->out, STR(",\"lines\":["));
  report_order(x, (size_t)r->n, r->order, r->spare);
  for (int i = 0; i < above[0] && shown < REPORT_EXAMPLES; i++) {
    const struct report_line *line = &r->lines[(uint32_t)r->order[i]];
    int64_t a = line->index + 1, b = r->lines[line->nearest].index + 1;
    if (b < a) a = b, b = line->index + 1;
    if (a == last[0] && b == last[1]) continue; // each the other's nearest
    if (r->json && shown) buf_byte(&r->out, ',');
    buf_printf(&r->out, r->json ? "[%lld,%lld,%.6f]" : "  lines %lld and %lld: %.4f\n", (long long)a, (long long)b, (double)line->cosine);
    shown++;
    last[0] = a;
    last[1] = b;
  }
  if (r->json) buf_byte(&r->out, ']');
}

static void report_against(struct report *r) {
  const size_t lines = (size_t)(r->n_paired < REPORT_PAIRED ? r->n_paired : REPORT_PAIRED), n = lines ? lines * (lines - 1) / 2 : 0;
  const struct report_side *a = &r->sides[0], *z = &r->sides[1];
  double sum = 0, least = NAN, sums[3] = {0, 0, 0};
  int counts[3] = {0, 0, 0};
  for (int i = 0; i < r->n_paired; i++) {
    const struct report_line *l = &r->lines[i];
    const double found[3] = {l->spearman, l->shared[0], l->shared[1]};
    double dot = 0;
    for (int k = 0; k < a->n && a->n == z->n; k++) dot += (double)l->x[0][k] * (double)l->x[1][k];
    sum += dot;
    if (!(dot >= least)) least = dot;
    for (int k = 0; k < 3; k++)
      if (found[k] == found[k]) sums[k] += found[k], counts[k]++;
  }
  for (int s = 0; s < 2; s++) {
    report_order(r->sides[s].pairs, n, r->order, r->spare);
    report_rank(r->sides[s].pairs, n, r->order);
  }
  const bool same = a->n == z->n && r->n_paired;
  report_put(r, "against", "lines", r->n_paired);
  report_put(r, "against", "dimensions", z->n);
  report_put(r, "against", "mean cosine", same ? sum / r->n_paired : NAN);
  report_put(r, "against", "least cosine", same ? least : NAN);
  report_put(r, "against", "spearman", report_correlation(a->pairs, z->pairs, n));
  report_put(r, "against", "neighbours spearman", counts[0] ? sums[0] / counts[0] : NAN);
  report_put(r, "against", "nearest 1 shared", counts[1] ? sums[1] / counts[1] : NAN);
  report_put(r, "against", "nearest 10 shared", counts[2] ? sums[2] / counts[2] : NAN);
}

/* After the last round. */
static bool report_write(struct report *r, bool json, FILE *out, struct bk_error *e) {
  const struct embed_writer *w = r->sides[0].w;
  const double different = (double)r->n_seen * ((double)r->mask + 1), good = (double)r->good;
  const int widest = w->embed->engine->cpu.kern->widest, chunks = (r->n + widest - 1) / widest;
  r->json = json;
  report_arrange(r);
  report_mean(r);
  report_components(r);
  if (r->n) cpu_pool_run(&w->embed->engine->cpu.pool, 1, &chunks, report_rows, r);
  report_put(r, NULL, "lines", (double)w->lines);
  report_put(r, NULL, "errors", (double)w->errors);
  report_put(r, NULL, "tokens", (double)r->tokens);
  report_put(r, NULL, "truncated", (double)w->cut_lines);
  report_put(r, NULL, "duplicates", good > different ? good - different : 0); // lines that an earlier one has the bytes of
  report_put(r, NULL, "duplicates error", r->mask ? 1.2 * different / sqrt(r->n_seen) : 0); // standard error, Flajolet's
  report_put(r, NULL, "sample", r->n);
  report_put(r, NULL, "dimensions", r->sides[0].n);
  report_put(r, "norm", "least", r->good ? r->least : NAN);
  report_put(r, "norm", "mean", r->good ? r->norms / good : NAN);
  report_put(r, "norm", "most", r->good ? r->most : NAN);
  report_similarity(r);
  report_anisotropy(r);
  if (r->n_sides == 2) report_against(r); // of the pairs, which what follows overwrites
  report_duplicates(r);
  buf_put(&r->out, json ? STR("}}\n") : STR(""));
  BK_ASSERT(!r->out.full);
  return fwrite(r->out.ptr, 1, r->out.len, out) == r->out.len || err_set(e, ERR_IO, "cannot write the report: %s", strerror(errno));
}
