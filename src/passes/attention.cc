#include "passes/attention.h"

#include <algorithm>

#include "kernels/matmul/matmul.h"
#include "passes/groups.h"
#include "passes/match.h"
#include "passes/pads.h"

namespace octet {
namespace {

// The factor of a Mul or Div of `value` by one number.
std::optional<float> scalar_factor(const Graph& graph, const Node& node, ValueId value) {
  if (node.inputs.size() != 2) return {};
  const bool first = node.inputs[0] == value;
  const auto c = scalar_constant(graph, node.inputs[first ? 1 : 0]);
  if (!c || !std::isfinite(*c)) return {};
  if (node.is("Mul")) return *c;
  if (node.is("Div") && first && *c != 0) return 1.0f / *c;
  return {};
}

bool last_axis(const Graph& graph, const Node& softmax) {
  const auto& shape = graph.value(softmax.inputs[0]).shape;
  const int64_t axis = softmax.attributes.get_int("axis", -1);
  return shape && (axis == -1 || axis == static_cast<int64_t>(shape->size()) - 1);
}

bool same_shape(const Graph& graph, ValueId a, ValueId b) {
  const auto &x = graph.value(a).shape, &y = graph.value(b).shape;
  return x && y && *x == *y;
}

// What an Add adds to the scores, when that broadcasts to them and is float32.
std::optional<ValueId> mask_of(const Graph& graph, const Node& add, ValueId scores) {
  if (!add.is("Add") || add.inputs.size() != 2 || !same_shape(graph, scores, add.outputs[0])) return {};
  const ValueId mask = add.inputs[add.inputs[0] == scores ? 1 : 0];
  const auto& shape = graph.value(mask).shape;
  if (mask == scores || !shape || shape->size() < 2 || graph.value(mask).dtype != DType::kFloat32) return {};
  return mask;
}

// Where(IsNaN(p), 0, p) of the probabilities, as exporters write it for rows without keys; with its IsNaN.
struct Guard {
  NodeId test, choice;
};
std::optional<Guard> guard_of(const Graph& graph, ValueId p) {
  const std::vector<NodeId> readers = graph.consumers(p);
  if (readers.size() != 2 || graph.is_output(p)) return {};
  const size_t first = graph.node(readers[0]).is("IsNaN") ? 0 : 1;
  const Guard guard{readers[first], readers[1 - first]};
  const Node &test = graph.node(guard.test), &choice = graph.node(guard.choice);
  if (!test.is("IsNaN") || !choice.is("Where") || only_consumer(graph, test.outputs[0]) != guard.choice ||
      choice.inputs[0] != test.outputs[0] || scalar_constant(graph, choice.inputs[1]) != 0.0f ||
      choice.inputs[2] != p || !same_shape(graph, p, choice.outputs[0]))
    return {};
  return guard;
}

// What a value holds before operators that only move it.
ValueId moved_from(const Graph& graph, ValueId value) {
  for (const Node* node = graph.producer(value); node != nullptr; node = graph.producer(value)) {
    if (node->is("Concat") || node->is("Split") || !keeps_scale(graph, *node)) break;
    value = node->inputs[0];
  }
  return value;
}

}  // namespace

bool reads_cache(const Graph& graph, const Node& product) {
  return std::ranges::any_of(product.inputs, [&](ValueId operand) {
    const Node* concat = graph.producer(moved_from(graph, operand));
    return concat != nullptr && concat->is("Concat") && std::ranges::any_of(concat->inputs, [&](ValueId v) {
             return graph.is_input(moved_from(graph, v));
           });
  });
}

bool is_variable_matmul(const Graph& graph, const Node& node) {
  if (!node.is("MatMul") || node.inputs.size() != 2) return false;
  for (ValueId v : node.inputs) {
    const auto& shape = graph.value(v).shape;
    if (graph.is_constant(v) || graph.value(v).dtype != DType::kFloat32 || !shape || shape->size() < 2)
      return false;
  }
  if (is_weighted(graph, node)) return false;
  const Dim depth = graph.value(node.inputs[0]).shape->back();
  return !depth.known() || (depth.value() > 0 && depth.value() <= kernels::kMaxMatMulDepth);
}

std::optional<AttentionScores> match_attention_scores(const Graph& graph, NodeId matmul) {
  if (!is_variable_matmul(graph, graph.node(matmul))) return {};
  AttentionScores a;
  a.product = matmul;
  a.nodes = {matmul};
  double scale = 1;
  ValueId value = graph.node(matmul).outputs[0];
  while (const auto next = only_consumer(graph, value)) {
    const Node& node = graph.node(*next);
    if (node.is("Softmax")) {
      if (!last_axis(graph, node)) return {};
      a.nodes.push_back(*next);
      a.probabilities = node.outputs[0];
      if (const auto guard = guard_of(graph, a.probabilities)) {
        a.nodes.insert(a.nodes.end(), {guard->test, guard->choice});
        a.probabilities = graph.node(guard->choice).outputs[0];
        a.zero_for_nan = true;
      }
      a.scale = static_cast<float>(scale);
      return a;
    }
    if (a.second != kNoId) return {};
    if (a.mask != kNoId) {  // two masks that are constants can be summed
      const auto mask = mask_of(graph, node, value);
      if (!mask || !graph.is_constant(a.mask) || !graph.is_constant(*mask)) return {};
      a.second = *mask;
    } else if (const auto factor = scalar_factor(graph, node, value);
               factor && same_shape(graph, value, node.outputs[0])) {
      scale *= *factor;
    } else if (const auto mask = mask_of(graph, node, value)) {
      a.mask = *mask;
    } else {
      return {};
    }
    a.nodes.push_back(*next);
    value = node.outputs[0];
  }
  return {};
}

}  // namespace octet
