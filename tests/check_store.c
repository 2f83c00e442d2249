/* check_store.c -- names to files: made-up stores of every kind in a folder of the test's own, and hostile ones.
 * SPDX-License-Identifier: MIT */

static char store_root[64]; // the folder of the running test; everything that store.c asks the environment lies in it
static char store_before[4096]; // where the program was started
static struct arena store_arena;

#define STORE_HEX "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#define STORE_HEX2 "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
#define STORE_COMMIT "0123456789abcdef0123456789abcdef01234567"
#define STORE_MANIFESTS ".ollama/models/manifests/registry.test/"
#define STORE_HUB ".cache/huggingface/hub/"

static void store_begin(void) {
  static const char *const unset[] = {"BODKIN_MODELS", "XDG_DATA_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS",
    "HF_HUB_CACHE", "HF_HOME"};
  store_arena = test_arena(32 << 20);
  for (int i = 0; i < ARRAY_LEN(unset); i++) unsetenv(unset[i]);
  setenv("HOME", test_folder(store_root), 1);
  if (!store_before[0]) ck_assert_ptr_nonnull(getcwd(store_before, sizeof store_before));
  ck_assert_int_eq(chdir(store_root), 0);
}

static void store_end(void) {
  ck_assert_int_eq(chdir(store_before), 0);
  test_remove(store_root);
}

static void store_file(const char *name) { test_write(store_root, name, STR("GGUF and so on")); }

/* `name` is found at `expected`, which is relative to the test's folder, or as it is if `expected` begins with "=". */
static void store_found(const char *name, const char *expected) {
  struct bk_error e = {0};
  struct arena scratch = store_arena;
  const char *path = NULL;
  char full[512];
  snprintf(full, sizeof full, "%s/%s", store_root, expected);
  ck_assert_msg(store_find(str_from(name), &scratch, &path, &e), "%s: %s", name, e.message);
  ck_assert_str_eq(path, expected[0] == '=' ? expected + 1 : full);
}

static void store_not_found(const char *name, int code, const char *says) {
  struct bk_error e = {0};
  struct arena scratch = store_arena;
  const char *path = NULL;
  ck_assert_msg(!store_find(str_from(name), &scratch, &path, &e), "%s found at %s", name, path);
  test_error(&e, code, says);
  ck_assert_ptr_null(path);
}

static void store_manifest(const char *name, const char *digest) {
  char text[1024], path[512];
  int n = snprintf(text, sizeof text,
                   "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%064d\"},\"layers\":["
                   "{\"mediaType\":\"application/vnd.ollama.image.template\",\"digest\":\"sha256:%064d\"},"
                   "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"%s\",\"size\":14}]}",
                   0, 1, digest);
  snprintf(path, sizeof path, STORE_MANIFESTS "%s", name);
  test_write(store_root, path, (struct str){text, (size_t)n});
}

/* ---- the catalogue ---- */

START_TEST(store_compiled_in) {
  store_begin();
  struct store_entry entry;
  ck_assert(store_default(false, &store_arena, &entry));
  ck_assert(str_is(entry.name, "smollm2-135m") && entry.bytes == 98362432 && str_is(entry.sha256, STORE_HEX));
  ck_assert(str_is(entry.file, "SmolLM2-135M-Instruct-Q4_1.gguf") && str_is(entry.licence, "Apache-2.0"));
  ck_assert(entry.is_default);
  ck_assert(store_default(true, &store_arena, &entry) && str_is(entry.name, "all-minilm-l6-v2"));
  ck_assert(store_lookup(STR("gemma3-270m"), &store_arena, &entry));
  ck_assert(entry.bytes == 253113024 && str_is(entry.sha256, STORE_HEX2) && !entry.is_default);
  ck_assert(!store_lookup(STR("nobody"), &store_arena, &entry) && !store_lookup(STR_NONE, &store_arena, &entry));
  for (int i = 0; i < ARRAY_LEN(store_built_in); i++) {
    ck_assert(store_safe(store_built_in[i].name) && store_safe(store_built_in[i].file));
    ck_assert(hash_is_hex(store_built_in[i].sha256) && store_built_in[i].bytes > 0);
    ck_assert(store_built_in[i].licence.len > 0 && store_built_in[i].task.len > 0);
  }
  store_not_found("smollm2-135m", ERR_NOINPUT, "bodkin pull smollm2-135m");
  store_not_found("smollm2-135m", ERR_NOINPUT, "98.4 MB, licence: Apache-2.0");
  store_not_found("nobody", ERR_NOINPUT, "bodkin pull knows smollm2-135m, gemma3-270m");
  store_end();
}
END_TEST

START_TEST(store_own_catalogue) {
  store_begin();
  struct store_entry entry;
  test_write(store_root, "models/catalogue.txt", STR(
    "# comment\n\n  [mine]  \nfile=mine-Q8_0.gguf\r\n bytes = 12 \nsha256 = " STORE_HEX "\nlicence = MIT\n"
    "unknown = 1\nnonsense\n"
    "[smollm2-135m]\nfile = other.gguf\nbytes = -5\nsha256 = XYZ\ndefault = yes\n"
    "[mine]\nfile = second.gguf\n"
    "[../up]\nfile = a.gguf\n[up]\nfile = ../a.gguf\n[hidden]\nfile = .a.gguf\n[none]\n[]\n[last]\nfile = last.gguf"));
  ck_assert(store_lookup(STR("mine"), &store_arena, &entry));
  ck_assert(str_is(entry.file, "mine-Q8_0.gguf") && entry.bytes == 12 && str_is(entry.licence, "MIT"));
  ck_assert(store_lookup(STR("last"), &store_arena, &entry) && str_is(entry.file, "last.gguf"));
  ck_assert(store_default(false, &store_arena, &entry) && str_is(entry.file, "other.gguf"));
  ck_assert(entry.bytes == 0 && entry.sha256.len == 0);
  static const char *const unusable[] = {"../up", "up", "hidden", "none", ""};
  for (int i = 0; i < ARRAY_LEN(unusable); i++) ck_assert(!store_lookup(str_from(unusable[i]), &store_arena, &entry));
  store_file("models/other.gguf");
  store_found("smollm2-135m", "=models/other.gguf");
  store_end();
}
END_TEST

/* ---- paths and folders ---- */

START_TEST(store_paths) {
  store_begin();
  char absolute[256];
  store_file("a.gguf");
  store_file("sub/noext");
  store_file("org/name");
  snprintf(absolute, sizeof absolute, "%s/a.gguf", store_root);
  store_found(absolute, "a.gguf");
  store_found("a.gguf", "=a.gguf");
  store_found("./a.gguf", "=./a.gguf");
  store_found("sub/noext", "=sub/noext");
  store_found("sub/../a.gguf", "=sub/../a.gguf"); // what a user types is a path like any other
  test_write(store_root, STORE_HUB "models--org--name/refs/main", STR(STORE_COMMIT));
  store_file(STORE_HUB "models--org--name/snapshots/" STORE_COMMIT "/m.gguf");
  store_found("org/name", "=org/name"); // the file wins
  store_found("hf:org/name", STORE_HUB "models--org--name/snapshots/" STORE_COMMIT "/m.gguf");
  store_not_found("./b.gguf", ERR_NOINPUT, "./b.gguf: No such file");
  store_not_found("/nowhere/b.gguf", ERR_NOINPUT, "No such file");
  store_not_found("sub/", ERR_NOINPUT, "a directory, expected a file");
  store_not_found("b.gguf", ERR_NOINPUT, "no model b.gguf");
  store_not_found("x/y", ERR_NOINPUT, "no model x/y: no such file");
  store_not_found("", ERR_NOINPUT, "0 bytes");
  char text[5000];
  memset(text, 'a', sizeof text);
  text[4999] = 0;
  store_not_found(text, ERR_NOINPUT, "expected 1 to 4095");
  text[300] = 0;
  store_not_found(text, ERR_NOINPUT, "at most 255");
  text[1] = '/';
  store_not_found(text, ERR_NOINPUT, "No such file");
  struct bk_error e = {0};
  const char *path = NULL;
  ck_assert(!store_find(STR("a.gguf\0x"), &store_arena, &path, &e));
  test_error(&e, ERR_NOINPUT, "no NUL");
  store_end();
}
END_TEST

START_TEST(store_folder_order) {
  store_begin();
  char dir[128];
  store_file("models/m.gguf");
  store_found("m", "=models/m.gguf");
  store_found("m.gguf", "=models/m.gguf");
  store_file(".local/share/bodkin/models/m.gguf");
  store_found("m", ".local/share/bodkin/models/m.gguf");
  snprintf(dir, sizeof dir, "%s/xdg", store_root);
  setenv("XDG_DATA_HOME", dir, 1);
  store_found("m", "=models/m.gguf");
  store_file("xdg/bodkin/models/m.gguf");
  store_found("m", "xdg/bodkin/models/m.gguf");
  snprintf(dir, sizeof dir, "%s/own", store_root);
  setenv("BODKIN_MODELS", dir, 1);
  store_found("m", "xdg/bodkin/models/m.gguf");
  store_file("own/m.gguf");
  store_found("m", "own/m.gguf");
  store_file("own/SmolLM2-135M-Instruct-Q4_1.gguf");
  store_found("smollm2-135m", "own/SmolLM2-135M-Instruct-Q4_1.gguf");
  store_found("SmolLM2-135M-Instruct-Q4_1", "own/SmolLM2-135M-Instruct-Q4_1.gguf");
  store_file("models/big-00001-of-00002.gguf");
  store_file("models/big-00002-of-00002.gguf");
  store_found("big", "=models/big-00001-of-00002.gguf");
  store_not_found("M", ERR_NOINPUT, "no model M");
  store_not_found(".", ERR_NOINPUT, "no model .");
  store_not_found("..", ERR_NOINPUT, "no model ..");
  store_end();
}
END_TEST

START_TEST(store_stems) {
  static const struct { const char *file, *stem; } cases[] = {
    {"a.gguf", "a"}, {".gguf", ""}, {"a", ""}, {"a.GGUF", ""}, {"m-00001-of-00003.gguf", "m"},
    {"m-00002-of-00003.gguf", ""}, {"m-00011-of-00013.gguf", ""}, {"-00001-of-00003.gguf", "-00001-of-00003"},
    {"m-0000x-of-00003.gguf", "m-0000x-of-00003"}, {"m-00001-of-00003.bin", ""}, {"mmproj-m.gguf", ""},
    {"m.part0.gguf", "m.part0"}, {"", ""}};
  for (int i = 0; i < ARRAY_LEN(cases); i++)
    ck_assert_msg(str_is(store_stem(cases[i].file), cases[i].stem), "%s", cases[i].file);
}
END_TEST

START_TEST(store_parts) {
  static const char *const good[] = {"a", "A-b_c.1", "-", "_", "a..b"};
  static const char *const bad[] = {"", ".", "..", ".a", "a/b", "/", "a b", "a:b", "a\\b", "a\n", "\xC3\xA9", "a%"};
  for (int i = 0; i < ARRAY_LEN(good); i++) ck_assert_msg(store_safe(str_from(good[i])), "%s", good[i]);
  for (int i = 0; i < ARRAY_LEN(bad); i++) ck_assert_msg(!store_safe(str_from(bad[i])), "%s", bad[i]);
  ck_assert(!store_safe(STR("a\0b")));
  char text[129];
  memset(text, 'a', sizeof text);
  ck_assert(store_safe((struct str){text, 128}) && !store_safe((struct str){text, 129}));
}
END_TEST

START_TEST(store_program_folder) {
  char path[4096];
  struct arena a = test_arena(1 << 16);
  struct str folder = os_program_folder(&a);
  snprintf(path, sizeof path, "%.*s", (int)folder.len, folder.ptr);
  ck_assert(path[0] == '/' && os_is_directory(path));
  struct arena none = {0, 0};
  ck_assert_uint_eq(os_program_folder(&none).len, 0);
}
END_TEST

/* ---- other programs' stores ---- */

START_TEST(store_ollama) {
  store_begin();
  store_manifest("library/smollm2/latest", "sha256:" STORE_HEX);
  store_manifest("library/smollm2/135m", "sha256:" STORE_HEX2);
  store_manifest("user/thing/v1", "sha256:" STORE_HEX);
  store_file(".ollama/models/blobs/sha256-" STORE_HEX);
  store_file(".ollama/models/blobs/sha256-" STORE_HEX2);
  store_found("smollm2", ".ollama/models/blobs/sha256-" STORE_HEX);
  store_found("smollm2:latest", ".ollama/models/blobs/sha256-" STORE_HEX);
  store_found("smollm2:135m", ".ollama/models/blobs/sha256-" STORE_HEX2);
  store_found("library/smollm2:135m", ".ollama/models/blobs/sha256-" STORE_HEX2);
  store_found("user/thing:v1", ".ollama/models/blobs/sha256-" STORE_HEX);
  store_found("registry.test/user/thing:v1", ".ollama/models/blobs/sha256-" STORE_HEX);
  static const char *const absent[] = {"smollm2:1b", "user/thing", "other.test/user/thing:v1", "a/b/c/d:e",
    "smollm2:", ":latest", "smollm2:..", "library/..", "../smollm2", "smollm2:135m:x", "smollm2:a/b"};
  for (int i = 0; i < ARRAY_LEN(absent); i++) store_not_found(absent[i], ERR_NOINPUT, "");
  char dir[128];
  snprintf(dir, sizeof dir, "%s/elsewhere", store_root);
  setenv("OLLAMA_MODELS", dir, 1); // then nowhere else
  store_not_found("smollm2", ERR_NOINPUT, "no model smollm2");
  store_end();
}
END_TEST

START_TEST(store_hostile_manifests) {
  store_begin();
  static const char *const digests[] = {
    "", "sha256:", "sha256:../../../../etc/passwd", "sha256:" STORE_HEX "0", "md5:" STORE_HEX, "sha256-" STORE_HEX,
    "sha256:/etc/passwd", "sha256:B179C9523D0E6A0F98A330C7562B682750A6F8C8C15E5BC70EA373728110DB53",
    "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db5\\u0000", "sha256:..\\/..\\/" STORE_HEX};
  static const char *const texts[] = {"", "{", "[]", "null", "\"layers\"", "{}", "{\"layers\":1}", "{\"layers\":[]}",
    "{\"layers\":[1,null,[],\"x\"]}", "{\"layers\":{\"mediaType\":\"application/vnd.ollama.image.model\"}}",
    "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\"}]}",
    "{\"layers\":[{\"mediaType\":1,\"digest\":\"sha256:" STORE_HEX "\"}]}",
    "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\\u0000\",\"digest\":\"sha256:" STORE_HEX "\"}]}",
    "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":7}]}",
    "{\"layers\":[]} x", "\xFF\xFE"};
  store_file(".ollama/models/blobs/sha256-" STORE_HEX);
  store_file("etc/passwd");
  for (int i = 0; i < ARRAY_LEN(digests); i++) {
    store_manifest("library/m/latest", digests[i]);
    store_not_found("m", ERR_DATA, i ? "expected sha256: and 64 hex digits" : "no layer is a model");
  }
  for (int i = 0; i < ARRAY_LEN(texts); i++) {
    test_write(store_root, STORE_MANIFESTS "library/m/latest", str_from(texts[i]));
    store_not_found("m", ERR_DATA, "library/m/latest: ");
  }
  store_manifest("library/m/latest", "sha256:" STORE_HEX2);
  store_not_found("m", ERR_NOINPUT, "blobs/sha256-" STORE_HEX2 " is not there");
  struct str large = {arena_alloc(&store_arena, 300 << 10, 1, 1), 300 << 10};
  memset((char *)(uintptr_t)large.ptr, '[', large.len);
  test_write(store_root, STORE_MANIFESTS "library/m/latest", large);
  store_not_found("m", ERR_DATA, "at most 262144 expected");
  test_write(store_root, STORE_MANIFESTS "library/m/latest", (struct str){large.ptr, 200 << 10});
  store_not_found("m", ERR_DATA, "library/m/latest: ");
  store_end();
}
END_TEST

START_TEST(store_hugging_face) {
  store_begin();
  static const char folder[] = STORE_HUB "models--org--Name-GGUF/snapshots/" STORE_COMMIT "/";
  static const char *const files[] = {"Name-F16.gguf", "Name-Q4_K_M.gguf", "Name-Q8_0.gguf", "README.md",
    "mmproj-Name.gguf"};
  char path[512];
  test_write(store_root, STORE_HUB "models--org--Name-GGUF/refs/main", STR(STORE_COMMIT "\n"));
  for (int i = 0; i < ARRAY_LEN(files); i++) {
    snprintf(path, sizeof path, "%s%s", folder, files[i]);
    store_file(path);
  }
  static const struct { const char *name, *file; } cases[] = {
    {"org/Name-GGUF", "Name-Q4_K_M.gguf"}, {"hf:org/Name-GGUF", "Name-Q4_K_M.gguf"},
    {"hf:org/Name-GGUF:Q8_0", "Name-Q8_0.gguf"}, {"org/Name-GGUF:q8_0", "Name-Q8_0.gguf"},
    {"hf:org/Name-GGUF:Name-F16.gguf", "Name-F16.gguf"},
    {"hf:org/Name-GGUF:Name-F16", "Name-F16.gguf"}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    snprintf(path, sizeof path, "%s%s", folder, cases[i].file);
    store_found(cases[i].name, path);
  }
  static const char *const absent[] = {"hf:org/Name-GGUF:Q2_K", "hf:org/Other", "hf:Name-GGUF", "hf:../Name-GGUF",
    "hf:org/..",
    "hf:org/Name-GGUF:../../x", "hf:", "hf:/", "hf:org/", "hf:org/Name-GGUF/x", "hf:org/Name-GGUF:README.md",
    "hf:org/Name-GGUF:mmproj-Name.gguf", "Org/Name-GGUF"};
  for (int i = 0; i < ARRAY_LEN(absent); i++) store_not_found(absent[i], ERR_NOINPUT, "");
  store_file(STORE_HUB "models--single/snapshots/abc/BF16/single-00001-of-00002.gguf"); // no refs, one folder deeper
  store_file(STORE_HUB "models--single/snapshots/abc/BF16/single-00002-of-00002.gguf");
  store_found("hf:single", STORE_HUB "models--single/snapshots/abc/BF16/single-00001-of-00002.gguf");
  static const char *const commits[] = {"../../../../out", "..", ".", "/etc", "a/b", "a\nb", "models--org"};
  store_file("out/evil.gguf");
  for (int i = 0; i < ARRAY_LEN(commits); i++) {
    test_write(store_root, STORE_HUB "models--org--Name-GGUF/refs/main", str_from(commits[i]));
    store_not_found("hf:org/Name-GGUF", ERR_NOINPUT, "no model");
  }
  store_end();
}
END_TEST

START_TEST(store_hub_places) {
  static const struct { const char *variable, *value, *hub; } places[] = {
    {"XDG_CACHE_HOME", "c", "c/huggingface/hub"}, {"HF_HOME", "h", "h/hub"}, {"HF_HUB_CACHE", "x", "x"}};
  store_begin();
  for (int i = 0; i < ARRAY_LEN(places); i++) { // each beats those before it
    char value[128], path[256];
    snprintf(value, sizeof value, "%s/%s", store_root, places[i].value);
    setenv(places[i].variable, value, 1);
    store_not_found("a/b", ERR_NOINPUT, "no model a/b");
    snprintf(path, sizeof path, "%s/models--a--b/refs/main", places[i].hub);
    test_write(store_root, path, STR("c0ffee"));
    snprintf(path, sizeof path, "%s/models--a--b/snapshots/c0ffee/m.gguf", places[i].hub);
    store_file(path);
    store_found("a/b", path);
  }
  store_end();
}
END_TEST

START_TEST(store_lm_studio) {
  store_begin();
  store_file(".cache/lm-studio/models/pub/old/old-Q4_0.gguf");
  store_file(".lmstudio/models/pub/new/new-Q4_0.gguf");
  store_file(".lmstudio/models/pub/new/new-Q4_K_M.gguf");
  store_found("pub/old", ".cache/lm-studio/models/pub/old/old-Q4_0.gguf");
  store_found("pub/new", ".lmstudio/models/pub/new/new-Q4_K_M.gguf");
  store_found("pub/new:Q4_0", ".lmstudio/models/pub/new/new-Q4_0.gguf");
  store_not_found("hf:pub/new", ERR_NOINPUT, "no model");
  store_not_found("pub/none", ERR_NOINPUT, "no model");
  store_end();
}
END_TEST

/* ---- listing ---- */

struct store_seen {
  struct buf text;
  struct arena scratch;
  int stop_after, n;
};

static bool store_see(void *context, const struct store_item *item) {
  struct store_seen *seen = context;
  struct arena scratch = seen->scratch; // not store_arena: the listing itself is at work there
  struct bk_error e = {0};
  const char *path = NULL;
  ck_assert_uint_eq(item->bytes, strlen("GGUF and so on"));
  ck_assert_msg(store_find(item->name, &scratch, &path, &e), "%s", e.message);
  ck_assert_str_eq(path, item->path); // a listed name means the listed file
  buf_printf(&seen->text, "%s " STR_FMT "\n", item->store, STR_ARG(item->name));
  return ++seen->n != seen->stop_after;
}

START_TEST(store_listing) {
  store_begin();
  char dir[128];
  snprintf(dir, sizeof dir, "%s/own", store_root);
  setenv("BODKIN_MODELS", dir, 1);
  store_file("own/SmolLM2-135M-Instruct-Q4_1.gguf");
  store_file("own/big-00001-of-00002.gguf");
  store_file("own/big-00002-of-00002.gguf");
  test_write(store_root, "own/broken.gguf", STR("not a model"));
  test_write(store_root, "own/notes.txt", STR("GGUF"));
  store_file("models/SmolLM2-135M-Instruct-Q4_1.gguf"); // behind the first folder's
  store_file("models/second.gguf");
  store_manifest("library/m/latest", "sha256:" STORE_HEX);
  store_manifest("user/m/7b", "sha256:" STORE_HEX);
  store_manifest("user/evil/7b", "sha256:../../x");
  store_manifest("user/gone/7b", "sha256:" STORE_HEX2);
  store_file(".ollama/models/blobs/sha256-" STORE_HEX);
  test_write(store_root, STORE_HUB "models--org--name/refs/main", STR(STORE_COMMIT));
  store_file(STORE_HUB "models--org--name/snapshots/" STORE_COMMIT "/m.gguf");
  store_file(STORE_HUB "models--plain/snapshots/abc/m.gguf");
  store_file(STORE_HUB "datasets--org--name/snapshots/abc/m.gguf");
  store_file(".lmstudio/models/pub/new/new-Q4_0.gguf");
  struct arena other = test_arena(1 << 20), scratch = test_arena(32 << 20);
  struct store_seen seen = {buf_new(&other, 4096), scratch, 0, 0};
  store_each(store_arena, store_see, &seen);
  buf_byte(&seen.text, 0);
  ck_assert_str_eq(seen.text.ptr, "bodkin smollm2-135m\nbodkin big\nbodkin second\nollama m:latest\nollama user/m:7b\n"
                                  "huggingface org/name\nhuggingface hf:plain\nlmstudio pub/new:new-Q4_0\n");
  for (int stop = 1; stop <= 8; stop++) {
    struct store_seen few = {buf_new(&other, 4096), scratch, stop, 0};
    store_each(store_arena, store_see, &few);
    ck_assert_int_eq(few.n, stop);
  }
  store_end();
}
END_TEST

START_TEST(store_no_memory) { // and none of it crashes
  struct arena scratch = test_arena(32 << 20);
  store_begin();
  store_file("models/m.gguf");
  store_manifest("library/m/latest", "sha256:" STORE_HEX);
  for (size_t size = 0; size < 4 << 20; size = size * 2 + 24) {
    struct arena tight = {store_arena.beg, store_arena.beg + size};
    struct bk_error e = {0};
    const char *path = NULL;
    struct store_seen seen = {buf_new(&(struct arena){0, 0}, 0), scratch, 0, 0};
    bool ok = store_find(STR("m"), &tight, &path, &e);
    ck_assert(ok ? path != NULL : e.code != 0);
    store_each(tight, store_see, &seen);
  }
  store_end();
}
END_TEST

static Suite *store_suite(void) {
  Suite *s = suite_create("store");
  TCase *t = tcase_create("store");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, store_compiled_in);
  tcase_add_test(t, store_own_catalogue);
  tcase_add_test(t, store_paths);
  tcase_add_test(t, store_folder_order);
  tcase_add_test(t, store_stems);
  tcase_add_test(t, store_parts);
  tcase_add_test(t, store_program_folder);
  tcase_add_test(t, store_ollama);
  tcase_add_test(t, store_hostile_manifests);
  tcase_add_test(t, store_hugging_face);
  tcase_add_test(t, store_hub_places);
  tcase_add_test(t, store_lm_studio);
  tcase_add_test(t, store_listing);
  tcase_add_test(t, store_no_memory);
  suite_add_tcase(s, t);
  return s;
}
