#include "kernels/depthwise/repeat.h"

#include <cstring>

#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

// SSE2, which every x86-64 has.
void twice(const uint8_t* in, int64_t channels, uint8_t* out) {
  int64_t c = 0;
  for (; c + 16 <= channels; c += 16, out += 32) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + c));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi8(v, v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_unpackhi_epi8(v, v));
  }
  for (; c + 4 <= channels; c += 4, out += 8) {
    int32_t four;
    std::memcpy(&four, in + c, 4);
    const __m128i v = _mm_cvtsi32_si128(four);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi8(v, v));
  }
  for (; c < channels; ++c, out += 2) out[0] = out[1] = in[c];
}

}  // namespace

void repeat_channels(const RepeatCall& call) noexcept {
  for (int64_t p = 0; p < call.pixels; ++p) {
    const uint8_t* in = call.input + p * call.in_stride;
    uint8_t* out = call.output + p * call.out_stride;
    if (call.times == 2) {
      twice(in, call.channels, out);
      continue;
    }
    for (int64_t c = 0; c < call.channels; ++c)
      for (int64_t j = 0; j < call.times; ++j) *out++ = in[c];
  }
}

}  // namespace octet::kernels
