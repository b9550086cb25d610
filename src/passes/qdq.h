// Makes QuantizeLinear and DequantizeLinear nodes.
#pragma once

#include "graph/graph.h"
#include "quant/quant_params.h"

namespace octet {

// Scale and zero-point as ONNX has them: scalars, or vectors when there is one per channel.
Tensor scale_tensor(const QuantParams& params);
Tensor zero_tensor(const QuantParams& params);

// The 8-bit value that a new QuantizeLinear makes of `value`, and the float value that a new DequantizeLinear
// makes of an 8-bit one. Named after `value`; dtype and shape are known.
ValueId add_quantize(Graph& graph, ValueId value, const QuantParams& params);
ValueId add_dequantize(Graph& graph, ValueId stored, const QuantParams& params);

}  // namespace octet
