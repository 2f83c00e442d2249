#!/usr/bin/env python3
"""Writes a GGUF file of random weights in the shape of a real model: what speed is measured on, without a download.

usage: tools/make_random_model.py SHAPE TYPE OUT.gguf [--layers N] [--context N]      (needs PyPI's numpy and gguf)

SHAPE is a row of SHAPES, TYPE a row of MIXES; each mix gives a tensor the format that published files of that name give
it. Blocks of random codes are written as they are, nothing is quantised; the scales are such that weights have mean 0
and standard deviation 1/sqrt(columns), so that activations neither vanish nor explode. The vocabulary (SentencePiece BPE,
or WordPiece) is bytes, characters and runs of letters. One tensor in memory at a time. Same arguments, same bytes: a tensor depends on
its name and shape alone, and random numbers are PCG64's raw output, which numpy promises to keep.
SPDX-License-Identifier: MIT
"""
import argparse, itertools, math, os, string, sys, zlib

try:
    import gguf
    import numpy as np
except ImportError as missing:
    sys.exit("make_random_model.py: %s; pip install numpy gguf" % missing)

SHAPES = {  # name: hyperparameters
    "tinyllama-1.1b": dict(arch="llama", embd=2048, ff=5632, layers=22, heads=32, heads_kv=4, vocab=32000, context=2048),
    "tiny-test": dict(arch="llama", embd=256, ff=512, layers=4, heads=4, heads_kv=2, vocab=512, context=256),
    "moe-0.7b": dict(arch="qwen3moe", embd=1024, ff=512, layers=12, heads=16, heads_kv=4, head=64, vocab=32000, context=4096, experts=32,
                     used=4),
    "bert-tiny": dict(arch="bert", embd=128, ff=512, layers=2, heads=2, vocab=30522, context=512),
    "bert-test": dict(arch="bert", embd=64, ff=128, layers=2, heads=2, vocab=512, context=64),
    "moe-test": dict(arch="qwen3moe", embd=256, ff=256, layers=2, heads=4, heads_kv=2, head=64, vocab=512, context=256, experts=8, used=2),
}
SEED = 20240229
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}assistant: "


# ---- weight formats: (rows, columns, standard deviation) -> blocks (rows, bytes) ----

class Random:
    def __init__(self, name):
        self.source = np.random.PCG64([SEED, zlib.crc32(name.encode())])

    def bytes(self, rows, n):  # uint8 (rows, n)
        return self.source.random_raw(-(-rows * n // 8)).astype("<u8", copy=False).view(np.uint8)[:rows * n].reshape(rows, n)

    def halves(self, rows, rms, signed):  # float16 as uint8 (rows, 2): between a half and three halves of rms, nearly
        bits = self.bytes(rows, 2).view("<u2")
        d = ((bits >> 1) / 2**15 + 0.5) * (rms / (1 + 1 / 12) ** 0.5)
        return np.where((bits & 1) & signed, -d, d).astype("<f2").view(np.uint8)


def spread(levels):  # root of the mean square of these values, all as likely
    return float(np.sqrt(np.mean(np.square(levels, dtype=float))))


def f32(rng, rows, columns, std):
    return (rng.bytes(rows, 4 * columns).view("<i4") * (std * 3 ** 0.5 / 2**31)).astype("<f4").view(np.uint8)


def f16(rng, rows, columns, std):
    return (rng.bytes(rows, 2 * columns).view("<i2") * np.float32(std * 3 ** 0.5 / 2**15)).astype("<f2").view(np.uint8)


def q8_0(rng, rows, columns, std):
    n = rows * columns // 32
    codes = np.maximum(rng.bytes(n, 32).view(np.int8), -127).view(np.uint8)  # ggml writes no -128
    return np.hstack([rng.halves(n, std / spread(np.arange(-127, 128)), 0), codes])


def q4_0(rng, rows, columns, std):  # codes have the mean -1/2, so the sign of the scale is random, as in real files
    n = rows * columns // 32
    return np.hstack([rng.halves(n, std / spread(np.arange(-8, 8)), 1), rng.bytes(n, 16)])


def q4_k(rng, rows, columns, std):  # min = scale and dmin = 7.5 d: w = d * scale * (q - 7.5)
    n = rows * columns // 256
    d = rng.halves(n, std / spread(np.arange(32, 64)) / spread(np.arange(16) - 7.5), 0)
    scale = rng.bytes(n, 8) & 31 | 32
    first, last = scale[:, :4] | scale[:, 4:] >> 4 << 6, scale[:, 4:] & 15
    dmin = (d.view("<f2") * np.float32(7.5)).astype("<f2").view(np.uint8)
    return np.hstack([d, dmin, first, first, last | last << 4, rng.bytes(n, 128)])


def q6_k(rng, rows, columns, std):
    n = rows * columns // 256
    d = rng.halves(n, std / spread(np.arange(64, 128)) / spread(np.arange(-32, 32)), 0)
    scale = rng.bytes(n, 16).view(np.int8)
    scale = np.where(scale < 0, -(scale & 63) - 64, (scale & 63) + 64).astype(np.int8).view(np.uint8)
    return np.hstack([rng.bytes(n, 192), scale, d])


FORMATS = {"F32": f32, "F16": f16, "Q8_0": q8_0, "Q4_0": q4_0, "Q4_K": q4_k, "Q6_K": q6_k}


# ---- mixes: (tensor, layer, layers) -> format ----

def q4_k_m(tensor, layer, layers):
    eighth = layers // 8
    more = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
    return "Q6_K" if tensor == "output" or tensor in ("attn_v", "ffn_down", "ffn_down_exps") and more else "Q4_K"


MIXES = {
    "Q4_K_M": q4_k_m,
    "Q4_0": lambda tensor, layer, layers: "Q6_K" if tensor == "output" else "Q4_0",
    "Q6_K": lambda *_: "Q6_K",
    "Q8_0": lambda *_: "Q8_0",
    "F16": lambda *_: "F16",
}


# ---- architectures: keys, and tensors as (name, rows or (experts, rows), columns); one row is a norm ----

def llama(writer, s):
    head = s.get("head", s["embd"] // s["heads"])
    writer.add_vocab_size(s["vocab"])
    writer.add_context_length(s["context"])
    writer.add_embedding_length(s["embd"])
    writer.add_feed_forward_length(s["ff"])
    writer.add_block_count(s["layers"])
    writer.add_head_count(s["heads"])
    writer.add_head_count_kv(s["heads_kv"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(10000.0)
    yield "token_embd", s["vocab"], s["embd"]
    for i in range(s["layers"]):
        for name, rows, columns in [
                ("attn_norm", 1, s["embd"]), ("attn_q", head * s["heads"], s["embd"]), ("attn_k", head * s["heads_kv"], s["embd"]),
                ("attn_v", head * s["heads_kv"], s["embd"]), ("attn_output", s["embd"], head * s["heads"]), ("ffn_norm", 1, s["embd"]),
                *s.get("more", [("ffn_gate", s["ff"], s["embd"]), ("ffn_up", s["ff"], s["embd"]), ("ffn_down", s["embd"], s["ff"])])]:
            yield "blk.%d.%s" % (i, name), rows, columns
    yield "output_norm", 1, s["embd"]
    yield "output", s["vocab"], s["embd"]


def qwen3moe(writer, s):
    writer.add_key_length(s["head"])
    writer.add_value_length(s["head"])
    writer.add_expert_count(s["experts"])
    writer.add_expert_used_count(s["used"])
    writer.add_expert_feed_forward_length(s["ff"])
    n = s["experts"]  # matrices of one tensor
    yield from llama(writer, dict(s, more=[
        ("attn_q_norm", 1, s["head"]), ("attn_k_norm", 1, s["head"]), ("ffn_gate_inp", n, s["embd"]),
        ("ffn_gate_exps", (n, s["ff"]), s["embd"]), ("ffn_up_exps", (n, s["ff"]), s["embd"]), ("ffn_down_exps", (n, s["embd"]), s["ff"])]))


def bert(writer, s):
    writer.add_context_length(s["context"])
    writer.add_embedding_length(s["embd"])
    writer.add_feed_forward_length(s["ff"])
    writer.add_block_count(s["layers"])
    writer.add_head_count(s["heads"])
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    yield from [("token_embd", s["vocab"], s["embd"]), ("position_embd", s["context"], s["embd"]), ("token_types", 2, s["embd"])]
    norms, products = ["token_embd_norm"], []
    for i in range(s["layers"]):
        norms += ["blk.%d.attn_output_norm" % i, "blk.%d.layer_output_norm" % i]
        products += [("blk.%d.%s" % (i, name), s["embd"], s["embd"]) for name in ("attn_q", "attn_k", "attn_v", "attn_output")]
        products += [("blk.%d.ffn_up" % i, s["ff"], s["embd"]), ("blk.%d.ffn_down" % i, s["embd"], s["ff"])]
    for name, rows, columns in [(name, 1, s["embd"]) for name in norms] + products:
        yield name, rows, columns
        yield name + ".bias", 1, columns if rows == 1 else rows


ARCHITECTURES = {"llama": llama, "qwen3moe": qwen3moe, "bert": bert}


def letters(n):  # all runs of n letters
    return list(map("".join, itertools.product(string.ascii_lowercase, repeat=n)))


def add_wordpieces(writer, n):
    """Five control tokens, then what begins a word or, without U+2581, goes on with one: letters, pairs, runs of 3 to 8."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + c for c in ".,!?'-0123456789"]
    tokens += [begin + run for k in (1, 2) for begin in ("\u2581", "") for run in letters(k)]
    for row in Random("vocabulary").bytes(2 * n, 16).tolist():
        tokens.append(("\u2581" if row[0] % 4 else "") + "".join(string.ascii_lowercase[c % 26] for c in row[1:4 + row[15] % 6]))
    tokens = list(dict.fromkeys(tokens))[:n]
    assert len(tokens) == n
    kind = gguf.TokenType
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list(tokens)
    writer.add_token_types([kind.CONTROL, kind.UNKNOWN] + [kind.CONTROL] * 3 + [kind.NORMAL] * (n - 5))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)


def add_vocabulary(writer, n):
    """Ids 0 to 2 are control tokens, then come the 256 bytes, then pieces in the order of their scores."""
    runs = [letters(k) for k in (1, 2, 3)]
    pieces = ["\u2581"] + [chr(c) for c in range(33, 127)]
    for longer, run in zip([[]] + runs[1:], runs):
        pieces += longer + ["\u2581" + text for text in run]
    tokens = (["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)] + pieces)[:n]
    assert len(tokens) == n
    kind = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(n - 259)])
    writer.add_token_types([kind.UNKNOWN] + [kind.CONTROL] * 2 + [kind.BYTE] * 256 + [kind.NORMAL] * (n - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT)


def write(path, name, shape, mix):
    writer = gguf.GGUFWriter(path, shape["arch"])
    writer.add_name("%s %s, random weights" % (name, mix))
    writer.add_file_type(getattr(gguf.LlamaFileType, "MOSTLY_" + mix))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    todo = []
    for tensor, rows, columns in ARCHITECTURES[shape["arch"]](writer, shape):
        layer = int(tensor.split(".")[1]) if tensor.startswith("blk.") else 0
        dims = [rows, columns] if isinstance(rows, int) else [*rows, columns]
        rows = math.prod(dims[:-1])
        plain = rows <= 2 or "gate_inp" in tensor or tensor == "position_embd"
        kind = "F32" if plain else MIXES[mix](tensor.split(".")[-1], layer, shape["layers"])
        type_ = gguf.GGMLQuantizationType[kind]
        weights, size = gguf.GGML_QUANT_SIZES[type_]
        writer.add_tensor_info(tensor if tensor.endswith(".bias") else tensor + ".weight", [columns] if rows == 1 else dims, np.float32,
                               rows * columns // weights * size, type_)
        todo.append((tensor, kind, rows, columns))
    (add_wordpieces if shape["arch"] == "bert" else add_vocabulary)(writer, shape["vocab"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, kind, rows, columns in todo:
        if rows == 1:
            writer.write_tensor_data(np.full(columns, 0 if tensor.endswith(".bias") else 1, np.float32))
        else:
            writer.write_tensor_data(FORMATS[kind](Random(tensor), rows, columns, columns ** -0.5))
    writer.close()


def main():
    parser = argparse.ArgumentParser(description="A GGUF file of random weights in the shape of a real model.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("type", choices=MIXES)
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, help="instead of the shape's own")
    parser.add_argument("--context", type=int, help="most tokens, instead of the shape's own")
    args = parser.parse_args()
    shape = dict(SHAPES[args.shape])
    for key in ("layers", "context"):
        value = getattr(args, key)
        if value is not None and value < 1:
            parser.error("--%s %d: expected at least 1" % (key, value))
        shape[key] = value or shape[key]
    part = args.out + ".part"
    try:
        write(part, args.shape, shape, args.type)
        os.replace(part, args.out)
    finally:
        if os.path.exists(part):
            os.remove(part)


if __name__ == "__main__":
    main()
