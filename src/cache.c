/* cache.c -- vectors and scores kept on disk between runs: an append-only file of records, each with checksums, of bounded size.
 *
 * A record is a head {mark, bytes, key, sum of the payload, sum of the head} and a payload; one without a payload says that
 * its key was used again, so the order of the file is the order of use. What is torn or damaged is never answered: a bad
 * head ends the file, a bad payload is a miss. Appending and rewriting happen under a lock on the file; whoever finds that
 * the path leads to another file by now reads that one. Several processes and kill -9 at any instant are thus harmless.
 * SPDX-License-Identifier: MIT */

enum { CACHE_MARK = 0x31434b42, CACHE_PENDING = 16 << 20, CACHE_WINDOW = 256 << 10, CACHE_PAYLOAD = 1 << 20 }; // bytes

struct cache_head {
  uint32_t mark, bytes; // of the payload
  uint8_t key[32];
  uint32_t payload_sum, head_sum;
};
ASSERT_SIZE(cache_head, 48);

struct cache_slot {
  uint64_t key, at; // the key's first bytes; where the record is
  uint32_t bytes;
  uint32_t used;    // when, in reads and writes; 0: a free slot
};

struct cache {
  const char *path;
  int fd;
  uint64_t limit, end;      // bytes it may have; what is known of it, all of it sound heads
  struct cache_slot *slots; // (mask + 1)
  uint32_t mask, n, tick;
  struct buf pending;       // records to be appended
  char *window;             // (CACHE_WINDOW)
  struct arena memory;      // as reserved
};

static uint32_t cache_sum(const void *p, size_t n, uint32_t seed) {
  uint64_t h = str_hash((struct str){p, n}) + seed * 0x9E3779B97F4A7C15u;
  return (uint32_t)(h ^ h >> 32);
}

static uint32_t cache_head_sum(const struct cache_head *h) { return cache_sum(h, offsetof(struct cache_head, head_sum), 1); }

static struct cache_slot *cache_find(struct cache *c, const uint8_t key[32]) { // or the free slot where it belongs
  uint64_t k;
  memcpy(&k, key, sizeof k);
  for (uint32_t i = (uint32_t)(k >> 32) & c->mask;; i = (i + 1) & c->mask)
    if (!c->slots[i].used || c->slots[i].key == k) return &c->slots[i];
}

/* Takes note of a record at `at`. */
static void cache_note(struct cache *c, const struct cache_head *h, uint64_t at) {
  struct cache_slot *s = cache_find(c, h->key);
  if (s->used && !h->bytes) s->used = ++c->tick;
  if (!h->bytes || (!s->used && c->n >= c->mask / 4 * 3)) return;
  c->n += !s->used;
  memcpy(&s->key, h->key, sizeof s->key);
  s->at = at;
  s->bytes = h->bytes;
  s->used = ++c->tick;
}

/* Reads the heads behind c->end, up to the first that is not sound. */
static void cache_scan(struct cache *c) {
  uint64_t size = os_size(c->fd), from = 0, n = 0;
  struct cache_head h;
  while (c->end + sizeof h <= size) {
    if (c->end < from || c->end + sizeof h > from + n) {
      from = c->end;
      n = (uint64_t)os_read_at(c->fd, c->window, CACHE_WINDOW, from);
    }
    if (c->end + sizeof h > from + n || n > CACHE_WINDOW) return;
    memcpy(&h, c->window + (c->end - from), sizeof h);
    if (h.mark != CACHE_MARK || h.bytes > CACHE_PAYLOAD || h.head_sum != cache_head_sum(&h) || h.bytes > size - c->end - sizeof h) return;
    cache_note(c, &h, c->end);
    c->end += sizeof h + h.bytes;
  }
}

/* The file the path leads to, from its beginning. */
static bool cache_reopen(struct cache *c, struct bk_error *e) {
  os_close(c->fd);
  memset(c->slots, 0, sizeof *c->slots * ((size_t)c->mask + 1));
  c->n = c->tick = 0;
  c->end = 0;
  c->fd = os_open_log(c->path, e);
  return c->fd >= 0;
}

static bool cache_lock(struct cache *c, struct bk_error *e) {
  for (;;) {
    if (!os_lock(c->fd, true)) return err_set(e, ERR_IO, "%s: cannot be locked", c->path);
    if (os_is_open(c->path, c->fd)) return true;
    if (!cache_reopen(c, e)) return false; // which gives up the lock
  }
}

static bool cache_open(struct cache *c, const char *path, uint64_t limit, struct bk_error *e) {
  uint64_t slots = 1024;
  while (slots < limit / 128 && slots < 1u << 26) slots *= 2;
  *c = (struct cache){.path = path, .fd = -1, .limit = limit, .mask = (uint32_t)slots - 1};
  c->memory = os_reserve((size_t)slots * sizeof *c->slots + CACHE_PENDING + CACHE_WINDOW + 4096, e);
  struct arena a = c->memory;
  if (!a.beg) return false;
  c->slots = arena_raw(&a, (size_t)slots, sizeof *c->slots, 64);
  c->pending = (struct buf){arena_raw(&a, CACHE_PENDING, 1, 64), 0, CACHE_PENDING, false};
  c->window = arena_raw(&a, CACHE_WINDOW, 1, 64);
  if (!cache_reopen(c, e) || !cache_lock(c, e)) return false;
  cache_scan(c);
  os_lock(c->fd, false);
  uint32_t mark;
  if (!c->end && os_read_at(c->fd, (char *)&mark, sizeof mark, 0) == (int64_t)sizeof mark && mark != CACHE_MARK)
    return err_set(e, ERR_DATA, "%s: this is no cache of vectors; it is left as it is", path); // not even a torn one
  return true;
}

static void cache_append(struct cache *c, const uint8_t key[32], const void *payload, uint32_t bytes) {
  struct cache_head h = {.mark = CACHE_MARK, .bytes = bytes, .payload_sum = bytes ? cache_sum(payload, bytes, 0) : 0};
  memcpy(h.key, key, sizeof h.key);
  h.head_sum = cache_head_sum(&h);
  if (c->pending.cap - c->pending.len < sizeof h + bytes) return; // not kept: it is a cache
  buf_put(&c->pending, (struct str){(const char *)&h, sizeof h});
  buf_put(&c->pending, (struct str){payload, bytes});
}

/* The payload of exactly `bytes` that was put with the key. False: there is none, or it is damaged. */
static bool cache_get(struct cache *c, const uint8_t key[32], void *payload, uint32_t bytes) {
  struct cache_slot *s = cache_find(c, key);
  struct cache_head h;
  if (!s->used || s->bytes != bytes || os_read_at(c->fd, (char *)&h, sizeof h, s->at) != (int64_t)sizeof h ||
      h.head_sum != cache_head_sum(&h) || h.bytes != bytes || memcmp(h.key, key, sizeof h.key) != 0 ||
      os_read_at(c->fd, payload, bytes, s->at + sizeof h) != (int64_t)bytes || h.payload_sum != cache_sum(payload, bytes, 0))
    return false;
  if (s->used < c->tick / 2) cache_append(c, key, NULL, 0), s->used = ++c->tick; // the newest half need not be said again
  return true;
}

static int cache_compare(const void *a, const void *b) { // the latest use first
  const struct cache_slot *x = a, *y = b;
  return (x->used < y->used) - (x->used > y->used);
}

/* Writes the file anew with what was used last, half of what it may have. The lock is held. */
static bool cache_compact(struct cache *c, struct bk_error *e) {
  struct os_output out;
  uint64_t kept = 0;
  uint32_t n = 0;
  qsort(c->slots, (size_t)c->mask + 1, sizeof *c->slots, cache_compare);
  while (n < c->n && kept + c->slots[n].bytes + sizeof(struct cache_head) <= c->limit / 2)
    kept += c->slots[n++].bytes + sizeof(struct cache_head);
  if (!os_create(&out, c->path, true, e)) return false;
  bool ok = true;
  for (struct buf b = {c->window, 0, CACHE_WINDOW, false}; ok && n-- > 0;) { // the latest use last
    const struct cache_slot *s = &c->slots[n];
    for (uint64_t at = s->at, end = at + s->bytes + sizeof(struct cache_head); ok && at < end; at += b.len) {
      int64_t got = os_read_at(c->fd, c->window, end - at < CACHE_WINDOW ? (size_t)(end - at) : CACHE_WINDOW, at);
      ok = got > 0 || err_set(e, ERR_IO, "%s: cannot be read", c->path);
      b.len = got > 0 ? (size_t)got : 0;
      ok = ok && os_write(&out, buf_str(&b), e);
    }
  }
  if (ok) return os_commit(&out, e) && cache_reopen(c, e) && cache_lock(c, e) && (cache_scan(c), true);
  os_close(out.fd);
  os_discard();
  return false;
}

/* Appends what is pending. */
static bool cache_flush(struct cache *c, struct bk_error *e) {
  if (!c->pending.len && c->end <= c->limit) return true;
  if (!cache_lock(c, e)) return false;
  cache_scan(c); // what others appended
  bool ok = c->end + c->pending.len <= c->limit || cache_compact(c, e);
  if (ok && c->end + c->pending.len <= c->limit) // a torn record behind the end is overwritten
    ok = (os_size(c->fd) == c->end || os_set_size(c->fd, c->end)) && os_write_at(c->fd, buf_str(&c->pending), c->end);
  c->pending.len = 0;
  if (ok) cache_scan(c);
  os_lock(c->fd, false);
  return ok || err_set(e, ERR_IO, "%s: cannot be written: %s", c->path, strerror(errno));
}
