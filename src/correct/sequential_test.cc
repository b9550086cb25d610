// Networks that run segment by segment against the whole engine, and corrections from one end to the other.
// OCTET_TEST_SEED repeats a run, OCTET_TEST_CASES sets how many (see test_networks).
#include "correct/sequential.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "build/build.h"
#include "build/test_graphs.h"
#include "correct/columns.h"
#include "correct/layer_data.h"
#include "correct/side_by_side.h"
#include "correct/test_networks.h"

namespace octet {
namespace {

using engine::Engine;
using engine::Observation;
using testing::coarse_network;
using testing::constants;
using testing::data_for;
using testing::FixedData;
using testing::NetworkMaker;
using testing::noise;
using testing::prepare;
using testing::Prepared;
using testing::Random;
using testing::random_floats;

// What the whole engine stores in 8 bits, by the name of the real value.
std::map<std::string, std::vector<uint8_t>> stored_values(const Engine& engine, const Tensor& input) {
  std::map<std::string, std::vector<uint8_t>> stored;
  engine::Context context(engine, engine::default_options());
  context.run(std::vector<Tensor>{input}, [&](const Observation& o) {
    if (o.def->dtype == DType::kUInt8) stored[o.def->name] = testing::plain_elements<uint8_t>(o);
  });
  return stored;
}

// Layer `layer` from its columns at every position against the graph's own result.
void check_columns(const Graph& graph, const PairedLayer& layer, const StoredValue& x,
                   const Tensor& expected) {
  const Node& node = graph.node(layer.group.root);
  if (node.is("Gemm") && node.attributes.get_float("alpha", 1) != 1) return;
  const LayerGeometry g = geometry_of(graph, layer.group.root);
  const auto positions = choose_positions(g.positions(), g.positions() + 5, 0);
  ASSERT_EQ(static_cast<int64_t>(positions.size()), g.positions());
  std::vector<float> columns(positions.size() * g.row_length());
  gather_columns(g, x, {}, positions, columns.data());
  std::vector<float> wanted(positions.size() * g.out_channels);
  gather_outputs(g, {expected, false, 1}, {}, positions, wanted.data(), g.positions());
  const auto w = to_float(*graph.value(node.inputs[1]).constant);
  const bool turned = weight_axis(graph, node) != 0;
  std::vector<float> bias(g.out_channels, 0);
  if (node.inputs.size() > 2 && node.inputs[2] != kNoId)
    bias = to_float(*graph.value(node.inputs[2]).constant);
  double largest = 1e-3, error = 0;
  for (int64_t o = 0; o < g.out_channels; ++o)
    for (size_t p = 0; p < positions.size(); ++p) {
      const int64_t group = o / (g.out_channels / g.groups), k = g.group_inputs();
      double sum = bias[o];
      for (int64_t i = 0; i < k; ++i)
        sum += double{w[turned ? i * g.out_channels + o : o * k + i]} *
               columns[static_cast<int64_t>(p) * g.row_length() + group * k + i];
      const double value = wanted[o * g.positions() + static_cast<int64_t>(p)];
      largest = std::max(largest, std::abs(value));
      error = std::max(error, std::abs(value - sum));
    }
  EXPECT_LT(error, 2e-3 * largest) << node.name;
}

TEST(SideBySide, SegmentsGiveWhatTheWholeEngineGives) {
  const uint32_t seed = testing::test_seed();
  Random random(seed);
  int64_t seen = 0;
  for (int64_t i = testing::test_networks(40); i > 0; --i) {
    NetworkMaker m(random);
    m.random_network(random.range(1, 8));
    canonicalize(m.graph);
    const FixedData data = data_for(m.graph, random, 2, -1, 1);
    QuantizeOptions options;
    options.target = &find_target(i % 3 == 0 ? "octet-symmetric" : "octet");
    const Tensor first = data.load(0).inputs.begin()->second;
    auto q = testing::quantize(m.graph, {first}, options);
    const Engine float_engine(build_engine(m.graph)), engine(build_engine(q.graph));
    ThreadPool pool(2);
    const Shape shape = first.shape();
    const Graph reference = with_shapes(m.graph, {shape});
    Graph graph = with_shapes(q.graph, {shape});
    SideBySide networks(reference, graph, float_engine, data, {0, 1}, i % 2 == 0 ? 0 : 1 << 30, pool);
    std::vector<std::map<std::string, std::vector<uint8_t>>> stored;
    std::vector<std::map<ValueId, Tensor>> floats;
    for (int s = 0; s < 2; ++s) {
      const Tensor input = data.load(s).inputs.begin()->second;
      stored.push_back(stored_values(engine, input));
      floats.push_back(testing::interpret(reference, {input}));
    }
    for (int32_t s = 0; s < networks.segments().count(); ++s) {
      for (int64_t sample = 0; s > 0 && sample < 2; ++sample) {
        const PairedLayer& layer = networks.segments().layers[s - 1];
        const Node& root = reference.node(layer.group.root);
        check_columns(reference, layer, networks.value(Side::kFloat, root.inputs[0], sample),
                      floats[sample].at(root.outputs[0]));
        const Node* quantize_node = graph.producer(layer.input.value);
        if (quantize_node == nullptr || !quantize_node->is("QuantizeLinear")) continue;
        const auto found = stored[sample].find(graph.value(quantize_node->inputs[0]).name);
        if (found == stored[sample].end()) continue;
        const StoredValue value = networks.value(Side::kQuantized, layer.input.value, sample);
        ASSERT_EQ(value.data.bytes(), static_cast<int64_t>(found->second.size()));
        const uint8_t flip = value.data.dtype() == DType::kInt8 ? 0x80 : 0;
        const auto* bytes = static_cast<const uint8_t*>(value.data.raw());
        for (size_t b = 0; b < found->second.size(); ++b)
          ASSERT_EQ(bytes[b] ^ flip, found->second[b]) << root.name << " " << b << " seed " << seed;
        ++seen;
      }
      networks.run(s);
    }
    EXPECT_EQ(networks.spilled_bytes() > 0, i % 2 == 0 && networks.segments().count() > 1);
  }
  EXPECT_GT(seen, testing::test_networks(40));
}

TEST(ValueStore, KeepsFloatsInSteps) {
  Random random(2);
  Tensor t = random_floats(random, {3, 50}, -4, 9);
  const StoredValue kept = store_in_steps(t);
  EXPECT_TRUE(kept.steps);
  const Tensor back = kept.floats();
  float largest = 0;
  for (float v : t.as<float>()) largest = std::max(largest, std::abs(v));
  for (int64_t i = 0; i < t.count(); ++i)
    EXPECT_NEAR(back.as<float>()[i], t.as<float>()[i], largest / 32767 * 0.51f);
  t.as<float>()[7] = INFINITY;
  EXPECT_FALSE(store_in_steps(t).steps);
  EXPECT_EQ(store_in_steps(t).floats().as<float>()[7], INFINITY);
}

TEST(Sequential, MakesOtherSamplesBetterToo) {
  const uint32_t seed = testing::test_seed();
  Random random(seed);
  const Graph graph = coarse_network(random);
  const FixedData data = data_for(graph, random, 24, 0, 1), fresh = data_for(graph, random, 24, 0, 1);
  Prepared p = prepare(random, data, graph);
  const double before = noise(p, fresh);
  const Engine engine(build_engine(graph));
  const SequentialReport report = correct_sequentially(p.quantized, graph, engine, data, {}, {2});
  ASSERT_EQ(report.layers.size(), 3u);
  EXPECT_EQ(report.samples, 24);
  for (const LayerCorrection& l : report.layers) EXPECT_GE(l.after_db, l.before_db) << l.node;
  EXPECT_LT(noise(p, fresh), 0.7 * before) << "seed " << seed;
}

TEST(Sequential, DoesNotDependOnThreadsOrMemory) {
  Random random(7);
  const Graph graph = coarse_network(random);
  const FixedData data = data_for(graph, random, 13, -1, 1);
  const Prepared start = prepare(random, data, graph);
  const Engine engine(build_engine(graph));
  std::vector<std::vector<Tensor>> results;
  for (int threads : {1, 3}) {
    Prepared p = start;
    SequentialOptions options;
    if (threads == 3) options.memory_bytes = 1000;
    const auto report = correct_sequentially(p.quantized, graph, engine, data, options, {threads});
    EXPECT_EQ(report.spilled_bytes > 0, threads == 3);
    results.push_back(constants(p.quantized));
  }
  ASSERT_EQ(results[0].size(), results[1].size());
  for (size_t i = 0; i < results[0].size(); ++i) {
    ASSERT_EQ(results[0][i].bytes(), results[1][i].bytes());
    if (results[0][i].bytes() == 0) continue;
    EXPECT_EQ(std::memcmp(results[0][i].raw(), results[1][i].raw(), results[0][i].bytes()), 0) << i;
  }
}

TEST(Sequential, FewSamplesMoveOnlyBiases) {
  Random random(3);
  const Graph graph = coarse_network(random);
  const FixedData data = data_for(graph, random, 6, 0, 1);
  Prepared p = prepare(random, data, graph);
  const Engine engine(build_engine(graph));
  for (const LayerCorrection& l : correct_sequentially(p.quantized, graph, engine, data, {}, {2}).layers)
    EXPECT_EQ(l.rounding, "nearest");
}

}  // namespace
}  // namespace octet
