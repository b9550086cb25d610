// The shape of a convolution step, integer or float.
#pragma once

#include "base/checked.h"
#include "engine/steps/step.h"
#include "kernels/conv/conv.h"

namespace octet::engine {

// From `kernel`, `strides`, `dilations`, `pads`, `group` and the shapes of input 0 and output 0 (both
// channels-last), which must fit.
kernels::ConvShape read_convolution(const StepSetup& setup);

}  // namespace octet::engine
