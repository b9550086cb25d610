// Cuts a float graph and its quantized form into segments that run one after the other over all samples: each
// begins with a layer that is to be corrected, and goes on to the next one.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "passes/groups.h"

namespace octet {

// One graph, cut.
class CutGraph {
 public:
  // What segment `s` reads from and writes for others: inputs of the graph and values that are not constant.
  struct Borders {
    std::vector<ValueId> inputs, outputs;
  };

  // `segment_of` a node by its id; those that only prepare constants, and each DequantizeLinear, belong to
  // every segment that needs them and are passed over. `demands` are values that segment s needs besides.
  CutGraph(const Graph& graph, const std::vector<int32_t>& segment_of,
           const std::vector<std::vector<ValueId>>& demands);

  const Borders& borders(int32_t s) const { return borders_[s]; }
  // The last segment that reads the value; -1: none.
  int32_t last_use(ValueId v) const { return last_use_[v]; }
  // Segment `s` of `graph`, which has the same nodes (constants may differ), as a graph of its own that makes
  // the segment's outputs, and after them those of `graph` that it makes on the way. Empty when it has none.
  Graph extract(const Graph& graph, int32_t s) const;

 private:
  // Nodes of segment `s` that make `wanted`; what they read from outside is added to `inputs`.
  void collect(const Graph& graph, int32_t s, ValueId wanted, std::set<NodeId>& nodes,
               std::set<ValueId>& inputs) const;
  bool replicated(const Graph& graph, NodeId id) const;

  std::vector<int32_t> segment_of_;
  std::vector<bool> constant_;  // by node: depends on constants alone
  std::vector<Borders> borders_;
  std::vector<std::vector<NodeId>> nodes_;  // by segment, in order
  std::vector<int32_t> last_use_;
};

// Where a real value of the quantized graph is kept: in 8 bits under a DequantizeLinear, or as it is.
struct KeptValue {
  ValueId value = kNoId;
  const Node* dequantize = nullptr;
};
KeptValue kept_value(const Graph& quantized, ValueId real);

// A layer that is to be corrected, on both sides.
struct PairedLayer {
  NodeGroup group;            // in the float graph
  NodeId quantized = kNoId;   // root in the quantized graph
  KeptValue input, residual;  // there
};

// Both graphs, cut alike. Segment 0 comes before the first layer; segment i + 1 begins with layers[i].
// The graphs must have the same node names; both are canonical, with all shapes known.
struct PairedSegments {
  std::vector<PairedLayer> layers;
  std::vector<CutGraph> sides;                  // float, quantized
  std::vector<std::vector<int32_t>> of_node{};  // on each side the segment of each node
  int32_t count() const { return static_cast<int32_t>(layers.size()) + 1; }
};
PairedSegments cut(const Graph& reference, const Graph& quantized);

// Segments of several segments. Fine segment s is part of coarse segment joined[s]; `demands` are by side and
// coarse segment, one more than there are.
PairedSegments join(const Graph& reference, const Graph& quantized, const PairedSegments& fine,
                    const std::vector<int32_t>& joined,
                    const std::vector<std::vector<std::vector<ValueId>>>& demands);

}  // namespace octet
