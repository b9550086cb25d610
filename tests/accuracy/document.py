"""Results of accuracy.py as Markdown."""

import collections
import datetime

from ways import OURS, PEERS

COLUMNS = ("runs in", "top-1", "agreement", "KL", "F1", "SQNR of each output, dB", "CPU s / 2", "peak MB")
HEAD = """# Accuracy

What quantization costs, made by `make accuracy` (`tests/accuracy`). The float and the quantized model see the same photographs.
*top-1* is against labels, *agreement* the share of images with the float model's class, *KL* the divergence of the classes'
probabilities in thousandths of a nat, those below 1/512 clipped (8-bit probabilities are 0 there), *F1* of the float model's
detections (IoU above 0.5), *SQNR* signal to noise of each output against the float model. *runs in*: the engine that gave the
outputs; each is compared with the float model in the same engine.
*CPU s / 2* is the CPU time of the process that quantizes, divided by two cores (the seconds that it takes on two idle cores, a
little less where it waits; beside other work on the machine, or on the other half of its core, up to twice as much), *peak MB* its memory; those of
Python peers include the interpreter, and their images are preprocessed before. Peers quantize weights per channel. One standard error of agreement is
0.5 points, of F1 1 to 2 points.
""".splitlines()


def cells(entry):
    if "error" in entry:
        return ["", "", "", "", "", f"not run: {entry['error'].replace('|', '/')}", "", ""]
    number = lambda key, digits, times=1: f"{times * entry[key]:.{digits}f}" if key in entry else ""
    noise = ", ".join("exact" if v is None else f"{v:.1f}" for v in entry.get("sqnr_db", {}).values())
    seconds = f"{entry['cpu_seconds'] / 2:.1f}" if "cpu_seconds" in entry else ""
    return [entry.get("runs_in", ""), number("top1", 2, 100), number("agreement", 2, 100), number("clipped_kl", 2, 1000),
            number("detection_f1", 3), noise, seconds, number("peak_mb", 0)]


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * (len(head) - 2), *rows, ""]


def vision(name, rows):
    text = []
    for way in ("float", *(w.name for w in OURS), *(w.name for w in PEERS)):
        if way in rows:
            text.append(f"| {way} | " + " | ".join(cells(rows[way])) + " |")
    return [f"## {name}", "", *table(("way", *COLUMNS), text)]


def transformer_cells(entry):
    if "error" in entry:
        return ["", "", "", f"not run: {entry['error'].replace('|', '/')}", "", ""]
    return [entry["runs_in"], f"{entry['cosine']:.5f}", f"{entry['least_cosine']:.5f}", f"{entry['sqnr_db']:.1f}",
            f"{entry['cpu_seconds'] / 2:.1f}", f"{entry['peak_mb']:.0f}"]


def transformer(name, rows):
    text = [f"| {way} | " + " | ".join(transformer_cells(entry)) + " |" for way, entry in rows.items()]
    return [f"## {name}", "", *table(("way", "runs in", "cosine", "least", "SQNR, dB", "CPU s / 2", "peak MB"), text)]


def document(results, names):
    text = list(HEAD) + [""]
    for name in names:
        if name in results:
            make = transformer if any("least_cosine" in e for e in results[name].values()) else vision
            text += make(name, results[name])
    counts = {(e["calibration"], e["images"]) for rows in results.values() for e in rows.values() if "images" in e}
    for calibration, images in sorted(counts):
        text.append(f"{calibration} samples to calibrate, {images} to measure.")
    machines = collections.Counter(e["machine"] for rows in results.values() for e in rows.values() if "machine" in e)
    text += [f"{count} rows were made on {name}." for name, count in machines.most_common()]
    text += ["Rows that are missing were not run.", "", f"Written on {datetime.date.today()}.", ""]
    return "\n".join(text)
