#include "ops/support.h"

namespace octet {
namespace {

// Before opset 13 all dimensions from `axis` on counted as one.
void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset >= 13) return;
  const Node node = graph.node(id);
  if (node.inputs.size() != 1 || node.inputs[0] == kNoId) fail_node(graph, id, "expected one input");
  const int64_t axis = node.attributes.get_int("axis", 1);
  const auto& shape = graph.value(node.inputs[0]).shape;
  if (shape) {
    const auto rank = static_cast<int64_t>(shape->size());
    const int64_t at = axis < 0 ? axis + rank : axis;
    if (at < 0 || at > rank || rank == 0) fail_node(graph, id, fmt::format("axis {} at rank {}", axis, rank));
    // The one dimension of those that is not 1, if there is one only.
    int64_t only = std::min(at, rank - 1), others = 0;
    for (int64_t i = at; i < rank; ++i) {
      const Dim& dim = (*shape)[static_cast<size_t>(i)];
      if (dim.known() && dim.value() == 1) continue;
      only = i;
      ++others;
    }
    if (at < rank && others <= 1) {
      graph.node(id).attributes.set("axis", only);
      return;
    }
  }
  const ValueId x = node.inputs[0], y = node.outputs[0];
  Attributes flatten, last;
  flatten.set("axis", axis);
  last.set("axis", int64_t{-1});
  graph.remove_node(id);
  const ValueId sizes = graph.add_op("Shape", node.name + "_shape", {x}, node.name + "_sizes");
  const ValueId flat = graph.add_op("Flatten", node.name + "_flatten", {x}, node.name + "_flat", flatten);
  const ValueId soft = graph.add_op(node.op, node.name, {flat}, node.name + "_soft", last);
  graph.add_node("Reshape", "", node.name + "_reshape", {soft, sizes}, {y});
}

void infer(InferContext& context) {
  require_float(context, 0);
  infer_like_first(context);
}

OpDef softmax(std::string_view name, Lowering lowering) {
  return {.name = name,
          .attributes = {{"axis"}},
          .upgrade = upgrade,
          .infer = infer,
          .lowering = lowering,
          .upgrade_needs_shapes = true};
}

}  // namespace

std::span<const OpDef> softmax_ops() {
  static const OpDef ops[] = {softmax("LogSoftmax", Lowering::kGeneric),
                              softmax("Softmax", Lowering::kSoftmax)};
  return ops;
}

}  // namespace octet
