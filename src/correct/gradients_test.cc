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
  std::vector<LayerFloats> floats;
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
      floats.push_back(std::move(f));
    }
    part = std::make_unique<GraphPart>(g, nodes, layers);
  }

  // Loss: the outputs times these numbers.
  double loss(PartSlots& s, const std::vector<LayerFloats>& at,
              const std::vector<std::vector<float>>& weights) const {
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
    std::vector<LayerFloats> gradients = whole.floats;
    for (LayerFloats& f : gradients) {
      std::fill(f.weights.begin(), f.weights.end(), 0.0f);
      std::fill(f.bias.begin(), f.bias.end(), 0.0f);
    }
    part.backward(s, whole.floats, gradients);
    for (const NodeId id : whole.nodes)
      if (part.has(id)) seen.insert(g.node(id).op);
    for (size_t l = 0; l < whole.floats.size(); ++l) {
      if (!part.has_layer(l)) continue;
      for (int probe = 0; probe < 4; ++probe) {
        std::vector<LayerFloats> moved = whole.floats;
        const bool bias = probe == 3;
        std::vector<float>& at = bias ? moved[l].bias : moved[l].weights;
        const size_t j = static_cast<size_t>(random.range(0, static_cast<int>(at.size()) - 1));
        const float middle = at[j], step = 2e-3f;
        at[j] = middle + step;
        const double above = whole.loss(s, moved, outputs);
        at[j] = middle - step;
        const double below = whole.loss(s, moved, outputs);
        const double slope = (above - below) / (2.0 * step),
                     found = bias ? gradients[l].bias[j] : gradients[l].weights[j];
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
  const std::vector<LayerFloats> floats{{{1, 0, 0, 1}, {0, 0}}};
  part.forward(s, floats);
  const auto& made = s.values[part.outputs()[0].slot];
  EXPECT_EQ(made, (std::vector<float>{0.5f, -1.5f, 62, 62, 0, -30, -30, 33.75f}));
  part.clear_gradients(s);
  std::fill(s.gradients[part.outputs()[0].slot].begin(), s.gradients[part.outputs()[0].slot].end(), 1.0f);
  std::vector<LayerFloats> gradients{{{0, 0, 0, 0}, {0, 0}}};
  part.backward(s, floats, gradients);
  EXPECT_EQ(gradients[0].bias, (std::vector<float>{3, 2}));
  EXPECT_NEAR(gradients[0].weights[0], 0.6f - 1.3f + 61.9f, 1e-4);
  EXPECT_NEAR(gradients[0].weights[3], 0.1f - 29.9f, 1e-4);
}

}  // namespace
}  // namespace octet
