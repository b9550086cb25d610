#include "ops/support.h"

namespace octet {
namespace {

// The limits were attributes before opset 11.
void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset >= 11) return;
  const std::string_view names[] = {"min", "max"};
  for (size_t i = 0; i < 2; ++i) {
    const Node& node = graph.node(id);
    if (!node.attributes.has(names[i])) continue;
    const float limit = node.attributes.get_float(names[i], 0);
    const std::string name = fmt::format("{}.{}", node.name, names[i]);
    drop_attribute(graph, id, names[i]);
    put_input(graph, id, i + 1, graph.add_constant(name, Tensor::scalar(limit)));
  }
}

void infer(InferContext& context) {
  for (size_t i = 1; i < 3; ++i) {
    if (!context.has_input(i)) continue;
    require_same_dtype(context, 0, i);
    const Tensor* limit = context.constant(i);
    if (limit != nullptr ? limit->count() != 1 : context.has_shape(i) && !context.shape(i).empty())
      context.fail_here(fmt::format("limit {} is not a scalar", i - 1));
  }
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> clip_ops() {
  static const OpDef ops[] = {
      {.name = "Clip",
       .min_inputs = 1,
       .max_inputs = 3,
       .attributes = {{.name = "min", .kind = AttributeKind::kFloat, .until = 10},
                      {.name = "max", .kind = AttributeKind::kFloat, .until = 10}},
       .upgrade = upgrade,
       .infer = infer,
       .quant = QuantRule::kActivation,
       .lowering = Lowering::kActivation},
  };
  return ops;
}

}  // namespace octet
