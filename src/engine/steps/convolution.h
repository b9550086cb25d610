// The shape of a convolution step, integer or float.
#pragma once

#include "base/checked.h"
#include "engine/steps/step.h"
#include "kernels/conv/conv.h"

namespace octet::engine {

// From `kernel`, `strides`, `dilations`, `pads`, `group` and the shapes of input 0 and output 0 (both
// channels-last), which must fit.
kernels::ConvShape read_convolution(const StepSetup& setup);

// Pixels of the input that the output pixels `out` are made of.
kernels::PixelRange pixels_read(const kernels::ConvShape& shape, const kernels::PixelRange& out);

}  // namespace octet::engine
