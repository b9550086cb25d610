#include "ops/support.h"

namespace octet {
namespace {

void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset >= 11) return;
  if (!graph.node(id).attributes.has("pads")) fail_node(graph, id, "attribute 'pads' is missing");
  attribute_to_input(graph, id, "pads", 1);
  const Node& node = graph.node(id);
  const float fill = node.attributes.get_float("value", 0.0f);
  drop_attribute(graph, id, "value");
  if (fill != 0.0f)
    put_input(graph, id, 2, graph.add_constant(graph.node(id).name + ".value", Tensor::scalar(fill)));
}

void infer(InferContext& context) {
  const std::optional<Dims> pads = context.integers(1);
  auto axes = known_integers(context, 3);
  context.set_output_dtype(0, context.dtype(0));
  if (context.has_input(2)) require_same_dtype(context, 0, 2);
  if (!pads || (context.has_input(3) && !axes)) {
    std::vector<std::optional<Dim>> late(context.shape(0).begin(), context.shape(0).end());
    for (size_t d = 0; d < late.size(); ++d)
      if (!axes) late[d].reset();
    for (const int64_t axis : axes.value_or(std::vector<int64_t>{}))
      late[normal_axis(context, axis, late.size())].reset();
    context.set_output_at_run(0, context.dtype(0), late);
    return;
  }
  Dims shape = context.shape(0);
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < shape.size(); ++i) axes->push_back(static_cast<int64_t>(i));
  }
  normal_axes(context, *axes, shape.size());
  const size_t n = axes->size();
  if (pads->size() != 2 * n) context.fail_here(fmt::format("{} pads for {} axes", pads->size(), n));
  for (size_t i = 0; i < n; ++i) {
    Dim& dim = shape[normal_axis(context, (*axes)[i], shape.size())];
    dim = dim + (*pads)[i] + (*pads)[n + i];
  }
  context.set_output(0, context.dtype(0), std::move(shape));
}

int opset(const Graph&, const Node& node) {
  if (node.attributes.get_string("mode", "constant") == "wrap") return 19;
  return has_input(node, 3) ? 18 : 13;
}

}  // namespace

std::span<const OpDef> pad_ops() {
  using enum AttributeKind;
  static const OpDef ops[] = {
      {.name = "Pad",
       .min_inputs = 2,
       .max_inputs = 4,
       .attributes = {{.name = "mode", .kind = kString, .choices = {"constant", "reflect", "edge", "wrap"}},
                      {.name = "pads", .kind = kInts, .until = 10},
                      {.name = "value", .kind = kFloat, .until = 10}},
       .upgrade = upgrade,
       .infer = infer,
       .export_opset = opset},
  };
  return ops;
}

}  // namespace octet
