// How far one set of numbers is from another, and how good a classifier is.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace octet {

// Sums over pairs (reference, other); pairs with a value that is not finite are counted apart, but for equal
// infinities (of an attention mask, say), which are no difference. Adding them up in the order of samples
// gives the same bits whatever the number of workers.
struct PairSums {
  double signal = 0;  // reference^2
  double other = 0;   // other^2
  double noise = 0;   // (reference - other)^2
  double dot = 0;     // reference * other
  int64_t count = 0, not_finite = 0;

  void add(double reference, double value);
  PairSums& operator+=(const PairSums& more);
  // 10 log10(signal / noise): Signal to Quantization Noise Ratio in decibels. nullopt when nothing differs.
  std::optional<double> sqnr_db() const;
  double cosine() const;  // 1 when both are zero
};

PairSums compare_values(std::span<const float> reference, std::span<const float> other);

// What was observed, as floats in ONNX's logical order (8-bit tensors dequantized).
std::vector<float> plain_floats(const engine::Observation& observation);
// Any real dtype.
std::vector<float> output_floats(const Tensor& output, const QuantParams& quant);

// Indices of the `k` largest values, largest first; ties by the lower index.
std::vector<int64_t> top_indices(std::span<const float> values, int k);

}  // namespace octet
