// A program as people wrote them for TensorRT 8 to 10; nothing in it knows Octet.
//
//   classic_tensorrt MODEL.onnx ENGINE CACHE BATCH [v3]   MODEL takes one input N x C x H x W
//
// Builds an INT8 engine by an entropy calibrator with made-up images (or from CACHE, if it exists), writes
// both, reads the engine back, runs it by enqueueV2 (or enqueueV3) and executeV2, and prints the first values
// of each output.
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <cuda_runtime_api.h>

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#define CUDA_CHECK(status)                                                                    \
  do {                                                                                        \
    auto ret = (status);                                                                      \
    if (ret != cudaSuccess) {                                                                 \
      std::cerr << "Cuda failure: " << cudaGetErrorString(ret) << " at " << __LINE__ << "\n"; \
      abort();                                                                                \
    }                                                                                         \
  } while (0)
#define REQUIRE(condition)                                            \
  do {                                                                \
    if (!(condition)) {                                               \
      std::cerr << "line " << __LINE__ << ": " << #condition << "\n"; \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

using namespace nvinfer1;

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* msg) noexcept override {
    if (severity <= Severity::kERROR) ++errors;
    if (severity <= Severity::kWARNING) std::cerr << "[TRT] " << msg << std::endl;
  }
  int errors = 0;
} gLogger;

struct InferDeleter {
  template <typename T>
  void operator()(T* obj) const {
    if (obj) obj->destroy();
  }
};
template <typename T>
using UniquePtr = std::unique_ptr<T, InferDeleter>;

static int64_t volume(const nvinfer1::Dims& d) {
  int64_t v = 1;
  for (int i = 0; i < d.nbDims; ++i) v *= d.d[i];
  return v;
}

class Int8EntropyCalibrator2 : public nvinfer1::IInt8EntropyCalibrator2 {
 public:
  Int8EntropyCalibrator2(int batchsize, int volume, const std::string& table, const std::string& blob)
      : batchsize_(batchsize), volume_(volume), table_(table), blob_(blob), host_(batchsize * volume) {
    CUDA_CHECK(cudaMalloc(&device_input_, host_.size() * sizeof(float)));
  }
  virtual ~Int8EntropyCalibrator2() { CUDA_CHECK(cudaFree(device_input_)); }
  int getBatchSize() const noexcept override { return batchsize_; }
  bool getBatch(void* bindings[], const char* names[], int nbBindings) noexcept override {
    if (index_ == 12) return false;
    assert(nbBindings == 1);
    (void)nbBindings;
    for (size_t i = 0; i < host_.size(); ++i) host_[i] = float((i * 31 + index_ * 7) % 256) / 255.0f;
    ++index_;
    CUDA_CHECK(cudaMemcpy(device_input_, host_.data(), host_.size() * sizeof(float), cudaMemcpyHostToDevice));
    REQUIRE(!strcmp(names[0], blob_.c_str()));
    bindings[0] = device_input_;
    return true;
  }
  const void* readCalibrationCache(size_t& length) noexcept override {
    calib_cache_.clear();
    std::ifstream input(table_, std::ios::binary);
    input >> std::noskipws;
    if (input.good())
      std::copy(std::istream_iterator<char>(input), std::istream_iterator<char>(),
                std::back_inserter(calib_cache_));
    length = calib_cache_.size();
    return length ? calib_cache_.data() : nullptr;
  }
  void writeCalibrationCache(const void* cache, size_t length) noexcept override {
    std::ofstream output(table_, std::ios::binary);
    output.write(reinterpret_cast<const char*>(cache), length);
  }

 private:
  int batchsize_, volume_, index_ = 0;
  std::string table_, blob_;
  std::vector<float> host_;
  void* device_input_ = nullptr;
  std::vector<char> calib_cache_;
};

static void build(const char* model, const std::string& engine, const std::string& cache, int batch,
                  bool newer) {
  UniquePtr<IBuilder> builder(createInferBuilder(gLogger));
  const auto explicitBatch = 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
  UniquePtr<INetworkDefinition> network(builder->createNetworkV2(explicitBatch));
  UniquePtr<nvonnxparser::IParser> parser(nvonnxparser::createParser(*network, gLogger));
  REQUIRE(!parser->parseFromFile("/nonexistent.onnx", 1));
  REQUIRE(parser->getNbErrors() == 1);
  REQUIRE(strstr(parser->getError(0)->desc(), "nonexistent"));
  parser->clearErrors();
  if (newer) {
    std::ifstream file(model, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    REQUIRE(parser->parse(bytes.data(), bytes.size()));
  } else {
    REQUIRE(parser->parseFromFile(model, static_cast<int>(ILogger::Severity::kWARNING)));
  }
  gLogger.errors = 0;
  REQUIRE(network->getNbInputs() == 1);
  auto input = network->getInput(0);
  Dims dims = input->getDimensions();
  REQUIRE(dims.nbDims == 4 && dims.d[0] == -1);
  const std::string name = input->getName();
  REQUIRE(input->getType() == DataType::kFLOAT);

  UniquePtr<IBuilderConfig> config(builder->createBuilderConfig());
  IOptimizationProfile* profile = builder->createOptimizationProfile();
  profile->setDimensions(name.c_str(), OptProfileSelector::kMIN, Dims4(1, dims.d[1], dims.d[2], dims.d[3]));
  profile->setDimensions(name.c_str(), OptProfileSelector::kOPT, Dims4{1, dims.d[1], dims.d[2], dims.d[3]});
  profile->setDimensions(name.c_str(), OptProfileSelector::kMAX, Dims4{8, dims.d[1], dims.d[2], dims.d[3]});
  REQUIRE(config->addOptimizationProfile(profile) == 0);
  if (newer)
    config->setMemoryPoolLimit(MemoryPoolType::kWORKSPACE, 1ULL << 30);
  else
    config->setMaxWorkspaceSize(16 * (1 << 20));
  REQUIRE(builder->platformHasFastInt8());
  config->setFlag(BuilderFlag::kINT8);
  Int8EntropyCalibrator2 calibrator(batch, dims.d[1] * dims.d[2] * dims.d[3], cache, name);
  config->setInt8Calibrator(&calibrator);
  config->setCalibrationProfile(profile);

  UniquePtr<IHostMemory> plan;
  if (newer) {
    plan.reset(builder->buildSerializedNetwork(*network, *config));
  } else {
    UniquePtr<ICudaEngine> built(builder->buildEngineWithConfig(*network, *config));
    REQUIRE(built);
    plan.reset(built->serialize());
  }
  REQUIRE(plan && plan->size() > 0);
  std::ofstream(engine, std::ios::binary).write(static_cast<const char*>(plan->data()), plan->size());
}

static void infer(const std::string& file, int batch, bool newer) {
  std::ifstream stream(file, std::ios::binary);
  stream.seekg(0, stream.end);
  const size_t size = stream.tellg();
  stream.seekg(0, stream.beg);
  std::unique_ptr<char[]> data(new char[size]);
  stream.read(data.get(), size);
  IRuntime* runtime = createInferRuntime(gLogger);
  REQUIRE(runtime->deserializeCudaEngine(data.get(), size / 2) == nullptr && gLogger.errors == 1);
  ICudaEngine* engine = runtime->deserializeCudaEngine(data.get(), size);
  REQUIRE(engine);
  IExecutionContext* context = engine->createExecutionContext();
  REQUIRE(context);
  cudaStream_t stream_;
  CUDA_CHECK(cudaStreamCreate(&stream_));

  const int n = engine->getNbBindings();
  REQUIRE(n == engine->getNbIOTensors() && engine->getBindingIndex("no such") == -1);
  const int inputIndex = 0;
  const char* inputName = engine->getIOTensorName(inputIndex);
  REQUIRE(engine->bindingIsInput(inputIndex) && engine->getTensorIOMode(inputName) == TensorIOMode::kINPUT);
  REQUIRE(engine->getBindingIndex(inputName) == inputIndex);
  REQUIRE(engine->getProfileDimensions(0, 0, OptProfileSelector::kMAX).d[0] == 8);
  Dims dims = engine->getBindingDimensions(inputIndex);
  REQUIRE(dims.d[0] == -1 && !context->allInputDimensionsSpecified());
  dims.d[0] = 9;
  REQUIRE(
      !(newer ? context->setInputShape(inputName, dims) : context->setBindingDimensions(inputIndex, dims)));
  dims.d[0] = batch;
  REQUIRE(newer ? context->setInputShape(inputName, dims) : context->setBindingDimensions(inputIndex, dims));
  REQUIRE(context->allInputDimensionsSpecified());

  std::vector<void*> buffers(n);
  std::vector<std::vector<float>> host(n);
  for (int i = 0; i < n; ++i) {
    const int64_t count = volume(newer ? context->getTensorShape(engine->getIOTensorName(i))
                                       : context->getBindingDimensions(i));
    REQUIRE(engine->getBindingDataType(i) == DataType::kFLOAT && count > 0);
    host[i].resize(count);
    CUDA_CHECK(cudaMalloc(&buffers[i], count * sizeof(float)));
  }
  for (size_t i = 0; i < host[0].size(); ++i) host[0][i] = float((i * 13) % 256) / 255.0f;
  CUDA_CHECK(cudaMemcpyAsync(buffers[0], host[0].data(), host[0].size() * sizeof(float),
                             cudaMemcpyHostToDevice, stream_));
  cudaEvent_t start, end;
  CUDA_CHECK(cudaEventCreate(&start));
  CUDA_CHECK(cudaEventCreate(&end));
  CUDA_CHECK(cudaEventRecord(start, stream_));
  if (newer) {
    for (int i = 0; i < n; ++i) REQUIRE(context->setTensorAddress(engine->getIOTensorName(i), buffers[i]));
    REQUIRE(context->enqueueV3(stream_));
  } else {
    REQUIRE(context->enqueueV2(buffers.data(), stream_, nullptr));
  }
  CUDA_CHECK(cudaEventRecord(end, stream_));
  CUDA_CHECK(cudaStreamSynchronize(stream_));
  float milliseconds = -1;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start, end));
  REQUIRE(milliseconds >= 0);
  for (int i = 1; i < n; ++i) {
    CUDA_CHECK(cudaMemcpyAsync(host[i].data(), buffers[i], host[i].size() * sizeof(float),
                               cudaMemcpyDeviceToHost, stream_));
    for (size_t k = 0; k < host[i].size() && k < 20; ++k) std::cout << host[i][k] << "\n";
  }
  const std::vector<float> before = host[1];
  CUDA_CHECK(cudaMemset(buffers[1], 0, before.size() * sizeof(float)));
  REQUIRE(context->executeV2(buffers.data()));
  CUDA_CHECK(cudaMemcpy(host[1].data(), buffers[1], before.size() * sizeof(float), cudaMemcpyDeviceToHost));
  REQUIRE(before == host[1]);
  for (int i = 0; i < n; ++i) CUDA_CHECK(cudaFree(buffers[i]));
  CUDA_CHECK(cudaEventDestroy(start));
  CUDA_CHECK(cudaEventDestroy(end));
  CUDA_CHECK(cudaStreamDestroy(stream_));
  delete context;
  delete engine;
  delete runtime;
}

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const bool newer = argc > 5;
  build(argv[1], argv[2], argv[3], atoi(argv[4]), newer);
  infer(argv[2], atoi(argv[4]), newer);
  return 0;
}
