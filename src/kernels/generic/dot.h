// Sum of products in the fixed order of the contract (see sum_lanes).
#pragma once

#include <cstdint>

namespace octet::kernels::generic {

inline float dot_lanes(const float* a, const float* b, int64_t count) noexcept {
  float lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int l = 0; l < 16; ++l) lanes[l] += a[i + l] * b[i + l];
  for (int l = 0; i + l < count; ++l) lanes[l] += a[i + l] * b[i + l];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

}  // namespace octet::kernels::generic
