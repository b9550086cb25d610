"""TensorRT's Python interface, 8 to 10, as far as scripts need it that turn ONNX files into engines and run them:

    import octet.tensorrt as trt

Octet does the work, on the CPU: bindings are addresses of host memory (octet.tensorrt.cuda allocates some). Networks
built layer by layer, plugins, refitting, profilers and DLA are not offered. What fails is logged, and gives None or False.

Names and meaning: NVIDIA, "TensorRT Python API Reference".
"""

from . import cuda
from ._types import (ILogger, Logger, DataType, nptype, volume, Dims, NetworkDefinitionCreationFlag, BuilderFlag,
                     MemoryPoolType, PreviewFeature, ProfilingVerbosity, TensorIOMode, TensorLocation, TensorFormat, CalibrationAlgoType)
from ._calibrators import (IInt8Calibrator, IInt8EntropyCalibrator2, IInt8EntropyCalibrator, IInt8MinMaxCalibrator,
                           IInt8LegacyCalibrator)
from ._network import (ITensor, INetworkDefinition, ParserError, OnnxParser, IOptimizationProfile, ITimingCache, IBuilderConfig,
                       Builder)
from ._runtime import (IHostMemory, Runtime, ICudaEngine, IExecutionContext)

__version__ = "8.6.1"

for _name, _alias in (("FLOAT", "float32"), ("HALF", "float16"), ("INT8", "int8"), ("INT32", "int32"),
                      ("BOOL", "bool"), ("UINT8", "uint8"), ("BF16", "bfloat16"), ("INT64", "int64")):
    globals()[_alias] = DataType[_name]


def init_libnvinfer_plugins(logger, namespace):
    """There are no plugins, and no need of them."""
    return True
