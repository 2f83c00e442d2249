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
    weights[i] = (struct weight){.name = STR("w"), .quant = i % 2 ? &quant_f32 : &quant_q8_0, .n_rows = 1 + tt_below(300),
                                 .n_cols = 32 * (1 + tt_below(9)), .n_experts = 1};
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
  *w = (struct weight){.name = STR("w"), .quant = q, .file = raw, .n_rows = rows, .n_cols = cols, .n_experts = n, .lookup_only = !packed};
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
  tr.batch = (struct batch){n, 0, n, tr.token, tr.position, tr.type, tr.segment, tr.segments, NULL, 0, tr.out};
  for (int i = 0; i < n; i++) {
    const struct tr_row *r = &tr.rows[first + i];
    if (i == 0 || r->sequence != r[-1].sequence)
      tr.segments[tr.batch.n_segments++] = (struct batch_segment){i, 0, r->position, tr.n_ids[r->sequence], tr.pages[r->sequence], 0, 0};
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
    tr_open(kern, exact, 1 + (way + 1) % 3);
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
                      "row %d of %d, %d at once, %s, %d threads: other bits", first + r, tr.n_rows, step, kern->name, 1 + (way + 1) % 3);
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

/* ---- attention ---- */

static void tr_rotated(double *x, const struct rope *rope, int position) {
  for (int i = 0; i < rope->n_rot / 2; i++) {
    int a = rope->neox ? i : 2 * i, b = rope->neox ? i + rope->n_rot / 2 : 2 * i + 1;
    double angle = position * (double)rope->frequency[i], p = x[a], q = x[b];
    x[a] = (p * cos(angle) - q * sin(angle)) * (double)rope->magnitude;
    x[b] = (p * sin(angle) + q * cos(angle)) * (double)rope->magnitude;
  }
}

enum { TA_HEADS = 12, TA_KV = 2, TA_DIM = 16, TA_WIDTH = 24, TA_ROWS = 40, TA_SEEN = TR_PAGES * KV_PAGE };
static struct {
  struct tape_heads h;
  struct rope rope;
  int q, k, v, o;
  double heads[TA_ROWS][TA_HEADS][TA_DIM], own[TA_ROWS][TA_KV][TA_DIM]; // queries and keys, normed and rotated
  double keys[2][TA_SEEN][TA_KV][TA_DIM], values[2][TA_SEEN][TA_KV][TA_WIDTH];
} ta;

/* Slopes as the paper has them: a geometric sequence for a power of two, else that of the power below and every other of
 * that above. (Press et al., 2022, and its footnote) */
static double ta_slope(int head, int n_head, double bias) {
  int power = 1;
  while (power * 2 <= n_head) power *= 2;
  return head < power ? pow(2, -bias / power * (head + 1)) : pow(2, -bias / (2 * power) * (2 * (head - power) + 1));
}

static void ta_begin(int round) {
  static const int starts[][2] = {{2, 9}, {50, 120}, {1, 505}}, windows[] = {0, 3, 6, 1, 50}, heads[] = {6, 8, 4, 12, 2};
  tr_begin();
  tr.n_rows = TA_ROWS;
  for (int s = 0; s < 2; s++) { // also where pages are built smaller
    const int last = TA_SEEN - TA_ROWS, start = starts[round / 2 % 3][s];
    tr.start[s] = start < last ? start : last;
  }
  tr.layer = (struct kv_layer){TA_KV, TA_DIM, TA_WIDTH, 0, 0, 0};
  const bool norms = round / 3 % 2, rotated = round % 4 != 3;
  ta.rope = (struct rope){tr_floats(6, 1), round % 5 == 4 ? 1.5f : 1.0f, 12, round / 2 % 2};
  ta.h = (struct tape_heads){.n_head = heads[round / 3 % 5], .n_head_kv = TA_KV, .head_dim = TA_DIM, .value_dim = TA_WIDTH,
                             .window = windows[round % 5], .eps = 1e-6f, .rope = rotated ? &ta.rope : NULL, .scale = 0.25f,
                             .q_norm = norms ? tr_floats(TA_DIM, 2) : NULL, .k_norm = norms ? tr_floats(TA_DIM, 2) : NULL,
                             .softcap = round % 6 == 5 ? 4.0f : 0.0f, .both_ways = round / 4 % 2};
  if (round % 6 == 1 || round % 6 == 4) ta.h.alibi = round % 4 == 2 ? 5.0f : 8.0f;
  if (round % 6 == 2) ta.h.reach = round % 4 ? 5 : 40, ta.h.bias = tr_floats(ta.h.n_head * (2 * ta.h.reach + 1), 3);
  ta.q = tr_input(ta.h.n_head * TA_DIM), ta.k = tr_input(TA_KV * TA_DIM), ta.v = tr_input(TA_KV * TA_WIDTH);
}

static void ta_attend(void) {
  if (ta.h.rope) ta.h.angles = tape_angles(&tr.tape, &ta.rope);
  ta.o = tape_attention(&tr.tape, &ta.h, ta.q, ta.k, ta.v);
}

/* Positions before the batch's own were written by an earlier one; what is behind the end is rubbish. */
static void ta_fill(void) {
  memset(tr.kv.pages, 0xFF, tr.kv.page_bytes * (size_t)tr.kv.n_pages);
  for (int s = 0; s < 2; s++)
    for (int at = 0; at < tr.start[s]; at++)
      for (int kv = 0; kv < TA_KV; kv++) {
        float key[TA_DIM], value[TA_WIDTH];
        const int page = tr.pages[s][at / KV_PAGE];
        for (int d = 0; d < TA_DIM; d++) key[d] = tt_float();
        for (int d = 0; d < TA_WIDTH; d++) value[d] = tt_float();
        kv_put_keys(&tr.kv, kern_get(ISA_SCALAR), kv_keys(&tr.kv, page, 0, kv), TA_DIM, at % KV_PAGE, 1, (const float *[]){key});
        kv_put_values(&tr.kv, kern_get(ISA_SCALAR), kv_values(&tr.kv, page, 0, kv), TA_WIDTH, at % KV_PAGE, 1, (const float *[]){value});
      }
  tr_fill(ta.q, 2);
  tr_fill(ta.k, 2);
  tr_fill(ta.v, 1);
  for (int r = 0; r < TA_ROWS; r++)
    for (int i = 0; i < ta.h.n_head + TA_KV; i++) {
      const bool query = i < ta.h.n_head;
      double *x = query ? ta.heads[r][i] : ta.own[r][i - ta.h.n_head];
      const float *from = query ? tr.kept[0] + (r * ta.h.n_head + i) * TA_DIM : tr.kept[1] + (r * TA_KV + i - ta.h.n_head) * TA_DIM;
      const struct norm norm = {.weight = query ? ta.h.q_norm : ta.h.k_norm, .eps = 1e-6f};
      for (int d = 0; d < TA_DIM; d++) x[d] = (double)from[d];
      if (norm.weight) tr_normed(x, &norm, TA_DIM, 0);
      if (ta.h.rope) tr_rotated(x, &ta.rope, tr.position[r]);
    }
}

/* What the pages hold after the run; the rows' own keys and values arrived, as far as their type lets them. */
static void ta_read(enum kv_type type) {
  for (int s = 0; s < 2; s++)
    for (int at = 0; at < tr.n_ids[s]; at++)
      for (int kv = 0; kv < TA_KV; kv++) {
        const char *k = kv_keys(&tr.kv, tr.pages[s][at / KV_PAGE], 0, kv), *v = kv_values(&tr.kv, tr.pages[s][at / KV_PAGE], 0, kv);
        for (int d = 0; d < TA_DIM; d++) ta.keys[s][at][kv][d] = (double)kvt_key(type, k, TA_DIM, at % KV_PAGE, d);
        for (int d = 0; d < TA_WIDTH; d++) ta.values[s][at][kv][d] = (double)kvt_value(type, v, TA_WIDTH, at % KV_PAGE, d);
      }
  for (int r = 0; r < TA_ROWS; r++)
    for (int kv = 0; kv < TA_KV; kv++) {
      const struct tr_row *row = &tr.rows[r];
      double most = 0;
      for (int d = 0; d < TA_DIM; d++) most = fabs(ta.own[r][kv][d]) > most ? fabs(ta.own[r][kv][d]) : most;
      for (int d = 0; d < TA_DIM; d++)
        ck_assert(fabs(ta.keys[row->sequence][row->position][kv][d] - ta.own[r][kv][d]) <= kvt_bound(type, (float)most) + 2e-6 * most);
      for (int d = 0; d < TA_WIDTH; d++)
        ck_assert(fabs(ta.values[row->sequence][row->position][kv][d] - (double)tr.kept[2][(r * TA_KV + kv) * TA_WIDTH + d]) <=
                  kvt_bound(type, 1));
    }
}

static void ta_check_head(int r, int head, enum kv_type type) {
  static double p[TA_SEEN];
  const int s = tr.rows[r].sequence, now = tr.rows[r].position, kv = head / (ta.h.n_head / TA_KV);
  double total = 0, most = -1e300;
  for (int at = 0; at < tr.n_ids[s]; at++) {
    const int away = at < now ? now - at : at - now;
    const bool seen = ta.h.both_ways ? !ta.h.window || away <= ta.h.window / 2 : at <= now && (!ta.h.window || away < ta.h.window);
    p[at] = 0;
    for (int d = 0; d < TA_DIM; d++) p[at] += ta.heads[r][head][d] * 0.25 * ta.keys[s][at][kv][d];
    if (ta.h.alibi > 0) p[at] -= away * ta_slope(head, ta.h.n_head, (double)ta.h.alibi);
    const int far = away < ta.h.reach ? away : ta.h.reach; // the table: from -reach, behind the query, to reach
    if (ta.h.bias) p[at] += (double)ta.h.bias[(2 * ta.h.reach + 1) * head + ta.h.reach + (at < now ? -far : far)];
    if (ta.h.softcap != 0) p[at] = 4 * tanh(p[at] / 4);
    if (!seen) p[at] = -INFINITY;
    most = p[at] > most ? p[at] : most;
  }
  for (int at = 0; at < tr.n_ids[s]; at++) total += p[at] = exp(p[at] - most);
  for (int d = 0; d < TA_WIDTH; d++) {
    double want = 0;
    for (int at = 0; at < tr.n_ids[s]; at++) want += p[at] / total * ta.values[s][at][kv][d];
    // scores of up to 40 carry their own rounding, and queries and weights theirs
    tr_near(cpu_row(&tr.cpu, ta.o, r)[head * TA_WIDTH + d], want, type == KV_F32 ? 10 : 300);
  }
}

/* Norm and rotation of q and k and their way into the pages, then attention over the pages: forwards, both ways, in windows, with
 * biases for the distance. */
START_TEST(op_heads_and_attention) {
  for (int round = 0; round < 60; round++) {
    const enum kv_type type = (enum kv_type)(round % 3);
    ta_begin(round);
    ta_attend();
    tr_ready(false, type, 1 + round % 3);
    ta_fill();
    cpu_run(&tr.cpu, &tr.batch);
    ta_read(type);
    for (int r = 0; r < TA_ROWS; r++)
      for (int i = 0; i < ta.h.n_head; i++) ta_check_head(r, i, type);
    tr_same_bits(ta.o);
    tr_end();
  }
}
END_TEST

/* ---- mixtures of experts ---- */

enum { TX_EXPERTS = 40, TX_USED = 6 };

/* The chosen experts and their weights, from the definitions: scores by softmax or sigmoid, plus a bias for the choice alone; the
 * groups with the largest sum of their two best scores (without a bias: with the best); of equal ones the first. */
static void tx_route(const struct tape_route *r, const float *logits, int *chosen, double *weight) {
  double score[TX_EXPERTS], probability[TX_EXPERTS], group[TX_EXPERTS], most = -1e300, total = 0;
  const int each = r->n_group > 1 ? r->n_expert / r->n_group : r->n_expert, n_group = r->n_expert / each;
  bool open[TX_EXPERTS] = {0}, taken[TX_EXPERTS] = {0};
  for (int i = 0; i < r->n_expert; i++) most = (double)logits[i] > most ? (double)logits[i] : most;
  for (int i = 0; i < r->n_expert; i++) total += exp((double)logits[i] - most);
  for (int i = 0; i < r->n_expert; i++) {
    const double x = (double)logits[i];
    probability[i] = r->gate == GATE_SIGMOID ? 1 / (1 + exp(-x)) : r->gate == GATE_SOFTMAX ? exp(x - most) / total : x;
    score[i] = (double)(float)(probability[i] + (r->bias ? (double)r->bias[i] : 0)); // equal ones stay equal
  }
  for (int j = 0; j < n_group; j++) {
    double best = -1e300, second = -1e300;
    for (int i = j * each; i < (j + 1) * each; i++)
      if (score[i] > best) second = best, best = score[i];
      else if (score[i] > second) second = score[i];
    group[j] = r->bias && each > 1 ? best + second : best;
  }
  for (int k = 0; k < (r->n_group > 1 ? r->n_group_used : 1); k++) {
    int best = -1;
    for (int j = 0; j < n_group; j++)
      if (!open[j] && (best < 0 || group[j] > group[best])) best = j;
    open[best] = true;
  }
  total = 0;
  for (int k = 0; k < r->n_used; k++) {
    int best = -1;
    for (int i = 0; i < r->n_expert; i++)
      if (open[i / each] && !taken[i] && (best < 0 || score[i] > score[best])) best = i;
    taken[best] = true;
    chosen[k] = best;
    total += weight[k] = r->gate == GATE_SOFTMAX_USED ? exp(probability[best] - most) : probability[best];
  }
  const double by = (double)r->scale / (r->normalised || r->gate == GATE_SOFTMAX_USED ? total : 1);
  for (int k = 0; k < r->n_used; k++) weight[k] *= by;
}

static struct tape_route tx_some_route(int round) {
  static const int sizes[][4] = {{1, 1, 0, 0}, {8, 2, 0, 0}, {12, 4, 4, 2}, {40, 6, 8, 3}, {5, 5, 1, 1}, {16, 3, 16, 5}, {2, 1, 0, 0}};
  const int *n = sizes[round % 7];
  struct tape_route r = {.n_expert = n[0], .n_used = n[1], .n_group = n[2], .n_group_used = n[3], .normalised = round / 2 % 2,
                         .scale = round % 5 == 2 ? 2.5f : 1.0f};
  r.gate = round % 3 == 0 ? GATE_SOFTMAX : round % 3 == 1 ? GATE_SIGMOID : GATE_SOFTMAX_USED;
  if (round / 3 % 2) r.bias = tr_floats(r.n_expert, 0.3f);
  return r;
}

/* Chosen experts and the places of the pairs: all in range, every pair once, those of an expert together and by rows. */
static void tx_check_pairs(const struct tape_route *r, int n_rows) {
  const struct cpu_pairs *p = &tr.cpu.pairs;
  bool seen[TR_MOST * TX_USED] = {0};
  ck_assert(p->first[0] == 0 && p->first[r->n_expert] == n_rows * r->n_used);
  for (int i = 0; i < n_rows * r->n_used; i++) {
    ck_assert(p->chosen[i] >= 0 && p->chosen[i] < r->n_expert && p->at[i] >= 0 && p->at[i] < n_rows * r->n_used && !seen[p->at[i]]);
    seen[p->at[i]] = true;
    ck_assert(p->row[p->at[i]] == i / r->n_used);
    ck_assert(p->at[i] >= p->first[p->chosen[i]] && p->at[i] < p->first[p->chosen[i] + 1]);
  }
  for (int e = 0; e < r->n_expert; e++)
    for (int i = p->first[e] + 1; i < p->first[e + 1]; i++) ck_assert_int_ge(p->row[i], p->row[i - 1]);
}

START_TEST(op_route) {
  for (int round = 0; round < 84; round++) {
    tr_begin();
    const struct tape_route route = tx_some_route(round);
    int x = tr_input(route.n_expert), weights = tape_route(&tr.tape, &route, x);
    tr_ready(false, KV_F16, 1 + round % 3);
    tr_fill(x, 4);
    const bool ties = round / 7 % 2;
    for (int i = 0; i < TR_ROWS * route.n_expert && ties; i++) tr.kept[0][i] = (float)(int)tr.kept[0][i]; // many are equal
    for (int r = 0; r < TR_ROWS; r++)
      memcpy(cpu_row(&tr.cpu, x, r), tr.kept[0] + r * route.n_expert, sizeof(float) * (size_t)route.n_expert);
    cpu_run(&tr.cpu, &tr.batch);
    tx_check_pairs(&route, TR_ROWS);
    for (int r = 0; r < TR_ROWS; r++) {
      int chosen[TX_USED];
      double weight[TX_USED];
      tx_route(&route, tr.kept[0] + r * route.n_expert, chosen, weight);
      for (int k = 0; k < route.n_used; k++) {
        ck_assert_msg(tr.cpu.pairs.chosen[r * route.n_used + k] == chosen[k], "round %d, row %d: expert %d, expected %d", round, r,
                      tr.cpu.pairs.chosen[r * route.n_used + k], chosen[k]);
        tr_near(cpu_row(&tr.cpu, weights, r)[k], weight[k], (double)route.scale);
      }
    }
    tr_same_bits(weights);
    tr_end();
  }
}
END_TEST

/* ---- their feed-forward, as an architecture would write it: y += scale * sum of weight * (act(x gate) * (x up)) down ---- */

enum { TX_COLS = 64, TX_FF = 96, TX_OUT = 57 };
static struct {
  struct tape_route route;
  struct weight *gate, *up, *down;
  int x, logits, to;
  double scale;
} tx;

static void tx_begin(int round) {
  static const int rows[] = {1, 2, 3, 5, 11, 16, 17, 33, 70}, ffs[] = {96, 32, 33, 64, 7}, outs[] = {57, 16, 40};
  tr_begin();
  tr.n_rows = rows[round % 9];
  tx.route = tx_some_route(round);
  tx.scale = round % 4 == 1 ? 0.25 : 1;
  const int ff = ffs[round % 5], out = outs[round / 3 % 3], n = tx.route.n_expert;
  const bool floats = ff % BLOCK != 0;
  tx.gate = tr_experts(round % 4 ? &quant_q8_0 : &quant_f32, ff, TX_COLS, n, true);
  tx.up = tr_experts(round / 2 % 4 ? &quant_q8_0 : &quant_f32, ff, TX_COLS, n, true); // where they differ: two operations
  tx.down = tr_experts(floats || round % 3 == 0 ? &quant_f32 : &quant_q8_0, out, ff, n, true);
  tx.x = tr_input(TX_COLS), tx.logits = tr_input(n), tx.to = tr_input(out);
  const struct weight *both[] = {tx.gate, tx.up}, *down[] = {tx.down};
  int weights = tape_route(&tr.tape, &tx.route, tx.logits), act[2], y;
  tape_experts(&tr.tape, TAPE_ROWS(tx.x), &tx.route, weights, 2, both, act);
  tape_experts(&tr.tape, TAPE_GLU(act[0], act[1], ACT_SILU), &tx.route, weights, 1, down, &y);
  tape_mix(&tr.tape, &tx.route, y, weights, (float)tx.scale, tx.to);
}

/* Weights of experts that no row chooses become numbers that would show. */
static void tx_poison(void) {
  bool used[TX_EXPERTS] = {0};
  for (int r = 0; r < tr.n_rows; r++) {
    int chosen[TX_USED];
    double weight[TX_USED];
    tx_route(&tx.route, tr.kept[1] + r * tx.route.n_expert, chosen, weight);
    for (int k = 0; k < tx.route.n_used; k++) used[chosen[k]] = true;
  }
  struct weight *const all[] = {tx.gate, tx.up, tx.down};
  for (int i = 0; i < 3; i++) {
    const size_t bytes = form_bytes(all[i]->quant->form, all[i]->n_rows, all[i]->n_cols);
    for (int e = 0; e < tx.route.n_expert; e++)
      if (!used[e]) memset((char *)all[i]->packed + bytes * (size_t)e, 0xFF, bytes);
  }
}

static void tx_check_row(int r) {
  int chosen[TX_USED];
  double weight[TX_USED], act[TX_FF];
  const int ff = tx.gate->n_rows, out = tx.down->n_rows;
  const float *x = tr.kept[0] + r * TX_COLS;
  double want[TX_OUT], size[TX_OUT];
  for (int i = 0; i < out; i++) want[i] = (double)tr.kept[2][r * out + i], size[i] = fabs(want[i]) + 1;
  tx_route(&tx.route, tr.kept[1] + r * tx.route.n_expert, chosen, weight);
  for (int k = 0; k < tx.route.n_used; k++) {
    for (int i = 0; i < ff; i++) {
      double gate = 0, up = 0;
      for (int c = 0; c < TX_COLS; c++) gate += tr_at(tx.gate, chosen[k] * ff + i, c) * (double)x[c];
      for (int c = 0; c < TX_COLS; c++) up += tr_at(tx.up, chosen[k] * ff + i, c) * (double)x[c];
      act[i] = tr_act(ACT_SILU, gate) * up;
    }
    for (int i = 0; i < out; i++)
      for (int c = 0; c < ff; c++) {
        const double term = tx.scale * weight[k] * tr_at(tx.down, chosen[k] * out + i, c) * act[c];
        want[i] += term, size[i] += fabs(term);
      }
  }
  for (int i = 0; i < out; i++) tr_near(cpu_row(&tr.cpu, tx.to, r)[i], want[i], 2 * size[i]);
}

START_TEST(op_experts) { // float activations against doubles, and int8 ones with themselves
  for (int round = 0; round < 63; round++)
    for (int exact = 0; exact < 2; exact++) {
      tx_begin(round);
      tr_ready(exact, KV_F16, 1 + round % 3);
      tt_check_plan(&tr.tape);
      tr_fill(tx.x, 1);
      tr_fill(tx.logits, 4);
      tr_fill(tx.to, 1);
      tx_poison();
      cpu_run(&tr.cpu, &tr.batch);
      tx_check_pairs(&tx.route, tr.n_rows);
      for (int r = 0; r < tr.n_rows; r++)
        if (exact) tx_check_row(r);
        else for (int i = 0; i < tx.down->n_rows; i++) ck_assert(fabsf(cpu_row(&tr.cpu, tx.to, r)[i]) < 1e4f);
      tr_same_bits(tx.to);
      tr_end();
    }
}
END_TEST

/* Logits and rows that are no numbers hurt their own row alone, and nothing is read or written elsewhere. */
START_TEST(op_experts_no_numbers) {
  static const uint32_t bad[] = {0x7FC00000u, 0xFF800000u, 0x7F800000u};
  static float want[TR_MOST][TX_OUT];
  for (int round = 0; round < 63; round++) {
    tx_begin(round);
    tr_ready(false, KV_F16, 1 + round % 3);
    const int n = tx.route.n_expert, out = tx.down->n_rows;
    tr_fill(tx.x, 1);
    tr_fill(tx.logits, 4);
    tr_fill(tx.to, 1);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < tr.n_rows; r++) memcpy(want[r], cpu_row(&tr.cpu, tx.to, r), sizeof(float) * (size_t)out);
    for (int r = 0; r < tr.n_rows; r++) {
      memcpy(cpu_row(&tr.cpu, tx.x, r), tr.kept[0] + r * TX_COLS, sizeof(float) * TX_COLS);
      memcpy(cpu_row(&tr.cpu, tx.to, r), tr.kept[2] + r * out, sizeof(float) * (size_t)out);
      float *logits = cpu_row(&tr.cpu, tx.logits, r);
      memcpy(logits, tr.kept[1] + r * n, sizeof(float) * (size_t)n);
      for (int i = 0; i < n && r % 3 == 1; i++)
        if (round / 3 % 2 || tt_below(3) == 0) logits[i] = f32_from_bits(bad[round % 3]); // all of a row, or some
      if (r % 6 == 2) cpu_row(&tr.cpu, tx.x, r)[5] = f32_from_bits(bad[0]);
    }
    cpu_run(&tr.cpu, &tr.batch);
    tx_check_pairs(&tx.route, tr.n_rows);
    for (int r = 0; r < tr.n_rows; r++)
      if (r % 3 != 1 && r % 6 != 2) ck_assert(memcmp(want[r], cpu_row(&tr.cpu, tx.to, r), sizeof(float) * (size_t)out) == 0);
    tr_end();
  }
}
END_TEST

/* A matrix for every head on its columns of a row, then side by side again. */
START_TEST(op_each_head) {
  for (int round = 0; round < 12; round++) {
    const int n_head = 1 + round % 5, rows = round % 2 ? 33 : 16, cols = round % 3 ? 64 : 32, step = round % 4 ? cols + 3 : 0;
    tr_begin();
    tr.n_rows = round % 2 ? 70 : 3;
    const struct tape_route heads = {.n_expert = n_head, .n_used = n_head, .gate = GATE_ALL};
    const struct weight *w = tr_experts(round % 2 ? &quant_q8_0 : &quant_f32, rows, cols, n_head, true);
    int x = tr_input(2 + step * (n_head - 1) + cols), y = tape_each_head(&tr.tape, &heads, x, (struct tape_piece){2, step, cols}, w);
    int out = tape_join(&tr.tape, n_head, y, (struct tape_piece){0, 0, rows}, y, (struct tape_piece){0, 0, 0});
    tr_ready(round % 6 < 4, KV_F16, 1 + round % 3);
    tr_fill(x, 1);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < tr.n_rows && tr.cpu.exact; r++)
      for (int i = 0; i < n_head * rows; i++) {
        double want = 0;
        const float *in = tr.kept[0] + r * tr.tape.values[x].width + 2 + i / rows * step;
        for (int c = 0; c < cols; c++) want += tr_at(w, i, c) * (double)in[c];
        tr_near(cpu_row(&tr.cpu, out, r)[i], want, cols);
      }
    tr_same_bits(out);
    tr_end();
  }
}
END_TEST

START_TEST(op_adapters) { // products with low-rank changes, one and two of them, of one matrix of two, added or not
  for (int round = 0; round < 12; round++) {
    enum { COLS = 64, ROWS = 40 };
    tr_begin();
    const bool add = round % 2;
    const int n = 1 + round / 2 % 2, rank = 1 + round * 3;
    struct weight *w[2] = {tr_weight(&quant_f32, ROWS, COLS, true), tr_weight(&quant_q8_0, ROWS, COLS, true)};
    struct adapter list[2];
    for (int i = 0; i < n; i++)
      list[i] = (struct adapter){*tr_weight(&quant_f32, rank, COLS, true), *tr_weight(&quant_f32, ROWS, rank, true), i ? 0.5f : 1.0f, i,
                                 i ? &list[0] : NULL};
    w[0]->adapters = &list[n - 1];
    int x = tr_input(COLS), out[2] = {add ? tr_input(ROWS) : 0, 0};
    const struct tape_in in = TAPE_NORM(x, tt_plain);
    if (add) tape_matmul_add(&tr.tape, in, w[0], out[0]);
    else tape_matmul(&tr.tape, in, 2, (const struct weight *const *)w, out);
    tr_ready(true, KV_F16, 1 + round % 3);
    tr_fill(x, 1);
    if (add) tr_fill(out[0], 1);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TR_ROWS; r++)
      for (int k = 0; k < (add ? 1 : 2); k++)
        for (int i = 0; i < ROWS; i++) {
          double input[COLS], want = add ? (double)tr.kept[1][r * ROWS + i] : 0;
          tr_source(&in, tr.kept[0] + r * COLS, NULL, COLS, input);
          for (int c = 0; c < COLS; c++) want += tr_at(w[k], i, c) * input[c];
          for (int l = 0; l < n && k == 0; l++)
            for (int j = 0; j < rank; j++) {
              double inner = 0;
              for (int c = 0; c < COLS; c++) inner += tr_at(&list[l].down, j, c) * input[c];
              want += (double)list[l].scale * inner * tr_at(&list[l].up, i, j);
            }
          tr_near(cpu_row(&tr.cpu, out[k], r)[i], want, 100 + 20 * rank);
        }
    tr_same_bits(out[0]);
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

/* ---- rows that are kept ---- */

enum { TK_WIDTH = 64, TK_OUT = 40, TK_MEAN = 2, TK_EARLY = 3 }; // rounds: a mean stands last; experts are chosen before attention
static const struct tape_route tk_route = {2 * MATMUL_MAX, 2, GATE_SOFTMAX, true, 1, NULL, 0, 0};

/* Attention, and what follows it: its output and that of experts added to x, a product of its norm. */
static int tk_begin(int round) {
  ta_begin(round);
  const struct weight *router = tr_weight(&quant_f32, tk_route.n_expert, TK_WIDTH, true);
  const struct weight *experts = tr_experts(&quant_q8_0, TK_WIDTH, TK_WIDTH, tk_route.n_expert, true);
  const bool early = round % 4 == TK_EARLY;
  int x = tr_input(TK_WIDTH), weights = VALUE_NONE, y;
  if (early) weights = tape_route(&tr.tape, &tk_route, tape_product(&tr.tape, TAPE_ROWS(x), router));
  ta_attend();
  tape_matmul_add(&tr.tape, TAPE_ROWS(ta.o), tr_weight(&quant_f32, TK_WIDTH, ta.h.n_head * TA_WIDTH, true), x);
  if (!early) weights = tape_route(&tr.tape, &tk_route, tape_product(&tr.tape, TAPE_ROWS(x), router));
  tape_experts(&tr.tape, TAPE_ROWS(x), &tk_route, weights, 1, &experts, &y);
  tape_mix(&tr.tape, &tk_route, y, weights, 1, x);
  y = tape_product(&tr.tape, TAPE_NORM(x, ((struct norm){NULL, NULL, 1e-5f, true})), tr_weight(&quant_q8_0, TK_OUT, TK_WIDTH, true));
  if (round % 4 == TK_MEAN) y = tape_mean(&tr.tape, y);
  tr_ready(false, (enum kv_type)(round % 3), 1 + round % 3);
  ta_fill();
  tr_fill(x, 1);
  return y;
}

/* Runs the same rows again, of which those of a bit mask are kept, or none. */
static void tk_run(uint64_t keep) {
  static int kept[TA_ROWS];
  tr.batch.kept = kept, tr.batch.n_kept = 0;
  memset(tr.cpu.values, 0x7F, tr.tape.scratch_bytes);
  for (int i = 0; i < tr.n_inputs; i++) {
    const int width = tr.tape.values[tr.inputs[i]].width;
    for (int r = 0; r < TA_ROWS; r++)
      memcpy(cpu_row(&tr.cpu, tr.inputs[i], r), tr.kept[i] + r * width, sizeof(float) * (size_t)width);
  }
  for (int i = 0; i < tr.batch.n_segments; i++) {
    struct batch_segment *s = &tr.segments[i];
    s->kept = tr.batch.n_kept;
    for (int r = s->row; r < s->row + s->n_rows; r++)
      if (keep >> r & 1) kept[tr.batch.n_kept++] = r;
    s->n_kept = tr.batch.n_kept - s->kept;
  }
  cpu_run(&tr.cpu, &tr.batch);
}

/* Whichever rows are kept, they have the bits they have among all, and lie one after the other. */
START_TEST(rows_that_are_kept) {
  static float want[TA_ROWS][TK_OUT];
  for (int round = 0; round < 24; round++) {
    const int y = tk_begin(round), attention = round % 4 == TK_EARLY ? 4 : 2;
    ck_assert_int_eq(tr.tape.tail, round % 4 < TK_MEAN ? attention + (ta.h.rope != NULL) : tr.tape.n_ops);
    cpu_run(&tr.cpu, &tr.batch);
    for (int r = 0; r < TA_ROWS; r++) memcpy(want[r], cpu_row(&tr.cpu, y, r), sizeof want[r]);
    for (int k = 0; k < 12; k++) {
      const uint64_t masks[] = {0, 1, (uint64_t)1 << (TA_ROWS - 1), UINT64_MAX};
      const uint64_t some = (uint64_t)tt_below(1 << 20) << 20 | (uint64_t)tt_below(1 << 20);
      const uint64_t keep = k < 4 ? masks[k] : k < 8 ? some : some & (uint64_t)tt_below(1 << 20) << 17;
      tk_run(keep);
      for (int r = 0, at = 0; r < TA_ROWS; r++) {
        if (!(keep >> r & 1)) continue;
        const bool has = round % 4 != TK_MEAN || r == tr.segments[tr.segment[r]].row; // the others hold nothing
        ck_assert_msg(!has || memcmp(cpu_row(&tr.cpu, y, at), want[r], sizeof want[r]) == 0, "round %d, rows %llx: row %d has other bits",
                      round, (unsigned long long)keep, r);
        at++;
      }
    }
    tr_end();
  }
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
  tcase_add_test(t, op_heads_and_attention);
  tcase_add_test(t, op_norm);
  tcase_add_test(t, op_route);
  tcase_add_test(t, op_experts);
  tcase_add_test(t, op_experts_no_numbers);
  tcase_add_test(t, op_each_head);
  tcase_add_test(t, op_adapters);
  tcase_add_test(t, op_join);
  tcase_add_test(t, op_add);
  tcase_add_test(t, op_head_and_softcap);
  tcase_add_test(t, rows_that_are_kept);
  tcase_set_timeout(t, 60);
  suite_add_tcase(s, t);
  return s;
}
