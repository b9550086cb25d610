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

// A constant of one number for each of the last axis's entries.
bool is_row(const Graph& graph, ValueId value, int64_t columns) {
  if (!graph.is_constant(value)) return false;
  const Tensor& t = *graph.value(value).constant;
  return t.dtype() == DType::kFloat32 && t.count() == columns && t.rank() > 0 && t.shape().back() == columns;
}

// A BatchNormalization of a matrix behind a product by constant weights, with a bias or a Reshape of the rows
// between them: the weights' columns take it in.
bool fold_into_product(Graph& graph, NodeId id) {
  const Node norm = graph.node(id);
  const auto& shape = graph.value(norm.inputs[0]).shape;
  if (!shape || shape->size() != 2 || !(*shape)[1].known()) return false;
  const int64_t columns = (*shape)[1].value();
  const auto affine = affine_of(graph, norm, norm.inputs[0], columns);
  if (!affine) return false;
  ValueId value = norm.inputs[0];
  NodeId reshape = kNoId, add = kNoId;
  const auto producer = [&](ValueId v) { return only_use(graph, v) ? graph.value(v).producer : kNoId; };
  NodeId at = producer(value);
  if (at != kNoId && (graph.node(at).is("Reshape") || graph.node(at).is("Flatten"))) {
    reshape = at;
    value = graph.node(at).inputs[0];
    const auto& from = graph.value(value).shape;
    if (!from || from->empty() || from->back() != (*shape)[1]) return false;
    at = producer(value);
  }
  if (at != kNoId && graph.node(at).is("Add") && graph.node(at).inputs.size() == 2) {
    add = at;
    const size_t bias = graph.is_constant(graph.node(at).inputs[0]) ? 0 : 1;
    if (!is_row(graph, graph.node(at).inputs[bias], columns)) return false;
    at = producer(graph.node(at).inputs[1 - bias]);
  }
  if (at == kNoId) return false;
  const Node product = graph.node(at);
  const bool gemm = product.is("Gemm"), transposed = gemm && product.attributes.get_int("transB", 0) != 0;
  if ((!gemm && !product.is("MatMul")) || !graph.is_constant(product.inputs[1])) return false;
  const Tensor& w = *graph.value(product.inputs[1]).constant;
  if (w.dtype() != DType::kFloat32 || w.rank() != 2 || w.shape()[transposed ? 0 : 1] != columns) return false;
  const bool has_bias = gemm && product.inputs.size() > 2 && product.inputs[2] != kNoId;
  if (has_bias && (add != kNoId || !is_row(graph, product.inputs[2], columns) ||
                   product.attributes.get_float("beta", 1.0f) != 1.0f))
    return false;

  Tensor scaled = w.clone();
  const std::span<float> values = scaled.as<float>();
  for (int64_t i = 0; i < w.count(); ++i)
    values[i] = static_cast<float>(values[i] * affine->scale[transposed ? i / w.shape()[1] : i % columns]);
  Tensor shift(DType::kFloat32, {columns});
  for (int64_t c = 0; c < columns; ++c) {
    double b = has_bias ? graph.value(product.inputs[2]).constant->as<float>()[c] : 0;
    if (add != kNoId) {
      const Node& sum = graph.node(add);
      b += graph.value(sum.inputs[graph.is_constant(sum.inputs[0]) ? 0 : 1]).constant->as<float>()[c];
    }
    shift.as<float>()[c] = static_cast<float>(b * affine->scale[c] + affine->shift[c]);
  }
  graph.set_input(at, 1, graph.add_constant(graph.value(product.inputs[1]).name, std::move(scaled)));
  const ValueId bias = graph.add_constant(norm.name + "_shift", std::move(shift));
  const ValueId out = norm.outputs[0];
  if (gemm && add == kNoId) {
    if (product.inputs.size() > 2)
      graph.set_input(at, 2, bias);
    else
      graph.append_input(at, bias);
  } else if (add != kNoId) {
    graph.set_input(add, graph.is_constant(graph.node(add).inputs[0]) ? 0 : 1, bias);
  } else {
    const ValueId y = product.outputs[0];
    const ValueId plain =
        graph.add_value(graph.value(y).name + "_unshifted", graph.value(y).dtype, graph.value(y).shape);
    graph.take_output(at, 0, plain);
    const NodeId sum = graph.add_node("Add", "", norm.name + "_bias", {plain, bias}, {});
    graph.append_output(sum, y);
    add = sum;
  }
  graph.remove_node(id);
  graph.take_output(reshape != kNoId ? reshape : add != kNoId ? add : at, 0, out);
  return true;
}

// What no layer takes in, and is no image, is a Mul and an Add.
bool spell_out(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const auto shape = graph.value(node.inputs[0]).shape;  // a copy: values are added below
  if (graph.value(node.inputs[0]).dtype != DType::kFloat32 || !shape || shape->size() < 2 ||
      shape->size() == 4 || !(*shape)[1].known())
    return false;
  const int64_t channels = (*shape)[1].value();
  const auto affine = affine_of(graph, node, node.inputs[0], channels);
  if (!affine) return false;
  Shape row(shape->size() - 1, 1);
  row[0] = channels;
  Tensor scale(DType::kFloat32, row), shift(DType::kFloat32, row);
  std::ranges::transform(affine->scale, scale.as<float>().begin(),
                         [](double v) { return static_cast<float>(v); });
  std::ranges::transform(affine->shift, shift.as<float>().begin(),
                         [](double v) { return static_cast<float>(v); });
  const ValueId scaled = graph.add_op(
      "Mul", node.name + "_scale",
      {node.inputs[0], graph.add_constant(node.name + "_scale", std::move(scale))}, node.name + "_scaled");
  graph.value(scaled).dtype = DType::kFloat32;
  graph.value(scaled).shape = shape;
  become(graph, id, "Add", "", {scaled, graph.add_constant(node.name + "_shift", std::move(shift))});
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
    if (graph.node(id).is("BatchNormalization")) changed |= convolve(graph, id) || spell_out(graph, id);
  if (changed) graph.prune();
  return changed;
}

bool fold_batch_norm(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted())
    while (graph.node(id).alive && (graph.node(id).is("Conv") || graph.node(id).is("ConvTranspose")) &&
           fold_into(graph, id))
      changed = true;
  for (NodeId id : graph.sorted())
    if (graph.node(id).alive && graph.node(id).is("BatchNormalization") && fold_into_product(graph, id))
      changed = true;
  return changed;
}

}  // namespace octet
