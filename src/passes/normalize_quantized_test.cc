#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "ops/support.h"
#include "passes/canonicalize.h"
#include "passes/qdq.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

struct QuantizedNet : Net {
  explicit QuantizedNet(Dims shape = {1, 4, 6, 6}) : Net(std::move(shape)) {}

  ValueId zero(int value, DType dtype) {
    Tensor t(dtype, {});
    *static_cast<int8_t*>(t.raw()) = static_cast<int8_t>(value);
    return g.add_constant("z", std::move(t));
  }
  ValueId quantize(ValueId v, float scale, int z, const std::string& out, DType dtype = DType::kUInt8) {
    return op("QuantizeLinear", {v, scalar(scale), zero(z, dtype)}, out);
  }
  ValueId dequantize(ValueId v, float scale, int z, const std::string& out, DType dtype = DType::kUInt8) {
    return op("DequantizeLinear", {v, scalar(scale), zero(z, dtype)}, out);
  }
  ValueId ints(std::vector<int64_t> values) {
    return g.add_constant(
        "i", Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values)));
  }
};

const Tensor kInput = random_floats({1, 4, 6, 6}, -1, 1, 7);

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  ASSERT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(to_float(a), to_float(b));
}

// Each moving operator on bytes, in both types.
TEST(QuantizeMovedBytes, KeepsWhatTheGraphComputes) {
  for (const DType dtype : {DType::kUInt8, DType::kInt8}) {
    const int z = dtype == DType::kUInt8 ? 100 : -28;
    for (const std::string op : {"Transpose", "Reshape", "Slice", "Pad", "PadWithFill", "Concat", "Gather"}) {
      QuantizedNet net;
      const ValueId q = net.quantize(net.x, 0.01f, z, "q", dtype);
      Attributes a;
      ValueId moved = kNoId;
      if (op == "Transpose") {
        a.set("perm", Ints{0, 2, 3, 1});
        moved = net.op(op, {q}, "m", a);
      } else if (op == "Reshape") {
        moved = net.op(op, {q, net.ints({4, 36})}, "m");
      } else if (op == "Slice") {
        moved = net.op(op, {q, net.ints({1}), net.ints({3}), net.ints({1})}, "m");
      } else if (op == "Pad") {
        moved = net.op("Pad", {q, net.ints({0, 0, 1, 0, 0, 0, 0, 2})}, "m");
      } else if (op == "PadWithFill") {
        moved = net.op("Pad", {q, net.ints({0, 0, 1, 0, 0, 0, 0, 2}), net.zero(z, dtype)}, "m");
      } else if (op == "Concat") {
        moved = net.concat({q, net.quantize(net.x, 0.01f, z, "q2", dtype)}, "m");
      } else {
        a.set("axis", int64_t{1});
        moved = net.op(op, {q, net.ints({2, 0})}, "m", a);
      }
      net.finish(net.dequantize(moved, 0.01f, z, "y", dtype));
      const Tensor before = run(net.g, kInput);
      ASSERT_TRUE(quantize_moved_bytes(net.g)) << op;
      EXPECT_FALSE(quantize_moved_bytes(net.g)) << op;
      infer_shapes(net.g);
      verify(net.g);
      EXPECT_EQ(net.g.value(net.g.node(*net.g.find_node("m_node")).inputs[0]).dtype, DType::kFloat32) << op;
      expect_same(before, run(net.g, kInput));
    }
  }
}

TEST(QuantizeMovedBytes, WalksThroughChains) {
  QuantizedNet net;
  Attributes a;
  a.set("perm", Ints{0, 2, 3, 1});
  const ValueId q = net.quantize(net.x, 0.01f, 100, "q");
  const ValueId m = net.op("Transpose", {net.op("Transpose", {q}, "t1", a)}, "t2", a);
  net.finish(net.dequantize(m, 0.01f, 100, "y"));
  const Tensor before = run(net.g, kInput);
  while (quantize_moved_bytes(net.g)) infer_shapes(net.g);
  verify(net.g);
  for (const char* name : {"t1_node", "t2_node"})
    EXPECT_EQ(net.g.value(net.g.node(*net.g.find_node(name)).outputs[0]).dtype, DType::kFloat32);
  expect_same(before, run(net.g, kInput));
}

TEST(QuantizeMovedBytes, LeavesDifferentScalesAlone) {
  QuantizedNet net;
  const ValueId q = net.quantize(net.x, 0.01f, 100, "q"), r = net.quantize(net.x, 0.02f, 100, "r");
  net.finish(net.concat({q, r}, "y"));
  EXPECT_FALSE(quantize_moved_bytes(net.g));
}

TEST(CarryScales, BringsBytesToTheReader) {
  for (const DType dtype : {DType::kUInt8, DType::kInt8}) {
    QuantizedNet net;
    const ValueId x = net.dequantize(net.quantize(net.x, 0.01f, 3, "q", dtype), 0.01f, 3, "dq", dtype);
    const ValueId pooled = net.pool("MaxPool", x, "p");
    net.finish(net.op("Sigmoid", {net.concat({pooled, pooled}, "c")}, "y"));
    const Tensor before = run(net.g, kInput);
    ASSERT_TRUE(carry_scales(net.g));
    EXPECT_FALSE(carry_scales(net.g));
    infer_shapes(net.g);
    verify(net.g);
    EXPECT_EQ(ops_of(net.g),
              (Names{"QuantizeLinear", "DequantizeLinear", "MaxPool", "QuantizeLinear", "DequantizeLinear",
                     "Concat", "QuantizeLinear", "DequantizeLinear", "Sigmoid"}));
    expect_same(before, run(net.g, kInput));
  }
}

TEST(CarryScales, LeavesWhatIsNotExactOrNotWanted) {
  const auto unchanged = [](const std::function<ValueId(QuantizedNet&, ValueId)>& make) {
    QuantizedNet net;
    const ValueId x = net.dequantize(net.quantize(net.x, 0.01f, 3, "q"), 0.01f, 3, "dq");
    net.finish(make(net, x));
    return !carry_scales(net.g);
  };
  const auto resize = [](const char* mode) {
    return [mode](QuantizedNet& net, ValueId x) {
      Attributes a;
      a.set("mode", std::string(mode));
      const ValueId scales = net.g.add_constant("scales", Tensor::of<float>({4}, {1, 1, 2, 2}));
      return net.op("Sigmoid", {net.op("Resize", {x, kNoId, scales}, "r", a)}, "y");
    };
  };
  EXPECT_TRUE(unchanged(resize("linear")));
  EXPECT_FALSE(unchanged(resize("nearest")));
  const auto pad = [](float fill) {
    return [fill](QuantizedNet& net, ValueId x) {
      return net.op("Sigmoid",
                    {net.op("Pad", {x, net.ints({0, 0, 1, 0, 0, 0, 0, 2}), net.scalar(fill)}, "p")}, "y");
    };
  };
  EXPECT_TRUE(unchanged(pad(0.5f)));
  EXPECT_FALSE(unchanged(pad(0)));
  // The graph's output, and what is quantized anyway.
  EXPECT_TRUE(unchanged([](QuantizedNet& net, ValueId x) { return net.pool("MaxPool", x, "y"); }));
  EXPECT_TRUE(unchanged(
      [](QuantizedNet& net, ValueId x) { return net.quantize(net.pool("MaxPool", x, "p"), 0.02f, 5, "y"); }));
  EXPECT_TRUE(unchanged([](QuantizedNet& net, ValueId x) {
    return net.op(
        "Sigmoid",
        {net.concat({x, net.dequantize(net.quantize(net.x, 0.02f, 3, "q2"), 0.02f, 3, "dq2")}, "c")}, "y");
  }));
}

// A float Concat under a QuantizeLinear, per tensor and per channel; one input has a reader of its own.
TEST(QuantizeBeforeConcat, KeepsWhatTheGraphComputes) {
  for (const bool channels : {false, true}) {
    QuantizedNet net;
    const ValueId r = net.op("Relu", {net.x}, "r"), n = net.op("Neg", {net.x}, "n");
    const ValueId joined = net.concat({r, n}, "joined");
    QuantParams q{DType::kUInt8, -1, {0.01f}, {100}};
    if (channels) q = {DType::kUInt8, 1, {}, {}};
    for (int c = 0; channels && c < 8; ++c) {
      q.scale.push_back(0.004f * static_cast<float>(c + 1));
      q.zero_point.push_back(10 * c);
    }
    const ValueId y = add_dequantize(net.g, add_quantize(net.g, joined, q), q);
    net.finish(net.op("Add", {y, net.concat({r, r}, "again")}, "y"));
    const Tensor before = run(net.g, kInput);
    ASSERT_TRUE(quantize_before_concat(net.g));
    EXPECT_FALSE(quantize_before_concat(net.g));
    infer_shapes(net.g);
    verify(net.g);
    for (const ValueId input : net.g.producer(joined)->inputs)
      EXPECT_TRUE(net.g.producer(input)->is("DequantizeLinear"));
    expect_same(before, run(net.g, kInput));
  }
}

TEST(WidenHalf, LayersOfSixteenBitsComputeInFloat32) {
  Graph g;
  const ValueId x = g.add_input("x", DType::kFloat16, {1, 2});
  Tensor weights(DType::kFloat16, {2, 2});
  std::ranges::fill(std::span(static_cast<uint16_t*>(weights.raw()), 4), uint16_t{0x3800});  // 0.5
  const ValueId w = g.add_constant("w", weights);
  const ValueId y = g.add_op("MatMul", "product", {x, w}, "y");
  Attributes to;
  to.set("to", dtype_to_onnx(DType::kFloat16));
  g.mark_output(g.add_op("Cast", "again", {g.add_op("Relu", "relu", {y}, "z")}, "half", to));
  g.mark_output(w);
  for (int i = 0; i < 2; ++i) {  // twice changes nothing more
    canonicalize(g);
    verify(g);
    EXPECT_EQ(ops_of(g), (Names{"Cast", "MatMul", "Relu", "Cast"})) << i;
    EXPECT_EQ(g.value(g.inputs()[0]).dtype, DType::kFloat16);
    for (const ValueId output : g.outputs()) EXPECT_EQ(g.value(output).dtype, DType::kFloat16);
  }
  const Node& product = g.node(g.value(y).producer);
  EXPECT_EQ(g.value(product.inputs[1]).dtype, DType::kFloat32);
  EXPECT_EQ(to_float(*g.value(product.inputs[1]).constant), std::vector<float>(4, 0.5f));
}

TEST(WidenHalf, ScalesOfSixteenBitsComputeInFloat32) {
  for (const DType half : {DType::kFloat16, DType::kBFloat16}) {
    Graph g;
    const ValueId x = g.add_input("x", half, {1, 4});
    // 0.5, in either format.
    Tensor s(half, {});
    *static_cast<uint16_t*>(s.raw()) = half == DType::kFloat16 ? 0x3800 : 0x3f00;
    const ValueId scale = g.add_constant("s", s);
    const ValueId z = g.add_constant("z", Tensor::scalar(uint8_t{10}));
    const ValueId q = g.add_op("QuantizeLinear", "q", {x, scale, z}, "stored");
    const ValueId dq = g.add_op("DequantizeLinear", "dq", {q, scale, z}, "real");
    g.mark_output(g.add_op("Add", "add", {dq, dq}, "y"));
    infer_shapes(g);
    ASSERT_EQ(g.value(g.outputs()[0]).dtype, half);
    canonicalize(g);
    verify(g);
    EXPECT_EQ(g.value(g.outputs()[0]).dtype, half);
    EXPECT_EQ(g.value(g.inputs()[0]).dtype, half);
    EXPECT_EQ(g.value(dq).dtype, DType::kFloat32);
    EXPECT_EQ(ops_of(g), (Names{"Cast", "QuantizeLinear", "DequantizeLinear", "Add", "Cast"}));
  }
}

// A product of integers as quantize_dynamic writes it; a QuantizeLinear stands for the DynamicQuantizeLinear.
// x is 1x4x6x6 for a 1x1 convolution and otherwise one row of 6 for each of 4 x 6.
struct ScaledProduct {
  bool conv = false;
  Shape scales;  // of the weights, as the Mul has them
  Shape zeros;   // of the weights' zero-points; {0}: none
  bool bias = false;
  static constexpr int64_t kOut = 5;

  QuantizedNet net;
  Tensor weights, scale, zero, offset;
  ValueId x_scale = kNoId;

  void build() {
    const int64_t in = conv ? 4 : 6;
    const Shape shape = conv ? Shape{kOut, in, 1, 1} : Shape{in, kOut};
    x_scale = net.scalar(0.0078125f);
    const ValueId z = net.zero(100, DType::kUInt8), q = net.op("QuantizeLinear", {net.x, x_scale, z}, "q");
    weights = Tensor(DType::kInt8, shape);
    for (int64_t i = 0; i < weights.count(); ++i)
      weights.as<int8_t>()[i] = static_cast<int8_t>(i * 37 % 200 - 100);
    std::vector<ValueId> inputs{q, net.g.add_constant("w", weights), z};
    if (zeros != Shape{0}) {
      zero = Tensor(DType::kInt8, zeros);
      for (int64_t i = 0; i < zero.count(); ++i) zero.as<int8_t>()[i] = static_cast<int8_t>(3 * i - 4);
      inputs.push_back(net.g.add_constant("wz", zero));
    }
    const ValueId sum = net.op(conv ? "ConvInteger" : "MatMulInteger", inputs, "sum");
    const ValueId real = net.op("Cast", {sum}, "real");
    net.g.value(real).dtype = DType::kFloat32;
    scale = random_floats(scales, 0.01f, 0.02f, 3);
    const ValueId factor = net.op("Mul", {x_scale, net.g.add_constant("ws", scale)}, "factor");
    ValueId y = net.op("Mul", {real, factor}, "scaled");
    net.g.value(y).shape = conv ? Dims{1, kOut, 6, 6} : Dims{1, 4, 6, kOut};
    if (bias) {
      offset = random_floats({1, kOut, 1, 1}, -1, 1, 4);
      y = net.op("Add", {y, net.g.add_constant("b", offset)}, "y");
    }
    net.g.mark_output(y);
  }

  void check(const Names& ops) {
    build();
    ASSERT_TRUE(dequantize_products(net.g));
    infer_shapes(net.g);
    verify(net.g);
    EXPECT_EQ(ops_of(net.g), ops);
    const Tensor y = run(net.g, kInput);
    const int64_t in = conv ? 4 : 6, pixels = conv ? 36 : 24;
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t o = 0; o < kOut; ++o) {
        int64_t sum = 0;
        for (int64_t k = 0; k < in; ++k) {
          const float x = kInput.as<float>()[conv ? k * 36 + p : p * 6 + k];
          const int q = std::clamp(static_cast<int>(std::nearbyint(x / 0.0078125f)) + 100, 0, 255);
          const int w = weights.as<int8_t>()[conv ? o * in + k : k * kOut + o];
          const int z =
              !zero.defined() || zero.count() < 0 ? 0 : zero.as<int8_t>()[zero.count() == 1 ? 0 : o];
          sum += (q - 100) * (w - z);
        }
        double expected =
            static_cast<double>(sum) * 0.0078125 * scale.as<float>()[scale.count() == 1 ? 0 : o];
        if (bias) expected += offset.as<float>()[o];
        EXPECT_NEAR(y.as<float>()[conv ? o * 36 + p : p * kOut + o], expected, 1e-4) << p << " " << o;
      }
  }
};

TEST(DequantizeProducts, KeepsWhatTheGraphComputes) {
  const Names matmul{"QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"};
  const Names conv{"QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"};
  const auto check = [](bool is_conv, Shape scales, Shape zeros, bool bias, const Names& ops) {
    ScaledProduct p;
    p.conv = is_conv;
    p.scales = std::move(scales);
    p.zeros = std::move(zeros);
    p.bias = bias;
    p.check(ops);
  };
  check(false, {}, {0}, false, matmul);
  check(false, {1}, {1}, false, matmul);
  check(false, {5}, {5}, false, matmul);
  check(false, {5}, {}, false, matmul);
  check(false, {}, {5}, false, matmul);
  check(true, {}, {}, false, conv);
  check(true, {1, 5, 1, 1}, {5}, false, conv);
  check(true, {5, 1, 1}, {0}, true, conv);
  check(true, {}, {}, true, conv);
}

TEST(DequantizeProducts, LeavesWhatIsOfAnotherForm) {
  for (int variant = 0; variant < 5; ++variant) {
    ScaledProduct p;
    p.conv = true;
    p.scales = variant == 0 ? Shape{5, 1} : Shape{};  // along the height
    p.zeros = Shape{0};
    p.build();
    Graph& g = p.net.g;
    const NodeId product = *g.find_node("sum_node"), cast = *g.find_node("real_node"),
                 mul = *g.find_node("factor_node");
    if (variant == 1) g.mark_output(g.node(product).outputs[0]);
    if (variant == 2) g.value(g.node(cast).outputs[0]).dtype = DType::kFloat16;
    if (variant == 3) g.set_input(mul, 0, p.net.scalar(0.5f));                // not the scale of x
    if (variant == 4) g.set_input(product, 2, p.net.zero(7, DType::kUInt8));  // nor its zero-point
    EXPECT_FALSE(dequantize_products(g)) << variant;
  }
}

}  // namespace
}  // namespace octet
