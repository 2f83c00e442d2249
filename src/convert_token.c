/* convert_token.c -- the tokenizer of a Hugging Face folder -> the keys tokenizer.* of a GGUF file.
 *
 * In: tokenizer.json, or a SentencePiece model, or vocab.json with merges.txt, or vocab.txt; and beside them
 * tokenizer_config.json, special_tokens_map.json, added_tokens.json, config.json, generation_config.json and chat
 * templates. Out: keys as the public converter writes them, but a pre-tokenizer is known by its expressions and not by a
 * hash. What the format cannot say is refused, not dropped. Files are walked, not kept as trees, where they are large.
 * SPDX-License-Identifier: MIT */

enum {
  TOKENIZER_FILE_MAX = 128 << 20, // bytes; the largest known is 35 MB
  TOKENIZER_STAGES = 4096,        // bytes of the expressions of a pre-tokenizer
  TOKENIZER_CUTS = 512            // bytes of a token all of whose cuts in two are looked at
};

struct tokenizer_piece {
  struct str text;
  float score;
  uint32_t splits;  // merges that make it
  uint8_t type;     // tokenizer.ggml.token_type; 0: the id has no token
};
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE }; // SentencePiece's numbers, too

enum { SPECIAL_BOS, SPECIAL_EOS, SPECIAL_UNK, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_CLS, SPECIAL_MASK, SPECIAL_EOT, SPECIAL_EOM, SPECIALS };
static const struct {
  const char *name, *key; // as Hugging Face and as GGUF say it
} tokenizer_specials[SPECIALS] = {
  {"bos", "bos"}, {"eos", "eos"}, {"unk", "unknown"}, {"sep", "seperator"}, {"pad", "padding"}, {"cls", "cls"}, {"mask", "mask"},
  {"eot", "eot"}, {"eom", "eom"}};

struct tokenizer_spm { // a SentencePiece model
  struct str file, charsmap;
  uint64_t kind; // 1: unigram, 2: BPE
  bool prefix, merge_spaces, byte_fallback;
  int64_t ids[SPECIALS]; // -1: none
  int64_t shift;         // of the ids, for a model that was trained with another toolkit
};

struct tokenizer {
  const char *dir;
  struct convert_keys *keys;
  struct arena *scratch;
  struct bk_error *e;
  const struct json *file, *config, *map, *added, *model, *generation; // NULL: not there
  struct str text;          // of tokenizer.json or vocab.json
  struct str merges, words; // merges.txt, vocab.txt
  struct tokenizer_spm spm;
  enum token_kind kind;
  struct tokenizer_piece *pieces; // (n); NULL while they are counted
  int32_t n, n_model;             // n_model: ids that the model itself names
  uint32_t *index, index_size;    // ids by text, open addressing, UINT32_MAX is free
  uint32_t rank;
  int32_t last;                   // what the merge before made
  bool scattered;                 // merges of one token do not follow each other
  int64_t unk;
  /* what normalizer and pre-tokenizer do */
  struct buf stages;              // expressions, '\n' behind each
  struct str charsmap;
  bool byte_level, bert, spaces, prefix, merge_spaces, lowercase;
  int strip_accents;              // -1: as lowercase
  /* what is put around a text */
  struct str special[SPECIALS];
  int add[SPECIALS];              // -1: not said
};

/* ---- files ---- */

static bool tokenizer_read(struct tokenizer *t, const char *name, struct str *out) { // empty if there is none
  char path[OS_PATH];
  *out = STR_NONE;
  if ((size_t)snprintf(path, sizeof path, "%s/%s", t->dir, name) >= sizeof path)
    return err_set(t->e, ERR_USAGE, "the name of the folder is too long");
  return !os_is_file(path) || os_read_file(path, TOKENIZER_FILE_MAX, t->scratch, out, t->e);
}

static bool tokenizer_json(struct tokenizer *t, const char *name, const struct json **out) {
  struct str text;
  struct json *tree = NULL;
  if (!tokenizer_read(t, name, &text) || (text.len && !json_parse_held(text, " vocab merges ", t->scratch, &tree, t->e))) {
    err_prefix(t->e, name);
    return false;
  }
  *out = tree;
  if (out == &t->file) t->text = text;
  return true;
}

static bool tokenizer_refuse(struct tokenizer *t, const char *what, struct str name) {
  return err_set(t->e, ERR_DATA, "not supported: %s " STR_FMT, what, STR_ARG(name));
}

static bool tokenizer_no_room(struct tokenizer *t) {
  return err_set(t->e, ERR_OS, "no memory for a vocabulary of %d tokens", (int)t->n);
}

static struct str tokenizer_string(const struct json *object, const char *key) { // also of {"content": "..."}
  const struct json *v = json_get(object, key);
  if (v && v->type == JSON_OBJECT) v = json_get(v, "content");
  return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

static bool tokenizer_flag(const struct json *object, const char *key, bool otherwise) {
  const struct json *v = json_get(object, key);
  return v && v->type == JSON_BOOL ? v->boolean : otherwise;
}

static int64_t tokenizer_int(const struct json *object, const char *key) { // -1: none
  const struct json *v = json_get(object, key);
  return v && v->type == JSON_INT ? v->integer : -1;
}

static int64_t tokenizer_config_int(const struct tokenizer *t, const char *key) { // of config.json or its part about text
  int64_t n = tokenizer_int(t->model, key);
  return n >= 0 ? n : tokenizer_int(json_get(t->model, "text_config"), key);
}

static bool tokenizer_base64(struct tokenizer *t, struct str s, struct str *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  struct buf b = buf_new(t->scratch, s.len / 4 * 3 + 4);
  uint32_t bits = 0;
  int n = 0;
  while (s.len && s.ptr[s.len - 1] == '=') s.len--;
  for (size_t i = 0; i < s.len; i++) {
    const char *digit = s.ptr[i] ? strchr(digits, s.ptr[i]) : NULL;
    if (!digit) return err_set(t->e, ERR_DATA, "precompiled_charsmap is not in base64: byte %zu of it", i);
    bits = bits << 6 | (uint32_t)(digit - digits);
    n += 6;
    if (n >= 8) buf_byte(&b, (char)(bits >> (n -= 8)));
  }
  *out = buf_str(&b);
  return !b.full || tokenizer_no_room(t);
}

/* ---- a SentencePiece model: messages of protocol buffers, read through a cursor whose first error sticks ---- */

struct tokenizer_proto {
  struct str text, bytes; // bytes: of the field, or its number as it is stored
  size_t pos;
  uint64_t field, number;
  bool bad;
};

static uint64_t tokenizer_varint(struct tokenizer_proto *p) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && p->pos < p->text.len; shift += 7) {
    uint8_t byte = (uint8_t)p->text.ptr[p->pos++];
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  p->bad = true;
  return 0;
}

static bool tokenizer_field(struct tokenizer_proto *p) { // the next one; false at the end, and where something is wrong
  if (p->bad || p->pos == p->text.len) return false;
  uint64_t tag = tokenizer_varint(p), size = 0;
  p->field = tag >> 3;
  size_t beg = p->pos;
  switch (tag & 7) {
  case 0: p->number = tokenizer_varint(p); break;
  case 1: size = 8; break;
  case 2: size = tokenizer_varint(p), beg = p->pos; break;
  case 5: size = 4; break;
  default: p->bad = true;
  }
  if (size > p->text.len - p->pos) p->bad = true;
  else p->pos += (size_t)size;
  p->bytes = str_slice(p->text, beg, p->pos);
  return !p->bad;
}

static bool tokenizer_set(struct tokenizer *t, int64_t id, struct str text, float score, int type);

/* The pieces, and what the trainer and the normalizer were told. */
static bool tokenizer_read_spm(struct tokenizer *t) {
  struct tokenizer_proto file = {.text = t->spm.file};
  struct tokenizer_spm *spm = &t->spm;
  bool bad = false;
  int64_t id = 0;
  while (tokenizer_field(&file)) {
    struct tokenizer_proto p = {.text = file.bytes};
    struct str text = STR_NONE;
    uint32_t score = 0, type = PIECE_NORMAL;
    while (file.field <= 3 && tokenizer_field(&p)) {
      if (file.field == 1 && p.field == 1) text = p.bytes;
      if (file.field == 1 && p.field == 2 && p.bytes.len == 4) memcpy(&score, p.bytes.ptr, 4);
      if (file.field == 1 && p.field == 3) type = p.number <= PIECE_BYTE ? (uint32_t)p.number : 0;
      if (file.field == 2 && p.field == 3) spm->kind = p.number;
      if (file.field == 2 && p.field == 35) spm->byte_fallback = p.number != 0;
      for (int i = 0; file.field == 2 && i < 4; i++)
        if (p.field == 40 + (uint64_t)i) spm->ids[(int[]){SPECIAL_UNK, SPECIAL_BOS, SPECIAL_EOS, SPECIAL_PAD}[i]] = (int32_t)p.number;
      if (file.field == 3 && p.field == 2) spm->charsmap = p.bytes;
      if (file.field == 3 && p.field == 3) spm->prefix = p.number != 0;
      if (file.field == 3 && p.field == 4) spm->merge_spaces = p.number != 0;
    }
    bad = bad || p.bad;
    if (file.field != 1 || bad) continue;
    if (id >= 3 || !spm->shift) {
      if (type == PIECE_UNKNOWN) t->unk = id + spm->shift;
      if (!tokenizer_set(t, id + spm->shift, text, f32_from_bits(score), (int)type)) return false;
    }
    id++;
  }
  if (bad || file.bad || id == 0) return err_set(t->e, ERR_DATA, "not supported: a file tokenizer.model that is no SentencePiece model");
  static const char *const first[] = {"<s>", "<pad>", "</s>", "<unk>"}; // in place of the model's <unk>, <s>, </s>
  for (int i = 0; i < 4 && spm->shift; i++)
    if (!tokenizer_set(t, i, str_from(first[i]), 0, i == 3 ? PIECE_UNKNOWN : PIECE_CONTROL)) return false;
  if (!spm->shift) return true;
  t->unk = 3;
  return tokenizer_set(t, id + 1, STR("<mask>"), 0, PIECE_CONTROL);
}

/* ---- what a text meets before it is cut into tokens ---- */

#define TOKENIZER_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"
#define TOKENIZER_SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TOKENIZER_WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define TOKENIZER_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+\n"
#define TOKENIZER_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define TOKENIZER_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TOKENIZER_CASED(end) "[^\\r\\n\\p{L}\\p{N}]?" TOKENIZER_UPPER "*" TOKENIZER_LOWER "+" end \
                             "|[^\\r\\n\\p{L}\\p{N}]?" TOKENIZER_UPPER "+" TOKENIZER_LOWER "*" end
#define TOKENIZER_CASED_REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"
#define TOKENIZER_BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+\n"

/* Expressions in the order of the pre-tokenizer, and names for them (token_pre.c) that differ in their flags. Some are also
 * names of architectures; here they name tokenizers. */
static const struct {
  const char *names, *stages;
} tokenizer_pres[] = {
  {"gpt-2 jina-v2-code", TOKENIZER_GPT2},
  {"llama-bpe dbrx", TOKENIZER_SHORT "|" TOKENIZER_WORD "|\\p{N}{1,3}" TOKENIZER_REST},
  {"qwen2", TOKENIZER_SHORT "|" TOKENIZER_WORD "|\\p{N}" TOKENIZER_REST},
  {"qwen35", TOKENIZER_SHORT "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
             "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"},
  {"laguna", "[^\\n]+|[\\n]+\n" TOKENIZER_SHORT "|" TOKENIZER_WORD "|\\p{N}" TOKENIZER_REST},
  {"ufakzeka", TOKENIZER_WORD "|\\p{N}" TOKENIZER_REST},
  {"minicpm5", "\\p{N}{1,3}\n" TOKENIZER_SHORT "|" TOKENIZER_WORD "|\\p{N}+" TOKENIZER_REST},
  {"seed-coder", TOKENIZER_SHORT "|" TOKENIZER_WORD "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"},
  {"starcoder", "\\p{N}\n" TOKENIZER_GPT2},
  {"falcon", "punctuation\n" TOKENIZER_GPT2 "\\p{N}+\n[0-9][0-9][0-9]\n"},
  {"deepseek-llm",
   "[\\r\\n]\n\\s?[A-Za-z"
   "µÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿ"
   "ᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-"
   "Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-"
   "ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-"
   "𑣟𞤀-𞥃"
   "]+\n\\s?[!-/:-~！-／：-～‘-‟　-。]+\n\\s+$\n[一-龥ࠀ-一가-퟿]+\n\\p{N}\n"},
  {"deepseek-coder", "[\\r\\n]\n\\s?\\p{L}+\n\\s?\\p{P}+\n[一-龥ࠀ-一가-퟿]+\n\\p{N}\n"},
  {"deepseek-v3", "\\p{N}{1,3}\n[一-龥぀-ゟ゠-ヿ]+\n[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                  "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"},
  {"tekken", TOKENIZER_CASED("") "|\\p{N}" TOKENIZER_CASED_REST},
  {"gpt-4o granite-embed-multi-97m", TOKENIZER_CASED(TOKENIZER_SHORT "?") "|\\p{N}{1,3}" TOKENIZER_CASED_REST},
  {"bloom", TOKENIZER_BLOOM}, {"viking", TOKENIZER_BLOOM "\\p{N}\n"}};

/* Other spellings of the same: the first may stand in a tokenizer.json, the second stands above. */
static const char *const tokenizer_spellings[][2] = {
  {"\r", "\\r"}, {"\n", "\\n"}, {"?+", "?"}, {"++", "+"}, {"{1}", ""}, {"'(?i:[sdmt]|ll|ve|re)", TOKENIZER_SHORT},
  {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", TOKENIZER_SHORT}, {"\\s*[\\r\\n]|", "\\s*[\\r\\n]+|"},
  {" ?[^(\\s|[.,!?…。，、।۔،])]+", " ?[^(\\s|.,!?…。，、।۔،)]+"}};

static void tokenizer_put_stage(struct buf *b, struct str regex) {
  for (size_t at = 0; at < regex.len;) {
    int i = 0;
    struct str from = STR_NONE;
    for (; i < ARRAY_LEN(tokenizer_spellings); i++)
      if (str_starts(str_slice(regex, at, regex.len), from = str_from(tokenizer_spellings[i][0]))) break;
    if (i < ARRAY_LEN(tokenizer_spellings)) {
      buf_put(b, str_from(tokenizer_spellings[i][1]));
      at += from.len;
    } else {
      buf_byte(b, regex.ptr[at++]);
    }
  }
  buf_byte(b, '\n');
}

static bool tokenizer_is_space_mark(struct str s) { return str_eq(s, TOKEN_SPACE); }

static bool tokenizer_replace(struct tokenizer *t, const struct json *step) { // " " by U+2581, or a run of them by one
  const struct json *pattern = json_get(step, "pattern");
  struct str regex = tokenizer_string(pattern, "Regex"), content = tokenizer_string(step, "content");
  bool mark = tokenizer_is_space_mark(content);
  if (str_is(tokenizer_string(pattern, "String"), " ") && mark) return t->spaces = true;
  if (str_is(regex, " {2,}") && (mark || str_is(content, " "))) return t->merge_spaces = true;
  return tokenizer_refuse(t, "normalizer", STR("Replace of something else than spaces"));
}

static bool tokenizer_split(struct tokenizer *t, const struct json *step) {
  const struct json *pattern = json_get(step, "pattern");
  struct str regex = tokenizer_string(pattern, "Regex"), behavior = tokenizer_string(step, "behavior");
  bool invert = tokenizer_flag(step, "invert", false);
  if (str_is(tokenizer_string(pattern, "String"), " ")) return true; // never met: the normalizer has replaced all
  if (regex.len && (str_is(behavior, "Isolated") || (str_is(behavior, "Removed") && invert))) {
    tokenizer_put_stage(&t->stages, regex);
    return true;
  }
  return tokenizer_refuse(t, "pre-tokenizer Split with behavior", behavior);
}

static bool tokenizer_metaspace(struct tokenizer *t, const struct json *step) {
  struct str scheme = tokenizer_string(step, "prepend_scheme"), mark = tokenizer_string(step, "replacement");
  if (!tokenizer_is_space_mark(mark)) return tokenizer_refuse(t, "pre-tokenizer Metaspace with", mark);
  t->spaces = true;
  t->prefix = scheme.len ? !str_is(scheme, "never") : tokenizer_flag(step, "add_prefix_space", true);
  return true;
}

static bool tokenizer_bert(struct tokenizer *t, const struct json *step) {
  const struct json *strip = json_get(step, "strip_accents");
  t->lowercase = tokenizer_flag(step, "lowercase", true);
  t->strip_accents = strip && strip->type == JSON_BOOL ? strip->boolean : -1;
  return (tokenizer_flag(step, "clean_text", true) && tokenizer_flag(step, "handle_chinese_chars", true)) ||
         tokenizer_refuse(t, "normalizer", STR("BertNormalizer that keeps control characters or words of Chinese"));
}

static bool tokenizer_bytes(struct tokenizer *t, const struct json *step) {
  t->byte_level = true;
  if (tokenizer_flag(step, "use_regex", true)) buf_put(&t->stages, STR(TOKENIZER_GPT2));
  return !tokenizer_flag(step, "add_prefix_space", true) || tokenizer_refuse(t, "pre-tokenizer", STR("ByteLevel with add_prefix_space"));
}

/* One step of a normalizer or a pre-tokenizer; sequences nest no deeper than JSON does. */
static bool tokenizer_step(struct tokenizer *t, const struct json *step, const char *what) {
  static const char *const lists[] = {"normalizers", "pretokenizers"};
  if (!step || step->type == JSON_NULL) return true;
  struct str type = tokenizer_string(step, "type");
  if (str_is(type, "Sequence")) {
    for (int i = 0; i < 2; i++) {
      const struct json *list = json_get(step, lists[i]);
      for (const struct json *one = list ? list->first : NULL; one; one = one->next)
        if (!tokenizer_step(t, one, what)) return false;
    }
    return true;
  }
  if (str_is(type, "Replace")) return tokenizer_replace(t, step);
  if (str_is(type, "Split")) return tokenizer_split(t, step);
  if (str_is(type, "Metaspace")) return tokenizer_metaspace(t, step);
  if (str_is(type, "BertNormalizer")) return tokenizer_bert(t, step);
  if (str_is(type, "ByteLevel")) return tokenizer_bytes(t, step);
  if (str_is(type, "Precompiled")) return tokenizer_base64(t, tokenizer_string(step, "precompiled_charsmap"), &t->charsmap);
  if (str_is(type, "Prepend") && tokenizer_is_space_mark(tokenizer_string(step, "prepend"))) return t->prefix = true;
  if (str_is(type, "WhitespaceSplit") && t->kind == TOKEN_UNIGRAM) return t->merge_spaces = true;
  if (str_is(type, "BertPreTokenizer")) return t->bert = true;
  if (str_is(type, "NFC") && t->kind == TOKEN_BYTES) return true; // most text is; the format cannot say it
  if (str_is(type, "Strip") && t->kind == TOKEN_UNIGRAM && !tokenizer_flag(step, "strip_left", true)) return true; // runs of spaces end so
  if (str_is(type, "Digits")) {
    tokenizer_put_stage(&t->stages, tokenizer_flag(step, "individual_digits", false) ? STR("\\p{N}") : STR("\\p{N}+"));
    return true;
  }
  if (str_is(type, "Punctuation") && str_is(tokenizer_string(step, "behavior"), "Contiguous")) {
    buf_put(&t->stages, STR("punctuation\n"));
    return true;
  }
  return tokenizer_refuse(t, what, type);
}

/* The first name whose flags are those of this tokenizer. */
static bool tokenizer_pre(struct tokenizer *t, struct str *name) {
  struct str stages = buf_str(&t->stages);
  bool strip = false;
  const struct json *added = json_get(t->file, "added_tokens");
  for (const struct json *one = added ? added->first : NULL; one; one = one->next)
    strip |= str_is(tokenizer_string(one, "content"), "<mask>") && tokenizer_flag(one, "lstrip", false);
  int want = tokenizer_flag(json_get(t->file, "model"), "ignore_merges", false) ? PRE_IGNORE_MERGES : 0;
  for (int pass = 0; pass < 2; pass++) // if need be without what is said about a mask
    for (int i = 0; i < ARRAY_LEN(tokenizer_pres); i++) {
      struct str names = str_from(tokenizer_pres[i].names);
      if (!str_is(stages, tokenizer_pres[i].stages) || t->stages.full) continue;
      for (size_t at = 0; at < names.len; at += name->len + 1) {
        size_t end = str_find(names, STR(" "), at);
        *name = str_slice(names, at, end);
        int flags = pre_find(*name)->flags, mask = PRE_IGNORE_MERGES | (pass ? 0 : PRE_MASK_LSTRIP);
        if ((flags & mask) == ((want | (strip ? PRE_MASK_LSTRIP : 0)) & mask)) return true;
      }
    }
  for (size_t i = 0; i < stages.len; i++)
    if (stages.ptr[i] == '\n') t->stages.ptr[i] = ' ';
  return tokenizer_refuse(t, want ? "pre-tokenizer with ignore_merges" : "pre-tokenizer", stages);
}

/* ---- the pieces ---- */

static bool tokenizer_set(struct tokenizer *t, int64_t id, struct str text, float score, int type) {
  if (id < 0 || id >= TOKEN_MAX_COUNT || text.len > TOKEN_MAX_TEXT)
    return err_set(t->e, ERR_DATA, "token \"" STR_FMT "\" of %zu bytes has the id %lld; expected at most %d bytes and an id below %d",
                   STR_ARG(str_slice(text, 0, 40)), text.len, (long long)id, TOKEN_MAX_TEXT, TOKEN_MAX_COUNT);
  if (t->pieces && id < t->n) t->pieces[id] = (struct tokenizer_piece){text, score, 0, (uint8_t)type};
  else if (!t->pieces && id >= t->n) t->n = (int32_t)id + 1;
  return true;
}

/* Hugging Face marks some as not special which are. */
static bool tokenizer_looks_special(struct str s) {
  static const char *const marks[][2] = {{"<|", "|>"}, {"<｜", "｜>"}, {"<unused", ">"}};
  for (int i = 0; i < ARRAY_LEN(marks); i++)
    if (str_starts(s, str_from(marks[i][0])) && str_ends(s, str_from(marks[i][1]))) return true;
  return str_is(s, "<pad>") || str_is(s, "<mask>") || str_is(s, "<2mass>") || str_is(s, "[@BOS@]");
}

/* A token that is looked for in the text before anything else. */
static bool tokenizer_add(struct tokenizer *t, int64_t id, struct str text, bool special) {
  int type = special || tokenizer_looks_special(text) ? PIECE_CONTROL : PIECE_USER;
  if (id >= 0 && id == t->unk) type = PIECE_UNKNOWN;
  if (type == PIECE_USER && str_find(text, TOKEN_SPACE, 0) != SIZE_MAX) { // as it stands in a text
    struct buf b = buf_new(t->scratch, text.len);
    for (size_t at = 0; at < text.len;) {
      bool space = str_starts(str_slice(text, at, text.len), TOKEN_SPACE);
      buf_byte(&b, space ? ' ' : text.ptr[at]);
      at += space ? TOKEN_SPACE.len : 1;
    }
    text = buf_str(&b);
  }
  return tokenizer_set(t, id, text, -1000, type);
}

static bool tokenizer_add_all(struct tokenizer *t) {
  const struct json *list = json_get(t->file, "added_tokens");
  if (!t->file && t->added && t->added->type == JSON_OBJECT)
    for (const struct json *m = t->added->first; m; m = m->next)
      if (m->type == JSON_INT && !tokenizer_add(t, m->integer, m->key, false)) return false;
  if (!t->file) list = json_get(t->config, "added_tokens_decoder"); // an object of them by id
  for (const struct json *m = list ? list->first : NULL; m; m = m->next) {
    int64_t id = tokenizer_int(m, "id");
    if (!t->file && !str_to_int(m->key, &id)) id = -1;
    if (!tokenizer_add(t, id, tokenizer_string(m, "content"), tokenizer_flag(m, "special", false))) return false;
  }
  return true;
}

/* {"text": id, ...} of BPE and WordPiece */
static bool tokenizer_vocab_ids(struct tokenizer *t, struct json_reader *r) {
  struct json_walk walk = json_walk_start(r, JSON_OBJECT);
  while (json_walk_next(&walk)) {
    struct str text = walk.child.key;
    bool byte = t->kind == TOKEN_SCORES && token_byte_value(text) >= 0;
    if (walk.child.type != JSON_INT) return err_set(t->e, ERR_DATA, "the id of token \"" STR_FMT "\" is no whole number", STR_ARG(text));
    if (!tokenizer_set(t, walk.child.integer, text, t->kind == TOKEN_SCORES ? -1000000 : 0, byte ? PIECE_BYTE : PIECE_NORMAL)) return false;
  }
  return !t->e->code;
}

/* [["text", score], ...] of unigram; the place is the id */
static bool tokenizer_vocab_scores(struct tokenizer *t, struct json_reader *r) {
  struct json_walk walk = json_walk_start(r, JSON_ARRAY);
  for (int64_t id = 0; json_walk_next(&walk); id++) {
    struct json text, score;
    if (walk.child.type != JSON_ARRAY) return err_set(t->e, ERR_DATA, "token %lld is no pair of a text and a score", (long long)id);
    struct json_walk pair = json_walk_start(r, JSON_ARRAY);
    if (!json_walk_next(&pair) || (text = pair.child, !json_walk_next(&pair)) || (score = pair.child, json_walk_next(&pair)) ||
        t->e->code || text.type != JSON_STRING || (score.type != JSON_INT && score.type != JSON_FLOAT))
      return err_set(t->e, ERR_DATA, "token %lld is no pair of a text and a score", (long long)id);
    if (!tokenizer_set(t, id, text.string, (float)score.number, id == t->unk ? PIECE_UNKNOWN : PIECE_NORMAL)) return false;
  }
  return !t->e->code;
}

static bool tokenizer_line(struct str text, size_t *at, struct str *line) { // without its end; false behind the last
  if (*at >= text.len) return false;
  size_t end = str_find(text, STR("\n"), *at);
  *line = str_slice(text, *at, end);
  *at = end == SIZE_MAX ? end : end + 1;
  if (str_ends(*line, STR("\r"))) line->len--;
  return true;
}

/* A walk over a container that stayed text; offsets in messages are those of the file. */
static struct json_reader tokenizer_reader(const struct tokenizer *t, struct str held, struct arena *a) {
  return (struct json_reader){t->text, (size_t)(held.ptr - t->text.ptr) + 1, a, t->e};
}

/* From whichever file there is. Called once to count and once to fill. */
static bool tokenizer_pieces(struct tokenizer *t) {
  const struct json *vocab = json_get(json_get(t->file, "model"), "vocab");
  struct str line, held = vocab ? vocab->text : STR_NONE;
  if (!t->file && t->kind == TOKEN_BYTES) { // vocab.json
    struct json_reader r = {t->text, 0, NULL, t->e};
    json_skip_space(&r);
    held = str_slice(t->text, r.pos, t->text.len);
  }
  if (held.len) {
    bool list = t->kind == TOKEN_UNIGRAM;
    struct json_reader r = tokenizer_reader(t, held, t->scratch);
    if (held.ptr[0] != (list ? '[' : '{')) return err_set(t->e, ERR_DATA, "the vocabulary is no JSON %s", list ? "array" : "object");
    return list ? tokenizer_vocab_scores(t, &r) : tokenizer_vocab_ids(t, &r);
  }
  if (!t->file && t->spm.file.len) return tokenizer_read_spm(t);
  size_t at = 0;
  for (int64_t id = 0; tokenizer_line(t->words, &at, &line); id++)
    if (!tokenizer_set(t, id, line, 0, PIECE_NORMAL)) return false;
  return t->words.len || err_set(t->e, ERR_DATA, "the vocabulary is missing");
}

/* ---- merges ---- */

/* `each` of every pair, in their order. */
static bool tokenizer_each_merge(struct tokenizer *t, bool (*each)(struct tokenizer *t, struct str left, struct str right)) {
  const struct json *merges = json_get(json_get(t->file, "model"), "merges");
  struct arena scratch = *t->scratch;
  struct str both[2];
  if (!t->file) {
    struct str line;
    for (size_t at = 0; tokenizer_line(t->merges, &at, &line);) {
      size_t cut = str_find(line, STR(" "), 1);
      if (line.len && cut != SIZE_MAX && !str_starts(line, STR("#version")) &&
          !each(t, str_slice(line, 0, cut), str_slice(line, cut + 1, line.len)))
        return false;
    }
    return true;
  }
  if (!merges || merges->type != JSON_ARRAY) return err_set(t->e, ERR_DATA, "tokenizer.json has no list of merges");
  struct json_reader r = tokenizer_reader(t, merges->text, &scratch);
  struct json_walk walk = json_walk_start(&r, JSON_ARRAY);
  while (json_walk_next(&walk)) {
    int n = 0;
    struct str line = walk.child.string;
    if (walk.child.type == JSON_ARRAY) {
      struct json_walk pair = json_walk_start(&r, JSON_ARRAY);
      for (; json_walk_next(&pair); n++)
        if (n < 2) both[n] = pair.child.string;
    } else if (walk.child.type == JSON_STRING) {
      size_t cut = line.len ? str_find(line, STR(" "), 1) : SIZE_MAX;
      both[0] = str_slice(line, 0, cut);
      both[1] = str_slice(line, cut == SIZE_MAX ? cut : cut + 1, line.len);
      n = 2;
    }
    if (t->e->code) return false;
    if (n != 2 || !both[0].len || !both[1].len) return err_set(t->e, ERR_DATA, "merge %u is no pair of texts", t->rank);
    if (!each(t, both[0], both[1])) return false;
    t->rank++;
  }
  return !t->e->code;
}

/* Where the text a followed by b is in the index, or the free place where it would be. */
static uint32_t tokenizer_slot(const struct tokenizer *t, struct str a, struct str b) {
  uint64_t h = token_hash_end(token_hash_more(token_hash_more(TOKEN_HASH_START, a), b));
  for (uint32_t i = (uint32_t)h & (t->index_size - 1);; i = (i + 1) & (t->index_size - 1)) {
    if (t->index[i] == UINT32_MAX) return i;
    struct str s = t->pieces[t->index[i]].text;
    if (s.len == a.len + b.len && str_starts(s, a) && str_ends(s, b)) return i;
  }
}

static int32_t tokenizer_plain(const struct tokenizer *t, struct str a, struct str b) { // -1: no token that text becomes
  uint32_t id = t->index[tokenizer_slot(t, a, b)];
  return id == UINT32_MAX || t->pieces[id].type != PIECE_NORMAL ? -1 : (int32_t)id;
}

static bool tokenizer_rank(struct tokenizer *t, struct str left, struct str right) {
  int32_t id = tokenizer_plain(t, left, right);
  if (id < 0 || tokenizer_plain(t, left, STR_NONE) < 0 || tokenizer_plain(t, right, STR_NONE) < 0) return true;
  struct tokenizer_piece *p = &t->pieces[id];
  if (!p->splits) p->score = -(float)t->rank;
  else t->scattered |= t->last != id;
  p->splits++;
  t->last = id;
  return true;
}

/* Merging by rank is merging by score if every way to cut a token in two is a merge, and those of one token follow each
 * other: then the rank of the first is its score. So it is where the merges come from a SentencePiece model. */
static bool tokenizer_score(struct tokenizer *t, bool *same) {
  struct arena keep = *t->scratch;
  for (t->index_size = 64; t->index_size < 2 * (uint32_t)t->n; t->index_size *= 2) continue;
  t->index = ARENA_NEW(t->scratch, uint32_t, t->index_size);
  if (!t->index) return tokenizer_no_room(t);
  memset(t->index, 0xFF, sizeof *t->index * t->index_size);
  for (int32_t id = 0; id < t->n; id++)
    if (t->pieces[id].type && t->pieces[id].text.len) t->index[tokenizer_slot(t, t->pieces[id].text, STR_NONE)] = (uint32_t)id;
  t->last = -1;
  if (!tokenizer_each_merge(t, tokenizer_rank)) return false;
  *same = !t->scattered;
  for (int32_t id = 0; id < t->n && *same; id++) {
    struct str s = t->pieces[id].text;
    uint32_t splits = 0;
    if (t->pieces[id].type != PIECE_NORMAL || s.len > TOKENIZER_CUTS) continue; // a longer one is a line, made of the same letter
    for (size_t cut = 1; cut < s.len; cut++)
      splits += ((uint8_t)s.ptr[cut] & 0xC0) != 0x80 && tokenizer_plain(t, str_slice(s, 0, cut), STR_NONE) >= 0 &&
                tokenizer_plain(t, str_slice(s, cut, s.len), STR_NONE) >= 0;
    *same = splits == t->pieces[id].splits;
  }
  *t->scratch = keep;
  return true;
}

/* The scores of the SentencePiece model beside tokenizer.json, if it is the model that was made into it. */
static bool tokenizer_overlay(struct tokenizer *t, bool *same) {
  struct arena keep = *t->scratch;
  struct tokenizer other = *t;
  if (!tokenizer_read(t, "tokenizer.model", &other.spm.file)) return false;
  other.pieces = ARENA_NEW(t->scratch, struct tokenizer_piece, (size_t)t->n);
  if (!other.pieces) return tokenizer_no_room(t);
  bool agree = other.spm.file.len && other.spm.file.ptr[0] == 10; // field 1; other kinds of models have this name, too
  if (agree && !tokenizer_read_spm(&other)) return false;
  agree = agree && other.spm.kind == 2;
  for (int32_t id = 0; id < t->n && agree; id++)
    agree = !t->pieces[id].splits || (str_eq(t->pieces[id].text, other.pieces[id].text) && other.pieces[id].type == PIECE_NORMAL);
  for (int32_t id = 0; id < t->n && agree; id++)
    if (other.pieces[id].type) t->pieces[id].score = other.pieces[id].score, t->pieces[id].type = other.pieces[id].type;
  *same |= agree;
  *t->scratch = keep;
  return true;
}

static bool tokenizer_put_merge(struct tokenizer *t, struct str left, struct str right) {
  struct buf *b = &t->keys->bytes;
  size_t at = b->len, lines = 0;
  convert_keys_bytes(t->keys, 0, 8);
  for (size_t i = 0; i < left.len + 1 + right.len; i++) {
    char c = i < left.len ? left.ptr[i] : i > left.len ? right.ptr[i - left.len - 1] : 0;
    lines += c == '\n';
    if (!c) buf_byte(b, ' ');
    else if (c == ' ') buf_put(b, STR("\xC4\xA0")); // as byte-level BPE writes it
    else buf_byte(b, c);
  }
  uint64_t n = b->len - at - 8;
  if (!b->full) memcpy(b->ptr + at, &n, sizeof n);
  t->last++;
  return !lines || lines == left.len + right.len || tokenizer_refuse(t, "a merge across the end of a line:", left);
}

/* ---- what is put around a text ---- */

static struct str tokenizer_item(const struct json *item, const char *kind) { // of a template
  return tokenizer_string(json_get(item, kind), "id");
}

static const struct json *tokenizer_last(const struct json *list) {
  const struct json *last = list ? list->first : NULL;
  while (last && last->next) last = last->next;
  return last;
}

/* [BOS] A [EOS], and whether A and B of a pair have a separator of their own between them. */
static void tokenizer_template(struct tokenizer *t, const struct json *processor) {
  const struct json *single = json_get(processor, "single"), *pair = json_get(processor, "pair");
  struct str *s = t->special, first = STR_NONE, last = STR_NONE;
  if (single && single->type == JSON_ARRAY && single->count > 1) {
    first = tokenizer_item(single->first, "SpecialToken");
    last = tokenizer_item(tokenizer_last(single), "SpecialToken");
  }
  if (first.len) {
    if (!s[SPECIAL_BOS].len) s[SPECIAL_BOS] = first;
    if (!s[SPECIAL_CLS].len && !str_eq(s[SPECIAL_BOS], first)) s[SPECIAL_CLS] = first;
    t->add[SPECIAL_BOS] = str_eq(first, s[SPECIAL_BOS]) || str_eq(first, s[SPECIAL_CLS]);
  }
  if (last.len) {
    if (s[SPECIAL_EOS].len && !str_eq(s[SPECIAL_EOS], last)) s[s[SPECIAL_EOT].len ? SPECIAL_EOM : SPECIAL_EOT] = s[SPECIAL_EOS];
    s[SPECIAL_EOS] = last;
    t->add[SPECIAL_EOS] = true;
  }
  const struct json *at = pair && pair->type == JSON_ARRAY ? pair->first : NULL;
  while (at && !str_is(tokenizer_item(at, "Sequence"), "A")) at = at->next;
  bool sep = false, known = false;
  int n = 0;
  for (at = at ? at->next : NULL; at && !str_is(tokenizer_item(at, "Sequence"), "B"); at = at->next, n++) {
    struct str item = tokenizer_item(at, "SpecialToken");
    known = item.len && (str_eq(item, s[SPECIAL_SEP]) || str_eq(item, s[SPECIAL_EOS]));
    sep = known && (n == 1 || !last.len);
  }
  if (!at || n == 0) return;
  t->add[SPECIAL_SEP] = sep;
  if (sep && !s[SPECIAL_SEP].len) s[SPECIAL_SEP] = s[SPECIAL_EOS];
}

static void tokenizer_process(struct tokenizer *t) {
  const struct json *whole = json_get(t->file, "post_processor"), *list = json_get(whole, "processors");
  for (const struct json *p = list ? list->first : whole; p; p = list ? p->next : NULL) {
    struct str type = tokenizer_string(p, "type");
    if (str_is(type, "TemplateProcessing")) tokenizer_template(t, p);
    if (str_is(type, "ByteLevel"))
      for (int i = 0; i < 2; i++) t->add[i] = t->add[i] > 0;
    if (!str_is(type, "RobertaProcessing") && !str_is(type, "BertProcessing")) continue;
    t->add[SPECIAL_BOS] = t->add[SPECIAL_EOS] = t->add[SPECIAL_SEP] = true;
    for (int i = SPECIAL_SEP; i <= SPECIAL_CLS; i += SPECIAL_CLS - SPECIAL_SEP) {
      const struct json *pair = json_get(p, tokenizer_specials[i].name);
      if (!t->special[i].len && pair && pair->first && pair->first->type == JSON_STRING) t->special[i] = pair->first->string;
    }
  }
}

/* The texts of the special tokens. */
static void tokenizer_name_specials(struct tokenizer *t) {
  char name[32];
  for (int i = 0; i < SPECIALS; i++) {
    snprintf(name, sizeof name, "%s_token", tokenizer_specials[i].name);
    t->special[i] = tokenizer_string(t->config, name);
    if (!t->special[i].len) t->special[i] = tokenizer_string(t->map, name);
    t->add[i] = -1;
  }
  struct str *s = t->special;
  static const char *const wordpiece[SPECIALS] = {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]", NULL, NULL};
  for (int i = 0; t->kind == TOKEN_WORDPIECE && i < SPECIALS; i++)
    if (!s[i].len) s[i] = str_from(wordpiece[i]);
  bool both = t->file || t->kind == TOKEN_WORDPIECE; // the one where only the other is named
  if (both && !s[SPECIAL_BOS].len) s[SPECIAL_BOS] = s[SPECIAL_CLS];
  if (both && !s[SPECIAL_EOS].len) s[SPECIAL_EOS] = s[SPECIAL_SEP];
  tokenizer_process(t);
  for (int i = 0; i < SPECIALS; i++) {
    snprintf(name, sizeof name, "add_%s_token", tokenizer_specials[i].name);
    const struct json *flag = json_get(t->config, name);
    if (t->add[i] < 0 && flag && flag->type == JSON_BOOL) t->add[i] = flag->boolean;
  }
  if (t->spm.shift && !t->file) t->add[SPECIAL_BOS] = t->add[SPECIAL_EOS] = t->add[SPECIAL_SEP] = true;
  /* Where nothing is said nothing is added; but loaders have other defaults. Classes with an own name add what they do. */
  struct str class = tokenizer_string(t->config, "tokenizer_class");
  bool general = !class.len || str_starts(class, STR("PreTrained")) || str_starts(class, STR("Tokenizers"));
  for (int i = SPECIAL_BOS; i <= SPECIAL_EOS; i++) {
    bool none = t->kind == TOKEN_BYTES || t->kind == TOKEN_CHARS || (t->file && (general || i == SPECIAL_EOS));
    if (t->add[i] < 0 && none) t->add[i] = false;
  }
}

/* ---- writing ---- */

#define TOKENIZER_KEY(text, name) (snprintf(text, sizeof text, "tokenizer.ggml.%s", name), str_from(text))

static int64_t tokenizer_find(const struct tokenizer *t, struct str text) { // seldom asked
  for (int32_t id = 0; text.len && id < t->n; id++)
    if (str_eq(t->pieces[id].text, text)) return id;
  return -1;
}

static void tokenizer_put_specials(struct tokenizer *t) {
  char key[64], part[32];
  int64_t ids[SPECIALS];
  for (int i = 0; i < SPECIALS; i++) {
    snprintf(part, sizeof part, "%s_token_id", tokenizer_specials[i].name);
    ids[i] = tokenizer_find(t, t->special[i]);
    if (ids[i] < 0) ids[i] = tokenizer_config_int(t, part);
    if (ids[i] < 0 && i == SPECIAL_UNK) ids[i] = t->unk;
    if (ids[i] < 0 && !t->file && t->spm.file.len) ids[i] = t->spm.ids[i];
  }
  /* What else ends a generation is known by its names; one whose name is not is the end of a turn. */
  const struct json *ends = json_get(t->generation, "eos_token_id"), *one = ends && ends->type == JSON_ARRAY ? ends->first : ends;
  for (; one; one = ends == one ? NULL : one->next) {
    if (one->type != JSON_INT || one->integer < 0 || one->integer >= t->n) continue;
    if (ids[SPECIAL_EOS] < 0) ids[SPECIAL_EOS] = one->integer;
    const char *names = token_names_eog;
    bool known = one->integer == ids[SPECIAL_EOS];
    for (struct str name; !known && (name = token_next_name(&names)).len;) known = str_eq(name, t->pieces[one->integer].text);
    if (!known && ids[SPECIAL_EOT] < 0) ids[SPECIAL_EOT] = one->integer;
  }
  for (int i = 0; i < SPECIALS; i++) {
    snprintf(part, sizeof part, "%s_token_id", tokenizer_specials[i].key);
    if (ids[i] >= 0 && ids[i] < t->n) convert_keys_u32(t->keys, TOKENIZER_KEY(key, part), (uint32_t)ids[i]);
    snprintf(part, sizeof part, "add_%s_token", tokenizer_specials[i].name);
    if (t->add[i] >= 0 && i <= SPECIAL_SEP && i != SPECIAL_UNK) convert_keys_bool(t->keys, TOKENIZER_KEY(key, part), t->add[i]);
  }
}

static void tokenizer_put_tokens(struct tokenizer *t) {
  struct convert_keys *k = t->keys;
  size_t n = (size_t)t->n;
  convert_keys_array(k, STR("tokenizer.ggml.tokens"), GGUF_STRING, n);
  for (size_t id = 0; id < n; id++) {
    struct tokenizer_piece *p = &t->pieces[id];
    char name[32];
    struct str text = p->text, front = STR_NONE;
    if (!p->type) {
      *p = (struct tokenizer_piece){STR_NONE, -10000, 0, PIECE_UNUSED};
      text = (struct str){name, (size_t)snprintf(name, sizeof name, "[PAD%d]", (int)id)};
    }
    if (t->kind == TOKEN_WORDPIECE && p->type != PIECE_CONTROL && p->type != PIECE_USER) { // marked is where a word begins
      if (str_starts(text, STR("##"))) text = str_slice(text, 2, text.len);
      else front = TOKEN_SPACE;
    }
    convert_keys_bytes(k, front.len + text.len, 8);
    buf_put(&k->bytes, front);
    buf_put(&k->bytes, text);
  }
  convert_keys_array(k, STR("tokenizer.ggml.token_type"), GGUF_I32, n);
  for (size_t id = 0; id < n; id++) convert_keys_bytes(k, t->pieces[id].type, 4);
  if (t->kind != TOKEN_SCORES && t->kind != TOKEN_UNIGRAM) return;
  convert_keys_array(k, STR("tokenizer.ggml.scores"), GGUF_F32, n);
  for (size_t id = 0; id < n; id++) convert_keys_bytes(k, f32_bits(t->pieces[id].score), 4);
}

static bool tokenizer_put_merges(struct tokenizer *t) {
  struct buf *b = &t->keys->bytes;
  convert_keys_array(t->keys, STR("tokenizer.ggml.merges"), GGUF_STRING, 0);
  size_t at = b->len - 8;
  t->last = 0;
  t->rank = 0;
  if (!tokenizer_each_merge(t, tokenizer_put_merge)) return false;
  uint64_t n = (uint64_t)t->last;
  if (!b->full) memcpy(b->ptr + at, &n, sizeof n);
  return true;
}

static bool tokenizer_put(struct tokenizer *t) {
  struct convert_keys *k = t->keys;
  struct str pre = t->kind == TOKEN_CHARS ? STR("sarvam-moe") : t->kind == TOKEN_WORDPIECE ? STR("jina-v2-en") : STR("default");
  int m = 0;
  if (t->kind == TOKEN_BYTES && !tokenizer_pre(t, &pre)) return false;
  while (token_models[m].kind != (t->kind == TOKEN_CHARS ? TOKEN_BYTES : t->kind)) m++; // CHARS by rank: a kind of pre-tokenizer
  convert_keys_string(k, STR("tokenizer.ggml.model"), str_from(token_models[m].name));
  convert_keys_string(k, STR("tokenizer.ggml.pre"), pre);
  tokenizer_put_tokens(t);
  if ((t->kind == TOKEN_BYTES || t->kind == TOKEN_CHARS) && !tokenizer_put_merges(t)) return false;
  if (t->kind != TOKEN_BYTES && t->kind != TOKEN_WORDPIECE) convert_keys_bool(k, STR("tokenizer.ggml.add_space_prefix"), t->prefix);
  if (t->kind == TOKEN_UNIGRAM) convert_keys_bool(k, STR("tokenizer.ggml.remove_extra_whitespaces"), t->merge_spaces);
  if (t->kind == TOKEN_UNIGRAM && t->charsmap.len) {
    convert_keys_array(k, STR("tokenizer.ggml.precompiled_charsmap"), GGUF_U8, t->charsmap.len);
    buf_put(&k->bytes, t->charsmap);
  }
  if (t->kind == TOKEN_WORDPIECE) convert_keys_bool(k, STR("tokenizer.ggml.normalizer.lowercase"), t->lowercase);
  if (t->kind == TOKEN_WORDPIECE && t->strip_accents >= 0)
    convert_keys_bool(k, STR("tokenizer.ggml.normalizer.strip_accents"), t->strip_accents);
  int64_t kinds = tokenizer_config_int(t, "type_vocab_size");
  if (kinds > 0 && kinds <= UINT32_MAX) convert_keys_u32(k, STR("tokenizer.ggml.token_type_count"), (uint32_t)kinds);
  tokenizer_put_specials(t);
  return true;
}

/* ---- chat templates ---- */

struct tokenizer_templates {
  struct tokenizer *t;
  struct buf names; // of all but the default, as they stand in an array
  int n;
};

static void tokenizer_put_template(struct tokenizer_templates *c, struct str name, struct str text) {
  char key[128] = "tokenizer.chat_template";
  struct convert_keys names = {.bytes = c->names};
  size_t n = strlen(key) + 1;
  if (!str_is(name, "default")) {
    if (!name.len || n + name.len >= sizeof key) return;
    key[n - 1] = '.';
    for (size_t i = 0; i < name.len; i++) {
      char ch = name.ptr[i];
      bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
      key[n + i] = plain ? ch : '_';
    }
    convert_keys_text(&names, (struct str){key + n, name.len});
    c->names = names.bytes;
    c->n++;
    n += name.len + 1;
  }
  convert_keys_string(c->t->keys, (struct str){key, n - 1}, text);
}

static bool tokenizer_each_template(void *context, const char *name) { // of additional_chat_templates/
  struct tokenizer_templates *c = context;
  char path[OS_PATH];
  struct str text, stem = str_from(name);
  if (!str_ends(stem, STR(".jinja"))) return true;
  stem.len -= 6;
  snprintf(path, sizeof path, "additional_chat_templates/%s", name);
  if (!tokenizer_read(c->t, path, &text)) return false;
  tokenizer_put_template(c, stem, text);
  return true;
}

static bool tokenizer_put_templates(struct tokenizer *t) {
  struct tokenizer_templates c = {.t = t, .names = buf_new(t->scratch, 1 << 16)};
  struct str text;
  char path[OS_PATH];
  const struct json *own = json_get(t->config, "chat_template"), *file = NULL;
  if (!tokenizer_read(t, "chat_template.jinja", &text)) return false;
  if (!own && !text.len) {
    if (!tokenizer_json(t, "chat_template.json", &file)) return false;
    own = json_get(file, "chat_template");
  }
  if (own && own->type == JSON_STRING) {
    tokenizer_put_template(&c, STR("default"), own->string);
  } else if (own && own->type == JSON_ARRAY) {
    for (const struct json *one = own->first; one; one = one->next)
      tokenizer_put_template(&c, tokenizer_string(one, "name"), tokenizer_string(one, "template"));
  } else if (text.len) {
    tokenizer_put_template(&c, STR("default"), text);
    if ((size_t)snprintf(path, sizeof path, "%s/additional_chat_templates", t->dir) < sizeof path && os_is_directory(path))
      os_list(path, *t->scratch, tokenizer_each_template, &c);
  }
  if (c.n) {
    convert_keys_array(t->keys, STR("tokenizer.chat_templates"), GGUF_STRING, (size_t)c.n);
    buf_put(&t->keys->bytes, buf_str(&c.names));
  }
  return !t->e->code && (!c.names.full || err_set(t->e, ERR_DATA, "the names of the chat templates take more than %zu bytes", c.names.cap));
}

/* ---- the whole ---- */

/* A folder without tokenizer.json: what the missing file would say is known by the kind of the others. */
static bool tokenizer_plain_files(struct tokenizer *t) {
  struct str class = tokenizer_string(t->config, "tokenizer_class");
  if (t->spm.file.len) {
    t->kind = t->spm.kind == 2 ? TOKEN_SCORES : TOKEN_UNIGRAM;
    t->charsmap = t->spm.charsmap;
    t->prefix = t->spm.prefix;
    t->merge_spaces = t->spm.merge_spaces;
    if (t->spm.kind > 2) return err_set(t->e, ERR_DATA, "not supported: a SentencePiece model of words or characters");
    if (str_starts(class, STR("Gemma"))) t->prefix = false; // whatever the model says; nor do classes of BPE heed its normalizer
    if (t->kind == TOKEN_SCORES) t->prefix = tokenizer_flag(t->config, "add_prefix_space", t->prefix);
    return true;
  }
  if (t->words.len) {
    t->kind = TOKEN_WORDPIECE;
    t->lowercase = tokenizer_flag(t->config, "do_lower_case", true);
    const struct json *strip = json_get(t->config, "strip_accents");
    t->strip_accents = strip && strip->type == JSON_BOOL ? strip->boolean : -1;
    return true;
  }
  t->kind = TOKEN_BYTES;
  if (!t->text.len || !t->merges.len)
    return err_set(t->e, ERR_NOINPUT, "%s: no tokenizer; expected tokenizer.json, tokenizer.model, vocab.json with merges.txt, "
                   "or vocab.txt",
                   t->dir);
  if (str_ends(class, STR("Fast"))) class.len -= 4;
  if (str_is(class, "Qwen2Tokenizer")) buf_put(&t->stages, str_from(tokenizer_pres[2].stages));
  else if (!class.len || str_is(class, "GPT2Tokenizer") || str_is(class, "RobertaTokenizer")) buf_put(&t->stages, STR(TOKENIZER_GPT2));
  else return tokenizer_refuse(t, "without tokenizer.json the pre-tokenizer of class", class);
  return true;
}

static bool tokenizer_classify(struct tokenizer *t) {
  const struct json *m = json_get(t->file, "model");
  struct str type = tokenizer_string(m, "type");
  const struct json *vocab = json_get(m, "vocab");
  if (!t->file) return tokenizer_plain_files(t);
  bool list = vocab && vocab->type == JSON_ARRAY;
  if (!type.len) type = json_get(m, "merges") ? STR("BPE") : list ? STR("Unigram") : STR("WordPiece"); // old files
  if (str_is(type, "Unigram")) t->kind = TOKEN_UNIGRAM;
  else if (str_is(type, "WordPiece")) t->kind = TOKEN_WORDPIECE;
  else if (!str_is(type, "BPE")) return tokenizer_refuse(t, "tokenizer", type);
  if (!tokenizer_step(t, json_get(t->file, "normalizer"), "normalizer") ||
      !tokenizer_step(t, json_get(t->file, "pre_tokenizer"), "pre-tokenizer"))
    return false;
  if (t->kind == TOKEN_BYTES && !t->byte_level) t->kind = TOKEN_SCORES;
  bool bytes = tokenizer_flag(m, "byte_fallback", false);
  if (t->kind == TOKEN_SCORES && (!t->spaces || !bytes || t->stages.len || t->merge_spaces))
    return tokenizer_refuse(t, "tokenizer", STR("BPE that is neither of bytes nor of characters with bytes for the others"));
  if (t->kind == TOKEN_UNIGRAM) {
    t->unk = tokenizer_int(m, "unk_id");
    if (!t->spaces || bytes || t->unk < 0 || t->stages.len)
      return tokenizer_refuse(t, "tokenizer", STR("Unigram without an unknown token, with bytes for it, or without marks for spaces"));
  }
  struct str prefix = tokenizer_string(m, "continuing_subword_prefix");
  if (t->kind == TOKEN_WORDPIECE) {
    int64_t most = tokenizer_int(m, "max_input_chars_per_word");
    if (!t->bert || t->strip_accents == -2 || !str_is(prefix, "##") || (most >= 0 && most != WORDPIECE_MAX_CHARS))
      return tokenizer_refuse(t, "tokenizer", STR("WordPiece other than BERT's"));
  } else if (prefix.len || tokenizer_string(m, "end_of_word_suffix").len) {
    return tokenizer_refuse(t, "tokenizer", STR("BPE with marks inside or behind words"));
  }
  return true;
}

/* How many ids there are, and then their tokens. */
static bool tokenizer_fill(struct tokenizer *t) {
  struct arena keep = *t->scratch;
  int64_t n = tokenizer_config_int(t, "vocab_size");
  if (!tokenizer_pieces(t)) return false;
  t->n_model = t->n;
  if (!tokenizer_add_all(t)) return false;
  if (n > TOKEN_MAX_COUNT || (n >= 0 && n < t->n_model))
    return err_set(t->e, ERR_DATA, "config.json: vocab_size is %lld, but the tokenizer has %d tokens, of at most %d", (long long)n,
                   (int)t->n_model, TOKEN_MAX_COUNT);
  if (n >= 0) t->n = (int32_t)n; // added tokens beyond it have no row in the model
  *t->scratch = keep;
  t->pieces = ARENA_NEW(t->scratch, struct tokenizer_piece, (size_t)t->n);
  if (!t->pieces) return tokenizer_no_room(t);
  if (!tokenizer_pieces(t)) return false;
  const struct json *added = json_get(t->file, "added_tokens");
  for (const struct json *one = added ? added->first : NULL; one; one = one->next) { // found before anything is merged
    int64_t id = tokenizer_int(one, "id");
    if (id >= 0 && id < t->n && t->pieces[id].type) t->pieces[id].type = PIECE_USER;
  }
  if (t->kind == TOKEN_SCORES && t->file) {
    bool same = false;
    t->unk = tokenizer_find(t, tokenizer_string(json_get(t->file, "model"), "unk_token"));
    if (!tokenizer_score(t, &same) || !tokenizer_overlay(t, &same)) return false;
    if (!same) t->kind = TOKEN_CHARS;
    if (t->unk >= 0) t->pieces[t->unk].type = PIECE_UNKNOWN;
  }
  if (!tokenizer_add_all(t)) return false;
  for (int i = 0; i < SPECIALS && !t->file; i++) {
    int64_t id = tokenizer_find(t, t->special[i]);
    if (id >= 0 && t->pieces[id].type == PIECE_NORMAL) t->pieces[id].type = PIECE_CONTROL;
  }
  return true;
}

/* Reads what there is, and what kind of tokenizer it is. */
static bool tokenizer_open(struct tokenizer *t) {
  static const char *const names[] = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"};
  if (!tokenizer_json(t, "tokenizer.json", &t->file) || !tokenizer_json(t, "tokenizer_config.json", &t->config) ||
      !tokenizer_json(t, "special_tokens_map.json", &t->map) || !tokenizer_json(t, "config.json", &t->model) ||
      !tokenizer_json(t, "generation_config.json", &t->generation))
    return false;
  for (int i = 0; i < 3 && !t->file && !t->spm.file.len; i++) {
    if (!tokenizer_read(t, names[i], &t->spm.file)) return false;
    t->spm.shift = i == 2;
  }
  if (!t->spm.file.len) t->spm.shift = 0;
  if (t->spm.file.len && !tokenizer_read_spm(t)) return false;
  t->n = 0;
  if (!t->file && (!tokenizer_json(t, "added_tokens.json", &t->added) ||
                   (!t->spm.file.len && (!tokenizer_read(t, "vocab.json", &t->text) || !tokenizer_read(t, "merges.txt", &t->merges) ||
                                         !tokenizer_read(t, "vocab.txt", &t->words)))))
    return false;
  return tokenizer_classify(t);
}

/* Writes the keys tokenizer.* of the Hugging Face folder `dir`. arch_name: of the model; the keys do not depend on it. Error:
 * no tokenizer (66), a broken file or "not supported: ..." (65), no memory (71). */
static bool convert_tokenizer(const char *dir, const char *arch_name, struct convert_keys *k, struct arena *scratch, struct bk_error *e) {
  (void)arch_name;
  struct arena own = *scratch; // all of it ends with this function
  struct tokenizer t = {.dir = dir, .keys = k, .scratch = &own, .e = e, .kind = TOKEN_BYTES, .unk = -1, .strip_accents = -2,
                        .spm = {.kind = 1, .prefix = true, .merge_spaces = true, .ids = {1, 2, 0, -1, -1, -1, -1, -1, -1}}};
  t.stages = buf_new(&own, TOKENIZER_STAGES);
  if (!tokenizer_open(&t)) return false;
  tokenizer_name_specials(&t);
  if (!tokenizer_fill(&t) || !tokenizer_put(&t) || !tokenizer_put_templates(&t)) return false;
  return !k->bytes.full || err_set(e, ERR_OS, "no memory for the keys of the tokenizer, %zu bytes", k->bytes.cap);
}
