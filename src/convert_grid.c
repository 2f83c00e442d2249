/* convert_grid.c -- matrices that a folder holds as codes with scales (GPTQ, AWQ, compressed-tensors, FP8, INT8).
 *
 * A weight is scale * (code - zero). Whoever made the codes chose groups of columns, or of rows and columns, that share
 * a scale; where a group is whole blocks of 32 columns the codes go into Q4_0, Q4_1 or Q8_0 as they are. Else the weights
 * become floats. grid_open checks every shape, so that all that grid_cell reads lies inside its tensor.
 * SPDX-License-Identifier: MIT */

enum grid_kind { GRID_NONE, GRID_GPTQ, GRID_AWQ, GRID_PACKED, GRID_PLAIN };

struct grid {
  enum grid_kind kind;
  const struct safetensor *codes, *scales, *zeros, *order; // zeros, order: or NULL
  uint64_t rows, cols;       // of the matrix: outputs, inputs
  uint64_t tall, wide;       // rows and columns that share a scale
  uint64_t scale_cols;       // of the scales as they are stored
  int bits, zero;            // of a code; of all codes where there are no zeros, else what is added to them
  int log_per;               // 1 << log_per codes in a word
};

/* What config.json's quantization_config says. */
struct grid_config {
  enum grid_kind kind;       // NONE: nothing is quantized
  int bits;
  int zero;
  uint64_t tall, wide;       // of blocks that share a scale; 0: not said
};

static uint32_t grid_word(const struct safetensor *t, uint64_t i) {
  uint32_t w;
  memcpy(&w, t->data + 4 * i, 4);
  return w;
}

static int grid_code(const struct grid *g, const struct safetensor *t, uint64_t word, uint64_t place) {
  static const uint8_t awq[8] = {0, 4, 1, 5, 2, 6, 3, 7}; // where AWQ keeps the columns of a word
  uint64_t at = g->kind == GRID_AWQ ? awq[place & 7] : place;
  return (int)(grid_word(t, word) >> (at * (uint64_t)g->bits) & ((1u << g->bits) - 1));
}

static uint64_t grid_group(const struct grid *g, uint64_t col) { return g->order ? grid_word(g->order, col) : col / g->wide; }

static float grid_scale(const struct grid *g, uint64_t row, uint64_t group) {
  const struct quant *q = g->scales->type->quant;
  uint64_t i = g->kind == GRID_GPTQ || g->kind == GRID_AWQ ? group * g->scale_cols + row : row / g->tall * g->scale_cols + group;
  float f;
  q->decode(g->scales->data + i * q->block_bytes, &f);
  return f;
}

static int grid_zero(const struct grid *g, uint64_t row, uint64_t group) {
  int log = g->log_per;
  uint64_t in = ((uint64_t)1 << log) - 1;
  if (!g->zeros) return g->zero;
  if (g->kind == GRID_PACKED) return grid_code(g, g->zeros, (row >> log) * g->scale_cols + group, row & in) + g->zero;
  return grid_code(g, g->zeros, group * (g->rows >> log) + (row >> log), row & in) + g->zero;
}

/* A code as it is stored; of GRID_PLAIN the number. */
static float grid_cell(const struct grid *g, uint64_t row, uint64_t col) {
  int log = g->log_per;
  uint64_t in = ((uint64_t)1 << log) - 1;
  float f;
  switch (g->kind) {
  case GRID_GPTQ: return (float)grid_code(g, g->codes, (col >> log) * g->rows + row, col & in);
  case GRID_AWQ: return (float)grid_code(g, g->codes, col * (g->rows >> log) + (row >> log), row & in);
  case GRID_PACKED: return (float)grid_code(g, g->codes, row * g->codes->dim[1] + (col >> log), col & in);
  default: g->codes->type->quant->decode(g->codes->data + row * g->cols + col, &f); return f;
  }
}

/* n weights of a row. y (n) */
static void grid_weights(const struct grid *g, uint64_t row, uint64_t col, uint64_t n, float *y) {
  for (uint64_t i = 0; i < n;) {
    uint64_t group = grid_group(g, col + i), end = g->order ? i + 1 : (group + 1) * g->wide - col; // of what shares a scale
    float scale = grid_scale(g, row, group), zero = (float)grid_zero(g, row, group);
    for (; i < n && i < end; i++) y[i] = scale * (grid_cell(g, row, col + i) - zero);
  }
}

static bool grid_is(const struct safetensor *t, const char *type, uint64_t dim0, uint64_t dim1) {
  return str_is(str_from(t->type->name), type) && t->n_dims == 2 && t->dim[0] == dim0 && t->dim[1] == dim1;
}

static bool grid_wrong(const struct grid *g, const char *what, struct bk_error *e) {
  return err_set(e, ERR_DATA, "tensor " STR_FMT ": its %s do not have the type and shape that %llu x %llu codes in groups need",
                 STR_ARG(g->codes->name), what, (unsigned long long)g->rows, (unsigned long long)g->cols);
}

/* GPTQ and AWQ: inputs run down, scales stand (group, output). */
static bool grid_open_down(struct grid *g, struct bk_error *e) {
  uint64_t per = 32 / (uint64_t)g->bits;
  bool gptq = g->kind == GRID_GPTQ;
  g->rows = g->codes->dim[1] * (gptq ? 1 : per);
  g->cols = g->codes->dim[0] * (gptq ? per : 1);
  uint64_t groups = g->scales->dim[0];
  if (!grid_is(g->codes, "I32", g->codes->dim[0], g->codes->dim[1]) || !g->rows || !g->cols || g->rows % per)
    return grid_wrong(g, "codes", e);
  if (g->scales->n_dims != 2 || g->scales->dim[1] != g->rows || !groups || g->cols % groups) return grid_wrong(g, "scales", e);
  if (!g->zeros || !grid_is(g->zeros, "I32", groups, g->rows / per)) return grid_wrong(g, "zeros", e);
  g->wide = g->cols / groups;
  g->scale_cols = g->rows;
  if (!g->order) return true;
  if (!str_is(str_from(g->order->type->name), "I32") || g->order->n_dims != 1 || g->order->dim[0] != g->cols)
    return grid_wrong(g, "g_idx", e);
  bool even = true;
  for (uint64_t c = 0; c < g->cols; c++) {
    if (grid_word(g->order, c) >= groups) return grid_wrong(g, "g_idx", e);
    even = even && grid_word(g->order, c) == c / g->wide;
  }
  if (even) g->order = NULL;
  return true;
}

/* compressed-tensors' packed codes: scales (output, group); weight_shape has the columns that the last word does not fill. */
static bool grid_open_packed(struct grid *g, const struct safetensor *shape, struct bk_error *e) {
  uint64_t per = 32 / (uint64_t)g->bits, groups = g->scales->dim[1], size[2] = {0, 0};
  g->rows = g->codes->dim[0];
  size_t each = shape ? shape->type->bytes : 0;
  if (shape && shape->n_bytes == 2 * each && (each == 8 || each == 4))
    for (int i = 0; i < 2; i++) memcpy(&size[i], shape->data + each * (size_t)i, each);
  g->cols = size[1];
  if (!grid_is(g->codes, "I32", g->rows, (g->cols + per - 1) / per) || !g->rows || !g->cols || size[0] != g->rows)
    return grid_wrong(g, "codes", e);
  if (g->scales->n_dims != 2 || g->scales->dim[0] != g->rows || !groups || g->cols % groups) return grid_wrong(g, "scales", e);
  if (g->zeros && !grid_is(g->zeros, "I32", (g->rows + per - 1) / per, groups)) return grid_wrong(g, "zeros", e);
  g->wide = g->cols / groups;
  g->scale_cols = groups;
  return true;
}

/* Bytes: one scale for all, for every row, or for every block of `tall` rows and `wide` columns. */
static bool grid_open_plain(struct grid *g, const struct grid_config *c, struct bk_error *e) {
  g->rows = g->codes->dim[0], g->cols = g->codes->dim[1];
  uint64_t count = g->scales->n_bytes / g->scales->type->bytes;
  if (g->codes->n_dims != 2 || !g->rows || !g->cols) return grid_wrong(g, "codes", e);
  g->tall = 1, g->wide = g->cols, g->scale_cols = 1;
  if (count == 1) g->tall = g->rows;
  else if (count != g->rows || (g->scales->n_dims == 2 && g->scales->dim[1] != 1)) {
    g->tall = c->tall, g->wide = c->wide;
    if (!g->tall || !g->wide || g->scales->n_dims != 2 || g->scales->dim[0] != (g->rows + g->tall - 1) / g->tall ||
        g->scales->dim[1] != (g->cols + g->wide - 1) / g->wide) return grid_wrong(g, "scales", e);
    g->scale_cols = g->scales->dim[1];
  }
  return true;
}

static const struct safetensor *grid_part(struct safetensors *s, struct str base, const char *suffix) {
  char name[1024];
  snprintf(name, sizeof name, "%.*s%s", (int)(base.len > 900 ? 0 : base.len), base.ptr, suffix);
  struct safetensor *t = safetensors_find(s, str_from(name));
  if (t) t->used = true;
  return t;
}

/* The matrix whose codes are `codes`; `base` is its name without ".weight" and the like. kind NONE: it has no scales. */
static bool grid_open(struct grid *g, struct safetensors *s, const struct safetensor *codes, struct str base, const struct grid_config *c,
                      struct bk_error *e) {
  bool whole = str_ends(codes->name, STR(".weight"));
  *g = (struct grid){.kind = whole ? GRID_PLAIN : c->kind, .codes = codes, .tall = 1, .wide = 1, .bits = whole ? 8 : c->bits,
                     .zero = whole ? 0 : c->zero};
  g->log_per = g->bits == 4 ? 3 : 2;
  if (whole) { // what measured activations on the way
    grid_part(s, base, ".input_scale"), grid_part(s, base, ".activation_scale");
    if (!(g->scales = grid_part(s, base, ".weight_scale")) && !(g->scales = grid_part(s, base, ".weight_scale_inv"))) {
      g->kind = GRID_NONE;
      return true;
    }
  }
  if (g->kind == GRID_NONE || (g->kind == GRID_PACKED) != str_ends(codes->name, STR(".weight_packed")) * !whole)
    return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: codes that quantization_config does not explain", STR_ARG(codes->name));
  if (!whole) {
    bool packed = g->kind == GRID_PACKED;
    g->scales = grid_part(s, base, packed ? ".weight_scale" : ".scales");
    g->zeros = grid_part(s, base, packed ? ".weight_zero_point" : ".qzeros");
    g->order = grid_part(s, base, packed ? ".weight_g_idx" : ".g_idx");
  }
  if (g->zeros && g->kind == GRID_PACKED) g->zero = 0;
  if (!g->scales || !g->scales->type->quant || !g->scales->n_bytes) return grid_wrong(g, "scales", e);
  if (g->kind == GRID_PLAIN) return grid_open_plain(g, c, e);
  if (g->kind != GRID_PACKED) return grid_open_down(g, e);
  if (g->order)
    return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: packed codes in an order of their own", STR_ARG(codes->name));
  return grid_open_packed(g, grid_part(s, base, ".weight_shape"), e);
}

/* The format that takes the codes as they are; NULL: none does. */
static const struct quant *grid_format(const struct grid *g) {
  bool bytes = g->kind == GRID_PLAIN && g->codes->type->quant == &safetensors_i8, middle = true;
  if (g->order || g->cols % BLOCK || (g->wide % BLOCK && g->wide != g->cols)) return NULL;
  if (g->kind == GRID_PLAIN) return bytes ? &quant_q8_0 : NULL;
  for (uint64_t r = 0; r < g->rows && middle; r++)
    for (uint64_t group = 0; group < g->cols / g->wide && middle; group++) middle = grid_zero(g, r, group) == 1 << (g->bits - 1);
  return g->bits == 8 ? middle ? &quant_q8_0 : NULL : middle ? &quant_q4_0 : &quant_q4_1;
}

/* One block of `to`, as grid_format gave it; false if its scale is no number that a half can hold. */
static bool grid_block(const struct grid *g, const struct quant *to, uint64_t row, uint64_t col, void *out) {
  uint64_t group = grid_group(g, col);
  float scale = grid_scale(g, row, group);
  uint16_t d = f32_to_f16(scale), m = f32_to_f16(-scale * (float)grid_zero(g, row, group));
  uint8_t *q = (uint8_t *)out + to->block_bytes - (to == &quant_q8_0 ? BLOCK : BLOCK / 2);
  memcpy(out, &d, 2);
  if (to == &quant_q4_1) memcpy((char *)out + 2, &m, 2);
  int zero = to == &quant_q8_0 ? grid_zero(g, row, group) : 0;
  for (uint64_t i = 0; i < BLOCK; i++) {
    int code = (int)grid_cell(g, row, col + i) - zero;
    if (to == &quant_q8_0) q[i] = (uint8_t)code;
    else if (i < BLOCK / 2) q[i] = (uint8_t)code;
    else q[i - BLOCK / 2] |= (uint8_t)(code << 4);
  }
  return (d & 0x7C00) != 0x7C00 && (m & 0x7C00) != 0x7C00;
}
