#include "passes/attention.h"

#include "kernels/matmul/matmul.h"
#include "passes/groups.h"
#include "passes/match.h"

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

}  // namespace

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
