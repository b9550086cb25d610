// Inserts QuantizeLinear and DequantizeLinear.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "quant/quant_params.h"

namespace octet {

// What the consumer of a Q/DQ model accepts. Sources: TensorRT's "Working with Quantized Types", ONNX
// Runtime's QDQ selectors.
struct TargetRules {
  std::string_view name;
  DType activation = DType::kUInt8;
  bool symmetric = false;     // activations have zero-point 0
  bool integer_bias = false;  // bias as int32 under a DequantizeLinear of scale x * w; else float
};

// "octet", "tensorrt", "onnxruntime". Throws Error that lists them.
const TargetRules& find_target(std::string_view name);

struct QuantizeOptions {
  const TargetRules* target = nullptr;  // null: octet
  bool weights_per_tensor = false;
  bool quantize_outputs = false;  // also the outputs of the graph get Q/DQ, for engines without float
  std::vector<std::string> include, exclude;  // names or operator types of nodes; an empty include means all
};

// Where Q/DQ go: the outcome of looking at a float graph, before any range is known.
struct Placement {
  // Values that are stored in 8 bits, each with its scale group: values of one group share scale and
  // zero-point (concat, max-pool, resize).
  std::map<ValueId, int32_t> group_of;
  // Per group, the values that define its range (those that a moving operator only copies are left out).
  std::vector<std::vector<ValueId>> groups;
  std::vector<NodeId> weighted;  // roots whose weights become 8 bits
  // Nodes that stay in float although they could run in 8 bits, with the reason.
  std::map<NodeId, std::string> left_out;
};

// `graph` is canonical and has no Q/DQ. Throws Error for a name in include or exclude that the graph does not
// have.
Placement place(const Graph& graph, const QuantizeOptions& options);

// The range of a value, or nullopt when it was never observed.
using RangeOf = std::function<std::optional<Range>(const std::string& value)>;

// What happened to a node that is computed in 8 bits.
struct QuantizedLayer {
  std::string node, op;
  std::string output;  // value that holds its result in 8 bits, or in float at the end
};

// Inserts Q/DQ as placed, with scales from the ranges; weights become int8 constants. Throws Error naming
// values without a range.
std::vector<QuantizedLayer> insert_qdq(Graph& graph, const Placement& placement,
                                       const QuantizeOptions& options, const RangeOf& range_of);

// Symmetric int8 weights and their scales, along `axis` (or per tensor for -1): scale = max |w| / 127, 1
// where all are zero, and not below `smallest_scales` (one per scale, or none).
struct QuantizedWeights {
  Tensor values;
  QuantParams params;
};
QuantizedWeights quantize_weights(const Tensor& weights, int axis,
                                  std::span<const float> smallest_scales = {});

// Axis of the output channels in the weights of a weighted node.
int weight_axis(const Graph& graph, const Node& node);

}  // namespace octet
