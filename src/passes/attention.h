// softmax(scale * a x b + mask) x v as one thing. Quantization leaves the graph as it is; `build` asks here
// what it can lower to one step.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"

namespace octet {

// Nodes from the product of queries and keys to the probabilities, each read by those behind it alone.
struct AttentionScores {
  NodeId product = kNoId;     // the MatMul of queries and keys
  std::vector<NodeId> nodes;  // from it to the probabilities
  float scale = 1;
  ValueId mask = kNoId;    // added behind the scale
  ValueId second = kNoId;  // and behind that another, where both are constants
  ValueId probabilities = kNoId;
  bool zero_for_nan = false;  // the probabilities of a row whose keys are all masked are 0
};

// The scores that begin with `matmul`, or nullopt when it is no such product.
std::optional<AttentionScores> match_attention_scores(const Graph& graph, NodeId matmul);

// Whether a MatMul has two operands of rank 2 or more that are both made at run time, with sums that fit into
// 32 bits in 8 bits.
bool is_variable_matmul(const Graph& graph, const Node& node);
// Whether an operand of the product is a cache: floats from an input of the graph, with what this run adds.
bool reads_cache(const Graph& graph, const Node& product);

}  // namespace octet
