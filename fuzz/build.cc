// Any bytes as an ONNX file, through build to an engine that runs: results or an Error.
#include "build/build.h"

#include <span>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "mutate_model.h"
#include "onnx/onnx.h"
#include "tensor/tensor.h"

namespace {

constexpr int64_t kMemory = 64 << 20;
constexpr int64_t kRunMemory = 64 << 10;  // networks that need more are only prepared: the fuzzer wants many

void run(const octet::engine::Model& model) {
  using namespace octet;
  const engine::Engine engine(model);
  engine::Context context(engine, engine::default_options());
  if (context.memory_bytes() > kRunMemory) return;
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < engine.model().inputs.size(); ++i)
    inputs.emplace_back(engine.model().tensors[engine.model().inputs[i]].dtype, context.input_shape(i));
  context.run(inputs);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  octet::set_memory_limit(kMemory);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return octet::fuzz::mutate_model(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octet;
  try {
    run(build_engine(import_onnx(std::as_bytes(std::span(data, size)), "input", "/nonexistent")));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
