#include "correct/smoothing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "passes/test_net.h"

namespace octet {
namespace {

using testing::Names;
using testing::Net;
using testing::random_floats;

const QuantizeOptions& options() {
  static const QuantizeOptions kOptions = [] {
    QuantizeOptions made;
    made.target = &find_target("octet-symmetric");
    return made;
  }();
  return kOptions;
}

// A choice for every group, with any scales.
ChosenParams random_choices(const Graph& graph, const Placement& placement, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> power(-5, 0);
  ChosenParams chosen;
  const auto groups = channel_groups(graph, placement, options());
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g] || placement.groups[g].empty()) continue;
    ChannelChoice choice;
    choice.value = graph.value(placement.groups[g].front()).name;
    choice.gain_db = 7;
    choice.group = static_cast<int32_t>(g);
    for (int64_t s = 0; s < groups[g]->slots; ++s) choice.scale.push_back(std::exp2(power(random)));
    chosen.choices.push_back(std::move(choice));
  }
  return chosen;
}

std::vector<SmoothedTensor> smooth(Graph& graph, uint32_t seed) {
  const Placement placement = place(graph, options());
  std::vector<SmoothedTensor> done =
      smooth_channels(graph, placement, options(), random_choices(graph, placement, seed));
  infer_shapes(graph);
  return done;
}

void expect_near(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  double most = 0;
  for (const float v : a.as<float>()) most = std::max(most, std::abs(static_cast<double>(v)));
  for (int64_t i = 0; i < a.count(); ++i) ASSERT_NEAR(a.as<float>()[i], b.as<float>()[i], 1e-4 * most) << i;
}

const SmoothedTensor* find(const std::vector<SmoothedTensor>& all, const std::string& value) {
  for (const SmoothedTensor& t : all)
    if (t.value == value) return &t;
  return nullptr;
}

bool same_weights(const Graph& a, const Graph& b, const std::string& node) {
  const auto of = [&](const Graph& g) { return g.value(g.node(*g.find_node(node)).inputs[1]).constant; };
  const auto x = of(a)->as<float>(), y = of(b)->as<float>();
  return std::equal(x.begin(), x.end(), y.begin(), y.end());
}

TEST(Smoothing, KeepsWhatTheNetworkComputes) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Net n({1, 3, 12, 12});
  ValueId v = n.op("Sigmoid", {n.conv(n.x, 3, 8, "a")}, "a_sigmoid");
  v = n.op("Relu", {n.conv(v, 8, 8, "b", 3, true, 8)}, "b_relu");
  v = n.pool("MaxPool", v, "b_pool");
  const ValueId left = n.conv(v, 8, 4, "c", 3), right = n.conv(v, 8, 4, "d", 1, false);
  n.finish(n.concat({left, right}, "y"));
  const Graph original = n.g;
  const Tensor x = random_floats({1, 3, 12, 12}, -2, 2, seed);
  const Tensor before = testing::run(n.g, x);
  const auto done = smooth(n.g, seed);
  ASSERT_EQ(done.size(), 2u);  // not the input
  ASSERT_NE(find(done, "a_sigmoid"), nullptr);
  EXPECT_EQ(find(done, "a_sigmoid")->multiplied, 1);
  EXPECT_EQ(find(done, "a_sigmoid")->folded, 0);
  ASSERT_NE(find(done, "b_relu"), nullptr);
  EXPECT_EQ(find(done, "b_relu")->folded, 1);
  EXPECT_EQ(find(done, "b_relu")->multiplied, 0);
  const Names ops = testing::ops_of(n.g);
  EXPECT_EQ(std::count(ops.begin(), ops.end(), "Mul"), 1);
  EXPECT_TRUE(same_weights(original, n.g, "a_node"));
  for (const char* changed : {"b_node", "c_node", "d_node"})
    EXPECT_FALSE(same_weights(original, n.g, changed)) << changed;
  expect_near(before, testing::run(n.g, x));
}

TEST(Smoothing, WhatOthersReadStays) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Net n({1, 4, 8, 8});
  const ValueId a = n.op("Relu", {n.conv(n.x, 4, 4, "a")}, "a_relu");
  const ValueId b = n.conv(a, 4, 4, "b", 1);
  const ValueId sum = n.op("Add", {b, a}, "sum");
  n.finish(n.conv(sum, 4, 4, "y", 3));
  const Tensor x = random_floats({1, 4, 8, 8}, -2, 2, seed);
  const Tensor before = testing::run(n.g, x);
  const auto done = smooth(n.g, seed);
  ASSERT_NE(find(done, "a_relu"), nullptr);
  EXPECT_EQ(find(done, "a_relu")->multiplied, 1) << "the sum reads it too";
  ASSERT_NE(find(done, "sum"), nullptr);
  EXPECT_EQ(find(done, "sum")->multiplied, 1) << "a layer cannot divide what is added to it";
  const auto add = n.g.find_node("sum_node");
  EXPECT_EQ(n.g.value(n.g.node(*add).inputs[1]).name, "a_relu");
  expect_near(before, testing::run(n.g, x));
}

TEST(Smoothing, ConcatenationsCarryTheFactorsOfTheirInputs) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  for (const bool read_elsewhere : {false, true}) {
    Net n({1, 4, 8, 8});
    const ValueId a = n.op("Relu", {n.conv(n.x, 4, 4, "a")}, "a_relu");
    const ValueId b = n.op("Sigmoid", {n.conv(n.x, 4, 4, "b", 1)}, "b_sigmoid");
    ValueId v = n.conv(n.concat({a, b}, "ab"), 8, 4, "c", 3);
    if (read_elsewhere) v = n.op("Add", {v, a}, "sum");
    n.finish(n.conv(n.op("Relu", {v}, "r"), 4, 4, "y", 1));
    const Tensor x = random_floats({1, 4, 8, 8}, -2, 2, seed);
    const Tensor before = testing::run(n.g, x);
    const auto done = smooth(n.g, seed);
    const SmoothedTensor* joined = find(done, "a_relu");
    if (joined == nullptr) joined = find(done, "b_sigmoid");
    EXPECT_EQ(joined == nullptr, read_elsewhere);
    if (joined != nullptr) {
      EXPECT_EQ(joined->folded, 1);
      EXPECT_EQ(joined->multiplied, 1);
    }
    expect_near(before, testing::run(n.g, x));
  }
}

TEST(Smoothing, TakenChoicesAreLeftAlone) {
  Net n({1, 4, 8, 8});
  const ValueId a = n.op("Relu", {n.conv(n.x, 4, 4, "a")}, "a_relu");
  n.finish(n.conv(a, 4, 4, "y", 3));
  const Placement placement = place(n.g, options());
  ChosenParams chosen = random_choices(n.g, placement, 1);
  for (ChannelChoice& choice : chosen.choices) choice.taken = true;
  EXPECT_TRUE(smooth_channels(n.g, placement, options(), chosen).empty());
}

}  // namespace
}  // namespace octet
