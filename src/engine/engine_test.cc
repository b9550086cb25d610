#include "engine/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/file.h"
#include "engine/validate.h"

namespace octet::engine {
namespace {

TensorDef tensor(std::string name, Dims shape, Storage storage = Storage::kArena,
                 DType dtype = DType::kFloat32) {
  TensorDef t;
  t.name = std::move(name);
  t.dtype = dtype;
  t.shape = std::move(shape);
  t.storage = storage;
  return t;
}

TensorDef constant(Tensor value) {
  TensorDef t =
      tensor("c", Dims(value.shape().begin(), value.shape().end()), Storage::kConstant, value.dtype());
  t.constant = std::move(value);
  return t;
}

StepDef generic(const std::string& op, std::vector<int32_t> inputs, std::vector<int32_t> outputs) {
  StepDef s;
  s.kind = "generic";
  s.name = op + "_step";
  s.attributes.set("op", op);
  s.inputs = std::move(inputs);
  s.outputs = std::move(outputs);
  s.precision = "float32";
  return s;
}

// y = relu(x + c) * x over N rows of 4.
Model chain() {
  Model m;
  m.producer = "test";
  m.symbols = {{"N", 1, 2, 5}};
  const Dims rows{Dim::symbol("N"), 4};
  m.tensors = {tensor("x", rows, Storage::kInput), constant(Tensor::of<float>({4}, {0.5f, -1, 2, -3})),
               tensor("sum", rows), tensor("relu", rows), tensor("y", rows, Storage::kOutput)};
  m.steps = {generic("Add", {0, 1}, {2}), generic("Relu", {2}, {3}), generic("Mul", {3, 0}, {4})};
  m.inputs = {0};
  m.outputs = {4};
  m.metadata = {{"octet.preprocess", "rgb"}, {"key", "value"}};
  return m;
}

std::vector<float> expected_of(const std::vector<float>& x) {
  const float c[] = {0.5f, -1, 2, -3};
  std::vector<float> y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back(std::max(0.0f, x[i] + c[i % 4]) * x[i]);
  return y;
}

Tensor random_rows(int64_t rows, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor t(DType::kFloat32, {rows, 4});
  for (float& v : t.as<float>()) v = std::uniform_real_distribution<float>(-3, 3)(random);
  return t;
}

class EngineFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("octet_engine_test_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string bytes(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::filesystem::path folder_;
};

ContextOptions with_rows(int64_t rows) {
  ContextOptions options = default_options();
  options.shapes["N"] = rows;
  return options;
}

// Shapes that a context changes to give what a context of its own gives.
TEST_F(EngineFiles, ChangesShapes) {
  Model m = chain();
  m.profiles = {{{1, 1, 2}}, {{4, 4, 5}}};
  save(m, folder_ / "m.octet");
  const Engine engine = Engine::load(folder_ / "m.octet");
  ASSERT_EQ(engine.model().profiles.size(), 2u);
  EXPECT_EQ(engine.model().profiles[1][0].maximum, 5);
  Context context(engine, default_options());
  const int64_t memory = context.memory_bytes();
  for (const int64_t rows : {1, 5, 2, 4, 1, 2, 5, 5, 4}) {
    context.set_shapes({{"N", rows}});
    EXPECT_EQ(context.memory_bytes(), memory) << "planned for the largest";
    const Tensor x = random_rows(rows, static_cast<uint32_t>(rows));
    context.run(std::span(&x, 1));
    const auto y = context.output(0).as<float>();
    const auto in = x.as<float>();
    EXPECT_EQ(std::vector<float>(y.begin(), y.end()), expected_of({in.begin(), in.end()})) << rows;
  }
  for (const int64_t rows : {0, 3, 6}) {
    try {
      context.set_shapes({{"N", rows}});
      ADD_FAILURE() << rows << " rows are in no profile";
    } catch (const Error& e) {
      EXPECT_NE(e.message().find("input 'x' has shape " + std::to_string(rows) + "x4"), std::string::npos)
          << e.message();
      EXPECT_NE(e.message().find("1x4 to 2x4, or 4x4 to 5x4"), std::string::npos) << e.message();
    }
  }
  EXPECT_EQ(context.input_shape(0), (std::vector<int64_t>{4, 4}));
  m.profiles[0].push_back({1, 1, 1});
  EXPECT_THROW(Engine(Model(m)), Error);
  m.profiles = {{{1, 1, 6}}};
  EXPECT_THROW(Engine(Model(m)), Error);
}

TEST_F(EngineFiles, ChecksEqualities) {
  Model m = chain();
  m.equalities = {{floor_div(Dim::symbol("N"), 2) * 2, Dim::symbol("N"), "pairs"}};
  save(m, folder_ / "m.octet");
  const Engine engine = Engine::load(folder_ / "m.octet");
  Context context(engine, with_rows(4));
  try {
    context.set_shapes({{"N", 3}});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(e.message().find("'pairs' needs floor(N/2)*2 and N to be equal"), std::string::npos)
        << e.message();
  }
}

// Weights in float16 are widened wherever a step reads them.
TEST_F(EngineFiles, WidensShortConstants) {
  Model m = chain();
  const Tensor half(DType::kFloat16, {4});
  m.tensors[1].constant = half;  // zeros
  save(m, folder_ / "m.octet");
  const Engine engine = Engine::load(folder_ / "m.octet");
  EXPECT_EQ(engine.model().tensors[1].constant.dtype(), DType::kFloat16);
  Context context(engine, with_rows(1));
  const Tensor x = Tensor::of<float>({1, 4}, {1, -2, 3, -4});
  context.run(std::span(&x, 1));
  const auto y = context.output(0).as<float>();
  EXPECT_EQ(std::vector<float>(y.begin(), y.end()), (std::vector<float>{1, 0, 9, 0}));
}

TEST(Engine, RunsItsStepsAtEveryShape) {
  const Engine engine(chain());
  for (int64_t rows = 1; rows <= 5; ++rows) {
    Context context(engine, with_rows(rows));
    EXPECT_EQ(context.input_shape(0), (Shape{rows, 4}));
    const Tensor x = random_rows(rows, static_cast<uint32_t>(rows));
    context.run(std::vector<Tensor>{x});
    EXPECT_EQ(to_float(context.output(0)), expected_of(to_float(x)));
  }
  EXPECT_EQ(Context(engine, default_options()).input_shape(0), (Shape{2, 4})) << "the optimum";
}

TEST(Engine, RefusesWrongShapesAndInputs) {
  const Engine engine(chain());
  EXPECT_THROW(Context(engine, with_rows(0)), Error);
  EXPECT_THROW(Context(engine, with_rows(6)), Error);
  ContextOptions options = with_rows(2);
  options.shapes["M"] = 1;
  EXPECT_THROW(Context(engine, options), Error);

  Context context(engine, with_rows(2));
  const Tensor good = random_rows(2, 1);
  EXPECT_THROW(context.run(std::vector<Tensor>{}), Error);
  EXPECT_THROW(context.run(std::vector<Tensor>{good, good}), Error);
  EXPECT_THROW(context.run(std::vector<Tensor>{random_rows(3, 1)}), Error);
  EXPECT_THROW(context.run(std::vector<Tensor>{Tensor(DType::kFloat64, {2, 4})}), Error);
  EXPECT_THROW(context.run(std::vector<Tensor>{good.reshaped({4, 2})}), Error);
  std::vector<double> seconds(2);
  EXPECT_THROW(context.profile(std::vector<Tensor>{good}, seconds), Error);
  context.run(std::vector<Tensor>{good});
  EXPECT_EQ(to_float(context.output(0)), expected_of(to_float(good))) << "errors leave the context usable";
}

TEST(Engine, ErrorsOfDataNameTheStep) {
  Model m;
  m.tensors = {tensor("x", {3}, Storage::kInput), tensor("i", {1}, Storage::kInput, DType::kInt64),
               tensor("y", {1}, Storage::kOutput)};
  m.steps = {generic("Gather", {0, 1}, {2})};
  m.inputs = {0, 1};
  m.outputs = {2};
  Context context(Engine(m), default_options());
  const Tensor x = Tensor::of<float>({3}, {1, 2, 3});
  context.run(std::vector<Tensor>{x, Tensor::of<int64_t>({1}, {2})});
  EXPECT_EQ(to_float(context.output(0)), (std::vector<float>{3}));
  try {
    context.run(std::vector<Tensor>{x, Tensor::of<int64_t>({1}, {3})});
    FAIL() << "an index out of range was accepted";
  } catch (const Error& e) {
    EXPECT_NE(e.message().find("Gather_step"), std::string::npos) << e.message();
  }
  context.run(std::vector<Tensor>{x, Tensor::of<int64_t>({1}, {-3})});
  EXPECT_EQ(to_float(context.output(0)), (std::vector<float>{1}));
}

TEST(Engine, ObserverSeesInputsAndEveryStep) {
  Context context(Engine(chain()), with_rows(2));
  std::vector<std::string> seen;
  const Tensor x = random_rows(2, 9);
  context.run(std::vector<Tensor>{x}, [&](const Observation& o) {
    seen.push_back(o.def->name);
    EXPECT_EQ(*o.shape, (Shape{2, 4}));
    EXPECT_NE(o.data, nullptr);
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"x", "sum", "relu", "y"}));
  std::vector<double> seconds(3, 0);
  context.profile(std::vector<Tensor>{x}, seconds);
  for (double s : seconds) EXPECT_GE(s, 0);
  EXPECT_EQ(context.step_kernels().size(), 3u);
}

TEST(Engine, ContextsShareAnEngineAcrossThreads) {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  {
    const Engine engine(chain());
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([t, engine, &wrong] {
        ThreadPool pool(2);
        for (int i = 0; i < 20; ++i) {
          const int64_t rows = 1 + (t + i) % 5;
          ContextOptions options = with_rows(rows);
          options.pool = i % 2 ? &pool : nullptr;
          Context context(engine, options);
          const Tensor x = random_rows(rows, static_cast<uint32_t>(100 * t + i));
          for (int k = 0; k < 5; ++k) context.run(std::vector<Tensor>{x});
          wrong[t] += to_float(context.output(0)) != expected_of(to_float(x));
        }
      });
  }  // the engine's own handle is gone; contexts keep what they need
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_F(EngineFiles, SurviveTheRoundTrip) {
  const Model model = chain();
  save(model, folder_ / "a.octet");
  save(model, folder_ / "b.octet");
  EXPECT_EQ(bytes("a.octet"), bytes("b.octet"));
  EXPECT_TRUE(is_engine_file(folder_ / "a.octet"));

  const Engine engine = Engine::load(folder_ / "a.octet");
  save(engine.model(), folder_ / "c.octet");
  EXPECT_EQ(bytes("a.octet"), bytes("c.octet")) << "what was read is what was written";
  EXPECT_EQ(engine.model().metadata, model.metadata);
  EXPECT_EQ(engine.model().producer, model.producer);
  EXPECT_EQ(engine.model().steps[1].name, "Relu_step");
  std::filesystem::remove(folder_ / "a.octet");  // the mapping stays
  Context context(engine, with_rows(3));
  const Tensor x = random_rows(3, 4);
  context.run(std::vector<Tensor>{x});
  EXPECT_EQ(to_float(context.output(0)), expected_of(to_float(x)));
}

TEST_F(EngineFiles, KeepEveryKindOfAttributeAndDimension) {
  Model m = chain();
  m.steps[1].attributes.set("text", std::string("a\nb"));
  m.steps[1].attributes.set("number", -0.5f);
  m.steps[1].attributes.set("integers", std::vector<int64_t>{1, -2, INT64_MIN});
  m.steps[1].attributes.set("numbers", std::vector<float>{1.5f});
  m.steps[1].attributes.set("texts", std::vector<std::string>{"", "x"});
  m.steps[1].reason = "no 8-bit form";
  m.steps[1].nodes = {"n1", "n2"};
  const Dim n = Dim::symbol("N");
  m.tensors.push_back(tensor("unused", {max(floor_div(n * 3 + 1, 2), Dim(4)) - min(n, Dim(7)), 2}));
  m.tensors.back().quant = {DType::kFloat32, -1, {}, {}};
  save(m, folder_ / "a.octet");
  const Model back = Engine::load(folder_ / "a.octet").model();
  for (const auto& [name, value] : m.steps[1].attributes)
    EXPECT_EQ(value.index(), back.steps[1].attributes.find(name)->index()) << name;
  EXPECT_EQ(back.steps[1].attributes.get_ints("integers"), (std::vector<int64_t>{1, -2, INT64_MIN}));
  EXPECT_EQ(back.steps[1].nodes, m.steps[1].nodes);
  EXPECT_EQ(back.tensors.back().shape[0].evaluate({{"N", 5}}), 3);
}

TEST_F(EngineFiles, OfOtherKindsAreRefused) {
  EXPECT_THROW(Engine::load(folder_ / "missing.octet"), Error);
  for (const std::string& content : {std::string(), std::string("OCTETENG"), std::string(100, 'x'),
                                     std::string("OCTETENG") + std::string(64, '\0')}) {
    std::ofstream(folder_ / "bad", std::ios::binary) << content;
    try {
      Engine::load(folder_ / "bad");
      ADD_FAILURE() << "accepted " << content.size() << " bytes";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kBadFile) << e.message();
    }
  }
  EXPECT_THROW(save(chain(), folder_ / "no" / "such" / "folder.octet"), Error);
}

}  // namespace
}  // namespace octet::engine
