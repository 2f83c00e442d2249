/* token_bpe.c -- merging: the symbols of one word are joined pair by pair, the best pair first, the leftmost of equals.
 *
 * One engine for ranks (byte-level BPE, BPE on characters) and for scores (SentencePiece, token_spm.c): what differs
 * is which token two neighbours become and how good that is. Short words scan for the best pair; long ones keep a heap
 * that holds every symbol at most once and slide a window over the word, so a megabyte of one letter is linear.
 * Words seen before in the same text are copied from the output. Invariant: no merge makes a control token.
 * SPDX-License-Identifier: MIT */

enum {
  BPE_SHORT = 32,          // symbols: up to here scanning beats the heap
  BPE_WHOLE_BYTES = 512,   // longest word that is looked up as a whole
  BPE_CACHED_BYTES = 64,   // longest word that is remembered
  BPE_CACHE_MAX = 1 << 13, // words; 24 bytes each, to stay in the second-level cache
  BPE_WINDOW = 512,        // symbols of a long word that are merged at once: a heap that stays in the first-level cache
  BPE_LONG_BYTES = 32      // bytes of scratch per symbol of a long word: the arrays of struct bpe_word
};
#define BPE_WORST UINT32_MAX // key of a pair that does not merge

struct token_cached {
  const char *word; // NULL: free
  uint32_t len, out, n; // ids[out .. out + n - 1] of the run are its tokens
};

struct bpe_word { // the symbols of a word, a list in arrays; a symbol is named by its place in the word
  const struct vocab *v;
  struct str text;
  uint32_t n;     // symbols
  uint32_t *pos;  // (n + 1) byte in text where the symbol begins; pos[n] is text.len
  int32_t *id;    // (n) TOKEN_NONE if the symbol is no token
  uint32_t *next; // (n) the following symbol; n at the end
  uint32_t *prev; // (n) the preceding symbol; n at the beginning
  uint32_t *key;  // (n) how good it is to join this symbol with the next: small is better
  int32_t *into;  // (n) what they would become
  uint32_t *heap; // (n) symbols whose key is not BPE_WORST, best on top
  uint32_t *at;   // (n) place of the symbol in the heap, or n
  uint32_t n_heap;
};

/* ---- a Bloom filter of texts ---- */

static uint64_t bpe_filter_bits(uint64_t h) { // three of the 64 bits of a word, from bits the slot does not use
  return 1ull << (h >> 58) | 1ull << (h >> 52 & 63) | 1ull << (h >> 46 & 63);
}

static uint64_t bpe_filter_mix(uint64_t h) {
  h = (h ^ h >> 31) * 0xBF58476D1CE4E5B9u;
  return h ^ h >> 29;
}

/* May a text of this hash be in the filter? */
ALWAYS_INLINE bool bpe_filter_has(const struct vocab *v, uint64_t h) {
  uint64_t m = bpe_filter_mix(h), bits = bpe_filter_bits(m);
  return (v->filter[m & v->filter_mask] & bits) == bits;
}

static void bpe_filter_add(uint64_t *filter, uint64_t mask, uint64_t h) {
  uint64_t m = bpe_filter_mix(h);
  filter[m & mask] |= bpe_filter_bits(m);
}

/* Of what a merge may make; most pairs of neighbours are not in it. */
static bool bpe_filter_load(struct vocab *v, struct arena *a, struct bk_error *e) {
  size_t size = 64;
  while (size * 8 < (size_t)v->n_tokens) size *= 2; // 8 to 16 bits a token
  uint64_t *filter = ARENA_NEW(a, uint64_t, size);
  if (!filter) return err_set(e, ERR_OS, "no memory for a vocabulary of %d tokens", (int)v->n_tokens);
  for (int32_t id = 0; id < v->n_tokens; id++)
    if (token_is_plain(v, id)) bpe_filter_add(filter, size - 1, token_hash_more(TOKEN_HASH_START, token_text(v, id)));
  v->filter = filter;
  v->filter_mask = size - 1;
  return true;
}

/* ---- which token two neighbours become ---- */

static uint64_t bpe_pair_hash(uint32_t left, uint32_t right) {
  uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
  return (h ^ h >> 29) * 0xBF58476D1CE4E5B9u;
}

static const struct token_pair *bpe_pair(const struct vocab *v, int32_t left, int32_t right) {
  if (left < 0 || right < 0 || v->n_pairs == 0) return NULL;
  uint32_t l = (uint32_t)left, r = (uint32_t)right;
  uint32_t i = (uint32_t)((bpe_pair_hash(l, r) >> 32) * v->n_pairs >> 32);
  for (; v->pairs[i].rank1; i = i + 1 == v->n_pairs ? 0 : i + 1)
    if (v->pairs[i].left == l && v->pairs[i].right == r) return &v->pairs[i];
  return NULL;
}

/* A float as an unsigned number that is the smaller the higher the score; no score becomes BPE_WORST. */
static uint32_t bpe_score_key(float score) {
  uint32_t u = f32_bits(score + 0.0f); // -0 becomes 0
  u = u & 0x80000000u ? u : ~u & 0x7FFFFFFFu;
  return u < BPE_WORST ? u : BPE_WORST - 1;
}

static uint32_t bpe_key(const struct vocab *v, int32_t left, int32_t right, struct str both, int32_t *into) {
  if (v->kind == TOKEN_SCORES) {
    uint64_t h = token_hash_more(TOKEN_HASH_START, str_slice(both, 0, v->max_piece));
    *into = bpe_filter_has(v, h) ? token_find_hash(v, h, both, STR_NONE) : TOKEN_NONE;
    if (*into >= 0 && !token_is_plain(v, *into)) *into = TOKEN_NONE;
    return *into < 0 ? BPE_WORST : bpe_score_key(token_score(v, *into));
  }
  const struct token_pair *pair = bpe_pair(v, left, right);
  *into = pair ? (int32_t)pair->into : TOKEN_NONE;
  return pair ? pair->rank1 - 1 : BPE_WORST;
}

/* ---- the cache of words ---- */

static void bpe_cache_start(struct token_run *r) {
  size_t n = 64;
  while (n < BPE_CACHE_MAX && n * 16 < r->text_bytes) n *= 2;
  r->cache = ARENA_NEW(&r->scratch, struct token_cached, n);
  r->cache_mask = (uint32_t)n - 1;
}

static uint32_t bpe_word_hash(struct str w) {
  uint64_t a = 0, b = 0;
  if (w.len >= 8) {
    memcpy(&a, w.ptr, 8);
    memcpy(&b, w.ptr + w.len - 8, 8);
    if (w.len > 16) { // what lies between: words that long are rare
      for (size_t i = 8; i + 8 < w.len; i += 8) {
        uint64_t c;
        memcpy(&c, w.ptr + i, 8);
        a = (a ^ c) * 0x9E3779B97F4A7C15u;
      }
    }
  } else if (w.len >= 4) {
    memcpy(&a, w.ptr, 4);
    memcpy(&b, w.ptr + w.len - 4, 4);
  } else {
    for (size_t i = 0; i < w.len; i++) a = a << 8 | (uint8_t)w.ptr[i];
  }
  uint64_t h = (a ^ w.len) * 0x9E3779B97F4A7C15u ^ (b + 0x7F4A7C15u) * 0xBF58476D1CE4E5B9u;
  return (uint32_t)(h >> 32 ^ h >> 47);
}

static bool bpe_put_cached(struct token_run *r, const struct token_cached *c) {
  if (c->n > r->max - r->n) return token_full(r);
  for (uint32_t i = 0; i < c->n; i++) r->ids[r->n + i] = r->ids[c->out + i];
  r->n += c->n;
  return true;
}

/* ---- short words ---- */

static bool bpe_put_symbol(struct token_run *r, int32_t id, struct str text) {
  if (id >= 0) return token_put(r, id);
  if (r->v->kind == TOKEN_BYTES) return true; // a byte the vocabulary lacks: nothing, as in llama.cpp
  bool known = false;
  for (size_t i = 0; i < text.len; i++) {
    int32_t byte = r->v->byte_id[(uint8_t)text.ptr[i]];
    known |= byte >= 0;
    if (byte >= 0 && !token_put(r, byte)) return false;
  }
  return known || r->v->unk < 0 || token_put(r, r->v->unk);
}

static bool bpe_short(struct token_run *r, struct str text, const uint32_t *pos, int32_t *id, uint32_t n) {
  const struct vocab *v = r->v;
  uint32_t at[BPE_SHORT + 1], key[BPE_SHORT];
  int32_t into[BPE_SHORT];
  memcpy(at, pos, sizeof *at * (n + 1));
  for (uint32_t i = 0; i + 1 < n; i++)
    key[i] = bpe_key(v, id[i], id[i + 1], str_slice(text, at[i], at[i + 2]), &into[i]);
  while (n > 1) {
    uint32_t best = 0;
    for (uint32_t i = 1; i + 1 < n; i++)
      if (key[i] < key[best]) best = i;
    if (key[best] == BPE_WORST) break;
    id[best] = into[best];
    n--;
    for (uint32_t i = best + 1; i < n; i++) { // close the gap
      id[i] = id[i + 1];
      at[i] = at[i + 1];
      key[i - 1] = key[i];
      into[i - 1] = into[i];
    }
    at[n] = at[n + 1];
    if (best + 1 < n)
      key[best] = bpe_key(v, id[best], id[best + 1], str_slice(text, at[best], at[best + 2]), &into[best]);
    if (best > 0)
      key[best - 1] = bpe_key(v, id[best - 1], id[best], str_slice(text, at[best - 1], at[best + 1]), &into[best - 1]);
  }
  for (uint32_t i = 0; i < n; i++)
    if (!bpe_put_symbol(r, id[i], str_slice(text, at[i], at[i + 1]))) return false;
  return true;
}

/* ---- long words ---- */

static bool bpe_better(const struct bpe_word *w, uint32_t a, uint32_t b) {
  return w->key[a] != w->key[b] ? w->key[a] < w->key[b] : a < b;
}

static void bpe_heap_set(struct bpe_word *w, uint32_t slot, uint32_t symbol) {
  w->heap[slot] = symbol;
  w->at[symbol] = slot;
}

/* Puts a symbol into the free slot or higher or lower, where it belongs. */
static void bpe_heap_place(struct bpe_word *w, uint32_t slot, uint32_t symbol) {
  while (slot > 0 && bpe_better(w, symbol, w->heap[(slot - 1) / 2])) {
    bpe_heap_set(w, slot, w->heap[(slot - 1) / 2]);
    slot = (slot - 1) / 2;
  }
  for (;;) {
    uint32_t child = 2 * slot + 1;
    if (child >= w->n_heap) break;
    if (child + 1 < w->n_heap && bpe_better(w, w->heap[child + 1], w->heap[child])) child++;
    if (!bpe_better(w, w->heap[child], symbol)) break;
    bpe_heap_set(w, slot, w->heap[child]);
    slot = child;
  }
  bpe_heap_set(w, slot, symbol);
}

/* The key of a symbol is new: moves it in the heap, into it or out of it. */
static void bpe_heap_update(struct bpe_word *w, uint32_t symbol) {
  uint32_t slot = w->at[symbol];
  if (w->key[symbol] != BPE_WORST) {
    bpe_heap_place(w, slot < w->n ? slot : w->n_heap++, symbol);
  } else if (slot < w->n) {
    uint32_t last = w->heap[--w->n_heap];
    w->at[symbol] = w->n;
    if (last != symbol) bpe_heap_place(w, slot, last);
  }
}

static void bpe_weigh(struct bpe_word *w, uint32_t symbol) {
  uint32_t next = w->next[symbol];
  if (next == w->n) {
    w->key[symbol] = BPE_WORST;
  } else {
    uint32_t after = w->next[next];
    struct str both = str_slice(w->text, w->pos[symbol], after == w->n ? w->text.len : w->pos[after]);
    w->key[symbol] = bpe_key(w->v, w->id[symbol], w->id[next], both, &w->into[symbol]);
  }
}

/* Merges until nothing merges any more. */
static void bpe_heap_merge(struct bpe_word *w) {
  w->n_heap = 0;
  for (uint32_t i = 0; i < w->n; i++) {
    w->next[i] = i + 1;
    w->prev[i] = i ? i - 1 : w->n;
    w->at[i] = w->n;
  }
  for (uint32_t i = 0; i < w->n; i++) {
    bpe_weigh(w, i);
    bpe_heap_update(w, i);
  }
  while (w->n_heap) {
    uint32_t left = w->heap[0], right = w->next[left];
    w->id[left] = w->into[left];
    w->key[right] = BPE_WORST; // the right symbol is gone
    bpe_heap_update(w, right);
    w->next[left] = w->next[right];
    if (w->next[left] < w->n) w->prev[w->next[left]] = left;
    bpe_weigh(w, left);
    bpe_heap_update(w, left);
    if (w->prev[left] < w->n) {
      bpe_weigh(w, w->prev[left]);
      bpe_heap_update(w, w->prev[left]);
    }
  }
}

/* ---- words ---- */

/* The next symbol of a word: a byte of byte-level BPE, else a character. Bytes that are no UTF-8 stand alone. */
static int32_t bpe_symbol(const struct vocab *v, struct str word, size_t *pos) {
  if (v->kind == TOKEN_BYTES) return v->byte_id[(uint8_t)word.ptr[(*pos)++]];
  size_t beg = *pos;
  if ((uint8_t)word.ptr[beg] < 0x80) return v->ascii_id[(uint8_t)word.ptr[(*pos)++]];
  utf8_decode(word, pos);
  return token_mergeable(v, str_slice(word, beg, *pos));
}

/* Arrays for at most `most` symbols. */
static bool bpe_word_room(struct token_run *r, struct arena *scratch, struct bpe_word *w, uint32_t most) {
  uint32_t *block = arena_raw(scratch, 8 * (size_t)most + 1, sizeof *block, 16);
  if (!block) return token_no_room(r);
  uint32_t **part[6] = {&w->next, &w->prev, &w->key, &w->heap, &w->at, &w->pos};
  for (int i = 0; i < 6; i++) *part[i] = block + (size_t)i * most;
  w->id = (int32_t *)block + 6 * (size_t)most + 1; // behind pos[most]
  w->into = w->id + most;
  return true;
}

/* A long word in windows of `most` symbols (8 or more), so that the heap stays small and near. False: a window was too short
 * to tell, or an error. Each window begins with a token of the one before; both must agree where that one ends.
 * Why that is enough: tokens are what merging makes of a text if and only if it makes them of every two neighbours among
 * them alone (before the first merge across a border both sides develop as if alone). Two neighbours stand side by side
 * in one of the windows, which is such a text. Holds for any order of merges, also where it is not by age. */
static bool bpe_windows(struct token_run *r, struct str word, struct bpe_word *w, uint32_t most) {
  size_t beg = 0, agreed = 0; // where the first token of the window must end; 0: anywhere
  for (;;) {
    size_t at = beg;
    for (w->n = 0; at < word.len && w->n < most; w->n++) {
      w->pos[w->n] = (uint32_t)(at - beg);
      w->id[w->n] = bpe_symbol(r->v, word, &at);
    }
    w->pos[w->n] = (uint32_t)(at - beg);
    w->text = str_slice(word, beg, at);
    bpe_heap_merge(w);
    if (agreed && beg + w->pos[w->next[0]] != agreed) return false;
    bool last = at == word.len;
    uint32_t stop = last ? w->n : w->n - w->n / 8, i = 0;
    for (; w->next[i] <= stop && i < w->n; i = w->next[i])
      if (!bpe_put_symbol(r, w->id[i], str_slice(w->text, w->pos[i], w->pos[w->next[i]]))) return false;
    if (last) return true;
    if (i == 0) return false;
    agreed = beg + w->pos[w->next[i]];
    beg += w->pos[i];
  }
}

static bool bpe_long(struct token_run *r, struct str word) {
  size_t before = r->n;
  uint32_t n = 0;
  for (size_t at = 0; at < word.len; n++)
    if (r->v->kind == TOKEN_BYTES) at++;
    else utf8_decode(word, &at);
  for (uint32_t most = BPE_WINDOW;; most *= 8) {
    if (most > n) most = n; // all of it: always succeeds
    struct arena scratch = r->scratch; // ends with this round
    struct bpe_word w = {.v = r->v};
    r->n = before;
    if (!bpe_word_room(r, &scratch, &w, most)) return false;
    if (bpe_windows(r, word, &w, most)) return true;
    if (r->e->code || most == n) return false;
  }
}

static bool bpe_merge(struct token_run *r, struct str word) {
  uint32_t pos[BPE_SHORT + 1], n = 0;
  int32_t id[BPE_SHORT];
  size_t at = 0;
  while (at < word.len && n < BPE_SHORT) {
    pos[n] = (uint32_t)at;
    id[n++] = bpe_symbol(r->v, word, &at);
  }
  pos[n] = (uint32_t)at;
  return at == word.len ? bpe_short(r, word, pos, id, n) : bpe_long(r, word);
}

/* llama-bpe, tekken: a word that is a token is that token, whatever merging would make of it. The vocabulary is written
 * in the printable alphabet of byte-level BPE. */
static int32_t bpe_whole(const struct vocab *v, struct str word) {
  char text[2 * BPE_WHOLE_BYTES];
  size_t n = 0;
  if (word.len > BPE_WHOLE_BYTES || word.len > v->max_piece) return TOKEN_NONE;
  for (size_t i = 0; i < word.len; i++) n += (size_t)utf8_encode(token_byte_char((uint8_t)word.ptr[i]), text + n);
  return token_mergeable(v, (struct str){text, n});
}

static bool bpe_word(struct token_run *r, struct str word) {
  if (word.len == 1 && r->v->kind == TOKEN_BYTES) return bpe_put_symbol(r, r->v->byte_id[(uint8_t)word.ptr[0]], word);
  struct token_cached *c = NULL;
  if (word.len <= BPE_CACHED_BYTES && r->cache) {
    c = &r->cache[bpe_word_hash(word) & r->cache_mask];
    if (c->word && c->len == word.len && memcmp(c->word, word.ptr, word.len) == 0) {
      return bpe_put_cached(r, c);
    }
  }
  size_t before = r->n;
  int32_t whole = r->v->ignore_merges ? bpe_whole(r->v, word) : TOKEN_NONE;
  if (whole >= 0 ? !token_put(r, whole) : !bpe_merge(r, word)) return false;
  if (c) *c = (struct token_cached){word.ptr, (uint32_t)word.len, (uint32_t)before, (uint32_t)(r->n - before)};
  return true;
}

/* ---- fragments: text between special tokens ---- */

static bool bpe_bytes_fragment(struct token_run *r, struct str text) {
  struct pre_walk walk = pre_start(r->v->pre, text);
  size_t beg, end;
  while (pre_next(&walk, &beg, &end))
    if (!bpe_word(r, str_slice(text, beg, end))) return false;
  return true;
}

static bool bpe_is_space(struct str s, size_t at) { return str_starts(str_slice(s, at, s.len), TOKEN_SPACE); }

/* Words of an escaped text: merges run over the whole of it, but never from a character to a U+2581 behind it unless
 * some token holds the two side by side; there it may be cut without changing the result. */
static bool bpe_escaped(struct token_run *r, struct str text) {
  size_t beg = 0;
  for (size_t at = 1; at + 3 <= text.len; at++) {
    if (text.ptr[at] != '\xE2' || !bpe_is_space(text, at)) continue;
    uint8_t before = (uint8_t)text.ptr[at - 1];
    bool after_space = at >= 3 && bpe_is_space(text, at - 3);
    if (!after_space && !(r->v->space_follows[before >> 3] >> (before & 7) & 1)) {
      if (!bpe_word(r, str_slice(text, beg, at))) return false;
      beg = at;
    }
    at += 2;
  }
  return beg == text.len || bpe_word(r, str_slice(text, beg, text.len));
}

/* A copy of the text with every space as U+2581, and one more in front if asked for. */
static bool bpe_escape(struct token_run *r, struct str text, bool prefix, struct str *out) {
  size_t spaces = prefix, n = 0;
  for (size_t i = 0; i < text.len; i++) spaces += text.ptr[i] == ' ';
  char *p = arena_alloc(&r->scratch, text.len + 3 * spaces, 1, 1);
  if (!p) return token_no_room(r);
  for (size_t i = 0; i < text.len + prefix; i++) {
    char c = prefix ? i ? text.ptr[i - 1] : ' ' : text.ptr[i];
    if (c == ' ') {
      memcpy(p + n, TOKEN_SPACE.ptr, 3);
      n += 3;
    } else {
      p[n++] = c;
    }
  }
  *out = (struct str){p, n};
  return true;
}

/* Lines and the breaks between them; a run of line breaks that is a token is that token. */
static bool bpe_chars_fragment(struct token_run *r, struct str text) {
  struct str escaped;
  if (!bpe_escape(r, text, r->v->add_space_prefix, &escaped)) return false;
  for (size_t beg = 0, end; beg < escaped.len; beg = end) {
    bool breaks = escaped.ptr[beg] == '\n';
    for (end = beg; end < escaped.len && (escaped.ptr[end] == '\n') == breaks;) end++;
    struct str line = str_slice(escaped, beg, end);
    int32_t whole = breaks ? token_mergeable(r->v, line) : TOKEN_NONE;
    if (whole >= 0 ? !token_put(r, whole) : !bpe_escaped(r, line)) return false;
  }
  return true;
}
