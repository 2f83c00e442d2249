/* check_support.h -- what several suites need: memory, a folder of their own, files in it, errors looked into.
 *
 * Nothing is released: a test's process ends after it, and a folder is removed by the test that made it.
 * SPDX-License-Identifier: MIT */
#ifndef CHECK_SUPPORT_H
#define CHECK_SUPPORT_H

#ifndef TEST_ROOT
#define TEST_ROOT "tests"
#endif

static struct arena test_arena(size_t bytes) {
  struct bk_error e = {0};
  struct arena a = os_reserve(bytes, &e);
  ck_assert_msg(a.beg != NULL, "%s", e.message);
  return a;
}

/* An error of this code whose sentence contains this. */
static void test_error(const struct bk_error *e, int code, const char *contains) {
  ck_assert_msg(e->code == code, "code %d, expected %d: %s", e->code, code, e->message);
  ck_assert_msg(strstr(e->message, contains) != NULL, "\"%s\" does not say \"%s\"", e->message, contains);
  ck_assert_msg(strchr(e->message, '\n') == NULL, "one line expected: %s", e->message);
}

/* A new, empty folder; its path without a last '/'. */
static const char *test_folder(char path[64]) {
  snprintf(path, 64, "/tmp/bodkin-check-" "XX" "XX" "XX");
  ck_assert_ptr_nonnull(mkdtemp(path));
  return path;
}

/* Writes FOLDER/NAME, making the folders that NAME names. */
static void test_write(const char *folder, const char *name, struct str bytes) {
  char path[1024];
  int n = snprintf(path, sizeof path, "%s/%s", folder, name);
  ck_assert(n > 0 && n < (int)sizeof path);
  for (char *p = path + strlen(folder) + 1; (p = strchr(p, '/')); *p++ = '/') {
    *p = 0;
    mkdir(path, 0700);
  }
  FILE *f = fopen(path, "wb");
  ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
  ck_assert_uint_eq(fwrite(bytes.ptr ? bytes.ptr : "", 1, bytes.len, f), bytes.len);
  ck_assert_int_eq(fclose(f), 0);
}

static bool test_remove_one(void *context, const char *name);

static void test_remove(const char *path) { // links are removed, not followed
  struct stat st;
  if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
    chmod(path, 0700);
    os_list(path, test_arena(4 << 20), test_remove_one, (void *)(uintptr_t)path);
  }
  remove(path);
}

static bool test_remove_one(void *context, const char *name) {
  char path[2048];
  snprintf(path, sizeof path, "%s/%s", (const char *)context, name);
  test_remove(path);
  return true;
}

#endif
