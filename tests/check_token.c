/* check_token.c -- tokenizers against what other libraries say (tests/golden), and what must hold for any vocabulary.
 *
 * Golden ids and cuts come from tools/make_vocab_fixtures.py. The rest are properties: bytes come back, a text in spans
 * gives the ids of the text as one, no user becomes a control token, a megabyte of one letter ends, damage is refused.
 * SPDX-License-Identifier: MIT */
#include "golden/token.h"

enum { TOKEN_TEST_IDS = 6 << 20 };
static int32_t token_test_ids[TOKEN_TEST_IDS];
static struct gguf token_test_file;

static struct vocab *token_test_load(const char *name) {
  struct arena a = test_arena(16 << 20);
  struct bk_error e = {0};
  struct vocab *v = NULL;
  char path[256];
  snprintf(path, sizeof path, "%s/golden/%s", TEST_ROOT, name);
  ck_assert_msg(gguf_open(&token_test_file, path, &a, &e), "%s", e.message);
  ck_assert_msg(token_load(&token_test_file, &a, &v, &e), "%s: %s", name, e.message);
  return v;
}

/* Ids of a text with exactly the room and the scratch that are promised to be enough. */
static int token_test_spans(const struct vocab *v, struct str text, const struct token_span *spans, int n_spans,
                            struct token_options o) {
  static struct arena whole;
  struct bk_error e = {0};
  size_t need = token_scratch(v, text.len), room = token_bound(v, text.len);
  int n = -1;
  if (!whole.beg) whole = test_arena((size_t)1 << 30);
  ck_assert(need <= (size_t)(whole.end - whole.beg) && room <= TOKEN_TEST_IDS);
  struct arena scratch = {whole.beg, whole.beg + need};
  bool ok = token_encode_spans(v, text, spans, n_spans, o, scratch, token_test_ids, (int)room, &n, &e);
  ck_assert_msg(ok, "%s", e.message);
  return n;
}

static int token_test_encode(const struct vocab *v, struct str text, bool add, bool parse) {
  return token_test_spans(v, text, NULL, 0, (struct token_options){add, parse});
}

static struct str token_test_pieces(const struct vocab *v, int n, struct buf *out) {
  out->len = 0;
  for (int i = 0; i < n; i++) token_piece(v, token_test_ids[i], out);
  ck_assert(!out->full);
  return buf_str(out);
}

static uint32_t token_test_random(uint32_t *seed) { return *seed = *seed * 1664525u + 1013904223u, *seed >> 8; }

static const char *const token_test_vocabs[] = {"vocab-bytes.gguf", "vocab-chars.gguf", "vocab-spm.gguf",
                                                "vocab-unigram.gguf", "vocab-wordpiece.gguf"};

/* ---- against other libraries ---- */

START_TEST(token_golden_ids) {
  const char *loaded = "";
  struct vocab *v = NULL;
  for (int i = 0; i < ARRAY_LEN(golden_ids); i++) {
    if (strcmp(loaded, golden_ids[i].vocab) != 0) v = token_test_load(loaded = golden_ids[i].vocab);
    int n = token_test_encode(v, (struct str){golden_ids[i].text, (size_t)golden_ids[i].len}, false, false);
    ck_assert_msg(n == golden_ids[i].n, "%s, text %d: %d ids, expected %d", loaded, i, n, golden_ids[i].n);
    for (int k = 0; k < n; k++)
      ck_assert_msg(token_test_ids[k] == golden_ids[i].ids[k], "%s, text %d, id %d is %d, expected %d", loaded, i, k,
                    (int)token_test_ids[k], (int)golden_ids[i].ids[k]);
  }
}
END_TEST

START_TEST(token_golden_cuts) {
  for (int i = 0; i < ARRAY_LEN(golden_cuts); i++) {
    const struct pre_kind *kind = pre_find(str_from(golden_cuts[i].pre));
    ck_assert_ptr_nonnull(kind);
    struct pre_walk walk = pre_start(kind, (struct str){golden_cuts[i].text, (size_t)golden_cuts[i].len});
    size_t beg, end, sum = 0;
    int n = 0;
    for (; pre_next(&walk, &beg, &end); n++) {
      ck_assert_uint_eq(beg, sum);
      size_t want = n < golden_cuts[i].n ? golden_cuts[i].cuts[n] : 0;
      ck_assert_msg(end - beg == want, "%s, text %d, piece %d: %zu bytes, expected %zu", golden_cuts[i].pre, i, n,
                    end - beg, want);
      sum = end;
    }
    ck_assert_int_eq(n, golden_cuts[i].n);
  }
}
END_TEST

/* ---- Unicode ---- */

START_TEST(token_unicode_tables) {
  static const struct { uint32_t code; unsigned class; } classes[] = { // from Python's unicodedata
    {0x41, UNICODE_UPPER}, {0x7A, UNICODE_LOWER}, {0xAA, UNICODE_OTHER_LETTER}, {0xB2, UNICODE_NUMBER},
    {0xAD, UNICODE_CONTROL}, {0x1C5, UNICODE_TITLE}, {0x2B0, UNICODE_MODIFIER}, {0x301, UNICODE_MARK_NONSPACING},
    {0x903, UNICODE_MARK_OTHER}, {0x20DD, UNICODE_MARK_OTHER}, {0x378, UNICODE_UNASSIGNED},
    {0x4E00, UNICODE_OTHER_LETTER}, {0x9FFF, UNICODE_OTHER_LETTER}, {0xD7A3, UNICODE_OTHER_LETTER},
    {0xD800, UNICODE_CONTROL}, {0xE000, UNICODE_CONTROL}, {0x2028, UNICODE_WHITE_SPACE}, {0x85, UNICODE_WHITE_SPACE},
    {0x3000, UNICODE_WHITE_SPACE}, {0x200B, UNICODE_CONTROL}, {0x20AC, UNICODE_SYMBOL}, {0x1F642, UNICODE_SYMBOL},
    {0x3002, UNICODE_PUNCTUATION}, {0x2A6DF, UNICODE_OTHER_LETTER}, {0x1D7D8, UNICODE_NUMBER},
    {0xE0100, UNICODE_MARK_NONSPACING}, {0x10FFFF, UNICODE_UNASSIGNED}, {0x10FFFD, UNICODE_CONTROL},
    // and of Unicode 8 where later ones differ, as tokenizers 0.23 splits words: marks and punctuation of today are letters
    {0x61C, UNICODE_CONTROL}, {0x61D, UNICODE_UNASSIGNED}, {0x61E, UNICODE_PUNCTUATION}, {0x8E2, UNICODE_UNASSIGNED},
    {0x8E3, UNICODE_MARK_NONSPACING}, {0xD3B, UNICODE_UNASSIGNED}, {0x166D, UNICODE_PUNCTUATION}, {0x1734, UNICODE_MARK_NONSPACING},
    {0x1885, UNICODE_OTHER_LETTER}, {0x2E42, UNICODE_PUNCTUATION}, {0x2E43, UNICODE_UNASSIGNED}, {0xA9BD, UNICODE_MARK_OTHER},
    {0x111C9, UNICODE_PUNCTUATION}, {0x1E023, UNICODE_UNASSIGNED}, {0x1E95F, UNICODE_UNASSIGNED}};
  for (int i = 0; i < ARRAY_LEN(classes); i++)
    ck_assert_uint_eq(wordpiece_class(classes[i].code), classes[i].class);
  for (uint32_t c = 0; c < 128; c++) ck_assert_uint_eq(pre_ascii[c], pre_class_of(c));
  for (int c = 128; c < 256; c++) ck_assert_uint_eq(pre_ascii[c], 0);
  static const uint32_t lower[][2] = {
    {0x41, 0x61}, {0xC9, 0xE9}, {0x130, 0x69}, {0x178, 0xFF}, {0x1C4, 0x1C6}, {0x1C5, 0x1C6}, {0x3A3, 0x3C3},
    {0x3C2, 0x3C2}, {0x416, 0x436}, {0x10A0, 0x2D00}, {0x1E9E, 0xDF}, {0x212A, 0x6B}, {0x24B6, 0x24D0},
    {0xA64A, 0xA64B}, {0xA64B, 0xA64B}, {0xFF21, 0xFF41}, {0x10400, 0x10428}, {0x1E921, 0x1E943}, {0x4E00, 0x4E00}};
  for (int i = 0; i < ARRAY_LEN(lower); i++) ck_assert_uint_eq(wordpiece_lower(lower[i][0]), lower[i][1]);
  static const struct { uint32_t code; int n; uint32_t parts[3]; } stripped[] = {
    {0xE9, 1, {0x65}}, {0x1EA5, 1, {0x61}}, {0x301, 0, {0}}, {0x344, 0, {0}}, {0xAC01, 3, {0x1100, 0x1161, 0x11A8}},
    {0xAC00, 2, {0x1100, 0x1161}}, {0x212B, 1, {0x41}}, {0xF900, 1, {0x8C48}}, {0x9CB, 2, {0x9C7, 0x9BE}},
    {0xDF, 1, {0xDF}}, {0xFB1D, 1, {0x5D9}}, {0x1D15E, 2, {0x1D157, 0x1D165}}, {0x2ADC, 1, {0x2ADD}}};
  for (int i = 0; i < ARRAY_LEN(stripped); i++) {
    uint32_t parts[3] = {0};
    ck_assert_int_eq(wordpiece_strip(stripped[i].code, parts), stripped[i].n);
    for (int k = 0; k < stripped[i].n; k++) ck_assert_uint_eq(parts[k], stripped[i].parts[k]);
  }
}
END_TEST

START_TEST(token_byte_alphabet) {
  bool seen[0x200] = {false};
  for (int b = 0; b < 256; b++) {
    uint32_t c = token_byte_char((uint8_t)b);
    ck_assert(c < 0x144 && !seen[c]);
    seen[c] = true;
    ck_assert_int_eq(token_char_byte(c), b);
  }
  ck_assert_uint_eq(token_byte_char(' '), 0x120);
  ck_assert_uint_eq(token_byte_char('\n'), 0x10A);
  ck_assert_int_eq(token_char_byte(0x144), -1);
  ck_assert_int_eq(token_char_byte(' '), -1);
  ck_assert_int_eq(token_byte_value(STR("<0x0A>")), 10);
  ck_assert_int_eq(token_byte_value(STR("<0xfF>")), 255);
  ck_assert_int_eq(token_byte_value(STR("<0x-1>")), -1);
  ck_assert_int_eq(token_byte_value(STR("<0xZZ>")), -1);
  ck_assert_int_eq(token_byte_value(STR("<0x0A0>")), -1);
}
END_TEST

/* ---- properties ---- */

START_TEST(token_bytes_come_back) {
  static char data[4096], back[1 << 16];
  struct buf out = {back, 0, sizeof back, false};
  uint32_t seed = 7;
  for (int k = 0; k < 3; k++) { // the kinds with a token for every byte
    struct vocab *v = token_test_load(token_test_vocabs[k]);
    for (int round = 0; round < 200; round++) {
      size_t len = token_test_random(&seed) % sizeof data, from = v->add_space_prefix && len > 0;
      for (size_t i = 0; i < len; i++) {
        uint32_t r = token_test_random(&seed); // half of the rounds printable, so that merges happen
        const char *from_set = r % 3 ? "etaoin shrdlu.<|_endoftx>" : "\xC3\xA9\xE4\xB8\xAD\n";
        data[i] = round % 2 ? (char)r : from_set[r / 3 % strlen(from_set)];
      }
      int n = token_test_encode(v, (struct str){data, len}, false, k == 0 && round % 4 > 1); // else a space per mark
      struct str s = token_test_pieces(v, n, &out);
      ck_assert_uint_eq(s.len, len + from);
      ck_assert_mem_eq(s.ptr + from, data, len);
    }
  }
}
END_TEST

START_TEST(token_long_runs_end) {
  static char text[1 << 20];
  for (int k = 0; k < ARRAY_LEN(token_test_vocabs); k++) {
    struct vocab *v = token_test_load(token_test_vocabs[k]);
    for (const char *c = "a \n!<0"; *c; c++) {
      memset(text, *c, sizeof text);
      int n = token_test_encode(v, (struct str){text, *c == 'a' ? sizeof text : sizeof text / 16}, true, true);
      ck_assert_int_ge(n, v->kind == TOKEN_BYTES || v->kind == TOKEN_CHARS ? 10 : 0);
    }
  }
}
END_TEST

/* What a long word gives must not depend on the windows that it is merged in. */
START_TEST(token_windows_change_nothing) {
  static const char *const alphabets[] = {"eorst", "aab", "the \xE2\x96\x81", ("\xC3\xBC\xC3\x9F" "er"), "0123456789", "aehinort, .'"};
  static char text[3000];
  static int32_t whole[3000], ids[3000];
  struct arena a = test_arena(1 << 20);
  uint32_t seed = 5;
  int told = 0;
  for (int round = 0; round < 600; round++) {
    struct vocab *v = round % 200 ? NULL : token_test_load(token_test_vocabs[round / 200]);
    static struct vocab *loaded;
    loaded = v ? v : loaded;
    const char *from = alphabets[round % ARRAY_LEN(alphabets)];
    uint32_t len = 40 + token_test_random(&seed) % (uint32_t)(sizeof text - 40), most = 8 + token_test_random(&seed) % 90;
    uint32_t run = round % 3 ? 1 : 1 + token_test_random(&seed) % 30; // random, periodic
    for (uint32_t i = 0; i < len; i++) text[i] = i < run || run == 1 ? from[token_test_random(&seed) % strlen(from)] : text[i - run];
    struct bk_error e = {0};
    struct token_run r = {.v = loaded, .scratch = a, .ids = whole, .max = ARRAY_LEN(whole), .e = &e};
    struct bpe_word w = {.v = loaded};
    ck_assert(bpe_word_room(&r, &r.scratch, &w, len) && bpe_windows(&r, (struct str){text, len}, &w, len));
    size_t n = r.n;
    r.ids = ids;
    r.n = 0;
    if (!bpe_windows(&r, (struct str){text, len}, &w, most)) continue;
    told++;
    ck_assert_uint_eq(r.n, n);
    ck_assert_mem_eq(ids, whole, n * sizeof *ids);
    r.n = 0;
    ck_assert(bpe_long(&r, (struct str){text, len}));
    ck_assert_uint_eq(r.n, n);
    ck_assert_mem_eq(ids, whole, n * sizeof *ids);
  }
  ck_assert_int_gt(told, 400);
}
END_TEST

/* Unigram: words solved one by one, and copied, give what the whole text as one word gives. */
START_TEST(token_words_change_nothing) {
  static int32_t whole[8192];
  static char text[4096];
  static float scores[1024];
  struct vocab *v = token_test_load("vocab-unigram.gguf"), uncut;
  uint32_t seed = 9;
  ck_assert_int_le(v->n_tokens, ARRAY_LEN(scores));
  for (int id = 0; id < v->n_tokens; id++) scores[id] = id % 3 ? -1.1f : -3.3e-13f; // many ways as good, up to rounding
  for (int round = 0; round < 300; round++) {
    if (round == 150) v->scores = (const char *)scores;
    uncut = *v;
    memset(uncut.space_follows, 0xFF, sizeof uncut.space_follows);
    const char *scraps[] = {"the ", "tool ", "a", "e", "..", " ", "\n", "\xCE\xA9", "\xE2\x96\x81", "\xEF\xAC\x81", "reads ", "e\xCC\x81",
                            "the tool reads "};
    uint32_t len = 0, kinds = round % 2 ? (uint32_t)ARRAY_LEN(scraps) : 4;
    while (len + 16 < sizeof text) {
      struct str scrap = str_from(scraps[token_test_random(&seed) % kinds]);
      if (round >= 150) scrap = (struct str){&"theoindrsa the"[token_test_random(&seed) % 12], 1}; // short words of few letters, so twice
      memcpy(text + len, scrap.ptr, scrap.len);
      len += (uint32_t)scrap.len;
    }
    int n = token_test_encode(&uncut, (struct str){text, len}, false, false);
    memcpy(whole, token_test_ids, sizeof *whole * (size_t)n);
    ck_assert_int_eq(token_test_encode(v, (struct str){text, len}, false, false), n);
    ck_assert_mem_eq(whole, token_test_ids, sizeof *whole * (size_t)n);
  }
}
END_TEST

/* WordPiece looks at eight bytes at a time: where a word lies in them, and its case, must not matter. */
START_TEST(token_places_change_nothing) {
  static const char *const words[] = {"a", "tool", "numbers", "repository", "x1y22z333", "straightforwardness"};
  struct vocab *v = token_test_load("vocab-wordpiece.gguf");
  char text[128];
  for (int i = 0; i < ARRAY_LEN(words); i++) {
    int32_t want[32];
    size_t len = strlen(words[i]);
    int n = token_test_encode(v, str_from(words[i]), false, false);
    ck_assert_int_gt(n, 0);
    memcpy(want, token_test_ids, sizeof *want * (size_t)n);
    for (size_t before = 0; before < 17; before++)
      for (size_t behind = 0; behind < 10; behind++) {
        memset(text, before % 3 ? ' ' : '\t', sizeof text);
        for (size_t k = 0; k < len; k++) text[before + k] = (char)(words[i][k] - (words[i][k] >= 'a' && behind % 2 ? 'a' - 'A' : 0));
        ck_assert_int_eq(token_test_encode(v, (struct str){text, before + len + behind}, false, false), n);
        ck_assert_mem_eq(want, token_test_ids, sizeof *want * (size_t)n);
      }
  }
}
END_TEST

START_TEST(token_names_of_pre_tokenizers) { // that files carry
  static const char names[] =
    "default llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano deepseek-llm deepseek-coder deepseek-v3 "
    "spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jais-2 "
    "gemma4 granite-embed-multi-311m sarvam-moe jina-v1-en jina-v2-code roberta-bpe refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 qwen35 "
    "stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe glm4 glm5 viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 "
    "exaone-moe chameleon minerva-7b megrez gpt-4o llama4 kanana2 talkie granite-embed-multi-97m tiny_aya cohere2moe superbpe trillion "
    "granite-docling bailingmoe bailingmoe2 llada-moe seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 afmoe "
    "laguna minimax-m2 solar-open mellum2 minicpm5 ";
  int n = 0;
  for (const char *at = names, *end; (end = strchr(at, ' ')); at = end + 1, n++)
    ck_assert_msg(pre_find((struct str){at, (size_t)(end - at)}), "%.*s", (int)(end - at), at);
  ck_assert_int_eq(n, 90);
  ck_assert(!pre_find(STR("llama")) && !pre_find(STR("gpt")) && !pre_find(STR("qwen2 ")) && !pre_find(STR("")));
}
END_TEST

static const char *const token_test_scraps[] = {
  "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<bos>", "[CLS]", "[SEP]", "<tool>", "<unk>", "<|im_",
  "end|>", "<", ">", "|", " ", " ", " ", "@@", "Hello", " world", "\n", "it's", "\xC3\xA9", "42"};

START_TEST(token_user_text_is_only_text) {
  char text[1024];
  struct token_span spans[24];
  uint32_t seed = 11;
  for (int k = 0; k < ARRAY_LEN(token_test_vocabs); k++) {
    struct vocab *v = token_test_load(token_test_vocabs[k]);
    for (int round = 0; round < 400; round++) {
      int n_spans = 0;
      uint32_t len = 0, controls = 0;
      for (int i = 0; i < 20; i++) {
        bool user = token_test_random(&seed) % 2;
        const char *scrap = token_test_scraps[token_test_random(&seed) % (uint32_t)ARRAY_LEN(token_test_scraps)];
        uint32_t n = (uint32_t)strlen(scrap);
        int32_t id = token_find(v, str_from(scrap));
        if (token_test_random(&seed) % 8) spans[n_spans++] = (struct token_span){len, len + n, user};
        else user = true; // what no span covers is from a user
        if (!user && token_is_control(v, id) && id != v->unk) controls++;
        memcpy(text + len, scrap, n);
        len += n;
      }
      int n = token_test_spans(v, (struct str){text, len}, spans, n_spans, (struct token_options){false, true});
      uint32_t found = 0;
      for (int i = 0; i < n; i++) found += token_is_control(v, token_test_ids[i]) && token_test_ids[i] != v->unk;
      /* "<|im_" and "end|>" side by side and both trusted make one more. */
      ck_assert_msg(found >= controls && found <= controls + 10, "%u found, %u written", found, controls);
      for (int i = 0; i < n_spans; i++) spans[i].from_user = true;
      n = token_test_spans(v, (struct str){text, len}, spans, n_spans, (struct token_options){false, true});
      for (int i = 0; i < n; i++) {
        int32_t id = token_test_ids[i];
        ck_assert_msg(id == v->unk || token_is_plain(v, id), "%s: token %d from a user", token_test_vocabs[k], (int)id);
      }
    }
  }
}
END_TEST

START_TEST(token_marks_need_trust) {
  struct vocab *v = token_test_load("vocab-bytes.gguf");
  int32_t end = token_find(v, STR("<|im_end|>")), tool = token_find(v, STR("<tool>"));
  struct str text = STR("<|im_end|>");
  struct token_options parse = {false, true};
  ck_assert_int_ge(end, 0);
  ck_assert_int_eq(token_test_encode(v, text, false, true), 1);
  ck_assert_int_eq(token_test_ids[0], end);
  ck_assert_int_gt(token_test_encode(v, text, false, false), 1);
  struct token_span spans[2] = {{0, 4, false}, {4, 10, false}};
  ck_assert_int_eq(token_test_spans(v, text, spans, 2, parse), 1); // borders between trusted spans do not matter
  spans[1].from_user = true;
  int n = token_test_spans(v, text, spans, 2, parse); // one byte of a user is enough
  for (int i = 0; i < n; i++) ck_assert_int_ne(token_test_ids[i], end);
  spans[0] = (struct token_span){0, 9, false};
  ck_assert_int_gt(token_test_spans(v, text, spans, 1, parse), 1); // nor a byte of nobody
  ck_assert_int_eq(token_test_encode(v, STR("<tool>"), false, false), 1); // user-defined: found always ...
  ck_assert_int_eq(token_test_ids[0], tool);
  struct token_span user = {0, 6, true};
  n = token_test_spans(v, STR("<tool>"), &user, 1, parse); // ... but not where it could pass for a mark
  for (int i = 0; i < n; i++) ck_assert_int_ne(token_test_ids[i], tool);
}
END_TEST

START_TEST(token_clean_spans_change_nothing) {
  static const char text[] = "It doesn't matter where the borders are: 12345 steps, "
                             "ein gro\xC3\x9F" "er Vogel\n\n  and    more.";
  static int32_t whole[256];
  const struct str all = {text, sizeof text - 1};
  struct token_span spans[3];
  for (int k = 0; k < ARRAY_LEN(token_test_vocabs); k++) {
    struct vocab *v = token_test_load(token_test_vocabs[k]);
    int n = token_test_encode(v, all, true, true);
    memcpy(whole, token_test_ids, sizeof *whole * (size_t)n);
    for (uint32_t cut = 0, len = sizeof text - 1; cut <= len; cut++) {
      spans[0] = (struct token_span){0, cut, false};
      spans[1] = (struct token_span){cut, (cut + len) / 2, true};
      spans[2] = (struct token_span){(cut + len) / 2, len, false};
      ck_assert_int_eq(token_test_spans(v, all, spans, 3, (struct token_options){true, true}), n);
      ck_assert_mem_eq(whole, token_test_ids, sizeof *whole * (size_t)n);
    }
  }
}
END_TEST

START_TEST(token_longest_special_first) {
  struct vocab *v = token_test_load("vocab-bytes.gguf");
  int32_t four = token_find(v, STR("    ")), two = token_find(v, STR("  "));
  int n = token_test_encode(v, STR("       "), false, false); // seven: 4 + 2 + a space
  ck_assert_int_eq(n, 3);
  ck_assert_int_eq(token_test_ids[0], four);
  ck_assert_int_eq(token_test_ids[1], two);
  n = token_test_encode(v, STR("x  y"), false, false);
  ck_assert_int_eq(n, 3);
  ck_assert_int_eq(token_test_ids[1], two);
}
END_TEST

START_TEST(token_begin_and_end) {
  static const struct { const char *vocab; int32_t first, last; } want[] = { // -1: none is added
    {"vocab-bytes.gguf", -1, -1}, {"vocab-chars.gguf", 2, -1}, {"vocab-spm.gguf", 1, -1}, {"vocab-unigram.gguf", -1, 2},
    {"vocab-wordpiece.gguf", 2, 3}};
  for (int i = 0; i < ARRAY_LEN(want); i++) {
    struct vocab *v = token_test_load(want[i].vocab);
    int plain = token_test_encode(v, STR("a"), false, true), n = token_test_encode(v, STR("a"), true, true);
    ck_assert_int_eq(n, plain + (want[i].first >= 0) + (want[i].last >= 0));
    if (want[i].first >= 0) ck_assert_int_eq(token_test_ids[0], want[i].first);
    if (want[i].last >= 0) ck_assert_int_eq(token_test_ids[n - 1], want[i].last);
    ck_assert_int_eq(token_test_encode(v, STR(""), true, true), (want[i].first >= 0) + (want[i].last >= 0));
  }
  struct vocab *v = token_test_load("vocab-bytes.gguf");
  ck_assert_int_eq(v->pad, TOKEN_NONE); // all ones
  ck_assert(token_is_eog(v, token_find(v, STR("<|im_end|>"))) && token_is_eog(v, v->eos));
  ck_assert(!token_is_eog(v, token_find(v, STR("<|im_start|>"))) && !token_is_eog(v, 5));
  ck_assert(token_is_control(v, v->bos) && !token_is_control(v, 5) && !token_is_control(v, -1) &&
      !token_is_control(v, 1 << 30));
  ck_assert_int_eq(token_find(v, STR("no such token")), TOKEN_NONE);
  ck_assert_uint_eq(token_text(v, v->n_tokens).len, 0);
}
END_TEST

START_TEST(token_too_little_room) {
  struct arena a = test_arena(1 << 20);
  for (int k = 0; k < ARRAY_LEN(token_test_vocabs); k++) {
    struct vocab *v = token_test_load(token_test_vocabs[k]);
    struct bk_error e = {0};
    int32_t ids[3];
    int n = -1;
    struct str text = STR("a b c d e f g h i j k l m n o p q r s t u v w x y z");
    ck_assert(!token_encode(v, text, (struct token_options){true, false}, a, ids, 3, &n, &e));
    test_error(&e, ERR_DATA, "more than 3 tokens");
    ck_assert_int_eq(n, 0);
    e.code = 0;
    ck_assert(!token_encode(v, text, (struct token_options){true, false}, (struct arena){0, 0}, token_test_ids, 99,
        &n, &e));
    test_error(&e, ERR_DATA, "more memory");
  }
}
END_TEST

/* ---- the stream ---- */

START_TEST(token_stream_holds_back) {
  char memory[64];
  struct buf out = {memory, 0, sizeof memory, false};
  struct vocab *v = token_test_load("vocab-chars.gguf");
  struct token_stream s = token_stream_start(v, false, true);
  const uint8_t bird[] = {0xF0, 0x9F, 0x90, 0xA6};
  for (int i = 0; i < 4; i++) {
    ck_assert_uint_eq(out.len, 0);
    token_stream_put(&s, v->byte_id[bird[i]], &out);
  }
  ck_assert(str_is(buf_str(&out), "\xF0\x9F\x90\xA6"));
  out.len = 0;
  token_stream_put(&s, v->byte_id[0xFF], &out); // can never begin a character
  ck_assert(str_is(buf_str(&out), "\xEF\xBF\xBD"));
  out.len = 0;
  token_stream_put(&s, v->byte_id[0xE2], &out);
  token_stream_put(&s, v->byte_id['a'], &out); // what was begun never came
  ck_assert(str_is(buf_str(&out), "\xEF\xBF\xBD" "a"));
  out.len = 0;
  token_stream_put(&s, v->bos, &out);
  token_stream_put(&s, v->byte_id[0xE2], &out);
  ck_assert_uint_eq(out.len, 0);
  token_stream_end(&s, &out);
  ck_assert(str_is(buf_str(&out), "\xEF\xBF\xBD"));
  s = token_stream_start(v, true, true);
  out.len = 0;
  token_stream_put(&s, v->bos, &out);
  ck_assert(str_is(buf_str(&out), "<bos>"));
}
END_TEST

START_TEST(token_stream_first_space) {
  char memory[64];
  struct buf out = {memory, 0, sizeof memory, false};
  struct vocab *v = token_test_load("vocab-spm.gguf");
  for (int start = 0; start < 2; start++) {
    int n = token_test_encode(v, STR("the tool  is"), true, false);
    struct token_stream s = token_stream_start(v, false, start);
    out.len = 0;
    for (int i = 0; i < n; i++) token_stream_put(&s, token_test_ids[i], &out);
    token_stream_end(&s, &out);
    ck_assert(str_is(buf_str(&out), start ? "the tool  is" : " the tool  is"));
  }
}
END_TEST

/* ---- vocabularies that must be refused, or survived ---- */

struct token_test_vocab { // a byte-level vocabulary of four tokens, with one thing wrong
  const char *model, *pre, *merge, *type_key;
  uint32_t n_types, bos, type_type;
  const char *tokens[4];
  bool add_bos;
};

static bool token_test_try(struct token_test_vocab o, struct vocab **v, struct bk_error *e) {
  static char memory[1 << 14];
  static struct gguf file;
  struct buf b = {memory, 0, sizeof memory, false};
  struct arena a = test_arena(1 << 20);
  gw_begin(&b, 3, 0, 7);
  gw_key(&b, STR("tokenizer.ggml.model"), GGUF_STRING);
  gw_string(&b, str_from(o.model));
  gw_key(&b, STR("tokenizer.ggml.pre"), GGUF_STRING);
  gw_string(&b, str_from(o.pre));
  gw_array(&b, STR("tokenizer.ggml.tokens"), GGUF_STRING, 4);
  for (int i = 0; i < 4; i++) gw_string(&b, str_from(o.tokens[i]));
  gw_array(&b, STR("tokenizer.ggml.merges"), GGUF_STRING, 1);
  gw_string(&b, str_from(o.merge));
  gw_array(&b, str_from(o.type_key), o.type_type, o.n_types);
  for (uint32_t i = 0; i < o.n_types; i++) gw_uint(&b, o.type_type == GGUF_F32 ? 0x7FC00000 : 1,
      gguf_type_bytes[o.type_type]);
  gw_number(&b, STR("tokenizer.ggml.bos_token_id"), GGUF_U32, o.bos);
  gw_number(&b, STR("tokenizer.ggml.add_bos_token"), GGUF_BOOL, o.add_bos);
  ck_assert_msg(gguf_open_memory(&file, buf_str(&b), "test", &a, e), "%s", e->message);
  return token_load(&file, &a, v, e);
}

static const struct token_test_vocab token_test_good = {"gpt2", "gpt-2", "a b", "tokenizer.ggml.token_type", 4, 0,
    GGUF_I32,
                                                        {"a", "b", "ab", "c"}, false};

START_TEST(token_damage_is_refused) {
  static const struct { int what; const char *says; } cases[] = {
    {0, "not supported: tokenizer rwkv"}, {1, "not supported: pre-tokenizer martian"}, {2, "merge 0 is \"ab\""},
    {3, "has 3 elements for 4 tokens"}, {4, "expected an array of i32"}, {5, "bos_token_id is 4, but there are 4"},
    {6, "names none"}, {7, "score of token 0"}, {8, "merge 0 is \"a \""}};
  for (int i = 0; i < ARRAY_LEN(cases); i++) {
    struct token_test_vocab o = token_test_good;
    struct bk_error e = {0};
    struct vocab *v;
    switch (cases[i].what) {
    case 0: o.model = "rwkv"; break;
    case 1: o.pre = "martian"; break;
    case 2: o.merge = "ab"; break;
    case 3: o.n_types = 3; break;
    case 4: o.type_type = GGUF_U8; break;
    case 5: o.bos = 4; break;
    case 6: o.bos = UINT32_MAX, o.add_bos = true; break;
    case 7: o.type_type = GGUF_F32, o.type_key = "tokenizer.ggml.scores"; break;
    default: o.merge = "a "; break;
    }
    ck_assert(!token_test_try(o, &v, &e));
    test_error(&e, ERR_DATA, cases[i].says);
  }
}
END_TEST

START_TEST(token_odd_vocabularies_work) {
  struct token_test_vocab o = token_test_good;
  struct bk_error e = {0};
  struct vocab *v = NULL;
  ck_assert_msg(token_test_try(o, &v, &e), "%s", e.message);
  ck_assert_int_eq(token_test_encode(v, STR("abca"), false, false), 3);
  ck_assert_int_eq(token_test_ids[0], 2);
  o.tokens[3] = "a"; // a duplicate: the first id wins
  ck_assert_msg(token_test_try(o, &v, &e), "%s", e.message);
  ck_assert_int_eq(token_find(v, STR("a")), 0);
  ck_assert(str_is(token_text(v, 3), "a"));
  o.merge = "a x"; // unknown pieces: never applies
  ck_assert_msg(token_test_try(o, &v, &e), "%s", e.message);
  ck_assert_int_eq(token_test_encode(v, STR("ab"), false, false), 2);
  o.tokens[2] = ""; // an empty token is never found
  ck_assert_msg(token_test_try(o, &v, &e), "%s", e.message);
  ck_assert_int_eq(token_find(v, STR("")), TOKEN_NONE);
  ck_assert_int_eq(token_test_encode(v, STR("abz"), false, true), 2); // z is no token: nothing, as in llama.cpp
}
END_TEST

START_TEST(token_any_charsmap_is_survived) {
  static char blob[512];
  uint32_t seed = 3;
  struct vocab *loaded = token_test_load("vocab-unigram.gguf"), v = *loaded;
  for (int round = 0; round < 2000; round++) {
    for (size_t i = 0; i < sizeof blob; i++) blob[i] = (char)(token_test_random(&seed) % (round % 2 ? 256 : 4));
    v.charsmap = (struct str){blob, 400};
    v.replacements = (struct str){blob + 400, (size_t)(round % 100)};
    unigram_load_plain(&v);
    token_test_encode(&v, STR("\x01\x02\x03 any text at all \xFF\xE2\x96"), true, true);
  }
}
END_TEST

static Suite *token_suite(void) {
  Suite *s = suite_create("token");
  TCase *c = tcase_create("token");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, token_golden_ids);
  tcase_add_test(c, token_golden_cuts);
  tcase_add_test(c, token_unicode_tables);
  tcase_add_test(c, token_byte_alphabet);
  tcase_add_test(c, token_bytes_come_back);
  tcase_add_test(c, token_long_runs_end);
  tcase_add_test(c, token_windows_change_nothing);
  tcase_add_test(c, token_words_change_nothing);
  tcase_add_test(c, token_places_change_nothing);
  tcase_add_test(c, token_names_of_pre_tokenizers);
  tcase_add_test(c, token_user_text_is_only_text);
  tcase_add_test(c, token_marks_need_trust);
  tcase_add_test(c, token_clean_spans_change_nothing);
  tcase_add_test(c, token_longest_special_first);
  tcase_add_test(c, token_begin_and_end);
  tcase_add_test(c, token_too_little_room);
  tcase_add_test(c, token_stream_holds_back);
  tcase_add_test(c, token_stream_first_space);
  tcase_add_test(c, token_damage_is_refused);
  tcase_add_test(c, token_odd_vocabularies_work);
  tcase_add_test(c, token_any_charsmap_is_survived);
  suite_add_tcase(s, c);
  return s;
}
