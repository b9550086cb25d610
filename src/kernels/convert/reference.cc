#include "kernels/convert/convert.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

int64_t pieces(const ConvertCall& call) {
  return call.images * call.pixels;
}

void run(const ConvertCall& call, int64_t begin, int64_t end) noexcept {
  const uint8_t flip = call.flip_sign ? 0x80 : 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t image = i / call.pixels, pixel = i % call.pixels;
    for (int64_t c = 0; c < call.channels; ++c) {
      const int64_t plain = (image * call.channels + c) * call.pixels + pixel;
      const int64_t from = call.in_layout == Layout::kNhwc ? i * call.in_stride + c : plain;
      const int64_t to = call.out_layout == Layout::kNhwc ? i * call.out_stride + c
                         : call.out_plane_stride > 0      ? c * call.out_plane_stride + pixel
                                                          : plain;
      const auto* bytes = static_cast<const uint8_t*>(call.input);
      auto* out_bytes = static_cast<uint8_t*>(call.output);
      switch (call.op) {
        case ConvertOp::kQuantize: {
          const int32_t zero = call.zero_point[c];
          const float x = (static_cast<const float*>(call.input)[from] + call.offset[c]) / call.scale[c];
          out_bytes[to] =
              static_cast<uint8_t>(saturate_round(x, call.low - zero, call.high - zero) + zero) ^ flip;
          break;
        }
        case ConvertOp::kDequantize:
          static_cast<float*>(call.output)[to] =
              static_cast<float>((bytes[from] ^ flip) - call.zero_point[c]) * call.scale[c];
          break;
        case ConvertOp::kCopy8:
          out_bytes[to] = bytes[from] ^ flip;
          break;
        case ConvertOp::kCopy32:
          static_cast<uint32_t*>(call.output)[to] = static_cast<const uint32_t*>(call.input)[from];
          break;
      }
    }
    if (call.out_layout == Layout::kNhwc)
      for (int64_t c = call.channels; c < call.fill; ++c)
        static_cast<uint8_t*>(call.output)[i * call.out_stride + c] = 0;
  }
}

}  // namespace

extern const ConvertKernel convert_reference;
const ConvertKernel convert_reference = {"reference", Isa::kReference, pieces, run,
                                         [](const ConvertCall&, int64_t pixel) {
                                           return PixelRange{pixel, pixel + 1};
                                         }};

}  // namespace octet::kernels
