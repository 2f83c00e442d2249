/* verify.c -- `bodkin verify`: a certificate of a model file, as one JSON object. Every check has a name, what was
 * found, and the seconds it took; one that fails makes the file unsound, a warning does not.
 *
 * The file is opened and run as any other command does it, so what is said is what will happen. A file that opens as
 * GGUF and not as a model gets its certificate too: what of it is not supported, and whatever can be looked at without
 * running it. Time and memory are bounded: weights are read once, in pieces that are given back; runs are 48 tokens long.
 * SPDX-License-Identifier: MIT */

enum {
  VERIFY_REPORT = 1 << 20, // bytes
  VERIFY_NAMED = 8,        // things of a kind that are named; the others are counted
  VERIFY_STRIPES = 4096,   // pieces in which the threads take the tensors
  VERIFY_PIECE = 1 << 20,  // bytes of weights between two returns of memory
  VERIFY_TOKENS = 48,      // of the forward pass
  VERIFY_KEPT = 8,         // of its positions are compared with the exact path
  VERIFY_CONTEXT = 64,     // of the exact path
  VERIFY_CONTROLS = 8192,  // control tokens that are tried in messages; each of the first VERIFY_ALONE alone as well
  VERIFY_ALONE = 1024,
  VERIFY_TOGETHER = 32,    // in one message
  VERIFY_IDS = 1 << 15     // of a rendered conversation
};

struct verify {
  struct engine *g;
  struct buf out;
  struct buf failed;                  // names of the checks that failed
  void (*progress)(const char *name); // called before a check; NULL: nobody looks
  const char *name;                   // of the running check
  double start;
  int checks, failures, warnings;
};

enum verify_result { VERIFY_GOOD, VERIFY_WARNING, VERIFY_BAD };

static void verify_begin(struct verify *v, const char *name) {
  v->name = name;
  v->start = os_seconds();
  if (v->progress) v->progress(name);
}

static void verify_end(struct verify *v, enum verify_result result, const struct buf *detail) {
  buf_printf(&v->out, "%s\n  {\"name\":\"%s\",\"ok\":%s,\"warning\":%s,\"detail\":", v->checks ? "," : "", v->name,
             result == VERIFY_BAD ? "false" : "true", result == VERIFY_WARNING ? "true" : "false");
  json_put_string(&v->out, buf_str(detail));
  buf_printf(&v->out, ",\"seconds\":%.3f}", os_seconds() - v->start);
  if (result == VERIFY_BAD) buf_printf(&v->failed, v->failed.len ? ", %s" : "%s", v->name);
  v->checks++;
  v->failures += result == VERIFY_BAD;
  v->warnings += result == VERIFY_WARNING;
}

#define VERIFY_DETAIL(d)    \
  char d##_memory[1536];    \
  struct buf d = {d##_memory, 0, sizeof d##_memory, false}

/* One more of a kind: the first few are named, "; " between them. */
static bool verify_more(struct buf *d, int *n) {
  if (++*n > VERIFY_NAMED) return false;
  if (d->len) buf_put(d, STR("; "));
  return true;
}

static void verify_rest(struct buf *d, int n) {
  if (n > VERIFY_NAMED) buf_printf(d, "; and %d more", n - VERIFY_NAMED);
}

/* ---- the file ---- */

/* Whether the file is sound so far. */
static bool verify_structure(struct verify *v, bool opened, const struct bk_error *e) {
  VERIFY_DETAIL(d);
  verify_begin(v, "structure");
  bool words = !opened && v->g->model.gguf.n_tensors == 0 && v->g->model.vocab;
  if (opened) buf_printf(&d, "%d keys, %d tensors: shapes and ranges are as the architecture wants them", v->g->model.gguf.n_keys,
                         v->g->model.gguf.n_tensors);
  else buf_put(&d, words ? STR("a vocabulary without weights") : str_from(e->message));
  verify_end(v, opened ? VERIFY_GOOD : words ? VERIFY_WARNING : VERIFY_BAD, &d);
  return opened || words;
}

/* Everything that is not supported, one by one; opening stops at the first. */
static void verify_support(struct verify *v, const struct bk_error *tokenizer) {
  const struct gguf *g = &v->g->model.gguf;
  struct str name = STR_NONE;
  int n = 0;
  VERIFY_DETAIL(d);
  verify_begin(v, "supported");
  bool known = !gguf_string(gguf_find(g, STR("general.architecture")), &name) || g->n_tensors == 0;
  for (int i = 0; i < ARRAY_LEN(arch_table); i++) known = known || str_is(name, arch_table[i]->name);
  if (!known && verify_more(&d, &n)) buf_printf(&d, "architecture \"" STR_FMT "\"", STR_ARG(name));
  if (str_starts(str_from(tokenizer->message), STR("not supported")) && verify_more(&d, &n))
    buf_put(&d, str_slice(str_from(tokenizer->message), sizeof "not supported:", SIZE_MAX));
  for (int i = 0; i < g->n_tensors && n <= VERIFY_NAMED; i++) {
    uint32_t type = g->tensors[i].type;
    int first = 0, count = 0;
    if (quant_find(type)) continue;
    while (g->tensors[first].type != type) first++;
    for (int k = i; first == i && k < g->n_tensors; k++) count += g->tensors[k].type == type;
    if (first == i && verify_more(&d, &n))
      buf_printf(&d, "weight type %u (%d tensors, the first is " STR_FMT ")", type, count, STR_ARG(g->tensors[i].name));
  }
  verify_rest(&d, n);
  if (n == 0) buf_put(&d, STR("architecture, tokenizer and every weight format"));
  verify_end(v, n ? VERIFY_BAD : VERIFY_GOOD, &d);
}

/* What the architecture did not ask for. */
static void verify_unused(struct verify *v) {
  const struct gguf *g = &v->g->model.gguf;
  int n = 0;
  VERIFY_DETAIL(d);
  verify_begin(v, "unused tensors");
  for (int i = 0; i < g->n_tensors; i++)
    if (!g->tensors[i].data && verify_more(&d, &n)) buf_put(&d, str_slice(g->tensors[i].name, 0, 100));
  verify_rest(&d, n);
  if (n == 0) buf_put(&d, STR("none"));
  verify_end(v, n ? VERIFY_WARNING : VERIFY_GOOD, &d);
}

/* A file that has the name and the size of the catalogue's must have its checksum. */
static void verify_checksum(struct verify *v, const char *path, struct arena a) {
  const struct gguf *g = &v->g->model.gguf;
  enum verify_result result = VERIFY_GOOD;
  struct store_entry *all = NULL;
  const char *slash = strrchr(path, '/');
  VERIFY_DETAIL(d);
  verify_begin(v, "checksum");
  int n = store_catalogue(&a, &all), known = 0;
  while (known < n && (!all[known].sha256.len || !str_is(all[known].file, slash ? slash + 1 : path))) known++;
  for (int i = 0; i < g->n_files; i++) {
    struct str file = {g->files[i].ptr, g->files[i].size};
    struct hash_sha256 h = hash_sha256_init();
    struct store_entry entry;
    uint8_t digest[32];
    char hex[65];
    for (size_t at = 0; at < file.len; at += VERIFY_PIECE) {
      struct str piece = str_slice(file, at, at + VERIFY_PIECE);
      hash_sha256_update(&h, piece);
      os_forget(piece.ptr, piece.len);
    }
    hash_sha256_final(&h, digest);
    hash_hex(digest, hex);
    buf_printf(&d, "%ssha256 %s", i ? "; " : "", hex);
    if (store_by_sha256(str_from(hex), &a, &entry)) {
      buf_printf(&d, ", the catalogue's " STR_FMT, STR_ARG(entry.name));
    } else if (known < n && i == 0) {
      buf_printf(&d, ", expected " STR_FMT ", the catalogue's " STR_FMT, STR_ARG(all[known].sha256), STR_ARG(all[known].name));
      result = all[known].bytes == file.len ? VERIFY_BAD : VERIFY_WARNING; // of another size: another file of that name
    }
  }
  verify_end(v, result, &d);
}

/* ---- weights ---- */

struct verify_tensor {
  uint64_t n, bad, first; // weights; NaNs and infinities; which is the first of them
  float most;             // largest absolute value
  bool looked;            // it is of a supported type and inside the file
};

struct verify_weights {
  const struct gguf *g;
  struct verify_tensor *t; // (n_tensors)
  int stripes;
};

static void verify_tensor(const struct gguf *g, struct gguf_tensor t, struct verify_tensor *out) {
  const struct quant *q = quant_find(t.type);
  struct bk_error e = {0, ""};
  uint64_t aligned[64]; // a block is at most 512 bytes of 256 weights
  float y[256];
  if (!q || !gguf_locate(g, &t, (size_t)q->block, q->block_bytes, &e)) return;
  out->looked = true;
  size_t given = 0;
  for (size_t at = 0; at < t.n_bytes; at += q->block_bytes) {
    memcpy(aligned, t.data + at, q->block_bytes);
    q->decode(aligned, y);
    for (int k = 0; k < q->block; k++) {
      float size = y[k] < 0 ? -y[k] : y[k];
      if (y[k] - y[k] != 0 && out->bad++ == 0) out->first = out->n + (uint64_t)k;
      if (size > out->most) out->most = size;
    }
    out->n += (uint64_t)q->block;
    if (at - given < VERIFY_PIECE) continue;
    os_forget(t.data + given, at - given);
    given = at;
  }
  os_forget(t.data + given, t.n_bytes - given);
}

static void verify_stripe(void *context, int phase, int chunk, int thread) {
  struct verify_weights *w = context;
  (void)phase, (void)thread;
  for (int i = chunk; i < w->g->n_tensors; i += w->stripes) verify_tensor(w->g, w->g->tensors[i], &w->t[i]);
}

static void verify_weights(struct verify *v, struct arena a) {
  const struct gguf *g = &v->g->model.gguf;
  struct verify_weights w = {g, ARENA_NEW(&a, struct verify_tensor, (size_t)g->n_tensors), 0};
  int bad = 0, zero = 0, looked = 0, largest = 0;
  uint64_t n = 0;
  VERIFY_DETAIL(d);
  VERIFY_DETAIL(zeros);
  verify_begin(v, "weights");
  w.stripes = g->n_tensors < VERIFY_STRIPES ? g->n_tensors : VERIFY_STRIPES;
  if (w.t && v->g->cpu.pool.claim) cpu_pool_run(&v->g->cpu.pool, 1, &w.stripes, verify_stripe, &w);
  else for (int i = 0; w.t && i < w.stripes; i++) verify_stripe(&w, 0, i, 0);
  for (int i = 0; w.t && i < g->n_tensors; i++) {
    const struct verify_tensor *t = &w.t[i];
    const struct gguf_tensor *from = &g->tensors[i];
    looked += t->looked;
    n += t->n;
    if (t->most > w.t[largest].most) largest = i;
    if (t->bad && verify_more(&d, &bad))
      buf_printf(&d, "tensor " STR_FMT ": %llu of %llu weights are NaN or infinite, the first is column %llu of row %llu",
                 STR_ARG(from->name), (unsigned long long)t->bad, (unsigned long long)t->n,
                 (unsigned long long)(t->first % from->dim[0]), (unsigned long long)(t->first / from->dim[0]));
    if (t->looked && !t->bad && t->most == 0 && from->dim[1] > 1 && verify_more(&zeros, &zero))
      buf_put(&zeros, str_slice(from->name, 0, 100));
  }
  verify_rest(&d, bad);
  verify_rest(&zeros, zero);
  if (!bad)
    buf_printf(&d, "%d of %d tensors, %.3f million weights, all finite", looked, g->n_tensors, (double)n / 1e6);
  if (!bad && looked) buf_printf(&d, "; the largest is %.6g, in " STR_FMT, (double)w.t[largest].most, STR_ARG(g->tensors[largest].name));
  verify_end(v, bad || !w.t ? VERIFY_BAD : VERIFY_GOOD, &d);
  verify_begin(v, "zero matrices");
  if (!zero) buf_put(&zeros, STR("none"));
  verify_end(v, zero ? VERIFY_WARNING : VERIFY_GOOD, &zeros);
}

/* ---- tokenizer ---- */

static const char *const verify_texts[] = { // every character class that a pre-tokenizer knows, and what breaks careless ones
  "Hello, world!", "  leading spaces\tand\ttabs\n\nand lines\r\n", "1234567890 3.14 x2", "It's we'll they've DON'T",
  "na\xC3\xAFve caf\xC3\xA9 \xC3\x9F \xE4\xBD\xA0\xE5\xA5\xBD \xD0\x9F\xD1\x80\xD0\xB8 \xF0\x9F\x98\x80", "\x01\x7F", "",
  "trailing   ", "a  b   c    d", "\n\n\n\n", "e\xCC\x81 \xE2\x80\x8D\xE2\x80\x8B\xEF\xBB\xBF",
  "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7", "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xD9\x85\xD8\xB1",
  "\xE0\xA4\xA8\xE0\xA4\xAE \xE0\xB8\xAA\xE0\xB8\xA7\xE0\xB8\xB1 \xED\x95\x9C\xEA\xB5\xAD", "<|x|> [INST] </s> {{ x }} {% x %}",
  "for (int i = 0; i < n; i++) { x[i] += y->z; } // \\n", "https://example.org/?a=b&c=%20d#e"};

/* Text to ids and back, the same bytes? `n` ids are left in `ids`. */
static bool verify_round(const struct vocab *v, struct str text, bool parse, struct arena a, int32_t *ids, int max, int *n,
                         struct bk_error *e) {
  if (!token_encode(v, text, (struct token_options){false, parse}, a, ids, max, n, e)) return false;
  struct buf back = buf_new(&a, v->max_piece * (size_t)*n + 16);
  for (int i = 0; i < *n; i++) token_piece(v, ids[i], &back);
  struct str got = buf_str(&back);
  if (got.len == text.len + 1 && got.ptr[0] == ' ') got = str_slice(got, 1, got.len); // the space SentencePiece puts first
  return str_eq(got, text);
}

static bool verify_normalises(const struct vocab *v) { return v->kind == TOKEN_WORDPIECE || v->kind == TOKEN_UNIGRAM; }

static void verify_tokenizer(struct verify *r, const struct bk_error *tokenizer, struct arena a) {
  const struct vocab *v = r->g->model.vocab;
  int bad = 0, n;
  VERIFY_DETAIL(d);
  verify_begin(r, "tokenizer");
  if (!v) buf_put(&d, tokenizer->code ? str_from(tokenizer->message) : STR("none: the file has no vocabulary"));
  for (int i = 0; v && i < ARRAY_LEN(verify_texts); i++) {
    struct arena scratch = a;
    struct bk_error e = {0, ""};
    size_t bound = token_bound(v, strlen(verify_texts[i])) + 1;
    int32_t *ids = ARENA_NEW(&scratch, int32_t, bound);
    bool same = ids && verify_round(v, str_from(verify_texts[i]), false, scratch, ids, (int)bound, &n, &e);
    if (!ids || e.code || (!same && !verify_normalises(v)))
      if (verify_more(&d, &bad)) buf_printf(&d, "\"%s\": %s", verify_texts[i], e.code ? e.message : "does not come back");
  }
  if (v && !bad) buf_printf(&d, "%d texts %s", ARRAY_LEN(verify_texts), verify_normalises(v) ? "give ids" : "come back as they were");
  verify_end(r, bad || tokenizer->code ? VERIFY_BAD : v ? VERIFY_GOOD : VERIFY_WARNING, &d);
}

/* The piece of every token, to ids and back. */
static void verify_tokens(struct verify *r, struct arena a) {
  const struct vocab *v = r->g->model.vocab;
  int bad = 0, itself = 0, twice = 0, empty = 0, n = 0, bound = (int)token_bound(v, v->max_piece) + 1;
  int32_t *ids = ARENA_NEW(&a, int32_t, (size_t)bound);
  struct buf piece = buf_new(&a, v->max_piece + 16);
  struct bk_error e = {0, ""};
  VERIFY_DETAIL(d);
  verify_begin(r, "tokens");
  for (int32_t id = 0; ids && piece.cap && id < v->n_tokens && !e.code; id++) {
    bool special = (v->attr[id] & (TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN)) != 0;
    struct str text = token_text(v, id);
    piece.len = 0;
    token_piece(v, id, &piece);
    empty += text.len == 0;
    twice += text.len && token_find(v, text) != id;
    if (!piece.len || (special && text.len > TOKEN_MAX_SPECIAL)) continue;
    bool led = !special && v->add_space_prefix && piece.len > 1 && piece.ptr[0] == ' '; // encoding puts it there
    bool same = verify_round(v, str_slice(buf_str(&piece), led, piece.len), special, a, ids, bound, &n, &e);
    itself += n == 1 && ids[0] == id;
    if ((!same && !verify_normalises(v)) || e.code)
      if (verify_more(&d, &bad))
        buf_printf(&d, "token %d \"" STR_FMT "\": %s", (int)id, STR_ARG(text), e.code ? e.message : "does not come back");
  }
  verify_rest(&d, bad);
  if (!bad) buf_printf(&d, verify_normalises(v) ? "%d pieces give ids" : "%d pieces come back as they were", (int)v->n_tokens - empty);
  buf_printf(&d, "; %d as the one token, %d are written like another, %d are empty", itself, twice, empty);
  verify_end(r, bad ? VERIFY_BAD : VERIFY_GOOD, &d);
}

static void verify_special_ids(struct verify *r) {
  const struct gguf *g = &r->g->model.gguf;
  const struct vocab *v = r->g->model.vocab;
  int bad = 0, n = 0;
  VERIFY_DETAIL(d);
  verify_begin(r, "special ids");
  for (int i = 0; i < g->n_keys; i++) {
    struct str name = g->keys[i].name;
    int64_t id = -1;
    if (!str_starts(name, STR("tokenizer.ggml.")) || !str_ends(name, STR("_token_id"))) continue;
    bool whole = !g->keys[i].value.is_array && gguf_int(&g->keys[i].value, 0, &id);
    n++;
    if (whole && (id == -1 || id == UINT32_MAX || (id >= 0 && id < v->n_tokens))) continue;
    if (verify_more(&d, &bad)) buf_printf(&d, STR_FMT " is %lld, but there are %d tokens", STR_ARG(name), (long long)id, (int)v->n_tokens);
  }
  verify_rest(&d, bad);
  if (!bad) buf_printf(&d, "%d keys name tokens; %d tokens end an answer", n, v->n_eog);
  verify_end(r, bad ? VERIFY_BAD : v->n_eog || verify_normalises(v) ? VERIFY_GOOD : VERIFY_WARNING, &d);
}

/* Merges of tokens that are there, into one that is there. */
static void verify_merges(struct verify *r) {
  const struct vocab *v = r->g->model.vocab;
  const struct gguf_value *merges = gguf_find(&r->g->model.gguf, STR("tokenizer.ggml.merges"));
  struct str merge;
  int bad = 0;
  size_t at = 0;
  if (!v->pairs || !merges) return;
  VERIFY_DETAIL(d);
  verify_begin(r, "merges");
  for (uint64_t rank = 0; gguf_next_string(merges, &at, &merge); rank++) {
    size_t space = str_find(merge, STR(" "), 1); // there is one: the vocabulary was loaded
    struct str left = str_slice(merge, 0, space), right = str_slice(merge, space + 1, merge.len);
    if (token_find(v, left) >= 0 && token_find(v, right) >= 0 && token_find_joined(v, left, right) >= 0) continue;
    if (verify_more(&d, &bad)) buf_printf(&d, "merge %llu \"" STR_FMT "\" is of no tokens", (unsigned long long)rank, STR_ARG(merge));
  }
  verify_rest(&d, bad);
  if (!bad) buf_printf(&d, "%llu, all of tokens that are there", (unsigned long long)merges->count);
  verify_end(r, bad ? VERIFY_WARNING : VERIFY_GOOD, &d);
}

/* ---- chat ---- */

struct verify_chat {
  const struct engine *g;
  struct arena a;
  const struct json *tools, *kwargs;
  int32_t *ids; // (VERIFY_IDS)
  int n;
};

static bool verify_render(struct verify_chat *c, struct str messages, struct bk_error *e) {
  struct arena a = c->a;
  struct json *parsed;
  if (!json_parse(messages, &a, &parsed, e)) return false;
  struct chat_input in = {.messages = parsed, .tools = c->tools, .kwargs = c->kwargs, .now = STR("2026-01-15T12:34:56"),
                          .add_generation_prompt = true};
  return engine_chat(c->g, &in, a, c->ids, VERIFY_IDS, &c->n, e);
}

#define VERIFY_SYSTEM "{\"role\":\"system\",\"content\":\"Be brief.\"}"
#define VERIFY_USER "{\"role\":\"user\",\"content\":\"Hello\"}"
static const struct verify_talk {
  const char *name, *messages, *mentions; // mentions: tried only if the template has this word
  bool must;                              // a template may refuse the others
} verify_talks[] = {
  {"a question", "[" VERIFY_USER "]", "", true},
  {"a conversation", "[" VERIFY_USER ",{\"role\":\"assistant\",\"content\":\"Hi\"}," VERIFY_USER "]", "", true},
  {"a system message", "[" VERIFY_SYSTEM "," VERIFY_USER "]", "", false},
  {"tools", "[" VERIFY_SYSTEM "," VERIFY_USER "]", "tools", false},
  {"tools and no system message", "[" VERIFY_USER "]", "tools", false},
  {"enable_thinking", "[" VERIFY_USER "]", "enable_thinking", false},
};
static const char verify_tools[] =
  "[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"of a place\",\"parameters\":{\"type\":\"object\","
  "\"properties\":{\"place\":{\"type\":\"string\",\"description\":\"where\"}},\"required\":[\"place\"]}}}]";

static void verify_template(struct verify *r, struct verify_chat *c, struct str source, const struct json *tools,
                            const struct json *kwargs) {
  int n = 0, bad = 0;
  VERIFY_DETAIL(d);
  verify_begin(r, "chat template");
  for (int i = 0; i < ARRAY_LEN(verify_talks); i++) {
    const struct verify_talk *t = &verify_talks[i];
    struct bk_error e = {0, ""};
    if (*t->mentions && str_find(source, str_from(t->mentions), 0) == SIZE_MAX) continue;
    c->tools = str_is(str_from(t->mentions), "tools") ? tools : NULL;
    c->kwargs = str_is(str_from(t->mentions), "enable_thinking") ? kwargs : NULL;
    bool ok = verify_render(c, str_from(t->messages), &e);
    bad += !ok && t->must;
    if (!verify_more(&d, &n)) continue;
    if (ok) buf_printf(&d, "%s: %d tokens", t->name, c->n);
    else buf_printf(&d, "%s: refused: %.200s", t->name, e.message);
  }
  c->tools = c->kwargs = NULL;
  verify_end(r, bad ? VERIFY_BAD : VERIFY_GOOD, &d);
}

/* The control tokens of a conversation, in order, in place of its ids. */
static int verify_controls(const struct vocab *v, int32_t *ids, int n) {
  int out = 0;
  for (int i = 0; i < n; i++)
    if (!token_is_plain(v, ids[i]) && !(v->attr[ids[i]] & TOKEN_UNKNOWN)) ids[out++] = ids[i];
  return out;
}

/* Does a message of these tokens' texts give exactly the control tokens of a harmless one? */
static bool verify_harmless(struct verify_chat *c, const int32_t *tokens, int n, const char *between, const int32_t *want,
                            int n_want, struct bk_error *e) {
  const struct vocab *v = c->g->model.vocab;
  struct arena whole = c->a;
  size_t room = (v->max_piece + 2) * (size_t)n + 16;
  struct buf text = buf_new(&c->a, room), messages = buf_new(&c->a, 6 * room + 64);
  for (int i = 0; i < n; i++) {
    if (i) buf_put(&text, str_from(between));
    buf_put(&text, token_text(v, tokens[i]));
  }
  buf_put(&messages, STR("[{\"role\":\"user\",\"content\":"));
  json_put_string(&messages, buf_str(&text));
  buf_put(&messages, STR("}]"));
  bool ok = !messages.full && verify_render(c, buf_str(&messages), e);
  c->a = whole;
  if (!ok) return e->code != 0; // refused, which is harmless as well
  c->n = verify_controls(v, c->ids, c->n);
  return c->n == n_want && memcmp(c->ids, want, sizeof *want * (size_t)n_want) == 0;
}

/* A user's text that is written like a control token does not become one. */
static void verify_control_tokens(struct verify *r, struct verify_chat *c) {
  const struct vocab *v = c->g->model.vocab;
  struct bk_error e = {0, ""};
  int32_t *tokens = ARENA_NEW(&c->a, int32_t, VERIFY_CONTROLS), *want = ARENA_NEW(&c->a, int32_t, VERIFY_IDS);
  int n = 0, bad = 0;
  VERIFY_DETAIL(d);
  verify_begin(r, "control tokens");
  for (int32_t id = 0; tokens && id < v->n_tokens && n < VERIFY_CONTROLS; id++)
    if (!token_is_plain(v, id) && token_text(v, id).len && token_text(v, id).len <= TOKEN_MAX_SPECIAL) tokens[n++] = id;
  if (!want || !verify_render(c, STR("[" VERIFY_USER "]"), &e)) {
    buf_put(&d, STR("not looked at: no message can be rendered"));
    verify_end(r, VERIFY_WARNING, &d);
    return;
  }
  int n_want = verify_controls(v, c->ids, c->n);
  memcpy(want, c->ids, sizeof *want * (size_t)n_want);
  for (int i = 0; i < n; i++) {
    int together = n - i < VERIFY_TOGETHER ? n - i : VERIFY_TOGETHER;
    bool alone = i >= VERIFY_ALONE || verify_harmless(c, &tokens[i], 1, "", want, n_want, &e);
    bool many = i % VERIFY_TOGETHER != 0 || (verify_harmless(c, &tokens[i], together, " ", want, n_want, &e) &&
                                             verify_harmless(c, &tokens[i], together, "", want, n_want, &e));
    if ((!alone || !many) && verify_more(&d, &bad))
      buf_printf(&d, "a user's \"" STR_FMT "\" %schanges the control tokens of a conversation", STR_ARG(token_text(v, tokens[i])),
                 alone ? "and what follows it " : "");
    memset(&e, 0, sizeof e);
  }
  verify_rest(&d, bad);
  if (!bad) buf_printf(&d, "%d, none of which comes out of a user's text", n);
  verify_end(r, bad ? VERIFY_BAD : VERIFY_GOOD, &d);
}

static void verify_chat(struct verify *r, struct arena a) {
  struct verify_chat c = {.g = r->g, .ids = ARENA_NEW(&a, int32_t, VERIFY_IDS)};
  struct bk_error e = {0, ""};
  struct json *tools = NULL, *kwargs = NULL;
  struct str source;
  if (!engine_template(r->g, &source, &e)) {
    VERIFY_DETAIL(d);
    verify_begin(r, "chat template");
    buf_put(&d, STR("none: a model for `complete`"));
    verify_end(r, VERIFY_GOOD, &d);
    return;
  }
  memset(&e, 0, sizeof e);
  json_parse(STR("{\"enable_thinking\":false}"), &a, &kwargs, &e);
  json_parse(str_from(verify_tools), &a, &tools, &e);
  c.a = a;
  verify_template(r, &c, source, tools, kwargs);
  verify_control_tokens(r, &c);
}

/* ---- a short forward pass ---- */

struct verify_pass {
  int width, rows;           // floats of a position's logits, positions of them that are kept; or of the one vector
  int n;                     // positions so far
  uint64_t bad;              // numbers that are not finite
  struct hash_sha256 hash;   // over all of them
  float *kept;               // (rows, width) of the last positions, or NULL
};

static bool verify_has_logits(const struct engine *g) { return g->model.tape.result != VALUE_NONE; }

static void verify_take(struct verify_pass *p, const float *x, int back) {
  for (int i = 0; i < p->width; i++) p->bad += x[i] - x[i] != 0;
  hash_sha256_update(&p->hash, (struct str){(const char *)x, sizeof *x * (size_t)p->width});
  if (p->kept && back < p->rows) memcpy(p->kept + (size_t)back * (size_t)p->width, x, sizeof *x * (size_t)p->width);
  p->n++;
}

static int32_t verify_logits(struct request *r, int position, const float *logits) {
  verify_take(r->context, logits, r->n_prompt - 1 - position);
  return -1;
}

/* The beginning of a text as the model wants it; random ids if it has no vocabulary or few tokens come of it. */
static int verify_prompt(const struct engine *g, struct arena a, int32_t ids[VERIFY_TOKENS]) {
  static const char text[] =
    "The river rises in the hills to the north, where the snow lies until May, and runs through four counties before it reaches "
    "the sea. For most of its length it is slow and deep; barges carried stone and wool on it for six hundred years, and the "
    "towns along its banks grew rich on their tolls. Today it carries mostly swans.";
  const struct vocab *v = g->model.vocab;
  struct bk_error e = {0, ""};
  size_t bound = v ? token_bound(v, sizeof text) : 0;
  int32_t *all = ARENA_NEW(&a, int32_t, bound + 1);
  int n = 0, most = g->options.n_context < VERIFY_TOKENS ? g->options.n_context : VERIFY_TOKENS;
  if (!v || !all || !token_encode(v, str_from(text), (struct token_options){true, false}, a, all, (int)bound, &n, &e)) n = 0;
  if (n >= most) memcpy(ids, all, sizeof *ids * (size_t)most);
  else bench_ids(ids, most, (int)g->model.hp.n_vocab, 2026);
  return most;
}

static int verify_width(const struct model *m) { // a ranker's head gives few logits
  return m->tape.result == VALUE_NONE ? (int)m->hp.n_embd : m->tape.values[m->tape.result].width;
}

/* The same ids every time, in steps of at most `chunk`: logits of all positions, or the vector of a model that has none. */
static bool verify_pass(struct engine *g, int chunk, struct arena a, struct verify_pass *p, float *kept, uint8_t digest[32],
                        struct bk_error *e) {
  int32_t ids[VERIFY_TOKENS];
  bool wanted[VERIFY_TOKENS], logits = verify_has_logits(g);
  int n = verify_prompt(g, a, ids);
  struct pool pool;
  *p = (struct verify_pass){.width = verify_width(&g->model), .rows = !logits ? 1 : n < VERIFY_KEPT ? n : VERIFY_KEPT,
                            .hash = hash_sha256_init(), .kept = kept};
  memset(wanted, 1, sizeof wanted);
  struct request r = {.ids = ids, .n_prompt = n, .n_max = n, .wanted = wanted, .logits = logits ? verify_logits : NULL, .context = p};
  if (!logits) {
    float *vector = ARENA_NEW(&a, float, (size_t)p->width);
    if (!vector || !pool_new(&pool, pool_kind(&g->model.hp), p->width, &a)) return err_set(e, ERR_OS, "no memory for a vector");
    r.pool = &pool;
    if (!engine_submit(g, &r, e)) return false;
    while (engine_step(g)) {}
    p->bad += !pool_vector(&pool, vector);
    verify_take(p, vector, 0);
  } else {
    g->options.chunk = chunk;
    if (!engine_submit(g, &r, e)) return false;
    while (engine_step(g)) {}
  }
  hash_sha256_final(&p->hash, digest);
  return true;
}

static void verify_steps(struct verify *r, float *kept, struct arena a) {
  static const int chunks[] = {ENGINE_ROWS, 7, 1};
  struct bk_error e = {0, ""};
  struct verify_pass p;
  uint8_t first[32], other[32];
  VERIFY_DETAIL(d);
  VERIFY_DETAIL(same);
  verify_begin(r, "first step");
  bool ran = verify_pass(r->g, chunks[0], a, &p, kept, first, &e);
  const char *what = verify_has_logits(r->g) ? "logits of each of" : "floats of";
  if (!ran) buf_put(&d, str_from(e.message));
  else if (!p.bad) buf_printf(&d, "%d %s %d %s, all finite", p.width, what, p.n, verify_has_logits(r->g) ? "positions" : "vector");
  else buf_printf(&d, "%llu of %d %s %d are NaN or infinite", (unsigned long long)p.bad, p.width, what, p.n);
  verify_end(r, ran && !p.bad ? VERIFY_GOOD : VERIFY_BAD, &d);
  if (!ran || !verify_has_logits(r->g) || !r->g->model.hp.causal) return; // a model that looks both ways is not cut
  verify_begin(r, "chunks");
  for (int i = 1; i < ARRAY_LEN(chunks); i++)
    if (!verify_pass(r->g, chunks[i], a, &p, NULL, other, &e) || memcmp(first, other, sizeof first) != 0)
      buf_printf(&same, "%sother bits in steps of %d", same.len ? "; " : "", chunks[i]);
  bool equal = same.len == 0;
  if (equal) {
    char hex[65];
    hash_hex(first, hex);
    buf_printf(&same, "the same bits whole, in steps of 7 and one by one: %s", hex);
  }
  verify_end(r, equal ? VERIFY_GOOD : VERIFY_BAD, &same);
}

/* The fast path against float32 activations, keys and values. Closes the engine, and opens it anew: twice would need
 * twice the memory. */
static void verify_exact(struct verify *r, const char *path, const struct engine_options *options, const float *fast, float *kept,
                         struct arena a) {
  struct bk_error e = {0, ""};
  struct verify_pass p;
  uint8_t digest[32];
  struct engine_options o = *options;
  double worst = 1;
  int same = 0;
  VERIFY_DETAIL(d);
  verify_begin(r, "exact path");
  o.n_context = r->g->options.n_context < VERIFY_CONTEXT ? r->g->options.n_context : VERIFY_CONTEXT;
  o.n_sequences = 1;
  o.exact = true;
  engine_close(r->g);
  if (!engine_open(r->g, path, &o, &e) || !engine_load(r->g, &e) || !verify_pass(r->g, ENGINE_ROWS, a, &p, kept, digest, &e)) {
    buf_printf(&d, "not compared: %s", e.message);
    verify_end(r, e.code == ERR_BUSY ? VERIFY_WARNING : VERIFY_BAD, &d);
    return;
  }
  for (int i = 0; i < p.rows; i++) {
    const float *x = fast + (size_t)i * (size_t)p.width, *y = kept + (size_t)i * (size_t)p.width;
    double xy = 0, xx = 0, yy = 0;
    for (int k = 0; k < p.width; k++) xy += (double)x[k] * y[k], xx += (double)x[k] * x[k], yy += (double)y[k] * y[k];
    double cosine = xx * yy > 0 ? xy / eval_sqrt(xx * yy) : xx == yy;
    if (!(cosine >= worst)) worst = cosine;
    same += sample_greedy(x, p.width) == sample_greedy(y, p.width);
  }
  if (verify_has_logits(r->g)) buf_printf(&d, "the same first token at %d of %d positions, ", same, p.rows);
  buf_printf(&d, "cosine at least %.6f", worst);
  verify_end(r, !(worst >= 0.9) ? VERIFY_BAD : worst < 0.99 ? VERIFY_WARNING : VERIFY_GOOD, &d);
}

static void verify_run(struct verify *r, const char *path, const struct engine_options *options, struct arena a) {
  size_t floats = (size_t)verify_width(&r->g->model) * VERIFY_KEPT;
  float *fast = ARENA_NEW(&a, float, floats), *exact = ARENA_NEW(&a, float, floats);
  if (!fast || !exact) return; // more than there is memory for
  verify_steps(r, fast, a);
  verify_exact(r, path, options, fast, exact, a);
}

/* ---- the certificate ---- */

/* Opens the file as a model; failing that as GGUF, with its vocabulary if that is sound. */
static bool verify_open(struct engine *g, const char *path, const struct engine_options *options, bool *opened, struct arena *a,
                        struct bk_error *why, struct bk_error *tokenizer, struct bk_error *e) {
  struct bk_error none = {0, ""};
  *opened = engine_open(g, path, options, why);
  if (*opened) return engine_load(g, e);
  bool looked = why->code == ERR_DATA && gguf_open(&g->model.gguf, path, a, &none);
  if (looked && gguf_find(&g->model.gguf, STR("tokenizer.ggml.model"))) token_load(&g->model.gguf, a, &g->model.vocab, tokenizer);
  if (!looked) *e = *why;
  return looked;
}

/* Writes the certificate as JSON. False, with an error, if the file cannot be opened or a check failed. */
static bool verify_model(const char *path, const struct engine_options *options, void (*progress)(const char *name), FILE *out,
                         struct arena a, struct bk_error *e) {
  static struct engine g;
  char failed[256];
  struct verify r = {.g = &g, .out = buf_new(&a, VERIFY_REPORT), .failed = {failed, 0, sizeof failed, false}, .progress = progress};
  struct bk_error why = {0, ""}, tokenizer = {0, ""};
  struct str name = STR_NONE;
  bool opened;
  if (!verify_open(&g, path, options, &opened, &a, &why, &tokenizer, e)) return false;
  gguf_string(gguf_find(&g.model.gguf, STR("general.architecture")), &name);
  buf_put(&r.out, STR("{\"path\":"));
  json_put_string(&r.out, str_from(path));
  buf_put(&r.out, STR(",\"architecture\":"));
  json_put_string(&r.out, name);
  buf_put(&r.out, STR(",\"checks\":["));
  bool sound = verify_structure(&r, opened, &why);
  verify_support(&r, &tokenizer);
  if (opened) verify_unused(&r);
  verify_checksum(&r, path, a);
  if (g.model.gguf.n_tensors) verify_weights(&r, a);
  verify_tokenizer(&r, &tokenizer, a);
  if (g.model.vocab) {
    verify_tokens(&r, a);
    verify_special_ids(&r);
    verify_merges(&r);
    verify_chat(&r, a);
  }
  if (opened) verify_run(&r, path, options, a);
  buf_printf(&r.out, "\n],\"ok\":%s,\"warnings\":%d,\"failures\":%d}\n", r.failures ? "false" : "true", r.warnings, r.failures);
  engine_close(&g);
  if (r.out.full || fwrite(r.out.ptr, 1, r.out.len, out) != r.out.len) return err_set(e, ERR_IO, "cannot write to standard output");
  if (!sound) *e = why;
  return r.failures == 0 || err_set(e, ERR_DATA, "%s: %d of %d checks failed: " STR_FMT, path, r.failures, r.checks, (int)r.failed.len,
                                    r.failed.ptr);
}
