/* check_convert.c -- encoders: how near they come, on blocks of every kind; what is written is read back and is the same.
 * SPDX-License-Identifier: MIT */

/* ---- encoders ---- */

enum { CV_MAX = 256 };

static uint64_t cv_state = 88172645463325252u;

static uint64_t cv_bits(void) { // xorshift64: the same numbers everywhere
  cv_state ^= cv_state << 13;
  cv_state ^= cv_state >> 7;
  return cv_state ^= cv_state << 17;
}

static float cv_uniform(void) { return (float)(cv_bits() >> 40) / 16777216.0f - 0.5f; } // -0.5 .. 0.5

static float cv_normal(void) { // nearly: the sum of twelve
  float sum = 0;
  for (int i = 0; i < 12; i++) sum += cv_uniform();
  return sum;
}

/* Root mean square error relative to that of the weights, of many normal blocks: measured, and a tenth. The step: most
 * error of one weight, relative to the largest of the block (where a block has a min, to their span). exact: what was
 * encoded and decoded once is encoded and decoded again to the same values. */
static const struct cv_bound { const char *name; double rms, step; bool exact; } cv_bounds[] = {
  {"F32", 0, 0, true}, {"F16", 3e-4, 4.9e-4, true}, {"BF16", 2.5e-3, 4e-3, true}, {"Q8_0", 0.006, 0.0041, true},
  {"Q4_0", 0.1, 0.126, true}, {"Q5_0", 0.05, 0.063, true}, {"IQ4_NL", 0.09, 0.14, true}, {"Q4_1", 0.09, 0.08, false},
  {"Q5_1", 0.045, 0.04, false}, {"Q4_K", 0.09, 0.1, false}, {"Q5_K", 0.045, 0.05, false}, {"Q6_K", 0.025, 0.035, false}};

static const struct quant *cv_quant(int i) {
  const struct quant *q = quant_named(str_from(cv_bounds[i].name));
  ck_assert(q && q->encode);
  return q;
}

/* y: x (n, a whole number of blocks) encoded and decoded */
static void cv_there_and_back(const struct quant *q, const float *x, int n, float *y) {
  uint64_t block[64];
  for (int i = 0; i < n; i += q->block) {
    memset(block, 0xA5, sizeof block); // nothing may be left as it was
    q->encode(x + i, block);
    q->decode(block, y + i);
  }
}

START_TEST(convert_all_formats) { // those that can be written are those with bounds here
  int n = 0;
  for (int i = 0; i < ARRAY_LEN(quant_table); i++) n += quant_table[i]->encode != NULL;
  ck_assert_int_eq(n, ARRAY_LEN(cv_bounds));
  for (int i = 0; i < ARRAY_LEN(convert_mixes); i++) ck_assert_ptr_nonnull((void *)(uintptr_t)convert_mixes[i].base->encode);
}
END_TEST

START_TEST(convert_normal) {
  for (int i = 0; i < ARRAY_LEN(cv_bounds); i++) {
    const struct quant *q = cv_quant(i);
    double errors = 0, squares = 0;
    for (int round = 0; round < 200; round++) {
      float x[CV_MAX], y[CV_MAX], scale = 0.001f * (float)(1 + round);
      for (int k = 0; k < CV_MAX; k++) x[k] = cv_normal() * scale;
      cv_there_and_back(q, x, CV_MAX, y);
      for (int k = 0; k < CV_MAX; k++) errors += (double)(y[k] - x[k]) * (double)(y[k] - x[k]) / (double)(scale * scale), squares++;
    }
    double rms = sqrt(errors / squares);
    ck_assert_msg(rms <= cv_bounds[i].rms, "%s: %.5f, expected at most %.5f", q->name, rms, cv_bounds[i].rms);
    ck_assert_msg(rms >= cv_bounds[i].rms * 0.6, "%s: %.5f, the bound of %.5f is too wide", q->name, rms, cv_bounds[i].rms);
  }
}
END_TEST

/* Block of one kind; false if there is no such kind. x (CV_MAX) */
static bool cv_make(int kind, float *x) {
  for (int k = 0; k < CV_MAX; k++) {
    switch (kind) {
    case 0: x[k] = 0; break;
    case 1: x[k] = 0.37f; break;
    case 2: x[k] = -1234.5f; break;
    case 3: x[k] = cv_uniform(); break;                              // both signs
    case 4: x[k] = cv_uniform() + 0.5f; break;                       // none below zero
    case 5: x[k] = cv_uniform() - 0.5f; break;                       // none above
    case 6: x[k] = k % 37 == 5 ? 50.0f : cv_normal() * 0.1f; break;  // outliers
    case 7: x[k] = k % 41 == 7 ? -50.0f : cv_normal() * 0.1f; break;
    case 8: x[k] = k == 100 ? 1.0f : 0; break;                       // one weight in all
    case 9: x[k] = k < 128 ? cv_normal() : cv_normal() * 1e-4f; break; // scales far apart
    case 10: x[k] = k % 2 ? 1.0f : -1.0f; break;
    case 11: x[k] = 1.3e5f * cv_uniform(); break;                    // up to the largest halves
    default: return false;
    }
  }
  return true;
}

START_TEST(convert_kinds) {
  float x[CV_MAX], y[CV_MAX], again[CV_MAX];
  for (int i = 0; i < ARRAY_LEN(cv_bounds); i++)
    for (int kind = 0; cv_make(kind, x); kind++) {
      const struct quant *q = cv_quant(i);
      if (kind == 11 && q->type == 1) continue; // which holds no more than 65504
      cv_there_and_back(q, x, CV_MAX, y);
      for (int at = 0; at < CV_MAX; at += q->block) {
        float lo = 0, hi = 0;
        for (int k = at; k < at + q->block; k++) lo = x[k] < lo ? x[k] : lo, hi = x[k] > hi ? x[k] : hi;
        double allowed = cv_bounds[i].step * (double)(hi - lo) + 1e-7;
        for (int k = at; k < at + q->block; k++)
          ck_assert_msg(fabs((double)y[k] - (double)x[k]) <= allowed, "%s, kind %d, weight %d: %g for %g, %g allowed", q->name, kind, k,
                        (double)y[k], (double)x[k], allowed);
      }
      if (!cv_bounds[i].exact) continue;
      cv_there_and_back(q, y, CV_MAX, again);
      for (int k = 0; k < CV_MAX; k++) ck_assert_msg(again[k] == y[k], "%s, kind %d, weight %d: not as before", q->name, kind, k);
    }
}
END_TEST

START_TEST(convert_again) { // blocks that an encoder made come back as they are where the format promises it
  float x[CV_MAX], y[CV_MAX], again[CV_MAX];
  for (int i = 0; i < ARRAY_LEN(cv_bounds); i++)
    for (int round = 0; round < 300; round++) {
      const struct quant *q = cv_quant(i);
      double errors = 0, squares = 0;
      for (int k = 0; k < CV_MAX; k++) x[k] = (round % 2 ? cv_normal() : cv_uniform()) * (float)(round + 1);
      cv_there_and_back(q, x, CV_MAX, y);
      cv_there_and_back(q, y, CV_MAX, again);
      for (int k = 0; k < CV_MAX; k++) {
        if (cv_bounds[i].exact)
          ck_assert_msg(again[k] == y[k], "%s, round %d, weight %d: %g, was %g", q->name, round, k, (double)again[k], (double)y[k]);
        errors += (double)(again[k] - y[k]) * (double)(again[k] - y[k]);
        squares += (double)y[k] * (double)y[k];
      }
      ck_assert_msg(sqrt(errors / squares) <= cv_bounds[i].rms, "%s: %g again", q->name, sqrt(errors / squares));
    }
}
END_TEST

START_TEST(convert_extremes) { // never anything but numbers, and nothing undefined on the way
  static const float tiny[] = {1e-45f, 1e-40f, 1e-30f, 1e-12f, 1e-9f, 1e-7f, 6e-8f, FIT_TOP};
  float x[CV_MAX], y[CV_MAX];
  for (int i = 0; i < ARRAY_LEN(cv_bounds); i++)
    for (int t = 0; t < ARRAY_LEN(tiny); t++)
      for (int pattern = 0; pattern < 4; pattern++) {
        const struct quant *q = cv_quant(i);
        for (int k = 0; k < CV_MAX; k++)
          x[k] = tiny[t] * (pattern == 0 ? 1 : pattern == 1 ? -1 : pattern == 2 ? 2 * cv_uniform() : k == 77 ? 1 : 0);
        cv_there_and_back(q, x, CV_MAX, y);
        for (int k = 0; k < CV_MAX; k++) {
          ck_assert_msg(y[k] - y[k] == 0, "%s: %g became %g", q->name, (double)x[k], (double)y[k]);
          ck_assert_msg(fabs((double)y[k] - (double)x[k]) <= (t == ARRAY_LEN(tiny) - 1 ? (double)FIT_TOP : 8e-6), "%s: %g became %g",
                        q->name, (double)x[k], (double)y[k]);
        }
      }
}
END_TEST

START_TEST(convert_rounding) { // floats: to nearest, ties to even, cut at the end of the range
  static const struct { const char *name; float in, out; } cases[] = {
    {"F16", 65504, 65504}, {"F16", 65519, 65504}, {"F16", 65520, 65504}, {"F16", -1e30f, -65504}, {"F16", 2049, 2048},
    {"F16", 2051, 2052}, {"F16", 2.9802322e-8f, 0}, {"F16", 2.9802326e-8f, 5.9604645e-8f}, {"BF16", 257, 256}, {"BF16", 259, 260},
    {"BF16", 3.4028235e38f, 3.3895314e38f}, {"BF16", -3.4028235e38f, -3.3895314e38f}, {"BF16", 1e-45f, 0}, {"F32", 1e-45f, 1e-45f}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    float y;
    cv_there_and_back(quant_named(str_from(cases[i].name)), &cases[i].in, 1, &y);
    ck_assert_msg(y == cases[i].out, "%s: %.9g became %.9g", cases[i].name, (double)cases[i].in, (double)y);
  }
}
END_TEST

/* ---- files ---- */

static struct gguf cv_in, cv_out;

static void cv_quantize(const char *in, const char *out, const char *type, int threads) {
  struct arena a = test_arena(64 << 20);
  struct convert_report r;
  struct bk_error e = {0};
  ck_assert_msg(convert_quantize(in, out, type, threads, NULL, &r, &a, &e), "%s", e.message);
  ck_assert_str_eq(r.type, type);
}

static void cv_open(struct gguf *f, const char *path, struct arena *a) {
  struct bk_error e = {0};
  ck_assert_msg(gguf_open(f, path, a, &e), "%s", e.message);
  for (int i = 0; i < f->n_tensors; i++) {
    const struct quant *q = quant_find(f->tensors[i].type);
    ck_assert_msg(gguf_locate(f, &f->tensors[i], (size_t)q->block, q->block_bytes, &e), "%s", e.message);
  }
}

static bool cv_replaced(struct str name) { return str_is(name, "general.file_type") || str_is(name, "general.quantization_version"); }

static void cv_same_keys(uint32_t file_type) {
  int replaced = 0;
  int64_t n = -1;
  for (int i = 0; i < cv_in.n_keys; i++) {
    const struct gguf_key *k = &cv_in.keys[i];
    const struct gguf_value *v = gguf_find(&cv_out, k->name);
    replaced += cv_replaced(k->name);
    if (cv_replaced(k->name)) continue;
    ck_assert_msg(v && v->type == k->value.type && v->is_array == k->value.is_array && v->count == k->value.count &&
                  str_eq(v->bytes, k->value.bytes), "key " STR_FMT, STR_ARG(k->name));
  }
  ck_assert_int_eq(cv_out.n_keys, cv_in.n_keys - replaced + 2);
  ck_assert(gguf_int(gguf_find(&cv_out, STR("general.file_type")), 0, &n) && n == (int64_t)file_type);
  ck_assert(gguf_int(gguf_find(&cv_out, STR("general.quantization_version")), 0, &n) && n == 2);
}

/* Where the format stayed, the same bytes; else values that are near. */
static void cv_same_tensor(const struct gguf_tensor *t, const struct gguf_tensor *to) {
  const struct quant *from = quant_find(t->type), *q = quant_find(to->type);
  ck_assert(str_eq(t->name, to->name) && t->n_dims == to->n_dims && memcmp(t->dim, to->dim, sizeof t->dim) == 0);
  if (from == q) {
    ck_assert(t->n_bytes == to->n_bytes && memcmp(t->data, to->data, t->n_bytes) == 0);
    return;
  }
  size_t n = t->n_bytes / from->block_bytes * (size_t)from->block;
  float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
  for (size_t i = 0; i < n; i += (size_t)from->block) from->decode(t->data + i / (size_t)from->block * from->block_bytes, x + i);
  for (size_t i = 0; i < n; i += (size_t)q->block) q->decode(to->data + i / (size_t)q->block * q->block_bytes, y + i);
  double errors = 0, squares = 0;
  for (size_t i = 0; i < n; i++) errors += (double)(x[i] - y[i]) * (double)(x[i] - y[i]), squares += (double)x[i] * (double)x[i];
  ck_assert_msg(sqrt(errors / squares) < 0.12, "tensor " STR_FMT " as %s: %g", STR_ARG(t->name), q->name, sqrt(errors / squares));
  free(x);
  free(y);
}

START_TEST(convert_files) { // every type, of every fixture
  static const char *const models[] = {"llama-tiny-f32", "llama-tiny-mixed", "gemma3-tiny-f16"};
  char folder[64], in[128], out[128];
  snprintf(out, sizeof out, "%s/out.gguf", test_folder(folder));
  for (int m = 0; m < ARRAY_LEN(models); m++)
    for (int i = 0; i < ARRAY_LEN(convert_mixes); i++) {
      struct arena a = test_arena(16 << 20);
      snprintf(in, sizeof in, TEST_ROOT "/golden/%s.gguf", models[m]);
      cv_quantize(in, out, convert_mixes[i].name, 2);
      cv_open(&cv_in, in, &a);
      cv_open(&cv_out, out, &a);
      cv_same_keys(convert_mixes[i].file_type);
      ck_assert_int_eq(cv_in.n_tensors, cv_out.n_tensors);
      for (int t = 0; t < cv_in.n_tensors; t++) cv_same_tensor(&cv_in.tensors[t], &cv_out.tensors[t]);
      size_t end = cv_out.data_start[0];
      for (int t = 0; t < cv_out.n_tensors; t++) end += size_align(cv_out.tensors[t].n_bytes, (size_t)cv_out.alignment);
      ck_assert_uint_eq(end, cv_out.files[0].size); // one after the other, padded, nothing behind
      gguf_close(&cv_in);
      gguf_close(&cv_out);
      os_release(a);
    }
  test_remove(folder);
}
END_TEST

START_TEST(convert_threads) { // the same bytes from one thread and from three
  char folder[64], one[128], three[128];
  struct arena a = test_arena(16 << 20);
  struct bk_error e = {0};
  struct str x, y;
  snprintf(one, sizeof one, "%s/one.gguf", test_folder(folder));
  snprintf(three, sizeof three, "%s/three.gguf", folder);
  cv_quantize(TEST_ROOT "/golden/llama-tiny-mixed.gguf", one, "Q4_K_M", 1);
  cv_quantize(TEST_ROOT "/golden/llama-tiny-mixed.gguf", three, "Q4_K_M", 3);
  ck_assert(os_read_file(one, 1 << 20, &a, &x, &e) && os_read_file(three, 1 << 20, &a, &y, &e));
  ck_assert(x.len > 10000 && str_eq(x, y));
  test_remove(folder);
}
END_TEST

START_TEST(convert_choice) { // llama.cpp's rule for _K_M, here with 30 layers and the widths of SmolLM2 135M
  struct convert_plan p = {.mix = convert_mix_named(STR("q4_k_m")), .n_layer = 30, .n_head = 9, .n_head_kv = 3, .tied = true};
  static const struct { const char *name; int n_dims; uint64_t cols; const char *is; } cases[] = {
    {"token_embd.weight", 2, 576, "Q8_0"}, {"token_embd.weight", 2, 1024, "Q6_K"}, {"blk.0.attn_norm.weight", 1, 576, "F32"},
    {"blk.0.attn_q.weight", 2, 576, "Q5_0"}, {"blk.0.attn_q.weight", 2, 512, "Q4_K"}, {"blk.0.attn_q.weight", 2, 48, "F16"},
    {"blk.0.attn_v.weight", 2, 576, "Q8_0"}, {"blk.2.ffn_down.weight", 2, 1536, "Q6_K"}, {"blk.3.ffn_down.weight", 2, 1536, "Q4_K"},
    {"blk.4.ffn_down.weight", 2, 1536, "Q4_K"}, {"blk.5.ffn_down.weight", 2, 1536, "Q6_K"}, {"blk.25.ffn_down.weight", 2, 1536, "Q4_K"},
    {"blk.26.ffn_down.weight", 2, 1536, "Q6_K"}, {"blk.29.attn_v.weight", 2, 256, "Q6_K"}, {"blk.7.ffn_gate_inp.weight", 2, 256, "F32"},
    {"blk.7.attn_q.bias", 1, 256, "F32"}, {"blk.7.attn_q_norm.weight", 2, 256, "F32"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    struct gguf_tensor t = {.name = str_from(cases[i].name), .n_dims = cases[i].n_dims, .dim = {cases[i].cols, 1, 1, 1}};
    if (t.n_dims == 2) t.dim[1] = 4;
    ck_assert_msg(str_is(str_from(convert_choose(&p, &t)->name), cases[i].is), "%s of %d: %s, expected %s", cases[i].name,
                  (int)cases[i].cols, convert_choose(&p, &t)->name, cases[i].is);
  }
  p.tied = false;
  struct gguf_tensor t = {.name = STR("token_embd.weight"), .n_dims = 2, .dim = {1024, 4, 1, 1}};
  ck_assert_str_eq(convert_choose(&p, &t)->name, "Q4_K");
  t.name = STR("output.weight");
  ck_assert_str_eq(convert_choose(&p, &t)->name, "Q6_K");
}
END_TEST

START_TEST(convert_failures) {
  char folder[64], out[128];
  struct arena a = test_arena(64 << 20);
  struct convert_report r;
  struct bk_error e = {0};
  snprintf(out, sizeof out, "%s/out.gguf", test_folder(folder));
  ck_assert(!convert_quantize(TEST_ROOT "/golden/llama-tiny-f32.gguf", out, "Q3_K", 1, NULL, &r, &a, &e));
  test_error(&e, ERR_USAGE, "what can be written is F32, F16, BF16, Q8_0, Q6_K");
  test_write(folder, "in.gguf", STR("GGUF"));
  snprintf(out, sizeof out, "%s/in.gguf", folder);
  e.code = 0;
  ck_assert(!convert_quantize(out, "/nowhere/out.gguf", "Q4_0", 1, NULL, &r, &a, &e));
  test_error(&e, ERR_DATA, "in.gguf");
  ck_assert(os_unfinished[0] == 0);
  test_remove(folder);
}
END_TEST

static Suite *convert_suite(void) {
  Suite *s = suite_create("convert");
  TCase *t = tcase_create("convert");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, convert_all_formats);
  tcase_add_test(t, convert_normal);
  tcase_add_test(t, convert_kinds);
  tcase_add_test(t, convert_again);
  tcase_add_test(t, convert_extremes);
  tcase_add_test(t, convert_rounding);
  tcase_add_test(t, convert_files);
  tcase_add_test(t, convert_threads);
  tcase_add_test(t, convert_choice);
  tcase_add_test(t, convert_failures);
  suite_add_tcase(s, t);
  return s;
}
