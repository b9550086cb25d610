// Operators that decide the shapes of their outputs (see find_maker).
#pragma once

#include "kernels/generic/support.h"

namespace octet::kernels::generic {

// A shape for each output.
#define OCTET_SHAPED(name, function) \
  std::vector<Shape> function(const Attributes&, Inputs inputs, size_t outputs);
#define OCTET_MADE(name, function) void function(const Attributes&, Inputs inputs, Outputs outputs);
#include "kernels/generic/makers.inc"
#undef OCTET_SHAPED
#undef OCTET_MADE

// Runs a maker where the outputs' shapes are known already, and must be what it makes.
void run_maker(void (*make)(const Attributes&, Inputs, Outputs), const Attributes& attributes, Inputs inputs,
               Outputs outputs);

// A slice along every axis of x.
struct SlicePlan {
  Shape shape, strides;  // of the result; elements of x between its entries
  int64_t offset = 0;    // of the first element
};
SlicePlan plan_slice(Inputs inputs);

// The padded shape, and what stands before each axis.
struct PadPlan {
  Shape shape, before;
};
PadPlan plan_pad(Inputs inputs);

}  // namespace octet::kernels::generic
