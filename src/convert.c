/* convert.c -- tensors -> a GGUF file: the writer, and `bodkin quantize` on top of it.
 *
 * In: an opened model file. Out: a file of version 3 that has its name only once it is whole (os_output); on failure
 * nothing is left. Memory is constant: a batch of weights is decoded, encoded on all threads and written before the next.
 * Rows are whole blocks in both formats, so a matrix is one run of blocks and is cut anywhere between two of them. The
 * same input gives the same bytes, whatever the number of threads.
 * SPDX-License-Identifier: MIT */

/* ---- the writer: everything goes through one buffer; the first error sticks ---- */

enum {
  CONVERT_BUFFER = 1 << 20, // bytes
  CONVERT_UNIT = 256,       // weights: a whole number of blocks of any format
  CONVERT_CHUNK = 16384,    // weights that one thread takes at a time
  CONVERT_BATCH = 64        // chunks between two writes
};

struct convert_writer {
  struct os_output out;
  struct buf buffer;
  uint64_t at;            // bytes so far
  struct bk_error *error;
};

static bool convert_begin(struct convert_writer *w, const char *path, struct arena *a, struct bk_error *e) {
  *w = (struct convert_writer){.buffer = buf_new(a, CONVERT_BUFFER), .error = e};
  if (!w->buffer.cap) return err_set(e, ERR_OS, "%s: no memory for a buffer", path);
  return os_create(&w->out, path, false, e);
}

static void convert_put(struct convert_writer *w, struct str s) {
  w->at += s.len;
  if (s.len > w->buffer.cap - w->buffer.len) {
    if (!w->error->code) os_write(&w->out, buf_str(&w->buffer), w->error);
    w->buffer.len = 0;
    if (s.len >= w->buffer.cap) {
      if (!w->error->code) os_write(&w->out, s, w->error);
      return;
    }
  }
  buf_put(&w->buffer, s);
}

static void convert_uint(struct convert_writer *w, uint64_t value, int bytes) { // the format is little-endian
  char text[8];
  for (int i = 0; i < bytes; i++) text[i] = (char)(value >> (8 * i));
  convert_put(w, (struct str){text, (size_t)bytes});
}

static void convert_string(struct convert_writer *w, struct str s) {
  convert_uint(w, s.len, 8);
  convert_put(w, s);
}

static void convert_header(struct convert_writer *w, int n_tensors, int n_keys) {
  convert_put(w, STR("GGUF"));
  convert_uint(w, 3, 4);
  convert_uint(w, (uint64_t)n_tensors, 8);
  convert_uint(w, (uint64_t)n_keys, 8);
}

static void convert_key(struct convert_writer *w, struct str name, const struct gguf_value *v) {
  convert_string(w, name);
  if (v->is_array) convert_uint(w, GGUF_ARRAY, 4);
  convert_uint(w, v->type, 4);
  if (v->is_array) convert_uint(w, v->count, 8);
  convert_put(w, v->bytes);
}

static void convert_key_u32(struct convert_writer *w, struct str name, uint32_t value) {
  convert_key(w, name, &(struct gguf_value){GGUF_U32, false, 1, {(const char *)&value, sizeof value}});
}

/* ---- keys gathered before the file begins, because its header counts them ---- */

struct convert_keys {
  struct buf bytes; // as they will stand in the file; what does not fit is an error of whoever writes them
  int n;
};

static void convert_keys_bytes(struct convert_keys *k, uint64_t value, int bytes) { // little-endian, as the format is
  for (int i = 0; i < bytes; i++) buf_byte(&k->bytes, (char)(value >> (8 * i)));
}

static void convert_keys_text(struct convert_keys *k, struct str s) { // the value of a string, or an element of an array of them
  convert_keys_bytes(k, s.len, 8);
  buf_put(&k->bytes, s);
}

static void convert_keys_name(struct convert_keys *k, struct str name, enum gguf_type type) {
  convert_keys_text(k, name);
  convert_keys_bytes(k, type, 4);
  k->n++;
}

static void convert_keys_string(struct convert_keys *k, struct str name, struct str value) {
  convert_keys_name(k, name, GGUF_STRING);
  convert_keys_text(k, value);
}

static void convert_keys_u32(struct convert_keys *k, struct str name, uint32_t value) {
  convert_keys_name(k, name, GGUF_U32);
  convert_keys_bytes(k, value, 4);
}

static void convert_keys_f32(struct convert_keys *k, struct str name, float value) {
  convert_keys_name(k, name, GGUF_F32);
  convert_keys_bytes(k, f32_bits(value), 4);
}

static void convert_keys_bool(struct convert_keys *k, struct str name, bool value) {
  convert_keys_name(k, name, GGUF_BOOL);
  convert_keys_bytes(k, value, 1);
}

/* The elements follow, each by convert_keys_bytes or convert_keys_text. */
static void convert_keys_array(struct convert_keys *k, struct str name, enum gguf_type type, size_t count) {
  convert_keys_name(k, name, GGUF_ARRAY);
  convert_keys_bytes(k, type, 4);
  convert_keys_bytes(k, count, 8);
}

static void convert_tensor(struct convert_writer *w, const struct gguf_tensor *t, const struct quant *type, uint64_t offset) {
  convert_string(w, t->name);
  convert_uint(w, (uint64_t)t->n_dims, 4);
  for (int i = 0; i < t->n_dims; i++) convert_uint(w, t->dim[i], 8);
  convert_uint(w, type->type, 4);
  convert_uint(w, offset, 8);
}

static void convert_pad(struct convert_writer *w, uint64_t alignment) {
  while (w->at % alignment) convert_put(w, STR("\0"));
}

/* The file under its own name if there was no error; else it is gone. */
static bool convert_end(struct convert_writer *w) {
  if (!w->error->code) os_write(&w->out, buf_str(&w->buffer), w->error);
  if (!w->error->code) os_commit(&w->out, w->error);
  os_discard();
  return !w->error->code;
}

/* ---- which tensor gets which format: as llama-quantize does without an importance matrix (llama.cpp, llama-quant.cpp) ---- */

enum convert_rule { RULE_PLAIN, RULE_SMALL, RULE_MEDIUM, RULE_TABLE };

static const struct convert_mix {
  const char *name;
  uint32_t file_type; // of the key general.file_type
  const struct quant *base;
  enum convert_rule rule;
} convert_mixes[] = {
  {"F32", 0, &quant_f32, RULE_PLAIN}, {"F16", 1, &quant_f16, RULE_PLAIN}, {"BF16", 32, &quant_bf16, RULE_PLAIN},
  {"Q8_0", 7, &quant_q8_0, RULE_PLAIN}, {"Q6_K", 18, &quant_q6_k, RULE_PLAIN},
  {"Q5_K_M", 17, &quant_q5_k, RULE_MEDIUM}, {"Q5_K_S", 16, &quant_q5_k, RULE_PLAIN},
  {"Q5_1", 9, &quant_q5_1, RULE_PLAIN}, {"Q5_0", 8, &quant_q5_0, RULE_PLAIN},
  {"Q4_K_M", 15, &quant_q4_k, RULE_MEDIUM}, {"Q4_K_S", 14, &quant_q4_k, RULE_SMALL},
  {"Q4_1", 3, &quant_q4_1, RULE_PLAIN}, {"Q4_0", 2, &quant_q4_0, RULE_PLAIN}, {"IQ4_NL", 25, &quant_iq4_nl, RULE_TABLE}};

/* Small, and sensitive: they stay as they are, like all vectors and what is no weight. */
static const char *const convert_kept[] = {
  "_norm.weight", "ffn_gate_inp.weight", "altup", "laurel", "per_layer_model_proj", "position_embd", "token_types", "ssm_conv1d",
  "shortconv.conv.weight", "attn_rel_b.weight"};

/* Where rows are no whole number of blocks of 256. */
static const struct quant *const convert_narrower[][2] = {
  {&quant_q4_k, &quant_q5_0}, {&quant_q5_k, &quant_q5_1}, {&quant_q6_k, &quant_q8_0}};

struct convert_plan {
  const struct convert_mix *mix;
  int64_t n_layer, n_expert, n_head, n_head_kv;
  bool tied;                  // token_embd is the output matrix too
};

static bool convert_has(struct str name, const char *part) { return str_find(name, str_from(part), 0) != SIZE_MAX; }

static const struct convert_mix *convert_mix_named(struct str name) {
  for (int i = 0; i < ARRAY_LEN(convert_mixes); i++)
    if (str_eq_any_case(name, str_from(convert_mixes[i].name))) return &convert_mixes[i];
  return NULL;
}

static int64_t convert_number(const struct gguf *g, const char *suffix) { // of the key ARCHITECTURE.suffix; 0: none
  char text[256];
  struct str architecture = STR_NONE;
  int64_t n = 0;
  gguf_string(gguf_find(g, STR("general.architecture")), &architecture);
  snprintf(text, sizeof text, STR_FMT ".%s", STR_ARG(architecture), suffix);
  gguf_int(gguf_find(g, str_from(text)), 0, &n);
  return n;
}

static int convert_layer(struct str name) { // of blk.N. ...; -1: of none
  int64_t n;
  size_t end = str_find(name, STR("."), 4);
  return str_starts(name, STR("blk.")) && end != SIZE_MAX && str_to_int(str_slice(name, 4, end), &n) && n >= 0 && n < 1 << 20 ? (int)n : -1;
}

/* The format of a matrix of a layer before its shape is looked at. */
static const struct quant *convert_of_layer(const struct convert_plan *p, struct str name) {
  const struct quant *base = p->mix->base;
  enum convert_rule rule = p->mix->rule;
  int64_t i = convert_layer(name), n = p->n_layer;
  bool early = i < n / 8, more = early || i >= 7 * n / 8 || (i - n / 8) % 3 == 2, grouped = p->n_head >= 4 * p->n_head_kv;
  if (convert_has(name, "attn_v.weight") || convert_has(name, "attn_qkv.weight") || convert_has(name, "attn_kv_b.weight")) {
    if (p->n_expert == 8) return &quant_q8_0;
    if (rule == RULE_MEDIUM && more) return &quant_q6_k;
    if ((rule == RULE_SMALL && i < 4) || (rule == RULE_TABLE && grouped)) return &quant_q5_k;
    if (base == &quant_q4_k && n == 80 && p->n_head > p->n_head_kv) return &quant_q5_k; // 70B: eight heads share it
  } else if (convert_has(name, "attn_k.weight")) {
    if (p->n_expert == 8) return &quant_q8_0;
  } else if (convert_has(name, "ffn_down")) {
    if (rule == RULE_MEDIUM && more) return &quant_q6_k;
    if ((rule == RULE_SMALL || rule == RULE_TABLE) && early) return &quant_q5_k;
  } else if (convert_has(name, "attn_output.weight")) {
    if (p->n_expert == 8 && (base == &quant_q4_k || base == &quant_iq4_nl)) return &quant_q5_k;
  }
  return base;
}

static const struct quant *convert_choose(const struct convert_plan *p, const struct gguf_tensor *t) {
  const struct quant *own = quant_find(t->type), *to = p->mix->base;
  if (t->n_dims < 2 || (t->dim[1] == 1 && t->dim[2] == 1 && t->dim[3] == 1) || !str_ends(t->name, STR("weight"))) return own;
  for (int i = 0; i < ARRAY_LEN(convert_kept); i++)
    if (convert_has(t->name, convert_kept[i])) return own;
  if (to->block == 1) return to;
  if (str_is(t->name, "output.weight") || (p->tied && str_is(t->name, "token_embd.weight")))
    to = t->dim[0] % (uint64_t)to->block || to == &quant_q8_0 ? &quant_q8_0 : &quant_q6_k;
  else if (!str_is(t->name, "token_embd.weight"))
    to = convert_of_layer(p, t->name);
  for (int i = 0; i < ARRAY_LEN(convert_narrower) && t->dim[0] % (uint64_t)to->block; i++)
    if (to == convert_narrower[i][0]) to = convert_narrower[i][1];
  return t->dim[0] % (uint64_t)to->block ? &quant_f16 : to;
}

/* ---- the weights ---- */

struct convert_job {
  struct convert_writer writer;
  struct cpu_pool pool;
  const struct gguf_tensor *tensor;
  const struct quant *from, *to;
  const char *in;         // of the batch
  char *out;              // (CONVERT_BATCH, CONVERT_CHUNK) weights as `to` has them
  size_t n_weights;       // of the batch
  uint32_t bad;           // a weight was no number
  void (*progress)(double share); // NULL: nobody looks
};

static void convert_chunk(void *context, int phase, int chunk, int thread) {
  struct convert_job *j = context;
  (void)phase, (void)thread;
  const struct quant *from = j->from, *to = j->to;
  size_t first = (size_t)chunk * CONVERT_CHUNK, end = first + CONVERT_CHUNK < j->n_weights ? first + CONVERT_CHUNK : j->n_weights;
  for (size_t at = first; at < end; at += CONVERT_UNIT) {
    float x[CONVERT_UNIT], most = to->block > 1 ? FIT_TOP : FIT_WORST;
    size_t n = end - at < CONVERT_UNIT ? end - at : CONVERT_UNIT;
    const char *in = j->in + at / (size_t)from->block * from->block_bytes;
    char *out = j->out + at / (size_t)to->block * to->block_bytes;
    for (size_t i = 0; i < n; i += (size_t)from->block, in += from->block_bytes) from->decode(in, x + i);
    for (size_t i = 0; i < n; i++) {
      if (x[i] - x[i] != 0) __atomic_store_n(&j->bad, 1, __ATOMIC_RELAXED), x[i] = 0;
      x[i] = x[i] > most ? most : x[i] < -most ? -most : x[i];
    }
    for (size_t i = 0; i < n; i += (size_t)to->block, out += to->block_bytes) to->encode(x + i, out);
  }
}

/* The n_weights of a batch that lie at `in`: decoded and encoded, or copied where the format stays. */
static bool convert_batch(struct convert_job *j) {
  struct bk_error *e = j->writer.error;
  int chunks = (int)((j->n_weights + CONVERT_CHUNK - 1) / CONVERT_CHUNK);
  if (j->from != j->to) cpu_pool_run(&j->pool, 1, &chunks, convert_chunk, j);
  if (j->bad) return err_set(e, ERR_DATA, "tensor " STR_FMT " holds a NaN or an infinity", STR_ARG(j->tensor->name));
  const char *from = j->from == j->to ? j->in : j->out;
  convert_put(&j->writer, (struct str){from, j->n_weights / (size_t)j->to->block * j->to->block_bytes});
  return !e->code;
}

static bool convert_weights(struct convert_job *j, uint64_t done, uint64_t total) {
  const struct gguf_tensor *t = j->tensor;
  size_t block = (size_t)j->from->block, left = t->n_bytes / j->from->block_bytes * block;
  j->in = t->data;
  while (left > 0 && !j->writer.error->code) {
    if (j->progress) j->progress((double)done / (double)total);
    j->n_weights = left < (size_t)CONVERT_BATCH * CONVERT_CHUNK ? left : (size_t)CONVERT_BATCH * CONVERT_CHUNK;
    size_t in_bytes = j->n_weights / block * j->from->block_bytes;
    if (!convert_batch(j)) return false;
    os_forget(j->in, in_bytes);
    j->in += in_bytes;
    left -= j->n_weights;
    done += j->n_weights;
  }
  return !j->writer.error->code;
}

/* ---- quantize ---- */

static bool convert_is_replaced(struct str key) { // said anew, or no longer true of one whole file
  return str_is(key, "general.file_type") || str_is(key, "general.quantization_version") || str_starts(key, STR("split."));
}

static void convert_keys(struct convert_writer *w, const struct gguf *g, const struct convert_mix *mix) {
  int n = 2;
  for (int i = 0; i < g->n_keys; i++) n += !convert_is_replaced(g->keys[i].name);
  convert_header(w, g->n_tensors, n);
  for (int i = 0; i < g->n_keys; i++)
    if (!convert_is_replaced(g->keys[i].name)) convert_key(w, g->keys[i].name, &g->keys[i].value);
  convert_key_u32(w, STR("general.quantization_version"), 2);
  convert_key_u32(w, STR("general.file_type"), mix->file_type);
}

static size_t convert_n_weights(const struct gguf_tensor *t, const struct quant *q) {
  return t->n_bytes / q->block_bytes * (size_t)q->block;
}

/* Every tensor's place and format, then the weights. types (n_tensors) */
static bool convert_write(struct convert_job *j, const struct gguf *g, const struct convert_plan *p, const struct quant **types) {
  struct convert_writer *w = &j->writer;
  uint64_t offset = 0, total = 0, done = 0;
  convert_keys(w, g, p->mix);
  for (int i = 0; i < g->n_tensors; i++) {
    const struct gguf_tensor *t = &g->tensors[i];
    size_t n = convert_n_weights(t, quant_find(t->type));
    types[i] = convert_choose(p, t);
    convert_tensor(w, t, types[i], offset);
    offset += size_align(n / (size_t)types[i]->block * types[i]->block_bytes, (size_t)g->alignment);
    total += n;
  }
  for (int i = 0; i < g->n_tensors && !w->error->code; i++) {
    convert_pad(w, g->alignment);
    j->tensor = &g->tensors[i];
    j->from = quant_find(j->tensor->type);
    j->to = types[i];
    if (!convert_weights(j, done, total)) return false;
    done += convert_n_weights(j->tensor, j->from);
  }
  convert_pad(w, g->alignment);
  return !w->error->code;
}

struct convert_report {
  uint64_t n_weights, bytes_in, bytes_out;
  const char *type;
};

/* Reads every format, and bounds every tensor, before anything is written. */
static bool convert_check(struct gguf *g, struct convert_report *r, struct bk_error *e) {
  for (int i = 0; i < g->n_tensors; i++) {
    struct gguf_tensor *t = &g->tensors[i];
    const struct quant *q = quant_find(t->type);
    if (!q) return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: weight type %u", STR_ARG(t->name), t->type);
    if (!gguf_locate(g, t, (size_t)q->block, q->block_bytes, e)) return false;
    r->n_weights += convert_n_weights(t, q);
  }
  for (int i = 0; i < g->n_files; i++) r->bytes_in += g->files[i].size;
  return g->n_tensors > 0 || err_set(e, ERR_DATA, "the file holds a vocabulary only, no weights");
}

static const struct convert_mix *convert_mix_of(const char *type, struct bk_error *e) {
  char known[160] = "";
  for (int i = 0; i < ARRAY_LEN(convert_mixes); i++)
    snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", convert_mixes[i].name);
  const struct convert_mix *mix = convert_mix_named(str_from(type));
  if (!mix) err_set(e, ERR_USAGE, "not supported: writing %s; what can be written is %s", type, known);
  return mix;
}

/* Writes the model at `in` (a path) to `out` with its matrices as `type` names it. n_threads 0: all there are. Error:
 * usage (a type that cannot be written, out is in), whatever reading and writing may meet; then `out` is as it was. */
static bool convert_quantize(const char *in, const char *out, const char *type, int n_threads, void (*progress)(double share),
                             struct convert_report *r, struct arena *a, struct bk_error *e) {
  static struct gguf g;
  *r = (struct convert_report){0};
  struct convert_plan p = {.mix = convert_mix_of(type, e)};
  if (!p.mix || !gguf_open(&g, in, a, e)) return false;
  bool same = false;
  for (int i = 0; i < g.n_files; i++) same = same || os_is_same(out, &g.files[i]);
  if (same) err_set(e, ERR_USAGE, "%s: this is the file that is read; write to another", out);
  struct convert_job j = {.progress = progress};
  p.n_layer = convert_number(&g, "block_count");
  p.n_expert = convert_number(&g, "expert_count");
  p.n_head = convert_number(&g, "attention.head_count");
  p.n_head_kv = convert_number(&g, "attention.head_count_kv");
  p.tied = !gguf_tensor(&g, STR("output.weight"));
  const struct quant **types = ARENA_NEW(a, const struct quant *, (size_t)g.n_tensors + 1);
  j.out = arena_raw(a, (size_t)CONVERT_BATCH * CONVERT_CHUNK, sizeof(float), 64);
  if (!types || !j.out) err_set(e, ERR_OS, "%s: no memory for a batch of weights", in);
  bool ok = !e->code && convert_check(&g, r, e) && cpu_pool_open(&j.pool, n_threads > 0 ? n_threads : os_cpu_count(), 1, a, e);
  if (ok && convert_begin(&j.writer, out, a, e)) {
    convert_write(&j, &g, &p, types);
    convert_end(&j.writer);
  }
  cpu_pool_close(&j.pool);
  gguf_close(&g);
  r->bytes_out = j.writer.at;
  r->type = p.mix->name;
  err_prefix(e, in);
  return !e->code;
}
