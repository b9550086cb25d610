// Softmax down kSoftmaxColumns columns at once, over the operations of function_avx2.h or function_avx512.h.
// Internal linkage; only for files compiled for that instruction set.
#pragma once

#include <limits>

#include "kernels/simd/function.h"
#include "kernels/simd/function_body.h"

namespace octet::kernels {
namespace {

// O also has load and store of kLanes floats.
template <class O, int kLanes>
inline void softmax_columns_body(const float* x, float* y, int64_t n, int64_t stride) {
  using F = typename O::F;
  constexpr int kVectors = kSoftmaxColumns / kLanes;
  F high[kVectors], lanes[16][kVectors];
  for (int v = 0; v < kVectors; ++v) high[v] = O::set(-std::numeric_limits<float>::infinity());
  for (int l = 0; l < 16; ++l)
    for (int v = 0; v < kVectors; ++v) lanes[l][v] = O::set(0.0f);
  for (int64_t i = 0; i < n; ++i)
    for (int v = 0; v < kVectors; ++v) high[v] = O::max(high[v], O::load(x + i * stride + v * kLanes));
  for (int64_t i = 0; i < n; ++i)
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = i * stride + v * kLanes;
      const F power = exp_value<O>(O::sub(O::load(x + at), high[v]));
      O::store(y + at, power);
      lanes[i % 16][v] = O::add(lanes[i % 16][v], power);
    }
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l)
      for (int v = 0; v < kVectors; ++v) lanes[l][v] = O::add(lanes[l][v], lanes[l + half][v]);
  for (int64_t i = 0; i < n; ++i)
    for (int v = 0; v < kVectors; ++v) {
      float* out = y + i * stride + v * kLanes;
      O::store(out, O::div(O::load(out), lanes[0][v]));
    }
}

}  // namespace
}  // namespace octet::kernels
