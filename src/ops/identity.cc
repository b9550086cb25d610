// Identity, and Dropout, which is one at inference.
#include "ops/support.h"

namespace octet {
namespace {

void upgrade_dropout(Graph& graph, NodeId id, int opset) {
  if (opset >= 12 && has_input(graph.node(id), 2)) {
    const Value& training = graph.value(graph.node(id).inputs[2]);
    if (!training.constant || training.constant->count() != 1 || to_int64(*training.constant)[0] != 0)
      fail_node(graph, id, "training_mode is not constantly false; export the model in inference mode");
  }
  drop_output(graph, id, 1, "mask");
  const Node node = graph.node(id);
  if (node.inputs.empty() || node.inputs[0] == kNoId) fail_node(graph, id, "expected an input");
  if (node.outputs.empty()) fail_node(graph, id, "expected an output");
  graph.remove_node(id);
  graph.add_node("Identity", "", node.name, {node.inputs[0]}, {node.outputs[0]});
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
       .upgrade = upgrade_dropout},
      {.name = "Identity", .infer = infer, .quant = QuantRule::kSameScale, .lowering = Lowering::kReshape},
  };
  return ops;
}

}  // namespace octet
