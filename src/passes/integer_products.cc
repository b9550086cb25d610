// What quantize_dynamic of ONNX Runtime writes: MatMulInteger or ConvInteger -> Cast -> Mul by (scale of the
// input * scale of the weights), the input's scale often by a DynamicQuantizeLinear.
#include <algorithm>
#include <optional>

#include "passes/canonicalize.h"
#include "passes/groups.h"

namespace octet {
namespace {

struct Product {
  NodeId product = kNoId, cast = kNoId, scaling = kNoId;
  ValueId x_scale = kNoId, weight_scale = kNoId;
};

// The scale that a tensor of integers was made with, where its zero-point is the one that the product
// subtracts.
bool belongs(const Graph& graph, ValueId stored, ValueId scale, ValueId zero) {
  const Node* producer = graph.producer(stored);
  if (producer == nullptr) return false;
  if (producer->is("DynamicQuantizeLinear"))
    return producer->outputs.size() == 3 && producer->outputs[0] == stored && producer->outputs[1] == scale &&
           producer->outputs[2] == zero;
  return producer->is("QuantizeLinear") && producer->inputs[1] == scale &&
         (producer->inputs.size() > 2 ? producer->inputs[2] : kNoId) == zero;
}

std::optional<Product> match(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if ((!node.is("MatMulInteger") && !node.is("ConvInteger")) || !graph.is_constant(node.inputs[1])) return {};
  const ValueId zero = node.inputs.size() > 2 ? node.inputs[2] : kNoId;
  const auto cast = only_consumer(graph, node.outputs[0]);
  if (!cast || !graph.node(*cast).is("Cast") ||
      graph.value(graph.node(*cast).outputs[0]).dtype != DType::kFloat32)
    return {};
  const ValueId real = graph.node(*cast).outputs[0];
  const auto scaling = only_consumer(graph, real);
  if (!scaling || !graph.node(*scaling).is("Mul")) return {};
  const Node& mul = graph.node(*scaling);
  const Node* scales = graph.producer(mul.inputs[mul.inputs[0] == real ? 1 : 0]);
  if (scales == nullptr || !scales->is("Mul")) return {};
  for (int i = 0; i < 2; ++i)
    if (graph.is_constant(scales->inputs[1 - i]) && belongs(graph, node.inputs[0], scales->inputs[i], zero))
      return Product{id, *cast, *scaling, scales->inputs[i], scales->inputs[1 - i]};
  return {};
}

// One number, or one per output channel as it stands in a broadcast against the product; nullopt for another
// shape.
std::optional<Tensor> per_output(const Tensor& t, int64_t channels, bool conv, int rank) {
  if (t.count() == 1) return t.reshaped({});
  if (t.count() != channels || !conv)
    return t.count() == channels && t.shape().back() == channels ? std::optional(t.reshaped({channels}))
                                                                 : std::nullopt;
  Shape wanted(static_cast<size_t>(rank), 1);
  wanted[1] = channels;
  Shape shape = t.shape();
  if (t.rank() == rank - 1) shape.insert(shape.begin(), 1);
  return shape == wanted ? std::optional(t.reshaped({channels})) : std::nullopt;
}

Tensor repeat(const Tensor& one, int64_t count) {
  Tensor many(one.dtype(), {count});
  const int64_t size = one.bytes();
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(static_cast<const std::byte*>(one.raw()), size,
                static_cast<std::byte*>(many.raw()) + i * size);
  return many;
}

ValueId dequantize(Graph& graph, std::string_view name, std::vector<ValueId> inputs,
                   Attributes attributes = {}) {
  const Value& stored = graph.value(inputs[0]);
  const auto shape = stored.shape;
  const std::string stem = stored.name;
  const ValueId real = graph.add_op("DequantizeLinear", std::string(name) + "_DequantizeLinear",
                                    std::move(inputs), stem + "_dequantized", std::move(attributes));
  graph.value(real).dtype = DType::kFloat32;
  graph.value(real).shape = shape;
  return real;
}

// A constant per channel that is added to a convolution becomes its bias.
void take_bias(Graph& graph, NodeId conv, int64_t channels) {
  const ValueId y = graph.node(conv).outputs[0];
  const auto next = only_consumer(graph, y);
  if (!next || !graph.node(*next).is("Add")) return;
  const Node add = graph.node(*next);
  const ValueId other = add.inputs[add.inputs[0] == y ? 1 : 0];
  if (!graph.is_constant(other) || !graph.value(y).shape || graph.value(other).dtype != DType::kFloat32)
    return;
  const auto values = per_output(*graph.value(other).constant, channels, true,
                                 static_cast<int>(graph.value(y).shape->size()));
  if (!values) return;
  graph.append_input(conv, graph.add_constant(graph.value(other).name, values->count() == channels
                                                                           ? values->reshaped({channels})
                                                                           : repeat(*values, channels)));
  graph.remove_node(*next);
  graph.take_output(conv, 0, add.outputs[0]);
}

bool rewrite(Graph& graph, const Product& p) {
  const Node node = graph.node(p.product);
  const bool conv = node.is("ConvInteger");
  const Shape& shape = graph.value(node.inputs[1]).constant->shape();
  if (shape.size() < (conv ? 3 : 2)) return false;
  const int64_t axis = conv ? 0 : static_cast<int64_t>(shape.size()) - 1, channels = shape[axis];
  auto scale =
      per_output(*graph.value(p.weight_scale).constant, channels, conv, static_cast<int>(shape.size()));
  if (!scale || scale->dtype() != DType::kFloat32) return false;
  const ValueId weight_zero = node.inputs.size() > 3 ? node.inputs[3] : kNoId;
  std::optional<Tensor> zero;
  if (weight_zero != kNoId) {
    if (!graph.is_constant(weight_zero)) return false;
    const Tensor& given = *graph.value(weight_zero).constant;
    if (given.count() != 1 && given.count() != channels) return false;
    zero = given.reshaped(given.count() == 1 ? Shape{} : Shape{channels});
    // Scale and zero-point of one shape.
    if (zero->count() != scale->count())
      (zero->count() == 1 ? *zero : *scale) = repeat(zero->count() == 1 ? *zero : *scale, channels);
  }
  std::vector<ValueId> x{node.inputs[0], p.x_scale},
      w{node.inputs[1], graph.add_constant(node.name + "_scale", *scale)};
  if (node.inputs.size() > 2 && node.inputs[2] != kNoId) x.push_back(node.inputs[2]);
  if (zero) w.push_back(graph.add_constant(node.name + "_zero_point", *zero));
  Attributes attributes;
  if (scale->count() > 1) attributes.set("axis", axis);
  const ValueId a = dequantize(graph, node.name, std::move(x)),
                b = dequantize(graph, node.name, std::move(w), attributes);
  const ValueId y = graph.node(p.scaling).outputs[0];
  for (const NodeId dead : {p.scaling, p.cast, p.product}) graph.remove_node(dead);
  const NodeId made = graph.add_node(conv ? "Conv" : "MatMul", "", node.name, {a, b}, {}, node.attributes);
  graph.append_output(made, y);
  if (conv) take_bias(graph, made, channels);
  return true;
}

}  // namespace

bool dequantize_products(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted()) {
    if (!graph.node(id).alive) continue;
    if (const auto product = match(graph, id)) changed |= rewrite(graph, *product);
  }
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
