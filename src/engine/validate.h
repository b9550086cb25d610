// Checks of an engine that may come from a stranger.
#pragma once

#include "engine/model.h"

namespace octet::engine {

// Throws Error(kBadFile) unless every index, view, quantization and constant of the model is consistent. What
// depends on concrete shapes is checked by each step when a context is created.
void validate(const Model& model);

// Concrete shape of every tensor under the given symbols. Throws Error for what is negative, does not fit a
// view's parent or a constant.
std::vector<Shape> concrete_shapes(const Model& model, const SymbolValues& symbols);

}  // namespace octet::engine
