// Layers that `build` computes in float because they are faster there.
#include "build/float_layers.h"

#include <gtest/gtest.h>

#include "build/build.h"
#include "build/test_graphs.h"
#include "build/tune.h"

namespace octet {
namespace {

using namespace testing;

QuantizedNetwork small_network(Random& random, const Tensor& input) {
  NetworkMaker m(random);
  const NetworkMaker::Val x = m.input(input.shape());
  const auto a = m.op("Relu", {m.conv(x, {.out_c = 24}).id}, {1, 24, 9, 9});
  const auto b = m.conv(a, {.out_c = 24, .group = 24});
  const auto c = m.op("Relu", {m.op("Add", {b.id, a.id}, b.shape).id}, b.shape);
  m.graph.mark_output(m.gemm(m.flatten(m.global_pool(c)), 10).id);
  infer_shapes(m.graph);
  return quantize(m.graph, {input});
}

std::vector<float> output_of(const engine::Model& model, const Tensor& input) {
  engine::Context context(engine::Engine(model), engine::default_options());
  context.run(std::vector<Tensor>{input});
  return to_float(context.output(0));
}

TEST(FloatLayers, AreThoseThatWereAskedFor) {
  Random random(test_seed());
  const Tensor input = random_floats(random, {1, 3, 9, 9}, -1, 1);
  const QuantizedNetwork q = small_network(random, input);
  const engine::Model model = build_engine(q.graph);
  const std::vector<std::string> names = integer_layers(model);
  ASSERT_EQ(names.size(), 3u);
  const std::vector<float> expected = output_of(model, input);
  float largest = 0;
  for (float v : expected) largest = std::max(largest, std::abs(v));
  for (const std::string& name : names) {
    BuildOptions options;
    options.float_layers = {name};
    const engine::Model one = build_engine(q.graph, options);
    EXPECT_EQ(integer_layers(one).size(), 2u) << name;
    int floats = 0;
    for (const engine::StepDef& step : one.steps)
      if (step.name == name && (step.kind == "conv_f32" || step.kind == "gemm_f32")) {
        ++floats;
        EXPECT_EQ(step.reason, "float is faster on this CPU");
      }
    EXPECT_EQ(floats, 1) << name;
    // Q/DQ stay, so at most a few roundings differ.
    const std::vector<float> got = output_of(one, input);
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], expected[i], 0.05f * largest) << name << " " << i;
  }
}

TEST(FloatLayers, MeasuredOnceByKey) {
  Random random(test_seed());
  const Tensor input = random_floats(random, {1, 3, 9, 9}, -1, 1);
  const QuantizedNetwork q = small_network(random, input);
  const engine::Model model = build_engine(q.graph);
  BuildOptions options;
  options.float_layers = integer_layers(model);
  const engine::Model floats = build_engine(q.graph, options);
  EXPECT_TRUE(integer_layers(floats).empty());
  FloatTimes times;
  EXPECT_EQ(measure_float_times(model, floats, times, 0), 3);
  ASSERT_EQ(times.size(), 3u);
  for (const auto& [key, percent] : times) {
    EXPECT_GE(percent, 1) << key;
    EXPECT_LE(percent, 1000) << key;
  }
  const FloatTimes known = times;
  EXPECT_EQ(measure_float_times(model, floats, times, 0), 0);
  EXPECT_EQ(times, known);

  for (auto& [key, percent] : times) percent = 91;
  EXPECT_TRUE(faster_in_float(model, times).empty());
  times.begin()->second = 90;
  const auto faster = faster_in_float(model, times);
  ASSERT_EQ(faster.size(), 1u);
  EXPECT_EQ(faster[0].percent, 90);
  const std::vector<std::string> keys = layer_keys(model);
  for (size_t i = 0; i < keys.size(); ++i)
    if (model.steps[i].name == faster[0].name) {
      EXPECT_EQ(keys[i], times.begin()->first);
    }
}

}  // namespace
}  // namespace octet
