// The rules of docs/targets.md that choose what is placed; quantize_test.cc has types, scales and biases.
#include "passes/target.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "passes/canonicalize.h"
#include "passes/quantize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

// Why the node y_node stays in float; empty: it does not.
std::string reason(const Graph& g, const char* target = "tensorrt") {
  QuantizeOptions options;
  options.target = &find_target(target);
  const Placement placement = place(g, options);
  const auto found = placement.left_out.find(*g.find_node("y_node"));
  return found == placement.left_out.end() ? "" : found->second;
}

// A convolution behind another one, or of the network's input.
std::string convolution(int64_t in, int64_t out, int64_t group = 1, Ints kernel = {3, 3}, bool first = false,
                        const char* target = "tensorrt") {
  Net n({1, in, 8, 8});
  Attributes a;
  a.set("kernel_shape", kernel);
  a.set("group", group);
  const ValueId x = first ? n.x : n.op("Relu", {n.x}, "relu");
  return reason(n.finish(n.op("Conv", {x, n.floats({out, in / group, kernel[0], kernel[1]})}, "y", a)),
                target);
}

TEST(TensorRtTarget, LeavesConvolutionsOfFewChannels) {
  EXPECT_EQ(convolution(16, 16), "");
  EXPECT_EQ(convolution(64, 12), "") << "one side is a multiple of 8, and one has 16";
  EXPECT_EQ(convolution(12, 64), "");
  EXPECT_NE(convolution(8, 8).find("8 to 8 channels"), std::string::npos);
  EXPECT_NE(convolution(8, 12), "");
  EXPECT_NE(convolution(17, 15), "") << "no multiple of 8";
  EXPECT_NE(convolution(64, 12, 1, {1, 3}), "") << "not square";
  EXPECT_EQ(convolution(64, 64, 1, {1, 3}), "");
  for (const char* other : {"octet", "onnxruntime", "openvino"})
    EXPECT_EQ(convolution(8, 8, 1, {3, 3}, false, other), "") << other;
}

TEST(TensorRtTarget, TakesTheFirstConvolutionOfAnImage) {
  EXPECT_EQ(convolution(3, 32, 1, {3, 3}, true), "");
  EXPECT_EQ(convolution(3, 8, 1, {3, 3}, true), "");
  EXPECT_NE(convolution(3, 8), "") << "not the first";
  EXPECT_NE(convolution(3, 9, 1, {3, 3}, true), "");
}

TEST(TensorRtTarget, TakesDepthwiseConvolutionsOfThreeTapsAndMultiplesOf8) {
  EXPECT_EQ(convolution(24, 24, 24), "");
  EXPECT_EQ(convolution(24, 24, 24, {5, 5}), "");
  EXPECT_NE(convolution(24, 24, 24, {1, 1}), "");
  EXPECT_NE(convolution(20, 20, 20).find("groups of 1 channel"), std::string::npos);
}

std::string product(Dims rows, int64_t k, int64_t n, bool transposed = false,
                    const char* target = "tensorrt") {
  Dims shape = rows;
  shape.emplace_back(k);
  Net net(shape);
  if (!transposed) return reason(net.finish(net.op("MatMul", {net.x, net.floats({k, n})}, "y")), target);
  Attributes a;
  a.set("transB", int64_t{1});
  return reason(net.finish(net.op("Gemm", {net.x, net.floats({n, k})}, "y", a)), target);
}

TEST(TensorRtTarget, LeavesProductsByAVector) {
  EXPECT_NE(product({1}, 64, 64).find("M = 1"), std::string::npos);
  EXPECT_NE(product({1}, 64, 64, true).find("M = 1"), std::string::npos);
  EXPECT_NE(product({8}, 64, 1).find("N = 1"), std::string::npos);
  EXPECT_EQ(product({8}, 64, 64), "");
  EXPECT_EQ(product({Dim::symbol("N")}, 64, 64), "") << "an open batch is no vector";
  EXPECT_EQ(product({1, 8}, 64, 64), "");
  EXPECT_EQ(product({4, 1}, 64, 64), "") << "rows of all batches are multiplied at once";
  EXPECT_EQ(product({1}, 64, 64, false, "onnxruntime"), "");
}

TEST(TensorRtTarget, LeavesProductsWithKOrNBelow16) {
  EXPECT_NE(product({8}, 15, 64).find("K = 15"), std::string::npos);
  EXPECT_NE(product({8}, 15, 64, true).find("K = 15"), std::string::npos);
  EXPECT_NE(product({8}, 64, 15).find("N = 15"), std::string::npos);
  EXPECT_NE(product({8}, 64, 15, true).find("N = 15"), std::string::npos);
  EXPECT_EQ(product({8}, 16, 16), "");
  EXPECT_EQ(product({8}, 16, 16, true), "");
}

TEST(TensorRtTarget, LeavesSmallProductsOfTwoVariables) {
  const auto variables = [](int64_t m, int64_t k, int64_t n) {
    Net net({2, m, k});
    const ValueId b = net.g.add_input("b", DType::kFloat32, {Dim(2), Dim(k), Dim(n)});
    return reason(net.finish(net.op("MatMul", {net.x, b}, "y")));
  };
  EXPECT_EQ(variables(32, 16, 16), "");
  EXPECT_NE(variables(1, 32, 32).find("M = 1"), std::string::npos);
  EXPECT_NE(variables(32, 8, 32).find("K = 8"), std::string::npos);
}

TEST(TensorRtTarget, ALayerThatIsNamedIsTaken) {
  Net n({1, 8, 8, 8});
  const Graph& g = n.finish(n.conv(n.op("Relu", {n.x}, "relu"), 8, 8, "y"));
  QuantizeOptions options;
  options.target = &find_target("tensorrt");
  EXPECT_TRUE(place(g, options).weighted.empty());
  EXPECT_TRUE(place(g, options).group_of.empty()) << "what float layers read alone stays float";
  options.include = {"y_node"};
  EXPECT_EQ(place(g, options).weighted.size(), 1u);
  options.include = {"Conv"};
  EXPECT_TRUE(place(g, options).weighted.empty()) << "a type is no name";
}

// A residual block: of the Add's inputs the identity alone.
Net residual_block() {
  Net n({1, 16, 8, 8});
  const ValueId a = n.op("Relu", {n.conv(n.x, 16, 16, "c1")}, "r1");
  const ValueId sum = n.op("Add", {n.conv(a, 16, 16, "c2"), a}, "sum");
  n.finish(n.conv(sum, 16, 16, "y"));
  return n;
}

Names placed(const Graph& g, const char* target) {
  QuantizeOptions options;
  options.target = &find_target(target);
  Names names;
  for (const auto& [v, group] : place(g, options).group_of) names.push_back(g.value(v).name);
  std::sort(names.begin(), names.end());
  return names;
}

TEST(TensorRtTarget, QuantizesTheIdentityBranchAloneAtResidualAdds) {
  const Net n = residual_block();
  EXPECT_EQ(placed(n.g, "tensorrt"), (Names{"r1", "sum", "x"}));
}

TEST(OpenVinoTarget, QuantizesTheIdentityBranchAloneAtResidualAdds) {
  const Net n = residual_block();
  EXPECT_EQ(placed(n.g, "openvino"), (Names{"r1", "sum", "x"}));
}

TEST(OnnxRuntimeTarget, QuantizesWhatEveryConvolutionMakes) {
  const Net n = residual_block();
  EXPECT_EQ(placed(n.g, "onnxruntime"), (Names{"c2", "r1", "sum", "x", "y"}));
  // Each convolution is read by a QuantizeLinear and by nothing else, the network's output is what a
  // DequantizeLinear makes and has its old name.
  QuantizeOptions options;
  options.target = &find_target("onnxruntime");
  Graph g = n.g;
  insert_qdq(g, place(g, options), options, [](const std::string&) { return std::optional(Range{-1, 3}); });
  for (const NodeId id : g.sorted()) {
    const Node& node = g.node(id);
    if (!node.is("Conv")) continue;
    const auto readers = g.consumers(node.outputs[0]);
    ASSERT_EQ(readers.size(), 1u) << node.name;
    const std::string reader = g.node(readers[0]).op;
    EXPECT_TRUE(reader == "QuantizeLinear" || reader == "Relu") << reader;
  }
  const Node* last = g.producer(g.outputs()[0]);
  ASSERT_NE(last, nullptr);
  EXPECT_TRUE(last->is("DequantizeLinear"));
  EXPECT_EQ(g.value(g.outputs()[0]).name, "y");
}

TEST(OnnxRuntimeTarget, QuantizesSoftmaxOfShortRows) {
  const auto scores = [](int64_t classes) -> Graph {
    Net n({1, 16, 8, 8});
    const ValueId shape = n.g.add_constant("shape", Tensor::of<int64_t>({3}, {1, -1, classes}));
    return n.finish(n.op("Softmax", {n.op("Reshape", {n.conv(n.x, 16, 64, "conv"), shape}, "rows")}, "y"));
  };
  EXPECT_EQ(placed(scores(4), "onnxruntime"), (Names{"conv", "rows", "x", "y"}));
  EXPECT_EQ(placed(scores(64), "onnxruntime"), (Names{"conv", "x"}));
  EXPECT_EQ(placed(scores(4), "openvino"), (Names{"x"}));
  Net n({1, 16});
  const Graph& classifier =
      n.finish(n.op("Softmax", {n.op("MatMul", {n.x, n.floats({16, 10})}, "scores")}, "y"));
  EXPECT_EQ(placed(classifier, "onnxruntime"), (Names{"x"})) << "one row";
}

TEST(OnnxRuntimeTarget, SpellsSoftmaxOfTwoAsSigmoid) {
  const auto scores = [](Dims shape) {
    Net n(std::move(shape));
    return n.finish(n.op("Softmax", {n.x}, "y"));
  };
  Graph g = scores({1, 50, 2});
  EXPECT_TRUE(placed(g, "onnxruntime").empty());
  const Graph plain = g;
  EXPECT_EQ(spell_softmax_of_two_as_sigmoid(g), 1);
  EXPECT_EQ(ops_of(g), (Names{"MatMul", "Sigmoid"}));
  expect_same_function(plain, g, 1e-6);
  for (const Dims& shape : {Dims{1, 2}, Dims{1, 50, 3}}) {
    Graph other = scores(shape);
    EXPECT_EQ(spell_softmax_of_two_as_sigmoid(other), 0);
  }
}

TEST(Targets, ATableServesAll) {
  const Net n = residual_block();
  QuantizeOptions options;
  options.target = &find_target("tensorrt");
  options.every_target = true;
  const Placement all = place(n.g, options);
  for (const char* target : {"octet", "tensorrt", "onnxruntime", "openvino"})
    for (const std::string& name : placed(n.g, target))
      EXPECT_TRUE(all.group_of.count(*n.g.find_value(name)));
  Net small({1, 8, 8, 8});
  const Graph& g = small.finish(small.conv(small.op("Relu", {small.x}, "relu"), 8, 8, "y"));
  EXPECT_EQ(place(g, options).weighted.size(), 1u);
}

// Concatenation and max-pooling move bytes: one scale in front of them and behind them, for every target.
TEST(Targets, ScalesAreEqualAroundConcatAndMaxPool) {
  for (const char* target : {"tensorrt", "onnxruntime", "openvino"}) {
    SCOPED_TRACE(target);
    Net n({1, 16, 8, 8});
    const ValueId c = n.concat({n.conv(n.x, 16, 16, "a"), n.conv(n.x, 16, 32, "b")}, "cat");
    Graph g = n.finish(n.conv(n.pool("MaxPool", c, "pool"), 48, 16, "y"));
    QuantizeOptions options;
    options.target = &find_target(target);
    const auto range = [](const std::string& v) {
      return std::optional(v == "a" ? Range{-4, 2} : v == "b" ? Range{-1, 8} : Range{-1, 1});
    };
    const ActivationParams params = tensor_params(g, place(g, options), options, range);
    const QuantParams& a = params.at(*g.find_value("a"));
    EXPECT_FLOAT_EQ(a.scale[0], find_target(target).symmetric ? 8.0f / 127 : 12.0f / 255);
    for (const char* name : {"b", "cat", "pool"}) {
      EXPECT_EQ(params.at(*g.find_value(name)).scale, a.scale) << name;
      EXPECT_EQ(params.at(*g.find_value(name)).zero_point, a.zero_point) << name;
    }
    EXPECT_NE(params.at(*g.find_value("x")).scale, a.scale);
  }
}

// The axis of the output channels: 0 of a convolution's weights, the last one of a matrix.
TEST(Targets, WeightsHaveScalesAlongOutputChannels) {
  for (const char* target : {"tensorrt", "onnxruntime", "openvino"}) {
    SCOPED_TRACE(target);
    Net n({4, 16, 8, 8});
    Attributes flat, transposed;
    flat.set("axis", int64_t{1});
    transposed.set("transB", int64_t{1});
    const ValueId f = n.op("Flatten", {n.conv(n.x, 16, 24, "c")}, "f", flat);
    const ValueId p = n.op("Gemm", {f, n.floats({40, 24 * 64})}, "p", transposed);
    Graph g = n.finish(n.op("MatMul", {p, n.floats({40, 56})}, "y"));
    canonicalize(g);
    QuantizeOptions options;
    options.target = &find_target(target);
    insert_qdq(g, place(g, options), options, [](const std::string&) { return std::optional(Range{-1, 3}); });
    std::map<std::string, Ints> found;  // operator -> axis, size along it
    for (const NodeId id : g.sorted()) {
      const Node& node = g.node(id);
      if (!node.is("Conv") && !node.is("Gemm") && !node.is("MatMul")) continue;
      const Node* w = g.producer(node.inputs[1]);
      ASSERT_NE(w, nullptr) << node.name;
      const int64_t axis = w->attributes.get_int("axis", 1), count = g.value(w->inputs[1]).constant->count();
      const bool rows = node.is("Gemm") && node.attributes.get_int("transB", 0) != 0;
      found[node.op] = {node.is("Conv") || rows ? axis : axis - 1, count};
      EXPECT_EQ(g.value(w->inputs[0]).constant->shape()[static_cast<size_t>(axis)], count);
    }
    EXPECT_EQ(found["Conv"], (Ints{0, 24}));
    EXPECT_EQ(found.count("Gemm") ? found["Gemm"] : found["MatMul"],
              (Ints{0, found.count("Gemm") ? 40 : 56}));
  }
}

}  // namespace
}  // namespace octet
