// Convolutions and products in one fixed order against a plain loop of fused multiply-adds, byte for byte on
// every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/checked.h"
#include "kernels/float/fixed_f32.h"
#include "kernels/float/gemm_in_place.h"
#include "kernels/simd/function.h"
#include "kernels/simd/test_tools.h"
#include "tensor/tensor.h"

namespace octet::kernels {
namespace {

using testing::Random;

std::vector<float> random_floats(Random& random, int64_t count) {
  std::vector<float> v(static_cast<size_t>(count));
  for (float& x : v) x = random.real(-1, 1);
  return v;
}

float expected_at(const ConvF32Options& o, const std::vector<float>& x, const std::vector<float>& residual,
                  int64_t n, int64_t row, int64_t column, int64_t c) {
  const ConvShape& s = o.shape;
  const int64_t in_c = s.in_c / s.groups, group = c / (s.out_c / s.groups);
  float sum = 0;
  for (int64_t ky = 0; ky < s.kernel_h; ++ky)
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t y = row * s.stride_h - s.pad_top + ky * s.dilation_h,
                    z = column * s.stride_w - s.pad_left + kx * s.dilation_w;
      if (y < 0 || y >= s.in_h || z < 0 || z >= s.in_w) continue;
      for (int64_t i = 0; i < in_c; ++i)
        sum = std::fma(
            x[static_cast<size_t>(((n * s.in_h + y) * s.in_w + z) * o.in_pixel_stride + group * in_c + i)],
            o.weights[((c * in_c + i) * s.kernel_h + ky) * s.kernel_w + kx], sum);
    }
  sum += o.bias[c];
  const float r = o.residual ? residual[static_cast<size_t>(
                                   ((n * s.out_h + row) * s.out_w + column) * o.residual_pixel_stride + c)]
                             : 0;
  if (o.residual && o.residual_first) sum += r;
  sum = evaluate_function_reference(o.function, o.alpha, o.beta, sum);
  return o.residual && !o.residual_first ? sum + r : sum;
}

ConvF32Options random_options(Random& random) {
  ConvF32Options o;
  ConvShape& s = o.shape;
  s.batch = random.range(1, 2);
  s.groups = random.chance(0.4) ? random.range(2, 20) : 1;
  const int64_t in_c = random.chance(0.5) && s.groups > 1 ? 1 : random.range(1, 9),
                out_c = in_c == 1 && s.groups > 1 && random.chance(0.7) ? 1 : random.range(1, 40);
  s.in_c = s.groups * in_c;
  s.out_c = s.groups * out_c;
  s.kernel_h = random.range(1, 3);
  s.kernel_w = random.range(1, 3);
  s.stride_h = random.range(1, 2);
  s.stride_w = random.range(1, 2);
  s.dilation_w = random.range(1, 2);
  s.pad_top = random.range(0, 2);
  s.pad_left = random.range(0, 2);
  s.in_h = random.range(3, 9);
  s.in_w = random.range(5, 70);
  s.out_h = (s.in_h + 2 * s.pad_top - s.kernel_h) / s.stride_h + 1;
  s.out_w = (s.in_w + 2 * s.pad_left - (s.kernel_w - 1) * s.dilation_w - 1) / s.stride_w + 1;
  o.function = random.chance(0.5) ? Function::kNone : Function::kSilu;
  o.residual = random.chance(0.4);
  o.residual_first = random.chance(0.5);
  o.in_pixel_stride = s.in_c + random.range(0, 3);
  o.out_pixel_stride = s.out_c + random.range(0, 3);
  o.residual_pixel_stride = s.out_c + random.range(0, 3);
  return o;
}

TEST(FixedF32, ConvolutionsGiveTheSameBytesEverywhere) {
  const uint32_t seed = testing::test_seed();
  Random random(seed);
  const int64_t cases = testing::test_cases(300);
  for (int64_t i = 0; i < cases; ++i) {
    ConvF32Options o = random_options(random);
    const ConvShape& s = o.shape;
    const auto x = random_floats(random, s.batch * s.in_h * s.in_w * o.in_pixel_stride);
    const auto w = random_floats(random, s.out_c * s.in_c / s.groups * s.kernel_h * s.kernel_w);
    const auto b = random_floats(random, s.out_c);
    const auto r = random_floats(random, s.batch * s.out_h * s.out_w * o.residual_pixel_stride);
    o.weights = w.data();
    o.bias = b.data();
    const int64_t pixels = s.batch * s.out_h * s.out_w;
    std::vector<float> expected(static_cast<size_t>(pixels * o.out_pixel_stride), 77.0f);
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < s.out_c; ++c)
        expected[static_cast<size_t>(p * o.out_pixel_stride + c)] =
            expected_at(o, x, r, p / (s.out_h * s.out_w), p / s.out_w % s.out_h, p % s.out_w, c);
    for (const Isa isa : possible_isas()) {
      const FixedConvF32 conv(o, isa);
      std::vector<float> y(expected.size(), 77.0f);
      Tensor scratch(DType::kUInt8, {conv.scratch_bytes() + 64});
      for (int64_t piece = conv.pieces(); piece-- > 0;)
        conv.run(piece, piece + 1, 0, x.data(), r.data(), y.data(), static_cast<std::byte*>(scratch.raw()));
      ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
          << "seed " << seed << " case " << i << " on " << isa_name(isa);
    }
  }
}

TEST(FixedF32, ProductsGiveTheSameBytesEverywhere) {
  const uint32_t seed = testing::test_seed();
  Random random(seed);
  for (int64_t i = 0; i < 200; ++i) {
    const int64_t m = random.range(1, 50), k = random.range(0, 40), n = random.range(1, 50);
    const bool transposed = random.chance(0.5);
    const int64_t a_stride = k + random.range(1, 3), b_stride = (transposed ? k : n) + random.range(0, 3);
    const auto a = random_floats(random, m * a_stride),
               b = random_floats(random, (transposed ? n : k) * b_stride + 1);
    std::vector<float> expected(static_cast<size_t>(m * n));
    for (int64_t at = 0; at < m * n; ++at) {
      const int64_t row = at / n, column = at % n;
      float sum = 0;
      for (int64_t j = 0; j < k; ++j)
        sum =
            std::fma(a[static_cast<size_t>(row * a_stride + j)],
                     b[static_cast<size_t>(transposed ? column * b_stride + j : j * b_stride + column)], sum);
      expected[static_cast<size_t>(at)] = sum;
    }
    for (const Isa isa : possible_isas()) {
      std::vector<float> y(expected.size(), 77.0f);
      const MatMulF32Call call{m, k, n, {a.data(), a_stride}, {b.data(), b_stride, transposed}, y.data(), n};
      Tensor scratch(DType::kUInt8, {fixed_matmul_scratch(call) + 64});
      fixed_matmul(call, isa, static_cast<std::byte*>(scratch.raw()));
      ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
          << "seed " << seed << ": " << m << "x" << k << "x" << n << (transposed ? " transposed" : "")
          << " on " << isa_name(isa);
    }
  }
}

TEST(FixedF32, WeightsInOtherOrder) {
  Random random(testing::test_seed());
  const auto x = random_floats(random, 5 * 37), w = random_floats(random, 37 * 21),
             b = random_floats(random, 21);
  std::vector<float> transposed(w.size());
  for (size_t o = 0; o < 21; ++o)
    for (size_t i = 0; i < 37; ++i) transposed[i * 21 + o] = w[o * 37 + i];
  const auto run = [&](const auto& conv, std::vector<float>& y) {
    Tensor scratch(DType::kUInt8, {conv.scratch_bytes() + 64});
    conv.run(0, conv.pieces(), 0, x.data(), nullptr, y.data(), static_cast<std::byte*>(scratch.raw()));
  };
  ConvF32Options o;
  o.shape = gemm_f32_shape(5, 37, 21);
  o.bias = b.data();
  std::vector<float> expected(5 * 21), y(5 * 21);
  o.weights = w.data();
  run(FixedConvF32(o, best_isa()), expected);
  o.weights = transposed.data();
  o.weights_in_out = true;
  run(FixedConvF32(o, best_isa()), y);
  EXPECT_EQ(y, expected);
  run(ConvF32(o), y);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], expected[i], 1e-4f);
  for (const bool turned : {false, true}) {
    const GemmInPlaceF32 gemm({.rows = 5,
                               .depth = 37,
                               .columns = 21,
                               .weights = turned ? w.data() : transposed.data(),
                               .transposed = turned,
                               .bias = b.data(),
                               .threads = 3},
                              best_isa());
    std::fill(y.begin(), y.end(), 77.0f);
    gemm.run(0, gemm.pieces(), x.data(), y.data());
    for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], expected[i], 1e-4f);
  }
}

TEST(ConvF32, ComputesInBfloat16) {
  if (!has_bf16()) GTEST_SKIP() << "this CPU does not multiply bfloat16";
  Random random(testing::test_seed());
  ConvF32Options o;
  o.shape = gemm_f32_shape(9, 64, 48);
  const auto x = random_floats(random, 9 * 64), w = random_floats(random, 64 * 48);
  o.weights = w.data();
  std::vector<float> exact(9 * 48), y(9 * 48);
  const auto run = [&](const ConvF32& conv, std::vector<float>& to) {
    Tensor scratch(DType::kUInt8, {conv.scratch_bytes() + 64});
    conv.run(0, conv.pieces(), 0, x.data(), nullptr, to.data(), static_cast<std::byte*>(scratch.raw()));
  };
  run(ConvF32(o), exact);
  o.bf16 = true;
  const ConvF32 conv(o);
  EXPECT_NE(conv.kernel().find("bf16"), std::string::npos) << conv.kernel();
  run(conv, y);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], exact[i], 0.1f);
  EXPECT_NE(y, exact);
}

}  // namespace
}  // namespace octet::kernels
