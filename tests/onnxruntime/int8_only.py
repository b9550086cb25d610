#!/usr/bin/env python3
"""A pure integer network: `quantize --quantize-outputs` and `build --int8-only` give integer inputs and outputs, and for
bytes in the same bytes come out as from ONNX Runtime on the equally cut model."""

import cv2
import numpy as np
import onnx
from onnx import helper

import common

PREPROCESS = "short=64 crop=64 rgb mean=127.5 std=127.5"
MAX_STEP = 2  # small errors of layers add up over a whole network


def cut_borders(model):
    """Removes each Q behind an input and each DQ before an output. Returns also the input's scale and zero-point."""
    graph = model.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for value in list(graph.input):
        q = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == value.name)
        for node in graph.node:
            node.input[:] = [value.name if i == q.output[0] else i for i in node.input]
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(constants[q.input[2]].dtype)
        graph.node.remove(q)
        scale, zero = constants[q.input[1]], constants[q.input[2]]
    for value in list(graph.output):
        dq = next(n for n in graph.node if n.op_type == "DequantizeLinear" and n.output[0] == value.name)
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(constants[dq.input[2]].dtype)
        value.name = dq.input[0]
        if sum(dq.input[0] in n.input for n in graph.node) == 1:
            graph.node.remove(dq)
    onnx.checker.check_model(model)
    return model, scale, zero


def check(bench, target):
    path, engine = bench.work / f"demo.{target}.onnx", bench.work / "demo.octet"
    bench.run_octet("quantize", common.ROOT / "demo/model.onnx", "--data", common.ROOT / "demo/images/calib", "--preprocess", PREPROCESS,
                    "--target", target, "--quantize-outputs", "--effort", "fast", "-o", path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    built = bench.run_octet("build", path, "--int8-only", "-o", engine)
    model, scale, zero = cut_borders(onnx.load(path))
    session = common.session(model, disable=common.NOT_THE_MODEL if target == "tensorrt" else None)
    source, kind = session.get_inputs()[0].name, zero.dtype
    image = cv2.imread(str(sorted((common.ROOT / "demo/images/val").glob("*.jpg"))[0]))[:, :, ::-1].transpose(2, 0, 1)[None]
    real = (image.astype(np.float32) - 127.5) / 127.5
    pixels = np.clip(np.rint(real / scale) + zero, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
    expected = list(common.outputs_of(session, {source: pixels}).values())
    found = list(bench.octet_outputs(engine, {source: pixels}).values())
    for e, f in zip(expected, found):
        steps = np.abs(e.astype(int) - f.astype(int))
        ok = f.dtype == e.dtype == kind and f.shape == e.shape and steps.max() <= MAX_STEP and not built["float_steps"]
        bench.row(bool(ok), f"{target:12} {str(f.dtype):6} {built['steps']:5} {built['float_steps']:11} {int(steps.max()):9} "
                  f"{(steps > 0).mean():8.2%} of {steps.size}")


def main():
    bench = common.Bench(common.parser(__doc__).parse_args())
    print(f"{'':6} {'target':12} {'type':6} {'steps':>5} {'float steps':>11} {'max steps':>9} {'differ':>8}")
    for target in common.TARGETS:
        try:
            check(bench, target)
        except RuntimeError as error:
            bench.row(False, f"{target:12} {error}")
    bench.finish()


if __name__ == "__main__":
    main()
