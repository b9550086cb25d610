#!/usr/bin/env python3
"""Prints the demo's table from the reports that run.sh left in a folder. Standard library only.

    table.py FOLDER [--check]
"""

import json
import pathlib
import sys

MODEL = pathlib.Path(__file__).resolve().parent / "model.onnx"
LEAST_NAIVE_LOSS, MOST_LOSS = 5.0, 1.0  # points of top-1


def main(folder, check):
    def report(name):
        return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))

    rows = [("", "file", "size", "of FP32", "top-1", "loss", "agreement", "SQNR", "latency", "speed")]
    full = MODEL.stat().st_size
    evals = {key: report(f"eval_{key}") for key in ("fp32", "naive", "int8")}
    benches = {key: report(f"bench_{key}") for key in evals}
    losses = {key: evals["fp32"]["top1"] - evals[key]["top1"] for key in evals}
    for key, name, file in (("fp32", "FP32", MODEL), ("naive", "naive INT8", folder / "naive.octet"),
                            ("int8", "Octet INT8", folder / "model.octet")):
        size, time = file.stat().st_size, benches[key]["median_ms"]
        against = ("-", "-", "-")
        if key != "fp32":
            sqnr = evals[key].get("sqnr_db")
            against = (f"{-losses[key]:+.1f}", f"{evals[key]['agreement']:.1f} %", "-" if sqnr is None else f"{sqnr:.1f} dB")
        rows.append((name, file.name, f"{size / 1000:.0f} kB", f"{100 * size / full:.0f} %", f"{evals[key]['top1']:.1f} %",
                     *against, f"{time:.3f} ms", f"{benches['fp32']['median_ms'] / time:.1f}x"))

    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for index, row in enumerate(rows):
        cells = [cell.ljust(width) if column < 2 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
        if index == 0:
            print("  " + "  ".join("-" * width for width in widths))
    print(f"\n  {evals['int8']['images']} images; one image at a time on one thread ({benches['int8'].get('isa', '?')}); "
          "median latency")
    print("  naive: one scale per weight tensor, min-max activations; agreement and SQNR are against FP32")
    layers = report("compare")["layers"][:3]
    worst = ", ".join(f"{layer['name']} {layer['sqnr_db']:.1f} dB" for layer in layers if layer["sqnr_db"] is not None)
    print(f"  worst layers of Octet INT8: {worst}\n  everything else: {folder}/")
    if check and (losses["naive"] < LEAST_NAIVE_LOSS - 1e-6 or losses["int8"] > MOST_LOSS + 1e-6):
        sys.exit(f"demo: naive INT8 must lose at least {LEAST_NAIVE_LOSS} points and Octet INT8 at most {MOST_LOSS}; found "
                 f"{losses['naive']:.1f} and {losses['int8']:.1f}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), "--check" in sys.argv[2:])
