// The sliding window of a pooling step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/steps/step.h"

namespace octet::engine {

struct Window {
  std::vector<int64_t> kernel, strides, dilations;  // height, width
  std::vector<int64_t> pads;                        // top, left, bottom, right
};

// From the attributes; checks that input 0 and output 0 are rank 4, agree in images and channels, and that
// every window touches the image.
Window read_window(const StepSetup& setup);

// One window over the whole image: global pooling.
Window whole_image_window(const StepSetup& setup);

// The sizes of both images and the window, which the calls of all pooling kernels name alike.
template <typename Call>
void set_geometry(Call& call, const StepSetup& setup, const Window& window) {
  const Operand &x = setup.input(0), &y = setup.output();
  call.channels = x.shape[1];
  call.in_h = x.shape[2];
  call.in_w = x.shape[3];
  call.out_h = y.shape[2];
  call.out_w = y.shape[3];
  call.kernel_h = window.kernel[0];
  call.kernel_w = window.kernel[1];
  call.stride_h = window.strides[0];
  call.stride_w = window.strides[1];
  call.dilation_h = window.dilations[0];
  call.dilation_w = window.dilations[1];
  call.pad_top = window.pads[0];
  call.pad_left = window.pads[1];
  call.pad_bottom = window.pads[2];
  call.pad_right = window.pads[3];
  call.count_include_pad = setup.int_value("count_include_pad", 0, 0, 1) != 0;
}

}  // namespace octet::engine
