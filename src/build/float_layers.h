// Which 8-bit layers would be faster in float on the CPU at hand. Nothing here changes an engine: `build`
// reports it, and computes such layers in float only where the user allows it (BuildOptions::float_layers).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/model.h"

namespace octet {

// The time of a layer in float as per cent of that in 8 bits (1 to 1000), by its key (layer_keys): a layer's
// own step with what turns its input into floats and its result into bytes.
using FloatTimes = std::map<std::string, int>;

// Names of the convolutions and products of `model` that compute in 8 bits.
std::vector<std::string> integer_layers(const engine::Model& model);

// Times each of them whose key is not in `times` yet against the layer of the same name in `floats`, the same
// model built with all of them as float_layers; in one thread, in turns, for about `seconds`. Returns how
// many keys it has added. Throws Error when an engine does not run.
int measure_float_times(const engine::Model& model, const engine::Model& floats, FloatTimes& times,
                        double seconds);

struct FasterInFloat {
  std::string name;
  int percent;  // of the time in 8 bits
};
// The layers of `model` that `times` says are faster in float by at least a tenth.
std::vector<FasterInFloat> faster_in_float(const engine::Model& model, const FloatTimes& times);

}  // namespace octet
