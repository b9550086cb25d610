// Rounding against slow forms of the same definitions.
#include "correct/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "correct/linear_algebra.h"

namespace octet {
namespace {

using Matrix = std::vector<double>;

struct Problem {
  int64_t channels, n;
  std::vector<float> weights;
  Matrix h, d;
  WeightGrid grid;

  Problem(std::mt19937& random, int64_t channel_count, int64_t size, int64_t rows)
      : channels(channel_count), n(size), h(n * n, 0), d(n * n, 0) {
    std::normal_distribution<float> normal;
    std::vector<float> mix(n * n);
    for (float& v : mix) v = normal(random);
    for (int64_t i = 0; i < channels * n; ++i) weights.push_back(normal(random));
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<float> z(n), x(n, 0), seen(n);
      for (float& v : z) v = normal(random);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) x[i] += mix[i * n + j] * z[j];
        seen[i] = x[i] + 0.2f * normal(random);
      }
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) {
          h[i * n + j] += double{seen[i]} * seen[j];
          d[i * n + j] += double{x[i] - seen[i]} * seen[j];
        }
    }
    for (int64_t o = 0; o < channels; ++o) grid.step.push_back(0.3f);
    grid.limit = 7;
  }
};

// Inverse by Gauss and Jordan.
Matrix inverse(Matrix a, int64_t n) {
  Matrix x(n * n, 0);
  for (int64_t i = 0; i < n; ++i) x[i * n + i] = 1;
  for (int64_t c = 0; c < n; ++c) {
    int64_t pivot = c;
    for (int64_t r = c; r < n; ++r)
      if (std::abs(a[r * n + c]) > std::abs(a[pivot * n + c])) pivot = r;
    for (int64_t k = 0; k < n; ++k) {
      std::swap(a[c * n + k], a[pivot * n + k]);
      std::swap(x[c * n + k], x[pivot * n + k]);
    }
    const double p = a[c * n + c];
    for (int64_t k = 0; k < n; ++k) {
      a[c * n + k] /= p;
      x[c * n + k] /= p;
    }
    for (int64_t r = 0; r < n; ++r) {
      const double f = a[r * n + c];
      for (int64_t k = 0; r != c && k < n; ++k) {
        a[r * n + k] -= f * a[c * n + k];
        x[r * n + k] -= f * x[c * n + k];
      }
    }
  }
  return x;
}

// GPTQ as it was published: after each weight the inverse loses a row and a column, and all the weights left
// move by it.
std::vector<int8_t> published_gptq(const Problem& p, double damping, bool act_order) {
  const int64_t n = p.n;
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += p.h[i * n + i] / static_cast<double>(n);
  std::vector<int64_t> left(n);
  std::iota(left.begin(), left.end(), 0);
  if (act_order)
    std::stable_sort(left.begin(), left.end(),
                     [&](int64_t a, int64_t b) { return p.h[a * n + a] > p.h[b * n + b]; });
  std::vector<double> w(p.weights.begin(), p.weights.end());
  std::vector<int8_t> q(w.size());
  while (!left.empty()) {
    const auto m = static_cast<int64_t>(left.size());
    Matrix part(m * m);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < m; ++j)
        part[i * m + j] = p.h[left[i] * n + left[j]] + (i == j ? damping * mean : 0);
    const Matrix inv = inverse(part, m);
    const int64_t now = left[0];
    for (int64_t o = 0; o < p.channels; ++o) {
      const double step = p.grid.step_of(o, now);
      const double steps =
          std::clamp<double>(std::nearbyint(w[o * n + now] / step), -p.grid.limit, p.grid.limit);
      q[o * n + now] = static_cast<int8_t>(steps);
      const double error = (w[o * n + now] - steps * step) / inv[0];
      for (int64_t j = 0; j < m; ++j) w[o * n + left[j]] -= error * inv[j];
    }
    left.erase(left.begin());
  }
  return q;
}

double output_error(const Problem& p, const std::vector<int8_t>& q) {
  double sum = 0;
  for (int64_t o = 0; o < p.channels; ++o)
    for (int64_t i = 0; i < p.n; ++i)
      for (int64_t j = 0; j < p.n; ++j) {
        const auto e = [&](int64_t k) {
          return p.weights[o * p.n + k] - q[o * p.n + k] * p.grid.step_of(o, k);
        };
        sum += e(i) * p.h[i * p.n + j] * e(j);
      }
  return sum;
}

TEST(Rounding, GptqIsThePublishedOne) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  ThreadPool pool(2);
  int64_t values = 0, different = 0;
  for (int round = 0; round < 20; ++round) {
    Problem p(random, 1 + static_cast<int64_t>(random() % 20), 1 + static_cast<int64_t>(random() % 60), 200);
    if (round % 2 == 1)
      for (int64_t i = 0; i < p.n; ++i) p.grid.divisor.push_back(0.5f + static_cast<float>(random() % 4));
    const bool act_order = round % 3 == 0;
    const auto expected = published_gptq(p, 0.01, act_order);
    const auto found = round_gptq(p.weights, p.channels, p.n, p.h, p.grid, {0.01, act_order}, pool);
    ASSERT_EQ(expected.size(), found.size());
    for (size_t i = 0; i < found.size(); ++i) different += expected[i] != found[i];
    values += static_cast<int64_t>(found.size());
  }
  // A tie of the last bit may move a weight, and those behind it.
  EXPECT_LE(different, values / 500);
}

TEST(Rounding, GptqBeatsRoundingToNearest) {
  std::mt19937 random(1);
  ThreadPool pool(1);
  const Problem p(random, 16, 48, 500);
  const double nearest = output_error(p, round_nearest(p.weights, p.channels, p.n, p.grid));
  const double gptq = output_error(p, round_gptq(p.weights, p.channels, p.n, p.h, p.grid, {}, pool));
  EXPECT_LT(gptq, 0.5 * nearest);
}

// Each channel by itself, with every step, judged by e^T H e as it is written.
TEST(Rounding, StepsAreThoseOfTheLeastOutputError) {
  std::mt19937 random(11);
  ThreadPool pool(2);
  const GptqOptions options{0.01, true};
  int64_t moved = 0;
  double gained = 0;
  for (int round = 0; round < 10; ++round) {
    const Problem p(random, 19, 24, 90);
    double mean = 0;
    for (int64_t i = 0; i < p.n; ++i) mean += p.h[i * p.n + i] / static_cast<double>(p.n);
    const auto error = [&](const std::vector<float>& w, const std::vector<int8_t>& q, double step) {
      double sum = 0;
      std::vector<double> e(p.n);
      for (int64_t i = 0; i < p.n; ++i) e[i] = w[i] - q[i] * step;
      for (int64_t i = 0; i < p.n; ++i) {
        sum += options.damping * mean * e[i] * e[i];
        for (int64_t j = 0; j < p.n; ++j) sum += e[i] * p.h[i * p.n + j] * e[j];
      }
      return sum;
    };
    WeightGrid grid = p.grid;
    const auto q = round_gptq_and_steps(p.weights, p.channels, p.n, p.h, grid, options, pool);
    for (int64_t o = 0; o < p.channels; ++o) {
      const std::vector<float> w(p.weights.begin() + o * p.n, p.weights.begin() + (o + 1) * p.n);
      double least = -1, given = 0, best_step = 0;
      std::vector<int8_t> best;
      for (const double ratio : {1.0, 0.76, 0.84, 0.92, 1.08, 1.18, 1.3}) {
        WeightGrid one = p.grid;
        one.step = {static_cast<float>(p.grid.step[o] * ratio)};
        const auto found = round_gptq(w, 1, p.n, p.h, one, options, pool);
        const double lost = error(w, found, one.step[0]);
        if (ratio == 1.0) given = lost;
        if (least >= 0 && lost >= least) continue;
        least = lost;
        best = found;
        best_step = one.step[0];
      }
      EXPECT_FLOAT_EQ(grid.step[o], static_cast<float>(best_step));
      EXPECT_EQ(std::vector<int8_t>(q.begin() + o * p.n, q.begin() + (o + 1) * p.n), best);
      moved += grid.step[o] != p.grid.step[o];
      gained += given / least - 1;
    }
  }
  EXPECT_GT(moved, 50);
  EXPECT_GT(gained, 0);
}

TEST(Rounding, OneStepForAllChannelsStays) {
  std::mt19937 random(5);
  Problem p(random, 6, 10, 40);
  p.grid.step = {0.3f};
  ThreadPool pool(1);
  WeightGrid grid = p.grid;
  EXPECT_EQ(round_gptq_and_steps(p.weights, p.channels, p.n, p.h, grid, {}, pool),
            round_gptq(p.weights, p.channels, p.n, p.h, p.grid, {}, pool));
  EXPECT_EQ(grid.step, p.grid.step);
}

TEST(Rounding, RefitIsWhereTheGradientVanishes) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  ThreadPool pool(2);
  for (double lambda : {0.1, 1.0}) {
    const Problem p(random, 9, 70, 300);
    const auto w = refit_weights(p.weights, p.channels, p.n, p.h, p.d, lambda, pool);
    ASSERT_EQ(w.size(), p.weights.size());
    double mean = 0;
    for (int64_t i = 0; i < p.n; ++i) mean += p.h[i * p.n + i] / static_cast<double>(p.n);
    // |W x - W' x^|^2 + lambda mean |W' - W|^2: its gradient is W' H - W (D + H) + lambda mean (W' - W).
    double largest = 0, scale = 0;
    for (int64_t o = 0; o < p.channels; ++o)
      for (int64_t j = 0; j < p.n; ++j) {
        double g = lambda * mean * (double{w[o * p.n + j]} - p.weights[o * p.n + j]);
        for (int64_t i = 0; i < p.n; ++i) {
          g += w[o * p.n + i] * p.h[i * p.n + j] -
               p.weights[o * p.n + i] * (p.d[i * p.n + j] + p.h[i * p.n + j]);
          scale = std::max(scale, std::abs(p.weights[o * p.n + i] * p.d[i * p.n + j]));
        }
        largest = std::max(largest, std::abs(g));
      }
    EXPECT_LT(largest, 1e-3 * scale);
  }
}

TEST(Rounding, NothingDependsOnTheThreads) {
  std::mt19937 random(5);
  const Problem p(random, 33, 150, 400);
  ThreadPool one(1), three(3);
  EXPECT_EQ(round_gptq(p.weights, p.channels, p.n, p.h, p.grid, {}, one),
            round_gptq(p.weights, p.channels, p.n, p.h, p.grid, {}, three));
  EXPECT_EQ(refit_weights(p.weights, p.channels, p.n, p.h, p.d, 1, one),
            refit_weights(p.weights, p.channels, p.n, p.h, p.d, 1, three));
}

TEST(Rounding, DeadInputsAndSingularMatrices) {
  ThreadPool pool(1);
  WeightGrid grid;
  grid.step = {1};
  const std::vector<float> w{0.4f, 2.6f, -3.2f};
  EXPECT_TRUE(round_gptq(w, 1, 3, std::vector<double>(9, 0), grid, {}, pool).empty());
  EXPECT_TRUE(refit_weights(w, 1, 3, std::vector<double>(9, 0), std::vector<double>(9, 0), 1, pool).empty());
  std::vector<double> h(9, 0);  // the second input is always 0
  h[0] = 4;
  h[8] = 1;
  EXPECT_EQ(round_gptq(w, 1, 3, h, grid, {}, pool), (std::vector<int8_t>{0, 3, -3}));
}

TEST(LinearAlgebra, SolvesAcrossBlocks) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  ThreadPool pool(2);
  for (int64_t n : {1, 47, 48, 49, 131}) {
    Matrix base(n * n), a(n * n, 0), rows(3 * n);
    for (double& v : base) v = normal(random);
    for (double& v : rows) v = normal(random);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t k = 0; k < n; ++k) a[i * n + j] += base[i * n + k] * base[j * n + k];
        a[i * n + j] += i == j ? 0.5 : 0;
      }
    Matrix l = a, x = rows;
    ASSERT_TRUE(cholesky(l, n, pool));
    solve_rows(l, n, x, 3, pool);
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t j = 0; j < n; ++j) {
        double product = 0;
        for (int64_t i = 0; i < n; ++i) product += x[r * n + i] * a[i * n + j];
        EXPECT_NEAR(product, rows[r * n + j], 1e-8);
      }
  }
  Matrix bad{1, 2, 2, 1};
  EXPECT_FALSE(cholesky(bad, 2, pool));
}

}  // namespace
}  // namespace octet
