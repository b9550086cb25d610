// For targets with one scale per activation tensor: the few tensors that 8 bits harm most stay in float.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pipeline/recipe.h"

namespace octet {

struct FloatTensor {
  std::string value;
  std::vector<std::string> layers;  // that read it, and compute in float
  double gain_db = 0;               // of the outputs, on held-back samples
  double macs = 0;                  // share of the network's multiplications that these layers have
};

struct FloatTensors {
  std::vector<FloatTensor> kept;
  // Of the outputs when only activations are rounded; nullopt: nothing was tried, or nothing is lost.
  std::optional<double> before_db, after_db;
};

// Ranks the inputs of layers by the noise that rounding them brings to the layers' outputs, against what
// varies there, and tries the worst one by one with weights in float: a tensor stays in float where that
// gains at least half a decibel at the outputs of held-back samples (3 for ONNX Runtime and OpenVINO, which
// float layers slow down most). At most `most` tensors, and layers with a fifth of the multiplications.
// Before these, and beside their number, what an average pool with a float result reads alone.
FloatTensors choose_float_tensors(const RecipeSetup& setup, const CalibrationTable& table, int most);

bool keeps_float(const FloatTensors& tensors, const std::string& layer);

}  // namespace octet
