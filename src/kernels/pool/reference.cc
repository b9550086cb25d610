#include <cmath>

#include "kernels/pool/pool.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

int64_t scratch_bytes(const PoolCall&) {
  return 0;
}

int64_t pieces(const PoolCall& call) {
  return call.images * call.out_h * call.out_w;
}

void run(const PoolCall& p, int64_t begin, int64_t end, std::byte*) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t ox = i % p.out_w, oy = i / p.out_w % p.out_h, image = i / p.out_w / p.out_h;
    for (int64_t c = 0; c < p.channels; ++c) {
      int32_t sum = 0, count = 0, padded = 0;
      uint8_t largest = 0;
      for (int64_t ky = 0; ky < p.kernel_h; ++ky) {
        for (int64_t kx = 0; kx < p.kernel_w; ++kx) {
          const int64_t y = oy * p.stride_h - p.pad_top + ky * p.dilation_h;
          const int64_t x = ox * p.stride_w - p.pad_left + kx * p.dilation_w;
          if (y < p.in_h + p.pad_bottom && x < p.in_w + p.pad_right) ++padded;
          if (y < 0 || y >= p.in_h || x < 0 || x >= p.in_w) continue;
          const uint8_t v = p.input[((image * p.in_h + y) * p.in_w + x) * p.in_stride + c];
          ++count;
          if (p.op == PoolOp::kAverage) sum += v - p.zero_point[c];
          if (v > largest) largest = v;
        }
      }
      const int64_t at = i * p.out_stride + c;
      if (p.op == PoolOp::kMax) {
        static_cast<uint8_t*>(p.output)[at] = largest;
        continue;
      }
      const auto d = static_cast<float>(p.count_include_pad ? padded : count);
      const float v = std::fma(static_cast<float>(sum), p.scale[c] / d, p.bias[c]);
      if (p.float_output)
        static_cast<float*>(p.output)[at] = v;
      else
        static_cast<uint8_t*>(p.output)[at] = saturate_u8(v, p.low, p.high);
    }
  }
}

}  // namespace

extern const PoolKernel pool_reference;
const PoolKernel pool_reference = {"reference", Isa::kReference, scratch_bytes, pieces, run};

}  // namespace octet::kernels
