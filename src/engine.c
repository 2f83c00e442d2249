/* engine.c -- many sequences, one machine. Requests are admitted when the pages of their whole length are free, so an
 * admitted one always ends; every step runs one row of each sequence that generates and pieces of the prompts that wait.
 *
 * A step is one batch that all threads share, each taking parts of every operation. Where nothing is generated and many
 * sequences wait, it is many small batches, and each thread takes whole ones: nobody waits for anybody, and a batch stays
 * in the cache of its core. The bits are the same.
 *
 * Owns the model, its memory and its threads. One thread drives it: engine_step is never entered twice.
 * SPDX-License-Identifier: MIT */

enum engine_lanes { LANES_NONE, LANES_ENCODER, LANES_ANY }; // whose threads may take batches of their own: it takes scratch for each

struct engine_options {
  int n_threads;         // 0: as many as the machine gives
  int n_context;         // positions of one sequence; 0: min(model's, 4096)
  int n_sequences;       // at once; 0: 1
  int chunk;             // most rows of one prompt in a step; 0: ENGINE_ROWS
  int rows;              // most rows of a batch that holds several sequences; 0: ENGINE_LANE_ROWS, or what the tape was planned for
  int n_positions;       // of all sequences that look back, together; 0: n_sequences whole contexts
  enum engine_lanes lanes;
  enum kv_type kv;
  bool exact;            // float32 activations, keys and values
  bool has_isa;
  enum os_isa isa;
  uint64_t memory;       // ceiling in bytes, 0: none
  const char *const *loras; // see struct model_options
};

enum {
  ENGINE_ROWS = 256,   // of a batch at most, unless a model looks both ways and has a longer context
  ENGINE_LANE_ROWS = 192, // of one that holds several sequences, on a lane, if nobody says
  ENGINE_BATCHES = 32, // of a step on lanes
  ENGINE_SEQUENCES = 64 // of a batch of a model that looks both ways
};

enum request_state { REQUEST_NEW, REQUEST_WAITING, REQUEST_RUNNING, REQUEST_DONE };

struct request {
  int32_t *ids;          // (n_max) the prompt, then what is generated
  const int32_t *types;  // (n_prompt) token types; NULL: zeros
  int n_prompt, n_max;   // n_max: most ids it may come to
  const bool *wanted;    // (n_prompt) whose logits are asked for; NULL: of the last only
  /* Called for every wanted position, in order, and for each generated one: returns the next token where the position is
   * the last one there is, -1 to end. logits (n_vocab) die with the call. */
  int32_t (*logits)(struct request *r, int position, const float *logits);
  void *context;
  struct pool *pool;     // takes hidden states of the prompt; NULL: they are not asked for
  int n_ids;             // ids there are
  int n_done;            // positions computed
  int steps, max_rows;   // steps it took part in, most rows one of them held
  enum request_state state;
  bool over;             // nothing comes behind what was computed
  bool keep;             // its pages stay its own when it is done, for a longer sequence with the same beginning
  int *pages, n_pages;   // taken while it runs; NULL: none
  struct request *next;  // in the order of arrival
};

struct engine_batch {
  struct batch rows;
  struct request **owner;    // (n_segments)
  int n_pages;               // of all sequences of a model that looks both ways
};

struct engine {
  struct model model;
  struct kv kv;
  struct cpu cpu;            // all threads
  struct cpu *lanes;         // (n_lanes) each thread alone
  int n_lanes;
  struct engine_options options;
  struct arena memory;   // as reserved
  struct arena tables;   // what is left of it
  struct request *first, *last;
  int32_t *token, *position, *type; // (rows of a step)
  int *segment, *kept, *out;
  struct batch_segment *segments;
  struct request **owner;    // (rows of a step) of a segment
  struct engine_batch *batches; // (ENGINE_BATCHES) of the step
  int n_batches, n_rows;
  int *pages;                // (kv.n_pages) 0, 1, ...: those of a lane lie together
  int *page_lists;           // (n_sequences, max_pages)
  struct request **slot;     // (n_sequences) who has that page list
  double load_seconds;
};

/* What `bodkin info` prints and --memory is compared with. */
struct engine_plan {         // bytes
  size_t mapped, packed, tables, keys_values, scratch, total;
};

static int engine_rows(const struct engine *g) { return g->model.tape.max_rows; }

static int engine_max_pages(const struct engine *g) { return kv_pages_for(g->options.n_context); }

/* Where a sequence is computed in one batch and its pages are then nobody's, those of a batch. */
static int engine_lane_pages(const struct engine *g) { return kv_pages_for(engine_rows(g)) + ENGINE_SEQUENCES; }

/* Pages there are: of whole contexts or as options have it. */
static int engine_n_pages(const struct engine *g) {
  const int n = g->options.n_sequences, one = engine_max_pages(g), whole = n * one, some = g->options.n_positions / KV_PAGE + n;
  if (!g->model.hp.causal) return engine_lane_pages(g) * (g->n_lanes ? g->n_lanes : 1);
  return !g->options.n_positions || some > whole ? whole : some < one ? one : some;
}

static int engine_step_rows(const struct engine *g) {
  return g->n_lanes ? g->options.rows * ENGINE_BATCHES + engine_rows(g) * g->n_lanes : engine_rows(g);
}

static size_t engine_cpu_bytes(const struct engine *g, int n_threads) {
  const struct tape *t = &g->model.tape;
  return t->scratch_bytes + t->panel_bytes + (size_t)n_threads * (cpu_thread_bytes(t, engine_max_pages(g)) + 64) +
         cpu_parts_bytes(t, engine_max_pages(g), n_threads) + cpu_pairs_bytes(t) + (size_t)(2 * t->n_ops + 16) * 64 +
         sizeof(struct cpu) + (16 << 10);
}

static size_t engine_scratch_bytes(const struct engine *g) {
  return engine_cpu_bytes(g, g->options.n_threads) + engine_cpu_bytes(g, 1) * (size_t)g->n_lanes + (size_t)engine_step_rows(g) * 96 +
         ENGINE_BATCHES * sizeof(struct engine_batch) + (size_t)engine_n_pages(g) * sizeof(int) +
         (size_t)g->options.n_sequences * (size_t)engine_max_pages(g) * 3 * sizeof(int) + (64 << 10);
}

static struct engine_plan engine_plan(const struct engine *g) {
  struct engine_plan p = {.mapped = g->model.kept_mapped_bytes, .packed = g->model.packed_bytes, .tables = g->model.tables_bytes,
                          .keys_values = g->kv.page_bytes * (size_t)engine_n_pages(g),
                          .scratch = engine_scratch_bytes(g)};
  p.total = p.mapped + p.packed + p.tables + p.keys_values + p.scratch;
  return p;
}

static void engine_pack_chunk(void *context, int phase, int chunk, int thread) {
  (void)phase, (void)thread;
  model_pack(&((struct engine *)context)->model, chunk);
}

static bool engine_layout(struct engine *g, struct bk_error *e) {
  struct hparams *hp = &g->model.hp;
  g->kv.type = g->options.kv;
  g->kv.n_layers = (int)hp->n_layer;
  g->kv.shared = !hp->causal; // a sequence is one step: nobody reads a layer's keys after the next has begun
  g->kv.layers = ARENA_NEW(&g->tables, struct kv_layer, (size_t)hp->n_layer);
  if (!g->kv.layers) return err_set(e, ERR_OS, "no memory for %lld layers", (long long)hp->n_layer);
  for (int i = 0; i < g->model.tape.n_ops; i++) { // as attention has them, which may not be as the file says
    const struct op *op = &g->model.tape.ops[i];
    if (op->kind == OP_ATTENTION) g->kv.layers[op->layer] = (struct kv_layer){op->n_head_kv, op->head_dim, op->value_dim, 0, 0, 0};
  }
  kv_layout(&g->kv);
  struct engine_plan p = engine_plan(g);
  if (g->options.memory && p.total > g->options.memory)
    return err_set(e, ERR_BUSY, "the model needs %zu bytes (weights %zu, context %zu, scratch %zu, tables %zu), --memory allows %llu: "
                   "try a smaller --context", p.total, p.packed + p.mapped, p.keys_values, p.scratch, p.tables,
                   (unsigned long long)g->options.memory);
  return true;
}

static bool engine_reserve(struct engine *g, const struct kern *kern, struct bk_error *e) {
  struct engine_options *o = &g->options;
  int max_pages = engine_max_pages(g);
  struct arena *a = &g->tables;
  if (!kv_reserve(&g->kv, engine_n_pages(g), &g->tables, e)) return false;
  const size_t rows = (size_t)engine_step_rows(g);
  g->token = ARENA_NEW(a, int32_t, rows);
  g->position = ARENA_NEW(a, int32_t, rows);
  g->type = ARENA_NEW(a, int32_t, rows);
  g->segment = ARENA_NEW(a, int, rows);
  g->kept = ARENA_NEW(a, int, rows);
  g->out = ARENA_NEW(a, int, rows);
  g->segments = ARENA_NEW(a, struct batch_segment, rows);
  g->owner = ARENA_NEW(a, struct request *, rows);
  g->batches = ARENA_NEW(a, struct engine_batch, ENGINE_BATCHES);
  g->pages = ARENA_NEW(a, int, (size_t)g->kv.n_pages);
  g->page_lists = ARENA_NEW(a, int, (size_t)o->n_sequences * (size_t)max_pages);
  g->slot = ARENA_NEW(a, struct request *, (size_t)o->n_sequences);
  g->lanes = ARENA_NEW(a, struct cpu, (size_t)g->n_lanes);
  if (!g->token || !g->position || !g->type || !g->segment || !g->kept || !g->out || !g->segments || !g->owner || !g->batches ||
      !g->pages || !g->page_lists || !g->slot || !g->lanes)
    return err_set(e, ERR_OS, "no memory for the engine's tables");
  for (int i = 0; i < g->kv.n_pages; i++) g->pages[i] = i;
  for (int i = 0; i < g->n_lanes; i++)
    if (!cpu_open(&g->lanes[i], kern, o->exact, 1, max_pages, &g->model.tape, &g->kv, a, e)) return false;
  return cpu_open(&g->cpu, kern, o->exact, o->n_threads, max_pages, &g->model.tape, &g->kv, a, e);
}

static void engine_close(struct engine *g) {
  cpu_pool_close(&g->cpu.pool);
  os_release(g->kv.memory);
  os_release(g->memory);
  model_close(&g->model);
  memset(g, 0, sizeof *g);
}

/* Fills in what the caller left open. Error: an instruction set this machine lacks, a context the model cannot have. */
static bool engine_defaults(struct engine *g, const struct kern **kern, struct bk_error *e) {
  struct engine_options *o = &g->options;
  if (!o->has_isa) o->isa = kern_best();
  *kern = kern_get(o->isa);
  if (!*kern) return err_set(e, ERR_UNAVAILABLE, "not supported: instruction set %s on this machine", kern_names[o->isa]);
  if (o->n_threads <= 0) o->n_threads = os_cpu_count();
  if (o->n_sequences <= 0) o->n_sequences = 1;
  if (o->n_sequences > ENGINE_ROWS) o->n_sequences = ENGINE_ROWS;
  if (o->chunk <= 0 || o->chunk > ENGINE_ROWS || !g->model.hp.causal) o->chunk = engine_rows(g);
  g->n_lanes = o->lanes == LANES_ANY || (o->lanes == LANES_ENCODER && !g->model.hp.causal) ? o->n_threads : 0;
  if (o->rows <= 0 && g->n_lanes) o->rows = ENGINE_LANE_ROWS;
  if (o->rows <= 0 || o->rows > engine_rows(g)) o->rows = engine_rows(g);
  if (o->exact) o->kv = KV_F32;
  o->n_context = g->model.n_context;
  return true;
}

/* Opens a model without packing it: enough for plans and for printing. engine_load does the rest. */
static bool engine_open(struct engine *g, const char *path, const struct engine_options *options, struct bk_error *e) {
  memset(g, 0, sizeof *g);
  g->options = *options;
  const struct kern *kern;
  const struct model_options inside = {options->n_context, ENGINE_ROWS, options->loras};
  if (!model_open(&g->model, path, &inside, e)) return false;
  if (!engine_defaults(g, &kern, e)) goto fail;
  size_t lists = (size_t)g->options.n_sequences * (size_t)engine_max_pages(g) * 64 + (size_t)g->model.hp.n_layer * 256;
  g->memory = os_reserve(engine_scratch_bytes(g) + lists + (1 << 20), e);
  if (!g->memory.beg) goto fail;
  g->tables = g->memory;
  if (engine_layout(g, e)) return true;
fail:
  engine_close(g);
  return false;
}

/* Reserves keys, values and scratch, starts the threads, packs the weights. After it nothing is allocated. */
static bool engine_load(struct engine *g, struct bk_error *e) {
  double start = os_seconds();
  if (!engine_reserve(g, kern_get(g->options.isa), e)) {
    engine_close(g);
    return false;
  }
  int pieces = model_pack_pieces(&g->model);
  cpu_pool_run(&g->cpu.pool, 1, &pieces, engine_pack_chunk, g);
  g->load_seconds = os_seconds() - start;
  return true;
}

/* ---- requests ---- */

/* Queues a request; r stays the caller's and must live until its state is REQUEST_DONE. Error: ids out of range, too long. */
static bool engine_submit(struct engine *g, struct request *r, struct bk_error *e) {
  if (r->n_prompt < 1) return err_set(e, ERR_DATA, "the prompt is empty");
  if (r->n_max < r->n_prompt) r->n_max = r->n_prompt;
  if (r->n_prompt > g->options.n_context)
    return err_set(e, ERR_DATA, "the prompt has %d tokens, the context holds %d", r->n_prompt, g->options.n_context);
  if (r->n_max > g->options.n_context) r->n_max = g->options.n_context;
  for (int i = 0; i < r->n_prompt; i++)
    if (r->ids[i] < 0 || r->ids[i] >= g->model.hp.n_vocab)
      return err_set(e, ERR_DATA, "token %d of the prompt is %d, expected 0 to %lld", i, r->ids[i], (long long)g->model.hp.n_vocab - 1);
  for (int i = 0; i < r->n_prompt && r->types; i++)
    if (r->types[i] < 0 || r->types[i] >= g->model.hp.n_types)
      return err_set(e, ERR_DATA, "token type %d is %d, the model knows %lld", i, r->types[i], (long long)g->model.hp.n_types);
  if (r->logits && g->model.tape.result == VALUE_NONE) return err_set(e, ERR_DATA, "not supported: logits; the model makes vectors");
  r->n_ids = r->n_prompt;
  r->steps = r->max_rows = 0;
  r->over = false;
  if (!r->pages) r->n_done = 0; // with pages kept, n_done positions of this very prompt are in them
  if (r->n_done >= r->n_prompt) r->n_done = r->n_prompt - 1;
  r->state = r->pages ? REQUEST_RUNNING : REQUEST_WAITING;
  r->next = NULL;
  if (g->last) g->last->next = r;
  else g->first = r;
  g->last = r;
  return true;
}

static void engine_admit(struct engine *g) {
  for (struct request *r = g->first; r; r = r->next) {
    if (r->state != REQUEST_WAITING) continue;
    int slot = 0, need = g->model.hp.causal ? kv_pages_for(r->keep ? g->options.n_context : r->n_max) : 0;
    while (slot < g->options.n_sequences && g->slot[slot]) slot++;
    if (slot == g->options.n_sequences) return;
    int *pages = g->page_lists + (size_t)slot * (size_t)engine_max_pages(g);
    if (!kv_take(&g->kv, need, pages)) return; // in order: nobody overtakes a long one forever
    g->slot[slot] = r;
    r->pages = pages;
    r->n_pages = need;
    r->state = REQUEST_RUNNING;
  }
}

/* Gives back the pages of a request that is not running. */
static void engine_forget(struct engine *g, struct request *r) {
  if (r->pages) kv_give(&g->kv, r->n_pages, r->pages);
  r->pages = NULL;
  for (int i = 0; i < g->options.n_sequences; i++)
    if (g->slot[i] == r) g->slot[i] = NULL;
}

/* Ends a request, done or not: its place is free before the next step. */
static void engine_finish(struct engine *g, struct request *r) {
  if (!r->keep) engine_forget(g, r);
  r->state = REQUEST_DONE;
  struct request **link = &g->first, *before = NULL;
  while (*link && *link != r) before = *link, link = &(*link)->next;
  if (*link) *link = r->next;
  if (g->last == r) g->last = before;
}

static bool engine_wants(const struct request *r, int position) {
  return position >= r->n_prompt - 1 || (r->wanted && r->wanted[position]);
}

/* An empty batch behind those of the step. */
static struct engine_batch *engine_batch(struct engine *g) {
  struct engine_batch *p = &g->batches[g->n_batches++];
  const int at = g->n_rows;
  p->rows = (struct batch){.token = g->token + at, .position = g->position + at, .type = g->type + at, .segment = g->segment + at,
                           .segments = g->segments + at, .kept = g->kept + at, .out = g->out + at};
  p->owner = g->owner + at;
  p->n_pages = 0;
  return p;
}

/* Rows of a running sequence into the last batch, at most `most` of which it then has. False: they do not fit. */
static bool engine_add(struct engine *g, struct engine_batch *p, struct request *r, int most) {
  struct batch *b = &p->rows;
  const bool whole = !g->model.hp.causal;
  const int left = r->n_ids - r->n_done, room = most - b->n_rows, base = g->n_rows - b->n_rows, pages = whole ? kv_pages_for(left) : 0;
  int n = left < room ? left : room;
  if (n > g->options.chunk) n = g->options.chunk;
  if (n <= 0 || (n < left && whole) || p->n_pages + pages > engine_lane_pages(g) || g->n_rows + n > engine_step_rows(g)) return false;
  p->owner[b->n_segments] = r;
  g->segments[base + b->n_segments] = (struct batch_segment){b->n_rows, n, r->n_done, r->n_ids, whole ? NULL : r->pages,
                                                                b->n_kept, 0};
  for (int i = 0; i < n; i++) {
    const int row = b->n_rows + i, position = r->n_done + i;
    g->token[base + row] = r->ids[position];
    g->position[base + row] = position;
    g->type[base + row] = r->types && position < r->n_prompt ? r->types[position] : 0;
    g->segment[base + row] = b->n_segments;
    const bool logits = r->logits && engine_wants(r, position);
    if (logits) g->out[base + b->n_out++] = b->n_kept;
    if (logits || (r->pool && pool_wants(r->pool, position, r->n_prompt))) g->kept[base + b->n_kept++] = row;
  }
  g->segments[base + b->n_segments].n_kept = b->n_kept - g->segments[base + b->n_segments].kept;
  p->n_pages += pages;
  b->n_segments++;
  b->n_rows += n;
  g->n_rows += n;
  return true;
}

/* Rows of every running sequence: the one token of those that generate first, then pieces of prompts in order. */
static void engine_one_batch(struct engine *g) {
  struct engine_batch *p = engine_batch(g);
  for (int prompts = 0; prompts < 2; prompts++)
    for (struct request *r = g->first; r; r = r->next)
      if (r->state == REQUEST_RUNNING && (r->n_done >= r->n_prompt) == (prompts == 0))
        engine_add(g, p, r, p->rows.n_rows ? g->options.rows : engine_rows(g));
}

/* Prompts in order, in batches of about the same size, as many for each lane. False: too few, or something is generated. */
static bool engine_lane_batches(struct engine *g) {
  int64_t total = 0;
  for (struct request *r = g->first; r; r = r->next) {
    if (r->state != REQUEST_RUNNING) continue;
    if (r->n_max > r->n_prompt) return false;
    total += r->n_prompt - r->n_done < g->options.chunk ? r->n_prompt - r->n_done : g->options.chunk;
  }
  const int64_t share = (total + g->n_lanes - 1) / g->n_lanes, each = (share + g->options.rows - 1) / g->options.rows;
  const int most = each ? (int)((share + each - 1) / each) : 0;
  struct engine_batch *p = engine_batch(g);
  for (struct request *r = g->first; r; r = r->next) {
    if (r->state != REQUEST_RUNNING || engine_add(g, p, r, p->rows.n_rows ? most : engine_rows(g))) continue;
    if (g->n_batches == ENGINE_BATCHES) break;
    p = engine_batch(g);
    if (engine_add(g, p, r, engine_rows(g))) continue;
    g->n_batches--; // the step is full
    break;
  }
  return g->n_rows > 0 && g->n_batches >= g->n_lanes;
}

/* Hands the logits of one row to its request; the last position there is may bring a further token. */
static void engine_answer(struct request *r, int position, const float *logits, int n_vocab) {
  if (r->over) return;
  int32_t next = r->logits(r, position, logits);
  if (position != r->n_ids - 1) return;
  if (next >= 0 && next < n_vocab && r->n_ids < r->n_max) r->ids[r->n_ids++] = next;
  else next = -1;
  r->over = next < 0 || r->n_ids == r->n_max; // the last token's own logits are nobody's question
}

/* Hands the rows of one request to its pool. */
static void engine_pool(struct engine *g, struct cpu *c, const struct batch *b, const struct batch_segment *s, struct request *r) {
  const struct tape *t = &g->model.tape;
  for (int i = s->kept; i < s->kept + s->n_kept && r->pool; i++) {
    if (!pool_wants(r->pool, b->position[b->kept[i]], r->n_prompt)) continue;
    const float *x = cpu_row(c, pool_value(r->pool, t), i);
    if (r->pool->of == POOL_HIDDEN && t->hidden_norm.eps > 0) {
      float *normed = cpu_scratch(c, 0, CPU_ROW);
      cpu_norm(c->kern, &t->hidden_norm, x, (int)g->model.hp.n_embd, normed);
      x = normed;
    }
    pool_row(r->pool, x);
  }
}

/* Runs a batch of the step on a lane, or, where it is the only one, on all threads, and hands out what comes of it. */
static void engine_run(struct engine *g, struct cpu *c, struct engine_batch *p, int lane) {
  const struct batch *b = &p->rows;
  struct batch_segment *segments = g->segments + (b->segments - g->segments);
  const int *pages = g->pages + (size_t)lane * (size_t)engine_lane_pages(g);
  for (int i = 0; i < b->n_segments && !g->model.hp.causal; i++) {
    segments[i].pages = pages;
    pages += kv_pages_for(segments[i].n_rows);
  }
  cpu_run(c, b);
  for (int i = 0; i < b->n_segments; i++) engine_pool(g, c, b, &segments[i], p->owner[i]);
  for (int i = 0; i < b->n_out; i += HEAD_ROWS) {
    const int n = b->n_out - i < HEAD_ROWS ? b->n_out - i : HEAD_ROWS;
    size_t stride;
    const float *logits = cpu_run_head(c, i, n, &stride);
    for (int k = 0; k < n; k++) {
      const int row = b->kept[b->out[i + k]];
      engine_answer(p->owner[b->segment[row]], b->position[row], logits + stride * (size_t)k, (int)g->model.hp.n_vocab);
    }
  }
}

static void engine_run_lane(void *context, int phase, int chunk, int thread) {
  struct engine *g = context;
  (void)phase;
  engine_run(g, &g->lanes[thread], &g->batches[chunk], thread);
}

/* One step of all that runs. Returns false when nothing is left to do. */
static bool engine_step(struct engine *g) {
  g->n_batches = g->n_rows = 0;
  engine_admit(g);
  if (g->n_lanes && engine_lane_batches(g)) {
    cpu_pool_run(&g->cpu.pool, 1, &g->n_batches, engine_run_lane, g);
  } else {
    g->n_batches = g->n_rows = 0;
    engine_one_batch(g);
    if (g->n_rows == 0) return false;
    engine_run(g, &g->cpu, g->batches, 0);
  }
  for (int k = 0; k < g->n_batches; k++) {
    const struct batch *b = &g->batches[k].rows;
    for (int i = 0; i < b->n_segments; i++) {
      struct request *r = g->batches[k].owner[i];
      r->n_done += b->segments[i].n_rows;
      r->steps++;
      if (b->n_rows > r->max_rows) r->max_rows = b->n_rows;
      if (r->over || (!r->logits && r->n_done == r->n_ids)) engine_finish(g, r); // without a callback it ends with its prompt
    }
  }
  return true;
}

/* ---- chat ---- */

static bool engine_has_token(void *vocabulary, struct str token) { return token_find(vocabulary, token) != TOKEN_NONE; }

/* The template that speaks for the model: its own, else a built-in one chosen by its special tokens. */
static bool engine_template(const struct engine *g, struct str *source, struct bk_error *e) {
  const struct model *m = &g->model;
  if (!m->vocab) return err_set(e, ERR_DATA, "the model file holds no vocabulary");
  if (gguf_get_string(&m->gguf, STR("tokenizer.chat_template"), source, e)) return true;
  *source = chat_builtin(chat_choose(engine_has_token, m->vocab));
  return (!e->code && source->ptr) ||
         err_set(e, ERR_DATA, "the model has no chat template and none of the special tokens of a known one: use `complete`");
}

/* Messages -> ids. scratch holds the compiled template, the prompt and what is needed on the way. */
static bool engine_chat(const struct engine *g, const struct chat_input *in, struct arena scratch, int32_t *ids, int max, int *n,
                        struct bk_error *e) {
  const struct vocab *v = g->model.vocab;
  struct str source;
  if (!engine_template(g, &source, e)) return false;
  const struct chat_template *t = chat_compile(source, &scratch, e);
  struct chat_input full = *in;
  if (v->bos >= 0) full.bos_token = token_text(v, v->bos);
  if (v->eos >= 0) full.eos_token = token_text(v, v->eos);
  struct chat_prompt p;
  if (!t || !chat_render(t, &full, &scratch, (size_t)max * 64 + 4096, &p, e)) return false;
  struct token_options options = {false, true}; // special tokens are those that the template wrote
  if (!token_encode_spans(v, p.text, p.spans, p.n_spans, options, scratch, ids, max - 1, n, e)) return false;
  if (v->add_bos && v->bos >= 0 && (*n == 0 || ids[0] != v->bos)) { // exactly once
    memmove(ids + 1, ids, sizeof *ids * (size_t)*n);
    ids[0] = v->bos;
    ++*n;
  }
  return true;
}

/* ---- the public interface: bodkin.h ---- */

enum { ENGINE_SCRATCH = 64 << 20 }; // bytes reserved (not used) for one conversation on its way to ids

struct bk_session {
  struct bk_model *model;
  struct request request;
  int32_t *ids;                   // (context)
  int n;                          // held
  float *logits;                  // (n_vocab)
  struct sample_candidate *candidates; // (n_vocab)
  bool has_logits;
  int stop;
  struct arena memory;            // as reserved
};

struct bk_model {
  struct engine engine;
  struct arena memory, scratch;   // as reserved
  int n_sessions;
};

BK_API struct bk_model *bk_model_open(const char *path, const struct bk_options *options, struct bk_error *e) {
  static const struct bk_options defaults;
  const struct bk_options *o = options ? options : &defaults;
  struct engine_options inside = {.n_threads = o->threads, .n_context = o->context, .n_sequences = o->sessions, .exact = o->exact != 0,
                                  .kv = o->kv == BK_KV_F32 ? KV_F32 : o->kv == BK_KV_Q8_0 ? KV_Q8 : KV_F16, .memory = o->memory,
                                  .lanes = LANES_ENCODER, .loras = o->loras};
  if (o->isa && !(inside.has_isa = kern_named(str_from(o->isa), &inside.isa))) {
    err_set(e, ERR_USAGE, "not supported: instruction set %s", o->isa);
    return NULL;
  }
  struct arena memory = os_reserve(sizeof(struct bk_model) + 64, e), a = memory;
  if (!memory.beg) return NULL;
  struct bk_model *m = ARENA_NEW(&a, struct bk_model, 1);
  m->memory = memory;
  m->scratch = os_reserve(ENGINE_SCRATCH, e);
  if (m->scratch.beg && engine_open(&m->engine, path, &inside, e) && engine_load(&m->engine, e)) return m;
  os_release(m->scratch);
  os_release(memory);
  return NULL;
}

BK_API void bk_model_close(struct bk_model *m) {
  if (!m) return;
  engine_close(&m->engine);
  os_release(m->scratch);
  os_release(m->memory);
}

BK_API int bk_model_vocabulary(const struct bk_model *m) { return (int)m->engine.model.hp.n_vocab; }
BK_API int bk_model_context(const struct bk_model *m) { return m->engine.options.n_context; }

BK_API int bk_model_tokenize(struct bk_model *m, const char *text, size_t bytes, int flags, int32_t *ids, int max, struct bk_error *e) {
  const struct vocab *v = m->engine.model.vocab;
  struct token_options options = {(flags & BK_ADD_SPECIAL) != 0, (flags & BK_PARSE_SPECIAL) != 0};
  int n;
  if (!v) err_set(e, ERR_DATA, "the model file holds no vocabulary");
  else if (token_encode(v, (struct str){text, bytes}, options, m->scratch, ids, max, &n, e)) return n;
  return -1;
}

BK_API size_t bk_model_piece(const struct bk_model *m, int32_t id, char *out, size_t max) {
  const struct vocab *v = m->engine.model.vocab;
  struct buf b = {out, 0, max, false};
  if (v && !token_is_control(v, id)) token_piece(v, id, &b);
  return b.len;
}

BK_API int bk_model_is_end(const struct bk_model *m, int32_t id) {
  return m->engine.model.vocab && token_is_eog(m->engine.model.vocab, id);
}

BK_API int bk_model_chat(struct bk_model *m, const char *messages, size_t bytes, int32_t *ids, int max, struct bk_error *e) {
  struct arena a = m->scratch;
  struct json *parsed;
  char now[32];
  int n;
  os_local_time(now, sizeof now);
  if (!json_parse((struct str){messages, bytes}, &a, &parsed, e)) return -1;
  struct chat_input in = {.messages = parsed, .now = str_from(now), .add_generation_prompt = true};
  return engine_chat(&m->engine, &in, a, ids, max, &n, e) ? n : -1;
}

BK_API struct bk_session *bk_session_open(struct bk_model *m, struct bk_error *e) {
  if (m->n_sessions == m->engine.options.n_sequences) {
    err_set(e, ERR_BUSY, "%d sessions are open, bk_options.sessions allows no more", m->n_sessions);
    return NULL;
  }
  size_t n_vocab = (size_t)m->engine.model.hp.n_vocab, context = (size_t)m->engine.options.n_context;
  struct arena memory = os_reserve(sizeof(struct bk_session) + n_vocab * 12 + context * 4 + 512, e), a = memory;
  if (!memory.beg) return NULL;
  struct bk_session *s = ARENA_NEW(&a, struct bk_session, 1);
  s->model = m;
  s->memory = memory;
  s->ids = ARENA_NEW(&a, int32_t, context);
  s->logits = ARENA_NEW(&a, float, n_vocab);
  s->candidates = ARENA_NEW(&a, struct sample_candidate, n_vocab);
  m->n_sessions++;
  return s;
}

BK_API void bk_session_close(struct bk_session *s) {
  if (!s) return;
  engine_forget(&s->model->engine, &s->request);
  s->model->n_sessions--;
  os_release(s->memory);
}

static int32_t session_logits(struct request *r, int position, const float *logits) {
  struct bk_session *s = r->context;
  (void)position;
  memcpy(s->logits, logits, sizeof *logits * (size_t)s->model->engine.model.hp.n_vocab);
  s->has_logits = true;
  return -1;
}

BK_API int bk_session_sync(struct bk_session *s, const int32_t *ids, int n, struct bk_error *e) {
  struct engine *g = &s->model->engine;
  struct request *r = &s->request;
  int same = 0;
  while (same < s->n && same < n && s->ids[same] == ids[same]) same++;
  if (n > g->options.n_context) return err_set(e, ERR_DATA, "%d tokens, the context holds %d", n, g->options.n_context);
  if (n > 0) memcpy(s->ids, ids, sizeof *ids * (size_t)n);
  s->n = same;
  s->has_logits = false;
  int *pages = r->pages, n_pages = r->n_pages;
  *r = (struct request){.ids = s->ids, .n_prompt = n, .n_max = n, .logits = session_logits, .context = s, .keep = true,
                        .n_done = same, .pages = pages, .n_pages = n_pages};
  if (!engine_submit(g, r, e)) return 0;
  while (r->state != REQUEST_DONE) {
    if (__atomic_exchange_n(&s->stop, 0, __ATOMIC_RELAXED)) { // also one that came before this call
      engine_finish(g, r);
      err_set(e, ERR_BUSY, "stopped after %d of %d tokens", r->n_done, n);
    } else {
      engine_step(g);
    }
  }
  s->n = r->n_done;
  return s->has_logits;
}

BK_API void bk_session_stop(struct bk_session *s) { __atomic_store_n(&s->stop, 1, __ATOMIC_RELAXED); }

BK_API const float *bk_session_logits(const struct bk_session *s) { return s->has_logits ? s->logits : NULL; }

BK_API int32_t bk_session_sample(struct bk_session *s, struct bk_sampler *sampler, struct bk_error *e) {
  int32_t id = -1;
  if (!s->has_logits) err_set(e, ERR_USAGE, "no logits: bk_session_sync comes first");
  else if ((id = sample_token(sampler, s->logits, (int)s->model->engine.model.hp.n_vocab, s->ids, s->n, s->candidates)) < 0)
    err_set(e, ERR_DATA, "no logit is finite: the weights are damaged or not meant for this architecture");
  return id;
}
