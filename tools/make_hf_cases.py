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
import struct
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


BERT = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=130)
# what a reader takes for granted, so that the converter may leave it out; what it leaves out, and is wrong
MORE = {"gemma": ["rope.freq_base"], "gemma2": ["rope.freq_base"], "gptneox": ["rope.freq_base"], "phi2": ["rope.freq_base"],
        "falcon": ["rope.freq_base"], "stablelm": ["rope.freq_base"], "mistral": ["attention.sliding_window"],
        "modern-bert": ["attention.layer_norm_epsilon"], "bert-labels": ["cls.weight", "cls.bias"]}


def encoder(*rows, layer, biases, norm):
    """An encoder that transformers does not know: names and shapes."""
    out = {"embeddings.word_embeddings.weight": [96, 64], "embeddings.token_type_embeddings.weight": [2, 64], norm + ".weight": [64],
           norm + ".bias": [64]}
    for i in range(2):
        for name, *shape in rows:
            out[layer % i + name + ".weight"] = shape
            if len(shape) == 1 or biases and "gated" not in name:
                out[layer % i + name + ".bias"] = shape[:1]
    return out


def compressed(form, kind, bits, **more):
    weights = {"num_bits": bits, "type": kind, "strategy": "group" if "group_size" in more else "channel", "symmetric": True, **more}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


def quantized(tensors, config):
    """The matrices of the layers as codes and scales; bytes that cannot be random stand there."""
    method, out = config.get("format", config["quant_method"]), {}
    for name, (dtype, (rows, cols, *_)) in ((n, (d, s + [0])) for n, (d, s) in tensors.items()):
        base = name[:-len("weight")]
        if not name.endswith("proj.weight"):
            out[name] = tensors[name]
        elif method == "gptq":
            per, group = 32 // config["bits"], config["group_size"]
            order = [c // group for c in range(cols)]
            if config["desc_act"]:
                order = [order[c * 29 % cols] for c in range(cols)]
            middle = {4: "77", 8: "80"}[config["bits"]] * (cols // group * rows // per * 4)
            out[base + "qweight"] = ["I32", [cols // per, rows]]
            out[base + "qzeros"] = ["I32", [cols // group, rows // per]] + ([middle] if config["sym"] else [])
            out[base + "scales"] = ["F16", [cols // group, rows]]
            out[base + "g_idx"] = ["I32", [cols], struct.pack("<%di" % cols, *order).hex()]
        elif method == "fp8":
            tall, wide = config["weight_block_size"]
            out[name] = ["F8_E4M3", [rows, cols]]
            out[name + "_scale_inv"] = ["F32", [-(-rows // tall), -(-cols // wide)]]
        elif method == "pack-quantized":
            out[name + "_packed"] = ["I32", [rows, cols // 8]]
            out[name + "_scale"] = [dtype, [rows, cols // 32]]
            out[name + "_shape"] = ["I64", [2], struct.pack("<qq", rows, cols).hex()]
            if not config["config_groups"]["group_0"]["weights"]["symmetric"]:
                out[name + "_zero_point"] = ["I32", [rows // 8, cols // 32]]
        else:
            out[name] = [{"float-quantized": "F8_E4M3", "int-quantized": "I8"}[method], [rows, cols]]
            out[name + "_scale"] = [dtype, [rows, 1]]
    return out


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
    "gptq": ("LlamaConfig", "LlamaForCausalLM", small(), "F16", "f32", {
        "quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False, "desc_act": False}),
    "gptq-symmetric": ("LlamaConfig", "LlamaForCausalLM", small(), "F16", "f32", {
        "quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}),
    "gptq-order": ("LlamaConfig", "LlamaForCausalLM", small(), "F16", "f32", {
        "quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": True}),
    "gptq-8": ("LlamaConfig", "LlamaForCausalLM", small(), "F16", "f32", {
        "quant_method": "gptq", "bits": 8, "group_size": 32, "sym": True, "desc_act": False, "checkpoint_format": "gptq_v2"}),
    "fp8": ("LlamaConfig", "LlamaForCausalLM", small(), "BF16", "f32", {
        "quant_method": "fp8", "weight_block_size": [48, 32], "activation_scheme": "dynamic"}),
    "ct-fp8": ("LlamaConfig", "LlamaForCausalLM", small(), "BF16", "f32", compressed("float-quantized", "float", 8)),
    "ct-int8": ("LlamaConfig", "LlamaForCausalLM", small(), "BF16", "f32", compressed("int-quantized", "int", 8)),
    "ct-int4": ("LlamaConfig", "LlamaForCausalLM", small(), "BF16", "f32", compressed("pack-quantized", "int", 4, group_size=32)),
    "ct-int4-zeros": ("LlamaConfig", "LlamaForCausalLM", small(), "BF16", "f32", compressed("pack-quantized", "int", 4, group_size=32, symmetric=False)),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", small(), "BF16", "auto"),
    "granite": ("GraniteConfig", "GraniteForCausalLM", small(attention_multiplier=0.1, embedding_multiplier=12.0, residual_multiplier=0.3,
                                                             logits_scaling=8.0), "BF16", "auto"),
    "granitemoe": ("GraniteMoeConfig", "GraniteMoeForCausalLM", small(num_local_experts=4, num_experts_per_tok=2, attention_multiplier=0.1,
                                                                     embedding_multiplier=12.0), "BF16", "auto"),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", small(head_dim=32), "BF16", "auto"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", small(head_dim=32, sliding_window=32), "BF16", "auto"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", small(head_dim=32, sliding_window=32, final_logit_softcapping=30.0), "BF16", "auto"),
    "gemma3-linear": ("Gemma3TextConfig", "Gemma3ForCausalLM", small(head_dim=32, sliding_window=32, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}), "BF16", "auto"),  # of F16 it would add 1 in half precision
    "gemma-embedding": ("Gemma3TextConfig", "Gemma3TextModel", small(head_dim=32, sliding_window=32, use_bidirectional_attention=False), "F32",
                        "auto"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", small(tie_word_embeddings=True), "BF16", "auto"),
    "qwen2-model": ("Qwen2Config", "Qwen2Model", small(), "F16", "auto"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", small(head_dim=32), "BF16", "auto"),
    "qwen2moe": ("Qwen2MoeConfig", "Qwen2MoeForCausalLM", small(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                                               shared_expert_intermediate_size=64), "BF16", "auto"),
    "qwen3moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", small(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=32),
                 "BF16", "auto"),
    "command-r": ("CohereConfig", "CohereForCausalLM", small(use_qk_norm=True, logit_scale=0.0625), "F16", "auto"),
    "ernie4_5": ("Ernie4_5Config", "Ernie4_5ForCausalLM", small(head_dim=32), "BF16", "auto"),
    "ernie4_5-moe": ("Ernie4_5_MoeConfig", "Ernie4_5_MoeForCausalLM", small(
        moe_num_experts=4, moe_k=2, moe_intermediate_size=48, moe_num_shared_experts=1, moe_layer_start_index=1, moe_layer_end_index=-1,
        num_hidden_layers=3), "BF16", "auto"),
    "deepseek2": ("DeepseekV2Config", "DeepseekV2ForCausalLM", small(
        num_hidden_layers=3, num_key_value_heads=4, q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
        n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=32, first_k_dense_replace=1, topk_method="greedy",
        scoring_func="softmax", n_group=1, topk_group=1, rope_scaling={"rope_type": "yarn", "factor": 4.0, "mscale": 0.707, "mscale_all_dim": 0.707,
                                                                       "original_max_position_embeddings": 64}), "BF16", "auto"),
    "deepseek3": ("DeepseekV3Config", "DeepseekV3ForCausalLM", small(
        num_hidden_layers=2, num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
        n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=32, first_k_dense_replace=1, n_group=2, topk_group=1,
        scoring_func="sigmoid", norm_topk_prob=True, routed_scaling_factor=2.5), "BF16", "auto"),
    "falcon-7b": ("FalconConfig", "FalconForCausalLM", dict(vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=1,
                                                           multi_query=True, bias=False, parallel_attn=True), "BF16", "auto"),
    "falcon-40b": ("FalconConfig", "FalconForCausalLM", dict(vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
                                                            new_decoder_architecture=True, bias=False), "BF16", "auto"),
    "gptneox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", small(num_key_value_heads=None, rotary_pct=0.25, use_parallel_residual=False), "F16", "auto"),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", dict(vocab_size=96, n_embd=64, n_layer=2, n_head=4, n_positions=256), "F32", "auto"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", small(), "BF16", "auto"),
    "phi2": ("PhiConfig", "PhiForCausalLM", small(num_key_value_heads=None, intermediate_size=256, partial_rotary_factor=0.5), "F16", "auto"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", small(sliding_window=128), "BF16", "auto"),
    "phi3-longrope": ("Phi3Config", "Phi3ForCausalLM", small(
        original_max_position_embeddings=64, rope_scaling={"rope_type": "longrope", "short_factor": [1.0 + i / 8 for i in range(8)],
                                                           "long_factor": [2.0 + i for i in range(8)]}), "BF16", "auto"),
    "stablelm": ("StableLmConfig", "StableLmForCausalLM", small(use_qkv_bias=True, partial_rotary_factor=0.25), "F16", "auto"),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", small(sliding_window=None, use_bias=True), "BF16", "auto"),
    "bert": ("BertConfig", "BertModel", dict(BERT, type_vocab_size=2), "F32", "auto"),
    "bert-labels": ("BertConfig", "BertForSequenceClassification", dict(BERT, type_vocab_size=2, num_labels=3), "F16", "auto"),
    "distilbert": ("DistilBertConfig", "DistilBertModel", dict(vocab_size=96, dim=64, hidden_dim=96, n_layers=2, n_heads=4,
                                                              max_position_embeddings=128), "F16", "auto"),
    "roberta": ("RobertaConfig", "RobertaModel", dict(BERT, pad_token_id=1), "F16", "auto"),
    "xlm-roberta-rank": ("XLMRobertaConfig", "XLMRobertaForSequenceClassification", dict(BERT, pad_token_id=1, num_labels=1), "F32", "auto"),
    "modern-bert": ("ModernBertConfig", "ModernBertModel", dict(BERT, local_attention=32, global_attn_every_n_layers=3, pad_token_id=0), "F32",
                    "auto"),
    "nomic-bert": (dict(
        architectures=["NomicBertModel"], model_type="nomic_bert", vocab_size=96, n_embd=64, n_inner=96, n_layer=2, n_head=4, n_positions=8192,
        layer_norm_epsilon=1e-12, type_vocab_size=2, activation_function="swiglu", causal=False, qkv_proj_bias=False, mlp_fc1_bias=False,
        mlp_fc2_bias=False, prenorm=False, rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None, rotary_emb_base=1000),
        None, encoder(("attn.Wqkv", 192, 64), ("attn.out_proj", 64, 64), ("mlp.fc11", 96, 64), ("mlp.fc12", 96, 64), ("mlp.fc2", 64, 96), ("norm1", 64),
                      ("norm2", 64), layer="encoder.layers.%d.", biases=False, norm="emb_ln"), "F32", "auto"),
    "jina-bert-v2": (dict(
        architectures=["JinaBertModel"], model_type="bert", vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=8192, layer_norm_eps=1e-12, type_vocab_size=2, position_embedding_type="alibi"),
        None, encoder(*[("attention.%s" % n, 64, 64) for n in ("self.query", "self.key", "self.value", "output.dense")],
                      ("attention.output.LayerNorm", 64), ("mlp.layernorm", 64), ("mlp.gated_layers", 192, 64), ("mlp.wo", 64, 96),
                      layer="encoder.layer.%d.", biases=True, norm="embeddings.LayerNorm"), "F16", "auto"),
}


def folder(case, path):
    config, model, settings, dtype, _, *codes = case
    if not model:
        return config, {name: [dtype, shape] for name, shape in sorted(settings.items())}
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    cfg = getattr(transformers, config)(**settings)
    getattr(transformers, model)(cfg).save_pretrained(path)
    shapes = {}
    with safe_open(os.path.join(path, "model.safetensors"), "pt") as f:
        for name in sorted(f.keys()):
            shapes[name] = [dtype, list(f.get_slice(name).get_shape())]
    with open(os.path.join(path, "config.json")) as f:
        settings = json.load(f)
    if config == "GPTNeoXConfig":  # as it was saved until lately, and as the converter wants it
        settings["rotary_pct"] = 0.25
    for gone in ("transformers_version", "dtype", "torch_dtype", "use_cache"):
        settings.pop(gone, None)
    if codes:
        settings["quantization_config"], shapes = codes[0], quantized(shapes, codes[0])
    return settings, shapes


def converted(path, out, kind, known):
    kinds = {"auto": "GUESSED", "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    settings = ModelBase.load_hparams(Path(path), False)
    if not known:  # transformers has another model of that name
        with open(os.path.join(path, "config.json")) as f:
            settings = json.load(f)
    if known:  # what the newest transformers hide
        settings.setdefault("rotary_pct", 0.25)
        settings.setdefault("n_ctx", settings.get("n_positions"))
    make = ModelBase.from_model_architecture(get_model_architecture(settings, ModelType.TEXT))
    make.set_vocab = lambda self: None
    make(Path(path), getattr(gguf.LlamaFileType, kinds[kind]), Path(out), hparams=settings).write()
    reader = gguf.GGUFReader(out)
    keys = {}
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "tokenizer.")) and (not name.startswith("general.") or name in test_hf.GENERAL):
            keys[name] = [[t.name for t in field.types], field.contents()]
    tensors = {}
    for t in reader.tensors:
        shape, data = [int(n) for n in t.shape], {t.name: t.data}
        if settings.get("position_embedding_type") == "alibi" and "ffn_up" in t.name and len(
            shape) > 1:  # gate and up: readers take them apart, too
            shape[1] //= 2
            data = {t.name.replace("up", "gate"): t.data[:shape[1]], t.name: t.data[shape[1]:]}
        for n, d in data.items():
            tensors[n] = [t.tensor_type.name, shape, hashlib.sha256(d.tobytes()).hexdigest()[:32]]
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
            extra = next((MORE[k] for k in (name, name.split("-")[0]) if k in MORE), [])
            case = {"config": config, "type": CASES[name][4], "extra": extra, "tensors": tensors}
            test_hf.write_folder(case, tmp)
            with open(os.path.join(tmp, "tokenizer.json"), "w") as f:  # one architecture cuts its embedding to so many rows
                json.dump({"model": {"type": "WordPiece", "vocab": {str(i): i for i in range(SMALL["vocab_size"])}}, "added_tokens": []}, f)
            case["keys"], case["made"] = converted(tmp, os.path.join(tmp, "out.gguf"), CASES[name][4], CASES[name][1])
        with open(os.path.join(ROOT, "tests", "hf", name + ".json"), "w") as f:
            f.write(test_hf.dumped(case))
        print(name, len(tensors), "->", len(case["made"]))


if __name__ == "__main__":
    main()
