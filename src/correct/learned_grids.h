// The grids of activations that a block may learn (block_learning.h).
//
// Values that operators move (concatenation, max-pooling, reshaping) share their scales with what is made of
// them; all of such a class change together, by one factor for all of its scales, so that channels keep
// their ratios.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace octet {

// A class of values with every QuantizeLinear and DequantizeLinear of it.
struct ActivationGrid {
  std::vector<NodeId> quantize, dequantize;
  bool signed_values = false;  // one zero-point, not at an end of the grid
};

// Those of a canonical Q/DQ graph whose scales are constant and may change: nothing outside of the class is
// quantized with them.
std::vector<ActivationGrid> activation_grids(const Graph& graph);

// Multiplies the scales of the class and adds to its zero-point. Weights that absorb the scales keep their
// integers and their real values, int32 biases, whose steps are made of them, their real values.
void move_grid(Graph& graph, const ActivationGrid& grid, float factor, int shift);

}  // namespace octet
