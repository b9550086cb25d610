// What must never change a result: contexts side by side, threads, shapes in any order, tactics.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/thread_pool.h"
#include "build/build.h"
#include "build/test_graphs.h"
#include "build/tune.h"
#include "kernels/conv/conv.h"

namespace octet {
namespace {

using engine::Context;
using engine::ContextOptions;
using engine::Engine;
using testing::NetworkMaker;
using testing::quantize;
using testing::Random;
using testing::random_floats;
using testing::test_networks;
using testing::test_seed;

constexpr int kContexts = 16, kRuns = 1000;

// Images of any number and size: dense, depthwise and grouped convolutions, curves, a residual, pooling,
// squeeze and excite, concatenation and a product, all in integers.
Graph any_size(Random& random, const Shape& example) {
  NetworkMaker m(random);
  Dims dims{Dim::symbol("N"), example[1], Dim::symbol("H"), Dim::symbol("W")};
  const NetworkMaker::Val x{m.graph.add_input("x", DType::kFloat32, std::move(dims)), example};
  const auto silu = [&](const NetworkMaker::Val& v) {
    return m.op("Mul", {v.id, m.op("Sigmoid", {v.id}, v.shape).id}, v.shape);
  };
  const auto a = silu(m.conv(x, {.out_c = 24, .stride = 2}));
  const auto b = silu(m.conv(a, {.out_c = 24, .group = 24}));
  const auto c = m.conv(b, {.out_c = 24, .kernel_h = 1, .kernel_w = 1, .pad = 0});
  const auto sum = m.op("Relu", {m.op("Add", {c.id, a.id}, c.shape).id}, c.shape);
  const auto pooled = m.pool("MaxPool", sum, 3, 1, 1);
  const auto grouped = m.op("HardSwish", {m.conv(pooled, {.out_c = 32, .group = 8}).id},
                            {pooled.shape[0], 32, pooled.shape[2], pooled.shape[3]});
  const auto gate = m.op(
      "Sigmoid", {m.conv(m.global_pool(grouped), {.out_c = 32, .kernel_h = 1, .kernel_w = 1, .pad = 0}).id},
      {grouped.shape[0], 32, 1, 1});
  const auto excited = m.op("Mul", {grouped.id, gate.id}, grouped.shape);
  const auto wide = m.conv(m.concat({excited, sum}), {.out_c = 70, .kernel_h = 1, .kernel_w = 1, .pad = 0});
  m.graph.mark_output(wide.id);
  m.graph.mark_output(m.gemm(m.flatten(m.global_pool(wide)), 10).id);
  m.graph.prune();
  infer_shapes(m.graph);
  verify(m.graph);
  return m.graph;
}

std::vector<Tensor> copies_of_outputs(const Context& context, size_t count) {
  std::vector<Tensor> outputs;
  for (size_t o = 0; o < count; ++o) outputs.push_back(context.output(o).clone());
  return outputs;
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

struct Sample {
  std::map<std::string, int64_t> symbols;
  Tensor input;
  std::vector<Tensor> expected;
};

TEST(Contexts, SixteenOfOneEngineGiveTheBytesOfSerialRuns) {
  Random random(test_seed());
  const Shape example{1, 3, 17, 14};
  const auto q = quantize(any_size(random, example), {random_floats(random, example, -1, 1)}, {},
                          {{"N", 1}, {"H", 17}, {"W", 14}});
  const Engine shared{build_engine(q.graph)};
  for (const engine::StepDef& s : shared.model().steps)  // none through oneDNN
    ASSERT_TRUE(!s.kind.ends_with("_f32") || s.kind == "function_f32") << s.name << " " << s.kind;

  std::vector<Sample> samples;
  Context serial(shared, engine::default_options());
  for (const auto& [n, h, w] : {std::tuple<int64_t, int64_t, int64_t>{1, 17, 14},
                                {2, 9, 9},
                                {1, 5, 30},
                                {3, 8, 6},
                                {1, 24, 24},
                                {1, 120, 90},  // several pieces for each step
                                {1, 1, 1}}) {
    Sample s{{{"N", n}, {"H", h}, {"W", w}}, random_floats(random, {n, 3, h, w}, -1, 1), {}};
    serial.set_shapes(s.symbols);
    serial.run(std::vector<Tensor>{s.input});
    s.expected = copies_of_outputs(serial, shared.model().outputs.size());
    samples.push_back(std::move(s));
  }

  std::vector<int> wrong(kContexts, -1);
  std::vector<std::thread> threads;
  threads.reserve(kContexts);
  for (int t = 0; t < kContexts; ++t)
    threads.emplace_back([t, shared, &samples, &wrong] {
      ThreadPool pool(2 + t % 3);
      ContextOptions options = engine::default_options();
      if (t % 2 == 1) options.pool = &pool;
      Context context(shared, options);
      Random order(static_cast<uint32_t>(t + 1));
      int different = 0;
      for (int i = 0; i < kRuns; ++i) {
        const Sample& s = samples[order.bits() % samples.size()];
        context.set_shapes(s.symbols);
        context.run(std::vector<Tensor>{s.input});
        for (size_t o = 0; o < s.expected.size(); ++o) different += !equal(context.output(o), s.expected[o]);
      }
      wrong[static_cast<size_t>(t)] = different;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(kContexts, 0));
}

TEST(Tactics, EachGivesTheSameBytesForAnyThreadsAndInstructionSet) {
  Random random(test_seed());
  for (int64_t i = test_networks(6); i > 0; --i) {
    const Shape example{random.range(1, 2), random.range(1, 9), random.range(3, 20), random.range(3, 20)};
    const SymbolValues symbols{{"N", example[0]}, {"H", example[2]}, {"W", example[3]}};
    const Tensor input = random_floats(random, example, -1, 1);
    const auto q = quantize(any_size(random, example), {input}, {}, symbols);
    const engine::Model model = build_engine(q.graph);
    std::vector<Tensor> expected;
    int forced = 0;
    for (const Isa isa : possible_isas())
      for (int blocks = 0; blocks <= kernels::kMostTileBlocks; ++blocks) {
        engine::Model variant = model;
        for (engine::StepDef& step : variant.steps) {
          if (step.kind != "conv" && step.kind != "gemm") continue;
          step.attributes.set("tile_blocks", int64_t{blocks});
          ++forced;
        }
        const Engine made(std::move(variant));
        for (int threads = 1; threads <= 3; ++threads) {
          ThreadPool pool(threads);
          ContextOptions options;
          options.isa = isa;
          options.pool = &pool;
          options.shapes = {symbols.begin(), symbols.end()};
          Context context(made, options);
          context.run(std::vector<Tensor>{input});
          if (expected.empty()) expected = copies_of_outputs(context, model.outputs.size());
          for (size_t o = 0; o < expected.size(); ++o)
            ASSERT_TRUE(equal(context.output(o), expected[o]))
                << isa_name(isa) << ", " << blocks << " blocks, " << threads << " threads, output " << o;
        }
      }
    EXPECT_GT(forced, 0);
  }
}

}  // namespace
}  // namespace octet
