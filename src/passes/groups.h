// Which nodes one kernel computes together: a weighted node, its activation, the residual added to it.
// Quantization places Q/DQ around such groups, and `build` lowers them; both ask here, so that they agree.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"
#include "kernels/epilogue.h"

namespace octet {

// An elementwise function of one value as an epilogue computes it.
struct ActivationSpec {
  kernels::Function function = kernels::Function::kNone;
  float alpha = 0, beta = 0;
};

// The function of an activation node, or nullopt when it is none (or has operands that are not constant).
std::optional<ActivationSpec> activation_of(const Graph& graph, const Node& node);

// A weighted node (Conv, Gemm, MatMul by a constant), Add or Mul and what follows it in the same kernel, in
// this order: root, then `bias` added, then `activation`, then `residual` added, then `final_clip`.
struct NodeGroup {
  NodeId root = kNoId;
  std::vector<NodeId> nodes = {};            // root first, in order
  ValueId bias = kNoId;                      // of a MatMul: the constant that an Add behind it adds
  std::optional<ActivationSpec> activation;  // straight behind the root or its bias
  // Clip(0, cap) with a cap per channel, as Relu -> Min by a constant [1, C, 1, 1]; then `activation` is the
  // clip to [0, 1] of what is divided by the caps, and no residual follows.
  std::vector<float> caps = {};
  ValueId residual = kNoId;                  // float value added
  std::optional<ActivationSpec> final_clip;  // behind the residual; kRelu or kClip only
  ValueId output = kNoId;                    // what the last node makes

  // Nodes that come before the Add of the residual.
  size_t before_residual() const { return 1 + (bias != kNoId ? 1 : 0) + (activation ? 1 : 0); }
};

// All groups of a graph, and to which each node belongs.
class NodeGroups {
 public:
  explicit NodeGroups(const Graph& graph);

  const std::vector<NodeGroup>& groups() const { return groups_; }
  // The group that the node is part of, or null.
  const NodeGroup* find(NodeId node) const;

 private:
  std::vector<NodeGroup> groups_;
  std::vector<int32_t> group_of_;  // by node
};

// Whether the node multiplies by constant weights: Conv, Gemm, MatMul whose second input is constant or a
// dequantized constant.
bool is_weighted(const Graph& graph, const Node& node);

// The node that reads `value`, when it is the only one and the value is no output of the graph.
std::optional<NodeId> only_consumer(const Graph& graph, ValueId value);

}  // namespace octet
