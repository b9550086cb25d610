"""What the checks against ONNX Runtime share: paths, the models, running either engine, a table of results."""

import argparse
import importlib.util
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = ("octet", "tensorrt", "onnxruntime")

# name -> preset of evaluate.py, the same preprocessing as --preprocess, and whether val/labels.txt applies
MODELS = {
    "squeezenet1.1": ("squeezenet", "short=259 crop=227 bgr mean=104,117,123", True),
    "mobilenetv2": ("mobilenetv2", "short=256 crop=224 rgb mean=127.5 std=127.5", True),
    "yolox_nano": ("yolox", "letterbox=416x416,114,topleft bgr", False),
    "ultraface_rfb_320": ("ultraface", "stretch=320x240 rgb mean=127 std=128", False),
}

# Rounds float biases (TensorRT's models have them) to int32, which moves up to 0.8 % of a layer's outputs by a step. Off, so
# that what is compared is what the model says.
NOT_THE_MODEL = ["WeightBiasQuantization"]


def parser(description):
    """Arguments of every check. `octet`, `data`, `evaluate` and `work` become paths."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = lambda variable, default: pathlib.Path(os.environ.get(variable, default)).resolve()
    p.add_argument("--octet", type=pathlib.Path, default=path("OCTET", ROOT / "build/octet"), help="the command")
    p.add_argument("--data", type=pathlib.Path, default=path("OCTET_DATA", ROOT / "../shared/data"),
                   help="folder with models/ and imagenet/")
    p.add_argument("--evaluate", type=pathlib.Path, default=path("OCTET_EVALUATE", ROOT / "../shared/bench/evaluate.py"))
    p.add_argument("--work", type=pathlib.Path, default=ROOT / "build/onnxruntime", help="folder for what is made")
    p.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS, metavar="NAME")
    return p


class Bench:
    """One check's run: both engines, the models, and the lines of the table."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.octet = arguments.octet.resolve()
        self.work = arguments.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.data = arguments.data
        self.failures = 0
        self._evaluate = None

    # ---- our engine

    def run_octet(self, *words, environment=None):
        """The JSON object that a subcommand prints; RuntimeError with its message when it fails."""
        done = subprocess.run([self.octet, *map(str, words), "--json"], capture_output=True, text=True,
                              env={**os.environ, **(environment or {})})
        if done.returncode != 0:
            raise RuntimeError(f"octet {words[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}")
        return json.loads(done.stdout)

    def octet_outputs(self, model, inputs, environment=None, *options):
        """Outputs by name of one inference on named arrays."""
        folder = self.work / "arrays"
        folder.mkdir(exist_ok=True)
        words = []
        for i, (name, array) in enumerate(inputs.items()):
            np.save(folder / f"in{i}.npy", array)
            words += ["--input", f"{name}={folder / f'in{i}.npy'}"]
        result = self.run_octet("run", model, *words, "--output", folder / "out", *options, environment=environment)
        return {name: np.load(output["file"]) for name, output in result["outputs"].items()}

    def quantized(self, name, target="octet", per_tensor=False):
        """The Q/DQ model that `octet quantize` makes, kept until the command changes."""
        path = self.work / f"{name}.{target}{'.per_tensor' if per_tensor else ''}.onnx"
        if not path.exists() or path.stat().st_mtime < self.octet.stat().st_mtime:
            self.run_octet("quantize", self.model(name), "--data", self.data / "imagenet/calib", "--preprocess",
                           MODELS[name][1], "--target", target, "--effort", "fast", "-o", path,
                           *(["--weights-per-tensor"] if per_tensor else []))
        return path

    # ---- models and images

    def model(self, name):
        return self.data / "models" / f"{name}.onnx"

    @property
    def evaluate(self):
        """evaluate.py as a module."""
        if self._evaluate is None:
            spec = importlib.util.spec_from_file_location("evaluate", self.arguments.evaluate)
            self._evaluate = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self._evaluate)
        return self._evaluate

    def images(self, folder, count, name):
        """Preprocessed inputs of the first images of imagenet/FOLDER."""
        return list(itertools.islice(self.views(folder, name), count))

    def views(self, folder, name):
        """Preprocessed inputs of all images of imagenet/FOLDER, one after another: of whole images, then of parts that leave out a
        sixteenth or an eighth of each side, then of all these mirrored (17 more for each image)."""
        import cv2
        preprocess = self.evaluate.PREPROCESS[MODELS[name][0]]
        files = sorted(p for p in (self.data / "imagenet" / folder).iterdir() if p.suffix == ".JPEG")
        for mirrored, top, left in itertools.product((False, True), range(3), range(3)):
            for path in files:
                image = cv2.imread(str(path))
                height, width = image.shape[:2]
                y, x = top * height // 16, left * width // 16
                part = image[y:height - y, x:width - x]
                yield preprocess(np.ascontiguousarray(part[:, ::-1]) if mirrored else part)

    # ---- the table

    def row(self, ok, *cells):
        """Prints a line; counts it as a failure unless ok (None: neither)."""
        self.failures += ok is not None and not ok
        print("      " if ok is None else "ok    " if ok else "FAILED", *cells, flush=True)

    def finish(self):
        print(f"{self.failures} failed" if self.failures else "all ok")
        sys.exit(1 if self.failures else 0)


def session(model, optimize=True, save_as=None, disable=None):
    """An ONNX Runtime session of a path or a ModelProto; `disable` names graph optimizers."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # more spin, and lose to whoever else uses the machine
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_as:
        options.optimized_model_filepath = str(save_as)
    source = str(model) if isinstance(model, (str, pathlib.Path)) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], disabled_optimizers=disable)


def outputs_of(sess, inputs):
    return dict(zip([o.name for o in sess.get_outputs()], sess.run(None, inputs)))


def chance_db(ours, theirs):
    """One standard error of the difference in decibels of two noises; both by sample (energies)."""
    shares = ours / ours.mean() - theirs / theirs.mean()
    return 10 / np.log(10) * shares.std() / np.sqrt(shares.size)


def is_settled(difference, chance, tolerance):
    """Whether more samples would hardly change what is found of a difference in decibels."""
    return abs(difference) + 2 * chance <= tolerance or chance <= tolerance / 3


def sqnr_db(reference, found):
    """Signal to noise over lists of arrays; inf where identical."""
    signal = sum(float((r.astype(np.float64) ** 2).sum()) for r in reference)
    noise = sum(float(((r.astype(np.float64) - f) ** 2).sum()) for r, f in zip(reference, found))
    return 10 * np.log10(signal / noise) if noise else float("inf")


def safe(name):
    """An output's name as `octet run` writes it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
