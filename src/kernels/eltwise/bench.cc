#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/eltwise/eltwise.h"

namespace octet::kernels {
namespace {

struct Case {
  const char* name;
  EltwiseOp op;
  Broadcast broadcast;
  int64_t pixels, channels;
  bool per_channel;
  Function function;
};

constexpr Case kCases[] = {
    {"add 56x56x64", EltwiseOp::kAdd, Broadcast::kNone, 3136, 64, false, Function::kNone},
    {"add 56x56x64 per channel", EltwiseOp::kAdd, Broadcast::kNone, 3136, 64, true, Function::kNone},
    {"add 56x56x24 per channel", EltwiseOp::kAdd, Broadcast::kNone, 3136, 24, true, Function::kNone},
    {"add silu 56x56x64", EltwiseOp::kAdd, Broadcast::kNone, 3136, 64, false, Function::kSilu},
    {"add gelu 56x56x64", EltwiseOp::kAdd, Broadcast::kNone, 3136, 64, false, Function::kGelu},
    {"mul 28x28x120 by image", EltwiseOp::kMul, Broadcast::kImage, 784, 120, true, Function::kNone},
    {"mul 112x112x16 by image", EltwiseOp::kMul, Broadcast::kImage, 12544, 16, true, Function::kNone},
};

void run(benchmark::State& state, const EltwiseKernel& kernel, const Case& c) {
  EltwiseCall e;
  e.op = c.op;
  e.broadcast = c.broadcast;
  e.pixels = c.pixels;
  e.channels = e.a_stride = e.b_stride = e.out_stride = c.channels;
  e.per_channel = c.per_channel;
  const std::vector<uint8_t> a(static_cast<size_t>(c.pixels * c.channels + 64), 9), b = a;
  std::vector<uint8_t> output(a.size());
  alignas(64) static const float scale[256] = {};
  e.a = a.data();
  e.b = b.data();
  e.output = output.data();
  e.b_scale = e.epilogue.scale = e.epilogue.bias = e.epilogue.out_scale = e.epilogue.out_zero = scale;
  alignas(64) static const int32_t zero[256] = {};
  e.a_zero = e.b_zero = zero;
  e.epilogue.function = c.function;
  for (auto _ : state) kernel.run(e, 0, kernel.pieces(e));
  state.SetItemsProcessed(state.iterations() * c.pixels * c.channels);
}

const bool kRegistered = [] {
  for (const EltwiseKernel* kernel : eltwise_kernels())
    if (has_isa(kernel->isa))
      for (const Case& c : kCases)
        benchmark::RegisterBenchmark(
            ("eltwise/" + std::string(c.name) + "/" + std::string(kernel->name)).c_str(), run, *kernel, c)
            ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace octet::kernels
