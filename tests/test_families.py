#!/usr/bin/env python3
"""One tiny model of every family against golden numbers of transformers: tests/families/README.md says what they are.

    python3 tests/test_families.py [BODKIN [PART OF A NAME...]]      BODKIN: ./bodkin

A family is a GGUF file, or a folder as Hugging Face has it, which `bodkin convert` must turn into one, or both; then what
is converted must hold the tensors and the keys of that file. `bodkin eval` runs exactly (--exact: logits to 1e-3) and as
users run it (rounded activations, 16-bit keys and values: looser). A family that is not supported has failed.
Standard library only. Prints 'N passed, N failed, N skipped' last; exit 1 if any failed.
SPDX-License-Identifier: MIT
"""
import json
import math
import os
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import test_cli as cli  # noqa: E402
from test_cli import check, count, gguf_read, run, skip  # noqa: E402

FAMILIES = os.path.join(ROOT, "tests/families")
BUILT = os.path.join(ROOT, "build/families") # all that tools/make_families.py made, if it ran here: too much to keep
F32, F16, BF16 = 0, 1, 30
WIDTH = {F32: 4, F16: 2, BF16: 2} # bytes


def eval_requests(g):
    for c in g["cases"]:
        r = {"id": c["name"], "ids": c["ids"]}
        if g["kind"] == "generation":
            r.update(positions=[p["pos"] for p in c["positions"]], top=g["n_vocab"])
            if "greedy64" in c:
                r["greedy"] = 64
        else:
            r["embed" if g["kind"] == "embedding" else "score"] = True
        yield r
        if "score_token_types_01" in c:
            yield {"id": c["name"] + " of types", "ids": c["ids"], "types": c["types"], "score": True}


def same_logits(name, answer, case, tolerance):
    rows = {x["position"]: dict(zip(x["top_ids"], x["top_values"])) for x in answer.get("logits", [])}
    for p in case["positions"]:
        row = rows.get(p["pos"], {})
        worst = max((abs(row.get(t) - v) if row.get(t) is not None else math.inf for t, v in zip(p["top_ids"], p["top_logits"])))
        at = "%s at %d" % (name, p["pos"])
        check(at, worst <= tolerance, "a logit differs by %.3g, allowed %g" % (worst, tolerance))
        if p["top_logits"][0] - p["top_logits"][1] > 2 * tolerance:
            check(at + ": the likeliest", next(iter(row), None) == p["top_ids"][0], next(iter(row), None), p["top_ids"][0])
    if "last_logits_full" in case:
        row = rows.get(len(case["ids"]) - 1, {})
        worst = max(abs(row[t] - v) if row.get(t) is not None else math.inf for t, v in enumerate(case["last_logits_full"]))
        check(name + ": all logits", worst <= tolerance, "one differs by %.3g, allowed %g" % (worst, tolerance))


def same_greedy(name, got, case, tolerance):
    """Until they part; they may where the two likeliest tokens are nearer than the tolerance."""
    for i, (x, y, margin) in enumerate(zip(got, case["greedy64"], case["greedy64_margin"])):
        if x != y:
            return check(name + ": greedy", margin < 2 * tolerance, "other at step %d, where the margin is %.3g" % (i, margin))
    check(name + ": greedy", len(got) == 64, "%d tokens of 64" % len(got))


def same_vector(name, got, want, allowed):
    got = [x if x is not None else math.nan for x in got or [math.nan]]
    length = math.sqrt(sum(x * x for x in got))
    check(name + ": length", len(got) == len(want) and abs(length - 1) < 1e-3, len(got), length)
    off = 1 - sum(x * y for x, y in zip(got, want)) / math.sqrt(sum(x * x for x in got) * sum(y * y for y in want))
    check(name + ": direction", off <= allowed, "1 - cosine %.3g, allowed %g" % (off, allowed))


def same_numbers(name, path, g, exact):
    """exact: --exact. A mixture of experts that rounds may choose another expert; loose: what the golden file allows."""
    lines = "".join(json.dumps(r) + "\n" for r in eval_requests(g))
    p = run("eval", *["--exact"] * exact, *g.get("options", []), "-m", path, stdin=lines.encode())
    if not check(name, p.returncode == 0, "exit %d" % p.returncode, p.stderr.decode(errors="replace").strip()[-300:]):
        return
    answers = {a["id"]: a for a in map(json.loads, p.stdout.decode().splitlines())}
    tolerance = 1e-3 if exact else g.get("loose", 5e-2)
    for c in g["cases"]:
        a, case = answers.get(c["name"], {}), "%s %s" % (name, c["name"])
        if "error" in a or not a:
            check(case, False, a)
        elif g["kind"] == "generation":
            same_logits(case, a, c, tolerance)
            if "greedy64" in c:
                loose = 0.15 if "least_gap_between_experts" in g and not exact else tolerance
                same_greedy(case, a.get("greedy", []), c, loose)
        elif g["kind"] == "embedding":
            same_vector(case, a.get("embedding"), c["embedding"], 2e-6 if exact else g.get("loose", 1e-4))
        else:
            for key, got in (("score", a), ("score_token_types_01", answers.get(c["name"] + " of types", {}))):
                if key in c:
                    off = abs((got.get("score") if got.get("score") is not None else math.nan) - c[key])
                    check("%s: %s" % (case, key), off <= (3e-3 if exact else g.get("loose", 1e-2)), "differs by %.3g" % off)


def same_tokens(name, path, g):
    """Of a converted folder: its tokenizer came along."""
    requests = [{"id": i, "text": t["text"], "tokenize": True, **({} if i % 2 else {"special": False})}
                for i, t in enumerate(t for t in g["texts"] for _ in range(2))]
    p = run("eval", "-m", path, stdin="".join(json.dumps(r) + "\n" for r in requests).encode())
    answers = {a["id"]: a.get("ids", a) for a in map(json.loads, p.stdout.decode().splitlines())}
    for i, t in enumerate(g["texts"]):
        check("%s: ids of %r" % (name, t["text"]), answers.get(2 * i) == t["ids"], answers.get(2 * i), t["ids"])
        check("%s: ids of %r with special ones" % (name, t["text"]), answers.get(2 * i + 1) == t["ids_special"], answers.get(2 * i + 1),
              t["ids_special"])


def record(t):
    """(dimensions, type, data) of a tensor; the weights without what pads them."""
    n = struct.unpack_from("<I", t[1])[0]
    dims = struct.unpack_from("<%dQ" % n, t[1], 4)
    kind = struct.unpack_from("<I", t[1], 4 + 8 * n)[0]
    return dims, kind, t[2][:math.prod(dims) * WIDTH.get(kind, 0)]


def values(t):
    """(dimensions, weights) of a tensor: formats may differ, what they hold may not."""
    dims, kind, data = record(t)
    n = len(data) // WIDTH.get(kind, 1)
    if kind == BF16:
        kind, data = F32, struct.pack("<%dI" % n, *(h << 16 for h in struct.unpack("<%dH" % n, data)))
    return dims, struct.unpack("<%d%s" % (n, "f" if kind == F32 else "e"), data)


# The same numbers under another name, with keys that make them so.
ALIKE = {"llama-bias": {"internlm2": {}, "minicpm": {b"embedding_scale": 1.0, b"residual_scale": 1.0, b"logit_scale": 1.0}}}


def alike(m, name, floats):
    """The model as one of another architecture, which computes the same."""
    old, new = m.keys[b"general.architecture"][12:], name.encode()
    keys = {k.replace(old + b".", new + b".", 1) if k.startswith(old + b".") else k: v for k, v in m.keys.items()}
    keys[b"general.architecture"] = struct.pack("<I", 8) + cli.gguf_text(new)
    keys.update((new + b"." + k, struct.pack("<If", 6, x)) for k, x in floats.items())
    return cli.Model(keys, m.tensors)


def splits(m):
    return any(t[0].endswith(b"ffn_gate.weight") for t in m.tensors)


def joined(m):
    """The gate behind ffn_up in one tensor, as the public converter leaves them in models for code."""
    by_name, tensors = {t[0]: t for t in m.tensors}, []
    for name, shape, data in m.tensors:
        if name.endswith(b"ffn_up.weight"):
            dims, kind, up = record([name, shape, data])
            shape, data = struct.pack("<IQQI", 2, dims[0], 2 * dims[1], kind), up + record(by_name[name.replace(b"up", b"gate")])[2]
        if not name.endswith(b"ffn_gate.weight"):
            tensors.append([name, shape, data])
    return cli.Model(m.keys, tensors)


def same_file(name, made, golden):
    """What convert writes holds what the public converter writes, besides how it is called and what its tokens are."""
    ours, theirs = gguf_read(made), gguf_read(golden)
    if splits(ours) and not splits(theirs):
        ours = joined(ours)
    mine, other = ({t[0]: values(t) for t in m.tensors} for m in (ours, theirs))
    check(name + ": the same tensors", mine.keys() == other.keys(), sorted(mine.keys() ^ other.keys())[:8])
    for tensor in sorted(mine.keys() & other.keys()):
        check("%s: %s" % (name, tensor.decode()), mine[tensor] == other[tensor], mine[tensor][0], other[tensor][0])
    arch = theirs.keys[b"general.architecture"][12:] + b"."
    number = lambda key: struct.unpack("<II", theirs.keys[arch + key])[1]  # noqa: E731
    implied = cli.uint(number(b"embedding_length") // number(b"attention.head_count"))
    for key, value in theirs.keys.items():
        if key.startswith(arch):
            got = ours.keys.get(key, implied if key.endswith((b".key_length", b".value_length")) else None)
            check("%s: key %s" % (name, key.decode()), got == value, got, value)
    tokens = b"tokenizer.ggml.tokens"
    check(name + ": tokens", ours.keys.get(tokens) == theirs.keys[tokens])


def unsplit(path):
    """The file as it was written until 2025: one tensor for the keys and values of a latent, and keys of plain attention."""
    m = gguf_read(path)
    arch = m.keys[b"general.architecture"][12:] + b".attention."
    number = lambda key: struct.unpack("<II", m.keys[arch + key])[1]  # noqa: E731
    k_dim, v_dim, rank, heads = number(b"key_length_mla"), number(b"value_length_mla"), number(b"kv_lora_rank"), number(b"head_count")
    changes = {b"key_length": cli.uint(k_dim), b"value_length": cli.uint(v_dim), b"head_count_kv": cli.uint(heads),
               b"key_length_mla": None, b"value_length_mla": None}
    by_name, tensors = {t[0]: t for t in m.tensors}, []
    for name, shape, data in m.tensors:
        if name.endswith(b"attn_v_b.weight"):
            continue
        if name.endswith(b"attn_k_b.weight"): # (heads, rank, nope) halves, the values (heads, v, rank): to (heads, nope + v, rank)
            nope = record([name, shape, data])[0][0]
            k, v = struct.unpack_from("<%dH" % (heads * rank * nope), data), by_name[name.replace(b"k_b", b"v_b")][2]
            keys = [struct.pack("<%dH" % (nope * rank), *(k[(h * rank + r) * nope + i] for i in range(nope) for r in range(rank)))
                    for h in range(heads)]
            data = b"".join(keys[h] + v[h * v_dim * rank * 2:(h + 1) * v_dim * rank * 2] for h in range(heads))
            name, shape = name.replace(b"k_b", b"kv_b"), struct.pack("<IQQI", 2, rank, heads * (nope + v_dim), 1)
        tensors.append([name, shape, data])
    m = cli.with_keys(cli.Model(m.keys, tensors), {arch + k: v for k, v in changes.items()})
    return cli.gguf_write(m, os.path.basename(path) + "-unsplit.gguf")


def test_family(name):
    folder = os.path.join(FAMILIES, name)
    with open(os.path.join(folder, "golden.json")) as f:
        g = json.load(f)
    kept, built = (os.path.join(at, g["files"]["f16"]) for at in (folder, BUILT))
    theirs = kept if os.path.exists(kept) else built
    files = {name: kept} if theirs == kept else {}
    if not os.path.exists(os.path.join(folder, "config.json")):
        folder = os.path.join(BUILT, name)
    if os.path.exists(os.path.join(folder, "config.json")):
        made = os.path.join(cli.tmp, name + ".gguf")
        p = run("convert", folder, made)
        if check(name + ": convert", p.returncode == 0, "exit %d" % p.returncode, p.stderr.decode(errors="replace").strip()[-300:]):
            files[name + " converted"] = made
            if "texts" in g:
                same_tokens(name + " converted", made, g)
            for other, floats in ALIKE.get(name, {}).items():
                files[name + " as " + other] = cli.gguf_write(alike(gguf_read(made), other, floats), name + "-" + other + ".gguf")
            if name == "jina-code":
                files[name + " joined"] = cli.gguf_write(joined(gguf_read(made)), name + "-joined.gguf")
            if os.path.exists(theirs):
                same_file(name + " converted", made, theirs)
        elif not files and os.path.exists(built):
            files[name + " built"] = built
    if os.path.exists(kept) and any(t[0].endswith(b"attn_k_b.weight") for t in gguf_read(kept).tensors):
        files[name + " unsplit"] = unsplit(kept)
    check(name + ": there is a model", files)
    for title, path in files.items():
        same_numbers(title + " exact", path, g, True)
        same_numbers(title + " fast", path, g, False)


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    names = sorted(n for n in os.listdir(FAMILIES) if os.path.exists(os.path.join(FAMILIES, n, "golden.json")))
    check("families", len(names) > 20, names)
    cli.tmp = os.path.realpath(cli.tempfile.mkdtemp(prefix="bodkin-families-"))
    try:
        for name in names:
            before = count["failed"]
            if len(sys.argv) > 2 and not any(part in name for part in sys.argv[2:]):
                skip(name, "not asked for")
                continue
            test_family(name)
            print("%-24s %s" % (name, "failed %d" % (count["failed"] - before) if count["failed"] > before else "passed"), flush=True)
    finally:
        cli.shutil.rmtree(cli.tmp, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (count["passed"], count["failed"], count["skipped"]))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
