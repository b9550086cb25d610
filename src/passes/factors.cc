#include "passes/factors.h"

#include <algorithm>

namespace octet {
namespace {

constexpr size_t kMost = 8;

void collect(const Graph& graph, ValueId value, bool root, Factors& f) {
  const Node* node = graph.producer(value);
  const bool own = root || only_use(graph, value);
  if (node != nullptr && node->inputs.size() == 2 && f.values.size() < kMost) {
    const auto first = scalar_constant(graph, node->inputs[0]),
               second = scalar_constant(graph, node->inputs[1]);
    if (node->is("Mul") && own) {
      for (int i = 0; i < 2; ++i) {
        const auto& number = i == 0 ? first : second;
        if (number)
          f.coefficient *= *number;
        else
          collect(graph, node->inputs[i], false, f);
      }
      return;
    }
    if (node->is("Div") && own && second && *second != 0) {
      f.coefficient /= *second;
      return collect(graph, node->inputs[0], false, f);
    }
    if (node->is("Pow") && second && (*second == 2 || *second == 3)) {
      f.values.insert(f.values.end(), static_cast<size_t>(*second), node->inputs[0]);
      return;
    }
  }
  f.values.push_back(value);
}

}  // namespace

Factors factors_of(const Graph& graph, ValueId value) {
  Factors f;
  collect(graph, value, true, f);
  std::sort(f.values.begin(), f.values.end());
  return f;
}

std::optional<ValueId> one_plus(const Graph& graph, ValueId value) {
  const Node* add = producer_of(graph, value, "Add");
  return add ? other_than(graph, *add, 1) : std::nullopt;
}

}  // namespace octet
