// Wider ranges for the late layers of a network that was calibrated on made-up images.
//
// Early layers answer to made-up images (data/synthetic.h) as to photographs; late ones answer to objects,
// which such images do not show. Least squared error over 100 photographs chose, compared with 100 made-up
// images, ranges 0.9 to 1.2 times as wide in the first half of five networks (resnet8, squeezenet1.1,
// mobilenetv2, ultraface, yolox_nano), and 0.9 to 4 times as wide in the second half, most where it ends. A
// range that is too wide by a factor f costs 20 log10(f) decibels of one tensor's rounding noise; one that is
// too narrow cuts off what the layers behind look for. Single channels differ more than tensors: many are
// silent on made-up images, and a scale of their own would then cut off all that photographs make of them.
#pragma once

#include "calibrate/table.h"
#include "graph/graph.h"

namespace octet {

// Multiplies both ends of each range, those of all methods and the extremes of channels too, by a factor that
// grows from 1 in the first part of the network to 1.5 at the end of it (less where it has less than 16
// layers: these look for no objects); the extremes of a channel become at least a share of its tensor's range
// that grows from 0 to a half. Depth is counted in weighted layers along the longest path. Nothing leaves
// what its operator can give: the limits of a clip, a sigmoid, a softmax and the like, also behind operators
// that only move or average values. Values of the graph that the table lacks, and values of the table that
// the graph lacks, do not matter. `graph` is the float network, canonical.
void widen_late_ranges(const Graph& graph, CalibrationTable& table);

}  // namespace octet
