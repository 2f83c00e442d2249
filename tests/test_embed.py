#!/usr/bin/env python3
"""`bodkin embed` and `bodkin rerank` against transformers' numbers (tests/golden/embed.json) and against themselves.

    python3 tests/test_embed.py [BODKIN]

Models are made by `bodkin convert` from tests/families, in a folder that is removed. numpy and pyarrow read what is written
where they are installed; what they would check is skipped and counted where they are not.
SPDX-License-Identifier: MIT
"""
import array
import codecs
import json
import math
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BODKIN = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else os.path.join(ROOT, "bodkin"))
with open(os.path.join(ROOT, "tests/golden/embed.json"), encoding="utf-8") as file:
    GOLDEN = json.load(file)
TMP = ""
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
static int left;
static int due(void) {
  if (!left && !(left = atoi(getenv("DIE_AT") ? getenv("DIE_AT") : "0"))) left = -1;
  return left > 0 && --left == 0;
}
#define DIE kill(getpid(), SIGKILL)
#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
  REAL(pwrite);
  if (due()) real(fd, p, n / 2, at), DIE;
  return real(fd, p, n, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) { return pwrite(fd, p, n, at); }
ssize_t write(int fd, const void *p, size_t n) { REAL(write); if (fd > 2 && due()) real(fd, p, n / 2), DIE; return real(fd, p, n); }
int ftruncate(int fd, off_t n) { REAL(ftruncate); if (due()) DIE; return real(fd, n); }
int ftruncate64(int fd, off64_t n) { return ftruncate(fd, n); }
int fsync(int fd) { REAL(fsync); if (due()) DIE; return real(fd); }
int rename(const char *a, const char *b) { REAL(rename); if (due()) DIE; int code = real(a, b); if (due()) DIE; return code; }
"""
WORDS = "the quick brown fox words of a text dog hello it is over lazy count don't and".split()


def folder(name):
    return os.path.join(ROOT, "tests/families", name)


def model(name):
    return os.path.join(TMP, name + ".gguf")


def convert(name, source):
    subprocess.run([BODKIN, "convert", source, model(name)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


LAST = {"modules.json": [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}],
        "1_Pooling/config.json": {"pooling_mode_lasttoken": True}}


def ends(token, number, *before):
    """A tokenizer's post-processor that puts a token behind every text."""
    template = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": token, "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}}}
    return {"post_processor": {"type": "Sequence", "processors": [*before, template]} if before else template}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
# As published: whose folder of tests/families, and what of its files is otherwise.
VARIANTS = {
    "e5-mistral": ("e5-mistral", {"tokenizer_config.json": {"add_eos_token": True}}),
    "embeddinggemma": ("embeddinggemma", {"tokenizer_config.json": {"add_eos_token": True}}),
    "gte-qwen2": ("gte-qwen2", {"tokenizer.json": ends("<|end|>", 1)}),
    "qwen3-embedding": ("qwen3-reranker", {"tokenizer.json": ends("<|pad|>", 2, BYTES), **LAST}),
    "bge-reranker": ("bge-m3", {"config.json": {"architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "LABEL_0"},
                                                "label2id": {"LABEL_0": 0}}}),
}


def with_head(path):
    """Behind an encoder's tensors a head for scores, of numbers that look random."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack_from("<Q", data)[0]
    head, data = json.loads(data[8:8 + n]), data[8 + n:]
    head.pop("__metadata__", None)
    head = {"roberta." + name: t for name, t in head.items()}
    for name, shape in (("dense.weight", [64, 64]), ("dense.bias", [64]), ("out_proj.weight", [1, 64]), ("out_proj.bias", [1])):
        numbers = [(k * 2654435761 % 4093 / 4093 - 0.5) / 2 for k in range(1, 1 + math.prod(shape))]
        head["classifier." + name] = {"dtype": "F16", "shape": shape, "data_offsets": [len(data), len(data) + 2 * len(numbers)]}
        data += struct.pack("<%de" % len(numbers), *numbers)
    head = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + data)


def variant(name, to):
    """A folder of tests/families as VARIANTS has it, in `to`."""
    source, files = VARIANTS[name]
    shutil.copytree(folder(source), to)
    for path, changes in files.items():
        path = os.path.join(to, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        old = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                old = json.load(f)
        with open(path, "w", encoding="utf-8") as f:
            json.dump({**old, **changes} if isinstance(changes, dict) else changes, f)
    if name == "bge-reranker":
        os.remove(os.path.join(to, "modules.json"))
        with_head(os.path.join(to, "model.safetensors"))
    return to


def setUpModule():
    global TMP
    TMP = tempfile.mkdtemp()
    for name in ("bert-pair", "bge-m3", "modernbert", "mpnet", "gte-new", "modernbert-pair"):
        convert(name, folder(name))
    for name in VARIANTS:
        convert(name, variant(name, os.path.join(TMP, name)))
    own = os.path.join(TMP, "qwen3-reranker") # with a template, shorter than the built-in one
    shutil.copytree(folder("qwen3-reranker"), own)
    os.makedirs(os.path.join(own, "additional_chat_templates"))
    with open(os.path.join(own, "chat_template.jinja"), "w") as f:
        f.write("{{ messages }}")
    with open(os.path.join(own, "additional_chat_templates/rerank.jinja"), "w") as f:
        f.write(GOLDEN["template"])
    convert("qwen3-reranker", own)


def tearDownModule():
    shutil.rmtree(TMP)


def run(command, name, *args, text=b"", code=0, **more):
    if isinstance(text, str):
        text = text.encode()
    env = {"PATH": os.environ.get("PATH", ""), "HOME": TMP}
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    more.setdefault("stdout", subprocess.PIPE)
    p = subprocess.run([BODKIN, command, "-m", model(name), *args], input=text, stderr=subprocess.PIPE, env=env, timeout=600, **more)
    assert p.returncode == code, (p.returncode, p.stderr)
    return p


def rows(*args, **more):
    return [json.loads(line) for line in run("embed", *args, **more).stdout.decode().splitlines()]


def floats(data, width):
    a = array.array("f", data)
    return [list(a[i:i + width]) for i in range(0, len(a), width)]


def texts(n, seed=1):
    r = random.Random(seed)
    return [" ".join(r.choice(WORDS) for _ in range(r.randrange(1, 20))) for _ in range(n)]


class Numbers(unittest.TestCase):
    def near(self, got, want, tolerance):
        self.assertEqual(len(got), len(want))
        self.assertLess(max((abs(a - b) for a, b in zip(got, want)), default=0), tolerance)

    def test_vectors_are_those_of_transformers(self):
        for name, cases in GOLDEN["vectors"].items():
            pooling = ["--pooling", "mean"] if name == "bert-pair" else []
            text = "\n".join(c["text"] for c in cases)
            ids = [json.loads(line) for line in run("tokenize", name, "--lines", "--add-special", text=text).stdout.splitlines()]
            self.assertEqual(ids, [c["ids"] for c in cases], name)
            exact, plain = (rows(name, *args, *pooling, text=text) for args in (["--exact"], []))
            for one, other, case in zip(exact, plain, cases):
                self.assertEqual(one["tokens"], len(case["ids"]), (name, case["text"]))
                self.near(one["embedding"], case["embedding"], 3e-4)
                self.assertGreater(sum(x * y for x, y in zip(other["embedding"], case["embedding"])), 0.999, (name, case["text"]))

    def test_what_stands_beside_a_vector(self):
        cases = GOLDEN["beside"]
        text = "\n".join(c["text"] for c in cases) + "\n"
        for row, case in zip(rows("bge-m3", "--exact", "--output", "sparse", text=text), cases):
            self.assertEqual(sorted(row), ["index", "sparse", "tokens"])
            self.assertEqual((row["tokens"], row["sparse"]["indices"]), (case["n"], [int(k) for k in case["sparse"]]))
            self.near(row["sparse"]["values"], list(case["sparse"].values()), 1e-4)
        for args, n in ((["--exact"], 64), (["--exact", "--dimensions", "7"], 7), (["--exact", "--normalize", "none"], 64)):
            got = rows("bge-m3", *args, "--output", "colbert", text=text)
            self.assertEqual(len(got), len(cases))
            for row, case in zip(got, cases):
                vectors = row["embedding"]
                self.assertEqual((row["tokens"], len(vectors)), (case["n"], case["n"] - 1))
                for have, want in zip((vectors[:2] + vectors[-1:])[-len(case["colbert"]):], case["colbert"]):
                    have, want = ([x / sum(y * y for y in v) ** 0.5 for x in v] for v in (have, want[:n]))
                    self.near(have, want, 1e-4)
                lengths = [sum(x * x for x in v) for v in vectors]
                self.assertEqual(max(abs(x - 1) for x in lengths) < 1e-5, "none" not in args)

    def test_lines_with_many_numbers_are_lines(self):
        lines = texts(1500) + ["", "hello world", "text " * 400, "\u00e4"]
        for output in ("sparse", "colbert"):
            args = ["--output", output] + ["--dimensions", "3"] * (output == "colbert")
            got = rows("bge-m3", *args, text="\n".join(lines) + "\n")
            self.assertEqual([r["index"] for r in got], list(range(len(lines))))
            self.assertIn("the context holds", got[1502]["error"]["message"])
            by_text, key = {}, "sparse" if output == "sparse" else "embedding"
            for row, line in zip(got, lines):
                if "error" not in row:
                    self.assertEqual(by_text.setdefault(line, row[key]), row[key])
            alone = rows("bge-m3", *args, "--threads", "1", text=lines[7])[0]
            self.assertEqual(alone[key], got[7][key])
            long = " ".join(texts(60, 5))
            cut, dense = ([json.loads(line) for line in run("embed", "bge-m3", *more, "--truncate", "start",
                           text=long + "\nzzz" + long + "\n" + long + " zzz").stdout.splitlines()] for more in (args, []))
            self.assertEqual([(r["tokens"], r["truncated"]) for r in cut], [(r["tokens"], r["truncated"]) for r in dense])
            self.assertEqual(cut[0][key], cut[1][key])
            self.assertNotEqual(cut[0][key], cut[2][key])

    def test_scores_are_those_of_transformers(self):
        for name, cases in GOLDEN["scores"].items():
            for case in cases:
                out = run("rerank", name, "-q", case["query"], text="\n".join(case["lines"])).stdout.decode()
                got = [json.loads(line) for line in out.splitlines()]
                self.assertEqual([r["score"] for r in got], sorted((r["score"] for r in got), reverse=True))
                for r in got:
                    self.assertLess(abs(r["score"] - case["scores"][r["index"]]), 5e-3, (name, case["query"]))
                    self.assertEqual(r["text"], case["lines"][r["index"]])
                    self.assertTrue(0 < r["relevance_score"] < 1)

    def test_only_the_best(self):
        out = run("rerank", "bert-pair", "-q", "hello", "--top-n", "2", text="\n".join(texts(9))).stdout
        self.assertEqual(len(out.splitlines()), 2)

    def test_a_line_decides_its_vector_alone(self):
        lines = texts(300)
        want = floats(run("embed", "bge-m3", "--format", "f32", text="\n".join(lines)).stdout, 64)
        self.assertEqual(len(want), 300)
        for args in (["--threads", "1"], ["--threads", "3", "--batch", "40"], ["--batch", "4096"]):
            got = floats(run("embed", "bge-m3", "--format", "f32", *args, text="\n".join(lines)).stdout, 64)
            self.assertEqual(got, want, args)
        order = list(range(300))
        random.Random(5).shuffle(order)
        got = floats(run("embed", "bge-m3", "--format", "f32", text="\n".join(lines[i] for i in order)).stdout, 64)
        self.assertEqual(got, [want[i] for i in order])
        one = floats(run("embed", "bge-m3", "--format", "f32", text=lines[7]).stdout, 64)
        self.assertEqual(one, [want[7]])
        jsonl = rows("bge-m3", text="\n".join(lines))
        self.assertEqual([list(array.array("f", r["embedding"])) for r in jsonl], want) # nine digits read back

    def test_more_lines_than_a_round(self):
        lines = texts(2500)
        got = rows("bert-pair", "--pooling", "mean", "--dimensions", "2", text="\n".join(lines) + "\n")
        self.assertEqual([r["index"] for r in got], list(range(2500)))
        by_text = {}
        for r, line in zip(got, lines): # equal lines, equal vectors
            self.assertEqual(by_text.setdefault(line, r["embedding"]), r["embedding"])

    def test_shapes(self):
        whole = rows("bge-m3", "--normalize", "none", text="hello world")[0]["embedding"]
        cut = whole[:16]
        length = sum(x * x for x in cut) ** 0.5
        self.near(rows("bge-m3", "--dimensions", "16", text="hello world")[0]["embedding"], [x / length for x in cut], 1e-6)
        tokens = rows("bge-m3", "--pooling", "none", text="hello world")[0]
        self.assertEqual(len(tokens["embedding"]), tokens["tokens"])
        self.near(tokens["embedding"][0], whole, 1e-6) # CLS
        mean = [sum(column) / tokens["tokens"] for column in zip(*tokens["embedding"])]
        self.near(rows("bge-m3", "--pooling", "mean", "--normalize", "none", text="hello world")[0]["embedding"], mean, 1e-5)
        last = rows("bge-m3", "--pooling", "last", "--normalize", "none", text="hello world")[0]["embedding"]
        self.near(last, tokens["embedding"][-1], 1e-6)

    def test_precisions(self):
        lines = "\n".join(texts(5))
        want = floats(run("embed", "bge-m3", "--format", "f32", text=lines).stdout, 64)
        ubinary = run("embed", "bge-m3", "--format", "f32", "--precision", "ubinary", text=lines).stdout
        bits = [sum((x > 0) << (7 - k) for k, x in enumerate(v[i:i + 8])) for v in want for i in range(0, 64, 8)] # numpy.packbits
        self.assertEqual(list(ubinary), bits)
        binary = array.array("b", run("embed", "bge-m3", "--format", "f32", "--precision", "binary", text=lines).stdout)
        self.assertEqual(list(binary), [b - 128 for b in bits])
        for r, v in zip(rows("bge-m3", "--precision", "int8", text=lines), want):
            self.assertLessEqual(max(abs(q * r["scale"] - x) for q, x in zip(r["embedding"], v)), r["scale"] * 0.51)
        low, high = ([f(column) for column in zip(*want)] for f in (min, max))
        with open(os.path.join(TMP, "ranges"), "wb") as f:
            array.array("f", low + high).tofile(f)
        got = run("embed", "bge-m3", "--format", "f32", "--precision", "int8", "--ranges", f.name, text=lines).stdout
        expected = [(x - a) / ((b - a) / 255) - 128 for v in want for x, a, b in zip(v, low, high)] # sentence-transformers, float32
        self.assertLess(max(abs(g - x) for g, x in zip(array.array("b", got), expected)), 1.01)

    def test_npy(self):
        try:
            import numpy as np
        except ImportError:
            self.skipTest("numpy is not installed")
        path, source = os.path.join(TMP, "v.npy"), os.path.join(TMP, "lines")
        with open(source, "w") as f:
            f.write("\n".join(texts(20)))
        want = floats(run("embed", "bge-m3", "--format", "f32", source).stdout, 64)
        for precision, kind in (("float32", "<f4"), ("float16", "<f2"), ("int8", "|i1"), ("ubinary", "|u1")):
            with open(path, "wb") as f: # a file: the head is written again at the end
                run("embed", "bge-m3", "--format", "npy", "--precision", precision, text="\n".join(texts(20)), stdout=f)
            v = np.load(path)
            self.assertEqual((v.shape[0], v.dtype.str), (20, kind))
            with open(path, "wb") as f: # a pipe: the lines of the file are counted first
                f.write(run("embed", "bge-m3", "--format", "npy", "--precision", precision, source).stdout)
            self.assertEqual(np.load(path).tobytes(), v.tobytes())
            if precision == "float32":
                self.assertEqual(v.tolist(), want)

    def test_arrow(self):
        try:
            import pyarrow
        except ImportError:
            self.skipTest("pyarrow is not installed")
        lines = "\n".join(texts(1100))
        want = run("embed", "bge-m3", "--format", "f32", text=lines).stdout
        reader = pyarrow.ipc.open_stream(run("embed", "bge-m3", "--format", "arrow", text=lines).stdout)
        batches = list(reader)
        table = pyarrow.Table.from_batches(batches)
        table.validate(full=True)
        self.assertEqual(table["index"].to_pylist(), list(range(1100)))
        self.assertEqual(table["embedding"].combine_chunks().flatten().to_pylist(), list(array.array("f", want)))
        self.assertEqual(reader.schema.metadata[b"dimension"], b"64")


class Lines(unittest.TestCase):
    def test_whatever_is_in_a_line_it_is_answered(self):
        got = rows("bert-pair", "--dimensions", "2", text=b"bad \xff\xfe\n\na\0b\n\r\nlast\r\nno end")
        self.assertEqual([r["index"] for r in got], list(range(6)))
        self.assertTrue(all(len(r["embedding"]) == 2 for r in got))
        self.assertEqual(got[1]["embedding"], got[3]["embedding"])
        self.assertEqual(got[0]["embedding"], rows("bert-pair", "--dimensions", "2", text="bad \ufffd\ufffd")[0]["embedding"])
        self.assertEqual(rows("bert-pair", text=b""), [])

    def test_lines_that_do_not_fit(self):
        text = "short\n" + "word " * 2000000 + "\n" + "x" * (17 << 20) + "\nend\n"
        got = rows("bert-pair", "--dimensions", "2", text=text)
        self.assertEqual(["error" in r for r in got], [False, True, True, False])
        self.assertIn("the context holds", got[1]["error"]["message"])
        self.assertIn("longer than", got[2]["error"]["message"])
        p = run("embed", "bert-pair", "--dimensions", "2", "--truncate", "end", text="word " * 300)
        row = json.loads(p.stdout)
        self.assertEqual(row["tokens"] + row["truncated"], rows("bert-pair", "--window", "64", text="word " * 300)[0]["tokens"] -
                         2 * (len(range(0, row["tokens"] + row["truncated"] - 2, 62)) - 1))
        self.assertIn(b"cut", p.stderr)
        p = run("embed", "bert-pair", "--format", "f32", text="a\n" + "word " * 300, code=65)
        self.assertEqual(len(p.stdout), 64 * 4)
        self.assertIn(b"line 2", p.stderr)

    def test_truncation_keeps_the_end_that_is_asked_for(self):
        words = [random.Random(2).choice(WORDS) for _ in range(400)]
        context = 112
        for side in ("end", "start"):
            row = rows("bert-pair", "--truncate", side, text=" ".join(words))[0]
            self.assertEqual(row["tokens"], context)
            other = list(words)
            other[-1 if side == "end" else 0] = "zzz"
            self.assertEqual(rows("bert-pair", "--truncate", side, text=" ".join(other))[0]["embedding"], row["embedding"])
            other = list(words)
            other[0 if side == "end" else -1] = "zzz"
            self.assertNotEqual(rows("bert-pair", "--truncate", side, text=" ".join(other))[0]["embedding"], row["embedding"])

    def test_windows(self):
        line = " ".join(random.Random(4).choice(WORDS) for _ in range(100))
        one = rows("bge-m3", "--window", "40", text="hello world")[0]
        self.assertEqual(one["embedding"], rows("bge-m3", text="hello world")[0]["embedding"])
        many = rows("bge-m3", "--window", "40", "--overlap", "10", text=line)[0]
        self.assertGreater(many["tokens"], rows("bge-m3", "--window", "40", text=line)[0]["tokens"])

    def test_sentences(self):
        row = rows("bge-m3", "--hierarchical", text="hello world. a text?  it is")[0]
        self.assertEqual([(s["start"], s["end"]) for s in row["sentences"]], [(0, 12), (13, 20), (22, 27)])
        alone = rows("bge-m3", text="a text?")[0]
        self.assertEqual(row["sentences"][1]["embedding"], alone["embedding"])

    def test_prompts(self):
        self.assertEqual(rows("bge-m3", "--prompt", "a text: ", text="hello")[0]["embedding"],
                         rows("bge-m3", text="a text: hello")[0]["embedding"])
        run("embed", "bge-m3", "--prompt-name", "nothing", code=65)
        own = os.path.join(TMP, "prompted")
        shutil.copytree(folder("bge-m3"), own)
        for default in (None, "query"):
            with open(os.path.join(own, "config_sentence_transformers.json"), "w") as f:
                json.dump({"prompts": {"query": "a query: ", "document": ""}, "default_prompt_name": default}, f)
            convert("prompted", own)
            want = rows("bge-m3", text="a query: hello\nhello")
            self.assertEqual(rows("prompted", "--prompt-name", "query", text="hello")[0]["embedding"], want[0]["embedding"])
            self.assertEqual(rows("prompted", "--prompt-name", "passage", text="hello")[0]["embedding"], want[1]["embedding"])
            self.assertEqual(rows("prompted", "--prompt-name", "document", text="hello")[0]["embedding"], want[1]["embedding"])
            self.assertEqual(rows("prompted", text="hello")[0]["embedding"], want[0 if default else 1]["embedding"])

    def test_published_prompts(self):
        instruct = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
        sentence = "Represent this sentence for searching relevant passages: "
        for name, prompts in {"multilingual-e5-small": {"query": "query: ", "passage": "passage: ", "document": "passage: "},
                              "e5-mistral-7b-instruct": {"query": instruct + " ", "passage": ""},
                              "multilingual-e5-large-instruct": {"query": instruct + " ", "passage": ""},
                              "bge-small-en-v1.5": {"query": sentence, "passage": ""}, "bge-m3": {"query": "", "passage": ""},
                              "bge-base-zh-v1.5": {"query": "\u4e3a\u8fd9\u4e2a\u53e5\u5b50\u751f\u6210\u8868\u793a\u4ee5\u7528\u4e8e"
                                                            "\u68c0\u7d22\u76f8\u5173\u6587\u7ae0\uff1a", "passage": ""},
                              "snowflake-arctic-embed-m-v1.5": {"query": sentence, "passage": ""},
                              "Snowflake Arctic Embed L v2.0": {"query": "query: ", "passage": ""},
                              "mxbai-embed-large-v1": {"query": sentence, "passage": ""},
                              "Qwen3 Embedding 0.6B": {"query": instruct, "passage": ""},
                              "embeddinggemma-300m": {"query": "task: search result | query: ", "passage": "title: none | text: "},
                              "nomic-embed-text-v1.5": {"query": "search_query: ", "passage": "search_document: ",
                                                        "clustering": "clustering: "}}.items():
            own = os.path.join(TMP, "published", name)
            shutil.copytree(folder("e5-mistral"), own)
            convert("published/" + name, own)
            for key, prompt in prompts.items():
                got, want = (rows("published/" + name, *args, text="hello")[0]
                             for args in (["--prompt-name", key], ["--prompt", prompt] if prompt else []))
                self.assertEqual(got, want, (name, key))
        run("embed", "published/bge-m3", "--prompt-name", "clustering", code=65)

    def test_the_query_is_never_cut(self):
        long = " ".join(["text"] * 500)
        run("rerank", "bert-pair", "-q", long, text="a", code=65)
        out = [json.loads(x) for x in run("rerank", "bert-pair", "-q", "hello", text=long + "\na").stdout.splitlines()]
        self.assertEqual([r["index"] for r in out], [1, 0])
        self.assertIn("error", out[1])
        out = run("rerank", "bert-pair", "-q", "hello", "--truncate", "end", text=long + "\na").stdout
        self.assertTrue(all("score" in json.loads(x) for x in out.splitlines()))

    def test_a_line_never_becomes_a_control_token(self):
        text = GOLDEN["template"].replace("{query}", "hello").replace("{document}", "a<|end|>")
        request = json.dumps({"id": 1, "text": text, "special": True, "score": True})
        parsed = json.loads(run("eval", "qwen3-reranker", text=request).stdout)["score"]
        plain = json.loads(run("rerank", "qwen3-reranker", "-q", "hello", text="a<|end|>").stdout)["score"]
        self.assertNotEqual(parsed, plain)
        text = text.replace("a<|end|>", "a")
        request = json.dumps({"id": 1, "text": text, "special": True, "score": True})
        parsed = json.loads(run("eval", "qwen3-reranker", text=request).stdout)["score"]
        plain = json.loads(run("rerank", "qwen3-reranker", "-q", "hello", text="a").stdout)["score"]
        self.assertEqual(parsed, plain)
        plain = rows("bert-pair", text="[SEP]")[0]["tokens"]
        self.assertGreater(plain, 3)

    def test_a_vector_with_a_nan_is_never_written(self):
        with open(model("bge-m3"), "rb") as f:
            data = bytearray(f.read())
        middle = len(data) // 2 // 4 * 4
        data[middle:middle + 4096] = b"\xff\x7f" * 2048 # NaN as half and as float
        with open(model("damaged"), "wb") as f:
            f.write(data)
        got = rows("damaged", text="hello\na")
        self.assertEqual([sorted(r) for r in got], [["error", "index"]] * 2)
        self.assertIn("NaN", got[0]["error"]["message"])
        self.assertEqual(run("embed", "damaged", "--format", "f32", text="hello", code=65).stdout, b"")

    def test_an_answer_comes_before_the_next_line(self):
        p = subprocess.Popen([BODKIN, "embed", "-m", model("bert-pair"), "--dimensions", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        signal.alarm(60)
        for i in range(3):
            p.stdin.write(b"hello\n")
            p.stdin.flush()
            self.assertEqual(json.loads(p.stdout.readline())["index"], i)
        p.stdin.close()
        self.assertEqual(p.wait(), 0)
        p.stdout.close()
        signal.alarm(0)

    def test_what_cannot_be(self):
        for args, code in ((["--pooling", "sum"], 64), (["--format", "csv"], 64), (["--dimensions", "65"], 64), (["nofile"], 66),
                           (["--pooling", "none", "--format", "f32"], 65), (["--format", "npy"], 65), (["--window", "20", "--overlap", "15"], 64)):
            p = run("embed", "bge-m3", *args, text="a", code=code)
            self.assertEqual((p.stdout, p.stderr.count(b"\n")), (b"", 1), args)
        for args, code in ((["--format", "npy"], 65), (["--format", "arrow"], 65), (["--window", "20"], 64), (["--hierarchical"], 64),
                           (["--cache", "file"], 64), (["--pooling", "mean"], 64)):
            for output in ("sparse", "colbert"):
                p = run("embed", "bge-m3", "--output", output, *args, text="a", code=code)
                self.assertEqual((p.stdout, p.stderr.count(b"\n")), (b"", 1), args)
        for args in (["--dimensions", "1"], ["--precision", "int8"], ["--normalize", "none"]):
            run("embed", "bge-m3", "--output", "sparse", *args, text="a", code=64)
        self.assertIn(b"not supported", run("embed", "mpnet", "--output", "colbert", text="a", code=65).stderr)
        run("rerank", "bge-m3", "-q", "a", text="a", code=65) # no head
        run("rerank", "bert-pair", text="a", code=64)         # no query


class Bad(unittest.TestCase):
    """Whatever comes in, there is one answer for each line, in order, or one sentence and a number of sysexits.h."""
    def file(self, name, data):
        path = os.path.join(TMP, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def lines_are(self, got, want):
        """got: rows; want: the texts, of which each stands for its vector alone."""
        alone = {t: v["embedding"] for t, v in zip(sorted(set(want)), rows("bge-m3", text="\n".join(sorted(set(want))) + "\n"))}
        self.assertEqual([r["index"] for r in got], list(range(len(want))))
        self.assertEqual([r["embedding"] for r in got], [alone[t] for t in want])

    def refused(self, code, *args, **more):
        p = run("embed", "bge-m3", *args, code=code, **more)
        self.assertEqual((p.stdout or b"", p.stderr.count(b"\n")), (b"", 1), args)
        return p.stderr

    def test_many_files(self):
        two, open_end, empty = self.file("two", b"a\nb\n"), self.file("open", b"c\nd"), self.file("empty", b"")
        only, crlf = self.file("only", b"\n\n\n"), self.file("crlf", b"x\r\ny\r\n\r\nz\r")
        got = rows("bge-m3", two, open_end, empty, only, crlf, two, "-", empty, open_end, "-", text="q\n")
        self.lines_are(got, ["a", "b", "c", "d", "", "", "", "x", "y", "", "z", "a", "b", "q", "c", "d"])
        got = [json.loads(x) for x in run("rerank", "bert-pair", "-q", "hello", two, empty, open_end, two).stdout.splitlines()]
        self.assertEqual(sorted((r["index"], r["text"]) for r in got), list(enumerate("abcdab")))
        self.assertEqual([r["score"] for r in got], sorted((r["score"] for r in got), reverse=True))

    def test_nothing_to_read(self):
        empty = self.file("empty", b"")
        for args in ([], ["-"], [empty], ["/dev/null"], [empty, "/dev/null", "-"]):
            self.assertEqual(run("embed", "bge-m3", *args).stdout, b"")
            self.assertEqual(run("rerank", "bert-pair", "-q", "a", *args).stdout, b"")
        for form in ("f32", "arrow", "npy"):
            path = os.path.join(TMP, "out")
            with open(path, "wb") as f:
                run("embed", "bge-m3", "--format", form, empty, stdout=f)
            with open(path, "rb") as f:
                data = f.read()
            self.assertEqual(b"'shape': (0, 64)" in data, form == "npy")
            self.assertEqual(data == b"", form == "f32")

    def test_what_cannot_be_read(self):
        two = self.file("two", b"a\nb\n")
        for path in ("nofile", TMP, two + "/a", ""):
            for args in ([path], [two, path, two], ["-", path]):
                self.assertIn(path.encode(), self.refused(66, *args, text="a"))
            run("rerank", "bert-pair", "-q", "hello", two, path, code=66)
        self.assertIn(b"Bad file", self.refused(74, preexec_fn=lambda: os.close(0)))

    def test_what_cannot_be_written(self):
        two = self.file("two", b"a\nb\n")
        for form in ("jsonl", "f32", "npy", "arrow"):
            with open("/dev/full", "wb") as full:
                self.assertIn(b"No space left", self.refused(74, "--format", form, two, stdout=full))
            self.assertIn(b"Bad file", self.refused(74, "--format", form, two, preexec_fn=lambda: os.close(1)))
        with open("/dev/full", "wb") as full:
            self.assertIn(b"No space left", run("rerank", "bert-pair", "-q", "hello", two, stdout=full, code=74).stderr)
        p = subprocess.Popen([BODKIN, "embed", "-m", model("bge-m3")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        p.stdin.write(b"a\n")
        p.stdin.flush()
        p.stdout.readline()
        p.stdout.close() # who reads goes away: the end, and no word
        try:
            p.stdin.write(b"a\n" * 5000)
            p.stdin.close()
        except BrokenPipeError:
            pass
        self.assertEqual(p.wait(60), -signal.SIGPIPE)
        self.assertEqual(p.stderr.read(), b"")
        p.stderr.close()

    def test_a_pipe_that_trickles(self):
        data = "hello\r\nüber\n한글 \U0001f642\n\n\r\nno end\r".encode()
        p = subprocess.Popen([BODKIN, "embed", "-m", model("bge-m3")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for i in range(len(data)):
            p.stdin.write(data[i:i + 1])
            p.stdin.flush()
            time.sleep(0.002)
        out = p.communicate(timeout=60)[0]
        self.assertEqual(p.returncode, 0)
        self.lines_are([json.loads(x) for x in out.splitlines()], ["hello", "über", "한글 \U0001f642", "", "", "no end"])

    def test_bytes_that_are_no_text(self):
        r, lines = random.Random(6), []
        for _ in range(300):
            part = [bytes(r.randrange(256) for _ in range(r.randrange(6))), b"\0", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf",
                    b"\xe2\x82", "é".encode(), b"dog "]
            lines.append(b"".join(r.choices(part, k=r.randrange(6))).replace(b"\n", b"") + b".")
        got = rows("bge-m3", text=b"\n".join(lines))
        codecs.register_error("each byte", lambda e: ("\ufffd" * (e.end - e.start), e.end))
        want = rows("bge-m3", text="\n".join(x.decode("utf-8", "each byte") for x in lines))
        self.assertEqual(got, want)

    def test_lines_of_many_megabytes(self):
        line = 16 << 20
        text = b"short\n" + b"word " * (2 << 20) + b"\n" + b"y" * line + b"\n" + b"y" * line + b"\r\n" + b"z" * (line + 1) + b"\n" + \
            b"word " * (17 << 18) + b"\n" + b"word\n" * 2 + b"x" * (40 << 20)
        path = self.file("long", text)
        short = rows("bert-pair", "--dimensions", "2", text="short\nword")
        for cut in ("error", "end", "start"):
            for how in ([path], []):
                got = rows("bert-pair", "--dimensions", "2", "--truncate", cut, *how, text=b"" if how else text)
                self.assertEqual([r["index"] for r in got], list(range(9)))
                self.assertEqual([i for i, r in enumerate(got) if "error" in r], [1, 3, 4, 5, 8] if cut == "error" else [3, 4, 5, 8])
                self.assertEqual([got[i]["embedding"] for i in (0, 6, 7)], [short[i]["embedding"] for i in (0, 1, 1)])
                self.assertEqual(got[2]["tokens"], 3) # one word, however long
                for i in (3, 4, 5, 8):
                    self.assertIn("longer than 16777216 bytes", got[i]["error"]["message"])
                if cut != "error":
                    self.assertEqual(got[1]["tokens"] + got[1]["truncated"] - 2, (2 << 20) * (short[1]["tokens"] - 2))
        os.remove(path)

    def test_ranking_lines_of_many_megabytes(self):
        text = b"a dog\n" + b"word " * (2 << 20) + b"\n" + b"y" * (17 << 20) + b"\n\n" + b"a dog"
        plain = json.loads(run("rerank", "bert-pair", "-q", "dog", text="a dog").stdout)
        for cut, errors in (("error", [1, 2]), ("end", [2]), ("start", [2])):
            p = run("rerank", "bert-pair", "-q", "dog", "--truncate", cut, text=text)
            got = [json.loads(x) for x in p.stdout.splitlines()]
            self.assertEqual(sorted(r["index"] for r in got), list(range(5)))
            self.assertEqual([r["index"] for r in got if "error" in r], errors)
            self.assertEqual([r["index"] for r in got[len(got) - len(errors):]], errors)
            self.assertEqual({r["score"] for r in got if r["index"] in (0, 4)}, {plain["score"]})
            self.assertIn(b"have errors", p.stderr)

    def test_signals(self):
        lines = ["hello world %d" % i for i in range(6000)]
        path = self.file("numbered", "\n".join(lines).encode())
        want = run("embed", "bge-m3", path).stdout
        for number in (signal.SIGINT, signal.SIGTERM):
            for wait in (0, 0.05):
                p = subprocess.Popen([BODKIN, "embed", "-m", model("bge-m3"), path], stdout=subprocess.PIPE)
                out = p.stdout.read(100000)
                time.sleep(wait) # the pipe fills: it writes, or waits to
                p.send_signal(number)
                out += p.stdout.read()
                self.assertEqual(p.wait(60), 128 + number)
                p.stdout.close()
                self.assertTrue(want.startswith(out) and len(out) < len(want), len(out)) # a beginning, and every whole line of it right

    def test_closed_descriptors(self):
        two, cache = self.file("two", b"a\nb\n"), os.path.join(TMP, "closed-cache")
        self.assertIn(b"Bad file", self.refused(74, "--cache", cache, two, preexec_fn=lambda: os.close(1)))
        self.assertEqual(rows("bge-m3", "--cache", cache, two), rows("bge-m3", two))

    def test_a_file_that_cannot_be_read_costs_no_other(self):
        two = self.file("two", b"a\nb\n")
        p = run("embed", "bge-m3", two, "/proc/self/mem", code=74)
        self.assertEqual(p.stdout, run("embed", "bge-m3", two).stdout)

    def test_one_bad_byte_in_a_long_line(self):
        line = b"word " * (6 << 18)
        got = rows("bert-pair", "--dimensions", "2", "--truncate", "end", text=line + b"\xff\n")
        self.assertEqual(got[0].get("embedding"), rows("bert-pair", "--dimensions", "2", "--truncate", "end", text=line)[0]["embedding"])


class Cache(unittest.TestCase):
    """What comes out with a cache is what comes out without one, whatever happens to the file."""
    def setUp(self):
        self.path, self.source = os.path.join(TMP, "cache"), os.path.join(TMP, "lines")
        with open(self.source, "w") as f:
            f.write("\n".join(texts(1500, 3)))
        self.want = run("embed", "bge-m3", "--format", "f32", self.source).stdout
        if os.path.exists(self.path):
            os.remove(self.path)

    def same(self, *args, size=""):
        got = run("embed", "bge-m3", "--format", "f32", "--cache", self.path + size, self.source, *args).stdout
        self.assertEqual(got, self.want)

    def start(self, size):
        return subprocess.Popen([BODKIN, "embed", "-m", model("bge-m3"), "--format", "f32", "--cache", self.path + size, self.source],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def test_second_run(self):
        self.same()
        size = os.path.getsize(self.path)
        self.assertGreater(size, 1000 * 64 * 4)
        self.same()
        self.assertLess(os.path.getsize(self.path), size * 1.3) # nothing was put twice
        row = rows("bge-m3", "--cache", self.path, "--dimensions", "4", "--pooling", "mean", text="hello world")[0]
        self.assertEqual(row, rows("bge-m3", "--dimensions", "4", "--pooling", "mean", text="hello world")[0])
        first = rows("bge-m3", "--cache", self.path, "--truncate", "end", text="word " * 400)
        self.assertEqual(rows("bge-m3", "--cache", self.path, "--truncate", "end", text="word " * 400), first)
        self.assertEqual(rows("bge-m3", "--cache", self.path, "--hierarchical", text="a text. a dog."),
                         rows("bge-m3", "--hierarchical", text="a text. a dog."))

    def test_scores(self):
        lines = "\n".join(texts(40) + ["", "a", "word " * 300])
        seen = set()
        for name in ("bert-pair", "qwen3-reranker"):
            for query in ("hello", "on", "no"): # the last two of as many tokens
                args = ["rerank", name, "-q", query, "--truncate", "end"]
                want = run(*args, text=lines).stdout
                for _ in range(2):
                    self.assertEqual(run(*args, "--cache", self.path, text=lines).stdout, want)
                    seen.add(os.path.getsize(self.path))
                rows(name, "--cache", self.path, "--truncate", "end", text=lines) # a vector is no score
                self.assertEqual(run(*args, "--cache", self.path, text=lines).stdout, want)
        self.assertGreaterEqual(len(seen), 6) # each query has its own

    def test_it_stays_as_small_as_it_must(self):
        for size, most in (("=64K", 64 << 10), ("=200K", 200 << 10)):
            for _ in range(2):
                self.same(size=size)
                self.assertLessEqual(os.path.getsize(self.path), most)

    def records(self):
        """Of the records at the file's beginning: their keys, where they have vectors; where the last one ends; the file's length."""
        with open(self.path, "rb") as f:
            data = f.read()
        at, keys = 0, []
        while at + 48 <= len(data) and data[at:at + 4] == b"BKC1":
            size = int.from_bytes(data[at + 4:at + 8], "little")
            if size and at + 48 + size <= len(data):
                keys.append(data[at + 8:at + 40])
            at += 48 + size
        return keys, at, len(data)

    def turned(self, k):
        """The lines from the k-th on, then the others; and their vectors."""
        path = os.path.join(TMP, "turned%d" % k)
        with open(self.source) as f:
            lines = f.read().split("\n")
        with open(path, "w") as f:
            f.write("\n".join(lines[k:] + lines[:k]))
        return path, self.want[k * 256:] + self.want[:k * 256]

    def start_on(self, path, size, out=subprocess.DEVNULL, **more):
        return subprocess.Popen([BODKIN, "embed", "-m", model("bge-m3"), "--format", "f32", "--cache", self.path + size, path], stdout=out,
                                stderr=subprocess.DEVNULL, **more)

    def test_killed_a_hundred_times(self):
        """At any time of a run that fills the cache, or goes on with it, or is ever making room; beside another run, too."""
        r, sizes, killed, grown = random.Random(7), ("", "=150K", "=64K"), 0, set()
        begun = time.monotonic()
        self.same()
        whole = time.monotonic() - begun
        for i in range(100):
            if i % 10 == 0:
                os.remove(self.path)
            path, want = self.turned(r.randrange(1500))
            size = sizes[i % 3]
            p = self.start_on(path, size)
            beside = self.start_on(path, size, subprocess.PIPE) if i % 4 == 3 else None
            try:
                p.wait(r.random() * whole)
            except subprocess.TimeoutExpired:
                p.kill()
            whole *= 1.05 if p.wait() == -9 else 0.8 # the machine may be busier now, or less
            killed += p.returncode == -9
            if beside:
                self.assertEqual(beside.communicate()[0], want)
            if os.path.exists(self.path):
                keys, _, length = self.records()
                grown.add(len(keys))
                if size and beside: # which made room, whoever had more
                    self.assertLessEqual(length, 150 << 10)
            if i % 5 == 4:
                self.same(size=size)
            os.remove(path)
        self.same()
        self.assertGreater(killed, 20) # how many, and at how many stages, is the machine's affair
        self.assertGreater(len(grown), 3)

    def shim(self):
        """A library that ends a program with SIGKILL at its n-th call that changes a file: of a write half is done."""
        source, library = os.path.join(TMP, "shim.c"), os.path.join(TMP, "shim.so")
        with open(source, "w") as f:
            f.write(SHIM)
        try:
            built = subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source], stderr=subprocess.DEVNULL).returncode == 0
        except OSError:
            built = False
        if not built or subprocess.run(["env", "LD_PRELOAD=" + library, BODKIN, "--version"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no library can be put in front of the program")
        return library

    def test_killed_at_every_write(self):
        library, (path, want) = self.shim(), self.turned(700)
        os.remove(path)
        with open(self.source) as f:
            lines = f.read().split("\n")[700:1100]
        with open(path, "w") as f:
            f.write("\n".join(lines))
        want, first, kinds = want[:400 * 256], os.path.join(TMP, "first"), set()
        self.same(size="=100K") # full of other lines
        shutil.copy(self.path, first)
        for size in ("=100K", "=70K", ""):
            for die in range(1, 2000):
                shutil.copy(first, self.path)
                p = self.start_on(path, size, env={"LD_PRELOAD": library, "DIE_AT": str(die)})
                if p.wait() == 0:
                    break
                self.assertEqual(p.returncode, -9)
                keys, end, length = self.records()
                kinds.add((len(keys), end == length))
                if die % 3 == 0: # once more, before anything was mended
                    self.start_on(path, size, env={"LD_PRELOAD": library, "DIE_AT": str(1 + die // 3)}).wait()
                for again in (size, ""):
                    q = self.start_on(path, again, subprocess.PIPE)
                    self.assertEqual(q.communicate()[0], want, (size, die))
                keys, end, length = self.records()
                self.assertEqual(end, length) # what was torn is gone
                self.assertEqual(len(set(keys)), len(keys)) # and nothing that was whole was put again
                self.assertLessEqual(sum(name.endswith(".part") for name in os.listdir(TMP)), 1) # the next to make room takes it over
            if die == 1:
                self.skipTest("the program is not one that a library can be put in front of")
        self.assertGreater(len(kinds), 1)
        self.assertTrue(any(not whole for _, whole in kinds)) # a torn record was among them

    def test_several_at_once(self):
        running = [self.start("=150K") for _ in range(4)]
        self.assertEqual([p.wait() for p in running], [0] * 4)
        self.same()
        os.remove(self.path)
        with open(self.source) as f:
            lines = sorted(set(f.read().split("\n")))
        for i in range(3):
            with open(os.path.join(TMP, "part%d" % i), "w") as f:
                f.write("\n".join(lines[i::3]))
        running = [self.start_on(os.path.join(TMP, "part%d" % i), "") for i in range(3)]
        self.assertEqual([p.wait() for p in running], [0] * 3)
        keys, end, length = self.records()
        self.assertEqual((len(keys), len(set(keys)), end), (len(lines), len(lines), length)) # what each has put is there
        self.same()
        self.assertEqual(len(self.records()[0]), len(lines))

    def test_damage(self):
        self.same()
        with open(self.path, "rb") as f:
            whole = f.read()
        r, heads, at = random.Random(9), [], 0
        while at < len(whole):
            heads.append(at)
            at += 48 + int.from_bytes(whole[at + 4:at + 8], "little")
        vectors = [h for h in heads if whole[h + 4:h + 8] != bytes(4)]
        for places in ([h + 48 + r.randrange(12 + 256) for h in r.sample(vectors, 400)],
                       [h + r.randrange(48) for h in r.sample(heads[20:], 3)], [r.randrange(len(whole)) for _ in range(60)]):
            data = bytearray(whole)
            for place in places:
                data[place] ^= 1 << r.randrange(8)
            for cut in (len(data), len(data) // 2, 60, 3):
                with open(self.path, "wb") as f:
                    f.write(data[:cut])
                self.same()

    def test_another_file_is_left_alone(self):
        with open(self.path, "w") as f:
            f.write("my only copy of this text")
        p = run("embed", "bge-m3", "--cache", self.path, text="a", code=65)
        self.assertIn(b"no cache", p.stderr)
        with open(self.path) as f:
            self.assertEqual(f.read(), "my only copy of this text")


if __name__ == "__main__":
    unittest.main()
