#!/usr/bin/env python3
"""bodkin convert: small Hugging Face folders, whose files must be those of the public converter; and folders to be refused.

    python3 tests/test_hf.py [BODKIN]      BODKIN: ./bodkin

tests/hf holds a case per architecture, made by tools/make_hf_cases.py: configuration, names and shapes of the tensors, and what
the public converter made of them. The tensors' bytes are made here, from their names. Standard library only.
Prints 'N passed, N failed' last; exit 1 if any failed. SPDX-License-Identifier: MIT
"""
import glob
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile

import test_cli as cli
from test_cli import check, count, fails, gguf_read, works

HERE = os.path.dirname(os.path.abspath(__file__))
GENERAL = ("general.architecture", "general.type", "general.file_type", "general.quantization_version", "general.alignment")
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "I32": 4, "I64": 8}
# bits of random bytes that are kept, and set: weights below 2, never subnormal, whatever their mantissa
SHAPED = {"F32": (0x81FFFFFF, 0x3C000000), "F16": (0x9FFF, 0x2000), "BF16": (0x81FF, 0x3C00), "F8_E4M3": (0xBF, 0), "I8": (0xFF, 0),
          "I32": (0xFFFFFFFF, 0)}
TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 8: "Q8_0", 30: "BF16"}
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 30: (1, 2)}  # weights, bytes
VALUES = ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "FLOAT32", "BOOL", "STRING", "ARRAY", "UINT64", "INT64", "FLOAT64"]
FORMATS = {"UINT8": "B", "INT8": "b", "UINT16": "H", "INT16": "h", "UINT32": "I", "INT32": "i", "FLOAT32": "f", "BOOL": "?", "UINT64": "Q",
           "INT64": "q", "FLOAT64": "d"}


# ---- folders ----

def weights(name, dtype, shape):
    """As many bytes as the tensor has, from its name alone."""
    n = 1
    for d in shape:
        n *= d
    size = SIZES[dtype]
    keep, put = (int.from_bytes(struct.pack("<I", x)[:size] * n, "little") for x in SHAPED[dtype])
    random = int.from_bytes(hashlib.shake_128(name.encode()).digest(n * size), "little")
    return (random & keep | put).to_bytes(n * size, "little")


def safetensors(tensors):
    """tensors: {name: [dtype, shape, bytes]} -> a file."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write_folder(case, path, parts=1):
    os.makedirs(path, exist_ok=True)
    for old in glob.glob(os.path.join(path, "*.safetensors*")):
        os.remove(old)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(case["config"], f)
    with open(os.path.join(path, "vocab.txt"), "w") as f:  # any tokenizer; tests of tokenizers are elsewhere
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["w%d" % i for i in range(case["config"]["vocab_size"] - 5)]) + "\n")
    tensors = {n: [t[0], t[1], bytes.fromhex(t[2]) if len(t) > 2 else weights(n, t[0], t[1])] for n, t in case["tensors"].items()}
    if parts == 1:
        with open(os.path.join(path, "model.safetensors"), "wb") as f:
            f.write(safetensors(tensors))
        return
    where = {n: "model-%05d-of-%05d.safetensors" % (i % parts + 1, parts) for i, n in enumerate(tensors)}
    for name in set(where.values()):
        with open(os.path.join(path, name), "wb") as f:
            f.write(safetensors({n: t for n, t in tensors.items() if where[n] == name}))
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": where}, f)


def dumped(case):
    """A case as text, a line for each tensor."""
    parts = []
    for key, value in case.items():
        if key in ("tensors", "keys", "made"):
            parts.append('"%s": {\n  %s}' % (key, ",\n  ".join("%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in value.items())))
        else:
            parts.append('"%s": %s' % (key, json.dumps(value)))
    return "{" + ",\n".join(parts) + "}\n"


# ---- what came of them ----

def value(raw):
    """A value's bytes as gguf_read has them -> [types, value]."""
    kinds = [VALUES[struct.unpack_from("<I", raw)[0]]]
    at, n = 4, None
    if kinds[0] == "ARRAY":
        kinds.append(VALUES[struct.unpack_from("<I", raw, 4)[0]])
        n, at = struct.unpack_from("<Q", raw, 8)[0], 16
    if kinds[-1] == "STRING":
        out = []
        while at < len(raw):
            size = struct.unpack_from("<Q", raw, at)[0]
            out.append(raw[at + 8:at + 8 + size].decode())
            at += 8 + size
    else:
        out = list(struct.unpack_from("<%d%s" % (1 if n is None else n, FORMATS[kinds[-1]]), raw, at))
    return [kinds, out[0] if n is None else out]


def made(path):
    model = gguf_read(path)
    keys = {k.decode(): value(v) for k, v in model.keys.items()}
    tensors = {}
    for name, record, data in model.tensors:
        n = struct.unpack_from("<I", record)[0]
        kind = struct.unpack_from("<I", record, 4 + 8 * n)[0]
        shape = list(struct.unpack_from("<%dQ" % n, record, 4))
        block, size = BLOCKS[kind]
        for d in shape:
            size *= d
        tensors[name.decode()] = [TYPES[kind], shape, data[:size // block]]
    return keys, tensors


def near(a, b):
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b))


def same_value(ours, theirs):
    if ours is None or ours[0] != theirs[0]:
        return False
    return near(ours[1], theirs[1]) if ours[0] == ["FLOAT32"] else ours[1] == theirs[1]


def floats(data):
    return struct.unpack("<%df" % (len(data) // 4), data)


def compare(name, case, path):
    keys, tensors = made(path)
    extra = case.get("extra", [])  # what the public converter leaves out
    for key, theirs in case["keys"].items():
        check("%s: %s" % (name, key), same_value(keys.get(key), theirs), keys.get(key), theirs)
    more = [k for k in keys if k not in case["keys"] and not k.startswith(("tokenizer.", "general."))]
    check(name + ": no other keys", all(any(k.endswith(x) for x in extra) for k in more), more)
    check(name + ": tensors", set(tensors) - set(extra) == set(case["made"]), set(tensors) ^ set(case["made"]))
    for n in set(tensors) & set(case["made"]):
        ours, theirs = tensors[n], case["made"][n]
        good = ours[0] == theirs[0] and ours[1] == theirs[1]
        if n.startswith("rope_"):  # computed: the last bit is the C library's
            good = good and (len(theirs) < 4 or all(map(near, floats(ours[2]), theirs[3])))
        else:
            good = good and hashlib.sha256(ours[2]).hexdigest()[:32] == theirs[2]
        check("%s: %s" % (name, n), good, ours[:2], theirs)


def at(name):
    return os.path.join(cli.tmp, name)


def test_cases():
    for path in sorted(glob.glob(os.path.join(HERE, "hf", "*.json"))):
        name = os.path.basename(path)[:-5]
        with open(path) as f:
            case = json.load(f)
        write_folder(case, at(name))
        more = [] if case["type"] == "auto" else ["--type", case["type"]]
        p = works(name, "convert", at(name), at(name + ".gguf"), *more)
        if p.returncode == 0:
            compare(name, case, at(name + ".gguf"))
        shutil.rmtree(at(name))


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-hf-"))
    try:
        for test in (test_cases,):
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
