// Normalizations by the statistics of the input itself.
#include "ops/support.h"

namespace octet {
namespace {

void upgrade_layer(Graph& graph, NodeId id, int) {
  drop_unused_outputs(graph, id, 1);
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
  Dims rows(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(axis));
  rows.resize(x.size(), 1);
  for (size_t i = 1; i < context.output_count(); ++i) context.set_output(i, DType::kFloat32, rows);
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

// Before opset 21 scale and bias had an entry per group.
void upgrade_group(Graph& graph, NodeId id, int opset) {
  drop_attribute(graph, id, "stash_type");
  if (opset >= 21) return;
  const Node& node = graph.node(id);
  if (!has_input(node, 0) || !has_input(node, 1) || !has_input(node, 2))
    fail_node(graph, id, "expected three inputs");
  const auto& x = graph.value(node.inputs[0]).shape;
  const int64_t groups = node.attributes.get_int("num_groups", 1);
  if (!x || x->size() < 2 || !(*x)[1].known() || (*x)[1].value() % groups != 0)
    fail_node(graph, id, fmt::format("{} groups of channels whose number is not known", groups));
  const int64_t each = (*x)[1].value() / groups;
  const std::string name = node.name;
  const ValueId column = add_ints(graph, name + "_column", {-1, 1}),
                row = add_ints(graph, name + "_row", {-1}),
                repeats = add_ints(graph, name + "_repeats", {1, each});
  for (size_t i = 1; i < 3; ++i) {
    const ValueId per_group = graph.node(id).inputs[i];
    const ValueId tall = graph.add_op("Reshape", name + "_tall", {per_group, column}, name + "_tall");
    const ValueId wide = graph.add_op("Tile", name + "_tile", {tall, repeats}, name + "_wide");
    const ValueId flat = graph.add_op("Reshape", name + "_flat", {wide, row}, name + "_per_channel");
    graph.set_input(id, i, flat);
  }
}

// y = (x - mean) / (deviation + 1e-9) over the axes.
void upgrade_mean_variance(Graph& graph, NodeId id, int) {
  const Node node = graph.node(id);
  if (node.inputs.size() != 1 || node.inputs[0] == kNoId) fail_node(graph, id, "expected one input");
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const std::string& name = node.name;
  const ValueId axes = add_ints(graph, name + ".axes", node.attributes.get_ints("axes", {0, 2, 3}));
  graph.remove_node(id);
  const ValueId mean = graph.add_op("ReduceMean", name + "_mean", {x, axes}, name + "_mean");
  const ValueId centred = graph.add_op("Sub", name + "_centre", {x, mean}, name + "_centred");
  const ValueId square = graph.add_op("Mul", name + "_square", {centred, centred}, name + "_square");
  const ValueId variance = graph.add_op("ReduceMean", name + "_variance", {square, axes}, name + "_variance");
  const ValueId deviation = graph.add_op("Sqrt", name + "_sqrt", {variance}, name + "_deviation");
  const ValueId tiny =
      graph.add_op("CastLike", name + "_cast",
                   {graph.add_constant(name + ".epsilon", Tensor::scalar(1e-9f)), x}, name + "_epsilon");
  const ValueId divisor = graph.add_op("Add", name + "_add", {deviation, tiny}, name + "_divisor");
  graph.add_node("Div", "", name, {centred, divisor}, {y});
}

void infer_rms(InferContext& context) {
  require_float(context, 0);
  const Dims& x = context.shape(0);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", -1), x.size());
  const Dims normalized(x.begin() + static_cast<std::ptrdiff_t>(axis), x.end());
  if (broadcast(context, context.shape(1), normalized).size() != normalized.size())
    context.fail_here(fmt::format("the scale has shape {}, normalized are {}", to_string(context.shape(1)),
                                  to_string(normalized)));
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> layer_normalization_ops() {
  using enum AttributeKind;
  static const OpDef ops[] = {
      {.name = "GroupNormalization",
       .since = 18,
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = {{"epsilon", kFloat},
                      {.name = "num_groups", .required = true, .low = 1, .high = 1 << 24},
                      {.name = "stash_type", .low = 1, .high = 1, .since = 21, .until = kNewestOpset}},
       .upgrade = upgrade_group,
       .infer = infer_instance,
       .valid_from = 21,
       .upgrade_needs_shapes = true},
      {.name = "InstanceNormalization",
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = {{"epsilon", kFloat}},
       .infer = infer_instance},
      {.name = "LayerNormalization",
       .since = 17,
       .min_inputs = 2,
       .max_inputs = 3,
       .max_outputs = 3,
       .attributes = {{"axis"}, {"epsilon", kFloat}, {.name = "stash_type", .low = 1, .high = 1}},
       .upgrade = upgrade_layer,
       .infer = infer_layer,
       .valid_from = 17},
      {.name = "MeanVarianceNormalization",
       .since = 9,
       .attributes = {{.name = "axes", .kind = kInts, .until = kNewestOpset}},
       .upgrade = upgrade_mean_variance},
      {.name = "RMSNormalization",
       .since = 23,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{"axis"}, {"epsilon", kFloat}, {.name = "stash_type", .low = 1, .high = 1}},
       .infer = infer_rms,
       .valid_from = 23},
  };
  return ops;
}

}  // namespace octet
