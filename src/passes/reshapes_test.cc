// Operators that move values and go away or elsewhere, and what computes the same without them.
#include <gtest/gtest.h>

#include <algorithm>

#include "passes/attention.h"
#include "passes/canonicalize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

ValueId reshape(Net& n, ValueId x, const Ints& shape, const std::string& out) {
  const ValueId to = n.g.add_constant(
      "shape", Tensor::of<int64_t>({static_cast<int64_t>(shape.size())}, std::span<const int64_t>(shape)));
  return n.op("Reshape", {x, to}, out);
}

ValueId transpose(Net& n, ValueId x, Ints perm, const std::string& out) {
  Attributes a;
  a.set("perm", std::move(perm));
  return n.op("Transpose", {x}, out, std::move(a));
}

ValueId batch_norm(Net& n, ValueId x, int64_t channels) {
  return n.op("BatchNormalization",
              {x, n.floats({channels}, 0.5f, 2), n.floats({channels}), n.floats({channels}),
               n.floats({channels}, 0.2f, 2)},
              "bn");
}

void expect_ops(const Graph& before, const Names& names) {
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), names);
  EXPECT_EQ(after.value(after.outputs()[0]).name, before.value(before.outputs()[0]).name);
  expect_same_function(before, after, 1e-4);
}

TEST(Reshapes, SeveralAreOne) {
  Net n({2, 5, 12});
  const ValueId a = reshape(n, n.x, {2, 60}, "a");
  expect_ops(n.finish(n.op("Sqrt", {n.op("Exp", {reshape(n, a, {10, 12}, "b")}, "e")}, "y")),
             {"Reshape", "Exp", "Sqrt"});
}

TEST(FoldBatchNorm, GoesIntoTheProductThatMakesTheRows) {
  for (const bool rows : {false, true})
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(::testing::Message() << rows << bias);
      Net n(rows ? Dims{2, 5, 12} : Dims{10, 12});
      ValueId y = n.op("MatMul", {n.x, n.floats({12, 8})}, "product");
      if (bias) y = n.op("Add", {n.floats({8}), y}, "biased");
      if (rows) y = reshape(n, y, {10, 8}, "rows");
      y = batch_norm(n, y, 8);
      if (rows) y = reshape(n, y, {2, 5, 8}, "again");
      expect_ops(n.finish(n.op("Exp", {y}, "y")), {"MatMul", "Add", "Exp"});
    }
}

TEST(FoldBatchNorm, GoesIntoAGemm) {
  for (const int64_t transposed : {0, 1})
    for (const bool bias : {false, true}) {
      Net n({3, 12});
      Attributes a;
      a.set("transB", transposed);
      std::vector<ValueId> in{n.x, n.floats(transposed != 0 ? Shape{8, 12} : Shape{12, 8})};
      if (bias) in.push_back(n.floats({8}));
      expect_ops(n.finish(batch_norm(n, n.op("Gemm", std::move(in), "gemm", std::move(a)), 8)), {"Gemm"});
    }
}

TEST(FoldBatchNorm, OfRowsThatNoLayerMakesIsAMulAndAnAdd) {
  Net n({3, 12});
  expect_ops(n.finish(batch_norm(n, n.x, 12)), {"Mul", "Add"});
}

// Swin's mask of shifted windows: [windows, heads, n, n] gets an axis for the images, and loses it again.
TEST(Reshapes, AxesOfSizeOneDoNotSeparateMasks) {
  Net n({6, 2, 4, 4});
  ValueId y = n.op("Add", {n.x, n.floats({1, 2, 4, 4})}, "biased");
  y = reshape(n, y, {1, 6, 2, 4, 4}, "images");
  y = n.op("Add", {y, n.floats({1, 6, 1, 4, 4})}, "masked");
  y = reshape(n, y, {6, 2, 4, 4}, "windows");
  expect_ops(n.finish(n.op("Softmax", {y}, "y")), {"Add", "Add", "Softmax"});
}

TEST(Reshapes, AxesOfOtherSizesDo) {
  Net n({6, 2, 4, 4});
  ValueId y = reshape(n, n.x, {3, 2, 2, 4, 4}, "images");
  y = n.op("Add", {y, n.floats({1, 2, 1, 4, 4})}, "masked");
  expect_ops(n.finish(reshape(n, y, {6, 2, 4, 4}, "windows")), {"Reshape", "Add", "Reshape"});
}

TEST(Attention, TwoConstantMasksAreOne) {
  for (const bool constant : {false, true}) {
    Net n({2, 3, 4, 4});
    ValueId y = n.op("MatMul", {n.op("Exp", {n.x}, "a"), n.op("Sin", {n.x}, "b")}, "scores");
    y = n.op("Add", {y, n.floats({1, 3, 4, 4})}, "biased");
    y = n.op("Add", {y, constant ? n.floats({2, 1, 4, 4}) : n.op("Cos", {n.x}, "c")}, "masked");
    n.finish(n.op("Softmax", {y}, "y"));
    std::optional<AttentionScores> scores;
    for (NodeId id : n.g.sorted())
      if (n.g.node(id).is("MatMul")) scores = match_attention_scores(n.g, id);
    EXPECT_EQ(scores.has_value(), constant);
  }
}

TEST(ChannelsLastTokens, BecomeAnImageAndBack) {
  Net n({2, 12, 8});
  ValueId y = transpose(n, n.op("Exp", {n.x}, "tokens"), {0, 2, 1}, "planes");
  y = n.conv(reshape(n, y, {2, 8, 3, 4}, "image"), 8, 8, "conv");
  y = transpose(n, reshape(n, y, {2, 8, 12}, "flat"), {0, 2, 1}, "rows");
  expect_ops(n.finish(n.op("Sin", {y}, "y")),
             {"Exp", "Reshape", "Transpose", "Conv", "Transpose", "Reshape", "Sin"});
}

TEST(HoistActivations, StandBesideTheirLayer) {
  Net n({1, 4, 6, 6});
  ValueId y = reshape(n, n.conv(n.x, 4, 8, "conv"), {1, 8, 36}, "flat");
  y = n.op("Sigmoid", {transpose(n, y, {0, 2, 1}, "rows")}, "gate");
  expect_ops(n.finish(n.op("Sin", {y}, "y")), {"Conv", "Sigmoid", "Transpose", "Reshape", "Sin"});
}

TEST(HoistActivations, NotPastOtherReaders) {
  Net n({1, 4, 6, 6});
  const ValueId rows = reshape(n, n.conv(n.x, 4, 8, "conv"), {8, 36}, "flat");
  expect_ops(n.finish(n.op("Mul", {n.op("Sigmoid", {rows}, "gate"), n.op("Sin", {rows}, "wave")}, "y")),
             {"Conv", "Reshape", "Sigmoid", "Sin", "Mul"});
}

// A convolution of a sequence has rows of one: the function must stand in one shape with its pieces.
TEST(Widen1d, GeluBehindASequenceIsOne) {
  Net n({1, 4, 12});
  Attributes a;
  a.set("kernel_shape", Ints{3});
  a.set("pads", Ints{1, 1});
  const ValueId x = n.op("Conv", {n.x, n.floats({6, 4, 3})}, "conv", std::move(a));
  const ValueId erf =
      n.op("Erf", {n.op("Div", {x, n.scalar(static_cast<float>(std::sqrt(2.0)))}, "scaled")}, "erf");
  const ValueId gate = n.op("Add", {erf, n.scalar(1)}, "gate");
  expect_ops(n.finish(n.op("Mul", {n.op("Mul", {x, gate}, "both"), n.scalar(0.5f)}, "y")),
             {"Unsqueeze", "Conv", "Gelu", "Squeeze"});
}

ValueId padded(Net& n, ValueId x, const Ints& pads, float fill, const std::string& out) {
  const ValueId amounts = n.g.add_constant(
      "pads", Tensor::of<int64_t>({static_cast<int64_t>(pads.size())}, std::span<const int64_t>(pads)));
  return n.op("Pad", {x, amounts, n.scalar(fill)}, out);
}

TEST(FoldPads, ZerosGoIntoTheConvolutions) {
  Net n;
  const ValueId x = padded(n, n.x, {0, 0, 0, 1, 0, 0, 1, 0}, 0, "padded");
  expect_ops(n.finish(n.op("Add", {n.conv(x, 4, 4, "a", 5), n.conv(x, 4, 4, "b", 5)}, "y")),
             {"Conv", "Conv", "Add"});
}

TEST(FoldPads, NothingElseDoes) {
  const auto conv_behind = [](const Ints& pads, float fill, int64_t channels) {
    Net n;
    const ValueId x = padded(n, n.x, pads, fill, "padded");
    expect_ops(n.finish(n.conv(x, channels, 4, "y")), {"Pad", "Conv"});
  };
  conv_behind({0, 0, 0, 1, 0, 0, 2, 0}, 1, 4);
  conv_behind({0, 1, 0, 0, 0, 0, 0, 0}, 0, 5);
  conv_behind({0, 0, -1, 0, 0, 0, 0, 0}, 0, 4);
  conv_behind({0, 0, 0, 0, 0, 0, 0, 2}, 0, 4);  // wider than the window
  Net n;
  const ValueId x = padded(n, n.x, {0, 0, 1, 1, 0, 0, 1, 1}, 0, "padded");
  expect_ops(n.finish(n.concat({n.conv(x, 4, 4, "a"), x}, "y")), {"Pad", "Conv", "Concat"});
}

TEST(UnfoldDepth, VolumesAreBatchesOfFrames) {
  for (const int64_t stride : {1, 2})
    for (const int64_t dilation : {1, 2})
      for (const Ints& pads : {Ints{0, 0, 0, 0, 0, 0}, Ints{1, 1, 0, 2, 0, 1}}) {
        SCOPED_TRACE(::testing::Message() << stride << dilation << pads[0]);
        Net n({1, 3, 7, 6, 5});
        Attributes a;
        a.set("kernel_shape", Ints{3, 3, 2});
        a.set("strides", Ints{stride, 1, 2});
        a.set("dilations", Ints{dilation, 1, 1});
        a.set("pads", pads);
        const ValueId y = n.op("Conv", {n.x, n.floats({4, 3, 3, 3, 2}), n.floats({4})}, "conv", std::move(a));
        const Graph before = n.finish(n.op("Relu", {y}, "y"));
        Graph after = before;
        canonicalize(after);
        for (NodeId id : after.sorted())
          if (after.node(id).is("Conv")) {
            EXPECT_EQ(after.value(after.node(id).inputs[0]).shape->size(), 4u);
          }
        EXPECT_EQ(ops_of(after).back(), "Reshape") << "the function stands beside the convolution";
        expect_same_function(before, after, 1e-4);
      }
}

TEST(UnfoldDepth, ResidualBlocksStayFrames) {
  Net n({1, 4, 5, 6, 6});
  const auto conv = [&](ValueId x, const std::string& name) {
    Attributes a;
    a.set("kernel_shape", Ints{3, 3, 3});
    a.set("pads", Ints(6, 1));
    return n.op("Conv", {x, n.floats({4, 4, 3, 3, 3}, -0.2f, 0.2f)}, name, std::move(a));
  };
  const ValueId a = n.op("Relu", {conv(n.x, "first")}, "a");
  const ValueId b = conv(n.op("Relu", {batch_norm(n, conv(a, "second"), 4)}, "b"), "third");
  const Graph before = n.finish(n.op("Relu", {n.op("Add", {b, conv(a, "skip")}, "sum")}, "y"));
  Graph after = before;
  canonicalize(after);
  const Names ops = ops_of(after);
  EXPECT_EQ(std::ranges::count(ops, "Transpose"), 2) << "into frames and back";
  expect_same_function(before, after, 1e-4);
}

TEST(AddBeforeMoves, OnlyWhereBothMoveAlike) {
  for (const bool alike : {true, false}) {
    Net n({4, 4, 4});
    const ValueId a = transpose(n, n.op("Exp", {n.x}, "a"), {0, 2, 1}, "p"),
                  b = transpose(n, n.op("Sin", {n.x}, "b"), alike ? Ints{0, 2, 1} : Ints{1, 0, 2}, "q");
    const Graph before = n.finish(n.op("Cos", {n.op("Add", {a, b}, "sum")}, "y"));
    Graph after = before;
    canonicalize(after);
    EXPECT_EQ(std::ranges::count(ops_of(after), "Transpose"), alike ? 1 : 2);
    expect_same_function(before, after, 1e-4);
  }
}

}  // namespace
}  // namespace octet
