#!/bin/sh
# Proves the order of src/bodkin.c: every prefix of its list of files is a translation unit of its own, so a file uses
# only what stands above it. The parts of one thing (token_*.c) may also call what its header (token.h) promises.
# Run from the project's root: tools/split.sh [CC]. SPDX-License-Identifier: MIT
set -eu
[ $# -gt 0 ] || set -- "${CC:-cc}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
for line in $(grep -n '^#include "' src/bodkin.c | cut -d: -f1); do
  name=$(sed -n "${line}s/.*\"\(.*\)\".*/\1/p" src/bodkin.c)
  head -n "$line" src/bodkin.c >"$work/prefix.c"
  status=0
  "$@" -std=c99 -fsyntax-only -Isrc -Wno-unused-function -Werror=implicit-function-declaration "$work/prefix.c" \
    >"$work/log" 2>&1 || status=1
  thing=${name%.*}
  thing=${thing%%_*}
  # gcc: 'f' used but never defined; clang: function 'f' has internal linkage but is not defined
  if grep -E 'used but never defined|has internal linkage but is not defined' "$work/log" | grep -v "src/$thing\.h:"; then status=1; fi
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "src/$name uses what stands below it, or does not compile"
    grep -E 'error:' "$work/log" | head -5 || true
  fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
