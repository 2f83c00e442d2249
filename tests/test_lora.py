#!/usr/bin/env python3
"""Low-rank adapters, --lora FILE[=X]: what they make of a model, what they cost, and what is refused.

    python3 tests/test_lora.py [BODKIN]      BODKIN: ./bodkin

The reference is arithmetic on files: a copy of the model whose matrices are W + X * alpha / rank * B A, in F32, must give
the logits that the model and its adapter give (--exact). So it is for every shape of layer: plain, normed behind, joined
q k v, joined gate and up, experts beside dense parts. tests/lora has what other programs wrote and computed.
Standard library only. Prints 'N passed, N failed, N skipped' last; exit 1 if any failed.
SPDX-License-Identifier: MIT
"""
import json
import math
import os
import random
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import test_cli as cli  # noqa: E402
from test_cli import GOLDEN, TINY, Model, check, count, fails, gguf_read, gguf_text, gguf_write, run, works  # noqa: E402
from test_families import F16, F32, record, values  # noqa: E402

Q8_0 = 8
RANK = 4
LORAS = os.path.join(ROOT, "tests/lora")
FAMILIES = os.path.join(ROOT, "tests/families")
KEPT = [n + "/" + n + "-f16.gguf" for n in ("gptneox-sequential", "phi3-longrope-long", "granite-moe", "deepseek2-lite", "falcon-7b",
                                            "distilbert")]
CONVERTED = ["qwen2moe", "olmo2-bf16"]


# ---- files ----

def text(s):
    return struct.pack("<I", 8) + gguf_text(s)


def shape(dims, kind):
    return struct.pack("<I%dQI" % len(dims), len(dims), *dims, kind)


def packed(x, kind):
    """Weights as blocks of a type, and what these blocks hold."""
    if kind == F32:
        data = struct.pack("<%df" % len(x), *x)
        return data, struct.unpack("<%df" % len(x), data)
    if kind == F16:
        data = struct.pack("<%de" % len(x), *x)
        return data, struct.unpack("<%de" % len(x), data)
    data, held = b"", []
    for at in range(0, len(x), 32):
        block = x[at:at + 32]
        d = struct.unpack("<e", struct.pack("<e", max(map(abs, block)) / 127))[0]
        codes = [round(v / d) if d else 0 for v in block]
        data += struct.pack("<e32b", d, *codes)
        held += [c * d for c in codes]
    return data, held


def matrices(model):
    """Names of what an adapter may change: matrices of layers, and a head of its own."""
    return [t[0] for t in model.tensors if len(record(t)[0]) == 2 and t[0].endswith(b".weight")
            and (t[0].startswith(b"blk.") or t[0] == b"output.weight")]


def pairs(model, seed, names=None, rank=RANK, kinds=(F32, F32), size=0.02):
    """Of every matrix the pair (a, b), (rank, columns) and (rows, rank), as (blocks, weights, dimensions)."""
    rng, out, dims = random.Random(seed), {}, {t[0]: record(t)[0] for t in model.tensors}
    for name in names or matrices(model):
        cols, rows = dims[name]
        a, b = ((packed([rng.gauss(0, s) for _ in range(n)], k)) for n, k, s in
                ((rank * cols, kinds[0], 1), (rows * rank, kinds[1], size / math.sqrt(rank))))
        out[name] = [(*a, (cols, rank), kinds[0]), (*b, (rank, rows), kinds[1])]
    return out


def adapter(model, of, name, alpha=2 * RANK, **changes):
    keys = {b"general.type": text(b"adapter"), b"general.architecture": model.keys[b"general.architecture"],
            b"adapter.type": text(b"lora")}
    if alpha is not None:
        keys[b"adapter.lora.alpha"] = struct.pack("<If", 6, alpha)
    keys.update({k.encode().replace(b"_", b"."): v for k, v in changes.items()})
    tensors = [[n + b".lora_" + half, shape(x[2], x[3]), x[0]] for n, both in of.items() for half, x in zip((b"a", b"b"), both)]
    return gguf_write(Model({k: v for k, v in keys.items() if v is not None}, tensors), name)


def merged(model, changes, name):
    """The model in F32, plus for every (pairs, factor) of changes factor * B A."""
    tensors = []
    for t in model.tensors:
        dims, w = values(t)
        w = list(w)
        for of, factor in changes:
            if t[0] not in of:
                continue
            (_, a, (cols, rank), _), (_, b, _, _) = of[t[0]]
            columns = [a[c::cols] for c in range(cols)]
            for r in range(len(w) // cols):
                row = [factor * x for x in b[r * rank:(r + 1) * rank]]
                for c in range(cols):
                    w[r * cols + c] += sum(x * y for x, y in zip(row, columns[c]))
        tensors.append([t[0], shape(dims, F32), struct.pack("<%df" % len(w), *w)])
    return gguf_write(Model(model.keys, tensors), name)


# ---- numbers ----

def number(model, key):
    return struct.unpack("<I", model.keys[model.keys[b"general.architecture"][12:] + key][4:8])[0]


def requests(model):
    vocabulary = 200
    vector = {"embed": True} if b"pooling_type" in b" ".join(model.keys) else {"positions": [-1, 0], "top": 4096, "greedy": 4}
    return [dict(vector, id=i, ids=[(7 * k * k + 3 * i) % vocabulary for k in range(n)]) for i, n in enumerate((1, 5, 37))]


def answers(path, model, *args):
    lines = "".join(json.dumps(r) + "\n" for r in requests(model))
    p = run("eval", "-m", path, *args, stdin=lines.encode())
    if not check("eval %s %s" % (os.path.basename(path), args), p.returncode == 0, p.stderr.decode(errors="replace")):
        return []
    return sorted((json.loads(line) for line in p.stdout.splitlines()), key=lambda a: a["id"])


def numbers(a):
    """All logits or all of a vector, in one order."""
    return a.get("embedding") or [v for row in a.get("logits", []) for _, v in sorted(zip(row["top_ids"], row["top_values"]))]


def bits(got):
    return [a.get("embedding") or ([row["sha256"] for row in a["logits"]], a["greedy"]) for a in got]


def apart(got, want):
    """Largest difference, relative to the largest number."""
    x, y = ([v for a in them for v in numbers(a)] for them in (got, want))
    if not x or len(x) != len(y) or None in x:
        return math.inf
    return max(abs(p - q) for p, q in zip(x, y)) / max(map(abs, y))


def same(name, path, model, loras, changes, tolerance=1e-5):
    """The model with adapters is the model with changed weights, and not the model without."""
    args = [x for lora in loras for x in ("--lora", lora)]
    want = answers(merged(model, changes, "merged.gguf"), model, "--exact")
    got, fast, plain = answers(path, model, "--exact", *args), answers(path, model, *args), answers(path, model, "--exact")
    check(name + ": merged weights", apart(got, want) < tolerance, apart(got, want))
    check(name + ": as users run it", apart(fast, want) < 0.1, apart(fast, want))
    check(name + ": something changed", apart(plain, want) > 100 * tolerance, apart(plain, want))


# ---- tests ----

def test_shapes():
    """Every matrix of every kind of layer at once, and experts left as they are."""
    paths = {os.path.basename(p)[:-5]: p for p in [os.path.join(GOLDEN, n) for n in ("llama-tiny-f32.gguf", "gemma3-tiny-f16.gguf")]
             + [os.path.join(FAMILIES, n) for n in KEPT]}
    for name in CONVERTED:
        paths[name] = os.path.join(cli.tmp, name + ".gguf")
        works("convert " + name, "convert", os.path.join(FAMILIES, name), paths[name])
    for name, path in paths.items():
        model = gguf_read(path)
        of = pairs(model, name)
        check(name + ": matrices of every layer", len(of) >= 4 * number(model, b".block_count"), list(of))
        same(name, path, model, [adapter(model, of, "a.gguf")], [(of, 2)], 2e-5)
        if "moe" in name: # the longest tapes
            same(name + ", sixteen", path, model, [adapter(model, of, "a.gguf") + "=0.0625"] * 16, [(of, 2)], 2e-5)


def test_golden():
    """Adapters as published ones come (tools/make_lora.py), on models as users convert them, against transformers."""
    names = sorted(n[:-5] for n in os.listdir(LORAS) if n.endswith(".json"))
    check("golden adapters", len(names) >= 3, names)
    for name in names:
        path, lora = os.path.join(cli.tmp, name + ".gguf"), os.path.join(LORAS, name + ".gguf")
        works("convert " + name, "convert", os.path.join(FAMILIES, name), path)
        with open(os.path.join(LORAS, name + ".json")) as f:
            golden = json.load(f)
        asked = "".join(json.dumps({"id": i, "ids": c["ids"], "positions": [-1], "top": 304}) + "\n" for i, c in enumerate(golden["cases"]))
        for way, allowed in ((("--exact",), 1e-4), ((), 5e-2)):
            p = run("eval", "-m", path, "--lora", "%s=%g" % (lora, golden["scale"]), *way, stdin=asked.encode())
            check("%s %s" % (name, way), p.returncode == 0, p.stderr)
            for a in map(json.loads, p.stdout.splitlines()):
                got, want = a["logits"][0], golden["cases"][a["id"]]
                row = dict(zip(got["top_ids"], got["top_values"]))
                worst = max(abs(row.get(t, math.inf) - v) for t, v in zip(want["top_ids"], want["top_logits"]))
                check("%s %s: logits of prompt %d" % (name, way, a["id"]), worst < allowed, worst)


def test_scales():
    model = gguf_read(TINY)
    of, other = pairs(model, 1), pairs(model, 2, matrices(model)[::3], rank=7)
    a, b = adapter(model, of, "a.gguf"), adapter(model, other, "b.gguf", alpha=None)
    zero = adapter(model, of, "zero.gguf", alpha=0)
    same("half", TINY, model, [a + "=0.5"], [(of, 1)])
    same("negative", TINY, model, [a + "=-1.5"], [(of, -3)])
    same("no alpha", TINY, model, [b], [(other, 1)])
    same("alpha of zero is none", TINY, model, [zero + "=2e0"], [(of, 2)])
    same("two", TINY, model, [a, b + "=-0.25"], [(of, 2), (other, -0.25)])
    same("sixteen", TINY, model, [a + "=0.0625"] * 16, [(of, 2)])
    same("one twice", TINY, model, [a, a + "=-0.5"], [(of, 1)])
    for way in ((), ("--exact",)):
        plain = bits(answers(TINY, model, *way))
        check("nothing of it", bits(answers(TINY, model, *way, "--lora", a + "=0")) == plain)
        check("all of it", bits(answers(TINY, model, *way, "--lora", a)) != plain)
    equals = os.path.join(cli.tmp, "b=2.gguf")  # only what a number follows is a scale
    os.rename(b, equals)
    check("a sign in a file's name", bits(answers(TINY, model, "--lora", equals)) == bits(answers(TINY, model, "--lora", equals + "=1")))


def test_formats():
    """Pairs as F16 and Q8_0, and matrices of other formats under them."""
    model = gguf_read(TINY)
    for name, kinds in (("F16", (F16, F16)), ("Q8_0", (Q8_0, Q8_0)), ("Q8_0 and F32", (Q8_0, F32))):
        of = pairs(model, 3, rank=32, kinds=kinds)
        same(name, TINY, model, [adapter(model, of, "a.gguf", alpha=32)], [(of, 1)])
    of = pairs(model, 4, rank=70, kinds=(F16, F16))
    same("a rank above the width", TINY, model, [adapter(model, of, "a.gguf", alpha=70)], [(of, 1)])
    for kind in ("Q8_0", "Q5_1"):
        path = os.path.join(cli.tmp, kind + ".gguf")
        works("quantize to " + kind, "quantize", TINY, path, kind)
        of = pairs(model, 5)
        lora = adapter(model, of, "a.gguf")
        change = apart(answers(path, model, "--lora", lora, "--exact"), answers(path, model, "--exact"))
        check(kind + " under an adapter", 1e-3 < change < 2, change)


def test_same_bits():
    mixed = os.path.join(GOLDEN, "llama-tiny-mixed.gguf")
    model = gguf_read(mixed)
    loras = [adapter(model, pairs(model, 6, kinds=(F16, F16)), "a.gguf"),
             adapter(model, pairs(model, 7, matrices(model)[1::2], rank=32, kinds=(Q8_0, Q8_0)), "b.gguf") + "=0.5"]
    args = [x for lora in loras for x in ("--lora", lora)]
    base = bits(answers(mixed, model, *args))
    ways = [("--threads", n) for n in "123"] + [("--chunk", n) for n in ("1", "3", "7", "16")] + [("--batch", "3", "--threads", "2")]
    for isa in ("scalar", "avx2", "avx_vnni", "avx512", "neon", "neon_dot", "neon_i8mm"):
        if run("eval", "-m", mixed, "--isa", isa).returncode == 0:
            ways.append(("--isa", isa))
        else:
            cli.count["skipped"] += 1
    for way in ways:
        check("the same bits: %s" % (way,), bits(answers(mixed, model, *args, *way)) == base)


def plan(*args):
    return json.loads(works("info", "info", TINY, "--json", *args).stdout)["memory"]


def test_memory():
    """The plan holds what is packed: rows padded to 16, F32 as it is; and --memory is kept."""
    model = gguf_read(TINY)
    name = b"blk.0.ffn_up.weight"
    cols, rows = record([t for t in model.tensors if t[0] == name][0])[0]
    a = adapter(model, pairs(model, 8, [name], rank=20), "a.gguf")
    before, after = plan(), plan("--lora", a)
    check("packed bytes", after["weights_packed"] - before["weights_packed"] == 4 * (32 * cols + 20 * -(-rows // 16) * 16), before, after)
    check("mapped bytes", 0 <= after["weights_mapped"] - before["weights_mapped"] < 1024, before, after)
    check("the sum", after["total"] == sum(v for k, v in after.items() if k != "total"), after)
    joined = os.path.join(FAMILIES, KEPT[0])  # rows of q, k and v share one a, which is packed for each
    of = adapter(gguf_read(joined), pairs(gguf_read(joined), 9), "b.gguf")
    maps = [json.loads(works("info", "info", joined, "--json", *x).stdout)["memory"]["weights_mapped"] for x in ((), ("--lora", of))]
    check("mapped bytes of joined tensors", 0 <= maps[1] - maps[0] < 4096, maps)
    limit = str((before["total"] + after["total"]) // 2)
    works("enough without it", "info", TINY, "--memory", limit)
    fails("too much with it", 75, r"the model needs %d bytes .*" % after["total"], "info", TINY, "--memory", limit, "--lora", a)


def test_commands():
    model = gguf_read(TINY)
    a = adapter(model, pairs(model, 10, size=0.3), "a.gguf")
    check("verify", b'"ok":true' in works("verify", "verify", TINY, "--lora", a).stdout)
    row = json.loads(works("bench", "bench", "-m", TINY, "--json", "--test", "decode", "--n", "2", "--lora", a).stdout)
    check("bench", row["test"] == "decode" and row["tokens_per_second"] > 0, row)
    common = ["-m", TINY, "--temperature", "0", "--max-tokens", "8", "one two"]
    for command in ("run", "complete"):
        check(command, works(command, command, *common).stdout != works(command, command, *common, "--lora", a).stdout)
    tape = works("info", "info", TINY, "--tape", "--lora", a).stdout.decode()
    check("both halves are on the tape", tape.count(".lora_a") == tape.count(".lora_b") == len(matrices(model)), tape)


def test_refused():
    model = gguf_read(TINY)
    of = pairs(model, 11)
    good = adapter(model, of, "good.gguf")

    def no(name, pattern, path, base=TINY, code=65):
        for command in (["info", base], ["eval", "-m", base]):
            fails("%s: %s" % (command[0], name), code, pattern, *command, "--lora", path)

    no("another architecture", r'\S+: \S+a\.gguf: an adapter for architecture "gemma3", the model is of "llama"',
       adapter(model, of, "a.gguf", general_architecture=text(b"gemma3")))
    no("a model", r"\S+: \S+: not an adapter: key adapter\.type is missing", cli.shutil.copy(TINY, os.path.join(cli.tmp, "model.gguf")))
    no("a vector", r'\S+: \S+: not supported: adapter of type "control", expected "lora"',
       adapter(model, of, "a.gguf", adapter_type=text(b"control")))
    no("one that tokens turn on", r"\S+: \S+: not supported: an adapter that certain tokens turn on, .*",
       gguf_write(cli.with_keys(gguf_read(good), {b"adapter.alora.invocation_tokens": struct.pack("<IIQI", 9, 4, 1, 5)}), "a.gguf"))
    no("alpha is a text", r"\S+: \S+: key adapter\.lora\.alpha is no number", gguf_write(cli.with_keys(
        gguf_read(good), {b"adapter.lora.alpha": text(b"much")}), "a.gguf"))
    whole = gguf_read(good)
    no("half a pair", r"\S+: \S+: tensor \S+ has only one half of a pair", gguf_write(Model(whole.keys, whole.tensors[1:]), "a.gguf"))
    no("an unknown tensor", r"\S+: \S+: tensor blk\.99\.attn_q\.weight\.lora_a changes no matrix of the model",
       gguf_write(Model(whole.keys, whole.tensors + [[b"blk.99.attn_q.weight.lora_a", *whole.tensors[0][1:]]]), "a.gguf"))
    norm = [[b"output_norm.weight.lora_" + h, *t[1:]] for h, t in zip((b"a", b"b"), whole.tensors)]
    no("a norm", r"\S+: \S+: tensor output_norm\.weight\.lora_a changes no matrix of the model",
       gguf_write(Model(whole.keys, whole.tensors + norm), "a.gguf"))
    table = pairs(model, 12, [b"token_embd.weight"])
    no("a table", r"\S+: \S+: tensor token_embd\.weight: not supported: adapters of experts and of tables", adapter(model, table, "a.gguf"))
    for half in (0, 1):
        dims = list(record(whole.tensors[half])[0])
        for d in (0, 1):
            other = [x + 32 if k == d else x for k, x in enumerate(dims)]
            wrong = [whole.tensors[half][0], shape(other, F32), bytes(4 * other[0] * other[1])]
            no("dimension %d of half %d" % (d, half), r"\S+: \S+: tensor \S+ has shape \[\d+, \d+, 1\], expected \[\d+, \d+\]",
               gguf_write(Model(whole.keys, [wrong if t[0] == wrong[0] else t for t in whole.tensors]), "a.gguf"))
    for rank in (0, 1 << 20, 1 << 40):
        halves = [[t[0], shape((d[0], rank) if t[0].endswith(b"a") else (rank, d[1]), F32), bytes(64)]
                  for t in whole.tensors[:2] for d in (record(t)[0],)]
        no("a rank of %d" % rank, r"\S+: .*(tensor|rank) .*", gguf_write(Model(whole.keys, halves), "a.gguf"))
    future = [whole.tensors[0][0], shape(record(whole.tensors[0])[0], 99), whole.tensors[0][2]]
    no("a format of the future", r"\S+: \S+: tensor \S+: not supported: weight type 99",
       gguf_write(Model(whole.keys, [future] + whole.tensors[1:]), "a.gguf"))
    data = open(good, "rb").read()
    for n in (0, 3, 200, len(data) // 2, len(data) - 100):
        with open(os.path.join(cli.tmp, "cut.gguf"), "wb") as f:
            f.write(data[:n])
        no("cut after %d bytes" % n, r"\S+: \S+cut\.gguf: .*", os.path.join(cli.tmp, "cut.gguf"))
    no("no such file", r".*none\.gguf: No such file or directory", "none.gguf", code=66)
    fails("seventeen", 64, r".*16.*", "info", TINY, *["--lora", good] * 17)
    experts = os.path.join(FAMILIES, KEPT[2])
    moe = gguf_read(experts)
    name = [t[0] for t in moe.tensors if t[0].endswith(b"ffn_up_exps.weight")][0]
    cols, rows, n = record([t for t in moe.tensors if t[0] == name][0])[0]
    half = lambda x, *dims: (bytes(4 * math.prod(dims)), None, dims, F32)  # noqa: E731
    no("experts", r"\S+: \S+: tensor \S+: not supported: adapters of experts and of tables",
       adapter(moe, {name: [half(0, cols, RANK, n), half(1, RANK, rows, n)]}, "a.gguf"), base=experts)


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(cli.tempfile.mkdtemp(prefix="bodkin-lora-"))
    try:
        for test in (test_golden, test_shapes, test_scales, test_formats, test_same_bits, test_memory, test_commands, test_refused):
            before = count["failed"]
            test()
            failed = count["failed"] - before
            print("%-20s %s" % (test.__name__, "failed %d" % failed if failed else "passed"), flush=True)
    finally:
        cli.shutil.rmtree(cli.tmp, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (count["passed"], count["failed"], count["skipped"]))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
