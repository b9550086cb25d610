#include <cmath>

#include "kernels/norm/norm.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

float halves(float (&lanes)[16]) {
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

void run(const NormCall& c, int64_t begin, int64_t end, float* x) noexcept {
  const auto width = static_cast<float>(c.width);
  for (int64_t r = begin; r < end; ++r) {
    const int64_t at = r * c.width;
    float sums[16] = {}, squares[16] = {};
    for (int64_t i = 0; i < c.width; ++i) {
      x[i] = c.residual == nullptr ? c.input[at + i] : c.input[at + i] + c.residual[at + i];
      if (c.sum != nullptr) c.sum[at + i] = x[i];
      sums[i % 16] += x[i];
    }
    const float mean = c.rms ? 0.0f : halves(sums) / width;
    for (int64_t i = 0; i < c.width; ++i) squares[i % 16] += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0f / std::sqrt(halves(squares) / width + c.epsilon);
    for (int64_t i = 0; i < c.width; ++i) {
      float y = (c.rms ? x[i] : x[i] - mean) * inverse * c.scale[i];
      if (c.bias != nullptr) y += c.bias[i];
      if (c.output != nullptr) c.output[at + i] = y;
      if (c.bytes == nullptr) continue;
      const float scale = c.out_scales != nullptr ? c.out_scales[i] : c.out_scale;
      const int32_t zero = c.out_scales != nullptr ? static_cast<int32_t>(c.out_zeros[i]) : c.out_zero;
      c.bytes[at + i] = static_cast<uint8_t>(saturate_round(y / scale, -zero, 255 - zero) + zero);
    }
  }
}

void add_lanes(const NormPixels& n, float* lanes) noexcept {
  for (int64_t p = 0; p < n.pixels; ++p)
    for (int64_t c = 0; c < n.channels; ++c) {
      const float x = n.input[p * n.stride + c], d = n.mean == nullptr ? x : x - n.mean[c];
      lanes[p % 16 * n.channels + c] += n.mean == nullptr ? x : d * d;
    }
}

void normalize(const NormPixels& n, float* y) noexcept {
  for (int64_t p = 0; p < n.pixels; ++p)
    for (int64_t c = 0; c < n.channels; ++c)
      y[p * n.channels + c] = (n.input[p * n.stride + c] - n.mean[c]) * n.inverse[c] * n.scale[c] + n.bias[c];
}

}  // namespace

extern const NormKernel norm_reference;
const NormKernel norm_reference = {"reference", Isa::kReference, run, add_lanes, normalize};

}  // namespace octet::kernels
