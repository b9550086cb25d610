// Transposed convolutions become convolutions that compute the same.
#include <gtest/gtest.h>

#include <random>

#include "kernels/simd/test_tools.h"
#include "passes/canonicalize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;
using kernels::testing::Random;
using kernels::testing::test_seed;

struct Case {
  int64_t in_c = 4, of_group = 3, groups = 1, kernel[2] = {2, 2}, stride = 2, pads[4] = {}, extra[2] = {};
  bool bias = true;
};

ValueId transposed(Net& n, ValueId x, const Case& c) {
  Attributes a;
  a.set("strides", Ints{c.stride, c.stride});
  a.set("pads", Ints(c.pads, c.pads + 4));
  a.set("output_padding", Ints(c.extra, c.extra + 2));
  a.set("group", c.groups);
  std::vector<ValueId> inputs{x, n.floats({c.in_c, c.of_group, c.kernel[0], c.kernel[1]})};
  if (c.bias) inputs.push_back(n.floats({c.of_group * c.groups}));
  return n.op("ConvTranspose", std::move(inputs), "y", std::move(a));
}

TEST(ConvolveTransposed, ComputesTheSame) {
  Random random(test_seed());
  int convolved = 0;
  for (int i = 0; i < 300; ++i) {
    Case c;
    c.groups = random.chance(0.3) ? random.range(2, 4) : 1;
    c.in_c = c.groups * random.range(1, 3);
    c.of_group = random.range(1, 4);
    c.stride = random.range(1, 4);
    for (int64_t& k : c.kernel) k = random.range(1, 7);
    for (int64_t& p : c.pads) p = random.range(0, 3);
    for (int64_t& e : c.extra) e = random.range(0, c.stride - 1);
    c.bias = random.chance(0.7);
    const int64_t height = random.range(3, 7), width = random.range(3, 7);
    const auto size = [&](int axis, int64_t in) {
      return (in - 1) * c.stride + c.extra[axis] + c.kernel[axis] - c.pads[axis] - c.pads[axis + 2];
    };
    if (size(0, height) < 1 || size(1, width) < 1) continue;
    SCOPED_TRACE(::testing::Message()
                 << "case " << i << " groups " << c.groups << " kernel " << c.kernel[0] << "x" << c.kernel[1]
                 << " stride " << c.stride << " pads " << c.pads[0] << "," << c.pads[1] << "," << c.pads[2]
                 << "," << c.pads[3] << " extra " << c.extra[0] << "," << c.extra[1] << " input " << height
                 << "x" << width);
    Net n({2, c.in_c, height, width});
    const Graph before = n.finish(transposed(n, n.x, c));
    Graph after = before;
    canonicalize(after);
    if (ops_of(after)[0] == "Conv") ++convolved;
    ASSERT_EQ(after.value(after.outputs()[0]).shape, before.value(before.outputs()[0]).shape);
    expect_same_function(before, after);
    if (HasFailure()) return;
  }
  EXPECT_GT(convolved, 150);
}

TEST(ConvolveTransposed, TakesWhatStandsBehindItAlong) {
  Net n;
  const ValueId y = transposed(n, n.x, {});
  const ValueId shifted = n.op("Add", {y, n.floats({1, 3, 1, 1})}, "shifted");
  const ValueId scaled = n.op("Mul", {shifted, n.floats({3, 1, 1})}, "scaled");
  const Graph before = n.finish(n.op("Relu", {n.op("Relu", {scaled}, "relu")}, "again"));
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Conv", "Relu", "Relu", "DepthToSpace"}));
  expect_same_function(before, after);
}

TEST(ConvolveTransposed, PutsPhasesOutermost) {
  Net n;
  Attributes a;
  a.set("blocksize", int64_t{2});
  a.set("mode", std::string("CRD"));
  const ValueId conv = n.op("Relu", {n.conv(n.x, 4, 12, "conv")}, "relu");
  const Graph before = n.finish(n.op("DepthToSpace", {conv}, "shuffled", std::move(a)));
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Conv", "Relu", "DepthToSpace"}));
  const Node* last = after.producer(after.outputs()[0]);
  EXPECT_EQ(last->attributes.get_string("mode", "DCR"), "DCR");
  expect_same_function(before, after);
}

TEST(ConvolveTransposed, LeavesAConvolutionOfNoChannels) {
  Net n;
  Attributes a;
  a.set("blocksize", int64_t{2});
  a.set("mode", std::string("CRD"));
  Graph g = n.finish(n.op("DepthToSpace", {n.conv(n.x, 4, 0, "conv")}, "shuffled", std::move(a)));
  canonicalize(g);
  EXPECT_EQ(g.producer(g.outputs()[0])->attributes.get_string("mode", "DCR"), "CRD");
}

TEST(ConvolveTransposed, OfGroupsFoldsAffineFunctions) {
  Net n({1, 6, 5, 5});
  Case c;
  c.in_c = 6;
  c.groups = 3;
  c.of_group = 2;
  const ValueId y = n.op("Mul", {transposed(n, n.x, c), n.floats({6, 1, 1})}, "scaled");
  const Graph before = n.finish(y);
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Conv", "DepthToSpace"}));
  expect_same_function(before, after);
}

TEST(ConvolveTransposed, KeepsSizesOpen) {
  Net n({Dim::symbol("n"), 4, Dim::symbol("h"), Dim::symbol("w")});
  Case c;
  c.kernel[0] = c.kernel[1] = 3;
  std::fill(c.pads, c.pads + 4, 1);
  Graph g = n.finish(transposed(n, n.x, c));
  const Dims before = *g.value(g.outputs()[0]).shape;
  canonicalize(g);
  EXPECT_EQ(ops_of(g), (Names{"Conv", "DepthToSpace", "Slice"}));
  const SymbolValues sizes{{"n", 2}, {"h", 5}, {"w", 8}};
  EXPECT_EQ(evaluate(*g.value(g.outputs()[0]).shape, sizes), evaluate(before, sizes));
}

TEST(ConvolveTransposed, LeavesWhatWouldMultiplyMostlyZeros) {
  Net n;
  Case c;
  c.kernel[0] = c.kernel[1] = 1;
  c.stride = 4;
  Graph g = n.finish(transposed(n, n.x, c));
  canonicalize(g);
  EXPECT_EQ(ops_of(g), (Names{"ConvTranspose"}));
}

}  // namespace
}  // namespace octet
