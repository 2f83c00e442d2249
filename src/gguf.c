/* gguf.c -- bytes of a GGUF file -> keys and tensors. Versions 2 and 3, little-endian, split files.
 *
 * Nothing is copied and nothing is trusted: every name and value is a view into the map, every count is bounded by the
 * bytes that are left before it sizes anything, every offset is compared with the size that fstat gave. After gguf_open
 * each tensor's bytes lie inside its file, its dimensions are 1 .. 2^31-1 and its byte count has not overflowed.
 * Format: ggml's docs/gguf.md. Owns the maps until gguf_close (not the bytes of gguf_open_memory); views die with them.
 * SPDX-License-Identifier: MIT */

enum gguf_type { // metadata value types
  GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64,
  GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT
};
static const uint8_t gguf_type_bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}; // 0: variable
static const char gguf_type_names[GGUF_TYPE_COUNT][8] = {
  "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

enum {
  GGUF_MAX_KEY = 64 << 10,         // bytes of a key, a tensor's name, a token
  GGUF_MAX_STRING = 16 << 20,      // bytes of any string
  GGUF_MAX_TENSORS = 1 << 20,
  GGUF_MAX_KEYS = 1 << 16,
  GGUF_MAX_SPLITS = 999,
  GGUF_MIN_KEY_RECORD = 13,        // empty name (8), type (4), one byte of value
  GGUF_MIN_TENSOR_RECORD = 32      // empty name (8), n_dims (4), one dimension (8), type (4), offset (8)
};

struct gguf_value {
  enum gguf_type type;  // of the value; of the elements if it is an array
  bool is_array;
  uint64_t count;       // elements of an array, else 1
  struct str bytes;     // the value's bytes; strings of an array lie one after the other, each behind its length (u64)
};

struct gguf_key {
  struct str name;
  struct gguf_value value;
};

struct gguf_tensor {
  struct str name;
  int n_dims;          // 1..4
  uint64_t dim[4];     // dim[0] runs fastest in memory; 1 where there is none
  uint32_t type;       // ggml's number; quant.h knows which are supported
  uint64_t offset;     // bytes, from the start of the data section of its file
  int file;            // index into gguf.files
  const char *data;    // set once the type's size is known: gguf_locate; else NULL
  size_t n_bytes;
};

struct gguf {
  struct os_file files[GGUF_MAX_SPLITS];
  size_t data_start[GGUF_MAX_SPLITS]; // bytes, aligned
  int n_files;
  bool borrowed;               // files[0] is the caller's memory
  struct gguf_key *keys;       // (n_keys), in the file's order
  int n_keys;
  struct gguf_tensor *tensors; // (n_tensors), in the files' order
  int n_tensors;
  int *index;                  // (index_size) open addressing over tensors by name; -1 is free
  uint32_t index_size;         // a power of two
  uint32_t version;
  uint64_t alignment;          // bytes
};

/* ---- the cursor: the first error sticks, afterwards everything reads as zero ---- */

struct gguf_cursor {
  const char *ptr;
  size_t size, pos;
  struct bk_error *error;
  const char *path;
  int part; // of a split file, from 0
};

static bool gguf_failed(const struct gguf_cursor *c) { return c->error->code != 0; }

static struct str gguf_take(struct gguf_cursor *c, uint64_t n, const char *what) {
  if (gguf_failed(c)) return STR_NONE;
  if (c->pos > c->size || n > c->size - c->pos) {
    err_set(c->error, ERR_DATA, "%s: %s at offset %zu needs %llu bytes, only %zu are left: the file is cut short or damaged",
            c->path, what, c->pos, (unsigned long long)n, c->size - c->pos);
    return STR_NONE;
  }
  struct str s = {c->ptr + c->pos, (size_t)n};
  c->pos += (size_t)n;
  return s;
}

static uint64_t gguf_take_uint(struct gguf_cursor *c, int bytes, const char *what) {
  struct str s = gguf_take(c, (uint64_t)bytes, what);
  uint64_t v = 0;
  for (size_t i = 0; i < s.len; i++) v |= (uint64_t)(uint8_t)s.ptr[i] << (8 * i); // the format is little-endian
  return v;
}

static struct str gguf_take_string(struct gguf_cursor *c, uint64_t limit, const char *what) {
  uint64_t len = gguf_take_uint(c, 8, what);
  if (len > limit && !gguf_failed(c)) {
    err_set(c->error, ERR_DATA, "%s: %s at offset %zu is %llu bytes long, at most %llu expected", c->path, what, c->pos - 8,
            (unsigned long long)len, (unsigned long long)limit);
    return STR_NONE;
  }
  return gguf_take(c, len, what);
}

static struct str gguf_take_name(struct gguf_cursor *c, const char *what) {
  struct str name = gguf_take_string(c, GGUF_MAX_KEY, what);
  if (!gguf_failed(c) && name.len == 0) err_set(c->error, ERR_DATA, "%s: %s at offset %zu is empty", c->path, what, c->pos);
  if (name.len && memchr(name.ptr, 0, name.len))
    err_set(c->error, ERR_DATA, "%s: %s \"" STR_FMT "\" contains a NUL byte", c->path, what, STR_ARG(name));
  return name;
}

/* ---- metadata ---- */

static void gguf_read_value(struct gguf_cursor *c, struct str key, struct gguf_value *v) {
  uint64_t type = gguf_take_uint(c, 4, "the type of a key");
  uint64_t count = 1;
  *v = (struct gguf_value){GGUF_U8, type == GGUF_ARRAY, 1, STR_NONE};
  if (type == GGUF_ARRAY) {
    type = gguf_take_uint(c, 4, "the element type of an array");
    count = gguf_take_uint(c, 8, "the length of an array");
  }
  if (gguf_failed(c)) return;
  if (type >= GGUF_TYPE_COUNT || type == GGUF_ARRAY) {
    err_set(c->error, ERR_DATA, "%s: key " STR_FMT " has type %llu, expected 0..12%s", c->path, STR_ARG(key),
            (unsigned long long)type, v->is_array ? " and no array inside an array" : "");
    return;
  }
  v->type = (enum gguf_type)type;
  v->count = count;
  size_t each = gguf_type_bytes[type], start = c->pos, left = c->size - c->pos;
  if (count > left / (each ? each : 8)) {
    err_set(c->error, ERR_DATA, "%s: key " STR_FMT " claims %llu elements, only %zu bytes are left", c->path, STR_ARG(key),
            (unsigned long long)count, left);
    return;
  }
  if (each) {
    v->bytes = gguf_take(c, count * each, "a value");
    return;
  }
  for (uint64_t i = 0; i < count && !gguf_failed(c); i++) gguf_take_string(c, GGUF_MAX_STRING, "a string");
  v->bytes = (struct str){c->ptr + start, c->pos - start};
}

static const struct gguf_value *gguf_find(const struct gguf *g, struct str name) {
  for (int i = 0; i < g->n_keys; i++)
    if (str_eq(g->keys[i].name, name)) return &g->keys[i].value;
  return NULL;
}

static uint64_t gguf_uint_at(const struct gguf_value *v, uint64_t i) {
  size_t each = gguf_type_bytes[v->type];
  uint64_t x = 0;
  memcpy(&x, v->bytes.ptr + i * each, each); // bodkin refuses big-endian machines: gguf_open
  return x;
}

/* Element i of a value as an integer; false if it is no integer of the value's range or i is out of range. */
static bool gguf_int(const struct gguf_value *v, uint64_t i, int64_t *out) {
  if (!v || i >= v->count) return false;
  uint64_t x = v->type == GGUF_STRING ? 0 : gguf_uint_at(v, i);
  switch (v->type) {
  case GGUF_U8: case GGUF_U16: case GGUF_U32: *out = (int64_t)x; return true;
  case GGUF_BOOL: *out = x != 0; return true;
  case GGUF_I8: *out = (int8_t)x; return true;
  case GGUF_I16: *out = (int16_t)x; return true;
  case GGUF_I32: *out = (int32_t)x; return true;
  case GGUF_I64: *out = (int64_t)x; return true;
  case GGUF_U64: *out = (int64_t)x; return x <= INT64_MAX;
  default: return false;
  }
}

/* Element i as a float; false if it is no number or not finite. */
static bool gguf_float(const struct gguf_value *v, uint64_t i, double *out) {
  int64_t n;
  if (!v || i >= v->count) return false;
  if (v->type == GGUF_F32) {
    float f;
    memcpy(&f, v->bytes.ptr + i * sizeof f, sizeof f);
    *out = (double)f;
  } else if (v->type == GGUF_F64) {
    memcpy(out, v->bytes.ptr + i * sizeof *out, sizeof *out);
  } else {
    if (v->type == GGUF_BOOL || !gguf_int(v, i, &n)) return false;
    *out = (double)n;
  }
  return *out - *out == 0; // false for infinities and NaN
}

/* A single string; false if the value is none. */
static bool gguf_string(const struct gguf_value *v, struct str *out) {
  if (!v || v->type != GGUF_STRING || v->is_array) return false;
  *out = str_slice(v->bytes, 8, v->bytes.len);
  return true;
}

/* Walks the strings of an array: start with *at = 0; false at the end. Lengths were checked when the file was opened. */
static bool gguf_next_string(const struct gguf_value *v, size_t *at, struct str *out) {
  if (v->type != GGUF_STRING || *at >= v->bytes.len) return false;
  uint64_t len;
  memcpy(&len, v->bytes.ptr + *at, sizeof len);
  *out = (struct str){v->bytes.ptr + *at + 8, (size_t)len};
  *at += 8 + (size_t)len;
  return true;
}

/* ---- tensors ---- */

static uint32_t gguf_slot(const struct gguf *g, struct str name) {
  uint32_t i = (uint32_t)str_hash(name) & (g->index_size - 1);
  while (g->index[i] >= 0 && !str_eq(g->tensors[g->index[i]].name, name)) i = (i + 1) & (g->index_size - 1);
  return i;
}

static struct gguf_tensor *gguf_tensor(const struct gguf *g, struct str name) {
  if (g->index_size == 0) return NULL;
  int i = g->index[gguf_slot(g, name)];
  return i < 0 ? NULL : &g->tensors[i];
}

static void gguf_read_tensor(struct gguf_cursor *c, struct gguf_tensor *t) {
  t->name = gguf_take_name(c, "a tensor's name");
  uint64_t n_dims = gguf_take_uint(c, 4, "a tensor's number of dimensions");
  if (!gguf_failed(c) && (n_dims < 1 || n_dims > 4))
    err_set(c->error, ERR_DATA, "%s: tensor " STR_FMT " has %llu dimensions, expected 1 to 4", c->path, STR_ARG(t->name),
            (unsigned long long)n_dims);
  if (gguf_failed(c)) return;
  t->n_dims = (int)n_dims;
  for (int i = 0; i < 4; i++) {
    t->dim[i] = i < t->n_dims ? gguf_take_uint(c, 8, "a tensor's dimension") : 1;
    if (!gguf_failed(c) && (t->dim[i] < 1 || t->dim[i] > INT32_MAX))
      err_set(c->error, ERR_DATA, "%s: tensor " STR_FMT ": dimension %d is %llu, expected 1 to 2147483647", c->path,
              STR_ARG(t->name), i, (unsigned long long)t->dim[i]);
  }
  t->type = (uint32_t)gguf_take_uint(c, 4, "a tensor's type");
  t->offset = gguf_take_uint(c, 8, "a tensor's offset");
}

/* The only place where dimensions become bytes. `block` weights take `block_bytes` bytes. Sets data and n_bytes.
 * Error: rows that are no whole number of blocks, an overflow, an end past the end of the file. */
static bool gguf_locate(const struct gguf *g, struct gguf_tensor *t, size_t block, size_t block_bytes, struct bk_error *e) {
  size_t bytes;
  bool ok = t->dim[0] % block == 0 && size_mul((size_t)(t->dim[0] / block), block_bytes, &bytes);
  for (int i = 1; ok && i < 4; i++) ok = size_mul(bytes, (size_t)t->dim[i], &bytes);
  if (!ok)
    return err_set(e, ERR_DATA, "tensor " STR_FMT ": rows of %llu weights, expected a multiple of %zu and a total that fits",
                   STR_ARG(t->name), (unsigned long long)t->dim[0], block);
  size_t size = g->files[t->file].size, start = g->data_start[t->file], left = size - start; // start <= size
  if (t->offset > left || bytes > left - t->offset)
    return err_set(e, ERR_DATA, "tensor " STR_FMT ": %zu bytes at offset %llu of the data, which has only %zu: the file is cut short",
                   STR_ARG(t->name), bytes, (unsigned long long)t->offset, left);
  t->data = g->files[t->file].ptr + start + t->offset;
  t->n_bytes = bytes;
  return true;
}

/* ---- files ---- */

static bool gguf_read_keys(struct gguf *g, struct gguf_cursor *c, uint64_t n, struct arena *a) {
  struct gguf_key *keys = ARENA_NEW(a, struct gguf_key, (size_t)n);
  if (!keys && n) return err_set(c->error, ERR_OS, "%s: no memory for %llu keys", c->path, (unsigned long long)n);
  for (uint64_t i = 0; i < n && !gguf_failed(c); i++) {
    keys[i].name = gguf_take_name(c, "a key");
    gguf_read_value(c, keys[i].name, &keys[i].value);
  }
  if (gguf_failed(c)) return false;
  if (c->part == 0) {
    g->keys = keys;
    g->n_keys = (int)n;
  }
  struct gguf view = {.keys = keys, .n_keys = (int)n};
  const struct gguf_value *v = gguf_find(&view, STR("general.alignment"));
  int64_t alignment = 32;
  if (v && (v->type != GGUF_U32 || v->is_array || !gguf_int(v, 0, &alignment) || alignment < 8 || alignment > 65536 ||
            (alignment & (alignment - 1))))
    return err_set(c->error, ERR_DATA, "%s: key general.alignment must be a u32, a power of two, 8 to 65536", c->path);
  g->alignment = (uint64_t)alignment;
  int64_t part = c->part;
  gguf_int(gguf_find(&view, STR("split.no")), 0, &part);
  if (c->part > 0 && part != c->part)
    return err_set(c->error, ERR_DATA, "%s: says that it is part %lld, expected part %d: the parts are mixed up", c->path,
                   (long long)part + 1, c->part + 1);
  return true;
}

static bool gguf_read_tensors(struct gguf *g, struct gguf_cursor *c, uint64_t n, struct arena *a) {
  int total = g->n_tensors + (int)n;
  struct gguf_tensor *all = ARENA_NEW(a, struct gguf_tensor, (size_t)total + 1);
  if (!all) return err_set(c->error, ERR_OS, "%s: no memory for %d tensors", c->path, total);
  if (g->n_tensors) memcpy(all, g->tensors, sizeof *all * (size_t)g->n_tensors);
  for (int i = g->n_tensors; i < total && !gguf_failed(c); i++) {
    gguf_read_tensor(c, &all[i]);
    all[i].file = c->part;
    if (!gguf_failed(c) && all[i].offset % g->alignment != 0)
      err_set(c->error, ERR_DATA, "%s: tensor " STR_FMT ": offset %llu, expected a multiple of the alignment %llu", c->path,
              STR_ARG(all[i].name), (unsigned long long)all[i].offset, (unsigned long long)g->alignment);
  }
  if (gguf_failed(c)) return false;
  g->tensors = all;
  g->n_tensors = total;
  return true;
}

/* Reads files[n_files], whose bytes are there, and counts it. */
static bool gguf_parse(struct gguf *g, const char *path, struct arena *a, struct bk_error *e) {
  int part = g->n_files++;
  struct os_file f = g->files[part];
  if (f.size == 0) return err_set(e, ERR_DATA, "%s: the file is empty, expected a GGUF model", path);
  struct gguf_cursor c = {f.ptr, f.size, 0, e, path, part};
  if (f.size < 4 || memcmp(f.ptr, "GGUF", 4) != 0)
    return err_set(e, ERR_DATA, "%s: not a GGUF file (it does not begin with \"GGUF\")", path);
  c.pos = 4;
  uint32_t version = (uint32_t)gguf_take_uint(&c, 4, "the version");
  if (!gguf_failed(&c) && version != 2 && version != 3)
    return err_set(e, ERR_DATA, "%s: GGUF version %u%s, expected 2 or 3", path, version,
                   version > 0xFFFF ? " (a big-endian file?)" : "");
  uint64_t n_tensors = gguf_take_uint(&c, 8, "the number of tensors"), n_keys = gguf_take_uint(&c, 8, "the number of keys");
  if (gguf_failed(&c)) return false;
  size_t left = c.size - c.pos;
  if (n_keys > left / GGUF_MIN_KEY_RECORD || n_keys > GGUF_MAX_KEYS)
    return err_set(e, ERR_DATA, "%s: %llu keys claimed, more than the file can hold", path, (unsigned long long)n_keys);
  if (n_tensors > left / GGUF_MIN_TENSOR_RECORD || n_tensors > (uint64_t)(GGUF_MAX_TENSORS - g->n_tensors))
    return err_set(e, ERR_DATA, "%s: %llu tensors claimed, more than the file can hold", path, (unsigned long long)n_tensors);
  if (!gguf_read_keys(g, &c, n_keys, a) || !gguf_read_tensors(g, &c, n_tensors, a)) return false;
  size_t start = size_align(c.pos, (size_t)g->alignment);
  g->data_start[part] = start < f.size ? start : f.size; // a vocabulary-only file ends with its header
  g->version = version;
  return true;
}

/* Where a name belongs in the index, for as long as there is budget: names chosen to collide must not cost n * n steps. */
static uint32_t gguf_place(const struct gguf *g, struct str name, bool keys, size_t *budget) {
  uint32_t at = (uint32_t)str_hash(name) & (g->index_size - 1);
  for (; g->index[at] >= 0 && *budget > 0; at = (at + 1) & (g->index_size - 1), --*budget)
    if (str_eq(keys ? g->keys[g->index[at]].name : g->tensors[g->index[at]].name, name)) break;
  return at;
}

/* Duplicate names would let a check see one value and the user another. */
static bool gguf_index(struct gguf *g, const char *path, struct arena *a, struct bk_error *e) {
  g->index_size = 4;
  while (g->index_size < 2u * (uint32_t)(g->n_tensors > g->n_keys ? g->n_tensors : g->n_keys)) g->index_size *= 2;
  g->index = ARENA_NEW(a, int, g->index_size);
  if (!g->index) return err_set(e, ERR_OS, "%s: no memory for the index of tensors", path);
  for (int pass = 0; pass < 2; pass++) { // first the keys, to find duplicates, then the tensors
    bool keys = pass == 0;
    int n = keys ? g->n_keys : g->n_tensors;
    size_t budget = 64u * (size_t)n + 4096; // at half load a name is found after about two steps
    memset(g->index, -1, sizeof *g->index * g->index_size);
    for (int i = 0; i < n; i++) {
      struct str name = keys ? g->keys[i].name : g->tensors[i].name;
      uint32_t at = gguf_place(g, name, keys, &budget);
      if (budget == 0) return err_set(e, ERR_DATA, "%s: names were chosen to collide, near " STR_FMT, path, STR_ARG(name));
      if (g->index[at] >= 0)
        return err_set(e, ERR_DATA, "%s: %s " STR_FMT " appears twice", path, keys ? "key" : "tensor", STR_ARG(name));
      g->index[at] = i;
    }
  }
  return true;
}

static void gguf_close(struct gguf *g) {
  for (int i = 0; i < g->n_files && !g->borrowed; i++) os_unmap(&g->files[i]);
  g->n_files = 0;
}

static bool gguf_read_file(struct gguf *g, const char *path, struct arena *a, struct bk_error *e) {
  return os_map(path, &g->files[g->n_files], e) && gguf_parse(g, path, a, e);
}

/* The other parts of a split model lie beside the first one (-00001-of-0000N.gguf): their names are computed from the
 * name the operator gave, never read from a file. */
static bool gguf_read_parts(struct gguf *g, const char *path, struct arena *a, struct bk_error *e) {
  int64_t n = 1, first = 0;
  gguf_int(gguf_find(g, STR("split.count")), 0, &n);
  gguf_int(gguf_find(g, STR("split.no")), 0, &first);
  if (n <= 1) return true;
  if (g->borrowed) return err_set(e, ERR_DATA, "%s: part of a split model, expected a whole one in memory", path);
  if (n > GGUF_MAX_SPLITS || first != 0)
    return err_set(e, ERR_DATA, "%s: part %lld of %lld: give the first part (-00001-of-) of at most %d", path,
                   (long long)first + 1, (long long)n, GGUF_MAX_SPLITS);
  char tail[32];
  snprintf(tail, sizeof tail, "-00001-of-%05d.gguf", (int)n);
  if (!str_ends(str_from(path), str_from(tail)))
    return err_set(e, ERR_DATA, "%s: part 1 of %d, expected a name that ends in %s", path, (int)n, tail);
  size_t len = strlen(path), tail_len = strlen(tail);
  char *name = arena_alloc(a, len + 1, 1, 1);
  if (!name) return err_set(e, ERR_OS, "%s: no memory for its name", path);
  memcpy(name, path, len);
  for (int i = 2; i <= (int)n; i++) {
    snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", i, (int)n);
    memcpy(name + len - tail_len, tail, tail_len);
    if (!gguf_read_file(g, name, a, e)) return false;
  }
  return true;
}

static bool gguf_finish(struct gguf *g, bool read, const char *path, struct arena *a, struct bk_error *e) {
  const uint16_t one = 1;
  if (*(const uint8_t *)&one != 1) read = err_set(e, ERR_DATA, "not supported: big-endian machines");
  if (read && gguf_read_parts(g, path, a, e) && gguf_index(g, path, a, e)) return true;
  gguf_close(g);
  return false;
}

/* Opens a file and the other parts of a split model. On failure nothing stays mapped. The tables live in the arena. */
static bool gguf_open(struct gguf *g, const char *path, struct arena *a, struct bk_error *e) {
  memset(g, 0, sizeof *g);
  return gguf_finish(g, gguf_read_file(g, path, a, e), path, a, e);
}

/* The same for bytes that the caller owns and keeps; `name` stands for the path in errors. */
static bool gguf_open_memory(struct gguf *g, struct str bytes, const char *name, struct arena *a, struct bk_error *e) {
  memset(g, 0, sizeof *g);
  g->borrowed = true;
  g->files[0] = (struct os_file){.ptr = bytes.ptr, .size = bytes.len};
  return gguf_finish(g, gguf_parse(g, name, a, e), name, a, e);
}

/* ---- typed look-ups for callers: absent is false without an error; a wrong type is an error that names the key ---- */

static bool gguf_get_int(const struct gguf *g, struct str key, int64_t min, int64_t max, int64_t *out, struct bk_error *e) {
  const struct gguf_value *v = gguf_find(g, key);
  int64_t n;
  if (!v) return false;
  if (v->is_array || !gguf_int(v, 0, &n))
    return err_set(e, ERR_DATA, "key " STR_FMT " is of type %s, expected an integer", STR_ARG(key),
                   v->is_array ? "array" : gguf_type_names[v->type]);
  if (n < min || n > max)
    return err_set(e, ERR_DATA, "key " STR_FMT " is %lld, expected %lld to %lld", STR_ARG(key), (long long)n, (long long)min,
                   (long long)max);
  *out = n;
  return true;
}

static bool gguf_get_string(const struct gguf *g, struct str key, struct str *out, struct bk_error *e) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v) return false;
  return gguf_string(v, out) || err_set(e, ERR_DATA, "key " STR_FMT " is of type %s, expected a string", STR_ARG(key),
                                        v->is_array ? "array" : gguf_type_names[v->type]);
}
