/* fuzz_safetensors.c -- a config.json, a NUL, the bytes of a .safetensors file: refused with a sentence, or every weight that would
 * be written can be read. Seeds: tests/corpus/safetensors. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every row of every tensor that is small enough, as hf_write_piece would have it. */
static void fuzz_gather(struct hf_plan *p, struct arena a) {
  static struct hf_job j;
  struct bk_error e = {0};
  j = (struct hf_job){.n_rows = 1};
  j.rows = arena_raw(&a, 1 << 16, sizeof(float), 64);
  for (int i = 0; i < p->n_outs; i++) {
    const struct hf_out *o = j.out = &p->outs[i];
    BK_ASSERT(o->rows > 0 && o->cols > 0 && o->to && o->n_pieces > 0);
    for (int k = 0; k < o->n_pieces && o->from && o->cols <= 1 << 16; k++) {
      j.source = hf_piece(p, o, k);
      if (!hf_grid(p, o, k, &j.grid, &e)) return;
      j.job.from = o->direct ? o->to : j.grid.kind || o->plus != 0 ? &quant_f32 : j.source->type->quant;
      for (j.row = 0; j.row < o->rows && j.row < 1000; j.row++) hf_gather(&j, 0, 0, 0);
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct arena whole;
  static struct hf_plan p;
  static const char words[] = "tokenizer.ggml.tokens\t\0\0\0\b\0\0\0\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0no\3\0\0\0\0\0\0\0yes";
  struct bk_error e = {0};
  if (!whole.beg) whole = os_reserve(256 << 20, &e);
  struct arena a = {whole.beg, whole.beg + (128 << 20)}, scratch = {a.end, whole.end};
  const char *end = size ? memchr(data, 0, size) : NULL;
  size_t n = end ? (size_t)(end - (const char *)data) : size;
  struct convert_keys k[HF_SETS] = {{.n = 0}};
  struct json *root;
  uint64_t n_weights = 0;
  p = (struct hf_plan){.tensors.n_files = 1, .ranker = size % 2, .mix = size % 3 ? NULL : &convert_mixes[size % ARRAY_LEN(convert_mixes)]};
  for (int i = 0; i < HF_SETS; i++) k[i].bytes = buf_new(&a, 1 << 16);
  buf_put(&k[HF_WORDS].bytes, (struct str){words, sizeof words - 1});
  struct str file = {(const char *)data + n + (end != NULL), size - n - (end != NULL)};
  bool good = json_parse((struct str){(const char *)data, n}, &a, &root, &e) && hf_config(&p.config, root) &&
              safetensors_parse(&p.tensors, file, "fuzz", "", &a, scratch, &e) && safetensors_sort(&p.tensors, &a, &e) &&
              hf_plan(&p, k, &n_weights, &a, &e);
  BK_ASSERT(good || ((e.code == ERR_DATA || e.code == ERR_OS) && e.message[0] && utf8_valid(str_from(e.message))));
  if (good) fuzz_gather(&p, a);
  return 0;
}
