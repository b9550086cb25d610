#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "passes/canonicalize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

TEST(FoldBatchNorm, GoesIntoTheConvolution) {
  for (const bool bias : {false, true})
    for (const int64_t group : {1, 2, 4}) {
      Net n;
      const ValueId y = n.conv(n.x, 4, 4, "conv", 3, bias, group);
      const ValueId z =
          n.op("BatchNormalization",
               {y, n.floats({4}, 0.5f, 2), n.floats({4}), n.floats({4}), n.floats({4}, 0.2f, 2)}, "bn");
      const Graph before = n.finish(z);
      Graph after = before;
      canonicalize(after);
      EXPECT_EQ(ops_of(after), (Names{"Conv"}));
      EXPECT_EQ(after.value(after.outputs()[0]).name, "bn") << "the output keeps its name";
      expect_same_function(before, after, 1e-4);
    }
}

TEST(FoldBatchNorm, ConstantsPerChannelToo) {
  Net n;
  const ValueId a = n.op("Mul", {n.conv(n.x, 4, 4, "conv"), n.floats({4, 1, 1})}, "mul");
  const ValueId b = n.op("Add", {n.floats({1, 4, 1, 1}), a}, "add");
  const Graph before = n.finish(n.op("Mul", {b, n.scalar(0.5f)}, "half"));
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Conv"}));
  expect_same_function(before, after, 1e-4);
}

TEST(ConvolveBatchNorm, WhereNothingTakesItIn) {
  Net n;
  const ValueId both = n.concat({n.conv(n.x, 4, 4, "conv"), n.x}, "both");
  const ValueId normal =
      n.op("BatchNormalization",
           {both, n.floats({8}, 0.5f, 2), n.floats({8}), n.floats({8}), n.floats({8}, 0.2f, 2)}, "bn");
  const Graph before = n.finish(n.op("Relu", {normal}, "relu"));
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Conv", "Concat", "Conv", "Relu"}));
  const Node* relu = after.producer(after.outputs()[0]);
  EXPECT_EQ(after.producer(relu->inputs[0])->attributes.get_int("group", 1), 8);
  expect_same_function(before, after, 1e-4);
}

TEST(FoldBatchNorm, LeavesWhatOthersRead) {
  Net n;
  const ValueId y = n.conv(n.x, 4, 4, "conv");
  const ValueId z = n.op("Mul", {y, n.floats({4, 1, 1})}, "mul");
  const Graph before = n.finish(n.op("Add", {y, z}, "sum"));
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Conv", "Mul", "Add"}));
  expect_same_function(before, after);

  Net rows;  // one number per column, not per channel
  const Graph wide = rows.finish(rows.op("Mul", {rows.conv(rows.x, 4, 4, "conv"), rows.floats({6})}, "mul"));
  Graph same = wide;
  canonicalize(same);
  EXPECT_EQ(ops_of(same), (Names{"Conv", "Mul"}));
  expect_same_function(wide, same);
}

struct Spelling {
  const char* what;
  const char* becomes;
  std::function<ValueId(Net&, ValueId)> make;
};

TEST(FuseActivations, KnowsTheSpellings) {
  const auto hard_sigmoid = [](Net& n, ValueId x) {
    Attributes a;
    a.set("alpha", 1.0f / 6);
    a.set("beta", 0.5f);
    return n.op("HardSigmoid", {x}, "gate", a);
  };
  const auto relu6 = [](Net& n, ValueId x) {
    return n.op("Clip", {n.op("Add", {x, n.scalar(3)}, "plus"), n.scalar(0), n.scalar(6)}, "clip");
  };
  const auto erf = [](Net& n, ValueId x, bool divide) {
    const ValueId scaled = divide ? n.op("Div", {x, n.scalar(1.4142135f)}, "scaled")
                                  : n.op("Mul", {n.scalar(0.70710678f), x}, "scaled");
    return n.op("Add", {n.op("Erf", {scaled}, "erf"), n.scalar(1)}, "one");
  };
  const std::vector<Spelling> spellings{
      {"x * sigmoid", "Silu",
       [](Net& n, ValueId x) {
         return n.op("Mul", {x, n.op("Sigmoid", {x}, "s")}, "y");
       }},
      {"sigmoid * x", "Silu",
       [](Net& n, ValueId x) {
         return n.op("Mul", {n.op("Sigmoid", {x}, "s"), x}, "y");
       }},
      {"x * hard sigmoid", "HardSwish",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {x, hard_sigmoid(n, x)}, "y");
       }},
      {"hard sigmoid * x", "HardSwish",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {hard_sigmoid(n, x), x}, "y");
       }},
      {"x * (relu6 / 6)", "HardSwish",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {x, n.op("Div", {relu6(n, x), n.scalar(6)}, "d")}, "y");
       }},
      {"x * (relu6 * 1/6)", "HardSwish",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {x, n.op("Mul", {relu6(n, x), n.scalar(1.0f / 6)}, "d")}, "y");
       }},
      {"(x * relu6) / 6", "HardSwish",
       [&](Net& n, ValueId x) {
         return n.op("Div", {n.op("Mul", {x, relu6(n, x)}, "p"), n.scalar(6)}, "y");
       }},
      {"(x * relu6) * 1/6", "HardSwish",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {n.scalar(1.0f / 6), n.op("Mul", {relu6(n, x), x}, "p")}, "y");
       }},
      {"(x * (1 + erf)) * 0.5", "Gelu",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {n.op("Mul", {x, erf(n, x, true)}, "p"), n.scalar(0.5f)}, "y");
       }},
      {"(x * 0.5) * (1 + erf)", "Gelu",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {n.op("Mul", {x, n.scalar(0.5f)}, "p"), erf(n, x, false)}, "y");
       }},
      {"x * (0.5 * (1 + erf))", "Gelu",
       [&](Net& n, ValueId x) {
         return n.op("Mul", {x, n.op("Mul", {n.scalar(0.5f), erf(n, x, true)}, "p")}, "y");
       }},
  };
  for (const Spelling& s : spellings) {
    SCOPED_TRACE(s.what);
    Net n;
    const Graph before = n.finish(s.make(n, n.x));
    Graph after = before;
    EXPECT_TRUE(fuse_activations(after));
    infer_shapes(after);
    EXPECT_EQ(ops_of(after), (Names{s.becomes}));
    expect_same_function(before, after);
  }
}

TEST(FuseActivations, LeavesWhatOnlyLooksAlike) {
  const std::vector<Spelling> others{
      {"y * sigmoid(x)", "",
       [](Net& n, ValueId x) {
         return n.op("Mul", {n.op("Relu", {x}, "r"), n.op("Sigmoid", {x}, "s")}, "y");
       }},
      {"hard sigmoid of other slope", "",
       [](Net& n, ValueId x) {
         return n.op("Mul", {x, n.op("HardSigmoid", {x}, "h")}, "y");
       }},
      {"x * relu6(x + 2) / 6", "",
       [](Net& n, ValueId x) {
         const ValueId clip =
             n.op("Clip", {n.op("Add", {x, n.scalar(2)}, "plus"), n.scalar(0), n.scalar(6)}, "clip");
         return n.op("Div", {n.op("Mul", {x, clip}, "p"), n.scalar(6)}, "y");
       }},
      {"6 / (x * ...)", "",
       [](Net& n, ValueId x) {
         const ValueId clip =
             n.op("Clip", {n.op("Add", {x, n.scalar(3)}, "plus"), n.scalar(0), n.scalar(6)}, "clip");
         return n.op("Mul", {n.op("Div", {n.scalar(6), n.op("Add", {clip, n.scalar(9)}, "nine")}, "d"), x},
                     "y");
       }},
  };
  for (const Spelling& s : others) {
    SCOPED_TRACE(s.what);
    Net n;
    const Graph before = n.finish(s.make(n, n.x));
    Graph after = before;
    EXPECT_FALSE(fuse_activations(after));
    expect_same_function(before, after);
  }
}

TEST(Canonicalize, FoldsConstantsAndDropsWhatDoesNothing) {
  Net n;
  const ValueId c = n.op("Add", {n.floats({4, 1, 1}), n.floats({4, 1, 1})}, "constant");
  ValueId y = n.op("Identity", {n.x}, "same");
  y = n.op("Identity", {y}, "same_again");
  y = n.op("Mul", {y, c}, "mul");
  const Graph before = n.finish(n.op("Relu", {y}, "y"));
  Graph after = before;
  canonicalize(after);
  EXPECT_EQ(ops_of(after), (Names{"Mul", "Relu"}));
  expect_same_function(before, after);
  Graph again = after;
  canonicalize(again);
  EXPECT_EQ(ops_of(again), ops_of(after));
}

// Exporters compute what to pad by from the shape, as a matrix of begins and ends: the second sizes derive
// from the shape that the first ones give.
TEST(Canonicalize, FoldsSizesThatFollowFromOthers) {
  Net n({Dim::symbol("n"), 28});
  const auto list = [&](std::vector<int64_t> v) {
    const auto size = static_cast<int64_t>(v.size());
    return n.g.add_constant("list", Tensor::of<int64_t>({size}, std::span<const int64_t>(v)));
  };
  ValueId x = n.x;
  for (const std::string stage : {"first", "second"}) {
    const ValueId size = n.op("Gather", {n.op("Shape", {x}, stage + "_shape"), list({1})}, stage + "_size");
    const ValueId more = n.op("Mod", {size, list({5})}, stage + "_more");
    Attributes axis, perm;
    axis.set("axis", int64_t{0});
    perm.set("perm", Ints{1, 0});
    const ValueId pairs = n.op("Concat", {list({0, 0, 0}), more}, stage + "_pairs", axis);
    const ValueId matrix = n.op("Reshape", {pairs, list({2, 2})}, stage + "_matrix");
    const ValueId turned = n.op("Transpose", {matrix}, stage + "_turned", perm);
    x = n.op("Pad", {x, n.op("Reshape", {turned, list({-1})}, stage + "_pads")}, stage);
  }
  Graph& g = n.finish(x);
  canonicalize(g);
  EXPECT_EQ(g.value(g.outputs()[0]).shape, (Dims{Dim::symbol("n"), 32}));  // 28 + 3, and 31 + 1
}

TEST(Canonicalize, OneDimensionBecomesTwo) {
  for (const Dim& batch : {Dim(2), Dim::symbol("n")}) {
    Net n({batch, 4, 16});
    const auto conv = [&](ValueId x, int64_t kernel, int64_t group, const std::string& out) {
      Attributes a;
      a.set("kernel_shape", Ints{kernel});
      a.set("pads", Ints(2, kernel / 2));
      a.set("group", group);
      return n.op("Conv", {x, n.floats({4, 4 / group, kernel}), n.floats({4})}, out, a);
    };
    const ValueId c = conv(n.x, 3, 1, "first");
    const ValueId normal =
        n.op("BatchNormalization", {c, n.floats({4}), n.floats({4}), n.floats({4}), n.floats({4}, 1, 2)},
             "normal");
    const ValueId swish = n.op("Mul", {normal, n.op("Sigmoid", {normal}, "sigmoid")}, "swish");
    const ValueId sum = n.op("Add", {conv(swish, 5, 4, "second"), swish}, "sum");
    const ValueId scaled = n.op("Mul", {sum, n.floats({1, 4, 1})}, "scaled");
    Attributes pool;
    pool.set("kernel_shape", Ints{2});
    pool.set("strides", Ints{2});
    const Graph before = n.finish(n.op("MaxPool", {n.op("Relu", {scaled}, "relu")}, "y", pool));
    Graph after = before;
    canonicalize(after);
    EXPECT_EQ(ops_of(after),
              (Names{"Unsqueeze", "Conv", "Silu", "Conv", "Add", "Mul", "Relu", "MaxPool", "Squeeze"}));
    EXPECT_EQ(after.value(after.outputs()[0]).name, "y");
    EXPECT_EQ(after.value(after.outputs()[0]).shape, before.value(before.outputs()[0]).shape);
    if (batch.known()) expect_same_function(before, after);
  }
}

TEST(MergeConstants, OfOneContentOneIsLeft) {
  Net n({1, 2});
  const auto row = [&](std::vector<float> v) {
    return n.g.add_constant("c",
                            Tensor::of<float>({static_cast<int64_t>(v.size())}, std::span<const float>(v)));
  };
  ValueId x = n.x;
  for (const ValueId c : {row({1, 2}), row({1, 2}), row({2, 1}), row({1})}) x = n.op("Add", {x, c}, "add");
  Attributes to_float32;
  to_float32.set("to", int64_t{1});
  const auto whole =
      n.op("Cast", {n.g.add_constant("i", Tensor::of<int32_t>({1}, {0x3f800000}))}, "cast", to_float32);
  Graph graph = n.finish(n.op("Add", {x, whole}, "last"));
  const Graph before = graph;
  EXPECT_TRUE(merge_constants(graph));
  graph.prune();
  int constants = 0;
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    constants += graph.is_constant(v) && !graph.consumers(v).empty();
  EXPECT_EQ(constants, 4) << "another order, shape or type is another constant";
  EXPECT_FALSE(merge_constants(graph));
  expect_same_function(before, graph);
}

TEST(Canonicalize, KeepsQuantizedWeights) {
  Net n;
  const ValueId w = n.g.add_constant("w", Tensor(DType::kInt8, {4, 4, 1, 1}));
  const ValueId dq =
      n.op("DequantizeLinear", {w, n.scalar(0.5f), n.g.add_constant("z", Tensor::scalar<int8_t>(0))}, "dq");
  Attributes a;
  a.set("kernel_shape", Ints{1, 1});
  n.finish(n.op("Conv", {n.x, dq}, "y", a));
  canonicalize(n.g);
  EXPECT_EQ(ops_of(n.g), (Names{"DequantizeLinear", "Conv"}));
}

}  // namespace
}  // namespace octet
