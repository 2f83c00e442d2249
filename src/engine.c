/* engine.c -- many sequences, one machine. Requests are admitted when the pages of their whole length are free, so an
 * admitted one always ends; every step runs one row of each sequence that generates and pieces of the prompts that wait.
 *
 * Owns the model, its memory and its threads. One thread drives it: engine_step is never entered twice.
 * SPDX-License-Identifier: MIT */

struct engine_options {
  int n_threads;         // 0: as many as the machine gives
  int n_context;         // positions of one sequence; 0: min(model's, 4096)
  int n_sequences;       // at once; 0: 1
  int chunk;             // most rows of one prompt in a step; 0: ENGINE_ROWS
  enum kv_type kv;
  bool exact;            // float32 activations, keys and values
  bool has_isa;
  enum os_isa isa;
  uint64_t memory;       // ceiling in bytes, 0: none
};

enum { ENGINE_ROWS = 256, ENGINE_CONTEXT = 4096 }; // rows of a step at most; positions by default

enum request_state { REQUEST_NEW, REQUEST_WAITING, REQUEST_RUNNING, REQUEST_DONE };

struct request {
  int32_t *ids;          // (n_max) the prompt, then what is generated
  int n_prompt, n_max;   // n_max: most ids it may come to
  const bool *wanted;    // (n_prompt) whose logits are asked for; NULL: of the last only
  /* Called for every wanted position, in order, and for each generated one: returns the next token where the position is
   * the last one there is, -1 to end. logits (n_vocab) die with the call. */
  int32_t (*logits)(struct request *r, int position, const float *logits);
  void *context;
  int n_ids;             // ids there are
  int n_done;            // positions computed
  int steps, max_rows;   // steps it took part in, most rows one of them held
  enum request_state state;
  int *pages, n_pages;   // taken while it runs
  struct request *next;  // in the order of arrival
};

struct engine {
  struct model model;
  struct kv kv;
  struct cpu cpu;
  struct engine_options options;
  struct arena memory;   // as reserved
  struct arena tables;   // what is left of it
  struct request *first, *last;
  int32_t *token, *position; // (ENGINE_ROWS) of the step
  int *segment, *out;
  struct batch_segment *segments;
  struct request **owner;    // (ENGINE_ROWS) of a segment
  int *page_lists;           // (n_sequences, max_pages)
  struct request **slot;     // (n_sequences) who has that page list
  double load_seconds;
};

struct engine_plan {         // bytes
  size_t mapped, packed, tables, keys_values, scratch, total;
};

static int engine_max_pages(const struct engine *g) { return kv_pages_for(g->options.n_context); }

static size_t engine_scratch_bytes(const struct engine *g, int n_threads) {
  const struct tape *t = &g->model.tape;
  return t->scratch_bytes + t->panel_bytes + (size_t)n_threads * (cpu_thread_bytes(t, engine_max_pages(g)) + 64) +
         (size_t)(2 * t->n_ops + 16) * 64 + (size_t)ENGINE_ROWS * 96 +
         (size_t)g->options.n_sequences * (size_t)engine_max_pages(g) * 3 * sizeof(int) + (64 << 10);
}

static struct engine_plan engine_plan(const struct engine *g) {
  struct engine_plan p = {.mapped = g->model.kept_mapped_bytes, .packed = g->model.packed_bytes, .tables = g->model.tables_bytes,
                          .keys_values = g->kv.page_bytes * (size_t)(g->options.n_sequences * engine_max_pages(g)),
                          .scratch = engine_scratch_bytes(g, g->options.n_threads)};
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
  g->kv.layers = ARENA_NEW(&g->tables, struct kv_layer, (size_t)hp->n_layer);
  if (!g->kv.layers) return err_set(e, ERR_OS, "no memory for %lld layers", (long long)hp->n_layer);
  for (int i = 0; i < g->kv.n_layers; i++)
    g->kv.layers[i] = (struct kv_layer){(int)hp->n_head_kv, (int)hp->head_dim, (int)hp->value_dim, 0, 0, 0};
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
  if (!kv_reserve(&g->kv, o->n_sequences * max_pages, &g->tables, e)) return false;
  g->token = ARENA_NEW(&g->tables, int32_t, ENGINE_ROWS);
  g->position = ARENA_NEW(&g->tables, int32_t, ENGINE_ROWS);
  g->segment = ARENA_NEW(&g->tables, int, ENGINE_ROWS);
  g->out = ARENA_NEW(&g->tables, int, ENGINE_ROWS);
  g->segments = ARENA_NEW(&g->tables, struct batch_segment, ENGINE_ROWS);
  g->owner = ARENA_NEW(&g->tables, struct request *, ENGINE_ROWS);
  g->page_lists = ARENA_NEW(&g->tables, int, (size_t)o->n_sequences * (size_t)max_pages);
  g->slot = ARENA_NEW(&g->tables, struct request *, (size_t)o->n_sequences);
  if (!g->token || !g->position || !g->segment || !g->out || !g->segments || !g->owner || !g->page_lists || !g->slot)
    return err_set(e, ERR_OS, "no memory for the engine's tables");
  return cpu_open(&g->cpu, kern, o->exact, o->n_threads, max_pages, &g->model.tape, &g->kv, &g->tables, e);
}

static void engine_close(struct engine *g) {
  pool_close(&g->cpu.pool);
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
  if (o->chunk <= 0 || o->chunk > ENGINE_ROWS) o->chunk = ENGINE_ROWS;
  if (o->exact) o->kv = KV_F32;
  if (o->n_context > g->model.hp.n_ctx_train)
    return err_set(e, ERR_USAGE, "a context of %d positions, the model was made for %lld", o->n_context, (long long)g->model.hp.n_ctx_train);
  if (o->n_context <= 0) o->n_context = g->model.hp.n_ctx_train < ENGINE_CONTEXT ? (int)g->model.hp.n_ctx_train : ENGINE_CONTEXT;
  return true;
}

/* Opens a model without packing it: enough for plans and for printing. engine_load does the rest. */
static bool engine_open(struct engine *g, const char *path, const struct engine_options *options, struct bk_error *e) {
  memset(g, 0, sizeof *g);
  g->options = *options;
  const struct kern *kern;
  if (!model_open(&g->model, path, ENGINE_ROWS, e)) return false;
  if (!engine_defaults(g, &kern, e)) goto fail;
  size_t lists = (size_t)g->options.n_sequences * (size_t)engine_max_pages(g) * 64 + (size_t)g->model.hp.n_layer * 256;
  g->memory = os_reserve(engine_scratch_bytes(g, g->options.n_threads) + lists + (1 << 20), e);
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
  pool_run(&g->cpu.pool, 1, &pieces, engine_pack_chunk, g);
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
  r->n_ids = r->n_prompt;
  r->n_done = r->steps = r->max_rows = 0;
  r->state = REQUEST_WAITING;
  r->next = NULL;
  if (g->last) g->last->next = r;
  else g->first = r;
  g->last = r;
  return true;
}

static void engine_admit(struct engine *g) {
  for (struct request *r = g->first; r; r = r->next) {
    if (r->state != REQUEST_WAITING) continue;
    int slot = 0, need = kv_pages_for(r->n_max);
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

static void engine_finish(struct engine *g, struct request *r) {
  if (r->state == REQUEST_RUNNING) {
    kv_give(&g->kv, r->n_pages, r->pages);
    for (int i = 0; i < g->options.n_sequences; i++)
      if (g->slot[i] == r) g->slot[i] = NULL;
  }
  r->state = REQUEST_DONE;
  struct request **link = &g->first, *before = NULL;
  while (*link && *link != r) before = *link, link = &(*link)->next;
  if (*link) *link = r->next;
  if (g->last == r) g->last = before;
}

static bool engine_wants(const struct request *r, int position) {
  return position >= r->n_prompt - 1 || (r->wanted && r->wanted[position]);
}

/* Rows of every running sequence: the one token of those that generate first, then pieces of prompts in order. */
static void engine_batch(struct engine *g, struct batch *b) {
  *b = (struct batch){.token = g->token, .position = g->position, .segment = g->segment, .segments = g->segments, .out = g->out};
  for (int prompts = 0; prompts < 2; prompts++)
    for (struct request *r = g->first; r; r = r->next) {
      int left = r->n_ids - r->n_done, room = ENGINE_ROWS - b->n_rows;
      if (r->state != REQUEST_RUNNING || (r->n_done >= r->n_prompt) == (prompts == 1)) continue;
      int n = left < room ? left : room;
      if (n > g->options.chunk) n = g->options.chunk;
      if (n == 0) continue;
      g->owner[b->n_segments] = r;
      g->segments[b->n_segments] = (struct batch_segment){b->n_rows, n, r->n_done, r->pages};
      for (int i = 0; i < n; i++) {
        int row = b->n_rows + i;
        g->token[row] = r->ids[r->n_done + i];
        g->position[row] = r->n_done + i;
        g->segment[row] = b->n_segments;
        if (r->logits && engine_wants(r, r->n_done + i)) g->out[b->n_out++] = row;
      }
      b->n_segments++;
      b->n_rows += n;
    }
}

/* Hands the logits of one row to its request; the last position there is may bring a further token. */
static void engine_answer(struct engine *g, int row, const float *logits) {
  struct request *r = g->owner[g->segment[row]];
  int position = g->position[row];
  if (r->state != REQUEST_RUNNING) return;
  int32_t next = r->logits(r, position, logits);
  if (position != r->n_ids - 1) return;
  if (next >= 0 && next < g->model.hp.n_vocab && r->n_ids < r->n_max) r->ids[r->n_ids++] = next;
  else next = -1;
  if (next < 0 || r->n_ids == r->n_max) engine_finish(g, r); // the last token's own logits are nobody's question
}

/* One step of all that runs. Returns false when nothing is left to do. */
static bool engine_step(struct engine *g) {
  struct batch b;
  engine_admit(g);
  engine_batch(g, &b);
  if (b.n_rows == 0) return false;
  cpu_run(&g->cpu, &b);
  for (int i = 0; i < b.n_segments; i++) {
    struct request *r = g->owner[i];
    r->n_done += g->segments[i].n_rows;
    r->steps++;
    if (b.n_rows > r->max_rows) r->max_rows = b.n_rows;
  }
  for (int i = 0; i < b.n_out; i += HEAD_ROWS) {
    int n = b.n_out - i < HEAD_ROWS ? b.n_out - i : HEAD_ROWS;
    size_t stride;
    const float *logits = cpu_run_head(&g->cpu, i, n, &stride);
    for (int k = 0; k < n; k++) engine_answer(g, g->out[i + k], logits + stride * (size_t)k);
  }
  for (int i = 0; i < b.n_segments; i++) // a request without a callback ends with its prompt
    if (!g->owner[i]->logits && g->owner[i]->n_done == g->owner[i]->n_ids) engine_finish(g, g->owner[i]);
  return true;
}
