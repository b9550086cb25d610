// The vector kernel, over the vectors `S` of simd/vector_*.h and a `Table` with a constructor from 256 bytes
// and `lookup`. Internal linkage: each instruction set's file has its own copy.
#pragma once

#include "kernels/lut/lut.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {
namespace {

constexpr int64_t kLutPiece = 32768;

static inline bool lut_flat(const LutCall& c) {
  return c.in_stride == c.channels && c.out_stride == c.channels;
}

static inline int64_t lut_rows_per_piece(const LutCall& c) {
  return larger(1, kLutPiece / larger(1, c.channels));
}

static inline int64_t lut_pieces(const LutCall& c) {
  return lut_flat(c) ? divide_up(c.pixels * c.channels, kLutPiece)
                     : divide_up(c.pixels, lut_rows_per_piece(c));
}

template <class S, class Table>
void lut_run(const LutCall& call, int64_t begin, int64_t end) noexcept {
  const Table table(call.table);
  const auto row = [&](const uint8_t* in, uint8_t* out, int64_t count) __attribute__((always_inline)) {
    int64_t c = 0;
    for (; c + S::kBytes <= count; c += S::kBytes)
      S::store_bytes(out + c, table.lookup(S::load_bytes(in + c)));
    if (c < count) S::store_bytes_some(out + c, table.lookup(S::load_bytes(in + c)), count - c);
  };
  if (lut_flat(call)) {
    const int64_t first = begin * kLutPiece, last = smaller(call.pixels * call.channels, end * kLutPiece);
    row(call.input + first, call.output + first, last - first);
    return;
  }
  const int64_t step = lut_rows_per_piece(call), last = smaller(call.pixels, end * step);
  for (int64_t p = begin * step; p < last; ++p)
    row(call.input + p * call.in_stride, call.output + p * call.out_stride, call.channels);
}

}  // namespace
}  // namespace octet::kernels
