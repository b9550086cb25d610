// admm, aciq and output against slow implementations on the raw values, and what tells the methods apart.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "quant/range/range.h"

namespace octet {
namespace {

enum class Shape { kNormal, kLaplace, kUniform, kHalfLaplace, kHalfNormal, kOutliers };
constexpr Shape kShapes[] = {Shape::kNormal,      Shape::kLaplace,    Shape::kUniform,
                             Shape::kHalfLaplace, Shape::kHalfNormal, Shape::kOutliers};

std::vector<float> draw(Shape shape, unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1.7);
  std::exponential_distribution<double> exponential(1 / 0.6);
  std::uniform_real_distribution<double> uniform(-2, 3);
  std::vector<float> x(count);
  for (float& v : x) {
    double value = normal(random);
    if (shape == Shape::kLaplace) value = random() % 2 ? exponential(random) : -exponential(random);
    if (shape == Shape::kUniform) value = uniform(random);
    if (shape == Shape::kHalfLaplace) value = random() % 2 ? exponential(random) : 0;
    if (shape == Shape::kHalfNormal) value = std::max(value, 0.0);
    if (shape == Shape::kOutliers && random() % 2000 == 0) value *= 30;
    v = static_cast<float>(value);
  }
  return x;
}

TensorStatistics observed(const std::vector<float>& x) {
  TensorStatistics statistics;
  statistics.observe_sample(0, x);
  return statistics;
}

double error_of(const std::vector<float>& x, const QuantParams& p) {
  double sum = 0;
  for (const float v : x) {
    const int32_t q = quantize_one(v, p.scale[0], p.zero_point[0], int_limits(p.dtype));
    const double error = static_cast<double>(v) - (q - p.zero_point[0]) * static_cast<double>(p.scale[0]);
    sum += error * error;
  }
  return sum;
}

// ---- aciq

// By bisection on the derivative of the expected error, with the standard library's functions.
double slow_reach(bool laplace, int bits) {
  const double steps = 3 * std::pow(4.0, bits);
  const auto slope = [&](double t) {
    if (laplace) return 2 * t / steps - 2 * std::exp(-t);
    const double density = std::exp(-t * t / 2) / std::sqrt(2 * M_PI), tail = std::erfc(t / M_SQRT2) / 2;
    return 2 * t / steps - 4 * (density - t * tail);
  };
  double low = 0.1, high = 60;
  for (int i = 0; i < 200; ++i) (slope((low + high) / 2) < 0 ? low : high) = (low + high) / 2;
  return low;
}

TEST(Aciq, PublishedOptima) {
  // Banner et al.: 2.83 b, 3.89 b, 5.03 b for 2, 3, 4 bits; their code has 9.89 b and 3.92 sigma for 8.
  EXPECT_NEAR(slow_reach(true, 2), 2.83, 0.01);
  EXPECT_NEAR(slow_reach(true, 3), 3.89, 0.01);
  EXPECT_NEAR(slow_reach(true, 4), 5.03, 0.01);
  EXPECT_NEAR(slow_reach(true, 8), 9.89, 0.01);
  const RangeOptions int8{DType::kInt8, true};
  std::vector<float> laplace = draw(Shape::kLaplace, 1, 400000);
  laplace.push_back(20);  // beyond the reach, so that the extremes do not decide
  EXPECT_NEAR(aciq_range(observed(laplace), int8).high, 9.89 * 0.6, 0.05);
  std::vector<float> normal = draw(Shape::kNormal, 1, 400000);
  normal.push_back(20);
  EXPECT_NEAR(aciq_range(observed(normal), int8).high, 3.92 * 1.7, 0.05);
  EXPECT_NEAR(aciq_range(observed(laplace), {DType::kInt4, true}).high, 5.03 * 0.6, 0.03);
}

TEST(Aciq, EqualsTheFormulaOnRawValues) {
  for (const Shape shape : kShapes)
    for (const DType dtype : {DType::kUInt8, DType::kInt4, DType::kInt16})
      for (const bool symmetric : {false, true}) {
        SCOPED_TRACE(testing::Message() << static_cast<int>(shape) << " " << dtype_name(dtype) << symmetric);
        std::vector<float> x = draw(shape, 7, 30000);
        const TensorStatistics s = observed(x);
        const Range found = aciq_range(s, {dtype, symmetric});
        std::erase(x, 0.0f);
        const bool half = !symmetric && s.min() >= 0;
        double mean = 0, b = 0, square = 0;
        for (const float v : x) mean += static_cast<double>(v) / static_cast<double>(x.size());
        if (symmetric || half) mean = 0;
        for (const float v : x) {
          b += std::fabs(static_cast<double>(v) - mean) / static_cast<double>(x.size());
          square += std::pow(static_cast<double>(v) - mean, 2) / static_cast<double>(x.size());
        }
        const double sigma = std::sqrt(square);
        // Log likelihoods per value.
        const bool laplace = -std::log(2 * b) - 1 > -0.5 * std::log(2 * M_PI * square) - 0.5;
        const int bits = (dtype == DType::kInt4 ? 4 : dtype == DType::kInt16 ? 16 : 8) + half;
        const double a = slow_reach(laplace, bits) * (laplace ? b : sigma);
        const double extreme = std::max(-s.min(), s.max());
        const double low = symmetric ? -std::min(a, extreme) : std::max<double>(mean - a, s.min());
        const double high = symmetric ? std::min(a, extreme) : std::min<double>(mean + a, s.max());
        EXPECT_NEAR(found.low, half ? s.min() : low, 2e-3 * extreme);
        EXPECT_NEAR(found.high, high, 2e-3 * extreme);
      }
}

// ---- admm

// On the raw values: <x, r>, <r, r> and the error for levels scale * r, first <= r <= last.
struct Sums {
  double xr = 0, rr = 0, error = 0;
};
Sums sums_of(const std::vector<float>& x, double scale, double first, double last) {
  Sums sums;
  for (const float v : x) {
    const double r = std::min(std::max(std::round(static_cast<double>(v) / scale), first), last);
    sums.xr += static_cast<double>(v) * r;
    sums.rr += r * r;
    sums.error += std::pow(static_cast<double>(v) - r * scale, 2);
  }
  return sums;
}

double slow_alternation(const std::vector<float>& x, double scale, double last) {
  for (int round = 0; round < 100; ++round) {
    const Sums sums = sums_of(x, scale, -last, last);
    if (std::fabs(sums.xr / sums.rr - scale) < 1e-9 * scale) break;
    scale = sums.xr / sums.rr;
  }
  return sums_of(x, scale, -last, last).error;
}

TEST(Admm, IsAsGoodAsAlternationOnRawValues) {
  for (const Shape shape : kShapes)
    for (const DType dtype : {DType::kInt8, DType::kInt4}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(shape) << " " << dtype_name(dtype));
      const std::vector<float> x = draw(shape, 3, 8000);
      const TensorStatistics s = observed(x);
      const double last = int_limits(dtype).high, extreme = std::max(-s.min(), s.max());
      double least = 1e300;
      for (const double part : {1.0, 0.8, 0.6, 0.4, 0.2})
        least = std::min(least, slow_alternation(x, extreme * part / last, last));
      const RangeOptions options{dtype, true};
      const double scale = range_params(admm_range(s, options), options).scale[0];
      EXPECT_NEAR(sums_of(x, scale, -last, last).error, least, least * 0.02);
    }
}

TEST(Admm, RestsWhereNoNeighbourIsBetter) {
  for (const Shape shape : kShapes)
    for (const DType dtype : {DType::kUInt8, DType::kUInt4}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(shape) << " " << dtype_name(dtype));
      const std::vector<float> x = draw(shape, 5, 20000);
      const TensorStatistics s = observed(x);
      const RangeOptions options{dtype, false};
      const Range range = admm_range(s, options);
      EXPECT_GE(range.low, std::min(s.min(), 0.0f));
      EXPECT_LE(range.high, s.max());
      const QuantParams params = range_params(range, options);
      const double error = error_of(x, params);
      EXPECT_LE(error, error_of(x, range_params(minmax_range(s), options)) * 1.01);
      // The scale is the least-squares one of its own integers, or the extremes stopped it.
      double xr = 0, rr = 0;
      for (const float v : x) {
        const double r =
            quantize_one(v, params.scale[0], params.zero_point[0], int_limits(dtype)) - params.zero_point[0];
        xr += static_cast<double>(v) * r;
        rr += r * r;
      }
      EXPECT_NEAR(xr / rr, params.scale[0], params.scale[0] * 0.005);
      for (const int step : {-1, 1}) {
        QuantParams shifted = params;
        shifted.zero_point[0] += step;
        if (shifted.zero_point[0] < 0) continue;
        EXPECT_GE(error_of(x, shifted), error * 0.99);
      }
    }
}

// ---- output

TEST(Output, WeighsTheChannelsThatReach) {
  // Channel 0 has outliers; channel 1 has not.
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> x;
  for (int i = 0; i < 20000; ++i) {
    x.push_back(normal(random) * (i % 500 == 0 ? 12.0f : 1.0f));
    x.push_back(std::clamp(normal(random), -2.5f, 2.5f));
  }
  TensorStatistics s({2, true});
  s.observe_sample(0, x);
  for (const bool symmetric : {false, true}) {
    const RangeOptions options{symmetric ? DType::kInt8 : DType::kUInt8, symmetric};
    const Range mse = mse_range(s, options);
    EXPECT_EQ(output_range(s, options, {}), mse);
    EXPECT_EQ(output_range(observed(x), options, std::vector<double>{1, 2}), mse);
    EXPECT_EQ(output_range(s, options, std::vector<double>{4, 4}), mse);
    const Range quiet = output_range(s, options, std::vector<double>{0.01, 1});
    const Range loud = output_range(s, options, std::vector<double>{1, 0.01});
    EXPECT_LT(quiet.high, mse.high * 0.9f);
    EXPECT_GE(loud.high, mse.high);
    // Against all ranges of a coarse grid, the weighted error on the raw values by the definition.
    for (const double energy : {0.01, 0.3, 5.0}) {
      const auto cost = [&](Range range) {
        const QuantParams p = range_params(range, options);
        const double low0 = s.channels()[0].min, high0 = s.channels()[0].max;
        double sum = 0;
        for (size_t i = 0; i < x.size(); ++i) {
          const double v = x[i];
          double weight = 0, count = 0;
          for (const size_t c : {size_t{0}, size_t{1}}) {
            const bool reaches = c == 0 ? v >= low0 && v <= high0 : std::fabs(v) <= 2.5;
            weight += reaches ? (c == 0 ? energy : 1.0) : 0;
            count += reaches;
          }
          const int32_t q = quantize_one(x[i], p.scale[0], p.zero_point[0], int_limits(p.dtype));
          const double error = v - (q - p.zero_point[0]) * static_cast<double>(p.scale[0]);
          sum += weight / count * error * error;
        }
        return sum;
      };
      const double found = cost(output_range(s, options, std::vector<double>{energy, 1}));
      for (int h = 20; h <= 100; h += 8)
        for (int l = 20; l <= 100; l += 8) {
          if (symmetric && l != h) continue;
          const float low = s.min() * static_cast<float>(l) / 100,
                      high = s.max() * static_cast<float>(h) / 100;
          EXPECT_LE(found, cost({low, high}) * 1.03) << energy << " " << low << " " << high;
        }
    }
  }
  EXPECT_THROW(output_range(s, {}, std::vector<double>{1}), Error);
  EXPECT_THROW(output_range(s, {}, std::vector<double>{1, -1}), Error);
}

// ---- all

TEST(RangeMethods, DifferWhereTheorySaysSo) {
  const std::vector<float> x = draw(Shape::kOutliers, 2, 200000);
  const TensorStatistics s = observed(x);
  for (const bool symmetric : {false, true}) {
    const RangeOptions options{symmetric ? DType::kInt8 : DType::kUInt8, symmetric, 99.9};
    const auto high = [&](RangeMethod m) { return choose_range(m, s, options).high; };
    const float all = high(RangeMethod::kMinMax);
    EXPECT_EQ(all, symmetric ? std::max(-s.min(), s.max()) : s.max());
    EXPECT_LT(high(RangeMethod::kPercentile), all / 4);  // a normal distribution's 99.95 % are at 3.3 sigma
    EXPECT_LT(high(RangeMethod::kAciq), high(RangeMethod::kMse));  // which knows nothing of outliers
    EXPECT_LT(high(RangeMethod::kMse), all);
    EXPECT_LT(high(RangeMethod::kEntropy), all);
    EXPECT_LT(high(RangeMethod::kAdmm), all);
    // Of all, mse has the least squared error, admm nearly so.
    const auto error = [&](RangeMethod m) {
      return expected_mse(s, range_params(choose_range(m, s, options), options));
    };
    for (const RangeMethod m : kRangeMethods) EXPECT_LE(error(RangeMethod::kMse), error(m) * 1.005);
    EXPECT_LE(error(RangeMethod::kMse), error(RangeMethod::kMinMax) * 0.9);
  }
  // Entropy has two forms, as TensorRT's and ONNX Runtime's: a threshold for |x|, or two ends.
  std::vector<float> skewed = draw(Shape::kLaplace, 4, 100000);
  for (float& v : skewed) v = v < 0 ? v * 0.1f : v;
  const TensorStatistics t = observed(skewed);
  const Range one = choose_range(RangeMethod::kEntropy, t, {DType::kInt8, true});
  const Range two = choose_range(RangeMethod::kEntropy, t, {DType::kUInt8, false});
  EXPECT_EQ(one.low, -one.high);
  EXPECT_LT(-two.low, two.high / 2);
}

}  // namespace
}  // namespace octet
