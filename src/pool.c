/* pool.c -- hidden states -> one vector of a sequence, and what becomes of a vector: its length, its width. Rows come in the
 * order of positions and are summed in that order, so a vector depends neither on how the sequence was cut into steps nor on
 * what was computed beside it.
 * SPDX-License-Identifier: MIT */

enum pool_rows { POOL_HIDDEN, POOL_COLBERT, POOL_SPARSE }; // of the tape: states, and what stands beside them

struct pool {
  enum pooling kind; // POOL_MEAN, POOL_CLS or POOL_LAST; POOL_NONE: every row as it is
  int n;             // floats of a vector
  double *sum;       // (n)
  float *rows;       // (tokens, n) of POOL_NONE
  int count;         // rows in it
  enum pool_rows of; // which it takes: n is the width of those
};

/* How a model's rows are pooled where nobody says: as its file has it, else their mean; a ranker reads its first. */
static enum pooling pool_kind(const struct hparams *hp) {
  return hp->pooling == POOL_NONE ? POOL_MEAN : hp->pooling == POOL_RANK ? POOL_CLS : (enum pooling)hp->pooling;
}

/* Where a ranker's head reads, the first row of an encoder, the last of a decoder, and what its labels mean together: a
 * decoder's two are "yes" and "no", and the score is by how much the first exceeds the second. */
static int pool_score_position(const struct hparams *hp, int n_ids) { return hp->causal ? n_ids - 1 : 0; }
static float pool_score(const struct hparams *hp, const float *labels) {
  return hp->causal && hp->n_labels == 2 ? labels[0] - labels[1] : labels[0];
}

static bool pool_new(struct pool *p, enum pooling kind, int n, struct arena *a) {
  *p = (struct pool){.kind = kind, .n = n, .sum = ARENA_NEW(a, double, (size_t)n)};
  return p->sum != NULL;
}

static void pool_clear(struct pool *p) { // for another sequence
  memset(p->sum, 0, sizeof *p->sum * (size_t)p->n);
  p->count = 0;
}

/* Whether the row at a position of a sequence of n_ids is needed; none of those that are generated behind them. */
static bool pool_wants(const struct pool *p, int position, int n_ids) {
  if (p->kind == POOL_MEAN || p->kind == POOL_NONE) return position < n_ids;
  return position == (p->kind == POOL_CLS ? 0 : n_ids - 1);
}

static void pool_row(struct pool *p, const float *x) {
  if (p->kind == POOL_NONE) memcpy(p->rows + (size_t)p->count * (size_t)p->n, x, sizeof *x * (size_t)p->n);
  else
    for (int i = 0; i < p->n; i++) p->sum[i] += (double)x[i];
  p->count++;
}

static bool pool_finite(const float *x, size_t n) {
  double squares = 0;
  for (size_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
  return squares < 1e300;
}

/* x (n) becomes of length 1; zeros stay zeros. */
static void pool_normalise(float *x, int n) {
  double squares = 0;
  for (int i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
  const double scale = squares > 0 ? kern_exp(-0.5 * kern_log(squares)) : 0;
  for (int i = 0; i < n; i++) x[i] = (float)((double)x[i] * scale);
}

/* The mean of the rows. False if it holds a NaN or an infinity. out (n) */
static bool pool_mean(const struct pool *p, float *out) {
  for (int i = 0; i < p->n; i++) out[i] = (float)(p->sum[i] / (p->count ? p->count : 1));
  return pool_finite(out, (size_t)p->n);
}

/* The same, of length 1. */
static bool pool_vector(const struct pool *p, float *out) {
  if (!pool_mean(p, out)) return false;
  pool_normalise(out, p->n);
  return true;
}

/* Which rows a pool takes; VALUE_NONE: the model has none. */
static int pool_value(const struct pool *p, const struct tape *t) {
  return p->of == POOL_COLBERT ? t->colbert : p->of == POOL_SPARSE ? t->sparse : t->hidden;
}

struct pool_word { // of a text, and what it weighs there (Chen et al.: M3-Embedding, 2024)
  int32_t id;
  float weight;
};

static int pool_by_id(const void *a, const void *b) {
  const struct pool_word *x = a, *y = b;
  return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->weight < y->weight) - (x->weight > y->weight);
}

/* The largest weight of every id, where that is positive, in the order of ids. x (n): a sparse row of each token; without (n_without):
 * ids that are no words. Returns how many. out (n) */
static int pool_words(const int32_t *ids, const float *x, int n, const int32_t *without, int n_without, struct pool_word *out) {
  int n_all = 0, n_out = 0;
  for (int i = 0; i < n; i++) {
    bool word = x[i] > 0;
    for (int k = 0; k < n_without; k++) word = word && ids[i] != without[k];
    if (word) out[n_all++] = (struct pool_word){ids[i], x[i]};
  }
  qsort(out, (size_t)n_all, sizeof *out, pool_by_id);
  for (int i = 0; i < n_all; i++)
    if (i == 0 || out[i].id != out[i - 1].id) out[n_out++] = out[i];
  return n_out;
}
