#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/lut/lut.h"

namespace octet::kernels {
namespace {

void run(benchmark::State& state, const LutKernel& kernel) {
  LutCall call;
  call.pixels = 3136;
  call.channels = call.in_stride = call.out_stride = 64;
  const std::vector<uint8_t> table(256, 1), input(3136 * 64 + 64, 9);
  std::vector<uint8_t> output(input.size());
  call.table = table.data();
  call.input = input.data();
  call.output = output.data();
  for (auto _ : state) kernel.run(call, 0, kernel.pieces(call));
  state.SetBytesProcessed(state.iterations() * 3136 * 64);
}

const bool kRegistered = [] {
  for (const LutKernel* kernel : lut_kernels())
    if (has_isa(kernel->isa))
      benchmark::RegisterBenchmark(("lut 56x56x64/" + std::string(kernel->name)).c_str(), run, *kernel)
          ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace octet::kernels
