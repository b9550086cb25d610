"""Quantizes by another tool, in a process of its own: peers.py WAY MODEL INPUTS.npy OUT.

INPUTS.npy holds preprocessed samples; WAY is a name of ways.PEERS. Memory beyond kMemory is refused to it."""

import os
import resource
import sys
import tempfile

MEMORY_BYTES = 10 << 30


def by_nncf(way, model, name, samples, out):
    import nncf
    import onnx
    source = onnx.load(model)
    if source.opset_import[0].version < 13:
        source = onnx.version_converter.convert_version(source, 13)
    extra = {"preset": nncf.QuantizationPreset.MIXED} if way.endswith("mixed") else {}
    if way.endswith("accurate bias"):
        extra["fast_bias_correction"] = False
    dataset = nncf.Dataset([{name: s[None]} for s in samples])
    onnx.save(nncf.quantize(source, dataset, subset_size=len(samples), **extra), out)


def by_onnxruntime(way, model, name, samples, out):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(samples)

        def get_next(self):
            sample = next(self.rest, None)
            return None if sample is None else {name: sample[None]}

    with tempfile.TemporaryDirectory() as folder:
        source, ready = f"{folder}/source.onnx", f"{folder}/ready.onnx"
        graph = onnx.load(model)
        constants = {c.name for c in graph.graph.initializer}
        inputs = [i for i in graph.graph.input if i.name not in constants]
        del graph.graph.input[:]
        graph.graph.input.extend(inputs)  # weights that are inputs cannot be folded
        if graph.opset_import[0].version < 13:  # scales per channel need it
            graph = onnx.version_converter.convert_version(graph, 13)
        onnx.save(graph, source)
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        _, method, dtype = way.split()
        methods = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
                   "entropy": CalibrationMethod.Entropy}
        signed = dtype == "s8"
        quantize_static(ready, out, Reader(), per_channel=True, weight_type=QuantType.QInt8,
                        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8, calibrate_method=methods[method],
                        extra_options={"ActivationSymmetric": signed})


def main(way, model, inputs, out):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ.setdefault("NNCF_CI", "1")  # no telemetry
    import numpy as np
    import onnx
    graph = onnx.load(model).graph
    constants = {c.name for c in graph.initializer}
    name = next(i.name for i in graph.input if i.name not in constants)
    quantize = by_nncf if way.startswith("nncf") else by_onnxruntime
    quantize(way, model, name, np.load(inputs), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
