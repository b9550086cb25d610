#!/usr/bin/env python3
"""Takes every model through import, quantize, build, run, compare and bench, beside ONNX Runtime, and writes docs/models.md.

A model fails when its FP32 outputs leave ONNX Runtime's by more than rtol 1e-3 or 1e-4 of the largest value, when the Q/DQ
file does not run in ONNX Runtime, when the SQNR of the two engines on it (both against FP32) differs by more than 0.3 dB, when
a step runs in float without a reason, when another instruction set or thread count gives other bytes, or when an embedding's
cosine with FP32 falls below 0.99. ONNX Runtime has several arithmetics for one file (with and without its optimizations, whose
results differ as well): the nearer one counts. Where a network amplifies a last bit, samples differ by decibels between any two
of them: further samples (parts of the photographs, and mirrored) are taken until chance (one standard error) moves the
difference by little (common.is_settled), or there are 6400.
"""

import datetime
import itertools
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import numpy as np
import onnx

import common

RTOL, ATOL, SQNR_TOLERANCE, COSINE = 1e-3, 1e-4, 0.3, 0.99
ISAS = ("reference", "avx2", "avxvnni", "avx512vnni", "avx512vnni-vbmi")  # those that the CPU lacks are left out
GENERATED = ("resnet50", "mobilenetv2", "mobilenetv3_large", "efficientnet_b0", "yolov8n_like", "bert_base", "vit_b16")
SAMPLES = 8  # random inputs to calibrate with, and to judge by at first
IMAGES = 100  # to judge by at first
MOST_SAMPLES = 6400  # of either, to judge by
AT_ONCE = 200  # samples at hand


def add_arguments(p):
    variable = lambda name, default: pathlib.Path(os.environ[name]) if name in os.environ else default
    p.add_argument("--bench", type=pathlib.Path, default=variable("OCTET_BENCH", common.ROOT / "../shared/bench"),
                   help="folder with make_models.py (OCTET_BENCH)")
    p.add_argument("--sentences", type=pathlib.Path, default=variable("OCTET_SENTENCES", None),
                   help="folder with model.onnx, calib/*.npz and val/*.npz of a sentence-embedding model (OCTET_SENTENCES)")
    p.add_argument("--output", type=pathlib.Path, default=common.ROOT / "docs/models.md")
    p.add_argument("--only", nargs="+", help="these models alone; docs are not written")
    p.add_argument("--times", action="store_true", help="time the engines of the last run again, on a quieter machine, and write docs")


def save_samples(folder, samples):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, sample in enumerate(samples):
        np.savez(folder / f"{i:03}.npz", **sample)
    return folder


class Case:
    """A model, the words that name its calibration data (of which 100 samples are used), samples to judge by: dicts of
    arrays, and an iterator over further ones."""

    def __init__(self, name, path, calibration, samples, embeds=False, further=()):
        self.name, self.path, self.calibration, self.samples, self.embeds = name, path, calibration, samples, embeds
        self.further = iter(further)


def named(entry, arrays):
    for array in arrays:
        yield {entry: array}


def image_cases(bench):
    for name in common.MODELS:
        entry = onnx.load(bench.model(name)).graph.input[0].name
        words = ["--data", bench.data / "imagenet/calib", "--preprocess", common.MODELS[name][1]]
        views = named(entry, bench.views("val", name))
        yield Case(name, bench.model(name), words, list(itertools.islice(views, IMAGES)), further=views)


def photograph(path, width, height):
    import cv2
    return np.ascontiguousarray(cv2.resize(cv2.imread(str(path)), (width, height)).transpose(2, 0, 1)[None], np.float32)


def mixed_case(bench):
    """yunet on three sizes in one calibration folder."""
    sizes = ((160, 160), (320, 320), (640, 480))
    files = lambda folder: sorted((bench.data / "imagenet" / folder).glob("*.JPEG"))
    samples = lambda folder, n: [{"input": photograph(f, *sizes[i % 3])} for i, f in enumerate(files(folder)[:n])]
    folder = save_samples(bench.work / "yunet_calib", samples("calib", 30))
    return Case("yunet_dynamic", bench.model("yunet_dynamic"), ["--data", folder], samples("val", 30))


def cifar_case(bench):
    words = ["--data", bench.data / "cifar10/train", "--preprocess", "stretch=32x32 rgb"]
    files = sorted((bench.data / "cifar10/test").glob("*.jpg"))[:IMAGES]
    read = lambda f: photograph(f, 32, 32)[:, ::-1].copy()
    return Case("resnet8_cifar10", bench.model("resnet8_cifar10"), words, [{"input_1": read(f)} for f in files])


def random_samples(inputs):
    """A function that draws one sample for these inputs."""
    random = np.random.default_rng(5)
    shapes = {i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in inputs}
    return lambda: {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def generated_cases(bench, folder):
    made = bench.work / "generated"
    made.mkdir(exist_ok=True)
    for name in GENERATED:
        path = made / f"{name}.onnx"
        if not path.exists():
            subprocess.run([sys.executable, folder / "make_models.py", made, name],
                           check=True, stdout=subprocess.DEVNULL)
        inputs = onnx.load(path, load_external_data=False).graph.input
        draw = random_samples(inputs)
        calib = save_samples(bench.work / f"{name}_calib", [draw() for _ in range(SAMPLES)])
        taken = f"{name}, random" if name in common.MODELS else name
        yield Case(taken, path, ["--data", calib], [draw() for _ in range(SAMPLES)], further=iter(draw, None))


def sentence_case(folder):
    read = lambda f: dict(np.load(f))
    samples = [read(f) for f in sorted((folder / "val").glob("*.npz"))]
    return Case("all-minilm-l6-v2", folder / "model.onnx", ["--data", folder / "calib"], samples, embeds=True)


def outputs(bench, model, samples):
    """Ours: for each sample the arrays by name."""
    folder = bench.work / "samples"
    found = bench.run_octet("run", model, "--data", save_samples(folder, samples), "--output", folder / "out")["outputs"]
    # One array of all samples, or, where they differ in shape, one for each.
    arrays = lambda output: ([np.load(one["file"]) for one in output] if isinstance(output, list) else
                             np.split(np.load(output["file"]), len(samples)))
    columns = {name: arrays(output) for name, output in found.items()}
    return [{name: parts[i] for name, parts in columns.items()} for i in range(len(samples))]


def theirs(model, samples, optimize):
    session = common.session(model, optimize)
    return [common.outputs_of(session, sample) for sample in samples]


def energies(results, minus=None):
    """Of each sample, over its float outputs: the sum of squares."""
    floats = lambda result: {n: a.astype(np.float64) for n, a in result.items() if np.issubdtype(a.dtype, np.floating)}
    return np.array([sum(((a - (m[n] if m else 0)) ** 2).sum() for n, a in floats(r).items())
                     for r, m in zip(results, minus or [None] * len(results))])


def quantized_sqnr(bench, quantized, engine, case, fp32):
    """SQNR of our engine and of the nearer of ONNX Runtime's arithmetics, what chance does to their difference (one standard
    error, dB), and our outputs for the case's samples."""
    samples, eight = case.samples, []
    signal, noises = np.empty(0), np.empty((3, 0))
    while True:
        found = outputs(bench, engine, samples)
        eight = eight or found
        signal = np.append(signal, energies(fp32))
        more = [energies(r, fp32) for r in (found, theirs(quantized, samples, True), theirs(quantized, samples, False))]
        noises = np.append(noises, more, axis=1)
        decibels = 10 * np.log10(signal.sum() / noises.sum(axis=1))
        nearest = 1 + int(np.argmin(np.abs(decibels[1:] - decibels[0])))
        chance = common.chance_db(noises[0], noises[nearest])
        samples = list(itertools.islice(case.further, min(signal.size, AT_ONCE, MOST_SAMPLES - signal.size)))
        if common.is_settled(decibels[0] - decibels[nearest], chance, SQNR_TOLERANCE) or not samples:
            return decibels[0], decibels[nearest], chance, eight
        fp32 = theirs(case.path, samples, True)


def largest_error(expected, found):
    """Of the tolerance, over all outputs; the largest value of an output is that over all samples."""
    worst = 0
    for name in expected[0]:
        if not np.issubdtype(expected[0][name].dtype, np.floating):
            continue
        largest = max(np.abs(e[name]).max(initial=0) for e in expected)
        for e, f in zip(expected, found):
            tolerance = ATOL * max(largest, 1e-30) + RTOL * np.abs(e[name])
            worst = max(worst, float((np.abs(e[name] - f[name]) / tolerance).max(initial=0)))
    return worst


def least_cosine(expected, found, samples):
    """Of the sentences' embeddings: the mean of the words' vectors that the mask keeps."""
    def embedding(vectors, sample):
        mask = sample["attention_mask"][..., None]
        mean = (vectors * mask).sum(1) / mask.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)
    first = lambda result: next(iter(result.values()))
    return min(float((embedding(first(e), s) * embedding(first(f), s)).sum(1).min()) for e, f, s in zip(expected, found, samples))


def forms_that_differ(bench, engine, case):
    """Instruction sets and thread counts whose outputs for one sample are not the bytes of the first."""
    expected, differing = None, []
    for isa in ISAS:
        for threads in (1, 2):
            try:
                found = bench.octet_outputs(engine, case.samples[0], {"OCTET_ISA": isa}, "--threads", threads)
            except RuntimeError as error:
                if "OCTET_ISA" in str(error):
                    continue
                raise
            found = [array.tobytes() for array in found.values()]
            expected = expected or found
            if found != expected:
                differing.append(f"{isa} on {threads}")
    return differing


def median_ms(bench, engine, case):
    shapes = [f"{n}:{'x'.join(map(str, a.shape))}" for n, a in case.samples[0].items()]
    dynamic = bench.run_octet("inspect", engine)["dimensions"]
    words = ["--shapes", ",".join(shapes)] if dynamic else []
    return bench.run_octet("bench", engine, "--threads", "1", "--duration", "1", *words)["median_ms"]


def measure(bench, case):
    """The row of the table, and whether it is as it should be."""
    model = onnx.load(case.path, load_external_data=False)
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    fp32 = theirs(case.path, case.samples, True)
    found = outputs(bench, case.path, case.samples)
    error = min(largest_error(fp32, found), largest_error(theirs(case.path, case.samples, False), found))

    quantized, engine, plain = (bench.work / f"{case.name}.{kind}" for kind in ("int8.onnx", "octet", "fp32.octet"))
    bench.run_octet("quantize", case.path, *case.calibration, "--limit", 100, "-o", quantized)
    onnx.checker.check_model(str(quantized))
    bench.run_octet("build", quantized, "-o", engine)
    bench.run_octet("build", case.path, "-o", plain)
    ours, nearest, chance, eight = quantized_sqnr(bench, quantized, engine, case, fp32)
    report = bench.run_octet("inspect", engine)
    summary = report["summary"]
    silent = [s["name"] for s in report["steps"] if s["precision"].startswith("float") and not s["reason"] and s["kind"] != "layout"]
    exact = engine
    if any("oneDNN" in s["kernel"] for s in report["steps"]):
        exact = bench.work / f"{case.name}.exact.octet"
        bench.run_octet("build", quantized, "--deterministic", "-o", exact)
    bench.run_octet("compare", case.path, quantized, *case.calibration, "--limit", 2)
    wrong = [f"in float without a reason: {name}" for name in silent] + \
        [f"other bytes with {form}" for form in forms_that_differ(bench, exact, case)]
    if case.embeds and (cosine := least_cosine(fp32, eight, case.samples)) < COSINE:
        wrong.append(f"cosine {cosine:.4f}")
    share = summary["int8_macs"] / summary["macs"] if summary["macs"] else 0
    for line in wrong:
        print(f"{case.name}: {line}")
    ok = error <= 1 and abs(ours - nearest) <= SQNR_TOLERANCE and not wrong
    return ok, [case.name, opset, len(model.graph.node), f"{error:.1%}", f"{share:.1%}", f"{ours:.1f}", f"{nearest:.1f}", f"{chance:.2f}"]


def times(bench, case):
    slow, fast = (median_ms(bench, bench.work / f"{case.name}.{kind}", case) for kind in ("fp32.octet", "octet"))
    return [f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}"]


HEADER = ("model", "opset", "nodes", "FP32 error, of tolerance", "MACs in INT8", "SQNR dB", "in ONNX Runtime", "±",
          "FP32 ms", "INT8 ms", "ratio")


def document(rows, failed):
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    lines = [
        "# Models",
        "",
        "Written by `make models`: every model through import, quantize (defaults), build, compare and bench. FP32 error: the largest",
        "difference from ONNX Runtime's FP32 outputs, as a share of rtol 1e-3 + 1e-4 of the largest value. SQNR: of the outputs",
        "against FP32, in our engine and in ONNX Runtime on the same Q/DQ file (the nearer of its two arithmetics, optimized and",
        "plain); ±: one standard error of the difference. Milliseconds: batch 1, one thread, median. The models of `make_models.py`",
        "have random weights and inputs: their SQNR says that the arithmetic is right, not how good a trained network would be.",
        "",
        "Where a network amplifies a last bit, two arithmetics are two draws of its quantization noise. mobilenetv2: our outputs,",
        "ONNX Runtime's optimized and plain ones and those of exact arithmetic (float64) are 32 to 34 dB from each other, about as",
        "far as all of them are from FP32; one value in 100,000 that rounds the other way in the third layer is half of all values",
        "thirty layers later. On 60 photographs they have 31.0, 29.4, 30.2 and 29.6 dB. So samples are taken until the difference",
        "and two standard errors are within 0.3 dB, or one is within 0.1 dB: up to 6400, of 18 views of each photograph (whole,",
        "without margins, mirrored).",
        "",
        f"{cpu}, {datetime.date.today()}.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---" + "|--:" * (len(HEADER) - 1) + "|",
    ]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    if failed:
        lines += ["", f"Not as they should be: {', '.join(failed)}."]
    return "\n".join(lines) + "\n"


def main():
    p = common.parser(__doc__)
    add_arguments(p)
    arguments = p.parse_args()
    bench = common.Bench(arguments)
    cases = [*image_cases(bench), mixed_case(bench), cifar_case(bench), *generated_cases(bench, arguments.bench)]
    if arguments.sentences:
        cases.append(sentence_case(arguments.sentences))
    kept = bench.work / "models.json"
    last = json.loads(kept.read_text()) if arguments.times else {}
    rows, timed, failed = {}, {}, last.pop("failed", [])
    for case in cases:
        if arguments.only and case.name not in arguments.only or arguments.times and case.name not in last:
            continue
        try:
            ok, row = (True, last[case.name]) if arguments.times else measure(bench, case)
            rows[case.name] = row
            timed[case.name] = times(bench, case)
            bench.row(ok, *row, *timed[case.name])
            failed += [] if ok else [case.name]
        except Exception as error:  # one model's failure must not hide the others
            bench.row(False, case.name, type(error).__name__, error)
            failed.append(case.name)
    if not arguments.only:
        kept.write_text(json.dumps({**rows, "failed": failed}))
        arguments.output.write_text(document([row + timed[name] for name, row in rows.items() if name in timed], failed))
    bench.finish()


if __name__ == "__main__":
    main()
