// Observes the values of a float graph over data.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "calibrate/dataset_runner.h"
#include "calibrate/table.h"
#include "graph/graph.h"

namespace octet {

// Statistics of each value, by name.
using ValueStatistics = std::map<std::string, TensorStatistics, std::less<>>;

struct Observed {
  ValueStatistics values;
  std::vector<SkippedSample> skipped;
  std::vector<int64_t> done;  // sorted indices of the samples that were observed
};

// Called now and then with what was observed so far; `skipped` is empty then.
struct Checkpoint {
  std::chrono::steady_clock::duration every{};
  std::function<void(const Observed&)> save;
};

// Runs `engine`, built from a float graph, over these samples of the data and observes the values of these
// names (those that the engine has); those of `by_channel` with rank 4 also by channel. When options.stop
// says so, the rest is left out.
Observed observe_values(const engine::Engine& engine, const Dataset& data,
                        const std::vector<int64_t>& samples, const std::vector<std::string>& names,
                        RunnerOptions options, const std::vector<std::string>& by_channel = {},
                        const Checkpoint& checkpoint = {});

// For output_range(), of each channel of values of rank 2 to 4 (rows: of each column): in proportion to what
// a squared error there adds to the squared errors at the network's outputs, through all layers between, when
// errors are independent. Multiplying channels by factors that the weights behind them divide by again
// changes nothing but the unit. 1 for the largest of a value; values that reach no output are left out.
using Energies = std::map<std::string, std::vector<double>, std::less<>>;
Energies reader_energies(const Graph& graph);

// The range of each value by one method, and beside it what every method chooses.
std::map<std::string, TableTensor, std::less<>> choose_ranges(const ValueStatistics& values,
                                                              RangeMethod method, const RangeOptions& options,
                                                              const Energies& energies = {});

// One line per value whose statistics are suspicious: never produced, constant, NaN or infinite.
std::vector<std::string> problems(const ValueStatistics& values);

}  // namespace octet
