/* chat_value.c -- the values a chat template computes with, and their text: Python's str, repr, json.dumps, ==, <,
 * truth.
 *
 * Text is built in struct chat_text, which keeps for every byte whether the template or the user wrote it; a string of
 * one origin has a flag, a mixed one has a mark per byte. Whatever is printed of a user's container is the user's,
 * brackets too. All memory comes from the run's arena; every loop over values or bytes is paid for in steps.
 * SPDX-License-Identifier: MIT */

/* Who may be asked for what: everything a running template needs. One run, one thread. */
struct chat_run {
  const struct chat_template *template;
  const struct chat_input *input;
  struct arena *arena;
  struct bk_error *error;
  int64_t steps;          // left
  int depth, macros;      // open calls of the interpreter; of macros
  uint32_t at;            // byte of the source being worked on
  struct chat_scope *scope;
  struct chat_output *out; // where statements print to
  size_t max_output;
};

BASE_PRINTF(2, 3) static bool chat_fail(struct chat_run *r, const char *format, ...) {
  char text[300];
  int line, column;
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  chat_line_column(r->template->source, r->at, &line, &column);
  return err_set(r->error, ERR_DATA, "chat template, line %d, column %d: %s", line, column, text);
}

static bool chat_spend(struct chat_run *r, size_t bytes) {
  r->steps -= 1 + (int64_t)(bytes / 16);
  return r->steps >= 0 || chat_fail(r, "more than %d steps", CHAT_STEPS);
}

static void *chat_new(struct chat_run *r, size_t count, size_t size) {
  void *p = arena_alloc(r->arena, count, size, 16);
  if (!p) chat_fail(r, "the conversation does not fit in the memory set aside for it");
  return p;
}

static bool chat_deeper(struct chat_run *r) {
  return r->depth++ < CHAT_DEPTH || chat_fail(r, "nested deeper than %d levels", CHAT_DEPTH);
}

/* ---- simple values ---- */

static struct chat_value chat_undefined(struct str name) {
  struct chat_value v = {.kind = CHAT_UNDEFINED, .len = name.len};
  v.u.ptr = name.ptr ? name.ptr : "";
  return v;
}

static struct chat_value chat_none(void) { return (struct chat_value){.kind = CHAT_NONE}; }

static struct chat_value chat_bool(bool b) {
  struct chat_value v = {.kind = CHAT_BOOL};
  v.u.boolean = b;
  return v;
}

static struct chat_value chat_int(int64_t i) {
  struct chat_value v = {.kind = CHAT_INT};
  v.u.integer = i;
  return v;
}

static struct chat_value chat_float(double d) {
  struct chat_value v = {.kind = CHAT_FLOAT};
  v.u.number = d;
  return v;
}

static struct str chat_str(const struct chat_value *v) { // of a string, or the name of what is undefined
  return (struct str){v->u.ptr, v->len};
}

static bool chat_is(const struct chat_value *v, const char *text) { return v->kind == CHAT_STRING &&
                                                                   str_is(chat_str(v), text); }

/* Part of a string, by bytes, with its origin. */
static struct chat_value chat_cut(struct chat_value s, size_t from, size_t to) {
  BK_ASSERT(s.kind == CHAT_STRING && from <= to && to <= s.len);
  s.u.ptr += from;
  if (s.marks) s.marks += from;
  s.len = to - from;
  return s;
}

static bool chat_has_user(const struct chat_value *v) {
  return v->user || (v->kind == CHAT_STRING && v->marks && v->len && memchr(v->marks, 1, v->len));
}

static const char *chat_type_name(const struct chat_value *v) {
  switch (v->kind) {
  case CHAT_UNDEFINED: return "Undefined";
  case CHAT_NONE: return "NoneType";
  case CHAT_BOOL: return "bool";
  case CHAT_INT: return "int";
  case CHAT_FLOAT: return v->spelling ? "int" : "float";
  case CHAT_STRING: return "str";
  case CHAT_LIST: {
    static const char names[][12] = {"list", "tuple", "range", "dict_items", "dict_keys", "dict_values", "generator"};
    return names[v->u.list->kind];
  }
  case CHAT_DICT: return "dict";
  case CHAT_NAMESPACE: return "Namespace";
  case CHAT_LOOP: return "LoopContext";
  case CHAT_MACRO: return "Macro";
  case CHAT_METHOD: return "method";
  default: return "object";
  }
}

/* Undefined values may be printed, tested and looped over; anything else names what is missing. */
static bool chat_fail_undefined(struct chat_run *r, const struct chat_value *v) {
  return chat_fail(r, "'" STR_FMT "' is undefined", STR_ARG(chat_str(v)));
}

static bool chat_fail_type(struct chat_run *r, const struct chat_value *v, const char *expected) {
  if (v->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, v);
  return chat_fail(r, "a value of type %s where %s was expected", chat_type_name(v), expected);
}

static bool chat_number(const struct chat_value *v, double *d) { // bool, int or float
  if (v->kind == CHAT_FLOAT) *d = v->u.number;
  else if (v->kind == CHAT_INT) *d = (double)v->u.integer;
  else if (v->kind == CHAT_BOOL) *d = v->u.boolean;
  else return false;
  return true;
}

static bool chat_integer(const struct chat_value *v, int64_t *i) { // bool or int
  if (v->kind == CHAT_INT) *i = v->u.integer;
  else if (v->kind == CHAT_BOOL) *i = v->u.boolean;
  else return false;
  return true;
}

static bool chat_need_int(struct chat_run *r, const struct chat_value *v, int64_t *i) {
  return chat_integer(v, i) || chat_fail_type(r, v, "a whole number");
}

static bool chat_truth(const struct chat_value *v) {
  switch (v->kind) {
  case CHAT_ABSENT: case CHAT_UNDEFINED: case CHAT_NONE: return false;
  case CHAT_BOOL: return v->u.boolean;
  case CHAT_INT: return v->u.integer != 0;
  case CHAT_FLOAT: return v->u.number != 0;
  case CHAT_STRING: return v->len != 0;
  case CHAT_LIST: return v->u.list->kind == CHAT_GENERATOR || v->u.list->count != 0;
  case CHAT_DICT: return v->u.dict->count != 0;
  default: return true;
  }
}

/* ---- text under construction ---- */

struct chat_text {
  char *ptr;
  uint8_t *marks; // NULL while all bytes have one origin
  size_t len, cap;
  bool user;      // that origin
};

static bool chat_text_grow(struct chat_run *r, struct chat_text *x, size_t more, bool mixed) {
  size_t need, cap = x->cap * 2 < 64 ? 64 : x->cap * 2;
  if (!size_add(x->len, more, &need)) return chat_fail(r, "a text longer than memory");
  if (cap < need) cap = need;
  if (need > x->cap) {
    char *ptr = chat_new(r, cap, 1);
    if (!ptr) return false;
    if (x->len) memcpy(ptr, x->ptr, x->len);
    x->ptr = ptr;
  }
  if (x->marks ? need > x->cap : mixed) {
    uint8_t *marks = chat_new(r, need > x->cap ? cap : x->cap, 1);
    if (!marks) return false;
    if (x->marks) memcpy(marks, x->marks, x->len);
    else memset(marks, x->user, x->len);
    x->marks = marks;
  }
  if (need > x->cap) x->cap = cap;
  return true;
}

/* Appends bytes of one origin, or with a mark each. */
static bool chat_put_marked(struct chat_run *r, struct chat_text *x, const char *p, size_t n, const uint8_t *marks,
                            bool user) {
  if (n == 0) return true;
  if (x->len == 0 && !x->marks) x->user = user;
  bool mixed = !x->marks && (marks || x->user != user);
  if (!chat_spend(r, n)) return false;
  if ((mixed || n > x->cap - x->len) && !chat_text_grow(r, x, n, mixed)) return false;
  memcpy(x->ptr + x->len, p, n);
  if (x->marks && marks) memcpy(x->marks + x->len, marks, n);
  else if (x->marks) memset(x->marks + x->len, user, n);
  x->len += n;
  return true;
}

static bool chat_put(struct chat_run *r, struct chat_text *x, const char *text, bool user) {
  return chat_put_marked(r, x, text, strlen(text), NULL, user);
}

static bool chat_put_value(struct chat_run *r, struct chat_text *x, struct chat_value s) {
  BK_ASSERT(s.kind == CHAT_STRING);
  return chat_put_marked(r, x, s.u.ptr, s.len, s.marks, s.user);
}

static struct chat_value chat_text_value(const struct chat_text *x) {
  struct chat_value v = chat_string((struct str){x->ptr, x->len});
  v.marks = x->marks;
  v.user = !x->marks && x->len && x->user;
  return v;
}

/* ---- lists and dictionaries ---- */

static struct chat_list *chat_new_list(struct chat_run *r, int cap, enum chat_list_kind kind, bool user) {
  struct chat_list *list = chat_new(r, 1, sizeof *list);
  if (!list) return NULL;
  list->kind = (uint8_t)kind;
  list->user = user;
  list->cap = cap;
  list->items = chat_new(r, (size_t)cap, sizeof *list->items);
  return list->items ? list : NULL;
}

static bool chat_append(struct chat_run *r, struct chat_list *list, struct chat_value v) {
  if (list->count == list->cap) {
    if (list->cap > INT32_MAX / 2) return chat_fail(r, "a list with too many items");
    int cap = list->cap < 8 ? 8 : list->cap * 2;
    struct chat_value *items = chat_new(r, (size_t)cap, sizeof *items);
    if (!items || !chat_spend(r, (size_t)list->count * 16)) return false;
    if (list->count) memcpy(items, list->items, (size_t)list->count * sizeof *items);
    list->items = items;
    list->cap = cap;
  }
  list->items[list->count++] = v;
  return true;
}

static struct chat_value chat_list_value(struct chat_list *list) {
  struct chat_value v = {.kind = CHAT_LIST, .user = list->user};
  v.u.list = list;
  return v;
}

static struct chat_dict *chat_new_dict(struct chat_run *r, int cap, bool user) {
  struct chat_dict *dict = chat_new(r, 1, sizeof *dict);
  if (!dict) return NULL;
  dict->user = user;
  dict->cap = cap;
  dict->pairs = chat_new(r, (size_t)cap, sizeof *dict->pairs);
  return dict->pairs ? dict : NULL;
}

static struct chat_value chat_dict_value(struct chat_dict *dict, enum chat_kind kind) {
  struct chat_value v = {.kind = (uint8_t)kind, .user = dict->user};
  v.u.dict = dict;
  return v;
}

static struct chat_value *chat_dict_get(const struct chat_dict *d, struct str key) {
  for (int i = 0; i < d->count; i++)
    if (d->pairs[i].key.kind == CHAT_STRING && str_eq(chat_str(&d->pairs[i].key), key)) return &d->pairs[i].value;
  return NULL;
}

static bool chat_equal(struct chat_run *r, const struct chat_value *a, const struct chat_value *b, bool *equal);

/* Where the value of a key is kept, or NULL in `found`. Keys may be anything that can be compared but containers that
 * change. */
static bool chat_dict_find(struct chat_run *r, struct chat_dict *d, const struct chat_value *key,
                           struct chat_value **found) {
  *found = NULL;
  if (!chat_spend(r, (size_t)d->count * 2)) return false;
  if (key->kind == CHAT_STRING) {
    *found = chat_dict_get(d, chat_str(key));
    return true;
  }
  if (key->kind == CHAT_DICT || (key->kind == CHAT_LIST && key->u.list->kind == CHAT_PLAIN))
    return chat_fail(r, "unhashable type: '%s'", chat_type_name(key));
  for (int i = 0; i < d->count && !*found; i++) {
    bool equal;
    if (!chat_equal(r, &d->pairs[i].key, key, &equal)) return false;
    if (equal) *found = &d->pairs[i].value;
  }
  return true;
}

static bool chat_dict_set(struct chat_run *r, struct chat_dict *d, struct chat_value key, struct chat_value value) {
  struct chat_value *found;
  if (!chat_dict_find(r, d, &key, &found)) return false;
  if (found) {
    *found = value;
    return true;
  }
  if (d->count == d->cap) {
    if (d->cap > INT32_MAX / 2) return chat_fail(r, "a dictionary with too many keys");
    int cap = d->cap < 4 ? 4 : d->cap * 2;
    struct chat_pair *pairs = chat_new(r, (size_t)cap, sizeof *pairs);
    if (!pairs) return false;
    if (d->count) memcpy(pairs, d->pairs, (size_t)d->count * sizeof *pairs);
    d->pairs = pairs;
    d->cap = cap;
  }
  d->pairs[d->count++] = (struct chat_pair){key, value};
  return true;
}

/* Roles that chat formats know are structure, not text: a template may make its mark of one, '<|' + role + '|>'. */
static bool chat_is_role(const struct json *member) {
  static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function", "model", "ipython"};
  int i = 0;
  if (member->type != JSON_STRING || !str_is(member->key, "role")) return false;
  while (i < ARRAY_LEN(roles) && !str_is(member->string, roles[i])) i++;
  return i < ARRAY_LEN(roles);
}

/* JSON in: all of it is the user's but known roles. The depth is JSON's own, at most JSON_DEPTH. */
static bool chat_from_json(struct chat_run *r, const struct json *j, bool user, struct chat_value *out) {
  *out = chat_none();
  if (!chat_spend(r, 0)) return false;
  switch (j->type) {
  case JSON_NULL: break;
  case JSON_BOOL: *out = chat_bool(j->boolean); break;
  case JSON_INT: *out = chat_int(j->integer); break;
  case JSON_FLOAT:
    *out = chat_float(j->number);
    if (str_find(j->text, STR("."), 0) == SIZE_MAX && str_find(j->text, STR("e"), 0) == SIZE_MAX &&
        str_find(j->text, STR("E"), 0) == SIZE_MAX)
      out->spelling = j->text.ptr, out->len = j->text.len; // a whole number that int64 cannot hold prints as it came
    break;
  case JSON_STRING: *out = chat_string(j->string); break;
  case JSON_ARRAY: {
    struct chat_list *list = chat_new_list(r, j->count, CHAT_PLAIN, user);
    if (!list) return false;
    for (const struct json *m = j->first; m; m = m->next, list->count++)
      if (!chat_from_json(r, m, user, &list->items[list->count])) return false;
    *out = chat_list_value(list);
    break;
  }
  case JSON_OBJECT: {
    struct chat_dict *dict = chat_new_dict(r, j->count, user);
    if (!dict) return false;
    for (const struct json *m = j->first; m; m = m->next, dict->count++) { // keys differ: the parser saw to it
      struct chat_pair *pair = &dict->pairs[dict->count];
      pair->key = chat_string(m->key);
      pair->key.user = user;
      if (!chat_from_json(r, m, user && !chat_is_role(m), &pair->value)) return false;
    }
    *out = chat_dict_value(dict, CHAT_DICT);
    break;
  }
  }
  out->user = user;
  return true;
}

/* ---- iteration ---- */

static bool chat_string_chars(struct chat_run *r, const struct chat_value *s, struct chat_list *list) {
  for (size_t pos = 0; pos < s->len;) {
    size_t beg = pos;
    utf8_decode(chat_str(s), &pos);
    if (!chat_spend(r, 0) || !chat_append(r, list, chat_cut(*s, beg, pos))) return false;
    list->items[list->count - 1].safe = false; // Python iterates Markup as plain strings
  }
  return true;
}

/* What a loop over v sees. A list is handed out as it is; a generator is used up. */
static bool chat_items(struct chat_run *r, const struct chat_value *v, struct chat_list **out) {
  if (v->kind == CHAT_LIST && v->u.list->kind != CHAT_GENERATOR) {
    *out = v->u.list;
    return true;
  }
  struct chat_list *list = chat_new_list(r, 0, CHAT_PLAIN, v->user);
  *out = list;
  if (!list) return false;
  if (v->kind == CHAT_LIST) {
    list->items = v->u.list->items + v->u.list->taken;
    list->count = list->cap = v->u.list->count - v->u.list->taken;
    v->u.list->taken = v->u.list->count;
    return true;
  }
  if (v->kind == CHAT_UNDEFINED) return true;
  if (v->kind == CHAT_STRING) return chat_string_chars(r, v, list);
  if (v->kind != CHAT_DICT) return chat_fail(r, "'%s' object is not iterable", chat_type_name(v));
  for (int i = 0; i < v->u.dict->count; i++)
    if (!chat_append(r, list, v->u.dict->pairs[i].key)) return false;
  return chat_spend(r, (size_t)v->u.dict->count);
}

static size_t chat_count_chars(struct str s) {
  size_t n = 0;
  for (size_t pos = 0; pos < s.len; n++) utf8_decode(s, &pos);
  return n;
}

static bool chat_length(struct chat_run *r, const struct chat_value *v, int64_t *n) {
  *n = 0;
  if (v->kind == CHAT_UNDEFINED) return true;
  if (v->kind == CHAT_STRING) *n = (int64_t)chat_count_chars(chat_str(v));
  else if (v->kind == CHAT_LIST && v->u.list->kind != CHAT_GENERATOR) *n = v->u.list->count;
  else if (v->kind == CHAT_DICT) *n = v->u.dict->count;
  else return chat_fail(r, "object of type '%s' has no len()", chat_type_name(v));
  return v->kind != CHAT_STRING || chat_spend(r, v->len);
}

/* ---- numbers as Python writes them ---- */

static void chat_float_text(double d, char out[40]) {
  char digits[40];
  int precision = 0;
  if (d != d || d - d != 0) {
    snprintf(out, 40, "%s", d != d ? "nan" : d > 0 ? "inf" : "-inf");
    return;
  }
  do snprintf(digits, sizeof digits, "%.*e", precision, d);
  while (strtod(digits, NULL) != d && ++precision < 17);
  int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
  if (exponent < -4 || exponent >= 16) { // the mantissa as it is; the exponent has at least two digits, as in C
    snprintf(out, 40, "%s", digits);
  } else {
    int places = precision - exponent;
    snprintf(out, 40, "%.*f", places < 1 ? 1 : places, d);
  }
}

static bool chat_put_number(struct chat_run *r, struct chat_text *x, const struct chat_value *v) {
  char text[40];
  if (v->kind == CHAT_FLOAT && v->spelling) return chat_put_marked(r, x, v->spelling, v->len, NULL, v->user);
  if (v->kind == CHAT_FLOAT) chat_float_text(v->u.number, text);
  else snprintf(text, sizeof text, "%lld", (long long)v->u.integer);
  return chat_put(r, x, text, v->user);
}

/* ---- str and repr ---- */

/* Code points that Python's repr shows as they are: not controls, formats, surrogates, private or odd spaces. */
static bool chat_is_printable(uint32_t c) {
  static const uint32_t hidden[][2] = {
    {0, 0x1F}, {0x7F, 0xA0}, {0xAD, 0xAD}, {0x378, 0x379}, {0x600, 0x605}, {0x61C, 0x61C}, {0x6DD, 0x6DD},
        {0x70F, 0x70F},
    {0x890, 0x891}, {0x8E2, 0x8E2}, {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200F}, {0x2028, 0x202F},
        {0x205F, 0x206F},
    {0x3000, 0x3000}, {0xD800, 0xF8FF}, {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0x110BD, 0x110BD},
    {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE00FF},
        {0xE01F0, 0x10FFFF}};
  for (int i = 0; i < ARRAY_LEN(hidden); i++)
    if (c >= hidden[i][0] && c <= hidden[i][1]) return false;
  return true;
}

static bool chat_put_repr_string(struct chat_run *r, struct chat_text *x, const struct chat_value *v) {
  struct str s = chat_str(v);
  bool user = chat_has_user(v), single = s.len && memchr(s.ptr, '\'', s.len), both = single &&
      memchr(s.ptr, '"', s.len);
  char quote[2] = {single && !both ? '"' : '\'', 0};
  if (v->safe && !chat_put(r, x, "Markup(", user)) return false;
  if (!chat_put(r, x, quote, user)) return false;
  for (size_t pos = 0; pos < s.len;) {
    char escape[16] = {0};
    size_t beg = pos;
    uint32_t c = utf8_decode(s, &pos);
    bool mark = v->marks ? v->marks[beg] : v->user;
    if (c == '\n' || c == '\r' || c == '\t')
      snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (c == '\\' || c == (unsigned char)quote[0]) snprintf(escape, sizeof escape, "\\%c", (char)c);
    else if (c == UTF8_BAD) snprintf(escape, sizeof escape, "\\x%02x", (unsigned char)s.ptr[beg]);
    else if (!chat_is_printable(c))
      snprintf(escape, sizeof escape, c < 256 ? "\\x%02x" : c < 65536 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    if (*escape ? !chat_put(r, x, escape, mark) : !chat_put_value(r, x, chat_cut(*v, beg, pos))) return false;
  }
  return chat_put(r, x, quote, user) && (!v->safe || chat_put(r, x, ")", user));
}

static bool chat_put_repr(struct chat_run *r, struct chat_text *x, const struct chat_value *v);

static bool chat_put_repr_list(struct chat_run *r, struct chat_text *x, const struct chat_list *list) {
  static const char *const open[] = {"[", "(", "[", "dict_items([", "dict_keys([", "dict_values([", ""};
  static const char *const close[] = {"]", ")", "]", "])", "])", "])", ""};
  if (list->kind == CHAT_GENERATOR) return chat_put(r, x, "<generator object>", false);
  if (!chat_put(r, x, open[list->kind], list->user)) return false;
  for (int i = 0; i < list->count; i++) {
    if (i && !chat_put(r, x, ", ", list->user)) return false;
    if (!chat_put_repr(r, x, &list->items[i])) return false;
  }
  if (list->kind == CHAT_TUPLE && list->count == 1 && !chat_put(r, x, ",", list->user)) return false;
  return chat_put(r, x, close[list->kind], list->user);
}

static bool chat_put_repr_range(struct chat_run *r, struct chat_text *x, const struct chat_list *list) {
  char text[120];
  int64_t first = list->count ? list->items[0].u.integer : 0;
  int64_t step = list->count > 1 ? list->items[1].u.integer - first : 1;
  int64_t end = first + step * list->count; // of at most 100,000 items
  if (step == 1) snprintf(text, sizeof text, "range(%lld, %lld)", (long long)first, (long long)end);
  else snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)first, (long long)end, (long long)step);
  return chat_put(r, x, text, list->user);
}

static bool chat_put_repr_dict(struct chat_run *r, struct chat_text *x, const struct chat_dict *d) {
  if (!chat_put(r, x, "{", d->user)) return false;
  for (int i = 0; i < d->count; i++) {
    if (i && !chat_put(r, x, ", ", d->user)) return false;
    if (!chat_put_repr(r, x, &d->pairs[i].key) || !chat_put(r, x, ": ", d->user)) return false;
    if (!chat_put_repr(r, x, &d->pairs[i].value)) return false;
  }
  return chat_put(r, x, "}", d->user);
}

static bool chat_put_repr(struct chat_run *r, struct chat_text *x, const struct chat_value *v) {
  bool ok;
  if (!chat_deeper(r) || !chat_spend(r, 0)) return false;
  switch (v->kind) {
  case CHAT_UNDEFINED: ok = chat_put(r, x, "Undefined", false); break;
  case CHAT_NONE: ok = chat_put(r, x, "None", v->user); break;
  case CHAT_BOOL: ok = chat_put(r, x, v->u.boolean ? "True" : "False", v->user); break;
  case CHAT_INT: case CHAT_FLOAT: ok = chat_put_number(r, x, v); break;
  case CHAT_STRING: ok = chat_put_repr_string(r, x, v); break;
  case CHAT_LIST:
    ok = v->u.list->kind == CHAT_RANGE ? chat_put_repr_range(r, x, v->u.list) : chat_put_repr_list(r, x, v->u.list);
    break;
  case CHAT_DICT: ok = chat_put_repr_dict(r, x, v->u.dict); break;
  case CHAT_NAMESPACE:
    ok = chat_put(r, x, "<Namespace ", false) && chat_put_repr_dict(r, x, v->u.dict) && chat_put(r, x, ">", false);
    break;
  default: ok = chat_put(r, x, "<", false) && chat_put(r, x, chat_type_name(v), false) &&
      chat_put(r, x, ">", false); break;
  }
  r->depth--;
  return ok;
}

/* str(v): a string is itself. */
static bool chat_to_string(struct chat_run *r, struct chat_value v, struct chat_value *out) {
  struct chat_text x = {0};
  *out = v;
  if (v.kind == CHAT_STRING) return true;
  if (v.kind == CHAT_UNDEFINED) *out = chat_string(STR(""));
  else if (!chat_put_repr(r, &x, &v)) return false;
  else *out = chat_text_value(&x);
  return true;
}

/* ---- json.dumps ---- */

struct chat_json_style {
  bool ascii, sorted, lines;
  struct chat_value indent, item, colon; // strings: one level of indentation; between items; behind a key
};

static bool chat_put_json_string(struct chat_run *r, struct chat_text *x, const struct chat_value *v, bool ascii) {
  static const char pairs[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  struct str s = chat_str(v);
  bool user = chat_has_user(v);
  size_t plain = 0;
  if (!chat_put(r, x, "\"", user)) return false;
  for (size_t pos = 0; pos < s.len;) {
    char escape[16] = {0};
    size_t beg = pos;
    uint32_t c = utf8_decode(s, &pos);
    const char *hit = (c && c < 32) || c == '"' || c == '\\' ? strchr(pairs, (int)c) : NULL;
    if (hit) snprintf(escape, sizeof escape, "\\%c", hit[1]);
    else if (c == UTF8_BAD) snprintf(escape, sizeof escape, "\\ufffd");
    else if (c < 32 || (ascii && c >= 127 && c < 65536)) snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
    else if (ascii && c >= 65536)
      snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((unsigned)(c - 65536) >> 10),
               0xDC00 + (unsigned)(c & 0x3FF));
    if (!*escape) continue;
    bool mark = v->marks ? v->marks[beg] : v->user;
    if (!chat_put_value(r, x, chat_cut(*v, plain, beg)) || !chat_put(r, x, escape, mark)) return false;
    plain = pos;
  }
  return chat_put_value(r, x, chat_cut(*v, plain, s.len)) && chat_put(r, x, "\"", user);
}

static bool chat_put_json(struct chat_run *r, struct chat_text *x, const struct chat_value *v,
                          const struct chat_json_style *style, int level);

static bool chat_put_json_line(struct chat_run *r, struct chat_text *x, const struct chat_json_style *style, int level,
                               bool user) {
  if (!style->lines) return true;
  if (!chat_put(r, x, "\n", user)) return false;
  for (int i = 0; i < level; i++)
    if (!chat_put_marked(r, x, style->indent.u.ptr, style->indent.len, style->indent.marks, user || style->indent.user))
      return false;
  return true;
}

static bool chat_put_separator(struct chat_run *r, struct chat_text *x, struct chat_value s, bool user) {
  if (user && !s.marks) s.user = true;
  return chat_put_value(r, x, s);
}

static bool chat_put_json_list(struct chat_run *r, struct chat_text *x, const struct chat_list *list,
                               const struct chat_json_style *style, int level) {
  bool user = list->user;
  if (list->kind != CHAT_PLAIN && list->kind != CHAT_TUPLE) {
    struct chat_value v = {.kind = CHAT_LIST};
    v.u.list = (struct chat_list *)(uintptr_t)list;
    return chat_fail(r, "an object of type %s cannot be written as JSON", chat_type_name(&v));
  }
  if (!list->count) return chat_put(r, x, "[]", user);
  if (!chat_put(r, x, "[", user)) return false;
  for (int i = 0; i < list->count; i++) {
    if (i && !chat_put_separator(r, x, style->item, user)) return false;
    if (!chat_put_json_line(r, x, style, level + 1, user) || !chat_put_json(r, x, &list->items[i], style, level + 1))
      return false;
  }
  return chat_put_json_line(r, x, style, level, user) && chat_put(r, x, "]", user);
}

static bool chat_put_json_key(struct chat_run *r, struct chat_text *x, const struct chat_value *key,
                              const struct chat_json_style *style) {
  if (key->kind == CHAT_STRING) return chat_put_json_string(r, x, key, style->ascii);
  if (key->kind == CHAT_NONE || key->kind == CHAT_BOOL || key->kind == CHAT_INT || key->kind == CHAT_FLOAT)
    return chat_put(r, x, "\"", key->user) && chat_put_json(r, x, key, style, 0) && chat_put(r, x, "\"", key->user);
  return chat_fail(r, "a key of type %s cannot be written as JSON", chat_type_name(key));
}

static bool chat_sort_pairs(struct chat_run *r, struct chat_pair *pairs, int n);

static bool chat_put_json_dict(struct chat_run *r, struct chat_text *x, const struct chat_dict *d,
                               const struct chat_json_style *style, int level) {
  struct chat_pair *pairs = d->pairs;
  if (!d->count) return chat_put(r, x, "{}", d->user);
  if (style->sorted) {
    if (!(pairs = chat_new(r, (size_t)d->count, sizeof *pairs))) return false;
    memcpy(pairs, d->pairs, (size_t)d->count * sizeof *pairs);
    if (!chat_sort_pairs(r, pairs, d->count)) return false;
  }
  if (!chat_put(r, x, "{", d->user)) return false;
  for (int i = 0; i < d->count; i++) {
    if (i && !chat_put_separator(r, x, style->item, d->user)) return false;
    if (!chat_put_json_line(r, x, style, level + 1, d->user) || !chat_put_json_key(r, x, &pairs[i].key, style))
      return false;
    if (!chat_put_separator(r, x, style->colon, d->user) || !chat_put_json(r, x, &pairs[i].value, style, level + 1))
      return false;
  }
  return chat_put_json_line(r, x, style, level, d->user) && chat_put(r, x, "}", d->user);
}

static bool chat_put_json(struct chat_run *r, struct chat_text *x, const struct chat_value *v,
                          const struct chat_json_style *style, int level) {
  bool ok;
  if (!chat_deeper(r) || !chat_spend(r, 0)) return false;
  switch (v->kind) {
  case CHAT_NONE: ok = chat_put(r, x, "null", v->user); break;
  case CHAT_BOOL: ok = chat_put(r, x, v->u.boolean ? "true" : "false", v->user); break;
  case CHAT_INT: ok = chat_put_number(r, x, v); break;
  case CHAT_FLOAT:
    if (v->u.number - v->u.number == 0) ok = chat_put_number(r, x, v);
    else ok = chat_put(r, x, v->u.number != v->u.number ? "NaN" : v->u.number > 0 ? "Infinity" : "-Infinity", v->user);
    break;
  case CHAT_STRING: ok = chat_put_json_string(r, x, v, style->ascii); break;
  case CHAT_LIST: ok = chat_put_json_list(r, x, v->u.list, style, level); break;
  case CHAT_DICT: ok = chat_put_json_dict(r, x, v->u.dict, style, level); break;
  default: ok = chat_fail(r, "an object of type %s cannot be written as JSON", chat_type_name(v)); break;
  }
  r->depth--;
  return ok;
}

/* ---- comparison ---- */

static bool chat_equal_dicts(struct chat_run *r, struct chat_dict *a, struct chat_dict *b, bool *equal) {
  *equal = a->count == b->count;
  for (int i = 0; *equal && i < a->count; i++) {
    struct chat_value *other;
    if (!chat_dict_find(r, b, &a->pairs[i].key, &other)) return false;
    *equal = other != NULL;
    if (other && !chat_equal(r, &a->pairs[i].value, other, equal)) return false;
  }
  return true;
}

static bool chat_equal_lists(struct chat_run *r, const struct chat_list *a, const struct chat_list *b, bool *equal) {
  *equal = a == b || (a->kind == b->kind && a->kind != CHAT_GENERATOR && a->kind != CHAT_VALUES &&
                      a->count == b->count);
  for (int i = 0; *equal && a != b && i < a->count; i++)
    if (!chat_equal(r, &a->items[i], &b->items[i], equal)) return false;
  return true;
}

static bool chat_equal(struct chat_run *r, const struct chat_value *a, const struct chat_value *b, bool *equal) {
  double x, y;
  int64_t i, j;
  bool ok = true;
  *equal = false;
  if (!chat_deeper(r) || !chat_spend(r, 0)) return false;
  if (chat_integer(a, &i) && chat_integer(b, &j)) {
    *equal = i == j;
  } else if (chat_number(a, &x) && chat_number(b, &y)) {
    *equal = a->spelling && b->spelling ? str_eq((struct str){a->spelling, a->len}, (struct str){b->spelling, b->len}) :
        x == y;
  } else if (a->kind == b->kind) {
    switch (a->kind) {
    case CHAT_STRING: *equal = str_eq(chat_str(a), chat_str(b)); break;
    case CHAT_LIST: ok = chat_equal_lists(r, a->u.list, b->u.list, equal); break;
    case CHAT_DICT: ok = chat_equal_dicts(r, a->u.dict, b->u.dict, equal); break;
    case CHAT_UNDEFINED: case CHAT_NONE: *equal = true; break;
    default: *equal = a->u.dict == b->u.dict; break; // the same object
    }
  }
  r->depth--;
  return ok;
}

/* -1, 0, 1 for values that have an order; an error for those that have none. */
static bool chat_compare(struct chat_run *r, const struct chat_value *a, const struct chat_value *b, int *order) {
  double x, y;
  int64_t i, j;
  if (!chat_spend(r, 0)) return false;
  if (a->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, a);
  if (b->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, b);
  if (chat_integer(a, &i) && chat_integer(b, &j)) {
    *order = (i > j) - (i < j);
    return true;
  }
  if (chat_number(a, &x) && chat_number(b, &y)) {
    *order = (x > y) - (x < y);
    return true;
  }
  if (a->kind == CHAT_STRING && b->kind == CHAT_STRING) {
    *order = str_compare(chat_str(a), chat_str(b)); // bytes of UTF-8: also the order of code points
    return chat_spend(r, a->len < b->len ? a->len : b->len);
  }
  if (a->kind != CHAT_LIST || b->kind != CHAT_LIST || a->u.list->kind != b->u.list->kind ||
      a->u.list->kind > CHAT_TUPLE)
    return chat_fail(r, "'<' not supported between instances of '%s' and '%s'", chat_type_name(a), chat_type_name(b));
  const struct chat_list *p = a->u.list, *q = b->u.list;
  bool ok = chat_deeper(r), equal = true;
  int k = 0;
  for (; ok && k < p->count && k < q->count; k++) {
    ok = chat_equal(r, &p->items[k], &q->items[k], &equal);
    if (!equal) break;
  }
  if (ok && equal) *order = (p->count > q->count) - (p->count < q->count);
  else if (ok) ok = chat_compare(r, &p->items[k], &q->items[k], order);
  r->depth--;
  return ok;
}

/* Merge sort of values by keys, stable. `keys` and `items` have n entries and are sorted together. */
static bool chat_sort(struct chat_run *r, struct chat_value *keys, struct chat_value *items, int n, bool reverse) {
  struct chat_value *k2 = chat_new(r, (size_t)n, sizeof *k2), *i2 = chat_new(r, (size_t)n, sizeof *i2);
  struct chat_value *k1 = keys, *i1 = items;
  if (!k2 || !i2) return false;
  for (int width = 1; width < n; width = width > n / 2 ? n : width * 2) {
    for (int beg = 0; beg < n; beg = n - beg < 2 * width ? n : beg + 2 * width) {
      int mid = n - beg < width ? n : beg + width, end = n - mid < width ? n : mid + width;
      for (int i = beg, j = mid, k = beg; k < end; k++) {
        int order = i < mid ? -1 : 1;
        if (i < mid && j < end && !chat_compare(r, &k1[i], &k1[j], &order)) return false;
        if (i < mid && j < end && reverse) order = -order;
        int from = order <= 0 ? i++ : j++;
        k2[k] = k1[from];
        i2[k] = i1[from];
      }
    }
    struct chat_value *swap = k1;
    k1 = k2, k2 = swap;
    swap = i1;
    i1 = i2, i2 = swap;
  }
  if (k1 != keys && n) {
    memcpy(keys, k1, (size_t)n * sizeof *keys);
    memcpy(items, i1, (size_t)n * sizeof *items);
  }
  return true;
}

static bool chat_sort_pairs(struct chat_run *r, struct chat_pair *pairs, int n) {
  struct chat_value *keys = chat_new(r, (size_t)n, sizeof *keys), *values = chat_new(r, (size_t)n, sizeof *values);
  if (!keys || !values) return false;
  for (int i = 0; i < n; i++) keys[i] = pairs[i].key, values[i] = pairs[i].value;
  if (!chat_sort(r, keys, values, n, false)) return false;
  for (int i = 0; i < n; i++) pairs[i] = (struct chat_pair){keys[i], values[i]};
  return true;
}

/* ---- `in`, subscripts and slices ---- */

static bool chat_contains(struct chat_run *r, const struct chat_value *where, const struct chat_value *what,
                          bool *found) {
  *found = false;
  if (where->kind == CHAT_STRING) {
    if (what->kind != CHAT_STRING) return chat_fail_type(r, what, "a string to look for in a string");
    *found = str_find(chat_str(where), chat_str(what), 0) != SIZE_MAX;
    return chat_spend(r, where->len);
  }
  if (where->kind == CHAT_DICT) {
    struct chat_value *value;
    if (!chat_dict_find(r, where->u.dict, what, &value)) return false;
    *found = value != NULL;
    return true;
  }
  struct chat_list *list;
  if (!chat_items(r, where, &list)) return false;
  for (int i = 0; i < list->count && !*found; i++)
    if (!chat_equal(r, &list->items[i], what, found)) return false;
  return true;
}

/* a[index] for a whole number: `out` stays absent when there is no such item. */
static bool chat_at_index(struct chat_run *r, const struct chat_value *a, int64_t index, struct chat_value *out) {
  int64_t n;
  *out = (struct chat_value){0};
  if (!chat_length(r, a, &n)) return false;
  if (index < 0) index += n;
  if (index < 0 || index >= n) return true;
  if (a->kind == CHAT_LIST) {
    *out = a->u.list->items[index];
    return true;
  }
  size_t beg = 0, end;
  while (index-- > 0) utf8_decode(chat_str(a), &beg);
  end = beg;
  utf8_decode(chat_str(a), &end);
  *out = chat_cut(*a, beg, end);
  return true;
}

/* Python's slice.indices(): where a slice of n items starts, how many it takes. */
static bool chat_slice_range(struct chat_run *r, const struct chat_value bounds[3], int64_t n, int64_t *start,
                             int64_t *step, int64_t *count) {
  int64_t stop;
  *step = 1;
  if (bounds[2].kind != CHAT_NONE && !chat_need_int(r, &bounds[2], step)) return false;
  if (*step == 0) return chat_fail(r, "slice step cannot be zero");
  if (*step < -n - 1) *step = -n - 1;
  if (*step > n + 1) *step = n + 1;
  int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
  *start = *step < 0 ? high : low;
  stop = *step < 0 ? low : high;
  for (int i = 0; i < 2; i++) {
    int64_t v, *to = i ? &stop : start;
    if (bounds[i].kind == CHAT_NONE) continue;
    if (!chat_need_int(r, &bounds[i], &v)) return false;
    if (v < 0) v = v < -n ? -n - 1 : v;
    if (v < 0) v += n;
    *to = v < low ? low : v > high ? high : v;
  }
  int64_t span = *step > 0 ? stop - *start : *start - stop, stride = *step > 0 ? *step : -*step;
  *count = span <= 0 ? 0 : (span + stride - 1) / stride;
  return true;
}

static bool chat_slice_string(struct chat_run *r, const struct chat_value *s, int64_t start, int64_t step,
                              int64_t count, struct chat_value *out) {
  struct str text = chat_str(s);
  size_t beg = 0, pos;
  for (int64_t i = 0; i < start; i++) utf8_decode(text, &beg);
  if (step == 1) {
    pos = beg;
    for (int64_t i = 0; i < count; i++) utf8_decode(text, &pos);
    *out = chat_cut(*s, beg, pos);
    return true;
  }
  struct chat_text x = {0};
  struct chat_list chars = {0};
  if (!chat_string_chars(r, s, &chars)) return false;
  for (int64_t i = 0; i < count; i++)
    if (!chat_put_value(r, &x, chars.items[start + i * step])) return false;
  *out = chat_text_value(&x);
  out->safe = s->safe;
  return true;
}

static bool chat_slice(struct chat_run *r, const struct chat_value *a, const struct chat_value bounds[3],
                       struct chat_value *out) {
  int64_t n, start = 0, step = 1, count = 0;
  if (a->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, a);
  if (a->kind != CHAT_STRING && (a->kind != CHAT_LIST || a->u.list->kind > CHAT_RANGE))
    return chat_fail(r, "'%s' object cannot be sliced", chat_type_name(a));
  if (!chat_length(r, a, &n) || !chat_slice_range(r, bounds, n, &start, &step, &count)) return false;
  if (a->kind == CHAT_STRING) return chat_slice_string(r, a, start, step, count, out);
  struct chat_list *list = chat_new_list(r, (int)count, (enum chat_list_kind)a->u.list->kind, a->u.list->user);
  if (!list || !chat_spend(r, (size_t)count * 4)) return false;
  for (int64_t i = 0; i < count; i++) list->items[list->count++] = a->u.list->items[start + i * step];
  *out = chat_list_value(list);
  return true;
}
