#include "passes/channel_groups.h"

#include <gtest/gtest.h>

#include <cmath>

#include "passes/canonicalize.h"
#include "passes/channels.h"
#include "passes/layer_weights.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

struct Grouped {
  Placement placement;
  std::vector<std::optional<ChannelGroup>> groups;

  Grouped(const Graph& graph, const QuantizeOptions& options = {})
      : placement(place(graph, options)), groups(channel_groups(graph, placement, options)) {}

  const std::optional<ChannelGroup>& of(const Graph& graph, const std::string& value) const {
    return groups.at(static_cast<size_t>(placement.group_of.at(*graph.find_value(value))));
  }
};

TEST(ChannelGroups, AConcatenationCarriesTheChannelsOfItsInputs) {
  Net n;
  const ValueId a = n.conv(n.x, 4, 3, "a"), b = n.conv(n.x, 4, 2, "b");
  const ValueId p = n.pool("MaxPool", n.concat({a, b, a}, "cat"), "pool");
  const Graph& g = n.finish(n.conv(p, 8, 4, "y"));
  const Grouped found(g);
  const auto& group = found.of(g, "a");
  ASSERT_TRUE(group);
  EXPECT_EQ(group->slots, 5);
  const auto slots = [&](const char* name) { return group->of.at(*g.find_value(name)); };
  std::vector<int64_t> expected = slots("a");
  for (const char* name : {"b", "a"})
    for (int64_t s : slots(name)) expected.push_back(s);
  EXPECT_EQ(slots("cat"), expected);
  EXPECT_EQ(slots("pool"), expected);
}

TEST(ChannelGroups, ASliceOfChannelsKeepsTheirScales) {
  Net n;
  const auto list = [&](int64_t v) { return n.g.add_constant("i", Tensor::of<int64_t>({1}, {v})); };
  const ValueId a = n.conv(n.x, 4, 6, "a");
  const ValueId s = n.op("Slice", {a, list(1), list(6), list(1), list(2)}, "s");
  const Graph& g = n.finish(n.conv(s, 3, 4, "y"));
  const Grouped found(g);
  const auto& group = found.of(g, "a");
  ASSERT_TRUE(group);
  const auto& whole = group->of.at(*g.find_value("a"));
  EXPECT_EQ(group->of.at(*g.find_value("s")), (std::vector<int64_t>{whole[1], whole[3], whole[5]}));
  const QuantParams q{DType::kUInt8, 1, {1, 2, 3, 4, 5, 6}, {0, 1, 2, 3, 4, 5}};
  const auto moved = moved_params(g, *g.producer(*g.find_value("s")), 0, q);
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->scale, (std::vector<float>{2, 4, 6}));
  EXPECT_EQ(moved->zero_point, (std::vector<int32_t>{1, 3, 5}));
}

TEST(ChannelGroups, WhoMixesOrCannotAbsorbChannelsKeepsOneScale) {
  Net n;
  Attributes perm;
  perm.set("perm", Ints{0, 2, 1, 3});
  const ValueId a = n.conv(n.x, 4, 6, "a"), b = n.conv(n.x, 4, 4, "b"), d = n.conv(n.x, 4, 4, "d");
  const ValueId t = n.op("Transpose", {a}, "t", perm);
  const ValueId u = n.conv(t, 6, 4, "u"), v = n.conv(b, 4, 4, "v", 3, true, 2),
                w = n.conv(d, 4, 4, "w", 3, true, 4);
  const ValueId sum = n.op("Add", {u, v}, "sum");
  const Graph& g = n.finish(n.op("Add", {sum, w}, "y"));
  const Grouped found(g);
  EXPECT_FALSE(found.of(g, "a")) << "a transpose of channels";
  EXPECT_FALSE(found.of(g, "b")) << "groups of two channels";
  EXPECT_TRUE(found.of(g, "d")) << "a depthwise convolution";
  EXPECT_TRUE(found.of(g, "x"));
}

// Of which ONNX Runtime makes QLinearAveragePool and QLinearAdd.
TEST(ChannelGroups, WhatHasOneScaleInOnnxRuntimeKeepsIt) {
  for (const char* op : {"MaxPool", "AveragePool"}) {
    Net n;
    const ValueId a = n.conv(n.x, 4, 3, "a");
    const Graph& g = n.finish(n.conv(n.pool(op, a, "pool"), 3, 4, "y"));
    const Grouped found(g);
    for (const char* name : {"a", "pool"})
      EXPECT_EQ(found.of(g, name).has_value(), op == std::string("MaxPool")) << op << " " << name;
  }
  Net n;
  const ValueId a = n.pool("MaxPool", n.conv(n.x, 4, 3, "a"), "p"),
                b = n.pool("MaxPool", n.conv(n.x, 4, 3, "b"), "q");
  const Graph& g = n.finish(n.conv(n.op("Add", {a, b}, "sum"), 3, 4, "y"));
  const Grouped found(g);
  for (const char* name : {"p", "q", "sum"}) EXPECT_FALSE(found.of(g, name).has_value()) << name;
}

TEST(InsertQdq, ScalesPerChannelMeanTheSameInOnnx) {
  Net n;
  const ValueId r = n.op("Relu", {n.conv(n.x, 4, 4, "c1")}, "r");
  Graph g = n.finish(n.conv(n.conv(r, 4, 4, "dw", 3, true, 4), 4, 3, "y"));
  const Tensor input = random_floats({1, 4, 6, 6}, -1, 1, 7);
  const Tensor before = run(g, input);
  const Placement placement = place(g, {});
  ActivationParams params = tensor_params(g, placement, {}, [](const std::string&) { return Range{-4, 4}; });
  const ValueId dw = *g.find_value("dw");
  params[r] = {DType::kUInt8, 1, {0.05f, 0.08f, 0.06f, 0.07f}, {0, 3, 0, 9}};
  params[dw] = {DType::kUInt8, 1, {0.3f, 0.5f, 0.4f, 0.35f}, {128, 100, 140, 128}};
  insert_qdq(g, placement, {}, params);
  infer_shapes(g);
  int divided = 0;
  for (NodeId id : g.sorted()) {
    const Node& node = g.node(id);
    if (node.is("QuantizeLinear") && g.value(node.inputs[1]).constant->count() > 1) {
      EXPECT_EQ(node.attributes.get_int("axis", -7), 1);
    }
    if (!node.is("Conv")) continue;
    const auto weights = dequantized_weights(g, node.inputs[1]);
    ASSERT_TRUE(weights) << node.name;
    divided += weights->divisor != kNoId;
  }
  EXPECT_EQ(divided, 2);
  const Tensor after = run(g, input);
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < before.count(); ++i) {
    const double x = before.as<float>()[i], e = after.as<float>()[i] - x;
    signal += x * x;
    noise += e * e;
  }
  EXPECT_LT(noise, 0.01 * signal);
  // Folding must leave the integers alone.
  canonicalize(g);
  int kept = 0;
  for (NodeId id : g.sorted()) kept += g.node(id).is("Div");
  EXPECT_EQ(kept, 2);
}

TEST(InsertQdq, TakesWeightsThatWereRoundedElsewhere) {
  Net n;
  Graph g = n.finish(n.conv(n.x, 4, 3, "y"));
  const Placement placement = place(g, {});
  ActivationParams params = tensor_params(g, placement, {}, [](const std::string&) { return Range{-1, 1}; });
  params[n.x] = {DType::kUInt8, 1, {0.5f, 1, 2, 4}, {128, 128, 128, 128}};
  const NodeId conv = placement.weighted.at(0);
  const WeightTransform t = weight_transform(g, conv, {}, params);
  EXPECT_EQ(t.input_scale, params[n.x].scale);
  const Tensor w = *g.value(g.node(conv).inputs[1]).constant;
  const Tensor absorbed = transformed_weights(g, conv, t);
  for (int64_t i = 0; i < w.count(); ++i)
    EXPECT_EQ(absorbed.as<float>()[i], w.as<float>()[i] * t.input_scale[i / 9 % 4]);
  QuantizedWeights q = quantize_weights(absorbed, t.axis);
  const Tensor left = effective_weights(q, t);
  for (int64_t i = 0; i < w.count(); ++i)
    EXPECT_NEAR(left.as<float>()[i], w.as<float>()[i],
                0.51 * q.params.scale[i / 36] / t.input_scale[i / 9 % 4]);
  q.values.as<int8_t>()[5] = 77;
  insert_qdq(g, placement, {}, params, {{conv, q}});
  const auto stored = dequantized_weights(g, g.node(conv).inputs[1]);
  ASSERT_TRUE(stored);
  EXPECT_EQ(g.value(stored->dequantize->inputs[0]).constant->as<int8_t>()[5], 77);
}

}  // namespace
}  // namespace octet
