"""The families of tools/make_families.py: a config.json of each, in the form in which such models are published, and what is
special about it. SPDX-License-Identifier: MIT """
import io
import json

# the first id that is no special token; what stands at the two ends of a text of an encoder
FIRST_TOKEN = {"bytes": 4, "judge": 4, "chars": 3, "words": 5, "unigram": 4, "roberta": 5, "mpnet": 5}
ENDS = {"chars": (1, 2), "bytes": (0, 1), "words": (2, 3), "unigram": (0, 2), "roberta": (0, 2), "mpnet": (0, 2), "judge": (0, 1)}
TEXT = ("The quick brown fox jumps over the lazy dog. A bodkin is a small pointed tool for making holes in cloth or leather. "
        "Words of a text are counted, and what is counted is merged: the more often, the sooner. ")


# ---- tokenizers: as small as they can be ----

JUDGE = {}  # yes, no -> id


def bytes_tokenizer(config, special=("<|begin|>", "<|end|>", "<|pad|>", "<|user|>"), text=(TEXT,)):
    """Byte-level BPE: the special tokens, 256 bytes, and merges up to the size of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=config["vocab_size"], special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": special[1], "pad_token": special[2],
             "add_bos_token": False, "clean_up_tokenization_spaces": False}
    JUDGE.update({w: t.token_to_id(w) for w in ("yes", "no")})
    return {"tokenizer.json": t.to_str().encode(), "tokenizer_config.json": json.dumps(about).encode()}


def roberta_tokenizer(config):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    files = bytes_tokenizer(config, special)
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>",
             "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "add_prefix_space": False}
    t = json.loads(files["tokenizer.json"])
    t["post_processor"] = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True,
                           "add_prefix_space": False}
    return {"tokenizer.json": json.dumps(t).encode(), "tokenizer_config.json": json.dumps(about).encode()}


def judge_tokenizer(config):
    return bytes_tokenizer(config, text=["yes", "no"] * 50 + [TEXT])


def sentencepiece(config, kind, **more):
    import sentencepiece as sp
    out = io.BytesIO()
    sp.SentencePieceTrainer.train(sentence_iterator=iter([TEXT] * 4), model_writer=out, model_type=kind, vocab_size=config["vocab_size"],
                                  hard_vocab_limit=False, minloglevel=2, num_threads=1, normalization_rule_name="identity", **more)
    return out.getvalue()


def chars_tokenizer(config):
    """SentencePiece BPE with bytes to fall back on."""
    return {"tokenizer.model": sentencepiece(config, "bpe", byte_fallback=True, remove_extra_whitespaces=False),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
                                                 "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}).encode()}


def unigram_tokenizer(config):
    return {"sentencepiece.bpe.model": sentencepiece(config, "unigram"),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
                                                 "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
                                                 "mask_token": "<mask>"}).encode()}


def words_tokenizer(config, special=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), cls="[CLS]", sep="[SEP]"):
    special = list(special)
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    words = sorted(set("".join(c if c.isalpha() else " " for c in TEXT.lower()).split()) - set(letters))
    vocab = (special + letters + ["##" + c for c in letters] + words + ["##" + w for w in words])[:config["vocab_size"]]
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.BertProcessing((sep, special.index(sep)), (cls, special.index(cls)))
    t.add_special_tokens(special)
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "sep_token": sep, "cls_token": cls,
             "pad_token": next(s for s in special if "pad" in s.lower()), "mask_token": special[-1]}
    return {"tokenizer.json": t.to_str().encode(), "tokenizer_config.json": json.dumps(about).encode(),
            "vocab.txt": "".join(w + "\n" for w in vocab).encode()}


def mpnet_tokenizer(config):
    return words_tokenizer(config, ("<s>", "<pad>", "</s>", "[UNK]", "<mask>"), "<s>", "</s>")


TEXTS = ("The quick brown fox", "words of a text: 42 of them, don't count!", "  two  spaces\tand a tab",
         "naïve Ünicode → 日本 🙂", "")


def texts(kind, path):
    """What the tokenizer of a folder makes of TEXTS: ids, and ids with the special tokens it adds."""
    out = []
    for text in TEXTS:
        if kind in ("unigram", "chars"):
            import sentencepiece as sp
            file = "/tokenizer.model" if kind == "chars" else "/sentencepiece.bpe.model"
            ids = sp.SentencePieceProcessor(path + file).encode(text)
            if kind == "unigram":
                ids = [i + 1 if i else 3 for i in ids] # fairseq's order of special tokens
            special = [1] + ids if kind == "chars" else [0] + ids + [2]
        else:
            import tokenizers
            t = tokenizers.Tokenizer.from_file(path + "/tokenizer.json")
            ids, special = (t.encode(text, add_special_tokens=s).ids for s in (False, True))
        out.append({"text": text, "ids": ids, "ids_special": special})
    return out


def tokenizer(kind, config):
    return {"bytes": bytes_tokenizer, "roberta": roberta_tokenizer, "judge": judge_tokenizer, "chars": chars_tokenizer,
            "unigram": unigram_tokenizer, "words": words_tokenizer, "mpnet": mpnet_tokenizer}[kind](config)


# ---- decoders ----

def decoder(cls, model_type, tokens="bytes", keep="gguf", seed=1, more=None, **config):
    c = {"architectures": [cls], "model_type": model_type, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "vocab_size": 304 if tokens == "chars" else 272, "tie_word_embeddings": True, "torch_dtype": "float16",
         "bos_token_id": 1 if tokens == "chars" else 0, "eos_token_id": 2 if tokens == "chars" else 1}
    c.update(config)
    c = {k: v for k, v in c.items() if v is not ...}
    return {"kind": "generation", "config": c, "tokenizer": tokens, "keep": keep, "seed": seed, **(more or {})}


def small(cls, model_type, tokens="bytes", **config):
    return decoder(cls, model_type, tokens, **{"hidden_size": 32, "intermediate_size": 32, **config})


def falcon(**config):
    return decoder("FalconForCausalLM", "falcon", alibi=False, apply_residual_connection_post_layernorm=False, bias=False,
                   layer_norm_epsilon=1e-5, rms_norm_eps=..., hidden_act=..., intermediate_size=..., num_key_value_heads=...,
                   parallel_attn=True, **config)


def deepseek(cls, model_type, **config):
    yarn = {"type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 64}
    yarn.update(config.pop("yarn", {}))
    return decoder(cls, model_type, num_key_value_heads=2, kv_lora_rank=32, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
                   first_k_dense_replace=1, moe_layer_freq=1, moe_intermediate_size=32, rope_scaling=yarn, attention_bias=False, **config)


# ---- encoders ----

def pooled(pooling):
    """Into the case: the pooled vector of a text, normalised, its norm before, the states of the first tokens."""
    def encode(model, ids, case):
        import torch
        x = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).last_hidden_state[0]
        v = {"mean": x.mean(0), "cls": x[0], "last": x[-1]}[pooling]
        case["embedding"], case["raw_norm"] = nine(v / v.norm()), nine([v.norm()])[0]
        if case["name"] == "rand5":
            case["token_states_first4"] = [nine(row) for row in x[:4]]
    return encode


def linear(name, n_out, n_in=64):
    """A layer beside the model, as torch saves one: random, F16. -> weight (n_out, n_in), bias (n_out)"""
    import torch
    import zlib
    gen = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return {"weight": (torch.randn((n_out, n_in), generator=gen) / 8).half(), "bias": (torch.randn((n_out,), generator=gen) / 10).half()}


def three(model, ids, case):
    """Into the case, besides the dense vector: a weight of every token, and a normalised vector of the tokens after the first."""
    import torch
    pooled("cls")(model, ids, case)
    x = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).last_hidden_state[0]
    sparse, colbert = ({k: v.float() for k, v in linear(*l).items()} for l in LINEAR)
    case["sparse"] = nine(torch.relu(x @ sparse["weight"].T + sparse["bias"])[:, 0])
    rows = x[1:] @ colbert["weight"].T + colbert["bias"]
    case["colbert_first4"] = [nine(v / v.norm()) for v in rows[:4]]


def behind(model, ids, case):
    """Into the case: the mean of the rows, through two linear layers, normalised."""
    import torch
    v = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
    for layer in DENSE:
        v = linear(*layer)["weight"].bfloat16().float() @ v
    case["embedding"], case["raw_norm"] = nine(v / v.norm()), nine([v.norm()])[0]


def last(both_ways):
    """Into the case: the last row, normalised."""
    def encode(model, ids, case):
        import torch
        mask = torch.zeros(1, 1, len(ids), len(ids)) if both_ways else None # what is added to scores
        v = model(input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state[0, -1]
        case["embedding"], case["raw_norm"] = nine(v / v.norm()), nine([v.norm()])[0]
    return {"kind": "embedding", "pooling": "last", "encode": encode, "files": {
        "modules.json": [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}],
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True}}}


DENSE = (("2_Dense", 48, 32), ("3_Dense", 32, 48))
LINEAR = (("sparse_linear", 1), ("colbert_linear", 64))


def pair(model, ids, case):
    """Into the case: the score of one text, and of the same ids as a pair whose second half has type 1."""
    import torch
    half = len(ids) // 2
    case["types"] = [0] * half + [1] * (len(ids) - half)
    if not getattr(model.config, "type_vocab_size", 0):
        del case["types"]
        case["score"] = nine([model(input_ids=torch.tensor([ids])).logits[0, 0]])[0]
        return
    for key, types in (("score", [0] * len(ids)), ("score_token_types_01", case["types"])):
        case[key] = nine([model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0, 0]])[0]


def judge(model, ids, case):
    """Into the case: by how much the last logit of `yes` exceeds that of `no`, and the probability that makes."""
    import torch
    row = model(input_ids=torch.tensor([ids])).logits[0, -1]
    score = row[JUDGE["yes"]] - row[JUDGE["no"]]
    case["score"], case["probability"] = nine([score, torch.sigmoid(score)])


def nine(x):
    return [float("%.9g" % v) for v in x]


def encoder(cls, model_type, tokens, pooling, keep="gguf", seed=1, more=None, **config):
    c = {"architectures": [cls], "model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 2, "hidden_act": "gelu", "max_position_embeddings": 112, "layer_norm_eps": 1e-12,
         "type_vocab_size": 2, "vocab_size": 272, "pad_token_id": 0, "torch_dtype": "float16"}
    c.update(config)
    c = {k: v for k, v in c.items() if v is not ...}
    f = {"kind": "embedding", "config": c, "tokenizer": tokens, "keep": keep, "seed": seed, "pooling": pooling, "encode": pooled(pooling)}
    if pooling != "rank":
        f["files"] = {"modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                                       {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}],
                      "1_Pooling/config.json": {"word_embedding_dimension": c.get("hidden_size", 64),
                                                "pooling_mode_cls_token": pooling == "cls",
                                                "pooling_mode_mean_tokens": pooling == "mean"}}
    if cls in ("RobertaModel", "BertModel", "XLMRobertaModel", "MPNetModel"):
        f["init"] = {"add_pooling_layer": False}
    return {**f, **(more or {})}


def own(name):
    """One of tools/encoders.py."""
    import encoders
    return lambda config: getattr(encoders, name)(config)


ABOUT = {
    "qwen2moe": "4 experts, a shared one behind a gate of its own, weights not normalised",
    "ernie4_5-moe": "a dense layer first, then 6 experts chosen by corrected probabilities, a shared one",
    "command-r": "attention and feed-forward side by side, LayerNorm without bias, logits scaled",
    "command-r-plus": "the same, with LayerNorm of every head of q and k",
    "falcon-7b": "one key/value head, attention and feed-forward side by side, biases in norms only",
    "falcon-40b": "grouped heads, a norm each for attention and feed-forward",
    "deepseek2-lite": "latent attention, q not compressed, softmax gating, YaRN with mscale",
    "deepseek3": "latent attention, q compressed, sigmoid gating of groups with corrections, normalised and scaled, YaRN",
    "mistral-window": "a window of 32 in every layer; key `attention.sliding_window`, which the converter leaves out",
    "qwen3-extreme": "q and k norms of 50, a residual stream of 1e4",
    "gemma3-linear": "positions divided by 8 in global layers only, window of 32 in the others; BF16",
    "phi3-longrope-long": "texts longer than the original context, run with --context 256: the long factors",
    "stablelm-parallel": "parallel residual, LayerNorm of every head of q and k",
    "gptneox-sequential": "no parallel residual, a quarter of each head rotated",
    "starcoder2-window": "a window of 32 in every layer, biases everywhere; key as in mistral-window",
    "llama-bias": "biases in attention and feed-forward; in shards",
    "olmo2-bf16": "norms after the blocks, norms of whole q and k; BF16",
    "granite-moe": "experts in one tensor, four multipliers",
    "roberta": "positions from pad + 1, byte-level BPE, mean",
    "distilbert": "no token types, CLS",
    "bert-pair": "cross-encoder with pooler; scores with token types 0, and 0 and 1",
    "modernbert": "every third layer global, windows else, GeGLU, CLS",
    "qwen3-reranker": "score: by how much `yes` exceeds `no` at the last token",
    "mpnet": "positions relative in buckets, one bias for all layers; llama.cpp has no such architecture",
    "gte-new": "NewModel: rotated, gated, joined q k v; llama.cpp has no such architecture",
    "modernbert-pair": "cross-encoder whose head reads the mean of the rows; a gate of SiLU",
    "embeddinggemma": "windows both ways, two layers behind the pooling; llama.cpp aborts without a global layer",
    "gte-qwen2": "a decoder whose rows see both ways, the last one is the vector",
    "e5-mistral": "a decoder's last row",
    "cohere2": "three layers of a window of 32 and rotated positions, one of neither",
    "mpt": "ALiBi, no biases",
    "bloom": "ALiBi of 3 heads, a norm behind the embedding, joined q k v of each head",
    "starcoder": "learned positions, one key/value head",
    "olmo": "layer norms without weights",
    "olmoe": "norms of whole q and k, weights of experts not normalised",
    "seed-oss": "biases of q, k and v",
    "glm4": "four norms, half of each head rotated, gate and up in one matrix",
    "exaone": "LLaMA under other names, rotated by halves",
    "nomic-moe": "every other layer has experts without gates, of whom the weights are not normalised",
    "jina-code": "ALiBi, norms of q and k, two norms behind attention; llama.cpp takes the halves of the gate the wrong way round",
    "bge-m3": "dense vector; golden.json has token weights (sparse_linear) and token vectors (colbert_linear), too",
}

ALL = {
    "qwen2moe": decoder(
        "Qwen2MoeForCausalLM", "qwen2_moe", keep="folder", seed=10, num_key_value_heads=1, rope_theta=1000000.0, rms_norm_eps=1e-6,
        moe_intermediate_size=32, shared_expert_intermediate_size=64, num_experts=4, num_experts_per_tok=2, norm_topk_prob=False,
        decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False),
    "ernie4_5-moe": decoder(
        "Ernie4_5_MoeForCausalLM", "ernie4_5_moe", "chars", seed=8, num_attention_heads=4, num_key_value_heads=2, rope_theta=500000.0,
        intermediate_size=64, moe_intermediate_size=32, moe_num_experts=6, moe_k=2, moe_num_shared_experts=1, moe_layer_start_index=1,
        moe_layer_end_index=1, moe_layer_interval=1, use_bias=False),
    "command-r": decoder(
        "CohereForCausalLM", "cohere", logit_scale=0.0625, layer_norm_eps=1e-5, rms_norm_eps=..., use_qk_norm=False, attention_bias=False,
        rope_theta=8000000.0, more={"scale": {"embed_tokens": (0, 4)}}),
    "falcon-7b": falcon(multi_query=True, new_decoder_architecture=False, num_hidden_layers=1, more={"hparams": {"num_kv_heads": 1}}),
    "falcon-40b": falcon(multi_query=True, new_decoder_architecture=True, num_attention_heads=4, num_kv_heads=2),
    "deepseek2-lite": deepseek(
        "DeepseekV2ForCausalLM", "deepseek_v2", seed=18, q_lora_rank=None, n_routed_experts=4, n_shared_experts=2, num_experts_per_tok=2,
        norm_topk_prob=False, scoring_func="softmax", routed_scaling_factor=1.0, topk_method="greedy", n_group=1, topk_group=1,
        more={"peer_hparams": {"q_lora_rank": 0}}),
    "deepseek3": deepseek(
        "DeepseekV3ForCausalLM", "deepseek_v3", seed=8, q_lora_rank=32, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
        norm_topk_prob=True, scoring_func="sigmoid", routed_scaling_factor=2.5, topk_method="noaux_tc", n_group=4, topk_group=2,
        yarn={"mscale": 1.0, "mscale_all_dim": 1.0}),
    "mistral-window": decoder(
        "MistralForCausalLM", "mistral", "chars", keep="gguf", sliding_window=32, more={"keys": {"sliding_window": 32}, "no_peer": True}),
    "qwen3-extreme": decoder(
        "Qwen3ForCausalLM", "qwen3", num_attention_heads=2, num_key_value_heads=1, head_dim=32, rope_theta=1000000.0, rms_norm_eps=1e-6,
        attention_bias=False, tie_word_embeddings=False,
        more={"scale": {"embed_tokens": (0, 1e4), "q_norm": (50, 5), "k_norm": (50, 5), "input_layernorm": (50, 10),
                        "post_attention_layernorm": (50, 10), "o_proj": (0, 8), "down_proj": (0, 0.5)}}),
    "gemma3-linear": decoder(
        "Gemma3ForCausalLM", "gemma3_text", "chars", num_hidden_layers=6, num_attention_heads=1, head_dim=32, intermediate_size=32,
        hidden_act=..., hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, query_pre_attn_scalar=32, rope_theta=1000000.0,
        rope_local_base_freq=10000.0, rope_scaling={"factor": 8.0, "rope_type": "linear"}, sliding_window=32, sliding_window_pattern=6,
        bos_token_id=2, eos_token_id=1, attention_bias=False, torch_dtype="bfloat16", # F16: the converter would add 1 to norms in F16
        more={"norm_from_zero": True}),
    "phi3-longrope-long": decoder( # its first case is longer than the original context already: no short factors anywhere
        "Phi3ForCausalLM", "phi3", "chars", tie_word_embeddings=False, num_key_value_heads=2, pad_token_id=0,
        original_max_position_embeddings=32,
        rope_scaling={"type": "longrope", "short_factor": [1.0 + 0.01 * i for i in range(16)],
                      "long_factor": [1.0 + 0.35 * i for i in range(16)]},
        more={"cases": (("rand60", 60), ("rand40", 40), ("rand110", 110)), "golden": {"options": ["--context", "256"]}}),
    "stablelm-parallel": decoder(
        "StableLmForCausalLM", "stablelm", layer_norm_eps=1e-5, rms_norm_eps=..., use_parallel_residual=True, qk_layernorm=True,
        use_qkv_bias=False, partial_rotary_factor=0.5, tie_word_embeddings=False),
    "gptneox-sequential": decoder(
        "GPTNeoXForCausalLM", "gpt_neox", use_parallel_residual=False, rotary_pct=0.25, rotary_emb_base=10000, rope_theta=...,
        layer_norm_eps=1e-5, rms_norm_eps=..., hidden_act="gelu", num_key_value_heads=..., tie_word_embeddings=False,
        more={"hparams": {"rotary_pct": 0.25}}),
    "starcoder2-window": decoder(
        "Starcoder2ForCausalLM", "starcoder2", hidden_act="gelu_pytorch_tanh", norm_epsilon=1e-5, rms_norm_eps=..., use_bias=True,
        norm_type="layer_norm", mlp_type="default", sliding_window=32, rope_theta=100000.0,
        more={"keys": {"sliding_window": 32}, "no_peer": True}),
    "llama-bias": decoder(
        "LlamaForCausalLM", "llama", "chars", keep="folder", num_attention_heads=4, num_key_value_heads=2, attention_bias=True,
        mlp_bias=True, more={"shard": "90KB"}),
    "olmo2-bf16": decoder(
        "Olmo2ForCausalLM", "olmo2", keep="folder", num_key_value_heads=2, attention_bias=False, rope_theta=500000.0,
        rms_norm_eps=1e-6, torch_dtype="bfloat16", tie_word_embeddings=False),
    "granite-moe": decoder(
        "GraniteMoeForCausalLM", "granitemoe", intermediate_size=32, num_local_experts=4, num_experts_per_tok=2, attention_bias=False,
        attention_multiplier=0.25, embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=2.0,
        more={"scale": {"embed_tokens": (0, 0.5)}}),
    "command-r-plus": decoder(
        "CohereForCausalLM", "cohere", logit_scale=0.0625, layer_norm_eps=1e-5, rms_norm_eps=..., use_qk_norm=True, attention_bias=False,
        rope_theta=75000000.0, more={"scale": {"embed_tokens": (0, 4)}, "no_peer": True}),
    "roberta": encoder(
        "RobertaModel", "roberta", "roberta", pooling="mean", num_hidden_layers=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        max_position_embeddings=116, type_vocab_size=1),
    "distilbert": encoder(
        "DistilBertModel", "distilbert", "words", pooling="cls", dim=64, hidden_dim=96, n_heads=2, n_layers=1, activation="gelu",
        sinusoidal_pos_embds=False, hidden_size=..., intermediate_size=..., num_attention_heads=..., num_hidden_layers=...,
        hidden_act=..., layer_norm_eps=..., type_vocab_size=...),
    "bert-pair": encoder(
        "BertForSequenceClassification", "bert", "words", pooling="rank", keep="folder", id2label={"0": "LABEL_0"},
        label2id={"LABEL_0": 0}, more={"kind": "rerank", "encode": pair, "keys": {"pooling_type": 4}, "rename": {
            "bert.pooler.dense": "classifier.dense", "classifier": "classifier.out_proj"}}),
    "modernbert": encoder(
        "ModernBertModel", "modernbert", "roberta", pooling="cls", keep="folder", hidden_act=..., hidden_activation="gelu",
        norm_eps=1e-5, layer_norm_eps=1e-5, global_attn_every_n_layers=3, num_hidden_layers=4, local_attention=16, type_vocab_size=...,
        global_rope_theta=160000.0, local_rope_theta=10000.0, intermediate_size=32, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        cls_token_id=0, sep_token_id=2, attention_bias=False, mlp_bias=False, norm_bias=False, embedding_dropout=0.0),
    "qwen3-reranker": decoder(
        "Qwen3ForCausalLM", "qwen3", "judge", keep="folder gguf", head_dim=32, rope_theta=1000000.0, rms_norm_eps=1e-6,
        attention_bias=False, more={"kind": "rerank", "encode": judge, "pooling": "rank"}),
    "mpnet": encoder(
        "MPNetModel", "mpnet", "mpnet", pooling="mean", keep="folder", pad_token_id=1, bos_token_id=0, eos_token_id=2,
        max_position_embeddings=116, type_vocab_size=..., relative_attention_num_buckets=32, layer_norm_eps=1e-5,
        more={"no_gguf": True}),
    "gte-new": encoder(
        "NewModel", "new", "words", pooling="cls", keep="folder", num_hidden_layers=1, layer_norm_type="layer_norm",
        pack_qkv=True, unpad_inputs=False, position_embedding_type="rope", rope_theta=500000.0, rope_scaling=None,
        use_memory_efficient_attention=False, logn_attention_clip1=False, logn_attention_scale=False,
        more={"no_gguf": True, "read_as": {"model_type": "gte", "architectures": ["GteModel"]}}),
    "bge-m3": encoder(
        "XLMRobertaModel", "xlm-roberta", "unigram", pooling="cls", keep="folder", num_hidden_layers=1, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, max_position_embeddings=116, type_vocab_size=1, layer_norm_eps=1e-5, more={"encode": three}),
    "nomic-moe": encoder(
        "NomicBertModel", "nomic_bert", "words", pooling="mean", keep="folder", n_embd=32, n_inner=32, n_head=2, n_layer=2,
        hidden_size=32, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2, # transformers 5 would make them up
        layer_norm_epsilon=1e-12, activation_function="gelu", n_positions=2048, max_trained_positions=2048, moe_every_n_layers=2,
        num_experts=4, moe_top_k=2, moe_normalize_expert_weights=False, rotary_emb_base=1000, rotary_emb_fraction=1.0,
        rotary_emb_interleaved=False, rotary_emb_scale_base=None, causal=False, prenorm=False, qkv_proj_bias=True, mlp_fc1_bias=True,
        mlp_fc2_bias=True, hidden_act=..., max_position_embeddings=..., layer_norm_eps=...,
        more={"module": own("NomicMoe"), "hparams": {"max_position_embeddings": 512}}),
    "jina-code": encoder(
        "JinaBertForMaskedLM", "bert", "words", pooling="mean", keep="folder", num_hidden_layers=1, position_embedding_type="alibi",
        feed_forward_type="geglu", emb_pooler="mean", hidden_size=32, intermediate_size=32,
        more={"module": own("JinaCode"), "no_peer": True}),
    "modernbert-pair": encoder(
        "ModernBertForSequenceClassification", "modernbert", "roberta", pooling="rank", keep="folder", hidden_act=...,
        hidden_activation="silu", norm_eps=1e-5, layer_norm_eps=1e-5, global_attn_every_n_layers=3, num_hidden_layers=2, local_attention=16,
        hidden_size=32, type_vocab_size=..., global_rope_theta=160000.0, local_rope_theta=10000.0, intermediate_size=32, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2, attention_bias=False, mlp_bias=False, norm_bias=False,
        embedding_dropout=0.0,
        classifier_pooling="mean", classifier_activation="gelu", classifier_bias=False, id2label={"0": "LABEL_0"},
        label2id={"LABEL_0": 0}, more={"kind": "rerank", "encode": pair}),
    "embeddinggemma": decoder(
        "Gemma3TextModel", "gemma3_text", "chars", keep="folder", hidden_size=32, num_attention_heads=2, head_dim=16,
        intermediate_size=32, hidden_act=..., hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, query_pre_attn_scalar=16,
        rope_theta=1000000.0, rope_local_base_freq=10000.0, sliding_window=32, attention_bias=False,
        layer_types=["sliding_attention", "sliding_attention"], use_bidirectional_attention=True, torch_dtype="bfloat16",
        more={"norm_from_zero": True, "kind": "embedding", "pooling": "mean", "encode": behind, "no_peer": True, "files": {
            "modules.json": [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                             for i, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"),
                                                               ("3_Dense", "Dense"), ("4_Normalize", "Normalize")))],
            "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
            **{name + "/config.json": {"in_features": n_in, "out_features": n_out, "bias": False,
                                       "activation_function": "torch.nn.modules.linear.Identity"} for name, n_out, n_in in DENSE}}}),
    "cohere2": small(
        "Cohere2ForCausalLM", "cohere2", num_hidden_layers=4, logit_scale=0.25, layer_norm_eps=1e-5, rms_norm_eps=..., sliding_window=32,
        attention_bias=False, rope_theta=50000.0, rotary_pct=1.0, more={"scale": {"embed_tokens": (0, 1)}}),
    "mpt": small(
        "MptForCausalLM", "mpt", d_model=32, n_heads=2, n_layers=2, max_seq_len=256, expansion_ratio=4, no_bias=True,
        attn_config={"alibi": True, "alibi_bias_max": 8, "attn_type": "multihead_attention", "clip_qkv": None}, hidden_size=...,
        intermediate_size=..., num_hidden_layers=..., num_attention_heads=..., num_key_value_heads=..., hidden_act=...,
        max_position_embeddings=..., rms_norm_eps=..., rope_theta=...,
        more={"published": {"architectures": ["MPTForCausalLM"]}}),
    "bloom": small(
        "BloomForCausalLM", "bloom", n_head=3, n_layer=1, hidden_size=48, seq_length=256, layer_norm_epsilon=1e-5,
        apply_residual_connection_post_layernorm=False, intermediate_size=..., num_hidden_layers=..., num_attention_heads=...,
        num_key_value_heads=..., hidden_act=..., max_position_embeddings=..., rms_norm_eps=..., rope_theta=...),
    "starcoder": small(
        "GPTBigCodeForCausalLM", "gpt_bigcode", n_embd=32, n_head=2, n_layer=1, n_positions=256, n_inner=128, layer_norm_epsilon=1e-5,
        multi_query=True, activation_function="gelu_pytorch_tanh", hidden_size=..., intermediate_size=..., num_hidden_layers=...,
        num_attention_heads=..., num_key_value_heads=..., hidden_act=..., max_position_embeddings=..., rms_norm_eps=..., rope_theta=...),
    "olmo": small("OlmoForCausalLM", "olmo", clip_qkv=None, rms_norm_eps=..., attention_bias=False),
    "olmoe": small(
        "OlmoeForCausalLM", "olmoe", seed=19, num_hidden_layers=1, num_key_value_heads=2, num_experts=4, num_experts_per_tok=2,
        norm_topk_prob=False, clip_qkv=None, attention_bias=False, tie_word_embeddings=False),
    "seed-oss": small(
        "SeedOssForCausalLM", "seed_oss", head_dim=16, attention_bias=True, attention_out_bias=False, mlp_bias=False),
    "glm4": small("Glm4ForCausalLM", "glm4", head_dim=16, partial_rotary_factor=0.5, attention_bias=True, pad_token_id=2),
    "exaone": small(
        "ExaoneForCausalLM", "exaone", layer_norm_epsilon=1e-5, num_layers=2, activation_function="silu", hidden_act=...,
        num_hidden_layers=..., head_dim=16,
        more={"read_as": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_act": "silu"},
              "saved": (("model.layers", "transformer.h"), ("model.embed_tokens", "transformer.wte"), ("model.norm", "transformer.ln_f"),
                        ("input_layernorm", "ln_1"), ("post_attention_layernorm", "ln_2"), ("self_attn.o_proj", "self_attn.out_proj"),
                        ("self_attn", "attn.attention"), ("gate_proj", "c_fc_0"), ("up_proj", "c_fc_1"), ("down_proj", "c_proj"))}),
    "gte-qwen2": small(
        "Qwen2ForCausalLM", "qwen2", keep="folder", num_hidden_layers=1, is_causal=False,
        more={**last(True), "read_as": {"architectures": ["Qwen2Model"]}, "no_gguf": True}),
    "e5-mistral": small("MistralModel", "mistral", "chars", keep="folder", num_hidden_layers=1, sliding_window=None,
                        more={**last(False), "no_gguf": True}),
}
