"""The families of tools/make_families.py: a config.json of each, in the form in which such models are published, and what is
special about it. SPDX-License-Identifier: MIT """
import io
import json

FIRST_TOKEN = {"bytes": 4, "chars": 3, "words": 5, "unigram": 4}   # the first id that is no special token
ENDS = {"words": (2, 3), "unigram": (0, 2), "bytes": (0, 1)}       # what stands at the two ends of a text of an encoder
TEXT = ("The quick brown fox jumps over the lazy dog. A bodkin is a small pointed tool for making holes in cloth or leather. "
        "Words of a text are counted, and what is counted is merged: the more often, the sooner. ")


# ---- tokenizers: as small as they can be ----

def bytes_tokenizer(config):
    """Byte-level BPE: <|begin|> <|end|> <|pad|> <|user|>, 256 bytes, and merges up to the size of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|user|>"]
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([TEXT], trainers.BpeTrainer(
        vocab_size=config["vocab_size"], special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": special[1], "pad_token": special[2],
             "add_bos_token": False, "clean_up_tokenization_spaces": False}
    return {"tokenizer.json": t.to_str().encode(), "tokenizer_config.json": json.dumps(about).encode()}


def sentencepiece(config, kind, **more):
    import sentencepiece as sp
    out = io.BytesIO()
    sp.SentencePieceTrainer.train(sentence_iterator=iter([TEXT] * 4), model_writer=out, model_type=kind, vocab_size=config["vocab_size"],
                                  hard_vocab_limit=False, minloglevel=2, num_threads=1, normalization_rule_name="identity", **more)
    return out.getvalue()


def chars_tokenizer(config):
    """SentencePiece BPE with bytes to fall back on."""
    return {"tokenizer.model": sentencepiece(config, "bpe", byte_fallback=True),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
                                                 "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}).encode()}


def unigram_tokenizer(config):
    return {"sentencepiece.bpe.model": sentencepiece(config, "unigram"),
            "tokenizer_config.json": json.dumps({"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
                                                 "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
                                                 "mask_token": "<mask>"}).encode()}


def words_tokenizer(config):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    words = sorted(set("".join(c if c.isalpha() else " " for c in TEXT.lower()).split()) - set(letters))
    vocab = (special + letters + ["##" + c for c in letters] + words + ["##" + w for w in words])[:config["vocab_size"]]
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.add_special_tokens(special)
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
             "cls_token": "[CLS]", "mask_token": "[MASK]"}
    return {"tokenizer.json": t.to_str().encode(), "tokenizer_config.json": json.dumps(about).encode(),
            "vocab.txt": "".join(w + "\n" for w in vocab).encode()}


def tokenizer(kind, config):
    return {"bytes": bytes_tokenizer, "chars": chars_tokenizer, "unigram": unigram_tokenizer, "words": words_tokenizer}[kind](config)


# ---- decoders ----

def decoder(cls, model_type, tokens="bytes", keep="gguf", seed=1, more=None, **config):
    c = {"architectures": [cls], "model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "vocab_size": 272 if tokens == "bytes" else 304, "tie_word_embeddings": True, "torch_dtype": "float16",
         "bos_token_id": 0 if tokens == "bytes" else 1, "eos_token_id": 1 if tokens == "bytes" else 2}
    c.update(config)
    c = {k: v for k, v in c.items() if v is not ...}
    return {"kind": "generation", "config": c, "tokenizer": tokens, "keep": keep, "seed": seed, **(more or {})}


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


ALL = {
    "qwen2moe": decoder(
        "Qwen2MoeForCausalLM", "qwen2_moe", keep="gguf folder", seed=10, num_key_value_heads=1, rope_theta=1000000.0, rms_norm_eps=1e-6,
        moe_intermediate_size=32, shared_expert_intermediate_size=64, num_experts=4, num_experts_per_tok=2, norm_topk_prob=False,
        decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False),
    "ernie4_5-moe": decoder(
        "Ernie4_5_MoeForCausalLM", "ernie4_5_moe", "chars", seed=8, num_attention_heads=4, num_key_value_heads=2, rope_theta=500000.0,
        intermediate_size=64, moe_intermediate_size=32, moe_num_experts=6, moe_k=2, moe_num_shared_experts=1, moe_layer_start_index=1,
        moe_layer_end_index=1, moe_layer_interval=1, use_bias=False),
    "command-r": decoder(
        "CohereForCausalLM", "cohere", logit_scale=0.0625, layer_norm_eps=1e-5, rms_norm_eps=..., use_qk_norm=False, attention_bias=False,
        rope_theta=8000000.0, more={"scale": {"embed_tokens": (0, 4)}}),
    "falcon-7b": falcon(multi_query=True, new_decoder_architecture=False, more={"hparams": {"num_kv_heads": 1}}),
    "falcon-40b": falcon(multi_query=True, new_decoder_architecture=True, num_attention_heads=4, num_kv_heads=2),
    "deepseek2-lite": deepseek(
        "DeepseekV2ForCausalLM", "deepseek_v2", q_lora_rank=None, n_routed_experts=4, n_shared_experts=2, num_experts_per_tok=2,
        norm_topk_prob=False, scoring_func="softmax", routed_scaling_factor=1.0, topk_method="greedy", n_group=1, topk_group=1,
        more={"peer_hparams": {"q_lora_rank": 0}}),
    "deepseek3": deepseek(
        "DeepseekV3ForCausalLM", "deepseek_v3", seed=5, q_lora_rank=32, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
        norm_topk_prob=True, scoring_func="sigmoid", routed_scaling_factor=2.5, topk_method="noaux_tc", n_group=4, topk_group=2,
        yarn={"mscale": 1.0, "mscale_all_dim": 1.0}),
    "mistral-window": decoder(
        "MistralForCausalLM", "mistral", "chars", keep="gguf folder", sliding_window=32, more={"keys": {"sliding_window": 32}, "no_peer": True}),
    "qwen3-extreme": decoder(
        "Qwen3ForCausalLM", "qwen3", num_attention_heads=2, num_key_value_heads=1, head_dim=32, rope_theta=1000000.0, rms_norm_eps=1e-6,
        attention_bias=False, tie_word_embeddings=False,
        more={"scale": {"embed_tokens": (0, 1e4), "q_norm": (50, 5), "k_norm": (50, 5), "input_layernorm": (50, 10),
                        "post_attention_layernorm": (50, 10), "o_proj": (0, 8), "down_proj": (0, 0.5)}}),
}
