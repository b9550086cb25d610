"""From a PyTorch module to an INT8 engine: export, quantize with batches of a loader, run.

    python pytorch_to_int8.py
"""

import os
import tempfile

import numpy as np
import torch

import octet


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, stride=2, padding=1), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
            torch.nn.Conv2d(32, 64, 3, stride=2, padding=1), torch.nn.BatchNorm2d(64), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        self.head = torch.nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.features(x))


def export(module, example):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(module, (example,), path, input_names=["input"], output_names=["scores"],
                          dynamic_axes={"input": {0: "batch"}, "scores": {0: "batch"}}, dynamo=False)
        with open(path, "rb") as file:
            return octet.Model.load(file.read())


def main():
    torch.manual_seed(0)
    module = Net().eval()
    loader = [torch.randn(8, 3, 64, 64) for _ in range(8)]  # your DataLoader
    model = export(module, loader[0])
    quantized = octet.quantize(model, ({"input": batch} for batch in loader))
    context = octet.Context(octet.build(quantized))

    agree = total = 0
    for batch in loader:
        with torch.no_grad():
            expected = module(batch).numpy()
        scores = context.run({"input": batch.numpy()})["scores"]
        agree += int(np.sum(scores.argmax(1) == expected.argmax(1)))
        total += len(batch)
    print(f"INT8 and PyTorch agree on {agree} of {total}; SQNR {quantized.report['sqnr_db']:.1f} dB")


if __name__ == "__main__":
    main()
