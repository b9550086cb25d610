#include "correct/layer_data.h"

#include <algorithm>
#include <cmath>

#include "kernels/generic/support.h"
#include "passes/quantize.h"

namespace octet {

void set_constant(Graph& g, NodeId id, size_t index, Tensor tensor) {
  const ValueId v = g.node(id).inputs[index];
  if (g.consumers(v).size() == 1 && !g.is_output(v)) {
    g.value(v).dtype = tensor.dtype();
    g.value(v).constant = std::move(tensor);
  } else
    g.set_input(id, index, g.add_constant(g.value(v).name + "_corrected", std::move(tensor)));
}

namespace {

constexpr double kLargestBias = 1 << 30;  // in steps; the other half of int32 is for the products

struct Source {
  NodeId dequantize = kNoId;
  ValueId divisor = kNoId;
};

Source source_of(const Graph& g, ValueId real) {
  Source source;
  NodeId id = g.value(real).producer;
  if (id != kNoId && g.node(id).is("Div") && g.is_constant(g.node(id).inputs[1])) {
    source.divisor = g.node(id).inputs[1];
    id = g.value(g.node(id).inputs[0]).producer;
  }
  if (id != kNoId && g.node(id).is("DequantizeLinear") && g.is_constant(g.node(id).inputs[0]) &&
      g.is_constant(g.node(id).inputs[1]))
    source.dequantize = id;
  return source;
}

template <typename T>
std::vector<T> turn(const std::vector<T>& rows, int64_t count, int64_t length) {
  std::vector<T> out(rows.size());
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < length; ++j) out[j * count + i] = rows[i * length + j];
  return out;
}

bool plain(const Node& node) {
  return !node.is("Gemm") ||
         (node.attributes.get_float("alpha", 1) == 1 && node.attributes.get_float("beta", 1) == 1 &&
          node.attributes.get_int("transA", 0) == 0);
}

// One entry per weight of an output channel from a divisor per input channel.
bool read_divisor(const Tensor& divisor, const Shape& weights, int input_axis, std::vector<float>& out) {
  if (divisor.dtype() != DType::kFloat32 || divisor.rank() != static_cast<int>(weights.size())) return false;
  for (int d = 0; d < divisor.rank(); ++d)
    if (divisor.shape()[d] != (d == input_axis ? weights[d] : 1)) return false;
  int64_t taps = 1;
  for (size_t d = 2; d < weights.size(); ++d) taps *= weights[d];
  for (float v : divisor.as<float>()) out.insert(out.end(), taps, v);
  return true;
}

void write_bias(Graph& g, NodeId twin, const std::vector<float>& bias, const std::vector<double>& factor) {
  const ValueId value = g.node(twin).inputs[2];
  const NodeId dq = g.value(value).producer;
  if (dq == kNoId) {
    set_constant(g, twin, 2,
                 Tensor::of<float>({static_cast<int64_t>(bias.size())}, std::span<const float>(bias)));
    return;
  }
  std::vector<float> scale = to_float(*g.value(g.node(dq).inputs[1]).constant);
  for (size_t c = 0; c < scale.size(); ++c)
    scale[c] = static_cast<float>(scale[c] * factor[factor.size() == 1 ? 0 : c]);
  Tensor ints(DType::kInt32, {static_cast<int64_t>(bias.size())});
  for (size_t c = 0; c < bias.size(); ++c)
    ints.as<int32_t>()[c] = static_cast<int32_t>(
        std::clamp(std::nearbyint(bias[c] / static_cast<double>(scale[scale.size() == 1 ? 0 : c])),
                   -kLargestBias, kLargestBias));
  const Shape shape = g.value(g.node(dq).inputs[1]).constant->shape();
  set_constant(g, dq, 1, Tensor::of<float>(shape, std::span<const float>(scale)));
  set_constant(g, dq, 0, std::move(ints));
}

// The constant operand of an Add.
size_t constant_operand(const Graph& g, const Node& add) {
  return g.is_constant(add.inputs[0]) ? 0 : 1;
}

// False when the bias has an unknown form.
bool read_bias(const Graph& reference, const NodeGroup& group, const Graph& quantized, const Node& twin,
               LayerWeights& layer) {
  const Node& node = reference.node(group.root);
  layer.bias.assign(layer.channels, 0);
  ValueId bias = group.bias;
  if (bias == kNoId && node.inputs.size() > 2) bias = node.inputs[2];
  if (bias != kNoId) {
    if (!reference.is_constant(bias)) return false;
    const Tensor& b = *reference.value(bias).constant;
    if (b.dtype() != DType::kFloat32 || b.count() != layer.channels) return false;
    layer.bias = to_float(b);
  }
  if (group.bias != kNoId) {
    layer.bias_node = reference.node(group.nodes[1]).name;
    const auto add = quantized.find_node(layer.bias_node);
    if (!add || !quantized.node(*add).is("Add")) return false;
    const ValueId other = quantized.node(*add).inputs[constant_operand(quantized, quantized.node(*add))];
    layer.has_bias =
        quantized.is_constant(other) && quantized.value(other).constant->count() == layer.channels;
    return true;
  }
  if (twin.inputs.size() < 3 || twin.inputs[2] == kNoId) return true;
  const Node* dq = quantized.producer(twin.inputs[2]);
  if (dq == nullptr)
    layer.has_bias = quantized.is_constant(twin.inputs[2]) &&
                     quantized.value(twin.inputs[2]).constant->shape() == Shape{layer.channels};
  else
    layer.has_bias = dq->is("DequantizeLinear") && quantized.is_constant(dq->inputs[0]) &&
                     quantized.value(dq->inputs[0]).constant->dtype() == DType::kInt32;
  return true;
}

}  // namespace

std::optional<LayerWeights> read_layer(const Graph& reference, const NodeGroup& group, const Graph& quantized,
                                       NodeId twin) {
  const Node &node = reference.node(group.root), &other = quantized.node(twin);
  if (!plain(node) || !reference.is_constant(node.inputs[1])) return {};
  const Source source = source_of(quantized, other.inputs[1]);
  if (source.dequantize == kNoId) return {};
  const Tensor& w = *reference.value(node.inputs[1]).constant;
  Tensor stored = *quantized.value(quantized.node(source.dequantize).inputs[0]).constant;
  const bool four_bits = stored.dtype() == DType::kInt4;
  if (four_bits) stored = kernels::generic::unpack_4bit(stored);
  if (w.dtype() != DType::kFloat32 || stored.dtype() != DType::kInt8 || stored.shape() != w.shape() ||
      w.count() == 0)
    return {};
  const int axis = weight_axis(reference, node);
  LayerWeights layer;
  layer.turned = axis != 0;
  layer.channels = w.shape()[axis];
  layer.length = w.count() / layer.channels;
  if (four_bits) layer.grid.limit = 7;
  layer.weights = to_float(w);
  const auto q = stored.as<int8_t>();
  layer.rounded.assign(q.begin(), q.end());
  if (layer.turned) {
    layer.weights = turn(layer.weights, layer.length, layer.channels);
    layer.rounded = turn(layer.rounded, layer.length, layer.channels);
  }
  layer.grid.step = to_float(*quantized.value(quantized.node(source.dequantize).inputs[1]).constant);
  if (layer.grid.step.size() != 1 && static_cast<int64_t>(layer.grid.step.size()) != layer.channels)
    return {};
  if (source.divisor != kNoId) {
    const Tensor& divisor = *quantized.value(source.divisor).constant;
    const bool by_output = axis == 0 && w.rank() > 1 && w.shape()[1] == 1 && divisor.rank() == w.rank() &&
                           divisor.shape()[0] == layer.channels && divisor.count() == layer.channels;
    if (by_output) {
      if (divisor.dtype() != DType::kFloat32 ||
          static_cast<int64_t>(layer.grid.step.size()) != layer.channels)
        return {};
      layer.output_divisor = to_float(divisor);
      for (int64_t c = 0; c < layer.channels; ++c) layer.grid.step[c] /= layer.output_divisor[c];
    } else if (!read_divisor(divisor, w.shape(), axis == 0 ? 1 : 0, layer.grid.divisor)) {
      return {};
    }
  }
  return read_bias(reference, group, quantized, other, layer) ? std::optional(std::move(layer))
                                                              : std::nullopt;
}

void write_layer(Graph& g, NodeId twin, const LayerWeights& layer) {
  const NodeId dq = source_of(g, g.node(twin).inputs[1]).dequantize;
  const Tensor& stored = *g.value(g.node(dq).inputs[0]).constant;
  const std::vector<int8_t> q =
      layer.turned ? turn(layer.rounded, layer.channels, layer.length) : layer.rounded;
  Tensor values = Tensor::of<int8_t>(stored.shape(), std::span<const int8_t>(q));
  if (layer.grid.limit == 7) {
    Tensor packed(DType::kInt4, stored.shape());
    kernels::generic::pack_4bit(values, packed);
    values = std::move(packed);
  }
  const Tensor& scale = *g.value(g.node(dq).inputs[1]).constant;
  const std::vector<float> before = to_float(scale);
  std::vector<float> step = layer.grid.step;
  for (size_t c = 0; c < layer.output_divisor.size(); ++c) step[c] *= layer.output_divisor[c];
  std::vector<double> factor;
  for (size_t c = 0; c < before.size(); ++c)
    factor.push_back(static_cast<double>(step[c]) / static_cast<double>(before[c]));
  const Shape scale_shape = scale.shape();
  set_constant(g, dq, 1, Tensor::of<float>(scale_shape, std::span<const float>(step)));
  if (values.dtype() == DType::kInt4 && g.node(dq).inputs.size() > 2 && g.node(dq).inputs[2] != kNoId)
    set_constant(g, dq, 2, Tensor(DType::kInt4, scale_shape));
  set_constant(g, dq, 0, std::move(values));
  if (!layer.has_bias) return;
  if (layer.bias_node.empty()) return write_bias(g, twin, layer.bias, factor);
  const NodeId add = *g.find_node(layer.bias_node);
  const size_t index = constant_operand(g, g.node(add));
  const Shape shape = g.value(g.node(add).inputs[index]).constant->shape();
  set_constant(g, add, index, Tensor::of<float>(shape, std::span<const float>(layer.bias)));
}

void add_zero_biases(Graph& graph, const std::vector<NodeId>& layers) {
  for (NodeId id : layers) {
    const Node& node = graph.node(id);
    if (!(node.is("Conv") || node.is("Gemm")) || !plain(node) || !graph.is_constant(node.inputs[1])) continue;
    const bool missing = node.inputs.size() < 3 || node.inputs[2] == kNoId;
    if (!missing) continue;
    const int64_t channels = graph.value(node.inputs[1]).constant->shape().at(weight_axis(graph, node));
    const ValueId zero = graph.add_constant(node.name + "_bias", Tensor(DType::kFloat32, {channels}));
    if (graph.node(id).inputs.size() > 2)
      graph.set_input(id, 2, zero);
    else
      graph.append_input(id, zero);
  }
}

}  // namespace octet
