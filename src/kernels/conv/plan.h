// How a vector kernel cuts a convolution: a piece is a range of output pixels times a range of output
// channels of one group; inside a piece the pixels go in blocks whose tap pointers are computed once. Output
// pixels form one line, batch x out_h x out_w.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/conv/conv.h"
#include "kernels/conv/pack.h"

namespace octet::kernels {

// Largest tiles of a kernel: pixels[n - 1] pixels for n blocks of 16 output channels.
struct ConvTiles {
  int max_blocks;
  int pixels[4];
  // Several small groups share the 16 lanes of a block: tiles count over all channels.
  bool lane_groups = false;
  int64_t block_pixels = 112;  // at most: amortizes the weights that a tile streams from L2
  int64_t speed = 1;           // multiply-adds in the time of one on vector units
};

struct ConvPlan {
  PackedConv packed;
  int64_t pixels;

  // One run is a contiguous stretch of K that one pointer per pixel serves: a tap, or a whole kernel row
  // where the taps of a row are adjacent in memory.
  bool row_runs;
  int64_t runs, run_bytes;
  bool linear;  // output pixel i reads input pixel i alone

  int64_t tiles;  // tiles of up to max_blocks blocks in one group
  int64_t all_tiles;
  int64_t tile_blocks;   // blocks of the largest of them
  int64_t tile_pixels;   // most pixels of a tile
  int64_t block_pixels;  // pixels whose pointers are computed at once

  int64_t piece_pixels, pixel_pieces;
  int64_t piece_tiles, channel_pieces;  // tiles of output channels
  bool channels_outer;
  int64_t pieces;

  int64_t pointer_bytes, slot_bytes, scratch_bytes;
};

ConvPlan plan_conv(const ConvCall& call, const ConvTiles& tiles);

// Piece `index` of a plan.
struct ConvPiece {
  int64_t first_pixel, last_pixel;
  int64_t first_tile, last_tile;  // counted over all groups
};
ConvPiece conv_piece(const ConvPlan& plan, int64_t index);
// All where pieces differ in channels, which go in order for the sake of the weights.
PixelRange piece_pixels(const ConvPlan& plan, int64_t index);

// First block of tile `index` of a group: tiles are of nearly equal size.
int64_t first_block(const ConvPlan& plan, int64_t index);

// Every shape but depthwise.
bool supports_dense_conv(const ConvShape& shape);

}  // namespace octet::kernels
