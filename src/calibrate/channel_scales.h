// Chooses which activation tensors get a scale per channel.
//
// Channel c of a tensor has a range of its own, own_c: mean +- 4 standard deviations of each image's
// extremes, and all that was observed, within the tensor's range or the one of least squared error where that
// reaches further: a method that cuts more does so because all channels share a scale. Its scale is
// own_c^alpha * max^(1 - alpha), with the room divided above and below zero as in own_c. The noise that a
// tensor brings to the output of a convolution that reads it is
//
//   sum_c s_c^2 |W_c|^2 / 12  +  sum_o D_o^2 / 12 * taps * sum_c E[x_c^2] / s_c^2
//   with D_o = max |W_o,c s_c| / 127
//
// (rounded activations, and rounded weights that absorb the scales); a depthwise convolution, whose output
// channels have scales of their own, brings the first sum alone, and all other readers sum_c s_c^2 / 12.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "calibrate/table.h"
#include "passes/channel_groups.h"

namespace octet {

enum class ActivationScales { kAuto, kTensor, kChannel };
// "auto", "tensor", "channel". Throws Error that lists them.
ActivationScales parse_activation_scales(std::string_view name);

struct ChannelScaleOptions {
  ActivationScales scales = ActivationScales::kAuto;
  double room = 4;     // standard deviations beyond the mean extremes,
  double stretch = 1;  // which are multiplied by this
  // kAuto: below it a tensor keeps one scale, or below half of it where a fifth of all tensors gain it (rows
  // apart): channels that differ so often do so for a reason (SiLU in yolox_nano: 26.3 dB, with 3 dB 28.4),
  // elsewhere what is predicted is near the error of predicting. kChannel: 0.1.
  double least_gain_db = 6;
  double most_alpha = 1;        // a smaller one clips less where images differ from those that were seen
  uint64_t fewest_images = 10;  // below it all tensors keep one scale
};

// A tensor (a scale group) whose channels would gain.
struct ChannelChoice {
  std::string value;  // a member that is computed
  double alpha = 0;   // the best
  double gain_db = 0;
  bool taken = false;
  int32_t group = -1;         // of the placement
  std::vector<double> scale;  // by slot of its channel_groups() entry
};

struct ChosenParams {
  ActivationParams params;
  std::vector<ChannelChoice> choices;  // those with at least the least gain, taken or not; best first
  int taken = 0;
  std::string off;  // why no tensor was given scales per channel, where something stands against it
};

// Names of the values whose channels choose_activation_params() asks for.
std::vector<std::string> channel_values(const Graph& graph, const Placement& placement,
                                        const QuantizeOptions& options);

// Scales of all values that are stored in 8 bits, from a calibration table. Throws Error naming values that
// it lacks.
ChosenParams choose_activation_params(const Graph& graph, const Placement& placement,
                                      const QuantizeOptions& quantize, const CalibrationTable& table,
                                      const ChannelScaleOptions& options);

}  // namespace octet
