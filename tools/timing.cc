#include "timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace octet::tools {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::vector<double> time_runs(engine::Context& context, const std::vector<Tensor>& inputs, double warmup,
                              double duration) {
  const auto begin = Clock::now();
  do context.run(inputs);
  while (seconds_since(begin) < warmup);
  std::vector<double> times;
  const auto start = Clock::now();
  do {
    const auto before = Clock::now();
    context.run(inputs);
    times.push_back(seconds_since(before));
  } while (seconds_since(start) < duration);
  return times;
}

double quantile(const std::vector<double>& sorted, double part) {
  const double rank = std::ceil(part * static_cast<double>(sorted.size()));
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(std::max(1.0, rank)) - 1)];
}

std::vector<std::vector<double>> time_each_step(engine::Context& context, const std::vector<Tensor>& inputs,
                                                size_t steps, double duration) {
  constexpr size_t kMostRuns = 5000;
  std::vector<std::vector<double>> times(steps);
  std::vector<double> once(steps);
  const auto start = Clock::now();
  do {
    std::fill(once.begin(), once.end(), 0);
    context.profile(inputs, once);
    for (size_t i = 0; i < steps; ++i) times[i].push_back(once[i]);
  } while (seconds_since(start) < duration && times.size() > 0 && times[0].size() < kMostRuns);
  for (auto& t : times) std::sort(t.begin(), t.end());
  return times;
}

std::vector<double> time_steps(engine::Context& context, const std::vector<Tensor>& inputs, size_t steps,
                               double duration) {
  std::vector<double> medians;
  for (const auto& t : time_each_step(context, inputs, steps, duration)) medians.push_back(quantile(t, 0.5));
  return medians;
}

}  // namespace octet::tools
