// Engines against a plain interpretation of the graphs that they were built from. OCTET_TEST_SEED repeats a
// run, OCTET_TEST_CASES sets how many (see test_networks).
#include "build/build.h"

#include <gtest/gtest.h>

#include <cstring>

#include "build/test_graphs.h"
#include "kernels/conv/conv.h"
#include "passes/layer_weights.h"

namespace octet {
namespace {

using engine::Context;
using engine::ContextOptions;
using engine::Engine;
using engine::Observation;
using testing::interpret;
using testing::NetworkMaker;
using testing::quantize;
using testing::QuantizedNetwork;
using testing::Random;
using testing::random_floats;
using testing::test_networks;
using testing::test_seed;

ContextOptions options_of(Isa isa, ThreadPool* pool = nullptr) {
  ContextOptions options;
  options.isa = isa;
  options.pool = pool;
  return options;
}

std::string describe(const Graph& graph) {
  std::string text;
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    text += node.op + " " + to_string(*graph.value(node.outputs[0]).shape) + "; ";
  }
  return text;
}

Tensor input_for(const Graph& graph, Random& random, const SymbolValues& symbols = {}) {
  return random_floats(random, evaluate(*graph.value(graph.inputs()[0]).shape, symbols), -1, 1);
}

// Largest difference of two tensors relative to the largest value.
double relative_error(const Tensor& expected, const Tensor& found) {
  EXPECT_EQ(expected.shape(), found.shape());
  const auto a = to_float(expected), b = to_float(found);
  double largest = 1e-6, error = 0;
  for (float v : a) largest = std::max(largest, std::abs(static_cast<double>(v)));
  for (size_t i = 0; i < a.size(); ++i) {
    const double e = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    error = std::max(error, e <= 1e30 ? e : 1e30);  // NaN too
  }
  return error / largest;
}

TEST(Build, RandomFloatNetworksEqualTheirGraphs) {
  const uint32_t seed = test_seed();
  Random random(seed);
  for (int64_t i = test_networks(60); i > 0; --i) {
    NetworkMaker m(random);
    m.random_network(random.range(1, 8));
    const Tensor input = input_for(m.graph, random);
    const auto expected = interpret(m.graph, {input});
    const Engine engine(build_engine(m.graph));
    for (Isa isa : {best_isa(), Isa::kReference}) {
      Context context(engine, options_of(isa));
      context.run(std::vector<Tensor>{input});
      for (size_t o = 0; o < m.graph.outputs().size(); ++o)
        ASSERT_LT(relative_error(expected.at(m.graph.outputs()[o]), context.output(o)), 1e-4)
            << describe(m.graph) << "case " << i << " output " << o << " " << isa_name(isa);
    }
  }
}

struct Steps {
  int64_t values = 0, different = 0, largest = 0, seen = 0, unseen = 0;
};

// Whether element `i` of `real` lies half-way between two steps of the QuantizeLinear, up to float rounding.
bool is_tie(const Graph& graph, const Node& quantize_node, const Tensor& real, int64_t i) {
  const auto scale = graph.value(quantize_node.inputs[1]).constant->as<float>();
  int64_t inner = 1;
  for (int64_t axis = quantize_node.attributes.get_int("axis", 1) + 1; axis < real.rank(); ++axis)
    inner *= real.shape()[axis];
  const double steps = real.as<float>()[i] / double{scale[i / inner % static_cast<int64_t>(scale.size())]};
  return std::abs(steps - std::floor(steps) - 0.5) < 1e-3;
}

// Interprets the Q/DQ graph on the engine's own 8-bit values, so that each layer is compared by itself.
void compare_layers(const QuantizedNetwork& q, const Tensor& input,
                    const std::map<std::string, std::vector<uint8_t>>& stored, Steps& steps,
                    std::vector<Tensor>& outputs) {
  std::map<std::string, Tensor> reals;
  const auto values = interpret(q.graph, {input}, [&](const Value& value, Tensor& t) {
    if (t.dtype() == DType::kFloat32) reals[value.name] = t;
    if (t.dtype() != DType::kUInt8 && t.dtype() != DType::kInt8) return;
    // The engine names what is stored after the value that it stands for.
    const Node& quantize_node = *q.graph.producer(*q.graph.find_value(value.name));
    const auto found = stored.find(q.graph.value(quantize_node.inputs[0]).name);
    if (!quantize_node.is("QuantizeLinear") || found == stored.end()) {
      ++steps.unseen;
      return;
    }
    ++steps.seen;
    ASSERT_EQ(found->second.size(), static_cast<size_t>(t.count())) << value.name;
    auto* bytes = static_cast<uint8_t*>(t.raw());
    const uint8_t flip =
        t.dtype() == DType::kInt8 ? 0x80 : 0;  // engines store signed values as unsigned ones
    for (int64_t i = 0; i < t.count(); ++i) {
      const int64_t d = std::abs(int64_t{static_cast<uint8_t>(bytes[i] ^ flip)} - found->second[i]);
      ++steps.values;
      // Means of neighbours fall half-way often, and floats do not quite.
      const Node* maker = q.graph.producer(quantize_node.inputs[0]);
      const bool tie =
          d == 1 && maker != nullptr && maker->is("Resize") &&
          is_tie(q.graph, quantize_node, reals.at(q.graph.value(quantize_node.inputs[0]).name), i);
      steps.different += d != 0 && !tie;
      steps.largest = std::max(steps.largest, d);
      if (d > 1) ADD_FAILURE() << value.name << "[" << i << "] differs by " << d;
      bytes[i] = found->second[i] ^ flip;
    }
  });
  for (ValueId v : q.graph.outputs()) outputs.push_back(values.at(v));
}

std::map<std::string, std::vector<uint8_t>> run_observed(const Engine& engine, const ContextOptions& options,
                                                         const Tensor& input, std::vector<Tensor>& outputs) {
  std::map<std::string, std::vector<uint8_t>> stored;
  Context context(engine, options);
  context.run(std::vector<Tensor>{input}, [&](const Observation& o) {
    if (o.def->dtype == DType::kUInt8) stored[o.def->name] = testing::plain_elements<uint8_t>(o);
  });
  for (size_t i = 0; i < engine.model().outputs.size(); ++i) outputs.push_back(context.output(i).clone());
  return stored;
}

bool same_bytes(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].shape() != b[i].shape() ||
        (a[i].bytes() > 0 && std::memcmp(a[i].raw(), b[i].raw(), static_cast<size_t>(a[i].bytes())) != 0))
      return false;
  return true;
}

bool uses_onednn(const engine::Model& model) {
  return std::any_of(model.steps.begin(), model.steps.end(), [](const engine::StepDef& s) {
    return s.kind == "conv_f32" || s.kind == "gemm_f32" || s.kind == "matmul_f32";
  });
}

TEST(Build, RandomQuantizedNetworksEqualTheirGraphs) {
  const uint32_t seed = test_seed();
  Random random(seed);
  Steps steps;
  for (int64_t i = test_networks(60); i > 0; --i) {
    NetworkMaker m(random);
    m.random_network(random.range(1, 8));
    const Tensor input = input_for(m.graph, random);
    QuantizeOptions options;
    options.target = &find_target(i % 3 == 0 ? "tensorrt" : i % 3 == 1 ? "octet" : "onnxruntime");
    options.weights_per_tensor = random.chance(0.2);
    options.quantize_outputs = random.chance(0.2);
    const bool channels = i % 2 == 0 && options.target->activation == DType::kUInt8;
    const QuantizedNetwork q = quantize(m.graph, {input}, options, {}, channels ? &random : nullptr);
    SCOPED_TRACE("case " + std::to_string(i) + (channels ? " by channel " : " ") +
                 std::string(options.target->name) + ": " + describe(q.graph));
    const Engine engine(build_engine(q.graph));

    std::vector<Tensor> outputs, expected;
    const auto stored = run_observed(engine, options_of(best_isa()), input, outputs);
    compare_layers(q, input, stored, steps, expected);
    if (::testing::Test::HasFailure()) return;
    for (size_t o = 0; o < outputs.size(); ++o)
      ASSERT_LT(relative_error(expected[o], outputs[o]), options.quantize_outputs ? 0.02 : 2e-4) << o;

    if (uses_onednn(engine.model())) continue;
    for (Isa isa : possible_isas())
      for (int threads = 1; threads <= 3; ++threads) {
        ThreadPool pool(threads);
        std::vector<Tensor> same;
        const auto bytes = run_observed(engine, options_of(isa, &pool), input, same);
        for (const auto& [name, values] : stored)
          ASSERT_EQ(bytes.at(name), values) << name << " " << isa_name(isa) << ", threads " << threads;
        ASSERT_TRUE(same_bytes(outputs, same)) << isa_name(isa) << ", threads " << threads;
      }
  }
  std::printf("%lld of %lld 8-bit values differ\n", static_cast<long long>(steps.different),
              static_cast<long long>(steps.values));
  EXPECT_LT(static_cast<double>(steps.different), 0.002 * static_cast<double>(steps.values));
  EXPECT_LE(steps.largest, 1);
  EXPECT_LT(steps.unseen, steps.seen) << "concatenations are written in parts; all others must be compared";
}

TEST(Build, MostStepsOfAQuantizedNetworkAreInt8) {
  Random random(5);
  NetworkMaker m(random);
  const auto x = m.input({1, 3, 12, 12});
  const auto a = m.op("Relu", {m.conv(x, {.out_c = 16}).id}, {1, 16, 12, 12});
  const auto b =
      m.conv(m.conv(a, {.out_c = 16, .group = 16}), {.out_c = 16, .kernel_h = 1, .kernel_w = 1, .pad = 0});
  const auto c = m.concat({m.op("Add", {a.id, b.id}, a.shape), a});
  const auto y = m.conv(m.pool("MaxPool", c, 2, 2, 0), {.out_c = 4});
  m.graph.mark_output(y.id);
  infer_shapes(m.graph);
  const Tensor input = input_for(m.graph, random);
  const QuantizedNetwork q = quantize(m.graph, {input});
  const engine::Model model = build_engine(q.graph);
  std::map<std::string, int> kinds;
  for (const engine::StepDef& s : model.steps) {
    ++kinds[s.kind];
    EXPECT_TRUE(s.reason.empty() || s.precision != "int8") << s.name;
  }
  EXPECT_EQ(kinds["conv"], 4);
  EXPECT_EQ(kinds["add"], 0) << "the residual is part of the convolution";
  EXPECT_EQ(kinds["max_pool"], 1);
  EXPECT_EQ(kinds["conv_f32"], 0);
  EXPECT_EQ(kinds["quantize"], 1);
  EXPECT_EQ(q.layers.size(), 6u);
}

// A detector's predictions are written where they belong: nothing copies them.
TEST(Build, HeadsOfDetectorsAreWrittenInPlace) {
  Random random(7);
  for (const bool rows : {false, true}) {
    NetworkMaker m(random);
    const auto x = m.input({1, 3, 24, 24});
    const auto a = m.op("Relu", {m.conv(x, {.out_c = 16}).id}, {1, 16, 24, 24});
    const auto b = m.op("Relu", {m.conv(a, {.out_c = 16, .stride = 2}).id}, {1, 16, 12, 12});
    std::vector<NetworkMaker::Val> scales;
    for (const auto& v : {a, b}) {
      const int64_t pixels = v.shape[2] * v.shape[3];
      if (rows) {
        Attributes perm;
        perm.set("perm", NetworkMaker::Ints{0, 2, 3, 1});
        const auto last =
            m.op("Transpose", {m.conv(v, {.out_c = 9}).id}, {1, v.shape[2], v.shape[3], 9}, perm);
        scales.push_back(m.reshape(last, {1, pixels, 9}));
      } else {
        scales.push_back(m.reshape(m.concat({m.conv_1x1(v, 4), m.conv_1x1(v, 5)}), {1, 9, pixels}));
      }
    }
    const auto all = m.join(scales, rows ? 1 : 2);
    m.graph.mark_output(rows ? all.id : m.op("Sigmoid", {all.id}, all.shape).id);
    infer_shapes(m.graph);
    const Tensor input = input_for(m.graph, random);
    const engine::Model model = build_engine(quantize(m.graph, {input}).graph);
    std::map<std::string, int> kinds;
    for (const engine::StepDef& s : model.steps) ++kinds[s.kind];
    const std::map<std::string, int> expected =
        rows ? std::map<std::string, int>{{"quantize", 1}, {"conv", 4}}
             : std::map<std::string, int>{{"quantize", 1}, {"conv", 6}, {"function_f32", 1}};
    EXPECT_EQ(kinds, expected);
  }
}

// A scale per channel costs no step: weights absorb it, exactly.
TEST(Build, ScalesPerChannelNeedNoMoreSteps) {
  Random random(10);
  NetworkMaker m(random);
  const auto x = m.input({1, 3, 12, 12});
  const auto a = m.activation(m.conv(x, {.out_c = 16}));
  const auto b =
      m.conv(m.conv(a, {.out_c = 16, .group = 16}), {.out_c = 16, .kernel_h = 1, .kernel_w = 1, .pad = 0});
  const auto c = m.concat({m.conv(b, {.out_c = 16}), a});
  const auto d = m.conv(m.resize(m.pool("MaxPool", c, 2, 2, 0), true, 2), {.out_c = 16});
  // These keep one scale.
  const auto e =
      m.pool("AveragePool", m.pool("MaxPool", m.op("Add", {a.id, d.id}, a.shape), 2, 2, 0), 2, 2, 0);
  const auto y = m.conv(m.op("Mul", {e.id, e.id}, e.shape), {.out_c = 16});
  m.graph.mark_output(y.id);
  infer_shapes(m.graph);
  const Tensor input = input_for(m.graph, random);
  const QuantizedNetwork one = quantize(m.graph, {input}),
                         several = quantize(m.graph, {input}, {}, {}, &random);
  const engine::Model a_model = build_engine(one.graph), b_model = build_engine(several.graph);
  int64_t per_channel = 0;
  for (const engine::TensorDef& t : b_model.tensors) per_channel += t.quant.per_channel();
  EXPECT_GT(per_channel, 3);
  std::vector<std::string> kinds[2];
  for (const engine::StepDef& s : a_model.steps) kinds[0].push_back(s.kind + " " + s.precision);
  for (const engine::StepDef& s : b_model.steps) kinds[1].push_back(s.kind + " " + s.precision);
  EXPECT_EQ(kinds[0], kinds[1]);
  // The bytes of weights are those of the Q/DQ model.
  for (NodeId id : several.graph.sorted()) {
    const Node& conv = several.graph.node(id);
    if (!conv.is("Conv")) continue;
    const auto stored = dequantized_weights(several.graph, conv.inputs[1]);
    ASSERT_TRUE(stored);
    const auto& ints = *several.graph.value(stored->dequantize->inputs[0]).constant;
    kernels::ConvShape shape;
    shape.out_c = ints.shape()[0];
    shape.groups = conv.attributes.get_int("group", 1);
    shape.in_c = ints.shape()[1] * shape.groups;
    shape.kernel_h = ints.shape()[2];
    shape.kernel_w = ints.shape()[3];
    std::vector<std::byte> packed(static_cast<size_t>(kernels::packed_conv_bytes(shape)));
    kernels::pack_conv_weights(shape, ints.as<int8_t>().data(), packed.data());
    bool found = false;
    for (const engine::TensorDef& t : b_model.tensors)
      found |= t.name == conv.name + "/weights" &&
               t.constant.bytes() == static_cast<int64_t>(packed.size()) &&
               std::memcmp(t.constant.raw(), packed.data(), packed.size()) == 0;
    EXPECT_TRUE(found) << conv.name;
  }
}

TEST(Build, Int8OnlyRefusesAndNamesWhatIsFloat) {
  Random random(6);
  NetworkMaker m(random);
  const auto x = m.input({1, 3, 8, 8});
  const auto a = m.conv(x, {.out_c = 8});
  m.graph.mark_output(m.op("Softmax", {m.conv(a, {.out_c = 8}).id}, a.shape).id);
  infer_shapes(m.graph);
  const QuantizedNetwork q = quantize(m.graph, {input_for(m.graph, random)});
  BuildOptions options;
  options.int8_only = true;
  try {
    build_engine(q.graph, options);
    FAIL() << "a float step was accepted";
  } catch (const Error& e) {
    EXPECT_NE(e.message().find("Softmax"), std::string::npos) << e.message();
  }
}

TEST(Build, Int8OnlyHasIntegerInputsAndOutputs) {
  Random random(8);
  NetworkMaker m(random);
  const auto x = m.input({1, 3, 8, 8});
  m.graph.mark_output(m.conv(m.op("Relu", {m.conv(x, {.out_c = 8}).id}, {1, 8, 8, 8}), {.out_c = 8}).id);
  infer_shapes(m.graph);
  QuantizeOptions quantization;
  quantization.quantize_outputs = true;
  const QuantizedNetwork q = quantize(m.graph, {input_for(m.graph, random)}, quantization);
  BuildOptions options;
  options.int8_only = true;
  const engine::Model model = build_engine(q.graph, options);
  for (int32_t t : model.inputs) EXPECT_EQ(dtype_bits(model.tensors[t].dtype), 8);
  for (int32_t t : model.outputs) EXPECT_EQ(dtype_bits(model.tensors[t].dtype), 8);
  Context context(Engine(model), options_of(best_isa()));
  Tensor bytes(model.tensors[model.inputs[0]].dtype, {1, 3, 8, 8});
  context.run(std::vector<Tensor>{bytes});
}

TEST(Build, OutputsMayBeInputsViewsAndRepeated) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kFloat32, {2, 3});
  Attributes axis;
  axis.set("axis", int64_t{0});
  const ValueId flat = g.add_op("Flatten", "flat", {x}, "y", axis);
  g.mark_output(flat);
  g.mark_output(g.add_op("Relu", "relu", {x}, "z"));
  infer_shapes(g);
  Context context(Engine(build_engine(g)), options_of(best_isa()));
  const Tensor input = Tensor::of<float>({2, 3}, {-1, 2, -3, 4, -5, 6});
  for (int i = 0; i < 2; ++i) {
    context.run(std::vector<Tensor>{input.clone()});
    EXPECT_EQ(to_float(context.output(0)), to_float(input));
    EXPECT_EQ(context.output(0).shape(), (Shape{1, 6}));
    EXPECT_EQ(to_float(context.output(1)), (std::vector<float>{0, 2, 0, 4, 0, 6}));
  }
}

TEST(Build, ABatchGivesTheBytesOfSeparateRuns) {
  const uint32_t seed = test_seed();
  Random random(seed);
  const SymbolValues one{{"N", 1}};
  for (int64_t i = test_networks(12); i > 0; --i) {
    NetworkMaker m(random);
    m.random_network(random.range(1, 6), /*symbolic=*/true);
    const int64_t base = m.graph.value(m.graph.inputs()[0]).shape->at(1).value();
    (void)base;
    const QuantizedNetwork q = quantize(m.graph, {input_for(m.graph, random, one)}, {}, one);
    const Engine engine(build_engine(q.graph));
    if (uses_onednn(engine.model())) continue;
    ASSERT_EQ(engine.model().symbols.size(), 1u);
    const Tensor all = input_for(m.graph, random, {{"N", 3}});
    ThreadPool pool(2);
    ContextOptions options = options_of(best_isa(), &pool);
    options.shapes["N"] = 3;
    Context batch(engine, options);
    batch.run(std::vector<Tensor>{all});
    options.shapes["N"] = 1;
    Context single(engine, options);
    Shape shape = all.shape();
    shape[0] = 1;
    for (int64_t n = 0; n < 3; ++n) {
      const auto* data = static_cast<const std::byte*>(all.raw()) + n * all.bytes() / 3;
      single.run(std::vector<Tensor>{Tensor::view(DType::kFloat32, shape, static_cast<const void*>(data))});
      for (size_t o = 0; o < engine.model().outputs.size(); ++o) {
        const Tensor &whole = batch.output(o), &part = single.output(o);
        ASSERT_EQ(whole.bytes(), 3 * part.bytes());
        ASSERT_EQ(std::memcmp(static_cast<const std::byte*>(whole.raw()) + n * part.bytes(), part.raw(),
                              static_cast<size_t>(part.bytes())),
                  0)
            << describe(m.graph) << " image " << n;
      }
    }
  }
}

}  // namespace
}  // namespace octet
