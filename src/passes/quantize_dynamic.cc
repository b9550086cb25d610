// DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul by the scales, as ONNX Runtime's quantize_dynamic
// writes products: needs no data, because each run chooses the scales of its activations.
#include <algorithm>
#include <cmath>
#include <map>

#include "passes/quantize.h"

namespace octet {
namespace {

struct Weights {
  Tensor stored;  // int8 [K, OC]
  Tensor scale;   // float32 [OC]
};

Weights round_weights(const Tensor& real, bool transposed) {
  const int64_t outputs = real.shape()[transposed ? 0 : 1], inputs = real.shape()[transposed ? 1 : 0];
  const auto values = real.as<float>();
  const auto at = [&](int64_t k, int64_t o) { return values[transposed ? o * inputs + k : k * outputs + o]; };
  Weights w{Tensor(DType::kInt8, {inputs, outputs}), Tensor(DType::kFloat32, {outputs})};
  const auto scale = w.scale.as<float>();
  std::fill(scale.begin(), scale.end(), 0.0f);
  for (int64_t k = 0; k < inputs; ++k)
    for (int64_t o = 0; o < outputs; ++o) scale[o] = std::max(scale[o], std::abs(at(k, o)) / 127.0f);
  for (float& s : scale)
    if (!(s > 1e-30f) || !std::isfinite(s)) s = 1;
  for (int64_t k = 0; k < inputs; ++k)
    for (int64_t o = 0; o < outputs; ++o)
      w.stored.as<int8_t>()[k * outputs + o] =
          static_cast<int8_t>(quantize_one(at(k, o), scale[o], 0, {-127, 127}));
  return w;
}

// A product of floats by a constant matrix, without factors of its own.
bool fits(const Graph& g, const Node& node) {
  if (!node.is("MatMul") && !node.is("Gemm")) return false;
  const Value& w = g.value(node.inputs[1]);
  if (!w.constant || w.constant->dtype() != DType::kFloat32 || w.constant->rank() != 2 ||
      w.constant->count() == 0 || g.is_constant(node.inputs[0]))
    return false;
  const auto& shape = g.value(node.inputs[0]).shape;
  if (!shape || shape->size() < 2) return false;
  return node.is("MatMul") ||
         (node.attributes.get_float("alpha", 1) == 1 && node.attributes.get_float("beta", 1) == 1 &&
          node.attributes.get_int("transA", 0) == 0);
}

bool named(const Node& node, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), node.name) != names.end() ||
         std::find(names.begin(), names.end(), node.op) != names.end();
}

}  // namespace

std::vector<std::string> quantize_dynamic(Graph& g, const QuantizeOptions& options) {
  std::vector<std::string> done;
  std::map<ValueId, std::vector<ValueId>> quantized;
  std::map<std::pair<ValueId, bool>, std::pair<ValueId, ValueId>> constants;
  for (const NodeId id : g.sorted()) {
    const Node node = g.node(id);
    if (!fits(g, node) || (!options.include.empty() && !named(node, options.include)) ||
        named(node, options.exclude))
      continue;
    std::vector<ValueId>& x = quantized[node.inputs[0]];
    if (x.empty()) {
      const std::string stem = g.value(node.inputs[0]).name;
      x = {g.add_value(stem + "_quantized"), g.add_value(stem + "_scale"), g.add_value(stem + "_zero_point")};
      g.add_node("DynamicQuantizeLinear", "", stem + "_QuantizeLinear", {node.inputs[0]}, x);
    }
    const bool transposed = node.is("Gemm") && node.attributes.get_int("transB", 0) != 0;
    auto& w = constants.try_emplace({node.inputs[1], transposed}, kNoId, kNoId).first->second;
    if (w.first == kNoId) {
      const std::string stem = g.value(node.inputs[1]).name;
      Weights made = round_weights(*g.value(node.inputs[1]).constant, transposed);
      w = {g.add_constant(stem + "_quantized", std::move(made.stored)),
           g.add_constant(stem + "_scale", std::move(made.scale))};
    }
    const ValueId y = node.outputs[0];
    g.remove_node(id);
    const ValueId sum =
        g.add_op("MatMulInteger", node.name + "_quant", {x[0], w.first, x[2]}, node.name + "_sum");
    Attributes to;
    to.set("to", int64_t{1});  // float32
    const ValueId real = g.add_op("Cast", node.name + "_cast", {sum}, node.name + "_real", to);
    const ValueId scale =
        g.add_op("Mul", node.name + "_scales", {x[1], w.second}, node.name + "_scales_product");
    const ValueId bias = node.inputs.size() > 2 ? node.inputs[2] : kNoId;
    std::vector<ValueId> last{real, scale};
    if (bias != kNoId) last = {g.add_op("Mul", node.name + "_scaled", last, node.name + "_product"), bias};
    const NodeId end = g.add_node(bias != kNoId ? "Add" : "Mul", "", node.name, last, {});
    g.append_output(end, y);
    done.push_back(node.name);
  }
  g.prune();
  return done;
}

}  // namespace octet
