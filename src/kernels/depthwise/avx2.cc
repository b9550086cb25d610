// Pairs of kernel rows as 16-bit words, multiplied by vpmaddwd, which is exact.
#include "kernels/depthwise/avx2_body.h"

namespace octet::kernels {
namespace {

struct Dot {
  static constexpr int kRows = 2;
  OCTET_FORCE_INLINE void interleave(const __m256i (&rows)[2], __m256i (&out)[4]) {
    const __m256i low = _mm256_unpacklo_epi8(rows[0], rows[1]), high = _mm256_unpackhi_epi8(rows[0], rows[1]);
    const __m256i zero = _mm256_setzero_si256();
    out[0] = _mm256_unpacklo_epi8(low, zero);
    out[1] = _mm256_unpackhi_epi8(low, zero);
    out[2] = _mm256_unpacklo_epi8(high, zero);
    out[3] = _mm256_unpackhi_epi8(high, zero);
  }
  static void copy_weights(const std::byte* from, std::byte* to) {
    for (int64_t i = 0; i < 4; ++i) {
      const int16_t words[2] = {static_cast<int8_t>(from[i * 4]), static_cast<int8_t>(from[i * 4 + 1])};
      __builtin_memcpy(to + i * 4, words, 4);
    }
  }
  OCTET_FORCE_INLINE void add(__m256i& sum, __m256i inputs, __m256i weights) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, inputs));
  }
};

}  // namespace

const ConvKernel depthwise_avx2 = {"avx2", Isa::kAvx2, supports, scratch_bytes<Dot>,
                                   pieces, run<Dot>,   pixels};

}  // namespace octet::kernels
