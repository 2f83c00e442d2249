/* main.c -- temporary */
#include "bodkin.c"
int main(int argc, char **argv) {
  struct bk_error e = {0};
  static struct engine g;
  struct engine_options o = {0};
  const char *model = NULL, *bench = NULL;
  int n = 128;
  for (int i = 2; i < argc; i++) {
    if (!strcmp(argv[i], "-m")) model = argv[++i];
    else if (!strcmp(argv[i], "--exact")) o.exact = true;
    else if (!strcmp(argv[i], "--threads")) o.n_threads = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--chunk")) o.chunk = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--batch")) o.n_sequences = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--n")) n = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--test")) bench = argv[++i];
    else if (!strcmp(argv[i], "--isa")) o.has_isa = kern_named(str_from(argv[++i]), &o.isa);
    else if (!strcmp(argv[i], "--kv")) { ++i; o.kv = !strcmp(argv[i], "f32") ? KV_F32 : !strcmp(argv[i], "q8_0") ? KV_Q8 : KV_F16; }
    else if (!strcmp(argv[i], "--dequant")) { bool ok = eval_dequant(str_from(argv[++i]), stdin, stdout, &e); if (!ok) fprintf(stderr, "%s\n", e.message); return e.code; }
  }
  struct arena a = os_reserve(1 << 20, &e);
  bool ok;
  if (model) {
    ok = engine_open(&g, model, &o, &e) && engine_load(&g, &e);
    if (!ok) { fprintf(stderr, "bodkin: %s\n", e.message); return e.code; }
  }
  if (bench) {
    static int32_t ids[8192];
    bool pf = !strcmp(bench, "prefill");
    for (int rep = 0; rep < 3; rep++) {
      for (int i = 0; i < n + 2; i++) ids[i] = (i * 7919) % 1000 + 100;
      struct bench_x { int left; } x;
      (void)x;
      struct request r = {.ids = ids, .n_prompt = pf ? n : 1, .n_max = pf ? n : n + 1};
      extern int32_t bench_cb(struct request *r, int p, const float *l);
      r.logits = bench_cb;
      double t = os_seconds();
      engine_submit(&g, &r, &e);
      while (engine_step(&g)) {}
      t = os_seconds() - t;
      printf("%s %d: %.1f t/s\n", bench, n, n / t);
    }
    printf("load %.1f ms, peak %.1f MB\n", g.load_seconds * 1e3, (double)os_resident_peak() / 1e6);
    return 0;
  }
  ok = eval_run(model ? &g : NULL, model ? g.model.vocab : NULL, stdin, stdout, &a, &e);
  if (!ok) fprintf(stderr, "bodkin: %s\n", e.message);
  return e.code;
}
int32_t bench_cb(struct request *r, int p, const float *l) { (void)r; (void)p; (void)l; return 5; }
