// What calibration remembers of one tensor, as plain numbers: for files, and for work that is split over
// processes.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/range/fixed_sum.h"

namespace octet {

// Counts of |x| in bins of equal width over [0, 2^exponent): bin k holds k <= |x| / width < k + 1.
struct HistogramSide {
  static constexpr int kBins = 4096;

  int exponent = 0;  // the smallest power of two above the side's largest |x|, at least kSmallestExponent
  std::vector<uint64_t> counts;  // up to the last bin that is not empty; none: the side is empty

  static constexpr int kSmallestExponent = -100;
  bool empty() const { return counts.empty(); }
  double width() const;  // of one bin: 2^exponent / kBins

  friend bool operator==(const HistogramSide&, const HistogramSide&) = default;
};

// The extremes of one sample (an image).
struct SampleExtremes {
  int64_t sample = 0;
  float min = 0;
  float max = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes it for a comparison with 0
  friend auto operator<=>(const SampleExtremes&, const SampleExtremes&) = default;
};

// Sums over samples of each sample's extremes and of their squares.
struct ExtremeSums {
  FixedSum min, min_square, max, max_square;
  friend bool operator==(const ExtremeSums&, const ExtremeSums&) = default;
};

// One channel over all samples, of finite values only.
struct ChannelStatistics {
  uint64_t count = 0;    // values
  uint64_t samples = 0;  // samples that had a value
  float min = 0;         // of no meaning without values, like max
  float max = 0;
  FixedSum sum, square;
  ExtremeSums extremes;
  friend bool operator==(const ChannelStatistics&, const ChannelStatistics&) = default;
};

// Equal data gives an equal StatisticsData, whatever its order and however it was split. Min, max, sums and
// histograms are of finite values; exact zeros are counted apart from the histogram.
struct StatisticsData {
  uint64_t nan = 0;
  uint64_t infinite = 0;
  uint64_t zero = 0;
  uint64_t samples = 0;  // with at least one finite value
  float min = 0;         // of no meaning without finite values, like max
  float max = 0;
  HistogramSide positive, negative;
  ExtremeSums extremes;
  std::vector<SampleExtremes> per_sample;   // sorted by sample
  std::vector<ChannelStatistics> channels;  // empty: not wanted
  friend bool operator==(const StatisticsData&, const StatisticsData&) = default;
};

}  // namespace octet
