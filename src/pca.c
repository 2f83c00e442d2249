/* pca.c -- a projection from a safetensors file: `components` (k, n) and `mean` (n), as scikit-learn's PCA names them, and
 * perhaps `scale` (k), by which the results are multiplied; all float32. What is read is copied: the file may go.
 * SPDX-License-Identifier: MIT */

enum { PCA_TABLES = 96 << 20 }; // bytes reserved, not used, for what safetensors_parse knows of a file

/* A tensor of exactly that shape, copied. n_dims 1: (n). It may be absent where it is not required: then *to stays. */
static bool pca_copy(const struct safetensors *s, const char *path, const char *name, uint64_t k, uint64_t n, bool required, float *to,
                     struct bk_error *e) {
  const struct safetensor *t = safetensors_find(s, str_from(name));
  const uint64_t rows = k ? k : 1;
  if (!t && !required) return true;
  if (!t) return err_set(e, ERR_DATA, "%s: no tensor \"%s\"; expected components (k, n), mean (n) and perhaps scale (k)", path, name);
  if (t->type->quant != &quant_f32 || t->n_dims != (k ? 2 : 1) || t->dim[0] != (k ? k : n) || (k && t->dim[1] != n))
    return err_set(e, ERR_DATA, "%s: %s is %s of %d dimensions, (%llu, %llu ...), expected F32 (%llu, %llu)", path, name, t->type->name,
                   t->n_dims, (unsigned long long)t->dim[0], (unsigned long long)t->dim[1], (unsigned long long)(k ? k : n),
                   (unsigned long long)(k ? n : 1));
  memcpy(to, t->data, t->n_bytes); // k and n are known to be small
  return pool_finite(to, (size_t)(rows * n)) || err_set(e, ERR_DATA, "%s: %s holds a NaN or an infinity", path, name);
}

static bool pca_read(struct embed_pca *p, const struct safetensors *s, const char *path, int n, struct bk_error *e) {
  const struct safetensor *t = safetensors_find(s, STR("components"));
  const uint64_t k = t && t->n_dims == 2 && t->dim[0] >= 1 && t->dim[0] <= (uint64_t)n ? t->dim[0] : 0;
  if (t && (!k || t->dim[1] != (uint64_t)n))
    return err_set(e, ERR_DATA, "%s: components are (%llu, %llu), the model's vectors have %d: expected (k, %d), k from 1 to %d", path,
                   (unsigned long long)t->dim[0], (unsigned long long)t->dim[1], n, n, n);
  const size_t floats = (size_t)k * (size_t)n;
  struct arena a = os_reserve(4 * floats + 4 * (size_t)n + 20 * (size_t)k + 1024, e); // until the program ends
  if (!a.beg) return false;
  float *components = ARENA_NEW(&a, float, floats), *mean = ARENA_NEW(&a, float, (size_t)n), *given = ARENA_NEW(&a, float, (size_t)k);
  double *scale = ARENA_NEW(&a, double, (size_t)k), *offset = ARENA_NEW(&a, double, (size_t)k);
  if (!components || !mean || !given || !scale || !offset) return err_set(e, ERR_OS, "%s: no memory", path);
  for (uint64_t i = 0; i < k; i++) given[i] = 1;
  if (!pca_copy(s, path, "components", k, (uint64_t)n, true, components, e) || !pca_copy(s, path, "mean", 0, (uint64_t)n, true, mean, e) ||
      !pca_copy(s, path, "scale", 0, k, false, given, e))
    return false;
  for (uint64_t i = 0; i < k; i++) {
    scale[i] = (double)given[i];
    for (int c = 0; c < n; c++) offset[i] += (double)components[i * (uint64_t)n + (uint64_t)c] * (double)mean[c];
  }
  *p = (struct embed_pca){n, (int)k, components, scale, offset};
  return true;
}

/* For vectors of n floats. */
static bool pca_open(struct embed_pca *p, const char *path, int n, struct bk_error *e) {
  struct os_file f;
  struct arena whole = os_reserve(2 * (size_t)PCA_TABLES, e), tables = whole, scratch = whole;
  if (!whole.beg) return false;
  tables.end = scratch.beg = whole.beg + PCA_TABLES;
  struct safetensors *s = ARENA_NEW(&tables, struct safetensors, 1);
  bool ok = os_map(path, &f, e);
  if (ok) {
    ok = safetensors_parse(s, (struct str){f.ptr, f.size}, path, "", &tables, scratch, e) && safetensors_sort(s, &tables, e) &&
         pca_read(p, s, path, n, e);
    os_unmap(&f);
  }
  os_release(whole);
  return ok;
}
