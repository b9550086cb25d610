"""The ways to quantize that the table of accuracy has, in its order.

Ours are words for `octet quantize`; peers' are names that peers.py knows. A way runs in "octet" (built, and run on our engine) or in
"onnxruntime" (the file as it is)."""

import dataclasses

METHODS = ("minmax", "moving-average", "percentile", "entropy", "mse", "admm", "aciq", "output")


@dataclasses.dataclass(frozen=True)
class Way:
    name: str
    words: tuple = ()
    runs_in: str = "octet"
    data: bool = True  # images are given
    peer: bool = False
    bytes_in: bool = False
    about: str = ""


OURS = (
    Way("fast", ("--effort", "fast")),
    Way("default"),
    Way("best", ("--effort", "best")),
    Way("data-free", data=False),
    Way("input bytes", ("--input-bytes",), bytes_in=True),
    Way("4-bit weights", ("--weights", "int4")),
    Way("brecq", ("--rounding", "brecq")),
    Way("adaround", ("--rounding", "adaround")),
    Way("no refit", ("--skip", "refit")),
    Way("biases alone", ("--skip", "gptq")),
    Way("one scale per activation tensor", ("--activation-scales", "tensor")),
    Way("4-bit weights, brecq", ("--weights", "int4", "--rounding", "brecq")),
    Way("4-bit weights, best", ("--weights", "int4", "--effort", "best")),
    Way("weights per tensor", ("--weights-per-tensor",)),
    Way("weights per tensor, neither equalized nor corrected",
        ("--weights-per-tensor", "--skip", "equalization,absorption,bias-correction,gptq,refit")),
    *(Way(f"fast, {m}", ("--effort", "fast", "--method", m)) for m in METHODS if m != "mse"),
    *(Way(f"target {t}{', ' + e if e != 'default' else ''}", ("--target", t, "--effort", e), "onnxruntime")
      for t in ("tensorrt", "onnxruntime") for e in ("fast", "default", "best")),
    Way("target tensorrt, fast, entropy", ("--target", "tensorrt", "--effort", "fast", "--method", "entropy"), "onnxruntime"),
)

# All with weights in int8 per channel; the activations' type in the name of ONNX Runtime's, of Quark's and AIMET's it is uint8. Left
# out: AdaRound of both and AIMET's sequential MSE, which were far from done after minutes on the smallest model without a GPU, and
# Quark's MSE calibration of uint8 activations, which makes noise of that model (6 dB, Quark 0.13).
PEERS = tuple(Way(name, runs_in="onnxruntime", peer=True) for name in (
    "onnxruntime minmax u8", "onnxruntime minmax s8", "onnxruntime percentile u8", "onnxruntime entropy u8",
    "nncf", "nncf mixed", "nncf accurate bias",
    "quark minmax", "quark percentile, equalized", "quark percentile, equalized, bias", "quark percentile, equalized, adaquant",
    "aimet_onnx minmax", "aimet_onnx minmax, equalized", "aimet_onnx tf-enhanced", "aimet_onnx tf-enhanced, equalized"))

WAYS = {way.name: way for way in (*OURS, *PEERS)}
