/* fuzz_main.c -- runs a fuzz target over every file of the folders (or files) named, without a fuzzer: corpora are so
 * replayed in every test run. A failure is a crash; the last name printed with -v is the culprit.
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fuzz_passed, fuzz_failed, fuzz_verbose;

static void fuzz_file(const char *path) {
  FILE *f = fopen(path, "rb");
  long size = -1;
  if (f && fseek(f, 0, SEEK_END) == 0) size = ftell(f);
  uint8_t *data = size >= 0 ? malloc((size_t)size + !size) : NULL; // so that a sanitizer guards the end
  if (fuzz_verbose) printf("%s\n", path), fflush(stdout);
  if (!data || fseek(f, 0, SEEK_SET) != 0 || fread(data, 1, (size_t)size, f) != (size_t)size) {
    fprintf(stderr, "%s: cannot be read\n", path);
    fuzz_failed++;
  } else {
    LLVMFuzzerTestOneInput(data, (size_t)size);
    fuzz_passed++;
  }
  free(data);
  if (f) fclose(f);
}

static void fuzz_path(const char *path) {
  DIR *d = opendir(path);
  if (!d) {
    fuzz_file(path);
    return;
  }
  for (struct dirent *entry; (entry = readdir(d));) {
    char below[4096];
    int n = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
    if (entry->d_name[0] != '.' && n > 0 && n < (int)sizeof below) fuzz_path(below);
  }
  closedir(d);
}

int main(int argc, char **argv) {
  int first = argc > 1 && strcmp(argv[1], "-v") == 0 ? 2 : 1;
  fuzz_verbose = first == 2;
  for (int i = first; i < argc; i++) fuzz_path(argv[i]);
  printf("%d passed, %d failed\n", fuzz_passed, fuzz_failed);
  return fuzz_failed > 0 || fuzz_passed == 0;
}
