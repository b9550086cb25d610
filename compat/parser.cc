// The ONNX parser of NvOnnxParser.h.
#include <filesystem>
#include <new>

#include "NvOnnxParser.h"
#include "base/error.h"
#include "network.h"
#include "ops/op_def.h"

namespace octet::compat {
namespace {

using nvinfer1::ILogger;

class ParserError final : public nvonnxparser::IParserError {
 public:
  ParserError(nvonnxparser::ErrorCode code, std::string text) : code_(code), text_(std::move(text)) {}
  nvonnxparser::ErrorCode code() const override { return code_; }
  const char* desc() const override { return text_.c_str(); }
  const char* file() const override { return ""; }
  int line() const override { return 0; }
  const char* func() const override { return ""; }
  int node() const override { return -1; }

 private:
  nvonnxparser::ErrorCode code_;
  std::string text_;
};

class Parser final : public nvonnxparser::IParser {
 public:
  Parser(Network& network, ILogger& logger) : network_(network), logger_(logger) {}

  bool parse(const void* model, size_t size, const char* path) override {
    return take([&] {
      if (model == nullptr) fail(octet::ErrorCode::kInvalidArgument, "parse: the model is null");
      const std::filesystem::path file(path == nullptr ? "" : path);
      return Model::load({static_cast<const std::byte*>(model), size},
                         path == nullptr ? "model" : file.string(),
                         file.has_parent_path() ? file.parent_path() : ".");
    });
  }
  bool parseFromFile(const char* file, int) override {
    return take([&] {
      if (file == nullptr) fail(octet::ErrorCode::kInvalidArgument, "parseFromFile: the name is null");
      return Model::load(std::filesystem::path(file));
    });
  }
  bool supportsOperator(const char* name) const override {
    return name != nullptr && find_op(name, "") != nullptr;
  }
  int getNbErrors() const override { return static_cast<int>(errors_.size()); }
  const nvonnxparser::IParserError* getError(int index) const override {
    return index < 0 || index >= getNbErrors() ? nullptr : errors_[static_cast<size_t>(index)].get();
  }
  void clearErrors() override { errors_.clear(); }
  void setFlags(nvonnxparser::OnnxParserFlags flags) override { flags_ = flags; }
  nvonnxparser::OnnxParserFlags getFlags() const override { return flags_; }
  void setFlag(nvonnxparser::OnnxParserFlag flag) override { flags_ |= 1U << static_cast<uint32_t>(flag); }
  void clearFlag(nvonnxparser::OnnxParserFlag flag) override {
    flags_ &= ~(1U << static_cast<uint32_t>(flag));
  }
  bool getFlag(nvonnxparser::OnnxParserFlag flag) const override {
    return (flags_ >> static_cast<uint32_t>(flag) & 1U) != 0;
  }

 private:
  template <typename F>
  bool take(const F& load) noexcept {
    using nvonnxparser::ErrorCode;
    try {
      network_.set(load());
      return true;
    } catch (const Error& error) {
      using octet::ErrorCode;
      auto code = nvonnxparser::ErrorCode::kMODEL_DESERIALIZE_FAILED;
      if (error.code() == ErrorCode::kUnsupported) code = nvonnxparser::ErrorCode::kUNSUPPORTED_NODE;
      if (error.code() == ErrorCode::kInvalidArgument) code = nvonnxparser::ErrorCode::kINVALID_VALUE;
      if (error.code() == ErrorCode::kOutOfMemory) code = nvonnxparser::ErrorCode::kMEM_ALLOC_FAILED;
      add(code, error.what());
    } catch (const std::exception& error) {
      add(ErrorCode::kINTERNAL_ERROR, error.what());
    }
    return false;
  }
  void add(nvonnxparser::ErrorCode code, const std::string& text) {
    errors_.push_back(std::make_unique<ParserError>(code, text));
    complain(logger_, text);
  }

  Network& network_;
  ILogger& logger_;
  std::vector<std::unique_ptr<ParserError>> errors_;
  nvonnxparser::OnnxParserFlags flags_ = 0;
};

}  // namespace
}  // namespace octet::compat

namespace nvonnxparser {

IParser* createParser(nvinfer1::INetworkDefinition& network, nvinfer1::ILogger& logger) {
  return new (std::nothrow) octet::compat::Parser(static_cast<octet::compat::Network&>(network), logger);
}

}  // namespace nvonnxparser

extern "C" int getNvOnnxParserVersion() {
  return nvonnxparser::NV_ONNX_PARSER_VERSION;
}
