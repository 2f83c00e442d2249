#!/usr/bin/env python3
"""Writes tests/lora: an adapter of every linear layer of some families, as published adapters come, and golden numbers.

    pip install torch transformers safetensors sentencepiece gguf
    python3 tools/make_lora.py --tree LLAMA.CPP

Of each family of CASES: a folder in the form that PEFT writes (build/lora), the GGUF file that the public converter (in
LLAMA.CPP, a source tree of llama.cpp) makes of it, and what transformers computes (float32, eager attention) with
W + SCALE * alpha / rank * B A in place of each W: the 32 largest logits behind each prompt. What is written depends on
nothing but the seed. Nothing is fetched.
SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import subprocess
import sys
import zlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASES = {"llama-bias": "f16", "olmo2-bf16": "f32", "qwen2moe": "q8_0"}  # in tests/families: type of the adapter's file
RANK, ALPHA, SCALE = 4, 8, 0.75
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "mlp.gate")


def changes(model, name):
    """Of every linear layer but experts and head: a (rank, in) and b (out, rank), which F16 holds exactly."""
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    rank = 32 if CASES[name] == "q8_0" else RANK  # or the second half would not be of blocks
    for layer, w in model.named_parameters():
        layer = layer.removesuffix(".weight")
        if w.dim() != 2 or not layer.endswith(PARTS) or ".experts." in layer:
            continue
        a = torch.randn(rank, w.shape[1], generator=random) / w.shape[1] ** 0.5
        b = torch.randn(w.shape[0], rank, generator=random) * (1.5 / rank ** 0.5)
        yield layer, w, a.half().float(), b.half().float()


def write(name, tree):
    folder, peft, out = (os.path.join(ROOT, at, name) for at in ("tests/families", "build/lora", "tests/lora"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tensors = {}
    os.makedirs(peft, exist_ok=True)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with torch.no_grad():
        for layer, w, a, b in changes(model, name):
            tensors["base_model.model.%s.lora_A.weight" % layer] = a
            tensors["base_model.model.%s.lora_B.weight" % layer] = b
            if CASES[name] == "q8_0":  # as ggml rounds, which the converter does
                import gguf
                kind = gguf.GGMLQuantizationType.Q8_0
                a, b = (torch.from_numpy(gguf.dequantize(gguf.quantize(x.numpy(), kind), kind)) for x in (a, b))
            w += SCALE * ALPHA / a.shape[0] * (b @ a)
    save_file(tensors, os.path.join(peft, "adapter_model.safetensors"))
    with open(os.path.join(peft, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "r": a.shape[0], "lora_alpha": ALPHA, "target_modules": sorted({k.split(".")[-3] for k in tensors}),
                   "bias": "none", "task_type": "CAUSAL_LM"}, f)
    subprocess.run([sys.executable, os.path.join(tree, "convert_lora_to_gguf.py"), "--base", folder, "--outfile", out + ".gguf",
                    "--outtype", CASES[name], peft], check=True, env=dict(os.environ, HF_HUB_OFFLINE="1"))
    random, cases = torch.Generator().manual_seed(1), []
    for n in (1, 5, 40):
        ids = torch.randint(3, model.config.vocab_size, (n,), generator=random)
        with torch.no_grad():
            top = model(ids[None]).logits[0, -1].topk(32)
        cases.append({"ids": ids.tolist(), "top_ids": top.indices.tolist(), "top_logits": [float("%.9g" % v) for v in top.values]})
    with open(out + ".json", "w") as f:
        f.write(json.dumps({"scale": SCALE, "matrices": len(tensors) // 2, "cases": cases}) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Adapters in tests/lora, and golden numbers.")
    parser.add_argument("--tree", required=True, help="a source tree of llama.cpp")
    tree = parser.parse_args().tree
    for name in CASES:
        write(name, tree)


if __name__ == "__main__":
    main()
