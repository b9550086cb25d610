// y = f(x * w + bias) with large float32 weights that stay where they are (a mapped file, for instance),
// through oneDNN's sgemm. Outside of the bit-exactness contract, as ConvF32.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/epilogue.h"

namespace octet::kernels {

struct GemmInPlaceOptions {
  int64_t rows = 0, depth = 0, columns = 0;
  // [depth][columns], or with `transposed` [columns][depth]; the caller keeps them.
  const float* weights = nullptr;
  bool transposed = false;
  const float* bias = nullptr;  // [columns]; copied; null: none
  Function function = Function::kNone;
  float alpha = 0, beta = 0;
  int threads = 1;
};

class GemmInPlaceF32 {
 public:
  GemmInPlaceF32(const GemmInPlaceOptions& options, Isa isa);

  int64_t pieces() const;  // slices of columns
  // Disjoint pieces may run in several threads at once. Throws Error only when oneDNN fails.
  void run(int64_t begin, int64_t end, const float* x, float* y) const;

 private:
  GemmInPlaceOptions options_;
  Isa isa_;
  int64_t slice_ = 1;
  std::vector<float> bias_;
};

}  // namespace octet::kernels
