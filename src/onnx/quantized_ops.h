// Operators that take the quantization parameters of their tensors as inputs: ONNX's QLinearConv and
// QLinearMatMul, and those of ONNX Runtime's domain com.microsoft that its QOperator format and its optimizer
// write. Import turns each into DequantizeLinear -> the plain operator -> QuantizeLinear, which is what they
// mean.
#pragma once

#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace octet {

inline constexpr std::string_view kMicrosoftDomain = "com.microsoft";

// Whether expand_quantized() knows the operator.
bool is_quantized_operator(std::string_view op, std::string_view domain);

// A plain operator in the form of an older opset, which upgrade() has to bring to the internal one.
struct OldNode {
  NodeId node;
  int opset;
};

// Replaces the node; its outputs stay. Reads constants, no shapes. Throws Error that names the node when
// inputs or attributes are not those of the operator.
std::vector<OldNode> expand_quantized(Graph& graph, NodeId node);

}  // namespace octet
