#!/usr/bin/env python3
"""`bodkin verify`: what a certificate holds, and that each of its checks can fail.

    python3 tests/test_verify.py [BODKIN [MODEL]]      BODKIN: ./bodkin; MODEL: models/SmolLM2-135M-Instruct-Q4_1.gguf

Models of tests/golden are damaged one thing at a time: the check that must see it does, by name and place, and the others
stay as they were. Sound ones: those of tests/golden, and where they are at hand all of ../shared/zoo and the real model.
Standard library only. Prints 'N passed, N failed, N skipped' last; exit 1 if any failed.
SPDX-License-Identifier: MIT
"""
import glob
import hashlib
import json
import os
import random
import shutil
import struct
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import test_cli as cli  # noqa: E402
import test_hostile  # noqa: E402
from test_cli import Model, check, count, gguf_read, gguf_text, gguf_write, run, skip, strings, uint, with_keys  # noqa: E402

MIXED = os.path.join(cli.GOLDEN, "llama-tiny-mixed.gguf")
ALWAYS = {"structure", "supported", "checksum", "tokenizer", "tokens", "special ids", "chat template"}
WITH_WEIGHTS = ALWAYS | {"unused tensors", "weights", "zero matrices", "first step", "exact path"}


def verify(path, name, code=0, bad=(), warned=(), env=None):
    """The checks of a certificate by name; its exit code, its failures and its warnings are these and no others."""
    p = run("verify", path, env=env)
    report = json.loads(p.stdout)
    checks = {c["name"]: c for c in report["checks"]}
    shape = all(set(c) == {"name", "ok", "warning", "detail", "seconds"} and c["detail"] and c["seconds"] >= 0 for c in report["checks"])
    failed = {n for n, c in checks.items() if not c["ok"]}
    warnings = {n for n, c in checks.items() if c["warning"]}
    counted = report["ok"] == (not failed) and report["failures"] == len(failed) and report["warnings"] == len(warnings)
    said = p.stderr.count(b"\n") == (1 if bad else 0)
    good = p.returncode == code and shape and counted and said and failed == set(bad) and warnings == set(warned)
    check("%s: %s" % (name, ", ".join(sorted(bad)) or "sound"), good, p.returncode, failed, warnings,
          [checks[n]["detail"] for n in failed | warnings], p.stderr)
    return checks


def says(checks, name, *words):
    check("%s says %s" % (name, words[0]), all(w in checks[name]["detail"] for w in words), checks[name]["detail"])


def with_tensor(model, name, change):
    """A model in which change(bytearray) was done to one tensor's data."""
    tensors = []
    for t in model.tensors:
        data = bytearray(t[2])
        if t[0] == name:
            change(data)
        tensors.append([t[0], t[1], bytes(data)])
    return Model(model.keys, tensors)


def put(at, raw):
    def change(data):
        data[at:at + len(raw)] = raw
    return change


def texts(values):
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(gguf_text(v) for v in values)


# ---- sound files ----

def test_sound():
    for path in sorted(glob.glob(os.path.join(cli.GOLDEN, "*.gguf"))):
        words_only = os.path.basename(path).startswith("vocab-")
        checks = verify(path, os.path.basename(path), warned={"structure"} if words_only else ())
        check("%s: all was looked at" % os.path.basename(path), checks.keys() >= (ALWAYS if words_only else WITH_WEIGHTS), sorted(checks))
        says(checks, "checksum", hashlib.sha256(open(path, "rb").read()).hexdigest())
    files = sorted(glob.glob(os.path.join(ROOT, "../shared/zoo/models/*.gguf")))
    for path in files:
        checks = verify(path, os.path.basename(path))
        check("%s: all was looked at" % os.path.basename(path), checks.keys() >= WITH_WEIGHTS, sorted(checks))
    for path in sorted(glob.glob(os.path.join(ROOT, "../shared/zoo/tokenizers/*.gguf"))):
        verify(path, os.path.basename(path), warned={"structure"})
    if not files:
        skip("the models of the zoo", "../shared/zoo is not here")
    if not os.path.exists(cli.REAL):
        return skip("the real model", "%s is not here; tools/fetch gets it" % os.path.basename(cli.REAL))
    checks = verify(cli.REAL, "the real model")
    says(checks, "checksum", "the catalogue's smollm2-135m")


def test_same_certificate():
    a, b = (json.loads(run("verify", cli.TINY, "--json", "--threads", n).stdout)["checks"] for n in ("1", "2"))
    same = [(c["name"], c["detail"]) for c in a] == [(c["name"], c["detail"]) for c in b]
    check("the same certificate on one thread and on two", same, a, b)


# ---- weights ----

def test_weights():
    model, mixed = gguf_read(cli.TINY), gguf_read(MIXED)
    nan, inf = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))
    name = b"blk.1.ffn_down.weight"  # 64 columns of float32
    checks = verify(gguf_write(with_tensor(model, name, put(4 * (5 * 64 + 7), nan + inf)), "two.gguf"), "a NaN and an infinity", 65,
                    {"weights", "first step", "exact path"})
    says(checks, "weights", "blk.1.ffn_down.weight: 2 of 2048 weights", "column 7 of row 5")
    blocks = {2: 18, 8: 34, 12: 144, 14: 210}  # ggml's number: bytes of a block; a half precision scale at the start, or at the end
    seen = 0
    for t in mixed.tensors:
        kind = struct.unpack("<I", t[1][-4:])[0]
        if kind not in blocks:
            continue
        size = blocks.pop(kind)
        path = gguf_write(with_tensor(mixed, t[0], put(3 * size + (208 if kind == 14 else 0), b"\x00\x7c")), "scale.gguf")
        p = json.loads(run("verify", path).stdout)
        detail = {c["name"]: c for c in p["checks"]}["weights"]
        check("an infinite scale of type %d" % kind, not detail["ok"] and t[0].decode() in detail["detail"], detail)
        seen += 1
    check("scales of several formats", seen >= 3, seen)
    path = gguf_write(with_tensor(model, b"blk.0.attn_v.weight", lambda d: put(0, bytes(len(d)))(d)), "zero.gguf")
    checks = verify(path, "a matrix of zeros", warned={"zero matrices"})
    says(checks, "zero matrices", "blk.0.attn_v.weight")
    extra = [[b"mtp.extra.weight", struct.pack("<IQI", 1, 8, 0), bytes(32)]]
    path = gguf_write(Model(model.keys, model.tensors + extra), "extra.gguf")
    checks = verify(path, "a tensor nobody asked for", warned={"unused tensors"})
    says(checks, "unused tensors", "mtp.extra.weight")
    whole = open(cli.TINY, "rb").read()
    path = os.path.join(cli.tmp, "cut.gguf")
    with open(path, "wb") as f:
        f.write(whole[:-1000])
    says(verify(path, "cut short", 65, {"structure"}), "structure", "the file is cut short")


def test_checksum():
    folder = os.path.join(cli.tmp, "models")
    os.makedirs(folder, exist_ok=True)
    good = shutil.copy(cli.TINY, os.path.join(folder, "tiny.gguf"))
    sha, size = hashlib.sha256(open(good, "rb").read()).hexdigest(), os.path.getsize(good)

    def catalogue(sha, size):
        with open(os.path.join(folder, "catalogue.txt"), "w") as f:
            f.write("[tiny]\nfile = tiny.gguf\nbytes = %d\nsha256 = %s\nlicence = none\ntask = complete\n" % (size, sha))
        return {"BODKIN_MODELS": folder}
    says(verify(good, "a catalogue's file", env=catalogue(sha, size)), "checksum", sha, "the catalogue's tiny")
    other = "0" * 64
    says(verify(good, "not what the catalogue says", 65, {"checksum"}, env=catalogue(other, size)), "checksum", "expected " + other)
    verify(good, "another file of that name", 0, warned={"checksum"}, env=catalogue(other, size + 1))


# ---- words ----

def with_tokens(model, change):
    words = strings(model.keys[b"tokenizer.ggml.tokens"])
    change(words)
    return with_keys(model, {b"tokenizer.ggml.tokens": texts(words)})


def test_tokenizer():
    model = gguf_read(cli.TINY)
    words = strings(model.keys[b"tokenizer.ggml.tokens"])

    def twice(w):
        w[260] = w[261]
    checks = verify(gguf_write(with_tokens(model, twice), "twice.gguf"), "a token that is there twice", warned={"merges"})
    says(checks, "tokens", "1 are written like another")

    def no_a(w):
        w[words.index(b"a")] = b"zzz"
    path = gguf_write(with_tokens(model, no_a), "no-a.gguf")
    checks = verify(path, "a byte without a token", 65, {"tokenizer", "tokens"}, warned={"merges"})
    says(checks, "tokenizer", "does not come back")
    merges = strings(model.keys[b"tokenizer.ggml.merges"]) + [b"zq qz"]
    checks = verify(gguf_write(with_keys(model, {b"tokenizer.ggml.merges": texts(merges)}), "merge.gguf"), "a merge of no tokens",
                    warned={"merges"})
    says(checks, "merges", '"zq qz" is of no tokens')
    path = gguf_write(with_keys(model, {b"tokenizer.ggml.padding_token_id": uint(5000)}), "pad.gguf")
    checks = verify(path, "a padding id out of range", 65, {"special ids"})
    says(checks, "special ids", "padding_token_id is 5000, but there are %d tokens" % len(words))
    only = gguf_read(os.path.join(cli.GOLDEN, "vocab-bytes.gguf"))
    path = gguf_write(with_keys(only, {b"tokenizer.ggml.padding_token_id": uint(5000)}), "only.gguf")
    verify(path, "and in a vocabulary without weights", 65, {"special ids"}, {"structure"})
    told = run("verify", path).stderr
    check("the sentence names what failed", b": 1 of 9 checks failed: special ids\n" in told, told)
    says(verify(gguf_write(with_keys(model, {b"tokenizer.ggml.bos_token_id": uint(5000)}), "bos.gguf"), "a BOS out of range", 65,
                {"structure", "tokenizer"}), "tokenizer", "bos_token_id is 5000")
    p = run("verify", gguf_write(with_keys(model, {b"tokenizer.ggml.model": None}), "wordless.gguf"))
    check("no vocabulary is a warning", p.returncode == 0 and json.loads(p.stdout)["warnings"] == 1, p)


def templated(model, source):
    return gguf_write(with_keys(model, {b"tokenizer.chat_template": struct.pack("<I", 8) + gguf_text(source)}), "template.gguf")


def test_template():
    model = gguf_read(cli.TINY)
    says(verify(templated(model, b"{% for m in messages %}"), "a template that ends too soon", 65, {"chat template"}, {"control tokens"}),
         "chat template", "refused")
    checks = verify(templated(model, b"{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
                              b"{% for m in messages %}<|begin|>{{ m.content }}<|end|>{% endfor %}"
                              b"{% if tools %}{{ tools | tojson }}{% endif %}"),
                    "a template without a system message")
    says(checks, "chat template", "a system message: refused: ", "no system", "tools and no system message: ", "a question: ")
    says(checks, "control tokens", "2, none of which")
    path = templated(model, b"{{ raise_exception('pirates only') }}")
    verify(path, "a template that refuses all", 65, {"chat template"}, {"control tokens"})


# ---- results ----

def test_results():
    model = gguf_read(cli.TINY)
    big = with_tensor(model, b"output_norm.weight", lambda d: put(0, struct.pack("<f", 3e38) * (len(d) // 4))(d))
    checks = verify(gguf_write(big, "big.gguf"), "weights that overflow", 65, {"first step", "exact path"})
    says(checks, "first step", "are NaN or infinite")
    checks = verify(cli.TINY, "the same bits")
    bits = checks["chunks"]["detail"].split()[-1]
    check("a hash of the logits", len(bits) == 64 and int(bits, 16) >= 0, bits)
    other = with_tensor(model, b"output_norm.weight", put(0, struct.pack("<f", 1.25)))
    check("other weights, other bits", bits not in verify(gguf_write(other, "other.gguf"), "another model")["chunks"]["detail"])


# ---- files that are damaged anyhow ----

def test_damaged(number=20):
    for path in sorted(glob.glob(os.path.join(cli.GOLDEN, "*.gguf"))):
        raw = open(path, "rb").read()
        for i in range(number):
            with open(os.path.join(cli.tmp, "damaged.gguf"), "wb") as f:
                f.write(test_hostile.damage(raw, random.Random("verify %s %d" % (os.path.basename(path), i))))
            p = run("verify", "./damaged.gguf", "--threads", "2")
            report = json.loads(p.stdout) if p.stdout else {"ok": False}
            good = p.returncode == (0 if report["ok"] else 65) or (p.returncode == 71 and not p.stdout)
            check("%s, damage %d" % (os.path.basename(path), i), good and p.stderr.count(b"\n") == (p.returncode != 0), p)


TESTS = [test_sound, test_same_certificate, test_weights, test_checksum, test_tokenizer, test_template, test_results, test_damaged]


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-verify-"))
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
