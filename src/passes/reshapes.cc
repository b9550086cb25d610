// Reshapes: constant, one instead of several, and out of the way of what is behind them.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/groups.h"
#include "passes/match.h"

namespace octet {
namespace {

// A constant shape that says what the symbolic one computes: sizes, 0 for a dimension of the input at the
// same place, -1 for at most one other.
std::optional<std::vector<int64_t>> constant_shape(const Dims& from, const Dims& to) {
  std::vector<int64_t> shape;
  bool free = true;
  const bool empty =
      std::any_of(to.begin(), to.end(), [](const Dim& d) { return d.known() && d.value() == 0; });
  if (empty) return {};
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].known()) {
      shape.push_back(to[i].value());
    } else if (i < from.size() && from[i] == to[i]) {
      shape.push_back(0);
    } else if (free) {
      shape.push_back(-1);
      free = false;
    } else {
      return {};
    }
  }
  return shape;
}

bool reshapes(const Node& node) {
  const OpDef* op = find_op(node.op, node.domain);
  return op != nullptr && op->lowering == Lowering::kReshape;
}

// The node that makes the value, when it is one that only gives another shape.
const Node* reshape_of(const Graph& graph, ValueId value) {
  const Node* node = value == kNoId ? nullptr : graph.producer(value);
  return node != nullptr && reshapes(*node) ? node : nullptr;
}

ValueId shape_constant(Graph& graph, const std::string& name, std::span<const int64_t> shape) {
  return graph.add_constant(name + "_shape",
                            Tensor::of<int64_t>({static_cast<int64_t>(shape.size())}, shape));
}

ValueId add_reshape(Graph& graph, ValueId x, const std::string& name, std::span<const int64_t> to,
                    Dims shape) {
  const ValueId y = graph.add_op("Reshape", name, {x, shape_constant(graph, name, to)}, name);
  graph.value(y).dtype = graph.value(x).dtype;
  graph.value(y).shape = std::move(shape);
  return y;
}

Dims without_units(const Dims& dims) {
  Dims result;
  std::ranges::copy_if(dims, std::back_inserter(result),
                       [](const Dim& d) { return !d.known() || d.value() != 1; });
  return result;
}

// The constant of shape `own`, which broadcasts to `wide`, as one that broadcasts to `narrow`: the same sizes
// with ones in other places. Null where the places of its sizes are not clear.
std::optional<Shape> moved_units(const Shape& own, const Dims& wide, const Dims& narrow) {
  std::vector<int64_t> sizes;  // along the axes of `wide` that are no ones
  for (size_t i = 0; i < wide.size(); ++i) {
    const size_t missing = wide.size() - own.size();
    const int64_t size = i < missing ? 1 : own[i - missing];
    if (wide[i].known() && wide[i].value() == 1) continue;
    sizes.push_back(size);
  }
  Shape result;
  size_t next = 0;
  for (const Dim& d : narrow) result.push_back(d.known() && d.value() == 1 ? 1 : sizes.at(next++));
  return next == sizes.size() ? std::optional(result) : std::nullopt;
}

bool sink(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  if ((!node.is("Add") && !node.is("Mul")) || node.inputs.size() != 2) return false;
  const ValueId y = node.outputs[0];
  const auto reader = only_consumer(graph, y);
  if (!reader || !reshapes(graph.node(*reader))) return false;
  for (size_t i = 0; i < 2; ++i) {
    const ValueId x = node.inputs[i], other = node.inputs[1 - i];
    const Node* before = reshape_of(graph, x);
    if (before == nullptr || !only_use(graph, x) || !graph.is_constant(other)) continue;
    const auto &narrow = graph.value(before->inputs[0]).shape, &wide = graph.value(x).shape;
    if (!narrow || !wide || graph.value(y).shape != wide ||
        graph.value(graph.node(*reader).outputs[0]).shape != narrow ||
        without_units(*narrow) != without_units(*wide))
      continue;
    const Tensor& t = *graph.value(other).constant;
    if (t.shape().size() > wide->size()) continue;
    const auto shape = moved_units(t.shape(), *wide, *narrow);
    if (!shape) continue;
    std::vector<ValueId> inputs(2);
    inputs[i] = before->inputs[0];
    inputs[1 - i] = graph.add_constant(graph.value(other).name, t.reshaped(*shape));
    // The reader's result is what the node makes now.
    const ValueId z = graph.node(*reader).outputs[0];
    graph.remove_node(*reader);
    graph.remove_node(id);
    const NodeId made =
        graph.add_node(node.op, node.domain, node.name, std::move(inputs), {}, node.attributes);
    graph.append_output(made, z);
    return true;
  }
  return false;
}

std::vector<int64_t> perm_of(const Node& transpose) {
  return transpose.attributes.get_ints("perm");
}

// Tokens [N, H * W, C] that become an image by a Transpose and a Reshape.
bool tokens_to_image(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const auto &rows = graph.value(node.inputs[0]).shape, &image = graph.value(node.outputs[0]).shape;
  const Node* transpose = producer_of(graph, node.inputs[0], "Transpose");
  if (transpose == nullptr || perm_of(*transpose) != std::vector<int64_t>{0, 2, 1} || !rows || !image ||
      rows->size() != 3 || image->size() != 4 || (*rows)[0] != (*image)[0] || (*rows)[1] != (*image)[1] ||
      !only_use(graph, node.inputs[0]))
    return false;
  const ValueId x = transpose->inputs[0], y = node.outputs[0];
  if (!graph.value(x).shape) return false;
  const Dims to{(*image)[0], (*image)[2], (*image)[3], (*image)[1]};
  const auto shape = constant_shape(*graph.value(x).shape, to);
  if (!shape) return false;
  const std::string name = node.name;
  graph.remove_node(id);
  const ValueId last = add_reshape(graph, x, name + "_channels_last", *shape, to);
  Attributes attributes;
  attributes.set("perm", std::vector<int64_t>{0, 3, 1, 2});
  const NodeId made = graph.add_node("Transpose", "", name, {last}, {}, std::move(attributes));
  graph.append_output(made, y);
  return true;
}

// And an image that becomes tokens by a Reshape and a Transpose.
bool image_to_tokens(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  if (perm_of(node) != std::vector<int64_t>{0, 2, 1} || !only_use(graph, node.inputs[0])) return false;
  const Node* reshape = reshape_of(graph, node.inputs[0]);
  if (reshape == nullptr) return false;
  const ValueId x = reshape->inputs[0], y = node.outputs[0];
  const auto &image = graph.value(x).shape, &rows = graph.value(node.inputs[0]).shape,
             &tokens = graph.value(y).shape;
  if (!image || !rows || !tokens || image->size() != 4 || rows->size() != 3 || (*rows)[0] != (*image)[0] ||
      (*rows)[1] != (*image)[1])
    return false;
  const Dims last_dims{(*image)[0], (*image)[2], (*image)[3], (*image)[1]};
  const auto shape = constant_shape(last_dims, *tokens);
  if (!shape) return false;
  const std::string name = node.name;
  graph.remove_node(id);
  Attributes attributes;
  attributes.set("perm", std::vector<int64_t>{0, 2, 3, 1});
  const ValueId last =
      graph.add_op("Transpose", name + "_channels_last", {x}, name + "_channels_last", std::move(attributes));
  graph.value(last).dtype = graph.value(x).dtype;
  graph.value(last).shape = last_dims;
  const NodeId made = graph.add_node("Reshape", "", name, {last, shape_constant(graph, name, *shape)}, {});
  graph.append_output(made, y);
  return true;
}

}  // namespace

bool constant_reshapes(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    if (!node.is("Reshape") || graph.is_constant(node.inputs[1]) ||
        node.attributes.get_int("allowzero", 0) != 0)
      continue;
    const auto &from = graph.value(node.inputs[0]).shape, &to = graph.value(node.outputs[0]).shape;
    const auto shape = from && to ? constant_shape(*from, *to) : std::nullopt;
    if (!shape) continue;
    const ValueId constant = graph.add_constant(
        node.name + "_shape",
        Tensor::of<int64_t>({static_cast<int64_t>(shape->size())}, std::span<const int64_t>(*shape)));
    graph.set_input(id, 1, constant);
    changed = true;
  }
  if (changed) graph.prune();
  return changed;
}

bool merge_reshapes(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (!reshapes(node) || node.outputs.size() != 1) continue;
    const Node* before = reshape_of(graph, node.inputs[0]);
    if (before == nullptr) continue;
    const ValueId x = before->inputs[0], y = node.outputs[0];
    const auto &from = graph.value(x).shape, &to = graph.value(y).shape;
    const auto shape = from && to ? constant_shape(*from, *to) : std::nullopt;
    if (!shape) continue;
    become(graph, id, "Reshape", "", {x, shape_constant(graph, node.name, *shape)});
    changed = true;
  }
  if (changed) graph.prune();
  return changed;
}

bool sink_unit_axes(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted())
    if (graph.node(id).alive) changed |= sink(graph, id);
  if (changed) graph.prune();
  return changed;
}

bool channels_last_tokens(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    if (!graph.node(id).alive) continue;
    if (reshapes(graph.node(id))) changed |= tokens_to_image(graph, id);
    if (graph.node(id).alive && graph.node(id).is("Transpose")) changed |= image_to_tokens(graph, id);
  }
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
