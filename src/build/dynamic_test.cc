// Layers whose input has a scale that is computed at run time: in integers, and what the graph says.
#include <gtest/gtest.h>

#include <algorithm>

#include "build/build.h"
#include "build/test_graphs.h"
#include "passes/canonicalize.h"

namespace octet {
namespace {

using testing::interpret;
using testing::Random;
using testing::random_floats;
using testing::test_seed;

struct Layer {
  std::string op = "MatMul";
  bool signed_weights = true, activation = false, shared = false;
  int scales = 1;
  int64_t group = 1;
};

class Dynamic : public ::testing::Test {
 protected:
  static constexpr int64_t kIn = 12, kOut = 8;

  Graph make(const Layer& layer) {
    Graph g;
    const bool conv = layer.op == "Conv";
    const ValueId x = g.add_input("x", DType::kFloat32, conv ? Dims{2, kIn, 5, 7} : Dims{2, 9, kIn});
    const NodeId q = g.add_node("DynamicQuantizeLinear", "", "q", {x},
                                {g.add_value("xq"), g.add_value("xs"), g.add_value("xz")});
    const std::vector<ValueId> made = g.node(q).outputs;
    const ValueId real = g.add_op("DequantizeLinear", "dq", {made[0], made[1], made[2]}, "xr");
    const Shape shape = conv ? Shape{kOut, kIn / layer.group, 3, 3} : Shape{kIn, kOut};
    Tensor w(layer.signed_weights ? DType::kInt8 : DType::kUInt8, shape);
    for (int64_t i = 0; i < w.count(); ++i)
      static_cast<uint8_t*>(w.raw())[i] = static_cast<uint8_t>(random_.range(1, 255));
    const Shape many = layer.scales == 1 ? Shape{} : Shape{layer.scales};
    std::vector<ValueId> stored{g.add_constant("w", w),
                                g.add_constant("ws", random_floats(random_, many, 0.005f, 0.02f))};
    if (!layer.signed_weights) {
      Tensor zero(DType::kUInt8, many);
      for (uint8_t& z : zero.as<uint8_t>()) z = static_cast<uint8_t>(random_.range(0, 255));
      stored.push_back(g.add_constant("wz", zero));
    }
    Attributes axis;
    axis.set("axis", int64_t{conv ? 0 : 1});
    const ValueId weights = g.add_op("DequantizeLinear", "wdq", stored, "wr", axis);
    Attributes attributes;
    if (conv) {
      attributes.set("pads", std::vector<int64_t>{1, 1, 1, 1});
      attributes.set("group", layer.group);
    }
    ValueId y = g.add_op(layer.op, "layer", {real, weights}, "y", attributes);
    if (layer.activation) y = g.add_op("Relu", "relu", {y}, "positive");
    g.mark_output(y);
    if (layer.shared) g.mark_output(real);
    infer_shapes(g);
    verify(g);
    return g;
  }

  void check(const Layer& layer) {
    SCOPED_TRACE(fmt::format("{} {} scales, group {}, signed {}", layer.op, layer.scales, layer.group,
                             layer.signed_weights));
    const Graph graph = make(layer);
    const engine::Model model = build_engine(graph);
    const auto step = std::find_if(model.steps.begin(), model.steps.end(),
                                   [](const auto& s) { return s.kind == "gemm" || s.kind == "conv"; });
    ASSERT_NE(step, model.steps.end());
    EXPECT_EQ(step->precision, "int8");
    for (const auto& [low, high] : {std::pair(-2.0f, 3.0f), std::pair(0.5f, 1.0f), std::pair(0.0f, 0.0f)}) {
      const Tensor input = random_floats(random_, evaluate(*graph.value(graph.inputs()[0]).shape), low, high);
      const auto values = interpret(graph, {input});
      std::vector<float> first;
      for (const Isa isa : possible_isas()) {
        const engine::Engine engine{engine::Model(model)};
        engine::ContextOptions options;
        options.isa = isa;
        engine::Context context(engine, options);
        context.run(std::vector<Tensor>{input});
        for (size_t o = 0; o < graph.outputs().size(); ++o) {
          const auto expected = to_float(values.at(graph.outputs()[o]));
          const auto found = to_float(context.output(static_cast<int>(o)));
          ASSERT_EQ(found.size(), expected.size());
          float largest = 1e-6f;
          for (const float v : expected) largest = std::max(largest, std::abs(v));
          for (size_t i = 0; i < expected.size(); ++i)
            ASSERT_NEAR(found[i], expected[i], 1e-5f * largest) << i << " of output " << o;
          if (o > 0) continue;
          if (first.empty()) first = found;
          EXPECT_EQ(found, first) << isa_name(isa);
        }
      }
    }
  }

  Random random_{test_seed()};
};

TEST_F(Dynamic, Products) {
  check({});
  check({.scales = kOut});
  check({.activation = true, .scales = kOut});
  check({.signed_weights = false});
  check({.signed_weights = false, .scales = kOut});
  check({.shared = true});
}

TEST_F(Dynamic, Convolutions) {
  check({.op = "Conv"});
  check({.op = "Conv", .activation = true, .scales = kOut});
  check({.op = "Conv", .scales = kOut, .group = 2});
  check({.op = "Conv", .signed_weights = false});
}

TEST_F(Dynamic, ElementsThatAreNotFiniteAreAnError) {
  const engine::Engine engine(build_engine(make({})));
  engine::Context context(engine, engine::ContextOptions{});
  Tensor input = random_floats(random_, {2, 9, kIn}, -1, 1);
  input.as<float>()[17] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(context.run(std::vector<Tensor>{input}), Error);
}

}  // namespace
}  // namespace octet
