#!/usr/bin/env python3
"""Writes tests/hf_tokenizers, small Hugging Face tokenizer folders and the ids that those libraries give, and seeds of a fuzzer.

    tools/make_hf_tokenizers.py        in the project's root; needs PyPI's tokenizers, transformers, sentencepiece

Every folder has the layout and the settings of a well-known family; vocabularies are trained on the text of
make_vocab_fixtures.py. golden.json of a folder: "ids" for every string of strings.json, with what the tokenizer puts around
them and with special tokens found in them; "plain", without what is put around, for the first few. What bodkin, and the format,
are known to take otherwise stands in KNOWN and is null there. Nothing here looks at bodkin. SPDX-License-Identifier: MIT
"""
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import import_protobuf

OUT = "tests/hf_tokenizers"
SEEDS = "tests/corpus/hf_tokenizer"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
NOT = r"[^\r\n\p{L}\p{N}]?"
CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = NOT + UPPER + "*" + LOWER + "+" + SHORT + "?|" + NOT + UPPER + "+" + LOWER + "*" + SHORT + r"?|\p{N}{1,3}" + CASED_REST
TEKKEN = NOT + UPPER + "*" + LOWER + "+|" + NOT + UPPER + "+" + LOWER + r"*|\p{N}" + CASED_REST
QWEN35 = (SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
             "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
             "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"]

exec(re.search(r'^TEXT = """.*?^"""', open("tools/make_vocab_fixtures.py").read(), re.S | re.M).group(0))

STRINGS = ["", " ", "  ", "a", " a", "a ", "Hello world", " Hello  world ", "Hello, world!", "It doesn't, we'd, I'LL, they'RE, I'Ve",
           "\n", "\n\n\n", "a\n\nb", "a\r\nb\r\n", "\t\tx", "x = 12345678;", "3.14159", "1 22 333 4444 55555", "    for (int i = 0; i < n; i++)",
           "a    b", "trailing   ", "   leading", "\r\n\r\n x", " \n \n", "über große Straße", "École ÉCOLE éCole", "naïve café",
           "Стрела пролетела её", "小さな矢が飛んだ。", "箭头飞过了河流。", "我想在apple工作1314151天～", "작은 화살이 강 위로", "한글", "तीर नदी के ऊपर",
           "السهم طار فوق", "שלום עולם", "ไทย ภาษา", "កាន់តែពិសេស", "🙂🙂 🏹", "👩‍👩‍👧‍👦 👍🏽", "🚀 (normal) 😶‍🌫️ ✅ 🦙🦙", "!!!???...", "<>[]{}|~^`$+=",
           "a_b-c.d/e\\f", "http://example.com/a?b=c&d=1#e", "user@mail.org", "$1,000.00 + 5%", "\u3000全角\u3000スペース", "x\u00a0y\u2003z",
           "½ ² ٣ Ⅷ 一二三", "zero\u200bwidth\u200djoiner", "fin.\n\n  \n  next", "'s 't 'x ''", "the the the the", "bodkinbodkinbodkin",
           "def f(x):\n\treturn x + 1\n", "{\"a\": [1, 2.5, null]}", "<html><b>x</b></html>", "CamelCaseWord snake_case_word", "ALLCAPS MiXeD",
           "x" * 40, "ab" * 30, " " * 33, "\n" * 9, "-" * 25, "1" * 17, "é" * 12, "漢" * 11, "ﬁﬂ ﬃ", "①②③ ㍿ ㎏", "ＡＢＣ１２３", "ΣΑΣ ς", "İstanbul ıI",
           "œŒæÆ", "Ǆ ǅ ǆ", "ʰʱ ªº", "ⅷ", "कि खी", "แม่น้ำ", "\u202eabc\u202c", "a\u00adb", "\ufeffbom", "tab\tand\x0bvt\x0cff", "\x85nel\u2028ls",
           "no\u2060break", "e\u0301 a\u0308 o\u0302", "\u0301alone", "각", "\u1112\u1161\u11ab", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈𐍉", "🇩🇪🇫🇷", "†‡•…‰", "«quoted» „so“ ‚or‘",
           "3½ x² 10⁻³", "c'est l'été", "O'Neill's", "rock'n'roll", "you'll'd", "'Tis 'TWAS", "don’t", "it'ſ 'K I'ſt", "a,b;c:d", "(a)[b]{c}", "--flag=--", "...a...b",
           "#hashtag @mention", "C++ C# F#", "1e10 0xFF 1_000", "12:34:56 2024-01-31", "+49 (0)30 1234567", "a\tb\tc", "  a  b  c  ", "\na\n b\n  c\n",
           "mixed 中文 and English 한국어 و عربي", "Τὸ βέλος πέταξε", "ß ẞ ſ", "<s> </s> <unk>", "[CLS] [SEP] [MASK] x", "<|endoftext|>", "<mask> a <mask>",
           "a<|im_start|>b<|im_end|>\n", "<|begin_of_text|>x<|eot_id|>", "<0x0A>", "▁", "▁a b▁c", "##ing", "Ġ Ċ", "<tool>x</tool>", "a<tool> b"]


def more(n, seed=5):
    rng = random.Random(seed)
    words = TEXT.split()
    marks = ["  ", " ", "\n", "\t", "...", ", ", "'s", "12", "漢", "é", "e\u0301", "🙂", "\r\n", "<", "  \n ", "Ж", "한"]
    return ["".join(rng.choice(words) if rng.random() < .6 else rng.choice(marks) for _ in range(rng.randint(2, 9))) for _ in range(n)]


STRINGS += more(30)
PLAIN = STRINGS[:12]

# Strings (by a pattern) that bodkin, like the format and its other readers, takes otherwise: why. Not in golden.json of that folder.
NFC = "no key says that a text is to be composed first"
ALONE = "SentencePiece alone knows no special tokens in a text; transformers does"
MARK = "U+2581 in a text is a space to the libraries, each in its own way"
KNOWN = {"llama2-model": {"</s>": ALONE}, "t5": {"</s>": ALONE, "^▁": MARK}, "xlm-r-model": {"</s>|<mask>": ALONE, "^▁": MARK}, "xlm-r": {"^▁": MARK}}


def known(folder, text):
    if folder in ("qwen2", "qwen35") and unicodedata.normalize("NFC", text) != text:
        return NFC
    return any(re.search(pattern, text) for pattern in KNOWN.get(folder, {}))


def save(folder, files, encode, plain):
    path = os.path.join(OUT, folder)
    os.makedirs(path)
    for name, value in files.items():
        if not isinstance(value, bytes):
            value = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
        with open(os.path.join(path, name), "wb") as f:
            f.write(value)
    golden = {"ids": [None if known(folder, s) else encode(s) for s in STRINGS], "plain": [plain(s) for s in PLAIN]}
    with open(os.path.join(path, "golden.json"), "w") as f:
        f.write(json.dumps(golden, separators=(",", ":")) + "\n")


def save_fast(folder, tokenizer, config, more_files=None, edit=None):
    """A folder with tokenizer.json."""
    tree = json.loads(tokenizer.to_str())
    if edit:
        edit(tree)
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    again = Tokenizer.from_str(text)
    save(folder, {"tokenizer.json": text, "tokenizer_config.json": config, **(more_files or {})},
         lambda s: again.encode(s).ids, lambda s: again.encode(s, add_special_tokens=False).ids)


def special(*texts):
    return [AddedToken(t, special=True, normalized=False) for t in texts]


def byte_level(steps, size=700, normalizer=None, **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT.splitlines(True), trainers.BpeTrainer(vocab_size=size, show_progress=False,
                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def split(*regexes):
    return [pre_tokenizers.Split(Regex(r), "isolated") for r in regexes] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def template(tokenizer, single, pair, *names):
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=[(n, tokenizer.token_to_id(n)) for n in names])


def old_merges(tree):
    tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]


def make_bytes():
    t = byte_level(split(LLAMA3), ignore_merges=True)
    t.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|eot_id|>"))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                            template(t, "<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|> $B:1", "<|begin_of_text|>")])
    save_fast("llama3", t, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "tokenizer_class": "PreTrainedTokenizerFast",
                            "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"},
              {"generation_config.json": {"eos_token_id": [t.token_to_id("<|end_of_text|>"), t.token_to_id("<|eot_id|>")]}}, old_merges)

    t = byte_level(split(QWEN2), normalizer=normalizers.NFC())
    t.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False)])
    t.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    save_fast("qwen2", t, {"bos_token": None, "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "add_bos_token": False,
                           "tokenizer_class": "Qwen2Tokenizer"},
              {"config.json": {"vocab_size": 768}, "chat_template.jinja": "{% for m in messages %}<|im_start|>{{ m.role }}{% endfor %}\n"})

    t = byte_level([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_special_tokens(special("<|endoftext|>"))
    tree = json.loads(t.to_str())
    vocab = dict(sorted(t.get_vocab().items(), key=lambda x: x[1]))
    merges = "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in tree["model"]["merges"])
    save("gpt2", {"vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"},
                  "special_tokens_map.json": {n + "_token": "<|endoftext|>" for n in ("bos", "eos", "unk")}},
         lambda s: t.encode(s).ids, lambda s: t.encode(s, add_special_tokens=False).ids)

    t = byte_level(split(CL100K))
    t.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    save_fast("cl100k", t, {"eos_token": "<|im_end|>", "chat_template": [{"name": "default", "template": "a"}, {"name": "tool-use", "template": "b"}]})

    t = byte_level(split(O200K))
    t.add_special_tokens(special("<|endoftext|>"))
    save_fast("o200k", t, {"eos_token": "<|endoftext|>"})

    t = byte_level(split(TEKKEN), ignore_merges=True)
    t.add_special_tokens(special("<unk>", "<s>", "</s>", "[INST]", "[/INST]"))
    t.post_processor = template(t, "<s> $A", "<s> $A <s> $B", "<s>")
    save_fast("tekken", t, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, None, old_merges)

    t = byte_level(split(QWEN35), normalizer=normalizers.NFC())
    t.add_special_tokens(special("<|endoftext|>"))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(t, "$A <|endoftext|>", "$A $B", "<|endoftext|>")])
    save_fast("qwen35", t, {"eos_token": "<|endoftext|>"})

    t = byte_level(split(*DEEPSEEK3))
    t.add_special_tokens(special("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"))
    t.add_tokens([AddedToken("<｜User｜>", normalized=False), AddedToken("<tool>", normalized=False)])
    t.post_processor = template(t, "<｜begin▁of▁sentence｜> $A", "<｜begin▁of▁sentence｜> $A $B", "<｜begin▁of▁sentence｜>")
    save_fast("deepseek3", t, {"bos_token": {"content": "<｜begin▁of▁sentence｜>"}, "eos_token": {"content": "<｜end▁of▁sentence｜>"}})

    coder = split(*DEEPSEEK_CODER)
    t = byte_level(coder[:-1] + [pre_tokenizers.Digits(individual_digits=True), coder[-1]])
    t.add_special_tokens(special("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"))
    t.post_processor = template(t, "<｜begin▁of▁sentence｜> $A", "<｜begin▁of▁sentence｜> $A $B", "<｜begin▁of▁sentence｜>")
    save_fast("deepseek-coder", t, {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>", "add_bos_token": True})

    t = byte_level([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_special_tokens(special("<|endoftext|>"))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    save_fast("starcoder", t, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"})

    t = byte_level([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(False),
                    pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    t.add_special_tokens(special("<|endoftext|>"))
    save_fast("falcon", t, {"eos_token": "<|endoftext|>"})

    t = byte_level(split(" ?[^(\\s|[.,!?…。，、।۔،])]+"))
    t.add_special_tokens(special("<unk>", "<s>", "</s>", "<pad>"))
    save_fast("bloom", t, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})

    t = byte_level([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_special_tokens(special("<s>", "<pad>", "</s>", "<unk>") + [AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")), add_prefix_space=False)
    save_fast("roberta", t, {"tokenizer_class": "RobertaTokenizer", "mask_token": "<mask>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>",
                             "sep_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})


def sentencepieces(kind, size, **more_options):
    out = io.BytesIO()
    options = dict(byte_fallback=kind == "bpe", character_coverage=.995, max_sentence_length=10000, minloglevel=2, hard_vocab_limit=False)
    options.update(more_options)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT.splitlines()), model_writer=out, vocab_size=size, model_type=kind, **options)
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(out.getvalue())
    proto.normalizer_spec.normalization_rule_tsv = ""  # the name of a file that is gone
    return proto.SerializeToString()


def all_merges(sp):
    """As every converter makes them of a SentencePiece model: all cuts of a piece in two, the best piece first."""
    vocab = {sp.id_to_piece(i): i for i in range(len(sp))}
    merges = []
    for piece, i in vocab.items():
        local = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab]
        merges += [(sp.get_score(i), vocab[a], vocab[b], a, b) for a, b in local]
    return vocab, [(a, b) for s, x, y, a, b in sorted(merges, key=lambda m: (-m[0], m[1], m[2]))]


def make_spm():
    raw = sentencepieces("bpe", 800, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
                         allow_whitespace_only_pieces=True)
    sp = sentencepiece.SentencePieceProcessor(model_proto=raw)
    vocab, merges = all_merges(sp)
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True,
              "add_eos_token": False}
    save("llama2-model", {"tokenizer.model": raw, "tokenizer_config.json": config}, lambda s: [1] + sp.encode(s), sp.encode)

    def fast(prefix, specials):
        t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        steps = [normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")]
        t.normalizer = normalizers.Sequence(steps) if prefix else steps[0]
        if not prefix:
            t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        t.add_special_tokens(special(*specials))
        t.post_processor = template(t, "<s> $A", "<s> $A <s> $B:1", "<s>")
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        return t

    save_fast("llama2-json", fast(True, ("<unk>", "<s>", "</s>")), config, None, old_merges)

    def gaps(tree):  # as some old converters left them: a piece in ten is made by no merge, and others in another order
        tree["model"]["merges"] = [m for m in tree["model"]["merges"] if vocab["".join(m)] % 10][::-1]

    save_fast("llama2-gaps", fast(True, ("<unk>", "<s>", "</s>")), config, None, gaps)
    t = fast(False, ("<unk>", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>"))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    save_fast("gemma", t, {**config, "tokenizer_class": "GemmaTokenizer"}, {"tokenizer.model": raw, "generation_config.json": {"eos_token_id": [2, 803]}})

    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    t.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(vocab_size=700, show_progress=False, special_tokens=special("<unk>", "<s>", "</s>"),
                          limit_alphabet=90))
    tree = json.loads(t.to_str())
    for b in range(256):
        tree["model"]["vocab"]["<0x%02X>" % b] = len(tree["model"]["vocab"])
    tree["pre_tokenizer"] = None
    save_fast("chars", Tokenizer.from_str(json.dumps(tree)), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


def rules(path):
    """What nmt_nfkc does to the characters of the strings, as rules: all of it would be 240 kB in every folder."""
    found = {}
    for text in STRINGS + [TEXT]:
        for form in ("NFC", "NFD"):
            for part in re.findall(r"[^\u0300-\u036f\u1160-\u11ff][\u0300-\u036f\u1160-\u11ff]*|[\u0300-\u036f]", unicodedata.normalize(form, text), re.S):
                for piece in (part, part[0]):
                    to = " " if piece.isspace() or piece in "\u200b\u2060\ufeff" else unicodedata.normalize("NFKC", piece)
                    if to != piece:
                        found[piece] = to
    with open(path, "w") as f:
        for piece, to in sorted(found.items()):
            f.write(" ".join("%X" % ord(c) for c in piece) + "\t" + " ".join("%X" % ord(c) for c in to) + "\n")


def make_unigram():
    folder = tempfile.mkdtemp()
    rules(folder + "/rules.tsv")
    ruled = {"normalization_rule_tsv": folder + "/rules.tsv"}
    raw = sentencepieces("unigram", 420, **ruled)
    sp = sentencepiece.SentencePieceProcessor(model_proto=raw)
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(len(sp))]
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(raw)
    charsmap = proto.normalizer_spec.precompiled_charsmap

    vocab = [("<s>", 0.), ("<pad>", 0.), ("</s>", 0.), ("<unk>", 0.)] + pieces[3:] + [("<mask>", 0.)]
    t = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.add_special_tokens(special("<s>", "<pad>", "</s>", "<unk>") + [AddedToken("<mask>", lstrip=True, special=True)])
    t.post_processor = template(t, "<s> $A </s>", "<s> $A </s> </s> $B </s>", "<s>", "</s>")
    config = {"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
              "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    save_fast("xlm-r", t, config, {"config.json": {"vocab_size": len(vocab), "type_vocab_size": 1}})
    plain = lambda s: [i + 1 if i else 3 for i in sp.encode(s)]
    save("xlm-r-model", {"sentencepiece.bpe.model": raw, "tokenizer_config.json": config}, lambda s: [0] + plain(s) + [2], plain)

    raw = sentencepieces("unigram", 400, **ruled, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    sp = sentencepiece.SentencePieceProcessor(model_proto=raw)
    save("t5", {"spiece.model": raw, "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>",
                                                              "pad_token": "<pad>"}}, lambda s: sp.encode(s) + [1], sp.encode)
    shutil.rmtree(folder)


def make_wordpiece():
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for lowercase in (True, False):
        t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.train_from_iterator(TEXT.splitlines(), trainers.WordPieceTrainer(vocab_size=600, special_tokens=special(*names), show_progress=False))
        t.post_processor = template(t, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", "[CLS]", "[SEP]")
        t.decoder = decoders.WordPiece()
        config = {n + "_token": "[%s]" % n.upper() for n in ("pad", "unk", "cls", "sep", "mask")}
        if lowercase:
            save_fast("bert", t, {**config, "do_lower_case": True, "tokenizer_class": "BertTokenizer"}, {"config.json": {"vocab_size": 608, "type_vocab_size": 2}})
        else:
            words = "".join(w + "\n" for w, i in sorted(t.get_vocab().items(), key=lambda x: x[1]))
            save("bert-cased", {"vocab.txt": words, "tokenizer_config.json": {"do_lower_case": False}},
                 lambda s: t.encode(s).ids, lambda s: t.encode(s, add_special_tokens=False).ids)


FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json", "generation_config.json",
         "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja",
         "chat_template.json"]  # as in tests/fuzz_hf_tokenizer.c


def make_seeds():
    """Folders as one file each, cut down, for the fuzzer."""
    shutil.rmtree(SEEDS, ignore_errors=True)
    os.makedirs(SEEDS)
    for folder in ("llama3", "qwen2", "gpt2", "roberta", "llama2-json", "llama2-model", "gemma", "chars", "xlm-r", "xlm-r-model", "bert", "bert-cased"):
        seed = b""
        for name in sorted(os.listdir(os.path.join(OUT, folder))):
            if name not in FILES:
                continue
            raw = open(os.path.join(OUT, folder, name), "rb").read()
            if name == "tokenizer.json":
                tree = json.loads(raw)
                model = tree["model"]
                keep = 40 if folder in ("gemma", "llama2-json", "chars") else 20
                if isinstance(model["vocab"], list):
                    model["vocab"] = model["vocab"][:keep]
                    tree["normalizer"]["normalizers"][0]["precompiled_charsmap"] = tree["normalizer"]["normalizers"][0]["precompiled_charsmap"][:60]
                else:
                    model["vocab"] = {k: i for k, i in model["vocab"].items() if i % 20 == 0 or i < keep}
                    model.get("merges", [])[12:] = []
                raw = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
            elif name in ("vocab.txt", "merges.txt"):
                raw = b"".join(raw.splitlines(True)[:30])
            elif name == "vocab.json":
                raw = json.dumps(dict(list(json.loads(raw).items())[:30])).encode()
            elif name.endswith(".model"):
                raw = raw[:600] + raw[-400:]
            seed += bytes([FILES.index(name)]) + len(raw).to_bytes(2, "little") + raw
        with open(os.path.join(SEEDS, folder), "wb") as f:
            f.write(seed)


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    make_bytes()
    make_spm()
    make_unigram()
    make_wordpiece()
    make_seeds()
    with open(os.path.join(OUT, "strings.json"), "w") as f:
        json.dump(STRINGS, f, ensure_ascii=True, indent=0)
        f.write("\n")
    sys.stdout.write("%d folders, %d strings\n" % (len(os.listdir(OUT)) - 1, len(STRINGS)))
