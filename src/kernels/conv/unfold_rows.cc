#include "kernels/conv/unfold_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

// Pixels of the row with what is added to it.
int64_t padded_width(const UnfoldCall& call) {
  return (call.out_w - 1) * call.stride + call.taps;
}

uint8_t* fill(const UnfoldCall& call, uint8_t* to, int64_t pixels) {
  for (int64_t i = 0; i < pixels; ++i) to = std::copy_n(call.outside, call.channels, to);
  return to;
}

// Pixels without the gaps between them.
uint8_t* gather(const UnfoldCall& call, const uint8_t* in, uint8_t* to, int64_t pixels) {
  int64_t i = 0;
  if (call.channels == 1 && call.in_stride == 4) {
    const __m128i low = _mm_set1_epi32(255);
    for (; i + 16 <= pixels; i += 16) {
      __m128i v[4];
      for (int k = 0; k < 4; ++k)
        v[k] = _mm_and_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 4 * i) + k), low);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                       _mm_packus_epi16(_mm_packs_epi32(v[0], v[1]), _mm_packs_epi32(v[2], v[3])));
    }
  }
  to += i * call.channels;
  for (; i < pixels; ++i) to = std::copy_n(in + i * call.in_stride, call.channels, to);
  return to;
}

template <int64_t kBytes>
void spread(const uint8_t* row, int64_t step, int64_t count, uint8_t* out) {
  for (int64_t x = 0; x < count; ++x) std::memcpy(out + x * kBytes, row + x * step, kBytes);
}

}  // namespace

int64_t unfold_scratch(const UnfoldCall& call) {
  return padded_width(call) * call.channels + call.out_stride;
}

void unfold_row(const UnfoldCall& call, const uint8_t* in, uint8_t* out, uint8_t* scratch) noexcept {
  const int64_t width = padded_width(call), left = std::min(call.left, width);
  const int64_t inside = std::min(call.in_w, width - left);
  uint8_t* end = fill(call, scratch, left);
  end = gather(call, in, end, inside);
  end = fill(call, end, width - left - inside);
  std::fill_n(end, call.out_stride, uint8_t{0});
  const int64_t step = call.stride * call.channels;
  if (call.out_stride == 4) return spread<4>(scratch, step, call.out_w, out);
  if (call.out_stride == 8) return spread<8>(scratch, step, call.out_w, out);
  if (call.out_stride == 12) return spread<12>(scratch, step, call.out_w, out);
  for (int64_t x = 0; x < call.out_w; ++x)
    std::copy_n(scratch + x * step, call.out_stride, out + x * call.out_stride);
}

}  // namespace octet::kernels
