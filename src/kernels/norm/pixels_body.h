// Normalization of channels-last pixels, over the vectors `S` of simd/vector_*.h. Internal linkage: each
// instruction set's file has its own copy.
#pragma once

#include <cstdint>

#include "kernels/norm/norm.h"

namespace octet::kernels {
namespace {

template <class S>
void norm_add_lanes(const NormPixels& n, float* lanes) noexcept {
  constexpr int kLanes = 16, kTogether = 8;  // lanes whose sums are in registers
  const bool squares = n.mean != nullptr;
  int64_t c = 0;
  for (; c + S::kFloats <= n.channels; c += S::kFloats) {
    const auto mean = squares ? S::load(n.mean + c) : S::set(0.0f);
    for (int first = 0; first < kLanes; first += kTogether) {
      typename S::F sums[kTogether];
      for (int l = 0; l < kTogether; ++l) sums[l] = S::load(lanes + (first + l) * n.channels + c);
      const auto add = [&](int64_t p, int l) {
        const auto x = S::load(n.input + p * n.stride + c);
        const auto d = S::sub(x, mean);
        sums[l] = S::add(sums[l], squares ? S::mul(d, d) : x);
      };
      int64_t p = first;
      for (; p + kTogether <= n.pixels; p += kLanes)
        for (int l = 0; l < kTogether; ++l) add(p + l, l);
      for (int l = 0; l < kTogether; ++l)
        if (p + l < n.pixels) add(p + l, l);
      for (int l = 0; l < kTogether; ++l) S::store(lanes + (first + l) * n.channels + c, sums[l]);
    }
  }
  for (; c < n.channels; ++c)
    for (int64_t p = 0; p < n.pixels; ++p) {
      const float x = n.input[p * n.stride + c], d = squares ? x - n.mean[c] : x;
      lanes[p % kLanes * n.channels + c] += squares ? d * d : x;
    }
}

template <class S>
void norm_pixels(const NormPixels& n, float* y) noexcept {
  int64_t c = 0;
  for (; c + S::kFloats <= n.channels; c += S::kFloats) {
    const auto mean = S::load(n.mean + c), inverse = S::load(n.inverse + c), scale = S::load(n.scale + c),
               bias = S::load(n.bias + c);
    for (int64_t p = 0; p < n.pixels; ++p) {
      const auto d = S::sub(S::load(n.input + p * n.stride + c), mean);
      S::store(y + p * n.channels + c, S::add(S::mul(S::mul(d, inverse), scale), bias));
    }
  }
  for (; c < n.channels; ++c)
    for (int64_t p = 0; p < n.pixels; ++p)
      y[p * n.channels + c] = (n.input[p * n.stride + c] - n.mean[c]) * n.inverse[c] * n.scale[c] + n.bias[c];
}

}  // namespace
}  // namespace octet::kernels
