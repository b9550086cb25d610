#include "passes/pads.h"

#include "ops/op_def.h"
#include "passes/match.h"

namespace octet {
namespace {

ValueId input_of(const Node& node, size_t index) {
  return node.inputs.size() > index ? node.inputs[index] : kNoId;
}

}  // namespace

std::optional<std::vector<int64_t>> pads_of(const Graph& graph, const Node& pad) {
  const auto& shape = graph.value(pad.inputs[0]).shape;
  if (!shape || !graph.is_constant(pad.inputs[1])) return {};
  const auto rank = static_cast<int64_t>(shape->size());
  std::vector<int64_t> axes;
  for (int64_t d = 0; d < rank; ++d) axes.push_back(d);
  if (const ValueId given = input_of(pad, 3); given != kNoId) {
    if (!graph.is_constant(given)) return {};
    axes = to_int64(*graph.value(given).constant);
  }
  const std::vector<int64_t> given = to_int64(*graph.value(pad.inputs[1]).constant);
  if (given.size() != 2 * axes.size()) return {};
  std::vector<int64_t> all(static_cast<size_t>(2 * rank), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t d = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (d < 0 || d >= rank) return {};
    all[static_cast<size_t>(d)] = given[i];
    all[static_cast<size_t>(d + rank)] = given[axes.size() + i];
  }
  return all;
}

bool pads_with_zeros(const Graph& graph, const Node& node) {
  if (!node.is("Pad") || node.attributes.get_string("mode", "constant") != "constant") return false;
  const ValueId fill = input_of(node, 2);
  return fill == kNoId || scalar_constant(graph, fill) == 0.0f;
}

bool keeps_scale(const Graph& graph, const Node& node) {
  if (node.is("Pad"))
    return pads_with_zeros(graph, node) || node.attributes.get_string("mode", "constant") != "constant";
  const OpDef* op = find_op(node.op, node.domain);
  return op != nullptr && op->quant == QuantRule::kSameScale;
}

}  // namespace octet
