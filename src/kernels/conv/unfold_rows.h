// The windows of a convolution along each row, one behind the other: of few input channels they fill the
// groups of four bytes that the kernels multiply.
#pragma once

#include <cstdint>

namespace octet::kernels {

// Pixel x of an output row has the `taps` pixels of the input row from x * stride - left on, `channels` bytes
// each; outside of the row they are `outside` (one pixel). out_stride bytes of each output pixel are written,
// the last ones of them anything. Input pixels are read exactly.
struct UnfoldCall {
  int64_t channels = 1, in_w = 1, out_w = 1;
  int64_t taps = 1, stride = 1, left = 0;
  int64_t in_stride = 0, out_stride = 0;  // bytes between pixels; out_stride >= taps * channels
  const uint8_t* outside = nullptr;
};

// Bytes of working memory.
int64_t unfold_scratch(const UnfoldCall& call);
void unfold_row(const UnfoldCall& call, const uint8_t* in, uint8_t* out, uint8_t* scratch) noexcept;

}  // namespace octet::kernels
