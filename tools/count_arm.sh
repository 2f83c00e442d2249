#!/bin/sh
# Executed instructions of the NEON kernels under qemu-user, where time means nothing: for 16 rows x N columns x 32 k of every
# packed form, for attention per 16 keys x N columns of 64 (scores and what is mixed).
#
#   tools/count_arm.sh SET N [KERN]     SET neon, neon_dot or neon_i8mm; KERN build/aarch64/kern, as .ci/run builds it
#
# qemu runs one instruction at a time and says which function each is in. Run from the project's root.
# SPDX-License-Identifier: MIT
set -eu
[ $# -ge 2 ] || { sed -n 's/^#   //p' "$0" >&2; exit 64; }
set=$1 n=$2 kern=${3:-build/aarch64/kern}
nm=$(command -v aarch64-linux-gnu-nm || echo nm)
# Only the set's own functions are written down: their addresses as one list of ranges.
ranges=$($nm -S "$kern" | awk '$4 ~ /^kern_.*_neon(_dot|_i8mm)?$/ { printf "%s0x%s+0x%s", (found++ ? "," : ""), $1, $2 }')
qemu-aarch64 -cpu max -singlestep -d exec,nochain -dfilter "$ranges" -D /dev/stdout "$kern" --isa "$set" --once "$n" |
  awk -v n="$n" '/^Trace/ { count[$NF]++ }
    END {
      for (f in count) {
        if (f ~ /kern_(f32|f16|bf16|q[0-9]m?|k[4-6]m?|(t4s?|t2|kt4|kt3|k2m)_tile)_neon/) printf "%-28s %8.1f per 16 rows x %d columns x 32 k\n", f, count[f] / 32, n
        if (f ~ /kern_(scores|mix)_(f16|q8)_/) printf "%-28s %8.1f per 16 keys x %d columns x 64\n", f, count[f] / 64, n
      }
    }' | sort
