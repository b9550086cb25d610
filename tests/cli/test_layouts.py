#!/usr/bin/env python3
"""Inputs as exporters leave them: channels last, pixels scaled within, 16-bit floats, a fixed batch, inputs that
nothing reads.

    test_layouts.py OCTET [unittest's arguments]

Standard library only; the models are made here.
"""

import array
import random
import struct

import case
import tiny_onnx as onnx
from case import CALIB, VAL, Case

SIDE = 64
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PIXELS = f"short={SIDE} crop={SIDE}"


def network(channels_last, dtype=onnx.FLOAT, batch="batch"):
    """relu(conv((x - mean) / deviation)), an average and eight classes; `forgotten` leads nowhere."""
    g = random.Random(9)
    numbers = [1, 1, 1, 3] if channels_last else [1, 3, 1, 1]
    nodes = [onnx.node("Sub", ["image", "mean"], ["centred"]), onnx.node("Div", ["centred", "deviation"], ["x"])]
    if channels_last:
        nodes.append(onnx.node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]))
    nodes += [
        onnx.node("Conv", ["first" if channels_last else "x", "w", "b"], ["c"], kernel_shape=[3, 3],
                  strides=[2, 2], pads=[0, 0, 1, 1]),
        onnx.node("Relu", ["c"], ["r"]),
        onnx.node("GlobalAveragePool", ["r"], ["p"]),
        onnx.node("Flatten", ["p"], ["f"]),
        onnx.node("Gemm", ["f", "v"], ["y"], transB=1),
    ]
    constants = [
        onnx.tensor("mean", numbers, MEAN, dtype), onnx.tensor("deviation", numbers, DEVIATION, dtype),
        onnx.tensor("w", [16, 3, 3, 3], [g.uniform(-1, 1) for _ in range(432)], dtype),
        onnx.tensor("b", [16], [g.uniform(-1, 1) for _ in range(16)], dtype),
        onnx.tensor("v", [8, 16], [g.uniform(-1, 1) for _ in range(128)], dtype),
    ]
    shape = [batch, SIDE, SIDE, 3] if channels_last else [batch, 3, SIDE, SIDE]
    inputs = [onnx.value_info("forgotten", [1, 1, 1, 3]), onnx.value_info("image", shape, dtype)]
    return onnx.model(nodes, inputs if channels_last else inputs[1:], [onnx.value_info("y", [batch, 8], dtype)],
                      constants)


class Layouts(Case):
    def setUp(self):
        super().setUp()
        for name, model in (("last", network(True)), ("first", network(False)),
                            ("half", network(False, onnx.FLOAT16)), ("pairs", network(False, batch=2))):
            (self.folder / f"{name}.onnx").write_bytes(model)

    def outputs(self, model, *words, rows=12):
        self.works("run", self.folder / model, "--data", VAL, "--limit", 12, *words, "-o", self.folder / "out")
        shape, data = onnx.read_npy(self.folder / "out/y.npy")
        self.assertEqual(shape, (rows, 8))
        if len(data) == rows * 8 * 2:
            return array.array("f", struct.unpack(f"<{rows * 8}e", data))
        return array.array("f", data)

    def quantized(self, name, *words):
        """The engine's outputs of a model's 8-bit form; the preprocessing is the stored one."""
        self.works("quantize", self.folder / f"{name}.onnx", "--data", CALIB, "--limit", 40, "--preprocess", PIXELS,
                   *words, "-o", self.folder / "q.onnx")
        self.works("build", self.folder / "q.onnx", "-o", self.folder / "q.octet")
        return self.outputs("q.octet", rows=24 if name == "pairs" else 12)

    def assert_near(self, a, b, share):
        largest = max(map(abs, a))
        self.assertLess(max(abs(x - y) for x, y in zip(a, b)), share * largest)

    def test_channels_last_equals_channels_first(self):
        floats = [self.outputs(f"{name}.onnx", "--preprocess", PIXELS) for name in ("last", "first")]
        self.assert_near(*floats, 1e-5)
        stored = []
        for name in ("last", "first"):
            for words in ((), ("--input-bytes",), ("--target", "tensorrt")):
                stored.append(self.quantized(name, *words))
                self.assert_near(floats[0], stored[-1], 0.05)
        for last, first in zip(stored[:3], stored[3:]):
            self.assert_near(last, first, 1e-5)
        self.assertEqual(stored[0], stored[1])  # every byte is stored as itself

    def test_floats_of_sixteen_bits(self):
        floats = self.outputs("first.onnx", "--preprocess", PIXELS)
        self.assert_near(floats, self.outputs("half.onnx", "--preprocess", PIXELS), 1e-2)
        for words in ((), ("--input-bytes",), ("--target", "onnxruntime")):
            self.assert_near(floats, self.quantized("half", *words), 0.05)
        self.works("compare", self.folder / "half.onnx", self.folder / "q.onnx", "--data", VAL, "--limit", 4)
        done = self.works("quantize", self.folder / "half.onnx", "-o", self.folder / "free.onnx")
        self.assertIn(f"guessed --preprocess \"stretch={SIDE}x{SIDE}", done.stderr)

    def test_an_image_fills_a_fixed_batch(self):
        floats = self.outputs("first.onnx", "--preprocess", PIXELS)
        twice = [floats[i:i + 8] * 2 for i in range(0, len(floats), 8)]
        twice = array.array("f", [value for rows in twice for value in rows])
        self.assert_near(twice, self.outputs("pairs.onnx", "--preprocess", PIXELS, rows=24), 1e-5)
        self.assert_near(twice, self.quantized("pairs"), 0.05)
        labels = self.folder / "labels.txt"
        rows = (line.split() for line in (VAL / "labels.txt").read_text().splitlines())
        labels.write_text("".join(f"{name} {int(number) % 8}\n" for name, number in rows))
        top = [self.works("eval", self.folder / f"{name}.onnx", "--data", VAL, "--labels", labels, "--preprocess",
                          PIXELS).stdout for name in ("first", "pairs")]
        self.assertIn("top-5", top[0])
        self.assertEqual(*top)

    def test_without_data(self):
        done = self.works("quantize", self.folder / "last.onnx", "-o", self.folder / "q.onnx")
        self.assertIn('--preprocess "stretch=64x64 rgb mean=127.5 std=127.5 nhwc"', done.stderr)
        self.works("trtexec", f"--onnx={self.folder}/last.onnx", "--int8", f"--calib={CALIB}", "--duration=0.1",
                   f"--saveEngine={self.folder}/q.octet")

    def test_inputs_that_are_read_must_be_given(self):
        (self.folder / "rows.npy").write_bytes(onnx.npy([2, 8], [1.0] * 16))
        self.fails("run", self.folder / "last.onnx", "--data", self.folder / "rows.npy", "-o", self.folder / "out",
                   says="image")


if __name__ == "__main__":
    case.main(__doc__)
