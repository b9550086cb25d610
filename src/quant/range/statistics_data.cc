// Statistics from plain numbers, which may come from a file; and what to say about strange ones.
#include "quant/range/statistics_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/range/statistics.h"

namespace octet {
namespace {

[[noreturn]] void contradiction(const std::string& what) {
  fail(ErrorCode::kBadFile, "statistics contradict themselves: {}", what);
}

// Checks one side against its largest |x| (0: none) and returns how many values it has.
uint64_t check_side(const HistogramSide& side, float largest, const char* name) {
  if (side.counts.size() > HistogramSide::kBins)
    contradiction(fmt::format("{} bins on the {} side", side.counts.size(), name));
  if (side.empty() != !(largest > 0))
    contradiction(fmt::format("the {} side and the extremes disagree", name));
  if (side.empty()) return 0;
  int exponent;
  std::frexp(largest, &exponent);
  exponent = std::max(exponent, HistogramSide::kSmallestExponent);
  const double last = std::floor(static_cast<double>(largest) / side.width());
  if (side.exponent != exponent || last + 1 != static_cast<double>(side.counts.size()) ||
      side.counts.back() == 0)
    contradiction(fmt::format("the {} side does not end at its extreme {}", name, largest));
  uint64_t total = 0;
  for (const uint64_t n : side.counts)
    if (__builtin_add_overflow(total, n, &total))
      contradiction(fmt::format("too many values on the {} side", name));
  return total;
}

}  // namespace

TensorStatistics TensorStatistics::from_data(const StatisticsData& data, bool per_sample) {
  if (!std::isfinite(data.min) || !std::isfinite(data.max) || data.min > data.max)
    contradiction(fmt::format("min {}, max {}", data.min, data.max));
  const uint64_t positive = check_side(data.positive, data.max, "positive");
  const uint64_t negative = check_side(data.negative, -data.min, "negative");
  for (const ChannelStatistics& channel : data.channels)
    if (channel.count > 0 &&
        !(std::isfinite(channel.min) && std::isfinite(channel.max) && channel.min <= channel.max))
      contradiction(fmt::format("channel with min {}, max {}", channel.min, channel.max));
  TensorStatistics result({static_cast<int>(data.channels.size()), per_sample});
  uint64_t finite = data.zero;
  if (__builtin_add_overflow(finite, positive, &finite) || __builtin_add_overflow(finite, negative, &finite))
    contradiction("too many values");
  if ((finite == 0) != (data.samples == 0))
    contradiction("samples without values, or values without samples");
  result.finite_ = finite;
  result.nan_ = data.nan;
  result.infinite_ = data.infinite;
  result.zero_ = data.zero;
  result.samples_ = data.samples;
  result.min_ = data.min;
  result.max_ = data.max;
  if (positive + negative > 0) {
    result.bins_.resize(scan::kSkip + scan::kSkipBins);
    std::copy(data.positive.counts.begin(), data.positive.counts.end(), result.bins_.begin());
    std::copy(data.negative.counts.begin(), data.negative.counts.end(),
              result.bins_.begin() + HistogramSide::kBins);
    if (positive > 0) result.exponent_[kPositive] = data.positive.exponent;
    if (negative > 0) result.exponent_[kNegative] = data.negative.exponent;
  }
  result.extremes_ = data.extremes;
  if (per_sample) result.per_sample_ = data.per_sample;
  result.channels_ = data.channels;
  return result;
}

std::string statistics_problem(const TensorStatistics& statistics) {
  if (statistics.count() == 0) return "never produced";
  std::string text;
  const auto add = [&](const std::string& part) { text += text.empty() ? part : ", " + part; };
  if (statistics.nan() > 0)
    add(statistics.nan() == statistics.count() ? "every value is NaN"
                                               : fmt::format("{} NaN", statistics.nan()));
  if (statistics.infinite() > 0)
    add(statistics.infinite() == statistics.count() ? "every value is infinite"
                                                    : fmt::format("{} infinite", statistics.infinite()));
  if (statistics.finite() > 0 && statistics.min() == statistics.max())
    add(fmt::format("every {}value is {}", text.empty() ? "" : "finite ", statistics.min()));
  return text;
}

}  // namespace octet
