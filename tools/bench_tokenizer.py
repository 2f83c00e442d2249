#!/usr/bin/env python3
"""Speed of the tokenizers, beside llama.cpp's on the same bytes, and whether time grows with the length and no faster.

usage: tools/bench_tokenizer.py [--llama LIBLLAMA.so] [--rounds R] [--text FILE] [--linear] [--lines] MODEL.gguf...

Of each model (a file with a vocabulary is enough): megabytes a second of ./bodkin on the text, and with --llama those of
llama.cpp in turn, medians of R rounds (default 5): processor time of the call that makes ids, and whether the ids agree.
The text is the reference of the language that CPython carries (English), unless --text names another. --lines: every line
on its own.
--linear: a megabyte and two of what is hard for tokenizers, the ratio of the times; exit 1 above 2.3.
SPDX-License-Identifier: MIT
"""
import argparse, ctypes, json, os, random, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEGABYTE, MOST = 1 << 20, 2.3


class Params(ctypes.Structure):  # llama_model_params; its defaults are checked below, as versions differ
    _fields_ = [("lists", ctypes.c_void_p * 2), ("numbers", ctypes.c_int32 * 5), ("pointers", ctypes.c_void_p * 4),
                ("flags", ctypes.c_bool * 6)]


class Llama:
    def __init__(self, path):
        self.lib = lib = ctypes.CDLL(path)
        self.log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        lib.llama_log_set(self.log, None)
        lib.llama_model_default_params.restype = Params
        lib.llama_model_load_from_file.argtypes, lib.llama_model_load_from_file.restype = [ctypes.c_char_p, Params], ctypes.c_void_p
        lib.llama_model_get_vocab.argtypes, lib.llama_model_get_vocab.restype = [ctypes.c_void_p], ctypes.c_void_p
        lib.llama_model_free.argtypes = [ctypes.c_void_p]
        lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32,
                                       ctypes.c_bool, ctypes.c_bool]

    def load(self, path):  # -> vocabulary, or None
        p = self.lib.llama_model_default_params()
        if list(p.flags)[:5] != [False, False, True, False, False]:
            sys.exit("not supported: the llama_model_params of this libllama")
        p.flags[0] = True  # vocab_only
        self.model = self.lib.llama_model_load_from_file(path.encode(), p)
        return self.lib.llama_model_get_vocab(self.model) if self.model else None

    def encode(self, vocab, texts):  # -> seconds, ids of all texts
        ids = (ctypes.c_int32 * (max(map(len, texts)) + 64))()
        seconds, out = 0, []
        for t in texts:
            start = time.thread_time()
            n = self.lib.llama_tokenize(vocab, t, len(t), ids, len(ids), True, False)
            seconds += time.thread_time() - start
            out += ids[:max(n, 0)]
        return seconds, out


def bodkin(model, path, lines, repeat=1):
    command = [os.path.join(ROOT, "bodkin"), "bench", "-m", model, "--test", "tokenize", "--json", "--repeat", str(repeat), path]
    p = subprocess.run(command + ["--lines"] * lines, capture_output=True, text=True)
    if p.returncode:
        sys.exit(p.stderr.strip())
    return json.loads(p.stdout)


def ids_of(model, path, lines):
    p = subprocess.run([os.path.join(ROOT, "bodkin"), "tokenize", "--add-special", "-m", model, path] + ["--lines"] * lines, check=True, capture_output=True)
    return [i for line in p.stdout.splitlines() for i in json.loads(line)]


def english():
    from pydoc_data import topics
    return "\n\n".join(topics.topics[k] for k in sorted(topics.topics)).encode()


def compare(models, text, path, args):
    llama = Llama(args.llama) if args.llama else None
    texts = [t for t in text.split(b"\n")] if args.lines else [text]
    if args.lines and texts[-1] == b"":
        texts.pop()
    print("%-40s %12s %12s %8s  ids" % ("model", "bodkin MB/s", "llama MB/s" if llama else "", "ratio" if llama else ""))
    for model in models:
        vocab, mine, theirs, got = llama and llama.load(model), [], [], []
        for _ in range(args.rounds):
            mine.append(bodkin(model, path, args.lines)["seconds"])
            if vocab:
                seconds, got = llama.encode(vocab, texts)
                theirs.append(seconds)
        a, b = len(text) / statistics.median(mine) / 1e6, len(text) / statistics.median(theirs) / 1e6 if theirs else 0
        same = ids_of(model, path, args.lines) == got if theirs else None
        print("%-40s %12.1f %12s %8s  %s" % (os.path.basename(model), a, "%.2f" % b if b else "", "%.1f" % (a / b) if b else "",
                                             {True: "the same", False: "DIFFERENT", None: ""}[same]), flush=True)
        if vocab:
            llama.lib.llama_model_free(llama.model)


def linear(models, folder, args):
    rng, worst = random.Random(1), 0
    letters = bytes(rng.choice(range(97, 123)) for _ in range(2 * MEGABYTE))
    hard = {"one letter": b"a", "spaces": b" ", "one ideograph": "中".encode(), "digits": b"7", "random letters": letters, "line breaks": b"\n",
            "emoji with joiners": "👨\u200d👩\u200d👧\u200d👦".encode(), "dashes": b"-", "a letter and accents": b"e" + "\u0301".encode() * 40, "no UTF-8": b"\xff"}
    for model in models:
        for name, unit in hard.items():
            path = os.path.join(folder, "hard")
            seconds = []
            for n in (MEGABYTE, 2 * MEGABYTE):
                with open(path, "wb") as f:
                    f.write(unit * (n // len(unit)) if len(unit) < n else unit[:n])
                seconds.append(min(bodkin(model, path, False, 3)["seconds"] for _ in range(2)))
            worst = max(worst, seconds[1] / seconds[0])
            print("%-40s %-22s %8.1f MB/s  twice as long: %.2f times%s" % (os.path.basename(model), name, MEGABYTE / seconds[0] / 1e6,
                  seconds[1] / seconds[0], "" if seconds[1] / seconds[0] <= MOST else "  NOT LINEAR"), flush=True)
    return worst <= MOST


def main():
    ap = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][7:])
    ap.add_argument("models", nargs="+")
    ap.add_argument("--llama")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--text")
    ap.add_argument("--linear", action="store_true")
    ap.add_argument("--lines", action="store_true")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.linear:
            sys.exit(not linear(args.models, folder, args))
        path = args.text or os.path.join(folder, "english.txt")
        if not args.text:
            with open(path, "wb") as f:
                f.write(english())
        with open(path, "rb") as f:
            compare(args.models, f.read(), path, args)


if __name__ == "__main__":
    main()
