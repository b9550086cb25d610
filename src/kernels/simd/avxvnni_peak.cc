#include "kernels/simd/intrinsics.h"
#include "kernels/simd/peak.h"

namespace octet::kernels {

int64_t peak_avxvnni(int64_t rounds) noexcept {
  constexpr int kSums = 12;
  __m256i sums[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_epi32(i);
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i)
      asm volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums[i]) : "x"(a), "x"(b));
  return rounds * kSums * 32;
}

}  // namespace octet::kernels
