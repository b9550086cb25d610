// Two engines of the same network side by side over data: layer by layer, and at the outputs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/dataset_runner.h"
#include "report/metrics.h"

namespace octet {

struct LayerComparison {
  std::string name;  // of the value
  PairSums sums;
  std::string precision;  // of the step that makes it in the second engine
};

struct Comparison {
  std::vector<LayerComparison> layers;   // worst first
  std::vector<LayerComparison> outputs;  // in the model's order
  std::vector<SkippedSample> skipped;
  int64_t samples = 0;
};

// Runs both over the data; a layer is a value of the same name and shape in both. Each engine runs on its own
// values, so that errors add up along the network as they do in use. Throws Error when the models' inputs or
// outputs do not fit together.
Comparison compare_engines(const engine::Engine& reference, const engine::Engine& other, const Dataset& data,
                           const RunnerOptions& options);

}  // namespace octet
