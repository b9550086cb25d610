// One float32 product of two matrices in the calling thread, through oneDNN. Outside of the bit-exactness
// contract, as ConvF32.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/float/sgemm.h"

namespace octet::kernels {

// y[rows, columns] = a[rows, depth] * b[depth, columns]; `a` is not transposed. Memory is the caller's.
struct MatMulF32Call {
  int64_t rows = 0, depth = 0, columns = 0;
  MatrixF32 a, b;
  float* y = nullptr;
  int64_t y_stride = 0;  // elements between rows
};

// Throws Error only when oneDNN fails.
void matmul_f32(const MatMulF32Call& call, Isa isa);

}  // namespace octet::kernels
