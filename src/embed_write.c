/* embed_write.c -- vectors -> bytes: shapes, precisions and formats, a round of lines at a time, on all threads.
 *
 * In: what embed.c found. Out: JSON Lines, raw numbers, a NumPy file or an Arrow stream. JSON has an answer for every line,
 * the others for every line up to the first with an error.
 * SPDX-License-Identifier: MIT */

/* ---- what a vector is written as ---- */

enum embed_format { EMBED_JSONL, EMBED_F32, EMBED_NPY, EMBED_ARROW };
enum embed_precision { EMBED_FLOAT32, EMBED_FLOAT16, EMBED_INT8, EMBED_BINARY, EMBED_UBINARY };
static const char *const embed_formats[] = {"jsonl", "f32", "npy", "arrow", NULL};
static const struct embed_element {
  const char *name, *numpy;
  int bits;
} embed_elements[] = {{"float32", "<f4", 32}, {"float16", "<f2", 16}, {"int8", "|i1", 8}, {"binary", "|i1", 1}, {"ubinary", "|u1", 1}};

/* A projection (Pearson, 1901), of vectors of length 1: y = scale * (components x - offset). */
struct embed_pca {
  int n, k;                 // floats of a vector, and of what becomes of it
  const float *components;  // (k, n)
  const double *scale, *offset; // (k); the offset is what the components make of the mean
};

struct embed_form {
  enum embed_format format;
  enum embed_precision precision;
  bool normalise;
  int n;               // floats of a vector that are kept
  const float *ranges; // (2, n) of int8: what becomes -128, what 127; NULL: each vector has its own
  const struct embed_pca *pca; // NULL: none
};

static int embed_form_items(const struct embed_form *f) { // numbers of a vector as it is written
  return embed_elements[f->precision].bits == 1 ? (f->n + 7) / 8 : f->n;
}

static size_t embed_form_bytes(const struct embed_form *f) {
  return (size_t)embed_form_items(f) * (size_t)((embed_elements[f->precision].bits + 7) / 8);
}

/* A number with nine digits, enough to read the same float back; printf is twenty times slower. */
static void embed_put_float(struct buf *b, float x) {
  static const double power[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13};
  double d = x < 0 ? -(double)x : (double)x;
  int point = 0; // digits before the point; at least -4
  if (!(d >= 1e-5 && d < 1e8) || b->cap - b->len < 20) {
    json_put_float(b, x);
    return;
  }
  while (point < 8 && d >= power[point]) point++;
  while (point > -4 && point <= 0 && d * power[1 - point] < 1) point--;
  uint32_t m = (uint32_t)(d * power[9 - point] + 0.5); // the product is right to 1e-7 of the last digit
  if (m >= 1000000000) m = 100000000, point++;
  uint64_t fixed = ((uint64_t)m << 32) / 100000000 + 1; // 32 bits behind the point; off by at most 1, and 1e8 / 2^32 < 1
  char *to = b->ptr + b->len;
  if (x < 0) *to++ = '-';
  if (point <= 0) *to++ = '0', *to++ = '.';
  for (int i = point; i < 0; i++) *to++ = '0';
  for (int i = 0; i < 9; i++, fixed = (fixed & UINT32_MAX) * 10) {
    if (i == point && i) *to++ = '.';
    *to++ = (char)('0' + (fixed >> 32));
  }
  while (to[-1] == '0') to--;
  if (to[-1] == '.') to--;
  b->len = (size_t)(to - b->ptr);
}

/* Symmetric, with a scale that each vector has for itself: cosines do not see it. The largest becomes 127. */
static float embed_scale(const float *x, int n) {
  float largest = 0;
  for (int i = 0; i < n; i++) {
    float size = x[i] < 0 ? -x[i] : x[i];
    if (size > largest) largest = size;
  }
  return largest > 0 ? largest / 127 : 1;
}

/* With ranges as sentence-transformers' quantize_embeddings has it, but that what is outside of them stays at their ends. */
static int embed_int8(const struct embed_form *f, const float *x, int i, float scale) {
  float y = x[i] / scale, step = f->ranges ? (f->ranges[f->n + i] - f->ranges[i]) / 255 : 0;
  if (f->ranges) y = step > 0 ? (x[i] - f->ranges[i]) / step - 128 : 0;
  int q = (int)(f->ranges ? y : y < 0 ? y - 0.5f : y + 0.5f);
  return !(y > -128) ? -128 : y >= 127 ? 127 : q;
}

/* One vector as bytes. */
static void embed_put_bytes(const struct embed_form *f, const float *x, struct buf *out) {
  const float scale = embed_scale(x, f->n);
  const int items = embed_form_items(f);
  if (f->precision == EMBED_FLOAT32) buf_put(out, (struct str){(const char *)x, sizeof *x * (size_t)f->n});
  for (int i = 0; i < items && f->precision != EMBED_FLOAT32; i++) {
    if (f->precision == EMBED_FLOAT16) {
      uint16_t h = f32_to_f16(x[i]);
      buf_put(out, (struct str){(const char *)&h, sizeof h});
    } else if (f->precision == EMBED_INT8) {
      buf_byte(out, (char)embed_int8(f, x, i, scale));
    } else {
      int byte = f->precision == EMBED_BINARY ? 0x80 : 0; // binary is ubinary less 128
      for (int k = 0; k < 8 && i * 8 + k < f->n; k++)
        if (x[i * 8 + k] > 0) byte ^= 0x80 >> k;
      buf_byte(out, (char)byte);
    }
  }
}

static void embed_put_numbers(const struct embed_form *f, const float *x, struct buf *out, char *bytes) {
  struct buf b = {bytes, 0, embed_form_bytes(f), false};
  const int items = embed_form_items(f);
  if (f->precision > EMBED_FLOAT16) embed_put_bytes(f, x, &b);
  buf_byte(out, '[');
  for (int i = 0; i < items; i++) {
    if (i) buf_byte(out, ',');
    if (f->precision == EMBED_FLOAT32) embed_put_float(out, x[i]);
    else if (f->precision == EMBED_FLOAT16) embed_put_float(out, f16_to_f32(f32_to_f16(x[i])));
    else buf_printf(out, "%d", f->precision == EMBED_UBINARY ? (uint8_t)bytes[i] : (int8_t)bytes[i]);
  }
  buf_byte(out, ']');
  if (f->precision == EMBED_INT8 && !f->ranges) {
    buf_put(out, STR(",\"scale\":"));
    embed_put_float(out, embed_scale(x, f->n));
  }
}

static void embed_project(const struct embed_pca *p, const float *x, float *to, int n) {
  double squares = 0;
  for (int i = 0; i < p->n; i++) squares += (double)x[i] * (double)x[i];
  const double scale = squares > 0 ? 1 / sqrt(squares) : 0;
  for (int k = 0; k < n; k++) {
    const float *row = p->components + (size_t)k * (size_t)p->n;
    double sum = 0;
    for (int i = 0; i < p->n; i++) sum += (double)row[i] * (double)x[i];
    to[k] = (float)((sum * scale - p->offset[k]) * p->scale[k]);
  }
}

/* A vector as it is given out: projected, cut, of length 1. to (form->n), not x where there is a projection */
static const float *embed_shape(const struct embed_form *f, const float *x, float *to) {
  if (f->pca) embed_project(f->pca, x, to, f->n);
  else memcpy(to, x, sizeof *x * (size_t)f->n);
  if (f->normalise) pool_normalise(to, f->n);
  return to;
}

/* ---- writing ---- */

struct embed_writer {
  struct embed *embed;
  struct embed_form form;
  FILE *out;
  struct arena memory;  // as reserved
  char *text;           // (cap) what the lines of a group are written to
  size_t cap;
  size_t *size;         // (EMBED_LINES) bytes that each line came to
  float *vectors;       // (threads, 2, n_out) one vector as it is given out, and one of a line with many texts
  char *bytes;          // (threads, 4 * n_out)
  double *sums;         // (threads, n_out)
  struct pool_word *words; // (threads, context) of sparse rows
  int first, n_group;   // the group
  size_t stride;        // bytes of a line in it
  int64_t lines, errors, cut_lines, cut_tokens;
};

/* The vector of a whole line, of one text or of many, as the model has it. */
static const float *embed_whole(const struct embed_writer *w, const struct embed_line *l, int thread) {
  const struct embed *b = w->embed;
  const struct embed_text *t = &b->texts[l->text_at];
  float *to = w->vectors + (2 * (size_t)thread + 1) * (size_t)b->n_out;
  double *sum = w->sums + (size_t)thread * (size_t)b->n_out, weights = 0;
  if (l->n_texts == 1) return b->pieces[t->piece].vector;
  memset(sum, 0, sizeof *sum * (size_t)b->n_out);
  for (int k = 0; k < l->n_texts; k++) {
    const float *x = b->pieces[t[k].piece].vector;
    for (int i = 0; i < b->n_out; i++) sum[i] += (double)x[i] * t[k].n;
    weights += t[k].n;
  }
  for (int i = 0; i < b->n_out; i++) to[i] = (float)(weights > 0 ? sum[i] / weights : 0);
  return to;
}

static const float *embed_of_line(const struct embed_writer *w, const struct embed_line *l, int thread) {
  return embed_shape(&w->form, embed_whole(w, l, thread), w->vectors + 2 * (size_t)thread * (size_t)w->embed->n_out);
}

/* What the words of a line weigh. */
static void embed_put_words(struct embed_writer *w, const struct embed_line *l, struct buf *out, int thread) {
  const struct embed *b = w->embed;
  const struct vocab *v = b->engine->model.vocab;
  const struct embed_text *t = &b->texts[l->text_at];
  const struct embed_piece *p = &b->pieces[t->piece];
  const int32_t without[] = {v->bos, v->eos, v->cls, v->sep, v->pad, v->unk};
  struct pool_word *words = w->words + (size_t)thread * (size_t)b->engine->options.n_context;
  const int n = pool_words(t->ids + p->from, p->vector + b->options.n_front, p->n, without, ARRAY_LEN(without), words);
  for (int k = 0; k < 2; k++) {
    buf_put(out, k ? STR("],\"values\":[") : STR("\"sparse\":{\"indices\":["));
    for (int i = 0; i < n; i++) {
      if (i) buf_byte(out, ',');
      if (k) embed_put_float(out, words[i].weight);
      else buf_printf(out, "%d", words[i].id);
    }
  }
  buf_put(out, STR("]}"));
}

/* A vector of every token, or of every sentence. */
static void embed_put_many(struct embed_writer *w, const struct embed_line *l, struct buf *out, int thread) {
  const struct embed *b = w->embed;
  const struct embed_text *t = &b->texts[l->text_at];
  float *to = w->vectors + 2 * (size_t)thread * (size_t)b->n_out;
  char *bytes = w->bytes + (size_t)thread * (size_t)b->n_out * 4;
  const int first = b->options.of == POOL_COLBERT ? b->options.n_front : 0; // whose own vector is the dense one
  for (int i = first; i < t->tokens && b->options.pooling == POOL_NONE; i++) {
    if (i > first) buf_byte(out, ',');
    embed_put_numbers(&w->form, embed_shape(&w->form, b->pieces[t->piece].vector + (size_t)i * (size_t)b->n_out, to), out, bytes);
  }
  for (int k = 0; k < l->n_texts && b->options.sentences; k++) {
    size_t beg = (size_t)(t[k].text.ptr - l->text.ptr);
    buf_printf(out, "%s{\"start\":%zu,\"end\":%zu,\"tokens\":%d,\"embedding\":", k ? "," : "", beg, beg + t[k].text.len, t[k].tokens);
    embed_put_numbers(&w->form, embed_shape(&w->form, b->pieces[t[k].piece].vector, to), out, bytes);
    buf_byte(out, '}');
  }
}

static int embed_tokens(const struct embed *b, const struct embed_line *l) {
  int tokens = 0;
  for (int k = 0; k < l->n_texts; k++) tokens += b->texts[l->text_at + k].tokens;
  return tokens;
}

static void embed_put_line(struct embed_writer *w, const struct embed_line *line, const struct embed_line *l, struct buf *out, int thread) {
  const struct embed *b = w->embed;
  const bool many = b->options.pooling == POOL_NONE;
  int cut = 0;
  if (w->form.format != EMBED_JSONL) {
    embed_put_bytes(&w->form, embed_of_line(w, l, thread), out);
    return;
  }
  buf_printf(out, "{\"index\":%lld,", (long long)line->index);
  if (l->error.code) {
    buf_put(out, STR("\"error\":{\"message\":"));
    json_put_string(out, str_from(l->error.message));
    buf_put(out, STR("}}\n"));
    return;
  }
  for (int k = 0; k < l->n_texts; k++) cut += b->texts[l->text_at + k].cut;
  if (b->options.of != POOL_SPARSE) buf_put(out, STR("\"embedding\":"));
  if (b->options.of == POOL_SPARSE) {
    embed_put_words(w, l, out, thread);
  } else if (many) {
    buf_byte(out, '[');
    embed_put_many(w, l, out, thread);
    buf_byte(out, ']');
  } else {
    embed_put_numbers(&w->form, embed_of_line(w, l, thread), out, w->bytes + (size_t)thread * (size_t)b->n_out * 4);
  }
  buf_printf(out, ",\"tokens\":%d", embed_tokens(b, l));
  if (cut) buf_printf(out, ",\"truncated\":%d", cut);
  if (b->options.sentences) {
    buf_put(out, STR(",\"sentences\":["));
    embed_put_many(w, l, out, thread);
    buf_byte(out, ']');
  }
  buf_put(out, STR("}\n"));
}

/* Bytes that a line may come to, or comes to where all are as long. */
static size_t embed_line_bytes(const struct embed_writer *w, const struct embed_line *l) {
  const struct embed *b = w->embed;
  const size_t vector = 20 * (size_t)w->form.n + 128;
  if (w->form.format != EMBED_JSONL) return embed_form_bytes(&w->form);
  size_t n = 1 + (b->options.sentences ? (size_t)l->n_texts : 0);
  if (b->options.pooling == POOL_NONE && l->n_texts) n = (size_t)b->texts[l->text_at].tokens;
  return n * vector + 2048;
}

static void embed_put_some(void *context, int phase, int chunk, int thread) {
  struct embed_writer *w = context;
  (void)phase;
  for (int i = chunk * EMBED_CHUNK; i < w->n_group && i < (chunk + 1) * EMBED_CHUNK; i++) {
    struct buf out = {w->text + w->stride * (size_t)i, 0, w->stride, false};
    embed_put_line(w, &w->embed->lines[w->first + i], embed_answer(w->embed, w->first + i), &out, thread);
    BK_ASSERT(!out.full);
    w->size[i] = out.len;
  }
}

/* Counts what is said at the end. False: the line has an error and the format has no place for one. */
static bool embed_count(struct embed_writer *w, int i, struct bk_error *e) {
  const struct embed *b = w->embed;
  const struct embed_line *l = embed_answer(b, i);
  int64_t before = w->cut_tokens;
  if (l->error.code) w->errors++;
  for (int k = 0; k < l->n_texts && !l->error.code; k++) w->cut_tokens += b->texts[l->text_at + k].cut;
  w->cut_lines += w->cut_tokens > before;
  if (!l->error.code || w->form.format == EMBED_JSONL) return true;
  return err_set(e, ERR_DATA, "line %lld: %s; the vectors before it are written", (long long)b->lines[i].index + 1, l->error.message);
}

/* ---- Arrow ---- */

static bool embed_arrow_schema(struct embed_writer *w, struct bk_error *e) {
  static const char *const poolings[] = {"none", "mean", "cls", "last", "rank"};
  const struct gguf *g = &w->embed->engine->model.gguf;
  const struct embed_element *element = &embed_elements[w->form.precision];
  const struct arrow_item item = {element->bits < 8 ? 8 : element->bits, element->bits > 8, w->form.precision != EMBED_UBINARY};
  uint8_t digest[32];
  char text[ARROW_HEAD], hex[65], dimension[16];
  struct buf head = {text, 0, sizeof text, false};
  struct str name = STR_NONE;
  embed_digest(g, digest);
  hash_hex(digest, hex);
  gguf_string(gguf_find(g, STR("general.name")), &name);
  snprintf(dimension, sizeof dimension, "%d", w->form.n);
  const struct arrow_pair pairs[] = {
    {"model", str_slice(name, 0, 1024)}, {"sha256", str_from(hex)}, {"dimension", str_from(dimension)},
    {"pooling", str_from(poolings[w->embed->options.pooling])}, {"normalize", w->form.normalise ? STR("l2") : STR("none")},
    {"precision", str_from(element->name)}};
  arrow_schema(&head, item, embed_form_items(&w->form), pairs, ARRAY_LEN(pairs));
  return arrow_write(w->out, &head) || err_set(e, ERR_IO, "cannot write the vectors: %s", strerror(errno));
}

/* A group as a batch. */
static void embed_arrow_batch(struct embed_writer *w) {
  const struct embed *b = w->embed;
  static const char zeros[8];
  char text[ARROW_HEAD];
  struct buf head = {text, 0, sizeof text, false};
  const size_t n = (size_t)w->n_group, bytes = w->stride * n;
  arrow_batch(&head, w->n_group, embed_form_items(&w->form), w->stride);
  arrow_write(w->out, &head);
  for (int i = w->first; i < w->first + w->n_group; i++) fwrite(&b->lines[i].index, 1, sizeof b->lines[i].index, w->out);
  for (int i = w->first; i < w->first + w->n_group; i++) {
    int32_t tokens = embed_tokens(b, embed_answer(b, i));
    fwrite(&tokens, 1, sizeof tokens, w->out);
  }
  fwrite(zeros, 1, arrow_column(4 * n) - 4 * n, w->out);
  fwrite(w->text, 1, bytes, w->out);
  fwrite(zeros, 1, arrow_column(bytes) - bytes, w->out);
}

/* The answers of a round, in order. */
static bool embed_write(struct embed_writer *w, struct bk_error *e) {
  const struct embed *b = w->embed;
  int end = 0;
  while (end < b->n_lines && embed_count(w, end, e)) end++;
  for (w->first = 0; w->first < end; w->first += w->n_group) {
    size_t stride = 0;
    for (w->n_group = 0; w->first + w->n_group < end; w->n_group++) {
      size_t bytes = embed_line_bytes(w, embed_answer(b, w->first + w->n_group));
      if (bytes < stride) bytes = stride;
      if (w->n_group && bytes * (size_t)(w->n_group + 1) > w->cap) break;
      stride = bytes;
    }
    BK_ASSERT(stride <= w->cap);
    w->stride = stride;
    int chunks = (w->n_group + EMBED_CHUNK - 1) / EMBED_CHUNK;
    cpu_pool_run(&b->engine->cpu.pool, 1, &chunks, embed_put_some, w);
    if (w->form.format == EMBED_ARROW) embed_arrow_batch(w);
    else for (int i = 0; i < w->n_group; i++) fwrite(w->text + w->stride * (size_t)i, 1, w->size[i], w->out);
  }
  w->lines += end;
  if (fflush(w->out) != 0 || ferror(w->out)) return err_set(e, ERR_IO, "cannot write the vectors: %s", strerror(errno));
  return !e->code;
}

static bool embed_writer_open(struct embed_writer *w, struct embed *b, const struct embed_form *form, FILE *out, struct bk_error *e) {
  const size_t n = (size_t)b->n_out, threads = (size_t)b->engine->cpu.pool.n_threads, vector = 20 * (size_t)form->n + 128;
  *w = (struct embed_writer){.embed = b, .form = *form, .out = out};
  w->cap = (4 << 20) + vector; // and what one line may come to
  if (b->options.sentences) w->cap += vector * EMBED_PARTS;
  else if (b->options.pooling == POOL_NONE) w->cap += vector * (size_t)b->engine->options.n_context;
  const size_t words = b->options.of == POOL_SPARSE ? threads * (size_t)b->engine->options.n_context : 0;
  w->memory = os_reserve(w->cap + EMBED_LINES * sizeof(size_t) + threads * n * 20 + words * sizeof *w->words + 4096, e);
  struct arena a = w->memory;
  if (!a.beg) return false;
  w->text = arena_raw(&a, w->cap, 1, 64);
  w->size = arena_raw(&a, EMBED_LINES, sizeof *w->size, 64);
  w->vectors = arena_raw(&a, 2 * threads * n, sizeof *w->vectors, 64);
  w->bytes = arena_raw(&a, threads * n, 4, 64);
  w->sums = arena_raw(&a, threads * n, sizeof *w->sums, 64);
  w->words = arena_raw(&a, words, sizeof *w->words, 64);
  return (w->text && w->size && w->vectors && w->bytes && w->sums && w->words) || err_set(e, ERR_OS, "no memory for vectors to be written");
}

static void embed_writer_close(struct embed_writer *w) { os_release(w->memory); }

/* ---- npy ---- */

/* The head of a NumPy file of version 1.0, 128 bytes whatever the number of rows is. */
static bool embed_npy_head(struct embed_writer *w, int64_t rows, struct bk_error *e) {
  char text[256];
  int n = snprintf(text, sizeof text, "%c%s%c%c%c%c{'descr': '%s', 'fortran_order': False, 'shape': (%lld, %d), }", 0x93, "NUMPY",
                   1, 0, 118, 0, embed_elements[w->form.precision].numpy, (long long)rows, embed_form_items(&w->form));
  memset(text + n, ' ', (size_t)(128 - n));
  text[127] = '\n';
  return fwrite(text, 1, 128, w->out) == 128 || err_set(e, ERR_IO, "cannot write the vectors: %s", strerror(errno));
}

/* How many lines the inputs have. Error: one is no file. */
static bool embed_count_lines(const struct embed_input *in, int64_t *lines, struct bk_error *e) {
  struct embed_input again = *in;
  struct str line;
  bool too_long;
  if (!in->total) return err_set(e, ERR_DATA, "not supported: npy to a pipe from a pipe, as its head says how many rows there are");
  for (*lines = 0; embed_input_take(&again, true, &line, &too_long, e) == EMBED_TAKEN; ++*lines)
    if (again.beg >= EMBED_FILL) embed_input_turn(&again);
  return !e->code;
}

/* ---- the whole ---- */

/* All lines of the inputs. head: where an npy file's head can be written again, -1: nowhere. progress may be NULL. */
static bool embed_run(struct embed_writer *w, struct embed_input *in, long head, void (*progress)(const struct embed_writer *,
                      const struct embed_input *), struct bk_error *e) {
  int64_t rows = 0;
  const bool npy = w->form.format == EMBED_NPY;
  if (npy && head < 0 && !embed_count_lines(in, &rows, e)) return false;
  if (npy && !embed_npy_head(w, rows, e)) return false;
  if (w->form.format == EMBED_ARROW && !embed_arrow_schema(w, e)) return false;
  while (embed_read(w->embed, in, e) && embed_write(w, e))
    if (progress) progress(w, in);
  if (npy && w->lines != rows) {
    if (head < 0) return err_set(e, ERR_DATA, "%lld rows were written, the head says %lld", (long long)w->lines, (long long)rows);
    if (fseek(w->out, head, SEEK_SET) == 0) embed_npy_head(w, w->lines, e);
    fseek(w->out, 0, SEEK_END);
  }
  if (w->form.format == EMBED_ARROW) arrow_end(w->out);
  if (fflush(w->out) != 0) err_set(e, ERR_IO, "cannot write the vectors: %s", strerror(errno));
  return !e->code;
}
