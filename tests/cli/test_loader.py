#!/usr/bin/env python3
"""Data loader scripts: quantize and calibrate --data-loader-script, polygraphy convert.

    test_loader.py OCTET

Scripts run in OCTET_PYTHON or python3, which needs numpy; without it the test is skipped (status 77), as without the
test data (OCTET_DATA). Standard library only.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

OCTET = None
PYTHON = os.environ.get("OCTET_PYTHON") or "python3"
MODEL = pathlib.Path(os.environ.get("OCTET_DATA", pathlib.Path(__file__).resolve().parents[2] / "../shared/data")) / "models/resnet8_cifar10.onnx"  # N x 3 x 32 x 32
GOOD = """
import numpy as np
print("the script prints")
def load_data():
    random = np.random.default_rng(0)
    for i in range(5):
        yield {"input_1": random.integers(0, 256, (4, 3, 32, 32)).astype(np.float32)}
def noise():
    return [{"input_1": np.arange(3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32) % 7}]
"""
# What a loader yields, and what the error says.
BAD = {
    "raise KeyError('the third file')\n    yield": "the third file",
    "return []": "gave no data",
    "yield {'x': np.zeros((1, 3, 32, 32), np.float32)}": "'input_1' is missing; the batch has 'x'",
    "yield {'input_1': np.zeros((1, 3, 32, 32), np.float32), 'x': np.zeros(1)}": "no input 'x'",
    "yield {'input_1': np.zeros((1, 3, 32, 32))}": "float64",
    "yield {'input_1': np.zeros((1, 3, 32, 31), np.float32)}": "1x3x32x31",
    "yield {'input_1': ['a', None]}": "input_1",
    "yield [1]": "expected a dict",
    "yield {}": "empty",
    "import os; os._exit(3)\n    yield": "exit status 3",
    "exit(4)\n    yield": "exit(4)",
    "import os; os.kill(os.getpid(), 9)\n    yield": "signal 9",
}


class Loader(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "loader.py").write_text(GOOD)

    def octet(self, *words):
        return subprocess.run([OCTET, *map(str, words)], cwd=self.folder, capture_output=True, text=True, timeout=300)

    def works(self, *words):
        done = self.octet(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def fails(self, says, *words):
        done = self.octet(*words)
        self.assertIn(done.returncode, (1, 2), done.stdout + done.stderr)
        errors = [line for line in done.stderr.splitlines() if ": error: " in line]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertIn(says, errors[0])

    def test_quantize(self):
        done = self.works("quantize", MODEL, "--data-loader-script", "loader.py", "--effort", "fast", "--json", "-o", "q.onnx")
        report = json.loads(done.stdout)  # what the script prints is elsewhere
        self.assertEqual((report["samples"], report["synthetic"]), (20, False))
        self.assertIn("the script prints", done.stderr)
        done = self.works("quantize", MODEL, "--data-loader-script", "loader.py:noise", "--effort", "fast", "--json", "-o", "q.onnx")
        self.assertEqual(json.loads(done.stdout)["samples"], 1)
        done = self.works("calibrate", MODEL, "--data-loader-script", "loader.py", "--limit", 8, "--json", "-o", "table")
        self.assertEqual(json.loads(done.stdout)["samples"], 8)

    def test_polygraphy(self):
        flags = ("polygraphy", "convert", MODEL, "--int8", "--calibration-cache", "cache")
        self.works(*flags, "--data-loader-script", "loader.py", "-o", "first", "--trt-min-shapes", "input_1:[1,3,32,32]",
                   "--trt-opt-shapes", "input_1:[2,3,32,32]", "--trt-max-shapes", "input_1:[4,3,32,32]")
        cache = (self.folder / "cache").read_text()
        self.assertTrue(cache.startswith("TRT-8601-EntropyCalibration2\n"))
        self.assertIn("1 to 4", self.works("inspect", "first").stdout)
        # Then the cache is read, and no script is needed.
        self.works(*flags, "-o", "second")
        self.works(*flags, "--data-loader-script", "missing.py", "-o", "third")
        self.assertEqual((self.folder / "second").read_bytes(), (self.folder / "third").read_bytes())
        self.assertEqual((self.folder / "cache").read_text(), cache)
        self.works("polygraphy", "convert", MODEL, "-o", "float", "--fp16")
        self.fails("are for --int8", "polygraphy", "convert", MODEL, "--calibration-cache", "cache", "-o", "x")
        self.fails("INPUT:[1,3,224,224]", "polygraphy", "convert", MODEL, "-o", "x", "--trt-min-shapes", "input_1:1x3")
        self.fails("none.cache", "polygraphy", "convert", MODEL, "--int8", "--calibration-cache", "none.cache", "-o", "x")
        self.fails("loader.py", *flags[:4], "--data-loader-script", "loader.py", "-o", "loader.py")
        (self.folder / "cache").write_text("garbage")
        self.fails("cache", *flags, "-o", "x")

    def test_bad_scripts(self):
        for body, says in BAD.items():
            with self.subTest(body):
                (self.folder / "bad.py").write_text(f"import numpy as np\ndef load_data():\n    {body}\n")
                self.fails(says, "quantize", MODEL, "--data-loader-script", "bad.py", "-o", "q.onnx")
                self.assertFalse((self.folder / "q.onnx").exists())
        (self.folder / "bad.py").write_text("def load_data(:\n")
        self.fails("SyntaxError", "quantize", MODEL, "--data-loader-script", "bad.py", "-o", "q.onnx")
        self.fails("none()", "quantize", MODEL, "--data-loader-script", "loader.py:none", "-o", "q.onnx")
        self.fails("missing.py", "calibrate", MODEL, "--data-loader-script", "missing.py", "-o", "table")
        self.fails("--data", "calibrate", MODEL, "-o", "table")
        self.fails("excludes", "quantize", MODEL, "--data", self.folder, "--data-loader-script", "loader.py", "-o", "q.onnx")

    def test_endless(self):
        (self.folder / "endless.py").write_text(
            "import numpy as np\ndef load_data():\n    while True: yield {'input_1': np.ones((1, 3, 32, 32), np.float32)}\n")
        self.works("calibrate", MODEL, "--data-loader-script", "endless.py", "--limit", 20, "-o", "table")

    def test_no_python(self):
        done = subprocess.run([OCTET, "quantize", MODEL, "--data-loader-script", "loader.py", "-o", "q"], cwd=self.folder,
                              capture_output=True, text=True, env={**os.environ, "OCTET_PYTHON": "/nonexistent/python"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("OCTET_PYTHON", done.stderr)


if __name__ == "__main__":
    OCTET = str(pathlib.Path(sys.argv.pop(1)).resolve())
    if not MODEL.is_file() or subprocess.run([PYTHON, "-c", "import numpy"], capture_output=True).returncode != 0:
        print("skipped: no OCTET_DATA, or python3 has no numpy")
        sys.exit(77)
    unittest.main()
