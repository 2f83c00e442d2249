/* base.h -- what every other file stands on: byte strings, arenas, output buffers, errors, checked arithmetic.
 *
 * Nothing here touches the operating system. Memory comes from an arena that somebody else reserved (os.h); nothing is
 * ever freed one by one: an arena passed by value is scratch that ends with the function, one passed by pointer keeps.
 * SPDX-License-Identifier: MIT */
#ifndef BASE_H
#define BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bodkin.h"

#define BASE_CAT2(a, b) a##_##b
#define BASE_CAT(a, b) BASE_CAT2(a, b)
#define BASE_STRING2(...) #__VA_ARGS__
#define BASE_STRING(...) BASE_STRING2(__VA_ARGS__)
#define ARRAY_LEN(a) ((int)(sizeof(a) / sizeof((a)[0])))
/* A compile-time assertion in C99: a negative array size is an error. */
#define ASSERT_SIZE(type, bytes) typedef char BASE_CAT(type, has_the_right_size)[sizeof(struct type) == (bytes) ? 1 : -1]

#if defined(__GNUC__)
#define BASE_PRINTF(at, first) __attribute__((format(printf, at, first)))
#define BASE_NORETURN __attribute__((noreturn))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define SMALL static __attribute__((cold)) // seldom run: small beats fast
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone)) // nor a copy of it for every constant that is passed
#endif
#else
#define BASE_PRINTF(at, first)
#define BASE_NORETURN
#define ALWAYS_INLINE static inline
#define NOINLINE
#define SMALL static
#endif

/* ---- assertions: our bugs, never their input ---- */
BASE_NORETURN static void base_assert_failed(const char *file, int line, const char *what);
#define BK_ASSERT(condition) ((condition) ? (void)0 : base_assert_failed(__FILE__, __LINE__, #condition))

/* ---- strings: bytes and a length, not terminated, never owned ---- */
struct str {
  const char *ptr; // len bytes, any value, NUL included
  size_t len;
};
#define STR(literal) ((struct str){"" literal "", sizeof(literal) - 1})
#define STR_NONE ((struct str){0, 0})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)((s).len > 200 ? 200 : (s).len), ((s).ptr ? (s).ptr : "")

static struct str str_from(const char *terminated); // view of a C string; NULL gives an empty one
static bool str_eq(struct str a, struct str b);
static int str_compare(struct str a, struct str b); // bytewise, a prefix first: < 0, 0, > 0
static bool str_is(struct str a, const char *terminated);
static bool str_eq_any_case(struct str a, struct str b);               // letters of ASCII
static bool str_starts(struct str a, struct str prefix);
static bool str_ends(struct str a, struct str suffix);
static struct str str_slice(struct str a, size_t from, size_t to);    // clamped to the string
static size_t str_find(struct str a, struct str what, size_t from);   // SIZE_MAX if absent
static bool str_to_int(struct str a, int64_t *out);                   // decimal, whole string, false on overflow
static bool str_to_double(struct str a, double *out);                 // decimal, whole string, finite, no locale
static bool str_to_bytes(struct str a, uint64_t *out);                // "512M", "4G", "65536": a size in bytes
static uint64_t str_hash(struct str a);                               // 64 bits, well mixed; not for adversaries

/* ---- UTF-8 ---- */
#define UTF8_BAD 0xFFFFFFFFu
static uint32_t utf8_decode(struct str a, size_t *pos); // next code point, strict; UTF8_BAD consumes one byte
static int utf8_encode(uint32_t code, char out[4]);     // number of bytes, 1..4
static bool utf8_valid(struct str a);
static size_t utf8_whole(struct str a);                 // length without an incomplete sequence at its end (at most 3 bytes less)

/* ---- arenas ---- */
struct arena {
  char *beg, *end; // free memory; beg moves up
};
/* count * size zeroed bytes at `align` (a power of two), or NULL if they do not fit or the product overflows. */
static void *arena_alloc(struct arena *a, size_t count, size_t size, size_t align);
/* The same, but what is in it is left as it is: for large memory that is written before it is read. */
static void *arena_raw(struct arena *a, size_t count, size_t size, size_t align);
#define ARENA_NEW(arena, type, count) ((type *)arena_alloc((arena), (count), sizeof(type), 16))
static struct str arena_copy(struct arena *a, struct str s); // {NULL,0} if it does not fit and s is not empty

/* ---- output buffers: fixed memory, a sticky flag when it was too small ---- */
struct buf {
  char *ptr; // cap bytes
  size_t len, cap;
  bool full; // something did not fit; what is there is a prefix
};
static struct buf buf_new(struct arena *a, size_t cap); // cap 0 on failure: every put then sets full
static void buf_put(struct buf *b, struct str s);
static void buf_byte(struct buf *b, char c);
static void buf_printf(struct buf *b, const char *format, ...) BASE_PRINTF(2, 3);
static struct str buf_str(const struct buf *b);

/* ---- errors: the first one wins, one sentence: which object, what was found, what was expected ---- */
enum { // sysexits; a bk_error's code is the exit code of the program
  ERR_USAGE = 64, ERR_DATA = 65, ERR_NOINPUT = 66, ERR_UNAVAILABLE = 69, ERR_BUG = 70, ERR_OS = 71, ERR_IO = 74,
  ERR_BUSY = 75, ERR_PERMISSION = 77
};
static bool err_set(struct bk_error *e, int code, const char *format, ...) BASE_PRINTF(3, 4); // always returns false
static void err_prefix(struct bk_error *e, const char *name); // puts "name: " before what is wrong with data, unless it is there

/* ---- checked arithmetic on sizes from outside: false on overflow ---- */
static bool size_add(size_t a, size_t b, size_t *out);
static bool size_mul(size_t a, size_t b, size_t *out);
static size_t size_align(size_t n, size_t align); // up; align is a power of two; n is a size of ours, not theirs

/* ---- half precision, exact both ways except for the rounding of float to half (to nearest even) ---- */
static float f16_to_f32(uint16_t h);
static uint16_t f32_to_f16(float f);
static float bf16_to_f32(uint16_t h);
ALWAYS_INLINE uint32_t f32_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}
ALWAYS_INLINE float f32_from_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

#endif
