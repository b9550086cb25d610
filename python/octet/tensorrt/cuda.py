"""What scripts take from pycuda.driver, on host memory: an allocation is memory of the process, and an int of it is
its address.

    from octet.tensorrt import cuda

    device = cuda.mem_alloc(array.nbytes)
    cuda.memcpy_htod(device, array)
"""

import ctypes

import numpy

from octet import Error

__all__ = ["DeviceAllocation", "Device", "Stream", "Event", "init", "mem_alloc", "mem_alloc_like", "to_device",
           "from_device", "from_device_like", "memcpy_htod", "memcpy_htod_async", "memcpy_dtoh", "memcpy_dtoh_async",
           "memcpy_dtod", "memcpy_dtod_async", "memset_d8", "memset_d32", "pagelocked_empty", "pagelocked_zeros"]


class DeviceAllocation:
    """Memory, zeroed. Lives as long as this object, or until free()."""

    def __init__(self, size):
        if int(size) <= 0:
            raise Error("mem_alloc: %s bytes: expected at least 1" % size)
        self._memory = numpy.zeros(int(size) + 64, numpy.uint8)
        self._offset = -self._memory.ctypes.data % 64
        self.size = int(size)

    def __int__(self):
        if self._memory is None:
            raise Error("the allocation was freed")
        return self._memory.ctypes.data + self._offset

    __index__ = __int__

    def free(self):
        self._memory = None

    def _bytes(self):
        int(self)
        return self._memory[self._offset:self._offset + self.size]


def mem_alloc(size):
    return DeviceAllocation(size)


def mem_alloc_like(array):
    return DeviceAllocation(array.nbytes)


def _bytes_of(array, what):
    array = numpy.asarray(array)
    if not array.flags.c_contiguous:
        raise Error("%s: the array is not C-contiguous: numpy.ascontiguousarray() makes it so" % what)
    return array.reshape(-1).view(numpy.uint8)


def _memory(pointer, size, what):
    """The bytes at an allocation or an address."""
    if isinstance(pointer, DeviceAllocation):
        if size > pointer.size:
            raise Error("%s: %d bytes, but the allocation has %d" % (what, size, pointer.size))
        return pointer._bytes()[:size]
    if int(pointer) == 0:
        raise Error("%s: a null pointer" % what)
    return numpy.ctypeslib.as_array(ctypes.cast(int(pointer), ctypes.POINTER(ctypes.c_uint8)), (size,))


def memcpy_htod(device, source, stream=None):
    source = _bytes_of(source, "memcpy_htod")
    _memory(device, source.size, "memcpy_htod")[:] = source


def memcpy_dtoh(target, device, stream=None):
    if not target.flags.c_contiguous:
        raise Error("memcpy_dtoh: the array is not C-contiguous")
    _bytes_of(target, "memcpy_dtoh")[:] = _memory(device, target.nbytes, "memcpy_dtoh")


def memcpy_dtod(target, source, size, stream=None):
    _memory(target, size, "memcpy_dtod")[:] = _memory(source, size, "memcpy_dtod")


memcpy_htod_async, memcpy_dtoh_async, memcpy_dtod_async = memcpy_htod, memcpy_dtoh, memcpy_dtod


def memset_d8(device, value, count):
    _memory(device, count, "memset_d8")[:] = value


def memset_d32(device, value, count):
    _memory(device, 4 * count, "memset_d32").view(numpy.uint32)[:] = value


def to_device(array):
    device = DeviceAllocation(array.nbytes)
    memcpy_htod(device, array)
    return device


def from_device(device, shape, dtype):
    array = numpy.empty(shape, dtype)
    memcpy_dtoh(array, device)
    return array


def from_device_like(device, other):
    return from_device(device, other.shape, other.dtype)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    return numpy.empty(shape, dtype, order)


def pagelocked_zeros(shape, dtype, order="C", mem_flags=0):
    return numpy.zeros(shape, dtype, order)


class Stream:
    """Everything runs at once, in order."""

    handle = 0

    def __init__(self, flags=0):
        pass

    def synchronize(self):
        pass

    def is_done(self):
        return True


class Event:
    def __init__(self, flags=0):
        self._time = None

    def record(self, stream=None):
        import time
        self._time = time.perf_counter()
        return self

    def synchronize(self):
        return self

    def time_till(self, end):
        """Milliseconds."""
        return (end._time - self._time) * 1e3

    def time_since(self, start):
        return start.time_till(self)


class _Context:
    def push(self):
        pass

    def pop(self):
        pass

    def detach(self):
        pass

    def synchronize(self):
        pass


class Device:
    def __init__(self, number=0):
        if number != 0:
            raise Error("device %s: there is one, the CPU" % number)

    @staticmethod
    def count():
        return 1

    def name(self):
        return "CPU"

    def make_context(self, flags=0):
        return _Context()

    retain_primary_context = make_context


def init(flags=0):
    pass
