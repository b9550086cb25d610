// u8 x s8 convolution with an exact int32 sum and a fused epilogue; also gemm (a 1x1 convolution over the
// rows).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "kernels/epilogue.h"
#include "kernels/pixels.h"

namespace octet::kernels {

// Logical shape. Activations are NHWC, weights OIHW with I = in_c / groups. Padding is given at the top and
// left; the bottom and right follow from the output size.
struct ConvShape {
  int64_t batch = 1;
  int64_t in_h = 1, in_w = 1, in_c = 1;
  int64_t out_h = 1, out_w = 1, out_c = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;

  bool depthwise() const { return groups > 1 && groups == in_c && groups == out_c; }
};

// Bytes that may be read past the last channel of a pixel (weights there are zero), and past the end of every
// buffer.
inline constexpr int64_t kOverread = 64;
// Per-channel arrays of a call have this many entries or a multiple of it.
inline constexpr int64_t kChannelPad = 64;

// One convolution over memory that the caller owns.
struct ConvCall {
  ConvShape shape;
  const uint8_t* input = nullptr;
  int64_t in_pixel_stride = 0;  // bytes between pixels, >= in_c; rows and images follow without gaps
  const uint8_t* pad_pixel =
      nullptr;  // in_c zero-points (then anything, up to a multiple of 64): the pixel outside of the image
  const std::byte* weights = nullptr;  // from pack_conv_weights, 64-byte aligned
  const int32_t* acc_init = nullptr;   // per output channel: -sum(zero_point * weight), padded to kChannelPad
  Epilogue epilogue;
  const uint8_t* residual = nullptr;  // with epilogue.residual_scale
  int64_t residual_pixel_stride = 0;
  void* output = nullptr;  // uint8_t or float
  bool float_output = false;
  int64_t out_pixel_stride =
      0;  // elements between pixels, >= out_c; exactly out_c elements of each pixel are written
  // Tactic: most blocks of 16 output channels in a tile of a dense convolution, 1 to kMostTileBlocks; 0: as
  // many as the kernel has. Fewer channels make room for more pixels. Results are the same.
  int tile_blocks = 0;
  // Threads that share the call: decides how it is cut. Results are the same.
  int threads = 1;
};
inline constexpr int kMostTileBlocks = 4;

// A kernel of the family. `pieces` is the number of independent parts of a call; run() may be called for
// disjoint ranges by several threads at once, each with its own scratch memory (64-byte aligned).
struct ConvKernel {
  std::string_view name;
  Isa isa;
  bool (*supports)(const ConvShape& shape);
  int64_t (*scratch_bytes)(const ConvCall& call);
  int64_t (*pieces)(const ConvCall& call);
  void (*run)(const ConvCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept;
  PixelRange (*pixels)(const ConvCall& call, int64_t piece);  // that the piece writes
};

// All kernels, fastest first; the reference, which supports every shape, is the last.
std::span<const ConvKernel* const> conv_kernels();

// The fastest kernel for `shape` that `isa` can run.
const ConvKernel& choose_conv(const ConvShape& shape, Isa isa);

// The one weight packing that all instruction sets read; it depends on the shape alone. `weights` is OIHW.
int64_t packed_conv_bytes(const ConvShape& shape);
void pack_conv_weights(const ConvShape& shape, const int8_t* weights, std::byte* packed);

// acc_init of a call, from the packed weights: for each output channel the negative sum of zero_point[input
// channel] * weight. `zero_point` has in_c entries; `init` has out_c entries rounded up to kChannelPad, of
// which the rest is zeroed.
void conv_acc_init(const ConvShape& shape, const std::byte* packed, const uint8_t* zero_point, int32_t* init);

}  // namespace octet::kernels
