/* kv.c -- pages of keys and values. A page holds KV_PAGE consecutive positions of one sequence, of all layers; a
 * sequence is a list of page numbers. The arena is reserved once, at load; taking and giving back a page moves a number.
 *
 * Inside a page, layer after layer, key/value head after head: keys in groups of 16 as [head_dim][16 keys], so that a
 * lane is a key and scores need no sum across lanes; values as [token][value_pad]. Q8: kern.inc says where the scales lie.
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
    l->value_bytes = size_align(kern_value_bytes(kv->type, l->value_dim) * KV_PAGE, 64);
    l->offset = at;
    at += (size_t)l->n_head_kv * (l->key_bytes + l->value_bytes);
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

/* The largest half stands in for what is larger: an infinity would turn a sum into no number at all. */
static uint16_t kv_half(float x) {
  return f32_to_f16(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

/* A block of 32 as Q8: scale max/127, rounded to half first so that codes fit the scale that will be read back. */
static void kv_quantise(const float *x, int n, uint16_t *scale, int8_t *q, size_t step) {
  float most = 0, magic = 12582912.0f;
  for (int i = 0; i < n; i++) {
    float magnitude = f32_from_bits(f32_bits(x[i]) & 0x7FFFFFFFu);
    most = magnitude > most ? magnitude : most;
  }
  *scale = kv_half(most / 127.0f);
  float back = f16_to_f32(*scale), inverse = back > 1e-7f ? 1.0f / back : 0.0f;
  for (int i = 0; i < n; i++) {
    float v = x[i] * inverse;
    v = v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v;
    q[(size_t)i * step] = (int8_t)(f32_bits(v + magic) & 255u);
  }
}

/* Writes the key of one token; slot: its place in the page. */
static void kv_put_key(const struct kv *kv, char *keys, int head_dim, int slot, const float *x) {
  char *at = keys + kern_key_bytes(kv->type, head_dim) * (size_t)(slot / GROUP);
  int lane = slot % GROUP;
  if (kv->type == KV_F32) {
    for (int d = 0; d < head_dim; d++) memcpy(at + 4 * (GROUP * d + lane), &x[d], 4);
  } else if (kv->type == KV_F16) {
    for (int d = 0; d < head_dim; d++) {
      uint16_t half = kv_half(x[d]);
      memcpy(at + 2 * (GROUP * d + lane), &half, 2);
    }
  } else {
    for (int d = 0; d < head_dim; d += BLOCK, at += 2 * GROUP + GROUP * BLOCK) {
      uint16_t scale;
      kv_quantise(x + d, head_dim - d < BLOCK ? head_dim - d : BLOCK, &scale, (int8_t *)at + 2 * GROUP + lane, GROUP);
      memcpy(at + 2 * lane, &scale, 2);
    }
  }
}

static void kv_put_value(const struct kv *kv, char *values, int value_dim, int slot, const float *x) {
  char *at = values + kern_value_bytes(kv->type, value_dim) * (size_t)slot;
  if (kv->type == KV_F32) {
    memcpy(at, x, sizeof *x * (size_t)value_dim);
  } else if (kv->type == KV_F16) {
    for (int d = 0; d < value_dim; d++) {
      uint16_t half = kv_half(x[d]);
      memcpy(at + 2 * d, &half, 2);
    }
  } else {
    for (int d = 0; d < value_dim; d += BLOCK, at += 2 + BLOCK) {
      uint16_t scale;
      kv_quantise(x + d, value_dim - d < BLOCK ? value_dim - d : BLOCK, &scale, (int8_t *)at + 2, 1);
      memcpy(at, &scale, 2);
    }
  }
}
