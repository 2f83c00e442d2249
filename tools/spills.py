#!/usr/bin/env python3
"""Fails when a product tile keeps its sums on the stack: disassembles a build of tests/kern.c for x86-64 and looks, in each
AVX-512 product, for the loops with 64 or more vpdpbusd: one must be there, and none may store more than MOST vectors to the
stack. A compiler that unrolls no tile, or spills in it, takes twice the time and gives the same answers.

usage: tools/spills.py build/release/kern... SPDX-License-Identifier: MIT
"""
import re
import subprocess
import sys

MOST = 20  # of about 100 products and more: a twentieth of the time or less
TILES = "kern_(q[0-9]+m?|k[4-6]m?)_avx512"


def instructions(binary, function):
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "--disassemble=" + function, binary], capture_output=True,
                          text=True, check=True).stdout
    found = re.findall(r"^\s*([0-9a-f]+):\s+(.*?)\s*$", text, re.M)
    return [(int(address, 16), what) for address, what in found]


def innermost_loops(code):
    index = {address: i for i, (address, _) in enumerate(code)}
    loops = []
    for i, (_, what) in enumerate(code):
        jump = re.match(r"j\w+\s+([0-9a-f]+)", what)
        begin = index.get(int(jump.group(1), 16)) if jump else None
        if begin is not None and begin <= i:
            loops.append((begin, i))
    return [a for a in loops if not any(b != a and b[0] >= a[0] and b[1] <= a[1] for b in loops)]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip().splitlines()[-1])
    good = bad = 0
    for binary in sys.argv[1:]:
        symbols = subprocess.run(["nm", binary], capture_output=True, text=True, check=True).stdout
        functions = sorted(set(re.findall(r"\b" + TILES.replace("(", "(?:") + r"\b", symbols)))
        for function in functions:
            code = instructions(binary, function)
            frame = any(re.match(r"mov\s+%rsp,%rbp", what) for _, what in code)
            stack = r"vmov\w+\s+%[xyz]mm\d+,-?(0x)?[0-9a-f]*\(%r" + ("[sb]p" if frame else "sp")
            tiles = [[what for _, what in code[a:b + 1]] for a, b in innermost_loops(code)]
            tiles = [t for t in tiles if sum("vpdpbusd" in what for what in t) >= 64]
            stores = [sum(bool(re.match(stack, what)) for what in t) for t in tiles]
            if tiles and max(stores) <= MOST:
                good += 1
            else:
                bad += 1
                print("%s: %s: %s" % (binary, function, "stores to the stack in its tiles: %s" % stores if tiles
                                      else "no loop of 64 products: not unrolled"))
        if not functions:
            bad += 1
            print("%s: no AVX-512 products in it" % binary)
    print("%d passed, %d failed" % (good, bad))
    sys.exit(bad != 0)


main()
