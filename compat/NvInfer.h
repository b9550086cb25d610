// The part of TensorRT's C++ interface that a program needs to turn an ONNX file into an engine and to run
// it, as TensorRT 8 to 10 have it: builder, network, configuration, calibrators, runtime, engine, context.
// Octet does the work, on the CPU: bindings are host pointers. Link Octet's library instead of nvinfer.
//
// What is not here is not offered: networks built layer by layer, implicit batches, plugins, refitting, DLA,
// other tensor formats than linear, memory that the program allocates. Such programs do not compile.
//
// Names, values and meaning: NVIDIA, "TensorRT API Reference" (C++), 8.6 and 10.
#pragma once

#include "NvInferRuntime.h"

namespace nvinfer1 {

enum class DeviceType : int32_t { kGPU = 0 };
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
  kDEBUG = 2,
  kGPU_FALLBACK = 3,
  kSTRICT_TYPES = 4,
  kDISABLE_TIMING_CACHE = 6,
  kTF32 = 7,
  kSPARSE_WEIGHTS = 8,
  kOBEY_PRECISION_CONSTRAINTS = 10,
  kPREFER_PRECISION_CONSTRAINTS = 11,
  kDIRECT_IO = 12,
  kENABLE_TACTIC_HEURISTIC = 13,
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

enum class QuantizationFlag : int32_t { kCALIBRATE_BEFORE_FUSION = 0 };
using QuantizationFlags = uint32_t;
enum class PreviewFeature : int32_t {
  kFASTER_DYNAMIC_SHAPES_0805 = 0,
  kDISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805 = 1,
  kPROFILE_SHARING_0806 = 2
};
enum class HardwareCompatibilityLevel : int32_t { kNONE = 0, kAMPERE_PLUS = 1 };

// What nodes of an ONNX file become in TensorRT; a node that has no such kind is kPLUGIN_V2.
enum class LayerType : int32_t {
  kCONVOLUTION = 0,
  kFULLY_CONNECTED = 1,
  kACTIVATION = 2,
  kPOOLING = 3,
  kLRN = 4,
  kSCALE = 5,
  kSOFTMAX = 6,
  kDECONVOLUTION = 7,
  kCONCATENATION = 8,
  kELEMENTWISE = 9,
  kPLUGIN = 10,
  kUNARY = 11,
  kPADDING = 12,
  kSHUFFLE = 13,
  kREDUCE = 14,
  kTOPK = 15,
  kGATHER = 16,
  kMATRIX_MULTIPLY = 17,
  kCONSTANT = 19,
  kIDENTITY = 21,
  kPLUGIN_V2 = 22,
  kSLICE = 23,
  kSHAPE = 24,
  kPARAMETRIC_RELU = 25,
  kRESIZE = 26,
  kSELECT = 31,
  kFILL = 32,
  kQUANTIZE = 33,
  kDEQUANTIZE = 34,
  kSCATTER = 38,
  kEINSUM = 39,
  kONE_HOT = 41,
  kNON_ZERO = 42,
  kGRID_SAMPLE = 43,
  kNMS = 44,
  kNORMALIZATION = 46,
  kCAST = 47
};

// --- calibrators, to subclass

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

// --- the network, which owns its tensors and layers until another model is parsed into it

class ITensor : public INoCopy {
 public:
  virtual const char* getName() const = 0;
  virtual Dims getDimensions() const = 0;  // -1 where a size is open, nbDims of -1 where the rank is
  // Of inputs: fixes open dimensions; the others stay as they are.
  virtual void setDimensions(Dims dimensions) = 0;
  virtual DataType getType() const = 0;
  virtual bool isNetworkInput() const = 0;
  virtual bool isNetworkOutput() const = 0;
  virtual bool isShapeTensor() const = 0;
  virtual bool isExecutionTensor() const = 0;
  virtual TensorLocation getLocation() const = 0;
  virtual void setAllowedFormats(TensorFormats formats) = 0;  // linear is the only one there is
  virtual TensorFormats getAllowedFormats() const = 0;
  // What an INT8 build without a calibrator takes instead of data: steps of max(|min|, |max|) / 127. Tensors
  // that are 8-bit and have no range are an error that names them.
  virtual bool setDynamicRange(float min, float max) = 0;
  virtual bool dynamicRangeIsSet() const = 0;
  virtual void resetDynamicRange() = 0;
  virtual float getDynamicRangeMin() const = 0;
  virtual float getDynamicRangeMax() const = 0;
};

// A node of the ONNX file. Precisions other than kINT8 keep it out of 8 bits when the configuration has
// kOBEY_PRECISION_CONSTRAINTS, kPREFER_PRECISION_CONSTRAINTS or kSTRICT_TYPES.
class ILayer : public INoCopy {
 public:
  virtual LayerType getType() const = 0;
  virtual void setName(const char* name) = 0;
  virtual const char* getName() const = 0;
  virtual int32_t getNbInputs() const = 0;
  virtual ITensor* getInput(int32_t index) const = 0;  // null for an optional one that is left out
  virtual int32_t getNbOutputs() const = 0;
  virtual ITensor* getOutput(int32_t index) const = 0;
  virtual void setPrecision(DataType type) = 0;
  virtual DataType getPrecision() const = 0;
  virtual bool precisionIsSet() const = 0;
  virtual void resetPrecision() = 0;
  // As setPrecision(): a result that is not 8-bit.
  virtual void setOutputType(int32_t index, DataType type) = 0;
  virtual DataType getOutputType(int32_t index) const = 0;
  virtual bool outputTypeIsSet(int32_t index) const = 0;
  virtual void resetOutputType(int32_t index) = 0;
};

class INetworkDefinition : public INoCopy {
 public:
  virtual int32_t getNbInputs() const = 0;
  virtual ITensor* getInput(int32_t index) const = 0;
  virtual int32_t getNbOutputs() const = 0;
  virtual ITensor* getOutput(int32_t index) const = 0;
  virtual int32_t getNbLayers() const = 0;
  virtual ILayer* getLayer(int32_t index) const = 0;
  virtual void setName(const char* name) = 0;
  virtual const char* getName() const = 0;
  virtual bool hasImplicitBatchDimension() const = 0;
  virtual NetworkDefinitionCreationFlags getFlags() const = 0;
  virtual bool getFlag(NetworkDefinitionCreationFlag flag) const = 0;
  virtual void setErrorRecorder(IErrorRecorder* recorder) = 0;
  virtual IErrorRecorder* getErrorRecorder() const = 0;
  void destroy() { delete this; }
};

// --- builder

// Bytes that are kept for the program: what is measured here stays in `octet build --tuning`.
class ITimingCache : public INoCopy {
 public:
  virtual IHostMemory* serialize() const = 0;
  virtual bool combine(const ITimingCache& other, bool ignoreMismatch) = 0;
  virtual bool reset() = 0;
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
  virtual ITimingCache* createTimingCache(const void* blob, std::size_t size) const = 0;
  virtual bool setTimingCache(const ITimingCache& cache, bool ignoreMismatch) = 0;  // not owned
  virtual const ITimingCache* getTimingCache() const = 0;
  virtual void setQuantizationFlag(QuantizationFlag flag) = 0;
  virtual void clearQuantizationFlag(QuantizationFlag flag) = 0;
  virtual bool getQuantizationFlag(QuantizationFlag flag) const = 0;
  virtual void setQuantizationFlags(QuantizationFlags flags) = 0;
  virtual QuantizationFlags getQuantizationFlags() const = 0;
  virtual void setPreviewFeature(PreviewFeature feature, bool enable) = 0;
  virtual bool getPreviewFeature(PreviewFeature feature) const = 0;
  virtual void setMaxAuxStreams(int32_t count) = 0;
  virtual int32_t getMaxAuxStreams() const = 0;
  virtual void reset() = 0;
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
  virtual void setErrorRecorder(IErrorRecorder* recorder) = 0;
  virtual IErrorRecorder* getErrorRecorder() const = 0;
  virtual void reset() = 0;
  void destroy() { delete this; }
};

// As createInferRuntime().
IBuilder* createInferBuilder(ILogger& logger);

}  // namespace nvinfer1
