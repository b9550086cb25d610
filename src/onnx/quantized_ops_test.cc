#include "onnx/quantized_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "onnx/test_model.h"
#include "quant/round.h"

namespace octet {
namespace {

using namespace testing;

// Scales are powers of two and sums are small: real arithmetic below is exact, whatever the order.
struct Bytes {
  Tensor tensor;
  double scale;
  int zero;
  double real(int64_t i) const {
    const int q = tensor.dtype() == DType::kInt8 ? tensor.as<int8_t>()[i] : tensor.as<uint8_t>()[i];
    return (q - zero) * scale;
  }
};

class QuantizedOps : public ::testing::TestWithParam<bool> {
 protected:
  bool is_signed() const { return GetParam(); }
  DType dtype() const { return is_signed() ? DType::kInt8 : DType::kUInt8; }

  Tensor random(Shape shape) {
    Tensor t(dtype(), std::move(shape));
    auto* bytes = static_cast<uint8_t*>(t.raw());
    for (int64_t i = 0; i < t.count(); ++i) bytes[i] = static_cast<uint8_t>(bits_());
    return t;
  }
  // Scale and zero-point of a tensor as two names.
  Names parameters(const std::string& name, double scale, int zero) {
    model_.scalar(name + "_scale", static_cast<float>(scale));
    if (is_signed())
      model_.scalar(name + "_zero", static_cast<int8_t>(zero));
    else
      model_.scalar(name + "_zero", static_cast<uint8_t>(zero));
    return {name + "_scale", name + "_zero"};
  }
  Bytes input(const std::string& name, Shape shape, double scale, int zero) {
    model_.input(name, dtype(), shape);
    parameters(name, scale, zero);
    Bytes b{random(std::move(shape)), scale, zero};
    inputs_.push_back(b.tensor);
    return b;
  }
  // Quantizes what `real` gives for each element and compares.
  void expect(double scale, int zero, const std::function<double(int64_t)>& real) {
    model_.output("y");
    const Graph graph = model_.import();
    verify(graph);
    const Tensor y = compute(graph, inputs_);
    ASSERT_EQ(y.dtype(), dtype());
    const int low = is_signed() ? -128 : 0;
    for (int64_t i = 0; i < y.count(); ++i) {
      const int expected = saturate_round(static_cast<float>(real(i) / scale + zero), low, low + 255);
      const int found = is_signed() ? y.as<int8_t>()[i] : y.as<uint8_t>()[i];
      // Zero-points are added before rounding here, so that ties go to the even of another number.
      ASSERT_LE(std::abs(found - expected),
                std::abs(real(i) / scale - std::floor(real(i) / scale) - 0.5) < 1e-6)
          << "element " << i;
    }
  }

  Model model_;
  std::vector<Tensor> inputs_;
  std::mt19937 bits_{20240611};
};

INSTANTIATE_TEST_SUITE_P(Types, QuantizedOps, ::testing::Bool(),
                         [](const auto& which) { return which.param ? "Int8" : "UInt8"; });

TEST_P(QuantizedOps, Convolution) {
  const Bytes x = input("x", {1, 2, 4, 4}, 0.25, 7);
  std::vector<int8_t> w(3 * 2 * 3 * 3);
  for (int8_t& v : w) v = static_cast<int8_t>(bits_() % 15) - 7;
  model_.constant<int8_t>("w", {3, 2, 3, 3}, w);
  model_.constant<float>("ws", {3}, {0.5f, 0.25f, 0.125f});
  model_.constant<int8_t>("wz", {3}, {0, 2, 0});
  model_.constant<int32_t>("b", {3}, {100, -50, 3});
  parameters("y", 2, 9);
  model_.node("QLinearConv", {"x", "x_scale", "x_zero", "w", "ws", "wz", "y_scale", "y_zero", "b"}, {"y"});
  expect(2, 9, [&](int64_t i) {
    const int64_t o = i / 4, r = i / 2 % 2, c = i % 2;
    const double scales[] = {0.5, 0.25, 0.125};
    const int zeros[] = {0, 2, 0}, bias[] = {100, -50, 3};
    double sum = bias[o] * 0.25 * scales[o];
    for (int64_t k = 0; k < 2; ++k)
      for (int64_t a = 0; a < 3; ++a)
        for (int64_t b = 0; b < 3; ++b)
          sum +=
              x.real((k * 4 + r + a) * 4 + c + b) * (w[((o * 2 + k) * 3 + a) * 3 + b] - zeros[o]) * scales[o];
    return sum;
  });
  const Graph graph = model_.import();
  EXPECT_EQ(ops_of(graph),
            (Names{"DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear"}));
}

TEST_P(QuantizedOps, Product) {
  const Bytes a = input("a", {3, 4}, 0.5, -3 + 10 * !is_signed()), b = input("b", {4, 2}, 0.25, 5);
  parameters("y", 16, 1);
  model_.node("QLinearMatMul", {"a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"},
              {"y"});
  expect(16, 1, [&](int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < 4; ++k) sum += a.real(i / 2 * 4 + k) * b.real(k * 2 + i % 2);
    return sum;
  });
}

TEST_P(QuantizedOps, Gemm) {
  const Bytes a = input("a", {2, 3}, 0.5, 4), b = input("b", {4, 3}, 0.25, 0);
  model_.constant<int32_t>("c", {4}, {40, 0, -8, 1000});
  parameters("y", 8, 2);
  auto& node =
      model_.node("QGemm", {"a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c", "y_scale", "y_zero"},
                  {"y"}, "com.microsoft");
  add_attribute(node, "alpha", 2.0f);
  add_attribute(node, "transB", int64_t{1});
  const double c[] = {40, 0, -8, 1000};
  expect(8, 2, [&](int64_t i) {
    double sum = c[i % 4] * 0.125;
    for (int64_t k = 0; k < 3; ++k) sum += a.real(i / 4 * 3 + k) * b.real(i % 4 * 3 + k);
    return 2 * sum;
  });
}

TEST_P(QuantizedOps, GemmWithFloatResult) {
  const Bytes a = input("a", {1, 2}, 0.5, 4), b = input("b", {2, 1}, 0.25, 0);
  model_.node("QGemm", {"a", "a_scale", "a_zero", "b", "b_scale", "b_zero"}, {"y"}, "com.microsoft");
  model_.output("y");
  const Tensor y = compute(model_.import(), inputs_);
  EXPECT_EQ(y.as<float>()[0], a.real(0) * b.real(0) + a.real(1) * b.real(1));
}

TEST_P(QuantizedOps, AddAndMul) {
  for (const std::string op : {"Add", "Mul"}) {
    model_ = Model();
    inputs_.clear();
    const Bytes a = input("a", {2, 3}, 0.5, 1), b = input("b", {3}, 0.25, -2 + 6 * !is_signed());
    parameters("y", 4, 3);
    model_.node("QLinear" + op, {"a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"},
                {"y"}, "com.microsoft");
    expect(4, 3,
           [&](int64_t i) { return op == "Add" ? a.real(i) + b.real(i % 3) : a.real(i) * b.real(i % 3); });
  }
}

TEST_P(QuantizedOps, Concat) {
  const Bytes a = input("a", {2, 1}, 0.5, 1), b = input("b", {2, 2}, 0.25, 2);
  parameters("y", 0.5, 3);
  auto& node =
      model_.node("QLinearConcat", {"y_scale", "y_zero", "a", "a_scale", "a_zero", "b", "b_scale", "b_zero"},
                  {"y"}, "com.microsoft");
  add_attribute(node, "axis", int64_t{1});
  expect(0.5, 3, [&](int64_t i) { return i % 3 == 0 ? a.real(i / 3) : b.real(i / 3 * 2 + i % 3 - 1); });
}

TEST_P(QuantizedOps, Where) {
  model_.constant<bool>("c", {4}, {true, false, false, true});
  const Bytes a = input("a", {4}, 0.5, 1), b = input("b", {4}, 0.25, 2);
  parameters("y", 1, 0);
  model_.node("QLinearWhere", {"c", "a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"},
              {"y"}, "com.microsoft");
  expect(1, 0, [&](int64_t i) { return i == 0 || i == 3 ? a.real(i) : b.real(i); });
}

TEST_P(QuantizedOps, Functions) {
  for (const std::string op : {"Sigmoid", "LeakyRelu"}) {
    model_ = Model();
    inputs_.clear();
    const Bytes x = input("x", {64}, 0.0625, 10);
    parameters("y", 0.015625, 0);
    auto& node =
        model_.node("QLinear" + op, {"x", "x_scale", "x_zero", "y_scale", "y_zero"}, {"y"}, "com.microsoft");
    if (op == "LeakyRelu") add_attribute(node, "alpha", 0.25f);
    expect(0.015625, 0, [&](int64_t i) {
      if (op == "Sigmoid") return 1 / (1 + std::exp(-x.real(i)));
      return x.real(i) < 0 ? x.real(i) / 4 : x.real(i);
    });
  }
}

TEST_P(QuantizedOps, Pools) {
  for (const std::string op : {"AveragePool", "GlobalAveragePool", "ReduceMean"}) {
    model_ = Model();
    inputs_.clear();
    const Bytes x = input("x", {1, 3, 2, 4}, 0.5, 3);
    parameters("y", 0.25, 4);
    auto& node =
        model_.node("QLinear" + op, {"x", "x_scale", "x_zero", "y_scale", "y_zero"}, {"y"}, "com.microsoft");
    if (op == "AveragePool") add_attribute(node, "kernel_shape", std::vector<int64_t>{2, 4});
    if (op == "ReduceMean") add_attribute(node, "axes", std::vector<int64_t>{2, 3});
    expect(0.25, 4, [&](int64_t c) {
      double sum = 0;
      for (int64_t i = 0; i < 8; ++i) sum += x.real(c * 8 + i);
      return sum / 8;
    });
  }
}

// Before opset 13 all dimensions from the axis on are one.
TEST_P(QuantizedOps, SoftmaxOfEitherMeaning) {
  for (const int64_t opset : {11, 13}) {
    model_ = Model();
    inputs_.clear();
    const Bytes x = input("x", {1, 2, 3}, 0.03125, 3);
    parameters("y", 1.0 / 256, is_signed() ? -128 : 0);
    auto& node = model_.node("QLinearSoftmax", {"x", "x_scale", "x_zero", "y_scale", "y_zero"}, {"y"},
                             "com.microsoft");
    add_attribute(node, "opset", opset);
    add_attribute(node, "axis", int64_t{1});
    expect(1.0 / 256, is_signed() ? -128 : 0, [&](int64_t i) {
      double sum = 0;
      for (int64_t j = 0; j < 6; ++j)
        if (opset == 11 || j % 3 == i % 3) sum += std::exp(x.real(j));
      return std::exp(x.real(i)) / sum;
    });
  }
}

TEST_P(QuantizedOps, ProductInFloat) {
  const Bytes a = input("a", {2, 3}, 0.5, 4), b = input("b", {3, 2}, 0.25, 7);
  model_.constant<float>("bias", {2}, {1, -1});
  model_.node("MatMulIntegerToFloat", {"a", "b", "a_scale", "b_scale", "a_zero", "b_zero", "bias"}, {"y"},
              "com.microsoft");
  model_.output("y");
  const Tensor y = compute(model_.import(), inputs_);
  for (int64_t i = 0; i < 4; ++i) {
    double sum = i % 2 == 0 ? 1 : -1;
    for (int64_t k = 0; k < 3; ++k) sum += a.real(i / 2 * 3 + k) * b.real(k * 2 + i % 2);
    EXPECT_EQ(y.as<float>()[i], sum);
  }
}

// A zero-point that is left out is 0 of the inputs' type.
TEST_P(QuantizedOps, MissingZeroPoints) {
  model_.input("x", dtype(), {8});
  inputs_.push_back(random({8}));
  model_.scalar("s", 0.5f);
  model_.scalar("t", 1.0f);
  model_.node("QLinearAdd", {"x", "s", "", "x", "s", "", "t"}, {"y"}, "com.microsoft");
  const Bytes x{inputs_[0], 0.5, 0};
  expect(1, 0, [&](int64_t i) { return 2 * x.real(i); });
}

TEST(QuantizedOpsErrors, NameTheNode) {
  const auto error = [](const std::string& op, const Names& inputs, const std::string& attribute = "") {
    Model model;
    model.input("x", DType::kUInt8, {2});
    model.scalar("s", 0.5f);
    model.scalar("i", int32_t{1});
    model.scalar("z", uint8_t{1});
    auto& node = model.node(op, inputs, {"y"}, "com.microsoft");
    if (!attribute.empty()) add_attribute(node, attribute, int64_t{1});
    model.output("y");
    return model.error();
  };
  EXPECT_NE(error("QLinearSigmoid", {"x", "s", "z"})
                .find("node 'QLinearSigmoid_of_y': QLinearSigmoid (domain "
                      "'com.microsoft', opset 1): 3 inputs, expected 4 to 5"),
            std::string::npos);
  EXPECT_NE(error("QLinearAdd", {"x", "s", "z", "x", "", "z", "s", "z"}).find("input 4 is missing"),
            std::string::npos);
  EXPECT_NE(error("QLinearConcat", {"s", "z", "x"}).find("expected 5"), std::string::npos);
  EXPECT_NE(error("QLinearSigmoid", {"x", "i", "z", "s", "z"}).find("the scale is not a float"),
            std::string::npos);
  EXPECT_NE(error("QLinearSigmoid", {"x", "s", "i", "s", "z"}).find("'QLinearSigmoid_of_y"),
            std::string::npos);
  EXPECT_NE(
      error("QLinearGlobalAveragePool", {"x", "s", "z", "s", "z"}, "channels_last").find("channels_last"),
      std::string::npos);
  EXPECT_NE(error("QLinearSigmoid", {"x", "s", "z", "s", "z"}, "colour").find("unknown attribute 'colour'"),
            std::string::npos);
  EXPECT_NE(error("QAttention", {"x"}).find("unknown operator"), std::string::npos);
}

// What a QuantizeLinear or DequantizeLinear refuses.
std::string qdq_error(const std::string& op, DType input, const std::function<Names(Model&)>& parameters,
                      const std::string& attribute = "", int64_t value = 0) {
  Model model(21);
  model.input("x", input, {2, 4});
  Names inputs = parameters(model);
  inputs.insert(inputs.begin(), "x");
  auto& node = model.node(op, inputs, {"y"});
  if (!attribute.empty()) add_attribute(node, attribute, value);
  model.output("y");
  return model.error();
}

TEST(QuantizeLinearErrors, NameTheNodeAndWhatIsWrong) {
  const auto scales = [](std::vector<float> values) {
    return [values](Model& m) {
      const auto count = static_cast<int64_t>(values.size());
      return Names{m.constant<float>("s", count == 1 ? Shape{} : Shape{count}, values)};
    };
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find("_of_y"), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const float nan = std::nanf(""), inf = INFINITY;
  for (const float bad : {0.0f, -0.5f, nan, inf}) {
    expect(qdq_error("QuantizeLinear", DType::kFloat32, scales({bad})), "a scale is");
    expect(qdq_error("DequantizeLinear", DType::kUInt8, scales({1, 1, bad, 1})), "a scale is");
  }
  expect(qdq_error("QuantizeLinear", DType::kFloat32, scales({1, 1, 1})), "the scale has shape 3");
  expect(qdq_error("DequantizeLinear", DType::kUInt8, scales({1, 1, 1, 1}), "axis", 2), "axis");
  expect(qdq_error("DequantizeLinear", DType::kUInt8, scales({1, 1, 1, 1}), "block_size", -1),
         "'block_size' is -1");
  expect(qdq_error("DequantizeLinear", DType::kUInt8, scales({1, 1, 1, 1}), "block_size", 2),
         "expected rank 2");
  const auto with_zero = [](auto zero, Shape shape) {
    return [=](Model& m) {
      const size_t count = shape.empty() ? 1 : shape[0];
      return Names{m.scalar("s", 0.5f), m.constant<decltype(zero)>("z", shape, std::vector(count, zero))};
    };
  };
  expect(qdq_error("DequantizeLinear", DType::kUInt8, with_zero(int8_t{0}, {})), "int8");
  expect(qdq_error("QuantizeLinear", DType::kFloat32, with_zero(0.5f, {})), "float32");
  expect(qdq_error("QuantizeLinear", DType::kFloat32, with_zero(uint8_t{0}, {4})), "the zero-point 4");
  EXPECT_EQ(qdq_error("QuantizeLinear", DType::kFloat32, with_zero(uint8_t{0}, {1})), "no error");
  EXPECT_EQ(qdq_error("QuantizeLinear", DType::kFloat32, with_zero(uint16_t{0}, {})), "no error");
  EXPECT_EQ(qdq_error("DequantizeLinear", DType::kInt16, with_zero(int16_t{-5}, {})), "no error");
}

// Weights of 2 and 4 bits with either sign, per tensor and in blocks.
TEST(NarrowWeights, AreReadAsWhatTheyMean) {
  constexpr int kUInt4 = 21, kInt4 = 22, kUInt2 = 25, kInt2 = 26;
  for (const int type : {kUInt4, kInt4, kUInt2, kInt2}) {
    const int bits = type == kUInt2 || type == kInt2 ? 2 : 4, levels = 1 << bits;
    const bool is_signed = type == kInt4 || type == kInt2;
    for (const bool blocks : {false, true})
      for (const bool raw : {false, true}) {
        Model model(25);
        std::vector<int> numbers;
        std::string packed(static_cast<size_t>(10 * bits + 7) / 8, '\0');
        for (int i = 0; i < 10; ++i) {
          numbers.push_back((i * 7 + 1) % levels - (is_signed ? levels / 2 : 0));
          packed[i * bits / 8] =
              static_cast<char>(packed[i * bits / 8] | (numbers[i] & (levels - 1)) << (i * bits % 8));
        }
        auto& weights = *model.graph().add_initializer();
        weights.set_name("w");
        weights.set_data_type(type);
        weights.add_dims(2);
        weights.add_dims(5);
        if (raw)
          weights.set_raw_data(packed);
        else
          for (const char byte : packed) weights.add_int32_data(static_cast<uint8_t>(byte));
        model.constant<float>("s", blocks ? Shape{2, 3} : Shape{},
                              blocks ? std::vector<float>{1, 2, 4, 8, 16, 32} : std::vector{0.5f});
        auto& node = model.node("DequantizeLinear", {"w", "s"}, {"y"});
        if (blocks) add_attribute(node, "block_size", int64_t{2});
        model.output("y");
        const Graph graph = model.import();
        const Tensor y = compute(graph, {});
        const float scales[] = {1, 2, 4, 8, 16, 32};
        for (int i = 0; i < 10; ++i)
          EXPECT_EQ(y.as<float>()[i],
                    static_cast<float>(numbers[i]) * (blocks ? scales[i / 5 * 3 + i % 5 / 2] : 0.5f))
              << type << " " << i;
        // Written as 4 bits in the lowest opset that has them.
        onnx_pb::ModelProto written;
        ASSERT_TRUE(written.ParseFromString(export_onnx_bytes(graph)));
        EXPECT_EQ(written.opset_import(0).version(), 21);
        EXPECT_EQ(written.graph().initializer(0).data_type(), is_signed ? kInt4 : kUInt4);
      }
  }
}

}  // namespace
}  // namespace octet
