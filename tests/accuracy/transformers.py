"""Rows of transformers: cosine of each sample's outputs with the float model's, in our engine."""

import json
import os
import pathlib
import subprocess

TRANSFORMER_WAYS = ("fast", "default", "4-bit weights")
SAMPLES = 32  # of BERT's made-up inputs, to calibrate and to measure


def transformers():
    """Name -> folder of the model, of those that the environment names."""
    found = {}
    if os.environ.get("OCTET_BERT"):  # bert_base.onnx of make_models.py
        found["bert_base (random weights)"] = pathlib.Path(os.environ["OCTET_BERT"]).resolve()
    if os.environ.get("OCTET_SENTENCES"):
        found["sentence model"] = pathlib.Path(os.environ["OCTET_SENTENCES"]).resolve()
    return found


def prepared(models, name):
    """Model, and folders of samples to calibrate with and to measure on."""
    path = transformers()[name]
    if path.is_dir():
        return path / "model.onnx", path / "calib", path / "val"
    import numpy as np
    import onnx
    inputs = onnx.load(path, load_external_data=False).graph.input
    folders = [models.bench.work / f"{path.stem}.{part}" for part in ("calib", "val")]
    for seed, folder in enumerate(folders):
        folder.mkdir(exist_ok=True)
        random = np.random.default_rng(seed)
        for i in range(SAMPLES):
            arrays = {x.name: random.standard_normal([d.dim_value or 1 for d in x.type.tensor_type.shape.dim], np.float32)
                      for x in inputs}
            np.savez(folder / f"{i:03}.npz", **arrays)
    return path, *folders


def measure_transformer(models, name, way):
    from accuracy import file_name, machine, measured
    try:
        import numpy as np
        model, calib, val = prepared(models, name)
        stem = file_name(f"{name}.{way.name}")
        out = models.bench.work / f"{stem}.onnx"
        entry = {"machine": machine(), "runs_in": way.runs_in, "calibration": len(list(calib.iterdir())), "images": len(list(val.iterdir()))}
        entry |= measured([models.bench.octet, "quantize", model, "--data", calib, "-o", out, *way.words], out.with_suffix(".log"))
        found = outputs(models, out, val, stem)
        reference = outputs(models, model, val, file_name(f"{name}.float"))
        cosines, signal, noise = [], 0.0, 0.0
        for r, f in zip(reference, found):
            r, f = r.ravel().astype(np.float64), f.ravel().astype(np.float64)
            cosines.append(float(r @ f / max(np.linalg.norm(r) * np.linalg.norm(f), 1e-30)))
            signal, noise = signal + r @ r, noise + (r - f) @ (r - f)
        return entry | {"cosine": float(np.mean(cosines)), "least_cosine": min(cosines),
                        "sqnr_db": float(10 * np.log10(signal / max(noise, 1e-30)))}
    except Exception as error:  # of the command
        return {"error": str(error).splitlines()[0][:160] if str(error) else type(error).__name__}


def outputs(models, model, data, stem):
    """The first output of each sample."""
    import numpy as np
    folder = models.bench.work / "outputs" / stem
    done = json.loads(subprocess.run([models.bench.octet, "run", model, "--data", data, "--output", folder, "--json"],
                                     capture_output=True, text=True, check=True).stdout)
    first = next(iter(done["outputs"].values()))
    listed = sorted(folder.glob(pathlib.Path(first["file"]).name.split(".")[0] + "*.npy")) if "file" in first else sorted(
        folder.glob("*.npy"))
    arrays = [np.load(f) for f in listed]
    for f in folder.iterdir():
        f.unlink()
    return list(arrays[0]) if len(arrays) == 1 else arrays
