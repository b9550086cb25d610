// Builder and configuration of NvInfer.h.
#include "octet/builder.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <set>

#include "base/error.h"
#include "common.h"
#include "network.h"

namespace octet::compat {

using namespace nvinfer1;
using nvinfer1::Dims;  // not octet's
namespace {

Log log_of(ILogger& logger) {
  return [&logger](octet::Severity severity, std::string_view text) {
    say(logger, static_cast<ILogger::Severity>(severity), std::string(text));
  };
}

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

class TimingCache final : public ITimingCache {
 public:
  explicit TimingCache(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  IHostMemory* serialize() const override { return new (std::nothrow) HostMemory(bytes_); }
  bool combine(const ITimingCache& other, bool) override {
    if (bytes_.empty()) bytes_ = static_cast<const TimingCache&>(other).bytes_;
    return true;
  }
  bool reset() override {
    bytes_.clear();
    return true;
  }

 private:
  std::vector<std::byte> bytes_;
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
  ITimingCache* createTimingCache(const void* blob, std::size_t size) const override {
    const auto* bytes = static_cast<const std::byte*>(blob);
    if (bytes == nullptr) size = 0;
    return new (std::nothrow) TimingCache(std::vector<std::byte>(bytes, bytes + size));
  }
  bool setTimingCache(const ITimingCache& cache, bool) override {
    timing_ = &cache;
    return true;
  }
  const ITimingCache* getTimingCache() const override { return timing_; }
  void setQuantizationFlag(QuantizationFlag flag) override {
    quantization_ |= 1U << static_cast<uint32_t>(flag);
  }
  void clearQuantizationFlag(QuantizationFlag flag) override {
    quantization_ &= ~(1U << static_cast<uint32_t>(flag));
  }
  bool getQuantizationFlag(QuantizationFlag flag) const override {
    return (quantization_ >> static_cast<uint32_t>(flag) & 1U) != 0;
  }
  void setQuantizationFlags(QuantizationFlags flags) override { quantization_ = flags; }
  QuantizationFlags getQuantizationFlags() const override { return quantization_; }
  void setPreviewFeature(PreviewFeature feature, bool enable) override {
    enable ? (void)preview_.insert(feature) : (void)preview_.erase(feature);
  }
  bool getPreviewFeature(PreviewFeature feature) const override { return preview_.count(feature) > 0; }
  void setMaxAuxStreams(int32_t count) override { streams_ = count; }
  int32_t getMaxAuxStreams() const override { return streams_; }
  void reset() override {
    timing_ = nullptr;
    quantization_ = 0;
    preview_.clear();
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
  int32_t level_ = 3, average_ = 1, streams_ = 0;
  const ITimingCache* timing_ = nullptr;
  QuantizationFlags quantization_ = 0;
  std::set<PreviewFeature> preview_;
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

// Ranges that the program gave by setDynamicRange().
class GivenRanges final : public Calibrator {
 public:
  explicit GivenRanges(std::string cache) : cache_(std::move(cache)) {}
  int64_t batch_size() const override { return 1; }
  bool next_batch(std::span<CalibrationArray>) override { return false; }
  std::string read_cache() override { return cache_; }

 private:
  std::string cache_;
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
  ILogger* getLogger() const override { return &logger_.user(); }
  void setErrorRecorder(IErrorRecorder* recorder) override { logger_.set(recorder); }
  IErrorRecorder* getErrorRecorder() const override { return logger_.recorder(); }
  void reset() override {
    threads_ = 0;
    logger_.set(nullptr);
  }

 private:
  runtime::Engine make(const Network& network, const Config& config) const {
    const Model model = network.model();
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
    if (std::string ranges = network.ranges_as_cache(); !ranges.empty() && options.int8) {
      if (options.calibrator)
        say(logger_, ILogger::Severity::kWARNING,
            "setDynamicRange: there is a calibrator too, and its ranges are taken");
      else
        options.calibrator = std::make_shared<GivenRanges>(std::move(ranges));
    }
    const std::vector<std::string> real = network.float_nodes();
    const bool counts = config.getFlag(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS) ||
                        config.getFlag(BuilderFlag::kPREFER_PRECISION_CONSTRAINTS) ||
                        config.getFlag(BuilderFlag::kSTRICT_TYPES);
    if (counts)
      options.exclude = real;
    else if (!real.empty() && options.int8)
      say(logger_, ILogger::Severity::kWARNING,
          "setPrecision has no effect without kOBEY_PRECISION_CONSTRAINTS or kPREFER_PRECISION_CONSTRAINTS");
    return build(model, options);
  }

  mutable RecordingLogger logger_;
  std::vector<std::unique_ptr<Profile>> profiles_;
  int32_t batch_ = 1, threads_ = 0;
};

}  // namespace
}  // namespace octet::compat

namespace nvinfer1 {

IBuilder* createInferBuilder(ILogger& logger) {
  return new (std::nothrow) octet::compat::Builder(logger);
}

}  // namespace nvinfer1
