// Engines that the corruption tests damage.
#pragma once

#include <functional>

#include "engine/engine.h"
#include "kernels/simd/test_tools.h"

namespace octet::testing {

// A quantized network with every kind of integer step.
engine::Model small_int8_engine();
// One generic operator after another on tensors of a few elements.
engine::Model generic_engine();
// Attention, a product of two variables, normalizations.
engine::Model transformer_engine();
// A random network of a few layers, in 8 bits or in float.
engine::Model random_engine(kernels::testing::Random& random);
// The repository's demo network, quantized with ranges of one random image.
engine::Model demo_engine();

// The same model with constants in memory of their own, so that a sanitizer sees reads past their end.
engine::Model with_own_constants(engine::Model model);

// Creates a context on `isa` and runs it once on random inputs, with memory limited to a few megabytes.
enum class Outcome { kRefused, kRefusedRun, kRan };
Outcome try_engine(const std::function<engine::Engine()>& make, kernels::testing::Random& random,
                   std::string* message = nullptr);

}  // namespace octet::testing
