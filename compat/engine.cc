// Runtime, engine and execution context of NvInfer.h.
#include <algorithm>
#include <cstring>
#include <map>
#include <new>

#include "base/error.h"
#include "common.h"

namespace octet::compat {

using namespace nvinfer1;
using nvinfer1::Dims;  // not octet's

Dims dims_of(const std::vector<int64_t>& shape) {
  if (shape.size() > Dims::MAX_DIMS)
    fail(ErrorCode::kUnsupported, "a tensor of rank {}: nvinfer1::Dims has room for {}", shape.size(), 8);
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = static_cast<int32_t>(shape[i]);
  return dims;
}

std::vector<int64_t> shape_of(const Dims& dims) {
  if (dims.nbDims < 0 || dims.nbDims > Dims::MAX_DIMS)
    fail(ErrorCode::kInvalidArgument, "dimensions with nbDims {}: expected 0 to 8", dims.nbDims);
  return {dims.d, dims.d + dims.nbDims};
}

Dims no_dims() {
  Dims dims{};
  dims.nbDims = -1;
  return dims;
}

DataType type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return DataType::kFLOAT;
    case DType::kFloat16:
      return DataType::kHALF;
    case DType::kBFloat16:
      return DataType::kBF16;
    case DType::kInt8:
      return DataType::kINT8;
    case DType::kUInt8:
      return DataType::kUINT8;
    case DType::kInt32:
      return DataType::kINT32;
    case DType::kInt64:
      return DataType::kINT64;
    case DType::kBool:
      return DataType::kBOOL;
    default:
      fail(ErrorCode::kUnsupported, "an input or output of type {}, which nvinfer1::DataType does not have",
           dtype_name(dtype));
  }
}

namespace {

using runtime::TensorInfo;

// Inputs, then outputs.
struct Bindings {
  runtime::Engine engine;
  ILogger& logger;  // the owner's
  int threads;

  int32_t inputs() const { return static_cast<int32_t>(engine.inputs().size()); }
  int32_t count() const { return inputs() + static_cast<int32_t>(engine.outputs().size()); }
  const TensorInfo* at(int32_t index) const {
    if (index < 0 || index >= count()) return nullptr;
    return index < inputs() ? &engine.inputs()[static_cast<size_t>(index)]
                            : &engine.outputs()[static_cast<size_t>(index - inputs())];
  }
  int32_t find(const char* name) const {
    for (int32_t i = 0; name != nullptr && i < count(); ++i)
      if (at(i)->name == name) return i;
    return -1;
  }
  int32_t profiles() const { return std::max(1, static_cast<int32_t>(engine.profiles().size())); }
};

class Context final : public IExecutionContext {
 public:
  Context(const Bindings& bindings, const RecordingLogger& logger, const ICudaEngine& owner)
      : logger_(logger.user(), logger.recorder()),
        b_{bindings.engine, logger_, bindings.threads},
        owner_(owner),
        context_(b_.engine, {b_.threads, {}}),
        addresses_(static_cast<size_t>(b_.count()), nullptr),
        shapes_(b_.engine.inputs().size()),
        given_(shapes_.size()),
        seconds_(b_.engine.steps().size(), 0) {
    for (const runtime::StepInfo& step : b_.engine.steps()) names_.push_back(step.name);
    for (size_t i = 0; i < shapes_.size(); ++i) {
      const auto& shape = b_.engine.inputs()[i].shape;
      shapes_[i] = shape;
      given_[i] = std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 0; });
    }
  }

  bool executeV2(void* const* bindings) override {
    return guarded(b_.logger, [&] {
      if (bindings == nullptr) fail(ErrorCode::kInvalidArgument, "executeV2: the bindings are null");
      return run({bindings, static_cast<size_t>(b_.count())});
    });
  }
  bool enqueueV2(void* const* bindings, cudaStream_t, cudaEvent_t* consumed) override {
    if (!executeV2(bindings)) return false;
    if (consumed != nullptr && *consumed != nullptr) cudaEventRecord(*consumed);
    return true;
  }
  bool enqueueV3(cudaStream_t) override {
    if (!guarded(b_.logger, [&] { return run(addresses_); })) return false;
    if (consumed_ != nullptr) cudaEventRecord(consumed_);
    return true;
  }

  bool setTensorAddress(const char* name, void* data) override {
    const int32_t index = known(name, "setTensorAddress");
    if (index < 0) return false;
    addresses_[static_cast<size_t>(index)] = data;
    return true;
  }
  bool setInputTensorAddress(const char* name, const void* data) override {
    return setTensorAddress(name, const_cast<void*>(data));
  }
  bool setOutputTensorAddress(const char* name, void* data) override { return setTensorAddress(name, data); }
  const void* getTensorAddress(const char* name) const override {
    const int32_t index = b_.find(name);
    return index < 0 ? nullptr : addresses_[static_cast<size_t>(index)];
  }
  void* getOutputTensorAddress(const char* name) const override {
    const int32_t index = b_.find(name);
    return index < b_.inputs() ? nullptr : addresses_[static_cast<size_t>(index)];
  }

  bool setInputShape(const char* name, const Dims& dimensions) override {
    const int32_t index = known(name, "setInputShape");
    return index >= 0 && setBindingDimensions(index, dimensions);
  }
  bool setBindingDimensions(int32_t index, Dims dimensions) override {
    return guarded(b_.logger, [&] {
      if (index < 0 || index >= b_.inputs())
        fail(ErrorCode::kInvalidArgument, "binding {} is no input: the engine has {}", index, b_.inputs());
      const auto shape = shape_of(dimensions);
      check_shape(b_.engine.inputs()[static_cast<size_t>(index)], shape);
      const auto i = static_cast<size_t>(index);
      auto wanted = shapes_;
      wanted[i] = shape;
      auto given = given_;
      given[i] = true;
      if (wanted.size() == 1 && wanted != shapes_) context_.set_shapes(wanted);  // says what does not fit
      changed_ = changed_ || (wanted.size() > 1 && wanted != shapes_);
      shapes_ = std::move(wanted);
      given_ = std::move(given);
      return true;
    });
  }
  Dims getTensorShape(const char* name) const override { return getBindingDimensions(b_.find(name)); }
  Dims getBindingDimensions(int32_t index) const override {
    const TensorInfo* info = b_.at(index);
    if (info == nullptr) return no_dims();
    try {
      if (index < b_.inputs())
        return dims_of(given_[static_cast<size_t>(index)] ? shapes_[static_cast<size_t>(index)]
                                                          : info->shape);
      if (!allInputDimensionsSpecified()) return dims_of(info->shape);
      apply();
      return dims_of(context_.output_shape(static_cast<size_t>(index - b_.inputs())));
    } catch (const std::exception& error) {
      complain(b_.logger, error.what());
      return no_dims();
    }
  }
  bool allInputDimensionsSpecified() const override {
    return std::all_of(given_.begin(), given_.end(), [](bool g) { return g; });
  }
  bool allInputShapesSpecified() const override { return true; }
  int32_t inferShapes(int32_t most, const char** names) override {
    int32_t missing = 0;
    for (size_t i = 0; i < given_.size(); ++i) {
      if (given_[i]) continue;
      if (missing < most && names != nullptr) names[missing] = b_.engine.inputs()[i].name.c_str();
      ++missing;
    }
    return missing;
  }

  bool setOptimizationProfile(int32_t index) override {
    if (index < 0 || index >= b_.profiles()) {
      complain(b_.logger, fmt::format("profile {}: the engine has {}", index, b_.profiles()));
      return false;
    }
    profile_ = index;
    return true;
  }
  bool setOptimizationProfileAsync(int32_t index, cudaStream_t) override {
    return setOptimizationProfile(index);
  }
  int32_t getOptimizationProfile() const override { return profile_; }
  int64_t getMaxOutputSize(const char* name) const override {
    const int32_t index = b_.find(name);
    if (index < b_.inputs()) return -1;
    try {
      apply();
      return static_cast<int64_t>(context_.output_size(static_cast<size_t>(index - b_.inputs())));
    } catch (const std::exception& error) {
      complain(b_.logger, error.what());
      return -1;
    }
  }
  const ICudaEngine& getEngine() const override { return owner_; }
  void setName(const char* name) override { name_ = name == nullptr ? "" : name; }
  const char* getName() const override { return name_.c_str(); }
  void setProfiler(IProfiler* profiler) override { profiler_ = profiler; }
  IProfiler* getProfiler() const override { return profiler_; }
  void setEnqueueEmitsProfile(bool emits) override { emits_ = emits; }
  bool getEnqueueEmitsProfile() const override { return emits_; }
  bool reportToProfiler() const override {
    if (profiler_ == nullptr || !timed_) return false;
    for (size_t i = 0; i < names_.size(); ++i)
      profiler_->reportLayerTime(names_[i].c_str(), static_cast<float>(seconds_[i] * 1e3));
    return true;
  }
  bool setOutputAllocator(const char* name, IOutputAllocator* allocator) override {
    const int32_t index = known(name, "setOutputAllocator");
    if (index < b_.inputs()) return false;
    allocators_[index] = allocator;
    return true;
  }
  IOutputAllocator* getOutputAllocator(const char* name) const override {
    const auto found = allocators_.find(b_.find(name));
    return found == allocators_.end() ? nullptr : found->second;
  }
  bool setInputConsumedEvent(cudaEvent_t event) override {
    consumed_ = event;
    return true;
  }
  cudaEvent_t getInputConsumedEvent() const override { return consumed_; }
  void setErrorRecorder(IErrorRecorder* recorder) override { logger_.set(recorder); }
  IErrorRecorder* getErrorRecorder() const override { return logger_.recorder(); }
  void setDebugSync(bool sync) override { debug_ = sync; }
  bool getDebugSync() const override { return debug_; }

 private:
  int32_t known(const char* name, const char* function) const {
    const int32_t index = b_.find(name);
    if (index < 0)
      complain(b_.logger,
               fmt::format("{}: the engine has no tensor '{}'", function, name == nullptr ? "" : name));
    return index;
  }

  void check_shape(const TensorInfo& input, const std::vector<int64_t>& shape) const {
    bool fits = shape.size() == input.shape.size();
    for (size_t d = 0; fits && d < shape.size(); ++d)
      fits = shape[d] >= 0 && (input.shape[d] < 0 || input.shape[d] == shape[d]);
    if (!fits)
      fail(ErrorCode::kInvalidArgument,
           "the input '{}' has shape {}, which the given dimensions of rank {} do not fit", input.name,
           input.shape_text, shape.size());
  }

  // Shapes of several inputs depend on each other: they take effect together.
  void apply() const {
    if (!changed_) return;
    context_.set_shapes(shapes_);
    changed_ = false;
  }

  bool run(std::span<void* const> addresses) {
    if (!allInputDimensionsSpecified())
      fail(ErrorCode::kInvalidArgument, "the dimensions of an input are open: set them before the run");
    apply();
    const auto inputs = static_cast<size_t>(b_.inputs());
    for (size_t i = 0; i < addresses.size(); ++i)
      if (addresses[i] == nullptr && allocator(i) == nullptr)
        fail(ErrorCode::kInvalidArgument, "'{}' has no address", b_.at(static_cast<int32_t>(i))->name);
    for (size_t i = 0; i < inputs; ++i)
      context_.set_input(i, std::span(static_cast<const std::byte*>(addresses[i]), context_.input_size(i)));
    if (profiler_ == nullptr) {
      context_.run();
    } else {
      std::ranges::fill(seconds_, 0.0);
      context_.run(seconds_);
      timed_ = true;
      if (emits_) reportToProfiler();
    }
    for (size_t i = inputs; i < addresses.size(); ++i) {
      const auto bytes = context_.output<std::byte>(i - inputs);
      void* address = addresses[i];
      if (IOutputAllocator* own = allocator(i)) {
        const char* name = b_.at(static_cast<int32_t>(i))->name.c_str();
        address = own->reallocateOutput(name, address, std::max<size_t>(bytes.size(), 1), kAlignment);
        if (address == nullptr)
          fail(ErrorCode::kOutOfMemory, "the allocator of the output '{}' gave no memory for {} bytes", name,
               bytes.size());
        own->notifyShape(name, dims_of(context_.output_shape(i - inputs)));
      }
      if (!bytes.empty()) std::memmove(address, bytes.data(), bytes.size());
    }
    return true;
  }

  IOutputAllocator* allocator(size_t index) const {
    const auto found = allocators_.find(static_cast<int32_t>(index));
    return found == allocators_.end() ? nullptr : found->second;
  }

  static constexpr uint64_t kAlignment = 256;
  RecordingLogger logger_;
  const Bindings b_;
  const ICudaEngine& owner_;
  mutable runtime::Context context_;
  std::vector<void*> addresses_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<bool> given_;
  mutable bool changed_ = false;
  int32_t profile_ = 0;
  std::string name_;
  bool debug_ = false;
  IProfiler* profiler_ = nullptr;
  bool emits_ = true, timed_ = false;
  std::vector<double> seconds_;  // of each step in the last run with a profiler
  std::vector<std::string> names_;
  std::map<int32_t, IOutputAllocator*> allocators_;  // by binding
  cudaEvent_t consumed_ = nullptr;
};

class Engine final : public ICudaEngine {
 public:
  Engine(runtime::Engine engine, const RecordingLogger& logger, int threads)
      : logger_(logger.user(), logger.recorder()), b_{std::move(engine), logger_, threads} {
    for (int32_t i = 0; i < b_.count(); ++i) {
      types_.push_back(type_of(b_.at(i)->dtype));
      dims_.push_back(dims_of(b_.at(i)->shape));
    }
  }

  int32_t getNbBindings() const override { return b_.count(); }
  int32_t getBindingIndex(const char* name) const override { return b_.find(name); }
  const char* getBindingName(int32_t i) const override { return b_.at(i) ? b_.at(i)->name.c_str() : nullptr; }
  bool bindingIsInput(int32_t i) const override { return i >= 0 && i < b_.inputs(); }
  Dims getBindingDimensions(int32_t i) const override {
    return b_.at(i) ? dims_[static_cast<size_t>(i)] : no_dims();
  }
  DataType getBindingDataType(int32_t i) const override {
    return b_.at(i) ? types_[static_cast<size_t>(i)] : DataType::kFLOAT;
  }
  TensorFormat getBindingFormat(int32_t) const override { return TensorFormat::kLINEAR; }
  const char* getBindingFormatDesc(int32_t) const override { return "Row major linear format (kLINEAR)"; }
  int32_t getBindingBytesPerComponent(int32_t i) const override {
    return b_.at(i) ? static_cast<int32_t>(dtype_bytes(b_.at(i)->dtype, 1)) : -1;
  }
  int32_t getBindingComponentsPerElement(int32_t) const override { return 1; }
  int32_t getBindingVectorizedDim(int32_t) const override { return -1; }
  bool isShapeBinding(int32_t) const override { return false; }
  bool isExecutionBinding(int32_t i) const override { return b_.at(i) != nullptr; }
  TensorLocation getLocation(int32_t) const override { return TensorLocation::kDEVICE; }
  Dims getProfileDimensions(int32_t i, int32_t profile, OptProfileSelector select) const override {
    if (!bindingIsInput(i) || profile < 0 || profile >= b_.profiles()) return no_dims();
    const auto& all = b_.engine.profiles();
    if (all.empty()) return dims_[static_cast<size_t>(i)];
    const runtime::Profile& p = all[static_cast<size_t>(profile)];
    const auto& shapes = select == OptProfileSelector::kMIN   ? p.minimum
                         : select == OptProfileSelector::kOPT ? p.optimum
                                                              : p.maximum;
    return dims_of(shapes[static_cast<size_t>(i)]);
  }

  int32_t getNbIOTensors() const override { return b_.count(); }
  const char* getIOTensorName(int32_t i) const override { return getBindingName(i); }
  Dims getTensorShape(const char* name) const override { return getBindingDimensions(b_.find(name)); }
  DataType getTensorDataType(const char* name) const override { return getBindingDataType(b_.find(name)); }
  TensorIOMode getTensorIOMode(const char* name) const override {
    const int32_t i = b_.find(name);
    if (i < 0) return TensorIOMode::kNONE;
    return i < b_.inputs() ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  TensorLocation getTensorLocation(const char*) const override { return TensorLocation::kDEVICE; }
  TensorFormat getTensorFormat(const char*) const override { return TensorFormat::kLINEAR; }
  const char* getTensorFormatDesc(const char*) const override { return getBindingFormatDesc(0); }
  int32_t getTensorBytesPerComponent(const char* name) const override {
    return getBindingBytesPerComponent(b_.find(name));
  }
  int32_t getTensorComponentsPerElement(const char* name) const override {
    return b_.find(name) < 0 ? -1 : 1;
  }
  int32_t getTensorVectorizedDim(const char*) const override { return -1; }
  bool isShapeInferenceIO(const char*) const override { return false; }
  Dims getProfileShape(const char* name, int32_t profile, OptProfileSelector select) const override {
    return getProfileDimensions(b_.find(name), profile, select);
  }

  int32_t getNbLayers() const override { return static_cast<int32_t>(b_.engine.steps().size()); }
  IEngineInspector* createEngineInspector() const override {
    return guarded(b_.logger, [&] { return make_inspector(b_.engine); });
  }
  int32_t getNbOptimizationProfiles() const override { return b_.profiles(); }
  int32_t getMaxBatchSize() const override { return 1; }  // as of every engine with an explicit batch
  std::size_t getDeviceMemorySize() const override { return 0; }
  bool isRefittable() const override { return false; }
  bool hasImplicitBatchDimension() const override { return false; }
  const char* getName() const override { return ""; }
  EngineCapability getEngineCapability() const override { return EngineCapability::kSTANDARD; }
  IHostMemory* serialize() const override {
    return guarded(b_.logger, [&]() -> IHostMemory* { return new HostMemory(b_.engine.serialize()); });
  }
  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) override {
    return guarded(b_.logger, [&]() -> IExecutionContext* { return new Context(b_, logger_, *this); });
  }
  void setErrorRecorder(IErrorRecorder* recorder) override { logger_.set(recorder); }
  IErrorRecorder* getErrorRecorder() const override { return logger_.recorder(); }

 private:
  mutable RecordingLogger logger_;
  Bindings b_;
  std::vector<DataType> types_;
  std::vector<Dims> dims_;
};

class Runtime final : public IRuntime {
 public:
  explicit Runtime(ILogger& logger) : logger_(logger) {}
  ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size) override {
    return guarded(logger_, [&]() -> ICudaEngine* {
      if (blob == nullptr) fail(ErrorCode::kInvalidArgument, "deserializeCudaEngine: the engine is null");
      return make_engine(runtime::Engine::load({static_cast<const std::byte*>(blob), size}), logger_,
                         threads_);
    });
  }
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

 private:
  RecordingLogger logger_;
  int32_t threads_ = 0;
};

}  // namespace

ICudaEngine* make_engine(runtime::Engine engine, const RecordingLogger& logger, int threads) {
  return new Engine(std::move(engine), logger, threads);
}

}  // namespace octet::compat

namespace nvinfer1 {

IRuntime* createInferRuntime(ILogger& logger) {
  return new (std::nothrow) octet::compat::Runtime(logger);
}

}  // namespace nvinfer1

extern "C" int32_t getInferLibVersion() {
  return NV_TENSORRT_VERSION;
}
