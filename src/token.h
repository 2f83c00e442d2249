/* token.h -- text <-> token ids, for every kind of vocabulary that GGUF files carry: what the token files share.
 *
 * A vocabulary is loaded once and never changes: any number of threads may use it. Strings stay views into the mapped
 * file; hash tables live in the arena given to token_load. Encoding allocates from the scratch arena it is given and
 * from nothing else. A control token comes out of a text only where the caller lets text be parsed for it.
 * SPDX-License-Identifier: MIT */
#ifndef TOKEN_H
#define TOKEN_H

enum token_kind {
  TOKEN_BYTES,    // byte-level BPE: words by a pre-tokenizer, merges by rank
  TOKEN_CHARS,    // BPE with ranks on characters, spaces as U+2581, byte tokens <0xXX>
  TOKEN_SCORES,   // SentencePiece BPE: merges by score, spaces as U+2581, byte tokens <0xXX>
  TOKEN_UNIGRAM,  // SentencePiece unigram: the most probable path
  TOKEN_WORDPIECE // greedy longest match inside words
};

enum { // attributes of a token, bits
  TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 4, TOKEN_USER = 8, TOKEN_BYTE = 16, TOKEN_UNUSED = 32,
  TOKEN_LSTRIP = 64, TOKEN_RSTRIP = 128 // white space beside the token belongs to it
};

enum {
  TOKEN_NONE = -1,
  TOKEN_MAX_COUNT = (1 << 22) - 1, // the index keeps an id in 22 bits
  TOKEN_MAX_TEXT = 0xFFFF,         // bytes of one token
  TOKEN_MAX_INPUT = 64 << 20,      // bytes of one text
  TOKEN_MAX_SPECIAL = 512          // bytes of a token that is searched for in text; longer ones are not
};

struct token_pair { // one merge: two neighbours become one
  uint32_t left, right; // ids
  uint32_t rank1;       // rank + 1; 0 marks a free slot
  uint32_t into;        // id
};

struct token_key { // a short piece of WordPiece
  uint64_t text;   // its bytes, then zeros
  uint32_t begins; // 1: at the beginning of a word, 0: inside
  uint32_t id1;    // id + 1; 0: a free slot, UINT32_MAX: written so is what no text may become
};

struct vocab {
  enum token_kind kind;
  int32_t n_tokens;
  int32_t bos, eos, eot, eom, unk, sep, pad, cls, mask; // TOKEN_NONE if there is none
  bool add_bos, add_eos, add_sep;
  bool add_space_prefix, ignore_merges, merge_spaces, lowercase, strip_accents;
  int32_t eog[48]; // ids that end a generation
  int n_eog;
  size_t max_piece; // bytes of the longest token

  const char *text;       // the strings of tokenizer.ggml.tokens, each behind its length (u64)
  const uint32_t *offset; // (n_tokens) of the string behind its length
  uint8_t *attr;          // (n_tokens) bits
  const char *scores;     // (n_tokens) f32 or i32, unaligned, in the map; NULL: all 0
  bool scores_are_ints;

  const uint32_t *index; // (index_size) open addressing: 10 bits of the hash, 22 bits of the id; UINT32_MAX is free
  uint32_t index_size;
  const struct token_pair *pairs; // (n_pairs) open addressing over (left, right)
  uint32_t n_pairs;
  const struct pre_kind *pre; // byte-level BPE: how a text falls into words
  const uint64_t *filter; // (filter_mask + 1) a Bloom filter of tokens (TOKEN_SCORES) or of all their prefixes (unigram)
  uint64_t filter_mask;
  int32_t byte_id[256];       // token of a single byte, or TOKEN_NONE
  bool ascii_plain[128];      // unigram: the normaliser leaves the character as it is, alone and before ASCII
  int32_t ascii_id[128];      // of BPE on characters: token of a character, or TOKEN_NONE
  uint8_t space_follows[32];  // bits: bytes that come before U+2581 inside some token, so no word may end there

  int32_t *special;       // (n_special) tokens to search for in text, sorted bytewise
  uint32_t *special_rank; // (n_special) 0 = first to match where several overlap: the longest
  int n_special;
  uint32_t special_start[257]; // special[special_start[b]] is the first that begins with byte b
  uint8_t special_first[256];  // by first byte: 1 control tokens begin so, 2 others
  int n_searched[2];           // how many are searched for, without and with control tokens

  const struct token_key *keys; // (n_keys) WordPiece: open addressing over (text, begins)
  uint32_t n_keys;
  struct str charsmap;      // unigram: normaliser, a double array ...
  struct str replacements;  // ... and the strings it points to, each ended by NUL
  double unk_score;
};

struct token_options {
  bool add_special;   // BOS, EOS, CLS, SEP as the model wants them
  bool parse_special; // control tokens written in the text become control tokens
};

struct token_span { // bytes beg .. end - 1 of a text
  uint32_t beg, end;
  bool from_user;
};

/* Reads the tokenizer.ggml.* keys. False with an error (65) that names the key: wrong types, lengths, ids out of
 * range, "not supported: tokenizer X", "not supported: pre-tokenizer X". Views into g's map: it must outlive *out. */
static bool token_load(const struct gguf *g, struct arena *a, struct vocab **out, struct bk_error *e);

/* Text to at most max_ids ids. User-defined tokens are found always, control tokens only with parse_special.
 * False with an error if ids or scratch are too small: token_bound and token_scratch say what is always enough. */
static bool token_encode(const struct vocab *v, struct str text, struct token_options o, struct arena scratch,
                         int32_t *ids, int max_ids, int *n_ids, struct bk_error *e);
/* The same for a text put together from trusted and user bytes. Spans are sorted and do not overlap; what none covers
 * counts as from a user. No byte from a user is part of a special token, but merges run across the borders, so an
 * innocent text gives the ids it would give as one string. */
static bool token_encode_spans(const struct vocab *v, struct str text, const struct token_span *spans, int n_spans,
                               struct token_options o, struct arena scratch, int32_t *ids, int max_ids, int *n_ids,
                               struct bk_error *e);
static size_t token_bound(const struct vocab *v, size_t text_bytes);   // most ids of a text of that length
static size_t token_scratch(const struct vocab *v, size_t text_bytes); // bytes of scratch that suffice

static int32_t token_find(const struct vocab *v, struct str text); // the token that is written so, or TOKEN_NONE
static struct str token_text(const struct vocab *v, int32_t id);   // as written in the file; empty if out of range
/* The bytes a token stands for, special tokens as they are written; nothing if out of range. At most v->max_piece. */
static void token_piece(const struct vocab *v, int32_t id, struct buf *out);
static bool token_is_control(const struct vocab *v, int32_t id); // control or unknown: not text
static bool token_is_eog(const struct vocab *v, int32_t id);     // ends a generation

/* Ids to UTF-8, one at a time: holds back what is not yet a whole character. */
struct token_stream {
  const struct vocab *vocab;
  bool special;     // render control tokens as they are written, instead of leaving them out
  bool at_start;    // the next piece loses one leading space, if the vocabulary adds one
  char held[4];     // the beginning of a character
  int n_held;
};
static struct token_stream token_stream_start(const struct vocab *v, bool special, bool at_start);
static void token_stream_put(struct token_stream *s, int32_t id, struct buf *out); // appends valid UTF-8
static void token_stream_end(struct token_stream *s, struct buf *out); // what is still held becomes U+FFFD

/* ---- between the token files ---- */
struct token_cached; // token_bpe.c

struct token_run { // one call of token_encode
  const struct vocab *v;
  struct arena scratch;
  int32_t *ids; // (max)
  size_t n, max;
  struct bk_error *e;
  struct token_cached *cache; // (cache_mask + 1) words seen before, or NULL
  uint32_t cache_mask;
  size_t text_bytes; // of the whole text, for messages
};

static bool token_put(struct token_run *r, int32_t id);
static bool token_full(struct token_run *r);    // false and the error that the ids do not fit
static bool token_no_room(struct token_run *r); // false and the error that the scratch memory is too small
static uint32_t token_byte_char(uint8_t byte);  // the printable character that byte-level BPE writes for a byte
/* May plain text become this token? Not control tokens, nor user-defined ones that look like marks of a chat format. */
static bool token_is_plain(const struct vocab *v, int32_t id);
static int32_t token_mergeable(const struct vocab *v, struct str text); // token_find, plain tokens only
static float token_score(const struct vocab *v, int32_t id);
static uint64_t token_hash_more(uint64_t h, struct str s); // h starts as TOKEN_HASH_START
static int32_t token_find_hash(const struct vocab *v, uint64_t h, struct str a, struct str b); // text a followed by b
#define TOKEN_HASH_START 0xcbf29ce484222325u
#define TOKEN_SPACE STR("\xE2\x96\x81") // U+2581, which stands for a space inside SentencePiece tokens

#endif
