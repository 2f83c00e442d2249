/* bodkin.c -- the unity file of the library: every source file, in the order of the data and of permitted dependency.
 * A file uses only what stands above it; `make split` compiles each prefix of this list to prove it.
 * SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE // madvise, MAP_ANONYMOUS, sched_getaffinity: declared only if asked for before the first header
#endif
/* The same bits from every compiler: a*b+c is one rounding only where the code says so. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("O2") // gcc inlines in proportion to the whole unit, and the kernels are most of it
#endif
#include "base.c"
#include "os.c"
#include "hash.c"
#include "json.c"
#include "gguf.c"
#include "token.h"
#include "token_pre.c"
#include "token_bpe.c"
#include "token_spm.c"
#include "token_unigram.c"
#include "token_wordpiece.c"
#include "token.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("Os") // much code, seldom run: small beats fast
#endif
#include "chat.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#include "fit.c"
#include "kern.c"
#include "tape.c"
#include "kv.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("Os") // run once, at load; but packing's loops are in kern.c
#endif
#include "block.c"
#include "model.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#include "cpu.c"
#include "sample.c"
#include "pool.c"
#include "engine.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("Os") // likewise
#endif
#include "arrow.c"
#include "cache.c"
#include "embed.c"
#include "embed_write.c"
#include "report.c"
#include "rerank.c"
#include "store.c"
#include "convert.c"
#include "convert_token.c"
#include "convert_safetensors.c"
#include "pca.c"
#include "convert_grid.c"
#include "convert_hf.c"
#include "bench.c"
#include "eval.c"
#include "info.c"
#include "verify.c"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
