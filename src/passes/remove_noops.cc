#include <algorithm>

#include "passes/canonicalize.h"

namespace octet {
namespace {

bool same_shape(const Graph& graph, ValueId a, ValueId b) {
  const auto &x = graph.value(a).shape, &y = graph.value(b).shape;
  return x && y && *x == *y;
}

bool identity_permutation(const Node& node) {
  const std::vector<int64_t> perm = node.attributes.get_ints("perm");
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return !perm.empty();
}

bool does_nothing(const Graph& graph, const Node& node) {
  if (node.inputs.empty() || node.inputs[0] == kNoId) return false;
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (node.is("Identity")) return true;
  if (node.is("Cast")) return graph.value(x).dtype && graph.value(x).dtype == graph.value(y).dtype;
  if (node.is("Transpose")) return identity_permutation(node);
  if (node.is("Reshape") || node.is("Flatten") || node.is("Squeeze") || node.is("Unsqueeze"))
    return same_shape(graph, x, y);
  if (node.is("Concat")) return node.inputs.size() == 1;
  return false;
}

}  // namespace

bool remove_noops(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    if (!does_nothing(graph, node)) continue;
    const ValueId x = node.inputs[0], y = node.outputs[0];
    if (!graph.is_output(y)) {
      graph.replace_uses(y, x);
      graph.remove_node(id);
      changed = true;
      continue;
    }
    // The output keeps its name: the producer of x makes y instead, where x is nothing else than that.
    const NodeId producer = graph.value(x).producer;
    if (producer == kNoId || graph.is_output(x)) continue;
    graph.remove_node(id);
    graph.replace_uses(x, y);
    const auto& outputs = graph.node(producer).outputs;
    graph.take_output(producer, std::find(outputs.begin(), outputs.end(), x) - outputs.begin(), y);
    changed = true;
  }
  return changed;
}

}  // namespace octet
