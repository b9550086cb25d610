// Zeros that a Pad puts around images or volumes become the padding of the convolutions that read them
// (models from TensorFlow pad one side more than the other).
#include <algorithm>

#include "passes/canonicalize.h"
#include "passes/pads.h"

namespace octet {
namespace {

using Ints = std::vector<int64_t>;

// The zeros that a Pad adds (pads_of); nullopt where it adds something else, or takes away.
std::optional<Ints> zeros_added(const Graph& graph, const Node& pad) {
  if (!pads_with_zeros(graph, pad) || graph.value(pad.inputs[0]).dtype != DType::kFloat32) return {};
  auto added = pads_of(graph, pad);
  if (added && std::ranges::any_of(*added, [](int64_t n) { return n < 0; })) return {};
  return added;
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
