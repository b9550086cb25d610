// What happens to an int32 accumulator: the contract that every integer kernel keeps, bit for bit, on every
// instruction set.
#pragma once

#include <cstdint>

namespace octet::kernels {

// Functions computed on the float value in an epilogue. ReLU and clip need none: saturation (`low`, `high`)
// does them.
enum class Function : uint8_t {
  kNone = 0,
  kLeakyRelu,    // x >= 0 ? x : alpha * x
  kSigmoid,      // 1 / (1 + exp(-x))
  kSilu,         // x * sigmoid(x)
  kHardSigmoid,  // max(0, min(1, fma(alpha, x, beta)))
  kHardSwish,    // x * max(0, min(1, fma(1/6, x, 0.5)))
  kGelu,         // x * 0.5 * (1 + erf(x / sqrt 2))
  kGeluTanh,     // tanh form
  kTanh,
  kRelu,  // used where no saturation follows (float output)
  kClip,  // min(max(x, alpha), beta)
};

// For output channel c, with acc the exact int32 sum:
//
//   v = fma(float(acc), scale[c], bias[c])
//   if function != kNone:  v = fma(function(v), out_scale[c], out_zero[c])
//   if residual:           v = fma(float(residual), residual_scale[c], v)
//   u8 output:             saturate_to[low, high](round_half_even(v))
//   f32 output:            function(fma(float(acc), scale[c], bias[c])) (+ nothing else: no out_scale, no
//   residual)
//
// A function has two forms, one for float results and, for some, a cheaper one for results of 8 bits
// (simd/function_body.h).
//
// So without a function `scale` = s_x * s_w / s_y and `bias` = b / s_y + z_y - z_r * s_r / s_y; with one,
// `scale` and `bias` give the real value before the function, out_scale = 1 / s_y and out_zero = z_y - z_r *
// s_r / s_y. NaN becomes `low`. Arrays have one entry per output channel, padded to a multiple of 64 entries
// (any finite values); not owned.
struct Epilogue {
  const float* scale = nullptr;
  const float* bias = nullptr;
  Function function = Function::kNone;
  float alpha = 0, beta = 0;
  const float* out_scale = nullptr;       // only with a function and u8 output
  const float* out_zero = nullptr;        // only with a function and u8 output
  const float* residual_scale = nullptr;  // null: no residual
  uint8_t low = 0, high = 255;
};

}  // namespace octet::kernels
