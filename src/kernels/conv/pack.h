// The canonical weight packing of convolutions that are not depthwise:
//
//   [groups][ceil(OCg / 16)][K / 4][16 output channels][4 values of K]     int8, zero padded
//   [groups][ceil(OCg / 16)]                                               flags, one byte each, padded to 64
//   bytes
//
// K runs over kernel_h x kernel_w x round_up(ICg, 4), input channels fastest. A flag is 1 when no pair of
// adjacent K values (2i, 2i + 1) can leave int16 for any two u8 inputs, which makes vpmaddubsw exact for the
// block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/conv/conv.h"

namespace octet::kernels {

struct PackedConv {
  int64_t in_c, out_c;   // of one group
  int64_t padded_in_c;   // in_c rounded up to 4
  int64_t k4;            // groups of 4 bytes in K
  int64_t blocks;        // blocks of 16 output channels in one group
  int64_t block_bytes;   // of one block
  int64_t flags_offset;  // of the flags
  int64_t bytes;         // of everything
};

// Geometry of the packing; overflow of a size throws Error.
PackedConv packed_conv(const ConvShape& shape);

}  // namespace octet::kernels
