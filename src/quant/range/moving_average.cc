#include "base/error.h"
#include "quant/range/range.h"

namespace octet {

Range moving_average_range(const TensorStatistics& statistics, double weight) {
  if (statistics.finite() == 0) return {};
  const std::vector<SampleExtremes> samples = statistics.per_sample();
  if (samples.size() != statistics.samples())
    fail(ErrorCode::kInvalidArgument,
         "the moving average needs the extremes of each of {} samples, of which {} were kept: calibrate "
         "again, or "
         "choose another method",
         statistics.samples(), samples.size());
  double low = samples.front().min, high = samples.front().max;
  for (const SampleExtremes& sample : samples) {
    low += weight * (sample.min - low);
    high += weight * (sample.max - high);
  }
  return {static_cast<float>(low), static_cast<float>(high)};
}

}  // namespace octet
