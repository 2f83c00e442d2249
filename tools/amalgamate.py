#!/usr/bin/env python3
"""Writes one plain C file to standard output: the source named, with every #include "..." replaced by what it names.

usage: tools/amalgamate.py src/bodkin.c > dist/bodkin.c

System headers stay includes. A file with an include guard is put in once, any other wherever it is named (the kernels,
once per instruction set). Deterministic: no date, no path of this machine. SPDX-License-Identifier: MIT
"""
import os
import re
import sys

INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
GUARD = re.compile(r"#ifndef (\w+_H)\n#define \1\n")


def inline(path, shown, seen, out):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    guarded = GUARD.search(text)
    if guarded and path in seen:
        return
    seen.add(path)
    out.append("/* ---- %s ---- */\n" % shown)
    depth = 0  # of #if, the guard not counted
    for line in text.splitlines(keepends=True):
        word = re.match(r"\s*#\s*(if|endif)", line)
        depth += {"if": 1, "endif": -1}[word.group(1)] if word else 0
        include = INCLUDE.match(line)
        if not include:
            out.append(line)
            continue
        below = os.path.normpath(os.path.join(os.path.dirname(path), include.group(1)))
        with open(below, encoding="utf-8") as file:
            once = GUARD.search(file.read())
        if once and below not in seen and depth > bool(guarded):
            sys.exit("amalgamate: %s: %s is included first inside an #if, so later includes would miss it" % (shown, below))
        inline(below, os.path.relpath(below), seen, out)
    if not out[-1].endswith("\n"):
        out.append("\n")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: amalgamate.py FILE.c")
    out = ["/* One file made of the sources named below, to be compiled as it is: cc -std=c99 -O3 -c bodkin.c\n"
           " * Made by tools/amalgamate.py; change the sources, not this. SPDX-License-Identifier: MIT */\n"]
    inline(os.path.normpath(sys.argv[1]), os.path.normpath(sys.argv[1]), set(), out)
    sys.stdout.write("".join(out))


if __name__ == "__main__":
    main()
