"""Calibrators to subclass, and a user's calibrator as the library's."""

import numpy

from octet import Error, _octet
from ._types import volume, CalibrationAlgoType


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
