// What exporters spell out becomes one operator, and computes the same.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "passes/attention.h"
#include "passes/canonicalize.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

using Make = std::function<ValueId(Net&, ValueId)>;
struct Spelling {
  const char* what;
  Names becomes;
  Make make;
};

void expect_fusions(const std::vector<Spelling>& spellings, const Dims& shape = {2, 5, 12}) {
  for (const Spelling& s : spellings) {
    SCOPED_TRACE(s.what);
    Net n(shape);
    const Graph before = n.finish(s.make(n, n.x));
    Graph after = before;
    canonicalize(after);
    EXPECT_EQ(ops_of(after), s.becomes);
    EXPECT_EQ(after.value(after.outputs()[0]).name, before.value(before.outputs()[0]).name);
    expect_same_function(before, after);
    Graph again = after;
    canonicalize(again);
    EXPECT_EQ(ops_of(again), s.becomes) << "a canonical graph stays as it is";
  }
}

ValueId axes(Net& n, Ints values) {
  return n.g.add_constant(
      "axes", Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values)));
}
ValueId reduce(Net& n, const std::string& op, ValueId x, Ints over = {-1}) {
  return n.op(op, {x, axes(n, std::move(over))}, op + "_out");
}
ValueId centred(Net& n, ValueId x, const Ints& over = {-1}) {
  return n.op("Sub", {x, reduce(n, "ReduceMean", x, over)}, "centred");
}
ValueId square(Net& n, ValueId x, bool pow) {
  return pow ? n.op("Pow", {x, n.scalar(2)}, "square") : n.op("Mul", {x, x}, "square");
}
ValueId deviation(Net& n, ValueId x, bool pow, const Ints& over = {-1}) {
  const ValueId variance = reduce(n, "ReduceMean", square(n, x, pow), over);
  return n.op("Sqrt", {n.op("Add", {variance, n.scalar(1e-3f)}, "plus")}, "deviation");
}

TEST(FuseNormalization, KnowsTheSpellingsOfLayerNormalization) {
  const Names one{"LayerNormalization"};
  expect_fusions({
      {"div, mul, add", one,
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x);
         const ValueId y = n.op("Div", {c, deviation(n, c, true)}, "div");
         return n.op("Add", {n.op("Mul", {y, n.floats({12})}, "mul"), n.floats({12})}, "y");
       }},
      {"constants on the left, squares by Mul", one,
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x);
         const ValueId y = n.op("Div", {c, deviation(n, c, false)}, "div");
         return n.op("Add", {n.floats({12}), n.op("Mul", {n.floats({1, 12}), y}, "mul")}, "y");
       }},
      {"centred twice", one,
       [](Net& n, ValueId x) {
         const ValueId y = n.op("Div", {centred(n, x), deviation(n, centred(n, x), true)}, "div");
         return n.op("Mul", {y, n.floats({12})}, "y");
       }},
      {"times a reciprocal", one,
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x);
         return n.op("Mul", {c, n.op("Reciprocal", {deviation(n, c, true)}, "r")}, "y");
       }},
      {"times one by the deviation", one,
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x);
         return n.op("Mul", {n.op("Div", {n.scalar(1), deviation(n, c, true)}, "r"), c}, "y");
       }},
      {"root as a power", one,
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x);
         const ValueId v =
             n.op("Add", {n.scalar(1e-5f), reduce(n, "ReduceMean", square(n, c, true))}, "plus");
         return n.op("Div", {c, n.op("Pow", {v, n.scalar(0.5f)}, "root")}, "y");
       }},
      {"two dimensions", one,
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x, {1, 2});
         const ValueId y = n.op("Div", {c, deviation(n, c, true, {-1, -2})}, "div");
         return n.op("Mul", {y, n.floats({5, 12})}, "y");
       }},
      {"the operator with constants behind it", one,
       [](Net& n, ValueId x) {
         const ValueId y = n.op("LayerNormalization", {x, n.floats({12}), n.floats({12})}, "norm");
         return n.op("Add", {n.op("Mul", {y, n.scalar(3)}, "mul"), n.floats({1, 1, 12})}, "y");
       }},
  });
}

TEST(FuseNormalization, LeavesWhatOnlyLooksAlike) {
  expect_fusions({
      {"another axis",
       {"ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div"},
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x, {1});
         return n.op("Div", {c, deviation(n, c, true, {1})}, "y");
       }},
      {"a scale per row",
       {"LayerNormalization", "Mul"},
       [](Net& n, ValueId x) {
         const ValueId c = centred(n, x);
         return n.op("Mul", {n.op("Div", {c, deviation(n, c, true)}, "div"), n.floats({5, 1})}, "y");
       }},
      {"the mean of something else",
       {"Relu", "ReduceMean", "Sub", "RMSNormalization"},
       [](Net& n, ValueId x) {
         const ValueId m = reduce(n, "ReduceMean", n.op("Relu", {x}, "r"));
         const ValueId c = n.op("Sub", {x, m}, "c");
         return n.op("Div", {c, deviation(n, c, true)}, "y");
       }},
      {"normalized and read by two",
       {"LayerNormalization", "Mul", "Add"},
       [](Net& n, ValueId x) {
         const ValueId y = n.op("LayerNormalization", {x, n.floats({12})}, "norm");
         return n.op("Add", {n.op("Mul", {y, n.floats({12})}, "mul"), y}, "y");
       }},
  });
}

TEST(FuseNormalization, KnowsRootMeanSquares) {
  expect_fusions({
      {"div",
       {"RMSNormalization"},
       [](Net& n, ValueId x) {
         return n.op("Mul", {n.floats({12}), n.op("Div", {x, deviation(n, x, true)}, "div")}, "y");
       }},
      {"times a reciprocal",
       {"RMSNormalization"},
       [](Net& n, ValueId x) {
         const ValueId r = n.op("Reciprocal", {deviation(n, x, false)}, "r");
         return n.op("Mul", {n.op("Mul", {x, r}, "m"), n.floats({12})}, "y");
       }},
  });
}

TEST(FuseNormalization, KnowsSoftmax) {
  const auto quotient = [](Net& n, ValueId x) {
    const ValueId e = n.op("Exp", {x}, "e");
    return n.op("Div", {e, reduce(n, "ReduceSum", e)}, "y");
  };
  expect_fusions({
      {"with the largest taken off",
       {"Softmax"},
       [&](Net& n, ValueId x) {
         return quotient(n, n.op("Sub", {x, reduce(n, "ReduceMax", x)}, "sub"));
       }},
      {"without", {"Softmax"}, quotient},
      {"the sum of something else",
       {"Exp", "Exp", "ReduceSum", "Div"},
       [](Net& n, ValueId x) {
         return n.op("Div", {n.op("Exp", {x}, "e"), reduce(n, "ReduceSum", n.op("Exp", {x}, "f"), {1})}, "y");
       }},
  });
}

TEST(FuseActivations, KnowsTheTanhFormOfGelu) {
  const float root = std::sqrt(2 / static_cast<float>(M_PI));
  const auto gate = [](Net& n, ValueId u) {
    return n.op("Add", {n.scalar(1), n.op("Tanh", {u}, "tanh")}, "gate");
  };
  expect_fusions({
      {"x + 0.044715 x^3 by Pow",
       {"Gelu"},
       [&](Net& n, ValueId x) {
         const ValueId cube = n.op("Mul", {n.scalar(0.044715f), n.op("Pow", {x, n.scalar(3)}, "p")}, "c");
         const ValueId u = n.op("Mul", {n.scalar(root), n.op("Add", {x, cube}, "s")}, "u");
         return n.op("Mul", {n.op("Mul", {n.scalar(0.5f), x}, "half"), gate(n, u)}, "y");
       }},
      {"x^3 by products, half at the end",
       {"Gelu"},
       [&](Net& n, ValueId x) {
         const ValueId cube = n.op("Mul", {n.op("Mul", {x, x}, "xx"), x}, "xxx");
         const ValueId sum = n.op("Add", {n.op("Mul", {cube, n.scalar(0.044715f)}, "c"), x}, "s");
         const ValueId u = n.op("Mul", {sum, n.scalar(root)}, "u");
         return n.op("Mul", {n.op("Mul", {x, gate(n, u)}, "xg"), n.scalar(0.5f)}, "y");
       }},
      {"x taken out",
       {"Gelu"},
       [&](Net& n, ValueId x) {
         const ValueId inner = n.op("Mul", {n.op("Mul", {n.scalar(0.044715f), x}, "a"), x}, "b");
         const ValueId u = n.op(
             "Mul", {n.op("Mul", {x, n.scalar(root)}, "xr"), n.op("Add", {inner, n.scalar(1)}, "one")}, "u");
         return n.op("Mul", {n.op("Div", {x, n.scalar(2)}, "half"), gate(n, u)}, "y");
       }},
      {"another factor",
       {"Mul", "Pow", "Mul", "Add", "Mul", "Tanh", "Add", "Mul"},
       [&](Net& n, ValueId x) {
         const ValueId half = n.op("Mul", {n.scalar(0.5f), x}, "half");
         const ValueId cube = n.op("Mul", {n.scalar(0.05f), n.op("Pow", {x, n.scalar(3)}, "p")}, "c");
         const ValueId u = n.op("Mul", {n.scalar(root), n.op("Add", {x, cube}, "s")}, "u");
         return n.op("Mul", {half, gate(n, u)}, "y");
       }},
  });
}

Attributes perm(Ints p) {
  Attributes a;
  a.set("perm", std::move(p));
  return a;
}

TEST(MergeTransposes, TwoBecomeOneOrNone) {
  expect_fusions({
      {"one",
       {"Transpose"},
       [](Net& n, ValueId x) {
         return n.op("Transpose", {n.op("Transpose", {x}, "t", perm({0, 2, 1}))}, "y", perm({1, 2, 0}));
       }},
      {"none",
       {"Relu"},
       [](Net& n, ValueId x) {
         const ValueId t = n.op("Transpose", {x}, "t", perm({2, 0, 1}));
         return n.op("Relu", {n.op("Transpose", {t}, "u", perm({1, 2, 0}))}, "y");
       }},
  });
}

TEST(HoistScales, NumbersMoveBehindTheProduct) {
  const auto attention = [](Net& n, ValueId x, ValueId q, ValueId k) {
    const ValueId s = n.op("MatMul", {q, n.op("Transpose", {k}, "kt", perm({0, 2, 1}))}, "s");
    Attributes a;
    a.set("axis", int64_t{-1});
    return n.op("MatMul", {n.op("Softmax", {s}, "p", a), x}, "y");
  };
  for (const bool both : {false, true}) {
    Net n({2, 5, 12});
    const ValueId q = n.op("Mul", {n.x, n.scalar(0.5f)}, "q");
    const ValueId k = both ? n.op("Div", {n.x, n.scalar(4)}, "k") : n.x;
    const Graph before = n.finish(attention(n, n.x, q, k));
    Graph after = before;
    canonicalize(after);
    infer_shapes(after);
    expect_same_function(before, after);
    const NodeId product = *after.find_node("s_node");
    EXPECT_EQ(after.node(product).inputs[0], after.inputs()[0]);
    const auto scores = match_attention_scores(after, product);
    ASSERT_TRUE(scores);
    EXPECT_FLOAT_EQ(scores->scale, both ? 0.125f : 0.5f);
    EXPECT_EQ(scores->mask, kNoId);
  }
}

TEST(Attention, IsFoundWithScaleAndMaskOnly) {
  const auto scores = [](const std::function<ValueId(Net&, ValueId)>& between, int64_t axis) {
    Net n({2, 5, 12});
    ValueId s = n.op("MatMul", {n.x, n.op("Transpose", {n.x}, "kt", perm({0, 2, 1}))}, "s");
    Attributes a;
    a.set("axis", axis);
    n.finish(n.op("Softmax", {between(n, s)}, "p", a));
    return match_attention_scores(n.g, *n.g.find_node("s_node"));
  };
  const auto masked = scores(
      [](Net& n, ValueId s) {
        return n.op("Add", {n.floats({5}), n.op("Div", {s, n.scalar(8)}, "d")}, "m");
      },
      2);
  EXPECT_FALSE(masked) << "a mask of rank 1";
  const auto good = scores(
      [](Net& n, ValueId s) {
        return n.op("Add", {n.floats({1, 5}), n.op("Div", {s, n.scalar(8)}, "d")}, "m");
      },
      2);
  ASSERT_TRUE(good);
  EXPECT_EQ(good->nodes.size(), 4u);
  EXPECT_FLOAT_EQ(good->scale, 0.125f);
  EXPECT_NE(good->mask, kNoId);
  EXPECT_FALSE(scores([](Net&, ValueId s) { return s; }, 1)) << "another axis";
  EXPECT_FALSE(scores([](Net& n, ValueId s) { return n.op("Relu", {s}, "r"); }, -1));
  EXPECT_FALSE(scores(
      [](Net& n, ValueId s) {
        return n.op("Mul", {n.op("Add", {s, n.floats({5, 5})}, "m"), n.scalar(2)}, "scaled");
      },
      -1))
      << "scaled behind the mask";
}

TEST(ConstantReshapes, SymbolsBecomeZeroAndMinusOne) {
  Net n({Dim::symbol("N"), Dim::symbol("S"), 12});
  const ValueId shape = n.op("Shape", {n.x}, "shape");
  Attributes first;
  first.set("axis", int64_t{0});
  const auto at = [&](int64_t i) {
    return n.op("Gather", {shape, n.g.add_constant("i", Tensor::of<int64_t>({1}, {i}))}, "dim", first);
  };
  const ValueId wanted = n.op(
      "Concat", {at(0), at(1), n.g.add_constant("heads", Tensor::of<int64_t>({2}, {3, 4}))}, "wanted", first);
  n.finish(n.op("Reshape", {n.x, wanted}, "y"));
  canonicalize(n.g);
  EXPECT_EQ(ops_of(n.g), (Names{"Reshape"}));
  const Node& reshape = n.g.node(*n.g.find_node("y_node"));
  EXPECT_EQ(to_int64(*n.g.value(reshape.inputs[1]).constant), (std::vector<int64_t>{0, 0, 3, 4}));
  EXPECT_EQ(to_string(*n.g.value(n.g.outputs()[0]).shape), "NxSx3x4");
}

// Focus: four phases of the image in any order, sliced axis by axis or both at once.
TEST(FoldSpaceToDepth, GivesOneConvolution) {
  for (const bool at_once : {false, true}) {
    Net n({2, 3, 8, 10});
    const auto ints = [&](Ints v) {
      return n.g.add_constant(
          "i", Tensor::of<int64_t>({static_cast<int64_t>(v.size())}, std::span<const int64_t>(v)));
    };
    constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
    std::vector<ValueId> parts;
    for (const auto& [row, column] : {std::pair<int64_t, int64_t>{0, 0}, {1, 0}, {0, 1}, {1, 1}}) {
      if (at_once) {
        parts.push_back(
            n.op("Slice", {n.x, ints({row, column}), ints({kEnd, 10}), ints({2, -1}), ints({2, 2})}, "part"));
        continue;
      }
      const ValueId rows = n.op("Slice", {n.x, ints({row}), ints({kEnd}), ints({2}), ints({2})}, "rows");
      parts.push_back(n.op("Slice", {rows, ints({column}), ints({kEnd}), ints({3}), ints({2})}, "part"));
    }
    Attributes a;
    a.set("pads", Ints{1, 1, 1, 1});
    a.set("strides", Ints{1, 2});
    const Graph before =
        n.finish(n.op("Conv", {n.concat(parts, "joined"), n.floats({5, 12, 3, 3}), n.floats({5})}, "y", a));
    Graph after = before;
    canonicalize(after);
    EXPECT_EQ(ops_of(after), Names{"Conv"});
    expect_same_function(before, after);
  }
}

}  // namespace
}  // namespace octet
