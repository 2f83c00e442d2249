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
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["w%d" %
                i for i in range(case["config"]["vocab_size"] - 5)]) + "\n")
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
        if kind not in BLOCKS:
            tensors[name.decode()] = [kind, None, data]
            continue
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


def case_of(name):
    with open(os.path.join(HERE, "hf", name + ".json")) as f:
        return json.load(f)


def convert(name, case, *more, parts=1):
    """The folder's file as gguf_read has it, or None."""
    write_folder(case, at("folder"), parts)
    p = works(name, "convert", at("folder"), at("out.gguf"), *more)
    return made(at("out.gguf")) if p.returncode == 0 else None


def half(raw):
    return struct.unpack("<e", raw)[0]


def decoded(kind, data):
    """The weights of blocks, and how far from exact each may be: what rounding the minimum to a half costs."""
    out, slack = [], []
    size = BLOCKS[next(k for k, v in TYPES.items() if v == kind)][1]
    for at_ in range(0, len(data), size):
        d = half(data[at_:at_ + 2])
        if kind == "Q8_0":
            out += [d * q for q in struct.unpack_from("<32b", data, at_ + 2)]
            slack += [0] * 32
            continue
        m = half(data[at_ + 2:at_ + 4]) if kind == "Q4_1" else -8 * d
        q = data[at_ + size - 16:at_ + size]
        out += [d * (b & 15) + m for b in q] + [d * (b >> 4) + m for b in q]
        slack += [abs(m) / 2048 if kind == "Q4_1" else 0] * 32
    return out, slack


def test_codes():
    """Codes go into blocks as they are; what blocks cannot hold becomes floats."""
    for name, kind in (("gptq", "Q4_1"), ("gptq-symmetric", "Q4_0"), ("gptq-order", "F16"), ("gptq-8", "Q8_0"), ("ct-int4", "Q4_0"),
                       ("ct-int4-zeros", "Q4_1"), ("ct-int8", "Q8_0"), ("ct-fp8", "BF16"), ("fp8", "BF16")):
        case = case_of(name)
        ours, exact = convert(name, case), convert(name, case, "--type", "F32")
        if not ours or not exact:
            continue
        for n in sorted(exact[1]):
            got, want = ours[1][n][0], "F32" if "norm" in n else kind if "blk." in n else case["tensors"]["lm_head.weight"][0]
            check("%s: %s is %s" % (name, n, want), got == want, got)
            if got.startswith("Q"):
                x, slack = decoded(got, ours[1][n][2])
                check("%s: %s: the same weights" % (name, n), all(abs(a - b) <= s for a, b, s in zip(x, floats(exact[1][n][2]), slack)))
        p = works(name + " as codes of another kind", "convert", at("folder"), at("out.gguf"), "--type", "Q4_K_M")
        check(name + ": a sentence", p.stderr.startswith(b"[Q4_K_M, 0.1 million weights"), p.stderr)


def awq(case):
    """The case with its layers' matrices in AWQ's layout, and what they are: eight outputs in a word, 0 2 4 6 1 3 5 7."""
    places, tensors, wanted = (0, 2, 4, 6, 1, 3, 5, 7), {}, {}
    for name, (dtype, shape) in case["tensors"].items():
        if not name.endswith("proj.weight"):
            tensors[name] = [dtype, shape]
            continue
        (rows, cols), base = shape, name[:-len("weight")]
        for part, t in (("qweight", ["I32", [cols, rows // 8]]), ("qzeros",
                        ["I32", [cols // 32, rows // 8]]), ("scales", ["F16", [cols // 32, rows]])):
            tensors[base + part] = t
        word = [struct.unpack("<%dI" % (len(w) // 4), w)
                              for w in (weights(base + part, *tensors[base + part]) for part in ("qweight", "qzeros"))]
        scale = struct.unpack("<%de" % (cols // 32 * rows), weights(base + "scales", *tensors[base + "scales"]))

        def nibble(words, line, row):
            return words[line * (rows // 8) + row // 8] >> 4 * places.index(row % 8) & 15
        wanted[name] = [scale[c // 32 * rows + r] * (nibble(word[0], c, r) - nibble(word[1], c // 32, r))
                                                     for r in range(rows) for c in range(cols)]
    config = {
    **case["config"],
    "quantization_config": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 32,
        "zero_point": True,
         "version": "gemm"}}
    return {"config": config, "tensors": tensors}, wanted


def test_awq():
    case, wanted = awq({k: v for k, v in case_of("qwen3").items()})
    exact, ours = convert("AWQ", case, "--type", "F32"), convert("AWQ", case)
    names = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
     "down_proj": "ffn_down"}
    for name, x in wanted.items() if exact and ours else ():
        part = name.split(".")
        n = "blk.%s.%s.weight" % (part[2], names[part[4]])
        check("AWQ: " + n, list(floats(exact[1][n][2])) == x)
        y, slack = decoded(ours[1][n][0], ours[1][n][2])
        check("AWQ: %s as it is" % n, ours[1][n][0] == "Q4_1" and all(abs(a - b) <= s for a, b, s in zip(y, x, slack)), ours[1][n][0])


def test_same():
    """Shards, threads, types: what may not matter does not."""
    for name in ("llama-bf16", "mixtral", "gptq"):
        case = case_of(name)
        one, parts = convert(name, case), convert(name, case, parts=3)
        check(
    name + ": in parts",
    one and parts and one[1] == parts[1] and {
        **one[0],
        "general.name": 0} == {
            **parts[0],
             "general.name": 0})
        for threads in ("1", "3"):
            works("threads", "convert", at("folder"), at(threads + ".gguf"), "--threads", threads)
        check(name + ": any number of threads", open(at("1.gguf"), "rb").read() == open(at("3.gguf"), "rb").read())
    case = case_of("llama-bf16")
    for kind in ("Q8_0", "Q4_K_M", "F32"):
        ours = convert(kind, case, "--type", kind)
        convert(kind, case)
        works(kind, "quantize", at("out.gguf"), at("again.gguf"), kind)
        check(kind + ": as by way of a file", ours and ours[1] == made(at("again.gguf"))[1])


def test_other_ways():
    """What folders may have instead: experts in one tensor, norms head by head, layers that guess ahead, scales for all."""
    case = case_of("qwen3moe")
    tensors = dict(case["tensors"])
    for i in range(2):
        base = "model.layers.%d.mlp.experts." % i
        one = {n: tensors.pop(n) for n in list(tensors) if n.startswith(base)}
        raw = {part: b"".join(weights(base + "%d.%s.weight" % (x, part), "BF16", [64, 32]) for x in range(4))
               for part in ("gate_proj", "up_proj", "down_proj")}
        both = b"".join(raw[part][x * 4096:(x + 1) * 4096] for x in range(4) for part in ("gate_proj", "up_proj"))
        check("experts are what they were", len(one) == 12 and len(both) == 2 * len(raw["down_proj"]))
        tensors[base + "gate_up_proj"] = ["BF16", [4, 64, 64], both.hex()]
        tensors[base + "down_proj"] = ["BF16", [4, 64, 32], raw["down_proj"].hex()]
    write_folder({**case, "tensors": tensors}, at("folder"))
    if works("experts in one tensor", "convert", at("folder"), at("out.gguf")).returncode == 0:
        compare("experts in one tensor", case, at("out.gguf"))

    case = case_of("stablelm")
    names = ["model.layers.%d.self_attn.%s_layernorm.norms.%d.weight" % (i, q, h) for i in range(2) for q, n in (("q", 4), ("k", 2)) for h in range(n)]
    got = convert("norms head by head", {"config": {**case["config"], "qk_layernorm": True},
                                         "tensors": {**case["tensors"], **{n: ["F32", [16]] for n in names}}})
    if got:
        for i in range(2):
            for q, n in (("q", 4), ("k", 2)):
                t = got[1]["blk.%d.attn_%s_norm.weight" % (i, q)]
                want = b"".join(weights(name, "F32", [16]) for name in names if ".%d.self_attn.%s_" % (i, q) in name)
                check("norms head by head: %d %s" % (i, q), t == ["F32", [16, n], want], t[:2])

    case = case_of("deepseek3")
    more = {n.replace("layers.1.", "layers.2."): t for n, t in case["tensors"].items() if "layers.1." in n}
    write_folder({"config": {**case["config"], "num_nextn_predict_layers": 1}, "tensors": {**case["tensors"], **more}}, at("folder"))
    if works("a layer that guesses ahead", "convert", at("folder"), at("out.gguf")).returncode == 0:
        compare("a layer that guesses ahead", case, at("out.gguf"))

    case = case_of("ct-int8")
    tensors = {n: ["BF16", [], "803e"] if n.endswith("_scale") else t for n, t in case["tensors"].items()}  # 0.25
    got = convert("a scale for all", {**case, "tensors": tensors}, "--type", "F32")
    codes = weights("model.layers.0.mlp.up_proj.weight", "I8", [96, 64])
    check("a scale for all", got and list(floats(got[1]["blk.0.ffn_up.weight"][2])) == [x / 4 for x in struct.unpack("6144b", codes)])


def test_ranker():
    """A decoder of a certain name keeps the rows of two words, and no head."""
    case = case_of("qwen3")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["w%d" % i for i in range(89)] + ["no", "yes"]
    for folder, tied in (("Qwen3-Reranker-0.6B", False), ("my-qwen3-reranker", True)):
        config = {**case["config"], "tie_word_embeddings": tied}
        tensors = {n: t for n, t in case["tensors"].items() if n != "lm_head.weight" or not tied}
        write_folder({"config": config, "tensors": tensors}, at(folder))
        with open(os.path.join(at(folder), "tokenizer.json"), "w") as f:
            json.dump({"model": {"type": "BPE", "vocab": {n: i for i, n in enumerate(names)}, "merges": []}, "added_tokens": [],
                       "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "decoder": {"type": "ByteLevel"}}, f)
        os.remove(os.path.join(at(folder), "vocab.txt"))
        p = works(folder, "convert", at(folder), at("rank.gguf"))
        if p.returncode:
            continue
        keys, got = made(at("rank.gguf"))
        source = "model.embed_tokens.weight" if tied else "lm_head.weight"
        rows = weights(source, *case["tensors"][source])
        check(folder + ": its head", got["cls.output.weight"][2] == rows[95 * 128:] + rows[94 * 128:95 * 128], got["cls.output.weight"][:2])
        check(folder + ": no other", "output.weight" not in got)
        check(folder + ": keys", keys["qwen3.pooling_type"][1] == 4 and keys["qwen3.classifier.output_labels"][1] == ["yes", "no"])


def broken(name, code, pattern, case=None, raw=None, files=None, **changes):
    """A folder that is refused: other tensors (None: without it), other configuration, other bytes; and nothing is left."""
    case = case or case_of("llama-bf16")
    tensors = {**case["tensors"], **changes.pop("tensors", {})}
    config = {**case["config"], **changes}
    case = {"config": {k: v for k, v in config.items() if v is not None}, "tensors": {k: v for k, v in tensors.items() if v is not None}}
    write_folder({**case, "config": {"vocab_size": 96, **case["config"]}}, at("broken"))
    with open(os.path.join(at("broken"), "config.json"), "w") as f:
        json.dump(case["config"], f)
    if raw is not None:
        with open(os.path.join(at("broken"), "model.safetensors"), "wb") as f:
            f.write(raw)
    for file, data in (files or {}).items():
        with open(os.path.join(at("broken"), file), "wb") as f:
            f.write(data)
    fails(name, code, pattern, "convert", at("broken"), at("broken.gguf"))
    left = [f for f in os.listdir(cli.tmp) if "broken.gguf" in f]
    check(name + ": nothing is left", not left, left)
    shutil.rmtree(at("broken"))


def header(text, data=b"", n=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(text) if n is None else n) + text + data


def test_broken_files():
    bad = r"\S+/broken/model\.safetensors: "
    one = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}
    for name, raw, pattern in (
            ("empty", b"", "a header of 0 bytes in a file of 0: .*"), ("seven bytes", b"\0" * 7, "a header of 0 bytes .*"),
            ("a header past the end", header(b"{}", n=3), "a header of 3 bytes .*"),
            ("a header of 2^63 bytes", header(b"{}", n=1 << 63), "a header of 9223372036854775808 bytes .*"),
            ("no JSON", header(b"{]"), "JSON has .*"), ("an array", header(b"[]"), "its header is no JSON object"),
            ("deep", header(b"[" * 1000), "JSON nests deeper .*"),
            ("no shape", header({"a": {"dtype": "F16", "data_offsets": [0, 4]}}, b"1234"), "tensor a: expected a dtype, .*"),
            ("a number", header({"a": 1}), "tensor a: expected a dtype, .*"),
            ("another dtype", header({"a": {**one, "dtype": "F12"}}, b"1234"), "tensor a: not supported: dtype F12"),
            ("past the end", header({"a": one}, b"123"), "tensor a: bytes 0 to 4 of 3, .*"),
            ("backwards", header({"a": {**one, "data_offsets": [4, 0]}}, b"1234"), "tensor a: bytes 4 to 0 .*"),
            ("before the data", header({"a": {**one, "data_offsets": [-4, 0]}}, b"1234"), "tensor a: bytes -4 to 0 .*"),
            ("too few", header({"a": {**one, "shape": [3]}}, b"1234"), "tensor a: bytes 0 to 4 of 4, .*"),
            ("an overflow", header({"a": {**one, "shape": [1 << 31, 1 << 31, 1 << 31]}}, b"1234"), "tensor a: bytes 0 to 4 .*"),
            ("a product of 2^64", header({"a": {**one, "shape": [1 << 30, 1 << 30, 8]}}, b"1234"), "tensor a: bytes 0 to 4 .*"),
            ("negative", header({"a": {**one, "shape": [-2]}}, b"1234"), "tensor a: bytes 0 to 4 .*"),
            ("six dimensions", header({"a": {**one, "shape": [1, 1, 1, 1, 1, 2]}}, b"1234"), "tensor a: bytes 0 to 4 .*"),
            ("overlapping", header({"a": one, "b": {**one, "data_offsets": [2, 6]}}, b"123456"), "tensors a and b overlap")):
        broken(name, 65, bad + pattern, raw=raw)
    index = {"weight_map": {"model.norm.weight": "model.safetensors"}}
    for name, code, text, pattern in (
            ("an index of nothing", 65, {}, "expected a weight_map"), ("an index that leads away", 65, {"weight_map": {"a": "../x.safetensors"}},
                                                                       "the index has no file's name for tensor a"),
            ("an index to a missing file", 66, {"weight_map": {"a": "other.safetensors"}}, "No such file or directory"),
            ("an index with more", 65, {"weight_map": {**index["weight_map"], "a": "model.safetensors"}},
             "tensor a is not in model.safetensors, where the index has it")):
        broken(name, code, r"\S+: " + pattern, files={"model.safetensors.index.json": json.dumps(text).encode()})


def test_broken_models():
    said = r"\S+/broken: "
    llama, q = case_of("llama-bf16"), "model.layers.1.self_attn.q_proj.weight"
    for name, pattern, changes in (
            ("an unknown architecture", 'not supported: architecture "SausageForCausalLM"', {"architectures": ["SausageForCausalLM"]}),
            ("no architecture", "config.json names no architecture", {"architectures": []}),
            ("a missing tensor", r".*tensor blk\.1\.attn_q\.weight is missing", {"tensors": {q: None}}),
            ("an unknown tensor", 'tensor model.layers.1.sausage.weight: no model of architecture "llama" and 2 layers has it',
             {"tensors": {"model.layers.1.sausage.weight": ["BF16", [4, 4]]}}),
            ("a layer too many", 'tensor model.layers.7.self_attn.q_proj.weight: no model of .*',
             {"tensors": {"model.layers.7.self_attn.q_proj.weight": ["BF16", [64, 64]]}}),
            ("a tensor twice", r"two tensors would both be blk\.1\.attn_q\.weight, .*",
             {"tensors": {q[6:]: ["BF16", [64, 64]]}}),
            ("heads that do not divide", "tensor .*q_proj.(weight|bias): a shape of 64 x (64|1) does not fit config.json", {"num_attention_heads": 5}),
            ("other widths", ".*what it says of itself and what it holds do not go together: .*", {"hidden_size": 128, "head_dim": 16}),
            ("no layers", "config.json: 0 layers, expected 1 to 1024", {"num_hidden_layers": 0}),
            ("many layers", "config.json: 4000000 layers, expected 1 to 1024", {"num_hidden_layers": 4000000}),
            ("a negative width", r"config.json: intermediate_size\|\S+ is -1, expected 0 to 4294967295", {"intermediate_size": -1}),
            ("integers as weights", "tensor .*: not supported: weights as I32", {"tensors": {q: ["I32", [64, 64]]}}),
            ("an empty tensor", "tensor .*: a shape of 0 x 64 does not fit config.json", {"tensors": {q: ["BF16", [0, 64], ""]}}),
            ("a scalar", "tensor .* has 0 dimensions, expected 1 to 4", {"tensors": {q: ["BF16", [], "0000"]}}),
            ("another scaling", 'not supported: rope scaling "sausage"',
             {"rope_parameters": {"rope_type": "sausage", "factor": 2.0}}),
            ("another method", 'not supported: weights quantized by "bitsandbytes" to 4 bits', {"quantization_config": {"quant_method": "bitsandbytes"}}),
            ("three bits", 'not supported: weights quantized by "gptq" to 3 bits', {"quantization_config": {"quant_method": "gptq", "bits": 3}})):
        broken(name, 65, said + pattern, llama, **changes)
    nan = ["F32", [64, 64], "0000c07f" * 4096]
    broken("not a number", 65, said + r"tensor blk\.1\.attn_q\.weight holds a NaN or an infinity", llama, tensors={q: nan})
    mixtral, expert = case_of("mixtral"), "model.layers.1.block_sparse_moe.experts.%d.w1.weight"
    broken("a missing expert", 65, said + r"tensor blk\.1\.ffn_gate_exps\.weight: of 4 experts at least one is missing", mixtral,
           tensors={expert % 2: None})
    broken("an expert of another shape", 65, said + "tensors .* are stacked and differ in shape or type",
           mixtral, tensors={expert % 2: ["BF16", [64, 96]]})
    gptq, base = case_of("gptq"), "model.layers.1.self_attn.q_proj."
    for name, part, t, pattern in (
            ("no scales", "scales", None, "scales"), ("scales of another shape", "scales", ["F16", [3, 64]], "scales"),
            ("scales as integers", "scales", ["I32", [2, 64]], "scales"), ("zeros of another shape", "qzeros", ["I32", [2, 7]], "zeros"),
            ("codes as floats", "qweight", ["F32", [8, 64]], "codes"), ("an order of another length", "g_idx", ["I32", [63]], "g_idx"),
            ("an order past the end", "g_idx", ["I32", [64], "09000000" * 64], "g_idx")):
        broken(name, 65, said + "tensor .*qweight: its %s do not have the type and shape .*" % pattern, gptq, tensors={base + part: t})
    broken("codes that nobody explains", 65, said + "tensor .*: not supported: codes that quantization_config does not explain", gptq,
           quantization_config=None)


def test_usage():
    write_folder(case_of("llama-bf16"), at("folder"))
    for words in ([], [at("folder")]):
        fails("%d arguments" % len(words), 64, r"usage: bodkin convert DIR OUT\.gguf \[--type TYPE\]", "convert", *words)
    fails(
    "another type",
    64,
    r"not supported: writing sausage; what can be written is F32, .*",
    "convert",
    at("folder"),
    at("out.gguf"),
    "--type",
     "sausage")
    fails("no folder", 66, r"\S+/nowhere: no such folder", "convert", at("nowhere"), at("out.gguf"))
    fails("a file", 66, r"\S+/config\.json: no such folder", "convert", at("folder/config.json"), at("out.gguf"))
    same = os.path.join(at("folder"), "model.safetensors")
    fails("the output is the input", 64, r"\S+: this is a file that is read; write to another", "convert", at("folder"), same)
    os.remove(same)
    fails(
    "no weights",
    66,
    r"\S+/folder: no model\.safetensors in it \(other formats of weights are not supported\)",
    "convert",
    at("folder"),
     at("out.gguf"))
    os.remove(os.path.join(at("folder"), "config.json"))
    fails("no configuration", 66, r"\S+/config\.json: No such file or directory", "convert", at("folder"), at("out.gguf"))


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-hf-"))
    try:
        for test in (test_cases, test_codes, test_awq, test_same, test_other_ways, test_ranker, test_broken_files, test_broken_models, test_usage):
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
