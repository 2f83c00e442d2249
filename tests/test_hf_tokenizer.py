#!/usr/bin/env python3
"""bodkin convert: tokenizers of Hugging Face folders; the ids must be those of the libraries that made the folders.

    python3 tests/test_hf_tokenizer.py [BODKIN]      BODKIN: ./bodkin

tests/hf_tokenizers holds a folder per family, made by tools/make_hf_tokenizers.py, with the ids of hard strings; weights of a
tiny model are put beside them here. Then folders to be refused, each by one sentence. Standard library only.
Prints 'N passed, N failed' last; exit 1 if any failed. SPDX-License-Identifier: MIT
"""
import json
import os
import shutil
import struct
import sys
import tempfile

import test_cli as cli
from test_cli import check, count, fails, gguf_read, works

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hf_tokenizers")
STRINGS = json.load(open(os.path.join(HERE, "strings.json")))
WIDTH = 32
# model, pre, and of the flags those that are set: bos, eos, sep, prefix (a space in front), merge (runs of spaces are one)
EXPECTED = {
    "llama3": ("gpt2", "llama-bpe", "bos"), "qwen2": ("gpt2", "qwen2", ""), "gpt2": ("gpt2", "gpt-2", ""), "cl100k": ("gpt2", "dbrx", ""),
    "o200k": ("gpt2", "gpt-4o", ""), "tekken": ("gpt2", "tekken", "bos"), "qwen35": ("gpt2", "qwen35", "eos"),
    "deepseek3": ("gpt2", "deepseek-v3", "bos"), "deepseek-coder": ("gpt2", "deepseek-coder", "bos"), "starcoder": ("gpt2", "starcoder", ""),
    "falcon": ("gpt2", "falcon", ""), "bloom": ("gpt2", "bloom", ""), "roberta": ("gpt2", "jina-v2-code", "bos eos sep"),
    "llama2-gaps": ("gpt2", "sarvam-moe", "bos prefix"), "llama2-model": ("llama", "default", "bos prefix"), "llama2-json": ("llama", "default", "bos prefix"), "gemma": ("llama", "default", "bos"),
    "chars": ("gpt2", "sarvam-moe", ""), "xlm-r": ("t5", "default", "bos eos sep prefix merge"),
    "xlm-r-model": ("t5", "default", "bos eos sep prefix merge"), "t5": ("t5", "default", "prefix merge"),
    "bert": ("bert", "jina-v2-en", "bos eos"), "bert-cased": ("bert", "jina-v2-en", ""),
}
FLAGS = {"add_bos_token": "bos", "add_eos_token": "eos", "add_sep_token": "sep", "add_space_prefix": "prefix", "remove_extra_whitespaces": "merge"}


def at(*names):
    return os.path.join(cli.tmp, *names)


def safetensors(shapes):
    header, size = {}, 0
    for name, shape in shapes.items():
        n = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [size, size + n]}
        size += n
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<f", 0.25) * (size // 4)


def folder(name, n_tokens, source=None):
    """A copy of tests/hf_tokenizers/NAME, with a model of as many tokens."""
    path = at(name)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(os.path.join(HERE, source or name), path)
    os.remove(os.path.join(path, "golden.json"))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1,
              "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
              "vocab_size": n_tokens, "tie_word_embeddings": True, "torch_dtype": "float32"}
    write(name, "config.json", config)
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": [n_tokens, WIDTH], "model.norm.weight": [WIDTH], layer + "input_layernorm.weight": [WIDTH],
              layer + "post_attention_layernorm.weight": [WIDTH]}
    for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"):
        shapes[layer + part + "_proj.weight"] = [WIDTH, WIDTH]
    write(name, "model.safetensors", safetensors(shapes))


def write(name, file, content):
    with open(at(name, file), "wb") as f:
        f.write(content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode())


def read(name, file):
    return json.load(open(at(name, file)))


def size(name):
    """Ids of a folder: those of its files, or as many as its config.json says."""
    try:
        return json.load(open(os.path.join(HERE, name, "config.json")))["vocab_size"]
    except FileNotFoundError:
        return 1024


def text_of(value):
    return None if value is None else value[12:].decode()


def tokenized(name, requests):
    lines = "".join(json.dumps({"id": i, "tokenize": True, **r}) + "\n" for i, r in enumerate(requests))
    p = works(name + ": tokenizes", "eval", "-m", at(name + ".gguf"), stdin=lines.encode())
    answers = {a["id"]: a for a in map(json.loads, p.stdout.splitlines())}
    return [answers.get(i, {}).get("ids") for i in range(len(requests))]


def test_ids():
    folders = sorted(f for f in os.listdir(HERE) if os.path.isdir(os.path.join(HERE, f)))
    check("a row of EXPECTED for every folder", folders == sorted(EXPECTED), folders)
    for name in folders:
        golden = json.load(open(os.path.join(HERE, name, "golden.json")))
        folder(name, size(name))
        p = works(name + ": converts", "convert", at(name), at(name + ".gguf"))
        if p.returncode:
            continue
        keys = gguf_read(at(name + ".gguf")).keys
        flags = {word for key, word in FLAGS.items() if keys.get(b"tokenizer.ggml." + key.encode(), b"\0")[-1] == 1}
        found = text_of(keys[b"tokenizer.ggml.model"]), text_of(keys[b"tokenizer.ggml.pre"]), flags
        model, pre, words = EXPECTED[name]
        check(name + ": its keys", found == (model, pre, set(words.split())), found)
        for what, strings, extra in (("ids", STRINGS, {"special": True}), ("plain", STRINGS[:len(golden["plain"])], {"special": False})):
            ids = tokenized(name, [{"text": s, **extra} for s in strings])
            bad = [(s, a, b) for s, a, b in zip(strings, ids, golden[what]) if b is not None and a != b]
            known = golden[what].count(None)
            check("%s: %s of %d strings, %d known to differ" % (name, what, len(strings), known), not bad and 4 * known < len(strings), len(bad), *bad[:6])


def test_templates():
    for name, key, value in (("llama3", "tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"),
                             ("qwen2", "tokenizer.chat_template", "{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}\n"),
                             ("cl100k", "tokenizer.chat_template", "a"), ("cl100k", "tokenizer.chat_template.tool_use", "b")):
        keys = gguf_read(at(name + ".gguf")).keys
        check("%s: %s" % (name, key), text_of(keys.get(key.encode())) == value, keys.get(key.encode()))
    folder("more", 1024, "gpt2")
    write("more", "chat_template.jinja", "main")
    os.mkdir(at("more", "additional_chat_templates"))
    write("more", "additional_chat_templates/rag.jinja", "other")
    works("more templates", "convert", at("more"), at("more.gguf"))
    keys = gguf_read(at("more.gguf")).keys
    check("more templates: both", [text_of(keys.get(b"tokenizer.chat_template" + n)) for n in (b"", b".rag")] == ["main", "other"])
    check("more templates: their names", keys.get(b"tokenizer.chat_templates", b"")[16:] == struct.pack("<Q", 3) + b"rag", keys.get(b"tokenizer.chat_templates"))


def edited(name, source, what, code, pattern, edit):
    folder(name, size(source), source)
    tree = read(name, "tokenizer.json")
    write(name, "tokenizer.json", edit(tree) or tree)
    fails(what, code, pattern, "convert", at(name), at("out.gguf"))
    check(what + ": nothing is left", not [f for f in os.listdir(cli.tmp) if f.startswith("out.gguf")])


def test_refused():
    def put(*path):
        def edit(tree):
            for key in path[:-2]:
                tree = tree[key]
            tree[path[-2]] = path[-1]
        return edit

    regex = {"type": "Split", "pattern": {"Regex": "[a-z]+|."}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    sequence = {"type": "Sequence", "pretokenizers": [regex, level]}
    no = ".*: not supported: "
    for source, what, pattern, edit in (
            ("qwen2", "an unknown expression", no + r"pre-tokenizer \[a-z\]\+\|\. ?", put("pre_tokenizer", sequence)),
            ("qwen2", "a known one with ignore_merges", no + "pre-tokenizer with ignore_merges .*", put("model", "ignore_merges", True)),
            ("qwen2", "a space in front of bytes", no + "pre-tokenizer ByteLevel with add_prefix_space", put("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True})),
            ("qwen2", "lower case before bytes", no + "normalizer Lowercase", put("normalizer", {"type": "Lowercase"})),
            ("qwen2", "a tokenizer of words", no + "tokenizer WordLevel", put("model", "type", "WordLevel")),
            ("xlm-r", "unigram with bytes", no + "tokenizer Unigram .*", put("model", "byte_fallback", True)),
            ("xlm-r", "an unknown normalizer", no + "normalizer NFKD", put("normalizer", {"type": "NFKD"})),
            ("bert", "words of Chinese", no + "normalizer BertNormalizer .*", put("normalizer", "handle_chinese_chars", False)),
            ("bert", "other long words", no + "tokenizer WordPiece .*", put("model", "max_input_chars_per_word", 50)),
            ("qwen2", "more tokens than rows", r".*: config\.json: vocab_size is 768, but the tokenizer has 100001 tokens, .*", put("model", "vocab", "a", 100000)),
            ("qwen2", "an id out of range", r'.*: token "a" of 1 bytes has the id 5000000; .*', put("model", "vocab", "a", 5000000)),
            ("qwen2", "a negative id", r'.*: token "a" of 1 bytes has the id -1; .*', put("model", "vocab", "a", -1)),
            ("qwen2", "an id that is no number", r'.*: the id of token "a" is no whole number', put("model", "vocab", "a", [1])),
            ("qwen2", "a vocabulary that is a list", ".*: the vocabulary is no JSON object", put("model", "vocab", [1, 2])),
            ("qwen2", "a merge of one", ".*: merge 3 is no pair of texts", lambda t: t["model"]["merges"].insert(3, ["a"])),
            ("qwen2", "a merge of three", ".*: merge 0 is no pair of texts", lambda t: t["model"]["merges"].insert(0, ["a", "b", "c"])),
            ("qwen2", "no merges", ".*: tokenizer.json has no list of merges", put("model", "merges", None)),
            ("xlm-r", "a token without a score", ".*: token 5 is no pair of a text and a score", lambda t: t["model"]["vocab"].insert(5, ["a"])),
            ("xlm-r", "a charsmap that is no base64", ".*: precompiled_charsmap is not in base64: byte 1 of it",
             put("normalizer", "normalizers", 0, "precompiled_charsmap", "A*AA"))):
        edited("refused", source, what, 65, pattern, edit)


def test_broken():
    folder("broken", 1024, "llama3")
    whole = open(at("broken", "tokenizer.json"), "rb").read()
    vocab = whole.index(b'"vocab"')
    for cut in (0, 1, 100, vocab + 9, vocab + 200, len(whole) - 3):
        write("broken", "tokenizer.json", whole[:cut])
        code, pattern = (66, ".*: no tokenizer; .*") if cut == 0 else (65, r".*tokenizer\.json: JSON ends at byte %d where .*" % cut)
        fails("tokenizer.json cut at %d" % cut, code, pattern, "convert", at("broken"), at("out.gguf"))
    write("broken", "tokenizer.json", whole.replace(b'"vocab":{', b'"vocab":{]', 1))
    fails("brackets of two kinds", 65, ".*JSON has .* at byte .*", "convert", at("broken"), at("out.gguf"))
    for source, file in (("llama2-model", "tokenizer.model"), ("t5", "spiece.model"), ("xlm-r-model", "sentencepiece.bpe.model")):
        folder("broken", 1024, source)
        whole = open(at("broken", file), "rb").read()
        for raw in (whole[:1001], b"\xff" * 40, b"not a model\n", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"):
            write("broken", file, raw)
            fails("%s of %d bytes, %r" % (file, len(raw), raw[:4]), 65, ".*not supported: a file tokenizer.model that is no SentencePiece model",
                  "convert", at("broken"), at("out.gguf"))


def main():
    if not os.access(cli.BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % cli.BODKIN)
    cli.tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-hf-tokenizer-"))
    try:
        for test in (test_ids, test_templates, test_refused, test_broken):
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
