#include "calibrate/calibrate.h"

#include <algorithm>
#include <set>

#include "base/thread_pool.h"
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
                        const std::vector<std::string>& names, RunnerOptions options,
                        const std::vector<std::string>& by_channel) {
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
  DatasetRunner runner(engine, data, std::move(options));
  std::vector<std::map<int32_t, TensorStatistics>> workers(runner.workers());
  for (auto& worker : workers)
    for (const auto& [t, name] : tensors) worker.emplace(t, statistics_of(t, name));

  Observed result;
  result.skipped =
      runner.run([&](int worker, int64_t sample, engine::Context& context, std::span<const Tensor> inputs) {
        auto& statistics = workers[worker];
        context.run(inputs, [&](const engine::Observation& o) {
          const auto found = statistics.find(o.tensor);
          if (found == statistics.end()) return;
          found->second.begin_sample(sample);
          observe(found->second, o);
          found->second.end_sample();
        });
      });
  result.samples = static_cast<uint64_t>(data.size()) - result.skipped.size();
  if (result.samples == 0)
    fail(ErrorCode::kInvalidArgument, "none of the {} samples could be read: {}", data.size(),
         result.skipped.front().reason);
  for (const auto& [t, name] : tensors) {
    TensorStatistics all = std::move(workers[0].at(t));
    for (size_t w = 1; w < workers.size(); ++w) all.merge(workers[w].at(t));
    result.values.emplace(name, std::move(all));
  }
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
