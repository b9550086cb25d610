#!/usr/bin/env python3
"""Every Q/DQ model that ONNX Runtime's quantize_static writes from the four models imports, builds and runs, its
convolutions in int8 unless a reason is printed, with SQNR against FP32 within 0.3 dB of ONNX Runtime's on the same file.

ONNX Runtime is asked twice: with its integer kernels, some of which are coarser than the file says (its 8-bit Softmax
costs ultraface 1.4 dB), and with Q/DQ as float arithmetic. Ours must be as near to one of them, and not worse than both.
Files that ONNX Runtime itself refuses (per channel below opset 13) are passed over."""

import contextlib
import io
import itertools
import logging
import re

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import common

MAX_DB = 0.3
AT_ONCE = 200  # images at hand
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


def energies(bench, source, sessions, images):
    """[signal, noise of our engine, of each session; output; image], the noise against FP32."""
    entry = source.get_inputs()[0].name
    np.save(bench.work / "images.npy", np.concatenate(images))
    run = bench.run_octet("run", bench.work / "foreign.octet", "--data", bench.work / "images.npy", "--output", bench.work / "outputs")
    asked = lambda session: [session.run(None, {entry: image}) for image in images]
    expected = asked(source)
    ours = list(zip(*(np.split(np.load(info["file"]), len(images)) for info in run["outputs"].values())))
    energy = lambda a: float((a.astype(np.float64) ** 2).sum())
    noise = lambda found: [[energy(a - b.astype(np.float64)) for a, b in zip(e, f)] for e, f in zip(expected, found)]
    found = [[[energy(a) for a in e] for e in expected], noise(ours), *(noise(asked(s)) for s in sessions)]
    return np.array(found).transpose(0, 2, 1)


class Judged:
    """One output's noise: decibels of our engine and of the sessions, and whether ours is as near to one of them as it must be."""

    def __init__(self, energies):
        self.ours, *self.theirs = 10 * np.log10(energies[0].sum() / energies[1:].sum(axis=1))
        distances = [abs(self.ours - d) for d in self.theirs]
        nearest = int(np.argmin(distances))
        self.ok = distances[nearest] <= MAX_DB or min(self.theirs) <= self.ours <= max(self.theirs)
        self.settled = common.is_settled(distances[nearest], common.chance_db(energies[1], energies[2 + nearest]), MAX_DB)


def judge(bench, source, sessions, images, least):
    """Of each output, from at least so many images, and from more until chance changes little or `images`, an iterator, ends."""
    found = np.empty((2 + len(sessions), len(source.get_outputs()), 0))
    while chunk := list(itertools.islice(images, min(AT_ONCE, least))):
        found = np.append(found, energies(bench, source, sessions, chunk), axis=2)
        judged = [Judged(output) for output in found.transpose(1, 0, 2)]
        if found.shape[2] >= least and all(j.settled for j in judged):
            break
    return judged, found.shape[2]


def check(bench, label, path, source, images):
    """One row for each output of a quantized model against the FP32 session; `images` is an iterator. Returns the steps that stay
    in float."""
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
    judged, count = judge(bench, source, sessions, images, bench.arguments.limit)
    for output, j in zip(source.get_outputs(), judged):
        bench.row(bool(j.ok) and int8 + explained >= wanted, f"{label:44} {output.name[:10]:10} {count:5} {j.ours:8.3f} {j.theirs[0]:10.3f} "
                  f"{j.theirs[1]:10.3f} {int8:6} of {wanted:3} {len(floats):6}")
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
                           help="images compared, at least: more where chance could decide, since a few make most of the noise")
    arguments.add_argument("--calibration", type=int, default=4, help="images that ONNX Runtime calibrates with")
    bench = common.Bench(arguments.parse_args())
    onnxruntime.set_default_logger_severity(3)
    logging.disable(logging.WARNING)
    print(f"{'':6} {'model':44} {'output':10} {'images':>5} {'SQNR dB':>8} {'ORT int8':>10} {'ORT Q/DQ':>10} {'int8 layers':>13} {'float':>6}")
    reasons = {}
    for name in bench.arguments.models:
        source = common.session(bench.model(name))
        arrays = bench.images("calib", bench.arguments.calibration, name)
        for prepare in (False, True):
            for signed in (False, True):
                for per_channel in (False, True):
                    label = f"{name} {'s8' if signed else 'u8'}{' per channel' if per_channel else ''}{' prepared' if prepare else ''}"
                    try:
                        path = quantize(bench, name, prepare, signed, per_channel, arrays)
                        for step in check(bench, label, path, source, bench.views("val", name)):
                            reasons.setdefault((name, step["kind"], step["reason"]), []).append(label)
                    except RuntimeError as error:
                        bench.row(False, f"{label:44} {error}")
    print("\nSteps in float, in all files together:")
    for (name, kind, reason), labels in sorted(reasons.items()):
        print(f"  {name:20} {kind:12} {len(labels):5}  {reason}")
    bench.finish()


if __name__ == "__main__":
    main()
