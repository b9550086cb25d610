// Products of a matrix's rows with vectors, over the vectors `V` of an instruction set. Internal linkage.
#pragma once

#include "kernels/float/kernels.h"

namespace octet::kernels {
namespace {

constexpr int kDotLanes = 16;

// kRows rows by kVectors vectors: each sum in 16 lanes of fused multiply-adds, what is missing to whole
// sixteens is zero, lanes are added in halves.
template <class V, int kRows, int kVectors>
void dot_tile(const float* w, int64_t count, const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  constexpr int kParts = kDotLanes / V::kWidth;
  typename V::F sums[kRows][kVectors][kParts];
  for (auto& row : sums)
    for (auto& sum : row)
      for (auto& part : sum) part = V::zero();
  const auto add = [&](const float* a, int64_t a_stride, const float* b, int64_t b_stride)
      __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int p = 0; p < kParts; ++p) {
      typename V::F right[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) right[v] = V::load(b + v * b_stride + p * V::kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const typename V::F left = V::load(a + r * a_stride + p * V::kWidth);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v][p] = V::fma(left, right[v], sums[r][v][p]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kDotLanes <= count; i += kDotLanes) add(w + i, count, x + i, x_stride);
  if (i < count) {
    float left[kRows][kDotLanes] = {}, right[kVectors][kDotLanes] = {};
    for (int64_t l = 0; i + l < count; ++l) {
      for (int r = 0; r < kRows; ++r) left[r][l] = w[r * count + i + l];
      for (int v = 0; v < kVectors; ++v) right[v][l] = x[v * x_stride + i + l];
    }
    add(left[0], kDotLanes, right[0], kDotLanes);
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) y[v * y_stride + r] = V::sum(sums[r][v]);
}

// Rows [r, r + kRows) with all vectors.
template <class V, int kRows>
void dot_block(const float* w, int64_t count, const float* x, int64_t vectors, int64_t x_stride, float* y,
               int64_t y_stride) {
  constexpr int kVectors = V::kVectors;
  int64_t v = 0;
  for (; kRows == 4 && v + kVectors <= vectors; v += kVectors)
    dot_tile<V, 4, kVectors>(w, count, x + v * x_stride, x_stride, y + v * y_stride, y_stride);
  for (; v < vectors; ++v)
    dot_tile<V, kRows, 1>(w, count, x + v * x_stride, x_stride, y + v * y_stride, y_stride);
}

template <class V>
void dot_rows(const float* w, int64_t rows, int64_t count, const float* x, int64_t vectors, int64_t x_stride,
              float* y, int64_t y_stride) noexcept {
  int64_t r = 0;
  // One vector alone needs more rows for as many sums as the multiplications take cycles.
  for (; vectors == 1 && r + V::kRows <= rows; r += V::kRows)
    dot_block<V, V::kRows>(w + r * count, count, x, vectors, x_stride, y + r, y_stride);
  for (; r + 4 <= rows; r += 4) dot_block<V, 4>(w + r * count, count, x, vectors, x_stride, y + r, y_stride);
  for (; r < rows; ++r) dot_block<V, 1>(w + r * count, count, x, vectors, x_stride, y + r, y_stride);
}

}  // namespace
}  // namespace octet::kernels
