#include "correct/equalization.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "build/build.h"
#include "correct/test_noise.h"
#include "passes/quantize.h"

namespace octet {
namespace {

using testing::Net;
using testing::random_floats;

Tensor& weights(Graph& g, const std::string& node) {
  return *g.value(g.node(*g.find_node(node)).inputs[1]).constant;
}

// Channels of very different size: conv 3x3, ReLU6, depthwise 3x3, ReLU6, conv 1x1, ReLU, two readers behind
// a pool.
Net uneven_net(uint32_t seed) {
  Net net({1, 3, 12, 12});
  ValueId v = net.conv(net.x, 3, 8, "a");
  v = net.op("Clip", {v, net.scalar(0), net.scalar(6)}, "a6");
  v = net.conv(v, 8, 8, "b", 3, true, 8);
  v = net.op("Clip", {v, net.scalar(0), net.scalar(6)}, "b6");
  v = net.conv(v, 8, 6, "c", 1);
  v = net.op("Relu", {v}, "c_relu");
  v = net.pool("MaxPool", v, "c_pool");
  const ValueId left = net.conv(v, 6, 4, "d", 3), right = net.conv(v, 6, 4, "e", 1, false);
  net.finish(net.concat({left, right}, "y"));
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> power(-4, 4);
  for (const char* name : {"a_node", "b_node", "c_node"}) {
    Tensor& w = weights(net.g, name);
    const int64_t inner = w.count() / w.shape()[0];
    for (int64_t o = 0; o < w.shape()[0]; ++o) {
      const float factor = std::exp2(power(random));
      for (int64_t i = 0; i < inner; ++i) w.as<float>()[o * inner + i] *= factor;
    }
  }
  return net;
}

void expect_near(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  double most = 0;
  for (float v : a.as<float>()) most = std::max(most, std::abs(static_cast<double>(v)));
  for (int64_t i = 0; i < a.count(); ++i) ASSERT_NEAR(a.as<float>()[i], b.as<float>()[i], 1e-4 * most) << i;
}

// Largest weight that makes, or reads, each channel.
std::vector<double> ranges(const Tensor& w, int axis) {
  std::vector<double> r(w.shape()[axis], 0);
  const int64_t taps = w.shape()[2] * w.shape()[3];
  for (int64_t i = 0; i < w.count(); ++i) {
    const int64_t c = axis == 0 ? i / taps / w.shape()[1] : i / taps % w.shape()[1];
    r[c] = std::max(r[c], std::abs(static_cast<double>(w.as<float>()[i])));
  }
  return r;
}

void expect_equal(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(a[c], b[c], 2e-3 * b[c]) << c;
}

TEST(Equalization, KeepsWhatTheNetworkComputesAndMakesRangesEqual) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Net net = uneven_net(seed);
  const Tensor x = random_floats({1, 3, 12, 12}, -3, 3, seed);
  const Tensor before = testing::run(net.g, x);
  const EqualizationReport report = equalize_weights(net.g);
  infer_shapes(net.g);
  EXPECT_EQ(report.pairs, 3);
  EXPECT_EQ(report.caps, 2);
  EXPECT_GT(report.bits_after, report.bits_before);
  expect_near(before, testing::run(net.g, x));
  // Section 4.1: where nothing moves any more, each channel's ranges on both sides agree.
  expect_equal(ranges(weights(net.g, "a_node"), 0), ranges(weights(net.g, "b_node"), 0));
  expect_equal(ranges(weights(net.g, "b_node"), 0), ranges(weights(net.g, "c_node"), 1));
  std::vector<double> d = ranges(weights(net.g, "d_node"), 1), e = ranges(weights(net.g, "e_node"), 1);
  for (size_t c = 0; c < d.size(); ++c) d[c] = std::max(d[c], e[c]);
  expect_equal(ranges(weights(net.g, "c_node"), 0), d);
}

TEST(Equalization, TheEngineRunsCapsInFloat) {
  Net net = uneven_net(7);
  const Tensor x = random_floats({1, 3, 12, 12}, -3, 3, 5);
  const Tensor before = testing::run(net.g, x);
  equalize_weights(net.g);
  infer_shapes(net.g);
  const engine::Engine engine(build_engine(net.g));
  engine::Context context(engine, engine::default_options());
  context.run(std::vector<Tensor>{x});
  expect_near(before, context.output(0));
}

TEST(Equalization, TheEngineRunsCapsInIntegers) {
  Net net = uneven_net(11);
  equalize_weights(net.g);
  infer_shapes(net.g);
  QuantizeOptions options;
  options.weights_per_tensor = true;
  const Placement placement = place(net.g, options);
  Graph q = net.g;
  // Ranges that cover everything, so that caps and not the grid cut off.
  insert_qdq(q, placement, options, [](const std::string& value) {
    return value == "x" ? Range{-3, 3} : Range{-1, 40};
  });
  infer_shapes(q);
  const engine::Engine engine(build_engine(q));
  for (const engine::StepDef& step : engine.model().steps) EXPECT_NE(step.kind, "binary_f32");
  const Tensor x = random_floats({1, 3, 12, 12}, -3, 3, 5);
  EXPECT_LT(testing::engine_noise(engine, q, x), 1e-4);
}

TEST(Equalization, LeavesWhatOthersReadAsItIs) {
  Net net({1, 3, 8, 8});
  const ValueId a = net.conv(net.x, 3, 4, "a");
  const ValueId r = net.op("Sigmoid", {a}, "s");
  const ValueId b = net.conv(r, 4, 4, "b");
  const ValueId c = net.op("Relu", {b}, "r");
  net.finish(net.op("Add", {net.conv(c, 4, 4, "d"), c}, "y"));
  EXPECT_EQ(equalize_weights(net.g).pairs, 0);
}

TEST(Absorption, KeepsWhatTheNetworkComputes) {
  Net net({1, 3, 6, 6});
  ValueId v = net.conv(net.x, 3, 5, "a", 1);
  v = net.op("Clip", {v, net.scalar(0), net.scalar(30)}, "a6");
  v = net.conv(v, 5, 5, "b", 1, true, 5);
  v = net.op("Relu", {v}, "b_relu");
  net.finish(net.conv(v, 5, 2, "c", 1, false));
  const auto bias = [&] {
    return net.g.value(net.g.node(*net.g.find_node("a_node")).inputs[2]).constant->as<float>();
  };
  for (int i = 0; i < 3; ++i) bias()[i] = 12;
  equalize_weights(net.g);
  infer_shapes(net.g);
  const Tensor x = random_floats({1, 3, 6, 6}, -1, 1, 3);
  const Tensor before = testing::run(net.g, x);

  // The statistics of the very image that is run.
  CalibrationTable table;
  Graph inner = net.g;
  inner.mark_output(*inner.find_value("a6"));
  const engine::Engine engine(build_engine(inner));
  engine::Context context(engine, engine::default_options());
  context.run(std::vector<Tensor>{x});
  const Tensor& a = context.output(1);
  TableTensor& t = table.tensors["a6"];
  for (int c = 0; c < 5; ++c) {
    double sum = 0, square = 0;
    float least = 1e30f;
    for (int i = 0; i < 36; ++i) {
      const float value = a.as<float>()[c * 36 + i];
      sum += value / 36.0;
      square += static_cast<double>(value) * value / 36;
      least = std::min(least, value);
    }
    t.channels.min.push_back(least);
    t.channels.mean.push_back(sum);
    t.channels.mean_square.push_back(square);
  }
  const float raised = bias()[0];
  const AbsorptionReport report = absorb_high_biases(net.g, table);
  infer_shapes(net.g);
  EXPECT_EQ(report.layers, 1);
  EXPECT_GE(report.channels, 3);
  expect_near(before, testing::run(net.g, x));
  EXPECT_LT(bias()[0], raised);
}

}  // namespace
}  // namespace octet
