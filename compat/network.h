// The network of NvInfer.h: a parsed ONNX model, its tensors and layers.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "NvInfer.h"
#include "common.h"
#include "graph/graph.h"
#include "octet/builder.h"

namespace octet::compat {

class NetworkTensor final : public nvinfer1::ITensor {
 public:
  NetworkTensor(const Graph& graph, ValueId value);
  const char* getName() const override { return name_.c_str(); }
  nvinfer1::Dims getDimensions() const override { return dims_; }
  void setDimensions(nvinfer1::Dims dimensions) override {
    if (input_) dims_ = dimensions;
  }
  nvinfer1::DataType getType() const override { return type_; }
  bool isNetworkInput() const override { return input_; }
  bool isNetworkOutput() const override { return output_; }
  bool isShapeTensor() const override { return false; }
  bool isExecutionTensor() const override { return true; }
  nvinfer1::TensorLocation getLocation() const override { return nvinfer1::TensorLocation::kDEVICE; }
  void setAllowedFormats(nvinfer1::TensorFormats) override {}
  nvinfer1::TensorFormats getAllowedFormats() const override {
    return 1U << static_cast<int32_t>(nvinfer1::TensorFormat::kLINEAR);
  }
  bool setDynamicRange(float min, float max) override;
  bool dynamicRangeIsSet() const override { return range_.has_value(); }
  void resetDynamicRange() override { range_.reset(); }
  float getDynamicRangeMin() const override;
  float getDynamicRangeMax() const override;

  const std::string& name() const { return name_; }

 private:
  std::string name_;
  bool input_, output_;
  nvinfer1::DataType type_ = nvinfer1::DataType::kFLOAT;
  nvinfer1::Dims dims_;
  std::optional<std::pair<float, float>> range_;
};

class Network;

class Layer final : public nvinfer1::ILayer {
 public:
  Layer(Network& network, const Graph& graph, NodeId node);
  nvinfer1::LayerType getType() const override { return type_; }
  void setName(const char* name) override { shown_ = name == nullptr ? "" : name; }
  const char* getName() const override { return shown_.c_str(); }
  int32_t getNbInputs() const override { return static_cast<int32_t>(inputs_.size()); }
  nvinfer1::ITensor* getInput(int32_t index) const override { return at(inputs_, index); }
  int32_t getNbOutputs() const override { return static_cast<int32_t>(outputs_.size()); }
  nvinfer1::ITensor* getOutput(int32_t index) const override { return at(outputs_, index); }
  void setPrecision(nvinfer1::DataType type) override { precision_ = type; }
  nvinfer1::DataType getPrecision() const override { return precision_.value_or(nvinfer1::DataType::kFLOAT); }
  bool precisionIsSet() const override { return precision_.has_value(); }
  void resetPrecision() override { precision_.reset(); }
  void setOutputType(int32_t index, nvinfer1::DataType type) override;
  nvinfer1::DataType getOutputType(int32_t index) const override;
  bool outputTypeIsSet(int32_t index) const override { return output_types_.count(index) > 0; }
  void resetOutputType(int32_t index) override { output_types_.erase(index); }

  const std::string& node() const { return node_; }
  // Whether the program asked for a type that is not 8-bit.
  bool wants_float() const;

 private:
  nvinfer1::ITensor* at(const std::vector<ValueId>& values, int32_t index) const;

  Network& network_;
  std::string node_, shown_;
  nvinfer1::LayerType type_;
  std::vector<ValueId> inputs_, outputs_;
  std::optional<nvinfer1::DataType> precision_;
  std::map<int32_t, nvinfer1::DataType> output_types_;
};

class Network final : public nvinfer1::INetworkDefinition {
 public:
  explicit Network(nvinfer1::NetworkDefinitionCreationFlags flags) : flags_(flags) {}

  // Takes the place of what was parsed before. Throws Error for inputs and outputs that no nvinfer1::Dims or
  // DataType describes.
  void set(Model model);
  bool filled() const { return model_.has_value(); }
  // With the dimensions that setDimensions() fixed.
  Model model() const;
  // The ranges that setDynamicRange() gave, as a calibration cache; empty without any.
  std::string ranges_as_cache() const;
  // Nodes that Layer::wants_float() names, as far as they are nodes of what is quantized.
  std::vector<std::string> float_nodes() const;
  NetworkTensor* tensor(ValueId value) const;

  int32_t getNbInputs() const override;
  nvinfer1::ITensor* getInput(int32_t index) const override;
  int32_t getNbOutputs() const override;
  nvinfer1::ITensor* getOutput(int32_t index) const override;
  int32_t getNbLayers() const override { return static_cast<int32_t>(layers_.size()); }
  nvinfer1::ILayer* getLayer(int32_t index) const override;
  void setName(const char* name) override { name_ = name == nullptr ? "" : name; }
  const char* getName() const override { return name_.c_str(); }
  bool hasImplicitBatchDimension() const override { return false; }
  nvinfer1::NetworkDefinitionCreationFlags getFlags() const override { return flags_; }
  bool getFlag(nvinfer1::NetworkDefinitionCreationFlag flag) const override {
    return (flags_ >> static_cast<uint32_t>(flag) & 1U) != 0;
  }
  void setErrorRecorder(nvinfer1::IErrorRecorder* recorder) override { recorder_ = recorder; }
  nvinfer1::IErrorRecorder* getErrorRecorder() const override { return recorder_; }

 private:
  nvinfer1::NetworkDefinitionCreationFlags flags_;
  std::optional<Model> model_;
  std::map<ValueId, std::unique_ptr<NetworkTensor>> tensors_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::string name_;
  nvinfer1::IErrorRecorder* recorder_ = nullptr;
};

}  // namespace octet::compat
