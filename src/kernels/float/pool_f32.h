// float32 pooling, NHWC: the same bits on every instruction set as the generic operators.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace octet::kernels {

struct PoolF32Call {
  int64_t batch = 1, channels = 1;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0,
          pad_right = 0;  // the latter two only count with count_include_pad
  bool count_include_pad = false;
  int64_t in_pixel_stride = 1, out_pixel_stride = 1;  // floats
};

// Pieces [begin, end) of batch * out_h rows. Taps outside of the input do not exist; the maximum of none is
// -infinity, the average 0.
void run_max_pool_f32(const PoolF32Call& call, Isa isa, int64_t begin, int64_t end, const float* x,
                      float* y) noexcept;
void run_average_pool_f32(const PoolF32Call& call, Isa isa, int64_t begin, int64_t end, const float* x,
                          float* y) noexcept;

// The mean over all pixels (in the fixed order of 16 partial sums). Pieces [begin, end) of
// batch * ceil(channels / kGlobalPoolChannels); kernel, stride and pads are not read, out_pixel_stride
// separates images.
inline constexpr int64_t kGlobalPoolChannels = 16;
void run_global_average_pool_f32(const PoolF32Call& call, Isa isa, int64_t begin, int64_t end, const float* x,
                                 float* y) noexcept;

}  // namespace octet::kernels
