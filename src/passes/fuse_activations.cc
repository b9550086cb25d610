#include <cmath>
#include <optional>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/factors.h"

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

// The y for which `value` is 1 + op(y).
std::optional<ValueId> one_plus_function(const Graph& graph, ValueId value, std::string_view op) {
  const auto inner = one_plus(graph, value);
  const Node* node = inner ? producer_of(graph, *inner, op) : nullptr;
  return node ? std::optional(node->inputs[0]) : std::nullopt;
}

using Values = std::vector<ValueId>;

bool is_cube(const Factors& f, ValueId x) {
  return close(static_cast<float>(f.coefficient), 0.044715) && f.values == Values{x, x, x};
}

// sqrt(2 / pi) * (x + 0.044715 x^3), or with x taken out: sqrt(2 / pi) * x * (1 + 0.044715 x^2).
bool is_gelu_tanh_argument(const Graph& graph, ValueId value, ValueId x) {
  const Factors f = factors_of(graph, value);
  if (!close(static_cast<float>(f.coefficient), std::sqrt(2 / M_PI)) || f.values.empty() ||
      f.values.size() > 2)
    return false;
  for (const ValueId v : f.values) {
    const Node* add = producer_of(graph, v, "Add");
    if (!add || add->inputs.size() != 2) continue;
    if (f.values.size() == 1) {
      for (int i = 0; i < 2; ++i)
        if (add->inputs[i] == x && is_cube(factors_of(graph, add->inputs[1 - i]), x)) return true;
    } else if (f.values[f.values[0] == v ? 1 : 0] == x) {
      const auto inner = other_than(graph, *add, 1);
      const Factors square = inner ? factors_of(graph, *inner) : Factors{};
      if (close(static_cast<float>(square.coefficient), 0.044715) && square.values == Values{x, x})
        return true;
    }
  }
  return false;
}

struct Gelu {
  ValueId x;
  bool tanh;
};

// 0.5 * x * (1 + erf(x / sqrt 2)) and 0.5 * x * (1 + tanh(...)) with the products in any order.
std::optional<Gelu> match_gelu(const Graph& graph, const Node& node) {
  const Factors f = factors_of(graph, node.outputs[0]);
  if (f.values.size() != 2 || !close(static_cast<float>(f.coefficient), 0.5)) return {};
  for (int i = 0; i < 2; ++i) {
    const ValueId x = f.values[i], gate = f.values[1 - i];
    if (graph.value(x).shape != graph.value(node.outputs[0]).shape) continue;
    if (const auto u = one_plus_function(graph, gate, "Erf")) {
      const Factors g = factors_of(graph, *u);
      if (g.values == Values{x} && close(static_cast<float>(g.coefficient), std::sqrt(0.5)))
        return Gelu{x, false};
    }
    if (const auto u = one_plus_function(graph, gate, "Tanh"))
      if (is_gelu_tanh_argument(graph, *u, x)) return Gelu{x, true};
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
      Attributes attributes;
      if (g->tanh) attributes.set("approximate", std::string("tanh"));
      become(graph, id, "Gelu", "", {g->x}, std::move(attributes));
      changed = true;
    }
  }
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
