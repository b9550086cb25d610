// Each channel several times, one behind the other: so a depthwise convolution with several outputs per
// channel is one with as many channels.
#pragma once

#include <cstdint>

namespace octet::kernels {

// out[i * times + j] = in[i] for i in [0, channels), j in [0, times), of `pixels` pixels. The input may be
// read up to 64 bytes past the last channel of a pixel; exactly channels * times of each output pixel are
// written.
struct RepeatCall {
  int64_t pixels = 0, channels = 0, times = 1;
  const uint8_t* input = nullptr;
  int64_t in_stride = 0;  // bytes between pixels
  uint8_t* output = nullptr;
  int64_t out_stride = 0;
};

void repeat_channels(const RepeatCall& call) noexcept;

}  // namespace octet::kernels
