/* base.c -- see base.h. Pure functions on bytes; depends on nothing but the C library's memory and formatting.
 * SPDX-License-Identifier: MIT */
#include "base.h"

#include <stdlib.h>

static void base_assert_failed(const char *file, int line, const char *what) {
  fprintf(stderr, "bodkin: bug: %s:%d: %s\n", file, line, what);
  abort();
}

/* ---- strings ---- */

static struct str str_from(const char *terminated) {
  return (struct str){terminated, terminated ? strlen(terminated) : 0};
}

static bool str_eq(struct str a, struct str b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static int str_compare(struct str a, struct str b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

static bool str_is(struct str a, const char *terminated) { return str_eq(a, str_from(terminated)); }

static bool str_eq_any_case(struct str a, struct str b) {
  size_t same = 0;
  while (same < a.len && same < b.len) {
    char x = a.ptr[same], y = b.ptr[same];
    if ((x >= 'A' && x <= 'Z' ? x + 32 : x) != (y >= 'A' && y <= 'Z' ? y + 32 : y)) return false;
    same++;
  }
  return a.len == b.len;
}

static bool str_starts(struct str a, struct str prefix) {
  return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

static bool str_ends(struct str a, struct str suffix) {
  return a.len >= suffix.len && (suffix.len == 0 || memcmp(a.ptr + a.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

static struct str str_slice(struct str a, size_t from, size_t to) {
  if (to > a.len) to = a.len;
  if (from > to) from = to;
  return (struct str){a.ptr ? a.ptr + from : NULL, to - from};
}

static size_t str_find(struct str a, struct str what, size_t from) {
  if (what.len == 0) return from <= a.len ? from : SIZE_MAX;
  while (from < a.len && a.len - from >= what.len) {
    const char *hit = memchr(a.ptr + from, what.ptr[0], a.len - from - what.len + 1);
    if (!hit) return SIZE_MAX;
    from = (size_t)(hit - a.ptr);
    if (memcmp(hit, what.ptr, what.len) == 0) return from;
    from++;
  }
  return SIZE_MAX;
}

static bool str_to_int(struct str a, int64_t *out) {
  size_t i = 0;
  bool negative = a.len > 0 && a.ptr[0] == '-';
  if (negative || (a.len > 0 && a.ptr[0] == '+')) i = 1;
  if (i == a.len) return false;
  uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX, value = 0;
  for (; i < a.len; i++) {
    if (a.ptr[i] < '0' || a.ptr[i] > '9') return false;
    unsigned digit = (unsigned)(a.ptr[i] - '0');
    if (value > (limit - digit) / 10) return false;
    value = value * 10 + digit;
  }
  *out = negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}

/* strtod obeys the locale only after setlocale(), which bodkin never calls; the grammar is checked here because strtod
 * also takes "inf", "nan" and hexadecimal. */
static bool str_to_double(struct str a, double *out) {
  char text[512]; // a decimal longer than this carries no more of a double than its first digits; it is refused
  if (a.len == 0 || a.len >= sizeof text) return false;
  size_t i = a.ptr[0] == '-' || a.ptr[0] == '+', digits = 0;
  while (i < a.len && a.ptr[i] >= '0' && a.ptr[i] <= '9') i++, digits++;
  if (i < a.len && a.ptr[i] == '.') {
    i++;
    while (i < a.len && a.ptr[i] >= '0' && a.ptr[i] <= '9') i++, digits++;
  }
  if (digits == 0) return false;
  if (i < a.len && (a.ptr[i] == 'e' || a.ptr[i] == 'E')) {
    i++;
    if (i < a.len && (a.ptr[i] == '-' || a.ptr[i] == '+')) i++;
    size_t exponent = i;
    while (i < a.len && a.ptr[i] >= '0' && a.ptr[i] <= '9') i++;
    if (i == exponent) return false;
  }
  if (i != a.len) return false;
  memcpy(text, a.ptr, a.len);
  text[a.len] = 0;
  double value = strtod(text, NULL);
  if (!(value >= -1.7976931348623157e308 && value <= 1.7976931348623157e308)) return false;
  *out = value;
  return true;
}

static bool str_to_bytes(struct str a, uint64_t *out) {
  int shift = 0;
  if (a.len > 1 && (str_ends(a, STR("B")) || str_ends(a, STR("b")))) a.len--;
  bool binary = a.len > 1 && str_ends(a, STR("i"));
  if (binary) a.len--;
  if (a.len > 0) switch (a.ptr[a.len - 1]) {
    case 'k': case 'K': shift = 10; break;
    case 'm': case 'M': shift = 20; break;
    case 'g': case 'G': shift = 30; break;
    case 't': case 'T': shift = 40; break;
    default: break;
    }
  if (shift) a.len--;
  if (binary && !shift) return false; // "5i"
  int64_t n;
  if (!str_to_int(a, &n) || n < 0 || (uint64_t)n > (uint64_t)INT64_MAX >> shift) return false;
  *out = (uint64_t)n << shift;
  return true;
}

/* FNV-1a over 8-byte words with a final avalanche (the finaliser of MurmurHash3). */
static uint64_t str_hash(struct str a) {
  uint64_t h = 0xcbf29ce484222325u ^ a.len;
  size_t i = 0;
  for (; a.len - i >= 8; i += 8) {
    uint64_t w;
    memcpy(&w, a.ptr + i, 8);
    h = (h ^ w) * 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
  }
  for (; i < a.len; i++) h = (h ^ (uint8_t)a.ptr[i]) * 0x100000001b3u;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  h ^= h >> 33;
  return h;
}

/* ---- UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF) ---- */

static uint32_t utf8_decode(struct str a, size_t *pos) {
  const uint8_t *p = (const uint8_t *)a.ptr + *pos;
  size_t left = a.len - *pos;
  BK_ASSERT(left > 0);
  if (p[0] < 0x80) {
    *pos += 1;
    return p[0];
  }
  uint32_t code;
  if (p[0] >= 0xC2 && p[0] <= 0xDF && left >= 2 && (p[1] & 0xC0) == 0x80) {
    *pos += 2;
    return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
  }
  if (p[0] >= 0xE0 && p[0] <= 0xEF && left >= 3 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80) {
    code = (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF)) {
      *pos += 3;
      return code;
    }
  }
  if (p[0] >= 0xF0 && p[0] <= 0xF4 && left >= 4 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80 && (p[3] & 0xC0) == 0x80) {
    code = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    if (code >= 0x10000 && code <= 0x10FFFF) {
      *pos += 4;
      return code;
    }
  }
  *pos += 1;
  return UTF8_BAD;
}

static int utf8_encode(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (char)(0xE0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3F));
    out[2] = (char)(0x80 | (code & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | code >> 18);
  out[1] = (char)(0x80 | (code >> 12 & 0x3F));
  out[2] = (char)(0x80 | (code >> 6 & 0x3F));
  out[3] = (char)(0x80 | (code & 0x3F));
  return 4;
}

static bool utf8_valid(struct str a) {
  for (size_t pos = 0; pos < a.len;)
    if (utf8_decode(a, &pos) == UTF8_BAD) return false;
  return true;
}

static size_t utf8_whole(struct str a) {
  for (size_t back = 1; back <= 3 && back <= a.len; back++) {
    uint8_t c = (uint8_t)a.ptr[a.len - back];
    if ((c & 0xC0) == 0x80) continue; // a continuation byte: its lead is further left
    size_t need = c >= 0xF0 && c <= 0xF4 ? 4 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xC2 && c < 0xE0 ? 2 : 1;
    return need > back ? a.len - back : a.len;
  }
  return a.len;
}

/* ---- arenas ---- */

static void *arena_raw(struct arena *a, size_t count, size_t size, size_t align) {
  if (!a->beg) return NULL;
  size_t total, pad = (size_t)(-(uintptr_t)a->beg & (align - 1)), left = (size_t)(a->end - a->beg);
  if (!size_mul(count, size, &total) || pad > left || total > left - pad) return NULL;
  char *p = a->beg + pad;
  a->beg = p + total;
  return p;
}

static void *arena_alloc(struct arena *a, size_t count, size_t size, size_t align) {
  void *p = arena_raw(a, count, size, align);
  return p ? memset(p, 0, count * size) : NULL;
}

static struct str arena_copy(struct arena *a, struct str s) {
  char *p = arena_raw(a, s.len, 1, 1);
  if (!p) return STR_NONE;
  if (s.len) memcpy(p, s.ptr, s.len);
  return (struct str){p, s.len};
}

/* ---- output buffers ---- */

static struct buf buf_new(struct arena *a, size_t cap) {
  char *p = arena_raw(a, cap, 1, 1);
  return (struct buf){p, 0, p ? cap : 0, false};
}

static void buf_put(struct buf *b, struct str s) {
  size_t n = s.len;
  if (n > b->cap - b->len) {
    n = b->cap - b->len;
    b->full = true;
  }
  if (n) memcpy(b->ptr + b->len, s.ptr, n);
  b->len += n;
}

static void buf_byte(struct buf *b, char c) { buf_put(b, (struct str){&c, 1}); }

static void buf_printf(struct buf *b, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n < 0) return;
  if ((size_t)n >= sizeof text) {
    n = (int)sizeof text - 1;
    b->full = true;
  }
  buf_put(b, (struct str){text, (size_t)n});
}

static struct str buf_str(const struct buf *b) { return (struct str){b->ptr, b->len}; }

/* ---- errors ---- */

static bool err_set(struct bk_error *e, int code, const char *format, ...) {
  if (!e || e->code) return false;
  e->code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(e->message, sizeof e->message, format, args);
  va_end(args);
  e->message[utf8_whole(str_from(e->message))] = 0;
  struct str text = str_from(e->message);
  for (size_t at = 0, next = 0; at < text.len; at = next) { // a name out of a hostile file must not steer a terminal
    uint32_t c = utf8_decode(text, &next);
    if (c < 32 || (c >= 127 && c < 160) || c == UTF8_BAD) memset(e->message + at, '?', next - at);
  }
  return false;
}

static void err_prefix(struct bk_error *e, const char *name) {
  struct bk_error inner = *e;
  if (e->code != ERR_DATA || str_starts(str_from(e->message), str_from(name))) return;
  memset(e, 0, sizeof *e);
  err_set(e, inner.code, "%.200s: %.300s", name, inner.message);
}

/* ---- checked arithmetic ---- */

static bool size_add(size_t a, size_t b, size_t *out) {
  *out = a + b;
  return a <= SIZE_MAX - b;
}

static bool size_mul(size_t a, size_t b, size_t *out) {
  *out = a * b;
  return b == 0 || a <= SIZE_MAX / b;
}

static size_t size_align(size_t n, size_t align) { return (n + align - 1) & ~(align - 1); }

/* ---- half precision ---- */

static float f16_to_f32(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7FFFu) << 13;
  if (rest >= 31u << 23) return f32_from_bits(sign | 0x70000000u | rest); // infinity, NaN
  return f32_from_bits(sign | f32_bits(f32_from_bits(rest) * 5.192296858534828e33f)); // 2^112: the exponents' biases differ
}

static uint16_t f32_to_f16(float f) {
  uint32_t u = f32_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7FFFFFFFu;
  if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | (a >> 13 & 0x3FFu)); // NaN stays NaN, quiet
  if (a >= 0x47800000u) return (uint16_t)(sign | 0x7C00u);                     // >= 65536, and infinity
  if (a < 0x38800000u) { // below the smallest normal half, 2^-14: adding 0.5 aligns the mantissa and rounds it
    float m = f32_from_bits(a) + 0.5f;
    return (uint16_t)(sign | (f32_bits(m) - 0x3F000000u));
  }
  a += 0xFFFu + (a >> 13 & 1u); // to nearest, ties to even; may carry into the exponent, up to infinity
  return (uint16_t)(sign | (a - 0x38000000u) >> 13);
}

static float bf16_to_f32(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }
