#!/bin/sh
# Prints the folders that hold the corpus of a fuzz target: tests/corpus/NAME, and for gguf also the files to be refused.
# SPDX-License-Identifier: MIT
echo "tests/corpus/$1"
[ "$1" != gguf ] || echo tests/corpus/bad
