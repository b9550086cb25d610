#include "kernels/float/body.h"

namespace octet::kernels {
namespace {

void dot_rows(const float* w, int64_t rows, int64_t count, const float* x, int64_t vectors, int64_t x_stride,
              float* y, int64_t y_stride) noexcept {
  for (int64_t v = 0; v < vectors; ++v)
    for (int64_t r = 0; r < rows; ++r) {
      float lanes[16] = {};
      for (int64_t i = 0; i < (count + 15) / 16 * 16; ++i) {
        const bool inside = i < count;
        lanes[i % 16] = __builtin_fmaf(inside ? w[r * count + i] : 0.0f, inside ? x[v * x_stride + i] : 0.0f,
                                       lanes[i % 16]);
      }
      for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
      y[v * y_stride + r] = lanes[0];
    }
}

constexpr FloatKernels kKernels = kernels_with(dot_rows);

}  // namespace

const FloatKernels& float_kernels_reference() {
  return kKernels;
}

}  // namespace octet::kernels
