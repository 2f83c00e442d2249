#!/usr/bin/env python3
"""Writes tests/corpus/gguf (files that gguf_open takes) and tests/corpus/bad (files it must refuse, named by defect).

Both seed the fuzzer and are replayed by every test run. Deterministic; each file is smaller than 2 kB.
SPDX-License-Identifier: MIT
"""
import os
import shutil
import struct

ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "corpus")
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q",
        F64: "<d"}


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def string(s, length=None):
    s = s.encode() if isinstance(s, str) else s
    return u64(len(s) if length is None else length) + s


def value(kind, v):
    return string(v) if kind == STRING else struct.pack(PACK[kind], v)


def key(name, kind, v):
    return string(name) + u32(kind) + value(kind, v)


def array(name, kind, values, count=None):
    return string(name) + u32(ARRAY) + u32(kind) + u64(len(values) if count is None else count) + \
        b"".join(value(kind, v) for v in values)


def tensor(name, dims, kind=0, offset=0, n_dims=None):
    return string(name) + u32(len(dims) if n_dims is None else n_dims) + b"".join(u64(d) for d in dims) + u32(kind) + \
        u64(offset)


def gguf(keys=(), tensors=(), data=b"", version=3, n_keys=None, n_tensors=None, magic=b"GGUF", alignment=32):
    head = magic + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors) + \
        u64(len(keys) if n_keys is None else n_keys) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


ARCH = key("general.architecture", STRING, "llama")
ALL_KINDS = [key("k%d" % kind, kind, 1) for kind in PACK] + [key("s", STRING, "text"), key("empty", STRING, "")]
ALL_ARRAYS = [array("a%d" % kind, kind, [0, 1, 1]) for kind in PACK] + \
    [array("strings", STRING, ["a", "", "\u00e9", b"\xff\x00"]), array("none", U32, []),
     array("no_strings", STRING, [])]
TOKENIZER = [key("tokenizer.ggml.model", STRING, "gpt2"), array("tokenizer.ggml.tokens", STRING, list("abcdef")),
             array("tokenizer.ggml.token_type", I32, [1] * 6), array("tokenizer.ggml.merges", STRING, ["a b", "c d"])]
TENSOR = tensor("token_embd.weight", [4, 2])
DATA = bytes(32)
VALID = gguf([ARCH, key("llama.block_count", U32, 1)], [TENSOR], DATA)
HUGE = (1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1)

GOOD = {
    "minimal": gguf(),
    "version-2": gguf([ARCH], [TENSOR], DATA, version=2),
    "version-3": VALID,
    "all-value-types": gguf(ALL_KINDS),
    "all-array-types": gguf(ALL_ARRAYS),
    "tokenizer": gguf([ARCH] + TOKENIZER),
    "one-to-four-dimensions": gguf([ARCH], [tensor("d%d" % n, [2] * n, offset=64 * (n - 1)) for n in range(1, 5)],
                                   bytes(256)),
    "alignment-8": gguf([key("general.alignment", U32, 8)], [tensor("t", [4], offset=8)], bytes(24), alignment=8),
    "alignment-64": gguf([key("general.alignment", U32, 64)], [tensor("a", [4]), tensor("b", [4], offset=64)],
                         bytes(80), alignment=64),
    "vocabulary-only": gguf([ARCH], alignment=1),  # ends with its header, no padding
    "trailing-bytes": VALID + b"trailing",
    "value-with-nul": gguf([key("general.architecture", STRING, "llama\0x")]),
    "odd-boolean": gguf([key("b", U8, 1), string("c") + u32(BOOL) + b"\x02"]),
    "floats-not-finite": gguf([key("nan", F32, float("nan")), key("inf", F64, float("inf"))]),
    # the container is in order; gguf_locate refuses these once the type is known
    "tensor-data-past-end": gguf([ARCH], [tensor("t", [4096, 4096])], DATA),
    "tensor-offset-past-end": gguf([ARCH], [tensor("t", [4], offset=1 << 40)], DATA),
    "tensor-offset-wraps": gguf([ARCH], [tensor("t", [4], offset=(1 << 64) - 32)], DATA),
    "tensor-size-overflows": gguf([ARCH], [tensor("t", [(1 << 31) - 1] * 4)], DATA),
    "tensor-type-unknown": gguf([ARCH], [tensor("t", [32], kind=0xFFFFFFFF)], DATA),
    "tensor-row-no-whole-block": gguf([ARCH], [tensor("t", [33, 1], kind=2)], DATA),
    "tensors-overlap": gguf([ARCH], [tensor("a", [8]), tensor("b", [8])], DATA),
    "tensor-without-data": gguf([ARCH], [TENSOR], alignment=1),
}

BAD = {
    "empty": b"",
    "magic-cut": b"GGU",
    "magic-wrong": gguf(magic=b"GGML"),
    "magic-lower-case": gguf(magic=b"gguf"),
    "version-missing": b"GGUF",
    "version-0": gguf(version=0),
    "version-1": gguf(version=1),
    "version-4": gguf(version=4),
    "version-big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "counts-cut": VALID[:20],
    "cut-in-key": VALID[:30],
    "cut-in-value": VALID[:58],
    "cut-in-tensor": VALID[:VALID.index(b"token_embd") + 6],
    "cut-before-offset": VALID[:VALID.index(b"token_embd") + 17 + 4 + 16 + 4],
    "key-count-one-too-many": gguf([ARCH], n_keys=2),
    "key-empty": gguf([key("", U8, 1)]),
    "key-with-nul": gguf([key("general.alignment\0x", U32, 32)]),
    "key-twice": gguf([ARCH, ARCH]),
    "key-type-13": gguf([string("k") + u32(13) + u64(0)]),
    "key-type-huge": gguf([string("k") + u32(0xFFFFFFFF) + u64(0)]),
    "key-too-long": gguf([string("k", 65537) + u32(0) + b"\1"]),
    "array-of-arrays": gguf([string("k") + u32(ARRAY) + u32(ARRAY) + u64(1) + u32(U8) + u64(1) + b"\1"]),
    "array-type-13": gguf([string("k") + u32(ARRAY) + u32(13) + u64(1) + b"\1"]),
    "array-one-too-many": gguf([array("k", U64, [1], count=2)])[:-7],
    "array-of-strings-cut": gguf([array("k", STRING, ["a", "bc"])], alignment=1)[:-1],
    "string-one-too-long": gguf([string("k") + u32(STRING) + string("abc", 4)], alignment=1),
    "string-cap-exceeded": gguf([string("k") + u32(STRING) + string("abc", (16 << 20) + 1)]),
    "tensor-no-dimension": gguf([ARCH], [tensor("t", [], n_dims=0)], DATA),
    "tensor-five-dimensions": gguf([ARCH], [tensor("t", [1] * 5)], DATA),
    "tensor-dimensions-huge": gguf([ARCH], [tensor("t", [1], n_dims=0xFFFFFFFF)], DATA),
    "tensor-dimension-0": gguf([ARCH], [tensor("t", [4, 0])], DATA),
    "tensor-dimension-negative": gguf([ARCH], [tensor("t", [4, (1 << 64) - 1])], DATA),
    "tensor-dimension-2-31": gguf([ARCH], [tensor("t", [1 << 31])], DATA),
    "tensor-name-empty": gguf([ARCH], [tensor("", [4])], DATA),
    "tensor-name-with-nul": gguf([ARCH], [tensor("output\0.weight", [4])], DATA),
    "tensor-twice": gguf([ARCH], [TENSOR, TENSOR], DATA),
    "tensor-unaligned": gguf([ARCH], [tensor("t", [4], offset=8)], DATA),
    "tensor-count-one-too-many": gguf([ARCH], [TENSOR], n_tensors=2),
    "alignment-0": gguf([key("general.alignment", U32, 0)]),
    "alignment-1": gguf([key("general.alignment", U32, 1)], [tensor("t", [4], offset=3)], bytes(19), alignment=1),
    "alignment-24": gguf([key("general.alignment", U32, 24)]),
    "alignment-131072": gguf([key("general.alignment", U32, 131072)]),
    "alignment-u64": gguf([key("general.alignment", U64, 32)]),
    "alignment-string": gguf([key("general.alignment", STRING, "32")]),
    "alignment-array": gguf([array("general.alignment", U32, [32])]),
    "split-two-parts-alone": gguf([key("split.count", U16, 2), key("split.no", U16, 0)]),
    "split-second-part": gguf([key("split.count", U16, 2), key("split.no", U16, 1)]),
    "split-parts-65535": gguf([key("split.count", U16, 65535), key("split.no", U16, 0)]),
    "safetensors": u64(2) + b"{}      ",
    "html": b"<!DOCTYPE html><title>404</title>",
    "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
}
for i, n in enumerate(HUGE):
    BAD["key-count-huge-%d" % i] = gguf([ARCH], n_keys=n)
    BAD["tensor-count-huge-%d" % i] = gguf([ARCH], [TENSOR], n_tensors=n)
    BAD["array-count-huge-%d" % i] = gguf([array("k", U8, [1], count=n)])
    BAD["array-of-strings-count-huge-%d" % i] = gguf([array("k", STRING, ["a"], count=n)])
    BAD["string-length-huge-%d" % i] = gguf([string("k") + u32(STRING) + string("abc", n)])


def main():
    for folder, files in (("gguf", GOOD), ("bad", BAD)):
        path = os.path.join(ROOT, folder)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        for name, data in files.items():
            assert len(data) < 2048, name
            with open(os.path.join(path, name + ".gguf"), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
