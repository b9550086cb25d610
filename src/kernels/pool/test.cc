#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/pool/pool.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

struct Scratch {
  explicit Scratch(int64_t bytes) : memory(static_cast<size_t>(bytes) + 64) {}
  std::byte* data() { return memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64; }
  std::vector<std::byte> memory;
};

void compare(Random& random, PoolCall call, const std::string& what) {
  const int64_t size = call.float_output ? 4 : 1;
  const int64_t bytes = call.images * call.out_h * call.out_w * call.out_stride * size;
  const auto guard = random.bytes(bytes + 64);
  auto expected = guard;
  call.output = expected.data();
  const PoolKernel& reference = *pool_kernels().back();
  reference.run(call, 0, reference.pieces(call), nullptr);
  for (const PoolKernel* kernel : pool_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    auto got = guard;
    call.output = got.data();
    Scratch scratch(kernel->scratch_bytes(call));
    run_pieces(random, kernel->pieces(call),
               [&](int64_t i, int64_t j) { kernel->run(call, i, j, scratch.data()); });
    for (int64_t i = 0; i < bytes + 64; i += size) {
      if (call.float_output && i + 4 <= bytes) {
        float x, y;
        std::memcpy(&x, &expected[static_cast<size_t>(i)], 4);
        std::memcpy(&y, &got[static_cast<size_t>(i)], 4);
        if (std::isnan(x) && std::isnan(y)) continue;
      }
      ASSERT_EQ(0, std::memcmp(&expected[static_cast<size_t>(i)], &got[static_cast<size_t>(i)],
                               static_cast<size_t>(size)))
          << kernel->name << " byte " << i << " " << what;
    }
  }
}

void check(Random& random, int64_t number) {
  PoolCall p;
  p.op = random.chance(0.5) ? PoolOp::kMax : PoolOp::kAverage;
  p.images = random.range(1, 2);
  p.channels = random.range(1, random.chance(0.1) ? 700 : 140);
  p.in_h = random.range(1, 24);
  p.in_w = random.range(1, 24);
  const bool large = random.chance(0.3);
  p.kernel_h = random.range(1, large ? 13 : 4);
  p.kernel_w = random.range(1, large ? 13 : 4);
  p.stride_h = random.range(1, random.chance(0.5) ? 1 : 3);
  p.stride_w = random.range(1, random.chance(0.5) ? 1 : 3);
  p.dilation_h = random.range(1, random.chance(0.8) ? 1 : 3);
  p.dilation_w = random.range(1, random.chance(0.8) ? 1 : 3);
  p.pad_top = random.range(0, p.kernel_h);
  p.pad_left = random.range(0, p.kernel_w);
  p.pad_bottom = random.range(0, p.kernel_h);
  p.pad_right = random.range(0, p.kernel_w);
  p.count_include_pad = random.chance(0.5);
  p.out_h = (p.in_h + p.pad_top + p.pad_bottom) / p.stride_h + random.range(0, 1);
  p.out_w = (p.in_w + p.pad_left + p.pad_right) / p.stride_w + random.range(0, 1);
  if (number % 10 == 0) {
    p.in_h = random.range(1, 40);
    p.in_w = random.range(1, 40);
    p.kernel_h = p.in_h;
    p.kernel_w = p.in_w;
    p.out_h = p.out_w = 1;
    p.pad_top = p.pad_left = p.pad_bottom = p.pad_right = 0;
    p.dilation_h = p.dilation_w = 1;
  }
  if (p.out_h < 1) p.out_h = 1;
  if (p.out_w < 1) p.out_w = 1;
  const bool tight = random.chance(0.4);
  p.in_stride = p.channels + (tight ? 0 : random.range(0, 40));
  p.out_stride = p.channels + (tight ? 0 : random.range(0, 40));
  p.float_output = p.op == PoolOp::kAverage && random.chance(0.3);
  auto input = random.bytes(p.images * p.in_h * p.in_w * p.in_stride + 64);
  if (random.chance(0.2)) std::fill(input.begin(), input.end(), 255);
  p.input = input.data();
  const bool per_channel = random.chance(0.5);
  const auto scale = random.channel_array(p.channels, 0.2f, 2, per_channel);
  const auto bias = random.channel_array(p.channels, 0, 200, per_channel);
  std::vector<int32_t> zero(scale.size());
  for (auto& z : zero) z = static_cast<int32_t>(random.range(0, 255));
  p.scale = scale.data();
  p.bias = bias.data();
  p.zero_point = zero.data();
  p.low = static_cast<uint8_t>(random.chance(0.5) ? 0 : random.range(0, 120));
  p.high = static_cast<uint8_t>(random.chance(0.5) ? 255 : random.range(p.low, 255));
  compare(
      random, p,
      fmt::format(
          "case {} op {} channels {} in {}x{} out {}x{} kernel {}x{} stride {}x{} dilation {}x{} pad {},{}",
          number, static_cast<int>(p.op), p.channels, p.in_h, p.in_w, p.out_h, p.out_w, p.kernel_h,
          p.kernel_w, p.stride_h, p.stride_w, p.dilation_h, p.dilation_w, p.pad_top, p.pad_left));
}

TEST(Pool, SameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(300) && !HasFatalFailure(); ++i) check(random, i);
}

// Sums of more than 257 taps leave 16 bits.
TEST(Pool, LargeGlobalAverage) {
  std::vector<uint8_t> input(100 * 100 * 70 + 64, 255);
  const std::vector<float> scale(128, 1.0f), bias(128, 0.25f);
  const std::vector<int32_t> zero(128, 3);
  PoolCall p;
  p.op = PoolOp::kAverage;
  p.channels = p.in_stride = p.out_stride = 70;
  p.in_h = p.in_w = p.kernel_h = p.kernel_w = 100;
  p.input = input.data();
  p.scale = scale.data();
  p.bias = bias.data();
  p.zero_point = zero.data();
  p.float_output = true;
  for (const PoolKernel* kernel : pool_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    std::vector<float> out(70);
    p.output = out.data();
    Scratch scratch(kernel->scratch_bytes(p));
    kernel->run(p, 0, kernel->pieces(p), scratch.data());
    for (float v : out) ASSERT_NEAR(v, 252.25f, 1e-3) << kernel->name;
  }
}

}  // namespace
}  // namespace octet::kernels
