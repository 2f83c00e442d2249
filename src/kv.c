/* kv.c -- pages of keys and values. A page holds KV_PAGE consecutive positions of one sequence, of all layers; a
 * sequence is a list of page numbers. The arena is reserved once, at load; taking and giving back a page moves a number.
 *
 * Inside a page, layer after layer, key/value head after head. Keys in groups of 16, so that a lane is a key and scores
 * need no sum across lanes, [d/32]{scale [16 keys], [16][16 keys][2] codes of two dimensions}; values as {scale [KV_LANES]},
 * for Q8 one for every 32 dimensions, then [KV_PAGE/2][value_pad][2] codes of two tokens. F32: [d][16 keys], [token][value_pad].
 * SPDX-License-Identifier: MIT */

struct kv_layer {
  int n_head_kv, head_dim, value_dim;
  size_t key_bytes, value_bytes; // of one head of one page
  size_t offset;                 // of the layer inside a page
};

struct kv {
  enum kv_type type;
  struct kv_layer *layers; // (n_layers)
  int n_layers;
  bool shared;             // all layers take the same place, one after the other
  size_t page_bytes;
  char *pages;             // (n_pages, page_bytes)
  int n_pages;
  int *free;               // (n_free) numbers of free pages
  int n_free;
  struct arena memory;
};

static int kv_pages_for(int n_tokens) { return (n_tokens + KV_PAGE - 1) / KV_PAGE; }

/* Lays out a page; kv->layers' shapes are set. Returns the bytes of a page. */
static size_t kv_layout(struct kv *kv) {
  size_t at = 0;
  for (int i = 0; i < kv->n_layers; i++) {
    struct kv_layer *l = &kv->layers[i];
    l->key_bytes = size_align(kern_key_bytes(kv->type, l->head_dim) * (KV_LANES / GROUP), 64); // loads stay aligned
    l->value_bytes = size_align(kern_value_bytes(kv->type, l->value_dim), 64);
    const size_t bytes = (size_t)l->n_head_kv * (l->key_bytes + l->value_bytes);
    l->offset = kv->shared ? 0 : at;
    at = kv->shared ? (bytes > at ? bytes : at) : at + bytes;
  }
  return kv->page_bytes = size_align(at, 4096);
}

static bool kv_reserve(struct kv *kv, int n_pages, struct arena *a, struct bk_error *e) {
  size_t bytes;
  if (!size_mul(kv->page_bytes, (size_t)n_pages, &bytes)) return err_set(e, ERR_OS, "the context is too large for this machine");
  kv->free = ARENA_NEW(a, int, (size_t)n_pages);
  if (!kv->free) return err_set(e, ERR_OS, "no memory for a list of %d pages", n_pages);
  kv->memory = os_reserve(bytes, e);
  if (!kv->memory.beg) return false;
  kv->pages = kv->memory.beg;
  kv->n_pages = kv->n_free = n_pages;
  for (int i = 0; i < n_pages; i++) kv->free[i] = n_pages - 1 - i; // the lowest number is taken first
  return true;
}

static char *kv_keys(const struct kv *kv, int page, int layer, int head) {
  const struct kv_layer *l = &kv->layers[layer];
  return kv->pages + kv->page_bytes * (size_t)page + l->offset + (l->key_bytes + l->value_bytes) * (size_t)head;
}

static char *kv_values(const struct kv *kv, int page, int layer, int head) {
  return kv_keys(kv, page, layer, head) + kv->layers[layer].key_bytes;
}

static bool kv_take(struct kv *kv, int n, int *pages) {
  if (n > kv->n_free) return false;
  for (int i = 0; i < n; i++) pages[i] = kv->free[--kv->n_free];
  return true;
}

static void kv_give(struct kv *kv, int n, const int *pages) {
  for (int i = 0; i < n; i++) kv->free[kv->n_free++] = pages[n - 1 - i];
}

/* Writes the keys of n tokens, whose slots, the first of which is `slot`, lie in one group of 16. */
static void kv_put_keys(const struct kv *kv, const struct kern *kern, char *keys, int head_dim, int slot, int n, const float *const *x) {
  char *at = keys + kern_key_bytes(kv->type, head_dim) * (size_t)(slot / GROUP);
  const int lane = slot % GROUP;
  for (int t = 0; t < n && kv->type == KV_F32; t++)
    for (int d = 0; d < head_dim; d++) memcpy(at + 4 * (GROUP * d + lane + t), &x[t][d], 4);
  for (int d = 0; d < head_dim && kv->type != KV_F32; d += BLOCK) {
    const int dims = head_dim - d < BLOCK ? head_dim - d : BLOCK;
    const float *from[GROUP];
    int32_t pairs[BLOCK / 2 * GROUP];
    float *scale = (float *)(void *)at + lane;
    for (int t = 0; t < n; t++) from[t] = x[t] + d;
    at += 4 * GROUP;
    if (kv->type == KV_F16) kern->pairs(from, dims, n, 8191, (int32_t *)(void *)at + lane, GROUP, scale);
    else kern->pairs(from, dims, n, 127, pairs, GROUP, scale);
    for (int t = 0; t < n && kv->type == KV_Q8; t++)
      for (int s = 0; 2 * s < dims; s++) {
        char *to = at + 2 * (GROUP * s + lane + t);
        to[0] = (char)pairs[GROUP * s + t], to[1] = (char)(pairs[GROUP * s + t] >> 16);
      }
    at += GROUP * BLOCK * (kv->type == KV_F16 ? 2 : 1);
  }
}

NOINLINE static void kv_put_value(const struct kv *kv, const struct kern *kern, char *values, int value_dim, int slot, const float *x) {
  const int pad = (int)size_align((size_t)value_dim, GROUP), block = kv->type == KV_Q8 ? BLOCK : pad, n_blocks = (pad + block - 1) / block;
  char *codes = values + 4 * (size_t)(KV_LANES * n_blocks);
  if (kv->type == KV_F32) memcpy(values + 4 * (size_t)(pad * slot), x, sizeof *x * (size_t)value_dim);
  for (int d = 0; d < value_dim && kv->type != KV_F32; d += block) {
    int16_t q[KV_MOST_DIM];
    const int dims = value_dim - d < block ? value_dim - d : block, first = (slot / 2 * pad + d) * 2 + slot % 2;
    float scale = kern->codes(x + d, dims, kv->type == KV_Q8 ? 127 : 8191, q);
    memcpy(values + 4 * (KV_LANES * (d / block) + slot), &scale, 4);
    for (int i = 0; i < dims && kv->type == KV_Q8; i++) codes[first + 2 * i] = (char)q[i];
    for (int i = 0; i < dims && kv->type == KV_F16; i++) memcpy(codes + 2 * (first + 2 * i), &q[i], 2);
  }
}

/* Writes the values of n <= 16 tokens, the first of which has this slot. */
static void kv_put_values(const struct kv *kv, const struct kern *kern, char *values, int value_dim, int slot, int n,
                          const float *const *x) {
  const int pad = (int)size_align((size_t)value_dim, GROUP), alone = kv->type == KV_F16 ? slot % 2 : n;
  const int even = alone < n ? (n - alone) & ~1 : 0, at = slot + alone; // those that lie beside another of them
  int32_t *codes = (int32_t *)(void *)values + KV_LANES + at / 2 * pad;
  if (even) kern->couples(x + alone, value_dim, even, 8191, codes, pad, (float *)(void *)values + at);
  for (int t = 0; t < n; t++)
    if (t < alone || t >= alone + even) kv_put_value(kv, kern, values, value_dim, slot + t, x[t]);
}
