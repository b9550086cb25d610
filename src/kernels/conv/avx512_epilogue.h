// The dot product and the epilogue on AVX-512 registers. Internal linkage; only for files compiled for this
// instruction set.
#pragma once

#include <cstdint>

#include "kernels/conv/conv.h"
#include "kernels/simd/function_avx512.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

// GCC keeps the accumulators of _mm512_dpbusd_epi32 on the stack.
inline __attribute__((always_inline)) void dot(__m512i& acc, __m512i inputs, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(inputs), "v"(weights));
}

inline constexpr int kTileChannels = 64;

// What a tile of up to 64 output channels needs of the call, copied so that every load is aligned and inside
// of its array.
struct alignas(64) Channels {
  int32_t init[kTileChannels];
  float scale[kTileChannels], bias[kTileChannels];
  float out_scale[kTileChannels], out_zero[kTileChannels];
  float residual_scale[kTileChannels];
};

// Where a tile's results go.
struct Target {
  uint8_t* bytes = nullptr;  // output of the first pixel and channel
  int64_t stride = 0;        // elements
  const uint8_t* residual = nullptr;
  int64_t residual_stride = 0;
  __mmask64 mask = 0;    // channels that exist
  bool full = false;     // all of them
  bool bounded = false;  // see bounded()
  uint8_t low = 0, high = 255;
  bool clipped = false;  // to fewer than all bytes
};

inline void set_limits(const Epilogue& e, Target& t) {
  t.low = e.low;
  t.high = e.high;
  t.clipped = e.low > 0 || e.high < 255;
}

inline __mmask64 first_lanes(int64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

inline void load_channels(const ConvCall& call, int64_t channel, __mmask64 mask, Channels& c) {
  const Epilogue& e = call.epilogue;
  const auto copy = [&](const float* from, float* to) {
    for (int i = 0; i < 4; ++i) {
      const auto m = static_cast<__mmask16>(mask >> (16 * i));
      _mm512_store_ps(to + 16 * i, _mm512_maskz_loadu_ps(m, from + channel + 16 * i));
    }
  };
  for (int i = 0; i < 4; ++i) {
    const auto m = static_cast<__mmask16>(mask >> (16 * i));
    _mm512_store_si512(c.init + 16 * i, _mm512_maskz_loadu_epi32(m, call.acc_init + channel + 16 * i));
  }
  copy(e.scale, c.scale);
  copy(e.bias, c.bias);
  if (e.out_scale != nullptr) copy(e.out_scale, c.out_scale);
  if (e.out_zero != nullptr) copy(e.out_zero, c.out_zero);
  if (e.residual_scale != nullptr) copy(e.residual_scale, c.residual_scale);
}

// Whether no sum can bring a value of a u8 epilogue near the limits of int32: (|scale| * |largest sum| +
// |bias|) + |residual_scale| * 255 below 2^30, with a function that is_contained() |out_scale| times as much,
// and |out_zero|. False for infinities and NaN.
inline bool bounded(const ConvCall& call, const Channels& c) {
  const Epilogue& e = call.epilogue;
  const ConvShape& s = call.shape;
  const bool curve = is_contained(e.function);
  if (e.function != Function::kNone && (!curve || call.float_output)) return false;
  const int64_t of_group = s.in_c / s.groups;
  const __m512 products = _mm512_set1_ps(255.0f * 128.0f * static_cast<float>(of_group) *
                                         static_cast<float>(s.kernel_h * s.kernel_w));
  __mmask16 inside = 0xffff;
  for (int i = 0; i < kTileChannels; i += 16) {
    const __m512 init = _mm512_cvtepi32_ps(_mm512_load_si512(c.init + i));
    const __m512 sum = _mm512_min_ps(_mm512_add_ps(products, _mm512_abs_ps(init)), _mm512_set1_ps(0x1p31f));
    __m512 v = _mm512_fmadd_ps(_mm512_abs_ps(_mm512_load_ps(c.scale + i)), sum,
                               _mm512_abs_ps(_mm512_load_ps(c.bias + i)));
    if (curve)
      v = _mm512_fmadd_ps(_mm512_add_ps(v, _mm512_set1_ps(1)), _mm512_abs_ps(_mm512_load_ps(c.out_scale + i)),
                          _mm512_abs_ps(_mm512_load_ps(c.out_zero + i)));
    if (e.residual_scale != nullptr)
      v = _mm512_fmadd_ps(_mm512_abs_ps(_mm512_load_ps(c.residual_scale + i)), _mm512_set1_ps(255), v);
    inside &= _mm512_cmp_ps_mask(v, _mm512_set1_ps(0x1p30f), _CMP_LT_OQ);
  }
  return inside == 0xffff;
}

inline __m512 load_residual(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

// Four vectors of 16 int32 to 64 u8 in order, saturated.
inline __m512i pack_u8(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i lanes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  return _mm512_permutexvar_epi32(order, lanes);
}

// Accumulators to rounded values, yet to be saturated, in place. Channels outside, so that each of their
// vectors is loaded once.
template <int P, int B, bool kResidual>
inline __attribute__((always_inline)) void finish(const Channels& c, const Target& t, __m512i (&acc)[P][B]) {
#pragma GCC unroll 4
  for (int j = 0; j < B; ++j) {
    const __m512 scale = _mm512_load_ps(c.scale + 16 * j), bias = _mm512_load_ps(c.bias + 16 * j);
    const uint8_t* residual = kResidual ? t.residual + 16 * j : nullptr;
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) {
      __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[p][j]), scale, bias);
      if constexpr (kResidual)
        v = _mm512_fmadd_ps(load_residual(residual + p * t.residual_stride),
                            _mm512_load_ps(c.residual_scale + 16 * j), v);
      acc[p][j] = _mm512_cvtps_epi32(v);
    }
  }
}

// Four vectors are packed at a time: of one pixel (64 and 48 channels), two (32) or four (16).
template <int B>
constexpr int kStep = B == 3 ? 3 : 4;

// Saturates and writes the vectors of up to kStep<B> / B pixels, `count` of which exist; returns where the
// next pixel goes.
template <int B>
inline __attribute__((always_inline)) uint8_t* store_group(const Target& t, uint8_t* out,
                                                           const __m512i (&v)[4], int count, __m512i low,
                                                           __m512i high) {
  __m512i bytes = pack_u8(v[0], v[1], v[2], v[3]);
  if (t.clipped) bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, low), high);
  if constexpr (B >= 3) {
    if (B == 4 && t.full)
      _mm512_storeu_si512(out, bytes);
    else
      _mm512_mask_storeu_epi8(out, t.mask, bytes);
    return out + t.stride;
  }
  const __m256i half = _mm512_extracti64x4_epi64(bytes, 1);
  const __m128i parts[4] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1),
                            _mm256_castsi256_si128(half), _mm512_extracti32x4_epi32(bytes, 3)};
  for (int n = 0; n < kStep<B> / B && n < count; ++n, out += t.stride) {
    if constexpr (B == 2) {
      const __m256i pixel = n == 0 ? _mm512_castsi512_si256(bytes) : half;
      if (t.full)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), pixel);
      else
        _mm256_mask_storeu_epi8(out, static_cast<__mmask32>(t.mask), pixel);
    } else {
      if (t.full)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), parts[n]);
      else
        _mm_mask_storeu_epi8(out, static_cast<__mmask16>(t.mask), parts[n]);
    }
  }
  return out;
}

// The u8 epilogue without a function, for channels that are bounded(): no value leaves int32.
template <int P, int B, bool kResidual>
inline __attribute__((always_inline)) void store_u8(const Channels& c, const Target t, __m512i (&acc)[P][B]) {
  const __m512i low = _mm512_set1_epi8(static_cast<char>(t.low)),
                high = _mm512_set1_epi8(static_cast<char>(t.high));
  finish<P, B, kResidual>(c, t, acc);
  uint8_t* out = t.bytes;
#pragma GCC unroll 32
  for (int i = 0; i < P * B; i += kStep<B>) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n)
      v[n] = n < kStep<B> && i + n < P * B ? acc[(i + n) / B][(i + n) % B] : _mm512_setzero_si512();
    out = store_group<B>(t, out, v, P - i / B, low, high);
  }
}

// The same, choosing between with and without a residual.
template <int P, int B>
inline __attribute__((always_inline)) void store_u8(const Channels& c, const Target t, __m512i (&acc)[P][B]) {
  return t.residual != nullptr ? store_u8<P, B, true>(c, t, acc) : store_u8<P, B, false>(c, t, acc);
}

// `sums` is [pixels][B][16]. A group of four vectors at once hides the latencies of the function. kPlain: the
// target is bounded and has no residual.
template <Function F, int B, bool kPlain>
__attribute__((noinline)) void finish_bytes(const Epilogue& epilogue, const Channels& c, const Target& target,
                                            const int32_t* sums, int pixels) {
  const Epilogue e = epilogue;
  const Target t = target;
  const __m512 limit = _mm512_set1_ps(t.high);
  const __m512i low = _mm512_set1_epi8(static_cast<char>(t.low)),
                high = _mm512_set1_epi8(static_cast<char>(t.high));
  uint8_t* out = t.bytes;
  for (int p = 0; p < pixels; p += kStep<B> / B) {
    __m512 v[kStep<B>];
#pragma GCC unroll 4
    for (int n = 0; n < kStep<B>; ++n) {
      const int pixel = p + n / B < pixels ? p + n / B : p;  // those behind the last are not stored
      v[n] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums + (pixel * B + n % B) * 16)),
                             _mm512_load_ps(c.scale + n % B * 16), _mm512_load_ps(c.bias + n % B * 16));
    }
    if constexpr (F != Function::kNone) {
      evaluate_byte_functions(F, e.alpha, e.beta, v);
#pragma GCC unroll 4
      for (int n = 0; n < kStep<B>; ++n)
        v[n] = _mm512_fmadd_ps(v[n], _mm512_load_ps(c.out_scale + n % B * 16),
                               _mm512_load_ps(c.out_zero + n % B * 16));
    }
    if (!kPlain && t.residual != nullptr) {
#pragma GCC unroll 4
      for (int n = 0; n < kStep<B>; ++n) {
        const int pixel = p + n / B < pixels ? p + n / B : p;
        v[n] = _mm512_fmadd_ps(load_residual(t.residual + pixel * t.residual_stride + n % B * 16),
                               _mm512_load_ps(c.residual_scale + n % B * 16), v[n]);
      }
    }
    __m512i rounded[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                          _mm512_setzero_si512()};
#pragma GCC unroll 4
    for (int n = 0; n < kStep<B>; ++n)  // NaN and what is below every int32 become INT32_MIN, then `low`
      rounded[n] = _mm512_cvtps_epi32(kPlain ? v[n] : _mm512_min_ps(limit, v[n]));
    out = store_group<B>(t, out, rounded, pixels - p, low, high);
  }
}

template <Function F, int B>
void finish_bytes(const ConvCall& call, const Channels& c, const Target& t, const int32_t* sums, int pixels) {
  if constexpr (F == Function::kNone || is_contained(F))
    if (t.bounded && t.residual == nullptr)
      return finish_bytes<F, B, true>(call.epilogue, c, t, sums, pixels);
  finish_bytes<F, B, false>(call.epilogue, c, t, sums, pixels);
}

// The same with float results.
template <Function F>
void finish_floats(const ConvCall& call, const Channels& c, const Target& t, const int32_t* sums, int pixels,
                   int blocks) {
  const Epilogue& e = call.epilogue;
  for (int p = 0; p < pixels; ++p) {
    float* out = reinterpret_cast<float*>(t.bytes) + p * t.stride;
    for (int j = 0; j < blocks; ++j, sums += 16) {
      const __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)),
                                       _mm512_load_ps(c.scale + 16 * j), _mm512_load_ps(c.bias + 16 * j));
      _mm512_mask_storeu_ps(out + 16 * j, static_cast<__mmask16>(t.mask >> (16 * j)),
                            evaluate_function(F, e.alpha, e.beta, v));
    }
  }
}

// `accumulators` is [pixels][blocks * 16].
template <Function F>
void finish_function(const ConvCall& call, const Channels& c, const Target& t, const int32_t* accumulators,
                     int pixels, int blocks) {
  if (call.float_output) return finish_floats<F>(call, c, t, accumulators, pixels, blocks);
  if (blocks == 4) return finish_bytes<F, 4>(call, c, t, accumulators, pixels);
  if (blocks == 3) return finish_bytes<F, 3>(call, c, t, accumulators, pixels);
  if (blocks == 2) return finish_bytes<F, 2>(call, c, t, accumulators, pixels);
  finish_bytes<F, 1>(call, c, t, accumulators, pixels);
}

// The general epilogue, for functions and float output.
inline void finish_tile(const ConvCall& call, const Channels& c, const Target& t, const int32_t* accumulators,
                        int pixels, int blocks) {
  switch (call.epilogue.function) {
#define OCTET_CASE(name) \
  case Function::name:   \
    return finish_function<Function::name>(call, c, t, accumulators, pixels, blocks);
    OCTET_CASE(kNone)
    OCTET_CASE(kLeakyRelu)
    OCTET_CASE(kSigmoid)
    OCTET_CASE(kSilu)
    OCTET_CASE(kHardSigmoid)
    OCTET_CASE(kHardSwish)
    OCTET_CASE(kGelu)
    OCTET_CASE(kGeluTanh)
    OCTET_CASE(kTanh)
    OCTET_CASE(kRelu)
    OCTET_CASE(kClip)
#undef OCTET_CASE
  }
}

}  // namespace
}  // namespace octet::kernels
