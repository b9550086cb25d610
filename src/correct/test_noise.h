// Shared by tests of corrections: how far an engine is from the graph it was built from.
#pragma once

#include "engine/engine.h"
#include "passes/test_net.h"

namespace octet::testing {

// Noise over signal (both as power) of the engine's first output; a few bytes round the other way.
inline double engine_noise(const engine::Engine& engine, const Graph& graph, const Tensor& x) {
  engine::Context context(engine, engine::default_options());
  context.run(std::vector<Tensor>{x});
  const auto expected = to_float(run(graph, x)), found = to_float(context.output(0));
  double noise = 0, signal = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    noise += std::pow(expected[i] - found[i], 2);
    signal += std::pow(expected[i], 2);
  }
  return noise / signal;
}

}  // namespace octet::testing
