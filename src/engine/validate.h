// Checks of an engine that may come from a stranger.
#pragma once

#include "engine/model.h"

namespace octet::engine {

// Throws Error(kBadFile) unless every index, view, quantization and constant of the model is consistent. What
// depends on concrete shapes is checked by each step when a context is created.
void validate(const Model& model);

// Throws Error(kInvalidArgument) that names the input where no profile has these sizes.
void check_ranges(const Model& model, const SymbolValues& symbols);

// Throws Error(kInvalidArgument) that names the node where sizes that must be equal differ.
void check_equalities(const Model& model, const SymbolValues& symbols);

// Concrete shape of every tensor under the given symbols; those that are late (see late.h) stay empty. Throws
// Error for what is negative, does not fit a view's parent or a constant.
std::vector<Shape> concrete_shapes(const Model& model, const SymbolValues& symbols,
                                   const std::vector<bool>& late = {});
// The shape of one tensor, whose parent's is among `shapes`.
Shape concrete_shape(const Model& model, size_t tensor, const SymbolValues& symbols,
                     std::span<const Shape> shapes);

}  // namespace octet::engine
