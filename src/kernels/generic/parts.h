// Operators that make their outputs in independent parts (see generic.h).
#pragma once

#include "kernels/generic/support.h"

namespace octet::kernels::generic {

#define OCTET_PARTS(name)                                                                              \
  int64_t name##_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> outputs);  \
  void run_##name##_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin, \
                          int64_t end);
OCTET_PARTS(concat)
OCTET_PARTS(split)
OCTET_PARTS(softmax)
OCTET_PARTS(cast)
OCTET_PARTS(arg_max)
OCTET_PARTS(arg_min)
OCTET_PARTS(grid_sample)
OCTET_PARTS(resize)
OCTET_PARTS(rnn)
OCTET_PARTS(gru)
OCTET_PARTS(lstm)
#undef OCTET_PARTS

// How many parts suit work on `elements` that can be cut into `units`.
int64_t suitable_parts(int64_t elements, int64_t units);

// The first of `units` that part `index` of `parts` has.
inline int64_t part_begin(int64_t units, int64_t index, int64_t parts) {
  return units / parts * index + units % parts * index / parts;
}

}  // namespace octet::kernels::generic
