/* main.c -- the command line: arguments, environment, configuration, progress, terminals, exit codes.
 *
 * The only file that prints to a person or ends the process. Data goes to standard output and nothing else does; every
 * failure is one sentence on standard error and a number of sysexits.h.
 * SPDX-License-Identifier: MIT */
#define BK_API static // this program is the only caller
#include "bodkin.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") // as bodkin.c has it where nothing is run often
#endif
#include "terminal.c"

#include <sys/wait.h>

/* ---- options: flags beat environment beats configuration file ---- */

enum { MAIN_WORDS = 64 }; // most arguments that are no options

enum option_kind { OPTION_LIST, OPTION_FLAG, OPTION_INT, OPTION_FLOAT, OPTION_TEXT, OPTION_SIZE };

struct options {
  const char *model, *system, *isa, *kv, *format, *query, *test, *dequant, *type, *perplexity, *against, *socket, *gpu, *chat_template,
      *config;
  const char *pooling, *normalize, *truncate, *precision, *prompt, *prompt_name, *ranges, *cache, *pca, *against_precision, *output;
  int64_t threads, context, chunk, batch, n, depth, repeat, max_tokens, top_k, penalty_window, seed, has_seed, top;
  int64_t dimensions, window, overlap, top_n, hierarchical, report, against_exact;
  uint64_t memory;
  double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  int64_t exact, special, add_special, lines, decode, json, tape, profile, help, version;
  const char *loras[MODEL_LORAS + 1]; // then NULL
  const char *words[MAIN_WORDS]; // what is no option
  int n_words;
};

struct option {
  char name[20];     // without dashes; in the environment BODKIN_ and capitals
  char letter;       // 0: none
  enum option_kind kind;
  size_t offset;
  double min, max;
  const char *help;  // NULL: not listed
};
#define OPTION(member) offsetof(struct options, member)

static const struct option options_table[] = {
  {"model", 'm', OPTION_TEXT, OPTION(model), 0, 0, "MODEL      a file, a name of the catalogue, or a name in a model store on this disk"},
  {"system", 's', OPTION_TEXT, OPTION(system), 0, 0, "TEXT      what the model is told before the conversation (run)"},
  {"lora", 0, OPTION_LIST, OPTION(loras), 0, 0, "FILE[=X]     an adapter, times X; may be given several times"},
  {"query", 'q', OPTION_TEXT, OPTION(query), 0, 0, NULL},
  {"threads", 't', OPTION_INT, OPTION(threads), 1, 256, "N         processors to use; default: all this process may use"},
  {"context", 'c', OPTION_INT, OPTION(context), 1, 1 << 26, "N         tokens of a conversation; default: the model's, at most 4096"},
  {"memory", 0, OPTION_SIZE, OPTION(memory), 0, 0, "SIZE       refuse to load what needs more, for example 512M"},
  {"max-tokens", 0, OPTION_INT, OPTION(max_tokens), 1, 1 << 26, "N      most tokens of an answer; default: to the end of the context"},
  {"temperature", 0, OPTION_FLOAT, OPTION(temperature), 0, 100, "X     0: always the most likely; default: the model's, else 0.8"},
  {"top-k", 0, OPTION_INT, OPTION(top_k), 0, 1 << 24, "N           draw from the N most likely; 0: all; default 40"},
  {"top-p", 0, OPTION_FLOAT, OPTION(top_p), 0, 1, "X           draw from the fewest that reach probability X; default 0.95"},
  {"min-p", 0, OPTION_FLOAT, OPTION(min_p), 0, 1, "X           leave out what is X times less likely than the first; default 0.05"},
  {"repetition-penalty", 0, OPTION_FLOAT, OPTION(repetition_penalty), 0.01, 100, "X  default 1 (off)"},
  {"presence-penalty", 0, OPTION_FLOAT, OPTION(presence_penalty), -2, 2, "X  default 0 (off)"},
  {"frequency-penalty", 0, OPTION_FLOAT, OPTION(frequency_penalty), -2, 2, "X default 0 (off)"},
  {"penalty-window", 0, OPTION_INT, OPTION(penalty_window), 0, 1 << 20, "N  tokens the penalties look back on; default 64"},
  {"seed", 0, OPTION_INT, OPTION(seed), 0, 9e15, "N            same seed, same text; default: random, and reported"},
  {"isa", 0, OPTION_TEXT, OPTION(isa), 0, 0, "NAME          scalar, avx2, avx_vnni, avx512, neon, neon_dot, neon_i8mm; default: the best"},
  {"kv", 0, OPTION_TEXT, OPTION(kv), 0, 0, "TYPE           keys and values as f16, f32 or q8_0; default f16"},
  {"special", 0, OPTION_FLAG, OPTION(special), 0, 0, "          special tokens written in a text become special tokens"},
  {"add-special", 0, OPTION_FLAG, OPTION(add_special), 0, 0, "      begin and end tokens as the model wants them (tokenize)"},
  {"lines", 0, OPTION_FLAG, OPTION(lines), 0, 0, "            one array for every line (tokenize)"},
  {"decode", 0, OPTION_FLAG, OPTION(decode), 0, 0, "           arrays of ids back to text (tokenize)"},
  {"json", 0, OPTION_FLAG, OPTION(json), 0, 0, "             for programs (info, bench, embed --report)"},
  {"tape", 0, OPTION_FLAG, OPTION(tape), 0, 0, "             the forward pass, operation by operation (info)"},
  {"profile", 0, OPTION_FLAG, OPTION(profile), 0, 0, "          where the time goes, operation by operation (bench)"},
  {"gpu", 0, OPTION_TEXT, OPTION(gpu), 0, 0, "auto|off|NAME not supported yet; auto and off mean the processor"},
  {"test", 0, OPTION_TEXT, OPTION(test), 0, 0, "NAME         prefill, decode, batch, load or tokenize (bench)"},
  {"n", 0, OPTION_INT, OPTION(n), 1, 1 << 20, "N               tokens (bench)"},
  {"depth", 0, OPTION_INT, OPTION(depth), 0, 1 << 26, "N           tokens that are there before (bench)"},
  {"repeat", 0, OPTION_INT, OPTION(repeat), 1, BENCH_MAX_REPEAT, "R          runs of which the median counts (bench)"},
  {"batch", 0, OPTION_INT, OPTION(batch), 1, 1 << 16, "N           sequences side by side (eval, bench); tokens of a step (embed, rerank)"},
  {"chunk", 0, OPTION_INT, OPTION(chunk), 1, 1 << 20, "N           most tokens of one prompt in a step (eval)"},
  {"exact", 0, OPTION_FLAG, OPTION(exact), 0, 0, "            float32 activations, keys and values; slow (eval)"},
  {"dequant", 0, OPTION_TEXT, OPTION(dequant), 0, 0, "TYPE      raw blocks on stdin to raw float32 on stdout (eval)"},
  {"type", 0, OPTION_TEXT, OPTION(type), 0, 0,
   "TYPE         of the matrices: F16, Q8_0, Q4_K_M ...; default: 16 bits, codes as they are (convert)"},
  {"perplexity", 0, OPTION_TEXT, OPTION(perplexity), 0, 0, "FILE   of a text (eval)"},
  {"against", 0, OPTION_TEXT, OPTION(against), 0, 0, "MODEL     how far the model is from this one (eval --perplexity, embed --report)"},
  {"socket", 0, OPTION_TEXT, OPTION(socket), 0, 0, NULL},
  {"format", 0, OPTION_TEXT, OPTION(format), 0, 0, "NAME       jsonl, f32, npy or arrow (embed)"},
  {"output", 0, OPTION_TEXT, OPTION(output), 0, 0,
   "NAME       dense, colbert: a vector for each token, sparse: weights of words (embed)"},
  {"pooling", 0, OPTION_TEXT, OPTION(pooling), 0, 0,
   "NAME      mean, cls, last, or none: one for each token; default: the model's (embed)"},
  {"normalize", 0, OPTION_TEXT, OPTION(normalize), 0, 0, "NAME    l2 or none; default l2, of token vectors none (embed)"},
  {"dimensions", 0, OPTION_INT, OPTION(dimensions), 1, 1 << 20, "N      the first N of a vector, of length 1 again (embed)"},
  {"precision", 0, OPTION_TEXT, OPTION(precision), 0, 0, "NAME    float32, float16, int8, binary or ubinary (embed)"},
  {"ranges", 0, OPTION_TEXT, OPTION(ranges), 0, 0,
   "FILE       raw float32 (2, dimensions): what int8 spans; default: each its own (embed)"},
  {"truncate", 0, OPTION_TEXT, OPTION(truncate), 0, 0, "NAME     what a long line loses: end, start; default: error (embed, rerank)"},
  {"window", 0, OPTION_INT, OPTION(window), 8, 1 << 20, "N          tokens of a window on a long line, which has their mean (embed)"},
  {"overlap", 0, OPTION_INT, OPTION(overlap), 0, 1 << 20, "N         tokens that two windows share (embed)"},
  {"hierarchical", 0, OPTION_FLAG, OPTION(hierarchical), 0, 0, "     a vector for every sentence, and their mean for the line (embed)"},
  {"prompt", 0, OPTION_TEXT, OPTION(prompt), 0, 0, "TEXT       in front of every line (embed)"},
  {"prompt-name", 0, OPTION_TEXT, OPTION(prompt_name), 0, 0, "NAME  the model's own prompt: query, passage ... (embed)"},
  {"cache", 0, OPTION_TEXT, OPTION(cache), 0, 0,
   "FILE[=SIZE] vectors and scores kept between runs, at most SIZE, 256M if none is given (embed, rerank)"},
  {"pca", 0, OPTION_TEXT, OPTION(pca), 0, 0, "FILE          a projection of the vectors: safetensors with components, mean (embed)"},
  {"report", 0, OPTION_FLAG, OPTION(report), 0, 0, "           instead of vectors what they are like (embed)"},
  {"against-precision", 0, OPTION_TEXT, OPTION(against_precision), 0, 0, "NAME  how far the vectors are from those of it (embed --report)"},
  {"against-exact", 0, OPTION_FLAG, OPTION(against_exact), 0, 0, "    how far they are from float32 activations (embed --report)"},
  {"top-n", 0, OPTION_INT, OPTION(top_n), 1, 9e15, "N           only the N best lines (rerank)"},
  {"help", 'h', OPTION_FLAG, OPTION(help), 0, 0, ""},
  {"version", 0, OPTION_FLAG, OPTION(version), 0, 0, ""},
};

static bool option_set(struct options *o, const struct option *opt, const char *value, const char *from, struct bk_error *e) {
  char *to = (char *)o + opt->offset;
  int64_t n;
  double x;
  if (opt->kind == OPTION_LIST) {
    const char **list = (const char **)(void *)to;
    int used = 0;
    while (list[used]) used++;
    if (used == MODEL_LORAS) return err_set(e, ERR_USAGE, "%s%s: at most %d", from, opt->name, MODEL_LORAS);
    list[used] = value;
  } else if (opt->kind == OPTION_TEXT) {
    *(const char **)(void *)to = value;
  } else if (opt->kind == OPTION_SIZE) {
    if (!str_to_bytes(str_from(value), (uint64_t *)(void *)to))
      return err_set(e, ERR_USAGE, "%s%s: \"%s\" is no size; 512M, 4G and plain bytes are", from, opt->name, value);
  } else if (opt->kind == OPTION_FLOAT) {
    if (!str_to_double(str_from(value), &x) || x < opt->min || x > opt->max)
      return err_set(e, ERR_USAGE, "%s%s: \"%s\" is no number from %g to %g", from, opt->name, value, opt->min, opt->max);
    *(double *)(void *)to = x;
  } else if (opt->kind == OPTION_INT) {
    if (!str_to_int(str_from(value), &n) || (double)n < opt->min || (double)n > opt->max)
      return err_set(e, ERR_USAGE, "%s%s: \"%s\" is no integer from %.0f to %.0f", from, opt->name, value, opt->min, opt->max);
    *(int64_t *)(void *)to = n;
    if (opt->offset == OPTION(seed)) o->has_seed = 1;
  } else {
    *(int64_t *)(void *)to = !str_is(str_from(value), "0") && !str_is(str_from(value), "false");
  }
  return true;
}

static const struct option *option_find(struct str name) {
  for (int i = 0; i < ARRAY_LEN(options_table); i++)
    if (str_is(name, options_table[i].name)) return &options_table[i];
  return NULL;
}

static bool options_from_file(struct options *o, struct arena *a, struct bk_error *e) {
  char path[4096];
  const char *home = getenv("XDG_CONFIG_HOME"), *user = getenv("HOME");
  if (home && home[0] == '/') snprintf(path, sizeof path, "%s/bodkin/config", home);
  else if (user) snprintf(path, sizeof path, "%s/.config/bodkin/config", user);
  else return true;
  struct str text, line;
  if (!os_is_file(path)) return true;
  if (!os_read_file(path, 64 << 10, a, &text, e)) return false;
  for (size_t at = 0; at < text.len; at += line.len + 1) {
    size_t end = str_find(text, STR("\n"), at);
    line = str_slice(text, at, end == SIZE_MAX ? text.len : end);
    char key[128], value[1024];
    snprintf(key, sizeof key, STR_FMT, (int)line.len, line.ptr);
    if (sscanf(key, " %127[^= \t#]", value) != 1) continue; // empty, or a comment
    const struct option *opt = option_find(str_from(value));
    size_t sign = str_find(line, STR("="), 0);
    if (!opt || sign == SIZE_MAX) return err_set(e, ERR_USAGE, "%s: \"%s\" is no setting", path, value);
    sign++;
    while (sign < line.len && (line.ptr[sign] == ' ' || line.ptr[sign] == '\t')) sign++;
    struct str given = str_slice(line, sign, line.len);
    while (given.len && strchr(" \t\r", given.ptr[given.len - 1])) given.len--;
    char *kept = arena_alloc(a, given.len + 1, 1, 1);
    if (!kept) return err_set(e, ERR_OS, "%s: no memory", path);
    memcpy(kept, given.ptr, given.len);
    if (!option_set(o, opt, kept, "configuration: ", e)) return false;
  }
  return true;
}

static bool options_from_environment(struct options *o, struct bk_error *e) {
  for (int i = 0; i < ARRAY_LEN(options_table); i++) {
    char name[64] = "BODKIN_";
    size_t n = strlen(name);
    for (const char *p = options_table[i].name; *p && n < sizeof name - 1; p++) name[n++] = (char)(*p == '-' ? '_' : *p - 32);
    const char *value = getenv(name);
    if (value && *value && !option_set(o, &options_table[i], value, "environment: ", e)) return false;
  }
  return true;
}

static bool options_from_arguments(struct options *o, int argc, char **argv, struct bk_error *e) {
  bool only_words = false;
  for (int i = 0; i < argc; i++) {
    const char *arg = argv[i], *value = NULL;
    const struct option *opt = NULL;
    if (only_words || arg[0] != '-' || arg[1] == 0) {
      if (o->n_words == ARRAY_LEN(o->words)) return err_set(e, ERR_USAGE, "too many arguments");
      o->words[o->n_words++] = arg;
      continue;
    }
    if (str_is(str_from(arg), "--")) {
      only_words = true;
      continue;
    }
    if (arg[1] == '-') {
      struct str name = str_from(arg + 2);
      size_t sign = str_find(name, STR("="), 0);
      if (sign != SIZE_MAX) value = arg + 2 + sign + 1;
      opt = option_find(str_slice(name, 0, sign == SIZE_MAX ? name.len : sign));
    } else if (arg[2] == 0) {
      for (int k = 0; k < ARRAY_LEN(options_table); k++)
        if (options_table[k].letter == arg[1]) opt = &options_table[k];
    }
    if (!opt) return err_set(e, ERR_USAGE, "unknown option %s; bodkin --help lists them", arg);
    if (opt->kind == OPTION_FLAG) value = value ? value : "1";
    else if (!value && i + 1 == argc && opt->offset == OPTION(gpu)) value = "auto";
    else if (!value && i + 1 == argc) return err_set(e, ERR_USAGE, "option %s wants a value", arg);
    else if (!value) value = argv[++i];
    if (!option_set(o, opt, value, "--", e)) return false;
  }
  return true;
}

/* ---- what commands share ---- */

static struct arena main_memory; // reserved at start, for names, lists and texts

/* Becomes tools/fetch for that model. */
static bool main_fetch(const char *name, struct bk_error *e) {
  char script[4096];
  static const char *const below[] = {"tools/fetch", "../share/bodkin/fetch"};
  const struct str folders[] = {os_program_folder(&main_memory), STR(".")};
  for (int i = 0; i < 4; i++) {
    snprintf(script, sizeof script, STR_FMT "/%s", (int)folders[i / 2].len, folders[i / 2].ptr ? folders[i / 2].ptr : "", below[i % 2]);
    if (!os_is_file(script)) continue;
    char *argv[] = {"python3", script, (char *)(uintptr_t)name, NULL};
    execvp(argv[0], argv);
    return err_set(e, ERR_UNAVAILABLE, "cannot run python3, which tools/fetch needs: %s", strerror(errno));
  }
  return err_set(e, ERR_UNAVAILABLE, "tools/fetch is neither beside this program nor in this folder");
}

/* The default for vectors is fetched where it is missing. */
static bool main_vector_model(const char **path, struct bk_error *e) {
  struct store_entry entry;
  struct bk_error missing = {0};
  char name[128];
  int status = -1;
  if (!store_default(true, &main_memory, &entry)) return err_set(e, ERR_USAGE, "no model: give -m MODEL");
  if (store_find(entry.name, &main_memory, path, &missing)) return true;
  snprintf(name, sizeof name, STR_FMT, STR_ARG(entry.name));
  fprintf(stderr, "bodkin: %s: this is done now\n", missing.message);
  pid_t child = fork();
  if (child == 0) {
    dup2(STDERR_FILENO, STDOUT_FILENO); // what it says is no vector
    main_fetch(name, &missing);
    _exit(missing.code);
  }
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (status != 0) return err_set(e, missing.code, "%s; it could not be fetched now", missing.message);
  return store_find(entry.name, &main_memory, path, e);
}

static bool main_model_path(const struct options *o, const char **path, struct bk_error *e) {
  struct str name = str_from(o->model);
  if (!o->model) {
    struct store_entry entry;
    if (!store_default(false, &main_memory, &entry)) return err_set(e, ERR_USAGE, "no model: give -m MODEL");
    name = entry.name;
  }
  size_t sign = str_find(name, STR("="), 0); // name=path
  if (sign != SIZE_MAX && str_find(str_slice(name, 0, sign), STR("/"), 0) == SIZE_MAX) name = str_slice(name, sign + 1, name.len);
  return store_find(name, &main_memory, path, e);
}

static bool main_kv(const struct options *o, enum kv_type *kv, struct bk_error *e) {
  struct str name = str_from(o->kv ? o->kv : "f16");
  *kv = str_is(name, "f32") ? KV_F32 : str_is(name, "q8_0") ? KV_Q8 : KV_F16;
  return *kv != KV_F16 || str_is(name, "f16") || err_set(e, ERR_USAGE, "--kv %s: expected f16, f32 or q8_0", o->kv);
}

static bool main_engine_options(const struct options *o, struct engine_options *out, struct bk_error *e) {
  *out = (struct engine_options){.n_threads = (int)o->threads, .n_context = (int)o->context, .n_sequences = (int)o->batch,
                                 .chunk = (int)(o->chunk > ENGINE_ROWS ? ENGINE_ROWS : o->chunk), .exact = o->exact != 0,
                                 .memory = o->memory, .loras = o->loras};
  if (o->batch > ENGINE_ROWS) return err_set(e, ERR_USAGE, "--batch %lld: expected 1 to %d", (long long)o->batch, ENGINE_ROWS);
  if (o->isa && !(out->has_isa = kern_named(str_from(o->isa), &out->isa)))
    return err_set(e, ERR_USAGE, "--isa %s: expected scalar, avx2, avx_vnni, avx512, neon, neon_dot or neon_i8mm", o->isa);
  return main_kv(o, &out->kv, e);
}

static bool main_load(const struct options *o, struct engine *g, struct bk_error *e) {
  struct engine_options options;
  const char *path;
  if (!main_engine_options(o, &options, e) || !main_model_path(o, &path, e)) return false;
  if (o->test && str_is(str_from(o->test), "embed")) options.lanes = LANES_ANY;
  return engine_open(g, path, &options, e) && engine_load(g, e);
}

static bool main_flush(struct bk_error *e) {
  return (fflush(stdout) == 0 && !ferror(stdout)) || err_set(e, ERR_IO, "cannot write to standard output: %s", strerror(errno));
}

/* All of a stream. */
static bool main_read_all(FILE *in, struct str *out, struct bk_error *e) {
  size_t cap = (size_t)(main_memory.end - main_memory.beg), n = fread(main_memory.beg, 1, cap, in);
  *out = (struct str){main_memory.beg, n};
  main_memory.beg += n;
  if (ferror(in)) return err_set(e, ERR_IO, "cannot read standard input: %s", strerror(errno));
  return n < cap || err_set(e, ERR_DATA, "the input is longer than %zu bytes", cap);
}

static bool main_open_input(const struct options *o, FILE **in, struct bk_error *e) {
  *in = stdin;
  if (o->n_words == 0 || str_is(str_from(o->words[0]), "-")) return true;
  if (os_is_directory(o->words[0])) return err_set(e, ERR_NOINPUT, "%s: a directory, expected a file", o->words[0]);
  *in = fopen(o->words[0], "rb");
  if (*in) return true;
  return err_set(e, errno == EACCES ? ERR_PERMISSION : ERR_NOINPUT, "%s: %s", o->words[0], strerror(errno));
}

/* ---- run and complete ---- */

static struct bk_session *volatile main_session; // what SIGINT stops; NULL: nothing is being generated
static volatile sig_atomic_t main_interrupts;

/* SIGINT stops an answer; a second one, or one when there is no answer, ends the program, as SIGTERM and SIGHUP do. */
static void main_signal(int number) {
  if (number == SIGINT && main_session && main_interrupts++ == 0) {
    bk_session_stop(main_session);
    return;
  }
  terminal_restore();
  os_discard();
  _exit(128 + number);
}

static void main_signals(void) {
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  action.sa_handler = main_signal;
  action.sa_flags = SA_RESTART; // what is being written is written whole
  for (int i = 0; i < ARRAY_LEN(numbers); i++) {
    sigaction(numbers[i], &action, &before);
    if (numbers[i] == SIGHUP && before.sa_handler == SIG_IGN) sigaction(SIGHUP, &before, NULL); // nohup
  }
}

struct conversation {
  struct bk_model *model;
  struct bk_session *session;
  struct bk_sampler sampler;
  uint64_t seed;
  int64_t max_tokens;
  int32_t *ids; // (context)
  int n;
  struct buf messages; // JSON, without the closing bracket
  struct buf answer;
};

static bool main_converse_open(const struct options *o, struct conversation *c, struct bk_error *e) {
  const char *path;
  enum kv_type kv;
  if (!main_model_path(o, &path, e) || !main_kv(o, &kv, e)) return false;
  if (o->gpu && !str_is(str_from(o->gpu), "auto") && !str_is(str_from(o->gpu), "off"))
    return err_set(e, ERR_UNAVAILABLE, "not supported: --gpu %s", o->gpu);
  struct bk_options options = {.isa = o->isa, .threads = (int)o->threads, .context = (int)o->context, .memory = o->memory,
                               .kv = kv == KV_F32 ? BK_KV_F32 : kv == KV_Q8 ? BK_KV_Q8_0 : BK_KV_F16, .exact = (int)o->exact,
                               .loras = o->loras};
  c->model = bk_model_open(path, &options, e);
  c->session = c->model ? bk_session_open(c->model, e) : NULL;
  if (!c->session) return false;
  const struct gguf *g = &c->model->engine.model.gguf;
  double named;
  c->seed = o->has_seed ? (uint64_t)o->seed : os_random() >> 11; // short enough to be typed again
  c->sampler = bk_sampler_default(c->seed);
  if (o->temperature >= 0) c->sampler.temperature = (float)o->temperature;
  else if (gguf_float(gguf_find(g, STR("general.sampling.temp")), 0, &named) && named >= 0) c->sampler.temperature = (float)named;
  if (o->top_k >= 0) c->sampler.top_k = (int)o->top_k;
  if (o->top_p >= 0) c->sampler.top_p = (float)o->top_p;
  if (o->min_p >= 0) c->sampler.min_p = (float)o->min_p;
  if (o->repetition_penalty >= 0) c->sampler.repetition_penalty = (float)o->repetition_penalty;
  if (o->penalty_window >= 0) c->sampler.penalty_window = (int)o->penalty_window;
  c->sampler.presence_penalty = (float)o->presence_penalty;
  c->sampler.frequency_penalty = (float)o->frequency_penalty;
  c->max_tokens = o->max_tokens > 0 ? o->max_tokens : INT32_MAX;
  c->ids = ARENA_NEW(&main_memory, int32_t, (size_t)bk_model_context(c->model) + 1);
  c->messages = buf_new(&main_memory, 8 << 20);
  c->answer = buf_new(&main_memory, 4 << 20);
  return (c->ids && c->messages.cap && c->answer.cap) || err_set(e, ERR_OS, "no memory for the conversation");
}

static void main_closing_line(const struct conversation *c, int prompt, int generated, double first, double seconds) {
  size_t position_bytes = c->model->engine.kv.page_bytes / KV_PAGE;
  double bytes = (double)(c->model->engine.model.packed_bytes + position_bytes * (size_t)(prompt + generated / 2));
  double rate = generated > 1 && seconds > 0 ? (generated - 1) / seconds : 0;
  fprintf(stderr, "[%d + %d tokens, %.1f tokens/s, first after %.0f ms, %.1f GB/s, seed %llu]\n", prompt, generated, rate, first * 1e3,
          rate * bytes / 1e9, (unsigned long long)c->seed);
}

/* Text of a model to standard output. On a terminal its control characters, but line feed and tab, become '?': an answer
 * must not steer what shows it. */
static void main_show(struct str text) {
  static int terminal = -1;
  if (terminal < 0) terminal = isatty(STDOUT_FILENO);
  for (size_t i = 0, next; i < text.len && terminal; i = next) {
    next = i;
    uint32_t code = utf8_decode(text, &next);
    bool control = (code < 32 && code != '\n' && code != '\t') || (code >= 127 && code < 160);
    if (control) fputc('?', stdout);
    else fwrite(text.ptr + i, 1, next - i, stdout);
  }
  if (!terminal) fwrite(text.ptr, 1, text.len, stdout);
}

/* Answers the ids of the conversation: streams the text to standard output and keeps it in c->answer. */
static bool main_answer(struct conversation *c, bool special, bool at_start, double start, struct bk_error *e) {
  int context = bk_model_context(c->model), prompt = c->n, generated = 0;
  char memory[1024];
  struct token_stream stream = token_stream_start(c->model->engine.model.vocab, special, at_start);
  double first = 0, began = 0;
  bool full = false;
  c->answer.len = 0;
  main_interrupts = 0;
  __atomic_store_n(&c->session->stop, 0, __ATOMIC_RELAXED); // of an answer that had just ended by itself
  main_session = c->session;
  while (generated < c->max_tokens && bk_session_sync(c->session, c->ids, c->n, e)) {
    int32_t id = bk_session_sample(c->session, &c->sampler, e);
    if (generated == 0) began = os_seconds(), first = began - start;
    if (id < 0 || bk_model_is_end(c->model, id)) break;
    generated++;
    struct buf piece = {memory, 0, sizeof memory, false};
    token_stream_put(&stream, id, &piece);
    buf_put(&c->answer, buf_str(&piece));
    main_show(buf_str(&piece));
    if (!main_flush(e)) break;
    full = c->n >= context - 1;
    if (main_interrupts || full) break;
    c->ids[c->n++] = id;
  }
  main_session = NULL;
  struct buf rest = {memory, 0, sizeof memory, false};
  token_stream_end(&stream, &rest);
  buf_put(&c->answer, buf_str(&rest));
  main_show(buf_str(&rest));
  if (e->code == ERR_BUSY && main_interrupts) memset(e, 0, sizeof *e); // an answer that was stopped is no error
  if (e->code) return false;
  fputc('\n', stdout);
  if (!main_flush(e)) return false;
  main_closing_line(c, prompt, generated, first, os_seconds() - began);
  if (full) fprintf(stderr, "[the context of %d tokens is full]\n", context);
  return true;
}

static void main_message(struct conversation *c, const char *role, struct str content) {
  buf_printf(&c->messages, "%s{\"role\":\"%s\",\"content\":", c->messages.len ? "," : "[", role);
  json_put_string(&c->messages, content);
  buf_byte(&c->messages, '}');
}

/* One turn: the prompt is added, rendered by the template, answered; the answer is added. */
static bool main_turn(struct conversation *c, struct str prompt, double start, struct bk_error *e) {
  main_message(c, "user", prompt);
  size_t open = c->messages.len;
  buf_byte(&c->messages, ']');
  if (c->messages.full) return err_set(e, ERR_DATA, "the conversation is longer than %zu bytes", c->messages.cap);
  c->n = bk_model_chat(c->model, c->messages.ptr, c->messages.len, c->ids, bk_model_context(c->model) + 1, e);
  c->messages.len = open;
  if (c->n < 0) return false;
  if (c->n >= bk_model_context(c->model))
    return err_set(e, ERR_DATA, "the conversation has %d tokens, the context holds %d: give --context", c->n, bk_model_context(c->model));
  if (!main_answer(c, false, false, start, e)) return false;
  main_message(c, "assistant", buf_str(&c->answer));
  return true;
}

static bool main_interactive(struct conversation *c, struct bk_error *e) {
  struct terminal t;
  struct str prompt;
  bool answered = false;
  if (!terminal_open(&t, 1 << 20, &main_memory)) return err_set(e, ERR_OS, "no memory for a line");
  fprintf(stderr, "Ctrl-C stops an answer, Ctrl-D ends.\n");
  for (;;) {
    main_interrupts = 0;
    enum terminal_end end = terminal_read(&t, "> ", &prompt);
    main_interrupts = end == TERMINAL_INTERRUPT;
    if (end != TERMINAL_LINE) return true;
    if (prompt.len == 0) continue;
    size_t before = c->messages.len;
    if (main_turn(c, prompt, os_seconds(), e)) {
      answered = true;
    } else if (!answered || e->code != ERR_DATA) {
      return false;
    } else { // a prompt that does not fit is taken back: a shorter one may
      fprintf(stderr, "bodkin: %s\n", e->message);
      memset(e, 0, sizeof *e);
      c->messages.len = before;
      c->messages.full = false;
    }
  }
}

static bool main_prompt(const struct options *o, struct str *prompt, struct bk_error *e) {
  if (o->n_words == 0) {
    if (!main_read_all(stdin, prompt, e)) return false;
    while (prompt->len && (prompt->ptr[prompt->len - 1] == '\n' || prompt->ptr[prompt->len - 1] == '\r')) prompt->len--;
    return prompt->len > 0 || err_set(e, ERR_NOINPUT, "the prompt is empty");
  }
  struct buf b = buf_new(&main_memory, 1 << 20);
  for (int i = 0; i < o->n_words; i++) {
    if (i) buf_byte(&b, ' ');
    buf_put(&b, str_from(o->words[i]));
  }
  *prompt = buf_str(&b);
  return !b.full || err_set(e, ERR_DATA, "the prompt is longer than %zu bytes", b.cap);
}

static bool main_run(const struct options *o, struct bk_error *e) {
  double start = os_seconds();
  struct conversation c = {0};
  struct str prompt;
  bool talk = o->n_words == 0 && isatty(STDIN_FILENO);
  if (!talk && !main_prompt(o, &prompt, e)) return false;
  if (!main_converse_open(o, &c, e)) return false;
  if (o->system) main_message(&c, "system", str_from(o->system));
  if (!o->context) fprintf(stderr, "[context %d tokens]\n", bk_model_context(c.model));
  bool ok = talk ? main_interactive(&c, e) : main_turn(&c, prompt, start, e);
  bk_session_close(c.session);
  bk_model_close(c.model);
  return ok;
}

static bool main_complete(const struct options *o, struct bk_error *e) {
  double start = os_seconds();
  struct conversation c = {0};
  struct str prompt;
  if (!main_prompt(o, &prompt, e) || !main_converse_open(o, &c, e)) return false;
  int flags = BK_ADD_SPECIAL | (o->special ? BK_PARSE_SPECIAL : 0);
  c.n = bk_model_tokenize(c.model, prompt.ptr, prompt.len, flags, c.ids, bk_model_context(c.model), e);
  bool ok = c.n >= 0 && main_answer(&c, o->special != 0, false, start, e);
  bk_session_close(c.session);
  bk_model_close(c.model);
  return ok;
}

/* ---- tokenize ---- */

static bool main_encode(const struct vocab *v, struct str text, const struct options *o, struct bk_error *e) {
  struct arena a = main_memory;
  size_t bound = token_bound(v, text.len);
  int32_t *ids = ARENA_NEW(&a, int32_t, bound + 1);
  int n;
  if (!ids) return err_set(e, ERR_DATA, "the text is too long");
  if (!token_encode(v, text, (struct token_options){o->add_special != 0, o->special != 0}, a, ids, (int)bound, &n, e)) return false;
  putchar('[');
  for (int i = 0; i < n; i++) fprintf(stdout, i ? ",%d" : "%d", ids[i]);
  fputs("]\n", stdout);
  return main_flush(e);
}

static bool main_decode(const struct vocab *v, struct str text, struct bk_error *e) {
  struct arena a = main_memory;
  struct json *ids;
  if (!json_parse(text, &a, &ids, e)) return false;
  if (ids->type != JSON_ARRAY) return err_set(e, ERR_DATA, "expected a JSON array of token ids");
  for (const struct json *id = ids->first; id; id = id->next) {
    struct buf piece = buf_new(&a, v->max_piece);
    if (id->type != JSON_INT || id->integer < 0 || id->integer >= v->n_tokens)
      return err_set(e, ERR_DATA, "token ids are integers from 0 to %d", v->n_tokens - 1);
    token_piece(v, (int32_t)id->integer, &piece);
    fwrite(piece.ptr, 1, piece.len, stdout);
    a.beg = piece.ptr;
  }
  return main_flush(e);
}

/* The vocabulary of a file, whether it holds weights or not. */
static bool main_vocabulary(const struct options *o, struct vocab **v, struct bk_error *e) {
  static struct gguf g;
  const char *path;
  if (!main_model_path(o, &path, e) || !gguf_open(&g, path, &main_memory, e)) return false;
  if (!token_load(&g, &main_memory, v, e)) err_prefix(e, path);
  return !e->code;
}

static bool main_tokenize(const struct options *o, struct bk_error *e) {
  struct vocab *v;
  FILE *in;
  struct str all, line;
  if (!main_vocabulary(o, &v, e) || !main_open_input(o, &in, e) || !main_read_all(in, &all, e)) return false;
  if (!o->lines) return o->decode ? main_decode(v, all, e) : main_encode(v, all, o, e);
  for (size_t at = 0; at < all.len; at += line.len + 1) {
    size_t end = str_find(all, STR("\n"), at);
    line = str_slice(all, at, end == SIZE_MAX ? all.len : end);
    if (!(o->decode ? main_decode(v, line, e) : main_encode(v, line, o, e))) return false;
    if (o->decode) putchar('\n');
  }
  return main_flush(e);
}

/* ---- eval, bench, info, verify, pull ---- */

/* The model that another is compared with, beside it: what --memory allows is for both. */
static bool main_eval_source(const struct options *o, const struct engine *g, struct engine *source, struct bk_error *e) {
  struct options named = *o;
  size_t taken = engine_plan(g).total;
  named.model = o->against;
  if (o->memory) named.memory = o->memory > taken ? o->memory - taken : 1;
  return main_load(&named, source, e);
}

/* A file that holds a vocabulary and no weights still tokenises. */
static bool main_eval(const struct options *o, struct bk_error *e) {
  static struct engine g, source;
  static struct gguf words;
  struct vocab *v = NULL;
  FILE *in;
  if (o->against && !o->perplexity) return err_set(e, ERR_USAGE, "--against goes with --perplexity FILE");
  if (o->dequant) return eval_dequant(str_from(o->dequant), stdin, stdout, e);
  bool engine = false;
  struct options narrow = *o;
  if (o->against && (!o->chunk || o->chunk > EVAL_ROWS)) narrow.chunk = EVAL_ROWS;
  if (o->model || o->perplexity) {
    const char *path;
    if (!main_model_path(o, &path, e) || !gguf_open(&words, path, &main_memory, e)) return false;
    engine = words.n_tensors > 0;
    if (!engine && !token_load(&words, &main_memory, &v, e)) err_prefix(e, path);
    if (e->code) return false;
    if (engine) gguf_close(&words);
    if (engine && !main_load(&narrow, &g, e)) return false;
  }
  if (o->perplexity) {
    struct str text;
    if (!os_read_file(o->perplexity, 64 << 20, &main_memory, &text, e)) return false;
    if (!engine) return err_set(e, ERR_DATA, "the file holds a vocabulary only, no weights");
    if (o->against && !main_eval_source(&narrow, &g, &source, e)) return false;
    return eval_perplexity(&g, o->against ? &source : NULL, text, stdout, e);
  }
  if (!main_open_input(o, &in, e)) return false;
  return eval_run(engine ? &g : NULL, engine ? g.model.vocab : v, in, stdout, &main_memory, e);
}

/* As many positions as a test wants, as far as the model has them. */
static bool main_bench_context(struct options *o, int64_t wanted, struct bk_error *e) {
  static struct engine g;
  struct engine_options options;
  const char *path;
  if (!main_engine_options(o, &options, e) || !main_model_path(o, &path, e)) return false;
  options.memory = 0; // asked again when it is loaded
  if (!engine_open(&g, path, &options, e)) return false;
  o->context = wanted < g.model.hp.n_ctx_train ? wanted : g.model.hp.n_ctx_train;
  engine_close(&g);
  return true;
}

static bool main_bench_tokenize(const struct options *o, struct bk_error *e) {
  struct vocab *v;
  struct str text;
  FILE *in;
  if (!main_vocabulary(o, &v, e) || !main_open_input(o, &in, e) || !main_read_all(in, &text, e)) return false;
  return bench_tokenize(v, text, o->lines != 0, o->repeat > 0 ? (int)o->repeat : 5, o->json != 0, stdout, main_memory, e) && main_flush(e);
}

static bool main_bench(const struct options *o, struct bk_error *e) {
  static struct engine g;
  if (o->test && str_is(str_from(o->test), "tokenize")) return main_bench_tokenize(o, e);
  if (o->n_words) return err_set(e, ERR_USAGE, "a text is only for --test tokenize: what is \"%s\"?", o->words[0]);
  struct options wide = *o;
  struct bench_case one = {BENCH_TESTS, (int)(o->n > 0 ? o->n : 128), (int)o->depth, (int)(o->batch > 0 ? o->batch : 1)};
  for (int i = 0; i < BENCH_TESTS && o->test; i++)
    if (str_is(str_from(o->test), bench_names[i])) one.test = (enum bench_test)i;
  if (o->test && one.test == BENCH_TESTS)
    return err_set(e, str_is(str_from(o->test), "embed") ? ERR_UNAVAILABLE : ERR_USAGE, "not supported: --test %s", o->test);
  if (!o->test) wide.batch = 16;
  if (!o->context && !main_bench_context(&wide, o->test ? one.n + one.depth + (one.test == BENCH_EMBED ? 0 : 8) : 2304, e)) return false;
  struct bench_roof roof;
  if (!main_load(&wide, &g, e) || !bench_roof(&g, &roof, e)) return false;
  if (!o->json)
    fprintf(stdout, "%s, %d threads; roof %.1f GB/s, %.0f GOPS\n", g.cpu.kern->name, g.cpu.pool.n_threads, roof.gb_per_second, roof.gops);
  int repeat = o->repeat > 0 ? (int)o->repeat : 5;
  if (o->test) return bench_case(&g, &one, repeat, &roof, o->json != 0, o->profile && !o->json, stdout, e) && main_flush(e);
  for (int i = 0; i < ARRAY_LEN(bench_standard); i++)
    if (bench_standard[i].n + bench_standard[i].depth < g.options.n_context && // a small model is not made for all of them
        !bench_case(&g, &bench_standard[i], repeat, &roof, o->json != 0, o->profile && !o->json, stdout, e)) return false;
  return main_flush(e);
}

static bool main_info(const struct options *o, struct bk_error *e) {
  struct options named = *o;
  struct engine_options options;
  const char *path;
  if (o->gpu) return err_set(e, ERR_UNAVAILABLE, "not supported: GPUs");
  if (o->n_words > 0) named.model = o->words[0];
  if (!main_engine_options(&named, &options, e) || !main_model_path(&named, &path, e)) return false;
  options.lanes = LANES_ENCODER; // as embed has it
  return info_print(path, &options, o->json != 0, o->tape != 0, stdout, main_memory, e) && main_flush(e);
}

static void main_verify_progress(const char *name) { fprintf(stderr, "\r%-16s", name); }

static bool main_verify(const struct options *o, struct bk_error *e) {
  struct options named = *o;
  struct engine_options options;
  const char *path;
  if (o->n_words > 0) named.model = o->words[0];
  if (!main_engine_options(&named, &options, e) || !main_model_path(&named, &path, e)) return false;
  bool terminal = isatty(STDERR_FILENO);
  bool sound = verify_model(path, &options, terminal ? main_verify_progress : NULL, stdout, main_memory, e);
  if (terminal) fputs("\r                \r", stderr);
  return main_flush(e) && sound;
}

static bool main_pull(const struct options *o, struct bk_error *e) {
  return o->n_words == 1 ? main_fetch(o->words[0], e) : err_set(e, ERR_USAGE, "usage: bodkin pull NAME");
}

static void main_quantize_progress(double share) { fprintf(stderr, "\r%3.0f %%", share * 100); }

/* A file made of a file or of a folder. */
static bool main_make(const struct options *o, bool folder, struct bk_error *e) {
  struct options named = *o;
  struct convert_report r;
  const char *path;
  double start = os_seconds();
  if (o->n_words != (folder ? 2 : 3))
    return err_set(e, ERR_USAGE, folder ? "usage: bodkin convert DIR OUT.gguf [--type TYPE]"
                   : "usage: bodkin quantize IN.gguf OUT.gguf TYPE");
  named.model = o->words[0];
  if (!folder && !main_model_path(&named, &path, e)) return false;
  bool terminal = isatty(STDERR_FILENO);
  void (*progress)(double) = terminal ? main_quantize_progress : NULL;
  bool ok = folder ? hf_convert(o->words[0], o->words[1], o->type, (int)o->threads, progress, &r, e)
                   : convert_quantize(path, o->words[1], o->words[2], (int)o->threads, progress, &r, &main_memory, e);
  if (terminal) fputs("\r     \r", stderr);
  if (!ok) return false;
  fprintf(stderr, "[%s, %.1f million weights, %.1f MB to %.1f MB, %.1f s]\n", r.type, (double)r.n_weights / 1e6, (double)r.bytes_in / 1e6,
          (double)r.bytes_out / 1e6, os_seconds() - start);
  return true;
}

static bool main_quantize(const struct options *o, struct bk_error *e) { return main_make(o, false, e); }
static bool main_convert(const struct options *o, struct bk_error *e) { return main_make(o, true, e); }

/* ---- embed and rerank ---- */

/* The place of a word in a list that ends with NULL; none given: the first. */
static bool main_choice(const char *option, const char *given, const char *const *names, int *out, struct bk_error *e) {
  char list[128] = "";
  for (*out = 0; names[*out]; ++*out) {
    if (!given || strcmp(given, names[*out]) == 0) return true;
    snprintf(list + strlen(list), sizeof list - strlen(list), *out ? ", %s" : "%s", names[*out]);
  }
  return err_set(e, ERR_USAGE, "--%s %s: expected one of %s", option, given, list);
}

static bool main_cut(const struct options *o, enum embed_cut *cut, struct bk_error *e) {
  static const char *const cuts[] = {"error", "end", "start", NULL};
  int i;
  bool ok = main_choice("truncate", o->truncate, cuts, &i, e);
  *cut = (enum embed_cut)i;
  return ok;
}

/* A model for many short texts; own: the one used when none is named is that for vectors. */
static bool main_embed_engine(const struct options *o, bool own, struct engine *g, struct bk_error *e) {
  struct engine_options options;
  const char *path;
  struct options alone = *o;
  alone.batch = 0;
  if (!main_engine_options(&alone, &options, e)) return false;
  if (own && !o->model ? !main_vector_model(&path, e) : !main_model_path(o, &path, e)) return false;
  embed_engine_options(&options, o->batch);
  return engine_open(g, path, &options, e) && engine_load(g, e);
}

static bool main_embed_load(const struct options *o, bool own, struct engine *g, struct embed_input *in, struct bk_error *e) {
  return embed_input_open(in, o->words, o->n_words, &main_memory, e) && main_embed_engine(o, own, g, e);
}

static const char *const main_precisions[] = {"float32", "float16", "int8", "binary", "ubinary", NULL};

/* What --dimensions, --precision, --ranges and --normalize say, and --pooling's none. */
static bool main_embed_form(const struct options *o, const struct engine *g, const struct embed_options *how, struct embed_form *f,
                            struct bk_error *e) {
  static const char *const lengths[] = {"l2", "none", NULL};
  static struct embed_pca pca;
  int format, precision, length;
  struct str ranges;
  if (!main_choice("format", o->format, embed_formats, &format, e) || !main_choice("normalize", o->normalize, lengths, &length, e) ||
      !main_choice("precision", o->precision, main_precisions, &precision, e))
    return false;
  *f = (struct embed_form){(enum embed_format)format, (enum embed_precision)precision,
                           o->normalize || how->pooling != POOL_NONE || how->of ? length == 0 : false,
                           embed_width(&g->model, how->of), NULL, NULL};
  if (o->pca && how->pooling == POOL_NONE)
    return err_set(e, ERR_USAGE, "--pca is for one vector of a line: it goes with neither --pooling none nor --output");
  if (o->pca && !pca_open(&pca, o->pca, f->n, e)) return false;
  if (o->pca) f->pca = &pca, f->n = pca.k;
  if (o->dimensions > f->n) return err_set(e, ERR_USAGE, "--dimensions %lld: the vectors have %d", (long long)o->dimensions, f->n);
  if (o->dimensions) f->n = (int)o->dimensions;
  if ((how->pooling == POOL_NONE || how->sentences) && f->format != EMBED_JSONL)
    return err_set(e, ERR_DATA, "not supported: --format %s where a line has several vectors; jsonl is", o->format);
  if (how->pooling == POOL_NONE && (how->window || how->sentences))
    return err_set(e, ERR_USAGE, "--pooling none goes with neither --window nor --hierarchical");
  if (!o->ranges) return true;
  if (!os_read_file(o->ranges, 1 << 24, &main_memory, &ranges, e)) return false;
  if (ranges.len != 8 * (size_t)f->n || (f->precision != EMBED_INT8 && !str_is(str_from(o->against_precision), "int8")))
    return err_set(e, ERR_DATA, "%s: %zu bytes, expected %d floats of 4 bytes for --precision int8", o->ranges, ranges.len, 2 * f->n);
  float *copy = ARENA_NEW(&main_memory, float, 2 * (size_t)f->n);
  f->ranges = copy ? memcpy(copy, ranges.ptr, ranges.len) : NULL;
  return copy || err_set(e, ERR_OS, "%s: no memory", o->ranges);
}

/* What --output says, and what goes with it. */
static bool main_embed_output(const struct options *o, const struct model *m, struct embed_options *how, struct bk_error *e) {
  static const char *const outputs[] = {"dense", "colbert", "sparse", NULL}; // as enum pool_rows has them
  int of;
  if (!main_choice("output", o->output, outputs, &of, e) || of == POOL_HIDDEN) return !e->code;
  how->of = (enum pool_rows)of;
  how->pooling = POOL_NONE;
  if (!embed_width(m, how->of))
    return err_set(e, ERR_DATA, "not supported: --output %s: the model file has no %s.weight", o->output, o->output);
  if (o->format && strcmp(o->format, "jsonl") != 0)
    return err_set(e, ERR_DATA, "not supported: --output %s with --format %s; jsonl is", o->output, o->format);
  if (o->pooling || o->window || o->overlap || o->hierarchical || o->cache)
    return err_set(e, ERR_USAGE, "--output %s goes with none of --pooling, --window, --overlap, --hierarchical, --cache", o->output);
  return of != POOL_SPARSE || !(o->dimensions || o->precision || o->normalize || o->ranges) ||
         err_set(e, ERR_USAGE, "--output sparse goes with none of --dimensions, --precision, --ranges, --normalize");
}

static bool main_embed_options(const struct options *o, const struct engine *g, struct embed_options *how, struct bk_error *e) {
  static const char *const poolings[] = {"none", "mean", "cls", "last", NULL}; // as enum pooling has them
  int pooling = (int)pool_kind(&g->model.hp);
  struct str name = str_from(o->prompt_name);
  if (o->pooling && !main_choice("pooling", o->pooling, poolings, &pooling, e)) return false;
  *how = (struct embed_options){.pooling = (enum pooling)pooling, .window = (int)o->window, .overlap = (int)o->overlap,
                                .sentences = o->hierarchical != 0, .prompt = str_from(o->prompt)};
  if (!main_cut(o, &how->cut, e) || !main_embed_output(o, &g->model, how, e)) return false;
  if (g->model.vocab) embed_frame(g->model.vocab, how);
  if (o->prompt && o->prompt_name) return err_set(e, ERR_USAGE, "--prompt and --prompt-name: one of them");
  if (!o->prompt && !o->prompt_name) gguf_get_string(&g->model.gguf, STR("embedding.default_prompt_name"), &name, e);
  if (name.len && !embed_prompt(&g->model.gguf, name, &how->prompt, e)) return false;
  const int frame = how->n_front + how->n_back, context = g->options.n_context;
  if (how->window > context) how->window = context;
  if (how->overlap && !how->window) how->window = context;
  if (how->window && (how->window <= frame || how->overlap > (how->window - frame) / 2))
    return err_set(e, ERR_USAGE, "--overlap %d: at most half of a window's %d tokens", how->overlap, how->window - frame);
  return true;
}

/* Where output begins that can be written again, -1 if it cannot: a pipe, or a file that only grows. */
static long main_output_start(void) {
  struct stat st;
  int flags = fcntl(STDOUT_FILENO, F_GETFL);
  return fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && flags >= 0 && !(flags & O_APPEND) ? ftell(stdout) : -1;
}

static double main_embed_started, main_embed_shown;

static void main_embed_progress(const struct embed_writer *w, const struct embed_input *in) {
  double now = os_seconds(), spent = now - main_embed_started, share = in->total ? (double)in->bytes / (double)in->total : 0;
  if (spent < 1 || now - main_embed_shown < 0.2) return;
  main_embed_shown = now;
  fprintf(stderr, "\r%lld lines, %.0f a second", (long long)w->lines, (double)w->lines / spent);
  if (share > 0) fprintf(stderr, ", %.0f %%, %.0f s left", share * 100, share < 1 ? spent / share * (1 - share) : 0.0);
  fputs("\x1b[K", stderr);
}

/* What was not as asked, in one line. */
static void main_embed_note(int64_t lines, int64_t errors, int64_t cut_lines, int64_t cut_tokens) {
  if (main_embed_shown > 0) fputs("\r\x1b[K", stderr);
  if (cut_lines && cut_tokens) fprintf(stderr, "[%lld lines cut, by %lld tokens]\n", (long long)cut_lines, (long long)cut_tokens);
  else if (cut_lines) fprintf(stderr, "[%lld lines cut]\n", (long long)cut_lines);
  if (errors) fprintf(stderr, "[%lld of %lld lines have errors]\n", (long long)errors, (long long)lines);
}

/* FILE or FILE=SIZE. */
static bool main_embed_cache(const struct options *o, struct cache *c, struct embed *b, struct bk_error *e) {
  if (!o->cache) return true;
  const char *sign = strrchr(o->cache, '=');
  uint64_t limit = 0;
  bool sized = sign && str_to_bytes(str_from(sign + 1), &limit);
  struct str path = {o->cache, sized ? (size_t)(sign - o->cache) : strlen(o->cache)};
  path.ptr = arena_copy(&main_memory, path).ptr;
  char *ended = arena_alloc(&main_memory, 1, 1, 1); // behind the copy
  if (!path.ptr || !ended) return err_set(e, ERR_USAGE, "--cache: no path");
  if (sized && limit < 1 << 16) return err_set(e, ERR_USAGE, "--cache %s: at least 64K are needed", o->cache);
  return cache_open(c, path.ptr, sized ? limit : (uint64_t)256 << 20, e) && embed_use_cache(b, c, &main_memory, e);
}

/* What the first's vectors are compared with: another model's, whole, or its own at another precision. */
static bool main_embed_other(const struct options *o, struct embed_writer *first, struct embed_writer *w, struct bk_error *e) {
  static struct engine g;
  static struct embed b;
  struct options named = *o;
  struct embed_options how;
  struct embed_form form;
  if (!o->against && !o->against_exact) {
    int precision;
    if (!main_choice("against-precision", o->against_precision, main_precisions, &precision, e)) return false;
    *w = *first;
    w->form.precision = (enum embed_precision)precision;
    return true;
  }
  const size_t taken = engine_plan(first->embed->engine).total;
  if (o->memory) named.memory = o->memory > taken ? o->memory - taken : 1; // which is for both
  if (o->against) named.model = o->against, memset(named.loras, 0, sizeof named.loras);
  named.exact = o->against_exact;
  named.precision = o->against_precision;
  named.pca = named.ranges = NULL;
  named.dimensions = 0;
  return main_embed_engine(&named, true, &g, e) && main_embed_options(&named, &g, &how, e) && main_embed_form(&named, &g, &how, &form, e) &&
         embed_open(&b, &g, &how, e) && embed_writer_open(w, &b, &form, stdout, e);
}

static bool main_embed_report(const struct options *o, struct embed_writer *w, struct embed_input *in, struct bk_error *e) {
  static struct report r;
  static struct embed_writer other;
  const bool two = o->against || o->against_precision || o->against_exact;
  if (o->format || w->embed->options.pooling == POOL_NONE)
    return err_set(e, ERR_USAGE, "--report goes with none of --format, --output and --pooling none");
  if ((two && !main_embed_other(o, w, &other, e)) || !report_open(&r, w, two ? &other : NULL, (uint64_t)o->seed, e)) return false;
  while (embed_read(w->embed, in, e) && report_round(&r, e))
    if (isatty(STDERR_FILENO)) main_embed_progress(w, in);
  bool ok = !e->code && report_write(&r, o->json != 0, stdout, e);
  report_close(&r);
  return ok;
}

static bool main_embed(const struct options *o, struct bk_error *e) {
  static struct engine g;
  static struct embed b;
  static struct embed_writer w;
  static struct cache cache;
  struct embed_input in;
  struct embed_options how;
  struct embed_form form;
  if (!main_embed_load(o, true, &g, &in, e) || !main_embed_options(o, &g, &how, e) || !main_embed_form(o, &g, &how, &form, e) ||
      !embed_open(&b, &g, &how, e) || !embed_writer_open(&w, &b, &form, stdout, e) ||
      !main_embed_cache(o, &cache, &b, e))
    return false;
  main_embed_started = os_seconds();
  if (!o->report && (o->against || o->against_precision || o->against_exact))
    return err_set(e, ERR_USAGE, "--against, --against-precision and --against-exact go with --report");
  bool ok = o->report ? main_embed_report(o, &w, &in, e)
                      : embed_run(&w, &in, main_output_start(), isatty(STDERR_FILENO) ? main_embed_progress : NULL, e);
  main_embed_note(w.lines, ok ? w.errors : 0, w.cut_lines, w.cut_tokens);
  embed_writer_close(&w);
  embed_close(&b);
  return ok;
}

static bool main_rerank(const struct options *o, struct bk_error *e) {
  static struct engine g;
  static struct rerank r;
  static struct cache cache;
  struct embed_input in;
  enum embed_cut cut;
  if (!o->query) return err_set(e, ERR_USAGE, "no query: give -q QUERY");
  if (!main_cut(o, &cut, e) || !main_embed_load(o, false, &g, &in, e) || !rerank_open(&r, &g, str_from(o->query), cut, e) ||
      !main_embed_cache(o, &cache, &r.embed, e))
    return false;
  bool ok = rerank_run(&r, &in, e) && rerank_write(&r, o->top_n, stdout, e);
  main_embed_note((int64_t)r.n, r.errors, r.cut_lines, 0);
  rerank_close(&r);
  return ok;
}

static bool main_absent(const struct options *o, struct bk_error *e) {
  (void)o;
  return err_set(e, ERR_UNAVAILABLE, "not supported: this command, in this version");
}

/* ---- the program ---- */

static const struct command {
  char name[12];
  const char *usage, *help;
  bool (*run)(const struct options *o, struct bk_error *e);
  int max_words; // that are no options
} commands[] = {
  {"run", "[-m MODEL] [-s SYSTEM] [PROMPT]", "chat; a conversation on a terminal, one answer otherwise", main_run, MAIN_WORDS},
  {"complete", "[-m MODEL] [PROMPT]", "continue raw text, no template", main_complete, MAIN_WORDS},
  {"embed", "[-m MODEL] [FILE...]", "one vector per input line", main_embed, MAIN_WORDS},
  {"rerank", "[-m MODEL] -q QUERY [FILE...]", "score every input line against QUERY, best first", main_rerank, MAIN_WORDS},
  {"tokenize", "[-m MODEL] [--lines] [FILE]", "ids as a JSON array; --decode reverses it", main_tokenize, 1},
  {"info", "MODEL [--json] [--tape]", "what the file holds, what it will need, what of it is supported", main_info, 1},
  {"bench", "[-m MODEL] [--json]", "speed against this machine's measured roof", main_bench, 1},
  {"eval", "[-m MODEL] [FILE]", "numbers for tests: logits, greedy continuations, perplexity", main_eval, 1},
  {"quantize", "IN OUT TYPE", "IN.gguf to OUT.gguf with weights as TYPE: Q4_K_M, Q8_0, F16 ...", main_quantize, 3},
  {"convert", "DIR OUT.gguf [--type TYPE]", "a Hugging Face folder (safetensors, config, tokenizer) to GGUF", main_convert, 3},
  {"pull", "NAME", "fetch a model of the catalogue and check its SHA-256", main_pull, 1},
  {"verify", "MODEL", "a report on a model file, and an exit code", main_verify, 1},
  {"batch", NULL, NULL, main_absent, MAIN_WORDS},
  {"serve", NULL, NULL, main_absent, MAIN_WORDS},
};

static void main_help(void) {
  puts("bodkin " BK_VERSION ": turns GGUF model files into text, on this machine.\n");
  for (int i = 0; i < ARRAY_LEN(commands); i++)
    if (commands[i].usage) fprintf(stdout, "  bodkin %-8s %-34s %s\n", commands[i].name, commands[i].usage, commands[i].help);
  puts("\nOptions; each may also be set as BODKIN_NAME or as name = value in $XDG_CONFIG_HOME/bodkin/config:");
  for (int i = 0; i < ARRAY_LEN(options_table); i++) {
    const struct option *opt = &options_table[i];
    if (opt->help && opt->letter && *opt->help) fprintf(stdout, "  -%c, --%s %s\n", opt->letter, opt->name, opt->help);
    else if (opt->help && *opt->help) fprintf(stdout, "      --%s %s\n", opt->name, opt->help);
  }
}

static bool main_call(const struct command *c, const struct options *o, struct bk_error *e) {
  if (o->n_words > c->max_words)
    return err_set(e, ERR_USAGE, "%s takes %s: what is \"%s\"?", c->name,
                   c->max_words > 1 ? "three arguments" : c->max_words ? "one argument" : "options only", o->words[c->max_words]);
  return c->run(o, e);
}

static const struct command *main_command(int argc, char **argv, struct bk_error *e) {
  for (int i = 0; argc > 1 && i < ARRAY_LEN(commands); i++)
    if (str_is(str_from(argv[1]), commands[i].name)) return &commands[i];
  if (argc < 2) err_set(e, ERR_USAGE, "usage: bodkin COMMAND ...; bodkin --help lists the commands");
  else err_set(e, ERR_USAGE, "unknown command %s; bodkin --help lists them", argv[1]);
  return NULL;
}

int main(int argc, char **argv) {
  struct bk_error e = {0, ""};
  static struct options o = {.temperature = -1, .top_p = -1, .min_p = -1, .top_k = -1, .repetition_penalty = -1, .penalty_window = -1};
  os_take_standard();
  main_signals();
  bool plain = argc > 1 && (str_is(str_from(argv[1]), "--help") || str_is(str_from(argv[1]), "-h") || str_is(str_from(argv[1]), "help") ||
                            str_is(str_from(argv[1]), "--version"));
  const struct command *command = plain ? NULL : main_command(argc, argv, &e);
  main_memory = os_reserve((size_t)256 << 20, &e);
  if (!e.code && options_from_file(&o, &main_memory, &e) && options_from_environment(&o, &e))
    options_from_arguments(&o, argc - (plain ? 1 : 2), argv + (plain ? 1 : 2), &e);
  if (!e.code && o.version) fprintf(stdout, "bodkin %s, %s\n", BK_VERSION, kern_names[kern_best()]);
  else if (!e.code && (plain || o.help)) main_help();
  else if (!e.code) main_call(command, &o, &e);
  if (!e.code) main_flush(&e);
  if (e.code) fprintf(stderr, "bodkin: %s\n", e.message);
  return main_interrupts && !e.code ? 130 : e.code;
}
