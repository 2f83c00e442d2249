#!/usr/bin/env python3
"""Vectors a second of `bodkin embed` as it is used: lines of text in, tokenised, vectors out; and the time of one text alone.

usage: tools/bench_embed.py [-m MODEL.gguf] [--tokens N] [--texts N] [--rounds R] [--threads N]

Without -m a BERT-tiny of random weights (2 layers, 128 wide, 30,522 pieces, Q8_0), which needs PyPI's numpy and gguf. Texts
are random words of the vocabulary, no two alike, N tokens each with the model's own frame. The command reads a file and
writes raw float32 to a file in memory; its start, timed on one line, is subtracted. Vectors are the first row, as BERT's
pooler has it, then the mean of all rows, in turn. Medians.
SPDX-License-Identifier: MIT
"""
import argparse, json, os, random, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BODKIN = os.path.join(ROOT, "bodkin")


def texts(model, n, tokens):
    """Lines of so many tokens: words that the model knows whole, as asking the tokenizer tells."""
    rng = random.Random(20240229)
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=rng.randint(2, 8))) for _ in range(60000)]
    got = subprocess.run([BODKIN, "tokenize", "-m", model, "--lines"], input="\n".join(words), capture_output=True, text=True, check=True)
    counts = [len(json.loads(line)) for line in got.stdout.splitlines()] # without the frame, which embed puts around them
    first = subprocess.run([BODKIN, "embed", "-m", model], input=words[0], capture_output=True, text=True, check=True)
    frame = json.loads(first.stdout)["tokens"] - counts[0]
    by_count = {k: [w for w, c in zip(words, counts) if c == k] for k in (1, 2, 3)}
    lines = set()
    while len(lines) < n:
        left, line = tokens - frame, []
        while left > 0:
            k = min(left, rng.choice((1, 1, 1, 2, 3)))
            if not by_count[k]:
                continue
            line.append(rng.choice(by_count[k]))
            left -= k
        lines.add(" ".join(line))
    return sorted(lines, key=hash)


def run(model, pooling, path, out, threads):
    start = time.perf_counter()
    with open(out, "wb") as file:
        subprocess.run([BODKIN, "embed", "-m", model, "--pooling", pooling, "--format", "f32", "--threads", str(threads), path],
                       stdout=file, check=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description="Vectors a second of bodkin embed.")
    parser.add_argument("-m", dest="model")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--texts", type=int, default=100000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        model, many, one, out = args.model, *(os.path.join(folder, name) for name in ("many", "one", "out"))
        if not model:
            model = os.path.join(folder, "bert-tiny.gguf")
            subprocess.run([sys.executable, os.path.join(ROOT, "tools/make_random_model.py"), "bert-tiny", "Q8_0", model], check=True)
        lines = texts(model, args.texts, args.tokens)
        for path, some in ((many, lines), (one, lines[:1])):
            with open(path, "w") as file:
                file.write("".join(line + "\n" for line in some))
        took = {"cls": [], "mean": []}
        for _ in range(args.rounds):
            for pooling, seconds in took.items():
                seconds.append(run(model, pooling, many, out, args.threads) - run(model, pooling, one, out, args.threads))
        got = subprocess.run([BODKIN, "bench", "-m", model, "--json", "--test", "embed", "--n", str(args.tokens), "--batch", "1", "--threads",
                              str(args.threads), "--repeat", "99"], capture_output=True, text=True, check=True)
        alone = args.tokens / json.loads(got.stdout)["tokens_per_second"]
        print("%d texts of %d tokens, %.1f bytes each, %d threads; one text alone %.3f ms" % (
            len(lines), args.tokens, sum(map(len, lines)) / len(lines), args.threads, 1e3 * alone))
        for pooling, seconds in took.items():
            print("%-5s %6.0f vectors/s (%s)" % (pooling, (len(lines) - 1) / statistics.median(seconds),
                                                 " ".join("%.0f" % (len(lines) / t) for t in sorted(seconds))))


if __name__ == "__main__":
    main()
