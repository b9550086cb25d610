// The part of TensorRT's C++ interface that a program needs to turn an ONNX file into an engine and to run
// it, as TensorRT 8 to 10 have it: builder, network, configuration, calibrators, runtime, engine, context.
// Octet does the work, on the CPU: bindings are host pointers. Link Octet's library instead of nvinfer.
//
// What is not here is not offered: networks built layer by layer, plugins, refitting, DLA, IProfiler, timing
// caches. Such programs do not compile.
//
// Names, values and meaning: NVIDIA, "TensorRT API Reference" (C++), 8.6 and 10.
#pragma once

#include <cstddef>
#include <cstdint>

#include "NvInferVersion.h"
#include "cuda_runtime_api.h"

#define TRT_DEPRECATED
#define TRT_DEPRECATED_ENUM
#define TENSORRTAPI

namespace nvinfer1 {

using char_t = char;
using AsciiChar = char_t;

// --- small types

enum class DataType : int32_t {
  kFLOAT = 0,
  kHALF = 1,
  kINT8 = 2,
  kINT32 = 3,
  kBOOL = 4,
  kUINT8 = 5,
  kBF16 = 7,
  kINT64 = 8
};

enum class TensorFormat : int32_t { kLINEAR = 0 };
using TensorFormats = uint32_t;
enum class TensorLocation : int32_t { kDEVICE = 0, kHOST = 1 };
enum class TensorIOMode : int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class DeviceType : int32_t { kGPU = 0 };
enum class EngineCapability : int32_t { kSTANDARD = 0, kDEFAULT = kSTANDARD };
enum class ProfilingVerbosity : int32_t {
  kLAYER_NAMES_ONLY = 0,
  kNONE = 1,
  kDETAILED = 2,
  kDEFAULT = 0,
  kVERBOSE = 2
};
enum class HardwareCompatibilityLevel : int32_t { kNONE = 0, kAMPERE_PLUS = 1 };
enum class MemoryPoolType : int32_t {
  kWORKSPACE = 0,
  kDLA_MANAGED_SRAM = 1,
  kDLA_LOCAL_DRAM = 2,
  kDLA_GLOBAL_DRAM = 3,
  kTACTIC_DRAM = 4,
  kTACTIC_SHARED_MEMORY = 5
};

enum class BuilderFlag : int32_t {
  kFP16 = 0,
  kINT8 = 1,
  kGPU_FALLBACK = 3,
  kSTRICT_TYPES = 4,
  kDISABLE_TIMING_CACHE = 6,
  kTF32 = 7,
  kSPARSE_WEIGHTS = 8,
  kOBEY_PRECISION_CONSTRAINTS = 10,
  kPREFER_PRECISION_CONSTRAINTS = 11,
  kDIRECT_IO = 12,
  kVERSION_COMPATIBLE = 14,
  kBF16 = 19
};
using BuilderFlags = uint32_t;

enum class NetworkDefinitionCreationFlag : int32_t { kEXPLICIT_BATCH = 0, kEXPLICIT_PRECISION = 1 };
using NetworkDefinitionCreationFlags = uint32_t;

enum class TacticSource : int32_t {
  kCUBLAS = 0,
  kCUBLAS_LT = 1,
  kCUDNN = 2,
  kEDGE_MASK_CONVOLUTIONS = 3,
  kJIT_CONVOLUTIONS = 4
};
using TacticSources = uint32_t;

class Dims32 {
 public:
  static constexpr int32_t MAX_DIMS = 8;
  int32_t nbDims;
  int32_t d[MAX_DIMS];
};
using Dims = Dims32;

class Dims2 : public Dims {
 public:
  Dims2() : Dims2(0, 0) {}
  Dims2(int32_t d0, int32_t d1) : Dims{2, {d0, d1}} {}
};
class DimsHW : public Dims2 {
 public:
  DimsHW() : Dims2() {}
  DimsHW(int32_t height, int32_t width) : Dims2(height, width) {}
  int32_t& h() { return d[0]; }
  int32_t h() const { return d[0]; }
  int32_t& w() { return d[1]; }
  int32_t w() const { return d[1]; }
};
class Dims3 : public Dims {
 public:
  Dims3() : Dims3(0, 0, 0) {}
  Dims3(int32_t d0, int32_t d1, int32_t d2) : Dims{3, {d0, d1, d2}} {}
};
class Dims4 : public Dims {
 public:
  Dims4() : Dims4(0, 0, 0, 0) {}
  Dims4(int32_t d0, int32_t d1, int32_t d2, int32_t d3) : Dims{4, {d0, d1, d2, d3}} {}
};

// --- what users subclass

class ILogger {
 public:
  enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
  // May be called from several threads when several objects are used on several threads.
  virtual void log(Severity severity, const AsciiChar* message) = 0;
  ILogger() = default;
  virtual ~ILogger() = default;
};

enum class CalibrationAlgoType : int32_t {
  kLEGACY_CALIBRATION = 0,
  kENTROPY_CALIBRATION = 1,
  kENTROPY_CALIBRATION_2 = 2,
  kMINMAX_CALIBRATION = 3
};

// getBatch() leaves a pointer for each input to getBatchSize() samples (or to the whole input, where its
// first dimension is fixed), which are read before it is called again.
class IInt8Calibrator {
 public:
  virtual int32_t getBatchSize() const = 0;
  virtual bool getBatch(void* bindings[], const char* names[], int32_t nbBindings) = 0;
  virtual const void* readCalibrationCache(std::size_t& length) = 0;
  virtual void writeCalibrationCache(const void* ptr, std::size_t length) = 0;
  virtual CalibrationAlgoType getAlgorithm() = 0;
  virtual ~IInt8Calibrator() = default;
};
class IInt8EntropyCalibrator : public IInt8Calibrator {
 public:
  CalibrationAlgoType getAlgorithm() override { return CalibrationAlgoType::kENTROPY_CALIBRATION; }
};
class IInt8EntropyCalibrator2 : public IInt8Calibrator {
 public:
  CalibrationAlgoType getAlgorithm() override { return CalibrationAlgoType::kENTROPY_CALIBRATION_2; }
};
class IInt8MinMaxCalibrator : public IInt8Calibrator {
 public:
  CalibrationAlgoType getAlgorithm() override { return CalibrationAlgoType::kMINMAX_CALIBRATION; }
};
// Ranges by percentile: getQuantile() of the values are inside (at least the upper half).
class IInt8LegacyCalibrator : public IInt8Calibrator {
 public:
  CalibrationAlgoType getAlgorithm() override { return CalibrationAlgoType::kLEGACY_CALIBRATION; }
  virtual double getQuantile() const = 0;
  virtual double getRegressionCutoff() const = 0;
  virtual const void* readHistogramCache(std::size_t& length) = 0;
  virtual void writeHistogramCache(const void* ptr, std::size_t length) = 0;
};

// --- what the library makes; `delete` it, or call destroy(), in any order

class INoCopy {
 public:
  virtual ~INoCopy() = default;
  INoCopy(const INoCopy&) = delete;
  INoCopy& operator=(const INoCopy&) = delete;

 protected:
  INoCopy() = default;
};

class IHostMemory : public INoCopy {
 public:
  virtual void* data() const = 0;
  virtual std::size_t size() const = 0;
  virtual DataType type() const = 0;
  void destroy() { delete this; }
};

// An input or output of the network. Owned by it.
class ITensor : public INoCopy {
 public:
  virtual const char* getName() const = 0;
  virtual Dims getDimensions() const = 0;
  // Of inputs: fixes open dimensions; the others stay as they are.
  virtual void setDimensions(Dims dimensions) = 0;
  virtual DataType getType() const = 0;
  virtual bool isNetworkInput() const = 0;
  virtual bool isNetworkOutput() const = 0;
  virtual bool isShapeTensor() const = 0;
  virtual TensorLocation getLocation() const = 0;
  virtual TensorFormats getAllowedFormats() const = 0;
};

class INetworkDefinition : public INoCopy {
 public:
  virtual int32_t getNbInputs() const = 0;
  virtual ITensor* getInput(int32_t index) const = 0;
  virtual int32_t getNbOutputs() const = 0;
  virtual ITensor* getOutput(int32_t index) const = 0;
  virtual int32_t getNbLayers() const = 0;
  virtual void setName(const char* name) = 0;
  virtual const char* getName() const = 0;
  virtual bool hasImplicitBatchDimension() const = 0;
  virtual NetworkDefinitionCreationFlags getFlags() const = 0;
  virtual bool getFlag(NetworkDefinitionCreationFlag flag) const = 0;
  void destroy() { delete this; }
};

// Owned by the builder.
class IOptimizationProfile : public INoCopy {
 public:
  virtual bool setDimensions(const char* name, OptProfileSelector select, Dims dimensions) = 0;
  virtual Dims getDimensions(const char* name, OptProfileSelector select) const = 0;
  virtual bool setExtraMemoryTarget(float target) = 0;
  virtual float getExtraMemoryTarget() const = 0;
  virtual bool isValid() const = 0;
};

class IBuilderConfig : public INoCopy {
 public:
  virtual void setFlag(BuilderFlag flag) = 0;
  virtual void clearFlag(BuilderFlag flag) = 0;
  virtual bool getFlag(BuilderFlag flag) const = 0;
  virtual void setFlags(BuilderFlags flags) = 0;
  virtual BuilderFlags getFlags() const = 0;
  virtual void setMaxWorkspaceSize(std::size_t size) = 0;
  virtual std::size_t getMaxWorkspaceSize() const = 0;
  virtual void setMemoryPoolLimit(MemoryPoolType pool, std::size_t size) = 0;
  virtual std::size_t getMemoryPoolLimit(MemoryPoolType pool) const = 0;
  // Not owned.
  virtual void setInt8Calibrator(IInt8Calibrator* calibrator) = 0;
  virtual IInt8Calibrator* getInt8Calibrator() const = 0;
  virtual int32_t addOptimizationProfile(const IOptimizationProfile* profile) = 0;
  virtual int32_t getNbOptimizationProfiles() const = 0;
  virtual bool setCalibrationProfile(const IOptimizationProfile* profile) = 0;
  virtual const IOptimizationProfile* getCalibrationProfile() = 0;
  // Accepted; the CPU has nothing of the kind.
  virtual void setMinTimingIterations(int32_t count) = 0;
  virtual void setAvgTimingIterations(int32_t count) = 0;
  virtual int32_t getAvgTimingIterations() const = 0;
  virtual void setProfileStream(cudaStream_t stream) = 0;
  virtual cudaStream_t getProfileStream() const = 0;
  virtual void setProfilingVerbosity(ProfilingVerbosity verbosity) = 0;
  virtual ProfilingVerbosity getProfilingVerbosity() const = 0;
  virtual bool setTacticSources(TacticSources sources) = 0;
  virtual TacticSources getTacticSources() const = 0;
  virtual void setDefaultDeviceType(DeviceType type) = 0;
  virtual DeviceType getDefaultDeviceType() const = 0;
  virtual void setEngineCapability(EngineCapability capability) = 0;
  virtual EngineCapability getEngineCapability() const = 0;
  virtual void setBuilderOptimizationLevel(int32_t level) = 0;
  virtual int32_t getBuilderOptimizationLevel() = 0;
  virtual void setHardwareCompatibilityLevel(HardwareCompatibilityLevel level) = 0;
  virtual HardwareCompatibilityLevel getHardwareCompatibilityLevel() const = 0;
  virtual void reset() = 0;
  void destroy() { delete this; }
};

class ICudaEngine;

// Runs synchronously, whatever the stream.
class IExecutionContext : public INoCopy {
 public:
  // Bindings: host pointers, inputs and outputs in the engine's order.
  virtual bool executeV2(void* const* bindings) = 0;
  virtual bool enqueueV2(void* const* bindings, cudaStream_t stream, cudaEvent_t* inputConsumed) = 0;
  virtual bool enqueueV3(cudaStream_t stream) = 0;
  virtual bool setTensorAddress(const char* name, void* data) = 0;
  virtual bool setInputTensorAddress(const char* name, const void* data) = 0;
  virtual bool setOutputTensorAddress(const char* name, void* data) = 0;
  virtual const void* getTensorAddress(const char* name) const = 0;
  virtual void* getOutputTensorAddress(const char* name) const = 0;
  virtual bool setInputShape(const char* name, const Dims& dimensions) = 0;
  virtual Dims getTensorShape(const char* name) const = 0;
  virtual bool setBindingDimensions(int32_t index, Dims dimensions) = 0;
  virtual Dims getBindingDimensions(int32_t index) const = 0;
  virtual bool allInputDimensionsSpecified() const = 0;
  virtual bool allInputShapesSpecified() const = 0;
  virtual int32_t inferShapes(int32_t nbMaxNames, const char** tensorNames) = 0;
  virtual bool setOptimizationProfile(int32_t index) = 0;
  virtual bool setOptimizationProfileAsync(int32_t index, cudaStream_t stream) = 0;
  virtual int32_t getOptimizationProfile() const = 0;
  virtual int64_t getMaxOutputSize(const char* name) const = 0;
  virtual const ICudaEngine& getEngine() const = 0;
  virtual void setName(const char* name) = 0;
  virtual const char* getName() const = 0;
  virtual void setDebugSync(bool sync) = 0;
  virtual bool getDebugSync() const = 0;
  void destroy() { delete this; }
};

class ICudaEngine : public INoCopy {
 public:
  virtual int32_t getNbBindings() const = 0;
  virtual int32_t getBindingIndex(const char* name) const = 0;
  virtual const char* getBindingName(int32_t index) const = 0;
  virtual bool bindingIsInput(int32_t index) const = 0;
  virtual Dims getBindingDimensions(int32_t index) const = 0;
  virtual DataType getBindingDataType(int32_t index) const = 0;
  virtual TensorFormat getBindingFormat(int32_t index) const = 0;
  virtual const char* getBindingFormatDesc(int32_t index) const = 0;
  virtual int32_t getBindingBytesPerComponent(int32_t index) const = 0;
  virtual int32_t getBindingComponentsPerElement(int32_t index) const = 0;
  virtual int32_t getBindingVectorizedDim(int32_t index) const = 0;
  virtual bool isShapeBinding(int32_t index) const = 0;
  virtual bool isExecutionBinding(int32_t index) const = 0;
  virtual TensorLocation getLocation(int32_t index) const = 0;
  virtual Dims getProfileDimensions(int32_t index, int32_t profile, OptProfileSelector select) const = 0;

  virtual int32_t getNbIOTensors() const = 0;
  virtual const char* getIOTensorName(int32_t index) const = 0;
  virtual Dims getTensorShape(const char* name) const = 0;
  virtual DataType getTensorDataType(const char* name) const = 0;
  virtual TensorIOMode getTensorIOMode(const char* name) const = 0;
  virtual TensorLocation getTensorLocation(const char* name) const = 0;
  virtual TensorFormat getTensorFormat(const char* name) const = 0;
  virtual const char* getTensorFormatDesc(const char* name) const = 0;
  virtual int32_t getTensorBytesPerComponent(const char* name) const = 0;
  virtual int32_t getTensorComponentsPerElement(const char* name) const = 0;
  virtual int32_t getTensorVectorizedDim(const char* name) const = 0;
  virtual bool isShapeInferenceIO(const char* name) const = 0;
  virtual Dims getProfileShape(const char* name, int32_t profile, OptProfileSelector select) const = 0;

  virtual int32_t getNbOptimizationProfiles() const = 0;
  virtual int32_t getMaxBatchSize() const = 0;
  virtual std::size_t getDeviceMemorySize() const = 0;
  virtual bool isRefittable() const = 0;
  virtual bool hasImplicitBatchDimension() const = 0;
  virtual const char* getName() const = 0;
  virtual EngineCapability getEngineCapability() const = 0;
  virtual IHostMemory* serialize() const = 0;
  virtual IExecutionContext* createExecutionContext() = 0;
  void destroy() { delete this; }
};

class IRuntime : public INoCopy {
 public:
  virtual ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size) = 0;
  // TensorRT 7's spelling; there are no plugins.
  ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size, std::nullptr_t) {
    return deserializeCudaEngine(blob, size);
  }
  virtual int32_t getNbDLACores() const = 0;
  virtual bool setMaxThreads(int32_t count) = 0;
  virtual int32_t getMaxThreads() const = 0;
  virtual ILogger* getLogger() const = 0;
  void destroy() { delete this; }
};

class IBuilder : public INoCopy {
 public:
  virtual INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags flags) = 0;
  virtual IBuilderConfig* createBuilderConfig() = 0;
  virtual IOptimizationProfile* createOptimizationProfile() = 0;
  virtual IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) = 0;
  virtual ICudaEngine* buildEngineWithConfig(INetworkDefinition& network, IBuilderConfig& config) = 0;
  virtual bool isNetworkSupported(const INetworkDefinition& network, const IBuilderConfig& config) const = 0;
  virtual bool platformHasFastFp16() const = 0;
  virtual bool platformHasFastInt8() const = 0;
  virtual bool platformHasTf32() const = 0;
  virtual void setMaxBatchSize(int32_t size) = 0;
  virtual int32_t getMaxBatchSize() const = 0;
  virtual int32_t getMaxDLABatchSize() const = 0;
  virtual int32_t getNbDLACores() const = 0;
  virtual bool setMaxThreads(int32_t count) = 0;
  virtual int32_t getMaxThreads() const = 0;
  virtual ILogger* getLogger() const = 0;
  virtual void reset() = 0;
  void destroy() { delete this; }
};

// Loggers are not owned and outlive what was made with them. Nothing throws: what fails is logged, and gives
// null or false.
IBuilder* createInferBuilder(ILogger& logger);
IRuntime* createInferRuntime(ILogger& logger);

}  // namespace nvinfer1

// 8601: the release whose interface this is.
extern "C" int32_t getInferLibVersion();
