#!/bin/sh
# One SHA-256 over what `bodkin eval` answers for the small models of tests/golden: equal numbers, equal line.
#
#   tools/eval_hash.sh COMMAND...                 the hash, e.g. COMMAND = ./bodkin, or qemu-aarch64 build/aarch64/bodkin
#   EVAL_OPTIONS="--threads 2" tools/eval_hash.sh ./bodkin       computed in another way
#   tools/eval_hash.sh --vary COMMAND...          threads, chunks, batches and instruction sets must not change it
#
# Numbers only: in how many steps they were computed is left out. Run from the project's root.
# SPDX-License-Identifier: MIT
set -eu
export LC_ALL=C
vary=
[ "${1:-}" != --vary ] || { vary=yes; shift; }
[ $# -gt 0 ] || { echo "usage: tools/eval_hash.sh [--vary] COMMAND..." >&2; exit 64; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A token, a few, and more than fit two pages of keys and values or one step; ids are below 256.
awk 'BEGIN {
  split("1 2 7 17 64 65 150 200", n, " ")
  for (i = 1; i <= 8; i++) {
    printf "{\"id\":%d,\"positions\":[0,-1%s],\"top\":8,\"greedy\":%d,\"ids\":[", i, (n[i] > 2 ? ",1,-2" : ""), (i == 7 ? 0 : 12)
    for (k = 0; k < n[i]; k++) printf "%s%d", k ? "," : "", (k * k * 31 + k * 7 + i * 13) % 250 + 3
    print "]}"
  }
}' >"$work/requests"

hash() { # options... ; 69: this processor or build lacks what they ask for
  : >"$work/answers"
  for model in tests/golden/*-tiny-*.gguf; do
    # shellcheck disable=SC2086
    $command eval -m "$model" $EVAL_OPTIONS "$@" <"$work/requests" >"$work/out" 2>"$work/err" || return $?
    [ "$(grep -c '"sha256"' "$work/out")" = 8 ] || { cat "$work/out" "$work/err" >&2; return 1; }
    { echo "${model##*/}"; sed 's/,"steps":.*//' "$work/out" | sort; } >>"$work/answers"
  done
  sha256sum <"$work/answers" | cut -d' ' -f1
}

command=$*
EVAL_OPTIONS=${EVAL_OPTIONS:-}
first=$(hash) || { status=$?; cat "$work/err" >&2; exit $status; }
[ -n "$vary" ] || { echo "$first"; exit 0; }

passed=0 failed=0
for options in "--chunk 1" "--chunk 3" "--chunk 64" "--batch 1" "--batch 8 --chunk 5" "--threads 1" "--threads 3" \
  "--isa scalar" "--isa avx2" "--isa avx_vnni" "--isa avx512" "--isa neon" "--isa neon_dot" "--isa neon_i8mm"; do
  status=0
  # shellcheck disable=SC2086
  other=$(hash $options) || status=$?
  if [ "$other" = "$first" ]; then
    passed=$((passed + 1))
  elif case "$options" in --isa*) [ $status -ne 1 ] && [ $status -lt 128 ] && [ $status -ne 0 ] ;; *) false ;; esac then
    echo "eval $options: not on this processor"
  else
    failed=$((failed + 1))
    echo "eval $options: $other (exit $status), expected $first" >&2
    cat "$work/err" >&2
  fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
