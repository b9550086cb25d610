// How much a step computes, for profiles.
#pragma once

#include <cstdint>
#include <span>

#include "engine/model.h"

namespace octet::engine {

// Multiply-adds of a convolution, product or attention step whose tensors have these shapes; 0 for every
// other kind, and where a shape is not known. The step must have passed prepare_*.
int64_t multiply_adds(const StepDef& step, std::span<const Shape> shapes);

}  // namespace octet::engine
