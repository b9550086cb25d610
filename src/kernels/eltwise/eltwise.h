// Addition and multiplication of two u8 tensors with a fused epilogue.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "kernels/epilogue.h"
#include "kernels/pixels.h"

namespace octet::kernels {

enum class EltwiseOp : uint8_t { kAdd, kMul };

// What the second operand has for each pixel and channel of the first.
enum class Broadcast : uint8_t {
  kNone,   // a value of its own
  kImage,  // one pixel per image (1x1xC), as in squeeze-and-excite
  kPixel,  // one channel per pixel
};

// For pixel p and channel c:
//
//   kAdd:  v = fma(float(a), scale[c], fma(float(b), b_scale[c], bias[c]))
//   kMul:  v = fma(float((a - a_zero[c]) * (b - b_zero[c])), scale[c], bias[c])
//   if function != kNone:  v = function(v), and for u8 output v = fma(v, out_scale[c], out_zero[c])
//   u8 output: saturate_to[low, high](round_half_even(v)), NaN gives low; f32 output: v
// (which NaN is not specified)
//
// with scale, bias and so on from `epilogue`, whose residual_scale is not used. Subtraction is kAdd with a
// negative b_scale. Memory is the caller's; inputs may be read up to 64 bytes past the last channel of a
// pixel. The output may be `a` or `b` itself only where the pixel strides are equal too (and not for f32).
struct EltwiseCall {
  EltwiseOp op = EltwiseOp::kAdd;
  int64_t images = 1, pixels = 1, channels = 1;  // pixels of one image
  const uint8_t* a = nullptr;
  int64_t a_stride = 0;  // bytes between pixels, >= channels; images follow without gaps
  const uint8_t* b = nullptr;
  int64_t b_stride = 0;  // bytes between pixels; with kImage between images, with kPixel >= 1
  Broadcast broadcast = Broadcast::kNone;
  // Padded like the arrays of the epilogue.
  const float* b_scale = nullptr;                      // kAdd
  const int32_t *a_zero = nullptr, *b_zero = nullptr;  // kMul
  bool per_channel = true;  // false promises that all entries of each array are equal
  int threads = 1;          // that share the call: decides how it is cut
  Epilogue epilogue;
  void* output = nullptr;  // uint8_t or float
  bool float_output = false;
  int64_t out_stride =
      0;  // elements between pixels, >= channels; exactly `channels` of each pixel are written
};

// A kernel of the family. `pieces` is the number of independent parts; run() may be called for disjoint
// ranges by several threads at once.
struct EltwiseKernel {
  std::string_view name;
  Isa isa;
  int64_t (*pieces)(const EltwiseCall& call);
  void (*run)(const EltwiseCall& call, int64_t begin, int64_t end) noexcept;
  PixelRange (*pixels)(const EltwiseCall& call, int64_t piece);  // that the piece reads and writes
};

// All kernels, fastest first; the reference is the last.
std::span<const EltwiseKernel* const> eltwise_kernels();
const EltwiseKernel& choose_eltwise(Isa isa);

}  // namespace octet::kernels
