#include "quant/range/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "base/error.h"

namespace octet {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

using Samples = std::vector<std::vector<float>>;

// Values of very different sizes and kinds, so that histograms grow often.
Samples random_samples(std::mt19937& random, int samples, int largest, int channels, bool strange) {
  Samples result;
  std::normal_distribution<float> normal;
  for (int s = 0; s < samples; ++s) {
    std::vector<float> values(
        static_cast<size_t>(1 + static_cast<int>(random() % static_cast<unsigned>(largest))) *
        static_cast<size_t>(std::max(channels, 1)));
    const float size = std::ldexp(1.0f, static_cast<int>(random() % 24) - 12);
    const bool relu = random() % 2 == 0;
    for (float& v : values) {
      v = normal(random) * size;
      if (relu && v < 0) v = 0;
      if (!strange || random() % 50 != 0) continue;
      const float odd[] = {kNan, kInf, -kInf, -0.0f, 1e-42f, -1e-42f, 3e38f, -3e38f, 0x1p-100f, 1.0f};
      v = odd[random() % (strange ? std::size(odd) : 1)];
    }
    result.push_back(std::move(values));
  }
  return result;
}

// Plain loops over all values at once.
StatisticsData slow(const Samples& samples) {
  StatisticsData d;
  float low = kInf, high = -kInf, most_positive = 0, most_negative = 0;
  for (const auto& sample : samples)
    for (const float v : sample) {
      if (std::isnan(v)) ++d.nan;
      if (std::isinf(v)) ++d.infinite;
      if (v == 0) ++d.zero;
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
      most_positive = std::max(most_positive, v);
      most_negative = std::max(most_negative, -v);
    }
  if (low <= high) {
    d.min = low + 0.0f;
    d.max = high + 0.0f;
  }
  const auto side = [&](HistogramSide& to, float most, float sign) {
    if (most == 0) return;
    to.exponent = -100;
    while (std::ldexp(1.0, to.exponent) <= static_cast<double>(most)) ++to.exponent;
    const double width = std::ldexp(1.0, to.exponent) / 4096;
    to.counts.resize(static_cast<size_t>(static_cast<double>(most) / width) + 1);
    for (const auto& sample : samples)
      for (const float v : sample)
        if (std::isfinite(v) && v * sign > 0)
          ++to.counts[static_cast<size_t>(static_cast<double>(v) * static_cast<double>(sign) / width)];
  };
  side(d.positive, most_positive, 1);
  side(d.negative, most_negative, -1);
  return d;
}

TEST(FixedSum, AddsExactly) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> mantissa(-1, 1);
  std::vector<double> values;
  for (int i = 0; i < 1000; ++i)
    values.push_back(std::ldexp(mantissa(random), static_cast<int>(random() % 100) - 40));
  FixedSum forward, backward, halves[2];
  for (size_t i = 0; i < values.size(); ++i) {
    forward.add(values[i]);
    backward.add(values[values.size() - 1 - i]);
    halves[i % 2].add(values[i]);
  }
  halves[0].add(halves[1]);
  EXPECT_EQ(forward, backward);
  EXPECT_EQ(forward, halves[0]);
  long double exact = 0;
  for (const double v : values) exact += v;
  EXPECT_NEAR(forward.value(), static_cast<double>(exact), std::fabs(static_cast<double>(exact)) * 1e-12);
  for (const double v : values) forward.add(-v);
  EXPECT_EQ(forward, FixedSum());
}

TEST(FixedSum, SingleValuesAndLimits) {
  for (const double v : {0.0, 1.0, -1.0, 0.1, -0x1p-80, 0x1p-80, 0x1.fffffffffffffp75, -0x1p76, 3.5e10}) {
    FixedSum sum;
    sum.add(v);
    EXPECT_NEAR(sum.value(), v, 0x1p-80) << v;
  }
  FixedSum sum;
  sum.add(1e300);
  EXPECT_EQ(sum.value(), 0x1p76);
  sum.add(-std::numeric_limits<double>::infinity());
  EXPECT_EQ(sum.value(), 0);
  sum.add(std::numeric_limits<double>::quiet_NaN());
  sum.add(0x1p-82);
  EXPECT_EQ(sum, FixedSum());
}

TEST(Scan, AllInstructionSetsGiveTheSameBits) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    std::vector<float> x = random_samples(random, 1, 1000, 0, true)[0];
    for (float& v : x)
      if (std::fabs(v) > 8) v = std::copysign(7.99f, v);
    const int n = static_cast<int>(std::min<size_t>(x.size(), scan::kBlock));
    std::vector<uint16_t> first;
    scan::Summary expected;
    for (const Isa isa : possible_isas()) {
      const scan::Functions& f = scan::functions(isa);
      scan::Summary summary;
      f.summarize(x.data(), n, summary);
      std::vector<uint16_t> index(scan::kBlock + scan::kIndexSlack);
      index.resize(static_cast<size_t>(f.index(x.data(), n, 512, 256, index.data())));
      std::erase_if(index, [](uint16_t bin) { return bin >= scan::kSkip; });
      if (isa == Isa::kReference) {
        expected = summary;
        first = index;
      }
      EXPECT_EQ(index, first);
      EXPECT_EQ(summary.min_key, expected.min_key);
      EXPECT_EQ(summary.max_key, expected.max_key);
      EXPECT_EQ(summary.nan, expected.nan);
      EXPECT_EQ(summary.infinite, expected.infinite);
      EXPECT_EQ(summary.zero, expected.zero);
    }
  }
}

TEST(Statistics, EqualsPlainLoops) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const Samples samples = random_samples(random, 1 + static_cast<int>(seed % 7), 3000, 0, seed % 2 == 1);
    TensorStatistics statistics;
    for (size_t s = 0; s < samples.size(); ++s)
      statistics.observe_sample(static_cast<int64_t>(s), samples[s]);
    const StatisticsData expected = slow(samples);
    const StatisticsData found = statistics.data();
    EXPECT_EQ(found.nan, expected.nan);
    EXPECT_EQ(found.infinite, expected.infinite);
    EXPECT_EQ(found.zero, expected.zero);
    EXPECT_EQ(found.min, expected.min);
    EXPECT_EQ(found.max, expected.max);
    EXPECT_EQ(found.positive, expected.positive);
    EXPECT_EQ(found.negative, expected.negative);
    uint64_t total = 0;
    for (const auto& sample : samples) total += sample.size();
    EXPECT_EQ(statistics.count(), total);
    EXPECT_EQ(statistics.finite(), total - found.nan - found.infinite);
  }
}

// Any order of samples, any cut of a sample, any split over workers, any tree of merges: the same bits.
TEST(Statistics, DependsOnTheDataAlone) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const int channels = seed % 3 == 0 ? 0 : static_cast<int>(1 + random() % 70);
    const Samples samples = random_samples(random, 12, channels == 0 ? 3000 : 100, channels, seed % 2 == 1);
    const StatisticsOptions options{channels, true};
    TensorStatistics once(options);
    for (size_t s = 0; s < samples.size(); ++s) once.observe_sample(static_cast<int64_t>(s), samples[s]);
    const StatisticsData expected = once.data();
    for (int trial = 0; trial < 5; ++trial) {
      std::vector<size_t> order(samples.size());
      std::iota(order.begin(), order.end(), size_t{0});
      std::shuffle(order.begin(), order.end(), random);
      std::vector<TensorStatistics> workers(1 + random() % 4, TensorStatistics(options));
      for (const size_t s : order) {
        TensorStatistics& worker = workers[random() % workers.size()];
        worker.begin_sample(static_cast<int64_t>(s));
        const std::span<const float> values = samples[s];
        for (size_t i = 0; i < values.size();) {
          const size_t n = std::min<size_t>(values.size() - i, random() % 1500);
          worker.observe(values.subspan(i, n));
          i += n;
        }
        worker.end_sample();
      }
      while (workers.size() > 1) {
        std::shuffle(workers.begin(), workers.end(), random);
        workers.front().merge(workers.back());
        workers.pop_back();
      }
      EXPECT_EQ(workers[0].data(), expected);
    }
    EXPECT_EQ(TensorStatistics::from_data(expected).data(), expected);
    TensorStatistics empty(options);
    empty.merge(TensorStatistics::from_data(expected));
    EXPECT_EQ(empty.data(), expected);
  }
}

TEST(Statistics, ChannelsEqualPlainLoops) {
  for (const int channels : {1, 3, 16, 63, 64, 65, 200}) {
    SCOPED_TRACE(channels);
    std::mt19937 random(static_cast<unsigned>(channels));
    const Samples samples = random_samples(random, 5, 300, channels, channels % 2 == 1);
    TensorStatistics statistics({channels, true});
    for (size_t s = 0; s < samples.size(); ++s)
      statistics.observe_sample(static_cast<int64_t>(s), samples[s]);
    for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
      const ChannelStatistics& found = statistics.channels()[c];
      uint64_t count = 0, seen = 0;
      float low = kInf, high = -kInf;
      double sum = 0, square = 0, low_sum = 0, size = 0;
      for (const auto& sample : samples) {
        float sample_low = kInf;
        for (size_t i = c; i < sample.size(); i += static_cast<size_t>(channels)) {
          const float v = sample[i];
          if (!std::isfinite(v)) continue;
          ++count;
          low = std::min(low, v);
          high = std::max(high, v);
          sample_low = std::min(sample_low, v);
          sum += static_cast<double>(v);
          size += std::fabs(static_cast<double>(v));
          square += static_cast<double>(v) * static_cast<double>(v);
        }
        if (sample_low < kInf) {
          ++seen;
          low_sum += static_cast<double>(sample_low);
        }
      }
      EXPECT_EQ(found.count, count);
      EXPECT_EQ(found.samples, seen);
      if (count == 0) continue;
      EXPECT_EQ(found.min, low);
      EXPECT_EQ(found.max, high);
      if (size > 1e20) continue;  // beyond what a FixedSum holds
      EXPECT_NEAR(found.sum.value(), sum, size * 1e-12);
      EXPECT_NEAR(found.square.value(), square, square * 1e-12);
      EXPECT_NEAR(found.extremes.min.value(), low_sum, size * 1e-12);
    }
  }
}

TEST(Statistics, RowsWithForeignChannelsBetween) {
  std::mt19937 random(9);
  for (const int64_t length : {1, 5, 64, 1500}) {
    const int64_t rows = 700, stride = length + 3;
    std::vector<float> padded(static_cast<size_t>(rows * stride), kNan), dense;
    std::normal_distribution<float> normal;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < length; ++i) {
        dense.push_back(normal(random));
        padded[static_cast<size_t>(r * stride + i)] = dense.back();
      }
    TensorStatistics a({static_cast<int>(length), true}), b({static_cast<int>(length), true});
    a.observe_sample(0, dense);
    b.begin_sample(0);
    b.observe_rows(padded.data(), rows, length, stride);
    b.end_sample();
    EXPECT_EQ(a.data(), b.data());
  }
}

TEST(Statistics, MomentsOfExtremes) {
  TensorStatistics statistics;
  statistics.observe_sample(0, std::vector<float>{-1, 2});
  statistics.observe_sample(1, std::vector<float>{-3, 6, kNan});
  statistics.observe_sample(2, std::vector<float>{kNan, kInf});
  const ExtremeMoments m = extreme_moments(statistics.extremes(), statistics.samples());
  EXPECT_EQ(m.min_mean, -2);
  EXPECT_EQ(m.max_mean, 4);
  EXPECT_EQ(m.min_deviation, 1);
  EXPECT_EQ(m.max_deviation, 2);
  EXPECT_EQ(statistics.samples(), 2u);
}

TEST(Statistics, Problems) {
  const auto problem = [](std::vector<float> values) {
    TensorStatistics statistics;
    statistics.observe_sample(0, values);
    return statistics_problem(statistics);
  };
  EXPECT_EQ(statistics_problem(TensorStatistics()), "never produced");
  EXPECT_EQ(problem({}), "never produced");
  EXPECT_EQ(problem({0, -0.0f}), "every value is 0");
  EXPECT_EQ(problem({1.5f, 1.5f}), "every value is 1.5");
  EXPECT_EQ(problem({kNan, kNan}), "every value is NaN");
  EXPECT_EQ(problem({kInf, -kInf}), "every value is infinite");
  EXPECT_EQ(problem({1, 2, kNan, kNan, kInf}), "2 NaN, 1 infinite");
  EXPECT_EQ(problem({0, kNan}), "1 NaN, every finite value is 0");
  EXPECT_EQ(problem({1, 2}), "");
}

TEST(Statistics, MisuseAndContradictions) {
  TensorStatistics statistics({3, true});
  EXPECT_THROW(statistics.observe(std::vector<float>{1}), Error);
  EXPECT_THROW(statistics.end_sample(), Error);
  statistics.begin_sample(0);
  EXPECT_THROW(statistics.begin_sample(1), Error);
  statistics.observe(std::vector<float>{1, 2});
  EXPECT_THROW(statistics.end_sample(), Error);
  EXPECT_THROW(TensorStatistics().merge(statistics), Error);

  TensorStatistics good;
  good.observe_sample(0, std::vector<float>{-1, 0, 5});
  const StatisticsData data = good.data();
  const auto broken = [&](auto change) {
    StatisticsData copy = data;
    change(copy);
    EXPECT_THROW(TensorStatistics::from_data(copy), Error);
  };
  broken([](StatisticsData& d) { d.min = kNan; });
  broken([](StatisticsData& d) { d.max = 50; });
  broken([](StatisticsData& d) { d.positive.counts.clear(); });
  broken([](StatisticsData& d) { d.positive.counts.back() = 0; });
  broken([](StatisticsData& d) { d.positive.counts.resize(5000, 1); });
  broken([](StatisticsData& d) { d.negative.exponent = 2000000000; });
  broken([](StatisticsData& d) { d.positive.counts[0] = UINT64_MAX; });
  broken([](StatisticsData& d) { d.samples = 0; });
}

}  // namespace
}  // namespace octet
