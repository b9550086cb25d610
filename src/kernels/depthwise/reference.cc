#include <cstdint>

#include "kernels/depthwise/depthwise.h"
#include "kernels/simd/function_scalar.h"
#include "kernels/simd/round.h"

namespace octet::kernels {

namespace {

int32_t accumulate(const ConvCall& call, int64_t n, int64_t oy, int64_t ox, int64_t c) {
  const ConvShape& s = call.shape;
  const int64_t quads = (s.kernel_h + 3) / 4;
  const auto* weights =
      reinterpret_cast<const int8_t*>(call.weights) + c / 16 * s.kernel_w * quads * 64 + c % 16 * 4;
  int32_t acc = call.acc_init[c];
  for (int64_t y = 0; y < s.kernel_h; ++y) {
    for (int64_t x = 0; x < s.kernel_w; ++x) {
      const int64_t iy = oy * s.stride_h - s.pad_top + y * s.dilation_h;
      const int64_t ix = ox * s.stride_w - s.pad_left + x * s.dilation_w;
      const bool inside = iy >= 0 && iy < s.in_h && ix >= 0 && ix < s.in_w;
      const uint8_t* pixel =
          inside ? call.input + ((n * s.in_h + iy) * s.in_w + ix) * call.in_pixel_stride : call.pad_pixel;
      acc += int32_t{pixel[c]} * int32_t{weights[(x * quads + y / 4) * 64 + y % 4]};
    }
  }
  return acc;
}

void finish(const ConvCall& call, int64_t pixel, int64_t c, int32_t acc) {
  const Epilogue& e = call.epilogue;
  float v = __builtin_fmaf(static_cast<float>(acc), e.scale[c], e.bias[c]);
  if (call.float_output) {
    if (e.function != Function::kNone) v = evaluate_function(e.function, e.alpha, e.beta, v);
    static_cast<float*>(call.output)[pixel * call.out_pixel_stride + c] = v;
    return;
  }
  if (e.function != Function::kNone)
    v = __builtin_fmaf(evaluate_byte_function(e.function, e.alpha, e.beta, v), e.out_scale[c], e.out_zero[c]);
  if (e.residual_scale != nullptr) {
    const float residual = call.residual[pixel * call.residual_pixel_stride + c];
    v = __builtin_fmaf(residual, e.residual_scale[c], v);
  }
  static_cast<uint8_t*>(call.output)[pixel * call.out_pixel_stride + c] = saturate_u8(v, e.low, e.high);
}

}  // namespace

void depthwise_reference(const ConvCall& call) noexcept {
  const ConvShape& s = call.shape;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t y = 0; y < s.out_h; ++y)
      for (int64_t x = 0; x < s.out_w; ++x)
        for (int64_t c = 0; c < s.out_c; ++c)
          finish(call, (n * s.out_h + y) * s.out_w + x, c, accumulate(call, n, y, x, c));
}

}  // namespace octet::kernels
