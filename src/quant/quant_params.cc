#include "quant/quant_params.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "quant/round.h"

namespace octet {
namespace {

// Smaller scales would have an infinite reciprocal or lose bits.
constexpr double kSmallestScale = std::numeric_limits<float>::min();

float to_scale(double scale) {
  return static_cast<float>(std::max(scale, kSmallestScale));
}

void check_range(Range range) {
  if (!std::isfinite(range.low) || !std::isfinite(range.high) || range.low > range.high)
    fail(ErrorCode::kInvalidArgument, "cannot quantize the range [{}, {}]: it must be finite and ordered",
         range.low, range.high);
}

}  // namespace

IntLimits int_limits(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return {-128, 127};
    case DType::kUInt8:
      return {0, 255};
    case DType::kInt16:
      return {-32768, 32767};
    case DType::kUInt16:
      return {0, 65535};
    case DType::kInt4:
      return {-8, 7};
    case DType::kUInt4:
      return {0, 15};
    default:
      fail(ErrorCode::kInvalidArgument, "cannot quantize to {}: expected a 4-, 8- or 16-bit integer",
           dtype_name(dtype));
  }
}

void validate(const QuantParams& params, const std::string& what) {
  const IntLimits limits = int_limits(params.dtype);
  if (params.axis < -1) fail(ErrorCode::kInvalidArgument, "{}: negative axis {}", what, params.axis);
  if (params.scale.size() != params.zero_point.size())
    fail(ErrorCode::kInvalidArgument, "{}: {} scales but {} zero-points", what, params.scale.size(),
         params.zero_point.size());
  if (params.scale.empty()) fail(ErrorCode::kInvalidArgument, "{}: no scale", what);
  if (!params.per_channel() && params.scale.size() != 1)
    fail(ErrorCode::kInvalidArgument, "{}: {} scales but no axis", what, params.scale.size());
  for (size_t i = 0; i < params.scale.size(); ++i) {
    if (!std::isfinite(params.scale[i]) || !(params.scale[i] > 0))
      fail(ErrorCode::kInvalidArgument, "{}: scale {} is {}, expected a finite positive number", what, i,
           params.scale[i]);
    if (params.zero_point[i] < limits.low || params.zero_point[i] > limits.high)
      fail(ErrorCode::kInvalidArgument, "{}: zero-point {} is {}, expected {} to {} for {}", what, i,
           params.zero_point[i], limits.low, limits.high, dtype_name(params.dtype));
  }
}

QuantParams affine_params(Range range, DType dtype) {
  check_range(range);
  const IntLimits limits = int_limits(dtype);
  const double low = std::min(0.0, static_cast<double>(range.low));
  const double high = std::max(0.0, static_cast<double>(range.high));
  if (low == high) return {dtype, -1, {1.0f}, {std::clamp(0, limits.low, limits.high)}};
  const float scale = to_scale((high - low) / (limits.high - limits.low));
  const double zero = std::nearbyint(limits.low - low / static_cast<double>(scale));
  const double clamped = std::clamp(zero, static_cast<double>(limits.low), static_cast<double>(limits.high));
  return {dtype, -1, {scale}, {static_cast<int32_t>(clamped)}};
}

QuantParams symmetric_params(Range range, DType dtype) {
  check_range(range);
  const IntLimits limits = int_limits(dtype);
  const int32_t zero_point = limits.low == 0 ? (limits.high + 1) / 2 : 0;
  const double extreme =
      std::max(std::fabs(static_cast<double>(range.low)), std::fabs(static_cast<double>(range.high)));
  const float scale = extreme == 0 ? 1.0f : to_scale(extreme / (limits.high - zero_point));
  return {dtype, -1, {scale}, {zero_point}};
}

int32_t quantize_one(float x, float scale, int32_t zero_point, IntLimits limits) {
  return saturate_round(x / scale, limits.low - zero_point, limits.high - zero_point) + zero_point;
}

}  // namespace octet
