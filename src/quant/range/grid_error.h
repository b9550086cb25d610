// Squared error of quantizing a histogram, in time proportional to the grid's levels.
#pragma once

#include <vector>

#include "quant/quant_params.h"
#include "quant/range/statistics.h"

namespace octet {

// Each bin's values stand at its centre, spread over its width; exact zeros cost nothing (every grid holds
// zero). Prefix sums of the moments of each side give the error of a level's cell by three subtractions.
class GridError {
 public:
  explicit GridError(const TensorStatistics& statistics);

  // Sum over all finite values of (x - quantized x)^2.
  double total(const QuantParams& params) const;
  double square_sum() const { return square_sum_; }  // of x^2
  double count() const { return count_; }            // of finite values, zeros too

 private:
  struct Side {
    double width = 0;
    std::vector<double> n, first, second;  // sums of 1, c and c^2 before bin k, c its centre in bins
    double error(double scale, int32_t last_level) const;
  };
  static Side prefix_sums(const HistogramSide& side);

  Side positive_, negative_;
  double count_ = 0, square_sum_ = 0;
};

}  // namespace octet
