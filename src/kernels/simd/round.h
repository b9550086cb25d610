// Rounding of an epilogue on one float: the definition of saturate(round_half_even(v)).
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#else
#include <cmath>
#endif

namespace octet::kernels {

// Integer nearest to v, ties to even; |v| < 2^31 and not NaN. Needs the default rounding mode.
static inline int32_t round_half_even(float v) {
#if defined(__SSE2__)
  return _mm_cvtss_si32(_mm_set_ss(v));
#else
  return static_cast<int32_t>(std::nearbyintf(v));
#endif
}

// round_half_even(v) limited to [low, high]; NaN gives low.
static inline int32_t saturate_round(float v, int32_t low, int32_t high) {
  const float l = static_cast<float>(low), h = static_cast<float>(high);
  v = v > l ? v : l;
  v = v < h ? v : h;
  return round_half_even(v);
}

static inline uint8_t saturate_u8(float v, uint8_t low = 0, uint8_t high = 255) {
  return static_cast<uint8_t>(saturate_round(v, low, high));
}

}  // namespace octet::kernels
