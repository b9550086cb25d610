// The loops of fixed_f32.h over vectors of one instruction set (V has F, kFloats, load, store, set and fma).
// Everything has internal linkage: each object file that includes it keeps its own copy.
#pragma once

#include <cstdint>

#include "kernels/float/fixed_f32.h"

namespace octet::kernels {
namespace {

template <class V, int kRows>
inline void fixed_tile(const FixedProduct& c, int64_t row, int64_t column) {
  constexpr int kVectors = static_cast<int>(kFixedBlock) / V::kFloats;
  const int64_t width = c.columns - column < kFixedBlock ? c.columns - column : kFixedBlock;
  const float* a = c.a + row * c.a_stride;
  const float* b = c.b + column;
  float* y = c.y + row * c.y_stride + column;
  alignas(64) float edge[kRows][kFixedBlock];
  if (width < kFixedBlock)
    for (int r = 0; r < kRows; ++r)
      for (int64_t i = 0; i < kFixedBlock; ++i)
        edge[r][i] = i < width && c.accumulate ? y[r * c.y_stride + i] : 0.0f;
  typename V::F sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = !c.accumulate
                       ? V::set(0.0f)
                       : V::load((width < kFixedBlock ? edge[r] : y + r * c.y_stride) + v * V::kFloats);
  for (int64_t k = 0; k < c.depth; ++k) {
    typename V::F w[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) w[v] = V::load(b + k * c.b_stride + v * V::kFloats);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename V::F x = V::set(a[r * c.a_stride + k]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(x, w[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      V::store((width < kFixedBlock ? edge[r] : y + r * c.y_stride) + v * V::kFloats, sums[r][v]);
  if (width < kFixedBlock)
    for (int r = 0; r < kRows; ++r)
      for (int64_t i = 0; i < width; ++i) y[r * c.y_stride + i] = edge[r][i];
}

template <class V, int kRows>
void fixed_product(const FixedProduct& c) noexcept {
  for (int64_t column = 0; column < c.columns; column += kFixedBlock) {
    int64_t row = 0;
    for (; row + kRows <= c.rows; row += kRows) fixed_tile<V, kRows>(c, row, column);
    for (; row < c.rows; ++row) fixed_tile<V, 1>(c, row, column);
  }
}

template <class V>
void fixed_multiply_add(const float* a, const float* b, float* y, int64_t count) noexcept {
  int64_t i = 0;
  for (; i + V::kFloats <= count; i += V::kFloats)
    V::store(y + i, V::fma(V::load(a + i), V::load(b + i), V::load(y + i)));
  for (; i < count; ++i) y[i] = __builtin_fmaf(a[i], b[i], y[i]);
}

}  // namespace
}  // namespace octet::kernels
