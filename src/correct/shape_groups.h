// Samples by the shapes of their inputs: corrections run a network of its own for each.
#pragma once

#include <vector>

#include "calibrate/dataset_runner.h"

namespace octet {

struct ShapeGroup {
  std::vector<Shape> shapes;  // in the order of the engine's inputs
  std::vector<int64_t> samples;
};

struct ShapeGroups {
  std::vector<ShapeGroup> groups;  // those of most samples first
  int64_t left_out = 0;            // samples of the rarest shapes, beyond `max_shapes`
};

// Of the first `max_samples`, without those that cannot be read.
ShapeGroups group_by_shape(const engine::Engine& engine, const Dataset& data, int64_t max_samples,
                           int64_t max_shapes, ThreadPool& pool);

}  // namespace octet
