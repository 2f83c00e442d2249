/* token_wordpiece.c -- BERT: normalise, split into words, cover each word with the longest pieces from the left.
 *
 * Follows Hugging Face's BertNormalizer, BertPreTokenizer and WordPiece: control characters dropped, CJK ideographs
 * and punctuation words of their own, accents stripped after canonical decomposition (Hangul falls into jamo), lower
 * case; a word of more than 100 characters or that cannot be covered is one unknown token. The vocabulary writes the
 * beginning of a word as U+2581 and what continues it without "##". Needs no memory: a word fits the stack.
 * SPDX-License-Identifier: MIT */

enum {
  WORDPIECE_MAX_CHARS = 100, // of a normalised word; Hugging Face's max_input_chars_per_word
  WORDPIECE_PREFIX = 3       // bytes of U+2581 in front of every word
};

struct wordpiece_word {
  char text[WORDPIECE_PREFIX + 4 * WORDPIECE_MAX_CHARS];
  size_t len; // bytes, with the prefix
  int chars;  // may count beyond what is kept
};

static void wordpiece_start(struct wordpiece_word *w) {
  memcpy(w->text, TOKEN_SPACE.ptr, WORDPIECE_PREFIX);
  w->len = WORDPIECE_PREFIX;
  w->chars = 0;
}

/* Puts the pieces of the word, or unknown, and begins a new one. */
static bool wordpiece_end(struct token_run *r, struct wordpiece_word *w) {
  const struct vocab *v = r->v;
  size_t before = r->n, at = 0;
  if (w->chars == 0) return true;
  bool covered = w->chars <= WORDPIECE_MAX_CHARS;
  while (covered && at < w->len) {
    uint64_t h = TOKEN_HASH_START;
    int32_t best = TOKEN_NONE;
    size_t best_end = at, limit = w->len - at > v->max_piece ? at + v->max_piece : w->len;
    if (at > 0 && str_starts((struct str){w->text + at, w->len - at}, TOKEN_SPACE)) limit = at; // what would match begins a word
    for (size_t end = at; end < limit;) {
      size_t next = end + 1;
      while (next < w->len && ((uint8_t)w->text[next] & 0xC0) == 0x80) next++;
      h = token_hash_more(h, (struct str){w->text + end, next - end});
      end = next;
      if (at == 0 && end == WORDPIECE_PREFIX) continue; // U+2581 alone is no piece: it is no character of the word
      int32_t id = token_find_hash(v, h, (struct str){w->text + at, end - at}, STR_NONE);
      if (id < 0 || !token_is_plain(v, id)) continue;
      best = id;
      best_end = end;
    }
    covered = best >= 0;
    at = best_end;
    if (covered && !token_put(r, best)) return false;
  }
  if (!covered) {
    r->n = before;
    if (v->unk >= 0 && !token_put(r, v->unk)) return false;
  }
  wordpiece_start(w);
  return true;
}

static void wordpiece_add(struct wordpiece_word *w, uint32_t code) {
  if (w->chars < WORDPIECE_MAX_CHARS) w->len += (size_t)utf8_encode(code, w->text + w->len);
  if (w->chars <= WORDPIECE_MAX_CHARS) w->chars++;
}

static bool wordpiece_is_ideograph(uint32_t c) { // 0x2B920 for 0x2B820: as Hugging Face has it
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static unsigned wordpiece_class(uint32_t code) {
  unsigned pair = unicode_classes[unicode_block[code >> 8] * 128u + (code >> 1 & 127u)];
  return code & 1 ? pair >> 4 : pair & 15;
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
  for (int i = 0; i < UNICODE_STRIPPED_WIDE; i++) {
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

static bool wordpiece_fragment(struct token_run *r, struct str text) {
  struct wordpiece_word word;
  wordpiece_start(&word);
  for (size_t pos = 0; pos < text.len;) {
    uint32_t code = utf8_decode(text, &pos), parts[3];
    if (code == 0 || code == 0xFFFD || code == UTF8_BAD) continue;
    unsigned class = wordpiece_class(code);
    bool white = class == UNICODE_WHITE_SPACE && code != 0x0B && code != 0x0C && code != 0x85; // those are controls
    if (class == UNICODE_CONTROL || (class == UNICODE_WHITE_SPACE && !white)) continue;
    bool ideograph = wordpiece_is_ideograph(code);
    if ((white || ideograph) && !wordpiece_end(r, &word)) return false;
    if (white) continue;
    int n = 1;
    parts[0] = code;
    if (r->v->strip_accents) n = wordpiece_strip(code, parts);
    for (int i = 0; i < n; i++)
      if (!wordpiece_char(r, &word, parts[i])) return false;
    if (ideograph && !wordpiece_end(r, &word)) return false;
  }
  return wordpiece_end(r, &word);
}
