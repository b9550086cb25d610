// LayerNormalization, InstanceNormalization
#include "ops/support.h"

namespace octet {
namespace {

void upgrade_layer(Graph& graph, NodeId id, int) {
  for (size_t i = graph.node(id).outputs.size(); i-- > 1;)
    drop_output(graph, id, i, i == 1 ? "Mean" : "InvStdDev");
}

void infer_layer(InferContext& context) {
  require_float(context, 0);
  const Dims& x = context.shape(0);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", -1), x.size());
  const Dims normalized(x.begin() + static_cast<std::ptrdiff_t>(axis), x.end());
  for (size_t i = 1; i < 3; ++i)
    if (context.has_input(i) && broadcast(context, context.shape(i), normalized).size() != normalized.size())
      context.fail_here(fmt::format("input {} has shape {}, normalized are {}", i,
                                    to_string(context.shape(i)), to_string(normalized)));
  infer_like_first(context);
}

void infer_instance(InferContext& context) {
  require_float(context, 0);
  const Dims& x = context.shape(0);
  if (x.size() < 3) context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(x)));
  for (size_t i = 1; i < 3; ++i) {
    require_rank(context, i, 1);
    if (equal(context.shape(i)[0], x[1]) == false)
      context.fail_here(
          fmt::format("input {} has {} entries for {} channels", i, context.shape(i)[0].text(), x[1].text()));
  }
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> layer_normalization_ops() {
  static const OpDef ops[] = {
      {.name = "InstanceNormalization",
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = {{"epsilon", AttributeKind::kFloat}},
       .infer = infer_instance},
      {.name = "LayerNormalization",
       .since = 17,
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = {{"axis"},
                      {"epsilon", AttributeKind::kFloat},
                      {.name = "stash_type", .low = 1, .high = 1}},
       .upgrade = upgrade_layer,
       .infer = infer_layer,
       .valid_from = 17},
  };
  return ops;
}

}  // namespace octet
