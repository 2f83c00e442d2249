/* check_gguf.c -- the GGUF reader: what it takes, what it must refuse and in which words, typed look-ups, split files.
 *
 * Files are written by the small writer below, or lie in tests/corpus (tools/make_corpus.py). G1 .. G13 are the classes
 * of damage that have hurt other readers: counts, dimensions, types, ends, strings, arrays, alignment, names, parts.
 * SPDX-License-Identifier: MIT */

static struct gguf g; // 24 kB: not on the stack

/* ---- a writer: little-endian, no checks, so that it can write nonsense ---- */

static void gw_uint(struct buf *b, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) buf_byte(b, (char)(value >> (8 * i)));
}

static void gw_string(struct buf *b, struct str s) {
  gw_uint(b, s.len, 8);
  buf_put(b, s);
}

static void gw_begin(struct buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys) {
  b->len = 0;
  buf_put(b, STR("GGUF"));
  gw_uint(b, version, 4);
  gw_uint(b, n_tensors, 8);
  gw_uint(b, n_keys, 8);
}

static void gw_key(struct buf *b, struct str name, uint64_t type) {
  gw_string(b, name);
  gw_uint(b, type, 4);
}

static void gw_number(struct buf *b, struct str name, enum gguf_type type, uint64_t bits) {
  gw_key(b, name, type);
  gw_uint(b, bits, gguf_type_bytes[type]);
}

static void gw_array(struct buf *b, struct str name, uint64_t type, uint64_t count) {
  gw_key(b, name, GGUF_ARRAY);
  gw_uint(b, type, 4);
  gw_uint(b, count, 8);
}

static void gw_tensor(struct buf *b, struct str name, int n_dims, const uint64_t *dim, uint64_t type, uint64_t offset) {
  gw_string(b, name);
  gw_uint(b, (uint64_t)n_dims, 4);
  for (int i = 0; i < n_dims; i++) gw_uint(b, dim[i], 8);
  gw_uint(b, type, 4);
  gw_uint(b, offset, 8);
}

static void gw_pad(struct buf *b, size_t align) {
  while (b->len % align) buf_byte(b, 0);
}

static struct arena gw_arena; // what is left for tables after gw_new
static struct buf gw_new(void) {
  gw_arena = test_arena(64 << 20);
  return buf_new(&gw_arena, 1 << 20);
}

static bool gw_open(const struct buf *b, struct bk_error *e) {
  struct arena scratch = gw_arena;
  ck_assert(!b->full);
  memset(e, 0, sizeof *e);
  return gguf_open_memory(&g, buf_str(b), "test", &scratch, e);
}

static void gw_refused(const struct buf *b, const char *contains) {
  struct bk_error e;
  ck_assert_msg(!gw_open(b, &e), "accepted; expected: %s", contains);
  test_error(&e, ERR_DATA, contains);
  test_error(&e, ERR_DATA, "test: "); // the sentence begins with the file
}

static void gw_accepted(const struct buf *b) {
  struct bk_error e;
  ck_assert_msg(gw_open(b, &e), "%s", e.message);
}

static const uint64_t gw_small[4] = {4, 2, 1, 1};
static const uint64_t gw_huge[] = {1u << 30, 1u << 31, UINT64_C(1) << 32, UINT64_C(1) << 60, UINT64_C(1) << 61,
                                   UINT64_C(1) << 62, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX};

/* ---- what is taken ---- */

START_TEST(gguf_versions) {
  struct buf b = gw_new();
  for (uint32_t version = 0; version < 6; version++) {
    gw_begin(&b, version, 1, 1);
    gw_number(&b, STR("k"), GGUF_U32, 7);
    gw_tensor(&b, STR("t"), 2, gw_small, 0, 0);
    gw_pad(&b, 32);
    for (int i = 0; i < 32; i++) buf_byte(&b, (char)i);
    if (version != 2 && version != 3) {
      gw_refused(&b, "expected 2 or 3");
      continue;
    }
    gw_accepted(&b);
    ck_assert_uint_eq(g.version, version);
    ck_assert(g.n_keys == 1 && g.n_tensors == 1 && g.n_files == 1 && g.alignment == 32);
    struct gguf_tensor *t = gguf_tensor(&g, STR("t"));
    ck_assert_ptr_nonnull(t);
    ck_assert(t->n_dims == 2 && t->dim[0] == 4 && t->dim[1] == 2 && t->dim[2] == 1 && t->dim[3] == 1);
    ck_assert_ptr_null(t->data);
    struct bk_error e = {0};
    ck_assert(gguf_locate(&g, t, 1, 4, &e));
    ck_assert_uint_eq(t->n_bytes, 32);
    ck_assert_int_eq(t->data[31], 31);
    ck_assert_ptr_null(gguf_tensor(&g, STR("T")));
  }
  gw_begin(&b, 0x03000000, 0, 0);
  gw_refused(&b, "big-endian");
}
END_TEST

START_TEST(gguf_numbers) {
  static const struct { enum gguf_type type; uint64_t bits; int64_t value; } ints[] = {
    {GGUF_U8, 255, 255}, {GGUF_I8, 255, -1}, {GGUF_U16, 65535, 65535}, {GGUF_I16, 32768, -32768},
    {GGUF_U32, UINT32_MAX, UINT32_MAX}, {GGUF_I32, UINT32_MAX, -1}, {GGUF_U64, INT64_MAX, INT64_MAX},
    {GGUF_I64, UINT64_MAX, -1}, {GGUF_BOOL, 0, 0}, {GGUF_BOOL, 1, 1}, {GGUF_BOOL, 2, 1}};
  struct buf b = gw_new();
  for (int i = 0; i < ARRAY_LEN(ints); i++) {
    struct bk_error e = {0};
    int64_t n = 77;
    double d;
    gw_begin(&b, 3, 0, 1);
    gw_number(&b, STR("k"), ints[i].type, ints[i].bits);
    gw_accepted(&b);
    ck_assert(gguf_get_int(&g, STR("k"), INT64_MIN, INT64_MAX, &n, &e));
    ck_assert_int_eq(n, ints[i].value);
    ck_assert(!gguf_int(gguf_find(&g, STR("k")), 1, &n));
    ck_assert_int_eq(gguf_float(gguf_find(&g, STR("k")), 0, &d), ints[i].type != GGUF_BOOL);
    if (ints[i].type != GGUF_BOOL) ck_assert_double_eq(d, (double)ints[i].value);
  }
  gw_begin(&b, 3, 0, 1);
  gw_number(&b, STR("k"), GGUF_U64, UINT64_MAX);
  gw_accepted(&b);
  int64_t n;
  ck_assert(!gguf_int(gguf_find(&g, STR("k")), 0, &n));
  ck_assert(!gguf_int(NULL, 0, &n));
}
END_TEST

START_TEST(gguf_floats) {
  static const struct { enum gguf_type type; uint64_t bits; double value; bool ok; } floats[] = {
    {GGUF_F32, 0x3FC00000, 1.5, true}, {GGUF_F64, 0x3FF8000000000000, 1.5, true}, {GGUF_F32, 0x7F800000, 0, false},
    {GGUF_F32, 0xFF800000, 0, false}, {GGUF_F32, 0x7FC00000, 0, false}, {GGUF_F64, 0x7FF0000000000000, 0, false},
    {GGUF_F64, 0x7FF0000000000001, 0, false}};
  struct buf b = gw_new();
  for (int i = 0; i < ARRAY_LEN(floats); i++) {
    struct bk_error e = {0};
    double d;
    int64_t n;
    gw_begin(&b, 3, 0, 1);
    gw_number(&b, STR("k"), floats[i].type, floats[i].bits);
    gw_accepted(&b);
    ck_assert_int_eq(gguf_float(gguf_find(&g, STR("k")), 0, &d), floats[i].ok);
    if (floats[i].ok) ck_assert_double_eq(d, floats[i].value);
    ck_assert(!gguf_float(gguf_find(&g, STR("k")), 1, &d) && !gguf_float(NULL, 0, &d));
    ck_assert(!gguf_get_int(&g, STR("k"), 0, 10, &n, &e));
    test_error(&e, ERR_DATA, "expected an integer");
  }
}
END_TEST

START_TEST(gguf_getters) { // G10: a value of another type is an error with the key's name, an absent one none
  struct buf b = gw_new();
  struct bk_error e = {0};
  struct str s = STR("before");
  int64_t n = 77;
  double d;
  gw_begin(&b, 3, 0, 4);
  gw_key(&b, STR("s"), GGUF_STRING);
  gw_string(&b, STR("llama\0x"));
  gw_number(&b, STR("n"), GGUF_U32, 12);
  gw_array(&b, STR("a"), GGUF_U16, 3);
  gw_uint(&b, UINT64_C(0x000300020001), 6);
  gw_array(&b, STR("strings"), GGUF_STRING, 3);
  gw_string(&b, STR("one"));
  gw_string(&b, STR(""));
  gw_string(&b, STR("three"));
  gw_accepted(&b);
  ck_assert(!gguf_get_int(&g, STR("absent"), 0, 9, &n, &e) && !gguf_get_string(&g, STR("absent"), &s, &e));
  ck_assert(e.code == 0 && n == 77 && str_is(s, "before"));
  ck_assert(gguf_get_string(&g, STR("s"), &s, &e) && str_eq(s, STR("llama\0x")) && !str_is(s, "llama"));
  ck_assert(gguf_get_int(&g, STR("n"), 12, 12, &n, &e) && n == 12);
  ck_assert(!gguf_get_int(&g, STR("n"), 13, 20, &n, &e));
  test_error(&e, ERR_DATA, "key n is 12, expected 13 to 20");
  static const struct { const char *key; bool string; const char *says; } wrong[] = {
    {"s", false, "key s is of type string, expected an integer"},
    {"a", false, "key a is of type array, expected an integer"},
    {"n", true, "key n is of type u32, expected a string"},
    {"strings", true, "key strings is of type array, expected a string"}};
  for (int i = 0; i < ARRAY_LEN(wrong); i++) {
    e.code = 0;
    ck_assert(!(wrong[i].string ? gguf_get_string(&g, str_from(wrong[i].key), &s, &e)
                                : gguf_get_int(&g, str_from(wrong[i].key), 0, 99, &n, &e)));
    test_error(&e, ERR_DATA, wrong[i].says);
  }
  for (uint64_t i = 0; i < 3; i++) ck_assert(gguf_int(gguf_find(&g, STR("a")), i, &n) && n == (int64_t)i + 1);
  ck_assert(!gguf_int(gguf_find(&g, STR("a")), 3, &n) && !gguf_float(gguf_find(&g, STR("s")), 0, &d));
  static const char *const expected[] = {"one", "", "three"};
  size_t at = 0;
  const struct gguf_value *strings = gguf_find(&g, STR("strings"));
  for (int i = 0; i < 3; i++) ck_assert(gguf_next_string(strings, &at, &s) && str_is(s, expected[i]));
  ck_assert(!gguf_next_string(strings, &at, &s));
  at = 0;
  ck_assert(!gguf_next_string(gguf_find(&g, STR("a")), &at, &s));
}
END_TEST

START_TEST(gguf_many_names) {
  struct buf b = gw_new();
  char name[32];
  enum { N = 5000 };
  gw_begin(&b, 3, N, N);
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "key.%d", i);
    gw_number(&b, str_from(name), GGUF_U16, (uint64_t)i);
  }
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "blk.%d.w", i);
    gw_tensor(&b, str_from(name), 1, gw_small, 0, 0);
  }
  gw_accepted(&b);
  for (int i = 0; i < N; i++) {
    snprintf(name, sizeof name, "blk.%d.w", i);
    ck_assert_ptr_eq(gguf_tensor(&g, str_from(name)), &g.tensors[i]);
  }
  ck_assert_ptr_null(gguf_tensor(&g, STR("blk.5000.w")));
}
END_TEST

/* ---- what is refused ---- */

START_TEST(gguf_not_a_model) {
  struct buf b = gw_new();
  gw_refused(&b, "the file is empty");
  buf_put(&b, STR("GGU"));
  gw_refused(&b, "not a GGUF file");
  gw_begin(&b, 3, 0, 0);
  b.ptr[3] = 'f';
  gw_refused(&b, "not a GGUF file");
}
END_TEST

START_TEST(gguf_counts) { // G1
  struct buf b = gw_new();
  for (int i = 0; i < ARRAY_LEN(gw_huge); i++) {
    gw_begin(&b, 3, 0, gw_huge[i]);
    gw_refused(&b, "keys claimed, more than the file can hold");
    gw_begin(&b, 3, gw_huge[i], 0);
    gw_refused(&b, "tensors claimed, more than the file can hold");
  }
  gw_begin(&b, 3, 0, 1);
  gw_refused(&b, "1 keys claimed");
  gw_begin(&b, 3, 1, 0);
  gw_refused(&b, "1 tensors claimed");
  gw_begin(&b, 3, 0, (1 << 16) + 1);
  gw_pad(&b, 1 << 20); // there is room, yet no model has so many
  b.len = 1 << 20;
  gw_refused(&b, "65537 keys claimed");
}
END_TEST

START_TEST(gguf_dimensions) { // G2 overflow, G3 zero, G4 their number
  struct buf b = gw_new();
  static const uint64_t bad[] = {0, 1u << 31, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX};
  for (int i = 0; i < ARRAY_LEN(bad); i++)
    for (int at = 0; at < 4; at++) {
      uint64_t dim[4] = {4, 4, 4, 4};
      dim[at] = bad[i];
      gw_begin(&b, 3, 1, 0);
      gw_tensor(&b, STR("t"), 4, dim, 0, 0);
      gw_refused(&b, "expected 1 to 2147483647");
    }
  for (int n = 0; n < 8; n++) {
    static const uint64_t dim[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    gw_begin(&b, 3, 1, 0);
    gw_tensor(&b, STR("t"), n, dim, 0, 0);
    gw_pad(&b, 128); // so that the file is long enough for the record
    if (n >= 1 && n <= 4) gw_accepted(&b);
    else gw_refused(&b, "expected 1 to 4");
  }
}
END_TEST

START_TEST(gguf_ends) { // G2, G5, G6: sizes and places of data, once the type is known
  struct buf b = gw_new();
  static const uint64_t max = INT32_MAX;
  static const struct { uint64_t dim[4], offset; size_t block, bytes; const char *says; } cases[] = {
    {{4, 2, 1, 1}, 0, 1, 4, NULL}, {{4, 1, 1, 1}, 32, 1, 4, "which has only 32"}, {{8, 1, 1, 1}, 0, 1, 4, NULL},
    {{9, 1, 1, 1}, 0, 1, 4, "36 bytes at offset 0 of the data, which has only 32"}, {{32, 1, 1, 1}, 0, 32, 18, NULL},
    {{33, 1, 1, 1}, 0, 32, 18, "expected a multiple of 32"}, {{max, max, max, max}, 0, 1, 4, "a total that fits"},
    {{max, max, 2, 1}, 0, 1, 4, "a total that fits"}, {{max, max, 1, 1}, 0, 1, 4, "the file is cut short"},
    {{1, 1, 1, 1}, UINT64_MAX - 31, 1, 4, "the file is cut short"},
    {{1, 1, 1, 1}, UINT64_C(1) << 63, 1, 4, "the file is cut short"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    struct bk_error e = {0};
    gw_begin(&b, 3, 1, 0);
    gw_tensor(&b, STR("t"), 4, cases[i].dim, 0, cases[i].offset);
    gw_pad(&b, 32);
    for (int k = 0; k < 32; k++) buf_byte(&b, 0);
    gw_accepted(&b);
    bool ok = gguf_locate(&g, gguf_tensor(&g, STR("t")), cases[i].block, cases[i].bytes, &e);
    ck_assert_msg(ok == !cases[i].says, "case %d: %s", i, e.message);
    if (!ok) test_error(&e, ERR_DATA, cases[i].says);
    if (!ok) test_error(&e, ERR_DATA, "tensor t: ");
  }
  gw_begin(&b, 3, 1, 0); // nothing after the header: there is no data at all
  gw_tensor(&b, STR("t"), 1, gw_small, 0, 0);
  gw_accepted(&b);
  struct bk_error e = {0};
  ck_assert(!gguf_locate(&g, gguf_tensor(&g, STR("t")), 1, 4, &e));
  test_error(&e, ERR_DATA, "has only 0");
}
END_TEST

START_TEST(gguf_strings) { // G7
  struct buf b = gw_new();
  for (int i = 0; i < ARRAY_LEN(gw_huge); i++) {
    gw_begin(&b, 3, 0, 1);
    gw_key(&b, STR("k"), GGUF_STRING);
    gw_uint(&b, gw_huge[i], 8);
    gw_refused(&b, "at most 16777216 expected");
    gw_begin(&b, 3, 0, 1);
    gw_uint(&b, gw_huge[i], 8);
    gw_pad(&b, 64);
    gw_refused(&b, "at most 65536 expected");
    gw_begin(&b, 3, 1, 0);
    gw_uint(&b, gw_huge[i], 8);
    gw_pad(&b, 64);
    gw_refused(&b, "at most 65536 expected");
  }
  gw_begin(&b, 3, 0, 1);
  gw_key(&b, STR("k"), GGUF_STRING);
  gw_uint(&b, 4, 8);
  buf_put(&b, STR("abc"));
  gw_refused(&b, "needs 4 bytes, only 3 are left");
}
END_TEST

START_TEST(gguf_arrays) { // G8
  struct buf b = gw_new();
  for (int type = 0; type < GGUF_TYPE_COUNT; type++) {
    size_t each = gguf_type_bytes[type] ? gguf_type_bytes[type] : 8;
    if (type == GGUF_ARRAY) continue;
    for (int i = 0; i < ARRAY_LEN(gw_huge); i++) {
      gw_begin(&b, 3, 0, 1);
      gw_array(&b, STR("k"), (uint64_t)type, gw_huge[i]);
      gw_refused(&b, "elements, only 0 bytes are left");
    }
    for (uint64_t have = 0; have < 3; have++) {
      gw_begin(&b, 3, 0, 1);
      gw_array(&b, STR("k"), (uint64_t)type, have);
      for (uint64_t i = 0; i < have * each; i++) buf_byte(&b, 0);
      gw_accepted(&b);
      ck_assert_uint_eq(gguf_find(&g, STR("k"))->count, have);
      if (have == 0) continue;
      b.len--; // the last byte is missing
      gw_refused(&b, "bytes are left");
    }
  }
  gw_begin(&b, 3, 0, 1);
  gw_array(&b, STR("k"), GGUF_ARRAY, 1);
  gw_refused(&b, "no array inside an array");
  for (uint64_t type = 13; type < 16; type++) {
    gw_begin(&b, 3, 0, 1);
    gw_array(&b, STR("k"), type, 0);
    gw_refused(&b, "expected 0..12");
    gw_begin(&b, 3, 0, 1);
    gw_key(&b, STR("k"), type == 15 ? UINT32_MAX : type);
    gw_uint(&b, 0, 8);
    gw_refused(&b, "expected 0..12");
  }
}
END_TEST

START_TEST(gguf_alignment) { // G9
  struct buf b = gw_new();
  struct bk_error e = {0};
  for (uint64_t n = 0; n < 70; n++) {
    bool power = n >= 8 && !(n & (n - 1)); // below 8 floats could lie astride
    gw_begin(&b, 3, 1, 1);
    gw_number(&b, STR("general.alignment"), GGUF_U32, n);
    gw_tensor(&b, STR("t"), 1, gw_small, 0, n);
    gw_pad(&b, power ? n : 1);
    for (uint64_t i = 0; i < 16 + n; i++) buf_byte(&b, (char)i);
    if (!power) {
      gw_refused(&b, "a power of two");
      continue;
    }
    gw_accepted(&b);
    ck_assert(gguf_locate(&g, gguf_tensor(&g, STR("t")), 1, 4, &e));
    ck_assert_int_eq(gguf_tensor(&g, STR("t"))->data[0], (char)n);
  }
  static const uint64_t bad[] = {131072, 65537, UINT32_MAX, 1u << 31};
  for (int i = 0; i < ARRAY_LEN(bad); i++) {
    gw_begin(&b, 3, 0, 1);
    gw_number(&b, STR("general.alignment"), GGUF_U32, bad[i]);
    gw_refused(&b, "a power of two");
  }
  for (int type = 0; type < GGUF_TYPE_COUNT; type++) {
    if (type == GGUF_U32 || type == GGUF_STRING || type == GGUF_ARRAY) continue;
    gw_begin(&b, 3, 0, 1);
    gw_number(&b, STR("general.alignment"), (enum gguf_type)type, 32);
    gw_refused(&b, "must be a u32");
  }
  gw_begin(&b, 3, 1, 0);
  gw_tensor(&b, STR("t"), 1, gw_small, 0, 16);
  gw_refused(&b, "tensor t: offset 16, expected a multiple of the alignment 32");
}
END_TEST

START_TEST(gguf_names) { // G10 empty, G11 twice, G12 NUL
  struct buf b = gw_new();
  static const struct str bad[] = {{"", 0}, {"a\0b", 3}, {"\0", 1}, {"general.alignment\0", 18}};
  for (int i = 0; i < ARRAY_LEN(bad); i++) {
    const char *says = bad[i].len ? "contains a NUL byte" : "is empty";
    gw_begin(&b, 3, 0, 1);
    gw_number(&b, bad[i], GGUF_U32, 1);
    gw_refused(&b, says);
    gw_begin(&b, 3, 1, 0);
    gw_tensor(&b, bad[i], 1, gw_small, 0, 0);
    gw_refused(&b, says);
  }
  gw_begin(&b, 3, 0, 3);
  gw_number(&b, STR("a"), GGUF_U8, 1);
  gw_number(&b, STR("b"), GGUF_U8, 1);
  gw_number(&b, STR("a"), GGUF_U32, 1);
  gw_refused(&b, "key a appears twice");
  gw_begin(&b, 3, 3, 0);
  gw_tensor(&b, STR("a"), 1, gw_small, 0, 0);
  gw_tensor(&b, STR("b"), 1, gw_small, 0, 0);
  gw_tensor(&b, STR("a"), 2, gw_small, 0, 0);
  gw_refused(&b, "tensor a appears twice");
  gw_begin(&b, 3, 0, 1);
  gw_key(&b, STR("bad\033[31m\n"), 13);
  gw_pad(&b, 64);
  gw_refused(&b, "bad?[31m?");
}
END_TEST

/* Names made to fall into one slot of the index would cost n * n steps; they are refused long before. */
START_TEST(gguf_colliding_names) {
  struct buf b = gw_new();
  enum { N = 4096, SIZE = 2 * N };
  int found = 0;
  gw_begin(&b, 3, 0, N);
  for (uint32_t i = 0; found < N; i++) {
    char name[16];
    snprintf(name, sizeof name, "%x", i);
    if (((uint32_t)str_hash(str_from(name)) & (SIZE - 1)) != 1) continue;
    gw_number(&b, str_from(name), GGUF_U8, 0);
    found++;
  }
  gw_refused(&b, "chosen to collide");
}
END_TEST

/* Every beginning of a valid file is refused in good order, but for the one that only lacks data. */
START_TEST(gguf_truncation) {
  struct buf b = gw_new();
  gw_begin(&b, 3, 2, 3);
  gw_key(&b, STR("general.architecture"), GGUF_STRING);
  gw_string(&b, STR("llama"));
  gw_array(&b, STR("tokens"), GGUF_STRING, 2);
  gw_string(&b, STR("a"));
  gw_string(&b, STR("b"));
  gw_array(&b, STR("scores"), GGUF_F32, 2);
  gw_uint(&b, 0, 8);
  gw_tensor(&b, STR("a.weight"), 2, gw_small, 0, 0);
  gw_tensor(&b, STR("b.weight"), 1, gw_small, 0, 32);
  size_t header = b.len;
  gw_pad(&b, 32);
  for (int i = 0; i < 64; i++) buf_byte(&b, 0);
  for (size_t n = 0; n < b.len; n++) {
    struct buf cut = {b.ptr, n, b.cap, false};
    struct bk_error e;
    struct gguf_tensor *t;
    if (n < header) gw_refused(&cut, "");
    else gw_accepted(&cut);
    if (n < header) continue;
    memset(&e, 0, sizeof e);
    ck_assert((t = gguf_tensor(&g, STR("b.weight"))) != NULL);
    ck_assert_int_eq(gguf_locate(&g, t, 1, 4, &e), n >= b.len - 16);
  }
}
END_TEST

/* ---- files ---- */

START_TEST(gguf_files) {
  char folder[64], path[256];
  struct bk_error e = {0};
  struct buf b = gw_new();
  test_folder(folder);
  gw_begin(&b, 3, 0, 1);
  gw_number(&b, STR("k"), GGUF_U32, 7);
  test_write(folder, "a.gguf", buf_str(&b));
  test_write(folder, "empty.gguf", STR_NONE);
  snprintf(path, sizeof path, "%s/a.gguf", folder);
  ck_assert_msg(gguf_open(&g, path, &gw_arena, &e), "%s", e.message);
  ck_assert(g.n_files == 1 && g.n_keys == 1);
  gguf_close(&g);
  ck_assert_int_eq(g.n_files, 0);
  gguf_close(&g); // once more does no harm
  static const struct { const char *name; int code; const char *says; } bad[] = {
    {"empty.gguf", ERR_DATA, "the file is empty"}, {"absent.gguf", ERR_NOINPUT, "No such file"},
    {"", ERR_NOINPUT, "a directory"}, {"a.gguf/b.gguf", ERR_NOINPUT, "Not a directory"}};
  for (int i = 0; i < ARRAY_LEN(bad); i++) {
    e.code = 0;
    snprintf(path, sizeof path, "%s/%s", folder, bad[i].name);
    ck_assert(!gguf_open(&g, path, &gw_arena, &e));
    test_error(&e, bad[i].code, bad[i].says);
    ck_assert_int_eq(g.n_files, 0);
  }
  test_remove(folder);
}
END_TEST

/* Writes part `no` (from 0) of `count`, which says that it is part `says`, with one tensor. */
static void gw_part(struct buf *b, const char *folder, int no, int count, int says) {
  char name[64];
  gw_begin(b, 3, 1, 2);
  gw_number(b, STR("split.count"), GGUF_U16, (uint64_t)count);
  gw_number(b, STR("split.no"), GGUF_U16, (uint64_t)says);
  snprintf(name, sizeof name, "t%d", no);
  gw_tensor(b, str_from(name), 1, gw_small, 0, 0);
  gw_pad(b, 32);
  for (int i = 0; i < 16; i++) buf_byte(b, (char)(no + 1));
  snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", no + 1, count);
  test_write(folder, name, buf_str(b));
}

static bool gw_open_part(const char *folder, const char *name, struct bk_error *e) {
  char path[256];
  struct arena scratch = gw_arena;
  memset(e, 0, sizeof *e);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return gguf_open(&g, path, &scratch, e);
}

START_TEST(gguf_splits) { // G13
  char folder[64], path[256];
  struct bk_error e;
  struct buf b = gw_new();
  test_folder(folder);
  for (int i = 0; i < 3; i++) gw_part(&b, folder, i, 3, i);
  ck_assert_msg(gw_open_part(folder, "m-00001-of-00003.gguf", &e), "%s", e.message);
  ck_assert(g.n_files == 3 && g.n_tensors == 3 && g.n_keys == 2);
  for (int i = 0; i < 3; i++) {
    struct gguf_tensor *t = gguf_tensor(&g, (struct str){&"t0t1t2"[2 * i], 2});
    ck_assert(t && t->file == i && gguf_locate(&g, t, 1, 4, &e) && t->data[15] == i + 1);
  }
  gguf_close(&g);
  ck_assert(!gw_open_part(folder, "m-00002-of-00003.gguf", &e));
  test_error(&e, ERR_DATA, "part 2 of 3: give the first part");
  gw_part(&b, folder, 1, 3, 2); // the third part under the second one's name
  ck_assert(!gw_open_part(folder, "m-00001-of-00003.gguf", &e) && g.n_files == 0);
  test_error(&e, ERR_DATA, "m-00002-of-00003.gguf: says that it is part 3, expected part 2");
  gw_part(&b, folder, 0, 3, 0);
  test_write(folder, "m-00002-of-00003.gguf", buf_str(&b)); // the first part once more
  ck_assert(!gw_open_part(folder, "m-00001-of-00003.gguf", &e));
  test_error(&e, ERR_DATA, "says that it is part 1, expected part 2");
  test_write(folder, "m-00002-of-00003.gguf", STR("GGUFcut"));
  ck_assert(!gw_open_part(folder, "m-00001-of-00003.gguf", &e));
  test_error(&e, ERR_DATA, "m-00002-of-00003.gguf: the version");
  snprintf(path, sizeof path, "%s/m-00002-of-00003.gguf", folder);
  remove(path);
  ck_assert(!gw_open_part(folder, "m-00001-of-00003.gguf", &e) && g.n_files == 0);
  test_error(&e, ERR_NOINPUT, "m-00002-of-00003.gguf: No such file");
  gw_part(&b, folder, 0, 3, 0);
  test_write(folder, "renamed.gguf", buf_str(&b));
  ck_assert(!gw_open_part(folder, "renamed.gguf", &e));
  test_error(&e, ERR_DATA, "expected a name that ends in -00001-of-00003.gguf");
  gw_refused(&b, "expected a whole one in memory");
  static const uint64_t counts[] = {1000, 65535};
  for (int i = 0; i < ARRAY_LEN(counts); i++) {
    gw_part(&b, folder, 0, (int)counts[i], 0);
    snprintf(path, sizeof path, "m-00001-of-%05d.gguf", (int)counts[i]);
    ck_assert(!gw_open_part(folder, path, &e));
    test_error(&e, ERR_DATA, "at most 999");
  }
  test_remove(folder);
}
END_TEST

START_TEST(gguf_split_names_twice) {
  char folder[64];
  struct bk_error e;
  struct buf b = gw_new();
  test_folder(folder);
  gw_part(&b, folder, 0, 2, 0);
  gw_part(&b, folder, 0, 2, 1); // the same tensor, in a part that says it is the second
  test_write(folder, "m-00002-of-00002.gguf", buf_str(&b));
  gw_part(&b, folder, 0, 2, 0);
  ck_assert(!gw_open_part(folder, "m-00001-of-00002.gguf", &e));
  test_error(&e, ERR_DATA, "tensor t0 appears twice");
  test_remove(folder);
}
END_TEST

/* ---- no memory ---- */

START_TEST(gguf_small_arenas) { // whatever does not fit is refused with a sentence, at every size
  struct buf b = gw_new();
  gw_begin(&b, 3, 2, 2);
  gw_number(&b, STR("a"), GGUF_U32, 1);
  gw_number(&b, STR("b"), GGUF_U32, 1);
  gw_tensor(&b, STR("a"), 1, gw_small, 0, 0);
  gw_tensor(&b, STR("b"), 1, gw_small, 0, 0);
  bool opened = false;
  for (int size = 0; size < 4096 && !opened; size++) {
    struct arena tight = {gw_arena.beg, gw_arena.beg + size};
    struct bk_error e = {0};
    opened = gguf_open_memory(&g, buf_str(&b), "test", &tight, &e);
    if (!opened) test_error(&e, ERR_OS, "test: no memory for");
  }
  ck_assert(opened);
}
END_TEST

/* ---- the corpus ---- */

struct gguf_corpus {
  const char *folder;
  bool good;
  int n;
};

static bool gguf_corpus_one(void *context, const char *name) {
  struct gguf_corpus *corpus = context;
  char path[512];
  struct arena scratch = gw_arena;
  struct bk_error e = {0};
  snprintf(path, sizeof path, "%s/%s", corpus->folder, name);
  bool ok = gguf_open(&g, path, &scratch, &e);
  ck_assert_msg(ok == corpus->good, "%s: %s", name, ok ? "accepted" : e.message);
  if (ok) gguf_close(&g);
  else test_error(&e, ERR_DATA, name);
  corpus->n++;
  return true;
}

START_TEST(gguf_corpora) {
  struct gguf_corpus good = {TEST_ROOT "/corpus/gguf", true, 0}, bad = {TEST_ROOT "/corpus/bad", false, 0};
  gw_new();
  ck_assert_msg(os_list(good.folder, test_arena(4 << 20), gguf_corpus_one, &good), "no folder %s", good.folder);
  ck_assert_msg(os_list(bad.folder, test_arena(4 << 20), gguf_corpus_one, &bad), "no folder %s", bad.folder);
  ck_assert_int_ge(good.n, 20);
  ck_assert_int_ge(bad.n, 60);
}
END_TEST

static Suite *gguf_suite(void) {
  Suite *s = suite_create("gguf");
  TCase *t = tcase_create("gguf");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, gguf_versions);
  tcase_add_test(t, gguf_numbers);
  tcase_add_test(t, gguf_floats);
  tcase_add_test(t, gguf_getters);
  tcase_add_test(t, gguf_many_names);
  tcase_add_test(t, gguf_not_a_model);
  tcase_add_test(t, gguf_counts);
  tcase_add_test(t, gguf_dimensions);
  tcase_add_test(t, gguf_ends);
  tcase_add_test(t, gguf_strings);
  tcase_add_test(t, gguf_arrays);
  tcase_add_test(t, gguf_alignment);
  tcase_add_test(t, gguf_names);
  tcase_add_test(t, gguf_colliding_names);
  tcase_add_test(t, gguf_truncation);
  tcase_add_test(t, gguf_files);
  tcase_add_test(t, gguf_splits);
  tcase_add_test(t, gguf_split_names_twice);
  tcase_add_test(t, gguf_small_arenas);
  tcase_add_test(t, gguf_corpora);
  suite_add_tcase(s, t);
  return s;
}
