#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/pool/pool.h"

namespace octet::kernels {
namespace {

struct Case {
  const char* name;
  PoolOp op;
  int64_t size, channels, kernel, stride, pad;
};

constexpr Case kCases[] = {
    {"max3x3s2 112x112x64", PoolOp::kMax, 112, 64, 3, 2, 1},
    {"max5x5s1 20x20x256", PoolOp::kMax, 20, 256, 5, 1, 2},
    {"max9x9s1 20x20x256", PoolOp::kMax, 20, 256, 9, 1, 4},
    {"max13x13s1 20x20x256", PoolOp::kMax, 20, 256, 13, 1, 6},
    {"max2x2s2 112x112x24", PoolOp::kMax, 112, 24, 2, 2, 0},
    {"average3x3s1 35x35x192", PoolOp::kAverage, 35, 192, 3, 1, 1},
    {"global 7x7x2048", PoolOp::kAverage, 7, 2048, 7, 7, 0},
    {"global 56x56x72", PoolOp::kAverage, 56, 72, 56, 56, 0},
};

void run(benchmark::State& state, const PoolKernel& kernel, const Case& c) {
  PoolCall p;
  p.op = c.op;
  p.channels = p.in_stride = p.out_stride = c.channels;
  p.in_h = p.in_w = c.size;
  p.kernel_h = p.kernel_w = c.kernel;
  p.stride_h = p.stride_w = c.stride;
  p.pad_top = p.pad_left = c.pad;
  p.out_h = p.out_w = (c.size + 2 * c.pad - c.kernel) / c.stride + 1;
  std::vector<uint8_t> input(static_cast<size_t>(c.size * c.size * c.channels + 64), 9);
  std::vector<uint8_t> output(static_cast<size_t>(p.out_h * p.out_w * c.channels));
  const std::vector<float> scale(4096, 1.0f);
  const std::vector<int32_t> zero(4096, 0);
  p.input = input.data();
  p.output = output.data();
  p.scale = p.bias = scale.data();
  p.zero_point = zero.data();
  std::vector<std::byte> scratch(static_cast<size_t>(kernel.scratch_bytes(p)) + 64);
  for (auto _ : state) kernel.run(p, 0, kernel.pieces(p), scratch.data());
}

const bool kRegistered = [] {
  for (const PoolKernel* kernel : pool_kernels())
    if (has_isa(kernel->isa))
      for (const Case& c : kCases)
        benchmark::RegisterBenchmark(
            ("pool/" + std::string(c.name) + "/" + std::string(kernel->name)).c_str(), run, *kernel, c)
            ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace octet::kernels
