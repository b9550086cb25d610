// Batched float32 matrix product (ONNX MatMul), through oneDNN. Outside of the bit-exactness contract, as
// ConvF32.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace octet::kernels {

// The matrices of a product a [..., M, K] times b [..., K, N] with batch dimensions broadcast.
struct MatMulLayout {
  int64_t m = 0, n = 0, k = 0;
  std::vector<int64_t> offsets_a,
      offsets_b;  // of each matrix of the output, in elements; none when it is empty
  Shape output;
};
// Throws Error for shapes that do not fit.
MatMulLayout matmul_layout(const Shape& a, const Shape& b);

// a [..., M, K] times b [..., K, N], batch dimensions broadcast, dense. Rank 1 operands are to be made
// matrices by the caller.
class MatMulF32 {
 public:
  // Throws Error for shapes that do not fit. Rows of a matrix are split so that `threads` share the work.
  MatMulF32(const Shape& a, const Shape& b, int threads);

  int64_t pieces() const { return static_cast<int64_t>(offsets_a_.size()) * row_blocks_; }
  Shape output_shape() const { return output_; }
  // Disjoint pieces may run in several threads at once. Throws Error only when oneDNN fails.
  void run(int64_t begin, int64_t end, const float* a, const float* b, float* y) const;

 private:
  int64_t m_ = 0, n_ = 0, k_ = 0, row_blocks_ = 1, rows_ = 1;
  std::vector<int64_t> offsets_a_, offsets_b_;  // of each matrix of the output
  Shape output_;
};

}  // namespace octet::kernels
