// One value of all lanes of a vector, combined in halves: lane i with lane i + n / 2, and so on. Internal
// linkage; for files compiled for AVX2 or more.
#pragma once

#include "kernels/simd/function_body.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

OCTET_FORCE_INLINE float sum_of_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

OCTET_FORCE_INLINE float largest_lane(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

}  // namespace
}  // namespace octet::kernels
