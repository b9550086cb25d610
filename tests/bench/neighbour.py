#!/usr/bin/env python3
"""Two threads beside a busy neighbour: a process that spins on one of two cores must not hold the other one up.

    neighbour.py [--rounds N] [--seconds S] [--check] MODEL...

Rounds are interleaved: one thread, two threads, two threads beside the neighbour, of each model (engines, or ONNX models, which are
quantized here). Prints medians over the rounds of the medians, and ratios to one thread. --check fails where a ratio is above
0.95 for models of more than 5 ms or 1.15 for faster ones.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

OCTET = os.environ.get("OCTET", str(pathlib.Path(__file__).resolve().parents[2] / "build" / "octet"))


@contextlib.contextmanager
def neighbour(cpu):
    process = subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{cpu}])\nos.setsid()\nwhile True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def time(engine, threads, seconds):
    command = [OCTET, "bench", engine, "--threads", str(threads), "--duration", str(seconds), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)["median_ms"]


def engine_of(model, folder):
    if not model.endswith(".onnx"):
        return model
    quantized, engine = folder / "q.onnx", folder / (pathlib.Path(model).stem + ".octet")
    for command in (("quantize", model, "-o", quantized, "--effort", "fast"), ("build", quantized, "-o", engine)):
        subprocess.run([OCTET, *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(engine)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("needs two CPUs")
    os.sched_setaffinity(0, cpus[:2])
    failed = False
    print("| model | 1 thread ms | 2 threads | ratio | 2 threads beside a neighbour | ratio |\n|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            engine = engine_of(model, pathlib.Path(folder))
            times = {"one": [], "two": [], "beside": []}
            for _ in range(arguments.rounds):
                times["one"].append(time(engine, 1, arguments.seconds))
                times["two"].append(time(engine, 2, arguments.seconds))
                with neighbour(cpus[1]):
                    times["beside"].append(time(engine, 2, arguments.seconds))
            ratio = {k: statistics.median(t / o for t, o in zip(times[k], times["one"])) for k in ("two", "beside")}
            one, two, beside = (statistics.median(times[k]) for k in ("one", "two", "beside"))
            print(f"| {pathlib.Path(model).stem} | {one:.2f} | {two:.2f} | {ratio['two']:.2f} | {beside:.2f} | {ratio['beside']:.2f} |",
                  flush=True)
            failed |= ratio["beside"] > (0.95 if one > 5 else 1.15)
    if failed and arguments.check:
        raise SystemExit("a neighbour slows two threads by more than it may")


if __name__ == "__main__":
    main()
