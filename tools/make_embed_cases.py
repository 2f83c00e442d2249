#!/usr/bin/env python3
"""Writes tests/golden/embed.json: what transformers makes of texts and pairs with the tiny models of tests/families.

usage: tools/make_embed_cases.py      (needs PyPI's torch, transformers and sentencepiece; float32, eager attention)

Vectors are pooled and of length 1; scores are raw. A pair of qwen3-reranker stands in the template of the file, tokenised
as its model card does: prefix, middle cut at its end, suffix.
SPDX-License-Identifier: MIT
"""
import json
import os

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEXTS = ["hello world", "The quick brown fox jumps over the lazy dog.", "words of a text: 42 of them, don't count!", "a", "\u00e4 \u4f60\u597d"]
PAIRS = [("words of a text", ["it is a dog, and a text!", "The quick brown fox", "a"]), ("hello", ["hello", "text of words"])]
TEMPLATE = "<|user|>Q: {query}\nD: {document}<|end|>\n"


def folder(name):
    return os.path.join(ROOT, "tests/families", name)


def vectors(name, cls):
    tokens, model = AutoTokenizer.from_pretrained(folder(name)), AutoModel.from_pretrained(folder(name), attn_implementation="eager")
    out = []
    for text in TEXTS:
        x = tokens(text, return_tensors="pt")
        h = model.float().eval()(**x).last_hidden_state[0].detach()
        v = torch.nn.functional.normalize(h[0] if cls else h.mean(0), dim=0)
        out.append({"text": text, "ids": x["input_ids"][0].tolist(), "embedding": [round(float(f), 7) for f in v]})
    return out


def pairs(name):
    tokens = AutoTokenizer.from_pretrained(folder(name))
    model = AutoModelForSequenceClassification.from_pretrained(folder(name), attn_implementation="eager").float().eval()
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


golden = {"template": TEMPLATE, "vectors": {"bge-m3": vectors("bge-m3", True), "modernbert": vectors("modernbert", True),
                                            "bert-pair": vectors("bert-pair", False)},
          "scores": {"bert-pair": pairs("bert-pair"), "qwen3-reranker": questions("qwen3-reranker")}}
with open(os.path.join(ROOT, "tests/golden/embed.json"), "w", encoding="utf-8") as f:
    json.dump(golden, f, separators=(",", ":"))
    f.write("\n")
