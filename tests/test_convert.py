#!/usr/bin/env python3
"""bodkin quantize and eval --against as a user meets them: files made, files refused, nothing left behind.

    python3 tests/test_convert.py [BODKIN]      BODKIN: ./bodkin

Models come from tests/golden. Where Python has the package gguf, it reads what was written, too. What the machine lacks is
skipped and counted. Standard library only. Prints 'N passed, N failed' last; exit 1 if any failed.
SPDX-License-Identifier: MIT
"""
import array
import json
import os
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile

import test_cli as cli
from test_cli import GOLDEN, TINY, Model, check, count, fails, gguf_read, gguf_write, run, skip, start, until, works

TYPES = {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15,
         "Q4_K_S": 14, "Q4_1": 3, "Q4_0": 2, "IQ4_NL": 25}
MIXED = os.path.join(GOLDEN, "llama-tiny-mixed.gguf")
GEMMA = os.path.join(GOLDEN, "gemma3-tiny-f16.gguf")
REPLACED = (b"general.file_type", b"general.quantization_version")
CLOSING = r"\[%s, [\d.]+ million weights, [\d.]+ MB to [\d.]+ MB, [\d.]+ s\]\n"


def at(name):
    return os.path.join(cli.tmp, name)


def quantize(name, source, target, kind, *more, **options):
    p = works(name, "quantize", source, target, kind, *more, **options)
    check(name + ": a closing line, nothing on stdout", re.fullmatch(CLOSING % kind.upper(), p.stderr.decode()) and not p.stdout, p)
    return p


def nothing_left(name, folder=None):
    left = [f for f in os.listdir(folder or cli.tmp) if "out.gguf" in f]
    check(name + ": nothing is left", not left, left)


def test_types():
    """Every type, of every fixture: it loads, it answers, its keys are those of the source."""
    for source in (TINY, MIXED, GEMMA):
        before = gguf_read(source)
        for kind, number in TYPES.items():
            name = "%s as %s" % (os.path.basename(source), kind)
            quantize(name, source, "out.gguf", kind.lower() if number % 2 else kind)
            after = gguf_read(at("out.gguf"))
            check(name + ": keys", all(after.keys.get(k) == v for k, v in before.keys.items() if k not in REPLACED))
            check(name + ": general.file_type", after.keys[b"general.file_type"] == struct.pack("<II", 4, number))
            check(name + ": tensors", [(t[0], t[1][:-4]) for t in after.tensors] == [(t[0], t[1][:-4]) for t in before.tensors])
            p = run("complete", "-m", "./out.gguf", "--temperature", "0", "--max-tokens", "4", "one two")
            check(name + ": answers", p.returncode == 0 and cli.generated(p) > 0, p)
            p = run("verify", "./out.gguf")
            check(name + ": is sound", p.returncode == run("verify", source).returncode, p)
            if os.path.getsize(source) != os.path.getsize(at("out.gguf")) or kind != "F32":
                continue
            check(name + ": the weights are what they were", [t[2] for t in after.tensors] == [t[2] for t in before.tensors])


def test_again():
    """Back to floats and into the same format once more: the same values, where the format promises them."""
    for kind in ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "BF16", "F16"):
        quantize("first to " + kind, TINY, "first.gguf", kind)
        quantize("back to floats", "./first.gguf", "floats.gguf", "F32")
        quantize("again to " + kind, "./floats.gguf", "second.gguf", kind)
        quantize("and to floats", "./second.gguf", "floats2.gguf", "F32")
        one, two = gguf_read(at("floats.gguf")), gguf_read(at("floats2.gguf"))
        other = [a[0] for a, b in zip(one.tensors, two.tensors) if array.array("f", a[2]) != array.array("f", b[2])]  # 0.0 is -0.0
        check("%s: the same values again" % kind, not other, other)
    quantize("one thread", MIXED, "one.gguf", "Q4_K_M", "--threads", "1")
    quantize("three threads", MIXED, "three.gguf", "Q4_K_M", "--threads", "3")
    check("the same bytes on any number of threads", open(at("one.gguf"), "rb").read() == open(at("three.gguf"), "rb").read())


def test_usage():
    known = r".*what can be written is F32, F16, BF16, Q8_0, .*Q4_K_M.*IQ4_NL"
    for kind in ("Q3_K", "IQ2_XS", "Q4_K", "", "sausage"):
        fails("type %r" % kind, 64, "not supported: writing %s;%s" % (kind, known), "quantize", TINY, "out.gguf", kind)
    for words in ([], [TINY], [TINY, "out.gguf"]):
        fails("%d arguments" % len(words), 64, r"usage: bodkin quantize IN\.gguf OUT\.gguf TYPE", "quantize", *words)
    fails("four arguments", 64, r'quantize takes three arguments: what is "now"\?', "quantize", TINY, "out.gguf", "Q4_0", "now")
    fails("--against alone", 64, r"--against goes with --perplexity FILE", "eval", "-m", TINY, "--against", TINY)
    nothing_left("usage")


def test_refused():
    same = r"\S+: this is the file that is read; write to another"
    shutil.copy(TINY, at("tiny.gguf"))
    os.symlink("tiny.gguf", at("link.gguf"))
    os.link(at("tiny.gguf"), at("other.gguf"))
    for out in ("tiny.gguf", "./tiny.gguf", "link.gguf", "other.gguf"):
        fails("OUT is IN: " + out, 64, same, "quantize", "./tiny.gguf", out, "Q4_0")
    check("which is as it was", open(at("tiny.gguf"), "rb").read() == open(TINY, "rb").read())
    fails("no input", 66, r"\./none\.gguf: No such file or directory", "quantize", "./none.gguf", "out.gguf", "Q4_0")
    fails("no folder", 74, r"nowhere/out\.gguf: cannot be written: No such file or directory", "quantize", TINY, "nowhere/out.gguf", "Q4_0")
    fails("a folder as output", 74, r"\./: a directory, expected a file or nothing", "quantize", TINY, "./", "Q4_0")
    fails("a device as output", 74, r"/dev/full: not a regular file, .*", "quantize", TINY, "/dev/full", "Q4_0")
    whole = open(TINY, "rb").read()
    for n in (0, 3, 1000, len(whole) - 1000):
        with open(at("cut.gguf"), "wb") as f:
            f.write(whole[:n])
        fails("input of %d bytes" % n, 65, r"\./cut\.gguf: .*", "quantize", "./cut.gguf", "out.gguf", "Q4_0")
    model = gguf_read(TINY)
    for bad in (float("nan"), float("inf"), -float("inf")):
        tensors = [[n, r, struct.pack("<f", bad) + d[4:] if n == b"blk.0.ffn_up.weight" else d] for n, r, d in model.tensors]
        path = gguf_write(Model(model.keys, tensors), "bad.gguf")
        fails("a weight is %s" % bad, 65, r"\S+bad\.gguf: tensor blk\.0\.ffn_up\.weight holds a NaN or an infinity", "quantize", path,
              "out.gguf", "Q8_0")
    future = [[n, r[:-4] + struct.pack("<I", 77), d] if n == b"blk.0.ffn_up.weight" else [n, r, d] for n, r, d in model.tensors]
    fails("a weight type of the future", 65, r"\S+bad\.gguf: tensor blk\.0\.ffn_up\.weight: not supported: weight type 77", "quantize",
          gguf_write(Model(model.keys, future), "bad.gguf"), "out.gguf", "Q8_0")
    fails("a vocabulary only", 65, r"\S+: the file holds a vocabulary only, no weights", "quantize", os.path.join(GOLDEN, "vocab-spm.gguf"),
          "out.gguf", "Q8_0")
    nothing_left("refused")


def test_disk():
    """No permission, no space; an old file is kept when a new one cannot be made."""
    folder = at("locked")
    os.mkdir(folder)
    os.chmod(folder, 0o555)
    more = {}
    if os.geteuid() == 0:
        os.chmod(cli.tmp, 0o755)
        shutil.copy(TINY, at("readable.gguf"))
        more = {"binary": shutil.copy(cli.BODKIN, at("program")), "preexec_fn": lambda: os.setuid(cli.NOBODY)}
        os.chmod(more["binary"], 0o755)
    else:
        shutil.copy(TINY, at("readable.gguf"))
    try:
        run("--version", **more)
        fails("a folder without permission", 77, r"locked/out\.gguf: cannot be written: Permission denied", "quantize", at("readable.gguf"),
              "locked/out.gguf", "Q4_0", **more)
    except (OSError, cli.subprocess.SubprocessError):
        skip("a folder without permission", "root, and cannot become nobody")
    nothing_left("no permission", folder)

    def little_space():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
    with open(at("out.gguf"), "wb") as f:
        f.write(b"what was there")
    fails("no space", 74, r"out\.gguf: cannot write \d+ bytes: File too large", "quantize", TINY, "out.gguf", "F32", preexec_fn=little_space)
    check("no space: the old file is as it was", open(at("out.gguf"), "rb").read() == b"what was there")
    os.remove(at("out.gguf"))
    nothing_left("no space")
    os.umask(0o027)
    quantize("a new file", TINY, "out.gguf", "Q4_0")
    check("a new file has the modes that the umask leaves", os.stat(at("out.gguf")).st_mode & 0o777 == 0o640, oct(os.stat(at("out.gguf")).st_mode))


def big_model():
    """The small model and matrices that nobody needs, so that there is time to interrupt."""
    model, more = gguf_read(TINY), []
    for i in range(16):
        more.append([b"extra.%d.weight" % i, struct.pack("<IQQI", 2, 1024, 2048, 0), os.urandom(256) * (1024 * 2048 * 4 // 256)])
    for extra in more:  # any bits but no NaN: exponents cut to below 128
        extra[2] = bytes(b & 0x3F if i % 4 == 3 else b for i, b in enumerate(extra[2][:256])) * (len(extra[2]) // 256)
    return gguf_write(Model(model.keys, model.tensors + more), "big.gguf")


def test_killed():
    path = big_model()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        p = start("quantize", path, "killed-out.gguf", "IQ4_NL", "--threads", "1")
        until(lambda: p.poll() is not None or any(f.startswith("killed-out.gguf.") for f in os.listdir(cli.tmp)), "a file being written")
        p.send_signal(number)
        p.communicate(timeout=cli.PATIENCE)
        name = signal.Signals(number).name
        check(name + ": ends it", p.returncode == (-number if number == signal.SIGKILL else 128 + number), p.returncode)
        check(name + ": no OUT", not os.path.exists(at("killed-out.gguf")))
        if number != signal.SIGKILL:  # which nobody can answer
            nothing_left(name)
    quantize("in spite of what SIGKILL left", path, "killed-out.gguf", "Q8_0")
    os.remove(path)


def test_split():
    model = gguf_read(MIXED)
    half = len(model.tensors) // 2
    parts = []
    for n, tensors, keys in ((0, model.tensors[:half], model.keys), (1, model.tensors[half:], {})):
        split = {b"split.no": struct.pack("<IH", 2, n), b"split.count": struct.pack("<IH", 2, 2),
                 b"split.tensors.count": struct.pack("<Ii", 5, len(model.tensors))}
        parts.append(gguf_write(Model({**keys, **split}, tensors), "split/tiny-%05d-of-00002.gguf" % (n + 1)))
    quantize("of two files", parts[0], "two.gguf", "Q5_K_M")
    quantize("of one file", MIXED, "one.gguf", "Q5_K_M")
    check("the same file, whole", open(at("one.gguf"), "rb").read() == open(at("two.gguf"), "rb").read())
    fails("OUT is the second part", 64, r"\S+: this is the file that is read; .*", "quantize", parts[0], parts[1], "Q4_0")


def test_other_reader():
    try:
        import gguf
    except ImportError:
        return skip("another reader", "no package gguf; pip install gguf")
    for kind, number in TYPES.items():
        quantize("for another reader: " + kind, MIXED, "out.gguf", kind)
        theirs, source = gguf.GGUFReader(at("out.gguf")), gguf.GGUFReader(MIXED)
        check(kind + ": it finds the tensors", [t.name for t in theirs.tensors] == [t.name for t in source.tensors])
        check(kind + ": and the type", int(theirs.fields["general.file_type"].parts[-1][0]) == number)
    return None


def perplexity(*args):
    p = works("perplexity", "eval", "--perplexity", "./text", *args)
    return json.loads(p.stdout) if p.returncode == 0 else {}


def test_against():
    with open(at("text"), "w") as f:
        f.write("".join(chr(97 + (i * i * 7 + i // 3) % 26) + (" " if i % 5 == 4 else "") for i in range(2600)))
    alone = perplexity("-m", TINY)
    same = perplexity("-m", TINY, "--against", TINY)
    check("perplexity is what it is alone", {k: same.get(k) for k in alone} == alone, alone, same)
    check("a model is not far from itself", same.get("kl") == 0 and same.get("kl_max") == 0 and same.get("same_top") == 1, same)
    far = []
    for kind in ("Q8_0", "Q4_0"):
        quantize("to compare", TINY, "q.gguf", kind)
        far.append(perplexity("-m", "./q.gguf", "--against", TINY))
        a = far[-1]
        check(kind + ": numbers in order", 0 < a["kl"] < a["kl_99"] <= a["kl_max"] and 0 < a["kl_standard_error"] < a["kl"]
              and 0 <= a["same_top"] <= 1, a)
    check("four bits are farther than eight", far[0]["kl"] < far[1]["kl"] / 4, far)
    check("nothing depends on threads", perplexity("-m", "./q.gguf", "--against", TINY, "--threads", "3") == far[1])
    fails("another vocabulary", 65, r"the two models do not have the same vocabulary", "eval", "-m", TINY, "--perplexity", "./text", "--against",
          other_vocabulary())
    fails("not enough --memory for both", 75, r"the model needs .*--memory allows \d+: .*", "eval", "-m", TINY, "--perplexity", "./text",
          "--against", TINY, "--memory", str(json.loads(run("info", TINY, "--json").stdout)["memory"]["total"] + 4096))


def other_vocabulary():
    """The same number of tokens, two of them exchanged: the same text has other ids."""
    model = gguf_read(TINY)
    tokens = model.keys[b"tokenizer.ggml.tokens"]
    words = cli.strings(tokens)
    i, j = words.index(b"a"), words.index(b"b")
    words[i], words[j] = words[j], words[i]
    return gguf_write(cli.with_keys(model, {b"tokenizer.ggml.tokens": tokens[:16] + b"".join(map(cli.gguf_text, words))}), "other-words.gguf")


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-convert-"))
    try:
        for test in (test_types, test_again, test_usage, test_refused, test_disk, test_killed, test_split, test_other_reader, test_against):
            shutil.rmtree(cli.tmp)
            os.mkdir(cli.tmp)
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
