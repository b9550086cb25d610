#include "engine/validate.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "engine/engine.h"
#include "engine/plan.h"

namespace octet::engine {
namespace {

TensorDef tensor(std::string name, Dims shape, Storage storage = Storage::kArena,
                 DType dtype = DType::kFloat32, Layout layout = Layout::kPlain) {
  TensorDef t;
  t.name = std::move(name);
  t.dtype = dtype;
  t.layout = layout;
  t.shape = std::move(shape);
  t.storage = storage;
  return t;
}

StepDef step(std::string kind, std::vector<int32_t> inputs, std::vector<int32_t> outputs) {
  StepDef s;
  s.kind = std::move(kind);
  s.name = "s";
  s.inputs = std::move(inputs);
  s.outputs = std::move(outputs);
  return s;
}

// 0 x f32 plain input, 1 u8 NHWC concat, 2 and 3 its parts, 4 y f32 plain output, 5 constant.
Model concat_model() {
  Model m;
  m.tensors = {tensor("x", {1, 4, 3, 3}, Storage::kInput),
               tensor("whole", {1, 8, 3, 3}, Storage::kArena, DType::kUInt8, Layout::kNhwc),
               tensor("a", {1, 4, 3, 3}, Storage::kArena, DType::kUInt8, Layout::kNhwc),
               tensor("b", {1, 4, 3, 3}, Storage::kArena, DType::kUInt8, Layout::kNhwc),
               tensor("y", {1, 8, 3, 3}, Storage::kOutput),
               tensor("c", {2}, Storage::kConstant)};
  for (int i : {1, 2, 3}) m.tensors[i].quant = {DType::kUInt8, -1, {0.1f}, {128}};
  m.tensors[2].parent = m.tensors[3].parent = 1;
  m.tensors[3].channel_offset = 4;
  m.tensors[5].constant = Tensor::of<float>({2}, {1, 2});
  m.steps = {step("quantize", {0}, {2}), step("quantize", {0}, {3}), step("dequantize", {1}, {4})};
  m.inputs = {0};
  m.outputs = {4};
  m.symbols = {{"N", 1, 1, 4}};
  return m;
}

TEST(Validate, AcceptsAConsistentModel) {
  Context context(Engine(concat_model()), default_options());
  Tensor x(DType::kFloat32, {1, 4, 3, 3});
  for (size_t i = 0; i < 36; ++i) x.as<float>()[i] = static_cast<float>(i) * 0.1f - 1.5f;
  context.run(std::vector<Tensor>{x});
  const auto y = to_float(context.output(0));
  for (size_t i = 0; i < 36; ++i) {
    EXPECT_NEAR(y[i], x.as<float>()[i], 1e-5);
    EXPECT_EQ(y[i], y[i + 36]);
  }
}

// 0 x f32 [1, 4, 6], 1 its middle two rows, 2 y f32 plain [40], whose parts are 3 [1, 2, 1, 6] with planes 10
// apart and 4 channels-last [1, 3, 2, 2]; 5 is a row of x as an image.
Model array_model() {
  Model m;
  m.tensors = {tensor("x", {1, 4, 6}, Storage::kInput),
               tensor("rows", {1, 2, 1, 6}),
               tensor("y", {40}, Storage::kOutput),
               tensor("planes", {1, 2, 1, 6}),
               tensor("last", {1, 3, 2, 2}, Storage::kArena, DType::kFloat32, Layout::kNhwc),
               tensor("image", {1, 3, 2, 2})};
  m.tensors[1].parent = m.tensors[5].parent = 0;
  m.tensors[1].channel_offset = 6;
  m.tensors[5].channel_offset = 12;
  m.tensors[3].parent = m.tensors[4].parent = 2;
  m.tensors[3].channel_offset = 3;
  m.tensors[3].plane_stride = 10;
  m.tensors[4].channel_offset = 28;
  m.steps = {step("copy", {1}, {3}), step("layout", {5}, {4})};
  m.inputs = {0};
  m.outputs = {2};
  return m;
}

TEST(Validate, ViewsArePartsOfArrays) {
  Context context(Engine(array_model()), default_options());
  Tensor x(DType::kFloat32, {1, 4, 6});
  for (size_t i = 0; i < 24; ++i) x.as<float>()[i] = static_cast<float>(i);
  context.run(std::vector<Tensor>{x});
  const auto y = to_float(context.output(0));
  for (size_t c = 0; c < 2; ++c)
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(y[3 + 10 * c + i], static_cast<float>(6 + 6 * c + i));
  for (size_t p = 0; p < 4; ++p)
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(y[28 + 3 * p + c], static_cast<float>(12 + 4 * c + p));
}

TEST(Validate, RefusesPartsThatDoNotFit) {
  const std::vector<std::pair<const char*, std::function<void(Model&)>>> cases{
      {"behind the end", [](Model& m) { m.tensors[4].channel_offset = 29; }},
      {"far behind the end", [](Model& m) { m.tensors[4].channel_offset = INT64_MAX; }},
      {"planes behind the end", [](Model& m) { m.tensors[3].plane_stride = 32; }},
      {"planes far behind the end", [](Model& m) { m.tensors[3].plane_stride = INT64_MAX; }},
      {"planes that overlap", [](Model& m) { m.tensors[3].plane_stride = 5; }},
      {"a negative distance", [](Model& m) { m.tensors[3].plane_stride = -10; }},
      {"planes of two images",
       [](Model& m) {
         m.tensors[3].shape = {2, 1, 1, 6};
       }},
      {"planes of no image",
       [](Model& m) {
         m.tensors[3].shape = {2, 6};
       }},
      {"planes of a channels-last tensor", [](Model& m) { m.tensors[4].plane_stride = 4; }},
      {"planes of a whole tensor", [](Model& m) { m.tensors[2].plane_stride = 40; }},
      {"planes that are read", [](Model& m) { m.tensors[1].plane_stride = 6; }},
      {"planes that another step writes",
       [](Model& m) {
         m.steps[0].kind = "function_f32";
         m.steps[0].attributes.set("function", int64_t{2});
       }},
      {"8 bits in another layout",
       [](Model& m) {
         for (TensorDef& t : m.tensors) t.dtype = DType::kUInt8;
       }},
  };
  for (const auto& [what, change] : cases) {
    Model m = array_model();
    change(m);
    EXPECT_THROW(
        {
          Context context(Engine(m), default_options());
          context.run(std::vector<Tensor>{Tensor(DType::kFloat32, {1, 4, 6})});
        },
        Error)
        << what;
  }
}

struct Broken {
  const char* what;
  std::function<void(Model&)> change;
};

TEST(Validate, RefusesEachKindOfBrokenModel) {
  const std::vector<Broken> cases{
      {"no outputs", [](Model& m) { m.outputs.clear(); }},
      {"an output out of range", [](Model& m) { m.outputs = {6}; }},
      {"a negative output", [](Model& m) { m.outputs = {-1}; }},
      {"an output that is not plain", [](Model& m) { m.outputs = {1}; }},
      {"an output that nothing writes", [](Model& m) { m.steps.pop_back(); }},
      {"an input out of range", [](Model& m) { m.inputs = {99}; }},
      {"an input that is none", [](Model& m) { m.inputs = {4}; }},
      {"an input that is not listed", [](Model& m) { m.inputs.clear(); }},
      {"an unknown kind", [](Model& m) { m.steps[0].kind = "nothing"; }},
      {"a newer version", [](Model& m) { m.steps[0].version = 2; }},
      {"a step that reads out of range", [](Model& m) { m.steps[0].inputs = {6}; }},
      {"a step that reads below range", [](Model& m) { m.steps[0].inputs = {-2}; }},
      {"a step that writes out of range", [](Model& m) { m.steps[0].outputs = {6}; }},
      {"a step that writes nowhere", [](Model& m) { m.steps[0].outputs = {-1}; }},
      {"a step that writes a constant", [](Model& m) { m.steps[0].outputs = {5}; }},
      {"a step that writes an input", [](Model& m) { m.steps[0].outputs = {0}; }},
      {"a step that reads what is not written",
       [](Model& m) { m.steps.erase(m.steps.begin(), m.steps.begin() + 2); }},
      {"steps in the wrong order", [](Model& m) { std::swap(m.steps[0], m.steps[2]); }},
      {"a step that writes its input", [](Model& m) { m.steps[2] = step("dequantize", {4}, {4}); }},
      {"a view before its parent", [](Model& m) { m.tensors[2].parent = 3; }},
      {"a view of itself", [](Model& m) { m.tensors[2].parent = 2; }},
      {"a view of a view", [](Model& m) { m.tensors[3].parent = 2; }},
      {"a view of a constant",
       [](Model& m) { m.tensors.push_back(tensor("v", {2})), m.tensors.back().parent = 5; }},
      {"a view of another type",
       [](Model& m) {
         m.tensors[2].dtype = DType::kInt8;
         m.tensors[2].quant.dtype = DType::kInt8;
       }},
      {"a view of another layout that has gaps",
       [](Model& m) {
         m.tensors[2].layout = Layout::kPlain;
         m.tensors[1].shape = {1, 6, 3, 3};
       }},
      {"a view of another layout behind its beginning",
       [](Model& m) { m.tensors[3].layout = Layout::kPlain; }},
      {"a negative offset", [](Model& m) { m.tensors[3].channel_offset = -1; }},
      {"an offset without parent", [](Model& m) { m.tensors[1].channel_offset = 1; }},
      {"a scale of zero", [](Model& m) { m.tensors[1].quant.scale = {0}; }},
      {"a scale that is not finite", [](Model& m) { m.tensors[1].quant.scale = {INFINITY}; }},
      {"a zero-point out of range", [](Model& m) { m.tensors[1].quant.zero_point = {256}; }},
      {"more scales than zero-points",
       [](Model& m) {
         m.tensors[1].quant.scale = {1, 2};
       }},
      {"the quantization of another type", [](Model& m) { m.tensors[1].quant.dtype = DType::kInt8; }},
      {"channels last without four dimensions", [](Model& m) { m.tensors[1].shape.pop_back(); }},
      {"too many dimensions", [](Model& m) { m.tensors[0].shape = Dims(17, Dim(1)); }},
      {"a constant without data", [](Model& m) { m.tensors[5].constant = {}; }},
      {"a constant of another size", [](Model& m) { m.tensors[5].shape = {3}; }},
      {"a constant of another type", [](Model& m) { m.tensors[5].dtype = DType::kInt32; }},
      {"a constant of unknown size", [](Model& m) { m.tensors[5].shape = {Dim::symbol("N")}; }},
      {"a symbol without range", [](Model& m) { m.symbols[0].maximum = 0; }},
      {"a symbol with an optimum outside", [](Model& m) { m.symbols[0].optimum = 9; }},
      {"a symbol without name", [](Model& m) { m.symbols[0].name = ""; }},
  };
  for (const Broken& broken : cases) {
    Model m = concat_model();
    broken.change(m);
    try {
      const Engine engine(m);
      ADD_FAILURE() << "accepted " << broken.what;
    } catch (const Error& e) {
      EXPECT_EQ(e.message().find('\n'), std::string::npos) << e.message();
    }
  }
}

TEST(Validate, RefusesShapesWhenAContextIsCreated) {
  const std::vector<Broken> cases{
      {"a view that is too wide", [](Model& m) { m.tensors[3].shape[1] = Dim(5); }},
      {"a part in another layout", [](Model& m) { m.tensors[2].layout = Layout::kPlain; }},
      {"a view of another height", [](Model& m) { m.tensors[3].shape[2] = Dim(2); }},
      {"a view behind its parent's end", [](Model& m) { m.tensors[3].channel_offset = 5; }},
      {"a view far behind", [](Model& m) { m.tensors[3].channel_offset = INT64_MAX; }},
      {"a negative dimension", [](Model& m) { m.tensors[1].shape[0] = Dim(-1); }},
      {"a dimension without value", [](Model& m) { m.tensors[0].shape[0] = Dim::symbol("M"); }},
      {"a division by zero",
       [](Model& m) { m.tensors[0].shape[0] = floor_div(Dim::symbol("N"), Dim::symbol("N") - Dim(1)); }},
      {"overflowing dimensions",
       [](Model& m) {
         m.tensors[1].shape = {INT64_MAX, 8, INT64_MAX, 3};
       }},
      {"more memory than there is",
       [](Model& m) {
         for (int i : {1, 2, 3})
           m.tensors[i].shape[2] = Dim(int64_t{1} << 30), m.tensors[i].shape[3] = Dim(int64_t{1} << 30);
       }},
      {"a large empty tensor",
       [](Model& m) {
         m.tensors.push_back(tensor("e", {1 << 30, 1 << 30, 0}));
       }},
      {"a step whose tensors differ", [](Model& m) { m.tensors[0].shape[2] = Dim(4); }},
      {"a step with the wrong types", [](Model& m) { m.steps[2].kind = "quantize"; }},
      {"a step with too few inputs", [](Model& m) { m.steps[2].kind = "add"; }},
      {"a generic step of channels-last tensors",
       [](Model& m) {
         m.steps[2].kind = "generic";
         m.steps[2].attributes.set("op", std::string("Relu"));
       }},
      {"a generic step without operator", [](Model& m) { m.steps[2].kind = "generic"; }},
  };
  for (const Broken& broken : cases) {
    Model m = concat_model();
    broken.change(m);
    EXPECT_THROW(Context(Engine(m), default_options()), Error) << broken.what;
  }
}

// --- memory plan

Model random_chain(std::mt19937& random) {
  const auto range = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  Model m;
  m.tensors.push_back(
      tensor("x", {range(1, 50)}, Storage::kInput, range(0, 1) ? DType::kUInt8 : DType::kFloat32));
  m.inputs = {0};
  std::vector<int32_t> written{0};
  for (int s = range(1, 25); s > 0; --s) {
    StepDef def = step("generic", {}, {});
    for (int i = range(1, 3); i > 0; --i)
      def.inputs.push_back(written[static_cast<size_t>(range(0, static_cast<int>(written.size()) - 1))]);
    for (int i = range(1, 2); i > 0; --i) {
      const bool image = range(0, 2) == 0;
      const Dims shape =
          image ? Dims{range(1, 2), range(1, 9), range(1, 5), range(1, 5)} : Dims{range(1, 300)};
      m.tensors.push_back(tensor("t", shape, range(0, 5) == 0 ? Storage::kOutput : Storage::kArena,
                                 range(0, 1) ? DType::kUInt8 : DType::kFloat32,
                                 image ? Layout::kNhwc : Layout::kPlain));
      const auto index = static_cast<int32_t>(m.tensors.size() - 1);
      def.outputs.push_back(index);
      written.push_back(index);
      if (range(0, 3) == 0 && image) {  // the last channel as a view
        TensorDef view = m.tensors[index];
        view.parent = index;
        view.channel_offset = view.shape[1].value() - 1;
        view.shape[1] = 1;
        m.tensors.push_back(view);
        written.push_back(static_cast<int32_t>(m.tensors.size() - 1));
      }
    }
    m.steps.push_back(def);
  }
  m.outputs = {written.back()};
  return m;
}

TEST(MemoryPlan, TensorsThatLiveTogetherDoNotOverlap) {
  const uint32_t seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  for (int n = 0; n < 500; ++n) {
    const Model m = random_chain(random);
    const std::vector<Shape> shapes = concrete_shapes(m, {});
    const MemoryPlan plan = plan_memory(m, shapes);
    struct Life {
      int64_t begin, end;  // bytes
      int first, last;     // steps
    };
    std::map<int32_t, Life> lives;
    const auto use = [&](int32_t t, int s) {
      if (m.tensors[t].parent >= 0) t = m.tensors[t].parent;
      if (plan.offset[t] < 0) return;
      const Shape& shape = shapes[t];
      int64_t elements = 1;
      for (size_t d = 0; d < shape.size(); ++d)
        elements *= m.tensors[t].layout == Layout::kNhwc && d == 1 && m.tensors[t].dtype == DType::kUInt8
                        ? (shape[d] + 3) / 4 * 4
                        : shape[d];
      const int64_t bytes = elements * dtype_bits(m.tensors[t].dtype) / 8;
      auto [it, fresh] = lives.try_emplace(t, Life{plan.offset[t], plan.offset[t] + bytes, s, s});
      it->second.first = std::min(it->second.first, s);
      it->second.last = std::max(it->second.last, s);
    };
    for (size_t s = 0; s < m.steps.size(); ++s) {
      for (int32_t t : m.steps[s].inputs) use(t, static_cast<int>(s));
      for (int32_t t : m.steps[s].outputs) use(t, static_cast<int>(s));
    }
    use(0, 0);
    for (int32_t t : m.outputs) use(t, static_cast<int>(m.steps.size()));
    for (auto a = lives.begin(); a != lives.end(); ++a) {
      EXPECT_EQ(a->second.begin % 64, 0);
      EXPECT_LE(a->second.end + 64, plan.bytes) << "room for over-reads";
      for (auto b = std::next(a); b != lives.end(); ++b) {
        const bool together = a->second.first <= b->second.last && b->second.first <= a->second.last;
        const bool overlap = a->second.begin < b->second.end && b->second.begin < a->second.end;
        EXPECT_FALSE(together && overlap) << "model " << n << ": tensors " << a->first << " and " << b->first;
      }
    }
    for (size_t t = 0; t < m.tensors.size(); ++t) {
      const TensorDef& def = m.tensors[t];
      if (def.parent < 0 || plan.offset[t] < 0) continue;
      EXPECT_EQ(plan.offset[t], plan.offset[def.parent] + def.channel_offset * dtype_bits(def.dtype) / 8);
    }
  }
}

TEST(MemoryPlan, AChainReusesMemory) {
  Model m;
  m.tensors = {tensor("x", {1000}, Storage::kInput)};
  m.inputs = {0};
  for (int i = 0; i < 20; ++i) {
    m.tensors.push_back(tensor("t", {1000}));
    m.steps.push_back(step("generic", {i}, {i + 1}));
  }
  m.outputs = {20};
  const MemoryPlan plan = plan_memory(m, concrete_shapes(m, {}));
  EXPECT_EQ(plan.offset[0], -1) << "float inputs are read in place";
  EXPECT_LE(plan.bytes, 2 * 4096 + 256);
}

}  // namespace
}  // namespace octet::engine
