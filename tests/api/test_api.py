#!/usr/bin/env python3
"""The installed libraries as others use them: find_package(octet), the C++, C and TensorRT-like interfaces.

    test_api.py OCTET BUILD SOURCES

BUILD is a build folder; its libraries are installed into a temporary one. Models are test data (OCTET_DATA); without
them the test is skipped (status 77). Standard library only.
"""

import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

OCTET = BUILD = SOURCES = None
DATA = pathlib.Path(os.environ.get("OCTET_DATA", pathlib.Path(__file__).resolve().parents[2] / "../shared/data"))
MODEL = DATA / "models/resnet8_cifar10.onnx"  # N x 3 x 32 x 32
IMAGES = DATA / "cifar10/train"


def run(*words, **options):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=600, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(str(w) for w in words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Api(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="octet-api-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.prefix = cls.folder / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        source = cls.folder / "consumer"
        source.mkdir()
        shutil.copy(SOURCES / "tests/api/consumer_CMakeLists.txt", source / "CMakeLists.txt")
        cls.built = cls.folder / "built"
        run("cmake", "-G", "Ninja", "-S", source, "-B", cls.built, f"-DCMAKE_PREFIX_PATH={cls.prefix}",
            f"-DSOURCES={SOURCES}", "-DCMAKE_BUILD_TYPE=Debug")
        run("cmake", "--build", cls.built)
        cls.images = cls.folder / "images"
        cls.images.mkdir()
        for image in sorted(p for p in IMAGES.rglob("*") if p.suffix in (".png", ".jpg"))[:12]:
            shutil.copy(image, cls.images)

    def fresh(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder))

    def test_headers(self):
        headers = sorted((self.prefix / "include/octet").glob("*.h"))
        self.assertLessEqual(len(headers), 10)
        for header in headers:
            flags = [line for line in header.read_text().splitlines()
                     if re.match(r"\s*#\s*(if|elif)", line) and "OCTET_" in line and line != "#ifndef OCTET_OCTET_H_"]
            self.assertEqual(flags, [], header.name)
            c = header.name == "octet.h"
            run("gcc" if c else "g++", "-std=c99" if c else "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                f"-I{self.prefix}/include", "-x", "c" if c else "c++", "-", input=f'#include "octet/{header.name}"\n')
        self.assertLess(len((self.prefix / "include/octet/octet.h").read_text().splitlines()), 100)

    def test_classic_program(self):
        folder = self.fresh()
        program = self.built / "onnx_to_engine"
        first = run(program, MODEL, "e", "int8", self.images, "cache", cwd=folder)
        self.assertIn("bytes", first.stdout)
        cache = (folder / "cache").read_text()
        self.assertTrue(cache.startswith("TRT-8601-EntropyCalibration2\n"), cache[:100])
        # An engine that is there is used: no model is needed.
        again = run(program, "/nonexistent.onnx", "e", cwd=folder)
        self.assertEqual(again.stdout, first.stdout)
        # A cache that is there is read, and left as it is.
        os.remove(folder / "e")
        run(program, MODEL, "e", "int8", "/nonexistent", "cache", cwd=folder)
        self.assertEqual((folder / "cache").read_text(), cache)
        for options in ([], ["fp16"]):
            run(program, MODEL, "float" + "".join(options), *options, cwd=folder)
        self.assertLess((folder / "floatfp16").stat().st_size, 0.7 * (folder / "float").stat().st_size)
        self.assertIn("8", run(OCTET, "inspect", "e", cwd=folder).stdout)
        bad = subprocess.run([program, MODEL, "x", "int8", "/nonexistent", "none"], cwd=folder, capture_output=True,
                             text=True)
        self.assertEqual(bad.returncode, 1)
        self.assertIn("/nonexistent", bad.stderr)
        self.assertFalse((folder / "x").exists())

    def test_calibrator(self):
        self.assertIn("ok", run(self.built / "calibrator", MODEL, self.fresh()).stdout)

    def test_tensorrt_program(self):
        folder = self.fresh()
        outputs = []
        for name, extra in (("classic_tensorrt_11", []), ("classic_tensorrt_17", ["v3"])):
            done = run(self.built / name, MODEL, f"{name}.engine", f"{name}.cache", 4, *extra, cwd=folder)
            outputs.append(done.stdout)
            self.assertGreaterEqual(len(done.stdout.splitlines()), 10)
        # Both spellings do the same, from the same data.
        self.assertEqual(outputs[0], outputs[1])
        self.assertEqual((folder / "classic_tensorrt_11.cache").read_bytes(),
                         (folder / "classic_tensorrt_17.cache").read_bytes())
        self.assertEqual((folder / "classic_tensorrt_11.engine").read_bytes(),
                         (folder / "classic_tensorrt_17.engine").read_bytes())
        # From the cache, our own interface makes the same engine, byte for byte.
        run(self.built / "classic_tensorrt_17", MODEL, "theirs", "classic_tensorrt_11.cache", 4, cwd=folder)
        run(self.built / "onnx_to_engine", MODEL, "ours", "int8", "/nonexistent", "classic_tensorrt_11.cache", cwd=folder)
        self.assertEqual((folder / "theirs").read_bytes(), (folder / "ours").read_bytes())

    def test_deployment_program(self):
        folder = self.fresh()
        found, tensors = {}, []
        for way in ("calibrator", "ranges", "mixed"):
            lines = [line.split() for line in run(self.built / "deploy_tensorrt", MODEL, way, f"{way}.engine",
                                                  cwd=folder).stdout.splitlines()]
            counts = {words[0]: int(words[1]) for words in lines if words[0] not in ("output", "tensor")}
            tensors = tensors or [words[1] for words in lines if words[0] == "tensor"]
            found[way] = [float(words[1]) for words in lines if words[0] == "output"]
            self.assertEqual(len(found[way]), 10)
            self.assertAlmostEqual(sum(found[way]), 1, places=4)
            self.assertGreater(counts["convolutions"], 6)
            self.assertEqual(counts["int8"] + counts["float"], counts["convolutions"])
            self.assertEqual(counts["float"], 3 if way == "mixed" else 0)
        # Ranges by hand are a cache: its engine is the same, byte for byte.
        step = lambda most: struct.pack(">f", struct.unpack("f", struct.pack("f", most / 127))[0]).hex()
        cache = folder / "ranges.cache"
        cache.write_text("TRT-8601-EntropyCalibration2\n" + f"input_1: {step(255)}\n" +
                         "".join(f"{name}: {step(100)}\n" for name in tensors))
        shapes = [f"--{which}Shapes=input_1:{n}x3x32x32" for which, n in (("min", 1), ("opt", 1), ("max", 4))]
        run(OCTET, "trtexec", f"--onnx={MODEL}", "--int8", f"--calib={cache}", *shapes, "--skipInference",
            "--saveEngine=same.engine", cwd=folder)
        self.assertEqual((folder / "same.engine").read_bytes(), (folder / "ranges.engine").read_bytes())

    def test_not_offered_does_not_compile(self):
        program = "#include <NvInfer.h>\n#include <NvOnnxParser.h>\nusing namespace nvinfer1;\n"
        body = {"good": "void f(IBuilderConfig* c) { c->setFlag(BuilderFlag::kINT8); }",
                "refit": "void f(IBuilderConfig* c) { c->setFlag(BuilderFlag::kREFIT); }",
                "no such layer type": "int f(ILayer* l) { return l->getType() == LayerType::kLOOP_OUTPUT; }",
                "dla": "void f(IBuilderConfig* c) { c->setDLACore(0); }",
                "half inputs": "void f(ITensor* t) { t->setType(DataType::kHALF); }",
                "formats": "auto f = TensorFormat::kCHW32;",
                "own memory": "void f(ICudaEngine* e) { e->createExecutionContextWithoutDeviceMemory(); }",
                "layers": "void f(INetworkDefinition* n, ITensor* t) { n->addShuffle(*t); }",
                "plugins": "IPluginV2* plugin;",
                "implicit": "void f(IExecutionContext* c, void** b) { c->execute(1, b); }"}
        for name, text in body.items():
            done = subprocess.run(["g++", "-std=c++14", "-fsyntax-only", f"-I{self.prefix}/include/octet/compat", "-x", "c++",
                                   "-"], input=program + text, text=True, capture_output=True)
            self.assertEqual(done.returncode == 0, name == "good", f"{name}\n{done.stderr}")

    def test_c(self):
        folder = self.fresh()
        run(OCTET, "build", MODEL, "-o", "e", cwd=folder)
        one = run(self.built / "run_c", "e", 1, cwd=folder).stdout.split()
        two = run(self.built / "run_c", "e", 2, cwd=folder).stdout.split()
        self.assertEqual(len(one), 10)
        self.assertEqual(len(two), 20)
        self.assertAlmostEqual(sum(float(v) for v in one), 1, places=4)
        self.assertEqual(one, two[:10])

    def test_runtime_alone(self):
        folder = self.fresh()
        run(OCTET, "build", MODEL, "-o", "e", cwd=folder)
        self.assertIn("class ", run(self.built / "run_engine", "e", cwd=folder).stdout)
        libraries = run("ldd", self.built / "run_engine").stdout
        self.assertIn("liboctet_runtime", libraries)
        self.assertNotRegex(libraries, "protobuf|opencv")

    def test_only_the_interface_is_exported(self):
        for library in ("liboctet.so", "liboctet_runtime.so"):
            path = next(self.prefix.rglob(library))
            symbols = run("nm", "-D", "--defined-only", "--demangle", path).stdout
            names = [line.split(maxsplit=2)[2] for line in symbols.splitlines() if len(line.split(maxsplit=2)) == 3]
            self.assertTrue(any("octet::runtime::Engine::load" in n for n in names), library)
            strangers = [n for n in names if "octet" not in n and "nvinfer1::" not in n and "nvonnxparser::" not in n
                         and n not in ("getInferLibVersion", "getNvOnnxParserVersion")]
            self.assertEqual(strangers, [], library)


if __name__ == "__main__":
    SOURCES = pathlib.Path(sys.argv.pop(3)).resolve()
    BUILD = pathlib.Path(sys.argv.pop(2)).resolve()
    OCTET = str(pathlib.Path(sys.argv.pop(1)).resolve())
    if not MODEL.is_file() or not IMAGES.is_dir():
        print("skipped: OCTET_DATA has no models")
        sys.exit(77)
    unittest.main()
