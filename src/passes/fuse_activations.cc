#include <cmath>
#include <optional>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

// x * sigmoid(x)
std::optional<ValueId> match_silu(const Graph& graph, const Node& mul) {
  for (int i = 0; i < 2; ++i) {
    const Node* sigmoid = producer_of(graph, mul.inputs[i], "Sigmoid");
    if (sigmoid && sigmoid->inputs[0] == mul.inputs[1 - i] && only_use(graph, mul.inputs[i]))
      return mul.inputs[1 - i];
  }
  return {};
}

// Whether `value` is clip(x / 6 + 1/2, 0, 1) as HardSigmoid(alpha 1/6, beta 1/2) or clip(x + 3, 0, 6) / 6.
bool is_hard_gate(const Graph& graph, ValueId value, ValueId x) {
  if (const Node* h = producer_of(graph, value, "HardSigmoid"))
    return h->inputs[0] == x && close(h->attributes.get_float("alpha", 0.2f), 1.0 / 6) &&
           close(h->attributes.get_float("beta", 0.5f), 0.5);
  return false;
}

// clip(x + 3, 0, 6); gives x.
std::optional<ValueId> match_relu6_plus3(const Graph& graph, ValueId value) {
  const Node* clip = producer_of(graph, value, "Clip");
  if (!clip || clip->inputs.size() != 3 || !close(scalar_constant(graph, clip->inputs[1]), 0) ||
      !close(scalar_constant(graph, clip->inputs[2]), 6))
    return {};
  const Node* add = producer_of(graph, clip->inputs[0], "Add");
  return add ? other_than(graph, *add, 3) : std::nullopt;
}

// The five spellings of x * clip(x + 3, 0, 6) / 6.
std::optional<ValueId> match_hard_swish(const Graph& graph, const Node& node) {
  if (node.is("Mul") && node.inputs.size() == 2) {
    for (int i = 0; i < 2; ++i) {
      const ValueId x = node.inputs[1 - i], gate = node.inputs[i];
      if (is_hard_gate(graph, gate, x) && only_use(graph, gate)) return x;
      const Node* div = producer_of(graph, gate, "Div");  // x * (clip(x + 3) / 6)
      if (div && close(scalar_constant(graph, div->inputs[1]), 6) &&
          match_relu6_plus3(graph, div->inputs[0]) == x)
        return x;
      const Node* scaled = producer_of(graph, gate, "Mul");  // x * (clip(x + 3) * 1/6)
      if (scaled)
        if (const auto inner = other_than(graph, *scaled, 1.0 / 6);
            inner && match_relu6_plus3(graph, *inner) == x)
          return x;
    }
  }
  std::optional<ValueId> product;  // (x * clip(x + 3)) / 6
  if (node.is("Div") && close(scalar_constant(graph, node.inputs[1]), 6)) product = node.inputs[0];
  if (node.is("Mul")) product = other_than(graph, node, 1.0 / 6);
  if (!product) return {};
  const Node* mul = producer_of(graph, *product, "Mul");
  if (!mul) return {};
  for (int i = 0; i < 2; ++i)
    if (match_relu6_plus3(graph, mul->inputs[i]) == mul->inputs[1 - i]) return mul->inputs[1 - i];
  return {};
}

// x * 0.5 * (1 + erf(x / sqrt 2)) with the products in any order.
std::optional<ValueId> match_gelu(const Graph& graph, const Node& node) {
  if (!node.is("Mul")) return {};
  const auto erf_half = [&](ValueId value) -> std::optional<ValueId> {  // 1 + erf(x / sqrt 2) -> x
    const Node* add = producer_of(graph, value, "Add");
    if (!add) return {};
    const auto e = other_than(graph, *add, 1);
    const Node* erf = e ? producer_of(graph, *e, "Erf") : nullptr;
    if (!erf) return {};
    if (const Node* div = producer_of(graph, erf->inputs[0], "Div"))
      if (close(scalar_constant(graph, div->inputs[1]), std::sqrt(2.0))) return div->inputs[0];
    if (const Node* mul = producer_of(graph, erf->inputs[0], "Mul"))
      return other_than(graph, *mul, std::sqrt(0.5));
    return {};
  };
  if (const auto product = other_than(graph, node, 0.5)) {  // (x * (1 + erf)) * 0.5
    const Node* mul = producer_of(graph, *product, "Mul");
    for (int i = 0; mul && i < 2; ++i)
      if (erf_half(mul->inputs[i]) == mul->inputs[1 - i]) return mul->inputs[1 - i];
    return {};
  }
  if (node.inputs.size() != 2) return {};
  for (int i = 0; i < 2; ++i) {
    const ValueId a = node.inputs[i], b = node.inputs[1 - i];
    const Node* mul = producer_of(graph, a, "Mul");
    if (!mul) continue;
    const auto half = other_than(graph, *mul, 0.5);
    if (half && erf_half(b) == *half) return *half;  // (x * 0.5) * (1 + erf)
    if (half && erf_half(*half) == b) return b;      // x * (0.5 * (1 + erf))
  }
  return {};
}

}  // namespace

bool fuse_activations(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (!node.is("Mul") && !node.is("Div")) continue;
    if (node.is("Mul") && node.inputs.size() == 2) {
      if (const auto x = match_silu(graph, node)) {
        become(graph, id, "Silu", std::string(kOctetDomain), {*x});
        changed = true;
        continue;
      }
    }
    if (const auto x = match_hard_swish(graph, node)) {
      become(graph, id, "HardSwish", "", {*x});
      changed = true;
    } else if (const auto g = match_gelu(graph, node)) {
      become(graph, id, "Gelu", "", {*g});
      changed = true;
    }
  }
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
