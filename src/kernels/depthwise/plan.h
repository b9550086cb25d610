// How a depthwise call is cut into independent pieces: bands of output rows times ranges of channel blocks.
// Depends on the shape and on whether several threads share the call.
#pragma once

#include <cstdint>

#include "kernels/conv/conv.h"

namespace octet::kernels {

struct DepthwisePlan {
  int64_t rows;    // output rows of a band, a multiple of 4 or all of them
  int64_t bands;   // bands of an image
  int64_t blocks;  // channel blocks of a piece
  int64_t ranges;  // ranges of channel blocks
  int64_t pieces;
};

struct DepthwisePiece {
  int64_t image;
  int64_t row_begin, row_end;
  int64_t block_begin, block_end;
};

DepthwisePlan plan_depthwise(const ConvCall& call, int64_t block_channels);

// Piece `index` of [0, plan.pieces): neighbours share rows.
DepthwisePiece depthwise_piece(const DepthwisePlan& plan, const ConvShape& shape, int64_t block_channels,
                               int64_t index);

PixelRange piece_pixels(const DepthwisePlan& plan, const ConvShape& shape, int64_t block_channels,
                        int64_t index);

// Pixel x of an input row, from the first channel of a block: base + (x * in_pixel_stride & mask). A row
// outside of the image is the padding's pixel, with mask 0.
struct DepthwiseRow {
  const uint8_t* base;
  int64_t mask;
};

// Fills rows[ky * row_stride] for ky in [0, count) with the input rows of output row y; those from kernel_h
// on, and all where `used` is false, are padding.
void depthwise_rows(const ConvCall& call, int64_t channel, int64_t image, int64_t y, bool used, int64_t count,
                    DepthwiseRow* rows, int64_t row_stride);

}  // namespace octet::kernels
