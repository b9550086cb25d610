#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "quant/range/range.h"

namespace octet {
namespace {

constexpr double kStarts[] = {1.0, 0.8, 0.6, 0.4, 0.2};
constexpr int kMostRounds = 100;
constexpr double kRest = 1e-9;  // relative change of the scale that is none

struct Bin {
  double centre, count;
};

std::vector<Bin> bins_of(const TensorStatistics& statistics) {
  std::vector<Bin> bins;
  const auto add = [&](const HistogramSide& side, double sign) {
    for (size_t k = 0; k < side.counts.size(); ++k)
      if (side.counts[k] > 0)
        bins.push_back(
            {sign * (static_cast<double>(k) + 0.5) * side.width(), static_cast<double>(side.counts[k])});
  };
  add(statistics.positive(), 1);
  add(statistics.negative(), -1);
  return bins;
}

// Levels s * r, first <= r <= last.
struct Grid {
  double scale = 0, first = 0, last = 0;
};

struct Fit {
  double xr = 0, rr = 0, error = 0;  // <x, r>, <r, r>, |x - s r|^2
};

Fit fit(const std::vector<Bin>& bins, const Grid& grid) {
  Fit result;
  const double inverse = 1 / grid.scale;
  for (const Bin& bin : bins) {
    const double r = std::clamp(std::nearbyint(bin.centre * inverse), grid.first, grid.last);
    const double error = bin.centre - grid.scale * r;
    result.xr += bin.count * bin.centre * r;
    result.rr += bin.count * r * r;
    result.error += bin.count * error * error;
  }
  return result;
}

// Alternates until the grid rests; returns its error.
double alternate(const std::vector<Bin>& bins, Grid& grid, bool affine) {
  Fit now = fit(bins, grid);
  for (int round = 0; round < kMostRounds && now.rr > 0; ++round) {
    const double before = grid.scale;
    grid.scale = now.xr / now.rr;
    now = fit(bins, grid);
    bool moved = false;
    for (const double step : {-1.0, 1.0}) {
      const Grid shifted{grid.scale, grid.first + step, grid.last + step};
      if (!affine || shifted.first > 0 || shifted.last < 0) continue;
      const Fit other = fit(bins, shifted);
      if (!(other.error < now.error)) continue;
      grid = shifted;
      now = other;
      moved = true;
    }
    if (!moved && std::fabs(grid.scale - before) <= kRest * before) break;
  }
  return now.error;
}

}  // namespace

Range admm_range(const TensorStatistics& statistics, const RangeOptions& options) {
  const float low = statistics.min(), high = statistics.max();
  const IntLimits limits = int_limits(options.dtype);
  if (low == high || limits.high - limits.low >= HistogramSide::kBins) return {low, high};
  const std::vector<Bin> bins = bins_of(statistics);
  const double extreme = std::max(-static_cast<double>(low), static_cast<double>(high));
  Range best{low, high};
  double least = std::numeric_limits<double>::infinity();
  for (const double start : kStarts) {
    const Range part{static_cast<float>(low * start), static_cast<float>(high * start)};
    const QuantParams params = range_params(part, options);
    Grid grid{params.scale[0], static_cast<double>(limits.low - params.zero_point[0]),
              static_cast<double>(limits.high - params.zero_point[0])};
    if (options.symmetric) grid.first = -grid.last;
    const double error = alternate(bins, grid, !options.symmetric);
    if (!(error < least)) continue;
    least = error;
    double bottom = grid.scale * grid.first, top = grid.scale * grid.last;
    bottom = std::max(bottom, options.symmetric ? -extreme : std::min(0.0, static_cast<double>(low)));
    top = std::min(top, options.symmetric ? extreme : std::max(0.0, static_cast<double>(high)));
    best = {static_cast<float>(bottom), static_cast<float>(top)};
  }
  return best;
}

}  // namespace octet
