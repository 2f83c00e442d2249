/* rerank.c -- a query and lines -> scores, best first. What embed.c does with a frame around every line: of an encoder the
 * query and its separators, with token types 0 and 1 where the model knows them; of a decoder a template.
 *
 * Lines and scores are kept until the end, as the best comes first. Nothing of a query or a line becomes a control token.
 * SPDX-License-Identifier: MIT */

enum { RERANK_SPANS = 16 };
static const size_t rerank_memory = (size_t)1 << 30; // bytes of lines at most; reserved, not used

struct rerank_item {
  int64_t index;
  double score;     // of a line with an error below every other
  struct str text;  // the line, or the error's message
  bool failed;
};

struct rerank {
  struct embed embed;
  struct embed_options options;
  struct arena memory, texts; // memory: as reserved
  struct rerank_item *items;  // (n) newest last
  size_t n, max;
  int64_t cut_lines, errors;
};

/* Qwen3-Reranker's model card; a file may bring its own as tokenizer.chat_template.rerank, with the same two places. */
static const char rerank_template[] =
  "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
  "answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages "
  "that answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/* [CLS] query [SEP] line [SEP], and as the model has it with <s>, </s> and a separator more. ids (max) */
static bool rerank_pair(struct rerank *r, const struct engine *g, struct str query, int32_t *ids, int max, struct bk_error *e) {
  const struct vocab *v = g->model.vocab;
  struct embed_options *o = &r->options;
  int n = 0;
  embed_frame(v, o);
  if (o->n_front) ids[n++] = *o->front;
  int used = 0;
  if (!token_encode(v, query, (struct token_options){false, false}, r->texts, ids + n, max - n - 2, &used, e)) return false;
  n += used;
  if (o->n_back) ids[n++] = *o->back;
  if (v->sep >= 0 && (v->kind == TOKEN_UNIGRAM || (v->kind == TOKEN_BYTES && v->add_sep))) ids[n++] = v->sep; // XLM-R's files do not say
  o->front = ids;
  o->n_front = n;
  o->type = g->model.hp.n_types > 1;
  return true;
}

/* What stands before the line, with the query in its place, is tokenised together with every line, as transformers does. */
static bool rerank_prompt(struct rerank *r, const struct engine *g, struct str query, int32_t *ids, int max, int *head,
                          struct bk_error *e) {
  const struct token_options parse = {false, true};
  struct str source = str_from(rerank_template), mark = STR("{query}"), document = STR("{document}");
  struct embed_options *o = &r->options;
  if (!gguf_get_string(&g->model.gguf, STR("tokenizer.chat_template.rerank"), &source, e) && e->code) return false;
  size_t end = str_find(source, document, 0);
  if (end == SIZE_MAX || str_find(source, mark, end) != SIZE_MAX)
    return err_set(e, ERR_DATA, "not supported: the file's rerank template, where {query} does not stand before one {document}");
  struct token_span *spans = ARENA_NEW(&r->texts, struct token_span, RERANK_SPANS);
  struct buf prompt = buf_new(&r->texts, EMBED_PROMPT);
  if (!spans || !prompt.cap) return err_set(e, ERR_OS, "no memory for a prompt");
  for (size_t at = 0, stop; at < end; at = stop == end ? end : stop + mark.len) {
    stop = str_find(source, mark, at);
    if (stop > end) stop = end;
    if (o->n_spans == RERANK_SPANS) return err_set(e, ERR_DATA, "not supported: a rerank template with %d queries", RERANK_SPANS);
    uint32_t beg = (uint32_t)prompt.len;
    buf_put(&prompt, str_slice(source, at, stop));
    spans[o->n_spans++] = (struct token_span){beg, (uint32_t)prompt.len, false};
    if (stop < end) buf_put(&prompt, query);
  }
  if (prompt.full) return err_set(e, ERR_DATA, "the query has %zu bytes, too many for a prompt of %d", query.len, EMBED_PROMPT);
  o->prompt = buf_str(&prompt);
  o->spans = spans;
  source = str_slice(source, end + document.len, source.len);
  o->back = ids;
  return token_encode_spans(g->model.vocab, o->prompt, spans, o->n_spans, parse, r->texts, ids, max, head, e) &&
         token_encode(g->model.vocab, source, parse, r->texts, ids, max, &o->n_back, e);
}

static bool rerank_open(struct rerank *r, struct engine *g, struct str query, enum embed_cut cut, struct bk_error *e) {
  const int context = g->options.n_context;
  int head = 0;
  *r = (struct rerank){.options = {.pooling = POOL_CLS, .cut = cut, .scores = true}};
  r->memory = r->texts = os_reserve(rerank_memory, e);
  if (!r->memory.beg) return false;
  int max = (int)(query.len < EMBED_LINE ? query.len : 0) * 5 + context + 4096; // token_bound is below it
  int32_t *ids = arena_raw(&r->texts, (size_t)max, sizeof *ids, 16);
  if (!ids || !query.len) return err_set(e, ERR_USAGE, "a query of %zu bytes; expected 1 to %d", query.len, EMBED_LINE);
  if (!utf8_valid(query)) return err_set(e, ERR_USAGE, "the query is not UTF-8");
  if (!g->model.vocab) return err_set(e, ERR_DATA, "the model file holds no vocabulary");
  if (!(g->model.hp.causal ? rerank_prompt(r, g, query, ids, max, &head, e) : rerank_pair(r, g, query, ids, max, e))) return false;
  head += r->options.n_front + r->options.n_back;
  if (head >= context)
    return err_set(e, ERR_DATA, "the query has %d tokens with what stands around it, the context holds %d: none are left for a line",
                   head, context);
  if (!embed_open(&r->embed, g, &r->options, e)) return false;
  r->max = (size_t)(r->texts.end - r->texts.beg) / 2 / sizeof *r->items;
  r->items = arena_raw(&r->texts, r->max, sizeof *r->items, 16);
  return r->items || err_set(e, ERR_OS, "no memory for scores");
}

static void rerank_close(struct rerank *r) {
  embed_close(&r->embed);
  os_release(r->memory);
}

/* Scores all lines of the inputs. */
static bool rerank_run(struct rerank *r, struct embed_input *in, struct bk_error *e) {
  struct embed *b = &r->embed;
  while (embed_read(b, in, e))
    for (int i = 0; i < b->n_lines; i++) {
      const struct embed_line *l = embed_answer(b, i);
      const struct embed_text *t = &b->texts[l->text_at];
      struct rerank_item *item = &r->items[r->n];
      bool failed = l->error.code != 0;
      struct str text = failed ? str_from(l->error.message) : b->lines[i].text;
      struct str kept = r->n < r->max ? arena_copy(&r->texts, text) : STR_NONE;
      if (r->n == r->max || (text.len && !kept.ptr))
        return err_set(e, ERR_BUSY, "the lines take more than %zu bytes, and all must be kept to be sorted", rerank_memory);
      *item = (struct rerank_item){b->lines[i].index, failed ? 0 : (double)b->pieces[t->piece].vector[0], kept, failed};
      r->errors += failed;
      r->cut_lines += !failed && t->cut > 0;
      r->n++;
    }
  return !e->code;
}

static int rerank_compare(const void *a, const void *b) { // best first; equal ones and those with errors in the order of the lines
  const struct rerank_item *x = a, *y = b;
  if (x->failed != y->failed) return x->failed - y->failed;
  if (!x->failed && x->score != y->score) return x->score < y->score ? 1 : -1;
  return (x->index > y->index) - (x->index < y->index);
}

static double rerank_relevance(double score) { return 1 / (1 + kern_exp(-score)); } // between 0 and 1, as Jina and Cohere have it

/* The best `top` of them, 0: all. One object per line; those with an error come last. */
static bool rerank_write(struct rerank *r, int64_t top, FILE *out, struct bk_error *e) {
  qsort(r->items, r->n, sizeof *r->items, rerank_compare);
  for (size_t i = 0; i < r->n && (!top || (int64_t)i < top); i++) {
    const struct rerank_item *item = &r->items[i];
    struct arena a = r->texts;
    struct buf b = {a.beg, 0, (size_t)(a.end - a.beg), false};
    buf_printf(&b, "{\"index\":%lld,", (long long)item->index);
    if (item->failed) {
      buf_put(&b, STR("\"error\":{\"message\":"));
    } else {
      buf_put(&b, STR("\"score\":"));
      json_put_float(&b, (float)item->score);
      buf_put(&b, STR(",\"relevance_score\":"));
      json_put_float(&b, (float)rerank_relevance(item->score));
      buf_put(&b, STR(",\"text\":"));
    }
    json_put_string(&b, item->text);
    buf_put(&b, item->failed ? STR("}}\n") : STR("}\n"));
    if (b.full) return err_set(e, ERR_BUSY, "the lines take more than %zu bytes", rerank_memory);
    fwrite(b.ptr, 1, b.len, out);
  }
  return (fflush(out) == 0 && !ferror(out)) || err_set(e, ERR_IO, "cannot write the scores: %s", strerror(errno));
}

/* ---- the public interface: bodkin.h ---- */

static void rerank_take(void *context, int i, const float *score) { ((float *)context)[i] = *score; }

BK_API int bk_model_rerank(struct bk_model *m, struct bk_text query, const struct bk_text *texts, int n, int truncate, float *scores,
                           struct bk_error *e) {
  struct rerank r;
  static const enum embed_cut cuts[] = {EMBED_CUT_ERROR, EMBED_CUT_END, EMBED_CUT_START};
  const enum embed_cut cut = truncate == BK_TRUNCATE_END || truncate == BK_TRUNCATE_START ? cuts[truncate] : EMBED_CUT_ERROR;
  bool ok = rerank_open(&r, &m->engine, (struct str){query.ptr, query.bytes}, cut, e) &&
            embed_texts(&r.embed, texts, n, rerank_take, scores, e);
  rerank_close(&r);
  return ok;
}
