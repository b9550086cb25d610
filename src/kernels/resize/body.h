// The vector kernel, over the vectors `S` of simd/vector_*.h. Internal linkage: each instruction set's file
// has its own copy.
#pragma once

#include "kernels/resize/resize.h"
#include "kernels/simd/copy_body.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {
namespace {

// Output bytes of a piece.
constexpr int64_t kResizePiece = 16384;

static inline int64_t resize_rows_per_piece(const ResizeCall& r) {
  return larger(1, kResizePiece / larger(1, r.out_w * r.channels));
}

static inline int64_t resize_pieces(const ResizeCall& r) {
  return divide_up(r.images * r.out_h, resize_rows_per_piece(r));
}

template <class S>
struct ResizeBody {
  using B = typename S::B;
  using F = typename S::F;
  using I = typename S::I;

  struct Corners {
    const uint8_t *p00, *p01, *p10, *p11;
    F wx, wy;
  };

  __attribute__((always_inline)) static I value(const ResizeCall& r, const Corners& p, int64_t c) {
    const F x00 = S::to_float(S::widen(p.p00 + c)), x01 = S::to_float(S::widen(p.p01 + c));
    const F x10 = S::to_float(S::widen(p.p10 + c)), x11 = S::to_float(S::widen(p.p11 + c));
    const F top = S::fma(p.wx, S::sub(x01, x00), x00), bottom = S::fma(p.wx, S::sub(x11, x10), x10);
    const F v = S::fma(p.wy, S::sub(bottom, top), top);
    return S::round(S::fma(v, S::load(r.scale + c), S::load(r.bias + c)), S::set(r.high));
  }

  static void linear_pixel(const ResizeCall& r, const Corners& p, uint8_t* out) {
    constexpr int n = S::kFloats;
    const B low = S::set_bytes(r.low);
    int64_t c = 0;
    for (; c + S::kBytes <= r.channels; c += S::kBytes) {
      const B v = S::pack(value(r, p, c), value(r, p, c + n), value(r, p, c + 2 * n), value(r, p, c + 3 * n));
      S::store_bytes(out + c, S::max_bytes(v, low));
    }
    const int64_t rest = r.channels - c;
    if (rest == 0) return;
    const I none = S::zero_int();
    const B v =
        S::pack(value(r, p, c), rest > n ? value(r, p, c + n) : none,
                rest > 2 * n ? value(r, p, c + 2 * n) : none, rest > 3 * n ? value(r, p, c + 3 * n) : none);
    S::store_bytes_some(out + c, S::max_bytes(v, low), rest);
  }

  // A row of kNearest: sources that lie one behind the other without gaps are copied together.
  static void nearest_row(const ResizeCall& r, const uint8_t* row, uint8_t* out) {
    const int32_t* index = r.columns.index0;
    const bool together = r.in_stride == r.channels && r.out_stride == r.channels;
    for (int64_t x = 0; x < r.out_w;) {
      int64_t count = 1;
      if (together && index[x] >= 0)
        while (x + count < r.out_w && index[x + count] == index[x] + count) ++count;
      copy_bytes<S>(index[x] < 0 ? r.fill : row + index[x] * r.in_stride, out, count * r.channels);
      out += count * r.out_stride;
      x += count;
    }
  }

  static void run(const ResizeCall& r, int64_t begin, int64_t end) noexcept {
    const int64_t step = resize_rows_per_piece(r), last = smaller(r.images * r.out_h, end * step);
    for (int64_t i = begin * step; i < last; ++i) {
      const int64_t oy = i % r.out_h;
      const uint8_t* image = r.input + i / r.out_h * r.in_h * r.in_w * r.in_stride;
      uint8_t* out = r.output + i * r.out_w * r.out_stride;
      if (r.rows.index0[oy] < 0) {
        for (int64_t ox = 0; ox < r.out_w; ++ox, out += r.out_stride) copy_bytes<S>(r.fill, out, r.channels);
        continue;
      }
      const uint8_t* row0 = image + r.rows.index0[oy] * r.in_w * r.in_stride;
      if (r.mode == ResizeMode::kNearest) {
        nearest_row(r, row0, out);
        continue;
      }
      const uint8_t* row1 = image + r.rows.index1[oy] * r.in_w * r.in_stride;
      const F wy = S::set(r.rows.weight[oy]);
      for (int64_t ox = 0; ox < r.out_w; ++ox, out += r.out_stride) {
        const int64_t x0 = r.columns.index0[ox] * r.in_stride, x1 = r.columns.index1[ox] * r.in_stride;
        linear_pixel(r, {row0 + x0, row0 + x1, row1 + x0, row1 + x1, S::set(r.columns.weight[ox]), wy}, out);
      }
    }
  }
};

}  // namespace
}  // namespace octet::kernels
