// Calibration's hot path and its range methods.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>

#include "quant/range/range.h"

namespace octet {
namespace {

enum class Kind { kDense, kRelu, kNarrow, kConstant };

std::vector<float> make_data(Kind kind, size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& v : x) {
    v = normal(random);
    if (kind == Kind::kRelu) v = std::max(v, 0.0f);
    if (kind == Kind::kNarrow) v *= 0.01f;
    if (kind == Kind::kConstant) v = 6;
  }
  if (kind == Kind::kNarrow) x[0] = 4;
  return x;
}

void observe(benchmark::State& state, Kind kind, int channels) {
  const std::vector<float> x = make_data(kind, 128 * 56 * 56);
  TensorStatistics statistics({channels, false});
  for (auto _ : state) statistics.observe_sample(0, x);
  state.counters["per value"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(x.size()),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void range(benchmark::State& state, RangeMethod method, RangeOptions options) {
  TensorStatistics statistics;
  statistics.observe_sample(0, make_data(Kind::kDense, 1000000));
  for (auto _ : state) benchmark::DoNotOptimize(choose_range(method, statistics, options));
}

BENCHMARK_CAPTURE(observe, dense, Kind::kDense, 0);
BENCHMARK_CAPTURE(observe, relu, Kind::kRelu, 0);
BENCHMARK_CAPTURE(observe, narrow, Kind::kNarrow, 0);
BENCHMARK_CAPTURE(observe, constant, Kind::kConstant, 0);
BENCHMARK_CAPTURE(observe, dense_16_channels, Kind::kDense, 16);
BENCHMARK_CAPTURE(observe, dense_128_channels, Kind::kDense, 128);
BENCHMARK_CAPTURE(range, percentile, RangeMethod::kPercentile, {})->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(range, mse, RangeMethod::kMse, {})->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(range, mse_symmetric, RangeMethod::kMse, {DType::kInt8, true})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(range, entropy, RangeMethod::kEntropy, {})->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(range, entropy_symmetric, RangeMethod::kEntropy, {DType::kInt8, true})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace octet
