// Turns weights of 8 bits into weights of 4.
//
// A channel's step is that with the least squared error among 0.40, 0.41 .. 1.00 times its largest weight
// over 7: clipping the few largest weights pays at 4 bits when the layers are refitted afterwards
// (sequential.h). The first layers, the last and depthwise ones keep 8 bits, as in Jacob et al.,
// "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018,
// and most 4-bit work since: they have few weights and lose most.
#pragma once

#include <set>
#include <string>

#include "graph/graph.h"

namespace octet {

// Names of the weighted nodes of a canonical float graph that may take 4 bits: those that have a weighted
// node before them and one behind them, and are not depthwise.
std::set<std::string> four_bit_layers(const Graph& reference);

// Rounds the weights of these layers anew, to INT4 constants. `quantized` is what insert_qdq made of
// `reference`, whose biases it still has in these layers. Gives the number of layers.
int use_four_bits(Graph& quantized, const Graph& reference);

}  // namespace octet
