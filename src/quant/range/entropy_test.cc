#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "quant/range/logarithm.h"
#include "quant/range/range.h"

namespace octet {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Divergence of the window [begin, end) of a histogram, from the definition: build P, build Q, sum p log(p /
// q).
double slow_divergence(const std::vector<double>& histogram, size_t begin, size_t end, size_t levels) {
  std::vector<double> inside(histogram.begin() + static_cast<std::ptrdiff_t>(begin),
                             histogram.begin() + static_cast<std::ptrdiff_t>(end));
  std::vector<double> p = inside;
  for (size_t k = 0; k < begin; ++k) p.front() += histogram[k];
  for (size_t k = end; k < histogram.size(); ++k) p.back() += histogram[k];
  std::vector<double> q(p.size());
  for (size_t j = 0; j < levels; ++j) {
    const size_t first = j * p.size() / levels, last = (j + 1) * p.size() / levels;
    double sum = 0, filled = 0;
    for (size_t k = first; k < last; ++k) {
      sum += inside[k];
      filled += p[k] > 0;
    }
    for (size_t k = first; k < last; ++k)
      if (p[k] > 0) q[k] = sum / filled;
  }
  double p_sum = 0, q_sum = 0, divergence = 0;
  for (size_t k = 0; k < p.size(); ++k) {
    p_sum += p[k];
    q_sum += q[k];
  }
  for (size_t k = 0; k < p.size(); ++k) {
    if (p[k] == 0) continue;
    if (q[k] == 0) return kInfinity;
    divergence += p[k] / p_sum * std::log(p[k] / p_sum / (q[k] / q_sum));
  }
  return divergence;
}

std::vector<float> make_data(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& v : x) {
    v = normal(random) * 1.3f;
    if (seed % 3 == 0) v = std::max(v, 0.0f);
    if (seed % 3 == 1) v = v * v * v;
    if (seed % 3 == 2 && v < 0) v *= 0.2f;
  }
  return x;
}

// Bins of equal width over [-2^e, 2^e), 2048 a side, from the raw values.
struct SlowHistogram {
  explicit SlowHistogram(const std::vector<float>& x) : signed_bins(4096), size_bins(2048) {
    float extreme = 0;
    for (const float v : x) extreme = std::max(extreme, std::fabs(v));
    double top = 1;
    while (top <= static_cast<double>(extreme)) top *= 2;
    while (top / 2 > static_cast<double>(extreme)) top /= 2;
    width = top / 2048;
    for (const float v : x) {
      if (v == 0) continue;
      const size_t k = static_cast<size_t>(std::fabs(static_cast<double>(v)) / width);
      ++size_bins[k];
      ++signed_bins[v > 0 ? 2048 + k : 2047 - k];
    }
    while (size_bins.back() == 0) size_bins.pop_back();
  }
  double width = 0;
  std::vector<double> signed_bins, size_bins;
};

TEST(Logarithm, EqualsTheLibrary) {
  std::mt19937_64 random(5);
  std::vector<double> x{1,     2,      0.5,      std::sqrt(2.0), std::nextafter(std::sqrt(2.0), 2.0),
                        1e300, 1e-300, 1 + 1e-15};
  for (int i = 0; i < 10000; ++i)
    x.push_back(
        std::ldexp(1 + static_cast<double>(random() >> 12) / 0x1p52, static_cast<int>(random() % 200) - 100));
  std::vector<double> y = x;
  logarithms(y);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(y[i], logarithm(x[i]));
    ASSERT_NEAR(y[i], std::log(x[i]), std::max(1.0, std::fabs(std::log(x[i]))) * 4e-16) << x[i];
  }
}

TEST(Entropy, SymmetricEqualsThePlainLoop) {
  for (unsigned seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<float> x = make_data(seed, 20000);
    TensorStatistics s;
    s.observe_sample(0, x);
    const SlowHistogram h(x);
    size_t best = h.size_bins.size();
    double least = kInfinity;
    for (size_t end = 128; end <= h.size_bins.size(); ++end) {
      const double value = slow_divergence(h.size_bins, 0, end, 128);
      if (value < least) {
        least = value;
        best = end;
      }
    }
    const Range range = entropy_range(s, {.dtype = DType::kInt8, .symmetric = true});
    EXPECT_EQ(range.low, -range.high);
    const float extreme = std::max(-s.min(), s.max());
    EXPECT_EQ(range.high,
              best == h.size_bins.size() ? extreme : static_cast<float>(static_cast<double>(best) * h.width));
  }
}

TEST(Entropy, AffineIsNotWorseThanAnyOfItsNeighbours) {
  for (unsigned seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<float> x = make_data(seed, 20000);
    TensorStatistics s;
    s.observe_sample(0, x);
    const SlowHistogram h(x);
    const auto cost = [&](float low, float high) {
      const auto reach = [&](float end) {
        return end == 0 ? 0 : static_cast<size_t>(std::fabs(static_cast<double>(end)) / h.width) + 1;
      };
      const size_t begin = 2048 - reach(low), end = 2048 + reach(high);
      return end - begin < 256 ? kInfinity : slow_divergence(h.signed_bins, begin, end, 256);
    };
    const Range range = entropy_range(s, {});
    const double found = cost(range.low, range.high);
    EXPECT_TRUE(std::isfinite(found));
    const auto part = [](float extreme, int percent) {
      return static_cast<float>(static_cast<double>(extreme) * percent / 100);
    };
    for (int percent = 20; percent <= 100; ++percent) {
      EXPECT_LE(found, cost(range.low, part(s.max(), percent)) + 1e-12) << percent;
      if (s.min() < 0) {
        EXPECT_LE(found, cost(part(s.min(), percent), range.high) + 1e-12) << percent;
      }
    }
  }
}

TEST(Entropy, ZerosDoNotMatter) {
  std::vector<float> x = make_data(0, 20000);
  TensorStatistics with, without;
  with.observe_sample(0, x);
  std::erase(x, 0.0f);
  without.observe_sample(0, x);
  for (const bool symmetric : {false, true}) {
    const RangeOptions options{symmetric ? DType::kInt8 : DType::kUInt8, symmetric};
    EXPECT_EQ(entropy_range(with, options).high, entropy_range(without, options).high);
  }
}

}  // namespace
}  // namespace octet
