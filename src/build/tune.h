// Tactics: choices of a step that change its speed and never its result, made by measurement.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace octet {

// What was chosen for a step, by its key: kind, shapes and epilogue, so that a choice serves every model. The
// value is `tile_blocks` of a convolution or product (kernels/conv/conv.h); 0 leaves it to the kernel.
using Tactics = std::map<std::string, int>;

// Of each step: kind, shapes and epilogue of a convolution or product in 8 bits; empty for others, and where
// the data decide shapes.
std::vector<std::string> layer_keys(const engine::Model& model);

// Inputs to time a model with.
std::vector<Tensor> zero_inputs(const engine::Model& model, const engine::Context& context);

// Times the alternatives of each step whose key is not in `tactics` yet, in one thread, with the shapes that
// a context takes by itself, and adds the choices. An alternative is chosen only if it beats the kernel's own
// choice by more than 3 %. Takes about `seconds`, and at least ten runs of each alternative. Returns how
// many keys it has added. Throws Error when the engine does not run.
int measure_tactics(const engine::Model& model, Tactics& tactics, double seconds);

// Sets the attribute of each step whose key is in `tactics`. Throws Error for values that are none.
void apply_tactics(engine::Model& model, const Tactics& tactics);

}  // namespace octet
