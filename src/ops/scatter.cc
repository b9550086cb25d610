// ScatterElements (Scatter before opset 11), ScatterND
#include "ops/support.h"

namespace octet {
namespace {

void upgrade_scatter(Graph& graph, NodeId id, int) {
  graph.node(id).op = "ScatterElements";
}

// Without a reduction it is what older opsets give.
void upgrade(Graph& graph, NodeId id, int) {
  if (graph.node(id).attributes.get_string("reduction", "none") == "none")
    drop_attribute(graph, id, "reduction");
}

void infer_elements(InferContext& context) {
  require_same_dtype(context, 0, 2);
  require_rank(context, 1, context.shape(0).size());
  normal_axis(context, context.attributes().get_int("axis", 0), context.shape(0).size());
  infer_like_first(context);
}

void infer_nd(InferContext& context) {
  require_same_dtype(context, 0, 2);
  if (context.dtype(1) != DType::kInt64) context.fail_here("the indices are not int64");
  infer_like_first(context);
}

int opset(const Graph&, const Node& node) {
  const std::string reduction = node.attributes.get_string("reduction", "none");
  return reduction == "none" ? 13 : reduction == "add" || reduction == "mul" ? 16 : 18;
}

OpDef scatter(std::string_view name, void (*infer)(InferContext&)) {
  return {.name = name,
          .since = 11,
          .min_inputs = 3,
          .max_inputs = 3,
          .attributes = {{.name = "reduction",
                          .kind = AttributeKind::kString,
                          .choices = {"none", "add", "mul", "min", "max"},
                          .since = 16}},
          .upgrade = upgrade,
          .infer = infer,
          .export_opset = opset};
}

}  // namespace

std::span<const OpDef> scatter_ops() {
  static const std::vector<OpDef> ops = [] {
    OpDef elements = scatter("ScatterElements", infer_elements);
    elements.attributes.push_back({.name = "axis"});
    const OpDef old{.name = "Scatter",
                    .since = 9,
                    .until = 10,
                    .min_inputs = 3,
                    .max_inputs = 3,
                    .attributes = {{.name = "axis", .until = 10}},
                    .upgrade = upgrade_scatter};
    return std::vector<OpDef>{elements, scatter("ScatterND", infer_nd), old};
  }();
  return ops;
}

}  // namespace octet
