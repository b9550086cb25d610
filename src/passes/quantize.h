// Inserts QuantizeLinear and DequantizeLinear.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "passes/target.h"
#include "quant/quant_params.h"

namespace octet {

struct QuantizeOptions {
  const TargetRules* target = nullptr;  // null: octet
  bool weights_per_tensor = false;
  bool weights_only = false;      // activations stay in float: only weights and tables become 8 bits
  bool every_target = false;      // place what any target wants in 8 bits: for tables that serve all of them
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
  // Gathers of rows from a constant table (embeddings), which becomes 8 bits with a scale per column.
  std::vector<NodeId> tables;
  // Nodes that read or make 8-bit values. What a float node makes, other float nodes read as it is: residual
  // sums and normalized values keep their precision beside the 8-bit form.
  std::set<NodeId> integer_nodes;
  // Nodes that stay in float although they could run in 8 bits, with the reason.
  std::map<NodeId, std::string> left_out;
};

// `graph` is canonical and has no Q/DQ. Throws Error for a name in include or exclude that the graph does not
// have.
Placement place(const Graph& graph, const QuantizeOptions& options);

// The range of a value, or nullopt when it was never observed.
using RangeOf = std::function<std::optional<Range>(const std::string& value)>;

// Scales and zero-points of every value that is stored in 8 bits: one scale, or one per channel (axis 1). The
// values of a scale group agree; per channel, each channel agrees with those that it is moved from and to.
using ActivationParams = std::map<ValueId, QuantParams>;

// One scale per tensor, from the ranges. Throws Error naming values without a range.
ActivationParams tensor_params(const Graph& graph, const Placement& placement, const QuantizeOptions& options,
                               const RangeOf& range_of);

// Symmetric int8 weights and their scales, along `axis` (or per tensor for -1): scale = max |w| / 127, 1
// where all are zero, and not below `smallest_scales` (one per scale, or none).
struct QuantizedWeights {
  Tensor values;
  QuantParams params;
};
QuantizedWeights quantize_weights(const Tensor& weights, int axis,
                                  std::span<const float> smallest_scales = {});

// Axis of the output channels in the weights of a weighted node, and of the input channels.
int weight_axis(const Graph& graph, const Node& node);
int weight_input_axis(const Graph& graph, const Node& node);

// How the weights of a layer become integers q: W[o, c, ...] = scale[o] * q[o, c, ...] / input_scale[c].
//
// Where the layer's input has a scale s_c per channel, the integers stand for W[o, c] * s_c, so that the
// exact sum over q * (x - zero_c) needs one factor per output channel. A depthwise convolution needs no
// input_scale: its output channels have scales of their own.
struct WeightTransform {
  int axis = -1;                       // of the output channels in W; -1: one scale for all
  int input_axis = -1;                 // of the input channels
  std::vector<float> input_scale;      // by input channel; empty: 1
  std::vector<float> smallest_scales;  // below which an int32 bias would overflow; empty: no limit
};
WeightTransform weight_transform(const Graph& graph, NodeId layer, const QuantizeOptions& options,
                                 const ActivationParams& params);
// W[o, c] * input_scale[c], which quantize_weights(…, transform.axis, transform.smallest_scales) rounds.
Tensor transformed_weights(const Graph& graph, NodeId layer, const WeightTransform& transform);
// What remains of W: scale[o] * q[o, c] / input_scale[c].
Tensor effective_weights(const QuantizedWeights& weights, const WeightTransform& transform);
// Multiplies (or divides) by one factor per index of `axis`.
Tensor scaled_along(const Tensor& floats, int axis, std::span<const float> factors, bool divide);

// Weights that were rounded elsewhere, by layer: integers on the grid of transformed_weights().
using GivenWeights = std::map<NodeId, QuantizedWeights>;

// What happened to a node that is computed in 8 bits.
struct QuantizedLayer {
  std::string node, op;
  std::string output;  // value that holds its result in 8 bits, or in float at the end
};

// Inserts Q/DQ as placed. Weights become int8 constants: those of `given`, or the nearest. Weights with an
// input_scale become DequantizeLinear -> Div by it, which means the same to every runtime; `build` folds it
// into the integers' scale. Biases are the graph's.
std::vector<QuantizedLayer> insert_qdq(Graph& graph, const Placement& placement,
                                       const QuantizeOptions& options, const ActivationParams& params,
                                       const GivenWeights& given = {});
// With tensor_params().
std::vector<QuantizedLayer> insert_qdq(Graph& graph, const Placement& placement,
                                       const QuantizeOptions& options, const RangeOf& range_of);

// ONNX Runtime's Softmax takes rows one by one. Where there are many of two elements, it becomes the sigmoid
// of each element minus the other, a product by a constant (equal up to float rounding). Returns how many
// did.
int64_t spell_softmax_of_two_as_sigmoid(Graph& graph);
// The length of a Softmax's rows along the last axis, when it is known and they are many: 64, or as many as a
// tensor of three dimensions or more is taken to have. A classifier has one.
std::optional<int64_t> width_of_many_rows(const Graph& graph, const Node& softmax);

// Whether the layer's weights can absorb a scale per channel of its input: no groups of several channels.
bool takes_channel_scales(const Graph& graph, const Node& layer);

// Products of a canonical float graph by constant matrices become MatMulInteger of int8 weights (one scale
// per column) and activations that each run quantizes. Gives the names of these nodes; include and exclude of
// the options say which may be. Shapes are those of before: infer_shapes comes next.
std::vector<std::string> quantize_dynamic(Graph& graph, const QuantizeOptions& options);

}  // namespace octet
