// The sliding window of convolutions and pooling, of any rank.
#pragma once

#include "kernels/generic/support.h"

namespace octet::kernels::generic {

struct Window {
  Shape kernel, strides, dilations, pads_begin, pads_end;  // one entry per spatial axis; pads may be negative
};

// Reads `strides`, `dilations`, `pads` and `auto_pad` for a window of `kernel` between spatial shapes `in`
// and `out`.
Window read_window(const Attributes& attributes, const Shape& kernel, const Shape& in, const Shape& out);

// The same for a transposed convolution, from `in` to `out`.
Window read_transposed_window(const Attributes& attributes, const Shape& kernel, const Shape& in,
                              const Shape& out);

// Axes 2, 3, ... of a shape of rank at least 3.
Shape spatial(const Tensor& tensor);

}  // namespace octet::kernels::generic
