// float32 convolution and matrix product in one fixed order, for --deterministic: the same bits on every
// instruction set and for any number of threads, pieces and images at once. Slower than oneDNN (conv_f32.h).
//
// Each element of the result is one chain of fused multiply-adds that begins at 0 and runs over taps (rows,
// then columns; taps in the padding are left out), then input channels; then the bias is added, then function
// and residual follow as in ConvF32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/float/conv_f32.h"
#include "kernels/float/matmul_f32.h"

namespace octet::kernels {

// Columns that a product computes at once: rows of `b` have a multiple of it.
inline constexpr int64_t kFixedBlock = 16;

// y[r][c] (+)= sum over k of a[r][k] * b[k][c] for c in [0, columns). Rows of b may be read up to the next
// multiple of kFixedBlock; of y exactly `columns` entries are written.
struct FixedProduct {
  const float* a;
  int64_t a_stride;  // floats between rows
  const float* b;
  int64_t b_stride;
  float* y;
  int64_t y_stride;
  int64_t rows, columns, depth;
  bool accumulate;  // the chains begin at what y holds, else at 0
};

struct FixedKernels {
  void (*product)(const FixedProduct& call) noexcept;
  // y[i] = fma(a[i], b[i], y[i])
  void (*multiply_add)(const float* a, const float* b, float* y, int64_t count) noexcept;
};
const FixedKernels& fixed_kernels(Isa isa);

// Threads: as ConvF32.
class FixedConvF32 {
 public:
  FixedConvF32(const ConvF32Options& options, Isa isa);

  int64_t pieces() const;
  int64_t scratch_bytes() const;  // of one thread, 64-byte aligned
  // Pieces [begin, end); memory as of ConvF32::run. Any thread may run any piece.
  void run(int64_t begin, int64_t end, int thread, const float* x, const float* residual, float* y,
           std::byte* scratch) const noexcept;
  std::string kernel() const { return "fixed order " + std::string(isa_name(isa_)); }

 private:
  void pack(const float* weights);
  void compute_row(int64_t image, int64_t row, int64_t first_column, int64_t columns, const float* x,
                   float* sums) const noexcept;
  void finish(float* sums, int64_t pixels, const float* residual, float* y) const noexcept;

  ConvF32Options options_;
  Isa isa_;
  int64_t band_ = 1;            // output columns of one piece
  int64_t bands_ = 1;           // of a row
  int64_t channels_ = 1;        // output channels of a group, rounded up to kFixedBlock
  std::vector<float> weights_;  // [group][tap][input channel][channels_]; depthwise: [tap][channel]
  std::vector<float> bias_;
};

// A product in the same order; the scratch memory of one call, 64-byte aligned.
int64_t fixed_matmul_scratch(const MatMulF32Call& call);
void fixed_matmul(const MatMulF32Call& call, Isa isa, std::byte* scratch) noexcept;

}  // namespace octet::kernels
