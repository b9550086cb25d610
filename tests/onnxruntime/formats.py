#!/usr/bin/env python3
"""Quantized files of every format that other tools write import, build and run, with SQNR against FP32 within 0.3 dB of
ONNX Runtime's on the same file: quantize_static's QOperator and QDQ formats (u8 and s8 activations, s8 and u8 weights, per
channel and not, 16-bit activations, 4-bit weights, Q/DQ of ONNX Runtime's own domain), quantize_dynamic, and NNCF's where it
is installed. Convolutions and products that the file quantizes with 8 bits must run in int8, unless a reason is printed.

  formats.py [--models NAME...] [--formats NAME...] [--transformers FOLDER]

--transformers names a folder with bert_base.onnx or vit_b16.onnx of the benchmark's make_models.py."""

import contextlib
import io
import itertools
import logging
import os
import pathlib

os.environ.setdefault("NNCF_CI", "1")  # no telemetry

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static

import common
from foreign import Reader, check

U8, S8, U16, S16, U4, S4 = (QuantType.QUInt8, QuantType.QInt8, QuantType.QUInt16, QuantType.QInt16, QuantType.QUInt4,
                            QuantType.QInt4)


def static(form, activation, weight, per_channel=False, **extra):
    return lambda source, path, name, arrays: quantize_static(
        source, path, Reader(name, arrays), quant_format=form, activation_type=activation, weight_type=weight,
        per_channel=per_channel, calibrate_method=CalibrationMethod.MinMax, extra_options=extra)


def dynamic(weight, per_channel=False):
    return lambda source, path, name, arrays: quantize_dynamic(source, path, weight_type=weight, per_channel=per_channel)


def nncf(source, path, name, arrays, transformer=False):
    import nncf
    nncf.set_log_level(logging.ERROR)
    model_type = nncf.ModelType.TRANSFORMER if transformer else None
    onnx.save(nncf.quantize(onnx.load(source), nncf.Dataset(arrays, lambda array: {name: array}), subset_size=len(arrays),
                            model_type=model_type), path)


QOP, QDQ = QuantFormat.QOperator, QuantFormat.QDQ
FORMATS = {
    "qop-u8s8": static(QOP, U8, S8),
    "qop-u8s8-channel": static(QOP, U8, S8, True),
    "qop-s8s8-channel": static(QOP, S8, S8, True),
    "qop-u8u8": static(QOP, U8, U8),
    "qdq-u8u8": static(QDQ, U8, U8),
    "qdq-u8u8-channel": static(QDQ, U8, U8, True),
    "qdq-s8-symmetric": static(QDQ, S8, S8, True, ActivationSymmetric=True),
    "qdq-own-domain": static(QDQ, U8, S8, True, UseQDQContribOps=True),
    "qdq-dedicated": static(QDQ, U8, S8, True, DedicatedQDQPair=True),
    "qdq-weights-in-float": static(QDQ, U8, S8, True, AddQDQPairToWeight=True),
    "qdq-u16": static(QDQ, U16, S8, True),
    "qdq-s16": static(QDQ, S16, S8),
    "qdq-int4": static(QDQ, U8, S4),
    "qdq-uint4": static(QDQ, U8, U4),
    "dynamic-s8": dynamic(S8),
    "dynamic-u8": dynamic(U8),
    "dynamic-s8-channel": dynamic(S8, True),
    "nncf": nncf,
}


def source_of(bench, name):
    """The FP32 model at an opset in which scales per channel are valid."""
    path = bench.work / f"{name}.opset13.onnx"
    if path.exists():
        return path
    model = onnx.load(bench.arguments.transformers / f"{name}.onnx" if name in TRANSFORMERS else bench.model(name))
    if max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
        model = onnx.version_converter.convert_version(model, 13)
    weights = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


TRANSFORMERS = ("bert_base", "vit_b16")
MOST_RANDOM = 400


def samples(bench, name, source, calibrates=False):
    """An iterator; for transformers, which get random inputs, over MOST_RANDOM."""
    if name not in TRANSFORMERS:
        return bench.views("calib" if calibrates else "val", name)
    value = onnx.load(source, load_external_data=False).graph.input[0]
    shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
    random = np.random.default_rng(calibrates)
    return (random.standard_normal(shape, dtype=np.float32) for _ in range(MOST_RANDOM))


def write(form, source, path, name, arrays):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        FORMATS[form](str(source), str(path), name, arrays)


def main():
    arguments = common.parser(__doc__)
    arguments.add_argument("--limit", type=int, default=400, help="images compared, at least: more where chance could decide")
    arguments.add_argument("--calibration", type=int, default=4, help="images that are calibrated with")
    arguments.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS, metavar="FORMAT")
    arguments.add_argument("--transformers", type=pathlib.Path, help="folder of bert_base.onnx and vit_b16.onnx")
    arguments.add_argument("--keep", action="store_true", help="do not make files again that are there")
    bench = common.Bench(arguments.parse_args())
    onnxruntime.set_default_logger_severity(3)
    logging.disable(logging.WARNING)
    print(f"{'':6} {'model':44} {'output':10} {'images':>5} {'SQNR dB':>8} {'ORT int8':>10} {'ORT Q/DQ':>10} {'int8 layers':>13} {'float':>6}")
    names = list(bench.arguments.models)
    if bench.arguments.transformers:
        names = [n for n in TRANSFORMERS if (bench.arguments.transformers / f"{n}.onnx").exists()]
    for name in names:
        source = source_of(bench, name)
        session = common.session(source)
        entry = session.get_inputs()[0].name
        arrays = list(itertools.islice(samples(bench, name, source, calibrates=True), bench.arguments.calibration))
        for form in bench.arguments.formats:
            path = bench.work / f"{name}.{form}.onnx"
            try:
                if not (bench.arguments.keep and path.exists()):
                    write(form, source, path, entry, arrays)
            except Exception as error:  # of many kinds: what a tool refuses is no fault of ours
                bench.row(None, f"{name} {form:30} cannot be made: {str(error).splitlines()[0][:100] if str(error) else type(error).__name__}")
                continue
            try:
                check(bench, f"{name} {form}", path, session, samples(bench, name, source))
            except RuntimeError as error:
                bench.row(False, f"{name} {form}: {error}")
    bench.finish()


if __name__ == "__main__":
    main()
