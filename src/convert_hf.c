/* convert_hf.c -- `bodkin convert`: a Hugging Face folder (config.json, safetensors, tokenizer) -> a GGUF file.
 *
 * What an architecture is called there stands in its file in arch/, as the lines of a struct hf, which are read here:
 *   keys     SUFFIX TYPE VALUE    the GGUF key ARCHITECTURE.SUFFIX; TYPE u32, f32, bool, string by their first letters;
 *                                 B: an array of bools, whether each element of an array is the text; L: the values of an object
 *   VALUE    A|B|...              the first that there is: numbers, 'texts' and names of config.json (a.b: inside an object), with
 *                                 + - * / from left to right; name=text is 1 where they are equal and else not there
 *   tensors  THEIRS OURS HOW      names without .weight and .bias; one that begins with '.' is a layer's; "%" is an expert, of
 *                                 whom all are stacked; HOW, if there is one, see hf_arrange
 * Keys and names that nearly all have are here. Memory is constant: see convert.c. The same folder gives the same bytes.
 * SPDX-License-Identifier: MIT */

enum { HF_GENERAL, HF_OWN, HF_WORDS, HF_SETS }; // keys, in the order of the file
enum { HF_TEXT = 16 << 20, HF_MEMORY = 1 << 30, HF_KEYS = 96 << 20, HF_DEPTH = 3 };

static const char hf_keys[] =
  "block_count u num_hidden_layers|n_layers|n_layer|num_layers\n"
  "context_length u max_position_embeddings|n_ctx|n_positions|max_length|max_sequence_length|model_max_length\n"
  "embedding_length u hidden_size|n_embd|dim\n"
  "feed_forward_length u intermediate_size|n_inner|hidden_dim\n"
  "attention.head_count u num_attention_heads|n_head|n_heads\n"
  "attention.head_count_kv u num_key_value_heads|n_kv_heads\n"
  "attention.causal b is_causal=false*0\n"
  "attention.key_length u head_dim\n"
  "attention.value_length u head_dim\n"
  "attention.layer_norm_rms_epsilon f rms_norm_eps|norm_eps\n"
  "attention.layer_norm_epsilon f layer_norm_eps|layer_norm_epsilon|norm_epsilon\n"
  "rope.scaling.type s rope.rope_type=linear|rope.rope_type=yarn|rope.rope_type=longrope|rope.rope_type=ntk\n"
  "rope.scaling.factor f rope.rope_type=linear*rope.factor|rope.rope_type=yarn*rope.factor|rope.rope_type=ntk*rope.factor\n"
  "rope.scaling.original_context_length u rope.rope_type=yarn*rope.original_max_position_embeddings|"
    "rope.rope_type=yarn*original_max_position_embeddings\n"
  "rope.scaling.yarn_ext_factor f rope.rope_type=yarn*rope.extrapolation_factor\n"
  "rope.scaling.yarn_attn_factor f rope.rope_type=yarn*rope.attention_factor|rope.rope_type=yarn*rope.attn_factor\n"
  "rope.scaling.yarn_beta_fast f rope.rope_type=yarn*rope.beta_fast\n"
  "rope.scaling.yarn_beta_slow f rope.rope_type=yarn*rope.beta_slow\n"
  "rope.freq_base f rope.rope_theta|global_rope_theta|rope_theta|rotary_emb_base\n"
  "rope.freq_base_swa f rope_parameters.sliding_attention.rope_theta|local_rope_theta|rope_local_base_freq|swa_rope_theta\n"
  "expert_count u num_local_experts|num_experts|n_routed_experts\n"
  "expert_used_count u num_experts_per_tok|num_experts_per_token|top_k_experts\n"
  "expert_group_count u n_group\n"
  "expert_group_used_count u topk_group\n"
  "expert_gating_func u scoring_func=softmax*1|scoring_func=sigmoid*2|score_function=softmax*1|score_function=sigmoid*2\n";

/* Layers behind the pooling, and those of other vectors: they stand beside the model, see convert_safetensors.c. */
static const char hf_beside[] = "dense_2.linear dense_2\ndense_3.linear dense_3\ncolbert colbert\nsparse sparse\n";

/* Parts of names that no text model needs: other senses, and tables that anyone can compute. */
static const char hf_left_out[] =
  "visual. vision. audio. talker. vision_ audio_ projector. patch_embed image_newline .connector. .rotary_emb.inv_freq "
  ".attention.masked_bias .attn.masked_bias .attn.bias position_ids";

struct hf_config {
  const struct json *root, *text; // text: what is inside text_config, or NULL
  const struct json *rope, *name; // how positions are scaled, or NULL; of the class
};

/* ---- text in pieces ---- */

/* The next piece of *rest up to `stop`; false, and an empty one, when nothing is left. */
static bool hf_next(struct str *rest, char stop, struct str *piece) {
  *piece = STR_NONE;
  if (!rest->len) return false;
  const char *end = memchr(rest->ptr, stop, rest->len);
  size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
  *piece = str_slice(*rest, 0, n);
  *rest = str_slice(*rest, n + (end != NULL), rest->len);
  return true;
}

static bool hf_holds(const char *words, struct str name) { // one of the words
  struct str rest = str_from(words), word;
  while (hf_next(&rest, ' ', &word))
    if (str_find(name, word, 0) != SIZE_MAX) return true;
  return false;
}

/* ---- values of config.json ---- */

static const struct json *hf_member(const struct json *object, struct str name) {
  for (const struct json *m = object && object->type == JSON_OBJECT ? object->first : NULL; m; m = m->next)
    if (str_eq(m->key, name)) return m->type == JSON_NULL ? NULL : m;
  return NULL;
}

static const struct json *hf_find(const struct hf_config *c, struct str path) {
  struct str part;
  hf_next(&path, '.', &part);
  const struct json *v = str_is(part, "rope") ? c->rope : str_is(part, "class") ? c->name : hf_member(c->text, part);
  if (!v && !str_is(part, "rope")) v = hf_member(c->root, part);
  while (v && hf_next(&path, '.', &part)) {
    const struct json *below = hf_member(v, part);
    v = below || !str_is(part, "rope_type") ? below : hf_member(v, STR("type")); // as it was called once
  }
  return v;
}

static bool hf_term(const struct hf_config *c, struct str term, double *x, struct str *text) {
  struct str name = term, expected;
  *x = 0;
  *text = STR_NONE;
  if (term.len > 1 && term.ptr[0] == '\'') return *text = str_slice(term, 1, term.len - 1), true;
  if (str_to_double(term, x)) return true;
  bool compared = str_find(term, STR("="), 0) != SIZE_MAX;
  if (compared) hf_next(&term, '=', &name), expected = term.len && term.ptr[0] == '\'' ? str_slice(term, 1, term.len - 1) : term;
  const struct json *v = hf_find(c, name);
  if (!v || v->type == JSON_ARRAY || v->type == JSON_OBJECT) return false;
  *text = v->type == JSON_STRING ? v->string : v->type == JSON_BOOL ? str_from(v->boolean ? "true" : "false") : v->text;
  *x = compared ? 1 : v->type == JSON_BOOL ? v->boolean : v->type == JSON_STRING ? 0 : v->number;
  return !compared || str_eq(*text, expected);
}

/* The value of an expression; false if there is none. *text: of its last term. */
static bool hf_value(const struct hf_config *c, struct str expression, double *x, struct str *text) {
  struct str alternative;
  while (hf_next(&expression, '|', &alternative)) {
    char op = '+';
    bool there = true;
    for (*x = 0; there && alternative.len;) {
      size_t n = 0;
      double y;
      for (bool quoted = false; n < alternative.len && (quoted || !strchr("+-*/", alternative.ptr[n])); n++)
        quoted = quoted != (alternative.ptr[n] == '\'');
      there = hf_term(c, str_slice(alternative, 0, n), &y, text) && (op != '/' || y != 0);
      if (there) *x = op == '+' ? *x + y : op == '-' ? *x - y : op == '*' ? *x * y : *x / y;
      if (n < alternative.len) op = alternative.ptr[n++];
      alternative = str_slice(alternative, n, alternative.len);
    }
    if (there) return true;
  }
  return false;
}

/* A whole number of [0, 2^32); what is a fraction is cut. 0 if there is no value. */
static bool hf_whole(const struct hf_config *c, struct str expression, uint32_t *out, struct bk_error *e) {
  double x;
  struct str text;
  *out = 0;
  if (!hf_value(c, expression, &x, &text)) return true;
  x += 1e-9 * (x > 0);
  if (!(x >= 0 && x < 4294967296.0))
    return err_set(e, ERR_DATA, "config.json: " STR_FMT " is %g, expected 0 to 4294967295", STR_ARG(expression), x);
  *out = (uint32_t)x;
  return true;
}

/* ---- keys ---- */

struct hf_line {
  struct str name, type, value; // or theirs, ours, how
};

static bool hf_next_line(struct str *rest, struct hf_line *l) {
  struct str line;
  *l = (struct hf_line){STR_NONE, STR_NONE, STR_NONE};
  if (!hf_next(rest, '\n', &line)) return false;
  hf_next(&line, ' ', &l->name);
  hf_next(&line, ' ', &l->type);
  l->value = line;
  return true;
}

static bool hf_line_named(const char *lines, struct str name, struct hf_line *l) {
  struct str rest = str_from(lines);
  while (hf_next_line(&rest, l))
    if (str_eq(l->name, name)) return true;
  return false;
}

static uint32_t hf_count(const struct hf_config *c, struct str expression) { // 0: there is none, or it is out of range
  struct bk_error none = {0};
  uint32_t n;
  hf_whole(c, expression, &n, &none);
  return n;
}

/* What a key of the architecture will be; 0 if it has none. */
static uint32_t hf_number(const struct hf *hf, const struct hf_config *c, const char *suffix) {
  struct hf_line l;
  bool there = hf_line_named(hf->keys, str_from(suffix), &l) || hf_line_named(hf_keys, str_from(suffix), &l);
  return there ? hf_count(c, l.value) : 0;
}

static int hf_by_key(const void *a, const void *b) {
  struct str x = (*(const struct json *const *)a)->key, y = (*(const struct json *const *)b)->key; // numbers
  return x.len != y.len ? (x.len > y.len) - (x.len < y.len) : str_compare(x, y);
}

/* An array of whether each element of the array `name` is `text`; or (L) the values of an object in the order of its keys. */
static void hf_key_array(const struct hf_config *c, const struct hf_line *l, struct str key, struct convert_keys *k) {
  const struct json *list[1024];
  struct str path = l->value, name;
  size_t n = 0;
  hf_next(&path, '=', &name);
  const struct json *v = hf_find(c, name);
  if (!v || !v->first || v->count > ARRAY_LEN(list)) return;
  if (v->count == 2 && str_is(v->first->string, "LABEL_0")) return; // what stands there when nobody has said anything
  for (const struct json *m = v->first; m; m = m->next) list[n++] = m;
  if (l->type.ptr[0] == 'L') qsort(list, n, sizeof *list, hf_by_key);
  convert_keys_array(k, key, l->type.ptr[0] == 'L' ? GGUF_STRING : GGUF_BOOL, n);
  for (size_t i = 0; i < n; i++) {
    if (l->type.ptr[0] == 'L') convert_keys_text(k, list[i]->string);
    else convert_keys_bytes(k, str_eq(list[i]->string, path), 1);
  }
}

static bool hf_key(const struct arch *arch, const struct hf_config *c, const struct hf_line *l, struct convert_keys *k,
                   struct bk_error *e) {
  char key[128];
  double x;
  struct str text;
  uint32_t n;
  snprintf(key, sizeof key, "%s." STR_FMT, arch->name, STR_ARG(l->name));
  char type = l->type.len ? l->type.ptr[0] : 0;
  if (type == 'B' || type == 'L') return hf_key_array(c, l, str_from(key), k), true;
  if (!hf_value(c, l->value, &x, &text)) return true;
  if (type == 's') convert_keys_string(k, str_from(key), text);
  else if (type == 'f') convert_keys_f32(k, str_from(key), (float)x);
  else if (type == 'b') convert_keys_bool(k, str_from(key), x != 0);
  else if (!hf_whole(c, l->value, &n, e)) return false;
  else convert_keys_u32(k, str_from(key), n);
  return true;
}

/* Those of the architecture come first: a common one of the same name is then not asked for. */
static bool hf_all_keys(const struct arch *arch, const struct hf_config *c, struct convert_keys *k, struct bk_error *e) {
  struct hf_line l, own;
  struct str rest = str_from(arch->hf->keys);
  while (hf_next_line(&rest, &l))
    if (!hf_key(arch, c, &l, k, e)) return false;
  rest = str_from(hf_keys);
  while (hf_next_line(&rest, &l))
    if (!hf_line_named(arch->hf->keys, l.name, &own) && !hf_key(arch, c, &l, k, e)) return false;
  return true;
}

/* ---- tensors: from their names to ours ---- */

static const char *const hf_verdicts[] = {"yes", "no"};

enum hf_order { HF_AS_IS, HF_ROWS, HF_TURNED, HF_PICKED };

/* A tensor of ours. A piece of it is `rows` x `cols`, as it is written; there are as many pieces as experts. */
struct hf_out {
  struct gguf_tensor t;             // t.type: what it would have without --type
  const struct safetensor *from;    // the first piece; NULL: t.data is the tensor, float32
  struct str base;                  // of from's name, without the suffix
  size_t number, number_len;        // where the expert's number stands in from's name
  int n_pieces, last;               // last: the largest number
  uint64_t rows, cols, in_rows, in_cols; // in: of the source
  enum hf_order order;
  uint64_t lead, skip, heads, head_dim; // see hf_arrange
  uint32_t picked[2];               // rows
  double plus;
  struct grid grid;
  const struct quant *to;
  bool direct;                      // the codes go into `to` as they are
};

struct hf_plan {
  const struct arch *arch;
  struct hf_config config;
  struct grid_config codes;
  struct safetensors tensors;
  struct str words;                 // the tokenizer's keys
  bool ranker;                      // of a decoder, two words are to be compared
  struct hf_out *outs;              // (n_outs)
  int n_outs, max_outs;
  uint32_t n_layer;
  const struct convert_mix *mix;    // NULL: 16 bits, as the source has them, and codes as they are
  const struct quant *wide;         // what matrices are if nothing is said
};

static const struct hf_suffix {
  const char *theirs, *ours;
} hf_suffixes[] = {{".weight", ".weight"}, {".bias", ".bias"}, {".gamma", ".weight"}, {".beta", ".bias"}, {".qweight", ".weight"},
                   {".weight_packed", ".weight"}, {"", ".weight"}};

/* A name as the lines have it: without prefixes and suffix, numbers as '%'. */
struct hf_name {
  char pattern[256];
  struct str base;                  // of the whole name, without the suffix
  const struct hf_suffix *suffix;
  int64_t number[HF_DEPTH];         // layer, expert
  size_t at[HF_DEPTH], len[HF_DEPTH]; // where they stand in the whole name
  int n_numbers;
};

static bool hf_read_name(const struct hf *hf, struct str name, struct hf_name *out) {
  static const char *const inside[] = {"language_model.", "text_model."}; // a text model in a larger one
  char plain[512];
  struct str prefixes = str_from(hf->prefixes), word;
  size_t n = 0;
  *out = (struct hf_name){.n_numbers = 0};
  out->suffix = hf_suffixes;
  while (!str_ends(name, str_from(out->suffix->theirs))) out->suffix++;
  out->base = str_slice(name, 0, name.len - strlen(out->suffix->theirs));
  if (out->base.len >= sizeof plain) return false;
  for (size_t i = 0; i < out->base.len;) {
    struct str rest = str_slice(out->base, i, out->base.len);
    size_t skip = 0, digits = 0;
    for (int w = 0; w < ARRAY_LEN(inside); w++)
      if (str_starts(rest, str_from(inside[w]))) skip = strlen(inside[w]);
    while (digits < rest.len && rest.ptr[digits] >= '0' && rest.ptr[digits] <= '9') digits++;
    bool whole = digits && i && name.ptr[i - 1] == '.' && (digits == rest.len || rest.ptr[digits] == '.');
    if (whole && out->n_numbers < HF_DEPTH && str_to_int(str_slice(rest, 0, digits), &out->number[out->n_numbers])) {
      out->at[out->n_numbers] = i;
      out->len[out->n_numbers++] = skip = digits;
      plain[n++] = '%';
    }
    if (!skip) plain[n++] = rest.ptr[0], skip = 1;
    i += skip;
  }
  struct str p = {plain, n};
  while (hf_next(&prefixes, ' ', &word))
    if (str_starts(p, word) && p.len > word.len && p.ptr[word.len] == '.') p = str_slice(p, word.len + 1, p.len);
  return snprintf(out->pattern, sizeof out->pattern, "%.*s", (int)p.len, p.ptr) < (int)sizeof out->pattern;
}

/* Does a line's name stand for this one? What begins with '.' is a layer's. */
static bool hf_is(const struct hf *hf, struct str theirs, const struct hf_name *n) {
  char name[256];
  bool of_layer = theirs.ptr[0] == '.';
  snprintf(name, sizeof name, "%s%s" STR_FMT, of_layer ? hf->layer : "", of_layer ? ".%" : "", STR_ARG(theirs));
  return str_is(str_from(name), n->pattern);
}

/* The id of a word in the tokenizer's keys; false if it has none. */
static bool hf_word(struct str keys, struct str word, uint32_t *id) {
  size_t at = str_find(keys, STR("tokenizer.ggml.tokens"), 0);
  uint64_t n = 0, len = 0;
  if (at == SIZE_MAX || keys.len - at < 37) return false;
  at += 29; // the name and two types
  memcpy(&n, keys.ptr + at, 8);
  for (at += 8, *id = 0; *id < n && keys.len - at >= 8; ++*id, at += len) {
    memcpy(&len, keys.ptr + at, 8);
    at += 8;
    if (len > keys.len - at) return false;
    if (str_eq(str_slice(keys, at, at + (size_t)len), word)) return true;
  }
  return false;
}

/* ---- how a tensor is laid out ---- */

/* Fills rows, cols and the dimensions of a piece from the source's and from HOW:
 *   rope:HEADS          rows of a head, which are rotated with the half of them before, as pairs of neighbours
 *   qkv:GROUPS,DIM      rows of heads of DIM: for each group its queries, a key, a value -> all queries, all keys, all values
 *   part:LEAD,SKIP,N    of LEAD times rows, the N after the first SKIP (N 0: the rest); LEAD 0: the first dimension of 3, else 1
 *   turn:LEAD,SKIP,N    the same, rows and columns exchanged
 *   plus:X              X added to each
 *   if:VALUE            as it is, or left out where there is no such value
 *   ranker:VALUE        of a decoder that ranks, and if there is such a value: the rows of the two words */
static bool hf_arrange(struct hf_out *o, const struct hf_config *c, struct str words, struct str how, struct bk_error *e) {
  struct str word, expression;
  uint32_t p[3] = {0, 0, 0};
  uint64_t dim[4] = {0, 0, 0, 0};
  int n_dims = o->grid.kind ? 2 : o->from->n_dims;
  for (int i = 0; i < n_dims && i < 4; i++) dim[i] = o->grid.kind ? i ? o->grid.cols : o->grid.rows : o->from->dim[i];
  if (n_dims < 1 || n_dims > 4)
    return err_set(e, ERR_DATA, "tensor " STR_FMT " has %d dimensions, expected 1 to 4", STR_ARG(o->from->name), n_dims);
  o->cols = n_dims > 1 ? dim[n_dims - 1] : 1;
  o->rows = 1;
  for (int i = 0; i < (n_dims > 1 ? n_dims - 1 : 1); i++) o->rows *= dim[i]; // below 2^63: its bytes are in a file
  o->in_rows = o->rows, o->in_cols = o->cols;
  hf_next(&how, ':', &word);
  for (int i = 0; !str_is(word, "if") && !str_is(word, "ranker") && i < 3 && hf_next(&how, ',', &expression); i++)
    if (!hf_whole(c, expression, &p[i], e)) return false;
  bool good = o->rows && o->cols && o->rows <= INT32_MAX && o->cols <= INT32_MAX;
  o->lead = 1;
  o->t.n_dims = n_dims;
  for (int i = 0; i < 4; i++) o->t.dim[i] = i < n_dims ? dim[n_dims - 1 - i] : 1;
  if (good && str_is(word, "plus")) {
    o->plus = p[0];
  } else if (good && (str_is(word, "rope") || str_is(word, "qkv"))) {
    o->order = HF_ROWS;
    o->heads = p[0];
    o->head_dim = str_is(word, "qkv") ? p[1] : 0;
    good = p[0] && o->rows % p[0] == 0 && n_dims < 3;
    uint64_t each = good ? o->rows / p[0] : 0; // rows of a head; or of a group
    good = good && (o->head_dim ? each % o->head_dim == 0 && each / o->head_dim > 2 : each % 2 == 0);
  } else if (good && str_is(word, "ranker")) {
    o->order = HF_PICKED;
    for (int i = 0; good && i < ARRAY_LEN(hf_verdicts); i++)
      good = n_dims == 2 && hf_word(words, str_from(hf_verdicts[i]), &o->picked[i]) && o->picked[i] < o->in_rows;
    o->t.dim[1] = o->rows = ARRAY_LEN(hf_verdicts);
  } else if (good && word.len && !str_is(word, "if") && (n_dims > 1 || !str_is(word, "turn"))) {
    uint64_t lead = p[0] ? p[0] : n_dims == 3 ? dim[0] : 1, tall = o->rows / lead, n = p[2] ? p[2] : tall - (p[1] < tall ? p[1] : tall);
    good = o->rows % lead == 0 && n && n <= tall && p[1] <= tall - n;
    o->lead = lead, o->skip = p[1];
    o->order = str_is(word, "turn") ? HF_TURNED : HF_ROWS;
    o->rows = lead * (o->order == HF_TURNED ? o->in_cols : n);
    if (o->order == HF_TURNED) o->cols = n;
    o->t.n_dims = n_dims == 1 ? 1 : lead > 1 || n_dims == 3 ? 3 : 2;
    o->t.dim[0] = n_dims == 1 ? o->rows : o->cols;
    o->t.dim[1] = n_dims == 1 ? 1 : o->rows / lead;
    o->t.dim[2] = n_dims == 1 ? 1 : lead;
  }
  return good || err_set(e, ERR_DATA, "tensor " STR_FMT ": a shape of %llu x %llu does not fit config.json", STR_ARG(o->from->name),
                         (unsigned long long)o->in_rows, (unsigned long long)o->in_cols);
}

/* Where row `row` of a piece begins in the source, in weights; *step: from one of its weights to the next. */
static uint64_t hf_place(const struct hf_out *o, uint64_t row, uint64_t *step) {
  *step = 1;
  if (o->order == HF_AS_IS || o->order == HF_PICKED) return (o->order == HF_PICKED ? o->picked[row] : row) * o->cols;
  if (o->heads && !o->head_dim) { // (head, half, i) -> (head, i, half)
    uint64_t each = o->rows / o->heads, i = row % each;
    return (row - i + (i & 1) * (each / 2) + i / 2) * o->cols;
  }
  if (o->heads) {
    uint64_t each = o->rows / o->heads, d = o->head_dim, q = each - 2 * d, group, i; // rows of a group, of its queries
    if (row < o->heads * q) group = row / q, i = row % q;
    else row -= o->heads * q, group = row / d % o->heads, i = q + row / (d * o->heads) * d + row % d;
    return (group * each + i) * o->cols;
  }
  uint64_t each = o->rows / o->lead, tall = o->in_rows / o->lead; // rows of one of `lead`, here and there
  uint64_t first = row / each * tall + o->skip;
  if (o->order == HF_ROWS) return (first + row % each) * o->in_cols;
  *step = o->in_cols;
  return first * o->in_cols + row % each;
}

/* ---- the plan ---- */

/* The tensor of our name; new, or one that has a place for this expert. */
static struct hf_out *hf_out_named(struct hf_plan *p, struct str ours, const struct hf_name *n, bool stacked, struct arena *a,
                                   struct bk_error *e) {
  char name[256];
  const char *suffix = str_ends(ours, STR(".weight")) || str_ends(ours, STR(".bias")) ? "" : n->suffix->ours;
  bool of_layer = ours.ptr[0] == '.';
  if (of_layer) snprintf(name, sizeof name, "blk.%d" STR_FMT "%s", (int)n->number[0], STR_ARG(ours), suffix);
  else snprintf(name, sizeof name, STR_FMT "%s", STR_ARG(ours), suffix);
  for (int i = p->n_outs - 1; i >= 0; i--) {
    if (!str_is(p->outs[i].t.name, name)) continue;
    if (stacked && p->outs[i].number_len) return &p->outs[i];
    err_set(e, ERR_DATA, "two tensors would both be %s, one of them " STR_FMT, name, STR_ARG(n->base));
    return NULL;
  }
  struct hf_out *o = &p->outs[p->n_outs];
  if (p->n_outs == p->max_outs || !(o->t.name = arena_copy(a, str_from(name))).ptr) {
    err_set(e, ERR_DATA, "more than %d tensors", p->max_outs);
    return NULL;
  }
  p->n_outs++;
  return o;
}

static bool hf_add(struct hf_plan *p, const struct safetensor *t, const struct hf_name *n, const struct hf_line *l, struct arena *a,
                   struct bk_error *e) {
  int expert = l->type.ptr[0] == '.';
  bool stacked = n->n_numbers > expert;
  struct hf_out *o = hf_out_named(p, l->type, n, stacked, a, e);
  if (!o) return false;
  o->n_pieces++;
  if (stacked && n->number[expert] > o->last) o->last = (int)(n->number[expert] < INT32_MAX ? n->number[expert] : INT32_MAX);
  if (o->from) {
    bool same = o->from->n_dims == t->n_dims && o->from->type == t->type && o->from->n_bytes == t->n_bytes;
    for (int i = 0; i < t->n_dims; i++) same = same && o->from->dim[i] == t->dim[i];
    struct grid none;
    if (o->grid.kind && !grid_open(&none, &p->tensors, t, n->base, &p->codes, e)) return false; // marks its parts as used
    return same || err_set(e, ERR_DATA, "tensors " STR_FMT " and " STR_FMT " are stacked and differ in shape or type", STR_ARG(t->name),
                           STR_ARG(o->from->name));
  }
  o->from = t;
  o->base = n->base;
  if (stacked) o->number = n->at[expert], o->number_len = n->len[expert];
  const struct quant *q = t->type->quant;
  bool codes = str_is(str_from(n->suffix->theirs), ".qweight") || str_is(str_from(n->suffix->theirs), ".weight_packed");
  bool maybe = q && q->type == UINT32_MAX && t->n_dims == 2; // bytes, which may have scales
  if ((codes || maybe) && !grid_open(&o->grid, &p->tensors, t, n->base, &p->codes, e)) return false;
  if (!q && !codes) return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: weights as %s", STR_ARG(t->name), t->type->name);
  return hf_arrange(o, &p->config, p->words, l->value, e);
}

static bool hf_ranks(const struct hf_plan *p, struct str how) { // a line is only for decoders that rank: is this one?
  double x;
  struct str text;
  return !str_starts(how, STR("ranker:")) || (p->ranker && hf_value(&p->config, str_slice(how, 7, how.len), &x, &text));
}

/* Every tensor of the folder has its place, or nobody needs it. */
static bool hf_map(struct hf_plan *p, struct arena *a, struct bk_error *e) {
  const struct hf *hf = p->arch->hf;
  const struct str more_layers = STR("num_nextn_predict_layers");
  for (int i = 0; i < p->tensors.n && !e->code; i++) {
    struct safetensor *t = &p->tensors.tensors[i];
    struct hf_name n;
    struct hf_line l;
    struct str text;
    double x;
    bool known = hf_read_name(hf, t->name, &n), found = false;
    if (t->used || hf_holds(hf_left_out, t->name) || (hf->left_out && hf_holds(hf->left_out, t->name))) {
      t->used = true;
      continue;
    }
    const char *lists[3] = {hf->tensors, hf->more, hf_beside};
    if (known && n.n_numbers && n.number[0] >= p->n_layer && hf_find(&p->config, more_layers)) {
      t->used = true; // layers that predict further tokens
      continue;
    }
    for (int k = 0; k < ARRAY_LEN(lists) && known && !found; k++) {
      struct str rest = str_from(lists[k]);
      while (hf_next_line(&rest, &l) && !e->code)
        if (hf_is(hf, l.name, &n) && (l.type.ptr[0] != '.' || n.number[0] < p->n_layer) && hf_ranks(p, l.value)) {
          t->used = found = true;
          if (!str_starts(l.value, STR("if:")) || hf_value(&p->config, str_slice(l.value, 3, l.value.len), &x, &text))
            hf_add(p, t, &n, &l, a, e);
        }
    }
  }
  for (int i = 0; i < p->tensors.n && !e->code; i++)
    if (!p->tensors.tensors[i].used)
      err_set(e, ERR_DATA, "tensor " STR_FMT ": no model of architecture \"%s\" and %u layers has it", STR_ARG(p->tensors.tensors[i].name),
              p->arch->name, p->n_layer);
  return !e->code;
}

static const struct arch *hf_arch(struct hf_config *c, struct bk_error *e) {
  const struct json *list = hf_member(c->root, STR("architectures")), *name = c->name = list ? list->first : NULL;
  if (!name || name->type != JSON_STRING) return err_set(e, ERR_DATA, "config.json names no architecture"), NULL;
  const struct arch *found = NULL;
  for (int i = 0; i < ARRAY_LEN(arch_table); i++) {
    struct str rest = str_from(arch_table[i]->hf ? arch_table[i]->hf->classes : ""), word, class, text;
    double x;
    while (hf_next(&rest, ' ', &word))
      if (hf_next(&word, '?', &class) && str_eq(class, name->string) && (word.len ? hf_value(c, word, &x, &text) && x != 0 : !found))
        found = arch_table[i];
  }
  if (!found) err_set(e, ERR_DATA, "not supported: architecture \"" STR_FMT "\"", STR_ARG(name->string));
  return found;
}

/* ---- decoders that rank: how likely they find "yes", or "no" ---- */

/* Is the name of such a model that of the folder, or a heading of what it says of itself? */
static bool hf_is_ranker(struct hf_plan *p, const char *dir, struct arena a, struct bk_error *e) {
  char path[OS_PATH], lower[OS_PATH];
  struct str text = STR_NONE;
  const struct arch *arch = hf_arch(&p->config, e);
  const char *name = arch && arch->hf->ranker ? arch->hf->ranker : NULL;
  if (!name) return arch != NULL;
  snprintf(path, sizeof path, "%s/README.md", dir);
  if (os_is_file(path) && !os_read_file(path, HF_TEXT, &a, &text, e)) return false;
  for (size_t i = 0; i <= sizeof lower; i++) // names in small letters
    if (i == sizeof lower || !(lower[i] = (char)(dir[i] >= 'A' && dir[i] <= 'Z' ? dir[i] + 32 : dir[i]))) break;
  lower[sizeof lower - 1] = 0;
  p->ranker = str_find(str_from(lower), str_from(name), 0) != SIZE_MAX;
  for (size_t at = 0; !p->ranker && (at = str_find(text, STR("# "), at)) != SIZE_MAX; at++)
    p->ranker = str_eq_any_case(str_slice(text, at + 2, at + 2 + strlen(name)), str_from(name));
  return true;
}

/* A layer behind the pooling: it must be where its tensors are looked for, and linear. */
static bool hf_dense(const struct hf_plan *p, const char *dir, const struct json *where, struct convert_keys *k, struct arena a,
                     struct bk_error *e) {
  char path[OS_PATH], tensor[128];
  struct str text;
  struct json *j;
  if (!where || where->type != JSON_STRING || where->string.len < 2 || where->string.len > 16)
    return err_set(e, ERR_DATA, "%s/modules.json: a dense layer has no path", dir);
  snprintf(tensor, sizeof tensor, "dense_%c.linear.weight", where->string.ptr[0]);
  const struct safetensor *t = safetensors_find(&p->tensors, str_from(tensor));
  if (!t || t->n_dims != 2 || !str_is(str_slice(where->string, 1, where->string.len), "_Dense"))
    return err_set(e, ERR_DATA, "%s: not supported: a dense layer without 2_Dense/ or 3_Dense/model.safetensors", dir);
  snprintf(path, sizeof path, "%s/" STR_FMT "/config.json", dir, STR_ARG(where->string));
  if (!os_read_file(path, HF_TEXT, &a, &text, e) || !json_parse(text, &a, &j, e)) return err_prefix(e, path), false;
  const struct json *act = json_get(j, "activation_function");
  for (int i = 0; i < 2; i++) {
    snprintf(tensor, sizeof tensor, "%s.dense_%c_feat_%s", p->arch->name, where->string.ptr[0], i ? "in" : "out");
    convert_keys_u32(k, str_from(tensor), (uint32_t)t->dim[i]);
  }
  return (act && str_ends(act->string, STR(".Identity"))) || err_set(e, ERR_DATA, "%s: not supported: a layer that is not linear", path);
}

/* modules.json and the configuration of its pooling: what sentence-transformers does with hidden states. */
static bool hf_pooling(const struct hf_plan *p, const char *dir, struct convert_keys *k, struct arena a, struct bk_error *e) {
  static const struct {
    const char *flag, *mode;
    uint32_t type;
  } ways[] = {{"pooling_mode_mean_tokens", "mean", 1}, {"pooling_mode_cls_token", "cls", 2}, {"pooling_mode_lasttoken", "lasttoken", 3}};
  char path[OS_PATH], key[128];
  struct str text;
  struct json *j;
  snprintf(key, sizeof key, "%s.pooling_type", p->arch->name);
  if (p->ranker) {
    convert_keys_u32(k, str_from(key), 4);
    snprintf(key, sizeof key, "%s.classifier.output_labels", p->arch->name);
    convert_keys_array(k, str_from(key), GGUF_STRING, ARRAY_LEN(hf_verdicts));
    for (int i = 0; i < ARRAY_LEN(hf_verdicts); i++) convert_keys_text(k, str_from(hf_verdicts[i]));
    return true;
  }
  snprintf(path, sizeof path, "%s/modules.json", dir);
  if (!os_is_file(path)) return true;
  if (!os_read_file(path, HF_TEXT, &a, &text, e) || !json_parse(text, &a, &j, e)) return err_prefix(e, path), false;
  const struct json *where = NULL, *type;
  for (const struct json *m = j->type == JSON_ARRAY ? j->first : NULL; m; m = m->next) {
    if (!(type = json_get(m, "type"))) continue;
    if (str_ends(type->string, STR("Pooling")) && !where) where = json_get(m, "path");
    if (str_ends(type->string, STR(".Dense")) && !hf_dense(p, dir, json_get(m, "path"), k, a, e)) return false;
  }
  if (!where) return true;
  if (where->type != JSON_STRING || str_find(where->string, STR(".."), 0) != SIZE_MAX || str_starts(where->string, STR("/")))
    return err_set(e, ERR_DATA, "%s: the pooling has no path below the folder", path);
  snprintf(path, sizeof path, "%s/" STR_FMT "/config.json", dir, STR_ARG(where->string));
  if (!os_read_file(path, HF_TEXT, &a, &text, e) || !json_parse(text, &a, &j, e)) return err_prefix(e, path), false;
  const struct json *mode = json_get(j, "pooling_mode"), *flag;
  for (int i = 0; i < ARRAY_LEN(ways); i++)
    if (((flag = json_get(j, ways[i].flag)) && flag->boolean) || (mode && str_is(mode->string, ways[i].mode)))
      return convert_keys_u32(k, str_from(key), ways[i].type), true;
  return err_set(e, ERR_DATA, "%s: not supported: a pooling that is none of mean, cls, lasttoken", path);
}

/* What sentence-transformers puts in front of texts, by name, and which of them when nobody says. */
static bool hf_prompts(const char *dir, struct convert_keys *k, struct arena a, struct bk_error *e) {
  char path[OS_PATH], key[128];
  struct str text;
  struct json *j;
  snprintf(path, sizeof path, "%s/config_sentence_transformers.json", dir);
  if (!os_is_file(path)) return true;
  if (!os_read_file(path, HF_TEXT, &a, &text, e) || !json_parse(text, &a, &j, e)) return err_prefix(e, path), false;
  const struct json *prompts = json_get(j, "prompts"), *first = json_get(j, "default_prompt_name");
  for (const struct json *m = prompts && prompts->type == JSON_OBJECT ? prompts->first : NULL; m; m = m->next) {
    if (m->type != JSON_STRING || m->key.len > 64) continue;
    snprintf(key, sizeof key, "embedding.prompt." STR_FMT, STR_ARG(m->key));
    convert_keys_string(k, str_from(key), m->string);
  }
  if (first && first->type == JSON_STRING) convert_keys_string(k, STR("embedding.default_prompt_name"), first->string);
  return true;
}

/* A vector that is computed, not read. */
static bool hf_made(struct hf_plan *p, const char *name, float *x, uint64_t n, struct bk_error *e) {
  if (p->n_outs == p->max_outs || !x) return err_set(e, ERR_OS, "no memory for %s", name);
  p->outs[p->n_outs++] = (struct hf_out){.t = {.name = str_from(name), .n_dims = 1, .dim = {n, 1, 1, 1}, .data = (const char *)x},
                                         .rows = n, .cols = 1, .n_pieces = 1};
  return true;
}

static double hf_or(const struct hf_config *c, const char *expression, double otherwise) {
  double x;
  struct str text;
  return hf_value(c, str_from(expression), &x, &text) ? x : otherwise;
}

/* One factor for every pair of dimensions, from an array of config.json. */
static bool hf_factors(struct hf_plan *p, const char *path, const char *name, uint64_t n, struct arena *a, struct bk_error *e) {
  const struct json *v = hf_find(&p->config, str_from(path)), *m = v ? v->first : NULL;
  float *x = ARENA_NEW(a, float, n + 1);
  if (!v || v->type != JSON_ARRAY || (uint64_t)v->count != n)
    return err_set(e, ERR_DATA, "config.json: %s: expected an array of %llu numbers", path, (unsigned long long)n);
  for (uint64_t i = 0; x && i < n; i++, m = m->next) x[i] = (float)m->number;
  return hf_made(p, name, x, n, e);
}

/* Scaled positions that need more than keys: llama3's factors, longrope's. */
static bool hf_rope(struct hf_plan *p, struct convert_keys *k, struct arena *a, struct bk_error *e) {
  static const char known[] = "default none linear yarn ntk dynamic mrope llama3 longrope su";
  const struct hf_config *c = &p->config;
  const struct json *named = hf_find(c, STR("rope.rope_type"));
  struct str type = named ? named->string : STR("default");
  uint32_t dims = hf_number(p->arch->hf, c, "rope.dimension_count");
  double full = hf_or(c, "max_position_embeddings", 0);
  double length = hf_or(c, "rope.original_max_position_embeddings|original_max_position_embeddings", 0);
  if (!type.len || !hf_holds(known, type)) return err_set(e, ERR_DATA, "not supported: rope scaling \"" STR_FMT "\"", STR_ARG(type));
  if (!dims) dims = hf_count(c, STR("head_dim|hidden_size/num_attention_heads"));
  if (str_is(type, "ntk") && hf_find(c, STR("rope.mixed_b")))
    return err_set(e, ERR_DATA, "not supported: rope scaling \"ntk\" with mixed_b");
  if (dims > 4096) return err_set(e, ERR_DATA, "config.json: %u dimensions are rotated, at most 4096 expected", dims);
  if (str_is(type, "llama3")) {
    double base = hf_or(c, "rope.rope_theta|rope_theta", 10000), factor = hf_or(c, "rope.factor", 8);
    double low = hf_or(c, "rope.low_freq_factor", 1), high = hf_or(c, "rope.high_freq_factor", 4);
    if (length <= 0) length = 8192;
    float *x = ARENA_NEW(a, float, dims / 2 + 1);
    for (uint32_t i = 0; x && i < dims / 2; i++) {
      double wave = 6.283185307179586 * pow(base, 2.0 * i / dims), smooth = (length / wave - low) / (high - low);
      x[i] = (float)(wave < length / high ? 1 : wave > length / low ? factor : 1 / ((1 - smooth) / factor + smooth));
    }
    return hf_made(p, "rope_freqs.weight", x, dims / 2, e);
  }
  if (!str_is(type, "longrope") && !str_is(type, "su")) return true;
  char key[128];
  snprintf(key, sizeof key, "%s.rope.scaling.attn_factor", p->arch->name);
  if (full <= 0 || length <= 1) return err_set(e, ERR_DATA, "config.json: longrope needs max_position_embeddings and the original one");
  convert_keys_f32(k, str_from(key), full > length ? (float)sqrt(1 + log(full / length) / log(length)) : 1);
  return hf_factors(p, "rope.long_factor", "rope_factors_long.weight", dims / 2, a, e) &&
         hf_factors(p, "rope.short_factor", "rope_factors_short.weight", dims / 2, a, e);
}

/* The tensor of expert i; of what is not stacked, the tensor. */
static const struct safetensor *hf_piece(const struct hf_plan *p, const struct hf_out *o, int i) {
  char name[1024];
  if (!o->number_len) return o->from;
  struct str n = o->from->name;
  struct str rest = str_slice(n, o->number + o->number_len, n.len);
  snprintf(name, sizeof name, "%.*s%d%.*s", (int)o->number, n.ptr, i, (int)rest.len, rest.ptr);
  return safetensors_find(&p->tensors, str_from(name));
}

/* The matrix of codes that expert i has; kind NONE: it has none. */
static bool hf_grid(struct hf_plan *p, const struct hf_out *o, int i, struct grid *out, struct bk_error *e) {
  const struct safetensor *t = hf_piece(p, o, i);
  *out = o->grid;
  return !o->grid.kind || !o->number_len ||
         grid_open(out, &p->tensors, t, str_slice(t->name, 0, t->name.len - (o->from->name.len - o->base.len)), &p->codes, e);
}

/* The format that takes the codes of all experts as they are; NULL: none, or there are no codes. */
static const struct quant *hf_codes(struct hf_plan *p, const struct hf_out *o, struct bk_error *e) {
  const struct quant *all = NULL;
  for (int i = 0; o->grid.kind && o->order != HF_TURNED && i < o->n_pieces; i++) {
    struct grid grid;
    if (!hf_grid(p, o, i, &grid, e)) return NULL;
    const struct quant *one = grid_format(&grid);
    if (!one || (all && one != all && (one == &quant_q8_0 || all == &quant_q8_0))) return NULL;
    all = all == &quant_q4_1 ? all : one;
  }
  return all;
}

static bool hf_whole_stack(const struct hf_plan *p, const struct hf_out *o, struct bk_error *e) {
  bool whole = !o->number_len || o->last == o->n_pieces - 1;
  for (int k = 0; whole && k < o->n_pieces; k++) whole = hf_piece(p, o, k) || !o->number_len;
  return whole || err_set(e, ERR_DATA, "tensor " STR_FMT ": of %d experts at least one is missing", STR_ARG(o->t.name), o->last + 1);
}

/* Formats, and whether all is there. */
static bool hf_finish(struct hf_plan *p, uint64_t *n_weights, struct bk_error *e) {
  static const char single[] = "_norm.weight ffn_gate_inp.weight ffn_gate_inp_shexp.weight position_embd.weight token_types.weight "
                               "ssm_conv1d.weight shortconv.conv.weight";
  const struct hf *hf = p->arch->hf;
  struct convert_plan c = {.mix = p->mix, .n_layer = p->n_layer, .n_expert = hf_number(hf, &p->config, "expert_count"), .tied = true,
                           .n_head = hf_number(hf, &p->config, "attention.head_count"),
                           .n_head_kv = hf_number(hf, &p->config, "attention.head_count_kv")};
  for (int i = 0; i < p->n_outs; i++) c.tied = c.tied && !str_is(p->outs[i].t.name, "output.weight");
  if (!c.n_head_kv) c.n_head_kv = c.n_head;
  for (int i = 0; i < p->n_outs; i++) {
    struct hf_out *o = &p->outs[i];
    if (!hf_whole_stack(p, o, e)) return false;
    if (o->number_len && o->t.n_dims < 4) o->t.dim[o->t.n_dims++] = (uint64_t)o->n_pieces;
    else if (o->number_len || o->cols > (uint64_t)CONVERT_BATCH * CONVERT_CHUNK)
      return err_set(e, ERR_DATA, "tensor " STR_FMT ": not supported: more than 4 dimensions, or rows of %llu weights", STR_ARG(o->t.name),
                     (unsigned long long)o->cols);
    bool small = o->t.n_dims < 2 || hf_holds(single, o->t.name) || !str_ends(o->t.name, STR(".weight"));
    const struct quant *own = small ? &quant_f32 : p->wide, *codes = hf_codes(p, o, e);
    o->t.type = own->type;
    o->to = p->mix ? convert_choose(&c, &o->t) : codes && !small ? codes : own;
    o->direct = codes && codes == o->to;
    *n_weights += o->rows * o->cols * (uint64_t)o->n_pieces;
  }
  return e->code ? false : p->n_outs > 0 || err_set(e, ERR_DATA, "the folder holds no weights");
}

/* ---- writing ---- */

struct hf_job {
  struct convert_job job;           // first: convert_batch takes it
  const struct hf_out *out;
  const struct safetensor *source;
  struct grid grid;
  uint64_t row, n_rows;             // of the batch
  char *rows;                       // (CONVERT_BATCH, CONVERT_CHUNK) weights, gathered
  uint32_t bad;
};

enum { HF_ROWS_AT_ONCE = 64 };

/* Rows of the batch as job.from has them: weights in the source's type or as floats, or blocks. */
static void hf_gather(void *context, int phase, int chunk, int thread) {
  struct hf_job *j = context;
  const struct hf_out *o = j->out;
  (void)phase, (void)thread;
  uint64_t first = (uint64_t)chunk * HF_ROWS_AT_ONCE, end = first + HF_ROWS_AT_ONCE < j->n_rows ? first + HF_ROWS_AT_ONCE : j->n_rows;
  const struct quant *source = j->source->type->quant, *to = j->job.from;
  size_t row_bytes = (size_t)(o->cols / (uint64_t)to->block) * to->block_bytes;
  for (uint64_t r = first; r < end; r++) {
    uint64_t step, at = hf_place(o, j->row + r, &step);
    char *out = j->rows + r * row_bytes;
    if (j->grid.kind && to->block == 1 && step == 1) {
      grid_weights(&j->grid, at / o->in_cols, at % o->in_cols, o->cols, (float *)(void *)out);
      continue;
    }
    for (uint64_t c = 0; c < o->cols; c += (uint64_t)to->block, out += to->block_bytes, at += step * (uint64_t)to->block) {
      float x;
      if (to->block > 1) {
        if (!grid_block(&j->grid, to, at / o->in_cols, at % o->in_cols, out)) __atomic_store_n(&j->bad, 1, __ATOMIC_RELAXED);
      } else if (j->grid.kind) {
        grid_weights(&j->grid, at / o->in_cols, at % o->in_cols, 1, &x);
        memcpy(out, &x, sizeof x);
      } else if (o->plus != 0) {
        source->decode(j->source->data + at * source->block_bytes, &x);
        x += (float)o->plus;
        memcpy(out, &x, sizeof x);
      } else if (step == 1) {
        memcpy(out, j->source->data + at * source->block_bytes, row_bytes);
        break;
      } else {
        memcpy(out, j->source->data + at * source->block_bytes, source->block_bytes);
      }
    }
  }
}

/* One piece of a tensor, in batches of whole rows. */
static bool hf_write_piece(struct hf_job *j, uint64_t *done, uint64_t total) {
  const struct hf_out *o = j->out;
  struct bk_error *e = j->job.writer.error;
  const struct quant *source = o->from ? j->source->type->quant : &quant_f32;
  bool plain = o->order == HF_AS_IS && o->plus == 0 && !j->grid.kind;
  uint64_t most = (uint64_t)CONVERT_BATCH * CONVERT_CHUNK / o->cols;
  j->job.from = o->direct ? o->to : plain || (!j->grid.kind && o->plus == 0) ? source : &quant_f32;
  for (j->row = 0; j->row < o->rows && !e->code; j->row += j->n_rows) {
    if (j->job.progress) j->job.progress((double)*done / (double)total);
    j->n_rows = o->rows - j->row < most ? o->rows - j->row : most;
    j->job.n_weights = (size_t)(j->n_rows * o->cols);
    int chunks = (int)((j->n_rows + HF_ROWS_AT_ONCE - 1) / HF_ROWS_AT_ONCE);
    j->job.in = plain ? (o->from ? j->source->data : o->t.data) + j->row * o->cols * source->block_bytes : j->rows;
    if (!plain) cpu_pool_run(&j->job.pool, 1, &chunks, hf_gather, j);
    if (j->bad) return err_set(e, ERR_DATA, "tensor " STR_FMT " has a scale that is no number of half precision", STR_ARG(o->t.name));
    if (!convert_batch(&j->job)) return false;
    *done += j->job.n_weights;
  }
  if (o->from) os_forget(j->source->data, j->source->n_bytes);
  return !e->code;
}

static bool hf_write(struct hf_job *j, struct hf_plan *p, const struct convert_keys k[HF_SETS], uint64_t total, struct bk_error *e) {
  struct convert_writer *w = &j->job.writer;
  uint64_t offset = 0, done = 0, alignment = 32;
  convert_header(w, p->n_outs, k[HF_GENERAL].n + k[HF_OWN].n + k[HF_WORDS].n);
  for (int i = 0; i < HF_SETS; i++) convert_put(w, buf_str(&k[i].bytes));
  for (int i = 0; i < p->n_outs; i++) {
    const struct hf_out *o = &p->outs[i];
    convert_tensor(w, &o->t, o->to, offset);
    uint64_t n = o->rows * o->cols * (uint64_t)o->n_pieces;
    offset += size_align((size_t)(n / (uint64_t)o->to->block) * o->to->block_bytes, (size_t)alignment);
  }
  for (int i = 0; i < p->n_outs && !e->code; i++) {
    j->out = &p->outs[i];
    j->job.tensor = &j->out->t;
    j->job.to = j->out->to;
    convert_pad(w, alignment);
    for (int piece = 0; piece < j->out->n_pieces; piece++) {
      j->source = j->out->from ? hf_piece(p, j->out, piece) : NULL;
      if (!j->source) j->grid.kind = GRID_NONE;
      else if (!hf_grid(p, j->out, piece, &j->grid, e)) return false;
      if (!hf_write_piece(j, &done, total)) return false;
    }
  }
  convert_pad(w, alignment);
  return !e->code;
}

/* What was written is a model: nothing is missing and every shape is as its keys say. Before it gets its name. */
static bool hf_verify(struct convert_writer *w, struct bk_error *e) {
  static struct model m;
  struct bk_error why = {0};
  if (!os_write(&w->out, buf_str(&w->buffer), e)) return false;
  w->buffer.len = 0;
  if (model_open(&m, os_unfinished, &(struct model_options){.max_rows = 1}, &why)) return model_close(&m), true;
  struct str said = str_from(why.message), name = str_from(os_unfinished);
  if (str_starts(said, name)) said = str_slice(said, name.len + 2, said.len); // ": "
  return err_set(e, why.code, "what it says of itself and what it holds do not go together: " STR_FMT, STR_ARG(said));
}

/* ---- the folder ---- */

static bool hf_config(struct hf_config *c, const struct json *root) {
  *c = (struct hf_config){.root = root, .text = hf_member(root, STR("text_config"))};
  c->rope = hf_find(c, STR("rope_parameters"));
  if (!c->rope) c->rope = hf_find(c, STR("rope_scaling"));
  const struct json *full = hf_member(c->rope, STR("full_attention"));
  if (full) c->rope = full;
  return true;
}

static bool hf_read_config(struct hf_config *c, const char *dir, struct arena *a, struct bk_error *e) {
  char path[OS_PATH];
  struct str text;
  struct json *root;
  snprintf(path, sizeof path, "%s/config.json", dir);
  if (!os_is_directory(dir)) return err_set(e, ERR_NOINPUT, "%s: no such folder", dir);
  if (!os_read_file(path, HF_TEXT, a, &text, e)) return false;
  if (!json_parse(text, a, &root, e)) return err_prefix(e, path), false;
  return hf_config(c, root);
}

static const struct json *hf_first(const struct hf_config *c, const char *a, const char *b) {
  const struct json *v = hf_find(c, str_from(a));
  return v ? v : hf_find(c, str_from(b));
}

/* quantization_config: by whom the weights were made codes. */
static bool hf_read_quantization(const struct hf_config *c, struct grid_config *g, struct bk_error *e) {
  *g = (struct grid_config){GRID_NONE, 4, 0, 0, 0};
  const struct json *q = hf_find(c, STR("quantization_config"));
  if (!q) return true;
  struct str method = STR("?"), format = STR(""), version = STR("gptq");
  const struct json *v = hf_member(q, STR("quant_method")), *block;
  if (v) method = v->string;
  if ((v = hf_member(q, STR("format")))) format = v->string;
  if ((v = hf_member(q, STR("checkpoint_format")))) version = v->string;
  uint32_t bits = hf_count(c, STR("quantization_config.bits|quantization_config.w_bit|"
                                  "quantization_config.config_groups.group_0.weights.num_bits|4"));
  block = hf_first(c, "quantization_config.weight_block_size", "quantization_config.config_groups.group_0.weights.block_structure");
  if (block && block->type == JSON_ARRAY && block->count == 2 && block->first->integer > 0 && block->first->next->integer > 0)
    g->tall = (uint64_t)block->first->integer, g->wide = (uint64_t)block->first->next->integer;
  if (str_is(method, "fp8") || (str_is(method, "compressed-tensors") && hf_holds("float-quantized int-quantized naive-quantized", format)))
    return true;
  if (str_is(method, "gptq")) g->kind = GRID_GPTQ, g->zero = !str_is(version, "gptq_v2");
  else if (str_is(method, "awq")) g->kind = GRID_AWQ;
  else if (str_is(method, "compressed-tensors") && str_is(format, "pack-quantized")) g->kind = GRID_PACKED, g->zero = bits == 8 ? 128 : 8;
  if (g->kind && (bits == 4 || (bits == 8 && g->kind != GRID_AWQ))) return g->bits = (int)bits, true;
  return err_set(e, ERR_DATA, "not supported: weights quantized by \"" STR_FMT "%s" STR_FMT "\" to %u bits", STR_ARG(method),
                 format.len ? " " : "", STR_ARG(format), bits);
}

/* What matrices become if nothing is said: what the first of them is, if that has 16 bits. */
static const struct quant *hf_wide(const struct safetensors *s) {
  for (int i = 0; i < s->n; i++)
    if (s->tensors[i].n_dims > 1 && (s->tensors[i].type->quant == &quant_f16 || s->tensors[i].type->quant == &quant_bf16))
      return s->tensors[i].type->quant;
  return &quant_f16;
}

static const char *hf_general_keys(struct convert_keys *k, const struct hf_plan *p, const char *dir) {
  struct str name = str_from(dir);
  const struct convert_mix *mix = p->mix;
  uint64_t most = 0;
  while (name.len > 1 && name.ptr[name.len - 1] == '/') name.len--;
  for (size_t i = name.len; i > 0; i--)
    if (name.ptr[i - 1] == '/') {
      name = str_slice(name, i, name.len);
      break;
    }
  if (!mix) mix = convert_mix_named(str_from(p->wide->name));
  for (int i = 0; i < p->n_outs && !p->mix; i++) // codes kept: the file is named after the widest spread of them
    if (p->outs[i].direct && p->outs[i].rows * p->outs[i].cols > most) {
      most = p->outs[i].rows * p->outs[i].cols;
      mix = convert_mix_named(str_from(p->outs[i].to->name));
    }
  convert_keys_string(k, STR("general.architecture"), str_from(p->arch->name));
  convert_keys_string(k, STR("general.type"), STR("model"));
  convert_keys_string(k, STR("general.name"), name);
  convert_keys_u32(k, STR("general.file_type"), mix->file_type);
  convert_keys_u32(k, STR("general.quantization_version"), 2);
  return mix->name;
}

/* What becomes of the configuration and the tensors, which are there, and of the words. */
static bool hf_plan(struct hf_plan *p, struct convert_keys k[HF_SETS], uint64_t *n_weights, struct arena *a, struct bk_error *e) {
  if (!(p->arch = hf_arch(&p->config, e)) || !hf_read_quantization(&p->config, &p->codes, e)) return false;
  p->n_layer = hf_number(p->arch->hf, &p->config, "block_count");
  if (!p->n_layer || p->n_layer > 1024) return err_set(e, ERR_DATA, "config.json: %u layers, expected 1 to 1024", p->n_layer);
  p->max_outs = 2 * p->tensors.n + 8;
  p->outs = ARENA_NEW(a, struct hf_out, (size_t)p->max_outs);
  if (!p->outs) return err_set(e, ERR_OS, "no memory for %d tensors", p->max_outs);
  p->wide = hf_wide(&p->tensors);
  p->words = buf_str(&k[HF_WORDS].bytes);
  return hf_map(p, a, e) && hf_rope(p, &k[HF_OWN], a, e) && hf_finish(p, n_weights, e) && hf_all_keys(p->arch, &p->config, &k[HF_OWN], e);
}

/* Everything up to the first byte that is written. */
static bool hf_prepare(struct hf_plan *p, const char *dir, const char *type, struct convert_keys k[HF_SETS], struct convert_report *r,
                       struct arena *a, struct bk_error *e) {
  if (type && !(p->mix = convert_mix_of(type, e))) return false;
  struct arena scratch = {a->beg + (a->end - a->beg) / 2, a->end}; // headers, the tokenizer: what is soon forgotten
  a->end = scratch.beg;
  for (int i = 0; i < HF_SETS; i++)
    if (!(k[i].bytes = buf_new(a, i == HF_WORDS ? HF_KEYS : 1 << 20)).cap) return err_set(e, ERR_OS, "%s: no memory for its keys", dir);
  if (!hf_read_config(&p->config, dir, a, e) || !hf_arch(&p->config, e) || !safetensors_open(&p->tensors, dir, a, scratch, e) ||
      !convert_tokenizer(dir, "", &k[HF_WORDS], &scratch, e) || !hf_is_ranker(p, dir, scratch, e) || !hf_plan(p, k, &r->n_weights, a, e) ||
      !hf_pooling(p, dir, &k[HF_OWN], scratch, e) || !hf_prompts(dir, &k[HF_OWN], scratch, e))
    return false;
  r->type = hf_general_keys(&k[HF_GENERAL], p, dir);
  for (int i = 0; i < p->tensors.n_files; i++) r->bytes_in += p->tensors.files[i].size;
  return !(k[HF_GENERAL].bytes.full || k[HF_OWN].bytes.full) || err_set(e, ERR_DATA, "%s: too many keys", dir);
}

/* Writes the folder `dir` to `out`, its matrices as `type` names it (NULL: 16 bits, and codes as they are). n_threads 0:
 * all there are. Error: usage, no such folder, bad data, whatever reading and writing may meet; then `out` is as it was. */
static bool hf_convert(const char *dir, const char *out, const char *type, int n_threads, void (*progress)(double share),
                       struct convert_report *r, struct bk_error *e) {
  static struct hf_plan p;
  struct convert_keys k[HF_SETS] = {{.n = 0}};
  *r = (struct convert_report){0};
  p = (struct hf_plan){.n_outs = 0};
  struct arena whole = os_reserve(HF_MEMORY, e), a = whole;
  struct hf_job j = {.job = {.progress = progress}};
  bool ok = whole.beg && hf_prepare(&p, dir, type, k, r, &a, e);
  for (int i = 0; i < p.tensors.n_files && ok; i++)
    if (os_is_same(out, &p.tensors.files[i])) ok = err_set(e, ERR_USAGE, "%s: this is a file that is read; write to another", out);
  if (ok) {
    j.job.out = arena_raw(&a, (size_t)CONVERT_BATCH * CONVERT_CHUNK, sizeof(float), 64);
    j.rows = arena_raw(&a, (size_t)CONVERT_BATCH * CONVERT_CHUNK, sizeof(float), 64);
    if (!j.job.out || !j.rows) err_set(e, ERR_OS, "%s: no memory for a batch of weights", dir);
    ok = !e->code && cpu_pool_open(&j.job.pool, n_threads > 0 ? n_threads : os_cpu_count(), 1, &a, e);
    if (ok && convert_begin(&j.job.writer, out, &a, e)) {
      if (hf_write(&j, &p, k, r->n_weights, e) && !hf_verify(&j.job.writer, e)) err_prefix(e, dir);
      convert_end(&j.job.writer);
    }
    cpu_pool_close(&j.job.pool);
  }
  r->bytes_out = j.job.writer.at;
  safetensors_close(&p.tensors);
  os_release(whole);
  err_prefix(e, dir);
  return !e->code;
}
