#include <gtest/gtest.h>

#include <cstring>

#include "kernels/eltwise/eltwise.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

void check(Random& random, int64_t number) {
  EltwiseCall call;
  call.op = random.chance(0.5) ? EltwiseOp::kAdd : EltwiseOp::kMul;
  call.images = random.range(1, 3);
  call.pixels = random.range(1, number % 8 == 0 ? 200 : 12);
  call.channels = random.range(1, number % 8 == 1 ? 600 : 150);
  if (number % 8 == 2) call.channels = random.range(1, 40) * 8;  // pixels that make whole vectors together
  call.broadcast = static_cast<Broadcast>(random.range(0, 2));
  call.per_channel = random.chance(0.5);
  call.threads = static_cast<int>(random.range(1, 3));
  call.float_output = random.chance(0.2);
  const bool tight = random.chance(0.4);
  auto stride = [&] { return call.channels + (tight ? 0 : random.range(0, 40)); };
  call.a_stride = stride();
  call.b_stride = call.broadcast == Broadcast::kPixel ? random.range(1, 5) : stride();
  call.out_stride = stride();
  const int64_t rows = call.images * call.pixels;
  const int64_t b_rows = call.broadcast == Broadcast::kImage ? call.images : rows;
  const auto a = random.bytes(rows * call.a_stride + 64), b = random.bytes(b_rows * call.b_stride + 64);
  call.a = a.data();
  call.b = b.data();
  std::vector<int32_t> zeros[2];
  for (auto& zero : zeros) {
    zero.assign((call.channels + 63) / 64 * 64, static_cast<int32_t>(random.range(0, 255)));
    for (int32_t& z : zero)
      if (call.per_channel) z = static_cast<int32_t>(random.range(0, 255));
  }
  call.a_zero = zeros[0].data();
  call.b_zero = zeros[1].data();
  Epilogue& e = call.epilogue;
  e.function = random.chance(0.5)
                   ? Function::kNone
                   : static_cast<Function>(random.range(0, static_cast<int64_t>(Function::kClip)));
  e.alpha = random.real(-1, 0.4f);
  e.beta = random.real(0.4f, 2);
  e.low = static_cast<uint8_t>(random.chance(0.5) ? 0 : random.range(0, 120));
  e.high = static_cast<uint8_t>(random.chance(0.5) ? 255 : random.range(e.low, 255));
  // Multiples of 1/8 without a function give many ties.
  const bool real = e.function != Function::kNone || random.chance(0.5);
  auto array = [&](float low, float high) {
    auto v = random.channel_array(call.channels, low, high, call.per_channel);
    if (!real)
      for (float& x : v) x = std::nearbyint(x * 8) / 8;
    return v;
  };
  const float size = e.function == Function::kNone ? 1.0f : 0.05f;
  const float first = call.op == EltwiseOp::kMul ? size / 100 : size;
  auto scale = array(0, first), b_scale = array(-size, size), bias = array(-20 * size, 20 * size);
  const auto out_scale = array(1, 60), out_zero = array(0, 200);
  if (random.chance(0.1)) scale[0] = 1e30f, bias[0] = random.chance(0.5) ? NAN : -INFINITY;
  if (!call.per_channel)
    std::fill(scale.begin(), scale.end(), scale[0]), std::fill(bias.begin(), bias.end(), bias[0]);
  e.scale = scale.data();
  e.bias = bias.data();
  e.out_scale = out_scale.data();
  e.out_zero = out_zero.data();
  call.b_scale = b_scale.data();

  const int64_t bytes = rows * call.out_stride * (call.float_output ? 4 : 1);
  const auto guard = random.bytes(bytes + 64);
  auto expected = guard;
  call.output = expected.data();
  const EltwiseKernel& reference = *eltwise_kernels().back();
  reference.run(call, 0, reference.pieces(call));
  for (const EltwiseKernel* kernel : eltwise_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    auto got = guard;
    call.output = got.data();
    run_pieces(random, kernel->pieces(call), [&](int64_t i, int64_t j) {
      const bool checked = random.chance(0.05);
      const auto before = checked ? got : std::vector<uint8_t>();
      kernel->run(call, i, j);
      EXPECT_TRUE(!checked || same_outside(before, got, 0,
                                           {kernel->pixels(call, i).first, kernel->pixels(call, j - 1).last},
                                           call.out_stride * (call.float_output ? 4 : 1)));
    });
    for (int64_t i = 0; i < bytes + 64; i += call.float_output ? 4 : 1) {
      if (call.float_output && i + 4 <= bytes) {
        float x, y;
        std::memcpy(&x, &expected[i], 4);
        std::memcpy(&y, &got[i], 4);
        if (std::isnan(x) && std::isnan(y)) continue;
      }
      ASSERT_EQ(0, std::memcmp(&expected[i], &got[i], call.float_output ? 4 : 1))
          << kernel->name << " case " << number << " byte " << i << " op " << static_cast<int>(call.op)
          << " function " << static_cast<int>(e.function) << " float " << call.float_output << " channels "
          << call.channels;
    }
  }
}

TEST(Eltwise, SameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(600) && !HasFatalFailure(); ++i) check(random, i);
}

TEST(Eltwise, OutputMayBeTheInput) {
  const std::vector<float> half(64, 0.5f), zero(64, 0.0f);
  for (const EltwiseKernel* kernel : eltwise_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    std::vector<uint8_t> a(3 * 64 + 64, 11);
    EltwiseCall call;
    call.pixels = 3;
    call.channels = call.a_stride = call.b_stride = call.out_stride = 64;
    call.per_channel = false;
    call.a = call.b = a.data();
    call.output = a.data();
    call.epilogue.scale = call.b_scale = half.data();
    call.epilogue.bias = zero.data();
    kernel->run(call, 0, kernel->pieces(call));
    EXPECT_EQ(a, std::vector<uint8_t>(a.size(), 11)) << kernel->name;
  }
}

}  // namespace
}  // namespace octet::kernels
