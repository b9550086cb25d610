// Real layers on one thread. GOPS counts two operations per multiply-add that the layer needs (padding of the
// packing is not work).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/conv/conv.h"

namespace octet::kernels {
namespace {

struct Layer {
  const char* name;
  ConvShape shape;
  bool residual = false;
  Function function = Function::kNone;
};

ConvShape layer(int64_t in, int64_t in_c, int64_t out_c, int64_t kernel, int64_t stride = 1) {
  ConvShape s;
  s.in_h = s.in_w = in;
  s.out_h = s.out_w = in / stride;
  s.in_c = in_c;
  s.out_c = out_c;
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.pad_top = s.pad_left = (kernel - 1) / 2;
  return s;
}

ConvShape grouped(ConvShape s, int64_t groups) {
  s.groups = groups;
  return s;
}

ConvShape gemm(int64_t rows, int64_t k, int64_t n) {
  ConvShape s;
  s.in_w = s.out_w = rows;
  s.in_c = k;
  s.out_c = n;
  return s;
}

std::vector<Layer> layers() {
  return {
      {"56x56x64_1x1_64", layer(56, 64, 64, 1)},
      {"56x56x64_1x1_256_residual", layer(56, 64, 256, 1), true},
      {"56x56x64_3x3_64", layer(56, 64, 64, 3)},
      {"28x28x128_3x3_128", layer(28, 128, 128, 3)},
      {"14x14x256_3x3_256", layer(14, 256, 256, 3)},
      {"7x7x512_3x3_512", layer(7, 512, 512, 3)},
      {"7x7x512_1x1_2048", layer(7, 512, 2048, 1)},
      {"56x56x256_1x1_512_s2", layer(56, 256, 512, 1, 2)},
      {"112x112x16_1x1_96", layer(112, 16, 96, 1)},
      {"112x112x32_1x1_16", layer(112, 32, 16, 1)},
      {"56x56x144_1x1_24", layer(56, 144, 24, 1)},
      {"14x14x96_1x1_576", layer(14, 96, 576, 1)},
      {"14x14x576_1x1_96", layer(14, 576, 96, 1)},
      {"224x224x3_3x3_32_s2", layer(224, 3, 32, 3, 2)},
      {"224x224x4_7x7_64_s2", layer(224, 4, 64, 7, 2)},
      {"56x56x16_3x3_64", layer(56, 16, 64, 3)},
      {"40x40x128_3x3_128_silu", layer(40, 128, 128, 3), false, Function::kSilu},
      {"56x56x128_3x3_128_g32", grouped(layer(56, 128, 128, 3), 32)},
      {"28x28x256_3x3_256_g32", grouped(layer(28, 256, 256, 3), 32)},
      {"14x14x512_3x3_512_g32", grouped(layer(14, 512, 512, 3), 32)},
      {"gemm_1x1024_1000", gemm(1, 1024, 1000)},
      {"gemm_197x768_3072_gelu", gemm(197, 768, 3072), false, Function::kGelu},
  };
}

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<std::byte[], FreeDeleter>;

Buffer buffer(int64_t bytes) {
  const auto size = static_cast<size_t>(round_up(bytes + kOverread, 64));
  Buffer b(static_cast<std::byte*>(std::aligned_alloc(64, size)));
  std::memset(b.get(), 0, size);
  return b;
}

// Near the normal distribution, as weights are: -128 to 127, with a standard deviation of 33.
int bell(uint64_t& state) {
  int sum = 0;
  for (int i = 0; i < 5; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    sum += static_cast<int8_t>(state >> 56);
  }
  return sum / 5;
}

// What a Relu leaves of such values, over all bytes.
void fill_inputs(const Buffer& b, int64_t count) {
  uint64_t state = 1;
  for (int64_t i = 0; i < count; ++i) b[i] = static_cast<std::byte>(std::max(0, bell(state)) * 2);
}

void fill_weights(int8_t* w, int64_t count) {
  uint64_t state = 2;
  for (int64_t i = 0; i < count; ++i) w[i] = static_cast<int8_t>(bell(state));
}

// Arguments: index of the layer, index of the kernel.
void conv(benchmark::State& state) {
  const Layer l = layers()[static_cast<size_t>(state.range(0))];
  const ConvKernel& kernel = *conv_kernels()[static_cast<size_t>(state.range(1))];
  const ConvShape& s = l.shape;
  ConvCall call;
  call.shape = s;
  call.in_pixel_stride = round_up(s.in_c, 4);
  call.out_pixel_stride = call.residual_pixel_stride = s.out_c;
  const Buffer input = buffer(s.in_h * s.in_w * call.in_pixel_stride), pad = buffer(round_up(s.in_c, 64));
  const Buffer output = buffer(s.out_h * s.out_w * s.out_c), residual = buffer(s.out_h * s.out_w * s.out_c);
  const Buffer packed = buffer(packed_conv_bytes(s));
  const int64_t weight_count = s.out_c * (s.in_c / s.groups) * s.kernel_h * s.kernel_w;
  const Buffer weights = buffer(weight_count);
  auto* w = reinterpret_cast<int8_t*>(weights.get());
  fill_weights(w, weight_count);
  pack_conv_weights(s, w, packed.get());
  fill_inputs(input, s.in_h * s.in_w * call.in_pixel_stride);
  std::vector<int32_t> init(static_cast<size_t>(round_up(s.out_c, kChannelPad)));
  const std::vector<float> scale(init.size(), 1e-3f), bias(init.size(), 100), out_scale(init.size(), 20);
  call.input = reinterpret_cast<const uint8_t*>(input.get());
  call.pad_pixel = reinterpret_cast<const uint8_t*>(pad.get());
  call.weights = packed.get();
  call.acc_init = init.data();
  call.output = output.get();
  call.epilogue.scale = scale.data();
  call.epilogue.bias = bias.data();
  call.epilogue.function = l.function;
  if (l.function != Function::kNone) {
    call.epilogue.out_scale = out_scale.data();
    call.epilogue.out_zero = bias.data();
  }
  if (l.residual) {
    call.residual = reinterpret_cast<const uint8_t*>(residual.get());
    call.epilogue.residual_scale = scale.data();
  }
  const Buffer scratch = buffer(kernel.scratch_bytes(call));
  const int64_t pieces = kernel.pieces(call);
  for (auto _ : state) kernel.run(call, 0, pieces, scratch.get());
  state.SetLabel(std::string(l.name) + " " + std::string(kernel.name));
  const double ops = 2.0 * static_cast<double>(s.out_h * s.out_w * weight_count);
  state.counters["GOPS"] = benchmark::Counter(ops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["pieces"] = static_cast<double>(pieces);
}

void every_pair(benchmark::internal::Benchmark* benchmark) {
  const auto kernels = static_cast<int64_t>(conv_kernels().size());
  for (int64_t l = 0; l < static_cast<int64_t>(layers().size()); ++l)
    for (int64_t k = 0; k + 1 < kernels; ++k)
      if (const ConvKernel& kernel = *conv_kernels()[static_cast<size_t>(k)];
          has_isa(kernel.isa) && kernel.supports(layers()[static_cast<size_t>(l)].shape))
        benchmark->Args({l, k});
}
BENCHMARK(conv)->Apply(every_pair)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace octet::kernels
