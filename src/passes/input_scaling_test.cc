#include <gtest/gtest.h>

#include "passes/canonicalize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

ValueId per_channel(Net& n, Shape shape, std::vector<float> values) {
  return n.g.add_constant("c", Tensor::of<float>(std::move(shape), std::span<const float>(values)));
}

ValueId channels_first(Net& n, ValueId x) {
  Attributes a;
  a.set("perm", Ints{0, 3, 1, 2});
  return n.op("Transpose", {x}, "first", std::move(a));
}

// The passes that were needed, and that the function stayed.
Graph folded(const Graph& from) {
  Graph g = from;
  EXPECT_TRUE(fold_input_scaling(g));
  EXPECT_FALSE(fold_input_scaling(g)) << "the form is final";
  g.prune();
  infer_shapes(g);
  expect_same_function(from, g);
  return g;
}

TEST(InputScaling, MeanAndDeviationBecomeOneAdd) {
  Net n({1, 3, 6, 6});
  const ValueId centred = n.op("Sub", {n.x, per_channel(n, {3, 1, 1}, {1, -2, 3})}, "centred");
  const ValueId scaled = n.op("Div", {centred, per_channel(n, {1, 3, 1, 1}, {0.5, 2, 4})}, "scaled");
  const Graph g = folded(n.finish(n.conv(scaled, 3, 4, "y")));
  EXPECT_EQ(ops_of(g), (Names{"Add", "Conv"}));
}

TEST(InputScaling, ChannelsLast) {
  Net n({1, 6, 6, 3});
  ValueId x = n.op("Mul", {n.scalar(0.25f), n.x}, "scaled");
  x = n.op("Add", {x, per_channel(n, {1, 1, 1, 3}, {1, -2, 3})}, "moved");
  x = n.op("Sub", {per_channel(n, {3}, {1, 2, 3}), x}, "mirrored");
  const Graph g = folded(n.finish(n.conv(channels_first(n, x), 3, 4, "y")));
  EXPECT_EQ(ops_of(g), (Names{"Transpose", "Add", "Conv"}));
}

TEST(InputScaling, ScalesAloneNeedNoAdd) {
  Net n({1, 4, 6, 6});
  const ValueId x = n.op("Mul", {n.x, per_channel(n, {4, 1, 1}, {1, 2, 3, 4})}, "scaled");
  const Graph g = folded(n.finish(n.conv(x, 4, 4, "y", 3, true, 2)));
  EXPECT_EQ(ops_of(g), (Names{"Conv"}));
}

TEST(InputScaling, StaysWhereItMust) {
  const auto stays = [](auto&& build) {
    Net n({1, 3, 6, 6});
    Graph& g = n.finish(build(n));
    return !fold_input_scaling(g);
  };
  EXPECT_TRUE(stays([](Net& n) { return n.conv(n.x, 3, 4, "y"); }));
  EXPECT_TRUE(stays([](Net& n) {
    return n.conv(n.op("Add", {n.x, per_channel(n, {1, 3, 1, 1}, {1, 2, 3})}, "a"), 3, 4, "y");
  })) << "the final form";
  EXPECT_TRUE(stays([](Net& n) {
    return n.conv(n.op("Mul", {n.x, per_channel(n, {3, 1, 1}, {1, 0, 3})}, "a"), 3, 4, "y");
  })) << "nothing multiplied by 0 gives the shift";
  EXPECT_TRUE(stays([](Net& n) { return n.conv(n.op("Div", {n.scalar(1), n.x}, "a"), 3, 4, "y"); }));
  EXPECT_TRUE(stays([](Net& n) {
    return n.conv(n.op("Mul", {n.x, n.floats({6})}, "a"), 3, 4, "y");
  })) << "along the width";
  EXPECT_TRUE(stays([](Net& n) {
    const ValueId a = n.op("Mul", {n.x, n.scalar(2)}, "a");
    return n.op("Add", {n.conv(a, 3, 3, "y"), a}, "z");
  })) << "another reader";
  EXPECT_TRUE(stays([](Net& n) {
    return n.conv(n.op("Mul", {n.op("Relu", {n.x}, "r"), n.scalar(2)}, "a"), 3, 4, "y");
  })) << "inside of the network";
}

}  // namespace
}  // namespace octet
