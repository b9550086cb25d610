#include <algorithm>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/groups.h"
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

// Whether the node computes each element from its own alone, by a function of one variable.
bool is_function(const Graph& graph, const Node& node) {
  const OpDef* op = find_op(node.op, node.domain);
  if (op == nullptr || op->quant != QuantRule::kActivation || node.outputs.size() != 1) return false;
  for (size_t i = 1; i < node.inputs.size(); ++i)
    if (node.inputs[i] != kNoId &&
        (!graph.is_constant(node.inputs[i]) || graph.value(node.inputs[i]).constant->count() != 1))
      return false;
  return true;
}

bool moves_all(const Node& node) {
  const OpDef* op = find_op(node.op, node.domain);
  return node.is("Transpose") || (op != nullptr && op->lowering == Lowering::kReshape);
}

// Whether a layer makes the value, which nothing but moves and one function read.
bool moved_from_layer(const Graph& graph, ValueId value) {
  while (only_use(graph, value)) {
    const Node* node = graph.producer(value);
    if (node == nullptr) return false;
    if (!moves_all(*node)) {
      if (node->is("Add") && node->inputs.size() == 2)  // a bias
        for (size_t i = 0; i < 2; ++i)
          if (graph.is_constant(node->inputs[1 - i]))
            if (const Node* layer = graph.producer(node->inputs[i])) return is_weighted(graph, *layer);
      return is_weighted(graph, *node);
    }
    value = node->inputs[0];
  }
  return false;
}

}  // namespace

bool hoist_activations(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (!node.alive || !is_function(graph, node)) continue;
    const NodeId move_id = graph.value(node.inputs[0]).producer;
    if (move_id == kNoId || !moves_all(graph.node(move_id)) || !moved_from_layer(graph, node.inputs[0]))
      continue;
    const Node move = graph.node(move_id);
    const ValueId x = move.inputs[0], y = node.outputs[0];
    std::vector<ValueId> inputs = node.inputs, moved = move.inputs;
    inputs[0] = x;
    graph.remove_node(id);
    graph.remove_node(move_id);
    moved[0] = graph.add_op(node.op, node.name, std::move(inputs), graph.value(y).name + "_unmoved",
                            node.attributes, node.domain);
    graph.value(moved[0]).dtype = graph.value(x).dtype;
    graph.value(moved[0]).shape = graph.value(x).shape;
    const NodeId last =
        graph.add_node(move.op, move.domain, move.name, std::move(moved), {}, move.attributes);
    graph.append_output(last, y);
    changed = true;
  }
  if (changed) graph.prune();
  return changed;
}

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
    both.reserve(second.size());
    for (int64_t p : second) both.push_back(first[static_cast<size_t>(p)]);
    const ValueId x = before->inputs[0];
    graph.node(id).attributes.set("perm", both);
    graph.set_input(id, 0, x);
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
