#!/usr/bin/env python3
"""What quantization costs each model, in one table: docs/accuracy.md.

    accuracy.py [--models NAME ...] [--ways NAME ...] [--images N] [--calibration N] [--out FILE]

Every way to quantize runs in a process of its own, whose seconds and peak memory are the table's; then ONNX Runtime runs the
float and the quantized model over the same images (evaluate.py does the arithmetic). Results are kept in WORK/results.json, so
that a run may be continued, and rows of earlier runs stay in the table; --again makes them anew. A way that this command or this
Python cannot go says so in its row. Needs what tests/onnxruntime needs; peers take part where they can be imported.
"""

import datetime
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "onnxruntime"))

# Name in the table -> words for `octet quantize`, beside model, data and output.
OCTET = {
    "fast": ["--effort", "fast"],
    "default": [],
    "best": ["--effort", "best"],
    "data-free": None,  # no --data
    "default, weights per tensor": ["--weights-per-tensor"],
}
PEERS = ("onnxruntime minmax", "onnxruntime percentile", "onnxruntime entropy", "nncf")
WAYS = (*OCTET, *PEERS)
DITHERED = "mobilenetv2, dithered"
NAMES = ("squeezenet1.1", "mobilenetv2", DITHERED, "yolox_nano", "ultraface_rfb_320")
COLUMNS = ("top-1", "agreement", "F1", "SQNR of each output, dB", "seconds", "peak MB")


def base_name(name):
    return "mobilenetv2" if name == DITHERED else name


# ---- a peer, in a process of its own: accuracy.py --peer WAY MODEL INPUTS.npy OUT

def quantize_by_peer(way, model, inputs, out):
    import numpy as np
    import onnx
    samples = np.load(inputs)
    name = [i.name for i in onnx.load(model).graph.input if i.name not in
            {c.name for c in onnx.load(model).graph.initializer}][0]
    if way == "nncf":
        import nncf
        source = onnx.load(model)
        if source.opset_import[0].version < 13:
            source = onnx.version_converter.convert_version(source, 13)
        dataset = nncf.Dataset([{name: s[None]} for s in samples])
        onnx.save(nncf.quantize(source, dataset, subset_size=len(samples)), out)
        return
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(samples)

        def get_next(self):
            sample = next(self.rest, None)
            return None if sample is None else {name: sample[None]}

    with tempfile.TemporaryDirectory() as folder:
        source, ready = f"{folder}/source.onnx", f"{folder}/ready.onnx"
        graph = onnx.load(model)
        constants = {c.name for c in graph.graph.initializer}
        inputs = [i for i in graph.graph.input if i.name not in constants]
        del graph.graph.input[:]
        graph.graph.input.extend(inputs)  # weights that are inputs cannot be folded
        if graph.opset_import[0].version < 13:  # scales per channel need it
            graph = onnx.version_converter.convert_version(graph, 13)
        onnx.save(graph, source)
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        method = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}[way.split()[1]]
        quantize_static(ready, out, Reader(), per_channel=True, weight_type=QuantType.QInt8,
                        activation_type=QuantType.QUInt8, calibrate_method=getattr(CalibrationMethod, method))


# ---- measuring

def measured(words, log):
    """Seconds and peak memory of a process; RuntimeError with the last line that it said when it fails."""
    start = time.perf_counter()
    with open(log, "w") as said:
        process = subprocess.Popen([str(w) for w in words], stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        lines = [line for line in pathlib.Path(log).read_text(errors="replace").splitlines() if line.strip()]
        raise RuntimeError(lines[-1][:160] if lines else f"exit status {process.returncode}")
    return {"seconds": time.perf_counter() - start, "peak_mb": usage.ru_maxrss / 1024}


class Models:
    """Float models, their inputs, and the outputs that are compared with."""

    def __init__(self, bench, arguments):
        self.bench, self.arguments = bench, arguments
        self._kept = {}

    def path(self, name):
        if name != DITHERED:
            return self.bench.model(name)
        made = self.bench.work / "mobilenetv2.dithered.onnx"
        if not made.exists():
            script = self.arguments.evaluate.with_name("dither_weights.py")
            subprocess.run([sys.executable, script, self.bench.model("mobilenetv2"), made], check=True)
        return made

    def calibration(self, name):
        """Preprocessed images for peers, as a file."""
        import numpy as np
        made = self.bench.work / f"{base_name(name)}.calib.{self.arguments.calibration}.npy"
        if not made.exists():
            np.save(made, np.concatenate(self.bench.images("calib", self.arguments.calibration, base_name(name))))
        return made

    def reference(self, name):
        """Inputs, classes, output names and the float model's outputs; those of one model are kept."""
        if name not in self._kept:
            import cv2
            from common import MODELS
            e = self.bench.evaluate
            preset, _, labelled = MODELS[base_name(name)]
            folder = self.bench.data / "imagenet/val"
            rows = e.images(folder, folder / "labels.txt", self.arguments.images)
            inputs = [e.PREPROCESS[preset](cv2.imread(str(path))) for path, _ in rows]
            session = e.session(self.path(name), 1)
            self._kept = {name: {"inputs": inputs, "labels": [label for _, label in rows] if labelled else None,
                                 "preset": preset, "names": [o.name for o in session.get_outputs()],
                                 "outputs": e.run(session, inputs)[0]}}
        return self._kept[name]

    def accuracy(self, name, model):
        """Of a quantized model, or of the float model itself (None)."""
        e, r = self.bench.evaluate, self.reference(name)
        outputs = r["outputs"] if model is None else e.run(e.session(model, 1), r["inputs"])[0]
        result = e.compare(outputs, r["outputs"], r["names"], r["preset"]) if model else {}
        if r["labels"]:
            result |= e.top_k(outputs, r["labels"], e.FIRST_CLASS[r["preset"]])
        return e.plain(result)


def quantize(models, name, way, out, log):
    from common import MODELS
    bench, arguments = models.bench, models.arguments
    if way in OCTET:
        words = [bench.octet, "quantize", models.path(name), "--preprocess", MODELS[base_name(name)][1],
                 "--target", "onnxruntime" if arguments.target_onnxruntime else "octet", "-o", out]
        if OCTET[way] is not None:
            words += ["--data", bench.data / "imagenet/calib", "--limit", arguments.calibration, *OCTET[way]]
        return measured(words, log)
    package = way.split()[0]
    if importlib.util.find_spec(package) is None:
        raise RuntimeError(f"{package} is not installed")
    os.environ.setdefault("NNCF_CI", "1")  # no telemetry
    return measured([sys.executable, __file__, "--peer", way, models.path(name), models.calibration(name), out], log)


# ---- the document

def cells(entry):
    if "error" in entry:
        return ["", "", "", f"not run: {entry['error'].replace('|', '/')}", "", ""]
    share = lambda key: f"{entry[key]:.4f}" if key in entry else ""
    noise = ", ".join("exact" if v is None else f"{v:.2f}" for v in entry.get("sqnr_db", {}).values())
    number = lambda key, digits: f"{entry[key]:.{digits}f}" if key in entry else ""
    return [share("top1"), share("agreement"), share("detection_f1"), noise, number("seconds", 1), number("peak_mb", 0)]


def document(results):
    text = ["# Accuracy", "",
            "What quantization costs, made by `make accuracy` (`tests/accuracy`). Every model is run by ONNX Runtime, float and",
            "quantized, over the same photographs. *top-1* is against labels, *agreement* the share of images with the float model's",
            "class, *F1* of its detections (IoU above 0.5), *SQNR* signal to noise of each output against the float model.",
            "*seconds* and *peak MB* are of the process that quantizes; those of Python peers include the interpreter, and their",
            "images are preprocessed before. Seconds compare only within rows that ran on a quiet machine: *load* is the number of",
            "processes that wanted a CPU when a row began. Peers quantize per channel with u8 activations.", ""]
    for name in NAMES:
        if name not in results:
            continue
        text += [f"## {name}", "", "| way | " + " | ".join(COLUMNS) + " | images | load |",
                 "|---" * (len(COLUMNS) + 3) + "|"]
        for way in ("float", *WAYS):
            entry = results[name].get(way)
            if entry is None:
                text.append(f"| {way} | " + " | ".join([""] * 3 + ["not run"] + [""] * 4) + " |")
                continue
            count = f"{entry['calibration']} / {entry['images']}" if "images" in entry else ""
            text.append(f"| {way} | " + " | ".join([*cells(entry), count, f"{entry['load']:.0f}" if "load" in entry else ""]) + " |")
        text.append("")
    text += ["*images*: for calibration / for measuring. Empty rows were not run, or not by this version: `make accuracy` fills them.", "",
             f"Made on {datetime.date.today()} with {platform.machine()}, {os.cpu_count()} CPUs.", ""]
    return "\n".join(text)


def main():
    if sys.argv[1:2] == ["--peer"]:
        return quantize_by_peer(*sys.argv[2:])
    try:
        import common
    except ImportError as error:
        sys.exit(f"accuracy.py: {error}: needs numpy, onnx, onnxruntime and opencv-python-headless")
    parser = common.parser(__doc__)
    parser.set_defaults(models=list(NAMES), work=common.ROOT / "build/accuracy")
    for action in parser._actions:
        if action.dest == "models":
            action.choices = NAMES
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY")
    parser.add_argument("--images", type=int, default=400, help="validation images")
    parser.add_argument("--calibration", type=int, default=100, help="calibration images")
    parser.add_argument("--out", type=pathlib.Path, default=common.ROOT / "docs/accuracy.md")
    parser.add_argument("--again", action="store_true", help="make rows anew that are there")
    parser.add_argument("--target-onnxruntime", action="store_true", help="quantize for ONNX Runtime's own kernels")
    arguments = parser.parse_args()
    if not arguments.evaluate.exists() or not arguments.data.exists():
        sys.exit(f"accuracy.py: needs '{arguments.evaluate}' and '{arguments.data}': name them by OCTET_EVALUATE and OCTET_DATA")
    models = Models(common.Bench(arguments), arguments)
    kept = models.bench.work / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in arguments.models:
        rows = results.setdefault(name, {})
        for way in ("float", *arguments.ways):
            if way in rows and "error" not in rows[way] and not arguments.again:
                continue
            entry = {"calibration": arguments.calibration, "load": os.getloadavg()[0]}
            out = models.bench.work / f"{name.replace(', ', '.')}.{way.replace(', ', '.').replace(' ', '-')}.onnx"
            try:
                if way != "float":
                    entry |= quantize(models, name, way, out, out.with_suffix(".log"))
                entry |= models.accuracy(name, None if way == "float" else out)
                entry["images"] = len(models.reference(name)["inputs"])
            except Exception as error:  # of ONNX Runtime, which has no base for them, or of a peer
                entry = {"error": str(error).splitlines()[0][:160] if str(error) else type(error).__name__}
            rows[way] = entry
            print(f"{name}, {way}:", *cells(entry), flush=True)
            kept.write_text(json.dumps(results, indent=1))
            arguments.out.write_text(document(results))
    failed = sum("error" in e for rows in results.values() for e in rows.values())
    print(f"{arguments.out}: {failed} rows not run" if failed else arguments.out)


if __name__ == "__main__":
    main()
