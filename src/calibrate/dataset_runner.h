// Runs an engine over the samples of a data set on all cores.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "data/dataset.h"
#include "engine/engine.h"

namespace octet {

struct RunnerOptions {
  int threads = 0;  // 0: one worker per available CPU
  Progress* progress = nullptr;
  std::string label = "running";
  std::function<bool()> stop = {};  // asked before each sample: true leaves out what has not begun
};

// Samples that could not be read (with DataOptions::skip_bad).
struct SkippedSample {
  int64_t index;
  std::string name, reason;
};

// A single-threaded context of one engine that takes the shapes of the inputs. For one thread.
class ContextCache {
 public:
  engine::Context& get(const engine::Engine& engine, std::span<const Tensor> inputs);

 private:
  std::unique_ptr<engine::Context> context_;
};

// One single-threaded worker per core takes one sample at a time, so that no result depends on the number of
// workers. A sample may have any shape that the engine's dimensions allow: a worker's context
// changes between them.
class DatasetRunner {
 public:
  // Called on a worker's thread for each sample, in any order; `worker` is below workers(). `inputs` are in
  // the engine's order.
  using Body = std::function<void(int worker, int64_t sample, engine::Context& context,
                                  std::span<const Tensor> inputs)>;

  DatasetRunner(engine::Engine engine, const Dataset& data, RunnerOptions options);

  int workers() const;
  // The body runs the context itself. The first exception ends the run and is rethrown with the sample's
  // name.
  std::vector<SkippedSample> run(const Body& body);

 private:
  engine::Engine engine_;
  const Dataset& data_;
  RunnerOptions options_;
};

// Values of the engine's dimensions such that these inputs fit. Throws Error that names the input and says
// what was expected.
std::map<std::string, int64_t> shapes_for(const engine::Model& model, std::span<const Tensor> inputs);

// Sizes that are not known are 0.
Shape known_sizes(const Dims& dims);
// The shape of the network's only input (Graph::only_input), so; empty where there is none.
Shape only_input(const engine::Model& model);

// A sample's tensors in the order of the engine's inputs. Float images become bytes again for an engine whose
// input is uint8 and that knows how they were preprocessed; floats are rounded for an input of 16-bit floats.
// A sample alone is repeated for an input whose first size is fixed. Inputs that nothing reads may be
// missing: they are zeros. Throws Error for other names that are missing or unknown, and for wrong dtypes.
std::vector<Tensor> order_inputs(const engine::Model& model, const std::map<std::string, Tensor>& named);

}  // namespace octet
