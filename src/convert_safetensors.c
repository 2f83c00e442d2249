/* convert_safetensors.c -- a folder's .safetensors files -> tensors by name. One file, or parts named by an index.
 *
 * Format: 8 bytes with the length of a JSON header, the header, the data. Nothing is copied but names: a tensor's bytes
 * are a view into the map. Nothing is trusted: after safetensors_read every tensor's bytes lie inside its file, are as
 * many as its shape says, and are no other tensor's. Owns the maps until safetensors_close.
 * SPDX-License-Identifier: MIT */

enum { SAFETENSORS_FILES = 999, SAFETENSORS_DIMS = 5, SAFETENSORS_HEADER = 100000000, SAFETENSORS_TENSORS = 1 << 19 };

static void safetensors_e4m3(const void *block, float *y) { // 1, 4, 3 bits, bias 7, no infinity (OCP FP8, E4M3)
  uint8_t b;
  memcpy(&b, block, 1);
  int exponent = b >> 3 & 15, mantissa = b & 7;
  float f = exponent ? f32_from_bits((uint32_t)(exponent + 120) << 23 | (uint32_t)mantissa << 20) : (float)mantissa / 512;
  if ((b & 127) == 127) f = NAN;
  *y = b & 128 ? -f : f;
}

static void safetensors_e5m2(const void *block, float *y) { // the upper half of a half
  uint8_t b;
  memcpy(&b, block, 1);
  *y = f16_to_f32((uint16_t)(b << 8));
}

static void safetensors_int8(const void *block, float *y) {
  int8_t b;
  memcpy(&b, block, 1);
  *y = b;
}

/* What GGUF has no weights of; they are read and never written. */
static const struct quant safetensors_f8_e4m3 = {"F8_E4M3", UINT32_MAX, 1, 1, FORM_F32, safetensors_e4m3, NULL, NULL, NULL};
static const struct quant safetensors_f8_e5m2 = {"F8_E5M2", UINT32_MAX, 1, 1, FORM_F32, safetensors_e5m2, NULL, NULL, NULL};
static const struct quant safetensors_i8 = {"I8", UINT32_MAX, 1, 1, FORM_F32, safetensors_int8, NULL, NULL, NULL};

static const struct safetensors_type {
  char name[8];
  size_t bytes;
  const struct quant *quant; // NULL: no weights, or not supported as such
} safetensors_types[] = {
  {"F32", 4, &quant_f32}, {"F16", 2, &quant_f16}, {"BF16", 2, &quant_bf16}, {"F8_E4M3", 1, &safetensors_f8_e4m3},
  {"F8_E5M2", 1, &safetensors_f8_e5m2}, {"I8", 1, &safetensors_i8}, {"I32", 4, NULL}, {"I64", 8, NULL}, {"U8", 1, NULL}, {"BOOL", 1, NULL},
  {"F64", 8, NULL}, {"I16", 2, NULL}, {"U16", 2, NULL}, {"U32", 4, NULL}, {"U64", 8, NULL}, {"F8_E8M0", 1, NULL}};

struct safetensor {
  struct str name;
  const struct safetensors_type *type;
  int n_dims;                     // 0..SAFETENSORS_DIMS
  uint64_t dim[SAFETENSORS_DIMS]; // the last runs fastest; 1 where there is none
  const char *data;
  size_t n_bytes;
  int file;
  bool used;                      // by whoever converts
};

struct safetensors {
  struct os_file files[SAFETENSORS_FILES];
  struct str names[SAFETENSORS_FILES]; // of the files, below the folder
  int n_files;
  struct safetensor *tensors;          // (n) in the order of the files and of their headers
  struct safetensor **sorted;          // (n) by name
  int n;
};

static struct safetensor *safetensors_find(const struct safetensors *s, struct str name) {
  int lo = 0, hi = s->n;
  while (lo < hi) {
    int mid = lo + (hi - lo) / 2, order = str_compare(s->sorted[mid]->name, name);
    if (order == 0) return s->sorted[mid];
    if (order < 0) lo = mid + 1;
    else hi = mid;
  }
  return NULL;
}

static int safetensors_by_name(const void *a, const void *b) {
  return str_compare((*(struct safetensor *const *)a)->name, (*(struct safetensor *const *)b)->name);
}

static int safetensors_by_place(const void *a, const void *b) {
  const struct safetensor *x = *(struct safetensor *const *)a, *y = *(struct safetensor *const *)b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* One member of the header. `data` is the data section. */
static bool safetensors_entry(const struct json *m, struct str data, const char *path, struct safetensor *t, struct bk_error *e) {
  const struct json *type = json_get(m, "dtype"), *shape = json_get(m, "shape"), *place = json_get(m, "data_offsets");
  if (!type || type->type != JSON_STRING || !shape || shape->type != JSON_ARRAY || !place || place->type != JSON_ARRAY ||
      place->count != 2 || place->first->type != JSON_INT || place->first->next->type != JSON_INT)
    return err_set(e, ERR_DATA, "%s: tensor " STR_FMT ": expected a dtype, a shape and two data_offsets", path, STR_ARG(m->key));
  for (int i = 0; i < ARRAY_LEN(safetensors_types) && !t->type; i++)
    if (str_is(type->string, safetensors_types[i].name)) t->type = &safetensors_types[i];
  if (!t->type)
    return err_set(e, ERR_DATA, "%s: tensor " STR_FMT ": not supported: dtype " STR_FMT, path, STR_ARG(m->key), STR_ARG(type->string));
  size_t bytes = t->type->bytes;
  bool ok = shape->count <= SAFETENSORS_DIMS;
  for (int i = 0; i < SAFETENSORS_DIMS; i++) t->dim[i] = 1;
  for (const struct json *d = ok ? shape->first : NULL; d && ok; d = d->next) {
    ok = d->type == JSON_INT && d->integer >= 0 && d->integer <= INT32_MAX && size_mul(bytes, (size_t)d->integer, &bytes);
    t->dim[t->n_dims++] = (uint64_t)d->integer;
  }
  int64_t from = place->first->integer, to = place->first->next->integer;
  if (!ok || from < 0 || to < from || (uint64_t)to > data.len || (uint64_t)(to - from) != bytes)
    return err_set(e, ERR_DATA, "%s: tensor " STR_FMT ": bytes %lld to %lld of %zu, expected as many as its shape of %d dimensions takes",
                   path, STR_ARG(m->key), (long long)from, (long long)to, data.len, shape->count);
  t->data = data.ptr + from;
  t->n_bytes = bytes;
  return true;
}

/* Adds the tensors of one file, whose bytes are there; before their names comes the prefix. */
static bool safetensors_parse(struct safetensors *s, struct str all, const char *path, const char *prefix, struct arena *a,
                              struct arena scratch, struct bk_error *e) {
  uint64_t n = 0;
  struct json *header;
  if (all.len >= 8) memcpy(&n, all.ptr, 8); // little-endian, as we are
  if (all.len < 8 || n < 2 || n > all.len - 8 || n > SAFETENSORS_HEADER)
    return err_set(e, ERR_DATA, "%s: a header of %llu bytes in a file of %zu: cut short, damaged, or no safetensors file", path,
                   (unsigned long long)n, all.len);
  struct str text = str_slice(all, 8, 8 + (size_t)n), data = str_slice(all, 8 + (size_t)n, all.len);
  if (!json_parse(text, &scratch, &header, e)) {
    err_prefix(e, path);
    return false;
  }
  if (header->type != JSON_OBJECT) return err_set(e, ERR_DATA, "%s: its header is no JSON object", path);
  if (header->count > SAFETENSORS_TENSORS - s->n) return err_set(e, ERR_DATA, "%s: more than %d tensors", path, SAFETENSORS_TENSORS);
  int first = s->n;
  struct safetensor **by_place = ARENA_NEW(&scratch, struct safetensor *, (size_t)header->count + 1);
  if (!s->tensors) s->tensors = arena_raw(a, SAFETENSORS_TENSORS, sizeof *s->tensors, 16); // what is not used takes no memory
  if (!s->tensors || !by_place) return err_set(e, ERR_OS, "%s: no memory for %d tensors", path, header->count);
  for (const struct json *m = header->first; m; m = m->next) {
    struct safetensor *t = &s->tensors[s->n];
    if (str_is(m->key, "__metadata__")) continue;
    *t = (struct safetensor){.name = m->key, .file = s->n_files - 1};
    char name[64];
    struct str key = m->key;
    if (*prefix && snprintf(name, sizeof name, "%s" STR_FMT, prefix, STR_ARG(key)) < (int)sizeof name) key = str_from(name);
    bool in_header = !*prefix && m->key.ptr >= text.ptr && m->key.ptr < text.ptr + text.len;
    if (!in_header && m->key.len && !(t->name = arena_copy(a, key)).ptr) return err_set(e, ERR_OS, "%s: no memory for names", path);
    if (!safetensors_entry(m, data, path, t, e)) return false;
    by_place[s->n++ - first] = t;
  }
  size_t count = (size_t)(s->n - first);
  qsort(by_place, count, sizeof *by_place, safetensors_by_place);
  for (size_t i = 1; i < count; i++)
    if (by_place[i]->data < by_place[i - 1]->data + by_place[i - 1]->n_bytes)
      return err_set(e, ERR_DATA, "%s: tensors " STR_FMT " and " STR_FMT " overlap", path, STR_ARG(by_place[i - 1]->name),
                     STR_ARG(by_place[i]->name));
  return true;
}

/* After the last file: sorted by name, each there once. */
static bool safetensors_sort(struct safetensors *s, struct arena *a, struct bk_error *e) {
  s->sorted = ARENA_NEW(a, struct safetensor *, (size_t)s->n + 1);
  if (!s->sorted) return err_set(e, ERR_OS, "no memory for %d tensors", s->n);
  for (int i = 0; i < s->n; i++) s->sorted[i] = &s->tensors[i];
  qsort(s->sorted, (size_t)s->n, sizeof *s->sorted, safetensors_by_name);
  for (int i = 1; i < s->n; i++)
    if (str_eq(s->sorted[i]->name, s->sorted[i - 1]->name))
      return err_set(e, ERR_DATA, "tensor " STR_FMT " is in two of the files", STR_ARG(s->sorted[i]->name));
  return true;
}

/* ---- the folder ---- */

struct safetensors_listing {
  struct safetensors *s;
  struct arena *arena;
  bool full;
};

static bool safetensors_list(void *context, const char *name) {
  struct safetensors_listing *l = context;
  struct str n = str_from(name);
  if (!str_starts(n, STR("model")) || !str_ends(n, STR(".safetensors"))) return true;
  l->full = l->s->n_files == SAFETENSORS_FILES || !(l->s->names[l->s->n_files] = arena_copy(l->arena, n)).ptr;
  l->s->n_files += !l->full;
  return !l->full;
}

static int safetensors_file(const struct safetensors *s, struct str name) { // n_files if it is new
  int i = 0;
  while (i < s->n_files && !str_eq(s->names[i], name)) i++;
  return i;
}

/* The files that the index names; `map` is its weight_map, or NULL. */
static bool safetensors_names(struct safetensors *s, const char *dir, const struct json *map, struct arena *a, struct arena scratch,
                              struct bk_error *e) {
  struct safetensors_listing l = {s, a, false};
  if (!map) os_list(dir, scratch, safetensors_list, &l);
  for (const struct json *m = map ? map->first : NULL; m && !l.full; m = m->next) {
    if (m->type != JSON_STRING || str_find(m->string, STR("/"), 0) != SIZE_MAX || !str_ends(m->string, STR(".safetensors")))
      return err_set(e, ERR_DATA, "%s: the index has no file's name for tensor " STR_FMT, dir, STR_ARG(m->key));
    if (safetensors_file(s, m->string) < s->n_files) continue;
    l.full = s->n_files == SAFETENSORS_FILES || !(s->names[s->n_files] = arena_copy(a, m->string)).ptr;
    s->n_files += !l.full;
  }
  if (l.full) return err_set(e, ERR_DATA, "%s: more than %d .safetensors files", dir, SAFETENSORS_FILES);
  return s->n_files > 0 ||
         err_set(e, ERR_NOINPUT, "%s: no model.safetensors in it (other formats of weights are not supported)", dir);
}

/* ---- one linear layer as torch.save writes it beside a model: a zip file, uncompressed, of a pickle and of its storages in
 * their order, data/0 (weight) and data/1 (bias). The pickle is no program here: it only names the type. ---- */

static uint32_t safetensors_torch_number(struct str s, size_t at, int bytes) { // little-endian
  uint32_t n = 0;
  for (int i = 0; i < bytes; i++) n |= (uint32_t)(uint8_t)s.ptr[at + (size_t)i] << (8 * i);
  return n;
}

/* The bytes of the entry whose name ends so, by the directory at the end of the file; none: an empty text. */
static struct str safetensors_torch_entry(struct str zip, struct str name) {
  size_t end = zip.len < 22 ? 0 : zip.len - 22;
  while (end > 0 && zip.len - end < 65557 && safetensors_torch_number(zip, end, 4) != 0x06054B50) end--;
  if (end == 0 || safetensors_torch_number(zip, end, 4) != 0x06054B50) return STR_NONE;
  size_t at = safetensors_torch_number(zip, end + 16, 4), n = safetensors_torch_number(zip, end + 10, 2);
  for (size_t i = 0; i < n && at < end && end - at >= 46 && safetensors_torch_number(zip, at, 4) == 0x02014B50; i++) {
    const size_t bytes = safetensors_torch_number(zip, at + 20, 4), name_len = safetensors_torch_number(zip, at + 28, 2),
        local = safetensors_torch_number(zip, at + 42, 4);
    if (end - at - 46 < name_len) return STR_NONE;
    if (str_ends(str_slice(zip, at + 46, at + 46 + name_len), name)) {
      if (safetensors_torch_number(zip, at + 10, 2) || local >= end || end - local < 30) return STR_NONE; // compressed, or beyond the end
      const size_t data = local + 30 + safetensors_torch_number(zip, local + 26, 2) + safetensors_torch_number(zip, local + 28, 2);
      return data > end || end - data < bytes ? STR_NONE : str_slice(zip, data, data + bytes);
    }
    at += 46 + name_len + safetensors_torch_number(zip, at + 30, 2) + safetensors_torch_number(zip, at + 32, 2);
  }
  return STR_NONE;
}

/* Adds PREFIX.weight and PREFIX.bias. */
static bool safetensors_torch_parse(struct safetensors *s, struct str zip, const char *path, const char *prefix, struct arena *a,
                                    struct bk_error *e) {
  static const char *const storages[] = {"FloatStorage", "\nHalfStorage", "BFloat16Storage"}; // in the order of safetensors_types
  static const char *const names[] = {"weight", "bias"};
  const struct str pickle = safetensors_torch_entry(zip, STR("/data.pkl"));
  const struct str data[2] = {safetensors_torch_entry(zip, STR("/data/0")), safetensors_torch_entry(zip, STR("/data/1"))};
  const struct safetensors_type *type = NULL;
  for (int i = 0; i < ARRAY_LEN(storages); i++)
    if (str_find(pickle, str_from(storages[i]), 0) != SIZE_MAX) type = &safetensors_types[i];
  const size_t rows = type ? data[1].len / type->bytes : 0, row = rows ? data[0].len / rows : 0;
  const size_t weight = str_find(pickle, str_from(names[0]), 0), bias = str_find(pickle, str_from(names[1]), 0);
  if (!row || rows > INT32_MAX || row > INT32_MAX || row * rows != data[0].len || row % type->bytes || bias == SIZE_MAX || weight > bias)
    return err_set(e, ERR_DATA, "%s: not supported: anything but a weight and its bias as torch saves them, of 16 or 32 bits", path);
  if (!s->tensors || SAFETENSORS_TENSORS - s->n < 2) return err_set(e, ERR_DATA, "%s: too many tensors", path);
  for (int i = 0; i < 2; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", prefix, names[i]);
    struct safetensor *t = &s->tensors[s->n++];
    *t = (struct safetensor){.type = type, .n_dims = 2 - i, .dim = {rows, i ? 1 : row / type->bytes, 1, 1, 1}, .data = data[i].ptr,
                             .n_bytes = data[i].len, .file = s->n_files - 1};
    if (!(t->name = arena_copy(a, str_from(name))).ptr) return err_set(e, ERR_OS, "%s: no memory for names", path);
  }
  return true;
}

/* Layers that stand beside a model, and what their tensors' names begin with. */
static const struct {
  const char *file, *prefix;
} safetensors_beside[] = {{"2_Dense/model.safetensors", "dense_2."}, {"3_Dense/model.safetensors", "dense_3."},
                          {"colbert_linear.pt", "colbert"}, {"sparse_linear.pt", "sparse"}};

static bool safetensors_read_beside(struct safetensors *s, const char *dir, struct arena *a, struct arena scratch, struct bk_error *e) {
  for (int i = 0; i < ARRAY_LEN(safetensors_beside) && s->n_files < SAFETENSORS_FILES; i++) {
    char path[OS_PATH];
    const char *prefix = safetensors_beside[i].prefix;
    snprintf(path, sizeof path, "%s/%s", dir, safetensors_beside[i].file);
    if (!os_is_file(path)) continue;
    s->names[s->n_files] = str_from(safetensors_beside[i].file);
    if (!os_map(path, &s->files[s->n_files], e)) return false;
    struct os_file f = s->files[s->n_files++];
    struct str all = {f.ptr, f.size};
    const bool torch = str_ends(s->names[s->n_files - 1], STR(".pt"));
    if (!(torch ? safetensors_torch_parse(s, all, path, prefix, a, e) : safetensors_parse(s, all, path, prefix, a, scratch,
                                                                                          e))) return false;
  }
  return true;
}

/* On failure what is open is still to be closed. */
static bool safetensors_open(struct safetensors *s, const char *dir, struct arena *a, struct arena scratch, struct bk_error *e) {
  char path[OS_PATH];
  struct json *index = NULL;
  struct str text;
  *s = (struct safetensors){.n_files = 0};
  snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
  if (os_is_file(path)) {
    if (!os_read_file(path, SAFETENSORS_HEADER, &scratch, &text, e)) return false;
    if (!json_parse(text, &scratch, &index, e)) return err_prefix(e, path), false;
    if (!json_get(index, "weight_map") || json_get(index, "weight_map")->type != JSON_OBJECT)
      return err_set(e, ERR_DATA, "%s: expected a weight_map", path);
  }
  const struct json *map = index ? json_get(index, "weight_map") : NULL;
  if (!safetensors_names(s, dir, map, a, scratch, e)) return false;
  int n_files = s->n_files;
  s->n_files = 0;
  while (s->n_files < n_files) {
    struct str name = s->names[s->n_files];
    snprintf(path, sizeof path, "%s/%.*s", dir, (int)name.len, name.ptr);
    if (!os_map(path, &s->files[s->n_files], e)) return false;
    struct os_file f = s->files[s->n_files++];
    if (!safetensors_parse(s, (struct str){f.ptr, f.size}, path, "", a, scratch, e)) return false;
  }
  if (!safetensors_read_beside(s, dir, a, scratch, e) || !safetensors_sort(s, a, e)) return false;
  for (const struct json *m = map ? map->first : NULL; m; m = m->next) {
    const struct safetensor *t = safetensors_find(s, m->key);
    if (!t || !str_eq(s->names[t->file], m->string))
      return err_set(e, ERR_DATA, "%s: tensor " STR_FMT " is not in " STR_FMT ", where the index has it", dir, STR_ARG(m->key),
                     STR_ARG(m->string));
  }
  return true;
}

static void safetensors_close(struct safetensors *s) {
  for (int i = 0; i < s->n_files; i++) os_unmap(&s->files[i]);
  s->n_files = 0;
}
