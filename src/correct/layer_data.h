// The weights and the bias of a layer as the float graph and the quantized graph have them.
#pragma once

#include <optional>
#include <vector>

#include "correct/rounding.h"
#include "graph/graph.h"

namespace octet {

// Rows are output channels: [channel][weights of the channel].
struct LayerWeights {
  int64_t channels = 0, length = 0;
  bool turned = false;          // in the graphs they are [length][channels]
  bool has_bias = false;        // the quantized layer has a bias that can be changed
  std::vector<float> weights;   // float
  std::vector<float> bias;      // float, zeros where there is none
  std::vector<int8_t> rounded;  // of the quantized graph
  WeightGrid grid;
};

// Nullopt where the layer has another form than insert_qdq gives it.
std::optional<LayerWeights> read_layer(const Graph& reference, NodeId layer, const Graph& quantized,
                                       NodeId twin);

// Writes integers, steps and bias (not the form) into the quantized graph.
void write_layer(Graph& quantized, NodeId twin, const LayerWeights& layer);

// Gives every Conv and plain Gemm of `layers` a bias, so that there is one to correct.
void add_zero_biases(Graph& graph, const std::vector<NodeId>& layers);

}  // namespace octet
