// Weights as they are stored under a DequantizeLinear, as the int8 that kernels multiply by.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace octet {

// `stored` minus its zero-points is `values`, plus `rest` where that leaves int8 (255 steps on either side of
// an off-centre zero-point): a sum of two products then, and exact like one.
struct CenteredWeights {
  Tensor values;
  Tensor rest;  // undefined when all fits
  bool split() const { return rest.count() >= 0; }
};

// `zero` is null, one number, or one for each index of `axis`. 8 and 4 bits; nullopt with the reason in
// `why_not`.
std::optional<CenteredWeights> center_weights(const Tensor& stored, const Tensor* zero, int64_t axis,
                                              std::string& why_not);

// Scales of a DequantizeLinear of constant weights: one, or one for each index of `channel_axis`, also where
// blocks hold one whole row or column each; nullopt with the reason in `why_not`.
std::optional<std::vector<float>> channel_scales(const Graph& graph, const Node& dequantize,
                                                 int64_t channel_axis, std::string& why_not);

// [OC, I, ...] and [OC, I, ...] to [OC, 2 I, ...].
Tensor join_inputs(const Tensor& a, const Tensor& b);

}  // namespace octet
