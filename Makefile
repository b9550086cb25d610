# make              install what is missing, build, leave the command at build/octet
# make demo         quantize, evaluate, compare and time the demo network; print one table
# make test         unit and end-to-end tests, layer check, format check, demo
# make test-kernels 100,000 random cases per integer kernel and instruction set
# make test-onnx    ONNX's node tests (those of OCTET_DATA)
# make test-onnxruntime  our results beside ONNX Runtime's (fetches it from PyPI)
# make test-python  pip install . in a fresh virtual environment, the module's tests, README's example
# make accuracy     what quantization costs each model: docs/accuracy.md (Python packages as test-onnxruntime; nncf, amd-quark
#                   and aimet-onnx where they are there)
# make sanitize     the test suite under AddressSanitizer and UndefinedBehaviorSanitizer
# make sanitize-thread  the thread pool and 16 contexts of one engine under ThreadSanitizer
# make fuzz         fuzz import and build for FUZZ_SECONDS (60) each, under sanitizers (clang)
# make models       every model through the whole line beside ONNX Runtime; writes docs/models.md
# make tidy         clang-tidy over all sources
# make bench        kernel benchmarks, and two threads beside a busy neighbour
# make bench-peers  our speed beside ONNX Runtime's and OpenVINO's (fetches them from PyPI); writes docs/peers.md
# make bench-targets  our Q/DQ files in ONNX Runtime and OpenVINO, beside those of their own tools
# make format       clang-format over all sources
# make docs         write docs/operators.md from the operators' definitions
# make clean        remove every build folder

SHELL := /bin/bash
JOBS ?= $(shell nproc)
KERNEL_TEST_CASES ?= 100000

# Evaluated in the recipes, so that what `make packages` has just installed is found.
CONFIGURE = cmake -DCMAKE_CXX_COMPILER_LAUNCHER="$$(command -v ccache || true)"
CTEST = ctest --output-on-failure --parallel $(JOBS) --no-tests=error
SOURCES = $(shell find src include compat tools tests fuzz examples python \
  \( -name '*.cc' -o -name '*.h' -o -name '*.inc' \) -print 2>/dev/null | LC_ALL=C sort)
TIDY_SOURCES = $(shell find src tools -name '*.cc' ! -name '*test.cc' ! -name '*bench.cc' -print 2>/dev/null | LC_ALL=C sort)

.DEFAULT_GOAL := octet
.PHONY: octet all packages configure demo test unit-test layers format-check test-kernels test-onnx test-python test-onnxruntime sanitize sanitize-thread fuzz models accuracy \
  tidy bench bench-peers bench-targets format docs clean

octet: configure
	@cmake --build build --parallel $(JOBS) --target octet

all: configure
	@cmake --build build --parallel $(JOBS)

packages:
	@scripts/install_packages.sh

configure: packages
	@$(CONFIGURE) --preset release --log-level=WARNING >/dev/null

demo: octet
	@demo/run.sh

test: layers format-check unit-test
	@demo/run.sh --check

unit-test: all
	@OCTET_TEST_CASES=$${OCTET_TEST_CASES:-$$(($(KERNEL_TEST_CASES) / 10))} $(CTEST) --test-dir build

layers: packages
	@python3 tests/layers/check_layers.py --self-test
	@python3 tests/layers/check_layers.py

format-check: packages
	@if command -v clang-format >/dev/null; then \
	  clang-format --dry-run --Werror $(SOURCES) && echo "format: $(words $(SOURCES)) files"; \
	else echo "format: skipped, clang-format is not installed"; fi

test-kernels: configure
	@cmake --build build --parallel $(JOBS) --target octet_kernels_test
	@OCTET_TEST_CASES=$(KERNEL_TEST_CASES) build/src/kernels/octet_kernels_test --gtest_brief=1

test-onnx: configure
	@cmake --build build --parallel $(JOBS) --target octet_node_tests
	@tests/onnx_nodes/run.sh build/tests/octet_node_tests --others

test-python: packages
	@tests/python/run.sh

test-onnxruntime: octet
	@tests/onnxruntime/run.sh

accuracy: octet
	@$${OCTET_PYTHON:-python3} tests/accuracy/accuracy.py

sanitize: packages
	@$(CONFIGURE) --preset asan --log-level=WARNING >/dev/null
	@cmake --build build-asan --parallel $(JOBS)
	@OCTET_TEST_CASES=$${OCTET_TEST_CASES:-1000} ASAN_OPTIONS=detect_stack_use_after_return=1 \
	  UBSAN_OPTIONS=print_stacktrace=1 $(CTEST) --test-dir build-asan

# Only what shares memory: an engine of 8-bit steps, because the threads of oneDNN (OpenMP) are not instrumented.
sanitize-thread: packages
	@$(CONFIGURE) --preset tsan --log-level=WARNING >/dev/null
	@cmake --build build-tsan --parallel $(JOBS) --target octet_base_test octet_build_test
	@build-tsan/src/base/octet_base_test --gtest_filter='ThreadPool.*' --gtest_brief=1
	@build-tsan/src/build/octet_build_test --gtest_filter='Contexts.*' --gtest_brief=1

# Spares the unrolled kernels, as src/kernels/CMakeLists.txt says. FUZZ=-runs=1000000 counts instead of timing.
fuzz: packages
	@cmake -DCMAKE_CXX_COMPILER_LAUNCHER="$$(command -v ccache || true)" --preset fuzz --log-level=WARNING >/dev/null
	@cmake --build build-fuzz --parallel $(JOBS) --target octet_fuzz_import octet_fuzz_build
	@fuzz/run.sh build-fuzz/fuzz $(if $(FUZZ),$(FUZZ),-max_total_time=$${FUZZ_SECONDS:-60})

models: octet
	@tests/onnxruntime/run.sh models

tidy: all
	@mkdir -p build/tidy  # GCC's precompiled headers are nothing to clang
	@sed 's/-include [^ ]*cmake_pch.hxx//' build/compile_commands.json > build/tidy/compile_commands.json
	@printf '%s\n' $(TIDY_SOURCES) | xargs -P $(JOBS) -n 4 clang-tidy -p build/tidy --quiet 2> >(grep -v 'warnings\? generated' >&2)

bench: packages
	@$(CONFIGURE) --preset bench --log-level=WARNING >/dev/null
	@cmake --build build-bench --parallel $(JOBS)
	@for program in $$(find build-bench -name 'octet_*_bench' -type f -executable | LC_ALL=C sort); do \
	  $$program || exit 1; done
	@models="$(wildcard $(or $(OCTET_DATA),../shared/data)/models/mobilenetv2.onnx build/peers/models/resnet50.octet)"; \
	if [ -n "$$models" ]; then OCTET=build-bench/octet python3 tests/bench/neighbour.py $$models; \
	else echo "neighbour: skipped, there is no mobilenetv2.onnx in OCTET_DATA and no resnet50 of make bench-peers"; fi

bench-peers: octet
	@tests/bench/run.sh

bench-targets: octet
	@tests/bench/run.sh targets

format: packages
	@clang-format -i $(SOURCES)

docs: octet
	@build/octet inspect --operators > build/operators.md
	@cp build/operators.md docs/operators.md

clean:
	@rm -rf build build-asan build-bench build-debug build-fuzz build-tsan
