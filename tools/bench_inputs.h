// Inputs for measurements.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace octet::tools {

// "name:1x3x224x224,..." for inputs that the model has. Throws UsageError.
std::map<std::string, Shape> parse_shapes(const engine::Model& model, const std::vector<std::string>& texts);

// Values of the engine's dimensions that give the inputs these shapes. Throws Error where a shape does not
// fit.
std::map<std::string, int64_t> dimensions_for(const engine::Model& model,
                                              const std::map<std::string, Shape>& shapes);

// Normally distributed reals, uniform integers, always the same. Throws Error when the context's inputs have
// not the wanted shapes.
std::vector<Tensor> random_inputs(const engine::Model& model, const engine::Context& context,
                                  const std::map<std::string, Shape>& wanted);

}  // namespace octet::tools
