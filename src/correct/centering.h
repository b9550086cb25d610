// Moves activations to the middle of a symmetric grid.
//
// Where activations are signed and their zero-point is 0, what a Relu makes uses half of the integers. Minus
// the middle c of its range it uses all of them, one bit more: y - c is stored, and c times the sum of the
// weights of each output channel is added to the biases of the layers that read it, which is exact where
// these pad nothing. Relu becomes a clip at -c, behind a bias that is smaller by c; behind other activations
// an Add of a constant does it. The sums over weights are those of the float weights; what rounded ones leave
// over is one number per channel, which bias correction takes out.
#pragma once

#include <string>
#include <vector>

#include "calibrate/table.h"
#include "graph/graph.h"
#include "passes/quantize.h"

namespace octet {

struct CenteredTensor {
  std::string value;          // a member of the scale group that is computed
  double gain_db = 0;         // of its steps: 6 dB is one bit
  int folded = 0, added = 0;  // values moved by the layers that make them, and by an Add
};

// For all scale groups that gain 3 dB or more, whose values only layers without padding read (and pooling,
// concatenation and what else moves values). Changes a canonical float graph without Q/DQ; the ranges of the
// changed values in the table are no longer true.
std::vector<CenteredTensor> center_tensors(Graph& graph, const Placement& placement,
                                           const CalibrationTable& table);

}  // namespace octet
