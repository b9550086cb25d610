#include "report/output_quality.h"

#include <gtest/gtest.h>

#include <cmath>

#include "build/build.h"
#include "ops/op_def.h"

namespace octet {
namespace {

// One sample a row of values for the input "x".
class Arrays final : public Dataset {
 public:
  explicit Arrays(std::vector<Tensor> samples) : samples_(std::move(samples)) {}
  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  const std::string& name(int64_t) const override { return name_; }
  bool images() const override { return false; }
  Sample load(int64_t i) const override {
    Sample s;
    s.inputs.emplace("x", samples_[static_cast<size_t>(i)]);
    return s;
  }
  uint64_t content_hash() const override { return 1; }
  uint64_t sample_hash(int64_t i) const override { return static_cast<uint64_t>(i); }

 private:
  std::vector<Tensor> samples_;
  const std::string name_ = "sample";
};

// y = x * factor, [1, 16, 2]: sixteen places of two attributes.
engine::Engine scaled(float first, float second) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kFloat32, {1, 16, 2});
  Tensor factor(DType::kFloat32, {2});
  factor.as<float>()[0] = first;
  factor.as<float>()[1] = second;
  g.mark_output(g.add_op("Mul", "mul", {x, g.add_constant("factor", factor)}, "y"));
  infer_shapes(g);
  return engine::Engine(build_engine(g));
}

TEST(OutputQuality, PartsAreAttributes) {
  const auto parts = [](const Shape& shape) {
    const OutputParts p = output_parts(shape);
    return std::pair(p.count, p.inner);
  };
  using P = std::pair<int64_t, int64_t>;
  EXPECT_EQ(parts({1, 3549, 8}), P(8, 1));
  EXPECT_EQ(parts({1, 84, 8400}), P(84, 8400));
  EXPECT_EQ(parts({1, 21, 64, 64}), P(21, 4096));
  EXPECT_EQ(parts({1, 1000}), P(1, 1));
  EXPECT_EQ(parts({1, 1000, 1, 1}), P(1, 1));
  EXPECT_EQ(parts({2, 128, 384}), P(1, 1));
  EXPECT_EQ(parts({1, 0, 8}), P(1, 1));
}

TEST(OutputQuality, NoAttributeDrownsAnother) {
  std::vector<Tensor> samples;
  for (int s = 0; s < 3; ++s) {
    Tensor x(DType::kFloat32, {1, 16, 2});
    for (int64_t i = 0; i < x.count(); ++i)
      x.as<float>()[i] = static_cast<float>((i + s) % 5 + 1) * (i % 2 ? 1 : 1000);
    samples.push_back(std::move(x));
  }
  const Arrays data(std::move(samples));
  const engine::Engine reference = scaled(1, 1);
  // Errors of 1 % and 10 %: 40 and 20 dB, although the first is a thousand times as large.
  const std::vector<engine::Engine> others{scaled(1.01f, 0.9f), scaled(1, 1), scaled(1, 0.9f)};
  const auto sums = measure_outputs(reference, others, data, {1});
  ASSERT_EQ(sums.size(), others.size());
  const auto db = output_quality(sums[0]);
  ASSERT_TRUE(db);
  EXPECT_NEAR(*db, 30, 0.01);
  EXPECT_EQ(output_quality(measure_outputs(reference, {&others[0], 1}, data, {3})[0]), db);
  EXPECT_FALSE(output_quality(sums[1]));
  // One attribute exact: 80 dB stand for it.
  EXPECT_NEAR(output_quality(sums[2]).value_or(0), 50, 0.01);
  // Twice the same samples are as good as they are once; with an exact copy beside them 3 dB better.
  OutputSums more;
  more += sums[0];
  more += sums[0];
  EXPECT_NEAR(output_quality(more).value_or(0), *db, 1e-9);
  OutputSums mixed = sums[0];
  mixed += sums[1];
  EXPECT_NEAR(output_quality(mixed).value_or(0), *db + 10 * std::log10(2), 1e-9);
}

// y = softmax(x * factor), [1, 4].
engine::Engine classifier(float factor, bool softmax = true) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kFloat32, {1, 4});
  Tensor scale(DType::kFloat32, {1});
  scale.as<float>()[0] = factor;
  ValueId y = g.add_op("Mul", "mul", {x, g.add_constant("factor", scale)}, "scaled");
  if (softmax) y = g.add_op("Softmax", "softmax", {y}, "y");
  g.mark_output(y);
  infer_shapes(g);
  return engine::Engine(build_engine(g));
}

TEST(OutputQuality, ProbabilitiesAreJudgedByTheInformationTheyLose) {
  std::vector<Tensor> samples;
  for (const auto& row : {std::vector<float>{1, 2, 3, 0}, {9, 0, 1, 1}, {0, 0.5f, 0, 4}})
    samples.push_back(Tensor::of<float>({1, 4}, std::span<const float>(row)));
  const auto probabilities = [](const Tensor& x, double factor) {
    std::vector<double> p;
    double sum = 0;
    for (const float v : x.as<float>()) sum += p.emplace_back(std::exp(v * factor));
    for (double& v : p) v /= sum;
    return p;
  };
  double information = 0, lost = 0;
  for (const Tensor& x : samples) {
    const auto p = probabilities(x, 1), q = probabilities(x, 0.9);
    for (size_t i = 0; i < 4; ++i) {
      information += p[i] * std::log(p[i] * 4);
      lost += p[i] * std::log(p[i] / q[i]);
    }
  }
  const Arrays data(samples);
  const engine::Engine reference = classifier(1);
  const std::vector<engine::Engine> others{classifier(0.9f), classifier(1)};
  const auto sums = measure_outputs(reference, others, data, {2});
  EXPECT_NEAR(output_quality(sums[0]).value_or(0), 10 * std::log10(information / lost), 1e-3);
  EXPECT_FALSE(output_quality(sums[1]));
  OutputSums twice = sums[0];
  twice += sums[0];
  EXPECT_NEAR(output_quality(twice).value_or(0), output_quality(sums[0]).value_or(1), 1e-9);
  // Rows that are no probabilities have signal and noise: 10 % are 20 dB.
  const engine::Engine logits = classifier(1, false), near = classifier(0.9f, false);
  EXPECT_NEAR(output_quality(measure_outputs(logits, {&near, 1}, data, {1})[0]).value_or(0), 20, 0.01);
}

TEST(OutputQuality, ProbabilitiesBelowHalfAStepAreNotLost) {
  const std::vector<float> p{0.998f, 0.001f, 0.001f}, q{1, 0, 0};
  EXPECT_GT(lost_information(p, q, 0).lost, 0.02);
  EXPECT_LT(lost_information(p, q, 1.0 / 512).lost, 1e-4);
  EXPECT_FALSE(lost_information({p.data(), 1}, q, 0).all);
  const std::vector<float> large{0.9f, 0.9f, 0.1f}, negative{1.5f, -0.5f, 0};
  EXPECT_FALSE(lost_information(large, q, 0).all);
  EXPECT_FALSE(lost_information(negative, q, 0).all);
  EXPECT_FALSE(lost_information(p, negative, 0).all);
}

}  // namespace
}  // namespace octet
