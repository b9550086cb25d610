#include "calibrate/calibrate.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "base/thread_pool.h"
#include "data/subset.h"
#include "passes/scale_axis.h"

namespace octet {
namespace {

constexpr int64_t kMostChannels = 1 << 16;  // that are observed one by one

// Index in the engine of each wanted value: the first tensor of its name that a run writes.
std::map<int32_t, std::string> find_tensors(const engine::Model& model,
                                            const std::vector<std::string>& names) {
  std::set<std::string, std::less<>> open(names.begin(), names.end());
  std::set<int32_t> seen(model.inputs.begin(),
                         model.inputs.end());  // a concatenation is written in parts and not seen as a whole
  for (const engine::StepDef& step : model.steps) seen.insert(step.outputs.begin(), step.outputs.end());
  std::map<int32_t, std::string> found;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const engine::TensorDef& def = model.tensors[t];
    if (!seen.count(static_cast<int32_t>(t)) || def.dtype != DType::kFloat32) continue;
    const auto it = open.find(def.name);
    if (it == open.end()) continue;
    found[static_cast<int32_t>(t)] = def.name;
    open.erase(it);
  }
  return found;
}

// Channels-first values, some pixels at a time: channels are the last dimension of what is observed.
void observe_planes(TensorStatistics& statistics, const float* data, const Shape& shape) {
  constexpr int64_t kPixels = 64;
  const int64_t channels = shape[1], pixels = shape[2] * shape[3];
  std::vector<float> block(static_cast<size_t>(channels * kPixels));
  for (int64_t n = 0; n < shape[0]; ++n, data += channels * pixels)
    for (int64_t first = 0; first < pixels; first += kPixels) {
      const int64_t count = std::min(kPixels, pixels - first);
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t p = 0; p < count; ++p) block[p * channels + c] = data[c * pixels + first + p];
      statistics.observe({block.data(), static_cast<size_t>(count * channels)});
    }
}

void observe(TensorStatistics& statistics, const engine::Observation& o) {
  const auto* data = static_cast<const float*>(o.data);
  const Shape& shape = *o.shape;
  if (o.def->layout == Layout::kNhwc) {
    statistics.observe_rows(data, shape[0] * shape[2] * shape[3], shape[1], o.pixel_stride);
    return;
  }
  if (statistics.by_channel() && shape.size() == 4) return observe_planes(statistics, data, shape);
  int64_t count = 1;
  for (int64_t d : shape) count *= d;
  statistics.observe({data, static_cast<size_t>(count)});
}

}  // namespace

Observed observe_values(const engine::Engine& engine, const Dataset& data,
                        const std::vector<int64_t>& samples, const std::vector<std::string>& names,
                        RunnerOptions options, const std::vector<std::string>& by_channel,
                        const Checkpoint& checkpoint) {
  const std::map<int32_t, std::string> tensors = find_tensors(engine.model(), names);
  const std::set<std::string> channel_names(by_channel.begin(), by_channel.end());
  const auto statistics_of = [&](int32_t t, const std::string& name) {
    const Dims& shape = engine.model().tensors[t].shape;
    const auto rank = static_cast<int>(shape.size());
    const Dim count = rank >= 2 && rank <= 4 ? shape[static_cast<size_t>(scale_axis(rank))] : Dim(0);
    const bool channels =
        channel_names.count(name) && count.known() && count.value() > 0 && count.value() <= kMostChannels;
    return TensorStatistics({channels ? static_cast<int>(count.value()) : 0});
  };
  const Subset chosen(data, samples);
  DatasetRunner runner(engine, chosen, std::move(options));
  struct Worker {
    std::map<int32_t, TensorStatistics> statistics;
    std::vector<int64_t> done;
  };
  std::vector<Worker> workers(runner.workers());
  for (Worker& worker : workers)
    for (const auto& [t, name] : tensors) worker.statistics.emplace(t, statistics_of(t, name));
  const auto all = [&] {
    Observed result;
    for (const auto& [t, name] : tensors) {
      TensorStatistics sum = workers[0].statistics.at(t);
      for (size_t w = 1; w < workers.size(); ++w) sum.merge(workers[w].statistics.at(t));
      result.values.emplace(name, std::move(sum));
    }
    for (const Worker& w : workers) result.done.insert(result.done.end(), w.done.begin(), w.done.end());
    std::sort(result.done.begin(), result.done.end());
    return result;
  };

  // Whoever saves waits until no sample is under way, and holds up those that would begin.
  std::shared_mutex busy;
  std::atomic<std::chrono::steady_clock::time_point> saved = std::chrono::steady_clock::now();
  const auto save = [&] {
    if (!checkpoint.save || std::chrono::steady_clock::now() - saved.load() < checkpoint.every) return;
    const std::unique_lock alone(busy);
    if (std::chrono::steady_clock::now() - saved.load() < checkpoint.every) return;
    checkpoint.save(all());
    saved = std::chrono::steady_clock::now();
  };
  std::vector<SkippedSample> skipped =
      runner.run([&](int worker, int64_t i, engine::Context& context, std::span<const Tensor> inputs) {
        {
          const std::shared_lock running(busy);
          Worker& w = workers[worker];
          const int64_t sample = chosen.index(i);
          context.run(inputs, [&](const engine::Observation& o) {
            const auto found = w.statistics.find(o.tensor);
            if (found == w.statistics.end()) return;
            found->second.begin_sample(sample);
            observe(found->second, o);
            found->second.end_sample();
          });
          w.done.push_back(sample);
        }
        save();
      });
  Observed result = all();
  for (SkippedSample& s : skipped) s.index = chosen.index(s.index);
  result.skipped = std::move(skipped);
  return result;
}

std::map<std::string, TableTensor, std::less<>> choose_ranges(const ValueStatistics& values,
                                                              RangeMethod method, const RangeOptions& options,
                                                              const Energies& energies) {
  std::map<std::string, TableTensor, std::less<>> ranges;
  struct Work {
    const TensorStatistics* statistics;
    TableTensor* tensor;
    std::span<const double> energies;
  };
  std::vector<Work> work;
  for (const auto& [name, statistics] : values) {
    const auto found = energies.find(name);
    const bool known = found != energies.end() && found->second.size() == statistics.channels().size();
    work.push_back({&statistics, &ranges[name],
                    known ? std::span<const double>(found->second) : std::span<const double>()});
  }
  ThreadPool pool(available_cpus());
  pool.parallel_for(static_cast<int64_t>(work.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Work& w = work[static_cast<size_t>(i)];
      std::map<RangeMethod, MethodRange> methods;
      for (const RangeMethod m : kRangeMethods) {
        // The one that depends on the order of the samples is there only when it was asked for.
        if (m == RangeMethod::kMovingAverage && m != method) continue;
        const Range range = choose_range(m, *w.statistics, options, w.energies);
        methods[m] = {range, expected_mse(*w.statistics, range_params(range, options))};
      }
      *w.tensor = table_tensor(*w.statistics, methods.at(method).range);
      w.tensor->methods = std::move(methods);
    }
  });
  return ranges;
}

std::vector<std::string> problems(const ValueStatistics& values) {
  std::vector<std::string> lines;
  for (const auto& [name, statistics] : values)
    if (const std::string problem = statistics_problem(statistics); !problem.empty())
      lines.push_back(fmt::format("'{}': {}", name, problem));
  return lines;
}

}  // namespace octet
