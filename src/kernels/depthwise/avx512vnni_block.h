// What one AVX-512 depthwise loop works on: 64 lanes of channels, and the steps around the multiplications.
// Only for files compiled for this instruction set.
//
// Lane order: four rows of 64 bytes, interleaved by byte and word unpacks, give four vectors ("groups") of 16
// dwords: dword 4l + i of group g holds the four kernel rows of byte 16l + 4g + i. Packing the groups back
// with packs/packus restores the order of the bytes, so only per-channel constants have to be permuted, once
// per block.
//
// Segments: where a block has at most 32 (16) channels, 2 (4) output rows are computed side by side, each in
// its half (quarter) of the 64 bytes.
#pragma once

#include "kernels/conv/conv.h"
#include "kernels/depthwise/plan.h"
#include "kernels/simd/function_avx512.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

constexpr int64_t kVector = 64;
constexpr int64_t kPixel = 4 * kVector;  // one value of four bytes for each lane
constexpr int64_t kChunk = 64;           // outputs of a row whose sums are kept before the epilogue
constexpr int64_t kTile = 16;            // the same in the generic loop, whose columns are kept too

// Per-lane constants, kPixel bytes each.
enum Constant : int64_t { kInit, kScale, kBias, kOutScale, kOutZero, kResidualScale, kConstants };

using Row = DepthwiseRow;

// Part of an output row: outputs x, x + x_step, ... and the input column of each output's first tap.
struct Walk {
  int64_t x, x_step, count;
  int64_t column, column_step;  // of neighbouring taps; neighbouring outputs are `stride` taps apart
};

struct Block {
  const ConvCall* call;
  int64_t channel, channels;  // first, and how many of each segment are written
  int64_t quads;              // groups of four kernel rows
  int64_t in_w;
  int64_t pitch;      // bytes between input pixels
  int64_t out_pitch;  // bytes between output pixels
  const uint8_t* pad_pixel;
  // In scratch memory:
  std::byte* constants;
  std::byte* weights;     // [kernel_w][quads][4 groups][64]
  std::byte* pad_column;  // [4 groups][64], a column outside of the image
  std::byte* sums;        // [kChunk][4 groups][64]
  std::byte* columns;     // generic loop: [columns of a tile][quads][4 groups][64]
  Row* rows;              // [quads * 4][4 segments]
  // Of the current rows:
  int64_t segments_used;
  uint8_t* out[4];  // output pixel x = 0 of each segment, at the block's first channel
  const uint8_t* residual[4];
  int64_t first_x;  // of `sums`
  bool in_range;    // fits_int32(), and bytes without a residual are asked for
};

using Sums = __m512i[4];

// body(0) ... body(3). Written out, because GCC 12 keeps arrays that are indexed in a loop in memory.
template <class Body>
OCTET_FORCE_INLINE void for_groups(const Body& body) {
  body(0);
  body(1);
  body(2);
  body(3);
}

template <int kSegments, class Body>
OCTET_FORCE_INLINE void for_segments(const Body& body) {
  body(0);
  if constexpr (kSegments >= 2) body(1);
  if constexpr (kSegments == 4) {
    body(2);
    body(3);
  }
}

OCTET_FORCE_INLINE __m512i load(const void* p) {
  return _mm512_load_si512(p);
}
OCTET_FORCE_INLINE __m512 load_ps(const void* p) {
  return _mm512_load_ps(p);
}
OCTET_FORCE_INLINE const std::byte* constant(const Block& b, Constant which, int group) {
  return b.constants + which * kPixel + group * kVector;
}

// acc += four u8 * s8 products. As assembly, because GCC 12 spills the accumulators of the intrinsic.
OCTET_FORCE_INLINE void dot(__m512i& acc, __m512i u8, __m512i s8) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8));
}

// 64 bytes: a pixel of each segment, the one of segment s at at(s).
template <int kSegments, class At>
OCTET_FORCE_INLINE __m512i load_pixel(const At& at) {
  if constexpr (kSegments == 1) {
    return _mm512_loadu_si512(at(0));
  } else if constexpr (kSegments == 2) {
    const __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at(0))));
    return _mm512_inserti64x4(v, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at(1))), 1);
  } else {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at(0))));
    v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(at(1))), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(at(2))), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(at(3))), 3);
  }
}

// Walks along an input row of each segment, even outside of the image.
template <int kSegments>
struct Cursor {
  const uint8_t* at[kSegments];
  int64_t step[kSegments];
};

// Kernel row `ky` from `column` on.
template <int kSegments>
OCTET_FORCE_INLINE Cursor<kSegments> cursor(const Block& b, int64_t ky, const Walk& walk) {
  Cursor<kSegments> c;
  for_segments<kSegments>([&](int s) __attribute__((always_inline)) {
    const Row row = b.rows[ky * 4 + s];
    c.at[s] = row.base + (walk.column * b.pitch & row.mask);
    c.step[s] = walk.column_step * b.pitch & row.mask;
  });
  return c;
}

// The pixel `back` steps before.
template <int kSegments>
OCTET_FORCE_INLINE __m512i load_pixel(const Cursor<kSegments>& c, int64_t back = 0) {
  return load_pixel<kSegments>([&](int s)
                                   __attribute__((always_inline)) { return c.at[s] - back * c.step[s]; });
}

template <int kSegments>
OCTET_FORCE_INLINE void advance(Cursor<kSegments>& c) {
  for_segments<kSegments>([&](int s) __attribute__((always_inline)) { c.at[s] += c.step[s]; });
}

OCTET_FORCE_INLINE bool inside(const Block& b, int64_t column) {
  return static_cast<uint64_t>(column) < static_cast<uint64_t>(b.in_w);
}

OCTET_FORCE_INLINE void interleave(__m512i r0, __m512i r1, __m512i r2, __m512i r3, __m512i (&out)[4]) {
  const __m512i a = _mm512_unpacklo_epi8(r0, r1), b = _mm512_unpackhi_epi8(r0, r1);
  const __m512i c = _mm512_unpacklo_epi8(r2, r3), d = _mm512_unpackhi_epi8(r2, r3);
  out[0] = _mm512_unpacklo_epi16(a, c);
  out[1] = _mm512_unpackhi_epi16(a, c);
  out[2] = _mm512_unpacklo_epi16(b, d);
  out[3] = _mm512_unpackhi_epi16(b, d);
}

// Writes the channels of the block to output pixel x of each segment.
template <int kSegments>
OCTET_FORCE_INLINE void store_u8(const Block& b, int64_t x, __m512i v) {
  const auto at = [&](int s) __attribute__((always_inline)) {
    return b.out[s] + x * b.out_pitch;
  };
  if constexpr (kSegments == 1) {
    if (b.channels == 64) {
      _mm512_storeu_si512(at(0), v);
    } else {
      _mm512_mask_storeu_epi8(at(0), (uint64_t{1} << b.channels) - 1, v);
    }
  } else if constexpr (kSegments == 2) {
    const __m256i half[2] = {_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1)};
    const auto mask = static_cast<__mmask32>((uint64_t{1} << b.channels) - 1);
    for (int s = 0; s < 2; ++s) {
      if (s >= b.segments_used) break;
      if (b.channels == 32) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(at(s)), half[s]);
      } else {
        _mm256_mask_storeu_epi8(at(s), mask, half[s]);
      }
    }
  } else {
    const __m128i quarter[4] = {_mm512_castsi512_si128(v), _mm512_extracti32x4_epi32(v, 1),
                                _mm512_extracti32x4_epi32(v, 2), _mm512_extracti32x4_epi32(v, 3)};
    const auto mask = static_cast<__mmask16>((uint32_t{1} << b.channels) - 1);
    for (int s = 0; s < 4; ++s) {
      if (s >= b.segments_used) break;
      if (b.channels == 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(at(s)), quarter[s]);
      } else {
        _mm_mask_storeu_epi8(at(s), mask, quarter[s]);
      }
    }
  }
}

// Floats in lane order to output pixel x of each segment.
template <int kSegments>
OCTET_FORCE_INLINE void store_f32(const Block& b, int64_t x, const __m512 (&v)[4]) {
  const __m512 low01 = _mm512_shuffle_f32x4(v[0], v[1], 0x44), low23 = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
  const __m512 high01 = _mm512_shuffle_f32x4(v[0], v[1], 0xee),
               high23 = _mm512_shuffle_f32x4(v[2], v[3], 0xee);
  const __m512 sixteen[4] = {
      _mm512_shuffle_f32x4(low01, low23, 0x88), _mm512_shuffle_f32x4(low01, low23, 0xdd),
      _mm512_shuffle_f32x4(high01, high23, 0x88), _mm512_shuffle_f32x4(high01, high23, 0xdd)};
  constexpr int kUnits = 4 / kSegments;  // of 16 channels in a segment
  for (int j = 0; j < 4; ++j) {
    const int64_t left = b.channels - j % kUnits * 16;
    if (j / kUnits >= b.segments_used || left <= 0) continue;
    const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1);
    uint8_t* pixel = b.out[j / kUnits] + x * b.out_pitch;
    _mm512_mask_storeu_ps(pixel + j % kUnits * kVector, mask, sixteen[j]);
  }
}

// Bytes that limit an output.
struct Limits {
  __m512i low, high;
  bool clipped;  // to fewer than all bytes
};
OCTET_FORCE_INLINE Limits limits(const Block& b) {
  const Epilogue& e = b.call->epilogue;
  return {_mm512_set1_epi8(static_cast<char>(e.low)), _mm512_set1_epi8(static_cast<char>(e.high)),
          e.low > 0 || e.high < 255};
}

OCTET_FORCE_INLINE __m512i limited(__m512i bytes, const Limits& limit) {
  return limit.clipped ? _mm512_min_epu8(_mm512_max_epu8(bytes, limit.low), limit.high) : bytes;
}

// round_half_even(v) within the limits, for v that an int32 can hold.
OCTET_FORCE_INLINE __m512i pack_u8(const __m512 (&v)[4], const Limits& limit) {
  __m512i i[4];
  for_groups([&](int g) __attribute__((always_inline)) { i[g] = _mm512_cvtps_epi32(v[g]); });
  const __m512i words0 = _mm512_packs_epi32(i[0], i[1]), words1 = _mm512_packs_epi32(i[2], i[3]);
  return limited(_mm512_packus_epi16(words0, words1), limit);
}

OCTET_FORCE_INLINE __m512 scaled(const Block& b, __m512i acc, int g) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), load_ps(constant(b, kScale, g)),
                         load_ps(constant(b, kBias, g)));
}

// Whether no value of the block's channels that is rounded to bytes, without a residual and without a
// function or with one that is_contained(), can leave int32 (false where a constant is not finite).
bool fits_int32(const Block& b) {
  const ConvShape& s = b.call->shape;
  const bool curve = is_contained(b.call->epilogue.function);
  const __m512 products = _mm512_set1_ps(255.0f * 128.0f * static_cast<float>(s.kernel_h * s.kernel_w));
  __mmask16 fits = 0xffff;
  for (int g = 0; g < 4; ++g) {
    const __m512 init = _mm512_cvtepi32_ps(load(constant(b, kInit, g)));
    const __m512 sum = _mm512_add_ps(products, _mm512_abs_ps(init));
    const __m512 scale = _mm512_abs_ps(load_ps(constant(b, kScale, g)));
    __m512 v = _mm512_fmadd_ps(sum, scale, _mm512_abs_ps(load_ps(constant(b, kBias, g))));
    if (curve)
      v = _mm512_fmadd_ps(_mm512_add_ps(v, _mm512_set1_ps(1)),
                          _mm512_abs_ps(load_ps(constant(b, kOutScale, g))),
                          _mm512_abs_ps(load_ps(constant(b, kOutZero, g))));
    fits &= _mm512_cmp_ps_mask(v, _mm512_set1_ps(1e9f), _CMP_LT_OQ);
  }
  return fits == 0xffff;
}

// Takes the sums of output x: with kFused the epilogue of a call without function, residual and float output
// whose values fit into int32, else into `sums`.
template <int kSegments, bool kFused>
OCTET_FORCE_INLINE void emit(const Block& b, int64_t x, const __m512i (&acc)[4], const Limits& limit) {
  if constexpr (kFused) {
    __m512 v[4];
    for_groups([&](int g) __attribute__((always_inline)) { v[g] = scaled(b, acc[g], g); });
    store_u8<kSegments>(b, x, pack_u8(v, limit));
  } else {
    std::byte* sums = b.sums + (x - b.first_x) * kPixel;
    for_groups([&](int g) __attribute__((always_inline)) { _mm512_store_si512(sums + g * kVector, acc[g]); });
  }
}

// Any epilogue, over outputs [b.first_x, x_end).
template <int kSegments>
OCTET_FORCE_INLINE void finish_row(const Block& block, int64_t x_end, Function function) {
  const Block b = block;
  const ConvCall& call = *b.call;
  const Epilogue e = call.epilogue;
  const bool float_output = call.float_output;
  const __m512 high = _mm512_set1_ps(e.high);
  const Limits limit = limits(b);
  for (int64_t x = b.first_x; x < x_end; ++x) {
    const std::byte* sums = b.sums + (x - b.first_x) * kPixel;
    __m512 v[4];
    for (int g = 0; g < 4; ++g) v[g] = scaled(b, load(sums + g * kVector), g);
    if (float_output) {
      evaluate_functions(function, e.alpha, e.beta, v);
      store_f32<kSegments>(b, x, v);
      continue;
    }
    evaluate_byte_functions(function, e.alpha, e.beta, v);
    if (function != Function::kNone)
      for (int g = 0; g < 4; ++g)
        v[g] = _mm512_fmadd_ps(v[g], load_ps(constant(b, kOutScale, g)), load_ps(constant(b, kOutZero, g)));
    if (e.residual_scale != nullptr) {
      const int64_t offset = x * call.residual_pixel_stride;
      const __m512i zero = _mm512_setzero_si512();
      const __m512i r = load_pixel<kSegments>([&](int s) { return b.residual[s] + offset; });
      __m512i residual[4];
      interleave(r, zero, zero, zero, residual);
      for (int g = 0; g < 4; ++g)
        v[g] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(residual[g]), load_ps(constant(b, kResidualScale, g)), v[g]);
    }
    // What is NaN or below every int32 becomes INT32_MIN, then `low`.
    for (int g = 0; g < 4; ++g) v[g] = _mm512_min_ps(high, v[g]);
    store_u8<kSegments>(b, x, pack_u8(v, limit));
  }
}

// The same for bytes without a residual, in a block that fits_int32().
template <int kSegments, Function kFunction>
__attribute__((noinline)) void finish_curve(const Block& block, int64_t x_end) {
  const Block b = block;
  const Epilogue e = b.call->epilogue;
  const Limits limit = limits(b);
  for (int64_t x = b.first_x; x < x_end; ++x) {
    const std::byte* sums = b.sums + (x - b.first_x) * kPixel;
    __m512 v[4];
    for_groups([&](int g) __attribute__((always_inline)) { v[g] = scaled(b, load(sums + g * kVector), g); });
    evaluate_byte_functions(kFunction, e.alpha, e.beta, v);
    for_groups([&](int g) __attribute__((always_inline)) {
      v[g] = _mm512_fmadd_ps(v[g], load_ps(constant(b, kOutScale, g)), load_ps(constant(b, kOutZero, g)));
    });
    store_u8<kSegments>(b, x, pack_u8(v, limit));
  }
}

template <int kSegments>
void finish_row(const Block& b, int64_t x_end) {
  const Function function = b.call->epilogue.function;
  if (b.in_range && function == Function::kSilu) return finish_curve<kSegments, Function::kSilu>(b, x_end);
  if (b.in_range && function == Function::kHardSwish)
    return finish_curve<kSegments, Function::kHardSwish>(b, x_end);
  if (function == Function::kNone) return finish_row<kSegments>(b, x_end, Function::kNone);
  return finish_row<kSegments>(b, x_end, function);
}

}  // namespace
}  // namespace octet::kernels
