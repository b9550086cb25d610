#!/usr/bin/env python3
"""Dynamic shapes, profiles, external data and the storage of weights, as a user meets them.

    test_shapes.py OCTET [unittest's arguments]

Standard library only; the models are made here.
"""

import random

import case
import tiny_onnx as onnx
from case import Case


def weights(generator, *shape):
    count = 1
    for d in shape:
        count *= d
    return [generator.uniform(-0.5, 0.5) for _ in range(count)]


def detector():
    """Two scales like a detector's: the small map is enlarged and added to the large one; flat outputs."""
    g = random.Random(5)
    conv = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    nodes = [
        onnx.node("Conv", ["image", "w1", "b1"], ["c1"], strides=[2, 2], **conv),
        onnx.node("Relu", ["c1"], ["r1"]),
        onnx.node("Conv", ["r1", "w2", "b2"], ["c2"], strides=[2, 2], **conv),
        onnx.node("Relu", ["c2"], ["r2"]),
        onnx.node("Resize", ["r2", "", "scales"], ["up"], mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        onnx.node("Add", ["r1", "up"], ["sum"]),
        onnx.node("Conv", ["sum", "w3", "b3"], ["c3"], **conv),
        onnx.node("Transpose", ["c3"], ["t"], perm=[0, 2, 3, 1]),
        onnx.node("Shape", ["t"], ["s"]),
        onnx.node("Gather", ["s", "zero"], ["n"], axis=0),
        onnx.node("Unsqueeze", ["n", "axis0"], ["n1"]),
        onnx.node("Concat", ["n1", "rest"], ["wanted"], axis=0),
        onnx.node("Reshape", ["t", "wanted"], ["boxes"]),
    ]
    constants = [
        onnx.tensor("w1", [8, 3, 3, 3], weights(g, 8, 3, 3, 3)), onnx.tensor("b1", [8], weights(g, 8)),
        onnx.tensor("w2", [8, 8, 3, 3], weights(g, 8, 8, 3, 3)), onnx.tensor("b2", [8], weights(g, 8)),
        onnx.tensor("w3", [4, 8, 3, 3], weights(g, 4, 8, 3, 3)), onnx.tensor("b3", [4], weights(g, 4)),
        onnx.tensor("scales", [4], [1, 1, 2, 2]), onnx.tensor("zero", [], [0], onnx.INT64),
        onnx.tensor("axis0", [1], [0], onnx.INT64), onnx.tensor("rest", [2], [-1, 4], onnx.INT64),
    ]
    return onnx.model(nodes, [onnx.value_info("image", ["batch", 3, "height", "width"])],
                      [onnx.value_info("boxes", ["batch", None, 4])], constants)


def product(external=None):
    """y = relu(a + b) w over rows of 64; a and b have sizes without names."""
    g = random.Random(6)
    nodes = [onnx.node("Add", ["a", "b"], ["s"]), onnx.node("Relu", ["s"], ["r"]),
             onnx.node("MatMul", ["r", "w"], ["y"])]
    w = onnx.tensor("w", [64, 32], weights(g, 64, 32), external=external)
    return onnx.model(nodes, [onnx.value_info("a", [None, None, 64]), onnx.value_info("b", [None, None, 64])],
                      [onnx.value_info("y", [None, None, 32])], [w])


class Shapes(Case):

    def setUp(self):
        super().setUp()
        self.model = self.folder / "detector.onnx"
        self.model.write_bytes(detector())
        (self.folder / "data").mkdir()
        g = random.Random(7)
        self.sizes = [(16, 16), (32, 32), (24, 48)]
        for i, (h, w) in enumerate(self.sizes * 2):
            self.image(self.folder / "data" / f"{i}.npy", 1, h, w, g)

    def image(self, path, n, h, w, generator):
        path.write_bytes(onnx.npy([n, 3, h, w], [generator.uniform(-1, 1) for _ in range(n * 3 * h * w)]))
        return path

    def run_once(self, model, array, *words):
        out = self.folder / "out"
        self.works("run", model, "--input", array, "-o", out, *words)
        return onnx.read_npy(out / "boxes.npy")

    def test_mixed_data(self):
        data = self.folder / "data"
        quantized = self.folder / "q.onnx"
        first = self.report("quantize", self.model, "--data", data, "-o", quantized, "--threads", "1")
        self.assertEqual(first["samples"], 6)
        self.assertNotIn("Add_sum", [n["name"] for n in first["float_nodes"]])
        tables = []
        for threads in (1, 3):
            self.works("calibrate", self.model, "--data", data, "-o", self.folder / "t.json", "--threads", threads)
            tables.append((self.folder / "t.json").read_bytes())
        self.assertEqual(*tables)
        self.assertEqual(self.report("eval", quantized, "--data", data, "--reference", self.model)["images"], 6)
        self.works("compare", self.model, quantized, "--data", data)

    def test_one_engine_for_every_shape(self):
        quantized, engine = self.folder / "q.onnx", self.folder / "e.octet"
        self.works("quantize", self.model, "--data", self.folder / "data", "-o", quantized)
        ranges = ("--min-shapes", "image:1x3x16x16", "--opt-shapes", "image:1x3x32x32", "--max-shapes",
                  "image:3x3x32x48")
        self.works("build", quantized, "-o", engine, "--deterministic", *ranges)
        g = random.Random(8)
        for n, h, w in ((1, 16, 16), (1, 32, 32), (2, 24, 48), (3, 32, 48)):
            array = self.image(self.folder / "x.npy", n, h, w, g)
            static = self.folder / "s.octet"
            self.works("build", quantized, "-o", static, "--deterministic", "--opt-shapes", f"image:{n}x3x{h}x{w}")
            inspected = self.report("inspect", static)
            self.assertEqual(inspected["dimensions"], [])
            expected = self.run_once(static, array)
            self.assertEqual(expected[0], (n, h // 2 * (w // 2), 4))
            self.assertEqual(self.run_once(engine, array), expected)
            self.assertEqual(self.run_once(quantized, array, "--deterministic"), expected)
            self.works("bench", engine, "--shapes", f"image:{n}x3x{h}x{w}", "--duration", "0.01")
        inspected = self.report("inspect", engine)
        self.assertEqual(len(inspected["profiles"]), 1)
        self.assertEqual(inspected["profiles"][0]["width"], {"minimum": 16, "optimum": 32, "maximum": 48})
        self.assertTrue(inspected["deterministic"])
        self.assertIn("image  1x3x16x16 to 3x3x32x48", self.works("inspect", engine).stdout)

    def test_refused_shapes(self):
        engine = self.folder / "e.octet"
        self.works("build", self.model, "-o", engine, "--min-shapes", "image:1x3x16x16", "--max-shapes",
                   "image:1x3x32x32", "--min-shapes", "image:4x3x64x64", "--max-shapes", "image:8x3x64x64")
        self.assertEqual(len(self.report("inspect", engine)["profiles"]), 2)
        g = random.Random(9)
        self.image(self.folder / "x.npy", 1, 16, 64, g)
        out = ("-o", self.folder / "out")
        error = self.fails("run", engine, "--input", self.folder / "x.npy", *out)
        for part in ("'image'", "1x3x16x64", "1x3x16x16 to 1x3x32x32", "4x3x64x64 to 8x3x64x64"):
            self.assertIn(part, error)
        # Enlarged, the small map has not the large one's size.
        self.image(self.folder / "x.npy", 1, 17, 16, g)
        error = self.fails("run", engine, "--input", self.folder / "x.npy", *out)
        for part in ("Add_sum", "height = 17", "equal"):
            self.assertIn(part, error)
        for shapes in ("image", "image:", "image:1x3", "image:1x4x16x16", "other:1x3x16x16", "image:1x3x0x16",
                       "image:1x3x-1x16"):
            self.fails("build", self.model, "-o", self.folder / "f.octet", "--opt-shapes", shapes,
                       status=2 if shapes in ("image", "image:", "image:1x3x-1x16") else 1)
        self.fails("build", self.model, "-o", self.folder / "f.octet", "--min-shapes", "image:1x3x32x32",
                   "--max-shapes", "image:1x3x16x16", says="minimum <= optimum <= maximum")
        self.fails("build", self.model, "-o", self.folder / "f.octet", "--min-shapes", "image:1x3x16x16",
                   "--min-shapes", "image:1x3x16x16", "--max-shapes", "image:1x3x16x16", status=2)

    def test_batch(self):
        g = random.Random(10)
        images = [[g.uniform(-1, 1) for _ in range(3 * 16 * 16)] for _ in range(3)]
        single = b""
        for image in images:
            (self.folder / "x.npy").write_bytes(onnx.npy([1, 3, 16, 16], image))
            single += self.run_once(self.model, self.folder / "x.npy", "--deterministic")[1]
        (self.folder / "x.npy").write_bytes(onnx.npy([3, 3, 16, 16], sum(images, [])))
        self.assertEqual(self.run_once(self.model, self.folder / "x.npy", "--deterministic")[1], single)

    def test_deterministic_everywhere(self):
        self.image(self.folder / "x.npy", 2, 24, 32, random.Random(11))
        seen = set()
        for isa in ("reference", "avx2", None):
            for threads in ("1", "3"):
                environment = {"OCTET_ISA": isa} if isa else {}
                self.works("run", self.model, "--input", self.folder / "x.npy", "-o", self.folder / "out",
                           "--deterministic", "--threads", threads, environment=environment)
                seen.add((self.folder / "out/boxes.npy").read_bytes())
        self.assertEqual(len(seen), 1)
        for words in (("--duration", "0.01"), ("--duration", "0.01", "--shapes", "image:1x3x32x32")):
            self.works("bench", self.model, "--deterministic", *words)

    def test_nameless_sizes(self):
        model = self.folder / "p.onnx"
        model.write_bytes(product())
        g = random.Random(12)
        array = lambda name, *shape: (self.folder / name).write_bytes(
            onnx.npy(shape, [g.uniform(-1, 1) for _ in range(shape[0] * shape[1] * shape[2])]))
        for n, m in ((1, 1), (2, 5), (7, 3)):
            array("a.npy", n, m, 64)
            array("b.npy", n, m, 64)
            self.works("run", model, "--input", f"a={self.folder}/a.npy", "--input", f"b={self.folder}/b.npy", "-o",
                       self.folder / "out")
            self.assertEqual(onnx.read_npy(self.folder / "out/y.npy")[0], (n, m, 32))
        array("b.npy", 7, 4, 64)
        self.fails("run", model, "--input", f"a={self.folder}/a.npy", "--input", f"b={self.folder}/b.npy", "-o",
                   self.folder / "out", says="both 3 and 4")

    def test_weights_in_16_bits(self):
        model = self.folder / "p.onnx"
        model.write_bytes(product())
        sizes = {}
        for flag in (None, "--fp16", "--bf16"):
            engine = self.folder / "p.octet"
            self.works("build", model, "-o", engine, *([flag] if flag else []))
            sizes[flag] = self.report("inspect", engine)["summary"]["constant_bytes"]
            step = self.report("inspect", engine)["steps"][-1]
            if flag:
                self.assertIn("float16" if flag == "--fp16" else "bfloat16", step["precision"])
            self.works("bench", engine, "--duration", "0.01")
        self.assertLess(sizes["--fp16"], sizes[None] * 0.55)
        self.assertEqual(sizes["--fp16"], sizes["--bf16"])
        self.fails("build", model, "-o", self.folder / "x.octet", "--fp16", "--bf16", status=2)


class ExternalData(Case):

    def test_read_and_written(self):
        g = random.Random(6)
        values = weights(g, 64, 32)
        (self.folder / "w.bin").write_bytes(b"....." + onnx.array.array("f", values).tobytes())
        outside, inside = self.folder / "outside.onnx", self.folder / "inside.onnx"
        outside.write_bytes(product(("w.bin", 5, 64 * 32 * 4)))
        inside.write_bytes(product())
        (self.folder / "data").mkdir()
        g = random.Random(13)
        for i in range(4):
            array = onnx.npy([1, 3, 64], [g.uniform(-1, 1) for _ in range(3 * 64)])
            (self.folder / "a.npy").write_bytes(array)
        for name in ("outside", "inside"):
            self.works("run", self.folder / f"{name}.onnx", "--input", f"a={self.folder}/a.npy", "--input",
                       f"b={self.folder}/a.npy", "-o", self.folder / name)
        self.assertEqual((self.folder / "outside/y.npy").read_bytes(), (self.folder / "inside/y.npy").read_bytes())

    def test_written(self):
        q = self.folder / "q.onnx"
        self.works(*self.quantize("--external-data"))
        self.assertTrue((self.folder / "q.onnx.data").exists())
        self.works(*self.quantize(out="whole.onnx"))
        self.assertLess(q.stat().st_size, (self.folder / "whole.onnx").stat().st_size)
        for name in ("q", "whole"):
            self.works("build", self.folder / f"{name}.onnx", "-o", self.folder / f"{name}.octet")
        self.assertEqual((self.folder / "q.octet").read_bytes(), (self.folder / "whole.octet").read_bytes())

    def test_refused(self):
        inner = self.folder / "inner"
        inner.mkdir()
        data = onnx.array.array("f", [0.0] * 64 * 32).tobytes()
        (self.folder / "w.bin").write_bytes(data)
        (inner / "link.bin").symlink_to(self.folder / "w.bin")
        for location in ("../w.bin", str(self.folder / "w.bin"), "link.bin", "a/../../w.bin", "", "."):
            (inner / "m.onnx").write_bytes(product((location, 0, len(data))))
            self.fails("build", inner / "m.onnx", "-o", self.folder / "m.octet", says="external data")
        (inner / "short.bin").write_bytes(data[:-1])
        (inner / "m.onnx").write_bytes(product(("short.bin", 0, len(data))))
        self.fails("build", inner / "m.onnx", "-o", self.folder / "m.octet", says="short.bin")


if __name__ == "__main__":
    case.main(__doc__)
