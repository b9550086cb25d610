#include "quant/range/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "base/error.h"

namespace octet {
namespace {

constexpr int kBins = HistogramSide::kBins;
static_assert(kBins == scan::kBins);
constexpr int64_t kFewestLanes = 64;
constexpr int kLog2Bins = 12;
static_assert(1 << kLog2Bins == kBins);

// The smallest power of two above a positive finite number, but at least the smallest that a histogram has.
int exponent_above(float size) {
  int exponent;
  std::frexp(size, &exponent);
  return std::max(exponent, HistogramSide::kSmallestExponent);
}

double deviation(double mean, double mean_square) {
  return std::sqrt(std::max(0.0, mean_square - mean * mean));
}

void add_extremes(ExtremeSums& sums, float low, float high) {
  sums.min.add(low);
  sums.min_square.add(static_cast<double>(low) * low);
  sums.max.add(high);
  sums.max_square.add(static_cast<double>(high) * high);
}

void merge_extremes(ExtremeSums& sums, const ExtremeSums& other) {
  sums.min.add(other.min);
  sums.min_square.add(other.min_square);
  sums.max.add(other.max);
  sums.max_square.add(other.max_square);
}

}  // namespace

double HistogramSide::width() const {
  return std::ldexp(1.0, exponent - kLog2Bins);
}

ExtremeMoments extreme_moments(const ExtremeSums& sums, uint64_t samples) {
  ExtremeMoments moments;
  if (samples == 0) return moments;
  const double n = static_cast<double>(samples);
  moments.min_mean = sums.min.value() / n;
  moments.max_mean = sums.max.value() / n;
  moments.min_deviation = deviation(moments.min_mean, sums.min_square.value() / n);
  moments.max_deviation = deviation(moments.max_mean, sums.max_square.value() / n);
  return moments;
}

TensorStatistics::TensorStatistics(StatisticsOptions options)
    : options_(options), functions_(&scan::functions(current_isa())) {
  if (options.channels < 0) fail(ErrorCode::kInvalidArgument, "{} channels", options.channels);
  if (options.channels == 0) return;
  const int64_t c = options.channels;
  const size_t lanes = static_cast<size_t>(round_up(std::max(c, kFewestLanes), c));
  channels_.resize(static_cast<size_t>(c));
  not_finite_.resize(static_cast<size_t>(c));
  lane_sum_.resize(lanes);
  lane_square_.resize(lanes);
  lane_min_.resize(lanes);
  lane_max_.resize(lanes);
}

void TensorStatistics::begin_sample(int64_t sample) {
  if (open_) fail(ErrorCode::kInternal, "sample {} begins inside sample {}", sample, sample_);
  open_ = true;
  sample_ = sample;
  position_ = 0;
  summary_ = {};
  std::fill(lane_sum_.begin(), lane_sum_.end(), 0.0);
  std::fill(lane_square_.begin(), lane_square_.end(), 0.0);
  std::fill(lane_min_.begin(), lane_min_.end(), std::numeric_limits<float>::infinity());
  std::fill(lane_max_.begin(), lane_max_.end(), -std::numeric_limits<float>::infinity());
  std::fill(not_finite_.begin(), not_finite_.end(), 0);
}

void TensorStatistics::observe(std::span<const float> values) {
  if (!open_) fail(ErrorCode::kInternal, "values outside a sample");
  for (size_t i = 0; i < values.size(); i += scan::kBlock)
    observe_block(values.data() + i, static_cast<int>(std::min<size_t>(scan::kBlock, values.size() - i)));
}

void TensorStatistics::observe_rows(const float* values, int64_t rows, int64_t length, int64_t stride) {
  if (length == stride) return observe({values, static_cast<size_t>(rows * length)});
  if (length >= scan::kBlock) {
    for (int64_t r = 0; r < rows; ++r) observe({values + r * stride, static_cast<size_t>(length)});
    return;
  }
  float block[scan::kBlock];
  const int64_t at_once = scan::kBlock / std::max<int64_t>(1, length);
  for (int64_t r = 0; r < rows; r += at_once) {
    const int64_t n = std::min(at_once, rows - r);
    for (int64_t i = 0; i < n; ++i) std::copy_n(values + (r + i) * stride, length, block + i * length);
    observe({block, static_cast<size_t>(n * length)});
  }
}

void TensorStatistics::observe_block(const float* values, int count) {
  scan::Summary block;
  functions_->summarize(values, count, block);
  summary_.nan += block.nan;
  summary_.infinite += block.infinite;
  nan_ += static_cast<uint64_t>(block.nan);
  infinite_ += static_cast<uint64_t>(block.infinite);
  zero_ += static_cast<uint64_t>(block.zero);
  const int finite = count - block.nan - block.infinite;
  finite_ += static_cast<uint64_t>(finite);
  if (finite > 0) {
    summary_.min_key = std::min(summary_.min_key, block.min_key);
    summary_.max_key = std::max(summary_.max_key, block.max_key);
  }
  if (finite > block.zero) {
    if (bins_.empty()) bins_.resize(scan::kSkip + scan::kSkipBins);
    const float low = scan::from_key(block.min_key), high = scan::from_key(block.max_key);
    if (high > 0) grow(kPositive, exponent_above(high));
    if (low < 0) grow(kNegative, exponent_above(-low));
    uint16_t index[scan::kBlock + scan::kIndexSlack];
    const int binned =
        functions_->index(values, count, bins_per_unit(kPositive), bins_per_unit(kNegative), index);
    uint64_t* bins = bins_.data();
    for (int i = 0; i < binned; ++i) ++bins[index[i]];
  }
  if (options_.channels > 0) accumulate(values, count, finite == count);
  position_ += count;
}

void TensorStatistics::accumulate(const float* values, int count, bool finite) {
  const int64_t lanes = static_cast<int64_t>(lane_sum_.size());
  int64_t lane = position_ % lanes;
  if (!finite) {
    for (int i = 0; i < count; ++i) {
      const size_t j = static_cast<size_t>((lane + i) % lanes);
      if (std::isfinite(values[i]))
        functions_->accumulate(values + i, 1,
                               {&lane_sum_[j], &lane_square_[j], &lane_min_[j], &lane_max_[j]});
      else
        ++not_finite_[j % channels_.size()];
    }
    return;
  }
  for (int64_t i = 0; i < count;) {
    const int64_t n = std::min(count - i, lanes - lane);
    functions_->accumulate(values + i, n,
                           {&lane_sum_[static_cast<size_t>(lane)], &lane_square_[static_cast<size_t>(lane)],
                            &lane_min_[static_cast<size_t>(lane)], &lane_max_[static_cast<size_t>(lane)]});
    i += n;
    lane = 0;
  }
}

void TensorStatistics::end_sample() {
  if (!open_) fail(ErrorCode::kInternal, "a sample ends that did not begin");
  open_ = false;
  if (options_.channels > 0) finish_channels();
  if (summary_.min_key > summary_.max_key) return;
  // Adding 0 turns -0 into 0.
  const float low = scan::from_key(summary_.min_key) + 0.0f, high = scan::from_key(summary_.max_key) + 0.0f;
  include(low, high);
  ++samples_;
  add_extremes(extremes_, low, high);
  if (options_.per_sample) per_sample_.push_back({sample_, low, high});
}

void TensorStatistics::finish_channels() {
  const size_t c = channels_.size(), lanes = lane_sum_.size();
  if (position_ % options_.channels != 0)
    fail(ErrorCode::kInternal, "{} values in sample {} are not a multiple of {} channels", position_, sample_,
         options_.channels);
  const uint64_t pixels = static_cast<uint64_t>(position_) / c;
  for (size_t i = 0; i < c; ++i) {
    const uint64_t count = pixels - not_finite_[i];
    if (count == 0) continue;
    double sum = 0, square = 0;
    float low = lane_min_[i], high = lane_max_[i];
    for (size_t j = i; j < lanes; j += c) {
      sum += lane_sum_[j];
      square += lane_square_[j];
      low = std::min(low, lane_min_[j]);
      high = std::max(high, lane_max_[j]);
    }
    low += 0.0f;
    high += 0.0f;
    ChannelStatistics& channel = channels_[i];
    channel.min = channel.count == 0 ? low : std::min(channel.min, low);
    channel.max = channel.count == 0 ? high : std::max(channel.max, high);
    channel.count += count;
    ++channel.samples;
    channel.sum.add(sum);
    channel.square.add(square);
    add_extremes(channel.extremes, low, high);
  }
}

void TensorStatistics::observe_sample(int64_t sample, std::span<const float> values) {
  begin_sample(sample);
  observe(values);
  end_sample();
}

void TensorStatistics::include(float low, float high) {
  min_ = samples_ == 0 ? low : std::min(min_, low);
  max_ = samples_ == 0 ? high : std::max(max_, high);
}

float TensorStatistics::bins_per_unit(Side which) const {
  return std::ldexp(1.0f, kLog2Bins - exponent_[which]);
}

void TensorStatistics::grow(Side which, int exponent) {
  const int steps = exponent - exponent_[which];
  if (steps <= 0) return;
  exponent_[which] = exponent;
  uint64_t* bins = bins_.data() + (which == kNegative ? kBins : 0);
  const int shift = std::min(steps, kLog2Bins);
  for (int k = 1; k < kBins; ++k) {
    const uint64_t n = bins[k];
    bins[k] = 0;
    bins[k >> shift] += n;
  }
}

HistogramSide TensorStatistics::side(Side which) const {
  HistogramSide result;
  if (bins_.empty()) return result;
  const auto first = bins_.begin() + (which == kNegative ? kBins : 0);
  auto last = first + kBins;
  while (last != first && *(last - 1) == 0) --last;
  result.counts.assign(first, last);
  if (!result.counts.empty()) result.exponent = exponent_[which];
  return result;
}

std::vector<SampleExtremes> TensorStatistics::per_sample() const {
  std::vector<SampleExtremes> sorted = per_sample_;
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

void TensorStatistics::merge(const TensorStatistics& other) {
  if (open_ || other.open_) fail(ErrorCode::kInternal, "statistics merged inside a sample");
  if (channels_.size() != other.channels_.size())
    fail(ErrorCode::kInvalidArgument, "cannot merge statistics of {} and of {} channels", channels_.size(),
         other.channels_.size());
  if (other.samples_ > 0) include(other.min_, other.max_);
  finite_ += other.finite_;
  nan_ += other.nan_;
  infinite_ += other.infinite_;
  zero_ += other.zero_;
  samples_ += other.samples_;
  if (!other.bins_.empty()) {
    if (bins_.empty()) bins_.resize(other.bins_.size());
    for (const Side which : {kPositive, kNegative}) {
      grow(which, other.exponent_[which]);
      const int shift = std::min(exponent_[which] - other.exponent_[which], kLog2Bins);
      const size_t first = which == kNegative ? kBins : 0;
      for (size_t k = 0; k < kBins; ++k) bins_[first + (k >> shift)] += other.bins_[first + k];
    }
  }
  merge_extremes(extremes_, other.extremes_);
  if (options_.per_sample)
    per_sample_.insert(per_sample_.end(), other.per_sample_.begin(), other.per_sample_.end());
  for (size_t i = 0; i < channels_.size(); ++i) {
    ChannelStatistics& to = channels_[i];
    const ChannelStatistics& from = other.channels_[i];
    if (from.count == 0) continue;
    to.min = to.count == 0 ? from.min : std::min(to.min, from.min);
    to.max = to.count == 0 ? from.max : std::max(to.max, from.max);
    to.count += from.count;
    to.samples += from.samples;
    to.sum.add(from.sum);
    to.square.add(from.square);
    merge_extremes(to.extremes, from.extremes);
  }
}

StatisticsData TensorStatistics::data() const {
  return {nan_,
          infinite_,
          zero_,
          samples_,
          samples_ > 0 ? min_ : 0,
          samples_ > 0 ? max_ : 0,
          positive(),
          negative(),
          extremes_,
          per_sample(),
          channels_};
}

}  // namespace octet
