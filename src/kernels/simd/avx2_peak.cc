#include "kernels/simd/intrinsics.h"
#include "kernels/simd/peak.h"

namespace octet::kernels {

int64_t peak_avx2(int64_t rounds) noexcept {
  constexpr int kSums = 10;
  __m256i sums[kSums];
#pragma GCC unroll 10
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_epi32(i);
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) {
      __m256i pairs;
      asm volatile(
          "vpmaddubsw %3, %2, %1\n\t"
          "vpmaddwd %4, %1, %1\n\t"
          "vpaddd %1, %0, %0"
          : "+x"(sums[i]), "=&x"(pairs)
          : "x"(a), "x"(b), "x"(ones));
    }
  return rounds * kSums * 32;
}

}  // namespace octet::kernels
