#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/convert/convert.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

int64_t elements(const ConvertCall& c, Layout layout, int64_t stride, int64_t plane_stride = 0) {
  if (plane_stride > 0) return (c.channels - 1) * plane_stride + c.pixels;
  return c.images * c.pixels * (layout == Layout::kNhwc ? stride : c.channels);
}

void check(Random& random, int64_t number) {
  ConvertCall c;
  c.op = static_cast<ConvertOp>(random.range(0, 3));
  c.images = random.range(1, 3);
  c.channels = random.chance(0.3) ? random.range(1, 5) : random.range(1, random.chance(0.1) ? 600 : 140);
  c.pixels = random.range(1, random.chance(0.1) ? 700 : 60);
  if (number % 50 == 0) c.images = c.channels = 1, c.pixels = random.range(1, 60000);
  c.in_layout = static_cast<Layout>(random.range(0, 1));
  c.out_layout = static_cast<Layout>(random.range(0, 1));
  const auto bytes_out = [&] { return c.op == ConvertOp::kQuantize || c.op == ConvertOp::kCopy8; };
  c.in_stride = c.channels + random.range(0, 1) * random.range(0, 20);
  c.out_stride = c.channels + random.range(0, 1) * random.range(0, 20);
  if (bytes_out() && c.out_layout == Layout::kNhwc && random.chance(0.5)) {
    if (random.chance(0.5)) c.out_stride = (c.channels + 3) / 4 * 4;
    c.fill = random.range(0, c.out_stride);
  }
  if (number % 20 == 1) {  // an image with its channels last
    c.op = random.chance(0.7) ? ConvertOp::kQuantize : ConvertOp::kCopy8;
    c.in_layout = c.out_layout = Layout::kNhwc;
    c.channels = c.in_stride = random.range(1, 4);
    c.pixels = random.range(1, random.chance(0.3) ? 20000 : 200);
    c.out_stride = c.fill = 4;
  }
  if (number % 20 == 2) {  // channels are the last axis
    c.in_layout = c.out_layout = Layout::kPlain;
    c.pixels = 1;
    c.images = random.range(1, 300);
  }
  if (c.op == ConvertOp::kCopy32 && c.out_layout == Layout::kPlain && random.chance(0.5)) {
    c.images = 1;
    c.out_plane_stride = c.pixels + random.range(0, 40);
  }
  c.per_channel = random.chance(0.5);
  c.flip_sign = c.op != ConvertOp::kCopy32 && random.chance(0.4);
  c.low = static_cast<uint8_t>(random.chance(0.5) ? 0 : random.range(0, 120));
  c.high = static_cast<uint8_t>(random.chance(0.5) ? 255 : random.range(c.low, 255));
  auto scale = random.channel_array(c.channels, 0.01f, 0.1f, c.per_channel);
  if (random.chance(0.3)) std::fill(scale.begin(), scale.end(), 0.25f);
  std::vector<int32_t> zero(scale.size(), static_cast<int32_t>(random.range(0, 255)));
  if (c.per_channel)
    for (auto& z : zero) z = static_cast<int32_t>(random.range(0, 255));
  auto offset = random.channel_array(c.channels, -3, 3, c.per_channel);
  if (random.chance(0.5)) std::fill(offset.begin(), offset.end(), 0.0f);
  c.scale = scale.data();
  c.zero_point = zero.data();
  c.offset = offset.data();

  const int64_t in_count = elements(c, c.in_layout, c.in_stride),
                out_count = elements(c, c.out_layout, c.out_stride, c.out_plane_stride);
  const auto in_bytes = random.bytes(in_count + 64);
  std::vector<float> in_floats(static_cast<size_t>(in_count));
  for (float& x : in_floats) {
    x = random.chance(0.5) ? random.real(-10, 10) : static_cast<float>(random.range(-1200, 1200)) / 32;
    if (random.chance(0.02)) {
      const uint32_t bits = random.bits();
      std::memcpy(&x, &bits, 4);
    }
    if (random.chance(0.01)) x = random.chance(0.3) ? NAN : random.chance(0.5) ? INFINITY : -INFINITY;
  }
  const bool bytes_in = c.op == ConvertOp::kDequantize || c.op == ConvertOp::kCopy8;
  c.input = bytes_in ? static_cast<const void*>(in_bytes.data()) : in_floats.data();
  const int64_t out_bytes = out_count * (bytes_out() ? 1 : 4);
  const auto guard = random.bytes(out_bytes + 64);
  auto expected = guard;
  c.output = expected.data();
  const ConvertKernel& reference = *convert_kernels().back();
  reference.run(c, 0, reference.pieces(c));
  for (const ConvertKernel* kernel : convert_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    auto got = guard;
    c.output = got.data();
    run_pieces(random, kernel->pieces(c), [&](int64_t i, int64_t j) {
      const bool checked = c.out_layout == Layout::kNhwc && random.chance(0.05);
      const auto before = checked ? got : std::vector<uint8_t>();
      kernel->run(c, i, j);
      if (checked) {
        EXPECT_TRUE(same_outside(before, got, 0, {kernel->pixels(c, i).first, kernel->pixels(c, j - 1).last},
                                 c.out_stride * (bytes_out() ? 1 : 4)));
      }
    });
    ASSERT_EQ(expected, got)
        << kernel->name
        << fmt::format(" case {} op {} layouts {}->{} strides {}->{} planes {} fill {} shape {}x{}x{}",
                       number, static_cast<int>(c.op), static_cast<int>(c.in_layout),
                       static_cast<int>(c.out_layout), c.in_stride, c.out_stride, c.out_plane_stride, c.fill,
                       c.images, c.channels, c.pixels);
  }
}

TEST(Convert, SameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(500) && !HasFatalFailure(); ++i) check(random, i);
}

TEST(Convert, QuantizeRoundsHalfToEvenAndSaturates) {
  const float x[] = {0.25f, 0.75f, 1.25f, -0.25f, 1e30f, -1e30f, NAN};
  const std::vector<float> scale(64, 0.5f), offset(64, 0.0f);
  const std::vector<int32_t> zero(64, 10);
  ConvertCall c;
  c.op = ConvertOp::kQuantize;
  c.pixels = 7;
  c.input = x;
  c.scale = scale.data();
  c.zero_point = zero.data();
  c.offset = offset.data();
  c.per_channel = false;
  for (const ConvertKernel* kernel : convert_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    std::vector<uint8_t> out(7);
    c.output = out.data();
    kernel->run(c, 0, kernel->pieces(c));
    EXPECT_EQ(out, (std::vector<uint8_t>{10, 12, 12, 10, 255, 0, 0})) << kernel->name;
  }
}

}  // namespace
}  // namespace octet::kernels
