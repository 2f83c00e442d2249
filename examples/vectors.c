/* vectors.c -- a program with a model inside: how near each text is to the first one, as the cosine of their vectors.
 *   cc -std=c99 -O3 -Idist examples/vectors.c dist/bodkin.c -o vectors -lm -lpthread && ./vectors model.gguf "a dog" "a cat" "a boat"
 * SPDX-License-Identifier: MIT */
#include <bodkin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  struct bk_error e = {0};
  if (argc < 3) return fprintf(stderr, "usage: vectors MODEL TEXT...\n"), 64;
  const struct bk_options options = {.sessions = 16}; // texts side by side
  const struct bk_embed how = {.truncate = BK_TRUNCATE_END};
  const int n = argc - 2;
  struct bk_model *m = bk_model_open(argv[1], &options, &e);
  const int width = m ? bk_model_dimensions(m) : 1;
  struct bk_text *texts = calloc((size_t)n, sizeof *texts);
  float *vectors = calloc((size_t)n * (size_t)width, sizeof *vectors); // (n, width)
  for (int i = 0; i < n && texts; i++) texts[i] = (struct bk_text){argv[i + 2], strlen(argv[i + 2])};
  const int ok = m && texts && vectors && bk_model_embed(m, texts, n, &how, vectors, &e);
  for (int i = 0; i < n && ok; i++) {
    double cosine = 0; // their lengths are 1
    for (int k = 0; k < width; k++) cosine += (double)vectors[k] * (double)vectors[i * width + k];
    printf("%.6f %s\n", cosine, argv[i + 2]);
  }
  if (!ok) fprintf(stderr, "vectors: %s\n", e.code ? e.message : "no memory");
  free(vectors);
  free(texts);
  bk_model_close(m);
  return ok ? 0 : e.code ? e.code : 71;
}
