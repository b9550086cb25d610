// Any bytes as an ONNX file: a graph or an Error. What was imported is exported and imported again.
#include <span>

#include "base/error.h"
#include "mutate_model.h"
#include "onnx/onnx.h"
#include "tensor/tensor.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  octet::set_memory_limit(64 << 20);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return octet::fuzz::mutate_model(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octet;
  try {
    const Graph graph = import_onnx(std::as_bytes(std::span(data, size)), "input", "/nonexistent");
    const std::string again = export_onnx_bytes(graph);
    import_onnx(std::as_bytes(std::span(again)), "exported", "/nonexistent");
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) __builtin_trap();
  }
  return 0;
}
