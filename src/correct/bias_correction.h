// Takes out of a layer's bias what rounding its weights adds to its mean.
//
// With W the weights and W^ what is left of them in 8 bits, the output's mean moves by sum((W^ - W) * E[x]),
// which is known in advance from the mean of each input channel. Source: Nagel et al., "Data-Free
// Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with E[x] measured.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/dataset_runner.h"
#include "passes/quantize.h"

namespace octet {

// Mean of each channel of a value, by the value's name.
using ChannelMeans = std::map<std::string, std::vector<double>, std::less<>>;

// Names of the values whose means correct_biases() asks for.
std::vector<std::string> weighted_inputs(const Graph& graph, const Placement& placement);

// Runs the float engine over the data and averages the named values that are rank 4 (over images and pixels)
// or rank 2 (over rows). The result does not depend on the number of workers.
ChannelMeans observe_channel_means(const engine::Engine& engine, const Dataset& data,
                                   const std::vector<std::string>& names, const RunnerOptions& options);

// Changes the biases of the float graph that insert_qdq() is about to quantize with the same options and
// scales; adds one where there is none. Layers whose input has no means keep theirs. Returns the number of
// corrected layers.
int correct_biases(Graph& graph, const Placement& placement, const QuantizeOptions& options,
                   const ActivationParams& params, const ChannelMeans& means);

}  // namespace octet
