/* token_wordpiece.c -- BERT: normalise, split into words, cover each word with the longest pieces from the left.
 *
 * Follows Hugging Face's BertNormalizer, BertPreTokenizer and WordPiece: control characters dropped, CJK ideographs
 * and punctuation words of their own, accents stripped after canonical decomposition (Hangul falls into jamo), lower
 * case; a word of more than 100 characters or that cannot be covered is one unknown token. The vocabulary writes the
 * beginning of a word as U+2581 and what continues it without "##". Needs no memory: a word fits the stack.
 * SPDX-License-Identifier: MIT */

enum {
  WORDPIECE_MAX_CHARS = 100, // of a normalised word; Hugging Face's max_input_chars_per_word
  WORDPIECE_KEY = 8          // bytes: pieces up to this length are found by comparing one number
};

struct wordpiece_word {
  char text[4 * WORDPIECE_MAX_CHARS + WORDPIECE_KEY]; // behind len anything
  size_t len; // bytes
  int chars;  // may count beyond what is kept
};

/* ---- pieces ---- */

/* The slot of a piece of 1 to 8 bytes, none of them 0: where it is, or the free one where it would be. */
static uint32_t wordpiece_slot(const struct vocab *v, uint64_t text, uint32_t begins) {
  uint64_t h = (text + begins) * 0x9E3779B97F4A7C15u;
  uint32_t i = (uint32_t)(((h ^ h >> 32) * 0xBF58476D1CE4E5B9u >> 32) * v->n_keys >> 32);
  while (v->keys[i].id1 && (v->keys[i].text != text || v->keys[i].begins != begins)) i = i + 1 == v->n_keys ? 0 : i + 1;
  return i;
}

/* Short pieces; of those that begin with U+2581 what follows it. */
static bool wordpiece_load(struct vocab *v, struct arena *a, struct bk_error *e) {
  v->n_keys = (uint32_t)v->n_tokens + (uint32_t)v->n_tokens / 2 + 8; // at most 2 of 3 slots are taken
  struct token_key *keys = ARENA_NEW(a, struct token_key, v->n_keys);
  if (!keys) return err_set(e, ERR_OS, "no memory for the pieces of %d tokens", (int)v->n_tokens);
  v->keys = keys;
  for (int32_t id = 0; id < v->n_tokens; id++) {
    struct str s = token_text(v, id);
    uint32_t begins = str_starts(s, TOKEN_SPACE);
    if (begins) s = str_slice(s, TOKEN_SPACE.len, s.len);
    if (s.len == 0 || s.len > WORDPIECE_KEY || memchr(s.ptr, 0, s.len)) continue;
    uint64_t text = 0;
    memcpy(&text, s.ptr, s.len);
    struct token_key *k = &keys[wordpiece_slot(v, text, begins)]; // of duplicates the first counts
    if (!k->id1) *k = (struct token_key){text, begins, token_is_plain(v, id) ? (uint32_t)id + 1 : UINT32_MAX};
  }
  return true;
}

static bool wordpiece_is_border(const struct wordpiece_word *w, size_t at) {
  return at == w->len || ((uint8_t)w->text[at] & 0xC0) != 0x80;
}

/* The longest piece that begins at *at, which moves behind it, or TOKEN_NONE. */
static int32_t wordpiece_match(const struct vocab *v, const struct wordpiece_word *w, size_t *at) {
  struct str mark = *at ? STR_NONE : TOKEN_SPACE;
  size_t most = w->len - *at, room = v->max_piece > mark.len ? v->max_piece - mark.len : 0;
  uint64_t hash[sizeof w->text], text;
  if (*at && str_starts((struct str){w->text + *at, most}, TOKEN_SPACE)) return TOKEN_NONE; // what would match begins a word
  if (most > room) most = room;
  if (most > WORDPIECE_KEY) hash[0] = token_hash_more(TOKEN_HASH_START, mark);
  for (size_t n = 1; n <= most && most > WORDPIECE_KEY; n++)
    hash[n] = token_hash_more(hash[n - 1], (struct str){w->text + *at + n - 1, 1});
  for (; most > WORDPIECE_KEY; most--) {
    if (!wordpiece_is_border(w, *at + most)) continue;
    int32_t id = token_find_hash(v, hash[most], mark, (struct str){w->text + *at, most});
    if (id < 0 || !token_is_plain(v, id)) continue;
    *at += most;
    return id;
  }
  memcpy(&text, w->text + *at, sizeof text);
  for (; most > 0; most--) {
    if (!wordpiece_is_border(w, *at + most)) continue;
    uint32_t id1 = v->keys[wordpiece_slot(v, text & UINT64_MAX >> (64 - 8 * most), *at == 0)].id1;
    if (id1 == 0 || id1 == UINT32_MAX) continue;
    *at += most;
    return (int32_t)id1 - 1;
  }
  return TOKEN_NONE;
}

/* Puts the pieces of the word, or unknown, and begins a new one. */
static bool wordpiece_end(struct token_run *r, struct wordpiece_word *w) {
  const struct vocab *v = r->v;
  size_t before = r->n, at = 0;
  if (w->chars == 0) return true;
  bool covered = w->chars <= WORDPIECE_MAX_CHARS;
  while (covered && at < w->len) {
    int32_t id = wordpiece_match(v, w, &at);
    covered = id >= 0;
    if (covered && !token_put(r, id)) return false;
  }
  if (!covered) {
    r->n = before;
    if (v->unk >= 0 && !token_put(r, v->unk)) return false;
  }
  w->len = 0;
  w->chars = 0;
  return true;
}

/* ---- normalising ---- */

static void wordpiece_add(struct wordpiece_word *w, uint32_t code) {
  if (w->chars < WORDPIECE_MAX_CHARS) w->len += (size_t)utf8_encode(code, w->text + w->len);
  if (w->chars <= WORDPIECE_MAX_CHARS) w->chars++;
}

static bool wordpiece_is_ideograph(uint32_t c) { // 0x2B920 for 0x2B820: as Hugging Face has it
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static unsigned wordpiece_class(uint32_t code) { // in Unicode 8: Hugging Face's normaliser knows no later one
  unsigned pair = unicode_classes[unicode_block[code >> 8] * 128u + (code >> 1 & 127u)], class = code & 1 ? pair >> 4 : pair & 15;
  for (int i = 0; class >= UNICODE_MARK_NONSPACING && i < UNICODE_OF_8 && unicode_of_8[i][0] <= code; i++)
    if (code <= (unicode_of_8[i][1] & 0xFFFFFF)) return unicode_of_8[i][1] >> 24;
  return class;
}

/* What is left of a character after canonical decomposition and without nonspacing marks: 0 to 3 code points. */
static int wordpiece_strip(uint32_t code, uint32_t out[3]) {
  if (code >= 0xAC00 && code <= 0xD7A3) { // Hangul syllables: leading 588 = 21 * 28, vowel 28, trailing
    uint32_t s = code - 0xAC00;
    out[0] = 0x1100 + s / 588;
    out[1] = 0x1161 + s % 588 / 28;
    out[2] = 0x11A7 + s % 28;
    return s % 28 ? 3 : 2;
  }
  for (int i = 0; i < UNICODE_STRIPPED_WIDE && unicode_stripped_wide[i][0] <= code; i++) {
    if (unicode_stripped_wide[i][0] != code) continue;
    memcpy(out, unicode_stripped_wide[i] + 2, sizeof *out * 3);
    return (int)unicode_stripped_wide[i][1];
  }
  int lo = 0, hi = UNICODE_STRIPPED;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (unicode_stripped[mid][0] < code) lo = mid + 1;
    else hi = mid;
  }
  out[0] = lo < UNICODE_STRIPPED && unicode_stripped[lo][0] == code ? unicode_stripped[lo][1] : code;
  return out[0] && wordpiece_class(out[0]) != UNICODE_MARK_NONSPACING;
}

static uint32_t wordpiece_lower(uint32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
  int lo = 0, hi = UNICODE_LOWER_RUNS;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (unicode_lower[mid][1] < code) lo = mid + 1;
    else hi = mid;
  }
  const uint32_t *run = unicode_lower[lo];
  if (lo < UNICODE_LOWER_RUNS && run[0] <= code && (code - run[0]) % run[2] == 0) return code + run[3];
  return code;
}

/* A normalised character: part of the word, or a word of its own. */
static bool wordpiece_char(struct token_run *r, struct wordpiece_word *w, uint32_t code) {
  if (r->v->lowercase) {
    if (code == 0x130) { // the only character whose lower case is two
      wordpiece_add(w, 'i');
      code = 0x307;
    }
    code = wordpiece_lower(code);
  }
  unsigned class = wordpiece_class(code);
  bool alone = class == UNICODE_PUNCTUATION || (code < 0x80 && class == UNICODE_SYMBOL); // ASCII: all that is no letter
  if (alone && !wordpiece_end(r, w)) return false;
  if (class == UNICODE_WHITE_SPACE) return wordpiece_end(r, w);
  wordpiece_add(w, code);
  return !alone || wordpiece_end(r, w);
}

/* The ASCII letters and digits before anything else in 8 bytes, added to the word: how many. A byte b below 0x80 is at least
 * c where b + 0x80 - c has the high bit; one above spoils only what lies behind it. */
ALWAYS_INLINE size_t wordpiece_run(const char *p, uint64_t upper_mask, struct wordpiece_word *w) {
  const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
  uint64_t x, n = 8;
  memcpy(&x, p, sizeof x);
  uint64_t fold = x | 0x20 * ones, upper = (x + (0x80 - 'A') * ones) & ~(x + (0x7F - 'Z') * ones) & upper_mask;
  uint64_t letter = (fold + (0x80 - 'a') * ones) & ~(fold + (0x7F - 'z') * ones);
  uint64_t digit = (x + (0x80 - '0') * ones) & ~(x + (0x7F - '9') * ones), stop = (~(letter | digit) | x) & high;
  if (stop) n = (((stop & (0 - stop)) - 1) >> 7 & ones) * ones >> 56;
  if (w->chars > WORDPIECE_MAX_CHARS) return (size_t)n;
  x += upper >> 2; // 'a' - 'A' is 0x20
  memcpy(w->text + w->len, &x, sizeof x); // chars <= 100, so len <= 400
  w->len += (size_t)n;
  w->chars += (int)n;
  return (size_t)n;
}

/* Any character, with what comes before and behind it. */
static bool wordpiece_any(struct token_run *r, struct wordpiece_word *w, uint32_t code) {
  uint32_t parts[3];
  if (code == 0 || code == 0xFFFD || code == UTF8_BAD) return true;
  unsigned class = wordpiece_class(code);
  bool white = class == UNICODE_WHITE_SPACE && code != 0x0B && code != 0x0C && code != 0x85; // those are controls
  if (class == UNICODE_CONTROL || (class == UNICODE_WHITE_SPACE && !white)) return true;
  bool ideograph = wordpiece_is_ideograph(code);
  if ((white || ideograph) && !wordpiece_end(r, w)) return false;
  if (white) return true;
  int n = 1;
  parts[0] = code;
  if (r->v->strip_accents && !(ideograph && code < 0xF900)) n = wordpiece_strip(code, parts); // below: none to strip
  for (int i = 0; i < n; i++)
    if (!wordpiece_char(r, w, parts[i])) return false;
  return !ideograph || wordpiece_end(r, w);
}

static bool wordpiece_fragment(struct token_run *r, struct str text) {
  struct wordpiece_word word;
  uint64_t upper_mask = r->v->lowercase ? 0x8080808080808080u : 0;
  word.len = 0;
  word.chars = 0;
  for (size_t pos = 0; pos < text.len;) {
    while (text.len - pos >= 8) {
      size_t n = wordpiece_run(text.ptr + pos, upper_mask, &word);
      pos += n;
      if (n < 8) break;
    }
    if (pos == text.len) break;
    char c = text.ptr[pos];
    bool alone = (pre_ascii[(uint8_t)c] & (PRE_P | PRE_S)) != 0;
    if (c == ' ' || alone) { // what any character would do, but faster
      pos++;
      if (!wordpiece_end(r, &word)) return false;
      word.text[0] = c;
      word.len = (size_t)alone;
      word.chars = alone;
      if (!wordpiece_end(r, &word)) return false;
    } else if (!wordpiece_any(r, &word, utf8_decode(text, &pos))) {
      return false;
    }
  }
  return wordpiece_end(r, &word);
}
