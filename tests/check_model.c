/* check_model.c -- opening models: what is read, and every way in which a file can be wrong, each answered with one
 * sentence that names the key or tensor, what was found and what was expected.
 *
 * The models of tests/golden are written again with one thing changed. Keys and tensors come from the tables of the
 * architectures, so a new row there is tested without a word here.
 * SPDX-License-Identifier: MIT */

static struct model mt; // 24 kB of it are views of files: not on the stack
static const char *const mt_models[] = {TEST_ROOT "/golden/llama-tiny-f32.gguf",
                                        TEST_ROOT "/golden/llama-tiny-mixed.gguf",
                                        TEST_ROOT "/golden/gemma3-tiny-f16.gguf"};

/* ---- a file with one thing changed ---- */

enum mt_what { MT_NOTHING, MT_DROP_KEY, MT_SET_KEY, MT_DROP_TENSOR, MT_SHAPE, MT_TYPE, MT_FLOAT, MT_CUT };
struct mt_change {
  enum mt_what what;
  const char *name;      // of the key or tensor
  enum gguf_type type;   // of a key
  uint64_t bits;         // a key's value; a tensor's new type; bytes to leave
  bool array;            // the key becomes an array of one
  const char *text;      // a key's string
  uint64_t dim[4];
  float value;           // what the first float of a tensor becomes
};

static void mt_uint(struct buf *b, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) buf_byte(b, (char)(value >> (8 * i)));
}

static void mt_string(struct buf *b, struct str s) {
  mt_uint(b, s.len, 8);
  buf_put(b, s);
}

static void mt_key(struct buf *b, const struct mt_change *c) {
  mt_string(b, str_from(c->name));
  mt_uint(b, c->array ? GGUF_ARRAY : c->type, 4);
  if (c->array) mt_uint(b, c->type, 4), mt_uint(b, 1, 8);
  if (c->type == GGUF_STRING) mt_string(b, str_from(c->text));
  else mt_uint(b, c->bits, gguf_type_bytes[c->type]);
}

static void mt_tensor(struct buf *b, const struct gguf_tensor *t, const struct mt_change *c) {
  bool mine = str_is(t->name, c->name ? c->name : "");
  mt_string(b, t->name);
  mt_uint(b, (uint64_t)t->n_dims, 4);
  for (int d = 0; d < t->n_dims; d++) mt_uint(b, mine && c->what == MT_SHAPE ? c->dim[d] : t->dim[d], 8);
  mt_uint(b, mine && c->what == MT_TYPE ? c->bits : t->type, 4);
  mt_uint(b, t->offset, 8);
}

/* The file of `from` with the change; its bytes stay in the arena. */
static struct str mt_bytes(const char *from, const struct mt_change *c, struct arena *a) {
  static struct gguf old;
  struct bk_error e = {0};
  ck_assert_msg(gguf_open(&old, from, a, &e), "%s", e.message);
  struct buf b = buf_new(a, old.files[0].size + 4096);
  int n_keys = 0, n_tensors = old.n_tensors - (c->what == MT_DROP_TENSOR);
  for (int i = 0; i < old.n_keys; i++)
    n_keys += !((c->what == MT_DROP_KEY || c->what == MT_SET_KEY) && str_is(old.keys[i].name, c->name));
  buf_put(&b, STR("GGUF"));
  mt_uint(&b, 3, 4);
  mt_uint(&b, (uint64_t)n_tensors, 8);
  mt_uint(&b, (uint64_t)(n_keys + (c->what == MT_SET_KEY)), 8);
  for (int i = 0; i < old.n_keys; i++) {
    const struct gguf_value *v = &old.keys[i].value;
    if ((c->what == MT_DROP_KEY || c->what == MT_SET_KEY) && str_is(old.keys[i].name, c->name)) continue;
    mt_string(&b, old.keys[i].name);
    mt_uint(&b, v->is_array ? GGUF_ARRAY : v->type, 4);
    if (v->is_array) mt_uint(&b, v->type, 4), mt_uint(&b, v->count, 8);
    buf_put(&b, v->bytes);
  }
  if (c->what == MT_SET_KEY) mt_key(&b, c);
  for (int i = 0; i < old.n_tensors; i++)
    if (c->what != MT_DROP_TENSOR || !str_is(old.tensors[i].name, c->name)) mt_tensor(&b, &old.tensors[i], c);
  while (b.len % 32) buf_byte(&b, 0);
  size_t data = b.len;
  buf_put(&b, (struct str){old.files[0].ptr + old.data_start[0], old.files[0].size - old.data_start[0]});
  struct gguf_tensor *t = c->what == MT_FLOAT ? gguf_tensor(&old, str_from(c->name)) : NULL;
  if (t) memcpy(b.ptr + data + t->offset, &c->value, sizeof c->value);
  if (c->what == MT_CUT) b.len = (size_t)c->bits;
  ck_assert(!b.full);
  gguf_close(&old);
  return buf_str(&b);
}

static bool mt_open(const char *from, struct mt_change c, struct bk_error *e) {
  char folder[64], path[128];
  struct arena whole = test_arena(8 << 20), a = whole;
  test_folder(folder);
  test_write(folder, "m.gguf", mt_bytes(from, &c, &a));
  os_release(whole);
  snprintf(path, sizeof path, "%s/m.gguf", folder);
  memset(e, 0, sizeof *e);
  bool ok = model_open(&mt, path, &(struct model_options){.max_rows = 16}, e);
  test_remove(folder);
  if (!ok) { // nothing is left open
    ck_assert(!mt.packed.beg && !mt.tables.beg && !mt.gguf.n_files);
    ck_assert_int_ne(e->code, 0);
  }
  return ok;
}

static void mt_refused(const char *from, struct mt_change c, const char *first, const char *second) {
  struct bk_error e;
  bool ok = mt_open(from, c, &e);
  if (ok) model_close(&mt);
  ck_assert_msg(!ok, "accepted; expected: %s ... %s", first, second);
  test_error(&e, ERR_DATA, first);
  test_error(&e, ERR_DATA, second);
}

static void mt_accepted(const char *from, struct mt_change c) {
  struct bk_error e;
  ck_assert_msg(mt_open(from, c, &e), "%s: %s", c.name ? c.name : "", e.message);
  model_close(&mt);
}

static void mt_either(const char *from, struct mt_change c) {
  struct bk_error e;
  if (mt_open(from, c, &e)) model_close(&mt);
  else test_error(&e, ERR_DATA, "");
}

static uint64_t mt_f32(float f) { return f32_bits(f); }
static uint64_t mt_f64(double d) {
  uint64_t u;
  memcpy(&u, &d, sizeof u);
  return u;
}

/* ---- what is read ---- */

START_TEST(model_reads) {
  struct bk_error e = {0};
  ck_assert_msg(model_open(&mt, mt_models[1], &(struct model_options){.max_rows = 16}, &e), "%s", e.message);
  const struct hparams *hp = &mt.hp;
  ck_assert(str_is(str_from(mt.arch->name), "llama") && hp->n_ctx_train == 512 && hp->n_embd == 64 &&
            hp->n_layer == 2 && hp->n_ff == 256);
  ck_assert(hp->n_head == 4 && hp->n_head_kv == 2 && hp->head_dim == 16 && hp->value_dim == 64 && hp->n_rot == 12 &&
            hp->n_vocab == 268);
  ck_assert(fabs(hp->eps - 1e-5) < 1e-11 && hp->rope_base == 10000 && hp->window == 0);
  ck_assert(mt.output.quant == &quant_q5_1 && mt.token_embd.quant == &quant_q5_0 && mt.rope_factors && mt.vocab);
  ck_assert(mt.token_embd.packed == NULL && mt.output.packed != NULL); // looked up row by row: stays in the map
  ck_assert(mt.layers[0].wq.quant == &quant_q4_0 && mt.layers[1].w_down.quant == &quant_q5_k && mt.layers[0].wo.bias &&
            mt.layers[1].wv.bias);
  ck_assert_int_eq(mt.n_matrices, 2 * 7 + 1);
  size_t packed = 0;
  for (int i = 0; i < mt.n_matrices; i++) {
    const struct weight *w = mt.matrices[i];
    ck_assert((size_t)((char *)w->packed - mt.packed.beg) == packed && packed % 64 == 0);
    packed += size_align(form_bytes(w->quant->form, w->n_rows, w->n_cols), 64);
  }
  ck_assert_uint_eq(packed, mt.packed_bytes);
  size_t n = 0;
  for (int i = 0; i < mt.gguf.n_tensors; i++) n += (size_t)(mt.gguf.tensors[i].dim[0] * mt.gguf.tensors[i].dim[1]);
  ck_assert_uint_eq(n, mt.n_parameters);
  model_close(&mt);
  ck_assert_msg(model_open(&mt, mt_models[2], &(struct model_options){.max_rows = 16}, &e), "%s", e.message);
  ck_assert(mt.hp.window == 16 && mt.hp.window_pattern == 6 && mt.hp.softcap_logits == 12 && mt.hp.n_rot == 16 &&
            mt.rope.neox);
  for (int i = 0; i < 7; i++) ck_assert(block_is_local(&mt, i) == (i != 5));
  ck_assert(mt.token_embd.packed != NULL && !mt.output.quant); // tied: also the output matrix
  ck_assert(fabs((double)mt.rope.frequency[0] - 0.25) < 1e-7 && mt.rope_local.frequency[0] == 1); // linear scaling by 4
  model_close(&mt);
}
END_TEST

/* Packing every piece by itself, in any order, gives rows that are what the file holds. */
START_TEST(model_packs) {
  for (int i = 0; i < ARRAY_LEN(mt_models); i++) {
    struct bk_error e = {0};
    ck_assert_msg(model_open(&mt, mt_models[i], &(struct model_options){.max_rows = 16}, &e), "%s", e.message);
    int pieces = model_pack_pieces(&mt);
    ck_assert_int_ge(pieces, mt.n_matrices);
    for (int p = pieces - 1; p >= 0; p--) model_pack(&mt, p);
    for (int m = 0; m < mt.n_matrices; m++) {
      const struct weight *w = mt.matrices[m];
      static float want[256], got[512];
      for (int r = 0; r < w->n_rows; r++) {
        const char *block =
            (const char *)w->file + (size_t)r * (size_t)(w->n_cols / w->quant->block) * w->quant->block_bytes;
        form_row(w->quant->form, w->packed, w->n_cols, r, got);
        for (int k = 0; k < w->n_cols; k += w->quant->block, block += w->quant->block_bytes) {
          w->quant->decode(block, want);
          ck_assert(memcmp(want, got + k, sizeof *got * (size_t)w->quant->block) == 0);
        }
      }
    }
    model_close(&mt);
  }
}
END_TEST

START_TEST(model_written_again) { // the writer above changes nothing by itself
  for (int i = 0; i < ARRAY_LEN(mt_models); i++) mt_accepted(mt_models[i], (struct mt_change){0});
}
END_TEST

/* ---- keys ---- */

/* A key of one architecture: gone, of every wrong type, outside its range. */
static void mt_key_refused(const char *from, const struct arch *arch, const struct key_row *row) {
  char name[128], range[64], found[64];
  snprintf(name, sizeof name, "%s.%s", arch->name, row->suffix);
  struct mt_change set = {.what = MT_SET_KEY, .name = name, .array = true, .type = GGUF_U32, .bits = 4};
  if (row->required) mt_refused(from, (struct mt_change){.what = MT_DROP_KEY, .name = name}, name, "missing");
  mt_refused(from, set, name, row->kind == KEY_STRING ? name : "array");
  set.array = false;
  if (row->kind == KEY_STRING) {
    mt_refused(from, set, name, "u32");
    return;
  }
  set.type = GGUF_STRING, set.text = "4";
  mt_refused(from, set, name, row->kind == KEY_INT ? "of type string, expected an integer"
                              : row->kind == KEY_BOOL ? "of type string, expected true or false"
                                                      : "of type string, expected a finite number");
  if (row->kind == KEY_BOOL) {
    set.type = GGUF_U8, set.bits = 1;
    mt_refused(from, set, name, "of type u8, expected true or false");
    return;
  }
  set.type = GGUF_BOOL, set.bits = 1;
  mt_refused(from, set, name, "of type bool, expected");
  snprintf(range, sizeof range, "expected %.9g to %.9g", row->min, row->max);
  if (row->kind == KEY_INT) {
    set.type = GGUF_I64;
    for (int low = 0; low < 2; low++) {
      int64_t value = low ? (int64_t)row->min - 1 : (int64_t)row->max + 1;
      set.bits = (uint64_t)value;
      snprintf(found, sizeof found, "is %.9g, ", (double)value);
      mt_refused(from, set, found, range);
    }
    set.bits = UINT64_MAX, set.type = GGUF_U64;
    mt_refused(from, set, name, "expected");
    set.type = GGUF_F32, set.bits = mt_f32(4.0f); // no integer, even if it looks like one
    mt_refused(from, set, name, "of type f32, expected an integer");
    return;
  }
  set.type = GGUF_F64;
  set.bits = mt_f64(row->min - 1);
  mt_refused(from, set, name, range);
  set.bits = mt_f64(row->max * 2);
  mt_refused(from, set, name, range);
  set.bits = mt_f64((double)INFINITY_F);
  mt_refused(from, set, name, "finite number");
  set.bits = UINT64_C(0x7FF8000000000000);
  mt_refused(from, set, name, "finite number");
  set.type = GGUF_F32, set.bits = 0x7FC00000;
  mt_refused(from, set, name, "finite number");
}

static void mt_keys_refused(const char *from, const struct arch *arch) {
  for (const struct key_row *const *list = arch->keys; *list; list++)
    for (const struct key_row *row = *list; row->suffix; row++) mt_key_refused(from, arch, row);
}

START_TEST(model_keys) {
  mt_keys_refused(mt_models[0], &arch_llama);
  mt_keys_refused(mt_models[2], &arch_gemma3);
}
END_TEST

START_TEST(model_relations_of_keys) {
  static const struct { const char *key; uint64_t value; const char *first, *second; } cases[] = {
    {"llama.attention.head_count", 3, "3 heads", "2 key/value heads"},
    {"llama.attention.head_count_kv", 3, "4 heads", "3 key/value heads"},
    {"llama.attention.head_count_kv", 8, "4 heads", "8 key/value heads"},
    {"llama.rope.dimension_count", 10, "10", "8 dimensions"}, {"llama.rope.dimension_count", 7, "7", "even"},
    {"llama.attention.key_length", 4, "8", "4 dimensions"},
    {"llama.attention.head_count", 8, "blk.0.attn_q.weight", "expected [32, 64, 1]"},
    {"llama.embedding_length", 64, "token_embd.weight", "expected [64, 268, 1]"},
    {"llama.block_count", 3, "blk.2.attn_norm.weight", "missing"},
    {"llama.feed_forward_length", 96, "blk.0.ffn_gate.weight", "expected [32, 96, 1]"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++)
    mt_refused(mt_models[0],
               (struct mt_change){.what = MT_SET_KEY, .name = cases[i].key, .type = GGUF_U32, .bits = cases[i].value},
               cases[i].first, cases[i].second);
  mt_refused(mt_models[0],
             (struct mt_change){.what = MT_SET_KEY, .name = "llama.attention.layer_norm_rms_epsilon", .type = GGUF_F32},
             "epsilon", "more than 0");
  mt_refused(
      mt_models[0],
      (struct mt_change){.what = MT_SET_KEY, .name = "llama.rope.scaling.type", .type = GGUF_STRING, .text = "bent"},
      "not supported", "\"bent\"");
  static const char *const optional[] = {"llama.attention.key_length", "llama.attention.value_length",
                                         "llama.rope.dimension_count", "llama.rope.freq_base"};
  for (int i = 0; i < ARRAY_LEN(optional); i++)
    mt_accepted(mt_models[0], (struct mt_change){.what = MT_DROP_KEY, .name = optional[i]});
  static const char *const scaling[] = {"none", "linear", "yarn"};
  for (int i = 0; i < ARRAY_LEN(scaling); i++)
    mt_accepted(mt_models[0],
                (struct mt_change){
                    .what = MT_SET_KEY, .name = "llama.rope.scaling.type", .type = GGUF_STRING, .text = scaling[i]});
}
END_TEST

START_TEST(model_architectures) {
  struct mt_change set = {
      .what = MT_SET_KEY, .name = "general.architecture", .type = GGUF_STRING, .text = "frobnicator"};
  mt_refused(mt_models[0], set, "not supported: architecture", "\"frobnicator\"");
  set.text = "";
  mt_refused(mt_models[0], set, "not supported: architecture", "\"\"");
  set.type = GGUF_U32;
  mt_refused(mt_models[0], set, "general.architecture", "u32");
  mt_refused(mt_models[0], (struct mt_change){.what = MT_DROP_KEY, .name = "general.architecture"},
             "general.architecture", "missing");
  set.type = GGUF_STRING, set.text = "gemma3"; // the keys of one, the name of another
  mt_refused(mt_models[0], set, "gemma3.context_length", "missing");
}
END_TEST

/* ---- tensors ---- */

/* Whether a row of a layer (-1: of the model) finds its tensor in a file that lacks one. */
static bool mt_row_there(const struct gguf *file, const struct tensor_row *row, int layer, const char *gone) {
  char name[128];
  snprintf(name, sizeof name, "blk.%d%s", layer, row->name + (layer < 0 ? 0 : 6));
  const char *full = layer < 0 ? row->name : name;
  for (int i = 0; i < file->n_tensors; i++)
    if (str_is(file->tensors[i].name, full)) return strcmp(full, gone) != 0;
  return false;
}

static bool mt_weight_there(const struct gguf *file, const struct arch *arch, size_t offset, int layer, const char *gone) {
  for (const struct tensor_row *const *list = arch->tensors; *list; list++)
    for (const struct tensor_row *row = *list; row->name; row++)
      if (row->offset == offset && (strstr(row->name, "%d") != NULL) == (layer >= 0) && mt_row_there(file, row, layer, gone)) return true;
  return false;
}

/* What the tables say of a file that lacks a tensor: that it is whole all the same. */
static bool mt_whole_without(const struct gguf *file, const struct arch *arch, int n_layer, const char *gone) {
  bool known = false, whole = true;
  for (const struct tensor_row *const *list = arch->tensors; *list; list++)
    for (const struct tensor_row *row = *list; row->name; row++) {
      const bool in_layer = strstr(row->name, "%d") != NULL;
      for (int l = in_layer ? 0 : -1; l < (in_layer ? n_layer : 0); l++) {
        const bool there = mt_row_there(file, row, l, gone);
        known = known || there != mt_row_there(file, row, l, "");
        if (row->need == NEED) whole = whole && there;
        if (row->need == UNLESS || row->need == WITH)
          whole = whole && (mt_weight_there(file, arch, row->offset, l, gone) ||
                            mt_weight_there(file, arch, row->other, l, gone) == (row->need == UNLESS));
      }
    }
  ck_assert_msg(known, "tensor %s is in no table", gone);
  return whole;
}

/* Token types and labels are as many as the tensor has rows. */
static bool mt_says_rows(const struct arch *arch, struct str name) {
  for (const struct tensor_row *const *list = arch->tensors; *list; list++)
    for (const struct tensor_row *row = *list; row->name; row++)
      if (str_is(name, row->name) && (row->rows == DIM_TYPES || row->rows == DIM_LABELS || row->rows == DIM_COLBERT ||
                                          row->rows == DIM_BEHIND || row->cols == DIM_BEHIND))
        return true;
  return false;
}

/* One tensor of a file: gone, of another shape, of a type nobody knows. */
static void mt_tensor_refused(const char *from, const struct gguf *file, const struct arch *arch, int n_layer, bool strict,
                              const struct gguf_tensor *t) {
  char name[128], shape[96];
  snprintf(name, sizeof name, STR_FMT, STR_ARG(t->name));
  struct mt_change drop = {.what = MT_DROP_TENSOR, .name = name};
  const bool whole = mt_whole_without(file, arch, n_layer, name);
  if (whole && strict) mt_accepted(from, drop);
  else if (whole || mt_says_rows(arch, t->name)) mt_either(from, drop); // others may be as long as it says, or as it makes them
  else mt_refused(from, drop, "tensor ", "missing");
  mt_refused(from, (struct mt_change){.what = MT_TYPE, .name = name, .bits = 77}, name, "not supported: weight type 77");
  for (int d = 0; d < t->n_dims && !(d == 1 && mt_says_rows(arch, t->name)); d++) {
    struct mt_change c = {.what = MT_SHAPE, .name = name, .dim = {t->dim[0], t->dim[1], t->dim[2], t->dim[3]}};
    c.dim[d] += 1;
    snprintf(shape, sizeof shape, "has shape [%llu, %llu, %llu, 1], ", (unsigned long long)c.dim[0], (unsigned long long)c.dim[1],
             (unsigned long long)c.dim[2]);
    mt_refused(from, c, name, shape);
    snprintf(shape, sizeof shape, "expected [%llu, %llu, %llu]", (unsigned long long)t->dim[0], (unsigned long long)t->dim[1],
             (unsigned long long)t->dim[2]);
    mt_refused(from, c, name, shape);
  }
}

START_TEST(model_tensors) {
  static struct gguf files;
  for (int i = 0; i < ARRAY_LEN(mt_models); i++) {
    struct bk_error e = {0};
    struct arena whole = test_arena(8 << 20), a = whole;
    ck_assert(gguf_open(&files, mt_models[i], &a, &e));
    for (int k = 0; k < files.n_tensors; k++) // every third of a layer, another one in each file
      if (!str_starts(files.tensors[k].name, STR("blk.")) || k % 3 == i)
        mt_tensor_refused(mt_models[i], &files, i == 2 ? &arch_gemma3 : &arch_llama, i == 2 ? 7 : 2, true, &files.tensors[k]);
    gguf_close(&files);
    os_release(whole);
  }
}
END_TEST

START_TEST(model_weight_types) {
  struct mt_change c = {.what = MT_TYPE, .name = "output_norm.weight", .bits = 8};
  mt_refused(mt_models[0], c, "output_norm.weight", "of type Q8_0, expected F32, F16 or BF16");
  c.name = "token_embd.weight", c.bits = 12; // rows of 32, blocks of 256
  mt_refused(mt_models[0], c, "token_embd.weight", "256");
  c.bits = UINT32_MAX;
  mt_refused(mt_models[0], c, "token_embd.weight", "4294967295");
}
END_TEST

START_TEST(model_rope_factors) {
  static const float bad[] = {0.0f, -1.0f, 1e-9f, 1e9f};
  struct mt_change c = {.what = MT_FLOAT, .name = "rope_freqs.weight"};
  for (int i = 0; i < ARRAY_LEN(bad); i++) {
    c.value = bad[i];
    mt_refused(mt_models[1], c, "factors of rope", "element 0");
  }
  c.value = f32_from_bits(0x7FC00000u);
  mt_refused(mt_models[1], c, "factors of rope", "element 0");
  c.value = 8.0f;
  mt_accepted(mt_models[1], c);
}
END_TEST

/* ---- damage ---- */

START_TEST(model_cut_short) { // anywhere: refused, and in words
  struct arena whole = test_arena(8 << 20), a = whole;
  size_t size = mt_bytes(mt_models[2], &(struct mt_change){0}, &a).len;
  for (size_t at = 0; at < size; at += at < 7000 ? 97 : 3001) {
    struct bk_error e;
    ck_assert(!mt_open(mt_models[2], (struct mt_change){.what = MT_CUT, .bits = at}, &e));
    ck_assert_msg(e.code == ERR_DATA || e.code == ERR_NOINPUT, "at %zu: code %d", at, e.code);
    ck_assert(e.message[0] && !strchr(e.message, '\n'));
  }
  mt_refused(mt_models[2], (struct mt_change){.what = MT_CUT, .bits = size - 1 - 32}, "blk.6.ffn_down.weight", "");
  os_release(whole);
}
END_TEST

START_TEST(model_no_file) {
  struct bk_error e = {0};
  ck_assert(!model_open(&mt, "/nowhere/model.gguf", &(struct model_options){.max_rows = 16}, &e));
  test_error(&e, ERR_NOINPUT, "/nowhere/model.gguf");
  memset(&e, 0, sizeof e);
  ck_assert(!model_open(&mt, TEST_ROOT, &(struct model_options){.max_rows = 16}, &e));
  test_error(&e, ERR_NOINPUT, TEST_ROOT);
}
END_TEST

static int mt_maps(void) {
  FILE *f = fopen("/proc/self/maps", "r");
  int n = 0, c;
  while (f && (c = getc(f)) != EOF) n += c == '\n';
  if (f) fclose(f);
  return n;
}

START_TEST(model_leaves_nothing) { // maps and reservations of refused files are gone, and of closed ones
  struct arena whole = test_arena(8 << 20), a = whole;
  struct mt_change late = {.what = MT_DROP_TENSOR, .name = "blk.1.ffn_down.weight"};
  char folder[64], path[128];
  test_folder(folder);
  test_write(folder, "m.gguf", mt_bytes(mt_models[0], &late, &a));
  snprintf(path, sizeof path, "%s/m.gguf", folder);
  int before = 0;
  for (int i = 0; i < 40; i++) {
    struct bk_error e = {0}, none = {0};
    ck_assert(!model_open(&mt, path, &(struct model_options){.max_rows = 16}, &e));
    ck_assert(model_open(&mt, mt_models[0], &(struct model_options){.max_rows = 16}, &none));
    model_close(&mt);
    if (i == 3) before = mt_maps();
  }
  ck_assert_int_le(mt_maps(), before + 4); // the C library's own
  test_remove(folder);
}
END_TEST

static Suite *model_suite(void) {
  Suite *s = suite_create("model");
  TCase *t = tcase_create("model");
  tcase_add_test(t, model_reads);
  tcase_add_test(t, model_packs);
  tcase_add_test(t, model_written_again);
  tcase_add_test(t, model_keys);
  tcase_add_test(t, model_relations_of_keys);
  tcase_add_test(t, model_architectures);
  tcase_add_test(t, model_tensors);
  tcase_add_test(t, model_weight_types);
  tcase_add_test(t, model_rope_factors);
  tcase_add_test(t, model_cut_short);
  tcase_add_test(t, model_no_file);
  tcase_add_test(t, model_leaves_nothing);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
