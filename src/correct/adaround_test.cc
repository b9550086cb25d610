// Learned rounding against every way to round, and a plain loop of its gradient.
#include "correct/adaround.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace octet {
namespace {

struct Case {
  int64_t channels, n;
  std::vector<float> weights;
  std::vector<double> h;
  WeightGrid grid;

  Case(std::mt19937& random, int64_t channel_count, int64_t size)
      : channels(channel_count), n(size), h(static_cast<size_t>(size * size), 0) {
    std::normal_distribution<double> normal;
    std::vector<double> mix(static_cast<size_t>(n * n));
    for (double& v : mix) v = normal(random);
    for (int64_t i = 0; i < channels * n; ++i) weights.push_back(static_cast<float>(normal(random)));
    for (int row = 0; row < 300; ++row) {
      std::vector<double> z(static_cast<size_t>(n)), x(z.size(), 0);
      for (double& v : z) v = normal(random);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) x[i] += mix[i * n + j] * z[j];
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) h[i * n + j] += x[i] * x[j];
    }
    grid.step.assign(static_cast<size_t>(channels), 0.3f);
    grid.limit = 7;
  }

  double loss(int64_t channel, const std::vector<double>& steps) const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const auto e = [&](int64_t k) {
          return weights[channel * n + k] - steps[k] * grid.step_of(channel, k);
        };
        sum += e(i) * h[i * n + j] * e(j);
      }
    return sum;
  }
  double loss(const std::vector<int8_t>& q) const {
    double sum = 0;
    for (int64_t o = 0; o < channels; ++o)
      sum += loss(o, std::vector<double>(q.begin() + o * n, q.begin() + (o + 1) * n));
    return sum;
  }
  // The best of all 2^n ways to round up or down.
  double least() const {
    double sum = 0;
    for (int64_t o = 0; o < channels; ++o) {
      double best = INFINITY;
      for (int64_t bits = 0; bits < int64_t{1} << n; ++bits) {
        std::vector<double> steps;
        for (int64_t i = 0; i < n; ++i) {
          const double low = std::floor(static_cast<double>(weights[o * n + i]) / grid.step_of(o, i));
          steps.push_back(
              std::clamp<double>(low + static_cast<double>(bits >> i & 1), -grid.limit, grid.limit));
        }
        best = std::min(best, loss(o, steps));
      }
      sum += best;
    }
    return sum;
  }
};

TEST(AdaRound, ComesNearTheBestOfAllWays) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  ThreadPool pool(2);
  double nearest = 0, found = 0, best = 0;
  for (int round = 0; round < 6; ++round) {
    Case c(random, 12, 8);
    if (round % 2 == 1)
      for (int64_t i = 0; i < c.n; ++i) c.grid.divisor.push_back(0.5f + static_cast<float>(random() % 4));
    const auto q = round_adaptively(c.weights, c.channels, c.n, c.h, c.grid, {}, pool);
    ASSERT_EQ(q.size(), c.weights.size());
    for (int64_t o = 0; o < c.channels; ++o)
      for (int64_t i = 0; i < c.n; ++i) {
        const double steps = static_cast<double>(c.weights[o * c.n + i]) / c.grid.step_of(o, i);
        const double clipped = std::clamp<double>(steps, -7, 7);
        EXPECT_LT(std::abs(q[o * c.n + i] - clipped), 1) << "a weight moved by a whole step";
      }
    nearest += c.loss(round_nearest(c.weights, c.channels, c.n, c.grid));
    found += c.loss(q);
    best += c.least();
  }
  EXPECT_LT(found - best, 0.35 * (nearest - best));
}

TEST(AdaRound, BeatsGptqWhereThereAreManyWeights) {
  std::mt19937 random(1);
  ThreadPool pool(1);
  const Case c(random, 16, 64);
  const double gptq = c.loss(round_gptq(c.weights, c.channels, c.n, c.h, c.grid, {}, pool));
  const double learned = c.loss(round_adaptively(c.weights, c.channels, c.n, c.h, c.grid, {}, pool));
  EXPECT_LT(learned, 0.9 * gptq);
}

TEST(AdaRound, DoesNotDependOnThreads) {
  std::mt19937 random(2);
  const Case c(random, 70, 20);
  ThreadPool one(1), three(3);
  EXPECT_EQ(round_adaptively(c.weights, c.channels, c.n, c.h, c.grid, {}, one),
            round_adaptively(c.weights, c.channels, c.n, c.h, c.grid, {}, three));
}

TEST(AdaRound, NothingToLearnFrom) {
  std::mt19937 random(3);
  Case c(random, 2, 5);
  ThreadPool pool(1);
  std::fill(c.h.begin(), c.h.end(), 0);
  EXPECT_TRUE(round_adaptively(c.weights, c.channels, c.n, c.h, c.grid, {}, pool).empty());
}

}  // namespace
}  // namespace octet
