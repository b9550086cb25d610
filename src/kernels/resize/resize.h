// Nearest and linear resizing of u8 tensors by index maps of the caller, so that every coordinate rule of
// ONNX can be served; padding is such a map too.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace octet::kernels {

enum class ResizeMode : uint8_t { kNearest, kLinear };

// Source positions along one axis, one entry per output position; all indices are inside of the image, or -1
// (kNearest): there stands `fill`.
struct ResizeAxis {
  const int32_t* index0 = nullptr;
  const int32_t* index1 = nullptr;  // kLinear
  const float* weight = nullptr;    // kLinear: of index1
};

// kNearest: out[y][x] = in[rows.index0[y]][columns.index0[x]], or fill where one of the two is -1
// kLinear, with wx and wy the weights and x00 .. x11 the four inputs (first digit: row) as floats:
//   top = fma(wx, x01 - x00, x00), bottom = fma(wx, x11 - x10, x10), v = fma(wy, bottom - top, top)
//   out = saturate_to[low, high](round_half_even(fma(v, scale[c], bias[c]))), NaN gives low
//
// So scale = s_x / s_y and bias = z_y - z_x * scale. Memory is the caller's; the input and the fill may be
// read up to 64 bytes past the last channel of a pixel.
struct ResizeCall {
  ResizeMode mode = ResizeMode::kNearest;
  int64_t images = 1, channels = 1;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  ResizeAxis rows, columns;
  const uint8_t* fill = nullptr;  // one pixel, where the axes have a -1
  const uint8_t* input = nullptr;
  int64_t in_stride = 0;  // bytes between pixels, >= channels
  uint8_t* output = nullptr;
  int64_t out_stride = 0;  // bytes between pixels; exactly `channels` of each are written
  // kLinear: one entry per channel, padded to a multiple of 64 entries.
  const float* scale = nullptr;
  const float* bias = nullptr;
  uint8_t low = 0, high = 255;
};

// A kernel of the family. `pieces` is the number of independent parts; run() may be called for disjoint
// ranges by several threads at once.
struct ResizeKernel {
  std::string_view name;
  Isa isa;
  int64_t (*pieces)(const ResizeCall& call);
  void (*run)(const ResizeCall& call, int64_t begin, int64_t end) noexcept;
};

// All kernels, fastest first; the reference is the last.
std::span<const ResizeKernel* const> resize_kernels();
const ResizeKernel& choose_resize(Isa isa);

}  // namespace octet::kernels
