"""Enumerations, shapes, loggers: what the other modules share."""

import enum

import numpy

from octet import Error


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
    DEBUG = 2
    GPU_FALLBACK = 3
    STRICT_TYPES = 4
    DISABLE_TIMING_CACHE = 6
    TF32 = 7
    SPARSE_WEIGHTS = 8
    OBEY_PRECISION_CONSTRAINTS = 10
    PREFER_PRECISION_CONSTRAINTS = 11
    DIRECT_IO = 12
    ENABLE_TACTIC_HEURISTIC = 13
    VERSION_COMPATIBLE = 14
    BF16 = 19


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    DLA_LOCAL_DRAM = 2
    DLA_GLOBAL_DRAM = 3
    TACTIC_DRAM = 4


class PreviewFeature(enum.IntEnum):
    FASTER_DYNAMIC_SHAPES_0805 = 0
    DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805 = 1
    PROFILE_SHARING_0806 = 2


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
