// The engine inspector of NvInferRuntime.h.
#include "base/error.h"
#include "common.h"

namespace octet::compat {

using namespace nvinfer1;
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) result += c;
  }
  return result + "\"";
}

class Inspector final : public IEngineInspector {
 public:
  explicit Inspector(const runtime::Engine& engine) {
    std::string all = "{\"Layers\": [";
    for (const runtime::StepInfo& s : engine.steps()) {
      lines_.push_back(fmt::format("{} ({}, {})", s.name, s.kind, s.precision));
      objects_.push_back(fmt::format("{{\"Name\": {}, \"LayerType\": {}, \"Precision\": {}}}", quoted(s.name),
                                     quoted(s.kind), quoted(s.precision)));
      lines_all_ += lines_.back() + "\n";
      all += (objects_.size() > 1 ? ", " : "") + objects_.back();
    }
    objects_all_ = all + "]}";
  }
  bool setExecutionContext(const IExecutionContext* context) override {
    context_ = context;
    return true;
  }
  const IExecutionContext* getExecutionContext() const override { return context_; }
  const char* getLayerInformation(int32_t index, LayerInformationFormat format) const override {
    if (index < 0 || static_cast<size_t>(index) >= lines_.size()) return nullptr;
    return (format == LayerInformationFormat::kJSON ? objects_ : lines_)[static_cast<size_t>(index)].c_str();
  }
  const char* getEngineInformation(LayerInformationFormat format) const override {
    return (format == LayerInformationFormat::kJSON ? objects_all_ : lines_all_).c_str();
  }

 private:
  std::vector<std::string> lines_, objects_;
  std::string lines_all_, objects_all_;
  const IExecutionContext* context_ = nullptr;
};

}  // namespace

IEngineInspector* make_inspector(const runtime::Engine& engine) {
  return new Inspector(engine);
}

}  // namespace octet::compat
