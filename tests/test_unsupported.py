#!/usr/bin/env python3
"""What is not supported says so, in every command: one sentence, nothing on stdout, exit 65. And `info` says how weights run.

    python3 tests/test_unsupported.py [BODKIN]      BODKIN: ./bodkin

Small models of tests/golden, and of ../shared/zoo where that is at hand, get an architecture, a tokenizer, a
pre-tokenizer, a rope scaling or a weight type that nobody knows; then every command that opens a model is asked. Only
`verify` may write to stdout: its certificate names all that is not supported. Then models of random weights in every
format of src/quant run, fast and exactly. Standard library only. Prints 'N passed, N failed, N skipped' last.
SPDX-License-Identifier: MIT
"""
import glob
import json
import math
import os
import random
import re
import shutil
import struct
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import test_cli as cli  # noqa: E402
from test_cli import Model, check, count, fails, gguf_read, gguf_text, gguf_write, run, skip, uint, with_keys, works  # noqa: E402

ZOO = os.path.join(ROOT, "../shared/zoo/models")
MODELS = [os.path.join(cli.GOLDEN, n) for n in ("llama-tiny-f32.gguf", "llama-tiny-mixed.gguf", "gemma3-tiny-f16.gguf")] + \
         [os.path.join(ZOO, n) for n in ("llama-untied-f16.gguf", "gemma3-f16.gguf", "qwen2-f16.gguf", "phi3-f16.gguf")]
NO_TYPES = (4, 5, 31, 38, 99, 2**31, 2**32 - 1)  # removed from ggml, and never there


def text(s):
    return struct.pack("<I", 8) + gguf_text(s.encode())


def architecture(model):
    return model.keys[b"general.architecture"][12:].decode()


# ---- one thing that is not supported ----

def retyped(model, which, kind):
    tensors = [list(t) for t in model.tensors]
    for t in tensors:
        if t[0].endswith(which):
            t[1] = t[1][:-4] + struct.pack("<I", kind)
    return Model(model.keys, tensors)


def defects(model):
    """name, model, what the sentence says, reads the vocabulary only: is the defect met"""
    arch = architecture(model).encode()
    yield "architecture", with_keys(model, {b"general.architecture": text("perpetuum")}), 'not supported: architecture "perpetuum"', False
    yield "tokenizer", with_keys(model, {b"tokenizer.ggml.model": text("rosetta")}), "not supported: tokenizer rosetta", True
    if model.keys[b"tokenizer.ggml.model"][12:] == b"gpt2":
        yield "pre-tokenizer", with_keys(model, {b"tokenizer.ggml.pre": text("esperanto")}), "not supported: pre-tokenizer esperanto", True
    for kind in ("dynamic-ntk", "hyperspace"):
        changed = {arch + b".rope.scaling.type": text(kind), arch + b".rope.scaling.factor": struct.pack("<If", 6, 2.0)}
        yield "rope scaling " + kind, with_keys(model, changed), 'not supported: rope scaling "%s"' % kind, False
    for kind in NO_TYPES:
        yield "weight type %d" % kind, retyped(model, b"blk.1.attn_output.weight", kind), \
            r"tensor blk\.1\.attn_output\.weight: not supported: weight type %d" % kind, False
    yield "weight type of a norm", retyped(model, b"blk.0.attn_norm.weight", 99), \
        r"tensor blk\.0\.attn_norm\.weight: not supported: weight type 99", False


def commands(path):
    """Every command that opens a model."""
    yield ["run", "-m", path, "Hi"]
    yield ["complete", "-m", path, "Hi"]
    yield ["tokenize", "-m", path]
    yield ["info", path]
    yield ["info", path, "--json"]
    yield ["bench", "-m", path, "--test", "prefill", "--n", "4"]
    yield ["eval", "-m", path]
    yield ["quantize", path, os.path.join(cli.tmp, "out.gguf"), "Q8_0"]
    yield ["verify", path]


def certified(name, path, says):
    """verify's certificate names it, beside the one sentence."""
    p = run("verify", path)
    sentence = re.fullmatch(r"bodkin: \S+: %s\n" % says, p.stderr.decode())
    report = json.loads(p.stdout)
    told = [c["detail"] for c in report["checks"] if not c["ok"]]
    check(name + ": verify", p.returncode == 65 and sentence and not report["ok"] and report["failures"] == len(told) and
          any(re.search(says.split("not supported: ")[-1], t) for t in told), p)


def test_refusals():
    for source in MODELS:
        if not os.path.exists(source):
            skip("what %s is made into" % os.path.basename(source), "../shared/zoo is not here")
            continue
        model = gguf_read(source)
        for defect, broken, says, of_words in defects(model):
            path = gguf_write(broken, "broken.gguf")
            for command in commands(path):
                name = "%s, %s: %s" % (os.path.basename(source), defect, command[0])
                if command[0] == "verify":
                    certified(name, path, says)
                elif command[0] == "tokenize" and not of_words:  # it reads the vocabulary and nothing else
                    works(name, *command, stdin=b"Hi")
                elif command[0] == "quantize" and not says.startswith("tensor"):  # it reads weights and nothing else
                    works(name, *command)
                else:
                    fails(name, 65, r"\S+: " + says, *command)
            check("%s, %s: no file is left" % (os.path.basename(source), defect),
                  not [f for f in os.listdir(cli.tmp) if f.startswith("out.gguf.") or f.endswith(".part")])


def test_all_at_once():
    """One certificate for everything that is wrong."""
    model = gguf_read(cli.TINY)
    model = with_keys(model, {b"general.architecture": text("perpetuum"), b"tokenizer.ggml.model": text("rosetta")})
    model = retyped(model, b".ffn_up.weight", 77)
    report = json.loads(run("verify", gguf_write(model, "all.gguf")).stdout)
    told = {c["name"]: c["detail"] for c in report["checks"]}["supported"]
    for word in ('architecture "perpetuum"', "tokenizer rosetta", "weight type 77 (2 tensors, the first is blk.0.ffn_up.weight)"):
        check("the certificate names %s" % word, word in told, told)


# ---- every weight format runs ----

def formats():
    """name, number, weights and bytes of a block, as src/quant and the program have them."""
    for path in sorted(glob.glob(os.path.join(ROOT, "src/quant/*.h"))):
        name, number, block = re.search(r'struct quant quant_\w+ = \{"(\w+)", (\d+), (\d+),', open(path).read()).groups()
        size = re.search(rb"a block of \S+ has (\d+)", run("eval", "--dequant", name, stdin=b"x").stderr)
        yield name, int(number), int(block), int(size.group(1)) if size else 1


def tiny(name, number, block, size):
    """A model of 256 columns with random blocks: scales are between 0 and 2 whatever the format, as no byte is above 0x3F."""
    rng = random.Random(number)
    model = gguf_read(cli.TINY)
    words = len(cli.strings(model.keys[b"tokenizer.ggml.tokens"]))
    keys = {b"llama.embedding_length": uint(256), b"llama.feed_forward_length": uint(256), b"llama.block_count": uint(1),
            b"llama.attention.head_count": uint(4), b"llama.attention.head_count_kv": uint(4), b"llama.attention.key_length": uint(64),
            b"llama.attention.value_length": uint(64), b"llama.rope.dimension_count": uint(64)}
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = [("token_embd", words)] + [("blk.0." + n, 256) for n in matrices]
    tensors = [[n.encode() + b".weight", struct.pack("<IQQI", 2, 256, rows, number),
                bytes(rng.randrange(64) for _ in range(256 // block * size * rows))] for n, rows in shapes]
    if block == 1:  # floats, whose every byte matters
        kinds = {0: lambda x: struct.pack("<f", x), 1: lambda x: struct.pack("<e", x), 30: lambda x: struct.pack("<f", x)[2:]}
        for t in tensors:
            t[2] = b"".join(kinds[number](rng.uniform(-0.2, 0.2)) for _ in range(len(t[2]) // size))
    weights = run("eval", "--dequant", name, stdin=tensors[1][2]).stdout
    weights = struct.unpack("<%df" % (len(weights) // 4), weights)
    small = 1 / math.sqrt(256 * sum(x * x for x in weights) / len(weights))  # a row of 256 then gives numbers about 1
    tensors += [[n, struct.pack("<IQI", 1, 256, 0), struct.pack("<256f", *[small] * 256)]
                for n in (b"output_norm.weight", b"blk.0.attn_norm.weight", b"blk.0.ffn_norm.weight")]
    return Model(with_keys(model, keys).keys, tensors)


def test_formats():
    seen = 0
    for name, number, block, size in formats():
        path = gguf_write(tiny(name, number, block, size), "format.gguf")
        p = run("verify", path)
        good = p.returncode == 0 and p.stdout
        checks = {c["name"]: c for c in json.loads(p.stdout)["checks"]} if good else {}
        ran = good and {"first step", "chunks", "exact path"} <= checks.keys() and not checks["exact path"]["warning"]
        check(name + " runs, in chunks too, and as the exact path says", ran, p.stdout[-900:], p.stderr)
        told = json.loads(works(name + ": info", "info", path, "--json").stdout or b"{}")
        check(name + ": info says how it runs", told.get("runs", {}).get(name), told)
        seen += 1
    check("there are formats", seen >= 25, seen)


TESTS = [test_refusals, test_all_at_once, test_formats]


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-unsupported-"))
    try:
        for test in TESTS:
            try:
                test()
            except Exception as e:  # the others still run
                check("%s to its end" % test.__name__, False, type(e).__name__, str(e))
    finally:
        shutil.rmtree(cli.tmp, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (count["passed"], count["failed"], count["skipped"]))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
