// What the consumers of Q/DQ models accept, and what they run in 8 bits. docs/targets.md has every rule with
// its source and its test.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace octet {

struct TargetRules {
  std::string_view name;
  DType activation = DType::kUInt8;
  bool symmetric = false;       // activations have zero-point 0
  bool integer_bias = false;    // bias as int32 under a DequantizeLinear of scale x * w; else float
  bool channel_scales = false;  // activations may have a scale per channel without loss of speed
  bool quantized_sums = false;  // a convolution runs in 8 bits only where its own result is 8-bit: before a
                                // residual is added too, and as an output of the network
  bool quantized_pads = false;  // Pad runs on bytes
  bool tensor_cores = false;    // layers that tensor cores run no faster in 8 bits stay in float
};

// "octet", "tensorrt", "onnxruntime", "openvino". Throws Error that lists them.
const TargetRules& find_target(std::string_view name);

// Why tensor cores gain nothing from 8 bits for a Conv, ConvTranspose, Gemm or MatMul whose shapes are known;
// nullopt where they do, or where shapes do not say. `graph` is a float one. NVIDIA Model Optimizer leaves
// the same layers alone (modelopt.onnx.quantization, int8).
std::optional<std::string> slow_on_tensor_cores(const Graph& graph, const Node& node);

}  // namespace octet
