/* chat.c -- chat templates: messages in, a prompt out, every byte of which knows whether the template or the user
 * wrote it.
 *
 * This file holds the types and the lexer. chat_parse.c compiles, once, into nodes in the arena given; chat_value.c
 * has values and text, chat_string.c, chat_call.c and chat_filter.c what can be called, chat_run.c the interpreter,
 * chat_builtin.c templates for files that have none. The language is Jinja as transformers sets it up: trim_blocks,
 * lstrip_blocks, loop controls, no escaping, and an immutable world but for namespaces and a list's own append and pop.
 * A template is hostile input: nesting, steps, memory and output are bounded, when it is compiled and when it runs.
 * SPDX-License-Identifier: MIT */
#include "base.h"

#define CHAT_NESTING 64   // of expressions and blocks in the source
#define CHAT_MACROS 64    // of macro calls when it runs
#define CHAT_DEPTH 500    // of the interpreter's own calls; one takes less than 1 KiB of stack
#define CHAT_STEPS 1000000 // evaluated nodes, and bytes copied, sixteen to a step
#define CHAT_SOURCE_MAX (4u << 20)
#define CHAT_BUCKETS 256

/* ---- what is rendered, and what comes out ---- */

struct chat_input {
  // tools and kwargs may be NULL; members of kwargs extend and override the rest
  const struct json *messages, *tools, *kwargs;
  struct str bos_token, eos_token;              // ptr NULL: undefined, as for a vocabulary without one
  struct str now;                               // what strftime_now sees, 2026-01-15T12:34:56
  bool add_generation_prompt;                   // unless kwargs say otherwise
};

struct chat_prompt {
  struct str text;
  const struct token_span *spans; // (n_spans) in order, covering the text; neighbours differ in origin
  int n_spans;
};

/* ---- values ---- */

enum chat_kind {
  CHAT_ABSENT, // no value at all: an argument that was not given
  CHAT_UNDEFINED, CHAT_NONE, CHAT_BOOL, CHAT_INT, CHAT_FLOAT, CHAT_STRING, CHAT_LIST, CHAT_DICT, CHAT_NAMESPACE,
      CHAT_LOOP,
  CHAT_MACRO, CHAT_METHOD, CHAT_JOINER, CHAT_CYCLER
};

enum chat_list_kind { CHAT_PLAIN, CHAT_TUPLE, CHAT_RANGE, CHAT_ITEMS, CHAT_KEYS, CHAT_VALUES, CHAT_GENERATOR };

/* Where a string came from: `marks` has one byte per byte, 1 for the user's, or is NULL and `user` speaks for all of
 * it. For other values `user` is what their printed form will be. */
struct chat_value {
  uint8_t kind; // enum chat_kind
  bool user;
  bool safe;    // a string that went through |safe or |escape
  size_t len;   // bytes of a string; of the spelling of a whole number beyond int64 (a CHAT_FLOAT)
  const uint8_t *marks;
  union {
    bool boolean;
    int64_t integer;
    double number;
    const char *ptr; // a string; the name of what is undefined
    struct chat_list *list;
    struct chat_dict *dict;
    struct chat_loop *loop;
    struct chat_macro *macro;
    struct chat_method *method;
    struct chat_cycle *cycle;
  } u;
  const char *spelling; // of a whole number beyond int64, else NULL
};

struct chat_list {
  uint8_t kind; // enum chat_list_kind
  bool user;    // its brackets, when printed
  int count, cap;
  int taken;    // of a generator: items already consumed
  struct chat_value *items;
};

struct chat_pair {
  struct chat_value key, value;
};

struct chat_dict {
  bool user;
  int count, cap;
  struct chat_pair *pairs; // in the order of insertion
};

/* ---- the compiled template ---- */

enum chat_op {
  /* expressions */
  CHAT_CONST, CHAT_NAME, CHAT_MAKE_LIST, CHAT_MAKE_TUPLE, CHAT_MAKE_DICT, CHAT_COND, CHAT_OR, CHAT_AND, CHAT_NOT,
      CHAT_NEGATE,
  CHAT_POSITIVE, CHAT_COMPARE, CHAT_FOLD, CHAT_CONCAT, CHAT_POSTFIX,
  /* steps of CHAT_POSTFIX */
  CHAT_ATTRIBUTE, CHAT_ITEM, CHAT_SLICE, CHAT_CALL, CHAT_FILTER, CHAT_TEST,
  /* statements */
  CHAT_TEXT, CHAT_PRINT, CHAT_IF, CHAT_FOR, CHAT_SET, CHAT_CAPTURE, CHAT_MACRO_DEF, CHAT_CALL_BLOCK, CHAT_FILTER_BLOCK,
  CHAT_WITH, CHAT_GENERATION, CHAT_BREAK, CHAT_CONTINUE,
  /* assignment targets besides CHAT_NAME and CHAT_MAKE_TUPLE */
  CHAT_NAMESPACE_ATTRIBUTE
};

struct chat_name {
  struct str text;
  struct chat_name *next; // of the same bucket
  bool seen;              // while hoisting
  const struct chat_name *hoisted; // the next of the template's list
};

/* What the fields mean depends on the kind; children are a list because chains (a + b + c, x.y.z|f) are folded in a
 * loop, so that only brackets and blocks nest. */
struct chat_node {
  uint8_t kind;  // enum chat_op
  uint8_t flags; // CHAT_USES_* of a macro, CHAT_STAR* of an argument
  uint16_t op;   // operator that joins this child to what stands left of it
  uint32_t pos;  // byte of the source
  int count;     // children
  struct chat_node *first, *next;
  struct chat_node *body, *other; // statements; of a CHAT_COND the two values
  const struct chat_name *name;
  const struct chat_builtin *builtin; // filter or test; NULL if there is none of the name
  struct chat_value value;        // CHAT_CONST, CHAT_TEXT
};

enum { CHAT_USES_VARARGS = 1, CHAT_USES_KWARGS = 2, CHAT_STAR = 4, CHAT_STAR_STAR = 8 };

struct chat_template {
  struct str source; // newlines normalised
  struct chat_node *body;
  struct chat_name *names[CHAT_BUCKETS];
  const struct chat_name *hoisted; // names that the outermost level sets before it reads them: undefined until then
};

static const struct chat_builtin *chat_find_filter(struct str name);
static const struct chat_builtin *chat_find_test(struct str name);

/* ---- places ---- */

static void chat_line_column(struct str source, uint32_t pos, int *line, int *column) {
  *line = *column = 1;
  for (uint32_t i = 0; i < pos && i < source.len; i++) {
    if (source.ptr[i] == '\n') ++*line, *column = 1;
    else if (((unsigned char)source.ptr[i] & 0xC0) != 0x80) ++*column;
  }
}

static bool chat_is_space(uint32_t c) { // what Python's str.isspace() says
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
      (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static size_t chat_skip_space(struct str s, size_t pos) {
  while (pos < s.len) {
    size_t next = pos;
    if (!chat_is_space(utf8_decode(s, &next))) break;
    pos = next;
  }
  return pos;
}

static size_t chat_rtrim(struct str s) { // the length without white space at the end
  size_t end = s.len;
  while (end > 0) {
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)s.ptr[at] & 0xC0) == 0x80) at--;
    size_t next = at;
    if (!chat_is_space(utf8_decode((struct str){s.ptr, end}, &next)) || next != end) break;
    end = at;
  }
  return end;
}

/* ---- lexer ---- */

enum chat_token_kind {
  CHAT_T_END, CHAT_T_TEXT, CHAT_T_PRINT, CHAT_T_PRINT_END, CHAT_T_BLOCK, CHAT_T_BLOCK_END, CHAT_T_NAME, CHAT_T_STRING,
  CHAT_T_INT, CHAT_T_FLOAT, CHAT_T_OP, CHAT_T_BAD
};

/* Operators of one character are that character. */
enum { CHAT_EQ = 256, CHAT_NE, CHAT_LE, CHAT_GE, CHAT_FLOORDIV, CHAT_POW, CHAT_IN, CHAT_NOT_IN };

struct chat_token {
  enum chat_token_kind kind;
  int op;
  uint32_t pos;
  struct str text; // as in the source; of a string without its quotes
};

struct chat_lexer {
  struct str src;
  size_t pos;
  int tag;        // 0 outside, '{' inside {{ }}, '%' inside {% %}
  int pending;    // the tag whose opening was seen behind a piece of text
  uint32_t pending_pos;
  int depth;      // of brackets inside a tag
  char brackets[CHAT_NESTING * 2];
  const char *problem; // of CHAT_T_BAD
};

static bool chat_at(const struct chat_lexer *x, size_t pos, const char *what) {
  return str_starts(str_slice(x->src, pos, x->src.len), str_from(what));
}

static struct chat_token chat_bad(struct chat_lexer *x, size_t pos, const char *problem) {
  x->problem = problem;
  return (struct chat_token){CHAT_T_BAD, 0, (uint32_t)pos, STR_NONE};
}

/* The text before a tag, by the tag's sign: '-' strips all white space, '+' nothing; a block or comment that stands
 * alone at the beginning of its line takes its indentation with it. */
static struct str chat_text_before(const struct chat_lexer *x, size_t beg, size_t end, char sign, bool print) {
  struct str text = str_slice(x->src, beg, end);
  if (sign == '-') {
    text.len = chat_rtrim(text);
  } else if (sign != '+' && !print) {
    size_t line = text.len;
    while (line > 0 && text.ptr[line - 1] != '\n') line--;
    bool starts = line > 0 || beg == 0 || x->src.ptr[beg - 1] == '\n';
    if (starts && chat_skip_space(text, line) == text.len) text.len = line;
  }
  return text;
}

/* The end of a block tag or comment at pos ("%}" or "#}", perhaps signed): where the text goes on, or 0 if it does not
 * stand here. */
static size_t chat_tag_end(const struct chat_lexer *x, size_t pos, const char *end) {
  bool minus = chat_at(x, pos, "-"), plus = chat_at(x, pos, "+");
  size_t close = pos + (minus || plus);
  if (!chat_at(x, close, end)) return 0;
  close += 2;
  if (minus) return chat_skip_space(x->src, close);
  return close + (!plus && chat_at(x, close, "\n"));
}

/* {% raw %} at pos: where its text begins, or 0. {% endraw %}: where the template goes on, or 0. */
static size_t chat_raw_tag(const struct chat_lexer *x, size_t pos, const char *word, bool closing) {
  pos += 2;
  if (chat_at(x, pos, "-") || chat_at(x, pos, "+")) pos++;
  pos = chat_skip_space(x->src, pos);
  if (!chat_at(x, pos, word)) return 0;
  pos = chat_skip_space(x->src, pos + strlen(word));
  if (closing) return chat_tag_end(x, pos, "%}");
  if (chat_at(x, pos, "-%}")) return chat_skip_space(x->src, pos + 3);
  return chat_at(x, pos, "%}") ? pos + 2 : 0;
}

static size_t chat_next_tag(const struct chat_lexer *x, size_t pos) {
  for (; pos < x->src.len; pos++) {
    const char *hit = memchr(x->src.ptr + pos, '{', x->src.len - pos);
    if (!hit) return x->src.len;
    pos = (size_t)(hit - x->src.ptr);
    if (chat_at(x, pos, "{{") || chat_at(x, pos, "{%") || chat_at(x, pos, "{#")) return pos;
  }
  return x->src.len;
}

static struct chat_token chat_lex_raw(struct chat_lexer *x, size_t beg, size_t at) {
  for (size_t end = beg; end < x->src.len; end++) {
    const char *hit = memchr(x->src.ptr + end, '{', x->src.len - end);
    if (!hit) break;
    end = (size_t)(hit - x->src.ptr);
    size_t after = chat_at(x, end, "{%") ? chat_raw_tag(x, end, "endraw", true) : 0;
    if (!after) continue;
    struct str text = chat_text_before(x, beg, end, end + 2 < x->src.len ? x->src.ptr[end + 2] : 0, false);
    x->pos = after;
    return (struct chat_token){CHAT_T_TEXT, 0, (uint32_t)beg, text};
  }
  return chat_bad(x, at, "{% raw %} without {% endraw %}");
}

/* Outside of tags: text up to the next tag, or that tag. Comments vanish here. May return an empty text. */
static struct chat_token chat_lex_text(struct chat_lexer *x) {
  size_t beg = x->pos, tag = chat_next_tag(x, beg);
  if (tag == x->src.len) {
    x->pos = tag;
    if (beg == tag) return (struct chat_token){CHAT_T_END, 0, (uint32_t)beg, STR_NONE};
    return (struct chat_token){CHAT_T_TEXT, 0, (uint32_t)beg, str_slice(x->src, beg, tag)};
  }
  char c = x->src.ptr[tag + 1], sign = tag + 2 < x->src.len ? x->src.ptr[tag + 2] : 0;
  struct str text = chat_text_before(x, beg, tag, sign, c == '{');
  size_t raw = c == '%' ? chat_raw_tag(x, tag, "raw", false) : 0;
  if (raw) {
    if (text.len == 0) return chat_lex_raw(x, raw, tag);
    x->pos = tag; // first what stands before it; the same tag is met again with nothing before
    return (struct chat_token){CHAT_T_TEXT, 0, (uint32_t)beg, text};
  }
  x->pos = tag + 2 + (sign == '-' || sign == '+');
  if (c == '#') {
    size_t end = 0, at = x->pos;
    for (; at + 1 < x->src.len && !(end = chat_tag_end(x, at, "#}")); at++) continue;
    if (!end) return chat_bad(x, tag, "a comment without its end");
    x->pos = end;
  } else {
    x->pending = c;
    x->pending_pos = (uint32_t)tag;
  }
  return (struct chat_token){CHAT_T_TEXT, 0, (uint32_t)beg, text};
}

static struct chat_token chat_lex_number(struct chat_lexer *x, bool after_dot) {
  size_t beg = x->pos, p = beg;
  struct str s = x->src;
  bool real = false;
#define CHAT_DIGIT(i) ((i) < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9')
#define CHAT_DIGITS() while (CHAT_DIGIT(p) || (p < s.len && s.ptr[p] == '_' && CHAT_DIGIT(p + 1))) p++
  CHAT_DIGITS();
  if (!after_dot && p < s.len && s.ptr[p] == '.' && CHAT_DIGIT(p + 1)) {
    real = true;
    p++;
    CHAT_DIGITS();
  }
  if (!after_dot && p < s.len && (s.ptr[p] == 'e' || s.ptr[p] == 'E')) {
    size_t e = p + 1;
    if (e < s.len && (s.ptr[e] == '-' || s.ptr[e] == '+')) e++;
    if (CHAT_DIGIT(e)) {
      real = true;
      p = e;
      CHAT_DIGITS();
    }
  }
#undef CHAT_DIGIT
#undef CHAT_DIGITS
  x->pos = p;
  return (struct chat_token){real ? CHAT_T_FLOAT : CHAT_T_INT, 0, (uint32_t)beg, str_slice(s, beg, p)};
}

static bool chat_is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
      (unsigned char)c >= 0x80;
}

static struct chat_token chat_lex_operator(struct chat_lexer *x) {
  static const struct { char text[3]; int op; } two[] = {
    {"==", CHAT_EQ}, {"!=", CHAT_NE}, {"<=", CHAT_LE}, {">=", CHAT_GE}, {"//", CHAT_FLOORDIV}, {"**", CHAT_POW}};
  size_t at = x->pos;
  for (int i = 0; i < ARRAY_LEN(two); i++) {
    if (!chat_at(x, at, two[i].text)) continue;
    x->pos += 2;
    return (struct chat_token){CHAT_T_OP, two[i].op, (uint32_t)at, str_slice(x->src, at, at + 2)};
  }
  char c = x->src.ptr[at];
  if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) return chat_bad(x, at, "a character that means nothing inside a tag");
  if (strchr("([{", c)) {
    if (x->depth == ARRAY_LEN(x->brackets)) return chat_bad(x, at, "brackets nested too deeply");
    x->brackets[x->depth++] = c;
  } else if (strchr(")]}", c)) {
    char open = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (!x->depth || x->brackets[--x->depth] != open) return chat_bad(x, at, "a closing bracket that none opened");
  }
  x->pos++;
  return (struct chat_token){CHAT_T_OP, (unsigned char)c, (uint32_t)at, str_slice(x->src, at, at + 1)};
}

/* Inside a tag. The end of a tag counts only when no bracket is open: {{ {"a": {}} }}. */
static struct chat_token chat_lex_tag(struct chat_lexer *x, bool after_dot) {
  struct str s = x->src;
  size_t at = x->pos, end = 0;
  if (!x->depth && x->tag == '{') {
    if (chat_at(x, at, "-}}")) end = chat_skip_space(s, at + 3);
    else if (chat_at(x, at, "}}")) end = at + 2;
  } else if (!x->depth) {
    end = chat_tag_end(x, at, "%}");
  }
  if (end) {
    x->pos = end;
    struct chat_token t = {x->tag == '{' ? CHAT_T_PRINT_END : CHAT_T_BLOCK_END, 0, (uint32_t)at, STR_NONE};
    x->tag = 0;
    return t;
  }
  if (at >= s.len) return chat_bad(x, at, "a tag without its end");
  char c = s.ptr[at];
  if (c >= '0' && c <= '9') return chat_lex_number(x, after_dot);
  if (chat_is_name_byte(c)) {
    while (x->pos < s.len && chat_is_name_byte(s.ptr[x->pos])) x->pos++;
    return (struct chat_token){CHAT_T_NAME, 0, (uint32_t)at, str_slice(s, at, x->pos)};
  }
  if (c != '"' && c != '\'') return chat_lex_operator(x);
  for (size_t p = at + 1; p < s.len; p++) {
    if (s.ptr[p] == '\\') p++;
    else if (s.ptr[p] == c) {
      x->pos = p + 1;
      return (struct chat_token){CHAT_T_STRING, 0, (uint32_t)at, str_slice(s, at + 1, p)};
    }
  }
  return chat_bad(x, at, "a string without its end");
}

static struct chat_token chat_lex(struct chat_lexer *x) {
  if (x->pending) {
    x->tag = x->pending;
    x->pending = 0;
    return (struct chat_token){x->tag == '{' ? CHAT_T_PRINT : CHAT_T_BLOCK, 0, x->pending_pos, STR_NONE};
  }
  if (!x->tag) return chat_lex_text(x);
  bool after_dot = x->pos > 0 && x->src.ptr[x->pos - 1] == '.';
  x->pos = chat_skip_space(x->src, x->pos);
  return chat_lex_tag(x, after_dot);
}

#include "chat_parse.c"
#include "chat_value.c"
#include "chat_string.c"
#include "chat_call.c"
#include "chat_filter.c"
#include "chat_run.c"
#include "chat_builtin.c"
