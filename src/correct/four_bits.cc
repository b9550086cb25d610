#include "correct/four_bits.h"

#include "correct/layer_data.h"
#include "passes/groups.h"

namespace octet {
namespace {

constexpr int32_t kLimit = 7;

bool depthwise(const Graph& graph, const Node& node) {
  return node.is("Conv") && node.attributes.get_int("group", 1) > 1 &&
         graph.value(node.inputs[1]).constant->shape().at(1) == 1;
}

}  // namespace

std::set<std::string> four_bit_layers(const Graph& reference) {
  const auto weighted = [&](const Node& node) {
    return is_weighted(reference, node) && reference.is_constant(node.inputs[1]);
  };
  // Whether a weighted node stands before what makes the value, and behind what reads it.
  std::vector<bool> before(reference.value_slots(), false), behind(reference.value_slots(), false);
  const std::vector<NodeId> order = reference.sorted();
  for (NodeId id : order) {
    const Node& node = reference.node(id);
    bool any = weighted(node);
    for (ValueId v : node.inputs) any = any || (v != kNoId && before[v]);
    for (ValueId v : node.outputs)
      if (v != kNoId) before[v] = any;
  }
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const Node& node = reference.node(*it);
    bool any = weighted(node);
    for (ValueId v : node.outputs) any = any || (v != kNoId && behind[v]);
    for (ValueId v : node.inputs)
      if (v != kNoId) behind[v] = behind[v] || any;
  }
  std::set<std::string> names;
  for (NodeId id : order) {
    const Node& node = reference.node(id);
    if (weighted(node) && before[node.inputs[0]] && behind[node.outputs[0]] && !depthwise(reference, node))
      names.insert(node.name);
  }
  return names;
}

int use_four_bits(Graph& quantized, const Graph& reference) {
  const std::set<std::string> names = four_bit_layers(reference);
  const NodeGroups groups(reference);
  int count = 0;
  for (const NodeGroup& group : groups.groups()) {
    const std::string& name = reference.node(group.root).name;
    const auto twin = quantized.find_node(name);
    if (!names.count(name) || !twin) continue;
    auto layer = read_layer(reference, group, quantized, *twin);
    if (!layer) continue;
    layer->grid.limit = kLimit;
    choose_steps(layer->weights, layer->channels, layer->length, layer->grid);
    layer->rounded = round_nearest(layer->weights, layer->channels, layer->length, layer->grid);
    write_layer(quantized, *twin, *layer);
    ++count;
  }
  return count;
}

}  // namespace octet
