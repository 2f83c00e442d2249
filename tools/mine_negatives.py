#!/usr/bin/env python3
"""Hard negatives for training: lines of a corpus that a model takes for near to a query and that are not its answer.

    tools/mine_negatives.py -m MODEL QUERIES.jsonl CORPUS.txt >triples.jsonl

QUERIES has {"query": "...", "positive": "..."} on a line, or a list of positives; CORPUS a passage on a line. Out come
{"query", "positive", "negatives": [...], "scores": [...], "positive_score"}, scores being cosines. A neighbour is dropped if it is
one of the positives, or if its score is not below --relative times that of the positive (TopK-PercPos of NV-Retriever, Moreira et
al., 2024; of several positives the least near counts), not below it by --margin (TopK-MarginPos), or above --most (TopK-Abs).
What is near a query and better than its answer is often an answer that nobody has marked.

Vectors are made by `bodkin embed`; options behind -- go to it (`-- --threads 4`). The index is faiss', exact, or with --index hnsw
approximate, of faiss or hnswlib. Queries are streamed; of the corpus the vectors are kept. Needs numpy, and faiss-cpu or hnswlib.
SPDX-License-Identifier: MIT
"""
import argparse
import array
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import threading

import numpy as np

BATCH = 256  # queries searched for at once
CHUNK = 4096 # vectors read at once


def parse():
    p = argparse.ArgumentParser(description="Mines hard negatives with the vectors of a model.")
    p.add_argument("queries")
    p.add_argument("corpus")
    p.add_argument("-m", "--model", required=True)
    p.add_argument("--negatives", type=int, default=5, help="of a query at most (default 5)")
    p.add_argument("--top", type=int, default=100, help="neighbours that are looked at (default 100)")
    p.add_argument("--skip", type=int, default=0, help="the nearest so many are never taken (default 0)")
    p.add_argument("--relative", type=float, default=0.95, help="a negative's score is below this times the positive's (default 0.95)")
    p.add_argument("--margin", type=float, default=0.0, help="and below the positive's less this (default 0)")
    p.add_argument("--most", type=float, default=1.0, help="and at most this (default 1)")
    p.add_argument("--query-prompt-name")
    p.add_argument("--passage-prompt-name")
    p.add_argument("--index", choices=("flat", "hnsw"), help="exact or approximate (default: flat where faiss is installed)")
    p.add_argument("--bodkin", default=os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bodkin"))
    own, more = sys.argv[1:], []
    if "--" in own:
        own, more = own[:own.index("--")], own[own.index("--") + 1:]
    a = p.parse_args(own)
    a.more = more
    return a


def embed(a, prompt_name, lines):
    """The vectors of an iterable of byte strings, one array (n, dimensions) after the other."""
    command = [a.bodkin, "embed", "-m", a.model, "--format", "f32", "--truncate", "end", *a.more]
    if prompt_name:
        command += ["--prompt-name", prompt_name]
    first = subprocess.run(command, input=b"a\n", stdout=subprocess.PIPE)
    if first.returncode:
        sys.exit(first.returncode)
    p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def feed():
        try:
            for line in lines:
                p.stdin.write(line.replace(b"\n", b" ") + b"\n")
        except BrokenPipeError: # it has said why
            pass
        finally:
            try:
                p.stdin.close()
            except BrokenPipeError:
                pass

    threading.Thread(target=feed, daemon=True).start()
    row = len(first.stdout)
    for data in iter(lambda: p.stdout.read(row * CHUNK), b""):
        yield np.frombuffer(data, dtype=np.float32).reshape(-1, row // 4)
    if p.wait():
        sys.exit(p.returncode)


def rows(blocks):
    for block in blocks:
        yield from block


class Corpus:
    """Its lines that are not blank, by number; where they stand is kept, they are not."""
    def __init__(self, path):
        self.path, self.at = path, array.array("q")
        self.file = open(path, "rb")

    def lines(self):
        place = 0
        with open(self.path, "rb") as f:
            for line in f:
                text = line.rstrip(b"\r\n")
                if text.strip():
                    self.at.append(place)
                    yield text
                place += len(line)

    def text(self, i):
        self.file.seek(self.at[i])
        return self.file.readline().rstrip(b"\r\n").decode("utf-8", "replace")


class Faiss:
    def __init__(self, n, exact):
        import faiss
        self.index = faiss.IndexFlatIP(n) if exact else faiss.IndexHNSWFlat(n, 32, faiss.METRIC_INNER_PRODUCT)
        self.exact = exact

    def add(self, x):
        self.index.add(x)

    def search(self, x, k):
        if not self.exact:
            self.index.hnsw.efSearch = max(2 * k, 64)
        return self.index.search(x, k)


class Hnswlib:
    def __init__(self, n, _):
        import hnswlib
        self.index = hnswlib.Index(space="ip", dim=n)
        self.index.init_index(max_elements=CHUNK, ef_construction=200, M=32)

    def add(self, x):
        need = self.index.get_current_count() + len(x)
        if need > self.index.get_max_elements():
            self.index.resize_index(2 * need)
        self.index.add_items(x)

    def search(self, x, k):
        k = min(k, self.index.get_current_count())
        self.index.set_ef(max(2 * k, 64))
        ids, distances = self.index.knn_query(x, k)
        return 1 - distances, ids.astype(np.int64)


def make_index(a, n):
    faiss = importlib.util.find_spec("faiss") is not None
    kind = a.index or ("flat" if faiss else "hnsw")
    if not faiss and (kind == "flat" or importlib.util.find_spec("hnswlib") is None):
        sys.exit("not installed: faiss-cpu" + (" or hnswlib" if kind == "hnsw" else ""))
    return (Faiss if faiss else Hnswlib)(n, kind == "flat")


def records(path):
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.strip():
                continue
            try:
                r = json.loads(line)
                query, positive = r["query"], r["positive"]
                positives = [positive] if isinstance(positive, str) else list(positive)
                if not isinstance(query, str) or not positives or not all(isinstance(x, str) for x in positives):
                    raise TypeError
            except (ValueError, KeyError, TypeError):
                sys.exit(f"{path}: line {number}: expected \"query\" (a text) and \"positive\" (a text or several)")
            yield query, positive, positives


def choose(a, corpus, positives, least, found, counts):
    """Of the neighbours, the nearest first, those that may stand as negatives."""
    known = {x.strip() for x in positives}
    negatives, scores = [], []
    for rank, (score, i) in enumerate(found):
        if len(negatives) == a.negatives:
            break
        if i < 0: # fewer neighbours than asked for
            continue
        text = corpus.text(i)
        if text.strip() in known: # a positive, or the same line again
            counts["positives or again"] += 1
        elif rank < a.skip:
            counts["skipped"] += 1
        elif score >= a.relative * least or score > least - a.margin or score > a.most:
            counts["too near"] += 1
        else:
            known.add(text.strip())
            negatives.append(text)
            scores.append(round(float(score), 6))
    return negatives, scores


def main():
    a = parse()
    corpus, index = Corpus(a.corpus), None
    if not sum(1 for _ in records(a.queries)): # all of them are sound, before the work begins
        sys.exit(f"{a.queries}: no queries")
    for block in embed(a, a.passage_prompt_name, corpus.lines()):
        index = index or make_index(a, block.shape[1])
        index.add(np.ascontiguousarray(block))
        if sys.stderr.isatty():
            print(f"\r{len(corpus.at)} lines", end="", file=sys.stderr)
    if index is None:
        sys.exit(f"{a.corpus}: no lines")
    queries = rows(embed(a, a.query_prompt_name, (q.encode() for q, _, _ in records(a.queries))))
    answers = rows(embed(a, a.passage_prompt_name, (x.encode() for _, _, p in records(a.queries) for x in p)))
    counts = {"queries": 0, "negatives": 0, "short": 0, "positives or again": 0, "skipped": 0, "too near": 0}
    source = records(a.queries)
    while batch := list(itertools.islice(source, BATCH)):
        x = np.stack(list(itertools.islice(queries, len(batch))))
        all_scores, all_ids = index.search(x, min(a.top, len(corpus.at)))
        for (query, positive, positives), vector, scores, ids in zip(batch, x, all_scores, all_ids):
            least = min(float(vector @ v) for v in itertools.islice(answers, len(positives)))
            negatives, kept = choose(a, corpus, positives, least, list(zip(scores.tolist(), ids.tolist())), counts)
            counts["queries"] += 1
            counts["negatives"] += len(negatives)
            counts["short"] += len(negatives) < a.negatives
            print(json.dumps({"query": query, "positive": positive, "negatives": negatives, "scores": kept,
                              "positive_score": round(least, 6)}, ensure_ascii=False))
    print(f"[{counts['queries']} queries, {len(corpus.at)} lines, {counts['negatives']} negatives; dropped: "
          f"{counts['positives or again']} positives or lines taken already, {counts['too near']} too near, {counts['skipped']} skipped; "
          f"{counts['short']} queries have fewer than {a.negatives}]", file=sys.stderr)


if __name__ == "__main__":
    main()
