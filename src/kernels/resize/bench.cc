#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/resize/resize.h"

namespace octet::kernels {
namespace {

// Twice the size in both directions.
void run(benchmark::State& state, const ResizeKernel& kernel, ResizeMode mode, int64_t size,
         int64_t channels) {
  std::vector<int32_t> index0, index1;
  std::vector<float> weight;
  for (int64_t i = 0; i < 2 * size; ++i) {
    index0.push_back(static_cast<int32_t>(i / 2));
    index1.push_back(static_cast<int32_t>(std::min(size - 1, i / 2 + 1)));
    weight.push_back(i % 2 ? 0.25f : 0.75f);
  }
  ResizeCall r;
  r.mode = mode;
  r.channels = r.in_stride = r.out_stride = channels;
  r.in_h = r.in_w = size;
  r.out_h = r.out_w = 2 * size;
  r.rows = r.columns = {index0.data(), index1.data(), weight.data()};
  const std::vector<uint8_t> input(static_cast<size_t>(size * size * channels + 64), 9);
  std::vector<uint8_t> output(static_cast<size_t>(4 * size * size * channels));
  const std::vector<float> scale(512, 1.1f);
  r.input = input.data();
  r.output = output.data();
  r.scale = r.bias = scale.data();
  for (auto _ : state) kernel.run(r, 0, kernel.pieces(r));
}

const bool kRegistered = [] {
  for (const ResizeKernel* kernel : resize_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    for (auto [mode, name] :
         {std::pair{ResizeMode::kNearest, "nearest"}, std::pair{ResizeMode::kLinear, "linear"}})
      for (auto [size, channels] : {std::pair<int64_t, int64_t>{20, 256}, {64, 21}, {40, 128}})
        benchmark::RegisterBenchmark(
            ("resize/" + std::string(name) + " " + std::to_string(size) + "x" + std::to_string(size) + "x" +
             std::to_string(channels) + "/" + std::string(kernel->name))
                .c_str(),
            run, *kernel, mode, size, channels)
            ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace octet::kernels
