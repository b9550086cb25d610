#include "ops/support.h"

namespace octet {
namespace {

// Ones where the column is the row plus k: a comparison of two ranges, whose lengths are the input's.
void upgrade(Graph& graph, NodeId id, int /*opset*/) {
  const Node node = graph.node(id);
  if (node.inputs.size() != 1 || node.inputs[0] == kNoId) fail_node(graph, id, "expected one input");
  const std::optional<DType> dtype = graph.value(node.inputs[0]).dtype;  // a copy: values move
  if (!node.attributes.has("dtype") && !dtype) fail_node(graph, id, "the type of its input is not known");
  const std::string& name = node.name;
  const auto add = [&](const std::string& op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    return graph.add_op(op, name + "_" + op, std::move(inputs), name + "_" + op, std::move(attributes));
  };
  const ValueId y = node.outputs[0];
  graph.remove_node(id);
  const ValueId sizes = add("Shape", {node.inputs[0]});
  const auto scalar = [&](int64_t v) {
    return graph.add_constant(name + "_number", Tensor::scalar<int64_t>(v));
  };
  const auto range = [&](int64_t axis) {
    return add("Range", {scalar(0), add("Gather", {sizes, scalar(axis)}), scalar(1)});
  };
  const ValueId rows = add("Unsqueeze", {range(0), add_ints(graph, name + "_axis", {1})});
  const ValueId diagonal = add("Add", {rows, scalar(node.attributes.get_int("k", 0))});
  Attributes to;
  to.set("to", node.attributes.get_int("dtype", dtype ? dtype_to_onnx(*dtype) : 0));
  graph.add_node("Cast", "", name, {add("Equal", {diagonal, range(1)})}, {y}, to);
}

}  // namespace

std::span<const OpDef> eye_like_ops() {
  static const OpDef ops[] = {
      {.name = "EyeLike",
       .since = 9,
       .attributes = {{.name = "dtype", .until = kNewestOpset}, {.name = "k", .until = kNewestOpset}},
       .upgrade = upgrade,
       .upgrade_needs_shapes = true}};
  return ops;
}

}  // namespace octet
