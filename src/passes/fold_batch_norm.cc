#include <algorithm>
#include <cmath>

#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

// y = x * scale[c] + shift[c]
struct ChannelAffine {
  std::vector<double> scale, shift;
};

// Entries of a constant that holds one number per channel of a rank-4 value (or one for all), else nullopt.
std::optional<std::vector<float>> per_channel(const Graph& graph, ValueId value, int64_t channels) {
  if (!graph.is_constant(value)) return {};
  const Tensor& t = *graph.value(value).constant;
  if (t.dtype() != DType::kFloat32) return {};
  const Shape& s = t.shape();
  const bool channel_shape = (s.size() == 3 && s[0] == channels && s[1] == 1 && s[2] == 1) ||
                             (s.size() == 4 && s[0] == 1 && s[1] == channels && s[2] == 1 && s[3] == 1);
  if (t.count() == 1 && t.rank() <= 4) return std::vector<float>(channels, t.as<float>()[0]);
  if (!channel_shape) return {};
  return to_float(t);
}

std::optional<ChannelAffine> affine_of(const Graph& graph, const Node& node, ValueId x, int64_t channels) {
  ChannelAffine a{std::vector<double>(channels, 1), std::vector<double>(channels, 0)};
  if (node.is("BatchNormalization")) {
    if (node.outputs.size() != 1 || node.attributes.get_int("training_mode", 0) != 0) return {};
    std::vector<float> p[4];
    for (int i = 0; i < 4; ++i) {
      const ValueId v = node.inputs[i + 1];
      if (!graph.is_constant(v) || graph.value(v).constant->count() != channels) return {};
      p[i] = to_float(*graph.value(v).constant);
    }
    const float epsilon = node.attributes.get_float("epsilon", 1e-5f);
    for (int64_t c = 0; c < channels; ++c) {
      a.scale[c] = p[0][c] / std::sqrt(static_cast<double>(p[3][c]) + epsilon);
      a.shift[c] = p[1][c] - p[2][c] * a.scale[c];
    }
    return a;
  }
  const bool mul = node.is("Mul"), add = node.is("Add");
  if ((!mul && !add) || node.inputs.size() != 2) return {};
  const auto values = per_channel(graph, node.inputs[node.inputs[0] == x ? 1 : 0], channels);
  if (!values) return {};
  for (int64_t c = 0; c < channels; ++c) (mul ? a.scale : a.shift)[c] = (*values)[c];
  return a;
}

bool fold_into(Graph& graph, NodeId conv_id) {
  const Node conv = graph.node(conv_id);
  const ValueId y = conv.outputs[0], weight = conv.inputs[1];
  const ValueId bias = conv.inputs.size() > 2 ? conv.inputs[2] : kNoId;
  if (graph.is_output(y) || graph.consumers(y).size() != 1) return false;
  if (!graph.is_constant(weight) || graph.value(weight).constant->dtype() != DType::kFloat32) return false;
  if (bias != kNoId && !graph.is_constant(bias)) return false;
  const NodeId next_id = graph.consumers(y)[0];
  const Node next = graph.node(next_id);
  if (next.inputs[0] == y && next.inputs.size() > 1 && next.inputs[1] == y) return false;
  const Tensor& w = *graph.value(weight).constant;
  const bool transposed = conv.is("ConvTranspose");
  const int64_t groups = conv.attributes.get_int("group", 1);
  const int64_t first = w.shape()[0], second = w.shape()[1];
  const int64_t channels = transposed ? second * groups : first;
  const auto affine = affine_of(graph, next, y, channels);
  if (!affine) return false;

  Tensor scaled = w.clone();
  const int64_t pairs = first * second, taps = pairs ? w.count() / pairs : 0;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const int64_t row = pair / second;
    const double factor = affine->scale[transposed ? row / (first / groups) * second + pair % second : row];
    for (float& v : scaled.as<float>().subspan(pair * taps, taps)) v = static_cast<float>(v * factor);
  }
  Tensor shifted(DType::kFloat32, {channels});
  for (int64_t c = 0; c < channels; ++c) {
    const double b = bias == kNoId ? 0 : graph.value(bias).constant->as<float>()[c];
    shifted.as<float>()[c] = static_cast<float>(b * affine->scale[c] + affine->shift[c]);
  }
  graph.set_input(conv_id, 1, graph.add_constant(graph.value(weight).name, std::move(scaled)));
  const ValueId new_bias =
      graph.add_constant(bias == kNoId ? conv.name + "_bias" : graph.value(bias).name, std::move(shifted));
  if (bias == kNoId && conv.inputs.size() < 3)
    graph.append_input(conv_id, new_bias);
  else
    graph.set_input(conv_id, 2, new_bias);
  const ValueId out = next.outputs[0];
  graph.remove_node(next_id);
  graph.take_output(conv_id, 0, out);
  return true;
}

bool convolve(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const auto& shape = graph.value(node.inputs[0]).shape;
  if (graph.value(node.inputs[0]).dtype != DType::kFloat32 || !shape || shape->size() != 4 ||
      !(*shape)[1].known())
    return false;
  const int64_t channels = (*shape)[1].value();
  const auto affine = affine_of(graph, node, node.inputs[0], channels);
  if (!affine || channels == 0) return false;
  Tensor weights(DType::kFloat32, {channels, 1, 1, 1}), bias(DType::kFloat32, {channels});
  std::ranges::transform(affine->scale, weights.as<float>().begin(),
                         [](double v) { return static_cast<float>(v); });
  std::ranges::transform(affine->shift, bias.as<float>().begin(),
                         [](double v) { return static_cast<float>(v); });
  Attributes attributes;
  attributes.set("kernel_shape", std::vector<int64_t>{1, 1});
  attributes.set("group", channels);
  become(graph, id, "Conv", "",
         {node.inputs[0], graph.add_constant(node.name + "_scale", std::move(weights)),
          graph.add_constant(node.name + "_shift", std::move(bias))},
         std::move(attributes));
  return true;
}

}  // namespace

bool convolve_batch_norm(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted())
    if (graph.node(id).is("BatchNormalization")) changed |= convolve(graph, id);
  if (changed) graph.prune();
  return changed;
}

bool fold_batch_norm(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted())
    while (graph.node(id).alive && (graph.node(id).is("Conv") || graph.node(id).is("ConvTranspose")) &&
           fold_into(graph, id))
      changed = true;
  return changed;
}

}  // namespace octet
