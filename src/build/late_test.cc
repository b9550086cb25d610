// Networks whose shapes only the data decide.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "build/build.h"
#include "engine/engine.h"
#include "ops/support.h"
#include "passes/canonicalize.h"

namespace octet {
namespace {

using Floats = std::vector<float>;

engine::Context context_of(const Graph& graph, std::map<std::string, int64_t> shapes = {}) {
  engine::ContextOptions options = engine::default_options();
  options.shapes = std::move(shapes);
  return engine::Context(engine::Engine(build_engine(graph)), options);
}

Tensor vector(const Floats& values) {
  return Tensor::of<float>({static_cast<int64_t>(values.size())}, std::span<const float>(values));
}

// The elements of x that are not 0, twice as large, and how many there are.
Graph doubled_non_zeros() {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {Dim::symbol("N")});
  const ValueId found = graph.add_op("NonZero", "find", {x}, "found");
  const ValueId flat = graph.add_op("Reshape", "flatten", {found, add_ints(graph, "all", {-1})}, "flat");
  const ValueId picked = graph.add_op("Gather", "pick", {x, flat}, "picked");
  const ValueId two = graph.add_constant("two", Tensor::scalar(2.0f));
  graph.mark_output(graph.add_op("Mul", "double", {picked, two}, "y"));
  graph.mark_output(graph.add_op("Shape", "count", {picked}, "n"));
  infer_shapes(graph);
  return graph;
}

TEST(Late, ShapesFollowTheData) {
  engine::Context context = context_of(doubled_non_zeros(), {{"N", 5}});
  for (const Floats& x :
       {Floats{1, 0, 2, 0, 3}, Floats{0, 0, 0, 0, 0}, Floats{1, 2, 3, 4, 5}, Floats{0, 0, 7, 0, 0}}) {
    Floats expected;
    for (const float v : x)
      if (v != 0) expected.push_back(2 * v);
    context.run(std::vector<Tensor>{vector(x)});
    ASSERT_EQ(context.output(0).shape(), Shape{static_cast<int64_t>(expected.size())});
    EXPECT_EQ(to_float(context.output(0)), expected);
    EXPECT_EQ(to_int64(context.output(1)), std::vector<int64_t>{static_cast<int64_t>(expected.size())});
  }
}

TEST(Late, ObserversSeeTheShapesOfTheRun) {
  engine::Context context = context_of(doubled_non_zeros(), {{"N", 4}});
  std::map<std::string, Shape> seen;
  context.run(std::vector<Tensor>{vector({0, 1, 1, 0})},
              [&](const engine::Observation& o) { seen[o.def->name] = *o.shape; });
  EXPECT_EQ(seen.at("found"), (Shape{1, 2}));
  EXPECT_EQ(seen.at("y"), (Shape{2}));
}

TEST(Late, EngineFilesKeepThem) {
  const auto path =
      std::filesystem::temp_directory_path() / ("octet_late_" + std::to_string(getpid()) + ".octet");
  engine::save(build_engine(doubled_non_zeros()), path);
  engine::ContextOptions options = engine::default_options();
  options.shapes["N"] = 3;
  engine::Context context(engine::Engine::load(path), options);
  std::filesystem::remove(path);
  context.run(std::vector<Tensor>{vector({4, 0, 5})});
  EXPECT_EQ(to_float(context.output(0)), (Floats{8, 10}));
}

TEST(Late, ReshapeTakesItsShapeFromAnInput) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {2, 6});
  const ValueId shape = graph.add_input("shape", DType::kInt64, {3});
  const ValueId y = graph.add_op("Reshape", "reshape", {x, shape}, "y");
  graph.mark_output(graph.add_op("ReduceSum", "sum", {y, add_ints(graph, "axes", {2})}, "sums"));
  infer_shapes(graph);
  engine::Context context = context_of(graph);
  Tensor values(DType::kFloat32, {2, 6});
  std::fill_n(values.as<float>().begin(), 12, 1.0f);
  const std::pair<std::vector<int64_t>, Shape> cases[] = {
      {{1, 3, 4}, {1, 3, 1}}, {{-1, 1, 2}, {6, 1, 1}}, {{0, 0, 1}, {2, 6, 1}}};
  for (const auto& [wanted, expected] : cases) {
    context.run(std::vector<Tensor>{values, Tensor::of<int64_t>({3}, std::span<const int64_t>(wanted))});
    EXPECT_EQ(context.output(0).shape(), expected);
    EXPECT_EQ(context.output(0).as<float>()[0] * static_cast<float>(context.output(0).count()), 12.0f);
  }
  EXPECT_THROW(context.run(std::vector<Tensor>{values, Tensor::of<int64_t>({3}, {5, 1, 1})}), Error);
  EXPECT_THROW(context.run(std::vector<Tensor>{values, Tensor::of<int64_t>({3}, {-1, -1, 1})}), Error);
  context.run(std::vector<Tensor>{values, Tensor::of<int64_t>({3}, {12, 1, 1})});
  EXPECT_EQ(context.output(0).shape(), (Shape{12, 1, 1}));
}

// Boxes that are left go through a product and a convolution, which are prepared when their number is known.
TEST(Late, FastStepsRunBehindThem) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {4, 3, 5, 5});
  const ValueId keep = graph.add_input("keep", DType::kBool, {4});
  Attributes axis, conv;
  axis.set("axis", int64_t{0});
  const ValueId kept = graph.add_op("Compress", "keep_some", {x, keep}, "kept", axis);
  Tensor weights(DType::kFloat32, {2, 3, 3, 3});
  for (int64_t i = 0; i < weights.count(); ++i)
    weights.as<float>()[static_cast<size_t>(i)] = 0.125f * (i % 5);
  conv.set("pads", std::vector<int64_t>{1, 1, 1, 1});
  const ValueId w = graph.add_constant("w", weights);
  const ValueId y = graph.add_op("Conv", "conv", {kept, w}, "y", conv);
  const ValueId whole = graph.add_op("Conv", "conv_all", {x, w}, "whole", conv);
  graph.mark_output(graph.add_op("Relu", "relu", {y}, "z"));
  graph.mark_output(whole);
  infer_shapes(graph);
  engine::Context context = context_of(graph);
  Tensor values(DType::kFloat32, {4, 3, 5, 5});
  for (int64_t i = 0; i < values.count(); ++i) values.as<float>()[static_cast<size_t>(i)] = 0.25f * (i % 7);
  for (const std::vector<bool>& chosen :
       {std::vector<bool>{true, false, true, true}, std::vector<bool>{false, false, false, false},
        std::vector<bool>{false, true, false, false}}) {
    Tensor mask(DType::kBool, {4});
    std::copy(chosen.begin(), chosen.end(), mask.as<bool>().begin());
    context.run(std::vector<Tensor>{values, mask});
    const auto count = static_cast<int64_t>(std::count(chosen.begin(), chosen.end(), true));
    ASSERT_EQ(context.output(0).shape(), (Shape{count, 2, 5, 5}));
    const auto all = context.output(1).as<float>();
    const auto some = context.output(0).as<float>();
    size_t at = 0;
    for (size_t n = 0; n < 4; ++n)
      for (size_t i = 0; chosen[n] && i < 50; ++i) ASSERT_EQ(some[at++], all[n * 50 + i]);
  }
}

TEST(Late, ConstantChoicesFold) {
  Graph graph;
  const ValueId x = graph.add_constant("x", Tensor::of<float>({2, 2}, {0, 3, 4, 0}));
  const ValueId found = graph.add_op("NonZero", "find", {x}, "found");
  graph.mark_output(graph.add_op("Transpose", "turn", {found}, "y"));
  infer_shapes(graph);
  canonicalize(graph);
  const ValueId y = *graph.find_value("y");
  ASSERT_TRUE(graph.value(y).constant.has_value());
  EXPECT_EQ(to_int64(*graph.value(y).constant), (std::vector<int64_t>{0, 1, 1, 0}));
}

TEST(Late, UnknownRanksAreRefused) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {12});
  const ValueId shape = graph.add_input("shape", DType::kInt64, {Dim::symbol("R")});
  graph.mark_output(graph.add_op("Reshape", "reshape", {x, shape}, "y"));
  infer_shapes(graph);
  try {
    build_engine(graph);
    FAIL() << "built";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("'y'"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("rank"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace octet
