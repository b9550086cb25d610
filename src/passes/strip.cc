#include <algorithm>

#include "passes/canonicalize.h"
#include "passes/lint.h"

namespace octet {
namespace {

bool same_constant(const Graph& graph, const Node& a, const Node& b, size_t input) {
  const auto value = [&](const Node& n) { return n.inputs.size() > input ? n.inputs[input] : kNoId; };
  const ValueId x = value(a), y = value(b);
  if (x == y) return true;
  if (!graph.is_constant(x) || !graph.is_constant(y)) return false;
  const Tensor &s = *graph.value(x).constant, &t = *graph.value(y).constant;
  if (s.dtype() != t.dtype() || s.count() != t.count()) return false;
  return is_float(s.dtype()) ? to_float(s) == to_float(t) : to_int64(s) == to_int64(t);
}

std::vector<int64_t> integers(const Tensor& t) {
  if (dtype_bits(t.dtype()) != 4) return to_int64(t);
  std::vector<int64_t> values;
  const auto* bytes = static_cast<const uint8_t*>(t.raw());
  for (int64_t i = 0; i < t.count(); ++i) {
    const int nibble = (bytes[i / 2] >> (i % 2 * 4)) & 15;
    values.push_back(t.dtype() == DType::kInt4 && nibble > 7 ? nibble - 16 : nibble);
  }
  return values;
}

}  // namespace

std::optional<Tensor> dequantized_constant(const Graph& graph, const Node& node) {
  if (!graph.is_constant(node.inputs[0]) || !graph.is_constant(node.inputs[1])) return {};
  const bool has_zero = node.inputs.size() > 2 && node.inputs[2] != kNoId;
  if (has_zero && !graph.is_constant(node.inputs[2])) return {};
  const Tensor &x = *graph.value(node.inputs[0]).constant, &scale = *graph.value(node.inputs[1]).constant;
  if (scale.dtype() != DType::kFloat32 || is_float(x.dtype())) return {};
  const std::vector<int64_t> q = integers(x);
  std::vector<int64_t> zero(static_cast<size_t>(scale.count()), 0);
  if (has_zero) zero = integers(*graph.value(node.inputs[2]).constant);
  const int64_t block = node.attributes.get_int("block_size", 0);
  const int64_t rank = x.rank();
  int64_t axis = node.attributes.get_int("axis", 1);
  if (axis < 0) axis += rank;
  const bool one = scale.count() == 1 && block == 0;
  if (static_cast<int64_t>(zero.size()) != scale.count() || (!one && (axis < 0 || axis >= rank))) return {};
  int64_t inner = 1, sizes = 1, parts = 1;
  if (!one) {
    for (int64_t d = axis + 1; d < rank; ++d) inner *= x.shape()[static_cast<size_t>(d)];
    sizes = x.shape()[static_cast<size_t>(axis)];
    parts = block > 0 ? (sizes + block - 1) / block : sizes;
    const int64_t outer = block > 0 && sizes * inner > 0 ? x.count() / (sizes * inner) : 1;
    if (scale.count() != (block > 0 ? outer * parts * inner : sizes)) return {};
  }
  Tensor real(DType::kFloat32, x.shape());
  const auto s = scale.as<float>();
  for (int64_t i = 0; i < x.count(); ++i) {
    int64_t k = 0;
    if (!one) {
      const int64_t at = i / inner % sizes;
      k = block > 0 ? (i / (inner * sizes) * parts + at / block) * inner + i % inner : at;
    }
    const auto u = static_cast<size_t>(i), v = static_cast<size_t>(k);
    real.as<float>()[u] = static_cast<float>(q[u] - zero[v]) * s[v];
  }
  return real;
}

StripResult strip_qdq(Graph& graph) {
  StripResult result;
  while (quantize_moved_bytes(graph)) {
  }
  for (const NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (!node.is("DequantizeLinear")) continue;
    const ValueId out = node.outputs[0];
    if (auto real = dequantized_constant(graph, node)) {
      const std::string name = graph.value(node.inputs[0]).name;
      const ValueId constant = graph.add_constant(name + "_float", std::move(*real));
      graph.replace_uses(out, constant, /*outputs_too=*/false);
      if (!graph.is_output(out)) graph.remove_node(id);
      ++result.constants;
      continue;
    }
    const Node* quantize = graph.producer(node.inputs[0]);
    if (quantize == nullptr || !quantize->is("QuantizeLinear")) {
      result.left.push_back(node.name + ": no QuantizeLinear makes what it reads");
      continue;
    }
    if (!same_constant(graph, *quantize, node, 1) || !same_constant(graph, *quantize, node, 2) ||
        graph.value(quantize->inputs[0]).dtype.value_or(DType::kFloat32) !=
            graph.value(out).dtype.value_or(DType::kFloat32)) {
      result.left.push_back(node.name + ": its scale or type is another than that of its QuantizeLinear");
      continue;
    }
    const ValueId real = quantize->inputs[0];
    const bool output = graph.is_output(out);
    const std::string name = graph.value(out).name;
    // An output keeps its name; an input's or another output's cannot be taken over.
    const bool free = graph.value(real).producer != kNoId && !graph.is_output(real);
    if (output && !free) {
      graph.replace_uses(out, real, /*outputs_too=*/false);
      result.left.push_back(node.name + ": it makes the output '" + name + "' of another input or output");
      continue;
    }
    graph.replace_uses(out, real, /*outputs_too=*/true);
    graph.remove_node(id);
    if (output) {
      graph.rename(out, name + "_dequantized");
      graph.rename(real, name);
    }
    ++result.activations;
  }
  fold_constants(graph);
  graph.prune();
  for (const NodeId id : graph.sorted())
    if (graph.node(id).is("QuantizeLinear"))
      result.left.push_back(graph.node(id).name +
                            ": its integers are read by other nodes or leave the graph");
  return result;
}

}  // namespace octet
