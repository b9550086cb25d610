#include "passes/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "passes/groups.h"
#include "passes/logarithms.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

// --- groups

TEST(Groups, AConvolutionTakesItsActivationResidualAndClip) {
  Net n;
  const ValueId a = n.op("Relu", {n.conv(n.x, 4, 4, "c1")}, "r1");
  const ValueId b = n.op("Sigmoid", {n.conv(a, 4, 4, "c2")}, "s");
  const ValueId y = n.op("Relu", {n.op("Add", {a, b}, "sum")}, "r2");
  const Graph& g = n.finish(n.op("Tanh", {y}, "t"));
  const NodeGroups groups(g);
  ASSERT_EQ(groups.groups().size(), 2u);
  const NodeGroup &first = groups.groups()[0], &second = groups.groups()[1];
  EXPECT_EQ(first.nodes.size(), 2u);
  EXPECT_EQ(first.output, a);
  EXPECT_EQ(second.nodes.size(), 4u);
  EXPECT_EQ(second.activation->function, kernels::Function::kSigmoid);
  EXPECT_EQ(second.residual, a);
  EXPECT_EQ(second.final_clip->function, kernels::Function::kRelu);
  EXPECT_EQ(second.output, y);
  EXPECT_EQ(groups.find(*g.find_node("t_node")), nullptr);
  EXPECT_EQ(groups.find(*g.find_node("sum_node")), &second);
}

TEST(Groups, AValueThatOthersReadEndsAGroup) {
  Net n;
  const ValueId c = n.conv(n.x, 4, 4, "c");
  const ValueId r = n.op("Relu", {c}, "r");
  const NodeGroups groups(n.finish(n.op("Mul", {r, c}, "m")));
  EXPECT_EQ(groups.find(*n.g.find_node("c_node"))->nodes.size(), 1u);

  Net twice;
  const ValueId d = twice.conv(twice.x, 4, 4, "c");
  const NodeGroups own(twice.finish(twice.op("Add", {d, d}, "sum")));
  EXPECT_EQ(own.find(*twice.g.find_node("c_node"))->nodes.size(), 1u) << "added to itself: no residual";

  Net marked;
  const ValueId e = marked.conv(marked.x, 4, 4, "c");
  marked.g.mark_output(e);
  const NodeGroups seen(marked.finish(marked.op("Relu", {e}, "r")));
  EXPECT_EQ(seen.find(*marked.g.find_node("c_node"))->nodes.size(), 1u) << "an output of the graph";
}

// --- placement

std::vector<std::string> placed(const Graph& g, const Placement& p) {
  std::vector<std::string> names;
  for (const auto& [v, group] : p.group_of) names.push_back(g.value(v).name);
  std::sort(names.begin(), names.end());
  return names;
}

int32_t group(const Graph& g, const Placement& p, const std::string& name) {
  return p.group_of.at(*g.find_value(name));
}

TEST(Place, ConcatPoolAndResizeShareOneScale) {
  Net n;
  const ValueId a = n.conv(n.x, 4, 4, "a"), b = n.conv(n.x, 4, 4, "b");
  const ValueId c = n.concat({a, b}, "cat"), p = n.pool("MaxPool", c, "pool");
  Attributes resize;
  resize.set("mode", std::string("nearest"));
  const ValueId r = n.op(
      "Resize", {p, kNoId, n.g.add_constant("scales", Tensor::of<float>({4}, {1, 1, 2, 2}))}, "up", resize);
  const Graph& g = n.finish(n.conv(r, 8, 4, "y"));
  const Placement placement = place(g, {});
  EXPECT_EQ(placed(g, placement), (Names{"a", "b", "cat", "pool", "up", "x"}));
  for (const char* name : {"b", "cat", "pool", "up"})
    EXPECT_EQ(group(g, placement, name), group(g, placement, "a")) << name;
  EXPECT_NE(group(g, placement, "x"), group(g, placement, "a"));
  // The range comes from those that define values, not from copies.
  const auto& members = placement.groups[static_cast<size_t>(group(g, placement, "a"))];
  EXPECT_EQ(members, (std::vector<ValueId>{a, b}));
  EXPECT_EQ(placement.weighted.size(), 3u);
}

TEST(Place, APadMovesValues) {
  for (const std::string mode : {"reflect", "edge", "wrap", "zeros", "ones"}) {
    Net n;
    Attributes a;
    a.set("mode", mode == "zeros" || mode == "ones" ? "constant" : mode);
    const ValueId pads = n.g.add_constant("pads", Tensor::of<int64_t>({8}, {0, 0, 1, 4, 0, 0, 4, 1}));
    const ValueId fill = n.g.add_constant("fill", Tensor::scalar(mode == "ones" ? 1.0f : 0.0f));
    const ValueId p = n.op("Pad", {n.conv(n.x, 4, 4, "a"), pads, fill}, "pad", a);
    const Graph& g = n.finish(n.conv(p, 4, 4, "y"));
    for (const char* target : {"octet", "onnxruntime", "openvino", "tensorrt"}) {
      QuantizeOptions options;
      options.target = &find_target(target);
      const Placement placement = place(g, options);
      const bool moves = mode != "ones" && options.target->quantized_pads;
      EXPECT_EQ(moves, options.target->name == "octet" && mode != "ones");
      const auto names = placed(g, placement);
      EXPECT_EQ(std::ranges::count(names, "a"), moves || options.target->quantized_sums) << mode << target;
      if (moves) {
        EXPECT_EQ(group(g, placement, "pad"), group(g, placement, "a"));
      }
    }
  }
}

TEST(Place, AveragePoolHasItsOwnScale) {
  Net n;
  const ValueId p = n.pool("AveragePool", n.conv(n.x, 4, 4, "a"), "pool");
  const Graph& g = n.finish(n.conv(p, 4, 4, "y"));
  const Placement placement = place(g, {});
  EXPECT_EQ(placed(g, placement), (Names{"a", "pool", "x"}));
  EXPECT_NE(group(g, placement, "a"), group(g, placement, "pool"));
}

TEST(Place, AResidualIsQuantizedBeforeTheAddAndNotBetween) {
  Net n;
  const ValueId a = n.op("Relu", {n.conv(n.x, 4, 4, "c1")}, "r1");
  const ValueId sum = n.op("Add", {n.conv(a, 4, 4, "c2"), a}, "sum");
  const Graph& g = n.finish(n.conv(sum, 4, 4, "y"));
  const Placement placement = place(g, {});
  EXPECT_EQ(placed(g, placement), (Names{"r1", "sum", "x"}))
      << "not c1 or c2: one kernel computes them with what follows";
}

TEST(Place, TheActivationGoesWithItsConvolution) {
  Net n;
  const ValueId c = n.conv(n.x, 4, 4, "c");
  const ValueId s = n.op("Silu", {c}, "s", {}, std::string(kOctetDomain));
  const Graph& g = n.finish(n.conv(s, 4, 4, "y"));
  EXPECT_EQ(placed(g, place(g, {})), (Names{"s", "x"}));
}

TEST(Place, WhatALogarithmReadsStaysInFloat) {
  Net n;
  const ValueId features = n.op("Relu", {n.conv(n.x, 4, 4, "first")}, "relu");
  const ValueId spectrum = n.conv(features, 4, 4, "spectrum");
  const ValueId bands = n.conv(n.op("Mul", {spectrum, spectrum}, "squares"), 4, 4, "bands");
  const Graph& g = n.finish(n.conv(n.op("Log", {bands}, "log"), 4, 4, "last"));
  EXPECT_EQ(layers_before_logarithms(g),
            (std::set<NodeId>{*g.find_node("spectrum_node"), *g.find_node("bands_node")}));
  const Placement p = place(g, {});
  EXPECT_EQ(p.weighted, (std::vector<NodeId>{*g.find_node("first_node"), *g.find_node("last_node")}));
  QuantizeOptions asked;
  asked.include = {"spectrum_node"};
  EXPECT_EQ(place(g, asked).weighted, (std::vector<NodeId>{*g.find_node("spectrum_node")}));

  Net plain;  // no power between them: the layer before has results of one size
  const ValueId before = plain.conv(plain.x, 4, 4, "before");
  const Graph& h = plain.finish(plain.op("Log", {plain.conv(before, 4, 4, "at")}, "log"));
  EXPECT_EQ(layers_before_logarithms(h), (std::set<NodeId>{*h.find_node("at_node")}));
}

TEST(Place, IncludeAndExclude) {
  Net n;
  const ValueId a = n.conv(n.x, 4, 4, "a");
  const ValueId b = n.conv(a, 4, 4, "b");
  const Graph& g = n.finish(n.conv(b, 4, 4, "y"));
  const NodeId a_node = *g.find_node("a_node"), b_node = *g.find_node("b_node"),
               y_node = *g.find_node("y_node");
  QuantizeOptions options;
  options.exclude = {"b_node"};
  Placement p = place(g, options);
  EXPECT_EQ(p.weighted, (std::vector<NodeId>{a_node, y_node}));
  EXPECT_EQ(p.left_out.at(b_node), "excluded");
  EXPECT_EQ(placed(g, p), (Names{"b", "x"})) << "a is read by a float node alone";
  options = {};
  options.include = {"a_node"};
  EXPECT_EQ(place(g, options).weighted, (std::vector<NodeId>{a_node}));
  options = {};
  options.exclude = {"Conv"};
  EXPECT_TRUE(place(g, options).weighted.empty());
  options = {};
  options.include = {"Conv"};
  EXPECT_EQ(place(g, options).weighted.size(), 3u);
  options.exclude = {"no such node"};
  EXPECT_THROW(place(g, options), Error);
}

TEST(Place, OutputsOnRequest) {
  Net n;
  const Graph& g = n.finish(n.conv(n.x, 4, 4, "y"));
  EXPECT_EQ(placed(g, place(g, {})), (Names{"x"}));
  QuantizeOptions options;
  options.quantize_outputs = true;
  EXPECT_EQ(placed(g, place(g, options)), (Names{"x", "y"}));
}

// --- inserted Q/DQ, by target

const Tensor& constant_of(const Graph& g, ValueId v) {
  return *g.value(v).constant;
}

// Quantizes a network of two convolutions with the range [-1, 3] everywhere.
Graph quantized(const char* target, bool per_tensor = false) {
  Net n({1, 16, 6, 6});
  const ValueId a = n.op("Relu", {n.conv(n.x, 16, 24, "c1")}, "r1");
  Graph g = n.finish(n.conv(a, 24, 16, "y"));
  QuantizeOptions options;
  options.target = &find_target(target);
  options.weights_per_tensor = per_tensor;
  const Placement placement = place(g, options);
  insert_qdq(g, placement, options, [](const std::string&) { return std::optional(Range{-1, 3}); });
  infer_shapes(g);
  verify(g);
  return g;
}

TEST(InsertQdq, FollowsTheTarget) {
  for (const char* target : {"octet", "tensorrt", "onnxruntime", "openvino"}) {
    SCOPED_TRACE(target);
    const TargetRules& rules = find_target(target);
    const Graph g = quantized(target);
    int activations = 0, weights = 0, biases = 0;
    for (NodeId id : g.sorted()) {
      const Node& node = g.node(id);
      if (node.is("QuantizeLinear")) {
        ++activations;
        const Tensor& zero = constant_of(g, node.inputs[2]);
        EXPECT_EQ(zero.dtype(), rules.activation);
        EXPECT_EQ(zero.count(), 1);
        const float scale = constant_of(g, node.inputs[1]).as<float>()[0];
        if (rules.symmetric) {
          EXPECT_EQ(to_int64(zero)[0], 0);
          EXPECT_FLOAT_EQ(scale, 3.0f / 127);
        } else {
          EXPECT_EQ(to_int64(zero)[0], 64);
          EXPECT_FLOAT_EQ(scale, 4.0f / 255);
        }
      }
      if (!node.is("Conv")) continue;
      const Node* weight = g.producer(node.inputs[1]);
      ASSERT_NE(weight, nullptr);
      EXPECT_TRUE(weight->is("DequantizeLinear"));
      EXPECT_EQ(constant_of(g, weight->inputs[0]).dtype(), DType::kInt8);
      EXPECT_EQ(constant_of(g, weight->inputs[1]).shape(),
                (Shape{constant_of(g, weight->inputs[0]).shape()[0]}));
      EXPECT_EQ(weight->attributes.get_int("axis", -7), 0);
      for (int64_t z : to_int64(constant_of(g, weight->inputs[2]))) EXPECT_EQ(z, 0);
      for (int64_t w : to_int64(constant_of(g, weight->inputs[0]))) EXPECT_GE(w, -127);
      ++weights;
      const Node* bias = g.producer(node.inputs[2]);
      if (!rules.integer_bias) {
        EXPECT_EQ(bias, nullptr);
        EXPECT_EQ(constant_of(g, node.inputs[2]).dtype(), DType::kFloat32);
        continue;
      }
      ASSERT_NE(bias, nullptr);
      ++biases;
      EXPECT_EQ(constant_of(g, bias->inputs[0]).dtype(), DType::kInt32);
      const auto bias_scale = to_float(constant_of(g, bias->inputs[1]));
      const auto weight_scale = to_float(constant_of(g, weight->inputs[1]));
      const float x_scale = constant_of(g, g.producer(node.inputs[0])->inputs[1]).as<float>()[0];
      for (size_t c = 0; c < bias_scale.size(); ++c) EXPECT_EQ(bias_scale[c], x_scale * weight_scale[c]);
    }
    EXPECT_EQ(activations, rules.quantized_sums ? 3 : 2);  // the output
    EXPECT_EQ(weights, 2);
    EXPECT_EQ(biases, rules.integer_bias ? 2 : 0);
  }
}

TEST(InsertQdq, TargetsAreAsDocumented) {
  EXPECT_TRUE(find_target("tensorrt").symmetric);
  EXPECT_EQ(find_target("tensorrt").activation, DType::kInt8);
  EXPECT_FALSE(find_target("tensorrt").integer_bias);
  EXPECT_TRUE(find_target("onnxruntime").integer_bias);
  EXPECT_FALSE(find_target("openvino").symmetric);
  EXPECT_FALSE(find_target("openvino").integer_bias);
  EXPECT_FALSE(find_target("openvino").channel_scales);
  EXPECT_EQ(find_target("octet").activation, DType::kUInt8);
  EXPECT_THROW(find_target("nothing"), Error);
}

TEST(InsertQdq, OneScaleForAllWeightsOnRequest) {
  const Graph g = quantized("octet", true);
  for (NodeId id : g.sorted()) {
    if (!g.node(id).is("Conv")) continue;
    const Node* weight = g.producer(g.node(id).inputs[1]);
    EXPECT_EQ(constant_of(g, weight->inputs[1]).count(), 1);
  }
}

TEST(InsertQdq, NamesValuesWithoutRange) {
  Net n;
  Graph g = n.finish(n.conv(n.op("Relu", {n.conv(n.x, 4, 4, "c1")}, "r1"), 4, 4, "y"));
  const Placement placement = place(g, {});
  try {
    insert_qdq(g, placement, {}, [](const std::string& v) {
      return v == "x" ? std::optional(Range{0, 1}) : std::nullopt;
    });
    FAIL() << "a missing range was accepted";
  } catch (const Error& e) {
    EXPECT_NE(e.message().find("'r1'"), std::string::npos) << e.message();
    EXPECT_EQ(e.message().find("'x'"), std::string::npos) << e.message();
  }
}

TEST(InsertQdq, AGroupHasTheUnionOfItsRanges) {
  Net n;
  const ValueId c = n.concat({n.conv(n.x, 4, 4, "a"), n.conv(n.x, 4, 4, "b")}, "cat");
  Graph g = n.finish(n.conv(c, 8, 4, "y"));
  const Placement placement = place(g, {});
  insert_qdq(g, placement, {}, [](const std::string& v) -> std::optional<Range> {
    if (v == "a") return Range{-2, 1};
    if (v == "b") return Range{0, 3};
    if (v == "cat") return {};  // a copy is not asked
    return Range{-1, 1};
  });
  int same = 0;
  for (NodeId id : g.sorted()) {
    const Node& node = g.node(id);
    if (node.is("QuantizeLinear") && constant_of(g, node.inputs[1]).as<float>()[0] == 5.0f / 255) ++same;
  }
  EXPECT_EQ(same, 3);
}

TEST(QuantizeWeights, CoversExtremesAndZeros) {
  const Tensor w = Tensor::of<float>({3, 2}, {1, -2, 0, 0, 1e-40f, 0});
  const QuantizedWeights q = quantize_weights(w, 0);
  EXPECT_FLOAT_EQ(q.params.scale[0], 2.0f / 127);
  EXPECT_EQ(q.params.scale[1], 1.0f);
  EXPECT_GT(q.params.scale[2], 0.0f);
  EXPECT_EQ(q.values.as<int8_t>()[1], -127);
  EXPECT_EQ(q.values.as<int8_t>()[2], 0);
  EXPECT_THROW(quantize_weights(Tensor::of<float>({1}, {NAN}), -1), Error);
}

}  // namespace
}  // namespace octet
