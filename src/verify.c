/* verify.c -- what a model file holds, what it will need, whether it is sound: `bodkin info` and `bodkin verify`.
 *
 * Both open the file as any other command does, so what they say is what will happen. verify then looks at every weight,
 * every hash and every round trip it can, and writes one JSON object; it returns false if something is wrong.
 * SPDX-License-Identifier: MIT */

static struct str info_text(const struct gguf *g, const char *key) {
  struct str s = STR_NONE;
  gguf_string(gguf_find(g, str_from(key)), &s);
  return s;
}

/* "Q4_1 210, Q8_0 1, F32 61": types and how many tensors have each; a JSON object if json. */
static void info_types(const struct gguf *g, bool json, struct buf *b) {
  bool any = false;
  for (int i = 0; i < g->n_tensors; i++) {
    int count = 0;
    bool seen = false;
    for (int k = 0; k < g->n_tensors; k++) {
      if (g->tensors[k].type != g->tensors[i].type) continue;
      if (k < i) seen = true;
      count++;
    }
    if (seen) continue;
    const struct quant *q = quant_find(g->tensors[i].type);
    if (any) buf_put(b, STR(", "));
    if (json) buf_byte(b, '"');
    if (q) buf_put(b, str_from(q->name));
    else buf_printf(b, "type %u (not supported)", g->tensors[i].type);
    buf_printf(b, json ? "\": %d" : " %d", count);
    any = true;
  }
}

static void info_json(const struct engine *g, const char *path, bool tape, struct buf *b) {
  const struct model *m = &g->model;
  struct engine_plan p = engine_plan(g);
  struct str template = info_text(&m->gguf, "tokenizer.chat_template");
  buf_put(b, STR("{\"path\":"));
  json_put_string(b, str_from(path));
  buf_put(b, STR(",\"name\":"));
  json_put_string(b, info_text(&m->gguf, "general.name"));
  buf_put(b, STR(",\"licence\":"));
  json_put_string(b, info_text(&m->gguf, "general.license"));
  buf_printf(b, ",\"architecture\":\"%s\",\"parameters\":%zu,\"file_bytes\":%zu,\"tensors\":{", m->arch->name,
             m->n_parameters, m->mapped_bytes);
  info_types(&m->gguf, true, b);
  buf_printf(b, "},\"layers\":%lld,\"embedding\":%lld,\"heads\":%lld,\"kv_heads\":%lld,\"head_dim\":%lld,\"feed_forward\":%lld,"
                "\"vocabulary\":%lld,\"context_trained\":%lld,\"context\":%d,\"chat_template\":%s,",
             (long long)m->hp.n_layer, (long long)m->hp.n_embd, (long long)m->hp.n_head, (long long)m->hp.n_head_kv,
             (long long)m->hp.head_dim, (long long)m->hp.n_ff, (long long)m->hp.n_vocab, (long long)m->hp.n_ctx_train,
             g->options.n_context, template.ptr ? "true" : "false");
  buf_printf(b, "\"memory\":{\"weights_mapped\":%zu,\"weights_packed\":%zu,\"keys_values\":%zu,\"scratch\":%zu,\"tables\":%zu,"
                "\"total\":%zu},"
                "\"threads\":%d,\"isa\":\"%s\"",
             p.mapped, p.packed, p.keys_values, p.scratch, p.tables, p.total, g->options.n_threads, kern_names[g->options.isa]);
  for (int i = 0; tape && i < m->tape.n_ops; i++) { // its lines, as a person sees them
    char line[1024];
    struct buf text = {line, 0, sizeof line, false};
    tape_print_op(&m->tape, i, &text);
    buf_put(b, i ? STR(",") : STR(",\"tape\":["));
    json_put_string(b, str_slice(buf_str(&text), 0, text.len - 1));
  }
  buf_put(b, tape ? STR("]}\n") : STR("}\n"));
}

static void info_person(const struct engine *g, const char *path, struct buf *b) {
  const struct model *m = &g->model;
  struct engine_plan p = engine_plan(g);
  struct str name = info_text(&m->gguf, "general.name"), licence = info_text(&m->gguf, "general.license"), source;
  struct bk_error none = {0, ""};
  buf_printf(b, "%s\n", path);
  if (name.ptr) buf_printf(b, "  name          " STR_FMT "\n", STR_ARG(name));
  if (licence.ptr) buf_printf(b, "  licence       " STR_FMT "\n", STR_ARG(licence));
  buf_printf(b, "  architecture  %s, %lld layers, %lld wide, feed-forward %lld\n", m->arch->name, (long long)m->hp.n_layer,
             (long long)m->hp.n_embd, (long long)m->hp.n_ff);
  buf_printf(b, "  attention     %lld heads on %lld of %lld", (long long)m->hp.n_head, (long long)m->hp.n_head_kv,
             (long long)m->hp.head_dim);
  if (m->hp.window > 0) buf_printf(b, ", window %lld", (long long)m->hp.window);
  buf_printf(b, "\n  parameters    %.1f million in %d tensors: ", (double)m->n_parameters / 1e6, m->gguf.n_tensors);
  info_types(&m->gguf, false, b);
  buf_printf(b, "\n  vocabulary    %lld tokens\n", (long long)m->hp.n_vocab);
  buf_printf(b, "  chat          %s\n", info_text(&m->gguf, "tokenizer.chat_template").ptr ? "template in the file"
                                         : engine_template(g, &source, &none) ? "built-in template" : "none: a model for `complete`");
  buf_printf(b, "  context       %d tokens (made for %lld)\n", g->options.n_context, (long long)m->hp.n_ctx_train);
  buf_printf(b, "memory, before anything runs\n  weights       %8.1f MB packed + %.1f MB used in the file's map\n", (double)p.packed / 1e6,
             (double)p.mapped / 1e6);
  buf_printf(b, "  keys, values  %8.1f MB: %d pages of %d tokens\n", (double)p.keys_values / 1e6,
             g->options.n_sequences * engine_max_pages(g), KV_PAGE);
  buf_printf(b, "  scratch       %8.1f MB for steps of %d rows on %d threads\n", (double)p.scratch / 1e6, engine_rows(g),
             g->options.n_threads);
  buf_printf(b, "  tables        %8.1f MB\n  total         %8.1f MB\n", (double)p.tables / 1e6, (double)p.total / 1e6);
  buf_printf(b, "runs on       %s, %d threads\n", kern_names[g->options.isa], g->options.n_threads);
}

/* Prints what a file holds and needs. Error as for opening it. */
static bool info_print(const char *path, const struct engine_options *options, bool json, bool tape, FILE *out, struct arena a,
                       struct bk_error *e) {
  static struct engine g;
  if (!engine_open(&g, path, options, e)) return false;
  struct buf b = buf_new(&a, 4 << 20);
  if (json) info_json(&g, path, tape, &b);
  else info_person(&g, path, &b);
  if (tape && !json) tape_print(&g.model.tape, &b);
  engine_close(&g);
  return fwrite(b.ptr, 1, b.len, out) == b.len || err_set(e, ERR_IO, "cannot write to standard output");
}

/* ---- verify ---- */

struct verify_report {
  struct buf b;
  int checks, failures;
};

static void verify_check(struct verify_report *r, const char *name, bool ok, struct str detail) {
  buf_printf(&r->b, "%s\n  {\"check\":\"%s\",\"ok\":%s,\"detail\":", r->checks ? "," : "", name, ok ? "true" : "false");
  json_put_string(&r->b, detail);
  buf_byte(&r->b, '}');
  r->checks++;
  r->failures += !ok;
}

/* Every weight of every tensor is finite. */
static void verify_weights(struct verify_report *r, const struct gguf *g) {
  char text[256] = "every weight is finite";
  bool ok = true;
  for (int i = 0; i < g->n_tensors && ok; i++) {
    struct gguf_tensor t = g->tensors[i];
    const struct quant *q = quant_find(t.type);
    struct bk_error e = {0, ""};
    if (!q || !gguf_locate(g, &t, (size_t)q->block, q->block_bytes, &e)) {
      snprintf(text, sizeof text, "%.200s", e.code ? e.message : "a tensor of a type that is not supported");
      ok = q != NULL ? false : ok;
      continue;
    }
    float y[256];
    for (size_t at = 0; at < t.n_bytes && ok; at += q->block_bytes) {
      uint64_t aligned[64];
      memcpy(aligned, t.data + at, q->block_bytes);
      q->decode(aligned, y);
      for (int k = 0; k < q->block && ok; k++) ok = y[k] - y[k] == 0;
    }
    if (!ok) snprintf(text, sizeof text, "tensor " STR_FMT " holds a NaN or an infinity", STR_ARG(t.name));
    os_forget(t.data, t.n_bytes);
  }
  verify_check(r, "weights", ok, str_from(text));
}

static void verify_checksum(struct verify_report *r, const struct gguf *g, struct arena a) {
  char hex[65], text[400];
  uint8_t digest[32];
  struct str path = STR_NONE;
  for (int i = 0; i < g->n_files; i++) {
    struct hash_sha256 h = hash_sha256_init();
    for (size_t at = 0; at < g->files[i].size; at += 1 << 20) { // in pieces, which are given back
      struct str piece = str_slice((struct str){g->files[i].ptr, g->files[i].size}, at, at + (1 << 20));
      hash_sha256_update(&h, piece);
      os_forget(piece.ptr, piece.len);
    }
    hash_sha256_final(&h, digest);
    hash_hex(digest, hex);
    struct store_entry entry;
    bool known = store_by_sha256(str_from(hex), &a, &entry);
    snprintf(text, sizeof text, "sha256 %s%s" STR_FMT, hex, known ? ", the catalogue's " : "", STR_ARG(known ? entry.name : path));
    verify_check(r, "checksum", true, str_from(text));
  }
}

/* Text to ids and back, with every character class a pre-tokenizer knows. */
static void verify_tokenizer(struct verify_report *r, const struct vocab *v, struct arena a) {
  static const char *const texts[] = {
    "Hello, world!", "  leading spaces\tand\ttabs\n\nand lines\r\n", "1234567890 3.14 x2", "It's we'll they've DON'T",
    "na\xC3\xAFve caf\xC3\xA9 \xC3\x9F \xE4\xBD\xA0\xE5\xA5\xBD \xD0\x9F\xD1\x80\xD0\xB8 \xF0\x9F\x98\x80", "\x01\x7F", ""};
  struct bk_error e = {0, ""};
  for (int i = 0; i < ARRAY_LEN(texts); i++) {
    struct arena scratch = a;
    struct str text = str_from(texts[i]);
    size_t bound = token_bound(v, text.len);
    int32_t *ids = ARENA_NEW(&scratch, int32_t, bound + 1);
    struct buf back = buf_new(&scratch, v->max_piece * (bound + 1) + 16);
    int n = 0;
    bool ok = ids && back.cap && token_encode(v, text, (struct token_options){false, false}, scratch, ids, (int)bound, &n, &e);
    for (int k = 0; ok && k < n; k++) token_piece(v, ids[k], &back);
    struct str got = buf_str(&back);
    if (got.len == text.len + 1 && got.ptr[0] == ' ') got = str_slice(got, 1, got.len); // the space SentencePiece puts first
    bool lossy = v->kind == TOKEN_WORDPIECE || v->kind == TOKEN_UNIGRAM; // these normalise: only that they do not fail counts
    if (ok && (lossy || str_eq(got, text))) continue;
    verify_check(r, "tokenizer", false, e.code ? str_from(e.message) : text);
    return;
  }
  verify_check(r, "tokenizer", true, STR("texts come back as they were"));
}

static void verify_chat(struct verify_report *r, const struct engine *g, struct arena a) {
  static const char conversation[] =
    "[{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"assistant\",\"content\":\"Hi\"},{\"role\":\"user\",\"content\":\"Bye\"}]";
  struct bk_error e = {0, ""};
  struct json *messages;
  int32_t ids[1024];
  int n;
  struct str source;
  if (!engine_template(g, &source, &e)) {
    verify_check(r, "chat template", true, STR("none: a model for `complete`"));
    return;
  }
  memset(&e, 0, sizeof e);
  bool ok = json_parse(str_from(conversation), &a, &messages, &e);
  struct chat_input in = {.messages = ok ? messages : NULL, .now = STR("2026-01-15T12:34:56"), .add_generation_prompt = true};
  ok = ok && engine_chat(g, &in, a, ids, ARRAY_LEN(ids), &n, &e);
  verify_check(r, "chat template", ok, ok ? STR("renders a conversation") : str_from(e.message));
}

/* A first step through the model gives finite logits. */
static void verify_step(struct verify_report *r, struct engine *g) {
  int32_t ids[2] = {0, 0};
  struct request q = {.ids = ids, .n_prompt = 1, .n_max = 2, .logits = bench_logits};
  struct bk_error e = {0, ""};
  bool ok = engine_submit(g, &q, &e);
  struct batch b;
  if (ok) {
    engine_admit(g);
    engine_batch(g, &b);
    cpu_run(&g->cpu, &b);
    size_t stride;
    ok = sample_greedy(cpu_run_head(&g->cpu, 0, 1, &stride), (int)g->model.hp.n_vocab) >= 0;
    engine_finish(g, &q);
  }
  verify_check(r, "first step", ok, ok ? STR("logits are finite") : e.code ? str_from(e.message) : STR("no logit is finite"));
}

/* Writes the report as JSON. False, with an error, if the file cannot be opened or a check failed. */
static bool verify_model(const char *path, const struct engine_options *options, FILE *out, struct arena a, struct bk_error *e) {
  static struct engine g;
  struct verify_report r = {.b = buf_new(&a, 1 << 20)};
  if (!engine_open(&g, path, options, e)) return false;
  buf_put(&r.b, STR("{\"path\":"));
  json_put_string(&r.b, str_from(path));
  buf_printf(&r.b, ",\"architecture\":\"%s\",\"checks\":[", g.model.arch->name);
  verify_check(&r, "structure", true, STR("keys, tensors and shapes are as the architecture wants them"));
  verify_checksum(&r, &g.model.gguf, a);
  verify_weights(&r, &g.model.gguf);
  if (g.model.vocab) {
    verify_tokenizer(&r, g.model.vocab, a);
    verify_chat(&r, &g, a);
  }
  if (!engine_load(&g, e)) return false;
  verify_step(&r, &g);
  buf_printf(&r.b, "\n],\"failures\":%d}\n", r.failures);
  engine_close(&g);
  if (fwrite(r.b.ptr, 1, r.b.len, out) != r.b.len) return err_set(e, ERR_IO, "cannot write to standard output");
  return r.failures == 0 || err_set(e, ERR_DATA, "%s: %d of %d checks failed", path, r.failures, r.checks);
}
