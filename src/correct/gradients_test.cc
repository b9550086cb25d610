// Gradients of parts of random graphs against finite differences, and what a part computes against the plain
// interpreter. OCTET_TEST_SEED repeats a run, OCTET_TEST_CASES sets how many (see test_networks).
#include "correct/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "build/test_graphs.h"
#include "correct/side_by_side.h"
#include "passes/qdq.h"

namespace octet {
namespace {

using testing::NetworkMaker;
using testing::Random;
using testing::random_floats;

bool is_layer(const Graph& g, const Node& node) {
  if (node.is("Gemm") &&
      (node.attributes.get_float("alpha", 1) != 1 || node.attributes.get_float("beta", 1) != 1))
    return false;
  return (node.is("Conv") || node.is("Gemm") || node.is("MatMul")) && g.is_constant(node.inputs[1]);
}

// A float graph as a part of all its nodes.
struct Whole {
  std::vector<NodeId> nodes;
  std::vector<PartLayer> layers;
  PartVariables floats;
  std::unique_ptr<GraphPart> part;

  explicit Whole(const Graph& g) {
    nodes = g.sorted();
    for (const NodeId id : nodes) {
      const Node& node = g.node(id);
      if (!is_layer(g, node)) continue;
      const Tensor& w = *g.value(node.inputs[1]).constant;
      LayerFloats f{to_float(w), {}};
      const int axis = weight_axis(g, node);
      const int64_t channels = w.shape()[axis], length = w.count() / channels;
      if (axis != 0) {
        const std::vector<float> turned = f.weights;
        for (int64_t o = 0; o < channels; ++o)
          for (int64_t i = 0; i < length; ++i) f.weights[o * length + i] = turned[i * channels + o];
      }
      f.bias.assign(static_cast<size_t>(channels), 0);
      if (node.inputs.size() > 2 && node.inputs[2] != kNoId)
        f.bias = to_float(*g.value(node.inputs[2]).constant);
      layers.push_back({id, kNoId});
      floats.layers.push_back(std::move(f));
    }
    part = std::make_unique<GraphPart>(g, nodes, layers);
  }

  // Loss: the outputs times these numbers.
  double loss(PartSlots& s, const PartVariables& at, const std::vector<std::vector<float>>& weights) const {
    part->forward(s, at);
    double sum = 0;
    for (size_t o = 0; o < weights.size(); ++o)
      for (size_t i = 0; i < weights[o].size(); ++i)
        sum += static_cast<double>(s.values[part->outputs()[o].slot][i]) * weights[o][i];
    return sum;
  }
};

Graph random_graph(Random& random, Tensor& input) {
  NetworkMaker m(random);
  m.random_network(random.range(1, 6));
  canonicalize(m.graph);
  const Shape shape = evaluate(*m.graph.value(m.graph.inputs()[0]).shape);
  input = random_floats(random, shape, -1, 1);
  return with_shapes(m.graph, {shape});
}

TEST(Gradients, APartComputesWhatTheGraphDoes) {
  Random random(testing::test_seed());
  int64_t compared = 0;
  for (int64_t i = testing::test_networks(60); i > 0; --i) {
    Tensor input;
    const Graph g = random_graph(random, input);
    const Whole whole(g);
    const auto expected = testing::interpret(g, {input});
    PartSlots s = whole.part->slots();
    for (const auto& border : whole.part->inputs())
      s.values[border.slot] = to_float(expected.at(border.value));
    whole.part->forward(s, whole.floats);
    for (const auto& output : whole.part->outputs()) {
      const std::vector<float> wanted = to_float(expected.at(output.value));
      double largest = 1e-3, error = 0;
      for (size_t j = 0; j < wanted.size(); ++j) {
        largest = std::max(largest, std::abs(static_cast<double>(wanted[j])));
        error = std::max(error, std::abs(static_cast<double>(wanted[j]) - s.values[output.slot][j]));
      }
      EXPECT_LT(error, 2e-4 * largest) << g.value(output.value).name;
      ++compared;
    }
  }
  EXPECT_GT(compared, 20);
}

// Gradients of a sum of outputs against differences of it. Where a function has a corner between the two
// points they do not agree: a few may.
TEST(Gradients, AgreeWithFiniteDifferences) {
  Random random(testing::test_seed());
  int64_t compared = 0, wrong = 0;
  std::set<std::string> seen;
  for (int64_t i = testing::test_networks(60); i > 0; --i) {
    Tensor input;
    const Graph g = random_graph(random, input);
    const Whole whole(g);
    const GraphPart& part = *whole.part;
    const auto values = testing::interpret(g, {input});
    PartSlots s = part.slots();
    for (const auto& border : part.inputs()) s.values[border.slot] = to_float(values.at(border.value));
    std::vector<std::vector<float>> outputs;
    for (const auto& output : part.outputs())
      outputs.push_back(
          to_float(random_floats(random, {static_cast<int64_t>(s.values[output.slot].size())}, -1, 1)));
    whole.loss(s, whole.floats, outputs);
    part.clear_gradients(s);
    for (size_t o = 0; o < outputs.size(); ++o)
      for (size_t j = 0; j < outputs[o].size(); ++j) s.gradients[part.outputs()[o].slot][j] += outputs[o][j];
    PartVariables gradients = whole.floats;
    for (LayerFloats& f : gradients.layers) {
      std::fill(f.weights.begin(), f.weights.end(), 0.0f);
      std::fill(f.bias.begin(), f.bias.end(), 0.0f);
    }
    part.backward(s, whole.floats, gradients);
    for (const NodeId id : whole.nodes)
      if (part.has(id)) seen.insert(g.node(id).op);
    for (size_t l = 0; l < whole.floats.layers.size(); ++l) {
      if (!part.has_layer(l)) continue;
      for (int probe = 0; probe < 4; ++probe) {
        PartVariables moved = whole.floats;
        const bool bias = probe == 3;
        std::vector<float>& at = bias ? moved.layers[l].bias : moved.layers[l].weights;
        const size_t j = static_cast<size_t>(random.range(0, static_cast<int>(at.size()) - 1));
        const float middle = at[j], step = 2e-3f;
        at[j] = middle + step;
        const double above = whole.loss(s, moved, outputs);
        at[j] = middle - step;
        const double below = whole.loss(s, moved, outputs);
        const double slope = (above - below) / (2.0 * step),
                     found = bias ? gradients.layers[l].bias[j] : gradients.layers[l].weights[j];
        ++compared;
        wrong += std::abs(slope - found) > 0.02 * std::abs(slope) + 0.02;
      }
    }
  }
  EXPECT_GT(compared, 100);
  EXPECT_LT(static_cast<double>(wrong), 0.06 * static_cast<double>(compared)) << wrong << " of " << compared;
  for (const char* op : {"Conv", "Add", "Concat", "MaxPool", "Relu", "Clip"})
    EXPECT_TRUE(seen.count(op)) << op << " was in no part";
}

// Through a rounding the gradient is 1, beyond the grid's ends 0; scales may be those of channels.
TEST(Gradients, PassThroughRounding) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kFloat32, {Dim(1), Dim(2), Dim(1), Dim(4)});
  const ValueId w = g.add_constant("w", Tensor::of<float>({2, 2, 1, 1}, {1, 0, 0, 1}));
  const ValueId y = g.add_op("Conv", "conv", {x, w}, "y");
  const QuantParams params{DType::kInt8, 1, {0.5f, 0.25f}, {3, -8}};
  const ValueId stored = add_quantize(g, y, params);
  g.mark_output(add_dequantize(g, stored, params));
  canonicalize(g);
  const NodeId conv = *g.find_node("conv");
  const std::vector<NodeId> nodes = g.sorted();
  const std::vector<PartLayer> layers{{conv, kNoId}};
  const GraphPart part(g, nodes, layers);
  ASSERT_EQ(part.outputs().size(), 1u);
  PartSlots s = part.slots();
  s.values[part.inputs()[0].slot] = {0.6f, -1.3f, 61.9f, 70, 0.1f, -29.9f, -31, 40};
  const PartVariables floats{{{{1, 0, 0, 1}, {0, 0}}}, {}};
  part.forward(s, floats);
  const auto& made = s.values[part.outputs()[0].slot];
  EXPECT_EQ(made, (std::vector<float>{0.5f, -1.5f, 62, 62, 0, -30, -30, 33.75f}));
  part.clear_gradients(s);
  std::fill(s.gradients[part.outputs()[0].slot].begin(), s.gradients[part.outputs()[0].slot].end(), 1.0f);
  PartVariables gradients{{{{0, 0, 0, 0}, {0, 0}}}, {}};
  part.backward(s, floats, gradients);
  EXPECT_EQ(gradients.layers[0].bias, (std::vector<float>{3, 2}));
  EXPECT_NEAR(gradients.layers[0].weights[0], 0.6f - 1.3f + 61.9f, 1e-4);
  EXPECT_NEAR(gradients.layers[0].weights[3], 0.1f - 29.9f, 1e-4);
}

// What is learned of grids, against differences of the function whose derivative the straight-through
// estimator takes: what rounding adds to x / s, and which values are clipped, stay as they are.
TEST(Gradients, OfGridsAgreeWithFiniteDifferences) {
  constexpr int64_t kRows = 5, kWidth = 4;
  Random random(testing::test_seed());
  int64_t clipped = 0;
  for (int round = 0; round < 40; ++round) {
    Graph g;
    const ValueId x = g.add_input("x", DType::kFloat32, {Dim(kRows), Dim(kWidth)});
    const QuantParams params[2] = {
        {DType::kUInt8, -1, {0.004f}, {static_cast<int32_t>(random.range(60, 180))}},
        {DType::kInt8, -1, {0.006f}, {static_cast<int32_t>(random.range(-60, 60))}}};
    PartVariables at;
    std::vector<PartLayer> layers;
    std::map<NodeId, size_t> grids;
    ValueId v = x;
    for (int l = 0; l < 2; ++l) {
      const Tensor w = random_floats(random, {kWidth, kWidth}, -0.7f, 0.7f);
      const std::string name = "layer" + std::to_string(l);
      v = g.add_op("MatMul", name, {v, g.add_constant(name + "_w", w)}, name + "_y");
      layers.push_back({*g.find_node(name), kNoId});
      const std::vector<float> by_input = to_float(w);
      LayerFloats f{std::vector<float>(by_input.size()), std::vector<float>(kWidth, 0)};
      for (int64_t o = 0; o < kWidth; ++o)
        for (int64_t i = 0; i < kWidth; ++i) f.weights[o * kWidth + i] = by_input[i * kWidth + o];
      at.layers.push_back(std::move(f));
      at.grids.push_back({random.real(0.7f, 1.4f), static_cast<float>(random.range(-9, 9))});
      const ValueId stored = add_quantize(g, v, params[l]);
      grids[g.value(stored).producer] = static_cast<size_t>(l);
      v = add_dequantize(g, stored, params[l]);
    }
    g.mark_output(v);
    infer_shapes(g);
    const std::vector<NodeId> nodes = g.sorted();
    const GraphPart part(g, nodes, layers, grids);
    ASSERT_EQ(part.outputs().size(), 1u);
    PartSlots s = part.slots();
    const std::vector<float> input = to_float(random_floats(random, {kRows, kWidth}, -1, 1)),
                             weights = to_float(random_floats(random, {kRows, kWidth}, -1, 1));
    s.values[part.inputs()[0].slot] = input;
    part.forward(s, at);
    part.clear_gradients(s);
    s.gradients[part.outputs()[0].slot] = weights;
    PartVariables found = at;
    for (LayerFloats& f : found.layers) {
      std::fill(f.weights.begin(), f.weights.end(), 0.0f);
      std::fill(f.bias.begin(), f.bias.end(), 0.0f);
    }
    found.grids.assign(2, {0, 0});
    part.backward(s, at, found);

    std::vector<double> added[2];  // by rounding, in steps; clipped values have their end instead
    std::vector<int> ends[2];      // -1, 0, 1
    const auto value = [&](const std::vector<GridFloats>& moved, bool first) {
      std::vector<double> a(input.begin(), input.end());
      for (int l = 0; l < 2; ++l) {
        std::vector<double> y(kRows * kWidth, 0);
        const IntLimits limits = int_limits(params[l].dtype);
        const double step = double{params[l].scale[0]} * moved[l].factor,
                     zero = params[l].zero_point[0] + double{moved[l].shift};
        for (int64_t r = 0; r < kRows; ++r)
          for (int64_t o = 0; o < kWidth; ++o) {
            double sum = 0;
            for (int64_t i = 0; i < kWidth; ++i)
              sum += at.layers[l].weights[o * kWidth + i] * a[r * kWidth + i];
            const double u = sum / step, q = std::nearbyint(u) + zero;
            if (first) {
              ends[l].push_back(q < limits.low ? -1 : q > limits.high ? 1 : 0);
              added[l].push_back(std::nearbyint(u) - u);
              clipped += ends[l].back() != 0;
            }
            const size_t n = static_cast<size_t>(r * kWidth + o);
            y[n] = ends[l][n] == 0 ? sum + added[l][n] * step
                                   : ((ends[l][n] < 0 ? limits.low : limits.high) - zero) * step;
          }
        a = std::move(y);
      }
      double loss = 0;
      for (size_t n = 0; n < a.size(); ++n) loss += a[n] * weights[n];
      return loss;
    };
    value(at.grids, true);
    for (size_t l = 0; l < 2; ++l)
      for (const bool of_shift : {false, true}) {
        std::vector<GridFloats> moved = at.grids;
        float& variable = of_shift ? moved[l].shift : moved[l].factor;
        const float middle = variable, step = 1.0f / 64;
        variable = middle + step;
        const double above = value(moved, false);
        variable = middle - step;
        const double slope = (above - value(moved, false)) / (2.0 * step);
        EXPECT_NEAR(of_shift ? found.grids[l].shift : found.grids[l].factor, slope,
                    1e-3 * std::abs(slope) + 2e-4)
            << l << of_shift;
      }
  }
  EXPECT_GT(clipped, 40);
}

}  // namespace
}  // namespace octet
