// Convolutions and pools over one dimension become those over two, of which the first has one row.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

constexpr int64_t kRows = 2;  // the axis that is added

ValueId axes_constant(Graph& graph, const std::string& name) {
  return graph.add_constant(name + "_axes", Tensor::of<int64_t>({1}, {kRows}));
}

size_t rank(const Graph& graph, ValueId value) {
  const auto& shape = graph.value(value).shape;
  return shape ? shape->size() : 0;
}

// x of Squeeze(x, rows), whose matrices have one row.
std::optional<ValueId> squeezed(const Graph& graph, ValueId value) {
  const Node* node = producer_of(graph, value, "Squeeze");
  if (node == nullptr || node->inputs.size() != 2 || !graph.is_constant(node->inputs[1])) return {};
  const Tensor& axes = *graph.value(node->inputs[1]).constant;
  const bool rows = axes.dtype() == DType::kInt64 && axes.count() == 1 && axes.as<int64_t>()[0] == kRows;
  return rows && rank(graph, value) == 3 ? std::optional(node->inputs[0]) : std::nullopt;
}

// `wide` is `value`, of three dimensions, with rows.
void give_shape(Graph& graph, ValueId wide, ValueId value) {
  Dims shape = *graph.value(value).shape;
  shape.insert(shape.begin() + kRows, Dim(1));
  graph.value(wide).shape = std::move(shape);
  graph.value(wide).dtype = graph.value(value).dtype;
}

ValueId add_rows(Graph& graph, ValueId value) {
  if (const auto wide = squeezed(graph, value)) return *wide;
  const std::string name = graph.value(value).name + "_rows";
  const ValueId wide = graph.add_op("Unsqueeze", name, {value, axes_constant(graph, name)}, name);
  give_shape(graph, wide, value);
  return wide;
}

// The node, of which some inputs are replaced, makes what a Squeeze makes its former output of.
void squeeze_result(Graph& graph, NodeId id, std::vector<ValueId> inputs, Attributes attributes) {
  const Node node = graph.node(id);
  const ValueId y = node.outputs[0];
  graph.remove_node(id);
  const ValueId wide = graph.add_op(node.op, node.name, std::move(inputs), graph.value(y).name + "_rows",
                                    std::move(attributes), node.domain);
  give_shape(graph, wide, y);
  const NodeId squeeze =
      graph.add_node("Squeeze", "", node.name + "_squeeze", {wide, axes_constant(graph, node.name)}, {});
  graph.append_output(squeeze, y);
}

bool widen(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const bool conv = node.is("Conv");
  if (!conv && !node.is("MaxPool") && !node.is("AveragePool") && !node.is("GlobalAveragePool")) return false;
  if (rank(graph, node.inputs[0]) != 3 || node.outputs.size() != 1 || rank(graph, node.outputs[0]) != 3)
    return false;
  std::vector<ValueId> inputs = node.inputs;
  Attributes attributes = node.attributes;
  if (conv) {
    if (!graph.is_constant(inputs[1])) return false;
    Tensor weights = *graph.value(inputs[1]).constant;
    const Shape& s = weights.shape();
    inputs[1] = graph.add_constant(graph.value(inputs[1]).name, weights.reshaped({s[0], s[1], 1, s[2]}));
  }
  for (const char* name : {"kernel_shape", "strides", "dilations"})
    if (attributes.has(name)) attributes.set(name, std::vector<int64_t>{1, attributes.get_ints(name).at(0)});
  if (const auto pads = attributes.get_ints("pads"); !pads.empty())
    attributes.set("pads", std::vector<int64_t>{0, pads.at(0), 0, pads.at(1)});
  inputs[0] = add_rows(graph, inputs[0]);
  squeeze_result(graph, id, std::move(inputs), std::move(attributes));
  return true;
}

// What is computed on each element behind a Squeeze is computed in front of it, so that it stays beside its
// convolution.
bool sink(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const OpDef* op = find_op(node.op, node.domain);
  if (op == nullptr || node.outputs.size() != 1 || rank(graph, node.outputs[0]) != 3) return false;
  const bool two = op->quant == QuantRule::kArithmetic || node.is("Sub") || node.is("Div");
  const bool one = node.is("BatchNormalization") || op->quant == QuantRule::kActivation;
  if (!one && !two) return false;
  std::vector<ValueId> inputs = node.inputs;
  bool any = false;
  for (size_t i = 0; i < (two ? inputs.size() : 1); ++i) {
    if (const auto wide = squeezed(graph, inputs[i])) {
      inputs[i] = *wide;
      any = true;
    } else if (graph.is_constant(inputs[i]) && rank(graph, inputs[i]) == 3) {
      const Tensor& t = *graph.value(inputs[i]).constant;
      const Shape& s = t.shape();
      inputs[i] = graph.add_constant(graph.value(inputs[i]).name, t.reshaped({s[0], s[1], 1, s[2]}));
    } else if (!graph.is_constant(inputs[i]) || graph.value(inputs[i]).constant->count() != 1) {
      return false;
    }
  }
  if (!any) return false;
  squeeze_result(graph, id, std::move(inputs), node.attributes);
  return true;
}

}  // namespace

bool widen_1d(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted()) {
    if (!graph.node(id).alive) continue;
    changed |= widen(graph, id) || sink(graph, id);
  }
  if (!changed) return false;
  graph.prune();
  infer_shapes(graph);
  return true;
}

}  // namespace octet
