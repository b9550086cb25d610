#include "passes/lint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "passes/canonicalize.h"
#include "passes/qdq.h"
#include "passes/quantize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using testing::Net;
using testing::ops_of;
using testing::random_floats;

struct Example {
  Graph real, quantized;
};

// Two convolutions with biases, quantized for a target.
Example example(const char* target) {
  Net net({1, 16, 6, 6});
  const ValueId a = net.conv(net.x, 16, 24, "a", 1);
  const ValueId b = net.conv(a, 24, 16, "b", 1);
  net.finish(b);
  Example e{net.g, net.g};
  canonicalize(e.quantized);
  QuantizeOptions options;
  options.target = &find_target(target);
  insert_qdq(e.quantized, place(e.quantized, options), options, [](const std::string& name) {
    return name == "x" ? Range{-1, 1} : name == "a" ? Range{-6, 5} : Range{-20, 20};
  });
  infer_shapes(e.quantized);
  return e;
}

std::set<std::string> rules(const Graph& graph, LintTarget target) {
  std::set<std::string> found;
  for (const LintFinding& f : lint_qdq(graph, target)) found.insert(f.rule);
  return found;
}

float largest_difference(const Graph& a, const Graph& b) {
  const Tensor x = random_floats(evaluate(*a.value(a.inputs()[0]).shape), -1, 1, 77);
  const Tensor s = testing::run(a, x), t = testing::run(b, x);
  float worst = 0;
  for (size_t i = 0; i < s.as<float>().size(); ++i)
    worst = std::max(worst, std::fabs(s.as<float>()[i] - t.as<float>()[i]));
  return worst;
}

Tensor random_bytes(Shape shape) {
  Tensor t(DType::kInt8, std::move(shape));
  for (size_t i = 0; i < t.as<int8_t>().size(); ++i)
    t.as<int8_t>()[i] = static_cast<int8_t>(i * 37 % 251 - 125);
  return t;
}

bool has(const Graph& graph, const std::string& op) {
  const auto ops = ops_of(graph);
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

TEST(Strip, TakesOutAllAndKeepsWhatItComputes) {
  for (const char* target : {"octet", "tensorrt", "onnxruntime"}) {
    Example e = example(target);
    ASSERT_TRUE(has(e.quantized, "QuantizeLinear"));
    const StripResult result = strip_qdq(e.quantized);
    EXPECT_FALSE(has(e.quantized, "QuantizeLinear"));
    EXPECT_FALSE(has(e.quantized, "DequantizeLinear"));
    EXPECT_TRUE(result.left.empty());
    EXPECT_EQ(result.activations, find_target(target).quantized_sums ? 3 : 2);  // the output
    // Only the weights are still rounded.
    EXPECT_LT(largest_difference(e.real, e.quantized), 0.2f);
    EXPECT_GT(largest_difference(e.real, e.quantized), 0.0f);
  }
}

TEST(Strip, AnOutputKeepsItsName) {
  Net net;
  const ValueId a = net.conv(net.x, 4, 8, "a");
  const QuantParams q{DType::kUInt8, -1, {0.1f}, {3}};
  Graph& g = net.finish(add_dequantize(net.g, add_quantize(net.g, a, q), q));
  const std::string name = g.value(g.outputs()[0]).name;
  strip_qdq(g);
  EXPECT_EQ(ops_of(g), std::vector<std::string>{"Conv"});
  EXPECT_EQ(g.value(g.outputs()[0]).name, name);
}

TEST(Lint, TensorRtTakesWhatWasMadeForIt) {
  EXPECT_TRUE(lint_qdq(example("tensorrt").quantized, LintTarget::kTensorRt).empty());
  EXPECT_TRUE(lint_qdq(example("onnxruntime").quantized, LintTarget::kOnnxRuntime).empty());
}

TEST(Lint, TensorRtRefusesUnsignedAndIntegerBias) {
  Example e = example("onnxruntime");
  EXPECT_EQ(rules(e.quantized, LintTarget::kTensorRt), (std::set<std::string>{"uint8", "int32-bias"}));
  Graph fixed = e.quantized;
  fix_qdq(fixed, LintTarget::kTensorRt);
  infer_shapes(fixed);
  EXPECT_TRUE(lint_qdq(fixed, LintTarget::kTensorRt).empty());
  // Steps of 6/127 instead of 11/255.
  EXPECT_LT(largest_difference(e.quantized, fixed), 0.5f);
  EXPECT_GT(largest_difference(e.quantized, fixed), 0.0f);
}

TEST(Lint, ZeroPoint128IsTheSameGrid) {
  Net net;
  const QuantParams q{DType::kUInt8, -1, {0.0123f}, {128}};
  Graph& g = net.finish(net.conv(add_dequantize(net.g, add_quantize(net.g, net.x, q), q), 4, 8, "a"));
  Graph fixed = g;
  fix_qdq(fixed, LintTarget::kTensorRt);
  infer_shapes(fixed);
  EXPECT_TRUE(lint_qdq(fixed, LintTarget::kTensorRt).empty());
  EXPECT_EQ(largest_difference(g, fixed), 0.0f);
}

TEST(Lint, OnnxRuntimeWantsItsBiasInSteps) {
  Example e = example("tensorrt");
  EXPECT_EQ(rules(e.quantized, LintTarget::kOnnxRuntime), std::set<std::string>{"float-bias"});
  Graph fixed = e.quantized;
  fix_qdq(fixed, LintTarget::kOnnxRuntime);
  infer_shapes(fixed);
  EXPECT_TRUE(lint_qdq(fixed, LintTarget::kOnnxRuntime).empty());
  EXPECT_LT(largest_difference(e.quantized, fixed), 0.1f);
  // Steps of another size are refused, and put right.
  for (const NodeId id : fixed.sorted()) {
    const Node node = fixed.node(id);
    if (!node.is("DequantizeLinear") || fixed.value(node.inputs[0]).dtype != DType::kInt32) continue;
    Tensor other(DType::kFloat32, fixed.value(node.inputs[1]).constant->shape());
    std::ranges::fill(other.as<float>(), 0.5f);
    fixed.set_input(id, 1, fixed.add_constant("other", std::move(other)));
  }
  EXPECT_EQ(rules(fixed, LintTarget::kOnnxRuntime), std::set<std::string>{"bias-scale"});
  fix_qdq(fixed, LintTarget::kOnnxRuntime);
  EXPECT_TRUE(lint_qdq(fixed, LintTarget::kOnnxRuntime).empty());
}

TEST(Lint, WeightsAlongTheWrongAxis) {
  Net net;
  QuantParams q{DType::kInt8, 1, {0.01f, 0.02f, 0.03f, 0.04f}, {0, 0, 0, 0}};
  Tensor w(DType::kInt8, {8, 4, 1, 1});
  for (size_t i = 0; i < 32; ++i) w.as<int8_t>()[i] = static_cast<int8_t>(i * 7 - 100);
  const QuantParams x{DType::kInt8, -1, {0.01f}, {0}};
  const ValueId in = add_dequantize(net.g, add_quantize(net.g, net.x, x), x);
  Attributes a;
  a.set("kernel_shape", testing::Ints{1, 1});
  Graph& g = net.finish(net.op("Conv", {in, add_dequantize(net.g, net.g.add_constant("w", w), q)}, "y", a));
  EXPECT_EQ(rules(g, LintTarget::kTensorRt), std::set<std::string>{"weight-axis"});
  Graph fixed = g;
  fix_qdq(fixed, LintTarget::kTensorRt);
  infer_shapes(fixed);
  EXPECT_TRUE(lint_qdq(fixed, LintTarget::kTensorRt).empty());
  EXPECT_LT(largest_difference(g, fixed), 0.2f);
}

TEST(Lint, OpenVinoWantsWeightsWithoutZeroPoint) {
  EXPECT_TRUE(lint_qdq(example("openvino").quantized, LintTarget::kOpenVino).empty());
  // Integer biases and symmetric activations are fine there.
  EXPECT_TRUE(lint_qdq(example("onnxruntime").quantized, LintTarget::kOpenVino).empty());
  EXPECT_TRUE(lint_qdq(example("tensorrt").quantized, LintTarget::kOpenVino).empty());
  for (const auto& [type, zero] : {std::pair(DType::kUInt8, 128), std::pair(DType::kInt8, 3)}) {
    Net net;
    const QuantParams x{DType::kUInt8, -1, {0.01f}, {100}};
    const QuantParams q{type, 0, std::vector<float>(8, 0.02f), std::vector<int32_t>(8, zero)};
    Tensor w(type, {8, 4, 1, 1});
    for (size_t i = 0; i < 32; ++i)
      static_cast<uint8_t*>(w.raw())[i] = static_cast<uint8_t>(i * 7 + (type == DType::kUInt8 ? 20 : 0));
    Attributes a;
    a.set("kernel_shape", testing::Ints{1, 1});
    const ValueId in = add_dequantize(net.g, add_quantize(net.g, net.x, x), x);
    Graph& g = net.finish(net.op("Conv", {in, add_dequantize(net.g, net.g.add_constant("w", w), q)}, "y", a));
    EXPECT_EQ(rules(g, LintTarget::kOpenVino), std::set<std::string>{"weight-zero-point"});
    Graph fixed = g;
    fix_qdq(fixed, LintTarget::kOpenVino);
    infer_shapes(fixed);
    EXPECT_TRUE(lint_qdq(fixed, LintTarget::kOpenVino).empty());
    EXPECT_LT(largest_difference(g, fixed), 0.2f);
  }
}

TEST(Lint, OpenVinoWantsOneScaleForActivations) {
  Net net;
  const QuantParams x{DType::kUInt8, 1, {0.01f, 0.02f, 0.01f, 0.02f}, {100, 100, 100, 100}};
  const QuantParams q{DType::kInt8, 0, std::vector<float>(8, 0.02f), std::vector<int32_t>(8, 0)};
  Attributes a;
  a.set("kernel_shape", testing::Ints{1, 1});
  const ValueId in = add_dequantize(net.g, add_quantize(net.g, net.x, x), x);
  Graph& g = net.finish(net.op(
      "Conv", {in, add_dequantize(net.g, net.g.add_constant("w", random_bytes({8, 4, 1, 1})), q)}, "y", a));
  EXPECT_EQ(rules(g, LintTarget::kOpenVino), std::set<std::string>{"activation-axis"});
  fix_qdq(g, LintTarget::kOpenVino);
  infer_shapes(g);
  EXPECT_TRUE(lint_qdq(g, LintTarget::kOpenVino).empty());
}

TEST(Lint, WhatCannotBeRewritten) {
  Net net;
  const QuantParams q{DType::kInt8, 0, std::vector<float>(8, 0.1f), std::vector<int32_t>(8, 0)};
  const ValueId w = add_dequantize(net.g, net.g.add_constant("w", Tensor(DType::kInt8, {8, 4, 1, 1})), q);
  Attributes a;
  a.set("kernel_shape", testing::Ints{1, 1});
  Graph& g = net.finish(net.op("Conv", {net.x, w}, "y", a));
  const auto found = lint_qdq(g, LintTarget::kTensorRt);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rule, "float-input");
  EXPECT_EQ(found[0].node, "y_node");
  EXPECT_FALSE(found[0].fixable);
}

}  // namespace
}  // namespace octet
