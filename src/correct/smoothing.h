// Evens out the channels of activations for runtimes that take one scale per tensor.
//
// What a scale s_c per channel gains (channel_scales.h) can be had with one scale as well: channel c of the
// tensor is divided by s_c, and the weights that read it are multiplied by s_c. What the network computes
// stays. Where the tensor's layer ends without an activation, or with one for which f(s x) = s f(x), its
// weights and bias are divided and nothing runs in addition; elsewhere (SiLU, residual sums) a Mul by a
// constant stands behind it, which compilers fuse with the activation. Source: Xiao et al., "SmoothQuant",
// ICML 2023, there for the normalized values of transformers.
#pragma once

#include <string>
#include <vector>

#include "calibrate/channel_scales.h"
#include "graph/graph.h"

namespace octet {

struct SmoothedTensor {
  std::string value;  // a member of the scale group that is computed
  double gain_db = 0;
  int folded = 0, multiplied = 0;  // values divided by their layers, and by a Mul
};

// Does this for the choices that were not taken. Changes a canonical float graph without Q/DQ; shapes of new
// values are set. Left alone are groups whose values others than layers read as well, where several values
// share a scale.
std::vector<SmoothedTensor> smooth_channels(Graph& graph, const Placement& placement,
                                            const QuantizeOptions& options, const ChosenParams& chosen);

}  // namespace octet
