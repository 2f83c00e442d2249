/* token_unigram.c -- SentencePiece unigram: the text is normalised, then the path with the highest sum of scores wins.
 *
 * The normaliser is a double array inside the file (tokenizer.ggml.precompiled_charsmap: 4 bytes of size, the array,
 * the replacement strings); every step of the walk is checked against its bounds, a step outside means no match.
 * Tokens that begin at a position are found by hashing ever longer prefixes, until a Bloom filter of all prefixes of
 * tokens says that none goes on. Memory: the normalised text and 16 bytes for each of its bytes.
 * SPDX-License-Identifier: MIT */

struct unigram_best { // the best way to reach a byte of the normalised text
  double score;
  int32_t id;    // the token that ends here
  uint32_t from; // where it began
};

/* ---- prefixes ---- */

static size_t unigram_char(struct str s, size_t at) { // the end of the character at `at`
  at++;
  while (at < s.len && ((uint8_t)s.ptr[at] & 0xC0) == 0x80) at++;
  return at;
}

static bool unigram_usable(const struct vocab *v, int32_t id) {
  return (v->attr[id] & (TOKEN_NORMAL | TOKEN_USER | TOKEN_UNUSED)) && token_is_plain(v, id);
}

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
  v->unk_score = (double)((float)worst - 10.0f);
  return true;
}

/* ---- normalising ---- */

static uint32_t unigram_node(const struct vocab *v, size_t i) { // 0 outside: no child has that as its check byte
  uint32_t node = 0;
  if (i < v->charsmap.len / 4) memcpy(&node, v->charsmap.ptr + 4 * i, 4);
  return node;
}

static size_t unigram_base(uint32_t node) { return (size_t)(node >> 10) << ((node & 1u << 9) >> 6); }

/* The longest prefix of the text that the double array replaces: its length (0: none) and what replaces it.
 * Layout of a node (sentencepiece, darts-clone): bits 0-7 label, 8 has a value, 9 scale of the offset, 10-30 offset;
 * a value has bit 31. */
static size_t unigram_replace(const struct vocab *v, struct str text, struct str *out) {
  size_t best = 0, at = unigram_base(unigram_node(v, 0));
  for (size_t i = 0; i < text.len && text.ptr[i]; i++) {
    uint8_t c = (uint8_t)text.ptr[i];
    at ^= c;
    uint32_t node = unigram_node(v, at);
    if ((node & (1u << 31 | 0xFF)) != c) break;
    at ^= unigram_base(node);
    if (!(node >> 8 & 1)) continue;
    size_t value = unigram_node(v, at) & 0x7FFFFFFFu;
    struct str rest = str_slice(v->replacements, value, v->replacements.len);
    const char *nul = rest.len ? memchr(rest.ptr, 0, rest.len) : NULL;
    if (!nul) break;
    best = i + 1;
    *out = (struct str){rest.ptr, (size_t)(nul - rest.ptr)};
  }
  return best;
}

/* The next piece of normalised text, and how much of the text it consumes. */
static size_t unigram_next(const struct vocab *v, struct str text, struct str *out) {
  size_t pos = 0, n = v->charsmap.len ? unigram_replace(v, text, out) : 0;
  if (n) return n;
  if (utf8_decode(text, &pos) == UTF8_BAD) *out = STR("\xEF\xBF\xBD");
  else *out = str_slice(text, 0, pos);
  return pos;
}

/* Writes the normalised text if `to` is not NULL; its length. Spaces become U+2581, runs of them one if asked. */
static size_t unigram_normalize(const struct vocab *v, struct str text, char *to) {
  size_t n = 0;
  bool prepended = false, inside = false;
  for (size_t at = 0; at < text.len;) {
    struct str piece = STR_NONE;
    at += unigram_next(v, str_slice(text, at, text.len), &piece);
    for (size_t i = 0; i < piece.len; i++) {
      bool space = piece.ptr[i] == ' ', put_space = space && !v->merge_spaces;
      if (!space && !inside) {
        put_space = (v->add_space_prefix && !prepended) || v->merge_spaces;
        prepended |= put_space;
      }
      inside = !space;
      if (put_space && to) memcpy(to + n, TOKEN_SPACE.ptr, 3);
      n += put_space ? 3 : 0;
      if (!space && to) to[n] = piece.ptr[i];
      n += !space;
    }
  }
  return n;
}

/* ---- the best path ---- */

static void unigram_try(struct unigram_best *best, size_t from, size_t to, int32_t id, double score) {
  if (score > best[to].score) best[to] = (struct unigram_best){score, id, (uint32_t)from};
}

static void unigram_from(const struct vocab *v, struct str s, size_t at, struct unigram_best *best) {
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
    double score = v->attr[id] & TOKEN_USER ? 0 : (double)token_score(v, id);
    unigram_try(best, at, next, id, best[at].score + score);
  }
  if (!single) unigram_try(best, at, first, v->unk, best[at].score + v->unk_score);
}

static bool unigram_fragment(struct token_run *r, struct str text) {
  const struct vocab *v = r->v;
  size_t n = unigram_normalize(v, text, NULL);
  if (n == 0) return true;
  if (n > UINT32_MAX - 1) return token_no_room(r);
  struct arena scratch = r->scratch; // ends with this function
  char *normal = arena_alloc(&scratch, n, 1, 1);
  struct unigram_best *best = ARENA_NEW(&scratch, struct unigram_best, n + 1);
  if (!normal || !best) return token_no_room(r);
  unigram_normalize(v, text, normal);
  struct str s = {normal, n};
  for (size_t i = 1; i <= n; i++) best[i].score = -1e300;
  for (size_t at = 0; at < n; at = unigram_char(s, at)) unigram_from(v, s, at, best);
  size_t before = r->n;
  bool unknown = false; // a run of unknown characters is one unknown token
  for (size_t at = n; at > 0; at = best[at].from) {
    bool is_unknown = best[at].id == v->unk;
    if (!(unknown && is_unknown) && best[at].id >= 0 && !token_put(r, best[at].id)) return false;
    unknown = is_unknown;
  }
  for (size_t i = before, j = r->n; i + 1 < j; i++) { // found from the end
    int32_t id = r->ids[--j];
    r->ids[j] = r->ids[i];
    r->ids[i] = id;
  }
  return true;
}
