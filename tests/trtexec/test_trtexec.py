#!/usr/bin/env python3
"""Command lines as people write them for trtexec: each does what its first column says.

    test_trtexec.py OCTET

The lines and the model are test data (OCTET_DATA); without them the test is skipped (status 77). Runs are kept
short by --duration and --warmUp where a line says nothing about them. Standard library only.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
import tiny_onnx  # noqa: E402

OCTET = None
DATA = pathlib.Path(os.environ.get("OCTET_DATA", pathlib.Path(__file__).resolve().parents[2] / "../shared/data"))
LINES = DATA / "trtexec-lines.txt"
MODEL = DATA / "models/yunet_dynamic.onnx"  # the input is `input`, the first layer Conv_0
MOVED = {"233", "242", "251", "268", "278"}  # by MaxPool and Resize
IMAGES = DATA / "imagenet/calib"
SHORT = (("--duration", "--duration=0.05"), ("--warmUp", "--warmUp=1"))
# What an error has to say.
SAYS = {"--useDLACore": "DLA", "--calib=missing.cache": "missing.cache", "--onnx=missing.onnx": "missing.onnx",
        "--saveEngin=": "--saveEngine", "--minShapes=wrong:": "wrong", "--minShapes=input:8x": "input",
        "--loadEngine=MODEL.onnx": "MODEL.onnx", "--deploy": "ONNX"}
SECTIONS = ("=== Performance summary ===", "Throughput: ", "Latency: min = ", "GPU Compute Time: ",
            "Total Host Walltime: ")


def lines():
    for line in LINES.read_text().splitlines():
        if line and not line.startswith("#"):
            expected, command = line.split("|", 1)
            yield expected.strip(), command.strip()


class Trtexec(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="octet-trtexec-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        (cls.folder / "trtexec").symlink_to(pathlib.Path(OCTET).resolve())
        cls.files = cls.folder / "files"
        cls.files.mkdir()
        shutil.copy(MODEL, cls.files / "MODEL.onnx")
        (cls.files / "DIR").mkdir()
        for image in sorted(IMAGES.iterdir())[:4]:
            shutil.copy(image, cls.files / "DIR")
        prepare = ("--preprocess", "letterbox=256x256,128 rgb std=255")
        cls.octet("calibrate", "MODEL.onnx", "--data", "DIR", *prepare, "--format", "tensorrt", "-o", "CACHE")
        cls.octet("quantize", "MODEL.onnx", "--table", "CACHE", "--target", "tensorrt", "--effort", "fast", "-o",
                  "QDQ.onnx")
        done = cls.trtexec(["--onnx=QDQ.onnx", "--saveEngine=model.plan", "--buildOnly"], cls.files)
        assert done.returncode == 0, done.stderr
        shutil.copy(cls.files / "model.plan", cls.files / "a.plan")
        (cls.files / "input.bin").write_bytes(struct.pack("<f", 0.5) * (3 * 256 * 256))
        done = cls.trtexec(["--loadEngine=a.plan", "--exportOutput=out.json", "--duration=0", "--iterations=1"], cls.files)
        assert done.returncode == 0, done.stderr

    @classmethod
    def octet(cls, *words):
        subprocess.run([OCTET, *words], cwd=cls.files, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=300)

    @classmethod
    def trtexec(cls, words, folder):
        return subprocess.run([cls.folder / "trtexec", *words], cwd=folder, capture_output=True, text=True,
                              timeout=300)

    def fresh(self):
        """A folder with the files that lines speak of."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        for file in self.files.iterdir():
            if file.is_dir():
                (folder / file.name).symlink_to(file)
            else:
                shutil.copy(file, folder)
        return folder

    def check_line(self, expected, command):
        words = shlex.split(command)[1:]
        folder = self.fresh()
        if words and "--help" not in words:
            words += [flag for name, flag in SHORT if not any(w.startswith(name + "=") for w in words)]
        done = self.trtexec(words, folder)
        told = f"{command}\n{done.stdout}{done.stderr}"
        warnings = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
        if expected == "error":
            self.assertIn(done.returncode, (1, 2), told)
            errors = [line for line in done.stderr.splitlines() if line.startswith("trtexec: error: ")]
            self.assertEqual(len(errors), 1, told)
            for flag, says in SAYS.items():
                if flag in command:
                    self.assertIn(says, errors[0], told)
            return
        self.assertEqual(done.returncode, 0, told)
        if expected == "warn":
            self.assertEqual(len(warnings), 1, told)
            self.check_warning(words, warnings[0], told)
        else:
            self.assertEqual(warnings, [], told)
        if "--help" in words:
            self.assertIn("--saveEngine", done.stdout)
            return
        self.assertIn("&&&& PASSED TensorRT.trtexec", done.stdout, told)
        self.check_inference(words, done.stdout, told)
        self.check_files(words, folder, told)

    def check_warning(self, words, warning, told):
        if "--int8" in words and not any(w.startswith("--calib") for w in words):
            self.assertIn("--calib", warning, told)
            return
        for word in words:
            name = word.split("=")[0]
            if name in ("--useCudaGraph", "--noDataTransfers", "--useSpinWait", "--device", "--tacticSources",
                        "--sparsity", "--versionCompatible", "--hardwareCompatibilityLevel", "--minTiming",
                        "--avgTiming"):
                self.assertIn(name, warning, told)

    def check_inference(self, words, text, told):
        ran = "--buildOnly" not in words and "--skipInference" not in words
        for section in SECTIONS:
            self.assertEqual(section in text, ran, told)
        if not ran:
            return
        wanted = next((w.split("=")[1] for w in words if w.startswith("--percentile=")), "90,95,99")
        number = r"[0-9.e+-]+"
        percentiles = "".join(rf", percentile\({p}%\) = {number} ms" for p in wanted.split(","))
        self.assertRegex(text, rf"Latency: min = {number} ms, max = {number} ms, mean = {number} ms, "
                         rf"median = {number} ms{percentiles}\n", told)
        if "--dumpProfile" in words:
            self.assertRegex(text, r"=== Profile \(\d+ iterations \) ===", told)
            self.assertRegex(text, r"Time\(ms\) +Avg.\(ms\) +Median\(ms\) +Time\(%\) +Layer", told)
        if "--dumpLayerInfo" in words:
            self.assertIn("Layer Information:", text, told)
        if "--dumpOutput" in words:
            self.assertIn("Output Tensors:", text, told)

    def check_files(self, words, folder, told):
        for word in words:
            flag, _, file = word.partition("=")
            if flag == "--saveEngine":
                self.assertGreater((folder / file).stat().st_size, 10000, told)
                report = json.loads(subprocess.run([OCTET, "inspect", file, "--json"], cwd=folder, check=True,
                                                   capture_output=True, text=True).stdout)
                eight = "--int8" in words or "--best" in words or "QDQ" in told.split("\n")[0]
                self.assertEqual(report["summary"]["int8_steps"] > 20, eight, told)
            elif flag == "--exportTimes":
                times = json.loads((folder / file).read_text())
                self.assertGreaterEqual(len(times), 10)
                self.assertTrue({"startComputeMs", "endComputeMs", "computeMs", "latencyMs"} <= set(times[0]))
            elif flag == "--exportProfile":
                profile = json.loads((folder / file).read_text())
                self.assertGreater(profile[0]["count"], 0)
                self.assertEqual(set(profile[1]), {"name", "timeMs", "averageMs", "medianMs", "percentage"})
                self.assertAlmostEqual(sum(layer["percentage"] for layer in profile[1:]), 100, places=3)
            elif flag == "--exportLayerInfo":
                layers = json.loads((folder / file).read_text())
                self.assertIn("input", layers["Bindings"])
                self.assertIn("LayerType", layers["Layers"][0])
            elif flag == "--exportOutput":
                outputs = json.loads((folder / file).read_text())
                self.assertEqual(len(outputs), 12)
                for output in outputs:
                    count = 1
                    for size in output["dimensions"].split("x"):
                        count *= int(size)
                    self.assertEqual(len(output["values"]), count)


    def test_cache_gives_its_scales(self):
        scales = {}
        for line in (self.files / "CACHE").read_text().splitlines()[1:]:
            name, bits = line.rsplit(": ", 1)
            scales[name] = struct.unpack(">f", bytes.fromhex(bits))[0]
        self.assertGreater(len(scales), 20)
        folder = self.fresh()
        done = self.trtexec(["--onnx=MODEL.onnx", "--int8", "--calib=CACHE", "--saveEngine=e", "--buildOnly"], folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Every Q/DQ pair of an activation has the bits of the cache's scale for the tensor that it quantizes.
        nodes, constants = tiny_onnx.read_graph((folder / "QDQ.onnx").read_bytes())
        compared = set()
        for op, inputs, outputs in nodes:
            if op == "QuantizeLinear" and inputs[0] not in constants:
                self.assertEqual(constants[inputs[1]], scales[inputs[0]], inputs[0])
                self.assertEqual(constants.get(inputs[2], 0), 0, inputs[0])
                dequantized = [i for o, i, _ in nodes if o == "DequantizeLinear" and i[0] == outputs[0]]
                self.assertTrue(dequantized)
                for again in dequantized:
                    self.assertEqual(constants[again[1]], scales[inputs[0]], inputs[0])
                compared.add(inputs[0])
        self.assertGreater(len(compared), 20)

    def test_a_cache_of_another_model(self):
        folder = self.fresh()
        rest = (folder / "CACHE").read_text().splitlines()
        (folder / "CACHE").write_text("\n".join([*rest[:5], "nothing: 3f800000"]) + "\n")
        done = self.trtexec(["--onnx=MODEL.onnx", "--int8", "--calib=CACHE"], folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("the model has no tensor 'nothing'", done.stderr)
        # Every 8-bit tensor but those that the cache still has and what is pooled or resized from another, whose
        # scale it takes. The engine has all layers in 8 bits, QDQ.onnx not those that TensorRT gains nothing from.
        known = {line.split(":")[0] for line in rest[1:5]}
        made = {name.decode() for name in re.findall(rb"(\w+)_QuantizeLinear", (folder / "QDQ.onnx").read_bytes())}
        told = re.findall("no scale for the tensor '(.*)'", done.stderr)
        self.assertLessEqual(made - known - MOVED, set(told))
        self.assertLessEqual(set(told), {line.split(":")[0] for line in rest[5:]})
        self.assertEqual(len(told), len(set(told)))
        (folder / "CACHE").write_text("\n".join([*rest[:3], "garbage"]) + "\n")
        done = self.trtexec(["--onnx=MODEL.onnx", "--int8", "--calib=CACHE"], folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("line 4", done.stderr)

    def test_folder_says_its_preprocessing(self):
        done = self.trtexec(["--onnx=MODEL.onnx", "--int8", "--calib=DIR", "--buildOnly",
                             "--optShapes=input:1x3x320x160"], self.fresh())
        self.assertIn("letterbox=160x320,128 rgb std=255", done.stdout, done.stderr)

    def test_formats(self):
        folder = self.fresh()
        done = self.trtexec(["--onnx=QDQ.onnx", "--inputIOFormats=int8:hwc", "--outputIOFormats=fp16:chw",
                             "--saveEngine=e", "--skipInference"], folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(subprocess.run([OCTET, "inspect", "e", "--json"], cwd=folder, check=True,
                                           capture_output=True, text=True).stdout)
        self.assertTrue(report["inputs"][0]["shape"].endswith("x3"), report["inputs"])
        self.assertIn("int8", report["inputs"][0]["dtype"])
        self.assertEqual({o["dtype"] for o in report["outputs"]}, {"float16"})

    def test_wrong_outputs_fail(self):
        folder = self.fresh()
        outputs = json.loads((folder / "out.json").read_text())
        outputs[0]["values"][0] += 1
        (folder / "out.json").write_text(json.dumps(outputs))
        done = self.trtexec(["--loadEngine=a.plan", "--loadRefOutputs=out.json", "--duration=0"], folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("&&&& FAILED", done.stdout)


def add_lines():
    for i, (expected, command) in enumerate(lines(), 1):
        def test(self, expected=expected, command=command):
            self.check_line(expected, command)
        setattr(Trtexec, f"test_line_{i:02}_{expected}", test)


if __name__ == "__main__":
    OCTET = str(pathlib.Path(sys.argv.pop(1)).resolve())
    if not LINES.is_file() or not MODEL.is_file():
        print("skipped: OCTET_DATA has no trtexec-lines.txt")
        sys.exit(77)
    assert len(list(lines())) == 46
    add_lines()
    unittest.main()
