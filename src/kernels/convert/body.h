// The vector kernel: how a call is cut into pieces, and which rows or tiles they are. Internal linkage: each
// instruction set's file has its own copy.
#pragma once

#include "kernels/convert/narrow_pixels.h"
#include "kernels/convert/rows.h"
#include "kernels/convert/tiles.h"

namespace octet::kernels {
namespace {

// Elements of a piece: a few microseconds.
constexpr int64_t kConvertPiece = 16384;

template <class S>
struct ConvertBody {
  // A call that keeps the layout, as rows; a row longer than a piece is cut.
  struct Rows {
    int64_t count, length;
    int64_t in_step, out_step;
    bool vary;        // parameters change along a row
    bool by_channel;  // parameters change from row to row
    int64_t chunks, rows_per_piece;
  };

  static Rows rows_of(const ConvertCall& c) {
    const bool uniform = !c.per_channel || c.op == ConvertOp::kCopy8 || c.op == ConvertOp::kCopy32;
    Rows r;
    r.vary = r.by_channel = false;
    if (c.in_layout == Layout::kPlain && c.out_plane_stride > 0) {
      r.by_channel = false;
      r.count = c.channels;
      r.length = r.in_step = c.pixels;
      r.out_step = c.out_plane_stride;
    } else if (c.in_layout == Layout::kPlain && !uniform && c.pixels == 1) {  // channels are the last axis
      r.vary = true;
      r.count = c.images;
      r.length = r.in_step = r.out_step = c.channels;
    } else if (c.in_layout == Layout::kPlain) {
      r.by_channel = !uniform;
      r.count = uniform ? 1 : c.images * c.channels;
      r.length = uniform ? c.images * c.channels * c.pixels : c.pixels;
      r.in_step = r.out_step = r.length;
    } else if (uniform && c.in_stride == c.channels && c.out_stride == c.channels) {
      r.count = 1;
      r.length = r.in_step = r.out_step = c.images * c.pixels * c.channels;
    } else {
      r.vary = !uniform;
      r.count = c.images * c.pixels;
      r.length = c.channels;
      r.in_step = c.in_stride;
      r.out_step = c.out_stride;
    }
    r.chunks = larger(1, divide_up(r.length, kConvertPiece));
    r.rows_per_piece = r.chunks > 1 ? 1 : larger(1, kConvertPiece / larger(1, r.length));
    return r;
  }

  static int64_t tiles_per_piece(const ConvertCall& c) {
    return larger(1, kConvertPiece / (kTile * larger(1, c.channels)));
  }

  static int64_t pieces(const ConvertCall& c) {
    if (c.in_layout != c.out_layout)
      return divide_up(c.images * divide_up(c.pixels, kTile), tiles_per_piece(c));
    const Rows r = rows_of(c);
    return r.chunks > 1 ? r.count * r.chunks : divide_up(r.count, r.rows_per_piece);
  }

  static PixelRange pixels(const ConvertCall& c, int64_t piece) {
    const int64_t all = c.images * c.pixels;
    if (c.in_layout != c.out_layout) {
      const int64_t tiles = larger(1, divide_up(c.pixels, kTile)), step = tiles_per_piece(c);
      const auto pixel = [&](int64_t i) {
        return i / tiles * c.pixels + smaller(c.pixels, i % tiles * kTile);
      };
      return {pixel(piece * step), pixel(smaller(c.images * tiles, (piece + 1) * step))};
    }
    const Rows r = rows_of(c);
    if (c.in_layout == Layout::kPlain || r.chunks > 1 || r.count != all) return {0, all};
    return {piece * r.rows_per_piece, smaller(all, (piece + 1) * r.rows_per_piece)};
  }

  static void run_row(const ConvertCall& c, const Rows& r, int64_t row, int64_t first, int64_t count) {
    const bool exact = c.in_layout == Layout::kPlain;
    const int64_t from = row * r.in_step + first, to = row * r.out_step + first;
    if (r.vary)
      ConvertRow<S, true>::run(c, from, to, count, first, exact);
    else
      ConvertRow<S, false>::run(c, from, to, count, r.by_channel ? row % c.channels : 0, exact);
    if (c.out_layout == Layout::kNhwc && first + count == r.length) {
      auto* out = static_cast<uint8_t*>(c.output) + row * r.out_step;
      for (int64_t i = c.channels; i < c.fill; ++i) out[i] = 0;
    }
  }

  static void run(const ConvertCall& c, int64_t begin, int64_t end) noexcept {
    if (c.in_layout != c.out_layout) {
      const int64_t tiles = divide_up(c.pixels, kTile), step = tiles_per_piece(c);
      const int64_t last = smaller(c.images * tiles, end * step);
      for (int64_t i = begin * step; i < last;) {
        const int64_t image = i / tiles, first = i - image * tiles, stop = smaller(tiles, first + last - i);
        ConvertTiles<S>::run(c, image, first * kTile, smaller(c.pixels, stop * kTile));
        i += stop - first;
      }
      return;
    }
    const Rows r = rows_of(c);
    if (r.chunks > 1) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / r.chunks, first = i % r.chunks * kConvertPiece;
        run_row(c, r, row, first, smaller(kConvertPiece, r.length - first));
      }
      return;
    }
    const int64_t last = smaller(r.count, end * r.rows_per_piece);
    if (r.length == c.channels && NarrowPixels<S>::fits(c))
      return NarrowPixels<S>::run(c, begin * r.rows_per_piece, last);
    for (int64_t row = begin * r.rows_per_piece; row < last; ++row) run_row(c, r, row, 0, r.length);
  }
};

}  // namespace
}  // namespace octet::kernels
