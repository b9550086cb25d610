#!/usr/bin/env python3
"""FP32 outputs of the six models equal ONNX Runtime's within rtol 1e-3, atol 1e-4."""

import cv2
import numpy as np

import common

RTOL, ATOL = 1e-3, 1e-4


def inputs_of(bench):
    """(model, input array): a real image at each shape, several images where the batch is free."""
    for name in common.MODELS:
        images = bench.images("val", 3, name)
        yield name, images[0]
        if name in ("squeezenet1.1", "mobilenetv2"):
            yield name, np.concatenate(images)
    files = sorted((bench.data / "imagenet/val").glob("*.JPEG"))[:3]
    bgr = lambda path, width, height: cv2.resize(cv2.imread(str(path)), (width, height)).astype(np.float32)
    nchw = lambda arrays: np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2))
    yield "resnet8_cifar10", nchw([bgr(f, 32, 32)[..., ::-1] for f in files])
    yield "yunet_dynamic", nchw([bgr(files[0], 320, 224)])
    yield "yunet_dynamic", nchw([bgr(f, 160, 192) for f in files[:2]])


def main():
    bench = common.Bench(common.parser(__doc__).parse_args())
    print(f"{'':6} {'model':20} {'input':18} {'outputs':>8} {'max |error|':>12} {'of tolerance':>13}")
    for name, array in inputs_of(bench):
        path = bench.model(name)
        reference = common.session(path)
        expected = common.outputs_of(reference, {reference.get_inputs()[0].name: array})
        try:
            found = bench.octet_outputs(path, {reference.get_inputs()[0].name: array})
        except RuntimeError as error:
            bench.row(False, f"{name:20} {error}")
            continue
        same = list(found) == list(expected) and all(found[k].shape == e.shape for k, e in expected.items())
        error = max(np.abs(found[k] - e).max() for k, e in expected.items()) if same else np.nan
        used = max((np.abs(found[k] - e) / (ATOL + RTOL * np.abs(e))).max() for k, e in expected.items()) if same else np.nan
        bench.row(bool(used <= 1), f"{name:20} {'x'.join(map(str, array.shape)):18} {len(expected):8} {error:12.2e} {used:12.1%}")
    bench.finish()


if __name__ == "__main__":
    main()
