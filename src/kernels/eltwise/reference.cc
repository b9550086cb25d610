#include <cmath>

#include "kernels/eltwise/eltwise.h"
#include "kernels/simd/function.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

int64_t pieces(const EltwiseCall& call) {
  return call.images * call.pixels;
}

void run(const EltwiseCall& call, int64_t begin, int64_t end) noexcept {
  const Epilogue& e = call.epilogue;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const uint8_t* a = call.a + pixel * call.a_stride;
    const uint8_t* b =
        call.b + (call.broadcast == Broadcast::kImage ? pixel / call.pixels : pixel) * call.b_stride;
    for (int64_t c = 0; c < call.channels; ++c) {
      const int32_t x = a[c], y = b[call.broadcast == Broadcast::kPixel ? 0 : c];
      float v;
      if (call.op == EltwiseOp::kAdd)
        v = std::fma(static_cast<float>(x), e.scale[c],
                     std::fma(static_cast<float>(y), call.b_scale[c], e.bias[c]));
      else
        v = std::fma(static_cast<float>((x - call.a_zero[c]) * (y - call.b_zero[c])), e.scale[c], e.bias[c]);
      if (e.function != Function::kNone) {
        if (call.float_output)
          v = evaluate_function_reference(e.function, e.alpha, e.beta, v);
        else
          v = std::fma(evaluate_byte_function_reference(e.function, e.alpha, e.beta, v), e.out_scale[c],
                       e.out_zero[c]);
      }
      if (call.float_output)
        static_cast<float*>(call.output)[pixel * call.out_stride + c] = v;
      else
        static_cast<uint8_t*>(call.output)[pixel * call.out_stride + c] = saturate_u8(v, e.low, e.high);
    }
  }
}

}  // namespace

extern const EltwiseKernel eltwise_reference;
const EltwiseKernel eltwise_reference = {"reference", Isa::kReference, pieces, run,
                                         [](const EltwiseCall&, int64_t pixel) {
                                           return PixelRange{pixel, pixel + 1};
                                         }};

}  // namespace octet::kernels
