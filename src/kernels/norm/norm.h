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

// Pixels whose channels are last, of which each channel is normalized by itself (InstanceNormalization): some
// of its pixels, in order. Pixel 0 is the image's first, or a multiple of 16 behind it.
struct NormPixels {
  const float* input = nullptr;
  int64_t pixels = 0, channels = 0;
  int64_t stride = 0;           // floats between pixels, >= channels
  const float* mean = nullptr;  // per channel, as what follows
  const float *inverse = nullptr, *scale = nullptr, *bias = nullptr;
};

// A kernel of the family: rows [begin, end), with a working row of `width` floats of the thread's own. Of
// pixels: what they add to the 16 lanes of each channel, lanes[16][channels], those of x or, with `mean`, of
// (x - mean)^2; and y = (x - mean) * inverse * scale + bias, without gaps.
struct NormKernel {
  std::string_view name;
  Isa isa;
  void (*run)(const NormCall& call, int64_t begin, int64_t end, float* row) noexcept;
  void (*add_lanes)(const NormPixels& pixels, float* lanes) noexcept;
  void (*normalize)(const NormPixels& pixels, float* y) noexcept;
};

// All kernels, fastest first; the reference is the last.
std::span<const NormKernel* const> norm_kernels();
const NormKernel& choose_norm(Isa isa);

}  // namespace octet::kernels
