// The float32 loops of this folder, compiled once per instruction set from body.h; all give the same bits.
#pragma once

#include "kernels/float/binary_f32.h"
#include "kernels/float/pool_f32.h"

namespace octet::kernels {

// y[v][r] = the sum of w[r][i] * x[v][i], for `rows` rows of `count` numbers that lie one behind the other:
// in 16 lanes of fused multiply-adds, padded with zeros, which are added in halves.
using DotRows = void (*)(const float* w, int64_t rows, int64_t count, const float* x, int64_t vectors,
                         int64_t x_stride, float* y, int64_t y_stride) noexcept;

struct FloatKernels {
  BinaryF32Kernels binary;
  void (*max_pool)(const PoolF32Call& call, int64_t begin, int64_t end, const float* x, float* y) noexcept;
  void (*average_pool)(const PoolF32Call& call, int64_t begin, int64_t end, const float* x,
                       float* y) noexcept;
  void (*global_average)(const PoolF32Call& call, int64_t begin, int64_t end, const float* x,
                         float* y) noexcept;
  DotRows dot_rows;
};

const FloatKernels& float_kernels_reference();
const FloatKernels& float_kernels_avx2();
const FloatKernels& float_kernels_avx512vnni();
const FloatKernels& float_kernels(Isa isa);

}  // namespace octet::kernels
