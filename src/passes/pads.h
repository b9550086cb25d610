// What Pad nodes add.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"

namespace octet {

// Begins of all axes, then ends (negative: taken away); nullopt where they are not constant.
std::optional<std::vector<int64_t>> pads_of(const Graph& graph, const Node& pad);

// Whether the node is a Pad and all numbers that it adds are the real number 0.
bool pads_with_zeros(const Graph& graph, const Node& node);

// Whether the operator moves values (QuantRule::kSameScale): each number of its outputs is one of its
// input's, is between some of them, or is the real number 0. Pads are among them that do not fill with other
// constants.
bool keeps_scale(const Graph& graph, const Node& node);

}  // namespace octet
