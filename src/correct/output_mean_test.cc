// Shifts of biases against a search for the shift that restores the mean.
#include "correct/output_mean.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/simd/function.h"

namespace octet {
namespace {

using kernels::Function;

constexpr int64_t kSamples = 40, kRows = 50;

LayerSums sums_of(int64_t channels) {
  LayerSums s;
  s.channels = channels;
  for (int64_t i = 0; i <= kSamples; ++i) s.sample_rows.push_back(i * kRows);
  s.sums.resize(channels * kSamples * kRows);
  return s;
}

double value(const ActivationSpec& spec, float x) {
  return kernels::evaluate_function_reference(spec.function, spec.alpha, spec.beta, x);
}

double mean(const LayerSums& s, int64_t channel, const OutputFunction& f, double shift) {
  double sum = 0;
  for (int64_t i = 0; i < s.rows(); ++i) {
    double v = s.sums[channel * s.rows() + i] + shift;
    if (f.activation) v = value(*f.activation, static_cast<float>(v));
    if (!s.residual.empty()) v += s.residual[channel * s.rows() + i];
    if (f.final_clip) v = value(*f.final_clip, static_cast<float>(v));
    sum += v;
  }
  return sum / static_cast<double>(s.rows());
}

TEST(OutputMean, RestoresTheMeanBehindTheFunction) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  ThreadPool pool(2);
  const std::vector<OutputFunction> functions{
      {},
      {ActivationSpec{Function::kRelu}, {}},
      {ActivationSpec{Function::kClip, 0, 1.5f}, {}},
      {ActivationSpec{Function::kSilu}, {}},
      {{}, ActivationSpec{Function::kRelu}},
  };
  for (const OutputFunction& f : functions)
    for (bool residual : {false, true}) {
      LayerSums reference = sums_of(3), quantized = sums_of(3);
      if (residual) reference.residual = quantized.residual = reference.sums;
      for (size_t i = 0; i < reference.sums.size(); ++i) {
        reference.sums[i] = normal(random);
        quantized.sums[i] = 0.9f * reference.sums[i] + 0.3f + 0.1f * normal(random);
        if (residual) {
          reference.residual[i] = normal(random);
          quantized.residual[i] = reference.residual[i] + 0.02f * normal(random);
        }
      }
      const auto shift = match_output_means(reference, quantized, f, std::vector<bool>(kSamples, true), pool);
      ASSERT_EQ(shift.size(), 3u);
      for (int64_t c = 0; c < 3; ++c) {
        const double wanted = mean(reference, c, f, 0);
        double low = -3, high = 3;  // the mean grows with the shift, nearly so for SiLU
        for (int i = 0; i < 60; ++i)
          (mean(quantized, c, f, (low + high) / 2) < wanted ? low : high) = (low + high) / 2;
        EXPECT_NEAR(shift[c], low, 0.02);
        EXPECT_GT(std::abs(low), 0.1);
      }
      const std::vector<bool> all(kSamples, true);
      EXPECT_LT(output_error(reference, quantized, f, shift, all, pool).noise,
                output_error(reference, quantized, f, {}, all, pool).noise);
    }
}

TEST(OutputMean, MovesNothingOnThinEvidenceOrDeadChannels) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  ThreadPool pool(1);
  LayerSums reference = sums_of(2), quantized = sums_of(2);
  for (int64_t i = 0; i < reference.rows(); ++i) {
    reference.sums[i] = normal(random);
    // A difference that is all noise between samples.
    quantized.sums[i] = reference.sums[i] + (i / kRows % 2 == 0 ? 1.0f : -1.0f);
    reference.sums[reference.rows() + i] = -5;  // behind a ReLU
    quantized.sums[reference.rows() + i] = -6;
  }
  const OutputFunction relu{ActivationSpec{Function::kRelu}, {}};
  EXPECT_EQ(match_output_means(reference, quantized, {}, std::vector<bool>(kSamples, true), pool)[0], 0);
  EXPECT_EQ(match_output_means(reference, quantized, relu, std::vector<bool>(kSamples, true), pool)[1], 0);
  std::vector<bool> one(kSamples, false);
  one[0] = true;
  EXPECT_EQ(match_output_means(reference, quantized, {}, one, pool)[1], 0);
}

}  // namespace
}  // namespace octet
