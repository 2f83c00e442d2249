/* chat_filter.c -- the filters of chat templates: jinja2's, with transformers' tojson, and from_json.
 *
 * A filter gets its subject in a[0]. Lazy ones (map, select, items ...) return a generator: a list that is used up by
 * the first loop over it, prints as an object and has no length, because templates in circulation depend on that.
 * SPDX-License-Identifier: MIT */

/* ---- text ---- */

#define CHAT_STRING_FILTER(function, method) \
  CHAT_BUILTIN(function) { return chat_to_string(r, a[0], &a[0]) && method(r, args, a, out); }

CHAT_STRING_FILTER(chat_filter_trim, chat_str_strip)
CHAT_STRING_FILTER(chat_filter_lower, chat_str_lower)
CHAT_STRING_FILTER(chat_filter_upper, chat_str_upper)
CHAT_STRING_FILTER(chat_filter_capitalize, chat_str_capitalize)

CHAT_BUILTIN(chat_filter_string) { return CHAT_UNUSED, chat_to_string(r, a[0], out); }

CHAT_BUILTIN(chat_filter_title) {
  CHAT_UNUSED;
  struct chat_value s;
  return chat_to_string(r, a[0], &s) && chat_change_case(r, s, CHAT_TITLE_WORDS, out);
}

CHAT_BUILTIN(chat_filter_safe) {
  CHAT_UNUSED;
  if (!chat_to_string(r, a[0], out)) return false;
  out->safe = true;
  return true;
}

static bool chat_escape_html(struct chat_run *r, struct chat_value s, struct chat_value *out) {
  struct chat_text x = {0};
  size_t plain = 0;
  for (size_t i = 0; i <= s.len; i++) {
    char c = i < s.len ? s.u.ptr[i] : 0;
    const char *entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : c == '\'' ?
        "&#39;" : NULL;
    if (!entity && i < s.len) continue;
    if (!chat_put_value(r, &x, chat_cut(s, plain, i))) return false;
    if (entity && !chat_put(r, &x, entity, s.marks ? s.marks[i] : s.user)) return false;
    plain = i + 1;
  }
  *out = chat_text_value(&x);
  out->safe = true;
  return true;
}

CHAT_BUILTIN(chat_filter_escape) {
  CHAT_UNUSED;
  struct chat_value s;
  if (!chat_to_string(r, a[0], &s)) return false;
  if (!s.safe) return chat_escape_html(r, s, out);
  *out = s;
  return true;
}

CHAT_BUILTIN(chat_filter_forceescape) {
  CHAT_UNUSED;
  struct chat_value s;
  return chat_to_string(r, a[0], &s) && chat_escape_html(r, s, out);
}

CHAT_BUILTIN(chat_filter_replace) {
  CHAT_UNUSED;
  struct chat_value s, old, new;
  int64_t most = -1;
  if (!chat_to_string(r, a[0], &s) || !chat_to_string(r, a[1], &old) || !chat_to_string(r, a[2], &new)) return false;
  if (chat_given(&a[3]) && !chat_need_int(r, &a[3], &most)) return false;
  s.safe = false;
  return chat_replace(r, s, old, new, most, out);
}

/* "%s-%s"|format(a, b), or with keyword arguments. */
CHAT_BUILTIN(chat_filter_format) {
  struct chat_value s, values;
  struct chat_dict *d;
  struct chat_list *list;
  if (args->n_pos && args->n_named) return chat_fail(r, "format() takes positional or keyword arguments, not both");
  if (!chat_to_string(r, a[0], &s)) return false;
  if (args->n_named) {
    if (!chat_make_dict(r, args, &d)) return false;
    values = chat_dict_value(d, CHAT_DICT);
  } else {
    if (!(list = chat_new_list(r, args->n_pos, CHAT_TUPLE, false))) return false;
    for (int i = 0; i < args->n_pos; i++) list->items[list->count++] = args->pos[i];
    values = chat_list_value(list);
  }
  return chat_percent(r, s, values, out);
}

CHAT_BUILTIN(chat_filter_indent) {
  CHAT_UNUSED;
  struct chat_value s, indent = chat_string(STR("    "));
  struct chat_text x = {0}, spaces = {0};
  bool first = chat_truth(&a[2]), blank = chat_truth(&a[3]);
  if (!chat_need_string(r, &a[0])) return false;
  s = a[0];
  if (a[1].kind == CHAT_STRING) {
    indent = a[1];
  } else if (a[1].kind != CHAT_ABSENT) {
    int64_t width;
    if (!chat_need_int(r, &a[1], &width)) return false;
    if (!chat_put_fill(r, &spaces, " ", width > 999999 ? 999999 : width)) return false;
    indent = chat_text_value(&spaces);
  }
  struct chat_list *lines = chat_new_list(r, 0, CHAT_PLAIN, false);
  if (!lines || !chat_splitlines(r, s, false, lines)) return false;
  struct str text = chat_str(&s);
  bool ends = !s.len || lines->count == 0; // a text that ends in a line break has one more, empty, line
  if (s.len) {
    const struct chat_value *last = &lines->items[lines->count - 1];
    ends = last->u.ptr + last->len != text.ptr + text.len;
  }
  int n = lines->count + ends;
  for (int i = 0; i < n; i++) {
    struct chat_value line = i < lines->count ? lines->items[i] : chat_string(STR(""));
    if (i && !chat_put(r, &x, "\n", false)) return false;
    if ((i ? blank || line.len : first) && !chat_put_value(r, &x, indent)) return false;
    if (!chat_put_value(r, &x, line)) return false;
  }
  *out = chat_text_value(&x);
  out->safe = s.safe;
  return true;
}

CHAT_BUILTIN(chat_filter_truncate) {
  CHAT_UNUSED;
  struct chat_value s, end = a[3].kind == CHAT_ABSENT ? chat_string(STR("...")) : a[3];
  struct chat_text x = {0};
  int64_t length, leeway;
  int64_t n;
  if (!chat_need_string(r, &end) || !chat_length(r, &a[0], &n)) return false;
  if (!chat_optional_int(r, &a[1], 255, &length) || !chat_optional_int(r, &a[4], 5, &leeway)) return false;
  int64_t room = length - (int64_t)chat_count_chars(chat_str(&end));
  *out = s = a[0];
  if (length < 0 || leeway < 0 || room < 0) return chat_fail(r, "truncate() needs a length that holds its end");
  if (n <= length || n - length <= leeway) return true;
  if (!chat_need_string(r, &s)) return false;
  size_t cut = 0;
  for (int64_t i = 0; i < room; i++) utf8_decode(chat_str(&s), &cut);
  if (!chat_truth(&a[2])) {
    size_t space = chat_find_last(chat_str(&s), STR(" "), cut);
    if (space != SIZE_MAX) cut = space;
  }
  if (!chat_put_value(r, &x, chat_cut(s, 0, cut)) || !chat_put_value(r, &x, end)) return false;
  *out = chat_text_value(&x);
  return true;
}

CHAT_BUILTIN(chat_filter_center) {
  struct chat_value s;
  if (!chat_to_string(r, a[0], &s)) return false;
  a[0] = s;
  if (a[1].kind == CHAT_ABSENT) a[1] = chat_int(80);
  return chat_str_center(r, args, a, out);
}

CHAT_BUILTIN(chat_filter_wordcount) {
  CHAT_UNUSED;
  struct chat_value s;
  int64_t n = 0;
  if (!chat_to_string(r, a[0], &s) || !chat_spend(r, s.len)) return false;
  for (size_t pos = 0; pos < s.len;) { // words as the regular expression \w+ sees them
    uint32_t c = utf8_decode(chat_str(&s), &pos), next = 0;
    size_t look = pos;
    if (pos < s.len) next = utf8_decode(chat_str(&s), &look);
    bool in = chat_is_letter(c) || chat_in(c, '0', '9') || c == '_', more = chat_is_letter(next) ||
        chat_in(next, '0', '9') || next == '_';
    n += in && !more;
  }
  *out = chat_int(n);
  return true;
}

CHAT_BUILTIN(chat_filter_urlencode) {
  CHAT_UNUSED;
  static const char hex[] = "0123456789ABCDEF";
  struct chat_value s;
  struct chat_text x = {0};
  if (a[0].kind == CHAT_DICT || a[0].kind == CHAT_LIST) return chat_fail(r, "urlencode is supported for strings only");
  if (!chat_to_string(r, a[0], &s)) return false;
  for (size_t i = 0; i < s.len; i++) {
    char c = s.u.ptr[i], escape[4] = {'%', hex[(unsigned char)c >> 4], hex[c & 15], 0};
    bool plain = chat_is_letter((unsigned char)c < 128 ? (unsigned char)c : 0) || chat_in((unsigned char)c, '0', '9') ||
        (c && strchr("_.-~/", c));
    if (plain ? !chat_put_value(r, &x, chat_cut(s, i, i + 1)) : !chat_put(r, &x, escape, s.marks ? s.marks[i] : s.user))
      return false;
  }
  *out = chat_text_value(&x);
  return true;
}

/* ---- JSON ---- */

CHAT_BUILTIN(chat_filter_tojson) {
  CHAT_UNUSED;
  struct chat_json_style style = {.ascii = chat_truth(&a[1]), .sorted = chat_truth(&a[4]), .lines = chat_given(&a[2])};
  struct chat_text x = {0}, spaces = {0};
  style.item = chat_string(style.lines ? STR(",") : STR(", "));
  style.colon = chat_string(STR(": "));
  style.indent = chat_string(STR(""));
  if (a[2].kind == CHAT_STRING) {
    style.indent = a[2];
  } else if (style.lines) {
    int64_t width;
    if (!chat_need_int(r, &a[2], &width)) return false;
    if (!chat_put_fill(r, &spaces, " ", width > 1000 ? 1000 : width)) return false;
    style.indent = chat_text_value(&spaces);
  }
  if (chat_given(&a[3])) {
    struct chat_list *pair;
    if (!chat_items(r, &a[3], &pair)) return false;
    if (pair->count != 2 || pair->items[0].kind != CHAT_STRING || pair->items[1].kind != CHAT_STRING)
      return chat_fail(r, "tojson: separators are two strings");
    style.item = pair->items[0];
    style.colon = pair->items[1];
  }
  if (!chat_put_json(r, &x, &a[0], &style, 0)) return false;
  *out = chat_text_value(&x);
  return true;
}

/* Text that a user wrote stays the user's when it is read as JSON; a mixed text counts as the user's. */
CHAT_BUILTIN(chat_filter_from_json) {
  CHAT_UNUSED;
  struct json *json;
  struct bk_error e = {0};
  if (!chat_need_string(r, &a[0]) || !chat_spend(r, a[0].len)) return false;
  if (!json_parse(chat_str(&a[0]), r->arena, &json, &e)) return chat_fail(r, "from_json: %.200s", e.message);
  return chat_from_json(r, json, chat_has_user(&a[0]), out);
}

/* ---- one value ---- */

CHAT_BUILTIN(chat_filter_default) {
  CHAT_UNUSED;
  bool missing = a[0].kind == CHAT_UNDEFINED || (chat_truth(&a[2]) && !chat_truth(&a[0]));
  *out = !missing ? a[0] : a[1].kind == CHAT_ABSENT ? chat_string(STR("")) : a[1];
  return true;
}

CHAT_BUILTIN(chat_filter_length) {
  CHAT_UNUSED;
  int64_t n;
  return chat_length(r, &a[0], &n) && (*out = chat_int(n), true);
}

/* Python's int(text, base) and float(text): white space around, underscores between digits. */
static struct str chat_number_text(const struct chat_value *v, char text[80]) {
  struct str s = chat_str(v);
  size_t n = 0, beg = chat_skip_space(s, 0);
  s.len = chat_rtrim(s);
  for (size_t i = beg; i < s.len; i++) {
    if (n == 79) return STR_NONE;
    if (s.ptr[i] == '_' && i > beg && i + 1 < s.len && s.ptr[i - 1] != '_') continue;
    text[n++] = s.ptr[i];
  }
  return (struct str){text, n};
}

static bool chat_based_int(struct str s, int64_t base, int64_t *out) {
  int64_t value = 0;
  size_t i = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+');
  char mark = i + 1 < s.len && s.ptr[i] == '0' ? (char)(s.ptr[i + 1] | 32) : 0;
  int64_t named = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (base == 0) base = named ? named : 10;
  if (named == base) i += 2;
  if (base < 2 || base > 36 || i >= s.len) return false;
  for (; i < s.len; i++) {
    char c = s.ptr[i];
    int64_t d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10 : 99;
    if (d >= base || value > (INT64_MAX - d) / base) return false;
    value = value * base + d;
  }
  *out = s.ptr[0] == '-' ? -value : value;
  return true;
}

/* A float cut to a whole number; beyond int64 it keeps its digits, as Python's would. */
static bool chat_truncate(struct chat_run *r, double d, struct chat_value *out) {
  char text[400], *kept;
  if (d - d != 0) return chat_fail(r, "cannot convert float infinity to integer");
  if (d > -9.2e18 && d < 9.2e18) {
    *out = chat_int((int64_t)d);
    return true;
  }
  *out = chat_float(d);
  snprintf(text, sizeof text, "%.0f", d);
  out->len = strlen(text);
  if (!(kept = chat_new(r, out->len, 1))) return false;
  memcpy(kept, text, out->len);
  out->spelling = kept;
  return true;
}

CHAT_BUILTIN(chat_filter_int) {
  CHAT_UNUSED;
  char text[80];
  int64_t i, base;
  double d;
  *out = a[1].kind == CHAT_ABSENT ? chat_int(0) : a[1];
  if (a[0].kind == CHAT_UNDEFINED) return chat_fail_undefined(r, &a[0]);
  if (!chat_optional_int(r, &a[2], 10, &base)) return false;
  bool user = chat_has_user(&a[0]);
  if (a[0].kind == CHAT_FLOAT && a[0].spelling) {
    *out = a[0];
    return true;
  }
  if (a[0].kind == CHAT_STRING) {
    struct str s = chat_number_text(&a[0], text);
    if (chat_based_int(s, base, &i)) *out = chat_int(i), out->user = user;
    else if (str_to_double(s, &d) && !chat_truncate(r, d, out)) return false;
    if (out->kind == CHAT_INT || out->kind == CHAT_FLOAT) out->user = user;
  } else if (chat_integer(&a[0], &i)) {
    *out = chat_int(i), out->user = user;
  } else if (chat_number(&a[0], &d)) {
    if (!chat_truncate(r, d, out)) return false;
    out->user = user;
  }
  return true;
}

CHAT_BUILTIN(chat_filter_float) {
  CHAT_UNUSED;
  char text[80];
  double d;
  *out = a[1].kind == CHAT_ABSENT ? chat_float(0) : a[1];
  if (a[0].kind == CHAT_UNDEFINED) return chat_fail_undefined(r, &a[0]);
  bool ok = a[0].kind == CHAT_STRING ? str_to_double(chat_number_text(&a[0], text), &d) : chat_number(&a[0], &d);
  if (ok) *out = chat_float(d), out->user = chat_has_user(&a[0]);
  return true;
}

CHAT_BUILTIN(chat_filter_abs) {
  CHAT_UNUSED;
  int64_t i;
  double d;
  if (chat_integer(&a[0], &i) && i != INT64_MIN) *out = chat_int(i < 0 ? -i : i);
  else if (chat_number(&a[0], &d)) *out = chat_float(fabs(d));
  else return chat_fail_type(r, &a[0], "a number");
  out->user = a[0].user;
  return true;
}

CHAT_BUILTIN(chat_filter_round) {
  CHAT_UNUSED;
  char text[400];
  double d, scale;
  int64_t precision;
  if (!chat_number(&a[0], &d)) return chat_fail_type(r, &a[0], "a number");
  if (!chat_optional_int(r, &a[1], 0, &precision)) return false;
  if (precision < -300 || precision > 300) return chat_fail(r, "round() to %lld digits", (long long)precision);
  bool up = chat_is(&a[2], "ceil"), down = chat_is(&a[2], "floor");
  if (!up && !down && a[2].kind != CHAT_ABSENT && !chat_is(&a[2], "common"))
    return chat_fail(r, "round() does common, ceil or floor");
  scale = pow(10, (double)precision);
  if (up || down) {
    d = (up ? ceil(d * scale) : floor(d * scale)) / scale;
  } else if (precision >= 0) { // the decimal text rounds exactly, ties to even
    snprintf(text, sizeof text, "%.*f", precision > 60 ? 60 : (int)precision, d);
    d = strtod(text, NULL);
  } else {
    d = nearbyint(d * scale) / scale;
  }
  bool whole = (a[0].kind == CHAT_INT || a[0].kind == CHAT_BOOL) && !up && !down;
  *out = whole ? chat_int((int64_t)d) : chat_float(d);
  out->user = a[0].user;
  return true;
}

CHAT_BUILTIN(chat_filter_attr) {
  CHAT_UNUSED;
  struct chat_value name;
  if (!chat_to_string(r, a[1], &name) || !chat_own_attribute(r, &a[0], chat_str(&name), out)) return false;
  if (out->kind == CHAT_ABSENT) *out = chat_undefined(chat_str(&name));
  return true;
}

/* ---- sequences ---- */

CHAT_BUILTIN(chat_filter_list) { return CHAT_UNUSED, chat_copy_list(r, &a[0], out); }

CHAT_BUILTIN(chat_filter_first) {
  CHAT_UNUSED;
  struct chat_list *list;
  if (a[0].kind == CHAT_STRING || (a[0].kind == CHAT_LIST && a[0].u.list->kind != CHAT_GENERATOR)) {
    if (!chat_at_index(r, &a[0], 0, out)) return false;
    if (out->kind == CHAT_ABSENT) *out = chat_undefined(STR("the first item"));
    out->safe = false;
    return true;
  }
  if (!chat_items(r, &a[0], &list)) return false;
  *out = list->count ? list->items[0] : chat_undefined(STR("the first item"));
  if (a[0].kind == CHAT_LIST && list->count) a[0].u.list->taken -= list->count - 1; // a generator gives one item only
  return true;
}

CHAT_BUILTIN(chat_filter_last) {
  CHAT_UNUSED;
  struct chat_list *list;
  if (a[0].kind == CHAT_LIST && a[0].u.list->kind == CHAT_GENERATOR)
    return chat_fail(r, "'generator' object is not reversible");
  if (!chat_items(r, &a[0], &list)) return false;
  *out = list->count ? list->items[list->count - 1] : chat_undefined(STR("the last item"));
  return true;
}

CHAT_BUILTIN(chat_filter_reverse) {
  CHAT_UNUSED;
  struct chat_list *from, *list;
  struct chat_text x = {0};
  if (!chat_items(r, &a[0], &from)) return false;
  if (a[0].kind == CHAT_STRING) {
    for (int i = from->count - 1; i >= 0; i--)
      if (!chat_put_value(r, &x, from->items[i])) return false;
    *out = chat_text_value(&x);
    return true;
  }
  if (!(list = chat_new_list(r, from->count, CHAT_GENERATOR, a[0].user))) return false;
  for (int i = from->count - 1; i >= 0; i--) list->items[list->count++] = from->items[i];
  return chat_spend(r, (size_t)list->count * 4) && chat_return_list(list, out);
}

CHAT_BUILTIN(chat_filter_join) {
  CHAT_UNUSED;
  struct chat_list *list;
  struct chat_text x = {0};
  struct chat_value separator = chat_string(STR("")), item, text;
  if (a[1].kind != CHAT_ABSENT && !chat_to_string(r, a[1], &separator)) return false;
  if (!chat_items(r, &a[0], &list)) return false;
  for (int i = 0; i < list->count; i++) {
    item = list->items[i];
    if (chat_given(&a[2]) && !chat_attribute_path(r, list->items[i], &a[2], NULL, &item)) return false;
    if (i && !chat_put_value(r, &x, separator)) return false;
    if (!chat_to_string(r, item, &text) || !chat_put_value(r, &x, text)) return false;
  }
  *out = chat_text_value(&x);
  return true;
}

CHAT_BUILTIN(chat_filter_items) {
  CHAT_UNUSED;
  struct chat_dict none = {0};
  if (a[0].kind == CHAT_UNDEFINED) return chat_dict_view(r, &none, CHAT_GENERATOR, out);
  if (a[0].kind != CHAT_DICT) return chat_fail(r, "can only get item pairs from a mapping");
  return chat_dict_view(r, a[0].u.dict, CHAT_GENERATOR, out);
}

/* What is sorted or compared by: an attribute of the item, or itself; text without regard to case unless asked for. */
static bool chat_sort_key(struct chat_run *r, struct chat_value item, const struct chat_value *attribute,
                          bool case_matters, struct chat_value *out) {
  *out = item;
  if (chat_given(attribute) && !chat_attribute_path(r, item, attribute, NULL, out)) return false;
  item = *out;
  return case_matters || item.kind != CHAT_STRING || chat_change_case(r, item, CHAT_LOWER, out);
}

/* sort(attribute="a,b"): always a list of keys, so that equal keys need no order. */
static bool chat_sort_keys(struct chat_run *r, struct chat_value item, const struct chat_value *attribute,
                           bool case_matters,
                           struct chat_value *out) {
  struct chat_list *keys = chat_new_list(r, 1, CHAT_PLAIN, false);
  struct chat_value key;
  if (!keys) return false;
  *out = chat_list_value(keys);
  if (attribute->kind != CHAT_STRING)
    return chat_sort_key(r, item, attribute, case_matters, &key) && chat_append(r, keys, key);
  struct str s = chat_str(attribute);
  for (size_t pos = 0, comma; pos <= s.len; pos = comma + 1) {
    comma = str_find(s, STR(","), pos);
    if (comma == SIZE_MAX) comma = s.len;
    struct chat_value part = chat_string(str_slice(s, pos, comma));
    if (!chat_sort_key(r, item, &part, case_matters, &key) || !chat_append(r, keys, key)) return false;
  }
  return true;
}

CHAT_BUILTIN(chat_filter_sort) { // reverse, case_sensitive, attribute
  CHAT_UNUSED;
  struct chat_value copy;
  if (!chat_copy_list(r, &a[0], &copy)) return false;
  struct chat_list *list = copy.u.list;
  struct chat_value *keys = chat_new(r, (size_t)list->count, sizeof *keys);
  if (!keys) return false;
  for (int i = 0; i < list->count; i++)
    if (!chat_sort_keys(r, list->items[i], &a[3], chat_truth(&a[2]), &keys[i])) return false;
  *out = copy;
  return chat_sort(r, keys, list->items, list->count, chat_truth(&a[1]));
}

CHAT_BUILTIN(chat_filter_dictsort) { // case_sensitive, by, reverse
  CHAT_UNUSED;
  struct chat_value items, none = {0};
  bool by_value = chat_is(&a[2], "value");
  if (a[0].kind != CHAT_DICT) return chat_fail_type(r, &a[0], "a dictionary");
  if (a[2].kind != CHAT_ABSENT && !by_value && !chat_is(&a[2], "key"))
    return chat_fail(r, "dictsort() sorts by 'key' or 'value'");
  if (!chat_dict_view(r, a[0].u.dict, CHAT_ITEMS, &items)) return false;
  struct chat_list *list = items.u.list;
  struct chat_value *keys = chat_new(r, (size_t)list->count, sizeof *keys);
  if (!keys) return false;
  list->kind = CHAT_PLAIN;
  for (int i = 0; i < list->count; i++)
    if (!chat_sort_key(r, list->items[i].u.list->items[by_value], &none, chat_truth(&a[1]), &keys[i])) return false;
  *out = items;
  return chat_sort(r, keys, list->items, list->count, chat_truth(&a[3]));
}

CHAT_BUILTIN(chat_filter_unique) { // case_sensitive, attribute
  CHAT_UNUSED;
  struct chat_list *from, *keys = chat_new_list(r, 0, CHAT_PLAIN, false), *list =
      chat_new_list(r, 0, CHAT_GENERATOR, a[0].user);
  if (!keys || !list || !chat_items(r, &a[0], &from)) return false;
  for (int i = 0; i < from->count; i++) {
    struct chat_value key;
    bool seen = false;
    if (!chat_sort_key(r, from->items[i], &a[2], chat_truth(&a[1]), &key)) return false;
    if (key.kind == CHAT_DICT || (key.kind == CHAT_LIST && key.u.list->kind == CHAT_PLAIN))
      return chat_fail(r, "unhashable type: '%s'", chat_type_name(&key));
    for (int k = 0; k < keys->count && !seen; k++)
      if (!chat_equal(r, &keys->items[k], &key, &seen)) return false;
    if (!seen && (!chat_append(r, keys, key) || !chat_append(r, list, from->items[i]))) return false;
  }
  return chat_return_list(list, out);
}

static bool chat_extreme(struct chat_run *r, struct chat_value *a, int sign, struct chat_value *out) {
  struct chat_list *list;
  struct chat_value best = {0};
  if (!chat_items(r, &a[0], &list)) return false;
  *out = chat_undefined(STR("an item of an empty sequence"));
  for (int i = 0; i < list->count; i++) {
    struct chat_value key;
    int order = -1;
    if (!chat_sort_key(r, list->items[i], &a[2], chat_truth(&a[1]), &key)) return false;
    if (i && !chat_compare(r, &key, &best, &order)) return false;
    if (i && order * sign >= 0) continue;
    best = key;
    *out = list->items[i];
  }
  return true;
}

CHAT_BUILTIN(chat_filter_min) { return CHAT_UNUSED, chat_extreme(r, a, 1, out); }
CHAT_BUILTIN(chat_filter_max) { return CHAT_UNUSED, chat_extreme(r, a, -1, out); }

static bool chat_arithmetic(struct chat_run *r, int op, const struct chat_value *a, const struct chat_value *b,
                            struct chat_value *out);

CHAT_BUILTIN(chat_filter_sum) { // attribute, start
  CHAT_UNUSED;
  struct chat_list *list;
  struct chat_value total = a[2].kind == CHAT_ABSENT ? chat_int(0) : a[2];
  if (!chat_items(r, &a[0], &list)) return false;
  for (int i = 0; i < list->count; i++) {
    struct chat_value item = list->items[i], next;
    if (chat_given(&a[1]) && !chat_attribute_path(r, list->items[i], &a[1], NULL, &item)) return false;
    if (!chat_arithmetic(r, '+', &total, &item, &next)) return false;
    total = next;
  }
  *out = total;
  return true;
}

CHAT_BUILTIN(chat_filter_batch) { // linecount, fill_with
  CHAT_UNUSED;
  struct chat_list *from, *line = NULL, *list = chat_new_list(r, 0, CHAT_GENERATOR, a[0].user);
  int64_t n;
  if (!list || !chat_items(r, &a[0], &from) || !chat_need_int(r, &a[1], &n)) return false;
  for (int i = 0; i < from->count; i++) {
    if (!line || line->count == n) {
      if (!(line = chat_new_list(r, 0, CHAT_PLAIN, a[0].user)) || !chat_append(r, list, chat_list_value(line)))
        return false;
    }
    if (!chat_append(r, line, from->items[i])) return false;
  }
  while (line && chat_given(&a[2]) && line->count < n)
    if (!chat_spend(r, 0) || !chat_append(r, line, a[2])) return false;
  return chat_return_list(list, out);
}

CHAT_BUILTIN(chat_filter_slice) { // slices, fill_with
  CHAT_UNUSED;
  struct chat_list *from, *list = chat_new_list(r, 0, CHAT_GENERATOR, a[0].user);
  int64_t slices, at = 0;
  if (!list || !chat_items(r, &a[0], &from) || !chat_need_int(r, &a[1], &slices)) return false;
  if (slices < 1) return chat_fail(r, "slice() into %lld parts", (long long)slices);
  int64_t each = from->count / slices, more = from->count % slices;
  for (int64_t i = 0; i < slices; i++) {
    struct chat_list *part = chat_new_list(r, 0, CHAT_PLAIN, a[0].user);
    if (!part || !chat_spend(r, 0) || !chat_append(r, list, chat_list_value(part))) return false;
    for (int64_t k = each + (i < more); k > 0; k--)
      if (!chat_append(r, part, from->items[at++])) return false;
    if (chat_given(&a[2]) && i >= more && !chat_append(r, part, a[2])) return false;
  }
  return chat_return_list(list, out);
}

CHAT_BUILTIN(chat_filter_groupby) { // attribute, default, case_sensitive
  CHAT_UNUSED;
  CHAT_UNUSED;
  struct chat_value sorted, last = {0};
  struct chat_list *list = chat_new_list(r, 0, CHAT_PLAIN, a[0].user), *group = NULL;
  if (!list || !chat_copy_list(r, &a[0], &sorted)) return false;
  int n = sorted.u.list->count;
  struct chat_value *keys = chat_new(r, (size_t)n, sizeof *keys);
  if (!keys) return false;
  for (int i = 0; i < n; i++) {
    struct chat_value v, none = {0};
    if (!chat_attribute_path(r, sorted.u.list->items[i], &a[1], &a[2], &v)) return false;
    if (!chat_sort_key(r, v, &none, chat_truth(&a[3]), &keys[i])) return false;
  }
  if (!chat_sort(r, keys, sorted.u.list->items, n, false)) return false;
  for (int i = 0; i < n; i++) {
    struct chat_value item = sorted.u.list->items[i], key = keys[i], name;
    bool same = false;
    if (!chat_attribute_path(r, item, &a[1], &a[2], &name)) return false;
    if (group && !chat_equal(r, &key, &last, &same)) return false;
    if (!same) {
      struct chat_list *pair = chat_new_list(r, 2, CHAT_TUPLE, a[0].user);
      if (!pair || !(group = chat_new_list(r, 0, CHAT_PLAIN, a[0].user))) return false;
      pair->items[pair->count++] = name;
      pair->items[pair->count++] = chat_list_value(group);
      if (!chat_append(r, list, chat_list_value(pair))) return false;
      last = key;
    }
    if (!chat_append(r, group, item)) return false;
  }
  return chat_return_list(list, out);
}

/* ---- filters that apply filters and tests ---- */

/* All arguments but the first positional ones. */
static struct chat_arguments chat_rest(const struct chat_arguments *args, int skip) {
  struct chat_arguments rest = *args;
  if (skip > rest.n_pos) skip = rest.n_pos;
  if (skip) rest.pos += skip;
  rest.n_pos -= skip;
  return rest;
}

CHAT_BUILTIN(chat_filter_map) { // map("upper"), map("replace", "a", "b"), map(attribute="x", default=y)
  CHAT_UNUSED;
  struct chat_list *from, *list;
  struct chat_value attribute = {0}, otherwise = {0};
  for (int i = 0; i < args->n_named; i++) {
    if (str_is(args->names[i], "attribute")) attribute = args->named[i];
    else if (str_is(args->names[i], "default")) otherwise = args->named[i];
  }
  const struct chat_builtin *f = NULL;
  if (!chat_truth(&a[0])) return chat_return_list(chat_new_list(r, 0, CHAT_GENERATOR, false), out); // of none, too
  if (attribute.kind == CHAT_ABSENT) {
    if (!args->n_pos || !chat_need_string(r, &args->pos[0]))
      return args->n_pos ? false : chat_fail(r, "map() requires a filter argument");
    if (!(f = chat_find_filter(chat_str(&args->pos[0]))))
      return chat_fail(r, "the filter '" STR_FMT "' is not supported", STR_ARG(chat_str(&args->pos[0])));
  }
  struct chat_arguments rest = chat_rest(args, 1);
  if (!chat_items(r, &a[0], &from) || !(list = chat_new_list(r, from->count, CHAT_GENERATOR, a[0].user))) return false;
  if (!chat_deeper(r)) return false;
  for (int i = 0; i < from->count; i++, list->count++) {
    struct chat_value *v = &list->items[i];
    if (f ? !chat_invoke(r, f, from->items[i], &rest, v) : !chat_attribute_path(r, from->items[i], &attribute,
                                                                                &otherwise, v)) return false;
  }
  r->depth--;
  return chat_return_list(list, out);
}

/* select, reject, selectattr, rejectattr: the items (or those with an attribute) that pass a test, or are true without
 * one. */
static bool chat_select(struct chat_run *r, const struct chat_arguments *args, struct chat_value *a, bool by_attribute,
                        bool wanted, struct chat_value *out) {
  struct chat_list *from, *list = chat_new_list(r, 0, CHAT_GENERATOR, a[0].user);
  const struct chat_builtin *test = NULL;
  int at = by_attribute;
  if (list && !chat_truth(&a[0])) return chat_return_list(list, out); // of none, too
  if (!list || !chat_items(r, &a[0], &from)) return false;
  if (args->n_pos < at) return chat_fail(r, "the name of an attribute is missing");
  if (args->n_pos > at) {
    if (!chat_need_string(r, &args->pos[at])) return false;
    if (!(test = chat_find_test(chat_str(&args->pos[at]))))
      return chat_fail(r, "the test '" STR_FMT "' is not supported", STR_ARG(chat_str(&args->pos[at])));
  }
  struct chat_arguments rest = chat_rest(args, at + 1);
  for (int i = 0; i < from->count; i++) {
    struct chat_value v = from->items[i], passed;
    if (by_attribute && !chat_attribute_path(r, from->items[i], &args->pos[0], NULL, &v)) return false;
    passed = chat_bool(chat_truth(&v));
    if (test && !chat_invoke(r, test, v, &rest, &passed)) return false;
    if (chat_truth(&passed) == wanted && !chat_append(r, list, from->items[i])) return false;
  }
  return chat_return_list(list, out);
}

CHAT_BUILTIN(chat_filter_select) { return chat_select(r, args, a, false, true, out); }
CHAT_BUILTIN(chat_filter_reject) { return chat_select(r, args, a, false, false, out); }
CHAT_BUILTIN(chat_filter_selectattr) { return chat_select(r, args, a, true, true, out); }
CHAT_BUILTIN(chat_filter_rejectattr) { return chat_select(r, args, a, true, false, out); }

static const struct chat_builtin chat_filters[] = {
  {"abs", "", 0, chat_filter_abs},
  {"attr", "name", 1, chat_filter_attr},
  {"batch", "linecount,fill_with", 1, chat_filter_batch},
  {"capitalize", "", 0, chat_filter_capitalize},
  {"center", "width", 0, chat_filter_center},
  {"count", "", 0, chat_filter_length},
  {"d", "default_value,boolean", 0, chat_filter_default},
  {"default", "default_value,boolean", 0, chat_filter_default},
  {"dictsort", "case_sensitive,by,reverse", 0, chat_filter_dictsort},
  {"e", "", 0, chat_filter_escape},
  {"escape", "", 0, chat_filter_escape},
  {"first", "", 0, chat_filter_first},
  {"float", "default", 0, chat_filter_float},
  {"forceescape", "", 0, chat_filter_forceescape},
  {"format", NULL, 0, chat_filter_format},
  {"from_json", "", 0, chat_filter_from_json},
  {"groupby", "attribute,default,case_sensitive", 1, chat_filter_groupby},
  {"indent", "width,first,blank", 0, chat_filter_indent},
  {"int", "default,base", 0, chat_filter_int},
  {"items", "", 0, chat_filter_items},
  {"join", "d,attribute", 0, chat_filter_join},
  {"last", "", 0, chat_filter_last},
  {"length", "", 0, chat_filter_length},
  {"list", "", 0, chat_filter_list},
  {"lower", "", 0, chat_filter_lower},
  {"map", NULL, 0, chat_filter_map},
  {"max", "case_sensitive,attribute", 0, chat_filter_max},
  {"min", "case_sensitive,attribute", 0, chat_filter_min},
  {"reject", NULL, 0, chat_filter_reject},
  {"rejectattr", NULL, 0, chat_filter_rejectattr},
  {"replace", "old,new,count", 2, chat_filter_replace},
  {"reverse", "", 0, chat_filter_reverse},
  {"round", "precision,method", 0, chat_filter_round},
  {"safe", "", 0, chat_filter_safe},
  {"select", NULL, 0, chat_filter_select},
  {"selectattr", NULL, 0, chat_filter_selectattr},
  {"slice", "slices,fill_with", 1, chat_filter_slice},
  {"sort", "reverse,case_sensitive,attribute", 0, chat_filter_sort},
  {"string", "", 0, chat_filter_string},
  {"sum", "attribute,start", 0, chat_filter_sum},
  {"title", "", 0, chat_filter_title},
  {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, chat_filter_tojson},
  {"trim", "chars", 0, chat_filter_trim},
  {"truncate", "length,killwords,end,leeway", 0, chat_filter_truncate},
  {"unique", "case_sensitive,attribute", 0, chat_filter_unique},
  {"upper", "", 0, chat_filter_upper},
  {"urlencode", "", 0, chat_filter_urlencode},
  {"wordcount", "", 0, chat_filter_wordcount},
};

static const struct chat_builtin *chat_find_filter(struct str name) { return chat_find_builtin(chat_filters,
    ARRAY_LEN(chat_filters), name); }
