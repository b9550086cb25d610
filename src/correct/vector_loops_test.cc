#include "correct/vector_loops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octet {
namespace {

std::vector<Isa> sets() {
  std::vector<Isa> known;
  for (const Isa isa : {Isa::kReference, Isa::kAvx2, Isa::kAvx512Vnni})
    if (has_isa(isa)) known.push_back(isa);
  return known;
}

template <typename T>
std::vector<T> numbers(std::mt19937_64& random, int64_t count) {
  std::normal_distribution<double> normal(0, 1);
  std::vector<T> v(count);
  for (T& x : v) x = static_cast<T>(normal(random));
  return v;
}

// Everything that the loops make of random numbers; the bits count.
std::vector<double> everything(const loops::Loops& f, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> made;
  const int64_t rows = 1 + static_cast<int64_t>(random() % 9),
                depth = 1 + static_cast<int64_t>(random() % 48),
                columns = 1 + static_cast<int64_t>(random() % 48), n = 60;
  const auto a = numbers<double>(random, rows * n), b = numbers<double>(random, depth * loops::kBlock);
  auto c = numbers<double>(random, rows * n);
  const auto before = c;
  f.subtract_product(a.data(), b.data(), c.data(), rows, columns, depth, n);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) sum += a[i * n + k] * b[k * loops::kBlock + j % loops::kBlock];
      EXPECT_EQ(c[i * n + j], j < columns ? before[i * n + j] - sum : before[i * n + j]);
    }
  made.insert(made.end(), c.begin(), c.end());

  const int64_t count = static_cast<int64_t>(random() % 70);
  const auto factor = numbers<double>(random, count), x = numbers<double>(random, count * loops::kLanes);
  auto sums = numbers<double>(random, loops::kLanes), wanted = sums, outer = x;
  f.add_rows(factor.data(), x.data(), sums.data(), count);
  f.subtract_outer(factor.data(), wanted.data(), outer.data(), count);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t lane = 0; lane < loops::kLanes; ++lane) {
      const int64_t at = i * loops::kLanes + lane;
      EXPECT_EQ(outer[at], x[at] - factor[i] * wanted[lane]);
    }
  for (int64_t lane = 0; lane < loops::kLanes; ++lane) {
    for (int64_t i = 0; i < count; ++i) wanted[lane] += factor[i] * x[i * loops::kLanes + lane];
    EXPECT_EQ(sums[lane], wanted[lane]);
  }
  made.insert(made.end(), sums.begin(), sums.end());
  made.insert(made.end(), outer.begin(), outer.end());

  const auto u = numbers<float>(random, count), v = numbers<float>(random, count);
  std::vector<float> shifted(count), added = v;
  f.shift(u.data(), 0.3f, shifted.data(), count);
  f.add(u.data(), added.data(), count);
  double sum = 0, noise = 0, signal = 0;
  for (int64_t i = 0; i < count; ++i) {
    EXPECT_EQ(shifted[i], u[i] + 0.3f);
    EXPECT_EQ(added[i], u[i] + v[i]);
    const double d = static_cast<double>(u[i]) - v[i];
    sum += u[i];
    noise += d * d;
    signal += static_cast<double>(u[i]) * u[i];
  }
  double found_noise = 0, found_signal = 0;
  f.errors(u.data(), v.data(), count, &found_noise, &found_signal);
  EXPECT_NEAR(found_noise, noise, 1e-12 * (1 + noise));
  EXPECT_NEAR(found_signal, signal, 1e-12 * (1 + signal));
  EXPECT_NEAR(f.sum(u.data(), count), sum, 1e-12 * (1 + std::abs(sum)) * static_cast<double>(1 + count));
  made.insert(made.end(), {found_noise, found_signal, f.sum(u.data(), count)});
  return made;
}

TEST(VectorLoops, MakeTheSameBitsOnAllInstructionSets) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const auto wanted = everything(loops::of(Isa::kReference), seed);
    for (const Isa isa : sets()) EXPECT_EQ(everything(loops::of(isa), seed), wanted) << isa_name(isa);
  }
}

TEST(VectorLoops, RoundToSixteenBits) {
  std::mt19937_64 random(7);
  for (const Isa isa : sets())
    for (int64_t count = 0; count < 40; ++count) {
      std::vector<float> x = numbers<float>(random, count);
      if (count > 3) x[2] = -0.0f;
      float extreme = 0;
      for (const float v : x) extreme = std::max(extreme, std::abs(v));
      EXPECT_EQ(loops::of(isa).extreme(x.data(), count), extreme);
      const float inverse = 1 / std::max(extreme / 32767, 1e-37f);
      std::vector<int16_t> y(count);
      loops::of(isa).to_steps(x.data(), inverse, y.data(), count);
      for (int64_t i = 0; i < count; ++i) EXPECT_EQ(y[i], std::lround(x[i] * inverse)) << x[i];
      if (count == 0) continue;
      for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()}) {
        x[random() % count] = bad;
        EXPECT_TRUE(std::isinf(loops::of(isa).extreme(x.data(), count)));
      }
    }
}

}  // namespace
}  // namespace octet
