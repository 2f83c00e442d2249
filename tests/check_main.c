/* check_main.c -- all unit tests in one program: the library's source, then every suite, which so sees its statics.
 *
 * A new suite is a word in SUITES and an #include. Run from the project's root: corpora are read from tests/corpus.
 * CK_FORK=no runs all in one process, as sanitizers and debuggers like it; CK_VERBOSITY=verbose names every test.
 * SPDX-License-Identifier: MIT */
#include "../src/bodkin.c"

#include <check.h>
#include <math.h>

#define SUITES(X) X(base) X(convert) X(hash) X(json) X(gguf) X(token) X(chat) X(chat_property) X(store) X(tape) X(kv) \
  X(model) X(model_arch) X(engine) X(pool) X(vectors) X(sample) X(embed) X(report)

#include "check_support.h"

#include "check_base.c"
#include "check_chat.c"
#include "check_convert.c"
#include "check_embed.c"
#include "check_engine.c"
#include "check_gguf.c"
#include "check_hash.c"
#include "check_json.c"
#include "check_kv.c"
#include "check_model.c"
#include "check_sample.c"
#include "check_store.c"
#include "check_tape.c"
#include "check_model_arch.c" // with what check_tape.c checks
#include "check_pool.c"
#include "check_report.c"
#include "check_vectors.c"
#include "check_token.c"
#include "check_chat_property.c" // with what check_gguf.c writes

int main(void) {
  Suite *(*const make[])(void) = {
#define X(name) name##_suite,
    SUITES(X)
#undef X
  };
  SRunner *runner = srunner_create(make[0]());
  for (int i = 1; i < ARRAY_LEN(make); i++) srunner_add_suite(runner, make[i]());
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? 0 : 1;
}
