#include "ops/op_def.h"
#include "passes/match.h"
#include "passes/quantize.h"

namespace octet {

std::optional<int64_t> width_of_many_rows(const Graph& graph, const Node& softmax) {
  constexpr int64_t kMany = 64;
  if (!softmax.is("Softmax") || graph.value(softmax.inputs[0]).dtype != DType::kFloat32) return {};
  const auto& shape = graph.value(softmax.inputs[0]).shape;
  if (!shape || shape->size() < 2 || !shape->back().known()) return {};
  const bool many = shape->size() > 2 || (shape->front().known() && shape->front().value() >= kMany);
  const int64_t axis = softmax.attributes.get_int("axis", -1);
  const bool last = axis == -1 || axis + 1 == static_cast<int64_t>(shape->size());
  return many && last ? std::optional(shape->back().value()) : std::nullopt;
}

int64_t spell_softmax_of_two_as_sigmoid(Graph& graph) {
  int64_t count = 0;
  for (const NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (width_of_many_rows(graph, node) != 2) continue;
    const ValueId both =
        graph.add_constant(node.name + "_minus_other", Tensor::of<float>({2, 2}, {1, -1, -1, 1}));
    const ValueId difference =
        graph.add_op("MatMul", node.name + "_difference", {node.inputs[0], both}, node.name + "_difference");
    become(graph, id, "Sigmoid", "", {difference});
    ++count;
  }
  if (count > 0) infer_shapes(graph);
  return count;
}

}  // namespace octet
