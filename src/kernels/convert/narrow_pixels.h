// Channels-last pixels of up to four channels to pixels of four bytes: an image as TensorFlow has it.
// Internal linkage.
#pragma once

#include "kernels/convert/rows.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

template <class S>
struct NarrowPixels {
  static constexpr int64_t kPixels = 64;  // of a tile: whole vectors of bytes, whatever the channels

  static bool fits(const ConvertCall& c) {
    return c.in_layout == Layout::kNhwc && c.out_layout == Layout::kNhwc && c.in_stride == c.channels &&
           c.out_stride == 4 && larger(c.channels, c.fill) == 4 &&
           (c.op == ConvertOp::kCopy8 || c.op == ConvertOp::kQuantize);
  }

  // Pixels [first, last) of all images.
  static void run(const ConvertCall& call, int64_t first, int64_t last) {
    const int64_t channels = call.channels;
    // A tile is a row of elements, each with the parameters of its channel.
    float scale[kPixels * 4], offset[kPixels * 4];
    int32_t zero_point[kPixels * 4];
    uint8_t tile[kPixels * 4 + 16];  // what lies behind the elements is never stored
    ConvertCall row = call;
    row.output = tile;
    const bool vary = call.op == ConvertOp::kQuantize && call.per_channel;
    if (vary) {
      for (int64_t i = 0; i < kPixels * channels; ++i) {
        scale[i] = call.scale[i % channels];
        offset[i] = call.offset[i % channels];
        zero_point[i] = call.zero_point[i % channels];
      }
      row.scale = scale;
      row.offset = offset;
      row.zero_point = zero_point;
    }
    alignas(16) uint8_t places[16];
    for (int64_t i = 0; i < 16; ++i)
      places[i] = static_cast<uint8_t>(i % 4 < channels ? i / 4 * channels + i % 4 : 0x80);
    const __m128i spread = _mm_load_si128(reinterpret_cast<const __m128i*>(places));
    const auto four = [&](int64_t pixel) __attribute__((always_inline)) {
      const auto* from = reinterpret_cast<const __m128i*>(tile + pixel * channels);
      return _mm_shuffle_epi8(_mm_loadu_si128(from), spread);
    };
    for (; first < last; first += kPixels) {
      const int64_t pixels = smaller(kPixels, last - first);
      if (vary)
        ConvertRow<S, true>::run(row, first * channels, 0, pixels * channels, 0, true);
      else
        ConvertRow<S, false>::run(row, first * channels, 0, pixels * channels, 0, true);
      uint8_t* const out = static_cast<uint8_t*>(call.output) + first * 4;
      int64_t p = 0;
      for (; p + 4 <= pixels; p += 4) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + p * 4), four(p));
      if (p < pixels) S::store16_some(out + p * 4, four(p), (pixels - p) * 4);
    }
  }
};

}  // namespace
}  // namespace octet::kernels
