// The definition of the family: every other kernel gives the same bytes.
#include <cmath>
#include <cstdint>

#include "base/checked.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/pack.h"
#include "kernels/simd/function_scalar.h"
#include "kernels/simd/round.h"

namespace octet::kernels {

namespace {

// Position of weight (o, i, y, x) in the packing.
int64_t weight_index(const ConvShape& s, const PackedConv& p, int64_t o, int64_t i, int64_t y, int64_t x) {
  if (s.depthwise()) {
    const int64_t column = (o / 16 * s.kernel_w + x) * ceil_div(s.kernel_h, 4) + y / 4;
    return (column * 16 + o % 16) * 4 + y % 4;
  }
  const int64_t channel = o % p.out_c, k = (y * s.kernel_w + x) * p.padded_in_c + i;
  return (o / p.out_c * p.blocks + channel / 16) * p.block_bytes + k / 4 * 64 + channel % 16 * 4 + k % 4;
}

int32_t accumulate(const ConvCall& call, const PackedConv& p, int64_t n, int64_t oy, int64_t ox, int64_t o) {
  const ConvShape& s = call.shape;
  const auto* weights = reinterpret_cast<const int8_t*>(call.weights);
  const int64_t first = o / p.out_c * p.in_c;
  auto acc = static_cast<uint32_t>(call.acc_init[o]);  // wraps as the instructions do
  for (int64_t y = 0; y < s.kernel_h; ++y) {
    for (int64_t x = 0; x < s.kernel_w; ++x) {
      const int64_t iy = oy * s.stride_h - s.pad_top + y * s.dilation_h;
      const int64_t ix = ox * s.stride_w - s.pad_left + x * s.dilation_w;
      const bool inside = iy >= 0 && iy < s.in_h && ix >= 0 && ix < s.in_w;
      const uint8_t* pixel =
          inside ? call.input + ((n * s.in_h + iy) * s.in_w + ix) * call.in_pixel_stride : call.pad_pixel;
      for (int64_t i = 0; i < p.in_c; ++i)
        acc += static_cast<uint32_t>(int32_t{pixel[first + i]} *
                                     int32_t{weights[weight_index(s, p, o, i, y, x)]});
    }
  }
  return static_cast<int32_t>(acc);
}

void finish(const ConvCall& call, int64_t pixel, int64_t o, int32_t acc) {
  const Epilogue& e = call.epilogue;
  float v = std::fma(static_cast<float>(acc), e.scale[o], e.bias[o]);
  if (call.float_output) {
    if (e.function != Function::kNone) v = evaluate_function(e.function, e.alpha, e.beta, v);
    static_cast<float*>(call.output)[pixel * call.out_pixel_stride + o] = v;
    return;
  }
  if (e.function != Function::kNone)
    v = std::fma(evaluate_byte_function(e.function, e.alpha, e.beta, v), e.out_scale[o], e.out_zero[o]);
  if (e.residual_scale != nullptr) {
    const float residual = call.residual[pixel * call.residual_pixel_stride + o];
    v = std::fma(residual, e.residual_scale[o], v);
  }
  static_cast<uint8_t*>(call.output)[pixel * call.out_pixel_stride + o] = saturate_u8(v, e.low, e.high);
}

int64_t pieces(const ConvCall& call) {
  return call.shape.batch * call.shape.out_h;
}

void run(const ConvCall& call, int64_t begin, int64_t end, std::byte*) noexcept {
  const ConvShape& s = call.shape;
  const PackedConv p = packed_conv(s);
  for (int64_t row = begin; row < end; ++row)
    for (int64_t ox = 0; ox < s.out_w; ++ox)
      for (int64_t o = 0; o < s.out_c; ++o)
        finish(call, row * s.out_w + ox, o, accumulate(call, p, row / s.out_h, row % s.out_h, ox, o));
}

}  // namespace

const ConvKernel conv_reference = {
    "reference",
    Isa::kReference,
    [](const ConvShape&) { return true; },
    [](const ConvCall&) { return int64_t{0}; },
    pieces,
    run,
    [](const ConvCall& call, int64_t row) {
      return PixelRange{row * call.shape.out_w, (row + 1) * call.shape.out_w};
    },
};

}  // namespace octet::kernels
