#include "correct/four_bits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "build/build.h"
#include "correct/rounding.h"
#include "correct/test_noise.h"
#include "passes/quantize.h"

namespace octet {
namespace {

using testing::Net;
using testing::random_floats;

Net chain() {
  Net net({1, 3, 8, 8});
  ValueId v = net.op("Relu", {net.conv(net.x, 3, 8, "first")}, "r1");
  v = net.op("Relu", {net.conv(v, 8, 8, "depthwise", 3, true, 8)}, "r2");
  v = net.op("Relu", {net.conv(v, 8, 6, "middle", 1)}, "r3");
  v = net.op("Relu", {net.conv(v, 6, 6, "inner", 3, false)}, "r4");
  const ValueId left = net.conv(v, 6, 4, "left"), right = net.conv(v, 6, 4, "right", 1);
  net.finish(net.op("Add", {left, right}, "y"));
  return net;
}

TEST(FourBits, LeavesFirstLastAndDepthwiseLayers) {
  const Net net = chain();
  EXPECT_EQ(four_bit_layers(net.g), (std::set<std::string>{"middle_node", "inner_node"}));
}

// The definition, step by step.
double slow_step(const std::vector<float>& weights, double divisor, int limit) {
  double largest = 0, best = 0, least = 1e300;
  for (float w : weights) largest = std::max(largest, std::abs(w * divisor));
  for (int percent = 40; percent <= 100; ++percent) {
    const double step = largest * percent / 100 / limit;
    double error = 0;
    for (float w : weights) {
      double nearest = 1e300;
      for (int q = -limit; q <= limit; ++q) nearest = std::min(nearest, std::abs(w * divisor - q * step));
      error += nearest * nearest;
    }
    if (error < least) {
      least = error;
      best = step;
    }
  }
  return best;
}

TEST(FourBits, StepsLoseLeast) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  constexpr int64_t kChannels = 5, kInputs = 40;
  std::vector<float> weights(kChannels * kInputs);
  for (float& w : weights) w = normal(random) * std::abs(normal(random));
  for (const double divisor : {1.0, 2.5}) {
    WeightGrid grid{std::vector<float>(kChannels, 1), {}, 7};
    if (divisor != 1) grid.divisor.assign(kInputs, static_cast<float>(divisor));
    choose_steps(weights, kChannels, kInputs, grid);
    for (int64_t o = 0; o < kChannels; ++o) {
      const double expected =
          slow_step({weights.begin() + o * kInputs, weights.begin() + (o + 1) * kInputs}, divisor, 7);
      EXPECT_NEAR(grid.step[o], expected, 1e-5 * expected);
    }
  }
}

TEST(FourBits, TheEngineComputesWhatTheGraphSays) {
  Net net = chain();
  const QuantizeOptions options;
  const Placement placement = place(net.g, options);
  Graph q = net.g;
  insert_qdq(q, placement, options, [](const std::string&) { return Range{-2, 6}; });
  ASSERT_EQ(use_four_bits(q, net.g), 2);
  infer_shapes(q);
  for (const char* name : {"middle_node", "inner_node"}) {
    const Node* dq = q.producer(q.node(*q.find_node(name)).inputs[1]);
    ASSERT_TRUE(dq != nullptr && dq->is("DequantizeLinear"));
    EXPECT_EQ(q.value(dq->inputs[0]).constant->dtype(), DType::kInt4);
    EXPECT_EQ(q.value(dq->inputs[2]).constant->dtype(), DType::kInt4);
  }
  const engine::Engine engine(build_engine(q));
  for (const engine::StepDef& step : engine.model().steps) EXPECT_NE(step.kind, "conv_f32");
  const Tensor x = random_floats({1, 3, 8, 8}, -2, 2, 5);
  EXPECT_LT(testing::engine_noise(engine, q, x), 1e-3);
}

}  // namespace
}  // namespace octet
