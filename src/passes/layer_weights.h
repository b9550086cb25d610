// The form that a layer's weights and bias have around Q/DQ.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"
#include "passes/quantize.h"

namespace octet {

// The bias of a weighted node as one number per output channel; nullopt when there is none or it has another
// form.
std::optional<std::vector<float>> float_bias(const Graph& graph, NodeId layer);

// What the real input adds to the factor of each output channel: the input's scale (one entry), the scale of
// the channel that an output channel of a depthwise convolution reads, or 1 where the weights absorb the
// scales.
std::vector<float> output_factors(const Graph& graph, NodeId layer, const ActivationParams& params);

// Integer weights under a DequantizeLinear, perhaps divided by a constant (see insert_qdq).
struct DequantizedWeights {
  const Node* dequantize = nullptr;
  ValueId divisor = kNoId;
};
std::optional<DequantizedWeights> dequantized_weights(const Graph& graph, ValueId value);

}  // namespace octet
