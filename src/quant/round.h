// Rounding of the integer contract: to nearest, ties to even, then saturation. Independent of the
// floating-point environment's libm.
#pragma once

#include <cstdint>

namespace octet {

// Nearest integer, ties to even (needs the default rounding mode). NaN and infinities come back unchanged;
// -0.4 gives +0 or -0.
inline float round_half_even(float x) {
  constexpr float kIntegersOnly = 8388608.0f;  // 2^23: no fraction from here on
  if (!(x > -kIntegersOnly && x < kIntegersOnly)) return x;
  return x < 0 ? (x - kIntegersOnly) + kIntegersOnly : (x + kIntegersOnly) - kIntegersOnly;
}

// round_half_even(x) limited to [low, high]; NaN gives low. Limits must be exact floats (below 2^24 in size).
inline int32_t saturate_round(float x, int32_t low, int32_t high) {
  if (!(x > static_cast<float>(low))) return low;
  if (x >= static_cast<float>(high)) return high;
  return static_cast<int32_t>(round_half_even(x));
}

}  // namespace octet
