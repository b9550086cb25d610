#include "passes/layer_weights.h"

#include <algorithm>
#include <cmath>

namespace octet {
namespace {

constexpr double kMaxBiasSteps = 1 << 30;  // the other half of int32 is for the products

const Tensor& weights_of(const Graph& graph, const Node& node) {
  return *graph.value(node.inputs[1]).constant;
}

bool depthwise(const Graph& graph, const Node& node) {
  return node.is("Conv") && node.attributes.get_int("group", 1) > 1 &&
         weights_of(graph, node).shape().at(1) == 1;
}

// Weight scales below which the steps of an int32 bias would exceed their range: channels whose weights are
// next to nothing.
std::vector<float> smallest_scales(const std::vector<float>& bias, const std::vector<float>& x_scale,
                                   int axis) {
  std::vector<float> scales;
  for (size_t c = 0; c < bias.size(); ++c)
    scales.push_back(
        static_cast<float>(std::abs(bias[c]) / (x_scale[x_scale.size() == 1 ? 0 : c] * kMaxBiasSteps)));
  if (axis < 0 && !scales.empty()) scales = {*std::max_element(scales.begin(), scales.end())};
  return scales;
}

}  // namespace

std::optional<std::vector<float>> float_bias(const Graph& graph, NodeId layer) {
  const Node& node = graph.node(layer);
  if (node.inputs.size() < 3 || !graph.is_constant(node.inputs[2])) return {};
  const Tensor& bias = *graph.value(node.inputs[2]).constant;
  const int64_t channels = weights_of(graph, node).shape().at(weight_axis(graph, node));
  if (bias.shape() != Shape{channels} || !is_float(bias.dtype())) return {};
  return to_float(bias);
}

bool takes_channel_scales(const Graph& graph, const Node& layer) {
  return !layer.is("Conv") || layer.attributes.get_int("group", 1) == 1 || depthwise(graph, layer);
}

namespace {

// ONNX Runtime refuses a convolution whose weights are only dequantized when its result has a scale per
// channel.
bool absorbs_scale(const Graph& graph, const Node& node, const ActivationParams& params) {
  if (params.at(node.inputs[0]).per_channel()) return true;
  const auto y = params.find(node.outputs[0]);
  return y != params.end() && y->second.per_channel() && takes_channel_scales(graph, node);
}

}  // namespace

std::vector<float> output_factors(const Graph& graph, NodeId layer, const ActivationParams& params) {
  const Node& node = graph.node(layer);
  return absorbs_scale(graph, node, params) ? std::vector{1.0f} : params.at(node.inputs[0]).scale;
}

WeightTransform weight_transform(const Graph& graph, NodeId layer, const QuantizeOptions& options,
                                 const ActivationParams& params) {
  const Node& node = graph.node(layer);
  const TargetRules& target = options.target ? *options.target : find_target("octet");
  WeightTransform t;
  t.axis = options.weights_per_tensor ? -1 : weight_axis(graph, node);
  t.input_axis = weight_input_axis(graph, node);
  const auto x = params.find(node.inputs[0]);
  if (x == params.end()) return t;
  if (absorbs_scale(graph, node, params)) {
    if (!takes_channel_scales(graph, node))
      fail(ErrorCode::kInternal, "node '{}': its weights cannot absorb a scale per channel", node.name);
    // An output of a depthwise convolution has one input, whose scale stands along the outputs.
    const Shape& shape = weights_of(graph, node).shape();
    if (depthwise(graph, node)) t.input_axis = 0;
    const int64_t factors = shape.at(t.input_axis);
    const auto scales = static_cast<int64_t>(x->second.scale.size());
    for (int64_t i = 0; i < factors; ++i) t.input_scale.push_back(x->second.scale[i * scales / factors]);
  }
  if (!target.integer_bias) return t;
  if (const auto bias = float_bias(graph, layer))
    t.smallest_scales = smallest_scales(*bias, output_factors(graph, layer, params), t.axis);
  return t;
}

Tensor scaled_along(const Tensor& floats, int axis, std::span<const float> factors, bool divide) {
  const Shape& shape = floats.shape();
  int64_t inner = 1;
  for (int d = axis + 1; d < floats.rank(); ++d) inner *= shape[d];
  const int64_t channels = shape.at(axis);
  if (channels != static_cast<int64_t>(factors.size()))
    fail(ErrorCode::kInternal, "{} factors for {} channels", factors.size(), channels);
  Tensor out = floats.clone();
  const auto v = out.as<float>();
  for (int64_t i = 0; i < out.count(); ++i) {
    const float f = factors[i / inner % channels];
    v[i] = divide ? v[i] / f : v[i] * f;
  }
  return out;
}

Tensor transformed_weights(const Graph& graph, NodeId layer, const WeightTransform& transform) {
  const Tensor& weights = weights_of(graph, graph.node(layer));
  if (transform.input_scale.empty()) return weights;
  return scaled_along(weights, transform.input_axis, transform.input_scale, false);
}

Tensor effective_weights(const QuantizedWeights& weights, const WeightTransform& transform) {
  Tensor out(DType::kFloat32, weights.values.shape());
  int64_t inner = 1;
  for (int d = weights.params.axis + 1; weights.params.per_channel() && d < out.rank(); ++d)
    inner *= out.shape()[d];
  const auto scales = static_cast<int64_t>(weights.params.scale.size());
  for (int64_t i = 0; i < out.count(); ++i)
    out.as<float>()[i] = weights.values.as<int8_t>()[i] * weights.params.scale[i / inner % scales];
  if (transform.input_scale.empty()) return out;
  return scaled_along(out, transform.input_axis, transform.input_scale, true);
}

std::optional<DequantizedWeights> dequantized_weights(const Graph& graph, ValueId value) {
  DequantizedWeights found;
  const Node* node = value == kNoId ? nullptr : graph.producer(value);
  if (node != nullptr && node->is("Div") && graph.is_constant(node->inputs[1])) {
    found.divisor = node->inputs[1];
    node = graph.producer(node->inputs[0]);
  }
  if (node == nullptr || !node->is("DequantizeLinear") || !graph.is_constant(node->inputs[0])) return {};
  found.dequantize = node;
  return found;
}

int weight_axis(const Graph& graph, const Node& node) {
  if (node.is("Conv")) return 0;
  if (node.is("Gemm")) return node.attributes.get_int("transB", 0) != 0 ? 0 : 1;
  return graph.value(node.inputs[1]).shape ? static_cast<int>(graph.value(node.inputs[1]).shape->size()) - 1
                                           : 1;
}

int weight_input_axis(const Graph& graph, const Node& node) {
  if (node.is("Conv")) return 1;
  const int outputs = weight_axis(graph, node);
  return node.is("Gemm") ? 1 - outputs : outputs - 1;
}

QuantizedWeights quantize_weights(const Tensor& weights, int axis, std::span<const float> smallest_scales) {
  const Shape& shape = weights.shape();
  const int64_t channels = axis < 0 ? 1 : shape.at(axis);
  int64_t inner = 1;
  for (int d = axis + 1; axis >= 0 && d < weights.rank(); ++d) inner *= shape[d];
  const auto w = weights.as<float>();
  const auto channel = [&](int64_t i) { return axis < 0 ? 0 : i / inner % channels; };
  std::vector<float> extreme(channels, 0);
  for (int64_t i = 0; i < weights.count(); ++i) {
    if (!std::isfinite(w[i])) fail(ErrorCode::kInvalidArgument, "a weight is {}: the model is damaged", w[i]);
    extreme[channel(i)] = std::max(extreme[channel(i)], std::abs(w[i]));
  }
  QuantizedWeights q{
      Tensor(DType::kInt8, shape),
      {DType::kInt8, axis, std::vector<float>(channels, 1), std::vector<int32_t>(channels, 0)}};
  for (int64_t c = 0; c < channels; ++c)
    if (extreme[c] > 0) q.params.scale[c] = std::max(extreme[c] / 127, 1e-30f);
  for (size_t c = 0; c < smallest_scales.size(); ++c)
    q.params.scale[c] = std::max(q.params.scale[c], smallest_scales[c]);
  for (int64_t i = 0; i < weights.count(); ++i)
    q.values.as<int8_t>()[i] =
        static_cast<int8_t>(quantize_one(w[i], q.params.scale[channel(i)], 0, {-127, 127}));
  return q;
}

}  // namespace octet
