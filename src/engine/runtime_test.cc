#include "octet/runtime.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "engine/engine.h"
#include "kernels/epilogue.h"

namespace octet::runtime {
namespace {

// y = x + 1 and z = round(x / 0.5) + 10 as u8, for x of shape N x 3.
engine::Model tiny_model() {
  engine::Model model;
  model.producer = "octet test";
  model.metadata["octet.preprocess"] = "rgb";
  model.symbols.push_back({"N", 1, 2, 64});
  const auto tensor = [&](std::string name, DType dtype, engine::Storage storage) {
    engine::TensorDef def;
    def.name = std::move(name);
    def.dtype = dtype;
    def.shape = {Dim::symbol("N"), Dim(3)};
    def.storage = storage;
    model.tensors.push_back(std::move(def));
    return static_cast<int32_t>(model.tensors.size() - 1);
  };
  const int32_t x = tensor("x", DType::kFloat32, engine::Storage::kInput);
  const int32_t one = tensor("one", DType::kFloat32, engine::Storage::kConstant);
  model.tensors[one].shape = {};
  model.tensors[one].constant = Tensor::scalar(1.0f);
  const int32_t y = tensor("y", DType::kFloat32, engine::Storage::kOutput);
  const int32_t z = tensor("z", DType::kUInt8, engine::Storage::kOutput);
  model.tensors[z].quant = {DType::kUInt8, -1, {0.5f}, {10}};
  const auto step = [&](std::string kind, std::vector<int32_t> inputs, int32_t output) -> engine::StepDef& {
    engine::StepDef def;
    def.name = kind;
    def.kind = std::move(kind);
    def.inputs = std::move(inputs);
    def.outputs = {output};
    model.steps.push_back(std::move(def));
    return model.steps.back();
  };
  step("generic", {x, one}, y).attributes.set("op", std::string("Add"));
  step("quantize", {x}, z);
  model.inputs = {x};
  model.outputs = {y, z};
  return model;
}

class Runtime : public testing::Test {
 protected:
  Runtime() {
    std::string name = (std::filesystem::temp_directory_path() / "octet-runtime-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    engine::save(tiny_model(), path());
  }
  ~Runtime() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path path() const { return folder_ / "tiny.octet"; }

  std::filesystem::path folder_;
};

template <typename F>
ErrorCode code_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_FALSE(error.message().empty());
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::kInternal;
}

TEST_F(Runtime, DescribesTheEngine) {
  const Engine engine = Engine::load(path());
  EXPECT_EQ(engine.producer(), "octet test");
  EXPECT_EQ(engine.metadata().at("octet.preprocess"), "rgb");
  ASSERT_EQ(engine.dimensions().size(), 1u);
  EXPECT_EQ(engine.dimensions()[0].name, "N");
  EXPECT_EQ(engine.dimensions()[0].maximum, 64);
  ASSERT_EQ(engine.inputs().size(), 1u);
  EXPECT_EQ(engine.inputs()[0].name, "x");
  EXPECT_EQ(engine.inputs()[0].shape, (std::vector<int64_t>{-1, 3}));
  EXPECT_EQ(engine.inputs()[0].shape_text, "Nx3");
  ASSERT_EQ(engine.outputs().size(), 2u);
  EXPECT_EQ(engine.outputs()[1].dtype, DType::kUInt8);
  EXPECT_EQ(engine.outputs()[1].scale, (std::vector<float>{0.5f}));
  EXPECT_EQ(engine.outputs()[1].zero_point, (std::vector<int32_t>{10}));
}

TEST_F(Runtime, Runs) {
  Context context(Engine::load(path()));  // the context keeps the engine
  EXPECT_EQ(context.input_shape(0), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(context.input_size(0), 24u);
  EXPECT_EQ(context.output_size(1), 6u);
  std::vector<float> x{0, 1, 2, -1, -100, 1000};
  context.set_input(0, x);
  context.run();
  const auto y = context.output<float>(0);
  EXPECT_EQ(std::vector<float>(y.begin(), y.end()), (std::vector<float>{1, 2, 3, 0, -99, 1001}));
  const auto z = context.output<uint8_t>(1);
  EXPECT_EQ(std::vector<uint8_t>(z.begin(), z.end()), (std::vector<uint8_t>{10, 12, 14, 8, 0, 255}));
  EXPECT_EQ(context.output<std::byte>(0).size(), 24u);
  x[0] = 41;  // the memory stays bound
  context.run();
  EXPECT_EQ(context.output<float>(0)[0], 42);
  Context moved = std::move(context);
  moved.set_input(0, std::as_bytes(std::span(x)));
  moved.run();
  EXPECT_EQ(moved.output<float>(0)[0], 42);
}

TEST_F(Runtime, ChangesShapes) {
  Context context(Engine::load(path()));
  for (const int64_t n : {1, 7, 2, 64, 7, 3, 4, 5, 6, 1}) {
    if (n % 2 != 0)
      context.set_shapes({{n, 3}});
    else
      context.set_dimensions({{"N", n}});
    EXPECT_EQ(context.input_shape(0), (std::vector<int64_t>{n, 3}));
    EXPECT_EQ(code_of([&] { context.run(); }), ErrorCode::kInvalidArgument) << "inputs are to be set again";
    const std::vector<float> x(static_cast<size_t>(3 * n), static_cast<float>(n));
    context.set_input(0, x);
    context.run();
    const auto y = context.output<float>(0);
    EXPECT_EQ(std::vector<float>(y.begin(), y.end()),
              std::vector<float>(x.size(), static_cast<float>(n + 1)));
  }
  EXPECT_EQ(code_of([&] { context.set_shapes({{65, 3}}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { context.set_shapes({{1, 4}}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { context.set_shapes({}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(context.input_shape(0), (std::vector<int64_t>{1, 3}));
}

TEST_F(Runtime, SharesAnEngineBetweenThreads) {
  const Engine engine = Engine::load(path());
  const auto work = [&](int64_t n, int threads) {
    Context context(engine, {.threads = threads, .dimensions = {{"N", n}}});
    std::vector<float> x(static_cast<size_t>(3 * n));
    context.set_input(0, x);
    for (int round = 0; round < 200; ++round) {
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(round) + static_cast<float>(i);
      context.run();
      const auto y = context.output<float>(0);
      ASSERT_EQ(y.size(), x.size());
      for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], x[i] + 1);
    }
  };
  std::thread other([&] { work(64, 2); });
  work(5, 1);
  other.join();
}

TEST_F(Runtime, RefusesWhatDoesNotFit) {
  EXPECT_EQ(code_of([&] { Engine::load(folder_ / "none.octet"); }), ErrorCode::kNotFound);
  const Engine engine = Engine::load(path());
  EXPECT_EQ(code_of([&] { Context(engine, {.dimensions = {{"M", 1}}}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Context(engine, {.dimensions = {{"N", 65}}}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { Context(engine, {.threads = -1}); }), ErrorCode::kInvalidArgument);

  Context context(engine);
  const std::vector<float> good(6), small(5);
  const std::vector<int32_t> integers(6);
  const std::vector<std::byte> raw(25);
  const auto refused = [&](auto&& action) { EXPECT_EQ(code_of(action), ErrorCode::kInvalidArgument); };
  refused([&] { context.run(); });
  refused([&] { context.output<float>(0); });
  refused([&] { context.set_input(0, small); });
  refused([&] { context.set_input(0, integers); });
  refused([&] { context.set_input(1, good); });
  refused([&] { context.set_input(0, std::span(raw).subspan(1)); });
  refused([&] { context.input_shape(1); });
  refused([&] { context.output_size(2); });
  context.set_input(0, good);
  context.run();
  refused([&] { context.output<uint8_t>(0); });
  refused([&] { context.output<float>(2); });
  EXPECT_EQ(context.output<float>(0)[5], 1);
}

}  // namespace
}  // namespace octet::runtime
