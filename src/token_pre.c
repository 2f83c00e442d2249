/* token_pre.c -- the pre-tokenizers of byte-level BPE: where a text falls into words, within which alone merges happen.
 *
 * In: bytes of a text. Out: the end of the next word. The originals are regular expressions in each model's
 * tokenizer.json; here each is a matcher written by hand, so a text is read once from left to right, without recursion
 * and without backtracking over more than one run. Several expressions in a row refine each other: every piece of the
 * first, matched or not, is cut again by the next. Bytes that are no UTF-8 are characters of their own.
 * SPDX-License-Identifier: MIT */
#include "../gen/unicode.h"
#include "base.h"

enum { // classes of characters, bits
  PRE_L = 1,      // letter
  PRE_M = 2,      // mark
  PRE_N = 4,      // number
  PRE_P = 8,      // punctuation
  PRE_S = 16,     // symbol
  PRE_W = 32,     // white space
  PRE_B = 64,     // \r and \n, besides PRE_W
  PRE_UPPER = 128, // may stand in the upper part of a word: Lu Lt Lm Lo M
  PRE_LOWER = 256, // may stand in the lower part of a word: Ll Lm Lo M
  PRE_O = 512     // anything else: control, unassigned, broken
};

static const uint16_t pre_bits[16] = {
  [UNICODE_UNASSIGNED] = PRE_O,
  [UNICODE_UPPER] = PRE_L | PRE_UPPER,
  [UNICODE_LOWER] = PRE_L | PRE_LOWER,
  [UNICODE_TITLE] = PRE_L | PRE_UPPER,
  [UNICODE_MODIFIER] = PRE_L | PRE_UPPER | PRE_LOWER,
  [UNICODE_OTHER_LETTER] = PRE_L | PRE_UPPER | PRE_LOWER,
  [UNICODE_MARK_NONSPACING] = PRE_M | PRE_UPPER | PRE_LOWER,
  [UNICODE_MARK_OTHER] = PRE_M | PRE_UPPER | PRE_LOWER,
  [UNICODE_NUMBER] = PRE_N,
  [UNICODE_PUNCTUATION] = PRE_P,
  [UNICODE_SYMBOL] = PRE_S,
  [UNICODE_WHITE_SPACE] = PRE_W,
  [UNICODE_CONTROL] = PRE_O,
};

/* ASCII, and 0 for bytes that begin a longer character. */
#define U (PRE_L | PRE_UPPER)
#define L (PRE_L | PRE_LOWER)
#define W PRE_W
#define B (PRE_W | PRE_B)
#define N PRE_N
#define P PRE_P
#define S PRE_S
#define O PRE_O
static const uint16_t pre_ascii[256] = {
  O, O, O, O, O, O, O, O, O, W, B, W, W, B, O, O, // \t \n \v \f \r
  O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
  W, P, P, P, S, P, P, P, P, P, P, S, P, P, P, P, // space ! " # $ % & ' ( ) * + , - . /
  N, N, N, N, N, N, N, N, N, N, P, P, S, S, S, P, // 0..9 : ; < = > ?
  P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, // @
  U, U, U, U, U, U, U, U, U, U, U, P, P, P, S, P, // [ \ ] ^ _
  S, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, // `
  L, L, L, L, L, L, L, L, L, L, L, P, S, P, S, O, // { | } ~ DEL
};
#undef U
#undef L
#undef W
#undef B
#undef N
#undef P
#undef S
#undef O

static unsigned pre_class_of(uint32_t code) {
  if (code > 0x10FFFF) return PRE_O;
  unsigned pair = unicode_classes[unicode_block[code >> 8] * 128u + (code >> 1 & 127u)];
  unsigned bits = pre_bits[code & 1 ? pair >> 4 : pair & 15];
  return code == '\r' || code == '\n' ? bits | PRE_B : bits;
}

static uint32_t pre_code(const uint8_t *t, size_t p, size_t end, size_t *next) {
  struct str rest = {(const char *)t, end};
  *next = p;
  return utf8_decode(rest, next);
}

/* Class of the character at p < end, and where the next one begins. */
ALWAYS_INLINE unsigned pre_class(const uint8_t *t, size_t p, size_t end, size_t *next) {
  unsigned bits = pre_ascii[t[p]];
  if (bits) {
    *next = p + 1;
    return bits;
  }
  return pre_class_of(pre_code(t, p, end, next));
}

ALWAYS_INLINE bool pre_is(const uint8_t *t, size_t p, size_t end, unsigned mask) {
  size_t next;
  return p < end && (pre_class(t, p, end, &next) & mask) != 0;
}

/* The end of the run of characters whose class is (or, with `not`, is not) in the mask. */
ALWAYS_INLINE size_t pre_run(const uint8_t *t, size_t p, size_t end, unsigned mask) {
  size_t next;
  while (p < end && (pre_class(t, p, end, &next) & mask)) p = next;
  return p;
}

ALWAYS_INLINE size_t pre_run_not(const uint8_t *t, size_t p, size_t end, unsigned mask) {
  size_t next;
  while (p < end && !(pre_class(t, p, end, &next) & mask)) p = next;
  return p;
}

static size_t pre_breaks(const uint8_t *t, size_t p, size_t end, size_t most) { // [\r\n]{0,most}
  if (most < end - p) end = p + most;
  while (p < end && (t[p] == '\r' || t[p] == '\n')) p++;
  return p;
}

/* ---- the parts that most expressions share ---- */

/* 's 't 're 've 'm 'll 'd; the end, or p if there is none. */
static size_t pre_contraction(const uint8_t *t, size_t p, size_t end, bool any_case) {
  if (t[p] != '\'' || end - p < 2) return p;
  uint8_t fold = any_case ? 0x20 : 0, a = t[p + 1] | fold, b = end - p > 2 ? t[p + 2] | fold : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
  if (any_case && t[p + 1] == 0xC5 && end - p > 2 && t[p + 2] == 0xBF) return p + 3; // U+017F folds to s
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 3;
  return p;
}

/* \s+(?!\S)|\s+ : a run of white space without its last character, unless that is all or the text ends.
 * With `breaks` first \s*[\r\n]+ : up to and with the last line break of the run. */
ALWAYS_INLINE size_t pre_white(const uint8_t *t, size_t p, size_t end, bool breaks) {
  size_t start = p, last = p, after_break = 0, next;
  while (p < end) {
    unsigned bits = pre_class(t, p, end, &next);
    if (!(bits & PRE_W)) break;
    if (bits & PRE_B) after_break = next;
    last = p;
    p = next;
  }
  if (breaks && after_break) return after_break;
  return p == end || last == start ? p : last;
}

/* gpt-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t pre_gpt2(const uint8_t *t, size_t p, size_t end) {
  size_t next, q = p + (t[p] == ' ' && end - p > 1), after = pre_contraction(t, p, end, false);
  if (after > p) return after;
  unsigned bits = pre_class(t, q, end, &next);
  if (bits & PRE_L) return pre_run(t, next, end, PRE_L);
  if (bits & PRE_N) return pre_run(t, next, end, PRE_N);
  if (!(bits & PRE_W)) return pre_run_not(t, next, end, PRE_W | PRE_L | PRE_N);
  return pre_white(t, p, end, false);
}

struct pre_words { // what differs between the descendants of cl100k
  bool contractions;  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|
  unsigned letters;   // classes of [^\r\n\p{L}\p{N}]?letters+
  int digits;         // \p{N}{1,digits}; 0: \p{N}+
  size_t tail;        // ... of other characters: ` ?[^\s\p{L}\p{N}]+[\r\n]{0,tail}`
};

/* llama-bpe: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
 * |\s+(?!\S)|\s+ and its relatives. */
ALWAYS_INLINE size_t pre_words(const uint8_t *t, size_t p, size_t end, struct pre_words o) {
  size_t next, after;
  if (o.contractions && (after = pre_contraction(t, p, end, true)) > p) return after;
  unsigned bits = pre_class(t, p, end, &next);
  if (bits & o.letters) return pre_run(t, next, end, o.letters);
  if (!(bits & (PRE_B | PRE_N)) && pre_is(t, next, end, o.letters)) return pre_run(t, next, end, o.letters);
  if (bits & PRE_N) {
    for (int n = 1; (o.digits == 0 || n < o.digits) && pre_is(t, next, end, PRE_N); n++) pre_class(t, next, end, &next);
    return next;
  }
  if (t[p] == ' ' && next < end) bits = pre_class(t, p + 1, end, &next);
  if (bits & (PRE_W | PRE_N | o.letters)) return pre_white(t, p, end, true);
  next = pre_run_not(t, next, end, PRE_W | PRE_N | o.letters);
  return pre_breaks(t, next, end, o.tail);
}

static size_t pre_llama3(const uint8_t *t, size_t p, size_t end) {
  return pre_words(t, p, end, (struct pre_words){true, PRE_L, 3, SIZE_MAX});
}
static size_t pre_qwen2(const uint8_t *t, size_t p, size_t end) {
  return pre_words(t, p, end, (struct pre_words){true, PRE_L, 1, SIZE_MAX});
}
static size_t pre_qwen35(const uint8_t *t, size_t p, size_t end) {
  return pre_words(t, p, end, (struct pre_words){true, PRE_L | PRE_M, 1, SIZE_MAX});
}
SMALL size_t pre_ufakzeka(const uint8_t *t, size_t p, size_t end) {
  return pre_words(t, p, end, (struct pre_words){false, PRE_L, 1, SIZE_MAX});
}
SMALL size_t pre_minicpm5(const uint8_t *t, size_t p, size_t end) {
  return pre_words(t, p, end, (struct pre_words){true, PRE_L, 0, SIZE_MAX});
}
SMALL size_t pre_seed_coder(const uint8_t *t, size_t p, size_t end) { // no [\r\n]* behind other characters
  return pre_words(t, p, end, (struct pre_words){true, PRE_L, 1, 0});
}

/* exaone-moe: words with single spaces between stay together, (?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+, and one line break at most
 * belongs to the characters before. */
SMALL size_t pre_exaone_moe(const uint8_t *t, size_t p, size_t end) {
  size_t next, after = pre_contraction(t, p, end, true);
  if (after > p) return after;
  unsigned bits = pre_class(t, p, end, &next);
  if (!(bits & (PRE_B | PRE_N | PRE_L)) && pre_is(t, next, end, PRE_L)) after = next; // what may come before the letters
  if (!pre_is(t, after, end, PRE_L)) return pre_words(t, p, end, (struct pre_words){false, PRE_L, 1, 1});
  while (pre_is(t, after, end, PRE_L)) {
    after = pre_run(t, after, end, PRE_L);
    after = pre_run(t, after, end, PRE_M);
    if (after < end && t[after] == ' ' && pre_is(t, after + 1, end, PRE_L)) after++;
  }
  return after;
}

/* jais-2: llama-bpe, but of the white space that it takes only 512, 256 .. 2 or 1 characters at once. */
SMALL size_t pre_jais2(const uint8_t *t, size_t p, size_t end) {
  size_t stop = pre_llama3(t, p, end), q = p, next;
  unsigned n = 0, all = PRE_W;
  while (q < stop && (all & PRE_W)) {
    all = pre_class(t, q, end, &next);
    q = next;
    n++;
  }
  if (!(all & PRE_W) || (all & PRE_B)) return stop; // the last one tells which part of the expression it was
  for (all = 512; all > n;) all /= 2;
  for (q = p; all > 0; all--, q = next) pre_class(t, q, end, &next);
  return q;
}

/* ---- words with an upper and a lower part: tekken, gpt-4o ---- */

static bool pre_in(uint32_t code, const uint32_t ranges[][2], int n) { // sorted, disjoint
  int lo = 0, hi = n;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (code > ranges[mid][1]) lo = mid + 1;
    else hi = mid;
  }
  return lo < n && code >= ranges[lo][0];
}

static const uint32_t pre_han[][2] = { // the script Han
  {0x2E80, 0x2E99}, {0x2E9B, 0x2EF3}, {0x2F00, 0x2FD5}, {0x3005, 0x3005}, {0x3007, 0x3007}, {0x3021, 0x3029}, {0x3038, 0x303B},
  {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFA6D}, {0xFA70, 0xFAD9}, {0x16FE2, 0x16FE3}, {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF},
  {0x2A700, 0x2B739}, {0x2B740, 0x2B81D}, {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
  {0x30000, 0x3134A}, {0x31350, 0x323AF}};

static bool pre_is_han(uint32_t code) { return code >= 0x2E80 && pre_in(code, pre_han, ARRAY_LEN(pre_han)); }

/* The class of a character; with `han`, ideographs are in no part of a word. */
ALWAYS_INLINE unsigned pre_case(const uint8_t *t, size_t p, size_t end, size_t *next, bool han) {
  unsigned bits = pre_class(t, p, end, next);
  return han && t[p] >= 0x80 && pre_is_han(pre_code(t, p, end, next)) ? bits & ~(unsigned)(PRE_UPPER | PRE_LOWER) : bits;
}

ALWAYS_INLINE size_t pre_case_run(const uint8_t *t, size_t p, size_t end, unsigned mask, bool han) {
  size_t next;
  while (p < end && (pre_case(t, p, end, &next, han) & mask)) p = next;
  return p;
}

/* upper*lower+ from p: its end, or p. `upper*` takes all it can; if no lower follows it gives back up to the last
 * character that may be both. */
ALWAYS_INLINE size_t pre_upper_lower(const uint8_t *t, size_t p, size_t end, bool han) {
  size_t next, both_end = p, q = p;
  for (; q < end; q = next) {
    unsigned bits = pre_case(t, q, end, &next, han);
    if (!(bits & PRE_UPPER)) break;
    if (bits & PRE_LOWER) both_end = next;
  }
  size_t lower_end = pre_case_run(t, q, end, PRE_LOWER, han);
  return lower_end > q ? lower_end : both_end;
}

/* [^\r\n\p{L}\p{N}]?upper*lower+|[^\r\n\p{L}\p{N}]?upper+lower* : its end, or p. */
ALWAYS_INLINE size_t pre_cased(const uint8_t *t, size_t p, size_t end, bool han) {
  size_t first, next;
  bool prefix = !(pre_class(t, p, end, &first) & (PRE_B | PRE_L | PRE_N));
  if (prefix && (next = pre_upper_lower(t, first, end, han)) > first) return next;
  if ((next = pre_upper_lower(t, p, end, han)) > p) return next;
  if (prefix && (next = pre_case_run(t, first, end, PRE_UPPER, han)) > first) return pre_case_run(t, next, end, PRE_LOWER, han);
  if ((next = pre_case_run(t, p, end, PRE_UPPER, han)) > p) return pre_case_run(t, next, end, PRE_LOWER, han);
  return p;
}

struct pre_cases { // what differs between them
  bool contractions;
  int digits;  // \p{N}{1,digits}
  bool slash;  // the tail of other characters is [\r\n/]*, else [\r\n]*
  bool han;    // ideographs are words of their own: \p{Han}+ comes first
};

/* gpt-4o: cased words with an optional contraction|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * tekken: the same without contractions and with single digits. */
ALWAYS_INLINE size_t pre_cased_words(const uint8_t *t, size_t p, size_t end, struct pre_cases o) {
  size_t next = p, after;
  while (o.han && next < end && t[next] >= 0x80 && pre_is_han(pre_code(t, next, end, &after))) next = after;
  if (next > p) return next;
  next = pre_cased(t, p, end, o.han);
  if (next > p) return o.contractions && next < end ? pre_contraction(t, next, end, true) : next;
  unsigned bits = pre_class(t, p, end, &next);
  if (bits & PRE_N) {
    for (int n = 1; n < o.digits && pre_is(t, next, end, PRE_N); n++) pre_class(t, next, end, &next);
    return next;
  }
  if (t[p] == ' ' && next < end) bits = pre_class(t, p + 1, end, &next);
  if (bits & (PRE_W | PRE_L | PRE_N)) return pre_white(t, p, end, true);
  next = pre_run_not(t, next, end, PRE_W | PRE_L | PRE_N);
  while (next < end && (t[next] == '\r' || t[next] == '\n' || (o.slash && t[next] == '/'))) next++;
  return next;
}

static size_t pre_tekken(const uint8_t *t, size_t p, size_t end) {
  return pre_cased_words(t, p, end, (struct pre_cases){false, 1, true, false});
}
static size_t pre_gpt4o(const uint8_t *t, size_t p, size_t end) {
  return pre_cased_words(t, p, end, (struct pre_cases){true, 3, true, false});
}
SMALL size_t pre_youtu(const uint8_t *t, size_t p, size_t end) {
  return pre_cased_words(t, p, end, (struct pre_cases){true, 1, true, false});
}
SMALL size_t pre_kimi(const uint8_t *t, size_t p, size_t end) {
  return pre_cased_words(t, p, end, (struct pre_cases){true, 3, false, true});
}

/* ---- expressions that find something in a text and leave the rest between as it is ---- */

/* The next piece of (mask)+ : a run inside the mask or a run outside. */
ALWAYS_INLINE size_t pre_either(const uint8_t *t, size_t p, size_t end, unsigned mask) {
  return pre_is(t, p, end, mask) ? pre_run(t, p, end, mask) : pre_run_not(t, p, end, mask);
}

/* The next piece of (mask){1,most}. */
ALWAYS_INLINE size_t pre_few(const uint8_t *t, size_t p, size_t end, unsigned mask, int most) {
  size_t next;
  if (!(pre_class(t, p, end, &next) & mask)) return pre_run_not(t, next, end, mask);
  for (int n = 1; n < most && pre_is(t, next, end, mask); n++) pre_class(t, next, end, &next);
  return next;
}

/* \p{N}, \p{N}{1,3}, \p{N}+, [\r\n] */
static size_t pre_digit(const uint8_t *t, size_t p, size_t end) { return pre_few(t, p, end, PRE_N, 1); }
static size_t pre_digits3(const uint8_t *t, size_t p, size_t end) { return pre_few(t, p, end, PRE_N, 3); }
static size_t pre_number(const uint8_t *t, size_t p, size_t end) { return pre_either(t, p, end, PRE_N); }
static size_t pre_break(const uint8_t *t, size_t p, size_t end) { return pre_few(t, p, end, PRE_B, 1); }

static size_t pre_lines(const uint8_t *t, size_t p, size_t end) { // [^\n]+|[\n]+
  bool breaks = t[p] == '\n';
  while (p < end && (t[p] == '\n') == breaks) p++;
  return p;
}

static bool pre_three(const uint8_t *t, size_t p, size_t end) {
  return end - p >= 3 && (uint8_t)(t[p] - '0') < 10 && (uint8_t)(t[p + 1] - '0') < 10 && (uint8_t)(t[p + 2] - '0') < 10;
}

static size_t pre_ascii3(const uint8_t *t, size_t p, size_t end) { // [0-9][0-9][0-9]
  if (pre_three(t, p, end)) return p + 3;
  while (p < end && !pre_three(t, p, end)) p++;
  return p;
}

/* [\p{P}$+<=>^~|`]+, the last one only for falcon */
ALWAYS_INLINE size_t pre_signs(const uint8_t *t, size_t p, size_t end, const char *more) {
  size_t next, start = p;
  bool inside = false;
  for (; p < end; p = next) {
    bool sign = (pre_class(t, p, end, &next) & PRE_P) || (t[p] && t[p] < 0x80 && strchr(more, t[p]));
    if (p == start) inside = sign;
    if (sign != inside) break;
  }
  return p;
}
static size_t pre_falcon(const uint8_t *t, size_t p, size_t end) { return pre_signs(t, p, end, "$+<=>^~|`"); }
static size_t pre_default(const uint8_t *t, size_t p, size_t end) { return pre_signs(t, p, end, "$+<=>^~|"); }

/* [ranges]+ */
static size_t pre_in_run(const uint8_t *t, size_t p, size_t end, const uint32_t ranges[][2], int n) {
  size_t next, start = p;
  bool inside = false;
  for (; p < end; p = next) {
    uint32_t code = pre_code(t, p, end, &next);
    bool in = code != UTF8_BAD && pre_in(code, ranges, n);
    if (p == start) inside = in;
    if (in != inside) break;
  }
  return p;
}

/* \s?(set)+ where `in` tells the set: the next match, or what lies before it. White space counts as no member. */
static size_t pre_spaced(const uint8_t *t, size_t p, size_t end, bool (*in)(uint32_t code, unsigned bits)) {
  size_t start = p, next, after, q;
  for (; p < end; p = next) {
    uint32_t code = pre_code(t, p, end, &next);
    unsigned bits = pre_class_of(code);
    if ((bits & PRE_W) && next < end) {
      code = pre_code(t, next, end, &after);
      bits = pre_class_of(code);
      if (!in(code, bits)) continue;
    } else if (in(code, bits)) {
      after = next;
    } else {
      continue;
    }
    if (p > start) return p;
    for (q = after; q < end; q = after) {
      code = pre_code(t, q, end, &after);
      if (!in(code, pre_class_of(code))) break;
    }
    return q;
  }
  return end;
}

static bool pre_is_letter(uint32_t code, unsigned bits) { return code != UTF8_BAD && (bits & PRE_L) != 0; }
static bool pre_is_punctuation(uint32_t code, unsigned bits) { return code != UTF8_BAD && (bits & PRE_P) != 0; }
static size_t pre_spaced_letters(const uint8_t *t, size_t p, size_t end) {
  return pre_spaced(t, p, end, pre_is_letter);
}
static size_t pre_spaced_signs(const uint8_t *t, size_t p, size_t end) {
  return pre_spaced(t, p, end, pre_is_punctuation);
}

/* ---- deepseek ---- */

static const uint32_t pre_deepseek_letters[][2] = { // of deepseek-llm's second expression
  {0x41, 0x5A}, {0x61, 0x7A}, {0xB5, 0xB5}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x1BA}, {0x1BC, 0x1BF}, {0x1C4, 0x293},
  {0x295, 0x2AF}, {0x370, 0x373}, {0x376, 0x377}, {0x37B, 0x37D}, {0x37F, 0x37F}, {0x386, 0x386}, {0x388, 0x38A},
  {0x38C, 0x38C}, {0x38E, 0x3A1}, {0x3A3, 0x3F5}, {0x3F7, 0x481}, {0x48A, 0x52F}, {0x531, 0x556}, {0x10A0, 0x10C5},
  {0x13A0, 0x13F5}, {0x13F8, 0x13FD}, {0x1C90, 0x1CBA}, {0x1CBD, 0x1CBF}, {0x1D00, 0x1D2B}, {0x1D6B, 0x1D77},
  {0x1D79, 0x1D9A}, {0x1E00, 0x1F15}, {0x1F18, 0x1F1D}, {0x1F20, 0x1F45}, {0x1F48, 0x1F4D}, {0x1F50, 0x1F57},
  {0x1F59, 0x1F59}, {0x1F5B, 0x1F5B}, {0x1F5D, 0x1F5D}, {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4}, {0x1FB6, 0x1FBC},
  {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4}, {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3}, {0x1FD6, 0x1FDB}, {0x1FE0, 0x1FEC},
  {0x1FF2, 0x1FF4}, {0x1FF6, 0x1FFC}, {0x2102, 0x2102}, {0x2107, 0x2107}, {0x210A, 0x2113}, {0x2115, 0x2115},
  {0x2119, 0x211D}, {0x2124, 0x2124}, {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212A, 0x212D}, {0x212F, 0x2134},
  {0x2139, 0x2139}, {0x213C, 0x213F}, {0x2145, 0x2149}, {0x214E, 0x214E}, {0x2183, 0x2184}, {0x2C00, 0x2C7B},
  {0x2C7E, 0x2CE4}, {0x2CEB, 0x2CEE}, {0x2CF2, 0x2CF3}, {0xA640, 0xA66D}, {0xA680, 0xA69B}, {0xA722, 0xA76F},
  {0xA771, 0xA787}, {0xA78B, 0xA78E}, {0xAB70, 0xABBF}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17}, {0xFF21, 0xFF3A},
  {0xFF41, 0xFF5A}, {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
  {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};
static const uint32_t pre_deepseek_signs[][2] = { // [!-/:-~！-／：-～‘-‟　-。], but U+3000 is white space
  {0x21, 0x2F}, {0x3A, 0x7E}, {0x2018, 0x201F}, {0x3001, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
static const uint32_t pre_deepseek_cjk[][2] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};  // [一-龥ࠀ-一가-퟿]
static const uint32_t pre_deepseek3_cjk[][2] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}}; // [一-龥぀-ゟ゠-ヿ]

static bool pre_is_deepseek_letter(uint32_t code, unsigned bits) {
  (void)bits;
  return code != UTF8_BAD && pre_in(code, pre_deepseek_letters, ARRAY_LEN(pre_deepseek_letters));
}
static bool pre_is_deepseek_sign(uint32_t code, unsigned bits) {
  (void)bits;
  return code != UTF8_BAD && pre_in(code, pre_deepseek_signs, ARRAY_LEN(pre_deepseek_signs));
}
static size_t pre_deepseek_words(const uint8_t *t, size_t p, size_t end) {
  return pre_spaced(t, p, end, pre_is_deepseek_letter);
}
static size_t pre_deepseek_punct(const uint8_t *t, size_t p, size_t end) {
  return pre_spaced(t, p, end, pre_is_deepseek_sign);
}
/* White space was replaced by \v before the original sees it, so it is not in these ranges (U+1680, U+2000, U+3000). */
static size_t pre_deepseek_asian(const uint8_t *t, size_t p, size_t end) {
  size_t next, start = p;
  bool inside = false;
  for (; p < end; p = next) {
    uint32_t code = pre_code(t, p, end, &next);
    bool in = code != UTF8_BAD && !(pre_class_of(code) & PRE_W) &&
              pre_in(code, pre_deepseek_cjk, ARRAY_LEN(pre_deepseek_cjk));
    if (p == start) inside = in;
    if (in != inside) break;
  }
  return p;
}
static size_t pre_deepseek3_asian(const uint8_t *t, size_t p, size_t end) {
  return pre_in_run(t, p, end, pre_deepseek3_cjk, ARRAY_LEN(pre_deepseek3_cjk));
}

static const uint32_t pre_afmoe_asian[][2] = { // what begins with U+8C48 may have been meant to begin with U+F900, which is the same sign
  {0xE40, 0xEFF}, {0x1000, 0x109F}, {0x1100, 0x11FF}, {0x1780, 0x17FF}, {0x2F00, 0x2FDF}, {0x3040, 0x30FF}, {0x3400, 0x4DBF},
  {0x4E00, 0xFAFF}, {0xFF65, 0xFF9F}};
static const uint32_t pre_youtu_scripts[][3] = {
  // [가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+
  {0x2014, 0x2014, 2}, {0x2018, 0x2019, 2}, {0x201C, 0x201D, 2}, {0x2026, 0x2026, 2}, {0x3001, 0x303F, 2}, {0x3040, 0x30FF, 4},
  {0x3105, 0x312F, 3}, {0x3131, 0x318E, 1}, {0x4E00, 0x9FA5, 4}, {0xAC00, 0xD7A3, 1}, {0xFE30, 0xFE4F, 2}, {0xFF01, 0xFF01, 2},
  {0xFF0C, 0xFF0C, 2}, {0xFF1A, 0xFF1B, 2}};

static size_t pre_afmoe_scripts(const uint8_t *t, size_t p, size_t end) {
  return pre_in_run(t, p, end, pre_afmoe_asian, ARRAY_LEN(pre_afmoe_asian));
}

SMALL size_t pre_scripts(const uint8_t *t, size_t p, size_t end) { // a run of one of the four, or of none
  size_t next;
  for (uint32_t run = UINT32_MAX; p < end; p = next) {
    uint32_t code = pre_code(t, p, end, &next), script = 0;
    for (int i = 0; code >= 0x2014 && i < ARRAY_LEN(pre_youtu_scripts) && pre_youtu_scripts[i][0] <= code; i++)
      script = code <= pre_youtu_scripts[i][1] ? pre_youtu_scripts[i][2] : 0;
    if (run == UINT32_MAX) run = script;
    if (script != run) break;
  }
  return p;
}

static size_t pre_trailing(const uint8_t *t, size_t p, size_t end) { // \s+$
  size_t next, start = p, white = end;
  for (; p < end; p = next) {
    if (!(pre_class(t, p, end, &next) & PRE_W)) white = end;
    else if (white == end) white = p;
  }
  return white == start ? end : white;
}

/* One match of deepseek-v3's last expression at p, or p:
 * [!-/:-@[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * spark: without [\r\n]*, and [\r\n] for \s*[\r\n]+. */
ALWAYS_INLINE size_t pre_deepseek3_any(const uint8_t *t, size_t p, size_t end, bool breaks) {
  size_t next, q = p + 1;
  unsigned bits = pre_class(t, p, end, &next);
  if (t[p] < 0x80 && (bits & (PRE_P | PRE_S))) {
    while (q < end && t[q] < 0x80 && (pre_ascii[t[q]] & PRE_L)) q++;
    if (q > p + 1) return q;
  }
  if (bits & (PRE_L | PRE_M)) return pre_run(t, next, end, PRE_L | PRE_M);
  if (!(bits & (PRE_B | PRE_P | PRE_S)) && pre_is(t, next, end, PRE_L | PRE_M))
    return pre_run(t, next, end, PRE_L | PRE_M);
  q = p + (t[p] == ' ' && next < end);
  if (pre_is(t, q, end, PRE_P | PRE_S)) return pre_breaks(t, pre_run(t, q, end, PRE_P | PRE_S), end, breaks ? SIZE_MAX : 0);
  if (!breaks && (bits & PRE_B)) return next;
  return bits & PRE_W ? pre_white(t, p, end, breaks) : p;
}

/* The match that begins here; where none does (at a number, a control character), the gap to the next one. */
static size_t pre_gap(const uint8_t *t, size_t p, size_t end, size_t (*match)(const uint8_t *t, size_t p, size_t end)) {
  size_t next = match(t, p, end);
  if (next > p) return next;
  do pre_class(t, p, end, &p);
  while (p < end && match(t, p, end) == p);
  return p;
}

static size_t pre_deepseek3_match(const uint8_t *t, size_t p, size_t end) { return pre_deepseek3_any(t, p, end, true); }
static size_t pre_deepseek3(const uint8_t *t, size_t p, size_t end) { return pre_gap(t, p, end, pre_deepseek3_match); }
SMALL size_t pre_spark_match(const uint8_t *t, size_t p, size_t end) { return pre_deepseek3_any(t, p, end, false); }
static size_t pre_spark(const uint8_t *t, size_t p, size_t end) { return pre_gap(t, p, end, pre_spark_match); }

/* ---- chameleon ---- */

static bool pre_at(const uint8_t *t, size_t p, size_t end, struct str what) {
  return end - p >= what.len && memcmp(t + p, what.ptr, what.len) == 0;
}

SMALL size_t pre_sentinel_match(const uint8_t *t, size_t p, size_t end) { // <sentinel:[0-9]+>
  size_t q = p + 10, digits = q;
  if (!pre_at(t, p, end, STR("<sentinel:"))) return p;
  while (q < end && (uint8_t)(t[q] - '0') < 10) q++;
  return q > digits && q < end && t[q] == '>' ? q + 1 : p;
}
SMALL size_t pre_image_match(const uint8_t *t, size_t p, size_t end) { // IMGIMG[A-I]{1,4}Z
  size_t q = p + 6;
  if (!pre_at(t, p, end, STR("IMGIMG"))) return p;
  while (q < end && q < p + 10 && t[q] >= 'A' && t[q] <= 'I') q++;
  return q > p + 6 && q < end && t[q] == 'Z' ? q + 1 : p;
}
SMALL size_t pre_blanks_match(const uint8_t *t, size_t p, size_t end) { // [\t\n]|    |  |
  if (t[p] == '\t' || t[p] == '\n') return p + 1;
  return p + (pre_at(t, p, end, STR("    ")) ? 4 : pre_at(t, p, end, STR("  ")) ? 2 : 0);
}
SMALL size_t pre_sign_match(const uint8_t *t, size_t p, size_t end) { // [\p{P}!-/:-@\[-`{-~]
  size_t next;
  unsigned bits = pre_class(t, p, end, &next);
  return (bits & PRE_P) || (t[p] < 0x80 && (bits & PRE_S)) ? next : p;
}
static size_t pre_sentinel(const uint8_t *t, size_t p, size_t end) { return pre_gap(t, p, end, pre_sentinel_match); }
static size_t pre_image(const uint8_t *t, size_t p, size_t end) { return pre_gap(t, p, end, pre_image_match); }
static size_t pre_blanks(const uint8_t *t, size_t p, size_t end) { return pre_gap(t, p, end, pre_blanks_match); }
static size_t pre_sign(const uint8_t *t, size_t p, size_t end) { return pre_gap(t, p, end, pre_sign_match); }

/* ---- digits in threes, counted from the right ---- */

static const uint32_t pre_zeros[] = { // decimal digits are ten in a row each
  0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20, 0x1040, 0x1090,
  0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50,
  0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0,
  0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140,
  0x1E2F0, 0x1E4F0, 0x1E950, 0x1FBF0};

static bool pre_is_number(uint32_t code, unsigned bits) { return code != UTF8_BAD && (bits & PRE_N) != 0; }
SMALL bool pre_is_digit(uint32_t code, unsigned bits) {
  int i = 0;
  if (code == UTF8_BAD || !(bits & PRE_N)) return false;
  while (i + 1 < ARRAY_LEN(pre_zeros) && pre_zeros[i + 1] <= code) i++;
  return code - pre_zeros[i] < 10;
}

static bool pre_digit_at(const uint8_t *t, size_t p, size_t end, size_t *next, bool (*in)(uint32_t code, unsigned bits)) {
  if (p >= end) return false;
  uint32_t code = pre_code(t, p, end, next);
  return in(code, pre_class_of(code));
}

SMALL bool pre_digit_before(const uint8_t *t, size_t p, bool (*in)(uint32_t code, unsigned bits)) {
  size_t q = p, next = 0;
  if (p == 0) return false;
  do q--;
  while (q > 0 && p - q < 4 && (t[q] & 0xC0) == 0x80);
  return pre_digit_at(t, q, p, &next, in) && next == p;
}

/* From p, where a digit is: behind the first of its groups. A run that begins here is counted; one that is cut before p,
 * where whole groups remain, is not, so the work is linear. *stop: the end of the run if it was counted, else 0. */
SMALL size_t pre_group(const uint8_t *t, size_t p, size_t end, size_t *stop, bool (*in)(uint32_t code, unsigned bits)) {
  size_t n = 3, next, q = p;
  *stop = 0;
  if (!pre_digit_before(t, p, in)) {
    for (n = 0; pre_digit_at(t, q, end, &next, in); q = next) n++;
    *stop = q;
    n = n % 3 ? n % 3 : 3;
  }
  for (q = p; n > 0; n--, q = next) pre_digit_at(t, q, end, &next, in);
  return q;
}

SMALL size_t pre_thirds(const uint8_t *t, size_t p, size_t end) { // afmoe: numbers in threes; the rest as it is
  size_t next;
  if (pre_digit_at(t, p, end, &next, pre_is_number)) return pre_group(t, p, end, &next, pre_is_number);
  return pre_run_not(t, p, end, PRE_N);
}

SMALL bool pre_in_word(const uint8_t *t, size_t p, size_t end) { // \w
  size_t next;
  if (p >= end) return false;
  uint32_t code = pre_code(t, p, end, &next);
  return code == '_' || (code >= 0x24B6 && code <= 0x24E9) || code == 0x203F || code == 0x2040 || code == 0x2054 || code == 0xFE33 ||
         code == 0xFE34 || (code >= 0xFE4D && code <= 0xFE4F) || code == 0xFF3F || (pre_class_of(code) & (PRE_L | PRE_M | PRE_N));
}

/* tiny_aya: \d{1,3}(?=(?:\d{3})*\b) : digits in threes, but those that run into a word stay in the gap. */
SMALL size_t pre_thirds_alone(const uint8_t *t, size_t p, size_t end) {
  size_t start = p, next, stop;
  while (p < end) {
    if (!pre_digit_at(t, p, end, &next, pre_is_digit)) {
      p = next;
      continue;
    }
    next = pre_group(t, p, end, &stop, pre_is_digit);
    if (stop == 0 || !pre_in_word(t, stop, end)) return p > start ? p : next;
    p = stop;
  }
  return end;
}

/* superbpe: (?=(\d{3})+(?!\d)) cuts where whole groups of three remain; also between other numbers and digits. */
SMALL size_t pre_thirds_cut(const uint8_t *t, size_t p, size_t end) {
  size_t start = p, next, q, stop;
  while (p < end) {
    if (!pre_digit_at(t, p, end, &next, pre_is_digit)) {
      p = next;
      continue;
    }
    q = pre_group(t, p, end, &stop, pre_is_digit);
    int n = 0;
    for (size_t at = p; at < q; n++, at = next) pre_digit_at(t, at, end, &next, pre_is_digit);
    if (p > start && n == 3) return p;
    if (pre_digit_at(t, q, end, &next, pre_is_digit)) return q;
    p = q;
  }
  return end;
}

/* bloom:  ?[^(\s|.,!?…。，、।۔،)]+ */
static bool pre_bloom_member(const uint8_t *t, size_t p, size_t end, size_t *next) {
  uint32_t code = pre_code(t, p, end, next);
  if (code < 0x80) return !(pre_ascii[code] & PRE_W) && !(code && strchr("(|.,!?)", (int)code));
  return !(pre_class_of(code) & PRE_W) && code != 0x2026 && code != 0x3002 && code != 0xFF0C && code != 0x3001 &&
         code != 0x964 && code != 0x6D4 && code != 0x60C;
}

SMALL size_t pre_bloom(const uint8_t *t, size_t p, size_t end) {
  size_t start = p, next, q;
  for (; p < end; p = next) {
    bool space = t[p] == ' ' && end - p > 1;
    if (!pre_bloom_member(t, p + space, end, &q)) {
      next = space ? p + 1 : q;
      continue;
    }
    if (p > start) return p;
    for (p = q; p < end && pre_bloom_member(t, p, end, &next);) p = next;
    return p;
  }
  return end;
}

/* ---- which model uses which ---- */

enum { PRE_IGNORE_MERGES = 1, PRE_ADD_BOS = 2, PRE_NO_BOS = 4, PRE_CHARS = 8, PRE_MASK_LSTRIP = 16 };

struct pre_kind {
  const char *names; // values of tokenizer.ggml.pre, between blanks
  size_t (*stage[7])(const uint8_t *t, size_t p, size_t end); // each cuts the pieces of the one before; ended by NULL
  int flags;
};

/* Names and what they stand for as in llama.cpp. Many are also names of architectures; here they name tokenizers. */
static const struct pre_kind pre_kinds[] = {
  {" default ", {pre_default, pre_gpt2, pre_number, pre_ascii3}, 0},
  {" gpt-2 phi-2 jina-es jina-de gigachat a.x-4.0 mellum modern-bert exaone4 mpt olmo jais trillion granite-docling"
   " jina-v1-en roberta-bpe ", {pre_gpt2}, 0},
  {" jina-v2-es jina-v2-de jina-v2-code ", {pre_gpt2}, PRE_MASK_LSTRIP},
  {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ", {pre_llama3},
   PRE_IGNORE_MERGES | PRE_ADD_BOS},
  {" dbrx smaug-bpe ", {pre_llama3}, 0},
  {" chatglm-bpe ", {pre_llama3}, PRE_NO_BOS},
  {" glm4 glm5 ", {pre_llama3}, PRE_NO_BOS | PRE_IGNORE_MERGES},
  {" jais-2 ", {pre_jais2}, 0},
  {" qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 bailingmoe bailingmoe2 llada-moe ",
   {pre_qwen2}, 0},
  {" qwen35 ", {pre_qwen35}, 0},
  {" laguna ", {pre_lines, pre_qwen2}, 0},
  {" ufakzeka ", {pre_ufakzeka}, 0},
  {" minicpm5 ", {pre_digits3, pre_minicpm5}, PRE_IGNORE_MERGES},
  {" seed-coder ", {pre_seed_coder}, 0},
  {" exaone-moe ", {pre_exaone_moe}, 0},
  {" starcoder refact command-r smollm codeshell exaone minerva-7b mellum2 ", {pre_digit, pre_gpt2}, 0},
  {" falcon ", {pre_falcon, pre_gpt2, pre_ascii3}, 0},
  {" deepseek-llm ",
   {pre_break, pre_deepseek_words, pre_deepseek_punct, pre_trailing, pre_deepseek_asian, pre_number}, 0},
  {" deepseek-coder ", {pre_break, pre_spaced_letters, pre_spaced_signs, pre_deepseek_asian, pre_digit}, 0},
  {" deepseek-v3 hunyuan-dense joyai-llm hy_v4 ", {pre_digits3, pre_deepseek3_asian, pre_deepseek3}, 0},
  {" spark2_5 ", {pre_digits3, pre_deepseek3_asian, pre_spark, pre_digit}, 0},
  {" afmoe ", {pre_thirds, pre_afmoe_scripts, pre_deepseek3}, 0},
  {" chameleon ", {pre_sentinel, pre_image, pre_blanks, pre_digit, pre_sign, pre_gpt2}, PRE_ADD_BOS},
  {" superbpe ", {pre_number, pre_thirds_cut}, 0},
  {" youtu ", {pre_scripts, pre_youtu}, PRE_IGNORE_MERGES},
  {" kimi-k2 ", {pre_kimi}, 0},
  {" tiny_aya cohere2moe ", {pre_thirds_alone, pre_gpt4o}, 0},
  {" tekken ", {pre_tekken}, PRE_IGNORE_MERGES | PRE_ADD_BOS},
  {" gpt-4o llama4 kanana2 talkie minimax-m2 ", {pre_gpt4o}, 0},
  {" granite-embed-multi-97m ", {pre_gpt4o}, PRE_IGNORE_MERGES},
  {" poro-chat bloom gpt3-finnish ", {pre_bloom}, 0},
  {" viking ", {pre_bloom, pre_digit}, 0},
  {" gemma4 granite-embed-multi-311m ", {pre_lines}, PRE_CHARS | PRE_ADD_BOS},
  {" sarvam-moe ", {pre_lines}, PRE_CHARS},
};

static const struct pre_kind *pre_find(struct str name) {
  if (str_find(name, STR(" "), 0) != SIZE_MAX) return NULL;
  for (int i = 0; i < ARRAY_LEN(pre_kinds); i++) {
    struct str names = str_from(pre_kinds[i].names);
    for (size_t at = 0; name.len && (at = str_find(names, name, at)) != SIZE_MAX; at++)
      if (names.ptr[at - 1] == ' ' && names.ptr[at + name.len] == ' ') return &pre_kinds[i];
  }
  return NULL;
}

struct pre_walk { // a position in every stage
  const struct pre_kind *kind;
  const uint8_t *t;
  size_t at, end[8]; // end[0] is that of the text, end[i] that of the piece of stage i - 1 which stage i cuts
  int level;
};

static struct pre_walk pre_start(const struct pre_kind *kind, struct str text) {
  return (struct pre_walk){kind, (const uint8_t *)text.ptr, 0, {text.len}, 0};
}

/* The next word: false at the end. */
static bool pre_next(struct pre_walk *w, size_t *beg, size_t *end) {
  while (w->level > 0 && w->at == w->end[w->level]) w->level--;
  if (w->at == w->end[w->level]) return false;
  for (;; w->level++) {
    size_t piece = w->kind->stage[w->level](w->t, w->at, w->end[w->level]);
    if (!w->kind->stage[w->level + 1]) {
      *beg = w->at;
      *end = w->at = piece;
      return true;
    }
    w->end[w->level + 1] = piece;
  }
}
