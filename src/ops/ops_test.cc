#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "ops/op_def.h"
#include "ops/support.h"

namespace octet {
namespace {

// One node over inputs of given shapes and integer constants.
struct One {
  Graph graph;
  std::vector<ValueId> inputs;
  NodeId node = kNoId;

  One& input(Dims shape, DType dtype = DType::kFloat32) {
    inputs.push_back(graph.add_input("x", dtype, std::move(shape)));
    return *this;
  }
  One& ints(const std::vector<int64_t>& values) {
    inputs.push_back(add_ints(graph, "k", values));
    return *this;
  }
  One& integers(ValueId value) {
    inputs.push_back(value);
    return *this;
  }
  One& none() {
    inputs.push_back(kNoId);
    return *this;
  }
  std::string run(const std::string& op, const Attributes& attributes = {}, size_t outputs = 1) {
    std::vector<ValueId> out;
    for (size_t i = 0; i < outputs; ++i) out.push_back(graph.add_value("y"));
    node = graph.add_node(op, "", "n", inputs, out, attributes);
    for (const ValueId value : out) graph.mark_output(value);
    try {
      infer_shapes(graph);
    } catch (const Error& error) {
      return error.message();
    }
    return shape(0);
  }
  const Value& output(size_t i) const { return graph.value(graph.node(node).outputs[i]); }
  std::string shape(size_t i) const { return output(i).shape ? to_string(*output(i).shape) : "unknown"; }
};

Attributes with(std::initializer_list<std::pair<const char*, Attribute>> list) {
  Attributes attributes;
  for (const auto& [name, value] : list) attributes.set(name, value);
  return attributes;
}

using Ints = std::vector<int64_t>;
const Dim kN = Dim::symbol("N");
const Dim kH = Dim::symbol("H");

TEST(Ops, RegistryIsSortedAndRunnable) {
  const std::vector<const OpDef*> all = all_ops();
  EXPECT_GT(all.size(), 80u);
  EXPECT_TRUE(std::ranges::is_sorted(all, {}, [](const OpDef* d) { return std::pair(d->domain, d->name); }));
  for (const OpDef* def : all) {
    EXPECT_TRUE(def->run != nullptr || def->upgrade != nullptr) << def->name;
    EXPECT_EQ(find_op(def->name, def->domain), def);
  }
  EXPECT_EQ(find_op("Nothing"), nullptr);
  EXPECT_EQ(find_op("Silu"), nullptr);
  EXPECT_NE(find_op("Silu", kOctetDomain), nullptr);
}

TEST(Ops, Broadcasting) {
  EXPECT_EQ(One().input({kN, 1, 5}).input({4, 1}).run("Add"), "Nx4x5");
  EXPECT_EQ(One().input({kN}).input({kH}).run("Mul"), "N");
  EXPECT_EQ(One().input({2, 3}).input({2, 4}).run("Add"),
            "node 'n' (Add): dimensions 3 and 4 do not broadcast");
  EXPECT_EQ(One().input({2}).input({2}, DType::kInt64).run("Add"),
            "node 'n' (Add): input 0 is float32, but input 1 is int64");
}

TEST(Ops, Windows) {
  const auto conv = [](const Dims& x, const Dims& w, const Attributes& attributes) {
    return One().input(x).input(w).run("Conv", attributes);
  };
  EXPECT_EQ(
      conv({kN, 3, 224, 224}, {32, 3, 3, 3}, with({{"pads", Ints{0, 0, 1, 1}}, {"strides", Ints{2, 2}}})),
      "Nx32x112x112");
  EXPECT_EQ(
      conv({1, 8, 7, 7}, {8, 1, 3, 3},
           with({{"group", int64_t{8}}, {"auto_pad", std::string("SAME_UPPER")}, {"strides", Ints{2, 2}}})),
      "1x8x4x4");
  EXPECT_EQ(conv({1, 4, 9, 9}, {2, 4, 3, 3}, with({{"dilations", Ints{2, 2}}})), "1x2x5x5");
  EXPECT_NE(conv({1, 3, 9, 9}, {2, 4, 3, 3}, {}).find("3 channels"), std::string::npos);
  EXPECT_NE(conv({1, 4, 2, 2}, {2, 4, 3, 3}, {}).find("does not fit"), std::string::npos);
  EXPECT_NE(conv({1, 4, 9, 9}, {2, 4, 3, 3}, with({{"strides", Ints{2}}})).find("'strides' has 1"),
            std::string::npos);
  const Attributes ceil =
      with({{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}});
  EXPECT_EQ(One().input({1, 2, 113, 112}).run("MaxPool", ceil), "1x2x56x56");
  // The last window would begin in the padding.
  EXPECT_EQ(
      One()
          .input({1, 1, 2, 2})
          .run("MaxPool",
               with({{"kernel_shape", Ints{1, 1}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}})),
      "1x1x1x1");
  EXPECT_EQ(
      One().input({1, 4, 5, 5}).input({4, 3, 2, 2}).run("ConvTranspose", with({{"strides", Ints{2, 2}}})),
      "1x3x10x10");
}

TEST(Ops, Reshape) {
  EXPECT_EQ(One().input({kN, 4, 6}).ints({0, -1}).run("Reshape"), "Nx24");
  EXPECT_EQ(One().input({kN, 4, kH}).ints({0, -1, 2}).run("Reshape"), "NxH*2x2");
  EXPECT_EQ(One().input({kN, 4, 6}).ints({-1, 12}).run("Reshape"), "N*2x12");
  EXPECT_EQ(One().input({2, 3}).ints({4, -1}).run("Reshape"),
            "node 'n' (Reshape): 6 elements of shape 2x3 do not divide into 4x-1");
  EXPECT_NE(One().input({2, 3}).ints({7}).run("Reshape").find("cannot become"), std::string::npos);
  EXPECT_NE(One().input({2, 3}).ints({-1, -1}).run("Reshape").find("twice"), std::string::npos);
  EXPECT_EQ(One().input({2, 3}).input({2}, DType::kInt64).run("Reshape"), "y#0xy#1");
  EXPECT_EQ(One().input({kN, 3, 2}).run("Flatten", with({{"axis", int64_t{1}}})), "Nx6");
}

// A symbolic size must give what the known one gives, for every index.
TEST(Ops, SliceOfUnknownSize) {
  const auto range = [](int64_t i) { return i == 9 ? INT64_MAX : i == -9 ? INT64_MIN + 1 : i; };
  for (int64_t start = -9; start <= 9; ++start)
    for (int64_t end = -9; end <= 9; ++end)
      for (const int64_t step : {-3, -1, 1, 2}) {
        One symbolic;
        symbolic.input({kN}).ints({range(start)}).ints({range(end)}).ints({0}).ints({step}).run("Slice");
        ASSERT_TRUE(symbolic.output(0).shape);
        for (int64_t size = 1; size <= 8; ++size) {
          int64_t expected = 0;
          const auto clamp = [&](int64_t i, int64_t low, int64_t high) {
            if (i < 0) i = i < -size ? low : i + size;
            return std::clamp(i, low, high);
          };
          if (step > 0)
            for (int64_t i = clamp(range(start), 0, size); i < clamp(range(end), 0, size); i += step)
              ++expected;
          else
            for (int64_t i = clamp(range(start), -1, size - 1); i > clamp(range(end), -1, size - 1);
                 i += step)
              ++expected;
          One known;
          known.input({size}).ints({range(start)}).ints({range(end)}).ints({0}).ints({step}).run("Slice");
          EXPECT_EQ(known.shape(0), std::to_string(expected))
              << start << ":" << end << ":" << step << " of " << size;
          EXPECT_EQ((*symbolic.output(0).shape)[0].evaluate({{"N", size}}), expected)
              << symbolic.shape(0) << " " << start << ":" << end << ":" << step << " of " << size;
        }
      }
}

TEST(Ops, ShapesPassThroughIntegerArithmetic) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {kN, 8, kH, 6});
  const ValueId shape = graph.add_op("Shape", "", {x}, "shape");
  const ValueId tail =
      graph.add_op("Slice", "", {shape, add_ints(graph, "a", {2}), add_ints(graph, "b", {4})}, "tail");
  const ValueId twice = graph.add_op("Mul", "", {tail, add_ints(graph, "two", {2})}, "twice");
  const ValueId as_float = graph.add_op("Cast", "", {twice}, "f", with({{"to", int64_t{1}}}));
  const ValueId floor = graph.add_op("Floor", "", {as_float}, "floor");
  const ValueId back = graph.add_op("Cast", "", {floor}, "i", with({{"to", int64_t{7}}}));
  const ValueId head = graph.add_op("Gather", "", {shape, add_ints(graph, "c", {0, -3})}, "head");
  const ValueId sizes = graph.add_op("Concat", "", {head, back}, "sizes", with({{"axis", int64_t{0}}}));
  const ValueId y = graph.add_op("Resize", "", {x, kNoId, kNoId, sizes}, "y");
  graph.mark_output(y);
  infer_shapes(graph);
  EXPECT_EQ(to_string(*graph.value(y).shape), "Nx8xH*2x12");
}

// The way exporters write the size behind a strided convolution, a size that Reshape wants.
TEST(Ops, ASizeLessOneIsDivided) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {kN, 3, kH, 1});
  const ValueId wide = graph.add_constant("w", Tensor::of<float>({4, 3, 1, 1}, std::vector<float>(12, 1)));
  const ValueId half = graph.add_op("Conv", "", {x, wide}, "half", with({{"strides", Ints{4, 1}}}));
  const ValueId size =
      graph.add_op("Shape", "", {x}, "size", with({{"start", int64_t{2}}, {"end", int64_t{3}}}));
  const ValueId less = graph.add_op("Add", "", {add_ints(graph, "m", {-1}), size}, "less");
  const ValueId quotient = graph.add_op("Div", "", {less, add_ints(graph, "four", {4})}, "quotient");
  const ValueId rows = graph.add_op("Add", "", {quotient, add_ints(graph, "one", {1})}, "rows");
  const ValueId count =
      graph.add_op("Shape", "", {x}, "count", with({{"start", int64_t{0}}, {"end", int64_t{1}}}));
  const ValueId wanted = graph.add_op("Concat", "", {count, add_ints(graph, "c", {4}), rows}, "wanted",
                                      with({{"axis", int64_t{0}}}));
  const ValueId y = graph.add_op("Reshape", "", {half, wanted}, "y");
  graph.mark_output(y);
  infer_shapes(graph);
  EXPECT_EQ(to_string(*graph.value(y).shape), "Nx4xfloor((H+3)/4)");
}

// The way exporters write expand(-1, 4): where(shape == -1, shape of the input, shape).
TEST(Ops, ExpandWithMinusOne) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {kN, 1});
  const ValueId wanted = add_ints(graph, "wanted", {-1, 4});
  const ValueId ones = graph.add_op("ConstantOfShape", "", {add_ints(graph, "two", {2})}, "ones",
                                    with({{"value", Tensor::of<int64_t>({1}, {1})}}));
  const ValueId minus = graph.add_op("Mul", "", {ones, add_ints(graph, "m", {-1})}, "minus");
  const ValueId same = graph.add_op("Equal", "", {wanted, minus}, "same");
  const ValueId shape = graph.add_op("Where", "", {same, ones, wanted}, "shape");
  const ValueId y = graph.add_op("Expand", "", {x, shape}, "y");
  graph.mark_output(y);
  infer_shapes(graph);
  EXPECT_EQ(to_string(*graph.value(y).shape), "Nx4");
}

TEST(Ops, MoreShapes) {
  EXPECT_EQ(One().input({kN, 2, 3}).input({3, 5}).run("MatMul"), "Nx2x5");
  EXPECT_EQ(One().input({3}).input({3}).run("MatMul"), "scalar");
  EXPECT_EQ(One().input({kN, 2}).input({5, 2}).input({5}).run("Gemm", with({{"transB", int64_t{1}}})), "Nx5");
  EXPECT_EQ(One().input({kN, 2}).input({kN, 3}).run("Concat", with({{"axis", int64_t{-1}}})), "Nx5");
  EXPECT_EQ(One().input({kN, 3, 4}).ints({1}).run("ReduceMean", with({{"keepdims", int64_t{0}}})), "Nx4");
  EXPECT_EQ(One().input({kN, 3, 4}).run("ReduceMax"), "1x1x1");
  EXPECT_EQ(One().input({2, 3, kN}).run("Transpose", with({{"perm", Ints{2, 0, 1}}})), "Nx2x3");
  EXPECT_EQ(One().input({kN, 3}).ints({0, 3}).run("Unsqueeze"), "1xNx3x1");
  EXPECT_EQ(One().input({1, kN, 1}).ints({0, -1}).run("Squeeze"), "N");
  EXPECT_EQ(One().input({kN, 3}).ints({0, 1, 2, 0}).run("Pad"), "N+2x4");
  EXPECT_EQ(One().input({kN, 7}).ints({2, 3}).run("Tile"), "N*2x21");
  EXPECT_EQ(One().input({9, 4}).input({kN, 2}, DType::kInt64).run("Gather"), "Nx2x4");
  EXPECT_EQ(One().input({kN, 5}).run("ArgMax", with({{"axis", int64_t{1}}, {"keepdims", int64_t{0}}})), "N");
  One split;
  EXPECT_EQ(split.input({7, 2}).run("Split", {}, 3), "3x2");
  EXPECT_EQ(split.shape(2), "1x2");
  EXPECT_EQ(One().input({2, 8}).input({8}).input({8}, DType::kInt8).run("QuantizeLinear"), "2x8");
  EXPECT_NE(One().input({2, 8}).input({7}).input({7}, DType::kInt8).run("QuantizeLinear").find("axis 1"),
            std::string::npos);
}

TEST(Ops, SizesThatMustBeEqualBecomeOne) {
  Graph g;
  const Dim h = Dim::symbol("H");
  const ValueId small = g.add_input("small", DType::kFloat32, {Dim::symbol("A"), floor_div(h, 2)});
  const ValueId large = g.add_input("large", DType::kFloat32, {Dim::symbol("B"), h});
  const ValueId twice = g.add_op("Concat", "twice", {small, small}, "twice", [] {
    Attributes a;
    a.set("axis", int64_t{1});
    return a;
  }());
  const ValueId sum = g.add_op("Add", "sum", {twice, large}, "sum");
  const ValueId again = g.add_op("Mul", "again", {twice, sum}, "again");
  g.mark_output(again);
  infer_shapes(g);
  EXPECT_EQ(to_string(*g.value(large).shape), "AxH");
  EXPECT_EQ(to_string(*g.value(twice).shape), "AxH");
  EXPECT_EQ(to_string(*g.value(again).shape), "AxH");
  ASSERT_EQ(g.equalities.size(), 1u);
  EXPECT_EQ(g.equalities[0].a.text(), "floor(H/2)*2");
  EXPECT_EQ(g.equalities[0].b.text(), "H");
  EXPECT_EQ(g.equalities[0].node, "sum");
  infer_shapes(g);
  EXPECT_EQ(g.equalities.size(), 1u) << "the same when it is done again";
}

TEST(Ops, VerifyListsEverything) {
  One one;
  one.input({1, 3, 8, 8}).run("MaxPool", with({{"kernel_shape", Ints{0, 2}}, {"colour", int64_t{1}}}));
  one.graph.add_node("Foo", "", "foo", {one.inputs[0]}, {one.graph.add_value("z")});
  one.graph.add_node("Relu", "", "relu", {one.graph.add_value("nobody")}, {one.graph.add_value("w")});
  try {
    verify(one.graph);
    FAIL();
  } catch (const Error& error) {
    for (const auto* part :
         {"'kernel_shape' is 0", "'colour'", "node 'foo' (Foo): unknown operator", "'nobody'"})
      EXPECT_NE(error.message().find(part), std::string::npos) << part << " in " << error.message();
  }
}

// What upgrade() replaces by other operators must not leave outputs behind that nothing makes.
TEST(Ops, OutputsThatAnOperatorDoesNotHave) {
  const auto problems = [](const char* op, size_t outputs, int opset) {
    Node node;
    node.op = op;
    node.inputs = std::vector<ValueId>(op == std::string("BatchNormalization") ? 5 : 1, 0);
    node.outputs = std::vector<ValueId>(outputs, 0);
    return check_node(node, *find_op(op), opset).size();
  };
  EXPECT_EQ(problems("Hardmax", 1, 13), 0u);
  EXPECT_EQ(problems("Hardmax", 3, 13), 1u);
  EXPECT_EQ(problems("BatchNormalization", 5, 7), 0u);
  EXPECT_EQ(problems("BatchNormalization", 6, 7), 1u);
}

}  // namespace
}  // namespace octet
