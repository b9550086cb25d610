#include "quant/range/grid_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/range/range.h"

namespace octet {
namespace {

constexpr double kUniformVariance = 1.0 / 12;  // of a uniform distribution of width 1

}  // namespace

GridError::Side GridError::prefix_sums(const HistogramSide& side, std::span<const double> weights) {
  Side result;
  const size_t bins = side.counts.size();
  result.width = side.width();
  result.n.resize(bins + 1);
  result.first.resize(bins + 1);
  result.second.resize(bins + 1);
  for (size_t k = 0; k < bins; ++k) {
    const double n = static_cast<double>(side.counts[k]) * (weights.empty() ? 1 : weights[k]),
                 centre = static_cast<double>(k) + 0.5;
    result.n[k + 1] = result.n[k] + n;
    result.first[k + 1] = result.first[k] + n * centre;
    result.second[k + 1] = result.second[k] + n * centre * centre;
  }
  return result;
}

GridError::GridError(const TensorStatistics& statistics) : GridError(statistics, {}, {}) {}

GridError::GridError(const TensorStatistics& statistics, std::span<const double> positive,
                     std::span<const double> negative)
    : positive_(prefix_sums(statistics.positive(), positive)),
      negative_(prefix_sums(statistics.negative(), negative)),
      count_(static_cast<double>(statistics.finite())) {
  for (const Side* side : {&positive_, &negative_})
    square_sum_ += (side->second.back() + kUniformVariance * side->n.back()) * side->width * side->width;
}

// Levels 0, scale, 2 scale ... last_level * scale on one side of zero.
double GridError::Side::error(double scale, int32_t last_level) const {
  const size_t bins = n.size() - 1;
  if (bins == 0) return 0;
  const double step = scale / width;  // in bins
  const double last_bin = static_cast<double>(bins);
  const auto cell = [&](size_t begin, size_t end, double level) {
    return second[end] - second[begin] - 2 * level * (first[end] - first[begin]) +
           level * level * (n[end] - n[begin]);
  };
  const auto bin_after = [&](double position) {
    return static_cast<size_t>(std::clamp(std::ceil(position - 0.5), 0.0, last_bin));
  };
  double sum = 0;
  if (step < 1) {                                                       // several levels in one bin
    const size_t clipped = bin_after((last_level + 0.5) * step + 0.5);  // whole bins only
    sum = n[clipped] * step * step * kUniformVariance;
    if (clipped < bins)
      sum += cell(clipped, bins, last_level * step) + (n[bins] - n[clipped]) * kUniformVariance;
  } else {
    size_t begin = 0;
    for (int32_t level = 0; begin < bins; ++level) {
      const size_t end = level >= last_level ? bins : std::max(begin, bin_after((level + 0.5) * step));
      sum += cell(begin, end, level * step);
      begin = end;
    }
    sum += n[bins] * kUniformVariance;
  }
  return std::max(sum, 0.0) * width * width;
}

double GridError::total(const QuantParams& params) const {
  const IntLimits limits = int_limits(params.dtype);
  const int32_t zero = params.zero_point[0];
  return positive_.error(params.scale[0], limits.high - zero) +
         negative_.error(params.scale[0], zero - limits.low);
}

double expected_mse(const TensorStatistics& statistics, const QuantParams& params) {
  validate(params, "expected_mse");
  if (statistics.finite() == 0) return 0;
  const GridError error(statistics);
  return error.total(params) / error.count();
}

double expected_sqnr_db(const TensorStatistics& statistics, const QuantParams& params) {
  validate(params, "expected_sqnr_db");
  const GridError error(statistics);
  const double noise = error.total(params);
  if (!(noise > 0)) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(error.square_sum() / noise);
}

}  // namespace octet
