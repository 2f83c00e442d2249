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
      ck_assert_msg(model_open(&m, tt_models[i], 0, rows[r], &e), "%s", e.message);
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
  ck_assert_msg(model_open(&m, tt_models[2], 0, 8, &e), "%s", e.message);
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

enum { TR_ROWS = 11, TR_MOST = 72, TR_PAGES = 20, TR_INPUTS = 4 };
struct tr_row { int token, position, type, sequence; };
static struct {           // a machine for one tape
  struct arena memory;
  struct tape tape;
  struct kv kv;
  struct kv_layer layer;
  struct cpu cpu;
  int n_rows;             // of two sequences; 0: TR_ROWS
  struct tr_row rows[TR_MOST];
  int start[2];           // positions of their first rows; 0: 2 and 9
  int n_ids[2], pages[2][TR_PAGES], n_inputs, inputs[TR_INPUTS];
  float *kept[TR_INPUTS]; // (n_rows, width) what was filled in
  int32_t token[TR_MOST], position[TR_MOST], type[TR_MOST]; // of the batch
  int segment[TR_MOST], out[TR_MOST];
  struct batch_segment segments[TR_MOST];
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

static struct weight *tr_experts(const struct quant *q, int rows, int cols, int n, bool packed) { // n matrices
  struct weight *w = ARENA_NEW(&tr.memory, struct weight, 1);
  const size_t each = (size_t)rows * (size_t)cols, blocks = each * (size_t)n / (size_t)q->block, group = form_bytes(q->form, GROUP, cols);
  char *raw = arena_alloc(&tr.memory, blocks, q->block_bytes, 64);
  float *all = ARENA_NEW(&tr.memory, float, each * (size_t)n);
  for (size_t b = 0; b < blocks; b++) { // random codes; scales of about 1/64, which both formats used here keep in front
    uint16_t d = f32_to_f16(0.015f * tt_float());
    for (size_t i = 0; i < q->block_bytes; i++) raw[b * q->block_bytes + i] = (char)tt_below(256);
    memcpy(raw + b * q->block_bytes, &d, 2);
    float value = tt_float();
    if (q->form == FORM_F32) memcpy(raw + b * 4, &value, 4);
    q->decode(raw + b * q->block_bytes, all + b * (size_t)q->block);
  }
  *w = (struct weight){STR("w"), q, raw, NULL, rows, cols, n, !packed, NULL};
  if (packed) {
    const size_t bytes = form_bytes(q->form, rows, cols);
    w->packed = arena_alloc(&tr.memory, bytes * (size_t)n + 64, 1, 64);
    for (int x = 0; x < n; x++)
      for (int r = 0; r < rows; r += GROUP)
        form_pack_group(q, raw + each / (size_t)q->block * q->block_bytes * (size_t)x, rows, cols, r,
                        (char *)w->packed + bytes * (size_t)x + group * (size_t)(r / GROUP));
  }
  w->name.ptr = (const char *)all; // where tr_at finds what the weights mean; the name is not asked for
  return w;
}
static struct weight *tr_weight(const struct quant *q, int rows, int cols, bool packed) { return tr_experts(q, rows, cols, 1, packed); }

static double tr_at(const struct weight *w, int row, int col) { // rows of all experts, one after the other
  return (double)((const float *)(const void *)w->name.ptr)[(size_t)row * (size_t)w->n_cols + (size_t)col];
}

/* Rows [first, first + n) become the batch. */
static void tr_take(int first, int n) {
  tr.batch = (struct batch){n, 0, n, tr.token, tr.position, tr.type, tr.segment, tr.segments, tr.out};
  for (int i = 0; i < n; i++) {
    const struct tr_row *r = &tr.rows[first + i];
    if (i == 0 || r->sequence != r[-1].sequence)
      tr.segments[tr.batch.n_segments++] = (struct batch_segment){i, 0, r->position, tr.n_ids[r->sequence], tr.pages[r->sequence]};
    tr.segments[tr.batch.n_segments - 1].n_rows++;
    tr.segment[i] = tr.batch.n_segments - 1;
    tr.token[i] = r->token, tr.position[i] = r->position, tr.type[i] = r->type;
    tr.out[i] = n - 1 - i;
  }
  tr.cpu.batch = &tr.batch;
}

static void tr_open(const struct kern *kern, bool exact, int n_threads) {
  struct bk_error e = {0};
  ck_assert(cpu_open(&tr.cpu, kern, exact, n_threads, TR_PAGES, &tr.tape, &tr.kv, &tr.memory, &e));
  memset(tr.cpu.values, 0x7F, tr.tape.scratch_bytes); // large numbers: what is not written is not missed
  tr_take(0, tr.n_rows);
}

/* Plans the tape, opens the pages and the threads; two sequences: of 11 rows, 0 .. 6 from position 2, 7 .. 10 from 9. */
static void tr_ready(bool exact, enum kv_type type, int n_threads) {
  struct bk_error e = {0};
  if (!tr.n_rows) tr.n_rows = TR_ROWS;
  if (!tr.layer.n_head_kv) tr.layer = (struct kv_layer){1, 8, 8, 0, 0, 0};
  tr.kv = (struct kv){.type = type, .layers = &tr.layer, .n_layers = 1};
  kv_layout(&tr.kv);
  ck_assert(kv_reserve(&tr.kv, 2 * TR_PAGES, &tr.memory, &e));
  for (int v = 0; v < tr.tape.n_values; v++) // all are looked at afterwards
    if (tr.tape.values[v].last < tr.tape.n_ops) tr.tape.values[v].last = tr.tape.n_ops;
  tape_plan(&tr.tape, tr.n_rows);
  for (int s = 0; s < 2; s++) ck_assert(kv_take(&tr.kv, TR_PAGES, tr.pages[s]));
  const int cut = (tr.n_rows * 2 + 1) / 3;
  if (!tr.start[0]) tr.start[0] = 2, tr.start[1] = 9;
  for (int i = 0; i < tr.n_rows; i++)
    tr.rows[i] = (struct tr_row){i * 5 % 13, i < cut ? tr.start[0] + i : tr.start[1] + i - cut, i * 7 % 3, i >= cut};
  tr.n_ids[0] = tr.start[0] + cut, tr.n_ids[1] = tr.start[1] + tr.n_rows - cut;
  for (int i = 0; i < 2; i++) ck_assert_int_le(tr.n_ids[i], TR_PAGES * KV_PAGE);
  tr_open(kern_get(kern_best()), exact, n_threads);
}

static void tr_end(void) {
  cpu_pool_close(&tr.cpu.pool);
  os_release(tr.kv.memory);
  os_release(tr.memory);
}

static int tr_input(int width) { // a value that no operation makes
  int v = tape_value(&tr.tape, width);
  tr.tape.values[v].first = -1;
  return v;
}

static void tr_fill(int value, float scale) { // and remembers it for tr_same_bits
  const int width = tr.tape.values[value].width;
  ck_assert_int_lt(tr.n_inputs, TR_INPUTS);
  tr.inputs[tr.n_inputs] = value;
  float *kept = tr.kept[tr.n_inputs++] = tr_floats(tr.n_rows * width, scale);
  for (int r = 0; r < tr.n_rows; r++) memcpy(cpu_row(&tr.cpu, value, r), kept + r * width, sizeof *kept * (size_t)width);
}

/* What the batch gave for a value is what its rows give one by one, in threes, on several threads, on every set. */
static void tr_same_bits(int value) {
  const int width = tr.tape.values[value].width;
  const bool exact = tr.cpu.exact;
  float *want = ARENA_NEW(&tr.memory, float, (size_t)(tr.n_rows * width));
  for (int r = 0; r < tr.n_rows; r++) memcpy(want + r * width, cpu_row(&tr.cpu, value, r), sizeof *want * (size_t)width);
  for (int way = 0; way < 3 + ISA_COUNT; way++) {
    const struct kern *kern = way < 3 ? kern_get(kern_best()) : kern_get((enum os_isa)(way - 3));
    const int step = way == 0 ? 1 : way == 1 ? 3 : way == 2 ? tr.n_rows : 7;
    if (!kern) continue;
    cpu_pool_close(&tr.cpu.pool);
    tr_open(kern, exact, 1 + way % 3);
    for (int first = 0; first < tr.n_rows; first += step) {
      const int n = tr.n_rows - first < step ? tr.n_rows - first : step;
      tr_take(first, n);
      for (int i = 0; i < tr.n_inputs; i++) {
        const int in = tr.tape.values[tr.inputs[i]].width;
        for (int r = 0; r < n; r++) memcpy(cpu_row(&tr.cpu, tr.inputs[i], r), tr.kept[i] + (first + r) * in, sizeof(float) * (size_t)in);
      }
      cpu_run(&tr.cpu, &tr.batch);
      for (int r = 0; r < n; r++)
        ck_assert_msg(memcmp(cpu_row(&tr.cpu, value, r), want + (first + r) * width, sizeof *want * (size_t)width) == 0,
                      "row %d of %d, %d at once, %s, %d threads: other bits", first + r, tr.n_rows, step, kern->name, 1 + way % 3);
    }
  }
}

static void tr_near(float got, double want, double scale) {
  ck_assert_msg(fabs((double)got - want) <= 2e-6 * scale + 1e-30, "%.9g, expected %.9g of %.3g", (double)got, want, scale);
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

/* += a row of a table by position and one by token type, whatever the table's format. */
START_TEST(op_embed_add) {
  for (int q = 0; q < 2; q++) {
    tr_begin();
    struct weight *positions = tr_weight(q ? &quant_q8_0 : &quant_f32, 16, 64, false), *types = tr_weight(&quant_f32, 3, 64, q);
    int x = tr_input(64);
    tape_embed_add(&tr.tape, types, BY_TYPE, x);
    tape_embed_add(&tr.tape, positions, BY_POSITION, x);
    tr_ready(false, KV_F16, 2);
    tr_fill(x, 1);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS; r++)
      for (int i = 0; i < 64; i++) {
        double want = (double)tr.kept[0][r * 64 + i] + tr_at(types, tr.type[r], i) + tr_at(positions, tr.position[r], i);
        tr_near(cpu_row(&tr.cpu, x, r)[i], want, 3);
      }
    tr_same_bits(x);
    tr_end();
  }
}
END_TEST

static double tr_act(enum activation act, double x) {
  return act == ACT_SILU       ? x / (1 + exp(-x))
         : act == ACT_GELU_ERF ? 0.5 * x * erfc(-x / sqrt(2))
         : act == ACT_TANH     ? tanh(x)
                               : 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static void tr_normed(double *x, const struct norm *norm, int n, int at) { // at: of the first weight
  double mean = 0, square = 0;
  for (int i = 0; i < n && norm->centred; i++) mean += x[i] / n;
  for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean) / n;
  for (int i = 0; i < n; i++)
    x[i] = (x[i] - mean) / sqrt(square + (double)norm->eps) * (norm->weight ? (double)norm->weight[at + i] : 1) +
           (norm->bias ? (double)norm->bias[at + i] : 0);
}

static struct norm tr_norm(int n, bool centred, bool weighted) { // layer norms always have weights
  return (struct norm){weighted || centred ? tr_floats(n, 2) : NULL, centred && weighted ? tr_floats(n, 1) : NULL, 1e-5f, centred};
}

/* What a product reads of one row of x and y, in doubles. */
static void tr_source(const struct tape_in *in, const float *x, const float *y, int n, double *out) {
  for (int i = 0; i < n; i++)
    out[i] = in->source != FROM_GLU ? (double)x[i] : tr_act(in->act, (double)x[i]) * (in->y == VALUE_NONE ? 1 : (double)y[i]);
  if (in->source == FROM_NORM) tr_normed(out, &in->norm, n, 0);
}

/* Every source x up to three matrices of two formats x bias or none x one and two threads. */
START_TEST(op_matmul) {
  enum { COLS = 64 };
  for (int round = 0; round < 72; round++) {
    const bool add = round % 4 == 3;
    const int many = add ? 1 : 1 + round / 3 % 3;
    tr_begin();
    int x = tr_input(COLS), y = tr_input(COLS), out[3];
    struct weight *w[3];
    for (int i = 0; i < 3; i++) {
      const int rows = 1 + tt_below(60);
      w[i] = tr_weight((round + i) % 2 ? &quant_f32 : &quant_q8_0, rows, COLS, true);
      w[i]->bias = tt_below(2) ? tr_floats(rows, 1) : NULL;
    }
    const struct norm norm = tr_norm(COLS, round / 4 % 2, round / 8 % 2);
    const struct tape_in in = round % 3 == 0   ? TAPE_ROWS(x)
                              : round % 3 == 1 ? TAPE_NORM(x, norm)
                                               : TAPE_GLU(x, round % 2 ? y : VALUE_NONE, (enum activation)(round / 3 % ACT_COUNT));
    if (add) tape_matmul_add(&tr.tape, in, w[0], out[0] = tr_input(w[0]->n_rows));
    else tape_matmul(&tr.tape, in, many, (const struct weight *const *)w, out);
    tr_ready(round % 5 != 4, KV_F32, 1 + round % 2);
    tr_fill(x, 1);
    tr_fill(y, 1);
    if (add) tr_fill(out[0], 1);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS && tr.cpu.exact; r++) {
      double input[COLS];
      tr_source(&in, tr.kept[0] + r * COLS, tr.kept[1] + r * COLS, COLS, input);
      for (int m = 0; m < many; m++)
        for (int row = 0; row < w[m]->n_rows; row++) {
          double want = (w[m]->bias ? (double)w[m]->bias[row] : 0) + (add ? (double)tr.kept[2][r * w[0]->n_rows + row] : 0);
          double size = fabs(want) + 1;
          for (int i = 0; i < COLS; i++) want += tr_at(w[m], row, i) * input[i], size += fabs(tr_at(w[m], row, i) * input[i]);
          tr_near(cpu_row(&tr.cpu, out[m], r)[row], want, size);
        }
    }
    tr_same_bits(out[many - 1]);
    tr_end();
  }
}
END_TEST

START_TEST(op_norm) { // of whole rows and of heads, in place and not, of a slice
  enum { N = 96 };
  static const int heads[] = {1, 2, 3, 6};
  for (int round = 0; round < 32; round++) {
    const int n_head = round < 16 ? heads[round % 4] : 1, each = N / n_head, column = round % 3 * 5;
    tr_begin();
    int all = tr_input(N + 10), x = tape_slice(&tr.tape, all, column, N), y = x;
    const struct norm norm = tr_norm(N, round / 4 % 2, round / 8 % 2);
    if (round < 16) tape_norm(&tr.tape, x, norm, n_head);
    else y = tape_normed(&tr.tape, x, norm);
    tr_ready(false, KV_F16, 1 + round % 3);
    tr_fill(all, 3);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS; r++) {
      const float *in = tr.kept[0] + r * (N + 10);
      for (int h = 0; h < n_head; h++) {
        double want[N];
        for (int i = 0; i < each; i++) want[i] = (double)in[column + h * each + i];
        tr_normed(want, &norm, each, h * each);
        for (int i = 0; i < each; i++) tr_near(cpu_row(&tr.cpu, y, r)[h * each + i], want[i], 4);
      }
      for (int i = 0; i < N + 10; i++) // beside the slice, and of what is not its own place, nothing changes
        if (y != x || i < column || i >= column + N) ck_assert(cpu_row(&tr.cpu, all, r)[i] == in[i]);
    }
    tr_same_bits(y);
    tr_end();
  }
}
END_TEST

START_TEST(op_join) {
  for (int round = 0; round < 20; round++) {
    const int n_head = 1 + tt_below(5), width[2] = {round % 7 ? 1 + tt_below(20) : 0, round % 5 ? 1 + tt_below(20) : 3};
    struct tape_piece piece[2];
    int in[2];
    tr_begin();
    for (int k = 0; k < 2; k++) { // a step of 0: all heads share the piece
      piece[k] = (struct tape_piece){tt_below(4), tt_below(3) ? width[k] + tt_below(4) : 0, width[k]};
      in[k] = tr_input(piece[k].column + piece[k].step * (n_head - 1) + width[k] + 1);
    }
    int out = tape_join(&tr.tape, n_head, in[0], piece[0], in[1], piece[1]);
    tr_ready(false, KV_F16, 1 + round % 3);
    ck_assert_int_eq(tr.tape.values[out].width, n_head * (width[0] + width[1]));
    tr_fill(in[0], 1);
    tr_fill(in[1], 1);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS; r++)
      for (int i = 0; i < n_head * (width[0] + width[1]); i++) {
        const int head = i / (width[0] + width[1]), at = i % (width[0] + width[1]), k = at >= width[0];
        ck_assert(cpu_row(&tr.cpu, out, r)[i] ==
                  tr.kept[k][r * tr.tape.values[in[k]].width + piece[k].column + head * piece[k].step + at - k * width[0]]);
      }
    tr_same_bits(out);
    tr_end();
  }
}
END_TEST

START_TEST(op_add) { // normed or not, scaled or not, gated or not; of a slice
  for (int round = 0; round < 24; round++) {
    tr_begin();
    int x = tr_input(100), to = tr_input(40), gate = round % 2 ? tr_input(1) : VALUE_NONE, part = tape_slice(&tr.tape, x, 30, 40);
    const struct norm none = {.eps = 0}, norm = round / 4 % 3 ? tr_norm(40, round / 4 % 3 == 1, round / 12) : none;
    const double scale = round / 2 % 2 ? 0.75 : 1;
    tape_add(&tr.tape, part, norm, (float)scale, gate, to);
    tr_ready(false, KV_F16, 1 + round % 3);
    tr_fill(x, 3);
    tr_fill(to, 1);
    if (gate != VALUE_NONE) tr_fill(gate, 8);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS; r++) {
      double y[40];
      ck_assert_ptr_eq(cpu_row(&tr.cpu, part, r), cpu_row(&tr.cpu, x, r) + 30);
      for (int i = 0; i < 40; i++) y[i] = (double)tr.kept[0][r * 100 + 30 + i];
      if (norm.eps > 0) tr_normed(y, &norm, 40, 0);
      const double by = scale * (gate == VALUE_NONE ? 1 : 1 / (1 + exp(-(double)tr.kept[2][r])));
      for (int i = 0; i < 40; i++) tr_near(cpu_row(&tr.cpu, to, r)[i], (double)tr.kept[1][r * 40 + i] + by * y[i], 5);
    }
    tr_same_bits(to);
    tr_end();
  }
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
  tape_logits(&tr.tape, out[0], 0.5f, 2);
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
        tr_near(logits[stride * (size_t)k + (size_t)row], 2 * tanh(want / 4), 48);
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
  tcase_add_test(t, op_embed_add);
  tcase_add_test(t, op_angles);
  tcase_add_test(t, op_matmul);
  tcase_add_test(t, op_norm);
  tcase_add_test(t, op_join);
  tcase_add_test(t, op_add);
  tcase_add_test(t, op_head_and_softcap);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
