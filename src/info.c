/* info.c -- `bodkin info`: what a model file holds, what it will need, and how its weights will be computed with.
 *
 * The file is opened as any other command opens it, so what is said is what will happen. Nothing is packed or run.
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

/* How the weights of a type are computed with: as which packed form, or by themselves where they are no matrix that is
 * multiplied by. "Q4_1 as q4m"; members of a JSON object if json. */
static void info_runs(const struct model *m, bool json, struct buf *b) {
  const struct gguf *g = &m->gguf;
  bool any = false;
  for (int i = 0; i < ARRAY_LEN(quant_table); i++) {
    const struct quant *q = quant_table[i];
    int matrices = 0, tensors = 0;
    for (int k = 0; k < m->n_matrices; k++) matrices += m->matrices[k]->quant == q;
    for (int k = 0; k < g->n_tensors; k++) tensors += g->tensors[k].type == q->type;
    if (!tensors) continue;
    if (any) buf_put(b, STR(", "));
    any = true;
    if (json) buf_printf(b, "\"%s\":\"%s\"", q->name, matrices ? form_shapes[q->form].name : "unpacked");
    else if (matrices) buf_printf(b, "%s as %s", q->name, form_shapes[q->form].name);
    else buf_printf(b, "%s unpacked", q->name);
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
                "\"threads\":%d,\"isa\":\"%s\",\"runs\":{",
             p.mapped, p.packed, p.keys_values, p.scratch, p.tables, p.total, g->options.n_threads, kern_names[g->options.isa]);
  info_runs(m, true, b);
  buf_byte(b, '}');
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
             engine_n_pages(g), KV_PAGE);
  buf_printf(b, "  scratch       %8.1f MB for batches of %d rows on %d threads%s\n", (double)p.scratch / 1e6, engine_rows(g),
             g->options.n_threads, g->n_lanes ? ", together and each alone" : "");
  buf_printf(b, "  tables        %8.1f MB\n  total         %8.1f MB\n", (double)p.tables / 1e6, (double)p.total / 1e6);
  buf_printf(b, "runs on       %s, %d threads%s\n  weights       ", kern_names[g->options.isa], g->options.n_threads,
             g->options.isa == ISA_SCALAR ? ": plain C, the same answers, slowly" : "");
  info_runs(m, false, b);
  buf_byte(b, '\n');
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
