// Transpositions in engines against their graphs, and what they need no step for.
#include <gtest/gtest.h>

#include "build/build.h"
#include "build/test_graphs.h"

namespace octet {
namespace {

using namespace testing;
using engine::Context;
using engine::ContextOptions;
using engine::Engine;
using Ints = NetworkMaker::Ints;

std::map<std::string, int> kinds_of(const engine::Model& model) {
  std::map<std::string, int> kinds;
  for (const engine::StepDef& s : model.steps) ++kinds[s.kind];
  return kinds;
}

NetworkMaker::Val transpose(NetworkMaker& m, const NetworkMaker::Val& x, const Ints& perm) {
  Attributes a;
  a.set("perm", perm);
  Shape shape;
  for (const int64_t p : perm) shape.push_back(x.shape[static_cast<size_t>(p)]);
  return m.op("Transpose", {x.id}, shape, std::move(a));
}

NetworkMaker::Val linear(NetworkMaker& m, Random& random, const NetworkMaker::Val& x, int64_t to) {
  Shape shape = x.shape;
  const int64_t from = shape.back();
  shape.back() = to;
  return m.op("MatMul", {x.id, m.constant(random_floats(random, {from, to}, -0.5f, 0.5f))}, shape);
}

// The engine of the quantized network gives what its graph does, but for roundings that a step apart.
engine::Model expect_same(NetworkMaker& m, const NetworkMaker::Val& y, Random& random) {
  m.graph.mark_output(y.id);
  infer_shapes(m.graph);
  const Tensor x = random_floats(random, evaluate(*m.graph.value(m.graph.inputs()[0]).shape), -1, 1);
  const QuantizedNetwork q = quantize(m.graph, {x});
  const engine::Model model = build_engine(q.graph);
  const auto expected = to_float(interpret(q.graph, {x}).at(q.graph.outputs()[0]));
  for (int threads = 1; threads <= 2; ++threads) {
    ThreadPool pool(threads);
    ContextOptions options;
    options.pool = &pool;
    Context context(Engine(model), options);
    context.run(std::vector<Tensor>{x});
    const auto found = to_float(context.output(0));
    EXPECT_EQ(found.size(), expected.size());
    double error = 0, signal = 1e-9;
    for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
      error += (found[i] - expected[i]) * (found[i] - expected[i]);
      signal += expected[i] * expected[i];
    }
    EXPECT_LT(error / signal, 1e-4) << threads;
  }
  return model;
}

// PVT's and SegFormer's feed-forward: tokens are an image for a depthwise convolution.
TEST(Transposes, TokensAreImagesWithoutAStep) {
  Random random(3);
  NetworkMaker m(random);
  const auto x = m.input({1, 30, 8});
  auto y = linear(m, random, x, 16);
  y = m.reshape(transpose(m, y, {0, 2, 1}), {1, 16, 5, 6});
  y = m.conv(y, {.out_c = 16, .group = 16});
  y = m.op("Relu", {y.id}, y.shape);
  y = transpose(m, m.reshape(y, {1, 16, 30}), {0, 2, 1});
  const engine::Model model = expect_same(m, linear(m, random, y, 4), random);
  EXPECT_EQ(kinds_of(model), (std::map<std::string, int>{{"quantize", 1}, {"gemm", 2}, {"conv", 1}}));
}

// Any transposition of matrices, in bytes and in floats, with and without whole groups of four.
TEST(Transposes, RandomOnesEqualTheirGraphs) {
  Random random(test_seed());
  for (int64_t i = test_networks(60); i > 0; --i) {
    NetworkMaker m(random);
    Shape shape;
    const int64_t rank = random.range(2, 5);
    for (int64_t d = 0; d < rank; ++d)
      shape.push_back(random.chance(0.2) ? 1 : random.range(1, 3) * (d % 2 == 0 ? 4 : 3));
    Ints perm;
    for (int64_t d = 0; d < rank; ++d) perm.push_back(d);
    for (size_t d = perm.size() - 1; d > 0; --d)
      std::swap(perm[d], perm[static_cast<size_t>(random.range(0, static_cast<int64_t>(d)))]);
    SCOPED_TRACE(to_string(shape) + " " + to_string(perm));
    auto y = m.input(shape);
    if (random.chance(0.7)) y = linear(m, random, y, random.range(2, 12));
    y = transpose(m, y, perm);
    if (random.chance(0.7))
      y = linear(m, random, y, random.range(2, 12));
    else
      y = m.op("Sin", {y.id}, y.shape);
    expect_same(m, y, random);
  }
}

}  // namespace
}  // namespace octet
