// What the implementations of NvInfer.h share.
#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "NvInfer.h"
#include "octet/runtime.h"

namespace octet::compat {

inline void say(nvinfer1::ILogger& logger, nvinfer1::ILogger::Severity severity, const std::string& text) {
  logger.log(severity, text.c_str());
}
inline void complain(nvinfer1::ILogger& logger, const std::string& text) {
  say(logger, nvinfer1::ILogger::Severity::kERROR, text);
}

// Runs `body`, which gives a pointer or a bool; what it throws is logged and gives null or false.
template <typename F>
auto guarded(nvinfer1::ILogger& logger, const F& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::exception& error) {
    complain(logger, error.what());
  }
  return {};
}

// -1 where a size is open. Throws Error for more than 8 dimensions.
nvinfer1::Dims dims_of(const std::vector<int64_t>& shape);
std::vector<int64_t> shape_of(const nvinfer1::Dims& dims);
// nbDims of -1: there is no such tensor.
nvinfer1::Dims no_dims();
// Throws Error for types that the interface does not have.
nvinfer1::DataType type_of(DType dtype);

class HostMemory final : public nvinfer1::IHostMemory {
 public:
  explicit HostMemory(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  void* data() const override { return bytes_.data(); }
  std::size_t size() const override { return bytes_.size(); }
  nvinfer1::DataType type() const override { return nvinfer1::DataType::kINT8; }

 private:
  mutable std::vector<std::byte> bytes_;
};

nvinfer1::ICudaEngine* make_engine(runtime::Engine engine, nvinfer1::ILogger& logger, int threads);

}  // namespace octet::compat
