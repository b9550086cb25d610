#include "network.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "calibrate/tensorrt_cache.h"
#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "pipeline/model_state.h"

namespace octet::compat {

using namespace nvinfer1;
using nvinfer1::Dims;  // not octet's
namespace {

struct Kind {
  LayerType type;
  std::string_view ops[16];
};

constexpr Kind kKinds[] = {
    {LayerType::kCONVOLUTION, {"Conv", "ConvInteger", "QLinearConv"}},
    {LayerType::kDECONVOLUTION, {"ConvTranspose"}},
    {LayerType::kMATRIX_MULTIPLY, {"Gemm", "MatMul"}},
    {LayerType::kACTIVATION,
     {"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Selu", "Clip", "HardSigmoid", "Softplus", "Softsign",
      "ThresholdedRelu", "Gelu", "HardSwish"}},
    {LayerType::kPARAMETRIC_RELU, {"PRelu"}},
    {LayerType::kPOOLING, {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"}},
    {LayerType::kELEMENTWISE,
     {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "And", "Or", "Xor", "Equal", "Greater", "Less", "Mod",
      "Sum"}},
    {LayerType::kUNARY,
     {"Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg", "Sin", "Cos", "Tan", "Floor", "Ceil", "Erf", "Not",
      "Sign", "Round"}},
    {LayerType::kSHUFFLE,
     {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"}},
    {LayerType::kREDUCE,
     {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"}},
    {LayerType::kGATHER, {"Gather", "GatherElements", "GatherND"}},
    {LayerType::kSCATTER, {"Scatter", "ScatterElements", "ScatterND"}},
    {LayerType::kNORMALIZATION, {"LayerNormalization", "InstanceNormalization", "GroupNormalization"}},
    {LayerType::kSCALE, {"BatchNormalization"}},
    {LayerType::kLRN, {"LRN"}},
    {LayerType::kSOFTMAX, {"Softmax"}},
    {LayerType::kCONCATENATION, {"Concat"}},
    {LayerType::kSLICE, {"Slice", "Split"}},
    {LayerType::kPADDING, {"Pad"}},
    {LayerType::kRESIZE, {"Resize", "Upsample"}},
    {LayerType::kIDENTITY, {"Identity", "Dropout"}},
    {LayerType::kCAST, {"Cast"}},
    {LayerType::kSHAPE, {"Shape"}},
    {LayerType::kSELECT, {"Where"}},
    {LayerType::kTOPK, {"TopK"}},
    {LayerType::kFILL, {"Range", "ConstantOfShape"}},
    {LayerType::kCONSTANT, {"Constant"}},
    {LayerType::kQUANTIZE, {"QuantizeLinear"}},
    {LayerType::kDEQUANTIZE, {"DequantizeLinear"}},
    {LayerType::kEINSUM, {"Einsum"}},
    {LayerType::kONE_HOT, {"OneHot"}},
    {LayerType::kNON_ZERO, {"NonZero"}},
    {LayerType::kGRID_SAMPLE, {"GridSample"}},
    {LayerType::kNMS, {"NonMaxSuppression"}},
};

LayerType kind_of(const Node& node) {
  for (const Kind& kind : kKinds)
    if (std::ranges::find(kind.ops, std::string_view(node.op)) != std::end(kind.ops)) return kind.type;
  return LayerType::kPLUGIN_V2;
}

// What a program may ask about any tensor, also one whose shape or type has no place in the interface.
Dims shown_dims(const std::optional<octet::Dims>& shape) {
  if (!shape || shape->size() > Dims::MAX_DIMS) return no_dims();
  std::vector<int64_t> sizes;
  for (const Dim& d : *shape) sizes.push_back(d.known() ? d.value() : -1);
  return dims_of(sizes);
}

}  // namespace

NetworkTensor::NetworkTensor(const Graph& graph, ValueId id)
    : name_(graph.value(id).name), input_(graph.is_input(id)), output_(graph.is_output(id)) {
  const Value& value = graph.value(id);
  dims_ = shown_dims(value.shape);
  try {
    if (value.dtype) type_ = type_of(*value.dtype);
  } catch (const Error&) {
    if (input_ || output_) throw;
  }
  if ((input_ || output_) && value.shape && value.shape->size() > Dims::MAX_DIMS)
    fail(ErrorCode::kUnsupported, "'{}' has rank {}: nvinfer1::Dims has room for 8", name_,
         value.shape->size());
}

bool NetworkTensor::setDynamicRange(float min, float max) {
  if (!std::isfinite(min) || !std::isfinite(max) || min > max) return false;
  range_ = {min, max};
  return true;
}

float NetworkTensor::getDynamicRangeMin() const {
  return range_ ? range_->first : NAN;
}
float NetworkTensor::getDynamicRangeMax() const {
  return range_ ? range_->second : NAN;
}

Layer::Layer(Network& network, const Graph& graph, NodeId id)
    : network_(network),
      node_(graph.node(id).name),
      shown_(node_),
      type_(kind_of(graph.node(id))),
      outputs_(graph.node(id).outputs) {
  // Weights are a layer's own there, not inputs.
  for (const ValueId v : graph.node(id).inputs)
    if (!graph.is_constant(v)) inputs_.push_back(v);
}

ITensor* Layer::at(const std::vector<ValueId>& values, int32_t index) const {
  if (index < 0 || static_cast<size_t>(index) >= values.size()) return nullptr;
  return network_.tensor(values[static_cast<size_t>(index)]);
}

void Layer::setOutputType(int32_t index, DataType type) {
  if (index >= 0 && index < getNbOutputs()) output_types_[index] = type;
}

DataType Layer::getOutputType(int32_t index) const {
  if (const auto set = output_types_.find(index); set != output_types_.end()) return set->second;
  const ITensor* tensor = getOutput(index);
  return tensor == nullptr ? DataType::kFLOAT : tensor->getType();
}

bool Layer::wants_float() const {
  const auto real = [](DataType type) {
    return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
  };
  return (precision_ && real(*precision_)) ||
         std::ranges::any_of(output_types_, [&](const auto& entry) { return real(entry.second); });
}

void Network::set(Model model) {
  const Graph& graph = model.state().graph;
  std::map<ValueId, std::unique_ptr<NetworkTensor>> tensors;
  std::vector<std::unique_ptr<Layer>> layers;
  const auto describe = [&](ValueId v) {
    if (v != kNoId && !graph.is_constant(v) && tensors.count(v) == 0)
      tensors.emplace(v, std::make_unique<NetworkTensor>(graph, v));
  };
  for (const ValueId v : graph.inputs()) describe(v);
  for (const NodeId id : graph.sorted()) {
    for (const ValueId v : graph.node(id).inputs) describe(v);
    for (const ValueId v : graph.node(id).outputs) describe(v);
    layers.push_back(std::make_unique<Layer>(*this, graph, id));
  }
  for (const ValueId v : graph.outputs())  // a constant may be one
    if (tensors.count(v) == 0) tensors.emplace(v, std::make_unique<NetworkTensor>(graph, v));
  tensors_ = std::move(tensors);
  layers_ = std::move(layers);
  model_ = std::move(model);
}

Model Network::model() const {
  if (!model_) fail(ErrorCode::kInvalidArgument, "the network is empty: parse an ONNX model into it");
  Graph graph = model_->state().graph;
  bool changed = false;
  for (const ValueId input : graph.inputs()) {
    const std::vector<int64_t> wanted = shape_of(tensor(input)->getDimensions());
    Value& value = graph.value(input);
    const std::string shape = value.shape ? to_string(*value.shape) : "?";
    if (!value.shape || value.shape->size() != wanted.size())
      fail(ErrorCode::kInvalidArgument,
           "setDimensions: the input '{}' has shape {}, which rank {} does not fit", value.name, shape,
           wanted.size());
    for (size_t d = 0; d < wanted.size(); ++d) {
      Dim& dim = (*value.shape)[d];
      if (wanted[d] < 0 || (dim.known() && dim.value() == wanted[d])) continue;
      if (dim.known() || wanted[d] == 0)
        fail(ErrorCode::kInvalidArgument, "setDimensions: axis {} of the input '{}' ({}) cannot become {}", d,
             value.name, shape, wanted[d]);
      dim = Dim(wanted[d]);
      changed = true;
    }
  }
  if (!changed) return *model_;
  infer_shapes(graph);
  const Model::State& from = model_->state();
  return Model(std::make_shared<const Model::State>(from.path, from.hash, std::move(graph), from.files));
}

std::string Network::ranges_as_cache() const {
  TensorRtCache cache;
  for (const auto& [value, tensor] : tensors_)
    if (tensor->dynamicRangeIsSet()) {
      const float most =
          std::max(std::fabs(tensor->getDynamicRangeMin()), std::fabs(tensor->getDynamicRangeMax()));
      cache.scales.emplace_back(tensor->name(), most / 127);
    }
  return cache.scales.empty() ? "" : tensorrt_cache_text(cache);
}

std::vector<std::string> Network::float_nodes() const {
  std::vector<std::string> names;
  if (std::ranges::none_of(layers_, [](const auto& layer) { return layer->wants_float(); })) return names;
  Graph graph = model_->state().graph;
  canonicalize(graph);
  for (const auto& layer : layers_)
    if (layer->wants_float() && graph.find_node(layer->node())) names.push_back(layer->node());
  return names;
}

NetworkTensor* Network::tensor(ValueId value) const {
  const auto found = tensors_.find(value);
  return found == tensors_.end() ? nullptr : found->second.get();
}

int32_t Network::getNbInputs() const {
  return model_ ? static_cast<int32_t>(model_->state().graph.inputs().size()) : 0;
}
ITensor* Network::getInput(int32_t index) const {
  if (index < 0 || index >= getNbInputs()) return nullptr;
  return tensor(model_->state().graph.inputs()[static_cast<size_t>(index)]);
}
int32_t Network::getNbOutputs() const {
  return model_ ? static_cast<int32_t>(model_->state().graph.outputs().size()) : 0;
}
ITensor* Network::getOutput(int32_t index) const {
  if (index < 0 || index >= getNbOutputs()) return nullptr;
  return tensor(model_->state().graph.outputs()[static_cast<size_t>(index)]);
}
ILayer* Network::getLayer(int32_t index) const {
  return index < 0 || index >= getNbLayers() ? nullptr : layers_[static_cast<size_t>(index)].get();
}

}  // namespace octet::compat
