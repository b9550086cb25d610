#include <algorithm>
#include <cmath>

#include "kernels/resize/resize.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

int64_t pieces(const ResizeCall& call) {
  return call.images * call.out_h;
}

void run(const ResizeCall& r, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t oy = i % r.out_h, image = i / r.out_h;
    for (int64_t ox = 0; ox < r.out_w; ++ox) {
      const auto at = [&](const int32_t* rows, const int32_t* columns) {
        return r.input + ((image * r.in_h + rows[oy]) * r.in_w + columns[ox]) * r.in_stride;
      };
      uint8_t* out = r.output + (i * r.out_w + ox) * r.out_stride;
      if (r.mode == ResizeMode::kNearest) {
        const bool none = r.rows.index0[oy] < 0 || r.columns.index0[ox] < 0;
        std::copy_n(none ? r.fill : at(r.rows.index0, r.columns.index0), r.channels, out);
        continue;
      }
      const uint8_t* p00 = at(r.rows.index0, r.columns.index0);
      const uint8_t* p01 = at(r.rows.index0, r.columns.index1);
      const uint8_t* p10 = at(r.rows.index1, r.columns.index0);
      const uint8_t* p11 = at(r.rows.index1, r.columns.index1);
      const float wx = r.columns.weight[ox], wy = r.rows.weight[oy];
      for (int64_t c = 0; c < r.channels; ++c) {
        const float x00 = p00[c], x01 = p01[c], x10 = p10[c], x11 = p11[c];
        const float top = std::fma(wx, x01 - x00, x00), bottom = std::fma(wx, x11 - x10, x10);
        const float v = std::fma(wy, bottom - top, top);
        out[c] = saturate_u8(std::fma(v, r.scale[c], r.bias[c]), r.low, r.high);
      }
    }
  }
}

}  // namespace

extern const ResizeKernel resize_reference;
const ResizeKernel resize_reference = {"reference", Isa::kReference, pieces, run};

}  // namespace octet::kernels
