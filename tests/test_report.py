#!/usr/bin/env python3
"""`bodkin embed --report` and `--pca` against NumPy, SciPy and scikit-learn, on the vectors that `bodkin embed` itself writes, and the
tools that stand beside them.

    python3 tests/test_report.py [BODKIN]

Models are made by `bodkin convert` from tests/families, in a folder that is removed. What needs a library that is not installed is
skipped and counted.
SPDX-License-Identifier: MIT
"""
import array
import importlib.util
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BODKIN = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else os.path.join(ROOT, "bodkin"))
TMP = ""
WORDS = "the quick brown fox words of a text dog hello it is over lazy count don't and".split()
HAVE = {name: importlib.util.find_spec(name) is not None for name in ("numpy", "scipy", "sklearn", "safetensors", "faiss", "hnswlib")}


def needs(*names):
    missing = [n for n in names if not HAVE[n]]
    return unittest.skipIf(missing, f"not installed: {', '.join(missing)}")


def model(name):
    return os.path.join(TMP, name + ".gguf")


def setUpModule():
    global TMP
    TMP = tempfile.mkdtemp()
    for name in ("bge-m3", "modernbert", "bert-pair"):
        subprocess.run([BODKIN, "convert", os.path.join(ROOT, "tests/families", name), model(name)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)


def tearDownModule():
    shutil.rmtree(TMP)


def environment():
    env = {"PATH": os.environ.get("PATH", ""), "HOME": TMP}
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    return env


def tool_environment():
    """All of ours, so that a library that is found here is found there, but no settings of bodkin."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("BODKIN_")}
    return dict(env, XDG_CONFIG_HOME=TMP)


def run(name, *args, lines=(), code=0):
    p = subprocess.run([BODKIN, "embed", "-m", model(name), *args], input="\n".join(lines).encode(), capture_output=True, env=environment(),
                       timeout=600)
    assert p.returncode == code, (p.returncode, p.stderr)
    return p


def report(name, *args, lines):
    return json.loads(run(name, "--report", "--json", *args, lines=lines).stdout)


def texts(n, seed=1):
    r = random.Random(seed)
    return [" ".join(r.choice(WORDS) for _ in range(r.randrange(1, 12))) for _ in range(n)]


def varied(n):
    """Lines of which some are the same and some nearly."""
    lines = texts(n, 3)
    r = random.Random(4)
    for i in range(0, n, 9):
        lines[i] = lines[r.randrange(n)]
    return lines


def floats(data, width):
    a = array.array("f", data)
    return [list(a[i:i + width]) for i in range(0, len(a), width)]


def safetensors(path, **tensors):
    """Each (type, shape, bytes)."""
    header, data = {}, b""
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    return path


class Report(unittest.TestCase):
    """Of fewer lines than the sample holds, so that every number is that of all lines."""
    def near(self, got, want, tolerance, *what):
        self.assertTrue(abs(got - want) <= tolerance, (got, want, *what))

    def vectors(self, name, lines, *args):
        import numpy as np
        p = run(name, "--format", "npy", *args, self.source(lines))
        with open(os.path.join(TMP, "v.npy"), "wb") as f:
            f.write(p.stdout)
        return np.load(os.path.join(TMP, "v.npy"))

    def source(self, lines):
        path = os.path.join(TMP, "lines")
        with open(path, "w") as f:
            f.write("\n".join(lines))
        return path

    @needs("numpy")
    def test_numbers_of_one_model(self):
        import numpy as np
        lines = varied(700)
        for name, args in (("bge-m3", []), ("modernbert", ["--dimensions", "37"]), ("bert-pair", ["--pooling", "mean"])):
            got = report(name, *args, lines=lines + ["word " * 400] + lines[:3]) # one that has an error
            whole = lines + lines[:3]
            kept = self.vectors(name, whole, *args).astype(np.float64)
            kept /= np.linalg.norm(kept, axis=1, keepdims=True)
            lengths = np.linalg.norm(self.vectors(name, whole, *(args if "--pooling" in args else []), "--normalize", "none"), axis=1)
            self.assertEqual((got["lines"], got["errors"], got["sample"], got["dimensions"]), (704, 1, 703, kept.shape[1]))
            self.assertEqual(got["duplicates"], 703 - len(set(whole)))
            rows = [json.loads(x) for x in run(name, *args, lines=whole).stdout.splitlines()]
            self.assertEqual(got["tokens"], sum(r["tokens"] for r in rows))
            for key, want in (("least", lengths.min()), ("mean", lengths.mean()), ("most", lengths.max())):
                self.near(got["norm"][key], want, 1e-5 * want, key)
            cosines = kept @ kept.T
            pairs = cosines[np.tril_indices(len(kept), -1)]
            like = got["similarity"]
            self.assertEqual(like["pairs"], len(pairs))
            self.near(like["mean"], pairs.mean(), 1e-6)
            self.near(like["standard_deviation"], pairs.std(), 1e-6)
            for q in (1, 5, 25, 50, 75, 95, 99):
                self.near(like[f"quantile_{q}"], np.percentile(pairs, q), 1e-6, q)
            want = np.histogram(np.clip(pairs, -1, 1), bins=40, range=(-1, 1))[0]
            self.assertEqual(sum(like["histogram"]), len(pairs))
            self.assertLess(np.abs(np.cumsum(want) - np.cumsum(like["histogram"])).max(), 40)
            variances = np.sort(np.linalg.eigvalsh(np.cov(kept.T, bias=True)))[::-1]
            spread = got["anisotropy"]
            self.near(spread["mean_cosine"], pairs.mean(), 1e-6)
            self.near(spread["effective_dimension"], variances.sum() ** 2 / (variances ** 2).sum(), 1e-3)
            for k in (1, 2, 3):
                self.near(spread[f"variance_of_first_{k}"], variances[:k].sum() / variances.sum(), 2e-3, k)
            self.check_duplicates(got["near_duplicates"], cosines, whole, 700)

    def check_duplicates(self, got, cosines, lines, error_at):
        import numpy as np
        same = np.array([[a == b for b in lines] for a in lines])
        nearest = np.where(same, -2, cosines).max(axis=1)
        for key, least in (("cosine_0.95", 0.95), ("cosine_0.99", 0.99)):
            self.near(got[key], (nearest >= least).mean(), 1.5 / len(lines), key)
        self.assertEqual(len(got["lines"]), min(5, len(got["lines"])))
        self.assertTrue(got["lines"])
        for a, b, cosine in got["lines"]:
            a, b = (i - 1 - (i - 1 > error_at) for i in (a, b)) # the line with an error is counted
            self.assertNotEqual(lines[a], lines[b])
            self.near(cosine, cosines[a, b], 2e-6)
        self.near(got["lines"][0][2], nearest.max(), 2e-6)

    def check_against(self, got, x, y, lines):
        import numpy as np
        from scipy.stats import spearmanr
        x, y = (v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (x, y))
        if x.shape[1] == y.shape[1]:
            self.near(got["mean_cosine"], (x * y).sum(axis=1).mean(), 1e-6)
            self.near(got["least_cosine"], (x * y).sum(axis=1).min(), 1e-6)
        else:
            self.assertIsNone(got["mean_cosine"])
        a, b = (np.round(v @ v.T, 7) + 0.0 for v in (x, y)) # what differs by less is one number to us, or may be
        low = np.tril_indices(len(x), -1)
        self.near(got["spearman"], spearmanr(a[low], b[low]).statistic, 1e-4)
        ranks, shared = [], {1: [], 10: []}
        for i in range(len(x)):
            other = [j for j in range(len(x)) if lines[j] != lines[i]]
            ranks.append(spearmanr(a[i, other], b[i, other]).statistic)
            for k in shared:
                near = [set(np.argsort(-m[i, other], kind="stable")[:k]) for m in (a, b)]
                shared[k].append(len(near[0] & near[1]) / k)
        self.near(got["neighbours_spearman"], np.nanmean(ranks), 1e-4)
        for k in shared:
            self.near(got[f"nearest_{k}_shared"], np.mean(shared[k]), 0.02, k)

    @needs("numpy", "scipy")
    def test_numbers_of_two_models(self):
        lines = list(dict.fromkeys(texts(320, 5))) # no two the same: which of equal ones is first is nobody's to say
        for args, theirs in ((["--dimensions", "24"], []), ([], ["--pooling", "cls"])):
            mine = self.vectors("bge-m3", lines, *args)
            got = report("bge-m3", *args, "--against", model("modernbert"), lines=lines)["against"]
            self.assertEqual(got["lines"], len(lines))
            self.check_against(got, mine, self.vectors("modernbert", lines), lines)
        got = report("bge-m3", "--exact", "--against", model("bge-m3"), lines=lines)["against"]
        self.check_against(got, self.vectors("bge-m3", lines, "--exact"), self.vectors("bge-m3", lines), lines)
        got = report("bge-m3", "--against-exact", lines=lines)["against"]
        self.check_against(got, self.vectors("bge-m3", lines), self.vectors("bge-m3", lines, "--exact"), lines)
        self.assertGreater(got["least_cosine"], 0.999)
        self.assertLess(got["least_cosine"], 1)

    @needs("numpy", "scipy")
    def test_numbers_of_two_precisions(self):
        import numpy as np
        lines = varied(300)
        x = self.vectors("bge-m3", lines)
        for precision in ("float16", "int8", "binary", "ubinary"):
            y = self.vectors("bge-m3", lines, "--precision", precision)
            if precision.endswith("binary"):
                y = np.unpackbits((y.view(np.uint8) ^ (0x80 if precision == "binary" else 0)).view(np.uint8), axis=1)[:, :64] * 2.0 - 1
            got = report("bge-m3", "--against-precision", precision, lines=lines)["against"]
            if precision.endswith("binary"): # ties in abundance
                for key in ("nearest_1_shared", "nearest_10_shared"):
                    self.assertTrue(0 <= got[key] <= 1)
            self.check_against(got, x, y, lines)
            other = report("bge-m3", "--precision", precision, "--against", model("bge-m3"), lines=lines)["against"]
            self.near(other["spearman"], got["spearman"], 1e-9)
            self.near(other["mean_cosine"], got["mean_cosine"], 1e-9)

    @needs("numpy", "scipy")
    def test_ranges(self):
        import numpy as np
        lines = texts(200, 8)
        x = self.vectors("bge-m3", lines)
        path = os.path.join(TMP, "ranges")
        np.stack([x.min(axis=0), x.max(axis=0)]).astype(np.float32).tofile(path)
        got = report("bge-m3", "--against-precision", "int8", "--ranges", path, lines=lines)["against"]
        self.check_against(got, x, self.vectors("bge-m3", lines, "--precision", "int8", "--ranges", path), lines)

    def test_a_model_against_itself(self):
        got = report("bge-m3", "--against", model("bge-m3"), lines=texts(100))["against"]
        self.assertEqual((got["lines"], got["dimensions"]), (100, 64))
        for key in ("mean_cosine", "least_cosine", "spearman", "neighbours_spearman", "nearest_1_shared", "nearest_10_shared"):
            self.near(got[key], 1, 1e-6, key)

    def test_lines_that_the_other_cannot_take(self):
        lines = texts(50, 6)
        got = report("bge-m3", "--against", model("modernbert"), lines=lines + [" ".join(["word"] * 28)]) # 114 tokens, of 114 and of 112
        self.assertEqual((got["errors"], got["sample"], got["against"]["lines"]), (0, 51, 50))

    def test_few_lines(self):
        got = report("bge-m3", "--against-precision", "int8", lines=[])
        self.assertEqual((got["lines"], got["sample"], got["similarity"]["mean"]), (0, 0, None))
        got = report("bge-m3", lines=["a text"])
        self.assertEqual((got["similarity"]["pairs"], got["anisotropy"]["effective_dimension"]), (0, None))
        got = report("bge-m3", "--against-precision", "int8", lines=["a text", "a text"])
        self.assertEqual((got["duplicates"], got["near_duplicates"]["cosine_0.95"], got["against"]["nearest_1_shared"]), (1, 0, None))
        self.near(got["similarity"]["mean"], 1, 1e-6)

    def test_the_sample_is_of_all_lines(self):
        """Of two kinds of lines, 5 in 6 of the first, then the second: the sample must hold both in proportion."""
        first, second = texts(7500, 10), [f"count {x}" for x in texts(1500, 11)]
        lines = first + second
        got = report("bert-pair", "--pooling", "mean", lines=lines)
        self.assertEqual((got["lines"], got["sample"]), (9000, 4096))
        self.assertEqual(got["duplicates"], 9000 - len(set(lines)))
        self.assertEqual(got["similarity"]["pairs"], 2048 * 2047 // 2)
        self.assertEqual(report("bert-pair", "--pooling", "mean", "--threads", "3", "--batch", "64", lines=lines), got)
        other = report("bert-pair", "--pooling", "mean", "--seed", "7", lines=lines)
        self.assertNotEqual(other["similarity"]["mean"], got["similarity"]["mean"])
        self.near(other["similarity"]["mean"], got["similarity"]["mean"], 0.01)
        if HAVE["numpy"]:
            import numpy as np
            x = np.array(floats(run("bert-pair", "--pooling", "mean", "--format", "f32", lines=lines).stdout, 64))
            mean = (len(x) * (x.mean(axis=0) ** 2).sum() - 1) * len(x) / len(x) / (len(x) - 1)
            for r in (got, other):
                self.near(r["anisotropy"]["mean_cosine"], mean, 0.004)
                self.near(r["similarity"]["mean"], mean, 0.006)
            kinds = [(x[:7500].mean(axis=0) ** 2).sum(), (x[7500:].mean(axis=0) ** 2).sum()]
            self.assertGreater(abs(kinds[0] - kinds[1]), 0.004) # so that one kind alone would be found out

    def test_for_people(self):
        text = run("bge-m3", "--report", "--against-precision", "float16", lines=varied(120)).stdout.decode()
        for want in ("lines   ", "effective dimension ", "  quantile 50 ", "########", "  lines ", "neighbours spearman "):
            self.assertIn(want, text)
        self.assertNotIn("nan", text)

    def test_what_cannot_be(self):
        for args, code in ((["--report", "--format", "npy"], 64), (["--report", "--pooling", "none"], 64),
                           (["--report", "--output", "colbert"], 64), (["--against", model("bge-m3")], 64),
                           (["--against-precision", "int8"], 64), (["--report", "--against-precision", "int9"], 64),
                           (["--report", "--against", "nowhere.gguf"], 66)):
            p = run("bge-m3", *args, lines=["a"], code=code)
            self.assertEqual((p.stdout, p.stderr.count(b"\n")), (b"", 1), args)


class Projection(unittest.TestCase):
    def setUp(self):
        self.lines = texts(400, 2)
        self.path = os.path.join(TMP, "pca.safetensors")

    def write(self, k=5, n=64, factors=None, **more):
        r = random.Random(1)
        self.components = [[r.gauss(0, 1) for _ in range(n)] for _ in range(k)]
        self.mean = [r.gauss(0, 0.1) for _ in range(n)]
        tensors = {"components": ("F32", [k, n], array.array("f", sum(self.components, [])).tobytes()),
                   "mean": ("F32", [n], array.array("f", self.mean).tobytes())}
        if factors:
            tensors["scale"] = ("F32", [k], array.array("f", factors).tobytes())
        tensors.update(more)
        return safetensors(self.path, **{name: t for name, t in tensors.items() if t})

    def rows(self, *args, lines=None):
        out = run("bge-m3", "--format", "f32", *args, lines=lines or self.lines).stdout
        return floats(out, len(out) // 4 // len(lines or self.lines))

    def test_it_is_what_it_says(self):
        scale = [1, 2, 0.5, -1, 3]
        self.write(factors=scale)
        whole = self.rows()
        want = [[s * sum(c * (x - m) for c, x, m in zip(row, v, self.mean)) for row, s in zip(self.components, scale)] for v in whole]
        for args, kept, unit in ((["--normalize", "none"], 5, False), ([], 5, True), (["--dimensions", "3"], 3, True)):
            got = self.rows("--pca", self.path, *args)
            self.assertEqual(len(got[0]), kept)
            for g, w in zip(got, want):
                w = w[:kept]
                length = sum(x * x for x in w) ** 0.5 if unit else 1
                self.assertLess(max(abs(a - b / length) for a, b in zip(g, w)), 3e-6)

    def test_formats_and_cache(self):
        self.write()
        cache, source = os.path.join(TMP, "cache"), os.path.join(TMP, "pca.txt")
        with open(source, "w") as f:
            f.write("\n".join(self.lines))
        want = self.rows("--pca", self.path)
        plain = self.rows()
        for args, expected in ((["--pca", self.path], want), ([], plain), (["--pca", self.path], want)):
            self.assertEqual(self.rows("--cache", cache, *args), expected)
        got = [json.loads(x)["embedding"] for x in run("bge-m3", "--pca", self.path, lines=self.lines).stdout.splitlines()]
        self.assertEqual([list(array.array("f", g)) for g in got], want)
        npy = run("bge-m3", "--pca", self.path, "--format", "npy", source).stdout
        self.assertIn(b"(400, 5)", npy[:128])
        self.assertEqual(floats(npy[128:], 5), want)
        got = json.loads(run("bge-m3", "--pca", self.path, "--hierarchical", lines=["hello world. a dog."]).stdout)
        self.assertEqual({len(s["embedding"]) for s in got["sentences"]} | {len(got["embedding"])}, {5})
        alone = json.loads(run("bge-m3", "--pca", self.path, lines=["hello world."]).stdout)
        self.assertEqual(got["sentences"][0]["embedding"], alone["embedding"])
        got = report("bge-m3", "--pca", self.path, "--against", model("bge-m3"), lines=self.lines)
        self.assertEqual((got["dimensions"], got["against"]["dimensions"]), (5, 64))

    def test_files_that_cannot_be(self):
        one = array.array("f", [0.5] * 64)
        nan = array.array("f", [0.5] * 63 + [float("nan")]).tobytes()
        for what, tensors in (("components (k, n)", {"components": None}), ('no tensor "mean"', {"mean": None}),
                              ("F32 (64", {"mean": ("F32", [32], one.tobytes()[:128])}),
                              ("F16", {"mean": ("F16", [64], one.tobytes()[:128])}),
                              ("NaN", {"mean": ("F32", [64], nan)}),
                              ("have 64", {"components": ("F32", [1, 32], one.tobytes()[:128])}),
                              ("have 64", {"components": ("F32", [64], one.tobytes())}), ("NaN", {"components": ("F32", [1, 64], nan)}),
                              ("have 64", {"components": ("F32", [0, 64], b"")}),
                              ("have 64", {"components": ("F32", [65, 64], one.tobytes() * 65)}),
                              ("scale", {"scale": ("F32", [4], one.tobytes()[:16])})):
            self.write(**tensors)
            p = run("bge-m3", "--pca", self.path, lines=["a"], code=65)
            self.assertEqual((p.stdout, p.stderr.count(b"\n")), (b"", 1), what)
            self.assertIn(what, p.stderr.decode())
        self.write()
        with open(self.path, "rb") as f:
            data = f.read()
        for cut in (0, 7, 20, len(data) - 1):
            with open(self.path, "wb") as f:
                f.write(data[:cut])
            run("bge-m3", "--pca", self.path, lines=["a"], code=65)
        run("bge-m3", "--pca", os.path.join(TMP, "none"), lines=["a"], code=66)
        self.write()
        run("bge-m3", "--pca", self.path, "--dimensions", "6", lines=["a"], code=64)
        run("bge-m3", "--pca", self.path, "--pooling", "none", lines=["a"], code=64)

    @needs("numpy", "sklearn", "safetensors")
    def test_the_fit_is_scikit_learns(self):
        import numpy as np
        from sklearn.decomposition import PCA
        source = os.path.join(TMP, "fit.txt")
        with open(source, "w") as f:
            f.write("\n".join(self.lines))
        with open(os.path.join(TMP, "fit.npy"), "wb") as f:
            f.write(run("bge-m3", "--format", "npy", source).stdout)
        x = np.load(os.path.join(TMP, "fit.npy")).astype(np.float64)
        for args, whiten in (([], False), (["--whiten"], True)):
            tool = os.path.join(ROOT, "tools/fit_pca.py")
            subprocess.run([sys.executable, tool, os.path.join(TMP, "fit.npy"), "12", self.path, *args], check=True, env=tool_environment(),
                           stderr=subprocess.DEVNULL)
            want = PCA(12, whiten=whiten, svd_solver="full").fit(x).transform(x)
            got = np.array(self.rows("--pca", self.path, "--normalize", "none"))
            self.assertLess(np.abs(got - want).max(), 1e-5 if whiten else 1e-6) # the whitened ones are a hundred times as large


class Mining(unittest.TestCase):
    def mine(self, queries, corpus, *args, code=0):
        paths = [os.path.join(TMP, x) for x in ("queries.jsonl", "corpus.txt")]
        for path, lines in zip(paths, ([q if isinstance(q, str) else json.dumps(q) for q in queries], corpus)):
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write("\n".join(lines))
        tool = os.path.join(ROOT, "tools/mine_negatives.py")
        p = subprocess.run([sys.executable, tool, "-m", model("bge-m3"), "--bodkin", BODKIN, *args, *paths], capture_output=True,
                           env=tool_environment(), timeout=600)
        self.assertEqual(p.returncode, code, p.stderr)
        return [json.loads(x) for x in p.stdout.decode().splitlines()], p.stderr.decode()

    def by_hand(self, queries, corpus, relative, margin, most, negatives, top):
        import numpy as np
        def vectors(lines):
            return np.array(floats(run("bge-m3", "--format", "f32", lines=lines).stdout, 64), dtype=np.float32)
        lines = [x for x in corpus if x.strip()]
        x = vectors(lines)
        for q in queries:
            positives = [q["positive"]] if isinstance(q["positive"], str) else q["positive"]
            v = vectors([q["query"]])[0]
            least = min(float(v @ p) for p in vectors(positives))
            scores = x @ v
            taken = []
            for i in np.argsort(-scores, kind="stable")[:top]:
                text, s = lines[i], float(scores[i])
                if text not in positives + taken and s < relative * least and s <= least - margin and s <= most and len(taken) < negatives:
                    taken.append(text)
            yield taken, least, {t: float(x[lines.index(t)] @ v) for t in taken}

    def check(self, *args, relative=0.95, margin=0.0, most=1.0):
        corpus = varied(600)
        corpus[5] = corpus[77] = ""
        r = random.Random(12)
        queries = [{"query": q, "positive": r.choice([x for x in corpus if x])} for q in texts(40, 13)]
        queries[3] = {"query": "a\nlazy dog", "positive": [corpus[1], corpus[2]]}
        for q in queries[10:]: # answers that are near, so that much is left
            q["positive"] = q["query"]
        got, said = self.mine(queries, corpus, *args, "--negatives", "4", "--top", "600")
        self.assertEqual([(g["query"], g["positive"]) for g in got], [(q["query"], q["positive"]) for q in queries])
        queries[3]["query"] = "a lazy dog"
        taken = short = 0
        for g, (texts_, least, scores) in zip(got, self.by_hand(queries, corpus, relative, margin, most, 4, 600)):
            self.assertAlmostEqual(g["positive_score"], least, 5)
            self.assertEqual(len(g["negatives"]), len(g["scores"]))
            self.assertEqual(g["negatives"], texts_)
            for text, score in zip(g["negatives"], g["scores"]):
                self.assertAlmostEqual(score, scores[text], 5)
            taken += len(texts_)
            short += len(texts_) < 4
        self.assertGreater(taken, 40)
        self.assertIn(f"[40 queries, 598 lines, {taken} negatives;", said)
        self.assertIn(f"{short} queries have fewer than 4]", said)

    @needs("numpy", "faiss")
    def test_exact(self):
        self.check()
        self.check("--relative", "1", "--margin", "0.01", "--most", "0.97", relative=1, margin=0.01, most=0.97)

    @needs("numpy")
    @unittest.skipUnless(HAVE["faiss"] or HAVE["hnswlib"], "not installed: faiss, hnswlib")
    def test_approximate(self):
        self.check("--index", "hnsw") # of so few lines as good as exact

    @needs("numpy")
    def test_queries_that_cannot_be(self):
        for bad in ("{", '{"query": "a"}', '{"query": "a", "positive": []}', '{"query": 1, "positive": "b"}'):
            got, said = self.mine([{"query": "a", "positive": "b"}, bad], ["a text"], code=1)
            self.assertEqual(got, [])
            self.assertIn("line 2", said)


if __name__ == "__main__":
    unittest.main()
