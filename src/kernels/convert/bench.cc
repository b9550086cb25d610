#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/convert/convert.h"

namespace octet::kernels {
namespace {

struct Case {
  const char* name;
  ConvertOp op;
  Layout in, out;
  int64_t channels, pixels, out_stride;
};

constexpr auto kPlain = Layout::kPlain;
constexpr auto kNhwc = Layout::kNhwc;
constexpr Case kCases[] = {
    {"quantize 3x224x224 to NHWC4", ConvertOp::kQuantize, kPlain, kNhwc, 3, 50176, 4},
    {"quantize 224x224x3 to NHWC4", ConvertOp::kQuantize, kNhwc, kNhwc, 3, 50176, 4},
    {"copy8 224x224x3 to NHWC4", ConvertOp::kCopy8, kNhwc, kNhwc, 3, 50176, 4},
    {"copy8 3x224x224 to NHWC4", ConvertOp::kCopy8, kPlain, kNhwc, 3, 50176, 4},
    {"quantize 64x56x56 to NHWC", ConvertOp::kQuantize, kPlain, kNhwc, 64, 3136, 64},
    {"quantize 64x56x56 plain", ConvertOp::kQuantize, kPlain, kPlain, 64, 3136, 64},
    {"dequantize 64x56x56 to plain", ConvertOp::kDequantize, kNhwc, kPlain, 64, 3136, 64},
    {"dequantize 64x56x56 NHWC", ConvertOp::kDequantize, kNhwc, kNhwc, 64, 3136, 64},
    {"copy8 64x56x56 to plain", ConvertOp::kCopy8, kNhwc, kPlain, 64, 3136, 64},
    {"copy8 64x56x56 to stride 128", ConvertOp::kCopy8, kNhwc, kNhwc, 64, 3136, 128},
    {"copy32 64x56x56 to plain", ConvertOp::kCopy32, kNhwc, kPlain, 64, 3136, 64},
    {"copy32 64x56x56 to NHWC", ConvertOp::kCopy32, kPlain, kNhwc, 64, 3136, 64},
};

void run(benchmark::State& state, const ConvertKernel& kernel, const Case& k) {
  ConvertCall c;
  c.op = k.op;
  c.channels = c.in_stride = k.channels;
  c.pixels = k.pixels;
  c.in_layout = k.in;
  c.out_layout = k.out;
  c.out_stride = k.out_stride;
  if (k.channels == 3) c.fill = 4;
  const std::vector<float> input(static_cast<size_t>(k.channels * k.pixels + 64), 1.5f), scale(128, 0.1f);
  std::vector<float> output(static_cast<size_t>(k.out_stride * k.pixels));
  const std::vector<int32_t> zero(128, 7);
  c.input = input.data();
  c.output = output.data();
  const std::vector<float> offset(128, 0.0f);
  c.offset = offset.data();
  c.scale = scale.data();
  c.zero_point = zero.data();
  for (auto _ : state) kernel.run(c, 0, kernel.pieces(c));
}

const bool kRegistered = [] {
  for (const ConvertKernel* kernel : convert_kernels())
    if (has_isa(kernel->isa))
      for (const Case& c : kCases)
        benchmark::RegisterBenchmark(
            ("convert/" + std::string(c.name) + "/" + std::string(kernel->name)).c_str(), run, *kernel, c)
            ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace octet::kernels
