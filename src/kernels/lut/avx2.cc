#include "kernels/lut/body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {
namespace {

// Sixteen shuffles of 16 entries each: x ^ 16 i is below 16 for the bytes that part i serves, and the
// saturating addition sets the top bit of all others, for which the shuffle gives 0.
struct Table {
  explicit Table(const uint8_t* table) {
    for (int i = 0; i < 16; ++i)
      part[i] =
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  }
  __m256i lookup(__m256i x) const {
    const __m256i bias = _mm256_set1_epi8(0x70);
    __m256i r = _mm256_shuffle_epi8(part[0], _mm256_adds_epu8(x, bias));
#pragma GCC unroll 15
    for (int i = 1; i < 16; ++i) {
      const __m256i y = _mm256_xor_si256(x, _mm256_set1_epi8(static_cast<char>(16 * i)));
      r = _mm256_or_si256(r, _mm256_shuffle_epi8(part[i], _mm256_adds_epu8(y, bias)));
    }
    return r;
  }
  __m256i part[16];
};

}  // namespace

extern const LutKernel lut_avx2;
const LutKernel lut_avx2 = {"avx2", Isa::kAvx2, lut_pieces, lut_run<Avx2, Table>};

}  // namespace octet::kernels
