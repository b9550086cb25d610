#include "ops/support.h"

namespace octet {
namespace {

// 1 at the first of the largest elements along the axis: ArgMax and OneHot. Before opset 13 all dimensions
// from `axis` on counted as one.
void upgrade(Graph& graph, NodeId id, int opset) {
  const Node node = graph.node(id);
  if (node.inputs.size() != 1 || node.inputs[0] == kNoId) fail_node(graph, id, "expected one input");
  const std::string& name = node.name;
  const ValueId y = node.outputs[0], original = node.inputs[0];
  const int64_t given = node.attributes.get_int("axis", opset < 13 ? 1 : -1), axis = opset < 13 ? 1 : given;
  graph.remove_node(id);
  ValueId x = original;
  if (opset < 13) {
    Attributes flatten;
    flatten.set("axis", given);
    x = graph.add_op("Flatten", name + "_flatten", {x}, name + "_flat", flatten);
  }
  Attributes along, reduce;
  along.set("axis", axis);
  reduce.set("axis", axis);
  reduce.set("keepdims", int64_t{0});
  const ValueId sizes = graph.add_op("Shape", name + "_shape", {x}, name + "_sizes");
  const ValueId depth = graph.add_op("Gather", name + "_gather",
                                     {sizes, add_ints(graph, name + ".axis", {axis})}, name + "_depth");
  const ValueId choice = graph.add_constant(name + ".choice", Tensor::of<float>({2}, {0.0f, 1.0f}));
  const ValueId values = graph.add_op("CastLike", name + "_cast", {choice, x}, name + "_values");
  const ValueId best = graph.add_op("ArgMax", name + "_argmax", {x}, name + "_best", reduce);
  if (opset >= 13) {
    graph.add_node("OneHot", "", name, {best, depth, values}, {y}, along);
    return;
  }
  const ValueId hot = graph.add_op("OneHot", name, {best, depth, values}, name + "_hot", along);
  const ValueId shape = graph.add_op("Shape", name + "_whole", {original}, name + "_whole");
  graph.add_node("Reshape", "", name + "_reshape", {hot, shape}, {y});
}

}  // namespace

std::span<const OpDef> hardmax_ops() {
  static const OpDef ops[] = {
      {.name = "Hardmax", .attributes = {{.name = "axis", .until = kNewestOpset}}, .upgrade = upgrade}};
  return ops;
}

}  // namespace octet
