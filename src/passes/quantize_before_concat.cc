#include <algorithm>
#include <optional>

#include "passes/canonicalize.h"
#include "passes/channels.h"
#include "passes/qdq.h"

namespace octet {
namespace {

bool is_dequantized(const Graph& graph, ValueId value) {
  const Node* producer = graph.producer(value);
  return producer != nullptr && producer->is("DequantizeLinear");
}

// Constant 8-bit parameters of a QuantizeLinear, per tensor or along axis 1.
std::optional<QuantParams> params_of(const Graph& graph, const Node& node) {
  if (node.inputs.size() < 3 || !graph.is_constant(node.inputs[1]) || !graph.is_constant(node.inputs[2]))
    return {};
  const Tensor &scale = *graph.value(node.inputs[1]).constant, &zero = *graph.value(node.inputs[2]).constant;
  if (scale.dtype() != DType::kFloat32 || dtype_bits(zero.dtype()) != 8 || scale.count() != zero.count())
    return {};
  QuantParams q{zero.dtype(), scale.rank() == 0 ? -1 : 1, to_float(scale), {}};
  if (q.per_channel() && (scale.rank() != 1 || node.attributes.get_int("axis", 1) != 1)) return {};
  for (const int64_t z : to_int64(zero)) q.zero_point.push_back(static_cast<int32_t>(z));
  return q;
}

bool agree(const QuantParams& a, const QuantParams& b) {
  return a.dtype == b.dtype && a.axis == b.axis && a.scale == b.scale && a.zero_point == b.zero_point;
}

// The 8-bit form of `value` with these parameters, which another reader may want as well.
ValueId quantized_as(Graph& graph, ValueId value, const QuantParams& q) {
  for (const NodeId reader : graph.consumers(value)) {
    const Node& node = graph.node(reader);
    if (!node.is("QuantizeLinear") || node.inputs[0] != value) continue;
    const auto found = params_of(graph, node);
    if (found && agree(*found, q)) return node.outputs[0];
  }
  return add_quantize(graph, value, q);
}

bool move_before(Graph& graph, NodeId concat) {
  const Node node = graph.node(concat);
  const auto& readers = graph.consumers(node.outputs[0]);
  if (graph.is_output(node.outputs[0]) || readers.size() != 1 || !graph.node(readers[0]).is("QuantizeLinear"))
    return false;
  const auto q = params_of(graph, graph.node(readers[0]));
  if (!q || std::ranges::all_of(node.inputs, [&](ValueId v) { return is_dequantized(graph, v); }))
    return false;
  bool changed = false;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId value = node.inputs[i];
    if (is_dequantized(graph, value) || graph.is_constant(value)) continue;
    QuantParams part = *q;
    if (q->per_channel()) {
      const auto links = channel_links(graph, node, i, 0);
      if (!links || links->empty()) return changed;
      part = channel_slice(*q, links->front().to, static_cast<int64_t>(links->size()));
    }
    graph.set_input(concat, i, add_dequantize(graph, quantized_as(graph, value, part), part));
    changed = true;
  }
  return changed;
}

}  // namespace

bool quantize_before_concat(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted())
    if (graph.node(id).is("Concat")) changed |= move_before(graph, id);
  return changed;
}

}  // namespace octet
