#!/usr/bin/env python3
"""Our Q/DQ files beside those of the engines' own tools, in these engines: speed, and signal to noise.

    targets.py [--models NAME ...] [--targets onnxruntime openvino] [--rounds N] [--images N] [--only accuracy|speed] [--again]

`--target onnxruntime` against onnxruntime.quantization.quantize_static (u8 activations, int8 weights per channel), run by ONNX
Runtime; `--target openvino` against nncf.quantize, run by OpenVINO. All start from the same float model with batch 1 and the same
100 images. One process times both files, taking turns of a few runs, and gives the smallest and the median time of a turn; a ratio
is the median over the turns of ours by theirs. On one thread it is the CPU's time that counts, which other work on the
machine disturbs less; on several, which wait for each other, the clock's. Files and SQNR are kept in WORK; --again makes ours anew. Ends with status 1 when ours is
slower by more than 3 % or less exact anywhere.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "onnxruntime"), str(HERE.parent / "accuracy")]

NAMES = ("squeezenet1.1", "mobilenetv2", "ultraface_rfb_320")  # no SiLU and no hard-swish
PEERS = {"onnxruntime": "quantize_static", "openvino": "NNCF"}


# ---- in processes of their own

def quantize_with_nncf(source, inputs, out):
    os.environ.setdefault("NNCF_CI", "1")  # no telemetry
    import nncf
    import numpy as np
    import openvino
    samples = np.load(inputs)
    model = openvino.Core().read_model(source)
    dataset = nncf.Dataset([s[None] for s in samples])
    openvino.save_model(nncf.quantize(model, dataset, subset_size=len(samples)), out, compress_to_fp16=False)


def openvino_model(path, threads):
    import openvino
    return openvino.Core().compile_model(str(path), "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": int(threads),
                                                            "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"})


def runner(engine, path, threads):
    import numpy as np
    random = np.random.default_rng(1)
    if engine == "openvino":
        import openvino
        request = openvino_model(path, threads).create_infer_request()
        shape = list(request.get_input_tensor(0).shape)
        request.set_input_tensor(0, openvino.Tensor(random.standard_normal(shape, dtype=np.float32)))
        return request.infer
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding, value = session.io_binding(), session.get_inputs()[0]
    binding.bind_cpu_input(value.name, random.standard_normal([d if isinstance(d, int) else 1 for d in value.shape], dtype=np.float32))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding)


def take_turns(engine, threads, seconds, *paths):
    """Prints one turn a line: the smallest and the median time in ms of each file."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(threads)])
    runs = [runner(engine, path, threads) for path in paths]
    for run in runs:
        for _ in range(20):
            run()
    clock = time.process_time if int(threads) == 1 else time.perf_counter
    end = time.perf_counter() + float(seconds)
    while time.perf_counter() < end:
        turn = []
        for run in runs:
            times = []
            for _ in range(15):
                start = clock()
                run()
                times.append((clock() - start) * 1e3)
            turn.append((min(times), statistics.median(times)))
        print(json.dumps(turn), flush=True)


# ---- the run

def sqnr(bench, engine, path, inputs, outputs):
    """Of each output against the float model's."""
    if engine == "openvino":
        request = openvino_model(path, 1).create_infer_request()
        found = []
        for x in inputs:
            results = request.infer({0: x})
            found.append([results[i].copy() for i in range(len(outputs[0]))])
    else:
        session = bench.evaluate.session(path, 1)
        found = bench.evaluate.run(session, inputs)[0]
    from common import sqnr_db
    return [float(sqnr_db([r[i] for r in outputs], [f[i] for f in found])) for i in range(len(outputs[0]))]


class Targets:
    def __init__(self, bench, arguments):
        self.bench, self.arguments, self.kept = bench, arguments, bench.work / "sqnr.json"
        self.sqnr = json.loads(self.kept.read_text()) if self.kept.exists() else {}

    def source(self, name):
        made = self.bench.work / f"{name}.onnx"
        if not made.exists():
            script = self.arguments.evaluate.with_name("quantize_peer.py")
            subprocess.run([sys.executable, script, self.bench.model(name), made, "--engine", "fp32"], check=True, stdout=subprocess.DEVNULL)
        return made

    def calibration(self, name):
        import numpy as np
        made = self.bench.work / f"{name}.calib.npy"
        if not made.exists():
            np.save(made, np.concatenate(self.bench.images("calib", 100, name)))
        return made

    def theirs(self, name, target):
        made = self.bench.work / (f"{name}.nncf.xml" if target == "openvino" else f"{name}.u8.onnx")
        if not made.exists():
            print(f"making {made.name}", file=sys.stderr, flush=True)
            words = [__file__, "--nncf"] if target == "openvino" else [HERE.parent / "accuracy/peers.py", "onnxruntime minmax u8"]
            subprocess.run([sys.executable, *words, self.source(name), self.calibration(name), made], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        return made

    def ours(self, name, target):
        from common import MODELS
        made = self.bench.work / f"{name}.{target}.onnx"
        if self.arguments.again or not made.exists():
            self.sqnr.pop(made.name, None)
            self.bench.run_octet("quantize", self.source(name), "--data", self.bench.data / "imagenet/calib", "--preprocess",
                                 MODELS[name][1], "--target", target, "-o", made)
        return made

    def accuracy(self, name, target, paths):
        for path in paths:
            if path.name not in self.sqnr or self.sqnr[path.name]["images"] != self.arguments.images:
                inputs = self.bench.images("val", self.arguments.images, name)
                reference = self.bench.evaluate.run(self.bench.evaluate.session(self.source(name), 1), inputs)[0]
                self.sqnr[path.name] = {"images": len(inputs), "db": sqnr(self.bench, target, path, inputs, reference)}
                self.kept.write_text(json.dumps(self.sqnr, indent=1))
        return [self.sqnr[path.name]["db"] for path in paths]

    def speed(self, target, threads, paths):
        turns = []
        for _ in range(self.arguments.rounds):
            words = [sys.executable, __file__, "--turns", target, str(threads), str(self.arguments.seconds), *map(str, paths)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            turns += [json.loads(line) for line in done.stdout.splitlines()]
        best = lambda i, k: min(t[i][k] for t in turns)
        ratio = lambda k: statistics.median(t[0][k] / t[1][k] for t in turns)
        return {"ours": (best(0, 0), best(0, 1)), "theirs": (best(1, 0), best(1, 1)), "ratio": (ratio(0), ratio(1))}


def main():
    if sys.argv[1:2] == ["--nncf"]:
        return quantize_with_nncf(*sys.argv[2:])
    if sys.argv[1:2] == ["--turns"]:
        return take_turns(*sys.argv[2:])
    try:
        import common
    except ImportError as error:
        sys.exit(f"targets.py: {error}: needs numpy, onnx, onnxruntime, openvino, nncf and opencv-python-headless")
    parser = common.parser(__doc__)
    parser.set_defaults(models=list(NAMES), work=common.ROOT / "build/targets")
    parser.add_argument("--targets", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3, help="processes that time a pair of files")
    parser.add_argument("--seconds", type=float, default=4, help="of each")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=400, help="validation images for SQNR")
    parser.add_argument("--only", choices=("accuracy", "speed"))
    parser.add_argument("--again", action="store_true", help="quantize anew")
    arguments = parser.parse_args()
    targets = Targets(common.Bench(arguments), arguments)
    heads = [f"{t}T ms, ours | theirs | ratio" for t in arguments.threads]
    print("| model | target | beside | SQNR, ours | theirs | " + " | ".join(heads) + " |\n|---" + "|---" * 2 + "|--:" * (2 + 3 * len(heads)) + "|")
    failed = 0
    for name in arguments.models:
        for target in arguments.targets:
            pair = [targets.ours(name, target), targets.theirs(name, target)]
            cells = ["", ""]
            if arguments.only != "speed":
                ours, theirs = targets.accuracy(name, target, pair)
                failed += any(a < b for a, b in zip(ours, theirs))
                cells = [", ".join(f"{v:.1f}" for v in side) for side in (ours, theirs)]
            for t in arguments.threads:
                if arguments.only == "accuracy":
                    cells += [""] * 3
                    continue
                s = targets.speed(target, t, pair)
                failed += s["ratio"][0] > 1.03
                cells += [f"{s['ours'][0]:.2f}, {s['ours'][1]:.2f}", f"{s['theirs'][0]:.2f}, {s['theirs'][1]:.2f}",
                          f"{s['ratio'][0]:.2f}, {s['ratio'][1]:.2f}"]
            print("| " + " | ".join([name, target, PEERS[target], *cells]) + " |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
