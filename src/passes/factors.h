// Products as a coefficient and what it multiplies, however the multiplications are nested.
#pragma once

#include <vector>

#include "passes/match.h"

namespace octet {

struct Factors {
  double coefficient = 1;
  std::vector<ValueId> values;  // sorted; a power of n is n entries
};

// `value` taken apart through Mul, Div by a number, Neg-free, and Pow by 2 or 3. Below `value` itself, only
// nodes that nothing else reads are taken apart, but for powers.
Factors factors_of(const Graph& graph, ValueId value);

// 1 + y or y + 1: gives y.
std::optional<ValueId> one_plus(const Graph& graph, ValueId value);

}  // namespace octet
