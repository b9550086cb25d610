#!/usr/bin/env python3
"""Trains the demo's network on freshly drawn images and writes model.onnx beside this script.

    make_model.py [--epochs N] [--images N] [--keep FILE]   --keep stores the trained weights, and reuses them when there

A small MobileNetV2: stem, inverted residuals with depthwise convolutions, head. BatchNormalization stays a node of its own.
After training, `spread_channels` gives the channels of every expanded block different ranges without changing the function:
see README.md. Needs torch, numpy, onnx and opencv-python-headless.
"""

import argparse
import pathlib
import time

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import make_images

HERE = pathlib.Path(__file__).resolve().parent
SPREAD = 4.0  # the largest channel factor; the smallest is its inverse. README.md says why 4
# expansion, output channels, stride
BLOCKS = [(1, 16, 1), (3, 24, 2), (3, 24, 1), (4, 40, 2), (4, 40, 1), (4, 40, 1), (4, 56, 2), (4, 56, 1)]


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, groups=1, activation=None):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = activation

    def forward(self, x):
        x = self.norm(self.conv(x))
        if self.activation == "relu6":
            return x.clamp(0, 6)
        return x.relu() if self.activation == "relu" else x


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        middle = inputs * expansion
        # Channels may be rescaled across ReLU, which is positively homogeneous, but not across ReLU6.
        activation = "relu" if expansion > 1 else "relu6"
        self.expand = ConvNorm(inputs, middle, 1, activation=activation) if expansion > 1 else None
        self.depthwise = ConvNorm(middle, middle, 3, stride, groups=middle, activation=activation)
        self.project = ConvNorm(middle, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        channels = 16
        self.stem = ConvNorm(3, channels, 3, stride=2, activation="relu6")
        self.blocks = nn.ModuleList()
        for expansion, outputs, stride in BLOCKS:
            self.blocks.append(InvertedResidual(channels, outputs, stride, expansion))
            channels = outputs
        self.head = ConvNorm(channels, 160, 1, activation="relu6")
        self.classifier = nn.Linear(160, len(make_images.CLASSES))

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.head(x).mean((2, 3)))


def tensors(count, seed):
    data, labels = make_images.batch(count, seed)
    pixels = np.stack([cv2.imdecode(one, cv2.IMREAD_COLOR)[..., ::-1] for one in data])
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)


def prepare(pixels):
    return ((pixels.float() - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)


def accuracy(network, pixels, labels):
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(prepare(part)).argmax(1) for part in pixels.split(100)])
    return 100 * (found == labels).float().mean().item()


def train(network, epochs, images):
    pixels, labels = tensors(images, make_images.TRAINING_SEED)
    held_out = tensors(1000, make_images.TRAINING_SEED + 1)
    size = 64
    steps = epochs * (images // size)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.15, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        start, total = time.time(), 0.0
        for index in torch.randperm(images)[: images // size * size].split(size):
            part = pixels[index]
            if torch.rand(()) < 0.5:
                part = part.flip(3)
            if torch.rand(()) < 0.5:
                part = part.transpose(2, 3)
            loss = nn.functional.cross_entropy(network(prepare(part)), labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total * size / images:.3f}, held-out top-1 "
              f"{accuracy(network, *held_out):.1f} %, {time.time() - start:.0f} s", flush=True)


def spread_channels(network, spread, random):
    """Multiplies each channel between expansion and depthwise by s and between depthwise and projection by 1/s, with s spread
    log-uniformly over [1/spread, spread], and divides the weights that read them: the function stays the same."""
    with torch.no_grad():
        for block in network.blocks:
            if block.expand is None:
                continue
            channels = block.expand.norm.num_features
            s = np.exp(np.linspace(-np.log(spread), np.log(spread), channels))
            s = torch.from_numpy(random.permutation(s)).float()
            for norm, factor in ((block.expand.norm, s), (block.depthwise.norm, 1 / s)):
                norm.weight *= factor
                norm.bias *= factor
            block.depthwise.conv.weight /= s[:, None, None, None]
            block.project.conv.weight *= s[None, :, None, None]


class Exporter:
    """Writes the network node by node: names stay readable, and no exporter's version matters."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv_norm(self, module, x, name):
        conv, norm = module.conv, module.norm
        weight = self.constant(f"{name}.weight", conv.weight.detach())
        x = self.node("Conv", [x, weight], f"{name}/conv", kernel_shape=list(conv.kernel_size), strides=list(conv.stride),
                      pads=list(conv.padding) * 2, group=conv.groups)
        values = [("scale", norm.weight), ("shift", norm.bias), ("mean", norm.running_mean), ("variance", norm.running_var)]
        parameters = [self.constant(f"{name}.{key}", value.detach()) for key, value in values]
        x = self.node("BatchNormalization", [x, *parameters], f"{name}/norm", epsilon=norm.eps)
        if module.activation == "relu6":
            return self.node("Clip", [x, "zero", "six"], f"{name}/relu6")
        return self.node("Relu", [x], f"{name}/relu") if module.activation else x

    def model(self, network):
        self.constant("zero", 0.0)
        self.constant("six", 6.0)
        x = self.conv_norm(network.stem, "image", "stem")
        for index, block in enumerate(network.blocks, 1):
            y = x
            if block.expand is not None:
                y = self.conv_norm(block.expand, y, f"block{index}/expand")
            y = self.conv_norm(block.depthwise, y, f"block{index}/depthwise")
            y = self.conv_norm(block.project, y, f"block{index}/project")
            x = self.node("Add", [x, y], f"block{index}/add") if block.residual else y
        x = self.conv_norm(network.head, x, "head")
        x = self.node("GlobalAveragePool", [x], "pool")
        x = self.node("Flatten", [x], "flatten", axis=1)
        weight = self.constant("classifier.weight", network.classifier.weight.detach())
        bias = self.constant("classifier.bias", network.classifier.bias.detach())
        self.node("Gemm", [x, weight, bias], "logits", transB=1)
        size = make_images.SIZE
        graph = helper.make_graph(
            self.nodes, "shapes",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, size, size])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(make_images.CLASSES)])],
            self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="octet-demo")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=16000)
    parser.add_argument("--spread", type=float, default=SPREAD)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=HERE / "model.onnx")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)  # faster on a CPU
    print(f"{sum(p.numel() for p in network.parameters())} parameters")
    if arguments.keep and arguments.keep.exists():
        network.load_state_dict(torch.load(arguments.keep))
    else:
        train(network, arguments.epochs, arguments.images)
        if arguments.keep:
            torch.save(network.state_dict(), arguments.keep)
    network.eval()

    pixels, labels = tensors(make_images.VALIDATION_IMAGES, make_images.VALIDATION_SEED)
    with torch.no_grad():
        before = network(prepare(pixels[:50]))
        spread_channels(network, arguments.spread, np.random.default_rng(0))
        drift = (network(prepare(pixels[:50])) - before).abs().max().item()
    print(f"largest change of a logit by spread_channels: {drift:.1e}")
    print(f"top-1 on images/val: {accuracy(network, pixels, labels):.1f} %")
    onnx.save(Exporter().model(network), arguments.output)


if __name__ == "__main__":
    main()
