/* fuzz_hf_tokenizer.c -- any bytes as the files of a Hugging Face folder: a sentence or keys, and keys are a GGUF file that loads
 * or is refused, too. The input is files one after the other: a byte for the name, two for the length, the bytes.
 * Seeds: tests/corpus/hf_tokenizer. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                    "config.json",
  "generation_config.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "merges.txt", "vocab.txt",
  "chat_template.jinja", "chat_template.json"};
static char folder[64];

static char *path_of(const char *name) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void put_file(const char *name, struct str text) {
  FILE *f = fopen(path_of(name), "wb");
  BK_ASSERT(f && fwrite(text.ptr, 1, text.len, f) == text.len && fclose(f) == 0);
}

static void clean_up(void) {
  for (int i = 0; i < ARRAY_LEN(names); i++) unlink(path_of(names[i]));
  unlink(path_of("out.gguf"));
  rmdir(folder);
}

static void load(struct convert_keys *k, struct arena a) { // what was written, as a file
  static struct gguf g;
  struct bk_error e = {0};
  struct convert_writer w;
  struct vocab *v = NULL;
  char path[128];
  int n = 0;
  snprintf(path, sizeof path, "%s", path_of("out.gguf"));
  BK_ASSERT(convert_begin(&w, path, &a, &e));
  convert_header(&w, 0, k->n);
  convert_put(&w, buf_str(&k->bytes));
  convert_pad(&w, 32);
  BK_ASSERT(convert_end(&w) && gguf_open(&g, path, &a, &e));
  if (token_load(&g, &a, &v, &e)) {
    struct str text = STR("one <s> 2 \xE2\x96\x81 \xC3\xA9");
    int32_t ids[256];
    BK_ASSERT(token_encode(v, text, (struct token_options){false, true}, a, ids, ARRAY_LEN(ids), &n, &e));
  }
  gguf_close(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct arena whole;
  struct bk_error e = {0};
  if (!whole.beg) {
    whole = os_reserve((size_t)1 << 30, &e);
    snprintf(folder, sizeof folder, "/tmp/bodkin-fuzz-%d", (int)getpid());
    BK_ASSERT(mkdir(folder, 0700) == 0);
    atexit(clean_up);
  }
  for (int i = 0; i < ARRAY_LEN(names); i++) unlink(path_of(names[i]));
  for (size_t at = 0; at + 3 <= size;) {
    size_t len = data[at + 1] | (size_t)data[at + 2] << 8;
    const char *name = names[data[at] % ARRAY_LEN(names)];
    if (len > size - at - 3) len = size - at - 3;
    put_file(name, (struct str){(const char *)data + at + 3, len});
    at += 3 + len;
  }
  struct arena a = whole;
  struct convert_keys k = {.bytes = buf_new(&a, (size_t)160 << 20)};
  struct arena scratch = {a.beg + (a.end - a.beg) / 2, a.end};
  a.end = scratch.beg;
  bool ok = convert_tokenizer(folder, "any", &k, &scratch, &e);
  BK_ASSERT(ok == (e.code == 0) && (ok || e.message[0]));
  if (ok) load(&k, a);
  return 0;
}
