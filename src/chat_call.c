/* chat_call.c -- what a chat template can call: attributes and items of values, filters, tests, methods, global
 * functions.
 *
 * Tables of struct chat_builtin; chat_invoke binds arguments to parameters by place and by name, once for all of them.
 * The semantics are those of jinja2 3.1 in transformers' environment, whose tojson is json.dumps without HTML escapes.
 * SPDX-License-Identifier: MIT */

struct chat_loop {
  struct chat_list *items;
  int index, depth; // of the item being looked at, from 0; loops around this one
  struct chat_value changed; // what loop.changed() saw last
};

struct chat_method {
  const struct chat_builtin *builtin;
  struct chat_value self;
};

struct chat_cycle { // of cycler() and joiner()
  struct chat_value separator;
  struct chat_list *items;
  int at;
};

static bool chat_invoke(struct chat_run *r, const struct chat_builtin *f, struct chat_value subject,
                        const struct chat_arguments *args, struct chat_value *out);
static const struct chat_builtin *chat_find_builtin(const struct chat_builtin *table, int n, struct str name);

/* ---- attributes and items ---- */

static bool chat_loop_attribute(const struct chat_loop *l, struct str name, struct chat_value *out) {
  int n = l->items->count, i = l->index;
  if (str_is(name, "index")) *out = chat_int(i + 1);
  else if (str_is(name, "index0")) *out = chat_int(i);
  else if (str_is(name, "first")) *out = chat_bool(i == 0);
  else if (str_is(name, "last")) *out = chat_bool(i == n - 1);
  else if (str_is(name, "length")) *out = chat_int(n);
  else if (str_is(name, "revindex")) *out = chat_int(n - i);
  else if (str_is(name, "revindex0")) *out = chat_int(n - i - 1);
  else if (str_is(name, "depth")) *out = chat_int(l->depth + 1);
  else if (str_is(name, "depth0")) *out = chat_int(l->depth);
  else if (str_is(name, "previtem")) *out = i > 0 ? l->items->items[i - 1] : chat_undefined(STR("loop.previtem"));
  else if (str_is(name, "nextitem")) *out = i + 1 < n ? l->items->items[i + 1] : chat_undefined(STR("loop.nextitem"));
  else return false;
  return true;
}

static const struct chat_builtin *chat_find_method(const struct chat_value *object, struct str name);

/* object.name without the fall back to an item; `out` stays absent when there is none. */
static bool chat_own_attribute(struct chat_run *r, const struct chat_value *object, struct str name,
                               struct chat_value *out) {
  *out = (struct chat_value){0};
  if (object->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, object);
  if (object->kind == CHAT_LOOP && chat_loop_attribute(object->u.loop, name, out)) return true;
  if (object->kind == CHAT_NAMESPACE) {
    struct chat_value *v = chat_dict_get(object->u.dict, name);
    if (v) *out = *v;
    return true;
  }
  if (object->kind == CHAT_CYCLER && str_is(name, "current")) {
    *out = object->u.cycle->items->items[object->u.cycle->at];
    return true;
  }
  const struct chat_builtin *f = chat_find_method(object, name);
  if (!f) return true;
  struct chat_method *method = chat_new(r, 1, sizeof *method);
  if (!method) return false;
  *method = (struct chat_method){f, *object};
  out->kind = CHAT_METHOD;
  out->u.method = method;
  return true;
}

/* object[key], `out` absent when there is no such item, or the object has no items. */
static bool chat_own_item(struct chat_run *r, const struct chat_value *object, const struct chat_value *key,
                          struct chat_value *out) {
  int64_t index;
  *out = (struct chat_value){0};
  if (object->kind == CHAT_UNDEFINED) return chat_fail_undefined(r, object);
  if (object->kind == CHAT_DICT) {
    if (key->kind == CHAT_DICT || (key->kind == CHAT_LIST && key->u.list->kind == CHAT_PLAIN)) return true;
    struct chat_value *v;
    if (!chat_dict_find(r, object->u.dict, key, &v)) return false;
    if (v) *out = *v;
    return true;
  }
  bool list = object->kind == CHAT_LIST && object->u.list->kind <= CHAT_RANGE;
  if ((list || object->kind == CHAT_STRING) && chat_integer(key, &index)) return chat_at_index(r, object, index, out);
  return true;
}

static bool chat_getattr(struct chat_run *r, const struct chat_value *object, struct str name, struct chat_value *out) {
  struct chat_value key = chat_string(name);
  if (!chat_own_attribute(r, object, name, out)) return false;
  if (out->kind == CHAT_ABSENT && !chat_own_item(r, object, &key, out)) return false;
  if (out->kind == CHAT_ABSENT) *out = chat_undefined(name);
  return true;
}

static bool chat_getitem(struct chat_run *r, const struct chat_value *object, const struct chat_value *key,
                         struct chat_value *out) {
  if (!chat_own_item(r, object, key, out)) return false;
  if (out->kind == CHAT_ABSENT && key->kind == CHAT_STRING && !chat_own_attribute(r, object, chat_str(key), out))
    return false;
  if (out->kind == CHAT_ABSENT) *out = chat_undefined(key->kind == CHAT_STRING ? chat_str(key) : STR("an item"));
  return true;
}

/* "a.b.0" as attribute= takes it: every part an item or attribute of the one before, or `otherwise` if that is
 * missing. */
static bool chat_attribute_path(struct chat_run *r, struct chat_value item, const struct chat_value *path,
                                const struct chat_value *otherwise, struct chat_value *out) {
  bool default_given = otherwise && chat_given(otherwise);
  *out = item;
  if (path->kind == CHAT_INT) {
    if (!chat_getitem(r, &item, path, out)) return false;
    if (out->kind == CHAT_UNDEFINED && default_given) *out = *otherwise;
    return true;
  }
  if (!chat_need_string(r, path)) return false;
  struct str s = chat_str(path);
  for (size_t pos = 0, dot; pos <= s.len; pos = dot + 1) {
    int64_t index;
    dot = str_find(s, STR("."), pos);
    if (dot == SIZE_MAX) dot = s.len;
    struct chat_value object = *out, key = chat_string(str_slice(s, pos, dot));
    if (str_to_int(chat_str(&key), &index)) key = chat_int(index);
    if (!chat_spend(r, 0) || !chat_getitem(r, &object, &key, out)) return false;
    if (out->kind == CHAT_UNDEFINED && default_given) *out = *otherwise;
  }
  return true;
}

/* ---- methods of lists, dictionaries, loops, cyclers ---- */

CHAT_BUILTIN(chat_list_append) {
  CHAT_UNUSED;
  *out = chat_none();
  return chat_append(r, a[0].u.list, a[1]);
}

CHAT_BUILTIN(chat_list_pop) {
  CHAT_UNUSED;
  struct chat_list *list = a[0].u.list;
  int64_t at;
  if (!chat_optional_int(r, &a[1], -1, &at)) return false;
  if (at < 0) at += list->count;
  if (at < 0 || at >= list->count) return chat_fail(r, "pop index out of range");
  *out = list->items[at];
  memmove(list->items + at, list->items + at + 1, (size_t)(list->count - 1 - at) * sizeof *list->items);
  list->count--;
  return chat_spend(r, (size_t)list->count);
}

CHAT_BUILTIN(chat_list_index) {
  CHAT_UNUSED;
  bool equal = false;
  for (int i = 0; i < a[0].u.list->count; i++) {
    if (!chat_equal(r, &a[0].u.list->items[i], &a[1], &equal)) return false;
    *out = chat_int(i);
    if (equal) return true;
  }
  return chat_fail(r, "the value is not in the list");
}

CHAT_BUILTIN(chat_list_count) {
  CHAT_UNUSED;
  int64_t n = 0;
  for (int i = 0; i < a[0].u.list->count; i++) {
    bool equal;
    if (!chat_equal(r, &a[0].u.list->items[i], &a[1], &equal)) return false;
    n += equal;
  }
  *out = chat_int(n);
  return true;
}

static bool chat_copy_list(struct chat_run *r, const struct chat_value *v, struct chat_value *out) {
  struct chat_list *from, *to = NULL;
  if (!chat_items(r, v, &from) || !chat_spend(r, (size_t)from->count * 4)) return false;
  if (!(to = chat_new_list(r, from->count, CHAT_PLAIN, v->user || from->user))) return false;
  if (from->count) memcpy(to->items, from->items, (size_t)from->count * sizeof *to->items);
  to->count = from->count;
  return chat_return_list(to, out);
}

CHAT_BUILTIN(chat_list_copy) { return CHAT_UNUSED, chat_copy_list(r, &a[0], out); }

static bool chat_dict_view(struct chat_run *r, const struct chat_dict *d, enum chat_list_kind kind,
                           struct chat_value *out) {
  struct chat_list *list = chat_new_list(r, d->count, kind, d->user);
  if (!list || !chat_spend(r, (size_t)d->count * 4)) return false;
  for (int i = 0; i < d->count; i++) {
    struct chat_value item = kind == CHAT_VALUES ? d->pairs[i].value : d->pairs[i].key;
    if (kind == CHAT_ITEMS || kind == CHAT_GENERATOR) {
      struct chat_list *pair = chat_new_list(r, 2, CHAT_TUPLE, d->user);
      if (!pair) return false;
      pair->items[pair->count++] = d->pairs[i].key;
      pair->items[pair->count++] = d->pairs[i].value;
      item = chat_list_value(pair);
    }
    list->items[list->count++] = item;
  }
  return chat_return_list(list, out);
}

CHAT_BUILTIN(chat_dict_items) { return CHAT_UNUSED, chat_dict_view(r, a[0].u.dict, CHAT_ITEMS, out); }
CHAT_BUILTIN(chat_dict_keys) { return CHAT_UNUSED, chat_dict_view(r, a[0].u.dict, CHAT_KEYS, out); }
CHAT_BUILTIN(chat_dict_values) { return CHAT_UNUSED, chat_dict_view(r, a[0].u.dict, CHAT_VALUES, out); }

CHAT_BUILTIN(chat_dict_method_get) {
  CHAT_UNUSED;
  struct chat_value *found;
  if (!chat_dict_find(r, a[0].u.dict, &a[1], &found)) return false;
  *out = found ? *found : a[2].kind == CHAT_ABSENT ? chat_none() : a[2];
  return true;
}

CHAT_BUILTIN(chat_dict_copy) {
  CHAT_UNUSED;
  struct chat_dict *from = a[0].u.dict, *to = chat_new_dict(r, from->count, from->user);
  if (!to || !chat_spend(r, (size_t)from->count * 8)) return false;
  if (from->count) memcpy(to->pairs, from->pairs, (size_t)from->count * sizeof *to->pairs);
  to->count = from->count;
  *out = chat_dict_value(to, CHAT_DICT);
  return true;
}

CHAT_BUILTIN(chat_loop_cycle) {
  CHAT_UNUSED;
  if (!args->n_pos) return chat_fail(r, "no items for cycling given");
  *out = args->pos[a[0].u.loop->index % args->n_pos];
  return true;
}

CHAT_BUILTIN(chat_loop_changed) {
  CHAT_UNUSED;
  struct chat_list *now = chat_new_list(r, args->n_pos, CHAT_TUPLE, false);
  bool equal = false;
  if (!now) return false;
  for (int i = 0; i < args->n_pos; i++) now->items[now->count++] = args->pos[i];
  struct chat_value v = chat_list_value(now), *last = &a[0].u.loop->changed;
  if (last->kind != CHAT_ABSENT && !chat_equal(r, last, &v, &equal)) return false;
  *last = v;
  *out = chat_bool(!equal);
  return true;
}

CHAT_BUILTIN(chat_cycler_next) {
  CHAT_UNUSED;
  struct chat_cycle *c = a[0].u.cycle;
  *out = c->items->items[c->at];
  c->at = (c->at + 1) % c->items->count;
  return true;
}

CHAT_BUILTIN(chat_cycler_reset) {
  CHAT_UNUSED;
  a[0].u.cycle->at = 0;
  *out = chat_none();
  return true;
}

static const struct chat_builtin chat_list_methods[] = {
  {"append", "object", 1, chat_list_append}, {"pop", "index", 0, chat_list_pop}, {"index", "value", 1, chat_list_index},
  {"count", "value", 1, chat_list_count},    {"copy", "", 0, chat_list_copy},
};

static const struct chat_builtin chat_dict_methods[] = {
  {"get", "key,default", 1, chat_dict_method_get}, {"items", "", 0, chat_dict_items}, {"keys", "", 0, chat_dict_keys},
  {"values", "", 0, chat_dict_values},             {"copy", "", 0, chat_dict_copy},
};

static const struct chat_builtin chat_loop_methods[] = {{"cycle", NULL, 0, chat_loop_cycle},
                                                        {"changed", NULL, 0, chat_loop_changed}};
static const struct chat_builtin chat_cycler_methods[] = {{"next", "", 0, chat_cycler_next},
                                                          {"reset", "", 0, chat_cycler_reset}};

static const struct chat_builtin *chat_find_method(const struct chat_value *object, struct str name) {
  switch (object->kind) {
  case CHAT_STRING: return chat_find_builtin(chat_string_methods, ARRAY_LEN(chat_string_methods), name);
  case CHAT_DICT: return chat_find_builtin(chat_dict_methods, ARRAY_LEN(chat_dict_methods), name);
  case CHAT_LOOP: return chat_find_builtin(chat_loop_methods, ARRAY_LEN(chat_loop_methods), name);
  case CHAT_CYCLER: return chat_find_builtin(chat_cycler_methods, ARRAY_LEN(chat_cycler_methods), name);
  case CHAT_LIST: {
    const struct chat_builtin *f = chat_find_builtin(chat_list_methods, ARRAY_LEN(chat_list_methods), name);
    if (object->u.list->kind > CHAT_RANGE) return NULL;
    return f && object->u.list->kind != CHAT_PLAIN && f->run != chat_list_index && f->run != chat_list_count ? NULL : f;
  }
  default: return NULL;
  }
}

/* ---- tests ---- */

#define CHAT_IS(function, condition) CHAT_BUILTIN(function) { return CHAT_UNUSED, *out = chat_bool(condition), true; }

CHAT_IS(chat_is_defined, a[0].kind != CHAT_UNDEFINED)
CHAT_IS(chat_is_undefined, a[0].kind == CHAT_UNDEFINED)
CHAT_IS(chat_is_none, a[0].kind == CHAT_NONE)
CHAT_IS(chat_is_string, a[0].kind == CHAT_STRING)
CHAT_IS(chat_is_mapping, a[0].kind == CHAT_DICT)
CHAT_IS(chat_is_number, a[0].kind == CHAT_INT || a[0].kind == CHAT_FLOAT || a[0].kind == CHAT_BOOL)
CHAT_IS(chat_is_integer, a[0].kind == CHAT_INT || (a[0].kind == CHAT_FLOAT && a[0].spelling))
CHAT_IS(chat_is_float, a[0].kind == CHAT_FLOAT && !a[0].spelling)
CHAT_IS(chat_is_boolean, a[0].kind == CHAT_BOOL)
CHAT_IS(chat_is_true, a[0].kind == CHAT_BOOL && a[0].u.boolean)
CHAT_IS(chat_is_false, a[0].kind == CHAT_BOOL && !a[0].u.boolean)
CHAT_IS(chat_is_callable, a[0].kind == CHAT_UNDEFINED || a[0].kind == CHAT_MACRO || a[0].kind == CHAT_METHOD ||
        a[0].kind == CHAT_JOINER)
CHAT_IS(chat_is_escaped, a[0].safe)
CHAT_IS(chat_is_iterable, a[0].kind == CHAT_STRING || a[0].kind == CHAT_LIST || a[0].kind == CHAT_DICT ||
        a[0].kind == CHAT_UNDEFINED)
CHAT_IS(chat_is_sequence, a[0].kind == CHAT_STRING || (a[0].kind == CHAT_LIST && a[0].u.list->kind <= CHAT_RANGE) ||
                            a[0].kind == CHAT_DICT || a[0].kind == CHAT_UNDEFINED)
CHAT_IS(chat_is_filter, a[0].kind == CHAT_STRING && chat_find_filter(chat_str(&a[0])))
CHAT_IS(chat_is_test, a[0].kind == CHAT_STRING && chat_find_test(chat_str(&a[0])))

static bool chat_is_case(struct chat_run *r, struct chat_value v, enum chat_class class, struct chat_value *out) {
  struct chat_value s;
  if (!chat_to_string(r, v, &s)) return false;
  *out = chat_bool(chat_all_of(&s, class));
  return chat_spend(r, s.len);
}

CHAT_BUILTIN(chat_is_lower) { return CHAT_UNUSED, chat_is_case(r, a[0], CHAT_LOWERS, out); }
CHAT_BUILTIN(chat_is_upper) { return CHAT_UNUSED, chat_is_case(r, a[0], CHAT_UPPERS, out); }

CHAT_BUILTIN(chat_is_divisible) {
  CHAT_UNUSED;
  int64_t n, by;
  if (!chat_need_int(r, &a[0], &n) || !chat_need_int(r, &a[1], &by)) return false;
  if (!by) return chat_fail(r, "integer modulo by zero");
  *out = chat_bool(by == -1 || n % by == 0);
  return true;
}

CHAT_BUILTIN(chat_is_even) {
  CHAT_UNUSED;
  int64_t n;
  return chat_need_int(r, &a[0], &n) && (*out = chat_bool(n % 2 == 0), true);
}

CHAT_BUILTIN(chat_is_odd) {
  CHAT_UNUSED;
  int64_t n;
  return chat_need_int(r, &a[0], &n) && (*out = chat_bool(n % 2 != 0), true);
}

CHAT_BUILTIN(chat_is_in) {
  CHAT_UNUSED;
  bool found;
  return chat_contains(r, &a[1], &a[0], &found) && (*out = chat_bool(found), true);
}

CHAT_BUILTIN(chat_is_same) { // `is` of Python, as far as values that are not objects have it
  CHAT_UNUSED;
  bool same = a[0].kind == a[1].kind;
  if (same && a[0].kind >= CHAT_LIST) same = a[0].u.list == a[1].u.list;
  else if (same && !chat_equal(r, &a[0], &a[1], &same)) return false;
  *out = chat_bool(same);
  return true;
}

static bool chat_is_compared(struct chat_run *r, struct chat_value *a, bool less, bool equal, bool more,
                             struct chat_value *out) {
  int order;
  if (!chat_compare(r, &a[0], &a[1], &order)) return false;
  *out = chat_bool(order < 0 ? less : order > 0 ? more : equal);
  return true;
}

CHAT_BUILTIN(chat_is_eq) {
  CHAT_UNUSED;
  bool equal;
  return chat_equal(r, &a[0], &a[1], &equal) && (*out = chat_bool(equal), true);
}

CHAT_BUILTIN(chat_is_ne) {
  CHAT_UNUSED;
  bool equal;
  return chat_equal(r, &a[0], &a[1], &equal) && (*out = chat_bool(!equal), true);
}

CHAT_BUILTIN(chat_is_lt) { return CHAT_UNUSED, chat_is_compared(r, a, true, false, false, out); }
CHAT_BUILTIN(chat_is_le) { return CHAT_UNUSED, chat_is_compared(r, a, true, true, false, out); }
CHAT_BUILTIN(chat_is_gt) { return CHAT_UNUSED, chat_is_compared(r, a, false, false, true, out); }
CHAT_BUILTIN(chat_is_ge) { return CHAT_UNUSED, chat_is_compared(r, a, false, true, true, out); }

static const struct chat_builtin chat_tests[] = {
  {"defined", "", 0, chat_is_defined}, {"undefined", "", 0, chat_is_undefined}, {"none", "", 0, chat_is_none},
  {"string", "", 0, chat_is_string}, {"mapping", "", 0, chat_is_mapping}, {"number", "", 0, chat_is_number},
  {"integer", "", 0, chat_is_integer}, {"float", "", 0, chat_is_float}, {"boolean", "", 0, chat_is_boolean},
  {"true", "", 0, chat_is_true}, {"false", "", 0, chat_is_false}, {"callable", "", 0, chat_is_callable},
  {"escaped", "", 0, chat_is_escaped}, {"iterable", "", 0, chat_is_iterable}, {"sequence", "", 0, chat_is_sequence},
  {"filter", "", 0, chat_is_filter}, {"test", "", 0, chat_is_test}, {"lower", "", 0, chat_is_lower},
  {"upper", "", 0, chat_is_upper}, {"even", "", 0, chat_is_even}, {"odd", "", 0, chat_is_odd},
  {"divisibleby", "num", 1, chat_is_divisible}, {"in", "seq", 1, chat_is_in}, {"sameas", "other", 1, chat_is_same},
  {"eq", "other", 1, chat_is_eq}, {"equalto", "other", 1, chat_is_eq}, {"==", "other", 1, chat_is_eq},
  {"ne", "other", 1, chat_is_ne}, {"!=", "other", 1, chat_is_ne}, {"lt", "other", 1, chat_is_lt},
  {"lessthan", "other", 1, chat_is_lt}, {"<", "other", 1, chat_is_lt}, {"le", "other", 1, chat_is_le},
  {"<=", "other", 1, chat_is_le}, {"gt", "other", 1, chat_is_gt}, {"greaterthan", "other", 1, chat_is_gt},
  {">", "other", 1, chat_is_gt}, {"ge", "other", 1, chat_is_ge}, {">=", "other", 1, chat_is_ge},
};

static const struct chat_builtin *chat_find_test(struct str name) { return chat_find_builtin(chat_tests,
    ARRAY_LEN(chat_tests), name); }

/* ---- global functions ---- */

CHAT_BUILTIN(chat_global_raise) {
  CHAT_UNUSED;
  struct chat_value s;
  (void)out;
  return chat_to_string(r, a[1], &s) && chat_fail(r, "the template refuses this conversation: " STR_FMT,
                                                  STR_ARG(chat_str(&s)));
}

CHAT_BUILTIN(chat_global_range) {
  CHAT_UNUSED;
  int64_t start = 0, stop, step = 1;
  if (!chat_need_int(r, &a[1], &stop)) return false;
  if (a[2].kind != CHAT_ABSENT) {
    start = stop;
    if (!chat_need_int(r, &a[2], &stop)) return false;
  }
  if (!chat_optional_int(r, &a[3], 1, &step)) return false;
  if (step == 0) return chat_fail(r, "range() with a step of zero");
  double count = step > 0 ? ((double)stop - (double)start) / (double)step :
      ((double)start - (double)stop) / -(double)step;
  if (count > 100000) return chat_fail(r, "a range of more than 100000 numbers"); // jinja2's own bound
  struct chat_list *list = chat_new_list(r, count > 0 ? (int)count + 1 : 0, CHAT_RANGE, false);
  if (!list || !chat_spend(r, (size_t)list->cap)) return false;
  for (int64_t i = start; (step > 0 ? i < stop : i > stop) && list->count < list->cap; i += step)
    list->items[list->count++] = chat_int(i);
  return chat_return_list(list, out);
}

/* dict(...) and namespace(...): of a dictionary or pairs, then of keyword arguments. */
static bool chat_make_dict(struct chat_run *r, const struct chat_arguments *args, struct chat_dict **out) {
  struct chat_dict *d = *out = chat_new_dict(r, args->n_named, false);
  if (!d) return false;
  if (args->n_pos > 1) return chat_fail(r, "dict() takes at most one value");
  if (args->n_pos && args->pos[0].kind == CHAT_DICT) {
    for (int i = 0; i < args->pos[0].u.dict->count; i++)
      if (!chat_dict_set(r, d, args->pos[0].u.dict->pairs[i].key, args->pos[0].u.dict->pairs[i].value)) return false;
  } else if (args->n_pos) {
    struct chat_list *list, *pair;
    if (!chat_items(r, &args->pos[0], &list)) return false;
    for (int i = 0; i < list->count; i++) {
      if (!chat_items(r, &list->items[i], &pair)) return false;
      if (pair->count != 2) return chat_fail(r, "dict() needs pairs");
      if (!chat_dict_set(r, d, pair->items[0], pair->items[1])) return false;
    }
  }
  for (int i = 0; i < args->n_named; i++)
    if (!chat_dict_set(r, d, chat_string(args->names[i]), args->named[i])) return false;
  return true;
}

CHAT_BUILTIN(chat_global_dict) {
  CHAT_UNUSED;
  struct chat_dict *d;
  return chat_make_dict(r, args, &d) && (*out = chat_dict_value(d, CHAT_DICT), true);
}

CHAT_BUILTIN(chat_global_namespace) {
  CHAT_UNUSED;
  struct chat_dict *d;
  return chat_make_dict(r, args, &d) && (*out = chat_dict_value(d, CHAT_NAMESPACE), true);
}

static bool chat_new_cycle(struct chat_run *r, enum chat_kind kind, struct chat_value separator,
                           struct chat_list *items, struct chat_value *out) {
  struct chat_cycle *c = chat_new(r, 1, sizeof *c);
  if (!c) return false;
  *c = (struct chat_cycle){separator, items, 0};
  *out = (struct chat_value){.kind = (uint8_t)kind};
  out->u.cycle = c;
  return true;
}

CHAT_BUILTIN(chat_global_joiner) {
  CHAT_UNUSED;
  return chat_new_cycle(r, CHAT_JOINER, a[1].kind == CHAT_ABSENT ? chat_string(STR(", ")) : a[1], NULL, out);
}

CHAT_BUILTIN(chat_global_cycler) {
  CHAT_UNUSED;
  struct chat_list *items = chat_new_list(r, args->n_pos, CHAT_TUPLE, false);
  if (!items) return false;
  if (!args->n_pos) return chat_fail(r, "at least one item has to be provided");
  for (int i = 0; i < args->n_pos; i++) items->items[items->count++] = args->pos[i];
  return chat_new_cycle(r, CHAT_CYCLER, chat_none(), items, out);
}

static const struct chat_builtin chat_globals[] = {
  {"raise_exception", "message", 1, chat_global_raise}, {"strftime_now", "format", 1, chat_global_strftime_now},
  {"range", "start,stop,step", 1, chat_global_range},   {"dict", NULL, 0, chat_global_dict},
  {"namespace", NULL, 0, chat_global_namespace},        {"joiner", "sep", 0, chat_global_joiner},
  {"cycler", NULL, 0, chat_global_cycler},
};

/* ---- calling ---- */

static const struct chat_builtin *chat_find_builtin(const struct chat_builtin *table, int n, struct str name) {
  for (int i = 0; i < n; i++)
    if (str_is(name, table[i].name)) return &table[i];
  return NULL;
}

static int chat_param_index(const char *params, struct str name) { // from 1; 0 if there is none
  for (int i = 1; *params; i++) {
    size_t n = strcspn(params, ",");
    if (str_eq(name, (struct str){params, n})) return i;
    params += n + (params[n] == ',');
  }
  return 0;
}

static bool chat_invoke(struct chat_run *r, const struct chat_builtin *f, struct chat_value subject,
                        const struct chat_arguments *args, struct chat_value *out) {
  struct chat_value a[CHAT_PARAMS] = {{0}};
  int n_params = 0;
  a[0] = subject;
  if (!chat_spend(r, 0)) return false;
  if (!f->params) return f->run(r, args, a, out);
  for (const char *p = f->params; *p; p++) n_params += p == f->params || p[-1] == ',';
  BK_ASSERT(n_params < CHAT_PARAMS);
  if (args->n_pos > n_params)
    return chat_fail(r, "%s() takes at most %d arguments, %d given", f->name, n_params, args->n_pos);
  for (int i = 0; i < args->n_pos; i++) a[i + 1] = args->pos[i];
  for (int i = 0; i < args->n_named; i++) {
    int at = chat_param_index(f->params, args->names[i]);
    if (!at) return chat_fail(r, "%s() has no argument '" STR_FMT "'", f->name, STR_ARG(args->names[i]));
    if (a[at].kind != CHAT_ABSENT)
      return chat_fail(r, "%s() got '" STR_FMT "' twice", f->name, STR_ARG(args->names[i]));
    a[at] = args->named[i];
  }
  for (int i = 1; i <= f->required; i++)
    if (a[i].kind == CHAT_ABSENT) return chat_fail(r, "%s() needs %d arguments", f->name, f->required);
  return f->run(r, args, a, out);
}
