/* check_base.c -- strings, UTF-8, arenas, buffers, errors, arithmetic, half precision: exhaustive where it is possible.
 * SPDX-License-Identifier: MIT */
#include <math.h>

START_TEST(base_compare) {
  ck_assert_uint_eq(str_from("abc").len, 3);
  ck_assert_uint_eq(str_from(NULL).len, 0);
  ck_assert(str_eq(STR_NONE, STR("")));
  ck_assert(str_eq(STR("a\0b"), STR("a\0b")));
  ck_assert(!str_eq(STR("a\0b"), STR("a\0c")));
  ck_assert(!str_eq(STR("a"), STR("ab")));
  ck_assert(str_is(STR("llama"), "llama"));
  ck_assert(!str_is(STR("llama\0x"), "llama"));
  ck_assert(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR_NONE) && str_starts(STR_NONE, STR_NONE));
  ck_assert(!str_starts(STR("ab"), STR("abc")) && !str_starts(STR("abc"), STR("b")));
  ck_assert(str_ends(STR("abc"), STR("bc")) && str_ends(STR("abc"), STR("")) && str_ends(STR_NONE, STR_NONE));
  ck_assert(!str_ends(STR("bc"), STR("abc")) && !str_ends(STR("abc"), STR("b")));
}
END_TEST

START_TEST(base_slice_and_find) {
  struct str s = STR("hello");
  ck_assert(str_is(str_slice(s, 1, 3), "el"));
  ck_assert(str_is(str_slice(s, 0, SIZE_MAX), "hello"));
  ck_assert_uint_eq(str_slice(s, 4, 2).len, 0);
  ck_assert_uint_eq(str_slice(s, 9, 12).len, 0);
  ck_assert_uint_eq(str_slice(STR_NONE, 0, 5).len, 0);
  ck_assert_uint_eq(str_find(s, STR("l"), 0), 2);
  ck_assert_uint_eq(str_find(s, STR("l"), 3), 3);
  ck_assert_uint_eq(str_find(s, STR("l"), 4), SIZE_MAX);
  ck_assert_uint_eq(str_find(s, STR("lo"), 0), 3);
  ck_assert_uint_eq(str_find(s, STR("lox"), 0), SIZE_MAX);
  ck_assert_uint_eq(str_find(s, STR("hello!"), 0), SIZE_MAX);
  ck_assert_uint_eq(str_find(s, STR_NONE, 5), 5);
  ck_assert_uint_eq(str_find(s, STR_NONE, 6), SIZE_MAX);
  ck_assert_uint_eq(str_find(s, STR("h"), SIZE_MAX), SIZE_MAX);
  ck_assert_uint_eq(str_find(STR("aaab"), STR("aab"), 0), 1);
}
END_TEST

START_TEST(base_integers) {
  static const struct { const char *text; int64_t value; } good[] = {
    {"0", 0}, {"-0", 0}, {"+7", 7}, {"007", 7}, {"-1", -1}, {"9223372036854775807", INT64_MAX},
    {"-9223372036854775808", INT64_MIN}, {"-9223372036854775807", -INT64_MAX}};
  static const char *const bad[] = {"", "-", "+", "1 ", " 1", "0x1", "1.0", "--1", "9223372036854775808",
    "-9223372036854775809", "18446744073709551616", "99999999999999999999999", "1e3", "1a"};
  int64_t n;
  for (int i = 0; i < ARRAY_LEN(good); i++) {
    ck_assert_msg(str_to_int(str_from(good[i].text), &n), "%s", good[i].text);
    ck_assert_int_eq(n, good[i].value);
  }
  for (int i = 0; i < ARRAY_LEN(bad); i++) {
    n = 77;
    ck_assert_msg(!str_to_int(str_from(bad[i]), &n), "\"%s\"", bad[i]);
    ck_assert_int_eq(n, 77);
  }
  ck_assert(!str_to_int(STR("1\0"), &n));
}
END_TEST

START_TEST(base_doubles) {
  static const struct { const char *text; double value; } good[] = {
    {"0", 0}, {"1", 1}, {"-2.5", -2.5}, {"+.5", 0.5}, {"3.", 3}, {"1e3", 1000}, {"1E-2", 0.01}, {"0.1", 0.1},
    {"1.7976931348623157e308", 1.7976931348623157e308}, {"4.9e-324", 4.9e-324}, {"1e-999", 0}};
  static const char *const bad[] = {"", ".", "-", "inf", "nan", "0x1p3", "1e", "1e+", "1 ", " 1", "1,5", "1e309",
    "-1e309", "1.2.3"};
  double d;
  for (int i = 0; i < ARRAY_LEN(good); i++) {
    ck_assert_msg(str_to_double(str_from(good[i].text), &d), "%s", good[i].text);
    ck_assert_msg(memcmp(&d, &good[i].value, sizeof d) == 0, "%s", good[i].text);
  }
  for (int i = 0; i < ARRAY_LEN(bad); i++) ck_assert_msg(!str_to_double(str_from(bad[i]), &d), "\"%s\"", bad[i]);
  char text[600];
  memset(text, '1', sizeof text);
  ck_assert(!str_to_double((struct str){text, 512}, &d));
  ck_assert(!str_to_double((struct str){text, 511}, &d)); // overflows
  text[1] = '.';
  ck_assert(str_to_double((struct str){text, 511}, &d));
}
END_TEST

START_TEST(base_sizes) {
  static const struct { const char *text; uint64_t value; } good[] = {
    {"0", 0}, {"65536", 65536}, {"1k", 1024}, {"1K", 1024}, {"512M", 512u << 20}, {"4G", (uint64_t)4 << 30},
    {"4GB", (uint64_t)4 << 30}, {"4GiB", (uint64_t)4 << 30}, {"3T", (uint64_t)3 << 40}, {"8b", 8},
    {"9007199254740991K", (uint64_t)9007199254740991 << 10}};
  static const char *const bad[] = {"", "M", "B", "iB", "-1", "-1M", "1.5G", "1X", "5i", "5iB", "1MM",
    "9007199254740992K", "9223372036854775808", "G4"};
  uint64_t n;
  for (int i = 0; i < ARRAY_LEN(good); i++) {
    ck_assert_msg(str_to_bytes(str_from(good[i].text), &n), "%s", good[i].text);
    ck_assert_uint_eq(n, good[i].value);
  }
  for (int i = 0; i < ARRAY_LEN(bad); i++) ck_assert_msg(!str_to_bytes(str_from(bad[i]), &n), "\"%s\"", bad[i]);
}
END_TEST

START_TEST(base_hashes) { // not a promise of quality: different short strings, all 16 low bits used evenly enough
  uint32_t seen[256] = {0};
  for (uint32_t i = 0; i < 65536; i++) {
    char text[8];
    int n = snprintf(text, sizeof text, "%x", i);
    seen[str_hash((struct str){text, (size_t)n}) & 255]++;
  }
  for (int i = 0; i < 256; i++) ck_assert_msg(seen[i] > 128 && seen[i] < 512, "slot %d: %u of 65536", i, seen[i]);
  ck_assert(str_hash(STR("abcdefgh1")) != str_hash(STR("abcdefgh2")));
  ck_assert(str_hash(STR("")) != str_hash(STR("\0")));
  ck_assert(str_hash(STR_NONE) == str_hash(STR("")));
}
END_TEST

START_TEST(base_utf8_all) {
  char text[4];
  for (uint32_t code = 0; code <= 0x10FFFF; code++) {
    size_t n = (size_t)utf8_encode(code, text), pos = 0;
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    uint32_t got = utf8_decode((struct str){text, n}, &pos);
    if (n != (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4)) ck_abort_msg("U+%X: %zu bytes", code, n);
    bool wrong = surrogate ? got != UTF8_BAD || pos != 1 : got != code || pos != n;
    if (wrong) ck_abort_msg("U+%X: U+%X, %zu", code, got, pos);
    if (utf8_valid((struct str){text, n}) == surrogate) ck_abort_msg("U+%X", code);
    for (size_t cut = 1; cut < n; cut++) {
      if (utf8_valid((struct str){text, cut})) ck_abort_msg("U+%X cut to %zu bytes", code, cut);
      if (utf8_whole((struct str){text, cut}) != 0) ck_abort_msg("U+%X cut to %zu bytes is not whole", code, cut);
    }
    if (!surrogate && utf8_whole((struct str){text, n}) != n) ck_abort_msg("U+%X is whole", code);
  }
}
END_TEST

START_TEST(base_utf8_bad) {
  static const struct str bad[] = { // overlong, above U+10FFFF, lone continuation, wrong continuation, not UTF-8 at all
    {"\xC0\x80", 2}, {"\xC1\xBF", 2}, {"\xE0\x80\x80", 3}, {"\xE0\x9F\xBF", 3}, {"\xF0\x80\x80\x80", 4},
    {"\xF0\x8F\xBF\xBF", 4}, {"\xF4\x90\x80\x80", 4}, {"\xF5\x80\x80\x80", 4}, {"\x80", 1}, {"\xBF", 1}, {"\xC3(", 2},
    {"\xE2\x82(", 3}, {"\xF0\x9F\x98(", 4}, {"\xFE", 1}, {"\xFF", 1}, {"\xED\xA0\x80", 3}};
  for (int i = 0; i < ARRAY_LEN(bad); i++) {
    size_t pos = 0, steps = 0;
    ck_assert_msg(utf8_decode(bad[i], &pos) == UTF8_BAD, "case %d", i);
    ck_assert_uint_eq(pos, 1);
    while (pos < bad[i].len && steps++ < 4) utf8_decode(bad[i], &pos);
    ck_assert_uint_eq(pos, bad[i].len);
    ck_assert(!utf8_valid(bad[i]));
  }
  ck_assert(utf8_valid(STR_NONE) && utf8_valid(STR("a\0b")));
  ck_assert_uint_eq(utf8_whole(STR_NONE), 0);
  ck_assert_uint_eq(utf8_whole(STR("ab\xE2\x82")), 2);
  ck_assert_uint_eq(utf8_whole(STR("ab\xF0\x9F\x98")), 2);
  ck_assert_uint_eq(utf8_whole(STR("ab\xF0\x9F\x98\x80")), 6);
  ck_assert_uint_eq(utf8_whole(STR("\x80\x80\x80\x80\x80")), 5); // no lead within reach: not ours to hold back
  ck_assert_uint_eq(utf8_whole(STR("ab\xFF")), 3);
}
END_TEST

START_TEST(base_arenas) {
  char memory[256] __attribute__((aligned(64)));
  memset(memory, 0x55, sizeof memory);
  struct arena a = {memory + 1, memory + sizeof memory};
  char *p = arena_alloc(&a, 3, 5, 16);
  ck_assert_ptr_eq(p, memory + 16);
  for (int i = 0; i < 15; i++) ck_assert_int_eq(p[i], 0);
  ck_assert_int_eq(memory[15], 0x55);
  ck_assert_int_eq(memory[31], 0x55);
  ck_assert_ptr_eq(arena_alloc(&a, 1, 1, 1), memory + 31);
  struct arena before = a;
  ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX / 2, 3, 1)); // the product overflows
  ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX, 1, 16));
  ck_assert_ptr_null(arena_alloc(&a, 225, 1, 1));
  ck_assert_ptr_null(arena_alloc(&a, 1, 1, 4096 * 1024)); // the padding alone does not fit
  ck_assert_ptr_eq(a.beg, before.beg);
  ck_assert_ptr_nonnull(arena_alloc(&a, 224, 1, 1));
  ck_assert_ptr_eq(a.beg, a.end);
  ck_assert_ptr_null(arena_alloc(&a, 1, 1, 1));
  struct arena none = {0, 0};
  ck_assert_ptr_null(arena_alloc(&none, 0, 1, 1));
  ck_assert_ptr_null(ARENA_NEW(&none, int, 1));
  a = (struct arena){memory, memory + 4};
  ck_assert(str_is(arena_copy(&a, STR("abcd")), "abcd"));
  ck_assert_ptr_null(arena_copy(&a, STR("e")).ptr);
  ck_assert_uint_eq(arena_copy(&a, STR_NONE).len, 0);
}
END_TEST

START_TEST(base_buffers) {
  char memory[8];
  struct arena a = {memory, memory + sizeof memory};
  struct buf b = buf_new(&a, 6);
  buf_put(&b, STR("ab"));
  buf_byte(&b, 'c');
  buf_put(&b, STR_NONE);
  buf_printf(&b, "%d", 12);
  ck_assert(!b.full && str_is(buf_str(&b), "abc12"));
  buf_put(&b, STR("xyz"));
  ck_assert(b.full && str_is(buf_str(&b), "abc12x"));
  buf_byte(&b, '!');
  ck_assert(str_is(buf_str(&b), "abc12x"));
  struct buf none = buf_new(&a, 100);
  ck_assert(none.cap == 0 && !none.full);
  buf_byte(&none, 'a');
  ck_assert(none.full && buf_str(&none).len == 0);
  struct arena large = test_arena(8192);
  struct buf wide = buf_new(&large, 4096);
  buf_printf(&wide, "%2000d", 1); // one piece is at most 1,023 bytes
  ck_assert(wide.full && wide.len == 1023);
}
END_TEST

START_TEST(base_errors) {
  struct bk_error e = {0};
  ck_assert(!err_set(&e, ERR_DATA, "first %d", 1));
  ck_assert(!err_set(&e, ERR_IO, "second"));
  ck_assert_int_eq(e.code, 65);
  ck_assert_str_eq(e.message, "first 1");
  ck_assert(!err_set(NULL, ERR_DATA, "nobody listens"));
  e.code = 0;
  err_set(&e, ERR_DATA, "%s", "a\033[2J\r\nb\x7F\xC2\x9Bz\xFF\xC3\xA9");
  ck_assert_str_eq(e.message, "a?[2J??b???z?\xC3\xA9");
  char text[2000];
  for (size_t i = 0; i + 2 < sizeof text; i += 2) memcpy(text + i, "\xC3\xA9", 2);
  text[1998] = 0;
  for (int shift = 0; shift < 2; shift++) { // cut between characters only
    e.code = 0;
    err_set(&e, ERR_DATA, "%s%s", shift ? "x" : "", text);
    ck_assert(utf8_valid(str_from(e.message)));
    ck_assert(strlen(e.message) >= sizeof e.message - 2 && strchr(e.message, '?') == NULL);
  }
}
END_TEST

START_TEST(base_arithmetic) {
  size_t n;
  ck_assert(size_add(SIZE_MAX - 1, 1, &n) && n == SIZE_MAX);
  ck_assert(!size_add(SIZE_MAX, 1, &n) && !size_add(1, SIZE_MAX, &n) && !size_add(SIZE_MAX, SIZE_MAX, &n));
  ck_assert(size_add(0, 0, &n) && n == 0);
  ck_assert(size_mul(SIZE_MAX, 1, &n) && n == SIZE_MAX);
  ck_assert(size_mul(SIZE_MAX, 0, &n) && n == 0);
  ck_assert(size_mul(0, SIZE_MAX, &n) && n == 0);
  ck_assert(!size_mul(SIZE_MAX, 2, &n) && !size_mul(2, SIZE_MAX, &n) && !size_mul(SIZE_MAX / 2 + 1, 2, &n));
  ck_assert(size_mul(SIZE_MAX / 2, 2, &n) && n == SIZE_MAX - 1);
  ck_assert_uint_eq(size_align(0, 32), 0);
  ck_assert_uint_eq(size_align(1, 32), 32);
  ck_assert_uint_eq(size_align(32, 32), 32);
  ck_assert_uint_eq(size_align(33, 32), 64);
  ck_assert_uint_eq(size_align(33, 1), 33);
}
END_TEST

/* Half precision by its definition (IEEE 754-2019, 3.4), in double, for the finite values. */
static double base_half(uint32_t h) {
  int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
  double m = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
  return h & 0x8000 ? -m : m;
}

START_TEST(base_half_all) {
  for (uint32_t h = 0; h < 65536; h++) {
    float f = f16_to_f32((uint16_t)h);
    uint16_t back = f32_to_f16(f);
    if ((h & 0x7FFF) > 0x7C00) {
      if (f == f || (back & 0x7FFF) <= 0x7C00 || (back ^ h) & 0x8000) ck_abort_msg("NaN %04x -> %04x", h, back);
      continue;
    }
    float expected = (h & 0x7FFF) == 0x7C00 ? (h & 0x8000 ? -INFINITY : INFINITY) : (float)base_half(h);
    if (f32_bits(f) != f32_bits(expected)) ck_abort_msg("%04x: %a, expected %a", h, (double)f, (double)expected);
    if (back != h) ck_abort_msg("%04x came back as %04x", h, back);
  }
}
END_TEST

/* Between each half and the next: the middle goes to the even one, its float neighbours to the nearer one. */
START_TEST(base_half_rounding) {
  for (uint32_t h = 0; h < 0x7C00; h++) {
    float low = (float)base_half(h), high = h == 0x7BFF ? 65536.0f : (float)base_half(h + 1);
    float middle = low + (high - low) / 2;
    uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
    if (f32_to_f16(middle) != even) ck_abort_msg("the middle above %04x became %04x", h, f32_to_f16(middle));
    if (f32_to_f16(nextafterf(middle, 0)) != h) ck_abort_msg("just below the middle above %04x", h);
    if (f32_to_f16(nextafterf(middle, INFINITY)) != h + 1) ck_abort_msg("just above the middle above %04x", h);
    if (f32_to_f16(-middle) != (even | 0x8000)) ck_abort_msg("-the middle above %04x", h);
  }
  ck_assert_uint_eq(f32_to_f16(1e30f), 0x7C00);
  ck_assert_uint_eq(f32_to_f16(-3.4028235e38f), 0xFC00);
  ck_assert_uint_eq(f32_to_f16(f32_from_bits(1)), 0);
  ck_assert_uint_eq(f32_to_f16(f32_from_bits(0x80000001)), 0x8000);
}
END_TEST

START_TEST(base_bits) {
  for (uint32_t h = 0; h < 65536; h++)
    if (f32_bits(bf16_to_f32((uint16_t)h)) != h << 16) // a signalling NaN may be quieted on its way through a register
      if ((h & 0x7F80) != 0x7F80 || (h & 0x7F) == 0) ck_abort_msg("bf16 %04x", h);
  ck_assert_uint_eq(f32_bits(1.0f), 0x3F800000);
  ck_assert_uint_eq(f32_bits(f32_from_bits(0x80000000)), 0x80000000);
}
END_TEST

START_TEST(base_reserve) {
  struct bk_error e = {0};
  struct arena a = os_reserve(3 << 20, &e);
  ck_assert_ptr_nonnull(a.beg);
  ck_assert_uint_eq((uintptr_t)a.beg & ((2 << 20) - 1), 0);
  ck_assert_uint_ge((size_t)(a.end - a.beg), 3 << 20);
  a.beg[0] = a.end[-1] = 1;
  os_release(a);
  ck_assert_ptr_null(os_reserve(SIZE_MAX, &e).beg);
  test_error(&e, ERR_OS, "out of memory");
  e.code = 0;
  ck_assert_ptr_null(os_reserve(SIZE_MAX - 8191, &e).beg);
  test_error(&e, ERR_OS, "out of memory");
}
END_TEST

static Suite *base_suite(void) {
  Suite *s = suite_create("base");
  TCase *t = tcase_create("base");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, base_compare);
  tcase_add_test(t, base_slice_and_find);
  tcase_add_test(t, base_integers);
  tcase_add_test(t, base_doubles);
  tcase_add_test(t, base_sizes);
  tcase_add_test(t, base_hashes);
  tcase_add_test(t, base_utf8_all);
  tcase_add_test(t, base_utf8_bad);
  tcase_add_test(t, base_arenas);
  tcase_add_test(t, base_buffers);
  tcase_add_test(t, base_errors);
  tcase_add_test(t, base_arithmetic);
  tcase_add_test(t, base_half_all);
  tcase_add_test(t, base_half_rounding);
  tcase_add_test(t, base_bits);
  tcase_add_test(t, base_reserve);
  suite_add_tcase(s, t);
  return s;
}
