// The multiplication loops of the AVX-512 depthwise kernel over one part of an output row (of each segment).
// Only for files compiled for this instruction set.
#pragma once

#include "kernels/depthwise/avx512vnni_block.h"

namespace octet::kernels {
namespace {

OCTET_FORCE_INLINE void load_init(const Block& b, __m512i (&acc)[4]) {
  for_groups([&](int g) __attribute__((always_inline)) { acc[g] = load(constant(b, kInit, g)); });
}

template <int kHalf>
OCTET_FORCE_INLINE void load_init_half(const Block& b, __m512i (&acc)[2]) {
  acc[0] = load(constant(b, kInit, kHalf * 2));
  acc[1] = load(constant(b, kInit, kHalf * 2 + 1));
}

// Kernels three wide and at most three high: three interleaved columns and all weights stay in registers.
template <int kSegments, int kStride, bool kFused>
void row_3x3(const Block& block, const Walk& part) {
  const Block b = block;  // copies, which the stores of bytes cannot change
  const Walk walk = part;
  const Limits limit = limits(b);
  __m512i w[3][4];
  for (int kx = 0; kx < 3; ++kx)
    for (int g = 0; g < 4; ++g) w[kx][g] = load(b.weights + (kx * 4 + g) * kVector);

  int64_t column = walk.column, x = walk.x, left = walk.count;
  Cursor<kSegments> row0 = cursor<kSegments>(b, 0, walk), row1 = cursor<kSegments>(b, 1, walk),
                    row2 = cursor<kSegments>(b, 2, walk);
  const auto next_column = [&](Sums & out) __attribute__((always_inline)) {
    if (inside(b, column)) {
      const __m512i r2 = load_pixel(row2);  // twice: weights of the fourth row are 0
      interleave(load_pixel(row0), load_pixel(row1), r2, r2, out);
    } else {
      for_groups([&](int g) __attribute__((always_inline)) { out[g] = load(b.pad_column + g * kVector); });
    }
    advance(row0);
    advance(row1);
    advance(row2);
    column += walk.column_step;
  };
  const auto output = [&](const __m512i(&c0)[4], const __m512i(&c1)[4], const __m512i(&c2)[4])
      __attribute__((always_inline)) {
    __m512i acc[4];
    load_init(b, acc);
    for (int g = 0; g < 4; ++g) dot(acc[g], c0[g], w[0][g]);
    for (int g = 0; g < 4; ++g) dot(acc[g], c1[g], w[1][g]);
    for (int g = 0; g < 4; ++g) dot(acc[g], c2[g], w[2][g]);
    emit<kSegments, kFused>(b, x, acc, limit);
    x += walk.x_step;
  };

  __m512i c0[4], c1[4], c2[4];
  next_column(c0);
  if constexpr (kStride == 1) {
    next_column(c1);
    for (;;) {
      next_column(c2);
      output(c0, c1, c2);
      if (--left == 0) break;
      next_column(c0);
      output(c1, c2, c0);
      if (--left == 0) break;
      next_column(c1);
      output(c2, c0, c1);
      if (--left == 0) break;
    }
  } else {
    for (;;) {
      next_column(c1);
      next_column(c2);
      output(c0, c1, c2);
      if (--left == 0) break;
      next_column(c1);
      next_column(c0);
      output(c2, c1, c0);
      if (--left == 0) break;
    }
  }
}

// 5x5, for two of the four groups at a time (kHalf 0: groups 0 and 1), so that sums and weights stay in
// registers.
//
// Each column is interleaved once and added to the sums of every output that needs it. Rows 0 to 3 share a
// multiplication. Row 4 is multiplied four columns at a time when an output ends: by weights 1 to 4 for that
// output, and by weight 0 for the next one.
using Half = __m512i[2];

// Where fold_row4 leaves the weights of row 4, four groups each.
constexpr int64_t kRow4First = kPixel;  // column 0 in byte 0 (stride 1) or 1 (stride 2), zeros else
constexpr int64_t kRow4 = 3 * kPixel;   // columns 1 to 4 in the bytes

// Rearranges the weights of a block in place, once.
void fold_row4(const Block& b, int64_t stride) {
  for (int g = 0; g < 4; ++g) {
    const auto at = [&](int kx) { return b.weights + (kx * 2 + 1) * kPixel + g * kVector; };
    const __m512i low = _mm512_or_si512(load(at(1)), _mm512_slli_epi32(load(at(2)), 8));
    const __m512i high =
        _mm512_or_si512(_mm512_slli_epi32(load(at(3)), 16), _mm512_slli_epi32(load(at(4)), 24));
    if (stride == 2) _mm512_store_si512(at(0), _mm512_slli_epi32(load(at(0)), 8));
    _mm512_store_si512(at(1), _mm512_or_si512(low, high));
  }
}

struct Weights5x5 {
  Half w0, w1, w2, w3, w4;  // rows 0 to 3 of a column
  Half row4_first, row4;
};

template <int kHalf>
OCTET_FORCE_INLINE Weights5x5 load_weights(const Block& b) {
  const auto at = [&](int64_t offset, int g) { return load(b.weights + offset + (kHalf * 2 + g) * kVector); };
  const auto column = [&](int64_t kx, int g) { return at(kx * 2 * kPixel, g); };
  return {{column(0, 0), column(0, 1)}, {column(1, 0), column(1, 1)}, {column(2, 0), column(2, 1)},
          {column(3, 0), column(3, 1)}, {column(4, 0), column(4, 1)}, {at(kRow4First, 0), at(kRow4First, 1)},
          {at(kRow4, 0), at(kRow4, 1)}};
}

OCTET_FORCE_INLINE void add_taps(const Half& u8, const Half& weights, Half& sums) {
  dot(sums[0], u8[0], weights[0]);
  dot(sums[1], u8[1], weights[1]);
}

template <int kHalf>
OCTET_FORCE_INLINE void interleave_half(__m512i r0, __m512i r1, __m512i r2, __m512i r3, Half& out) {
  const __m512i a = kHalf == 0 ? _mm512_unpacklo_epi8(r0, r1) : _mm512_unpackhi_epi8(r0, r1);
  const __m512i c = kHalf == 0 ? _mm512_unpacklo_epi8(r2, r3) : _mm512_unpackhi_epi8(r2, r3);
  out[0] = _mm512_unpacklo_epi16(a, c);
  out[1] = _mm512_unpackhi_epi16(a, c);
}

// The input rows and the current column.
template <int kSegments>
struct Window5x5 {
  Cursor<kSegments> row0, row1, row2, row3, row4;
  int64_t column, column_step;
};

template <int kSegments>
OCTET_FORCE_INLINE Window5x5<kSegments> window_5x5(const Block& b, const Walk& walk) {
  return {cursor<kSegments>(b, 0, walk),
          cursor<kSegments>(b, 1, walk),
          cursor<kSegments>(b, 2, walk),
          cursor<kSegments>(b, 3, walk),
          cursor<kSegments>(b, 4, walk),
          walk.column,
          walk.column_step};
}

template <int kSegments>
OCTET_FORCE_INLINE void advance(Window5x5<kSegments>& w) {
  advance(w.row0);
  advance(w.row1);
  advance(w.row2);
  advance(w.row3);
  advance(w.row4);
  w.column += w.column_step;
}

template <int kHalf, int kSegments>
OCTET_FORCE_INLINE void load_column_half(const Block& b, const Window5x5<kSegments>& w, Half& out) {
  if (inside(b, w.column)) {
    interleave_half<kHalf>(load_pixel(w.row0), load_pixel(w.row1), load_pixel(w.row2), load_pixel(w.row3),
                           out);
  } else {
    out[0] = load(b.pad_column + kHalf * 2 * kVector);
    out[1] = load(b.pad_column + (kHalf * 2 + 1) * kVector);
  }
}

// Kernel row 4 over four columns, the last of them the current one.
template <int kHalf, int kSegments>
OCTET_FORCE_INLINE void load_row4(const Block& b, const Window5x5<kSegments>& w, Half& out) {
  const int64_t first = w.column - 3 * w.column_step;
  if (first >= 0 && w.column < b.in_w) {
    interleave_half<kHalf>(load_pixel(w.row4, 3), load_pixel(w.row4, 2), load_pixel(w.row4, 1),
                           load_pixel(w.row4, 0), out);
  } else {
    const auto at = [&](int back) __attribute__((always_inline)) {
      if (inside(b, w.column - back * w.column_step)) return load_pixel(w.row4, back);
      return load_pixel<kSegments>([&](int) { return b.pad_pixel; });
    };
    interleave_half<kHalf>(at(3), at(2), at(1), at(0), out);
  }
}

// Takes half of the sums of output x. Fused, the first half waits in `sums` as 16-bit words for the second.
template <int kSegments, int kHalf, bool kFused>
OCTET_FORCE_INLINE void emit_half(const Block& b, int64_t x, const Half& acc, const Limits& limit) {
  if constexpr (kFused) {
    const __m512i i0 = _mm512_cvtps_epi32(scaled(b, acc[0], kHalf * 2));
    const __m512i i1 = _mm512_cvtps_epi32(scaled(b, acc[1], kHalf * 2 + 1));
    const __m512i words = _mm512_packs_epi32(i0, i1);
    std::byte* first = b.sums + (x - b.first_x) * kVector;
    if constexpr (kHalf == 0) {
      _mm512_store_si512(first, words);
    } else {
      store_u8<kSegments>(b, x, limited(_mm512_packus_epi16(load(first), words), limit));
    }
  } else {
    std::byte* sums = b.sums + (x - b.first_x) * kPixel + kHalf * 2 * kVector;
    _mm512_store_si512(sums, acc[0]);
    _mm512_store_si512(sums + kVector, acc[1]);
  }
}

// The end of output `end` at its last column; a negative one is not written, but the next may need its last
// column.
template <int kSegments, int kHalf, bool kFused>
OCTET_FORCE_INLINE void end_5x5(const Block& b, const Walk& walk, int64_t end,
                                const Window5x5<kSegments>& window, const Weights5x5& w, Half& ending,
                                Half& next, const Limits& limit) {
  Half u8;
  load_row4<kHalf>(b, window, u8);
  add_taps(u8, w.row4_first, next);
  add_taps(u8, w.row4, ending);
  if (end >= 0) emit_half<kSegments, kHalf, kFused>(b, walk.x + end * walk.x_step, ending, limit);
}

template <int kSegments, int kHalf, bool kFused>
void row_5x5_stride1(const Block& block, const Walk& part) {
  const Block b = block;
  const Walk walk = part;
  const Limits limit = limits(b);
  const Weights5x5 w = load_weights<kHalf>(b);
  Window5x5<kSegments> window = window_5x5<kSegments>(b, walk);
  // The first column of an output, whose sums are s0, and what it adds to the outputs before, s1 and so on.
  const auto step = [&](int64_t o, Half & s0, Half & s1, Half & s2, Half & s3, Half & s4)
      __attribute__((always_inline)) {
    Half u8;
    load_column_half<kHalf>(b, window, u8);
    load_init_half<kHalf>(b, s0);
    add_taps(u8, w.w0, s0);
    add_taps(u8, w.w1, s1);
    add_taps(u8, w.w2, s2);
    add_taps(u8, w.w3, s3);
    add_taps(u8, w.w4, s4);
    end_5x5<kSegments, kHalf, kFused>(b, walk, o - 4, window, w, s4, s3, limit);
    advance(window);
  };
  Half s0, s1, s2, s3, s4;
  load_init_half<kHalf>(b, s1);
  load_init_half<kHalf>(b, s2);
  load_init_half<kHalf>(b, s3);
  load_init_half<kHalf>(b, s4);
  for (int64_t o = 0;;) {
    step(o, s0, s4, s3, s2, s1);
    if (++o == walk.count + 4) break;
    step(o, s1, s0, s4, s3, s2);
    if (++o == walk.count + 4) break;
    step(o, s2, s1, s0, s4, s3);
    if (++o == walk.count + 4) break;
    step(o, s3, s2, s1, s0, s4);
    if (++o == walk.count + 4) break;
    step(o, s4, s3, s2, s1, s0);
    if (++o == walk.count + 4) break;
  }
}

template <int kSegments, int kHalf, bool kFused>
void row_5x5_stride2(const Block& block, const Walk& part) {
  const Block b = block;
  const Walk walk = part;
  const Limits limit = limits(b);
  const Weights5x5 w = load_weights<kHalf>(b);
  Window5x5<kSegments> window = window_5x5<kSegments>(b, walk);
  const auto step = [&](int64_t o, Half & s0, Half & s1, Half & s2) __attribute__((always_inline)) {
    Half u8;
    load_column_half<kHalf>(b, window, u8);
    load_init_half<kHalf>(b, s0);
    add_taps(u8, w.w0, s0);
    add_taps(u8, w.w2, s1);
    add_taps(u8, w.w4, s2);
    end_5x5<kSegments, kHalf, kFused>(b, walk, o - 2, window, w, s2, s1, limit);
    advance(window);
    load_column_half<kHalf>(b, window, u8);
    add_taps(u8, w.w1, s0);
    add_taps(u8, w.w3, s1);
    advance(window);
  };
  Half s0, s1, s2;
  load_init_half<kHalf>(b, s1);
  load_init_half<kHalf>(b, s2);
  for (int64_t o = 0;;) {
    step(o, s0, s2, s1);
    if (++o == walk.count + 2) break;
    step(o, s1, s0, s2);
    if (++o == walk.count + 2) break;
    step(o, s2, s1, s0);
    if (++o == walk.count + 2) break;
  }
}

template <int kSegments, int kStride, bool kFused>
void row_5x5(const Block& b, const Walk& walk) {
  if constexpr (kStride == 1) {
    row_5x5_stride1<kSegments, 0, kFused>(b, walk);
    row_5x5_stride1<kSegments, 1, kFused>(b, walk);
  } else {
    row_5x5_stride2<kSegments, 0, kFused>(b, walk);
    row_5x5_stride2<kSegments, 1, kFused>(b, walk);
  }
}

// Any kernel: the interleaved columns of a tile go to memory first.
template <int kSegments>
void columns_any(const Block& b, const Walk& walk, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t offset = (walk.column + i) * b.pitch;
    std::byte* out = b.columns + i * b.quads * kPixel;
    for (int64_t q = 0; q < b.quads; ++q, out += kPixel) {
      Sums column;
      if (inside(b, walk.column + i)) {
        const auto row = [&](int64_t ky) {
          const Row* rows = b.rows + (q * 4 + ky) * 4;
          return load_pixel<kSegments>([&](int s) { return rows[s].base + (offset & rows[s].mask); });
        };
        interleave(row(0), row(1), row(2), row(3), column);
      } else {
        for (int g = 0; g < 4; ++g) column[g] = load(b.pad_column + g * kVector);
      }
      for (int g = 0; g < 4; ++g) _mm512_store_si512(out + g * kVector, column[g]);
    }
  }
}

template <int kOutputs>
OCTET_FORCE_INLINE void outputs_any(const Block& b, int64_t first) {
  const ConvShape& s = b.call->shape;
  const int64_t output_step = s.stride_w * b.quads * kPixel;
  __m512i acc[kOutputs][4];
  for (int i = 0; i < kOutputs; ++i) load_init(b, acc[i]);
  const std::byte* weights = b.weights;
  for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
    const std::byte* column = b.columns + (first * s.stride_w + kx * s.dilation_w) * b.quads * kPixel;
    for (int64_t q = 0; q < b.quads; ++q, column += kPixel, weights += kPixel) {
      for (int g = 0; g < 4; ++g) {
        const __m512i w = load(weights + g * kVector);
        for (int i = 0; i < kOutputs; ++i) dot(acc[i][g], load(column + i * output_step + g * kVector), w);
      }
    }
  }
  for (int i = 0; i < kOutputs; ++i)
    for (int g = 0; g < 4; ++g) _mm512_store_si512(b.sums + (first + i) * kPixel + g * kVector, acc[i][g]);
}

template <int kSegments>
void row_any(const Block& b, const Walk& walk) {
  const ConvShape& s = b.call->shape;
  columns_any<kSegments>(b, walk, (walk.count - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1);
  int64_t i = 0;
  for (; i + 4 <= walk.count; i += 4) outputs_any<4>(b, i);
  for (; i < walk.count; ++i) outputs_any<1>(b, i);
}

}  // namespace
}  // namespace octet::kernels
