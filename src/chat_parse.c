/* chat_parse.c -- the compiler of chat templates: Jinja text in, a tree of nodes in an arena out, or line, column and
 * what is wrong.
 *
 * Recursive descent as deep as CHAT_NESTING; chains of operators, subscripts and filters are flat lists, so that only
 * brackets and blocks nest. The first error sticks and every function then returns NULL. A filter or test that does
 * not exist is an error at once, unless it stands inside a condition: then, as in jinja2, only when it is reached.
 * SPDX-License-Identifier: MIT */

struct chat_parser {
  struct chat_lexer lexer;
  struct chat_token token; // the one being looked at
  struct chat_template *template;
  struct arena *arena;
  struct bk_error *error;
  bool failed;
  int depth, loops, conditions; // open expressions and blocks; loops around; conditions around
  struct chat_node *unknown;    // a filter or test that does not exist, outside of any condition so far
  uint8_t uses;                 // CHAT_USES_* seen in the macro being parsed
};

static struct chat_node *chat_parse_expression(struct chat_parser *p);
static struct chat_node *chat_parse_logic(struct chat_parser *p, bool either);
static bool chat_parse_body(struct chat_parser *p, const char *ends, struct chat_node **body, struct str *end);

BASE_PRINTF(3, 4) static struct chat_node *chat_refuse(struct chat_parser *p, uint32_t pos, const char *format, ...) {
  char text[200];
  int line, column;
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  chat_line_column(p->lexer.src, pos, &line, &column);
  err_set(p->error, ERR_DATA, "chat template, line %d, column %d: %s", line, column, text);
  p->failed = true;
  return NULL;
}

static void chat_next(struct chat_parser *p) {
  do p->token = chat_lex(&p->lexer);
  while (p->token.kind == CHAT_T_TEXT && p->token.text.len == 0);
  if (p->token.kind == CHAT_T_BAD) chat_refuse(p, p->token.pos, "%s", p->lexer.problem);
}

static const char *chat_describe(const struct chat_token *t, char text[64]) {
  static const char *const names[] = {"the end of the template", "text", "'{{'", "'}}'", "'{%'", "'%}'", 0, "a string",
                                      "a number", "a number"};
  if (t->kind <= CHAT_T_FLOAT && names[t->kind]) return names[t->kind];
  snprintf(text, 64, "'%.*s'", t->text.len > 40 ? 40 : (int)t->text.len, t->text.ptr ? t->text.ptr : "");
  return text;
}

static struct chat_node *chat_expected(struct chat_parser *p, const char *what) {
  char text[64];
  if (p->failed) return NULL;
  return chat_refuse(p, p->token.pos, "%s where %s was expected", chat_describe(&p->token, text), what);
}

static bool chat_is_op(const struct chat_parser *p, int op) { return p->token.kind == CHAT_T_OP && p->token.op == op; }

static bool chat_is_word(const struct chat_parser *p, const char *word) {
  return p->token.kind == CHAT_T_NAME && str_is(p->token.text, word);
}

static bool chat_take_op(struct chat_parser *p, int op) {
  if (p->failed || !chat_is_op(p, op)) return false;
  chat_next(p);
  return true;
}

static bool chat_take_word(struct chat_parser *p, const char *word) {
  if (p->failed || !chat_is_word(p, word)) return false;
  chat_next(p);
  return true;
}

static bool chat_need_op(struct chat_parser *p, int op) {
  char what[4] = {'\'', (char)op, '\'', 0};
  if (chat_take_op(p, op)) return true;
  chat_expected(p, what);
  return false;
}

static struct chat_token chat_look(const struct chat_parser *p) { // the token after this one
  struct chat_lexer copy = p->lexer;
  return chat_lex(&copy);
}

static void *chat_keep(struct chat_parser *p, size_t size) {
  void *m = p->failed ? NULL : arena_alloc(p->arena, 1, size, 16);
  if (!m && !p->failed) chat_refuse(p, p->token.pos, "the template does not fit in the memory set aside for it");
  return m;
}

static struct chat_node *chat_new_node(struct chat_parser *p, enum chat_op kind, uint32_t pos) {
  struct chat_node *n = chat_keep(p, sizeof *n);
  if (!n) return NULL;
  n->kind = (uint8_t)kind;
  n->pos = pos;
  return n;
}

/* Children are appended through a tail pointer that the caller keeps. NULL children have already set the error. */
static bool chat_add(struct chat_node *parent, struct chat_node **tail, struct chat_node *child) {
  if (!parent || !child) return false;
  if (*tail) (*tail)->next = child;
  else parent->first = child;
  *tail = child;
  parent->count++;
  return true;
}

static bool chat_enter(struct chat_parser *p) {
  if (p->depth++ < CHAT_NESTING) return !p->failed;
  if (!p->failed) chat_refuse(p, p->token.pos, "nested deeper than %d levels", CHAT_NESTING);
  return false;
}

static struct chat_name *chat_find_name(const struct chat_template *t, struct str text) {
  struct chat_name *n = t->names[str_hash(text) % CHAT_BUCKETS];
  while (n && !str_eq(n->text, text)) n = n->next;
  return n;
}

static const struct chat_name *chat_intern(struct chat_parser *p, struct str text) {
  struct chat_name *n = chat_find_name(p->template, text);
  if (n || !(n = chat_keep(p, sizeof *n))) return n;
  struct chat_name **bucket = &p->template->names[str_hash(text) % CHAT_BUCKETS];
  *n = (struct chat_name){.text = text, .next = *bucket};
  *bucket = n;
  return n;
}

static const struct chat_name *chat_take_name(struct chat_parser *p) {
  if (p->failed || p->token.kind != CHAT_T_NAME || (p->token.text.ptr[0] >= '0' && p->token.text.ptr[0] <= '9')) {
    chat_expected(p, "a name");
    return NULL;
  }
  const struct chat_name *name = chat_intern(p, p->token.text);
  chat_next(p);
  return name;
}

/* ---- literals ---- */

static int chat_hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 :
      -1;
}

/* The escapes of Python's string literals; i stands behind the backslash. Returns false for what is no escape at all.
 * */
static bool chat_escape(struct str s, size_t *i, uint32_t *code, bool *bad) {
  static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
  char c = s.ptr[*i];
  const char *hit = c ? strchr(from, c) : NULL;
  if (hit) {
    *code = (uint32_t)to[hit - from];
    ++*i;
    return true;
  }
  if (c >= '0' && c <= '7') {
    *code = 0;
    for (int k = 0; k < 3 && *i < s.len && s.ptr[*i] >= '0' && s.ptr[*i] <= '7'; k++)
      *code = *code * 8 + (uint32_t)(s.ptr[(*i)++] - '0');
    return true;
  }
  int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (!digits) {
    *bad = c == 'N';
    return false;
  }
  *code = 0;
  ++*i;
  for (int k = 0; k < digits; k++, ++*i) {
    int d = *i < s.len ? chat_hex_digit(s.ptr[*i]) : -1;
    if (d < 0) *bad = true;
    if (*bad) return false;
    *code = *code << 4 | (uint32_t)d;
  }
  *bad = *code > 0x10FFFF || (*code >= 0xD800 && *code <= 0xDFFF);
  return !*bad;
}

static struct str chat_unescape(struct chat_parser *p, struct str s, uint32_t pos) {
  if (!s.len || !memchr(s.ptr, '\\', s.len)) return s;
  char *out = arena_alloc(p->arena, s.len, 1, 1); // an escape is never shorter than what it stands for
  size_t n = 0;
  if (!out) {
    chat_refuse(p, pos, "the template does not fit in the memory set aside for it");
    return STR_NONE;
  }
  for (size_t i = 0; i < s.len;) {
    uint32_t code;
    bool bad = false;
    if (s.ptr[i] != '\\' || i + 1 == s.len) {
      out[n++] = s.ptr[i++];
      continue;
    }
    i++;
    if (s.ptr[i] == '\n') {
      i++;
    } else if (chat_escape(s, &i, &code, &bad)) {
      char utf8[4];
      int len = utf8_encode(code, utf8); // \xE9 is 4 bytes for 2, \400 for 2, so it always fits
      memcpy(out + n, utf8, (size_t)len);
      n += (size_t)len;
    } else if (bad) {
      chat_refuse(p, pos, "a string with an escape that is no character");
      return STR_NONE;
    } else {
      out[n++] = '\\';
    }
  }
  return (struct str){out, n};
}

static struct chat_value chat_string(struct str s) {
  struct chat_value v = {.kind = CHAT_STRING, .len = s.len};
  v.u.ptr = s.ptr ? s.ptr : "";
  return v;
}

static struct chat_node *chat_parse_string(struct chat_parser *p) {
  struct chat_node *n = chat_new_node(p, CHAT_CONST, p->token.pos);
  struct str whole = chat_unescape(p, p->token.text, p->token.pos);
  if (!n || p->failed) return NULL;
  for (chat_next(p); !p->failed && p->token.kind == CHAT_T_STRING; chat_next(p)) { // "a" "b" is one string
    struct str more = chat_unescape(p, p->token.text, p->token.pos);
    char *both = p->failed ? NULL : arena_alloc(p->arena, whole.len + more.len, 1, 1);
    if (!both)
      return p->failed ? NULL : chat_refuse(p, n->pos, "the template does not fit in the memory set aside for it");
    if (whole.len) memcpy(both, whole.ptr, whole.len);
    if (more.len) memcpy(both + whole.len, more.ptr, more.len);
    whole = (struct str){both, whole.len + more.len};
  }
  n->value = chat_string(whole);
  return n;
}

static struct chat_node *chat_parse_number(struct chat_parser *p) {
  struct chat_node *n = chat_new_node(p, CHAT_CONST, p->token.pos);
  char digits[64];
  size_t len = 0;
  if (!n) return NULL;
  for (size_t i = 0; i < p->token.text.len && len < sizeof digits; i++)
    if (p->token.text.ptr[i] != '_') digits[len++] = p->token.text.ptr[i];
  struct str s = {digits, len};
  if (p->token.kind == CHAT_T_INT) {
    n->value.kind = CHAT_INT;
    if (!str_to_int(s, &n->value.u.integer)) return chat_refuse(p, n->pos, "a number too large");
  } else {
    n->value.kind = CHAT_FLOAT;
    if (!str_to_double(s, &n->value.u.number)) return chat_refuse(p, n->pos, "a number too large");
  }
  chat_next(p);
  return n;
}

/* ---- primaries ---- */

static bool chat_tuple_ends(const struct chat_parser *p) {
  return p->token.kind == CHAT_T_PRINT_END || p->token.kind == CHAT_T_BLOCK_END || chat_is_op(p, ')');
}

/* One expression, or several with commas between: a tuple. Behind `in` of a for, an `if` belongs to the loop. */
static struct chat_node *chat_parse_tuple(struct chat_parser *p, bool inline_if, bool may_be_empty) {
  uint32_t pos = p->token.pos;
  if (may_be_empty && chat_tuple_ends(p)) return chat_new_node(p, CHAT_MAKE_TUPLE, pos);
  struct chat_node *one = inline_if ? chat_parse_expression(p) : chat_parse_logic(p, true), *tail = NULL;
  if (!one || !chat_is_op(p, ',')) return one;
  struct chat_node *tuple = chat_new_node(p, CHAT_MAKE_TUPLE, pos);
  if (!chat_add(tuple, &tail, one)) return NULL;
  while (chat_take_op(p, ',') && !chat_tuple_ends(p))
    if (!chat_add(tuple, &tail, inline_if ? chat_parse_expression(p) : chat_parse_logic(p, true))) return NULL;
  return p->failed ? NULL : tuple;
}

static struct chat_node *chat_parse_list(struct chat_parser *p) {
  struct chat_node *list = chat_new_node(p, CHAT_MAKE_LIST, p->token.pos), *tail = NULL;
  chat_next(p);
  while (list && !chat_is_op(p, ']')) {
    if (tail && !chat_need_op(p, ',')) return NULL;
    if (chat_is_op(p, ']')) break;
    if (!chat_add(list, &tail, chat_parse_expression(p))) return NULL;
  }
  return list && chat_need_op(p, ']') ? list : NULL;
}

static struct chat_node *chat_parse_dict(struct chat_parser *p) {
  // children: key, value, key, value ...
  struct chat_node *dict = chat_new_node(p, CHAT_MAKE_DICT, p->token.pos), *tail = NULL;
  chat_next(p);
  while (dict && !chat_is_op(p, '}')) {
    if (tail && !chat_need_op(p, ',')) return NULL;
    if (chat_is_op(p, '}')) break;
    if (!chat_add(dict, &tail, chat_parse_expression(p)) || !chat_need_op(p, ':')) return NULL;
    if (!chat_add(dict, &tail, chat_parse_expression(p))) return NULL;
  }
  return dict && chat_need_op(p, '}') ? dict : NULL;
}

static struct chat_node *chat_parse_word(struct chat_parser *p) {
  struct str word = p->token.text;
  bool yes = str_is(word, "true") || str_is(word, "True"), no = str_is(word, "false") || str_is(word, "False");
  bool none = str_is(word, "none") || str_is(word, "None");
  struct chat_node *n = chat_new_node(p, yes || no || none ? CHAT_CONST : CHAT_NAME, p->token.pos);
  if (!n) return NULL;
  if (n->kind == CHAT_NAME) {
    if (str_is(word, "varargs")) p->uses |= CHAT_USES_VARARGS;
    if (str_is(word, "kwargs")) p->uses |= CHAT_USES_KWARGS;
    n->name = chat_take_name(p);
    return n->name ? n : NULL;
  }
  n->value.kind = none ? CHAT_NONE : CHAT_BOOL;
  if (!none) n->value.u.boolean = yes;
  chat_next(p);
  return n;
}

static struct chat_node *chat_parse_primary(struct chat_parser *p) {
  if (p->failed) return NULL;
  switch (p->token.kind) {
  case CHAT_T_NAME: return chat_parse_word(p);
  case CHAT_T_STRING: return chat_parse_string(p);
  case CHAT_T_INT: case CHAT_T_FLOAT: return chat_parse_number(p);
  default: break;
  }
  if (chat_is_op(p, '[')) return chat_parse_list(p);
  if (chat_is_op(p, '{')) return chat_parse_dict(p);
  if (!chat_take_op(p, '(')) return chat_expected(p, "an expression");
  struct chat_node *n = chat_parse_tuple(p, true, true);
  return n && chat_need_op(p, ')') ? n : NULL;
}

/* ---- steps behind a primary: .name [item] [a:b:c] (call) |filter `is test` ---- */

static struct chat_node *chat_parse_subscript(struct chat_parser *p) {
  struct chat_node *parts[3] = {0}, *n = chat_new_node(p, CHAT_ITEM, p->token.pos), *tail = NULL;
  int colons = 0;
  if (!n) return NULL;
  if (chat_take_op(p, '.')) {
    if (p->token.kind == CHAT_T_INT) return chat_add(n, &tail, chat_parse_number(p)) ? n : NULL;
    n->kind = CHAT_ATTRIBUTE;
    n->name = chat_take_name(p);
    return n->name ? n : NULL;
  }
  chat_next(p); // the bracket
  while (!p->failed && !chat_is_op(p, ']')) {
    if (chat_take_op(p, ':')) {
      if (++colons > 2) return chat_expected(p, "']'");
    } else if (parts[colons]) {
      return chat_expected(p, "']'");
    } else if (!(parts[colons] = chat_parse_expression(p))) {
      return NULL;
    }
  }
  if (!chat_need_op(p, ']')) return NULL;
  if (!colons) return parts[0] ? (chat_add(n, &tail, parts[0]), n) : chat_refuse(p, n->pos, "an empty subscript");
  n->kind = CHAT_SLICE;
  for (int i = 0; i < 3; i++) {
    if (!parts[i] && (parts[i] = chat_new_node(p, CHAT_CONST, n->pos))) parts[i]->value.kind = CHAT_NONE;
    if (!chat_add(n, &tail, parts[i])) return NULL;
  }
  return n;
}

/* Arguments in brackets become the children of `call`; those with a name are keyword arguments. */
static bool chat_parse_arguments(struct chat_parser *p, struct chat_node *call) {
  struct chat_node *tail = NULL;
  if (!call || !chat_need_op(p, '(')) return false;
  while (!chat_is_op(p, ')')) {
    if (tail && !chat_need_op(p, ',')) return false;
    if (chat_is_op(p, ')')) break;
    const struct chat_name *name = NULL;
    uint8_t flags = chat_take_op(p, CHAT_POW) ? CHAT_STAR_STAR : chat_take_op(p, '*') ? CHAT_STAR : 0;
    if (!flags && p->token.kind == CHAT_T_NAME && chat_look(p).kind == CHAT_T_OP && chat_look(p).op == '=') {
      name = chat_take_name(p);
      chat_next(p);
    } else if (!flags && tail && (tail->name || tail->flags) && tail->op) {
      chat_expected(p, "a keyword argument");
      return false;
    }
    struct chat_node *value = chat_parse_expression(p), *argument = chat_new_node(p, CHAT_CONST, p->token.pos);
    if (!value || !argument) return false;
    argument->body = value; // a node of its own, since a name node has a name already
    argument->name = name;
    argument->flags = flags;
    argument->op = name || flags == CHAT_STAR_STAR;
    if (!chat_add(call, &tail, argument)) return false;
  }
  return chat_need_op(p, ')');
}

static struct chat_node *chat_parse_call(struct chat_parser *p) {
  struct chat_node *n = chat_new_node(p, CHAT_CALL, p->token.pos);
  return chat_parse_arguments(p, n) ? n : NULL;
}

/* A name with dots; ours have none, so a dotted name is simply unknown. */
static struct chat_node *chat_parse_filter(struct chat_parser *p) {
  struct chat_node *n = chat_new_node(p, CHAT_FILTER, p->token.pos);
  if (!n || !(n->name = chat_take_name(p))) return NULL;
  n->builtin = chat_find_filter(n->name->text);
  if (!n->builtin && !p->unknown) p->unknown = n;
  if (chat_is_op(p, '(') && !chat_parse_arguments(p, n)) return NULL;
  return p->failed ? NULL : n;
}

static bool chat_starts_test_argument(const struct chat_parser *p) {
  if (p->token.kind == CHAT_T_NAME)
    return !chat_is_word(p, "else") && !chat_is_word(p, "or") && !chat_is_word(p, "and");
  return p->token.kind == CHAT_T_STRING || p->token.kind == CHAT_T_INT || p->token.kind == CHAT_T_FLOAT ||
      chat_is_op(p, '[') ||
         chat_is_op(p, '{');
}

/* What follows a primary: subscripts and calls into `chain`, whose tail is kept by the caller. */
static bool chat_parse_postfix(struct chat_parser *p, struct chat_node **chain, struct chat_node **tail);

/* `is not x`: the step carries the negation in its op. */
static struct chat_node *chat_parse_test(struct chat_parser *p) {
  bool negated = chat_take_word(p, "not");
  struct chat_node *n = chat_new_node(p, CHAT_TEST, p->token.pos), *tail = NULL;
  if (!n || !(n->name = chat_take_name(p))) return NULL;
  n->op = negated;
  n->builtin = chat_find_test(n->name->text);
  if (!n->builtin && !p->unknown) p->unknown = n;
  if (chat_is_op(p, '(')) return chat_parse_arguments(p, n) ? n : NULL;
  if (p->failed || !chat_starts_test_argument(p)) return p->failed ? NULL : n;
  if (chat_is_word(p, "is")) return chat_expected(p, "the end of the test");
  if (!chat_enter(p)) return NULL;
  struct chat_node *value = chat_parse_primary(p), *steps = NULL, *argument = chat_new_node(p, CHAT_CONST, n->pos);
  if (!value || !argument || !chat_parse_postfix(p, &value, &steps)) return NULL;
  p->depth--;
  argument->body = value;
  return chat_add(n, &tail, argument) ? n : NULL;
}

/* Appends a step, making a chain out of a bare primary when the first comes. */
static bool chat_add_step(struct chat_parser *p, struct chat_node **chain, struct chat_node **tail,
                          struct chat_node *step) {
  if (!step) return false;
  if (!*tail) {
    struct chat_node *n = chat_new_node(p, CHAT_POSTFIX, (*chain)->pos);
    if (!chat_add(n, tail, *chain)) return false;
    *chain = n;
  }
  return chat_add(*chain, tail, step);
}

static bool chat_parse_postfix(struct chat_parser *p, struct chat_node **chain, struct chat_node **tail) {
  while (!p->failed) {
    if (chat_is_op(p, '.') || chat_is_op(p, '[')) {
      if (!chat_add_step(p, chain, tail, chat_parse_subscript(p))) return false;
    } else if (chat_is_op(p, '(')) {
      if (!chat_add_step(p, chain, tail, chat_parse_call(p))) return false;
    } else {
      return true;
    }
  }
  return false;
}

static struct chat_node *chat_parse_unary(struct chat_parser *p, bool with_filter) {
  struct chat_node *n, *steps = NULL;
  uint32_t pos = p->token.pos;
  bool minus = chat_take_op(p, '-'), plus = !minus && chat_take_op(p, '+');
  if (minus || plus) {
    n = chat_new_node(p, minus ? CHAT_NEGATE : CHAT_POSITIVE, pos);
    struct chat_node *tail = NULL;
    if (!chat_enter(p) || !chat_add(n, &tail, chat_parse_unary(p, false))) return NULL;
    p->depth--;
  } else {
    n = chat_parse_primary(p);
  }
  if (!n || !chat_parse_postfix(p, &n, &steps)) return NULL;
  while (with_filter && !p->failed) {
    struct chat_node *step;
    if (chat_take_op(p, '|')) step = chat_parse_filter(p);
    else if (chat_take_word(p, "is")) step = chat_parse_test(p);
    else if (chat_is_op(p, '(')) step = chat_parse_call(p);
    else break;
    if (!chat_add_step(p, &n, &steps, step)) return NULL;
  }
  return p->failed ? NULL : n;
}

/* ---- operators, from the tightest to the loosest ---- */

static int chat_operator(const struct chat_parser *p, int level) {
  static const int ops[4][5] = {{CHAT_POW}, {'*', '/', CHAT_FLOORDIV, '%'}, {'~'}, {'+', '-'}};
  for (int i = 0; i < 5 && ops[level][i]; i++)
    if (chat_is_op(p, ops[level][i])) return ops[level][i];
  return 0;
}

/* Chains of one level: ** binds tightest, then * / // %, then ~, then + -. All lean left. */
static struct chat_node *chat_parse_chain(struct chat_parser *p, int level) {
  struct chat_node *n = level ? chat_parse_chain(p, level - 1) : chat_parse_unary(p, true), *tail = NULL;
  if (!n || p->failed || !chat_operator(p, level)) return p->failed ? NULL : n;
  struct chat_node *chain = chat_new_node(p, level == 2 ? CHAT_CONCAT : CHAT_FOLD, n->pos);
  if (!chat_add(chain, &tail, n)) return NULL;
  for (int op; !p->failed && (op = chat_operator(p, level));) {
    chat_next(p);
    struct chat_node *right = level ? chat_parse_chain(p, level - 1) : chat_parse_unary(p, true);
    if (!chat_add(chain, &tail, right)) return NULL;
    right->op = (uint16_t)op;
  }
  return p->failed ? NULL : chain;
}

static int chat_comparison(struct chat_parser *p) {
  static const int ops[] = {CHAT_EQ, CHAT_NE, CHAT_LE, CHAT_GE, '<', '>'};
  if (p->failed) return 0;
  for (int i = 0; i < ARRAY_LEN(ops); i++)
    if (chat_take_op(p, ops[i])) return ops[i];
  if (chat_take_word(p, "in")) return CHAT_IN;
  if (!chat_is_word(p, "not")) return 0;
  struct chat_token next = chat_look(p);
  if (next.kind != CHAT_T_NAME || !str_is(next.text, "in")) return 0;
  chat_next(p);
  chat_next(p);
  return CHAT_NOT_IN;
}

static struct chat_node *chat_parse_comparison(struct chat_parser *p) {
  struct chat_node *n = chat_parse_chain(p, 3), *chain = NULL, *tail = NULL;
  for (int op; n && (op = chat_comparison(p));) {
    if (!chain && (!(chain = chat_new_node(p, CHAT_COMPARE, n->pos)) || !chat_add(chain, &tail, n))) return NULL;
    struct chat_node *right = chat_parse_chain(p, 3);
    if (!chat_add(chain, &tail, right)) return NULL;
    right->op = (uint16_t)op;
  }
  return p->failed ? NULL : chain ? chain : n;
}

static struct chat_node *chat_parse_not(struct chat_parser *p) {
  uint32_t pos = p->token.pos;
  if (!chat_is_word(p, "not")) return chat_parse_comparison(p);
  if (!chat_enter(p)) return NULL;
  chat_next(p);
  struct chat_node *n = chat_new_node(p, CHAT_NOT, pos), *tail = NULL;
  if (!chat_add(n, &tail, chat_parse_not(p))) return NULL;
  p->depth--;
  return n;
}

static struct chat_node *chat_parse_logic(struct chat_parser *p, bool either) {
  struct chat_node *n = either ? chat_parse_logic(p, false) : chat_parse_not(p), *chain = NULL, *tail = NULL;
  while (n && chat_take_word(p, either ? "or" : "and")) {
    if (!chain && (!(chain = chat_new_node(p, either ? CHAT_OR : CHAT_AND, n->pos)) || !chat_add(chain, &tail, n)))
      return NULL;
    if (!chat_add(chain, &tail, either ? chat_parse_logic(p, false) : chat_parse_not(p))) return NULL;
  }
  return p->failed ? NULL : chain ? chain : n;
}

/* a if b else c. What stands in it may name filters that do not exist, as long as it is not reached. */
static struct chat_node *chat_parse_expression(struct chat_parser *p) {
  if (!chat_enter(p)) return NULL;
  struct chat_node *unknown = p->unknown, *n = chat_parse_logic(p, true);
  while (n && chat_is_word(p, "if")) {
    struct chat_node *cond = chat_new_node(p, CHAT_COND, n->pos), *tail = NULL;
    chat_next(p);
    if (!chat_add(cond, &tail, chat_parse_logic(p, true))) return NULL;
    cond->body = n;
    if (chat_take_word(p, "else") && !(cond->other = chat_parse_expression(p))) return NULL;
    p->unknown = unknown;
    n = cond;
  }
  p->depth--;
  return p->failed ? NULL : n;
}

/* ---- statements ---- */

/* What may stand left of '=' and behind `for`: a name, namespace.attribute, or a tuple of such. */
static struct chat_node *chat_parse_target(struct chat_parser *p) {
  struct chat_node *tuple = NULL, *tail = NULL, *one = NULL;
  if (!chat_enter(p)) return NULL;
  do {
    // a comma too many is allowed
    if (one && (chat_is_word(p, "in") || chat_is_op(p, '=') || chat_is_op(p, ')'))) break;
    uint32_t pos = p->token.pos;
    if (chat_take_op(p, '(')) {
      one = chat_parse_target(p);
      if (!one || !chat_need_op(p, ')')) return NULL;
    } else {
      one = chat_new_node(p, CHAT_NAME, pos);
      if (!one || !(one->name = chat_take_name(p))) return NULL;
      if (chat_take_op(p, '.')) {
        struct chat_node *attribute = chat_new_node(p, CHAT_NAMESPACE_ATTRIBUTE, pos);
        if (!attribute || !(attribute->name = chat_take_name(p))) return NULL;
        attribute->first = one;
        one = attribute;
      }
    }
    if (!tuple && !chat_is_op(p, ',')) break;
    if (!tuple) tuple = chat_new_node(p, CHAT_MAKE_TUPLE, pos);
    if (!chat_add(tuple, &tail, one)) return NULL;
  } while (chat_take_op(p, ','));
  p->depth--;
  return p->failed ? NULL : tuple ? tuple : one;
}

static bool chat_need_block_end(struct chat_parser *p) {
  if (!p->failed && p->token.kind == CHAT_T_BLOCK_END) {
    chat_next(p);
    return !p->failed;
  }
  chat_expected(p, "'%}'");
  return false;
}

/* The body of a block up to one of `ends` ("endfor else"), whose word is consumed and returned in `end`. */
static bool chat_parse_block(struct chat_parser *p, const char *ends, struct chat_node **body, struct str *end) {
  return chat_need_block_end(p) && chat_parse_body(p, ends, body, end);
}

static struct chat_node *chat_parse_if(struct chat_parser *p, uint32_t pos) {
  struct chat_node *whole = NULL, *branch = NULL, *unknown = p->unknown;
  struct str end = STR("elif");
  p->conditions++;
  while (str_is(end, "elif")) {
    struct chat_node *n = chat_new_node(p, CHAT_IF, pos), *tail = NULL;
    if (!chat_add(n, &tail, chat_parse_tuple(p, true, false))) return NULL;
    if (!chat_parse_block(p, "elif else endif", &n->body, &end)) return NULL;
    if (branch) branch->other = n;
    else whole = n;
    n->op = branch != NULL; // an elif hangs on its if, and is walked in a loop
    branch = n;
  }
  if (str_is(end, "else")) {
    struct chat_node *n = chat_new_node(p, CHAT_IF, pos); // without a test
    if (!n || !chat_parse_block(p, "endif", &n->body, &end)) return NULL;
    n->op = 1;
    branch->other = n;
  }
  p->conditions--;
  p->unknown = unknown;
  return whole;
}

static struct chat_node *chat_parse_for(struct chat_parser *p, uint32_t pos) {
  struct chat_node *n = chat_new_node(p, CHAT_FOR, pos), *tail = NULL;
  struct str end;
  if (!chat_add(n, &tail, chat_parse_target(p))) return NULL;
  if (!chat_take_word(p, "in")) return chat_expected(p, "'in'");
  if (!chat_add(n, &tail, chat_parse_tuple(p, false, false))) return NULL;
  if (chat_take_word(p, "if") && !chat_add(n, &tail, chat_parse_expression(p))) return NULL;
  if (!p->failed && chat_is_word(p, "recursive"))
    return chat_refuse(p, p->token.pos, "recursive loops are not supported");
  p->loops++;
  if (!chat_parse_block(p, "endfor else", &n->body, &end)) return NULL;
  p->loops--;
  if (str_is(end, "else") && !chat_parse_block(p, "endfor", &n->other, &end)) return NULL;
  return n;
}

/* Filters behind a block's head, `set x | trim` or `filter upper | trim`, become children. */
static bool chat_parse_filters(struct chat_parser *p, struct chat_node *n, struct chat_node **tail,
                               bool first_is_bare) {
  while (first_is_bare || chat_take_op(p, '|')) {
    first_is_bare = false;
    if (!chat_add(n, tail, chat_parse_filter(p))) return false;
  }
  return !p->failed;
}

static struct chat_node *chat_parse_set(struct chat_parser *p, uint32_t pos) {
  struct chat_node *n = chat_new_node(p, CHAT_SET, pos), *tail = NULL;
  struct str end;
  if (!chat_add(n, &tail, chat_parse_target(p))) return NULL;
  if (chat_take_op(p, '=')) return (n->body = chat_parse_tuple(p, true, false)) ? n : NULL;
  n->kind = CHAT_CAPTURE;
  if (!chat_parse_filters(p, n, &tail, false)) return NULL;
  return chat_parse_block(p, "endset", &n->body, &end) ? n : NULL;
}

static bool chat_parse_signature(struct chat_parser *p, struct chat_node *macro) {
  struct chat_node *tail = NULL;
  bool defaults = false;
  if (!macro || !chat_need_op(p, '(')) return false;
  while (!chat_is_op(p, ')')) {
    if (tail && !chat_need_op(p, ',')) return false;
    struct chat_node *parameter = chat_new_node(p, CHAT_NAME, p->token.pos);
    if (!parameter || !(parameter->name = chat_take_name(p)) || !chat_add(macro, &tail, parameter)) return false;
    if (chat_take_op(p, '=')) {
      defaults = true;
      if (!(parameter->body = chat_parse_expression(p))) return false;
    } else if (defaults) {
      chat_expected(p, "a default value");
      return false;
    }
  }
  return chat_need_op(p, ')');
}

/* A macro, or the body of a call block, which is one without a name. */
static struct chat_node *chat_parse_macro(struct chat_parser *p, uint32_t pos, bool call) {
  struct chat_node *n = chat_new_node(p, call ? CHAT_CALL_BLOCK : CHAT_MACRO_DEF, pos);
  struct str end;
  uint8_t uses = p->uses;
  int loops = p->loops;
  if (!n || (!call && !(n->name = chat_take_name(p)))) return NULL;
  p->uses = 0;
  p->loops = 0;
  if ((!call || chat_is_op(p, '(')) && !chat_parse_signature(p, n)) return NULL;
  if (call) {
    n->other = chat_parse_expression(p);
    struct chat_node *last = n->other && n->other->kind == CHAT_POSTFIX ? n->other->first : NULL;
    while (last && last->next) last = last->next;
    if (!last || last->kind != CHAT_CALL)
      return p->failed ? NULL : chat_refuse(p, pos, "a call block that calls nothing");
  }
  if (!chat_parse_block(p, call ? "endcall" : "endmacro", &n->body, &end)) return NULL;
  n->flags = p->uses;
  p->uses = uses;
  p->loops = loops;
  return n;
}

static struct chat_node *chat_parse_with(struct chat_parser *p, uint32_t pos) {
  struct chat_node *n = chat_new_node(p, CHAT_WITH, pos), *tail = NULL;
  struct str end;
  while (n && p->token.kind != CHAT_T_BLOCK_END) {
    if (tail && !chat_need_op(p, ',')) return NULL;
    struct chat_node *target = chat_parse_target(p);
    if (!chat_add(n, &tail, target) || !chat_need_op(p, '=')) return NULL;
    if (!(target->body = chat_parse_expression(p))) return NULL;
  }
  return n && chat_parse_block(p, "endwith", &n->body, &end) ? n : NULL;
}

static struct chat_node *chat_parse_statement(struct chat_parser *p, struct str tag, uint32_t pos) {
  struct str end;
  if (str_is(tag, "if")) return chat_parse_if(p, pos);
  if (str_is(tag, "for")) return chat_parse_for(p, pos);
  if (str_is(tag, "set")) return chat_parse_set(p, pos);
  if (str_is(tag, "macro")) return chat_parse_macro(p, pos, false);
  if (str_is(tag, "call")) return chat_parse_macro(p, pos, true);
  if (str_is(tag, "with")) return chat_parse_with(p, pos);
  if (str_is(tag, "break") || str_is(tag, "continue")) {
    if (!p->loops) return chat_refuse(p, pos, "'" STR_FMT "' outside of a loop", STR_ARG(tag));
    return chat_new_node(p, str_is(tag, "break") ? CHAT_BREAK : CHAT_CONTINUE, pos);
  }
  if (str_is(tag, "generation")) { // marks what an assistant said; for training, so only its scope matters
    struct chat_node *n = chat_new_node(p, CHAT_GENERATION, pos);
    return n && chat_parse_block(p, "endgeneration", &n->body, &end) ? n : NULL;
  }
  if (str_is(tag, "filter")) {
    struct chat_node *n = chat_new_node(p, CHAT_FILTER_BLOCK, pos), *tail = NULL;
    if (!n || !chat_parse_filters(p, n, &tail, true)) return NULL;
    return chat_parse_block(p, "endfilter", &n->body, &end) ? n : NULL;
  }
  return chat_refuse(p, pos, "the tag '" STR_FMT "' is not supported here", STR_ARG(tag));
}

static struct chat_node *chat_parse_print(struct chat_parser *p) {
  struct chat_node *n = chat_new_node(p, CHAT_PRINT, p->token.pos), *tail = NULL;
  chat_next(p);
  if (!chat_add(n, &tail, chat_parse_tuple(p, true, false))) return NULL;
  if (p->token.kind != CHAT_T_PRINT_END) return chat_expected(p, "'}}'");
  chat_next(p);
  return n;
}

static bool chat_is_one_of(struct str word, const char *words) {
  for (const char *w = words; w && *w;) {
    size_t n = strcspn(w, " ");
    if (str_eq(word, (struct str){w, n})) return true;
    w += n + (w[n] == ' ');
  }
  return false;
}

static struct chat_node *chat_parse_tag(struct chat_parser *p, const char *ends, struct str *end) {
  uint32_t pos = p->token.pos;
  chat_next(p);
  if (p->failed || p->token.kind != CHAT_T_NAME) return chat_expected(p, "the name of a tag");
  struct str tag = p->token.text;
  chat_next(p);
  if (chat_is_one_of(tag, ends)) {
    *end = tag;
    return NULL;
  }
  struct chat_node *n = p->failed ? NULL : chat_parse_statement(p, tag, pos);
  return n && chat_need_block_end(p) ? n : NULL;
}

/* Statements up to one of `ends`, or to the end of the template when `ends` is NULL. */
static bool chat_parse_body(struct chat_parser *p, const char *ends, struct chat_node **body, struct str *end) {
  struct chat_node **link = body;
  uint32_t pos = p->token.pos;
  *end = STR_NONE;
  if (!chat_enter(p)) return false;
  while (!p->failed && p->token.kind != CHAT_T_END) {
    struct chat_node *n = NULL;
    if (p->token.kind == CHAT_T_TEXT) {
      if ((n = chat_new_node(p, CHAT_TEXT, p->token.pos))) n->value = chat_string(p->token.text);
      chat_next(p);
    } else if (p->token.kind == CHAT_T_PRINT) {
      n = chat_parse_print(p);
    } else {
      n = chat_parse_tag(p, ends, end);
      if (end->len) p->depth--;
      if (end->len) return !p->failed;
    }
    if (!n) return false;
    if (p->unknown && !p->conditions)
      return chat_refuse(p, p->unknown->pos, "the %s '" STR_FMT "' is not supported", p->unknown->kind == CHAT_FILTER ?
                         "filter" : "test",
                         STR_ARG(p->unknown->name->text)), false;
    *link = n;
    link = &n->next;
  }
  p->depth--;
  if (ends && !p->failed) chat_refuse(p, pos, "a block without its end (one of: %s)", ends);
  return !p->failed;
}

/* In Jinja a name that the outermost level sets, and has not read before, hides what the caller passed from the start:
 * loops and macros above the assignment see it undefined. What stands in an `if` may not be reached, so it hides
 * nothing. */
static void chat_mark_seen(const struct chat_template *t, const struct chat_node *n) {
  for (; n; n = n->next) {
    struct chat_name *name = n->kind == CHAT_NAME ? chat_find_name(t, n->name->text) : NULL;
    if (name) name->seen = true;
    if (n->kind == CHAT_MACRO_DEF) chat_find_name(t, n->name->text)->seen = true;
    if (n->kind == CHAT_FOR)
      chat_mark_seen(t, n->first->next->kind == CHAT_NAME ? n->first->next : n->first->next->first);
    if (n->kind == CHAT_MACRO_DEF || n->kind == CHAT_FOR || n->kind == CHAT_FILTER_BLOCK || n->kind == CHAT_GENERATION)
      continue;
    if (n->kind != CHAT_CALL_BLOCK && n->kind != CHAT_WITH) chat_mark_seen(t, n->first);
    if (n->kind != CHAT_CAPTURE && n->kind != CHAT_CALL_BLOCK && n->kind != CHAT_WITH) chat_mark_seen(t, n->body);
    chat_mark_seen(t, n->other);
  }
}

static void chat_hoist_target(struct chat_template *t, const struct chat_node *target) {
  if (target->kind == CHAT_MAKE_TUPLE) {
    for (const struct chat_node *c = target->first; c; c = c->next) chat_hoist_target(t, c);
    return;
  }
  struct chat_name *name = chat_find_name(t, (target->kind == CHAT_NAMESPACE_ATTRIBUTE ? target->first :
                                              target)->name->text);
  if (!name->seen && target->kind != CHAT_NAMESPACE_ATTRIBUTE) {
    name->hoisted = t->hoisted;
    t->hoisted = name;
  }
  name->seen = true;
}

static void chat_hoist(struct chat_template *t) {
  for (struct chat_node *n = t->body, *next; n; n = next) {
    next = n->next;
    n->next = NULL; // only this one
    if (n->kind == CHAT_SET) chat_mark_seen(t, n->body);
    if (n->kind == CHAT_SET || n->kind == CHAT_CAPTURE) chat_hoist_target(t, n->first);
    else if (n->kind == CHAT_MACRO_DEF) chat_hoist_target(t, n);
    else chat_mark_seen(t, n);
    n->next = next;
  }
}

/* Every newline becomes \n and the last one goes, as in Jinja without keep_trailing_newline. */
static struct str chat_normalise(struct arena *a, struct str source) {
  char *out = arena_alloc(a, source.len, 1, 1);
  size_t n = 0;
  if (!out) return STR_NONE;
  for (size_t i = 0; i < source.len; i++) {
    char c = source.ptr[i];
    if (c == '\r' && i + 1 < source.len && source.ptr[i + 1] == '\n') continue;
    out[n++] = c == '\r' ? '\n' : c;
  }
  if (n && out[n - 1] == '\n') n--;
  return (struct str){out, n};
}

/* Compiles a template into the arena, source included. NULL with line, column and feature if it cannot be. */
static const struct chat_template *chat_compile(struct str source, struct arena *a, struct bk_error *e) {
  if (source.len > CHAT_SOURCE_MAX) {
    err_set(e, ERR_DATA, "chat template of %zu bytes is longer than %u", source.len, CHAT_SOURCE_MAX);
    return NULL;
  }
  if (!utf8_valid(source)) {
    err_set(e, ERR_DATA, "chat template is not valid UTF-8");
    return NULL;
  }
  struct chat_parser p = {.arena = a, .error = e};
  struct chat_template *t = ARENA_NEW(a, struct chat_template, 1);
  if (t) t->source = chat_normalise(a, source);
  if (!t || (source.len && !t->source.ptr)) {
    err_set(e, ERR_DATA, "chat template of %zu bytes does not fit in the memory set aside for it", source.len);
    return NULL;
  }
  struct str end;
  p.template = t;
  p.lexer.src = t->source;
  chat_next(&p);
  if (p.failed || !chat_parse_body(&p, NULL, &t->body, &end)) return NULL;
  chat_hoist(t);
  return t;
}

