#!/usr/bin/env python3
"""Damaged model files, through loading, tokenising and a first step: refused with one sentence or used, never a crash.

usage: python3 tests/test_hostile.py ./bodkin [NUMBER]      NUMBER damaged files of each fixture (default 60), seeded

Kinds of damage: cut short anywhere; bytes of the header replaced; a length, count, type or offset set to an extreme;
a float of a key set to NaN, infinity or a negative; weights replaced. Prints 'N passed, N failed' last; exit 1 if any failed.
SPDX-License-Identifier: MIT
"""
import glob, os, random, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "bodkin"))
NUMBER = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdigit() else 60
REQUEST = b'{"id":1,"ids":[1,2,3],"positions":[-1],"greedy":2}\n{"id":2,"text":"a b\\u00e9","tokenize":true}\n{"id":3,"messages":[{"role":"user","content":"x"}]}\n'
EXTREMES = [0, 1, 2, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [float("nan"), float("inf"), -1.0, 0.0, 1e38, 1e-38]


def data_start(raw):
    """Where the weights begin, nearly: behind the last tensor's name."""
    return max(raw.rfind(b".weight"), 64) + 64


def damage(raw, rng):
    raw = bytearray(raw)
    header = min(data_start(raw), len(raw))
    kind = rng.randrange(6)
    if kind == 0:
        return raw[:rng.randrange(len(raw))]
    if kind == 1:
        for _ in range(rng.randrange(1, 9)):
            raw[rng.randrange(header)] = rng.randrange(256)
    elif kind == 2:
        at = rng.randrange(4, header - 8)
        raw[at:at + 8] = struct.pack("<Q", rng.choice(EXTREMES))
    elif kind == 3:
        at = rng.randrange(4, header - 4)
        raw[at:at + 4] = struct.pack("<I", rng.choice(EXTREMES) & 0xFFFFFFFF)
    elif kind == 4:  # aimed: the value of a random key of the architecture or the tokenizer
        keys = [i for name in (b".attention.", b".rope.", b".block_count", b"_length", b"tokenizer.ggml.", b".head_count")
                for i in range(header) if raw.startswith(name, i)]
        at = min(rng.choice(keys) + rng.randrange(8, 48), header - 8)
        raw[at:at + 4] = rng.choice([struct.pack("<f", rng.choice(FLOATS)), struct.pack("<I", rng.choice(EXTREMES) & 0xFFFFFFFF)])
    else:
        for _ in range(64):
            at = rng.randrange(header, len(raw) - 4)
            raw[at:at + 4] = struct.pack("<f", rng.choice(FLOATS))
    return raw


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "damaged.gguf")
        for fixture in sorted(glob.glob(os.path.join(ROOT, "tests/golden/*.gguf"))):
            raw = open(fixture, "rb").read()
            for i in range(NUMBER):
                seed = f"{os.path.basename(fixture)} {i}"
                with open(path, "wb") as f:
                    f.write(damage(raw, random.Random(seed)))
                try:
                    p = subprocess.run([PROGRAM, "eval", "-m", path, "--threads", "2"], input=REQUEST, capture_output=True, timeout=60)
                    good = p.returncode in (0, 65, 71) and (p.returncode == 0 or p.stderr.count(b"\n") == 1)
                    why = f"exit {p.returncode}: {p.stderr[-300:].decode(errors='replace')}"
                except subprocess.TimeoutExpired:
                    good, why = False, "no end in 60 s"
                passed, failed = passed + good, failed + (not good)
                if not good:
                    print(f"FAIL  {seed}: {why}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
