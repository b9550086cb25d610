"""TensorRT's Python interface, 8 to 10, as far as scripts need it that turn ONNX files into engines and run them:

    import octet.tensorrt as trt

Octet does the work, on the CPU: bindings are addresses of host memory (octet.tensorrt.cuda allocates some). Networks
built layer by layer, plugins, refitting and DLA are not offered. What fails is logged, and gives None or False.

Names and meaning: NVIDIA, "TensorRT Python API Reference".
"""

import builtins
import enum
import os

import numpy

import octet
from octet import Error, _octet

__version__ = "8.6.1"


class _Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    """Subclass it: log(severity, message)."""

    Severity = _Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = _Severity

    def __init__(self):
        pass

    def log(self, severity, message):
        raise NotImplementedError


class Logger(ILogger):
    """To standard error, from `min_severity` on."""

    def __init__(self, min_severity=_Severity.WARNING):
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity, message):
        import sys
        if severity <= self.min_severity:
            print("[TRT] [%s] %s" % (_Severity(severity).name[0], message), file=sys.stderr)


def _guarded(function):
    """What it raises is logged and gives None; a calibrator's own exceptions pass through."""

    def call(self, *arguments, **named):
        try:
            return function(self, *arguments, **named)
        except Error as error:
            self._logger.log(_Severity.ERROR, str(error))
            return None

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    return call


class _Scoped:
    """Objects that are used with `with`, as TensorRT's are."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    BF16 = 7
    INT64 = 8

    @property
    def itemsize(self):
        return {"FLOAT": 4, "HALF": 2, "INT32": 4, "BF16": 2, "INT64": 8}.get(self.name, 1)


for _name, _alias in (("FLOAT", "float32"), ("HALF", "float16"), ("INT8", "int8"), ("INT32", "int32"),
                      ("BOOL", "bool"), ("UINT8", "uint8"), ("BF16", "bfloat16"), ("INT64", "int64")):
    globals()[_alias] = DataType[_name]
_DTYPES = {"float32": DataType.FLOAT, "float16": DataType.HALF, "int8": DataType.INT8, "int32": DataType.INT32,
           "bool": DataType.BOOL, "uint8": DataType.UINT8, "bfloat16": DataType.BF16, "int64": DataType.INT64}
_NUMPY = {DataType.FLOAT: numpy.float32, DataType.HALF: numpy.float16, DataType.INT8: numpy.int8,
          DataType.INT32: numpy.int32, DataType.BOOL: numpy.bool_, DataType.UINT8: numpy.uint8,
          DataType.INT64: numpy.int64}


def nptype(dtype):
    """The numpy type of a DataType."""
    if dtype not in _NUMPY:
        raise TypeError("numpy has no type for %s" % dtype)
    return _NUMPY[dtype]


def _data_type(info):
    if info.dtype not in _DTYPES:
        raise Error("'%s' is %s, which TensorRT's DataType does not have" % (info.name, info.dtype), "unsupported")
    return _DTYPES[info.dtype]


def volume(shape):
    size = 1
    for n in shape:
        size *= n
    return size


class Dims(tuple):
    """A shape; -1 where a size is open."""

    MAX_DIMS = 8

    def __new__(cls, shape=()):
        return super().__new__(cls, tuple(shape))


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    EXPLICIT_PRECISION = 1


class BuilderFlag(enum.IntEnum):
    FP16 = 0
    INT8 = 1
    GPU_FALLBACK = 3
    STRICT_TYPES = 4
    DISABLE_TIMING_CACHE = 6
    TF32 = 7
    SPARSE_WEIGHTS = 8
    OBEY_PRECISION_CONSTRAINTS = 10
    PREFER_PRECISION_CONSTRAINTS = 11
    DIRECT_IO = 12
    BF16 = 19


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    DLA_LOCAL_DRAM = 2
    DLA_GLOBAL_DRAM = 3
    TACTIC_DRAM = 4


class ProfilingVerbosity(enum.IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.IntEnum):
    DEVICE = 0
    HOST = 1


class TensorFormat(enum.IntEnum):
    LINEAR = 0


class CalibrationAlgoType(enum.IntEnum):
    LEGACY_CALIBRATION = 0
    ENTROPY_CALIBRATION = 1
    ENTROPY_CALIBRATION_2 = 2
    MINMAX_CALIBRATION = 3


class IInt8Calibrator:
    """Subclass one of the four below: get_batch_size(), get_batch(names) with an address for each input (or None at
    the end), read_calibration_cache(), write_calibration_cache(cache)."""

    algorithm = CalibrationAlgoType.ENTROPY_CALIBRATION_2

    def __init__(self):
        pass

    def get_algorithm(self):
        return self.algorithm

    def get_batch_size(self):
        return 1

    def get_batch(self, names):
        raise NotImplementedError

    def read_calibration_cache(self):
        return None

    def write_calibration_cache(self, cache):
        pass


class IInt8EntropyCalibrator2(IInt8Calibrator):
    pass


class IInt8EntropyCalibrator(IInt8Calibrator):
    algorithm = CalibrationAlgoType.ENTROPY_CALIBRATION


class IInt8MinMaxCalibrator(IInt8Calibrator):
    algorithm = CalibrationAlgoType.MINMAX_CALIBRATION


class IInt8LegacyCalibrator(IInt8Calibrator):
    algorithm = CalibrationAlgoType.LEGACY_CALIBRATION


_ALGORITHMS = {CalibrationAlgoType.LEGACY_CALIBRATION: ("LegacyCalibration", "percentile"),
               CalibrationAlgoType.ENTROPY_CALIBRATION: ("EntropyCalibration", "entropy"),
               CalibrationAlgoType.ENTROPY_CALIBRATION_2: ("EntropyCalibration2", "entropy"),
               CalibrationAlgoType.MINMAX_CALIBRATION: ("MinMaxCalibration", "minmax")}


def _native_calibrator(user):
    """A user's calibrator as the library's; addresses become arrays over that memory."""

    def batch(wanted):
        names = [name for name, _, _ in wanted]
        try:
            addresses = user.get_batch(names)
        except TypeError:
            addresses = user.get_batch(names, None)  # TensorRT 5's p_str
        if addresses is None or len(addresses) == 0:
            return None
        if len(addresses) != len(wanted):
            raise Error("the calibrator: get_batch() gave %d addresses for %d inputs" % (len(addresses), len(wanted)))
        return [(name, _view(address, shape, dtype, name)) for address, (name, dtype, shape) in zip(addresses, wanted)]

    def read():
        cache = user.read_calibration_cache()
        return bytes(cache) if cache else None

    algorithm, method = _ALGORITHMS[CalibrationAlgoType(user.get_algorithm())]
    return _octet.Calibrator(batch, int(user.get_batch_size()), read, user.write_calibration_cache, algorithm), method


def _view(address, shape, dtype, name):
    import ctypes
    if isinstance(address, numpy.ndarray):
        return address
    if int(address) == 0:
        raise Error("the calibrator: a null address for '%s'" % name)
    dtype = numpy.dtype(dtype)
    size = volume(shape) * dtype.itemsize
    if getattr(address, "size", None) is not None and isinstance(address.size, int) and address.size < size:
        raise Error("the calibrator: the memory of '%s' has %d bytes, but %d are to be read" % (name, address.size, size))
    memory = (ctypes.c_uint8 * size).from_address(int(address))
    return numpy.frombuffer(memory, dtype).reshape(shape)


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
        return builtins.bool(self.flags >> int(flag) & 1)


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
        return builtins.bool(self._shapes)


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

    def set_flag(self, flag):
        self.flags |= 1 << BuilderFlag(flag)

    def clear_flag(self, flag):
        self.flags &= ~(1 << BuilderFlag(flag))

    def get_flag(self, flag):
        return builtins.bool(self.flags >> BuilderFlag(flag) & 1)

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


class IHostMemory(bytes):
    """The bytes of an engine."""

    @property
    def nbytes(self):
        return len(self)


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


class Runtime(_Scoped):
    def __init__(self, logger):
        self._logger = self.logger = logger
        self.max_threads = 0

    @_guarded
    def deserialize_cuda_engine(self, serialized_engine):
        return ICudaEngine(octet.Engine.load(bytes(serialized_engine)), self._logger, self.max_threads)


class ICudaEngine(_Scoped):
    def __init__(self, engine, logger, threads=0):
        self._engine, self._logger, self._threads = engine, logger, threads
        self._infos = list(engine.inputs) + list(engine.outputs)
        self._names = [info.name for info in self._infos]
        self._inputs = len(engine.inputs)
        self.name = ""
        self.max_batch_size = 1
        self.has_implicit_batch_dimension = self.refittable = False
        self.device_memory_size = 0

    def __len__(self):
        return len(self._infos)

    def __iter__(self):
        return iter(self._names)

    def __getitem__(self, key):
        return self.get_binding_name(key) if isinstance(key, int) else self.get_binding_index(key)

    def _index(self, binding):
        if isinstance(binding, str):
            return self._names.index(binding) if binding in self._names else -1
        return binding if 0 <= binding < len(self._infos) else -1

    def _info(self, binding):
        index = self._index(binding)
        if index < 0:
            raise IndexError("the engine has no binding %r" % (binding,))
        return self._infos[index]

    @property
    def num_bindings(self):
        return len(self._infos)

    @property
    def num_io_tensors(self):
        return len(self._infos)

    @property
    def num_optimization_profiles(self):
        return max(1, len(self._engine.profiles))

    def get_binding_index(self, name):
        return self._index(name)

    def get_binding_name(self, index):
        return self._names[index]

    get_tensor_name = get_binding_name

    def binding_is_input(self, binding):
        return 0 <= self._index(binding) < self._inputs

    def get_binding_shape(self, binding):
        return Dims(self._info(binding).shape)

    get_tensor_shape = get_binding_shape

    def get_binding_dtype(self, binding):
        return _data_type(self._info(binding))

    get_tensor_dtype = get_binding_dtype

    def get_tensor_mode(self, name):
        index = self._index(name)
        return TensorIOMode.NONE if index < 0 else TensorIOMode.INPUT if index < self._inputs else TensorIOMode.OUTPUT

    def get_tensor_location(self, name):
        return TensorLocation.DEVICE

    def get_location(self, binding):
        return TensorLocation.DEVICE

    def get_tensor_format(self, name):
        return TensorFormat.LINEAR

    def is_shape_binding(self, binding):
        return False

    def is_execution_binding(self, binding):
        return True

    def get_tensor_profile_shape(self, name, profile_index):
        index, profiles = self._index(name), self._engine.profiles
        if not 0 <= index < self._inputs:
            raise IndexError("the engine has no input %r" % (name,))
        if not profiles:
            return [self.get_binding_shape(index)] * 3
        return [Dims(shapes[index]) for shapes in profiles[profile_index]]

    def get_profile_shape(self, profile_index, binding):
        return self.get_tensor_profile_shape(self._names[self._index(binding)], profile_index)

    def serialize(self):
        return IHostMemory(self._engine.serialize())

    @_guarded
    def create_execution_context(self):
        return IExecutionContext(self)


class IExecutionContext(_Scoped):
    def __init__(self, engine):
        self.engine, self._logger = engine, engine._logger
        self._native = _octet.Context(engine._engine._native, engine._threads)
        self._addresses = [0] * len(engine._infos)
        self._shapes = [list(info.shape) for info in engine._infos[:engine._inputs]]
        self._changed = False
        self.active_optimization_profile = 0
        self.name = ""

    @_guarded
    def _set_shape(self, binding, shape):
        info, index = self.engine._info(binding), self.engine._index(binding)
        if index >= self.engine._inputs:
            raise Error("'%s' is an output: its shape follows" % info.name)
        shape = [int(size) for size in shape]
        if len(shape) != len(info.shape) or any(s < 0 or (own >= 0 and s != own) for s, own in zip(shape, info.shape)):
            raise Error("the input '%s' has shape %s, which %s does not fit" % (info.name, info.shape_text, tuple(shape)))
        wanted = list(self._shapes)
        wanted[index] = shape
        if all(size >= 0 for s in wanted for size in s):
            if len(wanted) == 1:
                self._native.set_shapes(wanted)
            else:
                self._changed = True
        self._shapes = wanted
        return True

    def set_binding_shape(self, binding, shape):
        return builtins.bool(self._set_shape(binding, shape))

    def set_input_shape(self, name, shape):
        return builtins.bool(self._set_shape(name, shape))

    def _apply(self):
        if not self.all_binding_shapes_specified:
            raise Error("the shape of an input is open: set it before the run")
        if self._changed:
            self._native.set_shapes(self._shapes)
            self._changed = False

    def get_binding_shape(self, binding):
        index = self.engine._index(binding)
        self.engine._info(binding)
        if index < self.engine._inputs:
            return Dims(self._shapes[index])
        if not self.all_binding_shapes_specified:
            return self.engine.get_binding_shape(index)
        self._apply()
        return Dims(self._native.output_shape(index - self.engine._inputs))

    get_tensor_shape = get_binding_shape

    @property
    def all_binding_shapes_specified(self):
        return all(size >= 0 for shape in self._shapes for size in shape)

    all_shape_inputs_specified = True

    def infer_shapes(self):
        return [name for name, shape in zip(self.engine._names, self._shapes) if any(size < 0 for size in shape)]

    def set_optimization_profile_async(self, index, stream=None):
        if not 0 <= index < self.engine.num_optimization_profiles:
            return False
        self.active_optimization_profile = index
        return True

    def set_tensor_address(self, name, address):
        index = self.engine._index(name)
        if index < 0:
            self._logger.log(_Severity.ERROR, "set_tensor_address: the engine has no tensor '%s'" % name)
            return False
        self._addresses[index] = int(address)
        return True

    def get_tensor_address(self, name):
        return self._addresses[self.engine._index(name)]

    @_guarded
    def _run(self, addresses):
        self._apply()
        self._native.run_addresses([int(a) for a in addresses])
        return True

    def execute_v2(self, bindings):
        return builtins.bool(self._run(bindings))

    def execute_async_v2(self, bindings, stream_handle=0, input_consumed=None):
        return builtins.bool(self._run(bindings))

    def execute_async_v3(self, stream_handle=0):
        return builtins.bool(self._run(self._addresses))


def init_libnvinfer_plugins(logger, namespace):
    """There are no plugins, and no need of them."""
    return True


from . import cuda  # noqa: E402  (scripts expect the module with the package)
