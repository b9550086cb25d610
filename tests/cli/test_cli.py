#!/usr/bin/env python3
"""The command as a user meets it: what works prints what it promises.

    test_cli.py OCTET [unittest's arguments]

Standard library only. Works on the demo's model and images.
"""

import json
import pathlib
import random
import signal
import subprocess
import time
import struct

import case
from case import CALIB, Case, MODEL, PREPROCESS, VAL, call, npy


class Works(Case):

    def test_pipeline(self):
        q, e = self.folder / "q.onnx", self.folder / "q.octet"
        made = self.report(*self.quantize())
        self.assertEqual(made["samples"], 8)
        quality = [layer["sqnr_db"] for layer in made["layers"] if layer.get("sqnr_db") is not None]
        self.assertEqual(quality, sorted(quality))
        self.assertGreater(len(quality), 10)
        self.assertGreater(made["sqnr_db"], 10)
        built = self.report("build", q, "-o", e)
        self.assertGreater(built["int8_macs"], 0.9 * built["macs"])

        # The preprocessing is remembered.
        found = self.report("eval", e, "--data", VAL, "--labels", VAL / "labels.txt", "--reference", MODEL, "--limit", 40)
        self.assertEqual(found["images"], 40)
        for key in ("top1", "top5", "agreement"):
            self.assertTrue(0 <= found[key] <= 100, found)
        self.assertGreater(found["agreement"], 80)
        self.assertGreater(found["cosine"], 0.9)
        self.assertEqual(set(found["outputs"]), {self.report("inspect", MODEL)["outputs"][0]["name"]})
        same = self.report("eval", e, "--data", VAL, "--reference", q, "--limit", 5)
        self.assertIsNone(same["sqnr_db"])
        self.assertEqual(same["agreement"], 100)

        compared = self.report("compare", MODEL, e, "--data", CALIB, "--limit", 4)
        quality = [layer["sqnr_db"] for layer in compared["layers"] if layer["sqnr_db"] is not None]
        self.assertEqual(quality, sorted(quality))
        for layer in compared["layers"]:
            self.assertLessEqual({"name", "sqnr_db", "cosine"}, set(layer))

        timed = self.report("bench", e, "--threads", 2, "--duration", "0.05", "--warmup", "0", "--profile")
        self.assertEqual(timed["threads"], 2)
        self.assertTrue(0 < timed["min_ms"] <= timed["median_ms"] <= timed["p90_ms"] <= timed["p99_ms"])
        self.assertGreater(timed["images_per_second"], 0)
        self.assertGreater(timed["int8_peak_gops"], 0)
        self.assertTrue(any(step["multiply_adds"] for step in timed["steps"]))
        for step in timed["steps"]:
            self.assertEqual(step["multiply_adds"] > 0, step["kind"] in ("conv", "gemm"), step)
            self.assertEqual("of_int8_peak" in step, step["multiply_adds"] > 0, step)
        self.assertEqual(self.report("inspect", e)["metadata"]["octet.preprocess"], self.report("inspect", q)["metadata"]
                         ["octet.preprocess"])
        for file in (MODEL, q, e):
            self.works("inspect", file)
        self.fails("quantize", q, "--data", CALIB, "-o", self.folder / "qq.onnx", says="already quantized")
        self.fails("build", e, "-o", self.folder / "ee.octet")
        self.fails("calibrate", e, "--data", CALIB, "-o", self.folder / "t")

    def test_same_bytes(self):
        """Instruction sets and threads do not change a result; two builds are the same file."""
        q, e = self.folder / "q.onnx", self.folder / "q.octet"
        self.works(*self.quantize("--effort", "fast"))
        self.works("build", q, "-o", e)
        hashes = set()
        for isa in ("reference", "avx2", "avxvnni", "avx512vnni", ""):
            for threads in (1, 2):
                words = ("run", e, "--data", VAL, "--limit", 4, "--threads", threads, "--output", self.folder / "out",
                         "--json")
                done = call(*words, environment={"OCTET_ISA": isa} if isa else None)
                if done.returncode == 1 and isa and "OCTET_ISA" in done.stderr:
                    continue  # not on this CPU
                self.assertEqual(done.returncode, 0, done.stderr)
                hashes.add(json.loads(done.stdout)["hash"])
        self.assertEqual(len(hashes), 1, hashes)
        self.works("build", q, "-o", self.folder / "again.octet")
        self.assertEqual(e.read_bytes(), (self.folder / "again.octet").read_bytes())
        self.works(*self.quantize("--effort", "fast", "--threads", 2, out="again.onnx"))
        self.assertEqual(q.read_bytes(), (self.folder / "again.onnx").read_bytes())

    def test_fast_matches_means(self):
        """--effort fast with data compares both networks; the formula, which is left without data, knows a layer's weights alone."""
        q, table = self.folder / "q.onnx", self.folder / "t.json"
        coarse = ("--effort", "fast", "--activation-scales", "tensor", "--weights-per-tensor", "--skip")

        def decibels():
            return self.report("compare", MODEL, q, "--data", VAL)["outputs"]["logits"]["sqnr_db"]

        self.works(*self.quantize(*coarse, "equalization", "--save-table", table, limit=60))
        matched = decibels()
        self.works("quantize", MODEL, "--table", table, *coarse, "equalization", "-o", q)
        self.assertGreater(matched, decibels() + 0.5)
        self.works(*self.quantize(*coarse, "equalization,bias-correction", limit=60))
        self.assertGreater(matched, decibels() + 1)
        for threads in (1, 3):
            self.works(*self.quantize(*coarse, "equalization", "--threads", threads, out=f"{threads}.onnx", limit=60))
        self.assertEqual((self.folder / "1.onnx").read_bytes(), (self.folder / "3.onnx").read_bytes())

    def test_tuning(self):
        """Tactics come from the file, never change a result, and make the same engine again."""
        q, plain, e, t = (self.folder / name for name in ("q.onnx", "plain.octet", "e.octet", "tuning.json"))
        self.works(*self.quantize("--effort", "fast"))
        self.works("build", q, "-o", plain)
        self.works("build", q, "-o", e, "--tuning", t)
        engine, text = e.read_bytes(), t.read_bytes()
        known = json.loads(text)
        self.assertTrue(known["tactics"])
        self.assertIn(" 0 steps", self.works("build", q, "-o", e, "--tuning", t).stderr)
        self.assertEqual((e.read_bytes(), t.read_bytes()), (engine, text))

        def output(engine):
            return self.report("run", engine, "--data", VAL, "--limit", 4, "--threads", 2, "--output",
                               self.folder / "out")["hash"]

        for tactic in range(4):
            t.write_text(json.dumps({**known, "tactics": dict.fromkeys(known["tactics"], tactic)}))
            self.works("build", q, "-o", e, "--tuning", t)
            self.assertEqual(e.read_bytes() == plain.read_bytes(), tactic == 0)
            self.assertEqual(output(e), output(plain))
        build = ("build", q, "-o", self.folder / "other.octet", "--tuning", t)
        # Float is reported, and used only where it is allowed.
        self.assertTrue(known["float_percent"])
        half = {**known, "tactics": dict.fromkeys(known["tactics"], 0),
                "float_percent": dict.fromkeys(known["float_percent"], 50)}
        t.write_text(json.dumps(half))
        self.assertIn("--allow-float", self.works("build", q, "-o", e, "--tuning", t).stderr)
        self.assertEqual(e.read_bytes(), plain.read_bytes())
        self.assertIn("computed in float", self.works("build", q, "-o", e, "--tuning", t, "--allow-float").stderr)
        self.assertGreater(self.report("inspect", e)["summary"]["float_steps"], 0)
        self.fails(*build[:4], "--allow-float", status=2, says="--tuning")
        t.write_text(json.dumps({**half, "float_percent": {"a": 1001}}))
        self.fails(*build, says="float_percent")
        t.write_text(json.dumps({**known, "tactics": dict.fromkeys(known["tactics"], 5)}))
        self.fails(*build, says="expected 0 to 3")
        t.write_text(json.dumps({**known, "cpu": "another"}))
        self.fails(*build, says="--retime")
        self.works(*build, "--retime")
        self.assertEqual(json.loads(t.read_text())["cpu"], known["cpu"])
        for bad in ("", "[]", '{"format": "octet tuning"}', json.dumps({**known, "tactics": {"a": "b"}})):
            t.write_text(bad)
            self.fails(*build, says="no tuning file")

    def test_options_that_contradict_each_other(self):
        out = ("-o", self.folder / "o.onnx")
        for words in (("--percentile", "99"), ("--percentile", "99", "--method", "mse"), ("--limit", "4"), ("--skip-bad-images",),
                      ("--weights", "int4", "--weights-per-tensor"), ("--activations", "float", "--quantize-outputs"),
                      ("--activations", "float", "--activation-scales", "channel"), ("--weights", "int4", "--effort", "fast"),
                      ("--input-bytes", "--target", "tensorrt"), ("--rounding", "adaround", "--effort", "fast"),
                      ("--rounding", "gptq", "--skip", "gptq"), ("--rounding", "brecq", "--effort", "fast")):
            self.fails("quantize", MODEL, "--preprocess", PREPROCESS, *words, *out, status=2)
        self.fails("calibrate", MODEL, "--data", CALIB, "--preprocess", PREPROCESS, "--percentile", "99", *out, status=2)
        done = self.works(*self.quantize(limit=3))
        self.assertIn("3 samples: gptq, refit and scales per channel need 10", done.stderr)

    def test_constant_data(self):
        data = self.folder / "zeros.npy"
        for value in (0.0, 0.5, float("nan")):
            shape = (12, 3, 64, 64)
            header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
            header += " " * (-(len(header) + 11) % 64) + "\n"
            data.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                             struct.pack("<f", value) * (12 * 3 * 64 * 64))
            for effort in ("fast", "default"):
                self.fails("quantize", MODEL, "--data", data, "--effort", effort, "-o", self.folder / "q.onnx",
                           says="the calibration data are constant")

    def test_corrections(self):
        """Stages can be left out; threads do not change what they do; without data there is a stand-in."""
        q, again = self.folder / "q.onnx", self.folder / "again.onnx"
        report = json.loads(self.works(*self.quantize("--json")).stdout)["corrections"]
        self.assertGreater(report["stages"]["bias-correction"]["layers"], 0)
        self.assertTrue(all(l["after_db"] >= l["before_db"] for l in report["layers"]))
        self.works(*self.quantize("--threads", 3, out="again.onnx"))
        self.assertEqual(q.read_bytes(), again.read_bytes())
        report = json.loads(self.works(*self.quantize("--json", "--skip", "gptq,bias-correction")).stdout)
        self.assertEqual((report["corrections"], report["corrected_biases"]), ({}, 0))
        made = self.works("quantize", MODEL, "-o", q, "--json", "--preprocess", PREPROCESS)
        self.assertIn("synthetic", made.stderr)
        self.assertTrue(json.loads(made.stdout)["synthetic"])
        self.assertIn("guessed", self.works("quantize", MODEL, "-o", q).stderr)

    def test_effort_best(self):
        """The search ends with the best recipe of those that it tried, whatever the number of threads."""
        words = ("--effort", "best", "--json")
        found = json.loads(self.works(*self.quantize(*words, limit=30)).stdout)["corrections"]
        tried = [t["sqnr_db"] for t in found["tried"]]
        self.assertGreater(len(tried), 3)
        self.assertEqual(tried, sorted(tried, reverse=True))
        self.assertEqual(len({t["recipe"] for t in found["tried"]}), len(tried))
        self.assertEqual([t["taken"] for t in found["tried"]].count(True), 1)
        q, again = self.folder / "q.onnx", self.folder / "again.onnx"
        self.works(*self.quantize(*words, "--threads", 3, limit=30, out="again.onnx"))
        self.assertEqual(q.read_bytes(), again.read_bytes())

    def test_default_tries_others(self):
        """Where there is time: in a small network with enough samples, unless the user chose."""
        report = self.report(*self.quantize(limit=40))
        tried = report["corrections"]["tried"]
        self.assertEqual({"default", "output ranges, scales per channel"} - {t["recipe"] for t in tried}, set())
        taken = [t for t in tried if t["taken"]]
        self.assertEqual(len(taken), 1)
        by_default = next(t for t in tried if t["recipe"] == "default")
        if taken[0] is not by_default:
            self.assertGreater(taken[0]["sqnr_db"], by_default["sqnr_db"] + 0.5)
            self.assertEqual(report["method"], taken[0]["recipe"].split()[0])
        q, again = self.folder / "q.onnx", self.folder / "again.onnx"
        self.works(*self.quantize("--threads", 3, limit=40, out="again.onnx"))
        self.assertEqual(q.read_bytes(), again.read_bytes())
        of_bytes = self.report(*self.quantize("--input-bytes", limit=40, out="again.onnx"))
        self.assertEqual(of_bytes["corrections"]["tried"], tried)
        for words in (("--method", "mse"), ("--activation-scales", "tensor"), ("--skip", "refit"), ("--effort", "fast"),
                      ("--rounding", "gptq"), ("--weights-per-tensor",)):
            self.assertNotIn("tried", self.report(*self.quantize(*words, limit=40))["corrections"], words)
        self.assertNotIn("tried", self.report(*self.quantize(limit=39))["corrections"])

    def test_rounding(self):
        made = {}
        for rounding in ("gptq", "adaround"):
            stages = json.loads(self.works(*self.quantize("--rounding", rounding, "--json", limit=20)).stdout)["corrections"]["stages"]
            self.assertEqual(stages["adaround"]["layers"] > 0, rounding == "adaround")
            self.assertEqual(stages["gptq"]["layers"] + stages["refit"]["layers"] > 0, rounding == "gptq")
            made[rounding] = (self.folder / "q.onnx").read_bytes()
        self.assertNotEqual(made["gptq"], made["adaround"])
        report = json.loads(self.works(*self.quantize("--rounding", "brecq", "--json", limit=20)).stdout)["corrections"]
        self.assertGreater(len(report["blocks"]["blocks"]), 0)
        self.assertEqual((self.folder / "q.onnx").read_bytes() == made["gptq"], not any(b["kept"] for b in report["blocks"]["blocks"]))
        self.assertIn("blocks are not learned", self.works(*self.quantize("--rounding", "brecq", limit=12)).stdout)

    def test_spills_within_the_memory_limit(self):
        free = self.report(*self.quantize(limit=100))
        self.assertEqual(free["corrections"]["spilled_bytes"], 0)
        unlimited = (self.folder / "q.onnx").read_bytes()
        tight = self.report(*self.quantize("--threads", 1, "--memory-limit", "20M", limit=100))
        self.assertGreater(tight["corrections"]["spilled_bytes"], 10 << 20)
        self.assertEqual((self.folder / "q.onnx").read_bytes(), unlimited)

    def test_run(self):
        array = self.folder / "x.npy"
        array.write_bytes(npy((1, 3, 64, 64)))
        name = self.report("inspect", MODEL)["inputs"][0]["name"]
        hashes = {self.report("run", MODEL, "--input", f"{name}={array}", "--threads", threads, "--output",
                              self.folder / "out")["hash"] for threads in (1, 2)}
        hashes.add(self.report("run", MODEL, "--input", array, "--output", self.folder / "out")["hash"])
        self.assertEqual(len(hashes), 1)
        found = self.report("run", MODEL, "--data", CALIB, "--preprocess", PREPROCESS, "--limit", 3, "--output",
                            self.folder / "all")
        self.assertEqual(found["samples"], 3)
        for output in found["outputs"].values():
            self.assertEqual(output["shape"][0], 3)
            self.assertTrue(pathlib.Path(output["file"]).is_file())
        self.assertEqual((self.folder / "all/index.txt").read_text(), "000.jpg\n001.jpg\n002.jpg\n")

    def test_run_with_outputs_of_several_shapes(self):
        data = self.folder / "data"
        data.mkdir()
        for i, batch in enumerate((1, 3, 2)):
            (data / f"{i}.npy").write_bytes(npy((batch, 3, 64, 64)))
        out = self.folder / "mixed"
        found = self.report("run", MODEL, "--data", data, "--output", out)
        self.assertEqual(found["samples"], 3)
        for files in found["outputs"].values():
            self.assertEqual([f["shape"][0] for f in files], [1, 3, 2])
            for file in files:
                self.assertTrue(pathlib.Path(file["file"]).is_file())
        self.assertEqual((out / "index.txt").read_text(), "0.npy\n1.npy\n2.npy\n")

    def test_targets_with_one_scale_per_tensor(self):
        q = self.folder / "q.onnx"
        made = {}
        for target in ("tensorrt", "onnxruntime", "openvino", "octet"):
            report = made[target] = self.report(*self.quantize("--target", target, limit=12))
            for name in ("smoothed", "centered"):
                self.assertTrue(target != "octet" or report[name] == [], (target, name))
            kept = report["float_tensors"]["tensors"]
            self.assertLessEqual(len(kept), 5)
            in_float = {n["name"] for n in report["float_nodes"]}
            for tensor in kept:
                self.assertGreaterEqual(tensor["gain_db"], 0.5 if target == "tensorrt" else 3)
                self.assertLessEqual(set(tensor["layers"]), in_float)
            self.assertLessEqual(sum(t["macs"] for t in kept), 0.2)
        self.assertEqual(made["octet"]["float_tensors"]["tensors"], [])
        for target in ("onnxruntime", "openvino"):  # zero-points do that
            self.assertEqual(made[target]["centered"], [])
        # They differ only in the form of biases and at residual adds.
        self.assertEqual(made["openvino"]["smoothed"], made["onnxruntime"]["smoothed"])
        self.assertGreater(len(made["tensorrt"]["centered"]), 0)
        for tensor in made["tensorrt"]["centered"]:
            self.assertGreaterEqual(tensor["gain_db"], 3)
        plain = self.report(*self.quantize("--target", "tensorrt", "--skip", "smoothing,centering,float-tensors", limit=12))
        self.assertEqual((plain["smoothed"], plain["centered"], plain["float_tensors"]["tensors"]), ([], [], []))
        self.assertGreater(made["tensorrt"]["sqnr_db"], plain["sqnr_db"])
        # The table that is kept is of the model as it is, and serves again.
        table = self.folder / "t.json"
        self.works(*self.quantize("--target", "tensorrt", "--save-table", table))
        self.works("quantize", MODEL, "--table", table, "--target", "tensorrt", "-o", q)

    def test_quantize_dynamic(self):
        q = self.folder / "q.onnx"
        found = self.report("quantize", MODEL, "--dynamic", "-o", q)
        self.assertGreater(found["quantized_nodes"], 0)
        self.works("build", q, "-o", self.folder / "q.octet")
        compared = self.report("compare", MODEL, q, "--data", CALIB, "--preprocess", PREPROCESS, "--limit", 8)
        self.assertGreater(compared["outputs"]["logits"]["sqnr_db"], 40)
        self.fails("quantize", MODEL, "--dynamic", "--data", CALIB, "-o", q, status=2)

    def test_table(self):
        table, out = self.folder / "t.json", self.folder / "q.onnx"
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--limit", 8)
        made = self.report("calibrate", MODEL, *data, "-o", table)
        self.assertEqual(made["samples"], 8)
        shown = self.report("inspect", table)
        self.assertEqual(len(shown["tensors"]), made["tensors"])
        self.works("inspect", table)
        self.works("quantize", MODEL, "--table", table, "-o", out)  # biases by what the table knows of channels
        self.works("quantize", MODEL, "--table", table, *data, "-o", out)
        self.works(*self.quantize("--save-table", self.folder / "t2.json", out="q2.onnx"))
        self.assertEqual(out.read_bytes(), (self.folder / "q2.onnx").read_bytes())
        self.works("quantize", MODEL, "--table", table, "-o", out, "--data", CALIB)
        # Every method's choice is in the table: as if it had been calibrated that way.
        tensors = json.loads(table.read_text())["tensors"]
        for method in ("entropy", "percentile", "admm", "aciq", "output"):
            self.works("quantize", MODEL, "--table", table, "--method", method, "-o", out)
            other = self.folder / "other.json"
            self.works("calibrate", MODEL, *data, "--method", method, "-o", other)
            for name, tensor in json.loads(other.read_text())["tensors"].items():
                self.assertEqual([tensor["low"], tensor["high"]], tensors[name]["methods"][method][:2], (method, name))
            self.works("quantize", MODEL, "--table", other, "-o", self.folder / "o.onnx")
            self.assertEqual(out.read_bytes(), (self.folder / "o.onnx").read_bytes(), method)
        self.assertLessEqual(max(t["methods"]["mse"][2] - t["methods"]["minmax"][2] for t in tensors.values()), 0)
        self.fails("quantize", MODEL, "--table", table, "--method", "percentile", "--percentile", "99", "-o", out, status=2)
        (self.folder / "o.onnx").unlink()
        other = self.folder / "other.onnx"
        other.write_bytes(MODEL.read_bytes() + b"\x12\x05other")  # another producer name
        self.fails("quantize", other, "--table", table, "-o", self.folder / "o.onnx", says="calibrate")
        table.write_text(table.read_text()[:-20])
        self.fails("quantize", MODEL, "--table", table, "-o", self.folder / "o.onnx", says="t.json")

    def test_tables_do_not_depend_on_threads_or_order(self):
        images = sorted(CALIB.iterdir())[:12]
        texts, tensors = [], []
        for order, threads in ((images, 1), (images, 2), (images, 5), (images[::-1], 3)):
            listed = self.folder / "list.txt"
            listed.write_text("".join(f"{image}\n" for image in order))
            table = self.folder / "t.json"
            self.works("calibrate", MODEL, "--data", listed, "--preprocess", PREPROCESS, "--threads", threads, "-o", table)
            texts.append(table.read_bytes())
            tensors.append(json.loads(texts[-1])["tensors"])
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])
        for reverse, forward in zip(tensors[3].values(), tensors[0].values()):
            for tensor in (reverse, forward):
                self.assertNotIn("moving-average", tensor["methods"])  # which is defined by order
            self.assertEqual(reverse, forward)

    def test_parts_make_the_table_of_one_run(self):
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--limit", 11)
        whole, merged = self.folder / "whole.json", self.folder / "merged.json"
        for method in ("mse", "moving-average"):
            self.works("calibrate", MODEL, *data, "--method", method, "-o", whole)
            for count in (1, 3, 11):
                parts = [self.folder / f"{count}.{i}" for i in range(1, count + 1)]
                for i, part in enumerate(parts):
                    made = self.report("calibrate", MODEL, *data, "--method", method, "--shard", f"{i + 1}/{count}", "-o", part)
                    self.assertEqual(made["total"], 11)
                random.shuffle(parts)
                made = self.report("calibrate", "--merge", *parts, "-o", merged)
                self.assertEqual((made["samples"], made["method"]), (11, method))
                self.assertEqual(merged.read_bytes(), whole.read_bytes(), (method, count))
        # Everything is in the parts: another method needs no other run.
        self.works("calibrate", MODEL, *data, "--method", "percentile", "--percentile", 99, "-o", whole)
        self.works("calibrate", "--merge", *parts, "--method", "percentile", "--percentile", 99, "-o", merged)
        self.assertEqual(merged.read_bytes(), whole.read_bytes())
        self.works("quantize", MODEL, "--table", merged, "-o", self.folder / "q.onnx")
        # Parts that do not belong together, or are not all.
        out = self.folder / "none"
        self.fails("calibrate", "--merge", *parts[1:], "-o", out, says="missing")
        self.fails("calibrate", "--merge", *parts, parts[0], "-o", out, says="each part once")
        other = self.folder / "other"
        self.works("calibrate", MODEL, *data[:-1], 12, "--shard", "1/3", "-o", other)
        self.fails("calibrate", "--merge", parts[0], other, "-o", out, says="other data")
        self.works("calibrate", MODEL, "--data", CALIB, "--preprocess", PREPROCESS.replace("rgb", "bgr"), "--limit", 11,
                   "--shard", "1/3", "-o", other)
        self.fails("calibrate", "--merge", parts[0], other, "-o", out, says="preprocessing")
        model = self.folder / "other.onnx"
        model.write_bytes(MODEL.read_bytes() + b"\x12\x05other")
        self.works("calibrate", model, *data, "--shard", "1/3", "-o", other)
        self.fails("calibrate", "--merge", parts[0], other, "-o", out, says="another model")
        self.fails("calibrate", "--merge", whole, "-o", out, says="no part")
        self.fails("quantize", MODEL, "--table", parts[0], "-o", out, says="--merge")
        damaged = bytearray(parts[0].read_bytes())
        damaged[len(damaged) // 2] ^= 4
        other.write_bytes(damaged)
        self.fails("calibrate", "--merge", other, "-o", out, says="damaged")
        for words in (("--shard", "0/3"), ("--shard", "4/3"), ("--shard", "1"), ("--shard", "1/12"), ("--merge", parts[0]),
                      ("--shard", "1/2", "--format", "tensorrt")):
            self.fails("calibrate", MODEL, *data, *words, "-o", out, status=2)
        self.fails("calibrate", "--merge", parts[0], "--resume", "-o", out, status=2)

    def test_interrupted_calibration_resumes(self):
        data = ("--data", CALIB, "--preprocess", PREPROCESS, "--threads", 1)
        whole, table = self.folder / "whole.json", self.folder / "t.json"
        state = self.folder / "t.json.part"
        self.works("calibrate", MODEL, *data, "-o", whole)
        kept = 0
        for attempt in range(72):  # when it observes, and can be interrupted, depends on the machine
            process = subprocess.Popen([case.OCTET, *map(str, ("calibrate", MODEL, *data, "--resume", "-o", table))],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(0.02 * 1.25 ** (attempt % 24))
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
            if process.returncode == 0:  # it was faster
                table.unlink()
                continue
            self.assertEqual(process.returncode, -signal.SIGINT)
            self.assertLessEqual(set(self.files()), {"whole.json", "t.json.part"})
            if "interrupted: " not in said:  # outside of the observation
                continue
            kept += 1
            self.assertTrue(state.exists())
            self.fails("calibrate", MODEL, *data, "--limit", 3, "--resume", "-o", table)
            if kept == 3:  # each went on where the one before had stopped
                break
        self.assertGreater(kept, 0)
        self.works("calibrate", MODEL, *data, "--resume", "-o", table)
        self.assertEqual(table.read_bytes(), whole.read_bytes())
        self.assertFalse(state.exists())
        # Damaged states are no states, and nothing else is deleted.
        state.write_bytes(b"mine")
        self.fails("calibrate", MODEL, *data, "--limit", 3, "--resume", "-o", table, says="no part")
        self.works("calibrate", MODEL, *data, "--limit", 3, "-o", table)
        self.assertEqual(state.read_bytes(), b"mine")

    def test_choices(self):
        for words in (("--target", "tensorrt"), ("--target", "onnxruntime"), ("--method", "entropy"),
                      ("--method", "minmax", "--weights-per-tensor"), ("--method", "moving-average"),
                      ("--method", "percentile", "--percentile", "99"), ("--exclude", "Gemm"), ("--include", "Conv"),
                      ("--quantize-outputs",)):
            self.works(*self.quantize(*words))
            self.works("build", self.folder / "q.onnx", "-o", self.folder / "q.octet")


if __name__ == "__main__":
    case.main(__doc__)
