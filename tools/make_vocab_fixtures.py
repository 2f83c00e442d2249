#!/usr/bin/env python3
"""Writes the vocabularies and golden ids of tests/check_token.c: tests/golden/vocab-*.gguf and tests/golden/token.h.

usage: tools/make_vocab_fixtures.py        (in the project's root; needs PyPI's tokenizers, sentencepiece, regex)

Small vocabularies are trained on the text below; the ids of hard and of random strings come from those libraries, the
cuts of the pre-tokenizers from the regular expressions of the models themselves. Nothing here looks at bodkin.
"""
import collections, io, json, os, random, struct

import regex
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = "tests/golden/"
TEXT = """A bodkin is a small pointed tool. It makes holes in cloth and leather, and once it was the head of an arrow that
went through plate. The tool in this repository reads a file, turns text into numbers and numbers into text.
It doesn't need the network, it doesn't write anywhere, and it won't talk unless it is asked; that's what we'd like.
In 2024 there were 365 + 1 days, 12 months, 52 weeks and 1,000,000 reasons to count them again. 3.14159 is not 22/7.
    for (int i = 0; i < count; i++) { total += values[i] * weights[i]; }
    if (total != 0) return total / count;   // never divides by zero
	def reader(path):
	    with open(path) as handle:
	        return handle.read()
Der kleine Pfeil flog über die große Straße, während die Vögel schliefen. Où était la flèche? Là-bas, près du château.
El niño corrió hacia la montaña. Стрела пролетела над рекой, и никто не услышал её. Τὸ βέλος πέταξε πάνω από τὸ ποτάμι.
小さな矢が川の上を飛んだ。箭头飞过了河流。작은 화살이 강 위로 날아갔다. तीर नदी के ऊपर से उड़ गया। السهم طار فوق النهر.
She said: "Yes!" and he said: "No..." and they're both right; I've seen it, you'll see it, we're done, I'm sure.
"""
HARD = ["", " ", "  ", "a", " a", "a ", "Hello world", " Hello  world ", "It doesn't, we'd, I'LL, they'RE", "\n", "\n\n\n", "a\n\nb",
        "\t\tx", "x = 12345678;", "3.14159", "    for (int i", "a    b", "trailing   ", "\r\n\r\n x", "über große Straße", "École ÉCOLE éCole",
        "Стрела её", "小さな矢が飛んだ。", "작은 화살", "तीर नदी", "السهم طار", "🙂🙂 🏹", "e\u0301a\u0308o\u0302", "ǅ ſ İ ß ΣΑΣ",
        "!!!???...", "<>[]{}|~^`$+=", "a_b-c.d/e\\f", "\u3000全角　スペース", "x\u00a0y\u2003z", "½ ² ٣ Ⅷ 一二三", "zero\u200bwidth\u200djoiner",
        "fin.\n\n  \n  next", "'s 't 'x ''", "the the the the", "bodkinbodkinbodkin"]
ALPHABET = list("aaabcdeehilnorstuABCDEIS''..,!?-_/$+=<>~|[]{}0123456789   \n\n\t\r") + list(
    "éÉßœñÀǅʰªжЖёЁΣσά漢字かなカ한글ﬁ\u0301\u0308\u0903\u0e31ก٣½²Ⅷ।。，「“”…€™🙂🏹\u200d\u200b\u00a0\u3000\u2028ſK") + ["ll", "'s", "'RE", "123", "  ", "    "]


def random_strings(seed, n, most):
    rng = random.Random(seed)
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, most))) for _ in range(n)]


# ---- writing ----

def gguf(path, pairs):
    out = io.BytesIO()
    text = lambda s: struct.pack("<Q", len(s)) + s
    kinds = {"u8": (0, "B"), "i32": (5, "i"), "u32": (4, "I"), "f32": (6, "f"), "bool": (7, "?")}
    out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
    for key, kind, value in pairs:
        out.write(text(key.encode()))
        if kind == "str":
            out.write(struct.pack("<I", 8) + text(value.encode()))
        elif kind == "strs":
            out.write(struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(v if isinstance(v, bytes) else v.encode()) for v in value))
        elif kind.endswith("s"):
            number, code = kinds[kind[:-1]]
            out.write(struct.pack("<IIQ", 9, number, len(value)) + struct.pack("<%d%s" % (len(value), code), *value))
        else:
            number, code = kinds[kind]
            out.write(struct.pack("<I", number) + struct.pack("<" + code, value))
    open(path, "wb").write(out.getvalue())


def key(name, kind, value): return ("tokenizer.ggml." + name, kind, value)


def literal(data, width=100):
    """Bytes as C string literals; octal, so that no digit behind joins an escape."""
    parts, line = [], ""
    for b in data:
        c = chr(b)
        piece = c if 32 <= b < 127 and c not in '"\\?' else "\\%03o" % b
        if len(line) + len(piece) > width:
            parts.append(line)
            line = ""
        line += piece
    parts.append(line)
    return " ".join('"%s"' % p for p in parts)


GOLDEN = []


def golden(vocab, strings, encode):
    for s in strings:
        GOLDEN.append((vocab, s.encode(), encode(s)))


# ---- the vocabularies ----

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def bytes_vocab():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=640, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    n = t.get_vocab_size()
    model = json.loads(t.to_str())["model"]
    tokens = [k for k, _ in sorted(model["vocab"].items(), key=lambda kv: kv[1])]
    merges = [" ".join(m) if not isinstance(m, str) else m for m in model["merges"]]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    user = ["<tool>", "    ", "  ", "@@"]
    gguf(OUT + "vocab-bytes.gguf", [
        ("general.architecture", "str", "fixture"), key("model", "str", "gpt2"), key("pre", "str", "qwen2"),
        key("tokens", "strs", tokens + special + user), key("token_type", "i32s", [1] * n + [3] * len(special) + [4] * len(user)),
        key("merges", "strs", merges), key("bos_token_id", "u32", n), key("eos_token_id", "u32", n), key("padding_token_id", "u32", 0xFFFFFFFF)])
    strings = [s for s in HARD + random_strings(1, 60, 24) if "  " not in s and "@@" not in s]  # the user tokens are bodkin's own matter
    golden("vocab-bytes.gguf", strings, lambda s: t.encode(s).ids)


def chars_vocab():
    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "\u2581")
    t.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|[\n]+"), "isolated")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"] + ["<0x%02X>" % i for i in range(256)]
    latin = "".join(c for c in TEXT if c < "\u0250" and c != "\t")  # the rest falls back to bytes
    t.train_from_iterator([latin], trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    model = json.loads(t.to_str())["model"]
    tokens = [k for k, _ in sorted(model["vocab"].items(), key=lambda kv: kv[1])]
    merges = [" ".join(m) if not isinstance(m, str) else m for m in model["merges"]]
    n = len(tokens)
    gguf(OUT + "vocab-chars.gguf", [
        ("general.architecture", "str", "fixture"), key("model", "str", "gemma4"), key("tokens", "strs", tokens),
        key("token_type", "i32s", [3] * 4 + [6] * 256 + [1] * (n - 260)), key("merges", "strs", merges),
        key("bos_token_id", "u32", 2), key("eos_token_id", "u32", 1), key("unknown_token_id", "u32", 3), key("padding_token_id", "u32", 0)])
    plain = Tokenizer(models.BPE(vocab=model["vocab"], merges=[tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]],
                                 byte_fallback=True, unk_token="<unk>"))  # no added tokens: nothing special is found in text
    plain.normalizer, plain.pre_tokenizer = t.normalizer, t.pre_tokenizer
    golden("vocab-chars.gguf", [s for s in HARD + random_strings(2, 60, 24)], lambda s: plain.encode(s).ids)


def sentencepiece_model(**options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT.split("\n")), model_writer=out, minloglevel=2, num_threads=1, **options)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue()), out.getvalue()


def types_of(sp):
    return [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 5 if sp.is_unused(i) else 6 if sp.is_byte(i) else 1 for i in range(len(sp))]


def spm_vocab():
    sp, _ = sentencepiece_model(model_type="bpe", vocab_size=600, byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
                                remove_extra_whitespaces=False, add_dummy_prefix=True, split_digits=True, allow_whitespace_only_pieces=True)
    gguf(OUT + "vocab-spm.gguf", [
        ("general.architecture", "str", "fixture"), key("model", "str", "llama"), key("tokens", "strs", [sp.id_to_piece(i) for i in range(len(sp))]),
        key("scores", "f32s", [sp.get_score(i) for i in range(len(sp))]), key("token_type", "i32s", types_of(sp)),
        key("bos_token_id", "u32", 1), key("eos_token_id", "u32", 2), key("unknown_token_id", "u32", 0)])
    golden("vocab-spm.gguf", HARD + random_strings(3, 60, 24), lambda s: sp.encode(s))


def unigram_vocab():
    rules = "".join("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)) for a, b in [
        ("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "), ("\r", " "), ("ﬁ", "fi"), ("½", "1/2"), ("…", "..."), ("™", "TM"),
        ("e\u0301", "é"), ("\u200b", ""), ("²", "2"), ("Ⅷ", "VIII")])
    path = OUT + "rules.tsv"
    open(path, "w", encoding="utf-8").write(rules)
    try:
        sp, proto = sentencepiece_model(model_type="unigram", vocab_size=420, hard_vocab_limit=False, normalization_rule_tsv=path, add_dummy_prefix=True, remove_extra_whitespaces=True,
                                        character_coverage=0.98)
    finally:
        os.remove(path)
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    m.ParseFromString(proto)
    gguf(OUT + "vocab-unigram.gguf", [
        ("general.architecture", "str", "fixture"), key("model", "str", "t5"), key("tokens", "strs", [sp.id_to_piece(i) for i in range(len(sp))]),
        key("scores", "f32s", [sp.get_score(i) for i in range(len(sp))]), key("token_type", "i32s", types_of(sp)),
        key("precompiled_charsmap", "u8s", m.normalizer_spec.precompiled_charsmap), key("add_space_prefix", "bool", True),
        key("remove_extra_whitespaces", "bool", True), key("bos_token_id", "u32", 1), key("eos_token_id", "u32", 2), key("unknown_token_id", "u32", 0)])
    golden("vocab-unigram.gguf", HARD + random_strings(4, 60, 24), lambda s: sp.encode(s))


def wordpiece_vocab():
    text = normalizers.BertNormalizer(lowercase=True).normalize_str(TEXT)
    words = [w for w, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
    inside = [w[i:i + n] for w in words for n in (2, 3) for i in range(1, len(w) - n + 1)]
    often = lambda items, least: sorted(x for x, n in collections.Counter(items).items() if n >= least)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted({w[0] for w in words})
    vocab += ["##" + c for c in sorted({c for w in words for c in w[1:]})]
    vocab += [w for w in often(words, 2) if len(w) > 1] + ["##" + x for x in often(inside, 5)]
    written = [k if k.startswith("[") and k.endswith("]") and len(k) > 2 else k[2:] if k.startswith("##") and len(k) > 2 else "\u2581" + k for k in vocab]
    gguf(OUT + "vocab-wordpiece.gguf", [
        ("general.architecture", "str", "fixture"), key("model", "str", "bert"), key("tokens", "strs", written),
        key("token_type", "i32s", [3 if k.startswith("[") and len(k) > 2 else 1 for k in vocab]),
        key("unknown_token_id", "u32", vocab.index("[UNK]")), key("seperator_token_id", "u32", vocab.index("[SEP]")),
        key("padding_token_id", "u32", vocab.index("[PAD]")), key("cls_token_id", "u32", vocab.index("[CLS]")), key("mask_token_id", "u32", vocab.index("[MASK]"))])
    plain = Tokenizer(models.WordPiece(vocab={k: i for i, k in enumerate(vocab)}, unk_token="[UNK]"))
    plain.normalizer, plain.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    golden("vocab-wordpiece.gguf", HARD + random_strings(5, 80, 24) + ["x" * 100, "x" * 101, "각" * 33, "각" * 34], lambda s: plain.encode(s).ids)


# ---- cuts: each expression cuts the pieces of the one before ----

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
CASED_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CUTS = {
    "gpt-2": [GPT2],
    "llama-bpe": [QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")],
    "qwen2": [QWEN2],
    "qwen35": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "smollm": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
    # llama.cpp, whose cuts are the reference, keeps white space such as U+3000 out of the range of the fourth expression
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"(?:(?!\s)[一-龥ࠀ-一가-퟿])+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "tekken": [CASED % ("", "") + r"|\p{N}" + CASED_TAIL],
    "gpt-4o": [CASED % (CONTRACTION + "?", CONTRACTION + "?") + r"|\p{N}{1,3}" + CASED_TAIL],
    "seed-coder": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "ufakzeka": [QWEN2.split("|", 7)[7]],
    "minicpm5": [r"\p{N}{1,3}", QWEN2.replace(r"|\p{N}|", r"|\p{N}+|")],
    "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"],
    "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
}
DEEPSEEK = CUTS["deepseek-v3"]
AFMOE = "[" + "".join("%c-%c" % (a, b) for a, b in [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x8C48, 0xFAFF), (0x3040, 0x309F), (0x30A0, 0x30FF),
    (0xFF65, 0xFF9F), (0x2F00, 0x2FDF), (0xE40, 0xE7F), (0xE80, 0xEFF), (0x1780, 0x17FF), (0x1000, 0x109F), (0xAA60, 0xAA7F), (0xA9E0, 0xA9FF),
    (0xAC00, 0xD7AF), (0x1100, 0x11FF)]) + "]+"
HAN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]%s" + CONTRACTION + "?|"
# By the expressions' own engine (tokenizers): word borders, empty matches, intersections of sets.
ONIGURUMA = {
    "jais-2": [QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|").replace(r"\s+(?!\S)|\s+", "|".join(r"\s{%d}(?!\S)" % (1 << i) for i in range(9, 1, -1))
               + r"|\s{1,2}(?!\S)|\s{1}")],
    "spark2_5": [r"\p{N}{1,3}", DEEPSEEK[1], DEEPSEEK[2].replace(r"+[\r\n]*|\s*[\r\n]+|", r"+|[\r\n]|"), r"\p{N}"],
    "youtu": [r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
              CASED % (CONTRACTION + "?", CONTRACTION + "?") + r"|\p{N}" + CASED_TAIL],
    "chameleon": [r"<sentinel:[0-9]+>", r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "exaone-moe": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", CUTS["gpt-4o"][0]],
    "kimi-k2": [r"\p{Han}+|" + HAN % ("*", "+") + HAN % ("+", "*") + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "afmoe": [r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", AFMOE, DEEPSEEK[2]],
}
ODD = ["1234567 12345abc 12345_6 ½1234 12½345 ٣٤٥٦7", "<sentinel:12><sentinel:x>IMGIMGABZ IMGIMGABCDEZ", "one two three four/\n\nfive", "a b e\u0301 c/\r\n",
       "中文字ABC漢々〇⼀ a中b", "  中  ", "한국어ㄱㄴ……“引用”ㄅㄆ ab", "x" + " " * 37 + "y" + " " * 13, "\n" + " " * 9 + "\n\n" + " " * 6 + "z", "ไทยລາວ ภาษา 123ab"]


def cut(expressions, text):
    pieces = [text]
    for e in expressions:
        e, after = regex.compile(e), []
        for piece in pieces:
            at = 0
            for m in e.finditer(piece):
                after += [piece[at:m.start()], m.group()]
                at = m.end()
            after += [piece[at:]]
        pieces = [p for p in after if p]
    assert "".join(pieces) == text
    return [len(p.encode()) for p in pieces]


def cut_onig(expressions, text):
    t = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(e), "isolated") for e in expressions])
    pieces = [text[a:b] for _, (a, b) in t.pre_tokenize_str(text)]
    assert "".join(pieces) == text
    return [len(p.encode()) for p in pieces]


def main():
    for make in (bytes_vocab, chars_vocab, spm_vocab, unigram_vocab, wordpiece_vocab):
        make()
    with open(OUT + "token.h", "w", encoding="ascii") as f:
        print("/* golden/token.h -- written by tools/make_vocab_fixtures.py with the libraries tokenizers, sentencepiece and regex:", file=f)
        print(" * ids of texts, without special tokens, and how pre-tokenizers cut texts (bytes of each piece). */", file=f)
        print("static const struct { const char *vocab, *text; int len, n; int32_t ids[104]; } golden_ids[] = {", file=f)
        for vocab, text, ids in GOLDEN:
            assert len(ids) <= 104, len(ids)
            print('  {"%s", %s, %d, %d, {%s}},' % (vocab, literal(text), len(text), len(ids), ", ".join(map(str, ids)) or "0"), file=f)
        print("};\n\nstatic const struct { const char *pre, *text; int len, n; uint8_t cuts[64]; } golden_cuts[] = {", file=f)
        for i, (name, expressions) in enumerate(CUTS.items()):
            for s in [h for h in HARD if h] + random_strings(100 + i, 16, 30):
                lengths = cut(expressions, s)
                assert len(lengths) <= 64
                print('  {"%s", %s, %d, %d, {%s}},' % (name, literal(s.encode()), len(s.encode()), len(lengths), ", ".join(map(str, lengths))), file=f)
        for i, (name, expressions) in enumerate(ONIGURUMA.items()):
            for s in [h for h in HARD if h] + ODD + random_strings(200 + i, 16, 30):
                lengths = cut_onig(expressions, s)
                assert len(lengths) <= 64
                print('  {"%s", %s, %d, %d, {%s}},' % (name, literal(s.encode()), len(s.encode()), len(lengths), ", ".join(map(str, lengths))), file=f)
        print("};", file=f)


if __name__ == "__main__":
    main()
