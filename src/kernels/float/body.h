// The loops of kernels.h, over channels, for the compiler to vectorize. Everything has internal linkage: each
// object file that includes it keeps its own copy, compiled for its own instruction set.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/float/kernels.h"

namespace octet::kernels {
namespace {

struct Add {
  static float of(float a, float b) { return a + b; }
};
struct Sub {
  static float of(float a, float b) { return a - b; }
};
struct Mul {
  static float of(float a, float b) { return a * b; }
};
struct Div {
  static float of(float a, float b) { return a / b; }
};

template <class Op>
void binary(const float* a, const float* b, float* out, int64_t count) noexcept {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = Op::of(a[i], b[i]);
}

template <class Op>
void binary_scalar(const float* a, float b, float* out, int64_t count) noexcept {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) out[i] = Op::of(a[i], b);
}

// Taps [first, last) of a window that starts at `start` which lie below `limit` and not below 0.
struct Taps {
  int64_t first, last;
};

inline Taps taps(int64_t start, int64_t step, int64_t kernel, int64_t limit) {
  Taps t{start >= 0 ? 0 : (-start + step - 1) / step, limit <= start ? 0 : (limit - start + step - 1) / step};
  if (t.last > kernel) t.last = kernel;
  if (t.first > t.last) t.first = t.last;
  return t;
}

// Channels that a maximum keeps in registers.
constexpr int64_t kPoolBlock = 32;

// body(first tap row and column ranges, start row, start column, output pixel) for every output pixel of the
// rows.
template <class Body>
inline void for_each_pixel(const PoolF32Call& c, int64_t begin, int64_t end, Body body) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / c.out_h, y = row % c.out_h * c.stride_h - c.pad_top;
    const Taps rows = taps(y, c.dilation_h, c.kernel_h, c.in_h);
    for (int64_t o = 0; o < c.out_w; ++o) {
      const int64_t x = o * c.stride_w - c.pad_left;
      body(n * c.in_h * c.in_w, rows, taps(x, c.dilation_w, c.kernel_w, c.in_w), y, x, row * c.out_w + o);
    }
  }
}

void max_pool(const PoolF32Call& c, int64_t begin, int64_t end, const float* input, float* output) noexcept {
  for_each_pixel(c, begin, end, [&](int64_t image, Taps rows, Taps columns, int64_t y, int64_t x, int64_t o) {
    float* out = output + o * c.out_pixel_stride;
    const auto reduce = [&](int64_t first, int64_t width) {
      float largest[kPoolBlock];
      for (int64_t i = 0; i < kPoolBlock; ++i) largest[i] = -std::numeric_limits<float>::infinity();
      for (int64_t r = rows.first; r < rows.last; ++r)
        for (int64_t k = columns.first; k < columns.last; ++k) {
          const int64_t pixel = image + (y + r * c.dilation_h) * c.in_w + x + k * c.dilation_w;
          const float* in = input + pixel * c.in_pixel_stride + first;
          for (int64_t i = 0; i < width; ++i) largest[i] = largest[i] > in[i] ? largest[i] : in[i];
        }
      for (int64_t i = 0; i < width; ++i) out[first + i] = largest[i];
    };
    int64_t i = 0;
    for (; i + kPoolBlock <= c.channels; i += kPoolBlock) reduce(i, kPoolBlock);
    if (i < c.channels) reduce(i, c.channels - i);
  });
}

void average_pool(const PoolF32Call& c, int64_t begin, int64_t end, const float* input,
                  float* output) noexcept {
  for_each_pixel(c, begin, end, [&](int64_t image, Taps rows, Taps columns, int64_t y, int64_t x, int64_t o) {
    float* out = output + o * c.out_pixel_stride;
    const int64_t channels = c.channels;
    for (int64_t i = 0; i < channels; ++i) out[i] = 0.0f;
    for (int64_t r = rows.first; r < rows.last; ++r)
      for (int64_t k = columns.first; k < columns.last; ++k) {
        const int64_t pixel = image + (y + r * c.dilation_h) * c.in_w + x + k * c.dilation_w;
        const float* in = input + pixel * c.in_pixel_stride;
#pragma GCC ivdep
        for (int64_t i = 0; i < channels; ++i) out[i] += in[i];
      }
    int64_t count = (rows.last - rows.first) * (columns.last - columns.first);
    if (c.count_include_pad)
      count = taps(y, c.dilation_h, c.kernel_h, c.in_h + c.pad_bottom).last *
              taps(x, c.dilation_w, c.kernel_w, c.in_w + c.pad_right).last;
    if (count == 0) return;
    const auto divisor = static_cast<float>(count);
    for (int64_t i = 0; i < channels; ++i) out[i] /= divisor;
  });
}

void global_average(const PoolF32Call& c, int64_t begin, int64_t end, const float* input,
                    float* output) noexcept {
  constexpr int64_t kBlock = kGlobalPoolChannels;
  const int64_t blocks = (c.channels + kBlock - 1) / kBlock, pixels = c.in_h * c.in_w;
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t n = piece / blocks, first = piece % blocks * kBlock;
    const int64_t width = c.channels - first < kBlock ? c.channels - first : kBlock;
    const float* in = input + n * pixels * c.in_pixel_stride + first;
    float sums[16][kBlock] = {};
    if (width == kBlock) {
      for (int64_t p = 0; p < pixels; ++p, in += c.in_pixel_stride)
        for (int64_t i = 0; i < kBlock; ++i) sums[p % 16][i] += in[i];
    } else {
      for (int64_t p = 0; p < pixels; ++p, in += c.in_pixel_stride)
        for (int64_t i = 0; i < width; ++i) sums[p % 16][i] += in[i];
    }
    for (int half = 8; half > 0; half /= 2)
      for (int l = 0; l < half; ++l)
        for (int64_t i = 0; i < kBlock; ++i) sums[l][i] += sums[l + half][i];
    for (int64_t i = 0; i < width; ++i)
      output[n * c.out_pixel_stride + first + i] = sums[0][i] / static_cast<float>(pixels);
  }
}

constexpr FloatKernels kernels_with(DotRows dot_rows) {
  return {{binary<Add>, binary<Sub>, binary<Mul>, binary<Div>, binary_scalar<Add>, binary_scalar<Sub>,
           binary_scalar<Mul>, binary_scalar<Div>},
          max_pool,
          average_pool,
          global_average,
          dot_rows};
}

}  // namespace
}  // namespace octet::kernels
