#!/usr/bin/env python3
"""Writes tests/hf/NAME.json: what the public converter makes of a small Hugging Face folder of every architecture.

    tools/make_hf_cases.py LLAMA.CPP [NAME...]      LLAMA.CPP: its source, with convert_hf_to_gguf.py

A case holds the configuration, the names and shapes of the folder's tensors as transformers saves them (their bytes are made
from their names, by tests/test_hf.py), and of the converter's file the keys and of each tensor type, shape and SHA-256.
Needs torch, transformers and safetensors. SPDX-License-Identifier: MIT
"""
import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(sys.argv[1], "gguf-py"), sys.argv[1]]
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import transformers  # noqa: E402
from safetensors import safe_open  # noqa: E402

import gguf  # noqa: E402
import test_hf  # noqa: E402
from conversion import load_all_models  # noqa: E402
from conversion.base import ModelBase, ModelType, get_model_architecture  # noqa: E402

SMALL = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def small(**more):
    return {k: v for k, v in {**SMALL, **more}.items() if v is not None}


# name: (class of the configuration, class of the model, what differs, dtype of the folder, --outtype)
CASES = {
    "llama-f32": ("LlamaConfig", "LlamaForCausalLM", small(), "F32", "auto"),
    "llama-bf16": ("LlamaConfig", "LlamaForCausalLM", small(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), "BF16", "auto"),
    "llama3-rope": ("LlamaConfig", "LlamaForCausalLM", small(
        head_dim=32, rope_theta=500000.0, rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                                        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}), "F16", "auto"),
    "llama-linear": ("LlamaConfig", "LlamaForCausalLM", small(rope_scaling={"rope_type": "linear", "factor": 4.0}), "F16", "f32"),
    "llama-yarn": ("LlamaConfig", "LlamaForCausalLM", small(
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16.0}), "F16", "bf16"),
    "mistral": ("MistralConfig", "MistralForCausalLM", small(sliding_window=32, head_dim=16), "BF16", "auto"),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", small(num_local_experts=4, num_experts_per_tok=2), "BF16", "auto"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", small(head_dim=32, sliding_window=32, final_logit_softcapping=30.0), "BF16", "auto"),
}


def folder(case, path):
    config, model, settings, dtype, _ = case
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    cfg = getattr(transformers, config)(**settings)
    getattr(transformers, model)(cfg).save_pretrained(path)
    shapes = {}
    with safe_open(os.path.join(path, "model.safetensors"), "pt") as f:
        for name in sorted(f.keys()):
            shapes[name] = [dtype, list(f.get_slice(name).get_shape())]
    with open(os.path.join(path, "config.json")) as f:
        settings = json.load(f)
    for gone in ("transformers_version", "dtype", "torch_dtype", "use_cache"):
        settings.pop(gone, None)
    return settings, shapes


def converted(path, out, kind):
    kinds = {"auto": "GUESSED", "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    settings = ModelBase.load_hparams(Path(path), False)
    make = ModelBase.from_model_architecture(get_model_architecture(settings, ModelType.TEXT))
    make.set_vocab = lambda self: None
    make(Path(path), getattr(gguf.LlamaFileType, kinds[kind]), Path(out)).write()
    reader = gguf.GGUFReader(out)
    keys = {}
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "tokenizer.")) and (not name.startswith("general.") or name in test_hf.GENERAL):
            keys[name] = [[t.name for t in field.types], field.contents()]
    tensors = {t.name: [t.tensor_type.name, [int(n) for n in t.shape], hashlib.sha256(t.data.tobytes()).hexdigest()[:32]]
               for t in reader.tensors}
    for t in reader.tensors:
        if t.name.startswith("rope_"):
            tensors[t.name].append([float(x) for x in t.data])
    return keys, tensors


def main():
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    load_all_models()
    names = sys.argv[2:] or list(CASES)
    os.makedirs(os.path.join(ROOT, "tests", "hf"), exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as tmp:
            config, tensors = folder(CASES[name], tmp)
            case = {"config": config, "type": CASES[name][4], "tensors": tensors}
            test_hf.write_folder(case, tmp)
            with open(os.path.join(tmp, "tokenizer.json"), "w") as f:  # one architecture cuts its embedding to so many rows
                json.dump({"model": {"vocab": {str(i): i for i in range(SMALL["vocab_size"])}}, "added_tokens": []}, f)
            case["keys"], case["made"] = converted(tmp, os.path.join(tmp, "out.gguf"), CASES[name][4])
        with open(os.path.join(ROOT, "tests", "hf", name + ".json"), "w") as f:
            f.write(test_hf.dumped(case))
        print(name, len(tensors), "->", len(case["made"]))


if __name__ == "__main__":
    main()
