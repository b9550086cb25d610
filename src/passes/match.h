// What passes ask of a graph when they look for patterns.
#pragma once

#include <cmath>
#include <optional>
#include <string_view>

#include "graph/graph.h"

namespace octet {

// A float32 constant of one element.
inline std::optional<float> scalar_constant(const Graph& graph, ValueId value) {
  if (!graph.is_constant(value)) return {};
  const Tensor& t = *graph.value(value).constant;
  if (t.dtype() != DType::kFloat32 || t.count() != 1) return {};
  return t.as<float>()[0];
}

inline bool close(std::optional<float> value, double expected) {
  return value && std::abs(*value - expected) < 1e-3 * std::max(1.0, std::abs(expected));
}

// The operand of a two-input node that is a scalar constant near `expected`; gives the other operand.
inline std::optional<ValueId> other_than(const Graph& graph, const Node& node, double expected) {
  if (node.inputs.size() != 2) return {};
  if (close(scalar_constant(graph, node.inputs[1]), expected)) return node.inputs[0];
  if (close(scalar_constant(graph, node.inputs[0]), expected)) return node.inputs[1];
  return {};
}

inline bool only_use(const Graph& graph, ValueId value) {
  return !graph.is_output(value) && graph.consumers(value).size() == 1;
}

// The node that makes the value, when it is of that operator.
inline const Node* producer_of(const Graph& graph, ValueId value, std::string_view op) {
  const Node* node = value == kNoId ? nullptr : graph.producer(value);
  return node != nullptr && node->is(op) ? node : nullptr;
}

// The node `id` becomes `op` of `inputs`; what only it needed is left to prune().
inline void become(Graph& graph, NodeId id, std::string op, std::string domain, std::vector<ValueId> inputs,
                   Attributes attributes = {}) {
  const Node node = graph.node(id);
  const ValueId y = node.outputs[0];
  graph.remove_node(id);
  const NodeId made = graph.add_node(std::move(op), std::move(domain), node.name, std::move(inputs), {},
                                     std::move(attributes));
  graph.append_output(made, y);
}

}  // namespace octet
