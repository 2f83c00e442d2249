#!/usr/bin/env python3
"""tools/make_random_model.py: every mix is a sound model to bodkin, with weights of the promised spread, the same each time.

usage: python3 tests/test_random_model.py ./bodkin
Skipped where PyPI's numpy and gguf are missing. SPDX-License-Identifier: MIT
"""
import os, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "bodkin"))
try:
    import gguf
except ImportError as missing:
    print("skipped: %s; pip install numpy gguf" % missing)
    print("0 passed, 0 failed, 1 skipped")
    sys.exit()
count = {True: 0, False: 0}


def check(name, good, shown=""):
    count[bool(good)] += 1
    if not good:
        print("FAILED: %s: %s" % (name, shown))


def make(mix, out, *options, shape="tiny-test"):
    tool = os.path.join(ROOT, "tools", "make_random_model.py")
    return subprocess.run([sys.executable, tool, shape, mix, out, *options], capture_output=True, text=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path, again = os.path.join(folder, "a.gguf"), os.path.join(folder, "b.gguf")
        for mix in ("Q4_K_M", "Q6_K", "Q4_0", "Q8_0", "F16"):
            made = make(mix, path)
            check(mix + " is made", made.returncode == 0, made.stderr)
            verified = subprocess.run([PROGRAM, "verify", path], capture_output=True, text=True)
            check(mix + " is sound", verified.returncode == 0, verified.stdout + verified.stderr)
            for t in gguf.GGUFReader(path).tensors:
                if len(t.shape) == 2:
                    z = gguf.dequantize(t.data, t.tensor_type) * float(t.shape[0]) ** 0.5
                    check("%s %s" % (mix, t.name), abs(z.mean()) < 0.05 and 0.9 < z.std() < 1.1, (z.mean(), z.std()))
            make(mix, again)
            check(mix + " is the same again", open(path, "rb").read() == open(again, "rb").read())
        for mix in ("Q4_K_M", "Q8_0"):
            made = make(mix, path, shape="moe-test")
            verified = subprocess.run([PROGRAM, "verify", path], capture_output=True, text=True)
            check(mix + " with experts is sound", made.returncode == verified.returncode == 0, made.stderr + verified.stdout + verified.stderr)
            experts = [t for t in gguf.GGUFReader(path).tensors if len(t.shape) == 3]
            check(mix + " has experts", len(experts) == 6 and all(t.shape[2] == 8 for t in experts), experts)
        made = make("Q8_0", path, shape="bert-test")
        verified = subprocess.run([PROGRAM, "verify", path], capture_output=True, text=True)
        vectors = subprocess.run([PROGRAM, "embed", "-m", path, "--format", "f32"], input=b"the cat\nsat, didn't it?\n", capture_output=True)
        check("an encoder is sound", made.returncode == verified.returncode == 0, made.stderr + verified.stdout + verified.stderr)
        check("an encoder makes vectors", len(vectors.stdout) == 2 * 64 * 4, vectors.stderr)
        make("Q4_K_M", path, "--layers", "2", "--context", "512")
        info = subprocess.run([PROGRAM, "info", path], capture_output=True, text=True).stdout
        check("layers and context as asked for", "2 layers" in info and "made for 512" in info, info)
        refused = make("Q4_K_M", os.path.join(folder, "none.gguf"), "--layers", "0")
        check("no layers are refused", refused.returncode and not os.path.exists(os.path.join(folder, "none.gguf")), refused.stderr)
    print("%d passed, %d failed" % (count[True], count[False]))
    return count[False] > 0


if __name__ == "__main__":
    sys.exit(main())
