#include "kernels/simd/intrinsics.h"
#include "kernels/simd/peak.h"

namespace octet::kernels {

int64_t peak_avx512vnni(int64_t rounds) noexcept {
  constexpr int kSums = 24;
  __m512i sums[kSums];
#pragma GCC unroll 24
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) asm volatile("vpdpbusd %2, %1, %0" : "+v"(sums[i]) : "v"(a), "v"(b));
  return rounds * kSums * 64;
}

}  // namespace octet::kernels
