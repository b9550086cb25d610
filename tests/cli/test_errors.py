#!/usr/bin/env python3
"""The command as a user meets it: what does not work is one line and a status, and leaves nothing behind.

    test_errors.py OCTET [unittest's arguments]

Standard library only. Works on the demo's model and images.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import time

import case
from case import CALIB, COMMANDS, Case, MODEL, PREPROCESS, SEED, VAL, npy


class WrongCommandLine(Case):

    def test_usage(self):
        self.fails(status=2, says="subcommand")
        self.fails("frobnicate", status=2)
        for command in COMMANDS:
            self.fails(command, status=2)
            self.fails(command, "--frobnicate", status=2)
            self.fails(command, MODEL, MODEL, MODEL, MODEL, status=2)
            self.assertIn("Example:", self.works(command, "--help").stdout)
        self.assertRegex(self.works("--version").stdout, r"^octet \d+\.\d+\.\d+\n$")
        self.assertIn("Example:", self.works("--help").stdout)

    def test_values(self):
        for words in (("--method", "magic"), ("--percentile", "20"), ("--percentile", "x"), ("--target", "gpu"),
                      ("--threads", "-1"), ("--threads", "many"), ("--limit", "0"), ("--effort", "some"),
                      ("--memory-limit", "lots"), ("--memory-limit", "0"), ("--frobnicate",)):
            self.fails(*self.quantize(*words), status=2)
        self.fails(*self.quantize("--include", "no_such_node"), says="no_such_node")
        self.fails("bench", MODEL, "--duration", "-1", status=2)
        self.fails("bench", MODEL, "--shapes", "image", status=2)
        self.fails("bench", MODEL, "--shapes", "nothing=1x3x64x64", status=2)
        self.fails("bench", MODEL, "--shapes", "image=1x3x64y64", status=2)
        self.fails("bench", MODEL, "--shapes", "image=1x3x32x32")
        self.fails("eval", MODEL, "--data", CALIB, status=2, says="--labels")
        self.fails("run", MODEL, "--output", self.folder / "out", status=2)
        self.fails("run", MODEL, "--input", "image=a.npy", "--data", CALIB, "--output", self.folder / "o", status=2)
        self.fails(*self.quantize("--skip", "magic"), status=2)
        self.fails("inspect", MODEL, "--memory-limit", "1", "--memory-limit", "2", status=2)

    def test_environment(self):
        self.fails("bench", MODEL, "--duration", "0.01", environment={"OCTET_ISA": "mmx"}, says="mmx")

    def test_memory_limit(self):
        self.fails(*self.quantize("--memory-limit", "1K"))


class WrongFiles(Case):

    def test_missing(self):
        for words in self.with_model(self.folder / "none.onnx"):
            self.fails(*words, says="none.onnx")

    def test_wrong_kind(self):
        for name, content in (("empty.onnx", b""), ("text.onnx", b"hello, world\n" * 50), ("object.onnx", b"{}"),
                              ("image.onnx", next(CALIB.glob("*.jpg")).read_bytes()),
                              ("random.onnx", random.Random(SEED).randbytes(5000)),
                              ("engine.octet", b"OCTETENG"), ("zeros.octet", b"OCTETENG" + bytes(500))):
            (self.folder / name).write_bytes(content)
            for words in self.with_model(self.folder / name):
                self.fails(*words, says=name)
        for words in self.with_model(self.folder):
            self.fails(*words)

    def test_truncated_model(self):
        content = MODEL.read_bytes()
        cut = self.folder / "cut.onnx"
        for part in (0.001, 0.1, 0.5, 0.99):
            cut.write_bytes(content[:int(len(content) * part)])
            for words in self.with_model(cut)[::3]:
                self.fails(*words)

    def test_damaged_engine(self):
        good, bad = self.folder / "good.octet", self.folder / "bad.octet"
        self.works("build", MODEL, "-o", good)
        content = good.read_bytes()
        choose = random.Random(SEED)
        for size in [0, 1, 7, 8, 39, 40, 100, len(content) - 1, *(choose.randrange(len(content)) for _ in range(5))]:
            bad.write_bytes(content[:size])
            self.fails("inspect", bad, says="bad.octet")
        for _ in range(20):
            at = choose.randrange(len(content) * 8)
            damaged = bytearray(content)
            damaged[at // 8] ^= 1 << at % 8
            bad.write_bytes(damaged)
            # A flipped magic makes it no engine, but a bad model.
            self.fails("bench", bad, "--duration", "0.01")
        bad.write_bytes(content + b"\0")
        self.fails("bench", bad, "--duration", "0.01")

    def test_data(self):
        (self.folder / "empty").mkdir()
        (self.folder / "other").mkdir()
        (self.folder / "other/readme.md").write_text("no image")
        (self.folder / "list.txt").write_text("missing.jpg\n")
        for data in ("none", "empty", "other", "list.txt", "other/readme.md"):
            path = self.folder / data
            out = self.folder / "out"
            for words in (("quantize", MODEL, "-o", out), ("calibrate", MODEL, "-o", out), ("compare", MODEL, MODEL),
                          ("run", MODEL, "--output", out), ("eval", MODEL, "--reference", MODEL)):
                self.fails(*words, "--data", path, "--preprocess", PREPROCESS)

    def test_preprocess(self):
        plain = ("quantize", MODEL, "--data", CALIB, "-o", self.folder / "q.onnx")
        self.fails(*plain, says="--preprocess")
        for steps in ("short=", "short=x", "flip", "crop=64x", "mean=1,2", "std=0", "short=64 crop=65"):
            self.fails(*plain, "--preprocess", steps)
        self.fails(*plain, "--preprocess", "stretch=32x32", says="64x64")
        self.fails(*plain, "--preprocess", "stretch=64x64 gray", says="Nx3x64x64")

    def bad_images(self):
        folder = self.folder / "images"
        folder.mkdir()
        for image in sorted(CALIB.glob("*.jpg"))[:4]:
            shutil.copy(image, folder)
        content = (folder / "001.jpg").read_bytes()
        (folder / "001.jpg").write_bytes(content[:len(content) // 2])
        (folder / "003.jpg").write_bytes(b"no image at all")
        return folder

    def test_bad_images(self):
        folder = self.bad_images()
        data = ("--data", folder, "--preprocess", PREPROCESS)
        out = self.folder / "q.onnx"
        self.fails("quantize", MODEL, *data, "-o", out, "--threads", 1, says="001.jpg")
        self.assertEqual(self.report("quantize", MODEL, *data, "--skip-bad-images", "-o", out)["skipped"], 2)
        self.assertEqual(self.report("eval", out, "--data", folder, "--reference", MODEL, "--skip-bad-images")["skipped"],
                         2)
        found = self.report("run", out, "--data", folder, "--skip-bad-images", "--output", self.folder / "run")
        self.assertEqual((found["samples"], found["skipped"]), (2, 2))
        self.assertEqual((self.folder / "run/index.txt").read_text(), "000.jpg\n002.jpg\n")
        for name in ("000.jpg", "002.jpg"):
            (folder / name).write_bytes(b"")
        self.fails("eval", out, "--data", folder, "--reference", MODEL, "--skip-bad-images")
        self.fails("run", out, "--data", folder, "--skip-bad-images", "--output", self.folder / "again")
        self.fails("compare", out, MODEL, "--data", folder, "--skip-bad-images")

    def test_labels(self):
        labels = self.folder / "labels.txt"
        words = ("eval", MODEL, "--data", VAL, "--preprocess", PREPROCESS, "--labels", labels, "--limit", 4)
        self.fails(*words, says="labels.txt")
        for text in ("", "000.jpg\n", "000.jpg cat\n", "000.jpg -1\n", "other.jpg 1\n", "000.jpg 1\n000.jpg 2\n"):
            labels.write_text(text)
            self.fails(*words)
        labels.write_text("000.jpg 10\n")
        self.fails(*words, says="--class-offset")

    def test_arrays(self):
        out = self.folder / "out"
        self.fails("run", MODEL, "--input", f"image={self.folder}/none.npy", "--output", out)
        wrong = self.folder / "wrong.npy"
        wrong.write_bytes(npy((1, 3, 32, 32)))
        self.fails("run", MODEL, "--input", f"image={wrong}", "--output", out, says="Nx3x64x64")
        self.fails("run", MODEL, "--input", f"nothing={wrong}", "--output", out, says="nothing")
        wrong.write_bytes(npy((1, 3, 64, 64))[:1000])
        self.fails("run", MODEL, "--input", f"image={wrong}", "--output", out, says="wrong.npy")


class WrongOutputs(Case):

    def writers(self, out):
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--limit", 2)
        return [("quantize", MODEL, *data, "-o", out), ("calibrate", MODEL, *data, "-o", out),
                ("build", MODEL, "-o", out)]

    def test_unwritable(self):
        for out in (self.folder / "no/such/folder/x", self.folder, "/dev/full", "/proc/octet", ""):
            for words in self.writers(out):
                self.fails(*words)
        self.fails(*self.quantize("--save-table", self.folder / "no/such/t"))

    def test_unwritable_folder(self):
        data = ("run", MODEL, "--data", CALIB, "--preprocess", PREPROCESS, "--limit", 2, "--output")
        (self.folder / "file").write_text("")
        for out in (self.folder / "file", self.folder / "file/x", "/dev/full", "/proc/octet/x"):
            self.fails(*data, out)

    def test_input_is_output(self):
        copy = self.folder / "model.onnx"
        shutil.copy(MODEL, copy)
        for words in (self.quantize(model=copy, out="model.onnx"), ("build", copy, "-o", copy),
                      ("calibrate", copy, "--data", CALIB, "--preprocess", PREPROCESS, "-o", copy)):
            self.fails(*words, status=2, says="input")
        self.assertEqual(copy.read_bytes(), MODEL.read_bytes())

    def test_full_disk(self):
        """A limit on the size of files acts like a full disk: writing fails in the middle."""
        out = self.folder / "out"
        out.write_text("old")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for words in self.writers(out):
            if words[0] == "calibrate":
                continue  # smaller than that
            self.fails(*words, preexec_fn=limit)
            self.assertEqual(out.read_text(), "old")

    def test_standard_output(self):
        with open("/dev/full", "w") as full:
            for words in (("inspect", MODEL), ("inspect", MODEL, "--json"), ("--version",), ("build", "--help"),
                          ("bench", MODEL, "--duration", "0.01", "--json")):
                self.fails(*words, stdout=full, says="standard output")
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as closed:
            self.fails("inspect", MODEL, stdout=closed, says="standard output")

    def test_interrupt(self):
        for delay in (0.02, 0.1, 0.2):
            process = subprocess.Popen([case.OCTET, *map(str, self.quantize("--save-table", self.folder / "t"))],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            process.wait(60)
            self.assertLessEqual(set(self.files()), {"q.onnx", "t"})


if __name__ == "__main__":
    case.main(__doc__)
