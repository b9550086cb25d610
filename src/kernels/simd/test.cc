#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/simd/function.h"
#include "kernels/simd/round.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

constexpr int kFunctions = static_cast<int>(Function::kClip) + 1;

// Random bit patterns, and values where the functions are not flat.
std::vector<float> inputs(uint32_t s, int64_t count) {
  std::mt19937 random(s);
  std::uniform_real_distribution<float> near(-12, 12), far(-100, 100);
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i % 3 == 0   ? std::bit_cast<float>(static_cast<uint32_t>(random()))
           : i % 3 == 1 ? near(random)
                        : far(random);
  const float special[] = {0.0f,   -0.0f,  INFINITY, -INFINITY, NAN,  87.0f,
                           -87.0f, 1e-40f, -1e-40f,  3.9f,      -3.9f};
  for (size_t i = 0; i < std::size(special) && i < x.size(); ++i) x[i * 7 % x.size()] = special[i];
  return x;
}

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

TEST(Function, SameBitsOnEveryIsa) {
  const auto x = inputs(test_seed(), test_cases(200'003));
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> expected(x.size()), got(x.size());
  for (int f = 0; f <= kFunctions; ++f) {
    const auto function = static_cast<Function>(f);
    const float alpha = function == Function::kClip ? -1.5f : 0.2f, beta = 0.55f;
    auto run = [&](Isa isa, std::vector<float>& out) {
      if (f < kFunctions)
        choose_function(isa)(function, alpha, beta, x.data(), out.data(), n);
      else
        choose_exp(isa)(x.data(), out.data(), n);
    };
    run(Isa::kReference, expected);
    for (Isa isa : {Isa::kAvx2, Isa::kAvx512Vnni}) {
      if (!has_isa(isa)) continue;
      run(isa, got);
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_TRUE(same(expected[i], got[i])) << isa_name(isa) << " function " << f << " x " << x[i] << ": "
                                               << got[i] << " instead of " << expected[i];
    }
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(std::isnan(x[i]), std::isnan(expected[i])) << f << " " << x[i];
  }
}

TEST(Softmax, RowsHaveTheSameBitsOnEveryIsa) {
  testing::Random random(testing::test_seed());
  for (int64_t i = 0; i < testing::test_cases(2000); ++i) {
    const int64_t n = random.range(1, random.chance(0.2) ? 500 : 40);
    auto x = random.reals(n, -20, 20);
    if (random.chance(0.1)) x[static_cast<size_t>(random.range(0, n - 1))] = -INFINITY;
    if (random.chance(0.1)) x[static_cast<size_t>(random.range(0, n - 1))] = NAN;
    std::vector<float> expected(x.size()), got(x.size());
    softmax_row_reference(x.data(), expected.data(), n);
    for (Isa isa : possible_isas()) {
      choose_softmax_row(isa)(x.data(), got.data(), n);
      for (int64_t k = 0; k < n; ++k) {
        const auto at = static_cast<size_t>(k);
        ASSERT_TRUE(same(expected[at], got[at])) << isa_name(isa) << " " << n << " " << k;
      }
    }
  }
}

TEST(Softmax, SameBitsOnEveryIsa) {
  const uint32_t seed = test_seed();
  std::mt19937 random(seed);
  for (const int64_t n : {1, 2, 3, 15, 16, 17, 40, 100}) {
    const int64_t stride = kSoftmaxColumns + static_cast<int64_t>(random() % 9);
    auto x = inputs(seed + static_cast<uint32_t>(n), n * stride);
    for (float& v : x)
      if (random() % 4 != 0) v = static_cast<float>(random() % 2000) * 0.01f - 10;
    std::vector<float> expected(x.size(), 7.0f);
    softmax_reference(x.data(), expected.data(), n, stride);
    for (Isa isa : {Isa::kAvx2, Isa::kAvx512Vnni}) {
      if (!has_isa(isa)) continue;
      std::vector<float> got(x.size(), 7.0f);
      choose_softmax(isa)(x.data(), got.data(), n, stride);
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_TRUE(same(expected[i], got[i])) << isa_name(isa) << " n " << n << " element " << i << ": "
                                               << got[i] << " instead of " << expected[i];
    }
    // What it means, for a column of ordinary numbers.
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(expected[static_cast<size_t>(i * stride + 5)]);
    if (!std::isnan(sum)) {
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
}

struct Worst {
  double absolute = 0, relative = 0;
  void add(double got, double exact) {
    absolute = std::max(absolute, std::abs(got - exact));
    if (exact != 0) relative = std::max(relative, std::abs((got - exact) / exact));
  }
};

template <class Exact>
Worst worst(Function f, double low, double high, Exact exact) {
  Worst w;
  const int n = 400'000;
  for (int i = 0; i <= n; ++i) {
    const auto x = static_cast<float>(low + (high - low) * i / n);
    w.add(evaluate_function_reference(f, 0, 0, x), exact(static_cast<double>(x)));
  }
  return w;
}

TEST(Function, CloseToTheExactFunction) {
  Worst e;
  for (int i = -870'000; i <= 870'000; ++i)
    e.add(evaluate_exp_reference(static_cast<float>(i) * 1e-4f),
          std::exp(static_cast<double>(static_cast<float>(i) * 1e-4f)));
  EXPECT_LE(e.relative, 3e-7);
  auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_LE(worst(Function::kSigmoid, -87, 87, sigmoid).relative, 3e-7);
  EXPECT_LE(worst(Function::kSilu, -87, 87, [&](double x) { return x * sigmoid(x); }).relative, 4e-7);
  EXPECT_LE(worst(Function::kTanh, -20, 20, [](double x) { return std::tanh(x); }).relative, 5e-7);
  EXPECT_LE(worst(Function::kTanh, -1e-3, 1e-3, [](double x) { return std::tanh(x); }).relative, 5e-7);
  auto gelu = [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); };
  EXPECT_LE(worst(Function::kGelu, -10, 1, gelu).absolute, 1e-6);
  EXPECT_LE(worst(Function::kGelu, 1, 50, gelu).relative, 4e-7);
  auto gelu_tanh = [](double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  };
  auto worst_byte = [](Function f, auto exact) {
    Worst w;
    for (int i = -400'000; i <= 400'000; ++i) {
      const auto x = static_cast<float>(i) * 2e-4f;
      w.add(evaluate_byte_function_reference(f, 0, 0, x), exact(static_cast<double>(x)));
    }
    return w.absolute;
  };
  EXPECT_LE(worst_byte(Function::kSilu, [&](double x) { return x * sigmoid(x); }), 5e-5);
  EXPECT_LE(worst_byte(Function::kGelu, gelu), 8.1e-6);
  EXPECT_LE(worst_byte(Function::kGeluTanh, gelu_tanh), 8.1e-6);
  EXPECT_LE(worst(Function::kGeluTanh, -10, 1, gelu_tanh).absolute, 3e-7);
  EXPECT_LE(worst(Function::kGeluTanh, 1, 50, gelu_tanh).relative, 5e-7);
  auto hard_swish = [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); };
  EXPECT_LE(worst(Function::kHardSwish, -50, 50, hard_swish).absolute, 3e-6);
}

TEST(Function, LimitsAtInfinity) {
  auto f = [](Function function, float x) { return evaluate_function_reference(function, 0.2f, 0.5f, x); };
  for (Function function : {Function::kSilu, Function::kGelu, Function::kGeluTanh, Function::kHardSwish}) {
    for (float x : {1e30f, INFINITY}) {
      EXPECT_EQ(f(function, x), x);
      EXPECT_NEAR(f(function, -x), 0, 1e-6);
    }
  }
  EXPECT_EQ(f(Function::kTanh, INFINITY), 1);
  EXPECT_EQ(f(Function::kTanh, -INFINITY), -1);
  EXPECT_EQ(f(Function::kSigmoid, INFINITY), 1);
  EXPECT_NEAR(f(Function::kSigmoid, -INFINITY), 0, 1e-37);
}

TEST(Round, HalfToEvenAndSaturates) {
  EXPECT_EQ(saturate_u8(0.5f), 0);
  EXPECT_EQ(saturate_u8(1.5f), 2);
  EXPECT_EQ(saturate_u8(2.5f), 2);
  EXPECT_EQ(saturate_u8(-3.0f), 0);
  EXPECT_EQ(saturate_u8(1e30f), 255);
  EXPECT_EQ(saturate_u8(-INFINITY, 3, 200), 3);
  EXPECT_EQ(saturate_u8(INFINITY, 3, 200), 200);
  EXPECT_EQ(saturate_u8(NAN, 3, 200), 3);
  EXPECT_EQ(saturate_round(-0.5f, -128, 127), 0);
  EXPECT_EQ(saturate_round(-1.5f, -128, 127), -2);
}

}  // namespace
}  // namespace octet::kernels
