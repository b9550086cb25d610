#include "kernels/depthwise/plan.h"

#include <algorithm>

#include "base/checked.h"

namespace octet::kernels {

namespace {

// Multiply-adds of a piece: a few microseconds to a few tens of them on one core.
constexpr int64_t kLargestPiece = 1'200'000;
constexpr int64_t kSmallestPiece = 100'000;
constexpr int64_t kPieces = 8;
// Maps of at most so many pixels are cut by channels before rows, for their rows are short. Threads that
// share a map find in their caches the rows that they have made in the layer before, but of the smallest
// maps, whose neighbours have large weights, the channels.
constexpr int64_t kSmallMap = 400, kSharedSmallMap = 64;

}  // namespace

DepthwisePlan plan_depthwise(const ConvCall& call, int64_t block_channels) {
  const ConvShape& s = call.shape;
  const int64_t all_blocks = ceil_div(s.out_c, block_channels);
  const int64_t block_row = std::max<int64_t>(1, s.out_w * s.kernel_h * s.kernel_w * block_channels);
  const int64_t block_image = block_row * std::max<int64_t>(1, s.out_h);
  const int64_t target =
      std::clamp(block_image * all_blocks * s.batch / kPieces, kSmallestPiece, kLargestPiece);

  DepthwisePlan plan{};
  if (s.out_h * s.out_w <= (call.threads == 1 ? kSmallMap : kSharedSmallMap)) {
    plan.blocks = std::clamp<int64_t>(target / block_image, 1, all_blocks);
    plan.rows = plan.blocks > 1 ? s.out_h : round_up(std::max<int64_t>(target / block_row, 1), 4);
  } else {
    plan.rows = round_up(std::max<int64_t>(target / (block_row * all_blocks), 1), 4);
    plan.blocks = std::clamp<int64_t>(target / (block_row * plan.rows), 1, all_blocks);
  }
  plan.rows = std::clamp<int64_t>(plan.rows, 1, std::max<int64_t>(s.out_h, 1));
  plan.bands = ceil_div(s.out_h, plan.rows);
  plan.ranges = ceil_div(all_blocks, plan.blocks);
  plan.blocks = ceil_div(all_blocks, plan.ranges);
  plan.ranges = ceil_div(all_blocks, plan.blocks);
  plan.pieces = s.batch * plan.bands * plan.ranges;
  return plan;
}

DepthwisePiece depthwise_piece(const DepthwisePlan& plan, const ConvShape& s, int64_t block_channels,
                               int64_t index) {
  const int64_t range = index % plan.ranges, band = index / plan.ranges % plan.bands;
  DepthwisePiece piece{};
  piece.image = index / plan.ranges / plan.bands;
  piece.row_begin = band * plan.rows;
  piece.row_end = std::min(piece.row_begin + plan.rows, s.out_h);
  piece.block_begin = range * plan.blocks;
  piece.block_end = std::min(piece.block_begin + plan.blocks, ceil_div(s.out_c, block_channels));
  return piece;
}

PixelRange piece_pixels(const DepthwisePlan& plan, const ConvShape& s, int64_t block_channels,
                        int64_t index) {
  const DepthwisePiece piece = depthwise_piece(plan, s, block_channels, index);
  const int64_t image = piece.image * s.out_h;
  return {(image + piece.row_begin) * s.out_w, (image + piece.row_end) * s.out_w};
}

void depthwise_rows(const ConvCall& call, int64_t channel, int64_t image, int64_t y, bool used, int64_t count,
                    DepthwiseRow* rows, int64_t row_stride) {
  const ConvShape& s = call.shape;
  for (int64_t ky = 0; ky < count; ++ky) {
    const int64_t iy = y * s.stride_h - s.pad_top + ky * s.dilation_h;
    const bool inside = used && ky < s.kernel_h && iy >= 0 && iy < s.in_h;
    const uint8_t* base =
        inside ? call.input + (image * s.in_h + iy) * s.in_w * call.in_pixel_stride : call.pad_pixel;
    rows[ky * row_stride] = {base + channel, inside ? -1 : 0};
  }
}

}  // namespace octet::kernels
