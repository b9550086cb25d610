// Which grids may change together, and that a network is the same real function with other grids.
#include "correct/learned_grids.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "build/build.h"
#include "build/test_graphs.h"
#include "correct/test_networks.h"
#include "passes/layer_weights.h"
#include "passes/qdq.h"

namespace octet {
namespace {

using testing::Random;
using testing::random_floats;

const Node* find(const Graph& g, const std::vector<NodeId>& nodes, const std::string& name) {
  for (const NodeId id : nodes)
    if (g.node(id).name == name) return &g.node(id);
  return nullptr;
}

// x -> conv -> relu -> pool -> conv, with Q/DQ around all.
struct Pooled {
  Graph g;
  explicit Pooled(bool other_reader = false) {
    const QuantParams in{DType::kUInt8, -1, {0.01f}, {128}}, mid{DType::kUInt8, -1, {0.02f}, {7}};
    const ValueId x = g.add_input("x", DType::kFloat32, {1, 2, 4, 4});
    ValueId v = rounded(x, in);
    v = conv("first", v);
    v = rounded(v, mid);
    v = g.add_op("MaxPool", "pool", {v}, "pooled", kernel());
    v = rounded(v, mid);
    if (other_reader) g.mark_output(g.producer(v)->inputs[0]);
    g.mark_output(conv("second", v));
    infer_shapes(g);
  }
  static Attributes kernel() {
    Attributes a;
    a.set("kernel_shape", std::vector<int64_t>{2, 2});
    return a;
  }
  ValueId rounded(ValueId v, const QuantParams& q) { return add_dequantize(g, add_quantize(g, v, q), q); }
  ValueId conv(const std::string& name, ValueId x) {
    Random random(3);
    const QuantParams w{DType::kInt8, -1, {0.01f}, {0}};
    Tensor ints(DType::kInt8, {2, 2, 1, 1});
    for (int8_t& v : ints.as<int8_t>()) v = static_cast<int8_t>(random.range(-90, 90));
    const ValueId real = add_dequantize(g, g.add_constant(name + "_w_quantized", ints), w);
    return g.add_op("Conv", name, {x, real}, name + "_y");
  }
};

TEST(LearnedGrids, ValuesThatAreMovedShareOne) {
  const Pooled p;
  const auto grids = activation_grids(p.g);
  ASSERT_EQ(grids.size(), 2u);
  const auto& moved = grids[0].quantize.size() == 2 ? grids[0] : grids[1];
  EXPECT_EQ(moved.quantize.size(), 2u);
  EXPECT_EQ(moved.dequantize.size(), 2u);
  EXPECT_TRUE(moved.signed_values);
  EXPECT_TRUE(find(p.g, moved.quantize, "first_y_QuantizeLinear"));
  EXPECT_TRUE(find(p.g, moved.quantize, "pooled_QuantizeLinear"));
}

TEST(LearnedGrids, EightBitOutputsStay) {
  EXPECT_EQ(activation_grids(Pooled(true).g).size(), 1u);
}

TEST(LearnedGrids, MoveAllScalesAndZeroPointsOfAClass) {
  Pooled p;
  for (const ActivationGrid& grid : activation_grids(p.g))
    if (grid.quantize.size() == 2) move_grid(p.g, grid, 1.5f, -3);
  int64_t seen = 0;
  for (const NodeId id : p.g.sorted()) {
    const Node& node = p.g.node(id);
    if (!node.is("QuantizeLinear") && !node.is("DequantizeLinear")) continue;
    if (p.g.is_constant(node.inputs[0])) continue;
    const bool input = node.name.starts_with("x_");
    EXPECT_FLOAT_EQ(to_float(*p.g.value(node.inputs[1]).constant)[0], input ? 0.01f : 0.02f * 1.5f);
    EXPECT_EQ(to_int64(*p.g.value(node.inputs[2]).constant)[0], input ? 128 : 4);
    ++seen;
  }
  EXPECT_EQ(seen, 6);
}

// Random networks with scales per tensor or per channel: all layers stay integers, and weights real.
TEST(LearnedGrids, LayersKeepTheirWeights) {
  Random random(testing::test_seed());
  int64_t moved = 0, divided = 0, stepped = 0;
  for (int64_t i = testing::test_networks(30); i > 0; --i) {
    testing::NetworkMaker m(random);
    m.random_network(random.range(2, 8));
    canonicalize(m.graph);
    const auto data = testing::data_for(m.graph, random, 4, -1, 1);
    auto q = testing::quantize(m.graph, {data.load(0).inputs.begin()->second}, {}, {},
                               i % 2 == 0 ? &random : nullptr);
    const auto kinds = [](const Graph& g) {
      std::map<std::string, int> count;
      for (const auto& step : build_engine(g).steps) ++count[step.kind + " " + step.precision];
      return count;
    };
    const auto before = kinds(q.graph);
    std::map<std::string, std::vector<float>> weights;
    std::map<std::string, std::vector<std::pair<double, double>>> biases;  // and their steps
    const auto real_weights = [&](const Node& node) {
      std::vector<float> real;
      const auto found = dequantized_weights(q.graph, node.inputs[1]);
      if (!found) return real;
      const std::vector<float> scale = to_float(*q.graph.value(found->dequantize->inputs[1]).constant);
      real.push_back(scale[0]);
      if (found->divisor != kNoId) real[0] /= to_float(*q.graph.value(found->divisor).constant)[0];
      divided += found->divisor != kNoId;
      if (node.inputs.size() < 3) return real;
      if (const Node* bias = q.graph.producer(node.inputs[2])) {
        const std::vector<float> step = to_float(*q.graph.value(bias->inputs[1]).constant);
        for (size_t o = 0; o < step.size(); ++o)
          biases[node.name].push_back(
              {static_cast<double>(to_int64(*q.graph.value(bias->inputs[0]).constant)[o]) * step[o],
               step[o]});
      }
      return real;
    };
    for (const NodeId id : q.graph.sorted())
      if (const Node& node = q.graph.node(id); node.is("Conv") || node.is("Gemm"))
        weights[node.name] = real_weights(node);
    for (const ActivationGrid& grid : activation_grids(q.graph)) {
      move_grid(q.graph, grid, random.real(0.7f, 1.4f), 0);
      ++moved;
    }
    EXPECT_EQ(kinds(q.graph), before);
    const auto biases_before = biases;
    biases.clear();
    for (const NodeId id : q.graph.sorted())
      if (const Node& node = q.graph.node(id); node.is("Conv") || node.is("Gemm")) {
        const std::vector<float> now = real_weights(node);
        ASSERT_EQ(now.size(), weights[node.name].size());
        for (size_t k = 0; k < now.size(); ++k)
          EXPECT_NEAR(now[k], weights[node.name][k], 1e-5 * std::abs(now[k]));
      }
    for (const auto& [name, list] : biases_before)
      for (size_t o = 0; o < list.size(); ++o) {
        EXPECT_NEAR(biases[name][o].first, list[o].first, list[o].second + 1e-5 * std::abs(list[o].first));
        stepped += biases[name][o].second != list[o].second;
      }
  }
  EXPECT_GT(stepped, 10);
  EXPECT_GT(moved, 10);
  EXPECT_GT(divided, 0);
}

}  // namespace
}  // namespace octet
