// A deployment program as people write them for TensorRT 8.6 to 10: looks through the parsed network, sets
// ranges and precisions by hand or takes a calibrator, keeps a timing cache, runs with a profiler, an error
// recorder, an inspector and output allocators. Nothing in it knows Octet.
//
//   deploy_tensorrt MODEL.onnx calibrator|ranges|mixed ENGINE   MODEL takes one input N x C x H x W
//
// Writes the engine and prints, line by line, what a test compares.
#include <NvInfer.h>
#include <NvInferPlugin.h>
#include <NvOnnxParser.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#define REQUIRE(condition)                                            \
  do {                                                                \
    if (!(condition)) {                                               \
      std::cerr << "line " << __LINE__ << ": " << #condition << "\n"; \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

namespace {

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, nvinfer1::AsciiChar const* msg) noexcept override {
    if (severity <= Severity::kWARNING) {
      std::cerr << msg << std::endl;
      warnings.push_back(msg);
    }
  }
  std::vector<std::string> warnings;
};

class Recorder : public nvinfer1::IErrorRecorder {
 public:
  int32_t getNbErrors() const noexcept override { return static_cast<int32_t>(errors_.size()); }
  nvinfer1::ErrorCode getErrorCode(int32_t i) const noexcept override { return errors_[i].first; }
  ErrorDesc getErrorDesc(int32_t i) const noexcept override { return errors_[i].second.c_str(); }
  bool hasOverflowed() const noexcept override { return false; }
  void clear() noexcept override { errors_.clear(); }
  bool reportError(nvinfer1::ErrorCode code, ErrorDesc text) noexcept override {
    errors_.emplace_back(code, text);
    return true;
  }
  RefCount incRefCount() noexcept override { return ++count; }
  RefCount decRefCount() noexcept override { return --count; }
  int32_t count = 0;

 private:
  std::vector<std::pair<nvinfer1::ErrorCode, std::string>> errors_;
};

class Profiler : public nvinfer1::IProfiler {
 public:
  void reportLayerTime(char const* layerName, float ms) noexcept override {
    REQUIRE(layerName != nullptr && ms >= 0);
    times[layerName] += ms;
    ++reports;
  }
  std::map<std::string, float> times;
  int reports = 0;
};

class Outputs : public nvinfer1::IOutputAllocator {
 public:
  void* reallocateOutput(char const*, void*, uint64_t size, uint64_t) noexcept override {
    if (size > memory.size()) memory.resize(size);
    return memory.data();
  }
  void notifyShape(char const*, nvinfer1::Dims const& dims) noexcept override { shape = dims; }
  std::vector<char> memory;
  nvinfer1::Dims shape{};
};

class Calibrator : public nvinfer1::IInt8MinMaxCalibrator {
 public:
  explicit Calibrator(size_t size) : image_(size) {}
  int32_t getBatchSize() const noexcept override { return 1; }
  bool getBatch(void* bindings[], char const* names[], int32_t nbBindings) noexcept override {
    REQUIRE(nbBindings == 1 && names[0] != nullptr);
    if (given_ == 8) return false;
    for (size_t i = 0; i < image_.size(); ++i) image_[i] = static_cast<float>((i * 31 + given_ * 7) % 256);
    ++given_;
    bindings[0] = image_.data();
    return true;
  }
  void const* readCalibrationCache(std::size_t& length) noexcept override {
    length = 0;
    return nullptr;
  }
  void writeCalibrationCache(void const*, std::size_t) noexcept override {}

 private:
  std::vector<float> image_;
  size_t given_ = 0;
};

// As samples do that have no data: the same range everywhere.
void set_all_dynamic_ranges(nvinfer1::INetworkDefinition& network, float range) {
  for (int i = 0; i < network.getNbLayers(); i++) {
    auto* layer = network.getLayer(i);
    for (int j = 0; j < layer->getNbInputs(); j++) {
      nvinfer1::ITensor* input{layer->getInput(j)};
      if (input != nullptr && !input->dynamicRangeIsSet()) REQUIRE(input->setDynamicRange(-range, range));
    }
    for (int j = 0; j < layer->getNbOutputs(); j++) {
      nvinfer1::ITensor* output{layer->getOutput(j)};
      if (output != nullptr && !output->dynamicRangeIsSet()) REQUIRE(output->setDynamicRange(-range, range));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace nvinfer1;
  if (argc < 4) return 2;
  const std::string way = argv[2];
  Logger logger;
  Recorder recorder;
  initLibNvInferPlugins(&logger, "");
  auto builder = std::unique_ptr<IBuilder>(createInferBuilder(logger));
  builder->setErrorRecorder(&recorder);
  REQUIRE(builder->getErrorRecorder() == &recorder && recorder.count == 1);
  auto network = std::unique_ptr<INetworkDefinition>(
      builder->createNetworkV2(1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH)));
  auto parser = std::unique_ptr<nvonnxparser::IParser>(nvonnxparser::createParser(*network, logger));
  auto config = std::unique_ptr<IBuilderConfig>(builder->createBuilderConfig());
  // An empty network cannot be built, and the recorder hears of it.
  REQUIRE(network->getNbLayers() == 0 && network->getLayer(0) == nullptr);
  REQUIRE(builder->buildSerializedNetwork(*network, *config) == nullptr);
  REQUIRE(recorder.getNbErrors() == 1 && strstr(recorder.getErrorDesc(0), "parse"));
  recorder.clear();

  if (!parser->parseFromFile(argv[1], static_cast<int>(ILogger::Severity::kWARNING))) {
    for (int32_t i = 0; i < parser->getNbErrors(); ++i) std::cerr << parser->getError(i)->desc() << std::endl;
    return 1;
  }
  int convolutions = 0;
  for (int32_t i = 0; i < network->getNbLayers(); ++i) {
    ILayer* layer = network->getLayer(i);
    REQUIRE(layer != nullptr && layer->getNbOutputs() > 0 && strlen(layer->getName()) > 0);
    REQUIRE(layer->getOutput(0) != nullptr && layer->getOutput(layer->getNbOutputs()) == nullptr);
    if (layer->getType() != LayerType::kCONVOLUTION) continue;
    ++convolutions;
    REQUIRE(layer->getNbInputs() == 1 && layer->getInput(0)->getDimensions().nbDims == 4);
    REQUIRE(!layer->precisionIsSet() && layer->getOutputType(0) == DataType::kFLOAT);
  }
  std::cout << "convolutions " << convolutions << "\n";

  ITensor* input = network->getInput(0);
  Dims dims = input->getDimensions();
  IOptimizationProfile* profile = builder->createOptimizationProfile();
  for (auto select : {OptProfileSelector::kMIN, OptProfileSelector::kOPT, OptProfileSelector::kMAX})
    profile->setDimensions(
        input->getName(), select,
        Dims4{select == OptProfileSelector::kMAX ? 4 : 1, dims.d[1], dims.d[2], dims.d[3]});
  config->addOptimizationProfile(profile);
  config->setMemoryPoolLimit(MemoryPoolType::kWORKSPACE, 1 << 28);
  config->setPreviewFeature(PreviewFeature::kPROFILE_SHARING_0806, true);
  config->setFlag(BuilderFlag::kINT8);
  config->setProfilingVerbosity(ProfilingVerbosity::kDETAILED);
  const char measured[] = "measured before";
  auto timing = std::unique_ptr<ITimingCache>(config->createTimingCache(measured, sizeof(measured)));
  REQUIRE(config->setTimingCache(*timing, false) && config->getTimingCache() == timing.get());

  Calibrator calibrator(static_cast<size_t>(dims.d[1]) * dims.d[2] * dims.d[3]);
  if (way == "ranges") {
    set_all_dynamic_ranges(*network, 100.0F);
    REQUIRE(input->dynamicRangeIsSet() && input->getDynamicRangeMax() == 100.0F);
    REQUIRE(!input->setDynamicRange(3, 2));
    REQUIRE(input->setDynamicRange(0, 255));
    for (int32_t i = 0; i < network->getNbLayers(); ++i)
      for (int32_t j = 0; j < network->getLayer(i)->getNbOutputs(); ++j)
        std::cout << "tensor " << network->getLayer(i)->getOutput(j)->getName() << "\n";
  } else {
    config->setInt8Calibrator(&calibrator);
  }
  if (way == "mixed") {
    config->setFlag(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
    int kept = 0;
    for (int32_t i = 0; i < network->getNbLayers() && kept < 3; ++i) {
      ILayer* layer = network->getLayer(i);
      if (layer->getType() != LayerType::kCONVOLUTION) continue;
      layer->setPrecision(DataType::kFLOAT);
      layer->setOutputType(0, DataType::kFLOAT);
      REQUIRE(layer->precisionIsSet() && layer->outputTypeIsSet(0));
      ++kept;
    }
  }

  auto plan = std::unique_ptr<IHostMemory>(builder->buildSerializedNetwork(*network, *config));
  REQUIRE(plan && plan->size() > 0 && recorder.getNbErrors() == 0);
  auto kept = std::unique_ptr<IHostMemory>(config->getTimingCache()->serialize());
  REQUIRE(kept->size() == sizeof(measured) && !memcmp(kept->data(), measured, sizeof(measured)));
  std::ofstream(argv[3], std::ios::binary).write(static_cast<const char*>(plan->data()), plan->size());

  auto runtime = std::unique_ptr<IRuntime>(createInferRuntime(logger));
  runtime->setErrorRecorder(&recorder);
  REQUIRE(runtime->deserializeCudaEngine("none", 4) == nullptr && recorder.getNbErrors() == 1);
  recorder.clear();
  auto engine = std::unique_ptr<ICudaEngine>(runtime->deserializeCudaEngine(plan->data(), plan->size()));
  REQUIRE(engine && engine->getErrorRecorder() == &recorder);
  auto inspector = std::unique_ptr<IEngineInspector>(engine->createEngineInspector());
  const std::string all = inspector->getEngineInformation(LayerInformationFormat::kJSON);
  REQUIRE(all.front() == '{' && all.back() == '}');
  int integer = 0, real = 0;
  for (int32_t i = 0; i < engine->getNbLayers(); ++i) {
    const std::string line = inspector->getLayerInformation(i, LayerInformationFormat::kONELINE);
    REQUIRE(all.find(inspector->getLayerInformation(i, LayerInformationFormat::kJSON)) != std::string::npos);
    if (line.find("(conv, ") == std::string::npos && line.find("(conv_f32, ") == std::string::npos) continue;
    (line.find("int8") != std::string::npos ? integer : real) += 1;
  }
  std::cout << "int8 " << integer << "\nfloat " << real << "\n";

  auto context = std::unique_ptr<IExecutionContext>(engine->createExecutionContext());
  Profiler profiler;
  context->setProfiler(&profiler);
  const char* in = engine->getIOTensorName(0);
  dims.d[0] = 2;
  REQUIRE(!context->enqueueV3(nullptr));
  REQUIRE(recorder.getNbErrors() == 1 && recorder.getErrorCode(0) != ErrorCode::kSUCCESS);
  REQUIRE(context->setInputShape(in, dims) && context->allInputDimensionsSpecified());
  std::vector<float> image(static_cast<size_t>(2) * dims.d[1] * dims.d[2] * dims.d[3]);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>((i * 13) % 256);
  REQUIRE(context->setTensorAddress(in, image.data()));
  Outputs outputs;
  const char* out = engine->getIOTensorName(engine->getNbIOTensors() - 1);
  REQUIRE(engine->getTensorIOMode(out) == TensorIOMode::kOUTPUT);
  REQUIRE(context->setOutputAllocator(out, &outputs) && context->getOutputAllocator(out) == &outputs);
  cudaStream_t stream;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(context->enqueueV3(stream) && cudaStreamSynchronize(stream) == cudaSuccess);
  REQUIRE(profiler.reports == engine->getNbLayers());
  context->setEnqueueEmitsProfile(false);
  REQUIRE(context->enqueueV3(stream) && profiler.reports == engine->getNbLayers());
  REQUIRE(context->reportToProfiler() && profiler.reports == 2 * engine->getNbLayers());
  REQUIRE(outputs.shape.nbDims >= 1 && outputs.shape.d[0] == 2);
  for (size_t i = 0; i < 10; ++i)
    std::cout << "output " << reinterpret_cast<const float*>(outputs.memory.data())[i] << "\n";
  REQUIRE(cudaStreamDestroy(stream) == cudaSuccess);
  context.reset();
  engine.reset();
  runtime.reset();
  builder.reset();
  REQUIRE(recorder.count == 0);
  return 0;
}
