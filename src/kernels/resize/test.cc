#include <gtest/gtest.h>

#include "kernels/resize/resize.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

struct Axis {
  std::vector<int32_t> index0, index1;
  std::vector<float> weight;
  ResizeAxis view() const { return {index0.data(), index1.data(), weight.data()}; }
};

// `filled`: with positions that have no source. Half of the axes have sources that follow each other.
Axis random_axis(Random& random, int64_t in, int64_t out, bool filled) {
  Axis axis;
  const bool shifted = random.chance(0.5);
  const int64_t shift = random.range(-3, 3);
  for (int64_t i = 0; i < out; ++i) {
    const int64_t next = i + shift;
    if (filled && (shifted ? next < 0 || next >= in : random.chance(0.2))) {
      axis.index0.push_back(-1);
    } else {
      axis.index0.push_back(
          static_cast<int32_t>(shifted ? std::clamp<int64_t>(next, 0, in - 1) : random.range(0, in - 1)));
    }
    axis.index1.push_back(static_cast<int32_t>(
        random.chance(0.8) ? std::min<int64_t>(in - 1, axis.index0.back() + 1) : random.range(0, in - 1)));
    axis.weight.push_back(random.chance(0.5) ? static_cast<float>(random.range(0, 4)) / 4
                                             : random.real(0, 1));
  }
  return axis;
}

void check(Random& random, int64_t number) {
  ResizeCall r;
  r.mode = random.chance(0.3) ? ResizeMode::kNearest : ResizeMode::kLinear;
  r.images = random.range(1, 2);
  r.channels = random.range(1, random.chance(0.1) ? 600 : 140);
  r.in_h = random.range(1, 12);
  r.in_w = random.range(1, 12);
  r.out_h = random.range(1, 20);
  r.out_w = random.range(1, 20);
  r.in_stride = r.channels + random.range(0, 1) * random.range(0, 40);
  r.out_stride = r.channels + random.range(0, 1) * random.range(0, 40);
  const bool filled = r.mode == ResizeMode::kNearest && random.chance(0.5);
  const Axis rows = random_axis(random, r.in_h, r.out_h, filled),
             columns = random_axis(random, r.in_w, r.out_w, filled);
  const auto fill = random.bytes(r.channels + 64);
  r.fill = fill.data();
  r.rows = rows.view();
  r.columns = columns.view();
  const auto input = random.bytes(r.images * r.in_h * r.in_w * r.in_stride + 64);
  r.input = input.data();
  const bool plain = random.chance(0.3), per_channel = random.chance(0.5);
  const auto scale = plain ? random.channel_array(r.channels, 1, 1, false)
                           : random.channel_array(r.channels, 0.2f, 2, per_channel);
  const auto bias = plain ? random.channel_array(r.channels, 0, 0, false)
                          : random.channel_array(r.channels, -50, 50, per_channel);
  r.scale = scale.data();
  r.bias = bias.data();
  r.low = static_cast<uint8_t>(random.chance(0.5) ? 0 : random.range(0, 120));
  r.high = static_cast<uint8_t>(random.chance(0.5) ? 255 : random.range(r.low, 255));

  const auto guard = random.bytes(r.images * r.out_h * r.out_w * r.out_stride + 64);
  auto expected = guard;
  r.output = expected.data();
  const ResizeKernel& reference = *resize_kernels().back();
  reference.run(r, 0, reference.pieces(r));
  for (const ResizeKernel* kernel : resize_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    auto got = guard;
    r.output = got.data();
    run_pieces(random, kernel->pieces(r), [&](int64_t i, int64_t j) { kernel->run(r, i, j); });
    ASSERT_EQ(expected, got) << kernel->name << " case " << number << " mode " << static_cast<int>(r.mode)
                             << " channels " << r.channels;
  }
}

TEST(Resize, SameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(300) && !HasFatalFailure(); ++i) check(random, i);
}

TEST(Resize, LinearHalfWay) {
  const uint8_t input[4 + 64] = {10, 20, 30, 40};
  const std::vector<float> one(64, 1.0f), zero(64, 0.0f);
  const int32_t first = 0, second = 1;
  const float half = 0.5f;
  uint8_t output = 0;
  ResizeCall r;
  r.mode = ResizeMode::kLinear;
  r.in_h = r.in_w = 2;
  r.rows = r.columns = {&first, &second, &half};
  r.input = input;
  r.output = &output;
  r.in_stride = r.out_stride = 1;
  r.scale = one.data();
  r.bias = zero.data();
  for (const ResizeKernel* kernel : resize_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    kernel->run(r, 0, kernel->pieces(r));
    EXPECT_EQ(output, 25) << kernel->name;
  }
}

}  // namespace
}  // namespace octet::kernels
