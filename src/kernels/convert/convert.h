// Quantization, dequantization and copies between layouts: what happens at the borders of the integer part of
// a network.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "kernels/pixels.h"
#include "tensor/layout.h"

namespace octet::kernels {

enum class ConvertOp : uint8_t {
  kQuantize,    // f32 to 8 bits:  saturate_to[low, high](round_half_even((x + offset) / scale) + zero_point);
                // NaN gives low
  kDequantize,  // 8 bits to f32:  float(q - zero_point) * scale
  kCopy8,       // 8 bits as they are
  kCopy32,      // 32 bits as they are
};

// A tensor of images x channels x pixels. Plain is [images][channels][pixels] without gaps; NHWC is
// [images][pixels][channels] with a distance between pixels. A plain tensor with one scale is one image of
// one channel; per-channel scales along any axis of a plain tensor are images (what is before the axis) x
// channels x pixels (what is behind it).
//
// Zero-points, low and high are those of u8. `flip_sign` says that the 8-bit side outside of the network is
// s8: then kQuantize and kCopy8 write byte ^ 0x80, and kDequantize takes q = byte ^ 0x80 (pass zero-points +
// 128). x / scale is IEEE division; scales are > 0.
//
// `out_plane_stride`: kCopy32 of one image to plain output may leave gaps between the planes of its channels.
//
// `fill`: with 8-bit NHWC output the bytes of each pixel from `channels` up to `fill` (<= out_stride) are set
// to 0; exactly max(channels, fill) are written. Memory is the caller's; 8-bit NHWC input may be read up to
// 64 bytes past the last channel of a pixel, all other input is read exactly. kQuantize and kDequantize need
// one entry per channel in scale and zero_point, padded to a multiple of 64 entries; kQuantize also in
// offset.
struct ConvertCall {
  ConvertOp op = ConvertOp::kCopy8;
  int64_t images = 1, channels = 1, pixels = 1;
  const void* input = nullptr;
  Layout in_layout = Layout::kPlain;
  int64_t in_stride = 0;  // elements between pixels of NHWC input
  void* output = nullptr;
  Layout out_layout = Layout::kPlain;
  int64_t out_stride = 0;        // elements between pixels of NHWC output
  int64_t out_plane_stride = 0;  // elements, >= pixels; 0: no gaps
  int64_t fill = 0;
  const float* scale = nullptr;
  const int32_t* zero_point = nullptr;
  const float* offset = nullptr;
  bool per_channel = true;  // false promises that all entries of each array are equal
  uint8_t low = 0, high = 255;
  bool flip_sign = false;
};

// A kernel of the family. `pieces` is the number of independent parts; run() may be called for disjoint
// ranges by several threads at once.
struct ConvertKernel {
  std::string_view name;
  Isa isa;
  int64_t (*pieces)(const ConvertCall& call);
  void (*run)(const ConvertCall& call, int64_t begin, int64_t end) noexcept;
  PixelRange (*pixels)(const ConvertCall& call, int64_t piece);  // that the piece moves; of plain tensors all
};

// All kernels, fastest first; the reference is the last.
std::span<const ConvertKernel* const> convert_kernels();
const ConvertKernel& choose_convert(Isa isa);

}  // namespace octet::kernels
