// Maximum and average pooling of u8 tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace octet::kernels {

enum class PoolOp : uint8_t { kMax, kAverage };

// The taps of a window are the input pixels (oy * stride_h - pad_top + ky * dilation_h, ...) that lie inside
// of the image.
//
//   kMax:      the largest tap; 0 for a window without taps
//   kAverage:  sum = exact int32 sum of (x - zero_point[c]) over the taps
//              d = number of taps, or with count_include_pad the number of window positions inside of the
//              padded image v = fma(float(sum), scale[c] / float(d), bias[c]) u8 output: saturate_to[low,
//              high](round_half_even(v)), NaN (d = 0) gives low; f32 output: v
//
// So scale = s_x / s_y and bias = z_y. A global average is a window of the image's size. Memory is the
// caller's; inputs may be read up to 64 bytes past the last channel of a pixel.
struct PoolCall {
  PoolOp op = PoolOp::kMax;
  int64_t images = 1, channels = 1;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t pad_bottom = 0, pad_right = 0;  // used by count_include_pad only
  bool count_include_pad = false;
  const uint8_t* input = nullptr;
  int64_t in_stride = 0;  // bytes between pixels, >= channels
  void* output = nullptr;
  int64_t out_stride = 0;     // elements between pixels; exactly `channels` of each pixel are written
  bool float_output = false;  // kAverage
  // kAverage: one entry per channel, padded to a multiple of 64 entries.
  const int32_t* zero_point = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;
  uint8_t low = 0, high = 255;
};

// A kernel of the family. `pieces` is the number of independent parts; run() may be called for disjoint
// ranges by several threads at once, each with its own 64-byte aligned scratch memory of scratch_bytes.
struct PoolKernel {
  std::string_view name;
  Isa isa;
  int64_t (*scratch_bytes)(const PoolCall& call);
  int64_t (*pieces)(const PoolCall& call);
  void (*run)(const PoolCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept;
};

// All kernels, fastest first; the reference is the last.
std::span<const PoolKernel* const> pool_kernels();
const PoolKernel& choose_pool(Isa isa);

}  // namespace octet::kernels
