#include "quant/range/range.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace octet {
namespace {

Range symmetric(Range range) {
  const float extreme = std::max(std::fabs(range.low), std::fabs(range.high));
  return {-extreme, extreme};
}

Range apply(RangeMethod method, const TensorStatistics& statistics, const RangeOptions& options,
            std::span<const double> energies) {
  switch (method) {
    case RangeMethod::kMinMax:
      return minmax_range(statistics);
    case RangeMethod::kMovingAverage:
      return moving_average_range(statistics, options.moving_average);
    case RangeMethod::kPercentile:
      return percentile_range(statistics, options.percentile);
    case RangeMethod::kMse:
      return mse_range(statistics, options);
    case RangeMethod::kEntropy:
      return entropy_range(statistics, options);
    case RangeMethod::kAdmm:
      return admm_range(statistics, options);
    case RangeMethod::kAciq:
      return aciq_range(statistics, options);
    case RangeMethod::kOutput:
      return output_range(statistics, options, energies);
  }
  fail(ErrorCode::kInternal, "range method {}", static_cast<int>(method));
}

}  // namespace

std::string_view range_method_name(RangeMethod method) {
  switch (method) {
    case RangeMethod::kMinMax:
      return "minmax";
    case RangeMethod::kMovingAverage:
      return "moving-average";
    case RangeMethod::kPercentile:
      return "percentile";
    case RangeMethod::kMse:
      return "mse";
    case RangeMethod::kEntropy:
      return "entropy";
    case RangeMethod::kAdmm:
      return "admm";
    case RangeMethod::kAciq:
      return "aciq";
    case RangeMethod::kOutput:
      return "output";
  }
  return "?";
}

RangeMethod parse_range_method(std::string_view name) {
  std::string known;
  for (const RangeMethod method : kRangeMethods) {
    if (name == range_method_name(method)) return method;
    if (!known.empty()) known += ", ";
    known += range_method_name(method);
  }
  fail(ErrorCode::kInvalidArgument, "unknown calibration method '{}': expected one of {}", name, known);
}

void validate(const RangeOptions& options) {
  int_limits(options.dtype);
  if (!(options.percentile >= 50 && options.percentile <= 100))
    fail(ErrorCode::kInvalidArgument, "percentile {}: expected 50 to 100, such as 99.99", options.percentile);
  if (!(options.moving_average > 0 && options.moving_average <= 1))
    fail(ErrorCode::kInvalidArgument, "moving average weight {}: expected above 0 and at most 1",
         options.moving_average);
}

Range choose_range(RangeMethod method, const TensorStatistics& statistics, const RangeOptions& options,
                   std::span<const double> energies) {
  validate(options);
  if (statistics.finite() == 0) return {};
  const Range range = apply(method, statistics, options, energies);
  return options.symmetric ? symmetric(range) : range;
}

QuantParams range_params(Range range, const RangeOptions& options) {
  return options.symmetric ? symmetric_params(range, options.dtype) : affine_params(range, options.dtype);
}

}  // namespace octet
