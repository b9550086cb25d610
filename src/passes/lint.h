// Q/DQ that other tools placed: taking them out, and what targets have against them.
//
// Sources of the rules: NVIDIA, "TensorRT Developer Guide", Working with Quantized Types (symmetric int8,
// zero-point 0, biases in float, one scale per activation, weights by output channel); ONNX Runtime's QDQ
// selectors (onnxruntime/core/optimizer/qdq_transformer/selectors_actions: every input of a fused node under
// a DequantizeLinear, the bias int32 in steps of x * w, types of input and output equal).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace octet {

struct StripResult {
  int activations = 0, constants = 0;  // pairs taken out, constants made float
  std::vector<std::string> left;       // nodes that stay, with the reason
};

// Takes out all Q/DQ: what was rounded is no longer, constants become floats. What has no float form stays
// (integer inputs and outputs of the graph, scales that are computed at run time).
StripResult strip_qdq(Graph& graph);

enum class LintTarget { kTensorRt, kOnnxRuntime, kOpenVino };
// "tensorrt", "onnxruntime", "openvino". Throws Error that lists them.
LintTarget parse_lint_target(std::string_view name);

struct LintFinding {
  std::string node, rule;  // "uint8", "bias-scale" ...
  std::string text;        // what it is, and what follows from it
  bool fixable = false;    // by fix_qdq
};

// One finding per node and rule, in the graph's order.
std::vector<LintFinding> lint_qdq(const Graph& graph, LintTarget target);

// Rewrites what can be rewritten. Activations get a symmetric grid that covers what theirs covers (the same
// one where uint8 has zero-point 128), weights the nearest int8, biases the form that the target takes.
void fix_qdq(Graph& graph, LintTarget target);

// What a DequantizeLinear makes of constants; nullopt where its inputs are not constant or it has a form that
// is none of ONNX's.
std::optional<Tensor> dequantized_constant(const Graph& graph, const Node& dequantize);

}  // namespace octet
