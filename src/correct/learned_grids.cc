#include "correct/learned_grids.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "correct/layer_data.h"
#include "passes/layer_weights.h"
#include "passes/pads.h"

namespace octet {
namespace {

class Classes {
 public:
  explicit Classes(const Graph& g) : g_(g), parent_(g.value_slots()) {
    std::iota(parent_.begin(), parent_.end(), ValueId{0});
    for (const NodeId id : g.sorted()) {
      const Node& node = g.node(id);
      if (node.outputs.empty() || node.inputs.empty()) continue;
      const bool converts = node.is("QuantizeLinear") || node.is("DequantizeLinear");
      if (!converts && !keeps_scale(g, node)) continue;
      for (size_t i = 0; i < (converts ? 1 : node.inputs.size()); ++i)
        if (node.inputs[i] != kNoId && !g.is_constant(node.inputs[i])) join(node.inputs[i], node.outputs[0]);
      for (const ValueId y : node.outputs) join(y, node.outputs[0]);
    }
  }

  ValueId of(ValueId v) {
    while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
    return v;
  }

 private:
  void join(ValueId a, ValueId b) {
    if (a != kNoId && b != kNoId) parent_[of(a)] = of(b);
  }
  const Graph& g_;
  std::vector<ValueId> parent_;
};

bool has_constant_params(const Graph& g, const Node& node) {
  return node.inputs.size() > 1 && g.is_constant(node.inputs[1]) &&
         g.value(node.inputs[1]).constant->dtype() == DType::kFloat32 &&
         (node.inputs.size() < 3 || node.inputs[2] == kNoId || g.is_constant(node.inputs[2]));
}

// The zero-point of both, where there is exactly one, and whether it stands within its type's limits.
std::optional<int64_t> inner_zero(const Graph& g, const Node& node) {
  if (node.inputs.size() < 3 || node.inputs[2] == kNoId) return {};
  const Tensor& zero = *g.value(node.inputs[2]).constant;
  if (zero.count() != 1 || (zero.dtype() != DType::kUInt8 && zero.dtype() != DType::kInt8)) return {};
  const IntLimits limits = int_limits(zero.dtype());
  const int64_t z = to_int64(zero)[0];
  return z > limits.low && z < limits.high ? std::optional(z) : std::nullopt;
}

bool is_layer(const Node& node) {
  return node.is("Conv") || node.is("Gemm") || node.is("MatMul");
}

// The DequantizeLinear of an int32 bias, whose steps are those of weights times input; kNoId: none.
NodeId integer_bias(const Graph& g, const Node& layer) {
  if (!is_layer(layer) || layer.inputs.size() < 3 || layer.inputs[2] == kNoId) return kNoId;
  return g.value(layer.inputs[2]).producer;
}

bool known_bias(const Graph& g, const Node& layer) {
  const NodeId dq = integer_bias(g, layer);
  return dq == kNoId || (g.node(dq).is("DequantizeLinear") && has_constant_params(g, g.node(dq)) &&
                         g.is_constant(g.node(dq).inputs[0]) &&
                         g.value(g.node(dq).inputs[0]).constant->dtype() == DType::kInt32);
}

bool movable(const Graph& g, const ActivationGrid& grid) {
  const std::set<NodeId> made(grid.quantize.begin(), grid.quantize.end());
  for (const NodeId id : grid.quantize)
    if (!has_constant_params(g, g.node(id))) return false;
  for (const NodeId id : grid.dequantize) {
    const Node& node = g.node(id);
    if (!has_constant_params(g, node)) return false;
    // An 8-bit value that something else makes.
    const ValueId stored = node.inputs[0];
    const NodeId producer = g.value(stored).producer;
    if (producer == kNoId || made.count(producer) == 0) return false;
    for (const NodeId reader : g.consumers(stored))
      if (!g.node(reader).is("DequantizeLinear")) return false;
    for (const NodeId reader : g.consumers(node.outputs[0]))
      if (!known_bias(g, g.node(reader))) return false;
  }
  for (const NodeId id : grid.quantize)
    if (g.is_output(g.node(id).outputs[0])) return false;
  return true;
}

Tensor multiplied(const Tensor& scale, float factor) {
  Tensor out = scale.clone();
  for (float& v : out.as<float>()) v *= factor;
  return out;
}

// The same real biases, to the nearest step.
void move_bias(Graph& graph, NodeId dq, float factor) {
  Tensor ints = graph.value(graph.node(dq).inputs[0]).constant->clone();
  for (int32_t& v : ints.as<int32_t>())
    v = static_cast<int32_t>(
        std::clamp(std::nearbyint(v / static_cast<double>(factor)), -2147483648.0, 2147483647.0));
  set_constant(graph, dq, 1, multiplied(*graph.value(graph.node(dq).inputs[1]).constant, factor));
  set_constant(graph, dq, 0, std::move(ints));
}

}  // namespace

std::vector<ActivationGrid> activation_grids(const Graph& graph) {
  Classes classes(graph);
  std::map<ValueId, ActivationGrid> found;
  for (const NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    if (node.inputs.empty() || graph.is_constant(node.inputs[0])) continue;
    if (node.is("QuantizeLinear")) found[classes.of(node.outputs[0])].quantize.push_back(id);
    if (node.is("DequantizeLinear")) found[classes.of(node.outputs[0])].dequantize.push_back(id);
  }
  std::vector<ActivationGrid> grids;
  for (auto& [value, grid] : found) {
    if (grid.quantize.empty() || !movable(graph, grid)) continue;
    const auto zero = inner_zero(graph, graph.node(grid.quantize[0]));
    grid.signed_values = zero.has_value();
    for (const auto* nodes : {&grid.quantize, &grid.dequantize})
      for (const NodeId id : *nodes)
        grid.signed_values = grid.signed_values && inner_zero(graph, graph.node(id)) == zero;
    grids.push_back(std::move(grid));
  }
  return grids;
}

void move_grid(Graph& graph, const ActivationGrid& grid, float factor, int shift) {
  // Weights that are divided by exactly these scales: their steps are multiplied as they are.
  for (const NodeId id : grid.dequantize)
    for (const NodeId reader : graph.consumers(graph.node(id).outputs[0])) {
      const Node layer = graph.node(reader);
      if (!is_layer(layer) || layer.inputs[0] != graph.node(id).outputs[0]) continue;
      if (const NodeId bias = integer_bias(graph, layer); bias != kNoId) move_bias(graph, bias, factor);
      const auto weights = dequantized_weights(graph, graph.node(reader).inputs[1]);
      if (!weights || weights->divisor == kNoId) continue;
      const NodeId div = graph.value(layer.inputs[1]).producer;
      const NodeId dq = graph.value(graph.node(div).inputs[0]).producer;
      set_constant(graph, div, 1, multiplied(*graph.value(weights->divisor).constant, factor));
      set_constant(graph, dq, 1, multiplied(*graph.value(graph.node(dq).inputs[1]).constant, factor));
    }
  for (const auto* nodes : {&grid.quantize, &grid.dequantize})
    for (const NodeId id : *nodes) {
      const Node node = graph.node(id);
      set_constant(graph, id, 1, multiplied(*graph.value(node.inputs[1]).constant, factor));
      if (shift == 0 || !grid.signed_values) continue;
      Tensor zero = graph.value(node.inputs[2]).constant->clone();
      const IntLimits limits = int_limits(zero.dtype());
      const int64_t moved = std::clamp<int64_t>(to_int64(zero)[0] + shift, limits.low, limits.high);
      if (zero.dtype() == DType::kUInt8)
        zero.as<uint8_t>()[0] = static_cast<uint8_t>(moved);
      else
        zero.as<int8_t>()[0] = static_cast<int8_t>(moved);
      set_constant(graph, id, 2, std::move(zero));
    }
}

}  // namespace octet
