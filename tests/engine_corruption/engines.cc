#include "engines.h"

#include <filesystem>

#include "base/checked.h"
#include "build/build.h"
#include "build/test_graphs.h"
#include "onnx/onnx.h"

namespace octet::testing {
namespace {

using engine::Model;
using engine::StepDef;
using engine::Storage;
using engine::TensorDef;
using kernels::testing::Random;

Tensor random_input(const Graph& graph, Random& random) {
  return random_floats(random, evaluate(*graph.value(graph.inputs()[0]).shape), -1, 1);
}

Attributes with(std::initializer_list<std::pair<const char*, Attribute>> list) {
  Attributes attributes;
  for (const auto& [name, value] : list) attributes.set(name, value);
  return attributes;
}

// A model whose steps are generic operators on an input and constants.
class GenericMaker {
 public:
  using Ints = std::vector<int64_t>;

  GenericMaker() {
    x_ = add("x", DType::kFloat32, {1, 4, 6, 5}, Storage::kInput);
    model_.inputs = {x_};
    model_.producer = "test";
  }

  int32_t constant(Tensor t) {
    const int32_t i = add("c", t.dtype(), t.shape(), Storage::kConstant);
    model_.tensors[i].constant = std::move(t);
    return i;
  }
  int32_t floats(Shape shape, float low = -1, float high = 1) {
    return constant(random_floats(random_, std::move(shape), low, high));
  }
  int32_t step(const std::string& op, std::vector<int32_t> in, Shape shape, Attributes attributes = {},
               DType dtype = DType::kFloat32) {
    return steps(op, std::move(in), {std::move(shape)}, std::move(attributes), dtype)[0];
  }
  std::vector<int32_t> steps(const std::string& op, std::vector<int32_t> in, const std::vector<Shape>& shapes,
                             Attributes attributes = {}, DType dtype = DType::kFloat32) {
    StepDef s;
    s.kind = "generic";
    s.name = op;
    s.inputs = std::move(in);
    for (const Shape& shape : shapes) s.outputs.push_back(add(op + "_out", dtype, shape, Storage::kArena));
    attributes.set("op", op);
    s.attributes = std::move(attributes);
    s.precision = "float32";
    model_.steps.push_back(s);
    return s.outputs;
  }

  Model make();

 private:
  int32_t add(const std::string& name, DType dtype, const Shape& shape, Storage storage) {
    TensorDef t;
    t.name = name;
    t.dtype = dtype;
    t.shape = Dims(shape.begin(), shape.end());
    t.storage = storage;
    model_.tensors.push_back(std::move(t));
    return static_cast<int32_t>(model_.tensors.size() - 1);
  }
  int32_t shapes();
  int32_t moves();
  int32_t numbers();

  Random random_{1};
  Model model_;
  int32_t x_ = -1;
};

int32_t GenericMaker::moves() {
  int32_t t = step("Transpose", {x_}, {1, 6, 5, 4}, with({{"perm", Ints{0, 2, 3, 1}}}));
  t = step(
      "Slice",
      {t, constant(ints({1, 0})), constant(ints({5, 4})), constant(ints({1, 3})), constant(ints({2, 1}))},
      {1, 2, 5, 4});
  t = step("Pad", {t, constant(ints({0, 1, 0, 2, 0, 1, 0, 0})), constant(Tensor::scalar(0.5f))}, {1, 4, 5, 6},
           with({{"mode", std::string("constant")}}));
  t = step("Pad", {t, constant(ints({0, 1, 1, 0, 0, 0, 1, 1}))}, {1, 5, 7, 7},
           with({{"mode", std::string("reflect")}}));
  t = step("Gather", {t, constant(ints({4, 0, -1}))}, {1, 3, 7, 7}, with({{"axis", int64_t{1}}}));
  t = step("GatherElements", {t, constant(Tensor::of<int64_t>({1, 1, 1, 3}, {6, 2, 0}))}, {1, 1, 1, 3},
           with({{"axis", int64_t{3}}}));
  t = step("Expand", {t, constant(ints({1, 2, 4, 3}))}, {1, 2, 4, 3});
  t = step("Tile", {t, constant(ints({1, 2, 1, 2}))}, {1, 4, 4, 6});
  t = step("DepthToSpace", {t}, {1, 1, 8, 12}, with({{"blocksize", int64_t{2}}}));
  t = step("SpaceToDepth", {t}, {1, 4, 4, 6}, with({{"blocksize", int64_t{2}}}));
  const auto parts = steps("Split", {t}, {{1, 1, 4, 6}, {1, 3, 4, 6}}, with({{"axis", int64_t{1}}}));
  t = step("Concat", {parts[1], parts[0], parts[1]}, {1, 7, 4, 6}, with({{"axis", int64_t{1}}}));
  t = step("GatherND", {t, constant(Tensor::of<int64_t>({3, 2}, {0, 1, 0, 6, 0, 3}))}, {3, 4, 6});
  t = step("ScatterND", {t, constant(Tensor::of<int64_t>({2, 1}, {2, 0})), floats({2, 4, 6})}, {3, 4, 6});
  t = step("ScatterElements", {t, constant(Tensor::of<int64_t>({1, 2, 2}, {1, 0, 3, 2})), floats({1, 2, 2})},
           {3, 4, 6}, with({{"axis", int64_t{1}}}));
  t = step("Trilu", {t, constant(Tensor::scalar<int64_t>(1))}, {3, 4, 6});
  const int32_t mask = step("Greater", {t, constant(Tensor::scalar(0.0f))}, {3, 4, 6}, {}, DType::kBool);
  t = step("Where", {mask, t, floats({4, 1})}, {3, 4, 6});
  return step("Reshape", {t, constant(ints({1, 3, 4, 6}))}, {1, 3, 4, 6});
}

int32_t GenericMaker::numbers() {
  int32_t t = step("Conv", {x_, floats({6, 2, 3, 3}), floats({6})}, {1, 6, 3, 5},
                   with({{"group", int64_t{2}},
                         {"pads", Ints{1, 1, 1, 1}},
                         {"strides", Ints{2, 1}},
                         {"kernel_shape", Ints{3, 3}}}));
  t = step("ConvTranspose", {t, floats({6, 2, 2, 3}), floats({2})}, {1, 2, 6, 5},
           with({{"strides", Ints{2, 1}}, {"pads", Ints{0, 1, 0, 1}}}));
  t = step("BatchNormalization", {t, floats({2}), floats({2}), floats({2}), floats({2}, 0.5f, 1)},
           {1, 2, 6, 5});
  t = step("InstanceNormalization", {t, floats({2}), floats({2})}, {1, 2, 6, 5});
  t = step("GroupNormalization", {t, floats({2}), floats({2})}, {1, 2, 6, 5},
           with({{"num_groups", int64_t{1}}}));
  t = step("LayerNormalization", {t, floats({6, 5}), floats({6, 5})}, {1, 2, 6, 5},
           with({{"axis", int64_t{-2}}}));
  t = step("RMSNormalization", {t, floats({5})}, {1, 2, 6, 5});
  t = step("LRN", {t}, {1, 2, 6, 5}, with({{"size", int64_t{3}}}));
  t = step("LpNormalization", {t}, {1, 2, 6, 5}, with({{"axis", int64_t{1}}}));
  t = step("MaxPool", {t}, {1, 2, 5, 4}, with({{"kernel_shape", Ints{2, 2}}}));
  t = step("AveragePool", {t}, {1, 2, 3, 2},
           with({{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 0}}}));
  t = step("Resize", {t, -1, constant(Tensor::of<float>({4}, {1, 1, 2, 3}))}, {1, 2, 6, 6},
           with({{"mode", std::string("linear")}}));
  t = step("Resize", {t, -1, -1, constant(ints({1, 2, 4, 9}))}, {1, 2, 4, 9},
           with({{"mode", std::string("cubic")}}));
  t = step("Softmax", {t}, {1, 2, 4, 9}, with({{"axis", int64_t{1}}}));
  t = step("CumSum", {t, constant(Tensor::scalar<int64_t>(2))}, {1, 2, 4, 9});
  t = step("MatMul", {t, floats({2, 9, 3})}, {1, 2, 4, 3});
  t = step("PRelu", {t, floats({2, 1, 1})}, {1, 2, 4, 3});
  t = step("Clip", {t, constant(Tensor::scalar(-1.0f)), constant(Tensor::scalar(1.0f))}, {1, 2, 4, 3});
  const int32_t m = step("ReduceMean", {t, constant(ints({1, 3}))}, {1, 4}, with({{"keepdims", int64_t{0}}}));
  t = step("Gemm", {m, floats({4, 3}), floats({3})}, {1, 3});
  const int32_t q =
      step("QuantizeLinear", {t, constant(Tensor::scalar(0.1f)), constant(Tensor::scalar<uint8_t>(9))},
           {1, 3}, {}, DType::kUInt8);
  return step("DequantizeLinear", {q, floats({3}, 0.1f, 1), constant(Tensor::of<uint8_t>({3}, {1, 2, 3}))},
              {1, 3}, with({{"axis", int64_t{1}}}));
}

int32_t GenericMaker::shapes() {
  const int32_t best = step("ArgMax", {x_}, {1, 1, 6, 5}, with({{"axis", int64_t{1}}}), DType::kInt64);
  const int32_t shape = step("Shape", {x_}, {4}, {}, DType::kInt64);
  const int32_t some = step("Gather", {shape, constant(ints({2, 3}))}, {2}, {}, DType::kInt64);
  const int32_t full = step("ConstantOfShape", {some}, {6, 5}, {}, DType::kFloat32);
  const int32_t range = step("Range",
                             {constant(Tensor::scalar<int64_t>(0)), constant(Tensor::scalar<int64_t>(12)),
                              constant(Tensor::scalar<int64_t>(2))},
                             {6}, {}, DType::kInt64);
  const int32_t column = step("Cast", {range}, {6}, {});
  const int32_t rows = step("Unsqueeze", {column, constant(ints({1}))}, {6, 1});
  const int32_t sum = step("Add", {full, rows}, {6, 5});
  const int32_t picked = step("Cast", {best}, {1, 1, 6, 5});
  return step("Sum", {sum, picked, rows}, {1, 1, 6, 5});
}

Model GenericMaker::make() {
  model_.outputs = {moves(), numbers(), shapes()};
  return model_;
}

}  // namespace

Model small_int8_engine() {
  Random random(7);
  NetworkMaker m(random);
  using Val = NetworkMaker::Val;
  const Val x = m.input({1, 3, 10, 9});
  const Val a = m.op("Relu", {m.conv(x, {.out_c = 8}).id}, {1, 8, 10, 9});
  const Val b = m.conv(a, {.out_c = 8, .group = 8});
  const Val c = m.op("Mul", {b.id, m.op("Sigmoid", {b.id}, b.shape).id}, b.shape);
  const Val d =
      m.op("Add", {a.id, m.conv(c, {.out_c = 8, .kernel_h = 1, .kernel_w = 1, .pad = 0}).id}, a.shape);
  const Val e = m.concat({d, m.conv(d, {.out_c = 5, .dilation = 2, .pad = 2})});
  const Val f = m.pool("MaxPool", e, 3, 2, 1);
  const Val g = m.conv(m.resize(f, false, 2), {.out_c = 6, .group = 1});
  const Val h = m.conv(m.resize(g, true, 2), {.out_c = 6, .stride = 2, .group = 2});
  const Val gate =
      m.op("Sigmoid", {m.conv(m.global_pool(h), {.out_c = 6, .kernel_h = 1, .kernel_w = 1, .pad = 0}).id},
           {1, 6, 1, 1});
  const Val i =
      m.conv(m.conv(m.pad(m.op("Mul", {h.id, gate.id}, h.shape)), {.out_c = 12, .group = 6}), {.out_c = 7});
  const Val j =
      m.conv(m.pool("AveragePool", i, 2, 2, 0), {.out_c = 9, .kernel_h = 1, .kernel_w = 1, .pad = 0});
  const Val normalized = m.op("InstanceNormalization",
                              {j.id, m.constant(Tensor::of<float>({9}, {1, 1, 2, 1, 1, 3, 1, 1, 1})),
                               m.constant(Tensor::of<float>({9}, {0, 1, 0, 0, -1, 0, 0, 0, 0}))},
                              j.shape);
  const Val k = m.op("Tanh", {normalized.id}, j.shape);
  const Val l = m.conv(k, {.out_c = 5});
  const Val y = m.gemm(m.flatten(m.global_pool(l)), 4);
  m.graph.mark_output(m.op("Softmax", {y.id}, y.shape).id);
  infer_shapes(m.graph);
  const Tensor input = random_input(m.graph, random);
  Model model = build_engine(quantize(m.graph, {input}, {}, {}, &random).graph);
  model.metadata["octet.preprocess"] = "short=10 crop=10 rgb";
  return model;
}

Model generic_engine() {
  return GenericMaker().make();
}

Model random_engine(Random& random) {
  NetworkMaker m(random);
  m.random_network(random.range(2, 6), random.chance(0.2));
  if (random.chance(0.3)) return build_engine(m.graph);
  const SymbolValues symbols{{"N", 1}};
  const Tensor input =
      random_floats(random, evaluate(*m.graph.value(m.graph.inputs()[0]).shape, symbols), -1, 1);
  return build_engine(quantize(m.graph, {input}, {}, symbols, random.chance(0.5) ? &random : nullptr).graph);
}

Model demo_engine() {
  Graph graph = import_onnx(std::filesystem::path(OCTET_SOURCE_DIR) / "demo" / "model.onnx");
  Random random(3);
  const SymbolValues symbols{{"N", 1}};
  const Tensor input = random_floats(random, evaluate(*graph.value(graph.inputs()[0]).shape, symbols), -1, 1);
  return build_engine(quantize(std::move(graph), {input}, {}, symbols).graph);
}

Model with_own_constants(Model model) {
  for (TensorDef& t : model.tensors)
    if (t.storage == Storage::kConstant) t.constant = t.constant.clone();
  return model;
}

Outcome try_engine(const std::function<engine::Engine()>& make, Random& random, std::string* message) {
  constexpr int64_t kLimit = 32 << 20;
  const std::vector<Isa> isas = possible_isas();
  const Isa isa = isas[random.bits() % isas.size()];
  const bool threads = random.chance(0.2);
  Outcome outcome = Outcome::kRefused;
  const int64_t usual = memory_limit();
  set_memory_limit(kLimit);
  try {
    const engine::Engine engine = make();
    engine::ContextOptions options;
    options.isa = isa;
    ThreadPool pool(threads ? 2 : 1);
    options.pool = threads ? &pool : nullptr;
    engine::Context context(engine, options);
    outcome = Outcome::kRefusedRun;
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < engine.model().inputs.size(); ++i) {
      Tensor t(engine.model().tensors[engine.model().inputs[i]].dtype, context.input_shape(i));
      if (t.dtype() == DType::kFloat32) {
        for (float& v : t.as<float>()) v = random.real(-1, 1);
      } else if (t.bytes() > 0) {
        const auto bytes = random.bytes(t.bytes());
        std::copy(bytes.begin(), bytes.end(), static_cast<uint8_t*>(t.raw()));
      }
      inputs.push_back(std::move(t));
    }
    context.run(inputs);
    unsigned sum = 0;
    for (size_t i = 0; i < engine.model().outputs.size(); ++i) {
      const Tensor& y = context.output(i);
      for (int64_t b = 0; b < y.bytes(); ++b) sum += static_cast<const uint8_t*>(y.raw())[b];
    }
    volatile unsigned sink = sum;
    (void)sink;
    outcome = Outcome::kRan;
  } catch (const Error& e) {
    if (message) *message = e.message();
  }
  set_memory_limit(usual);
  return outcome;
}

}  // namespace octet::testing
