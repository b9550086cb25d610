// How a call is cut into pieces; the same for every instruction set.
#pragma once

#include <cstdint>

#include "kernels/eltwise/eltwise.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {

// A few microseconds of work.
constexpr int64_t kPieceElements = 16384;

// Without gaps and per-channel arrays a call is one long row.
static inline bool eltwise_flat(const EltwiseCall& call) {
  return call.broadcast == Broadcast::kNone && !call.per_channel && call.a_stride == call.channels &&
         call.b_stride == call.channels && call.out_stride == call.channels;
}

// Where there are several pieces each thread gets as many.
static inline int64_t eltwise_rows_per_piece(const EltwiseCall& call) {
  const int64_t rows = larger(1, call.images * call.pixels);
  const int64_t step = larger(1, kPieceElements / larger(1, call.channels));
  const int64_t pieces = divide_up(rows, step);
  return pieces == 1 ? step : divide_up(rows, divide_up(pieces, call.threads) * call.threads);
}

static inline int64_t eltwise_pieces(const EltwiseCall& call) {
  const int64_t rows = call.images * call.pixels;
  if (eltwise_flat(call)) return divide_up(rows * call.channels, kPieceElements);
  const int64_t step = eltwise_rows_per_piece(call);
  return divide_up(rows, step);
}

static inline PixelRange eltwise_pixels(const EltwiseCall& call, int64_t piece) {
  const int64_t all = call.images * call.pixels;
  if (!eltwise_flat(call)) {
    const int64_t step = eltwise_rows_per_piece(call);
    return {piece * step, smaller(all, (piece + 1) * step)};
  }
  const int64_t first = piece * kPieceElements;
  return {first / call.channels, smaller(all, divide_up(first + kPieceElements, call.channels))};
}

}  // namespace octet::kernels
