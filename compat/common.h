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

// A user's logger, and the recorder that hears of errors too. Neither is owned.
class RecordingLogger final : public nvinfer1::ILogger {
 public:
  explicit RecordingLogger(nvinfer1::ILogger& user, nvinfer1::IErrorRecorder* recorder = nullptr)
      : user_(user) {
    set(recorder);
  }
  ~RecordingLogger() override { set(nullptr); }
  RecordingLogger(const RecordingLogger&) = delete;
  RecordingLogger& operator=(const RecordingLogger&) = delete;
  void log(Severity severity, const nvinfer1::AsciiChar* message) override {
    user_.log(severity, message);
    if (recorder_ != nullptr && severity <= Severity::kERROR)
      recorder_->reportError(nvinfer1::ErrorCode::kUNSPECIFIED_ERROR, message);
  }
  void set(nvinfer1::IErrorRecorder* recorder) {
    if (recorder != nullptr) recorder->incRefCount();
    if (recorder_ != nullptr) recorder_->decRefCount();
    recorder_ = recorder;
  }
  nvinfer1::ILogger& user() const { return user_; }
  nvinfer1::IErrorRecorder* recorder() const { return recorder_; }

 private:
  nvinfer1::ILogger& user_;
  nvinfer1::IErrorRecorder* recorder_ = nullptr;
};

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

nvinfer1::ICudaEngine* make_engine(runtime::Engine engine, const RecordingLogger& logger, int threads);
nvinfer1::IEngineInspector* make_inspector(const runtime::Engine& engine);

}  // namespace octet::compat
