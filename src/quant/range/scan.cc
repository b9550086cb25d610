#include "quant/range/scan.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>

namespace octet::scan {
namespace {

#define OCTET_INLINE inline __attribute__((always_inline))

constexpr int32_t kMagnitude = 0x7fffffff;
constexpr int32_t kInfinity = 0x7f800000;

// Written with masks instead of conditions, so that compilers vectorize them for every instruction set.
OCTET_INLINE void summarize_body(const float* __restrict x, int count, Summary& summary) noexcept {
  int32_t low = summary.min_key, high = summary.max_key, finite = 0, not_zero = 0;
  for (int i = 0; i < count; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i]);
    const int32_t magnitude = bits & kMagnitude;
    const int32_t key = bits ^ (bits >> 31 & kMagnitude);
    const int32_t is_finite = (magnitude - kInfinity) >> 31;  // all ones or 0
    low = std::min(low, (key & is_finite) | (~is_finite & INT32_MAX));
    high = std::max(high, (key & is_finite) | (~is_finite & INT32_MIN));
    finite -= is_finite;
    not_zero -= -magnitude >> 31;
  }
  summary.min_key = low;
  summary.max_key = high;
  summary.zero += count - not_zero;
  if (finite == count) return;
  int32_t infinite = 0;
  for (int i = 0; i < count; ++i)
    infinite += (std::bit_cast<int32_t>(x[i]) & kMagnitude) == kInfinity ? 1 : 0;
  summary.infinite += infinite;
  summary.nan += count - finite - infinite;
}

OCTET_INLINE int index_body(const float* __restrict x, int count, float positive, float negative,
                            uint16_t* __restrict index) noexcept {
  const int32_t positive_bits = std::bit_cast<int32_t>(positive);
  const int32_t difference = positive_bits ^ std::bit_cast<int32_t>(negative);
  for (int i = 0; i < count; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i]);
    const int32_t magnitude = bits & kMagnitude;
    const int32_t sign = bits >> 31;
    const int32_t binned = (-magnitude >> 31) & ((magnitude - kInfinity) >> 31);
    const float factor = std::bit_cast<float>(positive_bits ^ (difference & sign));
    const float size = std::bit_cast<float>(magnitude & binned);
    const int32_t bin = static_cast<int32_t>(size * factor) + (sign & kBins);
    index[i] = static_cast<uint16_t>((bin & binned) | (~binned & (kSkip + (i & (kSkipBins - 1)))));
  }
  return count;
}

OCTET_INLINE void accumulate_body(const float* __restrict x, int64_t count, Lanes lanes) noexcept {
  double* __restrict sum = lanes.sum;
  double* __restrict square = lanes.square;
  float* __restrict low = lanes.min;
  float* __restrict high = lanes.max;
  for (int64_t i = 0; i < count; ++i) {
    const float value = x[i];
    const double wide = value;
    sum[i] += wide;
    square[i] += wide * wide;
    low[i] = value < low[i] ? value : low[i];
    high[i] = value > high[i] ? value : high[i];
  }
}

// One function per instruction set, from the same loop: integer and lane-wise operations only, so the bits
// agree.
#define OCTET_TARGET_AVX2 __attribute__((target("avx2")))
#ifdef __clang__
#define OCTET_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")))
#else
#define OCTET_TARGET_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt,prefer-vector-width=512")))
#endif

void summarize_plain(const float* x, int count, Summary& s) noexcept {
  summarize_body(x, count, s);
}
int index_plain(const float* x, int count, float p, float n, uint16_t* out) noexcept {
  return index_body(x, count, p, n, out);
}
void accumulate_plain(const float* x, int64_t count, Lanes lanes) noexcept {
  accumulate_body(x, count, lanes);
}

OCTET_TARGET_AVX2 void summarize_avx2(const float* x, int count, Summary& s) noexcept {
  summarize_body(x, count, s);
}
OCTET_TARGET_AVX2 int index_avx2(const float* x, int count, float p, float n, uint16_t* out) noexcept {
  return index_body(x, count, p, n, out);
}
OCTET_TARGET_AVX2 void accumulate_avx2(const float* x, int64_t count, Lanes lanes) noexcept {
  accumulate_body(x, count, lanes);
}

OCTET_TARGET_AVX512 void summarize_avx512(const float* x, int count, Summary& s) noexcept {
  summarize_body(x, count, s);
}
// Behind a ReLU half of the values are zero: leaving them out here spares the histogram half of its work.
OCTET_TARGET_AVX512 int index_avx512(const float* x, int count, float p, float n, uint16_t* out) noexcept {
  const __m512i magnitude_mask = _mm512_set1_epi32(kMagnitude), infinity = _mm512_set1_epi32(kInfinity);
  const __m512 positive = _mm512_set1_ps(p), negative = _mm512_set1_ps(n);
  const __m512i second_side = _mm512_set1_epi32(kBins);
  int written = 0;
  for (int i = 0; i < count; i += 16) {
    const auto inside = static_cast<__mmask16>(count - i >= 16 ? 0xffff : (1 << (count - i)) - 1);
    const __m512i bits = _mm512_maskz_loadu_epi32(inside, x + i);
    const __m512i magnitude = _mm512_and_si512(bits, magnitude_mask);
    const __mmask16 binned =
        _mm512_cmplt_epi32_mask(magnitude, infinity) & _mm512_test_epi32_mask(magnitude, magnitude);
    const __mmask16 below_zero = _mm512_movepi32_mask(bits);
    const __m512 factor = _mm512_mask_blend_ps(below_zero, positive, negative);
    __m512i bin = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_castsi512_ps(magnitude), factor));
    bin = _mm512_mask_add_epi32(bin, below_zero, bin, second_side);
    const __m256i kept = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(binned, bin));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + written), kept);
    written += std::popcount(binned);
  }
  return written;
}
OCTET_TARGET_AVX512 void accumulate_avx512(const float* x, int64_t count, Lanes lanes) noexcept {
  accumulate_body(x, count, lanes);
}

constexpr Functions kPlain{summarize_plain, index_plain, accumulate_plain};
constexpr Functions kAvx2{summarize_avx2, index_avx2, accumulate_avx2};
constexpr Functions kAvx512{summarize_avx512, index_avx512, accumulate_avx512};

}  // namespace

float from_key(int32_t key) {
  return std::bit_cast<float>(key ^ (key >> 31 & kMagnitude));
}

const Functions& functions(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return kAvx512;
  if (isa >= Isa::kAvx2) return kAvx2;
  return kPlain;
}

}  // namespace octet::scan
