import os
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

__version__: str
Path = Union[str, bytes, "os.PathLike[str]"]
Shape = Sequence[int]
Data = Union[Path, Iterable[Mapping[str, Any]]]
Profile = Mapping[str, Tuple[Shape, Shape, Shape]]
Log = Callable[[int, str], None]

class Error(Exception):
    code: str
    def __init__(self, message: str, code: str = ...) -> None: ...

class TensorInfo:
    name: str
    dtype: str
    shape: Tuple[int, ...]
    shape_text: str
    scale: List[float]
    zero_point: List[int]

class Dimension:
    name: str
    minimum: int
    optimum: int
    maximum: int

class Model:
    report: Optional[Dict[str, Any]]
    @classmethod
    def load(cls, source: Union[Path, bytes, bytearray, memoryview], name: str = ..., folder: Path = ...) -> Model: ...
    @property
    def inputs(self) -> List[TensorInfo]: ...
    @property
    def outputs(self) -> List[TensorInfo]: ...
    @property
    def quantized(self) -> bool: ...
    def save(self, path: Path) -> None: ...
    def serialize(self) -> bytes: ...

class Engine:
    @classmethod
    def load(cls, source: Union[Path, bytes, bytearray, memoryview]) -> Engine: ...
    @property
    def inputs(self) -> List[TensorInfo]: ...
    @property
    def outputs(self) -> List[TensorInfo]: ...
    @property
    def dimensions(self) -> List[Dimension]: ...
    @property
    def profiles(self) -> List[List[List[List[int]]]]: ...
    @property
    def metadata(self) -> Dict[str, str]: ...
    def save(self, path: Path) -> None: ...
    def serialize(self) -> bytes: ...

class Context:
    engine: Engine
    def __init__(self, engine: Engine, threads: int = ...) -> None: ...
    def run(self, inputs: Union[Mapping[str, np.ndarray], np.ndarray], copy: bool = ...) -> Dict[str, np.ndarray]: ...
    def set_shapes(self, shapes: Sequence[Shape]) -> None: ...
    @property
    def memory_bytes(self) -> int: ...

class Comparison:
    layers: List[Tuple[str, float, float]]
    outputs: List[Tuple[str, float, float]]
    samples: int

def quantize(model: Union[Model, Path], data: Optional[Data] = ..., *, table: Optional[Path] = ...,
             cache: Optional[Path] = ..., preprocess: Optional[str] = ..., method: Optional[str] = ...,
             target: Optional[str] = ..., effort: Optional[str] = ..., include: Optional[Sequence[str]] = ...,
             exclude: Optional[Sequence[str]] = ..., limit: Optional[int] = ..., threads: Optional[int] = ...,
             workspace: Optional[int] = ..., log: Optional[Log] = ...) -> Model: ...
def calibrate(model: Union[Model, Path], data: Data, *, format: str = ..., preprocess: Optional[str] = ...,
              method: Optional[str] = ..., target: Optional[str] = ..., include: Optional[Sequence[str]] = ...,
              exclude: Optional[Sequence[str]] = ..., limit: Optional[int] = ..., threads: Optional[int] = ...,
              workspace: Optional[int] = ..., log: Optional[Log] = ...) -> str: ...
def build(model: Union[Model, Path], data: Optional[Data] = ..., *, int8: Optional[bool] = ...,
          fp16: Optional[bool] = ..., bf16: Optional[bool] = ..., deterministic: Optional[bool] = ...,
          profiles: Optional[Union[Profile, Sequence[Profile]]] = ..., table: Optional[Path] = ...,
          cache: Optional[Path] = ..., preprocess: Optional[str] = ..., method: Optional[str] = ...,
          target: Optional[str] = ..., effort: Optional[str] = ..., include: Optional[Sequence[str]] = ...,
          exclude: Optional[Sequence[str]] = ..., limit: Optional[int] = ..., threads: Optional[int] = ...,
          workspace: Optional[int] = ..., log: Optional[Log] = ...) -> Engine: ...
def run(engine: Union[Engine, Model, Path], inputs: Union[Mapping[str, np.ndarray], np.ndarray],
        threads: int = ...) -> Dict[str, np.ndarray]: ...
def compare(reference: Union[Engine, Model, Path], other: Union[Engine, Model, Path], data: Data, *,
            preprocess: Optional[str] = ..., limit: Optional[int] = ..., threads: Optional[int] = ...) -> Comparison: ...
def load_script(script: Path) -> Iterable[Mapping[str, Any]]: ...
