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

static inline int64_t eltwise_rows_per_piece(const EltwiseCall& call) {
  return larger(1, kPieceElements / std::max<int64_t>(1, call.channels));
}

static inline int64_t eltwise_pieces(const EltwiseCall& call) {
  const int64_t rows = call.images * call.pixels;
  if (eltwise_flat(call)) return divide_up(rows * call.channels, kPieceElements);
  const int64_t step = eltwise_rows_per_piece(call);
  return divide_up(rows, step);
}

}  // namespace octet::kernels
