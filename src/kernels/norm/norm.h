// LayerNormalization and RMSNormalization over rows of floats, with the addition in front and the
// quantization behind in the same pass. The same bytes as the operators one by one (generic/normalize.cc,
// convert.h).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace octet::kernels {

// For each row of `width` floats, with x = input + residual (or input alone):
//
//   mean = sum(x) / width, variance = sum((x - mean)^2) / width       (RMS: mean = 0)
//   y = (x - mean) * (1 / sqrt(variance + epsilon)) * scale + bias    (RMS: no bias)
//   bytes = saturate_u8(round_half_even(y / out_scale) + out_zero); NaN gives 0
//   (with a scale and a zero-point per column where `out_scales` is given)
//
// Sums are made in 16 lanes (lane i takes x[i], x[i + 16] ...) that are then combined in halves. Rows follow
// without gaps in every array; what is null is not written. Memory is the caller's; `sum` may be `input`.
struct NormCall {
  int64_t rows = 1, width = 1;
  const float *input = nullptr, *residual = nullptr;
  const float *scale = nullptr, *bias = nullptr;  // [width]; bias may be null
  bool rms = false;
  float epsilon = 0;
  float *sum = nullptr, *output = nullptr;  // x and y
  uint8_t* bytes = nullptr;
  float out_scale = 1;
  int32_t out_zero = 0;
  const float *out_scales = nullptr, *out_zeros = nullptr;  // [width] instead; zero-points are whole numbers
};

// A kernel of the family: rows [begin, end), with a working row of `width` floats of the thread's own.
struct NormKernel {
  std::string_view name;
  Isa isa;
  void (*run)(const NormCall& call, int64_t begin, int64_t end, float* row) noexcept;
};

// All kernels, fastest first; the reference is the last.
std::span<const NormKernel* const> norm_kernels();
const NormKernel& choose_norm(Isa isa);

}  // namespace octet::kernels
