/* embed.c -- lines of text -> vectors or scores, in the order of the lines and in constant memory; embed_write.c writes them.
 *
 * A round takes the lines that are there (at most EMBED_LINES, about EMBED_FILL bytes), tokenises them on all threads, cuts
 * them into pieces that fit the model, and lets the engine run the pieces sorted by length; identical lines are computed
 * once. A piece stands in a frame: ids before and behind it. What comes out of a line depends on nothing but the line.
 * SPDX-License-Identifier: MIT */

enum {
  EMBED_LINE = 16 << 20,   // bytes of a line at most
  EMBED_LINES = 1024,      // of a round
  EMBED_FILL = 1 << 20,    // bytes of a round, but for its last line; where a line has many pieces or vectors a sixteenth
  EMBED_READ = 256 << 10,  // bytes asked for at once
  EMBED_PROMPT = 16 << 10, // bytes of a prompt at most
  EMBED_SHORT = 16 << 10,  // bytes of a text that any thread may tokenise; longer ones go one by one
  EMBED_PARTS = 16384,     // sentences or windows of one line at most
  EMBED_WIDE = 64,         // lines of a round that keeps a vector for every token
  EMBED_SLOTS = 256,       // sequences side by side
  EMBED_POSITIONS = 8192,  // of keys and values of a decoder, and a page for each sequence
  EMBED_CHUNK = 16         // texts or lines that a thread takes at once
};

/* ---- lines ---- */

struct embed_input {
  const char *const *paths; // (n_paths) "-": standard input
  int n_paths, at;          // at: the next to open
  int fd;                   // -1: none is open
  char *text;               // (EMBED_FILL + EMBED_LINE + EMBED_READ)
  size_t beg, end, looked;  // text[beg .. end) is not taken yet; `looked` bytes of it hold no line end
  bool too_long;            // what came before on this line was dropped
  uint64_t bytes, total;    // taken; of the inputs, if all are files
};

enum embed_state { EMBED_TAKEN, EMBED_LATER, EMBED_END }; // a line; none as yet; none any more

static const size_t embed_input_bytes = (size_t)EMBED_FILL + EMBED_LINE + EMBED_READ;

/* How large the inputs are together; 0: nobody knows. */
static bool embed_input_open(struct embed_input *in, const char *const *paths, int n_paths, struct arena *a, struct bk_error *e) {
  static const char *const standard[] = {"-"};
  *in = (struct embed_input){.paths = n_paths ? paths : standard, .n_paths = n_paths ? n_paths : 1, .fd = -1};
  in->text = arena_raw(a, embed_input_bytes, 1, 64);
  bool known = true;
  for (int i = 0; i < in->n_paths; i++) {
    uint64_t bytes;
    int fd = os_open_stream(in->paths[i], &bytes, e);
    if (fd < 0) return false;
    os_close(fd);
    known = known && bytes;
    in->total += bytes;
  }
  if (!known) in->total = 0;
  return in->text || err_set(e, ERR_OS, "no memory for lines");
}

/* The next line, without its end. wait: until there is one. Its bytes live until the next embed_input_turn. */
static enum embed_state embed_input_take(struct embed_input *in, bool wait, struct str *line, bool *too_long, struct bk_error *e) {
  for (;;) {
    char *beg = in->text + in->beg, *stop = memchr(beg + in->looked, '\n', in->end - in->beg - in->looked);
    in->looked = in->end - in->beg;
    bool rest = in->fd < 0 && (in->looked || in->too_long); // a last line without an end
    if (stop || rest) {
      *line = (struct str){beg, stop ? (size_t)(stop - beg) : in->looked};
      *too_long = in->too_long || line->len > EMBED_LINE;
      in->beg += line->len + (stop != NULL);
      in->bytes += line->len + (stop != NULL);
      in->looked = 0;
      in->too_long = false;
      if (line->len && line->ptr[line->len - 1] == '\r') line->len--;
      return EMBED_TAKEN;
    }
    uint64_t bytes;
    if (in->fd < 0 && in->at == in->n_paths) return EMBED_END;
    if (in->fd < 0 && (in->fd = os_open_stream(in->paths[in->at++], &bytes, e)) < 0) return EMBED_END;
    if (in->looked > EMBED_LINE) {
      in->too_long = true;
      in->bytes += in->looked;
      in->end = in->beg;
      in->looked = 0;
    }
    if (!wait && (in->end == embed_input_bytes || !os_ready(in->fd))) return EMBED_LATER;
    size_t room = embed_input_bytes - in->end;
    int64_t n = os_read(in->fd, in->text + in->end, room < EMBED_READ ? room : EMBED_READ);
    if (n < 0) err_set(e, ERR_IO, "%s: %s", in->paths[in->at - 1], strerror(errno));
    if (n <= 0) {
      os_close(in->fd);
      in->fd = -1;
    } else {
      in->end += (size_t)n;
    }
    if (e->code) return EMBED_END;
  }
}

/* Lines taken so far are done with. */
static void embed_input_turn(struct embed_input *in) {
  memmove(in->text, in->text + in->beg, in->end - in->beg);
  if (in->beg > 4u * EMBED_FILL) os_forget(in->text + in->end - in->beg, in->beg); // after a very long line
  in->end -= in->beg;
  in->beg = 0;
}

/* ---- a round ---- */

enum embed_cut { EMBED_CUT_ERROR, EMBED_CUT_END, EMBED_CUT_START }; // what becomes of a line that does not fit

struct embed_options {
  enum pooling pooling;     // POOL_NONE: a vector for every token
  enum pool_rows of;        // but for POOL_HIDDEN those of every token
  enum embed_cut cut;
  int window, overlap;      // ids of a piece with its frame, ids that two neighbours share; 0: one piece
  bool sentences;           // a line's sentences are texts of their own
  bool scores;              // a ranker's
  /* Every text begins with the prompt, whose spans, if any, may hold control tokens, and stands between front and back. */
  struct str prompt;
  const struct token_span *spans;
  int n_spans;
  const int32_t *front, *back; // (n_front), (n_back)
  int n_front, n_back;
  int32_t type;             // of what stands behind the front
};

struct embed_text {         // a line, or a sentence of one
  struct str text;
  bool valid;               // UTF-8
  int32_t *ids;             // (bound) without the frame, with the prompt
  size_t bound;
  int n, cut;               // ids; those that were cut off
  int piece, n_pieces, tokens; // tokens: computed, frames included
  uint8_t key[32];          // of the cache
  float *vector;            // from the cache; NULL: to be computed
};

struct embed_line {
  struct str text;
  int64_t index;
  int same;                 // an earlier line of the round with the same bytes; its own number if there is none
  int text_at, n_texts;
  struct bk_error error;
};

struct embed_piece {
  int line, text, from, n;  // ids of the text
  float *vector;            // (n_out), of every token (tokens, n_out); of a ranker one score
};

struct embed_slot {
  struct request request;
  struct pool pool;
  int32_t *ids, *types;     // (context)
  struct embed *embed;
  struct embed_piece *piece; // NULL: free
};

enum { EMBED_KEPT = 3 * sizeof(int32_t) }; // bytes of the cache before a vector: n, cut, tokens of the text

struct embed {
  struct engine *engine;
  struct cache *cache;      // NULL: none
  struct hash_sha256 key;   // of the model and of all that bears on a vector but the text
  char *kept;               // (EMBED_KEPT + 4 * n_out)
  struct embed_options options;
  struct arena memory;      // as reserved
  int n_out;                // floats of a vector
  struct embed_line *lines; // (EMBED_LINES)
  struct embed_text *texts; // (max_texts)
  struct embed_piece *pieces; // (max_pieces)
  uint64_t *order;          // (max_pieces)
  int n_lines, n_texts, n_pieces, n_order, max_texts, max_pieces, max_lines;
  size_t fill;
  uint16_t *seen;           // (4 * EMBED_LINES) hash table: line + 1
  struct arena ids, vectors; // of the round
  struct arena all_ids, all_vectors; // of any
  struct arena long_text;   // scratch for one of EMBED_LINE bytes
  struct arena *scratch;    // (threads) for texts of EMBED_SHORT bytes
  bool *wanted;             // (context)
  struct embed_slot *slots; // (n_slots)
  int n_slots;
  int64_t index;            // of the next line
};

/* ---- what reads a text ---- */

/* The engine's options for this work, where the user left them open: many sequences side by side, batches that stay in the cache. */
static void embed_engine_options(struct engine_options *o, int64_t tokens) {
  o->n_sequences = EMBED_SLOTS;
  o->lanes = LANES_ANY;
  o->n_positions = EMBED_POSITIONS;
  o->rows = (int)tokens;
  if (tokens > 0 && tokens < o->chunk) o->chunk = (int)tokens;
}

/* Bytes of the scratch that a text of that many bytes may need: a copy with its prompt, bad bytes replaced, and tokenising. */
static size_t embed_scratch_bytes(const struct vocab *v, size_t text) {
  size_t copy = text + EMBED_PROMPT;
  return copy + token_scratch(v, copy) + 256;
}

static size_t embed_ids_bytes(const struct vocab *v, size_t text, int prompt) {
  return sizeof(int32_t) * token_bound(v, text + (size_t)prompt) + 16;
}

static bool embed_open_slots(struct embed *b, struct arena *a) {
  const struct engine *g = b->engine;
  size_t context = (size_t)g->options.n_context;
  b->n_slots = g->options.n_sequences;
  b->slots = ARENA_NEW(a, struct embed_slot, (size_t)b->n_slots);
  b->wanted = ARENA_NEW(a, bool, context);
  bool ok = b->slots && b->wanted;
  for (int i = 0; ok && i < b->n_slots; i++) {
    struct embed_slot *s = &b->slots[i];
    s->embed = b;
    s->ids = arena_raw(a, 2 * context, sizeof *s->ids, 16);
    s->types = s->ids + context;
    ok = s->ids && pool_new(&s->pool, b->options.pooling, b->n_out, a);
    s->pool.of = b->options.of;
  }
  if (ok && !g->model.hp.causal) b->wanted[0] = true;
  return ok;
}

/* Floats of a vector of such rows; 0: the model has none. */
static int embed_width(const struct model *m, enum pool_rows of) {
  const int value = pool_value(&(struct pool){.of = of}, &m->tape);
  return of == POOL_HIDDEN ? (int)m->hp.n_embd : value == VALUE_NONE ? 0 : m->tape.values[value].width;
}

/* Memory for rounds; nothing is reserved after it. The options' strings and ids must outlive b. */
static bool embed_open(struct embed *b, struct engine *g, const struct embed_options *o, struct bk_error *e) {
  const struct vocab *v = g->model.vocab;
  const size_t context = (size_t)g->options.n_context, threads = (size_t)g->cpu.pool.n_threads;
  *b = (struct embed){.engine = g, .options = *o, .n_out = o->scores ? 1 : embed_width(&g->model, o->of)};
  if (!v) return err_set(e, ERR_DATA, "the model file holds no vocabulary");
  if (o->scores && g->model.hp.n_labels < 1) return err_set(e, ERR_DATA, "not supported: scores; the model has no ranker's head");
  if (o->prompt.len > EMBED_PROMPT)
    return err_set(e, ERR_USAGE, "a prompt of %zu bytes, at most %d are allowed", o->prompt.len, EMBED_PROMPT);
  const bool split = o->window || o->sentences;
  const bool wide = o->pooling == POOL_NONE && o->of != POOL_SPARSE;
  b->max_lines = wide ? EMBED_WIDE : EMBED_LINES;
  b->fill = split || wide ? EMBED_FILL / 16 : EMBED_FILL;
  b->max_texts = o->sentences ? EMBED_FILL / 32 + EMBED_PARTS : EMBED_LINES;
  b->max_pieces = split ? EMBED_FILL / 8 + EMBED_PARTS : EMBED_LINES;
  const size_t floats = (size_t)b->n_out * (o->pooling == POOL_NONE ? context * (size_t)b->max_lines : (size_t)b->max_pieces);
  const size_t once = embed_scratch_bytes(v, EMBED_LINE), each = embed_scratch_bytes(v, EMBED_SHORT);
  const size_t ids = embed_ids_bytes(v, 4 * EMBED_FILL + EMBED_LINE, 0) + (size_t)b->max_texts * embed_ids_bytes(v, 0, (int)o->prompt.len);
  const size_t slots = (size_t)g->options.n_sequences * (context * 8 + (size_t)b->n_out * 8 + sizeof(struct embed_slot) + 64);
  b->memory = os_reserve(EMBED_LINES * (sizeof(struct embed_line) + 8) + (size_t)b->max_texts * sizeof(struct embed_text) +
                         (size_t)b->max_pieces * (sizeof(struct embed_piece) + 8) + floats * 4 + (size_t)b->max_pieces * 64 + once +
                         threads * (each + 64) + ids + slots + context + (1 << 16), e);
  struct arena a = b->memory;
  if (!a.beg) return false;
  b->lines = arena_raw(&a, EMBED_LINES, sizeof *b->lines, 16);
  b->texts = arena_raw(&a, (size_t)b->max_texts, sizeof *b->texts, 16);
  b->pieces = arena_raw(&a, (size_t)b->max_pieces, sizeof *b->pieces, 16);
  b->order = arena_raw(&a, (size_t)b->max_pieces, sizeof *b->order, 16);
  b->seen = ARENA_NEW(&a, uint16_t, 4 * EMBED_LINES);
  b->scratch = ARENA_NEW(&a, struct arena, threads);
  bool ok = b->lines && b->texts && b->pieces && b->order && b->seen && b->scratch && embed_open_slots(b, &a);
  for (size_t i = 0; i <= threads + 2 && ok; i++) {
    size_t bytes = i < threads ? each : i == threads ? once : i == threads + 1 ? ids : floats * 4 + (size_t)b->max_pieces * 16;
    char *p = arena_raw(&a, bytes, 1, 64);
    struct arena part = {p, p ? p + bytes : p};
    *(i < threads ? &b->scratch[i] : i == threads ? &b->long_text : i == threads + 1 ? &b->ids : &b->vectors) = part;
    ok = p != NULL;
  }
  b->all_ids = b->ids;
  b->all_vectors = b->vectors;
  return ok || err_set(e, ERR_OS, "no memory for lines in flight");
}

/* The SHA-256 of a model's files. */
static void embed_digest(const struct gguf *g, uint8_t digest[32]) {
  struct hash_sha256 sum = hash_sha256_init();
  for (int i = 0; i < g->n_files; i++) {
    hash_sha256_update(&sum, (struct str){g->files[i].ptr, g->files[i].size});
    os_forget(g->files[i].ptr, g->files[i].size);
  }
  hash_sha256_final(&sum, digest);
}

/* From now on vectors come from the cache where it has them, and go there. */
static bool embed_use_cache(struct embed *b, struct cache *cache, struct arena *a, struct bk_error *e) {
  const struct embed_options *o = &b->options;
  const struct engine *g = b->engine;
  const int32_t settings[] = {2, o->pooling, o->cut, o->window, o->overlap, g->options.n_context, g->options.kv, g->options.exact,
                              b->n_out, o->scores, o->type, o->n_front, o->n_back};
  uint8_t digest[32];
  if (o->pooling == POOL_NONE) return err_set(e, ERR_USAGE, "--cache keeps one vector of a text, not one of every token");
  if (g->model.n_loras) return err_set(e, ERR_USAGE, "--lora goes without --cache");
  b->kept = ARENA_NEW(a, char, EMBED_KEPT + sizeof(float) * (size_t)b->n_out);
  if (!b->kept) return err_set(e, ERR_OS, "no memory for a vector of the cache");
  embed_digest(&g->model.gguf, digest);
  b->cache = cache;
  b->key = hash_sha256_init();
  hash_sha256_update(&b->key, (struct str){(const char *)digest, sizeof digest});
  hash_sha256_update(&b->key, (struct str){(const char *)settings, sizeof settings});
  hash_sha256_update(&b->key, (struct str){(const char *)o->front, sizeof *o->front * (size_t)o->n_front}); // holds a ranker's query,
  hash_sha256_update(&b->key, (struct str){(const char *)o->back, sizeof *o->back * (size_t)o->n_back}); // or the prompt does
  hash_sha256_update(&b->key, o->prompt);
  hash_sha256_update(&b->key, (struct str){"", 1});
  return true;
}

static void embed_close(struct embed *b) { os_release(b->memory); }

/* ---- tokenising ---- */

/* The text with its prompt in front, and U+FFFD for every byte that is no UTF-8. */
static bool embed_copy(const struct embed *b, const struct embed_text *t, struct arena *a, struct str *out) {
  struct buf to = {arena_raw(a, t->bound, 1, 1), 0, t->bound, false};
  if (!to.ptr) return false;
  buf_put(&to, b->options.prompt);
  if (t->valid) buf_put(&to, t->text);
  for (size_t at = 0, beg = 0; !t->valid && at < t->text.len; beg = at)
    buf_put(&to, utf8_decode(t->text, &at) == UTF8_BAD ? STR("\xEF\xBF\xBD") : str_slice(t->text, beg, at));
  *out = buf_str(&to);
  return !to.full;
}

static bool embed_encode(struct embed *b, struct embed_text *t, struct arena scratch) {
  const struct embed_options *o = &b->options;
  const struct vocab *v = b->engine->model.vocab;
  struct bk_error *e = &b->lines[t->piece].error; // until there are pieces: whose text it is
  struct str s = t->text;
  struct token_options options = {false, o->n_spans > 0};
  if (t->vector) return true;
  if ((o->prompt.len || !t->valid) && !embed_copy(b, t, &scratch, &s)) return err_set(e, ERR_OS, "no memory for a line");
  return token_encode_spans(v, s, o->spans, o->n_spans, options, scratch, t->ids, (int)token_bound(v, t->bound), &t->n, e);
}

static void embed_encode_some(void *context, int phase, int chunk, int thread) {
  struct embed *b = context;
  (void)phase;
  for (int i = chunk * EMBED_CHUNK; i < b->n_lines && i < (chunk + 1) * EMBED_CHUNK; i++) {
    const struct embed_line *l = &b->lines[i];
    for (int k = 0; k < l->n_texts; k++) // one that is too long for a thread waits
      if (b->texts[l->text_at + k].bound <= EMBED_SHORT) embed_encode(b, &b->texts[l->text_at + k], b->scratch[thread]);
  }
}

/* A text's places for its ids. */
static bool embed_add_text(struct embed *b, int line, struct str s) {
  struct embed_line *l = &b->lines[line];
  const struct vocab *v = b->engine->model.vocab;
  if (l->n_texts == EMBED_PARTS || b->n_texts == b->max_texts)
    return err_set(&l->error, ERR_DATA, "the line has more than %d sentences", EMBED_PARTS);
  struct embed_text *t = &b->texts[b->n_texts];
  *t = (struct embed_text){.text = s, .valid = utf8_valid(s), .piece = line};
  t->bound = s.len + b->options.prompt.len;
  for (size_t at = 0; at < s.len && !t->valid;) t->bound += utf8_decode(s, &at) == UTF8_BAD ? 2 : 0; // U+FFFD has three bytes
  if (t->bound > EMBED_LINE)
    return err_set(&l->error, ERR_DATA, "the line has %zu bytes with its prompt, at most %d are allowed", t->bound, EMBED_LINE);
  t->ids = arena_raw(&b->ids, token_bound(v, t->bound), sizeof *t->ids, sizeof *t->ids);
  if (!t->ids) return err_set(&l->error, ERR_OS, "no memory for the ids of a line");
  b->n_texts++;
  l->n_texts++;
  return true;
}

/* The end of the sentence that begins at `at`: behind a full stop, a question or exclamation mark (ASCII's with white space
 * behind it, and after closing quotes and brackets), else of the text. */
static size_t embed_sentence(struct str s, size_t at) {
  while (at < s.len) {
    uint32_t c = utf8_decode(s, &at);
    if (c == 0x3002 || c == 0xFF01 || c == 0xFF1F) return at;
    if (c != '.' && c != '!' && c != '?' && c != 0x2026) continue;
    while (at < s.len && strchr(".!?\"')]", s.ptr[at]) && s.ptr[at]) at++;
    if (at == s.len || s.ptr[at] == ' ' || s.ptr[at] == '\t') return at;
  }
  return s.len;
}

static void embed_add_texts(struct embed *b, int line) {
  struct embed_line *l = &b->lines[line];
  l->text_at = b->n_texts;
  if (!b->options.sentences) embed_add_text(b, line, l->text);
  for (size_t at = 0, end; b->options.sentences && !l->error.code; at = end) {
    while (at < l->text.len && (l->text.ptr[at] == ' ' || l->text.ptr[at] == '\t')) at++;
    if (at == l->text.len && l->n_texts) return;
    end = embed_sentence(l->text, at);
    if (!embed_add_text(b, line, str_slice(l->text, at, end))) return;
  }
}

/* Takes a line into the round; an identical one's answer serves for it. */
static void embed_add(struct embed *b, struct str text, bool too_long) {
  const int i = b->n_lines++;
  const uint32_t mask = 4 * EMBED_LINES - 1;
  struct embed_line *l = &b->lines[i];
  l->text = text;
  l->index = b->index++;
  l->same = i;
  l->text_at = b->n_texts;
  l->n_texts = 0;
  l->error.code = 0;
  if (too_long) {
    err_set(&l->error, ERR_DATA, "the line is longer than %d bytes", EMBED_LINE);
    return;
  }
  for (uint32_t at = (uint32_t)str_hash(text) & mask;; at = (at + 1) & mask) {
    if (!b->seen[at]) {
      b->seen[at] = (uint16_t)(i + 1);
      embed_add_texts(b, i);
      return;
    }
    if (str_eq(b->lines[b->seen[at] - 1].text, text)) {
      l->same = b->seen[at] - 1;
      return;
    }
  }
}

/* ---- pieces ---- */

static bool embed_add_piece(struct embed *b, struct embed_text *t, int line, int from, int n) {
  const struct embed_options *o = &b->options;
  const int frame = o->n_front + o->n_back;
  size_t floats = (size_t)b->n_out * (size_t)(o->pooling == POOL_NONE ? n + frame : 1);
  struct embed_piece *p = &b->pieces[b->n_pieces];
  if (b->n_pieces == b->max_pieces || !(p->vector = arena_raw(&b->vectors, floats, sizeof(float), 16)))
    return err_set(&b->lines[line].error, ERR_DATA, "the line gives more than %d pieces", EMBED_PARTS);
  p->line = line;
  p->text = (int)(t - b->texts);
  p->from = from;
  p->n = n;
  b->order[b->n_order++] = (uint64_t)(UINT32_MAX - (uint32_t)n) << 32 | (uint32_t)b->n_pieces; // the longest first
  b->n_pieces++;
  t->n_pieces++;
  t->tokens += n + frame;
  return true;
}

/* ---- the cache ---- */

static void embed_recall(struct embed *b, struct embed_text *t) {
  struct hash_sha256 key = b->key;
  int32_t counts[3];
  hash_sha256_update(&key, t->text);
  hash_sha256_final(&key, t->key);
  if (!cache_get(b->cache, t->key, b->kept, (uint32_t)(EMBED_KEPT + 4 * b->n_out))) return;
  if (!(t->vector = arena_raw(&b->vectors, (size_t)b->n_out, sizeof(float), 16))) return;
  memcpy(counts, b->kept, sizeof counts);
  memcpy(t->vector, b->kept + EMBED_KEPT, sizeof(float) * (size_t)b->n_out);
  t->n = counts[0];
  t->cut = counts[1];
  t->tokens = counts[2];
}

static void embed_keep(struct embed *b, const struct embed_text *t) {
  const int32_t counts[3] = {t->n, t->cut, t->tokens};
  if (t->vector || !t->n_pieces || b->lines[b->pieces[t->piece].line].error.code) return;
  memcpy(b->kept, counts, sizeof counts);
  memcpy(b->kept + EMBED_KEPT, b->pieces[t->piece].vector, sizeof(float) * (size_t)b->n_out);
  cache_append(b->cache, t->key, b->kept, (uint32_t)(EMBED_KEPT + 4 * b->n_out));
}

/* Cuts a text to what the model can take at once. */
static bool embed_cut_text(struct embed *b, struct embed_text *t) {
  const struct embed_options *o = &b->options;
  const int line = t->piece, frame = o->n_front + o->n_back, context = b->engine->options.n_context;
  const int room = (o->window ? o->window : context) - frame, step = room - o->overlap;
  struct bk_error *e = &b->lines[line].error;
  int from = 0;
  t->piece = b->n_pieces;
  if (t->vector) {
    b->pieces[b->n_pieces++] = (struct embed_piece){line, (int)(t - b->texts), 0, t->n, t->vector};
    t->n_pieces = 1;
    return true;
  }
  if (t->n + frame == 0) return err_set(e, ERR_DATA, "the line has no tokens");
  if (!o->window && t->n > room) {
    if (o->cut == EMBED_CUT_ERROR)
      return err_set(e, ERR_DATA, "the line has %d tokens, the context holds %d", t->n + frame, context);
    t->cut = t->n - room;
    from = o->cut == EMBED_CUT_START ? t->cut : 0;
    t->n = room;
  }
  if (o->window && t->n > room && (t->n - room - 1) / step + 2 > EMBED_PARTS)
    return err_set(e, ERR_DATA, "the line has %d tokens, more than %d windows", t->n, EMBED_PARTS);
  for (int at = 0;; at += step) {
    int n = t->n - at < room ? t->n - at : room;
    if (!embed_add_piece(b, t, line, from + at, n)) return false;
    if (at + n == t->n) return true;
  }
}

static int32_t embed_take_score(struct request *r, int position, const float *labels) {
  struct embed_slot *s = r->context;
  const struct hparams *hp = &s->embed->engine->model.hp;
  if (position == pool_score_position(hp, r->n_prompt)) s->piece->vector[0] = pool_score(hp, labels);
  return -1;
}

static void embed_start(struct embed *b, struct embed_slot *s, struct embed_piece *p) {
  const struct embed_options *o = &b->options;
  const int n = o->n_front + p->n + o->n_back;
  s->piece = p;
  if (o->n_front) memcpy(s->ids, o->front, sizeof *s->ids * (size_t)o->n_front);
  memcpy(s->ids + o->n_front, b->texts[p->text].ids + p->from, sizeof *s->ids * (size_t)p->n);
  if (o->n_back) memcpy(s->ids + o->n_front + p->n, o->back, sizeof *s->ids * (size_t)o->n_back);
  for (int i = 0; i < n && o->type; i++) s->types[i] = i < o->n_front ? 0 : o->type;
  s->request = (struct request){.ids = s->ids, .types = o->type ? s->types : NULL, .n_prompt = n, .n_max = n, .context = s};
  if (o->scores) s->request.wanted = b->wanted, s->request.logits = embed_take_score;
  else s->request.pool = &s->pool;
  pool_clear(&s->pool);
  s->pool.rows = p->vector;
  if (engine_submit(b->engine, &s->request, &b->lines[p->line].error)) return;
  s->piece = NULL;
}

static void embed_finish(struct embed *b, struct embed_slot *s) {
  struct embed_piece *p = s->piece;
  size_t n = s->pool.kind == POOL_NONE ? (size_t)s->request.n_prompt * (size_t)b->n_out : (size_t)b->n_out;
  if (b->lines[p->line].error.code) {
    s->piece = NULL;
    return;
  }
  bool sound = b->options.scores || s->pool.kind == POOL_NONE ? pool_finite(p->vector, n) : pool_mean(&s->pool, p->vector);
  if (!sound) err_set(&b->lines[p->line].error, ERR_DATA, "what the model gives holds a NaN or an infinity: its weights are damaged or "
                      "not meant for this architecture");
  s->piece = NULL;
}

/* Several pieces of a text become one: the mean of their vectors, each by its tokens. */
static void embed_unite(struct embed *b, const struct embed_text *t) {
  float *to = b->pieces[t->piece].vector;
  for (int i = 0; i < b->n_out && t->n_pieces > 1 && b->options.pooling != POOL_NONE; i++) {
    double sum = 0, weights = 0;
    for (int k = 0; k < t->n_pieces; k++) {
      const struct embed_piece *p = &b->pieces[t->piece + k];
      sum += (double)p->vector[i] * p->n;
      weights += p->n;
    }
    to[i] = (float)(sum / weights);
  }
}

static int embed_compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Nothing can run: others hold every place. */
static void embed_give_up(struct embed *b) {
  for (int i = 0; i < b->n_slots; i++) {
    struct embed_slot *s = &b->slots[i];
    if (!s->piece || s->request.state == REQUEST_DONE) continue;
    err_set(&b->lines[s->piece->line].error, ERR_BUSY, "all of the model's places are taken by sessions");
    engine_finish(b->engine, &s->request);
  }
}

/* Answers the lines that were added: every one has texts with vectors, or an error, or is the same as an earlier one. */
static void embed_round(struct embed *b) {
  int chunks = (b->n_lines + EMBED_CHUNK - 1) / EMBED_CHUNK, next = 0;
  for (int i = 0; i < b->n_texts && b->cache; i++) embed_recall(b, &b->texts[i]);
  cpu_pool_run(&b->engine->cpu.pool, 1, &chunks, embed_encode_some, b);
  for (int i = 0; i < b->n_texts; i++)
    if (b->texts[i].bound > EMBED_SHORT && !b->texts[i].vector) {
      embed_encode(b, &b->texts[i], b->long_text);
      os_forget(b->long_text.beg, (size_t)(b->long_text.end - b->long_text.beg));
    }
  for (int i = 0; i < b->n_texts; i++)
    if (!b->lines[b->texts[i].piece].error.code) embed_cut_text(b, &b->texts[i]);
  qsort(b->order, (size_t)b->n_order, sizeof *b->order, embed_compare);
  for (bool flying = true; flying;) {
    flying = false;
    for (int i = 0; i < b->n_slots; i++) {
      struct embed_slot *s = &b->slots[i];
      if (s->piece && s->request.state == REQUEST_DONE) embed_finish(b, s);
      while (!s->piece && next < b->n_order) {
        struct embed_piece *p = &b->pieces[(uint32_t)b->order[next++]];
        if (!b->lines[p->line].error.code) embed_start(b, s, p);
      }
      flying = flying || s->piece;
    }
    if (flying && !engine_step(b->engine)) embed_give_up(b);
  }
  for (int i = 0; i < b->n_texts; i++) embed_unite(b, &b->texts[i]);
  for (int i = 0; i < b->n_texts && b->cache; i++) embed_keep(b, &b->texts[i]);
}

/* Before the next round. */
static void embed_turn(struct embed *b) {
  b->ids = b->all_ids;
  b->vectors = b->all_vectors;
  b->n_lines = b->n_texts = b->n_pieces = b->n_order = 0;
  memset(b->seen, 0, sizeof *b->seen * 4 * EMBED_LINES);
}

/* A round of the lines that are there, at least one. False at the end of the input, or if e has an error already; one that comes
 * now is that of the next. */
static bool embed_read(struct embed *b, struct embed_input *in, struct bk_error *e) {
  struct str line;
  bool too_long;
  if (e->code) return false;
  embed_turn(b);
  embed_input_turn(in);
  while (b->n_lines < b->max_lines && in->beg < b->fill &&
         embed_input_take(in, b->n_lines == 0, &line, &too_long, e) == EMBED_TAKEN)
    embed_add(b, line, too_long);
  if (b->n_lines) embed_round(b); // whatever became of the next
  if (b->cache && !e->code) cache_flush(b->cache, e);
  return b->n_lines > 0;
}

/* The line whose answer is that of line i. */
static const struct embed_line *embed_answer(const struct embed *b, int i) { return &b->lines[b->lines[i].same]; }

/* ---- what stands around a text ---- */

static void embed_frame(const struct vocab *v, struct embed_options *o) { // as token_encode has it
  const bool pieces = v->kind == TOKEN_WORDPIECE;
  o->front = &v->bos;
  o->back = pieces ? &v->sep : &v->eos;
  o->n_front = v->add_bos || pieces;
  o->n_back = pieces || v->add_eos;
}

#define EMBED_SENTENCE "Represent this sentence for searching relevant passages: "
#define EMBED_CHINESE "\xE4\xB8\xBA\xE8\xBF\x99\xE4\xB8\xAA\xE5\x8F\xA5\xE5\xAD\x90\xE7\x94\x9F\xE6\x88\x90\xE8\xA1\xA8\xE7\xA4\xBA" \
  "\xE4\xBB\xA5\xE7\x94\xA8\xE4\xBA\x8E\xE6\xA3\x80\xE7\xB4\xA2\xE7\x9B\xB8\xE5\x85\xB3\xE6\x96\x87\xE7\xAB\xA0\xEF\xBC\x9A"
#define EMBED_INSTRUCT "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
static const char *const embed_prompt_names[] = {"query", "passage", "clustering", "classification"};
static const struct {
  const char *model, *texts[ARRAY_LEN(embed_prompt_names)];
} embed_prompts[] = { // as the models' authors publish them; the first that fits counts
  {"e5-mistral-", {EMBED_INSTRUCT " ", ""}}, {"e5-large-instruct", {EMBED_INSTRUCT " ", ""}}, {"e5-", {"query: ", "passage: "}},
  {"nomic-embed-", {"search_query: ", "search_document: ", "clustering: ", "classification: "}}, {"bge-m3", {"", ""}},
  {"bge-large-zh", {EMBED_CHINESE, ""}}, {"bge-base-zh", {EMBED_CHINESE, ""}}, {"bge-small-zh", {EMBED_CHINESE, ""}},
  {"bge-", {EMBED_SENTENCE, ""}}, {"mxbai-embed-", {EMBED_SENTENCE, ""}}, {"arctic-embed-m-v2", {"query: ", ""}},
  {"arctic-embed-l-v2", {"query: ", ""}}, {"arctic-embed-", {EMBED_SENTENCE, ""}}, {"gte-qwen2-", {EMBED_INSTRUCT " ", ""}},
  {"qwen3-embedding-", {EMBED_INSTRUCT, ""}}, {"embeddinggemma-", {"task: search result | query: ", "title: none | text: "}}};

/* Of a model of that general.name. NULL: nobody has published one. */
static const char *embed_known_prompt(struct str model, struct str name) {
  char text[128];
  int at = 0;
  snprintf(text, sizeof text, "-" STR_FMT, (int)(model.len > 100 ? 100 : model.len), model.ptr ? model.ptr : "");
  for (char *p = text; *p; p++)
    if (*p == ' ' || *p == '_' || *p == '/') *p = '-';
  while (at < ARRAY_LEN(embed_prompt_names) && !str_is(name, embed_prompt_names[at])) at++;
  for (int i = 0; i < ARRAY_LEN(embed_prompts) && at < ARRAY_LEN(embed_prompt_names); i++)
    for (const char *p = text; (p = strchr(p, '-')) != NULL;) {
      struct str part = str_from(embed_prompts[i].model);
      if (str_eq_any_case(str_slice(str_from(++p), 0, part.len), part)) return embed_prompts[i].texts[at];
    }
  return NULL;
}

/* What a model wants in front of a text, by name: the file's own, which `bodkin convert` takes from the folder's
 * config_sentence_transformers.json, else what is published. Some say document, others passage. */
static bool embed_prompt(const struct gguf *g, struct str name, struct str *out, struct bk_error *e) {
  const struct str names[] = {name, str_is(name, "passage") ? STR("document") : str_is(name, "document") ? STR("passage") : name};
  struct str model = STR_NONE;
  const char *known = NULL;
  char key[128];
  for (int i = 0; i < ARRAY_LEN(names); i++) {
    snprintf(key, sizeof key, "embedding.prompt." STR_FMT, (int)(names[i].len > 64 ? 64 : names[i].len), names[i].ptr);
    if (gguf_get_string(g, str_from(key), out, e)) return true;
  }
  gguf_string(gguf_find(g, STR("general.name")), &model);
  for (int i = 0; i < ARRAY_LEN(names) && !known; i++) known = embed_known_prompt(model, names[i]);
  if (known) *out = str_from(known);
  return (known && !e->code) || err_set(e, ERR_DATA, "the model has no prompt \"" STR_FMT "\": give --prompt TEXT", STR_ARG(name));
}

/* ---- the public interface: bodkin.h ---- */

/* All texts through b, in rounds; `take` gets the answer to each. The first that fails ends it. */
static bool embed_texts(struct embed *b, const struct bk_text *texts, int n, void (*take)(void *, int, const float *), void *context,
                        struct bk_error *e) {
  for (int at = 0; at < n && !e->code;) {
    embed_turn(b);
    for (size_t bytes = 0; at + b->n_lines < n && b->n_lines < b->max_lines && bytes < b->fill;) {
      struct str s = {texts[at + b->n_lines].ptr, texts[at + b->n_lines].bytes};
      bytes += s.len;
      embed_add(b, s, s.len > EMBED_LINE);
    }
    embed_round(b);
    for (int i = 0; i < b->n_lines && !e->code; i++) {
      const struct embed_line *l = embed_answer(b, i);
      if (l->error.code) err_set(e, l->error.code, "text %d: %s", at + i, l->error.message);
      else take(context, at + i, b->pieces[b->texts[l->text_at].piece].vector);
    }
    at += b->n_lines;
  }
  return !e->code;
}

struct embed_taken {
  float *out; // (texts, n)
  int n;
  bool raw;
};

static void embed_take_vector(void *context, int i, const float *x) {
  const struct embed_taken *t = context;
  float *to = t->out + (size_t)i * (size_t)t->n;
  memcpy(to, x, sizeof *x * (size_t)t->n);
  if (!t->raw) pool_normalise(to, t->n);
}

BK_API int bk_model_dimensions(const struct bk_model *m) { return (int)m->engine.model.hp.n_embd; }

BK_API int bk_model_embed(struct bk_model *m, const struct bk_text *texts, int n, const struct bk_embed *how, float *out,
                          struct bk_error *e) {
  static const struct bk_embed defaults;
  static const enum embed_cut cuts[] = {EMBED_CUT_ERROR, EMBED_CUT_END, EMBED_CUT_START};
  const struct hparams *hp = &m->engine.model.hp;
  struct embed b;
  if (!how) how = &defaults;
  if (how->pooling < 0 || how->pooling > BK_POOL_LAST || how->truncate < 0 || how->truncate > BK_TRUNCATE_START || how->dimensions < 0 ||
      how->dimensions > hp->n_embd)
    return err_set(e, ERR_USAGE, "bk_embed: pooling %d, truncate %d, dimensions %d: one of them is not there", how->pooling, how->truncate,
                   how->dimensions);
  struct embed_options o = {.pooling = how->pooling ? (enum pooling)how->pooling : pool_kind(hp), .cut = cuts[how->truncate],
                            .prompt = str_from(how->prompt)};
  struct embed_taken taken = {out, how->dimensions ? how->dimensions : (int)hp->n_embd, how->raw != 0};
  if (m->engine.model.vocab) embed_frame(m->engine.model.vocab, &o);
  bool ok = embed_open(&b, &m->engine, &o, e) && embed_texts(&b, texts, n, embed_take_vector, &taken, e);
  embed_close(&b);
  return ok;
}
