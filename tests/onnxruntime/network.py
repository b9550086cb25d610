#!/usr/bin/env python3
"""Whole quantized networks: our engine and ONNX Runtime on the exported model are equally far from FP32.

SQNR against FP32 within 0.3 dB and agreement with FP32 within 1 point of each other, by evaluate.py (--outputs and
--model). Deep quantized networks are chaotic, so that they cannot be compared element by element; layers.py does that layer
by layer.
"""

import json
import shutil
import subprocess
import sys

import common

MAX_DB, MAX_POINTS = 0.3, 1.0


def evaluate(bench, name, *words):
    preset, _, labelled = common.MODELS[name]
    val = bench.data / "imagenet/val"
    words = [*words, "--preset", preset, "--data", val, "--reference", bench.model(name), "--limit", bench.arguments.limit,
             "--threads", 1]
    if labelled:
        words += ["--labels", val / "labels.txt"]
    done = subprocess.run([sys.executable, bench.arguments.evaluate, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def first_images(bench, name):
    """The images that evaluate.py takes, as a list for `octet run --data`."""
    val = bench.data / "imagenet/val"
    labels = val / "labels.txt" if common.MODELS[name][2] else None
    rows = bench.evaluate.images(val, labels, bench.arguments.limit)
    path = bench.work / f"{name}.txt"
    path.write_text("".join(f"{file}\n" for file, _ in rows))
    return path


def check(bench, name, target):
    label = f"{name} {target}"
    model, folder = bench.quantized(name, target), bench.work / "outputs"
    shutil.rmtree(folder, ignore_errors=True)
    bench.run_octet("run", model, "--data", first_images(bench, name), "--output", folder)
    ours = evaluate(bench, name, "--outputs", folder)
    theirs = evaluate(bench, name, "--model", model)
    for output, db in ours["sqnr_db"].items():
        other = theirs["sqnr_db"][output]
        bench.row(abs(db - other) <= MAX_DB, f"{label:30} {f'SQNR of {output[:24]}, dB':34} {db:9.3f} {other:12.3f} {db - other:+11.3f}")
    for metric, limit in (("agreement", MAX_POINTS), ("top1", None), ("top5", None), ("detection_f1", None)):
        if metric in ours:
            a, b = 100 * ours[metric], 100 * theirs[metric]
            bench.row(None if limit is None else round(abs(a - b), 6) <= limit,
                      f"{label:30} {metric + ', %':34} {a:9.2f} {b:12.2f} {a - b:+11.2f}")


def main():
    arguments = common.parser(__doc__)
    arguments.add_argument("--limit", type=int, default=400, help="use the first N images of imagenet/val")
    arguments.add_argument("--targets", nargs="+", default=["octet"], choices=common.TARGETS)
    bench = common.Bench(arguments.parse_args())
    print(f"{'':6} {'model':30} {'':34} {'ours':>9} {'ONNX Runtime':>12} {'difference':>11}")
    for name in bench.arguments.models:
        for target in bench.arguments.targets:
            try:
                check(bench, name, target)
            except RuntimeError as error:
                bench.row(False, f"{name} {target}: {error}")
    bench.finish()


if __name__ == "__main__":
    main()
