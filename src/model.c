/* model.c -- gguf + arch -> a bound model: hyperparameters read and checked, tensors found and shape-checked, the tape
 * built and planned, memory counted; then packed piece by piece by whoever has time.
 *
 * Everything is validated, then sized, then committed. After model_open every pointer a tape can reach is valid.
 * SPDX-License-Identifier: MIT */
#include "../gen/archs.h"

enum {
  MODEL_TABLES = 256 << 20,  // bytes reserved (not used) for keys, tensors, vocabulary, tape
  MODEL_PIECE = 1 << 20      // bytes of source that are packed, and given back, at a time
};

/* ---- hyperparameters ---- */

static bool model_read_key(struct model *m, const struct key_row *row, struct bk_error *e) {
  char name[128];
  snprintf(name, sizeof name, "%s.%s", m->arch->name, row->suffix);
  const struct gguf_value *v = gguf_find(&m->gguf, str_from(name));
  char *to = (char *)&m->hp + row->offset;
  double number = row->otherwise;
  if (!v && row->required) return err_set(e, ERR_DATA, "key %s is missing", name);
  if (row->kind == KEY_STRING) return !v || gguf_get_string(&m->gguf, str_from(name), (struct str *)(void *)to, e);
  if (v) {
    int64_t whole;
    bool ok = !v->is_array && (v->type == GGUF_BOOL) == (row->kind == KEY_BOOL) &&
              (row->kind == KEY_FLOAT ? gguf_float(v, 0, &number) : gguf_int(v, 0, &whole));
    if (ok && row->kind != KEY_FLOAT) number = (double)whole;
    if (!ok)
      return err_set(e, ERR_DATA, "key %s is of type %s, expected %s", name, v->is_array ? "array" : gguf_type_names[v->type],
                     row->kind == KEY_INT ? "an integer" : row->kind == KEY_BOOL ? "true or false" : "a finite number");
    if (number < row->min || number > row->max)
      return err_set(e, ERR_DATA, "key %s is %.9g, expected %.9g to %.9g", name, number, row->min, row->max);
  }
  if (row->kind == KEY_BOOL) *(bool *)(void *)to = number != 0;
  else if (row->kind == KEY_INT) *(int64_t *)(void *)to = (int64_t)number;
  else *(double *)(void *)to = number;
  return true;
}

/* Values that follow from others when their key is absent, and the relations between keys. */
static bool model_relations(struct model *m, struct bk_error *e) {
  struct hparams *hp = &m->hp;
  if (hp->n_head_kv == 0) hp->n_head_kv = hp->n_head;
  if (hp->n_head % hp->n_head_kv != 0)
    return err_set(e, ERR_DATA, "%lld heads on %lld key/value heads, expected a multiple", (long long)hp->n_head, (long long)hp->n_head_kv);
  if (hp->head_dim == 0 && hp->n_embd % hp->n_head != 0)
    return err_set(e, ERR_DATA, "embedding of %lld for %lld heads, expected a multiple", (long long)hp->n_embd, (long long)hp->n_head);
  if (hp->head_dim == 0) hp->head_dim = hp->n_embd / hp->n_head;
  if (hp->value_dim == 0) hp->value_dim = hp->head_dim;
  if (hp->n_rot == 0) hp->n_rot = hp->head_dim & ~(int64_t)1;
  if (hp->n_rot > hp->head_dim || hp->n_rot % 2 != 0)
    return err_set(e, ERR_DATA, "rope over %lld of a head's %lld dimensions, expected an even number at most as large",
                   (long long)hp->n_rot, (long long)hp->head_dim);
  if (hp->n_expert_group > 1 && (hp->n_expert % hp->n_expert_group != 0 || hp->n_expert_group_used < 1 ||
                                 hp->n_expert_group_used > hp->n_expert_group ||
                                 hp->n_expert_used > hp->n_expert / hp->n_expert_group * hp->n_expert_group_used))
    return err_set(e, ERR_DATA, "%lld experts in %lld groups, %lld of each token from %lld of them: they do not divide or are too few",
                   (long long)hp->n_expert, (long long)hp->n_expert_group, (long long)hp->n_expert_used,
                       (long long)hp->n_expert_group_used);
  if (hp->n_expert && (hp->n_expert_used < 1 || hp->n_expert_used > hp->n_expert))
    return err_set(e, ERR_DATA, "%lld of %lld experts are used, expected 1 to all", (long long)hp->n_expert_used, (long long)hp->n_expert);
  if (hp->n_ff_expert == 0) hp->n_ff_expert = hp->n_ff;
  if (hp->n_ff_shared == 0) hp->n_ff_shared = hp->n_ff_expert * (hp->n_expert_shared ? hp->n_expert_shared : 1);
  if (hp->attention_scale == 0) hp->attention_scale = (double)(1.0f / kern_sqrt((float)hp->head_dim));
  if (hp->n_head_kv * hp->head_dim > 1 << 20 || hp->n_head * hp->head_dim > 1 << 20)
    return err_set(e, ERR_DATA, "%lld heads of %lld, expected at most 1048576 together", (long long)hp->n_head, (long long)hp->head_dim);
  double *const scales[] = {&hp->embedding_scale, &hp->residual_scale, &hp->logit_scale, &hp->expert_scale};
  for (int i = 0; i < ARRAY_LEN(scales); i++)
    if (*scales[i] == 0) *scales[i] = 1; // no such key
  if (hp->eps <= 0) return err_set(e, ERR_DATA, "the norms' epsilon is %.9g, expected more than 0", hp->eps);
  return true;
}

/* Rows of a table, for which there is no key. */
static int64_t model_table_rows(const struct model *m, struct str name) {
  const struct gguf_tensor *t = gguf_tensor(&m->gguf, name);
  return t ? (int64_t)t->dim[1] : 0;
}

static bool model_read_sizes(struct model *m, struct bk_error *e) {
  const struct gguf_value *tokens = gguf_find(&m->gguf, STR("tokenizer.ggml.tokens"));
  m->hp.n_vocab = tokens && tokens->is_array ? (int64_t)tokens->count : model_table_rows(m, STR("token_embd.weight"));
  m->hp.rope_short_context = gguf_tensor(&m->gguf, STR("rope_factors_short.weight")) != NULL;
  m->hp.n_types = model_table_rows(m, STR("token_types.weight"));
  m->hp.n_labels = model_table_rows(m, STR("cls.output.weight"));
  m->hp.n_behind = model_table_rows(m, STR("dense_2.weight"));
  m->hp.n_colbert = model_table_rows(m, STR("colbert.weight"));
  if (m->hp.n_behind && m->hp.n_behind != m->hp.n_embd && !gguf_tensor(&m->gguf, STR("dense_3.weight")))
    return err_set(e, ERR_DATA, "not supported: vectors of %lld floats of a model whose rows have %lld", (long long)m->hp.n_behind,
                   (long long)m->hp.n_embd);
  if (m->hp.n_vocab < 1 || m->hp.n_vocab > 1 << 24)
    return err_set(e, ERR_DATA, "a vocabulary of %lld tokens, expected 1 to 16777216", (long long)m->hp.n_vocab);
  if (m->hp.n_types > 65536 || m->hp.n_labels > 65536 || m->hp.n_behind > 1 << 17 || m->hp.n_colbert > 1 << 17)
    return err_set(e, ERR_DATA, "%lld token types and %lld labels, expected at most 65536, or vectors of more than 131072 floats",
                   (long long)m->hp.n_types, (long long)m->hp.n_labels);
  return true;
}

static bool model_read_hparams(struct model *m, struct bk_error *e) {
  struct str name = STR_NONE;
  if (!gguf_get_string(&m->gguf, STR("general.architecture"), &name, e))
    return err_set(e, ERR_DATA, "key general.architecture is missing");
  for (int i = 0; i < ARRAY_LEN(arch_table) && !m->arch; i++)
    if (str_is(name, arch_table[i]->name)) m->arch = arch_table[i];
  if (!m->arch) return err_set(e, ERR_DATA, "not supported: architecture \"" STR_FMT "\"", STR_ARG(name));
  for (const struct key_row *const *list = m->arch->keys; *list; list++)
    for (const struct key_row *row = *list; row->suffix; row++)
      if (!model_read_key(m, row, e)) return false;
  return model_read_sizes(m, e) && model_relations(m, e) && (!m->arch->check || m->arch->check(m, e));
}

/* ---- tensors ---- */

static size_t model_file_bytes(const struct weight *w, int rows) {
  return (size_t)rows * (size_t)(w->n_cols / w->quant->block) * w->quant->block_bytes;
}

static int64_t model_dim(const struct hparams *hp, enum dim d) {
  const int64_t q = hp->n_head * hp->head_dim, k = hp->n_head_kv * hp->head_dim, v = hp->n_head_kv * hp->value_dim;
  switch (d) {
  case DIM_NONE: case DIM_ONE: return 1;
  case DIM_EMBD: return hp->n_embd;
  case DIM_FF: return hp->n_ff;
  case DIM_FF2: return 2 * hp->n_ff;
  case DIM_VOCAB: return hp->n_vocab;
  case DIM_CONTEXT: return hp->n_ctx_train;
  case DIM_TYPES: return hp->n_types;
  case DIM_LABELS: return hp->n_labels;
  case DIM_Q: return q;
  case DIM_K: return k;
  case DIM_V: return v;
  case DIM_O: return hp->n_head * hp->value_dim;
  case DIM_QK: return q + k;
  case DIM_QKV: return q + k + v;
  case DIM_HEAD: return hp->head_dim;
  case DIM_HEADS: return hp->n_head;
  case DIM_HEADS_KV: return hp->n_head_kv;
  case DIM_ROT: return hp->n_rot;
  case DIM_ROT_PAIRS: return hp->n_rot / 2;
  case DIM_EXPERTS: return hp->n_expert;
  case DIM_FF_EXPERT: return hp->n_ff_expert;
  case DIM_FF_SHARED: return hp->n_ff_shared;
  case DIM_Q_RANK: return hp->q_rank;
  case DIM_KV_RANK: return hp->kv_rank;
  case DIM_KV_A: return hp->kv_rank + hp->n_rot;
  case DIM_KV_B: return hp->n_head * (hp->head_dim_full - hp->n_rot + hp->value_dim_full);
  case DIM_Q_FULL: return hp->n_head * hp->head_dim_full;
  case DIM_O_FULL: return hp->n_head * hp->value_dim_full;
  case DIM_NOPE: return hp->head_dim_full - hp->n_rot;
  case DIM_V_FULL: return hp->value_dim_full;
  case DIM_BUCKETS: return hp->n_buckets;
  case DIM_BEHIND: return hp->n_behind;
  case DIM_COLBERT: return hp->n_colbert;
  case DIM_UP: return hp->n_up;
  case DIM_UP_FROM: return hp->up_from;
  case DIM_GATE_FROM: return hp->gate_from;
  }
  return 0;
}

static const float *model_vector(struct model *m, const struct gguf_tensor *t, const struct quant *q, int64_t from, int64_t n,
                                 struct bk_error *e) {
  float *y = ARENA_NEW(&m->tables, float, (size_t)n);
  if (!y) {
    err_set(e, ERR_OS, "no memory for tensor " STR_FMT, STR_ARG(t->name));
    return NULL;
  }
  for (size_t i = 0; i < (size_t)n; i++) q->decode(t->data + (i + (size_t)from) * q->block_bytes, y + i);
  return y;
}

static struct str model_row_name(const struct tensor_row *row, int layer, char *name, size_t size) { // "%d" stands once, behind "blk."
  if (layer < 0) return str_from(row->name);
  snprintf(name, size, "blk.%d%s", layer, row->name + sizeof "blk.%d" - 1);
  return str_from(name);
}

static char *model_row_target(struct model *m, int layer, size_t offset) {
  return layer >= 0 ? (char *)&m->layers[layer] + offset : (char *)m + offset;
}

static bool model_bind(struct model *m, const struct tensor_row *row, int layer, struct bk_error *e) {
  char memory[128], *to = model_row_target(m, layer, row->offset);
  const struct str name = model_row_name(row, layer, memory, sizeof memory);
  struct gguf_tensor *t = gguf_tensor(&m->gguf, name);
  if (!t) return row->need != NEED || err_set(e, ERR_DATA, "tensor " STR_FMT " is missing", STR_ARG(name));
  const bool vector = row->kind == TENSOR_VECTOR;
  const int64_t from = row->from == DIM_NONE ? 0 : model_dim(&m->hp, row->from), length = model_dim(&m->hp, vector ? row->cols : row->rows);
  const int64_t whole = row->whole == DIM_NONE ? length : model_dim(&m->hp, row->whole);
  const int64_t cols = vector ? whole : model_dim(&m->hp, row->cols), rows = vector ? model_dim(&m->hp, row->rows) : whole;
  const int64_t experts = row->kind == TENSOR_EXPERTS ? m->hp.n_expert : row->kind == TENSOR_HEADS ? m->hp.n_head : 1;
  if ((int64_t)t->dim[0] != cols || (int64_t)t->dim[1] != rows || (int64_t)t->dim[2] != experts || t->dim[3] != 1)
    return err_set(e, ERR_DATA, "tensor " STR_FMT " has shape [%llu, %llu, %llu, %llu], expected [%lld, %lld, %lld]", STR_ARG(t->name),
                   (unsigned long long)t->dim[0], (unsigned long long)t->dim[1], (unsigned long long)t->dim[2],
                   (unsigned long long)t->dim[3], (long long)cols, (long long)rows, (long long)experts);
  const struct quant *q = quant_find(t->type);
  if (!q) return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: weight type %u", STR_ARG(t->name), t->type);
  if (!gguf_locate(&m->gguf, t, (size_t)q->block, q->block_bytes, e)) return false;
  if (vector) {
    if (q->block != 1)
      return err_set(e, ERR_DATA, "tensor " STR_FMT " is of type %s, expected F32, F16 or BF16", STR_ARG(t->name), q->name);
    *(const float **)(void *)to = model_vector(m, t, q, from, length * rows, e);
    return !e->code;
  }
  struct weight *w = (struct weight *)(void *)to;
  *w = (struct weight){.name = t->name, .quant = q, .n_rows = (int)length, .n_cols = (int)cols, .n_experts = (int)experts,
                       .lookup_only = row->kind == TENSOR_LOOKUP, .bias = w->bias};
  w->file = t->data + model_file_bytes(w, (int)from);
  return true;
}

/* What may be missing only where something else is there, or is not. */
static bool model_complete(struct model *m, const struct tensor_row *row, int layer, struct bk_error *e) {
  if (row->need != UNLESS && row->need != WITH) return true;
  const struct weight *own = (const void *)model_row_target(m, layer, row->offset);
  const struct weight *other = (const void *)model_row_target(m, layer, row->other);
  char memory[128];
  struct str name = model_row_name(row, layer, memory, sizeof memory);
  if (own->quant || (other->quant != NULL) == (row->need == UNLESS)) return true;
  return err_set(e, ERR_DATA, "tensor " STR_FMT " is missing", STR_ARG(name));
}

static bool model_each_row(struct model *m, bool (*f)(struct model *, const struct tensor_row *, int, struct bk_error *),
                           struct bk_error *e) {
  for (const struct tensor_row *const *list = m->arch->tensors; *list; list++)
    for (const struct tensor_row *row = *list; row->name; row++) {
      bool in_layer = strstr(row->name, "%d") != NULL;
      for (int l = 0; l < (in_layer ? (int)m->hp.n_layer : 1); l++)
        if (!f(m, row, in_layer ? l : -1, e)) return false;
    }
  return true;
}

static bool model_bind_all(struct model *m, struct bk_error *e) {
  const struct hparams *hp = &m->hp;
  m->layers = ARENA_NEW(&m->tables, struct layer, (size_t)hp->n_layer);
  m->routes = ARENA_NEW(&m->tables, struct tape_route, (size_t)hp->n_layer);
  m->heads = (struct tape_route){.n_expert = (int)hp->n_head, .n_used = (int)hp->n_head, .gate = GATE_ALL};
  if (!m->layers || !m->routes) return err_set(e, ERR_OS, "no memory for %lld layers", (long long)hp->n_layer);
  if (!model_each_row(m, model_bind, e) || !model_each_row(m, model_complete, e)) return false;
  for (int i = 0; i < (int)hp->n_layer; i++)
    m->routes[i] = (struct tape_route){(int)hp->n_expert, (int)hp->n_expert_used, (int)hp->expert_gate, hp->expert_normalised,
                                       (float)hp->expert_scale, m->layers[i].router_bias, (int)hp->n_expert_group,
                                       (int)hp->n_expert_group_used};
  if (m->token_embd.quant && !m->output.quant) m->token_embd.lookup_only = false; // used again as the output matrix
  for (int i = 0; i < m->gguf.n_tensors; i++) {
    uint64_t n = 1; // each dimension is below 2^31 and the bytes of every bound tensor were checked; this is for show
    for (int d = 0; d < 4; d++) n *= m->gguf.tensors[i].dim[d];
    m->n_parameters += (size_t)n;
  }
  return true;
}

/* ---- adapters ---- */

static bool model_lora_weight(struct gguf *g, struct gguf_tensor *t, int64_t cols, int64_t rows, int64_t first, int n,
                              struct weight *w, struct bk_error *e) {
  const struct quant *q = quant_find(t->type);
  if (!q) return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: weight type %u", STR_ARG(t->name), t->type);
  if ((int64_t)t->dim[0] != cols || (int64_t)t->dim[1] != rows || t->dim[2] != 1 || t->dim[3] != 1)
    return err_set(e, ERR_DATA, "tensor " STR_FMT " has shape [%llu, %llu, %llu], expected [%lld, %lld]", STR_ARG(t->name),
                   (unsigned long long)t->dim[0], (unsigned long long)t->dim[1], (unsigned long long)t->dim[2], (long long)cols,
                   (long long)rows);
  if (!gguf_locate(g, t, (size_t)q->block, q->block_bytes, e)) return false;
  *w = (struct weight){.name = t->name, .quant = q, .n_rows = n, .n_cols = (int)cols, .n_experts = 1};
  w->file = t->data + model_file_bytes(w, (int)first);
  return true;
}

/* One matrix and its pair of tensors. A matrix that is some rows of a tensor takes those rows of the second. */
static bool model_lora_bind(struct model *m, struct gguf *g, struct weight *w, enum tensor_kind kind, double scale, struct bk_error *e) {
  char name[160];
  struct gguf_tensor *pair[2];
  for (int i = 0; i < 2; i++) {
    snprintf(name, sizeof name, STR_FMT ".lora_%c", STR_ARG(w->name), "ab"[i]);
    pair[i] = gguf_tensor(g, str_from(name));
  }
  if (!pair[0] && !pair[1]) return true;
  if (!pair[0] || !pair[1]) return err_set(e, ERR_DATA, "tensor " STR_FMT " has only one half of a pair", STR_ARG(w->name));
  if (kind != TENSOR_MATRIX)
    return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: adapters of experts and of tables", STR_ARG(w->name));
  const struct gguf_tensor *base = gguf_tensor(&m->gguf, w->name);
  const int64_t rank = (int64_t)pair[0]->dim[1];
  const int64_t first = ((const char *)w->file - (const char *)base->data) / (int64_t)model_file_bytes(w, 1);
  struct adapter *a = ARENA_NEW(&m->tables, struct adapter, 1);
  if (!a) return err_set(e, ERR_OS, "no memory for an adapter");
  double alpha = 0;
  const struct gguf_value *v = gguf_find(g, STR("adapter.lora.alpha"));
  if (v && !gguf_float(v, 0, &alpha)) return err_set(e, ERR_DATA, "key adapter.lora.alpha is no number");
  if (pair[0]->data) m->kept_mapped_bytes += pair[0]->n_bytes; // for other rows of the tensor it is packed once more
  m->n_adapters++;
  *a = (struct adapter){.scale = (float)(alpha != 0 ? scale * alpha / (double)rank : scale), .number = m->n_loras, .next = w->adapters};
  w->adapters = a;
  if (rank > 1 << 16)
    return err_set(e, ERR_DATA, "tensor " STR_FMT " has rank %lld, expected at most 65536", STR_ARG(pair[0]->name), (long long)rank);
  return model_lora_weight(g, pair[0], w->n_cols, rank, 0, (int)rank, &a->down, e) &&
         model_lora_weight(g, pair[1], rank, (int64_t)base->dim[1], first, w->n_rows, &a->up, e);
}

/* The file of "FILE" or "FILE=SCALE" in the arena, terminated. */
static char *model_lora_path(struct model *m, struct str spec, double *scale) {
  size_t sign = spec.len;
  while (sign > 0 && spec.ptr[sign - 1] != '=') sign--;
  *scale = 1;
  if (sign > 1 && str_to_double(str_slice(spec, sign, spec.len), scale)) spec.len = sign - 1;
  char *path = arena_alloc(&m->tables, spec.len + 1, 1, 1);
  if (path) memcpy(path, spec.ptr, spec.len);
  return path;
}

/* Every matrix of the model once: those that the tape was made of. */
static bool model_lora_all(struct model *m, struct gguf *g, double scale, struct bk_error *e) {
  for (int layer = -1; layer < (int)m->hp.n_layer; layer++)
    for (const struct tensor_row *const *list = m->arch->tensors; *list; list++)
      for (const struct tensor_row *row = *list; row->name; row++) {
        struct weight *w = (struct weight *)(void *)model_row_target(m, layer, row->offset);
        if (row->kind == TENSOR_VECTOR || (strstr(row->name, "%d") != NULL) != (layer >= 0) || !w->quant) continue;
        const bool seen = w->adapters && w->adapters->number == m->n_loras; // by another row that may give it
        if (!seen && !model_lora_bind(m, g, w, row->kind, scale, e)) return false;
      }
  for (int i = 0; i < g->n_tensors; i++)
    if (!g->tensors[i].data)
      return err_set(e, ERR_DATA, "tensor " STR_FMT " changes no matrix of the model", STR_ARG(g->tensors[i].name));
  return true;
}

static bool model_loras(struct model *m, const char *const *specs, struct bk_error *e) {
  for (int i = 0; specs && specs[i]; i++) {
    if (i == MODEL_LORAS) return err_set(e, ERR_USAGE, "%d adapters at most", MODEL_LORAS);
    double scale;
    struct str arch = STR_NONE, type = STR_NONE;
    char *path = model_lora_path(m, str_from(specs[i]), &scale);
    if (!m->loras) m->loras = ARENA_NEW(&m->tables, struct gguf, MODEL_LORAS);
    if (!path || !m->loras) return err_set(e, ERR_OS, "no memory for adapters");
    struct gguf *g = &m->loras[m->n_loras];
    if (!gguf_open(g, path, &m->tables, e)) return false;
    m->n_loras++; // it is open
    gguf_string(gguf_find(g, STR("general.architecture")), &arch);
    gguf_string(gguf_find(g, STR("adapter.type")), &type);
    if (!type.ptr) err_set(e, ERR_DATA, "not an adapter: key adapter.type is missing");
    else if (!str_is(type, "lora"))
      err_set(e, ERR_DATA, "not supported: adapter of type \"" STR_FMT "\", expected \"lora\"", STR_ARG(type));
    else if (!str_is(arch, m->arch->name))
      err_set(e, ERR_DATA, "an adapter for architecture \"" STR_FMT "\", the model is of \"%s\"", STR_ARG(arch), m->arch->name);
    else if (gguf_find(g, STR("adapter.alora.invocation_tokens")))
      err_set(e, ERR_DATA, "not supported: an adapter that certain tokens turn on, adapter.alora.invocation_tokens");
    else model_lora_all(m, g, scale, e);
    if (e->code) {
      err_prefix(e, path);
      return false;
    }
  }
  return true;
}

/* ---- rope ---- */

/* Frequencies base^(-2i/n_rot), divided by `factors` and, as the scaling says, interpolated: linear by 1/factor; YaRN
 * leaves fast pairs alone, slows slow ones and blends between (Peng et al.: YaRN, 2023, equations 17 to 23). */
static bool model_rope(struct model *m, struct rope *r, double base, bool scaled, struct bk_error *e) {
  const struct hparams *hp = &m->hp;
  int n = (int)hp->n_rot / 2;
  float *frequency = ARENA_NEW(&m->tables, float, (size_t)n);
  if (!frequency) return err_set(e, ERR_OS, "no memory for %d rope frequencies", n);
  struct str type = scaled ? hp->rope_scaling : STR_NONE;
  bool yarn = str_is(type, "yarn");
  if (type.len && !yarn && !str_is(type, "linear") && !str_is(type, "ntk") && !str_is(type, "none") && !str_is(type, "longrope"))
    return err_set(e, ERR_DATA, "not supported: rope scaling \"" STR_FMT "\"", STR_ARG(type));
  double factor = hp->rope_factor > 0 ? hp->rope_factor : hp->rope_linear_scale > 0 ? hp->rope_linear_scale : 1;
  if (!scaled || str_is(type, "none")) factor = 1;
  double context = (double)(hp->rope_original_context > 0 ? hp->rope_original_context : hp->n_ctx_train), edge[2] = {0, 0};
  if (yarn) // the pair that turns beta times in the original context: n_rot ln(context / (2 pi beta)) / (2 ln base)
    for (int i = 0; i < 2; i++) {
      double beta = i ? hp->yarn_beta_slow : hp->yarn_beta_fast;
      double at = (double)hp->n_rot * kern_log(context / (beta * 6.283185307179586)) / (2 * kern_log(base));
      int64_t floor = (int64_t)at - (at < (double)(int64_t)at);
      edge[i] = (double)(i && (double)floor < at ? floor + 1 : floor);
      if (edge[i] < 0) edge[i] = 0;
      if (edge[i] > (double)hp->n_rot - 1) edge[i] = (double)hp->n_rot - 1;
    }
  if (str_is(type, "ntk")) base *= factor, factor = kern_exp(2 * kern_log(factor) / (double)hp->n_rot);
  for (int i = 0; i < n; i++) {
    double f = kern_exp(-2.0 * i / (double)hp->n_rot * kern_log(base));
    if (scaled && m->rope_factors) f /= (double)m->rope_factors[i];
    double width = edge[1] - edge[0] > 0.001 ? edge[1] - edge[0] : 0.001, ramp = ((double)i - edge[0]) / width;
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    double keep = yarn ? (1 - ramp) * hp->yarn_extrapolation : 0;
    frequency[i] = (float)(f * keep + f / factor * (1 - keep));
  }
  double magnitude = scaled ? hp->yarn_attention : 1;
  if (yarn) magnitude *= 1 + 0.1 * kern_log(factor);
  *r = (struct rope){frequency, (float)magnitude, (int)hp->n_rot, m->arch->rope_neox};
  return true;
}

static bool model_ropes(struct model *m, struct bk_error *e) {
  if (m->rope_factors_long && m->rope_factors_short) // LongRoPE (Ding et al., 2024): by how long a sequence may become
    m->rope_factors = m->n_context > m->hp.rope_original_context ? m->rope_factors_long : m->rope_factors_short;
  for (int i = 0; m->rope_factors && i < (int)m->hp.n_rot / 2; i++)
    if (!(m->rope_factors[i] > 1e-6f && m->rope_factors[i] < 1e6f))
      return err_set(e, ERR_DATA, "factors of rope: element %d is %.9g, expected 1e-6 to 1e6", i, (double)m->rope_factors[i]);
  return (m->hp.rope_base <= 0 || model_rope(m, &m->rope, m->hp.rope_base, true, e)) &&
         (m->hp.rope_base_local <= 0 || model_rope(m, &m->rope_local, m->hp.rope_base_local, false, e));
}

/* ---- biases by distance ---- */

/* Half of the buckets are for keys behind the query. In each half the first half are one distance each, the others grow
 * evenly in its logarithm up to MODEL_REACH. (Raffel et al.: T5, 2020) */
static bool model_score_bias(struct model *m, struct bk_error *e) {
  const int n_head = (int)m->hp.n_head, half = (int)m->hp.n_buckets / 2, near = half / 2, width = 2 * MODEL_REACH + 1;
  if (!m->bucket_bias) return true;
  if (near < 1 || near >= MODEL_REACH)
    return err_set(e, ERR_DATA, "%lld buckets of distances, expected 4 to %d", (long long)m->hp.n_buckets, 4 * MODEL_REACH - 1);
  float *to = ARENA_NEW(&m->tables, float, (size_t)(n_head * width));
  if (!to) return err_set(e, ERR_OS, "no memory for biases of %d heads", n_head);
  for (int i = 0; i < width; i++) {
    const int away = i < MODEL_REACH ? MODEL_REACH - i : i - MODEL_REACH;
    int bucket = away;
    if (away >= near) bucket = near + (int)(kern_log((double)away / near) / kern_log((double)MODEL_REACH / near) * (half - near) + 1e-9);
    bucket = (bucket < half ? bucket : half - 1) + (i > MODEL_REACH ? half : 0);
    for (int h = 0; h < n_head; h++) to[h * width + i] = m->bucket_bias[bucket * n_head + h];
  }
  m->score_bias = to;
  return true;
}

/* ---- packing ---- */

static void model_add_matrix(struct model *m, struct weight *w) {
  if (w->lookup_only) return;
  for (int i = 0; i < m->n_matrices; i++)
    if (m->matrices[i] == w) return;
  m->matrices[m->n_matrices++] = w;
}

static size_t model_packed_bytes(const struct weight *w) {
  return form_bytes(w->quant->form, w->n_rows, w->n_cols) * (size_t)w->n_experts;
}

/* Collects the matrices that the tape multiplies by and gives each its place in one reserved range. */
static bool model_plan_packing(struct model *m, struct bk_error *e) {
  m->matrices = ARENA_NEW(&m->tables, struct weight *, (size_t)m->tape.n_ops * MATMUL_MAX);
  if (!m->matrices) return err_set(e, ERR_OS, "no memory for the list of matrices");
  for (int i = 0; i < m->tape.n_ops; i++)
    for (int k = 0; k < m->tape.ops[i].n_out && m->tape.ops[i].kind == OP_MATMUL; k++)
      model_add_matrix(m, (struct weight *)(uintptr_t)m->tape.ops[i].w[k]); // the model owns its weights; the tape only reads
  for (int i = 0; i < m->n_matrices; i++) m->packed_bytes += size_align(model_packed_bytes(m->matrices[i]), 64);
  m->packed = os_reserve(m->packed_bytes, e);
  if (!m->packed.beg) return false;
  os_want_huge(m->packed.beg, m->packed_bytes);
  char *at = m->packed.beg;
  for (int i = 0; i < m->n_matrices; i++) {
    m->matrices[i]->packed = at;
    at += size_align(model_packed_bytes(m->matrices[i]), 64);
  }
  return true;
}

static int model_piece_groups(const struct weight *w) {
  size_t bytes = model_file_bytes(w, GROUP);
  return bytes >= MODEL_PIECE ? 1 : (int)(MODEL_PIECE / bytes);
}

static int model_weight_pieces(const struct weight *w) {
  int groups = (w->n_rows + GROUP - 1) / GROUP, each = model_piece_groups(w);
  return (groups + each - 1) / each * w->n_experts;
}

static int model_pack_pieces(const struct model *m) {
  int n = 0;
  for (int i = 0; i < m->n_matrices; i++) n += model_weight_pieces(m->matrices[i]);
  return n;
}

static void model_pack(const struct model *m, int piece) {
  int i = 0;
  while (piece >= model_weight_pieces(m->matrices[i])) piece -= model_weight_pieces(m->matrices[i++]);
  const struct weight *w = m->matrices[i];
  const int each = model_piece_groups(w), per_expert = model_weight_pieces(w) / w->n_experts, expert = piece / per_expert;
  const int first = piece % per_expert * each * GROUP, end = first + each * GROUP < w->n_rows ? first + each * GROUP : w->n_rows;
  const char *file = (const char *)w->file + model_file_bytes(w, w->n_rows) * (size_t)expert;
  char *packed = (char *)w->packed + form_bytes(w->quant->form, w->n_rows, w->n_cols) * (size_t)expert;
  const size_t group_bytes = form_bytes(w->quant->form, GROUP, w->n_cols);
  for (int row = first; row < end; row += GROUP)
    form_pack_group(w->quant, file, w->n_rows, w->n_cols, row, packed + group_bytes * (size_t)(row / GROUP));
  os_forget(file + model_file_bytes(w, first), model_file_bytes(w, end - first));
}

/* ---- opening ---- */

static bool model_build_tape(struct model *m, int max_rows, struct bk_error *e) {
  if (!tape_new(&m->tape, 16 + 32 * (int)m->hp.n_layer + 3 * m->n_adapters, &m->tables, e)) return false;
  const int rows = !m->hp.causal && m->n_context > max_rows ? m->n_context : max_rows;
  m->arch->forward(&m->tape, m);
  if ((int64_t)rows * m->tape.most_used > 1 << 26)
    return err_set(e, ERR_USAGE, "%d positions at once, %d experts or heads of each, are too many: try a smaller --context", rows,
                   m->tape.most_used);
  tape_plan(&m->tape, rows);
  return true;
}

static bool model_context(struct model *m, int n_context, struct bk_error *e) {
  const int64_t most = m->hp.n_ctx_train;
  if (n_context > most)
    return err_set(e, ERR_USAGE, "a context of %d positions, the model was made for %lld", n_context, (long long)most);
  const int64_t usual = m->hp.rope_short_context && m->hp.rope_original_context > 0 ? m->hp.rope_original_context : MODEL_CONTEXT;
  m->n_context = n_context > 0 ? n_context : (int)(most < usual ? most : usual < MODEL_CONTEXT ? usual : MODEL_CONTEXT);
  return true;
}

static bool model_open(struct model *m, const char *path, const struct model_options *o, struct bk_error *e) {
  memset(m, 0, sizeof *m);
  struct arena whole = os_reserve(MODEL_TABLES, e);
  if (!whole.beg) return false;
  m->tables = whole;
  bool ok = gguf_open(&m->gguf, path, &m->tables, e) && model_read_hparams(m, e) && model_context(m, o->n_context, e) &&
            model_bind_all(m, e) && model_loras(m, o->loras, e) && model_ropes(m, e) && model_score_bias(m, e) &&
            model_build_tape(m, o->max_rows, e) && model_plan_packing(m, e);
  if (ok && gguf_find(&m->gguf, STR("tokenizer.ggml.model"))) ok = token_load(&m->gguf, &m->tables, &m->vocab, e);
  m->tables_bytes = (size_t)(m->tables.beg - whole.beg);
  m->tables = whole;
  if (!ok) {
    model_close(m);
    err_prefix(e, path);
    return false;
  }
  for (int k = -1; k < m->n_loras; k++) {
    const struct gguf *g = k < 0 ? &m->gguf : &m->loras[k];
    for (int i = 0; i < g->n_files; i++) {
      m->mapped_bytes += g->files[i].size;
      m->kept_mapped_bytes += g->data_start[i];
    }
    for (int i = 0; i < g->n_tensors; i++) m->kept_mapped_bytes += g->tensors[i].n_bytes; // of the bound ones
  }
  for (int i = 0; i < m->n_matrices; i++)
    m->kept_mapped_bytes -= model_file_bytes(m->matrices[i], m->matrices[i]->n_rows) * (size_t)m->matrices[i]->n_experts;
  return true;
}

static void model_close(struct model *m) {
  for (int i = 0; i < m->n_loras; i++) gguf_close(&m->loras[i]);
  gguf_close(&m->gguf);
  os_release(m->packed);
  os_release(m->tables);
  memset(m, 0, sizeof *m);
}
