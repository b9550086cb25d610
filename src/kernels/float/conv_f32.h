// float32 convolution, NHWC, through oneDNN. Outside of the bit-exactness contract: results may differ
// between CPUs in the last bits, but not between runs with the same number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/conv/conv.h"
#include "kernels/epilogue.h"

namespace octet::kernels {

// Long sums are made in parts, so that their rounding errors stay small.
struct ConvF32Options {
  ConvShape shape;
  const float* weights = nullptr;  // OIHW, or with `weights_in_out` I x O of a 1x1 convolution; copied
  bool weights_in_out = false;
  bool bf16 = false;            // products of values rounded to bfloat16, summed in float32
  const float* bias = nullptr;  // [out_c]; copied; null: none
  Function function = Function::kNone;
  float alpha = 0, beta = 0;
  bool residual = false;  // y = f(conv) + residual, or f(conv + residual) with residual_first
  bool residual_first = false;
  int64_t in_pixel_stride = 0;  // floats between pixels; 0: dense
  int64_t out_pixel_stride = 0;
  int64_t residual_pixel_stride = 0;
  int threads = 1;  // of the pool that will run the pieces
};

// One convolution, cut into pieces (bands of output rows, or slices of output channels where the map is small
// and the weights are large) that are prepared at creation.
//
// Threads: run() may be called for disjoint pieces by several threads at once, each with a number below
// options.threads of its own and its own scratch memory.
class ConvF32 {
 public:
  // Throws Error where oneDNN cannot do it.
  explicit ConvF32(const ConvF32Options& options);
  ~ConvF32();
  ConvF32(ConvF32&&) noexcept;
  ConvF32& operator=(ConvF32&&) noexcept;

  int64_t pieces() const;
  int64_t scratch_bytes() const;  // of one thread, 64-byte aligned
  // Pieces [begin, end). x, residual and y point at the first channel of the first pixel; exactly out_c
  // floats of each pixel of y are written. y overlaps neither x nor the residual. Throws Error only when
  // oneDNN fails.
  void run(int64_t begin, int64_t end, int thread, const float* x, const float* residual, float* y,
           std::byte* scratch) const;
  std::string kernel() const;  // what oneDNN picked

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether this CPU multiplies bfloat16 numbers (AVX512_BF16).
bool has_bf16();

// y[M, OC] = f(x[M, K] * w[OC, K]^T + bias): a 1x1 convolution over the rows.
ConvShape gemm_f32_shape(int64_t m, int64_t k, int64_t out_c);

}  // namespace octet::kernels
