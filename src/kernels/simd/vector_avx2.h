// Vectors of bytes, int32 and floats under one interface, so that a kernel's body can be written once and
// compiled for each instruction set (vector_avx512.h has the same members). Internal linkage; only for files
// compiled for this instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/simd/function_avx2.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/lanes.h"

namespace octet::kernels {
namespace {

struct Avx2 : Avx2Ops {
  static constexpr int kFloats = 8;  // floats or int32 of a vector; bytes are four times as many
  static constexpr int kBytes = 32;
  using I = __m256i;
  using B = __m256i;

  // int32
  OCTET_FORCE_INLINE I set_int(int32_t v) { return _mm256_set1_epi32(v); }
  OCTET_FORCE_INLINE I zero_int() { return _mm256_setzero_si256(); }
  OCTET_FORCE_INLINE I load_int(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  OCTET_FORCE_INLINE void store_int(int32_t* p, I v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  OCTET_FORCE_INLINE I widen(const uint8_t* p) {  // kFloats bytes to int32
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  OCTET_FORCE_INLINE I add_int(I a, I b) { return _mm256_add_epi32(a, b); }
  OCTET_FORCE_INLINE I sub_int(I a, I b) { return _mm256_sub_epi32(a, b); }
  OCTET_FORCE_INLINE I mul_int(I a, I b) { return _mm256_mullo_epi32(a, b); }
  OCTET_FORCE_INLINE F to_float(I v) { return _mm256_cvtepi32_ps(v); }

  // float
  OCTET_FORCE_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
  OCTET_FORCE_INLINE void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  OCTET_FORCE_INLINE I mask(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  OCTET_FORCE_INLINE F load_some(const float* p, int64_t count) { return _mm256_maskload_ps(p, mask(count)); }
  OCTET_FORCE_INLINE void store_some(float* p, F v, int64_t count) { _mm256_maskstore_ps(p, mask(count), v); }
  OCTET_FORCE_INLINE float sum_of_lanes(F v) { return kernels::sum_of_lanes(v); }
  OCTET_FORCE_INLINE float largest_lane(F v) { return kernels::largest_lane(v); }
  // min(v, high) rounded half to even; NaN and -infinity give the smallest int32.
  OCTET_FORCE_INLINE I round(F v, F high) { return _mm256_cvtps_epi32(_mm256_min_ps(high, v)); }

  // u16, half as many as bytes
  using W = __m256i;
  OCTET_FORCE_INLINE W widen16(const uint8_t* p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  OCTET_FORCE_INLINE W add16(W a, W b) { return _mm256_add_epi16(a, b); }
  OCTET_FORCE_INLINE I low32(W v) { return _mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)); }
  OCTET_FORCE_INLINE I high32(W v) { return _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)); }

  // bytes
  OCTET_FORCE_INLINE B set_bytes(uint8_t v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  OCTET_FORCE_INLINE B load_bytes(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  OCTET_FORCE_INLINE B max_bytes(B a, B b) { return _mm256_max_epu8(a, b); }
  OCTET_FORCE_INLINE B xor_bytes(B a, B b) { return _mm256_xor_si256(a, b); }
  // Four int32 vectors to bytes in order, saturated to [0, 255].
  OCTET_FORCE_INLINE B pack(I a, I b, I c, I d) {
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  OCTET_FORCE_INLINE void store_bytes(uint8_t* p, B v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  // The first `count` bytes, 0 < count <= kBytes.
  OCTET_FORCE_INLINE void store_bytes_some(uint8_t* p, B v, int64_t count) {
    alignas(32) uint8_t all[32];
    _mm256_store_si256(reinterpret_cast<__m256i*>(all), v);
    const auto copy_ends = [&](size_t size) {
      std::memcpy(p + count - size, all + count - size, size);
      std::memcpy(p, all, size);
    };
    if (count >= 16) {
      __m128i last = _mm_loadu_si128(reinterpret_cast<const __m128i*>(all + count - 16));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p + count - 16), last);
    } else if (count >= 8) {
      copy_ends(8);
    } else if (count >= 4) {
      copy_ends(4);
    } else {
      for (int64_t i = 0; i < count; ++i) p[i] = all[i];
    }
  }

  // Sixteen bytes, the unit of transpositions; kParts vectors of int32 hold as many.
  static constexpr int kParts = 2;
  OCTET_FORCE_INLINE I widen_part(__m128i v, int part) {
    return _mm256_cvtepu8_epi32(part == 0 ? v : _mm_unpackhi_epi64(v, v));
  }
  OCTET_FORCE_INLINE __m128i narrow(const I* v) {  // values in [0, 255]
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(v[0], v[1]), 0xd8);
    return _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
  }
  OCTET_FORCE_INLINE __m128i load16_some(const uint8_t* p, int64_t count) {
    if (count >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    alignas(16) uint8_t all[16] = {};
    for (int64_t i = 0; i < count; ++i) all[i] = p[i];
    return _mm_load_si128(reinterpret_cast<const __m128i*>(all));
  }
  OCTET_FORCE_INLINE void store16_some(uint8_t* p, __m128i v, int64_t count) {
    if (count >= 16)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
    else
      store_bytes_some(p, _mm256_castsi128_si256(v), count);
  }
  // The first `count` bytes, 0 < count < kBytes; reads nothing else.
  OCTET_FORCE_INLINE B load_bytes_some(const uint8_t* p, int64_t count) {
    alignas(32) uint8_t all[32] = {};
    for (int64_t i = 0; i < count; ++i) all[i] = p[i];
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(all));
  }
};

}  // namespace
}  // namespace octet::kernels
