// One float32 matrix product in the calling thread, through oneDNN. Outside of the bit-exactness contract, as
// ConvF32; on one CPU the same shapes give the same bits.
#pragma once

#include <cstdint>

namespace octet::kernels {

// A row-major matrix whose rows are `stride` elements apart, perhaps read as its transpose.
struct MatrixF32 {
  const float* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;
};

// c[m, n] = a[m, k] * b[k, n] + beta * c, where a transposed `a` is stored [k, m] and a transposed `b` [n,
// k]. Throws Error only when oneDNN fails.
void sgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b, float beta, float* c,
           int64_t c_stride);

}  // namespace octet::kernels
