// Spectra: layers whose small results matter as much as large ones.
#pragma once

#include <set>

#include "graph/graph.h"

namespace octet {

// Layers with weights whose results reach a Log through sums, products, powers, roots and moves alone, and
// behind a power the layers before them as well: the Fourier transform as a convolution and the filters
// behind its squares. An error of a part of the largest value, as rounding to 8 bits is, is any number of
// decibels of the small ones.
std::set<NodeId> layers_before_logarithms(const Graph& graph);

}  // namespace octet
