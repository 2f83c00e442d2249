/* token_unigram.c -- SentencePiece unigram: the text is normalised, then the path with the highest sum of scores wins.
 *
 * The normaliser is a double array inside the file (tokenizer.ggml.precompiled_charsmap: 4 bytes of size, the array,
 * the replacement strings); every step of the walk is checked against its bounds, a step outside means no match.
 * Every path goes through a border that no token crosses, so each word between two such borders is solved alone, and
 * words seen before are copied. Tokens that begin at a position are found by hashing ever longer prefixes, until a
 * Bloom filter of all prefixes of tokens says that none goes on. Memory: a word and 16 bytes for each of its bytes.
 * SPDX-License-Identifier: MIT */

enum { UNIGRAM_CACHED_BYTES = 32 }; // longest word that is remembered

struct unigram_best { // the best way to reach a byte of the normalised text
  double score;
  int32_t id;    // the token that ends here
  uint32_t from; // where it began
};

static size_t unigram_char(struct str s, size_t at) { // the end of the character at `at`
  at++;
  while (at < s.len && ((uint8_t)s.ptr[at] & 0xC0) == 0x80) at++;
  return at;
}

static bool unigram_usable(const struct vocab *v, int32_t id) {
  return (v->attr[id] & (TOKEN_NORMAL | TOKEN_USER | TOKEN_UNUSED)) && token_is_plain(v, id);
}

/* ---- normalising ---- */

static uint32_t unigram_node(const struct vocab *v, size_t i) { // 0 outside: no child has that as its check byte
  uint32_t node = 0;
  if (i < v->charsmap.len / 4) memcpy(&node, v->charsmap.ptr + 4 * i, 4);
  return node;
}

static size_t unigram_base(uint32_t node) { return (size_t)(node >> 10) << ((node & 1u << 9) >> 6); }

/* One step of the walk from place *at: moves it to the child behind the byte c and reads its node, or false. Layout of a
 * node (sentencepiece, darts-clone): bits 0-7 label, 8 has a value, 9 scale of the offset, 10-30 offset; a value has bit 31. */
ALWAYS_INLINE bool unigram_step(const struct vocab *v, size_t *at, uint8_t c, bool *ends) {
  uint32_t node = unigram_node(v, *at ^ c);
  if ((node & (1u << 31 | 0xFF)) != c) return false;
  *at ^= c ^ unigram_base(node);
  *ends = node >> 8 & 1;
  return true;
}

/* The longest prefix of the text that the double array replaces: its length (0: none) and what replaces it. */
static size_t unigram_replace(const struct vocab *v, struct str text, struct str *out) {
  size_t best = 0, at = unigram_base(unigram_node(v, 0));
  bool ends;
  for (size_t i = 0; i < text.len && text.ptr[i] && unigram_step(v, &at, (uint8_t)text.ptr[i], &ends); i++) {
    if (!ends) continue;
    size_t value = unigram_node(v, at) & 0x7FFFFFFFu;
    struct str rest = str_slice(v->replacements, value, v->replacements.len);
    const char *nul = rest.len ? memchr(rest.ptr, 0, rest.len) : NULL;
    if (!nul) break;
    best = i + 1;
    *out = (struct str){rest.ptr, (size_t)(nul - rest.ptr)};
  }
  return best;
}

/* ASCII that nothing replaces, alone or before more ASCII. */
SMALL void unigram_load_plain(struct vocab *v) {
  for (uint8_t c = 0; c < 128; c++) {
    size_t at = unigram_base(unigram_node(v, 0)), after;
    bool ends = false, touched = c && v->charsmap.len && unigram_step(v, &at, c, &ends), more = ends;
    for (uint8_t d = 1; touched && !more && d < 128; d++) {
      after = at;
      more = unigram_step(v, &after, d, &ends);
    }
    v->ascii_plain[c] = !more;
  }
}

/* The next piece of normalised text, and how much of the text it consumes. */
static size_t unigram_next(const struct vocab *v, struct str text, struct str *out) {
  size_t pos = 0, n = v->charsmap.len ? unigram_replace(v, text, out) : 0;
  if (n) return n;
  if (utf8_decode(text, &pos) == UTF8_BAD) *out = STR("\xEF\xBF\xBD");
  else *out = str_slice(text, 0, pos);
  return pos;
}

/* ---- loading ---- */

/* The filter, and the score of an unknown character: 10 below the worst token, as in sentencepiece. */
static bool unigram_load(struct vocab *v, struct arena *a, struct bk_error *e) {
  size_t n = 0, size = 64;
  double worst = 0;
  for (int32_t id = 0; id < v->n_tokens; id++) {
    if (!unigram_usable(v, id)) continue;
    struct str s = token_text(v, id);
    for (size_t at = 0; at < s.len; at = unigram_char(s, at)) n++;
    if ((v->attr[id] & TOKEN_NORMAL) && (double)token_score(v, id) < worst) worst = (double)token_score(v, id);
  }
  while (size * 6 < n) size *= 2; // about 10 bits a prefix, many of which are the same
  uint64_t *filter = ARENA_NEW(a, uint64_t, size);
  if (!filter) return err_set(e, ERR_OS, "no memory for the prefixes of %d tokens", (int)v->n_tokens);
  for (int32_t id = 0; id < v->n_tokens; id++) {
    if (!unigram_usable(v, id)) continue;
    struct str s = token_text(v, id);
    uint64_t h = TOKEN_HASH_START;
    for (size_t at = 0, next; at < s.len; at = next) {
      next = unigram_char(s, at);
      h = token_hash_more(h, str_slice(s, at, next));
      bpe_filter_add(filter, size - 1, h);
    }
  }
  v->filter = filter;
  v->filter_mask = size - 1;
  unigram_load_plain(v);
  v->unk_score = (double)((float)worst - 10.0f);
  return true;
}

/* ---- the best path ---- */

struct unigram_text { // a fragment on its way
  struct token_run *run;
  char *word; // (room) normalised, as far as it is not yet encoded; n bytes
  size_t n, room;
  struct unigram_best *best; // (room + 1)
  char *kept;   // (cache_mask + 1, UNIGRAM_CACHED_BYTES) texts of the cache
  double score; // of all ids before ids[summed]
  size_t summed;
  bool unknown, tie; // the last id is unknown; two ways to some byte of the word were about as good
};

/* Scores of long texts lose their last bits: what is closer than this may go either way. */
#define UNIGRAM_CLOSE 1e-3

static void unigram_try(struct unigram_text *u, size_t from, size_t to, int32_t id, double score) {
  struct unigram_best *b = &u->best[to];
  score += u->best[from].score;
  if (score < b->score + UNIGRAM_CLOSE && b->score < score + UNIGRAM_CLOSE) u->tie = true;
  if (score > b->score) *b = (struct unigram_best){score, id, (uint32_t)from};
}

static double unigram_score(const struct vocab *v, int32_t id) {
  return v->attr[id] & TOKEN_USER ? 0 : (double)token_score(v, id);
}

static void unigram_from(struct unigram_text *u, size_t at) {
  const struct vocab *v = u->run->v;
  const struct str s = {u->word, u->n};
  uint64_t h = TOKEN_HASH_START;
  size_t first = unigram_char(s, at);
  bool single = false; // a token that is just this character
  for (size_t end = at, next; end < s.len; end = next) {
    next = unigram_char(s, end);
    h = token_hash_more(h, str_slice(s, end, next));
    if (!bpe_filter_has(v, h) || next - at > v->max_piece) break;
    int32_t id = token_find_hash(v, h, str_slice(s, at, next), STR_NONE);
    if (id < 0 || !unigram_usable(v, id)) continue;
    single |= next == first;
    unigram_try(u, at, next, id, unigram_score(v, id));
  }
  if (!single) {
    unigram_try(u, at, first, v->unk, v->unk_score);
    u->tie = true; // ids do not tell how many unknown characters there were
  }
}

/* The best path through the word, from a score of what came before; true if it does not depend on that. */
static bool unigram_solve(struct unigram_text *u, double score) {
  u->tie = false;
  u->best[0].score = score;
  for (size_t i = 1; i <= u->n; i++) u->best[i].score = -1e300;
  for (size_t at = 0; at < u->n; at = unigram_char((struct str){u->word, u->n}, at)) unigram_from(u, at);
  return !u->tie;
}

/* Puts the ids of the path; a run of unknown characters is one unknown token. */
static bool unigram_put(struct unigram_text *u) {
  struct token_run *r = u->run;
  size_t n = 0, to = u->n;
  for (size_t at = u->n; at > 0; at = to) { // the list of places, turned round
    to = u->best[at].from;
    u->best[at].from = (uint32_t)n;
    n = at;
  }
  for (size_t at = n; at > 0; at = u->best[at].from) {
    int32_t id = u->best[at].id;
    bool unknown = id == r->v->unk;
    if (!(unknown && u->unknown) && id >= 0 && !token_put(r, id)) return false;
    u->unknown = unknown;
  }
  return true;
}

static bool unigram_word(struct unigram_text *u) {
  struct token_run *r = u->run;
  struct str word = {u->word, u->n};
  struct token_cached *c = NULL;
  if (r->cache && word.len <= UNIGRAM_CACHED_BYTES) c = &r->cache[bpe_word_hash(word) & r->cache_mask];
  if (c && c->word && c->len == word.len && memcmp(c->word, word.ptr, word.len) == 0) {
    u->unknown = false;
    return bpe_put_cached(r, c);
  }
  size_t before = r->n;
  bool alone = unigram_solve(u, 0);
  if (!alone) {
    for (; u->summed < r->n; u->summed++) u->score += unigram_score(r->v, r->ids[u->summed]);
    unigram_solve(u, u->score);
    u->score = u->best[u->n].score;
  }
  if (!unigram_put(u)) return false;
  if (!alone) {
    u->summed = r->n;
  } else if (c) {
    *c = (struct token_cached){u->kept + (c - r->cache) * UNIGRAM_CACHED_BYTES, word.len, before, r->n - before};
    memcpy(u->kept + (c - r->cache) * UNIGRAM_CACHED_BYTES, word.ptr, word.len);
  }
  return true;
}

/* ---- fragments ---- */

/* U+2581 comes next. The word ends before it, unless some token goes across. */
static bool unigram_space(struct unigram_text *u) {
  uint8_t before = u->n ? (uint8_t)u->word[u->n - 1] : 0;
  bool follows = u->n >= 3 && memcmp(u->word + u->n - 3, TOKEN_SPACE.ptr, 3) == 0;
  if (u->n && !follows && !(u->run->v->space_follows[before >> 3] >> (before & 7) & 1)) {
    if (!unigram_word(u)) return false;
    u->n = 0;
  }
  if (u->room - u->n < TOKEN_SPACE.len) return token_no_room(u->run);
  memcpy(u->word + u->n, TOKEN_SPACE.ptr, TOKEN_SPACE.len);
  u->n += TOKEN_SPACE.len;
  return true;
}

/* Normalises and encodes: spaces become U+2581, runs of them one if asked. */
static bool unigram_walk(struct unigram_text *u, struct str text) {
  const struct vocab *v = u->run->v;
  bool prepended = false, inside = false;
  for (size_t at = 0; at < text.len;) {
    struct str piece = {text.ptr + at, 1};
    uint8_t c = (uint8_t)text.ptr[at], d = at + 1 < text.len ? (uint8_t)text.ptr[at + 1] : 0;
    if ((c | d) < 0x80 && v->ascii_plain[c]) at++;
    else at += unigram_next(v, str_slice(text, at, text.len), &piece);
    for (size_t i = 0; i < piece.len; i++) {
      bool space = piece.ptr[i] == ' ', put_space = space && !v->merge_spaces;
      if (!space && !inside) {
        put_space = (v->add_space_prefix && !prepended) || v->merge_spaces;
        prepended |= put_space;
      }
      inside = !space;
      if (put_space && !unigram_space(u)) return false;
      if (space) continue;
      if (u->n == u->room) return token_no_room(u->run);
      u->word[u->n++] = piece.ptr[i];
    }
  }
  return u->n == 0 || unigram_word(u);
}

static bool unigram_fragment(struct token_run *r, struct str text) {
  struct arena scratch = r->scratch; // ends with this function
  struct unigram_text u = {.run = r, .summed = r->n};
  if (r->cache) u.kept = arena_raw(&scratch, (size_t)r->cache_mask + 1, UNIGRAM_CACHED_BYTES, 16);
  if (r->cache && !u.kept) return token_no_room(r);
  size_t left = (size_t)(scratch.end - scratch.beg), each = 1 + sizeof(struct unigram_best);
  u.room = left / each > 4 ? left / each - 4 : 0; // less the one behind the end, and the padding
  if (u.room > UINT32_MAX - 1) u.room = UINT32_MAX - 1;
  u.word = arena_raw(&scratch, u.room, 1, 1);
  u.best = arena_raw(&scratch, u.room + 1, sizeof *u.best, sizeof *u.best);
  if (!u.word || !u.best) return token_no_room(r);
  return unigram_walk(&u, text);
}
