/* sample.c -- logits -> a token. Greedy at temperature 0; else penalties, top-k, top-p, min-p, temperature, one draw.
 *
 * The order is the one users of other engines know. Same logits, same seed, same settings: same token. Owns nothing: the
 * candidate list is memory of the caller, (n_vocab) entries.
 * SPDX-License-Identifier: MIT */

struct sample_candidate {
  float logit;
  int32_t id;
};

BK_API struct bk_sampler bk_sampler_default(uint64_t seed) {
  return (struct bk_sampler){0.8f, 40, 0.95f, 0.05f, 1.0f, 0.0f, 0.0f, 64, seed};
}

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014. */
static double sample_uniform(uint64_t *state) { // [0, 1)
  uint64_t z = (*state += 0x9E3779B97F4A7C15u);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* The largest finite logit, the first of equals; -1 if there is none. */
enum { SAMPLE_BLOCK = 256 }; // logits that are looked at one by one only if their largest may matter

/* The largest of n logits, a NaN counting as none. Eight at a time, so that the compiler may use vectors. */
static float sample_most(const float *x, int n) {
  float lanes[8], most = -INFINITY_F;
  for (int j = 0; j < 8; j++) lanes[j] = most;
  for (int i = 0; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (int i = n / 8 * 8; i < n; i++) most = x[i] > most ? x[i] : most;
  for (int j = 0; j < 8; j++) most = lanes[j] > most ? lanes[j] : most;
  return most;
}

static int32_t sample_greedy(const float *logits, int n) {
  int32_t best = -1;
  for (int at = 0; at < n; at += SAMPLE_BLOCK) {
    int end = at + SAMPLE_BLOCK < n ? at + SAMPLE_BLOCK : n;
    if (best >= 0 && sample_most(logits + at, end - at) <= logits[best]) continue;
    for (int i = at; i < end; i++)
      if (logits[i] - logits[i] == 0 && (best < 0 || logits[i] > logits[best])) best = i;
  }
  return best;
}

static bool sample_before(struct sample_candidate a, struct sample_candidate b) { // in descending order
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Restores the heap below i: the root is the last of the order, so that the best k can be kept. */
static void sample_sift(struct sample_candidate *c, int n, int i) {
  for (;;) {
    int worst = i;
    for (int child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
      if (sample_before(c[worst], c[child])) worst = child;
    if (worst == i) return;
    struct sample_candidate t = c[i];
    c[i] = c[worst];
    c[worst] = t;
    i = worst;
  }
}

/* Moves the best k of n to the front, in descending order. */
static void sample_top(struct sample_candidate *c, int n, int k) {
  for (int i = k / 2 - 1; i >= 0; i--) sample_sift(c, k, i);
  for (int i = k; i < n; i++)
    if (sample_before(c[i], c[0])) {
      c[0] = c[i];
      sample_sift(c, k, 0);
    }
  for (int i = k - 1; i > 0; i--) {
    struct sample_candidate t = c[0];
    c[0] = c[i];
    c[i] = t;
    sample_sift(c, i, 0);
  }
}

/* The best k < n finite logits in order; returns how many there are. c: (k) */
static int sample_best(const float *logits, int n, int k, struct sample_candidate *c) {
  int found = 0;
  for (int at = 0; at < n; at += SAMPLE_BLOCK) {
    int end = at + SAMPLE_BLOCK < n ? at + SAMPLE_BLOCK : n;
    if (found == k && sample_most(logits + at, end - at) <= c[0].logit) continue;
    for (int i = at; i < end; i++) {
      struct sample_candidate new = {logits[i], i};
      if (logits[i] - logits[i] != 0 || (found == k && !sample_before(new, c[0]))) continue;
      const bool full = found == k;
      c[full ? 0 : found++] = new;
      for (int j = full ? 0 : found == k ? k / 2 - 1 : -1; j >= 0; j--) sample_sift(c, k, j);
    }
  }
  sample_top(c, found, found);
  return found;
}

static bool sample_penalises(const struct bk_sampler *set) {
  return set->repetition_penalty != 1 || set->presence_penalty != 0 || set->frequency_penalty != 0;
}

/* Each distinct token among the last ones is found by looking whether it occurs further left. */
static void sample_penalise(const struct bk_sampler *set, struct sample_candidate *c, int n_vocab, const int32_t *recent, int n) {
  if (n > set->penalty_window) recent += n - set->penalty_window, n = set->penalty_window;
  if (!sample_penalises(set)) return;
  for (int i = 0; i < n; i++) {
    int before = 0, count = 0;
    for (int j = 0; j < i; j++) before += recent[j] == recent[i];
    for (int j = i; j < n; j++) count += recent[j] == recent[i];
    if (before || recent[i] < 0 || recent[i] >= n_vocab) continue;
    float *l = &c[recent[i]].logit;
    *l = *l > 0 ? *l / set->repetition_penalty : *l * set->repetition_penalty;
    *l -= set->presence_penalty + set->frequency_penalty * (float)count;
  }
}

/* The next token, or -1 if no logit is finite. c: (n_vocab) scratch; recent: (n_recent) ids so far, oldest first. */
static int32_t sample_token(struct bk_sampler *set, const float *logits, int n_vocab, const int32_t *recent, int n_recent,
                            struct sample_candidate *c) {
  int n = 0, k = set->temperature <= 0 ? 1 : set->top_k > 0 && set->top_k < n_vocab ? set->top_k : n_vocab;
  if (k < n_vocab && !sample_penalises(set)) {
    k = n = sample_best(logits, n_vocab, k, c);
  } else {
    for (int i = 0; i < n_vocab; i++) c[i] = (struct sample_candidate){logits[i], i};
    sample_penalise(set, c, n_vocab, recent, n_recent);
    for (int i = 0; i < n_vocab; i++)
      if (c[i].logit - c[i].logit == 0) c[n++] = c[i];
    k = k < n ? k : n;
    sample_top(c, n, k);
  }
  if (n == 0) return -1;
  if (k == 1) return c[0].id;
  double total = 0, sum = 0;
  for (int i = 0; i < k; i++) total += kern_exp((double)(c[i].logit - c[0].logit));
  int keep = k;
  for (int i = 0; i < k && set->top_p < 1; i++) { // the fewest that reach top_p, at least one
    sum += kern_exp((double)(c[i].logit - c[0].logit)) / total;
    if (sum >= (double)set->top_p) {
      keep = i + 1;
      break;
    }
  }
  while (keep > 1 && kern_exp((double)(c[keep - 1].logit - c[0].logit)) < (double)set->min_p) keep--;
  total = 0;
  for (int i = 0; i < keep; i++) total += kern_exp((double)(c[i].logit - c[0].logit) / (double)set->temperature);
  double draw = sample_uniform(&set->state) * total;
  for (int i = 0; i < keep; i++) {
    draw -= kern_exp((double)(c[i].logit - c[0].logit) / (double)set->temperature);
    if (draw < 0) return c[i].id;
  }
  return c[keep - 1].id;
}
