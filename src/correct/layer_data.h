// The weights and the bias of a layer as the float graph and the quantized graph have them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "correct/rounding.h"
#include "passes/groups.h"

namespace octet {

// Rows are output channels: [channel][weights of the channel].
struct LayerWeights {
  int64_t channels = 0, length = 0;
  bool turned = false;                // in the graphs they are [length][channels]
  bool has_bias = false;              // the quantized layer has a bias that can be changed
  std::string bias_node;              // of a MatMul: the Add that has it
  std::vector<float> weights;         // float
  std::vector<float> bias;            // float, zeros where there is none
  std::vector<int8_t> rounded;        // of the quantized graph
  WeightGrid grid;                    // its limit is 7 where the graph has, or is to get, INT4 constants
  std::vector<float> output_divisor;  // of a depthwise layer: what its stored steps are divided by, or none
};

// Nullopt where the layer has another form than insert_qdq gives it. `layer` is of the float graph, `twin`
// its root in the quantized graph.
std::optional<LayerWeights> read_layer(const Graph& reference, const NodeGroup& layer, const Graph& quantized,
                                       NodeId twin);

// Writes integers, steps and bias (not the form) into the quantized graph.
void write_layer(Graph& quantized, NodeId twin, const LayerWeights& layer);

// Changes a constant that node `id` reads: in place when nobody else reads it.
void set_constant(Graph& graph, NodeId id, size_t index, Tensor tensor);

// Gives every Conv and plain Gemm of `layers` a bias, so that there is one to correct.
void add_zero_biases(Graph& graph, const std::vector<NodeId>& layers);

}  // namespace octet
