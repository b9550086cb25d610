// Builder, network, configuration and ONNX parser of NvInfer.h.
#include "octet/builder.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <optional>

#include "NvOnnxParser.h"
#include "base/error.h"
#include "common.h"
#include "ops/op_def.h"
#include "pipeline/model_state.h"

namespace octet::compat {

using namespace nvinfer1;
using nvinfer1::Dims;  // not octet's
namespace {

using runtime::TensorInfo;

Log log_of(ILogger& logger) {
  return [&logger](octet::Severity severity, std::string_view text) {
    say(logger, static_cast<ILogger::Severity>(severity), std::string(text));
  };
}

class NetworkTensor final : public ITensor {
 public:
  NetworkTensor(TensorInfo info, bool input)
      : info_(std::move(info)), input_(input), type_(type_of(info_.dtype)), dims_(dims_of(info_.shape)) {}
  const char* getName() const override { return info_.name.c_str(); }
  Dims getDimensions() const override { return dims_; }
  void setDimensions(Dims dimensions) override {
    if (input_) dims_ = dimensions;
  }
  DataType getType() const override { return type_; }
  bool isNetworkInput() const override { return input_; }
  bool isNetworkOutput() const override { return !input_; }
  bool isShapeTensor() const override { return false; }
  TensorLocation getLocation() const override { return TensorLocation::kDEVICE; }
  TensorFormats getAllowedFormats() const override {
    return 1U << static_cast<int32_t>(TensorFormat::kLINEAR);
  }
  const TensorInfo& info() const { return info_; }

 private:
  TensorInfo info_;
  bool input_;
  DataType type_;
  Dims dims_;
};

class Network final : public INetworkDefinition {
 public:
  explicit Network(NetworkDefinitionCreationFlags flags) : flags_(flags) {}

  void set(Model model) {
    std::vector<std::unique_ptr<NetworkTensor>> inputs, outputs;
    for (const TensorInfo& t : model.inputs()) inputs.push_back(std::make_unique<NetworkTensor>(t, true));
    for (const TensorInfo& t : model.outputs()) outputs.push_back(std::make_unique<NetworkTensor>(t, false));
    model_ = std::move(model);
    inputs_ = std::move(inputs);
    outputs_ = std::move(outputs);
  }
  bool filled() const { return model_.has_value(); }

  // With the dimensions that setDimensions() fixed.
  Model model() const {
    if (!model_) fail(ErrorCode::kInvalidArgument, "the network is empty: parse an ONNX model into it");
    Graph graph = model_->state().graph;
    bool changed = false;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const std::vector<int64_t> wanted = shape_of(inputs_[i]->getDimensions());
      Value& value = graph.value(graph.inputs()[i]);
      if (!value.shape || value.shape->size() != wanted.size())
        fail(ErrorCode::kInvalidArgument,
             "setDimensions: the input '{}' has shape {}, which rank {} does not fit", value.name,
             inputs_[i]->info().shape_text, wanted.size());
      for (size_t d = 0; d < wanted.size(); ++d) {
        Dim& dim = (*value.shape)[d];
        if (wanted[d] < 0 || (dim.known() && dim.value() == wanted[d])) continue;
        if (dim.known() || wanted[d] == 0)
          fail(ErrorCode::kInvalidArgument, "setDimensions: axis {} of the input '{}' ({}) cannot become {}",
               d, value.name, inputs_[i]->info().shape_text, wanted[d]);
        dim = Dim(wanted[d]);
        changed = true;
      }
    }
    if (!changed) return *model_;
    infer_shapes(graph);
    const Model::State& from = model_->state();
    return Model(std::make_shared<const Model::State>(from.path, from.hash, std::move(graph), from.files));
  }

  int32_t getNbInputs() const override { return static_cast<int32_t>(inputs_.size()); }
  ITensor* getInput(int32_t index) const override { return at(inputs_, index); }
  int32_t getNbOutputs() const override { return static_cast<int32_t>(outputs_.size()); }
  ITensor* getOutput(int32_t index) const override { return at(outputs_, index); }
  int32_t getNbLayers() const override {
    int32_t count = 0;
    if (!model_) return count;
    const Graph& graph = model_->state().graph;
    for (NodeId id = 0; id < graph.node_slots(); ++id) count += graph.node(id).alive;
    return count;
  }
  void setName(const char* name) override { name_ = name == nullptr ? "" : name; }
  const char* getName() const override { return name_.c_str(); }
  bool hasImplicitBatchDimension() const override { return false; }
  NetworkDefinitionCreationFlags getFlags() const override { return flags_; }
  bool getFlag(NetworkDefinitionCreationFlag flag) const override {
    return (flags_ >> static_cast<uint32_t>(flag) & 1U) != 0;
  }

 private:
  static ITensor* at(const std::vector<std::unique_ptr<NetworkTensor>>& all, int32_t index) {
    return index < 0 || static_cast<size_t>(index) >= all.size() ? nullptr
                                                                 : all[static_cast<size_t>(index)].get();
  }

  NetworkDefinitionCreationFlags flags_;
  std::optional<Model> model_;
  std::vector<std::unique_ptr<NetworkTensor>> inputs_, outputs_;
  std::string name_;
};

class Profile final : public IOptimizationProfile {
 public:
  bool setDimensions(const char* name, OptProfileSelector select, Dims dimensions) override {
    if (name == nullptr || dimensions.nbDims < 0 || dimensions.nbDims > Dims::MAX_DIMS) return false;
    for (int32_t d = 0; d < dimensions.nbDims; ++d)
      if (dimensions.d[d] < 1) return false;
    shapes(select)[name] = shape_of(dimensions);
    return true;
  }
  Dims getDimensions(const char* name, OptProfileSelector select) const override {
    const auto& all = const_cast<Profile*>(this)->shapes(select);
    const auto found = name == nullptr ? all.end() : all.find(name);
    return found == all.end() ? no_dims() : dims_of(found->second);
  }
  bool setExtraMemoryTarget(float target) override {
    extra_ = target;
    return target >= 0 && target <= 1;
  }
  float getExtraMemoryTarget() const override { return extra_; }
  bool isValid() const override {
    for (const auto& [name, optimum] : profile.optimum) {
      const auto low = profile.minimum.find(name), high = profile.maximum.find(name);
      if (low == profile.minimum.end() || high == profile.maximum.end()) return false;
      if (low->second.size() != optimum.size() || high->second.size() != optimum.size()) return false;
      for (size_t d = 0; d < optimum.size(); ++d)
        if (low->second[d] > optimum[d] || optimum[d] > high->second[d]) return false;
    }
    return profile.minimum.size() == profile.optimum.size() &&
           profile.maximum.size() == profile.optimum.size();
  }

  InputProfile profile;

 private:
  std::map<std::string, std::vector<int64_t>>& shapes(OptProfileSelector select) {
    if (select == OptProfileSelector::kMIN) return profile.minimum;
    return select == OptProfileSelector::kOPT ? profile.optimum : profile.maximum;
  }
  float extra_ = 0;
};

class Config final : public IBuilderConfig {
 public:
  void setFlag(BuilderFlag flag) override { flags_ |= bit(flag); }
  void clearFlag(BuilderFlag flag) override { flags_ &= ~bit(flag); }
  bool getFlag(BuilderFlag flag) const override { return (flags_ & bit(flag)) != 0; }
  void setFlags(BuilderFlags flags) override { flags_ = flags; }
  BuilderFlags getFlags() const override { return flags_; }
  void setMaxWorkspaceSize(std::size_t size) override {
    setMemoryPoolLimit(MemoryPoolType::kWORKSPACE, size);
  }
  std::size_t getMaxWorkspaceSize() const override { return getMemoryPoolLimit(MemoryPoolType::kWORKSPACE); }
  void setMemoryPoolLimit(MemoryPoolType pool, std::size_t size) override { pools_[pool] = size; }
  std::size_t getMemoryPoolLimit(MemoryPoolType pool) const override {
    const auto found = pools_.find(pool);
    return found == pools_.end() ? 0 : found->second;
  }
  void setInt8Calibrator(IInt8Calibrator* calibrator) override { calibrator_ = calibrator; }
  IInt8Calibrator* getInt8Calibrator() const override { return calibrator_; }
  int32_t addOptimizationProfile(const IOptimizationProfile* profile) override {
    if (profile == nullptr || !profile->isValid()) return -1;
    profiles_.push_back(static_cast<const Profile*>(profile));
    return static_cast<int32_t>(profiles_.size()) - 1;
  }
  int32_t getNbOptimizationProfiles() const override { return static_cast<int32_t>(profiles_.size()); }
  bool setCalibrationProfile(const IOptimizationProfile* profile) override {
    if (profile != nullptr && !profile->isValid()) return false;
    calibration_ = static_cast<const Profile*>(profile);
    return true;
  }
  const IOptimizationProfile* getCalibrationProfile() override { return calibration_; }
  void setMinTimingIterations(int32_t) override {}
  void setAvgTimingIterations(int32_t count) override { average_ = count; }
  int32_t getAvgTimingIterations() const override { return average_; }
  void setProfileStream(cudaStream_t stream) override { stream_ = stream; }
  cudaStream_t getProfileStream() const override { return stream_; }
  void setProfilingVerbosity(ProfilingVerbosity verbosity) override { verbosity_ = verbosity; }
  ProfilingVerbosity getProfilingVerbosity() const override { return verbosity_; }
  bool setTacticSources(TacticSources sources) override {
    tactics_ = sources;
    return true;
  }
  TacticSources getTacticSources() const override { return tactics_; }
  void setDefaultDeviceType(DeviceType) override {}
  DeviceType getDefaultDeviceType() const override { return DeviceType::kGPU; }
  void setEngineCapability(EngineCapability) override {}
  EngineCapability getEngineCapability() const override { return EngineCapability::kSTANDARD; }
  void setBuilderOptimizationLevel(int32_t level) override { level_ = level; }
  int32_t getBuilderOptimizationLevel() override { return level_; }
  void setHardwareCompatibilityLevel(HardwareCompatibilityLevel level) override { compatibility_ = level; }
  HardwareCompatibilityLevel getHardwareCompatibilityLevel() const override { return compatibility_; }
  void reset() override {
    flags_ = bit(BuilderFlag::kTF32);
    pools_.clear();
    calibrator_ = nullptr;
    profiles_.clear();
    calibration_ = nullptr;
  }

  const std::vector<const Profile*>& profiles() const { return profiles_; }
  const Profile* calibration() const { return calibration_; }

 private:
  static BuilderFlags bit(BuilderFlag flag) { return 1U << static_cast<uint32_t>(flag); }

  BuilderFlags flags_ = 1U << static_cast<uint32_t>(BuilderFlag::kTF32);
  std::map<MemoryPoolType, std::size_t> pools_;
  IInt8Calibrator* calibrator_ = nullptr;
  std::vector<const Profile*> profiles_;  // the builder's
  const Profile* calibration_ = nullptr;
  cudaStream_t stream_ = nullptr;
  ProfilingVerbosity verbosity_ = ProfilingVerbosity::kLAYER_NAMES_ONLY;
  TacticSources tactics_ = 0;
  int32_t level_ = 3, average_ = 1;
  HardwareCompatibilityLevel compatibility_ = HardwareCompatibilityLevel::kNONE;
};

// A user's calibrator as ours.
class Adapter final : public Calibrator {
 public:
  explicit Adapter(IInt8Calibrator& user) : user_(user) {}
  int64_t batch_size() const override { return user_.getBatchSize(); }
  bool next_batch(std::span<CalibrationArray> arrays) override {
    std::vector<void*> data(arrays.size(), nullptr);
    std::vector<const char*> names;
    for (const CalibrationArray& a : arrays) names.push_back(a.name.c_str());
    if (!user_.getBatch(data.data(), names.data(), static_cast<int32_t>(data.size()))) return false;
    for (size_t i = 0; i < data.size(); ++i) arrays[i].data = data[i];
    return true;
  }
  std::string read_cache() override {
    std::size_t length = 0;
    const void* data = user_.readCalibrationCache(length);
    return data == nullptr ? "" : std::string(static_cast<const char*>(data), length);
  }
  void write_cache(std::string_view cache) override {
    user_.writeCalibrationCache(cache.data(), cache.size());
  }
  std::string algorithm() const override {
    switch (user_.getAlgorithm()) {
      case CalibrationAlgoType::kLEGACY_CALIBRATION:
        return "LegacyCalibration";
      case CalibrationAlgoType::kENTROPY_CALIBRATION:
        return "EntropyCalibration";
      case CalibrationAlgoType::kMINMAX_CALIBRATION:
        return "MinMaxCalibration";
      case CalibrationAlgoType::kENTROPY_CALIBRATION_2:
        break;
    }
    return "EntropyCalibration2";
  }
  void choose(BuilderConfig& config) const {
    config.method = "entropy";
    if (user_.getAlgorithm() == CalibrationAlgoType::kMINMAX_CALIBRATION) config.method = "minmax";
    if (user_.getAlgorithm() != CalibrationAlgoType::kLEGACY_CALIBRATION) return;
    config.method = "percentile";
    if (const auto* legacy = dynamic_cast<const IInt8LegacyCalibrator*>(&user_))
      config.percentile = std::clamp(legacy->getQuantile() * 100, 50.0, 100.0);
  }

 private:
  IInt8Calibrator& user_;
};

class Builder final : public IBuilder {
 public:
  explicit Builder(ILogger& logger) : logger_(logger) {}

  INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags flags) override {
    return new (std::nothrow) Network(flags);
  }
  IBuilderConfig* createBuilderConfig() override { return new (std::nothrow) Config; }
  IOptimizationProfile* createOptimizationProfile() override {
    return guarded(logger_, [&]() -> IOptimizationProfile* {
      profiles_.push_back(std::make_unique<Profile>());
      return profiles_.back().get();
    });
  }
  IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) override {
    return guarded(logger_, [&]() -> IHostMemory* {
      return new HostMemory(
          make(static_cast<const Network&>(network), static_cast<const Config&>(config)).serialize());
    });
  }
  ICudaEngine* buildEngineWithConfig(INetworkDefinition& network, IBuilderConfig& config) override {
    return guarded(logger_, [&]() -> ICudaEngine* {
      return make_engine(make(static_cast<const Network&>(network), static_cast<const Config&>(config)),
                         logger_, threads_);
    });
  }
  bool isNetworkSupported(const INetworkDefinition& network, const IBuilderConfig&) const override {
    return static_cast<const Network&>(network).filled();
  }
  bool platformHasFastFp16() const override { return true; }
  bool platformHasFastInt8() const override { return true; }
  bool platformHasTf32() const override { return false; }
  void setMaxBatchSize(int32_t size) override { batch_ = size; }
  int32_t getMaxBatchSize() const override { return batch_; }
  int32_t getMaxDLABatchSize() const override { return 0; }
  int32_t getNbDLACores() const override { return 0; }
  bool setMaxThreads(int32_t count) override {
    if (count < 1 || count > 4096) return false;
    threads_ = count;
    return true;
  }
  int32_t getMaxThreads() const override { return threads_; }
  ILogger* getLogger() const override { return &logger_; }
  void reset() override { threads_ = 0; }

 private:
  runtime::Engine make(const Network& network, const Config& config) const {
    BuilderConfig options;
    options.log = log_of(logger_);
    options.threads = threads_;
    options.int8 = config.getFlag(BuilderFlag::kINT8);
    options.bf16 = config.getFlag(BuilderFlag::kBF16);
    options.fp16 = config.getFlag(BuilderFlag::kFP16) && !options.bf16;
    for (const Profile* p : config.profiles()) options.profiles.push_back(p->profile);
    if (config.calibration() != nullptr) options.calibration_shapes = config.calibration()->profile.optimum;
    if (config.getMaxWorkspaceSize() > 0)
      options.workspace =
          static_cast<int64_t>(std::min<size_t>(config.getMaxWorkspaceSize(), size_t{1} << 40));
    if (IInt8Calibrator* user = config.getInt8Calibrator()) {
      const auto adapter = std::make_shared<Adapter>(*user);
      adapter->choose(options);
      options.calibrator = adapter;
    }
    return build(network.model(), options);
  }

  ILogger& logger_;
  std::vector<std::unique_ptr<Profile>> profiles_;
  int32_t batch_ = 1, threads_ = 0;
};

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

namespace nvinfer1 {

IBuilder* createInferBuilder(ILogger& logger) {
  return new (std::nothrow) octet::compat::Builder(logger);
}

}  // namespace nvinfer1

namespace nvonnxparser {

IParser* createParser(nvinfer1::INetworkDefinition& network, nvinfer1::ILogger& logger) {
  return new (std::nothrow) octet::compat::Parser(static_cast<octet::compat::Network&>(network), logger);
}

}  // namespace nvonnxparser

extern "C" int getNvOnnxParserVersion() {
  return nvonnxparser::NV_ONNX_PARSER_VERSION;
}
