// Identity, and Dropout, which is one at inference unless its mask is wanted.
#include "ops/support.h"

namespace octet {
namespace {

// Dropping needs training_mode, and there a ratio above 0.
bool constantly(const Graph& graph, const Node& node, size_t input, float wanted) {
  if (!has_input(node, input)) return false;
  const Value& value = graph.value(node.inputs[input]);
  if (!value.constant || value.constant->count() != 1) return false;
  return value.constant->dtype() == DType::kBool
             ? to_int64(*value.constant)[0] == static_cast<int64_t>(wanted)
             : to_float(*value.constant)[0] == wanted;
}

void upgrade_dropout(Graph& graph, NodeId id, int opset) {
  for (const auto* name : {"ratio", "seed"}) drop_attribute(graph, id, name);
  drop_unused_outputs(graph, id, 1);
  const Node node = graph.node(id);
  if (node.inputs.empty() || node.inputs[0] == kNoId) fail_node(graph, id, "expected an input");
  if (node.outputs.empty() || node.outputs[0] == kNoId) fail_node(graph, id, "expected an output");
  const bool trains = opset >= 12 && has_input(node, 2) && !constantly(graph, node, 2, 0);
  if (trains && !constantly(graph, node, 1, 0) &&
      (!has_input(node, 1) || (graph.is_constant(node.inputs[1]) && graph.is_constant(node.inputs[2]))))
    fail_node(graph, id, "it drops values at random (training_mode); export the model in inference mode");
  if (trains || node.outputs.size() > 1) return;
  graph.remove_node(id);
  graph.add_node("Identity", "", node.name, {node.inputs[0]}, {node.outputs[0]});
}

void infer_dropout(InferContext& context) {
  infer_like_first(context);
  if (context.has_output(1)) context.set_output(1, DType::kBool, context.shape(0));
}

void infer(InferContext& context) {
  infer_like_first(context);
  if (auto values = context.integers(0)) context.set_integers(0, *values);
}

}  // namespace

std::span<const OpDef> identity_ops() {
  static const OpDef ops[] = {
      {.name = "Dropout",
       .max_inputs = 3,
       .max_outputs = 2,
       .attributes = {{.name = "ratio", .kind = AttributeKind::kFloat, .until = 11},
                      {.name = "seed", .since = 12, .until = kNewestOpset}},
       .upgrade = upgrade_dropout,
       .infer = infer_dropout},
      {.name = "Identity", .infer = infer, .quant = QuantRule::kSameScale, .lowering = Lowering::kReshape},
  };
  return ops;
}

}  // namespace octet
