// What a block learns against a plain implementation in double precision, and whole networks.
// OCTET_TEST_SEED repeats a run.
#include "correct/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "correct/learned_grids.h"
#include "correct/side_by_side.h"
#include "correct/test_networks.h"

namespace octet {
namespace {

using engine::Engine;
using testing::FixedData;
using testing::Prepared;
using testing::Random;
using testing::random_floats;

constexpr int64_t kInputs = 5, kOutputs = 3, kRows = 6, kSamples = 4;

struct Plain {
  double mean = 0, square = 0;
  double step(double gradient, double rate) {
    mean = 0.9 * mean + 0.1 * gradient;
    square = 0.999 * square + 0.001 * gradient * gradient;
    return rate * mean / (std::sqrt(square) + 1e-12);
  }
};

// One layer y = relu(W x + b) learned by the formulas of block_learning.h, weight by weight.
void learn_plainly(LayerWeights& layer, const std::vector<std::vector<float>>& x,
                   const std::vector<std::vector<float>>& y, const BlockOptions& options) {
  const int64_t size = kOutputs * kInputs;
  std::vector<double> lower(size), place(size), factor(kOutputs, 0),
      bias(layer.bias.begin(), layer.bias.end()), unit(kOutputs, 0);
  std::vector<Plain> adam_place(size), adam_factor(kOutputs), adam_bias(kOutputs);
  double signal = 0, inputs = 0;
  for (const auto& sample : y)
    for (const float v : sample) signal += double{v} * v / kSamples;
  for (const float v : x[0]) inputs += double{v} * v / static_cast<double>(x[0].size());
  for (int64_t o = 0; o < kOutputs; ++o) {
    for (int64_t i = 0; i < kInputs; ++i) {
      const int64_t at = o * kInputs + i;
      const double exact = layer.weights[at] / double{layer.grid.step[o]};
      const int q = layer.rounded[at];
      lower[at] = exact >= q ? q : q - 1;
      place[at] = 0.6 * (q - lower[at]) + 0.4 * std::min(1.0, std::max(0.0, exact - lower[at]));
      unit[o] += double{layer.weights[at]} * layer.weights[at];
    }
    unit[o] = std::sqrt(unit[o] * inputs);
  }
  const auto integer = [&](int64_t at) { return lower[at] + (place[at] >= 0.5 ? 1 : 0); };
  for (int t = 1; t <= options.iterations; ++t) {
    std::vector<double> dw(size, 0), db(kOutputs, 0);
    for (int64_t s = 0; s < kSamples; ++s)
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t o = 0; o < kOutputs; ++o) {
          double sum = bias[o];
          for (int64_t i = 0; i < kInputs; ++i)
            sum +=
                integer(o * kInputs + i) * layer.grid.step[o] * std::exp(factor[o]) * x[s][r * kInputs + i];
          if (sum <= 0) continue;
          const double slope = 2 * (sum - y[s][r * kOutputs + o]) / signal / kSamples;
          db[o] += slope;
          for (int64_t i = 0; i < kInputs; ++i) dw[o * kInputs + i] += slope * x[s][r * kInputs + i];
        }
    const double pi = std::acos(-1.0);
    const double adam = 0.5 * (1 + std::cos(pi * t / options.iterations)) *
                        std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t));
    for (int64_t o = 0; o < kOutputs; ++o) {
      double of_factor = 0;
      const double step = layer.grid.step[o] * std::exp(factor[o]);
      for (int64_t at = o * kInputs; at < (o + 1) * kInputs; ++at) {
        of_factor += dw[at] * step * integer(at);
        place[at] -= adam_place[at].step(dw[at] * step, options.rate * adam);
        place[at] = std::min(1.0, std::max(0.0, place[at]));
      }
      factor[o] -= adam_factor[o].step(of_factor, options.step_rate * adam);
      bias[o] -= unit[o] * adam_bias[o].step(db[o] * unit[o], options.bias_rate * adam);
    }
  }
  for (int64_t at = 0; at < size; ++at) layer.rounded[at] = static_cast<int8_t>(integer(at));
  for (int64_t o = 0; o < kOutputs; ++o) {
    layer.grid.step[o] = static_cast<float>(layer.grid.step[o] * std::exp(factor[o]));
    layer.bias[o] = static_cast<float>(bias[o]);
  }
}

TEST(Blocks, LearnWhatAPlainImplementationDoes) {
  Random random(testing::test_seed());
  int64_t flipped = 0;
  double gained = 0;
  for (int round = 0; round < 12; ++round) {
    Graph g;
    const ValueId x = g.add_input("x", DType::kFloat32, {Dim(kRows), Dim(kInputs)});
    const ValueId w = g.add_constant("w", random_floats(random, {kInputs, kOutputs}, -1, 1));
    g.mark_output(g.add_op("Relu", "relu", {g.add_op("MatMul", "layer", {x, w}, "sums")}, "y"));
    canonicalize(g);
    LayerWeights layer;
    layer.channels = kOutputs;
    layer.length = kInputs;
    layer.has_bias = true;
    layer.grid.limit = 7;
    layer.weights = to_float(random_floats(random, {kOutputs, kInputs}, -1, 1));
    layer.grid.step.assign(kOutputs, 1.0f / 7);
    layer.bias = to_float(random_floats(random, {kOutputs}, -0.2f, 0.2f));
    for (const float v : layer.weights)  // some far from the nearest, as GPTQ leaves them
      layer.rounded.push_back(
          static_cast<int8_t>(std::clamp<double>(std::nearbyint(v * 7 + random.real(-0.8f, 0.8f)), -7, 6)));
    std::vector<std::vector<float>> inputs, outputs;
    for (int64_t s = 0; s < kSamples; ++s) {
      inputs.push_back(to_float(random_floats(random, {kRows, kInputs}, -1, 1)));
      std::vector<float> y(kRows * kOutputs);
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t o = 0; o < kOutputs; ++o) {
          float sum = layer.bias[o] + 0.05f;
          for (int64_t i = 0; i < kInputs; ++i)
            sum += layer.weights[o * kInputs + i] * inputs[s][r * kInputs + i];
          y[r * kOutputs + o] = std::max(0.0f, sum);
        }
      outputs.push_back(std::move(y));
    }
    const std::vector<NodeId> nodes = g.sorted();
    const std::vector<PartLayer> layers{{*g.find_node("layer"), kNoId}};
    const GraphPart part(g, nodes, layers);
    BlockData data;
    data.training = data.held_back = {0, 1, 2, 3};
    data.load = [&](int64_t s, PartSlots& slots) { slots.values[part.inputs()[0].slot] = inputs[s]; };
    data.target = [&](int64_t s, size_t) { return outputs[s]; };
    BlockOptions options;
    options.batch = kSamples;
    options.iterations = 30;
    options.rate = 0.02;
    LayerWeights expected = layer;
    learn_plainly(expected, inputs, outputs, options);
    std::vector<LayerWeights> learned{layer};
    ThreadPool pool(2);
    std::vector<GridChange> no_grids;
    const BlockGain gain = learn_block(part, learned, no_grids, data, options, pool);
    flipped += gain.flipped;
    gained += gain.after_db - gain.before_db;
    EXPECT_EQ(learned[0].rounded, expected.rounded);
    for (int64_t o = 0; o < kOutputs; ++o) {
      EXPECT_NEAR(learned[0].grid.step[o], expected.grid.step[o], 1e-4 * expected.grid.step[o]);
      EXPECT_NEAR(learned[0].bias[o], expected.bias[o], 1e-4);
    }
  }
  EXPECT_GT(flipped, 0);
  EXPECT_GT(gained, 0);
}

TEST(Blocks, MakeOtherSamplesBetterToo) {
  const uint32_t seed = testing::test_seed();
  Random random(seed);
  const Graph graph = testing::coarse_network(random);
  const FixedData data = testing::data_for(graph, random, 40, 0, 1),
                  fresh = testing::data_for(graph, random, 24, 0, 1);
  Prepared p = testing::prepare(random, data, graph);
  const double before = testing::noise(p, fresh);
  const Engine engine(build_engine(graph));
  const BlockReport report = reconstruct_blocks(p.quantized, graph, engine, data, {}, {}, {2});
  ASSERT_EQ(report.blocks.size(), 1u);
  EXPECT_EQ(report.blocks[0].layers.size(), 3u);
  EXPECT_TRUE(report.blocks[0].kept);
  EXPECT_LT(testing::noise(p, fresh), 0.9 * before) << "seed " << seed;
}

// Grids twice as wide as they need be become narrower.
TEST(Blocks, LearnTheScalesOfActivations) {
  const uint32_t seed = testing::test_seed();
  Random random(seed);
  const Graph graph = testing::coarse_network(random);
  const FixedData data = testing::data_for(graph, random, 40, -1, 1),
                  fresh = testing::data_for(graph, random, 24, -1, 1);
  Prepared wide = testing::prepare(random, data, graph);
  for (const ActivationGrid& grid : activation_grids(wide.quantized))
    if (wide.quantized.node(grid.quantize[0]).name != "x_QuantizeLinear")
      move_grid(wide.quantized, grid, 4, 0);
  const Engine engine(build_engine(graph));
  double lost[2];
  for (const bool grids : {false, true}) {
    Prepared p = wide;
    BlockOptions options;
    options.grids = grids;
    options.grid_rate = 0.02;
    const BlockReport report = reconstruct_blocks(p.quantized, graph, engine, data, options, {}, {2});
    ASSERT_EQ(report.blocks.size(), 1u);
    EXPECT_EQ(report.blocks[0].gain.grids, grids ? 2 : 0);
    lost[grids] = testing::noise(p, fresh);
  }
  EXPECT_LT(lost[1], 0.8 * lost[0]) << "seed " << seed;
}

// Fixing shapes rounds in front of a concatenation whose inputs have scales of their own by channel: nodes
// that the network whose constants are written does not have.
TEST(Blocks, LeaveGridsThatOneFormOfTheGraphHas) {
  Random random(11);
  testing::NetworkMaker m(random);
  const auto x = m.input({1, 6, 12, 12});
  const auto layer = [&](const auto& from, int64_t channels, bool relu) {
    testing::NetworkMaker::ConvOptions o;
    o.out_c = channels;
    const auto y = m.conv(from, o);
    return relu ? m.op("Relu", {y.id}, y.shape) : y;
  };
  const auto a = layer(x, 8, true), b = layer(a, 4, true), c = layer(a, 6, true);
  Attributes axis;
  axis.set("axis", int64_t{1});
  Shape joined = b.shape;
  joined[1] = 10;
  const auto both = m.op("Concat", {b.id, c.id}, joined, axis);
  m.graph.mark_output(layer(both, 5, false).id);
  infer_shapes(m.graph);
  canonicalize(m.graph);
  const FixedData data = testing::data_for(m.graph, random, 30, -1, 1);

  Graph quantized = m.graph;
  const QuantizeOptions options;
  const Placement placement = place(quantized, options);
  add_zero_biases(quantized, placement.weighted);
  ActivationParams params = tensor_params(quantized, placement, options, [](const std::string&) {
    return std::optional(Range{-1, 6});
  });
  const auto channels = [&](const std::string& name, size_t first, size_t count) {
    QuantParams& q = params.at(*quantized.find_value(name));
    const float scale = q.scale[0];
    const int32_t zero = q.zero_point[0];
    q.axis = 1;
    q.scale.clear();
    for (size_t i = first; i < first + count; ++i)
      q.scale.push_back(scale * (0.5f + 0.1f * static_cast<float>(i)));
    q.zero_point.assign(count, zero);
  };
  channels(m.graph.value(b.id).name, 0, 4);
  channels(m.graph.value(c.id).name, 4, 6);
  channels(m.graph.value(both.id).name, 0, 10);
  insert_qdq(quantized, placement, options, params);

  const Graph shaped = with_shapes(quantized, {{1, 6, 12, 12}});
  const auto all = activation_grids(shaped);
  const auto known = [&](const ActivationGrid& grid) {
    return std::all_of(grid.quantize.begin(), grid.quantize.end(),
                       [&](NodeId id) { return quantized.find_node(shaped.node(id).name).has_value(); });
  };
  const auto kept = std::count_if(all.begin(), all.end(), known);
  ASSERT_LT(kept, static_cast<int64_t>(all.size())) << "the network is no longer a case of this";
  const Engine engine(build_engine(m.graph));
  const BlockReport report = reconstruct_blocks(quantized, m.graph, engine, data, {}, {}, {2});
  bool changed = false;
  int64_t grids = 0;
  for (const ReconstructedBlock& block : report.blocks) {
    changed = changed || block.kept;
    grids += block.gain.grids;
  }
  EXPECT_TRUE(changed);
  EXPECT_GT(grids, 0);
  EXPECT_LE(grids, kept);
  build_engine(quantized);
}

TEST(Blocks, DoNotDependOnThreadsOrMemory) {
  Random random(7);
  const Graph graph = testing::coarse_network(random);
  const FixedData data = testing::data_for(graph, random, 21, -1, 1);
  const Prepared start = testing::prepare(random, data, graph);
  const Engine engine(build_engine(graph));
  std::vector<std::vector<Tensor>> results;
  for (const int threads : {1, 3}) {
    Prepared p = start;
    SequentialOptions limits;
    if (threads == 3) limits.memory_bytes = 1000;
    reconstruct_blocks(p.quantized, graph, engine, data, {}, limits, {threads});
    results.push_back(testing::constants(p.quantized));
  }
  ASSERT_EQ(results[0].size(), results[1].size());
  for (size_t i = 0; i < results[0].size(); ++i)
    EXPECT_EQ(std::memcmp(results[0][i].raw(), results[1][i].raw(), results[0][i].bytes()), 0) << i;
}

TEST(Blocks, FewSamplesTeachNothing) {
  Random random(3);
  const Graph graph = testing::coarse_network(random);
  const FixedData data = testing::data_for(graph, random, kFewestToLearn - 1, 0, 1);
  Prepared p = testing::prepare(random, data, graph);
  const std::vector<Tensor> before = testing::constants(p.quantized);
  const Engine engine(build_engine(graph));
  EXPECT_TRUE(reconstruct_blocks(p.quantized, graph, engine, data, {}, {}, {2}).blocks.empty());
  const std::vector<Tensor> after = testing::constants(p.quantized);
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_EQ(std::memcmp(before[i].raw(), after[i].raw(), before[i].bytes()), 0) << i;
}

// Random networks, of which parts are not differentiable: nothing fails, and no block that is kept is worse.
TEST(Blocks, TakeAnyNetwork) {
  Random random(testing::test_seed());
  int64_t kept = 0;
  for (int64_t i = testing::test_networks(20); i > 0; --i) {
    testing::NetworkMaker m(random);
    m.random_network(random.range(2, 8));
    canonicalize(m.graph);
    const FixedData data = testing::data_for(m.graph, random, 20, -1, 1);
    auto q = testing::quantize(m.graph, {data.load(0).inputs.begin()->second}, {});
    const Engine engine(build_engine(m.graph));
    BlockOptions options;
    options.iterations = 5;
    for (const auto& block : reconstruct_blocks(q.graph, m.graph, engine, data, options, {}, {2}).blocks) {
      kept += block.kept;
      EXPECT_EQ(block.kept, block.gain.after_db > block.gain.before_db);
    }
    build_engine(q.graph);
  }
  EXPECT_GT(kept, 0);
}

}  // namespace
}  // namespace octet
