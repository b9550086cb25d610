#include <algorithm>

#include "ops/support.h"

namespace octet {
namespace {

// The opset in which the axes became an input.
int axes_input_since(std::string_view op) {
  return op == "ReduceSum" ? 13 : 18;
}

void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset < axes_input_since(graph.node(id).op)) attribute_to_input(graph, id, "axes", 1);
  if (graph.node(id).attributes.get_int("noop_with_empty_axes", 0) == 0)
    drop_attribute(graph, id, "noop_with_empty_axes");
}

void infer(InferContext& context) {
  const Dims& x = context.shape(0);
  context.set_output_dtype(0, context.dtype(0));
  std::vector<size_t> axes;
  if (context.has_input(1)) {
    const auto given = known_integers(context, 1);
    if (!given) return;
    axes = normal_axes(context, *given, x.size());
  }
  const bool all = axes.empty() && context.attributes().get_int("noop_with_empty_axes", 0) == 0;
  const bool keep = context.attributes().get_int("keepdims", 1) != 0;
  Dims shape;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!all && !std::ranges::binary_search(axes, i))
      shape.push_back(x[i]);
    else if (keep)
      shape.emplace_back(1);
  }
  const std::optional<Dims> values = context.integers(0);
  const bool scalar = shape.empty() || (shape.size() == 1 && equal(shape[0], 1) == true);
  context.set_output(0, context.dtype(0), std::move(shape));
  if (values && scalar && context.node().op == "ReduceProd") context.set_integers(0, {product(*values)});
}

int opset(const Graph& graph, const Node& node) {
  return graph.value(node.inputs.at(0)).dtype == DType::kBool ? 20 : 13;
}

OpDef reduce(std::string_view name) {
  const int since = axes_input_since(name);
  return {.name = name,
          .min_inputs = 1,
          .max_inputs = 2,
          .attributes = {{.name = "keepdims", .low = 0, .high = 1},
                         {.name = "axes", .kind = AttributeKind::kInts, .until = since - 1},
                         {.name = "noop_with_empty_axes", .low = 0, .high = 1, .since = since}},
          .upgrade = upgrade,
          .infer = infer,
          .valid_from = since,
          .export_opset = opset};
}

}  // namespace

std::span<const OpDef> reduce_ops() {
  static const OpDef ops[] = {reduce("ReduceL1"),        reduce("ReduceL2"),   reduce("ReduceLogSum"),
                              reduce("ReduceLogSumExp"), reduce("ReduceMax"),  reduce("ReduceMean"),
                              reduce("ReduceMin"),       reduce("ReduceProd"), reduce("ReduceSum"),
                              reduce("ReduceSumSquare")};
  return ops;
}

}  // namespace octet
