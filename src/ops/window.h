// Sizes of sliding windows: convolution and pooling.
#pragma once

#include "ops/support.h"

namespace octet {

// The attributes kernel_shape, strides, pads, dilations and auto_pad of a node with `spatial` spatial
// dimensions.
struct Window {
  std::vector<int64_t> kernel, strides, dilations, pads;
  std::string auto_pad;
};

// `kernel` is used where the node has no kernel_shape (and must equal it where it has one); empty when
// unknown.
Window read_window(const InferContext& context, size_t spatial, const std::vector<int64_t>& kernel);

// Output size along spatial dimension i. With ceil_mode a last window must begin inside the input or its
// begin padding.
Dim window_output(const InferContext& context, const Window& window, size_t i, const Dim& input,
                  bool ceil_mode);

// The output shape of a convolution.
Dims conv_shape(const InferContext& context, size_t input, size_t weights);

// The attributes' definitions; for dilations the opset that brought them.
std::vector<AttributeDef> window_attributes(bool kernel_required, int dilations_since);

// auto_pad VALID becomes explicit zero pads, NOTSET goes; so do empty lists, which mean the defaults.
void upgrade_window(Graph& graph, NodeId node);

}  // namespace octet
