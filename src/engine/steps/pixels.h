// Tensors seen as rows of elements with a distance.
#pragma once

#include <algorithm>

#include "base/checked.h"
#include "engine/steps/step.h"
#include "kernels/conv/conv.h"

namespace octet::engine {

// Two tensors of one shape and layout: a plain tensor is one row; a channels-last one has a row per pixel.
struct PixelPair {
  int64_t count = 1, channels = 0;        // rows, elements of each
  int64_t in_stride = 0, out_stride = 0;  // elements between rows
};

inline PixelPair pixel_pair(const StepSetup& setup, const Operand& x, const Operand& y) {
  setup.expect_same_shape(x, y);
  setup.expect(x.nhwc() == y.nhwc(), "input and output differ in layout");
  if (x.nhwc())
    return {checked_mul(checked_mul(x.shape[0], x.shape[2]), x.shape[3]), x.shape[1], x.pixel_stride,
            y.pixel_stride};
  const int64_t elements = x.count();
  return {1, elements, std::max<int64_t>(elements, 1), std::max<int64_t>(elements, 1)};
}

// Pixels `stride` bytes apart, with what kernels read behind the last one.
inline kernels::PixelRange with_overread(const kernels::PixelRange& pixels, int64_t stride) {
  return {pixels.first, pixels.last + ceil_div(kernels::kOverread, stride)};
}

}  // namespace octet::engine
