/* arrow.c -- vectors as an Arrow IPC stream: a schema, then batches of rows (index, tokens, embedding), then an end. Pure
 * functions on bytes; only what stands before a batch's columns is made here, whoever has the columns writes them.
 *
 * After "Arrow Columnar Format" (IPC, encapsulated messages) and FlatBuffers' internals: a table points back to its vtable
 * and forward to its children, which therefore follow it and are pointed to when their place is known.
 * SPDX-License-Identifier: MIT */

enum { ARROW_FIELDS = 8, ARROW_HEAD = 4096, ARROW_V5 = 4 }; // ARROW_HEAD: bytes of a message's head at most
enum { ARROW_SCHEMA = 1, ARROW_BATCH = 3 };                // MessageHeader
enum { ARROW_INT = 2, ARROW_FLOAT = 3, ARROW_FIXED_LIST = 16 }; // Type

struct arrow_item { // an element of a vector
  int bits;
  bool is_float, is_signed;
};

struct arrow_pair {
  const char *key;
  struct str value;
};

static void arrow_align(struct buf *b, size_t align, size_t ahead) { // until b->len + ahead is a multiple
  while ((b->len + ahead) % align && !b->full) buf_byte(b, 0);
}

static void arrow_number(struct buf *b, int64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) buf_byte(b, (char)(value >> (8 * i)));
}

/* A table whose field i takes sizes[i] - '0' bytes (0: absent) and holds values[i]; at[i] is where it stands. */
static void arrow_table(struct buf *b, const char *sizes, const int64_t *values, size_t *at) {
  const int n = (int)strlen(sizes), head = 4 + 2 * n;
  size_t offsets[ARROW_FIELDS], end = 4;
  for (int i = 0; i < n; i++) {
    const size_t size = (size_t)(sizes[i] - '0');
    offsets[i] = size ? size_align(end, size) : 0;
    if (size) end = offsets[i] + size;
  }
  arrow_align(b, 8, (size_t)head); // so that the table itself is aligned
  arrow_number(b, head, 2);
  arrow_number(b, (int64_t)end, 2);
  for (int i = 0; i < n; i++) arrow_number(b, (int64_t)offsets[i], 2);
  const size_t table = b->len;
  arrow_number(b, head, 4);
  for (int i = 0; i < n; i++) {
    if (sizes[i] == '0') continue;
    while (b->len < table + offsets[i] && !b->full) buf_byte(b, 0);
    if (at) at[i] = b->len;
    arrow_number(b, values[i], sizes[i] - '0');
  }
}

/* What is written next is what the four bytes at `at` point to. */
static void arrow_point(struct buf *b, size_t at, size_t to) {
  for (int i = 0; i < 4 && !b->full; i++) b->ptr[at + (size_t)i] = (char)((to - at) >> (8 * i));
}

/* Where the table that arrow_table writes next will begin, with n fields. */
static size_t arrow_next(const struct buf *b, int n) { return size_align(b->len + 4 + 2 * (size_t)n, 8); }

static void arrow_string(struct buf *b, size_t at, struct str s) {
  arrow_align(b, 4, 0);
  arrow_point(b, at, b->len);
  arrow_number(b, (int64_t)s.len, 4);
  buf_put(b, s);
  buf_byte(b, 0);
}

/* A vector of n offsets, to be pointed: the place of the first. */
static size_t arrow_offsets(struct buf *b, size_t at, int n) {
  arrow_align(b, 4, 0);
  arrow_point(b, at, b->len);
  arrow_number(b, n, 4);
  for (int i = 0; i < n; i++) arrow_number(b, 0, 4);
  return b->len - 4 * (size_t)n;
}

/* The start of a message up to the table of its header; the place of the offset to that. */
static size_t arrow_message(struct buf *b, int kind, int64_t body) {
  size_t at[4];
  arrow_number(b, 0, 4);
  arrow_point(b, 0, arrow_next(b, 4));
  arrow_table(b, "2148", (const int64_t[]){ARROW_V5, kind, 0, body}, at);
  return at[2];
}

/* A column: its name, its type, its child if it is a list of n. */
static void arrow_field(struct buf *b, size_t from, const char *name, struct arrow_item item, int n) {
  size_t at[6], type[2];
  const int kind = n ? ARROW_FIXED_LIST : item.is_float ? ARROW_FLOAT : ARROW_INT;
  arrow_point(b, from, arrow_next(b, 6));
  arrow_table(b, "411404", (const int64_t[]){0, 0, kind, 0, 0, 0}, at); // name, nullable, type_type, type, dictionary, children
  arrow_string(b, at[0], str_from(name));
  arrow_point(b, at[3], arrow_next(b, kind == ARROW_INT ? 2 : 1));
  if (kind == ARROW_INT) arrow_table(b, "41", (const int64_t[]){item.bits, item.is_signed}, type);
  else if (kind == ARROW_FLOAT) arrow_table(b, "2", (const int64_t[]){item.bits / 32}, type); // HALF 0, SINGLE 1
  else arrow_table(b, "4", (const int64_t[]){n}, type);
  size_t children = arrow_offsets(b, at[5], n > 0);
  if (n) arrow_field(b, children, "item", item, 0);
}

/* The stream's first message, without what stands before every message. */
static void arrow_schema(struct buf *b, struct arrow_item item, int n, const struct arrow_pair *pairs, int n_pairs) {
  size_t at[3], pair[2];
  size_t header = arrow_message(b, ARROW_SCHEMA, 0);
  arrow_point(b, header, arrow_next(b, 3));
  arrow_table(b, "244", (const int64_t[]){0, 0, 0}, at); // little-endian, fields, metadata
  size_t fields = arrow_offsets(b, at[1], 3);
  arrow_field(b, fields, "index", (struct arrow_item){64, false, true}, 0);
  arrow_field(b, fields + 4, "tokens", (struct arrow_item){32, false, true}, 0);
  arrow_field(b, fields + 8, "embedding", item, n);
  size_t list = arrow_offsets(b, at[2], n_pairs);
  for (int i = 0; i < n_pairs; i++) {
    arrow_point(b, list + 4 * (size_t)i, arrow_next(b, 2));
    arrow_table(b, "44", (const int64_t[]){0, 0}, pair);
    arrow_string(b, pair[0], str_from(pairs[i].key));
    arrow_string(b, pair[1], pairs[i].value);
  }
}

/* Bytes that a column takes in a batch's body. */
static size_t arrow_column(size_t bytes) { return size_align(bytes, 8); }

/* The head of a batch whose body is columns of index (8 bytes), tokens (4 bytes) and vectors of `bytes` with n elements,
 * each padded to arrow_column. */
static void arrow_batch(struct buf *b, int64_t rows, int n, size_t bytes) {
  const size_t columns[3] = {8 * (size_t)rows, 4 * (size_t)rows, bytes * (size_t)rows};
  const int64_t nodes[4] = {rows, rows, rows, rows * n};
  const int column[7] = {-1, 0, -1, 1, -1, -1, 2}; // of each buffer; -1: which values are there: all
  size_t at[3], body = 0, start = 0;
  for (int i = 0; i < 3; i++) body += arrow_column(columns[i]);
  size_t header = arrow_message(b, ARROW_BATCH, (int64_t)body);
  arrow_point(b, header, arrow_next(b, 3));
  arrow_table(b, "844", (const int64_t[]){rows, 0, 0}, at); // length, nodes, buffers
  arrow_align(b, 8, 4);
  arrow_point(b, at[1], b->len);
  arrow_number(b, 4, 4);
  for (int i = 0; i < 4; i++) arrow_number(b, nodes[i], 8), arrow_number(b, 0, 8); // length, nulls
  arrow_align(b, 8, 4);
  arrow_point(b, at[2], b->len);
  arrow_number(b, 7, 4);
  for (int i = 0; i < 7; i++) {
    size_t length = column[i] < 0 ? 0 : columns[column[i]];
    arrow_number(b, (int64_t)start, 8), arrow_number(b, (int64_t)length, 8);
    start += arrow_column(length);
  }
}

/* A message as it stands in the stream: continuation mark, length, head, padding. */
static bool arrow_write(FILE *out, const struct buf *b) {
  struct buf mark = {(char[8]){0}, 0, 8, false};
  static const char zeros[8];
  const size_t padded = size_align(b->len, 8);
  arrow_number(&mark, -1, 4);
  arrow_number(&mark, (int64_t)padded, 4);
  return !b->full && fwrite(mark.ptr, 1, 8, out) == 8 && fwrite(b->ptr, 1, b->len, out) == b->len &&
         fwrite(zeros, 1, padded - b->len, out) == padded - b->len;
}

static bool arrow_end(FILE *out) { return fwrite("\xFF\xFF\xFF\xFF\0\0\0\0", 1, 8, out) == 8; }
