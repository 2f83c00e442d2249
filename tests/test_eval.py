#!/usr/bin/env python3
"""What `bodkin eval` promises, proved from the command line: python3 tests/test_eval.py ./bodkin

The same requests get the same bits whatever --threads, --chunk, --batch and --isa say (and `steps` and `max_rows` show
that chunks and batches really happened); bad lines are answered and the rest goes on; exit codes; --dequant. With a
folder of reference models ($BODKIN_ZOO, else ../shared/zoo beside the checkout) its check.py is run as well.
Standard library only. SPDX-License-Identifier: MIT
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "tests", "golden")
NAMES = ["llama-tiny-f32", "llama-tiny-mixed", "gemma3-tiny-f16"]
N_VOCAB = 268
BODKIN = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "bodkin"))
count = {"passed": 0, "failed": 0, "skipped": 0}


def check(good, what, detail=""):
    count["passed" if good else "failed"] += 1
    if not good:
        print("FAIL", what, str(detail)[:300], flush=True)
    return good


def run(*args, data=b"", stdout=subprocess.PIPE):
    env = {k: v for k, v in os.environ.items() if not k.startswith("BODKIN_")}
    env["XDG_CONFIG_HOME"] = "/nonexistent"
    p = subprocess.run([BODKIN] + [str(a) for a in args], input=data,
                       stdout=stdout, stderr=subprocess.PIPE, env=env, timeout=120)
    return p.returncode, p.stdout or b"", p.stderr.decode(errors="replace")


def model(name):
    return os.path.join(GOLDEN, name + ".gguf")


def ask(name, requests, *args):
    """Answers by id; every line of stdout must be JSON."""
    lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)
    code, out, err = run("eval", "-m", model(name), *args, data=lines.encode())
    check(code == 0, "%s %s: exit code" % (name, args), "%d %s" % (code, err))
    return {a["id"]: a for a in map(json.loads, out.decode().splitlines())}


def ids(n, seed):  # a small generator of its own, so that every run asks the same
    out = []
    for _ in range(n):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        out.append((seed >> 33) % N_VOCAB)
    return out


def bits(answer):
    return [(l["position"], l["sha256"]) for l in answer.get("logits", [])], answer.get("greedy"), answer.get("error")


# ---- the same bits ----

def test_same_bits(name):
    longest = 300 if name.startswith("llama") else 200
    lengths = [1, 5, 64, 65, 17, 130, longest, 2]
    requests = [{"id": i, "ids": ids(n, i + 1), "positions": sorted({0, n // 2, n - 1}) + [-1], "top": 3, "greedy": 5}
                for i, n in enumerate(lengths)]
    isas = []
    for isa in ("scalar", "avx2", "avx_vnni", "avx512", "neon", "neon_dot", "neon_i8mm"):
        code, _, _ = run("eval", "-m", model(name), "--isa", isa)
        check(code in (0, 69), "--isa %s: 0 or 69" % isa, code)
        if code == 0:
            isas.append(isa)
        else:
            count["skipped"] += 1
    differ = []
    for kv in ("f16", "f32", "q8_0"):
        base = ask(name, requests, "--kv", kv, "--threads", 1)
        differ.append(bits(base[6]))
        check(all(len(a.get("greedy", [])) == 5 and len(a["logits"]) == len(requests[i]["positions"])
              for i, a in base.items()), "%s: whole answers" % name, base)
        ways = [("--threads", 2), ("--batch", 5), ("--batch", 5, "--chunk", 7, "--threads", 2)]
        ways += [("--chunk", c) for c in (1, 7, 64, 512)] + [("--isa", isa) for isa in isas]
        for way in ways:
            got = ask(name, requests, "--kv", kv, *way)
            for i, n in enumerate(lengths):
                check(bits(got[i]) == bits(base[i]), "%s, kv %s, %s: request %d" % (name, kv, way, i), got.get(i))
                if kv == "f16" and way[0] == "--chunk":  # of one request alone, a step holds one chunk
                    chunk = min(way[1], got[6]["max_rows"])
                    check(got[i]["max_rows"] == min(n, chunk) and got[i]["steps"] == -(-n // chunk) + 4,
                          "%s %s: steps of %d tokens" % (name, way, n), (got[i]["steps"], got[i]["max_rows"]))
            if way == ("--chunk", 512):
                check(got[6]["max_rows"] > 64, "a large chunk is taken", got[6]["max_rows"])
            if way == ("--batch", 5):
                check(got[0]["max_rows"] > 5, "requests share steps", got[0]["max_rows"])
            if len(way) > 2:
                check(any(a["max_rows"] > 7 for a in got.values()), "chunks share steps")
        text = base[6]["logits"]
        check(text[-1]["sha256"] == text[-2]["sha256"] and text[-1]["position"] == -1, "position -1 is the last")
    check(len({str(d) for d in differ}) == 3, "the types of keys and values do differ", differ)


def test_golden(name):
    with open(os.path.join(GOLDEN, name + ".json")) as f:
        cases = json.load(f)["cases"]
    requests = [{"id": i, "ids": c["ids"], "positions": c["positions"], "top": N_VOCAB,
        "greedy": len(c.get("greedy", []))} for i, c in enumerate(cases)]
    for args, bound in ((("--exact",), 2e-4), (("--exact", "--batch", 3, "--threads", 2), 2e-4), ((), 0.8)):
        for i, a in ask(name, requests, *args).items():
            worst = max(abs(v - row[t]) for l, row in zip(a["logits"], cases[i]["logits"])
                        for t, v in zip(l["top_ids"], l["top_values"]))
            check(worst < bound, "%s %s: golden logits" % (name, args), worst)
            check(all(l["top_values"] == sorted(l["top_values"], reverse=True) and sorted(
                l["top_ids"]) == list(range(N_VOCAB)) for l in a["logits"]), "the largest, in order")
            if "--exact" in args and "greedy" in cases[i]:
                check(a["greedy"] == cases[i]["greedy"], "%s: greedy tokens" % name, a["greedy"])


# ---- lines that are wrong ----

def test_bad_lines():
    name = NAMES[0]
    good = {"ids": [1, 2, 3], "positions": [-1], "top": 1}
    bad = [
        ("{", None), ("nonsense", None), ("[1,2]", None), ('{"id":"a"}', "a"),
        ('{"id":7,"ids":"x"}', 7), ('{"id":8,"ids":[]}', 8),
        ('{"id":9,"ids":[1,268]}', 9), ('{"id":10,"ids":[-1]}', 10), ('{"id":11,"ids":[1.5]}', 11),
        ('{"id":12,"ids":[1],"positions":[1]}', 12), ('{"id":13,"ids":[1],"positions":[-2]}', 13),
        ('{"id":14,"ids":[1],"positions":3}', 14), ('{"id":15,"ids":[1],"greedy":-1}', 15),
        ('{"id":16,"ids":[1],"top":"x"}', 16),
        ('{"id":17,"ids":[%s]}' % ",".join(["1"] * 513), 17), ('{"id":18,"ids":[1],"greedy":512}', 18),
        ('{"id":19,"text":5}', 19), ('{"id":20,"ids":[1,99999999999999999999]}', 20),
        ('{"id":21,"text":"a","special":3}', 21),
        ('{"id":22,"ids":[1],"embed":7}', 22), ("[" * 5000, None),
        ('{"id":23,"ids":[1]', None), ('\xff{"id":24}', None)]
    lines = []
    for i, (line, _) in enumerate(bad):
        lines += [json.dumps(dict(good, id="good%d" % i)), line]
    for args in ((), ("--batch", 4)):
        code, out, _ = run("eval", "-m", model(name), *args, data=("\n".join(lines) + "\n\n\n").encode("latin-1"))
        answers = [json.loads(l) for l in out.decode().splitlines()]
        check(code == 0, "bad lines: exit code", code)
        check(len(answers) == len(lines), "one answer to each line", "%d of %d" % (len(answers), len(lines)))
        errors = [a for a in answers if "error" in a]
        check(all(isinstance(a["error"]["message"], str) and a["error"]["message"]
              for a in errors), "errors have messages")
        check(sorted(str(a["id"]) for a in errors) == sorted(str(i) for _, i in bad), "errors have their ids",
              sorted(str(a["id"]) for a in errors))
        hashes = {a["logits"][0]["sha256"] for a in answers if "error" not in a}
        check(
    len(hashes) == 1 and len(answers) -
    len(errors) == len(bad),
    "and the good ones are answered",
     len(hashes))
    code, out, _ = run("eval", "-m", model(name), data=json.dumps(dict(good, id=1)).encode())  # no newline at the end
    check(code == 0 and b"sha256" in out, "a last line without an end")
    code, out, _ = run("eval", "-m", model(name))
    check(code == 0 and out == b"", "no input, no answers", (code, out))
    code, out, _ = run("eval", data=b'{"id":1,"ids":[1]}\n')
    check(b'"error"' in out, "no model: said in the answer", (code, out))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "requests")
        with open(path, "w") as f:
            f.write(json.dumps(dict(good, id=1)) + "\n")
        code, out, _ = run("eval", "-m", model(name), path)
        check(code == 0 and b"sha256" in out, "requests from a file", (code, out))


def test_text():
    name = NAMES[0]
    got = ask(name, [{"id": 1, "text": "the thing<|end|>", "tokenize": True},
                     {"id": 2, "text": "the thing<|end|>", "tokenize": True, "special": True},
                     {"id": 3, "text": "the thing", "tokenize": True, "special": False},
                     {"id": 4, "ids": [0, 65, 256, 267], "detokenize": True},
                     {"id": 5, "text": "the thing", "positions": [-1], "top": 2, "greedy": 3},
                     {"id": "\u00e9\"\n", "text": "", "tokenize": True}])
    plain = got[3]["ids"]
    check(plain and 266 not in plain and 267 not in plain, "no special tokens unless asked", plain)
    check(got[2]["ids"] == [266] + plain + [267], "special tokens added and parsed", got[2]["ids"])
    check(got[1]["ids"][:1 + len(plain)] == [266] + plain and 267 not in got[1]
          ["ids"], "never parsed by default", got[1]["ids"])
    check(257 in plain or 263 in plain, "merges happen", plain)
    check(bytes.fromhex(got[4]["bytes_hex"]) == b"\x00Ath<|end|>", "pieces back to bytes", got[4])
    same = ask(name, [{"id": 1, "ids": got[5]["ids"], "positions": [-1], "top": 2, "greedy": 3}])[1]
    check(got[5]["ids"] == [266] + plain and bits(same) == bits(got[5]), "text and its ids are one")
    check(got["\u00e9\"\n"]["ids"] == [266], "an id of any string comes back", list(got))


# ---- the rest of the command ----

def test_dequant():
    floats = [0.0, -1.5, 3.25, 1e-3]
    raw = struct.pack("<4f", *floats)
    check(run("eval", "--dequant", "F32", data=raw)[:2] == (0, raw), "F32 as it is")
    code, out, _ = run("eval", "--dequant", "f16", data=struct.pack("<2e", 0.5, -2.0))
    check((code, out) == (0, struct.pack("<2f", 0.5, -2.0)), "F16, in small letters", (code, out))
    code, out, _ = run("eval", "--dequant", "Q8_0", data=struct.pack("<e32b", 0.5, *range(-16, 16)) * 3)
    check((code, out) == (0, struct.pack("<32f", *(i / 2 for i in range(-16, 16))) * 3), "Q8_0", code)
    code, out, _ = run("eval", "--dequant", "Q4_0", data=struct.pack("<e16B", 2.0, *range(16)))
    check((code, out) == (0, struct.pack("<32f", *([2.0 * (i - 8) for i in range(16)] + [-16.0] * 16))), "Q4_0", code)
    check(run("eval", "--dequant", "Q8_0", data=b"\0" * 35)[0] == 65, "a block cut short")
    check(run("eval", "--dequant", "Q8_0")[:2] == (0, b""), "no blocks")
    check(run("eval", "--dequant", "Q77")[0] == 65, "an unknown format")


def test_exit_codes():
    good, name = b'{"id":1,"ids":[1],"positions":[0]}\n', model(NAMES[0])
    with tempfile.TemporaryDirectory() as folder:
        broken = os.path.join(folder, "broken.gguf")
        with open(name, "rb") as f:
            whole = f.read()
        with open(broken, "wb") as f:
            f.write(whole[:len(whole) // 2])
        empty = os.path.join(folder, "empty.gguf")
        open(empty, "w").close()
        cases = [(66, "-m", os.path.join(folder, "none.gguf")), (66, "-m", folder), (65, "-m", broken),
                 (65, "-m", empty),
                 (64, "-m", name, "--frobnicate"), (64, "-m", name, "--threads", "many"),
                 (64, "-m", name, "--threads", "0"),
                 (64, "-m", name, "--kv", "q3"), (64, "-m", name, "--isa", "mmx"),
                 (64, "-m", name, "--context", "100000"), (75, "-m", name, "--memory", "1K"),
                 (66, "-m", name, os.path.join(folder, "requests"))]
        for code, *args in cases:
            got, out, err = run("eval", *args, data=good)
            check(got == code, "%s: exit code %d" % (args, code), (got, err))
            check(out == b"" and err.count("\n") == 1 and err.startswith(
                "bodkin"), "%s: one sentence on stderr" % args, err)
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                check(run("eval", "-m", name, data=good, stdout=full)[0] == 74, "a full disk is 74")
        text = os.path.join(folder, "text")
        with open(text, "wb") as f:
            f.write(bytes(97 + i % 26 for i in ids(2500, 3)))
        code, out, err = run("eval", "-m", name, "--perplexity", text)
        answer = json.loads(out) if code == 0 else {}
        check(code == 0 and 20 < answer["perplexity"] < 1e6 and answer["standard_error"]
              > 0, "perplexity of noise", (code, out, err))
        check(run("eval", "-m", name, "--perplexity", text, "--threads", 2)[1] == out, "and with two threads")
        with open(text, "wb") as f:
            f.write(b"too short")
        check(run("eval", "-m", name, "--perplexity", text)[0] == 65, "perplexity of too little")
        check(run("eval", "-m", name, "--perplexity", os.path.join(folder, "none"))[0] == 66, "perplexity of no file")


# ---- reference models, where there are some ----

def test_zoo():
    zoo = os.environ.get("BODKIN_ZOO") or os.path.join(os.path.dirname(ROOT), "shared", "zoo")
    formats = sorted(f[:-2].upper() for f in os.listdir(os.path.join(ROOT, "src", "quant")) if f.endswith(".h"))
    wanted = [("models", "models/llama"), ("models", "models/gemma3")] + [("dequant", "dequant/" + f)
               for f in formats] + [("quants", "quants/" + f) for f in formats]
    if not os.path.exists(os.path.join(zoo, "check.py")):
        print("no reference models (set BODKIN_ZOO)")
        count["skipped"] += len(wanted)
        return
    for part, only in wanted:
        p = subprocess.run([sys.executable, os.path.join(zoo, "check.py"), BODKIN, "--part", part, "--only", only],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        lines = p.stdout.decode(errors="replace").splitlines()
        last = lines[-1].replace(",", "").split() if lines else []
        if len(last) == 6 and last[1::2] == ["passed", "failed", "skipped"]:
            for key, n in zip(last[1::2], last[::2]):
                count[key] += int(n)
            for line in lines[:-1]:
                print(line)
        else:
            check(False, "reference models: %s" % only, lines[-3:])


if not os.path.exists(BODKIN):
    sys.exit("test_eval.py: no program %s" % BODKIN)
for one in NAMES:
    test_same_bits(one)
    test_golden(one)
test_bad_lines()
test_text()
test_dequant()
test_exit_codes()
test_zoo()
print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % count)
sys.exit(1 if count["failed"] else 0)
