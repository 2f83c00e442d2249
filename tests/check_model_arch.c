/* check_model_arch.c -- every architecture there is, from its own tables: a tiny file is made of its keys and tensors, opens and
 * runs; then each key and each tensor of it is missing or wrong, and then keys take values that no model has. Whatever a file says:
 * it is refused in one sentence, or it runs.
 * SPDX-License-Identifier: MIT */

static struct engine ma_engine;
static struct model ma_model;
enum { MA_VOCAB = 20, MA_LABELS = 2, MA_MOST = 300, MA_WAYS = 3 };
enum { MA_ALL, MA_LEAST, MA_EXPERTS }; // all tensors a file may have; those it needs; experts where there is a choice

struct ma_key { const char *suffix; double value; };

/* What keys are where nobody changes them. Others are absent unless required. */
static const struct ma_key ma_usual[] = {
  {"context_length", 48}, {"embedding_length", 32}, {"block_count", 3}, {"feed_forward_length", 40}, {"attention.head_count", 4},
  {"attention.layer_norm_rms_epsilon", 1e-5}, {"attention.layer_norm_epsilon", 1e-5}, {"attention.sliding_window", 8},
  {"expert_count", 5}, {"expert_used_count", 2}, {"expert_feed_forward_length", 24}, {"expert_shared_count", 1},
  {"leading_dense_block_count", 1}, {"attention.kv_lora_rank", 24}, {"attention.q_lora_rank", 16}, {"rope.dimension_count", 4},
  {"attention.max_alibi_bias", 8}};

struct ma_tensor { char name[64]; size_t offset; int layer; int64_t dim[3]; };
struct ma_file {
  const struct arch *arch;
  int way;
  struct ma_key changed[3];
  int n_changed;
  struct ma_tensor tensors[MA_MOST];
  int n_tensors;
};

static const struct key_row *ma_row(const struct arch *arch, const char *suffix) { // the last counts
  const struct key_row *found = NULL;
  for (const struct key_row *const *list = arch->keys; *list; list++)
    for (const struct key_row *row = *list; row->suffix; row++)
      if (!strcmp(row->suffix, suffix)) found = row;
  return found;
}

static void ma_put_key(struct buf *b, const struct arch *arch, const struct key_row *row, double value) {
  char name[128];
  snprintf(name, sizeof name, "%s.%s", arch->name, row->suffix);
  struct mt_change c = {.name = name, .type = row->kind == KEY_INT ? GGUF_I64 : row->kind == KEY_BOOL ? GGUF_BOOL : GGUF_F64};
  c.bits = row->kind == KEY_FLOAT ? mt_f64(value) : (uint64_t)(int64_t)value;
  mt_key(b, &c);
}

/* The file as bytes: its keys, then its tensors of small numbers. */
static struct str ma_bytes(const struct ma_file *f, struct arena *a) {
  struct ma_key keys[ARRAY_LEN(ma_usual) + 3];
  int n = 0;
  size_t size = 65536, at = 0;
  for (int i = 0; i < ARRAY_LEN(ma_usual); i++) {
    bool mine = ma_row(f->arch, ma_usual[i].suffix) != NULL;
    for (int k = 0; k < f->n_changed; k++) mine = mine && strcmp(f->changed[k].suffix, ma_usual[i].suffix);
    if (mine) keys[n++] = ma_usual[i];
  }
  for (int k = 0; k < f->n_changed; k++) keys[n++] = f->changed[k];
  for (int i = 0; i < f->n_tensors; i++) size += (size_t)(f->tensors[i].dim[0] * f->tensors[i].dim[1] * f->tensors[i].dim[2]) * 4 + 256;
  struct buf b = buf_new(a, size);
  buf_put(&b, STR("GGUF"));
  mt_uint(&b, 3, 4);
  mt_uint(&b, (uint64_t)f->n_tensors, 8);
  mt_uint(&b, (uint64_t)n + 2, 8);
  mt_key(&b, &(struct mt_change){.name = "general.architecture", .type = GGUF_STRING,
                                  .text = f->arch->name});
  mt_string(&b, STR("tokenizer.ggml.tokens"));
  mt_uint(&b, GGUF_ARRAY, 4), mt_uint(&b, GGUF_STRING, 4), mt_uint(&b, MA_VOCAB, 8);
  for (int i = 0; i < MA_VOCAB; i++) mt_string(&b, STR("x"));
  for (int i = 0; i < n; i++) ma_put_key(&b, f->arch, ma_row(f->arch, keys[i].suffix), keys[i].value);
  for (int i = 0; i < f->n_tensors; i++) {
    const struct ma_tensor *t = &f->tensors[i];
    mt_string(&b, str_from(t->name));
    mt_uint(&b, 3, 4);
    for (int d = 0; d < 3; d++) mt_uint(&b, (uint64_t)t->dim[d], 8);
    mt_uint(&b, 0, 4); // F32
    mt_uint(&b, at, 8);
    at += size_align((size_t)(t->dim[0] * t->dim[1] * t->dim[2]) * 4, 32);
  }
  while (b.len % 32) buf_byte(&b, 0);
  for (size_t i = 0; i < at; i += 4) mt_uint(&b, f32_bits(0.02f + 0.01f * (float)(i / 4 % 7)), 4);
  ck_assert(!b.full);
  return buf_str(&b);
}

static bool ma_has(const struct ma_file *f, const char *name, size_t offset, int layer) { // by its name, or what it is for
  for (int i = 0; i < f->n_tensors; i++)
    if (name ? !strcmp(f->tensors[i].name, name) : f->tensors[i].offset == offset && f->tensors[i].layer == layer) return true;
  return false;
}

static void ma_add(struct ma_file *f, const struct hparams *hp, const struct tensor_row *row, int layer) {
  struct ma_tensor t = {.offset = row->offset, .layer = layer, .dim = {1, 1, 1}};
  const bool vector = row->kind == TENSOR_VECTOR, missing = ma_has(f, NULL, row->offset, layer);
  const bool other = ma_has(f, NULL, row->other, layer);
  if (layer < 0) snprintf(t.name, sizeof t.name, "%s", row->name);
  else snprintf(t.name, sizeof t.name, "blk.%d%s", layer, row->name + 6);
  if (row->need == MAY && f->way != MA_ALL) return;
  if (row->need == UNLESS && (missing || other)) return;
  if (row->need == WITH && !other) return;
  const int64_t whole = model_dim(hp, row->whole != DIM_NONE ? row->whole : vector ? row->cols : row->rows);
  t.dim[0] = vector ? whole : model_dim(hp, row->cols);
  t.dim[1] = !vector ? whole : model_dim(hp, row->rows);
  if (row->kind == TENSOR_EXPERTS) t.dim[2] = hp->n_expert;
  if (row->kind == TENSOR_HEADS) t.dim[2] = hp->n_head;
  for (int d = 0; d < 3; d++)
    if (t.dim[d] == 0) t.dim[d] = MA_LABELS; // token types and labels have no key: the tensor says how many
  if (ma_has(f, t.name, 0, 0) && row->whole == DIM_NONE) return;
  ck_assert_int_lt(f->n_tensors, MA_MOST);
  if (ma_has(f, t.name, 0, 0)) t.name[0] = 0; // one tensor for several weights: written once
  f->tensors[f->n_tensors++] = t;
}

/* Tensors as the tables have them for these hyperparameters. Returns false where they would be large. */
static bool ma_tensors(struct ma_file *f, const struct hparams *hp) {
  int n_lists = 0;
  while (f->arch->tensors[n_lists]) n_lists++;
  f->n_tensors = 0;
  if (hp->n_layer > 6) return false;
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < n_lists; i++) { // of alternatives the first, or the last
      const struct tensor_row *row = f->arch->tensors[f->way == MA_EXPERTS ? n_lists - 1 - i : i];
      for (; row->name; row++)
        for (int l = strstr(row->name, "%d") ? 0 : -1; l < (strstr(row->name, "%d") ? (int)hp->n_layer : 0); l++)
          if (pass == (row->need == WITH)) ma_add(f, hp, row, l);
    }
  int kept = 0;
  double elements = 0;
  for (int i = 0; i < f->n_tensors; i++)
    if (f->tensors[i].name[0]) f->tensors[kept++] = f->tensors[i];
  f->n_tensors = kept;
  for (int i = 0; i < kept; i++) elements += (double)f->tensors[i].dim[0] * (double)f->tensors[i].dim[1] * (double)f->tensors[i].dim[2];
  return elements < 1e6;
}

static void ma_refused(const struct bk_error *e) {
  ck_assert_msg((e->code == ERR_DATA || e->code == ERR_OS) && e->message[0] && !strchr(e->message, '\n'), "code %d: %s", e->code,
                e->message);
}

/* Writes the file to a path: with no tensors, then those it asks for, then what it asks for once it has those. False: its keys are
 * refused, or the tensors would be large. */
static bool ma_write(struct ma_file *f, const char *folder, const char *path, const struct arena a) {
  const struct model_options o = {.max_rows = 8};
  bool good = true;
  f->n_tensors = 0;
  for (int pass = 0; pass < 3 && good; pass++) {
    struct bk_error e = {0};
    struct arena scratch = a;
    test_write(folder, "m.gguf", ma_bytes(f, &scratch));
    if (model_open(&ma_model, path, &o, &e)) model_close(&ma_model);
    else ma_refused(&e);
    memset(&e, 0, sizeof e);
    memset(&ma_model, 0, sizeof ma_model);
    scratch = a;
    if (!gguf_open(&ma_model.gguf, path, &scratch, &e)) ck_abort_msg("%s", e.message);
    ma_model.tables = scratch;
    good = model_read_hparams(&ma_model, &e) && (pass == 2 || ma_tensors(f, &ma_model.hp));
    gguf_close(&ma_model.gguf);
  }
  return good;
}

static int32_t ma_logits(struct request *r, int position, const float *logits) {
  (void)r, (void)position, (void)logits;
  return 3;
}

/* A prompt of some ids and a few more, beside another that becomes a vector. */
static void ma_run(const char *path, struct arena a) {
  struct bk_error e = {0};
  const struct engine_options o = {.n_threads = 2, .n_sequences = 2};
  if (!engine_open(&ma_engine, path, &o, &e) || !engine_load(&ma_engine, &e)) {
    ma_refused(&e);
    return;
  }
  struct request r[2];
  struct pool pool;
  const int n = ma_engine.options.n_context < 9 ? ma_engine.options.n_context : 9;
  ck_assert(pool_new(&pool, POOL_MEAN, (int)ma_engine.model.hp.n_embd, &a));
  for (int i = 0; i < 2; i++) {
    int32_t *ids = ARENA_NEW(&a, int32_t, 16);
    for (int k = 0; k < n; k++) ids[k] = (int32_t)((k * 7 + i) % ma_engine.model.hp.n_vocab);
    r[i] = (struct request){.ids = ids, .n_prompt = n, .n_max = n + 3, .pool = i ? &pool : NULL};
    if (i == 0 && ma_engine.model.tape.result != VALUE_NONE) r[i].logits = ma_logits;
    ck_assert_msg(engine_submit(&ma_engine, &r[i], &e), "%s", e.message);
  }
  while (engine_step(&ma_engine)) {}
  for (int i = 0; i < 2; i++) ck_assert(r[i].state == REQUEST_DONE && r[i].n_done >= n);
  ck_assert(pool.count == n && ma_engine.kv.n_free == ma_engine.kv.n_pages);
  engine_close(&ma_engine);
}

static struct ma_file ma_one;
static const char *ma_folder(char folder[64], char path[128]) {
  snprintf(path, 128, "%s/m.gguf", test_folder(folder));
  return path;
}

START_TEST(arch_opens_and_runs) {
  char folder[64], path[128];
  struct arena a = test_arena(64 << 20);
  ma_one = (struct ma_file){.arch = arch_table[_i / MA_WAYS], .way = _i % MA_WAYS};
  ma_folder(folder, path);
  ck_assert_msg(ma_write(&ma_one, folder, path, a), "%s: its own file is refused", ma_one.arch->name);
  struct bk_error e = {0};
  const struct model_options o = {.max_rows = 8};
  ck_assert_msg(model_open(&ma_model, path, &o, &e), "%s", e.message);
  tt_check_plan(&ma_model.tape);
  for (int l = 0; l < ma_model.hp.n_layer; l++)
    ck_assert(!ma_model.layers[l].up_experts.quant || ma_model.routes[l].gate != GATE_ALL);
  model_close(&ma_model);
  ma_run(path, a);
  test_remove(folder);
}
END_TEST

START_TEST(arch_keys_and_tensors) {
  static struct gguf files;
  char folder[64], path[128];
  struct bk_error e = {0};
  struct arena a = test_arena(64 << 20);
  ma_one = (struct ma_file){.arch = arch_table[_i / MA_WAYS], .way = _i % MA_WAYS};
  if (ma_one.way == MA_LEAST) return; // the other two have its tensors
  ma_folder(folder, path);
  ck_assert(ma_write(&ma_one, folder, path, a));
  if (ma_one.way == MA_EXPERTS) mt_keys_refused(path, ma_one.arch);
  ck_assert(gguf_open(&files, path, &a, &e));
  for (int k = 0; k < files.n_tensors; k++) // of layers one, another for every architecture
    if (!str_starts(files.tensors[k].name, STR("blk.")) || files.tensors[k].name.ptr[4] == '0' + _i / MA_WAYS % 3)
      mt_tensor_refused(path, &files, ma_one.arch, 3, false, &files.tensors[k]);
  gguf_close(&files);
  test_remove(folder);
}
END_TEST

/* Up to three keys take any value within their ranges, the edges most of all; the tensors follow. */
START_TEST(arch_hostile_keys) {
  static const double values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 24, 31, 32, 33, 48, 64, 100, 256, 1000, 1024};
  char folder[64], path[128];
  struct arena a = test_arena(256 << 20);
  const struct arch *arch = arch_table[_i];
  const struct key_row *rows[128];
  int n_rows = 0, n_run = 0;
  for (const struct key_row *const *list = arch->keys; *list; list++)
    for (const struct key_row *row = *list; row->suffix; row++)
      if (row->kind != KEY_STRING) rows[n_rows++] = ma_row(arch, row->suffix);
  ma_folder(folder, path);
  for (int round = 0; round < 80; round++) {
    ma_one = (struct ma_file){.arch = arch, .way = tt_below(MA_WAYS), .n_changed = 1 + tt_below(3)};
    for (int i = 0; i < ma_one.n_changed; i++) {
      const struct key_row *row = rows[tt_below(n_rows)];
      double value = tt_below(8) ? values[tt_below(ARRAY_LEN(values))] : tt_below(2) ? row->max : row->min;
      ma_one.changed[i] = (struct ma_key){row->suffix, value < row->min ? row->min : value > row->max ? row->max : value};
      for (int k = 0; k < i; k++)
        if (!strcmp(ma_one.changed[k].suffix, row->suffix)) ma_one.n_changed = i; // each once
    }
    if (!ma_write(&ma_one, folder, path, a)) continue;
    ma_run(path, a);
    n_run++;
  }
  ck_assert_int_gt(n_run, 10);
  test_remove(folder);
}
END_TEST

START_TEST(arch_too_many_pairs) { // of a long text all at once and its experts: refused, in any architecture that may have both
  char folder[64], path[128];
  struct arena a = test_arena(64 << 20);
  int n = 0;
  ma_folder(folder, path);
  for (int i = 0; i < ARRAY_LEN(arch_table); i++) {
    struct bk_error e = {0};
    ma_one = (struct ma_file){.arch = arch_table[i], .way = MA_EXPERTS, .changed = {{"context_length", 1 << 26}, {"attention.causal", 0}},
                              .n_changed = 2};
    if (!ma_row(ma_one.arch, "expert_count") || !ma_write(&ma_one, folder, path, a)) continue;
    ck_assert(!model_open(&ma_model, path, &(struct model_options){.n_context = 1 << 26, .max_rows = 8}, &e));
    test_error(&e, ERR_USAGE, "67108864 positions at once");
    n++;
  }
  ck_assert_int_gt(n, 3);
  test_remove(folder);
}
END_TEST

static Suite *model_arch_suite(void) {
  Suite *s = suite_create("model_arch");
  TCase *t = tcase_create("model_arch");
  tcase_add_loop_test(t, arch_opens_and_runs, 0, ARRAY_LEN(arch_table) * MA_WAYS);
  tcase_add_loop_test(t, arch_keys_and_tensors, 0, ARRAY_LEN(arch_table) * MA_WAYS);
  tcase_add_test(t, arch_too_many_pairs);
  tcase_add_loop_test(t, arch_hostile_keys, 0, ARRAY_LEN(arch_table));
  tcase_set_timeout(t, 120);
  suite_add_tcase(s, t);
  return s;
}
