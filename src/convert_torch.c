/* convert_torch.c -- one linear layer as torch.save writes it beside a model: a zip file, uncompressed, of a pickle and of its
 * storages in their order, data/0 (weight) and data/1 (bias). The pickle is no program here: it only names the type.
 * Nothing is trusted: a storage's bytes lie inside the file, and the weight is as many rows as the bias has elements.
 * SPDX-License-Identifier: MIT */

static uint32_t torch_number(struct str s, size_t at, int bytes) { // little-endian
  uint32_t n = 0;
  for (int i = 0; i < bytes; i++) n |= (uint32_t)(uint8_t)s.ptr[at + (size_t)i] << (8 * i);
  return n;
}

/* The bytes of the entry whose name ends so, by the directory at the end of the file; none: an empty text. */
static struct str torch_entry(struct str zip, struct str name) {
  size_t end = zip.len < 22 ? 0 : zip.len - 22;
  while (end > 0 && zip.len - end < 65557 && torch_number(zip, end, 4) != 0x06054B50) end--;
  if (end == 0 || torch_number(zip, end, 4) != 0x06054B50) return STR_NONE;
  size_t at = torch_number(zip, end + 16, 4), n = torch_number(zip, end + 10, 2);
  for (size_t i = 0; i < n && at < end && end - at >= 46 && torch_number(zip, at, 4) == 0x02014B50; i++) {
    const size_t bytes = torch_number(zip, at + 20, 4), name_len = torch_number(zip, at + 28, 2), local = torch_number(zip, at + 42, 4);
    if (end - at - 46 < name_len) return STR_NONE;
    if (str_ends(str_slice(zip, at + 46, at + 46 + name_len), name)) {
      if (torch_number(zip, at + 10, 2) || local >= end || end - local < 30) return STR_NONE; // compressed, or beyond the end
      const size_t data = local + 30 + torch_number(zip, local + 26, 2) + torch_number(zip, local + 28, 2);
      return data > end || end - data < bytes ? STR_NONE : str_slice(zip, data, data + bytes);
    }
    at += 46 + name_len + torch_number(zip, at + 30, 2) + torch_number(zip, at + 32, 2);
  }
  return STR_NONE;
}

/* Adds PREFIX.weight and PREFIX.bias. */
static bool torch_parse(struct safetensors *s, struct str zip, const char *path, const char *prefix, struct arena *a, struct bk_error *e) {
  static const char *const storages[] = {"FloatStorage", "\nHalfStorage", "BFloat16Storage"}; // in the order of safetensors_types
  static const char *const names[] = {"weight", "bias"};
  const struct str pickle = torch_entry(zip, STR("/data.pkl"));
  const struct str data[2] = {torch_entry(zip, STR("/data/0")), torch_entry(zip, STR("/data/1"))};
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
