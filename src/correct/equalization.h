// Makes the channels of a network's weights alike, so that one scale per weight tensor serves all of them.
//
// Where a layer's output reaches other layers through functions f with f(s x) = s f(x), dividing its channel
// c by s and multiplying the weights that read it by s changes nothing. With r1 the largest weight that
// makes channel c and r2 the largest that reads it, s = sqrt(r1 / r2) makes both sqrt(r1 r2), which is best
// for both tensors; pairs of layers are visited until nothing moves. Source: Nagel et al., "Data-Free
// Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1; several readers
// of one channel count as one. A clip to [0, h] becomes one to [0, h / s]: Relu, then Min by a constant.
#pragma once

#include <string>
#include <vector>

#include "calibrate/table.h"
#include "graph/graph.h"

namespace octet {

struct EqualizationReport {
  int pairs = 0;   // layers whose channels were scaled for those that read them
  int caps = 0;    // clips that became caps per channel
  int sweeps = 0;  // over all pairs
  // Mean over the scaled layers, in bits: what their channels use of the 8 bits of one scale, before and
  // after (the mean of log2 of a channel's largest weight over the tensor's).
  double bits_before = 0, bits_after = 0;
};

// Changes weights, biases and clips of a canonical float graph; what it computes stays, up to float rounding.
EqualizationReport equalize_weights(Graph& graph);

struct AbsorptionReport {
  int layers = 0;
  int64_t channels = 0;
};

// Moves what a channel behind a Relu or a cap nearly always exceeds into the biases of the layers that read
// it: relu(x) = relu(x - c) + c wherever x > c. c is mean - 3 sigma of the channel as in section 4.1.3 of the
// paper, but measured, and never above the smallest value that was seen. Only where the readers pad nothing.
// The ranges of the changed values in `table` are no longer true.
AbsorptionReport absorb_high_biases(Graph& graph, const CalibrationTable& table);

}  // namespace octet
