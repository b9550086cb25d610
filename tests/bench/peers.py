#!/usr/bin/env python3
"""Octet's speed beside its peers', in one interleaved measurement: docs/peers.md.

    peers.py [--models NAME ...] [--rounds N] [--seconds S] [--threads N ...] [--no-avx2] [--fresh] [--out FILE]

Models come from make_models.py and OCTET_DATA; the peers quantize them, Octet quantizes and builds them, all into WORK. A round
visits every engine on every model once (compare.py times them, each visit in a process of its own); an engine's time is the
smallest median of its visits, a ratio the median over the rounds of ours by the best peer's of the same round. Results of
earlier runs on the same machine stay in WORK/*.jsonl, so that a run may be continued; --fresh forgets them. What could not be made says
so and is left out.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OCTET = pathlib.Path(os.environ.get("OCTET", ROOT / "build" / "octet")).resolve()
DATA = pathlib.Path(os.environ.get("OCTET_DATA", ROOT / ".." / "shared" / "data")).resolve()
BENCH = pathlib.Path(os.environ.get("OCTET_BENCH", ROOT / ".." / "shared" / "bench")).resolve()
WORK = pathlib.Path(os.environ.get("OCTET_PEERS_WORK", ROOT / "build" / "peers" / "models")).resolve()

MADE = ("resnet50", "mobilenetv3_large", "efficientnet_b0", "yolov8n_like", "bert_base", "vit_b16")
TRANSFORMERS = ("bert_base", "vit_b16")
GIVEN = {"mobilenetv2": "mobilenetv2", "squeezenet1.1": "squeezenet1.1", "yolox_nano": "yolox_nano", "ultraface": "ultraface_rfb_320"}
NAMES = ("resnet50", "mobilenetv2", "mobilenetv3_large", "efficientnet_b0", "yolov8n_like", "bert_base", "vit_b16", "squeezenet1.1",
         "yolox_nano", "ultraface")


def call(*command, **options):
    """Runs a command; says what failed and returns whether it worked."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        print(f"{' '.join(str(c) for c in command)}: failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return done.returncode == 0


def make(target, *command):
    if not target.exists():
        print(f"making {target.name}", file=sys.stderr, flush=True)
        call(*command)
    return target.exists()


def prepare(name):
    """The float model, the peers' quantized forms of it and our engines, where they are not there yet."""
    python, source = sys.executable, WORK / f"{name}.onnx"
    if name in MADE:
        make(source, python, BENCH / "make_models.py", WORK, name)
    elif (DATA / "models" / f"{GIVEN[name]}.onnx").exists():
        make(source, python, BENCH / "quantize_peer.py", DATA / "models" / f"{GIVEN[name]}.onnx", source, "--engine", "fp32")
    if not source.exists():
        return False
    quantize = [python, BENCH / "quantize_peer.py", source]
    make(WORK / f"{name}.u8.onnx", *quantize, WORK / f"{name}.u8.onnx", "--samples", "4")
    transformer = ["--transformer"] if name in TRANSFORMERS else []
    make(WORK / f"{name}.nncf.xml", *quantize, WORK / f"{name}.nncf.xml", "--engine", "nncf", "--samples", "4", *transformer)
    if transformer:
        make(WORK / f"{name}.matmul-u8.onnx", *quantize, WORK / f"{name}.matmul-u8.onnx", "--ops", "MatMul", "Conv", "--samples", "4")
    make(WORK / f"{name}.q.onnx", OCTET, "quantize", source, "-o", WORK / f"{name}.q.onnx", "--effort", "fast")
    # Engines are made anew: they are what is measured.
    return call(OCTET, "build", WORK / f"{name}.q.onnx", "-o", WORK / f"{name}.octet")


def visits(log):
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def compare(models, log, arguments, environment):
    command = [sys.executable, BENCH / "compare.py", *models, "--rounds", "1", "--seconds", arguments.seconds, "--retries", "0",
               "--threads", *arguments.threads, "--log", log]
    return call(*command, env={**os.environ, **environment})


def measure(names, arguments):
    avx2 = WORK / "avx2"
    avx2.mkdir(exist_ok=True)
    for name in names:  # an engine alone: compare.py finds nothing else beside it
        link = avx2 / f"{name}.octet"
        link.unlink(missing_ok=True)
        link.symlink_to(WORK / f"{name}.octet")
    done = 0
    for number in range(arguments.rounds):
        for name in names:
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            done += compare([WORK / name], WORK / "all.jsonl", arguments, {"OCTET": str(OCTET)})
            if not arguments.no_avx2:
                compare([avx2 / name], WORK / "avx2.jsonl", arguments, {"OCTET": str(OCTET), "OCTET_ISA": "avx2"})
    if done == 0:
        raise SystemExit("nothing could be measured")


def by_engine(log):
    """(model, threads) -> engine -> medians in ms, one for each round."""
    times = collections.defaultdict(lambda: collections.defaultdict(list))
    for v in visits(log):
        times[v["name"], v["threads"]][v["precision"], v["label"]].append(v["median_ms"])
    return times


def is_ours(engine):
    return engine[1].startswith("octet")


def row(times, key):
    """Best peer, its ms, ours, and the median over the rounds of the ratio of both."""
    engines = times[key]
    peers = {e: t for e, t in engines.items() if not is_ours(e)}
    ours = engines.get(("INT8", "octet, own"))
    if not peers or not ours:
        return None
    best = min(peers, key=lambda e: min(peers[e]))
    rounds = min(len(ours), *(len(t) for t in peers.values()))
    ratios = [ours[r] / min(t[r] for t in peers.values()) for r in range(rounds)]
    return f"{best[1]}, {best[0]}", min(peers[best]), min(ours), statistics.median(ratios)


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def table(arguments):
    everything, narrow = by_engine(WORK / "all.jsonl"), by_engine(WORK / "avx2.jsonl")
    probe = json.loads(subprocess.run([str(OCTET), "bench", str(next(WORK.glob("*.octet"))), "--threads", "1", "--duration", "0.1",
                                       "--profile", "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)
    versions = sorted({f"{v['engine']} {v['version']}" for v in visits(WORK / "all.jsonl") if v["version"]})
    rounds = max(len(t) for engines in everything.values() for t in engines.values())
    lines = [
        "# Octet beside its peers", "",
        f"Batch 1, {datetime.date.today()}, {cpu_name()}, {os.cpu_count()} cores, {probe['isa']}; one core's measured INT8 peak is "
        f"{probe['int8_peak_gops']:.0f} GOPS.",
        f"{', '.join(versions)}. Written by `make bench-peers`: `tests/bench/peers.py --rounds {rounds} --seconds {arguments.seconds}`.", "",
        "The best peer is the fastest of all peers' INT8 and FP32 forms of the model. Times are the smallest median of the rounds,",
        "in ms; a ratio is the median over the rounds of ours by the best peer's of the same round. AVX2: ours with `OCTET_ISA=avx2`.", ""]
    head = ["model"]
    for t in arguments.threads:
        head += [f"best peer, {t}T", "ms", "Octet ms", "ratio", "Octet AVX2 ms"]
    lines += ["| " + " | ".join(head) + " |", "|---" + "|---|--:|--:|--:|--:" * len(arguments.threads) + "|"]
    for name in NAMES:
        cells = [name]
        for t in arguments.threads:
            found = row(everything, (name, t))
            if found is None:
                cells += [""] * 5
                continue
            slow = narrow.get((name, t), {}).get(("INT8", "octet, own"))
            cells += [found[0], f"{found[1]:.2f}", f"{found[2]:.2f}", f"**{found[3]:.2f}**", f"{min(slow):.2f}" if slow else ""]
        if any(cells[1:]):
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## All engines", "", "| model | precision | engine | " + " | ".join(f"{t}T ms" for t in arguments.threads) + " |",
              "|---|---|---|" + "--:|" * len(arguments.threads)]
    for name in NAMES:
        engines = list(dict.fromkeys(e for t in arguments.threads for e in everything.get((name, t), {})))
        for engine in engines:
            times = [everything.get((name, t), {}).get(engine) for t in arguments.threads]
            lines.append(f"| {name} | {engine[0]} | {engine[1]} | " + " | ".join(f"{min(t):.2f}" if t else "" for t in times) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="measured time of one visit")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-avx2", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have measured")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "peers.md")
    arguments = parser.parse_args()
    arguments.threads = [t for t in arguments.threads if t <= len(os.sched_getaffinity(0))]
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        for log in ("all.jsonl", "avx2.jsonl"):
            (WORK / log).unlink(missing_ok=True)
    names = [name for name in arguments.models if prepare(name)]
    if arguments.rounds > 0:
        measure(names, arguments)
    text = table(arguments)
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
