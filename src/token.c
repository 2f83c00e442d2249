/* token.c -- loads a vocabulary, finds special tokens in a text, turns ids back into bytes; see token.h.
 *
 * In: the keys tokenizer.ggml.*. Everything is checked while the tables are built: lengths and types of arrays, ids in
 * range, merges well formed; duplicates keep their first id, so text -> id -> text need not come back to the same id.
 * What the defaults are, which tokens end a generation, and which names count as control tokens whatever the file says,
 * follows llama.cpp. The files token_*.c above do the encoding between special tokens.
 * SPDX-License-Identifier: MIT */

#define TOKEN_KEY(name) STR("tokenizer.ggml." name)

/* ---- small things about tokens ---- */

static struct str token_text(const struct vocab *v, int32_t id) {
  if (id < 0 || id >= v->n_tokens) return STR_NONE;
  uint64_t len; // checked to be at most TOKEN_MAX_TEXT when the vocabulary was loaded
  memcpy(&len, v->text + v->offset[id] - 8, sizeof len);
  return (struct str){v->text + v->offset[id], (size_t)len};
}

static float token_score(const struct vocab *v, int32_t id) {
  float f = 0;
  int32_t n;
  if (!v->scores) return 0;
  if (!v->scores_are_ints) {
    memcpy(&f, v->scores + 4 * (size_t)id, sizeof f);
    return f;
  }
  memcpy(&n, v->scores + 4 * (size_t)id, sizeof n);
  return (float)n;
}

static bool token_is_control(const struct vocab *v, int32_t id) {
  return id >= 0 && id < v->n_tokens && (v->attr[id] & (TOKEN_CONTROL | TOKEN_UNKNOWN)) != 0;
}

static bool token_is_eog(const struct vocab *v, int32_t id) {
  for (int i = 0; i < v->n_eog; i++)
    if (v->eog[i] == id) return true;
  return false;
}

/* gpt-2's alphabet: printable Latin-1 stands for itself, the 68 other bytes are U+0100 .. U+0143 in their order. */
static bool token_byte_plain(uint32_t b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xFF && b != 0xAD); }

static uint32_t token_byte_char(uint8_t byte) {
  if (token_byte_plain(byte)) return byte;
  return 0x100u + (byte < 0x21 ? byte : byte < 0xA1 ? byte - 0x7Fu + 0x21u : 0x43u); // 0-20, 7F-A0, AD
}

static int token_char_byte(uint32_t code) { // the byte, or -1 if the character is not in the alphabet
  if (code < 0x100) return token_byte_plain(code) ? (int)code : -1;
  if (code < 0x121) return (int)code - 0x100;
  if (code < 0x143) return (int)code - 0x121 + 0x7F;
  return code == 0x143 ? 0xAD : -1;
}

/* <0x0A>: exactly six characters with two hexadecimal digits; else -1. */
static int token_byte_value(struct str s) {
  if (s.len != 6 || memcmp(s.ptr, "<0x", 3) != 0 || s.ptr[5] != '>') return -1;
  int value = 0;
  for (int i = 3; i < 5; i++) {
    char c = s.ptr[i];
    const char *digits = "0123456789abcdefABCDEF", *digit = c ? strchr(digits, c) : NULL;
    if (!digit) return -1;
    value = value * 16 + (int)(digit - digits) - (digit - digits > 15 ? 6 : 0);
  }
  return value;
}

/* ---- text -> id ---- */

/* FNV-1a byte by byte, so that the hash of a + b goes on from the hash of a. */
static uint64_t token_hash_more(uint64_t h, struct str s) {
  for (size_t i = 0; i < s.len; i++) h = (h ^ (uint8_t)s.ptr[i]) * 0x100000001b3u;
  return h;
}

static uint64_t token_hash_end(uint64_t h) { // the finaliser of MurmurHash3
  h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
  return h ^ h >> 33;
}

static bool token_is(const struct vocab *v, int32_t id, struct str a, struct str b) {
  struct str s = token_text(v, id);
  return s.len == a.len + b.len && str_starts(s, a) && str_ends(s, b);
}

/* The slot of a text in the index: where it is, or the free one where it would be. */
static uint32_t token_slot(const struct vocab *v, uint64_t h, struct str a, struct str b) {
  h = token_hash_end(h);
  uint32_t tag = (uint32_t)(h >> 54) << 22, i = (uint32_t)((h & 0xFFFFFFFFu) * v->index_size >> 32);
  for (;; i = i + 1 == v->index_size ? 0 : i + 1) {
    uint32_t entry = v->index[i];
    if (entry == UINT32_MAX) return i;
    if (((entry ^ tag) >> 22) == 0 && token_is(v, (int32_t)(entry & 0x3FFFFF), a, b)) return i;
  }
}

static int32_t token_find_hash(const struct vocab *v, uint64_t h, struct str a, struct str b) {
  uint32_t entry = v->index[token_slot(v, h, a, b)];
  return entry == UINT32_MAX ? TOKEN_NONE : (int32_t)(entry & 0x3FFFFF);
}

static int32_t token_find_joined(const struct vocab *v, struct str a, struct str b) {
  if (a.len + b.len == 0) return TOKEN_NONE;
  return token_find_hash(v, token_hash_more(token_hash_more(TOKEN_HASH_START, a), b), a, b);
}

static int32_t token_find(const struct vocab *v, struct str text) { return token_find_joined(v, text, STR_NONE); }

/* Text of a user must not become a token that means structure. User-defined tokens are no control tokens, but some
 * files keep the marks of their chat format among them: what looks like a mark only comes from trusted text. */
static bool token_is_plain(const struct vocab *v, int32_t id) {
  uint8_t attr = v->attr[id];
  if (!(attr & (TOKEN_CONTROL | TOKEN_UNKNOWN | TOKEN_USER))) return true;
  if (attr & (TOKEN_CONTROL | TOKEN_UNKNOWN)) return false;
  struct str s = token_text(v, id);
  for (size_t i = 0; i < s.len; i++)
    if (s.ptr[i] && strchr("<>[]|", s.ptr[i])) return false;
  return str_find(s, STR("\xEF\xBD\x9C"), 0) == SIZE_MAX; // the wide bar of some formats
}

static int32_t token_mergeable(const struct vocab *v, struct str text) {
  int32_t id = token_find(v, text);
  return id >= 0 && token_is_plain(v, id) ? id : TOKEN_NONE;
}

/* ---- loading: the arrays ---- */

/* Of an array key: NULL if it is absent. Error: no array of one of two types, or another length than `count`. */
SMALL const struct gguf_value *token_array(const struct gguf *g, struct str key, enum gguf_type type,
                                            enum gguf_type or_type, uint64_t count, struct bk_error *e) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v) return NULL;
  if (!v->is_array || (v->type != type && v->type != or_type)) {
    err_set(e, ERR_DATA, "key " STR_FMT " is %s %s, expected an array of %s", STR_ARG(key),
            v->is_array ? "an array of" : "a single", gguf_type_names[v->type], gguf_type_names[type]);
  } else if (count && v->count != count) {
    err_set(e, ERR_DATA, "key " STR_FMT " has %llu elements for %llu tokens", STR_ARG(key),
            (unsigned long long)v->count, (unsigned long long)count);
  } else {
    return v;
  }
  return NULL;
}

static bool token_load_texts(const struct gguf *g, struct vocab *v, struct arena *a, struct bk_error *e) {
  struct str key = TOKEN_KEY("tokens");
  const struct gguf_value *texts = token_array(g, key, GGUF_STRING, GGUF_STRING, 0, e);
  if (!texts) return err_set(e, ERR_DATA, "key " STR_FMT " is missing: the file has no vocabulary", STR_ARG(key));
  if (texts->count < 1 || texts->count > TOKEN_MAX_COUNT || texts->bytes.len > UINT32_MAX)
    return err_set(e, ERR_DATA, "key " STR_FMT " has %llu elements in %zu bytes, expected 1 to %d in less than 4 GiB",
                   STR_ARG(key), (unsigned long long)texts->count, texts->bytes.len, TOKEN_MAX_COUNT);
  v->n_tokens = (int32_t)texts->count;
  v->text = texts->bytes.ptr;
  v->index_size = (uint32_t)v->n_tokens + (uint32_t)v->n_tokens / 4 * 3 + 8; // 4 of 7 slots are taken
  uint32_t *offset = ARENA_NEW(a, uint32_t, (size_t)v->n_tokens);
  uint32_t *index = ARENA_NEW(a, uint32_t, v->index_size);
  if (!offset || !index) return err_set(e, ERR_OS, "no memory for a vocabulary of %d tokens", (int)v->n_tokens);
  memset(index, 0xFF, sizeof *index * v->index_size);
  v->offset = offset;
  v->index = index;
  struct str s;
  size_t at = 0;
  for (int32_t id = 0; gguf_next_string(texts, &at, &s); id++) {
    if (s.len > TOKEN_MAX_TEXT)
      return err_set(e, ERR_DATA, "token %d is %zu bytes long, at most %d expected", (int)id, s.len, TOKEN_MAX_TEXT);
    offset[id] = (uint32_t)(s.ptr - v->text);
    if (s.len > v->max_piece) v->max_piece = s.len;
    if (s.len == 0) continue;
    uint64_t h = token_hash_more(TOKEN_HASH_START, s);
    uint32_t slot = token_slot(v, h, s, STR_NONE);
    if (index[slot] == UINT32_MAX) index[slot] = (uint32_t)(token_hash_end(h) >> 54) << 22 | (uint32_t)id;
  }
  return true;
}

static bool token_load_attributes(const struct gguf *g, struct vocab *v, struct arena *a, struct bk_error *e) {
  static const uint8_t of_type[7] = {0,          TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL,
                                     TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE};
  uint64_t n = (uint64_t)v->n_tokens;
  const struct gguf_value *types = token_array(g, TOKEN_KEY("token_type"), GGUF_I32, GGUF_U32, n, e);
  const struct gguf_value *scores = token_array(g, TOKEN_KEY("scores"), GGUF_F32, GGUF_I32, n, e);
  if (e->code) return false;
  uint8_t *attr = ARENA_NEW(a, uint8_t, (size_t)v->n_tokens);
  if (!attr) return err_set(e, ERR_OS, "no memory for a vocabulary of %d tokens", (int)v->n_tokens);
  v->attr = attr;
  for (int32_t id = 0; id < v->n_tokens; id++) {
    uint32_t type = 1;
    if (types) memcpy(&type, types->bytes.ptr + 4 * (size_t)id, sizeof type);
    attr[id] = type < ARRAY_LEN(of_type) ? of_type[type] : 0;
    /* A byte token is one only if it is written as one. */
    if ((attr[id] & TOKEN_BYTE) && token_byte_value(token_text(v, id)) < 0) attr[id] = TOKEN_NORMAL;
  }
  v->scores = scores ? scores->bytes.ptr : NULL;
  v->scores_are_ints = scores && scores->type == GGUF_I32;
  for (int32_t id = 0; scores && !v->scores_are_ints && id < v->n_tokens; id++)
    if (token_score(v, id) - token_score(v, id) != 0)
      return err_set(e, ERR_DATA, "the score of token %d is no finite number", (int)id);
  return true;
}

static bool token_load_merges(const struct gguf *g, struct vocab *v, struct arena *a, struct bk_error *e) {
  struct str key = TOKEN_KEY("merges"), merge;
  const struct gguf_value *merges = token_array(g, key, GGUF_STRING, GGUF_STRING, 0, e);
  if (!merges) return err_set(e, ERR_DATA, "key " STR_FMT " is missing, which this tokenizer needs", STR_ARG(key));
  if (merges->count > 1u << 30) return err_set(e, ERR_DATA, "key " STR_FMT " has too many elements", STR_ARG(key));
  v->n_pairs = (uint32_t)merges->count + (uint32_t)merges->count / 8 * 5 + 8; // 8 of 13 slots are taken
  struct token_pair *pairs = ARENA_NEW(a, struct token_pair, v->n_pairs);
  if (!pairs) return err_set(e, ERR_OS, "no memory for %llu merges", (unsigned long long)merges->count);
  v->pairs = pairs;
  size_t at = 0;
  for (uint32_t rank = 0; gguf_next_string(merges, &at, &merge); rank++) {
    const char *space = merge.len > 1 ? memchr(merge.ptr + 1, ' ', merge.len - 1) : NULL;
    size_t cut = space ? (size_t)(space - merge.ptr) : 0;
    if (!space || cut + 1 == merge.len)
      return err_set(e, ERR_DATA, "merge %u is \"" STR_FMT "\", expected two pieces with a space between",
                     (unsigned)rank, STR_ARG(merge));
    struct str first = str_slice(merge, 0, cut), second = str_slice(merge, cut + 1, merge.len);
    int32_t left = token_mergeable(v, first), right = token_mergeable(v, second);
    int32_t into = token_find_joined(v, first, second);
    if (left < 0 || right < 0 || into < 0 || !token_is_plain(v, into)) continue; // can never apply
    uint32_t i = (uint32_t)((bpe_pair_hash((uint32_t)left, (uint32_t)right) >> 32) * v->n_pairs >> 32);
    while (pairs[i].rank1 && (pairs[i].left != (uint32_t)left || pairs[i].right != (uint32_t)right))
      i = i + 1 == v->n_pairs ? 0 : i + 1;
    if (!pairs[i].rank1) pairs[i] = (struct token_pair){(uint32_t)left, (uint32_t)right, rank + 1, (uint32_t)into};
  }
  return true;
}

static void token_load_bytes(struct vocab *v) {
  for (int b = 0; b < 256; b++) {
    char text[8];
    int n = v->kind == TOKEN_BYTES ? utf8_encode(token_byte_char((uint8_t)b), text)
                                   : snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
    v->byte_id[b] = token_mergeable(v, (struct str){text, (size_t)n});
    if (v->byte_id[b] < 0 && v->kind != TOKEN_BYTES) {
      text[0] = (char)b;
      v->byte_id[b] = token_mergeable(v, (struct str){text, 1});
    }
  }
  for (int c = 0; c < 128; c++) v->ascii_id[c] = token_mergeable(v, (struct str){&(char){(char)c}, 1});
  for (int32_t id = 0; v->kind != TOKEN_BYTES && id < v->n_tokens; id++) {
    struct str s = token_text(v, id);
    for (size_t at = 1; at + 3 <= s.len; at++) {
      if (s.ptr[at] != '\xE2' || !bpe_is_space(s, at)) continue;
      uint8_t before = (uint8_t)s.ptr[at - 1];
      if (at < 3 || !bpe_is_space(s, at - 3)) v->space_follows[before >> 3] |= (uint8_t)(1u << (before & 7));
    }
  }
}

SMALL bool token_load_charsmap(const struct gguf *g, struct vocab *v, struct bk_error *e) {
  struct str key = TOKEN_KEY("precompiled_charsmap");
  const struct gguf_value *blob = token_array(g, key, GGUF_U8, GGUF_I8, 0, e);
  if (e->code) return false;
  if (!blob || blob->count == 0) return true;
  uint32_t size = 0;
  if (blob->bytes.len >= 4) memcpy(&size, blob->bytes.ptr, 4);
  if (blob->bytes.len < 4 || size % 4 || size >= blob->bytes.len - 4)
    return err_set(e, ERR_DATA, "key " STR_FMT " has %zu bytes, of which its own header claims %u", STR_ARG(key),
                   blob->bytes.len, (unsigned)size);
  v->charsmap = str_slice(blob->bytes, 4, 4 + (size_t)size);
  v->replacements = str_slice(blob->bytes, 4 + (size_t)size, blob->bytes.len);
  return true;
}

/* ---- loading: special ids and flags ---- */

/* An optional id. All ones (as i32, u32, i64 or u64) is none. `must`: out of range is an error, else it is ignored. */
SMALL bool token_load_id(const struct gguf *g, struct str key, bool must, const struct vocab *v, int32_t *id,
                          struct bk_error *e) {
  const struct gguf_value *value = gguf_find(g, key);
  int64_t n = 0;
  if (*id >= v->n_tokens) *id = TOKEN_NONE; // a default that this vocabulary is too small for
  if (!value) return true;
  bool whole = !value->is_array && value->type != GGUF_BOOL && gguf_int(value, 0, &n);
  bool none = n == -1 || (value->type == GGUF_U32 && n == UINT32_MAX);
  if (none) *id = TOKEN_NONE;
  else if (whole && n >= 0 && n < v->n_tokens) *id = (int32_t)n;
  else if (must && whole)
    return err_set(e, ERR_DATA, "key " STR_FMT " is %lld, but there are %d tokens", STR_ARG(key), (long long)n,
                   (int)v->n_tokens);
  else if (must)
    return err_set(e, ERR_DATA, "key " STR_FMT " is of type %s, expected an integer", STR_ARG(key),
                   gguf_type_names[value->type]);
  return true;
}

SMALL bool token_load_flag(const struct gguf *g, struct str key, bool *flag, struct bk_error *e) {
  const struct gguf_value *value = gguf_find(g, key);
  int64_t n;
  if (!value) return true;
  if (value->is_array || !gguf_int(value, 0, &n))
    return err_set(e, ERR_DATA, "key " STR_FMT " is of type %s, expected a bool", STR_ARG(key),
                   gguf_type_names[value->type]);
  *flag = n != 0;
  return true;
}

SMALL bool token_load_specials(const struct gguf *g, struct vocab *v, struct bk_error *e) {
  bool with_bos = v->pre && (v->pre->flags & PRE_NO_BOS) == 0;
  if (v->pre && !with_bos) v->bos = TOKEN_NONE;
  if (!token_load_id(g, TOKEN_KEY("cls_token_id"), false, v, &v->cls, e)) return false;
  if (v->kind == TOKEN_WORDPIECE && v->cls >= 0) v->bos = v->cls;
  if (!token_load_id(g, TOKEN_KEY("bos_token_id"), true, v, &v->bos, e) ||
      !token_load_id(g, TOKEN_KEY("eos_token_id"), true, v, &v->eos, e) ||
      !token_load_id(g, TOKEN_KEY("eot_token_id"), false, v, &v->eot, e) ||
      !token_load_id(g, TOKEN_KEY("eom_token_id"), false, v, &v->eom, e) ||
      !token_load_id(g, TOKEN_KEY("unknown_token_id"), false, v, &v->unk, e) ||
      !token_load_id(g, TOKEN_KEY("seperator_token_id"), false, v, &v->sep, e) || // spelt so in the format
      !token_load_id(g, TOKEN_KEY("padding_token_id"), false, v, &v->pad, e) ||
      !token_load_id(g, TOKEN_KEY("mask_token_id"), false, v, &v->mask, e))
    return false;
  if (v->cls < 0) v->cls = v->bos;
  if (!token_load_flag(g, TOKEN_KEY("add_bos_token"), &v->add_bos, e) ||
      !token_load_flag(g, TOKEN_KEY("add_eos_token"), &v->add_eos, e) ||
      !token_load_flag(g, TOKEN_KEY("add_sep_token"), &v->add_sep, e) ||
      !token_load_flag(g, TOKEN_KEY("add_space_prefix"), &v->add_space_prefix, e) ||
      !token_load_flag(g, TOKEN_KEY("remove_extra_whitespaces"), &v->merge_spaces, e) ||
      !token_load_flag(g, TOKEN_KEY("normalizer.lowercase"), &v->lowercase, e))
    return false;
  v->strip_accents = v->lowercase;
  if (!token_load_flag(g, TOKEN_KEY("normalizer.strip_accents"), &v->strip_accents, e)) return false;
  if (v->kind == TOKEN_CHARS && (v->pre->flags & PRE_ADD_BOS)) v->add_bos = true; // whatever the file says
  bool wordpiece = v->kind == TOKEN_WORDPIECE;
  if ((v->add_bos || wordpiece) && v->bos < 0)
    return err_set(e, ERR_DATA, "the vocabulary wants a BOS token, but key tokenizer.ggml.bos_token_id names none");
  if (v->add_eos && v->eos < 0)
    return err_set(e, ERR_DATA, "the vocabulary wants an EOS token, but key tokenizer.ggml.eos_token_id names none");
  if (wordpiece && v->sep < 0)
    return err_set(e, ERR_DATA, "the vocabulary wants a SEP token, but tokenizer.ggml.seperator_token_id names none");
  return true;
}

/* ---- loading: tokens that are what their names say ---- */

/* Names as in llama.cpp. Lists: "\n" ends a name, the first one found counts as the role's token. */
static const char token_names_eot[] = "<|eot_id|>\n<|im_end|>\n<|end|>\n<end_of_turn>\n<|endoftext|>\n"
                                      "<|end_of_text|>\n<EOT>\n_<EOT>\n[EOT]\n<｜end▁of▁sentence｜>\n<end_of_utterance>\n";
static const char token_names_eog[] = "<|eot_id|>\n<|im_end|>\n<|end|>\n<|return|>\n<|call|>\n<|flush|>\n<|calls|>\n"
                                      "<end_of_turn>\n<|endoftext|>\n</s>\n<|eom_id|>\n<EOT>\n_<EOT>\n[EOT]\n[EOS]\n"
                                      "<|end_of_text|>\n<end_of_utterance>\n<eos>\n<turn|>\n<|tool_response>\n"
                                      "<｜end▁of▁sentence｜>\n[e~[\n";
static const struct {
  struct str keys[2];
  const char *names;
  bool ends; // a generation: it marks the end of what was to be filled in
} token_roles[] = { // fill in the middle
  {{TOKEN_KEY("fim_pre_token_id"), TOKEN_KEY("prefix_token_id")},
   "<|fim_prefix|>\n<fim-prefix>\n<fim_prefix>\n<｜fim▁begin｜>\n<PRE>\n▁<PRE>\n"
   "<|code_prefix|>\n<|prefix|>\n", false},
  {{TOKEN_KEY("fim_suf_token_id"), TOKEN_KEY("suffix_token_id")},
   "<|fim_suffix|>\n<fim-suffix>\n<fim_suffix>\n<｜fim▁hole｜>\n<SUF>\n▁<SUF>\n"
   "<|code_suffix|>\n<|suffix|>\n", false},
  {{TOKEN_KEY("fim_mid_token_id"), TOKEN_KEY("middle_token_id")},
   "<|fim_middle|>\n<fim-middle>\n<fim_middle>\n<｜fim▁end｜>\n<MID>\n▁<MID>\n"
   "<|code_middle|>\n<|middle|>\n", false},
  {{TOKEN_KEY("fim_pad_token_id"), {0, 0}}, "<|fim_pad|>\n<fim-pad>\n<fim_pad>\n<PAD>\n[PAD]\n", true},
  {{TOKEN_KEY("fim_rep_token_id"), {0, 0}}, "<|fim_repo|>\n<|repo_name|>\n<fim-repo>\n<REPO>\n<reponame>\n", true},
  {{TOKEN_KEY("fim_sep_token_id"), {0, 0}}, "<|file_sep|>\n", true},
};

static struct str token_next_name(const char **names) {
  const char *end = strchr(*names, '\n');
  struct str name = {*names, end ? (size_t)(end - *names) : 0};
  *names = end ? end + 1 : *names;
  return name;
}

static void token_add_eog(struct vocab *v, int32_t id) {
  if (id >= 0 && !token_is_eog(v, id) && v->n_eog < ARRAY_LEN(v->eog)) v->eog[v->n_eog++] = id;
}

static void token_drop_eog(struct vocab *v, int32_t id) {
  for (int i = 0; i < v->n_eog; i++)
    if (v->eog[i] == id) v->eog[i--] = v->eog[--v->n_eog];
}

/* The token with the lowest id among the names becomes the role's, and control. */
SMALL void token_guess(struct vocab *v, const char *names, int32_t *id) {
  for (struct str name; (name = token_next_name(&names)).len;) {
    int32_t found = token_find(v, name);
    if (found >= 0 && (*id < 0 || found < *id)) *id = found;
  }
  if (*id >= 0) v->attr[*id] |= TOKEN_CONTROL;
}

SMALL bool token_load_roles(const struct gguf *g, struct vocab *v, struct bk_error *e) {
  if (v->eot < 0) token_guess(v, token_names_eot, &v->eot);
  if (v->eom < 0) token_guess(v, "<|eom_id|>\n", &v->eom);
  for (int i = 0; i < ARRAY_LEN(token_roles); i++) {
    int32_t id = TOKEN_NONE;
    for (int k = 0; k < 2 && token_roles[i].keys[k].len; k++)
      if (!token_load_id(g, token_roles[i].keys[k], false, v, &id, e)) return false;
    if (id < 0) token_guess(v, token_roles[i].names, &id);
    if (token_roles[i].ends) token_add_eog(v, id);
  }
  const char *names = token_names_eog;
  for (struct str name; (name = token_next_name(&names)).len;) {
    int32_t id = token_find(v, name);
    token_add_eog(v, id);
    if (id >= 0) v->attr[id] |= TOKEN_CONTROL;
  }
  return true;
}

/* The file's general.name, in lower case, contains one of the names. */
SMALL bool token_model_is(const struct gguf *g, const char *names) {
  struct str name = STR_NONE;
  char lower[256];
  gguf_string(gguf_find(g, STR("general.name")), &name);
  name = str_slice(name, 0, sizeof lower);
  for (size_t i = 0; i < name.len; i++) {
    bool upper = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z';
    lower[i] = (char)(name.ptr[i] + (upper ? 'a' - 'A' : 0));
  }
  name.ptr = lower;
  for (struct str one; (one = token_next_name(&names)).len;)
    if (str_find(name, one, 0) != SIZE_MAX) return true;
  return false;
}

/* White space beside a token that belongs to it: not in the file, so known by name, as in llama.cpp. */
SMALL void token_load_strips(const struct gguf *g, struct vocab *v) {
  int32_t mask = TOKEN_NONE;
  if (v->kind == TOKEN_UNIGRAM || (v->pre && (v->pre->flags & PRE_MASK_LSTRIP))) mask = token_find(v, STR("<mask>"));
  else if (token_model_is(g, "modern-bert\n")) mask = token_find(v, STR("[MASK]"));
  if (mask >= 0) v->attr[mask] |= TOKEN_LSTRIP;
  if (!token_model_is(g, "phi-3\nphi3\n")) return;
  for (int32_t id = 0; id < v->n_tokens; id++)
    if (v->attr[id] & (TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN)) v->attr[id] |= TOKEN_RSTRIP;
  const char *names = "<unk>\n<s>\n<|endoftext|>\n";
  for (struct str name; (name = token_next_name(&names)).len;) {
    int32_t id = token_find(v, name);
    if (id >= 0) v->attr[id] &= (uint8_t)~TOKEN_RSTRIP;
  }
}

/* Exceptions for single families, as in llama.cpp. */
SMALL void token_load_exceptions(struct vocab *v) {
  const char *names = "<|channel|>\n<|message|>\n<|start|>\n<|constrain|>\n"; // gpt-oss: structure to be seen
  for (struct str name; (name = token_next_name(&names)).len;) {
    int32_t id = token_find(v, name);
    if (id >= 0) v->attr[id] = TOKEN_USER;
  }
  token_add_eog(v, v->eos);
  token_add_eog(v, v->eot);
  token_add_eog(v, v->eom);
  bool has_call = token_find(v, STR("<|call|>")) >= 0 || token_find(v, STR("<|calls|>")) >= 0;
  int32_t end = token_find(v, STR("<|end|>")), s = token_find(v, STR("</s>"));
  if (end >= 0 && has_call && (token_find(v, STR("<|return|>")) >= 0 || token_find(v, STR("<|flush|>")) >= 0)) {
    token_drop_eog(v, end); // there it ends a message, not the turn
    v->attr[end] = TOKEN_USER;
  }
  if (s >= 0 && token_find(v, STR("<|tool_response>")) >= 0) { // gemma 4: an HTML tag
    token_drop_eog(v, s);
    v->attr[s] = TOKEN_NORMAL;
  }
}

/* ---- loading: what to search for in a text ---- */

static int token_compare(const struct vocab *v, int32_t a, int32_t b) { // bytewise, then by id
  int order = str_compare(token_text(v, a), token_text(v, b));
  return order ? order : (a > b) - (a < b);
}

static int token_compare_length(const struct vocab *v, int32_t a, int32_t b) { // the longest first, then by id
  size_t x = token_text(v, a).len, y = token_text(v, b).len;
  return x != y ? (x > y ? -1 : 1) : a < b ? -1 : a > b;
}

static void token_sink(const struct vocab *v, int32_t *ids, int i, int n,
                       int (*compare)(const struct vocab *, int32_t, int32_t)) {
  for (int child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && compare(v, ids[child + 1], ids[child]) > 0) child++;
    if (compare(v, ids[child], ids[i]) <= 0) return;
    int32_t id = ids[i];
    ids[i] = ids[child];
    ids[child] = id;
  }
}

/* Heapsort: no recursion, no allocation, n log n whatever the file holds. */
static void token_sort(const struct vocab *v, int32_t *ids, int n,
                       int (*compare)(const struct vocab *, int32_t, int32_t)) {
  for (int i = n / 2; i-- > 0;) token_sink(v, ids, i, n, compare);
  while (n-- > 1) {
    int32_t id = ids[0];
    ids[0] = ids[n];
    ids[n] = id;
    token_sink(v, ids, 0, n, compare);
  }
}

/* Where `id` is in the sorted list. */
static int token_special_place(const struct vocab *v, int32_t id, int n) {
  int lo = 0, hi = n;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (token_compare(v, v->special[mid], id) < 0) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

static bool token_load_search(struct vocab *v, struct arena *a, struct bk_error *e) {
  int n = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (int32_t id = n = 0; id < v->n_tokens; id++) {
      struct str s = token_text(v, id);
      if (!(v->attr[id] & (TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN))) continue;
      if (s.len == 0 || s.len > TOKEN_MAX_SPECIAL || token_find(v, s) != id) continue; // or a duplicate
      if (pass) v->special[n] = id;
      n++;
    }
    if (pass) break;
    v->special = ARENA_NEW(a, int32_t, (size_t)n + 1);
    v->special_rank = ARENA_NEW(a, uint32_t, (size_t)n + 1);
    if (!v->special || !v->special_rank) return err_set(e, ERR_OS, "no memory for %d special tokens", n);
  }
  struct arena rest = *a;
  int32_t *by_length = ARENA_NEW(&rest, int32_t, (size_t)n + 1);
  if (!by_length) return err_set(e, ERR_OS, "no memory for %d special tokens", n);
  memcpy(by_length, v->special, sizeof *by_length * (size_t)n);
  token_sort(v, v->special, n, token_compare);
  token_sort(v, by_length, n, token_compare_length);
  for (int i = 0; i < n; i++) v->special_rank[token_special_place(v, by_length[i], n)] = (uint32_t)i;
  v->n_special = n;
  for (int i = 0; i < n; i++) {
    bool always = !(v->attr[v->special[i]] & (TOKEN_CONTROL | TOKEN_UNKNOWN)); // not only where control tokens are parsed
    v->special_first[(uint8_t)token_text(v, v->special[i]).ptr[0]] |= always ? 2 : 1;
    v->n_searched[1]++;
    v->n_searched[0] += always;
  }
  for (int b = 0, i = 0; b < 257; b++) {
    while (i < n && (int)(uint8_t)token_text(v, v->special[i]).ptr[0] < b) i++;
    v->special_start[b] = (uint32_t)i;
  }
  return true;
}

/* ---- loading ---- */

/* Values of tokenizer.ggml.model: names of tokenizers, some of which are names of architectures as well. */
static const struct {
  const char *name;
  enum token_kind kind;
  int32_t bos, eos, unk, sep, pad, mask; // where the file does not say
} token_models[] = {
  {"gpt2", TOKEN_BYTES, 11, 11, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE}, // a tokenizer, not an architecture
  {"gemma4", TOKEN_CHARS, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE}, // likewise
  {"llama", TOKEN_SCORES, 1, 2, 0, TOKEN_NONE, TOKEN_NONE, TOKEN_NONE}, // likewise
  {"bert", TOKEN_WORDPIECE, 101, TOKEN_NONE, 100, 102, 0, 103}, // likewise
  {"t5", TOKEN_UNIGRAM, TOKEN_NONE, 1, 2, TOKEN_NONE, 0, TOKEN_NONE}, // likewise
};

SMALL bool token_load_kind(const struct gguf *g, struct vocab *v, struct bk_error *e) {
  struct str model = STR_NONE, pre = STR_NONE;
  if (!gguf_get_string(g, TOKEN_KEY("model"), &model, e))
    return err_set(e, ERR_DATA, "key tokenizer.ggml.model is missing: the file has no tokenizer");
  int m = 0;
  while (m < ARRAY_LEN(token_models) && !str_is(model, token_models[m].name)) m++;
  if (m == ARRAY_LEN(token_models)) return err_set(e, ERR_DATA, "not supported: tokenizer " STR_FMT, STR_ARG(model));
  *v = (struct vocab){.kind = token_models[m].kind, .bos = token_models[m].bos, .eos = token_models[m].eos,
                      .unk = token_models[m].unk, .sep = token_models[m].sep, .pad = token_models[m].pad,
                      .mask = token_models[m].mask, .eot = TOKEN_NONE, .eom = TOKEN_NONE, .cls = TOKEN_NONE,
                      .lowercase = true};
  v->add_bos = v->kind == TOKEN_SCORES || v->kind == TOKEN_WORDPIECE;
  v->add_sep = v->kind == TOKEN_WORDPIECE;
  v->add_eos = v->kind == TOKEN_UNIGRAM;
  v->add_space_prefix = v->kind == TOKEN_SCORES;
  if (v->kind != TOKEN_BYTES && v->kind != TOKEN_CHARS) return true;
  if (v->kind == TOKEN_CHARS) pre = model; // it is its own pre-tokenizer
  else if (!gguf_get_string(g, TOKEN_KEY("pre"), &pre, e) && e->code) return false;
  v->pre = pre_find(pre.len ? pre : STR("default"));
  if (!v->pre) return err_set(e, ERR_DATA, "not supported: pre-tokenizer " STR_FMT, STR_ARG(pre));
  if (v->pre->flags & PRE_CHARS) v->kind = TOKEN_CHARS;
  v->add_bos = (v->pre->flags & PRE_ADD_BOS) != 0;
  v->ignore_merges = (v->pre->flags & PRE_IGNORE_MERGES) != 0;
  return true;
}

static bool token_load(const struct gguf *g, struct arena *a, struct vocab **out, struct bk_error *e) {
  struct vocab *v = ARENA_NEW(a, struct vocab, 1);
  if (!v) return err_set(e, ERR_OS, "no memory for a vocabulary");
  if (!token_load_kind(g, v, e) || !token_load_texts(g, v, a, e) || !token_load_attributes(g, v, a, e) ||
      !token_load_specials(g, v, e))
    return false;
  if (!token_load_roles(g, v, e)) return false;
  token_load_exceptions(v);
  token_load_strips(g, v);
  if (v->kind != TOKEN_WORDPIECE) token_load_bytes(v);
  if (v->pre && !token_load_merges(g, v, a, e)) return false;
  if (v->kind == TOKEN_SCORES && !bpe_filter_load(v, a, e)) return false;
  if (v->kind == TOKEN_UNIGRAM && (!token_load_charsmap(g, v, e) || !unigram_load(v, a, e))) return false;
  if (v->kind == TOKEN_WORDPIECE && !wordpiece_load(v, a, e)) return false;
  if (!token_load_search(v, a, e)) return false;
  *out = v;
  return true;
}

/* ---- encoding ---- */

static bool token_full(struct token_run *r) {
  return err_set(r->e, ERR_DATA, "the text of %zu bytes gives more than %zu tokens", r->text_bytes, r->max);
}

static bool token_no_room(struct token_run *r) {
  return err_set(r->e, ERR_DATA, "the text of %zu bytes needs more memory than was planned to tokenize it", r->text_bytes);
}

static bool token_put(struct token_run *r, int32_t id) {
  if (r->n >= r->max) return token_full(r);
  r->ids[r->n++] = id;
  return true;
}

static bool token_fragment(struct token_run *r, struct str text) {
  if (text.len == 0) return true;
  switch (r->v->kind) {
  case TOKEN_BYTES: return bpe_bytes_fragment(r, text);
  case TOKEN_CHARS: return bpe_chars_fragment(r, text);
  case TOKEN_SCORES: return spm_fragment(r, text);
  case TOKEN_UNIGRAM: return unigram_fragment(r, text);
  case TOKEN_WORDPIECE: return wordpiece_fragment(r, text);
  }
  return false;
}

struct token_search { // special tokens in a text, from left to right
  const struct vocab *v;
  struct str text;
  const struct token_span *spans; // (n_spans)
  int n_spans, span; // span: the first one that ends behind the place that is looked at
  bool parse;
  int *seen;       // (n_special) places of the special tokens found in the cluster, each once
  uint8_t *marked; // (n_special) bits: in `seen` already
  int n_seen;
  size_t hits;     // places in the text, of the cluster, where some special token begins or another one does as well
};

/* May special[place] be taken from bytes beg .. end - 1? Calls come with ascending beg. */
static bool token_allowed(struct token_search *s, int place, size_t beg, size_t end) {
  int32_t id = s->v->special[place];
  if (!s->parse && (s->v->attr[id] & (TOKEN_CONTROL | TOKEN_UNKNOWN))) return false;
  if (!s->spans) return true;
  size_t at = beg;
  for (int i = s->span; at < end && i < s->n_spans && s->spans[i].beg <= at; i++)
    if (!s->spans[i].from_user && s->spans[i].end > at) at = s->spans[i].end;
  if (at >= end) return true; // all of it is trusted
  return token_is_plain(s->v, id);
}

/* Notes every special token that begins at `at`; the end of the longest, or `at`. */
static size_t token_search_at(struct token_search *s, size_t at) {
  const struct vocab *v = s->v;
  uint8_t first = (uint8_t)s->text.ptr[at];
  int lo = (int)v->special_start[first], hi = (int)v->special_start[first + 1];
  size_t end = at;
  while (s->span < s->n_spans && s->spans[s->span].end <= at) s->span++;
  for (size_t depth = 1; lo < hi; depth++) { // special[lo .. hi - 1] agree with the text in `depth` bytes
    if (token_text(v, v->special[lo]).len == depth) {
      if (token_allowed(s, lo, at, at + depth)) {
        end = at + depth;
        s->hits++;
        if (!(s->marked[lo >> 3] >> (lo & 7) & 1)) s->seen[s->n_seen++] = lo;
        s->marked[lo >> 3] |= (uint8_t)(1u << (lo & 7));
      }
      lo++;
    }
    if (at + depth >= s->text.len) break;
    uint8_t c = (uint8_t)s->text.ptr[at + depth];
    int bound[2] = {lo, hi}; // of those that have c next: ahead of the first with a byte of at least c, of c + 1
    for (int side = 0; side < 2 && lo < hi; side++) {
      if ((uint8_t)token_text(v, v->special[side ? hi - 1 : lo]).ptr[depth] == c) continue; // in a run of blanks always
      for (int a = lo, z = hi; a < z; bound[side] = a) {
        int mid = (a + z) / 2;
        if ((uint8_t)token_text(v, v->special[mid]).ptr[depth] < c + side) a = mid + 1;
        else z = mid;
      }
    }
    lo = bound[0];
    hi = bound[1];
  }
  return end;
}

/* ---- special tokens and what lies between ---- */

struct token_walk {
  struct token_run *run;
  struct token_search *search;
  size_t done; // text before this is encoded
};

static bool token_is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The text up to `beg`, then the special token that stands at beg .. end - 1. */
static bool token_emit(struct token_walk *w, size_t beg, size_t end, int32_t id) {
  struct str text = w->search->text;
  uint8_t attr = w->run->v->attr[id];
  size_t stop = beg;
  if (beg < w->done) return true; // swallowed as white space of the one before
  while ((attr & TOKEN_LSTRIP) && stop > w->done && token_is_blank(text.ptr[stop - 1])) stop--;
  if (!token_fragment(w->run, str_slice(text, w->done, stop)) || !token_put(w->run, id)) return false;
  while ((attr & TOKEN_RSTRIP) && end < text.len && token_is_blank(text.ptr[end])) end++;
  w->done = end;
  return true;
}

/* Several special tokens overlap in text beg .. end - 1 (a run of blanks, say): the longest are placed first, each as
 * often as it fits from the left, then the shorter ones into what is left. */
static bool token_emit_cluster(struct token_walk *w, size_t beg, size_t end, int span) {
  struct token_search *s = w->search;
  struct arena *scratch = &w->run->scratch;
  char *scratch_end = scratch->end; // `owner` is taken from the end: what is encoded below keeps the beginning
  size_t room = (size_t)(scratch_end - scratch->beg) / sizeof(int32_t);
  if (room < end - beg + 1) return token_no_room(w->run);
  scratch->end -= (uintptr_t)scratch_end % sizeof(int32_t) + (end - beg) * sizeof(int32_t);
  int32_t *owner = (int32_t *)(void *)scratch->end; // place + 1 where a token begins, -1 where it goes on, 0 free
  memset(owner, 0, (end - beg) * sizeof *owner);
  for (int i = 1; i < s->n_seen; i++) // by rank; few
    for (int k = i; k > 0 && s->v->special_rank[s->seen[k]] < s->v->special_rank[s->seen[k - 1]]; k--) {
      int place = s->seen[k];
      s->seen[k] = s->seen[k - 1];
      s->seen[k - 1] = place;
    }
  for (int i = 0; i < s->n_seen; i++) {
    struct str special = token_text(s->v, s->v->special[s->seen[i]]);
    s->span = span;
    for (size_t at = beg; at < end && special.len <= end - at; at++) {
      while (s->span < s->n_spans && s->spans[s->span].end <= at) s->span++;
      if (owner[at - beg] || memcmp(s->text.ptr + at, special.ptr, special.len) != 0) continue;
      size_t taken = 1;
      while (taken < special.len && owner[at - beg + taken] == 0) taken++;
      if (taken < special.len || !token_allowed(s, s->seen[i], at, at + special.len)) continue;
      for (size_t k = 1; k < special.len; k++) owner[at - beg + k] = -1;
      owner[at - beg] = s->seen[i] + 1;
      at += special.len - 1;
    }
  }
  for (size_t at = beg; at < end; at++) {
    if (owner[at - beg] <= 0) continue;
    int32_t id = s->v->special[owner[at - beg] - 1];
    if (!token_emit(w, at, at + token_text(s->v, id).len, id)) return false;
  }
  scratch->end = scratch_end;
  return true;
}

static bool token_walk_text(struct token_walk *w) {
  struct token_search *s = w->search;
  const uint8_t *first = s->v->special_first, wanted = s->parse ? 3 : 2;
  for (size_t at = s->v->n_searched[s->parse] ? 0 : s->text.len; at < s->text.len;) {
    if (!(first[(uint8_t)s->text.ptr[at]] & wanted)) {
      at++;
      continue;
    }
    s->n_seen = 0;
    s->hits = 0;
    size_t end = token_search_at(s, at);
    int span = s->span;
    for (size_t p = at + 1; p < end; p++) {
      size_t further = token_search_at(s, p);
      if (further > end) end = further;
    }
    for (int i = 0; i < s->n_seen; i++) s->marked[s->seen[i] >> 3] = 0;
    if (s->hits == 1) {
      if (!token_emit(w, at, end, s->v->special[s->seen[0]])) return false;
    } else if (s->hits > 1 && !token_emit_cluster(w, at, end, span)) {
      return false;
    }
    at = end > at ? end : at + 1;
    if (at < w->done) at = w->done;
  }
  return token_fragment(w->run, str_slice(s->text, w->done, s->text.len));
}

static bool token_encode_spans(const struct vocab *v, struct str text, const struct token_span *spans, int n_spans,
                               struct token_options o, struct arena scratch, int32_t *ids, int max_ids, int *n_ids,
                               struct bk_error *e) {
  struct token_run run = {.v = v, .scratch = scratch, .ids = ids, .max = max_ids > 0 ? (size_t)max_ids : 0, .e = e,
                          .text_bytes = text.len};
  *n_ids = 0;
  if (text.len > TOKEN_MAX_INPUT)
    return err_set(e, ERR_DATA, "a text of %zu bytes, at most %d can be tokenized at once", text.len, TOKEN_MAX_INPUT);
  struct token_search search = {.v = v, .text = text, .spans = spans, .n_spans = n_spans, .parse = o.parse_special};
  search.seen = arena_raw(&run.scratch, (size_t)v->n_special, sizeof *search.seen, sizeof *search.seen);
  search.marked = ARENA_NEW(&run.scratch, uint8_t, (size_t)v->n_special / 8 + 1);
  if (!search.seen || !search.marked) return token_no_room(&run);
  if (v->kind != TOKEN_WORDPIECE && text.len > BPE_SHORT) bpe_cache_start(&run);
  struct token_walk walk = {&run, &search, 0};
  bool wordpiece = v->kind == TOKEN_WORDPIECE, ok = true;
  if (o.add_special && (v->add_bos || wordpiece)) ok = token_put(&run, v->bos);
  ok = ok && token_walk_text(&walk);
  if (ok && o.add_special && wordpiece) ok = token_put(&run, v->sep);
  else if (ok && o.add_special && v->add_eos) ok = token_put(&run, v->eos);
  if (ok) *n_ids = (int)run.n;
  return ok;
}

static bool token_encode(const struct vocab *v, struct str text, struct token_options o, struct arena scratch,
                         int32_t *ids, int max_ids, int *n_ids, struct bk_error *e) {
  return token_encode_spans(v, text, NULL, 0, o, scratch, ids, max_ids, n_ids, e);
}

static size_t token_bound(const struct vocab *v, size_t text_bytes) {
  if (v->kind == TOKEN_BYTES || v->kind == TOKEN_WORDPIECE) return text_bytes + 2; // at most one for a byte
  return 5 * text_bytes + 5; // a space is three bytes, and one may come in front of every fragment
}

static size_t token_scratch(const struct vocab *v, size_t text_bytes) {
  size_t fixed = (size_t)v->n_special * 5 + BPE_CACHE_MAX * sizeof(struct token_cached) + 1024;
  size_t owner = 4 * text_bytes; // token_emit_cluster
  switch (v->kind) {
  case TOKEN_BYTES: return fixed + owner + BPE_LONG_BYTES * text_bytes;
  case TOKEN_WORDPIECE: return fixed + owner;
  case TOKEN_UNIGRAM: // see token_bound
    return fixed + BPE_CACHE_MAX * UNIGRAM_CACHED_BYTES + owner + (5 * text_bytes + 8) * (1 + sizeof(struct unigram_best));
  default: return fixed + owner + 5 * text_bytes + BPE_LONG_BYTES * (text_bytes + 1);
  }
}

/* ---- decoding ---- */

static void token_piece(const struct vocab *v, int32_t id, struct buf *out) {
  struct str s = token_text(v, id);
  if (s.len == 0) return;
  uint8_t attr = v->attr[id];
  if (attr & (TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN)) {
    buf_put(out, s);
  } else if (attr & TOKEN_BYTE) {
    buf_byte(out, (char)token_byte_value(s));
  } else if (!(attr & TOKEN_NORMAL)) {
    return; // unused, undefined: stands for nothing
  } else if (v->kind == TOKEN_BYTES) {
    for (size_t at = 0, beg = 0; at < s.len; beg = at) {
      int byte = token_char_byte(utf8_decode(s, &at));
      if (byte >= 0) buf_byte(out, (char)byte);
      else buf_put(out, str_slice(s, beg, at)); // not of the alphabet: stands for itself
    }
  } else {
    for (size_t at = 0, hit; at < s.len; at = hit + 3) {
      hit = str_find(s, TOKEN_SPACE, at);
      buf_put(out, str_slice(s, at, hit));
      if (hit == SIZE_MAX) return;
      buf_byte(out, ' ');
    }
  }
}

static struct token_stream token_stream_start(const struct vocab *v, bool special, bool at_start) {
  bool strips = v->add_space_prefix || v->kind == TOKEN_WORDPIECE;
  return (struct token_stream){.vocab = v, .special = special, .at_start = at_start && strips};
}

/* Replaces the byte at `at` by U+FFFD. */
static void token_stream_replace(struct buf *out, size_t at) {
  if (out->cap - out->len < 2) {
    out->len = at;
    out->full = true;
    return;
  }
  memmove(out->ptr + at + 3, out->ptr + at + 1, out->len - at - 1);
  memcpy(out->ptr + at, "\xEF\xBF\xBD", 3);
  out->len += 2;
}

static void token_stream_put(struct token_stream *s, int32_t id, struct buf *out) {
  if (!s->special && token_is_control(s->vocab, id)) return;
  size_t start = out->len, at = start;
  buf_put(out, (struct str){s->held, (size_t)s->n_held});
  token_piece(s->vocab, id, out);
  if (s->at_start && out->len > start) {
    s->at_start = false;
    if (out->ptr[start] == ' ') memmove(out->ptr + start, out->ptr + start + 1, --out->len - start);
  }
  size_t whole = start + utf8_whole(str_slice(buf_str(out), start, out->len));
  s->n_held = (int)(out->len - whole);
  memcpy(s->held, out->ptr + whole, out->len - whole);
  out->len = whole;
  while (at < out->len) {
    size_t next = at;
    if (utf8_decode(buf_str(out), &next) == UTF8_BAD) {
      token_stream_replace(out, at);
      next = at + 3;
    }
    at = next;
  }
}

static void token_stream_end(struct token_stream *s, struct buf *out) {
  if (s->n_held) buf_put(out, STR("\xEF\xBF\xBD"));
  s->n_held = 0;
}
