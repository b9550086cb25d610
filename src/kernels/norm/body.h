// The vector kernel, over the vectors `S` of simd/vector_*.h. Internal linkage: each instruction set's file
// has its own copy.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/norm/norm.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

template <class S>
struct Lanes {
  static constexpr int kVectors = 16 / S::kFloats;
  typename S::F v[kVectors];

  Lanes() {
    for (auto& x : v) x = S::set(0.0f);
  }
  // What is left of a row behind its last 16 floats joins lanes 0, 1 ...
  float total(const float* tail, int64_t count) const {
    alignas(64) float lanes[16];
    for (int i = 0; i < kVectors; ++i) S::store(lanes + i * S::kFloats, v[i]);
    for (int64_t i = 0; i < count; ++i) lanes[i] += tail[i];
    for (int half = 8; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
  }
};

template <class S>
static inline void store_bytes16(const typename S::F* y, const NormCall& c, int64_t column, uint8_t* to) {
  typename S::I parts[S::kParts];
  if (c.out_scales != nullptr) {
    for (int i = 0; i < S::kParts; ++i) {
      const int64_t k = column + i * S::kFloats;
      const auto zero = S::load(c.out_zeros + k);
      const auto low = S::sub(S::set(0.0f), zero), high = S::sub(S::set(255.0f), zero);
      const auto steps = S::round(S::max(S::div(y[i], S::load(c.out_scales + k)), low), high);
      parts[i] = S::add_int(steps, S::round(zero, S::set(255.0f)));
    }
    S::store16_some(to, S::narrow(parts), 16);
    return;
  }
  const auto zero = S::set_int(c.out_zero);
  const auto low = S::set(static_cast<float>(-c.out_zero)),
             high = S::set(static_cast<float>(255 - c.out_zero));
  for (int i = 0; i < S::kParts; ++i)
    parts[i] = S::add_int(S::round(S::max(S::div(y[i], S::set(c.out_scale)), low), high), zero);
  S::store16_some(to, S::narrow(parts), 16);
}

template <class S>
void norm_run(const NormCall& c, int64_t begin, int64_t end, float* row) noexcept {
  constexpr int kVectors = 16 / S::kFloats;
  const auto width = static_cast<float>(c.width);
  const int64_t whole = c.width / 16 * 16, rest = c.width - whole;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t at = r * c.width;
    const float* x = c.input + at;
    Lanes<S> sums;
    if (c.residual != nullptr) {
      float* to = c.sum != nullptr ? c.sum + at : row;
      for (int64_t i = 0; i < whole; i += 16)
        for (int j = 0; j < kVectors; ++j) {
          const int64_t k = i + j * S::kFloats;
          const auto v = S::add(S::load(x + k), S::load(c.residual + at + k));
          S::store(to + k, v);
          sums.v[j] = S::add(sums.v[j], v);
        }
      for (int64_t i = whole; i < c.width; ++i) to[i] = x[i] + c.residual[at + i];
      x = to;
    } else {
      for (int64_t i = 0; i < whole; i += 16)
        for (int j = 0; j < kVectors; ++j) sums.v[j] = S::add(sums.v[j], S::load(x + i + j * S::kFloats));
      if (c.sum != nullptr && c.sum + at != x)
        for (int64_t i = 0; i < c.width; ++i) c.sum[at + i] = x[i];
    }
    const float mean = c.rms ? 0.0f : sums.total(x + whole, rest) / width;
    const auto shift = S::set(mean);
    Lanes<S> squares;
    for (int64_t i = 0; i < whole; i += 16)
      for (int j = 0; j < kVectors; ++j) {
        const auto d = S::sub(S::load(x + i + j * S::kFloats), shift);
        squares.v[j] = S::add(squares.v[j], S::mul(d, d));
      }
    float tail[16];
    for (int64_t i = 0; i < rest; ++i) tail[i] = (x[whole + i] - mean) * (x[whole + i] - mean);
    const float inverse = 1.0f / std::sqrt(squares.total(tail, rest) / width + c.epsilon);
    const auto factor = S::set(inverse);
    for (int64_t i = 0; i < whole; i += 16) {
      typename S::F y[kVectors];
      for (int j = 0; j < kVectors; ++j) {
        const int64_t k = i + j * S::kFloats;
        const auto d = c.rms ? S::load(x + k) : S::sub(S::load(x + k), shift);
        y[j] = S::mul(S::mul(d, factor), S::load(c.scale + k));
        if (c.bias != nullptr) y[j] = S::add(y[j], S::load(c.bias + k));
        if (c.output != nullptr) S::store(c.output + at + k, y[j]);
      }
      if (c.bytes != nullptr) store_bytes16<S>(y, c, i, c.bytes + at + i);
    }
    for (int64_t i = whole; i < c.width; ++i) {
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

}  // namespace
}  // namespace octet::kernels
