// The vectors of vector_avx2.h with 512 bits. Internal linkage; only for files compiled for AVX-512 (F, BW,
// DQ, VL).
#pragma once

#include <cstdint>

#include "kernels/simd/function_avx512.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/lanes.h"

namespace octet::kernels {
namespace {

struct Avx512 : Avx512Ops {
  static constexpr int kFloats = 16;
  static constexpr int kBytes = 64;
  using I = __m512i;
  using B = __m512i;

  // int32
  OCTET_FORCE_INLINE I set_int(int32_t v) { return _mm512_set1_epi32(v); }
  OCTET_FORCE_INLINE I zero_int() { return _mm512_setzero_si512(); }
  OCTET_FORCE_INLINE I load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
  OCTET_FORCE_INLINE void store_int(int32_t* p, I v) { _mm512_storeu_si512(p, v); }
  OCTET_FORCE_INLINE I widen(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  OCTET_FORCE_INLINE I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
  OCTET_FORCE_INLINE I sub_int(I a, I b) { return _mm512_sub_epi32(a, b); }
  OCTET_FORCE_INLINE I mul_int(I a, I b) { return _mm512_mullo_epi32(a, b); }
  OCTET_FORCE_INLINE F to_float(I v) { return _mm512_cvtepi32_ps(v); }

  // float
  OCTET_FORCE_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  OCTET_FORCE_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  OCTET_FORCE_INLINE __mmask16 mask(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
  OCTET_FORCE_INLINE F load_some(const float* p, int64_t count) {
    return count >= 16 ? load(p) : _mm512_maskz_loadu_ps(mask(count), p);
  }
  OCTET_FORCE_INLINE void store_some(float* p, F v, int64_t count) {
    if (count >= 16)
      store(p, v);
    else
      _mm512_mask_storeu_ps(p, mask(count), v);
  }
  OCTET_FORCE_INLINE float sum_of_lanes(F v) {
    return kernels::sum_of_lanes(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
  }
  OCTET_FORCE_INLINE float largest_lane(F v) {
    return kernels::largest_lane(_mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
  }
  OCTET_FORCE_INLINE I round(F v, F high) { return _mm512_cvtps_epi32(_mm512_min_ps(high, v)); }

  // u16, half as many as bytes
  using W = __m512i;
  OCTET_FORCE_INLINE W widen16(const uint8_t* p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  OCTET_FORCE_INLINE W add16(W a, W b) { return _mm512_add_epi16(a, b); }
  OCTET_FORCE_INLINE I low32(W v) { return _mm512_cvtepu16_epi32(_mm512_castsi512_si256(v)); }
  OCTET_FORCE_INLINE I high32(W v) { return _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(v, 1)); }

  // bytes
  OCTET_FORCE_INLINE B set_bytes(uint8_t v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  OCTET_FORCE_INLINE B load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  OCTET_FORCE_INLINE B max_bytes(B a, B b) { return _mm512_max_epu8(a, b); }
  OCTET_FORCE_INLINE B xor_bytes(B a, B b) { return _mm512_xor_si512(a, b); }
  OCTET_FORCE_INLINE B pack(I a, I b, I c, I d) {
    const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
                                    bytes);
  }
  OCTET_FORCE_INLINE void store_bytes(uint8_t* p, B v) { _mm512_storeu_si512(p, v); }
  OCTET_FORCE_INLINE void store_bytes_some(uint8_t* p, B v, int64_t count) {
    _mm512_mask_storeu_epi8(p, ~0ull >> (64 - count), v);
  }

  // Sixteen bytes
  static constexpr int kParts = 1;
  OCTET_FORCE_INLINE I widen_part(__m128i v, int) { return _mm512_cvtepu8_epi32(v); }
  OCTET_FORCE_INLINE __m128i narrow(const I* v) { return _mm512_cvtepi32_epi8(v[0]); }
  OCTET_FORCE_INLINE __m128i load16_some(const uint8_t* p, int64_t count) {
    if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_maskz_loadu_epi8(static_cast<__mmask16>(0xffffu >> (16 - count)), p);
  }
  OCTET_FORCE_INLINE void store16_some(uint8_t* p, __m128i v, int64_t count) {
    if (count >= 16)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
    else
      _mm_mask_storeu_epi8(p, static_cast<__mmask16>(0xffffu >> (16 - count)), v);
  }
  OCTET_FORCE_INLINE B load_bytes_some(const uint8_t* p, int64_t count) {
    return _mm512_maskz_loadu_epi8(~0ull >> (64 - count), p);
  }
};

}  // namespace
}  // namespace octet::kernels
