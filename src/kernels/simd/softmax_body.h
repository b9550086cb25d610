// Softmax of a row, and down kSoftmaxColumns columns at once, over the operations of function_avx2.h or
// function_avx512.h. Internal linkage; only for files compiled for that instruction set.
#pragma once

#include <algorithm>
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

// What is behind the last 16 elements goes to the first lane for the maximum, and to lanes 0, 1 ... for the
// sum.
template <class O, int kLanes>
inline void softmax_row_body(const float* x, float* y, int64_t n) {
  using F = typename O::F;
  constexpr int kVectors = 16 / kLanes;
  const int64_t whole = n / 16 * 16, rest = n - whole;
  alignas(64) float lanes[16], tail[16] = {};
  F v[kVectors];
  for (int k = 0; k < kVectors; ++k) v[k] = O::set(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < whole; i += 16)
    for (int k = 0; k < kVectors; ++k) v[k] = O::max(v[k], O::load(x + i + k * kLanes));
  for (int k = 0; k < kVectors; ++k) O::store(lanes + k * kLanes, v[k]);
  for (int64_t i = whole; i < n; ++i) lanes[0] = lanes[0] > x[i] ? lanes[0] : x[i];
  const F high = O::set(*std::max_element(lanes, lanes + 16));
  for (int k = 0; k < kVectors; ++k) v[k] = O::set(0.0f);
  for (int64_t i = 0; i < whole; i += 16)
    for (int k = 0; k < kVectors; ++k) {
      const F power = exp_value<O>(O::sub(O::load(x + i + k * kLanes), high));
      O::store(y + i + k * kLanes, power);
      v[k] = O::add(v[k], power);
    }
  for (int k = 0; k < kVectors; ++k) O::store(lanes + k * kLanes, v[k]);
  std::copy_n(x + whole, rest, tail);
  for (int k = 0; k < kVectors; ++k)
    O::store(tail + k * kLanes, exp_value<O>(O::sub(O::load(tail + k * kLanes), high)));
  for (int64_t i = 0; i < rest; ++i) lanes[i] += tail[i];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  const F total = O::set(lanes[0]);
  for (int64_t i = 0; i < whole; i += kLanes) O::store(y + i, O::div(O::load(y + i), total));
  for (int64_t i = 0; i < rest; ++i) y[whole + i] = tail[i] / lanes[0];
}

}  // namespace
}  // namespace octet::kernels
