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


def reader(name, samples):
    """Of ONNX Runtime, which is Quark's too."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(samples)

        def get_next(self):
            sample = next(self.rest, None)
            return None if sample is None else {name: sample[None]}

    return Reader()


def prepared(model, folder):
    """A file with the model as ONNX Runtime's tool wants it: constants folded, shapes known."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process
    source, ready = f"{folder}/source.onnx", f"{folder}/ready.onnx"
    graph = onnx.load(model)
    constants = {c.name for c in graph.graph.initializer}
    inputs = [i for i in graph.graph.input if i.name not in constants]
    del graph.graph.input[:]
    graph.graph.input.extend(inputs)  # weights that are inputs cannot be folded
    if graph.opset_import[0].version < 13:  # scales per channel need it
        graph = onnx.version_converter.convert_version(graph, 13)
    for i, node in enumerate(graph.graph.node):
        node.name = node.name or f"node {i}"  # Quark's corrections look nodes up by their names
    onnx.save(graph, source)
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    return ready


def by_onnxruntime(way, model, name, samples, out):
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    with tempfile.TemporaryDirectory() as folder:
        _, method, dtype = way.split()
        methods = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
                   "entropy": CalibrationMethod.Entropy}
        signed = dtype == "s8"
        quantize_static(prepared(model, folder), out, reader(name, samples), per_channel=True, weight_type=QuantType.QInt8,
                        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8, calibrate_method=methods[method],
                        extra_options={"ActivationSymmetric": signed})


def by_quark(way, model, name, samples, out):
    """Activations as its preset U8S8_AAWS has them, weights per channel; it learns as U8S8_AAWS_ADAQUANT does, which stops early."""
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config.algorithm import AdaQuantConfig, BiasCorrectionConfig, CLEConfig
    from quark.onnx.quantization.config.config import QConfig
    from quark.onnx.quantization.config.spec import CalibMethod, Int8Spec, QLayerConfig, QuantGranularity, UInt8Spec
    methods = {"minmax": CalibMethod.MinMax, "percentile": CalibMethod.Percentile}
    corrections = {"equalized": CLEConfig(), "bias": BiasCorrectionConfig(),
                   "adaquant": AdaQuantConfig(data_size=1000, batch_size=2, num_iterations=1000, early_stop=True)}
    _, method, *words = way.replace(",", "").split()
    layers = QLayerConfig(input_tensors=UInt8Spec(calibration_method=methods[method]),
                          weight=Int8Spec(calibration_method=CalibMethod.MinMax, quant_granularity=QuantGranularity.Channel))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it leaves a table where it runs
        config = QConfig(global_config=layers, algo_config=[corrections[word] for word in words])
        ModelQuantizer(config).quantize_model(prepared(model, folder), out, reader(name, samples))


def by_aimet_onnx(way, model, name, samples, out):
    """Weights per channel are its default. Biases stay float: ONNX Runtime makes int32 of them."""
    import aimet_onnx
    import onnx
    from aimet_onnx.cross_layer_equalization import equalize_model
    _, method, *words = way.replace(",", "").split()
    with tempfile.TemporaryDirectory() as folder:
        graph = onnx.load(prepared(model, folder))
        if "equalized" in words:
            equalize_model(graph)
        scheme = {"minmax": "min_max", "tf-enhanced": "tf_enhanced"}[method]
        sim = aimet_onnx.QuantizationSimModel(graph, quant_scheme=scheme, path=folder)
        sim.compute_encodings([{name: sample[None]} for sample in samples])
        onnx.save(sim.to_onnx_qdq(prequantize_constants=True), out)


def main(way, model, inputs, out):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ.setdefault("NNCF_CI", "1")  # no telemetry
    import numpy as np
    import onnx
    graph = onnx.load(model).graph
    constants = {c.name for c in graph.initializer}
    name = next(i.name for i in graph.input if i.name not in constants)
    quantize = {"onnxruntime": by_onnxruntime, "nncf": by_nncf, "quark": by_quark, "aimet_onnx": by_aimet_onnx}
    quantize[way.split()[0]](way, os.path.abspath(model), name, np.load(inputs), os.path.abspath(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
