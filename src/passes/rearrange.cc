#include <algorithm>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

std::vector<int64_t> perm_of(const Graph& graph, const Node& transpose) {
  std::vector<int64_t> perm = transpose.attributes.get_ints("perm");
  const auto& shape = graph.value(transpose.inputs[0]).shape;
  if (perm.empty() && shape)
    for (size_t i = shape->size(); i-- > 0;) perm.push_back(static_cast<int64_t>(i));
  return perm;
}

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

// x of Mul(x, number) or Div(x, number), and the number as a factor.
struct Scaled {
  ValueId x = kNoId;
  float factor = 1;
};

std::optional<Scaled> match_scaled(const Graph& graph, const Node& node) {
  if (node.inputs.size() != 2 || (!node.is("Mul") && !node.is("Div"))) return {};
  const auto first = scalar_constant(graph, node.inputs[0]), second = scalar_constant(graph, node.inputs[1]);
  std::optional<Scaled> s;
  if (second && !first && (node.is("Mul") || *second != 0))
    s = Scaled{node.inputs[0], node.is("Mul") ? *second : 1 / *second};
  else if (first && !second && node.is("Mul"))
    s = Scaled{node.inputs[1], *first};
  const bool same =
      s && graph.value(s->x).shape && graph.value(s->x).shape == graph.value(node.outputs[0]).shape;
  return same && std::isfinite(s->factor) ? s : std::nullopt;
}

}  // namespace

bool merge_transposes(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    if (!node.is("Transpose")) continue;
    const Node* before = producer_of(graph, node.inputs[0], "Transpose");
    if (!before) continue;
    const std::vector<int64_t> first = perm_of(graph, *before), second = perm_of(graph, node);
    if (first.empty() || first.size() != second.size()) continue;
    std::vector<int64_t> both;
    for (int64_t p : second) both.push_back(first[static_cast<size_t>(p)]);
    const ValueId x = before->inputs[0];
    graph.node(id).attributes.set("perm", both);
    graph.set_input(id, 0, x);
    changed = true;
  }
  if (changed) graph.prune();
  return changed;
}

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

bool hoist_scales(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    if (!node.is("MatMul") || graph.is_constant(node.inputs[0]) || graph.is_constant(node.inputs[1]) ||
        node.inputs[0] == node.inputs[1])
      continue;
    for (size_t i = 0; i < 2; ++i) {
      // Through a transposition, which does not care.
      ValueId value = graph.node(id).inputs[i];
      NodeId reader = id;
      size_t input = i;
      if (producer_of(graph, value, "Transpose") && only_use(graph, value)) {
        reader = graph.value(value).producer;
        input = 0;
        value = graph.node(reader).inputs[0];
      }
      const Node* scaling = graph.producer(value);
      const auto scaled = scaling && only_use(graph, value) ? match_scaled(graph, *scaling) : std::nullopt;
      if (!scaled) continue;
      graph.set_input(reader, input, scaled->x);
      const std::string name = graph.node(id).name;
      const ValueId product = graph.node(id).outputs[0];
      const auto dtype = graph.value(product).dtype;
      const auto shape = graph.value(product).shape;
      const ValueId plain = graph.add_value(graph.value(product).name + "_unscaled", dtype, shape);
      graph.take_output(id, 0, plain);
      const NodeId mul = graph.add_node(
          "Mul", "", name + "_scale",
          {plain, graph.add_constant(name + "_factor", Tensor::scalar<float>(scaled->factor))}, {});
      graph.append_output(mul, product);
      changed = true;
    }
  }
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
