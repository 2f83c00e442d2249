/* embed.c -- a program with a model inside: continues a text greedily, 16 tokens.
 *   cc -std=c99 -O3 -Idist examples/embed.c dist/bodkin.c -o embed -lm -lpthread && ./embed model.gguf "Once upon"
 * SPDX-License-Identifier: MIT */
#include <bodkin.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  struct bk_error e = {0};
  if (argc != 3) return fprintf(stderr, "usage: embed MODEL TEXT\n"), 64;
  struct bk_model *m = bk_model_open(argv[1], NULL, &e);
  struct bk_session *s = m ? bk_session_open(m, &e) : NULL;
  struct bk_sampler sampler = bk_sampler_default(1);
  sampler.temperature = 0;
  int32_t ids[512];
  int n = s ? bk_model_tokenize(m, argv[2], strlen(argv[2]), BK_ADD_SPECIAL, ids, 496, &e) : -1;
  for (int i = 0; i < 16 && n > 0 && bk_session_sync(s, ids, n, &e); i++) {
    if ((ids[n] = bk_session_sample(s, &sampler, &e)) < 0 || bk_model_is_end(m, ids[n])) break;
    char piece[256];
    fwrite(piece, 1, bk_model_piece(m, ids[n++], piece, sizeof piece), stdout);
  }
  if (e.code) fprintf(stderr, "embed: %s\n", e.message);
  else puts("");
  bk_session_close(s);
  bk_model_close(m);
  return e.code;
}
