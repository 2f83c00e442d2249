#!/bin/sh
# Runs what `make test` has built and sums up: one line per program, the log of those that fail, the totals last.
#
#   tools/run_tests.sh BUILD CC     BUILD holds check, kern, fuzz_*, page4, oneline, embed, vectors; ./bodkin is what is tested
#
# A program counts its own tests: "N passed, N failed", Check's closing line, or Python's. Run from the project's root.
# SPDX-License-Identifier: MIT
set -u
export LC_ALL=C
build=$1
log=$build/test.log
passed=0 failed=0

# The last totals of a log as "PASSED FAILED"; nothing if there are none.
count() {
  awk '
    /^[0-9]+ passed, [0-9]+ failed/ { good = $1; bad = $3; found = 1 }
    /^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ { gsub(/,/, ""); bad = $5 + $7; good = $3 - bad; found = 1 }
    /^Ran [0-9]+ tests? in / { good = $2; bad = 0; found = 1; python = 1 }
    python && /^(OK|FAILED) \(/ {
      gsub(/[^a-z0-9 ]/, " ")
      for (i = 1; i < NF; i++) {
        if ($i == "skipped") good -= $(i + 1)
        if ($i == "failures" || $i == "errors") { bad += $(i + 1); good -= $(i + 1) }
      }
    }
    END { if (found) print good + 0, bad + 0 }' "$1"
}

run() { # name command...
  name=$1
  shift
  "$@" >"$log" 2>&1 </dev/null
  status=$?
  # shellcheck disable=SC2046
  set -- $(count "$log")
  good=${1:-0} bad=${2:-0}
  if [ $# -eq 0 ]; then # it does not count: it is one test
    good=$((status == 0)) bad=$((status != 0))
  elif [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1 # ended early
  fi
  passed=$((passed + good)) failed=$((failed + bad))
  printf '%-28s %s passed, %s failed\n' "$name" "$good" "$bad"
  [ "$bad" -eq 0 ] || { echo "--- $name: exit $status"; tail -n 60 "$log"; echo "---"; }
}

same_hash() { # binary: the numbers of ./bodkin
  ours=$(tools/eval_hash.sh ./bodkin) && theirs=$(tools/eval_hash.sh "$1") || return 1
  echo "./bodkin $ours, $1 $theirs"
  [ "$ours" = "$theirs" ]
}

embed() { # the example finds the same text as the command line
  theirs=$("$build/embed" tests/golden/llama-tiny-f32.gguf "one two three") || return 1
  again=$("$build/embed" tests/golden/llama-tiny-f32.gguf "one two three") || return 1
  [ -n "$theirs" ] && [ "$theirs" = "$again" ]
}

vectors() { # the example's texts are as near each other as those of the command line
  model=tests/families/roberta/roberta-f16.gguf
  printf '%s\n' "hello world" "a text" "hello world" |
    ./bodkin embed -m $model --format f32 | python3 -c "import array, sys
v = array.array('f', sys.stdin.buffer.read())
n = len(v) // 3
for i in range(3): print('%.6f' % sum(x * y for x, y in zip(v[:n], v[i * n:])))" >"$build/cosines" || return 1
  "$build/vectors" $model "hello world" "a text" "hello world" | cut -d ' ' -f 1 | diff - "$build/cosines"
}

if [ -x "$build/check" ]; then
  run "suites" "$build/check"
else
  echo "suites: not run, Check is not installed; on Debian and Ubuntu: apt-get install check pkg-config"
  failed=$((failed + 1))
fi
run "kernels" "$build/kern"
for target in "$build"/fuzz_*; do
  name=${target##*/fuzz_}
  [ -f "tests/fuzz_$name.c" ] && [ -x "$target" ] || continue
  # shellcheck disable=SC2046
  run "corpus of $name" "$target" $(tools/corpora.sh "$name")
done
run "same bits" tools/eval_hash.sh --vary ./bodkin
run "same bits, pages of 4, debug" tools/eval_hash.sh --vary "$build/page4"
run "same bits, one-line build" same_hash "$build/oneline"
run "example, single-file build" embed
run "example of vectors" vectors
for test in tests/test_*.py; do
  name=${test##*/}
  case $name in
    test_fetch.py) run "$name" python3 "$test" ;; # of a tool, not of the binary
    *) run "$name" python3 "$test" ./bodkin ;;
  esac
done
[ ! -f tests/test_eval.py ] || run "test_eval.py, pages of 4" python3 tests/test_eval.py "$build/page4"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
