"""What the tests of the command share: running it, and what has to hold when it fails.

Standard library only. Works on the demo's model and images.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
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


def npy(shape, value=0.25):
    import struct
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    count = 1
    for d in shape:
        count *= d
    return (b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
            struct.pack(f"<{count}f", *([value] * count)))


def main(usage):
    """Runs the tests of the calling program on the command that its first argument names."""
    global OCTET
    if len(sys.argv) < 2:
        sys.exit(usage)
    OCTET = str(pathlib.Path(sys.argv[1]).resolve())
    print(f"seed {SEED} (OCTET_TEST_SEED repeats it)", file=sys.stderr)
    unittest.main(module="__main__", argv=[sys.argv[0], *sys.argv[2:]])
