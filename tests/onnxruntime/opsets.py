#!/usr/bin/env python3
"""Operators in the forms that they had in opsets 7 to 21, each with what it takes, give what ONNX Runtime
gives: dtype and shape exactly, elements within 1e-3 relative.

  opsets.py [--only WORD]"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import common

RNG = np.random.default_rng(1)
F = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
I = lambda *values: np.array(values, np.int64)


class Fixed:
    """An input that is an initializer of the model."""

    def __init__(self, value):
        self.value = value


# operator, opsets, inputs (Fixed ones are initializers, None is absent), attributes, number of outputs
CASES = [
    ("Upsample", [7, 8], [F(1, 2, 3, 4)], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}),
    ("Upsample", [7, 8], [F(1, 2, 3, 4)], {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}),
    ("Upsample", [9], [F(1, 2, 3, 4), Fixed(np.array([1, 1, 2, 2], np.float32))], {"mode": "nearest"}),
    ("Resize", [10], [F(1, 2, 4, 4), Fixed(np.array([1, 1, 2, 2], np.float32))], {"mode": "nearest"}),
    ("Resize", [10], [F(1, 2, 4, 4), Fixed(np.array([1, 1, 2, 2], np.float32))], {"mode": "linear"}),
    ("Resize", [11, 13, 18], [F(1, 2, 4, 4), None, None, Fixed(I(1, 2, 7, 5))], {"mode": "linear"}),
    ("Resize", [11, 13], [F(1, 2, 4, 4), None, None, I(1, 2, 3, 9)], {"mode": "cubic"}),
    ("Slice", [7, 9], [F(4, 6)], {"starts": [1, -3], "ends": [3, 100], "axes": [0, 1]}),
    ("Slice", [9], [F(4, 6)], {"starts": [1, 0], "ends": [-1, 2]}),
    ("Slice", [10, 11, 13], [F(4, 6), I(3, 5), I(-9, 0), I(0, 1), I(-1, -2)], {}),
    ("Pad", [7, 10], [F(2, 3)], {"pads": [1, 0, 0, 2], "value": 1.5}),
    ("Pad", [7], [F(3, 4)], {"pads": [1, 1, 1, 2], "mode": "reflect"}),
    ("Pad", [11, 13], [F(2, 3), I(1, 0, 0, 2), Fixed(np.float32(2))], {}),
    ("Pad", [18, 21], [F(2, 3), I(1, 2), None, Fixed(I(1))], {"mode": "edge"}),
    ("Clip", [7, 10], [F(3, 4)], {"min": -0.5, "max": 0.25}),
    ("Clip", [7], [F(3, 4)], {"max": 0.25}),
    ("Clip", [11, 12, 13], [F(3, 4), None, Fixed(np.float32(0.5))], {}),
    ("Squeeze", [7, 11], [F(1, 3, 1)], {"axes": [0]}),
    ("Squeeze", [7, 13], [F(1, 3, 1)], {}),
    ("Squeeze", [13], [F(1, 3, 1), Fixed(I(-1))], {}),
    ("Unsqueeze", [7, 11], [F(3, 2)], {"axes": [0, 3]}),
    ("Unsqueeze", [13], [F(3, 2), Fixed(I(-1))], {}),
    ("ReduceSum", [7, 11], [F(2, 3, 4)], {"axes": [1], "keepdims": 0}),
    ("ReduceSum", [13], [F(2, 3, 4), Fixed(I(-1, 0))], {}),
    ("ReduceSum", [13], [F(2, 3, 4)], {"noop_with_empty_axes": 1}),
    ("ReduceMean", [7, 11, 13], [F(2, 3, 4)], {"axes": [0, 2]}),
    ("ReduceMax", [18], [F(2, 3, 4), Fixed(I(1))], {"keepdims": 0}),
    ("ReduceL2", [7, 13], [F(2, 3, 4)], {"axes": [1]}),
    ("ReduceLogSumExp", [7, 13], [F(2, 3, 4)], {"axes": [1]}),
    ("Split", [7, 11], [F(6, 2)], {"split": [1, 2, 3]}, 3),
    ("Split", [7, 13], [F(2, 6)], {"axis": 1}, 2),
    ("Split", [13], [F(6, 2), Fixed(I(4, 2))], {}, 2),
    ("Split", [18], [F(7, 2)], {"num_outputs": 3}, 3),
    ("Dropout", [7, 10], [F(3, 4)], {"ratio": 0.25}),
    ("Dropout", [12, 13], [F(3, 4), Fixed(np.float32(0.25))], {}),
    ("Dropout", [13], [F(3, 4)], {}, 2),
    ("TopK", [7], [F(3, 9)], {"k": 4, "axis": 1}, 2),
    ("TopK", [10], [F(9, 3), Fixed(I(4))], {"axis": 0}, 2),
    ("TopK", [11], [F(9, 3), I(2)], {"axis": 0, "largest": 0}, 2),
    ("BatchNormalization", [7, 9, 14, 15], [F(2, 3, 4), F(3), F(3), F(3), np.abs(F(3)) + 0.1], {}),
    ("Softmax", [7, 11, 13], [F(2, 3, 4)], {"axis": 1}),
    ("Softmax", [7, 13], [F(2, 3, 4)], {}),
    ("LogSoftmax", [11, 13], [F(2, 3, 4)], {"axis": 1}),
    ("Flatten", [7, 9, 11, 13], [F(2, 3, 4)], {"axis": 2}),
    ("MaxPool", [7, 8, 10, 11, 12], [F(1, 2, 7, 7)], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", [8, 12], [F(1, 2, 7, 7)], {"kernel_shape": [2, 2], "strides": [2, 2]}, 2),
    ("MaxPool", [10], [F(1, 2, 7, 7)], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [7, 10, 11, 19], [F(1, 2, 7, 7)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("LpPool", [7, 11], [F(1, 2, 7, 7)], {"kernel_shape": [3, 2], "p": 3, "strides": [2, 1]}),
    ("GlobalLpPool", [7], [F(1, 2, 7, 7)], {"p": 2}),
    ("ConvTranspose", [7, 11], [F(1, 3, 5, 5), F(3, 2, 3, 3)], {"strides": [2, 2], "output_shape": [10, 10]}),
    ("ConvTranspose", [7, 11], [F(1, 3, 5, 5), F(3, 2, 3, 3)], {"strides": [2, 2], "pads": [1, 1, 1, 1],
                                                             "output_padding": [1, 1]}),
    ("Cast", [7, 9, 13], [F(3, 4) * 5], {"to": TensorProto.INT32}),
    ("Scatter", [9, 10], [F(3, 4), I(0, 2).reshape(1, 2), F(1, 2)], {"axis": 1}),
    ("ScatterElements", [11, 13, 16], [F(3, 4), I(0, 2).reshape(1, 2), F(1, 2)], {"axis": 1}),
    ("ScatterND", [11, 16], [F(3, 4), I(0, 2).reshape(2, 1), F(2, 4)], {}),
    ("GatherND", [11, 12], [F(3, 4), I(0, 2, 1, 1).reshape(2, 2)], {}),
    ("CumSum", [11, 14], [F(3, 4), Fixed(np.int32(1))], {"reverse": 1}),
    ("OneHot", [9, 11], [I(1, -1, 9), Fixed(np.int64(4)), Fixed(np.array([0, 1], np.float32))], {}),
    ("NonZero", [9, 13], [np.array([[1, 0, 2], [0, 0, 3]], np.float32)], {}),
    ("Compress", [9, 11], [F(3, 4), np.array([1, 0, 1], bool)], {"axis": 0}),
    ("Unique", [11], [np.array([3, 1, 1, 2, 3], np.float32)], {}, 4),
    ("Range", [11], [np.float32(1), np.float32(8), np.float32(2)], {}),
    ("Range", [11], [np.int64(9), np.int64(-3), np.int64(-4)], {}),
    ("Tile", [7, 13], [F(2, 3), I(2, 2)], {}),
    ("Expand", [8, 13], [F(3, 1), I(2, 1, 4)], {}),
    ("Reshape", [7, 13, 14], [F(3, 4), I(2, -1)], {}),
    ("ConstantOfShape", [9], [I(2, 3)], {"value": numpy_helper.from_array(np.array([7], np.int32))}),
    ("RoiAlign", [10, 16], [F(1, 2, 8, 8), np.array([[0, 0, 4, 4], [2, 1, 7, 6.5]], np.float32), I(0, 0)],
     {"output_height": 3, "output_width": 2}),
    ("GridSample", [16, 20], [F(1, 2, 5, 6), RNG.uniform(-1.2, 1.2, (1, 3, 4, 2)).astype(np.float32)],
     {"padding_mode": "reflection"}),
    ("GridSample", [16], [F(1, 2, 5, 6), RNG.uniform(-1.2, 1.2, (1, 3, 4, 2)).astype(np.float32)],
     {"padding_mode": "zeros", "mode": "bicubic"}),
    ("NonMaxSuppression", [10, 11], [RNG.uniform(0, 1, (1, 40, 4)).astype(np.float32),
                                     RNG.uniform(0, 1, (1, 3, 40)).astype(np.float32), Fixed(I(5)),
                                     Fixed(np.array([0.3], np.float32)), Fixed(np.array([0.2], np.float32))], {}),
    ("LSTM", [7, 14], [F(4, 2, 3), F(2, 20, 3), F(2, 20, 5), F(2, 40), None, F(2, 2, 5), F(2, 2, 5), F(2, 15)],
     {"hidden_size": 5, "direction": "bidirectional"}, 3),
    ("LSTM", [7], [F(4, 2, 3), F(1, 20, 3), F(1, 20, 5), None, np.array([2, 4], np.int32)],
     {"hidden_size": 5, "direction": "reverse", "clip": 0.5}, 3),
    ("GRU", [7, 14], [F(4, 2, 3), F(2, 15, 3), F(2, 15, 5), F(2, 30)],
     {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1}, 2),
    ("GRU", [7], [F(4, 2, 3), F(1, 15, 3), F(1, 15, 5)], {"hidden_size": 5, "activations": ["HardSigmoid", "Softsign"]}, 2),
    ("RNN", [7, 14], [F(4, 2, 3), F(1, 5, 3), F(1, 5, 5), F(1, 10)], {"hidden_size": 5, "activations": ["Relu"]}, 2),
    ("LRN", [7, 13], [F(1, 7, 3, 3)], {"size": 3, "alpha": 0.1}),
    ("InstanceNormalization", [7], [F(2, 3, 4, 4), F(3), F(3)], {}),
    ("MeanVarianceNormalization", [9, 13], [F(2, 3, 4, 4)], {}),
    ("DepthToSpace", [7, 11], [F(1, 8, 2, 3)], {"blocksize": 2}),
    ("SpaceToDepth", [7, 13], [F(1, 2, 4, 6)], {"blocksize": 2}),
    ("Mod", [10, 13], [F(5), F(5)], {"fmod": 1}),
    ("Trilu", [14], [F(3, 4), Fixed(np.int64(1))], {"upper": 0}),
    ("MatMulInteger", [10], [RNG.integers(0, 255, (3, 4)).astype(np.uint8), RNG.integers(-9, 9, (4, 2)).astype(np.int8),
                             np.uint8(9), np.array([1, -2], np.int8)], {}),
    ("ConvInteger", [10], [RNG.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8),
                           RNG.integers(0, 255, (3, 2, 3, 3)).astype(np.uint8), np.uint8(100), np.uint8(120)],
     {"pads": [1, 1, 1, 1]}),
    ("DynamicQuantizeLinear", [11], [F(3, 4)], {}, 3),
    ("QLinearMatMul", [10], [RNG.integers(0, 255, (3, 4)).astype(np.uint8), np.float32(0.1), np.uint8(90),
                             RNG.integers(-90, 90, (4, 2)).astype(np.int8), np.float32(0.02), np.int8(3),
                             np.float32(0.05), np.uint8(120)], {}),
    ("QLinearConv", [10], [RNG.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8), np.float32(0.1), np.uint8(100),
                           RNG.integers(-90, 90, (3, 2, 3, 3)).astype(np.int8), np.array([0.01, 0.02, 0.03], np.float32),
                           np.zeros(3, np.int8), np.float32(0.2), np.uint8(99), np.array([5, -5, 9], np.int32)],
     {"strides": [2, 2]}),
]


def build(op, opset, inputs, attributes, count):
    names, graph_inputs, initializers, arrays = [], [], [], []
    for i, value in enumerate(inputs):
        if value is None:
            names.append("")
            continue
        names.append(f"i{i}")
        fixed = isinstance(value, Fixed)
        array = np.asarray(value.value if fixed else value)
        if fixed:
            initializers.append(numpy_helper.from_array(array, names[-1]))
            continue
        graph_inputs.append(helper.make_tensor_value_info(names[-1], helper.np_dtype_to_tensor_dtype(array.dtype),
                                                          array.shape))
        arrays.append(array)
    outputs = [f"o{i}" for i in range(count)]
    node = helper.make_node(op, names, outputs, **attributes)
    graph = helper.make_graph([node], op, graph_inputs, [onnx.ValueInfoProto(name=o) for o in outputs], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), arrays


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--only", default="", help="operators whose name begins so")
    bench = common.Bench(parser.parse_args())
    folder = bench.work / "opsets"
    folder.mkdir(exist_ok=True)
    passed = skipped = 0
    problems = []
    for op, opsets, inputs, attributes, *rest in CASES:
        if not op.startswith(bench.arguments.only):
            continue
        for opset in opsets:
            model, arrays = build(op, opset, inputs, attributes, rest[0] if rest else 1)
            path = folder / "model.onnx"
            onnx.save(model, path)
            try:
                session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                expected = session.run(None, {i.name: a for i, a in zip(session.get_inputs(), arrays)})
            except Exception as error:  # what the peer cannot do proves nothing
                skipped += 1
                print(f"skipped {op} {opset}: {str(error)[:150]}")
                continue
            words = []
            for i, array in enumerate(arrays):
                np.save(folder / f"{i}.npy", array)
                words += ["--input", folder / f"{i}.npy"]
            try:
                bench.run_octet("run", path, *words, "--output", folder / "out")
                problem = ""
                for i, want in enumerate(expected):
                    got = np.load(folder / "out" / f"o{i}.npy")
                    if got.dtype != want.dtype or got.shape != want.shape:
                        problem = f"output {i} is {got.dtype}{got.shape}, expected {want.dtype}{want.shape}"
                    elif not np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=1e-3, atol=1e-5):
                        problem = f"output {i} differs"
            except RuntimeError as error:
                problem = str(error)
            passed += not problem
            if problem:
                problems.append(f"{op} {opset}: {problem}")
    for problem in problems:
        print("FAILED", problem)
    print(f"{passed} of {passed + len(problems)} ({skipped} skipped)")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
