// The convolutions of two networks, one after the other, as an engine runs them: one parallel_for per layer,
// the activation and the residual inside, the outputs of SqueezeNet's expand layers interleaved in one
// tensor.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/float/conv_f32.h"
#include "tensor/tensor.h"

namespace octet::kernels {
namespace {

struct Layer {
  int64_t in, in_c, out, out_c, kernel, stride, pad, groups;
};

constexpr Layer kSqueezeNet[] = {
    {227, 3, 113, 64, 3, 2, 0, 1}, {56, 64, 56, 16, 1, 1, 0, 1},   {56, 16, 56, 64, 1, 1, 0, 1},
    {56, 16, 56, 64, 3, 1, 1, 1},  {56, 128, 56, 16, 1, 1, 0, 1},  {56, 16, 56, 64, 1, 1, 0, 1},
    {56, 16, 56, 64, 3, 1, 1, 1},  {28, 128, 28, 32, 1, 1, 0, 1},  {28, 32, 28, 128, 1, 1, 0, 1},
    {28, 32, 28, 128, 3, 1, 1, 1}, {28, 256, 28, 32, 1, 1, 0, 1},  {28, 32, 28, 128, 1, 1, 0, 1},
    {28, 32, 28, 128, 3, 1, 1, 1}, {14, 256, 14, 48, 1, 1, 0, 1},  {14, 48, 14, 192, 1, 1, 0, 1},
    {14, 48, 14, 192, 3, 1, 1, 1}, {14, 384, 14, 48, 1, 1, 0, 1},  {14, 48, 14, 192, 1, 1, 0, 1},
    {14, 48, 14, 192, 3, 1, 1, 1}, {14, 384, 14, 64, 1, 1, 0, 1},  {14, 64, 14, 256, 1, 1, 0, 1},
    {14, 64, 14, 256, 3, 1, 1, 1}, {14, 512, 14, 64, 1, 1, 0, 1},  {14, 64, 14, 256, 1, 1, 0, 1},
    {14, 64, 14, 256, 3, 1, 1, 1}, {14, 512, 16, 1000, 1, 1, 1, 1}};

constexpr Layer kMobileNetV2[] = {
    {224, 3, 112, 32, 3, 2, 0, 1},  {112, 32, 112, 32, 3, 1, 1, 32},  {112, 32, 112, 16, 1, 1, 0, 1},
    {112, 16, 112, 96, 1, 1, 0, 1}, {112, 96, 56, 96, 3, 2, 0, 96},   {56, 96, 56, 24, 1, 1, 0, 1},
    {56, 24, 56, 144, 1, 1, 0, 1},  {56, 144, 56, 144, 3, 1, 1, 144}, {56, 144, 56, 24, 1, 1, 0, 1},
    {56, 24, 56, 144, 1, 1, 0, 1},  {56, 144, 28, 144, 3, 2, 0, 144}, {28, 144, 28, 32, 1, 1, 0, 1},
    {28, 32, 28, 192, 1, 1, 0, 1},  {28, 192, 28, 192, 3, 1, 1, 192}, {28, 192, 28, 32, 1, 1, 0, 1},
    {28, 32, 28, 192, 1, 1, 0, 1},  {28, 192, 28, 192, 3, 1, 1, 192}, {28, 192, 28, 32, 1, 1, 0, 1},
    {28, 32, 28, 192, 1, 1, 0, 1},  {28, 192, 14, 192, 3, 2, 0, 192}, {14, 192, 14, 64, 1, 1, 0, 1},
    {14, 64, 14, 384, 1, 1, 0, 1},  {14, 384, 14, 384, 3, 1, 1, 384}, {14, 384, 14, 64, 1, 1, 0, 1},
    {14, 64, 14, 384, 1, 1, 0, 1},  {14, 384, 14, 384, 3, 1, 1, 384}, {14, 384, 14, 64, 1, 1, 0, 1},
    {14, 64, 14, 384, 1, 1, 0, 1},  {14, 384, 14, 384, 3, 1, 1, 384}, {14, 384, 14, 64, 1, 1, 0, 1},
    {14, 64, 14, 384, 1, 1, 0, 1},  {14, 384, 14, 384, 3, 1, 1, 384}, {14, 384, 14, 96, 1, 1, 0, 1},
    {14, 96, 14, 576, 1, 1, 0, 1},  {14, 576, 14, 576, 3, 1, 1, 576}, {14, 576, 14, 96, 1, 1, 0, 1},
    {14, 96, 14, 576, 1, 1, 0, 1},  {14, 576, 14, 576, 3, 1, 1, 576}, {14, 576, 14, 96, 1, 1, 0, 1},
    {14, 96, 14, 576, 1, 1, 0, 1},  {14, 576, 7, 576, 3, 2, 0, 576},  {7, 576, 7, 160, 1, 1, 0, 1},
    {7, 160, 7, 960, 1, 1, 0, 1},   {7, 960, 7, 960, 3, 1, 1, 960},   {7, 960, 7, 160, 1, 1, 0, 1},
    {7, 160, 7, 960, 1, 1, 0, 1},   {7, 960, 7, 960, 3, 1, 1, 960},   {7, 960, 7, 160, 1, 1, 0, 1},
    {7, 160, 7, 960, 1, 1, 0, 1},   {7, 960, 7, 960, 3, 1, 1, 960},   {7, 960, 7, 320, 1, 1, 0, 1},
    {7, 320, 7, 1280, 1, 1, 0, 1},  {1, 1280, 1, 1001, 1, 1, 0, 1}};

void run_network(benchmark::State& bench, std::span<const Layer> layers, bool expands) {
  const int threads = static_cast<int>(bench.range(0));
  std::vector<ConvF32> convs;
  int64_t scratch_bytes = 0, floats = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Layer& l = layers[i];
    ConvF32Options o;
    o.shape = {1,        l.in,     l.in,     l.in_c, l.out, l.out, l.out_c, l.kernel,
               l.kernel, l.stride, l.stride, 1,      1,     l.pad, l.pad,   l.groups};
    const Tensor weights(DType::kFloat32, {l.out_c, l.in_c / l.groups, l.kernel, l.kernel});
    const Tensor bias(DType::kFloat32, {l.out_c});
    o.weights = weights.as<float>().data();
    o.bias = bias.as<float>().data();
    o.threads = threads;
    if (expands) {  // layers that follow a squeeze layer share its input and write halves of one output
      o.function = Function::kRelu;
      o.out_pixel_stride = i % 3 == 1 || i == 0 || i + 1 == layers.size() ? l.out_c : 2 * l.out_c;
    } else {
      const bool projects = l.kernel == 1 && l.in_c > l.out_c && l.out > 1;
      o.function = projects ? Function::kNone : Function::kClip;
      o.beta = 6;
      o.residual =
          projects && i + 3 < layers.size() && l.in == layers[i - 2].in && layers[i - 2].in_c == l.out_c;
    }
    floats = std::max({floats, l.in * l.in * l.in_c, l.out * l.out * std::max(l.out_c, o.out_pixel_stride)});
    convs.emplace_back(o);
    scratch_bytes = std::max(scratch_bytes, convs.back().scratch_bytes());
  }
  std::vector<Tensor> buffers(3, Tensor()), scratch(static_cast<size_t>(threads), Tensor());
  for (Tensor& t : buffers) t = Tensor(DType::kFloat32, {floats});
  for (Tensor& t : scratch) t = Tensor(DType::kUInt8, {scratch_bytes + 64});
  ThreadPool pool(threads);
  for (auto _ : bench)
    for (size_t i = 0; i < convs.size(); ++i) {
      const float* x = buffers[i % 2].as<float>().data();
      float* y = buffers[(i + 1) % 2].as<float>().data();
      pool.parallel_for(convs[i].pieces(), 1, [&](int64_t begin, int64_t end, int thread) {
        convs[i].run(begin, end, thread, x, buffers[2].as<float>().data(), y,
                     static_cast<std::byte*>(scratch[static_cast<size_t>(thread)].raw()));
      });
    }
}

void squeezenet(benchmark::State& bench) {
  run_network(bench, kSqueezeNet, true);
}

void mobilenetv2(benchmark::State& bench) {
  run_network(bench, kMobileNetV2, false);
}

BENCHMARK(squeezenet)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(mobilenetv2)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace octet::kernels
