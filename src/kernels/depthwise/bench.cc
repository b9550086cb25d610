// Depthwise layers of known networks on one thread: GOPS counts two operations a tap, peak_pct is the share
// of the CPU's 512-bit vpdpbusd rate (set OCTET_PEAK_GMACS to the figure of one core; 236.4 is a 3.7 GHz Zen
// 4). Use --benchmark_repetitions and the smallest time.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/depthwise/depthwise.h"

namespace octet::kernels {
namespace {

struct Layer {
  int64_t size, channels, kernel, stride, dilation;
  Function function;
};

constexpr Layer kLayers[] = {
    {112, 32, 3, 1, 1, Function::kNone}, {112, 96, 3, 2, 1, Function::kNone},
    {56, 144, 3, 1, 1, Function::kNone}, {56, 128, 3, 1, 1, Function::kNone},
    {28, 192, 3, 1, 1, Function::kNone}, {14, 576, 3, 1, 1, Function::kNone},
    {14, 576, 3, 2, 1, Function::kNone}, {7, 960, 3, 1, 1, Function::kNone},
    {28, 192, 3, 1, 2, Function::kNone}, {28, 240, 5, 1, 1, Function::kNone},
    {14, 672, 5, 1, 1, Function::kNone}, {28, 240, 5, 2, 1, Function::kNone},
    {14, 384, 7, 1, 1, Function::kNone}, {56, 144, 3, 1, 1, Function::kHardSwish},
    {56, 144, 3, 1, 1, Function::kSilu},
};

// Memory aligned to a cache line.
struct Buffer {
  Buffer(size_t bytes, int value)
      : size(bytes), data(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}))) {
    std::memset(data, value, bytes);
  }
  ~Buffer() { ::operator delete (data, std::align_val_t{64}); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  size_t size;
  std::byte* data;
};

void run_layer(benchmark::State& state, const ConvKernel* kernel, const Layer& layer) {
  ConvCall call;
  ConvShape& s = call.shape;
  s.in_h = s.in_w = layer.size;
  s.in_c = s.out_c = s.groups = layer.channels;
  s.kernel_h = s.kernel_w = layer.kernel;
  s.stride_h = s.stride_w = layer.stride;
  s.dilation_h = s.dilation_w = layer.dilation;
  s.pad_top = s.pad_left = layer.kernel / 2 * layer.dilation;
  s.out_h = s.out_w = (layer.size - 1) / layer.stride + 1;
  const auto channels = static_cast<size_t>(round_up(layer.channels, kChannelPad));
  const auto pixels = static_cast<size_t>(layer.size * layer.size);
  const Buffer input(pixels * static_cast<size_t>(layer.channels) + kOverread, 100), output(input.size, 0);
  const std::vector<uint8_t> pad(channels, 128);
  const std::vector<int8_t> weights(static_cast<size_t>(layer.channels * layer.kernel * layer.kernel), 3);
  const std::vector<int32_t> init(channels, -1000);
  const std::vector<float> scale(channels, 0.01f), bias(channels, 3.0f);
  const Buffer packed(static_cast<size_t>(packed_depthwise_bytes(s)), 0);
  pack_depthwise_weights(s, weights.data(), packed.data);
  call.input = reinterpret_cast<const uint8_t*>(input.data);
  call.in_pixel_stride = call.out_pixel_stride = layer.channels;
  call.pad_pixel = pad.data();
  call.weights = packed.data;
  call.acc_init = init.data();
  call.output = output.data;
  call.epilogue.function = layer.function;
  call.epilogue.scale = call.epilogue.out_scale = scale.data();
  call.epilogue.bias = call.epilogue.out_zero = bias.data();
  const Buffer scratch(static_cast<size_t>(kernel->scratch_bytes(call)), 0);
  const int64_t pieces = kernel->pieces(call);

  for (auto _ : state) {
    for (int64_t i = 0; i < pieces; ++i) kernel->run(call, i, i + 1, scratch.data);
    benchmark::ClobberMemory();
  }
  const double macs = static_cast<double>(s.out_h * s.out_w * s.out_c * s.kernel_h * s.kernel_w);
  const char* peak = std::getenv("OCTET_PEAK_GMACS");
  using benchmark::Counter;
  state.counters["GOPS"] = Counter(2e-9 * macs, Counter::kIsIterationInvariantRate);
  state.counters["peak_pct"] =
      Counter(1e-7 * macs / (peak != nullptr ? std::atof(peak) : 236.4), Counter::kIsIterationInvariantRate);
  state.counters["pieces"] = static_cast<double>(pieces);
}

// A static object, as the library's own BENCHMARK macro makes one.
const bool kRegistered = [] {
  for (const ConvKernel* kernel : depthwise_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    for (const Layer& l : kLayers) {
      const std::string name =
          fmt::format("{}/{}x{}x{}/k{}s{}d{}f{}", kernel->name, l.size, l.size, l.channels, l.kernel,
                      l.stride, l.dilation, static_cast<int>(l.function));
      benchmark::RegisterBenchmark(name.c_str(),
                                   [kernel, l](benchmark::State& state) { run_layer(state, kernel, l); });
    }
  }
  return true;
}();

}  // namespace
}  // namespace octet::kernels
