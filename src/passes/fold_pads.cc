// Zeros that a Pad puts around images or volumes become the padding of the convolutions that read them
// (models from TensorFlow pad one side more than the other).
#include <algorithm>

#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

using Ints = std::vector<int64_t>;

// What a Pad adds: begins of all axes, then ends; nullopt where that is not known, not zero, or takes away.
std::optional<Ints> zeros_added(const Graph& graph, const Node& pad) {
  const auto& shape = graph.value(pad.inputs[0]).shape;
  if (!shape || pad.attributes.get_string("mode", "constant") != "constant" ||
      graph.value(pad.inputs[0]).dtype != DType::kFloat32 || !graph.is_constant(pad.inputs[1]))
    return {};
  const auto input = [&](size_t i) { return pad.inputs.size() > i ? pad.inputs[i] : kNoId; };
  if (input(2) != kNoId && scalar_constant(graph, input(2)) != 0.0f) return {};
  const auto rank = static_cast<int64_t>(shape->size());
  Ints axes;
  for (int64_t d = 0; d < rank; ++d) axes.push_back(d);
  if (input(3) != kNoId) {
    if (!graph.is_constant(input(3))) return {};
    axes = to_int64(*graph.value(input(3)).constant);
  }
  const Ints given = to_int64(*graph.value(pad.inputs[1]).constant);
  if (given.size() != 2 * axes.size()) return {};
  Ints all(static_cast<size_t>(2 * rank), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t d = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (d < 0 || d >= rank || given[i] < 0 || given[axes.size() + i] < 0) return {};
    all[static_cast<size_t>(d)] = given[i];
    all[static_cast<size_t>(d + rank)] = given[axes.size() + i];
  }
  return all;
}

// Whether the node is a convolution with padding that stays smaller than its window.
bool takes_pads(const Graph& graph, const Node& node, ValueId x, const Ints& added) {
  const std::string pad = node.attributes.get_string("auto_pad", "NOTSET");
  if (!node.is("Conv") || node.inputs[0] != x || std::ranges::count(node.inputs, x) != 1 ||
      (pad != "NOTSET" && pad != "VALID") || graph.is_output(x))
    return false;
  const size_t rank = added.size() / 2, spatial = rank - 2;
  const auto& weights = graph.value(node.inputs[1]).shape;
  const Ints own = node.attributes.get_ints("pads", Ints(2 * spatial, 0)),
             dilations = node.attributes.get_ints("dilations", Ints(spatial, 1));
  if (!weights || weights->size() != rank || own.size() != 2 * spatial || dilations.size() != spatial)
    return false;
  for (size_t d = 0; d < spatial; ++d) {
    const Dim& kernel = (*weights)[d + 2];
    if (!kernel.known()) return false;
    const int64_t reach = (kernel.value() - 1) * dilations[d];
    if (own[d] + added[d + 2] > reach || own[spatial + d] + added[rank + d + 2] > reach) return false;
  }
  return true;
}

bool fold(Graph& graph, NodeId id) {
  const Node pad = graph.node(id);
  const auto added = zeros_added(graph, pad);
  if (!added) return false;
  const size_t rank = added->size() / 2;
  if (rank < 3 || (*added)[0] != 0 || (*added)[1] != 0 || (*added)[rank] != 0 || (*added)[rank + 1] != 0)
    return false;
  const ValueId y = pad.outputs[0];
  const std::vector<NodeId> readers = graph.consumers(y);
  if (readers.empty() || !std::ranges::all_of(readers, [&](NodeId reader) {
        return takes_pads(graph, graph.node(reader), y, *added);
      }))
    return false;
  for (const NodeId reader : readers) {
    Attributes& attributes = graph.node(reader).attributes;
    Ints pads = attributes.get_ints("pads", Ints(2 * (rank - 2), 0));
    for (size_t d = 2; d < rank; ++d) {
      pads[d - 2] += (*added)[d];
      pads[rank - 4 + d] += (*added)[rank + d];
    }
    attributes.erase("auto_pad");
    attributes.set("pads", pads);
    graph.set_input(reader, 0, pad.inputs[0]);
  }
  return true;
}

}  // namespace

bool fold_pads(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted())
    if (graph.node(id).is("Pad")) changed |= fold(graph, id);
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
