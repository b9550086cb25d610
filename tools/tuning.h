// The tuning file: tactics that were measured on one CPU, and how long layers take in float there, as JSON.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "build/float_layers.h"
#include "build/tune.h"

namespace octet::tools {

// Chooses the tactics of `model` by the file; what the file does not know is measured for about `seconds` and
// added to it. So a file that knows every step gives the same engine everywhere, without a measurement. A
// file that does not exist begins empty; one of another CPU or instruction set is refused, or with `retime`
// replaced. Throws Error.
//
// `build` makes the model with the given layers in float. Layers that are faster there stay in 8 bits unless
// `allow_float`.
struct Tuned {
  int measured = 0;  // steps whose tactics were
  std::vector<FasterInFloat> faster_in_float;
};
using BuildModel = std::function<engine::Model(const std::vector<std::string>& float_layers)>;
Tuned tune(engine::Model& model, const BuildModel& build, const std::filesystem::path& file, bool retime,
           bool allow_float, double seconds);

}  // namespace octet::tools
