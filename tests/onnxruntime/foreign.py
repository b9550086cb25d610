#!/usr/bin/env python3
"""Every Q/DQ model that ONNX Runtime's quantize_static writes from the four models imports, builds and runs, its
convolutions in int8 unless a reason is printed, with SQNR against FP32 within 0.3 dB of ONNX Runtime's on the same file.

ONNX Runtime is asked twice: with its integer kernels, some of which are coarser than the file says (its 8-bit Softmax
costs ultraface 1.4 dB), and with Q/DQ as float arithmetic. Ours must be as near to one of them, and not worse than both.
Files that ONNX Runtime itself refuses (per channel below opset 13) are passed over."""

import contextlib
import io
import logging
import re

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import common

MAX_DB = 0.3
WEIGHTED = ("Conv", "Gemm", "MatMul")
FLOAT_KINDS = ("conv_f32", "gemm_f32", "matmul_f32")
NARROW = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.UINT4, onnx.TensorProto.INT4)


class Reader(CalibrationDataReader):
    def __init__(self, name, arrays):
        self.name, self.arrays = name, iter(arrays)

    def get_next(self):
        array = next(self.arrays, None)
        return None if array is None else {self.name: array}


def quantize(bench, name, prepare, signed, per_channel, arrays):
    source, path = bench.model(name), bench.work / f"{name}.foreign.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        if prepare:
            quant_pre_process(str(source), str(bench.work / "prepared.onnx"))
            source = bench.work / "prepared.onnx"
        kind = QuantType.QInt8 if signed else QuantType.QUInt8
        quantize_static(str(source), str(path), Reader(common.session(source).get_inputs()[0].name, arrays),
                        quant_format=QuantFormat.QDQ, per_channel=per_channel, activation_type=kind,
                        weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax)
    return path


def quantized_weighted(path):
    """How many nodes multiply 8-bit activations by weights of 8 or 4 bits."""
    graph = onnx.load(path).graph
    constants = {i.name: i for i in graph.initializer}
    made = {n.output[0]: n for n in graph.node}

    def narrow(value):
        dq = made.get(value)
        if dq is None or dq.op_type != "DequantizeLinear":
            return False
        zero = constants.get(dq.input[2]) if len(dq.input) > 2 else None
        return zero is None or zero.data_type in NARROW
    return (sum(n.op_type in WEIGHTED and narrow(n.input[0]) and narrow(n.input[1]) for n in graph.node)
            + sum(n.op_type in ("QLinearConv", "QLinearMatMul", "QGemm") for n in graph.node))


def check(bench, label, path, reference, images):
    """One row for each output. Returns the steps that stay in float."""
    try:
        sessions = [common.session(path), common.session(path, optimize=False)]
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base
        bench.row(None, f"{label:44} refused by ONNX Runtime: {str(error).splitlines()[0][:100]}")
        return []
    built = bench.run_octet("build", path, "-o", bench.work / "foreign.octet")
    floats = [s for s in built["layers"] if s["precision"] != "int8" and s["kind"] != "layout"]
    int8 = sum(s["kind"] in ("conv", "gemm") and s["precision"] == "int8" for s in built["layers"])
    explained = sum(s["kind"] in FLOAT_KINDS and s["reason"] != "" for s in floats)
    wanted = quantized_weighted(path)
    np.save(bench.work / "images.npy", np.concatenate(images))
    run = bench.run_octet("run", bench.work / "foreign.octet", "--data", bench.work / "images.npy", "--output", bench.work / "outputs")
    source = sessions[0].get_inputs()[0].name
    theirs = [[s.run(None, {source: i}) for i in images] for s in sessions]
    for k, (output, info) in enumerate(run["outputs"].items()):
        expected, found = [r[k] for r in reference], np.load(info["file"])
        ours = common.sqnr_db(expected, [found[i:i + 1] for i in range(len(images))])
        kernels, plain = (common.sqnr_db(expected, [t[k] for t in outputs]) for outputs in theirs)
        ok = min(abs(ours - kernels), abs(ours - plain)) <= MAX_DB or min(kernels, plain) <= ours <= max(kernels, plain)
        bench.row(bool(ok) and int8 + explained >= wanted, f"{label:44} {output[:10]:10} {ours:8.3f} {kernels:10.3f} {plain:10.3f} "
                  f"{int8:6} of {wanted:3} {len(floats):6}")
    reasons = {}
    for step in floats:
        if step["kind"] in FLOAT_KINDS:
            reasons.setdefault((step["kind"], re.sub("'.*'", "'...'", step["reason"])), []).append(step["name"])
    for (kind, reason), names in reasons.items():
        bench.row(None, f"  in float: {len(names):3} {kind}, e.g. {names[0][-60:]}: {reason or 'NO REASON'}")
    bench.failures += sum(reason == "" for _, reason in reasons)
    return floats


def main():
    arguments = common.parser(__doc__)
    arguments.add_argument("--limit", type=int, default=400,
                           help="images compared: fewer say little, a few of them make most of the noise")
    arguments.add_argument("--calibration", type=int, default=4, help="images that ONNX Runtime calibrates with")
    bench = common.Bench(arguments.parse_args())
    onnxruntime.set_default_logger_severity(3)
    logging.disable(logging.WARNING)
    print(f"{'':6} {'model':44} {'output':10} {'SQNR dB':>8} {'ORT int8':>10} {'ORT Q/DQ':>10} {'int8 layers':>13} {'float':>6}")
    reasons = {}
    for name in bench.arguments.models:
        images = bench.images("val", bench.arguments.limit, name)
        session = common.session(bench.model(name))
        reference = [session.run(None, {session.get_inputs()[0].name: i}) for i in images]
        arrays = bench.images("calib", bench.arguments.calibration, name)
        for prepare in (False, True):
            for signed in (False, True):
                for per_channel in (False, True):
                    label = f"{name} {'s8' if signed else 'u8'}{' per channel' if per_channel else ''}{' prepared' if prepare else ''}"
                    try:
                        path = quantize(bench, name, prepare, signed, per_channel, arrays)
                        for step in check(bench, label, path, reference, images):
                            reasons.setdefault((name, step["kind"], step["reason"]), []).append(label)
                    except RuntimeError as error:
                        bench.row(False, f"{label:44} {error}")
    print("\nSteps in float, in all files together:")
    for (name, kind, reason), labels in sorted(reasons.items()):
        print(f"  {name:20} {kind:12} {len(labels):5}  {reason}")
    bench.finish()


if __name__ == "__main__":
    main()
