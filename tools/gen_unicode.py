#!/usr/bin/env python3
"""Writes gen/unicode.h: the Unicode data the tokenizers need, from the Unicode Character Database.

usage: tools/gen_unicode.py [--ucd DIR] > gen/unicode.h

DIR holds UnicodeData.txt, PropList.txt and DerivedAge.txt; the default is where Debian's package `unicode-data` puts them, so that the
result does not depend on the version of Python. The output has no date and no path in it: same data, same bytes.
"""
import argparse

CLASSES = ["UNASSIGNED", "UPPER", "LOWER", "TITLE", "MODIFIER", "OTHER_LETTER", "MARK_NONSPACING", "MARK_OTHER",
           "NUMBER", "PUNCTUATION", "SYMBOL", "WHITE_SPACE", "CONTROL"]
OF_CATEGORY = {"Lu": 1, "Ll": 2, "Lt": 3, "Lm": 4, "Lo": 5, "Mn": 6, "Mc": 7, "Me": 7, "N": 8, "P": 9, "S": 10, "Z": 11,
               "C": 12}
LIMIT, BLOCK = 0x110000, 256
SINCE_8 = {0x166D: 9, 0x1734: 6, 0x1885: 5, 0x1886: 5, 0xA9BD: 7, 0x111C9: 9}  # classes that were others in Unicode 8


def read(ucd):
    """-> category per code point, lower-case mapping, canonical decomposition (one level)."""
    category, lower, decomposition, first = ["Cn"] * LIMIT, {}, {}, None
    for line in open(ucd + "/UnicodeData.txt", encoding="ascii"):
        f = line.rstrip("\n").split(";")
        code = int(f[0], 16)
        if f[1].endswith(", First>"):
            first = code
            continue
        for c in range(first if f[1].endswith(", Last>") else code, code + 1):
            category[c] = f[2]
        if f[13]:
            lower[code] = int(f[13], 16)
        if f[5] and not f[5].startswith("<"):
            decomposition[code] = [int(x, 16) for x in f[5].split()]
    return category, lower, decomposition


def white_space(ucd):
    result = set()
    for line in open(ucd + "/PropList.txt", encoding="utf-8"):
        fields = line.split("#")[0].split(";")
        if len(fields) == 2 and fields[1].strip() == "White_Space":
            ends = [int(x, 16) for x in fields[0].strip().split("..")]
            result |= set(range(ends[0], ends[-1] + 1))
    return result


def of_version_8(ucd, classes):
    """-> [first, last, class] where BERT's words need the class that Unicode 8 gave; where any letter serves: 0."""
    age = {}
    for line in open(ucd + "/DerivedAge.txt", encoding="utf-8"):
        fields = line.split("#")[0].split(";")
        if len(fields) == 2:
            ends = [int(x, 16) for x in fields[0].strip().split("..")]
            age.update(dict.fromkeys(range(ends[0], ends[-1] + 1), float(fields[1])))
    runs = [[c, c, k] for c, k in SINCE_8.items()]
    merge = False
    for c, k in enumerate(classes):
        if c in SINCE_8 or (k in (6, 9, 11, 12) and age[c] <= 8):
            merge = False
        elif k in (6, 9, 11, 12):
            if merge:
                runs[-1][1] = c
            else:
                runs.append([c, c, 0])
            merge = True
    return sorted(runs)


def decompose(code, table):
    if code not in table:
        return [code]
    return [c for part in table[code] for c in decompose(part, table)]


def lower_runs(lower):
    """-> [first, last, stride, delta]: every code point first, first + stride ... last maps to itself + delta."""
    runs = []
    for code in sorted(lower):
        delta = (lower[code] - code) % (1 << 32)
        if code < 128:
            continue
        if runs and runs[-1][3] == delta:
            run = runs[-1]
            step = code - run[1]
            if step in (1, 2) and (run[0] == run[1] or step == run[2]):
                run[1], run[2] = code, step
                continue
        runs.append([code, code, 1, delta])
    return runs


def print_array(declaration, items, width=120):
    print("static const " + declaration + " = {")
    line = " "
    for item in items:
        text = " " + item + ","
        if len(line) + len(text) > width:
            print(line)
            line = " "
        line += text
    print(line)
    print("};")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ucd", default="/usr/share/unicode")
    ucd = ap.parse_args().ucd
    category, lower, decomposition = read(ucd)
    space = white_space(ucd)
    classes = [11 if c in space else OF_CATEGORY.get(k) or (0 if k == "Cn" else OF_CATEGORY[k[0]])
               for c, k in enumerate(category)]
    blocks, index = {}, []
    for start in range(0, LIMIT, BLOCK):
        block = tuple(classes[start:start + BLOCK])
        index.append(blocks.setdefault(block, len(blocks)))
    assert len(blocks) <= 256

    print("/* gen/unicode.h -- written by tools/gen_unicode.py from UnicodeData.txt, PropList.txt and DerivedAge.txt of the Unicode")
    print(" * Character Database (Debian's package unicode-data). Data only. The data is under the Unicode License v3,")
    print(" * copyright Unicode, Inc. SPDX-License-Identifier: Unicode-3.0 */")
    print("#ifndef GEN_UNICODE_H")
    print("#define GEN_UNICODE_H")
    print()
    print("#include <stdint.h>")
    print()
    print("/* The class of a code point: its general category, with white space (the property White_Space) on its own, and")
    print(" * with control, format, surrogate and private use in one. */")
    print("enum unicode_class {")
    for i, name in enumerate(CLASSES):
        print(f"  UNICODE_{name} = {i},")
    print("};")
    print()
    print("/* Two stages: block = unicode_block[code >> 8]; the class is a nibble of unicode_classes[block], low nibble first. */")
    print_array(f"uint8_t unicode_block[{len(index)}]", [str(i) for i in index])
    packed = []
    for block in blocks:
        packed += [str(block[i] | block[i + 1] << 4) for i in range(0, BLOCK, 2)]
    print_array(f"uint8_t unicode_classes[{len(blocks)} * {BLOCK // 2}]", packed)
    print()
    runs = of_version_8(ucd, classes)
    print("/* What Unicode 8 had in other classes, where that matters to words: {first, last | class << 24}, sorted. */")
    print(f"#define UNICODE_OF_8 {len(runs)}")
    print_array(f"uint32_t unicode_of_8[{len(runs)}][2]", ["{0x%X, 0x%X}" % (a, b | k << 24) for a, b, k in runs])
    print()
    runs = lower_runs(lower)
    print("/* Simple lower case beyond ASCII: {first, last, stride, delta}, sorted; first, first + stride .. last: code + delta. */")
    print(f"#define UNICODE_LOWER_RUNS {len(runs)}")
    print_array(f"uint32_t unicode_lower[{len(runs)}][4]", ["{0x%X, 0x%X, %d, 0x%X}" % tuple(r) for r in runs])
    print()
    print("/* What is left of a code point after canonical decomposition (without Hangul, which is arithmetic) once the")
    print(" * nonspacing marks are dropped: {code, base}, sorted; base 0: nothing. */")
    left = {code: [c for c in decompose(code, decomposition) if category[c] != "Mn"] for code in sorted(decomposition)}
    single = [(c, rest[0] if rest else 0) for c, rest in left.items() if len(rest) < 2]
    several = [(c, len(rest), ", ".join("0x%X" % x for x in rest)) for c, rest in left.items() if len(rest) > 1]
    assert max(n for _, n, _ in several) <= 3
    print(f"#define UNICODE_STRIPPED {len(single)}")
    print_array(f"uint32_t unicode_stripped[{len(single)}][2]", ["{0x%X, 0x%X}" % p for p in single])
    print()
    print("/* The same where more than one is left: {code, how many, up to three code points}, sorted. */")
    print(f"#define UNICODE_STRIPPED_WIDE {len(several)}")
    print_array(f"uint32_t unicode_stripped_wide[{len(several)}][5]", ["{0x%X, %d, %s}" % p for p in several])
    print()
    print("#endif")


if __name__ == "__main__":
    main()
