"""Quantizes ONNX networks to INT8, shows what that cost, and runs them on CPUs in exact integer arithmetic.

    import octet

    model = octet.Model.load("model.onnx")
    quantized = octet.quantize(model, data="images", preprocess="short=256 crop=224 rgb mean=127.5 std=127.5")
    engine = octet.build(quantized)
    outputs = octet.Context(engine, threads=2).run({"input": array})

`data` is what the command takes as --data (a folder of images, .npy or .npz files), or any iterable of dicts of
arrays by input name (numpy's, or whatever numpy.asarray() takes). Arrays are read in place where they are
C-contiguous. The lock of the interpreter is released while the library works. What fails raises octet.Error;
what an iterable raises passes through.
"""

from . import _octet
from ._octet import Dimension, Engine as _Engine, Model as _Model, TensorInfo, __version__

__all__ = ["Comparison", "Context", "Dimension", "Engine", "Error", "Model", "TensorInfo", "build", "calibrate",
           "compare", "load_script", "quantize", "run"]


class Error(Exception):
    """What went wrong, in one line. `code` is one of "invalid argument", "not found", "bad file", "unsupported",
    "io", "out of memory", "internal"."""

    def __init__(self, message, code="invalid argument"):
        super().__init__(message)
        self.code = code


_octet.set_error_type(Error)


def _path(path):
    import os
    return os.fsdecode(os.fspath(path))


class Model:
    """An ONNX model, float or with Q/DQ nodes. Immutable."""

    def __init__(self, native, report=None):
        self._native = native
        self.report = report  # of quantize(): samples, layers, sqnr_db, preprocess, warnings

    @classmethod
    def load(cls, source, name="model", folder="."):
        """From a path, or from a model's bytes (external data are looked up in `folder`)."""
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls(_Model.load_bytes(bytes(source), name, _path(folder)))
        return cls(_Model.load(_path(source)))

    @property
    def inputs(self):
        return self._native.inputs

    @property
    def outputs(self):
        return self._native.outputs

    @property
    def quantized(self):
        return self._native.quantized

    def save(self, path):
        self._native.save(_path(path))

    def serialize(self):
        return self._native.serialize()


class Engine:
    """What build() makes: runs on every CPU, and is shared by any number of contexts. Immutable."""

    def __init__(self, native):
        self._native = native

    @classmethod
    def load(cls, source):
        """From a path, or from the bytes of an engine file."""
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls(_Engine.load_bytes(bytes(source), "engine"))
        return cls(_Engine.load(_path(source)))

    @property
    def inputs(self):
        return self._native.inputs

    @property
    def outputs(self):
        return self._native.outputs

    @property
    def dimensions(self):
        return self._native.dimensions

    @property
    def profiles(self):
        """[[minimum, optimum, maximum], ...], each a list of the inputs' shapes."""
        return self._native.profiles

    @property
    def metadata(self):
        return self._native.metadata

    def save(self, path):
        self._native.save(_path(path))

    def serialize(self):
        return self._native.serialize()


class Context:
    """The memory and the threads of one inference at a time; use it from one thread at a time."""

    def __init__(self, engine, threads=1):
        self.engine = engine
        self._native = _octet.Context(engine._native, threads)
        self._run = self._native.run
        infos = engine.inputs
        self._only = infos[0].name if len(infos) == 1 else None

    def run(self, inputs, copy=True):
        """Outputs by name, for a dict of arrays by input name (or one array, where there is one input). Shapes
        follow the arrays. With copy=False the outputs are the context's own memory, which the next run
        overwrites."""
        if type(inputs) is not dict:
            if self._only is None:
                raise Error("the engine has %d inputs: expected a dict of arrays" % len(self.engine.inputs))
            inputs = {self._only: inputs}
        try:
            return self._run(inputs, copy)
        except RuntimeError:  # not an array, or not contiguous
            return self._run({name: _contiguous(array, name) for name, array in inputs.items()}, copy)

    def set_shapes(self, shapes):
        self._native.set_shapes([list(s) for s in shapes])

    @property
    def memory_bytes(self):
        return self._native.memory_bytes


def _contiguous(array, name):
    import numpy
    result = numpy.ascontiguousarray(array) if getattr(array, "ndim", 1) else numpy.asarray(array)
    if result.dtype.kind in "OSUMmc":  # objects, texts, times, complex numbers
        raise Error("'%s' is no array of numbers, but %s" % (name, type(array).__name__))
    if not result.dtype.isnative:
        result = result.astype(result.dtype.newbyteorder("="))
    return result


class _Batches:
    """Gives the library one batch after the other, as lists of (name, array)."""

    def __init__(self, data, batch_size=1, read_cache=None, write_cache=None, algorithm="EntropyCalibration2"):
        self._iterator = iter(data)
        self._number = 0
        self.native = _octet.Calibrator(self._next, batch_size, read_cache, write_cache, algorithm)

    def _next(self, wanted):
        for batch in self._iterator:
            self._number += 1
            if not hasattr(batch, "items"):
                raise Error("calibration data, batch %d: expected a dict of arrays by input name, not %s"
                            % (self._number, type(batch).__name__))
            return [(str(name), _contiguous(array, name)) for name, array in batch.items()]
        return None


def _config(data=None, cache=None, **options):
    """The options of the library. `cache` is a file: read if it exists, and written if not."""
    import os
    given = {name: value for name, value in options.items() if value is not None}
    if "table" in given:
        given["table"] = _path(given["table"])
    native = None
    is_path = isinstance(data, (str, bytes, os.PathLike))
    if is_path:
        given["data"] = _path(data)
        if cache is not None:
            given["cache"] = _path(cache)
    elif data is not None or cache is not None:
        def read():
            if cache is None or not os.path.exists(cache):
                return None
            with open(cache, "rb") as file:
                return file.read()

        def write(content):
            if cache is not None:
                with open(cache, "wb") as file:
                    file.write(content)

        if isinstance(data, _Batches):
            native = data.native
        elif hasattr(data, "items"):
            raise Error("data: expected an iterable of dicts, one for each batch, not a dict")
        else:
            native = _Batches(() if data is None else data, read_cache=read, write_cache=write).native
    if native is not None:
        given["calibrator"] = native
    profiles = given.get("profiles")
    if profiles is not None:
        if isinstance(profiles, dict):
            profiles = [profiles]
        given["profiles"] = [{name: [list(shape) for shape in shapes] for name, shapes in p.items()} for p in profiles]
    return given


def quantize(model, data=None, *, table=None, cache=None, preprocess=None, method=None, target=None, effort=None,
             include=None, exclude=None, limit=None, threads=None, workspace=None, log=None):
    """The model with Q/DQ nodes; its `report` says what that cost. Without data made-up samples stand in."""
    native, report = _octet.quantize(_as_model(model)._native, _config(
        data, cache, table=table, preprocess=preprocess, method=method, target=target, effort=effort, include=include,
        exclude=exclude, limit=limit, threads=threads, workspace=workspace, log=log))
    return Model(native, report)


def calibrate(model, data, *, format="octet", preprocess=None, method=None, target=None, include=None, exclude=None,
              limit=None, threads=None, workspace=None, log=None):
    """The text of a calibration table, or of a TensorRT cache for format="tensorrt"."""
    return _octet.calibrate(_as_model(model)._native, _config(
        data, None, preprocess=preprocess, method=method, target=target, include=include, exclude=exclude, limit=limit,
        threads=threads, workspace=workspace, log=log), format)


def build(model, data=None, *, int8=None, fp16=None, bf16=None, deterministic=None, profiles=None, table=None,
          cache=None, preprocess=None, method=None, target=None, effort=None, include=None, exclude=None, limit=None,
          threads=None, workspace=None, log=None):
    """An engine. int8=True quantizes a float model first, as quantize() does. `profiles`: dicts of input names to
    (minimum, optimum, maximum) shapes."""
    return Engine(_octet.build(_as_model(model)._native, _config(
        data, cache, int8=int8, fp16=fp16, bf16=bf16, deterministic=deterministic, profiles=profiles, table=table,
        preprocess=preprocess, method=method, target=target, effort=effort, include=include, exclude=exclude,
        limit=limit, threads=threads, workspace=workspace, log=log)))


def run(engine, inputs, threads=1):
    """One inference of an engine or a model: outputs by name."""
    return Context(_as_engine(engine), threads).run(inputs)


class Comparison:
    """`layers` (worst first) and `outputs` (in order): tuples of name, SQNR in decibels and cosine."""

    def __init__(self, layers, outputs, samples):
        self.layers, self.outputs, self.samples = layers, outputs, samples


def compare(reference, other, data, *, preprocess=None, limit=None, threads=None):
    """Two engines or models of the same network, layer by layer over data."""
    return Comparison(*_octet.compare(_as_engine(reference)._native, _as_engine(other)._native, _config(
        data, None, preprocess=preprocess, limit=limit, threads=threads)))


def _as_model(model):
    return model if isinstance(model, Model) else Model.load(model)


def _as_engine(engine):
    if isinstance(engine, Engine):
        return engine
    if isinstance(engine, Model):
        return build(engine)
    with open(engine, "rb") as file:
        if file.read(8) == b"OCTETENG":
            return Engine.load(engine)
    return build(Model.load(engine))


def load_script(script):
    """The data of a Polygraphy loader script, "file.py" (its function load_data) or "file.py:function"."""
    from ._loader import load
    return load(script)
