#include "correct/bias_correction.h"

#include <gtest/gtest.h>

#include <random>

#include "ops/op_def.h"

namespace octet {
namespace {

// y = Conv(x): 3x3, padded, two groups, so that every term of the shift takes part.
struct ConvGraph {
  Graph graph;
  NodeId conv = kNoId;

  explicit ConvGraph(uint32_t seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> weight(-1, 1);
    Tensor w(DType::kFloat32, {4, 2, 3, 3});
    for (float& v : w.as<float>()) v = weight(random);
    const ValueId x = graph.add_input("x", DType::kFloat32, {1, 4, 5, 6});
    const ValueId y = graph.add_op("Conv", "conv", {x, graph.add_constant("w", w)}, "y", [] {
      Attributes a;
      a.set("group", int64_t{2});
      a.set("pads", std::vector<int64_t>{1, 1, 1, 1});
      a.set("kernel_shape", std::vector<int64_t>{3, 3});
      return a;
    }());
    graph.mark_output(y);
    infer_shapes(graph);
    conv = graph.value(y).producer;
  }
};

Tensor run_conv(const Graph& graph, NodeId id, const Tensor& x, const Tensor& weights, const Tensor& bias) {
  std::vector<Tensor> inputs{x, weights, bias}, outputs{Tensor(DType::kFloat32, {1, 4, 5, 6})};
  find_op("Conv")->run(graph.node(id).attributes, inputs, outputs);
  return outputs[0];
}

// Mean over the pixels of each channel.
std::vector<double> means(const Tensor& t) {
  std::vector<double> m(4, 0);
  for (int64_t i = 0; i < t.count(); ++i) m[i / 30] += t.as<float>()[i] / 30.0;
  return m;
}

ActivationParams unit_params(const Graph& graph, const Placement& placement) {
  return tensor_params(graph, placement, {}, [](const std::string&) { return Range{-1, 1}; });
}

TEST(BiasCorrection, RestoresTheMeanOfEveryChannel) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  ConvGraph g(seed);
  // Every channel is constant, so that the tap shares are exact.
  Tensor x(DType::kFloat32, {1, 4, 5, 6});
  const std::vector<double> channel{3, -2, 0.5, 7};
  for (int64_t i = 0; i < x.count(); ++i) x.as<float>()[i] = static_cast<float>(channel[i / 30]);
  const Tensor w = *g.graph.value(g.graph.node(g.conv).inputs[1]).constant;
  const Tensor zero(DType::kFloat32, {4});
  const std::vector<double> expected = means(run_conv(g.graph, g.conv, x, w, zero));

  const QuantizeOptions options;
  const Placement placement = place(g.graph, options);
  ASSERT_EQ(placement.weighted, std::vector<NodeId>{g.conv});
  EXPECT_EQ(weighted_inputs(g.graph, placement), std::vector<std::string>{"x"});
  const ActivationParams params = unit_params(g.graph, placement);
  ASSERT_EQ(correct_biases(g.graph, placement, options, params, {{"x", channel}}), 1);

  const QuantizedWeights q = quantize_weights(w, 0);
  Tensor rounded(DType::kFloat32, w.shape());
  for (int64_t i = 0; i < w.count(); ++i)
    rounded.as<float>()[i] = static_cast<float>(q.values.as<int8_t>()[i]) * q.params.scale[i / 18];
  const Tensor bias = *g.graph.value(g.graph.node(g.conv).inputs[2]).constant;
  const std::vector<double> before = means(run_conv(g.graph, g.conv, x, rounded, zero));
  const std::vector<double> after = means(run_conv(g.graph, g.conv, x, rounded, bias));
  for (int c = 0; c < 4; ++c) {
    EXPECT_GT(std::abs(before[c] - expected[c]), 1e-6);
    EXPECT_NEAR(after[c], expected[c], 1e-5);
  }
}

TEST(BiasCorrection, LeavesLayersWithoutMeansAlone) {
  ConvGraph g(1);
  const Placement placement = place(g.graph, {});
  const ActivationParams params = unit_params(g.graph, placement);
  EXPECT_EQ(correct_biases(g.graph, placement, {}, params, {}), 0);
  EXPECT_EQ(correct_biases(g.graph, placement, {}, params, {{"x", {1, 2}}}),
            0);  // a wrong number of channels
  EXPECT_EQ(g.graph.node(g.conv).inputs.size(), 2u);
}

}  // namespace
}  // namespace octet
