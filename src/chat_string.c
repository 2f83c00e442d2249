/* chat_string.c -- what a chat template does with strings: Python's methods of str, "%s" and "{}" formatting, the
 * clock.
 *
 * Every function takes its subject in a[0] and its arguments, bound by name, behind it; what was not given is
 * CHAT_ABSENT. Results are cut from their subject where possible and else built byte by byte, so that origins survive
 * every operation.
 * SPDX-License-Identifier: MIT */

struct chat_arguments {
  struct chat_value *pos;   // (n_pos)
  int n_pos, n_named;
  struct str *names;        // (n_named)
  struct chat_value *named; // (n_named)
};

typedef bool chat_function(struct chat_run *r, const struct chat_arguments *args, struct chat_value *a,
                           struct chat_value *out);

struct chat_builtin {
  char name[16];      // in place: a pointer costs a relocation as well
  const char *params; // "old,new,count"; NULL: takes what comes, and looks at args itself
  int required;
  chat_function *run;
};

#define CHAT_PARAMS 6 // most parameters, the subject included

#define CHAT_BUILTIN(function)                                                                                   \
  static bool function(struct chat_run *r, const struct chat_arguments *args, struct chat_value *a,              \
                       struct chat_value *out)
#define CHAT_UNUSED ((void)r, (void)args, (void)a)

static bool chat_given(const struct chat_value *v) { return v->kind != CHAT_ABSENT && v->kind != CHAT_NONE; }

static bool chat_need_string(struct chat_run *r, const struct chat_value *v) {
  return v->kind == CHAT_STRING || chat_fail_type(r, v, "a string");
}

static bool chat_optional_int(struct chat_run *r, const struct chat_value *v, int64_t otherwise, int64_t *i) {
  *i = otherwise;
  return v->kind == CHAT_ABSENT || chat_need_int(r, v, i);
}

static bool chat_return_list(struct chat_list *list, struct chat_value *out) {
  if (list) *out = chat_list_value(list);
  return list != NULL;
}

/* ---- letters: the alphabets with simple case pairs; others are left alone ---- */

static bool chat_in(uint32_t c, uint32_t first, uint32_t last) { return c >= first && c <= last; }

static bool chat_alternates(uint32_t c) { // blocks where capitals are even and small letters follow them
  return (chat_in(c, 0x100, 0x137) && c != 0x130 && c != 0x131) || chat_in(c, 0x14A, 0x177) ||
      chat_in(c, 0x1E00, 0x1E95) ||
         chat_in(c, 0x1EA0, 0x1EFF) || chat_in(c, 0x460, 0x481) || chat_in(c, 0x48A, 0x4BF) ||
             chat_in(c, 0x4D0, 0x52F) ||
         chat_in(c, 0x1DE, 0x1EF) || chat_in(c, 0x1F8, 0x21F) || chat_in(c, 0x222, 0x233) || chat_in(c, 0x3D8, 0x3EF);
}

static bool chat_alternates_odd(uint32_t c) { // capitals are odd
  return chat_in(c, 0x139, 0x148) || chat_in(c, 0x179, 0x17E) || chat_in(c, 0x4C1, 0x4CE) || chat_in(c, 0x1CD, 0x1DC);
}

static uint32_t chat_lower_code(uint32_t c) {
  if (c < 128) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if ((chat_in(c, 0xC0, 0xDE) && c != 0xD7) || chat_in(c, 0x410, 0x42F) || (chat_in(c, 0x391, 0x3AB) && c != 0x3A2) ||
      chat_in(c, 0xFF21, 0xFF3A)) return c + 32;
  if (chat_alternates(c)) return c | 1;
  if (chat_alternates_odd(c)) return c + (c & 1);
  if (chat_in(c, 0x400, 0x40F)) return c + 80;
  if (chat_in(c, 0x531, 0x556)) return c + 48;
  if (chat_in(c, 0x388, 0x38A)) return c + 37;
  switch (c) {
  case 0x178: return 0xFF;
  case 0x386: return 0x3AC;
  case 0x38C: return 0x3CC;
  case 0x38E: case 0x38F: return c + 63;
  case 0x4C0: return 0x4CF;
  case 0x1E9E: return 0xDF;
  default: return c;
  }
}

static uint32_t chat_upper_code(uint32_t c) {
  if (c < 128) return c >= 'a' && c <= 'z' ? c - 32 : c;
  if ((chat_in(c, 0xE0, 0xFE) && c != 0xF7) || chat_in(c, 0x430, 0x44F) || (chat_in(c, 0x3B1, 0x3CB) && c != 0x3C2) ||
      chat_in(c, 0xFF41, 0xFF5A)) return c - 32;
  if (chat_alternates(c)) return c & ~1u;
  if (chat_alternates_odd(c)) return c & 1 ? c : c - 1;
  if (chat_in(c, 0x450, 0x45F)) return c - 80;
  if (chat_in(c, 0x561, 0x586)) return c - 48;
  if (chat_in(c, 0x3AD, 0x3AF)) return c - 37;
  switch (c) {
  case 0xB5: return 0x39C;
  case 0xFF: return 0x178;
  case 0x131: return 'I';
  case 0x17F: return 'S';
  case 0x3AC: return 0x386;
  case 0x3C2: return 0x3A3;
  case 0x3CC: return 0x38C;
  case 0x3CD: case 0x3CE: return c - 63;
  case 0x4CF: return 0x4C0;
  default: return c;
  }
}

static bool chat_is_letter(uint32_t c) {
  if (c < 128) return (c | 32) >= 'a' && (c | 32) <= 'z';
  return c == 0xAA || c == 0xB5 || c == 0xBA || (chat_in(c, 0xC0, 0x2AF) && c != 0xD7 && c != 0xF7) ||
      chat_in(c, 0x370, 0x373) ||
         chat_in(c, 0x386, 0x481) || chat_in(c, 0x48A, 0x559) || chat_in(c, 0x561, 0x587) || chat_in(c, 0x5D0, 0x5EA) ||
         chat_in(c, 0x620, 0x64A) || chat_in(c, 0x904, 0x939) || chat_in(c, 0xE01, 0xE30) ||
             chat_in(c, 0x1E00, 0x1FBC) ||
         chat_in(c, 0x3041, 0x3096) || chat_in(c, 0x30A1, 0x30FA) || chat_in(c, 0x3400, 0x4DBF) ||
             chat_in(c, 0x4E00, 0x9FFF) ||
         chat_in(c, 0xAC00, 0xD7A3) || chat_in(c, 0x20000, 0x323AF);
}

enum chat_case { CHAT_LOWER, CHAT_UPPER, CHAT_CAPITAL, CHAT_TITLE, CHAT_SWAP, CHAT_TITLE_WORDS };

/* Jinja's title begins words behind - ( { [ < and white space; Python's behind anything that is no letter. */
static bool chat_begins_word(uint32_t before, enum chat_case mode) {
  if (mode == CHAT_TITLE) return !chat_is_letter(before);
  return mode == CHAT_TITLE_WORDS && (chat_is_space(before) ||
                                      (before < 128 && before && strchr("-({[<", (int)before)));
}

static bool chat_change_case(struct chat_run *r, struct chat_value s, enum chat_case mode, struct chat_value *out) {
  struct chat_text x = {0};
  bool first = true;
  for (size_t pos = 0; pos < s.len;) {
    char text[8];
    size_t beg = pos;
    uint32_t c = utf8_decode(chat_str(&s), &pos);
    bool up = mode == CHAT_UPPER || (mode >= CHAT_CAPITAL && mode != CHAT_SWAP && first) ||
        (mode == CHAT_SWAP && chat_lower_code(c) == c);
    uint32_t changed = c == UTF8_BAD ? c : up ? chat_upper_code(c) : chat_lower_code(c);
    first = mode != CHAT_CAPITAL && chat_begins_word(c, mode);
    bool mark = s.marks ? s.marks[beg] : s.user;
    if (up && c == 0xDF) {
      if (!chat_put(r, &x, mode == CHAT_UPPER || mode == CHAT_SWAP ? "SS" : "Ss", mark)) return false;
    } else if (changed == c) {
      if (!chat_put_value(r, &x, chat_cut(s, beg, pos))) return false;
    } else if (!chat_put_marked(r, &x, text, (size_t)utf8_encode(changed, text), NULL, mark)) {
      return false;
    }
  }
  *out = chat_text_value(&x);
  out->safe = s.safe;
  return true;
}

CHAT_BUILTIN(chat_str_lower) { return CHAT_UNUSED, chat_change_case(r, a[0], CHAT_LOWER, out); }
CHAT_BUILTIN(chat_str_upper) { return CHAT_UNUSED, chat_change_case(r, a[0], CHAT_UPPER, out); }
CHAT_BUILTIN(chat_str_capitalize) { return CHAT_UNUSED, chat_change_case(r, a[0], CHAT_CAPITAL, out); }
CHAT_BUILTIN(chat_str_title) { return CHAT_UNUSED, chat_change_case(r, a[0], CHAT_TITLE, out); }
CHAT_BUILTIN(chat_str_swapcase) { return CHAT_UNUSED, chat_change_case(r, a[0], CHAT_SWAP, out); }

/* ---- strip, split, join, replace ---- */

static bool chat_in_set(struct str set, bool spaces, uint32_t c) {
  if (spaces) return chat_is_space(c);
  for (size_t pos = 0; pos < set.len;)
    if (utf8_decode(set, &pos) == c) return true;
  return false;
}

static bool chat_strip(struct chat_run *r, struct chat_value s, const struct chat_value *set, bool left, bool right,
                       struct chat_value *out) {
  struct str text = chat_str(&s), chars = STR_NONE;
  bool spaces = !chat_given(set);
  size_t beg = 0, end = s.len;
  if (!spaces && !chat_need_string(r, set)) return false;
  if (!spaces) chars = chat_str(set);
  while (left && beg < end) {
    size_t next = beg;
    if (!chat_in_set(chars, spaces, utf8_decode(text, &next))) break;
    if (!chat_spend(r, chars.len)) return false;
    beg = next;
  }
  while (right && end > beg) {
    size_t at = end - 1, next;
    while (at > beg && end - at < 4 && ((unsigned char)text.ptr[at] & 0xC0) == 0x80) at--;
    next = at;
    if (!chat_in_set(chars, spaces, utf8_decode((struct str){text.ptr, end}, &next)) || next != end) break;
    if (!chat_spend(r, chars.len)) return false;
    end = at;
  }
  *out = chat_cut(s, beg, end);
  return true;
}

CHAT_BUILTIN(chat_str_strip) { return CHAT_UNUSED, chat_strip(r, a[0], &a[1], true, true, out); }
CHAT_BUILTIN(chat_str_lstrip) { return CHAT_UNUSED, chat_strip(r, a[0], &a[1], true, false, out); }
CHAT_BUILTIN(chat_str_rstrip) { return CHAT_UNUSED, chat_strip(r, a[0], &a[1], false, true, out); }

static size_t chat_find_last(struct str s, struct str what, size_t end) { // the last one that ends at or before `end`
  if (what.len > end) return SIZE_MAX;
  for (size_t at = end - what.len + 1; at-- > 0;)
    if (str_starts(str_slice(s, at, s.len), what)) return at;
  return SIZE_MAX;
}

static size_t chat_to_space(struct str s, size_t pos) { // where the word at pos ends
  while (pos < s.len) {
    size_t next = pos;
    if (chat_is_space(utf8_decode(s, &next))) break;
    pos = next;
  }
  return pos;
}

static bool chat_split_words(struct chat_run *r, struct chat_value s, int64_t most, struct chat_list *list) {
  struct str text = chat_str(&s);
  for (size_t pos = chat_skip_space(text, 0); pos < s.len; pos = chat_skip_space(text, pos)) {
    size_t end = most >= 0 && list->count >= most ? s.len : chat_to_space(text, pos);
    if (!chat_spend(r, end - pos) || !chat_append(r, list, chat_cut(s, pos, end))) return false;
    pos = end;
  }
  return true;
}

CHAT_BUILTIN(chat_str_split) {
  CHAT_UNUSED;
  int64_t most;
  struct chat_list *list = chat_new_list(r, 0, CHAT_PLAIN, a[0].user);
  if (!list || !chat_optional_int(r, &a[2], -1, &most)) return false;
  if (!chat_given(&a[1])) return chat_split_words(r, a[0], most, list) && chat_return_list(list, out);
  if (!chat_need_string(r, &a[1])) return false;
  if (!a[1].len) return chat_fail(r, "empty separator");
  size_t pos = 0, hit;
  if (!chat_spend(r, a[0].len)) return false;
  while ((most < 0 || list->count < most) && (hit = str_find(chat_str(&a[0]), chat_str(&a[1]), pos)) != SIZE_MAX) {
    if (!chat_spend(r, 0) || !chat_append(r, list, chat_cut(a[0], pos, hit))) return false;
    pos = hit + a[1].len;
  }
  return chat_append(r, list, chat_cut(a[0], pos, a[0].len)) && chat_return_list(list, out);
}

CHAT_BUILTIN(chat_str_rsplit) {
  int64_t most;
  if (!chat_optional_int(r, &a[2], -1, &most)) return false;
  if (most < 0) return chat_str_split(r, args, a, out);
  struct chat_list *list = chat_new_list(r, 0, CHAT_PLAIN, a[0].user);
  struct str text = chat_str(&a[0]);
  size_t end = a[0].len, hit = 0;
  if (!list || (chat_given(&a[1]) && !chat_need_string(r, &a[1]))) return false;
  bool words = !chat_given(&a[1]);
  if (!words && !a[1].len) return chat_fail(r, "empty separator");
  for (; chat_spend(r, a[0].len); end = hit) {
    if (words) end = chat_rtrim((struct str){text.ptr, end});
    if (words && !end) break;
    hit = SIZE_MAX;
    if (list->count < most && !words) hit = chat_find_last(text, chat_str(&a[1]), end);
    for (size_t p = 0, next; words && list->count < most && p < end; p = next) { // the last white space before end
      next = p;
      if (chat_is_space(utf8_decode(text, &next))) hit = next;
    }
    size_t beg = hit == SIZE_MAX ? 0 : words ? hit : hit + a[1].len;
    if (!chat_append(r, list, chat_cut(a[0], beg, end))) return false;
    if (hit == SIZE_MAX) break;
  }
  for (int i = 0, j = list->count - 1; i < j; i++, j--) {
    struct chat_value swap = list->items[i];
    list->items[i] = list->items[j];
    list->items[j] = swap;
  }
  return chat_spend(r, 0) && chat_return_list(list, out);
}

static bool chat_splitlines(struct chat_run *r, struct chat_value s, bool keep, struct chat_list *list) {
  struct str text = chat_str(&s);
  for (size_t pos = 0, beg = 0; pos < s.len; beg = pos) {
    size_t end = pos;
    uint32_t c = 0;
    while (pos < s.len) {
      end = pos;
      c = utf8_decode(text, &pos);
      if (chat_in(c, 10, 13) || chat_in(c, 28, 30) || c == 0x85 || c == 0x2028 || c == 0x2029) break;
      end = pos;
    }
    if (end < pos && c == '\r' && pos < s.len && text.ptr[pos] == '\n') pos++;
    if (!chat_spend(r, pos - beg) || !chat_append(r, list, chat_cut(s, beg, keep ? pos : end))) return false;
  }
  return true;
}

CHAT_BUILTIN(chat_str_splitlines) {
  CHAT_UNUSED;
  struct chat_list *list = chat_new_list(r, 0, CHAT_PLAIN, a[0].user);
  return list && chat_splitlines(r, a[0], chat_truth(&a[1]), list) && chat_return_list(list, out);
}

static bool chat_partition(struct chat_run *r, struct chat_value *a, bool last, struct chat_value *out) {
  struct chat_list *list = chat_new_list(r, 3, CHAT_TUPLE, a[0].user);
  if (!list || !chat_need_string(r, &a[1]) || !chat_spend(r, a[0].len)) return false;
  if (!a[1].len) return chat_fail(r, "empty separator");
  size_t hit = last ? chat_find_last(chat_str(&a[0]), chat_str(&a[1]), a[0].len) :
      str_find(chat_str(&a[0]), chat_str(&a[1]), 0);
  size_t none = last ? 0 : a[0].len, beg = hit == SIZE_MAX ? none : hit, end = hit == SIZE_MAX ? none : hit + a[1].len;
  list->items[list->count++] = chat_cut(a[0], 0, beg);
  list->items[list->count++] = chat_cut(a[0], beg, end);
  list->items[list->count++] = chat_cut(a[0], end, a[0].len);
  return chat_return_list(list, out);
}

CHAT_BUILTIN(chat_str_partition) { return CHAT_UNUSED, chat_partition(r, a, false, out); }
CHAT_BUILTIN(chat_str_rpartition) { return CHAT_UNUSED, chat_partition(r, a, true, out); }

static bool chat_replace(struct chat_run *r, struct chat_value s, struct chat_value old, struct chat_value new,
                         int64_t most, struct chat_value *out) {
  struct chat_text x = {0};
  struct str text = chat_str(&s);
  size_t pos = 0, from = 0, hit;
  if (!chat_spend(r, s.len)) return false;
  while (most != 0 && (hit = str_find(text, chat_str(&old), from)) != SIZE_MAX) {
    if (!chat_put_value(r, &x, chat_cut(s, pos, hit)) || !chat_put_value(r, &x, new) || !chat_spend(r, 0)) return false;
    pos = hit + old.len;
    from = pos;
    if (!old.len && from < s.len) utf8_decode(text, &from); // nothing is found before every character and at the end
    else if (!old.len) break;
    if (most > 0) most--;
  }
  if (pos == 0 && x.len == 0) {
    *out = s;
    return true;
  }
  if (!chat_put_value(r, &x, chat_cut(s, pos, s.len))) return false;
  *out = chat_text_value(&x);
  out->safe = s.safe;
  return true;
}

CHAT_BUILTIN(chat_str_replace) {
  CHAT_UNUSED;
  int64_t most = -1;
  if (!chat_need_string(r, &a[1]) || !chat_need_string(r, &a[2])) return false;
  if (chat_given(&a[3]) && !chat_need_int(r, &a[3], &most)) return false;
  return chat_replace(r, a[0], a[1], a[2], most, out);
}

CHAT_BUILTIN(chat_str_join) {
  CHAT_UNUSED;
  struct chat_list *list;
  struct chat_text x = {0};
  if (!chat_items(r, &a[1], &list)) return false;
  for (int i = 0; i < list->count; i++) {
    if (!chat_need_string(r, &list->items[i])) return false;
    if (i && !chat_put_value(r, &x, a[0])) return false;
    if (!chat_put_value(r, &x, list->items[i])) return false;
  }
  *out = chat_text_value(&x);
  return true;
}

/* ---- questions about strings ---- */

static bool chat_affix(struct chat_run *r, const struct chat_value *s, const struct chat_value *what, bool ends,
                       struct chat_value *out) {
  struct chat_list one = {.count = 1, .items = (struct chat_value *)(uintptr_t)what}, *list = &one;
  *out = chat_bool(false);
  if (what->kind == CHAT_LIST && what->u.list->kind == CHAT_TUPLE) list = what->u.list;
  for (int i = 0; i < list->count; i++) {
    if (!chat_need_string(r, &list->items[i])) return false;
    struct str affix = chat_str(&list->items[i]);
    if (ends ? str_ends(chat_str(s), affix) : str_starts(chat_str(s), affix)) *out = chat_bool(true);
  }
  return true;
}

CHAT_BUILTIN(chat_str_startswith) { return CHAT_UNUSED, chat_affix(r, &a[0], &a[1], false, out); }
CHAT_BUILTIN(chat_str_endswith) { return CHAT_UNUSED, chat_affix(r, &a[0], &a[1], true, out); }

CHAT_BUILTIN(chat_str_removeprefix) {
  CHAT_UNUSED;
  if (!chat_need_string(r, &a[1])) return false;
  *out = chat_cut(a[0], str_starts(chat_str(&a[0]), chat_str(&a[1])) ? a[1].len : 0, a[0].len);
  return true;
}

CHAT_BUILTIN(chat_str_removesuffix) {
  CHAT_UNUSED;
  if (!chat_need_string(r, &a[1])) return false;
  *out = chat_cut(a[0], 0, a[0].len - (str_ends(chat_str(&a[0]), chat_str(&a[1])) ? a[1].len : 0));
  return true;
}

static bool chat_find(struct chat_run *r, struct chat_value *a, bool last, bool must, struct chat_value *out) {
  if (!chat_need_string(r, &a[1]) || !chat_spend(r, a[0].len)) return false;
  size_t hit = last ? chat_find_last(chat_str(&a[0]), chat_str(&a[1]), a[0].len) :
      str_find(chat_str(&a[0]), chat_str(&a[1]), 0);
  if (hit == SIZE_MAX && must) return chat_fail(r, "substring not found");
  *out = chat_int(hit == SIZE_MAX ? -1 : (int64_t)chat_count_chars(str_slice(chat_str(&a[0]), 0, hit)));
  return true;
}

CHAT_BUILTIN(chat_str_find) { return CHAT_UNUSED, chat_find(r, a, false, false, out); }
CHAT_BUILTIN(chat_str_rfind) { return CHAT_UNUSED, chat_find(r, a, true, false, out); }
CHAT_BUILTIN(chat_str_index) { return CHAT_UNUSED, chat_find(r, a, false, true, out); }

CHAT_BUILTIN(chat_str_count) {
  CHAT_UNUSED;
  int64_t n = 0;
  if (!chat_need_string(r, &a[1]) || !chat_spend(r, a[0].len)) return false;
  if (!a[1].len) n = (int64_t)chat_count_chars(chat_str(&a[0])) + 1;
  for (size_t pos = 0; a[1].len && (pos = str_find(chat_str(&a[0]), chat_str(&a[1]), pos)) != SIZE_MAX; pos += a[1].len)
    n++;
  *out = chat_int(n);
  return true;
}

enum chat_class { CHAT_DIGITS, CHAT_LETTERS, CHAT_ALNUM, CHAT_SPACES, CHAT_LOWERS, CHAT_UPPERS };

static bool chat_all_of(const struct chat_value *s, enum chat_class class) {
  bool cased = false;
  for (size_t pos = 0; pos < s->len;) {
    uint32_t c = utf8_decode(chat_str(s), &pos);
    bool digit = chat_in(c, '0', '9'), letter = chat_is_letter(c), ok = true;
    if (class == CHAT_DIGITS) ok = digit;
    if (class == CHAT_LETTERS) ok = letter;
    if (class == CHAT_ALNUM) ok = digit || letter;
    if (class == CHAT_SPACES) ok = chat_is_space(c);
    if (class == CHAT_LOWERS) ok = chat_lower_code(c) == c;
    if (class == CHAT_UPPERS) ok = chat_upper_code(c) == c;
    if (!ok) return false;
    cased |= chat_lower_code(c) != c || chat_upper_code(c) != c;
  }
  return class == CHAT_LOWERS || class == CHAT_UPPERS ? cased : s->len > 0;
}

CHAT_BUILTIN(chat_str_isdigit) { return CHAT_UNUSED, *out = chat_bool(chat_all_of(&a[0], CHAT_DIGITS)), true; }
CHAT_BUILTIN(chat_str_isalpha) { return CHAT_UNUSED, *out = chat_bool(chat_all_of(&a[0], CHAT_LETTERS)), true; }
CHAT_BUILTIN(chat_str_isalnum) { return CHAT_UNUSED, *out = chat_bool(chat_all_of(&a[0], CHAT_ALNUM)), true; }
CHAT_BUILTIN(chat_str_isspace) { return CHAT_UNUSED, *out = chat_bool(chat_all_of(&a[0], CHAT_SPACES)), true; }
CHAT_BUILTIN(chat_str_islower) { return CHAT_UNUSED, *out = chat_bool(chat_all_of(&a[0], CHAT_LOWERS)), true; }
CHAT_BUILTIN(chat_str_isupper) { return CHAT_UNUSED, *out = chat_bool(chat_all_of(&a[0], CHAT_UPPERS)), true; }

/* ---- formatting ---- */

struct chat_spec {
  char fill[5], align, sign, type; // align 0: by type
  bool zero, comma, alternate;
  int width, precision; // precision -1: not given
};

static bool chat_put_fill(struct chat_run *r, struct chat_text *x, const char *fill, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!chat_put(r, x, fill, false)) return false;
  return true;
}

static bool chat_put_aligned(struct chat_run *r, struct chat_text *x, struct chat_value s, const struct chat_spec *spec,
                             char align) {
  int64_t pad = spec->width - (int64_t)chat_count_chars(chat_str(&s));
  int64_t left = pad <= 0 || align == '<' ? 0 : align == '^' ? pad / 2 : pad;
  if (!chat_put_fill(r, x, spec->fill, left) || !chat_put_value(r, x, s)) return false;
  return pad <= 0 || chat_put_fill(r, x, spec->fill, pad - left);
}

/* The digits of a number without its sign. 400 bytes hold 1e308 in full; a precision is at most 60. */
static bool chat_digits(struct chat_run *r, const struct chat_value *v, const struct chat_spec *spec, char text[400],
                        bool *negative) {
  static const char kinds[] = "eEfFgG%dixXobcn";
  char format[8] = "%.*";
  int64_t i;
  double d;
  char type = spec->type;
  if (type && !strchr(kinds, type)) return chat_fail(r, "the format '%c' is not supported", type);
  if (chat_integer(v, &i) && (!type || strchr("dixXobn", type))) {
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char digits[72];
    int n = 0, base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    const char *alphabet = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    *negative = i < 0;
    do digits[n++] = alphabet[u % (unsigned)base];
    while (u /= (unsigned)base);
    int k = 0;
    if (spec->alternate && base != 10) text[k++] = '0', text[k++] = type;
    while (n > 0) text[k++] = digits[--n];
    text[k] = 0;
    return true;
  }
  if (!chat_number(v, &d)) return chat_fail_type(r, v, "a number");
  *negative = d < 0 || (d == 0 && 1 / d < 0);
  d = *negative ? -d : d;
  if (type == 'd' || type == 'i') { // of a float in a % format: cut
    snprintf(text, 400, "%.0f", floor(d));
  } else if (!type && spec->precision < 0) {
    chat_float_text(d, text);
  } else {
    format[3] = type == '%' ? 'f' : type ? type : 'g';
    if (type == '%') d *= 100;
    snprintf(text, 390, format, spec->precision < 0 ? 6 : spec->precision, d);
    if (type == '%') strcat(text, "%");
  }
  return true;
}

static void chat_group_thousands(char text[400]) {
  char out[600];
  size_t digits = strspn(text, "0123456789"), n = 0;
  for (size_t i = 0; text[i] && n < 398; i++) {
    if (i && i < digits && (digits - i) % 3 == 0) out[n++] = ',';
    out[n++] = text[i];
  }
  out[n] = 0;
  memcpy(text, out, n + 1);
}

static bool chat_put_number_spec(struct chat_run *r, struct chat_text *x, const struct chat_value *v,
                                 const struct chat_spec *spec) {
  char text[400];
  struct chat_text body = {0};
  bool negative = false;
  if (!chat_digits(r, v, spec, text, &negative)) return false;
  if (spec->comma) chat_group_thousands(text);
  const char *sign = negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "";
  int64_t zeros = spec->zero && !spec->align ? spec->width - (int64_t)(strlen(text) + strlen(sign)) : 0;
  if (!chat_put(r, &body, sign, v->user)) return false;
  for (int64_t i = 0; i < zeros; i++)
    if (!chat_put(r, &body, "0", v->user)) return false;
  if (!chat_put(r, &body, text, v->user)) return false;
  return chat_put_aligned(r, x, chat_text_value(&body), spec, spec->align ? spec->align : '>');
}

static bool chat_put_text_spec(struct chat_run *r, struct chat_text *x, struct chat_value s,
                               const struct chat_spec *spec, char align) {
  if (spec->precision >= 0) {
    size_t end = 0;
    for (int i = 0; i < spec->precision && end < s.len; i++) utf8_decode(chat_str(&s), &end);
    s = chat_cut(s, 0, end);
  }
  return chat_put_aligned(r, x, s, spec, spec->align ? spec->align : align);
}

// of digits at i; large ones are cut, and refused by the output bound
static int chat_read_width(struct str s, size_t *i) {
  int n = 0;
  for (; *i < s.len && s.ptr[*i] >= '0' && s.ptr[*i] <= '9'; ++*i) n = n > 99999 ? n : n * 10 + (s.ptr[*i] - '0');
  return n;
}

static bool chat_repr(struct chat_run *r, struct chat_value v, struct chat_value *out) {
  struct chat_text x = {0};
  if (!chat_put_repr(r, &x, &v)) return false;
  *out = chat_text_value(&x);
  return true;
}

/* One conversion of a % format, from behind the '%'. */
static bool chat_percent_spec(struct chat_run *r, struct str f, size_t *i, struct chat_spec *spec, struct str *name) {
  *spec = (struct chat_spec){.fill = " ", .precision = -1};
  *name = STR_NONE;
  if (*i < f.len && f.ptr[*i] == '(') {
    size_t close = str_find(f, STR(")"), *i);
    if (close == SIZE_MAX) return chat_fail(r, "incomplete format key");
    *name = str_slice(f, *i + 1, close);
    *i = close + 1;
  }
  for (; *i < f.len && f.ptr[*i] && strchr("-+ 0#", f.ptr[*i]); ++*i) {
    if (f.ptr[*i] == '-') spec->align = '<';
    else if (f.ptr[*i] == '0') spec->zero = true;
    else if (f.ptr[*i] == '#') spec->alternate = true;
    else spec->sign = f.ptr[*i];
  }
  spec->width = chat_read_width(f, i);
  if (*i < f.len && f.ptr[*i] == '.') {
    ++*i;
    spec->precision = chat_read_width(f, i);
  }
  if (*i >= f.len) return chat_fail(r, "incomplete format");
  spec->type = f.ptr[(*i)++];
  return true;
}

/* format % values: a tuple gives its items one by one, a dictionary by name, anything else is the one value. */
static bool chat_percent(struct chat_run *r, struct chat_value format, struct chat_value values,
                         struct chat_value *out) {
  struct chat_text x = {0};
  struct str f = chat_str(&format);
  bool tuple = values.kind == CHAT_LIST && values.u.list->kind == CHAT_TUPLE;
  int used = 0, n = tuple ? values.u.list->count : 1;
  for (size_t i = 0, plain = 0;;) {
    size_t hit = str_find(f, STR("%"), i);
    if (!chat_put_value(r, &x, chat_cut(format, plain, hit == SIZE_MAX ? f.len : hit))) return false;
    if (hit == SIZE_MAX) break;
    struct chat_spec spec;
    struct str name;
    i = hit + 1;
    if (!chat_percent_spec(r, f, &i, &spec, &name)) return false;
    plain = i;
    if (spec.type == '%') {
      if (!chat_put_value(r, &x, chat_cut(format, i - 1, i))) return false;
      continue;
    }
    struct chat_value *v = name.ptr && values.kind == CHAT_DICT ? chat_dict_get(values.u.dict, name) : NULL, text;
    if (name.ptr && !v) return chat_fail(r, "the format's key '" STR_FMT "' is missing", STR_ARG(name));
    if (!v && used >= n) return chat_fail(r, "not enough arguments for format string");
    if (!v) v = tuple ? &values.u.list->items[used++] : (used++, &values);
    if (spec.type != 's' && spec.type != 'r') {
      if (spec.precision > 60) return chat_fail(r, "a format with more than 60 digits");
      if (!chat_put_number_spec(r, &x, v, &spec)) return false;
      continue;
    }
    if (!(spec.type == 's' ? chat_to_string(r, *v, &text) : chat_repr(r, *v, &text))) return false;
    if (!chat_put_text_spec(r, &x, text, &spec, '>')) return false;
  }
  bool container = values.kind == CHAT_DICT || values.kind == CHAT_UNDEFINED || (values.kind == CHAT_LIST && !tuple);
  if (used < n && !container)
    return chat_fail(r, "not all arguments converted during string formatting");
  *out = chat_text_value(&x);
  out->safe = format.safe;
  return true;
}

/* The part of a replacement field behind its colon. */
static bool chat_brace_spec(struct chat_run *r, struct str s, struct chat_spec *spec) {
  size_t i = 0, next = 0;
  *spec = (struct chat_spec){.fill = " ", .precision = -1};
  if (s.len) utf8_decode(s, &next);
  if (next < s.len && strchr("<>^", s.ptr[next]) && s.ptr[next]) {
    memcpy(spec->fill, s.ptr, next);
    spec->fill[next] = 0;
    spec->align = s.ptr[next];
    i = next + 1;
  } else if (s.len && s.ptr[0] && strchr("<>^", s.ptr[0])) {
    spec->align = s.ptr[i++];
  }
  if (i < s.len && s.ptr[i] && strchr("+- ", s.ptr[i])) spec->sign = s.ptr[i++];
  if (i < s.len && s.ptr[i] == '#') spec->alternate = true, i++;
  if (i < s.len && s.ptr[i] == '0') spec->zero = true, i++;
  spec->width = chat_read_width(s, &i);
  if (i < s.len && s.ptr[i] == ',') spec->comma = true, i++;
  if (i < s.len && s.ptr[i] == '.') {
    i++;
    spec->precision = chat_read_width(s, &i);
  }
  if (i < s.len) spec->type = s.ptr[i++];
  if (i < s.len) return chat_fail(r, "the format '" STR_FMT "' is not supported", STR_ARG(s));
  return true;
}

static bool chat_getattr(struct chat_run *r, const struct chat_value *object, struct str name, struct chat_value *out);
static bool chat_getitem(struct chat_run *r, const struct chat_value *object, const struct chat_value *key,
                         struct chat_value *out);

/* What a field names: nothing (the next one), a number, or a keyword; then .attributes and [items]. */
static bool chat_brace_value(struct chat_run *r, const struct chat_arguments *args, struct str name, int *next,
                             struct chat_value *out) {
  size_t end = 0;
  while (end < name.len && name.ptr[end] != '.' && name.ptr[end] != '[') end++;
  struct str first = str_slice(name, 0, end);
  int64_t index = -1;
  if (!first.len) index = (*next)++;
  if (first.len && !str_to_int(first, &index)) {
    int i = 0;
    while (i < args->n_named && !str_eq(args->names[i], first)) i++;
    if (i == args->n_named) return chat_fail(r, "the format's name '" STR_FMT "' is missing", STR_ARG(first));
    *out = args->named[i];
  } else if (index < 0 || index >= args->n_pos) {
    return chat_fail(r, "replacement index %lld out of range", (long long)index);
  } else {
    *out = args->pos[index];
  }
  while (end < name.len) {
    bool item = name.ptr[end] == '[';
    size_t beg = end + 1, stop = beg;
    while (stop < name.len && (item ? name.ptr[stop] != ']' : name.ptr[stop] != '.' && name.ptr[stop] != '[')) stop++;
    struct chat_value object = *out, key = chat_string(str_slice(name, beg, stop));
    if (item && str_to_int(chat_str(&key), &index)) key = chat_int(index);
    if (!(item ? chat_getitem(r, &object, &key, out) : chat_getattr(r, &object, chat_str(&key), out))) return false;
    end = stop + item;
  }
  return true;
}

static bool chat_put_field(struct chat_run *r, const struct chat_arguments *args, struct chat_text *x, struct str field,
                           int *next) {
  size_t colon = str_find(field, STR(":"), 0), bang = str_find(field, STR("!"), 0);
  size_t end = colon == SIZE_MAX ? field.len : colon;
  char conversion = 0;
  struct chat_value v, text;
  struct chat_spec spec;
  if (bang < end && bang + 2 == end) conversion = field.ptr[bang + 1], end = bang;
  if (!chat_brace_value(r, args, str_slice(field, 0, end), next, &v)) return false;
  if (!chat_brace_spec(r, colon == SIZE_MAX ? STR_NONE : str_slice(field, colon + 1, field.len), &spec)) return false;
  bool number = v.kind == CHAT_INT || v.kind == CHAT_FLOAT || (v.kind == CHAT_BOOL && spec.type);
  if (number && !conversion && !v.spelling) {
    if (spec.precision > 60) return chat_fail(r, "a format with more than 60 digits");
    return chat_put_number_spec(r, x, &v, &spec);
  }
  if (spec.type && spec.type != 's') return chat_fail(r, "the format '%c' needs a number", spec.type);
  if (!(conversion == 'r' ? chat_repr(r, v, &text) : chat_to_string(r, v, &text))) return false;
  return chat_put_text_spec(r, x, text, &spec, '<');
}

CHAT_BUILTIN(chat_str_format) {
  struct chat_text x = {0};
  struct str f = chat_str(&a[0]);
  int next = 0;
  for (size_t i = 0; i < f.len;) {
    size_t stop = i;
    while (stop < f.len && f.ptr[stop] != '{' && f.ptr[stop] != '}') stop++;
    if (!chat_put_value(r, &x, chat_cut(a[0], i, stop))) return false;
    if ((i = stop) == f.len) break;
    if (i + 1 < f.len && f.ptr[i + 1] == f.ptr[i]) { // {{ and }} are themselves
      if (!chat_put_value(r, &x, chat_cut(a[0], i, i + 1))) return false;
      i += 2;
      continue;
    }
    size_t close = str_find(f, STR("}"), i);
    if (f.ptr[i] == '}' || close == SIZE_MAX) return chat_fail(r, "a single '%c' in a format string", f.ptr[i]);
    if (!chat_put_field(r, args, &x, str_slice(f, i + 1, close), &next)) return false;
    i = close + 1;
  }
  *out = chat_text_value(&x);
  out->safe = a[0].safe;
  return true;
}

static bool chat_justify(struct chat_run *r, struct chat_value *a, char align, struct chat_value *out) {
  struct chat_text x = {0};
  struct chat_spec spec = {.fill = " ", .precision = -1};
  int64_t width;
  if (!chat_need_int(r, &a[1], &width)) return false;
  if (a[2].kind != CHAT_ABSENT && (!chat_need_string(r, &a[2]) || a[2].len == 0 || a[2].len > 4))
    return chat_fail(r, "a fill of one character expected");
  if (a[2].kind != CHAT_ABSENT) memcpy(spec.fill, a[2].u.ptr, a[2].len), spec.fill[a[2].len] = 0;
  spec.width = width < 0 ? 0 : width > 999999 ? 999999 : (int)width;
  int64_t pad = spec.width - (int64_t)chat_count_chars(chat_str(&a[0]));
  if (align == '^' && pad > 0 && pad % 2 && spec.width % 2) { // Python's center puts the odd one left in this case
    if (!chat_put(r, &x, spec.fill, false)) return false;
    spec.width--;
  }
  if (!chat_put_aligned(r, &x, a[0], &spec, align)) return false;
  *out = chat_text_value(&x);
  return true;
}

CHAT_BUILTIN(chat_str_ljust) { return CHAT_UNUSED, chat_justify(r, a, '<', out); }
CHAT_BUILTIN(chat_str_rjust) { return CHAT_UNUSED, chat_justify(r, a, '>', out); }
CHAT_BUILTIN(chat_str_center) { return CHAT_UNUSED, chat_justify(r, a, '^', out); }

CHAT_BUILTIN(chat_str_zfill) {
  CHAT_UNUSED;
  struct chat_text x = {0};
  int64_t width;
  if (!chat_need_int(r, &a[1], &width)) return false;
  size_t sign = a[0].len && (a[0].u.ptr[0] == '-' || a[0].u.ptr[0] == '+');
  if (width > 999999) width = 999999;
  if (!chat_put_value(r, &x, chat_cut(a[0], 0, sign))) return false;
  if (!chat_put_fill(r, &x, "0", width - (int64_t)chat_count_chars(chat_str(&a[0])))) return false;
  if (!chat_put_value(r, &x, chat_cut(a[0], sign, a[0].len))) return false;
  *out = chat_text_value(&x);
  return true;
}

static const struct chat_builtin chat_string_methods[] = {
  {"strip", "chars", 0, chat_str_strip},
  {"lstrip", "chars", 0, chat_str_lstrip},
  {"rstrip", "chars", 0, chat_str_rstrip},
  {"split", "sep,maxsplit", 0, chat_str_split},
  {"rsplit", "sep,maxsplit", 0, chat_str_rsplit},
  {"splitlines", "keepends", 0, chat_str_splitlines},
  {"partition", "sep", 1, chat_str_partition},
  {"rpartition", "sep", 1, chat_str_rpartition},
  {"startswith", "prefix", 1, chat_str_startswith},
  {"endswith", "suffix", 1, chat_str_endswith},
  {"removeprefix", "prefix", 1, chat_str_removeprefix},
  {"removesuffix", "suffix", 1, chat_str_removesuffix},
  {"replace", "old,new,count", 2, chat_str_replace},
  {"join", "iterable", 1, chat_str_join},
  {"lower", "", 0, chat_str_lower},
  {"casefold", "", 0, chat_str_lower},
  {"upper", "", 0, chat_str_upper},
  {"capitalize", "", 0, chat_str_capitalize},
  {"title", "", 0, chat_str_title},
  {"swapcase", "", 0, chat_str_swapcase},
  {"find", "sub", 1, chat_str_find},
  {"rfind", "sub", 1, chat_str_rfind},
  {"index", "sub", 1, chat_str_index},
  {"count", "sub", 1, chat_str_count},
  {"isdigit", "", 0, chat_str_isdigit},
  {"isdecimal", "", 0, chat_str_isdigit},
  {"isnumeric", "", 0, chat_str_isdigit},
  {"isalpha", "", 0, chat_str_isalpha},
  {"isalnum", "", 0, chat_str_isalnum},
  {"isspace", "", 0, chat_str_isspace},
  {"islower", "", 0, chat_str_islower},
  {"isupper", "", 0, chat_str_isupper},
  {"format", NULL, 0, chat_str_format},
  {"ljust", "width,fillchar", 1, chat_str_ljust},
  {"rjust", "width,fillchar", 1, chat_str_rjust},
  {"center", "width,fillchar", 1, chat_str_center},
  {"zfill", "width", 1, chat_str_zfill},
};

/* ---- the clock: strftime in the C locale, of a time given as text ---- */

struct chat_time {
  int year, month, day, hour, minute, second, weekday, yearday; // month 1-12, weekday 0 = Sunday, yearday 0-365
};

static bool chat_leap(int y) { return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0); }

static bool chat_read_time(struct str s, struct chat_time *t) { // 2026-01-15T12:34:56
  static const struct { int at, len; char after; } fields[6] =
      {{0, 4, '-'}, {5, 2, '-'}, {8, 2, 'T'}, {11, 2, ':'}, {14, 2, ':'}, {17, 2, 0}};
  static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  int *out[6] = {&t->year, &t->month, &t->day, &t->hour, &t->minute, &t->second};
  if (s.len < 19) return false;
  for (int i = 0; i < 6; i++) {
    *out[i] = 0;
    for (int k = 0; k < fields[i].len; k++) {
      char c = s.ptr[fields[i].at + k];
      if (c < '0' || c > '9') return false;
      *out[i] = *out[i] * 10 + (c - '0');
    }
    if (fields[i].after && s.ptr[fields[i].at + fields[i].len] != fields[i].after && fields[i].after != 'T')
      return false;
  }
  if (t->year < 1 || t->month < 1 || t->month > 12 || t->day < 1 || t->day > 31 || t->hour > 23 || t->minute > 59 ||
      t->second > 60) return false;
  t->yearday = before[t->month - 1] + t->day - 1 + (t->month > 2 && chat_leap(t->year));
  int y = t->year - 1, days = y * 365 + y / 4 - y / 100 + y / 400 + t->yearday; // since Monday 1 January of year 1
  t->weekday = (days + 1) % 7;
  return true;
}

/* ISO 8601: the week belongs to the year of its Thursday. */
static int chat_iso_week(const struct chat_time *t, int *year) {
  int thursday = t->yearday - (t->weekday + 6) % 7 + 3;
  *year = t->year;
  if (thursday < 0) {
    --*year;
    thursday += 365 + chat_leap(*year);
  } else if (thursday >= 365 + chat_leap(t->year)) {
    thursday -= 365 + chat_leap(t->year);
    ++*year;
  }
  return thursday / 7 + 1;
}

static const char chat_days[][10] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char chat_months[][10] = {"January", "February", "March", "April", "May", "June", "July", "August",
                                       "September", "October", "November", "December"};

/* A number with its width and padding; glibc's flags "-", "_" and "0" change the padding. */
static void chat_time_number(struct buf *b, int value, int width, char pad, char flag) {
  char text[16];
  if (flag == '-') width = 0;
  if (flag == '_') pad = ' ';
  if (flag == '0') pad = '0';
  snprintf(text, sizeof text, pad == '0' ? "%0*d" : "%*d", width, value);
  buf_put(b, str_from(text));
}

static bool chat_put_time_field(struct buf *b, const struct chat_time *t, char c, char flag) {
  int year, week = chat_iso_week(t, &year), hour12 = t->hour % 12 ? t->hour % 12 : 12;
  switch (c) {
  case 'a': buf_put(b, str_slice(str_from(chat_days[t->weekday]), 0, 3)); break;
  case 'A': buf_put(b, str_from(chat_days[t->weekday])); break;
  case 'b': case 'h': buf_put(b, str_slice(str_from(chat_months[t->month - 1]), 0, 3)); break;
  case 'B': buf_put(b, str_from(chat_months[t->month - 1])); break;
  case 'd': chat_time_number(b, t->day, 2, '0', flag); break;
  case 'e': chat_time_number(b, t->day, 2, ' ', flag); break;
  case 'H': chat_time_number(b, t->hour, 2, '0', flag); break;
  case 'k': chat_time_number(b, t->hour, 2, ' ', flag); break;
  case 'I': chat_time_number(b, hour12, 2, '0', flag); break;
  case 'l': chat_time_number(b, hour12, 2, ' ', flag); break;
  case 'j': chat_time_number(b, t->yearday + 1, 3, '0', flag); break;
  case 'm': chat_time_number(b, t->month, 2, '0', flag); break;
  case 'M': chat_time_number(b, t->minute, 2, '0', flag); break;
  case 'S': chat_time_number(b, t->second, 2, '0', flag); break;
  case 'f': buf_put(b, STR("000000")); break;
  case 'p': buf_put(b, str_from(t->hour < 12 ? "AM" : "PM")); break;
  case 'P': buf_put(b, str_from(t->hour < 12 ? "am" : "pm")); break;
  case 'u': chat_time_number(b, t->weekday ? t->weekday : 7, 1, '0', flag); break;
  case 'w': chat_time_number(b, t->weekday, 1, '0', flag); break;
  case 'U': chat_time_number(b, (t->yearday + 7 - t->weekday) / 7, 2, '0', flag); break;
  case 'W': chat_time_number(b, (t->yearday + 7 - (t->weekday + 6) % 7) / 7, 2, '0', flag); break;
  case 'V': chat_time_number(b, week, 2, '0', flag); break;
  case 'G': chat_time_number(b, year, 1, '0', flag); break;
  case 'g': chat_time_number(b, year % 100, 2, '0', flag); break;
  case 'y': chat_time_number(b, t->year % 100, 2, '0', flag); break;
  case 'Y': chat_time_number(b, t->year, 1, '0', flag); break;
  case 'C': chat_time_number(b, t->year / 100, 2, '0', flag); break;
  case 'n': buf_byte(b, '\n'); break;
  case 't': buf_byte(b, '\t'); break;
  case '%': buf_byte(b, '%'); break;
  case 'z': case 'Z': break; // a clock without a zone
  default: return false;
  }
  return true;
}

static void chat_put_time(struct buf *b, const struct chat_time *t, const char *format) {
  for (const char *p = format; *p; p++) {
    if (*p == '%') chat_put_time_field(b, t, *++p, 0);
    else buf_byte(b, *p);
  }
}

/* strftime_now(format). What the format says keeps its origin; the time itself is ours. */
CHAT_BUILTIN(chat_global_strftime_now) {
  CHAT_UNUSED;
  static const char *const whole[][2] = {{"c", "%a %b %e %H:%M:%S %Y"}, {"x", "%m/%d/%y"}, {"X", "%H:%M:%S"},
                                         {"D", "%m/%d/%y"},
                                         {"F", "%Y-%m-%d"}, {"T", "%H:%M:%S"}, {"R", "%H:%M"}, {"r", "%I:%M:%S %p"}};
  struct chat_time t;
  struct chat_text x = {0};
  if (!chat_need_string(r, &a[1])) return false;
  if (!chat_read_time(r->input->now, &t))
    return chat_fail(r, "strftime_now without a clock (like 2026-01-15T12:34:56)");
  struct str f = chat_str(&a[1]);
  for (size_t i = 0, next; i < f.len; i = next) {
    char text[80], flag = 0;
    struct buf b = {text, 0, sizeof text, false};
    size_t percent = i;
    next = i + 1;
    if (f.ptr[i] == '%' && i + 1 < f.len) {
      if (strchr("-_0^#", f.ptr[i + 1]) && f.ptr[i + 1] && i + 2 < f.len) flag = f.ptr[++i];
      char c = f.ptr[++i];
      bool done = chat_put_time_field(&b, &t, c, flag);
      for (int k = 0; !done && k < ARRAY_LEN(whole); k++)
        if (whole[k][0][0] == c) chat_put_time(&b, &t, whole[k][1]), done = true;
      next = i + 1;
      if (done) {
        bool user = a[1].marks ? a[1].marks[percent] : a[1].user;
        if (!chat_put_marked(r, &x, text, b.len, NULL, user)) return false;
        continue;
      }
    }
    if (!chat_put_value(r, &x, chat_cut(a[1], percent, next))) return false;
  }
  *out = chat_text_value(&x);
  return true;
}
