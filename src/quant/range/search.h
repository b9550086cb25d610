// The search that the mse and the entropy method share.
#pragma once

#include "quant/quant_params.h"

namespace octet {

// Minimizes cost(range) over ranges whose ends are 0.20, 0.21 .. 1.00 of `extremes` (widened to contain 0):
// the upper end, then the lower, three rounds. Equal costs keep the wider range.
template <typename Cost>
Range search_range(Range extremes, const Cost& cost) {
  constexpr int kRounds = 3, kFirstPercent = 20;
  Range best{extremes.low < 0 ? extremes.low : 0, extremes.high > 0 ? extremes.high : 0};
  double best_cost = cost(best);
  const auto search_end = [&](float Range::*end, float extreme) {
    bool changed = false;
    for (int percent = 100; percent >= kFirstPercent; --percent) {
      Range candidate = best;
      candidate.*end =
          percent == 100 ? extreme : static_cast<float>(static_cast<double>(extreme) * percent / 100);
      const double candidate_cost = cost(candidate);
      if (!(candidate_cost < best_cost)) continue;
      best = candidate;
      best_cost = candidate_cost;
      changed = true;
    }
    return changed;
  };
  for (int round = 0; round < kRounds; ++round) {
    bool changed = false;
    if (extremes.high > 0) changed |= search_end(&Range::high, extremes.high);
    if (extremes.low < 0) changed |= search_end(&Range::low, extremes.low);
    if (!changed) break;
  }
  return best;
}

// The same for ranges [-a, a], a part of `extreme` > 0.
template <typename Cost>
Range search_symmetric_range(float extreme, const Cost& cost) {
  return search_range({0, extreme}, [&](Range range) { return cost(Range{-range.high, range.high}); });
}

}  // namespace octet
