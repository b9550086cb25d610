#include "quant/range/range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"

namespace octet {
namespace {

std::vector<float> make_data(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  const float size =
      std::ldexp(1.0f + static_cast<float>(random() % 100) / 100, static_cast<int>(random() % 10) - 5);
  for (float& v : x) {
    v = normal(random) * size;
    if (seed % 4 == 0) v = std::max(v, 0.0f);          // ReLU
    if (seed % 4 == 1 && random() % 500 == 0) v *= 8;  // outliers
    if (seed % 4 == 2) v = std::max(v, -0.3f * size);  // like SiLU
    if (seed % 4 == 3) v = -std::fabs(v);              // negative side alone
  }
  return x;
}

TensorStatistics observed(const std::vector<float>& x) {
  TensorStatistics statistics;
  statistics.observe_sample(0, x);
  return statistics;
}

double true_mse(const std::vector<float>& x, const QuantParams& p) {
  double sum = 0;
  for (const float v : x) {
    const int32_t q = quantize_one(v, p.scale[0], p.zero_point[0], int_limits(p.dtype));
    const double error = static_cast<double>(v) - (q - p.zero_point[0]) * static_cast<double>(p.scale[0]);
    sum += error * error;
  }
  return sum / static_cast<double>(x.size());
}

TEST(RangeMethod, NamesRoundTrip) {
  for (const RangeMethod m : kRangeMethods) EXPECT_EQ(parse_range_method(range_method_name(m)), m);
  try {
    parse_range_method("foo");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(
        e.message(),
        "unknown calibration method 'foo': expected one of minmax, moving-average, percentile, mse, entropy, "
        "admm, aciq, output");
  }
}

TEST(RangeMethod, NothingAndConstants) {
  for (const RangeMethod m : kRangeMethods)
    for (const bool symmetric : {false, true})
      for (const DType dtype : {DType::kUInt8, DType::kInt8, DType::kInt4, DType::kUInt16}) {
        SCOPED_TRACE(range_method_name(m));
        RangeOptions options;
        options.symmetric = symmetric;
        options.dtype = dtype;
        EXPECT_EQ(choose_range(m, TensorStatistics(), options), Range());
        EXPECT_EQ(choose_range(m, observed({std::numeric_limits<float>::quiet_NaN()}), options), Range());
        EXPECT_EQ(choose_range(m, observed({0, 0}), options), Range());
        const Range constant = choose_range(m, observed({1.5f, 1.5f, 1.5f}), options);
        EXPECT_EQ(constant.high, 1.5f);
        for (const std::vector<float>& x : {std::vector<float>{-3e38f, 3e38f},
                                            {1e-45f, -1e-45f},
                                            {1e-45f, 3e38f},
                                            {-2, 0},
                                            {0, 1},
                                            {-1, 1e-30f}}) {
          const TensorStatistics s = observed(x);
          const Range range = choose_range(m, s, options);
          EXPECT_TRUE(std::isfinite(range.low) && std::isfinite(range.high) && range.low <= range.high);
          const QuantParams params = range_params(range, options);
          EXPECT_NO_THROW(validate(params, "test"));
          EXPECT_TRUE(std::isfinite(expected_mse(s, params)));
        }
      }
}

TEST(RangeMethod, MovingAverageFollowsSampleOrder) {
  TensorStatistics a, b;
  const float lows[] = {-1, -5, -2, -8}, highs[] = {3, 1, 4, 9};
  for (int s = 0; s < 4; ++s) a.observe_sample(s, std::vector<float>{lows[s], highs[s]});
  for (int s = 3; s >= 0; --s) b.observe_sample(s, std::vector<float>{lows[s], highs[s]});
  double low = -1, high = 3;
  for (int s = 1; s < 4; ++s) {
    low = 0.9 * low + 0.1 * static_cast<double>(lows[s]);
    high = 0.9 * high + 0.1 * static_cast<double>(highs[s]);
  }
  const Range range = moving_average_range(a, 0.1);
  EXPECT_EQ(range, moving_average_range(b, 0.1));
  EXPECT_NEAR(range.low, low, 1e-6);
  EXPECT_NEAR(range.high, high, 1e-6);
  TensorStatistics forgetful({0, false});
  forgetful.observe_sample(0, std::vector<float>{1, 2});
  EXPECT_THROW(moving_average_range(forgetful, 0.1), Error);
}

TEST(RangeMethod, PercentileEqualsSortedValues) {
  for (unsigned seed = 0; seed < 12; ++seed)
    for (const double percentile : {99.99, 99.0, 90.0, 100.0}) {
      SCOPED_TRACE(seed);
      std::vector<float> x = make_data(seed, 20000);
      const TensorStatistics s = observed(x);
      const Range range = percentile_range(s, percentile);
      std::sort(x.begin(), x.end());
      const double cut = static_cast<double>(x.size()) * (100 - percentile) / 200;
      const size_t k = static_cast<size_t>(std::max(std::ceil(cut), 1.0)) - 1;
      const float bin = static_cast<float>(std::max(s.positive().width(), s.negative().width()));
      const size_t last = x.size() - 1;
      const auto near = [&](float value, size_t i) {
        EXPECT_GE(value, x[i == 0 ? 0 : i - 1] - bin);
        EXPECT_LE(value, x[std::min(i + 1, last)] + bin);
      };
      near(range.low, k);
      near(range.high, last - k);
      if (percentile == 100.0) {
        EXPECT_EQ(range, minmax_range(s));
      }
    }
}

TEST(ExpectedMse, EqualsTheTrueError) {
  for (unsigned seed = 0; seed < 16; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<float> x = make_data(seed, 40000);
    const TensorStatistics s = observed(x);
    for (const float part : {1.0f, 0.6f, 0.25f})
      for (const DType dtype : {DType::kUInt8, DType::kInt8, DType::kUInt4, DType::kInt16})
        for (const bool symmetric : {false, true}) {
          // Many values at one spot, finer levels than bins: a histogram cannot know their error.
          if (seed % 4 == 2 && dtype == DType::kInt16) continue;
          const RangeOptions options{dtype, symmetric};
          const QuantParams params = range_params({s.min() * part, s.max() * part}, options);
          const double truth = true_mse(x, params);
          EXPECT_NEAR(expected_mse(s, params), truth, truth * 0.02)
              << dtype_name(dtype) << (symmetric ? " symmetric " : " affine ") << part;
        }
  }
}

// The same with a loop over bins instead of prefix sums: equal up to rounding.
TEST(ExpectedMse, EqualsALoopOverBins) {
  for (unsigned seed = 0; seed < 8; ++seed) {
    const TensorStatistics s = observed(make_data(seed, 30000));
    for (int percent = 20; percent <= 100; percent += 8) {
      const float part = static_cast<float>(percent) / 100;
      const QuantParams p = affine_params({s.min() * part, s.max() * part}, DType::kUInt8);
      double sum = 0;
      const auto side = [&](const HistogramSide& h, double sign) {
        for (size_t k = 0; k < h.counts.size(); ++k) {
          const double centre = sign * (static_cast<double>(k) + 0.5) * h.width();
          const double scale = p.scale[0];
          const double q = std::clamp(std::nearbyint(centre / scale) + p.zero_point[0], 0.0, 255.0);
          const double error = centre - (q - p.zero_point[0]) * scale;
          sum += static_cast<double>(h.counts[k]) * (error * error + h.width() * h.width() / 12);
        }
      };
      side(s.positive(), 1);
      side(s.negative(), -1);
      const double expected = sum / static_cast<double>(s.finite());
      EXPECT_NEAR(expected_mse(s, p), expected, expected * 1e-9) << seed << " " << percent;
    }
  }
}

// Against a search that quantizes the raw values themselves.
TEST(MseRange, IsBestOnTheRawValues) {
  for (unsigned seed = 0; seed < 8; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<float> x = make_data(seed, 4000);
    const TensorStatistics s = observed(x);
    for (const bool symmetric : {false, true}) {
      const RangeOptions options{symmetric ? DType::kInt8 : DType::kUInt8, symmetric};
      const double found = true_mse(x, range_params(mse_range(s, options), options));
      double least = std::numeric_limits<double>::infinity();
      for (int h = 20; h <= 100; h += 4)
        for (int l = 20; l <= 100; l += 4) {
          const Range range{s.min() * static_cast<float>(l) / 100, s.max() * static_cast<float>(h) / 100};
          least = std::min(least, true_mse(x, range_params(range, options)));
          if (symmetric || s.min() >= 0) break;
        }
      EXPECT_LE(found, least * 1.02);
      EXPECT_LE(found, true_mse(x, range_params(minmax_range(s), options)) * 1.01);
    }
  }
}

TEST(MseRange, KnownAnswers) {
  // Uniform data: clipping cannot pay.
  std::vector<float> uniform;
  for (int i = 0; i <= 100000; ++i) uniform.push_back(static_cast<float>(i) / 100000);
  const Range all = mse_range(observed(uniform), {});
  EXPECT_GE(all.high, 0.99f);
  EXPECT_EQ(all.low, 0.0f);
  // One value at 6 among n at most 1: clipping at h costs (6 - h)^2 and saves n (36 - h^2) / (12 * 255^2),
  // least at h = 5.32.
  std::vector<float> outlier = uniform;
  outlier.push_back(6);
  EXPECT_NEAR(mse_range(observed(outlier), {}).high, 5.32f, 0.07f);
  EXPECT_GT(expected_sqnr_db(observed(uniform), range_params(all, {})), 50);
}

TEST(RangeOptions, AreChecked) {
  EXPECT_THROW(choose_range(RangeMethod::kMse, TensorStatistics(), {.dtype = DType::kFloat32}), Error);
  EXPECT_THROW(validate(RangeOptions{.percentile = 101}), Error);
  EXPECT_THROW(validate(RangeOptions{.percentile = 0.9999}), Error);
  EXPECT_THROW(validate(RangeOptions{.moving_average = 0}), Error);
}

}  // namespace
}  // namespace octet
