#!/usr/bin/env python3
"""The command as a user meets it: what works prints what it promises, what does not is one line and a status.

    test_cli.py OCTET [unittest's arguments]

Standard library only. Works on the demo's model and images.
"""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "demo/model.onnx"
CALIB = ROOT / "demo/images/calib"
VAL = ROOT / "demo/images/val"
PREPROCESS = "short=64 crop=64 rgb mean=127.5 std=127.5"
OCTET = None  # set from the command line
COMMANDS = ("quantize", "calibrate", "build", "run", "eval", "compare", "bench", "inspect", "strip", "lint",
            "trtexec", "polygraphy")
SEED = int(os.environ.get("OCTET_TEST_SEED", random.randrange(1 << 32)))


def call(*words, environment=None, **options):
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([OCTET, *map(str, words)], stderr=subprocess.PIPE, text=True, timeout=300,
                          env={**os.environ, **(environment or {})}, **options)


class Case(unittest.TestCase):
    """A temporary folder for each test, which must hold after a failing command what it held before."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="octet-cli-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def files(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))

    def works(self, *words, **options):
        done = call(*words, **options)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")
        return done

    def report(self, *words, **options):
        """The one JSON object of a command with --json."""
        return json.loads(self.works(*words, "--json", **options).stdout)

    def fails(self, *words, status=1, says="", **options):
        before = self.files()
        done = call(*words, **options)
        where = f"octet {' '.join(map(str, words))}\n-> {done.returncode}: {done.stderr}{done.stdout or ''}"
        self.assertEqual(done.returncode, status, where)
        errors = [line for line in done.stderr.split("\n") if line and not line.startswith(("warning:", "note:"))]
        self.assertEqual(len(errors), 1, where)
        self.assertRegex(errors[0], r"^octet( \w+)?: error: \S", where)
        self.assertIn(says, errors[0], where)
        if done.stdout is not None:
            self.assertEqual(done.stdout, "", where)
        self.assertEqual(self.files(), before, where)
        return errors[0]

    def quantize(self, *words, model=MODEL, out="q.onnx", limit=8):
        return ("quantize", model, "--data", CALIB, "--preprocess", PREPROCESS, "--limit", limit, "-o", self.folder / out,
                *words)

    def with_model(self, model):
        """Every subcommand with this file in the place of a model."""
        out = self.folder / "out"
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--limit", 2)
        return [("quantize", model, *data, "-o", out), ("calibrate", model, *data, "-o", out),
                ("build", model, "-o", out), ("run", model, *data, "--output", out),
                ("eval", model, *data, "--reference", MODEL), ("eval", MODEL, *data, "--reference", model),
                ("compare", model, MODEL, *data), ("compare", MODEL, model, *data),
                ("bench", model, "--duration", "0.01"), ("inspect", model)]


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
            process = subprocess.Popen([OCTET, *map(str, self.quantize("--save-table", self.folder / "t"))],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            process.wait(60)
            self.assertLessEqual(set(self.files()), {"q.onnx", "t"})


def npy(shape, value=0.25):
    import struct
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    count = 1
    for d in shape:
        count *= d
    return (b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
            struct.pack(f"<{count}f", *([value] * count)))


class Works(Case):

    def test_pipeline(self):
        q, e = self.folder / "q.onnx", self.folder / "q.octet"
        made = self.report(*self.quantize())
        self.assertEqual(made["samples"], 8)
        quality = [layer["sqnr_db"] for layer in made["layers"] if layer.get("sqnr_db") is not None]
        self.assertEqual(quality, sorted(quality))
        self.assertGreater(len(quality), 10)
        self.assertGreater(made["sqnr_db"], 10)
        built = self.report("build", q, "-o", e)
        self.assertGreater(built["int8_macs"], 0.9 * built["macs"])

        # The preprocessing is remembered.
        found = self.report("eval", e, "--data", VAL, "--labels", VAL / "labels.txt", "--reference", MODEL, "--limit", 40)
        self.assertEqual(found["images"], 40)
        for key in ("top1", "top5", "agreement"):
            self.assertTrue(0 <= found[key] <= 100, found)
        self.assertGreater(found["agreement"], 80)
        self.assertGreater(found["cosine"], 0.9)
        self.assertEqual(set(found["outputs"]), {self.report("inspect", MODEL)["outputs"][0]["name"]})
        same = self.report("eval", e, "--data", VAL, "--reference", q, "--limit", 5)
        self.assertIsNone(same["sqnr_db"])
        self.assertEqual(same["agreement"], 100)

        compared = self.report("compare", MODEL, e, "--data", CALIB, "--limit", 4)
        quality = [layer["sqnr_db"] for layer in compared["layers"] if layer["sqnr_db"] is not None]
        self.assertEqual(quality, sorted(quality))
        for layer in compared["layers"]:
            self.assertLessEqual({"name", "sqnr_db", "cosine"}, set(layer))

        timed = self.report("bench", e, "--threads", 2, "--duration", "0.05", "--warmup", "0", "--profile")
        self.assertEqual(timed["threads"], 2)
        self.assertTrue(0 < timed["min_ms"] <= timed["median_ms"] <= timed["p90_ms"] <= timed["p99_ms"])
        self.assertGreater(timed["images_per_second"], 0)
        self.assertGreater(timed["int8_peak_gops"], 0)
        self.assertTrue(any(step["multiply_adds"] for step in timed["steps"]))
        for step in timed["steps"]:
            self.assertEqual(step["multiply_adds"] > 0, step["kind"] in ("conv", "gemm"), step)
            self.assertEqual("of_int8_peak" in step, step["multiply_adds"] > 0, step)
        self.assertEqual(self.report("inspect", e)["metadata"]["octet.preprocess"], self.report("inspect", q)["metadata"]
                         ["octet.preprocess"])
        for file in (MODEL, q, e):
            self.works("inspect", file)
        self.fails("quantize", q, "--data", CALIB, "-o", self.folder / "qq.onnx", says="already quantized")
        self.fails("build", e, "-o", self.folder / "ee.octet")
        self.fails("calibrate", e, "--data", CALIB, "-o", self.folder / "t")

    def test_same_bytes(self):
        """Instruction sets and threads do not change a result; two builds are the same file."""
        q, e = self.folder / "q.onnx", self.folder / "q.octet"
        self.works(*self.quantize("--effort", "fast"))
        self.works("build", q, "-o", e)
        hashes = set()
        for isa in ("reference", "avx2", "avx512vnni", ""):
            for threads in (1, 2):
                words = ("run", e, "--data", VAL, "--limit", 4, "--threads", threads, "--output", self.folder / "out",
                         "--json")
                done = call(*words, environment={"OCTET_ISA": isa} if isa else None)
                if done.returncode == 1 and isa and "OCTET_ISA" in done.stderr:
                    continue  # not on this CPU
                self.assertEqual(done.returncode, 0, done.stderr)
                hashes.add(json.loads(done.stdout)["hash"])
        self.assertEqual(len(hashes), 1, hashes)
        self.works("build", q, "-o", self.folder / "again.octet")
        self.assertEqual(e.read_bytes(), (self.folder / "again.octet").read_bytes())
        self.works(*self.quantize("--effort", "fast", "--threads", 2, out="again.onnx"))
        self.assertEqual(q.read_bytes(), (self.folder / "again.onnx").read_bytes())

    def test_tuning(self):
        """Tactics come from the file, never change a result, and make the same engine again."""
        q, plain, e, t = (self.folder / name for name in ("q.onnx", "plain.octet", "e.octet", "tuning.json"))
        self.works(*self.quantize("--effort", "fast"))
        self.works("build", q, "-o", plain)
        self.works("build", q, "-o", e, "--tuning", t)
        engine, text = e.read_bytes(), t.read_bytes()
        known = json.loads(text)
        self.assertTrue(known["tactics"])
        self.assertIn(" 0 steps", self.works("build", q, "-o", e, "--tuning", t).stderr)
        self.assertEqual((e.read_bytes(), t.read_bytes()), (engine, text))

        def output(engine):
            return self.report("run", engine, "--data", VAL, "--limit", 4, "--threads", 2, "--output",
                               self.folder / "out")["hash"]

        for tactic in range(4):
            t.write_text(json.dumps({**known, "tactics": dict.fromkeys(known["tactics"], tactic)}))
            self.works("build", q, "-o", e, "--tuning", t)
            self.assertEqual(e.read_bytes() == plain.read_bytes(), tactic == 0)
            self.assertEqual(output(e), output(plain))
        build = ("build", q, "-o", self.folder / "other.octet", "--tuning", t)
        t.write_text(json.dumps({**known, "tactics": dict.fromkeys(known["tactics"], 5)}))
        self.fails(*build, says="expected 0 to 3")
        t.write_text(json.dumps({**known, "cpu": "another"}))
        self.fails(*build, says="--retime")
        self.works(*build, "--retime")
        self.assertEqual(json.loads(t.read_text())["cpu"], known["cpu"])
        for bad in ("", "[]", '{"format": "octet tuning"}', json.dumps({**known, "tactics": {"a": "b"}})):
            t.write_text(bad)
            self.fails(*build, says="no tuning file")

    def test_options_that_contradict_each_other(self):
        out = ("-o", self.folder / "o.onnx")
        for words in (("--percentile", "99"), ("--percentile", "99", "--method", "mse"), ("--limit", "4"), ("--skip-bad-images",),
                      ("--weights", "int4", "--weights-per-tensor"), ("--activations", "float", "--quantize-outputs"),
                      ("--activations", "float", "--activation-scales", "channel"), ("--weights", "int4", "--effort", "fast"),
                      ("--input-bytes", "--target", "tensorrt")):
            self.fails("quantize", MODEL, "--preprocess", PREPROCESS, *words, *out, status=2)
        self.fails("calibrate", MODEL, "--data", CALIB, "--preprocess", PREPROCESS, "--percentile", "99", *out, status=2)
        done = self.works(*self.quantize(limit=3))
        self.assertIn("3 samples: gptq, refit and scales per channel need 10", done.stderr)

    def test_constant_data(self):
        import struct
        data = self.folder / "zeros.npy"
        for value in (0.0, 0.5, float("nan")):
            shape = (12, 3, 64, 64)
            header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            data.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                             struct.pack("<f", value) * (12 * 3 * 64 * 64))
            for effort in ("fast", "default"):
                done = self.works("quantize", MODEL, "--data", data, "--effort", effort, "-o", self.folder / "q.onnx")
                self.assertIn("every value is", done.stderr)

    def test_corrections(self):
        """Stages can be left out; threads do not change what they do; without data there is a stand-in."""
        q, again = self.folder / "q.onnx", self.folder / "again.onnx"
        report = json.loads(self.works(*self.quantize("--json")).stdout)["corrections"]
        self.assertGreater(report["stages"]["bias-correction"]["layers"], 0)
        self.assertTrue(all(l["after_db"] >= l["before_db"] for l in report["layers"]))
        self.works(*self.quantize("--threads", 3, out="again.onnx"))
        self.assertEqual(q.read_bytes(), again.read_bytes())
        report = json.loads(self.works(*self.quantize("--json", "--skip", "gptq,bias-correction")).stdout)
        self.assertEqual((report["corrections"], report["corrected_biases"]), ({}, 0))
        made = self.works("quantize", MODEL, "-o", q, "--json", "--preprocess", PREPROCESS)
        self.assertIn("synthetic", made.stderr)
        self.assertTrue(json.loads(made.stdout)["synthetic"])
        self.assertIn("guessed", self.works("quantize", MODEL, "-o", q).stderr)

    def test_spills_within_the_memory_limit(self):
        free = self.report(*self.quantize(limit=100))
        self.assertEqual(free["corrections"]["spilled_bytes"], 0)
        unlimited = (self.folder / "q.onnx").read_bytes()
        tight = self.report(*self.quantize("--threads", 1, "--memory-limit", "20M", limit=100))
        self.assertGreater(tight["corrections"]["spilled_bytes"], 10 << 20)
        self.assertEqual((self.folder / "q.onnx").read_bytes(), unlimited)

    def test_run(self):
        array = self.folder / "x.npy"
        array.write_bytes(npy((1, 3, 64, 64)))
        name = self.report("inspect", MODEL)["inputs"][0]["name"]
        hashes = {self.report("run", MODEL, "--input", f"{name}={array}", "--threads", threads, "--output",
                              self.folder / "out")["hash"] for threads in (1, 2)}
        hashes.add(self.report("run", MODEL, "--input", array, "--output", self.folder / "out")["hash"])
        self.assertEqual(len(hashes), 1)
        found = self.report("run", MODEL, "--data", CALIB, "--preprocess", PREPROCESS, "--limit", 3, "--output",
                            self.folder / "all")
        self.assertEqual(found["samples"], 3)
        for output in found["outputs"].values():
            self.assertEqual(output["shape"][0], 3)
            self.assertTrue(pathlib.Path(output["file"]).is_file())
        self.assertEqual((self.folder / "all/index.txt").read_text(), "000.jpg\n001.jpg\n002.jpg\n")

    def test_run_with_outputs_of_several_shapes(self):
        data = self.folder / "data"
        data.mkdir()
        for i, batch in enumerate((1, 3, 2)):
            (data / f"{i}.npy").write_bytes(npy((batch, 3, 64, 64)))
        out = self.folder / "mixed"
        found = self.report("run", MODEL, "--data", data, "--output", out)
        self.assertEqual(found["samples"], 3)
        for files in found["outputs"].values():
            self.assertEqual([f["shape"][0] for f in files], [1, 3, 2])
            for file in files:
                self.assertTrue(pathlib.Path(file["file"]).is_file())
        self.assertEqual((out / "index.txt").read_text(), "0.npy\n1.npy\n2.npy\n")

    def test_targets_with_one_scale_per_tensor(self):
        q = self.folder / "q.onnx"
        made = {}
        for target in ("tensorrt", "onnxruntime", "openvino", "octet"):
            report = made[target] = self.report(*self.quantize("--target", target, limit=12))
            for name in ("smoothed", "centered"):
                self.assertTrue(target != "octet" or report[name] == [], (target, name))
            kept = report["float_tensors"]["tensors"]
            self.assertLessEqual(len(kept), 5)
            in_float = {n["name"] for n in report["float_nodes"]}
            for tensor in kept:
                self.assertGreaterEqual(tensor["gain_db"], 0.5)
                self.assertLessEqual(set(tensor["layers"]), in_float)
            self.assertLessEqual(sum(t["macs"] for t in kept), 0.2)
        self.assertEqual(made["octet"]["float_tensors"]["tensors"], [])
        for target in ("onnxruntime", "openvino"):  # zero-points do that
            self.assertEqual(made[target]["centered"], [])
        # They differ only in the form of biases.
        self.assertEqual(made["openvino"]["smoothed"], made["onnxruntime"]["smoothed"])
        self.assertEqual(made["openvino"]["float_tensors"], made["onnxruntime"]["float_tensors"])
        self.assertGreater(len(made["tensorrt"]["centered"]), 0)
        for tensor in made["tensorrt"]["centered"]:
            self.assertGreaterEqual(tensor["gain_db"], 3)
        plain = self.report(*self.quantize("--target", "tensorrt", "--skip", "smoothing,centering,float-tensors", limit=12))
        self.assertEqual((plain["smoothed"], plain["centered"], plain["float_tensors"]["tensors"]), ([], [], []))
        self.assertGreater(made["tensorrt"]["sqnr_db"], plain["sqnr_db"])
        # The table that is kept is of the model as it is, and serves again.
        table = self.folder / "t.json"
        self.works(*self.quantize("--target", "tensorrt", "--save-table", table))
        self.works("quantize", MODEL, "--table", table, "--target", "tensorrt", "-o", q)

    def test_quantize_dynamic(self):
        q = self.folder / "q.onnx"
        found = self.report("quantize", MODEL, "--dynamic", "-o", q)
        self.assertGreater(found["quantized_nodes"], 0)
        self.works("build", q, "-o", self.folder / "q.octet")
        compared = self.report("compare", MODEL, q, "--data", CALIB, "--preprocess", PREPROCESS, "--limit", 8)
        self.assertGreater(compared["outputs"]["logits"]["sqnr_db"], 40)
        self.fails("quantize", MODEL, "--dynamic", "--data", CALIB, "-o", q, status=2)

    def test_table(self):
        table, out = self.folder / "t.json", self.folder / "q.onnx"
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--limit", 8)
        made = self.report("calibrate", MODEL, *data, "-o", table)
        self.assertEqual(made["samples"], 8)
        shown = self.report("inspect", table)
        self.assertEqual(len(shown["tensors"]), made["tensors"])
        self.works("inspect", table)
        self.works("quantize", MODEL, "--table", table, "-o", out)  # biases by what the table knows of channels
        self.works("quantize", MODEL, "--table", table, *data, "-o", out)
        self.works(*self.quantize("--save-table", self.folder / "t2.json", out="q2.onnx"))
        self.assertEqual(out.read_bytes(), (self.folder / "q2.onnx").read_bytes())
        self.works("quantize", MODEL, "--table", table, "-o", out, "--data", CALIB)
        # Every method's choice is in the table: as if it had been calibrated that way.
        tensors = json.loads(table.read_text())["tensors"]
        for method in ("entropy", "percentile", "admm", "aciq", "output"):
            self.works("quantize", MODEL, "--table", table, "--method", method, "-o", out)
            other = self.folder / "other.json"
            self.works("calibrate", MODEL, *data, "--method", method, "-o", other)
            for name, tensor in json.loads(other.read_text())["tensors"].items():
                self.assertEqual([tensor["low"], tensor["high"]], tensors[name]["methods"][method][:2], (method, name))
            self.works("quantize", MODEL, "--table", other, "-o", self.folder / "o.onnx")
            self.assertEqual(out.read_bytes(), (self.folder / "o.onnx").read_bytes(), method)
        self.assertLessEqual(max(t["methods"]["mse"][2] - t["methods"]["minmax"][2] for t in tensors.values()), 0)
        self.fails("quantize", MODEL, "--table", table, "--method", "percentile", "--percentile", "99", "-o", out, status=2)
        (self.folder / "o.onnx").unlink()
        other = self.folder / "other.onnx"
        other.write_bytes(MODEL.read_bytes() + b"\x12\x05other")  # another producer name
        self.fails("quantize", other, "--table", table, "-o", self.folder / "o.onnx", says="calibrate")
        table.write_text(table.read_text()[:-20])
        self.fails("quantize", MODEL, "--table", table, "-o", self.folder / "o.onnx", says="t.json")

    def test_tables_do_not_depend_on_threads_or_order(self):
        images = sorted(CALIB.iterdir())[:12]
        texts, tensors = [], []
        for order, threads in ((images, 1), (images, 2), (images, 5), (images[::-1], 3)):
            listed = self.folder / "list.txt"
            listed.write_text("".join(f"{image}\n" for image in order))
            table = self.folder / "t.json"
            self.works("calibrate", MODEL, "--data", listed, "--preprocess", PREPROCESS, "--threads", threads, "-o", table)
            texts.append(table.read_bytes())
            tensors.append(json.loads(texts[-1])["tensors"])
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])
        for reverse, forward in zip(tensors[3].values(), tensors[0].values()):
            for tensor in (reverse, forward):
                self.assertNotIn("moving-average", tensor["methods"])  # which is defined by order
            self.assertEqual(reverse, forward)

    def test_parts_make_the_table_of_one_run(self):
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--limit", 11)
        whole, merged = self.folder / "whole.json", self.folder / "merged.json"
        for method in ("mse", "moving-average"):
            self.works("calibrate", MODEL, *data, "--method", method, "-o", whole)
            for count in (1, 3, 11):
                parts = [self.folder / f"{count}.{i}" for i in range(1, count + 1)]
                for i, part in enumerate(parts):
                    made = self.report("calibrate", MODEL, *data, "--method", method, "--shard", f"{i + 1}/{count}", "-o", part)
                    self.assertEqual(made["total"], 11)
                random.shuffle(parts)
                made = self.report("calibrate", "--merge", *parts, "-o", merged)
                self.assertEqual((made["samples"], made["method"]), (11, method))
                self.assertEqual(merged.read_bytes(), whole.read_bytes(), (method, count))
        # Everything is in the parts: another method needs no other run.
        self.works("calibrate", MODEL, *data, "--method", "percentile", "--percentile", 99, "-o", whole)
        self.works("calibrate", "--merge", *parts, "--method", "percentile", "--percentile", 99, "-o", merged)
        self.assertEqual(merged.read_bytes(), whole.read_bytes())
        self.works("quantize", MODEL, "--table", merged, "-o", self.folder / "q.onnx")
        # Parts that do not belong together, or are not all.
        out = self.folder / "none"
        self.fails("calibrate", "--merge", *parts[1:], "-o", out, says="missing")
        self.fails("calibrate", "--merge", *parts, parts[0], "-o", out, says="each part once")
        other = self.folder / "other"
        self.works("calibrate", MODEL, *data[:-1], 12, "--shard", "1/3", "-o", other)
        self.fails("calibrate", "--merge", parts[0], other, "-o", out, says="other data")
        self.works("calibrate", MODEL, "--data", CALIB, "--preprocess", PREPROCESS.replace("rgb", "bgr"), "--limit", 11,
                   "--shard", "1/3", "-o", other)
        self.fails("calibrate", "--merge", parts[0], other, "-o", out, says="preprocessing")
        model = self.folder / "other.onnx"
        model.write_bytes(MODEL.read_bytes() + b"\x12\x05other")
        self.works("calibrate", model, *data, "--shard", "1/3", "-o", other)
        self.fails("calibrate", "--merge", parts[0], other, "-o", out, says="another model")
        self.fails("calibrate", "--merge", whole, "-o", out, says="no part")
        self.fails("quantize", MODEL, "--table", parts[0], "-o", out, says="--merge")
        damaged = bytearray(parts[0].read_bytes())
        damaged[len(damaged) // 2] ^= 4
        other.write_bytes(damaged)
        self.fails("calibrate", "--merge", other, "-o", out, says="damaged")
        for words in (("--shard", "0/3"), ("--shard", "4/3"), ("--shard", "1"), ("--shard", "1/12"), ("--merge", parts[0]),
                      ("--shard", "1/2", "--format", "tensorrt")):
            self.fails("calibrate", MODEL, *data, *words, "-o", out, status=2)
        self.fails("calibrate", "--merge", parts[0], "--resume", "-o", out, status=2)

    def test_interrupted_calibration_resumes(self):
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--threads", 1)
        whole, table = self.folder / "whole.json", self.folder / "t.json"
        state = self.folder / "t.json.part"
        start = time.monotonic()
        self.works("calibrate", MODEL, *data, "-o", whole)
        seconds = time.monotonic() - start
        kept = 0
        for round in range(8):  # each goes on where the one before stopped
            process = subprocess.Popen([OCTET, *map(str, ("calibrate", MODEL, *data, "--resume", "-o", table))],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(seconds * (0.3 + 0.2 * (round % 3)))
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
            if process.returncode == 0:
                break
            self.assertEqual(process.returncode, -signal.SIGINT)
            self.assertLessEqual(set(self.files()), {"whole.json", "t.json.part"})
            if state.exists():
                kept += 1
                self.assertRegex(said + "interrupted: ", "interrupted: ")
                self.fails("calibrate", MODEL, *data, "--limit", 3, "--resume", "-o", table)
        self.assertGreater(kept, 0)
        self.works("calibrate", MODEL, *data, "--resume", "-o", table)
        self.assertEqual(table.read_bytes(), whole.read_bytes())
        self.assertFalse(state.exists())
        # Damaged states are no states, and nothing else is deleted.
        state.write_bytes(b"mine")
        self.fails("calibrate", MODEL, *data, "--limit", 3, "--resume", "-o", table, says="no part")
        self.works("calibrate", MODEL, *data, "--limit", 3, "-o", table)
        self.assertEqual(state.read_bytes(), b"mine")

    def test_choices(self):
        for words in (("--target", "tensorrt"), ("--target", "onnxruntime"), ("--method", "entropy"),
                      ("--method", "minmax", "--weights-per-tensor"), ("--method", "moving-average"),
                      ("--method", "percentile", "--percentile", "99"), ("--exclude", "Gemm"), ("--include", "Conv"),
                      ("--quantize-outputs",)):
            self.works(*self.quantize(*words))
            self.works("build", self.folder / "q.onnx", "-o", self.folder / "q.octet")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    OCTET = str(pathlib.Path(sys.argv[1]).resolve())
    print(f"seed {SEED} (OCTET_TEST_SEED repeats it)", file=sys.stderr)
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
