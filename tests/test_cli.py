#!/usr/bin/env python3
"""The command line as a user meets it: messages, exit codes, streams, signals, settings, stores, a real terminal.

    python3 tests/test_cli.py [BODKIN [MODEL]]      BODKIN: ./bodkin; MODEL: models/SmolLM2-135M-Instruct-Q4_1.gguf

Made-up models come from tests/golden; those with defects are written here, into a folder that is removed at the end.
What the machine lacks (the real model, tmux, a second user) is skipped and counted. Nothing here depends on speed:
every wait is for an event and only gives up after a minute. Standard library only.
SPDX-License-Identifier: MIT
"""
import collections
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BODKIN = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "bodkin"))
REAL = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(ROOT, "models/SmolLM2-135M-Instruct-Q4_1.gguf"))
GOLDEN = os.path.join(ROOT, "tests/golden")
TINY = os.path.join(GOLDEN, "llama-tiny-f32.gguf")
PATIENCE = 60  # seconds until a wait gives up
NOBODY = 65534
count = collections.Counter()
tmp = ""  # the folder of this run; also the home and the working directory of what it starts


# ---- counting ----

def check(name, good, *shown):
    count["passed" if good else "failed"] += 1
    if not good:
        print("FAILED %s" % name, *[repr(s) for s in shown], sep="\n    ", flush=True)
    return good


def skip(name, why):
    count["skipped"] += 1
    print("skipped: %s (%s)" % (name, why), flush=True)


# ---- running ----

def environment(extra=None):
    """Nothing of the caller's settings and stores, so that a test means the same everywhere."""
    env = {"HOME": tmp, "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TERM": "xterm", "SHELL": "/bin/sh"}
    env.update({k: v for k, v in os.environ.items() if k in ("LD_LIBRARY_PATH", "LLVM_PROFILE_FILE") or k.endswith("SAN_OPTIONS")})
    env.update(extra or {})
    return env


def run(*args, stdin=b"", env=None, binary=None, **more):
    more.setdefault("stdout", subprocess.PIPE)
    source = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    return subprocess.run([binary or BODKIN, *args], stderr=subprocess.PIPE, env=environment(env), cwd=tmp,
                          timeout=5 * PATIENCE, **source, **more)


def start(*args, stdin=subprocess.DEVNULL, **more):
    return subprocess.Popen([BODKIN, *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=environment(), cwd=tmp, **more)


def fails(name, code, pattern, *args, **more):
    """Nothing on stdout, one sentence on stderr (after the line that says the context), that exit code."""
    p = run(*args, **more)
    lines = [x for x in p.stderr.decode("utf-8", "replace").split("\n") if not re.fullmatch(r"\[context \d+ tokens\]", x)]
    good = p.returncode == code and not p.stdout and len(lines) == 2 and lines[1] == ""
    check(name, good and re.fullmatch("bodkin: " + pattern, lines[0]), "exit %d, expected %d" % (p.returncode, code), p.stdout, p.stderr)


def works(name, *args, **more):
    p = run(*args, **more)
    check(name, p.returncode == 0, p.returncode, p.stdout, p.stderr)
    return p


CLOSING = re.compile(rb"\[(\d+) \+ (\d+) tokens, [\d.]+ tokens/s, first after \d+ ms, [\d.]+ GB/s, seed (\d+)\]\n")


def generated(p):
    """Tokens of the answer, by the closing line; -1 without one."""
    m = CLOSING.search(p.stderr)
    return int(m.group(2)) if m else -1


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("waited for a minute: " + what)
        time.sleep(0.02)


# ---- GGUF, read and written ----

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
Model = collections.namedtuple("Model", "keys tensors")  # name -> bytes of type and value; [name, record, data]


def gguf_text(s):
    return struct.pack("<Q", len(s)) + s


def gguf_read(path):
    b = open(path, "rb").read()
    n_tensors, n_keys = struct.unpack_from("<QQ", b, 8)
    at = 24

    def take(n):
        nonlocal at
        at += n
        return b[at - n:at]

    def number(kind):
        return struct.unpack("<" + kind, take(struct.calcsize(kind)))[0]

    def value(kind):
        if kind == 8:
            take(number("Q"))
        elif kind == 9:
            kind, n = number("I"), number("Q")
            for _ in range(n):
                value(kind)
        else:
            take(SIZES[kind])

    keys, tensors = {}, []
    for _ in range(n_keys):
        name, begin = take(number("Q")), at
        value(number("I"))
        keys[name] = b[begin:at]
    for _ in range(n_tensors):
        name, begin = take(number("Q")), at
        take(8 * number("I") + 4)
        tensors.append([name, b[begin:at], number("Q")])
    data = (at + 31) // 32 * 32
    ends = sorted(t[2] for t in tensors) + [len(b) - data]
    for t in tensors:
        t[2] = b[data + t[2]:data + ends[ends.index(t[2]) + 1]]
    return Model(keys, tensors)


def gguf_write(model, name):
    path = os.path.join(tmp, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(model.tensors), len(model.keys))
    head += b"".join(gguf_text(k) + v for k, v in model.keys.items())
    data = b""
    for tensor, record, weights in model.tensors:
        head += gguf_text(tensor) + record + struct.pack("<Q", len(data))
        data += weights + bytes(-len(weights) % 32)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + data)
    return path


def with_keys(model, changes):
    """A model with other metadata; None removes a key."""
    keys = {**model.keys, **changes}
    return Model({k: v for k, v in keys.items() if v is not None}, model.tensors)


def uint(n):
    return struct.pack("<II", 4, n)


def strings(value):
    """The elements of an array of strings."""
    out, at = [], 16
    while at < len(value):
        n = struct.unpack_from("<Q", value, at)[0]
        out.append(value[at + 8:at + 8 + n])
        at += 8 + n
    return out


def write_endless():
    """The small model with room for a book and nothing that ends an answer: endless.gguf; chatty.gguf has a template."""
    model = gguf_read(TINY)
    tokens = b"".join(gguf_text(t.replace(b"<|", b"=|")) for t in strings(model.keys[b"tokenizer.ggml.tokens"]))
    changes = {b"llama.context_length": uint(1 << 17), b"tokenizer.ggml.eos_token_id": uint(0xFFFFFFFF),
               b"tokenizer.ggml.tokens": model.keys[b"tokenizer.ggml.tokens"][:16] + tokens}
    gguf_write(with_keys(model, changes), "endless.gguf")
    render = gguf_text(b"{% for m in messages %}{{ m.content }}\n{% endfor %}")
    gguf_write(with_keys(model, {**changes, b"tokenizer.chat_template": struct.pack("<I", 8) + render}), "chatty.gguf")


# ---- files that are no models, or none that will do ----

def test_bad_files():
    whole = open(TINY, "rb").read()
    for name, data in (("text", b"It was a dark and stormy night.\n" * 9), ("empty", b""), ("short", whole[:3]),
                       ("cut-header", whole[:1000]), ("cut-weights", whole[:-1000])):
        with open(os.path.join(tmp, name + ".gguf"), "wb") as f:
            f.write(data)
    for command in ("info", "verify", "run", "complete", "tokenize", "eval", "bench"):
        given = [command] if command in ("info", "verify") else [command, "-m"]
        prompt = ["Hi"] if command in ("run", "complete") else []
        no = "(is )?not a GGUF file.*"
        fails(command + ": missing file", 66, r"\./none\.gguf: No such file or directory", *given, "./none.gguf", *prompt)
        fails(command + ": a folder", 66, r"\./: a directory, expected a file", *given, "./", *prompt)
        fails(command + ": a text", 65, r"\./text\.gguf: " + no, *given, "./text.gguf", *prompt)
        fails(command + ": an empty file", 65, r"\./empty\.gguf: the file is empty, expected a GGUF model", *given, "./empty.gguf", *prompt)
        fails(command + ": three bytes", 65, r"\./short\.gguf: " + no, *given, "./short.gguf", *prompt)
        fails(command + ": header cut short", 65, r"\./cut-header\.gguf: .*(only \d+ are left: the file is cut short or damaged"
              r"|more than the file can hold|only \d+ bytes are left)", *given, "./cut-header.gguf", *prompt)
        if command not in ("tokenize", "verify"):  # which reads no weights; which says more
            fails(command + ": weights cut short", 65, r"\./cut-weights\.gguf: tensor \S+: .*the file is cut short",
                  *given, "./cut-weights.gguf", *prompt)
    fails("a model that is a device", 66, r"/dev/null: not a regular file, expected a file", "info", "/dev/null")
    fails("a name that nobody knows", 66, r"no model nonsuch: no such file, .*", "run", "-m", "nonsuch", "Hi")
    fails("input that is not there", 66, r"\./none: No such file or directory", "tokenize", "-m", TINY, "./none")
    fails("input that is a folder", 66, r"\./: a directory, expected a file", "tokenize", "-m", TINY, "./")


def test_no_permission():
    secret = shutil.copy(TINY, os.path.join(tmp, "secret.gguf"))
    shutil.copy(TINY, os.path.join(tmp, "tiny.gguf"))
    os.chmod(secret, 0)
    more = {}
    if os.geteuid() == 0:  # whom nothing is forbidden: as somebody else, who can read the program
        os.chmod(tmp, 0o755)
        more = {"binary": shutil.copy(BODKIN, os.path.join(tmp, "program")), "preexec_fn": lambda: os.setuid(NOBODY)}
        os.chmod(more["binary"], 0o755)
        try:
            run("--version", **more)
        except (OSError, subprocess.SubprocessError):
            return skip("a file without permission", "root, and cannot become nobody")
    fails("a file without permission", 77, r"\S+secret\.gguf: Permission denied", "info", secret, **more)
    fails("input without permission", 77, r"\S+secret\.gguf: Permission denied", "tokenize", "-m", os.path.join(tmp, "tiny.gguf"), secret,
          **more)


def test_unsupported_models():
    model = gguf_read(TINY)
    path = gguf_write(with_keys(model, {b"general.architecture": struct.pack("<I", 8) + gguf_text(b"perpetuum")}), "arch.gguf")
    fails("unknown architecture", 65, r"\S+arch\.gguf: not supported: architecture \"perpetuum\"", "run", "-m", path, "Hi")
    path = gguf_write(with_keys(model, {b"general.architecture": None}), "noarch.gguf")
    fails("no architecture", 65, r"\S+noarch\.gguf: .*general\.architecture.*", "info", path)
    path = gguf_write(Model(model.keys, model.tensors[1:]), "lacks.gguf")
    fails("a tensor is missing", 65, r"\S+lacks\.gguf: .*%s.*" % re.escape(model.tensors[0][0].decode()), "info", path)
    path = gguf_write(with_keys(model, {b"llama.block_count": uint(0)}), "layers.gguf")
    fails("no layers", 65, r"\S+layers\.gguf: .*llama\.block_count.*", "info", path)
    whole = open(TINY, "rb").read()
    with open(os.path.join(tmp, "future.gguf"), "wb") as f:
        f.write(whole[:4] + struct.pack("<I", 9) + whole[8:])
    fails("a version of the future", 65, r"\./future\.gguf: GGUF version 9, expected 2 or 3", "info", "./future.gguf")


# ---- what is typed wrongly, what does not fit ----

def test_usage():
    fails("no command", 64, r"usage: bodkin COMMAND \.\.\.; bodkin --help lists the commands")
    fails("unknown command", 64, r"unknown command sing; .*", "sing")
    fails("unknown option", 64, r"unknown option --loud; .*", "run", "--loud")
    fails("unknown letter", 64, r"unknown option -z; .*", "run", "-z")
    fails("a value is missing", 64, r"option --model wants a value", "run", "--model")
    integer, number = "is no integer from %s to %s", "is no number from %s to %s"
    for option, value, wrong in (("threads", "0", integer % (1, 256)), ("threads", "two", integer % (1, 256)),
                                 ("context", "-5", integer % (1, r"\d+")), ("max-tokens", "1e3", integer % (1, r"\d+")),
                                 ("seed", "99999999999999999999", integer % (0, r"\d+")), ("temperature", "-1", number % (0, 100)),
                                 ("temperature", "nan", number % (0, 100)), ("top-p", "1.5", number % (0, 1)),
                                 ("min-p", "", number % (0, 1)), ("memory", "lots", "is no size; 512M, 4G and plain bytes are")):
        fails("--%s %s" % (option, value), 64, r'--%s: "%s" %s' % (option, value, wrong), "run", "-m", TINY, "--%s=%s" % (option, value),
              "Hi")
    fails("--isa of no machine", 64, r"(--isa|not supported: instruction set) mmx.*", "run", "-m", TINY, "--isa", "mmx", "Hi")
    fails("--kv of no kind", 64, r"--kv f64: expected f16, f32 or q8_0", "run", "-m", TINY, "--kv", "f64", "Hi")
    fails("--test of no kind", 64, r"not supported: --test patience", "bench", "-m", TINY, "--test", "patience")
    fails("two files for one", 64, r"info takes one argument: what is \"other\"\?", "info", TINY, "other")
    fails("a word for bench", 64, r"a text is only for --test tokenize: what is \"fast\"\?", "bench", "fast")
    fails("pull of nothing", 64, r"usage: bodkin pull NAME", "pull")
    for command in ("batch", "serve"):
        fails("bodkin " + command, 69, r"not supported: .*", command, "-m", TINY)
    fails("a GPU", 69, r"not supported: --gpu Voodoo", "run", "-m", TINY, "--gpu", "Voodoo", "Hi")
    fails("GPUs", 69, r"not supported: GPUs", "info", "--gpu")
    other = "neon" if "86" in os.uname().machine else "avx2"
    fails("--isa of another machine", 69, r"not supported: instruction set %s on this machine" % other, "run", "-m", TINY, "--isa", other,
          "Hi")


def test_limits():
    need = r"the model needs \d+ bytes \(weights \d+, context \d+, scratch \d+, tables \d+\), --memory allows 100000: .*"
    for command in (["run", "Hi", "-m"], ["info"], ["verify"], ["bench", "--test", "prefill", "--n", "4", "-m"], ["bench", "-m"]):
        fails(command[0] + ": not enough --memory", 75, need, *command, TINY, "--memory", "100000")
    fails("--memory with a letter", 75, r"the model needs .*, --memory allows 102400: .*", "info", TINY, "--memory", "100K")
    works("enough --memory", "complete", "-m", TINY, "--memory", "64M", "--max-tokens", "2", "Hi")
    fails("a context larger than the model's", 64, r"a context of 100000 positions, the model was made for 512", "run", "-m", TINY,
          "--context", "100000", "Hi")
    for n in (600, 20000):  # never cut silently
        text = "word " * n
        fails("a prompt of %d words" % n, 65, r".*more than 512 tokens.*|.*the prompt is longer than \d+ bytes.*", "run", "-m", TINY,
              stdin=text.encode())
        fails("a text of %d words" % n, 65, r".*more than 512 tokens.*|.*the context holds 512.*", "complete", "-m", TINY,
              stdin=text.encode())
    fails("a prompt for a small context", 65, r".*(more than|holds) 8\b.*", "complete", "-m", TINY, "--context", "8",
          "one two three four five six")
    p = works("an answer to the end of the context", "complete", "-m", "./endless.gguf", "--context", "64", "one two")
    check("which ends there", 0 < generated(p) <= 64, p.stderr)


# ---- streams ----

def test_streams():
    for name, args in (("--help", ["--help"]), ("help", ["help"]), ("-h", ["-h"]), ("run --help", ["run", "--help"])):
        p = works(name, *args)
        check(name + " is on stdout only", b"bodkin run" in p.stdout and b"--max-tokens" in p.stdout and not p.stderr, p.stdout, p.stderr)
    p = works("--version", "--version")
    check("--version is one line", re.fullmatch(rb"bodkin \d+\.\d+\.\d+\S*, \w+\n", p.stdout) and not p.stderr, p.stdout, p.stderr)
    fails("no prompt", 66, "the prompt is empty", "run", "-m", TINY, stdin=b"")
    fails("no prompt but a line end", 66, "the prompt is empty", "complete", "-m", TINY, stdin=b"\n")
    common = ["-m", TINY, "--temperature", "0", "--max-tokens", "8"]
    for command in ("run", "complete"):
        words = works(command + ": prompt from arguments", command, *common, "one", "two")
        piped = works(command + ": prompt from a pipe", command, *common, stdin=b"one two\n")
        check(command + ": both give the same", words.stdout == piped.stdout and generated(words) == 8, words, piped)
        dashes = works(command + ": words behind --", command, *common, "--", "one two")
        check(command + ": and so do those", dashes.stdout == words.stdout, words, dashes)
        check(command + ": closing line on stderr", CLOSING.search(words.stderr) and b"tokens/s" not in words.stdout, words)
        no = run(command, *common, stdin=b"one two", env={"NO_COLOR": "1"})
        plain = no.stdout == words.stdout and not re.search(rb"[\x1b\r]", no.stderr + no.stdout)
        check(command + ": no escape codes, no progress", plain, no)
    # The answer is exactly what `eval` gives for the same ids.
    p = run("complete", *common, "one two")
    numbers = json.loads(run("eval", "-m", TINY, stdin=b'{"id":1,"text":"one two","greedy":8}\n').stdout)
    request = json.dumps({"id": 1, "ids": numbers["greedy"], "detokenize": True}).encode()
    data = bytes.fromhex(json.loads(run("eval", "-m", TINY, stdin=request).stdout)["bytes_hex"]).decode("utf-8", "replace")
    same = [re.sub("\ufffd+", "\ufffd", s) for s in (data + "\n", p.stdout.decode())]
    check("stdout holds the answer only", same[0] == same[1], *same)
    for name, text in (("invalid UTF-8", b"a\xff\xfe\xc3(\xed\xa0\x80\xf8b"), ("NUL bytes", b"a\0b\0\0c"),
                       ("a cut character", b"abc\xe4\xbd")):
        for command in ("run", "complete"):
            p = run(command, *common, stdin=text)
            check("%s: %s in a prompt" % (command, name), p.returncode == 0 and generated(p) >= 0 or p.returncode == 65, p)


def test_broken_streams():
    if not os.path.exists("/dev/full"):
        skip("a full disk", "no /dev/full")
    else:
        for args in (["--help"], ["--version"], ["info", TINY], ["info", TINY, "--json"], ["verify", TINY], ["tokenize", "-m", TINY],
                     ["complete", "-m", TINY, "Hi"], ["run", "-m", TINY, "Hi"], ["eval", "-m", TINY],
                     ["bench", "-m", TINY, "--test", "prefill", "--n", "4", "--repeat", "1", "--json"]):
            with open("/dev/full", "wb") as full:
                p = run(*args, stdin=b'{"id":1,"text":"one"}\n', stdout=full)
            check("full disk: " + " ".join(args).replace(TINY, "MODEL"), p.returncode == 74 and b"cannot write" in p.stderr, p)
    p = run("run", "-m", TINY, "Hi", preexec_fn=lambda: os.close(1))
    check("no stdout", p.returncode == 74 and b"cannot write to standard output" in p.stderr, p)
    p = run("run", "-m", TINY, stdin=subprocess.DEVNULL, preexec_fn=lambda: os.close(0))
    check("no stdin", p.returncode in (66, 74) and p.stderr.startswith(b"bodkin: ") and not p.stdout, p)
    for args in (["complete", "-m", "./endless.gguf", "Hi"], ["tokenize", "-m", TINY, "--lines", "./many"]):
        with open(os.path.join(tmp, "many"), "w") as f:
            f.write("one two three\n" * 20000)
        p = start(*args)
        p.stdout.close()
        said = p.stderr.read()
        check("SIGPIPE: " + args[0], p.wait(PATIENCE) == -signal.SIGPIPE and b"bodkin:" not in said, p.returncode, said)


# ---- signals ----

def full_pipe(p):
    """Waits until the pipe from p, made small, is full: then p is in the middle of its answer, and stays there."""
    fcntl.fcntl(p.stdout, 1031, 4096)  # F_SETPIPE_SZ

    def held():
        return struct.unpack("i", fcntl.ioctl(p.stdout, termios.FIONREAD, b"\0\0\0\0"))[0]
    seen = [-1, time.monotonic()]

    def still():
        if held() != seen[0] or held() == 0:
            seen[:] = [held(), time.monotonic()]
        return time.monotonic() - seen[1] > 0.5
    until(still, "a pipe to be full")


def catches(p, number):
    with open("/proc/%d/status" % p.pid) as f:
        return int(re.search(r"SigCgt:\s*(\w+)", f.read()).group(1), 16) >> (number - 1) & 1


def test_signals():
    args = ["complete", "-m", "./endless.gguf", "--context", "100000", "Hi"]
    p = start(*args)
    p.stdout.read(1)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=PATIENCE)
    check("SIGINT stops an answer", p.returncode == 130 and out.endswith(b"\n") and len(CLOSING.findall(err)) == 1, p.returncode, err)
    with open(os.path.join(tmp, "long"), "w") as f:
        f.write("word " * 16000)
    with open(os.path.join(tmp, "long")) as text:
        p = start(*args[:-1], stdin=text)
    until(lambda: catches(p, signal.SIGINT), "the program to be ready")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=PATIENCE)
    check("SIGINT while a prompt is read", p.returncode == 130 and b"bodkin:" not in err, p.returncode, err)
    p = start(*args)
    full_pipe(p)
    p.send_signal(signal.SIGINT)
    time.sleep(0.2)
    check("one SIGINT waits for what is being written", p.poll() is None, p.returncode)
    p.send_signal(signal.SIGINT)
    check("two do not", p.wait(PATIENCE) == 130, p.returncode)
    for name, number in (("SIGTERM", signal.SIGTERM), ("SIGHUP", signal.SIGHUP)):
        p = start(*args)
        p.stdout.read(1)
        p.send_signal(number)
        out, err = p.communicate(timeout=PATIENCE)
        check("%s ends at once" % name, p.returncode == 128 + number and not CLOSING.search(err), p.returncode, err)
    p = start(*args, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    p.stdout.read(1)
    p.send_signal(signal.SIGHUP)
    p.stdout.read(100)
    check("nohup is respected", p.poll() is None, p.returncode)
    p.kill()
    p.communicate()


# ---- sampling ----

def test_sampling():
    def answer(*options):
        p = run("complete", "-m", TINY, "--max-tokens", "24", *options, "one two")
        return p.stdout, generated(p), CLOSING.search(p.stderr).group(3) if CLOSING.search(p.stderr) else None
    one = answer("--seed", "7")
    check("the same seed, the same text", one == answer("--seed", "7") == answer("--seed", "7", "--threads", "1"), one)
    check("the seed is reported", one[2] == b"7", one)
    check("other seeds, other texts", len({answer("--seed", str(n))[0] for n in range(6)}) > 3)
    first, second = answer(), answer()
    check("random seeds differ", first[2] != second[2], first, second)
    check("a reported seed can be used again", answer("--seed", first[2].decode()) == first, first)
    cold = answer("--temperature", "0")
    check("temperature 0 needs no seed", cold[:2] == answer("--temperature", "0")[:2], cold)
    check("temperature 0 is the most likely", cold[:2] == answer("--top-k", "1", "--seed", "3")[:2], cold)
    for n in (1, 5):
        p = run("complete", "-m", "./endless.gguf", "--max-tokens", str(n), "one")
        check("--max-tokens %d" % n, generated(p) == n, p)


# ---- settings ----

def test_settings():
    folder = os.path.join(tmp, "etc")
    os.makedirs(os.path.join(folder, "bodkin"), exist_ok=True)

    def settings(text, at=folder):
        os.makedirs(os.path.join(at, "bodkin"), exist_ok=True)
        with open(os.path.join(at, "bodkin/config"), "w") as f:
            f.write(text)

    def tokens(*args, **env):
        return generated(run("complete", *args, "one", env={"XDG_CONFIG_HOME": folder, **env}))
    settings("# what I like\n\n  model = %s  \nmax-tokens=3\ntemperature = 0\r\n" % os.path.join(tmp, "endless.gguf"))
    check("the file", tokens() == 3)
    check("the environment beats the file", tokens(BODKIN_MAX_TOKENS="4") == 4)
    check("flags beat the environment", tokens("--max-tokens", "5", BODKIN_MAX_TOKENS="4") == 5)
    check("and an empty variable is none", tokens(BODKIN_MAX_TOKENS="") == 3)
    p = run("complete", "one", env={"XDG_CONFIG_HOME": folder, "BODKIN_SEED": "99"})
    check("a seed of the environment", CLOSING.search(p.stderr) and CLOSING.search(p.stderr).group(3) == b"99", p)
    p = run("complete", "one", env={"XDG_CONFIG_HOME": folder, "BODKIN_MODEL": "./none.gguf"})
    check("BODKIN_MODEL", p.returncode == 66 and b"./none.gguf" in p.stderr, p)
    env = {"XDG_CONFIG_HOME": folder}
    fails("a bad value in the environment", 64, r'environment: threads: "many" .*', "info", TINY, env={**env, "BODKIN_THREADS": "many"})
    settings("threads = few\n")
    fails("a bad value in the file", 64, r'configuration: threads: "few" .*', "info", TINY, env=env)
    settings("colour = red\n")
    fails("an unknown setting in the file", 64, r'\S+/bodkin/config: "colour" is no setting', "info", TINY, env=env)
    settings("")
    works("an empty file", "info", TINY, env=env)
    at_home = os.path.join(tmp, ".config")
    settings("max-tokens = 2\n", at_home)
    p = run("complete", "-m", "./endless.gguf", "one")
    check("~/.config without XDG_CONFIG_HOME", generated(p) == 2, p)
    shutil.rmtree(at_home)


# ---- the other commands ----

def test_info():
    p = works("info", "info", TINY)
    for word in (rb"architecture +llama", rb"parameters", rb"vocabulary +\d+ tokens", rb"context +512 tokens", rb"keys, values",
                 rb"total +[\d.]+ MB", rb"runs on +\w+, \d+ threads"):
        check("info says %s" % word.decode(), re.search(word, p.stdout), p.stdout)
    check("info is silent on stderr", not p.stderr, p.stderr)
    p = works("info --json", "info", TINY, "--json", "--threads", "1", "--context", "128")
    told = json.loads(p.stdout)
    model = gguf_read(TINY)
    want = {"architecture": "llama", "context": 128, "context_trained": 512, "threads": 1, "chat_template": False,
            "file_bytes": os.path.getsize(TINY)}
    check("info --json is right", all(told[k] == v for k, v in want.items()) and sum(told["tensors"].values()) == len(model.tensors), told)
    plan = told["memory"]
    check("the plan adds up", plan["total"] == sum(v for k, v in plan.items() if k != "total") and plan["total"] > 0, plan)
    works("what the plan says is enough", "complete", "-m", TINY, "--threads", "1", "--context", "128", "--memory", str(plan["total"]),
          "Hi")
    fails("one byte less is not", 75, "the model needs .*", "complete", "-m", TINY, "--threads", "1", "--context", "128", "--memory",
          str(plan["total"] - 1), "Hi")
    p = works("info --tape", "info", TINY, "--tape")
    check("the tape has its operations", b"matmul" in p.stdout and b"attention" in p.stdout and b"blk.1.ffn_down.weight" in p.stdout,
          p.stdout[-500:])


def test_verify():
    p = works("verify", "verify", TINY)
    report = json.loads(p.stdout)
    names = {c["name"] for c in report["checks"]}
    check("the report", report["failures"] == 0 and all(c["ok"] for c in report["checks"]) and
          names >= {"structure", "checksum", "weights", "tokenizer", "first step"}, report)
    check("its checksum", hashlib.sha256(open(TINY, "rb").read()).hexdigest() in p.stdout.decode())
    model = gguf_read(TINY)
    for name, at, bad in (("NaN", -4, float("nan")), ("infinity", 0, float("-inf"))):
        big = max(range(len(model.tensors)), key=lambda i: len(model.tensors[i][2]))
        tensors = [list(t) for t in model.tensors]
        data = bytearray(tensors[big][2])
        struct.pack_into("<f", data, at % len(data), bad)
        tensors[big][2] = bytes(data)
        path = gguf_write(Model(model.keys, tensors), name + ".gguf")
        p = run("verify", path)
        report = json.loads(p.stdout)
        wrong = [c for c in report["checks"] if not c["ok"]]
        named = any(c["name"] == "weights" and tensors[big][0].decode() in c["detail"] for c in wrong)
        check("verify finds one %s" % name, p.returncode == 65 and named and report["failures"] == len(wrong), p)
        check("and says so", re.fullmatch(rb"bodkin: \S+: \d of \d+ checks failed: .*weights.*\n", p.stderr), p.stderr)
    nan = [[n, r, b"\xff" * len(d)] if n == b"output_norm.weight" else [n, r, d] for n, r, d in model.tensors]
    path = gguf_write(Model(model.keys, nan), "nan-all.gguf")
    fails("a model of NaN answers nothing", 65, "no logit is finite: .*", "complete", "-m", path, "Hi")


def test_tokenize():
    text = "Hello, world!\n\n  two  spaces\tand a tab\nna\u00efve \u4f60\u597d \U0001f600 \u043f\u0440\u0438\n1234567 it's\n<|im_start|>"
    models = [TINY] + [m for m in (os.path.join(GOLDEN, "vocab-bytes.gguf"), REAL) if os.path.exists(m)]
    for model in models:
        name = os.path.basename(model)
        ids = works("tokenize " + name, "tokenize", "-m", model, stdin=text.encode())
        check("one array", isinstance(json.loads(ids.stdout), list) and ids.stdout.count(b"\n") == 1, ids)
        back = run("tokenize", "-m", model, "--decode", stdin=ids.stdout)
        check("there and back", back.stdout.decode() == text and back.returncode == 0, text, back)
        ids = run("tokenize", "-m", model, "--lines", stdin=text.encode())
        check("an array for every line", len(ids.stdout.splitlines()) == len(text.split("\n")), ids)
        back = run("tokenize", "-m", model, "--lines", "--decode", stdin=ids.stdout)
        check("lines there and back", back.stdout.decode() == text + "\n" and back.returncode == 0, text, back)
    control = strings(gguf_read(TINY).keys[b"tokenizer.ggml.tokens"])[-1]  # make_fixtures puts them last
    plain = json.loads(run("tokenize", "-m", TINY, stdin=control).stdout)
    special = json.loads(run("tokenize", "-m", TINY, "--special", stdin=control).stdout)
    check("a special token only with --special", len(special) == 1 < len(plain), plain, special)
    whole = json.loads(run("tokenize", "-m", TINY, "--add-special", stdin=b"one").stdout)
    check("--add-special", json.loads(run("tokenize", "-m", TINY, stdin=b"one").stdout) == whole[1:], whole)
    with open(os.path.join(tmp, "input.txt"), "wb") as f:
        f.write(b"one two")
    check("a file", run("tokenize", "-m", TINY, "./input.txt").stdout == run("tokenize", "-m", TINY, "-", stdin=b"one two").stdout != b"")
    fails("decoding no JSON", 65, ".*", "tokenize", "-m", TINY, "--decode", stdin=b"[1,2")
    fails("decoding no array", 65, "expected a JSON array of token ids", "tokenize", "-m", TINY, "--decode", stdin=b'{"a":1}')
    for bad in (b"[-1]", b"[100000]", b"[1.5]", b'["a"]'):
        fails("decoding %s" % bad.decode(), 65, r"token ids are integers from 0 to \d+", "tokenize", "-m", TINY, "--decode", stdin=bad)


def test_template():
    fails("run without a template", 65, r".*`?complete`?.*", "run", "-m", "./endless.gguf", "Hi")
    works("complete without a template", "complete", "-m", "./endless.gguf", "--max-tokens", "2", "Hi")
    model = gguf_read(TINY)

    def templated(source):
        value = struct.pack("<I", 8) + gguf_text(source)
        return gguf_write(with_keys(model, {b"tokenizer.chat_template": value}), "template.gguf")
    common = ["--temperature", "0", "--max-tokens", "6"]
    path = templated(b"{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
    chat = run("run", "-m", path, "-s", "Be brief.", *common, "one")
    raw = run("complete", "-m", path, *common, "[system] Be brief.\n[user] one\n")
    check("run renders the file's template", chat.returncode == 0 and chat.stdout == raw.stdout and generated(chat) >= 0, chat, raw)
    fails("a template that refuses", 65, ".*only pirates.*", "run", "-m", templated(b"{{ raise_exception('only pirates') }}"), "Hi")
    fails("a template that is broken", 65, ".*", "run", "-m", templated(b"{% for m in %}"), "Hi")


def test_split():
    model = gguf_read(TINY)
    half = len(model.tensors) // 2

    def part(n, tensors, keys):
        split = {b"split.no": struct.pack("<IH", 2, n), b"split.count": struct.pack("<IH", 2, 2),
                 b"split.tensors.count": struct.pack("<Ii", 5, len(model.tensors))}
        return gguf_write(Model({**keys, **split}, tensors), "split/tiny-%05d-of-00002.gguf" % (n + 1))
    first, second = part(0, model.tensors[:half], model.keys), part(1, model.tensors[half:], {})
    args = ["--temperature", "0", "--max-tokens", "16", "one two"]
    whole, both = run("complete", "-m", TINY, *args), works("a model in two files", "complete", "-m", first, *args)
    check("answers as in one", whole.stdout == both.stdout and generated(both) == 16, whole, both)
    told = json.loads(run("info", first, "--json").stdout)
    check("info counts both", sum(told["tensors"].values()) == len(model.tensors), told)
    fails("the second part alone", 65, r"\S+: part 2 of 2: give the first part .*", "info", second)
    os.rename(second, second + ".away")
    fails("the second part is missing", 66, r".*-00002-of-00002\.gguf: No such file or directory", "info", first)
    part(1, model.tensors[half - 1:], {})
    fails("a tensor in both", 65, r"\S+: tensor \S+ appears twice", "info", first)


def test_stores():
    blob = open(TINY, "rb").read()
    digest = hashlib.sha256(blob).hexdigest()

    def put(path, data):
        path = os.path.join(tmp, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    kind = "application/vnd.ollama.image."
    manifest = {"schemaVersion": 2, "layers": [{"mediaType": kind + "license", "digest": "sha256:" + "0" * 64, "size": 1},
                                               {"mediaType": kind + "model", "digest": "sha256:" + digest, "size": len(blob)}]}
    put("ollama/manifests/registry.ollama.ai/library/tiny/latest", json.dumps(manifest).encode())
    put("ollama/manifests/registry.ollama.ai/someone/tiny/q4", json.dumps(manifest).encode())
    put("ollama/manifests/registry.ollama.ai/library/lost/latest", json.dumps(manifest).replace(digest, "1" * 64).encode())
    put("ollama/manifests/registry.ollama.ai/library/evil/latest",
        json.dumps(manifest).replace("sha256:" + digest, "sha256:../../x").encode())
    put("ollama/blobs/sha256-" + digest, blob)
    put("hub/models--acme--Tiny-GGUF/snapshots/0123abcd/Tiny-Q4_0.gguf", blob)
    put("hub/models--acme--Tiny-GGUF/refs/main", b"0123abcd")
    put(".lmstudio/models/acme/Other-GGUF/Other-Q8_0.gguf", blob)
    put("mine/favourite.gguf", blob)
    put("data/bodkin/models/shared.gguf", blob)

    def found(name, **env):
        p = run("info", name, "--json", env={k: os.path.join(tmp, v) for k, v in env.items()})
        path = json.loads(p.stdout)["path"] if p.returncode == 0 else None
        check("%s is found" % name, path and path.startswith(tmp) and os.path.samefile(path, path) and open(path, "rb").read() == blob, p)
    for name in ("tiny", "tiny:latest", "library/tiny", "someone/tiny:q4", "registry.ollama.ai/library/tiny:latest"):
        found(name, OLLAMA_MODELS="ollama")
    for name in ("acme/Tiny-GGUF", "hf:acme/Tiny-GGUF", "acme/Tiny-GGUF:Q4_0"):
        found(name, HF_HUB_CACHE="hub")
    for name in ("acme/Other-GGUF", "acme/Other-GGUF:Q8_0"):
        found(name)  # in $HOME/.lmstudio
    found("favourite", BODKIN_MODELS="mine")
    found("shared", XDG_DATA_HOME="data")
    found("any=" + os.path.join(tmp, "mine/favourite.gguf"))
    env = {"OLLAMA_MODELS": os.path.join(tmp, "ollama")}
    fails("an ollama model without its file", 66, r"\S+/lost/latest: its file blobs/sha256-1+ is not there", "info", "lost", env=env)
    fails("an ollama manifest that leads astray", 65, r"\S+/evil/latest: digest .*, expected sha256: and 64 hex digits", "info", "evil",
          env=env)
    fails("a tag that is not there", 66, "no model tiny:q9: .*", "info", "tiny:q9", env=env)
    alone = shutil.copy(BODKIN, os.path.join(tmp, "alone"))  # no models/ beside it
    fails("the default model is not here", 66, r"model \S+ is not here; bodkin pull \S+ fetches it \([\d.]+ MB, licence: .*\)", "run",
          "Hi", binary=alone)
    fails("pull without its tool", 69, "tools/fetch is neither .*", "pull", "smollm2-135m", binary=alone)


def test_bench():
    p = works("bench", "bench", "-m", TINY, "--json", "--test", "prefill", "--n", "16", "--repeat", "1", "--threads", "1")
    told = json.loads(p.stdout)
    want = {"test": "prefill", "n": 16, "depth": 0, "batch": 1, "threads": 1}
    check("bench: one object", p.stdout.count(b"\n") == 1 and all(told[k] == v for k, v in want.items()) and isinstance(told["isa"], str),
          told)
    numbers = [told[k] for k in ("tokens_per_second", "gb_per_second", "gops", "fraction_of_roof")]
    numbers += [told["roof"][k] for k in ("gb_per_second", "gops")]
    check("bench: its numbers", all(isinstance(n, (int, float)) and n >= 0 for n in numbers) and told["tokens_per_second"] > 0, told)
    for test in ("decode", "batch", "load"):
        p = run("bench", "-m", TINY, "--json", "--test", test, "--n", "4", "--repeat", "1", *(["--batch", "2"] if test == "batch" else []))
        check("bench --test " + test, p.returncode == 0 and json.loads(p.stdout)["test"] == test, p)


# ---- a real model ----

def test_real():
    if not os.path.exists(REAL):
        return skip("the real model", os.path.basename(REAL) + " is not here; tools/fetch gets it")
    args = ["run", "-m", REAL, "--temperature", "0", "--max-tokens", "24", "--context", "512"]
    p = works("a text", "complete", *args[1:], "The capital of France is")
    check("is continued", p.stdout.startswith(b" Paris"), p)
    p = works("a question", *args, "Who was Albert Einstein?")
    check("an answer", b"physic" in p.stdout and not re.search(rb"[\x1b\r]|<\|", p.stdout + p.stderr) and
          p.stdout.decode().endswith("\n"), p)
    one = run(*args, "--threads", "1", "Who was Albert Einstein?")
    check("the same with one thread", one.stdout == p.stdout, one, p)
    fails("no prompt is cut", 65, r".*(more than|holds) (512|64)\b.*", *args, "--context", "64", stdin=b"All work and no play. " * 60)
    told = json.loads(run("info", REAL, "--json").stdout)
    check("info of it", told["architecture"] == "llama" and told["chat_template"] is True and told["vocabulary"] == 49152, told)
    v = works("verify of it", "verify", REAL)
    check("nothing wrong with it", json.loads(v.stdout)["failures"] == 0, v)
    p = run("run", "-m", REAL, "--max-tokens", "4", stdin="Gr\u00fc\u00df\u00dfe \u4f60\u597d\0\n".encode() + b"\xff")
    check("any bytes for it", p.returncode == 0 and p.stdout.decode() and generated(p) > 0, p)


# ---- a terminal ----

class Terminal:
    """A shell in a window of tmux, 60 columns wide."""

    def __init__(self):
        self.tmux = ["tmux", "-u", "-f", "/dev/null", "-S", os.path.join(tmp, "tmux")]
        shell = "env PS1='%s ' sh" % "shell$"
        subprocess.run([*self.tmux, "new-session", "-d", "-x", "60", "-y", "40", shell], check=True, cwd=tmp, env=environment())

    def type(self, text, *keys):
        if text:
            subprocess.run([*self.tmux, "send-keys", "-l", text], check=True)
        for key in keys:
            subprocess.run([*self.tmux, "send-keys", key], check=True)

    def text(self):
        return subprocess.run([*self.tmux, "capture-pane", "-p", "-S", "-2000"], stdout=subprocess.PIPE,
                              check=True).stdout.decode().rstrip("\n")

    def wait(self, pattern, what):
        """The last lines come to be this, as many as there are in the pattern."""
        def there():
            self.seen = self.text().rstrip().split("\n")
            return re.fullmatch(pattern, "\n".join(self.seen[-1 - pattern.count(r"\n"):]))
        try:
            until(there, what)
        except RuntimeError as e:
            return check("terminal: " + what, False, str(e), self.seen[-12:])
        return check("terminal: " + what, True)

    def line(self, expected, what):
        return self.wait(re.escape(("> " + expected).rstrip()), what)

    def close(self):
        subprocess.run([*self.tmux, "kill-server"], stderr=subprocess.DEVNULL)


def editing(t):
    t.line("", "a prompt appears")
    t.type("first question", "Enter")
    t.line("", "and again after an answer")
    answer = re.search(r"(?s)> first question\n.*\n\[\d+ \+ 5 tokens,.*?\]", t.text())
    check("terminal: the answer is there", answer, t.text())
    t.type("second one", "Enter")
    t.line("", "a second turn")
    m = re.findall(r"\[(\d+) \+ \d+ tokens", t.text())
    check("terminal: the conversation goes on", len(m) == 2 and int(m[1]) > int(m[0]) + 5, m)
    t.type("draft", "Up")
    t.line("second one", "Up: the line before")
    t.type("", "Up", "Up", "Up")
    t.line("first question", "Up: and the one before that")
    t.type("", "Down", "Down")
    t.line("draft", "Down: what was being typed")
    t.type("", "C-u")
    t.line("", "Ctrl-U")
    t.type("h\u00e4llo \u4f60\u597d world", "Left", "Left", "Left", "Left", "Left", "BSpace", "BSpace")
    t.type("!", "Home", "Delete")
    t.type("H", "End")
    t.type("?", "C-a", "C-f", "C-d", "C-e", "C-b")
    t.line("Hllo \u4f60!world?", "keys move and delete characters, not bytes")
    t.type("", "C-w")
    t.line("Hllo ?", "Ctrl-W")
    t.type("", "C-a", "Right", "Right", "C-k")
    t.line("Hl", "Ctrl-K")
    t.type("", "C-l")
    until(lambda: t.text().rstrip().endswith("> Hl"), "Ctrl-L")
    t.type("", "C-c")
    t.line("", "Ctrl-C clears the line")
    long = " ".join(str(n) for n in range(40))
    t.type(long)
    t.line(long[-57:], "a long line scrolls")
    t.type("", "Home")
    t.line(long[:57], "and back")
    t.type("", "C-k")
    subprocess.run([*t.tmux, "set-buffer", "one\ntwo"], check=True)
    subprocess.run([*t.tmux, "paste-buffer", "-p"], check=True)
    t.line("one\u21b5two", "lines that are pasted wait for Enter")
    t.type("", "C-c", "C-d")


def interrupting(t):
    def lines():
        return t.text().count("\n")
    t.line("", "a prompt")
    t.type("go on for ever", "Enter")
    before = lines()
    until(lambda: lines() > before + 3, "an answer to be streamed")
    t.type("", "C-c")
    t.line("", "Ctrl-C stops only the answer")
    check("terminal: its closing line is there", len(re.findall(r"\d+ \+ \d+ tokens", t.text())) == 1, t.text()[-300:])
    t.type("", "Up")
    t.line("go on for ever", "and the conversation goes on")
    t.type("", "C-z")
    t.wait(r"shell\$", "Ctrl-Z stops the program")
    t.type("stty -a >stopped; clear; fg; echo ended $?", "Enter")
    t.line("go on for ever", "fg brings the line back")
    t.type("", "C-c")
    t.line("", "an empty line")
    t.type("", "C-c")


def test_terminal():
    if not shutil.which("tmux"):
        return skip("a terminal", "no tmux; apt-get install tmux")
    t = Terminal()

    def begin(options, before=""):
        t.type("clear; %s %s run -m ./chatty.gguf --seed 2 %s; echo ended $?" % (before, BODKIN, options), "Enter")

    def modes(name):
        """What stty says, through a file: a screen is too narrow."""
        t.type("clear; stty -a >%s.part; mv %s.part %s" % (name, name, name), "Enter")
        until(lambda: os.path.exists(os.path.join(tmp, name)), "stty")
        return open(os.path.join(tmp, name)).read()
    try:
        t.wait(r"shell\$", "a shell")
        as_it_was = modes("before")
        begin("--max-tokens 5")
        editing(t)
        t.wait(r".*ended 0\nshell\$", "Ctrl-D on an empty line ends with 0")
        check("terminal: it is as it was after Ctrl-D", modes("after") == as_it_was, as_it_was)
        begin("--context 100000")
        interrupting(t)
        t.wait(r".*ended 130\nshell\$", "Ctrl-C on an empty line ends with 130")
        check("terminal: it is as it was after Ctrl-C", modes("interrupted") == as_it_was, as_it_was)
        check("terminal: and while the program is stopped", open(os.path.join(tmp, "stopped")).read() == as_it_was, as_it_was)
        begin("--max-tokens 5", "sh -c 'echo $$ >pid; exec \"$@\"' sh")
        t.line("", "a prompt")
        os.kill(int(open(os.path.join(tmp, "pid")).read()), signal.SIGTERM)
        t.wait(r".*ended 143\nshell\$", "SIGTERM at the prompt")
        check("terminal: it is as it was after SIGTERM", modes("terminated") == as_it_was, as_it_was)
        begin("--max-tokens 5", "TERM=dumb")
        t.line("", "TERM=dumb: a prompt")
        t.type("plain", "Enter")
        t.line("", "TERM=dumb: an answer")
        t.type("", "C-d")
        t.wait(r".*ended 0\nshell\$", "TERM=dumb: Ctrl-D")
    finally:
        t.close()


TESTS = [test_bad_files, test_no_permission, test_unsupported_models, test_usage, test_limits, test_streams, test_broken_streams,
         test_signals, test_sampling, test_settings, test_info, test_verify, test_tokenize, test_template, test_split, test_stores,
         test_bench, test_real, test_terminal]


def main():
    global tmp
    if not os.access(BODKIN, os.X_OK):
        sys.exit("%s: no such program; make builds it" % BODKIN)
    tmp = os.path.realpath(tempfile.mkdtemp(prefix="bodkin-cli-"))
    try:
        write_endless()
        for test in TESTS:
            try:
                test()
            except Exception as e:  # the others still run
                check("%s to its end" % test.__name__, False, type(e).__name__, str(e))
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (count["passed"], count["failed"], count["skipped"]))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
