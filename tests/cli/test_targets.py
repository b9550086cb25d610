#!/usr/bin/env python3
"""Q/DQ for other runtimes, of a trained network (the demo's) and by the command: docs/targets.md rule by rule.

    test_targets.py OCTET

Standard library only; where OCTET_PYTHON (or this Python) has onnx and onnxruntime, the models are checked and run there too.
"""

import os
import random
import struct
import subprocess
import sys

import case
import tiny_onnx
from case import CALIB, MODEL, PREPROCESS, SEED, VAL
from tiny_onnx import read_graph, read_tensors

INT8, UINT8, INT32, FLOAT = 3, 2, 6, 1
RUN = """
import sys, numpy, onnx, onnxruntime
real, quantized, images = sys.argv[1:]
onnx.checker.check_model(quantized, full_check=True)
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
out = []
for path in (real, quantized):
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    out.append(numpy.array([session.run(None, {name: image[None]})[0] for image in numpy.load(images)], float))
print(10 * numpy.log10((out[0] ** 2).sum() / ((out[0] - out[1]) ** 2).sum()))
"""


def parse_cache(text):
    return dict(line.rsplit(": ", 1) for line in text.splitlines()[1:])


class Quantized:
    """A Q/DQ model as lists: what is quantized and how, and the layers."""

    def __init__(self, path):
        data = path.read_bytes()
        self.nodes, _ = read_graph(data)
        self.tensors = read_tensors(data)
        self.made_by = {o: n for n in self.nodes for o in n[2]}
        self.readers = {}
        for n in self.nodes:
            for i in n[1]:
                self.readers.setdefault(i, []).append(n)

    def pairs(self):
        """Quantized value -> (bits of the scale, type, zero-points)."""
        found = {}
        for op, inputs, _ in self.nodes:
            if op == "QuantizeLinear":
                scale, zero = self.tensors[inputs[1]], self.tensors[inputs[2]]
                found[inputs[0]] = (scale[2], zero[0], zero[2])
        return found

    def layers(self):
        """(operator, its node, the DequantizeLinear of its weights or None, of its bias or None)."""
        for node in self.nodes:
            if node[0] in ("Conv", "Gemm", "MatMul"):
                constants = [self.made_by.get(i) for i in node[1][1:]]
                yield node[0], node, constants[0], constants[1] if len(constants) > 1 else None

    def dequantized(self, value):
        return self.made_by.get(value, ("",))[0] == "DequantizeLinear"


class Targets(case.Case):

    def quantize(self, target, *words):
        path = self.folder / f"{target}.onnx"
        report = self.report("quantize", MODEL, "-o", path, "--target", target, "--effort", "fast", *words)
        return path, Quantized(path), report

    def from_data(self, target):
        return self.quantize(target, "--data", CALIB, "--limit", 16, "--preprocess", PREPROCESS)

    def runs_in_onnxruntime(self, path, least_db):
        python = os.environ.get("OCTET_PYTHON") or sys.executable
        if subprocess.run([python, "-c", "import onnx, onnxruntime"], capture_output=True).returncode != 0:
            print("not run in ONNX Runtime: there is no onnx and onnxruntime (OCTET_PYTHON names a Python that has them)",
                  file=sys.stderr)
            return
        # A model that returns its input writes the photographs as arrays. Many: the noise of one is a matter of luck.
        identity, arrays = self.folder / "identity.onnx", self.folder / "arrays"
        entry, result = (tiny_onnx.value_info(name, (1, 3, 64, 64)) for name in "xy")
        identity.write_bytes(tiny_onnx.model([tiny_onnx.node("Identity", ["x"], ["y"])], [entry], [result], []))
        self.works("run", identity, "--data", VAL, "--limit", 50, "--preprocess", PREPROCESS, "--output", arrays)
        done = subprocess.run([python, "-c", RUN, MODEL, path, arrays / "y.npy"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(float(done.stdout.split()[-1]), least_db)

    def test_what_only_a_mean_reads_stays_in_float_where_that_gains(self):
        chance, channels, size = random.Random(5), 32, 12
        weights = [tiny_onnx.tensor(name, (channels, channels, 1, 1), [chance.gauss(0, channels ** -0.5) for _ in range(channels ** 2)])
                   for name in ("w1", "w2")]
        model, data = self.folder / "m.onnx", self.folder / "data"
        model.write_bytes(tiny_onnx.model(
            [tiny_onnx.node("Conv", ["x", "w1"], ["a"]), tiny_onnx.node("Relu", ["a"], ["b"]),
             tiny_onnx.node("Conv", ["b", "w2"], ["c"]), tiny_onnx.node("Relu", ["c"], ["d"]),
             tiny_onnx.node("GlobalAveragePool", ["d"], ["mean"], name="pool"), tiny_onnx.node("Softmax", ["mean"], ["y"], axis=1)],
            [tiny_onnx.value_info("x", (1, channels, size, size))], [tiny_onnx.value_info("y", (1, channels, 1, 1))], weights))
        data.mkdir()
        for i in range(16):  # of one colour each, so that the errors of pixels do not cancel
            values = [v for v in (chance.gauss(0, 1) for _ in range(channels)) for _ in range(size ** 2)]
            (data / f"{i}.npy").write_bytes(tiny_onnx.npy((1, channels, size, size), values))
        for target in ("tensorrt", "onnxruntime"):  # the second one gives every convolution an 8-bit result
            path = self.folder / f"{target}.onnx"
            kept = self.report("quantize", model, "-o", path, "--target", target, "--data", data)["float_tensors"]["tensors"]
            found = {t["value"]: t["layers"] for t in kept}
            self.assertEqual(found.get("d"), ["pool"] if target == "tensorrt" else None)
            self.assertEqual("d" in Quantized(path).pairs(), target != "tensorrt")

    def test_a_cache_is_carried_bit_for_bit(self):
        made = self.folder / "made.cache"
        self.works("calibrate", MODEL, "--data", CALIB, "--limit", 16, "--preprocess", PREPROCESS, "--format", "tensorrt", "-o", made)
        lines = made.read_text().splitlines()
        chance = random.Random(SEED)
        head, scales = lines[0], {}
        for name, bits in (line.rsplit(": ", 1) for line in lines[1:]):
            # Another last bits than any rounding of ours would give.
            scales[name] = struct.pack(">I", int(bits, 16) ^ chance.randrange(1 << 12)).hex()
        cache = self.folder / "old.cache"
        cache.write_text("\n".join([head, *(f"{n}: {s}" for n, s in scales.items())]) + "\n")
        path, model, report = self.quantize("tensorrt", "--table", cache)
        pairs = model.pairs()
        self.assertGreater(len(pairs), 10)
        for value, (scale, kind, zero) in pairs.items():
            self.assertEqual(scale[::-1].hex(), scales[value], value)
            self.assertEqual((kind, zero), (INT8, b"\0"), value)
        self.assertEqual(self.report("lint", path, "--target", "tensorrt")["findings"], [])
        self.assertEqual(report["target"], "tensorrt")
        self.runs_in_onnxruntime(path, 12)

    def test_tensorrt(self):
        path, model, report = self.from_data("tensorrt")
        weighted = 0
        for op, node, weights, bias in model.layers():
            if weights is None:
                continue
            weighted += 1
            kind, shape, _ = model.tensors[weights[1][0]]
            self.assertEqual(kind, INT8)
            self.assertEqual(model.tensors[weights[1][1]][1], [shape[0 if op == "Conv" else -1]], node)
            self.assertIsNone(bias, "biases are float")
        self.assertGreater(weighted, 10)
        # Of a residual Add's inputs one comes from a DequantizeLinear, the other from a convolution.
        adds = [n for n in model.nodes if n[0] == "Add" and any(model.dequantized(i) for i in n[1])]
        self.assertGreater(len(adds), 1)
        for add in adds:
            self.assertEqual(sorted(model.dequantized(i) for i in add[1]), [False, True], add)
        # The classifier has 10 classes: N is below 16.
        reasons = {n["name"]: n["reason"] for n in report["float_nodes"]}
        self.assertIn("N = 10 is below 16", " ".join(reasons.values()))
        self.assertEqual(self.report("lint", path, "--target", "tensorrt")["findings"], [])
        self.runs_in_onnxruntime(path, 20)

    def test_onnxruntime(self):
        path, model, _ = self.from_data("onnxruntime")
        for kind in (k for _, k, _ in model.pairs().values()):
            self.assertEqual(kind, UINT8)
        for op, node, weights, bias in model.layers():
            if weights is None or not model.dequantized(node[1][0]):
                continue
            self.assertEqual(model.tensors[bias[1][0]][0], INT32)
            if op != "Conv":
                continue
            result = node[2][0]
            while model.readers[result][0][0] in ("Relu", "Clip"):
                result = model.readers[result][0][2][0]
            self.assertEqual([n[0] for n in model.readers[result]], ["QuantizeLinear"], node)
        self.assertEqual(self.report("lint", path, "--target", "onnxruntime")["findings"], [])
        self.runs_in_onnxruntime(path, 20)

    def test_openvino(self):
        path, model, _ = self.from_data("openvino")
        for kind in (k for _, k, _ in model.pairs().values()):
            self.assertEqual(kind, UINT8)
        for _, node, weights, bias in model.layers():
            if weights is not None:
                self.assertEqual(set(model.tensors[weights[1][2]][2]), {0})
                self.assertIsNone(bias)
        self.assertEqual(self.report("lint", path, "--target", "openvino")["findings"], [])
        self.runs_in_onnxruntime(path, 20)

    def test_one_table_serves_every_target(self):
        table = self.folder / "table.json"
        self.works("calibrate", MODEL, "--data", CALIB, "--limit", 16, "--preprocess", PREPROCESS, "-o", table)
        for target in ("octet", "tensorrt", "openvino"):
            path, _, _ = self.quantize(target, "--table", table)
            self.report("eval", path, "--data", VAL, "--limit", 4, "--reference", MODEL)
        # Sums in front of residuals are no tensors of the float network as it runs: their ranges are extra work.
        self.fails("quantize", MODEL, "--table", table, "--target", "onnxruntime", "-o", self.folder / "q.onnx",
                   says="calibrate this model again with --target onnxruntime")
        whole = self.folder / "whole.json"
        self.works("calibrate", MODEL, "--data", CALIB, "--limit", 16, "--preprocess", PREPROCESS, "-o", whole, "--target", "onnxruntime")
        path, _, _ = self.quantize("onnxruntime", "--table", whole)
        self.report("eval", path, "--data", VAL, "--limit", 4, "--reference", MODEL)


if __name__ == "__main__":
    case.main(__doc__)
