#!/usr/bin/env python3
"""How near vectors and scores are to transformers' float32 numbers, by model and format of the weights.

usage: tools/exactness.py [--zoo DIR] [--formats F32,F16,Q8_0] [BODKIN [PART OF A NAME...]]      BODKIN: ./bodkin

Models: tests/families, and with --zoo a folder of GGUF files and golden numbers (models/*.json, minilm/golden.json). Each is
written in every format by `bodkin quantize` where its own has more bits, and `bodkin eval` runs it with --exact and as users do.
Prints a row for each: the worst 1 - cosine of its vectors, or the largest difference of its scores; and, of rounded weights,
what rounding them alone costs: the same with those very weights as F32. Exit 1 if --exact misses a bound: cosine 0.99999 or
0.003 of a score; of Q8_0 cosine 0.9995, or as much from what the weights alone cost (random ones of a tiny model cost more).
Standard library only. SPDX-License-Identifier: MIT
"""
import argparse
import glob
import json
import math
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
sys.dont_write_bytecode = True
import test_families  # noqa: E402

BITS = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8}
ALLOWED = {"embedding": 1e-5, "rerank": 3e-3}  # 1 - cosine, and of a score, with --exact
ALLOWED_Q8_0 = {"embedding": 5e-4, "rerank": 0}


def bodkin(*args, text=None):
    p = subprocess.run([BODKIN, *args], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode:
        sys.exit("exactness: bodkin %s: exit %d: %s" % (" ".join(args), p.returncode, p.stderr.decode(errors="replace").strip()))
    return p.stdout


def own_format(path):  # that of most of its weights
    types = json.loads(bodkin("info", "--json", path))["tensors"]
    matrices = {t: n for t, n in types.items() if t != "F32"}
    return max(matrices, key=matrices.get) if matrices else "F32"


def models(parts, folder, zoo):  # -> (name, file, golden numbers)
    goldens = sorted(glob.glob(os.path.join(ROOT, "tests/families/*/golden.json")))
    goldens += sorted(glob.glob(os.path.join(zoo, "models/*.json"))) if zoo else []
    for path in goldens:
        with open(path) as f:
            g = json.load(f)
        at = os.path.dirname(path)
        if g["kind"] == "generation" or not any(p in g["name"] for p in parts or [""]):
            continue
        for c in g["cases"]:  # where they do not say: the first segment ends with what the last one ends with
            if "score_token_types_01" in c:
                c.setdefault("types", [int(i > c["ids"].index(c["ids"][-1])) for i in range(len(c["ids"]))])
        if os.path.exists(os.path.join(at, "config.json")):
            file = os.path.join(folder, g["name"] + ".gguf")
            bodkin("convert", at, file)
            yield g["name"], file, g
        else:
            files = [os.path.join(at, g["files"][k]) for k in ("f32", "f16") if k in g["files"]]
            yield g["name"] + " (zoo)" * (zoo is not None and at.startswith(zoo)), next(f for f in files if os.path.exists(f)), g
    golden = os.path.join(zoo or "", "minilm/golden.json")
    if zoo and os.path.exists(golden) and any(p in "all-minilm-l6-v2" for p in parts or [""]):
        with open(golden) as f:
            g = dict(json.load(f), kind="embedding")
        g["cases"] = [dict(c, name=str(i)) for i, c in enumerate(g["cases"])]
        for file in sorted(glob.glob(os.path.join(zoo, "minilm/*.gguf"))):
            yield "all-minilm-l6-v2 (zoo)", file, g


def distance(got, want):
    """1 - cosine, without losing its digits: half the square of what lies between the directions."""
    a, b = (math.sqrt(sum(x * x for x in v)) for v in (got, want))
    return sum((x / a - y / b) ** 2 for x, y in zip(got, want)) / 2


def worst(file, g, exact):
    lines = "".join(json.dumps(r) + "\n" for r in test_families.eval_requests(g))
    out = bodkin("eval", *["--exact"] * exact, *g.get("options", []), "-m", file, text=lines.encode())
    answers, off = {a["id"]: a for a in map(json.loads, out.splitlines())}, []
    for c in g["cases"]:
        if g["kind"] == "embedding":
            off.append(distance(answers[c["name"]]["embedding"], c["embedding"]))
        for key, name in (("score", c["name"]), ("score_token_types_01", c["name"] + " of types")):
            if key in c:
                off.append(abs(answers[name]["score"] - c[key]))
    return max(off)


def row(name, file, g, kind, own, folder):
    path, floats, what = file, "", g["kind"]
    if kind != own:
        path = os.path.join(folder, "rounded.gguf")
        bodkin("quantize", file, path, kind)
    exact, fast, bound = worst(path, g, True), worst(path, g, False), ALLOWED[what]
    if kind == "Q8_0":
        wide = os.path.join(folder, "floats.gguf")
        bodkin("quantize", path, wide, "F32")
        cost = worst(wide, g, True)
        floats, bound = "%.1e" % cost, max(ALLOWED_Q8_0[what], cost + bound)
    print("| %s | %s | %s | %d | %.1e%s | %s | %.1e |" % (
        name, kind, "1 - cosine" if what == "embedding" else "score", len(g["cases"]), exact,
        "" if exact <= bound else ", allowed %g" % bound, floats, fast), flush=True)
    return exact <= bound


def main():
    global BODKIN
    parser = argparse.ArgumentParser(description="How near vectors and scores are to transformers' float32 numbers.")
    parser.add_argument("--zoo")
    parser.add_argument("--formats", default="F32,F16,Q8_0")
    parser.add_argument("bodkin", nargs="?", default=os.path.join(ROOT, "bodkin"))
    parser.add_argument("part", nargs="*")
    o = parser.parse_args()
    BODKIN, kept = os.path.abspath(o.bodkin), []
    print("| model | weights | of | cases | worst with --exact | of which its weights | worst as users run it |\n" + "|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name, file, g in models(o.part, folder, o.zoo):
            own = own_format(file)
            for kind in o.formats.split(","):
                if BITS[kind] <= BITS.get(own, 0) or (kind == "F32" and BITS.get(own) == 16):
                    kept.append(row(name, file, g, kind, own, folder))
    print("%d of %d miss a bound" % (kept.count(False), len(kept)))
    return 1 if False in kept or not kept else 0


if __name__ == "__main__":
    sys.exit(main())
