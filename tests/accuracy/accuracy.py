#!/usr/bin/env python3
"""What quantization costs each model, in one table: docs/accuracy.md.

    accuracy.py [--models NAME ...] [--ways NAME ...] [--images N] [--calibration N] [--out FILE]

Every way of ways.py quantizes in a process of its own, whose seconds and peak memory are the table's. What is made for us is built
and run by our engine, and compared with the float model in our engine; what is made for ONNX Runtime or TensorRT, or by a peer, runs
in ONNX Runtime and is compared with the float model there. evaluate.py does the arithmetic. Transformers (BERT from
make_models.py, and a sentence model where OCTET_SENTENCES names a folder with model.onnx, calib/*.npz and val/*.npz) have rows of
cosines. Results are kept in WORK/results.json: a run may be continued, rows of earlier runs stay; --again makes them anew, --measure-again only runs
the models that they made. A way
that this command or this Python cannot go says so in its row. Needs what tests/onnxruntime needs; peers take part where they can
be imported.
"""

import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "onnxruntime"))

from document import cells, document, transformer_cells  # noqa: E402
from transformers import TRANSFORMER_WAYS, measure_transformer, transformers  # noqa: E402
from ways import WAYS  # noqa: E402

DITHERED = "mobilenetv2, dithered"
NAMES = ("squeezenet1.1", "mobilenetv2", DITHERED, "yolox_nano", "ultraface_rfb_320")


def base_name(name):
    return "mobilenetv2" if name == DITHERED else name


def file_name(text):
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in text)


def machine():
    """The CPU's name and how many there are."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} CPUs"


def divergence(outputs, reference, floor=1 / 512):
    """Mean KL of the classes' probabilities, those below `floor` clipped on both sides: half the step of 8-bit probabilities, whose
    zeros would otherwise be all that counts."""
    import numpy as np
    def clipped(output):
        p = np.maximum(output[0].ravel().astype(np.float64), floor)
        return p / p.sum()
    pairs = [(clipped(r), clipped(o)) for r, o in zip(reference, outputs)]
    return float(np.mean([np.sum(p * np.log(p / q)) for p, q in pairs]))


def measured(words, log):
    """Seconds, CPU seconds and peak memory of a process; RuntimeError with the last line that it said when it fails."""
    done = subprocess.run([sys.executable, "-S", HERE / "measure.py", log, *(str(w) for w in words)], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    if status := found.pop("status"):
        lines = [line for line in pathlib.Path(log).read_text(errors="replace").splitlines() if line.strip()]
        raise RuntimeError(lines[-1][:160] if lines else f"exit status {status}")
    return found


class Models:
    """Float models, their inputs, and the outputs that are compared with."""

    def __init__(self, bench, arguments):
        self.bench, self.arguments = bench, arguments
        self._kept = {}
        self._inputs = {}

    def path(self, name):
        if name != DITHERED:
            return self.bench.model(name)
        made = self.bench.work / "mobilenetv2.dithered.onnx"
        if not made.exists():
            script = self.arguments.evaluate.with_name("dither_weights.py")
            subprocess.run([sys.executable, script, self.bench.model("mobilenetv2"), made], check=True)
        return made

    def preprocess(self, name):
        from common import MODELS
        return MODELS[base_name(name)][1]

    def preset(self, name):
        from common import MODELS
        return MODELS[base_name(name)][0]

    def rows(self):
        folder = self.bench.data / "imagenet/val"
        return self.bench.evaluate.images(folder, folder / "labels.txt", self.arguments.images)

    def calibration(self, name):
        """Preprocessed images for peers, as a file."""
        import numpy as np
        made = self.bench.work / f"{base_name(name)}.calib.{self.arguments.calibration}.npy"
        if not made.exists():
            np.save(made, np.concatenate(self.bench.images("calib", self.arguments.calibration, base_name(name))))
        return made

    def inputs(self, name):
        import cv2
        if base_name(name) not in self._inputs:
            preprocess = self.bench.evaluate.PREPROCESS[self.preset(name)]
            self._inputs = {base_name(name): [preprocess(cv2.imread(str(path))) for path, _ in self.rows()]}
        return self._inputs[base_name(name)]

    def names(self, name):
        import onnx
        return [o.name for o in onnx.load(self.path(name)).graph.output]

    def outputs(self, name, model, runs_in, stem):
        """Of every validation image."""
        e = self.bench.evaluate
        if runs_in == "onnxruntime":
            return e.run(e.session(model, 1), self.inputs(name))[0]
        folder = self.bench.work / "outputs" / stem
        engine = self.bench.work / f"{stem}.octet"
        subprocess.run([self.bench.octet, "build", model, "-o", engine], check=True, capture_output=True)
        # A model that we wrote has its preprocessing in it.
        preprocess = ["--preprocess", self.preprocess(name)] if model == self.path(name) else []
        listed = self.bench.work / "images.txt"
        listed.write_text("\n".join(str(path) for path, _ in self.rows()) + "\n")
        self.bench.run_octet("run", engine, "--data", listed, *preprocess, "--output", folder)
        outputs = e.stored_outputs(folder, self.names(name), [path for path, _ in self.rows()])
        for file in folder.iterdir():
            file.unlink()
        return outputs

    def reference(self, name, runs_in):
        """The float model's outputs; those of one model are kept."""
        if (name, runs_in) not in self._kept:
            self._kept = {key: kept for key, kept in self._kept.items() if key[0] == name}
            self._kept[name, runs_in] = self.outputs(name, self.path(name), runs_in, file_name(f"{name}.float"))
        return self._kept[name, runs_in]

    def accuracy(self, name, model, runs_in, stem):
        """Of a quantized model, or of the float model itself (None)."""
        from common import MODELS
        e, reference, preset = self.bench.evaluate, self.reference(name, runs_in), self.preset(name)
        outputs = self.outputs(name, model, runs_in, stem) if model else reference
        result = e.compare(outputs, reference, self.names(name), preset) if model else {}
        if "kl" in result:
            result["clipped_kl"] = divergence(outputs, reference)
        if MODELS[base_name(name)][2]:
            result |= e.top_k(outputs, [label for _, label in self.rows()], e.FIRST_CLASS[preset])
        return e.plain(result)


def quantize(models, name, way, out, log):
    bench, arguments = models.bench, models.arguments
    if not way.peer:
        words = [bench.octet, "quantize", models.path(name), "--preprocess", models.preprocess(name), "-o", out, *way.words]
        if way.data:
            words += ["--data", bench.data / "imagenet/calib", "--limit", arguments.calibration]
        return measured(words, log)
    package = way.name.split()[0]
    if importlib.util.find_spec(package) is None:
        raise RuntimeError(f"{package} is not installed")
    return measured([sys.executable, HERE / "peers.py", way.name, models.path(name), models.calibration(name), out], log)


def row(models, name, way, old=None):
    """One entry of results.json; `way` None is the float model. With `old` the model that the way made then is measured again."""
    arguments = models.arguments
    entry = {"calibration": arguments.calibration, "machine": machine(), "runs_in": way.runs_in if way else "octet"}
    stem = file_name(f"{name}.{way.name if way else 'float'}")
    out = models.bench.work / f"{stem}.onnx"
    try:
        if old and "error" not in old and (out.exists() or not way):
            entry |= {key: old[key] for key in ("calibration", "machine", "seconds", "cpu_seconds", "peak_mb") if key in old}
        elif way:
            entry |= quantize(models, name, way, out, out.with_suffix(".log"))
        entry |= models.accuracy(name, out if way else None, entry["runs_in"], stem)
        entry["images"] = len(models.rows())
    except Exception as error:  # of ONNX Runtime, which has no base for them, of a peer, or of the command
        entry = {"error": str(error).splitlines()[0][:160] if str(error) else type(error).__name__}
    return entry


def main():
    try:
        import common
    except ImportError as error:
        sys.exit(f"accuracy.py: {error}: needs numpy, onnx, onnxruntime and opencv-python-headless")
    parser = common.parser(__doc__)
    parser.set_defaults(models=[*NAMES, *transformers()], work=common.ROOT / "build/accuracy")
    for action in parser._actions:
        if action.dest == "models":
            action.choices = [*NAMES, *transformers()]
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--images", type=int, default=400, help="validation images")
    parser.add_argument("--calibration", type=int, default=100, help="calibration images")
    parser.add_argument("--out", type=pathlib.Path, default=common.ROOT / "docs/accuracy.md")
    parser.add_argument("--again", action="store_true", help="make rows anew that are there")
    parser.add_argument("--retry", action="store_true", help="make rows anew that failed")
    parser.add_argument("--measure-again", action="store_true", help="measure anew what was quantized before")
    parser.add_argument("--only-write", action="store_true", help="write the document from earlier results")
    arguments = parser.parse_args()
    if not arguments.evaluate.exists() or not arguments.data.exists():
        sys.exit(f"accuracy.py: needs '{arguments.evaluate}' and '{arguments.data}': name them by OCTET_EVALUATE and OCTET_DATA")
    models = Models(common.Bench(arguments), arguments)
    kept = models.bench.work / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in arguments.models if not arguments.only_write else []:
        transformer = name in transformers()
        ways = [w for w in arguments.ways if w in TRANSFORMER_WAYS] if transformer else [None, *arguments.ways]
        for way in ways:
            rows = results.setdefault(name, {})
            old = rows.get(way or "float")
            again = arguments.measure_again and old and not transformer
            if old and not arguments.again and not again and not ("error" in old and arguments.retry):
                continue
            known = {"old": old} if again else {}
            make = measure_transformer if transformer else row
            rows[way or "float"] = make(models, name, WAYS[way] if way else None, **known)
            shown = transformer_cells if transformer else cells
            print(f"{name}, {way or 'float'}:", *shown(rows[way or "float"]), flush=True)
            kept.write_text(json.dumps(results, indent=1))
    arguments.out.write_text(document(results, [*NAMES, *transformers()]))
    failed = sum("error" in e for rows in results.values() for e in rows.values())
    print(f"{arguments.out}: {failed} rows not run" if failed else arguments.out)


if __name__ == "__main__":
    main()
