#!/usr/bin/env python3
"""Fed identical integers, each 8-bit layer of our engine and of ONNX Runtime differs by at most 1 step in fewer than
0.1 % of elements.

A quantized model is cut at every 8-bit tensor: what DequantizeLinear nodes read becomes an input, filled with what ONNX
Runtime computed for a real image in the whole model, and what QuantizeLinear nodes write becomes an output. So every layer
gets its true inputs, and no layer sees another's error.
"""

import collections

import numpy as np
import onnx
from onnx import TensorProto, helper

import common

MAX_STEP, MAX_SHARE = 1, 1e-3
INTEGER = {"QLinearConv", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu", "QGemm",
           "QLinearMatMul", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSoftmax", "QLinearWhere"}


def activations(model):
    """(Q nodes, DQ nodes) that are not about constants."""
    constants = {t.name for t in model.graph.initializer}
    nodes = model.graph.node
    return ([n for n in nodes if n.op_type == "QuantizeLinear"],
            [n for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] not in constants])


def stored_tensors(model):
    """What every 8-bit tensor of the model holds, as a model with these as outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    types = {t.name: t.data_type for t in model.graph.initializer}
    for q in activations(model)[0]:
        shown.graph.output.append(helper.make_tensor_value_info(q.output[0], types[q.input[2]], None))
    return shown


def cut(model, stored):
    """The model in pieces (one file), where the value of each stored tensor is known. An 8-bit output leaves as float: its
    real value, which names the step exactly. Returns it, {input: tensor} and {output: QuantizeLinear}."""
    pieces = onnx.ModelProto()
    pieces.CopyFrom(model)
    graph = pieces.graph
    quantize, dequantize = activations(pieces)
    constants = {t.name for t in graph.initializer}
    for i in reversed(range(len(graph.input))):
        if graph.input[i].name in constants:
            del graph.input[i]
    inputs, outputs = {i.name: i.name for i in graph.input}, {}
    del graph.output[:]
    for i, q in enumerate(quantize):
        name, value = q.output[0], stored[q.output[0]]
        for dq in dequantize:
            if dq.input[0] == name:
                dq.input[0] = f"in{i}"
                inputs[f"in{i}"] = name
        if inputs.get(f"in{i}"):
            graph.input.append(helper.make_tensor_value_info(f"in{i}", helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
        graph.node.append(helper.make_node("DequantizeLinear", [name, *q.input[1:]], [f"out{i}"], name=f"out{i}"))
        graph.output.append(helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, value.shape))
        outputs[f"out{i}"] = q
    # What only the model's float outputs needed goes.
    needed, kept = set(outputs), []
    for node in reversed(sorted_nodes(list(graph.node))):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(kept)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)
    for i in reversed(range(len(graph.input))):
        if graph.input[i].name not in needed:
            del inputs[graph.input[i].name], graph.input[i]
    onnx.checker.check_model(pieces)
    return pieces, inputs, outputs


def sorted_nodes(nodes):
    made = {o for n in nodes for o in n.output}
    result, done = [], set()
    while nodes:
        ready = [n for n in nodes if all(i in done or i not in made for i in n.input)]
        result += ready
        done |= {o for n in ready for o in n.output}
        nodes = [n for n in nodes if not any(n is r for r in ready)]
    return result


def layer_of(model, q):
    """The operators between a QuantizeLinear and the 8-bit tensors it depends on, last first."""
    producer = {o: n for n in model.graph.node for o in n.output}
    found, todo, seen = [], [q.input[0]], set()
    while todo:
        node = producer.get(todo.pop(0))
        if node is None or node.op_type == "DequantizeLinear" or id(node) in seen:
            continue
        seen.add(id(node))
        found.append(node.op_type)
        todo += node.input
    return " < ".join(found) or "input"


def along_axis(scale, quantize, rank):
    """One scale, or one per channel as an array that broadcasts."""
    if scale.size == 1:
        return scale
    shape = [1] * rank
    shape[next((a.i for a in quantize.attribute if a.name == "axis"), 1)] = scale.size
    return scale.reshape(shape)


def check(bench, label, path, name, float_bias=False):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    whole = common.session(stored_tensors(model))
    image_input = whole.get_inputs()[0].name
    totals = collections.defaultdict(lambda: [0, 0, 0])  # differing, elements, largest difference
    pieces = None
    for image in bench.images("val", bench.arguments.images, name):
        stored = {image_input: image} | common.outputs_of(whole, {image_input: image})
        if pieces is None:
            pieces, inputs, outputs = cut(model, stored)
            scales = {t.name: onnx.numpy_helper.to_array(t) for t in pieces.graph.initializer}
            cut_path = bench.work / f"{path.stem}.cut.onnx"
            onnx.save(pieces, cut_path)
            reference = common.session(pieces, save_as=bench.work / "optimized.onnx", disable=common.NOT_THE_MODEL if float_bias else None)
            kernels = collections.Counter(n.op_type for n in onnx.load(bench.work / "optimized.onnx").graph.node)
        arrays = {i: stored[tensor] for i, tensor in inputs.items()}
        expected = common.outputs_of(reference, arrays)
        found = bench.octet_outputs(cut_path, arrays)
        for output, value in expected.items():
            scale = along_axis(scales[outputs[output].input[1]], outputs[output], value.ndim)
            steps = np.abs(np.rint(found[output] / scale) - np.rint(value / scale)).astype(np.int64)
            total = totals[output]
            total[0] += int((steps > 0).sum())
            total[1] += steps.size
            total[2] = max(total[2], int(steps.max()))
    bad = {o: t for o, t in totals.items() if t[2] > MAX_STEP or t[0] >= max(MAX_SHARE * t[1], 2)}
    elements, differing = sum(t[1] for t in totals.values()), sum(t[0] for t in totals.values())
    integer = sum(kernels[k] for k in INTEGER)
    floats = kernels["Conv"] + kernels["FusedConv"] + kernels["Gemm"] + kernels["MatMul"]
    bench.row(not bad, f"{label:36} {len(totals):6} {max(t[2] for t in totals.values()):9} {differing / elements:10.5%} "
              f"{max(t[0] / t[1] for t in totals.values()):12.4%} {integer:9} {floats:6}")
    for output, (count, size, largest) in sorted(bad.items(), key=lambda o: -o[1][0] / o[1][1]):
        q = outputs[output]
        bench.row(None, f"  {q.input[0][-60:]}: {count} of {size} differ ({count / size:.3%}), at most {largest}: {layer_of(model, q)}")
    if bench.arguments.verbose:
        for output, (count, size, largest) in totals.items():
            q = outputs[output]
            bench.row(None, f"  {q.input[0][-50:]:50} {count:6}/{size:8} {largest} {layer_of(model, q)}")


def main():
    arguments = common.parser(__doc__)
    arguments.add_argument("--images", type=int, default=2, help="real images whose tensors are fed")
    arguments.add_argument("--targets", nargs="+", default=common.TARGETS, choices=common.TARGETS)
    arguments.add_argument("--file", nargs=2, metavar=("MODEL.onnx", "NAME"), help="only this Q/DQ model, made from that network")
    arguments.add_argument("--verbose", action="store_true", help="every layer")
    bench = common.Bench(arguments.parse_args())
    print(f"{'':6} {'model':36} {'layers':>6} {'max steps':>9} {'differ':>10} {'worst layer':>12} {'ORT int8':>9} {'float':>6}")
    if bench.arguments.file:
        path, name = bench.arguments.file
        check(bench, common.pathlib.Path(path).stem, common.pathlib.Path(path), name)
        bench.finish()
    for name in bench.arguments.models:
        for target in bench.arguments.targets:
            for per_tensor in (False, True):
                label = f"{name} {target}{' per tensor' if per_tensor else ''}"
                try:
                    check(bench, label, bench.quantized(name, target, per_tensor), name, target == "tensorrt")
                except RuntimeError as error:
                    bench.row(False, f"{label:36} {error}")
    bench.finish()


if __name__ == "__main__":
    main()
