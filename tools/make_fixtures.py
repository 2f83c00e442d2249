#!/usr/bin/env python3
"""Writes tests/golden: three small models of random weights and, for each, logits computed here in double precision.

    pip install numpy; python3 tools/make_fixtures.py [FOLDER]

The forward passes below are written from the papers and share nothing with src/: numpy, float64, no cache, no blocks.
Deterministic: the random numbers are splitmix64's, logits are written with seven digits.
SPDX-License-Identifier: MIT
"""
import json
import os
import struct
import sys

import numpy as np

F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16 = 0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30
BLOCK = {F32: (1, 4), F16: (1, 2), BF16: (1, 2), Q4_0: (32, 18), Q4_1: (32, 20), Q5_0: (32, 22), Q5_1: (32, 24),
         Q8_0: (32, 34), Q4_K: (256, 144), Q5_K: (256, 176), Q6_K: (256, 210)}  # weights, bytes


# ---- random numbers ----

class Random:
    def __init__(self, seed):
        self.at = np.uint64(seed * 1000003)

    def bits(self, n):
        with np.errstate(over="ignore"):
            z = (np.arange(1, n + 1, dtype=np.uint64) + self.at) * np.uint64(0x9E3779B97F4A7C15)
            self.at += np.uint64(n)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def uniform(self, n):
        return (self.bits(n) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53

    def normal(self, n):  # the sum of twelve: near enough, and no function of the C library in it
        return self.uniform(12 * n).reshape(n, 12).sum(1) - 6

    def bytes(self, n):
        return (self.bits(n) >> np.uint64(56)).astype(np.uint8)

    def ids(self, n, limit):
        return [int(v) for v in self.bits(n) % np.uint64(limit)]


# ---- weight formats: blocks of random codes, and what they mean ----

def halves(values):
    return np.asarray(values, np.float16).view(np.uint8).reshape(-1, 2)


def read_half(b, at):
    return b[:, at:at + 2].copy().view(np.float16).astype(np.float64)


def nibbles(q):  # (n, 16) bytes -> (n, 32): low nibbles first
    return np.concatenate([q & 15, q >> 4], 1).astype(np.float64)


def fifth(high):  # (n, 4) bytes -> (n, 32) bits
    return ((high.copy().view("<u4") >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64)


def k_scales(packed):  # (n, 12) bytes -> scales (n, 8), mins (n, 8), six bits each
    low, mid, top = (packed[:, 4 * i:4 * i + 4].astype(int) for i in range(3))
    return (np.concatenate([low & 63, top & 15 | low >> 6 << 4], 1).astype(float),
            np.concatenate([mid & 63, top >> 4 | mid >> 6 << 4], 1).astype(float))


def k_codes(q):  # (n, 128) bytes -> (n, 8, 32)
    q = q.reshape(-1, 4, 32)
    return np.stack([q & 15, q >> 4], 2).reshape(-1, 8, 32).astype(float)


def decode(kind, raw):
    b = np.frombuffer(raw, np.uint8)
    if kind == F32:
        return b.view("<f4").astype(np.float64)
    if kind == F16:
        return b.view("<f2").astype(np.float64)
    if kind == BF16:
        return (b.view("<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    b = b.reshape(-1, BLOCK[kind][1])
    if kind == Q4_0:
        y = read_half(b, 0) * (nibbles(b[:, 2:]) - 8)
    elif kind == Q4_1:
        y = read_half(b, 0) * nibbles(b[:, 4:]) + read_half(b, 2)
    elif kind == Q5_0:
        y = read_half(b, 0) * (nibbles(b[:, 6:]) + 16 * fifth(b[:, 2:6]) - 16)
    elif kind == Q5_1:
        y = read_half(b, 0) * (nibbles(b[:, 8:]) + 16 * fifth(b[:, 4:8])) + read_half(b, 2)
    elif kind == Q8_0:
        y = read_half(b, 0) * b[:, 2:].view(np.int8)
    elif kind in (Q4_K, Q5_K):
        scale, least = k_scales(b[:, 4:16])
        codes = k_codes(b[:, -128:])
        if kind == Q5_K:
            codes += 16 * ((b[:, 16:48, None] >> np.arange(8, dtype=np.uint8)) & 1).transpose(0, 2, 1)
        y = (read_half(b, 0) * scale)[:, :, None] * codes - (read_half(b, 2) * least)[:, :, None]
    else:
        low, high = b[:, :128].reshape(-1, 2, 2, 32), b[:, 128:192].reshape(-1, 2, 32)
        four = np.stack([low[:, :, 0] & 15, low[:, :, 1] & 15, low[:, :, 0] >> 4, low[:, :, 1] >> 4], 2)
        two = np.stack([high >> s & 3 for s in (0, 2, 4, 6)], 2)
        codes = (four + 16 * two.astype(float) - 32).reshape(-1, 16, 16)
        y = (read_half(b, 208) * b[:, 192:208].view(np.int8))[:, :, None] * codes
    return y.reshape(-1)


def make(rng, kind, rows, cols, spread=None):
    """Raw bytes of a matrix whose values have a standard deviation of about 1 / sqrt(cols)."""
    width, size = BLOCK[kind]
    spread = spread if spread else cols ** -0.5
    if width == 1:
        w = rng.normal(rows * cols) * spread
        if kind == F32:
            return w.astype("<f4").tobytes()
        if kind == F16:
            return w.astype("<f2").tobytes()
        return (w.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    n = rows * cols // width
    b = rng.bytes(n * size).reshape(n, size)
    d = spread * (0.5 + rng.uniform(n))  # a scale of its own for every block
    if kind in (Q4_0, Q5_0, Q8_0):
        b[:, :2] = halves(d / {Q4_0: 4.6, Q5_0: 9.2, Q8_0: 74}[kind])
    elif kind in (Q4_1, Q5_1):
        step = d / {Q4_1: 4.6, Q5_1: 9.2}[kind]
        b[:, :2] = halves(step)
        b[:, 2:4] = halves(-step * {Q4_1: 7.5, Q5_1: 15.5}[kind])
    elif kind in (Q4_K, Q5_K):
        step = d / {Q4_K: 230, Q5_K: 460}[kind]
        b[:, :2] = halves(step)
        b[:, 2:4] = halves(step * {Q4_K: 7.5, Q5_K: 15.5}[kind])
    else:
        b[:, 208:] = halves(d / 1360)
    return b.tobytes()


# ---- the file format ----

def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


def key(name, v):
    if isinstance(v, bool):
        return text(name) + struct.pack("<I?", 7, v)
    if isinstance(v, int):
        return text(name) + struct.pack("<II", 4, v)
    if isinstance(v, float):
        return text(name) + struct.pack("<If", 6, v)
    if isinstance(v, str):
        return text(name) + struct.pack("<I", 8) + text(v)
    kind, each = (8, text) if isinstance(v[0], str) else (5, lambda i: struct.pack("<i", i))
    return text(name) + struct.pack("<IIQ", 9, kind, len(v)) + b"".join(each(i) for i in v)


class Model:
    def __init__(self, seed):
        self.rng, self.keys, self.tensors = Random(seed), {}, {}

    def matrix(self, name, kind, rows, cols, spread=None):
        self.tensors[name + ".weight"] = (kind, (cols, rows), make(self.rng, kind, rows, cols, spread))

    def vector(self, name, n, around=1.0, spread=0.2):
        self.tensors[name] = (F32, (n,), (around + spread * self.rng.normal(n)).astype("<f4").tobytes())

    def get(self, name):
        if name not in self.tensors:
            return None
        kind, dims, raw = self.tensors[name]
        return decode(kind, raw).reshape(dims[::-1])

    def write(self, path):
        head, data = b"", b""
        for name, (kind, dims, raw) in self.tensors.items():
            head += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
            head += struct.pack("<IQ", kind, len(data))
            data += raw + bytes(-len(raw) % 32)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys)) + \
            b"".join(key(k, v) for k, v in self.keys.items()) + head
        with open(path, "wb") as f:
            f.write(head + bytes(-len(head) % 32) + data)


# ---- a vocabulary: the bytes, ten merges, two control tokens ----

def byte_text(b):  # as in GPT-2: printable bytes stand for themselves, the others for characters from 256 up
    plain = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or 174 <= c <= 255]
    return chr(b) if b in plain else chr(256 + [c for c in range(256) if c not in plain].index(b))


MERGES = ["t h", "th e", "\u0120 t", "\u0120 a", "i n", "e r", "\u0120t h", "\u0120th e", "o n", "in g"]
TOKENS = [byte_text(b) for b in range(256)] + [m.replace(" ", "") for m in MERGES] + ["<|begin|>", "<|end|>"]
N_VOCAB = len(TOKENS)


def vocabulary(m):
    t = "tokenizer.ggml."
    m.keys.update({t + "model": "gpt2", t + "pre": "gpt-2", t + "tokens": TOKENS, t + "merges": MERGES,
                   t + "token_type": [1] * (N_VOCAB - 2) + [3, 3], t + "bos_token_id": N_VOCAB - 2,
                   t + "eos_token_id": N_VOCAB - 1, t + "add_bos_token": True})


# ---- the models ----

def llama(seed, shape, kinds):
    m = Model(seed)
    e, ff, heads, kv, dk, dv, layers = (shape[k] for k in ("embd", "ff", "head", "kv", "key", "value", "layer"))
    m.keys.update({"general.architecture": "llama", "general.name": "random weights for tests",
                   "llama.context_length": 512, "llama.embedding_length": e, "llama.block_count": layers,
                   "llama.feed_forward_length": ff, "llama.attention.head_count": heads,
                   "llama.attention.head_count_kv": kv, "llama.attention.key_length": dk,
                   "llama.attention.value_length": dv, "llama.rope.dimension_count": shape["rot"],
                   "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0})
    vocabulary(m)
    m.matrix("token_embd", kinds["embd"], N_VOCAB, e, 0.35)
    m.vector("output_norm.weight", e)
    if "output" in kinds:
        m.matrix("output", kinds["output"], N_VOCAB, e, 2 * e ** -0.5)
    if shape["extras"]:
        m.vector("rope_freqs.weight", shape["rot"] // 2, 2.0)
    for i in range(layers):
        b, kind = "blk.%d." % i, kinds["layers"][i]
        m.vector(b + "attn_norm.weight", e)
        for name, k, rows, cols in zip(("attn_q", "attn_k", "attn_v", "attn_output"), kind,
                                       (heads * dk, kv * dk, kv * dv, e), (e, e, e, heads * dv)):
            m.matrix(b + name, k, rows, cols, (2 if name in ("attn_q", "attn_k") else 1) * cols ** -0.5)
            if shape["extras"]:
                m.vector(b + name + ".bias", rows, 0.0)
        m.vector(b + "ffn_norm.weight", e)
        for name, k, rows, cols in zip(("ffn_gate", "ffn_up", "ffn_down"), kind[4:], (ff, ff, e), (e, e, ff)):
            m.matrix(b + name, k, rows, cols)
    return m


def gemma3(seed):
    m, a = Model(seed), "gemma3."
    e, ff, heads, d, layers = 32, 40, 3, 16, 7
    m.keys.update({"general.architecture": "gemma3", "general.name": "random weights for tests",
                   a + "context_length": 256, a + "embedding_length": e, a + "block_count": layers,
                   a + "feed_forward_length": ff, a + "attention.head_count": heads, a + "attention.head_count_kv": 1,
                   a + "attention.key_length": d, a + "attention.value_length": d,
                   a + "attention.layer_norm_rms_epsilon": 1e-6, a + "rope.freq_base": 1e6,
                   a + "attention.sliding_window": 16, a + "final_logit_softcapping": 12.0,
                   a + "rope.scaling.type": "linear", a + "rope.scaling.factor": 4.0})
    vocabulary(m)
    m.matrix("token_embd", F16, N_VOCAB, e, 0.35)
    m.vector("output_norm.weight", e)
    for i in range(layers):
        b = "blk.%d." % i
        for name, n in (("attn_norm", e), ("attn_q_norm", d), ("attn_k_norm", d), ("post_attention_norm", e),
                        ("ffn_norm", e), ("post_ffw_norm", e)):
            m.vector(b + name + ".weight", n, 1.5 if name.endswith(("q_norm", "k_norm")) else 1.0)
        for name, rows, cols in (("attn_q", heads * d, e), ("attn_k", d, e), ("attn_v", d, e),
                                 ("attn_output", e, heads * d), ("ffn_gate", ff, e), ("ffn_up", ff, e),
                                 ("ffn_down", e, ff)):
            m.matrix(b + name, F16, rows, cols)
    return m


# ---- forward passes in double precision ----

def rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def rotate(x, base, n_rot, neox, divide):  # x (tokens, heads, dim)
    half = n_rot // 2
    angle = np.arange(x.shape[0])[:, None] * base ** (-np.arange(half) * 2.0 / n_rot) / divide
    c, s, y = np.cos(angle)[:, None], np.sin(angle)[:, None], x.copy()
    first, second = (slice(0, half), slice(half, n_rot)) if neox else (slice(0, n_rot, 2), slice(1, n_rot, 2))
    y[..., first] = x[..., first] * c - x[..., second] * s
    y[..., second] = x[..., first] * s + x[..., second] * c
    return y


def attend(q, k, v, window):
    n, heads, d = q.shape
    out, at = np.zeros((n, heads, v.shape[2])), np.arange(n)
    hidden = (at[None, :] > at[:, None]) | (at[None, :] <= at[:, None] - window if window else False)
    for h in range(heads):
        g = h // (heads // k.shape[1])
        score = np.where(hidden, -np.inf, q[:, h] @ k[:, g].T / np.sqrt(d))
        p = np.exp(score - score.max(-1, keepdims=True))
        out[:, h] = p / p.sum(-1, keepdims=True) @ v[:, g]
    return out.reshape(n, -1)


def forward(m, ids):
    arch = m.keys["general.architecture"]
    is_gemma, w = arch == "gemma3", m.get
    k = lambda name, otherwise=None: m.keys.get(arch + "." + name, otherwise)
    eps, n_rot = np.float64(np.float32(k("attention.layer_norm_rms_epsilon"))), k("rope.dimension_count", 16)
    x = w("token_embd.weight")[ids] * (np.sqrt(float(k("embedding_length"))) if is_gemma else 1)
    for i in range(k("block_count")):
        b = "blk.%d." % i

        def project(name, y):
            y = y @ w(b + name + ".weight").T
            return y if w(b + name + ".bias") is None else y + w(b + name + ".bias")
        h = rms(x, w(b + "attn_norm.weight"), eps)
        q = project("attn_q", h).reshape(len(ids), -1, k("attention.key_length"))
        key_ = project("attn_k", h).reshape(len(ids), -1, k("attention.key_length"))
        v = project("attn_v", h).reshape(len(ids), -1, k("attention.value_length"))
        local, divide = is_gemma and i % 6 != 5, 1.0
        if is_gemma:
            q, key_ = rms(q, w(b + "attn_q_norm.weight"), eps), rms(key_, w(b + "attn_k_norm.weight"), eps)
            divide = 1.0 if local else k("rope.scaling.factor")
        elif w("rope_freqs.weight") is not None:
            divide = w("rope_freqs.weight")
        base = 10000.0 if local else k("rope.freq_base")
        q, key_ = rotate(q, base, n_rot, is_gemma, divide), rotate(key_, base, n_rot, is_gemma, divide)
        h = project("attn_output", attend(q, key_, v, k("attention.sliding_window") if local else 0))
        x = x + (rms(h, w(b + "post_attention_norm.weight"), eps) if is_gemma else h)
        h = rms(x, w(b + "ffn_norm.weight"), eps)
        gate, up = project("ffn_gate", h), project("ffn_up", h)
        if is_gemma:
            gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate ** 3)))
        else:
            gate = gate / (1 + np.exp(-gate))
        h = project("ffn_down", gate * up)
        x = x + (rms(h, w(b + "post_ffw_norm.weight"), eps) if is_gemma else h)
    out = w("output.weight") if w("output.weight") is not None else w("token_embd.weight")
    logits = rms(x, w("output_norm.weight"), eps) @ out.T
    cap = k("final_logit_softcapping")
    return cap * np.tanh(logits / cap) if cap else logits


def golden(m, seed):
    rng, cases = Random(seed), []
    for n, positions, greedy in ((1, [0], 0), (5, [0, 4], 0), (16, [15], 24), (17, [16], 0), (64, [15, 16, 63], 0),
                                 (100, [99], 0)):
        ids = rng.ids(n, N_VOCAB)
        rows = forward(m, ids)
        case = {"ids": ids, "positions": positions, "logits": [[float("%.7g" % v) for v in rows[p]] for p in positions]}
        if greedy:  # with the gap between the best two: below the error of a computation the choice is open
            case["greedy"], case["gap"], at = [], [], list(ids)
            for _ in range(greedy):
                best = np.sort(forward(m, at)[-1])
                at.append(int(np.argmax(forward(m, at)[-1])))
                case["greedy"].append(at[-1])
                case["gap"].append(float("%.3g" % (best[-1] - best[-2])))
        cases.append(case)
    return {"n_vocab": N_VOCAB, "cases": cases}


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "tests", "golden")
    os.makedirs(folder, exist_ok=True)
    small = {"embd": 32, "ff": 64, "head": 4, "kv": 2, "key": 8, "value": 8, "rot": 8, "layer": 2, "extras": False}
    mixed = {"embd": 64, "ff": 256, "head": 4, "kv": 2, "key": 16, "value": 64, "rot": 12, "layer": 2, "extras": True}
    models = {
        "llama-tiny-f32": llama(1, small, {"embd": F32, "layers": [[F32] * 7] * 2}),
        "llama-tiny-mixed": llama(2, mixed, {
            "embd": Q5_0, "output": Q5_1,  # of a layer: q k v output gate up down
            "layers": [[Q4_0, F16, Q5_0, Q5_K, Q4_1, Q5_1, Q4_K], [Q8_0, BF16, Q4_1, Q6_K, Q5_0, Q4_0, Q5_K]]}),
        "gemma3-tiny-f16": gemma3(3),
    }
    for i, (name, m) in enumerate(models.items()):
        m.write(os.path.join(folder, name + ".gguf"))
        with open(os.path.join(folder, name + ".json"), "w") as f:
            json.dump(golden(m, 100 + i), f, separators=(",", ":"))
            f.write("\n")


main()
