/* chat_run.c -- the interpreter of compiled chat templates: expressions to values, statements to output, output to a
 * prompt.
 *
 * Scopes are chains of bindings; as in Jinja, every pass of a loop, every macro call and every captured block has its
 * own. What is printed is kept as a list of pieces, copied once at the end, where neighbours of one origin become one
 * span. The depth of calls, the steps and the bytes are bounded; any error ends the run.
 * SPDX-License-Identifier: MIT */

struct chat_bind {
  const struct chat_name *name;
  struct chat_value value;
  struct chat_bind *next;
};

struct chat_scope {
  struct chat_scope *up;
  struct chat_bind *first;
};

#define CHAT_PIECES 32

struct chat_pieces {
  int count;
  struct chat_pieces *next;
  struct chat_value pieces[CHAT_PIECES];
};

struct chat_output {
  struct chat_pieces *first, *last;
  size_t len;
};

struct chat_macro {
  const struct chat_node *node;
  struct chat_scope *scope; // where it was defined
};

enum chat_end { CHAT_FAILED, CHAT_DONE, CHAT_BROKEN, CHAT_CONTINUED };

static bool chat_eval(struct chat_run *r, const struct chat_node *n, struct chat_value *out);
static enum chat_end chat_exec(struct chat_run *r, const struct chat_node *body);

/* ---- output ---- */

static bool chat_print(struct chat_run *r, struct chat_value s) {
  struct chat_output *o = r->out;
  if (!s.len) return true;
  if (s.len > r->max_output - o->len) return chat_fail(r, "the prompt is longer than %zu bytes", r->max_output);
  if (!chat_spend(r, 0)) return false;
  if (!o->last || o->last->count == CHAT_PIECES) {
    struct chat_pieces *more = chat_new(r, 1, sizeof *more);
    if (!more) return false;
    if (o->last) o->last->next = more;
    else o->first = more;
    o->last = more;
  }
  o->last->pieces[o->last->count++] = s;
  o->len += s.len;
  return true;
}

static bool chat_joined(struct chat_run *r, const struct chat_output *o, struct chat_value *out) {
  struct chat_text x = {0};
  if (o->first && o->first->count == 1 && !o->first->next) {
    *out = o->first->pieces[0];
    out->safe = false;
    return true;
  }
  for (const struct chat_pieces *p = o->first; p; p = p->next)
    for (int i = 0; i < p->count; i++)
      if (!chat_put_value(r, &x, p->pieces[i])) return false;
  *out = chat_text_value(&x);
  return true;
}

/* ---- scopes ---- */

static bool chat_set(struct chat_run *r, struct chat_scope *scope, const struct chat_name *name, struct chat_value v) {
  for (struct chat_bind *b = scope->first; b; b = b->next) {
    if (b->name != name) continue;
    b->value = v;
    return true;
  }
  struct chat_bind *b = chat_new(r, 1, sizeof *b);
  if (!b) return false;
  *b = (struct chat_bind){name, v, scope->first};
  scope->first = b;
  return true;
}

static const struct chat_value *chat_lookup(const struct chat_run *r, const struct chat_name *name) {
  for (const struct chat_scope *s = r->scope; s; s = s->up)
    for (const struct chat_bind *b = s->first; b; b = b->next)
      if (b->name == name) return &b->value;
  return NULL;
}

/* A name only matters to a template that mentions it. */
static bool chat_set_named(struct chat_run *r, struct chat_scope *scope, struct str name, struct chat_value v) {
  const struct chat_name *n = chat_find_name(r->template, name);
  return !n || chat_set(r, scope, n, v);
}

/* Runs a body in a scope of its own, printing to `o`. */
static enum chat_end chat_exec_in(struct chat_run *r, const struct chat_node *body, struct chat_scope *scope,
                                  struct chat_output *o) {
  struct chat_scope *outer = r->scope;
  struct chat_output *out = r->out;
  r->scope = scope;
  r->out = o;
  enum chat_end end = chat_exec(r, body);
  r->scope = outer;
  r->out = out;
  return end;
}

/* ---- arithmetic ---- */

static bool chat_overflow(struct chat_run *r) { return chat_fail(r, "a whole number beyond 64 bits"); }

static int64_t chat_floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

static int64_t chat_floor_mod(int64_t a, int64_t b) { // its sign is the divisor's
  int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static bool chat_int_power(struct chat_run *r, int64_t base, int64_t exponent, struct chat_value *out) {
  int64_t result = 1;
  if (exponent < 0) {
    if (!base) return chat_fail(r, "zero to a negative power");
    *out = chat_float(pow((double)base, (double)exponent));
    return true;
  }
  if (base >= -1 && base <= 1) exponent = exponent < 2 ? exponent : 2 - exponent % 2; // its sign is all that matters
  for (; exponent > 0; exponent--) { // at most 63 times before it overflows
    double next = (double)result * (double)base;
    if (next > 9.2e18 || next < -9.2e18) return chat_overflow(r);
    result *= base;
  }
  *out = chat_int(result);
  return true;
}

static bool chat_int_arithmetic(struct chat_run *r, int op, int64_t a, int64_t b, struct chat_value *out) {
  if ((op == '/' || op == CHAT_FLOORDIV || op == '%') && b == 0) return chat_fail(r, "division by zero");
  if (b == -1 && a == INT64_MIN && op != '+' && op != '-') return chat_overflow(r);
  switch (op) {
  case '+':
    if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) return chat_overflow(r);
    *out = chat_int(a + b);
    return true;
  case '-':
    if (b < 0 ? a > INT64_MAX + b : a < INT64_MIN + b) return chat_overflow(r);
    *out = chat_int(a - b);
    return true;
  case '*': {
    double product = (double)a * (double)b;
    if (product > 9.2e18 || product < -9.2e18) return chat_overflow(r);
    *out = chat_int(a * b);
    return true;
  }
  case '/': *out = chat_float((double)a / (double)b); return true;
  case CHAT_FLOORDIV: *out = chat_int(chat_floor_div(a, b)); return true;
  case '%': *out = chat_int(chat_floor_mod(a, b)); return true;
  default: return chat_int_power(r, a, b, out);
  }
}

/* As Python does it, so that 2.5 // 0.1 is 24: from the exact remainder, not from the rounded quotient. */
static double chat_float_floor_div(double a, double b) {
  double rest = fmod(a, b), quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  double whole = floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

static bool chat_float_arithmetic(struct chat_run *r, int op, double a, double b, struct chat_value *out) {
  if ((op == '/' || op == CHAT_FLOORDIV || op == '%') && b == 0) return chat_fail(r, "division by zero");
  double rest = op == '%' ? fmod(a, b) : 0;
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  else if (rest == 0) rest = b < 0 ? -0.0 : 0.0; // a zero has the sign of the divisor
  switch (op) {
  case '+': *out = chat_float(a + b); break;
  case '-': *out = chat_float(a - b); break;
  case '*': *out = chat_float(a * b); break;
  case '/': *out = chat_float(a / b); break;
  case CHAT_FLOORDIV: *out = chat_float(chat_float_floor_div(a, b)); break;
  case '%': *out = chat_float(rest); break;
  default:
    if (a < 0 && b != floor(b)) return chat_fail(r, "a negative number to a fractional power");
    *out = chat_float(pow(a, b));
    if (out->u.number - out->u.number != 0) return chat_fail(r, "a power too large");
    break;
  }
  return true;
}

static bool chat_repeat(struct chat_run *r, const struct chat_value *v, int64_t times, struct chat_value *out) {
  struct chat_text x = {0};
  if (v->kind == CHAT_STRING) {
    for (int64_t i = 0; i < times && v->len; i++) {
      if (x.len > r->max_output) return chat_fail(r, "a text longer than %zu bytes", r->max_output);
      if (!chat_put_value(r, &x, *v)) return false;
    }
    *out = chat_text_value(&x);
    out->safe = v->safe;
    return true;
  }
  const struct chat_list *from = v->u.list;
  struct chat_list *list = chat_new_list(r, 0, (enum chat_list_kind)from->kind, from->user);
  if (!list) return false;
  for (int64_t i = 0; i < times && from->count; i++)
    for (int k = 0; k < from->count; k++)
      if (!chat_spend(r, 0) || !chat_append(r, list, from->items[k])) return false;
  return chat_return_list(list, out);
}

static bool chat_escape_if(struct chat_run *r, struct chat_value s, bool needed, struct chat_value *out) {
  *out = s;
  return !needed || s.safe || chat_escape_html(r, s, out);
}

static bool chat_add_sequences(struct chat_run *r, const struct chat_value *a, const struct chat_value *b,
                               struct chat_value *out) {
  if (a->kind == CHAT_STRING) {
    struct chat_text x = {0};
    struct chat_value left, right;
    bool safe = a->safe || b->safe; // Markup escapes what it meets
    if (!chat_escape_if(r, *a, safe, &left) || !chat_escape_if(r, *b, safe, &right)) return false;
    if (!chat_put_value(r, &x, left) || !chat_put_value(r, &x, right)) return false;
    *out = chat_text_value(&x);
    out->safe = safe;
    return true;
  }
  const struct chat_list *p = a->u.list, *q = b->u.list;
  struct chat_list *list = chat_new_list(r, p->count + q->count, (enum chat_list_kind)p->kind, p->user || q->user);
  if (!list || !chat_spend(r, (size_t)list->cap * 4)) return false;
  if (p->count) memcpy(list->items, p->items, (size_t)p->count * sizeof *list->items);
  if (q->count) memcpy(list->items + p->count, q->items, (size_t)q->count * sizeof *list->items);
  list->count = p->count + q->count;
  return chat_return_list(list, out);
}

static bool chat_arithmetic(struct chat_run *r, int op, const struct chat_value *a, const struct chat_value *b,
                            struct chat_value *out) {
  static const char *const names[] = {"//", "**"};
  int64_t i, j;
  double x, y;
  char name[3] = {op < 256 ? (char)op : 0, 0, 0};
  bool lists = a->kind == CHAT_LIST && b->kind == CHAT_LIST && a->u.list->kind == b->u.list->kind &&
      a->u.list->kind <= CHAT_TUPLE;
  if (a->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, a);
  if (op == '%' && a->kind == CHAT_STRING) return chat_percent(r, *a, *b, out);
  if (b->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, b);
  if (op == '+' && ((a->kind == CHAT_STRING && b->kind == CHAT_STRING) || lists))
    return chat_add_sequences(r, a, b, out);
  if (op == '*' && (a->kind == CHAT_STRING || (a->kind == CHAT_LIST && a->u.list->kind <= CHAT_TUPLE)) &&
      chat_integer(b, &j))
    return chat_repeat(r, a, j, out);
  if (op == '*' && (b->kind == CHAT_STRING || (b->kind == CHAT_LIST && b->u.list->kind <= CHAT_TUPLE)) &&
      chat_integer(a, &i))
    return chat_repeat(r, b, i, out);
  bool ok;
  if (chat_integer(a, &i) && chat_integer(b, &j)) ok = chat_int_arithmetic(r, op, i, j, out);
  else if (chat_number(a, &x) && chat_number(b, &y)) ok = chat_float_arithmetic(r, op, x, y, out);
  else
    return chat_fail(r, "'%s' is not possible between %s and %s", op < 256 ? name : names[op == CHAT_POW],
                     chat_type_name(a), chat_type_name(b));
  out->user = a->user || b->user;
  return ok;
}

/* ---- expressions ---- */

/* a + b + c ...: strings that are only added go into one text, so that long chains stay linear. */
static bool chat_eval_fold(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_text x = {0};
  bool building = false;
  if (!chat_eval(r, n->first, out)) return false;
  for (const struct chat_node *c = n->first->next; c; c = c->next) {
    struct chat_value right, left = *out;
    if (!chat_eval(r, c, &right)) return false;
    r->at = c->pos;
    if (c->op == '+' && left.kind == CHAT_STRING && right.kind == CHAT_STRING && !left.safe && !right.safe) {
      if (!building && !chat_put_value(r, &x, left)) return false;
      if (!chat_put_value(r, &x, right)) return false;
      building = true;
      *out = chat_text_value(&x);
      continue;
    }
    building = false;
    x = (struct chat_text){0};
    if (!chat_arithmetic(r, c->op, &left, &right, out)) return false;
  }
  return true;
}

static bool chat_eval_concat(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_text x = {0};
  for (const struct chat_node *c = n->first; c; c = c->next) {
    struct chat_value v, s;
    if (!chat_eval(r, c, &v) || !chat_to_string(r, v, &s) || !chat_put_value(r, &x, s)) return false;
  }
  *out = chat_text_value(&x);
  return true;
}

static bool chat_eval_compare(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_value left, right;
  *out = chat_bool(true);
  if (!chat_eval(r, n->first, &left)) return false;
  for (const struct chat_node *c = n->first->next; c; c = c->next, left = right) {
    bool yes = false;
    int order = 0;
    if (!chat_eval(r, c, &right)) return false;
    r->at = c->pos;
    if (c->op == CHAT_EQ || c->op == CHAT_NE) {
      if (!chat_equal(r, &left, &right, &yes)) return false;
      yes = yes == (c->op == CHAT_EQ);
    } else if (c->op == CHAT_IN || c->op == CHAT_NOT_IN) {
      if (!chat_contains(r, &right, &left, &yes)) return false;
      yes = yes == (c->op == CHAT_IN);
    } else {
      if (!chat_compare(r, &left, &right, &order)) return false;
      yes = c->op == '<' ? order < 0 : c->op == '>' ? order > 0 : c->op == CHAT_LE ? order <= 0 : order >= 0;
    }
    *out = chat_bool(yes);
    if (!yes) break;
  }
  return true;
}

static bool chat_eval_logic(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  for (const struct chat_node *c = n->first; c; c = c->next) {
    if (!chat_eval(r, c, out)) return false;
    if (chat_truth(out) == (n->kind == CHAT_OR)) break;
  }
  return true;
}

static bool chat_eval_sign(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_value v;
  int64_t i;
  double d;
  if (!chat_eval(r, n->first, &v)) return false;
  r->at = n->pos;
  if (chat_integer(&v, &i)) {
    if (i == INT64_MIN && n->kind == CHAT_NEGATE) return chat_overflow(r);
    *out = chat_int(n->kind == CHAT_NEGATE ? -i : i);
  } else if (chat_number(&v, &d)) {
    *out = chat_float(n->kind == CHAT_NEGATE ? -d : d);
  } else {
    return chat_fail_type(r, &v, "a number");
  }
  out->user = v.user;
  return true;
}

static bool chat_eval_list(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_list *list = chat_new_list(r, n->count, n->kind == CHAT_MAKE_TUPLE ? CHAT_TUPLE : CHAT_PLAIN, false);
  if (!list) return false;
  for (const struct chat_node *c = n->first; c; c = c->next, list->count++)
    if (!chat_eval(r, c, &list->items[list->count])) return false;
  return chat_return_list(list, out);
}

static bool chat_eval_dict(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_dict *d = chat_new_dict(r, n->count / 2, false);
  if (!d) return false;
  for (const struct chat_node *c = n->first; c; c = c->next->next) {
    struct chat_value key, value;
    if (!chat_eval(r, c, &key) || !chat_eval(r, c->next, &value) || !chat_dict_set(r, d, key, value)) return false;
  }
  *out = chat_dict_value(d, CHAT_DICT);
  return true;
}

/* ---- calls ---- */

static bool chat_add_named(struct chat_run *r, struct chat_arguments *args, int cap, struct str name,
                           struct chat_value v) {
  for (int i = 0; i < args->n_named; i++)
    if (str_eq(args->names[i], name))
      return chat_fail(r, "got multiple values for argument '" STR_FMT "'", STR_ARG(name));
  BK_ASSERT(args->n_named < cap);
  args->names[args->n_named] = name;
  args->named[args->n_named++] = v;
  return true;
}

/* How many arguments there will be: *list and **dict are evaluated here, into `stars`, and spread below. */
static bool chat_count_arguments(struct chat_run *r, const struct chat_node *call, struct chat_value *stars, int *n) {
  int k = 0;
  *n = call->count;
  for (const struct chat_node *c = call->first; c; c = c->next) {
    struct chat_list *list;
    if (!c->flags) continue;
    if (!chat_eval(r, c->body, &stars[k])) return false;
    if (c->flags == CHAT_STAR_STAR) {
      if (stars[k].kind != CHAT_DICT) return chat_fail_type(r, &stars[k], "a dictionary behind **");
      *n += stars[k].u.dict->count;
    } else {
      if (!chat_items(r, &stars[k], &list)) return false;
      stars[k] = chat_list_value(list);
      *n += list->count;
    }
    k++;
  }
  return true;
}

static bool chat_eval_arguments(struct chat_run *r, const struct chat_node *call, struct chat_arguments *args) {
  struct chat_value *stars = NULL;
  int n = call->count, n_stars = 0, k = 0;
  *args = (struct chat_arguments){0};
  if (!n) return true;
  for (const struct chat_node *c = call->first; c; c = c->next) n_stars += c->flags != 0;
  if (n_stars && (!(stars = chat_new(r, (size_t)n_stars, sizeof *stars)) || !chat_count_arguments(r, call, stars, &n)))
    return false;
  args->pos = chat_new(r, (size_t)n, sizeof *args->pos);
  args->named = chat_new(r, (size_t)n, sizeof *args->named);
  args->names = chat_new(r, (size_t)n, sizeof *args->names);
  if (!args->pos || !args->named || !args->names) return false;
  for (const struct chat_node *c = call->first; c; c = c->next) {
    struct chat_value v;
    if (c->flags == CHAT_STAR) {
      struct chat_list *list = stars[k++].u.list;
      for (int i = 0; i < list->count; i++) args->pos[args->n_pos++] = list->items[i];
    } else if (c->flags == CHAT_STAR_STAR) {
      struct chat_dict *d = stars[k++].u.dict;
      for (int i = 0; i < d->count; i++) {
        if (d->pairs[i].key.kind != CHAT_STRING) return chat_fail_type(r, &d->pairs[i].key, "the name of an argument");
        if (!chat_add_named(r, args, n, chat_str(&d->pairs[i].key), d->pairs[i].value)) return false;
      }
    } else {
      if (!chat_eval(r, c->body, &v)) return false;
      if (!c->name) args->pos[args->n_pos++] = v;
      else if (!chat_add_named(r, args, n, c->name->text, v)) return false;
    }
  }
  return true;
}

static int chat_find_argument(const struct chat_arguments *args, struct str name) {
  for (int i = 0; i < args->n_named; i++)
    if (str_eq(args->names[i], name)) return i;
  return -1;
}

/* What a macro was given beyond its parameters: varargs and kwargs if its body names them, else an error. */
static bool chat_bind_rest(struct chat_run *r, const struct chat_node *n, const struct chat_arguments *args,
                           struct chat_scope *scope) {
  struct chat_dict *rest = chat_new_dict(r, 0, false);
  struct chat_list *more = chat_new_list(r, 0, CHAT_TUPLE, false);
  if (!rest || !more) return false;
  for (int i = n->count; i < args->n_pos; i++)
    if (!chat_append(r, more, args->pos[i])) return false;
  for (int i = 0; i < args->n_named; i++) {
    const struct chat_node *p = n->first;
    while (p && !str_eq(p->name->text, args->names[i])) p = p->next;
    if (str_is(args->names[i], "caller")) continue;
    if (!p && !chat_dict_set(r, rest, chat_string(args->names[i]), args->named[i])) return false;
  }
  struct str name = n->name ? n->name->text : STR("caller");
  if (more->count && !(n->flags & CHAT_USES_VARARGS))
    return chat_fail(r, "macro '" STR_FMT "' takes not more than %d arguments", STR_ARG(name), n->count);
  if (rest->count && !(n->flags & CHAT_USES_KWARGS))
    return chat_fail(r, "macro '" STR_FMT "' takes no argument '" STR_FMT "'", STR_ARG(name),
                     STR_ARG(chat_str(&rest->pairs[0].key)));
  return chat_set_named(r, scope, STR("varargs"), chat_list_value(more)) &&
         chat_set_named(r, scope, STR("kwargs"), chat_dict_value(rest, CHAT_DICT));
}

static bool chat_bind_parameters(struct chat_run *r, const struct chat_macro *m, const struct chat_arguments *args,
                                 struct chat_scope *scope) {
  int i = 0;
  for (const struct chat_node *p = m->node->first; p; p = p->next, i++) {
    struct chat_value v = chat_undefined(p->name->text);
    int named = chat_find_argument(args, p->name->text);
    if (i < args->n_pos && named >= 0)
      return chat_fail(r, "got multiple values for argument '" STR_FMT "'", STR_ARG(p->name->text));
    if (i < args->n_pos) {
      v = args->pos[i];
    } else if (named >= 0) {
      v = args->named[named];
    } else if (p->body) { // a default sees the parameters before it
      struct chat_scope *outer = r->scope;
      r->scope = scope;
      bool ok = chat_eval(r, p->body, &v);
      r->scope = outer;
      if (!ok) return false;
    }
    if (!chat_set(r, scope, p->name, v)) return false;
  }
  int caller = chat_find_argument(args, STR("caller"));
  if (caller >= 0 && !chat_set_named(r, scope, STR("caller"), args->named[caller])) return false;
  return chat_bind_rest(r, m->node, args, scope);
}

static bool chat_call_macro(struct chat_run *r, const struct chat_macro *m, const struct chat_arguments *args,
                            struct chat_value *out) {
  struct chat_output o = {0};
  struct chat_scope *scope = chat_new(r, 1, sizeof *scope);
  if (!scope) return false;
  if (r->macros >= CHAT_MACROS) return chat_fail(r, "macros calling macros deeper than %d levels", CHAT_MACROS);
  scope->up = m->scope;
  if (!chat_bind_parameters(r, m, args, scope)) return false;
  r->macros++;
  enum chat_end end = chat_exec_in(r, m->node->body, scope, &o);
  r->macros--;
  return end != CHAT_FAILED && chat_joined(r, &o, out);
}

static bool chat_call(struct chat_run *r, struct chat_value f, const struct chat_arguments *args,
                      struct chat_value *out) {
  if (f.kind == CHAT_MACRO) return chat_call_macro(r, f.u.macro, args, out);
  if (f.kind == CHAT_METHOD) return chat_invoke(r, f.u.method->builtin, f.u.method->self, args, out);
  if (f.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, &f);
  if (f.kind != CHAT_JOINER) return chat_fail(r, "'%s' object is not callable", chat_type_name(&f));
  *out = f.u.cycle->at ? f.u.cycle->separator : chat_string(STR("")); // nothing the first time
  f.u.cycle->at = 1;
  return true;
}

static bool chat_eval_call(struct chat_run *r, const struct chat_node *step, struct chat_value f,
                           const struct chat_value *caller, struct chat_value *out) {
  struct chat_arguments args;
  if (!chat_eval_arguments(r, step, &args)) return false;
  r->at = step->pos;
  if (caller) {
    struct chat_arguments with = {args.pos, args.n_pos, 0, NULL, NULL};
    with.names = chat_new(r, (size_t)args.n_named + 1, sizeof *with.names);
    with.named = chat_new(r, (size_t)args.n_named + 1, sizeof *with.named);
    if (!with.names || !with.named) return false;
    for (int i = 0; i < args.n_named; i++)
      if (!chat_add_named(r, &with, args.n_named + 1, args.names[i], args.named[i])) return false;
    if (!chat_add_named(r, &with, args.n_named + 1, STR("caller"), *caller)) return false;
    return chat_call(r, f, &with, out);
  }
  return chat_call(r, f, &args, out);
}

static bool chat_eval_builtin(struct chat_run *r, const struct chat_node *step, struct chat_value subject,
                              struct chat_value *out) {
  struct chat_arguments args;
  r->at = step->pos;
  if (!step->builtin)
    return chat_fail(r, "the %s '" STR_FMT "' is not supported", step->kind == CHAT_FILTER ? "filter" : "test",
                     STR_ARG(step->name->text));
  if (!chat_eval_arguments(r, step, &args)) return false;
  r->at = step->pos;
  if (!chat_invoke(r, step->builtin, subject, &args, out)) return false;
  if (step->kind == CHAT_TEST && step->op) *out = chat_bool(!chat_truth(out));
  return true;
}

static bool chat_eval_slice(struct chat_run *r, const struct chat_node *step, const struct chat_value *subject,
                            struct chat_value *out) {
  struct chat_value bounds[3];
  const struct chat_node *c = step->first;
  for (int i = 0; i < 3; i++, c = c->next)
    if (!chat_eval(r, c, &bounds[i])) return false;
  r->at = step->pos;
  return chat_slice(r, subject, bounds, out);
}

/* Takes the steps behind a primary one after the other. `caller` belongs to the last step, of a call block. */
static bool chat_eval_postfix(struct chat_run *r, const struct chat_node *n, const struct chat_value *caller,
                              struct chat_value *out) {
  if (!chat_eval(r, n->first, out)) return false;
  for (const struct chat_node *step = n->first->next; step; step = step->next) {
    struct chat_value subject = *out, key;
    bool ok = chat_spend(r, 0);
    r->at = step->pos;
    switch (step->kind) {
    case CHAT_ATTRIBUTE: ok = ok && chat_getattr(r, &subject, step->name->text, out); break;
    case CHAT_ITEM: ok = ok && chat_eval(r, step->first, &key) &&
        (r->at = step->pos, chat_getitem(r, &subject, &key, out)); break;
    case CHAT_SLICE: ok = ok && chat_eval_slice(r, step, &subject, out); break;
    case CHAT_CALL: ok = ok && chat_eval_call(r, step, subject, step->next ? NULL : caller, out); break;
    default: ok = ok && chat_eval_builtin(r, step, subject, out); break;
    }
    if (!ok) return false;
  }
  return true;
}

static bool chat_eval_cond(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_value test;
  if (!chat_eval(r, n->first, &test)) return false;
  if (chat_truth(&test)) return chat_eval(r, n->body, out);
  *out = chat_undefined(STR("an inline if without else"));
  return !n->other || chat_eval(r, n->other, out);
}

static bool chat_eval_node(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  const struct chat_value *v;
  switch (n->kind) {
  case CHAT_CONST: *out = n->value; return true;
  case CHAT_NAME:
    v = chat_lookup(r, n->name);
    *out = v ? *v : chat_undefined(n->name->text);
    return true;
  case CHAT_MAKE_LIST: case CHAT_MAKE_TUPLE: return chat_eval_list(r, n, out);
  case CHAT_MAKE_DICT: return chat_eval_dict(r, n, out);
  case CHAT_COND: return chat_eval_cond(r, n, out);
  case CHAT_OR: case CHAT_AND: return chat_eval_logic(r, n, out);
  case CHAT_NOT:
    if (!chat_eval(r, n->first, out)) return false;
    *out = chat_bool(!chat_truth(out));
    return true;
  case CHAT_NEGATE: case CHAT_POSITIVE: return chat_eval_sign(r, n, out);
  case CHAT_COMPARE: return chat_eval_compare(r, n, out);
  case CHAT_FOLD: return chat_eval_fold(r, n, out);
  case CHAT_CONCAT: return chat_eval_concat(r, n, out);
  default: return chat_eval_postfix(r, n, NULL, out);
  }
}

static bool chat_eval(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  *out = chat_none();
  r->at = n->pos;
  if (!chat_spend(r, 0) || !chat_deeper(r)) return false;
  bool ok = chat_eval_node(r, n, out);
  r->depth--;
  return ok;
}

/* ---- statements ---- */

static bool chat_assign(struct chat_run *r, struct chat_scope *scope, const struct chat_node *target,
                        struct chat_value v) {
  r->at = target->pos;
  if (target->kind == CHAT_NAME) return chat_set(r, scope, target->name, v);
  if (target->kind == CHAT_NAMESPACE_ATTRIBUTE) {
    const struct chat_value *ns = chat_lookup(r, target->first->name);
    if (!ns || ns->kind != CHAT_NAMESPACE) return chat_fail(r, "cannot assign an attribute on what is no namespace");
    return chat_dict_set(r, ns->u.dict, chat_string(target->name->text), v);
  }
  struct chat_list *list;
  if (!chat_items(r, &v, &list)) return false;
  if (list->count != target->count)
    return chat_fail(r, "%d values to unpack where %d were expected", list->count, target->count);
  int i = 0;
  for (const struct chat_node *c = target->first; c; c = c->next, i++)
    if (!chat_assign(r, scope, c, list->items[i])) return false; // as deep as the target, which the parser bounds
  return true;
}

/* The items that a loop's `if` lets through. */
static bool chat_kept_items(struct chat_run *r, const struct chat_node *n, struct chat_list **items) {
  const struct chat_node *target = n->first, *condition = target->next->next;
  struct chat_list *kept = chat_new_list(r, 0, CHAT_PLAIN, false);
  struct chat_scope *outer = r->scope;
  if (!kept) return false;
  for (int i = 0; i < (*items)->count; i++) {
    struct chat_value yes;
    struct chat_scope *scope = chat_new(r, 1, sizeof *scope);
    if (!scope) return false;
    scope->up = outer;
    r->scope = scope;
    bool ok = chat_assign(r, scope, target, (*items)->items[i]) && chat_eval(r, condition, &yes);
    r->scope = outer;
    if (!ok || (chat_truth(&yes) && !chat_append(r, kept, (*items)->items[i]))) return false;
  }
  *items = kept;
  return true;
}

static enum chat_end chat_exec_for(struct chat_run *r, const struct chat_node *n) {
  const struct chat_node *target = n->first;
  struct chat_value v, loop_value = {.kind = CHAT_LOOP};
  struct chat_list *items;
  if (!chat_eval(r, target->next, &v)) return CHAT_FAILED;
  r->at = n->pos;
  if (!chat_items(r, &v, &items)) return CHAT_FAILED;
  if (target->next->next && !chat_kept_items(r, n, &items)) return CHAT_FAILED;
  struct chat_loop *loop = chat_new(r, 1, sizeof *loop);
  struct chat_list *fixed = chat_new(r, 1, sizeof *fixed); // the list as it is now, whatever the body appends
  if (!loop || !fixed) return CHAT_FAILED;
  *fixed = *items;
  loop->items = fixed;
  loop_value.u.loop = loop;
  const struct chat_name *name = chat_find_name(r->template, STR("loop"));
  bool finished = false;
  for (int i = 0; i < fixed->count; i++) {
    struct chat_scope *scope = chat_new(r, 1, sizeof *scope);
    if (!scope || !chat_spend(r, 0)) return CHAT_FAILED;
    scope->up = r->scope;
    loop->index = i;
    if (!chat_assign(r, scope, target, fixed->items[i])) return CHAT_FAILED;
    if (name && !chat_set(r, scope, name, loop_value)) return CHAT_FAILED;
    enum chat_end end = chat_exec_in(r, n->body, scope, r->out);
    if (end == CHAT_FAILED) return end;
    if (end == CHAT_DONE) finished = true;
    if (end == CHAT_BROKEN) break;
  }
  if (finished || !n->other) return CHAT_DONE; // as in Jinja, a loop whose every pass was cut short counts as empty
  struct chat_scope *scope = chat_new(r, 1, sizeof *scope);
  if (!scope) return CHAT_FAILED;
  scope->up = r->scope;
  return chat_exec_in(r, n->other, scope, r->out);
}

/* The output of a body as a string, through the filters among the node's children from `filter` on. */
static enum chat_end chat_capture(struct chat_run *r, const struct chat_node *n, const struct chat_node *filter,
                                  struct chat_value *out) {
  struct chat_output o = {0};
  struct chat_scope *scope = chat_new(r, 1, sizeof *scope);
  if (!scope) return CHAT_FAILED;
  scope->up = r->scope;
  enum chat_end end = chat_exec_in(r, n->body, scope, &o);
  if (end == CHAT_FAILED || !chat_joined(r, &o, out)) return CHAT_FAILED;
  for (; filter; filter = filter->next) {
    struct chat_value in = *out;
    if (!chat_eval_builtin(r, filter, in, out)) return CHAT_FAILED;
  }
  return end;
}

static bool chat_exec_print(struct chat_run *r, const struct chat_node *n) {
  struct chat_value v, s;
  return chat_eval(r, n->first, &v) && chat_to_string(r, v, &s) && chat_print(r, s);
}

static bool chat_new_macro(struct chat_run *r, const struct chat_node *n, struct chat_value *out) {
  struct chat_macro *m = chat_new(r, 1, sizeof *m);
  if (!m) return false;
  *m = (struct chat_macro){n, r->scope};
  *out = (struct chat_value){.kind = CHAT_MACRO};
  out->u.macro = m;
  return true;
}

static bool chat_exec_call_block(struct chat_run *r, const struct chat_node *n) {
  struct chat_value caller, v, s;
  if (!chat_new_macro(r, n, &caller) || !chat_deeper(r)) return false;
  bool ok = chat_eval_postfix(r, n->other, &caller, &v) && chat_to_string(r, v, &s) && chat_print(r, s);
  r->depth--;
  return ok;
}

static enum chat_end chat_exec_with(struct chat_run *r, const struct chat_node *n) {
  struct chat_scope *scope = chat_new(r, 1, sizeof *scope);
  if (!scope) return CHAT_FAILED;
  scope->up = r->scope;
  for (const struct chat_node *c = n->first; c; c = c->next) {
    struct chat_value v;
    if (!chat_eval(r, c->body, &v) || !chat_assign(r, scope, c, v)) return CHAT_FAILED;
  }
  return chat_exec_in(r, n->body, scope, r->out);
}

static enum chat_end chat_exec_if(struct chat_run *r, const struct chat_node *n) {
  for (; n; n = n->other) {
    struct chat_value test;
    if (n->first && !chat_eval(r, n->first, &test)) return CHAT_FAILED;
    if (!n->first || chat_truth(&test)) return chat_exec(r, n->body);
  }
  return CHAT_DONE;
}

static enum chat_end chat_exec_statement(struct chat_run *r, const struct chat_node *n) {
  struct chat_value v;
  enum chat_end end = CHAT_DONE;
  bool ok = true;
  switch (n->kind) {
  case CHAT_TEXT: ok = chat_print(r, n->value); break;
  case CHAT_PRINT: ok = chat_exec_print(r, n); break;
  case CHAT_IF: return chat_exec_if(r, n);
  case CHAT_FOR: return chat_exec_for(r, n);
  case CHAT_SET: ok = chat_eval(r, n->body, &v) && chat_assign(r, r->scope, n->first, v); break;
  case CHAT_CAPTURE:
    end = chat_capture(r, n, n->first->next, &v);
    ok = end != CHAT_FAILED && chat_assign(r, r->scope, n->first, v);
    break;
  case CHAT_FILTER_BLOCK:
    end = chat_capture(r, n, n->first, &v);
    ok = end != CHAT_FAILED && chat_to_string(r, v, &v) && chat_print(r, v);
    break;
  case CHAT_GENERATION:
    end = chat_capture(r, n, NULL, &v);
    ok = end != CHAT_FAILED && chat_print(r, v);
    break;
  case CHAT_MACRO_DEF: ok = chat_new_macro(r, n, &v) && chat_set(r, r->scope, n->name, v); break;
  case CHAT_CALL_BLOCK: ok = chat_exec_call_block(r, n); break;
  case CHAT_WITH: return chat_exec_with(r, n);
  case CHAT_BREAK: return CHAT_BROKEN;
  default: return CHAT_CONTINUED;
  }
  return ok ? end : CHAT_FAILED;
}

static enum chat_end chat_exec(struct chat_run *r, const struct chat_node *body) {
  enum chat_end end = CHAT_DONE;
  if (!chat_deeper(r)) return CHAT_FAILED;
  for (const struct chat_node *n = body; n && end == CHAT_DONE; n = n->next) {
    r->at = n->pos;
    end = chat_spend(r, 0) ? chat_exec_statement(r, n) : CHAT_FAILED;
  }
  r->depth--;
  return end;
}

/* ---- rendering ---- */

static bool chat_bind_json(struct chat_run *r, struct chat_scope *scope, struct str name, const struct json *j) {
  struct chat_value v = chat_none();
  if (!chat_find_name(r->template, name)) return true;
  return (!j || chat_from_json(r, j, true, &v)) && chat_set_named(r, scope, name, v);
}

static bool chat_bind_input(struct chat_run *r, struct chat_scope *globals, struct chat_scope *scope) {
  const struct chat_input *in = r->input;
  for (int i = 0; i < ARRAY_LEN(chat_globals); i++) {
    struct chat_value v = {.kind = CHAT_METHOD};
    struct chat_method *method = chat_new(r, 1, sizeof *method);
    if (!method) return false;
    method->builtin = &chat_globals[i];
    v.u.method = method;
    if (!chat_set_named(r, globals, str_from(chat_globals[i].name), v)) return false;
  }
  if (!chat_bind_json(r, scope, STR("messages"), in->messages) || !chat_bind_json(r, scope, STR("tools"), in->tools))
    return false;
  if (!chat_bind_json(r, scope, STR("documents"), NULL)) return false;
  if (in->bos_token.ptr && !chat_set_named(r, scope, STR("bos_token"), chat_string(in->bos_token))) return false;
  if (in->eos_token.ptr && !chat_set_named(r, scope, STR("eos_token"), chat_string(in->eos_token))) return false;
  if (!chat_set_named(r, scope, STR("add_generation_prompt"), chat_bool(in->add_generation_prompt))) return false;
  if (!in->kwargs || in->kwargs->type != JSON_OBJECT) return true;
  for (const struct json *m = in->kwargs->first; m; m = m->next)
    if (!chat_bind_json(r, scope, m->key, m)) return false;
  return true;
}

/* Copies the pieces into one text and counts or writes the spans: called twice. */
static int chat_spans(const struct chat_output *o, char *text, struct token_span *spans) {
  int n = 0, last = -1;
  uint32_t at = 0;
  for (const struct chat_pieces *p = o->first; p; p = p->next) {
    for (int i = 0; i < p->count; i++) {
      const struct chat_value *v = &p->pieces[i];
      if (text) memcpy(text + at, v->u.ptr, v->len);
      for (size_t k = 0; k < v->len;) {
        bool user = v->marks ? v->marks[k] : v->user;
        size_t end = k + 1;
        while (end < v->len && (!v->marks || (v->marks[end] != 0) == user)) end++;
        if (user != last) {
          if (spans) spans[n] = (struct token_span){at, at, user};
          n++;
          last = user;
        }
        at += (uint32_t)(end - k);
        if (spans) spans[n - 1].end = at;
        k = end;
      }
    }
  }
  return n;
}

/* Renders a conversation. Everything, the result too, is in the arena; the input must outlive the call only. On
 * failure the sentence has line and column of the template. Threads may share a template, not an arena. */
static bool chat_render(const struct chat_template *t, const struct chat_input *in, struct arena *a, size_t max_output,
                        struct chat_prompt *out, struct bk_error *e) {
  struct chat_output o = {0};
  struct chat_run run = {.template = t, .input = in, .arena = a, .error = e, .steps = CHAT_STEPS, .out = &o}, *r = &run;
  struct chat_scope globals = {0}, input = {.up = &globals}, top = {.up = &input};
  run.scope = &top;
  run.max_output = max_output > UINT32_MAX ? UINT32_MAX : max_output;
  *out = (struct chat_prompt){STR_NONE, NULL, 0};
  for (const struct chat_name *n = t->hoisted; n; n = n->hoisted)
    if (!chat_set(r, &top, n, chat_undefined(n->text))) return false;
  if (!chat_bind_input(r, &globals, &input) || chat_exec(r, t->body) == CHAT_FAILED) return false;
  char *text = chat_new(r, o.len, 1);
  struct token_span *spans = text ? chat_new(r, (size_t)chat_spans(&o, NULL, NULL), sizeof *spans) : NULL;
  if (!spans) return false;
  int n = chat_spans(&o, text, spans);
  *out = (struct chat_prompt){{text, o.len}, spans, n};
  return true;
}
