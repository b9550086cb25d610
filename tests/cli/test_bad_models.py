#!/usr/bin/env python3
"""Models that nobody should trust: each gets one line that names what is wrong, in bounded time and memory.

    test_bad_models.py OCTET

Standard library only.
"""

import array
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from tiny_onnx import FLOAT, INT64, field, model, node, tensor, value_info

OCTET = None
IMAGE = [1, 3, 8, 8]
WEIGHTS = tensor("w", (4, 3, 3, 3), [0.5] * 108)
TYPELESS = field(1, "y")  # a value whose shape the model does not say


def indices(values, name="s"):
    return tensor(name, (len(values),), values, INT64)


def one(op, inputs=("x",), *initializers, **attributes):
    """A model of a single node 'n1'."""
    return model([node(op, inputs, ["y"], "n1", **attributes)], [value_info("x", IMAGE)], [TYPELESS], initializers)


def conv(*initializers, **attributes):
    return one("Conv", ("x", "w"), *(initializers or (WEIGHTS,)), **attributes)


def chain(*nodes, inputs=None, outputs=None, initializers=()):
    return model(nodes, inputs or [value_info("x", IMAGE)], outputs or [TYPELESS], initializers)


def relu(dims):
    return chain(node("Relu", ["x"], ["y"], "n1"), inputs=[value_info("x", dims)])


def raw_tensor(dims, data, dtype=FLOAT):
    return b"".join(field(1, d) for d in dims) + field(2, dtype) + field(8, "w") + field(9, data)


def external(location, offset=0, length=432):
    return conv(tensor("w", (4, 3, 3, 3), (), external=(location, offset, length)))


# Name: (model, what the error says).
REFUSED = {
    "cycle": (chain(node("Add", ["x", "b"], ["a"], "n1"), node("Relu", ["a"], ["b"], "n2"),
                    node("Relu", ["b"], ["y"], "n3")), "n1"),
    "a node that reads itself": (chain(node("Add", ["x", "y"], ["y"], "n1")), "n1"),
    "unknown value": (one("Conv", ("x", "nothere")), "nothere"),
    "required input left out": (one("Conv"), "n1"),
    "required input empty": (one("Conv", ("x", ""), WEIGHTS), "n1"),
    "integer weights": (conv(tensor("w", (4, 3, 3, 3), [1] * 108, INT64)), "n1"),
    "other channels": (conv(tensor("w", (4, 5, 3, 3), [1.0] * 180)), "n1"),
    "stride 0": (conv(strides=[0, 0]), "n1"),
    "negative stride": (conv(strides=[-1, -1]), "n1"),
    "dilation 0": (conv(dilations=[0, 1]), "n1"),
    "pads beyond the image": (conv(pads=[-5, -5, -5, -5]), "n1"),
    "pads of a terabyte": (conv(pads=[2**40] * 4), "n1"),
    "kernel 0": (conv(kernel_shape=[0, 0]), "n1"),
    "group 0": (conv(group=0), "n1"),
    "negative group": (conv(group=-3), "n1"),
    "three strides for an image": (conv(strides=[1, 1, 1]), "n1"),
    "strides in words": (conv(strides="abc"), "n1"),
    "window 0": (one("MaxPool", kernel_shape=[0, 2]), "n1"),
    "window of 2^31": (one("MaxPool", kernel_shape=[2**31, 2]), "n1"),
    "sizes whose product overflows": (relu([2**40, 2**40]), "x"),
    "two nodes make one value": (chain(node("Relu", ["x"], ["y"], "n1"), node("Sigmoid", ["x"], ["y"], "n2")), "y"),
    "two inputs of one name": (chain(node("Relu", ["x"], ["y"], "n1"),
                                     inputs=[value_info("x", IMAGE), value_info("x", IMAGE)]), "x"),
    "two constants of one name": (conv(WEIGHTS, WEIGHTS), "w"),
    "output that nothing makes": (chain(node("Relu", ["x"], ["z"], "n1")), "y"),
    "constant shorter than its shape": (conv(raw_tensor((4, 3, 3, 3), b"1234")), "w"),
    "constant whose size overflows": (conv(raw_tensor((2**33, 2**33), b"1234")), "w"),
    "constant of negative size": (conv(raw_tensor((-4, 3), b"")), "w"),
    "constant of an unknown type": (conv(raw_tensor((4, 3), b"1" * 48, 77)), "w"),
    "reshape to another count": (one("Reshape", ("x", "s"), indices([7, -1])), "n1"),
    "reshape with two unknowns": (one("Reshape", ("x", "s"), indices([-1, -1])), "n1"),
    "reshape to 2^124": (one("Reshape", ("x", "s"), indices([2**62, 2**62])), "n1"),
    "permutation out of range": (one("Transpose", perm=[0, 1, 2, 7]), "n1"),
    "permutation that repeats": (one("Transpose", perm=[0, 0, 2, 3]), "n1"),
    "axis out of range": (one("Concat", ("x", "x"), axis=9), "n1"),
    "a constant of 4 TB": (chain(node("ConstantOfShape", ["s"], ["c"], "n0"), node("Add", ["x", "c"], ["y"], "n1"),
                                 initializers=[indices([100000, 100000, 100])]), ""),
    "expand beyond memory": (one("Expand", ("x", "s"), indices([100000, 3, 8, 8000])), ""),
    "tile beyond memory": (one("Tile", ("x", "s"), indices([2**40, 1, 1, 1])), ""),
    "negative tile": (one("Tile", ("x", "s"), indices([-1, 1, 1, 1])), "n1"),
    "pad below nothing": (one("Pad", ("x", "s"), indices([-9] * 8)), "n1"),
    "pad beyond memory": (one("Pad", ("x", "s"), indices([2**50] * 8)), "y"),
    "range of 2^60": (chain(node("Range", ["a", "b", "c"], ["r"], "n1"), node("Cast", ["r"], ["y"], "n2", to=1),
                            initializers=[tensor("a", (), [0], INT64), tensor("b", (), [2**60], INT64),
                                          tensor("c", (), [1], INT64)]), "r"),
    "range of step 0": (chain(node("Range", ["a", "b", "c"], ["r"], "n1"), node("Cast", ["r"], ["y"], "n2", to=1),
                              initializers=[tensor("a", (), [0], INT64), tensor("b", (), [9], INT64),
                                            tensor("c", (), [0], INT64)]), "n1"),
    "resize by a negative scale": (one("Resize", ("x", "", "s"), tensor("s", (4,), [1, 1, -2, 0])), "n1"),
    "resize beyond memory": (one("Resize", ("x", "", "s"), tensor("s", (4,), [1, 1, 1e9, 1e9])), "n1"),
    "index out of range": (chain(node("Gather", ["w", "i"], ["z"], "n1"), node("Add", ["x", "z"], ["y"], "n2"),
                                 initializers=[tensor("w", (4,), [1.0] * 4), tensor("i", (), [11], INT64)]), "n1"),
    "slice by step 0": (one("Slice", ("x", "a", "b", "c", "d"), indices([0], "a"), indices([5], "b"),
                            indices([2], "c"), indices([0], "d")), "n1"),
    "operator that nobody knows": (one("Frobnicate"), "n1"),
    "shapes that do not broadcast": (one("Add", ("x", "w"), tensor("w", (5, 7), [1.0] * 35)), "n1"),
    "opset 999": (model([node("Relu", ["x"], ["y"], "n1")], [value_info("x", IMAGE)], [TYPELESS], [], opset=999),
                  "999"),
    "data in the folder above": (external("../secret.bin"), "../secret.bin"),
    "data in a folder and above": (external("a/../../secret.bin"), "secret.bin"),
    "data behind a link": (external("link.bin"), "link.bin"),
    "data behind a linked folder": (external("linkdir/secret.bin"), "linkdir"),
    "data at an absolute path": (external("/etc/passwd", 0, 432), "/etc/passwd"),
    "data beyond the end": (external("ok.bin", 4000), "ok.bin"),
    "data longer than the file": (external("ok.bin", 0, 4000), "ok.bin"),
    "data shorter than the constant": (external("ok.bin", 0, 100), "w"),
    "data at a negative place": (external("ok.bin", -4), "w"),
    "data at a place that wraps": (external("ok.bin", 2**64 - 1), "w"),
    "data in no file": (external("none.bin"), "none.bin"),
    "data in a folder": (external("."), "w"),
    "nothing": (b"", ""),
    "noise": (array.array("I", (i * 2654435761 & 0xFFFFFFFF for i in range(1000))).tobytes(), ""),
    "half a model": (conv()[:300], ""),
}


class BadModels(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.top = pathlib.Path(tempfile.mkdtemp(prefix="octet-bad-"))
        cls.addClassCleanup(shutil.rmtree, cls.top)
        cls.folder = cls.top / "models"
        cls.folder.mkdir()
        for file in (cls.top / "secret.bin", cls.folder / "ok.bin"):
            file.write_bytes(bytes(432))
        os.symlink(cls.top / "secret.bin", cls.folder / "link.bin")
        os.symlink(cls.top, cls.folder / "linkdir")

    def call(self, *words):
        return subprocess.run([OCTET, *map(str, words)], capture_output=True, text=True, timeout=60)

    def test_control(self):
        """The models differ from one that works, which has its weights in a file beside it."""
        path = self.folder / "good.onnx"
        path.write_bytes(external("ok.bin"))
        done = self.call("build", path, "-o", self.folder / "good.octet", "--memory-limit", "500M")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_node_attributes_are_named(self):
        path = self.folder / "stride.onnx"
        path.write_bytes(conv(strides=[0, 0]))
        self.assertIn("strides", self.call("build", path, "-o", self.folder / "out").stderr)


def add_models():
    def make(name, data, says):
        def test(self):
            path = self.folder / (name.replace(" ", "_").replace("^", "") + ".onnx")
            path.write_bytes(data)
            for words in (("build", path), ("quantize", path)):
                done = self.call(*words, "-o", self.folder / "out", "--memory-limit", "500M")
                self.assertEqual(done.returncode, 1, f"{words[0]}: {done.stdout}{done.stderr}")
                self.assertEqual(done.stderr.count("error: "), 1, done.stderr)
                error = done.stderr[done.stderr.index("error: "):]
                self.assertLessEqual(len(error.splitlines()), 2, error)  # the second lists unsupported nodes
                if words[0] == "build":  # to quantize there may be nothing
                    self.assertIn(says, error)
                self.assertFalse((self.folder / "out").exists())
        return test
    for name, (data, says) in REFUSED.items():
        setattr(BadModels, "test_" + name.replace(" ", "_").replace("^", ""), make(name, data, says))


if __name__ == "__main__":
    OCTET = str(pathlib.Path(sys.argv.pop(1)).resolve())
    add_models()
    unittest.main()
