// Squared error of quantizing a histogram, in time proportional to the grid's levels.
#pragma once

#include <span>
#include <vector>

#include "quant/quant_params.h"
#include "quant/range/range.h"
#include "quant/range/statistics.h"

namespace octet {

// Each bin's values stand at its centre, spread over its width; exact zeros cost nothing (every grid holds
// zero). Prefix sums of the moments of each side give the error of a level's cell by three subtractions.
class GridError {
 public:
  explicit GridError(const TensorStatistics& statistics);
  // The same with a weight for each bin of either side; count() stays the plain one.
  GridError(const TensorStatistics& statistics, std::span<const double> positive,
            std::span<const double> negative);

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
  // Without weights every bin has 1.
  static Side prefix_sums(const HistogramSide& side, std::span<const double> weights);

  Side positive_, negative_;
  double count_ = 0, square_sum_ = 0;
};

// The search of mse_range() with any error over the histogram of these statistics.
Range least_error_range(const TensorStatistics& statistics, const GridError& error,
                        const RangeOptions& options);

}  // namespace octet
