"""Engines and contexts that run them."""

import octet
from octet import Error, _octet
from ._types import _Severity, _guarded, _Scoped, _data_type, Dims, TensorIOMode, TensorLocation, TensorFormat


class IHostMemory(bytes):
    """The bytes of an engine."""

    @property
    def nbytes(self):
        return len(self)


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
        return bool(self._set_shape(binding, shape))

    def set_input_shape(self, name, shape):
        return bool(self._set_shape(name, shape))

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
        return bool(self._run(bindings))

    def execute_async_v2(self, bindings, stream_handle=0, input_consumed=None):
        return bool(self._run(bindings))

    def execute_async_v3(self, stream_handle=0):
        return bool(self._run(self._addresses))
