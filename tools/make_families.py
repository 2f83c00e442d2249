#!/usr/bin/env python3
"""Writes tests/families: a tiny model of random weights of every family, and golden numbers by transformers.

    pip install torch transformers sentencepiece gguf
    python3 tools/make_families.py --tree LLAMA.CPP [--peer] [--seek N] [NAME...]

Of each family: a folder as Hugging Face has it (config.json in its published form, F16 weights, a small tokenizer),
golden.json (float32, eager attention) and the GGUF file that the public converter (in LLAMA.CPP, a source tree of llama.cpp)
writes of that folder. Only what tools/families.py names is kept in tests/families; all of it stays in build/families.
--peer: llama.cpp's own numbers beside them (package llama-cpp-python), weights expanded to F32. --seek N: of a mixture of
experts, the seed of N that leaves the widest gap between an expert chosen and one not.
What is written depends on nothing but the seed. Nothing is fetched.
SPDX-License-Identifier: MIT
"""
import argparse
import ctypes
import json
import logging
import math
import os
import shutil
import sys
import types
import zlib

import numpy as np
import safetensors.torch
import torch
import transformers

import families
from families import nine

os.environ["TQDM_DISABLE"] = "1"
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
ap = argparse.ArgumentParser()
ap.add_argument("names", nargs="*")
ap.add_argument("--tree", required=True, help="a source tree of llama.cpp")
ap.add_argument("--peer", action="store_true")
ap.add_argument("--seek", type=int, default=0)
args = ap.parse_args()
BUILD = os.path.join(ROOT, "build", "families")
OUT = os.path.join(ROOT, "tests", "families")


# ---- weights ----

def fill(name, shape, f, seed):
    """(shape) float32, random by name and seed. f: the family's own standard deviations, {part of a name: (mean, std)}."""
    gen = torch.Generator().manual_seed(zlib.crc32(("%d %s" % (seed, name)).encode()))
    x = torch.randn(shape, generator=gen)
    for part, (mean, std) in f.get("scale", {}).items():
        if part in name:
            return mean + std * x
    if len(shape) == 1 or name.endswith("bias"):
        norm = "norm" in name.lower() or ".ln_" in name
        mean = 1.0 if norm and not name.endswith("bias") and not f.get("norm_from_zero") else 0.0
        return mean + (0.2 if mean or norm else 0.1) * x
    if any(part in name for part in ("embed", "wte", "lm_head", "embed_out")):
        head = "head" in name or "embed_out" in name or f["config"].get("tie_word_embeddings", True)
        return x * (2 if head else 4) / math.sqrt(shape[-1])
    gain = 1.4 if any(part in name for part in ("q_", "k_", "query", "key", "qkv", "Wqkv")) else 1.0
    if "gate.weight" in name or "router" in name:
        gain = 2.0
    return x * gain / math.sqrt(shape[-1])


def stored(x, dtype):
    """As the file will have it, and F16 too: neither infinite nor smaller than its normal numbers."""
    x = torch.where(x.abs() < 2.0 ** -14, torch.zeros_like(x), x)
    return x.to(dtype).half()


def make_folder(name, f, seed):
    path = os.path.join(BUILD, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    with open(os.path.join(path, "config.json"), "w") as out:
        json.dump({**f["config"], **f.get("published", {})}, out, indent=1)
        out.write("\n")
    for file, data in families.tokenizer(f["tokenizer"], f["config"]).items():
        with open(os.path.join(path, file), "wb") as out:
            out.write(data)
    for file, value in f.get("files", {}).items():
        os.makedirs(os.path.dirname(os.path.join(path, file)), exist_ok=True)
        with open(os.path.join(path, file), "w") as out:
            json.dump(value, out)
    name = {**f["config"], **f.get("read_as", {})}["architectures"][0]
    cls = None if "module" in f else getattr(transformers, name)
    if f.get("encode") is families.three:
        for file, n_out in families.LINEAR:
            torch.save(families.linear(file, n_out), os.path.join(path, file + ".pt"))
    for file, n_out, n_in in families.DENSE if f.get("encode") is families.behind else ():
        safetensors.torch.save_file({"linear.weight": families.linear(file, n_out, n_in)["weight"].bfloat16()},
                                    os.path.join(path, file, "model.safetensors"))
    if cls:
        config = config_of(f)
        config._experts_implementation = "eager"
        model = cls(config, **f.get("init", {}))
    else:
        model = own(f)
    dtype = torch.bfloat16 if f["config"].get("torch_dtype") == "bfloat16" else torch.float16
    done = set()
    with torch.no_grad():
        for key, p in model.state_dict().items():
            if p.is_floating_point() and p.data_ptr() not in done:
                done.add(p.data_ptr())
                p.copy_(stored(fill(key, p.shape, f, seed), dtype).float())
    if not cls:
        safetensors.torch.save_file({k: v.to(dtype) for k, v in model.state_dict().items()}, os.path.join(path, "model.safetensors"))
        return path, name
    more = {"max_shard_size": f["shard"]} if "shard" in f else {}
    other = os.path.join(BUILD, "saved")
    shutil.rmtree(other, ignore_errors=True)
    model.to(dtype).save_pretrained(other, **more)
    if "saved" in f:
        file = os.path.join(other, "model.safetensors")
        tensors = safetensors.torch.load_file(file)
        for theirs, published in f["saved"]:
            tensors = {k.replace(theirs, published): v for k, v in tensors.items()}
        safetensors.torch.save_file(tensors, file)
    for file in os.listdir(other):
        if "safetensors" in file:
            shutil.move(os.path.join(other, file), os.path.join(path, file))
    return path, cls


def config_of(f):
    """transformers' own form of it; read_as: what the published form says in words of remote code."""
    c = {**f["config"], **f.get("read_as", {})}
    return transformers.AutoConfig.for_model(c.pop("model_type"), **c)


def own(f):
    """A model of tools/encoders.py."""
    return f["module"](types.SimpleNamespace(**f["config"]))


def load(path, cls, f):
    """The folder read back in float32: what is golden is what is stored."""
    if "saved" in f:
        model, tensors = cls(config_of(f)), safetensors.torch.load_file(os.path.join(path, "model.safetensors"))
        for theirs, published in reversed(f["saved"]):
            tensors = {k.replace(published, theirs): v.float() for k, v in tensors.items()}
        missing, unknown = model.load_state_dict(tensors, strict=False)
        if unknown or set(missing) - {"lm_head.weight"}:
            sys.exit("%s: %s %s" % (path, missing, unknown))
        model.tie_weights()
        return model.float().eval()
    if "module" in f:
        model = own(f)
        model.load_state_dict(safetensors.torch.load_file(os.path.join(path, "model.safetensors")))
        return model.float().eval()
    model, info = cls.from_pretrained(path, config=config_of(f), **f.get("init", {}), dtype=torch.float32,
                                      attn_implementation="eager", output_loading_info=True)
    if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
        sys.exit("%s: %s" % (path, info))
    model.config._experts_implementation = "eager"
    return model.eval()


# ---- golden numbers ----

def ids_of(name, n, f, seed):
    gen = torch.Generator().manual_seed(zlib.crc32(("%d %s" % (seed, name)).encode()))
    low = families.FIRST_TOKEN[f["tokenizer"]]
    return torch.randint(low, f["config"]["vocab_size"], (n,), generator=gen).tolist()


def position(pos, row):
    top = torch.sort(row, descending=True, stable=True)
    return {"pos": pos, "top_ids": top.indices[:32].tolist(), "top_logits": nine(top.values[:32]),
            "logsumexp": float("%.9g" % torch.logsumexp(row, 0)), "mean": float("%.9g" % row.mean()), "std": float("%.9g" % row.std())}


class Gaps:
    """How near every choice of torch.topk came to another one, relative to the chosen score."""
    def __enter__(self):
        self.least, self.topk = math.inf, torch.topk

        def topk(x, k, *more, **options):
            if k < x.shape[-1]:
                s = torch.sort(x.float(), descending=True).values
                gap = ((s[..., k - 1] - s[..., k]) / s[..., k - 1].abs()).flatten()
                self.least = min(self.least, gap[torch.isfinite(gap)].min().item())
            return self.topk(x, k, *more, **options)
        torch.topk = topk
        return self

    def __exit__(self, *_):
        torch.topk = self.topk


def logits(model, ids):
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def generation(model, f, seed):
    cases = []
    for name, n in f.get("cases", (("rand5", 5), ("one", 1), ("rand40", 40), ("rand110", 110))):
        ids = ids_of(name, n, f, seed)
        rows = logits(model, ids)
        c = {"name": name, "ids": ids, "positions": [position(p, rows[p]) for p in range(max(0, n - 3), n)]}
        if name == "rand5":
            c["last_logits_full"] = nine(rows[-1])
        if name == "rand40":
            greedy, margin, more = [], [], list(ids)
            for _ in range(64):
                row = logits(model, more)[-1]
                top = torch.topk(row, 2)
                greedy.append(top.indices[0].item())
                margin.append((top.values[0] - top.values[1]).item())
                more.append(greedy[-1])
            c["greedy64"], c["greedy64_margin"] = greedy, [float("%.4g" % m) for m in margin]
        cases.append(c)
    return cases


def encoding(model, f, seed):
    cases = []
    first, last = families.ENDS[f["tokenizer"]]
    for name, n in (("rand5", 5), ("one", 1), ("rand40", 40), ("rand110", 110)):
        ids = [first] + ids_of(name, n, f, seed) + [last]
        c = {"name": name, "ids": ids}
        f["encode"](model, ids, c)
        cases.append(c)
    return cases


def golden(name, f, path, cls, seed):
    torch.manual_seed(0)
    with torch.inference_mode():
        model = load(path, cls, f)
        with Gaps() as gaps:
            cases = (generation if f["kind"] == "generation" else encoding)(model, f, seed)
    g = {"name": name, "kind": f["kind"], "seed": seed, "files": {"f16": name + "-f16.gguf"}, "pooling": f.get("pooling"),
         "reference": "tools/encoders.py" if "module" in f else "transformers fp32 eager",
         "class": cls if isinstance(cls, str) else cls.__name__,
         "n_vocab": f["config"]["vocab_size"],
         "cases": cases}
    g.update(f.get("golden", {}))
    if "folder" in f["keep"]:
        g["texts"] = families.texts(f["tokenizer"], path)
    if gaps.least < math.inf and "expert" in json.dumps(f["config"]):
        g["least_gap_between_experts"] = float("%.3g" % gaps.least)
    return g


# ---- the public converter ----

def converter(tree):
    sys.path[0:0] = [tree, os.path.join(tree, "gguf-py")]
    import conversion
    logging.disable(logging.WARNING)
    # It knows a pre-tokenizer by the hash of what it makes of a text; ours are the plainest.
    conversion.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    from conversion.glm import Glm4Model
    Glm4Model.set_vocab = lambda self: self._set_vocab_gpt2() # its own wants the names of certain tokens
    # A generator that returns another one: its values are lost. Seen in the stacked norms of heads.
    from conversion.stablelm import StableLMModel
    own = StableLMModel.modify_tensors

    def modify_tensors(self, x, name, bid):
        more = yield from own(self, x, name, bid)
        if more is not None:
            yield from more
    StableLMModel.modify_tensors = modify_tensors
    return conversion


def renamed(path, f):
    """The folder, with tensors named as the converter must find them to keep them."""
    other = os.path.join(BUILD, "renamed", os.path.basename(path))
    shutil.copytree(path, other, dirs_exist_ok=True)
    file = os.path.join(other, "model.safetensors")
    tensors = {}
    for name, x in safetensors.torch.load_file(file).items():
        part = next((p for p in f["rename"] if name.startswith(p)), "")
        tensors[f["rename"].get(part, "") + name[len(part):]] = x
    safetensors.torch.save_file(tensors, file)
    return other


def convert(conversion, path, out, f, kind, title=None):
    import gguf
    from pathlib import Path
    path = renamed(path, f) if "rename" in f else path
    hparams = conversion.ModelBase.load_hparams(Path(path), False)
    with torch.inference_mode():
        cls = conversion.get_model_class(conversion.get_model_architecture(hparams, conversion.ModelType.TEXT))
        ftype = {"f16": gguf.LlamaFileType.MOSTLY_F16, "f32": gguf.LlamaFileType.ALL_F32}[kind]
        m = cls(Path(path), ftype, Path(out), eager=True, model_name=title, sentence_transformers_dense_modules=True)
        for key, value in f.get("keys", {}).items():  # that the converter does not write, and we wish for
            getattr(m.gguf_writer, "add_" + key)(gguf.PoolingType(value) if key == "pooling_type" else value)
        m.hparams.update(f.get("hparams", {}))
        if title:
            m.hparams.update(f.get("peer_hparams", {}))
        m.write()


# ---- llama.cpp's numbers ----

def peer_run(c, model, ids, pooling, take):
    """take(context) after one batch of ids. pooling: as in llama.h; None: logits of every position."""
    p = c.llama_context_default_params()
    p.n_ctx = p.n_batch = p.n_ubatch = 256
    p.n_threads = p.n_threads_batch = 1
    p.type_k = p.type_v = p.flash_attn_type = 0
    if pooling is not None:
        p.embeddings, p.pooling_type = True, pooling
    context = c.llama_init_from_model(model, p)
    batch = c.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, t in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = t, i, 1, 0, 1
    if c.llama_decode(context, batch):
        raise RuntimeError("llama_decode failed")
    out = take(context)
    c.llama_batch_free(batch)
    c.llama_free(context)
    return out


def peer_logits(c, model, ids, n_vocab):
    return peer_run(c, model, ids, None, lambda context: np.array(
        [np.ctypeslib.as_array(c.llama_get_logits_ith(context, i), (n_vocab,)) for i in range(len(ids))]))


def peer_vector(c, model, ids, n, rank):
    x = peer_run(c, model, ids, 4 if rank else -1, lambda context: np.array(
        np.ctypeslib.as_array(c.llama_get_embeddings_seq(context, 0), (n,))))
    return x if rank else x / np.linalg.norm(x)


def peer(path, g):
    """The largest difference of any number from the golden one; None: llama.cpp cannot load the file."""
    import llama_cpp as c
    global quiet
    quiet = c.llama_log_callback(lambda *_: None)
    c.llama_log_set(quiet, ctypes.c_void_p(0))
    p = c.llama_model_default_params()
    p.use_extra_bufts = False
    model = c.llama_model_load_from_file(path.encode(), p)
    if not model:
        return None
    worst = 0.0
    for case in g["cases"]:
        if g["kind"] == "generation":
            rows = peer_logits(c, model, case["ids"], g["n_vocab"])
            for q in case["positions"]:
                worst = max(worst, np.abs(rows[q["pos"]][q["top_ids"]] - np.array(q["top_logits"], np.float32)).max())
        else:
            want = np.array(case.get("embedding") or [case.get("probability", case.get("score"))], np.float32)
            got = peer_vector(c, model, case["ids"], len(want), "score" in case)
            worst = max(worst, np.abs(got - want).max())
    c.llama_model_free(model)
    return float("%.3g" % worst)


# ---- one family ----

def keep(name, f, path, g):
    to = os.path.join(OUT, name)
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(to)
    if "folder" in f["keep"]:
        shutil.copytree(path, to, dirs_exist_ok=True)
    if "gguf" in f["keep"]:
        shutil.copy(os.path.join(BUILD, name + "-f16.gguf"), to)
    with open(os.path.join(to, "golden.json"), "w") as out:
        json.dump(g, out, separators=(",", ":"))
        out.write("\n")
    return sum(os.path.getsize(os.path.join(d, x)) for d, _, names in os.walk(to) for x in names)


def table():
    """tests/families/README.md: what stands there, then a row for every golden.json."""
    path = os.path.join(OUT, "README.md")
    with open(path) as f:
        head = f.read().split("<!-- table -->")[0]
    rows = ["| name | class | what it is here for | kept | llama.cpp F32 | F16 |", "|---|---|---|---|---|---|"]
    for name, f in sorted(families.ALL.items()):
        with open(os.path.join(OUT, name, "golden.json")) as file:
            g = json.load(file)
        theirs = g.get("measured_llama_cpp_vs_reference", {})
        cells = ["%.0e" % theirs[k]["max_abs"] if k in theirs else "" for k in ("f32", "f16")]
        rows.append("| %s |" % " | ".join([name, g["class"], families.ABOUT[name], f["keep"].replace(" ", ", "), *cells]))
    with open(path, "w") as f:
        f.write(head + "<!-- table -->\n" + "\n".join(rows) + "\n")


def best_seed(name, f):
    found = []
    for seed in range(f["seed"], f["seed"] + args.seek):
        path, cls = make_folder(name, f, seed)
        found.append((golden(name, f, path, cls, seed).get("least_gap_between_experts", 0), seed))
    print(name, "gap and seed:", max(found))
    return max(found)[1]


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    conversion = converter(args.tree)
    for name, f in families.ALL.items():
        if args.names and name not in args.names:
            continue
        seed = best_seed(name, f) if args.seek and "expert" in json.dumps(f["config"]) else f["seed"]
        path, cls = make_folder(name, f, seed)
        g = golden(name, f, path, cls, seed)
        note = ""
        if not f.get("no_gguf"):
            file = os.path.join(BUILD, name + "-f16.gguf")
            convert(conversion, path, file, f, "f16")
            if args.peer and not f.get("no_peer"):
                theirs = g["measured_llama_cpp_vs_reference"] = {}
                for kind in ("f32", "f16"):
                    full = os.path.join(BUILD, "peer-%s.gguf" % kind)
                    convert(conversion, path, full, f, kind, "peer") # a family's own name may mean things to llama.cpp
                    theirs[kind] = {"max_abs": peer(full, g)}
                    os.remove(full)
                note = "llama.cpp %s" % theirs
        spread = g["cases"][0].get("positions", [{}])[-1].get("std", 0)
        print("%-24s %7d bytes, logits' std %.2f, experts' gap %s, %s" % (
            name, keep(name, f, path, g), spread, g.get("least_gap_between_experts", "-"), note), flush=True)
    table()


main()
