/* store.c -- a model's name -> the path of its file; read only, nothing is ever written or fetched.
 *
 * In: what a user typed, the environment, the catalogue (compiled in, and catalogue.txt beside the models), and the
 * stores that other programs left on this disk: ollama, Hugging Face, LM Studio. Out: a path in the caller's arena.
 * Invariant: every part of a path is typed by the user, listed by the system, or passed store_safe (names) or
 * hash_is_hex (digests): nothing read from a file can lead out of its store.
 * SPDX-License-Identifier: MIT */
#include "base.h"

#include <stdlib.h>

enum {
  STORE_PATH = 4096,            // bytes of a path, terminator included
  STORE_MAX_NAME = 255,         // bytes of a name that is no path
  STORE_MAX_PART = 128,         // bytes of one part of a name
  STORE_MAX_FILE = 256 << 10,   // bytes of a manifest or a catalogue
  STORE_MAX_ENTRIES = 256,
  STORE_FOLDERS = 4
};

struct store_entry { // of the catalogue
  struct str name, file, sha256, licence, task, note;
  uint64_t bytes;
  bool is_default;
};

struct store_item { // of a listing; views end with the call
  struct str name;   // what store_find takes
  const char *path;
  const char *store; // "bodkin", "ollama", "huggingface" or "lmstudio"
  uint64_t bytes;    // of this file; a split model has more
};

/* ---- paths ---- */

/* May this stand as one part of a path? No separators, no "..", nothing hidden. */
static bool store_safe(struct str part) {
  if (part.len == 0 || part.len > STORE_MAX_PART || part.ptr[0] == '.') return false;
  for (size_t i = 0; i < part.len; i++) {
    char c = part.ptr[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

/* NULL if it is too long or there is no memory: then there is no such file either. */
BASE_PRINTF(2, 3) static const char *store_path(struct arena *a, const char *format, ...) {
  char text[STORE_PATH];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return n < 0 || n >= STORE_PATH ? NULL : arena_copy(a, (struct str){text, (size_t)n + 1}).ptr;
}

static const char *store_under(struct arena *a, const char *variable, const char *below) {
  const char *value = getenv(variable);
  return value && value[0] ? store_path(a, "%s%s", value, below) : NULL;
}

/* Where bodkin's own models may lie, in the order of precedence. */
static int store_folders(struct arena *a, const char *folder[STORE_FOLDERS]) {
  int n = 0;
  struct str program = os_program_folder(a);
  const char *data = store_under(a, "XDG_DATA_HOME", "/bodkin/models");
  if (!data) data = store_under(a, "HOME", "/.local/share/bodkin/models");
  if ((folder[n] = store_under(a, "BODKIN_MODELS", ""))) n++;
  if ((folder[n] = data)) n++;
  folder[n++] = "models";
  if (program.len && (folder[n] = store_path(a, "%.*s/models", (int)program.len, program.ptr))) n++;
  return n;
}

struct store_list {
  struct arena *arena;
  const char **names;
  int n, cap;
};

static bool store_list_add(void *context, const char *name) {
  struct store_list *l = context;
  struct str copy = {name, strlen(name) + 1};
  if (l->n == l->cap || !(copy = arena_copy(l->arena, copy)).ptr) return false;
  l->names[l->n++] = copy.ptr;
  return true;
}

/* The names in a folder, sorted. The upper half of the arena is scratch while the folder is read. */
static struct store_list store_list(struct arena *a, const char *folder) {
  struct arena scratch = {a->beg + (a->end - a->beg) / 2, a->end}, lower = {a->beg, scratch.beg};
  enum { LIMIT = 4096 };
  struct store_list l = {&lower, ARENA_NEW(&lower, const char *, LIMIT), 0, LIMIT};
  if (folder && l.names) os_list(folder, scratch, store_list_add, &l);
  a->beg = lower.beg;
  l.arena = NULL;
  return l;
}

/* ---- the catalogue: see models/catalogue.txt ---- */

#define STORE_STR(literal) {"" literal "", sizeof(literal) - 1}
#define CATALOGUE(name, file, bytes, sha256, licence, task, note, is_default)                                          \
  {STORE_STR(name), STORE_STR(file), STORE_STR(sha256), STORE_STR(licence), STORE_STR(task), STORE_STR(note), bytes,   \
   is_default},
static const struct store_entry store_built_in[] = {
#include "../gen/catalogue.h"
};
#undef CATALOGUE

static struct str store_trim(struct str s) {
  while (s.len && (unsigned char)s.ptr[0] <= ' ') s = str_slice(s, 1, s.len);
  while (s.len && (unsigned char)s.ptr[s.len - 1] <= ' ') s.len--;
  return s;
}

static void store_set(struct store_entry *entry, struct str key, struct str value) {
  int64_t n = 0;
  if (str_is(key, "file")) entry->file = value;
  else if (str_is(key, "bytes")) entry->bytes = str_to_int(value, &n) && n > 0 ? (uint64_t)n : 0; // 0: unknown
  else if (str_is(key, "sha256")) entry->sha256 = hash_is_hex(value) ? value : STR_NONE;
  else if (str_is(key, "licence")) entry->licence = value;
  else if (str_is(key, "task")) entry->task = value;
  else if (str_is(key, "note")) entry->note = value;
  else if (str_is(key, "default")) entry->is_default = str_is(value, "yes");
}

/* The next section of a catalogue's text; false at the end. Lines of no use are passed over: tools/fetch is strict. */
static bool store_next(struct str text, size_t *at, struct store_entry *entry) {
  *entry = (struct store_entry){.bytes = 0};
  while (*at < text.len) {
    size_t end = str_find(text, STR("\n"), *at);
    struct str line = store_trim(str_slice(text, *at, end));
    bool header = line.len > 2 && line.ptr[0] == '[' && line.ptr[line.len - 1] == ']';
    if (header && entry->name.len) return true; // the next section's first line is read again
    *at = end < text.len ? end + 1 : text.len;
    size_t equals = str_find(line, STR("="), 0);
    if (header) entry->name = store_trim(str_slice(line, 1, line.len - 1));
    else if (line.len && line.ptr[0] != '#' && equals != SIZE_MAX)
      store_set(entry, store_trim(str_slice(line, 0, equals)), store_trim(str_slice(line, equals + 1, line.len)));
  }
  return entry->name.len > 0;
}

static const struct store_entry *store_named(const struct store_entry *all, int n, struct str name) {
  for (int i = 0; i < n; i++)
    if (str_eq(all[i].name, name)) return &all[i];
  return NULL;
}

/* All entries: those of catalogue.txt in each folder, then those compiled in; of one name the first counts. */
static int store_catalogue(struct arena *a, struct store_entry **out) {
  const char *folder[STORE_FOLDERS];
  int n = 0, n_folders = store_folders(a, folder);
  struct store_entry *all = ARENA_NEW(a, struct store_entry, STORE_MAX_ENTRIES);
  *out = all;
  for (int i = 0; all && i < n_folders; i++) {
    struct bk_error ignored = {0};
    struct str text;
    size_t at = 0;
    const char *path = store_path(a, "%s/catalogue.txt", folder[i]);
    if (!path || !os_is_file(path) || !os_read_file(path, STORE_MAX_FILE, a, &text, &ignored)) continue;
    while (n < STORE_MAX_ENTRIES && store_next(text, &at, &all[n]))
      if (store_safe(all[n].name) && store_safe(all[n].file) && !store_named(all, n, all[n].name)) n++;
  }
  for (int i = 0; all && i < ARRAY_LEN(store_built_in) && n < STORE_MAX_ENTRIES; i++)
    if (!store_named(all, n, store_built_in[i].name)) all[n++] = store_built_in[i];
  return n;
}

/* The entry of that name; false if there is none. Views live in the arena. */
static bool store_lookup(struct str name, struct arena *a, struct store_entry *out) {
  struct store_entry *all;
  int n = store_catalogue(a, &all);
  const struct store_entry *entry = store_named(all, n, name);
  if (entry) *out = *entry;
  return entry != NULL;
}

/* The entry whose file has that checksum, 64 hex digits. */
static bool store_by_sha256(struct str hex, struct arena *a, struct store_entry *out) {
  struct store_entry *all;
  int n = store_catalogue(a, &all), i = 0;
  while (i < n && !str_eq(all[i].sha256, hex)) i++;
  if (i < n) *out = all[i];
  return i < n;
}

/* The entry that is used when no model is named: for vectors, or for all else. */
static bool store_default(bool vectors, struct arena *a, struct store_entry *out) {
  struct store_entry *all;
  int n = store_catalogue(a, &all);
  for (int i = 0; i < n; i++) {
    if (!all[i].is_default || str_is(all[i].task, "embed") != vectors) continue;
    *out = all[i];
    return true;
  }
  return false;
}

/* ---- files in a folder ---- */

static char store_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static bool store_contains(struct str s, struct str what) { // ASCII case ignored
  for (size_t i = 0; i + what.len <= s.len; i++) {
    size_t k = 0;
    while (k < what.len && store_lower(s.ptr[i + k]) == store_lower(what.ptr[k])) k++;
    if (k == what.len) return true;
  }
  return false;
}

/* A file's name without .gguf, and without -00001-of-0000N if it is split; empty for later parts, image projectors and
 * everything else that is no model by itself. */
static struct str store_stem(const char *file) {
  struct str s = str_from(file), part = STR("-00001-of-00000");
  if (!str_ends(s, STR(".gguf")) || store_contains(s, STR("mmproj"))) return STR_NONE;
  s.len -= 5;
  if (s.len <= part.len) return s;
  struct str tail = str_slice(s, s.len - part.len, s.len);
  for (size_t i = 0; i < part.len; i++) {
    bool digit = tail.ptr[i] >= '0' && tail.ptr[i] <= '9';
    if (part.ptr[i] == '0' || part.ptr[i] == '1' ? !digit : tail.ptr[i] != part.ptr[i]) return s;
  }
  return str_starts(tail, STR("-00001")) ? str_slice(s, 0, s.len - part.len) : STR_NONE;
}

/* Copies a path out of scratch memory if there is a file. */
static bool store_take(const char *path, char found[STORE_PATH]) {
  if (!path || !os_is_file(path)) return false;
  snprintf(found, STORE_PATH, "%s", path);
  return true;
}

/* The file that `wanted` means: its name, its stem, or a part of its name such as a quantisation. Without it the usual
 * compromise, Q4_K_M, else the first. If there is none it looks below: big models have a folder for each format. */
static bool store_pick(struct arena a, const char *folder, struct str wanted, int deeper, char found[STORE_PATH]) {
  struct store_list l = store_list(&a, folder);
  int best = -1, score = 0;
  for (int i = 0; i < l.n; i++) {
    struct str stem = store_stem(l.names[i]);
    int s = wanted.len == 0 ? 1 + store_contains(stem, STR("Q4_K_M"))
                            : str_is(wanted, l.names[i]) || str_eq(wanted, stem) ? 2 : store_contains(stem, wanted);
    if (stem.len && s > score) best = i, score = s;
  }
  if (best >= 0) return store_take(store_path(&a, "%s/%s", folder, l.names[best]), found);
  for (int i = 0; i < l.n && deeper > 0; i++) {
    const char *below = store_path(&a, "%s/%s", folder, l.names[i]);
    if (below && os_is_directory(below) && store_pick(a, below, wanted, deeper - 1, found)) return true;
  }
  return false;
}

static bool store_in_folders(struct str name, struct arena a, char found[STORE_PATH]) {
  const char *folder[STORE_FOLDERS];
  int n = store_folders(&a, folder);
  struct store_entry entry;
  if (store_lookup(name, &a, &entry))
    for (int i = 0; i < n; i++)
      if (store_take(store_path(&a, "%s/%.*s", folder[i], (int)entry.file.len, entry.file.ptr), found)) return true;
  for (int i = 0; i < n; i++) {
    struct arena scratch = a;
    struct store_list l = store_list(&scratch, folder[i]);
    for (int k = 0; k < l.n; k++)
      if ((str_eq(store_stem(l.names[k]), name) || (str_is(name, l.names[k]) && str_ends(name, STR(".gguf")))) &&
          store_take(store_path(&scratch, "%s/%s", folder[i], l.names[k]), found))
        return true;
  }
  return false;
}

/* ---- ollama: manifests/HOST/NAMESPACE/NAME/TAG is JSON; blobs/sha256-HEX are the files ---- */

#define STORE_LAYER "application/vnd.ollama.image.model"

static int store_ollama_roots(struct arena *a, const char *root[2]) {
  int n = 0;
  if ((root[0] = store_under(a, "OLLAMA_MODELS", ""))) return 1;
  if ((root[n] = store_under(a, "HOME", "/.ollama/models"))) n++;
  root[n++] = "/usr/share/ollama/.ollama/models";
  return n;
}

/* Error: a manifest that cannot be read or names no model, a digest that is none, a blob that is not there. */
static bool store_read_manifest(const char *root, const char *path, struct arena a, char found[STORE_PATH],
                                struct bk_error *e) {
  struct bk_error inner = {0};
  struct str text, type, digest = STR_NONE;
  struct json *manifest;
  if (!os_read_file(path, STORE_MAX_FILE, &a, &text, e)) return false;
  if (!json_parse(text, &a, &manifest, &inner)) return err_set(e, ERR_DATA, "%s: %s", path, inner.message);
  const struct json *layers = manifest->type == JSON_OBJECT ? json_get(manifest, "layers") : NULL;
  for (const struct json *l = layers && layers->type == JSON_ARRAY ? layers->first : NULL; l; l = l->next) {
    const struct json *m = l->type == JSON_OBJECT ? json_get(l, "mediaType") : NULL;
    const struct json *d = m ? json_get(l, "digest") : NULL;
    type = m && m->type == JSON_STRING ? m->string : STR_NONE;
    bool model = str_is(type, STORE_LAYER) && d && d->type == JSON_STRING;
    if (model && !digest.len) digest = d->string;
  }
  if (!digest.len) return err_set(e, ERR_DATA, "%s: no layer is a model, expected one of type " STORE_LAYER, path);
  struct str hex = str_slice(digest, 7, digest.len);
  if (!str_starts(digest, STR("sha256:")) || !hash_is_hex(hex))
    return err_set(e, ERR_DATA, "%s: digest " STR_FMT ", expected sha256: and 64 hex digits", path, STR_ARG(digest));
  const char *blob = store_path(&a, "%s/blobs/sha256-%.*s", root, (int)hex.len, hex.ptr);
  if (store_take(blob, found)) return true;
  return err_set(e, ERR_NOINPUT, "%s: its file blobs/sha256-" STR_FMT " is not there", path, STR_ARG(hex));
}

/* NAME, NAME:TAG, NAMESPACE/NAME:TAG, HOST/NAMESPACE/NAME:TAG; false without an error if there is none. */
static bool store_in_ollama(struct str name, struct arena a, char found[STORE_PATH], struct bk_error *e) {
  struct str part[3] = {STR_NONE, STR("library"), STR_NONE}, tag = STR("latest"); // host, namespace, name
  size_t colon = str_find(name, STR(":"), 0), slash;
  if (colon != SIZE_MAX) tag = str_slice(name, colon + 1, name.len);
  name = str_slice(name, 0, colon);
  int n = 0;
  struct str typed[3];
  for (; n < 2 && (slash = str_find(name, STR("/"), 0)) != SIZE_MAX; name = str_slice(name, slash + 1, name.len))
    typed[n++] = str_slice(name, 0, slash);
  typed[n++] = name;
  for (int i = 0; i < n; i++) part[3 - n + i] = typed[i];
  if (!store_safe(part[1]) || !store_safe(part[2]) || !store_safe(tag)) return false;
  const char *root[2];
  int n_roots = store_ollama_roots(&a, root);
  for (int r = 0; r < n_roots; r++) {
    struct arena scratch = a;
    struct store_list hosts = store_list(&scratch, store_path(&scratch, "%s/manifests", root[r]));
    for (int i = 0; i < hosts.n; i++) {
      if (part[0].len && !str_is(part[0], hosts.names[i])) continue;
      const char *path = store_path(&scratch, "%s/manifests/%s/" STR_FMT "/" STR_FMT "/" STR_FMT, root[r],
                                    hosts.names[i], STR_ARG(part[1]), STR_ARG(part[2]), STR_ARG(tag));
      if (path && os_is_file(path)) return store_read_manifest(root[r], path, scratch, found, e);
    }
  }
  return false;
}

/* ---- Hugging Face: models--ORG--NAME/refs/main names the folder under snapshots/; LM Studio: ORG/NAME/FILE ---- */

static const char *const store_lmstudio[] = {"/.lmstudio/models", "/.cache/lm-studio/models"}; // today's, and the older

static const char *store_hub(struct arena *a) {
  const char *root = store_under(a, "HF_HUB_CACHE", "");
  if (!root) root = store_under(a, "HF_HOME", "/hub");
  if (!root) root = store_under(a, "XDG_CACHE_HOME", "/huggingface/hub");
  return root ? root : store_under(a, "HOME", "/.cache/huggingface/hub");
}

/* `model` is a models--ORG--NAME folder. Without refs/main, as after fetching one revision, any snapshot will do. */
static bool store_in_model(const char *model, struct str wanted, struct arena a, char found[STORE_PATH]) {
  struct bk_error ignored = {0};
  struct str commit = STR_NONE;
  const char *ref = store_path(&a, "%s/refs/main", model), *folder = store_path(&a, "%s/snapshots", model);
  if (!ref || !folder) return false;
  if (os_is_file(ref) && os_read_file(ref, STORE_MAX_PART, &a, &commit, &ignored)) commit = store_trim(commit);
  if (store_safe(commit))
    return store_pick(a, store_path(&a, "%s/%.*s", folder, (int)commit.len, commit.ptr), wanted, 1, found);
  return commit.len == 0 && store_pick(a, folder, wanted, 2, found);
}

static bool store_in_hubs(struct str name, struct arena a, char found[STORE_PATH]) {
  bool hf_only = str_starts(name, STR("hf:"));
  if (hf_only) name = str_slice(name, 3, name.len);
  size_t slash = str_find(name, STR("/"), 0), colon = str_find(name, STR(":"), 0);
  struct str wanted = colon == SIZE_MAX ? STR_NONE : str_slice(name, colon + 1, name.len);
  struct str org = str_slice(name, 0, slash == SIZE_MAX ? 0 : slash);
  struct str model = str_slice(name, slash == SIZE_MAX ? 0 : slash + 1, colon);
  if (!store_safe(model) || (org.len ? !store_safe(org) : !hf_only)) return false;
  const char *hub = store_hub(&a);
  const char *folder = hub ? store_path(&a, "%s/models--%.*s%s%.*s", hub, (int)org.len, org.ptr ? org.ptr : "",
                                        org.len ? "--" : "", (int)model.len, model.ptr) : NULL;
  if (folder && os_is_directory(folder) && store_in_model(folder, wanted, a, found)) return true;
  for (int i = 0; i < ARRAY_LEN(store_lmstudio) && !hf_only; i++) {
    const char *root = store_under(&a, "HOME", store_lmstudio[i]);
    if (root) root = store_path(&a, "%s/%.*s/%.*s", root, (int)org.len, org.ptr, (int)model.len, model.ptr);
    if (root && os_is_directory(root) && store_pick(a, root, wanted, 0, found)) return true;
  }
  return false;
}

/* ---- finding ---- */

static bool store_missing(struct str name, struct arena a, struct bk_error *e) {
  struct store_entry entry, *all;
  if (store_lookup(name, &a, &entry))
    return err_set(e, ERR_NOINPUT,
                   "model " STR_FMT " is not here; bodkin pull " STR_FMT " fetches it (%.1f MB, licence: " STR_FMT ")",
                   STR_ARG(name), STR_ARG(name), (double)entry.bytes / 1e6, STR_ARG(entry.licence));
  struct buf known = buf_new(&a, 160);
  int n = store_catalogue(&a, &all);
  for (int i = 0; i < n; i++) buf_printf(&known, "%s" STR_FMT, i ? ", " : "", STR_ARG(all[i].name));
  return err_set(e, ERR_NOINPUT,
                 "no model " STR_FMT ": no such file, not in a model folder, nor in the stores of ollama, Hugging Face "
                 "and LM Studio (bodkin pull knows " STR_FMT "%s)",
                 STR_ARG(name), STR_ARG(buf_str(&known)), known.full ? " ..." : "");
}

static bool store_search(struct str name, struct arena a, char found[STORE_PATH], struct bk_error *e) {
  if (name.len == 0 || name.len >= STORE_PATH || memchr(name.ptr, 0, name.len))
    return err_set(e, ERR_NOINPUT, "a model's name of %zu bytes, expected 1 to %d, no NUL", name.len, STORE_PATH - 1);
  bool hf = str_starts(name, STR("hf:")), slash = memchr(name.ptr, '/', name.len) != NULL;
  snprintf(found, STORE_PATH, "%.*s", (int)name.len, name.ptr);
  bool path = !hf && (slash || str_ends(name, STR(".gguf")));
  bool only_path = path && (name.ptr[0] == '/' || name.ptr[0] == '.' || name.len > STORE_MAX_NAME);
  if (only_path || (path && (os_is_file(found) || os_is_directory(found)))) {
    struct os_file f; // as it is: the system says what is wrong with it
    bool ok = os_map(found, &f, e);
    os_unmap(&f);
    return ok;
  }
  if (name.len > STORE_MAX_NAME)
    return err_set(e, ERR_NOINPUT, "a model's name of %zu bytes, expected at most %d", name.len, STORE_MAX_NAME);
  if (!slash && !hf && store_in_folders(name, a, found)) return true;
  if (!hf && store_in_ollama(name, a, found, e)) return true;
  if (e->code) return false;
  return store_in_hubs(name, a, found) || store_missing(name, a, e);
}

/* The path of the file that a name means, in the arena. Order: a path as it is; the catalogue's file and then any
 * NAME.gguf in bodkin's folders; ollama; Hugging Face; LM Studio. Error 66: there is none (the sentence says how to
 * get it); 65: a store is damaged; 77: not permitted. Folders are read into the free part of the arena: give 4 MiB. */
static bool store_find(struct str name, struct arena *a, const char **path, struct bk_error *e) {
  char found[STORE_PATH];
  if (!store_search(name, *a, found, e)) return false;
  *path = arena_copy(a, (struct str){found, strlen(found) + 1}).ptr;
  return *path || err_set(e, ERR_OS, STR_FMT ": no memory for its path", STR_ARG(name));
}

/* ---- listing ---- */

struct store_walk {
  bool (*each)(void *context, const struct store_item *item);
  void *context;
  const char *store, *root;
  /* called for every entry exactly `depth` levels below the root; `name` is its path from there; false: stop */
  bool (*visit)(const struct store_walk *w, struct arena a, const char *path, struct str name);
};

static bool store_walk(const struct store_walk *w, struct arena a, const char *folder, int depth) { // depth <= 4
  struct store_list l = store_list(&a, folder);
  for (int i = 0; i < l.n; i++) {
    struct arena scratch = a;
    const char *path = store_path(&scratch, "%s/%s", folder, l.names[i]);
    if (!path) continue;
    bool go_on = depth == 1 ? w->visit(w, scratch, path, str_from(path + strlen(w->root) + 1))
                            : !os_is_directory(path) || store_walk(w, scratch, path, depth - 1);
    if (!go_on) return false;
  }
  return true;
}

static bool store_emit(const struct store_walk *w, struct str name, const char *path) {
  struct bk_error ignored = {0};
  struct os_file f;
  if (!os_map(path, &f, &ignored)) return true;
  struct store_item item = {name, path, w->store, (uint64_t)f.size};
  bool gguf = f.size >= 4 && memcmp(f.ptr, "GGUF", 4) == 0;
  os_unmap(&f);
  return !gguf || w->each(w->context, &item);
}

/* A file in one of bodkin's folders, unless an earlier folder has one of that name. */
static bool store_visit_folder(const struct store_walk *w, struct arena a, const char *path, struct str name) {
  const char *folder[STORE_FOLDERS];
  struct str stem = store_stem(name.ptr);
  struct store_entry *all;
  int n = store_folders(&a, folder), n_entries = store_catalogue(&a, &all);
  for (int i = 0; i < n && strcmp(folder[i], w->root) != 0; i++) {
    const char *earlier = store_path(&a, "%s/%s", folder[i], name.ptr);
    if (earlier && os_is_file(earlier)) return true;
  }
  for (int i = 0; i < n_entries; i++)
    if (str_eq(all[i].file, name)) stem = all[i].name;
  return stem.len == 0 || store_emit(w, stem, path);
}

static bool store_visit_ollama(const struct store_walk *w, struct arena a, const char *path, struct str name) {
  char blob[STORE_PATH];
  struct bk_error ignored = {0};
  struct str part[4] = {STR_NONE, STR_NONE, STR_NONE, STR_NONE}; // manifests/ is cut off: host, namespace, name, tag
  for (int i = 0; i < 4; i++) {
    size_t slash = str_find(name, STR("/"), 0);
    part[i] = str_slice(name, 0, slash);
    name = slash == SIZE_MAX ? STR_NONE : str_slice(name, slash + 1, name.len);
  }
  const char *root = store_path(&a, "%.*s", (int)(strlen(w->root) - strlen("/manifests")), w->root);
  bool library = str_is(part[1], "library");
  const char *shown = store_path(&a, "%.*s%s%.*s:%.*s", library ? 0 : (int)part[1].len, part[1].ptr, library ? "" : "/",
                                 (int)part[2].len, part[2].ptr, (int)part[3].len, part[3].ptr);
  if (!root || !shown || !store_safe(part[3]) || !store_read_manifest(root, path, a, blob, &ignored)) return true;
  return store_emit(w, str_from(shown), blob);
}

static bool store_visit_hub(const struct store_walk *w, struct arena a, const char *path, struct str name) {
  char file[STORE_PATH];
  if (!str_starts(name, STR("models--")) || !store_in_model(path, STR_NONE, a, file)) return true;
  struct str rest = str_slice(name, 8, name.len);
  size_t dashes = str_find(rest, STR("--"), 0);
  const char *shown = dashes == SIZE_MAX ? store_path(&a, "hf:%s", rest.ptr)
                                         : store_path(&a, "%.*s/%s", (int)dashes, rest.ptr, rest.ptr + dashes + 2);
  return !shown || store_emit(w, str_from(shown), file);
}

static bool store_visit_lmstudio(const struct store_walk *w, struct arena a, const char *path, struct str name) {
  const char *file = path + strlen(path);
  while (file[-1] != '/') file--;
  struct str stem = store_stem(file);
  struct str model = str_slice(name, 0, name.len - strlen(file) - 1);
  const char *shown = store_path(&a, "%.*s:%.*s", (int)model.len, model.ptr, (int)stem.len, stem.ptr);
  return !stem.len || !shown || store_emit(w, str_from(shown), path);
}

static bool store_place(struct store_walk *w, struct arena a, const char *store, const char *root, int depth) {
  w->store = store;
  w->root = root;
  return !root || store_walk(w, a, root, depth);
}

/* Calls `each` for every model on this disk, with the name that store_find takes for it and where it comes from, until
 * it returns false. Stores that are not there or damaged are passed over. */
static void store_each(struct arena a, bool (*each)(void *context, const struct store_item *item), void *context) {
  const char *folder[STORE_FOLDERS], *root[2];
  int n_folders = store_folders(&a, folder), n_roots = store_ollama_roots(&a, root);
  struct store_walk w = {each, context, NULL, NULL, store_visit_folder};
  bool go_on = true;
  for (int i = 0; i < n_folders && go_on; i++) go_on = store_place(&w, a, "bodkin", folder[i], 1);
  w.visit = store_visit_ollama;
  for (int i = 0; i < n_roots && go_on; i++)
    go_on = store_place(&w, a, "ollama", store_path(&a, "%s/manifests", root[i]), 4);
  w.visit = store_visit_hub;
  go_on = go_on && store_place(&w, a, "huggingface", store_hub(&a), 1);
  w.visit = store_visit_lmstudio;
  for (int i = 0; i < ARRAY_LEN(store_lmstudio) && go_on; i++)
    go_on = store_place(&w, a, "lmstudio", store_under(&a, "HOME", store_lmstudio[i]), 3);
}
