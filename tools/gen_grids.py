#!/usr/bin/env python3
"""Writes gen/grids.h: the codebooks of the IQ1, IQ2 and IQ3 formats, from the PyPI package `gguf` (gguf/quants.py).

usage: tools/gen_grids.py > gen/grids.h

Of the package only the tables are taken: a grid (rows, weights of a row) of levels. Here a row is one uint16: the
number of each weight's level, 2 bits for each of 8 weights or 4 bits for each of 4, the first weight lowest. The output
has no date and no path in it: same data, same bytes. SPDX-License-Identifier: MIT
"""
import sys

from gguf import GGMLQuantizationType, quants

GRIDS = [("iq1_grid", "IQ1_S"), ("iq2_s_grid", "IQ2_S"), ("iq2_xs_grid", "IQ2_XS"), ("iq2_xxs_grid", "IQ2_XXS"),
         ("iq3_s_grid", "IQ3_S"), ("iq3_xxs_grid", "IQ3_XXS")]  # IQ1_M has that of IQ1_S
HEAD = """\
/* gen/grids.h -- written by tools/gen_grids.py from the PyPI package gguf (its quants.py). Data only: the codebooks of
 * ggml's IQ formats, one uint16 a row: the number of each weight's level, 2 bits for each of 8 weights or 4 bits for
 * each of 4, the first weight lowest. The data is ggml's, copyright (c) 2023 Georgi Gerganov.
 * SPDX-License-Identifier: MIT */
#ifndef GEN_GRIDS_H
#define GEN_GRIDS_H"""
PER_LINE = 14


def rows(kind):
    """-> the grid's levels in ascending order, and every row as one number."""
    kind.init_grid()
    n_rows, n = kind.grid_shape
    levels, bits = list(kind.grid_map), 16 // n
    grid = kind.grid.reshape(n_rows, n).tolist()
    packed = [sum(levels.index(int(x)) << bits * i for i, x in enumerate(row)) for row in grid]
    assert levels == sorted(levels) and len(levels) <= 1 << bits and max(packed) < 1 << 16
    return levels, packed


def main():
    if len(sys.argv) != 1:
        sys.exit("usage: gen_grids.py > gen/grids.h")
    print(HEAD)
    for name, kind in GRIDS:
        levels, packed = rows(quants._type_traits[GGMLQuantizationType[kind]])
        print("\n/* Levels: %s */" % ", ".join(map(str, levels)))
        print("static const uint16_t %s[%d] = {" % (name, len(packed)))
        for i in range(0, len(packed), PER_LINE):
            print("  " + ", ".join("0x%04X" % x for x in packed[i:i + PER_LINE]) + ",")
        print("};")
    print("\n#endif")


if __name__ == "__main__":
    main()
