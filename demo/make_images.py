#!/usr/bin/env python3
"""Draws the demo's images: ten textured shapes on textured grounds, under changing light, with noise.

    make_images.py            writes images/calib (no labels) and images/val (with labels.txt) beside this script

Needs numpy and opencv-python-headless. The same seed gives the same pixels; JPEG bytes may differ between OpenCV versions.
"""

import pathlib
import shutil

import cv2
import numpy as np

SIZE = 64
CLASSES = ["disc", "ring", "square", "triangle", "star", "cross", "crescent", "hexagon", "heart", "bolt"]
CALIBRATION_IMAGES, VALIDATION_IMAGES = 100, 500
CALIBRATION_SEED, VALIDATION_SEED, TRAINING_SEED = 1, 2, 3


def outline(name):
    """The corners of a shape inside the unit circle."""
    def polar(angles, radii):
        return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)

    def regular(corners):
        return polar(np.arange(corners) * 2 * np.pi / corners, np.ones(corners))

    if name == "square":
        return regular(4)
    if name == "triangle":
        return regular(3)
    if name == "hexagon":
        return regular(6)
    if name == "star":
        return polar(np.arange(10) * np.pi / 5, np.tile([1.0, 0.42], 5))
    if name == "cross":
        a, b = 0.32, 0.95
        return np.array([(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a),
                         (-b, -a), (-a, -a)])
    if name == "heart":
        t = np.linspace(0, 2 * np.pi, 60)
        x = 16 * np.sin(t) ** 3
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x, -y], axis=1) / 17
    if name == "bolt":
        return np.array([(0.1, -1), (-0.6, 0.15), (-0.05, 0.1), (-0.2, 1), (0.6, -0.25), (0.05, -0.15)])
    if name == "crescent":
        outer = np.linspace(0.6, 2 * np.pi - 0.6, 40)
        inner = np.linspace(2 * np.pi - 0.95, 0.95, 40)
        return np.concatenate([polar(outer, np.ones(40)), polar(inner, np.full(40, 0.72)) + (0.4, 0)])
    return regular(48)  # disc, ring


def texture(random):
    """A SIZE x SIZE x 3 field of two colours in one of five patterns."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    angle = random.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    period = random.uniform(4, 14)
    kind = random.integers(5)
    if kind == 0:
        mix = 0.5 + 0.5 * np.sin(along * 2 * np.pi / period)
    elif kind == 1:
        mix = ((along // period + across // period) % 2).astype(np.float32)
    elif kind == 2:
        cells = random.integers(3, 12)
        mix = cv2.resize(random.random((cells, cells), dtype=np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    elif kind == 3:
        mix = (along - along.min()) / np.ptp(along)
    else:
        mix = random.random((SIZE, SIZE), dtype=np.float32)
    first, second = random.uniform(0, 255, (2, 3))
    second = first + (second - first) * random.uniform(0.15, 0.6)
    return first + (second - first) * mix[..., None]


def mask_of(name, random, radius, centre):
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag(random.uniform(0.85, 1.15, 2))
    corners = outline(name) @ stretch @ turn.T * radius + centre
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if name == "ring":
        hole = outline("disc") @ stretch @ turn.T * radius * random.uniform(0.45, 0.65) + centre
        cv2.fillPoly(mask, [np.round(hole * 16).astype(np.int32)], 0, cv2.LINE_AA, 4)
    return mask.astype(np.float32)[..., None] / 255


def render(label, random):
    """One BGR image of class `label`, uint8."""
    ground, figure = texture(random), texture(random)
    apart = np.abs(ground.mean((0, 1)) - figure.mean((0, 1))).max()
    if apart < 30:  # a figure in the colours of its ground cannot be seen
        figure = figure + random.choice([-45, 45])
    image = ground
    for _ in range(random.integers(0, 4)):  # bars and specks that mean nothing
        ends = random.integers(-8, SIZE + 8, (2, 2))
        colour = random.uniform(0, 255, 3)
        cv2.line(image, ends[0].tolist(), ends[1].tolist(), colour.tolist(), int(random.integers(1, 3)), cv2.LINE_AA)
    radius = random.uniform(13, 25)
    centre = SIZE / 2 + random.uniform(-1, 1, 2) * (SIZE / 2 - radius) * 0.8
    mask = mask_of(CLASSES[label], random, radius, centre)
    image = image * (1 - mask) + figure * mask
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE - 0.5
    light = random.uniform(0.55, 1.25) + random.uniform(-0.7, 0.7) * x + random.uniform(-0.7, 0.7) * y
    image = image * light[..., None] + random.normal(0, random.uniform(2, 16), image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if random.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.3))
    return image


def jpeg(image):
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return data


def batch(count, seed):
    """`count` images as JPEG data, and their labels; classes in equal shares, in random order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % len(CLASSES))
    return [jpeg(render(label, random)) for label in labels], labels


def write(folder, count, seed, with_labels):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images, labels = batch(count, seed)
    for index, data in enumerate(images):
        (folder / f"{index:03}.jpg").write_bytes(data.tobytes())
    if with_labels:
        (folder / "labels.txt").write_text("".join(f"{i:03}.jpg {label}\n" for i, label in enumerate(labels)))


if __name__ == "__main__":
    images = pathlib.Path(__file__).resolve().parent / "images"
    write(images / "calib", CALIBRATION_IMAGES, CALIBRATION_SEED, with_labels=False)
    write(images / "val", VALIDATION_IMAGES, VALIDATION_SEED, with_labels=True)
