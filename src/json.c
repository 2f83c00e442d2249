/* json.c -- JSON read and written (RFC 8259, strictly): bytes in, a tree in an arena out; and the pieces of text that
 * writers need.
 *
 * A string without escapes points into the source, which must outlive the tree; nothing else is shared. The tree is
 * never freed, its arena is. Nesting is at most JSON_DEPTH and is kept on an explicit stack, so no input can exhaust
 * the C stack; time is linear in the text, but for sorting the keys of one object to find duplicates. Containers with
 * millions of children may stay text (json_parse_held) and be walked (json_walk_next), which costs no memory.
 * SPDX-License-Identifier: MIT */
#include "base.h"

#include <math.h>
#include <stdlib.h>

#define JSON_DEPTH 128

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_FLOAT, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
  enum json_type type;
  bool boolean;             // JSON_BOOL
  int64_t integer;          // JSON_INT, exact
  double number;            // JSON_FLOAT, and JSON_INT rounded; always finite
  struct str string;        // JSON_STRING, decoded: valid UTF-8, may hold NUL
  struct str text;          // a number as it was spelled; an array or object that stayed text, with its brackets
  struct str key;           // of a member of an object, decoded
  struct json *first, *next; // first child in the order of the text; next sibling
  int count;                // children
};

struct json_reader {
  struct str text;
  size_t pos;
  struct arena *arena;
  struct bk_error *error;
};

static bool json_fail(struct json_reader *r, const char *expected) {
  if (r->pos >= r->text.len)
    return err_set(r->error, ERR_DATA, "JSON ends at byte %zu where %s was expected", r->pos, expected);
  unsigned char c = (unsigned char)r->text.ptr[r->pos];
  if (c >= 33 && c < 127)
    return err_set(r->error, ERR_DATA, "JSON has '%c' at byte %zu where %s was expected", c, r->pos, expected);
  return err_set(r->error, ERR_DATA, "JSON has byte 0x%02x at byte %zu where %s was expected", c, r->pos, expected);
}

static void json_skip_space(struct json_reader *r) {
  while (r->pos < r->text.len) {
    char c = r->text.ptr[r->pos];
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
    r->pos++;
  }
}

static int json_peek(const struct json_reader *r) {
  return r->pos < r->text.len ? (unsigned char)r->text.ptr[r->pos] : -1;
}

static bool json_take_word(struct json_reader *r, struct str word) {
  for (size_t i = 0; i < word.len; i++, r->pos++)
    if (json_peek(r) != (unsigned char)word.ptr[i]) return json_fail(r, "null, true or false");
  return true;
}

/* ---- numbers ---- */

static bool json_digits(struct json_reader *r) {
  if (json_peek(r) < '0' || json_peek(r) > '9') return json_fail(r, "a digit");
  while (json_peek(r) >= '0' && json_peek(r) <= '9') r->pos++;
  return true;
}

/* Long numbers go through a stack buffer in str_to_double, which refuses 512 characters; so do we, by that refusal. */
static bool json_read_number(struct json_reader *r, struct json *v) {
  size_t beg = r->pos;
  bool whole = true;
  if (json_peek(r) == '-') r->pos++;
  if (json_peek(r) == '0') {
    r->pos++;
  } else if (!json_digits(r)) {
    return false;
  }
  if (json_peek(r) == '.') {
    whole = false;
    r->pos++;
    if (!json_digits(r)) return false;
  }
  if (json_peek(r) == 'e' || json_peek(r) == 'E') {
    whole = false;
    r->pos++;
    if (json_peek(r) == '+' || json_peek(r) == '-') r->pos++;
    if (!json_digits(r)) return false;
  }
  v->text = str_slice(r->text, beg, r->pos);
  v->type = JSON_FLOAT;
  if (whole && str_to_int(v->text, &v->integer)) {
    v->type = JSON_INT;
    v->number = (double)v->integer;
    return true;
  }
  if (str_to_double(v->text, &v->number)) return true;
  return err_set(r->error, ERR_DATA, "JSON number at byte %zu, " STR_FMT ", does not fit in a double", beg,
                 STR_ARG(str_slice(v->text, 0, 40)));
}

/* ---- strings ---- */

static bool json_read_hex4(struct json_reader *r, uint32_t *code) {
  *code = 0;
  for (int i = 0; i < 4; i++, r->pos++) {
    int c = json_peek(r);
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A' + 10);
    else return json_fail(r, "a hexadecimal digit");
    *code = *code << 4 | digit;
  }
  return true;
}

/* After "\u": one code point, which takes a second escape when the first is a high surrogate. */
static bool json_read_unicode(struct json_reader *r, uint32_t *code) {
  size_t beg = r->pos;
  uint32_t low;
  if (!json_read_hex4(r, code)) return false;
  if (*code < 0xD800 || *code > 0xDFFF) return true;
  if (*code <= 0xDBFF && str_starts(str_slice(r->text, r->pos, r->text.len), STR("\\u"))) {
    r->pos += 2;
    if (!json_read_hex4(r, &low)) return false;
    if (low >= 0xDC00 && low <= 0xDFFF) {
      *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
      return true;
    }
  }
  return err_set(r->error, ERR_DATA, "JSON string has a lone surrogate at byte %zu", beg);
}

static bool json_read_escape(struct json_reader *r, char *out, size_t *n) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  int c = json_peek(r);
  if (c == 'u') {
    uint32_t code;
    r->pos++;
    if (!json_read_unicode(r, &code)) return false;
    *n += (size_t)utf8_encode(code, out + *n); // at most 4 bytes for at least 6 of the source
    return true;
  }
  const char *hit = c > 0 ? strchr(from, c) : NULL;
  if (!hit) return json_fail(r, "one of \"\\/bfnrtu after a backslash");
  out[(*n)++] = to[hit - from];
  r->pos++;
  return true;
}

/* The cursor stands on the opening quote. First a look for the end, so that a plain string costs no memory. */
static bool json_read_string(struct json_reader *r, struct str *out) {
  if (json_peek(r) != '"') return json_fail(r, "a string");
  size_t beg = ++r->pos, end = beg, n = 0;
  bool plain = true;
  while (end < r->text.len && r->text.ptr[end] != '"') {
    if (r->text.ptr[end] == '\\') plain = false, end++;
    end++;
  }
  char *p = NULL;
  if (!plain && end <= r->text.len && !(p = arena_alloc(r->arena, end - beg, 1, 1)))
    return err_set(r->error, ERR_DATA, "JSON of %zu bytes does not fit in the memory set aside for it", r->text.len);
  for (;;) {
    int c = json_peek(r);
    if (c == '"') break;
    if (c < 0x20)
      return json_fail(r, c < 0 ? "the end of a string" : "a character of a string (control characters are escaped)");
    size_t from = r->pos;
    if (c == '\\') {
      r->pos++;
      if (!p) return json_fail(r, "the end of a string"); // the text ends inside an escape
      if (!json_read_escape(r, p, &n)) return false;
      continue;
    }
    if (utf8_decode(r->text, &r->pos) == UTF8_BAD) {
      r->pos = from;
      return json_fail(r, "valid UTF-8");
    }
    if (p) memcpy(p + n, r->text.ptr + from, r->pos - from), n += r->pos - from;
  }
  *out = p ? (struct str){p, n} : str_slice(r->text, beg, r->pos);
  r->pos++;
  return true;
}

/* ---- duplicate keys ---- */

/* Merge sort, stable, bottom up: its worst case is its usual case, unlike that of a hash table an enemy has studied. */
static struct json **json_sort_keys(struct json **from, struct json **to, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t beg = 0; beg < n; beg += 2 * width) {
      size_t mid = n - beg < width ? n : beg + width, end = n - beg < 2 * width ? n : beg + 2 * width;
      size_t i = beg, j = mid, k = beg;
      while (i < mid && j < end) to[k++] = str_compare(from[i]->key, from[j]->key) <= 0 ? from[i++] : from[j++];
      while (i < mid) to[k++] = from[i++];
      while (j < end) to[k++] = from[j++];
    }
    struct json **swap = from;
    from = to;
    to = swap;
  }
  return from;
}

/* Of members with one key the last value stays, in the place of the first. The two tables are scratch: the arena is a
 * copy. */
static bool json_drop_duplicates(struct json_reader *r, struct json *object) {
  if (object->count < 2) return true;
  struct arena scratch = *r->arena;
  size_t n = 0, count = (size_t)object->count;
  struct json **list = ARENA_NEW(&scratch, struct json *, count), **spare = ARENA_NEW(&scratch, struct json *, count);
  if (!list || !spare)
    return err_set(r->error, ERR_DATA, "JSON of %zu bytes does not fit in the memory set aside for it", r->text.len);
  for (struct json *m = object->first; m; m = m->next) list[n++] = m;
  list = json_sort_keys(list, spare, n);
  bool found = false;
  for (size_t i = 0, j; i < n; i = j) {
    for (j = i + 1; j < n && str_eq(list[j]->key, list[i]->key); j++) continue;
    if (j == i + 1) continue;
    struct json *next = list[i]->next;
    *list[i] = *list[j - 1];
    list[i]->next = next;
    for (size_t k = i + 1; k < j; k++) list[k]->count = -1; // marked: to be taken out of the list below
    found = true;
  }
  if (!found) return true;
  struct json **link = &object->first;
  while (*link) {
    if ((*link)->count < 0) *link = (*link)->next, object->count--;
    else link = &(*link)->next;
  }
  return true;
}

/* ---- the tree ---- */

struct json_level {
  struct json *container, *last; // last child so far
};

/* A scalar, or the opening bracket of a container. */
static bool json_read_value(struct json_reader *r, struct json *v) {
  int c = json_peek(r);
  switch (c) {
  case '{': case '[':
    v->type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
    r->pos++;
    return true;
  case '"': v->type = JSON_STRING; return json_read_string(r, &v->string);
  case 'n': v->type = JSON_NULL; return json_take_word(r, STR("null"));
  case 't': v->type = JSON_BOOL, v->boolean = true; return json_take_word(r, STR("true"));
  case 'f': v->type = JSON_BOOL; return json_take_word(r, STR("false"));
  default: break;
  }
  if (c == '-' || (c >= '0' && c <= '9')) return json_read_number(r, v);
  return json_fail(r, "a value");
}

static struct json *json_new_child(struct json_reader *r, struct json_level *level) {
  struct json *v = ARENA_NEW(r->arena, struct json, 1);
  if (!v) {
    err_set(r->error, ERR_DATA, "JSON of %zu bytes does not fit in the memory set aside for it", r->text.len);
    return NULL;
  }
  if (!level) return v;
  if (level->last) level->last->next = v;
  else level->container->first = v;
  level->last = v;
  level->container->count++; // below INT_MAX: a child takes two bytes of a text that is bounded in json_parse
  return v;
}

/* Before a child: a comma unless it is the first, then the key of a member. `closed` when the container ends instead.
 * */
static bool json_next_child(struct json_reader *r, struct json_level *level, struct str *key, bool *closed) {
  bool object = level->container->type == JSON_OBJECT;
  json_skip_space(r);
  *closed = json_peek(r) == (object ? '}' : ']');
  if (*closed) {
    r->pos++;
    return !object || json_drop_duplicates(r, level->container);
  }
  if (level->last) {
    if (json_peek(r) != ',') return json_fail(r, object ? "',' or '}'" : "',' or ']'");
    r->pos++;
    json_skip_space(r);
  }
  if (!object) return true;
  if (json_peek(r) != '"') return json_fail(r, level->last ? "a key in quotes" : "a key in quotes or '}'");
  if (!json_read_string(r, key)) return false;
  json_skip_space(r);
  if (json_peek(r) != ':') return json_fail(r, "':'");
  r->pos++;
  json_skip_space(r);
  return true;
}

/* To the end of the array or object that begins here. What is inside is not checked but for its brackets. */
static bool json_hold(struct json_reader *r, struct json *v) {
  size_t beg = r->pos, depth = 0;
  bool quoted = false;
  do {
    int c = json_peek(r);
    if (c < 0) return json_fail(r, "a closing bracket");
    if (c == '"') quoted = !quoted;
    else if (quoted) r->pos += c == '\\';
    else if (c == '{' || c == '[') depth++;
    else if (c == '}' || c == ']') depth--;
    r->pos++;
  } while (depth);
  v->type = r->text.ptr[beg] == '[' ? JSON_ARRAY : JSON_OBJECT;
  v->text = str_slice(r->text, beg, r->pos);
  return true;
}

/* Are arrays and objects under this key to stay text? `held`: keys, each between blanks. */
static bool json_is_held(const struct json_reader *r, const char *held, struct str key) {
  if (!held || !key.len || (json_peek(r) != '[' && json_peek(r) != '{')) return false;
  size_t at = str_find(str_from(held), key, 0);
  return at != SIZE_MAX && at > 0 && held[at - 1] == ' ' && held[at + key.len] == ' ';
}

/* The text must outlive the tree. On failure the sentence has the byte offset and what was expected there. */
static bool json_parse_held(struct str text, const char *held, struct arena *a, struct json **out, struct bk_error *e) {
  struct json_reader r = {text, 0, a, e};
  struct json_level levels[JSON_DEPTH];
  int depth = 0;
  *out = NULL;
  if (text.len > INT32_MAX) return err_set(e, ERR_DATA, "JSON of %zu bytes is longer than 2 GiB", text.len);
  json_skip_space(&r);
  for (;;) {
    struct str key = STR_NONE;
    bool closed = false;
    if (depth && !json_next_child(&r, &levels[depth - 1], &key, &closed)) return false;
    if (closed) {
      if (--depth == 0) break;
      continue;
    }
    struct json *v = json_new_child(&r, depth ? &levels[depth - 1] : NULL);
    if (!v) return false;
    if (!*out) *out = v;
    v->key = key;
    size_t at = r.pos;
    if (depth && json_is_held(&r, held, key)) {
      if (!json_hold(&r, v)) return false;
      continue;
    }
    if (!json_read_value(&r, v)) return false;
    if (v->type == JSON_ARRAY || v->type == JSON_OBJECT) {
      if (depth == JSON_DEPTH)
        return err_set(e, ERR_DATA, "JSON nests deeper than %d levels at byte %zu", JSON_DEPTH, at);
      levels[depth++] = (struct json_level){v, NULL};
    } else if (depth == 0) {
      break;
    }
  }
  json_skip_space(&r);
  return r.pos == text.len || json_fail(&r, "the end");
}

static bool json_parse(struct str text, struct arena *a, struct json **out, struct bk_error *e) {
  return json_parse_held(text, NULL, a, out, e);
}

/* ---- a walk over the children of one array or object, none of which is kept ---- */

struct json_walk {
  struct json_reader *reader; // behind the opening bracket; offsets in messages count from the beginning of its text
  struct json container, child;
  struct json_level level;
};

/* `container`: JSON_ARRAY or JSON_OBJECT. Walks nest on one reader; the inner one is to be walked to its end. */
static struct json_walk json_walk_start(struct json_reader *r, enum json_type container) {
  return (struct json_walk){.reader = r, .container = {.type = container}};
}

/* The next child in `child`: false at the end, or with an error. Only strings with escapes take memory. */
static bool json_walk_next(struct json_walk *w) {
  bool closed;
  w->level.container = &w->container; // here, since a walk may have been copied
  w->child = (struct json){.type = JSON_NULL};
  if (!json_next_child(w->reader, &w->level, &w->child.key, &closed) || closed) return false;
  w->level.last = &w->child;
  return json_read_value(w->reader, &w->child);
}

/* NULL if `object` is NULL, not an object, or has no such member. */
static const struct json *json_get(const struct json *object, const char *key) {
  if (!object || object->type != JSON_OBJECT) return NULL;
  struct str k = str_from(key);
  for (const struct json *m = object->first; m; m = m->next)
    if (str_eq(m->key, k)) return m;
  return NULL;
}

/* ---- writing ---- */

/* Quoted and escaped; bytes that are not UTF-8 become U+FFFD, so the output is always JSON. */
static void json_put_string(struct buf *b, struct str s) {
  static const char hex[] = "0123456789abcdef";
  buf_byte(b, '"');
  for (size_t pos = 0, plain = 0;;) {
    size_t at = pos;
    uint32_t c = at < s.len ? utf8_decode(s, &pos) : UTF8_BAD;
    if (at < s.len && c != UTF8_BAD && c >= 0x20 && c != '"' && c != '\\') continue;
    buf_put(b, str_slice(s, plain, at));
    if (at >= s.len) break;
    plain = pos;
    const char *hit = c < 128 && c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", (int)c) : NULL;
    if (c == UTF8_BAD) {
      buf_put(b, STR("\xEF\xBF\xBD"));
    } else if (hit) {
      buf_byte(b, '\\');
      buf_byte(b, hit[1]);
    } else {
      buf_put(b, STR("\\u00"));
      buf_byte(b, hex[c >> 4 & 15]);
      buf_byte(b, hex[c & 15]);
    }
  }
  buf_byte(b, '"');
}

/* Nine digits are enough to read the same float back. NaN and infinities, which JSON lacks, become null. */
static void json_put_float(struct buf *b, float f) {
  if (isfinite(f)) buf_printf(b, "%.9g", (double)f);
  else buf_put(b, STR("null"));
}

static void json_put_double(struct buf *b, double d) {
  char text[40];
  if (!isfinite(d)) {
    buf_put(b, STR("null"));
    return;
  }
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, d);
    if (strtod(text, NULL) == d) break;
  }
  buf_put(b, str_from(text));
}
