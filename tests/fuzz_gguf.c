/* fuzz_gguf.c -- any bytes as a GGUF file: refused with a sentence, or everything in it can be read.
 * Seeds: tests/corpus/gguf and tests/corpus/bad. SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct gguf g;
  static struct arena whole;
  struct bk_error e = {0};
  if (!whole.beg) whole = os_reserve(256 << 20, &e);
  struct arena a = whole;
  if (!gguf_open_memory(&g, (struct str){(const char *)data, size}, "fuzz", &a, &e)) {
    BK_ASSERT((e.code == ERR_DATA || e.code == ERR_OS) && e.message[0] && utf8_valid(str_from(e.message)));
    return 0;
  }
  uint64_t sum = 0; // every byte that a view reaches is read, so that a sanitizer sees it
  for (int i = 0; i < g.n_keys; i++) {
    const struct gguf_value *v = gguf_find(&g, g.keys[i].name);
    struct str s;
    double d;
    int64_t n;
    for (size_t at = 0; gguf_next_string(v, &at, &s);) sum += str_hash(s);
    for (uint64_t k = 0; k <= v->count && k < 64; k++) sum += gguf_int(v, k, &n) + gguf_float(v, k, &d);
    if (gguf_string(v, &s)) sum += str_hash(s);
    sum += str_hash(g.keys[i].name) + str_hash(v->bytes);
  }
  for (int i = 0; i < g.n_tensors; i++) {
    struct bk_error why = {0};
    BK_ASSERT(gguf_tensor(&g, g.tensors[i].name) == &g.tensors[i]);
    bool there = i % 2 ? gguf_locate(&g, &g.tensors[i], 32, 18, &why) : gguf_locate(&g, &g.tensors[i], 1, 4, &why);
    BK_ASSERT(there == !why.code);
    if (there) sum += str_hash((struct str){g.tensors[i].data, g.tensors[i].n_bytes});
  }
  gguf_close(&g);
  __asm__ volatile("" : : "r"(sum)); // so that the compiler does not leave the reading out
  return 0;
}
