// One streaming pass over a tensor's values, from which every range method works.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "quant/range/scan.h"
#include "quant/range/statistics_data.h"

namespace octet {

struct StatisticsOptions {
  // Above 0: also statistics of each channel, the last and fastest dimension of the data (channels-last). A
  // sample is a multiple of it.
  int channels = 0;
  // Remember each sample's extremes (16 bytes a sample); only the moving average needs them.
  bool per_sample = true;
};

// Mean and standard deviation (of the population) over samples of each sample's extremes.
struct ExtremeMoments {
  double min_mean = 0, min_deviation = 0, max_mean = 0, max_deviation = 0;
};
ExtremeMoments extreme_moments(const ExtremeSums& sums, uint64_t samples);

// Observer of one tensor. Its result depends only on which values belong to which sample (and, for channels,
// on their order within it), never on the order of samples, on how a sample is cut into observe() calls, or
// on how samples are split over objects that are merged later, nor on the instruction set: all counts are
// integers; the width of a bin is a function of the largest |x| of its side (4096 bins over [0, 2^e)), so
// that a histogram grows by adding pairs of bins exactly; sums over a sample are doubles in a fixed order,
// rounded to fixed point when the sample ends. The order of samples matters to the moving average alone,
// which takes it from their indices.
//
// Memory: 64 KiB, 200 bytes a channel and 16 bytes a sample. Threads: one at a time; give each worker its own
// and merge.
class TensorStatistics {
 public:
  explicit TensorStatistics(StatisticsOptions options = {});

  // One sample: begin, its values in any number of pieces, end. `sample` is its place in the data set.
  // end_sample throws Error when the sample is not a multiple of the channels.
  void begin_sample(int64_t sample);
  void observe(std::span<const float> values);
  // `rows` rows of `length` values, `stride` >= length apart: a channels-last tensor with padded or foreign
  // channels between.
  void observe_rows(const float* values, int64_t rows, int64_t length, int64_t stride);
  void end_sample();
  // All of it.
  void observe_sample(int64_t sample, std::span<const float> values);

  // Adds what `other` saw. Neither may be inside a sample; channels must agree.
  void merge(const TensorStatistics& other);

  // Everything that was seen, and back. from_data throws Error where the numbers contradict each other.
  StatisticsData data() const;
  static TensorStatistics from_data(const StatisticsData& data, bool per_sample = true);

  bool by_channel() const { return options_.channels > 0; }
  uint64_t count() const { return finite_ + nan_ + infinite_; }
  uint64_t finite() const { return finite_; }
  uint64_t nan() const { return nan_; }
  uint64_t infinite() const { return infinite_; }
  uint64_t zeros() const { return zero_; }
  uint64_t samples() const { return samples_; }
  float min() const { return min_; }  // 0 without finite values
  float max() const { return max_; }
  HistogramSide positive() const { return side(kPositive); }
  HistogramSide negative() const { return side(kNegative); }
  const ExtremeSums& extremes() const { return extremes_; }
  std::vector<SampleExtremes> per_sample() const;  // sorted by sample
  const std::vector<ChannelStatistics>& channels() const { return channels_; }

 private:
  enum Side { kPositive = 0, kNegative = 1 };

  void observe_block(const float* values, int count);
  void accumulate(const float* values, int count, bool finite);
  void finish_channels();
  void grow(Side which, int exponent);
  HistogramSide side(Side which) const;
  float bins_per_unit(Side which) const;
  void include(float low, float high);

  StatisticsOptions options_;
  const scan::Functions* functions_;

  uint64_t finite_ = 0, nan_ = 0, infinite_ = 0, zero_ = 0, samples_ = 0;
  float min_ = 0, max_ = 0;
  int exponent_[2] = {HistogramSide::kSmallestExponent, HistogramSide::kSmallestExponent};
  std::vector<uint64_t>
      bins_;  // positive side, negative side, skipped values; allocated with the first value
  ExtremeSums extremes_;
  std::vector<SampleExtremes> per_sample_;
  std::vector<ChannelStatistics> channels_;

  // The sample under way.
  bool open_ = false;
  int64_t sample_ = 0;
  int64_t position_ = 0;  // values so far
  scan::Summary summary_;
  std::vector<double> lane_sum_,
      lane_square_;  // lane = position modulo the lanes, a multiple of the channels
  std::vector<float> lane_min_, lane_max_;
  std::vector<uint64_t> not_finite_;  // per channel
};

// What is wrong with a tensor's values, for a report: "never produced", "12 NaN", "every value is 0" ...;
// empty when nothing is.
std::string statistics_problem(const TensorStatistics& statistics);

}  // namespace octet
