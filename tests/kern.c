/* kern.c -- the test and the benchmark of the kernels: every instruction set of this processor x every kernel.
 *
 *   kern [--bench] [--quick] [--isa NAME] [--only SUBSTRING] [--seed N]
 *   kern --once N       each product and attention once, for tools/count_arm.sh: 16 rows, 1024 k, N columns; 1024 keys of 64
 *
 * Three questions to each kernel: is it the specification (a format's decode, computed on in double: |error| <= BOUND *
 * sum |w x|, one bound without a scale); is it bit for bit what the scalar set gives for one column alone; does it keep
 * to its memory (every buffer ends at a forbidden page and begins behind a canary). Formats come from quant_table, so a
 * new file in src/quant is tested without a word here. One line per kernel and set, "N passed, N failed" last.
 * SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

#include <math.h>

#define BOUND 1e-6
#define TINY 1e-36 /* below it products of floats lose bits to underflow */
#define CANARY 0xA5
#define UNTOUCHED 0x7FC5A5A5u /* what outputs are filled with before: a NaN that no kernel makes */

/* ---- random numbers, memory, rows of the report ---- */

static uint64_t rnd_state;

static uint64_t rnd(void) { // splitmix64
  uint64_t z = (rnd_state += 0x9E3779B97F4A7C15u);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

static int rnd_below(int n) { return (int)(rnd() % (uint64_t)n); }
static float rnd_float(void) { return (float)((double)(rnd() >> 11) * 0x1p-52 - 1); } // [-1, 1)
static void rnd_floats(float *x, int n, float scale) {
  for (int i = 0; i < n; i++) x[i] = rnd_float() * scale;
}

struct guard {
  char *end;   // the forbidden page
  char *p;     // the buffer in use: p .. end - 1
  size_t size; // bytes of the map in front of it
};
enum { GUARD_CANARY = 256 };

static void *guard_take(struct guard *g, size_t bytes) { // forgets what it held; all bytes CANARY
  if (bytes + GUARD_CANARY > g->size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = size_align(2 * bytes + GUARD_CANARY, page);
    if (g->end) munmap(g->end - g->size, g->size + page);
    char *map = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + size, page, PROT_NONE) != 0) {
      fprintf(stderr, "kern: no memory for %zu bytes\n", size);
      exit(71);
    }
    *g = (struct guard){map + size, NULL, size};
  }
  g->p = g->end - bytes;
  memset(g->p - GUARD_CANARY, CANARY, bytes + GUARD_CANARY);
  return g->p;
}

static bool guard_whole(const struct guard *g) {
  for (int i = 1; i <= GUARD_CANARY; i++)
    if ((uint8_t)g->p[-i] != CANARY) return false;
  return true;
}

static struct {
  const char *isa, *only;
  bool quick, bench;
  int passed, failed;     // rows
  char name[64];
  const char *set;
  double worst;           // error as a fraction of BOUND
  int cases, bad;
} test;

static bool row_begin(const struct kern *k, const char *name) {
  snprintf(test.name, sizeof test.name, "%s", name);
  test.set = k->name;
  test.worst = 0;
  test.cases = test.bad = 0;
  return (!test.isa || !strcmp(test.isa, k->name)) && (!test.only || strstr(name, test.only));
}

static void row_end(void) {
  printf("%-4s %-20s %-9s %7d cases, worst error %.3f of the bound\n", test.bad ? "FAIL" : "ok", test.name, test.set,
         test.cases, test.worst);
  fflush(stdout);
  *(test.bad ? &test.failed : &test.passed) += 1;
}

BASE_PRINTF(2, 3) static void row_check(bool good, const char *format, ...) {
  test.cases++;
  if (good || test.bad++ >= 5) return; // five sentences say enough
  va_list args;
  va_start(args, format);
  printf("     %s %s: ", test.name, test.set);
  vprintf(format, args);
  printf("\n");
  va_end(args);
}

static bool is_finite(double x) { return x - x == 0; }
static bool same_bits(float a, float b) { return f32_bits(a) == f32_bits(b) || (a != a && b != b); } // a NaN is a NaN

/* Near enough: |y - want| <= BOUND * scale. No finite number where none is due, and the other way round. */
static bool near_enough(float y, double want, double scale) {
  if (!is_finite(want) || !is_finite(scale)) return !is_finite(y);
  double error = fabs((double)y - want) / (BOUND * scale + TINY);
  if (!is_finite(y) || error > 1) return false;
  if (error > test.worst) test.worst = error;
  return true;
}

/* ---- matrices: raw blocks by pattern, what they mean, packed ---- */

enum pattern {
  SANE,
  CODES_0,
  CODES_1,
  SCALE_MAX,
  SCALE_0,
  SCALE_MINUS_0,
  SCALE_SUBNORMAL,
  SCALE_INF,
  SCALE_NAN,
  RAW,
  PATTERNS
};
static const char *const pattern_names[PATTERNS] = {"sane",      "codes 0",  "codes 1",         "scale max",
                                                    "scale 0",   "scale -0", "scale subnormal", "scale inf",
                                                    "scale nan", "raw bytes"};
static uint16_t pattern_half(enum pattern p) {
  uint16_t sign = (uint16_t)(rnd() & 0x8000);
  switch (p) {
  case SCALE_MAX: return 0x7BFF;
  case SCALE_0: return 0;
  case SCALE_MINUS_0: return 0x8000;
  case SCALE_SUBNORMAL: return (uint16_t)(sign | (1 + rnd_below(0x3FF)));
  case SCALE_INF: return sign | 0x7C00;
  case SCALE_NAN: return sign | 0x7E01;
  default: return f32_to_f16(0.01f + 0.05f * rnd_float());
  }
}

struct matrix {
  const struct quant *q;
  int rows, cols;
  char *raw;             // as in a file
  float *w;              // (rows, cols) by decode
  float *least;          // (rows, cols) |min| of each weight: what cancels inside it
  struct guard packed;
};

/* Where a block keeps a half: the byte that makes it 1. Found by trying, so that no format needs to say it. */
static int half_at(const struct quant *q, bool least) {
  char block[512];
  for (size_t i = 0; i + 1 < q->block_bytes; i++) {
    struct codes c = {0};
    memset(block, 0, sizeof block);
    block[i] = 1;
    q->unpack(block, &c);
    if ((least ? c.m : c.d) == 1) return (int)i;
  }
  return -1;
}

static void fill_block(const struct quant *q, enum pattern p, int d, int m, char *block) {
  uint16_t half = pattern_half(p);
  for (size_t i = 0; i < q->block_bytes; i++)
    block[i] = (char)(p == CODES_0 ? 0 : p == CODES_1 ? 255 : (int)(rnd() & 255));
  if (p == RAW) return;
  if (!q->unpack) { // a float: it is its own scale
    float value = f16_to_f32(half);
    uint32_t bits = f32_bits(value);
    if (q->form == FORM_F32) memcpy(block, &value, 4);
    if (q->form == FORM_F16) memcpy(block, &half, 2);
    if (q->form == FORM_BF16) memcpy(block, (char *)&bits + 2, 2); // the upper half
    return;
  }
  if (d >= 0) memcpy(block + d, &half, 2);
  half = pattern_half(p);
  if (m >= 0) memcpy(block + m, &half, 2);
}

/* Scales of other kinds than a half of its own, some with exponents that overflow anything: random bytes until the weights are of a
 * size that a model's might be. */
static void fill_any(const struct quant *q, enum pattern p, char *block, float *w) {
  float most;
  do {
    fill_block(q, p == CODES_0 || p == CODES_1 ? p : RAW, -1, -1, block);
    if (p == CODES_1) block[rnd_below((int)q->block_bytes)] = (char)rnd();
    q->decode(block, w);
    most = 0;
    for (int i = 0; i < q->block; i++) most = !(fabsf(w[i]) <= most) ? fabsf(w[i]) : most;
    p = p == CODES_1 ? RAW : p; // if all ones is no number
  } while (!(most < 1e4f));
}

static void matrix_make(struct matrix *x, const struct quant *q, int rows, int cols, enum pattern p) {
  const struct form_shape *f = &form_shapes[q->form];
  size_t n = (size_t)rows * (size_t)cols, blocks = n / (size_t)q->block;
  int d = q->unpack && !f->table ? half_at(q, false) : -1, m = q->unpack && f->min ? half_at(q, true) : -1;
  x->q = q, x->rows = rows, x->cols = cols;
  x->raw = realloc(x->raw, blocks * q->block_bytes);
  x->w = realloc(x->w, n * sizeof *x->w);
  x->least = realloc(x->least, n * sizeof *x->least);
  for (size_t b = 0; b < blocks; b++) {
    char *block = x->raw + b * q->block_bytes;
    enum pattern own =
        (p >= SCALE_INF && p < RAW) && rnd_below(4) ? SANE : p; // some blocks, so that some rows stay whole
    struct codes c;
    if (q->unpack && (f->table || d == m)) fill_any(q, p, block, x->w + b * (size_t)q->block);
    else fill_block(q, own, d, m, block);
    q->decode(block, x->w + b * (size_t)q->block);
    if (f->min) q->unpack(block, &c);
    for (int i = 0; i < q->block; i++) {
      float least = f->min ? f16_to_f32(c.m) * (f->sub > 1 ? (float)c.min[i / (f->bits == 2 ? 16 : BLOCK)] : 1.0f) : 0;
      x->least[b * (size_t)q->block + (size_t)i] = fabsf(least);
    }
  }
  size_t group = form_bytes(q->form, GROUP, cols);
  char *packed = guard_take(&x->packed, form_bytes(q->form, rows, cols));
  for (int r = 0; r < rows; r += GROUP) form_pack_group(q, x->raw, rows, cols, r, packed + group * (size_t)(r / GROUP));
}

/* ---- products ---- */

enum { TOKENS = 29 };
static struct matrix mat;
static struct guard panel_guard, out_guard, x_guard;

static size_t panel_make(const struct kern *k, enum panel kind, const float *x, int cols, int n) {
  size_t dwords = panel_dwords(kind, cols), columns = 0;
  for (int t = 0; t < n; t += k->panel_width(n - t)) columns += (size_t)k->panel_width(n - t);
  char *p = guard_take(&panel_guard, columns * dwords * 4);
  for (int t = 0, width; t < n; t += width) {
    width = k->panel_width(n - t);
    const float *row[KERN_WIDEST];
    for (int c = 0; c < width; c++) row[c] = t + c < n ? x + (size_t)(t + c) * (size_t)cols : NULL;
    k->panel[kind](row, cols, width, p + dwords * 4 * (size_t)t);
  }
  return columns;
}

static void product(const struct kern *k, bool exact, const float *x, int n, bool add, int group0, int group1,
                    size_t ldy) {
  panel_make(k, exact ? PANEL_FLOATS : form_panel(mat.q->form), x, mat.cols, n);
  struct matmul m = {
      mat.q->form, (const uint8_t *)mat.packed.p, panel_guard.p, (float *)(void *)out_guard.p, ldy, mat.rows, mat.cols, n, add};
  (exact ? k->exact : k->matmul)[mat.q->form](&m, group0, group1);
}

static float *out_take(size_t n) {
  float *y = guard_take(&out_guard, n * sizeof *y);
  for (size_t i = 0; i < n; i++) y[i] = f32_from_bits(UNTOUCHED);
  return y;
}

/* What one column gives: ref (TOKENS, rows) by the scalar set, checked against doubles once. */
static void product_reference(bool exact, const float *x, float *ref, enum pattern p) {
  const struct kern *k = kern_get(ISA_SCALAR);
  enum panel kind = exact ? PANEL_FLOATS : form_panel(mat.q->form);
  bool floats = kind == PANEL_FLOATS;
  int block_of = kind == PANEL_LONG ? 256 : BLOCK; // activations that share a scale
  for (int t = 0; t < TOKENS; t++) {
    const float *column = x + (size_t)t * (size_t)mat.cols;
    out_take((size_t)mat.rows);
    product(k, exact, column, 1, false, 0, (mat.rows + GROUP - 1) / GROUP, (size_t)mat.rows);
    memcpy(ref + (size_t)t * (size_t)mat.rows, out_guard.p, sizeof *ref * (size_t)mat.rows);
    for (int r = 0; r < mat.rows; r++) {
      double want = 0, scale = 0;
      for (int i = 0; i < mat.cols; i++) {
        const char *block = panel_guard.p + (floats ? 0 : panel_dwords(kind, block_of) * 4 * (size_t)(i / block_of));
        float d = 0; // of a panel of one column
        if (!floats) memcpy(&d, block + block_of, 4);
        double in = floats ? (double)column[i] : (double)d * (int8_t)block[i % block_of];
        size_t at = (size_t)r * (size_t)mat.cols + (size_t)i;
        want += (double)mat.w[at] * in;
        scale += (fabs((double)mat.w[at]) + 2 * (double)mat.least[at]) * fabs(in);
      }
      float y = ref[(size_t)t * (size_t)mat.rows + (size_t)r];
      /* Raw bytes of floats reach 3e38: sums overflow in float where they do not in double. */
      if (p == RAW && (floats || !is_finite(want))) test.cases++;
      else
        row_check(near_enough(y, want, scale), "%s, %dx%d, row %d: %.9g, expected %.9g of %.3g", pattern_names[p],
                  mat.rows, mat.cols, r, (double)y, want, scale);
    }
  }
}

static void product_case(const struct kern *k, bool exact, const float *x, const float *ref, int n, enum pattern p) {
  int groups = (mat.rows + GROUP - 1) / GROUP, cut = rnd_below(groups + 1), rows = mat.rows,
      skip = groups > 1 ? rnd_below(2) : 0;
  size_t ldy = (size_t)rows + (size_t)rnd_below(3), size = ldy * (size_t)(n - 1) + (size_t)rows;
  bool add = rnd_below(3) == 0;
  float *y = out_take(size);
  float *before = malloc(size * sizeof *before);
  for (int t = 0; t < n; t++)
    for (int r = 0; r < rows && add; r++) y[(size_t)t * ldy + (size_t)r] = rnd_float();
  memcpy(before, y, size * sizeof *y);
  product(k, exact, x, n, add, skip, cut < skip ? skip : cut, ldy); // in two calls, and perhaps without the first group
  product(k, exact, x, n, add, cut < skip ? skip : cut, groups, ldy);
  bool good = guard_whole(&out_guard) && guard_whole(&panel_guard) && guard_whole(&mat.packed);
  size_t bad = 0;
  for (size_t i = 0; i < size; i++) {
    size_t t = i / ldy, r = i % ldy;
    bool written = r < (size_t)rows && r >= (size_t)(skip * GROUP);
    float want = !written ? before[i] : ref[t * (size_t)rows + r];
    if (written && add) want = want + before[i];
    if (!(written ? same_bits(y[i], want) : f32_bits(y[i]) == f32_bits(want))) good = false, bad = i;
  }
  row_check(good, "%s, %dx%d by %d%s: differs at row %zu of column %zu (%.9g), or wrote outside", pattern_names[p],
            rows, mat.cols, n, add ? ", added" : "", bad % ldy, bad / ldy, (double)y[bad]);
  free(before);
}

static void test_product(const struct kern *k, const struct quant *q, bool exact) {
  char name[64];
  snprintf(name, sizeof name, "%s %s", q->name, exact ? "exact" : "matmul");
  if (!row_begin(k, name)) return;
  bool is_scalar = k == kern_get(ISA_SCALAR), floats = form_shapes[q->form].bits == 0;
  int unit = q->block < BLOCK && !floats ? BLOCK : q->block;
  const struct { int rows, cols; bool all; } shapes[] = {
    {16, unit, true}, {1, floats ? 37 : 3 * unit, true}, {40, 5 * unit, false}, {33, floats ? 100 : 2 * unit, false},
    {test.quick ? 17 : 35, test.quick ? 1024 : 4096, false}};
  static const int counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 23, 29};
  for (int s = 0; s < ARRAY_LEN(shapes); s++) {
    int rows = shapes[s].rows, cols = shapes[s].cols;
    float *ref = malloc(sizeof *ref * TOKENS * (size_t)rows);
    for (int p = 0; p < PATTERNS; p++) {
      if (s >= 2 && p != SANE && (p != RAW || s == ARRAY_LEN(shapes) - 1)) continue;
      float *x = guard_take(&x_guard, sizeof *x * TOKENS * (size_t)cols);
      rnd_floats(x, TOKENS * cols, 2.0f);
      for (int i = 0; i < cols; i++) x[cols + i] = i % 3 ? 0.0f : x[cols + i]; // a column that is mostly zero ...
      for (int i = 0; i < cols; i++) x[2 * cols + i] = 0.0f;                   // ... and one that is
      matrix_make(&mat, q, rows, cols, (enum pattern)p);
      float *row = malloc(sizeof *row * (size_t)cols);
      for (int r = 0; r < rows && is_scalar; r++) {
        bool same = true;
        form_row(q->form, mat.packed.p, cols, r, row);
        for (int i = 0; i < cols; i++) {
          float want = mat.w[(size_t)r * (size_t)cols + (size_t)i];
          same = same && (row[i] == want || same_bits(row[i], want)); // 0 and -0 are one weight
        }
        row_check(same, "%s: unpacked row %d is not what decode gives", pattern_names[p], r);
      }
      free(row);
      product_reference(exact, x, ref, (enum pattern)p);
      for (int n = 1; n <= TOKENS; n++) {
        bool listed = false;
        for (int i = 0; i < ARRAY_LEN(counts); i++) listed = listed || counts[i] == n;
        if ((shapes[s].all && p == SANE && !test.quick) || (listed && (s < 4 || n == 1 || n == 5 || n == TOKENS)))
          product_case(k, exact, x, ref, n, (enum pattern)p);
      }
    }
    free(ref);
  }
  row_end();
}

/* ---- activations into panels ---- */

static void panel_input(float *x, int n, int kind) {
  static const float special[] = {0.0f, -0.0f, 1e-31f, 1e-38f, 1e-44f, 3e38f, -3e38f, 1.0f, 126.5f, 127.5f};
  rnd_floats(x, n, kind == 1 ? 1e-31f : kind == 2 ? 3e38f : kind == 3 ? 1e-40f : 3.0f);
  if (kind == 4) memset(x, 0, sizeof *x * (size_t)n);
  if (kind == 5) for (int i = 0; i < n; i++) x[i] = special[rnd_below(ARRAY_LEN(special))];
  if (kind == 6) x[rnd_below(n)] = f32_from_bits(0x7F800000u | (uint32_t)(rnd() & 0x80000000u));
  if (kind == 7) x[rnd_below(n)] = f32_from_bits(0x7FC00000u | (uint32_t)(rnd() & 0x803FFFFFu));
  if (kind == 8) for (int i = 0; i < n; i++) x[i] = (float)rnd_below(255) - 127 + (rnd_below(2) ? 0.5f : 0.0f); // ties
}

static int short_of(uint32_t pair, bool high) { return (int16_t)(high ? pair >> 16 : pair); }

static void check_long(const struct kern *k, const float *x, int cols, int width, int column, const uint32_t *panel) {
  for (int b = 0; b < cols / 256; b++, panel += panel_dwords(PANEL_LONG, 256) * (size_t)width) {
    float most = 0, scale = f32_from_bits(panel[64 * width + column]);
    bool finite = true, good = true;
    int sum[16] = {0};
    for (int i = 0; i < 256; i++) {
      int q = (int8_t)(panel[k->panel_at(i / 4, column, width)] >> 8 * (i % 4));
      float in = x ? x[b * 256 + i] : 0.0f;
      sum[i / 16] += q;
      finite = finite && is_finite((double)in);
      most = fabsf(in) > most ? fabsf(in) : most;
    }
    for (int i = 0; i < 256 && finite; i++) {
      int q = (int8_t)(panel[k->panel_at(i / 4, column, width)] >> 8 * (i % 4));
      good = good && abs(q) <= 127 &&
             fabs((double)(x ? x[b * 256 + i] : 0.0f) - q * (double)scale) <= (double)most / 254 * (1 + 1e-4) + 1e-30;
    }
    good = good && (finite ? same_bits(scale, most / 127.0f) : !is_finite((double)scale));
    for (int i = 0; i < 16 && finite; i++) { // beside a scale that is no number sums do not matter
      uint32_t pair = panel[(65 + i / 2) * width + column], wide = panel[(73 + i / 4) * width + column];
      good = good && short_of(pair, i % 2) == sum[i] && short_of(wide, i / 2 % 2) == sum[i & ~1] + sum[i | 1];
    }
    row_check(good, "block %d of %d columns: scale %g", b, cols, (double)scale);
  }
}

static void check_quantised(const struct kern *k, const float *x, int cols, int width, int column, const uint32_t *panel) {
  for (int b = 0; b < cols / BLOCK; b++, panel += panel_dwords(PANEL_BLOCKS, BLOCK) * (size_t)width) {
    float most = 0, scale = f32_from_bits(panel[8 * width + column]);
    int sum = 0, first = 0;
    bool finite = true, good = true;
    for (int i = 0; i < BLOCK && x; i++) {
      finite = finite && is_finite((double)x[b * BLOCK + i]);
      most = fabsf(x[b * BLOCK + i]) > most ? fabsf(x[b * BLOCK + i]) : most;
    }
    for (int i = 0; i < BLOCK; i++) {
      int q = (int8_t)(panel[k->panel_at(i / 4, column, width)] >> 8 * (i % 4));
      sum += q;
      first += i < BLOCK / 2 ? q : 0;
      double error = x ? fabs((double)x[b * BLOCK + i] - q * (double)scale) : q;
      good = good && (!finite || (abs(q) <= 127 && error <= (double)most / 254 * (1 + 1e-4) + 1e-30));
    }
    good = good && (finite ? same_bits(scale, most / 127.0f) : !is_finite((double)scale));
    if (finite) good = good && (int)panel[9 * width + column] == -8 * sum && (int)panel[10 * width + column] == -16 * sum &&
                        (int)panel[11 * width + column] == -128 * sum && (int)panel[12 * width + column] == -128 * first;
    float weighted = f32_from_bits(panel[13 * width + column]);
    row_check(good && (!finite || same_bits(weighted, scale * (float)sum)), "block %d of %d columns: scale %g, sum %d",
              b, cols, (double)scale, sum);
  }
}

/* A panel of the scalar set in the order of k's int8. */
static void panel_reorder(const struct kern *k, enum panel kind, int cols, int width, uint32_t *panel) {
  int steps = kind == PANEL_LONG ? 64 : 8, block = (int)panel_dwords(kind, 4 * steps) * width;
  uint32_t from[64 * 12];
  for (int b = 0; b < cols / (4 * steps) && kind != PANEL_FLOATS; b++, panel += block) {
    memcpy(from, panel, sizeof *from * (size_t)(steps * width));
    for (int i = 0; i < steps * width; i++) panel[k->panel_at(i / width, i % width, width)] = from[i];
  }
}

static void test_panels(const struct kern *k, enum panel kind) {
  static const char *const names[] = {"panel floats", "panel blocks", "panel long"};
  if (!row_begin(k, names[kind])) return;
  bool floats = kind == PANEL_FLOATS;
  const struct kern *scalar = kern_get(ISA_SCALAR);
  for (int round = 0; round < 9 * 40; round++) {
    int cols = floats ? 1 + rnd_below(70) : (kind == PANEL_LONG ? 256 : BLOCK) * (1 + rnd_below(5)), width = 1 + rnd_below(KERN_WIDEST);
    size_t dwords = (size_t)width * panel_dwords(kind, cols);
    float *all = guard_take(&x_guard, sizeof *all * (size_t)(cols * width));
    const float *x[KERN_WIDEST];
    for (int c = 0; c < width; c++) {
      panel_input(all + c * cols, cols, c ? rnd_below(9) : round % 9);
      x[c] = rnd_below(8) ? all + c * cols : NULL; // a column that only pads
    }
    uint32_t *want = malloc(dwords * 4), *got = guard_take(&panel_guard, dwords * 4);
    scalar->panel[kind](x, cols, width, want);
    panel_reorder(k, kind, cols, width, want);
    k->panel[kind](x, cols, width, got);
    row_check(memcmp(want, got, dwords * 4) == 0 && guard_whole(&panel_guard), "panel of %d columns, %d wide", cols, width);
    for (int c = 0; c < width && !floats; c++) (kind == PANEL_LONG ? check_long : check_quantised)(k, x[c], cols, width, c, got);
    for (size_t i = 0; i < dwords && floats; i++) {
      const float *own = x[i % (size_t)width];
      row_check(got[i] == (own ? f32_bits(own[i / (size_t)width]) : 0), "element %zu of a panel of width %d", i, width);
    }
    free(want);
  }
  for (int left = 1; left <= 40; left++) {
    int width = k->panel_width(left);
    row_check(width >= 1 && width <= k->widest && (width >= left || width == k->widest), "%d columns left: panel of %d",
              left, width);
  }
  row_end();
}

/* ---- attention ---- */

enum { PAGES = KV_SEGMENT + 2, COLUMNS = 12 };
static struct guard key_guard[PAGES], value_guard[PAGES], q_guard[GROUP], attended_guard[GROUP], scratch_guard;

static double code_read(enum kv_type type, const char *codes, int i) { // element i of int16 or int8 codes
  int16_t q;
  memcpy(&q, codes + 2 * (type == KV_F16 ? i : 0), sizeof q);
  return type == KV_F16 ? (double)q : (double)(int8_t)codes[i];
}

static double key_read(enum kv_type type, const char *keys, int head_dim, int slot, int d) {
  const char *group = keys + kern_key_bytes(type, head_dim) * (size_t)(slot / GROUP);
  int lane = slot % GROUP, each = type == KV_F16 ? 2 : 1, in = d % BLOCK;
  float f;
  memcpy(&f, group + (type == KV_F32 ? 4 * (GROUP * d + lane) : (d / BLOCK) * GROUP * (4 + BLOCK * each) + 4 * lane), sizeof f);
  if (type == KV_F32) return (double)f;
  const char *codes = group + (d / BLOCK) * GROUP * (4 + BLOCK * each) + 4 * GROUP;
  return (double)f * code_read(type, codes, 2 * (GROUP * (in / 2) + lane) + in % 2);
}

static double value_read(enum kv_type type, const char *values, int value_dim, int slot, int d) {
  int pad = (int)size_align((size_t)value_dim, GROUP), block = type == KV_Q8 ? BLOCK : pad, n_blocks = (pad + block - 1) / block;
  float f;
  memcpy(&f, values + 4 * (type == KV_F32 ? pad * slot + d : KV_LANES * (d / block) + slot), sizeof f);
  if (type == KV_F32) return (double)f;
  return (double)f * code_read(type, values + 4 * KV_LANES * n_blocks, (slot / 2 * pad + d) * 2 + slot % 2);
}

/* Queries and weights are rounded to codes up to 8191 beside 16-bit and 8-bit keys and values. */
static double attention_tolerance(enum kv_type type, const struct attention *a, int c, double size, double most) {
  double q = 0;
  for (int d = 0; d < a->head_dim; d++) q = fabs((double)a->q[c][d]) > q ? fabs((double)a->q[c][d]) : q;
  return type == KV_F32 ? 1e-6 * size * (1 + most) + 1e-7 : 4e-4 * (size + 0.5) * (1 + q);
}

static void check_attended(enum kv_type type, const struct attention *a, int c) {
  double total = 0, top = -1e300, most = 0, *p = malloc(sizeof *p * PAGES * KV_PAGE);
  for (int at = a->first[c]; at <= a->last[c]; at++) {
    double s = 0, size = 0;
    for (int d = 0; d < a->head_dim; d++) {
      double term =
          key_read(type, a->k[at / KV_PAGE], a->head_dim, at % KV_PAGE, d) * (double)a->q[c][d] * (double)a->scale;
      s += term;
      size += fabs(term);
    }
    s -= (double)a->slope[c] * abs(at - a->position[c]);
    const int away = at - a->position[c], reach = a->reach;
    if (a->bias[c]) s += (double)a->bias[c][away < -reach ? -reach : away > reach ? reach : away];
    p[at] = a->softcap != 0 ? (double)a->softcap * tanh(s / (double)a->softcap) : s;
    size += (double)a->slope[c] * abs(at - a->position[c]) * exp(s < 0 ? s : 0); // far ones weigh nothing, however rounded
    most = size > most ? size : most;
    top = p[at] > top ? p[at] : top;
  }
  for (int at = a->first[c]; at <= a->last[c]; at++) total += p[at] = exp(p[at] - top);
  for (int d = 0; d < a->value_dim; d++) {
    double want = 0, size = 0;
    for (int at = a->first[c]; at <= a->last[c]; at++) {
      double term = p[at] / total * value_read(type, a->v[at / KV_PAGE], a->value_dim, at % KV_PAGE, d);
      want += term;
      size += fabs(term);
    }
    row_check(fabs((double)a->out[c][d] - want) <= attention_tolerance(type, a, c, size, most),
              "column %d, positions %d to %d, dimension %d of %d: %.9g, not %.9g", c, a->first[c], a->last[c], d,
              a->value_dim, (double)a->out[c][d], want);
  }
  free(p);
}

/* Pages of n positions; what lies behind the last one is rubbish of the worst kind and must not matter. */
static void attention_pages(enum kv_type type, int head_dim, int value_dim, int n, const char **k, const char **v) {
  struct kv kv = {.type = type};
  float *x = malloc(sizeof *x * 512);
  for (int page = 0; page < kv_pages_for(n); page++) {
    k[page] = guard_take(&key_guard[page], kern_key_bytes(type, head_dim) * (KV_LANES / GROUP));
    v[page] = guard_take(&value_guard[page], kern_value_bytes(type, value_dim));
    memset(key_guard[page].p, 0xFF, (size_t)(key_guard[page].end - key_guard[page].p));
    memset(value_guard[page].p, 0xFF, (size_t)(value_guard[page].end - value_guard[page].p));
    for (int slot = 0; slot < KV_PAGE && page * KV_PAGE + slot < n; slot++) {
      rnd_floats(x, head_dim, rnd_below(9) ? 2.0f : 6.0f);
      kv_put_keys(&kv, kern_get(ISA_SCALAR), key_guard[page].p, head_dim, slot, 1, (const float *[]){x});
      rnd_floats(x, value_dim, 1.0f);
      kv_put_values(&kv, kern_get(ISA_SCALAR), value_guard[page].p, value_dim, slot, 1, (const float *[]){x});
    }
  }
  free(x);
}

/* The same, segment by segment as threads would share it: the merged parts are the result. */
static void check_parts(const struct kern *k, enum kv_type type, const struct attention *whole) {
  static float parts[(PAGES / KV_SEGMENT + 1) * COLUMNS * (128 + GROUP)];
  int first = whole->page0 / KV_SEGMENT, n = (whole->page1 - 1) / KV_SEGMENT - first + 1;
  size_t each = (size_t)whole->value_pad + GROUP;
  for (int i = n - 1; i >= 0; i--) {
    struct attention a = *whole;
    a.part_stride = COLUMNS * each;
    a.parts = parts + a.part_stride * (size_t)i;
    if (i > 0) a.page0 = (first + i) * KV_SEGMENT;
    if (i < n - 1) a.page1 = (first + i + 1) * KV_SEGMENT;
    k->attention[type](&a);
  }
  for (int c = 0; c < whole->n; c++) {
    float out[128];
    k->attention_merge(parts + each * (size_t)c, COLUMNS * each, n, whole->value_dim, whole->value_pad, out);
    bool same = true;
    for (int d = 0; d < whole->value_dim; d++) same = same && same_bits(out[d], whole->out[c][d]);
    row_check(same, "column %d of %d: %d segments merged are not the whole", c, whole->n, n);
  }
}

static void test_attention(const struct kern *k, enum kv_type type) {
  static const char *const names[] = {"attention f16", "attention f32", "attention q8"};
  if (!row_begin(k, names[type])) return;
  const struct kern *scalar = kern_get(ISA_SCALAR);
  static float biases[2 * 40 + COLUMNS];
  static const int dims[][2] = {{8, 8}, {64, 64}, {80, 40}, {16, 128}, {40, 16}, {128, 96}},
                   lengths[] = {1, 16, 17, 64, 65, 200, PAGES * KV_PAGE - 9};
  for (int round = 0; round < (test.quick ? 42 : 126); round++) {
    const char *keys[PAGES], *values[PAGES];
    int head_dim = dims[round % 6][0], value_dim = dims[round % 6][1], n = lengths[round % 7],
        columns = 1 + rnd_below(k->widest);
    if (kv_pages_for(n) > PAGES) n = PAGES * KV_PAGE; // where pages are built smaller
    attention_pages(type, head_dim, value_dim, n, keys, values);
    struct attention a = {.k = keys,
                          .v = values,
                          .head_dim = head_dim,
                          .value_dim = value_dim,
                          .n = columns,
                          .value_pad = (int)size_align((size_t)value_dim, GROUP),
                          .scale = 1.0f / sqrtf((float)head_dim),
                          .softcap = rnd_below(3) ? 0.0f : 5.0f,
                          .page0 = PAGES};
    int base = rnd_below(n), window = rnd_below(2) ? 0 : 1 + rnd_below(n);
    const bool both = round % 4 == 1, biased = round % 3 == 1, table = round % 5 == 4; // both ways; biases for the distance
    if (table) rnd_floats(biases, ARRAY_LEN(biases), 3.0f), a.reach = 1 + rnd_below(40);
    float alone[COLUMNS][128];
    for (int c = 0; c < columns; c++) { // rows of one sequence, ascending, some heads of each
      float *q = guard_take(&q_guard[c], sizeof *q * (size_t)head_dim);
      rnd_floats(q, head_dim, 2.0f);
      a.q[c] = q;
      const int at = a.position[c] = a.last[c] = base + c / 2 < n ? base + c / 2 : n - 1;
      a.first[c] = window && at >= window ? at - window + 1 : 0;
      if (both) a.last[c] = window && at + window < n ? at + window : n - 1;
      a.bias[c] = table ? biases + 40 + c : NULL; // of every column its own
      a.slope[c] = biased ? exp2f(-(float)(c % 7 + 1)) : 0.0f;
      a.page0 = a.first[c] / KV_PAGE < a.page0 ? a.first[c] / KV_PAGE : a.page0;
      a.page1 = a.last[c] / KV_PAGE + 1;
      struct attention one = a; // the column alone, by the scalar set, in its own pages only
      one.n = 1;
      one.q[0] = q, one.out[0] = alone[c], one.first[0] = a.first[c], one.last[0] = a.last[c];
      one.position[0] = a.position[c], one.slope[0] = a.slope[c], one.bias[0] = a.bias[c];
      one.page0 = a.first[c] / KV_PAGE;
      size_t bytes = size_align(attention_scratch(head_dim, value_dim) * 4, 64);
      one.scratch = guard_take(&scratch_guard, bytes); // a whole number of lines before a page: aligned
      scalar->attention[type](&one);
    }
    for (int c = 0; c < columns; c++) a.out[c] = guard_take(&attended_guard[c], sizeof(float) * (size_t)value_dim);
    a.scratch = guard_take(&scratch_guard, size_align(attention_scratch(head_dim, value_dim) * 4, 64));
    k->attention[type](&a);
    for (int c = 0; c < columns; c++) {
      bool same = guard_whole(&attended_guard[c]) && guard_whole(&scratch_guard);
      for (int d = 0; d < value_dim; d++) same = same && same_bits(a.out[c][d], alone[c][d]);
      row_check(same, "column %d of %d, %d positions of %d: not what it is alone", c, columns, n, head_dim);
      check_attended(type, &a, c);
    }
    check_parts(k, type, &a);
  }
  row_end();
}

/* Short sequences, their keys and values read from rows: each column what it is alone by the scalar set, and near what doubles
 * say; one that is no number spoils no other. */
static void test_attention_all(const struct kern *k) {
  if (!row_begin(k, "attention all")) return;
  static const int dims[][2] = {{8, 32}, {64, 64}, {32, 32}, {40, 96}, {128, 128}};
  for (int round = 0; round < (test.quick ? 40 : 160); round++) {
    const char *keys[PAGES], *values[PAGES];
    const int head_dim = dims[round % 5][0], value_dim = dims[round % 5][1], columns = 1 + rnd_below(GROUP);
    const int k_stride = head_dim + 16 * rnd_below(3), v_stride = value_dim + 16 * rnd_below(3), broken = rnd_below(GROUP);
    int n = 1 + rnd_below(ATTENTION_ALL);
    if (kv_pages_for(n) > PAGES) n = PAGES * KV_PAGE; // where pages are built smaller
    attention_pages(KV_F32, head_dim, value_dim, n, keys, values);
    float *key = guard_take(&x_guard, sizeof *key * (size_t)((n - 1) * k_stride + head_dim));
    float *value = guard_take(&panel_guard, sizeof *value * (size_t)((n - 1) * v_stride + value_dim));
    for (int i = 0; i < n * k_stride; i++)
      if (i % k_stride < head_dim)
        key[i] = (float)key_read(KV_F32, keys[i / k_stride / KV_PAGE], head_dim, i / k_stride % KV_PAGE, i % k_stride);
    for (int i = 0; i < n * v_stride; i++)
      if (i % v_stride < value_dim)
        value[i] = (float)value_read(KV_F32, values[i / v_stride / KV_PAGE], value_dim, i / v_stride % KV_PAGE, i % v_stride);
    struct attention_all a = {.n = columns, .k = key, .v = value, .k_stride = (size_t)k_stride, .v_stride = (size_t)v_stride, .n_keys = n,
                              .head_dim = head_dim, .value_dim = value_dim, .scale = 1.0f / sqrtf((float)head_dim)};
    float alone[GROUP][128], *q[GROUP];
    for (int c = 0; c < columns; c++) {
      a.q[c] = q[c] = guard_take(&q_guard[c], sizeof *q[c] * (size_t)head_dim);
      rnd_floats(q[c], head_dim, 2.0f);
      struct attention_all one = a;
      one.n = 1, one.q[0] = q[c], one.out[0] = alone[c];
      one.scratch = guard_take(&scratch_guard, size_align(attention_scratch(head_dim, value_dim) * 4, 64));
      kern_get(ISA_SCALAR)->attention_all(&one);
      a.out[c] = guard_take(&attended_guard[c], sizeof(float) * (size_t)value_dim);
    }
    a.scratch = guard_take(&scratch_guard, size_align(attention_scratch(head_dim, value_dim) * 4, 64));
    k->attention_all(&a);
    for (int c = 0; c < columns; c++) {
      struct attention pages = {.k = keys, .v = values, .head_dim = head_dim, .value_dim = value_dim, .n = 1, .q = {q[c]},
                                .out = {a.out[c]}, .last = {n - 1}, .scale = a.scale};
      row_check(guard_whole(&attended_guard[c]) && guard_whole(&scratch_guard) && !memcmp(a.out[c], alone[c], 4 * (size_t)value_dim),
                "column %d of %d, %d keys of %d: not what it is alone", c, columns, n, head_dim);
      check_attended(KV_F32, &pages, 0);
    }
    if (broken < columns) q[broken][rnd_below(head_dim)] = f32_from_bits(0x7FC00000u);
    k->attention_all(&a);
    for (int c = 0; c < columns; c++)
      row_check(c == broken ? isnan(a.out[c][0]) : !memcmp(a.out[c], alone[c], 4 * (size_t)value_dim),
                "column %d of %d beside a NaN", c, columns);
  }
  row_end();
}

/* ---- row by row ---- */

static const int row_lengths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 257, 1024, 4096};

static void test_norms(const struct kern *k, bool layer) {
  if (!row_begin(k, layer ? "layer_norm" : "rms_norm")) return;
  const struct kern *scalar = kern_get(ISA_SCALAR);
  for (int round = 0; round < ARRAY_LEN(row_lengths) * 6; round++) {
    int n = row_lengths[round % ARRAY_LEN(row_lengths)], kind = round / ARRAY_LEN(row_lengths);
    float *x = guard_take(&x_guard, sizeof *x * (size_t)n), *y = guard_take(&out_guard, sizeof *y * (size_t)n);
    float *w = guard_take(&panel_guard, sizeof *w * (size_t)n), *b = malloc(sizeof *b * (size_t)n),
          *want = malloc(sizeof *b * (size_t)n);
    float eps = kind == 1 ? 1e-12f : 1e-5f;
    rnd_floats(x, n, kind == 2 ? 1e-3f : kind == 3 ? 1e4f : 2.0f);
    if (kind == 4) memset(x, 0, sizeof *x * (size_t)n);
    rnd_floats(w, n, 2.0f);
    rnd_floats(b, n, 1.0f);
    bool plain = kind == 5;
    double mean = 0, square = 0, typical = 0; // the mean is rounded on the scale of what is summed
    for (int i = 0; i < n && layer; i++) mean += (double)x[i] / n, typical += fabs((double)x[i]) / n;
    for (int i = 0; i < n; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
    double scale = 1 / sqrt(square + (double)eps);
    if (layer)
      scalar->layer_norm(x, w, plain ? NULL : b, eps, n, want), k->layer_norm(x, w, plain ? NULL : b, eps, n, y);
    else scalar->rms_norm(x, plain ? NULL : w, eps, n, want), k->rms_norm(x, plain ? NULL : w, eps, n, y);
    for (int i = 0; i < n; i++) {
      double weight = !layer && plain ? 1 : (double)w[i], bias = layer && !plain ? (double)b[i] : 0;
      double size = (fabs((double)x[i]) + typical) * scale * fabs(weight) + fabs(bias);
      /* Where every x is its own mean, what is left of the difference is rounding, and eps makes it small or not. */
      bool lost = layer && n < 3 && kind == 1;
      row_check(same_bits(y[i], want[i]) &&
                    (lost || near_enough(y[i], ((double)x[i] - mean) * scale * weight + bias, size)),
                "element %d of %d: %.9g", i, n, (double)y[i]);
    }
    if (layer) k->layer_norm(x, w, plain ? NULL : b, eps, n, x); // in place
    else k->rms_norm(x, plain ? NULL : w, eps, n, x);
    row_check(memcmp(x, y, sizeof *x * (size_t)n) == 0 && guard_whole(&out_guard) && guard_whole(&x_guard),
              "%d in place", n);
    free(b), free(want);
  }
  row_end();
}

/* The same as pairs of what two columns have, of which test_pairs knows that they are right. */
static void test_couples(const struct kern *k) {
  static const int lengths[] = {1, 15, 16, 48, 64, 100, 1024};
  enum { MOST = 1024 };
  if (!row_begin(k, "couples")) return;
  for (int round = 0; round < ARRAY_LEN(lengths) * 8 * 4; round++) {
    const int dims = lengths[round % ARRAY_LEN(lengths)], n = 2 * (round / ARRAY_LEN(lengths) % 8 + 1), stride = dims + round % 3;
    const size_t size = (size_t)((n / 2 - 1) * stride + dims);
    static float all[GROUP][MOST];
    const float *x[GROUP];
    float scale[GROUP + 1];
    int32_t *out = guard_take(&out_guard, sizeof *out * size);
    for (size_t i = 0; i < size; i++) out[i] = (int32_t)UNTOUCHED;
    for (int c = 0; c < n; c++) {
      x[c] = all[c] + MOST - dims;
      rnd_floats(all[c] + MOST - dims, dims, round % 5 ? 1 : 1e-30f);
      if (rnd_below(6) == 0) all[c][MOST - 1 - rnd_below(dims)] = f32_from_bits(round % 2 ? 0x7FC00000u : 0xFF800000u);
    }
    scale[n] = f32_from_bits(UNTOUCHED);
    k->couples(x, dims, n, 8191, out, stride, scale);
    bool good = guard_whole(&out_guard) && f32_bits(scale[n]) == UNTOUCHED;
    for (int c = 0; c < n; c++) {
      int16_t want[MOST], got[2];
      good = good && same_bits(scale[c], kern_get(ISA_SCALAR)->codes(x[c], dims, 8191, want));
      for (int d = 0; d < dims; d++) {
        memcpy(got, out + c / 2 * stride + d, sizeof got);
        good = good && got[c % 2] == want[d];
      }
      for (int d = dims; d < stride && c / 2 + 1 < n / 2; d++) good = good && out[c / 2 * stride + d] == (int32_t)UNTOUCHED;
    }
    row_check(good, "%d columns of %d, %d apart", n, dims, stride);
  }
  row_end();
}

/* Codes of several columns at once: the nearest there are, what the scalar set gives for each alone, and nothing else written. */
static void test_pairs(const struct kern *k) {
  static const int lengths[] = {1, 2, 31, 32, 33, 64, 96, 128, 1024};
  enum { MOST = 1024, EXTRA = 3 };
  if (!row_begin(k, "pairs")) return;
  for (int round = 0; round < ARRAY_LEN(lengths) * GROUP * 4; round++) {
    const int dims = lengths[round % ARRAY_LEN(lengths)], n = round / ARRAY_LEN(lengths) % GROUP + 1, most = round % 2 ? 8191 : 127;
    const int stride = n + round % EXTRA, half = (dims + 1) / 2;
    const size_t size = (size_t)((half - 1) * stride + n);
    static float all[GROUP][MOST];
    const float *x[GROUP];
    float scale[GROUP + 1];
    int32_t *out = guard_take(&out_guard, sizeof *out * size);
    for (size_t i = 0; i < size; i++) out[i] = (int32_t)UNTOUCHED;
    for (int c = 0; c < n; c++) {
      static const float sizes[] = {1, 1e-3f, 1e4f, 1e-31f, 1e37f, 0, 1, 1};
      const int kind = rnd_below(2) ? 0 : rnd_below(ARRAY_LEN(sizes));
      x[c] = all[c] + MOST - dims;
      rnd_floats(all[c] + MOST - dims, dims, sizes[kind]);
      if (kind >= 6) all[c][MOST - 1 - rnd_below(dims)] = f32_from_bits(kind == 6 ? 0x7FC00000u : 0xFF800000u);
    }
    scale[n] = f32_from_bits(UNTOUCHED);
    k->pairs(x, dims, n, most, out, stride, scale);
    bool good = guard_whole(&out_guard) && f32_bits(scale[n]) == UNTOUCHED;
    for (int i = 0; i < (int)size; i++) good = good && (i % stride < n || out[i] == (int32_t)UNTOUCHED);
    for (int c = 0; c < n; c++) {
      int16_t want[MOST + 1] = {0};
      const float d = kern_get(ISA_SCALAR)->codes(x[c], dims, most, want);
      good = good && same_bits(d, scale[c]);
      for (int s = 0; s < half; s++) {
        int16_t got[2];
        memcpy(got, out + s * stride + c, sizeof got);
        good = good && got[0] == want[2 * s] && got[1] == (2 * s + 1 < dims ? want[2 * s + 1] : 0);
        const double error = fabs((double)d * got[0] - (double)x[c][2 * s]);
        good = good && (!is_finite((double)d) || error <= (double)d * 0.501 || fabs((double)x[c][2 * s]) <= 1e-30);
      }
    }
    row_check(good, "%d columns of %d, %d apart", n, dims, stride);
  }
  row_end();
}

static void test_glu(const struct kern *k, enum activation act) {
  static const char *const names[ACT_COUNT] = {"glu silu", "glu gelu_tanh", "glu gelu_erf", "glu tanh"};
  static const float special[] = {0.0f,   -0.0f,   20.0f, -20.0f, 88.0f,  -88.0f,
                                  100.0f, -100.0f, 1e30f, -1e30f, 1e-30f, 1e-44f};
  if (!row_begin(k, names[act])) return;
  for (int round = 0; round < ARRAY_LEN(row_lengths) * 8; round++) {
    int n = row_lengths[round % ARRAY_LEN(row_lengths)];
    const bool alone = round >= 4 * ARRAY_LEN(row_lengths); // without a second factor
    float *x = guard_take(&x_guard, sizeof *x * (size_t)n), *y = guard_take(&out_guard, sizeof *y * (size_t)n);
    float *up = guard_take(&panel_guard, sizeof *up * (size_t)n), *want = malloc(sizeof *want * (size_t)n);
    rnd_floats(x, n, round % 2 ? 3.0f : 12.0f);
    rnd_floats(up, n, 2.0f);
    for (int i = 0; i < n && round / ARRAY_LEN(row_lengths) % 4 >= 2; i += 2) x[i] = special[rnd_below(ARRAY_LEN(special))];
    int nan = round % 4 == 3 ? rnd_below(n) : -1;
    if (nan >= 0) x[nan] = f32_from_bits(0x7FC00000u);
    kern_get(ISA_SCALAR)->glu[act](x, alone ? NULL : up, n, want);
    k->glu[act](x, alone ? NULL : up, n, y);
    for (int i = 0; i < n; i++) {
      const double g = (double)x[i], u = alone ? 1 : (double)up[i], pi = 3.14159265358979323846;
      double f = act == ACT_SILU       ? g / (1 + exp(-g))
                 : act == ACT_GELU_ERF ? 0.5 * g * erfc(-g / sqrt(2))
                 : act == ACT_TANH     ? tanh(g)
                                       : 0.5 * g * (1 + tanh(sqrt(2 / pi) * (g + 0.044715 * g * g * g)));
      double size = act == ACT_TANH ? fabs(u) : fabs(g * u); // tanh is 1 - something: exact on the scale of 1
      row_check(same_bits(y[i], want[i]) && (i == nan ? y[i] != y[i] : near_enough(y[i], f * u, size)),
                "f(%.9g) * %.9g = %.9g", g, u, (double)y[i]);
    }
    row_check(guard_whole(&out_guard), "wrote before %d elements", n);
    free(want);
  }
  row_end();
}

static void test_rope(const struct kern *k, bool neox) {
  if (!row_begin(k, neox ? "rope neox" : "rope")) return;
  static const int dims[][2] = {{2, 2}, {6, 8}, {8, 8}, {12, 16}, {34, 40}, {64, 64}, {96, 128}, {256, 256}};
  for (int round = 0; round < 64; round++) {
    int n_rot = dims[round % 8][0], n = dims[round % 8][1];
    float *x = guard_take(&x_guard, sizeof *x * (size_t)n),
          *angles = guard_take(&panel_guard, sizeof *angles * (size_t)n_rot);
    float before[256], want[256];
    rnd_floats(x, n, 3.0f);
    for (int i = 0; i < n_rot / 2; i++) {
      double s, c;
      kern_sincos((double)rnd_below(100000) * 0.37, &s, &c);
      angles[2 * i] = (float)c, angles[2 * i + 1] = (float)s;
    }
    memcpy(before, x, sizeof *x * (size_t)n);
    memcpy(want, x, sizeof *x * (size_t)n);
    kern_get(ISA_SCALAR)->rope(want, angles, n_rot, neox);
    k->rope(x, angles, n_rot, neox);
    row_check(memcmp(x, want, sizeof *x * (size_t)n) == 0 && guard_whole(&x_guard), "%d of %d: not as the scalar set",
              n_rot, n);
    for (int i = 0; i < n_rot / 2; i++) {
      int p = neox ? i : 2 * i, r = neox ? i + n_rot / 2 : 2 * i + 1;
      double a = (double)before[p], b = (double)before[r], c = (double)angles[2 * i], s = (double)angles[2 * i + 1];
      row_check(near_enough(x[p], a * c - b * s, fabs(a * c) + fabs(b * s)) &&
                    near_enough(x[r], a * s + b * c, fabs(a * s) + fabs(b * c)),
                "pair %d of %d", i, n_rot / 2);
    }
    for (int i = n_rot; i < n; i++) row_check(same_bits(x[i], before[i]), "dimension %d behind the last that turns", i);
  }
  row_end();
}

static void test_softcap(const struct kern *k) {
  if (!row_begin(k, "softcap")) return;
  for (int round = 0; round < ARRAY_LEN(row_lengths) * 3; round++) {
    int n = row_lengths[round % ARRAY_LEN(row_lengths)];
    float *x = guard_take(&x_guard, sizeof *x * (size_t)n), *in = malloc(sizeof *in * (size_t)n),
          *want = malloc(sizeof *in * (size_t)n);
    float cap = round % 3 == 0 ? 30.0f : round % 3 == 1 ? 1.0f : 50.0f;
    rnd_floats(x, n, round % 2 ? 3.0f : 1000.0f);
    if (n > 2) x[0] = 0.0f, x[1] = f32_from_bits(0x7FC00000u);
    memcpy(in, x, sizeof *x * (size_t)n);
    memcpy(want, x, sizeof *x * (size_t)n);
    kern_get(ISA_SCALAR)->softcap(want, n, cap);
    k->softcap(x, n, cap);
    for (int i = 0; i < n; i++)
      row_check(same_bits(x[i], want[i]) &&
                    near_enough(x[i], (double)cap * tanh((double)in[i] / (double)cap), (double)cap),
                "cap %g of %.9g is %.9g", (double)cap, (double)in[i], (double)x[i]);
    row_check(guard_whole(&x_guard), "wrote before %d elements", n);
    free(in), free(want);
  }
  row_end();
}

/* log, exp, sine and cosine in double, which are nobody's instruction set. */
static void test_elementary(void) {
  if (!row_begin(kern_get(ISA_SCALAR), "elementary")) return;
  const double nan = kern_exp((double)f32_from_bits(0x7FC00000u));
  row_check(nan != nan && kern_exp((double)INFINITY_F) > 1e307 && kern_exp(-(double)INFINITY_F) == 0, "exp at the ends");
  for (int i = 0; i < 20000; i++) {
    double x = exp(((double)(rnd() >> 11) * 0x1p-53 - 0.5) * 80), s, c, angle = (double)(rnd() >> 11) * 0x1p-53 * 1e6;
    double logarithm = kern_log(x), power = kern_exp(x < 600 ? -x : 600.0 / x);
    kern_sincos(i % 2 ? angle : -angle, &s, &c);
    row_check(fabs(logarithm - log(x)) <= 4e-16 * (fabs(log(x)) + 1), "log %.17g = %.17g", x, logarithm);
    row_check(fabs(power - exp(x < 600 ? -x : 600.0 / x)) <= 4e-15 * exp(x < 600 ? -x : 600.0 / x),
              "exp of %.17g: %.17g", x, power);
    row_check(fabs(s - sin(i % 2 ? angle : -angle)) < 1e-15 && fabs(c - cos(angle)) < 1e-15, "sine of %.17g: %.17g",
              angle, s);
  }
  row_end();
}

/* ---- the benchmark ---- */

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

struct timing {
  double least, median; // seconds
};

/* At least 5 runs and a fifth of a second, after one that is not counted. */
static struct timing time_it(void (*run)(void *), void *context) {
  double all[1000], begin = 0;
  int n = -1;
  while (n < 5 || (n < ARRAY_LEN(all) && os_seconds() - begin < 0.2)) {
    double start = os_seconds();
    if (n == 0) begin = start;
    run(context);
    if (n >= 0) all[n] = os_seconds() - start;
    n++;
  }
  qsort(all, (size_t)n, sizeof *all, by_size);
  return (struct timing){all[0], all[n / 2]};
}

struct speed {
  const struct kern *k;
  struct matmul m;
  enum form form;
  bool exact;
  struct attention a;
  enum kv_type type;
  const uint64_t *words;
  size_t n_words;
  uint64_t sum;
  int rounds;
  bool floats;
  double operations;
};

static void speed_matmul(void *context) {
  struct speed *b = context;
  (b->exact ? b->k->exact : b->k->matmul)[b->form](&b->m, 0, b->m.n_rows / GROUP);
}
static void speed_attention(void *context) {
  struct speed *b = context;
  b->k->attention[b->type](&b->a);
}
static void speed_peak(void *context) {
  struct speed *b = context;
  b->operations = b->k->peak(b->rounds, b->floats);
}
static void speed_read(void *context) { // two streams of 16-byte loads, eight sums
  typedef uint64_t lanes __attribute__((vector_size(16)));
  struct speed *b = context;
  const lanes *p = (const lanes *)(const void *)b->words, *q = p + b->n_words / 4;
  lanes s0 = {0}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (size_t i = 0; i + 4 <= b->n_words / 4; i += 4) {
    s0 += p[i], s1 += p[i + 1], s2 += p[i + 2], s3 += p[i + 3];
    s4 += q[i], s5 += q[i + 1], s6 += q[i + 2], s7 += q[i + 3];
  }
  s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7;
  b->sum += s0[0] + s0[1];
}

static void speed_line(const char *isa, const char *name, int n, struct timing t, double bytes, double operations,
                       double roof_bytes, double roof_operations) {
  double gb = bytes / t.least * 1e-9, gops = operations / t.least * 1e-9, of = gops / roof_operations;
  if (roof_operations <= 0 || (n < 4 && roof_bytes > 0)) of = gb / roof_bytes;
  printf("%s\t%s\t%d\t%.1f\t%.1f\t%.2f\t%.1f\t%.0f\n", isa, name, n, t.least * 1e6, t.median * 1e6, gb, gops, 100 * of);
  fflush(stdout);
}

enum { SPEED_COLS = 4096, SPEED_BYTES = 96 << 20, SPEED_TOKENS = 512 };

static void speed_products(const struct kern *k, double roof_bytes, const double roof_operations[2]) {
  static struct guard weights;
  float *x = calloc(SPEED_TOKENS * SPEED_COLS, sizeof *x);
  rnd_floats(x, SPEED_TOKENS * SPEED_COLS, 1.0f);
  for (int i = 0; i < ARRAY_LEN(quant_table); i++) {
    const struct quant *q = quant_table[i];
    char name[64];
    snprintf(name, sizeof name, "%s matmul", q->name);
    if (test.only && !strstr(name, test.only)) continue;
    matrix_make(&mat, q, GROUP, SPEED_COLS, SANE);
    size_t group = form_bytes(q->form, GROUP, SPEED_COLS), groups = SPEED_BYTES / group; // more than any cache holds
    char *w = guard_take(&weights, groups * group);
    for (size_t g = 0; g < groups; g++) memcpy(w + g * group, mat.packed.p, group);
    for (int n = 1; n <= SPEED_TOKENS; n += SPEED_TOKENS - 1) {
      int rows = n == 1 ? (int)groups * GROUP : k->widest > 4 ? 512 : 128;
      struct speed b = {.k = k, .form = q->form};
      panel_make(k, form_panel(q->form), x, SPEED_COLS, n);
      b.m = (struct matmul){q->form,
                            (const uint8_t *)w,
                            panel_guard.p,
                            guard_take(&out_guard, sizeof(float) * (size_t)rows * (size_t)n),
                            (size_t)rows,
                            rows,
                            SPEED_COLS,
                            n,
                            false};
      speed_line(k->name, name, n, time_it(speed_matmul, &b), (double)group * rows / GROUP, 2.0 * rows * SPEED_COLS * n,
                 roof_bytes, roof_operations[form_shapes[q->form].bits == 0]);
    }
  }
  free(x);
}

static void speed_all_attention(const struct kern *k, double roof_bytes, double roof_operations) {
  static const char *const names[] = {"attention f16", "attention f32", "attention q8"};
  enum { DIM = 64, N_PAGES = 32 };
  for (int type = 0; type < KV_TYPE_COUNT; type++) {
    if (test.only && !strstr(names[type], test.only)) continue;
    const char *one_k[PAGES], *one_v[PAGES], *keys[N_PAGES], *values[N_PAGES];
    attention_pages((enum kv_type)type, DIM, DIM, KV_PAGE, one_k, one_v);
    for (int i = 0; i < N_PAGES; i++) keys[i] = one_k[0], values[i] = one_v[0];
    for (int n = 1; n <= k->widest; n += k->widest > 1 ? k->widest - 1 : 1) {
      struct speed b = {.k = k, .type = (enum kv_type)type};
      b.a = (struct attention){.k = keys,
                               .v = values,
                               .head_dim = DIM,
                               .value_dim = DIM,
                               .value_pad = DIM,
                               .page1 = N_PAGES,
                               .n = n,
                               .scale = 0.125f,
                               .scratch = guard_take(&scratch_guard, size_align(attention_scratch(DIM, DIM) * 4, 64))};
      for (int c = 0; c < n; c++) {
        float *q = guard_take(&q_guard[c], sizeof *q * DIM);
        rnd_floats(q, DIM, 1.0f);
        b.a.q[c] = q, b.a.out[c] = guard_take(&attended_guard[c], sizeof(float) * DIM),
        b.a.last[c] = N_PAGES * KV_PAGE - 1;
      }
      double bytes = (double)N_PAGES * (double)(kern_key_bytes((enum kv_type)type, DIM) * (KV_LANES / GROUP) +
                                                kern_value_bytes((enum kv_type)type, DIM));
      speed_line(k->name, names[type], n, time_it(speed_attention, &b), bytes, 4.0 * DIM * N_PAGES * KV_PAGE * n,
                 roof_bytes, roof_operations);
    }
  }
}

/* The products of a small encoder (MiniLM: 384 wide, 1536 inside) over 64 texts of 128 tokens, in steps of 512. */
static void speed_encoder(const struct kern *k, double roof_operations) {
  static const int shapes[][2] = {{384, 384}, {1536, 384}, {384, 1536}};
  float *x = calloc(SPEED_TOKENS * 1536, sizeof *x);
  rnd_floats(x, SPEED_TOKENS * 1536, 1.0f);
  for (int i = 0; i < ARRAY_LEN(shapes); i++) {
    char name[64];
    int rows = shapes[i][0], cols = shapes[i][1];
    snprintf(name, sizeof name, "Q8_0 %dx%d", rows, cols);
    if (test.only && !strstr(name, test.only)) continue;
    matrix_make(&mat, quant_named(STR("Q8_0")), rows, cols, SANE);
    panel_make(k, PANEL_BLOCKS, x, cols, SPEED_TOKENS);
    float *y = guard_take(&out_guard, sizeof *y * (size_t)rows * SPEED_TOKENS);
    struct speed b = {.k = k, .form = mat.q->form,
                      .m = {mat.q->form, (const uint8_t *)mat.packed.p, panel_guard.p, y, (size_t)rows, rows, cols, SPEED_TOKENS, false}};
    speed_line(k->name, name, SPEED_TOKENS, time_it(speed_matmul, &b), 0, 2.0 * rows * cols * SPEED_TOKENS, 0, roof_operations);
  }
  free(x);
}

static void speed_all(void) {
  static struct guard big;
  uint64_t *words = guard_take(&big, SPEED_BYTES);
  struct speed read = {.words = words, .n_words = SPEED_BYTES / 8};
  printf("isa\tkernel\tn\tmin_us\tmedian_us\tGB/s\tGOPS\tpercent_of_roof\n");
  struct timing t = time_it(speed_read, &read);
  double roof_bytes = SPEED_BYTES / t.least * 1e-9;
  speed_line("-", "read roof", 1, t, SPEED_BYTES, 0, roof_bytes, 0);
  for (int i = 0; i < ISA_COUNT; i++) {
    const struct kern *k = kern_get((enum os_isa)i);
    if (!k || (test.isa && strcmp(test.isa, k->name))) continue;
    double roof_operations[2]; // of int8 dots, of floats
    for (int floats = 0; floats < 2; floats++) {
      struct speed peak = {.k = k, .rounds = 200000, .floats = floats};
      t = time_it(speed_peak, &peak);
      roof_operations[floats] = peak.operations / t.least * 1e-9;
      speed_line(k->name, floats ? "float roof" : "int8 dot roof", k->widest, t, 0, peak.operations, 0,
                 roof_operations[floats]);
    }
    speed_products(k, roof_bytes, roof_operations);
    speed_encoder(k, roof_operations[0]);
    speed_all_attention(k, roof_bytes, roof_operations[1]);
  }
}

static void run_once(const struct kern *k, int n) {
  enum { COLS = 1024, DIM = 64 };
  static float x[12 * COLS], y[12 * GROUP], q[12][DIM], out[12][DIM];
  rnd_floats(x, 12 * COLS, 1.0f);
  rnd_floats(q[0], 12 * DIM, 1.0f);
  for (int form = 0; form < FORM_COUNT; form++)
    for (int i = 0; i < ARRAY_LEN(quant_table); i++) {
      const struct quant *format = quant_table[i];
      if ((int)format->form != form || (test.only && strcmp(test.only, format->name))) continue;
      matrix_make(&mat, format, GROUP, COLS, SANE);
      panel_make(k, form_panel(format->form), x, COLS, n);
      struct matmul m = {format->form, (const uint8_t *)mat.packed.p, panel_guard.p, y, GROUP, GROUP, COLS, n, false};
      k->matmul[form](&m, 0, 1);
      break; // one format of each form
    }
  for (int type = 0; type < KV_TYPE_COUNT && !test.only; type++) {
    const char *one_k[PAGES], *one_v[PAGES], *keys[1024 / KV_PAGE], *values[1024 / KV_PAGE];
    attention_pages((enum kv_type)type, DIM, DIM, KV_PAGE, one_k, one_v);
    for (int i = 0; i < ARRAY_LEN(keys); i++) keys[i] = one_k[0], values[i] = one_v[0];
    struct attention a = {.k = keys, .v = values, .head_dim = DIM, .value_dim = DIM, .value_pad = DIM, .page1 = ARRAY_LEN(keys), .n = n,
                          .scale = 0.125f, .scratch = guard_take(&scratch_guard, size_align(attention_scratch(DIM, DIM) * 4, 64))};
    for (int c = 0; c < n; c++) a.q[c] = q[c], a.out[c] = out[c], a.last[c] = 1023;
    k->attention[type](&a);
  }
}

int main(int argc, char **argv) {
  int once = 0;
  rnd_state = 1;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--bench")) test.bench = true;
    else if (!strcmp(argv[i], "--quick")) test.quick = true;
    else if (!strcmp(argv[i], "--isa") && i + 1 < argc) test.isa = argv[++i];
    else if (!strcmp(argv[i], "--only") && i + 1 < argc) test.only = argv[++i];
    else if (!strcmp(argv[i], "--once") && i + 1 < argc) once = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--seed") && i + 1 < argc) rnd_state = strtoull(argv[++i], NULL, 10);
    else return fprintf(stderr, "usage: kern [--bench] [--quick] [--isa NAME] [--only SUBSTRING] [--seed N]\n"), 64;
  }
  enum os_isa isa = ISA_SCALAR;
  if (test.isa && (!kern_named(str_from(test.isa), &isa) || !kern_get(isa)))
    return fprintf(stderr, "kern: no instruction set %s on this processor\n", test.isa), 69;
  if (test.bench) return speed_all(), 0;
  if (once) {
    const struct kern *k = kern_get(test.isa ? isa : kern_best());
    return run_once(k, once < k->widest ? once : k->widest), 0;
  }
  uint64_t seed = rnd_state;
  for (int i = 0; i < ISA_COUNT; i++) {
    const struct kern *k = kern_get((enum os_isa)i);
    if (!k) continue;
    rnd_state = seed;
    for (int q = 0; q < ARRAY_LEN(quant_table); q++)
      for (int exact = 0; exact < 2; exact++) test_product(k, quant_table[q], exact);
    for (int kind = 0; kind < PANEL_COUNT; kind++) test_panels(k, (enum panel)kind);
    for (int type = 0; type < KV_TYPE_COUNT; type++) test_attention(k, (enum kv_type)type);
    test_attention_all(k);
    test_pairs(k);
    test_couples(k);
    for (int layer = 0; layer < 2; layer++) test_norms(k, layer);
    for (int act = 0; act < ACT_COUNT; act++) test_glu(k, (enum activation)act);
    for (int neox = 0; neox < 2; neox++) test_rope(k, neox);
    test_softcap(k);
    if (i == ISA_SCALAR) test_elementary();
  }
  printf("%d passed, %d failed\n", test.passed, test.failed);
  return test.failed ? 1 : 0;
}
