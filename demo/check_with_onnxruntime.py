#!/usr/bin/env python3
"""What ONNX Runtime's quantize_static makes of model.onnx: a second opinion on how hard the network is to quantize.

Needs onnx, onnxruntime and opencv-python-headless.
"""

import contextlib
import io
import pathlib
import sys
import tempfile

import cv2
import numpy as np
import onnxruntime
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

HERE = pathlib.Path(__file__).resolve().parent


def load(path):
    pixels = cv2.imread(str(path))[..., ::-1].astype(np.float32)
    return ((pixels - 127.5) / 127.5).transpose(2, 0, 1)[None]


class Reader(CalibrationDataReader):
    def __init__(self):
        self.files = iter(sorted((HERE / "images/calib").glob("*.jpg")))

    def get_next(self):
        file = next(self.files, None)
        return None if file is None else {"image": load(file)}


def logits(model, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image})[0] for image in images])


def main(model):
    lines = [line.split() for line in (HERE / "images/val/labels.txt").read_text().splitlines()]
    images = [load(HERE / "images/val" / name) for name, _ in lines]
    labels = np.array([int(label) for _, label in lines])
    reference = logits(model, images)
    top1 = 100 * (reference.argmax(1) == labels).mean()
    print(f"{'FP32':45} top-1 {top1:5.1f}")
    with tempfile.TemporaryDirectory() as name:
        prepared, quantized = pathlib.Path(name) / "prepared.onnx", pathlib.Path(name) / "quantized.onnx"
        quant_pre_process(str(model), str(prepared))
        for per_channel in (False, True):
            for method in (CalibrationMethod.MinMax, CalibrationMethod.Percentile):
                with contextlib.redirect_stdout(io.StringIO()):  # its histogram notes
                    quantize_static(str(prepared), str(quantized), Reader(), quant_format=QuantFormat.QDQ,
                                    per_channel=per_channel, activation_type=QuantType.QUInt8,
                                    weight_type=QuantType.QInt8, calibrate_method=method)
                found = logits(quantized, images)
                error = reference - found
                print(f"{'weights per ' + ('channel' if per_channel else 'tensor') + ', activations ' + method.name:45} top-1 "
                      f"{100 * (found.argmax(1) == labels).mean():5.1f}  agreement "
                      f"{100 * (found.argmax(1) == reference.argmax(1)).mean():5.1f}  SQNR "
                      f"{10 * np.log10((reference ** 2).sum() / (error ** 2).sum()):.1f} dB")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "model.onnx")
