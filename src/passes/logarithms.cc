#include "passes/logarithms.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "passes/groups.h"

namespace octet {
namespace {

constexpr std::array<std::string_view, 7> kPowers = {"Mul",      "Pow",      "Sqrt",           "Abs",
                                                     "ReduceL1", "ReduceL2", "ReduceSumSquare"};
constexpr std::array<std::string_view, 17> kLinear = {
    "Add",   "Sub",     "Div",       "Max",     "Clip",    "Relu",      "ReduceSum", "ReduceMean", "Slice",
    "Split", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Gather",    "Concat"};

bool among(std::span<const std::string_view> names, const Node& node) {
  return node.domain.empty() && std::ranges::find(names, node.op) != names.end();
}

// A value on the way back from a logarithm.
struct Place {
  ValueId value;
  bool layer;  // a layer lies between it and the logarithm
  bool power;  // and behind that one's input a power

  friend auto operator<=>(const Place&, const Place&) = default;
};

}  // namespace

std::set<NodeId> layers_before_logarithms(const Graph& graph) {
  std::vector<Place> open;
  for (const NodeId id : graph.sorted())
    if (graph.node(id).is("Log")) open.push_back({graph.node(id).inputs[0], false, false});
  std::set<NodeId> found;
  std::set<Place> seen;
  while (!open.empty()) {
    const Place at = open.back();
    open.pop_back();
    if (at.value == kNoId || !seen.insert(at).second) continue;
    const NodeId producer = graph.value(at.value).producer;
    if (producer == kNoId) continue;
    const Node& node = graph.node(producer);
    if (is_weighted(graph, node)) {
      if (at.layer && !at.power) continue;
      found.insert(producer);
      open.push_back({node.inputs[0], true, false});
      continue;
    }
    const bool power = among(kPowers, node);
    if (!power && !among(kLinear, node)) continue;
    for (const ValueId input : node.inputs) open.push_back({input, at.layer, at.power || power});
  }
  return found;
}

}  // namespace octet
