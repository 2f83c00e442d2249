/* check_tape.c -- the plan of scratch memory (no two values alive at once overlap: on random tapes and on the models of
 * tests/golden), slices, the printout; and every operation run alone against the same thing said in plain doubles.
 * SPDX-License-Identifier: MIT */

static const char *const tt_models[] = {TEST_ROOT "/golden/llama-tiny-f32.gguf",
                                        TEST_ROOT "/golden/llama-tiny-mixed.gguf",
                                        TEST_ROOT "/golden/gemma3-tiny-f16.gguf"};

/* ---- planning ---- */

static int tt_root(const struct tape *t, int value) {
  return t->values[value].slice_of == VALUE_NONE ? value : t->values[value].slice_of;
}

/* From which operation to which a value is needed, found by looking at the operations, not at what the tape noted. The
 * head runs again for every few output rows: what it reads from before it must last to the end. */
static void tt_lifetimes(const struct tape *t, int *first, int *last) {
  int head = t->n_ops;
  for (int v = 0; v < t->n_values; v++) first[v] = INT_MAX, last[v] = -1;
  for (int i = t->n_ops - 1; i >= 0; i--) {
    const struct op *op = &t->ops[i];
    if (op->head) head = i;
    for (int k = 0; k < 6; k++) {
      int v = k < 3 ? op->in[k] : op->out[k - 3];
      if (v == VALUE_NONE) continue;
      v = tt_root(t, v);
      first[v] = i;
      last[v] = last[v] < i ? i : last[v];
    }
  }
  if (t->input != VALUE_NONE) {
    int x = tt_root(t, t->values[t->input].column);
    last[x] = t->n_ops;
    first[x] = first[x] == INT_MAX ? 0 : first[x];
    first[t->input] = head;
    last[t->input] = last[t->input] < head ? head : last[t->input];
  }
  if (t->result != VALUE_NONE) last[tt_root(t, t->result)] = t->n_ops;
}

static size_t tt_end(const struct tape *t, int value) {
  const struct value *v = &t->values[value];
  return v->offset + (size_t)v->stride * sizeof(float) * (size_t)(v->head ? HEAD_ROWS : t->max_rows);
}

static void tt_check_plan(const struct tape *t) {
  static int first[8192], last[8192];
  ck_assert_int_le(t->n_values, ARRAY_LEN(first));
  tt_lifetimes(t, first, last);
  for (int i = 0; i < t->n_values; i++) {
    const struct value *a = &t->values[i];
    ck_assert(a->stride >= a->width && a->width > 0);
    if (a->slice_of != VALUE_NONE) { // inside its parent, row for row
      const struct value *parent = &t->values[a->slice_of];
      ck_assert(a->offset == parent->offset + (size_t)a->column * sizeof(float) && a->stride == parent->stride);
      ck_assert(a->column >= 0 && a->column + a->width <= parent->width);
      continue;
    }
    ck_assert_uint_eq(a->offset % 64, 0);
    ck_assert_uint_le(tt_end(t, i), t->scratch_bytes);
    for (int j = 0; j < i && last[i] >= 0; j++) {
      const struct value *b = &t->values[j];
      if (b->slice_of != VALUE_NONE || last[j] < 0) continue;
      bool together = first[i] <= last[j] && first[j] <= last[i];
      bool overlap = a->offset < tt_end(t, j) && b->offset < tt_end(t, i);
      ck_assert_msg(!(together && overlap), "values %d (operations %d to %d) and %d (%d to %d) share memory", i,
                    first[i], last[i], j, first[j], last[j]);
    }
  }
}

static uint64_t tt_state = 11;
static int tt_below(int n) { return (int)(sample_uniform(&tt_state) * n); }
static const struct norm tt_plain = {.eps = 1e-5f};
static float tt_float(void) { return (float)(sample_uniform(&tt_state) * 2 - 1); }

/* Tapes of every kind of operation in any order that the builder allows. */
static void tt_random_tape(struct tape *t, struct arena *a) {
  static struct weight weights[64];
  static struct rope rope = {NULL, 1, 16, false};
  struct bk_error e = {0};
  int alive[64], n = 0, max = 4 + tt_below(60);
  ck_assert(tape_new(t, max + 4, a, &e));
  for (int i = 0; i < 64; i++)
    weights[i] = (struct weight){STR("w"), i % 2 ? &quant_f32 : &quant_q8_0, NULL, NULL, 1 + tt_below(300), 32 * (1 + tt_below(9)), 1,
                                 false, NULL};
  alive[n++] = tape_embed(t, &weights[0], 1);
  t->values[alive[0]].width = t->values[alive[0]].stride = 64;
  int angles = tape_angles(t, &rope);
  while (t->n_ops < max - 2 && n < 50) {
    struct weight *w[3] = {&weights[tt_below(64)], &weights[tt_below(64)], &weights[tt_below(64)]};
    int x = alive[tt_below(n)], y = alive[tt_below(n)], out[3], many = 1 + tt_below(3);
    switch (tt_below(6)) {
    case 0:
      tape_matmul(t, tt_below(2) ? TAPE_ROWS(x) : TAPE_GLU(x, y, ACT_SILU), many, (const struct weight *const *)w, out);
      for (int i = 0; i < many; i++) alive[n++] = out[i];
      break;
    case 1: tape_matmul_add(t, TAPE_NORM(x, tt_plain), w[0], y); break;
    case 2: tape_add(t, x, tt_plain, 1, tt_below(2) ? alive[tt_below(n)] : VALUE_NONE, y); break;
    case 3: alive[n++] = tape_slice(t, tt_root(t, x), 0, 1 + tt_below(t->values[tt_root(t, x)].width)); break;
    case 4: {
      struct tape_heads h = {.n_head = 2,
                             .n_head_kv = 1,
                             .head_dim = 16,
                             .value_dim = 16 + tt_below(100),
                             .rope = tt_below(2) ? &rope : NULL,
                             .angles = angles};
      int v = alive[tt_below(n)];
      alive[n++] = tape_attention(t, &h, x, y, v);
      break;
    }
    default: tape_logits(t, x, 1, 30); break;
    }
    if (n > 12) { // some are never used again
      alive[tt_below(n)] = alive[n - 1];
      n--;
    }
  }
  int x = tape_head(t, tt_root(t, alive[tt_below(n)])), out[1];
  const struct weight *w[1] = {&weights[1]};
  tape_matmul(t, TAPE_NORM(x, tt_plain), 1, w, out);
  if (tt_below(2)) tape_logits(t, out[0], 1, 30);
  tape_result(t, out[0]);
}

START_TEST(tape_random_plans) {
  struct arena whole = test_arena(4 << 20);
  for (int round = 0; round < 2000; round++) {
    struct arena a = whole;
    struct tape t;
    tt_random_tape(&t, &a);
    tape_plan(&t, 1 + tt_below(64));
    tt_check_plan(&t);
    tape_plan(&t, 256); // planned again for another number of rows
    tt_check_plan(&t);
  }
}
END_TEST

START_TEST(tape_model_plans) {
  static const int rows[] = {1, 3, 64, 256};
  static struct model m;
  for (int i = 0; i < ARRAY_LEN(tt_models); i++)
    for (int r = 0; r < ARRAY_LEN(rows); r++) {
      struct bk_error e = {0};
      ck_assert_msg(model_open(&m, tt_models[i], &(struct model_options){.max_rows = rows[r]}, &e), "%s", e.message);
      tt_check_plan(&m.tape);
      size_t all = 0, widest = 0; // the plan is worth having: far less than every value in a place of its own
      for (int v = 0; v < m.tape.n_values; v++) all += tt_end(&m.tape, v) - m.tape.values[v].offset;
      for (int k = 0; k < m.tape.n_ops; k++)
        for (int o = 0; o < 3; o++)
          if (m.tape.ops[k].out[o] != VALUE_NONE && m.tape.values[m.tape.ops[k].out[o]].width > (int)widest)
            widest = (size_t)m.tape.values[m.tape.ops[k].out[o]].width;
      ck_assert(m.tape.scratch_bytes < all && m.tape.widest_row >= (int)widest);
      model_close(&m);
    }
}
END_TEST

START_TEST(tape_prints) {
  static struct model m;
  struct bk_error e = {0};
  struct arena a = test_arena(1 << 20);
  ck_assert_msg(model_open(&m, tt_models[2], &(struct model_options){.max_rows = 8}, &e), "%s", e.message);
  struct buf b = buf_new(&a, 1 << 19);
  tape_print(&m.tape, &b);
  buf_byte(&b, 0);
  int lines = 0;
  for (size_t i = 0; i < b.len; i++) lines += b.ptr[i] == '\n';
  ck_assert(!b.full);
  ck_assert_int_eq(lines, m.tape.n_ops + 1);
  static const char *const said[] = {
      "embed",     "angles",   "matmul",           "heads", "attention",
      "add",       "logits",   "rms_norm",         "glu",   "blk.6.attn_q.weight[48,32] F16 as f16",
      "window 16", "window 0", "token_embd.weight"};
  for (int i = 0; i < ARRAY_LEN(said); i++)
    ck_assert_msg(strstr(b.ptr, said[i]) != NULL, "no \"%s\" in\n%s", said[i], b.ptr);
  struct buf small = buf_new(&a, 100); // too small a buffer says so and keeps a beginning
  tape_print(&m.tape, &small);
  ck_assert(small.full && small.len <= 100 && memcmp(small.ptr, b.ptr, small.len) == 0);
  model_close(&m);
}
END_TEST

/* ---- single operations ---- */

enum { TR_ROWS = 11, TR_PAGES = 8 };
static struct {           // a machine for one tape
  struct arena memory;
  struct tape tape;
  struct kv kv;
  struct kv_layer layer;
  struct cpu cpu;
  int32_t token[TR_ROWS], position[TR_ROWS], type[TR_ROWS];
  int segment[TR_ROWS], out[TR_ROWS], pages[2][TR_PAGES];
  struct batch_segment segments[2];
  struct batch batch;
} tr;

static void tr_begin(void) {
  struct bk_error e = {0};
  memset(&tr, 0, sizeof tr);
  tr.memory = test_arena(64 << 20);
  ck_assert(tape_new(&tr.tape, 16, &tr.memory, &e));
}

static float *tr_floats(int n, float scale) {
  float *x = ARENA_NEW(&tr.memory, float, (size_t)n);
  for (int i = 0; i < n; i++) x[i] = tt_float() * scale;
  return x;
}

static struct weight *tr_weight(const struct quant *q, int rows, int cols, bool packed) {
  struct weight *w = ARENA_NEW(&tr.memory, struct weight, 1);
  size_t blocks = (size_t)rows * (size_t)cols / (size_t)q->block, group = form_bytes(q->form, GROUP, cols);
  char *raw = arena_alloc(&tr.memory, blocks, q->block_bytes, 64);
  float *all = ARENA_NEW(&tr.memory, float, (size_t)rows * (size_t)cols);
  for (size_t b = 0; b < blocks;
       b++) { // random codes; scales of about 1/64, which both formats used here keep in front
    uint16_t d = f32_to_f16(0.015f * tt_float());
    for (size_t i = 0; i < q->block_bytes; i++) raw[b * q->block_bytes + i] = (char)tt_below(256);
    memcpy(raw + b * q->block_bytes, &d, 2);
    float value = tt_float();
    if (q->form == FORM_F32) memcpy(raw + b * 4, &value, 4);
    q->decode(raw + b * q->block_bytes, all + b * (size_t)q->block);
  }
  *w = (struct weight){STR("w"), q, raw, NULL, rows, cols, 1, !packed, NULL};
  if (packed) {
    w->packed = arena_alloc(&tr.memory, form_bytes(q->form, rows, cols) + 64, 1, 64);
    for (int r = 0; r < rows; r += GROUP)
      form_pack_group(q, raw, rows, cols, r, (char *)w->packed + group * (size_t)(r / GROUP));
  }
  w->name.ptr = (const char *)all; // where tr_at finds what the weights mean; the name is not asked for
  return w;
}
static double tr_at(const struct weight *w, int row, int col) {
  return (double)((const float *)(const void *)w->name.ptr)[(size_t)row * (size_t)w->n_cols + (size_t)col];
}

/* Plans the tape, opens the pages and the threads; two sequences: rows 0 .. 6 from position 2, rows 7 .. 10 from 9. */
static void tr_ready(bool exact, enum kv_type type, int n_threads) {
  struct bk_error e = {0};
  if (!tr.layer.n_head_kv) tr.layer = (struct kv_layer){1, 8, 8, 0, 0, 0};
  tr.kv = (struct kv){.type = type, .layers = &tr.layer, .n_layers = 1};
  kv_layout(&tr.kv);
  ck_assert(kv_reserve(&tr.kv, 2 * TR_PAGES, &tr.memory, &e));
  tape_plan(&tr.tape, TR_ROWS);
  ck_assert(cpu_open(&tr.cpu, kern_get(kern_best()), exact, n_threads, TR_PAGES, &tr.tape, &tr.kv, &tr.memory, &e));
  for (int s = 0; s < 2; s++) ck_assert(kv_take(&tr.kv, TR_PAGES, tr.pages[s]));
  tr.segments[0] = (struct batch_segment){0, 7, 2, 9, tr.pages[0]};
  tr.segments[1] = (struct batch_segment){7, 4, 9, 13, tr.pages[1]};
  for (int i = 0; i < TR_ROWS; i++) {
    tr.segment[i] = i >= 7;
    tr.position[i] = i < 7 ? 2 + i : 9 + i - 7;
    tr.token[i] = i * 5 % 13;
    tr.type[i] = i * 7 % 3;
    tr.out[i] = TR_ROWS - 1 - i;
  }
  tr.batch = (struct batch){TR_ROWS, 2, TR_ROWS, tr.token, tr.position, tr.type, tr.segment, tr.segments, tr.out};
  tr.cpu.batch = &tr.batch;
}

static void tr_end(void) {
  cpu_pool_close(&tr.cpu.pool);
  os_release(tr.kv.memory);
}

static int tr_input(int width) { return tape_value(&tr.tape, width); } // a value that no operation makes

static void tr_fill(int value, float scale) {
  for (int r = 0; r < TR_ROWS; r++)
    for (int i = 0; i < tr.tape.values[value].width; i++) cpu_row(&tr.cpu, value, r)[i] = tt_float() * scale;
}

static void tr_near(float got, double want, double scale) {
  ck_assert_msg(fabs((double)got - want) <= 2e-6 * scale + 1e-30, "%.9g, expected %.9g of %.3g", (double)got, want,
                scale);
}

START_TEST(op_embed) {
  for (int packed = 0; packed < 2; packed++)
    for (int q = 0; q < 2; q++) {
      tr_begin();
      struct weight *w = tr_weight(q ? &quant_q8_0 : &quant_f32, 13, 96, packed);
      int v = tape_embed(&tr.tape, w, packed ? 1.0f : 2.5f);
      tr_ready(false, KV_F16, 1);
      cpu_run(&tr.cpu, &tr.batch);
      for (int r = 0; r < TR_ROWS; r++)
        for (int i = 0; i < 96; i++)
          ck_assert(cpu_row(&tr.cpu, v, r)[i] == (float)tr_at(w, tr.token[r], i) * (packed ? 1.0f : 2.5f));
      tr_end();
    }
}
END_TEST

START_TEST(op_angles) {
  tr_begin();
  struct rope rope = {tr_floats(6, 3), 1.25f, 12, false};
  int v = tape_angles(&tr.tape, &rope);
  tr_ready(false, KV_F16, 1);
  cpu_run(&tr.cpu, &tr.batch);
  for (int r = 0; r < TR_ROWS; r++)
    for (int i = 0; i < 6; i++) {
      double angle = tr.position[r] * (double)rope.frequency[i];
      tr_near(cpu_row(&tr.cpu, v, r)[2 * i], 1.25 * cos(angle), 1.25);
      tr_near(cpu_row(&tr.cpu, v, r)[2 * i + 1], 1.25 * sin(angle), 1.25);
    }
  tr_end();
}
END_TEST

/* Every source x up to three matrices of two formats x bias or none x one and two threads. */
START_TEST(op_matmul) {
  enum { COLS = 64 };
  for (int round = 0; round < 72; round++) {
    enum source source = (enum source)(round % 3);
    bool add = round % 4 == 3;
    int many = add ? 1 : 1 + round / 3 % 3;
    tr_begin();
    int x = tr_input(COLS), y = tr_input(COLS), out[3];
    const struct weight *w[3];
    for (int i = 0; i < 3; i++) {
      int rows = 1 + tt_below(60);
      struct weight *own = tr_weight((round + i) % 2 ? &quant_f32 : &quant_q8_0, rows, COLS, true);
      own->bias = tt_below(2) ? tr_floats(rows, 1) : NULL;
      w[i] = own;
    }
    const struct norm norm = {.weight = tr_floats(COLS, 2), .eps = 1e-5f};
    struct tape_in in = source == FROM_ROWS ? TAPE_ROWS(x) : source == FROM_NORM ? TAPE_NORM(x, norm) : TAPE_GLU(x, y, ACT_SILU);
    if (add) tape_matmul_add(&tr.tape, in, w[0], out[0] = tr_input(w[0]->n_rows));
    else tape_matmul(&tr.tape, in, many, w, out);
    for (int v = 0; v < tr.tape.n_values; v++) tr.tape.values[v].last = tr.tape.n_ops; // all are looked at afterwards
    tr_ready(true, KV_F32, 1 + round % 2);
    tr_fill(x, 1);
    tr_fill(y, 1);
    double before[TR_ROWS][60];
    if (add) tr_fill(out[0], 1);
    for (int r = 0; r < TR_ROWS && add; r++)
      for (int i = 0; i < w[0]->n_rows; i++) before[r][i] = (double)cpu_row(&tr.cpu, out[0], r)[i];
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS; r++) {
      double input[COLS], squares = 0;
      for (int i = 0; i < COLS; i++) squares += pow((double)cpu_row(&tr.cpu, x, r)[i], 2) / COLS;
      for (int i = 0; i < COLS; i++) {
        double a = (double)cpu_row(&tr.cpu, x, r)[i], b = (double)cpu_row(&tr.cpu, y, r)[i];
        input[i] = source == FROM_ROWS  ? a
                   : source == FROM_GLU ? a / (1 + exp(-a)) * b
                                        : a / sqrt(squares + 1e-5) * (double)norm.weight[i];
      }
      for (int m = 0; m < many; m++)
        for (int row = 0; row < w[m]->n_rows; row++) {
          double want = (w[m]->bias ? (double)w[m]->bias[row] : 0) + (add ? before[r][row] : 0), size = fabs(want) + 1;
          for (int i = 0; i < COLS; i++)
            want += tr_at(w[m], row, i) * input[i], size += fabs(tr_at(w[m], row, i) * input[i]);
          tr_near(cpu_row(&tr.cpu, out[m], r)[row], want, size);
        }
    }
    tr_end();
  }
}
END_TEST

static void tr_rotated(double *x, const struct rope *rope, int position) {
  for (int i = 0; i < rope->n_rot / 2; i++) {
    int a = rope->neox ? i : 2 * i, b = rope->neox ? i + rope->n_rot / 2 : 2 * i + 1;
    double angle = position * (double)rope->frequency[i], p = x[a], q = x[b];
    x[a] = (p * cos(angle) - q * sin(angle)) * (double)rope->magnitude;
    x[b] = (p * sin(angle) + q * cos(angle)) * (double)rope->magnitude;
  }
}

static void tr_normed(double *x, const float *norm, int n) {
  double squares = 0;
  for (int i = 0; i < n; i++) squares += x[i] * x[i] / n;
  for (int i = 0; i < n && norm; i++) x[i] = x[i] / sqrt(squares + 1e-6) * (double)norm[i];
}

/* Norm and rotation of q and k and their way into the pages, then attention over the pages: positions before the
 * batch's own were written by an earlier one. */
START_TEST(op_heads_and_attention) {
  enum { HEADS = 6, KV = 2, DIM = 16, WIDTH = 24 };
  for (int round = 0; round < 24; round++) {
    enum kv_type type = (enum kv_type)(round % 3);
    bool norms = round / 3 % 2;
    tr_begin();
    tr.layer = (struct kv_layer){KV, DIM, WIDTH, 0, 0, 0};
    struct rope rope = {tr_floats(6, 1), round % 5 == 4 ? 1.5f : 1.0f, 12, round / 2 % 2};
    int q = tr_input(HEADS * DIM), k = tr_input(KV * DIM), v = tr_input(KV * WIDTH);
    struct tape_heads h = {.n_head = HEADS,
                           .n_head_kv = KV,
                           .head_dim = DIM,
                           .value_dim = WIDTH,
                           .window = round % 4 == 1 ? 3 : 0,
                           .q_norm = norms ? tr_floats(DIM, 2) : NULL,
                           .k_norm = norms ? tr_floats(DIM, 2) : NULL,
                           .eps = 1e-6f,
                           .rope = round % 4 == 3 ? NULL : &rope,
                           .scale = 0.25f,
                           .softcap = round % 6 == 5 ? 4.0f : 0.0f};
    if (h.rope) h.angles = tape_angles(&tr.tape, &rope);
    int o = tape_attention(&tr.tape, &h, q, k, v);
    tr_ready(false, type, 1 + round % 2);
    double keys[2][16][KV][DIM], values[2][16][KV][WIDTH];
    for (int s = 0; s < 2; s++) // what is there already
      for (int at = 0; at < 16; at++)
        for (int kv = 0; kv < KV; kv++) {
          float key[DIM], value[WIDTH];
          for (int d = 0; d < DIM; d++) key[d] = tt_float();
          for (int d = 0; d < WIDTH; d++) value[d] = tt_float();
          kv_put_key(&tr.kv, kern_get(ISA_SCALAR), kv_keys(&tr.kv, tr.pages[s][at / KV_PAGE], 0, kv), DIM, at % KV_PAGE, key);
          kv_put_value(&tr.kv, kern_get(ISA_SCALAR), kv_values(&tr.kv, tr.pages[s][at / KV_PAGE], 0, kv), WIDTH, at % KV_PAGE, value);
        }
    tr_fill(q, 2);
    tr_fill(k, 2);
    tr_fill(v, 1);
    double heads[TR_ROWS][HEADS * DIM], raw_k[TR_ROWS][KV * DIM], raw_v[TR_ROWS][KV * WIDTH];
    for (int r = 0; r < TR_ROWS; r++) {
      for (int i = 0; i < HEADS * DIM; i++) heads[r][i] = (double)cpu_row(&tr.cpu, q, r)[i];
      for (int i = 0; i < KV * DIM; i++) raw_k[r][i] = (double)cpu_row(&tr.cpu, k, r)[i];
      for (int i = 0; i < KV * WIDTH; i++) raw_v[r][i] = (double)cpu_row(&tr.cpu, v, r)[i];
      for (int i = 0; i < HEADS + KV; i++) {
        double *head = i < HEADS ? heads[r] + DIM * i : raw_k[r] + DIM * (i - HEADS);
        tr_normed(head, i < HEADS ? h.q_norm : h.k_norm, DIM);
        if (h.rope) tr_rotated(head, &rope, tr.position[r]);
      }
    }
    cpu_run(&tr.cpu, &tr.batch);
    for (int s = 0; s < 2; s++)
      for (int at = 0; at < 16; at++)
        for (int kv = 0; kv < KV; kv++) {
          const char *page_k = kv_keys(&tr.kv, tr.pages[s][at / KV_PAGE], 0, kv),
                     *page_v = kv_values(&tr.kv, tr.pages[s][at / KV_PAGE], 0, kv);
          for (int d = 0; d < DIM; d++) keys[s][at][kv][d] = (double)kvt_key(type, page_k, DIM, at % KV_PAGE, d);
          for (int d = 0; d < WIDTH; d++)
            values[s][at][kv][d] = (double)kvt_value(type, page_v, WIDTH, at % KV_PAGE, d);
        }
    for (int r = 0; r < TR_ROWS; r++) {
      int s = tr.segment[r], now = tr.position[r];
      for (int kv = 0; kv < KV; kv++) { // the row's own key and value arrived, as far as their type lets them
        double most = 0;
        for (int d = 0; d < DIM; d++) most = fabs(raw_k[r][kv * DIM + d]) > most ? fabs(raw_k[r][kv * DIM + d]) : most;
        for (int d = 0; d < DIM; d++)
          ck_assert(fabs(keys[s][now][kv][d] - raw_k[r][kv * DIM + d]) <=
                    kvt_bound(type, (float)most) + 2e-6 * most);
        for (int d = 0; d < WIDTH; d++)
          ck_assert(fabs(values[s][now][kv][d] - raw_v[r][kv * WIDTH + d]) <= kvt_bound(type, 1));
      }
      for (int i = 0; i < HEADS; i++) {
        double p[16], total = 0;
        int kv = i / (HEADS / KV);
        int first = h.window && now >= h.window ? now - h.window + 1 : 0;
        for (int at = first; at <= now; at++) {
          p[at] = 0;
          for (int d = 0; d < DIM; d++) p[at] += heads[r][DIM * i + d] * 0.25 * keys[s][at][kv][d];
          if (h.softcap != 0) p[at] = 4 * tanh(p[at] / 4);
          total += p[at] = exp(p[at]);
        }
        for (int d = 0; d < WIDTH; d++) {
          double want = 0;
          for (int at = first; at <= now; at++) want += p[at] / total * values[s][at][kv][d];
          // scores of up to 40 carry their own rounding, and queries and weights theirs
          tr_near(cpu_row(&tr.cpu, o, r)[WIDTH * i + d], want, type == KV_F32 ? 10 : 300);
        }
      }
    }
    tr_end();
  }
}
END_TEST

START_TEST(op_norm_add_and_slice) {
  tr_begin();
  int x = tr_input(100), to = tr_input(40), part = tape_slice(&tr.tape, x, 30, 40);
  float *norm = tr_floats(40, 2);
  tape_add(&tr.tape, part, (struct norm){.weight = norm, .eps = 1e-6f}, 1, VALUE_NONE, to);
  tr_ready(false, KV_F16, 1);
  tr_fill(x, 3);
  tr_fill(to, 1);
  float before[TR_ROWS][40];
  for (int r = 0; r < TR_ROWS; r++) memcpy(before[r], cpu_row(&tr.cpu, to, r), sizeof before[r]);
  cpu_run(&tr.cpu, &tr.batch);
  for (int r = 0; r < TR_ROWS; r++) {
    double y[40];
    ck_assert_ptr_eq(cpu_row(&tr.cpu, part, r), cpu_row(&tr.cpu, x, r) + 30);
    for (int i = 0; i < 40; i++) y[i] = (double)cpu_row(&tr.cpu, x, r)[30 + i];
    tr_normed(y, norm, 40);
    for (int i = 0; i < 40; i++) tr_near(cpu_row(&tr.cpu, to, r)[i], (double)before[r][i] + y[i], 3);
  }
  tr_end();
}
END_TEST

/* The head: output rows in an order of their own, HEAD_ROWS at a time, capped. */
START_TEST(op_head_and_softcap) {
  tr_begin();
  struct weight *w = tr_weight(&quant_f32, 21, 48, true);
  const struct weight *list[1] = {w};
  int x = tr_input(48), out[1];
  tape_logits(&tr.tape, tr_input(8), 1, 5); // an operation before the head, on all rows
  int input = tape_head(&tr.tape, x);
  tape_matmul(&tr.tape, TAPE_ROWS(input), 1, list, out);
  tape_logits(&tr.tape, out[0], 1, 2);
  tape_result(&tr.tape, out[0]);
  tr_ready(false, KV_F16, 2);
  tr_fill(x, 1);
  tt_check_plan(&tr.tape);
  cpu_run(&tr.cpu, &tr.batch);
  for (int first = 0; first < TR_ROWS; first += HEAD_ROWS) {
    int n = TR_ROWS - first < HEAD_ROWS ? TR_ROWS - first : HEAD_ROWS;
    size_t stride;
    const float *logits = cpu_run_head(&tr.cpu, first, n, &stride);
    for (int k = 0; k < n; k++)
      for (int row = 0; row < 21; row++) {
        double want = 0;
        for (int i = 0; i < 48; i++) want += tr_at(w, row, i) * (double)cpu_row(&tr.cpu, x, tr.out[first + k])[i];
        tr_near(logits[stride * (size_t)k + (size_t)row], 2 * tanh(want / 2), 48);
      }
  }
  tr_end();
}
END_TEST

static Suite *tape_suite(void) {
  Suite *s = suite_create("tape");
  TCase *t = tcase_create("tape");
  tcase_add_test(t, tape_random_plans);
  tcase_add_test(t, tape_model_plans);
  tcase_add_test(t, tape_prints);
  tcase_add_test(t, op_embed);
  tcase_add_test(t, op_angles);
  tcase_add_test(t, op_matmul);
  tcase_add_test(t, op_heads_and_attention);
  tcase_add_test(t, op_norm_add_and_slice);
  tcase_add_test(t, op_head_and_softcap);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
