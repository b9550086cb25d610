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

}  // namespace octet::engine
