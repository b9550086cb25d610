// How real numbers map to integers: real = (integer - zero_point) * scale.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace octet {

// Affine parameters of one tensor, per tensor (axis -1, one entry) or per channel (one entry per index of
// `axis`).
struct QuantParams {
  DType dtype = DType::kUInt8;
  int axis = -1;
  std::vector<float> scale;         // each finite and > 0
  std::vector<int32_t> zero_point;  // same length as scale, within the range of dtype

  bool per_channel() const { return axis >= 0; }
  friend bool operator==(const QuantParams&, const QuantParams&) = default;
};

// A closed interval of real values.
struct Range {
  float low = 0;
  float high = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

// Smallest and largest integer of an 8- or 4-bit or 16-bit integer dtype.
struct IntLimits {
  int32_t low, high;
};
IntLimits int_limits(DType dtype);

// Throws Error, naming `what`, unless scales are finite and positive, zero-points in range and lengths equal.
void validate(const QuantParams& params, const std::string& what);

// Affine parameters whose grid holds zero exactly and covers `range` (widened to contain 0). A range of zero
// width gives a scale that represents it exactly: |value| / (levels), or 1 when the value is 0.
QuantParams affine_params(Range range, DType dtype);

// Symmetric parameters: zero-point 0 for signed dtypes and scale = max(|low|, |high|) / max_int (127 for
// int8, so that the grid is
// [-127, 127]); 128 for uint8.
QuantParams symmetric_params(Range range, DType dtype);

// saturate(round_half_even(x / scale) + zero_point): ONNX QuantizeLinear.
int32_t quantize_one(float x, float scale, int32_t zero_point, IntLimits limits);

}  // namespace octet
