// The float32 loops of this folder, compiled once per instruction set from body.h; all give the same bits.
#pragma once

#include "kernels/float/binary_f32.h"
#include "kernels/float/pool_f32.h"

namespace octet::kernels {

struct FloatKernels {
  BinaryF32Kernels binary;
  void (*max_pool)(const PoolF32Call& call, int64_t begin, int64_t end, const float* x, float* y) noexcept;
  void (*average_pool)(const PoolF32Call& call, int64_t begin, int64_t end, const float* x,
                       float* y) noexcept;
  void (*global_average)(const PoolF32Call& call, int64_t begin, int64_t end, const float* x,
                         float* y) noexcept;
};

const FloatKernels& float_kernels_reference();
const FloatKernels& float_kernels_avx2();
const FloatKernels& float_kernels_avx512vnni();
const FloatKernels& float_kernels(Isa isa);

}  // namespace octet::kernels
