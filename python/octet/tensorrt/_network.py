"""From an ONNX file to an engine: network, parser, profiles, configuration, builder."""

import os

import octet
from octet import Error, _octet
from ._types import (_Severity, _guarded, _Scoped, _data_type, Dims, BuilderFlag, MemoryPoolType, PreviewFeature,
                     ProfilingVerbosity, TensorLocation)
from ._calibrators import _native_calibrator
from ._runtime import IHostMemory, ICudaEngine


class ITensor:
    def __init__(self, info, is_input):
        self._info = info
        self.name = info.name
        self.dtype = _data_type(info)
        self._shape = Dims(info.shape)
        self.is_network_input, self.is_network_output = is_input, not is_input
        self.location = TensorLocation.DEVICE
        self.is_shape_tensor = False

    @property
    def shape(self):
        return self._shape

    @shape.setter
    def shape(self, shape):
        """Of an input: fixes open dimensions."""
        shape = Dims(shape)
        if not self.is_network_input or len(shape) != len(self._info.shape) or any(
                given != own and own >= 0 for given, own in zip(shape, self._info.shape)):
            raise Error("'%s' has shape %s, which %s does not fit" % (self.name, self._info.shape_text, tuple(shape)))
        self._shape = shape


class INetworkDefinition(_Scoped):
    def __init__(self, flags):
        self._model = None
        self._inputs, self._outputs = [], []
        self.name = ""
        self.flags = flags
        self.has_implicit_batch_dimension = False

    def _set(self, model):
        self._inputs = [ITensor(info, True) for info in model.inputs]
        self._outputs = [ITensor(info, False) for info in model.outputs]
        self._model = model

    @property
    def num_inputs(self):
        return len(self._inputs)

    @property
    def num_outputs(self):
        return len(self._outputs)

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]

    def get_flag(self, flag):
        return bool(self.flags >> int(flag) & 1)


class ParserError:
    def __init__(self, text):
        self._text = text

    def desc(self):
        return self._text

    def code(self):
        return 0

    def node(self):
        return -1

    def __str__(self):
        return self._text


class OnnxParser(_Scoped):
    def __init__(self, network, logger):
        self._network, self._logger = network, logger
        self._errors = []

    def _take(self, *source):
        try:
            self._network._set(octet.Model.load(*source))
            return True
        except Error as error:
            self._errors.append(ParserError(str(error)))
            self._logger.log(_Severity.ERROR, str(error))
            return False

    def parse(self, model, path=None):
        return self._take(bytes(model), path or "model", os.path.dirname(path or "") or ".")

    def parse_from_file(self, path):
        return self._take(path)

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]

    def clear_errors(self):
        self._errors = []


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        shapes = [Dims(min), Dims(opt), Dims(max)]
        if not len(shapes[0]) == len(shapes[1]) == len(shapes[2]) or not all(
                0 < low <= likely <= high for low, likely, high in zip(*shapes)):
            raise ValueError("'%s': %s is no range of shapes" % (input, shapes))
        self._shapes[input] = shapes

    def get_shape(self, input):
        return self._shapes.get(input, [])

    def __bool__(self):
        return bool(self._shapes)


class ITimingCache(_Scoped):
    """Bytes that are kept for the script: what is measured here stays in `octet build --tuning`."""

    def __init__(self, content):
        self._content = bytes(content)

    def serialize(self):
        return IHostMemory(self._content)

    def combine(self, other, ignore_mismatch):
        self._content = self._content or other._content
        return True

    def reset(self):
        self._content = b""
        return True


class IBuilderConfig(_Scoped):
    def __init__(self):
        self.reset()
        self.builder_optimization_level = 3
        self.avg_timing_iterations = self.min_timing_iterations = 1
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def reset(self):
        self.flags = 1 << BuilderFlag.TF32
        self.int8_calibrator = None
        self._pools, self._profiles, self._calibration = {}, [], None
        self._timing_cache, self._preview = None, set()
        self.max_aux_streams = 0

    def create_timing_cache(self, serialized_timing_cache):
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._timing_cache = cache
        return True

    def get_timing_cache(self):
        return self._timing_cache

    def set_preview_feature(self, feature, enable):
        (self._preview.add if enable else self._preview.discard)(PreviewFeature(feature))

    def get_preview_feature(self, feature):
        return PreviewFeature(feature) in self._preview

    def set_flag(self, flag):
        self.flags |= 1 << BuilderFlag(flag)

    def clear_flag(self, flag):
        self.flags &= ~(1 << BuilderFlag(flag))

    def get_flag(self, flag):
        return bool(self.flags >> BuilderFlag(flag) & 1)

    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[MemoryPoolType(pool)] = int(pool_size)

    def get_memory_pool_limit(self, pool):
        return self._pools.get(MemoryPoolType(pool), 0)

    @property
    def max_workspace_size(self):
        return self.get_memory_pool_limit(MemoryPoolType.WORKSPACE)

    @max_workspace_size.setter
    def max_workspace_size(self, size):
        self.set_memory_pool_limit(MemoryPoolType.WORKSPACE, size)

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    @property
    def num_optimization_profiles(self):
        return len(self._profiles)

    def set_calibration_profile(self, profile):
        self._calibration = profile
        return True

    def get_calibration_profile(self):
        return self._calibration


class Builder(_Scoped):
    platform_has_fast_fp16 = platform_has_fast_int8 = True
    platform_has_tf32 = False
    num_DLA_cores = 0

    def __init__(self, logger):
        self._logger = self.logger = logger
        self.max_batch_size = 1
        self.max_threads = 0

    def create_network(self, flags=0):
        return INetworkDefinition(int(flags))

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def is_network_supported(self, network, config):
        return network._model is not None

    def _build(self, network, config):
        if network._model is None:
            raise Error("the network is empty: parse an ONNX model into it")
        options = {"int8": config.get_flag(BuilderFlag.INT8), "bf16": config.get_flag(BuilderFlag.BF16),
                   "threads": self.max_threads,
                   "log": lambda severity, text: self._logger.log(_Severity(severity), text)}
        options["fp16"] = config.get_flag(BuilderFlag.FP16) and not options["bf16"]
        options["profiles"] = [{name: [list(s) for s in shapes] for name, shapes in p._shapes.items()}
                               for p in config._profiles]
        fixed = {t.name: list(t.shape) for t in network._inputs if tuple(t.shape) != tuple(t._info.shape)}
        if fixed and not options["profiles"]:
            if any(size < 0 for shape in fixed.values() for size in shape):
                raise Error("a shape that was set still has open sizes: give an optimization profile")
            options["profiles"] = [{name: [shape] * 3 for name, shape in fixed.items()}]
        if config._calibration is not None:
            options["calibration_shapes"] = {name: list(shapes[1])
                                             for name, shapes in config._calibration._shapes.items()}
        if config.max_workspace_size > 0:
            options["workspace"] = min(config.max_workspace_size, 1 << 40)
        if config.int8_calibrator is not None:
            options["calibrator"], options["method"] = _native_calibrator(config.int8_calibrator)
        return octet.Engine(_octet.build(network._model._native, options))

    @_guarded
    def build_serialized_network(self, network, config):
        return IHostMemory(self._build(network, config).serialize())

    @_guarded
    def build_engine(self, network, config):
        return ICudaEngine(self._build(network, config), self._logger, self.max_threads)

    build_engine_with_config = build_engine
