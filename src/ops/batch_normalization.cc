#include "ops/support.h"

namespace octet {
namespace {

// In training mode the statistics are the batch's, and the running ones are outputs.
void upgrade(Graph& graph, NodeId id, int opset) {
  const Attributes& attributes = graph.node(id).attributes;
  if (opset >= 14 && attributes.get_int("training_mode", 0) != 0) return drop_unused_outputs(graph, id, 1);
  if (opset < 9 && attributes.get_int("spatial", 1) != 1) fail_node(graph, id, "spatial 0 is not supported");
  const std::string_view names[] = {"", "mean", "var", "saved_mean", "saved_var"};
  for (size_t i = graph.node(id).outputs.size(); i-- > 1;) drop_output(graph, id, i, names[i]);
  for (const auto* name : {"training_mode", "spatial", "momentum"}) drop_attribute(graph, id, name);
}

void infer(InferContext& context) {
  require_float(context, 0);
  const Dims& x = context.shape(0);
  if (x.size() < 2) context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(x)));
  for (size_t i = 1; i < 5; ++i) {
    require_rank(context, i, 1);
    if (equal(context.shape(i)[0], x[1]) == false)
      context.fail_here(
          fmt::format("input {} has {} entries for {} channels", i, context.shape(i)[0].text(), x[1].text()));
  }
  infer_like_first(context);
  if (context.attributes().get_int("training_mode", 0) == 0 && context.output_count() > 1)
    context.fail_here("outputs besides the first need training_mode 1");
  for (size_t i = 1; i < context.output_count(); ++i)
    context.set_output(i, context.dtype(3), context.shape(3));
}

int opset(const Graph&, const Node& node) {
  return node.attributes.get_int("training_mode", 0) != 0 ? 14 : 13;
}

}  // namespace

std::span<const OpDef> batch_normalization_ops() {
  static const OpDef ops[] = {
      {.name = "BatchNormalization",
       .min_inputs = 5,
       .max_inputs = 5,
       .max_outputs = 3,
       .max_old_outputs = 5,
       .attributes = {{"epsilon", AttributeKind::kFloat},
                      {.name = "momentum", .kind = AttributeKind::kFloat},
                      {.name = "spatial", .low = 0, .high = 1, .until = 8},
                      {.name = "training_mode", .low = 0, .high = 1, .since = 14}},
       .upgrade = upgrade,
       .infer = infer,
       .export_opset = opset},
  };
  return ops;
}

}  // namespace octet
