// What runs engines: runtime, engine, execution context. See NvInfer.h.
#pragma once

#include "NvInferRuntimeCommon.h"

namespace nvinfer1 {

class ICudaEngine;

// Is told the time of each step of a run, in milliseconds and in the order of the steps.
class IProfiler {
 public:
  virtual void reportLayerTime(const char* layerName, float ms) = 0;
  virtual ~IProfiler() = default;
};

// Gives an output the memory that it needs, behind a run whose data decided its shape.
class IOutputAllocator {
 public:
  // `currentMemory` is what setTensorAddress() named. Null: the run fails.
  virtual void* reallocateOutput(const char* tensorName, void* currentMemory, uint64_t size,
                                 uint64_t alignment) = 0;
  virtual void notifyShape(const char* tensorName, const Dims& dims) = 0;
  virtual ~IOutputAllocator() = default;
};

enum class LayerInformationFormat : int32_t { kONELINE = 0, kJSON = 1 };
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC = 0, kON_PROFILE_CHANGE = 1 };

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
  // Not owned. With setEnqueueEmitsProfile(false) a run is reported by reportToProfiler().
  virtual void setProfiler(IProfiler* profiler) = 0;
  virtual IProfiler* getProfiler() const = 0;
  virtual void setEnqueueEmitsProfile(bool emits) = 0;
  virtual bool getEnqueueEmitsProfile() const = 0;
  virtual bool reportToProfiler() const = 0;
  virtual bool setOutputAllocator(const char* name, IOutputAllocator* allocator) = 0;  // not owned
  virtual IOutputAllocator* getOutputAllocator(const char* name) const = 0;
  virtual bool setInputConsumedEvent(cudaEvent_t event) = 0;
  virtual cudaEvent_t getInputConsumedEvent() const = 0;
  virtual void setErrorRecorder(IErrorRecorder* recorder) = 0;
  virtual IErrorRecorder* getErrorRecorder() const = 0;
  virtual void setDebugSync(bool sync) = 0;
  virtual bool getDebugSync() const = 0;
  void destroy() { delete this; }
};

// Says what the steps of an engine are. The texts live as long as the inspector.
class IEngineInspector : public INoCopy {
 public:
  virtual bool setExecutionContext(const IExecutionContext* context) = 0;
  virtual const IExecutionContext* getExecutionContext() const = 0;
  virtual const char* getLayerInformation(int32_t index, LayerInformationFormat format) const = 0;
  virtual const char* getEngineInformation(LayerInformationFormat format) const = 0;
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

  virtual int32_t getNbLayers() const = 0;  // steps
  virtual IEngineInspector* createEngineInspector() const = 0;
  virtual int32_t getNbOptimizationProfiles() const = 0;
  virtual int32_t getMaxBatchSize() const = 0;
  virtual std::size_t getDeviceMemorySize() const = 0;
  virtual bool isRefittable() const = 0;
  virtual bool hasImplicitBatchDimension() const = 0;
  virtual const char* getName() const = 0;
  virtual EngineCapability getEngineCapability() const = 0;
  virtual IHostMemory* serialize() const = 0;
  virtual IExecutionContext* createExecutionContext(
      ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) = 0;
  virtual void setErrorRecorder(IErrorRecorder* recorder) = 0;
  virtual IErrorRecorder* getErrorRecorder() const = 0;
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
  virtual void setErrorRecorder(IErrorRecorder* recorder) = 0;
  virtual IErrorRecorder* getErrorRecorder() const = 0;
  void destroy() { delete this; }
};

// Loggers are not owned and outlive what was made with them. Nothing throws: what fails is logged, and gives
// null or false.
IRuntime* createInferRuntime(ILogger& logger);

}  // namespace nvinfer1

// 8601: the release whose interface this is.
extern "C" int32_t getInferLibVersion();
