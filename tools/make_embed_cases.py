#!/usr/bin/env python3
"""Writes tests/golden/embed.json: what transformers makes of texts and pairs with the tiny models of tests/families.

usage: tools/make_embed_cases.py      (needs PyPI's torch, transformers, numpy and sentencepiece; float32, eager attention)

Vectors are pooled and of length 1; scores are raw. Of bge-m3 also what stands beside its vector, as FlagEmbedding's
BGEM3FlagModel computes it of the hidden states: lexical_weights, and of colbert_vecs the first two and the last.
A pair of qwen3-reranker stands in the template of the file, tokenised as its model card does: prefix, middle cut at its end,
suffix. Folders that differ from tests/families are made by tests/test_embed.py.
SPDX-License-Identifier: MIT
"""
import json
import os
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, LlamaTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from test_embed import VARIANTS, folder, variant  # noqa: E402

TEXTS = ["hello world", "The quick brown fox jumps over the lazy dog.", "words of a text: 42 of them, don't count!", "a", "\u00e4 \u4f60\u597d"]
WORDS = TEXTS + ["hello world the hello dog over hello", ""]
PAIRS = [("words of a text", ["it is a dog, and a text!", "The quick brown fox", "a"]), ("hello", ["hello", "text of words"])]
TEMPLATE = "<|user|>Q: {query}\nD: {document}<|end|>\n"
TMP = tempfile.TemporaryDirectory()


def path_of(name):
    path = os.path.join(TMP.name, name)
    return folder(name) if name not in VARIANTS else path if os.path.exists(path) else variant(name, path)


def load(name):
    """Its tokenizer, and a text's ids to the last hidden states (ids, n)."""
    path, more = path_of(name), {}
    # the class that its configuration names; AutoTokenizer goes by the model's type and would leave out the space in front
    tokens = (LlamaTokenizer if name == "e5-mistral" else AutoTokenizer).from_pretrained(path)
    if name == "gte-new": # called otherwise since transformers has it
        with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
            more["config"] = AutoConfig.for_model(**{**json.load(f), "model_type": "gte", "architectures": ["GteModel"]})
    model = AutoModel.from_pretrained(path, attn_implementation="eager", **more).float().eval()

    def run(text):
        x = tokens(text, return_tensors="pt")
        ids = x["input_ids"]
        mask = {"attention_mask": torch.zeros(1, 1, ids.shape[1], ids.shape[1])} if name == "gte-qwen2" else {} # both ways
        return ids[0].tolist(), model(**({**x, **mask} if name != "gte-qwen2" else {"input_ids": ids, **mask})).last_hidden_state[0].detach()
    return tokens, run


def vectors(name, pooling):
    run, out = load(name)[1], []
    for text in TEXTS:
        ids, h = run(text)
        v = {"cls": h[0], "mean": h.mean(0), "last": h[-1]}[pooling]
        if name == "embeddinggemma":
            from families import DENSE, linear
            for layer in DENSE:
                v = linear(*layer)["weight"].bfloat16().float() @ v
        v = torch.nn.functional.normalize(v, dim=0)
        out.append({"text": text, "ids": ids, "embedding": [round(float(f), 7) for f in v]})
    return out


def beside(name):
    tokens, run = load(name)
    sparse, colbert = (torch.load(os.path.join(folder(name), k + "_linear.pt"), weights_only=True) for k in ("sparse", "colbert"))
    unused = {tokens.convert_tokens_to_ids(getattr(tokens, k)) for k in ("cls_token", "eos_token", "pad_token", "unk_token")}
    out = []
    for text in WORDS:
        ids, h = run(text)
        weights = np.maximum(h.numpy() @ sparse["weight"].float().numpy().T + sparse["bias"].float().numpy(), 0)[:, 0]
        words = {}
        for w, i in zip(weights, ids):
            if i not in unused and w > words.get(i, 0):
                words[i] = w
        rows = h[1:].numpy() @ colbert["weight"].float().numpy().T + colbert["bias"].float().numpy()
        rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
        some = rows[[0, 1, -1]] if len(rows) > 1 else rows
        out.append({"text": text, "n": len(ids), "sparse": {str(i): round(float(w), 7) for i, w in sorted(words.items())},
                    "colbert": [[round(float(f), 7) for f in row] for row in some]})
    return out


def pairs(name):
    path = path_of(name)
    tokens = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager").float().eval()
    return [{"query": q, "lines": lines, "scores": [float(model(**tokens(q, d, return_tensors="pt")).logits[0, 0]) for d in lines]}
            for q, lines in PAIRS]


def questions(name):
    tokens, model = AutoTokenizer.from_pretrained(folder(name)), AutoModelForCausalLM.from_pretrained(folder(name)).float().eval()
    head, tail = TEMPLATE.split("{document}")
    yes, no = (tokens.convert_tokens_to_ids(t) for t in ("yes", "no"))
    out = []
    for q, lines in PAIRS:
        scores = []
        for d in lines:
            ids = tokens(head.replace("{query}", q) + d, add_special_tokens=False)["input_ids"] + tokens(tail, add_special_tokens=False)["input_ids"]
            row = model(torch.tensor([ids])).logits[0, -1].detach()
            scores.append(float(row[yes] - row[no]))
        out.append({"query": q, "lines": lines, "scores": scores})
    return out


POOLINGS = {"bge-m3": "cls", "modernbert": "cls", "bert-pair": "mean", "mpnet": "mean", "gte-new": "cls", "embeddinggemma": "mean",
            "e5-mistral": "last", "gte-qwen2": "last", "qwen3-embedding": "last"}
golden = {"template": TEMPLATE, "vectors": {name: vectors(name, pooling) for name, pooling in POOLINGS.items()}, "beside": beside("bge-m3"),
          "scores": {**{name: pairs(name) for name in ("bert-pair", "bge-reranker", "modernbert-pair")},
                     "qwen3-reranker": questions("qwen3-reranker")}}
with open(os.path.join(ROOT, "tests/golden/embed.json"), "w", encoding="utf-8") as f:
    json.dump(golden, f, separators=(",", ":"))
    f.write("\n")
