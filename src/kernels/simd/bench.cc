#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/simd/function.h"

namespace octet::kernels {
namespace {

constexpr int64_t kCount = 4096;

void run(benchmark::State& state, Isa isa, Function function) {
  const FunctionKernel kernel = choose_function(isa);
  std::vector<float> input(kCount), output(kCount);
  for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<float>(i) / 512 - 4;
  for (auto _ : state) kernel(function, 0.1f, 0.5f, input.data(), output.data(), kCount);
  state.SetItemsProcessed(state.iterations() * kCount);
}

const bool kRegistered = [] {
  const std::pair<const char*, Function> functions[] = {
      {"sigmoid", Function::kSigmoid},      {"silu", Function::kSilu},
      {"hard_swish", Function::kHardSwish}, {"gelu", Function::kGelu},
      {"gelu_tanh", Function::kGeluTanh},   {"tanh", Function::kTanh}};
  for (Isa isa : {Isa::kAvx512Vnni, Isa::kAvx2, Isa::kReference})
    if (has_isa(isa))
      for (const auto& [name, function] : functions)
        benchmark::RegisterBenchmark(
            ("function/" + std::string(name) + "/" + std::string(isa_name(isa))).c_str(), run, isa, function)
            ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace octet::kernels
