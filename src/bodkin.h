/* bodkin.h -- the public interface. If a function is not in this file, it is not part of the interface.
 *
 * Two things and a verb. A *model* is loaded weights, with their memory and threads. A *session* is one sequence of
 * tokens that the model has read. bk_session_sync makes a session hold a given sequence: what it already holds of it is
 * kept, only the rest is computed. Then the logits say what may come next.
 *
 *   struct bk_error e = {0};
 *   struct bk_model *m = bk_model_open("model.gguf", NULL, &e);
 *   struct bk_session *s = m ? bk_session_open(m, &e) : NULL;
 *   struct bk_sampler sampler = bk_sampler_default(42);
 *   int32_t ids[512], n = s ? bk_model_tokenize(m, "Once upon", 9, BK_ADD_SPECIAL, ids, 512, &e) : -1;
 *   while (n > 0 && n < 512 && bk_session_sync(s, ids, n, &e)) {
 *     ids[n] = bk_session_sample(s, &sampler, &e);
 *     if (ids[n] < 0 || bk_model_is_end(m, ids[n])) break;
 *     char piece[256];
 *     fwrite(piece, 1, bk_model_piece(m, ids[n++], piece, sizeof piece), stdout);
 *   }
 *   if (e.code) fprintf(stderr, "%s\n", e.message);
 *   bk_session_close(s);
 *   bk_model_close(m);
 *
 * Memory is reserved by bk_model_open and bk_session_open, and by bk_model_embed and bk_model_rerank until they return.
 * The same tokens give the same logits, bit for bit, whatever the number of threads and however the sequence was cut. A
 * model and its sessions belong to one thread at a time; two models are independent. No function prints, exits or changes
 * a global setting.
 * SPDX-License-Identifier: MIT */
#ifndef BODKIN_H
#define BODKIN_H

#include <stddef.h>
#include <stdint.h>

#define BK_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef BK_API
#define BK_API /* before every function: define it for a shared library, or as static to take the source into your own */
#endif

/* An error: code 0 is none; otherwise a number of sysexits.h (64 usage, 65 bad data, 66 no input, 69 not available,
 * 71 out of memory, 74 input or output, 75 try later, 77 not permitted) and one sentence that says what is wrong and
 * where. Give a zeroed one to each call; the first error is kept. */
struct bk_error {
  int code;
  char message[512];
};

/* ---- models ---- */

enum bk_kv { BK_KV_F16, BK_KV_F32, BK_KV_Q8_0 };

struct bk_options {     /* zeroed: the defaults */
  const char *isa;      /* NULL: the best of this machine; else scalar, avx2, avx_vnni, avx512, neon, neon_dot or neon_i8mm */
  int threads;          /* 0: as many as this process may use */
  int context;          /* tokens of a session; 0: the model's, at most 4096 */
  int sessions;         /* open at once, or texts side by side in bk_model_embed and bk_model_rerank; 0: 1 */
  enum bk_kv kv;        /* how keys and values are kept */
  int exact;            /* not 0: float32 activations, keys and values; slow */
  uint64_t memory;      /* ceiling in bytes; 0: none */
  const char *const *loras; /* adapters (LoRA), at most 16, "FILE" or "FILE=SCALE", then NULL; NULL: none */
};

struct bk_model;

/* Loads a GGUF file. options NULL: defaults. Result: a model, to be closed; NULL with an error on failure, nothing is
 * left open then. Any thread. */
BK_API struct bk_model *bk_model_open(const char *path, const struct bk_options *options, struct bk_error *e);

/* Frees a model; its sessions must be closed. NULL is allowed. */
BK_API void bk_model_close(struct bk_model *m);

BK_API int bk_model_vocabulary(const struct bk_model *m); /* tokens; ids are 0 .. that - 1 */
BK_API int bk_model_context(const struct bk_model *m);    /* tokens of a session */

enum { BK_ADD_SPECIAL = 1,    /* begin and end tokens as the model wants them */
       BK_PARSE_SPECIAL = 2 };/* control tokens written in the text become control tokens: only for text you trust */

/* Text to at most `max` ids. Result: their number; -1 with an error if they do not fit or the model has no vocabulary. */
BK_API int bk_model_tokenize(struct bk_model *m, const char *text, size_t bytes, int flags, int32_t *ids, int max,
                             struct bk_error *e);

/* The bytes of a token, at most `max` of them, not terminated; a character may be spread over several tokens.
 * Result: the bytes written; 0 for control tokens and for ids out of range. */
BK_API size_t bk_model_piece(const struct bk_model *m, int32_t id, char *out, size_t max);

/* Does this token end an answer? */
BK_API int bk_model_is_end(const struct bk_model *m, int32_t id);

/* A conversation, as a JSON array of {"role": "...", "content": "..."}, to the ids that ask for the next answer, by the
 * model's own chat template. What stands in a content can never become a control token. Result: the number of ids; -1
 * with an error: bad JSON, a template that refuses, a model without one, more than `max`. */
BK_API int bk_model_chat(struct bk_model *m, const char *messages, size_t bytes, int32_t *ids, int max, struct bk_error *e);

/* ---- sessions ---- */

struct bk_session;

/* Result: an empty session, to be closed before its model; NULL with an error if bk_options.sessions are open. */
BK_API struct bk_session *bk_session_open(struct bk_model *m, struct bk_error *e);
BK_API void bk_session_close(struct bk_session *s); /* NULL is allowed */

/* Makes the session hold exactly these n >= 1 tokens. Result: 1; 0 with an error (ids out of range, more than the context,
 * 75 if bk_session_stop was called meanwhile), and then what the session holds is a prefix of the ids. */
BK_API int bk_session_sync(struct bk_session *s, const int32_t *ids, int n, struct bk_error *e);

/* Ends the running bk_session_sync, or the next if none runs, before its next step. The only function that a signal
 * handler or another thread may call. */
BK_API void bk_session_stop(struct bk_session *s);

/* Logits after the last token of a successful sync, bk_model_vocabulary of them; valid until the next call that takes the
 * session. NULL if there was none. */
BK_API const float *bk_session_logits(const struct bk_session *s);

/* ---- vectors and rankings ---- */

enum { BK_POOL_MODEL, BK_POOL_MEAN, BK_POOL_CLS, BK_POOL_LAST };     /* how tokens become one vector; BK_POOL_MODEL: as the file says */
enum { BK_TRUNCATE_ERROR, BK_TRUNCATE_END, BK_TRUNCATE_START };      /* what becomes of a text that is longer than the context */

struct bk_embed {       /* zeroed: the defaults */
  int pooling, truncate;
  int dimensions;       /* the first of them are kept; 0: all */
  int raw;              /* not 0: vectors keep their length; else it is 1 */
  const char *prompt;   /* in front of every text; NULL: nothing */
};

struct bk_text {
  const char *ptr;      /* UTF-8 */
  size_t bytes;
};

BK_API int bk_model_dimensions(const struct bk_model *m); /* floats of a vector */

/* n texts to n vectors, out (n, dimensions). A vector depends on its text alone, bit for bit. how NULL: defaults. Sessions
 * that are open keep their places. Result: 1; 0 with an error that names the text: too long, no tokens, a NaN. */
BK_API int bk_model_embed(struct bk_model *m, const struct bk_text *texts, int n, const struct bk_embed *how, float *out,
                          struct bk_error *e);

/* How well each of n texts answers the query, by a ranking model: scores (n), larger is better, without sigmoid.
 * truncate: of the texts, never of the query. Result: as of bk_model_embed. */
BK_API int bk_model_rerank(struct bk_model *m, struct bk_text query, const struct bk_text *texts, int n, int truncate, float *scores,
                           struct bk_error *e);

/* ---- sampling ---- */

struct bk_sampler {        /* change what you like; `state` moves with every draw */
  float temperature;       /* 0: always the most likely token */
  int top_k;               /* 0: all */
  float top_p, min_p;      /* 1 and 0: off */
  float repetition_penalty, presence_penalty, frequency_penalty; /* 1, 0 and 0: off */
  int penalty_window;      /* tokens looked back on by the three */
  uint64_t state;          /* set it to a seed: same seed, same tokens */
};

/* Temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, no penalties. */
BK_API struct bk_sampler bk_sampler_default(uint64_t seed);

/* The next token by the session's logits; it is not appended. -1 with an error if no logit is finite. */
BK_API int32_t bk_session_sample(struct bk_session *s, struct bk_sampler *sampler, struct bk_error *e);

#ifdef __cplusplus
}
#endif
#endif
