/* eval.c -- `bodkin eval`: numbers for tests. JSON Lines in, JSON Lines out; perplexity of a text; blocks to floats.
 *
 * A line is read, checked and queued; its answer is written when it is whole, so the order is free. Up to n_sequences
 * requests run side by side, each in a slot with an arena of its own that is emptied when the answer is out.
 * SPDX-License-Identifier: MIT */

enum {
  EVAL_LINE = 16 << 20,   // bytes of a request at most
  EVAL_SLOT = 192 << 20,  // bytes reserved (not used) for one request: line, tree, ids, answer
  EVAL_MAX_TOP = 4096,
  EVAL_PERPLEXITY_CONTEXT = 512,
  EVAL_ROWS = 64          // of a step when two models are compared: what is kept of one until the other is there
};

struct eval_job {
  struct request request;
  struct arena memory, whole; // whole: as reserved
  const struct json *id, *positions;
  struct buf logits, greedy;  // pieces of the answer
  int top, n_greedy;
  bool *wanted;
  struct sample_candidate *best; // (n_vocab) for the largest
  struct pool pool;
  bool embed, has_score;
  float score;
  struct bk_error error;
  const struct eval *eval;
};

struct eval {
  struct engine *engine;      // NULL: no model was given
  const struct vocab *vocab;  // NULL: none
  int n_vocab;
  FILE *out;
  struct eval_job *jobs;      // (n_jobs)
  int n_jobs;
  bool write_failed;
};

/* ---- answers ---- */

static void eval_write(struct eval *v, const struct buf *line) {
  if (fwrite(line->ptr, 1, line->len, v->out) != line->len || fputc('\n', v->out) == EOF) v->write_failed = true;
}

static void eval_put_json(struct buf *b, const struct json *j) { // an id: a number, a string or null
  if (!j || j->type == JSON_NULL) buf_put(b, STR("null"));
  else if (j->type == JSON_STRING) json_put_string(b, j->string);
  else if (j->type == JSON_INT || j->type == JSON_FLOAT) buf_put(b, j->text);
  else if (j->type == JSON_BOOL) buf_put(b, j->boolean ? STR("true") : STR("false"));
  else buf_put(b, STR("null"));
}

static void eval_answer_error(struct eval *v, struct eval_job *j) {
  char memory[2048];
  struct buf b = {memory, 0, sizeof memory, false};
  buf_put(&b, STR("{\"id\":"));
  eval_put_json(&b, j->id);
  buf_put(&b, STR(",\"error\":{\"message\":"));
  json_put_string(&b, str_from(j->error.message));
  buf_put(&b, STR("}}"));
  eval_write(v, &b);
}

static void eval_put_ids(struct buf *b, const char *name, const int32_t *ids, int n) {
  buf_printf(b, ",\"%s\":[", name);
  for (int i = 0; i < n; i++) buf_printf(b, i ? ",%d" : "%d", ids[i]);
  buf_byte(b, ']');
}

/* One asked-for position: hash of the raw floats and the largest. */
static void eval_put_logits(struct eval_job *j, int64_t asked, const float *logits) {
  int n = j->eval->n_vocab, top = j->top < n ? j->top : n;
  uint8_t digest[32];
  char hex[65];
  hash_sha256((struct str){(const char *)logits, sizeof(float) * (size_t)n}, digest);
  hash_hex(digest, hex);
  buf_printf(&j->logits, "%s{\"position\":%lld,\"sha256\":\"%s\",\"top_ids\":[", j->logits.len ? "," : "", (long long)asked, hex);
  for (int i = 0; i < n; i++) j->best[i] = (struct sample_candidate){logits[i] == logits[i] ? logits[i] : -INFINITY_F, i};
  if (top > 0) sample_top(j->best, n, top);
  for (int i = 0; i < top; i++) buf_printf(&j->logits, i ? ",%d" : "%d", j->best[i].id);
  buf_put(&j->logits, STR("],\"top_values\":["));
  for (int i = 0; i < top; i++) {
    if (i) buf_byte(&j->logits, ',');
    json_put_float(&j->logits, logits[j->best[i].id]);
  }
  buf_put(&j->logits, STR("]}"));
}

static int32_t eval_logits(struct request *r, int position, const float *logits) {
  struct eval_job *j = r->context;
  const struct json *p = j->positions ? j->positions->first : NULL;
  for (; p && position < r->n_prompt; p = p->next)
    if ((p->integer < 0 ? p->integer + r->n_prompt : p->integer) == position) eval_put_logits(j, p->integer, logits);
  if (position < r->n_prompt - 1 || r->n_ids - r->n_prompt >= j->n_greedy) return -1;
  int32_t next = sample_greedy(logits, j->eval->n_vocab);
  if (next < 0) err_set(&j->error, ERR_DATA, "no logit of position %d is finite", position);
  return next;
}

static void eval_finish(struct eval *v, struct eval_job *j) {
  struct request *r = &j->request;
  size_t size = j->logits.len + 16 * (size_t)r->n_max + (j->embed ? 32 * (size_t)j->pool.n : 0) + 1024;
  struct buf b = buf_new(&j->memory, size);
  if (b.cap == 0 || j->logits.full) err_set(&j->error, ERR_DATA, "the answer is too long");
  if (j->error.code) {
    eval_answer_error(v, j);
  } else {
    buf_put(&b, STR("{\"id\":"));
    eval_put_json(&b, j->id);
    eval_put_ids(&b, "ids", r->ids, r->n_prompt);
    if (j->positions) {
      buf_put(&b, STR(",\"logits\":["));
      buf_put(&b, buf_str(&j->logits));
      buf_byte(&b, ']');
    }
    if (j->n_greedy) eval_put_ids(&b, "greedy", r->ids + r->n_prompt, r->n_ids - r->n_prompt);
    if (j->embed) {
      float *vector = ARENA_NEW(&j->memory, float, (size_t)j->pool.n);
      if (vector && pool_vector(&j->pool, vector)) {
        buf_put(&b, STR(",\"embedding\":["));
        for (int i = 0; i < j->pool.n; i++) {
          if (i) buf_byte(&b, ',');
          json_put_float(&b, vector[i]);
        }
        buf_byte(&b, ']');
      } else {
        buf_put(&b, STR(",\"embedding\":null"));
      }
    }
    if (j->has_score) {
      buf_put(&b, STR(",\"score\":"));
      json_put_float(&b, j->score);
    }
    buf_printf(&b, ",\"steps\":%d,\"max_rows\":%d}", r->steps, r->max_rows);
    eval_write(v, &b);
  }
  r->state = REQUEST_NEW;
}

/* ---- requests ---- */

static bool eval_get_int(const struct json *o, const char *name, int64_t min, int64_t max, int64_t *out, struct bk_error *e) {
  const struct json *v = json_get(o, name);
  if (!v || v->type == JSON_NULL) return true;
  if (v->type != JSON_INT || v->integer < min || v->integer > max)
    return err_set(e, ERR_DATA, "\"%s\" must be an integer from %lld to %lld", name, (long long)min, (long long)max);
  *out = v->integer;
  return true;
}

static bool eval_get_bool(const struct json *o, const char *name, bool *out, struct bk_error *e) {
  const struct json *v = json_get(o, name);
  if (!v || v->type == JSON_NULL) return true;
  if (v->type != JSON_BOOL) return err_set(e, ERR_DATA, "\"%s\" must be true or false", name);
  *out = v->boolean;
  return true;
}

/* The ids of a request: given, or of its text. Leaves room for `extra` more. */
static bool eval_ids(struct eval *v, struct eval_job *j, const struct json *o, int extra, struct bk_error *e) {
  struct request *r = &j->request;
  const struct json *ids = json_get(o, "ids"), *text = json_get(o, "text"), *special = json_get(o, "special");
  if (ids && ids->type == JSON_ARRAY) {
    r->ids = ARENA_NEW(&j->memory, int32_t, (size_t)ids->count + (size_t)extra + 1);
    if (!r->ids) return err_set(e, ERR_DATA, "\"ids\" is too long");
    for (const struct json *id = ids->first; id; id = id->next) {
      if (id->type != JSON_INT || id->integer < 0 || id->integer >= v->n_vocab)
        return err_set(e, ERR_DATA, "\"ids\" must be integers from 0 to %d", v->n_vocab - 1);
      r->ids[r->n_prompt++] = (int32_t)id->integer;
    }
    return true;
  }
  if (!text || text->type != JSON_STRING) return err_set(e, ERR_DATA, "expected \"ids\" (an array) or \"text\" (a string)");
  if (!v->vocab) return err_set(e, ERR_DATA, "the model file holds no vocabulary: give \"ids\"");
  struct token_options options = {true, false}; // absent: added, none parsed
  bool both = false;
  if (special && special->type != JSON_NULL) {
    if (!eval_get_bool(o, "special", &both, e)) return false;
    options = (struct token_options){both, both};
  }
  size_t bound = token_bound(v->vocab, text->string.len);
  r->ids = ARENA_NEW(&j->memory, int32_t, bound + (size_t)extra + 1);
  if (!r->ids || bound > INT32_MAX) return err_set(e, ERR_DATA, "\"text\" is too long");
  return token_encode(v->vocab, text->string, options, j->memory, r->ids, (int)bound, &r->n_prompt, e);
}

static bool eval_tokenize(struct eval *v, struct eval_job *j, struct bk_error *e) {
  struct buf b = buf_new(&j->memory, 16 * (size_t)j->request.n_prompt + 256);
  if (b.cap == 0) return err_set(e, ERR_DATA, "the answer is too long");
  buf_put(&b, STR("{\"id\":"));
  eval_put_json(&b, j->id);
  eval_put_ids(&b, "ids", j->request.ids, j->request.n_prompt);
  buf_byte(&b, '}');
  eval_write(v, &b);
  return true;
}

static bool eval_detokenize(struct eval *v, struct eval_job *j, struct bk_error *e) {
  if (!v->vocab) return err_set(e, ERR_DATA, "the model file holds no vocabulary");
  struct buf text = buf_new(&j->memory, v->vocab->max_piece * (size_t)j->request.n_prompt + 16);
  for (int i = 0; i < j->request.n_prompt; i++) token_piece(v->vocab, j->request.ids[i], &text);
  struct buf b = buf_new(&j->memory, 2 * text.len + 256);
  if (text.cap == 0 || b.cap == 0) return err_set(e, ERR_DATA, "the answer is too long");
  buf_put(&b, STR("{\"id\":"));
  eval_put_json(&b, j->id);
  buf_put(&b, STR(",\"bytes_hex\":\""));
  for (size_t i = 0; i < text.len; i++) buf_printf(&b, "%02x", (uint8_t)text.ptr[i]);
  buf_put(&b, STR("\"}"));
  eval_write(v, &b);
  return true;
}

static struct str eval_string(const struct json *o, const char *name) {
  const struct json *v = json_get(o, name);
  return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

static bool eval_template(struct eval *v, struct eval_job *j, const struct json *o, struct bk_error *e) {
  struct str source = eval_string(o, "template");
  if (!source.ptr && v->engine) {
    const struct gguf *g = &v->engine->model.gguf;
    if (!gguf_get_string(g, STR("tokenizer.chat_template"), &source, e))
      return err_set(e, ERR_DATA, "the model file holds no chat template");
  }
  if (!source.ptr) return err_set(e, ERR_DATA, "expected \"template\" (a string)");
  struct chat_input in = {.messages = json_get(o, "messages"), .tools = json_get(o, "tools"), .kwargs = json_get(o, "kwargs"),
                          .bos_token = eval_string(o, "bos_token"), .eos_token = eval_string(o, "eos_token"), .now = eval_string(o, "now")};
  const struct chat_template *t = chat_compile(source, &j->memory, e);
  struct chat_prompt prompt;
  if (!t || !chat_render(t, &in, &j->memory, EVAL_LINE, &prompt, e)) return false;
  struct buf b = buf_new(&j->memory, 6 * prompt.text.len + 1024);
  if (b.cap == 0) return err_set(e, ERR_DATA, "the answer is too long");
  buf_put(&b, STR("{\"id\":"));
  eval_put_json(&b, j->id);
  buf_put(&b, STR(",\"prompt\":"));
  json_put_string(&b, prompt.text);
  buf_byte(&b, '}');
  eval_write(v, &b);
  return true;
}

static bool eval_positions(struct eval_job *j, const struct json *o, struct bk_error *e) {
  const struct json *p = json_get(o, "positions");
  if (!p || p->type == JSON_NULL) return true;
  if (p->type != JSON_ARRAY) return err_set(e, ERR_DATA, "\"positions\" must be an array");
  int n = j->request.n_prompt;
  j->positions = p;
  j->wanted = ARENA_NEW(&j->memory, bool, (size_t)n + 1);
  j->best = ARENA_NEW(&j->memory, struct sample_candidate, (size_t)j->eval->n_vocab);
  j->logits = buf_new(&j->memory, (size_t)p->count * (160 + 32 * (size_t)j->top));
  if (!j->wanted || !j->best || (p->count && !j->logits.cap)) return err_set(e, ERR_DATA, "the answer is too long");
  for (const struct json *at = p->first; at; at = at->next) {
    if (at->type != JSON_INT || at->integer >= n || at->integer < -n)
      return err_set(e, ERR_DATA, "\"positions\" must be integers from %d to %d", -n, n - 1);
    j->wanted[at->integer < 0 ? at->integer + n : at->integer] = true;
  }
  j->request.wanted = j->wanted;
  return true;
}

static bool eval_types(struct eval_job *j, const struct json *o, struct bk_error *e) {
  const struct json *types = json_get(o, "types");
  if (!types || types->type == JSON_NULL) return true;
  int32_t *to = types->type == JSON_ARRAY && (int)types->count == j->request.n_prompt
                    ? ARENA_NEW(&j->memory, int32_t, (size_t)types->count + 1) : NULL;
  if (!to) return err_set(e, ERR_DATA, "\"types\" must be an array of %d integers", j->request.n_prompt);
  j->request.types = to;
  for (const struct json *t = types->first; t; t = t->next) {
    if (t->type != JSON_INT || t->integer < 0 || t->integer > INT32_MAX) return err_set(e, ERR_DATA, "\"types\" must be integers from 0");
    *to++ = (int32_t)t->integer;
  }
  return true;
}

static bool eval_embed(struct eval *v, struct eval_job *j, struct bk_error *e) {
  const struct hparams *hp = &v->engine->model.hp;
  j->embed = pool_new(&j->pool, pool_kind(hp), (int)hp->n_embd, &j->memory);
  j->request.pool = &j->pool;
  return j->embed || err_set(e, ERR_DATA, "the answer is too long");
}

/* Of a ranker: its head at the position that it reads, the first of an encoder, the last of a decoder. */
static int32_t eval_take_score(struct request *r, int position, const float *logits) {
  struct eval_job *j = r->context;
  const struct hparams *hp = &j->eval->engine->model.hp;
  if (position == pool_score_position(hp, r->n_prompt)) j->score = pool_score(hp, logits), j->has_score = true;
  return -1;
}

static bool eval_want_score(struct eval *v, struct eval_job *j, struct bk_error *e) {
  if (v->engine->model.hp.n_labels < 1) return err_set(e, ERR_DATA, "not supported: scores; the model has no ranker's head");
  if (j->positions || j->n_greedy) return err_set(e, ERR_DATA, "\"score\" goes with neither \"positions\" nor \"greedy\"");
  if (!(j->wanted = ARENA_NEW(&j->memory, bool, (size_t)j->request.n_prompt + 1))) return err_set(e, ERR_DATA, "the answer is too long");
  j->wanted[0] = true;
  j->request.wanted = j->wanted;
  j->request.logits = eval_take_score;
  return true;
}

/* Answers what needs no model at once; else queues it. */
static bool eval_start(struct eval *v, struct eval_job *j, struct str line, struct bk_error *e) {
  struct json *o;
  if (!json_parse(line, &j->memory, &o, e)) return false;
  if (o->type != JSON_OBJECT) return err_set(e, ERR_DATA, "expected an object");
  j->id = json_get(o, "id");
  if (json_get(o, "messages")) return eval_template(v, j, o, e);
  int64_t greedy = 0, top = 32;
  bool tokenize = false, detokenize = false, embed = false, score = false;
  if (!eval_get_int(o, "greedy", 0, 1 << 20, &greedy, e) || !eval_get_int(o, "top", 0, EVAL_MAX_TOP, &top, e) ||
      !eval_get_bool(o, "tokenize", &tokenize, e) || !eval_get_bool(o, "detokenize", &detokenize, e) ||
      !eval_get_bool(o, "embed", &embed, e) || !eval_get_bool(o, "score", &score, e))
    return false;
  if (!v->n_vocab) return err_set(e, ERR_USAGE, "no model: give -m");
  if (!eval_ids(v, j, o, (int)greedy, e)) return false;
  if (tokenize) return eval_tokenize(v, j, e);
  if (detokenize) return eval_detokenize(v, j, e);
  if (!v->engine) return err_set(e, ERR_DATA, "the file holds a vocabulary only, no weights");
  j->top = (int)top;
  j->n_greedy = (int)greedy;
  if (!eval_positions(j, o, e)) return false;
  j->request.n_max = j->request.n_prompt + (int)greedy;
  if (j->request.n_max > v->engine->options.n_context)
    return err_set(e, ERR_DATA, "%d tokens and %d more, the context holds %d", j->request.n_prompt, (int)greedy,
                   v->engine->options.n_context);
  j->request.logits = j->positions || greedy ? eval_logits : NULL;
  j->request.context = j;
  if (!eval_types(j, o, e) || (embed && !eval_embed(v, j, e)) || (score && !eval_want_score(v, j, e))) return false;
  return engine_submit(v->engine, &j->request, e);
}

/* Reads a line of at most EVAL_LINE bytes, without its end, into the arena. False at the end of the input. */
static bool eval_read_line(FILE *in, struct arena *a, struct str *line, struct bk_error *e) {
  size_t cap = (size_t)(a->end - a->beg), n = 0;
  if (cap > EVAL_LINE) cap = EVAL_LINE;
  int c;
  while ((c = getc(in)) != EOF && c != '\n')
    if (n < cap) a->beg[n++] = (char)c;
    else err_set(e, ERR_DATA, "a line is longer than %d bytes", EVAL_LINE);
  *line = (struct str){a->beg, n};
  a->beg += n;
  return c != EOF || n > 0;
}

/* Takes requests until every slot is busy or the input ends. */
static bool eval_fill(struct eval *v, FILE *in) {
  for (int i = 0; i < v->n_jobs; i++) {
    struct eval_job *j = &v->jobs[i];
    while (j->request.state == REQUEST_NEW) {
      struct arena whole = j->whole;
      *j = (struct eval_job){.memory = whole, .whole = whole, .eval = v};
      struct str line;
      if (!eval_read_line(in, &j->memory, &line, &j->error)) return false;
      if (line.len == 0 && !j->error.code) continue;
      if (j->error.code || !eval_start(v, j, line, &j->error)) eval_answer_error(v, j);
      if (j->request.state == REQUEST_NEW && line.len > 1 << 20) os_forget(whole.beg, (size_t)(whole.end - whole.beg));
    }
  }
  return true;
}

/* All of the input. engine or vocab may be NULL: then what needs them is answered with an error. */
static bool eval_run(struct engine *engine, const struct vocab *vocab, FILE *in, FILE *out, struct arena *a, struct bk_error *e) {
  struct eval v = {.engine = engine, .vocab = vocab, .out = out, .n_jobs = engine ? engine->options.n_sequences : 1};
  v.n_vocab = engine ? (int)engine->model.hp.n_vocab : vocab ? vocab->n_tokens : 0;
  v.jobs = ARENA_NEW(a, struct eval_job, (size_t)v.n_jobs);
  if (!v.jobs) return err_set(e, ERR_OS, "no memory for %d requests", v.n_jobs);
  for (int i = 0; i < v.n_jobs; i++) {
    v.jobs[i].whole = os_reserve(EVAL_SLOT, e);
    if (!v.jobs[i].whole.beg) return false;
  }
  for (bool more = true;;) {
    if (more) more = eval_fill(&v, in);
    bool ran = engine && engine_step(engine);
    for (int i = 0; i < v.n_jobs; i++)
      if (v.jobs[i].request.state == REQUEST_DONE) eval_finish(&v, &v.jobs[i]);
    if (!more && !ran) break;
  }
  for (int i = 0; i < v.n_jobs; i++) os_release(v.jobs[i].whole);
  if (fflush(out) != 0) v.write_failed = true;
  return !v.write_failed || err_set(e, ERR_IO, "cannot write the answers");
}

/* ---- perplexity ---- */

/* Sums over scored tokens. Beside a source model: its rows of the step, and KL(P_source || P_model) of every token. */
struct eval_nll {
  double sum, squares;
  int count, n_vocab;
  float *source;     // (EVAL_ROWS, n_vocab) of position p at p % EVAL_ROWS; NULL: there is none
  double *kl;        // (tokens scored)
  double kl_sum, kl_squares;
  int same_top;
};

/* e^x, x <= 0, as kern_exp has it but without a division: this is called twice for every token of the vocabulary. */
static double eval_exp(double x) {
  static const double inverse[] = {1.0 / 13, 1.0 / 12, 1.0 / 11, 1.0 / 10, 1.0 / 9, 1.0 / 8, 1.0 / 7,
                                   1.0 / 6, 1.0 / 5, 1.0 / 4, 1.0 / 3, 1.0 / 2, 1};
  if (!(x > -700)) return 0;
  int n = (int)(x * 1.4426950408889634 - 0.5);
  double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10, sum = 0, power; // r^14 / 14! < 1e-17
  for (int i = 0; i < ARRAY_LEN(inverse); i++) sum = (sum + 1) * (r * inverse[i]);
  uint64_t u = (uint64_t)(n + 1023) << 52;
  memcpy(&power, &u, sizeof power);
  return (sum + 1) * power;
}

static int32_t eval_keep(struct request *r, int position, const float *logits) {
  struct eval_nll *s = r->context;
  memcpy(s->source + (size_t)(position % EVAL_ROWS) * (size_t)s->n_vocab, logits, sizeof *logits * (size_t)s->n_vocab);
  return -1;
}

static int32_t eval_score(struct request *r, int position, const float *logits) {
  struct eval_nll *s = r->context;
  if (position + 1 >= r->n_prompt) return -1;
  const float *source = s->source ? s->source + (size_t)(position % EVAL_ROWS) * (size_t)s->n_vocab : logits;
  int top = 0, source_top = 0;
  for (int i = 1; i < s->n_vocab; i++) {
    if (logits[i] > logits[top]) top = i;
    if (source[i] > source[source_top]) source_top = i;
  }
  double total = 0, source_total = 0, cross = 0; // cross: sum of source's weight * difference of logits
  for (int i = 0; i < s->n_vocab; i++) {
    double q = (double)(logits[i] - logits[top]), p = (double)(source[i] - source[source_top]);
    total += eval_exp(q);
    if (!s->source) continue;
    double weight = eval_exp(p);
    source_total += weight;
    cross += weight * (p - q);
  }
  double nll = kern_log(total) - (double)(logits[r->ids[position + 1]] - logits[top]);
  s->sum += nll;
  s->squares += nll * nll;
  if (s->source) {
    double kl = cross / source_total + kern_log(total / source_total);
    s->kl[s->count] = kl > 0 ? kl : 0; // below zero only by rounding
    s->kl_sum += s->kl[s->count];
    s->kl_squares += kl * kl;
    s->same_top += top == source_top;
  }
  s->count++;
  return -1;
}

static double eval_sqrt(double x) { return x > 0 ? kern_exp(0.5 * kern_log(x)) : 0; }

/* The standard error of a mean. */
static double eval_error(double sum, double squares, int n) {
  double mean = sum / n, variance = squares / n - mean * mean;
  return eval_sqrt(variance / (n - 1));
}

static int eval_compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* One window through both, step by step, so that a step's rows of the source are all that is kept. */
static bool eval_window(struct engine *g, struct engine *source, struct request *r, struct bk_error *e) {
  struct request first = *r;
  first.logits = eval_keep;
  if (!engine_submit(g, r, e) || (source && !engine_submit(source, &first, e))) return false;
  while (r->state != REQUEST_DONE) {
    if (source) engine_step(source);
    engine_step(g);
  }
  return true;
}

static void eval_print(const struct eval_nll *s, int windows, FILE *out) {
  double ppl = kern_exp(s->sum / s->count);
  fprintf(out, "{\"perplexity\":%.6f,\"standard_error\":%.6f,\"tokens\":%d,\"windows\":%d", ppl,
          ppl * eval_error(s->sum, s->squares, s->count), s->count, windows);
  if (s->source) {
    qsort(s->kl, (size_t)s->count, sizeof *s->kl, eval_compare);
    fprintf(out, ",\"kl\":%.6g,\"kl_standard_error\":%.6g,\"kl_99\":%.6g,\"kl_max\":%.6g,\"same_top\":%.6f", s->kl_sum / s->count,
            eval_error(s->kl_sum, s->kl_squares, s->count), s->kl[(size_t)s->count * 99 / 100], s->kl[s->count - 1],
            (double)s->same_top / s->count);
  }
  fputs("}\n", out);
}

/* The same ids, or their distributions cannot be compared. */
static bool eval_same_ids(struct engine *source, struct str text, const int32_t *ids, int n, size_t bound, struct arena a,
                          struct bk_error *e) {
  const struct vocab *v = source->model.vocab;
  int32_t *theirs = ARENA_NEW(&a, int32_t, bound);
  int m = 0;
  if (!v || !theirs || !token_encode(v, text, (struct token_options){true, false}, a, theirs, (int)bound, &m, e) || m != n ||
      memcmp(ids, theirs, sizeof *ids * (size_t)n) != 0)
    return err_set(e, ERR_DATA, "the two models do not have the same vocabulary");
  return true;
}

/* Windows of 512 tokens, the second half of each scored, each begun with BOS if the model adds one. source: another model
 * of the same vocabulary and options whose distributions are the truth, or NULL. */
static bool eval_perplexity(struct engine *g, struct engine *source, struct str text, FILE *out, struct bk_error *e) {
  const struct vocab *v = g->model.vocab;
  enum { N = EVAL_PERPLEXITY_CONTEXT };
  struct eval_nll s = {.n_vocab = (int)g->model.hp.n_vocab};
  if (!v) return err_set(e, ERR_DATA, "the model file holds no vocabulary");
  if (source && source->model.hp.n_vocab != s.n_vocab) return err_set(e, ERR_DATA, "the two models do not have the same vocabulary");
  if (g->options.n_context < N || (source && source->options.n_context < N))
    return err_set(e, ERR_DATA, "perplexity needs a context of %d", N);
  size_t bound = token_bound(v, text.len), bytes = bound * 16 + token_scratch(v, text.len) + (1 << 20);
  if (source) bytes += (size_t)s.n_vocab * EVAL_ROWS * sizeof(float) + token_scratch(source->model.vocab, text.len);
  struct arena whole = os_reserve(bytes, e), a = whole;
  if (!whole.beg) return false;
  int32_t *ids = ARENA_NEW(&a, int32_t, bound);
  int n = 0;
  bool ok = token_encode(v, text, (struct token_options){true, false}, a, ids, (int)bound, &n, e);
  if (ok && n < 2 * N) ok = err_set(e, ERR_DATA, "the text has %d tokens, at least %d expected", n, 2 * N);
  if (ok && source) {
    ok = eval_same_ids(source, text, ids, n, bound, a, e);
    s.source = ARENA_NEW(&a, float, (size_t)s.n_vocab * EVAL_ROWS);
    s.kl = ARENA_NEW(&a, double, (size_t)n);
  }
  bool wanted[N];
  for (int i = 0; i < N; i++) wanted[i] = i >= N / 2;
  for (int w = 0; ok && w < n / N; w++) {
    struct request r = {.ids = ids + w * N, .n_prompt = N, .n_max = N, .wanted = wanted, .logits = eval_score, .context = &s};
    int32_t first = r.ids[0];
    if (v->add_bos && v->bos >= 0) r.ids[0] = v->bos;
    ok = eval_window(g, source, &r, e);
    r.ids[0] = first;
  }
  if (ok) eval_print(&s, n / N, out);
  os_release(whole);
  return ok;
}

/* ---- blocks to floats ---- */

static bool eval_dequant(struct str type, FILE *in, FILE *out, struct bk_error *e) {
  const struct quant *q = quant_named(type);
  if (!q) return err_set(e, ERR_DATA, "not supported: weight type " STR_FMT, STR_ARG(type));
  uint64_t block[64]; // aligned; a block is at most 512 bytes
  float y[256];
  BK_ASSERT(q->block_bytes <= sizeof block && q->block <= ARRAY_LEN(y));
  size_t n;
  while ((n = fread(block, 1, q->block_bytes, in)) == q->block_bytes) {
    q->decode(block, y);
    if (fwrite(y, sizeof *y, (size_t)q->block, out) != (size_t)q->block) return err_set(e, ERR_IO, "cannot write the floats");
  }
  if (n) return err_set(e, ERR_DATA, "the input ends with %zu bytes, a block of %s has %zu", n, q->name, q->block_bytes);
  return fflush(out) == 0 || err_set(e, ERR_IO, "cannot write the floats");
}
