/* tape.c -- see tape.h. Building, planning and printing; running is cpu.c's business.
 * SPDX-License-Identifier: MIT */
#include "tape.h"

static bool tape_new(struct tape *t, int max_ops, struct arena *a, struct bk_error *e) {
  *t = (struct tape){.max_ops = max_ops, .max_values = 4 * max_ops, .input = VALUE_NONE, .result = VALUE_NONE, .hidden = VALUE_NONE,
                    .colbert = VALUE_NONE, .sparse = VALUE_NONE};
  t->ops = ARENA_NEW(a, struct op, (size_t)t->max_ops);
  t->values = ARENA_NEW(a, struct value, (size_t)t->max_values);
  return (t->ops && t->values) || err_set(e, ERR_OS, "no memory for a tape of %d operations", max_ops);
}

static struct op *tape_op(struct tape *t, enum op_kind kind) {
  BK_ASSERT(t->n_ops < t->max_ops); // an architecture's forward is our code: model.c sizes the tape by layers
  struct op *op = &t->ops[t->n_ops++];
  *op = (struct op){.kind = kind, .head = t->in_head, .in = {-1, -1, -1}, .out = {-1, -1, -1}};
  return op;
}

static int tape_value(struct tape *t, int width) {
  BK_ASSERT(t->n_values < t->max_values);
  t->values[t->n_values] = (struct value){.width = width, .n_used = 1, .stride = (int)size_align((size_t)width, 16), .first = t->n_ops - 1,
                                          .last = t->n_ops - 1, .head = t->in_head, .slice_of = VALUE_NONE};
  return t->n_values++;
}

static int tape_use(struct tape *t, int value) { // by the operation added last
  if (value == VALUE_NONE) return value;
  struct value *v = &t->values[value];
  v->last = t->n_ops - 1;
  if (v->slice_of != VALUE_NONE) tape_use(t, v->slice_of);
  return value;
}

static int tape_slice(struct tape *t, int value, int column, int width) {
  int slice = tape_value(t, width);
  t->values[slice].slice_of = value;
  t->values[slice].column = column;
  t->values[slice].stride = t->values[value].stride;
  return slice;
}

static int tape_embed(struct tape *t, const struct weight *w, float scale) {
  struct op *op = tape_op(t, OP_EMBED);
  op->w[0] = w;
  op->scale = scale;
  return op->out[0] = tape_value(t, w->n_cols);
}

static void tape_embed_add(struct tape *t, const struct weight *w, enum lookup by, int to) {
  struct op *op = tape_op(t, OP_EMBED);
  op->w[0] = w;
  op->scale = 1.0f;
  op->lookup = by;
  op->add = true;
  op->out[0] = tape_use(t, to);
}

static int tape_angles(struct tape *t, const struct rope *r) {
  struct op *op = tape_op(t, OP_ANGLES);
  op->rope = r;
  return op->out[0] = tape_value(t, r->n_rot);
}

static bool tape_is_float(const struct weight *w) { return form_shapes[w->quant->form].bits == 0; }

static struct op *tape_read(struct tape *t, struct tape_in in, const struct tape_route *route, int weights) {
  struct op *op = tape_op(t, OP_MATMUL);
  op->source = in.source;
  op->in[0] = tape_use(t, in.x);
  op->in[1] = tape_use(t, in.y);
  op->in[2] = tape_use(t, weights);
  op->norm = in.norm;
  op->act = in.act;
  op->route = route;
  return op;
}

static const struct norm tape_unnormed; // eps 0: none

/* to += what the adapters of w make of the input. */
static void tape_adapt(struct tape *t, struct tape_in in, const struct weight *w, int to) {
  for (const struct adapter *a = w->adapters; a; a = a->next) {
    int change = tape_product(t, TAPE_ROWS(tape_product(t, in, &a->down)), &a->up);
    tape_add(t, change, tape_unnormed, a->scale, VALUE_NONE, to);
  }
}

static void tape_experts(struct tape *t, struct tape_in in, const struct tape_route *route, int weights, int n,
                         const struct weight *const *w, int *out) {
  BK_ASSERT(n <= MATMUL_MAX);
  struct op *op = NULL;
  for (int i = 0; i < n; i++) {
    BK_ASSERT(w[i]->quant);
    // weights that want another kind of panel: another operation
    if (!op || form_panel(op->w[0]->quant->form) != form_panel(w[i]->quant->form)) op = tape_read(t, in, route, weights);
    op->w[op->n_out] = w[i];
    out[i] = op->out[op->n_out++] = tape_value(t, w[i]->n_rows);
    t->values[out[i]].pairs = route != NULL;
    if (route) t->values[out[i]].n_used = route->n_used;
  }
  for (int i = 0; i < n; i++) tape_adapt(t, in, w[i], out[i]);
}

static void tape_matmul(struct tape *t, struct tape_in in, int n, const struct weight *const *w, int *out) {
  tape_experts(t, in, NULL, VALUE_NONE, n, w, out);
}

static int tape_product(struct tape *t, struct tape_in in, const struct weight *w) {
  int out;
  tape_matmul(t, in, 1, &w, &out);
  return out;
}

static void tape_matmul_add(struct tape *t, struct tape_in in, const struct weight *w, int to) {
  BK_ASSERT(w->quant);
  struct op *op = tape_read(t, in, NULL, VALUE_NONE);
  op->w[0] = w;
  op->n_out = 1;
  op->out[0] = tape_use(t, to);
  op->add = true;
  tape_adapt(t, in, w, to);
}

static int tape_attention(struct tape *t, const struct tape_heads *h, int q, int k, int v) {
  struct op heads = {.rope = h->rope, .head_norm = {h->q_norm, h->k_norm}, .norm = {.eps = h->eps}, .scale = h->scale,
                     .softcap = h->softcap, .layer = h->layer, .n_head = h->n_head, .n_head_kv = h->n_head_kv,
                     .head_dim = h->head_dim, .value_dim = h->value_dim, .window = h->window, .both_ways = h->both_ways,
                     .alibi = h->alibi, .bias = h->bias, .reach = h->reach, .out = {-1, -1, -1}};
  struct op *op = tape_op(t, OP_HEADS);
  *op = heads;
  op->kind = OP_HEADS;
  op->in[0] = tape_use(t, k);
  op->in[1] = tape_use(t, v);
  op->in[2] = tape_use(t, h->rope ? h->angles : VALUE_NONE);
  op->out[0] = tape_use(t, q);
  op = tape_op(t, OP_ATTENTION);
  *op = heads;
  op->kind = OP_ATTENTION;
  op->in[0] = tape_use(t, q);
  op->in[1] = tape_use(t, k); // alive until here, and so are the angles, that both operations may be done at once
  op->in[2] = tape_use(t, v);
  if (h->rope) tape_use(t, h->angles);
  return op->out[0] = tape_value(t, h->n_head * h->value_dim);
}

static void tape_norm(struct tape *t, int x, struct norm norm, int n_head) {
  struct op *op = tape_op(t, OP_NORM);
  op->norm = norm;
  op->n_head = n_head;
  op->in[0] = op->out[0] = tape_use(t, x);
}

static int tape_normed(struct tape *t, int x, struct norm norm) {
  struct op *op = tape_op(t, OP_NORM);
  op->norm = norm;
  op->n_head = 1;
  op->in[0] = tape_use(t, x);
  return op->out[0] = tape_value(t, t->values[x].width);
}

static int tape_act_normed(struct tape *t, int x, enum activation act, struct norm norm) {
  const int y = tape_normed(t, x, norm);
  t->ops[t->n_ops - 1].source = FROM_GLU;
  t->ops[t->n_ops - 1].act = act;
  return y;
}

static int tape_mean(struct tape *t, int x) {
  struct op *op = tape_op(t, OP_MEAN);
  op->in[0] = tape_use(t, x);
  return op->out[0] = tape_value(t, t->values[x].width);
}

static void tape_add(struct tape *t, int x, struct norm norm, float scale, int gate, int to) {
  struct op *op = tape_op(t, OP_ADD);
  op->source = norm.eps > 0 ? FROM_NORM : FROM_ROWS;
  op->norm = norm;
  op->scale = scale;
  op->in[0] = tape_use(t, x);
  op->in[1] = tape_use(t, gate);
  op->out[0] = tape_use(t, to);
}

static int tape_join(struct tape *t, int n_head, int x, struct tape_piece a, int y, struct tape_piece b) {
  struct op *op = tape_op(t, OP_JOIN);
  op->n_head = n_head;
  op->in[0] = tape_use(t, x);
  op->in[1] = tape_use(t, y);
  op->piece[0] = a;
  op->piece[1] = b;
  return op->out[0] = tape_value(t, n_head * (a.width + b.width));
}

static int tape_route(struct tape *t, const struct tape_route *route, int logits) {
  struct op *op = tape_op(t, OP_ROUTE);
  op->route = route;
  op->in[0] = tape_use(t, logits);
  if (route->n_expert > t->most_experts) t->most_experts = route->n_expert;
  if (route->n_used > t->most_used) t->most_used = route->n_used;
  return op->out[0] = tape_value(t, route->n_used);
}

static int tape_each_head(struct tape *t, const struct tape_route *route, int x, struct tape_piece piece, const struct weight *w) {
  int out;
  tape_route(t, route, VALUE_NONE);
  tape_experts(t, TAPE_ROWS(x), route, VALUE_NONE, 1, &w, &out);
  t->ops[t->n_ops - 1].piece[0] = piece;
  return out;
}

static void tape_mix(struct tape *t, const struct tape_route *route, int x, int weights, float scale, int to) {
  struct op *op = tape_op(t, OP_MIX);
  op->route = route;
  op->scale = scale;
  op->in[0] = tape_use(t, x);
  op->in[2] = tape_use(t, weights);
  op->out[0] = tape_use(t, to);
}

static int tape_head(struct tape *t, int x) {
  BK_ASSERT(!t->in_head);
  t->values[x].last = t->max_ops; // lives until the last slice of output rows is done
  t->in_head = true;
  t->input = tape_value(t, t->values[x].width);
  t->values[t->input].first = t->n_ops;
  t->values[t->input].slice_of = VALUE_NONE;
  t->values[t->input].column = x; // cpu.c copies the wanted rows of x here
  return t->input;
}

static void tape_logits(struct tape *t, int x, float scale, float cap) {
  struct op *op = tape_op(t, OP_LOGITS);
  op->scale = scale;
  op->softcap = cap;
  op->out[0] = tape_use(t, x);
}

static void tape_keep(struct tape *t, int x) { t->values[x].last = t->max_ops; }

static void tape_hidden(struct tape *t, int x, struct norm norm) {
  tape_keep(t, x);
  t->hidden = x;
  t->hidden_norm = norm;
}

static void tape_result(struct tape *t, int logits) {
  t->values[logits].last = t->max_ops;
  t->result = logits;
}

/* ---- planning ---- */

static size_t tape_value_bytes(const struct tape *t, const struct value *v) {
  return size_align((size_t)v->stride * sizeof(float) * (v->head ? HEAD_ROWS : (size_t)t->max_rows * (size_t)v->n_used), 64);
}

static bool tape_overlap(const struct tape *t, const struct value *a, const struct value *b) {
  return a->first <= b->last && b->first <= a->last && a->offset < b->offset + tape_value_bytes(t, b) &&
         b->offset < a->offset + tape_value_bytes(t, a);
}

/* Columns of the panels of all experts: those of each are padded for themselves, by less than GROUP. */
static int tape_columns(const struct tape_route *r, int n_rows) {
  int pairs = n_rows * r->n_used;
  return pairs + GROUP * (pairs < r->n_expert ? pairs : r->n_expert);
}

/* Whether an operation asks where its row stands: in which sequence, at which position, which token it is. */
static bool tape_is_placed(const struct op *op) {
  return op->kind == OP_ATTENTION || op->kind == OP_HEADS || op->kind == OP_MEAN || op->kind == OP_EMBED || op->kind == OP_ANGLES;
}

/* Behind the last operation that asks so, rows of which nothing is wanted may be left out; at the latest where the head begins. */
static int tape_tail(const struct tape *t) {
  int end = t->n_ops, tail;
  while (end > 0 && t->ops[end - 1].head) end--;
  for (tail = end; tail > 0 && !tape_is_placed(&t->ops[tail - 1]);) tail--;
  for (int i = tail; i < end && t->ops[i].kind != OP_ROUTE; i++)
    if (t->ops[i].route) return end; // pairs were sorted before, for all rows
  for (int i = 0; i < t->n_values; i++) {
    const struct value *v = &t->values[i];
    if (v->first < tail && v->last >= tail && v->pairs) return end;
  }
  return tail;
}

/* Each value goes to the lowest place that no value alive at the same time covers: first fit in the order of the tape. */
static void tape_plan(struct tape *t, int max_rows) {
  t->max_rows = max_rows;
  t->tail = tape_tail(t);
  t->scratch_bytes = t->panel_bytes = 0;
  for (int i = 0; i < t->n_values; i++) {
    struct value *v = &t->values[i];
    if (v->slice_of != VALUE_NONE) continue;
    v->offset = 0;
    for (int j = 0; j < i; j++) {
      const struct value *other = &t->values[j];
      if (other->slice_of != VALUE_NONE || !tape_overlap(t, v, other)) continue;
      v->offset = other->offset + tape_value_bytes(t, other);
      j = -1; // the new place must be free of all
    }
    if (v->offset + tape_value_bytes(t, v) > t->scratch_bytes) t->scratch_bytes = v->offset + tape_value_bytes(t, v);
  }
  for (int i = 0; i < t->n_ops; i++) {
    const struct op *op = &t->ops[i];
    if (op->kind == OP_MATMUL) {
      // floats are the largest kind of panel, and --exact needs them whatever the weights
      const int rows = op->head ? HEAD_ROWS : max_rows;
      size_t bytes = panel_bytes(PANEL_FLOATS, op->route ? tape_columns(op->route, rows) : rows, op->w[0]->n_cols);
      if (bytes > t->panel_bytes) t->panel_bytes = bytes;
      if (op->w[0]->n_cols > t->widest_row) t->widest_row = op->w[0]->n_cols;
    }
    if (op->kind == OP_ATTENTION && attention_scratch(op->head_dim, op->value_dim) > t->attention_floats)
      t->attention_floats = attention_scratch(op->head_dim, op->value_dim);
  }
  for (int i = 0; i < t->n_values; i++) {
    struct value *v = &t->values[i];
    if (v->slice_of != VALUE_NONE) v->offset = t->values[v->slice_of].offset + (size_t)v->column * sizeof(float);
    if (v->width > t->widest_row) t->widest_row = v->width;
  }
}

/* ---- printing ---- */

static const char tape_op_names[OP_COUNT][10] = {"embed", "angles", "matmul", "norm", "heads", "attention",
                                                 "join", "route", "mix", "add", "mean", "logits"};

static void tape_print_op(const struct tape *t, int i, struct buf *b) {
  const struct op *op = &t->ops[i];
  buf_printf(b, "%4d %s%-10s", i, op->head ? "* " : "  ", tape_op_names[op->kind]);
  for (int k = 0; k < 3; k++)
    if (op->out[k] != VALUE_NONE) buf_printf(b, " v%d(%d)", op->out[k], t->values[op->out[k]].width);
  buf_printf(b, op->add || op->kind == OP_ADD || op->kind == OP_MIX ? " += " : " = ");
  if (op->source != FROM_ROWS) buf_printf(b, op->source == FROM_GLU ? "glu " : op->norm.centred ? "layer_norm " : "rms_norm ");
  for (int k = 0; k < 3; k++)
    if (op->in[k] != VALUE_NONE) buf_printf(b, "v%d ", op->in[k]);
  for (int k = 0; k < MATMUL_MAX; k++)
    if (op->w[k])
      buf_printf(b, "x " STR_FMT "[%d,%d] %s as %s ", STR_ARG(op->w[k]->name), op->w[k]->n_rows, op->w[k]->n_cols, op->w[k]->quant->name,
                 op->w[k]->packed ? form_shapes[op->w[k]->quant->form].name : "file");
  if (op->kind == OP_ATTENTION)
    buf_printf(b, "layer %d, %d heads on %d of %d, window %d", op->layer, op->n_head, op->n_head_kv, op->head_dim, op->window);
  buf_byte(b, '\n');
}

/* One line per operation; "*" marks those that run on output rows only. */
static void tape_print(const struct tape *t, struct buf *b) {
  for (int i = 0; i < t->n_ops; i++) tape_print_op(t, i, b);
  buf_printf(b, "%d operations, %d values, %zu bytes of values and %zu of panels for %d rows\n", t->n_ops, t->n_values,
             t->scratch_bytes, t->panel_bytes, t->max_rows);
}
