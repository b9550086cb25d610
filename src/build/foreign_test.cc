// Q/DQ graphs in the forms that other tools write: built, run, and compared with the plain interpretation of
// the graph.
#include <gtest/gtest.h>

#include <algorithm>

#include "build/build.h"
#include "build/test_graphs.h"

namespace octet {
namespace {

using testing::interpret;
using testing::Random;
using testing::random_floats;
using testing::test_seed;

Tensor bytes_of(DType dtype, Shape shape, const std::vector<int>& values) {
  Tensor t(dtype, std::move(shape));
  for (int64_t i = 0; i < t.count(); ++i) {
    const int v = values[i % values.size()];
    if (dtype_bits(dtype) == 4)
      static_cast<uint8_t*>(t.raw())[i / 2] |= static_cast<uint8_t>((v & 15) << (i % 2 * 4));
    else
      static_cast<uint8_t*>(t.raw())[i] = static_cast<uint8_t>(v);
  }
  return t;
}

// Weights of one weighted node between an 8-bit input and an 8-bit output.
struct Layer {
  std::string op = "Conv";
  DType dtype = DType::kInt8;
  int low = -127, high = 127;
  std::vector<int> zeros{0};  // one, or one per scale; empty: no zero-point
  int scales = 1;
  int64_t axis = 0, block = 0, group = 1;
  float bias_scale = 0;  // 0: a float bias
  bool scales_of_one_element = false, activation_zero = true;
  DType activation = DType::kUInt8;
};

class Foreign : public ::testing::Test {
 protected:
  static constexpr int64_t kIn = 6, kOut = 8, kSide = 5;

  ValueId floats(Shape shape, float low, float high) {
    return g_.add_constant("c", random_floats(random_, shape, low, high));
  }

  std::vector<ValueId> parameters(ValueId x, const Layer& layer, float scale, int zero) {
    std::vector<ValueId> inputs{
        x,
        g_.add_constant("s", Tensor::of<float>(layer.scales_of_one_element ? Shape{1} : Shape{}, {scale}))};
    if (layer.activation_zero || layer.activation != DType::kUInt8)
      inputs.push_back(g_.add_constant("z", bytes_of(layer.activation, {}, {zero})));
    return inputs;
  }

  Graph& make(const Layer& layer) {
    const bool conv = layer.op == "Conv", transposed = layer.op == "Gemm";
    const Shape x_shape = conv ? Shape{1, kIn, kSide, kSide} : Shape{3, kIn};
    const Shape w_shape = conv         ? Shape{kOut, kIn / layer.group, 3, 3}
                          : transposed ? Shape{kOut, kIn}
                                       : Shape{kIn, kOut};
    Dims dims(x_shape.begin(), x_shape.end());
    const ValueId x = g_.add_input("x", DType::kFloat32, dims);
    const int zero = !layer.activation_zero ? 0 : layer.activation == DType::kUInt8 ? 77 : -11;
    const ValueId q = g_.add_op("QuantizeLinear", "q", parameters(x, layer, 0.02f, zero), "xq");
    const ValueId dq = g_.add_op("DequantizeLinear", "dq", parameters(q, layer, 0.02f, zero), "xr");

    int64_t count = 1;
    for (const int64_t d : w_shape) count *= d;
    std::vector<int> values;
    for (int64_t i = 0; i < count; ++i)
      values.push_back(static_cast<int>(random_.range(layer.low, layer.high)));
    Shape s_shape = layer.scales == 1 ? Shape{} : Shape{layer.scales};
    if (layer.block) {
      s_shape = w_shape;
      s_shape[layer.axis] = (w_shape[layer.axis] + layer.block - 1) / layer.block;
    }
    std::vector<ValueId> w{g_.add_constant("w", bytes_of(layer.dtype, w_shape, values)),
                           floats(s_shape, 0.005f, 0.02f)};
    if (!layer.zeros.empty()) w.push_back(g_.add_constant("wz", bytes_of(layer.dtype, s_shape, layer.zeros)));
    Attributes a;
    a.set("axis", layer.axis);
    if (layer.block) a.set("block_size", layer.block);
    std::vector<ValueId> inputs{dq, g_.add_op("DequantizeLinear", "wdq", w, "wr", a)};
    Attributes attributes;
    if (conv) {
      attributes.set("pads", std::vector<int64_t>{1, 1, 1, 1});
      attributes.set("group", layer.group);
    }
    if (transposed) attributes.set("transB", int64_t{1});
    if (layer.op != "MatMul") {
      if (layer.bias_scale > 0) {
        std::vector<int32_t> ints;
        for (int64_t i = 0; i < kOut; ++i) ints.push_back(static_cast<int32_t>(random_.range(-500, 500)));
        const ValueId b = g_.add_constant("b", Tensor::of<int32_t>({kOut}, std::span<const int32_t>(ints)));
        inputs.push_back(g_.add_op("DequantizeLinear", "bdq",
                                   {b, g_.add_constant("bs", Tensor::scalar(layer.bias_scale))}, "br"));
      } else {
        inputs.push_back(floats({kOut}, -1, 1));
      }
    }
    const ValueId y = g_.add_op(layer.op, "layer", inputs, "y", attributes);
    const ValueId yq = g_.add_op("QuantizeLinear", "yq", parameters(y, layer, 0.1f, zero), "yq");
    g_.mark_output(g_.add_op("DequantizeLinear", "ydq", parameters(yq, layer, 0.1f, zero), "out"));
    infer_shapes(g_);
    verify(g_);
    return g_;
  }

  // Builds, runs, compares to a step; gives the layer's step.
  engine::StepDef check(const Graph& graph) {
    const Tensor input = random_floats(random_, evaluate(*graph.value(graph.inputs()[0]).shape), -2, 2);
    const auto expected = to_float(interpret(graph, {input}).at(graph.outputs()[0]));
    const engine::Model model = build_engine(graph);
    for (const Isa isa : possible_isas()) {
      const engine::Engine engine{engine::Model(model)};
      engine::ContextOptions options;
      options.isa = isa;
      engine::Context context(engine, options);
      context.run(std::vector<Tensor>{input});
      const auto found = to_float(context.output(0));
      int different = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_LE(std::abs(found[i] - expected[i]), 0.1001f) << i;
        different += found[i] != expected[i];
      }
      EXPECT_LE(different, 2) << "of " << expected.size();
    }
    for (const auto& step : model.steps)
      if (step.name == "layer" && (step.kind == "conv" || step.kind == "gemm" || step.precision != "int8"))
        return step;
    ADD_FAILURE() << "the layer has no step";
    return {};
  }
  void expect_int8(const Layer& layer) {
    SCOPED_TRACE(layer.op + " " + std::string(dtype_name(layer.dtype)) + " zero-points " +
                 ::testing::PrintToString(layer.zeros));
    g_ = Graph();
    const auto step = check(make(layer));
    EXPECT_EQ(step.precision, "int8") << step.kind << ": " << step.reason;
  }
  void expect_float(const Layer& layer, const std::string& reason) {
    g_ = Graph();
    const auto step = check(make(layer));
    EXPECT_EQ(step.precision, "float32");
    EXPECT_NE(step.reason.find(reason), std::string::npos) << step.reason;
  }

  Random random_{test_seed()};
  Graph g_;
};

TEST_F(Foreign, WeightsWithZeroPoints) {
  for (const std::string op : {"Conv", "Gemm", "MatMul"}) {
    const int64_t axis = op == "MatMul" ? 1 : 0;
    expect_int8({.op = op, .dtype = DType::kUInt8, .low = 0, .high = 255, .zeros = {128}, .axis = axis});
    expect_int8({.op = op, .dtype = DType::kUInt8, .low = 30, .high = 200, .zeros = {100}, .axis = axis});
    expect_int8({.op = op, .dtype = DType::kInt8, .low = -100, .high = 100, .zeros = {20}, .axis = axis});
    // 9 bits: in two summands.
    expect_int8({.op = op, .dtype = DType::kUInt8, .low = 0, .high = 255, .zeros = {90}, .axis = axis});
    expect_int8({.op = op, .dtype = DType::kUInt8, .low = 0, .high = 254, .zeros = {}, .axis = axis});
    expect_int8({.op = op, .dtype = DType::kInt8, .low = -128, .high = 126, .zeros = {-128}, .axis = axis});
    expect_int8({.op = op,
                 .dtype = DType::kUInt8,
                 .low = 0,
                 .high = 254,
                 .zeros = {0, 255, 128, 127, 90, 1, 254, 60},
                 .scales = 8,
                 .axis = axis});
  }
  expect_float({.dtype = DType::kUInt8, .low = 255, .high = 255, .zeros = {}}, "reach 255");
  expect_float({.dtype = DType::kUInt8, .low = 0, .high = 255, .zeros = {90}, .group = 2}, "need 9 bits");
  expect_int8({.dtype = DType::kUInt8, .low = 0, .high = 200, .zeros = {90}, .group = 2});
}

TEST_F(Foreign, WeightsOfFourBits) {
  for (const std::string op : {"Conv", "Gemm", "MatMul"}) {
    const int64_t axis = op == "MatMul" ? 1 : 0;
    expect_int8({.op = op, .dtype = DType::kInt4, .low = -8, .high = 7, .zeros = {0}, .axis = axis});
    expect_int8({.op = op, .dtype = DType::kUInt4, .low = 0, .high = 15, .zeros = {7}, .axis = axis});
    expect_int8({.op = op,
                 .dtype = DType::kUInt4,
                 .low = 0,
                 .high = 15,
                 .zeros = {0, 15, 8, 7, 1, 2, 3, 4},
                 .scales = 8,
                 .axis = axis});
    expect_int8(
        {.op = op, .dtype = DType::kInt4, .low = -8, .high = 7, .zeros = {}, .scales = 8, .axis = axis});
  }
}

TEST_F(Foreign, Blocks) {
  // Whole columns are channels, less are not.
  expect_int8(
      {.op = "MatMul", .dtype = DType::kInt4, .low = -8, .high = 7, .zeros = {1, 2}, .axis = 0, .block = 6});
  expect_int8({.op = "MatMul", .low = -100, .high = 100, .zeros = {}, .axis = 0, .block = 16});
  expect_float(
      {.op = "MatMul", .dtype = DType::kInt4, .low = -8, .high = 7, .zeros = {}, .axis = 0, .block = 2},
      "scales per block of 2 along axis 0");
  expect_float({.op = "Conv", .zeros = {}, .axis = 1, .block = 3}, "scales per block of 3");
}

TEST_F(Foreign, ScalesOfInputChannels) {
  expect_float({.op = "MatMul", .zeros = {}, .scales = 6, .axis = 0}, "axis other than the output channels");
  expect_float({.op = "Conv", .zeros = {}, .scales = 6, .axis = 1}, "axis other than the output channels");
  expect_int8({.op = "MatMul", .zeros = {}, .scales = 8, .axis = -1});
}

TEST_F(Foreign, BiasesAndActivations) {
  expect_int8({.bias_scale = 0.003f});  // of no relation to the other scales
  expect_int8({.scales_of_one_element = true});
  expect_int8({.activation_zero = false});
  expect_int8({.activation = DType::kInt8});
}

TEST_F(Foreign, SixteenBitActivationsSayWhy) {
  const ValueId x = g_.add_input("x", DType::kFloat32, {1, kIn, kSide, kSide});
  const ValueId s = g_.add_constant("s", Tensor::scalar(0.001f)),
                z = g_.add_constant("z", Tensor::scalar(uint16_t{30000}));
  const ValueId q = g_.add_op("QuantizeLinear", "q", {x, s, z}, "xq");
  const ValueId dq = g_.add_op("DequantizeLinear", "dq", {q, s, z}, "xr");
  const ValueId w =
      g_.add_op("DequantizeLinear", "wdq",
                {g_.add_constant("w", bytes_of(DType::kInt8, {kOut, kIn, 3, 3}, {1, -7, 50, 3, 99})),
                 g_.add_constant("ws", Tensor::scalar(0.01f))},
                "wr");
  g_.mark_output(g_.add_op("Conv", "layer", {dq, w}, "y"));
  infer_shapes(g_);
  for (const auto& step : build_engine(g_).steps) {
    if (step.kind == "conv_f32") {
      EXPECT_EQ(step.reason, "its input 'xr' is quantized to uint16, kernels take 8 bits");
    }
  }
}

TEST_F(Foreign, WeightsThatAreQuantizedInTheGraph) {
  Graph& g = make({});
  // Float weights behind a QuantizeLinear instead of integers.
  const NodeId wdq = *g.find_node("wdq");
  const ValueId stored = g.node(wdq).inputs[0];
  const Tensor w = *g.value(stored).constant;
  Tensor real(DType::kFloat32, w.shape());
  const float scale = g.value(g.node(wdq).inputs[1]).constant->as<float>()[0];
  for (int64_t i = 0; i < w.count(); ++i) real.as<float>()[i] = static_cast<float>(w.as<int8_t>()[i]) * scale;
  const ValueId q =
      g.add_op("QuantizeLinear", "wq",
               {g.add_constant("wf", std::move(real)), g.node(wdq).inputs[1], g.node(wdq).inputs[2]}, "wqd");
  g.set_input(wdq, 0, q);
  infer_shapes(g);
  EXPECT_EQ(check(g).precision, "int8");
}

TEST_F(Foreign, ADequantizedValueWithSeveralReaders) {
  Graph& g = make({});
  const ValueId shared = g.node(*g.find_node("layer")).inputs[0];
  const ValueId pooled = g.add_op("GlobalAveragePool", "pool", {shared}, "pooled");
  g.mark_output(pooled);
  g.mark_output(g.add_op("Sigmoid", "sigmoid", {shared}, "s"));
  infer_shapes(g);
  EXPECT_EQ(check(g).precision, "int8");
}

TEST_F(Foreign, PaddingWithZerosStaysInBytes) {
  for (const int zero : {0, 77}) {
    g_ = Graph();
    const ValueId x = g_.add_input("x", DType::kFloat32, {1, 2, 3, 4});
    const ValueId s = g_.add_constant("s", Tensor::scalar(0.1f));
    const ValueId z = g_.add_constant("z", Tensor::scalar(static_cast<uint8_t>(zero)));
    const ValueId pads = g_.add_constant("p", Tensor::of<int64_t>({8}, {0, 1, 0, 2, 0, 0, 1, 0}));
    const ValueId dq =
        g_.add_op("DequantizeLinear", "dq", {g_.add_op("QuantizeLinear", "q", {x, s, z}, "xq"), s, z}, "r");
    const ValueId y = g_.add_op("Pad", "layer", {dq, pads}, "y");
    const ValueId yq = g_.add_op("QuantizeLinear", "yq", {y, s, z}, "yq");
    g_.mark_output(g_.add_op("DequantizeLinear", "ydq", {yq, s, z}, "out"));
    infer_shapes(g_);
    const Tensor input = random_floats(random_, {1, 2, 3, 4}, -2, 2);
    const engine::Engine engine(build_engine(g_));
    engine::Context context(engine, {});
    context.run(std::vector<Tensor>{input});
    EXPECT_EQ(to_float(context.output(0)), to_float(interpret(g_, {input}).at(g_.outputs()[0])));
    for (const auto& step : build_engine(g_).steps) EXPECT_EQ(step.precision, "int8") << step.name;
  }
}

TEST_F(Foreign, InterpolatedValuesAreRoundedOnce) {
  for (const auto* mode : {"nearest", "linear", "cubic"})
    for (const float out_scale : {0.01f, 0.017f}) {
      SCOPED_TRACE(std::string(mode) + " to a scale of " + std::to_string(out_scale));
      g_ = Graph();
      const ValueId x = g_.add_input("x", DType::kFloat32, {1, 3, 9, 7});
      const ValueId zero = g_.add_constant("z", Tensor::scalar(uint8_t{130}));
      const ValueId in = g_.add_constant("s", Tensor::scalar(0.01f)),
                    out = g_.add_constant("t", Tensor::scalar(out_scale));
      const ValueId q = g_.add_op("QuantizeLinear", "q", {x, in, zero}, "xq");
      const ValueId dq = g_.add_op("DequantizeLinear", "dq", {q, in, zero}, "r");
      Attributes a;
      a.set("mode", std::string(mode));
      const ValueId sizes = g_.add_constant("sizes", Tensor::of<int64_t>({4}, {1, 3, 16, 11}));
      const ValueId y = g_.add_op("Resize", "layer", {dq, kNoId, kNoId, sizes}, "y", a);
      const ValueId yq = g_.add_op("QuantizeLinear", "yq", {y, out, zero}, "yq");
      g_.mark_output(g_.add_op("DequantizeLinear", "ydq", {yq, out, zero}, "out"));
      infer_shapes(g_);
      // Beyond both ends of the range, which a cubic curve leaves.
      const Tensor input = random_floats(random_, {1, 3, 9, 7}, -1.5f, 1.5f);
      const engine::Engine engine(build_engine(g_));
      engine::Context context(engine, {});
      context.run(std::vector<Tensor>{input});
      std::vector<float> reals;
      const auto values = interpret(g_, {input}, [&](const Value& value, Tensor& tensor) {
        if (value.name == "y") reals = to_float(tensor);
      });
      const auto found = to_float(context.output(0)), expected = to_float(values.at(g_.outputs()[0]));
      ASSERT_EQ(reals.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        // What falls half-way between two integers may go either way.
        const float steps = reals[i] / out_scale;
        const bool tie = std::abs(steps - std::floor(steps) - 0.5f) < 1e-3f;
        EXPECT_LE(std::abs(found[i] - expected[i]), tie ? 1.001f * out_scale : 0) << i;
      }
    }
}

}  // namespace
}  // namespace octet
